//! Mail that leaves from pools of own addresses.

use super::*;
use crate::delivery::{Limits, Pool, PoolAddress, Pools, Section, Shaping};
use std::collections::BTreeMap;

/// Own addresses, `192.0.2.250` and so on.
const OWN_COUNT: u8 = 4;

fn own(last: u8) -> IpAddr {
    IpAddr::from([192, 0, 2, 250 + last])
}

/// Own addresses by their numbers, with their weights.
fn pool(name: &str, addresses: &[(u8, u32)]) -> Pool {
    let addresses = addresses.iter().map(|(last, weight)| PoolAddress { ip: own(*last), weight: *weight });
    Pool { name: name.into(), addresses: addresses.collect() }
}

/// One route, and what leaves from `pools`: mail from `NAME.example`.
fn pooled(route: Route, pools: Vec<Pool>, limits: Option<Limits>) -> Routes {
    let shaping = limits.map(|limits| Section { hosts: vec!["192.0.2.1".into()], limits, ..Section::default() });
    let pools = pools.into_iter().map(|pool| {
        let domain = format!("{}.example", pool.name);
        (pool, [domain])
    });
    Routes::shaped([("*".into(), route)], Shaping::new(shaping.into_iter().collect()), Pools::new(pools)).unwrap()
}

fn one_host() -> Route {
    Route::new(vec![hop(1, 10)])
}

/// A receiver that takes each message in a second, and what it has seen.
struct Receiver {
    routes: Routes,
    owner: Destinations,
    now: u64,
    /// The own addresses of connections that are open.
    open: BTreeMap<ConnectionId, (IpAddr, Option<Arc<str>>)>,
    open_max: usize,
    busy: Vec<(u64, ConnectionId)>,
    /// Messages by their numbers, and where they came from, in their order.
    taken: Vec<(u64, IpAddr)>,
    /// It takes no connection from there.
    refuses: Option<IpAddr>,
}

impl Receiver {
    fn new(routes: Routes, settings: Settings) -> Receiver {
        let names = (0..OWN_COUNT).map(|last| (own(last), format!("mx{last}.example").into()));
        let owner = Destinations::new(&routes, settings, &names.collect::<Vec<_>>(), 1);
        let (open, busy, taken) = (BTreeMap::new(), Vec::new(), Vec::new());
        Receiver { routes, owner, now: 0, open, open_max: 0, busy, taken, refuses: None }
    }

    fn push(&mut self, number: u64, from: &str) {
        let pool = self.routes.pool_of(&format!("x@{from}.example"));
        let destination = self.routes.with_pool(first(), pool);
        self.owner.push(at(self.now).mono, 0, job(number, destination)).unwrap();
    }

    fn act(&mut self) {
        let now = at(self.now).mono;
        while let Some(action) = self.owner.poll(now) {
            match action {
                Action::Connect { connection, local, pool, ehlo_name, .. } => {
                    let IpAddr::V4(ip) = local else { panic!("{local}") };
                    assert_eq!(*ehlo_name, *format!("mx{}.example", ip.octets()[3] - 250));
                    if self.refuses == Some(local) {
                        self.owner.connect_failed(now, connection, refused());
                        continue;
                    }
                    self.open.insert(connection, (local, pool));
                    self.open_max = self.open_max.max(self.open.len());
                    self.owner.established(now, connection);
                    self.owner.ready(now, connection);
                }
                Action::Start { connection, work } => {
                    let Work::Deliver(job) = work else { panic!("{work:?}") };
                    let (local, pool) = &self.open[&connection];
                    let of_route = &self.routes.route(job.destination).pool;
                    assert_eq!(of_route.as_ref().map(|pool| &pool.name), pool.as_ref(), "another pool's connection");
                    self.taken.push((job.id.bits() & 0xffff_ffff, *local));
                    self.busy.push((self.now + 1, connection));
                }
                Action::Quit { connection } => {
                    self.open.remove(&connection);
                    self.owner.closed(now, connection, None);
                }
                Action::Finished { .. } => {}
                Action::Abort { connection } => panic!("{connection:?}"),
            }
        }
    }

    /// Lives for some seconds.
    fn run(&mut self, seconds: u64) {
        for _ in 0..seconds {
            self.act();
            self.now += 1;
            let (done, busy) = self.busy.iter().partition(|(until, _)| *until <= self.now);
            self.busy = busy;
            let done: Vec<(u64, ConnectionId)> = done;
            for (_, connection) in done {
                self.owner.done(at(self.now).mono, connection, delivered(), true);
            }
        }
        self.act();
    }

    fn locals(&self) -> BTreeMap<u64, IpAddr> {
        self.taken.iter().copied().collect()
    }

    fn places_of(&self, numbers: std::ops::Range<u64>) -> Vec<usize> {
        let taken = self.taken.iter().enumerate();
        taken.filter(|(_, (number, _))| numbers.contains(number)).map(|(place, _)| place).collect()
    }
}

#[test]
fn mail_of_one_pool_never_goes_over_a_connection_of_another() {
    let routes = pooled(one_host(), vec![pool("a", &[(1, 1)]), pool("b", &[(2, 1), (3, 1)])], None);
    let mut receiver = Receiver::new(routes, Settings::default());
    for number in 0..300 {
        receiver.push(number, ["a", "b", "nobody"][number as usize % 3]);
    }
    receiver.run(200);
    let locals = receiver.locals();
    assert_eq!((locals.len(), receiver.taken.len()), (300, 300));
    let expected = [vec![own(1)], vec![own(2), own(3)], vec![own(0)]];
    for (number, local) in locals {
        let expected = &expected[number as usize % 3];
        assert!(expected.contains(&local), "{number} from {local}");
    }
}

#[test]
fn a_pool_with_little_mail_is_not_starved_by_one_with_much() {
    for rate in [None, Some("1/s".parse().unwrap())] {
        let limits = Limits { connections_max: Some(1), message_rate: rate, ..Limits::default() };
        let routes = pooled(one_host(), vec![pool("a", &[(1, 1)]), pool("b", &[(2, 1)])], Some(limits));
        let settings = Settings { destination_queue_max: 1000, ..Settings::default() };
        let mut receiver = Receiver::new(routes, settings);
        (0..200).for_each(|number| receiver.push(number, "a"));
        receiver.run(20);
        (1000..1003).for_each(|number| receiver.push(number, "b"));
        receiver.run(150);
        assert_eq!(receiver.open_max, 1, "the limit holds for both");
        let places = receiver.places_of(1000..1003);
        assert_eq!(places.len(), 3, "{:?}", receiver.taken);
        let before = receiver.places_of(0..1000).into_iter().filter(|place| *place < places[2]).count();
        assert!(before < 20 + 3 * 25, "{before} of the other pool came first");
    }
}

#[test]
fn what_a_rate_allows_goes_to_pools_in_turns() {
    let rate = Some("1/s".parse().unwrap());
    let limits = Limits { message_rate: rate, ..Limits::default() };
    let routes = pooled(one_host(), vec![pool("a", &[(1, 1)]), pool("b", &[(2, 1)])], Some(limits));
    let settings = Settings { destination_queue_max: 1000, ..Settings::default() };
    let mut receiver = Receiver::new(routes, settings);
    (0..100).for_each(|number| receiver.push(number, "a"));
    (1000..1100).for_each(|number| receiver.push(number, "b"));
    receiver.run(60);
    let count = receiver.places_of(0..1000).len();
    let others = receiver.places_of(1000..2000).len();
    assert!((50..=62).contains(&(count + others)), "{count} and {others}: no more than what is allowed");
    assert!(count.abs_diff(others) <= 2, "{count} and {others}");
}

#[test]
fn messages_are_spread_by_weight_and_tried_again_from_the_same_address() {
    let routes = pooled(one_host(), vec![pool("a", &[(0, 1), (1, 3), (2, 0), (3, 6)])], None);
    let mut receiver = Receiver::new(routes, Settings::default());
    for number in 0..1000 {
        receiver.push(number, "a");
        receiver.run(2);
    }
    let first = receiver.locals();
    let count = |last| first.values().filter(|local| **local == own(last)).count();
    let counts: Vec<usize> = (0..OWN_COUNT).map(count).collect();
    for (count, expected) in counts.iter().zip([100usize, 300, 0, 600]) {
        assert!(count.abs_diff(expected) < 50, "{counts:?}");
    }
    receiver.taken.clear();
    for number in (0..1000).rev() {
        receiver.push(number, "a");
        receiver.run(2);
    }
    assert_eq!(receiver.locals(), first);
    assert!(receiver.open_max <= 3, "one connection from each address is enough");
}

#[test]
fn an_address_that_the_partner_has_is_not_used() {
    let routes = pooled(one_host(), vec![pool("a", &[(1, 1), (2, 0)])], None);
    let mut receiver = Receiver::new(routes, Settings::default());
    let from = |receiver: &mut Receiver, in_use: &[IpAddr]| {
        receiver.owner.set_in_use(|ip| in_use.contains(&ip));
        receiver.taken.clear();
        receiver.push(1, "a");
        receiver.run(10);
        receiver.taken[0].1
    };
    assert_eq!(from(&mut receiver, &[own(0), own(1), own(2)]), own(1));
    assert_eq!(from(&mut receiver, &[own(0), own(2)]), own(2), "what stands by is used");
    assert_eq!(from(&mut receiver, &[own(1), own(2)]), own(1));
}

#[test]
fn mail_that_cannot_leave_from_its_address_leaves_from_another_of_its_pool() {
    let routes = pooled(one_host(), vec![pool("a", &[(1, 1), (2, 1)])], None);
    let mut receiver = Receiver::new(routes, Settings::default());
    receiver.refuses = Some(own(2));
    for number in 0..100 {
        receiver.push(number, "a");
    }
    receiver.run(200);
    assert_eq!(receiver.locals().len(), 100);
    assert!(receiver.taken.iter().all(|(_, local)| *local == own(1)));
}

#[test]
fn what_stops_one_pool_does_not_stop_another() {
    let routes = pooled(one_host(), vec![pool("a", &[(1, 1)]), pool("b", &[(2, 1)])], None);
    let mut receiver = Receiver::new(routes, Settings::default());
    receiver.refuses = Some(own(2));
    receiver.push(1, "b");
    receiver.push(2, "a");
    receiver.run(5);
    assert_eq!(receiver.taken, [(2, own(1))]);
    let status = receiver.owner.status(at(5).mono, 0..receiver.owner.places(), true);
    let failed: Vec<_> = status.iter().filter(|target| target.hosts[0].failures > 0).collect();
    assert_eq!(failed.iter().map(|target| target.pool.as_deref()).collect::<Vec<_>>(), [Some("b")]);
    assert!(status.iter().all(|target| target.key == failed[0].key), "they are one destination");
}

#[test]
fn pools_share_the_limits_of_an_mx_set() {
    let mut route = Route::by_mx();
    route.connections_max = 1;
    let routes = pooled(route, vec![pool("a", &[(1, 1)]), pool("b", &[(2, 1)])], None);
    let names = (0..OWN_COUNT).map(|last| (own(last), "mx.example".into()));
    let mut owner = Destinations::new(&routes, Settings::default(), &names.collect::<Vec<_>>(), 1);
    let set = hosts(1, &[(10, "a.example", 1)]);
    let job = |number, from: &str| {
        let Work::Deliver(job) = job_to(number, &set) else { unreachable!() };
        let route = routes.with_pool(first(), routes.pool_of(from));
        Work::Deliver(Job { way: by_hosts(route, &set), ..job })
    };
    let workers: Vec<u16> = ["x@a.example", "x@b.example", ""].map(|from| routes.owner(&job(1, from), 7)).into();
    assert!(workers.iter().all(|worker| *worker == workers[0]), "one worker knows of all");
    owner.push(at(0).mono, 0, job(1, "x@a.example")).unwrap();
    owner.push(at(0).mono, 0, job(2, "x@b.example")).unwrap();
    let made = actions(&mut owner, 0);
    let [Action::Connect { connection, local, .. }] = &made[..] else { panic!("{made:?}") };
    assert_eq!(*local, own(1));
    owner.ready(at(0).mono, *connection);
    let made = actions(&mut owner, 0);
    assert_eq!((starts(&made).len(), connects(&made).len()), (1, 0));
    owner.done(at(1).mono, *connection, delivered(), true);
    assert!(actions(&mut owner, 1).contains(&Action::Quit { connection: *connection }), "the other one needs it");
    owner.closed(at(1).mono, *connection, None);
    let made = actions(&mut owner, 1);
    let [Action::Connect { local, pool: Some(pool), .. }] = &made[..] else { panic!("{made:?}") };
    assert_eq!((*local, &**pool), (own(2), "b"));
}
