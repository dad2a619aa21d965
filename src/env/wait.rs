//! Sleeping until a descriptor is readable: the one `poll(2)` call of the appliance.
#![allow(unsafe_code)]

use std::os::fd::{AsRawFd, BorrowedFd};
use std::time::Duration;

/// More descriptors than any worker waits for: its queue, its log, its control channel, its neighbours' rings.
const DESCRIPTORS_MAX: usize = 64;

/// Sleeps until one of `fds` is readable (or broken), or `timeout` is over. May return early.
///
/// The timeout is rounded up to a millisecond, so that a wait for the last fraction of one does not become a spin.
pub fn wait_readable(fds: &[BorrowedFd<'_>], timeout: Duration) {
    let mut entries = arrayvec::ArrayVec::<libc::pollfd, DESCRIPTORS_MAX>::new();
    for fd in fds.iter().take(DESCRIPTORS_MAX) {
        entries.push(libc::pollfd { fd: fd.as_raw_fd(), events: libc::POLLIN, revents: 0 });
    }
    let millis = timeout.as_nanos().div_ceil(1_000_000);
    let millis = libc::c_int::try_from(millis).unwrap_or(libc::c_int::MAX);
    // SAFETY: the pointer and the count describe `entries`, which lives until the call is over, and the
    // descriptors in it are borrowed for that long. What is returned does not matter: the callers look themselves.
    unsafe { libc::poll(entries.as_mut_ptr(), entries.len() as libc::nfds_t, millis) };
}
