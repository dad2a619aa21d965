//! What is urgent, and what may wait.

use super::*;
use crate::limits::PASSED_OVER_MAX;
use std::collections::HashMap;

fn message(number: u64, now: Now, address: &str, priority: i8) -> Message {
    Message::new(number, now, &[address]).priority(priority)
}

fn numbers(jobs: &[Job]) -> Vec<u64> {
    jobs.iter().map(|job| job.id.number()).collect()
}

fn all(home: &mut Home, now: Now) -> Vec<Job> {
    std::iter::from_fn(|| home.next(now)).collect()
}

#[test]
fn of_what_is_due_the_more_urgent_goes_first_and_then_who_came_first() {
    let mut home = Home::steady();
    for (number, priority) in [(1, -9), (2, 0), (3, 1), (4, -1), (5, 9), (6, 0)] {
        home.add(at(number), message(number, at(number), "a@d0.example", priority));
    }
    let jobs = all(&mut home, at(10));
    assert_eq!(numbers(&jobs), [3, 5, 2, 6, 1, 4]);
    assert_eq!(jobs[0].priority, Priority::parse("1").unwrap());
}

#[test]
fn a_destination_with_something_urgent_has_its_turn_first() {
    let mut home = Home::steady();
    for (number, priority) in [(0, -4), (1, 0), (2, 4), (3, -4)] {
        home.add(at(0), message(number, at(0), &format!("a@d{number}.example"), priority));
    }
    // What waits there besides does not come before the rest.
    home.add(at(0), message(4, at(0), "a@d2.example", -4));
    assert_eq!(numbers(&all(&mut home, at(0))), [2, 1, 0, 3, 4]);
}

#[test]
fn what_is_more_urgent_does_not_starve_the_rest() {
    // A few jobs at a time, and always more to do of everything than can be done.
    let mut home = Home::steady();
    home.queue = home.queue.with_in_hand_max(8);
    let mut added = 0;
    let mut add = |home: &mut Home, priority| {
        added += 1;
        home.add(at(0), message(added, at(0), "a@d0.example", priority));
    };
    for priority in [-4, 0, 4].repeat(10) {
        add(&mut home, priority);
    }
    let (mut waits, mut most, mut counts) = (HashMap::new(), HashMap::new(), HashMap::new());
    let mut in_hand: VecDeque<Job> = VecDeque::new();
    for _ in 0..2000 {
        in_hand.extend(std::iter::from_fn(|| home.next(at(0))));
        let job = in_hand.pop_front().expect("there is always more to do");
        home.settle(at(0), &job, delivered);
        let priority = job.priority.number();
        add(&mut home, priority);
        *counts.entry(priority).or_insert(0) += 1;
        for other in [-4, 0, 4] {
            let wait = waits.entry(other).or_insert(0);
            *wait = if other == priority { 0 } else { *wait + 1 };
            let longest = most.entry(other).or_insert(0u8);
            *longest = (*wait).max(*longest);
        }
    }
    assert!(most[&-4] <= PASSED_OVER_MAX[0] + 1, "{most:?}");
    assert!(most[&0] <= PASSED_OVER_MAX[1] + 1, "{most:?}");
    assert!(counts[&4] > 7 * counts[&0] / 2 && counts[&0] > 3 * counts[&-4], "{counts:?}");
}

#[test]
fn a_retry_that_falls_due_goes_before_what_has_waited_for_longer() {
    let mut home = Home::steady();
    let urgent = home.add(at(0), message(1, at(0), "a@d0.example", 4));
    let job = home.next(at(0)).unwrap();
    home.settle(at(0), &job, deferred);
    for number in 2..1000 {
        home.add(at(1), message(number, at(1), "a@d0.example", -4));
    }
    let first = home.next(at(59)).unwrap();
    assert_eq!(first.id.number(), 2);
    assert_eq!(home.next(at(60)).unwrap().id, urgent);
    // The lane stands in a row of its own class again.
    assert_eq!(home.next(at(60)).unwrap().id.number(), 3);
}

#[test]
fn bulk_leaves_room_for_what_is_more_urgent() {
    let mut home = Home::steady();
    for number in 0..1000 {
        home.add(at(0), message(number, at(0), "a@d0.example", -4));
    }
    let bulk = all(&mut home, at(0));
    assert_eq!(bulk.len(), UnderWay::max(Class::Bulk, JOBS_IN_HAND_MAX as usize));
    for number in 1000..2000 {
        home.add(at(0), message(number, at(0), "a@d0.example", 0));
        home.add(at(0), message(number + 1000, at(0), "a@d0.example", 4));
    }
    let more = all(&mut home, at(0));
    let room = UnderWay::max(Class::Urgent, JOBS_IN_HAND_MAX as usize) - bulk.len();
    assert_eq!(more.len(), room);
    home.queue.gauge(&mut |gauge| assert!(gauge.holds(), "{gauge:?}"));
    // Whatever is settled gives its room to the most urgent first.
    for job in &bulk[..3] {
        home.settle(at(0), job, delivered);
        let next = all(&mut home, at(0));
        assert_eq!(next.len(), 1);
        assert_ne!(next[0].priority.number(), -4);
    }
}

#[test]
fn bulk_for_many_slow_destinations_leaves_room_for_other_mail() {
    let mut home = by_mx();
    let add = |home: &mut Home, number: u64, priority| {
        home.add(at(0), message(number, at(0), &format!("a@d{}.of.example", number % 1000), priority));
    };
    for number in 0..20_000 {
        add(&mut home, number, -4);
    }
    assert_eq!(home.next(at(0)), None);
    let set = hosts(1, &[(10, "mx.example", 1)]);
    for domain in wanted(&mut home) {
        home.queue.resolved(at(0), &domain, &found(&set, 60));
    }
    assert_eq!(all(&mut home, at(0)).len(), UnderWay::max(Class::Bulk, JOBS_IN_HAND_TOTAL_MAX));
    assert_eq!(home.queue.next_deadline(), None, "nothing to do before something is settled");
    add(&mut home, 20_000, 0);
    assert_eq!(home.queue.next_deadline(), Some(Instant::ZERO));
    assert_eq!(numbers(&all(&mut home, at(0))), [20_000]);
    add(&mut home, 20_001, 9);
    assert_eq!(numbers(&all(&mut home, at(0))), [20_001]);
}

#[test]
fn an_operator_changes_nothing_about_how_urgent_a_message_is() {
    let mut home = Home::steady();
    let bulk = home.add(at(0), message(1, at(0), "a@d0.example", -4));
    let job = home.next(at(0)).unwrap();
    home.settle(at(0), &job, deferred);
    home.queue.retry(at(1), bulk);
    home.add(at(2), message(2, at(2), "a@d0.example", 0));
    assert_eq!(numbers(&all(&mut home, at(2))), [2, 1]);
    home.add(at(3), message(3, at(3), "a@d0.example", 4));
    home.queue.remove(MessageId::new(1, 3));
    assert_eq!(home.next(at(3)), None);
}

#[test]
fn how_long_a_message_is_tried_and_when_does_not_depend_on_it() {
    let mut times = Vec::new();
    for priority in [-9, 0, 9] {
        let mut home = Home::steady();
        home.add(at(0), message(1, at(0), "a@d0.example", priority));
        let mut now = at(0);
        let mut tried_at = Vec::new();
        while let Some(job) = home.next(now) {
            tried_at.push(now.mono);
            home.settle(now, &job, deferred);
            let Some(next) = home.queue.next_deadline() else { break };
            now = at(next.since(Instant::ZERO).as_secs());
        }
        times.push(tried_at);
    }
    assert!(times[0].len() > 10);
    assert!(times.iter().all(|other| *other == times[0]));
}
