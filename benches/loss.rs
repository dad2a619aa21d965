//! A bad path: what our TCP carries over it, and what the kernel's does under the same loss in the same run.
//!
//! The wire is [`port::sim`](rohrpost::port::sim)'s, turned by the real clock: 10 ms each way and a share of frames lost at
//! random, each way. The kernel is tied to it by a tap device in a network namespace, so that its frames meet the same
//! fate. Needs root. `LOSS_SECONDS` says how long each measurement takes (8), `LOSS_RUNS` of how many the median is told (5),
//! `LOSS_ONLY` at which share alone (percent).

#[path = "../tests/lab/mod.rs"]
mod lab;

use lab::{Lab, Namespace};
use rohrpost::env::{Clock, Instant, SystemClock};
use rohrpost::flow::{FlowEvent, FlowId, Transport};
use rohrpost::port::sim::{Link, Network, SimPort};
use rohrpost::tcp::{OwnAddress, Settings, Stack};
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;
use tun_rs::{DeviceBuilder, Layer, SyncDevice};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const DELAY: Duration = Duration::from_millis(10);
const LOSSES: [f64; 4] = [0.0, 0.001, 0.01, 0.03];
const PORT: u16 = 2525;
const SENDER: (&str, [u8; 6]) = ("192.0.2.1", [2, 0, 0, 0, 0, 1]);
const RECEIVER: (&str, [u8; 6]) = ("192.0.2.2", [2, 0, 0, 0, 0, 2]);

/// The memory of a flow at each end: as much as the kernel grows to by itself.
const BUFFER: usize = 4 << 20;

/// Whose TCP an end has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Whose {
    Kernel,
    Ours,
}

/// One end of the connection, turned by the loop.
enum End {
    Kernel { port: SimPort, tap: SyncDevice },
    Ours { stack: Box<Stack<SimPort>>, flow: Option<FlowId>, events: Vec<FlowEvent> },
}

fn address((address, _): (&str, [u8; 6])) -> IpAddr {
    address.parse().expect("an address")
}

fn end(whose: Whose, who: (&str, [u8; 6]), network: &Network, link: Link, namespace: &Namespace) -> End {
    let port = network.attach(who.1, link);
    match whose {
        Whose::Kernel => End::Kernel { port, tap: tap(namespace, who) },
        Whose::Ours => {
            let settings = Settings {
                addresses: vec![OwnAddress { ip: address(who), prefix: 24, gateway: None }],
                listeners: vec![SocketAddr::new(address(who), PORT)],
                chosen: None,
                connections_max: 10,
                connections_per_client_max: 10,
                half_open_max: 10,
                receive_buffer: BUFFER,
                send_buffer: BUFFER,
                buffer_memory: 16 * BUFFER,
                worker: 0,
                workers: 1,
                queues: 1,
                isn_key: [7; 16],
                seed: 7,
            };
            let stack = Box::new(Stack::new(port, settings, network.now()));
            End::Ours { stack, flow: None, events: Vec::new() }
        }
    }
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

fn tap(namespace: &Namespace, who: (&str, [u8; 6])) -> SyncDevice {
    let (ip, mac) = (who.0.to_owned(), who.1);
    let made = inside(namespace, move || {
        let tap = DeviceBuilder::new().name("wire0").layer(Layer::L2).mac_addr(mac).ipv4(ip.as_str(), 24, None);
        tap.build_sync().expect("a tap device")
    });
    let tap = made.join().expect("a tap device");
    tap.set_nonblocking(true).expect("a tap device does not block");
    tap
}

impl End {
    /// Moves frames between the kernel and the wire, or turns our stack; `carry` moves the bytes of our flow.
    fn turn(&mut self, now: Instant, mut carry: impl FnMut(&mut Stack<SimPort>, FlowId)) {
        match self {
            End::Kernel { port, tap } => {
                for frame in port.take() {
                    // A full queue loses it, as anywhere.
                    let _ = tap.send(&frame);
                }
                let mut frame = [0; 2048];
                for _ in 0..64 {
                    let Ok(length) = tap.recv(&mut frame) else { break };
                    port.send(&frame[..length]);
                }
            }
            End::Ours { stack, flow, events } => {
                stack.poll(now, events);
                for event in events.drain(..) {
                    match event {
                        FlowEvent::Accepted { flow: other, .. } | FlowEvent::Connected { flow: other } => {
                            *flow = Some(other);
                        }
                        FlowEvent::Ended { .. } => *flow = None,
                        _ => {}
                    }
                }
                if let Some(flow) = *flow {
                    carry(stack, flow);
                }
                stack.flush(now);
            }
        }
    }
}

/// Sends by the kernel until it is told to stop.
fn send_by_kernel(namespace: &Namespace, stop: Arc<AtomicBool>) -> JoinHandle<()> {
    inside(namespace, move || {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
        socket.set_tcp_congestion(b"cubic").expect("the kernel has CUBIC");
        let remote = SocketAddr::new(address(RECEIVER), PORT);
        socket.connect(&remote.into()).expect("the other side answers");
        let mut stream = TcpStream::from(socket);
        stream.set_write_timeout(Some(Duration::from_millis(100))).expect("a timeout");
        let piece = vec![7; 65_536];
        while !stop.load(Ordering::Relaxed) {
            let _ = stream.write(&piece);
        }
    })
}

/// Receives by the kernel and counts.
fn receive_by_kernel(namespace: &Namespace, got: Arc<AtomicU64>, stop: Arc<AtomicBool>) -> JoinHandle<()> {
    let (ready, wait) = std::sync::mpsc::channel();
    let thread = inside(namespace, move || {
        let listener = TcpListener::bind((address(RECEIVER), PORT)).expect("a free port");
        ready.send(()).expect("somebody waits");
        let (mut stream, _) = listener.accept().expect("a connection");
        stream.set_read_timeout(Some(Duration::from_millis(100))).expect("a timeout");
        let mut piece = vec![0; 262_144];
        while !stop.load(Ordering::Relaxed) {
            got.fetch_add(stream.read(&mut piece).unwrap_or(0) as u64, Ordering::Relaxed);
        }
    });
    wait.recv().expect("the listener is there");
    thread
}

/// A connection between two ends, with a wire of its own.
struct Way {
    network: Network,
    namespaces: [Namespace; 2],
    sender: End,
    receiver: End,
    stop: Arc<AtomicBool>,
    got: Arc<AtomicU64>,
    threads: Vec<JoinHandle<()>>,
    /// When the first bytes were there, and how many.
    began: Option<(Instant, u64)>,
}

impl Way {
    fn new(lab: &Lab, name: &str, (sends, receives): (Whose, Whose), loss: f64, seed: u64) -> Way {
        let namespaces = [lab.namespace(&format!("{name}-sender")), lab.namespace(&format!("{name}-receiver"))];
        let network = Network::new(seed);
        let link = Link { delay: DELAY / 2, ..Link::default() };
        let sender = end(sends, SENDER, &network, Link { loss, ..link }, &namespaces[0]);
        let receiver = end(receives, RECEIVER, &network, link, &namespaces[1]);
        let (stop, got) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let mut threads = Vec::new();
        if receives == Whose::Kernel {
            threads.push(receive_by_kernel(&namespaces[1], got.clone(), stop.clone()));
        }
        Way { network, namespaces, sender, receiver, stop, got, threads, began: None }
    }

    /// The sender connects. Not before all ways are there: nobody turns them until then, and a SYN would wait.
    fn start(&mut self) {
        match &mut self.sender {
            End::Kernel { .. } => self.threads.push(send_by_kernel(&self.namespaces[0], self.stop.clone())),
            End::Ours { stack, .. } => {
                let remote = SocketAddr::new(address(RECEIVER), PORT);
                stack.connect(self.network.now(), address(SENDER), remote).expect("a connection starts");
            }
        }
    }

    fn turn(&mut self, now: Instant, piece: &[u8]) {
        self.network.advance(now);
        self.sender.turn(now, |stack, flow| while stack.send(flow, piece) > 0 {});
        self.receiver.turn(now, |stack, flow| {
            loop {
                let count = stack.received(flow).bytes.len();
                if count == 0 {
                    break;
                }
                stack.consume(flow, count);
                self.got.fetch_add(count as u64, Ordering::Relaxed);
            }
        });
        let count = self.got.load(Ordering::Relaxed);
        if self.began.is_none() && count > 0 {
            self.began = Some((now, count));
        }
        assert!(self.began.is_some() || now < Instant::ZERO + Duration::from_secs(60), "nothing comes");
    }

    /// Bytes a second, once the time is over.
    fn goodput(&self, now: Instant, span: Duration) -> Option<f64> {
        let (began, before) = self.began?;
        let over = now.since(began) >= span;
        over.then(|| (self.got.load(Ordering::Relaxed) - before) as f64 / now.since(began).as_secs_f64())
    }
}

/// Bytes a second, of each of these, side by side.
fn goodput(ways: &[((Whose, Whose), u64)], loss: f64, span: Duration) -> Vec<f64> {
    let lab = Lab::new("loss").expect("root may make namespaces");
    let way = |(place, (whose, seed)): (usize, &_)| Way::new(&lab, &place.to_string(), *whose, loss, *seed);
    let mut ways: Vec<Way> = ways.iter().enumerate().map(way).collect();
    let clock = SystemClock::new();
    ways.iter_mut().for_each(Way::start);
    let piece = vec![7; 65_536];
    loop {
        let mut rates = Vec::new();
        for way in &mut ways {
            let now = clock.now().mono;
            way.turn(now, &piece);
            rates.extend(way.goodput(now, span));
        }
        if rates.len() == ways.len() {
            ways.iter().for_each(|way| way.stop.store(true, Ordering::Relaxed));
            let threads = ways.into_iter().flat_map(|way| way.threads);
            threads.for_each(|thread| thread.join().expect("a thread ends well"));
            return rates;
        }
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(default)
}

fn main() {
    if Lab::new("loss").is_none() {
        return;
    }
    let (span, runs) = (Duration::from_secs(number("LOSS_SECONDS", 8)), number("LOSS_RUNS", 5));
    let pairs = [(Whose::Kernel, Whose::Kernel), (Whose::Ours, Whose::Kernel), (Whose::Kernel, Whose::Ours)];
    println!("KB/s over 20 ms there and back, medians of {runs}; in brackets, compared with the kernel alone");
    println!("{:>7} {:>16} {:>24} {:>24}", "loss", "kernel → kernel", "ours → kernel", "kernel → ours");
    let only = std::env::var("LOSS_ONLY").ok().and_then(|only| only.parse::<f64>().ok());
    for loss in LOSSES.into_iter().filter(|loss| only.is_none_or(|only| only == *loss * 100.0)) {
        // A way that loses is slow enough for others beside it, which meet the same disturbances.
        let beside = match loss {
            0.0 => 1,
            0.001 => pairs.len(),
            _ => 5 * pairs.len(),
        };
        let ways: Vec<_> = (1..=runs).flat_map(|run| pairs.map(|pair| (pair, run))).collect();
        let rates: Vec<f64> = ways.chunks(beside).flat_map(|ways| goodput(ways, loss, span)).collect();
        let rate = |place: usize| median(rates.iter().skip(place).step_by(pairs.len()).copied().collect()) / 1000.0;
        let [kernel, sending, receiving] = [0, 1, 2].map(rate);
        let told = |rate: f64| format!("{rate:.0} ({:.2})", rate / kernel);
        println!("{:>6}% {kernel:>16.0} {:>24} {:>24}", loss * 100.0, told(sending), told(receiving));
    }
}
