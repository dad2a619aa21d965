//! Frames made by hand, with checksums that hold.

use std::net::IpAddr;

pub const PEER_MAC: [u8; 6] = [2, 0, 0, 0, 0, 9];
pub const OUR_MAC: [u8; 6] = [2, 0, 0, 0, 0, 2];

/// A TCP segment on its way to us.
#[derive(Clone, Debug)]
pub struct Segment<'a> {
    pub from: IpAddr,
    pub to: IpAddr,
    pub ports: (u16, u16),
    pub sequence: u32,
    pub acknowledgement: u32,
    pub flags: u8,
    pub window: u16,
    /// At most forty bytes; padded to whole words.
    pub options: &'a [u8],
    pub payload: &'a [u8],
}

/// The ones' complement sum of RFC 1071.
fn checksum(parts: &[&[u8]]) -> [u8; 2] {
    let mut sum: u32 = 0;
    for part in parts {
        for pair in part.chunks(2) {
            sum += u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or(0));
        }
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    (!(sum as u16)).to_be_bytes()
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

/// A frame from the peer to us around an IP payload. The checksum over the pseudo header goes to `checksum_at`.
pub fn packet(from: IpAddr, to: IpAddr, protocol: u8, mut payload: Vec<u8>, checksum_at: usize) -> Vec<u8> {
    let length = payload.len() as u16;
    let pseudo = [octets(from), octets(to), vec![0, protocol], length.to_be_bytes().to_vec()].concat();
    let is_icmp_v4 = protocol == 1;
    let pseudo: &[u8] = if is_icmp_v4 { &[] } else { &pseudo };
    if let Some(place) = payload.get_mut(checksum_at..checksum_at + 2) {
        place.fill(0);
        let sum = checksum(&[pseudo, &payload]);
        payload[checksum_at..checksum_at + 2].copy_from_slice(&sum);
    }
    let mut frame = [OUR_MAC, PEER_MAC].concat();
    match to {
        IpAddr::V4(_) => {
            frame.extend([0x08, 0x00]);
            let mut header = vec![0x45, 0, 0, 0, 0, 1, 0, 0, 64, protocol, 0, 0];
            header[2..4].copy_from_slice(&(20 + length).to_be_bytes());
            header.extend(octets(from));
            header.extend(octets(to));
            let sum = checksum(&[&header]);
            header[10..12].copy_from_slice(&sum);
            frame.extend(header);
        }
        IpAddr::V6(_) => {
            frame.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
            frame.extend(length.to_be_bytes());
            frame.extend([protocol, 255]);
            frame.extend(octets(from));
            frame.extend(octets(to));
        }
    }
    frame.extend(payload);
    frame
}

/// Marks a frame with an IP packet as one that has met congestion (RFC 3168 §5).
pub fn congest(frame: &mut [u8]) {
    if frame[12..14] == [0x08, 0x00] {
        frame[15] |= 3;
        frame[24..26].fill(0);
        let sum = checksum(&[&frame[14..34]]);
        frame[24..26].copy_from_slice(&sum);
    } else {
        frame[15] |= 3 << 4;
    }
}

impl Segment<'_> {
    pub fn frame(&self) -> Vec<u8> {
        let options = &self.options[..self.options.len().min(40)];
        let header = 20 + options.len().next_multiple_of(4);
        let mut bytes = Vec::new();
        bytes.extend(self.ports.0.to_be_bytes());
        bytes.extend(self.ports.1.to_be_bytes());
        bytes.extend(self.sequence.to_be_bytes());
        bytes.extend(self.acknowledgement.to_be_bytes());
        bytes.extend([(header as u8 / 4) << 4, self.flags]);
        bytes.extend(self.window.to_be_bytes());
        bytes.extend([0; 4]);
        bytes.extend(options);
        bytes.resize(header, 0);
        bytes.extend(self.payload);
        packet(self.from, self.to, 6, bytes, 16)
    }
}

/// What a TCP segment that we sent says: the ports, its sequence number, the one that follows it, its acknowledgement.
pub fn sent(frame: &[u8]) -> Option<(IpAddr, (u16, u16), u32, u32)> {
    let (to, begin, end) = match frame.get(12..14)? {
        [0x08, 0x00] => {
            let to: [u8; 4] = frame.get(30..34)?.try_into().ok()?;
            let total = u16::from_be_bytes(frame.get(16..18)?.try_into().ok()?);
            (IpAddr::from(to), 34, 14 + usize::from(total))
        }
        [0x86, 0xdd] => {
            let to: [u8; 16] = frame.get(38..54)?.try_into().ok()?;
            let length = u16::from_be_bytes(frame.get(18..20)?.try_into().ok()?);
            (IpAddr::from(to), 54, 54 + usize::from(length))
        }
        _ => return None,
    };
    let is_tcp = *frame.get(if begin == 34 { 23 } else { 20 })? == 6;
    if !is_tcp {
        return None;
    }
    let tcp = frame.get(begin..end)?;
    let word = |at: usize| Some(u32::from_be_bytes(tcp.get(at..at + 4)?.try_into().ok()?));
    let port = |at: usize| Some(u16::from_be_bytes(tcp.get(at..at + 2)?.try_into().ok()?));
    let header = usize::from(tcp.get(12)? >> 4) * 4;
    let flags = u32::from(*tcp.get(13)?);
    let size = (tcp.len() - header) as u32 + (flags & 1) + (flags >> 1 & 1);
    Some((to, (port(0)?, port(2)?), word(4)?.wrapping_add(size), word(8)?))
}

/// An ARP packet in which `from` is at the peer's hardware address. `operation`: 1 asks, 2 answers.
pub fn arp(operation: u8, from: [u8; 4], to: [u8; 4]) -> Vec<u8> {
    let mut frame = [OUR_MAC, PEER_MAC].concat();
    frame.extend([0x08, 0x06, 0, 1, 0x08, 0, 6, 4, 0, operation]);
    frame.extend(PEER_MAC);
    frame.extend(from);
    frame.extend(OUR_MAC);
    frame.extend(to);
    frame
}

/// A neighbour advertisement (RFC 4861 §4.4) for `from`.
pub fn advertisement(from: IpAddr, to: IpAddr) -> Vec<u8> {
    let mut message = vec![136, 0, 0, 0, 0x60, 0, 0, 0];
    message.extend(octets(from));
    message.extend([2, 1]);
    message.extend(PEER_MAC);
    packet(from, to, 58, message, 2)
}

/// An ICMP error about a frame of ours.
pub fn unreachable(from: IpAddr, to: IpAddr, code: u8, about: &[u8]) -> Vec<u8> {
    let quoted = about.get(14..about.len().min(14 + 48)).unwrap_or_default();
    let (protocol, kind) = if from.is_ipv4() { (1, 3) } else { (58, 1) };
    let mut message = vec![kind, code, 0, 0, 0, 0, 0, 0];
    message.extend(quoted);
    packet(from, to, protocol, message, 2)
}
