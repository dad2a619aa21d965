//! The worker.

use std::time::Duration;

/// How long an adaptive worker without work spins before it sleeps: longer than the pause between two frames of a busy
/// client, shorter than what the scheduler would give to somebody else.
pub const IDLE_SPIN: Duration = Duration::from_micros(50);

/// The longest sleep of a worker: a deadline that was overlooked costs no more than this.
pub const SLEEP_MAX: Duration = Duration::from_secs(1);

/// Letters between two workers that a ring holds.
pub const EXCHANGE_RING_SIZE: usize = 1024;

/// Letters of other workers that are taken in one go, so that a breath ends.
pub const LETTERS_PER_BREATH: usize = 1024;

/// How much of a message a notice returns at most, bytes: its header, and all of it where it is small.
pub const NOTICE_RETURNED_MAX: usize = 32 * 1024;

/// What a notice may come to, bytes: what it returns, and what it says about the recipients of one job. It must fit into
/// the smallest batch.
pub const NOTICE_SIZE_MAX: u64 = 256 * 1024;

/// When a notice that found no room in the log is tried again.
pub const NOTICE_RETRY_DELAY: Duration = Duration::from_millis(100);

/// What a Received header may add to a message of the largest size, bytes.
pub const HEADER_ADDED_SIZE_MAX: u64 = 64 * 1024;
