//! One appliance whose clients and next hops are led by hand, a dialogue at a time.
//!
//! A [`Bench`] is the world without chance: nothing happens that a test does not ask for, and what must not be lost is what
//! the test was told.

mod encrypted;
mod host;
mod limits;
mod receivers;
mod secure;
mod signing;

use super::attacker::Attacker;
use super::clock::BoxClock;
use super::ledger::{Ledger, Promise, Retry};
use super::node::{HARDWARE_ADDRESS, Node};
use super::setup::outside;
use super::trace::Trace;
use crate::appliance::Appliance;
use crate::config::{self, Config};
use crate::env::Instant;
use crate::event::Event;
use crate::flow::FlowId;
use crate::policy::Policy;
use crate::port::sim::{Network, Steering};
use host::{Host, Mailbox, Manner};
use rand::SeedableRng;
use rand::rngs::StdRng;
use std::cell::Cell;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::Range;
use std::rc::Rc;
use std::time::Duration;

/// How long an answer is waited for that must come.
const PATIENCE: Duration = Duration::from_secs(90);

/// How long a queue may take to become empty: retries wait for minutes.
const DRAINED_WITHIN: Duration = Duration::from_secs(2 * 3600);

const APPLIANCE: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));
const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2));
const OTHER_CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 3));
const HOP: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 11));

struct Bench {
    time: Rc<Cell<Instant>>,
    network: Network,
    node: Node,
    clients: Host,
    hop: Host,
    manner: Manner,
    mailbox: Mailbox,
    /// Another next hop, if there is one.
    receiver: Option<receivers::Server>,
    attacker: Attacker,
    random: StdRng,
    ledger: Ledger,
    /// What the appliance told.
    events: Vec<Event>,
    /// Recipients of the messages that were begun, and the sizes of those that were answered with 250, by number.
    recipients: BTreeMap<u32, usize>,
    acknowledged: BTreeMap<u32, usize>,
}

/// The content of message `number`; no two are alike.
fn content(number: u32, size: usize) -> Vec<u8> {
    let mut text = format!("Subject: {number}\r\n\r\n");
    while text.len() < size {
        let _ = write!(text, "{number} {:060}\r\n", text.len());
    }
    text.into_bytes()
}

impl Bench {
    /// An appliance with so many workers and routes to `d0.test` and so on, as `change` configures it.
    fn new(workers: u16, domains: usize, change: impl FnOnce(&mut Config)) -> Bench {
        Bench::adjusted(workers, domains, change, |_| {})
    }

    /// The same with settings of its logs that no configuration can change.
    fn adjusted(
        workers: u16,
        domains: usize,
        change: impl FnOnce(&mut Config),
        adjust: fn(&mut crate::spool::Settings),
    ) -> Bench {
        let mut bench = Bench::prepared(workers, domains, "", change);
        bench.node.adjust = adjust;
        bench.start(workers).expect("the appliance starts");
        bench
    }

    /// The same with more in its configuration, and before it starts.
    fn prepared(workers: u16, domains: usize, more: &str, change: impl FnOnce(&mut Config)) -> Bench {
        let mut text = String::from(
            "transport = \"af_xdp\"\nhostname = \"relay.test\"\n[workers]\ncores = [0]\n[[port]]\ndevice = \"sim0\"\n\
             [[address]]\nip = \"10.0.0.1/24\"\n[[listener]]\naddress = \"10.0.0.1:25\"\nrole = \"relay\"\n\
             [relay]\nnetworks = [\"10.0.0.0/24\"]\n",
        );
        for domain in 0..domains {
            let _ = write!(text, "[[route]]\ndomain = \"d{domain}.test\"\nto = [\"smtp://{HOP}:{}\"]\n", 25 + domain);
        }
        text += more;
        let mut config = config::parse(&text, "limits").expect("it is what an operator would write");
        config.spool.segment_size.0 = 1 << 18;
        config.spool.size_max.0 = u64::from(workers) << 23;
        config.spool.batch_size.0 = 1 << 16;
        config.spool.free_min.0 = 0;
        change(&mut config);
        let config = std::sync::Arc::new(config);
        let policy = Policy::with_seed(&config, 1).expect("there is no map to be read");
        let appliance = Appliance::new(config, std::sync::Arc::new(policy)).expect("the routes make sense");
        let time = Rc::new(Cell::new(Instant::ZERO));
        let network = Network::new(1);
        let mut node = Node::new(appliance, BoxClock::new(Rc::clone(&time)), 50_000..=200_000, Steering::Flow);
        node.peaks = Some(BTreeMap::new());
        let clients = Host::new(outside(&network, 2, vec![CLIENT, OTHER_CLIENT], Vec::new(), 2));
        // Each domain has a port of its own: routes to the same hosts are one destination.
        let places = (0..domains).map(|domain| SocketAddr::new(HOP, 25 + domain as u16)).collect();
        let hop = Host::new(outside(&network, 3, vec![HOP], places, 3));
        let attacker = Attacker::new(network.clone(), HARDWARE_ADDRESS, Ipv4Addr::new(10, 0, 0, 1), false);
        let retry = Retry { first: Duration::ZERO, max: Duration::ZERO };
        Bench {
            time,
            network,
            node,
            clients,
            hop,
            manner: Manner::Takes,
            mailbox: Mailbox::default(),
            receiver: None,
            attacker,
            random: StdRng::seed_from_u64(4),
            ledger: Ledger::new(Promise::Kept, false, Duration::MAX, retry, Trace::new(false)),
            events: Vec::new(),
            recipients: BTreeMap::new(),
            acknowledged: BTreeMap::new(),
        }
    }

    /// Starts the appliance that is not running.
    fn start(&mut self, workers: u16) -> Result<(), String> {
        self.node.start(&self.network, workers, &mut self.random, &mut self.ledger).map_err(|refused| refused.why)
    }

    /// Stops the appliance in order.
    fn stop(&mut self) {
        self.node.stop(Duration::from_secs(30));
        assert!(self.becomes(PATIENCE, |bench| !bench.node.is_running()), "it does not stop");
    }

    fn now(&self) -> Instant {
        self.time.get()
    }

    /// One turn of the wheel, up to `until` at most.
    fn turn(&mut self, until: Instant) {
        let now = self.now();
        if self.node.next() <= now {
            self.node.step();
            let (events, _) = self.node.events(&mut self.random);
            self.events.extend(events);
        }
        self.attacker.step(now, &mut self.random);
        self.clients.step(now);
        self.hop.step(now);
        self.mailbox.serve(now, &mut self.hop, self.manner);
        self.receiver.iter_mut().for_each(|receiver| receiver.step(now));
        let due = [
            self.network.next_arrival().unwrap_or(Instant::FAR),
            self.node.next(),
            self.clients.next(now),
            self.hop.next(now),
            self.receiver.as_ref().map_or(Instant::FAR, |receiver| receiver.next(now)),
            self.attacker.next(),
            until,
        ];
        let next = due.into_iter().min().unwrap_or(until).max(now + Duration::from_micros(1));
        self.time.set(next);
        self.network.advance(next);
        if let Some(gauge) = self.node.exceeded {
            panic!("{} {} where {} are allowed", gauge.count, gauge.name, gauge.limit);
        }
    }

    /// Lets time pass.
    fn run_for(&mut self, duration: Duration) {
        let until = self.now() + duration;
        while self.now() < until {
            self.turn(until);
        }
    }

    /// Lets time pass until something is so. Whether it came to that within `patience`.
    fn becomes(&mut self, patience: Duration, mut so: impl FnMut(&mut Bench) -> bool) -> bool {
        let until = self.now() + patience;
        while !so(self) {
            if self.now() >= until {
                return false;
            }
            self.turn(until);
        }
        true
    }

    /// A client that has been greeted; `None` if it was not let in.
    fn enter(&mut self, from: IpAddr) -> Option<FlowId> {
        let client = self.clients.connect(self.now(), from, SocketAddr::new(APPLIANCE, 25))?;
        let greeted = self.reply(client).is_some_and(|reply| reply.starts_with("220 "));
        greeted.then(|| assert_eq!(&self.ask(client, "EHLO client.test\r\n")[..4], "250 "))?;
        Some(client)
    }

    /// The last line of the next reply; `None` if the connection ends without one.
    fn reply(&mut self, client: FlowId) -> Option<String> {
        let mut reply = None;
        let answered = self.becomes(PATIENCE, |bench| {
            while let Some(line) = bench.clients.line(client) {
                if line.as_bytes().get(3) == Some(&b' ') {
                    reply = Some(line);
                    return true;
                }
            }
            bench.clients.is_over(client)
        });
        assert!(answered, "no reply and no end within {PATIENCE:?}");
        reply
    }

    /// What is answered to a command.
    fn ask(&mut self, client: FlowId, command: &str) -> String {
        self.say(client, command.as_bytes());
        self.reply(client).unwrap_or_else(|| panic!("no answer to {command:?}"))
    }

    fn say(&mut self, client: FlowId, bytes: &[u8]) {
        self.clients.say(client, bytes);
        self.clients.send(self.now());
    }

    /// As far as DATA, for one recipient in each of some domains; the first answer that is no consent.
    fn begin_for(&mut self, client: FlowId, number: u32, domains: Range<usize>) -> Result<(), String> {
        self.recipients.insert(number, domains.len());
        self.agrees(client, &format!("MAIL FROM:<s{number}@origin.test>\r\n"), "250 ")?;
        for domain in domains {
            self.agrees(client, &format!("RCPT TO:<u{number}@d{domain}.test>\r\n"), "250 ")?;
        }
        self.agrees(client, "DATA\r\n", "354 ")
    }

    fn agrees(&mut self, client: FlowId, command: &str, wanted: &str) -> Result<(), String> {
        let reply = self.ask(client, command);
        if reply.starts_with(wanted) { Ok(()) } else { Err(reply) }
    }

    /// The same for one recipient in the first domain.
    fn begin(&mut self, client: FlowId, number: u32) -> Result<(), String> {
        self.begin_for(client, number, 0..1)
    }

    /// The content of a message that was begun, up to the answer.
    fn finish(&mut self, client: FlowId, number: u32, size: usize) -> Result<(), String> {
        self.say(client, &content(number, size));
        let reply = self.ask(client, ".\r\n");
        if !reply.starts_with("250 ") {
            return Err(reply);
        }
        assert!(self.acknowledged.insert(number, size).is_none(), "a number is used once");
        Ok(())
    }

    /// Sends a message; the first answer that is no consent.
    fn send(&mut self, client: FlowId, number: u32, size: usize) -> Result<(), String> {
        self.begin(client, number)?;
        self.finish(client, number, size)
    }

    /// The most that a table held.
    fn peak(&self, name: &str) -> u64 {
        let peaks = self.node.peaks.as_ref().expect("they are watched");
        *peaks.get(name).unwrap_or_else(|| panic!("{name} is none of {:?}", peaks.keys()))
    }

    /// The next hop takes everything, until it has all that was acknowledged: once each, as it was sent, and nothing else.
    fn drain(&mut self) {
        self.manner = Manner::Takes;
        let count = self.acknowledged.keys().map(|number| self.recipients[number]).sum();
        self.becomes(DRAINED_WITHIN, |bench| bench.mailbox.count() >= count);
        for (number, size) in &self.acknowledged {
            let copies = self.mailbox.copies(*number);
            assert_eq!(copies.len(), self.recipients[number], "message {number} came as often as it has recipients");
            let sent = content(*number, *size);
            assert!(copies.iter().all(|copy| copy.ends_with(&sent)), "message {number} is not what was sent");
        }
        assert_eq!(self.mailbox.count(), count, "nothing came that was not acknowledged");
    }
}
