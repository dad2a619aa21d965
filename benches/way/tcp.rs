//! `src/tcp`: a flow is found, segments come in, segments go out. The port is memory; checksums are made and verified
//! in software, as on AF_XDP.

use crate::Station;
use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rohrpost::env::Instant;
use rohrpost::flow::{FlowEvent, FlowId, Transport};
use rohrpost::port::Port;
use rohrpost::port::memory::MemoryPort;
use rohrpost::tcp::{OwnAddress, Settings, Stack};
use std::collections::HashMap;
use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

pub const STATIONS: &[Station] = &[
    Station::new("tcp", "a frame for one of 100 flows", || lookup(100)).of(LOOKUPS as u64),
    Station::new("tcp", "a frame for one of 10 000 flows", || lookup(10_000)).of(LOOKUPS as u64),
    Station::new("tcp", "a frame for one of 100 000 flows", || lookup(100_000)).of(LOOKUPS as u64),
    Station::new("tcp", "receive a full segment", || receive(1)),
    Station::new("tcp", "receive 10 KB, 7 segments in a breath", || receive(7)),
    Station::new("tcp", "send a full segment", || send(1, in_software)),
    Station::new("tcp", "send 10 KB, 7 segments in a breath", || send(7, in_software)),
    Station::new("tcp", "send 10 KB, checksums by the NIC", || send(7, |address| offloading(address, 0))),
    Station::new("tcp", "send 10 KB, checksums and cuts by the NIC", || {
        send(7, |address| offloading(address, CUT_MAX))
    }),
];

type Host = Stack<MemoryPort>;

/// Makes the port with a hardware address.
type Make = fn([u8; 6]) -> MemoryPort;

/// What a NIC cuts, as with DPDK.
const CUT_MAX: usize = 15 * 1024;

fn in_software(hardware_address: [u8; 6]) -> MemoryPort {
    MemoryPort::new(hardware_address, 1500)
}

fn offloading(hardware_address: [u8; 6], frame_max: usize) -> MemoryPort {
    MemoryPort::with_offloads(hardware_address, 1500, frame_max)
}

const PORT: u16 = 25;
/// Frames of as many flows that come in one breath. A server with many flows at work never sees one alone.
const LOOKUPS: usize = 32;
/// What a breath takes.
const BREATH: Duration = Duration::from_micros(5);

const ETHERNET: usize = 14;
const TCP: usize = ETHERNET + 20;
const HEADERS: usize = TCP + 32;
const ACK: u8 = 16;

fn us() -> IpAddr {
    Ipv4Addr::new(192, 0, 2, 1).into()
}

fn them(number: usize) -> IpAddr {
    Ipv4Addr::new(192, 0, 2, 101 + number as u8).into()
}

fn stack(port: MemoryPort, addresses: Vec<IpAddr>, listeners: Vec<SocketAddr>, flows: usize) -> Host {
    let own = |ip| OwnAddress { ip, prefix: 24, gateway: None };
    let settings = Settings {
        addresses: addresses.into_iter().map(own).collect(),
        listeners,
        chosen: None,
        connections_max: flows,
        connections_per_client_max: flows,
        half_open_max: 1000,
        receive_buffer: 256 << 10,
        send_buffer: 256 << 10,
        buffer_memory: 1 << 30,
        worker: 0,
        workers: 1,
        queues: 1,
        isn_key: [7; 16],
        seed: u64::from(port.hardware_address()[5]),
    };
    Stack::new(port, settings, Instant::ZERO)
}

/// Our stack, and another one to begin with: once the flows are there, its part is played by copies of its frames.
struct Pair {
    us: Host,
    them: Host,
    now: Instant,
    /// The flows of both ends, by their turn.
    flows: Vec<(FlowId, FlowId)>,
    /// What `them` sent since it was cleared.
    sent: Vec<Vec<u8>>,
}

impl Pair {
    fn new(flows: usize) -> Pair {
        Pair::with(flows, in_software)
    }

    fn with(flows: usize, make: Make) -> Pair {
        let addresses = if flows > 10_000 { 8 } else { 1 };
        let [ours, theirs] = [1, 2].map(|last| make([2, 0, 0, 0, 0, last]));
        let us = stack(ours, vec![us()], vec![SocketAddr::new(self::us(), PORT)], flows);
        let them = stack(theirs, (0..addresses).map(them).collect(), Vec::new(), flows);
        let mut pair = Pair { us, them, now: Instant::ZERO, flows: Vec::new(), sent: Vec::new() };
        while pair.flows.len() < flows {
            let count = pair.flows.len();
            let remote = SocketAddr::new(self::us(), PORT);
            pair.them.connect(pair.now, self::them(count % addresses), remote).expect("there is room");
            pair.settle();
            assert_eq!(pair.flows.len(), count + 1, "the handshake goes through");
        }
        pair
    }

    /// Lets both stacks talk until they have nothing more to say.
    fn settle(&mut self) {
        let (mut accepted, mut connected) = (Vec::new(), Vec::new());
        let mut quiet = false;
        while !std::mem::replace(&mut quiet, true) {
            self.now = self.now + BREATH;
            for (host, flows) in [(&mut self.us, &mut accepted), (&mut self.them, &mut connected)] {
                let mut events = Vec::new();
                host.poll(self.now, &mut events);
                flows.extend(events.iter().filter_map(|event| match event {
                    FlowEvent::Accepted { flow, .. } | FlowEvent::Connected { flow } => Some(*flow),
                    _ => None,
                }));
                host.flush(self.now);
            }
            let Pair { us, them, sent, .. } = self;
            us.port_mut().sent(|frame| {
                quiet = false;
                assert!(them.port_mut().arrive(frame));
            });
            them.port_mut().sent(|frame| {
                quiet = false;
                sent.push(frame.to_vec());
                assert!(us.port_mut().arrive(frame));
            });
        }
        self.flows.extend(accepted.into_iter().zip(connected));
    }
}

/// A frame that is sent again and again with other numbers.
struct Template {
    frame: Vec<u8>,
}

impl Template {
    /// Writes a number at an even place of the segment and mends the checksum (RFC 1624).
    fn put(&mut self, at: usize, value: u32) {
        let before = number(&self.frame, at);
        let sum = u16::from_be_bytes([self.frame[TCP + 16], self.frame[TCP + 17]]);
        let words = [before >> 16, before & 0xffff].map(|word| !word & 0xffff);
        let mut sum = u32::from(!sum) + words[0] + words[1] + (value >> 16) + (value & 0xffff);
        while sum > 0xffff {
            sum = (sum >> 16) + (sum & 0xffff);
        }
        self.frame[at..at + 4].copy_from_slice(&value.to_be_bytes());
        self.frame[TCP + 16..TCP + 18].copy_from_slice(&(!(sum as u16)).to_be_bytes());
    }
}

/// Places of a segment with timestamps, as all of ours are: two fillers, kind, length, value, echo.
const SEQUENCE: usize = TCP + 4;
const ACKNOWLEDGEMENT: usize = TCP + 8;
const FLAGS: usize = TCP + 13;
const CLOCK: usize = TCP + 24;
const ECHO: usize = TCP + 28;

/// Acknowledgements that say nothing new, each for one flow of many: what it takes to find the flow and to see that.
fn lookup(count: usize) -> Box<dyn FnMut()> {
    let mut pair = Pair::new(count);
    // The last one of each handshake.
    let mut last = HashMap::new();
    for frame in pair.sent.drain(..).filter(|frame| frame.len() == HEADERS && frame[FLAGS] == ACK) {
        last.insert(frame[ETHERNET + 12..TCP + 2].to_vec(), frame);
    }
    assert_eq!(last.len(), count);
    let mut frames: Vec<Vec<u8>> = last.into_values().collect();
    frames.sort();
    frames.shuffle(&mut StdRng::seed_from_u64(1));
    frames.truncate(count / LOOKUPS * LOOKUPS);
    // One after the other in memory, so that reading them costs no miss of the cache that a network card would spare us.
    let (frames, mut at, mut events) = (frames.concat(), 0, Vec::new());
    let Pair { mut us, mut now, .. } = pair;
    let dropped = us.counters().frames_dropped;
    Box::new(move || {
        now = now + BREATH;
        for _ in 0..LOOKUPS {
            us.port_mut().arrive(&frames[at..at + HEADERS]);
            at = (at + HEADERS) % frames.len();
        }
        us.poll(now, &mut events);
        us.flush(now);
        assert!(us.port_mut().sent(|_| ()) == 0 && events.is_empty() && us.counters().frames_dropped == dropped);
    })
}

/// Full segments in order, so many in a breath; they are read, and acknowledged as delayed acknowledgements are.
fn receive(count: u32) -> Box<dyn FnMut()> {
    let mut pair = Pair::new(1);
    let (flow, theirs) = pair.flows[0];
    pair.sent.clear();
    let content = vec![b'x'; 20_000];
    assert_eq!(pair.them.send(theirs, &content), content.len());
    pair.settle();
    let full = pair.sent.iter().find(|frame| frame.len() == 1514).expect("a full segment");
    let mut template = Template { frame: full.clone() };
    let size = (template.frame.len() - HEADERS) as u32;
    let end = pair.sent.last().expect("the end");
    let mut sequence = number(end, SEQUENCE).wrapping_add((end.len() - HEADERS) as u32);
    let Pair { mut us, mut now, .. } = pair;
    assert_eq!(drain(&mut us, flow), content.len());
    let mut events = Vec::new();
    Box::new(move || {
        now = now + BREATH;
        for _ in 0..count {
            template.put(SEQUENCE, sequence);
            us.port_mut().arrive(&template.frame);
            sequence = sequence.wrapping_add(size);
        }
        us.poll(now, &mut events);
        events.clear();
        let got = drain(&mut us, flow);
        us.flush(now);
        us.port_mut().sent(|_| ());
        assert_eq!(got, (count * size) as usize);
    })
}

/// Reads all that is there.
fn drain(us: &mut Host, flow: FlowId) -> usize {
    let mut sum = 0;
    loop {
        let count = black_box(us.received(flow).bytes).len();
        if count == 0 {
            return sum;
        }
        us.consume(flow, count);
        sum += count;
    }
}

/// Full segments go out, so many in a breath, and are acknowledged in the next one.
fn send(count: usize, make: Make) -> Box<dyn FnMut()> {
    let mut pair = Pair::with(1, make);
    let (flow, _) = pair.flows[0];
    let content = vec![b'x'; 20_000];
    pair.sent.clear();
    assert_eq!(pair.us.send(flow, &content), content.len());
    pair.settle();
    // What came in one frame may be acknowledged late.
    pair.now = pair.now + Duration::from_millis(100);
    pair.settle();
    let acknowledgement = pair.sent.iter().rfind(|frame| frame.len() == HEADERS).expect("an acknowledgement");
    let mut template = Template { frame: acknowledgement.clone() };
    let Pair { mut us, mut now, .. } = pair;
    let content = vec![b'x'; count * 1448];
    let (mut events, mut answers) = (Vec::new(), Vec::new());
    Box::new(move || {
        now = now + BREATH;
        for (acknowledgement, echo) in answers.drain(..) {
            template.put(ACKNOWLEDGEMENT, acknowledgement);
            template.put(ECHO, echo);
            us.port_mut().arrive(&template.frame);
        }
        us.poll(now, &mut events);
        events.clear();
        assert_eq!(us.send(flow, &content), content.len());
        us.flush(now);
        // The peer acknowledges every second segment, and the last one for want of another.
        let mut turn = 0;
        us.port_mut().sent(|frame| {
            // One frame may hold several.
            for end in (HEADERS..frame.len()).skip(1447).step_by(1448) {
                turn += 1;
                if turn % 2 == 0 || turn == count {
                    let length = (end + 1 - HEADERS) as u32;
                    answers.push((number(frame, SEQUENCE).wrapping_add(length), number(frame, CLOCK)));
                }
            }
        });
        assert_eq!(turn, count);
    })
}

fn number(frame: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(frame[at..at + 4].try_into().expect("four bytes"))
}
