//! Which of what waits is served first.

use super::*;

fn of_priority(number: u64, destination: DestinationId, priority: i8) -> Work {
    let Work::Deliver(job) = job(number, destination) else { unreachable!() };
    Work::Deliver(Job { priority: Priority::try_from(priority).unwrap(), ..job })
}

fn number(work: &Work) -> u64 {
    let Work::Deliver(job) = work else { panic!("{work:?}") };
    job.id.number()
}

/// The numbers of what is started on the only connection, one after the other.
fn served(owner: &mut Destinations, connection: ConnectionId, count: usize) -> Vec<u64> {
    let mut served = Vec::new();
    while served.len() < count {
        for action in actions(owner, 0) {
            if let Action::Start { work, .. } = action {
                served.push(number(&work));
                owner.done(at(0).mono, connection, delivered(), true);
            }
        }
    }
    served
}

#[test]
fn what_is_more_urgent_is_served_first_and_the_rest_has_its_turns() {
    let routes = routes(1);
    let mut owner = owner(&routes, Settings { backlog_per_connection: 1000, ..Settings::default() });
    owner.push(at(0).mono, 0, of_priority(0, first(), 0)).unwrap();
    let (connection, _) = connects(&actions(&mut owner, 0))[0];
    const BULK: u64 = 96;
    const NORMAL: u64 = 100;
    const URGENT: u64 = 104;
    for (count, number, priority) in [(1, BULK, -4), (2, NORMAL, 0), (30, URGENT, 4)] {
        for _ in 0..count {
            owner.push(at(0).mono, 0, of_priority(number, first(), priority)).unwrap();
        }
    }
    owner.ready(at(0).mono, connection);
    let served = served(&mut owner, connection, 34);
    assert_eq!(served[..6], [URGENT, URGENT, URGENT, URGENT, 0, URGENT], "{served:?}");
    let place = |number| served.iter().position(|other| *other == number).unwrap();
    assert!(place(NORMAL) < 12 && place(BULK) < 20, "{served:?}");
    assert_eq!(served[33], URGENT, "they had turns before all that is urgent was served");
}

#[test]
fn a_destination_with_urgent_mail_has_the_next_free_connection() {
    let routes = routes(3);
    let mut owner = owner(&routes, Settings { connections_max: 1, ..Settings::default() });
    owner.push(at(0).mono, 0, of_priority(0, first(), 0)).unwrap();
    let (connection, _) = connects(&actions(&mut owner, 0))[0];
    owner.ready(at(0).mono, connection);
    actions(&mut owner, 0);
    let [bulk, urgent] = [1, 2].map(DestinationId::from_index);
    for (destination, priority) in [(bulk, -4), (urgent, -4), (urgent, 4)] {
        owner.push(at(0).mono, 0, of_priority(1, destination, priority)).unwrap();
        assert!(connects(&actions(&mut owner, 0)).is_empty(), "there is no room");
    }
    owner.done(at(0).mono, connection, delivered(), true);
    actions(&mut owner, 0);
    owner.closed(at(0).mono, connection, None);
    let made = actions(&mut owner, 0);
    let [Action::Connect { destination, .. }] = made[..] else { panic!("{made:?}") };
    assert_eq!(destination, urgent);
}

#[test]
fn bulk_that_fills_a_destination_leaves_room_for_other_mail() {
    let routes = routes(1);
    let mut owner = owner(&routes, Settings { destination_queue_max: 16, ..Settings::default() });
    let mut fill = |priority| {
        let room = |number: &u64| owner.push(at(0).mono, 0, of_priority(*number, first(), priority)).is_ok();
        (0..100).filter(room).count()
    };
    assert_eq!([-4, 0, 4, -4, 0].map(&mut fill), [14, 2, 2, 0, 0]);
    owner.gauge(&mut |gauge| assert!(gauge.holds(), "{gauge:?}"));
}

#[test]
fn what_has_waited_for_too_long_goes_back_whatever_its_class() {
    let routes = routes(1);
    let mut owner = owner(&routes, Settings { connect_timeout: Duration::from_secs(3600), ..Settings::default() });
    for (seconds, priority) in [(0, -4), (1, 4), (2, 0)] {
        owner.push(at(seconds).mono, 0, of_priority(seconds, first(), priority)).unwrap();
        actions(&mut owner, seconds);
    }
    for seconds in 300..303 {
        assert_eq!(owner.next_deadline(), Some(at(seconds).mono));
        let made = actions(&mut owner, seconds);
        let [Action::Finished { result: WorkResult::Deliver(result), .. }] = &made[..] else { panic!("{made:?}") };
        assert_eq!(result.id.number(), seconds - 300);
    }
}
