//! The frames of a claim, written and read.

use crate::port::ETHERNET_HEADER;
use arrayvec::ArrayVec;
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{
    ArpOperation, ArpPacket, ArpRepr, EthernetAddress, EthernetFrame, EthernetProtocol, EthernetRepr, IPV6_HEADER_LEN,
    IPV6_LINK_LOCAL_ALL_MLDV2_ROUTERS, IPV6_LINK_LOCAL_ALL_NODES, Icmpv6Packet, Icmpv6Repr, IpProtocol, Ipv6Packet,
    Ipv6Repr, MldRepr, NdiscNeighborFlags, NdiscRepr,
};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Room for the largest frame written here: Ethernet, IPv6, hop-by-hop options, a report of one group.
const FRAME_SIZE_MAX: usize = 128;

/// RFC 4861 §7.1: neighbour discovery is valid only with this hop limit, which no router lets through.
const HOP_LIMIT_NEIGHBOUR: u8 = 255;

/// A hop-by-hop header for ICMPv6 with the router alert option (RFC 3810 §5, RFC 2711) and two bytes of padding.
const ROUTER_ALERT: [u8; 8] = [58, 0, 5, 2, 0, 0, 1, 0];

/// RFC 3810 §5.2.12: excluding no source is listening to all.
const CHANGE_TO_EXCLUDE_MODE: u8 = 4;

pub(super) type Bytes = ArrayVec<u8, FRAME_SIZE_MAX>;

/// RFC 5227 §2.1.1: asks for `address` and leaves the sender's out, so that nobody's cache is polluted.
pub(super) fn arp_probe(mac: [u8; 6], address: Ipv4Addr) -> Bytes {
    arp(mac, ArpOperation::Request, Ipv4Addr::UNSPECIFIED, address)
}

/// RFC 5227 §2.3: a probe whose sender address is filled in.
pub(super) fn arp_announcement(mac: [u8; 6], address: Ipv4Addr) -> Bytes {
    arp(mac, ArpOperation::Request, address, address)
}

/// The other form of gratuitous ARP (RFC 5944 §4.6).
pub(super) fn arp_gratuitous_reply(mac: [u8; 6], address: Ipv4Addr) -> Bytes {
    arp(mac, ArpOperation::Reply, address, address)
}

fn arp(mac: [u8; 6], operation: ArpOperation, source: Ipv4Addr, target: Ipv4Addr) -> Bytes {
    let repr = ArpRepr::EthernetIpv4 {
        operation,
        source_hardware_addr: EthernetAddress(mac),
        source_protocol_addr: source,
        // Ignored in a request; in a gratuitous reply it is the sender's own.
        target_hardware_addr: match operation {
            ArpOperation::Reply => EthernetAddress(mac),
            _ => EthernetAddress([0; 6]),
        },
        target_protocol_addr: target,
    };
    let mut bytes = ethernet(mac, EthernetAddress::BROADCAST, EthernetProtocol::Arp, repr.buffer_len());
    repr.emit(&mut ArpPacket::new_unchecked(&mut bytes[ETHERNET_HEADER..]));
    bytes
}

/// RFC 4862 §5.4.2: a solicitation from nobody for the tentative address, without a link-layer option.
pub(super) fn solicitation(mac: [u8; 6], address: Ipv6Addr) -> Bytes {
    let repr = Icmpv6Repr::Ndisc(NdiscRepr::NeighborSolicit { target_addr: address, lladdr: None });
    neighbour_discovery(mac, Ipv6Addr::UNSPECIFIED, solicited_node(address), &repr)
}

/// RFC 4861 §7.2.6: an advertisement that nobody asked for, which overrides what caches hold.
pub(super) fn advertisement(mac: [u8; 6], address: Ipv6Addr) -> Bytes {
    let repr = Icmpv6Repr::Ndisc(NdiscRepr::NeighborAdvert {
        flags: NdiscNeighborFlags::OVERRIDE,
        target_addr: address,
        lladdr: Some(EthernetAddress(mac).into()),
    });
    neighbour_discovery(mac, address, IPV6_LINK_LOCAL_ALL_NODES, &repr)
}

fn neighbour_discovery(mac: [u8; 6], source: Ipv6Addr, destination: Ipv6Addr, repr: &Icmpv6Repr<'_>) -> Bytes {
    let header = Ipv6Repr {
        src_addr: source,
        dst_addr: destination,
        next_header: IpProtocol::Icmpv6,
        payload_len: repr.buffer_len(),
        hop_limit: HOP_LIMIT_NEIGHBOUR,
    };
    icmpv6(mac, &header, &[], repr)
}

/// RFC 3810 §5.2: we listen to the solicited-node group of `address`. From nobody, since we have no address yet
/// (RFC 3810 §5.2.13).
pub(super) fn group_report(mac: [u8; 6], address: Ipv6Addr) -> Bytes {
    let mut record = [0; 20];
    record[0] = CHANGE_TO_EXCLUDE_MODE;
    record[4..].copy_from_slice(&solicited_node(address).octets());
    let repr = Icmpv6Repr::Mld(MldRepr::Report { nr_mcast_addr_rcrds: 1, data: &record });
    let header = Ipv6Repr {
        src_addr: Ipv6Addr::UNSPECIFIED,
        dst_addr: IPV6_LINK_LOCAL_ALL_MLDV2_ROUTERS,
        next_header: IpProtocol::HopByHop,
        payload_len: ROUTER_ALERT.len() + repr.buffer_len(),
        hop_limit: 1,
    };
    icmpv6(mac, &header, &ROUTER_ALERT, &repr)
}

fn icmpv6(mac: [u8; 6], header: &Ipv6Repr, extension: &[u8], repr: &Icmpv6Repr<'_>) -> Bytes {
    let length = IPV6_HEADER_LEN + header.payload_len;
    let mut bytes = ethernet(mac, multicast(header.dst_addr), EthernetProtocol::Ipv6, length);
    let packet = &mut bytes[ETHERNET_HEADER..];
    header.emit(&mut Ipv6Packet::new_unchecked(&mut *packet));
    let (before, message) = packet[IPV6_HEADER_LEN..].split_at_mut(extension.len());
    before.copy_from_slice(extension);
    let checksums = ChecksumCapabilities::default();
    repr.emit(&header.src_addr, &header.dst_addr, &mut Icmpv6Packet::new_unchecked(message), &checksums);
    bytes
}

/// A frame of zeros behind its Ethernet header.
fn ethernet(mac: [u8; 6], to: EthernetAddress, ethertype: EthernetProtocol, payload_length: usize) -> Bytes {
    let mut bytes = Bytes::from([0; FRAME_SIZE_MAX]);
    bytes.truncate(ETHERNET_HEADER + payload_length);
    let header = EthernetRepr { src_addr: EthernetAddress(mac), dst_addr: to, ethertype };
    header.emit(&mut EthernetFrame::new_unchecked(&mut bytes[..]));
    bytes
}

/// RFC 4291 §2.7.1.
fn solicited_node(address: Ipv6Addr) -> Ipv6Addr {
    let [.., high, middle, low] = address.octets();
    Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00 | u16::from(high), u16::from_be_bytes([middle, low]))
}

/// RFC 2464 §7.
fn multicast(group: Ipv6Addr) -> EthernetAddress {
    let [.., a, b, c, d] = group.octets();
    EthernetAddress([0x33, 0x33, a, b, c, d])
}

/// The address that a frame claims for its sender, and who that is; `None` if it claims none, is malformed, or is our own
/// (some switches and bonds give frames back).
pub(super) fn contested(frame: &[u8], mac: [u8; 6]) -> Option<(IpAddr, [u8; 6])> {
    let frame = EthernetFrame::new_checked(frame).ok()?;
    let from = frame.src_addr();
    if from.0 == mac {
        return None;
    }
    let (address, owner) = match frame.ethertype() {
        EthernetProtocol::Arp => contested_by_arp(frame.payload())?,
        EthernetProtocol::Ipv6 => {
            let (address, owner) = contested_by_neighbour(frame.payload())?;
            (address, owner.unwrap_or(from.0))
        }
        _ => return None,
    };
    (owner != mac).then_some((address, owner))
}

/// RFC 5227 §2.1.1: any ARP packet whose sender has the address, or a probe of another host for it.
fn contested_by_arp(payload: &[u8]) -> Option<(IpAddr, [u8; 6])> {
    let ArpRepr::EthernetIpv4 { operation, source_hardware_addr, source_protocol_addr, target_protocol_addr, .. } =
        ArpRepr::parse(&ArpPacket::new_checked(payload).ok()?).ok()?
    else {
        return None;
    };
    let address = if !source_protocol_addr.is_unspecified() {
        source_protocol_addr
    } else if operation == ArpOperation::Request {
        target_protocol_addr
    } else {
        return None;
    };
    Some((address.into(), source_hardware_addr.0))
}

/// RFC 4862 §5.4.3 and §5.4.4: an advertisement for the address, or a solicitation from nobody, which is the probe of
/// another host. A solicitation from somebody only wants to talk to the address.
fn contested_by_neighbour(payload: &[u8]) -> Option<(IpAddr, Option<[u8; 6]>)> {
    let packet = Ipv6Packet::new_checked(payload).ok()?;
    let header = Ipv6Repr::parse(&packet).ok()?;
    // RFC 4861 §7.1.1 and §7.1.2: anything else may come from beyond the link.
    if header.next_header != IpProtocol::Icmpv6 || header.hop_limit != HOP_LIMIT_NEIGHBOUR {
        return None;
    }
    let message = Icmpv6Packet::new_checked(packet.payload()).ok()?;
    let checksums = ChecksumCapabilities::default();
    match Icmpv6Repr::parse(&header.src_addr, &header.dst_addr, &message, &checksums).ok()? {
        Icmpv6Repr::Ndisc(NdiscRepr::NeighborAdvert { target_addr, lladdr, .. }) => {
            let owner = lladdr.and_then(|lladdr| lladdr.as_bytes().try_into().ok());
            Some((target_addr.into(), owner))
        }
        Icmpv6Repr::Ndisc(NdiscRepr::NeighborSolicit { target_addr, .. })
            if header.src_addr.is_unspecified() && header.dst_addr == solicited_node(target_addr) =>
        {
            Some((target_addr.into(), None))
        }
        _ => None,
    }
}
