//! Received bytes that nobody has consumed yet, in one piece.
//!
//! ```text
//! | consumed |    bytes    |    room    |
//! 0        start          end        size
//! ```
//!
//! Bytes move to the front when the room behind them gets short, so that a session always sees all of them
//! at once. Sessions leave little behind (the beginning of a line), so that little is moved.

use crate::limits::BUFFERS_SPARE_MAX;
use std::io::{self, Read};

/// Buffers of one size, those included that wait for their next flow.
pub(super) struct Buffers {
    size: usize,
    spare: Vec<Box<[u8]>>,
    spare_max: usize,
}

impl Buffers {
    pub fn new(size: usize) -> Buffers {
        assert!(size > 0, "a flow without a buffer receives nothing");
        Buffers { size, spare: Vec::new(), spare_max: BUFFERS_SPARE_MAX }
    }

    fn take(&mut self) -> Box<[u8]> {
        self.spare.pop().unwrap_or_else(|| vec![0; self.size].into_boxed_slice())
    }

    fn give_back(&mut self, buffer: Box<[u8]>) {
        if self.spare.len() < self.spare_max && !buffer.is_empty() {
            self.spare.push(buffer);
        }
    }
}

/// What a read brought.
pub(super) enum ReadOutcome {
    /// Bytes; `all`: fewer than there was room for, so that there were no more.
    Bytes { count: usize, all: bool },
    /// The peer has ended its direction.
    Finished,
}

/// One flow's bytes. It has a buffer only while it has bytes.
#[derive(Default)]
pub(super) struct ReceiveBuffer {
    buffer: Box<[u8]>,
    start: usize,
    end: usize,
}

impl ReceiveBuffer {
    pub fn bytes(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }

    pub fn full(&self, buffers: &Buffers) -> bool {
        self.end - self.start >= buffers.size
    }

    /// Reads once, as much as there is room for. Not to be called when full: that would look like the end.
    pub fn read(&mut self, source: &mut impl Read, buffers: &mut Buffers) -> io::Result<ReadOutcome> {
        assert!(!self.full(buffers));
        if self.buffer.is_empty() {
            self.buffer = buffers.take();
        } else if self.end > self.buffer.len() / 2 {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        let room = self.buffer.len() - self.end;
        let result = source.read(&mut self.buffer[self.end..]);
        if let Ok(count) = result {
            self.end += count;
        }
        if self.start == self.end {
            self.clear(buffers);
        }
        result.map(|count| match count {
            0 => ReadOutcome::Finished,
            count => ReadOutcome::Bytes { count, all: count < room },
        })
    }

    pub fn consume(&mut self, count: usize, buffers: &mut Buffers) {
        assert!(count <= self.end - self.start, "more consumed than lent");
        self.start += count;
        if self.start == self.end {
            self.clear(buffers);
        }
    }

    /// Drops all bytes and gives the buffer back.
    pub fn clear(&mut self, buffers: &mut Buffers) {
        let buffer = std::mem::take(self).buffer;
        buffers.give_back(buffer);
    }
}
