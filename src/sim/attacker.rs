//! Somebody on the wire who means no good: floods, forgeries, rubbish.
//!
//! It knows who talks to whom, ports included, but no sequence number: that is what an attacker off the path can find out
//! at best. Nothing that it sends may cost more than the frames themselves.

use crate::env::Instant;
use crate::port::sim::{Link, Network, SimPort, Tapped};
use rand::RngExt;
use rand::rngs::StdRng;
use smoltcp::wire::{Ipv4Packet, TcpPacket};
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

/// Frames of one burst, and the pause behind it.
const BURST: usize = 16;
const PAUSE: Duration = Duration::from_millis(10);

/// Forged sequence numbers are at least this far from the true ones: beyond every window.
const DISTANCE: u32 = 1 << 20;

const HARDWARE_ADDRESS: [u8; 6] = [2, 0, 0, 0, 0, 9];

/// Where the headers of an Ethernet frame with IPv4 and TCP begin and end.
const IP: usize = 14;
const TCP: usize = IP + 20;
const END: usize = TCP + 20;

const FIN: u8 = 1;
const SYN: u8 = 2;
const RST: u8 = 4;
const ACK: u8 = 16;

/// What it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Attack {
    /// SYNs from addresses that nobody has (RFC 4987).
    Flood,
    /// Segments of other people's connections, with wrong numbers (RFC 5961).
    Forgery,
    /// Bytes that are no packets.
    Rubbish,
}

/// The attacker, at work or not.
pub(super) struct Attacker {
    network: Network,
    victim: ([u8; 6], Ipv4Addr),
    /// The tap is somebody else's, and stays.
    tap_stays: bool,
    /// What went over the wire since it last looked, while it forges.
    seen: Vec<Tapped>,
    work: Option<Work>,
}

struct Work {
    attack: Attack,
    port: SimPort,
    until: Instant,
    due: Instant,
}

impl Attacker {
    /// One who is after the host with these addresses; `tap_stays` if the network is tapped for somebody else, too.
    pub(super) fn new(network: Network, hardware_address: [u8; 6], ip: Ipv4Addr, tap_stays: bool) -> Attacker {
        Attacker { network, victim: (hardware_address, ip), tap_stays, seen: Vec::new(), work: None }
    }

    /// This went over the wire.
    pub(super) fn see(&mut self, frames: Vec<Tapped>) {
        if self.work.as_ref().is_some_and(|work| work.attack == Attack::Forgery) {
            self.seen.extend(frames);
        }
    }

    pub(super) fn begin(&mut self, attack: Attack, now: Instant, until: Instant) {
        self.end();
        let port = self.network.attach(HARDWARE_ADDRESS, Link::default());
        if attack == Attack::Forgery {
            self.network.tap();
        }
        self.work = Some(Work { attack, port, until, due: now });
    }

    pub(super) fn end(&mut self) {
        self.work = None;
        self.seen.clear();
        if !self.tap_stays {
            self.network.untap();
        }
    }

    /// When it must be looked at.
    pub(super) fn next(&self) -> Instant {
        self.work.as_ref().map_or(Instant::FAR, |work| work.due)
    }

    /// Sends a burst, if it is time.
    pub(super) fn step(&mut self, now: Instant, random: &mut StdRng) {
        let Some(work) = self.work.as_mut().filter(|work| work.due <= now) else { return };
        if work.until <= now {
            return self.end();
        }
        work.due = now + PAUSE;
        work.port.take();
        match work.attack {
            Attack::Flood => {
                for _ in 0..BURST {
                    work.port.send(&flood(self.victim, random));
                }
            }
            Attack::Rubbish => {
                for _ in 0..BURST {
                    work.port.send(&rubbish(self.victim.0, random));
                }
            }
            Attack::Forgery => {
                let own = work.port.host();
                let others = self.seen.iter().filter(|frame| frame.from != own);
                for forged in others.filter_map(|frame| forge(&frame.bytes, random)).take(BURST) {
                    work.port.send(&forged);
                }
                self.seen.clear();
            }
        }
    }
}

/// A SYN from nowhere.
fn flood((hardware_address, ip): ([u8; 6], Ipv4Addr), random: &mut StdRng) -> Vec<u8> {
    let source = if random.random_bool(0.5) {
        Ipv4Addr::new(10, 0, 0, random.random_range(100..=254))
    } else {
        Ipv4Addr::from(random.random::<u32>() & 0x5fff_ffff | 0x2000_0000)
    };
    let mut frame = vec![0; END];
    frame[..6].copy_from_slice(&hardware_address);
    frame[6..12].copy_from_slice(&HARDWARE_ADDRESS);
    frame[12..14].copy_from_slice(&[8, 0]);
    let mut packet = Ipv4Packet::new_unchecked(&mut frame[IP..]);
    packet.set_version(4);
    packet.set_header_len(20);
    packet.set_total_len((END - IP) as u16);
    packet.set_hop_limit(64);
    packet.set_next_header(smoltcp::wire::IpProtocol::Tcp);
    packet.set_src_addr(source);
    packet.set_dst_addr(ip);
    frame[TCP..TCP + 2].copy_from_slice(&random.random::<u16>().to_be_bytes());
    frame[TCP + 2..TCP + 4].copy_from_slice(&25u16.to_be_bytes());
    number(&mut frame, SYN, random.random(), 0);
    frame
}

/// The headers of a TCP segment over IPv4 with other flags and far-away numbers, and right checksums.
fn forge(frame: &[u8], random: &mut StdRng) -> Option<Vec<u8>> {
    let is_tcp = frame.get(12..15)? == [8, 0, 0x45] && frame.get(IP + 9) == Some(&6);
    let numbers = frame.get(TCP + 4..TCP + 12).filter(|_| is_tcp)?;
    let mut far = |bytes: &[u8]| {
        let (number, distance) = (bytes.first_chunk()?, random.random_range(DISTANCE..=u32::MAX - DISTANCE));
        Some(u32::from_be_bytes(*number).wrapping_add(distance))
    };
    let (sequence, acknowledgement) = (far(numbers)?, far(&numbers[4..])?);
    let flags = [RST, RST | ACK, SYN, SYN | ACK, ACK, FIN | ACK][random.random_range(0..6)];
    let mut forged = frame[..END].to_vec();
    forged[IP + 2..IP + 4].copy_from_slice(&((END - IP) as u16).to_be_bytes());
    number(&mut forged, flags, sequence, acknowledgement);
    Some(forged)
}

/// Completes a TCP header without options, and all checksums.
fn number(frame: &mut [u8], flags: u8, sequence: u32, acknowledgement: u32) {
    frame[TCP + 4..TCP + 8].copy_from_slice(&sequence.to_be_bytes());
    frame[TCP + 8..TCP + 12].copy_from_slice(&acknowledgement.to_be_bytes());
    frame[TCP + 12] = 5 << 4;
    frame[TCP + 13] = flags;
    let mut packet = Ipv4Packet::new_unchecked(&mut frame[IP..]);
    packet.fill_checksum();
    let (source, destination) = (IpAddr::from(packet.src_addr()).into(), IpAddr::from(packet.dst_addr()).into());
    TcpPacket::new_unchecked(&mut frame[TCP..]).fill_checksum(&source, &destination);
}

/// A frame whose packet is none.
fn rubbish(hardware_address: [u8; 6], random: &mut StdRng) -> Vec<u8> {
    let mut frame = vec![0; random.random_range(IP..=IP + 1500)];
    random.fill(&mut frame[12..]);
    frame[..6].copy_from_slice(&hardware_address);
    frame[6..12].copy_from_slice(&HARDWARE_ADDRESS);
    let kind: [u8; 2] = [[8, 0], [0x86, 0xdd], [0x88, 0xcc], [8, 0]][random.random_range(0..4)];
    frame[12..14].copy_from_slice(&kind);
    if kind == [8, 0] && frame.len() > TCP {
        // Enough of a header to be looked into.
        frame[IP] = 0x45;
        frame[IP + 9] = [1, 6, 17][random.random_range(0..3)];
    }
    frame
}
