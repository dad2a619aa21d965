//! Frames from and to a NIC queue.
//!
//! In: Ethernet frames for the appliance's own addresses, in bursts. Out: Ethernet frames to send. A
//! port never looks into a frame beyond what steering needs, and never decides about it.
//!
//! A [`Frame`] is a handle into the port's memory that can only be moved: it is in exactly one place (the
//! port's rings, a burst, the stack), and giving it to [`Port::transmit`] or [`Port::release`] is the only
//! way to be rid of it. Frames have [`FRAME_HEADROOM`] bytes in front for headers added later.

pub mod af_xdp;
pub(crate) mod checksum;
pub mod dpdk;
mod interface;
pub mod lane;
pub mod memory;
mod numbers;
mod privilege;
pub mod sim;
#[cfg(any(feature = "dpdk", test))]
mod steering;
mod vlan;

use serde::{Deserialize, Serialize};
use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv6Addr};
use std::os::fd::BorrowedFd;

/// Bytes of an Ethernet header: the shortest frame with a meaning.
pub(crate) const ETHERNET_HEADER: usize = 14;

/// The longest name of an interface, bytes (IFNAMSIZ without the zero).
pub(crate) const INTERFACE_NAME_SIZE_MAX: usize = 15;

/// Bytes kept free in front of every frame that [`Port::allocate`] hands out: room for a VLAN tag and
/// for what a driver wants to put there.
pub const FRAME_HEADROOM: usize = 64;

/// Frames taken or given in one go. 64 keeps a burst's headers within the L1 cache.
pub const BURST_SIZE: usize = 64;

/// A frame's place in the port's memory. Not `Clone`: two owners of one buffer would be a use after free
/// in slow motion.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a frame that is dropped is lost to its pool: transmit or release it"]
pub struct Frame {
    /// The buffer's number in the pool.
    buffer: u32,
    /// Where the frame begins in it, bytes.
    offset: u16,
    /// Length of the frame, bytes.
    length: u16,
}

impl Frame {
    /// Only ports make frames.
    pub(in crate::port) fn new(buffer: u32, offset: u16, length: u16) -> Frame {
        Frame { buffer, offset, length }
    }

    pub(in crate::port) fn buffer(&self) -> u32 {
        self.buffer
    }

    pub(in crate::port) fn offset(&self) -> u16 {
        self.offset
    }

    /// Length of the frame, bytes.
    pub fn length(&self) -> usize {
        usize::from(self.length)
    }

    /// The same buffer with another length: a frame that was allocated at full size and then written.
    pub fn truncate(&mut self, length: usize) {
        assert!(length <= self.length());
        self.length = length as u16;
    }
}

/// Frames on their way through one breath.
pub type Burst = arrayvec::ArrayVec<Frame, BURST_SIZE>;

/// What the hardware does for us.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// Largest IP packet, bytes (the link's MTU).
    pub mtu: usize,
    /// TCP and IP checksums of received frames were verified.
    pub checksum_receive: bool,
    /// TCP and IP checksums of frames to send are filled in, whatever stands there.
    pub checksum_transmit: bool,
    /// The NIC cuts a large TCP segment into many (TSO), within these limits; `None` if it does not. The TCP and IP checksums
    /// of what is cut are filled in, whatever stands there.
    pub segmentation: Option<Segmentation>,
}

/// What a NIC can cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segmentation {
    /// The longest frame that it takes, bytes.
    pub frame_max: usize,
    /// The longest frames that it cuts it into, bytes.
    pub piece_max: usize,
    /// It can do so for IPv6, not for IPv4 only.
    pub ipv6: bool,
}

/// Whether frames can pass; as text `up, 10 Gb/s` and the like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// They can.
    pub up: bool,
    /// The speed in Mb/s, if the driver knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub speed_mbps: Option<u32>,
}

impl fmt::Display for Link {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.up, self.speed_mbps) {
            (false, _) => formatter.write_str("down"),
            (true, None) => formatter.write_str("up"),
            (true, Some(speed)) if speed % 1000 == 0 => write!(formatter, "up, {} Gb/s", speed / 1000),
            (true, Some(speed)) => write!(formatter, "up, {speed} Mb/s"),
        }
    }
}

/// Counts since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PortCounters {
    /// Frames taken in.
    pub frames_received: u64,
    /// Frames given out.
    pub frames_sent: u64,
    /// Bytes of those taken in.
    pub bytes_received: u64,
    /// Bytes of those given out.
    pub bytes_sent: u64,
    /// Frames that the NIC or the driver dropped because we were late or out of buffers.
    pub frames_missed: u64,
    /// Frames that we could not send for want of a buffer or room in the ring.
    pub frames_unsent: u64,
    /// Frames that came and were for no address of ours; where the kernel has them instead they are not seen.
    pub frames_foreign: u64,
}

/// Every address that the kernel of this host (and network namespace) holds, on whatever interface.
pub fn kernel_addresses() -> io::Result<Vec<IpAddr>> {
    Ok(interface::addresses()?.into_iter().map(|(address, _)| address).collect())
}

/// The MAC address that neighbour solicitations for `address` go to (RFC 4291 §2.7.1, RFC 2464 §7).
pub(crate) fn solicited_node_mac(address: Ipv6Addr) -> [u8; 6] {
    let octets = address.octets();
    [0x33, 0x33, 0xff, octets[13], octets[14], octets[15]]
}

/// The MAC address of all nodes, where unsolicited advertisements go (RFC 4861 §7.2.6).
const ALL_NODES_MAC: [u8; 6] = [0x33, 0x33, 0, 0, 0, 1];

/// One RX/TX queue pair of a NIC.
pub trait Port {
    /// The MAC address that frames are sent from.
    fn hardware_address(&self) -> [u8; 6];

    /// What the hardware does for us.
    fn capabilities(&self) -> Capabilities;

    /// Moves received frames into `burst` until it is full or none is left.
    fn receive(&mut self, burst: &mut Burst);

    /// The bytes of a frame.
    fn bytes(&self, frame: &Frame) -> &[u8];

    /// The bytes of a frame, to be written.
    fn bytes_mut(&mut self, frame: &mut Frame) -> &mut [u8];

    /// A free frame of `length` bytes, or `None` if the pool is empty or `length` exceeds what a frame holds. One longer than
    /// the link takes is to be had where the port offers [`Segmentation`]; those are few.
    fn allocate(&mut self, length: usize) -> Option<Frame>;

    /// Queues a frame to be sent; it goes out at the next [`flush`](Port::flush) at the latest. A full ring counts
    /// `frames_unsent` and drops it, as a wire would: TCP sends it again.
    fn transmit(&mut self, frame: Frame);

    /// The same for a TCP segment that the NIC cuts into pieces of `size` bytes of content each, the last one of what is left.
    /// Only for a port that offers [`Segmentation`], and within its limits; it counts as one frame.
    fn transmit_cut(&mut self, frame: Frame, _size: u16) {
        debug_assert!(false, "this port cuts nothing");
        self.release(frame);
    }

    /// Whether [`allocate`](Port::allocate) of a frame that the link takes and [`transmit`](Port::transmit) would succeed now.
    fn transmit_ready(&mut self) -> bool;

    /// Gives a frame back to its pool.
    fn release(&mut self, frame: Frame);

    /// Sends what is queued.
    fn flush(&mut self);

    /// A frame that has to leave by a queue of another worker, and which worker that is. None by default.
    fn next_carried(&mut self) -> Option<(u16, Box<[u8]>)> {
        None
    }

    /// Becomes readable when frames arrive, for a worker that sleeps; `None` if this port can only be polled.
    fn wakeup(&self) -> Option<BorrowedFd<'_>>;

    /// What was counted since the start.
    fn counters(&self) -> PortCounters;
}

#[cfg(test)]
mod tests {
    use super::Link;

    #[test]
    fn a_link_reads_like_a_sentence() {
        let link = |up, speed_mbps| Link { up, speed_mbps }.to_string();
        assert_eq!(link(true, Some(10_000)), "up, 10 Gb/s");
        assert_eq!(link(true, Some(2_500)), "up, 2500 Mb/s");
        assert_eq!(link(true, None), "up");
        assert_eq!(link(false, Some(10_000)), "down");
    }
}
