//! The states in which the session takes octets of content instead of commands.
//!
//! In: the front of the receive ring. Out: how much of it is consumed, and at the end of the content the reply or the
//! wait for the commit. What becomes of the bytes is up to [`Transfer`](super::transfer::Transfer).

use super::Host;
use super::session::{Progress, Session, State};
use super::transfer::Fed;
use crate::env::Now;
use crate::flow::Received;
use crate::limits::CHUNK_SIZE_MIN;
use crate::smtp::Reply;

impl Session {
    pub(super) fn take_data(&mut self, now: Now, input: Received<'_>, host: &mut impl Host) -> Progress {
        let State::Data(transfer) = &mut self.state else {
            return Progress::Hungry(0);
        };
        // Small pieces wait in the ring until they are worth a chunk, unless they are the last or cannot wait.
        let was_blocked = transfer.pace.is_blocked();
        let urgent = input.more || input.full || input.finished || transfer.fault.is_some() || was_blocked;
        if !urgent && input.bytes.len() < CHUNK_SIZE_MIN && !transfer.ends_within(input.bytes) {
            return Progress::Hungry(0);
        }
        let (used, fed) = transfer.feed(input.bytes, &self.settings, host);
        transfer.pace.count(used);
        transfer.pace.set_blocked(now.mono, fed == Fed::Blocked);
        if was_blocked || used > 0 {
            self.idle_deadline = now.mono + self.settings.data_timeout;
        }
        match fed {
            Fed::Hungry => Progress::Hungry(used),
            Fed::Blocked => Progress::Busy(used),
            Fed::Ended => {
                self.conclude(now, host);
                Progress::More(used)
            }
        }
    }

    pub(super) fn take_chunk(&mut self, now: Now, input: Received<'_>, host: &mut impl Host) -> Progress {
        let State::Chunk { transfer, remaining, last, .. } = &mut self.state else {
            return Progress::Hungry(0);
        };
        let here = input.bytes.len().min(usize::try_from(*remaining).unwrap_or(usize::MAX));
        let whole = here as u64 == *remaining;
        let was_blocked = transfer.pace.is_blocked();
        let urgent = input.more || input.full || input.finished || transfer.fault.is_some() || was_blocked;
        if !urgent && !whole && here < CHUNK_SIZE_MIN {
            return Progress::Hungry(0);
        }
        let (used, fed) = transfer.feed(&input.bytes[..here], &self.settings, host);
        *remaining -= used as u64;
        let done = *remaining == 0;
        let blocked = fed == Fed::Blocked || (done && *last && !transfer.finish(&self.settings, host));
        transfer.pace.count(used);
        transfer.pace.set_blocked(now.mono, blocked);
        if was_blocked || used > 0 {
            self.idle_deadline = now.mono + self.settings.data_timeout;
        }
        if blocked {
            return Progress::Busy(used);
        }
        if !done {
            return Progress::Hungry(used);
        }
        self.chunk_done(now, host);
        Progress::More(used)
    }

    fn chunk_done(&mut self, now: Now, host: &mut impl Host) {
        let State::Chunk { transfer, size, last, .. } = &self.state else {
            return;
        };
        // RFC 3030 §2: after a failure the transaction is void, whatever chunks were still planned.
        if *last || transfer.fault.is_some() {
            return self.conclude(now, host);
        }
        self.say(&Reply::chunk_taken(*size));
        if let State::Chunk { transfer, .. } = self.enter(now, State::Ready) {
            self.enter(now, State::Chunked(transfer));
        }
    }

    pub(super) fn skip_chunk(&mut self, now: Now, input: Received<'_>, host: &mut impl Host) -> Progress {
        let State::Skip { remaining, reply, pace } = &mut self.state else {
            return Progress::Hungry(0);
        };
        let used = input.bytes.len().min(usize::try_from(*remaining).unwrap_or(usize::MAX));
        *remaining -= used as u64;
        pace.count(used);
        if *remaining > 0 {
            return Progress::Hungry(used);
        }
        let reply = reply.clone();
        self.enter(now, self.resting());
        self.refuse(now, &reply, host);
        self.stop_if_idle(now, host);
        Progress::More(used)
    }

    /// The content is complete: over to the spool, or the reply that says what was wrong with it.
    fn conclude(&mut self, now: Now, host: &mut impl Host) {
        match self.enter(now, State::Ready) {
            State::Data(transfer) | State::Chunk { transfer, .. } => {
                let transfer = *transfer;
                match transfer.fault {
                    Some(fault) => {
                        self.refuse(now, &fault.reply(), host);
                        self.stop_if_idle(now, host);
                    }
                    None => {
                        let id = transfer.id;
                        host.finish(transfer.into_envelope(&self.settings));
                        self.enter(now, State::Committing(id));
                    }
                }
            }
            other => unreachable!("no content is received in {other:?}"),
        }
    }
}
