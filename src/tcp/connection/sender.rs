//! The sending half of a connection: what goes out, how much of it at a time, and what goes out again (RFC 9293 §3.8, RFC
//! 5681, RFC 6298, RFC 6675, RFC 8985, RFC 9937).
//!
//! ```text
//!      SND.UNA                      SND.NXT            last byte given   FIN
//!         │ flight: sent, not acknowledged │ not yet sent       │
//!         └───────────────── ring ──────────────────────────────┘
//! ```
//!
//! One alarm is set at a time, the one that matters in the phase; [`Sender::rearm`] chooses it after everything that
//! happened.

use super::cubic::Cubic;
use super::flight::{Fate, Flight, Sent};
use super::rack::{Arrival, Rack, is_in_doubt};
use super::receiver::Blocks;
use super::ring::{Ring, Rings};
use super::round_trip::RoundTrip;
use super::sequence::{Sequence, Stretch};
use super::timestamps::millis;
use crate::env::Instant;
use crate::limits::{BLACK_HOLE_TIMEOUTS, TAIL_PROBE_MIN, TAIL_PROBE_SINGLE_DELAY};
use std::mem::offset_of;
use std::time::Duration;

/// RFC 5681 §3.2: so many duplicates mean a loss, where there is no SACK.
const DUPLICATES_MAX: u8 = 3;

/// What the sender is doing about losses.
#[derive(Clone, Copy, Debug)]
pub enum Phase {
    Open,
    /// Something was marked, and the window has come down for it.
    Reduced {
        /// What was sent when it did: what is marked of that has been answered. It ends when more than that has arrived, and with
        /// the first of it our CWR; until then what the peer says of marks is old.
        until: Sequence,
        /// The window was one segment already: the next goes out when the timeout has passed.
        waits: bool,
    },
    /// Losses were found by what arrived after them; the window comes down in proportion (PRR, RFC 9937).
    Recovery {
        /// What was sent when it began: recovery ends when all of that has arrived.
        until: Sequence,
        /// Bytes that were under way when it began and that the peer was not known to have: RecoverFS.
        flight: u32,
        delivered: u32,
        sent: u32,
    },
    /// The timeout came: all is taken for lost.
    Loss {
        until: Sequence,
        doubt: Doubt,
    },
}

/// Whether the timeout came too early, which the echo in the first answer tells (RFC 3522).
#[derive(Clone, Copy, Debug)]
pub enum Doubt {
    /// Nothing has gone out again yet.
    Unasked,
    /// The milliseconds when the first segment went out again: an echo from before answers the first copy.
    Asked(u32),
    Settled,
}

/// What the alarm means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alarm {
    /// RTO.
    Retransmit,
    /// The last segments of a burst were not answered: one more is sent to draw an answer (TLP, RFC 8985 §7).
    Tail,
    /// What arrived out of order has had its time (RACK).
    Reorder,
    /// The peer's window is shut (RFC 9293 §3.8.6.1).
    Window,
}

/// A tail loss probe that was not answered.
#[derive(Clone, Copy, Debug)]
struct TailProbe {
    end: Sequence,
    repeated: bool,
}

/// What an acknowledgement says.
#[derive(Clone, Debug)]
pub struct Heard<'a> {
    pub sequence: Sequence,
    pub acknowledgement: Sequence,
    /// Bytes that the peer takes beyond the acknowledgement.
    pub window: u32,
    pub blocks: &'a Blocks,
    /// The echo of our clock, in the milliseconds of [`millis`](super::timestamps::millis).
    pub echo: Option<u32>,
    /// Nothing but an acknowledgement.
    pub bare: bool,
}

/// A segment to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    pub sequence: Sequence,
    /// Bytes of content.
    pub length: u32,
    pub syn: bool,
    pub fin: bool,
    /// The last byte that there is: the peer need not wait for more.
    pub push: bool,
    /// The segment in the flight that it repeats.
    pub repeats: Option<usize>,
    /// A router may mark it instead of dropping it (ECT).
    pub capable: bool,
}

impl Part {
    /// Sequence numbers that it takes up.
    fn extent(&self) -> u32 {
        self.length + u32::from(self.syn) + u32::from(self.fin)
    }
}

#[repr(C)]
#[derive(Debug)]
pub struct Sender {
    pub flight: Flight,
    pub(super) ring: Ring,
    /// SND.WND, bytes.
    pub window: u32,
    /// The largest window that the peer has offered.
    pub window_max: u32,
    /// SND.WL1 and SND.WL2.
    pub(super) updated_by: (Sequence, Sequence),
    /// Bytes of content that a segment may hold, less the options that all have.
    pub segment_size: u32,
    /// The processor may look at it in advance also where `opened` makes it needless.
    pub initial: Sequence,
    /// The peer's window scale.
    pub scale: u8,
    /// The peer has acknowledged our SYN. Numbers go round: `initial` names a byte of content again after 4 GiB.
    opened: bool,
    /// The peer speaks SACK.
    pub selective: bool,
    /// Both ends have agreed to ECN, and new content is ECT.
    pub(super) capable: bool,
    /// The window has come down, and the peer has not heard of it (CWR).
    pub(super) reduced: bool,
    /// Duplicate acknowledgements in a row, where it does not.
    duplicates: u8,
    /// An alarm has asked for one segment more than the windows allow.
    extra: bool,
    /// Timeouts in a row, since something arrived.
    pub timeouts: u8,
    /// The number of our FIN, once the caller has ended.
    pub(super) finish: Option<Sequence>,
    /// SND.NXT when the window of congestion, not the lack of content, last held us back. While what was under way then is
    /// being acknowledged, the window is used up and may grow (RFC 9438 §5.8): also by the second of two acknowledgements
    /// that come together, before anything could be sent between them.
    limited_at: Option<Sequence>,
    tail: Option<TailProbe>,
    pub phase: Phase,
    alarm: Option<(Alarm, Instant)>,
    reorder_at: Option<Instant>,
    pub cubic: Cubic,
    pub trip: RoundTrip,
    /// From when on the timeout counts: the last progress or the first sending after silence.
    pub(super) timed_from: Instant,
    sent_at: Instant,
    pub rack: Rack,
    /// Segments that were sent again.
    pub retransmissions: u32,
}

impl Sender {
    /// Every segment needs what lies before this.
    pub const NEEDED: usize = offset_of!(Sender, cubic) + Cubic::NEEDED;

    pub fn new(initial: Sequence, segment_size: u32, now: Instant) -> Sender {
        Sender {
            initial,
            opened: false,
            flight: Flight::new(initial),
            ring: Ring::default(),
            finish: None,
            window: 0,
            window_max: 0,
            updated_by: (Sequence(0), Sequence(0)),
            scale: 0,
            segment_size,
            trip: RoundTrip::UNKNOWN,
            cubic: Cubic::new(segment_size),
            rack: Rack::new(initial),
            phase: Phase::Open,
            alarm: None,
            selective: false,
            capable: false,
            reduced: false,
            duplicates: 0,
            tail: None,
            extra: false,
            reorder_at: None,
            timed_from: now,
            sent_at: now,
            limited_at: None,
            timeouts: 0,
            retransmissions: 0,
        }
    }

    /// Reads something of each line of the caches that every segment needs.
    pub fn touch(&self) -> u64 {
        u64::from(self.base().0 ^ self.window ^ self.cubic.window())
    }

    /// SND.UNA.
    pub fn base(&self) -> Sequence {
        self.flight.base()
    }

    /// SND.NXT.
    pub fn next(&self) -> Sequence {
        self.flight.end()
    }

    /// Bytes taken and not acknowledged.
    pub fn queued(&self) -> usize {
        self.ring.length()
    }

    /// The caller has ended, and our FIN follows.
    pub fn is_finishing(&self) -> bool {
        self.finish.is_some()
    }

    /// Goes on behind this number, all before which has arrived.
    pub fn resume_at(&mut self, base: Sequence) {
        (self.opened, self.flight, self.rack) = (true, Flight::new(base), Rack::new(base));
    }

    /// All of ours has arrived, the FIN too.
    pub fn finish_arrived(&self) -> bool {
        self.finish.is_some_and(|finish| self.base().is_beyond(finish))
    }

    /// The number of the ring's first byte.
    fn content_begin(&self) -> Sequence {
        if self.opened { self.base() } else { self.initial.after(1) }
    }

    fn content_end(&self) -> Sequence {
        self.content_begin().after(self.ring.length() as u32)
    }

    /// Takes bytes to send; how many.
    pub fn push(&mut self, bytes: &[u8], limit: usize, rings: &mut Rings) -> usize {
        let length = self.ring.length();
        let mut count = bytes.len().min(limit.saturating_sub(length));
        if self.finish.is_some() || count == 0 {
            return 0;
        }
        if !rings.make_room(&mut self.ring, length + count, length) {
            count = count.min(self.ring.capacity() - length);
        }
        self.ring.write(length, &bytes[..count]);
        self.ring.extend(count);
        count
    }

    /// No more will be given.
    pub fn finish(&mut self) {
        if self.finish.is_none() {
            self.finish = Some(self.content_end());
        }
    }

    /// Gives back the ring.
    pub fn clear(&mut self, rings: &mut Rings) {
        rings.take_back(std::mem::take(&mut self.ring));
    }

    /// Our SYN has not been sent.
    fn is_fresh(&self) -> bool {
        !self.opened && self.flight.is_empty()
    }

    /// Content that was never sent.
    fn unsent(&self) -> u32 {
        let next = self.next();
        if self.is_fresh() || self.content_end().is_before(next) { 0 } else { self.content_end().since(next) }
    }

    /// The content of a part, in the two pieces in which it lies.
    pub fn content(&self, part: &Part) -> (&[u8], &[u8]) {
        let begin = if part.syn { part.sequence.after(1) } else { part.sequence };
        self.ring.slices(begin.since(self.content_begin()) as usize, part.length as usize)
    }

    /// The next segment to send, or `None` if nothing is to go out or the windows are shut. `room`: bytes of content that
    /// a segment may hold now. `open`: the handshake is over.
    pub fn next_part(&mut self, room: u32, open: bool) -> Option<Part> {
        if self.is_fresh() {
            return Some(self.part(Stretch { begin: self.initial, end: self.initial.after(1) }, None));
        }
        let room = room.min(self.segment_size).max(1);
        let flying = self.flight.flying();
        // The first two duplicates let a new segment out each (RFC 3042 §2); blocks say the same by themselves.
        let spare = if self.duplicates == 0 || self.is_repairing() {
            0
        } else {
            u32::from(self.duplicates.min(2)) * self.segment_size
        };
        let allowance = self.cubic.window().saturating_add(spare).saturating_sub(flying);
        if let Some(index) = self.flight.first_lost() {
            let stretch = self.front(index, room);
            if stretch.length() <= allowance || flying == 0 || self.extra {
                return Some(self.part(stretch, Some(index)));
            }
            return None;
        }
        if !open {
            return None;
        }
        let (next, unsent) = (self.next(), self.unsent());
        let edge = self.base().after(self.window);
        let usable = if edge.is_beyond(next) { edge.since(next) } else { 0 };
        if unsent > 0 {
            let mut length = unsent.min(room);
            if length > usable {
                // RFC 9293 §3.8.6.2.1: no crumbs, unless the window was never large.
                let worth = usable >= (self.window_max / 2).min(room) && usable > 0;
                length = match (worth, self.extra && self.flight.is_empty()) {
                    (true, _) => usable,
                    // A window probe is one byte beyond.
                    (false, true) => usable.max(1).min(length),
                    (false, false) => 0,
                };
            }
            if length > allowance {
                self.limited_at = Some(next);
            }
            let goes = (length <= allowance || flying == 0) && !self.waits();
            if length > 0 && (goes || self.extra) {
                let part = self.part(Stretch { begin: next, end: next.after(length) }, None);
                return Some(Part { capable: self.capable & (length <= usable), ..part });
            }
        } else if self.finish == Some(next) {
            return Some(self.part(Stretch { begin: next, end: next.after(1) }, None));
        }
        if self.extra && !self.flight.is_empty() {
            // Nothing new: the last segment once more, or the first of those that meet a shut window.
            let index = if self.window == 0 { 0 } else { self.flight.count() - 1 };
            return Some(self.part(self.front(index, room), Some(index)));
        }
        None
    }

    /// As much of a segment under way as fits into one now.
    fn front(&self, index: usize, room: u32) -> Stretch {
        let whole = self.flight.stretch(index);
        Stretch { begin: whole.begin, end: whole.end.earlier(whole.begin.after(room)) }
    }

    /// Describes a stretch of sequence numbers as a segment. A FIN goes along with the last byte.
    fn part(&self, stretch: Stretch, repeats: Option<usize>) -> Part {
        let syn = !self.opened && stretch.begin == self.initial;
        let has_fin = |end: Sequence| self.finish.is_some_and(|finish| end == finish.after(1));
        let joins = repeats.is_none() && !syn && self.finish == Some(stretch.end);
        let end = if joins { stretch.end.after(1) } else { stretch.end };
        let fin = has_fin(end) && !syn;
        let length = end.since(stretch.begin) - u32::from(syn) - u32::from(fin);
        let push = length > 0 && stretch.begin.after(length) == self.content_end();
        Part { sequence: stretch.begin, length, syn, fin, push, repeats, capable: false }
    }

    /// A part has gone out.
    pub fn sent(&mut self, part: &Part, now: Instant) {
        let extra = std::mem::take(&mut self.extra);
        if self.flight.is_empty() {
            if part.length > 0 && now.since(self.sent_at) > self.trip.timeout() {
                self.cubic.restart(self.segment_size);
            }
            self.timed_from = now;
        }
        self.reduced &= !part.capable;
        if extra && self.window > 0 && matches!(self.phase, Phase::Open | Phase::Reduced { .. }) {
            let end = self.next().later(part.sequence.after(part.extent()));
            self.tail = Some(TailProbe { end, repeated: part.repeats.is_some() });
        }
        match part.repeats {
            Some(index) => {
                self.retransmissions = self.retransmissions.saturating_add(1);
                self.flight.repeat(index, part.extent(), now);
                // The timeout counts from when what it waits for went out last (RFC 6675 §5).
                if index == 0 {
                    self.timed_from = now;
                }
            }
            None => self.flight.push(part.sequence.after(part.extent()), now),
        }
        match &mut self.phase {
            Phase::Recovery { sent, .. } => *sent += part.extent(),
            Phase::Loss { doubt: doubt @ Doubt::Unasked, .. } => *doubt = Doubt::Asked(millis(now)),
            _ => {}
        }
        self.sent_at = now;
        self.rearm();
    }

    /// Takes in an acknowledgement whose number lies between SND.UNA and SND.NXT, or before.
    pub fn acknowledge(&mut self, heard: &Heard<'_>, now: Instant, rings: &mut Rings) {
        let (before, flying) = (self.base(), self.flight.flying());
        let (content, content_begin) = (self.ring.length(), self.content_begin());
        let mut newest: Option<(Instant, bool)> = None;
        let (rack, trip) = (&mut self.rack, &self.trip);
        let selected = arrivals(heard, before, self.flight.end());
        let mut see = |sent: &Sent, arrival: Arrival| {
            rack.arrived(sent, arrival, now, trip.least());
            if newest.is_none_or(|(at, _)| at <= sent.at) {
                newest = Some((sent.at, sent.repeated));
            }
        };
        // An echo from before the repetition answers the copy before it. What lies beyond a hole is not echoed, and of what one
        // acknowledgement covers the first is (RFC 7323 §4.3).
        let earlier = |sent: &Sent| heard.echo.is_some_and(|echo| (echo.wrapping_sub(millis(sent.at)) as i32) < 0);
        let mut echoed = Arrival::Earlier;
        let mut delivered = self.flight.acknowledge(heard.acknowledgement, |sent| {
            let arrival = std::mem::replace(&mut echoed, Arrival::PerhapsEarlier);
            see(sent, if earlier(sent) { arrival } else { Arrival::Unknown });
        });
        let mut arrived_selected = 0;
        for stretch in &selected.blocks {
            arrived_selected += self.flight.select(*stretch, |sent| see(sent, Arrival::Unknown));
        }
        delivered += arrived_selected;
        let progress = self.base() != before;
        if progress {
            // RFC 6298 §5.7.
            self.trip.cautious |= !self.opened && self.timeouts > 0;
            self.opened = true;
            let acknowledged = if self.base().is_before(content_begin) { 0 } else { self.base().since(content_begin) };
            self.ring.consume((acknowledged as usize).min(content));
            if self.ring.length() == 0 {
                self.clear(rings);
            }
            self.timed_from = now;
            self.timeouts = 0;
            self.duplicates = 0;
        }
        if let Some((at, false)) = newest {
            self.trip.measure(now.since(at), now);
        } else if progress {
            // RFC 6298 leaves the doubled timeout until there is a measurement; with the peer alive it may as well end.
            self.trip.backoff = 0;
        }
        let opened = self.update_window(heard);
        if selected.duplicate && !matches!(self.phase, Phase::Loss { .. }) {
            self.rack.duplicate(self.base(), self.next());
        }
        self.judge_tail(heard, progress, selected.duplicate, now);
        let is_duplicate = heard.bare && !progress && !opened && !self.flight.is_empty();
        let guessed = if self.selective { 0 } else { self.count_duplicate(is_duplicate) };
        self.judge_losses(heard, progress, delivered, now);
        self.reduce_in_proportion(delivered + guessed, delivered);
        let full = if self.cubic.in_slow_start() { 2 * flying } else { flying + self.segment_size };
        let limited = self.limited_at.is_some_and(|at| before.is_before(at));
        self.limited_at = self.limited_at.filter(|at| self.base().is_before(*at));
        let growing = matches!(self.phase, Phase::Open | Phase::Loss { .. });
        if delivered > 0 && growing && (limited || full > self.cubic.window()) {
            self.cubic.grow(delivered, self.segment_size, self.trip.smoothed(), now);
        }
        self.rearm();
    }

    /// SND.WND (RFC 9293 §3.10.7.4); true if it changed.
    fn update_window(&mut self, heard: &Heard<'_>) -> bool {
        let (by_sequence, by_acknowledgement) = self.updated_by;
        let newer = by_sequence.is_before(heard.sequence)
            || by_sequence == heard.sequence && !heard.acknowledgement.is_before(by_acknowledgement);
        if !newer {
            return false;
        }
        self.updated_by = (heard.sequence, heard.acknowledgement);
        self.set_window(heard.window)
    }

    fn set_window(&mut self, window: u32) -> bool {
        self.window_max = self.window_max.max(window);
        if self.window == 0 && window > 0 {
            self.trip.backoff = 0;
        }
        std::mem::replace(&mut self.window, window) != window
    }

    /// The window that a SYN offers is not scaled, and nothing came before it.
    pub fn begin_window(&mut self, sequence: Sequence, window: u16) {
        self.updated_by = (sequence, self.base());
        self.set_window(u32::from(window));
    }

    /// RFC 8985 §7.4.2: what the answer to a tail probe says.
    fn judge_tail(&mut self, heard: &Heard<'_>, progress: bool, duplicate: bool, now: Instant) {
        let Some(tail) = self.tail else { return };
        if heard.acknowledgement.is_before(tail.end) {
            return;
        }
        let lost = tail.repeated && !duplicate && heard.acknowledgement.is_beyond(tail.end);
        let again = heard.bare && !progress && heard.blocks.is_empty() && heard.acknowledgement == tail.end;
        if lost {
            // The probe repaired a loss that nothing else will tell of.
            self.reduce();
            self.cubic.set_window(self.cubic.threshold());
        }
        if !tail.repeated || duplicate || lost || again || now.since(self.sent_at) > self.trip.timeout() {
            self.tail = None;
        }
    }

    /// Duplicates stand for segments that arrived, where the peer does not say which (RFC 6675 has it with SACK).
    fn count_duplicate(&mut self, is_duplicate: bool) -> u32 {
        if !is_duplicate {
            return 0;
        }
        self.duplicates = self.duplicates.saturating_add(1);
        self.segment_size
    }

    fn judge_losses(&mut self, heard: &Heard<'_>, progress: bool, delivered: u32, now: Instant) {
        if let Phase::Loss { doubt, .. } = &mut self.phase
            && progress
            && let Doubt::Asked(asked) = std::mem::replace(doubt, Doubt::Settled)
            && heard.echo.is_some_and(|echo| (echo.wrapping_sub(asked) as i32) < 0)
        {
            // What was taken for lost was only late, and the window was taken away for nothing.
            self.cubic.undo();
            self.flight.recover();
            self.phase = Phase::Open;
        }
        let (recovering, ended) = match self.phase {
            Phase::Open => (false, false),
            Phase::Reduced { until, .. } => (false, self.base().is_beyond(until)),
            Phase::Recovery { until, .. } | Phase::Loss { until, .. } => (true, !self.base().is_before(until)),
        };
        if ended {
            if let Phase::Recovery { .. } = self.phase {
                self.cubic.set_window(self.cubic.threshold());
                self.rack.recovered();
            }
            self.phase = match self.phase {
                // Our CWR has not arrived yet.
                Phase::Recovery { until, .. } | Phase::Loss { until, .. } if self.capable && self.base() == until => {
                    Phase::Reduced { until, waits: false }
                }
                _ => Phase::Open,
            };
        }
        let recovering = recovering && !ended;
        self.reorder_at = None;
        let lost = if self.selective {
            self.detect(recovering, now)
        } else if self.duplicates == DUPLICATES_MAX && !recovering || progress && self.in_recovery() {
            // RFC 6582: the third duplicate, and each partial acknowledgement, tell of one loss.
            self.duplicates = self.duplicates.max(DUPLICATES_MAX);
            let mut first = true;
            self.flight.give_up(|_| std::mem::take(&mut first))
        } else {
            0
        };
        if lost > 0 && !recovering {
            self.enter_recovery(delivered);
        }
    }

    /// Something was lost, and not all that was sent before that was noticed has arrived.
    fn is_repairing(&self) -> bool {
        matches!(self.phase, Phase::Recovery { .. } | Phase::Loss { .. })
    }

    fn in_recovery(&self) -> bool {
        matches!(self.phase, Phase::Recovery { .. })
    }

    fn detect(&mut self, recovering: bool, now: Instant) -> u32 {
        if !is_in_doubt(&self.flight, recovering) {
            return 0;
        }
        let (least, smoothed) = (self.trip.least(), self.trip.smoothed());
        let (lost, again) = self.rack.detect(&mut self.flight, now, recovering, least, smoothed);
        self.reorder_at = again;
        lost
    }

    /// `delivered`: bytes of which it is news that they have arrived.
    fn enter_recovery(&mut self, delivered: u32) {
        // RecoverFS: what had arrived before is no part of it, what arrived just now is the first of it to be delivered.
        let flight = self.next().since(self.base()) - self.flight.arrived() + delivered;
        if !self.has_answered() {
            self.reduce();
        }
        self.tail = None;
        self.phase = Phase::Recovery { until: self.next(), flight: flight.max(1), delivered: 0, sent: 0 };
    }

    /// Proportional rate reduction (RFC 9937 §5): for so much that arrives, so much may go out.
    fn reduce_in_proportion(&mut self, arrived: u32, known: u32) {
        let Phase::Recovery { flight, delivered, sent, .. } = &mut self.phase else { return };
        *delivered += arrived;
        let (flying, threshold, size) = (self.flight.flying(), self.cubic.threshold(), self.segment_size);
        let allowance = if flying > threshold {
            (u64::from(*delivered) * u64::from(threshold)).div_ceil(u64::from(*flight)) as u32
        } else {
            let least = delivered.saturating_sub(*sent).max(known);
            *sent + (least + size).min(threshold - flying)
        };
        // The first repetition goes out whatever the proportion says.
        let may = allowance.saturating_sub(*sent).max(if *sent == 0 { size } else { 0 });
        self.cubic.set_window(flying + may);
    }

    /// Nothing may go out. If nothing is under way either whose answer could change that, the peer's window is waited for
    /// from now on, and probed (RFC 9293 §3.8.6.1).
    pub fn await_window(&mut self, now: Instant) {
        if self.alarm.is_none() && self.unsent() > 0 {
            // A mark has set the alarm already.
            if !self.waits() {
                self.timed_from = now;
            }
            self.rearm();
        }
    }

    /// Chooses the alarm that matters now.
    pub(super) fn rearm(&mut self) {
        let blocked = self.window == 0 && (self.unsent() > 0 || !self.flight.is_empty()) && self.opened;
        self.alarm = if blocked && self.flight.count() <= 1 {
            let from = if self.flight.is_empty() { self.timed_from.max(self.sent_at) } else { self.sent_at };
            Some((Alarm::Window, from + self.trip.timeout()))
        } else if self.flight.is_empty() {
            // Crumbs that wait for a larger window (RFC 9293 §3.8.6.2.1) must not wait for ever.
            (self.unsent() > 0).then(|| (Alarm::Window, self.timed_from.max(self.sent_at) + self.trip.timeout()))
        } else if let Some(at) = self.reorder_at {
            Some((Alarm::Reorder, at))
        } else {
            let timeout = (Alarm::Retransmit, self.timed_from + self.trip.timeout());
            // A probe that would come after the timeout comes in its place (RFC 8985 §7.2).
            let tail = self.tail_delay().map(|delay| (self.sent_at.max(self.timed_from) + delay).min(timeout.1));
            Some(tail.map_or(timeout, |at| (Alarm::Tail, at)))
        };
    }

    /// PTO (RFC 8985 §7.2), if a probe makes sense: nothing is known to be lost and none is under way.
    fn tail_delay(&self) -> Option<Duration> {
        let quiet = matches!(self.phase, Phase::Open | Phase::Reduced { waits: false, .. })
            && self.flight.arrived() == 0
            && self.flight.lost() == 0;
        if !quiet || !self.selective || self.tail.is_some() || !self.trip.is_known() || self.timeouts > 0 {
            return None;
        }
        let single = if self.flight.count() == 1 { TAIL_PROBE_SINGLE_DELAY } else { Duration::ZERO };
        Some((2 * self.trip.smoothed() + single).max(TAIL_PROBE_MIN))
    }

    /// When [`on_alarm`](Sender::on_alarm) is due.
    pub fn deadline(&self) -> Option<Instant> {
        self.alarm.map(|(_, at)| at)
    }

    /// The alarm goes off, if it is due.
    pub fn on_alarm(&mut self, now: Instant) {
        let Some((alarm, at)) = self.alarm else { return };
        if at > now {
            return;
        }
        match alarm {
            Alarm::Reorder => {
                let recovering = self.is_repairing();
                self.reorder_at = None;
                if self.detect(recovering, now) > 0 {
                    if !recovering {
                        self.enter_recovery(0);
                    }
                    self.reduce_in_proportion(0, 0);
                }
            }
            Alarm::Tail => {
                self.extra = true;
                // Sent or not, there is one probe; what comes next is the timeout. It counts from here: the last resort must
                // not come before the answer to the probe can (RFC 8985 §7.3).
                self.tail = Some(TailProbe { end: self.next(), repeated: false });
                self.timed_from = now;
            }
            Alarm::Window => {
                self.extra = true;
                self.trip.backoff = self.trip.backoff.saturating_add(1);
                self.timed_from = now;
            }
            Alarm::Retransmit => self.time_out(now),
        }
        self.rearm();
    }

    /// RFC 6298 §5.4 to 5.7, RFC 5681 §3.1.
    fn time_out(&mut self, now: Instant) {
        self.timeouts = self.timeouts.saturating_add(1);
        self.trip.backoff = self.trip.backoff.saturating_add(1);
        self.timed_from = now;
        self.tail = None;
        self.reorder_at = None;
        self.duplicates = 0;
        if !self.opened {
            // A handshake: the window has not been used yet, and a second loss says that it is to be small (RFC 6298 §5.7).
            self.flight.give_up(|_| true);
            if self.timeouts > 1 {
                self.cubic.collapse(self.segment_size);
            }
            return;
        }
        if self.flight.first().is_some_and(|first| first.fate == Fate::Arrived) {
            self.flight.renege();
        }
        self.flight.give_up(|_| true);
        if !matches!(self.phase, Phase::Loss { .. }) {
            self.reduce();
        }
        self.cubic.collapse(self.segment_size);
        self.phase = Phase::Loss { until: self.next(), doubt: Doubt::Unasked };
    }

    /// Large segments have been lost again and again while small ones may get through: a black hole (RFC 8899 §4.3).
    pub fn suspects_black_hole(&self, small: u32) -> bool {
        let large = || self.flight.stretch(0).length() > small;
        self.timeouts >= BLACK_HOLE_TIMEOUTS && self.segment_size > small && !self.flight.is_empty() && large()
    }

    /// The handshake has told how large segments may be.
    pub fn set_segment_size(&mut self, segment_size: u32) {
        self.segment_size = segment_size;
        self.cubic = Cubic::new(segment_size);
        if self.timeouts > 1 {
            self.cubic.collapse(segment_size);
        }
    }

    /// The path takes no more than this from now on; larger segments are sent again in pieces.
    pub fn shrink(&mut self, segment_size: u32) {
        if segment_size < self.segment_size {
            self.segment_size = segment_size.max(1);
            self.flight.give_up_larger_than(self.segment_size);
            self.rearm();
        }
    }
}

/// What the SACK blocks of an acknowledgement say.
struct Selected {
    /// In the order of their numbers.
    blocks: Blocks,
    /// The first was a duplicate's (RFC 2883 §4).
    duplicate: bool,
}

fn arrivals(heard: &Heard<'_>, base: Sequence, end: Sequence) -> Selected {
    let to = heard.acknowledgement.later(base);
    let first = heard.blocks.first().copied().unwrap_or_default();
    let within = |outer: &Stretch| !first.begin.is_before(outer.begin) && !first.end.is_beyond(outer.end);
    let duplicate = first.length() > 0 && (!first.end.is_beyond(to) || heard.blocks.get(1).is_some_and(within));
    let sensible =
        |block: &&Stretch| block.begin.is_before(block.end) && !block.begin.is_before(to) && !block.end.is_beyond(end);
    let mut blocks: Blocks = heard.blocks.iter().skip(usize::from(duplicate)).filter(sensible).copied().collect();
    // The latest is told first. Where the acknowledgement before was lost, an older one is news too, and in this order it
    // would look as if it had arrived later than what was sent after it.
    blocks.sort_unstable_by_key(|block| block.begin.since(to));
    Selected { blocks, duplicate }
}
