//! What the kernel knows of a connection's path: the one `getsockopt(2)` call of the appliance that no library makes.
#![allow(unsafe_code)]

use crate::flow::PathFacts;
use std::os::fd::{AsRawFd, BorrowedFd};

/// What the kernel has measured on a TCP socket, if it says so.
pub(super) fn path_of(socket: BorrowedFd<'_>) -> Option<PathFacts> {
    let mut info = std::mem::MaybeUninit::<libc::tcp_info>::zeroed();
    let mut size = size_of::<libc::tcp_info>() as libc::socklen_t;
    // SAFETY: the pointers and the size describe `info` and `size`, which live until the call is over, and the descriptor is borrowed
    // for that long.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            info.as_mut_ptr().cast(),
            std::ptr::from_mut(&mut size),
        )
    };
    if result != 0 {
        return None;
    }
    // SAFETY: it consists of integers only, for which zero is a value; the kernel has written some or all of them.
    let info = unsafe { info.assume_init() };
    Some(PathFacts {
        round_trip_us: Some(u64::from(info.tcpi_rtt)).filter(|time| *time > 0),
        retransmissions: u64::from(info.tcpi_total_retrans),
    })
}
