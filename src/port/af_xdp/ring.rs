//! The four rings that an AF_XDP socket shares with the kernel, each with one producer and one consumer.
//!
//! In: descriptors. Out: descriptors. Indexes are free-running 32-bit counters; a slot is an index under the mask,
//! so that no value the other side writes can lead outside the ring. What a descriptor *says* is not judged here:
//! whoever pops it checks it.
//!
//! ```text
//! fill        we produce, kernel consumes   addresses of empty frames
//! receive     kernel produces, we consume   frames that arrived
//! transmit    we produce, kernel consumes   frames to send
//! completion  kernel produces, we consume   addresses of frames that were sent
//! ```
//!
//! Both sides keep a copy of the other's index and look at the shared one only when the copy says full or empty: the
//! cache line of the index changes hands once a burst and not once a frame.
#![allow(unsafe_code)]

use super::memory::Region;
use std::io;
use std::os::fd::BorrowedFd;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};

/// Where the parts of a ring lie in its region.
#[derive(Clone, Copy, Debug)]
pub struct Layout {
    pub producer: usize,
    pub consumer: usize,
    pub flags: usize,
    pub descriptors: usize,
}

impl From<libc::xdp_ring_offset> for Layout {
    fn from(offsets: libc::xdp_ring_offset) -> Layout {
        Layout {
            producer: offsets.producer as usize,
            consumer: offsets.consumer as usize,
            flags: offsets.flags as usize,
            descriptors: offsets.desc as usize,
        }
    }
}

/// What may lie in a ring: plain values for which every bit pattern is one.
pub trait Descriptor: Copy {}
impl Descriptor for u64 {}
impl Descriptor for libc::xdp_desc {}

/// A ring's memory.
#[derive(Debug)]
struct Shared<T> {
    producer: NonNull<AtomicU32>,
    consumer: NonNull<AtomicU32>,
    flags: NonNull<AtomicU32>,
    descriptors: NonNull<T>,
    /// Slots; a power of two.
    size: u32,
    /// Kept for as long as the addresses above are used.
    _region: Region,
}

// SAFETY: the addresses lead into the region that moves along; nothing in it belongs to a thread.
unsafe impl<T: Descriptor> Send for Shared<T> {}

impl<T: Descriptor> Shared<T> {
    fn new(region: Region, layout: Layout, size: u32) -> Shared<T> {
        assert!(size.is_power_of_two());
        Shared {
            producer: region.place(layout.producer, 1),
            consumer: region.place(layout.consumer, 1),
            flags: region.place(layout.flags, 1),
            descriptors: region.place(layout.descriptors, size as usize),
            size,
            _region: region,
        }
    }

    fn producer(&self) -> &AtomicU32 {
        // SAFETY: checked and aligned by `Region::place`, mapped as long as self.
        unsafe { self.producer.as_ref() }
    }

    fn consumer(&self) -> &AtomicU32 {
        // SAFETY: as for `producer`.
        unsafe { self.consumer.as_ref() }
    }

    fn need_wakeup(&self) -> bool {
        // SAFETY: as for `producer`.
        let flags = unsafe { self.flags.as_ref() };
        flags.load(Ordering::Relaxed) & libc::XDP_RING_NEED_WAKEUP != 0
    }

    fn slot(&self, index: u32) -> NonNull<T> {
        // SAFETY: the masked index is below `size`, and `Region::place` checked that many slots.
        unsafe { self.descriptors.add((index & (self.size - 1)) as usize) }
    }

    fn read(&self, index: u32) -> T {
        // SAFETY: the slot is in the region and T has no invalid bit pattern; volatile, since the memory is shared.
        unsafe { self.slot(index).read_volatile() }
    }

    fn write(&mut self, index: u32, descriptor: T) {
        // SAFETY: the slot is in the region; volatile, since the memory is shared.
        unsafe { self.slot(index).write_volatile(descriptor) }
    }
}

/// A ring that we fill.
#[derive(Debug)]
pub struct ProducerRing<T> {
    shared: Shared<T>,
    /// Our index, ahead of the shared one by what is not yet published.
    next: u32,
    /// The shared index as it stands.
    published: u32,
    /// The consumer's index as last seen.
    consumed: u32,
}

impl<T: Descriptor> ProducerRing<T> {
    /// A ring of `size` slots in a region that is laid out so.
    pub fn new(region: Region, layout: Layout, size: u32) -> ProducerRing<T> {
        let shared = Shared::new(region, layout, size);
        let next = shared.producer().load(Ordering::Relaxed);
        let consumed = shared.consumer().load(Ordering::Acquire);
        ProducerRing { shared, next, published: next, consumed }
    }

    /// Slots that can be filled now; looks at the shared index only if the known room is less than `wanted`.
    pub fn room(&mut self, wanted: u32) -> u32 {
        let mut room = self.known_room();
        if room < wanted {
            self.consumed = self.shared.consumer().load(Ordering::Acquire);
            room = self.known_room();
        }
        room
    }

    fn known_room(&self) -> u32 {
        // Saturating: a consumer that claims to be ahead of us or a whole ring behind gets nothing.
        self.shared.size.saturating_sub(self.next.wrapping_sub(self.consumed))
    }

    /// Fills a slot; `false` if none is free. The other side sees it after [`publish`](ProducerRing::publish).
    pub fn push(&mut self, descriptor: T) -> bool {
        if self.room(1) == 0 {
            return false;
        }
        self.shared.write(self.next, descriptor);
        self.next = self.next.wrapping_add(1);
        true
    }

    /// Shows what was pushed to the other side. Says whether there was anything.
    pub fn publish(&mut self) -> bool {
        if self.next == self.published {
            return false;
        }
        // Release: the descriptors and the frames they name are written before the index says so.
        self.shared.producer().store(self.next, Ordering::Release);
        self.published = self.next;
        true
    }

    /// Published descriptors that the other side has not taken.
    pub fn pending(&mut self) -> u32 {
        self.consumed = self.shared.consumer().load(Ordering::Acquire);
        self.published.wrapping_sub(self.consumed)
    }

    /// Whether the other side sleeps until a system call wakes it.
    pub fn need_wakeup(&self) -> bool {
        self.shared.need_wakeup()
    }
}

/// A ring that we empty.
#[derive(Debug)]
pub struct ConsumerRing<T> {
    shared: Shared<T>,
    /// Our index, ahead of the shared one by what is not yet released.
    next: u32,
    /// The shared index as it stands.
    released: u32,
    /// The producer's index as last seen.
    produced: u32,
}

impl<T: Descriptor> ConsumerRing<T> {
    /// A ring of `size` slots in a region that is laid out so.
    pub fn new(region: Region, layout: Layout, size: u32) -> ConsumerRing<T> {
        let shared = Shared::new(region, layout, size);
        let next = shared.consumer().load(Ordering::Relaxed);
        ConsumerRing { shared, next, released: next, produced: next }
    }

    /// The next descriptor. Its slot is the other side's again after [`release`](ConsumerRing::release).
    pub fn pop(&mut self) -> Option<T> {
        if self.next == self.produced {
            // Acquire: what the index announces was written before it.
            self.produced = self.shared.producer().load(Ordering::Acquire);
            if self.next == self.produced {
                return None;
            }
        }
        let descriptor = self.shared.read(self.next);
        self.next = self.next.wrapping_add(1);
        Some(descriptor)
    }

    /// Gives the slots of all popped descriptors back.
    pub fn release(&mut self) {
        if self.next != self.released {
            // Release: the slots have been read before they are written again.
            self.shared.consumer().store(self.next, Ordering::Release);
            self.released = self.next;
        }
    }
}

/// Maps a ring of `socket` that we fill.
pub fn map_producer<T: Descriptor>(
    socket: BorrowedFd<'_>,
    layout: Layout,
    size: u32,
    page_offset: libc::off_t,
) -> io::Result<ProducerRing<T>> {
    let region = Region::shared(socket, layout.descriptors + size as usize * size_of::<T>(), page_offset)?;
    Ok(ProducerRing::new(region, layout, size))
}

/// Maps a ring of `socket` that we empty.
pub fn map_consumer<T: Descriptor>(
    socket: BorrowedFd<'_>,
    layout: Layout,
    size: u32,
    page_offset: libc::off_t,
) -> io::Result<ConsumerRing<T>> {
    let region = Region::shared(socket, layout.descriptors + size as usize * size_of::<T>(), page_offset)?;
    Ok(ConsumerRing::new(region, layout, size))
}

/// The kernel's side of a ring, played by tests.
#[cfg(test)]
pub mod kernel_side {
    use super::*;

    /// A layout for a page of fake memory.
    pub const LAYOUT: Layout = Layout { producer: 0, consumer: 64, flags: 128, descriptors: 192 };

    impl<T: Descriptor> ProducerRing<T> {
        /// Takes what was published.
        pub fn take(&mut self) -> Option<T> {
            let index = self.shared.consumer().load(Ordering::Relaxed);
            if index == self.shared.producer().load(Ordering::Relaxed) {
                return None;
            }
            self.shared.consumer().store(index.wrapping_add(1), Ordering::Relaxed);
            Some(self.shared.read(index))
        }
    }

    impl<T: Descriptor> ConsumerRing<T> {
        /// Puts a descriptor in, as the kernel would.
        pub fn give(&mut self, descriptor: T) {
            let index = self.shared.producer().load(Ordering::Relaxed);
            self.shared.write(index, descriptor);
            self.shared.producer().store(index.wrapping_add(1), Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::kernel_side::LAYOUT;
    use super::*;

    const SIZE: u32 = 4;

    fn region() -> Region {
        Region::anonymous(4096).unwrap()
    }

    /// What the kernel does to a ring, in tests.
    fn index<T: Descriptor>(shared: &Shared<T>) -> (&AtomicU32, &AtomicU32) {
        (shared.producer(), shared.consumer())
    }

    #[test]
    fn what_is_pushed_is_seen_only_after_publish() {
        let mut ring = ProducerRing::<u64>::new(region(), LAYOUT, SIZE);
        assert!(ring.push(7));
        assert_eq!(index(&ring.shared).0.load(Ordering::Relaxed), 0);
        assert!(ring.publish());
        assert_eq!(index(&ring.shared).0.load(Ordering::Relaxed), 1);
        assert_eq!(ring.shared.read(0), 7);
        assert!(!ring.publish());
        assert_eq!(ring.pending(), 1);
    }

    #[test]
    fn a_full_ring_takes_nothing_until_the_consumer_moves() {
        let mut ring = ProducerRing::<u64>::new(region(), LAYOUT, SIZE);
        for value in 0..u64::from(SIZE) {
            assert!(ring.push(value));
        }
        assert!(!ring.push(9));
        index(&ring.shared).1.store(1, Ordering::Relaxed);
        assert!(ring.push(9));
        assert!(!ring.push(10));
        assert_eq!(ring.shared.read(4), 9);
    }

    #[test]
    fn indexes_run_over_the_end_of_u32() {
        let region = region();
        let start = u32::MAX - 1;
        {
            let shared = Shared::<u64>::new(region, LAYOUT, SIZE);
            shared.producer().store(start, Ordering::Relaxed);
            shared.consumer().store(start, Ordering::Relaxed);
            let mut ring = ProducerRing { next: start, published: start, consumed: start, shared };
            for value in 0..u64::from(SIZE) {
                assert!(ring.push(value));
            }
            assert!(!ring.push(9));
            ring.publish();
            assert_eq!(index(&ring.shared).0.load(Ordering::Relaxed), 2);
            assert_eq!(ring.pending(), SIZE);
        }
    }

    #[test]
    fn a_consumer_index_that_lies_gives_no_room() {
        let mut ring = ProducerRing::<u64>::new(region(), LAYOUT, SIZE);
        index(&ring.shared).1.store(1000, Ordering::Relaxed);
        ring.push(1);
        ring.push(2);
        ring.push(3);
        ring.push(4);
        assert!(!ring.push(5));
    }

    #[test]
    fn slots_go_back_only_on_release() {
        let mut ring = ConsumerRing::<u64>::new(region(), LAYOUT, SIZE);
        assert_eq!(ring.pop(), None);
        ring.shared.write(0, 11);
        ring.shared.write(1, 12);
        index(&ring.shared).0.store(2, Ordering::Relaxed);
        assert_eq!(ring.pop(), Some(11));
        assert_eq!(ring.pop(), Some(12));
        assert_eq!(ring.pop(), None);
        assert_eq!(index(&ring.shared).1.load(Ordering::Relaxed), 0);
        ring.release();
        assert_eq!(index(&ring.shared).1.load(Ordering::Relaxed), 2);
    }
}
