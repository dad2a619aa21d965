//! What is done about what a receiver says.

use super::*;
use crate::delivery::{React, Reaction, Reactions};

const PERIOD: Duration = Duration::from_secs(600);

fn reaction(code: &str, text: &str, react: React) -> Reaction {
    Reaction {
        name: "the reaction".into(),
        codes: vec![code.parse().unwrap()],
        statuses: Vec::new(),
        text: Some(crate::delivery::compile_pattern(text).unwrap()),
        react,
    }
}

fn reactive(routes: &Routes, react: React) -> Destinations {
    owner(routes, Settings::default()).with_reactions(Reactions::new(vec![reaction("xxx", "slow down", react)]))
}

fn refused_with(code: u16, text: &str) -> Fate {
    let answer = said(code, Stage::Outcome, text);
    if code >= 500 { Fate::Failed(answer) } else { Fate::deferred(answer) }
}

/// A transaction that ends like this for both recipients.
fn finish(owner: &mut Destinations, seconds: u64, connection: ConnectionId, fate: &Fate) {
    let fates = vec![(0, fate.clone()), (2, fate.clone())];
    owner.done(
        at(seconds).mono,
        connection,
        TaskResult::Deliver { fates, dsn_offered: false, broken_off: false },
        true,
    );
}

/// The first message is under way.
fn under_way(owner: &mut Destinations) -> ConnectionId {
    owner.push(at(0).mono, 0, job(1, first())).unwrap();
    let (connection, _) = connects(&actions(owner, 0))[0];
    owner.ready(at(0).mono, connection);
    actions(owner, 0);
    connection
}

fn standstill(actions: &[Action]) -> Option<&Standstill> {
    actions.iter().find_map(|action| match action {
        Action::Finished { result: WorkResult::Deliver(result), .. } => result.standstill.as_deref(),
        _ => None,
    })
}

#[test]
fn a_host_that_asks_for_it_is_left_alone_and_the_next_one_has_the_mail() {
    let routes = one_route(vec![hop(1, 10), hop(2, 20)]);
    let mut owner = reactive(&routes, React::BackOff(PERIOD));
    let connection = under_way(&mut owner);
    finish(&mut owner, 1, connection, &refused_with(450, "450 4.7.1 slow down"));
    let made = actions(&mut owner, 1);
    assert!(made.contains(&Action::Quit { connection }), "{made:?}");
    let answer = fates(&made)[1].answer().unwrap().clone();
    assert_eq!(answer.reaction.as_deref(), Some("the reaction"));
    assert!(matches!(fates(&made)[0], Fate::Deferred { .. }), "the message itself is tried again when it is due");
    let told = owner.news();
    assert!(matches!(&told, Some(News::Reacted { suspends: false, until, .. }) if *until == at(601).mono), "{told:?}");
    assert_eq!(owner.news(), None, "once, and not for each recipient");
    owner.closed(at(1).mono, connection, None);
    owner.push(at(2).mono, 0, job(2, first())).unwrap();
    let (other, remote) = connects(&actions(&mut owner, 2))[0];
    assert_eq!(remote.to_string(), "192.0.2.2:25");
    // What the other one says makes nobody talk to the first one sooner.
    owner.ready(at(2).mono, other);
    actions(&mut owner, 2);
    finish(&mut owner, 3, other, &refused_with(450, "450 4.7.1 slow down"));
    actions(&mut owner, 3);
    owner.closed(at(3).mono, other, None);
    owner.push(at(4).mono, 0, job(3, first())).unwrap();
    let made = actions(&mut owner, 4);
    assert_eq!(fates(&made), vec![Fate::Untried; 2]);
    assert!(matches!(standstill(&made), Some(Standstill::Closed { until, .. }) if *until == at(601).mono), "{made:?}");
    owner.push(at(601).mono, 0, job(3, first())).unwrap();
    assert_eq!(connects(&actions(&mut owner, 601))[0].1.to_string(), "192.0.2.1:25");
}

#[test]
fn a_destination_that_is_suspended_takes_nothing_over_any_host() {
    let routes = one_route(vec![hop(1, 10), hop(2, 20)]);
    let mut owner = reactive(&routes, React::Suspend(PERIOD));
    let connection = under_way(&mut owner);
    owner.push(at(1).mono, 0, job(2, first())).unwrap();
    finish(&mut owner, 1, connection, &refused_with(451, "451 4.7.1 slow down"));
    let made = actions(&mut owner, 1);
    assert!(made.contains(&Action::Quit { connection }), "{made:?}");
    let Some(Standstill::Closed { until, why }) = standstill(&made[1..]) else { panic!("{made:?}") };
    assert_eq!((*until, &*why.text), (at(601).mono, "451 4.7.1 slow down"));
    assert_eq!(fates(&made)[2..], vec![Fate::Untried; 2]);
    owner
        .push(at(600).mono, 0, Work::Verify { token: 1, destination: first(), recipient: "a@d0.example".into() })
        .unwrap();
    let made = actions(&mut owner, 600);
    let [.., Action::Finished { result: WorkResult::Verify { fate: Fate::Deferred { .. }, .. }, .. }] = &made[..]
    else {
        panic!("a client waits for it: {made:?}")
    };
    owner.push(at(601).mono, 0, job(3, first())).unwrap();
    assert_eq!(connects(&actions(&mut owner, 601)).len(), 1);
}

#[test]
fn a_greeting_can_suspend_a_destination() {
    let routes = one_route(vec![hop(1, 10), hop(2, 20)]);
    let mut owner = reactive(&routes, React::Suspend(PERIOD));
    owner.push(at(0).mono, 0, job(1, first())).unwrap();
    let (connection, _) = connects(&actions(&mut owner, 0))[0];
    owner.established(at(0).mono, connection);
    owner.closed(at(0).mono, connection, Some(said(421, Stage::Greeting, "421 4.7.0 slow down")));
    let made = actions(&mut owner, 0);
    assert!(matches!(standstill(&made), Some(Standstill::Closed { until, .. }) if *until == at(600).mono), "{made:?}");
    assert_eq!(connects(&made), []);
}

#[test]
fn what_would_be_tried_again_is_given_up_and_the_other_way_round() {
    let routes = routes(1);
    for (react, code, text, class) in [
        (React::Bounce, 450, "450 4.7.1 slow down", 5),
        (React::Defer, 554, "554 5.7.1 slow down", 4),
        (React::Bounce, 554, "554 5.7.1 slow down", 5),
        (React::Defer, 450, "450 4.7.1 slow down", 4),
    ] {
        let mut owner = reactive(&routes, react);
        let connection = under_way(&mut owner);
        finish(&mut owner, 1, connection, &refused_with(code, text));
        for fate in fates(&actions(&mut owner, 1)) {
            let answer = fate.answer().unwrap();
            assert_eq!((answer.status, &*answer.text), ((class, 7, 1), text), "{react:?}");
            assert_eq!(matches!(fate, Fate::Failed(_)), class == 5, "{react:?} {text}");
            assert_eq!(answer.reaction.as_deref(), Some("the reaction"));
        }
        assert_eq!(owner.news(), None, "it concerns one message alone");
    }
}

#[test]
fn what_fits_nothing_is_as_ever() {
    let routes = routes(1);
    let mut owner = reactive(&routes, React::Bounce);
    let connection = under_way(&mut owner);
    let fate = refused_with(450, "450 4.2.0 greylisted");
    finish(&mut owner, 1, connection, &fate);
    assert_eq!(fates(&actions(&mut owner, 1)), vec![fate; 2]);
}
