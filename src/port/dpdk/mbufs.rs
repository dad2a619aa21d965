//! The mbufs of one queue, and where each of them is.
//!
//! In: mbufs from the driver. Out: [`Frame`]s. The invariant: every mbuf of the pool is in exactly one [`Place`], and only
//! `Held` ones have a [`Frame`]. What comes from the driver is believed only if it fits the book: an mbuf that it does not
//! have would give one buffer to two owners.
//!
//! ```text
//! mbuf of the pool, by number; those of the pool of large ones, which are only written, have the numbers after these
//! | rte_mbuf | number | headroom: 128 | frame ...                    |
//!                     ^ memory        ^ offset      ^ offset + length
//! ```
#![allow(unsafe_code)]

use super::eal;
use super::ethdev::{PortId, Refusal};
use super::offload::{self, Cut, Orders, Word};
use super::open::Opened;
use crate::limits::{DPDK_CUT_FRAME_SIZE_MAX, DPDK_CUT_FRAMES, DPDK_PENDING_MAX};
use crate::port::{BURST_SIZE, ETHERNET_HEADER, FRAME_HEADROOM, Frame};
use arrayvec::ArrayVec;
use dpdk_sys as sys;
use std::ffi::CString;
use std::mem::MaybeUninit;
use std::ptr::NonNull;
use std::sync::Arc;

const _: () = assert!(sys::SHIM_HEADROOM as usize >= FRAME_HEADROOM);

/// A pool of mbufs. It is for who closes the device to free it: drivers have mbufs of it until then.
#[derive(Debug)]
pub struct Pool {
    pool: NonNull<sys::rte_mempool>,
    members: Vec<NonNull<sys::rte_mbuf>>,
    /// For a frame, bytes.
    room: u16,
}

// SAFETY: DPDK's pools may be used by all threads at the same time.
unsafe impl Send for Pool {}
// SAFETY: the same.
unsafe impl Sync for Pool {}

impl Pool {
    /// What queue `number` receives into and sends from, each with `room` for a frame, bytes.
    pub fn new(number: u16, count: u32, room: u16, socket: i32) -> Result<Pool, Refusal> {
        Pool::of(&format!("rohrpost{number}"), count, room, socket)
    }

    /// What it sends frames from that the NIC cuts.
    pub fn large(number: u16, socket: i32) -> Result<Pool, Refusal> {
        Pool::of(&format!("rohrpost_large{number}"), DPDK_CUT_FRAMES, DPDK_CUT_FRAME_SIZE_MAX, socket)
    }

    fn of(name: &str, count: u32, room: u16, socket: i32) -> Result<Pool, Refusal> {
        let name = CString::new(name).unwrap_or_default();
        let mut members = vec![std::ptr::null_mut(); count as usize];
        let data_room = sys::SHIM_HEADROOM + room;
        // SAFETY: the name lives until the call is over, and `members` has room for `count` pointers.
        let pool = unsafe { sys::shim_pool_create(name.as_ptr(), count, data_room, socket, members.as_mut_ptr()) };
        let refused = || Refusal { step: "get memory for its frames", reason: eal::last_error() };
        let pool = NonNull::new(pool).ok_or_else(refused)?;
        let members: Option<Vec<_>> = members.into_iter().map(NonNull::new).collect();
        Ok(Pool { pool, members: members.ok_or_else(refused)?, room })
    }

    pub(super) fn as_ptr(&self) -> *mut sys::rte_mempool {
        self.pool.as_ptr()
    }

    /// Gives its memory back. No driver may have an mbuf of it any more, and nobody else may use it.
    pub fn free(self) {
        // SAFETY: as is said above.
        unsafe { sys::rte_mempool_free(self.pool.as_ptr()) };
    }
}

/// Where an mbuf is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// In the pool, the driver's hands, or the list of those that are to be sent or go back to the pool.
    Dpdk,
    /// At hand.
    Free,
    /// A frame in the hands of the stack.
    Held,
}

#[derive(Clone, Copy, Debug)]
struct Buffer {
    mbuf: NonNull<sys::rte_mbuf>,
    /// As it was when the driver or the pool gave it last; null before that.
    memory: *mut u8,
    /// Bytes.
    memory_size: u16,
    place: Place,
}

impl Buffer {
    /// The driver has given it to us.
    fn comes(&mut self, frame: &sys::shim_frame, place: Place) {
        self.memory = frame.memory;
        self.memory_size = frame.memory_size;
        self.place = place;
    }
}

/// What came from the driver with a frame.
#[derive(Clone, Copy, Debug)]
pub struct Notes {
    /// About the checksum of IPv4's header.
    pub header: Word,
    /// About the checksum of TCP.
    pub segment: Word,
    /// The VLAN id of the tag that the driver took off.
    pub vlan: Option<u16>,
}

impl Notes {
    fn of(arrived: &sys::shim_frame) -> Notes {
        let word = |mask: u64, good: u64, bad: u64| match arrived.flags & mask {
            flags if flags == good => Word::Good,
            flags if flags == bad => Word::Bad,
            _ => Word::Nothing,
        };
        let stripped = arrived.flags & sys::SHIM_RX_VLAN_STRIPPED != 0;
        Notes {
            header: word(
                sys::SHIM_RX_IPV4_CHECKSUM_MASK,
                sys::SHIM_RX_IPV4_CHECKSUM_GOOD,
                sys::SHIM_RX_IPV4_CHECKSUM_BAD,
            ),
            segment: word(
                sys::SHIM_RX_TCP_CHECKSUM_MASK,
                sys::SHIM_RX_TCP_CHECKSUM_GOOD,
                sys::SHIM_RX_TCP_CHECKSUM_BAD,
            ),
            vlan: stripped.then_some(arrived.vlan & 0x0fff),
        }
    }
}

/// The mbufs of one queue.
#[derive(Debug)]
pub struct Mbufs {
    port: PortId,
    queue: u16,
    buffers: Vec<Buffer>,
    pool: *mut sys::rte_mempool,
    /// The longest frame that one of them holds, bytes.
    room: u16,
    /// That of large ones, and the number of its first.
    large: Option<(*mut sys::rte_mempool, u32)>,
    /// At hand to be written.
    free: ArrayVec<u32, BURST_SIZE>,
    /// To be sent, in this order.
    pending: ArrayVec<*mut sys::rte_mbuf, DPDK_PENDING_MAX>,
    /// Given back, and not the pool's yet: many at once cost it hardly more than one.
    released: ArrayVec<*mut sys::rte_mbuf, BURST_SIZE>,
    /// Keeps the device open and the pool's memory there.
    _opened: Arc<Opened>,
}

// SAFETY: the pointers lead into memory that the process has until the device is closed, which `_opened` prevents, and
// that no other thread touches: the pool and the queue are this worker's alone.
unsafe impl Send for Mbufs {}

/// A place for what the shim writes.
type Received = [MaybeUninit<sys::shim_frame>; BURST_SIZE];

impl Mbufs {
    /// The mbufs of `pool` for a queue that receives into it, and of a pool of large ones to send; `opened` keeps both.
    pub fn new(port: PortId, queue: u16, pool: &Pool, large: Option<&Pool>, opened: Arc<Opened>) -> Mbufs {
        let buffer = |mbuf: &NonNull<_>| Buffer {
            mbuf: *mbuf,
            memory: std::ptr::null_mut(),
            memory_size: 0,
            place: Place::Dpdk,
        };
        Mbufs {
            port,
            queue,
            buffers: pool.members.iter().chain(large.iter().flat_map(|large| &large.members)).map(buffer).collect(),
            pool: pool.as_ptr(),
            room: pool.room,
            large: large.map(|large| (large.as_ptr(), pool.members.len() as u32)),
            free: ArrayVec::new(),
            pending: ArrayVec::new(),
            released: ArrayVec::new(),
            _opened: opened,
        }
    }

    /// The device.
    pub fn port(&self) -> PortId {
        self.port
    }

    /// The number of the queue.
    pub fn queue(&self) -> u16 {
        self.queue
    }

    /// Takes at most `count` frames from the driver, and hands those that can be true to `take`. The number of the others.
    pub fn receive(&mut self, count: usize, mut take: impl FnMut(&mut Mbufs, Frame, Notes)) -> u64 {
        self.free_released();
        let mut received: Received = [MaybeUninit::uninit(); BURST_SIZE];
        let count = count.min(BURST_SIZE) as u16;
        // SAFETY: there is room for `count` frames; the queue is set up to receive into this pool, and only this thread
        // receives on it.
        let received_count =
            unsafe { sys::shim_receive(self.port.0, self.queue, self.pool, received.as_mut_ptr().cast(), count) };
        let mut bad = 0;
        for place in &received[..usize::from(received_count.min(count))] {
            // SAFETY: the shim has written as many as it says.
            let arrived = unsafe { place.assume_init() };
            match self.admit(&arrived) {
                Some(frame) => take(self, frame, Notes::of(&arrived)),
                None => bad += 1,
            }
        }
        bad
    }

    /// Enters an mbuf of the driver's into the book. `None` if it cannot be; what is the driver's to give is freed.
    fn admit(&mut self, arrived: &sys::shim_frame) -> Option<Frame> {
        let Some(buffer) =
            self.buffers.get_mut(arrived.number as usize).filter(|buffer| buffer.mbuf.as_ptr() == arrived.mbuf)
        else {
            // Of another pool, which a driver may have of its own.
            free(&mut [arrived.mbuf]);
            return None;
        };
        if buffer.place != Place::Dpdk {
            // Somebody else has it: freeing it would make two owners of it again.
            return None;
        }
        let (offset, length) = (usize::from(arrived.offset), usize::from(arrived.length));
        // A frame without a header has no meaning.
        let whole = arrived.segments == 1 && length >= ETHERNET_HEADER;
        if !whole || offset + length > usize::from(arrived.memory_size) || arrived.memory.is_null() {
            free(&mut [arrived.mbuf]);
            return None;
        }
        buffer.comes(arrived, Place::Held);
        Some(Frame::new(arrived.number, arrived.offset, arrived.length))
    }

    /// The longest frame that one holds that is not large, bytes.
    pub fn room(&self) -> usize {
        usize::from(self.room)
    }

    /// A free mbuf as a frame of `length` bytes behind the headroom.
    pub fn allocate(&mut self, length: usize) -> Option<Frame> {
        if length > self.room() || !self.any_free() {
            return None;
        }
        let number = self.free.pop()?;
        self.buffers[number as usize].place = Place::Held;
        Some(Frame::new(number, sys::SHIM_HEADROOM, length as u16))
    }

    /// A free large mbuf, likewise.
    pub fn allocate_large(&mut self, length: usize) -> Option<Frame> {
        let (pool, begin) = self.large?;
        if length > usize::from(DPDK_CUT_FRAME_SIZE_MAX) {
            return None;
        }
        let mut taken: MaybeUninit<sys::shim_frame> = MaybeUninit::uninit();
        // SAFETY: there is room for one frame, and the pool is there.
        if unsafe { sys::shim_allocate(pool, taken.as_mut_ptr(), 1) } != 0 {
            return None;
        }
        // SAFETY: the shim has written it.
        let taken = unsafe { taken.assume_init() };
        let number = begin + taken.number;
        let buffer = &mut self.buffers[number as usize];
        assert_eq!(buffer.place, Place::Dpdk);
        buffer.comes(&taken, Place::Held);
        Some(Frame::new(number, sys::SHIM_HEADROOM, length as u16))
    }

    /// Whether an mbuf is at hand; takes some from the pool if none is.
    pub fn any_free(&mut self) -> bool {
        if !self.free.is_empty() {
            return true;
        }
        // Half a burst, so that what is given back finds room.
        const COUNT: usize = BURST_SIZE / 2;
        let mut taken: Received = [MaybeUninit::uninit(); BURST_SIZE];
        // SAFETY: there is room for more than `COUNT` frames, and the pool is there.
        if unsafe { sys::shim_allocate(self.pool, taken.as_mut_ptr().cast(), COUNT as u16) } != 0 {
            return false;
        }
        for place in &taken[..COUNT] {
            // SAFETY: the shim has written all of them.
            let taken = unsafe { place.assume_init() };
            let buffer = &mut self.buffers[taken.number as usize];
            assert_eq!(buffer.place, Place::Dpdk);
            buffer.comes(&taken, Place::Free);
            self.free.push(taken.number);
        }
        true
    }

    /// Gives a frame back.
    pub fn release(&mut self, frame: Frame) {
        let buffer = self.held_mut(&frame);
        // What a driver made of its memory is for the pool to mend.
        buffer.place = Place::Dpdk;
        let mbuf = buffer.mbuf.as_ptr();
        if self.released.is_full() {
            self.free_released();
        }
        self.released.push(mbuf);
    }

    fn free_released(&mut self) {
        if !self.released.is_empty() {
            free(&mut self.released);
            self.released.clear();
        }
    }

    /// The bytes of a frame.
    pub fn bytes(&self, frame: &Frame) -> &[u8] {
        let start = self.start(frame);
        // SAFETY: `start` has looked that so many bytes are there, that they are nobody else's, and that they were
        // written or are at least the process's own: a mempool is zeroed when it is made.
        unsafe { std::slice::from_raw_parts(start, frame.length()) }
    }

    /// The bytes of a frame, to be written.
    pub fn bytes_mut(&mut self, frame: &Frame) -> &mut [u8] {
        let start = self.start(frame);
        // SAFETY: as for `bytes`; and `self` is borrowed alone.
        unsafe { std::slice::from_raw_parts_mut(start, frame.length()) }
    }

    /// Where a frame begins.
    fn start(&self, frame: &Frame) -> *mut u8 {
        let buffer = self.buffers[frame.buffer() as usize];
        // A frame of another queue, or one that was given away, is a fault of ours: going on would corrupt mail.
        assert_eq!(buffer.place, Place::Held);
        let offset = usize::from(frame.offset());
        assert!(offset + frame.length() <= usize::from(buffer.memory_size));
        // SAFETY: the offset is within the memory of the mbuf.
        unsafe { buffer.memory.add(offset) }
    }

    fn held_mut(&mut self, frame: &Frame) -> &mut Buffer {
        let buffer = &mut self.buffers[frame.buffer() as usize];
        assert_eq!(buffer.place, Place::Held);
        buffer
    }

    /// Frames that wait to be sent.
    pub fn pending(&self) -> usize {
        self.pending.len()
    }

    /// Whether one more may wait.
    pub fn pending_room(&self) -> bool {
        !self.pending.is_full()
    }

    /// Has a frame wait to be sent, whose IP packet begins behind `ethernet` bytes; there must be room.
    pub fn send_later(&mut self, frame: Frame, ethernet: usize, orders: Orders, cut: Option<Cut>) {
        let length = frame.length() as u16;
        let buffer = self.held_mut(&frame);
        assert!(usize::from(frame.offset()) + frame.length() <= usize::from(buffer.memory_size));
        buffer.place = Place::Dpdk;
        let mbuf = buffer.mbuf.as_ptr();
        let tcp = |tcp: bool| if tcp { sys::SHIM_TX_TCP_CHECKSUM } else { 0 };
        let (flags, header) = match orders {
            Orders::Nothing => (0, 0),
            Orders::Ipv4 { header, tcp: with } => (sys::SHIM_TX_IPV4 | sys::SHIM_TX_IPV4_CHECKSUM | tcp(with), header),
            Orders::Ipv6Tcp => (sys::SHIM_TX_IPV6 | tcp(true), offload::IPV6_HEADER as u16),
        };
        let (flags, segment, size) = match cut {
            None => (flags, 0, 0),
            Some(cut) => (flags | sys::SHIM_TX_TCP_SEGMENTATION, cut.header, cut.size),
        };
        // SAFETY: the mbuf is ours until it is sent, and the frame lies within its memory.
        unsafe { sys::shim_describe(mbuf, frame.offset(), length, flags, ethernet as u16, header, segment, size) };
        self.pending.push(mbuf);
    }

    /// Sends what waits, as much as there is room for. The number of frames that the driver would not send for what they
    /// are; they are dropped.
    pub fn send(&mut self) -> u64 {
        self.free_released();
        let mut refused_count = 0;
        let mut begin = 0;
        while begin < self.pending.len() {
            let rest = &mut self.pending[begin..];
            let count = rest.len().min(BURST_SIZE) as u16;
            let mut refused = false;
            // SAFETY: `rest` holds at least `count` mbufs that are ours; those that are sent are the driver's from then on
            // and leave the list. Only this thread sends on this queue.
            let sent =
                unsafe { sys::shim_transmit(self.port.0, self.queue, rest.as_mut_ptr(), count, &raw mut refused) };
            begin += usize::from(sent.min(count));
            if refused && let Some(mbuf) = self.pending.get(begin) {
                free(&mut [*mbuf]);
                refused_count += 1;
                begin += 1;
            } else if sent < count {
                break;
            }
        }
        self.pending.drain(..begin);
        refused_count
    }
}

/// Gives mbufs back to their pools, each with those that it goes on in.
fn free(mbufs: &mut [*mut sys::rte_mbuf]) {
    // SAFETY: the mbufs are ours, and nobody uses them afterwards.
    unsafe { sys::shim_free(mbufs.as_mut_ptr(), mbufs.len() as u16) };
}
