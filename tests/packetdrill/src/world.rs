//! The stack on a wire in memory, in virtual time.
//!
//! In: IP packets for the stack, and time. Out: the IP packets that it sends, each with its time. The wire's other end is
//! a router that answers ARP for the gateway and carries everything else; it has no opinion of its own.

use rohrpost::env::Instant;
use rohrpost::flow::{FlowEvent, Transport};
use rohrpost::port::sim::{Link, Network, SimPort};
use rohrpost::tcp::{OwnAddress, Settings, Stack};
use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

/// The stack's address: packetdrill must be told it with `--local_ip`.
pub const LOCAL: Ipv4Addr = Ipv4Addr::new(192, 168, 0, 9);

/// The router's, which packetdrill does not show.
const GATEWAY: Ipv4Addr = Ipv4Addr::new(192, 168, 0, 1);

const STACK_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
const ROUTER_MAC: [u8; 6] = [2, 0, 0, 0, 0, 2];

const ETHERNET_HEADER: usize = 14;
const ARP: [u8; 2] = [0x08, 0x06];
const IPV4: [u8; 2] = [0x08, 0x00];

/// What a script can choose of the stack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choices {
    /// Where to listen.
    pub listeners: Vec<SocketAddr>,
    /// Bytes received and unread, SO_RCVBUF.
    pub receive_buffer: usize,
    /// Bytes sent and unacknowledged, SO_SNDBUF.
    pub send_buffer: usize,
    /// Handshakes under way; with none, every SYN is answered by a cookie.
    pub half_open_max: usize,
}

impl Default for Choices {
    /// As the appliance's defaults.
    fn default() -> Choices {
        Choices { listeners: Vec::new(), receive_buffer: 256 * 1024, send_buffer: 256 * 1024, half_open_max: 100 }
    }
}

/// A stack, a wire and a clock.
pub struct World {
    network: Network,
    /// The stack, for socket calls. [`World::settle`] must follow each.
    pub stack: Stack<SimPort>,
    router: SimPort,
    /// What the stack has told and nobody has heeded.
    pub events: Vec<FlowEvent>,
    sent: VecDeque<(Instant, Vec<u8>)>,
}

impl World {
    /// A stack that has just found its gateway.
    pub fn new(choices: &Choices, now: Instant) -> World {
        let network = Network::new(1);
        network.advance(now);
        let link = Link { delay: Duration::ZERO, ..Link::default() };
        let router = network.attach(ROUTER_MAC, link);
        let own = OwnAddress { ip: IpAddr::V4(LOCAL), prefix: 24, gateway: Some(IpAddr::V4(GATEWAY)) };
        let settings = Settings {
            addresses: vec![own],
            listeners: choices.listeners.clone(),
            chosen: None,
            connections_max: 1000,
            connections_per_client_max: 1000,
            half_open_max: choices.half_open_max,
            receive_buffer: choices.receive_buffer,
            send_buffer: choices.send_buffer,
            buffer_memory: 16 << 20,
            worker: 0,
            workers: 1,
            queues: 1,
            isn_key: [7; 16],
            seed: 1,
        };
        let stack = Stack::new(network.attach(STACK_MAC, link), settings, now);
        let mut world = World { network, stack, router, events: Vec::new(), sent: VecDeque::new() };
        world.settle();
        world
    }

    /// What time it is.
    pub fn now(&self) -> Instant {
        self.network.now()
    }

    /// Lets everything happen that happens now.
    pub fn settle(&mut self) {
        let now = self.now();
        loop {
            self.stack.poll(now, &mut self.events);
            self.stack.flush(now);
            self.network.advance(now);
            if !self.carry() && !self.stack.port().waiting() {
                return;
            }
        }
    }

    /// Takes what the stack has sent from the wire; false if there was nothing.
    fn carry(&mut self) -> bool {
        let now = self.now();
        let frames = self.router.take();
        for frame in &frames {
            match frame.get(12..ETHERNET_HEADER) {
                Some(kind) if kind == ARP => self.answer(frame),
                Some(kind) if kind == IPV4 => self.sent.push_back((now, frame[ETHERNET_HEADER..].to_vec())),
                _ => {}
            }
        }
        self.network.advance(now);
        !frames.is_empty()
    }

    /// Answers an ARP request for the gateway (RFC 826).
    fn answer(&mut self, frame: &[u8]) {
        let Some(request) = frame.get(ETHERNET_HEADER..ETHERNET_HEADER + 28) else { return };
        if request[7] != 1 || request[24..28] != GATEWAY.octets() {
            return;
        }
        let mut reply = Vec::with_capacity(ETHERNET_HEADER + 28);
        reply.extend_from_slice(&request[8..14]);
        reply.extend_from_slice(&ROUTER_MAC);
        reply.extend_from_slice(&ARP);
        reply.extend_from_slice(&request[..7]);
        reply.push(2);
        reply.extend_from_slice(&ROUTER_MAC);
        reply.extend_from_slice(&request[24..28]);
        reply.extend_from_slice(&request[8..18]);
        self.router.send(&reply);
    }

    /// Moves the clock, and everything that happens on the way happens at its time.
    pub fn advance(&mut self, to: Instant) {
        while let Some(next) = self.stack.next_deadline().filter(|next| *next <= to) {
            // Time moves in any case: a deadline that stays at now must not stop it.
            self.network.advance(next.max(self.now() + Duration::from_micros(1)).min(to));
            self.settle();
            if self.now() == to {
                return;
            }
        }
        self.network.advance(to);
    }

    /// A packet for the stack arrives.
    pub fn deliver(&mut self, packet: &[u8]) {
        let frame = [&STACK_MAC, &ROUTER_MAC, &IPV4[..], packet].concat();
        self.router.send(&frame);
        self.network.advance(self.now());
        self.settle();
    }

    /// The next packet that the stack has sent or, while the clock moves up to `until`, sends.
    pub fn next_packet(&mut self, until: Instant) -> Option<(Instant, Vec<u8>)> {
        while self.sent.is_empty() {
            let next = self.stack.next_deadline().filter(|next| *next <= until)?;
            self.advance(next.max(self.now() + Duration::from_micros(1)));
        }
        self.sent.pop_front()
    }
}
