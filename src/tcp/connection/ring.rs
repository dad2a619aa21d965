//! Rings of bytes, and the pool that they come from.
//!
//! A connection holds a ring only while there is something in it: what arrived and was not read, or what was sent and not
//! acknowledged. A ring begins small and is exchanged for a larger one when more comes. The pool hands out what was given
//! back last, which is still in the cache, and keeps all rings together within a budget.

use crate::limits::{RING_SIZE_SMALL, RING_SIZES, RINGS_SPARE_SIZE_MAX};

/// A ring; an empty one may be without memory.
#[derive(Debug, Default)]
pub struct Ring {
    bytes: Box<[u8]>,
    head: u32,
    length: u32,
}

impl Ring {
    pub fn length(&self) -> usize {
        self.length as usize
    }

    pub fn capacity(&self) -> usize {
        self.bytes.len()
    }

    fn place(&self, offset: usize) -> usize {
        (self.head as usize + offset) & (self.bytes.len() - 1)
    }

    /// The bytes from `offset` on, `count` of them, in the two pieces in which they lie.
    pub fn slices(&self, offset: usize, count: usize) -> (&[u8], &[u8]) {
        if count == 0 {
            return (&[], &[]);
        }
        let begin = self.place(offset);
        let first = count.min(self.bytes.len() - begin);
        (&self.bytes[begin..begin + first], &self.bytes[..count - first])
    }

    /// What can be read in one piece.
    pub fn front(&self) -> &[u8] {
        self.slices(0, self.length()).0
    }

    /// Puts bytes at `offset`, beyond what is in the ring or not; they are in it only after [`extend`](Ring::extend). There
    /// must be room.
    pub fn write(&mut self, offset: usize, bytes: &[u8]) {
        debug_assert!(offset + bytes.len() <= self.capacity());
        if bytes.is_empty() {
            return;
        }
        let begin = self.place(offset);
        let first = bytes.len().min(self.bytes.len() - begin);
        self.bytes[begin..begin + first].copy_from_slice(&bytes[..first]);
        self.bytes[..bytes.len() - first].copy_from_slice(&bytes[first..]);
    }

    /// Takes `count` bytes that were written behind the last one into the ring.
    pub fn extend(&mut self, count: usize) {
        debug_assert!(self.length() + count <= self.capacity());
        self.length += count as u32;
    }

    /// Drops bytes at the front.
    pub fn consume(&mut self, count: usize) {
        debug_assert!(count <= self.length());
        self.length -= count as u32;
        self.head = if self.bytes.is_empty() { 0 } else { self.place(count) as u32 };
    }
}

/// Where rings come from.
#[derive(Debug)]
pub struct Rings {
    spare: [Vec<Box<[u8]>>; RING_SIZES.len()],
    /// Bytes of all rings handed out.
    used: usize,
    budget: usize,
}

/// The place in [`RING_SIZES`] of the least ring that holds so much.
fn class(size: usize) -> Option<usize> {
    RING_SIZES.iter().position(|ring| *ring >= size)
}

impl Rings {
    /// A pool whose rings have at most `budget` bytes together.
    pub fn new(budget: usize) -> Rings {
        Rings { spare: std::array::from_fn(|_| Vec::new()), used: 0, budget }
    }

    pub fn used(&self) -> usize {
        self.used
    }

    pub fn budget(&self) -> usize {
        self.budget
    }

    fn scarce_from(&self) -> usize {
        self.budget / 4 * 3
    }

    /// Three quarters of the budget are in use: time to offer less.
    pub fn is_scarce(&self) -> bool {
        self.used >= self.scarce_from()
    }

    /// Sees to it that `ring` has room for `wanted` bytes in all; `kept` of them, written or not yet in it, move along.
    /// False: the budget is used up, and the ring is what it was.
    pub fn make_room(&mut self, ring: &mut Ring, wanted: usize, kept: usize) -> bool {
        if wanted <= ring.capacity() {
            return true;
        }
        let Some(class) = class(wanted) else { return false };
        let size = RING_SIZES[class];
        // The last quarter is for small ones: whoever makes others grow must not take the commands of everyone else's.
        let budget = if size > RING_SIZE_SMALL { self.scarce_from() } else { self.budget };
        if self.used + size > budget {
            return false;
        }
        self.used += size;
        let bytes = self.spare[class].pop().unwrap_or_else(|| vec![0; size].into_boxed_slice());
        let mut larger = Ring { bytes, head: 0, length: ring.length };
        if kept > 0 {
            let (first, second) = ring.slices(0, kept);
            larger.bytes[..first.len()].copy_from_slice(first);
            larger.bytes[first.len()..kept].copy_from_slice(second);
        }
        let former = std::mem::replace(ring, larger);
        self.take_back(former);
        true
    }

    /// Takes a ring's memory back.
    pub fn take_back(&mut self, ring: Ring) {
        if ring.bytes.is_empty() {
            return;
        }
        self.used -= ring.bytes.len();
        let Some(class) = class(ring.bytes.len()) else { return };
        let spare = &mut self.spare[class];
        if (spare.len() + 1) * ring.bytes.len() <= RINGS_SPARE_SIZE_MAX {
            spare.push(ring.bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::VecDeque;

    #[test]
    fn a_ring_keeps_its_bytes_while_it_wraps_and_grows() {
        let mut rings = Rings::new(1 << 20);
        let (mut ring, mut model) = (Ring::default(), VecDeque::new());
        let mut next = 0u8;
        for round in 0..2000usize {
            let count = round * 7919 % 700;
            let bytes: Vec<u8> = (0..count).map(|place| next.wrapping_add(place as u8)).collect();
            next = next.wrapping_add(count as u8);
            let length = ring.length();
            assert!(rings.make_room(&mut ring, length + count, length));
            ring.write(length, &bytes);
            ring.extend(count);
            model.extend(bytes);
            let taken = (round * 104_729 % 690).min(ring.length());
            ring.consume(taken);
            model.drain(..taken);
            let (first, second) = ring.slices(0, ring.length());
            assert!(first.iter().chain(second).eq(model.iter()));
        }
        rings.take_back(ring);
        assert_eq!(rings.used(), 0);
    }

    #[test]
    fn the_budget_holds_its_last_quarter_is_for_small_rings_and_a_refusal_changes_nothing() {
        let (small, large) = (RING_SIZES[0], RING_SIZES[2]);
        let mut rings = Rings::new(4 * large);
        let (mut one, mut two, mut three) = (Ring::default(), Ring::default(), Ring::default());
        assert!(rings.make_room(&mut one, large, 0) && rings.make_room(&mut two, large, 0));
        assert!(rings.make_room(&mut three, 10, 0));
        three.write(0, b"0123456789");
        three.extend(10);
        assert!(!rings.make_room(&mut three, large, 10));
        assert_eq!(three.front(), b"0123456789");
        let mut small_ones = Vec::new();
        loop {
            let mut ring = Ring::default();
            if !rings.make_room(&mut ring, 1, 0) {
                break;
            }
            small_ones.push(ring);
        }
        assert_eq!((rings.used(), rings.is_scarce()), (4 * large, true));
        assert_eq!(small_ones.len(), 2 * large / small - 1);
        [one, two, three].into_iter().chain(small_ones).for_each(|ring| rings.take_back(ring));
        assert_eq!((rings.used(), rings.is_scarce()), (0, false));
        assert!(!rings.make_room(&mut Ring::default(), RING_SIZES[RING_SIZES.len() - 1] + 1, 0));
    }
}
