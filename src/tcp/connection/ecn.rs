//! Explicit congestion notification (RFC 3168): a router that is about to be congested marks instead of dropping, and the
//! sender slows down without having lost anything.
//!
//! ```text
//! sender ── content, ECT(0) ──► router: CE ──► receiver
//!    │ ◄───────── ECE on every acknowledgement ────┘ │
//!    └── the window comes down; CWR on the next new content ──► no more ECE
//! ```
//!
//! Both ends ask for it in their SYNs (§6.1.1): the client with ECE and CWR, the server with ECE alone. A SYN that is
//! repeated asks for nothing, since some filters drop one that does (§6.1.1.1); whoever has sent or received a SYN that did
//! not ask sends no ECT, but goes on echoing marks. Only new content within the peer's window is ECT: not SYNs,
//! acknowledgements (§6.1.4), repetitions (§6.1.5) or window probes (§6.1.6).
//!
//! A mark costs the window what a loss does, once a window of content (§6.1.2), at once and without anything being sent
//! again. It comes down to seven tenths (RFC 9438 §4.6), not to the 0.85 that RFC 8511 tries out: so a mark and a loss in one
//! window are one event with one answer, and beside Linux, which does the same, we take no more than our share.
//!
//! Not here: marks on SYNs, which mean nothing; DCTCP and accurate ECN (RFC 9768), whose clients fall back to this.

use super::sender::{Phase, Sender};
use super::sequence::Sequence;
use super::{ACK, CWR, Connection, ECE, Incoming, Outgoing, Part, SYN, State, flag};
use crate::env::Instant;

/// The sender, or the segment, is not ECN-capable: it is dropped instead of marked.
pub const NOT_ECT: u8 = 0;

/// ECN-capable. ECT(1) means the same and is for others (RFC 3168 §5, RFC 9331).
pub const ECT_0: u8 = 2;

/// Congestion experienced: the mark.
pub const CE: u8 = 3;

impl Incoming<'_> {
    /// An ECN-setup SYN or SYN-ACK (RFC 3168 §6.1.1). One that merely repeats our flags is none.
    pub fn sets_up_ecn(&self) -> bool {
        let answers = self.has(ACK);
        let wanted = if answers { ECE } else { ECE | CWR };
        // A SYN is never ECT: a network that has made it so writes into the field what it likes.
        self.flags & (ECE | CWR) == wanted && (answers || self.ecn == NOT_ECT)
    }
}

impl Connection {
    /// The peer's SYN has come. Who asked must echo marks from then on, whatever else was sent.
    pub(super) fn agree_on_ecn(&mut self, syn: &Incoming<'_>) {
        self.receive.echoes = syn.sets_up_ecn();
        // After a timeout a SYN went out that did not ask.
        self.send.capable = self.receive.echoes && self.send.timeouts == 0;
    }

    /// The flags by which our SYN asks for ECN or agrees to it.
    pub(super) fn ecn_setup(&self, syn: &Outgoing) -> u8 {
        if self.state == State::SynSent {
            flag(matches!(syn, Outgoing::Part(Part { repeats: None, .. })), ECE | CWR)
        } else {
            flag(self.send.capable, ECE)
        }
    }

    /// A segment with a mark, or with a flag that tells of one: in the window, which guards against who guesses (§6.1.5).
    #[cold]
    #[inline(never)]
    pub(super) fn heed_congestion(&mut self, segment: &Incoming<'_>, now: Instant) {
        if segment.has(SYN) {
            return;
        }
        if segment.has(CWR) {
            self.receive.marked = false;
        }
        if segment.ecn == CE && !segment.content.is_empty() {
            self.receive.marked = self.receive.echoes;
        }
        // An old acknowledgement tells of what was answered long ago.
        if segment.has(ECE) && !segment.acknowledgement.is_before(self.send.base()) {
            self.send.heed_echo(segment.acknowledgement, now);
        }
    }
}

impl Sender {
    /// Something was lost or marked: the next window is smaller, and the peer hears of that with the next new content.
    pub(super) fn reduce(&mut self) {
        self.cubic.reduce(self.segment_size);
        self.reduced = true;
    }

    /// Something that we sent was marked. Who has not agreed to ECN says nothing with that.
    fn heed_echo(&mut self, acknowledgement: Sequence, now: Instant) {
        let is_news = match self.phase {
            Phase::Open => true,
            Phase::Reduced { until, .. } => acknowledgement.is_beyond(until),
            // What was marked beside what was lost.
            Phase::Recovery { .. } | Phase::Loss { .. } => false,
        };
        if !self.capable || !is_news {
            return;
        }
        // The window cannot be less than a segment; less often than once a round trip is still possible (§6.1.2).
        let waits = self.cubic.window() <= self.segment_size;
        self.reduce();
        self.cubic.settle(self.segment_size);
        self.phase = Phase::Reduced { until: self.next(), waits };
        if waits {
            self.timed_from = now;
        }
    }

    /// New content has to wait for the alarm.
    pub(super) fn waits(&self) -> bool {
        matches!(self.phase, Phase::Reduced { waits: true, .. })
    }

    /// The window has already come down for a mark on what was sent before the first loss, or with it.
    pub(super) fn has_answered(&self) -> bool {
        let Phase::Reduced { until, .. } = self.phase else { return false };
        self.flight.first_lost().is_some_and(|index| self.flight.stretch(index).begin.is_before(until))
    }
}
