//! Standing orders: what they keep, what they send elsewhere, and what comes back.

use super::*;
use crate::delivery::testing::{domain, orders, reroute, sender};
use crate::delivery::{Pool, Pools, Selector, Shaping, Standstill, TlsPolicy, Treatment};

impl Home {
    /// These orders stand from now on, and everything is where it belongs.
    fn order(&mut self, now: Now, all: impl IntoIterator<Item = (u64, Selector, Treatment)>) {
        let orders = orders(&self.queue.routes, all);
        self.queue.set_orders(orders);
        while self.queue.has_to_sort() {
            let spool = &self.spool;
            self.queue.sort_out(now, |id| spool.get(&id).cloned());
        }
    }

    fn jobs(&mut self, now: Now) -> Vec<Job> {
        std::iter::from_fn(|| self.next(now)).collect()
    }

    /// The entries of each order.
    fn ordered(&self) -> Vec<(u64, usize)> {
        self.queue.ordered().collect()
    }
}

/// What a job comes to of which nothing is known.
fn nothing(job: &Job) -> JobResult {
    JobResult { id: job.id, destination: job.destination, fates: Vec::new(), dsn_offered: false, standstill: None }
}

/// A queue whose domains `a.example` and `b.example` have one route, and `c.example` another.
fn shared() -> Home {
    let with = |name: &str, host| (name.into(), Route::new(vec![hop(host, 10)]));
    let routes = Routes::new([with("a.example", 1), with("b.example", 1), with("c.example", 2)]).unwrap();
    let retry = Retry { jitter: 0.0, ..Retry::default() };
    Home { queue: Queue::new(Arc::new(routes), retry, 7), spool: HashMap::new() }
}

#[test]
fn nothing_starts_for_a_suspended_destination_and_all_of_it_goes_on_at_once_when_that_is_over() {
    let mut home = Home::steady();
    for number in 0..10 {
        home.add(at(0), Message::new(number, at(0), &["a@d0.example", "b@d1.example"]));
    }
    let named = Selector::Destination("smtp://192.0.2.0:25".into());
    home.order(at(0), [(1, named, Treatment::Suspend)]);
    assert_eq!(home.ordered(), [(1, 10)]);
    home.add(at(1), Message::new(10, at(1), &["a@d0.example"]));
    let jobs = home.jobs(at(1));
    assert!(jobs.len() == 10 && jobs.iter().all(|job| indexes(job) == [1]), "{jobs:?}");
    jobs.iter().for_each(|job| drop(home.settle(at(1), job, delivered)));
    assert_eq!(home.ordered(), [(1, 11)]);
    assert_eq!(home.queue.status(), QueueStatus { scheduled: 11, in_hand: 0 });
    let why = home.queue.why_nothing_goes_to(&home.spool[&MessageId::new(1, 10)], "d0.example").unwrap();
    assert!(why.text.contains("suspended by the operator"), "{why}");
    let lanes = home.queue.lanes(0..home.queue.lanes_count());
    assert!(lanes.len() == 1 && lanes[0].waiting == 11 && lanes[0].why.as_deref() == Some(&*why.text), "{lanes:?}");
    assert_eq!(home.jobs(at(3600)), []);

    home.order(at(3600), []);
    let jobs = home.jobs(at(3600));
    let numbers: Vec<u64> = jobs.iter().map(|job| job.id.number()).collect();
    assert_eq!(numbers, (0..11).collect::<Vec<_>>(), "in their order");
    assert!(home.spool.values().all(|message| message.progress[0].attempts == 0));
    jobs.iter().for_each(|job| drop(home.settle(at(3600), job, delivered)));
    assert_eq!(home.queue.status(), QueueStatus::default());
    assert_eq!(home.queue.next_deadline(), None);
}

#[test]
fn a_suspended_sender_holds_up_nobody_in_the_lanes_that_it_shares() {
    let mut home = Home::steady();
    for number in 0..2000 {
        home.add(at(0), Message::new(number, at(0), &["a@d0.example"]));
    }
    let mut other = Message::new(2000, at(0), &["a@d0.example"]);
    other.envelope.reverse_path = "other@example.com".into();
    home.add(at(0), other);
    // As long as nobody has brought them where they belong, entries go there as their turns come, so many in a breath.
    let all = orders(&home.queue.routes, [(1, sender("example.org"), Treatment::Suspend)]);
    home.queue.set_orders(all);
    let mut breaths = 0;
    let job = loop {
        if let Some(job) = home.next(at(0)) {
            break job;
        }
        assert_eq!(home.queue.next_deadline(), Some(Instant::ZERO));
        breaths += 1;
    };
    assert_eq!((job.id.number(), breaths, home.ordered()), (2000, 2000 / ORDER_LOOKS, vec![(1, 2000)]));
    home.settle(at(0), &job, delivered);
    home.queue.remove(MessageId::new(1, 7));
    assert_eq!(home.ordered(), [(1, 1999)]);
    home.order(at(0), []);
    assert_eq!(home.jobs(at(0)).len(), JOBS_IN_HAND_MAX as usize);
}

#[test]
fn a_breath_looks_at_so_many_recipients_however_many_a_message_has() {
    const RECIPIENTS: usize = 100;
    let full = || {
        let mut home = Home::steady();
        for number in 0..100 {
            home.add(at(0), Message::new(number, at(0), &["a@d0.example"; RECIPIENTS]));
        }
        let all = orders(&home.queue.routes, [(1, domain("d0.example"), Treatment::Suspend)]);
        home.queue.set_orders(all);
        home
    };
    let each = ORDER_LOOKS.div_ceil(RECIPIENTS);
    let (mut home, mut sorted) = (full(), 0);
    while home.queue.has_to_sort() {
        let spool = &home.spool;
        home.queue.sort_out(at(0), |id| spool.get(&id).cloned());
        assert!(home.ordered()[0].1 <= sorted + each, "{:?}", home.ordered());
        sorted = home.ordered()[0].1;
    }
    assert_eq!(sorted, 100);
    // The same when their turns come before that.
    let (mut home, mut moved) = (full(), 0);
    while moved < 100 {
        assert_eq!(home.next(at(0)), None);
        let now = home.ordered()[0].1;
        assert!(now > moved && now <= moved + each, "{now} after {moved}");
        moved = now;
    }
}

#[test]
fn what_is_in_hand_finishes_and_its_next_attempt_is_kept() {
    let mut home = Home::steady();
    home.add(at(0), Message::new(1, at(0), &["a@d0.example", "b@d0.example"]));
    let job = home.next(at(0)).unwrap();
    home.order(at(0), [(1, domain("d0.example"), Treatment::Suspend)]);
    home.settle(at(5), &job, |index| if index == 0 { delivered(0) } else { deferred(1) });
    assert_eq!((home.ordered(), home.jobs(at(3600))), (vec![(1, 1)], vec![]));
    // It may be over before the next attempt would have been due: it is not earlier for that.
    let mut again = Home::steady();
    again.add(at(0), Message::new(1, at(0), &["a@d0.example"]));
    let job = again.next(at(0)).unwrap();
    again.order(at(0), [(1, domain("d0.example"), Treatment::Suspend)]);
    again.settle(at(0), &job, deferred);
    again.order(at(10), []);
    assert_eq!((again.jobs(at(59)), again.jobs(at(60)).len()), (vec![], 1));
}

#[test]
fn suspended_messages_grow_too_old_and_their_senders_are_warned() {
    const DAY: u64 = 86_400;
    let mut home = Home::steady();
    home.order(at(0), [(1, sender("sender@example.org"), Treatment::Suspend)]);
    home.add(at(0), Message::new(1, at(0), &["a@d0.example"]).notify(false, true, true));
    let (mut seconds, mut told) = (0, Vec::new());
    while home.queue.status().scheduled > 0 {
        while let Some(job) = home.next(at(seconds)) {
            let result = job.settled().expect("nothing goes out");
            told.extend(home.conclude(at(seconds), &result).into_iter().map(|(_, verdict)| (seconds / 3600, verdict)));
        }
        seconds += 300;
        assert!(seconds < 6 * DAY);
    }
    let [(warned, Verdict::Deferred { delay_warning: true, .. }), (ended, expired)] = &told[..] else {
        panic!("{told:?}")
    };
    assert!(matches!(expired, Verdict::Bounced { bounce: Bounce::Expired, notify: true, .. }));
    assert_eq!((*warned, *ended), (4, 120));
}

#[test]
fn mail_that_is_sent_elsewhere_goes_over_the_other_route_and_its_trouble_is_not_that_of_the_lane() {
    let mut home = Home::steady();
    home.order(at(0), [(1, sender("sender@example.org"), reroute("d1.example"))]);
    home.add(at(0), Message::new(1, at(0), &["a@d0.example", "b@d2.example"]));
    let mut other = Message::new(2, at(0), &["a@d0.example"]);
    other.envelope.reverse_path = "other@example.com".into();
    home.add(at(0), other);
    let jobs = home.jobs(at(0));
    let ways: Vec<(u64, Way)> = jobs.iter().map(|job| (job.id.number(), job.way.clone())).collect();
    let via = || Way::Via(home.queue.routes.destination("d1.example"));
    assert_eq!(ways, [(1, via()), (2, Way::Route), (1, via())]);
    for job in jobs.iter().filter(|job| job.id.number() == 1) {
        let fates = job.recipients.iter().map(|recipient| (recipient.index, Fate::Untried)).collect();
        let standstill = Standstill::Closed { until: at(60).mono, why: answer() };
        let standstill = Some(Box::new(standstill));
        home.conclude(at(0), &JobResult { fates, standstill, ..nothing(job) });
    }
    home.settle(at(0), &jobs[1], deferred);
    home.add(at(1), Message::new(3, at(1), &["a@d0.example"]));
    assert_eq!(home.jobs(at(59)), []);
    let probe = home.jobs(at(60));
    let numbers: Vec<u64> = probe.iter().map(|job| job.id.number()).collect();
    assert_eq!(numbers, [2, 1], "one finds out whether the other way is open again, and the lane's own has its time");
    // When that is over they go their own way.
    home.settle(at(60), &probe[1], deferred);
    home.order(at(61), []);
    let jobs = home.jobs(at(121));
    assert!(jobs.len() == 3 && jobs.iter().all(|job| job.way == Way::Route), "{jobs:?}");
}

#[test]
fn mail_can_be_sent_as_that_of_a_domain_whose_hosts_the_dns_names() {
    let mut home = by_mx();
    home.order(at(0), [(1, domain("d0.example"), reroute("mx://one.example"))]);
    home.add(at(0), Message::new(1, at(0), &["a@d0.example"]));
    home.add(at(0), Message::new(2, at(0), &["a@two.example"]));
    assert_eq!(home.next(at(0)), None);
    assert_eq!(wanted(&mut home), ["one.example".into(), "two.example".into()]);
    let one = hosts(1, &[(10, "mx.one.example", 1)]);
    home.queue.resolved(at(1), "one.example", &found(&one, 60));
    let job = home.next(at(1)).unwrap();
    assert!(matches!(&job.way, Way::Hosts { hosts, .. } if *hosts == one), "{job:?}");
    assert!(home.queue.is_domain_in_hand(job.id, Wishes::default(), "d0.example"));
    home.order(at(1), []);
    home.settle(at(1), &job, delivered);
    assert_eq!((home.next(at(1)), home.queue.status().scheduled), (None, 1));

    // That it has no hosts is nothing that the sender of this mail could mend.
    home.order(at(1), [(3, domain("d0.example"), reroute("gone.example"))]);
    home.add(at(1), Message::new(4, at(1), &["a@d0.example"]));
    assert_eq!((home.next(at(1)), wanted(&mut home)), (None, vec!["gone.example".into()]));
    let gone =
        dns::Answer { result: Err(dns::Failure::new((5, 1, 2), "no such domain")), ttl: Duration::from_secs(60) };
    home.queue.resolved(at(1), "gone.example", &gone);
    let job = home.next(at(1)).unwrap();
    let verdicts = home.conclude(at(1), &job.settled().unwrap());
    assert!(matches!(verdicts[..], [(0, Verdict::Deferred { .. })]), "{verdicts:?}");
    home.queue.remove(job.id);

    // The domain of mail that is elsewhere keeps its name.
    home.order(at(2), [(2, domain("two.example"), reroute("d0.example"))]);
    let job = home.next(at(2)).unwrap();
    assert_eq!((job.id.number(), &job.way), (2, &Way::Via(home.queue.routes.destination("d0.example"))));
    home.add(at(2), Message::new(3, at(2), &["a@three.example"]));
    home.settle(at(2), &job, delivered);
    assert!(home.queue.domains.contains_key("two.example"), "somebody is asked about it");
    home.queue.resolved(at(3), "two.example", &found(&one, 60));
    assert!(!home.queue.domains.contains_key("two.example"));
}

#[test]
fn of_a_message_whose_recipients_are_parted_the_others_go_and_the_kept_ones_follow() {
    let mut home = shared();
    home.add(at(0), Message::new(1, at(0), &["a@a.example", "b@b.example", "c@c.example"]));
    home.order(at(0), [(1, domain("a.example"), Treatment::Suspend)]);
    assert_eq!(home.ordered(), [(1, 1)], "it goes, but not all of it");
    let jobs = home.jobs(at(0));
    assert_eq!(jobs.iter().map(indexes).collect::<Vec<_>>(), [vec![1], vec![2]]);
    home.settle(at(0), &jobs[0], deferred);
    home.settle(at(0), &jobs[1], delivered);
    assert_eq!((home.ordered(), home.jobs(at(59))), (vec![(1, 1)], vec![]), "the other one has its time");
    let job = home.next(at(60)).unwrap();
    assert_eq!(indexes(&job), [1]);
    home.settle(at(60), &job, delivered);
    assert_eq!((home.ordered(), home.jobs(at(60))), (vec![(1, 1)], vec![]));
    home.order(at(61), []);
    assert_eq!(home.jobs(at(61)).iter().map(indexes).collect::<Vec<_>>(), [vec![0]]);

    // The kept ones do not wait for the time of the others when they are kept no longer.
    let mut home = shared();
    home.order(at(0), [(1, domain("a.example"), Treatment::Suspend)]);
    home.add(at(0), Message::new(1, at(0), &["a@a.example", "b@b.example"]));
    let job = home.next(at(0)).unwrap();
    home.settle(at(0), &job, deferred);
    home.order(at(5), []);
    assert_eq!(home.jobs(at(5)).iter().map(indexes).collect::<Vec<_>>(), [vec![0]]);
}

#[test]
fn the_parts_of_a_message_take_different_ways_one_after_the_other() {
    let mut home = shared();
    home.order(at(0), [(1, domain("a.example"), reroute("c.example")), (2, domain("b.example"), Treatment::Suspend)]);
    home.add(at(0), Message::new(1, at(0), &["a@a.example", "b@b.example", "x@a.example"]));
    let job = home.next(at(0)).unwrap();
    assert_eq!((indexes(&job), &job.way), (vec![0, 2], &Way::Via(home.queue.routes.destination("c.example"))));
    home.settle(at(0), &job, delivered);
    assert_eq!((home.ordered(), home.next(at(0))), (vec![(2, 1)], None));
    home.order(at(1), [(3, domain("b.example"), reroute("c.example"))]);
    let job = home.next(at(1)).unwrap();
    assert_eq!((indexes(&job), &job.way), (vec![1], &Way::Via(home.queue.routes.destination("c.example"))));
    home.settle(at(1), &job, delivered);
    assert_eq!(home.queue.status(), QueueStatus::default());
}

#[test]
fn an_operator_who_asks_for_a_retry_does_not_get_around_an_order() {
    let mut home = Home::steady();
    let id = home.add(at(0), Message::new(1, at(0), &["a@d0.example"]));
    home.order(at(0), [(1, Selector::All, Treatment::Suspend)]);
    home.queue.retry(at(1), id);
    assert_eq!((home.next(at(1)), home.ordered()), (None, vec![(1, 1)]));
}

#[test]
fn orders_that_come_and_go_leave_nothing_behind() {
    let mut home = by_mx();
    for number in 0..20 {
        home.add(at(0), Message::new(number, at(0), &["a@one.example", "b@d0.example"]));
    }
    let names = |home: &Home| {
        let mut names: Vec<String> = home.queue.domains.keys().map(|name| name.to_string()).collect();
        names.sort();
        names
    };
    for number in 1..100 {
        let treatment = if number % 2 == 0 { Treatment::Suspend } else { reroute("two.example") };
        home.order(at(number), [(number, Selector::All, treatment)]);
        assert_eq!((home.ordered(), home.next(at(number))), (vec![(number, 40)], None));
    }
    home.order(at(100), []);
    let jobs = home.jobs(at(100));
    assert_eq!((jobs.len(), names(&home)), (20, vec!["one.example".to_owned(), "two.example".to_owned()]));
    home.queue.resolved(at(100), "two.example", &found(&hosts(1, &[(10, "mx.two.example", 1)]), 60));
    assert_eq!(names(&home), ["one.example"]);
    jobs.iter().for_each(|job| drop(home.settle(at(100), job, delivered)));
    assert_eq!(home.ordered(), []);
    for number in 0..20 {
        home.queue.remove(MessageId::new(1, number));
    }
    while home.next(at(101)).is_some() {}
    assert_eq!(home.queue.status(), QueueStatus::default());
}

#[test]
fn what_was_kept_goes_on_in_the_order_of_how_urgent_it_is() {
    let mut home = Home::steady();
    home.order(at(0), [(1, Selector::All, Treatment::Suspend)]);
    for (number, priority) in [(1, -5), (2, 0), (3, 5), (4, 0)] {
        home.add(at(0), Message::new(number, at(0), &["a@d0.example"]).priority(priority));
    }
    assert_eq!(home.jobs(at(0)), []);
    home.queue.retry(at(1), MessageId::new(1, 4));
    home.order(at(1), []);
    assert_eq!(home.jobs(at(1)).iter().map(|job| job.id.number()).collect::<Vec<_>>(), [3, 2, 4, 1]);
}

#[test]
fn mail_that_is_sent_elsewhere_leaves_from_the_pool_of_its_sender_and_waives_what_it_waives() {
    let pool = Pool { name: "a".into(), addresses: Vec::new() };
    let mx = Route { tls: TlsPolicy::MtaSts, ..Route::by_mx() };
    let entries = [("*".into(), mx), ("d0.example".into(), Route::new(vec![hop(0, 10)]))];
    let entries = entries.into_iter().chain([("d1.example".into(), Route::new(vec![hop(1, 10)]))]);
    let routes = Routes::shaped(entries, Shaping::default(), Pools::new([(pool, ["a.example"])])).unwrap();
    let routes = Arc::new(routes);
    let mut home = Home { queue: Queue::new(Arc::clone(&routes), Retry::default(), 7), spool: HashMap::new() };
    let message = |number, waives: bool| {
        let mut message = Message::new(number, at(0), &["a@d0.example"]);
        message.envelope.reverse_path = "x@a.example".into();
        message.envelope.tls_optional = waives;
        message
    };
    home.order(at(0), [(1, domain("d0.example"), reroute("d1.example"))]);
    home.add(at(0), message(1, false));
    let via = routes.with_pool(routes.destination("d1.example"), routes.pool_of("x@a.example"));
    assert_ne!(via, routes.destination("d1.example"));
    assert_eq!(home.next(at(0)).map(|job| job.way), Some(Way::Via(via)));

    home.order(at(1), [(2, domain("d0.example"), reroute("mx.example"))]);
    home.add(at(1), message(2, false));
    home.add(at(1), message(3, true));
    assert_eq!((home.next(at(1)), wanted(&mut home).len()), (None, 2), "one asks for each");
    home.queue.resolved(at(1), "mx.example", &found(&hosts(1, &[(10, "a.example", 1)]), 60));
    let ways = home.jobs(at(1)).into_iter().map(|job| match job.way {
        Way::Hosts { hosts, domain, .. } => (job.id.number(), domain.to_string(), hosts.waived),
        other => panic!("{other:?}"),
    });
    let name = || "mx.example".to_owned();
    assert_eq!(ways.collect::<Vec<_>>(), [(2, name(), false), (3, name(), true)]);
}
