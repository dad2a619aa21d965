//! What a received frame is.
//!
//! In: a frame as it came. Out: its kind, with the fields that decide where it goes. Nothing is verified here that
//! smoltcp verifies later; what is decided without smoltcp (resets, SYNs, ICMP errors) verifies its checksum first.

use super::device::ETHERNET_HEADER;
use super::tuple::Tuple;
use smoltcp::wire::{Icmpv4Packet, Icmpv6Packet, IpAddress, TcpPacket};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

pub(super) const FIN: u8 = 0x01;
pub(super) const SYN: u8 = 0x02;
pub(super) const RST: u8 = 0x04;
pub(super) const ACK: u8 = 0x10;

/// A TCP segment's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Segment {
    pub tuple: Tuple,
    pub sequence: u32,
    pub acknowledgement: u32,
    pub flags: u8,
    /// Where the TCP header begins in the frame, and where the segment ends.
    pub begin: usize,
    pub end: usize,
}

impl Segment {
    pub fn has(&self, flags: u8) -> bool {
        self.flags & flags == flags
    }

    /// Neither ACK nor RST nor FIN: somebody wants a connection.
    pub fn opens(&self) -> bool {
        self.flags & (SYN | ACK | RST | FIN) == SYN
    }

    pub fn checksum_holds(&self, frame: &[u8]) -> bool {
        frame.get(self.begin..self.end).is_some_and(|bytes| {
            TcpPacket::new_checked(bytes).is_ok_and(|packet| {
                packet.verify_checksum(&IpAddress::from(self.tuple.remote), &IpAddress::from(self.tuple.local))
            })
        })
    }
}

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Packet {
    Segment(Segment),
    /// ARP or neighbour discovery that names a neighbour. `answer`: somebody asked for it, perhaps another worker.
    Neighbour {
        address: IpAddr,
        answer: bool,
    },
    /// Something that we sent cannot arrive. `refused`: the host is there and wants none of it.
    Unreachable {
        tuple: Tuple,
        sequence: u32,
        refused: bool,
    },
    /// For the shared interface: echo requests, multicast listener queries.
    Shared,
    /// Nothing that we have a use for.
    Useless,
}

pub(super) fn be16(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

pub(super) fn be32(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn v4(bytes: &[u8], at: usize) -> Option<IpAddr> {
    Some(IpAddr::V4(Ipv4Addr::from_bits(be32(bytes, at)?)))
}

fn v6(bytes: &[u8], at: usize) -> Option<IpAddr> {
    let octets: [u8; 16] = bytes.get(at..at + 16)?.try_into().ok()?;
    Some(IpAddr::V6(Ipv6Addr::from(octets)))
}

pub(super) fn classify(frame: &[u8]) -> Packet {
    let packet = match be16(frame, 12) {
        Some(0x0806) => arp(frame),
        Some(0x0800) => ipv4(frame),
        Some(0x86dd) => ipv6(frame),
        _ => None,
    };
    packet.unwrap_or(Packet::Useless)
}

fn arp(frame: &[u8]) -> Option<Packet> {
    let operation = be16(frame, ETHERNET_HEADER + 6)?;
    Some(Packet::Neighbour { address: v4(frame, ETHERNET_HEADER + 14)?, answer: operation == 2 })
}

fn ipv4(frame: &[u8]) -> Option<Packet> {
    let first = *frame.get(ETHERNET_HEADER)?;
    let header = usize::from(first & 0x0f) * 4;
    let end = ETHERNET_HEADER + usize::from(be16(frame, ETHERNET_HEADER + 2)?);
    let begin = ETHERNET_HEADER + header;
    // A fragment is useless: TCP avoids them, and a reassembled segment would miss its flow and draw a reset.
    let fragment = be16(frame, ETHERNET_HEADER + 6)? & 0x3fff != 0;
    if first >> 4 != 4 || header < 20 || end > frame.len() || begin > end || fragment {
        return None;
    }
    let (remote, local) = (v4(frame, ETHERNET_HEADER + 12)?, v4(frame, ETHERNET_HEADER + 16)?);
    match frame.get(ETHERNET_HEADER + 9)? {
        6 => tcp(frame, begin, end, local, remote),
        1 => match frame.get(begin)? {
            3 => {
                let message = frame.get(begin..end)?;
                if !Icmpv4Packet::new_checked(message).ok()?.verify_checksum() {
                    return None;
                }
                let quoted = message.get(8..)?;
                let ports = usize::from(quoted.first()? & 0x0f) * 4;
                if *quoted.get(9)? != 6 {
                    return None;
                }
                // Port, protocol, and the codes of a filter (RFC 5461 §3): the host has answered.
                let refused = matches!(message.get(1)?, 2 | 3 | 9 | 10 | 13);
                unreachable(quoted, ports, v4(quoted, 12)?, v4(quoted, 16)?, refused)
            }
            8 => Some(Packet::Shared),
            _ => None,
        },
        2 => Some(Packet::Shared),
        // smoltcp would answer other protocols with ICMP errors as large as what it got: a reflector.
        _ => None,
    }
}

fn ipv6(frame: &[u8]) -> Option<Packet> {
    const HEADER: usize = 40;
    let begin = ETHERNET_HEADER + HEADER;
    let end = begin + usize::from(be16(frame, ETHERNET_HEADER + 4)?);
    if frame.get(ETHERNET_HEADER)? >> 4 != 6 || end > frame.len() {
        return None;
    }
    let (remote, local) = (v6(frame, ETHERNET_HEADER + 8)?, v6(frame, ETHERNET_HEADER + 24)?);
    match frame.get(ETHERNET_HEADER + 6)? {
        6 => tcp(frame, begin, end, local, remote),
        58 => match frame.get(begin)? {
            1 => {
                let message = frame.get(begin..end)?;
                let (IpAddr::V6(source), IpAddr::V6(target)) = (remote, local) else { return None };
                if !Icmpv6Packet::new_checked(message).ok()?.verify_checksum(&source, &target) {
                    return None;
                }
                let quoted = message.get(8..)?;
                if *quoted.get(6)? != 6 {
                    return None;
                }
                // Port, and "administratively prohibited".
                let refused = matches!(message.get(1)?, 1 | 4);
                unreachable(quoted, HEADER, v6(quoted, 8)?, v6(quoted, 24)?, refused)
            }
            135 => Some(Packet::Neighbour { address: remote, answer: false }),
            136 => Some(Packet::Neighbour { address: v6(frame, begin + 8)?, answer: true }),
            128 | 130 => Some(Packet::Shared),
            _ => None,
        },
        // Multicast listener queries come behind a router alert option.
        0 if *frame.get(begin)? == 58 => Some(Packet::Shared),
        _ => None,
    }
}

fn tcp(frame: &[u8], begin: usize, end: usize, local: IpAddr, remote: IpAddr) -> Option<Packet> {
    let header = usize::from(frame.get(begin + 12)? >> 4) * 4;
    if header < 20 || begin + header > end {
        return None;
    }
    Some(Packet::Segment(Segment {
        tuple: Tuple { local, local_port: be16(frame, begin + 2)?, remote, remote_port: be16(frame, begin)? },
        sequence: be32(frame, begin + 4)?,
        acknowledgement: be32(frame, begin + 8)?,
        flags: *frame.get(begin + 13)?,
        begin,
        end,
    }))
}

/// The packet quoted by an ICMP error is ours, so that its source is our end.
fn unreachable(quoted: &[u8], ports: usize, local: IpAddr, remote: IpAddr, refused: bool) -> Option<Packet> {
    let tuple = Tuple { local, local_port: be16(quoted, ports)?, remote, remote_port: be16(quoted, ports + 2)? };
    Some(Packet::Unreachable { tuple, sequence: be32(quoted, ports + 4)?, refused })
}
