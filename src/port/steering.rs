//! Which frames are for own addresses: what a port keeps that gets all of a wire's.
//!
//! In: a frame without its VLAN tag. Out: whether it is ours. The table is that of the steering program of
//! [`af_xdp`](super::af_xdp), and a test there holds the two against each other, so that the stack sees the same frames
//! whatever the port is.

use super::ETHERNET_HEADER;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

const TCP: u8 = 6;
const ICMP: u8 = 1;
const ICMPV6: u8 = 58;
const NEIGHBOR_SOLICITATION: u8 = 135;
const NEIGHBOR_ADVERTISEMENT: u8 = 136;

/// The own addresses of a port.
#[derive(Clone, Debug, Default)]
pub(super) struct Steering {
    v4: Vec<Ipv4Addr>,
    v6: Vec<Ipv6Addr>,
}

impl Steering {
    pub fn new(addresses: &[IpAddr]) -> Steering {
        let mut steering = Steering::default();
        for address in addresses {
            match address {
                IpAddr::V4(address) => steering.v4.push(*address),
                IpAddr::V6(address) => steering.v6.push(*address),
            }
        }
        steering
    }

    /// Whether the frame is for an own address.
    pub fn takes(&self, frame: &[u8]) -> bool {
        let Some((header, packet)) = frame.split_at_checked(ETHERNET_HEADER) else { return false };
        match header[12..] {
            [0x08, 0x00] => self.takes_ipv4(packet).unwrap_or(false),
            [0x86, 0xdd] => self.takes_ipv6(packet).unwrap_or(false),
            [0x08, 0x06] => self.takes_arp(packet).unwrap_or(false),
            _ => false,
        }
    }

    /// Target or sender: the sender's for conflicts (RFC 5227 §2.4).
    fn takes_arp(&self, packet: &[u8]) -> Option<bool> {
        let packet: &[u8; 28] = packet.first_chunk()?;
        let ethernet_and_ipv4 = packet[..6] == [0, 1, 0x08, 0x00, 6, 4];
        Some(ethernet_and_ipv4 && (self.owns_v4(packet, 24)? || self.owns_v4(packet, 14)?))
    }

    /// Fragments too, since each of them carries the protocol.
    fn takes_ipv4(&self, packet: &[u8]) -> Option<bool> {
        let packet: &[u8; 20] = packet.first_chunk()?;
        Some(matches!(packet[9], TCP | ICMP) && self.owns_v4(packet, 16)?)
    }

    fn takes_ipv6(&self, packet: &[u8]) -> Option<bool> {
        let next_header = *packet.get(6)?;
        if !matches!(next_header, TCP | ICMPV6) {
            return Some(false);
        }
        if self.owns_v6(packet, 24)? {
            return Some(true);
        }
        // Neighbour discovery by multicast (RFC 4861 §7.2, RFC 4862 §5.4).
        let kind = *packet.get(40)?;
        let asks = matches!(kind, NEIGHBOR_SOLICITATION | NEIGHBOR_ADVERTISEMENT);
        Some(next_header == ICMPV6 && packet[24] == 0xff && asks && self.owns_v6(packet, 48)?)
    }

    fn owns_v4(&self, packet: &[u8], offset: usize) -> Option<bool> {
        let octets: [u8; 4] = *packet.get(offset..)?.first_chunk()?;
        Some(self.v4.contains(&Ipv4Addr::from(octets)))
    }

    fn owns_v6(&self, packet: &[u8], offset: usize) -> Option<bool> {
        let octets: [u8; 16] = *packet.get(offset..)?.first_chunk()?;
        Some(self.v6.contains(&Ipv6Addr::from(octets)))
    }
}
