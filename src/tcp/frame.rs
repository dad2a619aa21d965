//! Frames that carry our segments.
//!
//! ```text
//! Ethernet 14 │ IPv4 20, or IPv6 40 │ TCP 20 + options │ content
//! ```

use super::connection::Header;
use super::connection::ecn::NOT_ECT;
use super::connection::sequence::Sequence;
use super::segment::SYN;
use super::tuple::{Tuple, wide};
use crate::port::ETHERNET_HEADER;
use crate::port::checksum::Sum;
use std::net::{IpAddr, SocketAddrV4};

/// Bytes of a TCP header without options.
pub(super) const TCP_HEADER: usize = 20;

/// RFC 1122 §3.2.1.7 and RFC 9293 §3.9.2.2 leave it to us; 64 is what all use.
const TIME_TO_LIVE: u8 = 64;

const TCP: u8 = 6;

/// Bytes of our IP headers.
pub(super) fn ip_header(address: IpAddr) -> usize {
    if address.is_ipv4() { 20 } else { 40 }
}

/// Where a frame comes from and goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Way {
    pub source: [u8; 6],
    pub destination: [u8; 6],
}

/// Length of the frame that [`write_segment`] writes.
pub(super) fn segment_length(tuple: &Tuple, header: &Header, content: usize) -> usize {
    ETHERNET_HEADER + ip_header(tuple.local) + TCP_HEADER + header.options.len() + content
}

/// Writes a segment into a frame of exactly [`segment_length`] bytes. `sums`: checksums are to be made here, not by the
/// NIC.
pub(super) fn write_segment(
    frame: &mut [u8],
    way: Way,
    tuple: &Tuple,
    header: &Header,
    content: (&[u8], &[u8]),
    sums: bool,
) {
    frame[..6].copy_from_slice(&way.destination);
    frame[6..12].copy_from_slice(&way.source);
    let ip = ETHERNET_HEADER;
    let begin = ip + ip_header(tuple.local);
    let length = frame.len() - begin;
    let addresses = match (tuple.local, tuple.remote) {
        (IpAddr::V4(local), IpAddr::V4(remote)) => {
            frame[12..14].copy_from_slice(&[0x08, 0x00]);
            let total = (length + 20) as u16;
            let packet = &mut frame[ip..begin];
            // Don't fragment; an identification of zero is then right (RFC 6864 §4.1).
            packet[..12].copy_from_slice(&[0x45, header.ecn, 0, 0, 0, 0, 0x40, 0, TIME_TO_LIVE, TCP, 0, 0]);
            packet[2..4].copy_from_slice(&total.to_be_bytes());
            packet[12..16].copy_from_slice(&local.octets());
            packet[16..20].copy_from_slice(&remote.octets());
            if sums {
                let sum = Sum::default().add(packet).finish();
                packet[10..12].copy_from_slice(&sum);
            }
            ip + 12..ip + 20
        }
        (local, remote) => {
            frame[12..14].copy_from_slice(&[0x86, 0xdd]);
            let packet = &mut frame[ip..begin];
            packet[..8].copy_from_slice(&[0x60, header.ecn << 4, 0, 0, 0, 0, TCP, TIME_TO_LIVE]);
            packet[4..6].copy_from_slice(&(length as u16).to_be_bytes());
            packet[8..24].copy_from_slice(&wide(local));
            packet[24..40].copy_from_slice(&wide(remote));
            ip + 8..ip + 40
        }
    };
    let tcp = &mut frame[begin..];
    let content_begin = TCP_HEADER + header.options.len();
    tcp[0..2].copy_from_slice(&tuple.local_port.to_be_bytes());
    tcp[2..4].copy_from_slice(&tuple.remote_port.to_be_bytes());
    tcp[4..8].copy_from_slice(&header.sequence.0.to_be_bytes());
    tcp[8..12].copy_from_slice(&header.acknowledgement.0.to_be_bytes());
    tcp[12] = ((content_begin / 4) as u8) << 4;
    tcp[13] = header.flags;
    tcp[14..16].copy_from_slice(&header.window.to_be_bytes());
    tcp[16..20].fill(0);
    tcp[TCP_HEADER..content_begin].copy_from_slice(&header.options);
    let middle = content_begin + content.0.len();
    tcp[content_begin..middle].copy_from_slice(content.0);
    tcp[middle..].copy_from_slice(content.1);
    if sums {
        let sum = Sum::of_pseudo_header(&frame[addresses], length as u16).add(&frame[begin..]).finish();
        frame[begin + 16..begin + 18].copy_from_slice(&sum);
    }
}

/// The IPv4 packet of a SYN from anybody: for floods that test a server.
pub(crate) fn syn_packet(source: SocketAddrV4, target: SocketAddrV4, sequence: u32) -> Vec<u8> {
    let tuple = Tuple {
        local: (*source.ip()).into(),
        local_port: source.port(),
        remote: (*target.ip()).into(),
        remote_port: target.port(),
    };
    let header = Header {
        sequence: Sequence(sequence),
        acknowledgement: Sequence(0),
        flags: SYN,
        ecn: NOT_ECT,
        window: u16::MAX,
        options: Default::default(),
    };
    let mut frame = vec![0; segment_length(&tuple, &header, 0)];
    let way = Way { source: [0; 6], destination: [0; 6] };
    write_segment(&mut frame, way, &tuple, &header, (&[], &[]), true);
    frame.split_off(ETHERNET_HEADER)
}

/// Whether the checksums of the packet and of the segment in it are right. `begin` and `end`: the segment in the frame.
pub(super) fn is_sound(frame: &[u8], tuple: &Tuple, begin: usize, end: usize) -> bool {
    let (Some(packet), Some(segment)) = (frame.get(ETHERNET_HEADER..begin), frame.get(begin..end)) else {
        return false;
    };
    let addresses = match tuple.local {
        // Options stand behind the addresses.
        IpAddr::V4(_) if Sum::default().add(packet).is_sound() => &packet[12..20],
        IpAddr::V4(_) => return false,
        IpAddr::V6(_) => &packet[8..40],
    };
    Sum::of_pseudo_header(addresses, segment.len() as u16).add(segment).is_sound()
}
