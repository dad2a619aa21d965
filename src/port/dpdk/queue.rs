//! One queue of a device: its mbufs, and what is done with each frame on its way.
//!
//! In: all frames that come on this queue. Out: those for own addresses, and what the stack sends. It takes off and puts on
//! the VLAN tag, and looks into a frame as far as steering and checksums need.

use super::mbufs::{Mbufs, Notes};
use super::offload::{self, Cut, Orders};
use crate::port::steering::Steering;
use crate::port::{BURST_SIZE, Burst, Capabilities, ETHERNET_HEADER, Frame, Port, PortCounters, vlan};
use std::os::fd::BorrowedFd;

/// What a queue is told at its opening.
#[derive(Clone, Debug)]
pub(super) struct QueueSettings {
    pub hardware_address: [u8; 6],
    pub vlan: u16,
    pub steering: Steering,
    pub capabilities: Capabilities,
}

/// One RX/TX queue pair of a device.
#[derive(Debug)]
pub struct Queue {
    mbufs: Mbufs,
    settings: QueueSettings,
    counters: PortCounters,
}

impl Queue {
    pub(super) fn new(mbufs: Mbufs, settings: QueueSettings) -> Queue {
        Queue { mbufs, settings, counters: PortCounters::default() }
    }

    /// The device's number of this queue.
    pub fn index(&self) -> u16 {
        self.mbufs.queue()
    }

    /// Frames that were given to [`transmit`](Port::transmit) and that the device had no room for yet.
    pub fn in_transit(&self) -> usize {
        self.mbufs.pending()
    }

    /// Has a frame wait to be sent, with its tag; there must be room.
    fn queue_up(&mut self, frame: Frame, orders: Orders, cut: Option<Cut>) {
        self.counters.frames_sent += 1;
        self.counters.bytes_sent += frame.length() as u64;
        if self.settings.vlan == 0 {
            self.mbufs.send_later(frame, ETHERNET_HEADER, orders, cut);
        } else {
            let frame = vlan::make_room(frame);
            vlan::write(self.mbufs.bytes_mut(&frame), self.settings.vlan);
            self.mbufs.send_later(frame, ETHERNET_HEADER + vlan::TAG_SIZE, orders, cut);
        }
        if self.mbufs.pending() >= BURST_SIZE {
            self.counters.frames_unsent += self.mbufs.send();
        }
    }
}

/// What becomes of a frame that came.
enum Fate {
    Ours(Frame),
    Foreign(Frame),
    Damaged(Frame),
}

/// Judges a frame, and takes its tag off.
fn judge(mbufs: &mut Mbufs, settings: &QueueSettings, frame: Frame, notes: Notes) -> Fate {
    let bytes = mbufs.bytes_mut(&frame);
    // A tag that the driver took off counts as one in the frame.
    let frame = match notes.vlan {
        None if settings.vlan == 0 => frame,
        None if vlan::tag(bytes) == Some(settings.vlan) => vlan::strip(bytes, frame),
        // The id 0 is a priority and no VLAN (IEEE 802.1Q).
        Some(id) if id == settings.vlan => frame,
        _ => return Fate::Foreign(frame),
    };
    let bytes = mbufs.bytes(&frame);
    if !settings.steering.takes(bytes) {
        return Fate::Foreign(frame);
    }
    if settings.capabilities.checksum_receive && !offload::holds(bytes, notes.header, notes.segment) {
        return Fate::Damaged(frame);
    }
    Fate::Ours(frame)
}

impl Port for Queue {
    fn hardware_address(&self) -> [u8; 6] {
        self.settings.hardware_address
    }

    fn capabilities(&self) -> Capabilities {
        self.settings.capabilities
    }

    fn receive(&mut self, burst: &mut Burst) {
        let (settings, counters) = (&self.settings, &mut self.counters);
        let room = burst.remaining_capacity();
        let bad = self.mbufs.receive(room, |mbufs, frame, notes| match judge(mbufs, settings, frame, notes) {
            Fate::Ours(frame) => {
                counters.frames_received += 1;
                counters.bytes_received += frame.length() as u64;
                burst.push(frame);
            }
            Fate::Foreign(frame) => {
                counters.frames_foreign += 1;
                mbufs.release(frame);
            }
            Fate::Damaged(frame) => {
                counters.frames_missed += 1;
                mbufs.release(frame);
            }
        });
        self.counters.frames_missed += bad;
    }

    fn bytes(&self, frame: &Frame) -> &[u8] {
        self.mbufs.bytes(frame)
    }

    fn bytes_mut(&mut self, frame: &mut Frame) -> &mut [u8] {
        self.mbufs.bytes_mut(frame)
    }

    fn allocate(&mut self, length: usize) -> Option<Frame> {
        // Without a large one segments go one by one: nothing is unsent.
        if length > self.mbufs.room() {
            return self.mbufs.allocate_large(length);
        }
        if !self.mbufs.any_free() {
            self.counters.frames_unsent += 1;
        }
        self.mbufs.allocate(length)
    }

    fn transmit(&mut self, frame: Frame) {
        if !self.mbufs.pending_room() {
            self.counters.frames_unsent += self.mbufs.send();
        }
        // A frame without a header is nothing that a driver should see.
        if frame.length() < ETHERNET_HEADER || !self.mbufs.pending_room() {
            self.counters.frames_unsent += 1;
            return self.mbufs.release(frame);
        }
        let orders = match self.settings.capabilities.checksum_transmit {
            true => offload::order(self.mbufs.bytes_mut(&frame)),
            false => Orders::Nothing,
        };
        self.queue_up(frame, orders, None);
    }

    fn transmit_cut(&mut self, frame: Frame, size: u16) {
        if !self.mbufs.pending_room() {
            self.counters.frames_unsent += self.mbufs.send();
        }
        match offload::order_cut(self.mbufs.bytes_mut(&frame), size) {
            Some((orders, cut)) if self.mbufs.pending_room() => self.queue_up(frame, orders, Some(cut)),
            _ => {
                self.counters.frames_unsent += 1;
                self.mbufs.release(frame);
            }
        }
    }

    fn transmit_ready(&mut self) -> bool {
        if !self.mbufs.pending_room() {
            self.counters.frames_unsent += self.mbufs.send();
        }
        self.mbufs.pending_room() && self.mbufs.any_free()
    }

    fn release(&mut self, frame: Frame) {
        self.mbufs.release(frame);
    }

    fn flush(&mut self) {
        self.counters.frames_unsent += self.mbufs.send();
    }

    /// DPDK is polled.
    fn wakeup(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    fn counters(&self) -> PortCounters {
        let mut counters = self.counters;
        // The device counts what it misses for all queues together.
        if self.index() == 0 {
            counters.frames_missed += self.mbufs.port().missed();
        }
        counters
    }
}

const _: () = {
    const fn is_send<T: Send>() {}
    is_send::<Queue>();
};
