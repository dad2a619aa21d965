//! What is lost is sent again, soon, and only that.

use super::*;

const SEGMENT: usize = 1448;
const TRIP: Duration = Duration::from_millis(20);

/// Brings the window and the round-trip time up.
fn warm() -> World {
    let mut world = World::joined();
    world.transfer(&content(100 * SEGMENT), Duration::from_secs(5), |_, _, _| Fate::Passes);
    pause(&mut world);
    world
}

/// Lets all arrive that is under way, but not so long that the window is void.
fn pause(world: &mut World) {
    world.run(Duration::from_millis(100), |_, _, _| Fate::Passes);
}

/// Loses the segments of one transfer whose places are given, the first time that they are sent; how long it takes, and how
/// many segments of content went out.
fn lose(world: &mut World, segments: usize, places: &[usize]) -> (Duration, u64) {
    let first = world.ends[0].sent;
    let took = world.transfer(&content(segments * SEGMENT), Duration::from_secs(60), |side, number, _| {
        let lost = side == 0 && places.iter().any(|place| first + *place as u64 == number);
        if lost { Fate::Lost } else { Fate::Passes }
    });
    (took, world.ends[0].sent - first)
}

#[test]
fn one_lost_in_the_middle_costs_one_round_trip_and_one_segment() {
    let mut world = warm();
    let (took, sent) = lose(&mut world, 20, &[5]);
    assert!(took <= DELAY + TRIP + Duration::from_millis(6), "{took:?}");
    assert_eq!(sent, 21);
}

#[test]
fn many_lost_at_once_cost_little_more() {
    let mut world = warm();
    let (took, sent) = lose(&mut world, 40, &[5, 6, 7, 11, 20, 21, 30]);
    // All arrive at the same moment, and one acknowledgement names three of the four islands.
    assert!(took <= DELAY + 3 * TRIP + Duration::from_millis(6), "{took:?}");
    assert!(sent <= 40 + 7 + 3, "{sent}");
}

#[test]
fn a_lost_tail_is_repaired_by_a_probe_without_a_timeout() {
    let mut world = warm();
    let (took, _) = lose(&mut world, 10, &[7, 8, 9]);
    assert!(took < Duration::from_millis(120), "{took:?}");
    pause(&mut world);
    // One alone may wait for a delayed acknowledgement: its probe and the timeout come at the same time.
    let (took, _) = lose(&mut world, 10, &[9]);
    assert!(took < Duration::from_millis(250), "{took:?}");
}

#[test]
fn the_timeout_counts_from_the_probe() {
    let mut world = warm();
    let began = world.now;
    world.ends[0].push(&content(3 * SEGMENT));
    let mut sent_after = Vec::new();
    world.run(Duration::from_millis(300), |side, _, flying| {
        if side == 0 {
            sent_after.push(flying.arrives_at.since(began));
        }
        Fate::Lost
    });
    let [.., probe, timeout] = sent_after[..] else { panic!("{sent_after:?}") };
    assert_eq!(sent_after.len(), 5, "{sent_after:?}");
    assert!(probe <= DELAY + Duration::from_millis(60), "{sent_after:?}");
    assert!(timeout - probe >= Duration::from_millis(200), "{sent_after:?}");
}

#[test]
fn a_repetition_that_is_lost_too_is_sent_again_without_a_timeout() {
    let mut world = warm();
    // Number 60 of what goes out is the repetition of number 5, while new segments still follow.
    let first = world.ends[0].sent;
    let mut lost = 0;
    let hole = world.ends[0].connection.send_next().after(5 * SEGMENT as u32);
    let took = world.transfer(&content(200 * SEGMENT), Duration::from_secs(60), |side, number, flying| {
        let hit = side == 0 && flying.header.sequence == hole && lost < 2 && number >= first;
        lost += u32::from(hit);
        if hit { Fate::Lost } else { Fate::Passes }
    });
    assert_eq!(lost, 2);
    assert!(took < Duration::from_millis(200), "{took:?}");
}

#[test]
fn all_lost_comes_back_after_the_timeout() {
    let mut world = warm();
    let places: Vec<usize> = (0..11).collect();
    let (took, _) = lose(&mut world, 10, &places);
    assert!((200..1200).contains(&took.as_millis()), "{took:?}");
}

#[test]
fn without_sack_duplicates_tell() {
    let mut world = World::with_server(|options| options.sack_permitted = false);
    world.settle();
    world.ends.swap(0, 1);
    world.transfer(&content(100 * SEGMENT), Duration::from_secs(5), |_, _, _| Fate::Passes);
    pause(&mut world);
    let (took, sent) = lose(&mut world, 20, &[5]);
    assert!(took <= DELAY + TRIP + Duration::from_millis(6), "{took:?}");
    assert_eq!(sent, 21);
    let (took, _) = lose(&mut world, 30, &[5, 9, 14]);
    assert!(took <= DELAY + 4 * TRIP, "{took:?}");
}

#[test]
fn what_is_only_out_of_order_is_not_sent_again() {
    let mut world = warm();
    let first = world.ends[0].sent;
    world.transfer(&content(40 * SEGMENT), Duration::from_secs(5), |side, number, _| {
        let late = side == 0 && number % 7 == 3 && number >= first;
        if late { Fate::Late(Duration::from_millis(2)) } else { Fate::Passes }
    });
    pause(&mut world);
    // The first mixed-up ones may be taken for lost; the path is known after that.
    let first_round = world.ends[0].sent - first;
    assert!(first_round <= 46, "{first_round}");
    let first = world.ends[0].sent;
    world.transfer(&content(40 * SEGMENT), Duration::from_secs(5), |side, number, _| {
        let late = side == 0 && number % 7 == 3;
        if late { Fate::Late(Duration::from_millis(2)) } else { Fate::Passes }
    });
    pause(&mut world);
    assert_eq!(world.ends[0].sent - first, 40);
}

#[test]
fn a_timeout_that_came_too_early_is_taken_back() {
    let mut world = warm();
    let before = world.ends[0].connection.send.cubic.window();
    // The path stands still for longer than the timeout, and loses nothing.
    let moves_again_at = world.now + Duration::from_millis(400);
    world.transfer(&content(10 * SEGMENT), Duration::from_secs(5), |_, _, flying| {
        Fate::Late(moves_again_at.since(flying.arrives_at))
    });
    world.settle();
    let after = world.ends[0].connection.send.cubic.window();
    assert!(after >= before, "{before} {after}");
}

#[test]
fn a_path_that_swallows_large_segments_is_found_out() {
    let mut world = World::joined();
    let swallow = |_: usize, _: u64, flying: &Flying| {
        if flying.content.len() > 1200 { Fate::Lost } else { Fate::Passes }
    };
    let content = content(50_000);
    let (mut pushed, mut got) = (0, Vec::new());
    let limit = world.now + Duration::from_secs(30);
    while got.len() < content.len() {
        pushed += world.ends[0].push(&content[pushed..]);
        world.step(limit, &mut { swallow });
        got.extend(world.ends[1].read());
        if world.ends[0].connection.suspects_black_hole(972) {
            world.ends[0].connection.shrink(984);
        }
        assert!(world.now < limit, "{} of {}", got.len(), content.len());
    }
    assert!(got == content);
}

#[test]
fn a_smaller_path_has_everything_sent_again_in_pieces() {
    let mut world = warm();
    let swallow = |_: usize, _: u64, flying: &Flying| {
        if flying.content.len() > 1200 { Fate::Lost } else { Fate::Passes }
    };
    let content = content(20_000);
    assert_eq!(world.ends[0].push(&content), content.len());
    let limit = world.now + Duration::from_millis(10);
    world.step(limit, &mut { swallow });
    // A router says so.
    assert!(world.ends[0].connection.is_under_way(world.ends[0].connection.send.base()));
    world.ends[0].connection.shrink(1212);
    let (began, mut got) = (world.now, Vec::new());
    while got.len() < content.len() {
        world.step(began + Duration::from_secs(5), &mut { swallow });
        got.extend(world.ends[1].read());
        assert!(world.now < began + Duration::from_millis(200), "{} of {}", got.len(), content.len());
    }
    assert!(got == content);
}

/// Segments by which the window grows in a second without losses, from fourteen; acknowledgements arrive on the beat.
fn growth(beat: Duration) -> u32 {
    let mut world = warm();
    let cubic = &mut world.ends[0].connection.send.cubic;
    cubic.set_window(20 * SEGMENT as u32);
    cubic.reduce(SEGMENT as u32);
    cubic.set_window(14 * SEGMENT as u32);
    let content = content(1 << 20);
    let limit = world.now + Duration::from_secs(1);
    let mut last = world.now;
    while world.now < limit {
        while world.ends[0].push(&content) > 0 {}
        world.step(limit, &mut |side, _, flying| {
            let arrives_at = if side == 0 {
                // Content comes one by one, so that every second segment has its acknowledgement.
                last = flying.arrives_at.max(last + Duration::from_micros(100));
                last
            } else {
                Instant::from_nanos(flying.arrives_at.nanos().next_multiple_of(beat.as_nanos() as u64))
            };
            Fate::Late(arrives_at.since(flying.arrives_at))
        });
        world.ends[1].read();
    }
    world.ends[0].connection.send.cubic.window() / SEGMENT as u32 - 14
}

#[test]
fn acknowledgements_that_come_together_grow_the_window_as_those_that_come_alone() {
    let (alone, together) = (growth(Duration::from_nanos(1)), growth(Duration::from_millis(5)));
    assert!(alone >= 17, "{alone}");
    // The beat makes the round trip longer.
    assert!(together >= alone * 3 / 4, "{together} {alone}");
}

#[test]
fn lost_acknowledgements_do_not_look_as_if_the_path_mixed_up() {
    let mut world = warm();
    let first = world.ends[0].sent;
    let mut answers = 0;
    world.transfer(&content(60 * SEGMENT), Duration::from_secs(5), |side, number, flying| {
        if side == 0 {
            let place = number - first;
            return if [20, 24, 28].contains(&place) {
                Fate::Lost
            } else {
                Fate::Late(Duration::from_micros(100 * place))
            };
        }
        answers += u32::from(!Options::read(&flying.header.options).blocks.is_empty());
        // Three quarters of what tells of islands.
        if answers % 4 == 0 { Fate::Passes } else { Fate::Lost }
    });
    assert!(answers > 10, "{answers}");
    assert!(!world.ends[0].connection.send.rack.reordering);
}

#[test]
fn recovery_counts_only_what_had_not_arrived_before() {
    let mut world = warm();
    let first = world.ends[0].sent;
    assert!(world.ends[0].push(&content(20 * SEGMENT)) > 0);
    let limit = world.now + Duration::from_secs(1);
    let flight = loop {
        world.step(limit, &mut |side, number, _| match side {
            0 if number == first => Fate::Lost,
            0 => Fate::Late(Duration::from_millis(number - first)),
            _ => Fate::Passes,
        });
        if let sender::Phase::Recovery { flight, .. } = world.ends[0].connection.send.phase {
            break flight;
        }
        assert!(world.now < limit);
    };
    // The third that arrives beyond the hole tells of the loss, and is the first that counts.
    assert_eq!(flight as usize, 18 * SEGMENT);
}

#[test]
fn what_arrives_together_beside_a_hole_is_answered_twice_and_one_answer_may_be_lost() {
    let mut world = warm();
    let first = world.ends[0].sent;
    let mut answers = Vec::new();
    let took = world.transfer(&content(10 * SEGMENT), Duration::from_secs(5), |side, number, flying| {
        if side == 0 {
            return if number == first + 2 { Fate::Lost } else { Fate::Passes };
        }
        answers.push(flying.arrives_at);
        // Of two that arrive together the first is lost.
        let twin = answers.iter().filter(|at| **at == flying.arrives_at).count();
        if twin == 1 { Fate::Lost } else { Fate::Passes }
    });
    assert!(took < Duration::from_millis(60), "{took:?}");
}
