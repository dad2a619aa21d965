//! Next hops: their hardware addresses, and the flows that wait for one.
//!
//! Every next hop is asked for by itself, and its flows go on in the breath in which it answers. What a neighbour says of
//! itself unasked (gratuitous ARP, RFC 5227 §3; unsolicited advertisements, RFC 4861 §7.2.6) is believed of those only that
//! are known already: that is how a partner that takes over is heard, and strangers fill no table.

use super::OwnAddress;
use crate::env::Instant;
use crate::flow::FlowId;
use crate::limits::{NEIGHBOUR_LIFETIME, NEIGHBOURS_MAX};
use crate::port::{ETHERNET_HEADER, solicited_node_mac};
use hashbrown::HashMap;
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{
    ArpOperation, ArpPacket, ArpRepr, EthernetAddress, EthernetFrame, EthernetProtocol, Icmpv6Packet, Icmpv6Repr,
    IpCidr, IpProtocol, Ipv6Packet, Ipv6Repr, NdiscRepr,
};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Where packets for `remote` go first, or `None` if there is no way.
pub(super) fn next_hop(own: &[OwnAddress], remote: IpAddr) -> Option<IpAddr> {
    let same_family = |address: &&OwnAddress| address.ip.is_ipv4() == remote.is_ipv4();
    let on_link = |address: &OwnAddress| cidr(address).contains_addr(&remote.into());
    if own.iter().filter(same_family).any(on_link) {
        return Some(remote);
    }
    own.iter().filter(same_family).find_map(|address| address.gateway)
}

pub(super) fn cidr(address: &OwnAddress) -> IpCidr {
    let bits = if address.ip.is_ipv4() { 32 } else { 128 };
    IpCidr::new(address.ip.into(), address.prefix.min(bits))
}

/// What is known of a neighbour.
#[derive(Clone, Copy, Debug)]
struct Neighbour {
    hardware_address: [u8; 6],
    told_at: Instant,
}

/// All of them.
#[derive(Default)]
pub(super) struct Neighbours {
    known: HashMap<IpAddr, Neighbour>,
    /// Flows that cannot send because nobody knows where their next hop is.
    waiting: HashMap<IpAddr, Vec<FlowId>>,
}

impl Neighbours {
    pub fn len(&self) -> usize {
        self.known.len()
    }

    /// Where a hop is, unless nothing was heard of it for too long.
    pub fn find(&self, hop: IpAddr, now: Instant) -> Option<[u8; 6]> {
        let known = self.known.get(&hop)?;
        (now.since(known.told_at) < NEIGHBOUR_LIFETIME).then_some(known.hardware_address)
    }

    /// A neighbour says where it is. Who waited for it goes on.
    pub fn learn(&mut self, address: IpAddr, hardware_address: [u8; 6], now: Instant) -> Vec<FlowId> {
        // Groups have no place of their own.
        let plausible = hardware_address[0] & 1 == 0 && hardware_address != [0; 6];
        let awaited = self.waiting.contains_key(&address);
        if !plausible || !(awaited || self.known.contains_key(&address)) {
            return Vec::new();
        }
        if self.known.len() >= NEIGHBOURS_MAX && !self.known.contains_key(&address) {
            self.known.retain(|_, neighbour| now.since(neighbour.told_at) < NEIGHBOUR_LIFETIME);
            if self.known.len() >= NEIGHBOURS_MAX {
                // So many on one link, all heard of within a minute: an attack, or far more than there is room for.
                return Vec::new();
            }
        }
        self.known.insert(address, Neighbour { hardware_address, told_at: now });
        self.waiting.remove(&address).unwrap_or_default()
    }

    /// Adds a flow to those that wait for `hop`; true if it is the first.
    pub fn wait(&mut self, hop: IpAddr, flow: FlowId) -> bool {
        let flows = self.waiting.entry(hop).or_default();
        flows.push(flow);
        flows.len() == 1
    }

    /// Takes all that wait for `hop`.
    pub fn take_waiting(&mut self, hop: IpAddr) -> Vec<FlowId> {
        self.waiting.remove(&hop).unwrap_or_default()
    }

    pub fn put_back(&mut self, hop: IpAddr, flows: Vec<FlowId>) {
        if !flows.is_empty() {
            self.waiting.insert(hop, flows);
        }
    }
}

/// Length of a frame that asks for `hop`.
pub(super) fn request_length(hop: IpAddr) -> usize {
    match hop {
        IpAddr::V4(_) => ETHERNET_HEADER + 28,
        IpAddr::V6(_) => ETHERNET_HEADER + 40 + 32,
    }
}

/// Writes an ARP request or a neighbour solicitation (RFC 4861 §4.3) for `hop` into `frame`, on behalf of `source`: whoever
/// hears it takes that address to be here.
pub(super) fn write_request(frame: &mut [u8], hardware_address: [u8; 6], source: IpAddr, hop: IpAddr) {
    match (source, hop) {
        (IpAddr::V4(source), IpAddr::V4(hop)) => write_arp(frame, hardware_address, source, hop),
        (IpAddr::V6(source), IpAddr::V6(hop)) => write_solicitation(frame, hardware_address, source, hop),
        _ => unreachable!("a neighbour is asked for by an address of its own family"),
    }
}

/// Of `own` the address in the network of `hop`, else any of its family.
pub(super) fn source<'a>(own: impl Iterator<Item = &'a OwnAddress>, hop: IpAddr) -> Option<IpAddr> {
    let mut family = own.filter(|address| address.ip.is_ipv4() == hop.is_ipv4()).peekable();
    let first = family.peek()?.ip;
    Some(family.find(|address| cidr(address).contains_addr(&hop.into())).map_or(first, |address| address.ip))
}

fn write_arp(frame: &mut [u8], hardware_address: [u8; 6], source: Ipv4Addr, hop: Ipv4Addr) {
    let mut ethernet = EthernetFrame::new_unchecked(frame);
    ethernet.set_src_addr(EthernetAddress(hardware_address));
    ethernet.set_dst_addr(EthernetAddress::BROADCAST);
    ethernet.set_ethertype(EthernetProtocol::Arp);
    let request = ArpRepr::EthernetIpv4 {
        operation: ArpOperation::Request,
        source_hardware_addr: EthernetAddress(hardware_address),
        source_protocol_addr: source,
        target_hardware_addr: EthernetAddress([0; 6]),
        target_protocol_addr: hop,
    };
    request.emit(&mut ArpPacket::new_unchecked(ethernet.payload_mut()));
}

fn write_solicitation(frame: &mut [u8], hardware_address: [u8; 6], source: Ipv6Addr, hop: Ipv6Addr) {
    let [.., a, b, c] = hop.octets();
    let group = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00 | u16::from(a), u16::from_be_bytes([b, c]));
    let mut ethernet = EthernetFrame::new_unchecked(frame);
    ethernet.set_src_addr(EthernetAddress(hardware_address));
    ethernet.set_dst_addr(EthernetAddress(solicited_node_mac(hop)));
    ethernet.set_ethertype(EthernetProtocol::Ipv6);
    let solicitation = Icmpv6Repr::Ndisc(NdiscRepr::NeighborSolicit {
        target_addr: hop,
        lladdr: Some(EthernetAddress(hardware_address).into()),
    });
    let ip = Ipv6Repr {
        src_addr: source,
        dst_addr: group,
        next_header: IpProtocol::Icmpv6,
        payload_len: solicitation.buffer_len(),
        // RFC 4861 §7.1.1: receivers drop anything that could have been routed.
        hop_limit: 255,
    };
    let mut packet = Ipv6Packet::new_unchecked(ethernet.payload_mut());
    ip.emit(&mut packet);
    let mut message = Icmpv6Packet::new_unchecked(packet.payload_mut());
    solicitation.emit(&source, &group, &mut message, &ChecksumCapabilities::default());
}
