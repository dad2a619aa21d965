//! A NIC queue without a NIC: frames come from and go to whoever holds the port, in the same thread.
//!
//! In: frames that [`MemoryPort::arrive`] puts into the receive ring. Out: frames that the stack transmitted, shown by
//! [`MemoryPort::sent`]. It costs next to nothing and keeps no time, so that what is measured over it is the stack;
//! [`sim`](super::sim) has the wires, the delays and the faults.

use super::{Burst, Capabilities, ETHERNET_HEADER, FRAME_HEADROOM, Frame, Port, PortCounters, Segmentation};
use std::collections::VecDeque;
use std::os::fd::BorrowedFd;

/// Frames of one port, received ones and those to be sent.
const BUFFER_COUNT: u32 = 1024;

/// A port of plain memory.
#[derive(Debug)]
pub struct MemoryPort {
    hardware_address: [u8; 6],
    capabilities: Capabilities,
    memory: Box<[u8]>,
    free: Vec<u32>,
    arrived: VecDeque<Frame>,
    transmitted: VecDeque<Frame>,
    counters: PortCounters,
}

impl MemoryPort {
    /// A port with an empty ring each way. `mtu`: the largest IP packet, bytes.
    pub fn new(hardware_address: [u8; 6], mtu: usize) -> MemoryPort {
        MemoryPort::with(hardware_address, Capabilities { mtu, ..Capabilities::default() })
    }

    /// The same as if a NIC made and checked the checksums and cut frames of up to `frame_max` bytes, 0 for none. It only says
    /// so: [`sent`](MemoryPort::sent) shows what the stack gave.
    pub fn with_offloads(hardware_address: [u8; 6], mtu: usize, frame_max: usize) -> MemoryPort {
        let cuts = Segmentation { frame_max, piece_max: ETHERNET_HEADER + mtu, ipv6: true };
        let segmentation = (frame_max > 0).then_some(cuts);
        MemoryPort::with(
            hardware_address,
            Capabilities { mtu, checksum_receive: true, checksum_transmit: true, segmentation },
        )
    }

    fn with(hardware_address: [u8; 6], capabilities: Capabilities) -> MemoryPort {
        let size = FRAME_HEADROOM + length_max(&capabilities);
        MemoryPort {
            hardware_address,
            capabilities,
            memory: vec![0; size * BUFFER_COUNT as usize].into(),
            free: (0..BUFFER_COUNT).rev().collect(),
            arrived: VecDeque::new(),
            transmitted: VecDeque::new(),
            counters: PortCounters::default(),
        }
    }

    /// A frame arrives. False if there is no buffer for it.
    pub fn arrive(&mut self, bytes: &[u8]) -> bool {
        let Some(mut frame) = self.allocate(bytes.len()) else { return false };
        self.bytes_mut(&mut frame).copy_from_slice(bytes);
        self.arrived.push_back(frame);
        true
    }

    /// Shows what was transmitted since the last time, in order, and frees it. Says how many frames that were.
    pub fn sent(&mut self, mut see: impl FnMut(&[u8])) -> usize {
        let count = self.transmitted.len();
        while let Some(frame) = self.transmitted.pop_front() {
            see(self.bytes(&frame));
            self.release(frame);
        }
        count
    }

    fn range(&self, frame: &Frame) -> std::ops::Range<usize> {
        let size = FRAME_HEADROOM + length_max(&self.capabilities);
        let start = frame.buffer() as usize * size + usize::from(frame.offset());
        start..start + frame.length()
    }
}

/// The longest frame, bytes.
fn length_max(capabilities: &Capabilities) -> usize {
    let cut = capabilities.segmentation.map_or(0, |limits| limits.frame_max);
    cut.max(ETHERNET_HEADER + capabilities.mtu)
}

impl Port for MemoryPort {
    fn hardware_address(&self) -> [u8; 6] {
        self.hardware_address
    }

    fn capabilities(&self) -> Capabilities {
        self.capabilities
    }

    fn receive(&mut self, burst: &mut Burst) {
        while !burst.is_full() {
            let Some(frame) = self.arrived.pop_front() else { return };
            self.counters.frames_received += 1;
            self.counters.bytes_received += frame.length() as u64;
            burst.push(frame);
        }
    }

    fn bytes(&self, frame: &Frame) -> &[u8] {
        &self.memory[self.range(frame)]
    }

    fn bytes_mut(&mut self, frame: &mut Frame) -> &mut [u8] {
        let range = self.range(frame);
        &mut self.memory[range]
    }

    fn allocate(&mut self, length: usize) -> Option<Frame> {
        if length > length_max(&self.capabilities) {
            return None;
        }
        Some(Frame::new(self.free.pop()?, FRAME_HEADROOM as u16, length as u16))
    }

    fn transmit(&mut self, frame: Frame) {
        self.counters.frames_sent += 1;
        self.counters.bytes_sent += frame.length() as u64;
        self.transmitted.push_back(frame);
    }

    fn transmit_cut(&mut self, frame: Frame, _: u16) {
        self.transmit(frame);
    }

    fn transmit_ready(&mut self) -> bool {
        !self.free.is_empty()
    }

    fn release(&mut self, frame: Frame) {
        self.free.push(frame.buffer());
    }

    fn flush(&mut self) {}

    fn wakeup(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    fn counters(&self) -> PortCounters {
        self.counters
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_frame_finds_its_way_and_its_buffer_comes_back() {
        let mut port = MemoryPort::new([2, 0, 0, 0, 0, 1], 1500);
        let mut burst = Burst::new();
        for round in 0..3 * BUFFER_COUNT {
            assert!(port.arrive(&round.to_be_bytes()));
            port.receive(&mut burst);
            let frame = burst.pop().expect("it arrived");
            assert_eq!(port.bytes(&frame), round.to_be_bytes());
            port.transmit(frame);
            assert_eq!(port.sent(|bytes| assert_eq!(bytes, round.to_be_bytes())), 1);
        }
        assert!((0..BUFFER_COUNT).all(|_| port.arrive(b"frame")));
        assert!(!port.arrive(b"one too many") && !port.transmit_ready());
        assert_eq!(port.allocate(1515), None);
    }
}
