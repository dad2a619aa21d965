//! Sleeping until a descriptor is readable.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::os::fd::BorrowedFd;
use std::time::Duration;

/// More descriptors than any worker waits for: its queue, its log, its control channel, its neighbours' rings.
const DESCRIPTORS_MAX: usize = 64;

/// Sleeps until one of `fds` is readable (or broken), or `timeout` is over. May return early.
pub fn wait_readable(fds: &[BorrowedFd<'_>], timeout: Duration) {
    let fds = fds.iter().take(DESCRIPTORS_MAX).map(|fd| PollFd::from_borrowed_fd(*fd, PollFlags::IN));
    let mut fds: arrayvec::ArrayVec<_, DESCRIPTORS_MAX> = fds.collect();
    let tv_sec = i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX);
    let timeout = Timespec { tv_sec, tv_nsec: timeout.subsec_nanos().into() };
    // What is returned does not matter: the callers look themselves.
    let _ = poll(&mut fds, Some(&timeout));
}
