//! A connection as bytes, so that another stack can go on with it where this one stopped.
//!
//! Everything is in it that the peer knows of: numbers, windows, clocks, what was sent and not acknowledged, what was
//! received and not read, islands too, marks of congestion and what was said of them. Of what only we know, the round trip
//! and the window of congestion go along; a recovery that is under way ends, and what was lost is sent again all the same.
//! Times are ages, since the two stacks' clocks have different origins.
//!
//! A snapshot may come from a disk or a wire: restoring checks it, and what does not fit together is refused.

use super::flight::{Fate, Sent};
use super::receiver::{Due, Receiver};
use super::ring::Rings;
use super::round_trip::RoundTrip;
use super::sender::Sender;
use super::sequence::{Sequence, Stretch};
use super::timestamps::{Timestamps, clock, millis};
use super::{Connection, Start, State, Terms};
use crate::env::Instant;
use crate::limits::ISLANDS_MAX;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// A window cannot be larger (RFC 7323 §2.3).
const WINDOW_MAX: u32 = 1 << 30;

const SCALE_MAX: u8 = 14;

/// The states that have something to go on with.
pub(super) const STATES: [State; 7] = [
    State::Established,
    State::FinWait1,
    State::FinWait2,
    State::CloseWait,
    State::Closing,
    State::LastAck,
    State::TimeWait,
];

#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    state: u8,
    path_size: u16,
    /// The clock of our timestamps.
    clock: u32,
    scales: bool,
    /// The peer's clock and how long ago it was seen, milliseconds.
    peer_clock: Option<(u32, u64)>,
    heard_ago: Duration,
    send: SenderSnapshot,
    receive: ReceiverSnapshot,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct SenderSnapshot {
    pub initial: u32,
    pub base: u32,
    /// Length, age, fate and whether it was repeated, of each segment under way.
    pub flight: Vec<(u32, Duration, u8, bool)>,
    pub content: Vec<u8>,
    pub finish: Option<u32>,
    pub window: u32,
    pub window_max: u32,
    pub updated_by: (u32, u32),
    pub scale: u8,
    pub segment_size: u32,
    pub selective: bool,
    /// ECN: content is ECT, and a CWR is owed.
    pub capable: bool,
    pub reduced: bool,
    pub trip: (u64, u64),
    pub congestion: (f64, f64, f64),
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct ReceiverSnapshot {
    pub next: u32,
    /// The window as the peer knows it, and what was not acknowledged of what is here, bytes.
    pub window: u32,
    pub pending: u32,
    pub content: Vec<u8>,
    /// What lies beyond holes: the distance from `next`, and the bytes.
    pub islands: Vec<(u32, Vec<u8>)>,
    pub fin: Option<u32>,
    pub segment_size: u16,
    pub scale: u8,
    pub selective: bool,
    /// ECN: marks are echoed, and one is.
    pub echoes: bool,
    pub marked: bool,
}

/// Why a snapshot cannot be restored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RestoreError {
    /// What it says does not fit together.
    #[error("the snapshot of the connection contradicts itself")]
    Contradiction,
    /// The memory for rings is used up.
    #[error("there is no memory for what the connection holds")]
    NoMemory,
}

impl Connection {
    /// What another stack needs to go on; `None` before the handshake is over and after the end.
    pub fn snapshot(&self, now: Instant) -> Option<Snapshot> {
        let state = STATES.iter().position(|state| *state == self.state)? as u8;
        Some(Snapshot {
            state,
            path_size: self.start.path_size,
            clock: clock(self.start.clock_offset, now),
            scales: self.scales,
            peer_clock: self.timestamps.map(|own| (own.recent, now.since(own.recent_at).as_millis() as u64)),
            heard_ago: now.since(self.heard_at),
            send: self.send.snapshot(now),
            receive: self.receive.snapshot(),
        })
    }

    /// The connection of a snapshot. Every restored one must be [dissolved](Connection::dissolve) in the end.
    pub fn restore(
        snapshot: &Snapshot,
        terms: &Terms,
        now: Instant,
        rings: &mut Rings,
    ) -> Result<Connection, RestoreError> {
        let state = STATES.get(usize::from(snapshot.state)).copied().ok_or(RestoreError::Contradiction)?;
        let receive = Receiver::restore(&snapshot.receive, rings)?;
        let send = match Sender::restore(&snapshot.send, now, rings) {
            Ok(send) => send,
            Err(error) => {
                let mut receive = receive;
                receive.clear(rings);
                return Err(error);
            }
        };
        let back = |age: Duration| Instant::from_nanos(now.nanos().saturating_sub(age.as_nanos() as u64));
        let mut connection = Connection {
            state,
            send,
            receive,
            timestamps: snapshot
                .peer_clock
                .map(|(recent, ago)| Timestamps { recent, recent_at: back(Duration::from_millis(ago)) }),
            start: Start {
                initial: Sequence(snapshot.send.initial),
                path_size: snapshot.path_size,
                clock_offset: snapshot.clock.wrapping_sub(millis(now)),
            },
            scales: snapshot.scales,
            heard_at: back(snapshot.heard_ago),
            asked_at: now,
            outsider_at: None,
        };
        connection.shrink(terms.segment_size);
        let fin_sent = !matches!(state, State::Established | State::CloseWait);
        let fin_received = !matches!(state, State::Established | State::FinWait1 | State::FinWait2);
        let fin_arrived = matches!(state, State::FinWait2 | State::TimeWait);
        let consistent = connection.send.is_finishing() == fin_sent
            && connection.receive.finished() == fin_received
            && connection.send.finish_arrived() == fin_arrived;
        if !consistent {
            connection.dissolve(rings);
            return Err(RestoreError::Contradiction);
        }
        Ok(connection)
    }
}

fn check(holds: bool) -> Result<(), RestoreError> {
    if holds { Ok(()) } else { Err(RestoreError::Contradiction) }
}

impl Sender {
    fn snapshot(&self, now: Instant) -> SenderSnapshot {
        let (first, second) = self.ring.slices(0, self.ring.length());
        let (by_sequence, by_acknowledgement) = self.updated_by;
        let flight = (0..self.flight.count()).map(|index| {
            let (length, sent) = (self.flight.stretch(index).length(), self.flight.at(index));
            (length, now.since(sent.at), sent.fate as u8, sent.repeated)
        });
        SenderSnapshot {
            initial: self.initial.0,
            base: self.base().0,
            flight: flight.collect(),
            content: [first, second].concat(),
            finish: self.finish.map(|finish| finish.0),
            window: self.window,
            window_max: self.window_max,
            updated_by: (by_sequence.0, by_acknowledgement.0),
            scale: self.scale,
            segment_size: self.segment_size,
            selective: self.selective,
            capable: self.capable,
            reduced: self.reduced,
            trip: self.trip.numbers(),
            congestion: self.cubic.numbers(),
        }
    }

    fn restore(from: &SenderSnapshot, now: Instant, rings: &mut Rings) -> Result<Sender, RestoreError> {
        let base = Sequence(from.base);
        let mut sender = Sender::new(Sequence(from.initial), from.segment_size, now);
        check((1..=u32::from(u16::MAX)).contains(&from.segment_size) && from.scale <= SCALE_MAX)?;
        check(from.window <= WINDOW_MAX && from.window_max <= WINDOW_MAX && from.content.len() <= WINDOW_MAX as usize)?;
        sender.resume_at(base);
        for (length, age, fate, repeated) in &from.flight {
            let fate = [Fate::Flying, Fate::Arrived, Fate::Lost].get(usize::from(*fate)).copied();
            let (Some(fate), true) = (fate, (1..=WINDOW_MAX).contains(length)) else {
                return Err(RestoreError::Contradiction);
            };
            let at = Instant::from_nanos(now.nanos().saturating_sub(age.as_nanos() as u64));
            let end = sender.next().after(*length);
            check(end.since(base) <= WINDOW_MAX)?;
            sender.flight.restore(Sent { at, end, fate, repeated: *repeated });
        }
        let finish = from.finish.map(Sequence);
        let end = base.after(from.content.len() as u32);
        // The FIN follows the last byte, or has arrived.
        check(finish.is_none_or(|finish| finish == end || from.content.is_empty() && finish.after(1) == base))?;
        let last = finish.map_or(end, |finish| finish.after(1));
        check(!sender.next().is_beyond(last))?;
        check(sender.cubic.resume(from.congestion, from.segment_size))?;
        sender.trip = RoundTrip::resume(from.trip, now);
        (sender.window, sender.window_max, sender.scale) = (from.window, from.window_max, from.scale);
        sender.updated_by = (Sequence(from.updated_by.0), Sequence(from.updated_by.1));
        (sender.selective, sender.capable, sender.reduced) = (from.selective, from.capable, from.reduced);
        if sender.push(&from.content, usize::MAX, rings) < from.content.len() {
            sender.clear(rings);
            return Err(RestoreError::NoMemory);
        }
        sender.finish = finish;
        sender.rearm();
        Ok(sender)
    }
}

impl Receiver {
    fn snapshot(&self) -> ReceiverSnapshot {
        let unread = self.ring.length();
        let bytes = |offset: usize, count: usize| {
            let (first, second) = self.ring.slices(offset, count);
            [first, second].concat()
        };
        let island = |island: &Stretch| {
            let distance = island.begin.since(self.next);
            (distance, bytes(unread + distance as usize, island.length() as usize))
        };
        ReceiverSnapshot {
            next: self.next.0,
            window: self.window(),
            pending: self.next.since(self.acknowledged),
            content: bytes(0, unread),
            islands: self.islands.iter().rev().map(island).collect(),
            fin: self.fin.map(|fin| fin.0),
            segment_size: self.segment_size,
            scale: self.scale,
            selective: self.selective,
            echoes: self.echoes,
            marked: self.marked,
        }
    }

    fn restore(from: &ReceiverSnapshot, rings: &mut Rings) -> Result<Receiver, RestoreError> {
        check(from.window <= WINDOW_MAX && from.content.len() <= WINDOW_MAX as usize && from.scale <= SCALE_MAX)?;
        check(from.pending <= WINDOW_MAX && from.islands.len() <= ISLANDS_MAX)?;
        let next = Sequence(from.next);
        let fin = from.fin.map(Sequence);
        // One that has not been reached lies in the window.
        check(fin.is_none_or(|fin| fin.after(1) == next || fin.since(next) <= from.window))?;
        for (distance, bytes) in &from.islands {
            let end = u64::from(*distance) + bytes.len() as u64;
            check(*distance > 0 && !bytes.is_empty() && end <= u64::from(from.window))?;
        }
        let finished = fin.is_some_and(|fin| fin.after(1) == next);
        // What is unread ends where the FIN stood, if there was one.
        let end = if finished { next.after(u32::MAX) } else { next };
        let begin = Sequence(end.0.wrapping_sub(from.content.len() as u32));
        let mut receiver = Receiver::new(begin, from.content.len() as u32 + from.window + 1, from.scale);
        (receiver.selective, receiver.segment_size) = (from.selective, from.segment_size.max(1));
        (receiver.echoes, receiver.marked) = (from.echoes, from.marked);
        let mut kept = receiver.take(begin, &from.content, finished, Instant::ZERO, rings);
        for (distance, bytes) in &from.islands {
            kept &= receiver.take(next.after(*distance), bytes, false, Instant::ZERO, rings);
        }
        if !kept || receiver.next != next {
            let error = if kept { RestoreError::Contradiction } else { RestoreError::NoMemory };
            receiver.clear(rings);
            return Err(error);
        }
        receiver.told();
        receiver.resume(next.after(from.window), Sequence(from.next.wrapping_sub(from.pending)), fin);
        // The peer hears of us, and we of its answer, without waiting for an alarm.
        receiver.due = Due::Now;
        Ok(receiver)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_order_of_fates_is_the_format() {
        assert_eq!([Fate::Flying as u8, Fate::Arrived as u8, Fate::Lost as u8], [0, 1, 2]);
    }

    proptest! {
        #[test]
        fn nonsense_is_refused_and_holds_no_memory(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let terms = Terms { segment_size: 1460, segment_size_default: 536, receive_limit: 65_536, window_scale: 0 };
            let mut rings = Rings::new(1 << 20);
            if let Ok(snapshot) = postcard::from_bytes::<Snapshot>(&bytes)
                && let Ok(mut connection) = Connection::restore(&snapshot, &terms, Instant::ZERO, &mut rings)
            {
                connection.dissolve(&mut rings);
            }
            prop_assert_eq!(rings.used(), 0);
        }
    }
}
