//! The wheel: who is next, what happens then, and until when.

use super::attacker::Attacker;
use super::client::{Client, Style};
use super::clock::BoxClock;
use super::ledger::{Ledger, Retry};
use super::mail::{Mail, number_of_recipient, number_of_sender};
use super::node::{Death, HARDWARE_ADDRESS, Node, Refused};
use super::peer::{Peer, Scene};
use super::plan::{BURST_DURATION, Fault, HOME, HOPS, LMTP, Plan, Side, WORKERS_MAX, Way};
use super::receiver::{Hop, Manner, Receiver};
use super::trace::Trace;
use super::{Failure, Outcome};
use crate::appliance::Appliance;
use crate::config;
use crate::control::{Answer, MessageState, QueueCommand, QueueEntry, QueueFilter, QueueSelection, Request};
use crate::env::Instant;
use crate::event::Event;
use crate::limits::Gauge;
use crate::policy::Policy;
use crate::port::sim::{HostId, Link, Network, SimPort};
use crate::spool::MessageId;
use crate::tcp::{self, OwnAddress, Stack};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// How often the queue is looked at.
const LOOK_INTERVAL: Duration = Duration::from_secs(300);

/// Sessions with messages that a healed world sends, so that it shows that it is healed.
const LAST_SESSIONS: u32 = 4;

/// Of the messages that clients begin to send one in so many is acknowledged at least, whatever goes wrong: a world in which
/// nothing is promised breaks no promise.
const ACKNOWLEDGED_MIN: u64 = 20;

/// How long a replaced box takes to be up again after its storage failed.
const REPAIR_DURATION: Duration = Duration::from_secs(60);

/// How long an appliance may finish what it has in hand when it is stopped.
const FINISH_WITHIN: Duration = Duration::from_secs(30);

/// What cannot happen yet is tried again after this time.
const POSTPONEMENT: Duration = Duration::from_secs(20);

/// How long power waits for a log to come round before it is lost all the same.
const AMBUSH_PATIENCE: Duration = Duration::from_secs(900);

/// For how long no start may succeed.
const STARTS_FAIL_MAX: Duration = Duration::from_secs(2400);

/// Steps of a run; one that needs more turns in a circle.
const STEPS_MAX: u64 = 20_000_000;

/// What is to happen at some time.
#[derive(Clone, Debug)]
enum Happening {
    Session,
    /// One of the sessions of a healed world.
    LastSession,
    Fault(Fault),
    Mend(Fault),
    Start,
    Look,
    /// Everything that is wrong is put right.
    Heal,
}

/// How far a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Load,
    /// Nothing goes wrong any more; the queue has until then to drain.
    Healed {
        until: Instant,
    },
    /// The last orderly stop.
    Stopping,
    Over,
}

pub(super) struct World {
    seed: u64,
    plan: Plan,
    random: StdRng,
    time: Rc<Cell<Instant>>,
    network: Network,
    node: Node,
    clients: Peer<Client>,
    receivers: Peer<Receiver>,
    attacker: Attacker,
    hops: Vec<Rc<RefCell<Hop>>>,
    ledger: Ledger,
    agenda: BTreeMap<(Instant, u64), Happening>,
    agenda_count: u64,
    phase: Phase,
    mail_next: u32,
    injected: BTreeMap<&'static str, u64>,
    attempts: BTreeMap<(MessageId, String), u32>,
    /// Whose messages the queue holds, as it was last seen or told.
    ids: BTreeMap<MessageId, u32>,
    listing: Option<tokio::sync::oneshot::Receiver<Vec<Answer>>>,
    starts_fail_since: Option<Instant>,
    /// Power that will be lost when a log comes round, or then at the latest; and for how long.
    ambushes: Vec<(Instant, Duration)>,
    last_sessions: u32,
    faults_left: usize,
    steps: u64,
}

fn address(last: u8) -> IpAddr {
    IpAddr::from([10, 0, 0, last])
}

fn address_v6(last: u16) -> IpAddr {
    IpAddr::from([0xfd00, 0, 0, 0, 0, 0, 0, last])
}

fn hop_address(place: usize) -> SocketAddr {
    let ip = if place == 3 { address_v6(14) } else { address(11 + place as u8) };
    SocketAddr::new(ip, if place == LMTP { 24 } else { 25 })
}

/// The configuration of the appliance, as an operator would write it.
fn configuration(plan: &Plan) -> config::Config {
    let mut text = String::from(
        "transport = \"af_xdp\"\nhostname = \"relay.test\"\n[workers]\ncores = [0]\n[[port]]\ndevice = \"sim0\"\n\
         [[address]]\nip = \"10.0.0.1/24\"\n[[listener]]\naddress = \"10.0.0.1:25\"\nrole = \"relay\"\n\
         [[address]]\nip = \"fd00::1/64\"\n[[listener]]\naddress = \"[fd00::1]:25\"\nrole = \"relay\"\n\
         [relay]\nnetworks = [\"10.0.0.0/24\", \"fd00::/64\"]\n",
    );
    for domain in 0..super::mail::DOMAINS {
        let scheme = if domain == LMTP { "lmtp" } else { "smtp" };
        let mut to = format!("\"{scheme}://{}\"", hop_address(domain));
        if domain == 1 {
            to += &format!(", \"smtp://{}?preference=20\"", hop_address(5));
        }
        text += &format!("[[route]]\ndomain = \"d{domain}.test\"\nto = [{to}]\n");
    }
    text += &format!("[[route]]\ndomain = \"{}\"\nto = [\"smtp://{}\"]\n", super::mail::ORIGIN, hop_address(HOME));
    if plan.checks {
        text += "[[domain]]\nname = \"d0.test\"\ncheck_recipients = true\n";
    }
    let mut config = config::parse(&text, "simulated").expect("the simulator writes what the appliance reads");
    // Smaller than a file may say, so that segments go round and limits are met.
    config.spool.segment_size.0 = plan.segment_size;
    config.spool.size_max.0 = plan.segment_size * plan.segments;
    config.spool.batch_size.0 = plan.batch_size;
    config.spool.free_min.0 = 0;
    config.limits.message_size.0 = 1 << 20;
    config.limits.connections = plan.connections;
    config.limits.half_open = plan.half_open;
    config.retry.first.0 = plan.retry_first;
    config.retry.max.0 = plan.retry_max;
    config.retry.age_max.0 = plan.age_max;
    config
}

pub(super) fn outside(
    network: &Network,
    number: u8,
    addresses: Vec<IpAddr>,
    listeners: Vec<SocketAddr>,
    seed: u64,
) -> Stack<SimPort> {
    let own = |ip: IpAddr| OwnAddress { ip, prefix: if ip.is_ipv4() { 24 } else { 64 }, gateway: None };
    let settings = tcp::Settings {
        addresses: addresses.into_iter().map(own).collect(),
        listeners,
        chosen: None,
        connections_max: 10_000,
        connections_per_client_max: 10_000,
        half_open_max: 1000,
        receive_buffer: 32 * 1024,
        send_buffer: 32 * 1024,
        buffer_memory: 64 << 20,
        worker: 0,
        workers: 1,
        queues: 1,
        isn_key: [number; 16],
        seed,
    };
    Stack::new(network.attach([2, 0, 0, 0, 0, number], Link::default()), settings, Instant::ZERO)
}

impl World {
    pub(super) fn new(seed: u64, echo: bool) -> World {
        let mut random = StdRng::seed_from_u64(seed);
        let plan = Plan::new(seed, &mut random);
        let time = Rc::new(Cell::new(Instant::ZERO));
        let network = Network::new(random.random());
        let config = Arc::new(configuration(&plan));
        let policy = Policy::with_seed(&config, random.random()).expect("there is no map to be read");
        let appliance = Appliance::new(config, Arc::new(policy)).expect("the routes make sense");
        let clock = BoxClock::new(Rc::clone(&time));
        let mut node = Node::new(appliance, clock, plan.disk_latency.clone(), plan.steering);
        node.queues = plan.queues;
        let clients = outside(&network, 2, vec![address(2), address(3), address_v6(2)], Vec::new(), random.random());
        let places: Vec<SocketAddr> = (0..HOPS).map(hop_address).collect();
        let addresses = places.iter().map(SocketAddr::ip).collect();
        let receivers = outside(&network, 3, addresses, places, random.random());
        let attacker = Attacker::new(network.clone(), HARDWARE_ADDRESS, Ipv4Addr::new(10, 0, 0, 1));
        let hop = |place| Rc::new(RefCell::new(Hop::new(place == LMTP)));
        let retry = Retry { first: plan.retry_first, max: plan.retry_max };
        let ledger = Ledger::new(plan.promise, plan.age_max, retry, Trace::new(echo));
        let mut world = World {
            seed,
            random,
            time,
            network,
            node,
            clients: Peer::new(clients),
            receivers: Peer::new(receivers),
            attacker,
            hops: (0..HOPS).map(hop).collect(),
            ledger,
            agenda: BTreeMap::new(),
            agenda_count: 0,
            phase: Phase::Load,
            mail_next: 1,
            injected: BTreeMap::new(),
            attempts: BTreeMap::new(),
            ids: BTreeMap::new(),
            listing: None,
            starts_fail_since: None,
            ambushes: Vec::new(),
            last_sessions: LAST_SESSIONS,
            faults_left: plan.faults.len(),
            steps: 0,
            plan,
        };
        world.ledger.trace.note(Instant::ZERO, format_args!("{:?}", world.plan));
        world.schedule();
        world
    }

    fn schedule(&mut self) {
        self.at(Duration::ZERO, Happening::Start);
        for _ in 0..self.plan.sessions {
            let window = if self.plan.burst { BURST_DURATION } else { self.plan.load_duration };
            let at = window.mul_f64(self.random.random::<f64>());
            self.at(at, Happening::Session);
        }
        for (at, fault) in self.plan.faults.clone() {
            self.at(at, Happening::Fault(fault));
        }
        self.at(LOOK_INTERVAL, Happening::Look);
        self.at(self.plan.load_duration, Happening::Heal);
    }

    fn at(&mut self, delay: Duration, happening: Happening) {
        self.agenda_count += 1;
        self.agenda.insert((self.time.get() + delay, self.agenda_count), happening);
    }

    /// Lives until everything is accounted for, or something is not.
    pub(super) fn run(mut self) -> Outcome {
        while self.phase != Phase::Over && self.ledger.violation().is_none() {
            self.steps += 1;
            let now = self.time.get();
            if self.steps > STEPS_MAX {
                self.ledger.violate(now, format_args!("no progress: the world turns in a circle"));
            }
            self.turn(now);
            let due = [
                self.agenda.first_key_value().map_or(Instant::FAR, |((at, _), _)| *at),
                self.network.next_arrival().unwrap_or(Instant::FAR),
                self.node.next(),
                self.clients.next(now),
                self.receivers.next(now),
                self.attacker.next(),
            ];
            let next = due.into_iter().min().unwrap_or(Instant::FAR);
            // Time moves in any case, so that a deadline that stays at now shows as slowness and not as a hang.
            let next = next.max(now + Duration::from_nanos(100));
            self.time.set(next);
            self.network.advance(next);
        }
        self.outcome()
    }

    fn turn(&mut self, now: Instant) {
        while let Some(entry) = self.agenda.first_entry() {
            if entry.key().0 > now {
                break;
            }
            let happening = entry.remove();
            self.happen(now, happening);
        }
        if self.node.next() <= now {
            self.node.step();
            self.listen(now);
            if let Some(Gauge { name, count, limit }) = self.node.exceeded {
                self.ledger.violate(now, format_args!("limit: {count} {name} where {limit} are allowed"));
            }
        }
        self.spring_ambush(now);
        self.attacker.step(now, &mut self.random);
        let mut scene = Scene { now, random: &mut self.random, ledger: &mut self.ledger };
        if self.clients.next(now) <= now {
            self.clients.step(&mut scene, |_, _| unreachable!("clients do not listen"));
        }
        if self.receivers.next(now) <= now {
            let hops = &self.hops;
            self.receivers.step(&mut scene, |place, _| Receiver::new(Rc::clone(&hops[place])));
        }
    }

    fn happen(&mut self, now: Instant, happening: Happening) {
        match happening {
            Happening::Session => self.begin_session(now, false),
            Happening::LastSession => {
                self.last_sessions -= 1;
                self.begin_session(now, true);
            }
            Happening::Fault(fault) => self.break_something(now, fault),
            Happening::Mend(fault) => self.mend(now, fault),
            Happening::Start => self.start(now),
            Happening::Look => self.look(now),
            Happening::Heal => self.heal(now),
        }
    }

    fn start(&mut self, now: Instant) {
        if self.node.is_stopping() {
            self.start_later();
        }
        if self.node.is_running() || self.phase == Phase::Over {
            return;
        }
        let regroups = self.plan.regroups && self.random.random_bool(0.5);
        let workers = if regroups { self.random.random_range(1..=WORKERS_MAX as u16) } else { self.plan.workers };
        let started = self.node.start(&self.network, workers, &mut self.random, &mut self.ledger);
        match started {
            Ok(()) => {
                self.starts_fail_since = None;
                self.ledger.restarted(now);
                self.ledger.trace.note(now, format_args!("the appliance starts with {workers} workers"));
            }
            Err(Refused { why: error, size_max }) => {
                size_max.into_iter().for_each(|size_max| self.node.set_size_max(size_max));
                self.ledger.trace.note(now, format_args!("the appliance does not start: {error}"));
                let since = *self.starts_fail_since.get_or_insert(now);
                if now.since(since) > STARTS_FAIL_MAX {
                    self.ledger.violate(now, format_args!("the appliance does not start: {error}"));
                }
                self.start_later();
            }
        }
    }

    fn start_later(&mut self) {
        if !self.agenda.values().any(|happening| matches!(happening, Happening::Start)) {
            self.at(REPAIR_DURATION, Happening::Start);
        }
    }

    fn begin_session(&mut self, now: Instant, polite: bool) {
        let styles = [Style::Lockstep, Style::Pipelined, Style::Chunked];
        let style = match self.random.random_range(0..20) {
            0 if !polite => Style::Babbling,
            1 if !polite => Style::Smuggling(self.random.random_range(0..100)),
            other => styles[other % styles.len()],
        };
        let count = self.random.random_range(1..=5);
        let mails = (0..count).map(|_| {
            self.mail_next += 1;
            Mail::new(self.seed, self.mail_next)
        });
        let mut client = Client::new(style, mails.collect());
        if !polite {
            client = match self.random.random_range(0..10) {
                0 => client.aborting(self.random.random_range(1..4000)),
                1 => client.rude(),
                2 => {
                    let pause = Duration::from_millis(self.random.random_range(1..3000));
                    client.slow(self.random.random_range(1..2000), pause)
                }
                3 if !matches!(style, Style::Babbling) => client.confused(self.random.random_range(0.1..0.9)),
                _ => client,
            };
        }
        let (from, to) = match self.random.random_range(0..3) {
            0 => (address(2), address(1)),
            1 => (address(3), address(1)),
            _ => (address_v6(2), address_v6(1)),
        };
        self.ledger.trace.note(now, format_args!("a client begins, {style:?}"));
        let mut scene = Scene { now, random: &mut self.random, ledger: &mut self.ledger };
        self.clients.connect(client, from, SocketAddr::new(to, 25), &mut scene);
    }

    /// Takes in what the appliance tells.
    fn listen(&mut self, now: Instant) {
        let (events, ended) = self.node.events(&mut self.random);
        for event in events {
            self.ledger.trace.note(now, format_args!("{}", event.line(self.node.clock.wall())));
            self.hear(now, event);
        }
        if ended {
            self.ledger.trace.note(now, format_args!("the appliance has ended"));
            if self.phase == Phase::Stopping {
                self.phase = Phase::Over;
            }
        }
        let Some(listing) = &mut self.listing else { return };
        let Ok(answers) = listing.try_recv() else { return };
        self.listing = None;
        if answers.iter().any(|answer| matches!(answer, Answer::Error { .. })) {
            // It is busy stopping, or starting, or stalled; it is asked again.
            return;
        }
        let entries: Vec<QueueEntry> = (answers.into_iter())
            .filter_map(|answer| if let Answer::Entry { entry } = answer { Some(*entry) } else { None })
            .collect();
        self.looked(now, &entries);
    }

    fn hear(&mut self, now: Instant, event: Event) {
        match event {
            Event::StorageFailed { .. } => {
                self.ledger.storage_failed(now);
                self.at(REPAIR_DURATION, Happening::Mend(Fault::WriteFails));
            }
            Event::Accepted { id, sender, .. } => {
                self.ids.extend(number_of_sender(&sender).map(|number| (id, number)));
            }
            Event::Held { id } | Event::Released { id } => {
                if let Some(number) = self.ids.get(&id) {
                    self.ledger.held(now, *number, matches!(event, Event::Held { .. }));
                }
            }
            Event::Deleted { id } => {
                if let Some(number) = self.ids.get(&id) {
                    self.ledger.deleted(*number);
                }
            }
            Event::Expired { recipient, .. } | Event::Bounced { recipient, .. } => {
                if let Some(number) = number_of_sender(&recipient) {
                    self.ledger.notice_given_up(now, number);
                }
            }
            Event::Damaged { id } => match self.ids.get(&id).copied() {
                Some(number) => self.ledger.damaged(now, number),
                None => self.ledger.damage(now, format_args!("{id}")),
            },
            Event::WorkerFailed { text, .. } => {
                self.ledger.violate(now, format_args!("a worker failed: {text}"));
            }
            Event::Deferred { id, recipient, attempts, next_attempt_at, .. } => {
                let wall = self.node.clock.wall();
                let delay = next_attempt_at.since(wall);
                if let Some(number) = number_of_recipient(&recipient) {
                    self.ledger.deferred(now, number, &recipient, attempts, delay);
                }
                let before = self.attempts.insert((id, recipient.clone()), attempts).unwrap_or(0);
                if attempts > before + 1 {
                    self.ledger.violate(now, format_args!("retry: {id} to {recipient} jumps to attempt {attempts}"));
                }
            }
            _ => {}
        }
    }

    fn break_something(&mut self, now: Instant, fault: Fault) {
        let running = self.node.is_running();
        self.ledger.trace.note(now, format_args!("{fault:?}"));
        let applied = match fault {
            Fault::Cable(link, duration) => {
                self.node.set_link(&self.network, link);
                self.at(duration, Happening::Mend(fault));
                true
            }
            Fault::Cut(side, way, duration) => {
                self.cut(side, way);
                self.at(duration, Happening::Mend(fault));
                running
            }
            Fault::DiskStalls(duration) => {
                self.ledger.stalled(now, now + duration);
                self.node.disks.values().for_each(|disk| disk.stall(now + duration));
                true
            }
            Fault::WriteFails => {
                self.node.disks.values().for_each(|disk| disk.fail_writes(Some(libc::EIO)));
                self.at(REPAIR_DURATION, Happening::Mend(fault));
                true
            }
            Fault::ReadsFail(duration) => {
                self.node.disks.values().for_each(|disk| disk.fail_reads(Some(libc::EIO)));
                self.at(duration, Happening::Mend(fault));
                true
            }
            Fault::DiskFull(duration) => {
                self.node.disks.values().for_each(|disk| disk.set_free_bytes(0));
                self.at(duration, Happening::Mend(fault));
                true
            }
            Fault::SegmentsFail(errno, duration) => {
                self.node.disks.values().for_each(|disk| disk.fail_prepares(Some(errno)));
                self.at(duration, Happening::Mend(fault));
                true
            }
            Fault::FramesShort(share, duration) => {
                self.node.set_shortage(&self.network, share);
                self.at(duration, Happening::Mend(fault));
                running
            }
            Fault::Attack(attack, duration) => {
                self.attacker.begin(attack, now, now + duration);
                running
            }
            Fault::Rot => self.rot(),
            Fault::DiskLies(lie) => {
                self.node.disks.values().for_each(|disk| disk.lie(lie));
                true
            }
            Fault::ClockJumps(seconds) => {
                self.node.clock.jump(seconds);
                self.ledger.clock_jumped = true;
                self.ledger.forget_dues();
                true
            }
            Fault::Pause(duration) => {
                self.ledger.stalled(now, now + duration);
                self.node.pause(now + duration);
                running
            }
            Fault::Kill(duration) | Fault::PowerLoss(duration) => {
                let death = if matches!(fault, Fault::Kill(_)) { Death::Kill } else { Death::PowerLoss };
                self.ledger.upset(now);
                for event in self.node.die(&self.network, death, &mut self.random) {
                    self.hear(now, event);
                }
                // What it told last may not be durable.
                self.ledger.forget_dues();
                self.listing = None;
                self.at(duration, Happening::Start);
                running
            }
            Fault::PowerLossAtReuse(duration) => {
                return self.ambushes.push((now + AMBUSH_PATIENCE, duration));
            }
            Fault::Stop(duration) => {
                self.node.stop(FINISH_WITHIN);
                self.at(FINISH_WITHIN + duration, Happening::Start);
                running
            }
            Fault::Manner(hop, manner, duration) => {
                self.hops[hop].borrow_mut().manner = manner;
                self.at(duration, Happening::Mend(fault));
                true
            }
            Fault::Hold | Fault::Release | Fault::Delete | Fault::Retry => self.operate(fault),
        };
        if applied {
            self.faults_left -= 1;
            *self.injected.entry(fault.name()).or_default() += 1;
        } else {
            // What needs a running process waits for one.
            self.at(POSTPONEMENT, Happening::Fault(fault));
        }
    }

    /// Power is lost where its loss would show best what a log depends on.
    fn spring_ambush(&mut self, now: Instant) {
        let Some(&(until, duration)) = self.ambushes.first() else { return };
        let comes_round = self.node.is_reusing();
        if comes_round || now >= until {
            self.ambushes.remove(0);
            if comes_round {
                *self.injected.entry(Fault::PowerLossAtReuse(duration).name()).or_default() += 1;
            }
            self.break_something(now, Fault::PowerLoss(duration));
        }
    }

    fn mend(&mut self, now: Instant, fault: Fault) {
        self.ledger.trace.note(now, format_args!("over: {fault:?}"));
        match fault {
            Fault::Cable(..) => self.node.set_link(&self.network, Link::default()),
            Fault::Cut(..) => self.network.heal_all(),
            Fault::WriteFails => {
                self.node.disks.values().for_each(|disk| disk.fail_writes(None));
                // A log that failed stays closed: the operator starts the process anew.
                self.node.stop(FINISH_WITHIN);
                self.at(FINISH_WITHIN + REPAIR_DURATION, Happening::Start);
            }
            Fault::ReadsFail(_) => self.node.disks.values().for_each(|disk| disk.fail_reads(None)),
            Fault::DiskFull(_) => self.node.disks.values().for_each(|disk| disk.set_free_bytes(1 << 40)),
            Fault::SegmentsFail(..) => self.node.disks.values().for_each(|disk| disk.fail_prepares(None)),
            Fault::FramesShort(..) => self.node.set_shortage(&self.network, 0.0),
            Fault::Manner(hop, ..) => self.hops[hop].borrow_mut().manner = Manner::default(),
            _ => {}
        }
    }

    fn cut(&mut self, side: Side, way: Way) {
        let Some(node) = self.node.host() else { return };
        let other: HostId = if side == Side::Clients { self.clients.host() } else { self.receivers.host() };
        if way != Way::FromAppliance {
            self.network.cut(other, node);
        }
        if way != Way::ToAppliance {
            self.network.cut(node, other);
        }
    }

    fn rot(&mut self) -> bool {
        let mut places = Vec::new();
        for (number, disk) in &self.node.disks {
            places.extend(disk.segment_numbers().into_iter().map(|segment| (*number, segment)));
        }
        if places.is_empty() {
            return false;
        }
        let (number, segment) = places[self.random.random_range(0..places.len())];
        let offset = self.random.random_range(0..self.plan.segment_size as usize);
        self.node.disks[&number].damage(segment, offset);
        true
    }

    fn operate(&mut self, fault: Fault) -> bool {
        let domain = format!("d{}.test", self.random.random_range(0..super::mail::DOMAINS));
        let selection = QueueSelection::Filter(QueueFilter { domain: Some(domain), ..QueueFilter::default() });
        let command = match fault {
            Fault::Hold => QueueCommand::Hold { selection },
            Fault::Release => QueueCommand::Release { selection },
            Fault::Delete => {
                let known: Vec<MessageId> = self.ids.keys().copied().filter(|_| self.random.random_bool(0.2)).collect();
                QueueCommand::Delete { selection: QueueSelection::Ids(known) }
            }
            _ => {
                self.ledger.forget_dues();
                QueueCommand::Retry { selection }
            }
        };
        self.node.ask(Request::Queue(command)).is_some()
    }

    /// Asks for the queue.
    fn look(&mut self, now: Instant) {
        let list = QueueCommand::List { filter: QueueFilter::default(), limit: 1000, after: None };
        if self.listing.is_none() {
            self.listing = self.node.ask(Request::Queue(list));
        }
        if !matches!(self.phase, Phase::Over | Phase::Stopping) {
            self.at(LOOK_INTERVAL, Happening::Look);
        }
        if let Phase::Healed { until } = self.phase
            && now > until
        {
            self.ledger.violate(now, format_args!("starved: a healed world does not empty its queue"));
        }
    }

    fn looked(&mut self, now: Instant, entries: &[QueueEntry]) {
        self.ledger.trace.note(now, format_args!("{} messages are queued", entries.len()));
        let slack = self.plan.retry_max * 2 + Duration::from_secs(1800) + self.plan.load_duration;
        let mut waiting = 0;
        for entry in entries {
            let damaged = entry.state == MessageState::Damaged;
            waiting += u32::from(!damaged);
            if let (true, Some(number)) = (damaged, number_of_sender(&entry.sender)) {
                self.ledger.damaged(now, number);
                continue;
            }
            if let Some(number) = number_of_sender(&entry.sender) {
                self.ids.insert(entry.id, number);
                self.ledger.queued(now, number, slack);
            }
        }
        if !matches!(self.phase, Phase::Healed { .. }) {
            return;
        }
        if waiting > 0 {
            let selection = QueueSelection::Filter(QueueFilter::default());
            self.node.ask(Request::Queue(QueueCommand::Release { selection }));
        } else if self.last_sessions == 0 && self.clients.count() == 0 {
            self.ledger.settle(now, &|_| false);
            self.phase = Phase::Stopping;
            self.node.stop(FINISH_WITHIN);
        }
    }

    fn heal(&mut self, now: Instant) {
        if self.faults_left > 0 {
            // A world that was spared what was planned for it proves nothing.
            return self.at(POSTPONEMENT, Happening::Heal);
        }
        self.ledger.trace.note(now, format_args!("everything is put right"));
        self.network.heal_all();
        self.node.set_link(&self.network, Link::default());
        for disk in self.node.disks.values() {
            disk.fail_reads(None);
            disk.set_free_bytes(1 << 40);
            disk.fail_prepares(None);
        }
        self.node.set_shortage(&self.network, 0.0);
        self.attacker.end();
        for hop in &self.hops {
            hop.borrow_mut().manner = Manner::default();
        }
        if !self.plan.heals_in_place {
            self.mend(now, Fault::WriteFails);
        }
        let patience = self.plan.retry_max * 3 + Duration::from_secs(3 * 3600);
        self.phase = Phase::Healed { until: now + patience };
        for place in 0..LAST_SESSIONS {
            self.at(FINISH_WITHIN + REPAIR_DURATION * (3 + place), Happening::LastSession);
        }
    }

    fn outcome(mut self) -> Outcome {
        let now = self.time.get();
        let sums = self.ledger.sums();
        if self.ledger.violation().is_none()
            && sums.acknowledged < (sums.begun / ACKNOWLEDGED_MIN).max(LAST_SESSIONS.into())
        {
            let (acknowledged, begun) = (sums.acknowledged, sums.begun);
            self.ledger.violate(now, format_args!("too little: {acknowledged} of {begun} messages were acknowledged"));
        }
        if self.ledger.violation().is_some() {
            let state = self.node.describe();
            self.ledger.trace.note(now, format_args!("{state}"));
        }
        let failure = self.ledger.violation().map(str::to_owned);
        let digest = self.ledger.trace.digest() ^ self.network.digest();
        let lines = self.ledger.trace.lines();
        Outcome {
            seed: self.seed,
            simulated: now.since(Instant::ZERO),
            steps: self.steps,
            digest,
            sums,
            injected: self.injected,
            failure: failure.map(|what| Failure { what, trace: lines }),
        }
    }
}
