//! Takes the content of one message: from the scanner to the host, under the limits of size, hops and pace.
//!
//! In: content bytes. Out: calls to the host. Once something is wrong with the content, the host is told to drop it
//! and the rest is read and thrown away up to its true end, where the session gives the one reply.

use super::{Host, Settings};
use crate::env::Instant;
use crate::limits::CONTENT_RATE_GRACE;
use crate::smtp::content::{ContentFault, HeaderScanner, Scanner, Step};
use crate::smtp::{Envelope, Reply};
use crate::spool::MessageId;
use std::time::Duration;

/// What stopped [`Transfer::feed`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fed {
    /// All bytes are consumed.
    Hungry,
    /// The host takes no more for now.
    Blocked,
    /// The end of dot-framed content was consumed.
    Ended,
}

/// What is wrong with the content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TransferFault {
    Content(ContentFault),
    TooLarge,
    TooManyHops,
}

impl TransferFault {
    pub(super) fn reply(self) -> Reply {
        match self {
            TransferFault::Content(fault) => Reply::content_fault(fault),
            TransferFault::TooLarge => Reply::message_too_large(),
            TransferFault::TooManyHops => Reply::too_many_hops(),
        }
    }
}

/// One message's content on its way.
#[derive(Debug)]
pub(super) struct Transfer {
    pub(super) id: MessageId,
    pub(super) envelope: Envelope,
    /// What went wrong, if anything; the host has forgotten the message then.
    pub(super) fault: Option<TransferFault>,
    pub(super) pace: Pace,
    scanner: Scanner,
    fields: HeaderScanner,
    /// The Received header, and how much of it the host has.
    header: Vec<u8>,
    header_taken: usize,
    /// Bytes that the scanner put in the place of others and that the host has not taken yet.
    owed: &'static [u8],
    /// Content bytes that the host has, the header not counted.
    size: u64,
    /// The end of counted content was looked at.
    finished: bool,
}

impl Transfer {
    pub(super) fn new(id: MessageId, envelope: Envelope, header: Vec<u8>, scanner: Scanner, now: Instant) -> Transfer {
        Transfer {
            id,
            envelope,
            fault: None,
            pace: Pace::new(now),
            scanner,
            fields: HeaderScanner::default(),
            header,
            header_taken: 0,
            owed: b"",
            size: 0,
            finished: false,
        }
    }

    /// What goes with the content, which has ended.
    pub(super) fn into_envelope(self, settings: &Settings) -> Envelope {
        // RFC 8689 §4.1: what the envelope requires counts for more than what the header does not.
        let tls_optional = settings.tls_optional && self.fields.tls_optional() && !self.envelope.require_tls;
        Envelope { tls_optional, ..self.envelope }
    }

    /// Whether dot-framed content ends within `bytes`.
    pub(super) fn ends_within(&self, bytes: &[u8]) -> bool {
        self.scanner.ends_within(bytes)
    }

    /// Consumes what it can of `bytes`.
    pub(super) fn feed(&mut self, bytes: &[u8], settings: &Settings, host: &mut impl Host) -> (usize, Fed) {
        let mut used = 0;
        loop {
            if !self.settle(settings, host) {
                return (used, Fed::Blocked);
            }
            if used == bytes.len() {
                return (used, Fed::Hungry);
            }
            match self.scanner.step(&bytes[used..]) {
                Step::Append(run) => {
                    let taken = self.offer(run, settings, host);
                    if taken < run.len() {
                        let (consumed, owed) = self.scanner.cut(run, taken);
                        self.owed = owed;
                        return (used + consumed, Fed::Blocked);
                    }
                    used += run.len();
                }
                Step::Replace { consumed, with } => {
                    used += consumed;
                    self.owed = with;
                }
                Step::Fault { consumed, fault } => {
                    used += consumed;
                    self.refuse(TransferFault::Content(fault), host);
                }
                Step::End { consumed } => return (used + consumed, Fed::Ended),
            }
        }
    }

    /// Ends counted content. False: the host takes no more for now; call again.
    pub(super) fn finish(&mut self, settings: &Settings, host: &mut impl Host) -> bool {
        if !self.settle(settings, host) {
            return false;
        }
        if !self.finished {
            self.finished = true;
            match self.scanner.finish() {
                Ok(tail) => self.owed = tail,
                Err(fault) => self.refuse(TransferFault::Content(fault), host),
            }
        }
        self.settle(settings, host)
    }

    /// Hands over what is owed from before. False: the host did not take it all.
    fn settle(&mut self, settings: &Settings, host: &mut impl Host) -> bool {
        if self.fault.is_some() {
            self.owed = b"";
            return true;
        }
        if self.header_taken < self.header.len() {
            self.header_taken += host.content(&self.header[self.header_taken..]);
            if self.header_taken < self.header.len() {
                return false;
            }
            self.header = Vec::new();
            self.header_taken = 0;
        }
        if !self.owed.is_empty() {
            let taken = self.offer(self.owed, settings, host);
            self.owed = &self.owed[taken..];
        }
        self.owed.is_empty()
    }

    /// Offers content to the host, unless a limit is passed by it. Returns how much is dealt with.
    fn offer(&mut self, bytes: &[u8], settings: &Settings, host: &mut impl Host) -> usize {
        if self.fault.is_some() || bytes.is_empty() {
            return bytes.len();
        }
        let room = settings.message_size_max - self.size;
        if bytes.len() as u64 > room {
            // What would have fitted is looked at as well: the verdict must not depend on how the bytes were cut.
            self.fields.feed(&bytes[..room as usize]);
            let looped = self.fields.hops() > settings.hops_max;
            self.refuse(if looped { TransferFault::TooManyHops } else { TransferFault::TooLarge }, host);
            return bytes.len();
        }
        let taken = host.content(bytes);
        assert!(taken <= bytes.len(), "the host took more than it was given");
        self.size += taken as u64;
        self.fields.feed(&bytes[..taken]);
        if self.fields.hops() > settings.hops_max {
            self.refuse(TransferFault::TooManyHops, host);
            return bytes.len();
        }
        taken
    }

    /// Keeps the first fault: the one that the sender can act on.
    fn refuse(&mut self, fault: TransferFault, host: &mut impl Host) {
        if self.fault.is_none() {
            self.fault = Some(fault);
            host.abort();
        }
    }
}

/// Holds a client to the least rate at which content must come. The time that we ourselves were busy does not count.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    started: Instant,
    /// Since when the host takes nothing.
    blocked: Option<Instant>,
    bytes: u64,
}

impl Pace {
    pub(super) fn new(now: Instant) -> Pace {
        Pace { started: now, blocked: None, bytes: 0 }
    }

    /// Bytes were consumed.
    pub(super) fn count(&mut self, bytes: usize) {
        self.bytes += bytes as u64;
    }

    /// The host takes nothing, or takes something again.
    pub(super) fn set_blocked(&mut self, now: Instant, blocked: bool) {
        match (self.blocked, blocked) {
            (None, true) => self.blocked = Some(now),
            (Some(since), false) => {
                self.started = self.started + now.since(since);
                self.blocked = None;
            }
            _ => {}
        }
    }

    pub(super) fn is_blocked(&self) -> bool {
        self.blocked.is_some()
    }

    /// When the content will have been too slow if nothing more comes.
    /// Bytes that wait in the ring for our sake count as come.
    pub(super) fn deadline(&self, unread: usize, rate_min: u64) -> Instant {
        match (self.bytes + unread as u64).saturating_mul(1_000_000).checked_div(rate_min) {
            Some(micros) => self.started + CONTENT_RATE_GRACE + Duration::from_micros(micros),
            None => Instant::FAR,
        }
    }
}
