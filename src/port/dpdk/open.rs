//! Opening a device, and what keeps it open.

use super::ethdev::{self, Offer, Offloads, PortId, Refusal};
use super::mbufs::{Mbufs, Pool};
use super::name::DeviceName;
use super::preflight::{check_frames, holds_large_frames};
use super::queue::{Queue, QueueSettings};
use super::{FRAME_OVERHEAD, OpenError, PortSettings, eal, preflight};
use crate::limits::{DPDK_CUT_FRAME_SIZE_MAX, LINK_PAUSE};
use crate::port::steering::Steering;
use crate::port::{
    ALL_NODES_MAC, Capabilities, ETHERNET_HEADER, Link, Segmentation, interface, solicited_node_mac, vlan,
};
use dpdk_sys as sys;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The largest ring: more would only be later.
const RING_SIZE_MAX: u32 = 4096;

/// An open device.
#[derive(Debug)]
pub struct Device {
    /// By number.
    pub queues: Vec<Queue>,
    /// Knows the link. It need not be kept: the device is open for as long as there is a queue.
    pub attachment: Attachment,
    /// How it was opened, for an operator: driver, offloads.
    pub mode: String,
    /// What DPDK complained about while it started.
    pub complaints: Vec<String>,
}

/// The device beside its queues.
#[derive(Clone, Debug)]
pub struct Attachment(Arc<Opened>);

impl Attachment {
    /// Whether the link is up, now. Some drivers say so of any interface of the kernel's, which is asked itself.
    pub fn link(&self) -> Link {
        let link = self.0.port.link();
        let below = if self.0.interface == 0 { Ok(None) } else { interface::by_index(self.0.interface) };
        let running = below.ok().flatten().is_none_or(|interface| interface.is_running);
        Link { up: link.up && running, ..link }
    }

    /// Waits until the link is up, for at most `patience`. How it is then.
    pub fn wait_for_link(&self, patience: Duration) -> Link {
        let deadline = Instant::now() + patience;
        loop {
            let link = self.link();
            if link.up || Instant::now() >= deadline {
                return link;
            }
            std::thread::sleep(LINK_PAUSE);
        }
    }
}

/// A started device with the memory of its queues. When the last queue and the attachment are gone it is stopped and
/// closed.
#[derive(Debug)]
pub(super) struct Opened {
    port: PortId,
    /// The index of the kernel's interface below; 0 if there is none.
    interface: u32,
    pools: Vec<Pool>,
    /// Of large mbufs: as many as there are queues, or none.
    large: Vec<Pool>,
}

impl Drop for Opened {
    fn drop(&mut self) {
        self.port.close();
        for pool in self.pools.drain(..).chain(self.large.drain(..)) {
            pool.free();
        }
    }
}

/// Starts DPDK and opens the device: one queue for each worker.
///
/// # Errors
/// Problems of the settings and of the machine; and, since DPDK can be started once, every call in a process after the
/// first that the preflight let through, whatever became of that one.
pub fn open(settings: &PortSettings) -> Result<Device, OpenError> {
    if let Some(problem) = preflight(settings).into_iter().next() {
        return Err(problem);
    }
    let reason = |reason| OpenError::Name { device: settings.device.clone(), reason };
    let device: DeviceName = settings.device.parse().map_err(reason)?;
    let complaints = eal::start(&arguments(settings, &device))?;
    match ethdev::count() {
        0 => {
            let reasons = if complaints.is_empty() { "none".to_owned() } else { complaints.join("; ") };
            return Err(OpenError::NoDriver { device: device.to_string(), reasons });
        }
        1 => {}
        count => return Err(OpenError::SeveralDevices { device: device.to_string(), count }),
    }
    let port = ethdev::first();
    let refused =
        |refusal: Refusal| OpenError::Driver { device: device.to_string(), step: refusal.step, reason: refusal.reason };
    let offer = port.offer().map_err(refused)?;
    let queues = queues(settings, &device, &offer);
    if let Some(problem) = check_frames(settings, queues) {
        return Err(problem);
    }
    let offloads = offloads(settings, &offer);
    let hashes = offer.hashes & sys::SHIM_RSS_IP_TCP;
    // A virtual device that takes an MTU does so by the size of its buffers, and knows nothing of one.
    let told = settings.mtu.filter(|_| device.is_pci());
    port.configure(queues, told, offloads, hashes).map_err(refused)?;
    let mtu = settings.mtu.map_or_else(|| mtu(&offer), usize::from);
    let max = usize::from(settings.room()) - FRAME_OVERHEAD;
    if mtu > max {
        return Err(OpenError::MtuTooLarge { device: device.to_string(), mtu, max });
    }
    let rings = port.ring_sizes((settings.frames_per_queue / 4).min(RING_SIZE_MAX) as u16).map_err(refused)?;
    let mut opened = Opened { port, interface: offer.interface, pools: Vec::new(), large: Vec::new() };
    for number in 0..queues {
        let pool = Pool::new(number, settings.frames_per_queue, settings.room(), offer.socket).map_err(refused)?;
        let set_up = port.set_up_queue(number, rings, offer.socket, &pool);
        // Also on failure: the device may have taken mbufs of it.
        opened.pools.push(pool);
        set_up.map_err(refused)?;
    }
    let segmentation = segmentation(settings, mtu, &offer, offloads).filter(|_| {
        // It is a gain and no need: memory that does not suffice for it is no fault.
        if !holds_large_frames(settings, queues) {
            return false;
        }
        opened.large = (0..queues).map_while(|number| Pool::large(number, offer.socket).ok()).collect();
        opened.large.len() == usize::from(queues)
    });
    port.start().map_err(refused)?;
    port.join(&groups(&settings.addresses)).map_err(refused)?;

    let opened = Arc::new(opened);
    let queue_settings = QueueSettings {
        hardware_address: offer.hardware_address,
        vlan: settings.vlan,
        steering: Steering::new(&settings.addresses),
        capabilities: Capabilities {
            mtu,
            checksum_receive: offloads.receive != 0,
            checksum_transmit: offloads.transmit != 0,
            segmentation,
        },
    };
    let queue = |number: u16| {
        let place = usize::from(number);
        let large = segmentation.is_some().then(|| &opened.large[place]);
        let mbufs = Mbufs::new(port, number, &opened.pools[place], large, Arc::clone(&opened));
        Queue::new(mbufs, queue_settings.clone())
    };
    Ok(Device {
        queues: (0..queues).map(queue).collect(),
        mode: mode(&offer, &queue_settings.capabilities),
        attachment: Attachment(opened),
        complaints,
    })
}

/// What the environment is told.
fn arguments(settings: &PortSettings, device: &DeviceName) -> Vec<String> {
    let cores = core_affinity::get_core_ids().unwrap_or_default();
    let known = cores.iter().filter(|core| core.id < sys::SHIM_CORES_MAX as usize);
    let cores: Vec<String> = known.map(|core| core.id.to_string()).collect();
    let mut arguments: Vec<String> = Vec::new();
    // One thread, this one, on whatever cores it may run on now: the environment would pin it to the first.
    arguments.push(format!("--lcores=0@({})", if cores.is_empty() { "0".to_owned() } else { cores.join(",") }));
    arguments.extend(["--no-telemetry", "--log-level=warning"].map(str::to_owned));
    arguments.extend(["-m".to_owned(), settings.memory.div_ceil(1 << 20).to_string()]);
    // Nothing is shared with other processes, so that nothing is left behind and none is disturbed.
    let unshared: &[&str] = if settings.hugepages { &["--in-memory"] } else { &["--no-huge", "--no-shconf"] };
    arguments.extend(unshared.iter().map(|argument| (*argument).to_owned()));
    arguments.extend(device.arguments(settings.mtu.map(|_| settings.room())));
    arguments.extend(settings.arguments.iter().cloned());
    arguments
}

/// How many queues are opened: as many as there are workers, if the device has as many. Drivers that spread frames over all
/// queues that they have, opened or not, were told how many that is.
fn queues(settings: &PortSettings, device: &DeviceName, offer: &Offer) -> u16 {
    let offered = offer.receive_queues.min(offer.transmit_queues);
    match device.driver() {
        "net_af_packet" | "net_af_xdp" => offered,
        _ => settings.queues.min(offered),
    }
}

/// What the driver is asked to do: everything that is of use and on offer.
fn offloads(settings: &PortSettings, offer: &Offer) -> Offloads {
    if !settings.offloads {
        return Offloads::default();
    }
    let receive = sys::SHIM_RX_OFFLOAD_IPV4_CHECKSUM | sys::SHIM_RX_OFFLOAD_TCP_CHECKSUM;
    let transmit = sys::SHIM_TX_OFFLOAD_IPV4_CHECKSUM | sys::SHIM_TX_OFFLOAD_TCP_CHECKSUM;
    // Half of the checksums would spare the stack nothing: it makes and checks both or none.
    let all = |wanted: u64, offered: u64| if wanted & !offered == 0 { wanted } else { 0 };
    let mut transmit = all(transmit, offer.transmit_offloads);
    // What is cut has its checksums made by the NIC.
    if transmit != 0 {
        transmit |= all(sys::SHIM_TX_OFFLOAD_TCP_SEGMENTATION, offer.transmit_offloads);
    }
    Offloads { receive: all(receive, offer.receive_offloads), transmit }
}

/// What the device cuts, if it was asked to.
fn segmentation(settings: &PortSettings, mtu: usize, offer: &Offer, offloads: Offloads) -> Option<Segmentation> {
    if offloads.transmit & sys::SHIM_TX_OFFLOAD_TCP_SEGMENTATION == 0 {
        return None;
    }
    let frame_max = usize::from(DPDK_CUT_FRAME_SIZE_MAX);
    // net_tap cuts by software, IPv4 only, and takes the MTU for the length of a whole frame; what it does not cut would
    // stand in its way for ever.
    if offer.driver == "net_tap" {
        let tag = if settings.vlan == 0 { 0 } else { vlan::TAG_SIZE };
        return Some(Segmentation { frame_max, piece_max: mtu - tag, ipv6: false });
    }
    Some(Segmentation { frame_max, piece_max: mtu + ETHERNET_HEADER, ipv6: true })
}

/// The driver and what it does for us, in words.
fn mode(offer: &Offer, capabilities: &Capabilities) -> String {
    let checksums = match (capabilities.checksum_receive, capabilities.checksum_transmit) {
        (true, true) => "checksums by the NIC",
        (true, false) => "received checksums by the NIC",
        (false, true) => "sent checksums by the NIC",
        (false, false) => "checksums by software",
    };
    let segmentation = if capabilities.segmentation.is_some() { ", segmentation too" } else { "" };
    format!("{}, {}, {checksums}{segmentation}", eal::version(), offer.driver)
}

/// The largest IP packet, bytes: what the driver says, or what the kernel's interface below takes if that is less.
fn mtu(offer: &Offer) -> usize {
    let below = match offer.interface {
        0 => None,
        index => interface::by_index(index).ok().flatten().map(|interface| interface.mtu),
    };
    below.unwrap_or(offer.mtu).min(offer.mtu)
}

/// The multicast groups whose frames own addresses need.
fn groups(addresses: &[IpAddr]) -> Vec<[u8; 6]> {
    let mut groups: Vec<[u8; 6]> = Vec::new();
    for address in addresses {
        if let IpAddr::V6(address) = address {
            groups.push(solicited_node_mac(*address));
        }
    }
    if !groups.is_empty() {
        groups.push(ALL_NODES_MAC);
    }
    groups
}
