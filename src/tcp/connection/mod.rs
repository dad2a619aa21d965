//! One TCP connection: the state machine of RFC 9293, without frames, clocks and sockets.
//!
//! In: segments, the caller's bytes and wishes, time. Out: segments to send, the peer's bytes in place, a verdict on what
//! came, the next deadline. It never allocates beyond the [`Rings`] that it is lent, and the same inputs give the same
//! outputs.
//!
//! ```text
//! segment ─► acceptable? (9293 §3.10.7.4, 7323 §5, 5961) ─► sender (acknowledgements) ─► receiver (bytes) ─► state
//! sender, receiver ─► next() ─► header and content ─► sent()
//! ```
//!
//! | what | where |
//! | --- | --- |
//! | timestamps, PAWS, window scale (RFC 7323) | [`timestamps`], [`options`] |
//! | SACK (RFC 2018), duplicate SACK (2883), delayed acknowledgements (1122, 5681) | [`receiver`] |
//! | RTO (RFC 6298), tail loss probes (8985), PRR (9937), NewReno without SACK (6582), window probes | [`sender`] |
//! | RACK (RFC 8985) | [`rack`], on what [`flight`] knows |
//! | CUBIC (RFC 9438), initial window (6928) | [`cubic`] |
//! | congestion marks, ECN (RFC 3168) | [`ecn`] |
//! | blind resets, SYNs and acknowledgements (RFC 5961) | here |
//!
//! Not here: Nagle's algorithm, which only adds a round trip to whole replies and blocks; urgent data, which is delivered
//! like any other (RFC 6093 §6 advises against it).

mod cubic;
pub mod ecn;
mod flight;
pub mod options;
mod rack;
pub mod receiver;
pub mod ring;
mod round_trip;
pub mod sender;
pub mod sequence;
pub mod snapshot;
#[cfg(test)]
mod tests;
mod timestamps;

use super::segment::{ACK, CWR, ECE, FIN, PSH, RST, SYN};
use crate::env::Instant;
use crate::flow::PathFacts;
use crate::limits::{KEEP_ALIVE_INTERVAL, OUT_OF_WINDOW_INTERVAL, USER_TIMEOUT};
use ecn::{CE, ECT_0, NOT_ECT};
use options::{Options, TIMESTAMPS_LENGTH, blocks_length};
use receiver::{Due, Receiver};
use ring::Rings;
use sender::{Heard, Part, Sender};
use sequence::Sequence;
use std::mem::offset_of;
use timestamps::Timestamps;

/// Where a connection stands (RFC 9293 §3.3.2). LISTEN is not among them: listening is the stack's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    SynSent,
    SynReceived,
    Established,
    FinWait1,
    FinWait2,
    CloseWait,
    Closing,
    LastAck,
    TimeWait,
    Closed,
}

impl State {
    /// Both SYNs are acknowledged.
    pub fn is_synchronized(self) -> bool {
        !matches!(self, State::SynSent | State::SynReceived | State::Closed)
    }
}

/// What this end offers and bears, the same for all connections of a family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// The largest content of a segment that our link takes, options included: what our SYN says.
    pub segment_size: u16,
    /// What a peer takes that does not say (RFC 9293 §3.7.1).
    pub segment_size_default: u16,
    /// Bytes received and unread at most.
    pub receive_limit: u32,
    /// Our window scale.
    pub window_scale: u8,
}

/// What is chosen for one connection when it begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Start {
    /// Our initial sequence number.
    pub initial: Sequence,
    /// The largest content of a segment, options included, that the path takes.
    pub path_size: u16,
    /// Added to the clock of our timestamps, so that connections cannot be compared (RFC 7323 §7.1).
    pub clock_offset: u32,
}

/// A received segment.
#[derive(Clone, Debug)]
pub struct Incoming<'a> {
    pub sequence: Sequence,
    pub acknowledgement: Sequence,
    pub flags: u8,
    /// The ECN field of its packet.
    pub ecn: u8,
    pub window: u16,
    pub options: Options,
    pub content: &'a [u8],
}

impl Incoming<'_> {
    fn has(&self, flags: u8) -> bool {
        self.flags & flags == flags
    }

    /// Sequence numbers that it takes up.
    fn extent(&self) -> u32 {
        self.content.len() as u32 + u32::from(self.has(SYN)) + u32::from(self.has(FIN))
    }
}

/// What a segment calls for beside what the connection does by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reaction {
    Nothing,
    /// It was taken in part or not at all, as if it had been lost.
    Dropped,
    /// An acknowledgement that challenges the sender (RFC 5961), if there is still one to be had.
    Challenge,
    /// A reset with this sequence number: the segment belongs to another connection.
    Refuse(Sequence),
    /// The peer has reset the connection.
    Reset,
}

/// What goes out next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outgoing {
    Part(Part),
    Acknowledgement,
    /// An acknowledgement with a number that is old: the peer says where it stands (RFC 9293 §3.8.4).
    KeepAlive,
}

/// The fields of a header, options included, and of its packet's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    pub sequence: Sequence,
    pub acknowledgement: Sequence,
    pub flags: u8,
    /// The ECN field of the IP header.
    pub ecn: u8,
    pub window: u16,
    pub options: arrayvec::ArrayVec<u8, { options::OPTIONS_LENGTH_MAX }>,
}

/// The fields of it and of its parts stand in the order of their use, so that most of what a segment needs is fetched at once.
#[repr(C)]
#[derive(Debug)]
pub struct Connection {
    state: State,
    /// Both ends scale their windows.
    scales: bool,
    start: Start,
    /// When the peer was heard last.
    heard_at: Instant,
    /// When it was asked last whether it is there.
    asked_at: Instant,
    timestamps: Option<Timestamps>,
    receive: Receiver,
    send: Sender,
    /// When a segment from outside the window was answered last.
    outsider_at: Option<Instant>,
}

impl Connection {
    /// Every segment needs what lies before this.
    pub const NEEDED: usize = offset_of!(Connection, send) + Sender::NEEDED;

    /// A connection that we start: a SYN is its first segment.
    pub fn connect(start: Start, terms: &Terms, now: Instant) -> Connection {
        Connection::new(State::SynSent, start, Sequence(0), terms, now)
    }

    /// A connection that a SYN asks for: a SYN-ACK is its first segment.
    pub fn accept(start: Start, syn: &Incoming<'_>, terms: &Terms, now: Instant) -> Connection {
        let mut connection = Connection::new(State::SynReceived, start, syn.sequence.after(1), terms, now);
        connection.negotiate(syn, terms, now);
        connection
    }

    fn new(state: State, start: Start, receive_next: Sequence, terms: &Terms, now: Instant) -> Connection {
        let window = terms.receive_limit.min(0xffff);
        Connection {
            state,
            send: Sender::new(start.initial, u32::from(start.path_size), now),
            receive: Receiver::new(receive_next, window, terms.window_scale),
            timestamps: Some(Timestamps { recent: 0, recent_at: now }),
            start,
            scales: true,
            heard_at: now,
            asked_at: now,
            outsider_at: None,
        }
    }

    /// Takes in what the peer's SYN offers.
    fn negotiate(&mut self, syn: &Incoming<'_>, terms: &Terms, now: Instant) {
        let options = &syn.options;
        self.timestamps = options.timestamps.map(|(value, _)| Timestamps { recent: value, recent_at: now });
        let path_size = u32::from(self.start.path_size);
        let size = u32::from(options.segment_size.unwrap_or(terms.segment_size_default));
        let size = size.max(SEGMENT_SIZE_MIN).min(path_size);
        self.send.set_segment_size(size - self.timestamps.map_or(0, |_| TIMESTAMPS_LENGTH));
        match options.window_scale {
            Some(scale) => self.send.scale = scale,
            None => (self.scales, self.receive.scale) = (false, 0),
        }
        (self.send.selective, self.receive.selective) = (options.sack_permitted, options.sack_permitted);
        self.agree_on_ecn(syn);
        self.send.begin_window(syn.sequence, syn.window);
    }

    pub fn state(&self) -> State {
        self.state
    }

    /// Reads something of each line of the caches that every segment needs, which brings them in.
    pub fn touch(&self) -> u64 {
        self.receive.touch() ^ self.send.touch()
    }

    fn enter(&mut self, state: State) {
        self.state = state;
    }

    /// SND.NXT.
    pub fn send_next(&self) -> Sequence {
        self.send.next()
    }

    /// RCV.NXT.
    pub fn receive_next(&self) -> Sequence {
        self.receive.next
    }

    /// The peer's last timestamp, if it uses them.
    pub fn timestamp_recent(&self) -> Option<u32> {
        self.timestamps.map(|timestamps| timestamps.recent)
    }

    /// The unread bytes that lie in one piece, and how many there are in all.
    pub fn received(&self) -> (&[u8], usize) {
        (self.receive.front(), self.receive.unread())
    }

    /// The peer has ended its direction, and all before that is here.
    pub fn finished(&self) -> bool {
        self.receive.finished()
    }

    /// The peer can send nothing before something is consumed.
    pub fn full(&self, terms: &Terms) -> bool {
        self.receive.full(terms.receive_limit)
    }

    /// Drops unread bytes.
    pub fn consume(&mut self, count: usize, terms: &Terms, rings: &mut Rings) {
        self.receive.consume(count, terms.receive_limit, rings);
    }

    /// Takes bytes to send; how many. Nothing after [`close`](Connection::close).
    pub fn push(&mut self, bytes: &[u8], limit: usize, rings: &mut Rings) -> usize {
        match self.state {
            State::Established | State::CloseWait => self.send.push(bytes, limit, rings),
            _ => 0,
        }
    }

    /// Bytes taken and not acknowledged.
    pub fn queued(&self) -> usize {
        self.send.queued()
    }

    /// What it has met on its way.
    pub fn path(&self) -> PathFacts {
        let trip = &self.send.trip;
        PathFacts {
            round_trip_us: trip.is_known().then(|| trip.smoothed().as_micros() as u64),
            retransmissions: u64::from(self.send.retransmissions),
        }
    }

    /// Ends our direction after what was taken.
    pub fn close(&mut self) {
        match self.state {
            State::Established | State::SynReceived => self.enter(State::FinWait1),
            State::CloseWait => self.enter(State::LastAck),
            State::SynSent => return self.enter(State::Closed),
            _ => return,
        }
        self.send.finish();
    }

    /// Gives all memory back; the connection is of no use afterwards.
    pub fn dissolve(&mut self, rings: &mut Rings) {
        self.receive.clear(rings);
        self.send.clear(rings);
        self.enter(State::Closed);
    }

    /// Says once where we stand, with the next segment.
    pub fn acknowledge(&mut self) {
        self.receive.due = Due::Now;
    }

    /// Takes in a segment of this connection, its checksum verified (RFC 9293 §3.10.7).
    pub fn receive(&mut self, segment: &Incoming<'_>, terms: &Terms, now: Instant, rings: &mut Rings) -> Reaction {
        match self.state {
            State::Closed => Reaction::Nothing,
            State::SynSent => self.receive_syn_sent(segment, terms, now, rings),
            _ => self.receive_open(segment, now, rings),
        }
    }

    fn receive_syn_sent(&mut self, segment: &Incoming<'_>, terms: &Terms, now: Instant, rings: &mut Rings) -> Reaction {
        let acknowledges = segment.has(ACK);
        if acknowledges && (segment.acknowledgement != self.send.next() || self.send.flight.is_empty()) {
            return if segment.has(RST) { Reaction::Dropped } else { Reaction::Refuse(segment.acknowledgement) };
        }
        if segment.has(RST) {
            if !acknowledges {
                return Reaction::Dropped;
            }
            self.enter(State::Closed);
            return Reaction::Reset;
        }
        if !segment.has(SYN) {
            return Reaction::Dropped;
        }
        self.heard_at = now;
        self.receive = Receiver::new(segment.sequence.after(1), self.receive.window(), self.receive.scale);
        self.negotiate(segment, terms, now);
        if acknowledges {
            self.take_acknowledgement(segment, now, rings);
            self.enter(State::Established);
            self.receive.due = Due::Now;
        } else {
            // Both began at once (RFC 9293 §3.5): our SYN goes out again, as a SYN-ACK.
            self.enter(State::SynReceived);
            self.send.flight.give_up(|_| true);
        }
        Reaction::Nothing
    }

    fn receive_open(&mut self, segment: &Incoming<'_>, now: Instant, rings: &mut Rings) -> Reaction {
        let reset = segment.has(RST);
        // RFC 7323 §5.3, R1; a reset needs no timestamp.
        match (&self.timestamps, segment.options.timestamps) {
            (Some(own), Some((value, _))) if own.is_old(value, now) && !reset => return self.turn_away(segment, now),
            (Some(_), None) if !reset && !segment.has(SYN) => return Reaction::Dropped,
            _ => {}
        }
        if reset {
            // RFC 5961 §3.2: exactly RCV.NXT resets, the rest of the window is challenged, all else is dropped.
            let distance = segment.sequence.since(self.receive.next);
            if distance == 0 {
                self.enter(State::Closed);
                return Reaction::Reset;
            }
            return if distance < self.receive.window() { Reaction::Challenge } else { Reaction::Dropped };
        }
        let ours = self.state == State::SynReceived && segment.sequence.after(1) == self.receive.next;
        // The answer to a SYN that crossed ours.
        let crossed = ours && segment.has(SYN | ACK);
        if segment.has(SYN) && !crossed {
            // RFC 5961 §4.2, whatever its number.
            if !ours {
                return Reaction::Challenge;
            }
            // A SYN that came twice: the answer is repeated by its own alarm.
            self.send.capable &= segment.sets_up_ecn();
            return Reaction::Dropped;
        }
        // At a window that is shut, acknowledgements are heeded though the content is not (RFC 9293 §3.10.7.4).
        let shut = self.receive.window() == 0 && segment.sequence == self.receive.next && segment.extent() > 0;
        if !crossed && !shut && !self.is_acceptable(segment) {
            return self.turn_away(segment, now);
        }
        if !segment.has(ACK) {
            return Reaction::Dropped;
        }
        let (base, next) = (self.send.base(), self.send.next());
        if self.state == State::SynReceived {
            if segment.acknowledgement.is_beyond(next) || !segment.acknowledgement.is_beyond(base) {
                return Reaction::Refuse(segment.acknowledgement);
            }
            self.send.capable &= !crossed || segment.sets_up_ecn();
            self.enter(State::Established);
        } else if segment.acknowledgement.is_beyond(next)
            || base.since(segment.acknowledgement) > self.send.window_max.max(1)
                && segment.acknowledgement.is_before(base)
        {
            // RFC 5961 §5.2: data that a blind attacker would have to bring along with a guess.
            return Reaction::Challenge;
        }
        self.heard_at = now;
        self.note_timestamp(segment, now);
        if segment.flags & (ECE | CWR) != 0 || segment.ecn == CE {
            self.heed_congestion(segment, now);
        }
        self.take_acknowledgement(segment, now, rings);
        self.advance_after_acknowledgement();
        if shut {
            self.receive.due = Due::Now;
            return Reaction::Dropped;
        }
        if self.take_content(segment, now, rings) { Reaction::Nothing } else { Reaction::Dropped }
    }

    /// RFC 9293 §3.10.7.4, first check.
    fn is_acceptable(&self, segment: &Incoming<'_>) -> bool {
        let (next, edge) = (self.receive.next, self.receive.next.after(self.receive.window()));
        let begin = segment.sequence;
        let in_window = |number: Sequence| !number.is_before(next) && number.is_before(edge);
        match segment.extent() {
            // A bare acknowledgement at the end of a window that is shut, or just filled, is good.
            0 => begin == next || in_window(begin) || begin == edge,
            extent => in_window(begin) || in_window(begin.after(extent - 1)),
        }
    }

    /// A segment from outside the window: the peer learns where we stand, but two ends that both think the other wrong
    /// must not go on for ever.
    fn turn_away(&mut self, segment: &Incoming<'_>, now: Instant) -> Reaction {
        let answered_lately = self.outsider_at.is_some_and(|at| now.since(at) < OUT_OF_WINDOW_INTERVAL);
        let below = segment.sequence.is_before(self.receive.next);
        if below && segment.extent() > 0 {
            // What is here already: its acknowledgement was lost, perhaps.
            let end = segment.sequence.after(segment.extent()).earlier(self.receive.next);
            self.receive.note_duplicate(segment.sequence, end);
            self.heard_at = now;
        } else if !answered_lately {
            self.outsider_at = Some(now);
            self.receive.due = Due::Now;
            self.heard_at = now;
        }
        Reaction::Dropped
    }

    fn note_timestamp(&mut self, segment: &Incoming<'_>, now: Instant) {
        if let (Some(own), Some((value, _))) = (&mut self.timestamps, segment.options.timestamps)
            && !segment.sequence.is_beyond(self.receive.acknowledged())
        {
            own.note(value, now);
        }
    }

    fn take_acknowledgement(&mut self, segment: &Incoming<'_>, now: Instant, rings: &mut Rings) {
        // The window of a SYN is not scaled (RFC 7323 §2.2).
        let scale = if segment.has(SYN) || !self.scales { 0 } else { self.send.scale };
        let heard = Heard {
            sequence: segment.sequence,
            acknowledgement: segment.acknowledgement,
            window: u32::from(segment.window) << scale,
            blocks: &segment.options.blocks,
            echo: self
                .timestamps
                .and(segment.options.timestamps)
                .map(|(_, echo)| echo.wrapping_sub(self.start.clock_offset)),
            bare: segment.extent() == 0,
        };
        self.send.acknowledge(&heard, now, rings);
    }

    fn advance_after_acknowledgement(&mut self) {
        if self.send.finish_arrived() {
            match self.state {
                State::FinWait1 => self.enter(State::FinWait2),
                State::Closing => self.enter(State::TimeWait),
                State::LastAck => self.enter(State::Closed),
                _ => {}
            }
        }
    }

    /// False if the content could not be kept.
    fn take_content(&mut self, segment: &Incoming<'_>, now: Instant, rings: &mut Rings) -> bool {
        let fin = segment.has(FIN);
        if segment.content.is_empty() && !fin {
            return true;
        }
        if self.receive.finished() {
            // Nothing follows a FIN but the same once more.
            self.receive.due = Due::Now;
            return true;
        }
        let begin = segment.sequence.after(u32::from(segment.has(SYN)));
        let kept = self.receive.take(begin, segment.content, fin, now, rings);
        if self.receive.finished() {
            match self.state {
                State::Established => self.enter(State::CloseWait),
                State::FinWait1 => self.enter(State::Closing),
                State::FinWait2 => self.enter(State::TimeWait),
                _ => {}
            }
        }
        kept
    }

    /// What goes out next: call again after [`sent`](Connection::sent) until it is `None`.
    pub fn next(&mut self, now: Instant) -> Option<Outgoing> {
        if self.state == State::Closed {
            return None;
        }
        let room = self.send.segment_size.saturating_sub(blocks_length(self.receive.blocks().len()));
        let open = self.state.is_synchronized();
        if let Some(part) = self.send.next_part(room, open) {
            return Some(Outgoing::Part(part));
        }
        if !open {
            return None;
        }
        self.send.await_window(now);
        match self.receive.due {
            Due::Now => Some(Outgoing::Acknowledgement),
            Due::Later(at) if at <= now => Some(Outgoing::Acknowledgement),
            _ if self.asks_at() <= now => Some(Outgoing::KeepAlive),
            _ => None,
        }
    }

    /// The header of what [`next`](Connection::next) said.
    pub fn header(&mut self, outgoing: &Outgoing, terms: &Terms, now: Instant) -> Header {
        let mut options = Options::default();
        let syn_sent = self.state == State::SynSent;
        let clock = timestamps::clock(self.start.clock_offset, now);
        options.timestamps = self.timestamps.map(|own| (clock, own.recent));
        let (sequence, mut flags, ecn) = match outgoing {
            Outgoing::Part(part) => {
                let reduced = flag(part.capable & self.send.reduced, CWR);
                (part.sequence, part_flags(part) | reduced, u8::from(part.capable) * ECT_0)
            }
            Outgoing::Acknowledgement => (self.send.next(), 0, NOT_ECT),
            Outgoing::KeepAlive => (Sequence(self.send.next().0.wrapping_sub(1)), 0, NOT_ECT),
        };
        let window = if flags & SYN != 0 {
            flags |= self.ecn_setup(outgoing);
            options.segment_size = Some(terms.segment_size);
            options.sack_permitted = syn_sent || self.send.selective;
            options.window_scale = self.scales.then_some(terms.window_scale);
            self.receive.window().min(0xffff) as u16
        } else {
            options.blocks = self.receive.blocks();
            self.receive.advertise(terms.receive_limit)
        };
        flags |= if syn_sent { 0 } else { ACK | flag(self.receive.marked, ECE) };
        let acknowledgement = if syn_sent { Sequence(0) } else { self.receive.next };
        Header { sequence, acknowledgement, flags, ecn, window, options: options.write() }
    }

    /// The content of what [`next`](Connection::next) said, in the two pieces in which it lies.
    pub fn content(&self, outgoing: &Outgoing) -> (&[u8], &[u8]) {
        match outgoing {
            Outgoing::Part(part) => self.send.content(part),
            Outgoing::Acknowledgement | Outgoing::KeepAlive => (&[], &[]),
        }
    }

    /// It has gone out.
    pub fn sent(&mut self, outgoing: &Outgoing, now: Instant) {
        match outgoing {
            Outgoing::Part(part) => self.send.sent(part, now),
            Outgoing::Acknowledgement => {}
            Outgoing::KeepAlive => self.asked_at = now,
        }
        self.receive.told();
    }

    /// When the peer is asked whether it is there: never before the handshake is over, nor while something is under way,
    /// which asks by itself (RFC 9293 §3.8.4, MUST-26).
    fn asks_at(&self) -> Instant {
        if !self.state.is_synchronized() || !self.send.flight.is_empty() {
            Instant::FAR
        } else {
            self.heard_at.max(self.asked_at) + KEEP_ALIVE_INTERVAL
        }
    }

    /// When [`on_time`](Connection::on_time) is due.
    pub fn deadline(&self) -> Instant {
        let answer = match self.receive.due {
            Due::Later(at) => at,
            _ => Instant::FAR,
        };
        let gone = if self.state.is_synchronized() { self.heard_at + USER_TIMEOUT } else { Instant::FAR };
        let send = self.send.deadline().unwrap_or(Instant::FAR);
        send.min(answer).min(self.asks_at()).min(gone)
    }

    /// Alarms that are due go off. False: the peer has not been heard for too long, and the connection is over.
    pub fn on_time(&mut self, now: Instant) -> bool {
        if self.state.is_synchronized() && now.since(self.heard_at) >= USER_TIMEOUT {
            self.enter(State::Closed);
            return false;
        }
        self.send.on_alarm(now);
        true
    }

    /// The path takes no segments with more content than this (options included).
    pub fn shrink(&mut self, path_size: u16) {
        self.start.path_size = self.start.path_size.min(path_size);
        let options = self.timestamps.map_or(0, |_| TIMESTAMPS_LENGTH);
        self.send.shrink(u32::from(path_size).saturating_sub(options));
    }

    /// Large segments have been lost again and again.
    pub fn suspects_black_hole(&self, small: u16) -> bool {
        self.send.suspects_black_hole(u32::from(small))
    }

    /// The largest content of a segment, options included, that the path takes.
    pub fn path_size(&self) -> u16 {
        self.start.path_size
    }

    /// Whether this number is under way: who quotes it has seen it (RFC 5927 §4.1).
    pub fn is_under_way(&self, number: Sequence) -> bool {
        !number.is_before(self.send.base()) && number.is_before(self.send.next())
    }
}

/// The smallest segment size that we heed: a peer that asks for less would have us send headers only.
const SEGMENT_SIZE_MIN: u32 = 216;

fn flag(set: bool, flag: u8) -> u8 {
    u8::from(set) * flag
}

fn part_flags(part: &Part) -> u8 {
    flag(part.syn, SYN) | flag(part.fin, FIN) | flag(part.push, PSH)
}
