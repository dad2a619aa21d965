//! Packets as a script writes them, and as bytes.
//!
//! ```text
//! IPv4 header (20)  TCP header (20)  options  content
//! ```

use std::fmt;
use std::net::Ipv4Addr;

pub(super) const FIN: u8 = 0x01;
pub(super) const SYN: u8 = 0x02;
pub(super) const RST: u8 = 0x04;
pub(super) const PSH: u8 = 0x08;
pub(super) const ACK: u8 = 0x10;
pub(super) const URG: u8 = 0x20;
pub(super) const ECE: u8 = 0x40;
pub(super) const CWR: u8 = 0x80;

/// The values of the ECN field (RFC 3168 §5), as scripts call them.
pub(super) const ECN: [&str; 4] = ["noecn", "ect1", "ect0", "ce"];

const IP_HEADER: usize = 20;
const TCP_HEADER: usize = 20;
const ICMP: u8 = 1;
const TCP: u8 = 6;

/// A segment. Numbers are those of the script, or those of the wire.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Packet {
    pub flags: u8,
    /// The ECN field of the IP header. `None`: any.
    pub ecn: Option<u8>,
    pub sequence: u32,
    pub length: u32,
    pub acknowledgement: u32,
    /// `None`: any.
    pub window: Option<u16>,
    pub urgent: u16,
    /// `None`: any.
    pub options: Option<Vec<TcpOption>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum TcpOption {
    NoOperation,
    SegmentSize(u16),
    WindowScale(u8),
    SackPermitted,
    Sack(Vec<(u32, u32)>),
    Timestamps(u32, u32),
    Other(u8, Vec<u8>),
}

/// Who sends to whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Route {
    pub source: (Ipv4Addr, u16),
    pub destination: (Ipv4Addr, u16),
}

impl Route {
    pub fn back(self) -> Route {
        Route { source: self.destination, destination: self.source }
    }
}

impl Packet {
    pub fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// The bytes of the packet.
    pub fn write(&self, route: Route) -> Vec<u8> {
        let options: Vec<u8> = self.options.iter().flatten().flat_map(TcpOption::write).collect();
        let header = TCP_HEADER + options.len().next_multiple_of(4);
        let mut segment = vec![0; header + self.length as usize];
        segment[..2].copy_from_slice(&route.source.1.to_be_bytes());
        segment[2..4].copy_from_slice(&route.destination.1.to_be_bytes());
        segment[4..8].copy_from_slice(&self.sequence.to_be_bytes());
        segment[8..12].copy_from_slice(&self.acknowledgement.to_be_bytes());
        segment[12] = ((header / 4) << 4) as u8;
        segment[13] = self.flags;
        segment[14..16].copy_from_slice(&self.window.unwrap_or_default().to_be_bytes());
        segment[18..20].copy_from_slice(&self.urgent.to_be_bytes());
        segment[TCP_HEADER..TCP_HEADER + options.len()].copy_from_slice(&options);
        let sum = checksum(&[&pseudo_header(route, segment.len()), &segment]);
        segment[16..18].copy_from_slice(&sum.to_be_bytes());
        [ip_header(route, TCP, self.ecn.unwrap_or_default(), segment.len()), segment].concat()
    }

    /// Reads the bytes of a packet, every length and sum of it verified.
    pub fn read(bytes: &[u8]) -> Result<(Route, Packet), &'static str> {
        let whole = bytes.len() >= IP_HEADER + TCP_HEADER && bytes[0] == 0x45 && bytes[9] == TCP;
        if !whole || usize::from(be16(&bytes[2..])) != bytes.len() || checksum(&[&bytes[..IP_HEADER]]) != 0 {
            return Err("no packet with a whole and sound IPv4 header and a TCP header");
        }
        let address = |at: usize| Ipv4Addr::new(bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]);
        let segment = &bytes[IP_HEADER..];
        let route = Route { source: (address(12), be16(segment)), destination: (address(16), be16(&segment[2..])) };
        let header = usize::from(segment[12] >> 4) * 4;
        if header < TCP_HEADER || header > segment.len() {
            return Err("a TCP header that does not fit its packet");
        }
        if checksum(&[&pseudo_header(route, segment.len()), segment]) != 0 {
            return Err("a TCP checksum that is wrong");
        }
        let packet = Packet {
            flags: segment[13],
            ecn: Some(bytes[1] & 3),
            sequence: be32(&segment[4..]),
            length: (segment.len() - header) as u32,
            acknowledgement: be32(&segment[8..]),
            window: Some(be16(&segment[14..])),
            urgent: be16(&segment[18..]),
            options: Some(TcpOption::read_all(&segment[TCP_HEADER..header])?),
        };
        Ok((route, packet))
    }
}

/// An ICMP error of a router about a packet whose first bytes it quotes (RFC 792).
pub(super) fn unreachable(quoted: &[u8], code: u8, mtu: u16) -> Vec<u8> {
    let mut message = vec![3, code, 0, 0, 0, 0];
    message.extend_from_slice(&mtu.to_be_bytes());
    message.extend_from_slice(&quoted[..IP_HEADER + 8]);
    let sum = checksum(&[&message]);
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    let sender = Ipv4Addr::new(quoted[12], quoted[13], quoted[14], quoted[15]);
    let route = Route { source: (Ipv4Addr::new(198, 51, 100, 1), 0), destination: (sender, 0) };
    [ip_header(route, ICMP, 0, message.len()), message].concat()
}

impl TcpOption {
    fn write(&self) -> Vec<u8> {
        let blocks = |blocks: &[(u32, u32)]| -> Vec<u8> {
            blocks.iter().flat_map(|(begin, end)| [begin.to_be_bytes(), end.to_be_bytes()].concat()).collect()
        };
        let (kind, data) = match self {
            TcpOption::NoOperation => return vec![1],
            TcpOption::SegmentSize(size) => (2, size.to_be_bytes().to_vec()),
            TcpOption::WindowScale(scale) => (3, vec![*scale]),
            TcpOption::SackPermitted => (4, Vec::new()),
            TcpOption::Sack(list) => (5, blocks(list)),
            TcpOption::Timestamps(value, echo) => (8, blocks(&[(*value, *echo)])),
            TcpOption::Other(kind, data) => (*kind, data.clone()),
        };
        [vec![kind, data.len() as u8 + 2], data].concat()
    }

    fn read_all(bytes: &[u8]) -> Result<Vec<TcpOption>, &'static str> {
        let (mut options, mut rest) = (Vec::new(), bytes);
        while let [kind, after @ ..] = rest {
            if *kind == 0 {
                break;
            }
            if *kind == 1 {
                options.push(TcpOption::NoOperation);
                rest = after;
                continue;
            }
            let length = usize::from(*after.first().ok_or("an option without a length")?);
            let data = rest.get(2..length).ok_or("an option that does not fit its header")?;
            options.push(match (kind, data) {
                (2, [high, low]) => TcpOption::SegmentSize(u16::from_be_bytes([*high, *low])),
                (3, [scale]) => TcpOption::WindowScale(*scale),
                (4, []) => TcpOption::SackPermitted,
                (5, blocks) if blocks.len() % 8 == 0 => {
                    TcpOption::Sack(blocks.chunks(8).map(|block| (be32(block), be32(&block[4..]))).collect())
                }
                (8, data) if data.len() == 8 => TcpOption::Timestamps(be32(data), be32(&data[4..])),
                (kind, data) => TcpOption::Other(*kind, data.to_vec()),
            });
            rest = &rest[length..];
        }
        Ok(options)
    }
}

fn be16(bytes: &[u8]) -> u16 {
    u16::from_be_bytes([bytes[0], bytes[1]])
}

fn be32(bytes: &[u8]) -> u32 {
    u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
}

fn ip_header(route: Route, protocol: u8, ecn: u8, length: usize) -> Vec<u8> {
    let mut header = vec![0x45, ecn, 0, 0, 0, 0, 0, 0, 64, protocol, 0, 0];
    header[2..4].copy_from_slice(&((IP_HEADER + length) as u16).to_be_bytes());
    header.extend_from_slice(&route.source.0.octets());
    header.extend_from_slice(&route.destination.0.octets());
    let sum = checksum(&[&header]);
    header[10..12].copy_from_slice(&sum.to_be_bytes());
    header
}

/// What the checksum covers beside the segment (RFC 9293 §3.1).
fn pseudo_header(route: Route, length: usize) -> Vec<u8> {
    let mut header = [route.source.0.octets(), route.destination.0.octets()].concat();
    header.extend_from_slice(&[0, TCP]);
    header.extend_from_slice(&(length as u16).to_be_bytes());
    header
}

/// RFC 1071, over pieces of even length but for the last. Zero if a sum in them is right.
fn checksum(pieces: &[&[u8]]) -> u16 {
    let word = |pair: &[u8]| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
    let mut sum: u32 = pieces.iter().flat_map(|piece| piece.chunks(2)).map(word).sum();
    while sum > 0xffff {
        sum = (sum >> 16) + (sum & 0xffff);
    }
    !(sum as u16)
}

impl fmt::Display for Packet {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let letters = [(FIN, 'F'), (SYN, 'S'), (RST, 'R'), (PSH, 'P'), (URG, 'U'), (ECE, 'E'), (CWR, 'W'), (ACK, '.')];
        if let Some(ecn) = self.ecn {
            write!(out, "[{}] ", ECN[usize::from(ecn)])?;
        }
        let flags: String = letters.iter().filter(|(flag, _)| self.has(*flag)).map(|(_, letter)| letter).collect();
        let flags = if flags.is_empty() { "-" } else { &flags };
        write!(out, "{flags} {}:{}({})", self.sequence, self.sequence.wrapping_add(self.length), self.length)?;
        if self.has(ACK) {
            write!(out, " ack {}", self.acknowledgement)?;
        }
        if let Some(window) = self.window {
            write!(out, " win {window}")?;
        }
        match &self.options {
            None => write!(out, " <...>"),
            Some(options) if options.is_empty() => Ok(()),
            Some(options) => {
                let options: Vec<String> = options.iter().map(TcpOption::to_string).collect();
                write!(out, " <{}>", options.join(","))
            }
        }
    }
}

impl fmt::Display for TcpOption {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TcpOption::NoOperation => write!(out, "nop"),
            TcpOption::SegmentSize(size) => write!(out, "mss {size}"),
            TcpOption::WindowScale(scale) => write!(out, "wscale {scale}"),
            TcpOption::SackPermitted => write!(out, "sackOK"),
            TcpOption::Sack(blocks) => {
                write!(out, "sack")?;
                blocks.iter().try_for_each(|(begin, end)| write!(out, " {begin}:{end}"))
            }
            TcpOption::Timestamps(value, echo) => write!(out, "TS val {value} ecr {echo}"),
            TcpOption::Other(kind, data) => write!(out, "option {kind} {data:02x?}"),
        }
    }
}
