//! The system calls that no library of ours has.
#![allow(unsafe_code)]

use std::mem::{MaybeUninit, size_of};
use std::os::fd::{AsRawFd, BorrowedFd};

const THIS_THREAD: libc::pid_t = 0;
const NO_FLAGS: libc::c_uint = 0;

/// How the scheduler treats this thread: `sched_getattr(2)`.
pub fn scheduling() -> Option<libc::sched_attr> {
    let mut attributes = MaybeUninit::<libc::sched_attr>::zeroed();
    let size = size_of::<libc::sched_attr>() as libc::c_uint;
    // SAFETY: the pointer and the size describe `attributes`, which lives until the call is over.
    let result =
        unsafe { libc::syscall(libc::SYS_sched_getattr, THIS_THREAD, attributes.as_mut_ptr(), size, NO_FLAGS) };
    // SAFETY: it consists of integers only, for which zero is a value; the kernel has written some or all of them.
    (result == 0).then(|| unsafe { attributes.assume_init() })
}

/// Has the scheduler treat this thread so, if it can: `sched_setattr(2)`.
pub fn set_scheduling(attributes: &libc::sched_attr) {
    let attributes = libc::sched_attr { size: size_of::<libc::sched_attr>() as u32, ..*attributes };
    // SAFETY: the kernel reads as much as `size` in it says. Whether it does what it is asked for is no matter.
    unsafe { libc::syscall(libc::SYS_sched_setattr, THIS_THREAD, &raw const attributes, NO_FLAGS) };
}

/// What the kernel knows of a connection: the `TCP_INFO` of `getsockopt(2)`.
pub fn tcp_info(socket: BorrowedFd<'_>) -> Option<libc::tcp_info> {
    let mut info = MaybeUninit::<libc::tcp_info>::zeroed();
    let mut size = size_of::<libc::tcp_info>() as libc::socklen_t;
    let (level, name) = (libc::IPPROTO_TCP, libc::TCP_INFO);
    // SAFETY: the pointers and the size describe `info` and `size`, which live until the call is over, and the descriptor is
    // borrowed for that long.
    let result = unsafe { libc::getsockopt(socket.as_raw_fd(), level, name, info.as_mut_ptr().cast(), &raw mut size) };
    // SAFETY: it consists of integers only, for which zero is a value; the kernel has written some or all of them.
    (result == 0).then(|| unsafe { info.assume_init() })
}
