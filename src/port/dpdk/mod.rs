//! Frames from and to the queues of a device that DPDK drives.
//!
//! In: a device, the number of workers, own addresses. Out: one [`Queue`] (a [`Port`](crate::port::Port)) for each worker,
//! and an [`Attachment`] that knows the link. The device is wholly ours: what is not for own addresses is dropped and
//! counted. Its MAC address is that of own addresses.
//!
//! ```text
//!                ┌─ RX ring 0 ─► Queue 0 ─► worker 0      each queue has its own pool of mbufs:
//! NIC ── RSS ────┤  TX ring 0 ◄─                          a received one is the frame that the stack reads, and
//!                └─ RX ring 1 ─► Queue 1 ─► worker 1      what is sent is written into one; nothing is copied
//! ```
//!
//! A NIC that cuts large TCP segments (TSO) is given some, from a second pool of a few large mbufs; `mode` says whether it is.
//!
//! Any poll-mode driver will do: a network card by its PCI address, or a virtual device such as `net_memif0` (to another
//! process), `net_af_packet0`, `net_af_xdp0` (an interface that the kernel keeps) or `net_tap0` (a new one). DPDK's
//! environment can be started once in a process, so that a process has one device; a second [`open`] is refused.
//!
//! The preflight and the names of devices are in every build. What calls DPDK is there with the feature `dpdk` only:
//! `eal` (starting it), `ethdev` (the device), `mbufs` (memory), `queue`. Workers are threads that DPDK does not know,
//! which is why pools have no caches of DPDK's; a queue keeps some mbufs at hand instead.
//!
//! # What the box needs
//!
//! - For a network card: hugepages (`sysctl vm.nr_hugepages=N`), an IOMMU, and the driver vfio-pci
//!   (`dpdk-devbind.py --bind=vfio-pci ADDRESS`); NICs whose drivers work beside the kernel's (mlx4, mlx5) keep theirs.
//! - Workers with `poll = "busy"`: there is nothing to sleep on, so that an idle worker looks once a millisecond.
//! - With `net_af_packet` or `net_af_xdp` on veth: no offloads on the other end, as for [`af_xdp`](crate::port::af_xdp).
//! - SIGKILL leaves what the kernel does for a driver: the program of `net_af_xdp` stays attached
//!   (`ip link set DEV xdp off`).

#[cfg(feature = "dpdk")]
mod eal;
mod error;
#[cfg(feature = "dpdk")]
mod ethdev;
#[cfg(feature = "dpdk")]
mod mbufs;
mod name;
#[cfg(any(feature = "dpdk", test))]
mod offload;
#[cfg(feature = "dpdk")]
mod open;
mod preflight;
#[cfg(feature = "dpdk")]
mod queue;

pub use error::OpenError;
pub use name::DeviceName;
#[cfg(feature = "dpdk")]
pub use open::{Attachment, Device, open};
pub use preflight::{arguments_refused, preflight};
#[cfg(feature = "dpdk")]
pub use queue::Queue;

use super::{ETHERNET_HEADER, vlan};
use std::net::IpAddr;

/// Whether this build can drive devices by DPDK.
pub const BUILT: bool = cfg!(feature = "dpdk");

/// What a port is to be, and DPDK's environment with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortSettings {
    /// A PCI address or a virtual device, with arguments for its driver behind commas.
    pub device: String,
    /// How many workers there are: no more queues than that are opened, and no more than the device has.
    pub queues: u16,
    /// The 802.1Q id of our frames; 0 means untagged.
    pub vlan: u16,
    /// Own addresses, whose frames are taken.
    pub addresses: Vec<IpAddr>,
    /// Frames for each queue, a quarter of them for each direction's ring; a power of two.
    pub frames_per_queue: u32,
    /// The largest IP packet, bytes, for drivers that are told; `None` for what the device has.
    pub mtu: Option<u16>,
    /// Have the NIC make and check checksums, and cut large segments, where it offers to.
    pub offloads: bool,
    /// Take memory from the hugepages of the box.
    pub hugepages: bool,
    /// All of DPDK's memory, bytes.
    pub memory: u64,
    /// More arguments for DPDK's environment.
    pub arguments: Vec<String>,
}

impl PortSettings {
    /// The room for a frame in an mbuf, bytes.
    fn room(&self) -> u16 {
        let needed = self.mtu.map_or(0, |mtu| usize::from(mtu) + FRAME_OVERHEAD);
        needed.next_multiple_of(MBUF_ALIGNMENT).max(DATA_ROOM) as u16
    }
}

/// What a frame has besides the IP packet: an Ethernet header and a tag, bytes.
const FRAME_OVERHEAD: usize = ETHERNET_HEADER + vlan::TAG_SIZE;

/// What an mbuf takes of its pool besides the room for the frame: its headers and the headroom, rounded up, bytes.
const MBUF_OVERHEAD: u64 = 512;

/// So that no two mbufs share a cache line, bytes.
const MBUF_ALIGNMENT: usize = 64;

/// The least room for a frame in an mbuf, bytes; DPDK's own default, which every driver is used to.
const DATA_ROOM: usize = 2048;
