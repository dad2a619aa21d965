//! One queue of a simulated NIC, with buffers of its own.

use super::cut::cut;
use super::{HostId, Network};
use crate::port::{Burst, Capabilities, ETHERNET_HEADER, FRAME_HEADROOM, Frame, Port, PortCounters, Segmentation};
use std::os::fd::BorrowedFd;

/// Buffers of one port, enough for a full receive ring's worth of frames on their way through a stack.
const BUFFER_COUNT: u32 = 1024;

/// Frames that wait for [`Port::flush`]; more are unsent.
const TRANSMIT_RING_SIZE: usize = 512;

/// A port of a [`Network`]. Dropping it pulls the plug; what it had queued is gone.
///
/// Every frame that it handed out comes back once: [`SimPort::frames_out`] says how many have not, and a frame of another
/// port, or one that came back twice, is a bug of the stack that stops the simulation.
#[derive(Debug)]
pub struct SimPort {
    network: Network,
    host: HostId,
    queue: usize,
    hardware_address: [u8; 6],
    mtu: usize,
    segmentation: Option<Segmentation>,
    cut: (u64, u64),
    buffers: Vec<Buffer>,
    free: Vec<u32>,
    /// No buffer is free until the next call of `receive`, whatever `free` says.
    short: bool,
    transmit_ring: Vec<Box<[u8]>>,
    counters: PortCounters,
}

#[derive(Debug, Default)]
struct Buffer {
    /// Empty until the buffer is first used: a simulation has many ports that carry little.
    bytes: Box<[u8]>,
    out: bool,
}

impl SimPort {
    pub(super) fn new(network: Network, host: HostId, queue: usize, hardware_address: [u8; 6], mtu: usize) -> SimPort {
        SimPort {
            network,
            host,
            queue,
            hardware_address,
            mtu,
            segmentation: None,
            cut: (0, 0),
            buffers: (0..BUFFER_COUNT).map(|_| Buffer::default()).collect(),
            free: (0..BUFFER_COUNT).rev().collect(),
            short: false,
            transmit_ring: Vec::new(),
            counters: PortCounters::default(),
        }
    }

    /// The host that this port belongs to.
    pub fn host(&self) -> HostId {
        self.host
    }

    /// The network that it is plugged into.
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// Frames that were handed out and have not come back.
    pub fn frames_out(&self) -> usize {
        self.buffers.len() - self.free.len()
    }

    /// From now on it cuts TCP segments in frames of up to `frame_max` bytes into what its link takes.
    pub fn offer_segmentation(&mut self, frame_max: usize) {
        self.segmentation = Some(Segmentation { frame_max, piece_max: self.capacity(), ipv6: true });
    }

    /// How many frames it has cut, and into how many.
    pub fn cut(&self) -> (u64, u64) {
        self.cut
    }

    /// Sends bytes as they are, for hosts that are nothing but a test's own hand.
    pub fn send(&mut self, bytes: &[u8]) {
        let mut frame = self.allocate(bytes.len()).expect("the frame fits the link and the pool is not empty");
        self.bytes_mut(&mut frame).copy_from_slice(bytes);
        self.transmit(frame);
        self.flush();
    }

    /// Takes all that has arrived, for the same hosts.
    pub fn take(&mut self) -> Vec<Box<[u8]>> {
        std::iter::from_fn(|| self.network.take(self.host, self.queue)).collect()
    }

    /// Whether frames wait in the receive ring.
    pub fn waiting(&self) -> bool {
        self.network.waiting(self.host, self.queue)
    }

    fn capacity(&self) -> usize {
        self.mtu + ETHERNET_HEADER
    }

    /// Puts frames into the ring that were given out as one.
    fn queue(&mut self, frames: impl ExactSizeIterator<Item = Box<[u8]>>) {
        if self.transmit_ring.len() + frames.len() <= TRANSMIT_RING_SIZE {
            self.transmit_ring.extend(frames);
        } else {
            self.counters.frames_unsent += 1;
        }
    }

    fn come_back(&mut self, frame: &Frame) {
        let buffer = &mut self.buffers[frame.buffer() as usize];
        assert!(buffer.out, "a frame came back twice, or to another port than its own");
        buffer.out = false;
        self.free.push(frame.buffer());
    }

    fn range(frame: &Frame) -> std::ops::Range<usize> {
        let start = usize::from(frame.offset());
        start..start + frame.length()
    }
}

impl Port for SimPort {
    fn hardware_address(&self) -> [u8; 6] {
        self.hardware_address
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { mtu: self.mtu, segmentation: self.segmentation, ..Capabilities::default() }
    }

    fn receive(&mut self, burst: &mut Burst) {
        self.short = self.network.is_short(self.host);
        while !burst.is_full() && !self.free.is_empty() && !self.short {
            let Some(bytes) = self.network.take(self.host, self.queue) else { return };
            // The path's largest frame may be larger than what this port was made for.
            let Some(mut frame) = self.allocate(bytes.len()) else {
                self.counters.frames_missed += 1;
                continue;
            };
            self.bytes_mut(&mut frame).copy_from_slice(&bytes);
            self.counters.frames_received += 1;
            self.counters.bytes_received += bytes.len() as u64;
            burst.push(frame);
        }
    }

    fn bytes(&self, frame: &Frame) -> &[u8] {
        &self.buffers[frame.buffer() as usize].bytes[SimPort::range(frame)]
    }

    fn bytes_mut(&mut self, frame: &mut Frame) -> &mut [u8] {
        &mut self.buffers[frame.buffer() as usize].bytes[SimPort::range(frame)]
    }

    fn allocate(&mut self, length: usize) -> Option<Frame> {
        let length_max = self.segmentation.map_or(0, |limits| limits.frame_max).max(self.capacity());
        if length > length_max || self.short {
            return None;
        }
        let size = FRAME_HEADROOM + self.capacity().max(length);
        let index = self.free.pop()?;
        let buffer = &mut self.buffers[index as usize];
        if buffer.bytes.len() < size {
            buffer.bytes = vec![0; size].into_boxed_slice();
        }
        buffer.out = true;
        Some(Frame::new(index, FRAME_HEADROOM as u16, length as u16))
    }

    fn transmit(&mut self, frame: Frame) {
        let bytes = self.bytes(&frame).into();
        self.queue(std::iter::once(bytes));
        self.come_back(&frame);
    }

    fn transmit_cut(&mut self, frame: Frame, size: u16) {
        let limits = self.segmentation.expect("it was offered");
        assert!(frame.length() <= limits.frame_max);
        let pieces = cut(self.bytes(&frame), usize::from(size));
        assert!(pieces.iter().all(|piece| piece.len() <= limits.piece_max));
        self.cut = (self.cut.0 + 1, self.cut.1 + pieces.len() as u64);
        self.queue(pieces.into_iter());
        self.come_back(&frame);
    }

    fn transmit_ready(&mut self) -> bool {
        !self.short && !self.free.is_empty() && self.transmit_ring.len() < TRANSMIT_RING_SIZE
    }

    fn release(&mut self, frame: Frame) {
        self.come_back(&frame);
    }

    fn flush(&mut self) {
        for bytes in self.transmit_ring.drain(..) {
            self.counters.frames_sent += 1;
            self.counters.bytes_sent += bytes.len() as u64;
            self.network.send(self.host, bytes);
        }
    }

    fn wakeup(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    fn counters(&self) -> PortCounters {
        let missed = self.counters.frames_missed + self.network.missed(self.host, self.queue);
        PortCounters { frames_missed: missed, ..self.counters }
    }
}

impl Drop for SimPort {
    fn drop(&mut self) {
        self.network.detach(self.host, self.queue);
    }
}
