//! The frames of one queue, and where each of them is.
//!
//! In: addresses from the rings. Out: [`Frame`]s. The invariant: every buffer is in exactly one [`Place`], and only
//! `Held` ones have a [`Frame`]. What comes from a ring is believed only if it fits the book: a descriptor that
//! names a buffer that the kernel does not have would give one buffer to two owners.
//!
//! ```text
//! buffer, FRAME_SIZE bytes
//! 0                64 (ours) or 256 (the kernel's)          4096
//! | headroom        | frame ...                               |
//! ```

use super::memory::Region;
use crate::port::{ETHERNET_HEADER, FRAME_HEADROOM, Frame};
use std::io;

/// Size of a buffer, bytes: the page that AF_XDP's aligned mode wants.
pub const FRAME_SIZE: usize = 4096;

const _: () = assert!(FRAME_SIZE <= u16::MAX as usize);
const _: () = assert!(FRAME_HEADROOM + ETHERNET_HEADER <= FRAME_SIZE);

/// Where a buffer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// In the free list.
    Free,
    /// In the fill ring, the NIC's hands, or the receive ring.
    Receiving,
    /// A frame in the hands of the stack.
    Held,
    /// In the transmit ring, the NIC's hands, or the completion ring.
    Sending,
}

/// The buffers of a queue.
#[derive(Debug)]
pub struct Frames {
    region: Region,
    places: Vec<Place>,
    free: Vec<u32>,
}

impl Frames {
    /// `count` free buffers.
    pub fn new(count: u32) -> io::Result<Frames> {
        let region = Region::anonymous(count as usize * FRAME_SIZE)?;
        Ok(Frames { region, places: vec![Place::Free; count as usize], free: (0..count).rev().collect() })
    }

    /// The memory, to be registered.
    pub fn region(&self) -> &Region {
        &self.region
    }

    /// Whether a buffer is free.
    pub fn any_free(&self) -> bool {
        !self.free.is_empty()
    }

    /// The address of a free buffer, which is now on its way to the NIC.
    pub fn give_to_receive(&mut self) -> Option<u64> {
        let buffer = self.free.pop()?;
        self.places[buffer as usize] = Place::Receiving;
        Some(u64::from(buffer) * FRAME_SIZE as u64)
    }

    /// Takes back a buffer that [`give_to_receive`](Frames::give_to_receive) gave and nobody took.
    pub fn undo_receive(&mut self, address: u64) {
        let buffer = (address / FRAME_SIZE as u64) as u32;
        assert_eq!(self.places[buffer as usize], Place::Receiving);
        self.set_free(buffer);
    }

    /// Takes a frame from the NIC: what the descriptor says, or `None` if that cannot be. A buffer that was rightly
    /// the NIC's is free again then; says so by the second value.
    pub fn take_received(&mut self, address: u64, length: u32) -> (Option<Frame>, bool) {
        let Some(buffer) = self.buffer_in(address, Place::Receiving) else { return (None, false) };
        let offset = (address % FRAME_SIZE as u64) as usize;
        let length = length as usize;
        if length < ETHERNET_HEADER || length > FRAME_SIZE - offset {
            self.set_free(buffer);
            return (None, true);
        }
        self.places[buffer as usize] = Place::Held;
        (Some(Frame::new(buffer, offset as u16, length as u16)), true)
    }

    /// A free buffer as a frame of `length` bytes behind the headroom.
    pub fn allocate(&mut self, length: usize) -> Option<Frame> {
        if length > FRAME_SIZE - FRAME_HEADROOM {
            return None;
        }
        let buffer = self.free.pop()?;
        self.places[buffer as usize] = Place::Held;
        Some(Frame::new(buffer, FRAME_HEADROOM as u16, length as u16))
    }

    /// The address of a frame that goes to the NIC.
    pub fn give_to_transmit(&mut self, frame: Frame) -> u64 {
        self.assert_held(&frame);
        self.places[frame.buffer() as usize] = Place::Sending;
        u64::from(frame.buffer()) * FRAME_SIZE as u64 + u64::from(frame.offset())
    }

    /// Frees a buffer that the NIC has sent. `false` if it did not have it.
    pub fn take_completed(&mut self, address: u64) -> bool {
        let Some(buffer) = self.buffer_in(address, Place::Sending) else { return false };
        self.set_free(buffer);
        true
    }

    /// Frees a frame.
    pub fn release(&mut self, frame: Frame) {
        self.assert_held(&frame);
        self.set_free(frame.buffer());
    }

    /// The bytes of a frame.
    pub fn bytes(&self, frame: &Frame) -> &[u8] {
        self.assert_held(frame);
        self.region.bytes(start(frame), frame.length())
    }

    /// The bytes of a frame, to be written.
    pub fn bytes_mut(&mut self, frame: &Frame) -> &mut [u8] {
        self.assert_held(frame);
        self.region.bytes_mut(start(frame), frame.length())
    }

    /// What the NIC does when a frame arrives.
    #[cfg(test)]
    pub fn write_for_test(&mut self, address: u64, bytes: &[u8]) {
        self.region.bytes_mut(address as usize, bytes.len()).copy_from_slice(bytes);
    }

    /// What the NIC does when it sends a frame.
    #[cfg(test)]
    pub fn read_for_test(&self, address: u64, length: u32) -> &[u8] {
        self.region.bytes(address as usize, length as usize)
    }

    fn buffer_in(&self, address: u64, place: Place) -> Option<u32> {
        let buffer = address / FRAME_SIZE as u64;
        if self.places.get(usize::try_from(buffer).ok()?) != Some(&place) {
            return None;
        }
        u32::try_from(buffer).ok()
    }

    fn set_free(&mut self, buffer: u32) {
        self.places[buffer as usize] = Place::Free;
        self.free.push(buffer);
    }

    /// A frame of another queue, or one that was given away, is a fault of ours: going on would corrupt mail.
    fn assert_held(&self, frame: &Frame) {
        assert_eq!(self.places[frame.buffer() as usize], Place::Held);
    }
}

fn start(frame: &Frame) -> usize {
    frame.buffer() as usize * FRAME_SIZE + usize::from(frame.offset())
}
