//! Lanes whose destination takes nothing, and the age of what waits there.

use super::*;
use crate::delivery::{Pool, Pools, Shaping, Standstill};
use crate::limits::OVERDUE_GRACE;

const DAY: u64 = 86_400;

fn why() -> Answer {
    Answer::local((4, 4, 1), "all hosts failed")
}

/// What comes back from a destination that takes nothing before then.
fn closed(job: &Job, until: Now) -> JobResult {
    let fates = job.recipients.iter().map(|recipient| (recipient.index, Fate::Untried)).collect();
    let standstill = Some(Box::new(Standstill::Closed { until: until.mono, why: why() }));
    JobResult { id: job.id, destination: job.destination, fates, dsn_offered: false, standstill }
}

fn numbers(jobs: &[Job]) -> Vec<u64> {
    jobs.iter().map(|job| job.id.number()).collect()
}

/// Goes on until then, from deadline to deadline; what is given out meanwhile comes back from a closed destination.
fn wait(home: &mut Home, from: u64, until: u64, closed_for: u64) -> Vec<Job> {
    let mut overdue = Vec::new();
    let mut now = from;
    while now < until {
        while let Some(job) = home.next(at(now)) {
            match job.settled() {
                Some(result) => {
                    home.conclude(at(now), &result);
                    overdue.push(job);
                }
                None => drop(home.conclude(at(now), &closed(&job, at(now + closed_for)))),
            }
        }
        let deadline = home.queue.next_deadline().map_or(until, |at| at.since(Instant::ZERO).as_secs());
        now = deadline.max(now + 1);
    }
    overdue
}

#[test]
fn messages_wait_for_their_destination_and_lose_no_attempt() {
    let mut home = Home::steady();
    for number in 0..1000 {
        home.add(at(0), Message::new(number, at(0), &["a@d0.example"]));
    }
    let jobs: Vec<Job> = std::iter::from_fn(|| home.next(at(0))).collect();
    assert_eq!(jobs.len(), JOBS_IN_HAND_MAX as usize);
    home.add(at(1), Message::new(1000, at(1), &["a@d1.example"]));
    for job in &jobs {
        assert_eq!(home.conclude(at(1), &closed(job, at(30))), [(0, Verdict::Busy)]);
    }
    assert_eq!(home.next(at(1)).unwrap().id.number(), 1000, "other destinations go on");
    assert_eq!(home.next(at(29)), None);
    assert_eq!(home.queue.next_deadline(), Some(at(30).mono));
    // One job finds out whether mail goes again, and in its order.
    let probe = home.next(at(30)).unwrap();
    assert_eq!((probe.id.number(), home.next(at(30))), (0, None));
    home.conclude(at(30), &closed(&probe, at(90)));
    assert_eq!(home.next(at(89)), None);
    let probe = home.next(at(90)).unwrap();
    assert_eq!((probe.id.number(), home.next(at(90))), (0, None));
    home.settle(at(90), &probe, delivered);
    let jobs: Vec<Job> = std::iter::from_fn(|| home.next(at(90))).collect();
    assert_eq!(numbers(&jobs), (1..=u64::from(JOBS_IN_HAND_MAX)).collect::<Vec<_>>());
    assert!(home.spool.values().all(|message| message.progress[0].attempts == 0));
}

#[test]
fn the_operator_can_have_a_closed_destination_tried_now() {
    let mut home = Home::steady();
    let id = home.add(at(0), Message::new(1, at(0), &["a@d0.example"]));
    let job = home.next(at(0)).unwrap();
    home.conclude(at(0), &closed(&job, at(10_000)));
    assert_eq!(home.next(at(10)), None);
    home.queue.retry(at(10), id);
    assert!(home.next(at(10)).is_some());
}

#[test]
fn what_waits_for_a_closed_destination_ends_at_its_age() {
    let mut home = Home::steady();
    home.add(at(0), Message::new(1, at(0), &["a@d0.example"]));
    home.add(at(0), Message::new(2, at(DAY), &["a@d0.example"]));
    let overdue = wait(&mut home, 0, 5 * DAY + 400, 3600);
    assert_eq!(numbers(&overdue), [1]);
    assert!(matches!(&overdue[0].way, Way::Overdue(answer) if **answer == why()));
    assert_eq!(home.spool[&overdue[0].id].open_count(), 0);
    assert_eq!(numbers(&wait(&mut home, 5 * DAY + 400, 7 * DAY, 3600)), [2]);
    assert_eq!(home.queue.status(), QueueStatus::default());
}

#[test]
fn what_is_removed_from_a_closed_destination_leaves_nothing_behind() {
    let mut home = Home::steady();
    let id = home.add(at(0), Message::new(1, at(0), &["a@d0.example"]));
    let job = home.next(at(0)).unwrap();
    home.conclude(at(0), &closed(&job, at(30)));
    home.queue.remove(id);
    assert_eq!(home.next(at(30)), None);
    assert_eq!(home.queue.next_deadline(), None);
}

#[test]
fn what_was_too_old_already_has_its_chance_first() {
    let mut home = Home::steady();
    let now = 9 * DAY;
    home.add(at(now), Message::new(1, at(0), &["a@d0.example"]));
    assert!(wait(&mut home, now, now + OVERDUE_GRACE.as_secs() - 1, 30).is_empty());
    assert_eq!(wait(&mut home, now + OVERDUE_GRACE.as_secs(), now + OVERDUE_GRACE.as_secs() + 400, 30).len(), 1);
}

#[test]
fn what_the_owner_gives_back_after_a_long_wait_is_given_up_at_its_age() {
    let mut home = Home::steady();
    let id = home.add(at(0), Message::new(1, at(0), &["a@d0.example"]));
    let waited = |job: &Job| {
        let standstill = Some(Box::new(Standstill::Waited { why: why() }));
        JobResult { standstill, ..closed(job, at(0)) }
    };
    for now in [0, 300, 4 * DAY] {
        let job = home.next(at(now)).unwrap();
        let result = waited(&job);
        assert_eq!(home.queue.overdue(at(now), &home.spool[&id], &result), None);
        home.conclude(at(now), &result);
    }
    let job = home.next(at(5 * DAY)).unwrap();
    assert_eq!(home.queue.overdue(at(5 * DAY), &home.spool[&id], &waited(&job)), Some(why()));
}

#[test]
fn a_destination_that_is_slow_holds_no_more_jobs_than_it_gets_rid_of() {
    let mut home = Home::steady();
    for number in 0..1000 {
        home.add(at(0), Message::new(number, at(0), &["a@d0.example"]));
    }
    let given = |home: &mut Home, now: u64| std::iter::from_fn(|| home.next(at(now))).collect::<Vec<Job>>();
    let jobs = given(&mut home, 0);
    for job in &jobs {
        let standstill = Some(Box::new(Standstill::Waited { why: why() }));
        home.conclude(at(300), &JobResult { standstill, ..closed(job, at(0)) });
    }
    let mut jobs = given(&mut home, 300);
    assert_eq!(numbers(&jobs), [0], "in their order");
    for in_hand in 2..=10 {
        let job = jobs.remove(0);
        home.settle(at(300), &job, delivered);
        jobs.extend(given(&mut home, 300));
        assert_eq!(jobs.len(), in_hand);
    }
}

#[test]
fn who_asked_for_it_is_told_that_mail_waits_for_long() {
    let mut home = Home::steady();
    home.add(at(0), Message::new(1, at(0), &["a@d0.example"]));
    home.add(at(0), Message::new(2, at(0), &["a@d0.example"]).notify(false, true, true));
    let overdue = wait(&mut home, 0, 2 * DAY, 3600);
    assert_eq!(numbers(&overdue), [2], "once");
    assert_eq!(home.spool[&overdue[0].id].progress[0].attempts, 1);
}

#[test]
fn a_domain_that_the_dns_says_nothing_of_is_given_up_at_its_age() {
    let mut home = Home::steady();
    home.queue = Queue::new(Arc::new(Routes::new([("*".into(), Route::by_mx())]).unwrap()), Retry::default(), 7);
    home.add(at(0), Message::new(1, at(0), &["a@silent.example"]));
    assert_eq!(home.next(at(0)), None);
    assert_eq!(home.queue.wanted().as_deref(), Some("silent.example"));
    let overdue = wait(&mut home, 1, 6 * DAY, 3600);
    assert_eq!(numbers(&overdue), [1]);
    assert!(matches!(&overdue[0].way, Way::Overdue(answer) if answer.status == (4, 4, 3)));
    assert_eq!(home.queue.status(), QueueStatus::default());
}

#[test]
fn a_destination_that_is_closed_to_one_pool_is_open_to_others() {
    let pool = |name: &str| Pool { name: name.into(), addresses: Vec::new() };
    for domain in ["d0.example", "mx.example"] {
        let pools = Pools::new([(pool("a"), ["a.example"]), (pool("b"), ["b.example"])]);
        let entries = [("*".into(), Route::by_mx()), ("d0.example".into(), Route::new(vec![hop(0, 10)]))];
        let routes = Routes::shaped(entries, Shaping::default(), pools).unwrap();
        let mut home = Home::steady();
        let a = Wishes { pool: routes.pool_of("x@a.example"), ..Wishes::default() };
        home.queue = Queue::new(Arc::new(routes), Retry::default(), 7);
        for (number, from) in [(1, "x@a.example"), (2, "x@a.example"), (3, "x@b.example"), (4, "")] {
            let mut message = Message::new(number, at(0), &[&format!("x@{domain}")]);
            message.envelope.reverse_path = from.into();
            home.add(at(0), message);
        }
        if domain == "mx.example" {
            assert_eq!(home.next(at(0)), None);
            assert_eq!(wanted(&mut home).len(), 3, "each lane asks, and one answer is for all");
            home.queue.resolved(at(0), domain, &found(&hosts(1, &[(10, "mx.one.example", 1)]), 1000));
        }
        let first = home.next(at(0)).unwrap();
        assert_eq!(first.id.number(), 1);
        assert!(home.queue.is_domain_in_hand(first.id, a, domain));
        home.conclude(at(0), &closed(&first, at(60)));
        let others: Vec<Job> = std::iter::from_fn(|| home.next(at(1))).collect();
        assert_eq!(numbers(&others), [3, 4], "what is from the first pool waits");
        let why = |number| home.queue.why_nothing_goes_to(&home.spool[&MessageId::new(1, number)], domain);
        assert_eq!([1, 3].map(|number| why(number).is_some()), [true, false]);
        others.iter().for_each(|job| drop(home.settle(at(1), job, delivered)));
        assert_eq!(home.next(at(60)).map(|job| job.id.number()), Some(1));
    }
}
