//! Standing orders, for the owner of destinations.

use super::*;
use crate::delivery::testing::{domain, orders};
use crate::delivery::{Selector, Treatment};

/// A connection that was greeted and has done a message.
fn served(owner: &mut Destinations, seconds: u64, work: Work) -> ConnectionId {
    owner.push(at(seconds).mono, 0, work).unwrap();
    let (connection, _) = connects(&actions(owner, seconds))[0];
    owner.ready(at(seconds).mono, connection);
    actions(owner, seconds);
    owner.done(at(seconds).mono, connection, delivered(), true);
    actions(owner, seconds);
    connection
}

fn quits(actions: &[Action]) -> Vec<ConnectionId> {
    let quit = |action: &Action| if let Action::Quit { connection } = action { Some(*connection) } else { None };
    actions.iter().filter_map(quit).collect()
}

#[test]
fn what_waits_for_a_connection_goes_back_untried_and_what_is_under_way_is_finished() {
    let routes = Arc::new(routes(2));
    let routes = Arc::clone(&routes);
    let mut owner = owner(&routes, Settings::default());
    let second = DestinationId::from_index(1);
    for (number, destination) in [(1, first()), (2, first()), (3, second)] {
        owner.push(at(0).mono, 7, job(number, destination)).unwrap();
    }
    let (connection, _) = connects(&actions(&mut owner, 0))[0];
    owner.ready(at(0).mono, connection);
    assert_eq!(starts(&actions(&mut owner, 0)), [connection]);
    // All of them are in the domain d.example, which has no route of its own here.
    let all = orders(&routes, [(1, Selector::All, Treatment::Suspend)]);
    owner.heed(at(1).mono, &all, 0);
    let made = actions(&mut owner, 1);
    assert_eq!(fates(&made), [Fate::Untried, Fate::Untried, Fate::Untried, Fate::Untried]);
    assert!(quits(&made).is_empty());
    owner.done(at(2).mono, connection, delivered(), true);
    let made = actions(&mut owner, 2);
    assert!(fates(&made).len() == 2 && quits(&made).is_empty(), "suspended, not drained: {made:?}");
}

#[test]
fn connections_to_a_drained_destination_end_after_the_message_in_hand() {
    let routes = routes(2);
    let mut owner = owner(&routes, Settings::default());
    let idle = served(&mut owner, 0, job(1, first()));
    let other = served(&mut owner, 0, job(2, DestinationId::from_index(1)));
    let drained = Selector::Destination("smtp://192.0.2.0:25".into());
    let all = orders(&routes, [(1, drained.clone(), Treatment::Drain)]);
    owner.heed(at(1).mono, &all, 0);
    assert_eq!(quits(&actions(&mut owner, 1)), [idle]);
    owner.push(at(1).mono, 0, job(3, DestinationId::from_index(1))).unwrap();
    assert_eq!(starts(&actions(&mut owner, 1)), [other]);
    let other_drained = Selector::Destination("smtp://192.0.2.1:25".into());
    let all = orders(&routes, [(1, drained, Treatment::Drain), (2, other_drained, Treatment::Drain)]);
    owner.heed(at(2).mono, &all, 1);
    assert_eq!(actions(&mut owner, 2), []);
    owner.done(at(3).mono, other, delivered(), true);
    assert_eq!(quits(&actions(&mut owner, 3)), [other]);
}

#[test]
fn of_shared_connections_those_end_that_served_the_drained_domain_last() {
    let routes = Arc::new(by_mx());
    let mut owner = owner(&routes, Settings::default());
    let set = hosts(1, &[(10, "a.example", 1)]);
    let connection = served(&mut owner, 0, job_to(1, &set));
    owner.heed(at(1).mono, &orders(&routes, [(1, domain("other.example"), Treatment::Drain)]), 0);
    assert_eq!(quits(&actions(&mut owner, 1)), []);
    owner.heed(at(1).mono, &orders(&routes, [(2, domain("D.example"), Treatment::Drain)]), 1);
    assert_eq!(quits(&actions(&mut owner, 1)), [connection]);
}

#[test]
fn work_that_is_sent_another_way_uses_the_connections_of_that_way() {
    let routes = routes(2);
    let mut owner = owner(&routes, Settings::default());
    let connection = served(&mut owner, 0, job(1, DestinationId::from_index(1)));
    let Work::Deliver(rerouted) = job(2, first()) else { unreachable!() };
    let work = Work::Deliver(Job { way: Way::Via(DestinationId::from_index(1)), ..rerouted });
    assert_eq!(routes.owner(&work, 2), 1);
    owner.push(at(1).mono, 0, work).unwrap();
    assert_eq!(starts(&actions(&mut owner, 1)), [connection]);
}

/// Deliveries that came back untried, by the numbers of their messages.
fn back(actions: &[Action]) -> Vec<u64> {
    let number = |action: &Action| match action {
        Action::Finished { result: WorkResult::Deliver(result), .. } => {
            assert!(result.fates.iter().all(|(_, fate)| *fate == Fate::Untried), "{result:?}");
            Some(result.id.number())
        }
        _ => None,
    };
    actions.iter().filter_map(number).collect()
}

#[test]
fn what_an_earlier_order_has_sent_here_does_not_begin_when_nothing_is_to_go_here() {
    // The order that has sent it is over: none that stands is about where it comes from.
    let fixed = routes(2);
    let second = DestinationId::from_index(1);
    let suspended = Selector::Destination("smtp://192.0.2.1:25".into());
    let mut fixed_owner = owner(&fixed, Settings::default());
    let Work::Deliver(rerouted) = job(1, first()) else { unreachable!() };
    fixed_owner.push(at(0).mono, 0, Work::Deliver(Job { way: Way::Via(second), ..rerouted })).unwrap();
    fixed_owner.push(at(0).mono, 0, job(2, first())).unwrap();
    fixed_owner.heed(at(1).mono, &orders(&fixed, [(2, suspended, Treatment::Suspend)]), 1);
    assert_eq!(back(&actions(&mut fixed_owner, 1)), [1]);

    let by_mx = Arc::new(by_mx());
    let mut owner = owner(&by_mx, Settings::default());
    let set = hosts(1, &[(10, "a.example", 1)]);
    for (number, name) in [(1, "d.example"), (2, "there.example")] {
        let Work::Deliver(job) = job(number, DestinationId::from_index(7)) else { unreachable!() };
        let way = Way::Hosts { domain: name.into(), route: first(), hosts: Arc::clone(&set) };
        owner.push(at(0).mono, 0, Work::Deliver(Job { way, ..job })).unwrap();
    }
    owner.heed(at(1).mono, &orders(&by_mx, [(2, domain("there.example"), Treatment::Drain)]), 1);
    assert_eq!(back(&actions(&mut owner, 1)), [2]);
}

#[test]
fn what_waits_is_gone_through_for_new_orders_only_and_what_is_not_stopped_keeps_its_order() {
    let routes = routes(1);
    let mut owner = owner(&routes, Settings::default());
    for number in 1..=6 {
        let Work::Deliver(job) = job(number, first()) else { unreachable!() };
        let from = if number % 2 == 0 { "a@stopped.example" } else { "a@other.example" };
        owner.push(at(0).mono, 0, Work::Deliver(Job { reverse_path: from.into(), ..job })).unwrap();
    }
    let all = orders(&routes, [(3, Selector::Sender("stopped.example".into()), Treatment::Suspend)]);
    // Another one has ended; this one was heeded when it came.
    owner.heed(at(0).mono, &all, 3);
    let made = actions(&mut owner, 0);
    let (connection, _) = connects(&made)[0];
    assert!(back(&made).is_empty());
    owner.heed(at(0).mono, &all, 2);
    assert_eq!(back(&actions(&mut owner, 0)), [2, 4, 6]);
    owner.ready(at(0).mono, connection);
    let mut begun = Vec::new();
    while let Some(action) = owner.poll(at(0).mono) {
        if let Action::Start { connection, work: Work::Deliver(job) } = action {
            begun.push(job.id.number());
            owner.done(at(0).mono, connection, delivered(), true);
        }
    }
    assert_eq!(begun, [1, 3, 5]);
}
