//! What happened in a world, in words: the last lines for people, a digest of all of them for machines.

use super::clock::readable;
use crate::checksum::crc32c_append;
use crate::env::{Instant, say};
use std::collections::VecDeque;
use std::fmt;

/// Lines that are kept.
const LINES_MAX: usize = 400;

/// The story of a run.
#[derive(Debug, Default)]
pub(super) struct Trace {
    lines: VecDeque<String>,
    digest: u32,
    count: u64,
    echo: bool,
}

impl Trace {
    /// With `echo` every line goes to standard error as it comes.
    pub(super) fn new(echo: bool) -> Trace {
        Trace { echo, ..Trace::default() }
    }

    pub(super) fn note(&mut self, now: Instant, what: fmt::Arguments<'_>) {
        let line = format!("{} {what}", readable(now.since(Instant::ZERO)));
        self.digest = crc32c_append(self.digest, line.as_bytes());
        self.count += 1;
        if self.echo {
            say(&line);
        }
        if self.lines.len() == LINES_MAX {
            self.lines.pop_front();
        }
        self.lines.push_back(line);
    }

    /// A checksum over all lines.
    pub(super) fn digest(&self) -> u32 {
        self.digest
    }

    /// The last lines.
    pub(super) fn lines(self) -> Vec<String> {
        self.lines.into()
    }
}
