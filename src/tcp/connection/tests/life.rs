//! From the first SYN to the last FIN.

use super::*;
use proptest::prelude::*;

fn passes(_: usize, _: u64, _: &Flying) -> Fate {
    Fate::Passes
}

#[test]
fn both_may_begin_at_once() {
    let mut world = World::new(1, u32::MAX);
    world.settle();
    assert_eq!(world.states(), (State::Established, State::Established));
    world.transfer(&content(100_000), Duration::from_secs(5), passes);
}

#[test]
fn both_may_end_at_once() {
    let mut world = World::joined();
    world.ends.iter_mut().for_each(|end| end.connection.close());
    world.settle();
    assert_eq!(world.states(), (State::TimeWait, State::TimeWait));
}

#[test]
fn one_ends_and_the_other_goes_on_for_a_while() {
    let mut world = World::joined();
    world.ends[0].push(b"QUIT\r\n");
    world.ends[0].connection.close();
    world.settle();
    assert_eq!(world.states(), (State::FinWait2, State::CloseWait));
    assert_eq!(world.ends[1].read(), b"QUIT\r\n");
    assert!(world.ends[1].connection.finished());
    world.ends[1].push(b"221 bye\r\n");
    world.ends[1].connection.close();
    world.settle();
    assert_eq!(world.states(), (State::TimeWait, State::Closed));
    assert_eq!(world.ends[0].read(), b"221 bye\r\n");
    assert_eq!(world.ends[0].push(b"too late"), 0);
}

#[test]
fn nothing_is_held_when_nothing_is_under_way() {
    let mut world = World::joined();
    world.transfer(&content(300_000), Duration::from_secs(5), passes);
    world.settle();
    assert_eq!(world.ends.each_ref().map(|end| end.rings.used()), [0, 0]);
    assert_eq!(world.ends.each_ref().map(|end| end.inbox.len()), [0, 0]);
}

#[test]
fn an_idle_connection_is_small() {
    let flow = size_of::<crate::tcp::table::Flow>();
    assert!(flow <= 768, "{flow} bytes");
}

#[test]
fn a_single_segment_is_acknowledged_after_a_moment_and_two_full_ones_at_once() {
    let mut world = World::joined();
    world.ends[0].push(b"NOOP\r\n");
    let began = world.now;
    let mut answered_at = None;
    world.run(Duration::from_millis(100), |side, _, flying| {
        answered_at = answered_at.or((side == 1).then_some(flying.arrives_at));
        Fate::Passes
    });
    let delay = answered_at.expect("an acknowledgement").since(began) - 2 * DELAY;
    assert!(delay >= crate::limits::ACKNOWLEDGEMENT_DELAY && delay < Duration::from_millis(2), "{delay:?}");
    world.ends[0].push(&content(3000));
    let began = world.now;
    let mut answered_at = None;
    world.run(Duration::from_millis(100), |side, _, flying| {
        answered_at = answered_at.or((side == 1).then_some(flying.arrives_at));
        Fate::Passes
    });
    assert_eq!(answered_at.expect("an acknowledgement").since(began), 2 * DELAY);
}

#[test]
fn a_peer_without_options_gets_plain_segments() {
    let mut world = World::with_server(|options| *options = Options::default());
    let mut largest = 0;
    world.settle();
    world.transfer(&content(100_000), Duration::from_secs(5), passes);
    world.ends.swap(0, 1);
    let moment = world.now;
    world.transfer(&content(100_000), Duration::from_secs(5), |side, _, flying| {
        assert!(flying.header.options.is_empty(), "{:?}", flying.header);
        if side == 0 {
            largest = largest.max(flying.content.len());
        }
        Fate::Passes
    });
    assert!(world.now > moment);
    assert_eq!(largest, 536);
}

#[test]
fn a_silent_peer_is_asked_and_then_given_up() {
    let mut world = World::joined();
    let mut probes = 0;
    world.run(crate::limits::USER_TIMEOUT * 2, |side, _, _| {
        probes += u32::from(side == 0);
        if side == 0 { Fate::Passes } else { Fate::Lost }
    });
    assert!(probes >= 3, "{probes}");
    assert!(!world.ends[0].alive);
    assert_eq!(world.ends[0].connection.state(), State::Closed);
}

#[test]
fn nobody_is_asked_while_content_is_under_way() {
    let mut world = World::joined();
    assert_eq!(world.ends[0].push(b"hello?"), 6);
    let mut repetitions = 0;
    world.run(crate::limits::USER_TIMEOUT, |side, _, flying| {
        if side == 0 {
            assert_eq!(flying.content, b"hello?");
            repetitions += 1;
        }
        Fate::Lost
    });
    assert!(repetitions > 5, "{repetitions}");
}

#[test]
fn an_idle_pair_stays_for_hours() {
    let mut world = World::joined();
    world.run(Duration::from_secs(4 * 3600), |_, _, _| Fate::Passes);
    assert_eq!(world.states(), (State::Established, State::Established));
}

#[test]
fn a_window_that_shuts_and_whose_opening_is_lost_opens_all_the_same() {
    let mut world = World::joined();
    let content = content(600_000);
    let mut pushed = 0;
    let limit = world.now + Duration::from_secs(5);
    while !world.ends[1].connection.full(&TERMS) {
        pushed += world.ends[0].push(&content[pushed..]);
        world.step(limit, &mut passes);
        assert!(world.now < limit, "{} unread", world.ends[1].connection.received().1);
    }
    // Reading opens the window, and the segment that says so is lost.
    let mut got = world.ends[1].read();
    let limit = world.now + Duration::from_nanos(1);
    world.step(limit, &mut |side, _, _| if side == 1 { Fate::Lost } else { Fate::Passes });
    let began = world.now;
    while got.len() < content.len() {
        pushed += world.ends[0].push(&content[pushed..]);
        world.step(began + Duration::from_secs(20), &mut passes);
        got.extend(world.ends[1].read());
        assert!(world.now < began + Duration::from_secs(20), "{} of {}", got.len(), content.len());
    }
    assert!(got == content);
}

#[test]
fn what_is_given_while_the_window_is_shut_is_probed_for() {
    let mut world = World::joined();
    let much = content(TERMS.receive_limit as usize);
    assert_eq!(world.ends[0].push(&much), much.len());
    world.run(Duration::from_secs(5), passes);
    assert!(world.ends[1].connection.full(&TERMS));
    assert_eq!(world.ends[0].connection.queued(), 0);
    // Nothing is under way, and the segment that opens the window is lost.
    world.ends[1].read();
    world.run(DELAY, |side, _, _| if side == 1 { Fate::Lost } else { Fate::Passes });
    assert_eq!(world.ends[0].push(b"more"), 4);
    world.run(Duration::from_secs(1), passes);
    assert_eq!(world.ends[1].read(), b"more");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn whatever_the_wire_does_bytes_arrive_in_order(
        seed in any::<u64>(),
        (lost, late, twice, marked) in (0u64..8, 0u64..12, 0u64..6, 0u64..8),
        length in 1usize..200_000,
    ) {
        let mut random = seed | 1;
        let mut draw = move || {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            random
        };
        let mut world = World::joined();
        world.transfer(&content(length), Duration::from_secs(4000), |_, _, _| match draw() % 100 {
            number if number < lost => Fate::Lost,
            number if number < lost + late => Fate::Late(Duration::from_micros(draw() % 40_000)),
            number if number < lost + late + twice => Fate::Twice,
            number if number < lost + late + twice + marked => Fate::Marked,
            _ => Fate::Passes,
        });
        world.run(Duration::from_secs(5), |_, _, _| Fate::Passes);
        prop_assert_eq!(world.ends.each_ref().map(|end| end.rings.used()), [0, 0]);
    }
}
