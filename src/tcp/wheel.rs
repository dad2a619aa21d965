//! Deadlines of very many things, each of which mostly moves its own before it is over.
//!
//! In: keys with deadlines. Out: keys whose deadline is over, one at a time. A wheel looks at no clock; it knows the time
//! that it was last told. It serves flows, sessions and delivery alike, whatever a key is.
//!
//! Time is cut into ticks of [`TICK`]. A deadline is rounded up to the next one, so that a key never comes early and at
//! most a tick late. A tick number is read as digits to the base 64, and each level of the wheel is one digit:
//!
//! ```text
//! tick     46 bits:  [level 7] … [level 2][level 1][level 0]
//! now                   00           07      12      33
//! a timer               00           07      40      05      differs first in level 1: slot 40 there
//! ```
//!
//! A timer lies in the slot that its highest digit differing from now's names. When now comes to that slot, its timers
//! move to lower levels, at most seven times in all; in level 0 they are due. Scheduling, moving and cancelling are O(1),
//! and so is finding the next slot: each level keeps a bit for each slot that holds something. There is no wrap-around:
//! eight levels hold every tick of the clock.
//!
//! Invariant: every timer in level *n* has the digits above *n* in common with `tick`, and digit *n* is greater than that
//! of `tick`. So a lower level is always due before a higher one, and a lower slot before a higher one. If it broke, keys
//! would come late or out of order.

#[cfg(test)]
mod tests;

use crate::env::Instant;
use hashbrown::HashMap;
use hashbrown::hash_map::Entry;
use std::hash::Hash;
use std::time::Duration;

/// Bits of a nanosecond count that a tick leaves out.
const TICK_BITS: u32 = 18;

/// The wheel's precision, about a quarter of a millisecond: finer than any timer of TCP or SMTP asks for.
pub const TICK: Duration = Duration::from_nanos(1 << TICK_BITS);

/// The last tick of the clock.
const TICK_MAX: u64 = u64::MAX >> TICK_BITS;

/// Bits of a digit: as many slots as one word has bits.
const DIGIT_BITS: u32 = 6;
const SLOTS: usize = 1 << DIGIT_BITS;
const LEVELS: usize = 8;
const _: () = assert!(LEVELS as u32 * DIGIT_BITS >= u64::BITS - TICK_BITS);

/// The list of those whose tick has come, after the slots of all levels.
const DUE: usize = LEVELS * SLOTS;

/// No timer: the end of a list.
const NONE: u32 = u32::MAX;

/// Timers by key: each key has one at most. The wheel grows with the keys that it is given and keeps the room; how many
/// there can be is its owner's bound.
#[derive(Debug)]
pub struct Wheel<K> {
    /// All ticks before and including this one are over.
    tick: u64,
    places: HashMap<K, u32>,
    timers: Vec<Timer<K>>,
    /// The first of the free places in `timers`, which are linked by `next`.
    free: u32,
    /// The slots of all levels, then [`DUE`].
    lists: Box<[List; DUE + 1]>,
    /// For each level, which slots are not empty.
    occupied: [u64; LEVELS],
}

#[derive(Clone, Copy, Debug)]
struct Timer<K> {
    key: K,
    tick: u64,
    list: u16,
    previous: u32,
    next: u32,
}

/// First in, first out, so that the same calls give the same order.
#[derive(Clone, Copy, Debug)]
struct List {
    first: u32,
    last: u32,
}

const EMPTY: List = List { first: NONE, last: NONE };

impl<K: Copy + Eq + Hash> Wheel<K> {
    /// An empty wheel at the origin of the clock.
    pub fn new() -> Wheel<K> {
        Wheel {
            tick: 0,
            places: HashMap::new(),
            timers: Vec::new(),
            free: NONE,
            lists: Box::new([EMPTY; DUE + 1]),
            occupied: [0; LEVELS],
        }
    }

    /// Sets the timer of `key`, or moves it. One whose deadline is over already comes at the next
    /// [`expired`](Wheel::expired).
    pub fn schedule(&mut self, key: K, deadline: Instant) {
        let tick = deadline.nanos().div_ceil(1 << TICK_BITS).min(TICK_MAX);
        let place = match self.places.entry(key) {
            Entry::Occupied(entry) => {
                let place = *entry.get();
                if self.timers[place as usize].tick == tick {
                    return;
                }
                self.unlink(place);
                self.timers[place as usize].tick = tick;
                place
            }
            Entry::Vacant(entry) => {
                let timer = Timer { key, tick, list: 0, previous: NONE, next: NONE };
                let place = self.free;
                let place = if place == NONE {
                    assert!(self.timers.len() < NONE as usize, "there are fewer timers than places have numbers");
                    self.timers.push(timer);
                    (self.timers.len() - 1) as u32
                } else {
                    self.free = self.timers[place as usize].next;
                    self.timers[place as usize] = timer;
                    place
                };
                entry.insert(place);
                place
            }
        };
        self.link(place);
    }

    /// Removes the timer of `key`, if it has one. Says whether it had.
    pub fn cancel(&mut self, key: K) -> bool {
        let Some(place) = self.places.remove(&key) else { return false };
        self.unlink(place);
        self.give_back(place);
        true
    }

    /// Takes out one key whose deadline is over; `None` when there is no more. Ask until then: only so does the wheel learn
    /// that it is `now`. Those that were over when they were set come first, then the earliest tick; within each, the order
    /// of scheduling.
    pub fn expired(&mut self, now: Instant) -> Option<K> {
        let now = now.nanos() >> TICK_BITS;
        loop {
            let first = self.lists[DUE].first;
            if first != NONE {
                let key = self.timers[first as usize].key;
                self.places.remove(&key);
                self.unlink(first);
                self.give_back(first);
                return Some(key);
            }
            match self.next_slot() {
                Some((list, tick)) if tick <= now => {
                    self.tick = tick;
                    self.move_down(list);
                }
                _ => {
                    // Nothing lies between, so the digits that timers have in common with the old tick they have in
                    // common with the new one.
                    self.tick = self.tick.max(now);
                    return None;
                }
            }
        }
    }

    /// When [`expired`](Wheel::expired) must be asked again. Never later than the next deadline, rounded up to its tick;
    /// it may be earlier, when timers must move to a lower level, but each time that is asked for it gets closer.
    pub fn next_deadline(&self) -> Option<Instant> {
        let tick = if self.lists[DUE].first != NONE { self.tick } else { self.next_slot()?.1 };
        Some(Instant::from_nanos(tick << TICK_BITS))
    }

    /// Timers that are set.
    pub fn count(&self) -> usize {
        self.places.len()
    }

    /// The next slot that holds something, and the tick at which its time comes.
    fn next_slot(&self) -> Option<(usize, u64)> {
        let level = self.occupied.iter().position(|slots| *slots != 0)?;
        let slot = self.occupied[level].trailing_zeros() as usize;
        let shift = level as u32 * DIGIT_BITS;
        let digits_above = self.tick >> (shift + DIGIT_BITS) << (shift + DIGIT_BITS);
        let tick = digits_above | (slot as u64) << shift;
        debug_assert!(tick > self.tick, "a slot whose time is over was left behind");
        Some((level * SLOTS + slot, tick))
    }

    /// Puts each timer of a slot whose time has come where it belongs now.
    fn move_down(&mut self, list: usize) {
        let mut place = std::mem::replace(&mut self.lists[list], EMPTY).first;
        self.occupied[list / SLOTS] &= !(1 << (list % SLOTS));
        while place != NONE {
            let next = self.timers[place as usize].next;
            self.link(place);
            place = next;
        }
    }

    /// Where a timer belongs.
    fn list_for(&self, tick: u64) -> usize {
        if tick <= self.tick {
            return DUE;
        }
        let highest_bit = (tick ^ self.tick).ilog2();
        let level = highest_bit / DIGIT_BITS;
        let slot = (tick >> (level * DIGIT_BITS)) as usize % SLOTS;
        level as usize * SLOTS + slot
    }

    /// Appends a timer to the list where it belongs.
    fn link(&mut self, place: u32) {
        let list = self.list_for(self.timers[place as usize].tick);
        let last = std::mem::replace(&mut self.lists[list].last, place);
        match last {
            NONE => self.lists[list].first = place,
            last => self.timers[last as usize].next = place,
        }
        if list != DUE {
            self.occupied[list / SLOTS] |= 1 << (list % SLOTS);
        }
        let timer = &mut self.timers[place as usize];
        timer.list = list as u16;
        timer.previous = last;
        timer.next = NONE;
    }

    fn unlink(&mut self, place: u32) {
        let Timer { list, previous, next, .. } = self.timers[place as usize];
        let list = usize::from(list);
        match previous {
            NONE => self.lists[list].first = next,
            previous => self.timers[previous as usize].next = next,
        }
        match next {
            NONE => self.lists[list].last = previous,
            next => self.timers[next as usize].previous = previous,
        }
        if list != DUE && self.lists[list].first == NONE {
            self.occupied[list / SLOTS] &= !(1 << (list % SLOTS));
        }
    }

    fn give_back(&mut self, place: u32) {
        self.timers[place as usize].next = self.free;
        self.free = place;
    }
}

impl<K: Copy + Eq + Hash> Default for Wheel<K> {
    fn default() -> Wheel<K> {
        Wheel::new()
    }
}
