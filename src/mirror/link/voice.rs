//! What either end of a link says: messages and batches in order, and a beat when nothing else was said for a while.

use super::wire::{Message, Outgoing, VERSION};
use crate::env::Instant;
use crate::mirror::arbiter::Words;
use crate::spool::Batch;
use std::collections::VecDeque;
use std::time::Duration;

/// How an end of a link speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Speech {
    /// The version of the protocol, which the other end must speak, too: [`VERSION`] but where a test wants another one.
    pub version: u8,
    /// It is heard so often at least.
    pub beat: Duration,
}

impl Speech {
    /// As this release speaks.
    pub const fn of(beat: Duration) -> Speech {
        Speech { version: VERSION, beat }
    }
}

/// One end's way to the other.
#[derive(Debug)]
pub(super) struct Voice {
    outgoing: Outgoing,
    beat: Duration,
    /// What we say of ourselves.
    said: Words,
    sent_at: Instant,
}

impl Voice {
    pub(super) fn new(said: Words, speech: Speech, now: Instant) -> Voice {
        Voice { outgoing: Outgoing::new(speech.version), beat: speech.beat, said, sent_at: now }
    }

    pub(super) fn words(&self) -> Words {
        self.said
    }

    pub(super) fn message(&mut self, message: &Message) {
        self.outgoing.message(message);
    }

    pub(super) fn batch(&mut self, batch: Batch) {
        self.outgoing.batch(batch);
    }

    /// Says the first of these, if all has gone.
    pub(super) fn tell(&mut self, to_tell: &mut VecDeque<Box<[u8]>>) {
        if self.is_empty()
            && let Some(told) = to_tell.pop_front()
        {
            self.message(&Message::Order { told });
        }
    }

    /// Whether all has gone.
    pub(super) fn is_empty(&self) -> bool {
        self.outgoing.is_empty()
    }

    /// Says that we are still here, when it is time to.
    pub(super) fn beat(&mut self, now: Instant) {
        if now >= self.sent_at + self.beat && self.is_empty() {
            self.outgoing.message(&Message::Beat { said: self.said });
            self.sent_at = now;
        }
    }

    /// From now on this is what we say of ourselves; `aloud`: at once, if it is something new.
    pub(super) fn say(&mut self, said: Words, aloud: bool) {
        if std::mem::replace(&mut self.said, said) != said && aloud {
            self.outgoing.message(&Message::Beat { said });
        }
    }

    /// The next bytes to be sent.
    pub(super) fn output(&self) -> &[u8] {
        self.outgoing.bytes()
    }

    /// So many of them have gone.
    pub(super) fn sent(&mut self, count: usize, now: Instant) {
        if count > 0 {
            self.outgoing.sent(count);
            self.sent_at = now;
        }
    }

    /// When the next beat is due. While the flow takes no more it tells when it does.
    pub(super) fn next_deadline(&self) -> Instant {
        if self.is_empty() { self.sent_at + self.beat } else { Instant::FAR }
    }
}
