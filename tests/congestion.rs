//! Congestion marks (ECN) between our TCP and the kernel's, over a wire that marks.
//!
//! The wire is [`port::sim`](rohrpost::port::sim)'s, turned by the real clock and tied to the kernel of a network namespace
//! by a tap device. That needs root and is skipped, aloud, without.

mod lab;

use lab::{Lab, Namespace};
use rohrpost::env::{Clock, SystemClock};
use rohrpost::flow::{FlowEvent, FlowId, Transport};
use rohrpost::port::sim::{HostId, Link, Network, SimPort};
use rohrpost::tcp::{OwnAddress, Settings, Stack};
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::channel;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tun_rs::{DeviceBuilder, Layer, SyncDevice};

const WAIT: Duration = Duration::from_secs(60);
const PORT: u16 = 2525;
const OURS: (&str, [u8; 6]) = ("192.0.2.1", [2, 0, 0, 0, 0, 1]);
const KERNEL: (&str, [u8; 6]) = ("192.0.2.2", [2, 0, 0, 0, 0, 2]);

/// What each end sends to the other, bytes.
const LENGTH: usize = 3_000_000;
/// The share of segments that meet congestion.
const MARKING: f64 = 0.02;

const SYN: u8 = 0x02;
const ACK: u8 = 0x10;
const ECE: u8 = 0x40;
const CWR: u8 = 0x80;

fn address((address, _): (&str, [u8; 6])) -> IpAddr {
    address.parse().expect("an address")
}

fn content(seed: u32) -> Vec<u8> {
    (0..LENGTH as u32).map(|place| (place.wrapping_mul(2_654_435_761).wrapping_add(seed) >> 13) as u8).collect()
}

/// Does something in a namespace, on a thread of its own: a thread that has entered it stays there.
fn inside<T: Send + 'static>(namespace: &Namespace, work: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
    let path = format!("/run/netns/{}", namespace.name());
    std::thread::spawn(move || {
        let file = std::fs::File::open(path).expect("the namespace is there");
        nix::sched::setns(&file, nix::sched::CloneFlags::CLONE_NEWNET).expect("root may enter a namespace");
        work()
    })
}

fn tap() -> SyncDevice {
    let tap = DeviceBuilder::new().name("wire0").layer(Layer::L2).mac_addr(KERNEL.1).ipv4(KERNEL.0, 24, None);
    let tap = tap.build_sync().expect("a tap device");
    tap.set_nonblocking(true).expect("a tap device does not block");
    tap
}

/// Sends and receives at once, by the kernel; what came.
fn talk(stream: &TcpStream) -> Vec<u8> {
    for set in [TcpStream::set_read_timeout, TcpStream::set_write_timeout] {
        set(stream, Some(WAIT)).expect("a timeout");
    }
    let mut out = stream.try_clone().expect("a second handle");
    let writer = std::thread::spawn(move || out.write_all(&content(2)).expect("all is taken"));
    let (mut got, mut stream) = (vec![0; LENGTH], stream);
    stream.read_exact(&mut got).expect("all of it comes");
    writer.join().expect("the writer ends well");
    got
}

/// Our end, the wire, and where it enters the kernel.
struct Wire {
    network: Network,
    clock: SystemClock,
    stack: Stack<SimPort>,
    port: SimPort,
    tap: SyncDevice,
    flow: Option<FlowId>,
    content: Vec<u8>,
    given: usize,
    got: Vec<u8>,
}

impl Wire {
    fn new(namespace: &Namespace) -> Wire {
        let (clock, network) = (SystemClock::new(), Network::new(1));
        network.tap();
        let link = Link { delay: Duration::from_millis(1), ..Link::default() };
        let settings = Settings {
            addresses: vec![OwnAddress { ip: address(OURS), prefix: 24, gateway: None }],
            listeners: vec![SocketAddr::new(address(OURS), PORT)],
            chosen: None,
            connections_max: 10,
            connections_per_client_max: 10,
            half_open_max: 10,
            receive_buffer: 256 << 10,
            send_buffer: 256 << 10,
            buffer_memory: 1 << 20,
            worker: 0,
            workers: 1,
            queues: 1,
            isn_key: [7; 16],
            seed: 7,
        };
        let stack = Stack::new(network.attach(OURS.1, link), settings, network.now());
        let port = network.attach(KERNEL.1, link);
        let tap = inside(namespace, tap).join().expect("a tap device");
        Wire { network, clock, stack, port, tap, flow: None, content: content(1), given: 0, got: Vec::new() }
    }

    /// Frames go their way, and what our session does is done. The handshake passes unmarked, so that there is something to
    /// be agreed on.
    fn turn(&mut self) {
        let now = self.clock.now().mono;
        self.network.advance(now);
        for frame in self.port.take() {
            // A full queue loses it, as anywhere.
            let _ = self.tap.send(&frame);
        }
        let mut frame = [0; 2048];
        while let Ok(length) = self.tap.recv(&mut frame) {
            self.port.send(&frame[..length]);
        }
        let mut events = Vec::new();
        self.stack.poll(now, &mut events);
        for event in events {
            if let FlowEvent::Accepted { flow, .. } | FlowEvent::Connected { flow } = event {
                self.flow = Some(flow);
                let link = Link { delay: Duration::from_millis(1), marking: MARKING, ..Link::default() };
                self.network.set_link(self.stack.port().host(), link);
            }
        }
        if let Some(flow) = self.flow {
            self.given += self.stack.send(flow, &self.content[self.given..]);
            let bytes = self.stack.received(flow).bytes.to_vec();
            self.stack.consume(flow, bytes.len());
            self.got.extend(bytes);
        }
        self.stack.flush(now);
    }

    /// Until the kernel's side has ended, and ours has all.
    fn run(&mut self, other: JoinHandle<Vec<u8>>) -> Vec<u8> {
        let deadline = Instant::now() + WAIT;
        while !other.is_finished() || self.got.len() < LENGTH {
            self.turn();
            assert!(Instant::now() < deadline, "{} bytes out, {} in", self.given, self.got.len());
            std::thread::yield_now();
        }
        other.join().expect("the kernel's side ends well")
    }

    /// Flags that a side has sent, by how many segments of it: (all of `with`, and none of `without`).
    fn count(frames: &[(HostId, u8)], from: HostId, with: u8, without: u8) -> usize {
        let wanted = |(host, flags): &&(HostId, u8)| *host == from && flags & with == with && flags & without == 0;
        frames.iter().filter(wanted).count()
    }

    /// Both have agreed to ECN, have been told of marks, and have answered.
    fn judge(&self, namespace: &Namespace, other: &[u8]) {
        assert!(other == self.content && self.got == content(2), "what was sent came");
        let tapped = self.network.take_tapped();
        let is_segment = |bytes: &[u8]| bytes.get(12..15) == Some(&[0x08, 0x00, 0x45]) && bytes[23] == 6;
        let segments = tapped.iter().filter(|frame| is_segment(&frame.bytes));
        let frames: Vec<(HostId, u8)> = segments.map(|frame| (frame.from, frame.bytes[47])).collect();
        let (ours, kernel) = (self.stack.port().host(), self.port.host());
        for side in [ours, kernel] {
            let told = Wire::count(&frames, side, ECE, SYN);
            let answered = Wire::count(&frames, side, CWR, SYN);
            println!("{side:?}: {told} segments told of marks, {answered} answered");
            assert!(told > 0 && answered > 0, "{side:?}");
        }
        let asked: usize = [ours, kernel].iter().map(|side| Wire::count(&frames, *side, SYN | ECE | CWR, ACK)).sum();
        let agreed: usize = [ours, kernel].iter().map(|side| Wire::count(&frames, *side, SYN | ACK | ECE, CWR)).sum();
        assert_eq!((asked, agreed), (1, 1));
        // Marks on what we sent arrived there, and it heard from us of those on what it sent.
        let marks = self.network.counters().marked;
        let (arrived, delivered) = (statistic(namespace, "InCEPkts"), statistic(namespace, "TCPDeliveredCE"));
        println!("{marks} marks; {arrived} came to the kernel, and it knows of {delivered}");
        assert!(arrived > 0 && delivered > 0 && arrived < marks);
    }
}

/// A counter of the namespace's kernel: `/proc/net/netstat` has lines of names, each followed by one of numbers.
fn statistic(namespace: &Namespace, name: &str) -> u64 {
    let text = namespace.run(&["cat", "/proc/net/netstat"]);
    let lines: Vec<&str> = text.lines().collect();
    let value = lines.chunks_exact(2).find_map(|pair| {
        let place = pair[0].split_whitespace().position(|word| word == name)?;
        pair[1].split_whitespace().nth(place)?.parse().ok()
    });
    value.unwrap_or_else(|| panic!("no {name} in\n{text}"))
}

fn scene(name: &str) -> Option<(Lab, Namespace)> {
    let lab = Lab::new(name)?;
    let namespace = lab.namespace("kernel");
    namespace.run(&["sysctl", "-qw", "net.ipv4.tcp_ecn=1"]);
    Some((lab, namespace))
}

#[test]
fn the_kernel_asks_for_it_and_we_agree() {
    let Some((_lab, namespace)) = scene("ecn-asked") else { return };
    let mut wire = Wire::new(&namespace);
    let other = inside(&namespace, || {
        let stream = TcpStream::connect((address(OURS), PORT)).expect("we answer");
        talk(&stream)
    });
    let got = wire.run(other);
    wire.judge(&namespace, &got);
}

#[test]
fn we_ask_for_it_and_the_kernel_agrees() {
    let Some((_lab, namespace)) = scene("ecn-asking") else { return };
    let mut wire = Wire::new(&namespace);
    let (ready, wait) = channel();
    let other = inside(&namespace, move || {
        let listener = TcpListener::bind((address(KERNEL), PORT)).expect("a free port");
        ready.send(()).expect("somebody waits");
        let (stream, _) = listener.accept().expect("a connection");
        talk(&stream)
    });
    wait.recv().expect("the listener is there");
    let remote = SocketAddr::new(address(KERNEL), PORT);
    wire.stack.connect(wire.network.now(), address(OURS), remote).expect("a connection starts");
    let got = wire.run(other);
    wire.judge(&namespace, &got);
}
