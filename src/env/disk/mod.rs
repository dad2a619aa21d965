//! The disk as a log needs it.
//!
//! What enters: aligned blocks to be written at an offset of a segment, wishes to read or to have a further segment
//! made. What leaves: completions, in any order. A completed write is durable; that is the only promise the spool
//! builds on. What it never does: retry a failed write, or wait for the device once the log is open (`…_now` methods
//! and [`Disk::wait`] are for opening a log and nothing else).
//!
//! [`RealDisk`] is a directory of files, [`ReadOnlyDisk`] one that is only looked at; [`SimDisk`] is memory that can crash, tear and fail.

mod aside;
mod block;
#[cfg(feature = "null-log")]
mod null;
mod read_only;
mod real;
mod sim;
mod threads;
mod uring;

#[cfg(test)]
mod tests;

use std::os::fd::BorrowedFd;
use std::sync::Arc;

pub use block::Block;
#[cfg(feature = "null-log")]
pub use null::NullDisk;
pub use read_only::ReadOnlyDisk;
pub use real::{Engine, RealDisk, RealDiskError};
pub use sim::{Lie, SimDisk};

/// Names an operation among those under way; chosen by the caller.
pub type Token = u64;

/// What the storage answered instead of doing its work.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{operation} of segment {segment}: {}", std::io::Error::from_raw_os_error(*.errno))]
pub struct DiskError {
    /// `write`, `read`, `prepare` or `sync`.
    pub operation: &'static str,
    /// The number of the segment file.
    pub segment: u32,
    /// The error number of the operating system.
    pub errno: i32,
}

impl DiskError {
    pub(crate) fn new(operation: &'static str, segment: u32, error: &std::io::Error) -> DiskError {
        // An error without a number is one of the library's own, such as a short write: an input/output error.
        DiskError { operation, segment, errno: error.raw_os_error().unwrap_or(libc::EIO) }
    }
}

/// An operation that ended.
#[derive(Debug)]
pub enum Completion {
    /// The write is durable, or failed.
    Written { token: Token, result: Result<(), DiskError> },
    /// The block holds what was read, or the read failed.
    Read { token: Token, result: Result<Block, DiskError> },
    /// The segment exists, zeroed and durable, or could not be made.
    Prepared { segment: u32, result: Result<(), DiskError> },
}

/// Storage for the segments of one log.
pub trait Disk {
    /// How it works, for the operator: `io_uring, O_DIRECT`.
    fn describe(&self) -> String;

    /// The complete segments that exist, by number, with their sizes in bytes.
    fn segments(&mut self) -> Result<Vec<(u32, u64)>, DiskError>;

    /// Starts to make segment `segment` of `size` bytes, written full of zeros.
    fn prepare(&mut self, segment: u32, size: u64);

    /// Queues a durable write of the first `length` bytes of `block`. `length` and `offset` are multiples of
    /// [`BLOCK_SIZE`](crate::limits::BLOCK_SIZE).
    fn write(&mut self, token: Token, segment: u32, offset: u64, block: Arc<Block>, length: usize);

    /// Queues a read of `length` bytes; the same multiples.
    fn read(&mut self, token: Token, segment: u32, offset: u64, length: usize);

    /// Passes what was queued to the device.
    fn submit(&mut self);

    /// Takes what has completed. Never blocks.
    fn poll(&mut self, completions: &mut Vec<Completion>);

    /// Blocks until something that is under way may have completed.
    fn wait(&mut self);

    /// Reads and blocks.
    fn read_now(&mut self, segment: u32, offset: u64, length: usize) -> Result<Block, DiskError>;

    /// Makes everything that was ever written durable, and forgets what caches hold, so that a later read shows what
    /// the device has. Blocks.
    fn settle_now(&mut self) -> Result<(), DiskError>;

    /// Deletes a segment, which nothing is under way in. After a crash it may be there again. Blocks.
    fn remove_now(&mut self, segment: u32) -> Result<(), DiskError>;

    /// Keeps bytes beside the segments under a name, durably: what is cut off a log is never deleted. Blocks.
    fn put_aside_now(&mut self, name: &str, bytes: &[u8]) -> Result<(), DiskError>;

    /// Takes a segment, which nothing is under way in, out of the log and keeps its file, beside those that were kept before. Blocks.
    fn retire_now(&mut self, segment: u32) -> Result<(), DiskError>;

    /// Bytes that the file system has free for us. What was put aside counts as free: it goes when its room is needed.
    fn free_bytes(&mut self) -> Result<u64, DiskError>;

    /// So many bytes are to be left free for others, if what was put aside can make room for them. Nothing by default.
    fn keep_free(&mut self, _bytes: u64) {}

    /// Becomes readable when [`poll`](Disk::poll) has something to take.
    fn wakeup(&self) -> Option<BorrowedFd<'_>>;
}
