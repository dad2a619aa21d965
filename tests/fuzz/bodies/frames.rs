//! Frames from strangers into the flow table, between time, connections of our own and what sessions do: no frame is
//! lost to its pool, no limit is passed, no event names a flow that is not there, and in the end nothing is left.

use super::choices::Choices;
use super::wire::{OUR_MAC, PEER_MAC, Segment, advertisement, arp, congest, packet, sent, unreachable};
use rohrpost::flow::{FlowEvent, FlowId, Transport};
use rohrpost::port::Port;
use rohrpost::port::sim::{Link, Network, SimPort};
use rohrpost::tcp::{OwnAddress, Settings, Stack};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

const CONNECTIONS_MAX: usize = 6;
const CONNECTIONS_PER_CLIENT_MAX: usize = 3;

/// Steps of one input: more tell nothing new and cost time.
const STEPS_MAX: usize = 300;

fn peer(number: u8, v6: bool) -> IpAddr {
    let text = if v6 { format!("2001:db8::1{number:x}") } else { format!("192.0.2.{}", 10 + number) };
    text.parse().expect("an address")
}

fn ours(v6: bool) -> IpAddr {
    if v6 { "2001:db8::2" } else { "192.0.2.2" }.parse().expect("an address")
}

fn settings() -> Settings {
    let own = |v6, prefix| OwnAddress { ip: ours(v6), prefix, gateway: None };
    let listener = |text: &str| text.parse().expect("an address with a port");
    Settings {
        addresses: vec![own(false, 24), own(true, 64)],
        listeners: vec![listener("0.0.0.0:25"), listener("[::]:25")],
        chosen: None,
        connections_max: CONNECTIONS_MAX,
        connections_per_client_max: CONNECTIONS_PER_CLIENT_MAX,
        half_open_max: 4,
        receive_buffer: 4096,
        send_buffer: 4096,
        buffer_memory: 1 << 20,
        worker: 0,
        workers: 1,
        queues: 1,
        isn_key: [9; 16],
        seed: 1,
    }
}

struct World {
    network: Network,
    stack: Stack<SimPort>,
    hand: SimPort,
    /// What the last segment to each peer and pair of ports said: the sequence number after it, its acknowledgement.
    known: BTreeMap<(IpAddr, u16, u16), (u32, u32)>,
    /// The last frame that came from us.
    last: Vec<u8>,
    /// Flows that sessions hold.
    flows: Vec<FlowId>,
    connecting: Vec<FlowId>,
    /// Whose connections were accepted. All our peers with IPv6 are in one network, and so one client.
    clients: BTreeMap<FlowId, IpAddr>,
}

impl World {
    fn new() -> World {
        let network = Network::new(1);
        let link = Link { delay: Duration::ZERO, ..Link::default() };
        let stack = Stack::new(network.attach(OUR_MAC, link), settings(), network.now());
        let hand = network.attach(PEER_MAC, link);
        let (flows, connecting) = (Vec::new(), Vec::new());
        let (known, clients) = (BTreeMap::new(), BTreeMap::new());
        World { network, stack, hand, known, last: Vec::new(), flows, connecting, clients }
    }

    /// One breath: what has arrived is taken in, what is due is sent, and every promise is looked at.
    fn breathe(&mut self) {
        self.network.advance(self.network.now());
        let now = self.network.now();
        let mut events = Vec::new();
        self.stack.poll(now, &mut events);
        for event in events {
            self.take(event);
        }
        self.stack.flush(now);
        self.network.advance(now);
        for frame in self.hand.take() {
            assert!(frame.len() <= 1514, "a frame fits the link");
            if let Some((to, (from_port, to_port), next, acknowledgement)) = sent(&frame) {
                self.known.insert((to, to_port, from_port), (next, acknowledgement));
            }
            self.last = frame.into();
        }
        assert_eq!(self.stack.port().frames_out(), 0, "every frame came back to its pool");
        let open = self.stack.counters().open as usize;
        assert!(open <= CONNECTIONS_MAX, "{open} connections");
        self.stack.gauge(&mut |gauge| assert!(gauge.count <= gauge.limit, "{gauge:?}"));
        assert!(self.flows.len() + self.connecting.len() <= open, "what a session holds is there");
        for client in self.clients.values() {
            let flows = self.flows.iter().filter(|flow| self.clients.get(flow) == Some(client)).count();
            assert!(flows <= CONNECTIONS_PER_CLIENT_MAX, "{flows} connections of {client}");
        }
    }

    fn take(&mut self, event: FlowEvent) {
        match event {
            FlowEvent::Accepted { flow, listener, local, remote } => {
                assert!(listener < 2 && local.port() == 25 && !self.flows.contains(&flow));
                assert_eq!(local.is_ipv4(), remote.is_ipv4());
                self.flows.push(flow);
                self.clients.insert(flow, if remote.is_ipv4() { remote.ip() } else { peer(0, true) });
            }
            FlowEvent::Connected { flow } => {
                assert!(self.connecting.contains(&flow), "only what was asked for is connected");
                self.connecting.retain(|other| *other != flow);
                self.flows.push(flow);
            }
            FlowEvent::Readable { flow } | FlowEvent::Writable { flow } => {
                assert!(self.flows.contains(&flow), "an event names a flow that is there");
            }
            FlowEvent::Ended { flow, .. } => {
                assert!(self.flows.contains(&flow) || self.connecting.contains(&flow), "a flow ends once");
                self.flows.retain(|other| *other != flow);
                self.connecting.retain(|other| *other != flow);
            }
        }
    }

    fn segment(&mut self, choices: &mut Choices<'_>) {
        let who = choices.byte();
        let (from, to) = (peer(who & 3, who & 4 != 0), ours(who & 4 != 0));
        // Of our own connections the ports are known from what was sent.
        let own = self.known.keys().find(|(address, _, port)| *address == from && *port != 25).copied();
        let ports = match (who >> 3 & 3, own) {
            (3, Some((_, peer_port, our_port))) => (peer_port, our_port),
            (2, _) => (1000, 26),
            (port, _) => (1000 + u16::from(port), 25),
        };
        let (next, acknowledged) = self.known.get(&(from, ports.0, ports.1)).copied().unwrap_or_default();
        let flags = choices.byte();
        let kind = choices.byte();
        let delta = |wide: bool, choices: &mut Choices<'_>| match wide {
            false => 0,
            true => i32::from(choices.short() as i16) as u32,
        };
        let sequence = acknowledged.wrapping_add(delta(kind & 1 != 0, choices) << (kind >> 4 & 7) << (kind >> 4 & 1));
        let acknowledgement = next.wrapping_add(delta(kind & 2 != 0, choices));
        let window = if kind & 4 != 0 { choices.short() } else { 8192 };
        let options: &[u8] = if kind & 8 != 0 {
            let count = usize::from(choices.byte() % 41);
            choices.bytes(count)
        } else if flags & 2 != 0 {
            // MSS 1460, window scale 2, SACK permitted.
            &[2, 4, 5, 180, 3, 3, 2, 4, 2]
        } else {
            &[]
        };
        let size = match who >> 5 {
            0..4 => 0,
            4 => usize::from(choices.byte()),
            _ => 1400,
        };
        let payload = [choices.byte()].repeat(size);
        let payload = &payload[..size.min(1440 - options.len().min(40))];
        let segment = Segment { from, to, ports, sequence, acknowledgement, flags, window, options, payload };
        let mut frame = segment.frame();
        if kind & 0x80 != 0 {
            congest(&mut frame);
        }
        self.hand.send(&frame);
    }

    fn step(&mut self, choices: &mut Choices<'_>) {
        let kind = choices.byte();
        let argument = kind >> 4;
        match kind & 15 {
            0..=5 => self.segment(choices),
            6 => {
                let nanos = [1, 1_000_000, 50_000_000, 400_000_000, 1_000_000_000, 11_000_000_000, 61_000_000_000]
                    [usize::from(argument) % 7];
                self.network.advance(self.network.now() + Duration::from_nanos(nanos));
            }
            7 => {
                // Anything at all, addressed to us or to everyone.
                let count = usize::from(choices.short()) % 1500;
                let mut frame = choices.bytes(count).to_vec();
                frame.resize(frame.len().max(14), 0);
                let all = argument & 1 != 0;
                frame[..6].copy_from_slice(&if all { [0xff; 6] } else { OUR_MAC });
                if argument & 2 != 0 {
                    frame[12..14].copy_from_slice(&[0x08, 0x00]);
                } else if argument & 4 != 0 {
                    frame[12..14].copy_from_slice(&[0x86, 0xdd]);
                }
                self.hand.send(&frame);
            }
            8 => {
                let number = argument & 3;
                if argument & 4 == 0 {
                    let operation = 1 + (argument >> 3);
                    self.hand.send(&arp(operation, [192, 0, 2, 10 + number], [192, 0, 2, 2]));
                } else {
                    self.hand.send(&advertisement(peer(number, true), ours(true)));
                }
            }
            9 => {
                let v6 = argument & 4 != 0;
                let frame = unreachable(peer(argument & 3, v6), ours(v6), choices.byte(), &self.last);
                self.hand.send(&frame);
            }
            10 => {
                let v6 = argument & 4 != 0;
                let remote = (peer(argument & 3, v6), 2525).into();
                if let Ok(flow) = self.stack.connect(self.network.now(), ours(v6), remote) {
                    self.connecting.push(flow);
                }
            }
            11 | 12 => self.act(argument, choices),
            13 => {
                // Other protocols, among them echo requests.
                let v6 = argument & 1 != 0;
                let count = usize::from(choices.byte());
                let payload = choices.bytes(count).to_vec();
                let protocol = [1, 58, 2, 17, 0, 44, 6, choices.byte()][usize::from(argument >> 1)];
                self.hand.send(&packet(peer(0, v6), ours(v6), protocol, payload, 2));
            }
            14 if argument == 15 => self.stack.stop_listening(),
            _ => {}
        }
        self.breathe();
    }

    /// What a session does with its flow.
    fn act(&mut self, argument: u8, choices: &mut Choices<'_>) {
        if self.flows.is_empty() {
            return;
        }
        let place = usize::from(choices.byte()) % self.flows.len();
        let flow = self.flows[place];
        let size = 8 * usize::from(choices.byte());
        match argument & 3 {
            0 => {
                let count = self.stack.received(flow).bytes.len();
                self.stack.consume(flow, count.min(size));
            }
            1 => {
                let taken = self.stack.send(flow, &vec![b'x'; size]);
                assert!(taken <= size);
            }
            2 => {
                self.stack.close(flow);
                self.flows.remove(place);
            }
            _ => {
                self.stack.abort(flow);
                self.flows.remove(place);
            }
        }
    }

    /// All sessions end, and nobody answers any more.
    fn end(&mut self) {
        for flow in std::mem::take(&mut self.flows) {
            self.stack.close(flow);
        }
        for flow in std::mem::take(&mut self.connecting) {
            self.stack.abort(flow);
        }
        self.stack.stop_listening();
        for _ in 0..2000 {
            self.breathe();
            // What a client made of a handshake that was under way is not wanted either.
            for flow in std::mem::take(&mut self.flows) {
                self.stack.close(flow);
            }
            let Some(deadline) = self.stack.next_deadline() else { break };
            self.network.advance(deadline.max(self.network.now() + Duration::from_millis(1)));
        }
        assert_eq!(self.stack.counters().open, 0, "nothing is left");
        self.stack.gauge(&mut |gauge| assert!(gauge.name != "bytes of rings" || gauge.count == 0, "{gauge:?}"));
        assert_eq!(self.stack.port().frames_out(), 0, "every frame came back to its pool");
        assert!(self.stack.port_mut().transmit_ready());
    }
}

pub fn run(data: &[u8]) {
    let mut choices = Choices::new(data);
    let mut world = World::new();
    for _ in 0..STEPS_MAX {
        if choices.is_over() {
            break;
        }
        world.step(&mut choices);
    }
    world.end();
}
