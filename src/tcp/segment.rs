//! What a received frame is.
//!
//! In: a frame as it came. Out: its kind, with the fields that decide where it goes. A segment's checksum is verified by
//! its taker, once it is known that somebody wants it; everything else verifies its own here.

use super::connection::Incoming;
use super::connection::options::Options;
use super::connection::sequence::Sequence;
use super::frame::{TCP_HEADER, is_sound};
use super::tuple::Tuple;
use crate::port::ETHERNET_HEADER;
use smoltcp::wire::{Icmpv4Packet, Icmpv6Packet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

pub(super) const FIN: u8 = 0x01;
pub(super) const SYN: u8 = 0x02;
pub(super) const RST: u8 = 0x04;
pub(super) const PSH: u8 = 0x08;
pub(super) const ACK: u8 = 0x10;
pub(super) const ECE: u8 = 0x40;
pub(super) const CWR: u8 = 0x80;

/// A TCP segment's header, and where it lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Segment {
    pub tuple: Tuple,
    pub sequence: Sequence,
    pub acknowledgement: Sequence,
    pub flags: u8,
    /// The ECN field of the IP header (RFC 3168 §5).
    pub ecn: u8,
    pub window: u16,
    /// Where the TCP header begins in the frame, where the content begins, and where the segment ends.
    pub begin: usize,
    pub content: usize,
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

    /// Sequence numbers that it takes up.
    pub fn extent(&self) -> u32 {
        (self.end - self.content) as u32 + u32::from(self.has(SYN)) + u32::from(self.has(FIN))
    }

    pub fn is_sound(&self, frame: &[u8]) -> bool {
        is_sound(frame, &self.tuple, self.begin, self.end)
    }

    /// The segment as a connection sees it.
    pub fn incoming<'a>(&self, frame: &'a [u8]) -> Incoming<'a> {
        Incoming {
            sequence: self.sequence,
            acknowledgement: self.acknowledgement,
            flags: self.flags,
            ecn: self.ecn,
            window: self.window,
            options: Options::read(&frame[self.begin + TCP_HEADER..self.content]),
            content: &frame[self.content..self.end],
        }
    }
}

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Packet {
    Segment(Segment),
    /// ARP or neighbour discovery that says where a neighbour is. `answer`: somebody asked for it, perhaps another worker.
    Neighbour {
        address: IpAddr,
        hardware_address: [u8; 6],
        answer: bool,
    },
    /// Something that we sent cannot arrive.
    Unreachable {
        tuple: Tuple,
        sequence: Sequence,
        obstacle: Obstacle,
    },
    /// For the shared interface: echo requests, multicast listener queries.
    Shared,
    /// Nothing that we have a use for.
    Useless,
}

/// What an ICMP error says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Obstacle {
    /// There is no way, for now.
    NoWay,
    /// The host is there and wants none of it.
    Refused,
    /// Too large: the next link takes packets of so many bytes. Zero: it does not say.
    TooBig(u32),
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

pub(super) fn hardware_address(bytes: &[u8], at: usize) -> Option<[u8; 6]> {
    bytes.get(at..at + 6)?.try_into().ok()
}

fn arp(frame: &[u8]) -> Option<Packet> {
    let operation = be16(frame, ETHERNET_HEADER + 6)?;
    let hardware_address = hardware_address(frame, ETHERNET_HEADER + 8)?;
    Some(Packet::Neighbour { address: v4(frame, ETHERNET_HEADER + 14)?, hardware_address, answer: operation == 2 })
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
                let obstacle = match message.get(1)? {
                    // RFC 1191 §4.
                    4 => Obstacle::TooBig(u32::from(be16(message, 6)?)),
                    // Port, protocol, and the codes of a filter (RFC 5461 §3): the host has answered.
                    2 | 3 | 9 | 10 | 13 => Obstacle::Refused,
                    _ => Obstacle::NoWay,
                };
                unreachable(quoted, ports, v4(quoted, 12)?, v4(quoted, 16)?, obstacle)
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
            kind @ (1 | 2) => {
                let message = sound_icmpv6(frame.get(begin..end)?, remote, local)?;
                let quoted = message.get(8..)?;
                if *quoted.get(6)? != 6 {
                    return None;
                }
                let obstacle = match (kind, message.get(1)?) {
                    (2, _) => Obstacle::TooBig(be32(message, 4)?),
                    // Port, and "administratively prohibited".
                    (_, 1 | 4) => Obstacle::Refused,
                    _ => Obstacle::NoWay,
                };
                unreachable(quoted, HEADER, v6(quoted, 8)?, v6(quoted, 24)?, obstacle)
            }
            kind @ (135 | 136) => {
                let message = sound_icmpv6(frame.get(begin..end)?, remote, local)?;
                // RFC 4861 §7.1: what could have been routed is from nowhere near. A probe for a duplicate has no source.
                if *frame.get(ETHERNET_HEADER + 7)? != 255 {
                    return None;
                }
                let address = if *kind == 136 { v6(message, 8)? } else { remote };
                let told = link_layer_address(message.get(24..)?, if *kind == 136 { 2 } else { 1 });
                let hardware_address = told.or_else(|| hardware_address(frame, 6))?;
                Some(Packet::Neighbour { address, hardware_address, answer: *kind == 136 })
            }
            128 | 130 => Some(Packet::Shared),
            _ => None,
        },
        // Multicast listener queries come behind a router alert option.
        0 if *frame.get(begin)? == 58 => Some(Packet::Shared),
        _ => None,
    }
}

fn sound_icmpv6(message: &[u8], remote: IpAddr, local: IpAddr) -> Option<&[u8]> {
    let (IpAddr::V6(source), IpAddr::V6(target)) = (remote, local) else { return None };
    Icmpv6Packet::new_checked(message).ok()?.verify_checksum(&source, &target).then_some(message)
}

/// The option of neighbour discovery that names a hardware address: its own (1) or the target's (2) (RFC 4861 §4.6.1).
fn link_layer_address(options: &[u8], wanted: u8) -> Option<[u8; 6]> {
    let mut rest = options;
    while let [kind, units, ..] = rest {
        let length = usize::from(*units) * 8;
        if length == 0 || length > rest.len() {
            return None;
        }
        if *kind == wanted {
            return hardware_address(rest, 2);
        }
        rest = &rest[length..];
    }
    None
}

fn tcp(frame: &[u8], begin: usize, end: usize, local: IpAddr, remote: IpAddr) -> Option<Packet> {
    let header = usize::from(frame.get(begin + 12)? >> 4) * 4;
    if header < 20 || begin + header > end {
        return None;
    }
    // The type of service of IPv4, or the half of IPv6's traffic class that is not in the first byte.
    let class = *frame.get(ETHERNET_HEADER + 1)?;
    Some(Packet::Segment(Segment {
        tuple: Tuple { local, local_port: be16(frame, begin + 2)?, remote, remote_port: be16(frame, begin)? },
        sequence: Sequence(be32(frame, begin + 4)?),
        acknowledgement: Sequence(be32(frame, begin + 8)?),
        flags: *frame.get(begin + 13)?,
        ecn: if local.is_ipv4() { class } else { class >> 4 } & 3,
        window: be16(frame, begin + 14)?,
        begin,
        content: begin + header,
        end,
    }))
}

/// The packet quoted by an ICMP error is ours, so that its source is our end.
fn unreachable(quoted: &[u8], ports: usize, local: IpAddr, remote: IpAddr, obstacle: Obstacle) -> Option<Packet> {
    let tuple = Tuple { local, local_port: be16(quoted, ports)?, remote, remote_port: be16(quoted, ports + 2)? };
    Some(Packet::Unreachable { tuple, sequence: Sequence(be32(quoted, ports + 4)?), obstacle })
}
