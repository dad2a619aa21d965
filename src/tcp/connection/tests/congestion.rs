//! What is marked slows the sender down, and nothing is sent again.

use super::*;
use crate::limits::RETRANSMISSION_TIMEOUT_MIN;
use proptest::prelude::*;
use std::collections::HashSet;

const SEGMENT: usize = 1448;

/// Brings the window and the round-trip time up.
fn warm() -> World {
    let mut world = World::joined();
    world.transfer(&content(100 * SEGMENT), Duration::from_secs(5), |_, _, _| Fate::Passes);
    world.run(Duration::from_millis(100), |_, _, _| Fate::Passes);
    world
}

fn window(world: &World) -> u32 {
    world.ends[0].connection.send.cubic.window()
}

/// Segments of a transfer meet congestion in the places given; how many go out, and how many with CWR.
fn mark(world: &mut World, segments: usize, places: &[usize]) -> (u64, u32) {
    let (first, mut answers) = (world.ends[0].sent, 0);
    world.transfer(&content(segments * SEGMENT), Duration::from_secs(5), |side, number, flying| {
        answers += u32::from(side == 0 && flying.header.flags & CWR != 0);
        let marked = side == 0 && places.iter().any(|place| first + *place as u64 == number);
        if marked { Fate::Marked } else { Fate::Passes }
    });
    (world.ends[0].sent - first, answers)
}

#[test]
fn a_mark_costs_three_tenths_of_the_window_and_no_segment() {
    let mut world = warm();
    let before = window(&world);
    assert_eq!(mark(&mut world, 100, &[3]), (100, 1));
    // CUBIC grows again within the transfer.
    let share = f64::from(window(&world)) / f64::from(before);
    assert!((0.69..0.80).contains(&share), "{share}");
}

#[test]
fn marks_of_one_window_are_one_event_and_those_of_the_next_another() {
    let mut world = warm();
    let before = window(&world);
    assert_eq!(mark(&mut world, 100, &[3, 4, 5, 9, 14, 20, 30]), (100, 1));
    let share = f64::from(window(&world)) / f64::from(before);
    assert!((0.69..0.80).contains(&share), "{share}");
    let before = window(&world);
    assert_eq!(mark(&mut world, 300, &[3, 200]), (300, 2));
    let share = f64::from(window(&world)) / f64::from(before);
    assert!((0.48..0.65).contains(&share), "{share}");
}

#[test]
fn an_echo_is_said_until_it_is_answered() {
    let mut world = warm();
    let first = world.ends[0].sent;
    let (mut echoes, mut answered) = (0, false);
    world.transfer(&content(200 * SEGMENT), Duration::from_secs(5), |side, number, flying| {
        if side == 0 {
            answered |= flying.header.flags & CWR != 0;
            return if number == first + 3 { Fate::Marked } else { Fate::Passes };
        }
        echoes += u32::from(flying.header.flags & ECE != 0);
        // The first ones that say so are lost.
        if flying.header.flags & ECE != 0 && echoes <= 5 { Fate::Lost } else { Fate::Passes }
    });
    assert!(answered && echoes > 5, "{echoes}");
    assert!(!world.ends[1].connection.receive.marked);
}

#[test]
fn an_answer_that_is_lost_is_given_again() {
    let mut world = warm();
    let first = world.ends[0].sent;
    let mut answers = 0;
    world.transfer(&content(300 * SEGMENT), Duration::from_secs(5), |side, number, flying| {
        let answer = side == 0 && flying.header.flags & CWR != 0;
        answers += u32::from(answer);
        match side {
            0 if answer && answers == 1 => Fate::Lost,
            0 if number == first + 3 => Fate::Marked,
            _ => Fate::Passes,
        }
    });
    // What was lost was sent after the window had come down, and brings it down again.
    assert_eq!(answers, 2);
    assert!(!world.ends[1].connection.receive.marked);
}

#[test]
fn a_loss_beside_a_mark_costs_no_more_than_either() {
    let mut world = warm();
    let (before, first) = (window(&world), world.ends[0].sent);
    world.transfer(&content(100 * SEGMENT), Duration::from_secs(5), |side, number, _| match side {
        0 if number == first + 3 => Fate::Marked,
        0 if number == first + 9 => Fate::Lost,
        _ => Fate::Passes,
    });
    assert_eq!(world.ends[0].sent - first, 101);
    let share = f64::from(window(&world)) / f64::from(before);
    assert!((0.69..0.80).contains(&share), "{share}");
}

#[test]
fn a_lost_tail_behind_a_mark_is_repaired_without_a_timeout() {
    let mut world = warm();
    let first = world.ends[0].sent;
    let took = world.transfer(&content(10 * SEGMENT), Duration::from_secs(5), |side, number, _| match side {
        0 if number == first + 2 => Fate::Marked,
        0 if (first + 7..first + 10).contains(&number) => Fate::Lost,
        _ => Fate::Passes,
    });
    assert!(took < RETRANSMISSION_TIMEOUT_MIN, "{took:?}");
}

#[test]
fn marks_at_every_turn_leave_a_segment_a_timeout() {
    let mut world = warm();
    let content = content(700 * SEGMENT);
    let (began, limit) = (world.now, world.now + Duration::from_secs(20));
    let (mut sent_at, mut pushed, mut got) = (Vec::new(), 0, 0);
    while world.now < limit {
        pushed += world.ends[0].push(&content[pushed..]);
        world.step(limit, &mut |side, _, flying| {
            if side == 0 && !flying.content.is_empty() {
                sent_at.push(flying.arrives_at);
                return Fate::Marked;
            }
            Fate::Passes
        });
        got += world.ends[1].read().len();
    }
    assert_eq!(window(&world), SEGMENT as u32);
    let late: Vec<_> = sent_at.iter().filter(|at| at.since(began) > Duration::from_secs(10)).collect();
    assert!((20..=50).contains(&late.len()), "{}", late.len());
    for pair in late.windows(2) {
        assert!(pair[1].since(*pair[0]) >= RETRANSMISSION_TIMEOUT_MIN);
    }
    // Once nothing is marked any more, all goes on.
    let limit = world.now + Duration::from_secs(5);
    while world.now < limit {
        pushed += world.ends[0].push(&content[pushed..]);
        world.step(limit, &mut |_, _, _| Fate::Passes);
        got += world.ends[1].read().len();
    }
    assert_eq!(got, content.len());
}

#[test]
fn what_is_left_when_a_segment_waits_goes_out_with_the_end() {
    let mut world = warm();
    world.ends[0].connection.send.cubic.set_window(SEGMENT as u32);
    world.ends[0].push(&content(SEGMENT));
    world.run(Duration::from_millis(50), |side, _, _| if side == 0 { Fate::Marked } else { Fate::Passes });
    assert!(matches!(world.ends[0].connection.send.phase, sender::Phase::Reduced { waits: true, .. }));
    // Content that comes long after waits no more, and an end without content has no need to.
    world.run(Duration::from_secs(5), |_, _, _| Fate::Passes);
    world.ends[0].push(b"QUIT\r\n");
    world.run(Duration::from_millis(50), |_, _, _| Fate::Passes);
    assert_eq!(world.ends[1].read()[SEGMENT..], *b"QUIT\r\n");
    world.ends[0].push(&content(SEGMENT));
    world.run(Duration::from_millis(50), |side, _, _| if side == 0 { Fate::Marked } else { Fate::Passes });
    world.ends[0].connection.close();
    world.run(Duration::from_millis(50), |_, _, _| Fate::Passes);
    assert!(world.ends[1].connection.finished());
}

#[test]
fn marks_and_what_was_said_of_them_go_along_in_a_snapshot() {
    let mut world = warm();
    world.ends[0].push(&content(5 * SEGMENT));
    let limit = world.now + 2 * DELAY;
    while world.now < limit {
        world.step(limit, &mut |side, _, _| if side == 0 { Fate::Marked } else { Fate::Passes });
    }
    assert!(world.ends[0].connection.send.reduced && world.ends[1].connection.receive.marked);
    for end in &mut world.ends {
        let snapshot = end.connection.snapshot(world.now).expect("it is open");
        let mut old = std::mem::replace(
            &mut end.connection,
            Connection::restore(&snapshot, &TERMS, world.now, &mut end.rings).expect("it fits together"),
        );
        old.dissolve(&mut end.rings);
    }
    assert!(world.ends[0].connection.send.capable && world.ends[0].connection.send.reduced);
    assert!(world.ends[1].connection.receive.echoes && world.ends[1].connection.receive.marked);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn only_new_content_may_be_marked_and_only_it_says_that_we_have_slowed_down(
        seed in any::<u64>(),
        (lost, marked) in (0u64..10, 0u64..10),
    ) {
        let mut random = seed | 1;
        let mut draw = move || {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            random
        };
        let mut world = World::joined();
        let mut seen = HashSet::new();
        world.transfer(&content(200_000), Duration::from_secs(4000), |side, _, flying| {
            let header = &flying.header;
            let new = !flying.content.is_empty() && seen.insert((side, header.sequence.0));
            assert!(header.ecn == NOT_ECT || header.ecn == ECT_0 && new, "{header:?}");
            assert!(header.flags & CWR == 0 || new, "{header:?}");
            match draw() % 100 {
                number if number < lost => Fate::Lost,
                number if number < lost + marked => Fate::Marked,
                _ => Fate::Passes,
            }
        });
    }
}
