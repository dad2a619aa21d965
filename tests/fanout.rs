//! Mail for thousands of domains, some of them dead and some slow: the healthy ones do not notice.
//!
//! The delivery engine of one worker with its defaults, in virtual time: queue, destinations by MX, and hosts that are scripts. The
//! same inputs give the same outputs, so that the figures are those of the engine and not of a machine. `scripts/load-fanout` does the
//! same with a whole appliance, a DNS and real receivers, and `tests/load.rs` a small part of that.

use rohrpost::delivery::{
    Action, Answer, ConnectionId, Destinations, Fate, JobResult, MessageView, Progress, Queue, RecipientView, ReplyTo,
    Retry, Route, Routes, Settings, TaskResult, Verdict, Work, WorkResult,
};
use rohrpost::dns::{self, Dane, MailHost, MailHosts};
use rohrpost::env::{Instant, Now, WallTime};
use rohrpost::smtp::client::Stage;
use rohrpost::smtp::{BodyType, Priority, Return};
use rohrpost::spool::MessageId;
use rohrpost::sts::Standing;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

const DOMAINS: usize = 10_000;
const MESSAGES: u64 = 100_000;

/// A connection is greeted, and a message taken, after so long.
const HEALTHY: Duration = Duration::from_millis(200);
const SLOW: Duration = Duration::from_secs(20);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Healthy,
    Slow,
    /// Nobody answers.
    Dead,
}

/// Of a hundred domains one is dead and five are slow, if any are.
fn kind_of(domain: usize, with_bad: bool) -> Kind {
    match domain % 100 {
        _ if !with_bad => Kind::Healthy,
        0 => Kind::Dead,
        1..=5 => Kind::Slow,
        _ => Kind::Healthy,
    }
}

#[derive(Clone)]
struct Message {
    id: MessageId,
    received_at: WallTime,
    domain: usize,
    address: String,
    progress: Progress,
}

impl MessageView for Message {
    fn id(&self) -> MessageId {
        self.id
    }
    fn received_at(&self) -> WallTime {
        self.received_at
    }
    fn size(&self) -> u64 {
        10_000
    }
    fn held(&self) -> bool {
        false
    }
    fn reverse_path(&self) -> &str {
        "sender@example.org"
    }
    fn body(&self) -> BodyType {
        BodyType::SevenBit
    }
    fn smtputf8(&self) -> bool {
        false
    }
    fn require_tls(&self) -> bool {
        false
    }
    fn tls_optional(&self) -> bool {
        false
    }
    fn priority(&self) -> Priority {
        Priority::NORMAL
    }
    fn ret(&self) -> Option<Return> {
        None
    }
    fn envelope_id(&self) -> Option<&str> {
        None
    }
    fn recipients(&self) -> impl Iterator<Item = RecipientView<'_>> {
        [RecipientView { address: &self.address, notify: None, original: None, progress: self.progress }].into_iter()
    }
}

enum Happens {
    Greeted,
    Taken,
    Gone,
}

struct World {
    now: Now,
    queue: Queue,
    owner: Destinations,
    messages: HashMap<MessageId, Message>,
    events: BTreeMap<(Instant, u64), (ConnectionId, Happens)>,
    number: u64,
    kinds: HashMap<ConnectionId, Kind>,
    with_bad: bool,
    /// Of the domains that are healthy in both worlds.
    delivered: u64,
    delays: Vec<Duration>,
    deferred: u64,
}

fn set_of(domain: usize) -> Arc<MailHosts> {
    let name = format!("mx.d{domain}.example").into();
    let address = [10, (domain >> 16) as u8, (domain >> 8) as u8, domain as u8].into();
    let host = MailHost { name, preference: 10, addresses: vec![address], secure: false, dane: Dane::Absent };
    let sts = Standing::default();
    Arc::new(MailHosts { hosts: vec![host], secure: false, implicit: false, sts, waived: false, number: 1 })
}

impl World {
    fn new(with_bad: bool) -> World {
        let routes = Arc::new(Routes::new([("*".into(), Route::by_mx())]).expect("a route"));
        let own = [("192.0.2.25".parse().expect("an address"), "mx.example.net".into())];
        World {
            now: Now { mono: Instant::ZERO, wall: WallTime::from_micros(1_795_407_575_000_000) },
            queue: Queue::new(Arc::clone(&routes), Retry::default(), 1),
            owner: Destinations::new(&routes, Settings::default(), &own, 1),
            messages: HashMap::new(),
            events: BTreeMap::new(),
            number: 0,
            kinds: HashMap::new(),
            with_bad,
            delivered: 0,
            delays: Vec::new(),
            deferred: 0,
        }
    }

    fn add(&mut self, number: u64) {
        let domain = (number as usize).wrapping_mul(7919) % DOMAINS;
        let progress = Progress { open: true, attempts: 0, next_attempt_at: self.now.wall };
        let (id, received_at) = (MessageId::new(0, number), self.now.wall);
        let message = Message { id, received_at, domain, address: format!("u@d{domain}.example"), progress };
        self.queue.add(self.now, &message);
        self.messages.insert(id, message);
    }

    fn plan(&mut self, after: Duration, connection: ConnectionId, happens: Happens) {
        self.number += 1;
        self.events.insert((self.now.mono + after, self.number), (connection, happens));
    }

    fn breathe(&mut self) {
        loop {
            let mut acted = false;
            while let Some(job) = self.queue.next(self.now, |id| self.messages.get(&id).cloned()) {
                acted = true;
                if let Err(work) = self.owner.push(self.now.mono, 0, Work::Deliver(job)) {
                    let WorkResult::Deliver(result) = work.untried() else { unreachable!("it is a delivery") };
                    self.settle(&result);
                }
            }
            while let Some(domain) = self.queue.wanted() {
                acted = true;
                let number = domain.trim_start_matches('d').trim_end_matches(".example").parse().expect("a number");
                let answer = dns::Answer { result: Ok(set_of(number)), ttl: Duration::from_secs(3600) };
                self.queue.resolved(self.now, &domain, &answer);
            }
            while let Some(action) = self.owner.poll(self.now.mono) {
                acted = true;
                self.act(action);
            }
            while self.owner.news().is_some() {}
            if !acted {
                return;
            }
        }
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Connect { connection, host, .. } => {
                let domain = host.trim_start_matches("mx.d").trim_end_matches(".example").parse().expect("a number");
                let kind = kind_of(domain, self.with_bad);
                self.kinds.insert(connection, kind);
                match kind {
                    Kind::Healthy => self.plan(HEALTHY, connection, Happens::Greeted),
                    Kind::Slow => self.plan(SLOW, connection, Happens::Greeted),
                    Kind::Dead => {}
                }
            }
            Action::Start { connection, .. } => {
                let after = if self.kinds[&connection] == Kind::Healthy { HEALTHY } else { SLOW };
                self.plan(after, connection, Happens::Taken);
            }
            Action::Quit { connection } => self.plan(HEALTHY, connection, Happens::Gone),
            Action::Abort { connection } => drop(self.kinds.remove(&connection)),
            Action::Finished { result: WorkResult::Deliver(result), .. } => self.settle(&result),
            Action::Finished { .. } => unreachable!("nobody asked"),
        }
    }

    fn settle(&mut self, result: &JobResult) {
        let message = self.messages.get_mut(&result.id).expect("it is there until it is delivered");
        for (_, verdict) in self.queue.settle(self.now, &*message, result) {
            match verdict {
                Verdict::Delivered { .. } => {
                    message.progress.open = false;
                    if kind_of(message.domain, true) == Kind::Healthy {
                        self.delivered += 1;
                        self.delays.push(self.now.wall.since(message.received_at));
                    }
                }
                Verdict::Deferred { attempts, next_attempt_at, .. } => {
                    self.deferred += 1;
                    message.progress = Progress { open: true, attempts, next_attempt_at };
                }
                Verdict::Busy => {}
                Verdict::Bounced { .. } => unreachable!("it is not old"),
            }
        }
        if !self.messages[&result.id].progress.open {
            self.messages.remove(&result.id);
        }
    }

    fn step(&mut self) {
        let planned = self.events.first_key_value().map(|((at, _), _)| *at);
        let deadlines = [planned, self.queue.next_deadline(), self.owner.next_deadline()];
        let next = deadlines.into_iter().flatten().min().expect("something is to come");
        let delay = next.since(self.now.mono);
        self.now = Now { mono: self.now.mono + delay, wall: self.now.wall + delay };
        while let Some(entry) = self.events.first_entry()
            && entry.key().0 <= self.now.mono
        {
            let (connection, happens) = entry.remove();
            let now = self.now.mono;
            match happens {
                Happens::Greeted => {
                    self.owner.established(now, connection);
                    self.owner.ready(now, connection);
                }
                Happens::Taken => {
                    let reply = ReplyTo { code: 250, stage: Stage::Outcome };
                    let fate = Fate::Delivered(Answer::reply(reply, (2, 0, 0), "250 2.0.0 taken", "mx"));
                    let result = TaskResult::Deliver { fates: vec![(0, fate)], dsn_offered: false, broken_off: false };
                    self.owner.done(now, connection, result, true);
                }
                Happens::Gone => {
                    self.kinds.remove(&connection);
                    self.owner.closed(now, connection, None);
                }
            }
        }
        self.breathe();
    }

    /// Until all mail for healthy domains is delivered: how long that took, and how long a message did at the 99th percentile.
    fn run(&mut self, per_second: u64) -> (Duration, Duration) {
        let wanted = (0..MESSAGES)
            .filter(|number| kind_of((*number as usize).wrapping_mul(7919) % DOMAINS, true) == Kind::Healthy);
        let wanted = wanted.count() as u64;
        let mut number = 0;
        while self.delivered < wanted {
            let elapsed = self.now.mono.since(Instant::ZERO);
            let due = (elapsed.as_millis() as u64 * per_second / 1000 + 1).min(MESSAGES);
            (number..due).for_each(|number| self.add(number));
            number = due;
            if number < MESSAGES {
                // The next message comes when nothing else happens.
                self.number += 1;
                let tick = self.now.mono + Duration::from_millis(1);
                self.events
                    .entry((tick, 0))
                    .or_insert((ConnectionId { index: u32::MAX, generation: 0 }, Happens::Gone));
            }
            self.breathe();
            if self.delivered < wanted {
                self.step();
            }
        }
        self.delays.sort_unstable();
        let late = self.delays[self.delays.len() * 99 / 100];
        (self.now.mono.since(Instant::ZERO), late)
    }
}

#[test]
fn the_healthy_are_delivered_at_full_speed_beside_the_dead_and_the_slow() {
    for per_second in [5_000, 1_000_000_000] {
        let (alone, late_alone) = World::new(false).run(per_second);
        let mut world = World::new(true);
        let (beside, late_beside) = world.run(per_second);
        println!(
            "{per_second}/s: all after {alone:?}, beside bad ones {beside:?}; 99 of 100 within {late_alone:?} and {late_beside:?}; \
             {} deferrals",
            world.deferred
        );
        assert!(beside <= alone.mul_f64(1.2), "{beside:?} in place of {alone:?}");
        assert!(late_beside <= late_alone.mul_f64(1.2), "{late_beside:?} in place of {late_alone:?}");
        // One message a failure, and not all that wait.
        assert!(world.deferred <= 2 * DOMAINS as u64 / 100, "{} deferrals", world.deferred);
    }
}
