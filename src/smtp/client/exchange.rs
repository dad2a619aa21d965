//! A transaction under way: which of its commands are written, which are answered, who is left to be told.
//!
//! In: answers, counted. Out: what may be written next, and for whom an ending counts. It writes and tells
//! nothing itself.

use super::reply::RemoteReply;
use super::{Event, Fate, Stage, Transaction};
use crate::smtp::BodyType;
use std::collections::VecDeque;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    Deliver,
    Verify,
}

/// A transaction under way. Its commands are numbered: MAIL is 0, the recipients follow, DATA is the last.
#[derive(Debug)]
pub(super) struct Exchange {
    pub(super) purpose: Purpose,
    pub(super) transaction: Transaction,
    /// Commands written. `answered <= issued`: a reply beyond is a breach of protocol.
    pub(super) issued: usize,
    /// Commands answered.
    pub(super) answered: usize,
    /// Places of the recipients that RCPT accepted, in order.
    pub(super) accepted: Vec<u32>,
    /// How many of `accepted` have been settled.
    pub(super) accepted_settled: usize,
    /// MAIL was refused: all recipients are settled, the answers to what was pipelined behind it mean nothing.
    pub(super) abandoned: bool,
}

impl Exchange {
    /// The number of DATA.
    pub(super) fn data(&self) -> usize {
        self.transaction.recipients.len() + 1
    }

    /// The command whose answer is due next.
    pub(super) fn stage(&self) -> Stage {
        match self.answered {
            0 => Stage::Mail,
            answered if answered < self.data() => Stage::Rcpt,
            _ => Stage::Data,
        }
    }

    pub(super) fn may_issue(&self, pipelining: bool) -> bool {
        if self.abandoned || !(pipelining || self.issued == self.answered) {
            return false;
        }
        if self.issued < self.data() {
            return true;
        }
        // DATA follows in the same group (RFC 2920 §3.1), except when it is known already that nobody is left. BDAT
        // must not: its chunk would have to follow whatever the answers are.
        let somebody = !self.accepted.is_empty() || self.answered < self.data();
        self.issued == self.data()
            && self.purpose == Purpose::Deliver
            && self.transaction.body != BodyType::BinaryMime
            && somebody
    }

    /// The places of the recipients that nobody has been told about yet.
    pub(super) fn unsettled(&self) -> Vec<u32> {
        if self.abandoned {
            return Vec::new();
        }
        let unanswered = self.answered.saturating_sub(1)..self.transaction.recipients.len();
        let accepted = &self.accepted[self.accepted_settled..];
        accepted.iter().copied().chain(unanswered.map(|place| place as u32)).collect()
    }
}

/// Tells a recipient's fate in the words of the task.
pub(super) fn push_fate(events: &mut VecDeque<Event>, purpose: Purpose, index: u32, fate: Fate) {
    events.push_back(match purpose {
        Purpose::Deliver => Event::Settled { index, fate },
        Purpose::Verify => Event::Verified { fate },
    });
}

/// Whether a refused RCPT means that the transaction is full (RFC 5321 §4.5.3.1.10: 452, from old servers 552), not
/// that a mailbox or a disk is. It is asked only when others were accepted, so that the next try gets on.
pub(super) fn says_full(reply: &RemoteReply) -> bool {
    matches!(reply.code, 452 | 552) && matches!(reply.enhanced, None | Some((_, 5, 3)))
}
