//! One NIC queue: a socket, its rings, its frames.
//!
//! In: frames that the steering program redirected on this queue. Out: frames to send on it. It strips and adds
//! the VLAN tag, and otherwise never looks into a frame.
//!
//! Half of the frames at most are with the NIC for receiving and half at most for sending, so that neither direction
//! can starve the other for longer than the stack holds on to what it has.

use super::frames::{FRAME_SIZE, Frames};
use super::socket::{self, Rings};
use crate::port::{Burst, Capabilities, ETHERNET_HEADER, Frame, Port, PortCounters, vlan};
use socket2::Socket;
use std::io::ErrorKind;
use std::os::fd::{AsFd, BorrowedFd};

/// What a queue is told at its opening.
#[derive(Clone, Copy, Debug)]
pub(super) struct QueueSettings {
    pub queue: u32,
    pub vlan: u16,
    pub hardware_address: [u8; 6],
    pub mtu: usize,
    /// Slots in each ring.
    pub ring_size: u32,
}

/// One RX/TX queue pair of a NIC behind an AF_XDP socket.
#[derive(Debug)]
pub struct Queue {
    // Dropped first: the socket lets go of the frames before they are unmapped.
    socket: Socket,
    rings: Rings,
    frames: Frames,
    settings: QueueSettings,
    /// Frames with the NIC for receiving; at most a ring of them.
    receiving: u32,
    /// Frames with the NIC for sending; at most a ring of them.
    sending: u32,
    counters: PortCounters,
    /// Descriptors that named a buffer which the kernel does not have, or bytes outside it.
    descriptors_bad: u64,
}

impl Queue {
    /// A queue over a socket that has its frames and rings but is not bound. Fills the fill ring: some drivers
    /// want it so when they are bound.
    pub(super) fn new(socket: Socket, rings: Rings, frames: Frames, settings: QueueSettings) -> Queue {
        let counters = PortCounters::default();
        let mut queue =
            Queue { socket, rings, frames, settings, receiving: 0, sending: 0, counters, descriptors_bad: 0 };
        queue.refill();
        queue
    }

    /// The NIC's number of this queue.
    pub fn index(&self) -> u32 {
        self.settings.queue
    }

    /// The socket, to be bound and put into the map.
    pub(super) fn socket(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Descriptors from the rings that could not be true and were dropped: zero on a healthy machine.
    pub fn descriptors_bad(&self) -> u64 {
        self.descriptors_bad
    }

    /// Frames that were given to [`transmit`](Port::transmit) and that the NIC has not yet sent: not zero after a
    /// [`flush`](Port::flush) that the device was too busy for, and then another flush is due.
    pub fn in_transit(&self) -> u32 {
        self.sending
    }

    #[cfg(test)]
    pub(super) fn rings_for_test(&mut self) -> &mut Rings {
        &mut self.rings
    }

    #[cfg(test)]
    pub(super) fn frames_for_test(&mut self) -> &mut Frames {
        &mut self.frames
    }

    /// Gives free frames to the NIC until it has its share.
    fn refill(&mut self) {
        while self.receiving < self.settings.ring_size {
            let Some(address) = self.frames.give_to_receive() else { break };
            if !self.rings.fill.push(address) {
                self.frames.undo_receive(address);
                break;
            }
            self.receiving += 1;
        }
        self.rings.fill.publish();
    }

    /// Takes back the frames that have been sent.
    fn reclaim(&mut self) {
        while let Some(address) = self.rings.completion.pop() {
            if self.frames.take_completed(address) {
                self.sending -= 1;
            } else {
                self.descriptors_bad += 1;
            }
        }
        self.rings.completion.release();
    }

    /// Whether a frame can be put into the transmit ring.
    fn transmit_room(&mut self) -> bool {
        self.sending < self.settings.ring_size && self.rings.transmit.room(1) > 0
    }

    /// Has the kernel send what is in the ring.
    ///
    /// In copy mode one call takes at most 32 frames, and fails with EAGAIN both then and when the socket's send
    /// buffer is full: it is repeated for as long as it makes progress. Whatever is left (EBUSY, ENOBUFS: the
    /// device is busy; ENETDOWN: it is down) goes out with the next flush.
    fn kick(&mut self) {
        let mut pending = self.rings.transmit.pending();
        while pending > 0 {
            match self.socket.send_with_flags(&[], libc::MSG_DONTWAIT) {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.reclaim(),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(_) => break,
            }
            let left = self.rings.transmit.pending();
            if left >= pending {
                break;
            }
            pending = left;
        }
    }

    /// The frame without its tag; `None` (and the frame freed) if it is not of our VLAN.
    fn strip_tag(&mut self, frame: Frame) -> Option<Frame> {
        let bytes = self.frames.bytes_mut(&frame);
        if vlan::tag(bytes) != Some(self.settings.vlan) {
            // The steering program lets none of these through; a driver that rewrites tags might.
            self.counters.frames_missed += 1;
            self.frames.release(frame);
            return None;
        }
        Some(vlan::strip(bytes, frame))
    }

    /// The frame with a tag, which goes into its headroom.
    fn add_tag(&mut self, frame: Frame) -> Frame {
        let frame = vlan::make_room(frame);
        vlan::write(self.frames.bytes_mut(&frame), self.settings.vlan);
        frame
    }
}

impl Port for Queue {
    fn hardware_address(&self) -> [u8; 6] {
        self.settings.hardware_address
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { mtu: self.settings.mtu, ..Capabilities::default() }
    }

    fn receive(&mut self, burst: &mut Burst) {
        while !burst.is_full() {
            let Some(descriptor) = self.rings.receive.pop() else { break };
            let (frame, was_receiving) = self.frames.take_received(descriptor.addr, descriptor.len);
            if was_receiving {
                self.receiving -= 1;
            }
            // Options would say that the frame goes on in another buffer, which we never asked for.
            let frame = match frame {
                Some(frame) if descriptor.options == 0 => frame,
                Some(frame) => {
                    self.frames.release(frame);
                    self.descriptors_bad += 1;
                    continue;
                }
                None => {
                    self.descriptors_bad += 1;
                    continue;
                }
            };
            let frame = if self.settings.vlan == 0 { Some(frame) } else { self.strip_tag(frame) };
            let Some(frame) = frame else { continue };
            self.counters.frames_received += 1;
            self.counters.bytes_received += frame.length() as u64;
            burst.push(frame);
        }
        self.rings.receive.release();
        if self.sending > 0 {
            self.reclaim();
        }
        self.refill();
        if self.rings.fill.need_wakeup() {
            // A driver that ran out of frames sleeps; the call has no other effect, and nothing to say to us.
            let _ = self.socket.recv_with_flags(&mut [], libc::MSG_DONTWAIT);
        }
    }

    fn bytes(&self, frame: &Frame) -> &[u8] {
        self.frames.bytes(frame)
    }

    fn bytes_mut(&mut self, frame: &mut Frame) -> &mut [u8] {
        self.frames.bytes_mut(frame)
    }

    fn allocate(&mut self, length: usize) -> Option<Frame> {
        if !self.frames.any_free() {
            self.reclaim();
            if !self.frames.any_free() {
                self.counters.frames_unsent += 1;
            }
        }
        self.frames.allocate(length)
    }

    fn transmit(&mut self, frame: Frame) {
        if !self.transmit_room() {
            self.reclaim();
        }
        let length = frame.length();
        // The kernel holds the whole ring up over a frame without a header.
        if length < ETHERNET_HEADER || !self.transmit_room() {
            self.counters.frames_unsent += 1;
            self.frames.release(frame);
            return;
        }
        let frame = if self.settings.vlan == 0 { frame } else { self.add_tag(frame) };
        let len = frame.length() as u32;
        let addr = self.frames.give_to_transmit(frame);
        let pushed = self.rings.transmit.push(libc::xdp_desc { addr, len, options: 0 });
        assert!(pushed);
        self.sending += 1;
        self.counters.frames_sent += 1;
        self.counters.bytes_sent += length as u64;
    }

    fn transmit_ready(&mut self) -> bool {
        if !self.frames.any_free() || !self.transmit_room() {
            self.reclaim();
        }
        self.frames.any_free() && self.transmit_room()
    }

    fn release(&mut self, frame: Frame) {
        self.frames.release(frame);
    }

    fn flush(&mut self) {
        self.rings.transmit.publish();
        // In copy mode the ring always asks to be woken; a driver in zero-copy mode only when it sleeps.
        if self.rings.transmit.need_wakeup() && self.sending > 0 {
            self.kick();
        }
        self.reclaim();
    }

    fn wakeup(&self) -> Option<BorrowedFd<'_>> {
        Some(self.socket.as_fd())
    }

    /// Asks the kernel for its share: one system call.
    fn counters(&self) -> PortCounters {
        let kernel = socket::statistics(self.socket.as_fd());
        let mut counters = self.counters;
        counters.frames_missed += kernel.rx_dropped + kernel.rx_ring_full + self.descriptors_bad;
        counters.frames_unsent += kernel.tx_invalid_descs;
        counters
    }
}

const _: () = {
    const fn is_send<T: Send>() {}
    is_send::<Queue>();
    assert!(FRAME_SIZE > crate::port::FRAME_HEADROOM + ETHERNET_HEADER);
};
