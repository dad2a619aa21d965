//! `src/worker`: whole messages, from the client's first byte to the next hop's 250 and the outcome in the log, with
//! everything that lies between: sessions, policy, spool, delivery and the glue. Only TCP and the disk are missing: flows are
//! played by [`Wire`], and the disk takes everything at once. Twenty clients send at a time, as in `scripts/compare`.

use crate::Station;
use crate::smtp::message;
use crate::spool::log;
use rohrpost::appliance::{self, Appliance};
use rohrpost::config;
use rohrpost::control;
use rohrpost::env::{Clock, Instant, Now, Wakeup, WallTime};
use rohrpost::flow::{ConnectError, FlowEvent, FlowId, Received, Transport, TransportCounters};
use rohrpost::policy::Policy;
use rohrpost::worker::{Exchange, Worker};
use std::cell::Cell;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::BorrowedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

const CLIENTS: u64 = 20;

pub const STATIONS: &[Station] = &[
    Station::new("worker", "relay 2 KB, without TCP and disk", || relay(2048)).of(CLIENTS),
    Station::new("worker", "relay 10 KB, without TCP and disk", || relay(10_240)).of(CLIENTS),
];

const CONFIG: &str = r#"
transport = "af_xdp"
hostname = "relay.example.org"
[[port]]
device = "eth0"
[[address]]
ip = "192.0.2.25/24"
[[listener]]
address = "192.0.2.25:25"
role = "relay"
[relay]
networks = ["192.0.2.0/24"]
[[route]]
domain = "*"
to = ["smtp://192.0.2.30:25"]
[limits]
connections_per_client = 1000
transactions = 1000000
[spool]
directory = "/nowhere"
"#;

const EHLO: &[u8] = b"EHLO client.example.com\r\n";
const COMMANDS: &[u8] =
    b"MAIL FROM:<someone@client.example.com> SIZE=10240\r\nRCPT TO:<someone.else@mx.example.org>\r\nDATA\r\n";
const OFFER: &[u8] = b"250-them\r\n250-PIPELINING\r\n250-SIZE 50000000\r\n250-8BITMIME\r\n250 ENHANCEDSTATUSCODES\r\n";

/// A microsecond goes by each time that somebody looks.
#[derive(Clone, Default)]
struct Ticking(Rc<Cell<u64>>);

impl Clock for Ticking {
    fn now(&self) -> Now {
        self.0.set(self.0.get() + 1);
        let passed = Duration::from_micros(self.0.get());
        Now { mono: Instant::ZERO + passed, wall: WallTime::from_micros(1_795_407_575_000_000) + passed }
    }
}

/// Flows whose other ends are clients and a next hop that say what the script has for them.
struct Wire {
    flows: Vec<Option<End>>,
    generation: u32,
    events: Vec<FlowEvent>,
    content: Arc<[u8]>,
    /// Each client is to send another message.
    go: Rc<Cell<bool>>,
    /// What the next hop has got.
    delivered: Rc<Cell<u64>>,
}

struct End {
    generation: u32,
    role: Role,
    /// Bytes for us, and how many of them were read.
    input: Vec<u8>,
    read: usize,
    /// The last bytes from us.
    tail: Vec<u8>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    /// Waits for the banner, or for the answer to EHLO.
    NewClient,
    /// Has sent nothing, or a whole message that was accepted.
    IdleClient,
    /// Has sent the commands.
    Client,
    /// Has sent the content.
    DoneClient,
    /// Takes commands.
    Hop,
    /// Takes content.
    HopInContent,
}

impl Wire {
    fn open(&mut self, role: Role) -> FlowId {
        self.generation += 1;
        let end = End { generation: self.generation, role, input: Vec::new(), read: 0, tail: Vec::new() };
        let index = self.flows.iter().position(Option::is_none).unwrap_or(self.flows.len());
        if index == self.flows.len() {
            self.flows.push(None);
        }
        self.flows[index] = Some(end);
        FlowId { index: index as u32, generation: self.generation }
    }

    fn end(&mut self, flow: FlowId) -> &mut End {
        let end = self.flows[flow.index as usize].as_mut().expect("the flow is open");
        assert_eq!(end.generation, flow.generation);
        end
    }

    fn say(&mut self, flow: FlowId, bytes: &[u8]) {
        self.end(flow).input.extend_from_slice(bytes);
        self.events.push(FlowEvent::Readable { flow });
    }
}

impl Transport for Wire {
    fn poll(&mut self, _: Instant, events: &mut Vec<FlowEvent>) {
        if self.go.take() {
            for index in 0..CLIENTS as u32 {
                let end = self.flows[index as usize].as_mut().expect("clients stay");
                assert!(end.role == Role::IdleClient, "the last message was accepted");
                end.role = Role::Client;
                let flow = FlowId { index, generation: end.generation };
                self.say(flow, COMMANDS);
            }
        }
        events.append(&mut self.events);
    }

    fn connect(&mut self, _: Instant, _: IpAddr, _: SocketAddr) -> Result<FlowId, ConnectError> {
        let flow = self.open(Role::Hop);
        self.events.push(FlowEvent::Connected { flow });
        self.say(flow, b"220 them\r\n");
        Ok(flow)
    }

    fn received(&mut self, flow: FlowId) -> Received<'_> {
        let end = self.end(flow);
        Received { bytes: &end.input[end.read..], ..Received::default() }
    }

    fn consume(&mut self, flow: FlowId, count: usize) {
        let end = self.end(flow);
        end.read += count;
        if end.read == end.input.len() {
            end.input.clear();
            end.read = 0;
        }
    }

    fn send(&mut self, flow: FlowId, bytes: &[u8]) -> usize {
        let end = self.end(flow);
        end.tail.extend_from_slice(&bytes[bytes.len().saturating_sub(6)..]);
        let surplus = end.tail.len().saturating_sub(6);
        end.tail.drain(..surplus);
        let (role, answer): (Role, &[u8]) = match end.role {
            Role::NewClient if bytes.starts_with(b"220 ") => (Role::NewClient, EHLO),
            Role::NewClient => (Role::IdleClient, b""),
            Role::Client if bytes.windows(4).any(|four| four == b"354 ") => {
                let content = Arc::clone(&self.content);
                self.end(flow).role = Role::DoneClient;
                self.say(flow, &content);
                return bytes.len();
            }
            Role::DoneClient if bytes.starts_with(b"250 ") => (Role::IdleClient, b""),
            Role::Hop if end.tail == *b"DATA\r\n" => {
                (Role::HopInContent, b"250 2.1.0 sender ok\r\n250 2.1.5 recipient ok\r\n354 go on\r\n")
            }
            Role::Hop if bytes.starts_with(b"EHLO") => (Role::Hop, OFFER),
            Role::Hop if bytes.starts_with(b"QUIT") => (Role::Hop, b"221 2.0.0 bye\r\n"),
            Role::HopInContent if end.tail.ends_with(b"\r\n.\r\n") => {
                self.delivered.set(self.delivered.get() + 1);
                (Role::Hop, b"250 2.0.0 queued as 4cN1xk2Vb7z\r\n")
            }
            role => (role, b""),
        };
        self.end(flow).role = role;
        if !answer.is_empty() {
            self.say(flow, answer);
        }
        bytes.len()
    }

    fn close(&mut self, flow: FlowId) {
        self.end(flow);
        self.flows[flow.index as usize] = None;
    }

    fn abort(&mut self, _: FlowId) {
        panic!("nothing is wrong");
    }

    fn flush(&mut self, _: Instant) {}

    fn next_deadline(&self) -> Option<Instant> {
        None
    }

    fn wait(&mut self, _: Duration, _: &[BorrowedFd<'_>]) {}

    fn stop_listening(&mut self) {}

    fn counters(&self) -> TransportCounters {
        TransportCounters::default()
    }
}

/// Each client sends one message of so many bytes, and all of them are relayed.
fn relay(size: usize) -> Box<dyn FnMut()> {
    let config = Arc::new(config::parse(CONFIG, "bench").expect("a configuration"));
    let policy = Arc::new(Policy::with_seed(&config, 1).expect("a policy"));
    let appliance = Appliance::new(config, policy).expect("routes");
    let clock = Ticking::default();
    let (go, delivered) = (Rc::new(Cell::new(false)), Rc::new(Cell::new(0)));
    let content = message(size) + ".\r\n";
    let mut wire = Wire {
        flows: Vec::new(),
        generation: 0,
        events: Vec::new(),
        content: content.as_bytes().into(),
        go: Rc::clone(&go),
        delivered: Rc::clone(&delivered),
    };
    for _ in 0..CLIENTS {
        let flow = wire.open(Role::NewClient);
        let local = "192.0.2.25:25".parse().expect("an address");
        let remote = "192.0.2.10:40000".parse().expect("an address");
        wire.events.push(FlowEvent::Accepted { flow, listener: 0, local, remote });
    }
    let (_links, mut ends, from) = control::links(1, 4096).expect("channels");
    let wakeup = Wakeup::new().expect("a bell");
    let mut worker = Worker::new(appliance.equip(appliance::Station {
        clock: clock.clone(),
        transport: wire,
        logs: vec![(0, log(clock.now()))],
        exchange: Exchange::connect(std::slice::from_ref(&wakeup)).remove(0),
        exchange_wakeup: wakeup,
        control: ends.remove(0),
        seed: 1,
        tls: None,
        signing: None,
        pair: None,
    }));
    while worker.breath() {}
    let mut expected = 0;
    Box::new(move || {
        go.set(true);
        expected += CLIENTS;
        let mut breaths = 0;
        while worker.breath() || delivered.get() < expected {
            breaths += 1;
            assert!(breaths < 100, "what is there is relayed at once");
        }
        // The control thread takes these.
        while from.receiver.try_recv().is_ok() {}
    })
}
