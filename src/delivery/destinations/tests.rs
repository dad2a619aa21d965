use super::*;
use crate::delivery::testing::{answer, at, hop, hosts, routes, said};
use crate::delivery::{
    Demand, Hop, Job, JobRecipient, Pool, PoolAddress, Protocol, Route, Security, Standstill, TlsPolicy, WorkResult,
};
use crate::smtp::client::Stage;
use crate::smtp::{BodyType, Priority};
use crate::spool::MessageId;
use std::net::SocketAddr;
use std::time::Duration;

mod concurrency;
mod orders;
mod pools;
mod priorities;
mod reactions;
mod shaping;
mod status;

const OWN: &str = "mx.example.net";

fn job(number: u64, destination: DestinationId) -> Work {
    let recipient = |index| JobRecipient { index, address: "a@d.example".into(), notify: None, original: None };
    Work::Deliver(Job {
        way: Way::Route,
        id: MessageId::new(1, number),
        destination,
        recipients: vec![recipient(0), recipient(2)],
        reverse_path: "".into(),
        size: 1,
        body: BodyType::SevenBit,
        smtputf8: false,
        require_tls: false,
        priority: Priority::NORMAL,
        ret: None,
        envelope_id: None,
    })
}

fn delivered() -> TaskResult {
    TaskResult::Deliver {
        fates: vec![(0, Fate::Delivered(answer())), (2, Fate::Delivered(answer()))],
        dsn_offered: false,
        broken_off: false,
    }
}

fn owner(routes: &Routes, settings: Settings) -> Destinations {
    Destinations::new(routes, settings, &[("192.0.2.250".parse().unwrap(), OWN.into())], 3)
}

fn one_route(hops: Vec<crate::delivery::Hop>) -> Routes {
    Routes::new([("*".into(), Route::new(hops))]).unwrap()
}

fn first() -> DestinationId {
    DestinationId::from_index(0)
}

fn actions(owner: &mut Destinations, seconds: u64) -> Vec<Action> {
    std::iter::from_fn(|| owner.poll(at(seconds).mono)).collect()
}

fn connects(actions: &[Action]) -> Vec<(ConnectionId, SocketAddr)> {
    (actions.iter())
        .filter_map(|action| match action {
            Action::Connect { connection, remote, .. } => Some((*connection, *remote)),
            _ => None,
        })
        .collect()
}

fn starts(actions: &[Action]) -> Vec<ConnectionId> {
    (actions.iter())
        .filter_map(|action| match action {
            Action::Start { connection, .. } => Some(*connection),
            _ => None,
        })
        .collect()
}

fn fates(actions: &[Action]) -> Vec<Fate> {
    (actions.iter())
        .filter_map(|action| match action {
            Action::Finished { result: WorkResult::Deliver(result), .. } => Some(result.fates.clone()),
            _ => None,
        })
        .flatten()
        .map(|(_, fate)| fate)
        .collect()
}

fn status(owner: &Destinations, now: Instant) -> Vec<DestinationStatus> {
    owner.status(now, 0..usize::MAX, true)
}

fn refused() -> Answer {
    Answer::local((4, 4, 1), "connection refused")
}

#[test]
fn a_job_is_connected_started_finished_and_its_connection_reused() {
    let routes = routes(1);
    let mut owner = owner(&routes, Settings::default());
    owner.push(at(0).mono, 5, job(1, first())).unwrap();
    let made = actions(&mut owner, 0);
    let [Action::Connect { connection, local, remote, protocol, ehlo_name, .. }] = &made[..] else {
        panic!("{made:?}")
    };
    let connection = *connection;
    assert_eq!((local.to_string(), remote.to_string()), ("192.0.2.250".into(), "192.0.2.0:25".into()));
    assert_eq!((*protocol, &**ehlo_name), (Protocol::Smtp, OWN));
    owner.established(at(1).mono, connection);
    owner.ready(at(1).mono, connection);
    assert_eq!(actions(&mut owner, 1), [Action::Start { connection, work: job(1, first()) }]);
    owner.done(at(2).mono, connection, delivered(), true);
    let made = actions(&mut owner, 2);
    let [Action::Finished { worker: 5, result: WorkResult::Deliver(result) }] = &made[..] else { panic!("{made:?}") };
    assert_eq!(result.fates.iter().map(|(index, _)| *index).collect::<Vec<_>>(), [0, 2]);
    owner.push(at(3).mono, 5, job(2, first())).unwrap();
    assert_eq!(starts(&actions(&mut owner, 3)), [connection]);
    owner.done(at(3).mono, connection, delivered(), true);
    actions(&mut owner, 3);
    assert_eq!(owner.next_deadline(), Some(at(8).mono));
    assert_eq!(actions(&mut owner, 7), []);
    assert_eq!(actions(&mut owner, 8), [Action::Quit { connection }]);
    owner.closed(at(8).mono, connection, None);
    assert!(actions(&mut owner, 8).is_empty());
    assert!(owner.idle());
    assert_eq!(owner.next_deadline(), None);
}

#[test]
fn hosts_are_tried_by_preference_and_all_addresses_of_each() {
    let mut best = hop(1, 10);
    best.addresses = vec!["192.0.2.1".parse().unwrap(), "2001:db8::1".parse().unwrap(), "192.0.2.2".parse().unwrap()];
    let routes = one_route(vec![hop(9, 20), best]);
    let mut owner = owner(&routes, Settings::default());
    owner.push(at(0).mono, 0, job(1, first())).unwrap();
    let mut tried = Vec::new();
    let mut made = actions(&mut owner, 0);
    while let [Action::Connect { connection, remote, .. }] = &made[..] {
        tried.push(remote.ip().to_string());
        owner.connect_failed(at(0).mono, *connection, refused());
        made = actions(&mut owner, 0);
    }
    assert_eq!(tried, ["192.0.2.1", "192.0.2.2", "192.0.2.9"], "no own IPv6 address: that one is passed over");
    assert_eq!(fates(&made), vec![Fate::deferred(refused()); 2]);
}

#[test]
fn equal_hosts_share_the_load() {
    let routes = one_route(vec![hop(1, 10), hop(2, 10), hop(3, 10)]);
    let mut owner = owner(&routes, Settings { transactions_per_connection_max: 1, ..Settings::default() });
    let mut counts = [0; 4];
    for number in 0..300 {
        owner.push(at(0).mono, 0, job(number, first())).unwrap();
        let (connection, remote) = connects(&actions(&mut owner, 0))[0];
        let SocketAddr::V4(remote) = remote else { panic!() };
        counts[usize::from(remote.ip().octets()[3])] += 1;
        owner.ready(at(0).mono, connection);
        actions(&mut owner, 0);
        owner.done(at(0).mono, connection, delivered(), true);
        assert!(actions(&mut owner, 0).contains(&Action::Quit { connection }), "its transactions are used up");
        owner.closed(at(0).mono, connection, None);
    }
    assert!(counts[1..].iter().all(|count| *count > 60), "{counts:?}");
}

#[test]
fn a_dead_destination_costs_one_message_an_attempt_and_one_connection_a_pause() {
    let routes = routes(2);
    let mut owner =
        owner(&routes, Settings { destination_queue_max: 200_000, queue_max: 200_000, ..Settings::default() });
    for number in 0..100_000 {
        owner.push(at(0).mono, 0, job(number, first())).unwrap();
    }
    let probe = connects(&actions(&mut owner, 0));
    assert_eq!(probe.len(), 1);
    owner.push(at(0).mono, 0, job(100_000, DestinationId::from_index(1))).unwrap();
    assert_eq!(connects(&actions(&mut owner, 0)).len(), 1, "the other destination goes its way meanwhile");
    owner.connect_failed(at(0).mono, probe[0].0, refused());
    let made = actions(&mut owner, 0);
    assert_eq!((fates(&made).len(), connects(&made).len()), (200_000, 0));
    let (tried, untried): (Vec<Fate>, Vec<Fate>) = fates(&made).into_iter().partition(|fate| *fate != Fate::Untried);
    assert_eq!(
        (tried, untried.len()),
        (vec![Fate::deferred(refused()); 2], 199_998),
        "one message was tried, and no other"
    );
    // Until the pause is over nothing is tried, and the answer says so.
    owner.push(at(1).mono, 0, job(1, first())).unwrap();
    let made = actions(&mut owner, 1);
    let [Action::Finished { result: WorkResult::Deliver(result), .. }] = &made[..] else { panic!("{made:?}") };
    assert!(result.fates.iter().all(|(_, fate)| *fate == Fate::Untried));
    let Some(Standstill::Closed { until, why }) = result.standstill.as_deref() else { panic!("{made:?}") };
    assert_eq!(*until, at(30).mono);
    assert_eq!(&*why.text, "all hosts failed lately and are tried again in 29 s; the last one: connection refused");
    // Each failed probe makes the pause longer.
    let mut now = 0;
    for pause in [30, 60, 120, 240, 480, 600, 600] {
        owner.push(at(now + pause - 1).mono, 0, job(1, first())).unwrap();
        assert_eq!(connects(&actions(&mut owner, now + pause - 1)), []);
        now += pause;
        owner.push(at(now).mono, 0, job(1, first())).unwrap();
        owner.push(at(now).mono, 0, job(2, first())).unwrap();
        owner.push(at(now).mono, 0, job(3, first())).unwrap();
        let probe = connects(&actions(&mut owner, now));
        assert_eq!(probe.len(), 1);
        owner.connect_failed(at(now).mono, probe[0].0, refused());
        let made = fates(&actions(&mut owner, now));
        assert_eq!(made[..2], vec![Fate::deferred(refused()); 2]);
        assert_eq!(made[2..], vec![Fate::Untried; 4]);
    }
    assert_eq!(status(&owner, at(now).mono)[0].hosts[0].failures, 8);
}

#[test]
fn connections_grow_with_the_backlog_up_to_the_limit() {
    let mut route = Route::new(vec![hop(1, 10)]);
    route.connections_max = 5;
    let routes = Routes::new([("*".into(), route)]).unwrap();
    let mut owner = owner(&routes, Settings::default());
    for number in 0..100 {
        owner.push(at(0).mono, 0, job(number, first())).unwrap();
    }
    let mut growth = Vec::new();
    let mut open = connects(&actions(&mut owner, 0));
    while !open.is_empty() {
        growth.push(open.len());
        for (connection, _) in &open {
            owner.ready(at(0).mono, *connection);
        }
        open = connects(&actions(&mut owner, 0));
    }
    assert_eq!(growth, [1, 1, 2, 1]);
}

#[test]
fn one_waiting_job_does_not_open_a_second_connection() {
    let routes = routes(1);
    let mut owner = owner(&routes, Settings::default());
    owner.push(at(0).mono, 0, job(1, first())).unwrap();
    let (connection, _) = connects(&actions(&mut owner, 0))[0];
    owner.ready(at(0).mono, connection);
    owner.push(at(0).mono, 0, job(2, first())).unwrap();
    assert_eq!(connects(&actions(&mut owner, 0)), []);
    owner.push(at(0).mono, 0, job(3, first())).unwrap();
    assert_eq!(connects(&actions(&mut owner, 0)).len(), 1);
}

#[test]
fn a_refusal_beside_a_served_connection_only_stops_the_growth() {
    let routes = routes(1);
    let mut owner = owner(&routes, Settings::default());
    for number in 0..50 {
        owner.push(at(0).mono, 0, job(number, first())).unwrap();
    }
    let (one, _) = connects(&actions(&mut owner, 0))[0];
    owner.ready(at(0).mono, one);
    let (two, _) = connects(&actions(&mut owner, 0))[0];
    owner.established(at(0).mono, two);
    owner.closed(at(0).mono, two, Some(said(421, Stage::Greeting, "421 4.7.0 too many connections")));
    assert_eq!(actions(&mut owner, 0), []);
    owner.done(at(1).mono, one, delivered(), true);
    assert_eq!(starts(&actions(&mut owner, 1)), [one], "the one that is there goes on");
    assert_eq!(connects(&actions(&mut owner, 30)).len(), 1, "another is tried after the pause");
}

#[test]
fn a_lost_connection_defers_what_it_had_in_hand() {
    let routes = routes(1);
    let mut owner = owner(&routes, Settings::default());
    for drop in 1..=5 {
        owner.push(at(0).mono, 0, job(drop, first())).unwrap();
        let (connection, _) = connects(&actions(&mut owner, 0))[0];
        owner.ready(at(0).mono, connection);
        actions(&mut owner, 0);
        owner.closed(at(0).mono, connection, None);
        owner.closed(at(0).mono, connection, None);
        owner.done(at(0).mono, connection, delivered(), true);
        let made = fates(&actions(&mut owner, 0));
        assert_eq!(made.len(), 2);
        assert!(matches!(&made[0], Fate::Deferred { tried: true, .. }));
    }
    owner.push(at(0).mono, 0, job(6, first())).unwrap();
    assert_eq!(fates(&actions(&mut owner, 0)), vec![Fate::Untried; 2], "enough of that host");
    assert!(matches!(owner.news(), Some(News::HostDown { failures: 1, .. })));
}

#[test]
fn every_recipient_gets_one_fate_whatever_the_session_says() {
    let routes = routes(1);
    let mut owner = owner(&routes, Settings::default());
    owner.push(at(0).mono, 0, job(1, first())).unwrap();
    let (connection, _) = connects(&actions(&mut owner, 0))[0];
    owner.ready(at(0).mono, connection);
    actions(&mut owner, 0);
    let failed = Fate::Failed(answer());
    let fates = vec![(7, failed.clone()), (2, failed.clone()), (2, Fate::Untried), (1, failed.clone())];
    owner.done(at(0).mono, connection, TaskResult::Deliver { fates, dsn_offered: true, broken_off: false }, false);
    let made = actions(&mut owner, 0);
    let Action::Finished { result: WorkResult::Deliver(result), .. } = &made[0] else { panic!("{made:?}") };
    assert!(matches!(&result.fates[..], [(0, Fate::Deferred { .. }), (2, fate)] if *fate == failed));
}

#[test]
fn questions_go_before_deliveries() {
    let routes = routes(1);
    let mut owner = owner(&routes, Settings::default());
    owner.push(at(0).mono, 0, job(1, first())).unwrap();
    let verify = Work::Verify { token: 9, destination: first(), recipient: "a@d0.example".into() };
    owner.push(at(0).mono, 2, verify.clone()).unwrap();
    let (connection, _) = connects(&actions(&mut owner, 0))[0];
    owner.ready(at(0).mono, connection);
    assert_eq!(actions(&mut owner, 0), [Action::Start { connection, work: verify }]);
    owner.done(at(0).mono, connection, TaskResult::Verify(Fate::Delivered(answer())), true);
    let result = WorkResult::Verify { token: 9, fate: Fate::Delivered(answer()) };
    assert_eq!(actions(&mut owner, 0)[0], Action::Finished { worker: 2, result });
}

#[test]
fn a_handshake_or_a_farewell_that_takes_too_long_is_aborted() {
    let routes = routes(1);
    let mut owner = owner(&routes, Settings::default());
    owner.push(at(0).mono, 0, job(1, first())).unwrap();
    let (connection, _) = connects(&actions(&mut owner, 0))[0];
    let made = actions(&mut owner, 30);
    assert_eq!(made[0], Action::Abort { connection });
    let text = "connect to 192.0.2.0 (192.0.2.0:25): timed out";
    assert_eq!(fates(&made)[0].answer().unwrap().text.as_ref(), text);
    owner.push(at(100).mono, 0, job(1, first())).unwrap();
    let (connection, _) = connects(&actions(&mut owner, 100))[0];
    owner.established(at(100).mono, connection);
    assert_eq!(actions(&mut owner, 300), [], "a slow greeting is the session's to judge");
    owner.ready(at(300).mono, connection);
    actions(&mut owner, 300);
    owner.done(at(300).mono, connection, delivered(), false);
    actions(&mut owner, 300);
    assert_eq!(actions(&mut owner, 310), [Action::Abort { connection }]);
    assert!(owner.idle());
}

#[test]
fn the_pool_of_a_route_says_where_its_mail_leaves_from() {
    let own: Vec<(IpAddr, Box<str>)> = [("192.0.2.250", "a"), ("192.0.2.251", "b"), ("2001:db8::250", "c")]
        .map(|(ip, name)| (ip.parse().unwrap(), name.into()))
        .into();
    let v6: IpAddr = "2001:db8::1".parse().unwrap();
    let cases = [
        (None, false, Some("a")),
        (None, true, Some("c")),
        (Some("192.0.2.251"), false, Some("b")),
        (Some("192.0.2.251"), true, None),
        (Some("2001:db8::250"), true, Some("c")),
        (Some("192.0.2.99"), false, None),
    ];
    for (source, to_v6, expected) in cases {
        let mut route = Route::new(vec![hop(1, 10)]);
        if to_v6 {
            route.hops[0].addresses = vec![v6];
        }
        let address = |ip: &str| PoolAddress { ip: ip.parse().unwrap(), weight: 1 };
        route.pool = source.map(|ip| Arc::new(Pool { name: "p".into(), addresses: vec![address(ip)] }));
        let routes = Routes::new([("*".into(), route)]).unwrap();
        let mut owner = Destinations::new(&routes, Settings::default(), &own, 1);
        owner.push(at(0).mono, 0, job(1, first())).unwrap();
        let made = actions(&mut owner, 0);
        match (&made[0], expected) {
            (Action::Connect { ehlo_name, .. }, Some(name)) => assert_eq!(&**ehlo_name, name),
            (Action::Finished { result: WorkResult::Deliver(result), .. }, None) => {
                assert_eq!(result.fates[0].1.answer().unwrap().status, (4, 3, 5));
            }
            other => panic!("{source:?} {other:?}"),
        }
    }
}

#[test]
fn what_has_no_route_is_deferred_without_a_connection() {
    let routes = routes(1);
    let mut owner = owner(&routes, Settings::default());
    owner.push(at(0).mono, 0, job(1, DestinationId::NOWHERE)).unwrap();
    let made = actions(&mut owner, 0);
    let Fate::Deferred { answer, tried: true, .. } = &fates(&made)[0] else { panic!("{made:?}") };
    assert_eq!(answer.status, (4, 4, 4));
}

#[test]
fn what_is_discarded_is_delivered_without_a_connection() {
    let mut owner = owner(&one_route(Vec::new()), Settings::default());
    owner.push(at(0).mono, 0, job(1, first())).unwrap();
    let made = actions(&mut owner, 0);
    let Fate::Delivered(answer) = &fates(&made)[0] else { panic!("{made:?}") };
    assert_eq!((answer.status, &*answer.text), ((2, 0, 0), "discarded"));
}

#[test]
fn full_queues_give_the_work_back() {
    let routes = routes(2);
    let mut owner = owner(&routes, Settings { destination_queue_max: 2, queue_max: 3, ..Settings::default() });
    let other = DestinationId::from_index(1);
    assert!(owner.push(at(0).mono, 0, job(1, first())).is_ok());
    assert!(owner.push(at(0).mono, 0, job(2, first())).is_ok());
    assert_eq!(owner.push(at(0).mono, 0, job(3, first())), Err(job(3, first())));
    assert!(owner.push(at(0).mono, 0, job(4, other)).is_ok());
    assert_eq!(owner.push(at(0).mono, 0, job(5, other)), Err(job(5, other)));
}

#[test]
fn with_all_connections_in_use_every_destination_still_gets_its_turn() {
    let routes = routes(6);
    let mut owner = owner(&routes, Settings { connections_max: 2, ..Settings::default() });
    let mut served = [0u32; 6];
    let mut open: Vec<ConnectionId> = Vec::new();
    for round in 0..600u64 {
        for index in 0..6 {
            let _ = owner.push(at(0).mono, 0, job(round, DestinationId::from_index(index)));
        }
        let mut finished = Vec::new();
        for action in actions(&mut owner, 0) {
            match action {
                Action::Connect { connection, .. } => {
                    open.push(connection);
                    assert!(open.len() <= 2);
                    owner.ready(at(0).mono, connection);
                }
                Action::Start { connection, work } => finished.push((connection, work)),
                Action::Quit { connection } => {
                    open.retain(|other| *other != connection);
                    owner.closed(at(0).mono, connection, None);
                }
                _ => {}
            }
        }
        for (connection, work) in finished {
            served[work.destination().index()] += 1;
            owner.done(at(0).mono, connection, delivered(), true);
        }
    }
    assert!(served.iter().all(|count| *count > 30), "{served:?}");
}

#[test]
fn shutdown_finishes_what_is_in_hand_and_hands_back_the_rest() {
    let routes = routes(2);
    let mut owner = owner(&routes, Settings::default());
    let other = DestinationId::from_index(1);
    owner.push(at(0).mono, 0, job(1, first())).unwrap();
    let (connection, _) = connects(&actions(&mut owner, 0))[0];
    owner.ready(at(0).mono, connection);
    actions(&mut owner, 0);
    owner.push(at(0).mono, 0, job(2, first())).unwrap();
    owner.push(at(0).mono, 0, job(3, other)).unwrap();
    let (opening, _) = connects(&actions(&mut owner, 0))[0];
    owner.drain(at(0).mono);
    let made = actions(&mut owner, 0);
    assert_eq!(fates(&made), vec![Fate::Untried; 4]);
    assert_eq!(made[0], Action::Abort { connection: opening });
    owner.push(at(0).mono, 0, job(4, other)).unwrap();
    assert_eq!(fates(&actions(&mut owner, 0)), vec![Fate::Untried; 2]);
    assert!(!owner.idle());
    owner.done(at(1).mono, connection, delivered(), true);
    let made = actions(&mut owner, 1);
    assert_eq!(fates(&made).len(), 2);
    assert!(made.contains(&Action::Quit { connection }));
    owner.closed(at(1).mono, connection, None);
    assert!(actions(&mut owner, 1).is_empty());
    assert!(owner.idle());
    assert_eq!(owner.next_deadline(), None);
}

#[test]
fn work_that_waits_for_too_long_goes_back_to_who_gave_it() {
    let routes = routes(1);
    let mut owner = owner(&routes, Settings::default());
    owner.push(at(0).mono, 0, job(1, first())).unwrap();
    let (connection, _) = connects(&actions(&mut owner, 0))[0];
    owner.ready(at(0).mono, connection);
    actions(&mut owner, 0);
    owner.push(at(10).mono, 0, job(2, first())).unwrap();
    owner.push(at(20).mono, 0, job(3, first())).unwrap();
    let mut back = Vec::new();
    for (seconds, expected) in [(309, 0), (310, 1), (319, 1), (320, 2)] {
        for action in actions(&mut owner, seconds) {
            match action {
                Action::Finished { result: WorkResult::Deliver(result), .. } => {
                    assert!(result.fates.iter().all(|(_, fate)| *fate == Fate::Untried));
                    assert!(matches!(result.standstill.as_deref(), Some(Standstill::Waited { .. })));
                    back.push(result.id);
                }
                Action::Connect { connection, .. } => owner.connect_impossible(at(seconds).mono, connection, refused()),
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(back.len(), expected, "after {seconds} s");
    }
    assert_eq!(back, [MessageId::new(1, 2), MessageId::new(1, 3)]);
}

#[test]
fn reports_about_the_dead_change_nothing() {
    let routes = routes(1);
    let mut owner = owner(&routes, Settings::default());
    let ghost = ConnectionId { index: 0, generation: 99 };
    owner.push(at(0).mono, 0, job(1, first())).unwrap();
    actions(&mut owner, 0);
    owner.ready(at(0).mono, ghost);
    owner.established(at(0).mono, ghost);
    owner.done(at(0).mono, ghost, delivered(), true);
    owner.closed(at(0).mono, ghost, None);
    assert_eq!(actions(&mut owner, 0), []);
    assert_eq!(owner.next_deadline(), Some(at(0).mono + Duration::from_secs(30)));
}

/// A job for an MX set, of a queue that knows its domain by a number of its own.
fn job_to(number: u64, set: &Arc<MailHosts>) -> Work {
    let Work::Deliver(job) = job(number, DestinationId::from_index(7)) else { unreachable!() };
    Work::Deliver(Job { way: by_hosts(first(), set), ..job })
}

fn by_hosts(route: RouteId, set: &Arc<MailHosts>) -> Way {
    Way::Hosts { domain: "d.example".into(), route, hosts: Arc::clone(set) }
}

fn by_mx() -> Routes {
    let mut route = Route::by_mx();
    route.connections_max = 1;
    Routes::new([("*".into(), route)]).unwrap()
}

#[test]
fn domains_with_the_same_hosts_share_connections() {
    let mut owner = owner(&by_mx(), Settings::default());
    let all: &[(u16, &str, u8)] = &[(10, "a.example", 1), (20, "b.example", 2)];
    owner.push(at(0).mono, 0, job_to(1, &hosts(1, all))).unwrap();
    owner.push(at(0).mono, 0, job_to(2, &hosts(2, all))).unwrap();
    owner.push(at(0).mono, 0, job_to(3, &hosts(3, &[(10, "a.example", 1)]))).unwrap();
    let made = connects(&actions(&mut owner, 0));
    assert_eq!(made.len(), 2, "one for each set of hosts");
    let (connection, remote) = made[0];
    assert_eq!(remote.to_string(), "198.51.100.1:25");
    owner.ready(at(0).mono, connection);
    assert_eq!(starts(&actions(&mut owner, 0)), [connection]);
    owner.done(at(0).mono, connection, delivered(), true);
    let made = actions(&mut owner, 0);
    assert_eq!(starts(&made), [connection]);
    let Some(Action::Finished { result: WorkResult::Deliver(result), .. }) = made.first() else { panic!("{made:?}") };
    assert_eq!(result.destination, DestinationId::from_index(7), "the queue hears its own name");
}

#[test]
fn hosts_of_a_set_are_followed_when_their_addresses_change() {
    let mut owner = owner(&by_mx(), Settings::default());
    owner.push(at(0).mono, 0, job_to(1, &hosts(1, &[(10, "a.example", 1), (20, "b.example", 2)]))).unwrap();
    let (connection, _) = connects(&actions(&mut owner, 0))[0];
    owner.connect_failed(at(0).mono, connection, refused());
    let (connection, remote) = connects(&actions(&mut owner, 0))[0];
    assert_eq!(remote.to_string(), "198.51.100.2:25");
    owner.ready(at(0).mono, connection);
    actions(&mut owner, 0);
    // While b is busy it gets another address, and so does c, which is new to nobody but by its name.
    owner.push(at(1).mono, 0, job_to(2, &hosts(3, &[(10, "a.example", 1), (20, "b.example", 4)]))).unwrap();
    // What is known for longer counts no more.
    owner.push(at(1).mono, 0, job_to(3, &hosts(2, &[(10, "a.example", 3), (20, "b.example", 3)]))).unwrap();
    let remotes = |owner: &Destinations| {
        let hosts = status(owner, at(1).mono).into_iter().flat_map(|target| target.hosts);
        hosts.map(|host| (host.remote.ip().to_string(), host.failures)).collect::<Vec<_>>()
    };
    let entry = |last: u8, failures: u32| (format!("198.51.100.{last}"), failures);
    assert_eq!(remotes(&owner), [entry(1, 1), entry(4, 0), entry(2, 0)], "what is known of a stays");
    owner.done(at(1).mono, connection, delivered(), false);
    owner.closed(at(1).mono, connection, None);
    let (connection, remote) = connects(&actions(&mut owner, 1))[0];
    assert_eq!(remote.to_string(), "198.51.100.4:25");
    owner.ready(at(1).mono, connection);
    actions(&mut owner, 1);
    owner.push(at(2).mono, 0, job_to(4, &hosts(4, &[(10, "a.example", 5), (20, "b.example", 4)]))).unwrap();
    assert_eq!(remotes(&owner), [entry(5, 0), entry(4, 0)], "those without connections are gone at once");
}

#[test]
fn sets_that_are_not_used_make_room() {
    let many = 2 * MX_DESTINATIONS_MAX;
    let mut owner = owner(&by_mx(), Settings { queue_max: many, connections_max: many, ..Settings::default() });
    let set = |number: usize| hosts(1, &[(10, &format!("h{number}.example"), 1)]);
    let connections = |owner: &mut Destinations| connects(&actions(owner, 0));
    for number in 0..MX_DESTINATIONS_MAX {
        owner.push(at(0).mono, 0, job_to(number as u64, &set(number))).unwrap();
    }
    // All have mail: one more has to wait.
    assert!(owner.push(at(0).mono, 0, job_to(0, &set(MX_DESTINATIONS_MAX))).is_err());
    let open = connections(&mut owner);
    for (connection, _) in &open {
        owner.connect_failed(at(0).mono, *connection, refused());
    }
    assert!(connections(&mut owner).is_empty(), "each has one host, which is down");
    owner.push(at(0).mono, 0, job_to(0, &set(MX_DESTINATIONS_MAX))).unwrap();
    assert_eq!(connections(&mut owner).len(), 1);
    owner.push(at(0).mono, 0, job_to(0, &set(MX_DESTINATIONS_MAX))).unwrap();
    assert_eq!(connections(&mut owner).len(), 0, "the same set is the same destination");
    owner.gauge(&mut |gauge| assert!(gauge.holds(), "{gauge:?}"));
    assert_eq!(owner.sets.count(), MX_DESTINATIONS_MAX);
}

#[test]
fn a_host_that_fails_at_tls_is_spoken_to_in_the_clear_where_that_is_allowed() {
    for (policy, demand) in [
        (TlsPolicy::Opportunistic, Demand::Opportunistic),
        (TlsPolicy::Require, Demand::Require),
        (TlsPolicy::Verify, Demand::Verify),
    ] {
        for implicit_tls in [false, true] {
            let route = Route { tls: policy, ..Route::new(vec![Hop { implicit_tls, ..hop(0, 10) }]) };
            let routes = Routes::new([("x.example".into(), route)]).unwrap();
            let mut owner = owner(&routes, Settings::default());
            owner.push(at(0).mono, 5, job(1, routes.destination("x.example"))).unwrap();
            let security = |made: &[Action]| match made {
                [Action::Connect { connection, security, .. }] => Some((*connection, security.clone())),
                _ => None,
            };
            let (connection, first) = security(&actions(&mut owner, 0)).unwrap();
            assert_eq!(first, Security { demand: demand.clone(), implicit: implicit_tls, credentials: None });
            owner.established(at(1).mono, connection);
            owner.tls_failed(at(1).mono, connection, refused());
            let next = actions(&mut owner, 1);
            if policy != TlsPolicy::Opportunistic || implicit_tls {
                assert!(matches!(next[..], [Action::Finished { .. }]), "{next:?}");
                continue;
            }
            let (connection, second) = security(&next).unwrap();
            assert_eq!(second, Security { demand: Demand::None, implicit: false, credentials: None });
            // It is remembered, and not for ever.
            owner.established(at(1).mono, connection);
            owner.closed(at(1).mono, connection, None);
            actions(&mut owner, 1);
            let much_later = at(1).mono + crate::limits::TLS_FAILURE_MEMORY;
            owner.push(much_later, 5, job(2, routes.destination("x.example"))).unwrap();
            let made: Vec<Action> = std::iter::from_fn(|| owner.poll(much_later)).collect();
            assert_eq!(security(&made).map(|(_, security)| security.demand), Some(Demand::Opportunistic));
        }
    }
}
