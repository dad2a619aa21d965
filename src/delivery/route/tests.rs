use super::*;
use crate::delivery::Work;
use crate::delivery::pool::Pools;
use crate::delivery::shaping::Shaping;
use crate::dns::Dane;
use crate::sts::{Mode, Policy, Standing};
use crate::tls::Associations;

fn route(host: u8) -> Route {
    Route::new(vec![Hop {
        protocol: Protocol::Smtp,
        addresses: vec![IpAddr::from([192, 0, 2, host])],
        port: 25,
        implicit_tls: false,
        preference: 10,
        name: format!("192.0.2.{host}").into(),
        demand: None,
    }])
}

fn routes(entries: &[(&str, u8)]) -> Routes {
    Routes::new(entries.iter().map(|(pattern, host)| ((*pattern).into(), route(*host)))).unwrap()
}

#[test]
fn the_nearest_pattern_wins() {
    let all = [("example.net", 1), (".example.net", 2), (".deep.example.net", 3), ("a.example.net", 4), ("*", 5)];
    let routes = routes(&all);
    for (domain, host) in [
        ("example.net", 1),
        ("EXAMPLE.net.", 1),
        ("b.example.net", 2),
        ("c.b.example.net", 2),
        ("deep.example.net", 2),
        ("x.deep.Example.NET", 3),
        ("a.example.net", 4),
        ("x.a.example.net", 2),
        ("badexample.net", 5),
        ("net", 5),
        ("", 5),
        ("[192.0.2.7]", 5),
        (&"x".repeat(300), 5),
    ] {
        let id = routes.lookup(domain).unwrap();
        assert_eq!(routes.route(id).hops[0].addresses[0], IpAddr::from([192, 0, 2, host]), "{domain}");
    }
}

#[test]
fn without_a_default_an_unknown_domain_leads_nowhere() {
    let routes = routes(&[("example.net", 1)]);
    assert_eq!(routes.lookup("example.com"), None);
    assert_eq!(routes.destination("example.com"), DestinationId::NOWHERE);
    assert_eq!(routes.name(DestinationId::NOWHERE).to_string(), "no route");
}

#[test]
fn domains_with_the_same_hosts_are_one_destination() {
    let routes = routes(&[("a.example", 1), ("b.example", 1), ("c.example", 2)]);
    assert_eq!(routes.count(), 2);
    assert_eq!(routes.lookup("a.example"), routes.lookup("b.example"));
    assert_ne!(routes.lookup("a.example"), routes.lookup("c.example"));
    assert_eq!(routes.name(routes.destination("a.example")).to_string(), "smtp://192.0.2.1:25");
}

#[test]
fn contradictions_are_refused() {
    let twice = [("x.example", 1), ("X.Example", 2)].map(|(pattern, host)| (pattern.into(), route(host)));
    assert_eq!(Routes::new(twice).unwrap_err(), RouteError::Duplicate("X.Example".into()));
    let mut unknown = route(1);
    unknown.hops[0].addresses.clear();
    assert_eq!(Routes::new([("*".into(), unknown)]).unwrap_err(), RouteError::NoHops("*".into()));
}

fn hosts(names: &[(u16, &str)], number: u64) -> MailHosts {
    let host = |(preference, name): &(u16, &str)| crate::dns::MailHost {
        name: (*name).into(),
        preference: *preference,
        addresses: vec![IpAddr::from([198, 51, 100, number as u8])],
        secure: false,
        dane: Dane::Absent,
    };
    let sts = Standing::default();
    MailHosts { hosts: names.iter().map(host).collect(), secure: false, implicit: false, sts, waived: false, number }
}

#[test]
fn every_destination_has_an_owner_among_the_workers() {
    let routes = routes(&[("a.example", 1), ("b.example", 2), ("c.example", 3)]);
    for workers in 1..5 {
        for destination in (0..routes.count()).map(DestinationId::from_index).chain([DestinationId::NOWHERE]) {
            let work = Work::Verify { token: 0, destination, recipient: "x@a.example".into() };
            assert!(routes.owner(&work, workers) < workers);
        }
    }
}

/// Known by a digest that begins with this byte.
fn known(byte: u8) -> Dane {
    let record = crate::tls::Tlsa { usage: 3, selector: 1, matching: 1, data: [byte; 32].into() };
    Dane::Present(Arc::new(Associations::new("a.example", &[], &[record])))
}

#[test]
fn an_mx_set_is_its_names_and_preferences() {
    let (id, by_mx) = (FamilyId(0), Route::by_mx());
    let set = by_mx.hash_of_set(id, &hosts(&[(10, "a.example"), (20, "b.example")], 1));
    assert_eq!(set, by_mx.hash_of_set(id, &hosts(&[(10, "a.example"), (20, "b.example")], 2)));
    let others = [hosts(&[(10, "a.example")], 1), hosts(&[(10, "a.example"), (10, "b.example")], 1)];
    assert!(others.iter().all(|other| by_mx.hash_of_set(id, other) != set));
    let other = FamilyId(1);
    assert_ne!(set, by_mx.hash_of_set(other, &hosts(&[(10, "a.example"), (20, "b.example")], 1)));
}

#[test]
fn hosts_of_which_more_is_demanded_are_another_mx_set() {
    let id = FamilyId(0);
    let of = |dane: Dane| {
        let mut hosts = hosts(&[(10, "a.example")], 1);
        hosts.hosts[0].dane = dane;
        hosts
    };
    let dane = Route { tls: TlsPolicy::Dane, ..Route::by_mx() };
    let sets = [Dane::Absent, known(1), known(2)].map(|dane_of_host| dane.hash_of_set(id, &of(dane_of_host)));
    assert!(sets[0] != sets[1] && sets[1] != sets[2] && sets[0] != sets[2]);
    // Who does not want to know is not told apart.
    let plain = Route::by_mx();
    assert_eq!(plain.hash_of_set(id, &of(Dane::Absent)), plain.hash_of_set(id, &of(known(1))));
}

#[test]
fn a_host_of_which_nobody_knows_what_it_is_known_by_is_not_used() {
    let mut two = hosts(&[(10, "a.example"), (20, "b.example")], 1);
    two.hosts[0].dane = Dane::Unknown("no answer".into());
    let route = Route { tls: TlsPolicy::Dane, ..Route::by_mx() };
    let names = |route: &Route, hosts: &MailHosts| -> Vec<Box<str>> {
        route.with_hosts(hosts).hops.into_iter().map(|hop| hop.name).collect()
    };
    assert_eq!(names(&route, &two), ["b.example".into()]);
    assert_eq!(names(&Route::by_mx(), &two).len(), 2);
    assert!(route.admit(&Arc::new(two.clone())).is_ok());
    two.hosts.pop();
    let failure = route.admit(&Arc::new(two.clone())).unwrap_err();
    assert_eq!((failure.status, &*failure.text), ((4, 7, 5), "no answer"));
    assert!(Route::by_mx().admit(&Arc::new(two)).is_ok());
}

#[test]
fn a_policy_is_heeded_where_the_dns_demands_nothing() {
    let route = Route { tls: TlsPolicy::MtaSts, ..Route::by_mx() };
    let policy = |mode| Policy { mode, mx: vec!["a.example".into()], max_age: std::time::Duration::from_secs(60) };
    let demands = |dane: Dane, mode: Option<Mode>| {
        let mut two = hosts(&[(10, "a.example"), (20, "b.example")], 1);
        two.hosts[0].dane = dane;
        two.sts.policy = mode.map(|mode| Arc::new(policy(mode)));
        let all: Vec<_> = route.set(&two).map(|(host, demand)| format!("{}: {}", host.name, demand.name())).collect();
        all.join(", ")
    };
    assert_eq!(demands(Dane::Absent, None), "a.example: opportunistic, b.example: opportunistic");
    assert_eq!(demands(Dane::Absent, Some(Mode::Enforce)), "a.example: mta-sts");
    assert_eq!(demands(known(1), Some(Mode::Enforce)), "a.example: dane");
    assert_eq!(demands(Dane::Unknown("no".into()), Some(Mode::Enforce)), "");
    assert_eq!(demands(Dane::Unknown("no".into()), None), "b.example: opportunistic");
    let testing = "a.example: mta-sts-testing, b.example: mta-sts-testing";
    assert_eq!(demands(Dane::Absent, Some(Mode::Testing)), testing);
    assert!(Demand::StsTesting { named: true }.authenticates(true));
    assert!(!Demand::StsTesting { named: false }.authenticates(true));

    let mut other = hosts(&[(10, "c.example")], 1);
    other.sts.policy = Some(Arc::new(policy(Mode::Enforce)));
    let failure = route.admit(&Arc::new(other)).unwrap_err();
    assert_eq!(&*failure.text, "the MTA-STS policy of the domain does not name its host c.example");
}

#[test]
fn each_route_is_there_once_for_each_pool_that_a_sender_may_have() {
    let pool = |name: &str| Pool { name: name.into(), addresses: Vec::new() };
    let pools = Pools::new([(pool("a"), &["a.example"][..]), (pool("b"), &["b.example"]), (pool("c"), &[])]);
    let from_c = Route { pool: pools.find("c").cloned(), ..route(1) };
    let mx = Route::by_mx();
    let entries = [("*".into(), mx), ("one.example".into(), route(1)), ("two.example".into(), from_c)];
    let entries = entries.into_iter().chain([("none.example".into(), Route::new(Vec::new()))]);
    let routes = Routes::shaped(entries, Shaping::default(), pools).unwrap();
    let of = |domain, from| routes.with_pool(routes.destination(domain), routes.pool_of(from));
    let pool = |id| routes.route(id).pool.as_ref().map(|pool| pool.name.to_string());
    for (domain, from, expected) in [
        ("one.example", "x@a.example", Some("a")),
        ("one.example", "x@b.example", Some("b")),
        ("one.example", "x@elsewhere.example", None),
        ("one.example", "", None),
        ("two.example", "x@a.example", Some("a")),
        ("two.example", "", Some("c")),
        ("mx.example", "x@b.example", Some("b")),
        ("none.example", "x@b.example", None),
    ] {
        assert_eq!(pool(of(domain, from)).as_deref(), expected, "{from} to {domain}");
    }
    assert_eq!(of("one.example", "x@a.example"), of("two.example", "x@a.example"), "the same hosts and pool");
    assert_eq!((routes.count(), routes.family_count()), (8, 3));
    for workers in 1..5 {
        let owner = |id| routes.owner(&Work::Verify { token: 0, destination: id, recipient: "".into() }, workers);
        let all = ["x@a.example", "x@b.example", ""].map(|from| owner(of("two.example", from)));
        assert!(all.iter().all(|one| *one == all[0]), "what they may do together one worker knows");
    }
    assert_eq!(routes.with_pool(DestinationId::NOWHERE, routes.pool_of("x@a.example")), DestinationId::NOWHERE);
}

#[test]
fn what_is_to_arrive_rather_than_to_be_secured_goes_with_what_demands_nothing() {
    let plain = hosts(&[(10, "a.example")], 1);
    let mut strict = hosts(&[(10, "a.example")], 2);
    strict.hosts[0].dane = known(1);
    let route = |tls| Route { tls, ..Route::by_mx() };
    for tls in [TlsPolicy::Dane, TlsPolicy::MtaSts] {
        assert!(!route(tls).is_same_set(&strict, &plain));
        assert!(route(tls).is_same_set(&strict.waived(), &plain));
    }
    strict.hosts[0].dane = Dane::Unknown("no answer".into());
    assert_eq!(route(TlsPolicy::MtaSts).set(&strict.waived()).count(), 1);
    let demanded = |tls| route(tls).set(&strict.waived()).map(|(_, demand)| demand).collect::<Vec<_>>();
    assert_eq!(demanded(TlsPolicy::MtaSts), [Demand::Opportunistic]);
    assert_eq!(demanded(TlsPolicy::Verify), [Demand::Verify], "the operator's demand is none of the domain's");
}

#[test]
fn a_route_by_mx_is_named_by_the_domain() {
    let entries = [("*".into(), Route::by_mx()), ("a.example".into(), route(1))];
    let routes = Routes::new(entries).unwrap();
    assert!(!routes.route(routes.lookup("b.example").unwrap()).discards());
    assert_eq!(routes.describe("B.Example."), "mx://b.example");
    assert_eq!(routes.describe("a.example"), "smtp://192.0.2.1:25");
}
