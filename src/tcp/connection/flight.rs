//! What is under way: the segments that were sent and not acknowledged, and what is known of each (RFC 2018, RFC 8985).
//!
//! ```text
//! SND.UNA = base                                              SND.NXT = end()
//!    │ flying │ arrived │ arrived │ lost │ flying (again) │ flying │
//! ```
//!
//! Invariants: segments touch one another, the first begins at `base`; `flying`, `arrived` and `lost` are the sums of the
//! bytes of each fate. If they broke, too much would be under way or nothing would be sent any more.

use super::sequence::{Sequence, Stretch};
use crate::env::Instant;
use std::collections::VecDeque;

/// Room that is kept while nothing is under way: 4 × 24 bytes.
const CAPACITY_KEPT: usize = 4;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Not heard of.
    Flying,
    /// The peer has it, but not yet all before it.
    Arrived,
    /// Taken for lost: to be sent again.
    Lost,
}

/// One segment, as it was sent last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sent {
    pub at: Instant,
    pub end: Sequence,
    pub fate: Fate,
    /// Sent more than once: its acknowledgement measures nothing (Karn's rule, RFC 6298 §3).
    pub repeated: bool,
}

#[derive(Debug)]
pub struct Flight {
    base: Sequence,
    sent: VecDeque<Sent>,
    flying: u32,
    arrived: u32,
    lost: u32,
    /// Segments that have arrived.
    arrived_count: u32,
}

impl Flight {
    pub fn new(base: Sequence) -> Flight {
        Flight { base, sent: VecDeque::new(), flying: 0, arrived: 0, lost: 0, arrived_count: 0 }
    }

    /// SND.UNA.
    pub fn base(&self) -> Sequence {
        self.base
    }

    /// SND.NXT.
    pub fn end(&self) -> Sequence {
        self.sent.back().map_or(self.base, |last| last.end)
    }

    pub fn is_empty(&self) -> bool {
        self.sent.is_empty()
    }

    pub fn count(&self) -> usize {
        self.sent.len()
    }

    /// Bytes not heard of and not given up: what RFC 6675 calls pipe.
    pub fn flying(&self) -> u32 {
        self.flying
    }

    pub fn arrived(&self) -> u32 {
        self.arrived
    }

    pub fn arrived_count(&self) -> u32 {
        self.arrived_count
    }

    pub fn lost(&self) -> u32 {
        self.lost
    }

    pub fn first(&self) -> Option<&Sent> {
        self.sent.front()
    }

    /// The segment in this place.
    pub fn at(&self, index: usize) -> &Sent {
        &self.sent[index]
    }

    /// What the segment in this place covers.
    pub fn stretch(&self, index: usize) -> Stretch {
        let begin = if index == 0 { self.base } else { self.sent[index - 1].end };
        Stretch { begin, end: self.sent[index].end }
    }

    fn sum(&mut self, fate: Fate) -> &mut u32 {
        match fate {
            Fate::Flying => &mut self.flying,
            Fate::Arrived => &mut self.arrived,
            Fate::Lost => &mut self.lost,
        }
    }

    fn set(&mut self, index: usize, fate: Fate) {
        let length = self.stretch(index).length();
        let before = std::mem::replace(&mut self.sent[index].fate, fate);
        *self.sum(before) -= length;
        *self.sum(fate) += length;
        self.arrived_count += u32::from(fate == Fate::Arrived);
        self.arrived_count -= u32::from(before == Fate::Arrived);
    }

    /// A new segment up to `end` goes out.
    pub fn push(&mut self, end: Sequence, now: Instant) {
        self.flying += end.since(self.end());
        self.sent.push_back(Sent { at: now, end, fate: Fate::Flying, repeated: false });
    }

    /// The segment in this place goes out again, or no more than its first `length` bytes.
    pub fn repeat(&mut self, index: usize, length: u32, now: Instant) {
        let stretch = self.stretch(index);
        if length < stretch.length() {
            let rest = self.sent[index];
            self.sent.insert(index + 1, rest);
            self.sent[index].end = stretch.begin.after(length);
            self.arrived_count += u32::from(rest.fate == Fate::Arrived);
        }
        self.set(index, Fate::Flying);
        (self.sent[index].at, self.sent[index].repeated) = (now, true);
    }

    /// All before `to` has arrived. Shows `see` those of which this is news, and says how many bytes they are.
    pub fn acknowledge(&mut self, to: Sequence, mut see: impl FnMut(&Sent)) -> u32 {
        let mut news = 0;
        while let Some(first) = self.sent.front().copied() {
            if !to.is_beyond(self.base) {
                break;
            }
            let whole = !first.end.is_beyond(to);
            let length = first.end.earlier(to).since(self.base);
            *self.sum(first.fate) -= length;
            if first.fate != Fate::Arrived {
                news += length;
                if whole {
                    see(&first);
                }
            }
            self.base = self.base.after(length);
            if whole {
                self.arrived_count -= u32::from(first.fate == Fate::Arrived);
                self.sent.pop_front();
            }
        }
        if self.sent.is_empty() && self.sent.capacity() > CAPACITY_KEPT {
            self.sent = VecDeque::new();
        }
        news
    }

    /// The peer says that it has this stretch. Segments that are only partly in it are taken to be still under way: a
    /// receiver keeps segments, not pieces, and an attacker must not be able to make crumbs of the list.
    pub fn select(&mut self, stretch: Stretch, mut see: impl FnMut(&Sent)) -> u32 {
        let mut index = self.sent.partition_point(|sent| !sent.end.is_beyond(stretch.begin));
        let mut news = 0;
        while index < self.sent.len() {
            let own = self.stretch(index);
            if own.end.is_beyond(stretch.end) {
                break;
            }
            if !own.begin.is_before(stretch.begin) && self.sent[index].fate != Fate::Arrived {
                news += own.length();
                see(&self.sent[index]);
                self.set(index, Fate::Arrived);
            }
            index += 1;
        }
        news
    }

    /// Gives up segments that are under way and for which `is_lost` says so; how many bytes.
    pub fn give_up(&mut self, mut is_lost: impl FnMut(&Sent) -> bool) -> u32 {
        let before = self.lost;
        for index in 0..self.sent.len() {
            if self.sent[index].fate == Fate::Flying && is_lost(&self.sent[index]) {
                self.set(index, Fate::Lost);
            }
        }
        self.lost - before
    }

    /// Forgets what the peer said it had: it may take that back (RFC 2018 §8).
    pub fn renege(&mut self) {
        for index in 0..self.sent.len() {
            if self.sent[index].fate == Fate::Arrived {
                self.set(index, Fate::Lost);
            }
        }
    }

    /// What was taken for lost is on its way after all, unless it has been sent again.
    pub fn recover(&mut self) {
        for index in 0..self.sent.len() {
            if self.sent[index].fate == Fate::Lost {
                self.set(index, Fate::Flying);
            }
        }
    }

    /// Segments larger than this are lost: they do not fit through the path.
    pub fn give_up_larger_than(&mut self, size: u32) {
        for index in 0..self.sent.len() {
            if self.sent[index].fate == Fate::Flying && self.stretch(index).length() > size {
                self.set(index, Fate::Lost);
            }
        }
    }

    /// Takes in the next segment of another stack's flight.
    pub fn restore(&mut self, sent: Sent) {
        *self.sum(sent.fate) += sent.end.since(self.end());
        self.arrived_count += u32::from(sent.fate == Fate::Arrived);
        self.sent.push_back(sent);
    }

    pub fn first_lost(&self) -> Option<usize> {
        if self.lost == 0 {
            return None;
        }
        self.sent.iter().position(|sent| sent.fate == Fate::Lost)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flight(segments: u32) -> Flight {
        let mut flight = Flight::new(Sequence(u32::MAX - 150));
        for number in 1..=segments {
            flight.push(Sequence(u32::MAX - 150).after(number * 100), Instant::from_nanos(u64::from(number)));
        }
        flight
    }

    fn stretch(begin: u32, end: u32) -> Stretch {
        let base = Sequence(u32::MAX - 150);
        Stretch { begin: base.after(begin), end: base.after(end) }
    }

    fn sums(flight: &Flight) -> (u32, u32, u32) {
        (flight.flying(), flight.arrived(), flight.lost())
    }

    #[test]
    fn selective_acknowledgements_count_once() {
        let mut flight = flight(5);
        assert_eq!(flight.select(stretch(100, 300), |_| {}), 200);
        assert_eq!(flight.select(stretch(100, 400), |_| {}), 100);
        assert_eq!((sums(&flight), flight.arrived_count()), ((200, 300, 0), 3));
        let mut seen = 0;
        assert_eq!(flight.acknowledge(stretch(0, 500).end, |_| seen += 1), 200);
        assert_eq!((seen, sums(&flight), flight.is_empty()), (2, (0, 0, 0), true));
    }

    #[test]
    fn pieces_of_segments_are_not_taken() {
        let mut flight = flight(3);
        assert_eq!(flight.select(stretch(50, 250), |_| {}), 100);
        assert_eq!(flight.select(stretch(240, 260), |_| {}), 0);
        assert_eq!(sums(&flight), (200, 100, 0));
    }

    #[test]
    fn half_a_segment_may_be_acknowledged() {
        let mut flight = flight(2);
        assert_eq!(flight.acknowledge(stretch(0, 30).end, |_| panic!("not whole")), 30);
        assert_eq!((flight.base(), flight.count(), flight.flying()), (stretch(30, 30).begin, 2, 170));
    }

    #[test]
    fn a_lost_segment_is_sent_again_in_pieces() {
        let mut flight = flight(3);
        assert_eq!(flight.give_up(|sent| sent.at.nanos() == 2), 100);
        assert_eq!(flight.first_lost(), Some(1));
        flight.repeat(1, 60, Instant::from_nanos(9));
        assert_eq!((flight.first_lost(), sums(&flight)), (Some(2), (260, 0, 40)));
        flight.repeat(2, 40, Instant::from_nanos(9));
        assert_eq!((flight.first_lost(), sums(&flight), flight.count()), (None, (300, 0, 0), 4));
        assert_eq!(flight.end(), stretch(0, 300).end);
    }

    #[test]
    fn a_peer_that_takes_back_its_word_gets_all_again() {
        let mut flight = flight(3);
        flight.select(stretch(100, 300), |_| {});
        flight.renege();
        assert_eq!((sums(&flight), flight.arrived_count()), ((100, 0, 200), 0));
    }
}
