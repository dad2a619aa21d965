//! The wheel: who is next, what happens then, and until when.

mod faults;
mod pair;
#[cfg(test)]
mod watched;
#[cfg(test)]
pub(super) use watched::Watched;

use super::attacker::Attacker;
use super::client::{Client, Style};
use super::clock::BoxClock;
use super::fault::Fault;
use super::ledger::{Ledger, Retry};
use super::mail::{Mail, number_of_recipient, number_of_sender};
use super::names::{NameAnswer, Names};
use super::node::{Death, HARDWARE_ADDRESS, Node, Refused};
use super::peer::{Peer, Scene};
use super::plan::{BURST_DURATION, HOPS, Plan, WORKERS_MAX, WORKERS_OF_PAIRS_MAX};
use super::proof::{self, Proof, Shown};
use super::receiver::{Hop, Receiver};
use super::secure::{self, Layer, Secure};
use super::setup::{address, address_v6, configuration, hop_address, outside};
use super::signing::{self, Signer};
use super::store::Store;
use super::trace::Trace;
use super::{Failure, Kind, Outcome, Worlds, manual};
use crate::appliance::Appliance;
use crate::control::{
    Answer, MessageState, OrderCommand, QueueCommand, QueueEntry, QueueFilter, QueueSelection, Request,
};
use crate::delivery::Selector;
use crate::dkim::verify::Published;
use crate::env::Instant;
use crate::event::{Attempt, Event};
use crate::limits::{Gauge, IN_DOUBT_DELAY};
use crate::mirror::arbiter::{Cause, Command, Stage};
use crate::mirror::identity_of_log;
use crate::mirror::register::{Node as Identity, Register};
use crate::policy::Policy;
use crate::port::sim::Network;
use crate::smtp::client;
use crate::spool::MessageId;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};
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

/// For how long no start may succeed.
const STARTS_FAIL_MAX: Duration = Duration::from_secs(2400);

/// How long an operator waits before a command is tried again.
const SETUP_PAUSE: Duration = Duration::from_millis(50);

/// Steps of a run; one that needs more turns in a circle.
const STEPS_MAX: u64 = 20_000_000;

/// What is to happen at some time.
#[derive(Clone, Debug)]
pub(super) enum Happening {
    Session,
    /// One of the sessions of a healed world.
    LastSession,
    /// To one of the boxes.
    Fault(Fault, usize),
    Mend(Fault, usize),
    Start(usize),
    Look,
    /// Everything that is wrong is put right.
    Heal,
    /// The operator sets an identity up.
    Create(Identity),
    /// The operator of a pair without a store looks after it.
    Watch,
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
    pub(super) random: StdRng,
    time: Rc<Cell<Instant>>,
    network: Network,
    /// The box, or the two of a pair.
    pub(super) nodes: Vec<Node>,
    store: Store,
    names: Names,
    pub(super) operator: manual::Operator,
    clients: Peer<Client>,
    receivers: Peer<Receiver>,
    attacker: Attacker,
    hops: Vec<Rc<RefCell<Hop>>>,
    /// Clients and next hops that speak TLS, if there are any.
    secure: Option<Secure>,
    pub(super) ledger: Ledger,
    agenda: BTreeMap<(Instant, u64), Happening>,
    agenda_count: u64,
    phase: Phase,
    mail_next: u32,
    pub(super) injected: BTreeMap<&'static str, u64>,
    attempts: BTreeMap<(MessageId, String), u32>,
    /// Whose messages the queue holds, as it was last seen or told.
    ids: BTreeMap<MessageId, u32>,
    /// What each box was asked, and whether it was seen to hold nothing since everything was put right.
    listings: Vec<Listing>,
    starts_fail_since: Vec<Option<Instant>>,
    ambushes: Vec<Ambush>,
    last_sessions: u32,
    faults_left: usize,
    /// Who has led in each epoch: which process of which box.
    leaders: BTreeMap<(Identity, u64), (usize, u64)>,
    /// Neither box of a pair reaches anybody from then until then.
    isolated: Option<(Instant, Instant)>,
    met: BTreeSet<(Stage, Cause)>,
    /// Which box the store names as the owner of each identity, and since when.
    owners: [(Option<usize>, Instant); 2],
    #[cfg(test)]
    watched: watched::Watched,
    steps: u64,
}

/// Power that will be lost at a bad moment, or then at the latest.
struct Ambush {
    fault: Fault,
    until: Instant,
    place: usize,
    /// How many times next hops had taken a message by then.
    deliveries: u64,
}

/// What a box was asked of its queue.
#[derive(Default)]
struct Listing {
    asked: Option<tokio::sync::oneshot::Receiver<Vec<Answer>>>,
    is_empty: bool,
}

impl World {
    /// The world of a seed.
    pub(super) fn new(seed: u64, Worlds { kind, tls, dkim }: Worlds, echo: bool) -> World {
        let mut random = StdRng::seed_from_u64(seed);
        let mut plan = match kind {
            Kind::Single => Plan::new(seed, &mut random),
            Kind::Pair | Kind::PairByHand => Plan::of_pair(seed, kind == Kind::PairByHand, &mut random),
        };
        if tls {
            proof::add_proof(&mut plan, seed);
        }
        let time = Rc::new(Cell::new(Instant::ZERO));
        let network = Network::new(random.random());
        let policy_seed = random.random();
        let mut nodes = Vec::new();
        for identity in if plan.pair { &Identity::BOTH[..] } else { &[Identity::A] } {
            let config = Arc::new(configuration(&plan, *identity));
            let policy = Policy::with_seed(&config, policy_seed).expect("there is no map to be read");
            let appliance = Appliance::new(config, Arc::new(policy)).expect("the routes make sense");
            let clock = BoxClock::new(Rc::clone(&time));
            let mut node = Node::new(appliance, clock, plan.disk_latency.clone(), plan.steering);
            node.queues = plan.queues;
            node.standings = plan.manual.then(Default::default);
            node.hardware_address[5] += 100 * *identity as u8;
            nodes.push(node);
        }
        let clients = outside(&network, 2, vec![address(2), address(3), address_v6(2)], Vec::new(), random.random());
        let places: Vec<SocketAddr> = (0..HOPS).map(hop_address).collect();
        let addresses = places.iter().map(SocketAddr::ip).collect();
        let receivers = outside(&network, 3, addresses, places, random.random());
        let attacker = Attacker::new(network.clone(), HARDWARE_ADDRESS, Ipv4Addr::new(10, 0, 0, 1), plan.pair);
        let knows = plan.pools && !plan.pair;
        // Every other next hop speaks of priorities, too.
        let priorities = |place: usize| plan.priorities && place.is_multiple_of(2);
        let hop = |place| {
            let mut hop = Hop::new(place, priorities(place));
            hop.knows_pools = knows;
            hop.requiretls = plan.requiretls.is_some_and(|all| all || place.is_multiple_of(2));
            Rc::new(RefCell::new(hop))
        };
        let retry = Retry { first: plan.retry_first, max: plan.retry_max };
        let ledger = Ledger::new(plan.promise, plan.pair, plan.age_max, retry, Trace::new(echo));
        let mut world = World {
            seed,
            random,
            time,
            network,
            listings: nodes.iter().map(|_| Listing::default()).collect(),
            starts_fail_since: vec![None; nodes.len()],
            nodes,
            store: Store::new(),
            names: Names::default(),
            operator: manual::Operator::default(),
            clients: Peer::new(clients),
            receivers: Peer::new(receivers),
            attacker,
            hops: (0..HOPS).map(hop).collect(),
            secure: None,
            ledger,
            agenda: BTreeMap::new(),
            agenda_count: 0,
            phase: Phase::Load,
            mail_next: 1,
            injected: BTreeMap::new(),
            attempts: BTreeMap::new(),
            ids: BTreeMap::new(),
            ambushes: Vec::new(),
            last_sessions: LAST_SESSIONS,
            faults_left: plan.faults.len() + plan.aimed.len(),
            leaders: BTreeMap::new(),
            isolated: None,
            met: BTreeSet::new(),
            owners: [(None, Instant::ZERO); 2],
            #[cfg(test)]
            watched: watched::Watched::default(),
            steps: 0,
            plan,
        };
        world.ledger.trace.note(Instant::ZERO, format_args!("{:?}", world.plan));
        if world.plan.pair {
            world.network.tap();
        }
        if tls {
            world.secure();
        }
        if dkim {
            world.sign();
        }
        world.schedule();
        world
    }

    fn schedule(&mut self) {
        for place in 0..self.nodes.len() {
            self.at(Duration::ZERO, Happening::Start(place));
        }
        for _ in 0..self.plan.sessions {
            let window = if self.plan.burst { BURST_DURATION } else { self.plan.load_duration };
            let at = window.mul_f64(self.random.random::<f64>());
            self.at(at, Happening::Session);
        }
        for (at, fault) in self.plan.faults.clone() {
            let place = self.plan.victim.unwrap_or_else(|| self.victim());
            self.at(at, Happening::Fault(fault, place));
        }
        for (at, fault, place) in self.plan.aimed.clone() {
            self.at(at, Happening::Fault(fault, place));
        }
        if self.plan.pair {
            self.at(SETUP_PAUSE, Happening::Create(Identity::A));
            self.at(SETUP_PAUSE, Happening::Create(Identity::B));
        }
        if self.plan.manual {
            self.at(manual::WATCH_INTERVAL, Happening::Watch);
        }
        self.at(self.look_interval(), Happening::Look);
        self.at(self.plan.load_duration, Happening::Heal);
    }

    /// The life of a pair is told in seconds.
    fn look_interval(&self) -> Duration {
        if self.plan.pair { LOOK_INTERVAL / 15 } else { LOOK_INTERVAL }
    }

    /// One of the boxes.
    fn victim(&mut self) -> usize {
        if self.nodes.len() > 1 { self.random.random_range(0..self.nodes.len()) } else { 0 }
    }

    pub(super) fn at(&mut self, delay: Duration, happening: Happening) {
        self.agenda_count += 1;
        self.agenda.insert((self.time.get() + delay, self.agenda_count), happening);
    }

    /// Lives until everything is accounted for, or something is not.
    pub(super) fn run(mut self) -> Outcome {
        while self.phase != Phase::Over && self.ledger.violation().is_none() {
            self.step();
        }
        self.outcome()
    }

    /// Lives through one turn, and on to where something is due.
    fn step(&mut self) {
        self.steps += 1;
        let now = self.time.get();
        if self.steps > STEPS_MAX {
            self.ledger.violate(now, format_args!("no progress: the world turns in a circle"));
        }
        self.turn(now);
        let due = [
            self.agenda.first_key_value().map_or(Instant::FAR, |((at, _), _)| *at),
            self.network.next_arrival().unwrap_or(Instant::FAR),
            self.nodes.iter().map(Node::next).min().unwrap_or(Instant::FAR),
            self.store.next(),
            self.names.next(),
            self.clients.next(now),
            self.receivers.next(now),
            self.attacker.next(),
        ];
        let next = due.into_iter().min().unwrap_or(Instant::FAR);
        // Time moves in any case, so that a deadline that stays at now shows as slowness and not as a hang.
        let next = next.max(now + Duration::from_nanos(100));
        self.time.set(next);
        secure::set_time(next.since(Instant::ZERO));
        self.network.advance(next);
    }

    /// Lets clients, boxes and next hops speak TLS, a share of them.
    fn secure(&mut self) {
        secure::begin(self.seed);
        for (place, node) in self.nodes.iter_mut().enumerate() {
            node.client_tls = Some(secure::client);
            node.offer_tls(secure::server(place as u8));
        }
        self.secure = Some(Secure::new(self.seed));
        self.ledger.proof = Some(Proof::new(&self.plan));
    }

    /// Has all mail signed.
    fn sign(&mut self) {
        for (place, node) in self.nodes.iter_mut().enumerate() {
            node.sign(Signer::new(self.seed ^ place as u64, self.plan.load_duration));
        }
        self.ledger.published = Some(Published::of(&signing::keyring(true)));
    }

    fn turn(&mut self, now: Instant) {
        while let Some(entry) = self.agenda.first_entry() {
            if entry.key().0 > now {
                break;
            }
            let happening = entry.remove();
            self.happen(now, happening);
        }
        for place in 0..self.nodes.len() {
            if self.nodes[place].next() <= now {
                self.nodes[place].step();
                self.listen(now, place);
                self.met.extend(self.nodes[place].met());
                if let Some(Gauge { name, count, limit }) = self.nodes[place].exceeded {
                    self.ledger.violate(now, format_args!("limit: {count} {name} where {limit} are allowed"));
                }
            }
            for question in self.nodes[place].questions() {
                self.store.ask(now, place, question, &mut self.random);
            }
        }
        if self.plan.by_mx {
            self.look_up(now);
        }
        while let Some((place, life, identity, event)) = self.store.answer(now) {
            self.ledger.trace.note(now, format_args!("box {place}, identity {identity}: {event:?}"));
            self.nodes[place].answer(life, identity, event);
        }
        let frames = self.network.take_tapped();
        self.check_addresses(now, &frames);
        self.attacker.see(frames);
        self.spring_ambush(now);
        self.attacker.step(now, &mut self.random);
        let mut scene = Scene { now, random: &mut self.random, ledger: &mut self.ledger };
        if self.clients.next(now) <= now {
            self.clients.step(&mut scene, |_, _| unreachable!("clients do not listen"));
        }
        if self.receivers.next(now) <= now {
            let hops = &self.hops;
            let (healed, secure) = (self.phase != Phase::Load, &mut self.secure);
            self.receivers.step(&mut scene, |place, scene| {
                let shown = scene.ledger.proof.as_ref().map_or(Shown::Nothing, |proof| proof.shown(place));
                let layer = secure.as_mut().map_or_else(Layer::clear, |secure| secure.of_hop(place, shown, healed));
                (Receiver::new(Rc::clone(&hops[place])), layer)
            });
        }
    }

    /// What the boxes ask about names, and what they hear.
    fn look_up(&mut self, now: Instant) {
        while let Some(NameAnswer { place, life, question, mut reply, no_mail_until }) = self.names.answer(now) {
            if let Some(proof) = &mut self.ledger.proof {
                proof.answer(now, (place, life), &question, &mut reply);
            }
            if let Some(until) = no_mail_until {
                self.ledger.no_mail(now, &question.name, until);
            }
            self.nodes[place].tell_name(life, &question, reply);
        }
        for place in 0..self.nodes.len() {
            for (worker, domain) in self.nodes[place].domains_asked() {
                if self.names.hears(&domain) {
                    self.nodes[place].ask_about(worker, &domain);
                }
            }
            let life = self.nodes[place].life;
            while let Some(question) = self.nodes[place].name_question() {
                self.names.ask(now, (place, life), question, &mut self.random);
            }
        }
    }

    fn happen(&mut self, now: Instant, happening: Happening) {
        match happening {
            Happening::Session => self.begin_session(now, false),
            Happening::LastSession => {
                self.last_sessions -= 1;
                self.begin_session(now, true);
            }
            Happening::Fault(fault, place) => self.break_something(now, fault, place),
            Happening::Mend(fault, place) => self.mend(now, fault, place),
            Happening::Start(place) => self.start(now, place),
            Happening::Look => self.look(now),
            Happening::Heal => self.heal(now),
            Happening::Create(identity) => {
                // A box that dies while it asks forgets that it was told to.
                if self.register(identity).is_none() {
                    self.nodes[identity as usize].command(identity, Command::Create);
                    self.at(SETUP_PAUSE, Happening::Create(identity));
                }
            }
            Happening::Watch => self.watch(now),
        }
    }

    fn start(&mut self, now: Instant, place: usize) {
        if self.nodes[place].is_stopping() {
            self.start_later(place);
        }
        if self.nodes[place].is_running() || self.phase == Phase::Over {
            return;
        }
        if self.operator.off.is_some_and(|(off, _)| off == place) {
            // Not before the operator says so, who then starts it.
            return;
        }
        let regroups = self.plan.regroups && self.random.random_bool(0.5);
        let most = if self.plan.pair { WORKERS_OF_PAIRS_MAX } else { WORKERS_MAX as u16 };
        let workers = if regroups { self.random.random_range(1..=most) } else { self.plan.workers };
        let started = self.nodes[place].start(&self.network, workers, &mut self.random, &mut self.ledger);
        match started {
            Ok(()) => {
                self.starts_fail_since[place] = None;
                self.ledger.restarted(now);
                self.ledger.runs(now, place, self.nodes[place].orders());
                self.ledger.trace.note(now, format_args!("box {place} starts with {workers} workers"));
                if self.plan.watched {
                    let lives = self.nodes.iter().map(|node| node.life).enumerate();
                    self.store.watch(lives.collect());
                }
            }
            Err(Refused { why: error, size_max }) => {
                size_max.into_iter().for_each(|size_max| self.nodes[place].set_size_max(size_max));
                self.ledger.trace.note(now, format_args!("box {place} does not start: {error}"));
                let since = *self.starts_fail_since[place].get_or_insert(now);
                if now.since(since) > STARTS_FAIL_MAX {
                    self.ledger.violate(now, format_args!("box {place} does not start: {error}"));
                }
                self.start_later(place);
            }
        }
    }

    fn start_later(&mut self, place: usize) {
        if !self.agenda.values().any(|happening| matches!(happening, Happening::Start(other) if *other == place)) {
            self.at(REPAIR_DURATION, Happening::Start(place));
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
            let mail = Mail::new(self.seed, self.mail_next);
            let mail = if self.plan.priorities { mail.with_priority() } else { mail };
            if self.plan.requiretls.is_some() { mail.with_requiretls() } else { mail }
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
        let (from, to) = match self.random.random_range(0..if self.plan.pair { 6 } else { 3 }) {
            3.. => (address(2), address(5)),
            0 => (address(2), address(1)),
            1 => (address(3), address(1)),
            _ => (address_v6(2), address_v6(1)),
        };
        self.ledger.trace.note(now, format_args!("a client begins, {style:?}"));
        let mut scene = Scene { now, random: &mut self.random, ledger: &mut self.ledger };
        let confused = client.is_confused();
        let layer = self.secure.as_mut().map_or_else(Layer::clear, |secure| secure.of_client(style, confused, polite));
        self.clients.connect((client, layer), from, SocketAddr::new(to, 25), &mut scene);
    }

    /// Takes in what a box tells.
    fn listen(&mut self, now: Instant, place: usize) {
        let (events, ended) = self.nodes[place].events(&mut self.random);
        for event in events {
            let line = event.line(self.nodes[place].clock.wall());
            self.ledger.trace.note(now, format_args!("{}{line}", self.label(place)));
            #[cfg(test)]
            self.watched.note(&event);
            self.hear(now, event, place);
        }
        if ended {
            self.ledger.trace.note(now, format_args!("{}the appliance has ended", self.label(place)));
            if self.phase == Phase::Stopping && self.nodes.iter().all(|node| !node.is_running()) {
                self.phase = Phase::Over;
            }
        }
        let Some(asked) = &mut self.listings[place].asked else { return };
        let Ok(answers) = asked.try_recv() else { return };
        self.listings[place].asked = None;
        if answers.iter().any(|answer| matches!(answer, Answer::Error { .. })) {
            // It is busy stopping, or starting, or stalled; it is asked again.
            return;
        }
        let entries: Vec<QueueEntry> = (answers.into_iter())
            .filter_map(|answer| if let Answer::Entry { entry } = answer { Some(*entry) } else { None })
            .collect();
        self.looked(now, &entries, place);
    }

    /// Which box, where there are two.
    fn label(&self, place: usize) -> &'static str {
        if self.nodes.len() == 1 { "" } else { ["box a: ", "box b: "][place] }
    }

    fn hear(&mut self, now: Instant, event: Event, place: usize) {
        match event {
            Event::StorageFailed { .. } => {
                self.ledger.storage_failed(now);
                self.at(REPAIR_DURATION, Happening::Mend(Fault::WriteFails, place));
            }
            Event::PairStage { identity, stage, epoch } if stage.works() => {
                let life = (place, self.nodes[place].life);
                match self.leaders.insert((identity, epoch), life) {
                    None => self.check_adopted(now, identity, place),
                    Some(before) if before != life => {
                        self.ledger.violate(now, format_args!("two owners of identity {identity} in epoch {epoch}"));
                    }
                    Some(_) => {}
                }
            }
            Event::PairStage { stage: Stage::Adopting, .. } => {
                // What the former owner learnt last may have been on its own disk only.
                self.ledger.upset(now);
                self.ledger.forget_dues();
            }
            Event::PairLink { log, trouble } => {
                let trouble = trouble.unwrap_or_else(|| "well again".to_owned());
                self.ledger.trace.note(now, format_args!("{}link of log {log}: {trouble}", self.label(place)));
                #[cfg(test)]
                self.watched.troubles[place].insert(trouble);
            }
            Event::DeliveryInDoubt { recipients, .. } => {
                for recipient in recipients.iter() {
                    if let Some(number) = number_of_recipient(recipient) {
                        self.ledger.in_doubt(now, number, recipient, IN_DOUBT_DELAY);
                    }
                }
            }
            Event::Accepted { id, sender, .. } => {
                self.check_isolation(now, id);
                self.ids.extend(number_of_sender(&sender).map(|number| (id, number)));
            }
            Event::Held { id } | Event::Released { id } => {
                if let Some(number) = self.ids.get(&id) {
                    self.ledger.held(now, *number, matches!(event, Event::Held { .. }));
                }
            }
            Event::OrderGiven(_) | Event::OrderEnded(_) | Event::OrderExpired(_) => {
                self.ledger.ordered(now, place, &event);
            }
            Event::Deleted { id } => {
                if let Some(number) = self.ids.get(&id) {
                    self.ledger.deleted(*number);
                }
            }
            Event::Expired { attempt, .. } | Event::Bounced { attempt, .. } => {
                if let Some(number) = number_of_sender(&attempt.recipient) {
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
            // The former owner, which does not know yet: what it found out may be written nowhere. Its word for a doubt counts.
            Event::Deferred { attempt: Attempt { id, recipient, reply, .. }, .. } if self.is_deposed(place, id) => {
                if let Some(number) = number_of_recipient(&recipient).filter(|_| reply == unknown_outcome()) {
                    self.ledger.in_doubt(now, number, &recipient, Duration::ZERO);
                }
            }
            Event::Deferred { attempt, attempts, next_attempt_at, .. } => {
                let Attempt { id, recipient, reply, .. } = attempt;
                let wall = self.nodes[place].clock.wall();
                let delay = next_attempt_at.since(wall);
                if let Some(number) = number_of_recipient(&recipient) {
                    if reply == unknown_outcome() {
                        self.ledger.in_doubt(now, number, &recipient, Duration::ZERO);
                    }
                    self.ledger.deferred(now, number, &recipient, attempts, delay);
                    if !reply.contains("(in reply to ") {
                        self.ledger.broken_off(now, number, &recipient);
                    }
                }
                let before = self.attempts.insert((id, recipient.clone()), attempts).unwrap_or(0);
                if attempts > before + 1 {
                    self.ledger.violate(now, format_args!("retry: {id} to {recipient} jumps to attempt {attempts}"));
                }
            }
            _ => {}
        }
    }

    /// Whether another box owns the log of this message.
    fn is_deposed(&self, place: usize, id: MessageId) -> bool {
        let register = self.register(identity_of_log(id.log()));
        self.plan.pair && register.is_some_and(|register| register.owner as usize != place)
    }

    /// The register of an identity, as the pair made it.
    fn register(&self, identity: Identity) -> Option<Register> {
        if self.plan.manual { manual::register(&self.nodes, identity) } else { self.store.truth(identity) }
    }

    /// Ends the process of a box.
    pub(super) fn kill(&mut self, now: Instant, place: usize, death: Death) {
        self.ledger.upset(now);
        for event in self.nodes[place].die(&self.network, death, &mut self.random) {
            self.hear(now, event, place);
        }
        self.ledger.runs(now, place, None);
        // What it told last may not be durable.
        self.ledger.forget_dues();
        self.listings[place].asked = None;
    }

    /// Asks for the queue.
    fn look(&mut self, now: Instant) {
        let list = QueueCommand::List { filter: QueueFilter::default(), limit: 1000, after: None };
        for (listing, node) in self.listings.iter_mut().zip(&mut self.nodes) {
            if listing.asked.is_none() {
                listing.asked = node.ask(Request::Queue(list.clone()));
            }
        }
        if !matches!(self.phase, Phase::Over | Phase::Stopping) {
            self.at(self.look_interval(), Happening::Look);
        }
        if let Phase::Healed { until } = self.phase
            && now > until
        {
            self.ledger.violate(now, format_args!("starved: a healed world does not empty its queue"));
        }
    }

    fn looked(&mut self, now: Instant, entries: &[QueueEntry], place: usize) {
        self.ledger.trace.note(now, format_args!("{}{} messages are queued", self.label(place), entries.len()));
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
        self.listings[place].is_empty = waiting == 0 && self.last_sessions == 0 && self.clients.count() == 0;
        self.rejoin(place);
        if waiting > 0 {
            let selection = QueueSelection::Filter(QueueFilter::default());
            self.nodes[place].ask(Request::Queue(QueueCommand::Release { selection }));
            // The boxes of a pair have the same orders.
            self.nodes[0].ask(Request::Orders(OrderCommand::End { selector: Selector::All }));
        } else if self.listings.iter().all(|listing| listing.is_empty) && self.is_whole() {
            self.ledger.settle(now, &|_| false);
            self.phase = Phase::Stopping;
            self.nodes.iter_mut().for_each(|node| node.stop(FINISH_WITHIN));
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
            let state: String = self.nodes.iter().map(Node::describe).collect();
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
            met: self.met,
            failure: failure.map(|what| Failure { what, trace: lines }),
        }
    }
}

/// What is said of a delivery that may have been made.
fn unknown_outcome() -> String {
    client::Reason::UnknownOutcome.to_string()
}
