//! What waits to be sent.
//!
//! In: commands, at their full length. Out: the same bytes, in whatever portions the flow takes them. It never
//! holds content, but for what ends it.

use super::command::COMMAND_SIZE_MAX;
use crate::limits::CLIENT_OUTPUT_SIZE;

/// Bytes to be sent; at most [`CLIENT_OUTPUT_SIZE`] and one command.
#[derive(Debug, Default)]
pub(crate) struct Output {
    bytes: Vec<u8>,
    sent: usize,
}

impl Output {
    pub(crate) fn waiting(&self) -> &[u8] {
        &self.bytes[self.sent..]
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.waiting().is_empty()
    }

    pub(crate) fn sent(&mut self, count: usize) {
        self.sent += count;
        assert!(self.sent <= self.bytes.len(), "more was sent than there was");
        if self.is_empty() {
            self.clear();
        }
    }

    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.sent = 0;
    }

    /// The buffer to append to, moved to the front first so that it does not grow with what was sent.
    pub(crate) fn end(&mut self) -> &mut Vec<u8> {
        self.bytes.drain(..self.sent);
        self.sent = 0;
        debug_assert!(self.bytes.len() <= CLIENT_OUTPUT_SIZE + COMMAND_SIZE_MAX);
        &mut self.bytes
    }

    /// Hands all of it to `send`; says whether that took everything.
    pub(crate) fn drain_into(&mut self, send: &mut dyn FnMut(&[u8]) -> usize) -> bool {
        if !self.is_empty() {
            let count = send(self.waiting()).min(self.waiting().len());
            self.sent(count);
        }
        self.is_empty()
    }
}
