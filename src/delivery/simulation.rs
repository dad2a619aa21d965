//! A model run: two workers, each with a queue and the destinations it owns, in virtual time, against remotes that
//! misbehave as a seed says. What must hold is asserted on the way: nothing is settled twice, nothing is lost, no limit
//! is exceeded, and the same seed does the same things.

use super::testing::{self, Message, answer, at, hop};
use super::*;
use crate::env::{Instant, Now};
use crate::spool::MessageId;
use proptest::prelude::*;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

const WORKERS: u16 = 2;
const DESTINATIONS: u8 = 5;
/// Its only host never answers.
const DEAD: usize = 4;
const CONNECTIONS_MAX: usize = 6;
const CONNECTIONS_PER_DESTINATION: u32 = 3;
const IN_HAND_MAX: u32 = 8;

/// What will happen, and when.
#[derive(Debug)]
enum Event {
    Greeted,
    Refused,
    Finished(Work),
    Lost,
    Gone,
}

struct World {
    random: StdRng,
    now: Now,
    routes: Arc<Routes>,
    queues: Vec<Queue>,
    owners: Vec<Destinations>,
    spools: Vec<BTreeMap<MessageId, Message>>,
    /// By time and a running number, so that the order is the same in every run.
    events: BTreeMap<(Instant, u64), (usize, ConnectionId, Event)>,
    events_count: u64,
    /// Live connections of each worker, and where they lead.
    open: Vec<HashMap<ConnectionId, DestinationId>>,
    /// Work that a full owner gave back.
    refused: Vec<(u16, Work)>,
    /// What the actions were, for comparison.
    trace: Vec<String>,
    delivered_at: BTreeMap<(MessageId, u32), Instant>,
    faults: bool,
    dead_is_back: bool,
}

impl World {
    fn new(seed: u64, messages: u64) -> World {
        let routes = (0..DESTINATIONS).map(|n| {
            let hops = if usize::from(n) == DEAD { vec![hop(n, 10)] } else { vec![hop(n, 10), hop(100 + n, 20)] };
            let mut route = Route::new(hops);
            route.connections_max = CONNECTIONS_PER_DESTINATION;
            route.recipients_max = 3;
            (format!("d{n}.example").into(), route)
        });
        let routes = Arc::new(Routes::new(routes).unwrap());
        let settings = Settings {
            connections_max: CONNECTIONS_MAX,
            transactions_per_connection_max: 7,
            destination_queue_max: 10,
            ..Settings::default()
        };
        let own = [("192.0.2.250".parse().unwrap(), "mx.example".into())];
        let mut world = World {
            random: StdRng::seed_from_u64(seed),
            now: at(0),
            queues: (0..WORKERS)
                .map(|worker| Queue::new(routes.clone(), Retry::default(), seed ^ u64::from(worker)))
                .map(|queue| queue.with_in_hand_max(IN_HAND_MAX))
                .collect(),
            owners: (0..WORKERS).map(|_| Destinations::new(&routes, settings, &own, seed)).collect(),
            routes,
            spools: (0..WORKERS).map(|_| BTreeMap::new()).collect(),
            events: BTreeMap::new(),
            events_count: 0,
            open: (0..WORKERS).map(|_| HashMap::new()).collect(),
            refused: Vec::new(),
            trace: Vec::new(),
            delivered_at: BTreeMap::new(),
            faults: true,
            dead_is_back: false,
        };
        for number in 0..messages {
            let addresses: Vec<String> = (0..world.random.random_range(1..6))
                .map(|user| format!("u{user}@d{}.example", world.random.random_range(0..DESTINATIONS + 1)))
                .collect();
            let addresses: Vec<&str> = addresses.iter().map(String::as_str).collect();
            let worker = world.random.random_range(0..usize::from(WORKERS));
            let mut message = Message::new(number, world.now, &addresses);
            message.id = MessageId::new(worker as u16, number);
            world.queues[worker].add(world.now, &message);
            world.spools[worker].insert(message.id, message);
        }
        world
    }

    fn chance(&mut self, percent: u32) -> bool {
        self.faults && self.random.random_range(0..100) < percent
    }

    fn plan(&mut self, worker: usize, connection: ConnectionId, event: Event) {
        let delay = Duration::from_millis(self.random.random_range(1..3000));
        self.events_count += 1;
        self.events.insert((self.now.mono + delay, self.events_count), (worker, connection, event));
    }

    fn open_count(&self) -> usize {
        self.spools.iter().flat_map(BTreeMap::values).map(Message::open_count).sum()
    }

    /// Everything that can be done at this moment.
    fn breathe(&mut self) {
        loop {
            let mut offers = std::mem::take(&mut self.refused);
            let mut settled = Vec::new();
            for worker in 0..WORKERS {
                let spool = &self.spools[usize::from(worker)];
                let lookup = |id: MessageId| spool.get(&id).cloned();
                while self.queues[usize::from(worker)].sort_out(self.now, lookup) {}
                while let Some(job) = self.queues[usize::from(worker)].next(self.now, lookup) {
                    match job.settled() {
                        Some(result) => settled.push((worker, result)),
                        None => {
                            assert!(job.recipients.len() <= 3 || job.destination == DestinationId::NOWHERE);
                            offers.push((worker, Work::Deliver(job)));
                        }
                    }
                }
            }
            let mut acted = !settled.is_empty();
            settled.iter().for_each(|(worker, result)| self.settle(*worker, result));
            for (worker, work) in offers {
                let owner = self.routes.owner(&work, WORKERS);
                if let Err(work) = self.owners[usize::from(owner)].push(self.now.mono, worker, work) {
                    self.refused.push((worker, work));
                }
            }
            for worker in 0..usize::from(WORKERS) {
                while let Some(action) = self.owners[worker].poll(self.now.mono) {
                    acted = true;
                    self.trace.push(format!("{worker} {action:?}"));
                    self.act(worker, action);
                }
            }
            if !acted {
                return;
            }
        }
    }

    fn act(&mut self, worker: usize, action: Action) {
        match action {
            Action::Connect { connection, destination, .. } => {
                self.open[worker].insert(connection, destination);
                assert!(self.open[worker].len() <= CONNECTIONS_MAX);
                let same = self.open[worker].values().filter(|other| **other == destination).count();
                assert!(same <= CONNECTIONS_PER_DESTINATION as usize);
                let dead = destination.index() == DEAD && !self.dead_is_back;
                if dead || self.chance(20) {
                    // Some never answer at all.
                    if !self.chance(30) {
                        self.plan(worker, connection, Event::Refused);
                    }
                } else {
                    self.plan(worker, connection, Event::Greeted);
                }
            }
            Action::Start { connection, work } => {
                let leads_to = match &work {
                    Work::Deliver(Job { way: Way::Via(route), .. }) => *route,
                    work => work.destination(),
                };
                assert_eq!(self.open[worker].get(&connection), Some(&leads_to));
                let event = if self.chance(10) { Event::Lost } else { Event::Finished(work) };
                self.plan(worker, connection, event);
            }
            Action::Quit { connection } => {
                // Some never go.
                if !self.chance(10) {
                    self.plan(worker, connection, Event::Gone);
                }
            }
            Action::Abort { connection } => assert!(self.open[worker].remove(&connection).is_some()),
            Action::Finished { worker: home, result: WorkResult::Deliver(result) } => self.settle(home, &result),
            Action::Finished { .. } => unreachable!("nobody asked"),
        }
    }

    fn settle(&mut self, home: u16, result: &JobResult) {
        let home = usize::from(home);
        let message = self.spools[home].get_mut(&result.id).unwrap();
        let verdicts = self.queues[home].settle(self.now, message, result);
        assert_eq!(verdicts.len(), result.fates.len(), "the job was in hand");
        message.apply(&verdicts);
        for (index, verdict) in verdicts {
            match verdict {
                Verdict::Delivered { .. } => {
                    self.delivered_at.insert((result.id, index), self.now.mono);
                }
                Verdict::Deferred { next_attempt_at, .. } => assert!(next_attempt_at > self.now.wall),
                Verdict::Bounced { bounce: Bounce::Expired, .. } => {
                    assert!(self.now.wall.since(message.received_at) >= Retry::default().age_max);
                }
                Verdict::Bounced { .. } | Verdict::Busy => {}
            }
        }
    }

    fn happen(&mut self, worker: usize, connection: ConnectionId, event: Event) {
        let now = self.now.mono;
        if !self.open[worker].contains_key(&connection) {
            return;
        }
        match event {
            Event::Greeted => {
                self.owners[worker].established(now, connection);
                self.owners[worker].ready(now, connection);
            }
            Event::Refused => {
                self.open[worker].remove(&connection);
                self.owners[worker].connect_failed(now, connection, answer());
            }
            Event::Lost | Event::Gone => {
                self.open[worker].remove(&connection);
                self.owners[worker].closed(now, connection, None);
            }
            Event::Finished(Work::Deliver(job)) => {
                let mut fates = Vec::new();
                for recipient in &job.recipients {
                    let fate = match self.random.random_range(0..100) {
                        _ if !self.faults => Fate::Delivered(answer()),
                        0..70 => Fate::Delivered(answer()),
                        70..80 => Fate::Failed(answer()),
                        80..90 => Fate::deferred(answer()),
                        90..98 => Fate::Deferred { answer: answer(), soon: true, tried: true },
                        _ => continue,
                    };
                    fates.push((recipient.index, fate));
                }
                let reusable = !self.chance(20);
                let result = TaskResult::Deliver { fates, dsn_offered: false, broken_off: false };
                self.owners[worker].done(now, connection, result, reusable);
                if !reusable && !self.chance(20) {
                    self.plan(worker, connection, Event::Gone);
                }
            }
            Event::Finished(Work::Verify { .. }) => unreachable!("nobody asked"),
        }
    }

    /// Goes to the next moment at which something happens; false if there is none.
    fn step(&mut self) -> bool {
        let planned = self.events.first_key_value().map(|((at, _), _)| *at);
        let queues = self.queues.iter().filter_map(Queue::next_deadline);
        let owners = self.owners.iter().filter_map(Destinations::next_deadline);
        let Some(next) = queues.chain(owners).chain(planned).min() else { return false };
        let delay = next.since(self.now.mono);
        assert!(next > self.now.mono || planned == Some(next), "a deadline in the past would spin");
        self.now = Now { mono: self.now.mono + delay, wall: self.now.wall + delay };
        while let Some(entry) = self.events.first_entry()
            && entry.key().0 <= self.now.mono
        {
            let (worker, connection, event) = entry.remove();
            self.happen(worker, connection, event);
        }
        self.breathe();
        true
    }

    fn run(&mut self) -> usize {
        self.breathe();
        let mut steps_count = 0;
        while self.step() {
            steps_count += 1;
            assert!(steps_count < 200_000, "it spins");
        }
        steps_count
    }

    fn assert_at_rest(&self) {
        assert_eq!(self.open_count(), 0, "every recipient was settled");
        assert!(self.refused.is_empty());
        for queue in &self.queues {
            assert_eq!(queue.status(), QueueStatus::default());
        }
        assert!(self.owners.iter().all(Destinations::idle), "no connection and no work is left");
    }
}

impl World {
    /// An operator says something else about some of the mail, to all workers or, for a while, to one.
    fn order(&mut self, number: u64) {
        let name = |random: &mut StdRng| format!("d{}.example", random.random_range(0..DESTINATIONS));
        let random = &mut self.random;
        let all = (0..random.random_range(0..4)).map(|place| {
            let selector = match random.random_range(0..3) {
                0 => testing::domain(&name(random)),
                1 => testing::sender(["sender@example.org", "example.org", ""][random.random_range(0..3)]),
                _ => Selector::All,
            };
            let treatment = if random.random_bool(0.5) { Treatment::Suspend } else { testing::reroute(&name(random)) };
            (number + place, selector, treatment)
        });
        let all: Vec<_> = all.collect();
        let orders = testing::orders(&self.routes, all);
        for worker in 0..usize::from(WORKERS) {
            if self.random.random_bool(0.8) {
                self.tell(worker, &orders);
            }
        }
    }

    fn tell(&mut self, worker: usize, orders: &Arc<Orders>) {
        self.queues[worker].set_orders(Arc::clone(orders));
        self.owners[worker].heed(self.now.mono, orders, 0);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn every_recipient_is_settled_once_whatever_an_operator_says_meanwhile(seed: u64) {
        let mut world = World::new(seed, 40);
        world.breathe();
        for number in 0..30 {
            world.order(1 + 10 * number);
            world.breathe();
            for _ in 0..world.random.random_range(1..40) {
                // Where all is suspended nothing happens but that it grows older.
                if world.open_count() > 0 && !world.step() {
                    break;
                }
            }
        }
        for worker in 0..usize::from(WORKERS) {
            world.tell(worker, &Arc::default());
        }
        world.run();
        world.assert_at_rest();
    }

    #[test]
    fn every_recipient_is_settled_once_whatever_the_remotes_do(seed: u64) {
        let mut world = World::new(seed, 40);
        world.run();
        world.assert_at_rest();
    }
}

#[test]
fn the_same_seed_does_the_same_things() {
    let run = |seed| {
        let mut world = World::new(seed, 30);
        world.run();
        world.trace
    };
    assert_eq!(run(11), run(11));
    assert_ne!(run(11), run(12));
}

#[test]
fn a_dead_destination_delays_nobody_else() {
    let mut world = World::new(5, 0);
    world.faults = false;
    for number in 0..2000 {
        let domain = if number % 10 == 0 { 1 } else { DEAD };
        let address = format!("u@d{domain}.example");
        let mut message = Message::new(number, world.now, &[&address]);
        message.id = MessageId::new(0, number);
        world.queues[0].add(world.now, &message);
        world.spools[0].insert(message.id, message);
    }
    world.run();
    world.assert_at_rest();
    assert_eq!(world.delivered_at.len(), 200);
    let last = world.delivered_at.values().max().unwrap();
    // 200 jobs of at most three seconds, over three connections.
    assert!(*last < at(300).mono, "{last:?}");
}

#[test]
fn shutdown_comes_to_rest_and_loses_nothing() {
    for seed in 0..20 {
        let mut world = World::new(seed, 60);
        world.breathe();
        for _ in 0..25 {
            world.step();
        }
        for owner in &mut world.owners {
            owner.drain(world.now.mono);
        }
        // What the homes still give out comes back untried.
        let before = world.open_count();
        world.breathe();
        for _ in 0..10_000 {
            if world.owners.iter().all(Destinations::idle) {
                break;
            }
            world.step();
        }
        assert!(world.owners.iter().all(Destinations::idle), "seed {seed}");
        assert!(world.open_count() <= before);
        let scheduled: usize = world.queues.iter().map(|queue| queue.status().scheduled).sum();
        let refused = world.refused.len();
        let in_hand: usize = world.queues.iter().map(|queue| queue.status().in_hand).sum();
        assert_eq!(in_hand, refused, "all else came back");
        assert!(scheduled + in_hand > 0 || world.open_count() == 0);
    }
}

/// Gives out what is due now, and says how often the queue looked for a message.
fn given_out(world: &mut World) -> (Vec<Job>, usize) {
    let (mut jobs, looks) = (Vec::new(), std::cell::Cell::new(0));
    let spool = &world.spools[0];
    let lookup = |id: MessageId| {
        looks.set(looks.get() + 1);
        spool.get(&id).cloned()
    };
    while let Some(job) = world.queues[0].next(world.now, lookup) {
        jobs.push(job);
    }
    (jobs, looks.get())
}

#[test]
fn a_hundred_thousand_messages_for_a_dead_host_cost_the_others_nothing() {
    const DEAD_MESSAGES: u64 = 100_000;
    let mut world = World::new(7, 0);
    world.faults = false;
    let add = |world: &mut World, number: u64, domain: usize| {
        let address = format!("u@d{domain}.example");
        let mut message = Message::new(number, world.now, &[&address]);
        message.id = MessageId::new(0, number);
        world.queues[0].add(world.now, &message);
        world.spools[0].insert(message.id, message);
    };
    (0..DEAD_MESSAGES).for_each(|number| add(&mut world, number, DEAD));
    // The first connection fails, and from then on the host is left alone.
    world.breathe();
    while world.owners.iter().any(|owner| !owner.idle()) {
        world.step();
    }
    let mut numbers = DEAD_MESSAGES..;
    let (mut looks_most, mut given) = (0, 0);
    for _ in 0..40 {
        world.trace.clear();
        let before = world.delivered_at.len();
        for number in numbers.by_ref().take(5) {
            add(&mut world, number, 1);
        }
        let (jobs, looks) = given_out(&mut world);
        // Each look gives a job; of the dead host's there are never more than its credit.
        assert_eq!(looks, jobs.len());
        let others = jobs.iter().filter(|job| job.destination.index() != DEAD).count();
        assert_eq!(others, 5, "all are given out in the breath in which they come");
        assert!(jobs.len() - others <= IN_HAND_MAX as usize);
        (looks_most, given) = (looks_most.max(looks), given + others);
        for job in jobs {
            let work = Work::Deliver(job);
            let owner = world.routes.owner(&work, WORKERS);
            if let Err(work) = world.owners[usize::from(owner)].push(world.now.mono, 0, work) {
                world.refused.push((0, work));
            }
        }
        let asked = world.now.mono;
        world.breathe();
        while world.delivered_at.len() < before + 5 {
            assert!(world.step());
        }
        // A connection, a greeting and two transactions on each of three connections take three seconds each at most.
        assert!(world.now.mono.since(asked) < Duration::from_secs(15), "no delivery waits for the dead");
    }
    assert_eq!(given, 200);
    assert!(looks_most <= 5 + IN_HAND_MAX as usize);
    let waiting = world.spools[0].range(..MessageId::new(0, DEAD_MESSAGES));
    assert_eq!(waiting.map(|(_, message)| message.open_count()).sum::<usize>(), 100_000);

    // The host comes back: all drain.
    world.dead_is_back = true;
    let mut steps_count = 0;
    while world.delivered_at.len() < 100_200 {
        world.trace.clear();
        assert!(world.step(), "{} are delivered", world.delivered_at.len());
        steps_count += 1;
        assert!(steps_count < 3_000_000, "{} are delivered", world.delivered_at.len());
    }
    world.run();
    world.assert_at_rest();
}
