//! Limits by destination, as deliveries meet them.

use super::*;
use crate::delivery::{Limits, Pools, Rate, Section, Shaping};
use std::collections::BTreeMap;

fn rate(text: &str) -> Option<Rate> {
    Some(text.parse().unwrap())
}

fn for_host(host: &str, limits: Limits) -> Section {
    Section { hosts: vec![host.into()], limits, ..Section::default() }
}

fn shaped(route: Route, sections: Vec<Section>) -> Routes {
    Routes::shaped([("*".into(), route)], Shaping::new(sections), Pools::default()).unwrap()
}

/// A receiver that takes everything, each message in so many milliseconds; what was connected and what was started, and when.
struct Receiver {
    owner: Destinations,
    takes_ms: u64,
    now_ms: u64,
    number: u64,
    busy: BTreeMap<(u64, ConnectionId), ()>,
    connected: Vec<u64>,
    started: Vec<u64>,
    /// Connections that are open, and the most that ever were.
    open: usize,
    open_max: usize,
}

impl Receiver {
    fn new(routes: &Routes, takes_ms: u64) -> Receiver {
        let owner = owner(routes, Settings::default());
        let (busy, connected, started) = (BTreeMap::new(), Vec::new(), Vec::new());
        Receiver { owner, takes_ms, now_ms: 0, number: 0, busy, connected, started, open: 0, open_max: 0 }
    }

    fn now(&self) -> Instant {
        Instant::ZERO + Duration::from_millis(self.now_ms)
    }

    fn push(&mut self, count: u64) {
        for _ in 0..count {
            self.number += 1;
            self.owner.push(self.now(), 0, job(self.number, first())).unwrap();
        }
    }

    fn act(&mut self) {
        while let Some(action) = self.owner.poll(self.now()) {
            match action {
                Action::Connect { connection, .. } => {
                    self.connected.push(self.now_ms);
                    self.open += 1;
                    self.open_max = self.open_max.max(self.open);
                    self.owner.ready(self.now(), connection);
                }
                Action::Start { connection, .. } => {
                    self.started.push(self.now_ms);
                    self.busy.insert((self.now_ms + self.takes_ms, connection), ());
                }
                Action::Quit { connection } => {
                    self.open -= 1;
                    self.owner.closed(self.now(), connection, None);
                }
                Action::Finished { .. } => {}
                Action::Abort { .. } => unreachable!("nothing takes too long"),
            }
        }
    }

    /// Lives on until then, from one thing that happens to the next.
    fn run(&mut self, until_ms: u64) {
        loop {
            self.act();
            let deadline =
                self.owner.next_deadline().map(|at| at.since(Instant::ZERO).as_micros().div_ceil(1000) as u64);
            let finished = self.busy.first_key_value().map(|((at, _), ())| *at);
            let Some(next) = deadline.into_iter().chain(finished).min().filter(|at| *at <= until_ms) else { break };
            assert!(next > self.now_ms || finished == Some(next), "a deadline in the past would spin");
            self.now_ms = next.max(self.now_ms);
            while let Some((at, connection)) = self.busy.first_key_value().map(|(key, ())| *key)
                && at <= self.now_ms
            {
                self.busy.pop_first();
                self.owner.done(self.now(), connection, delivered(), true);
            }
        }
        self.now_ms = until_ms;
    }
}

#[test]
fn a_message_rate_is_kept_over_all_connections() {
    let limits = Limits { message_rate: rate("2/s"), ..Limits::default() };
    let mut receiver = Receiver::new(&shaped(Route::new(vec![hop(1, 10)]), vec![for_host("192.0.2.1", limits)]), 5000);
    receiver.push(100);
    receiver.run(20_000);
    assert_eq!(receiver.started[..4], [0, 500, 1000, 1500]);
    assert_eq!(receiver.started.len(), 41);
    assert!(receiver.connected.len() <= 12, "no connection is opened for a message that may not go yet");
    // What was not used does not come in a burst.
    receiver.run(100_000);
    let before = receiver.started.len();
    receiver.push(50);
    receiver.run(101_900);
    assert_eq!(receiver.started.len() - before, 4);
}

#[test]
fn a_connection_rate_slows_the_growth_and_nothing_else() {
    let limits = Limits { connection_rate: rate("1/s"), transactions_per_connection: Some(3), ..Limits::default() };
    let mut receiver = Receiver::new(&shaped(Route::new(vec![hop(1, 10)]), vec![for_host("192.0.2.1", limits)]), 10);
    receiver.push(100);
    receiver.run(10_000);
    assert_eq!(receiver.connected, (0..=10).map(|second| second * 1000).collect::<Vec<_>>());
    assert_eq!(receiver.started.len(), 31, "three messages on each, and the first on the last");
}

#[test]
fn of_several_sections_the_strictest_counts_and_each_for_itself() {
    let mut route = Route::new(vec![hop(1, 10)]);
    route.connections_max = 3;
    let limits = |connections_max, message_rate| Limits { connections_max, message_rate, ..Limits::default() };
    let sections = vec![
        for_host("192.0.2.1", limits(Some(7), None)),
        Section {
            networks: vec!["192.0.2.0/24".parse().unwrap()],
            limits: limits(Some(5), None),
            ..Section::default()
        },
        for_host("other.example", limits(Some(1), rate("1/h"))),
    ];
    let mut receiver = Receiver::new(&shaped(route.clone(), sections), 1000);
    receiver.push(100);
    receiver.run(5000);
    assert_eq!(receiver.open_max, 5, "more than the route allows, as a section says so");
    let mut receiver = Receiver::new(&shaped(route, vec![for_host("192.0.2.1", limits(None, rate("100/s")))]), 1000);
    receiver.push(100);
    receiver.run(5000);
    assert_eq!(receiver.open_max, 3, "what no section says is as the route says");
}

#[test]
fn domains_that_a_section_names_keep_their_rate_for_themselves() {
    let limits = Limits { message_rate: rate("1/s"), ..Limits::default() };
    let section =
        Section { domains: vec!["slow.example".into(), ".slow.example".into()], limits, ..Section::default() };
    let mut route = Route::by_mx();
    route.connections_max = 1;
    let routes = shaped(route, vec![section]);
    let of = |domain| routes.destination(domain);
    assert_eq!(of("slow.example"), of("a.SLOW.example"));
    assert_ne!(of("slow.example"), of("fast.example"));
    let mut owner = owner(&routes, Settings::default());
    let set = hosts(1, &[(10, "a.example", 1)]);
    let mut started = [0, 0];
    for number in 0..40 {
        for (domain, name) in ["slow.example", "fast.example"].into_iter().enumerate() {
            let Work::Deliver(job) = job_to(number * 2 + domain as u64, &set) else { unreachable!() };
            let way = by_hosts(of(name), &set);
            owner.push(at(number).mono, 0, Work::Deliver(Job { way, ..job })).unwrap();
        }
        while let Some(action) = owner.poll(at(number).mono) {
            match action {
                Action::Connect { connection, .. } => owner.ready(at(number).mono, connection),
                Action::Start { connection, work: Work::Deliver(job) } => {
                    started[(job.id.number() % 2) as usize] += 1;
                    owner.done(at(number).mono, connection, delivered(), true);
                }
                _ => {}
            }
        }
    }
    assert_eq!(started, [40, 40]);
    // Twenty more at once: the one waits, the other does not.
    for number in 40..60 {
        let Work::Deliver(job) = job_to(number * 2, &set) else { unreachable!() };
        for route in [of("slow.example"), of("fast.example")] {
            let way = by_hosts(route, &set);
            owner.push(at(60).mono, 0, Work::Deliver(Job { way, ..job.clone() })).unwrap();
        }
    }
    let mut started = 0;
    while let Some(action) = owner.poll(at(60).mono) {
        match action {
            Action::Connect { connection, .. } => owner.ready(at(60).mono, connection),
            Action::Start { connection, .. } => {
                started += 1;
                owner.done(at(60).mono, connection, delivered(), true);
            }
            Action::Quit { connection } => owner.closed(at(60).mono, connection, None),
            _ => {}
        }
    }
    assert_eq!(started, 21);
}

#[test]
fn a_limit_of_the_best_host_sends_nothing_to_its_fallback() {
    let limits = Limits { connections_max: Some(1), ..Limits::default() };
    let routes = shaped(Route::new(vec![hop(1, 10), hop(2, 20)]), vec![for_host("192.0.2.1", limits.clone())]);
    let mut owner1 = owner(&routes, Settings::default());
    for number in 0..20 {
        owner1.push(at(0).mono, 0, job(number, first())).unwrap();
    }
    let (connection, _) = connects(&actions(&mut owner1, 0))[0];
    owner1.ready(at(0).mono, connection);
    assert_eq!(connects(&actions(&mut owner1, 0)), [], "the fallback is for when the best one fails");
    // Among equals the others go on.
    let routes = shaped(Route::new(vec![hop(1, 10), hop(2, 10)]), vec![for_host("192.0.2.1", limits)]);
    let mut owner = owner(&routes, Settings::default());
    for number in 0..100 {
        owner.push(at(0).mono, 0, job(number, first())).unwrap();
    }
    let mut to = BTreeMap::new();
    loop {
        let made = connects(&actions(&mut owner, 0));
        if made.is_empty() {
            break;
        }
        for (connection, remote) in made {
            *to.entry(remote.ip().to_string()).or_insert(0) += 1;
            owner.ready(at(0).mono, connection);
        }
    }
    assert_eq!(to["192.0.2.1"], 1);
    assert_eq!(to["192.0.2.2"], 20, "as many as the route allows");
}

#[test]
fn timeouts_and_transactions_of_a_section_take_the_place_of_those_of_all() {
    let limits = Limits {
        transactions_per_connection: Some(2),
        idle_timeout: Some(Duration::from_secs(60)),
        connect_timeout: Some(Duration::from_secs(90)),
        ..Limits::default()
    };
    let routes = shaped(Route::new(vec![hop(1, 10)]), vec![for_host("192.0.2.1", limits)]);
    let mut owner = owner(&routes, Settings { transactions_per_connection_max: 1, ..Settings::default() });
    owner.push(at(0).mono, 0, job(1, first())).unwrap();
    let (connection, _) = connects(&actions(&mut owner, 0))[0];
    assert_eq!(owner.next_deadline(), Some(at(90).mono));
    owner.ready(at(1).mono, connection);
    actions(&mut owner, 1);
    owner.done(at(2).mono, connection, delivered(), true);
    actions(&mut owner, 2);
    assert_eq!(owner.next_deadline(), Some(at(62).mono));
    owner.push(at(3).mono, 0, job(2, first())).unwrap();
    actions(&mut owner, 3);
    owner.done(at(4).mono, connection, delivered(), true);
    assert!(actions(&mut owner, 4).contains(&Action::Quit { connection }));
}

#[test]
fn a_question_does_not_wait_for_a_message_rate() {
    let limits = Limits { message_rate: rate("1/h"), ..Limits::default() };
    let routes = shaped(Route::new(vec![hop(1, 10)]), vec![for_host("192.0.2.1", limits)]);
    let mut owner = owner(&routes, Settings::default());
    owner.push(at(0).mono, 0, job(1, first())).unwrap();
    let (connection, _) = connects(&actions(&mut owner, 0))[0];
    owner.ready(at(0).mono, connection);
    actions(&mut owner, 0);
    owner.done(at(0).mono, connection, delivered(), true);
    owner.push(at(1).mono, 0, job(2, first())).unwrap();
    assert_eq!(starts(&actions(&mut owner, 1)), []);
    let verify = Work::Verify { token: 9, destination: first(), recipient: "a@d0.example".into() };
    owner.push(at(1).mono, 0, verify).unwrap();
    assert_eq!(starts(&actions(&mut owner, 1)), [connection]);
}
