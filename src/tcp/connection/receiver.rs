//! The receiving half of a connection: what arrived, in what order, and what is said about it (RFC 9293 §3.8, RFC 2018,
//! RFC 2883, RFC 5681 §4.2).
//!
//! ```text
//!        read              RCV.NXT = next                      edge: the end of the window, as the peer knows it
//!          │ unread, in order │ hole │ island │ hole │ island │ … │
//!          └──────────────── the ring's front ─── written behind its length
//! ```
//!
//! Invariants: `edge` never moves back; islands lie between `next` and `edge`, do not touch, and are at most
//! [`ISLANDS_MAX`](crate::limits::ISLANDS_MAX); a ring without islands and unread bytes is given back.

use super::ring::{Ring, Rings};
use super::sequence::{Sequence, Stretch};
use crate::env::Instant;
use crate::limits::{ACKNOWLEDGEMENT_DELAY, ISLANDS_MAX};

/// Blocks in a SACK option beside timestamps (RFC 2018 §3).
pub const BLOCKS_MAX: usize = 3;

/// Of segments that come together while there are holes, so many are acknowledged at most where the peer hears of all of
/// them with the first. The one to spare: in recovery no probe asks again for an answer that was lost (RFC 8985 §7.2), and
/// the sender would wait for its timeout.
const OWED_SELECTIVE_MAX: u8 = 2;

/// Blocks that say what has arrived.
pub type Blocks = arrayvec::ArrayVec<Stretch, BLOCKS_MAX>;

/// When an acknowledgement is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    Never,
    /// Unless something is sent before then.
    Later(Instant),
    Now,
}

#[repr(C)]
#[derive(Debug)]
pub struct Receiver {
    pub next: Sequence,
    edge: Sequence,
    /// What was acknowledged last.
    pub(super) acknowledged: Sequence,
    /// The largest segment that the peer has sent: what it takes for its segment size.
    pub(super) segment_size: u16,
    /// Our window scale.
    pub scale: u8,
    /// Acknowledgements owed one by one for what is out of order or fills a hole (RFC 5681 §4.2): a peer without SACK counts
    /// them.
    owed: u8,
    pub due: Due,
    /// The peer hears of islands.
    pub selective: bool,
    /// The peer is told of marks.
    pub(super) echoes: bool,
    /// A mark has come, and no CWR after it: every segment that goes out says ECE.
    pub(super) marked: bool,
    /// The sequence number of the peer's FIN.
    pub(super) fin: Option<Sequence>,
    /// What arrived once more.
    duplicate: Option<Stretch>,
    /// What arrived beyond a hole, the latest first.
    pub(super) islands: Vec<Stretch>,
    /// The first so many islands have not been told of yet.
    untold: usize,
    pub(super) ring: Ring,
}

impl Receiver {
    /// `next`: the number after the peer's SYN. `window`: what our SYN offers.
    pub fn new(next: Sequence, window: u32, scale: u8) -> Receiver {
        Receiver {
            next,
            edge: next.after(window),
            acknowledged: next,
            ring: Ring::default(),
            islands: Vec::new(),
            untold: 0,
            fin: None,
            duplicate: None,
            due: Due::Never,
            owed: 0,
            selective: false,
            echoes: false,
            marked: false,
            segment_size: 536,
            scale,
        }
    }

    /// Reads something of each line of the caches that every segment needs.
    pub fn touch(&self) -> u64 {
        u64::from(self.next.0) ^ self.islands.len() as u64
    }

    /// Bytes that the peer may send at most, as far as it knows.
    pub fn window(&self) -> u32 {
        if self.edge.is_beyond(self.next) { self.edge.since(self.next) } else { 0 }
    }

    /// Bytes received and unread.
    pub fn unread(&self) -> usize {
        self.ring.length()
    }

    /// The unread bytes that lie in one piece.
    pub fn front(&self) -> &[u8] {
        self.ring.front()
    }

    /// The peer has ended, and all before that is here.
    pub fn finished(&self) -> bool {
        self.fin.is_some_and(|fin| self.next.is_beyond(fin))
    }

    /// The largest segment that the peer has sent so far, bytes.
    fn unit(&self) -> u32 {
        u32::from(self.segment_size)
    }

    /// Takes bytes in; their number lies in the window. False if there was no memory for them: they are as good as lost.
    pub fn take(&mut self, begin: Sequence, payload: &[u8], fin: bool, now: Instant, rings: &mut Rings) -> bool {
        let whole = Stretch { begin, end: begin.after(payload.len() as u32) };
        self.segment_size = self.segment_size.max(payload.len().min(usize::from(u16::MAX)) as u16);
        let mut new = Stretch { begin: begin.later(self.next), end: whole.end.earlier(self.edge) };
        if new.begin.is_beyond(begin) && !payload.is_empty() {
            // RFC 2883 §4: what is here already is reported once.
            self.note_duplicate(begin, whole.end.earlier(self.next));
        }
        if new.end.is_before(new.begin) {
            new.end = new.begin;
        }
        if new.length() > 0 && !self.store(begin, new, payload, now, rings) {
            return false;
        }
        // Behind a window that is full the FIN comes again.
        if fin && new.end == whole.end && !whole.end.is_before(self.next) {
            self.fin = Some(whole.end);
        }
        if self.fin == Some(self.next) {
            self.next = self.next.after(1);
            self.due = Due::Now;
        } else if fin {
            self.due = Due::Now;
        }
        true
    }

    fn store(&mut self, begin: Sequence, new: Stretch, payload: &[u8], now: Instant, rings: &mut Rings) -> bool {
        let in_order = new.begin == self.next;
        if self.islands.iter().any(|island| !new.begin.is_before(island.begin) && !new.end.is_beyond(island.end)) {
            self.note_duplicate(new.begin, new.end);
            return true;
        }
        if !in_order && self.islands.len() >= ISLANDS_MAX {
            self.due = Due::Now;
            return true;
        }
        let unread = self.ring.length();
        let offset = unread + new.begin.since(self.next) as usize;
        let farthest = self.islands.iter().map(|island| island.end.since(self.next)).max().unwrap_or(0) as usize;
        if !rings.make_room(&mut self.ring, offset + new.length() as usize, unread + farthest) {
            return false;
        }
        let from = new.begin.since(begin) as usize;
        self.ring.write(offset, &payload[from..from + new.length() as usize]);
        if in_order {
            let filled = !self.islands.is_empty();
            self.advance(new.end);
            if self.selective && (filled || self.owed > 0) {
                self.owe();
            }
            let pending = self.next.since(self.acknowledged);
            // RFC 5681 §4.2: at once if it fills a hole, and at least for every second full segment.
            if filled || pending >= 2 * self.unit() {
                self.due = Due::Now;
            } else if self.due == Due::Never {
                self.due = Due::Later(now + ACKNOWLEDGEMENT_DELAY);
            }
        } else {
            self.add_island(new);
            self.due = Due::Now;
            self.owe();
        }
        true
    }

    /// What is out of order or fills a hole is worth an acknowledgement of its own.
    fn owe(&mut self) {
        let most = if self.selective { OWED_SELECTIVE_MAX } else { u8::MAX };
        self.owed = self.owed.saturating_add(1).min(most);
    }

    /// All up to `to` is here, and with it the islands that it reaches.
    fn advance(&mut self, to: Sequence) {
        let mut to = to;
        while let Some(place) = self.islands.iter().position(|island| !island.begin.is_beyond(to)) {
            to = to.later(self.islands.remove(place).end);
            self.untold -= usize::from(place < self.untold);
        }
        self.ring.extend(to.since(self.next) as usize);
        self.next = to;
    }

    fn add_island(&mut self, new: Stretch) {
        let mut joined = new;
        let (mut place, mut untold) = (0, self.untold);
        self.islands.retain(|island| {
            let apart = island.end.is_before(joined.begin) || joined.end.is_before(island.begin);
            if !apart {
                joined = Stretch { begin: joined.begin.earlier(island.begin), end: joined.end.later(island.end) };
                untold -= usize::from(place < self.untold);
            }
            place += 1;
            apart
        });
        self.islands.insert(0, joined);
        self.untold = untold + 1;
    }

    /// Drops the first `count` unread bytes.
    pub fn consume(&mut self, count: usize, limit: u32, rings: &mut Rings) {
        self.ring.consume(count.min(self.ring.length()));
        self.release(rings);
        // A window that was nearly shut, or could be twice as large, is worth a segment of its own.
        let gain = self.candidate(limit).since(self.edge);
        let opens = self.gains(limit) && (self.window() < 2 * self.unit() || gain >= limit / 2);
        if opens && !self.finished() {
            self.due = Due::Now;
        }
    }

    /// Gives the ring back if nothing is in it.
    fn release(&mut self, rings: &mut Rings) {
        if self.ring.length() == 0 && self.islands.is_empty() {
            rings.take_back(std::mem::take(&mut self.ring));
            self.islands = Vec::new();
        }
    }

    /// Gives back everything.
    pub fn clear(&mut self, rings: &mut Rings) {
        self.islands.clear();
        self.untold = 0;
        self.ring.consume(self.ring.length());
        self.release(rings);
    }

    /// Where the window could end: a whole number of scale units, and never before the edge.
    fn candidate(&self, limit: u32) -> Sequence {
        let free = limit.saturating_sub(self.ring.length() as u32) >> self.scale << self.scale;
        self.next.after(free).later(self.edge)
    }

    /// Moving the edge gains enough to be worth telling (RFC 9293 §3.8.6.2.2).
    fn gains(&self, limit: u32) -> bool {
        self.candidate(limit).since(self.edge) >= self.unit().min(limit / 2).max(1 << self.scale)
    }

    /// The peer can send nothing before something is consumed.
    pub fn full(&self, limit: u32) -> bool {
        self.window() >> self.scale == 0 && !self.gains(limit)
    }

    /// The window field of a segment that goes out now.
    pub fn advertise(&mut self, limit: u32) -> u16 {
        if self.gains(limit) {
            self.edge = self.candidate(limit);
        }
        (self.window() >> self.scale).min(0xffff) as u16
    }

    /// How many islands are passed over by the segment that goes out now. Where more are news than have room, the oldest of
    /// these come first, as they would have if each segment had been answered alone: the peer misses none, and does not take
    /// the older ones, told later, for a sign that the path mixes up.
    fn passed_over(&self) -> usize {
        self.untold.saturating_sub(BLOCKS_MAX - usize::from(self.duplicate.is_some()))
    }

    /// What arrived beyond a hole, for the segment that goes out now.
    pub fn blocks(&self) -> Blocks {
        if !self.selective {
            return Blocks::new();
        }
        self.duplicate.iter().chain(self.islands.iter().skip(self.passed_over())).take(BLOCKS_MAX).copied().collect()
    }

    /// A segment with the acknowledgement number went out.
    pub fn told(&mut self) {
        self.acknowledged = self.next;
        self.untold = if self.selective { self.passed_over() } else { 0 };
        self.duplicate = None;
        self.owed = self.owed.saturating_sub(1);
        self.due = if self.owed > 0 || self.untold > 0 { Due::Now } else { Due::Never };
    }

    /// What was acknowledged last.
    pub fn acknowledged(&self) -> Sequence {
        self.acknowledged
    }

    /// Takes over what the peer knows from another stack.
    pub fn resume(&mut self, edge: Sequence, acknowledged: Sequence, fin: Option<Sequence>) {
        (self.edge, self.acknowledged, self.fin) = (edge, acknowledged, fin);
        self.untold = 0;
    }

    /// What is here already came once more.
    pub fn note_duplicate(&mut self, begin: Sequence, end: Sequence) {
        self.duplicate = Some(Stretch { begin, end });
        self.due = Due::Now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LIMIT: u32 = 8192;

    fn receiver() -> (Receiver, Rings) {
        let mut receiver = Receiver::new(Sequence(u32::MAX - 100), LIMIT, 0);
        receiver.selective = true;
        (receiver, Rings::new(1 << 20))
    }

    proptest! {
        #[test]
        fn bytes_come_out_in_order_whatever_order_they_came_in(
            pieces in proptest::collection::vec((0u32..2000, 1usize..400), 1..60)
        ) {
            let content: Vec<u8> = (0..4000u32).map(|place| (place * 7 % 251) as u8).collect();
            let (mut receiver, mut rings) = receiver();
            let base = receiver.next;
            let mut present = vec![false; content.len()];
            let mut got = Vec::new();
            for (begin, length) in pieces {
                let range = begin as usize..begin as usize + length;
                let stored = receiver.islands.len() < ISLANDS_MAX;
                prop_assert!(receiver.take(base.after(begin), &content[range.clone()], false, Instant::ZERO, &mut rings));
                if stored {
                    present[range].fill(true);
                }
                let known = present.iter().position(|here| !here).unwrap_or(present.len());
                prop_assert_eq!(receiver.next.since(base) as usize, known);
                for island in &receiver.islands {
                    prop_assert!(island.begin.is_beyond(receiver.next));
                    prop_assert!(present[island.begin.since(base) as usize..island.end.since(base) as usize].iter().all(|here| *here));
                }
                if begin % 3 == 0 {
                    let front = receiver.front().to_vec();
                    receiver.consume(front.len(), LIMIT, &mut rings);
                    got.extend(front);
                }
            }
            while receiver.unread() > 0 {
                let front = receiver.front().to_vec();
                receiver.consume(front.len(), LIMIT, &mut rings);
                got.extend(front);
            }
            prop_assert_eq!(&got[..], &content[..got.len()]);
            prop_assert_eq!(got.len(), receiver.next.since(base) as usize);
            receiver.clear(&mut rings);
            prop_assert_eq!(rings.used(), 0);
        }
    }

    #[test]
    fn the_latest_island_is_told_first_and_a_duplicate_before_it() {
        let (mut receiver, mut rings) = receiver();
        let base = receiver.next;
        for begin in [100, 300, 500, 700] {
            receiver.take(base.after(begin), &[0; 50], false, Instant::ZERO, &mut rings);
            receiver.told();
        }
        let begins = |receiver: &Receiver| -> Vec<u32> {
            receiver.blocks().iter().map(|block| block.begin.since(base)).collect()
        };
        assert_eq!(begins(&receiver), [700, 500, 300]);
        receiver.take(base.after(300), &[0; 50], false, Instant::ZERO, &mut rings);
        assert_eq!(begins(&receiver), [300, 700, 500]);
        receiver.told();
        assert_eq!(begins(&receiver), [700, 500, 300]);
    }

    #[test]
    fn of_more_islands_than_have_room_none_is_left_out() {
        let (mut receiver, mut rings) = receiver();
        let base = receiver.next;
        for begin in [100, 300, 500, 700, 900] {
            receiver.take(base.after(begin), &[0; 50], false, Instant::ZERO, &mut rings);
        }
        let mut told = Vec::new();
        while receiver.due == Due::Now {
            told.push(receiver.blocks().iter().map(|block| block.begin.since(base)).collect::<Vec<u32>>());
            receiver.told();
        }
        assert_eq!(told, [[500, 300, 100], [900, 700, 500]]);
        // One that joins an island of which the peer knows, and one that fills the first hole.
        receiver.take(base.after(150), &[0; 150], false, Instant::ZERO, &mut rings);
        receiver.take(base, &[0; 100], false, Instant::ZERO, &mut rings);
        let blocks: Vec<u32> = receiver.blocks().iter().map(|block| block.begin.since(base)).collect();
        assert_eq!((receiver.next.since(base), blocks), (350, vec![900, 700, 500]));
        receiver.told();
        receiver.told();
        assert_eq!(receiver.due, Due::Never);
    }

    #[test]
    fn a_fin_counts_once_all_before_it_is_here() {
        let (mut receiver, mut rings) = receiver();
        let base = receiver.next;
        receiver.take(base.after(10), b"world", true, Instant::ZERO, &mut rings);
        assert!(!receiver.finished());
        receiver.take(base, b"0123456789", false, Instant::ZERO, &mut rings);
        assert!(receiver.finished());
        assert_eq!(receiver.next, base.after(16));
        assert_eq!(receiver.unread(), 15);
    }

    #[test]
    fn the_window_shuts_without_moving_back_and_opens_when_it_is_worth_it() {
        let (mut receiver, mut rings) = receiver();
        let base = receiver.next;
        assert_eq!(u32::from(receiver.advertise(LIMIT)), LIMIT);
        for place in 0..16 {
            receiver.take(base.after(place * 512), &[1; 512], false, Instant::ZERO, &mut rings);
        }
        assert_eq!(receiver.advertise(LIMIT), 0);
        assert!(receiver.full(LIMIT));
        receiver.told();
        receiver.consume(100, LIMIT, &mut rings);
        assert_eq!((receiver.due, receiver.advertise(LIMIT)), (Due::Never, 0));
        receiver.consume(600, LIMIT, &mut rings);
        assert_eq!((receiver.due, receiver.advertise(LIMIT)), (Due::Now, 700));
    }

    #[test]
    fn without_memory_bytes_are_as_good_as_lost() {
        let mut receiver = receiver().0;
        let mut rings = Rings::new(0);
        assert!(!receiver.take(receiver.next, b"x", false, Instant::ZERO, &mut rings));
        assert_eq!(receiver.next, Sequence(u32::MAX - 100));
    }
}
