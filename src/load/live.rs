//! What workers share while a run goes on.

use std::sync::atomic::{AtomicU64, Ordering};

/// What is shown while a run goes on, and the messages that all workers share. Written by workers, read by one who looks.
#[derive(Debug, Default)]
pub struct Live {
    /// Messages of the whole run.
    messages_max: u64,
    /// Messages begun.
    begun: AtomicU64,
    /// Messages answered with 250.
    pub accepted: AtomicU64,
    /// Bytes of those.
    pub bytes: AtomicU64,
    /// Messages that failed.
    pub failed: AtomicU64,
    /// Connections open now.
    pub open: AtomicU64,
}

impl Live {
    /// For a run of so many messages.
    pub fn new(messages: Option<u64>) -> Live {
        Live { messages_max: messages.unwrap_or(u64::MAX), ..Live::default() }
    }

    /// The number of the next message, if there is to be one.
    pub(super) fn take(&self) -> Option<u64> {
        let next = |begun| (begun < self.messages_max).then_some(begun + 1);
        self.begun.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).ok()
    }

    pub(super) fn is_spent(&self) -> bool {
        self.begun.load(Ordering::Relaxed) >= self.messages_max
    }
}
