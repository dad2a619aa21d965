//! A device of DPDK's: what it offers, how it is set up, and its link.
//!
//! Every call here is one that any thread may make at any time, except for those that set up, start and close a device;
//! these are for who owns the [`Ethdev`] alone.
#![allow(unsafe_code)]

use super::eal;
use super::mbufs::Pool;
use crate::port::Link;
use dpdk_sys as sys;
use std::ffi::CStr;
use std::mem::zeroed;

/// The number of a device. A copy names the same one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortId(pub(super) u16);

/// What a device offers.
#[derive(Clone, Debug)]
pub struct Offer {
    pub driver: String,
    pub hardware_address: [u8; 6],
    /// Bytes.
    pub mtu: usize,
    /// The index of the kernel's interface that the driver stands on; 0 if it stands on none.
    pub interface: u32,
    pub receive_queues: u16,
    pub transmit_queues: u16,
    /// A bit for each offload (`SHIM_RX_OFFLOAD_…`).
    pub receive_offloads: u64,
    /// A bit for each offload (`SHIM_TX_OFFLOAD_…`).
    pub transmit_offloads: u64,
    /// Fields that the device can spread flows by; 0 if it cannot.
    pub hashes: u64,
    /// The memory that it is nearest to; negative if that makes no difference.
    pub socket: i32,
}

/// What DPDK said no to: a step and its reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub step: &'static str,
    pub reason: String,
}

/// What a driver is asked to do for frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offloads {
    /// `SHIM_RX_OFFLOAD_…`
    pub receive: u64,
    /// `SHIM_TX_OFFLOAD_…`
    pub transmit: u64,
}

/// Devices that nobody else in this process has.
pub fn count() -> u16 {
    // SAFETY: the environment is started, which is all that this needs.
    unsafe { sys::rte_eth_dev_count_avail() }
}

/// The first device.
pub fn first() -> PortId {
    // SAFETY: the environment is started, which is all that this needs.
    PortId(unsafe { sys::rte_eth_find_next_owned_by(0, sys::SHIM_OWNER_NONE) } as u16)
}

/// The outcome of a call that gives 0 or a negative error.
fn outcome(step: &'static str, result: i32) -> Result<(), Refusal> {
    if result < 0 { Err(Refusal { step, reason: eal::error_text(result) }) } else { Ok(()) }
}

impl PortId {
    pub fn offer(self) -> Result<Offer, Refusal> {
        // SAFETY: zeros are a value of this plain structure.
        let mut info: sys::rte_eth_dev_info = unsafe { zeroed() };
        // SAFETY: DPDK writes to `info`, which lives until the call is over.
        outcome("say what it offers", unsafe { sys::rte_eth_dev_info_get(self.0, &raw mut info) })?;
        let mut address = sys::rte_ether_addr::default();
        // SAFETY: DPDK writes to `address`, which lives until the call is over.
        outcome("say its MAC address", unsafe { sys::rte_eth_macaddr_get(self.0, &raw mut address) })?;
        let mut mtu = 0;
        // SAFETY: DPDK writes to `mtu`, which lives until the call is over.
        outcome("say its MTU", unsafe { sys::rte_eth_dev_get_mtu(self.0, &raw mut mtu) })?;
        // SAFETY: it takes any number.
        let socket = unsafe { sys::rte_eth_dev_socket_id(self.0) };
        let driver = if info.driver_name.is_null() {
            String::new()
        } else {
            // SAFETY: not null, it is a C string of the driver, which is not unloaded while the process lives.
            unsafe { CStr::from_ptr(info.driver_name) }.to_string_lossy().into_owned()
        };
        Ok(Offer {
            driver,
            hardware_address: address.addr_bytes,
            mtu: usize::from(mtu),
            interface: info.if_index,
            receive_queues: info.max_rx_queues,
            transmit_queues: info.max_tx_queues,
            receive_offloads: info.rx_offload_capa,
            transmit_offloads: info.tx_offload_capa,
            hashes: info.flow_type_rss_offloads,
            socket,
        })
    }

    /// Sets up as many queues of each direction, with flows spread over them by `hashes`; with another MTU, if one is given.
    pub fn configure(self, queues: u16, mtu: Option<u16>, offloads: Offloads, hashes: u64) -> Result<(), Refusal> {
        // SAFETY: zeros are a value of this plain structure: all defaults.
        let mut settings: sys::rte_eth_conf = unsafe { zeroed() };
        settings.rxmode.mtu = mtu.map_or(0, u32::from);
        settings.rxmode.offloads = offloads.receive;
        settings.txmode.offloads = offloads.transmit;
        if queues > 1 && hashes != 0 {
            settings.rxmode.mq_mode = sys::rte_eth_rx_mq_mode_RTE_ETH_MQ_RX_RSS;
            settings.rx_adv_conf.rss_conf.rss_hf = hashes;
        }
        // SAFETY: DPDK reads `settings`, which lives until the call is over; the device is not started.
        let result = unsafe { sys::rte_eth_dev_configure(self.0, queues, queues, &raw const settings) };
        outcome("be configured", result)
    }

    /// Sizes of receive and transmit rings as near to `wanted` as the device can.
    pub fn ring_sizes(self, wanted: u16) -> Result<(u16, u16), Refusal> {
        let (mut receive, mut transmit) = (wanted, wanted);
        // SAFETY: DPDK writes to both numbers, which live until the call is over.
        let result = unsafe { sys::rte_eth_dev_adjust_nb_rx_tx_desc(self.0, &raw mut receive, &raw mut transmit) };
        outcome("say the sizes of its rings", result)?;
        Ok((receive, transmit))
    }

    /// Sets up a queue that receives into `pool`, which must live until the device is closed.
    pub fn set_up_queue(self, queue: u16, rings: (u16, u16), socket: i32, pool: &Pool) -> Result<(), Refusal> {
        let (receive, transmit) = rings;
        // SAFETY: the device is configured and not started; no settings mean the driver's own; the pool outlives the
        // device, as is said above.
        let result = unsafe {
            sys::rte_eth_rx_queue_setup(self.0, queue, receive, socket as u32, std::ptr::null(), pool.as_ptr())
        };
        outcome("set up a receive queue", result)?;
        // SAFETY: the device is configured and not started; no settings mean the driver's own.
        let result = unsafe { sys::rte_eth_tx_queue_setup(self.0, queue, transmit, socket as u32, std::ptr::null()) };
        outcome("set up a transmit queue", result)
    }

    pub fn start(self) -> Result<(), Refusal> {
        // SAFETY: the device is configured and all its queues are set up.
        outcome("be started", unsafe { sys::rte_eth_dev_start(self.0) })
    }

    /// Has frames for these groups come too. A device that cannot filter by groups takes them all; one that cannot filter
    /// at all has nothing to be told.
    pub fn join(self, groups: &[[u8; 6]]) -> Result<(), Refusal> {
        let mut addresses: Vec<sys::rte_ether_addr> =
            groups.iter().map(|group| sys::rte_ether_addr { addr_bytes: *group }).collect();
        if addresses.is_empty() {
            return Ok(());
        }
        let count = addresses.len() as u32;
        // SAFETY: DPDK reads `count` addresses, which live until the call is over.
        let result = unsafe { sys::rte_eth_dev_set_mc_addr_list(self.0, addresses.as_mut_ptr(), count) };
        if result == 0 {
            return Ok(());
        }
        // SAFETY: it needs nothing but a device.
        let result = unsafe { sys::rte_eth_allmulticast_enable(self.0) };
        if result == 0 {
            return Ok(());
        }
        // SAFETY: it needs nothing but a device.
        let result = unsafe { sys::rte_eth_promiscuous_enable(self.0) };
        if result == -libc::ENOTSUP { Ok(()) } else { outcome("receive multicast", result) }
    }

    /// Whether the link is up, without waiting for it.
    pub fn link(self) -> Link {
        let mut link = sys::rte_eth_link::default();
        // SAFETY: DPDK writes to `link`, which lives until the call is over.
        let result = unsafe { sys::rte_eth_link_get_nowait(self.0, &raw mut link) };
        let speed = Some(link.link_speed).filter(|speed| !matches!(*speed, 0 | u32::MAX));
        Link { up: result == 0 && link.link_status() != 0, speed_mbps: speed }
    }

    /// Frames that the device dropped because its ring was full, or because it had no mbuf for them.
    pub fn missed(self) -> u64 {
        let mut statistics = sys::rte_eth_stats::default();
        // SAFETY: DPDK writes to `statistics`, which lives until the call is over.
        let result = unsafe { sys::rte_eth_stats_get(self.0, &raw mut statistics) };
        if result == 0 { statistics.imissed + statistics.rx_nombuf } else { 0 }
    }

    /// Stops and closes the device; its pools may go then. Nobody may use it any more.
    pub fn close(self) {
        // A memif takes its connection apart in the interrupt thread when the other end goes. Had it begun, and were the
        // device closed here meanwhile, the same memory would be freed twice.
        // SAFETY: no thread has a queue of it any more, as is said above.
        unsafe { sys::shim_close_between_interrupts(self.0) };
    }
}
