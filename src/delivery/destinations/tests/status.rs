//! What is told of destinations and hosts.

use super::*;
use crate::delivery::{Limits, Pools, Section, Shaping};

fn limited(owner: &Destinations, seconds: u64) -> Option<Limited> {
    status(owner, at(seconds).mono).first().expect("a destination").limited
}

#[test]
fn a_destination_tells_what_it_has_and_what_went_wrong() {
    let routes = one_route(vec![hop(1, 10), hop(2, 20)]);
    let mut owner = owner(&routes, Settings::default());
    assert_eq!(status(&owner, at(0).mono), [], "nothing is known of one that has no mail");
    owner.push(at(0).mono, 0, job(1, first())).unwrap();
    let (connection, _) = connects(&actions(&mut owner, 0))[0];
    owner.connect_failed(at(1).mono, connection, refused());
    let (connection, _) = connects(&actions(&mut owner, 1))[0];
    owner.ready(at(2).mono, connection);
    actions(&mut owner, 2);
    owner.push(at(2).mono, 0, job(2, first())).unwrap();
    owner.done(at(3).mono, connection, delivered(), true);
    actions(&mut owner, 3);

    let told = &status(&owner, at(4).mono)[0];
    assert_eq!((told.key, told.domain.clone()), (routes.key(first()), None));
    assert_eq!((told.busy, told.idle, told.opening, told.waiting), (1, 0, 0, 0));
    assert!((told.delivered_per_second - 1.0 / 60.0).abs() < 1e-9, "{}", told.delivered_per_second);
    let (name, remote, word) = told.last.clone().expect("a failure");
    assert_eq!((&*name, remote, word.at, &*word.text), ("192.0.2.1", hop_at(1), at(1).mono, "connection refused"));
    let [failed, good] = &told.hosts[..] else { panic!("{:?}", told.hosts) };
    assert_eq!((failed.failures, failed.serving, failed.alone_until), (1, 0, Some(at(31).mono)));
    assert_eq!((good.failures, good.serving, good.alone_until, &good.last), (0, 1, None, &None));

    // What a host says to a message is told of, and does not make the host a failing one.
    let result = TaskResult::Deliver {
        fates: vec![(0, Fate::Delivered(answer())), (2, Fate::deferred(answer()))],
        dsn_offered: false,
        broken_off: false,
    };
    owner.done(at(5).mono, connection, result, true);
    let told = &status(&owner, at(5).mono)[0];
    assert_eq!(told.last.as_ref().map(|(_, remote, word)| (*remote, word.at)), Some((hop_at(2), at(5).mono)));
    assert_eq!(told.hosts[1].last.as_ref().map(|word| &*word.text), Some("450 4.2.0 later"));
    assert!(owner.status(at(5).mono, 0..1, false)[0].hosts.is_empty(), "they were not asked for");
    assert_eq!(owner.status(at(5).mono, 1..9, true), [], "what has no route is no destination");
}

fn hop_at(host: u8) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, host], 25))
}

#[test]
fn a_set_is_told_of_by_the_domain_that_it_was_made_for() {
    let mut owner = owner(&by_mx(), Settings::default());
    owner.push(at(0).mono, 0, job_to(1, &hosts(1, &[(10, "a.example", 1)]))).unwrap();
    owner.push(at(0).mono, 0, job_to(2, &hosts(1, &[(10, "b.example", 2)]))).unwrap();
    actions(&mut owner, 0);
    let told = status(&owner, at(0).mono);
    let domains: Vec<_> = told.iter().map(|destination| destination.domain.as_deref()).collect();
    assert_eq!(domains, [Some("d.example"); 2]);
    assert_ne!(told[0].key, told[1].key);
}

#[test]
fn what_keeps_a_destination_from_more_is_told() {
    let mut route = Route::new(vec![hop(1, 10)]);
    route.connections_max = 1;
    let mut owner = owner(&Routes::new([("*".into(), route)]).unwrap(), Settings::default());
    for number in 0..100 {
        owner.push(at(0).mono, 0, job(number, first())).unwrap();
    }
    let (connection, _) = connects(&actions(&mut owner, 0))[0];
    owner.ready(at(0).mono, connection);
    actions(&mut owner, 0);
    assert_eq!(limited(&owner, 0), Some(Limited::ConnectionsMax));
    owner.closed(at(1).mono, connection, Some(refused()));
    let (connection, _) = connects(&actions(&mut owner, 1))[0];
    owner.connect_failed(at(1).mono, connection, refused());
    actions(&mut owner, 1);
    assert_eq!(limited(&owner, 1), Some(Limited::HostsDown));
    assert_eq!(limited(&owner, 31), None, "nothing waits, as all was given back");

    let limits = Limits { message_rate: "1/m".parse().ok(), ..Limits::default() };
    let section = Section { hosts: vec!["192.0.2.1".into()], limits, ..Section::default() };
    let route = Route::new(vec![hop(1, 10)]);
    let mut owner = super::owner(
        &Routes::shaped([("*".into(), route)], Shaping::new(vec![section]), Pools::default()).unwrap(),
        Settings::default(),
    );
    for number in 0..2 {
        owner.push(at(0).mono, 0, job(number, first())).unwrap();
    }
    let (connection, _) = connects(&actions(&mut owner, 0))[0];
    owner.ready(at(0).mono, connection);
    actions(&mut owner, 0);
    assert_eq!(limited(&owner, 0), Some(Limited::MessageRate));
}
