use super::*;
use crate::delivery::testing::{domain, hop, orders, reroute, routes, sender};
use crate::delivery::{Hop, Route, TlsPolicy};

/// The number of the order that holds, and what it comes to.
fn found(orders: &Orders, path: &str, domain: &str) -> Option<(u64, bool)> {
    let rule = orders.rule(orders.of_sender(path), domain)?;
    Some((rule.number(), rule.stops().is_some()))
}

/// `d0.example` with opportunistic TLS, and a domain for each of the other policies, by MX and not.
fn demanding() -> Arc<Routes> {
    let with = |name: &str, host: u8, tls| (name.into(), Route { tls, ..Route::new(vec![hop(host, 10)]) });
    let entries = [
        with("plain.example", 1, TlsPolicy::None),
        with("d0.example", 2, TlsPolicy::Opportunistic),
        with("required.example", 3, TlsPolicy::Require),
        with("verified.example", 4, TlsPolicy::Verify),
        ("discarded.example".into(), Route::new(Vec::new())),
        (".mx.example".into(), Route { tls: TlsPolicy::MtaSts, ..Route::by_mx() }),
        (".open.example".into(), Route::by_mx()),
    ];
    Arc::new(Routes::new(entries).unwrap())
}

fn check(routes: &Arc<Routes>, selector: Selector, treatment: Treatment) -> Result<(), OrderError> {
    let orders = orders(routes, [(1, selector, treatment)]);
    orders.rules()[0].order.check(routes, &orders.tenants)
}

#[test]
fn what_stops_mail_goes_before_what_sends_it_elsewhere_and_recipients_before_senders() {
    let routes = routes(4);
    let destination = |name: &str| Selector::Destination(name.into());
    let all = orders(
        &routes,
        [
            (1, sender("a@One.Example"), Treatment::Suspend),
            (2, sender("one.example"), reroute("d3.example")),
            (3, domain("D1.example."), reroute("d2.example")),
            (4, destination("smtp://192.0.2.0:25"), Treatment::Drain),
            (5, sender(""), reroute("d1.example")),
            (6, Selector::Tenant("acme".into()), Treatment::Suspend),
        ],
    );
    for (path, domain, expected) in [
        ("A@one.example", "d1.example", Some((1, true))),
        ("b@one.example", "d1.example", Some((3, false))),
        ("b@ONE.example.", "D2.Example", Some((2, false))),
        ("b@one.example", "d3.example", None),
        ("b@one.example", "d0.example", Some((4, true))),
        ("", "d3.example", Some((5, false))),
        ("x@two.example", "d3.example", None),
        ("x@news.ACME.example", "d3.example", Some((6, true))),
        ("x@two.example", "nowhere.example", None),
        ("b@one.example", "nowhere.example", Some((2, false))),
    ] {
        assert_eq!(found(&all, path, domain), expected, "{path} to {domain}");
    }
    let all =
        orders(&routes, [(1, Selector::All, Treatment::Suspend), (2, domain("d1.example"), reroute("d2.example"))]);
    assert_eq!(found(&all, "", "d1.example"), Some((1, true)));
    let why = all.why("", "d1.example").unwrap();
    assert_eq!((why.status, &*why.text), ((4, 3, 2), "suspended by the operator (all mail): as said"));
    assert_eq!(found(&Orders::default(), "a@b.example", "d1.example"), None);
}

#[test]
fn mail_that_is_sent_elsewhere_is_stopped_by_what_stops_mail_there_and_sent_no_further() {
    let routes = routes(4);
    let chain = [(1, domain("d0.example"), reroute("d1.example")), (2, domain("d1.example"), reroute("d2.example"))];
    assert_eq!(found(&orders(&routes, chain), "", "d0.example"), Some((1, false)));
    let there = Selector::Destination("smtp://192.0.2.1:25".into());
    let both = [(1, domain("d0.example"), reroute("smtp://192.0.2.1:25")), (2, there, Treatment::Suspend)];
    assert_eq!(found(&orders(&routes, both), "", "d0.example"), Some((2, true)));
}

#[test]
fn an_order_makes_no_mail_less_safe_on_its_way() {
    let routes = demanding();
    let less_safe = |from: &str, to: &str| {
        let refused = check(&routes, domain(from), reroute(to));
        // An order about a sender is taken, and what must not go that way goes its own.
        let of_sender = orders(&routes, [(1, sender("a.example"), reroute(to))]);
        assert_eq!(found(&of_sender, "x@a.example", from).is_none(), refused.is_err(), "{from} to {to}");
        matches!(refused, Err(OrderError::LessSafe(..)))
    };
    for (from, to, expected) in [
        ("d0.example", "plain.example", true),
        ("d0.example", "required.example", false),
        ("plain.example", "d0.example", false),
        ("required.example", "d0.example", true),
        ("required.example", "verified.example", false),
        ("verified.example", "required.example", true),
        // What the DNS and the policy of a domain demand of its hosts, another one's hosts need not meet.
        ("a.mx.example", "required.example", true),
        ("a.mx.example", "b.mx.example", true),
        ("a.mx.example", "verified.example", false),
        ("a.open.example", "b.open.example", false),
        ("d0.example", "b.mx.example", false),
    ] {
        assert_eq!(less_safe(from, to), expected, "{from} to {to}");
    }
}

#[test]
fn an_order_that_would_do_nothing_or_harm_is_refused() {
    let routes = demanding();
    let named = |name: &str| Selector::Destination(name.into());
    let check = |selector, treatment| check(&routes, selector, treatment);
    assert_eq!(check(named("smtp://192.0.2.2:25"), Treatment::Drain), Ok(()));
    assert_eq!(check(named("mx://a.open.example"), Treatment::Drain), Ok(()));
    assert_eq!(check(sender("a@b.example"), Treatment::Suspend), Ok(()));
    let unknown = OrderError::NoDestination("smtp://192.0.2.99:25".into());
    assert_eq!(check(named("smtp://192.0.2.99:25"), Treatment::Suspend), Err(unknown.clone()));
    assert_eq!(check(domain("d0.example"), reroute("smtp://192.0.2.99:25")), Err(unknown));
    let nowhere = || OrderError::NoRoute("nowhere.example".into());
    assert_eq!(check(domain("nowhere.example"), Treatment::Suspend), Err(nowhere()));
    assert_eq!(check(Selector::All, reroute("nowhere.example")), Err(nowhere()));
    assert!(matches!(check(Selector::All, reroute("discarded.example")), Err(OrderError::Discards(_))));
    // Each domain whose mail goes by MX has a destination of its own.
    assert_eq!(check(named("mx"), Treatment::Suspend), Err(OrderError::NoDestination("mx".into())));
    for (selector, to) in [
        (domain("d0.example"), "D0.Example"),
        (named("smtp://192.0.2.2:25"), "d0.example"),
        (domain("a.open.example"), "mx://A.open.example"),
    ] {
        assert!(matches!(check(selector, reroute(to)), Err(OrderError::SameWay(..))), "{to}");
    }
    for selector in [domain("d0.example"), sender("a@b.example"), Selector::Tenant("acme".into()), Selector::All] {
        assert!(matches!(check(selector, Treatment::Drain), Err(OrderError::NoConnections(_))));
    }
    assert!(matches!(check(sender(&"x".repeat(3000)), Treatment::Suspend), Err(OrderError::Text(..))));
    for to in ["x".repeat(3000), "required.example\n".to_owned()] {
        assert!(matches!(check(Selector::All, reroute(&to)), Err(OrderError::Text(..))), "{to:?}");
    }
    let mut order = orders(&routes, [(1, Selector::All, Treatment::Suspend)]).rules()[0].order.clone();
    order.reason = "two\nlines".into();
    assert!(matches!(order.check(&routes, &Tenants::default()), Err(OrderError::Text(..))));
    assert_eq!(check(Selector::Tenant("acme".into()), Treatment::Suspend), Ok(()));
    let nobody = || "nobody".to_owned();
    assert_eq!(check(Selector::Tenant(nobody()), Treatment::Suspend), Err(OrderError::NoTenant(nobody())));
}

#[test]
fn an_order_about_what_this_configuration_does_not_have_does_nothing() {
    let gone = Selector::Destination("smtp://192.0.2.99:25".into());
    let two = [(1, gone, Treatment::Suspend), (2, domain("d0.example"), reroute("gone.example"))];
    let all = orders(&routes(2), two);
    assert_eq!(found(&all, "a@b.example", "d0.example"), None);
    assert_eq!(all.newest(), 2);
}

#[test]
fn nothing_is_sent_to_where_it_would_be_lost_though_that_was_another_route_when_the_order_was_given() {
    let routes = demanding();
    for selector in [Selector::All, sender("a@b.example"), domain("d0.example"), domain("nowhere.example")] {
        let all = orders(&routes, [(1, selector.clone(), reroute("discarded.example"))]);
        for domain in ["d0.example", "nowhere.example"] {
            assert_eq!(found(&all, "a@b.example", domain), None, "{selector} to {domain}");
        }
        assert_eq!(all.target(1), None);
    }
}

#[test]
fn destinations_are_named_whatever_the_case() {
    let routes = routes(2);
    let named = |name: &str| Selector::Destination(name.into()).normal();
    assert_eq!(named("MX://D.example."), Selector::Domain("d.example".into()));
    assert_eq!(named("SMTP://192.0.2.0:25"), named("smtp://192.0.2.0:25"));
    let all = orders(&routes, [(1, named("SMTP://192.0.2.0:25"), reroute("SMTP://192.0.2.1:25"))]);
    assert_eq!(found(&all, "", "d0.example"), Some((1, false)));
    let hop = Hop { name: "MX.Example".into(), ..hop(1, 10) };
    let routes = Arc::new(Routes::new([("d0.example".into(), Route::new(vec![hop]))]).unwrap());
    assert_eq!(
        found(&orders(&routes, [(1, named("smtp://MX.Example:25"), Treatment::Suspend)]), "", "d0.example"),
        Some((1, true))
    );
}
