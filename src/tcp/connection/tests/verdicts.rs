//! What a segment calls for, in every state.

use super::*;

/// A segment from the peer of end 0, with numbers as they should be, to be changed.
fn proper(world: &World, flags: u8) -> Incoming<'static> {
    let (own, peer) = (&world.ends[0].connection, &world.ends[1].connection);
    let clock = timestamps::clock(peer.start.clock_offset, world.now);
    Incoming {
        sequence: own.receive_next(),
        acknowledgement: own.send_next(),
        flags,
        ecn: NOT_ECT,
        window: 1000,
        options: Options { timestamps: own.timestamps.map(|_| (clock, 0)), ..Options::default() },
        content: &[],
    }
}

fn give(world: &mut World, segment: &Incoming<'_>) -> Reaction {
    let end = &mut world.ends[0];
    end.connection.receive(segment, &TERMS, world.now, &mut end.rings)
}

#[test]
fn only_an_exact_reset_resets() {
    for (distance, expected) in [
        (1, Reaction::Challenge),
        (200_000, Reaction::Challenge),
        (300_000, Reaction::Dropped),
        (u32::MAX, Reaction::Dropped),
        (0, Reaction::Reset),
    ] {
        let mut world = World::joined();
        let mut reset = proper(&world, RST);
        reset.sequence = reset.sequence.after(distance);
        assert_eq!(give(&mut world, &reset), expected, "{distance}");
        assert_eq!(world.states().0 == State::Closed, expected == Reaction::Reset);
    }
}

#[test]
fn a_syn_in_a_synchronized_state_is_challenged_whatever_its_number() {
    for distance in [0, 5, 1 << 30, u32::MAX] {
        let mut world = World::joined();
        let mut syn = proper(&world, SYN);
        syn.sequence = syn.sequence.after(distance);
        assert_eq!(give(&mut world, &syn), Reaction::Challenge);
        syn.flags |= ACK;
        assert_eq!(give(&mut world, &syn), Reaction::Challenge);
    }
}

#[test]
fn data_with_a_guessed_acknowledgement_is_not_taken() {
    let mut world = World::joined();
    for number in [1, 1 << 20, 1 << 31] {
        let mut forged = proper(&world, ACK);
        forged.content = b"RSET\r\n";
        forged.acknowledgement = forged.acknowledgement.after(number);
        assert_eq!(give(&mut world, &forged), Reaction::Challenge, "{number}");
    }
    assert_eq!(world.ends[0].read(), b"");
    // A little old is what a reordered segment has.
    let mut old = proper(&world, ACK);
    (old.content, old.acknowledgement) = (b"NOOP\r\n", Sequence(old.acknowledgement.0.wrapping_sub(100)));
    assert_eq!(give(&mut world, &old), Reaction::Nothing);
    assert_eq!(world.ends[0].read(), b"NOOP\r\n");
}

#[test]
fn a_segment_from_the_past_is_not_taken_for_one_of_the_present() {
    let mut world = World::joined();
    let mut old = proper(&world, ACK);
    old.content = b"from the round before";
    old.options.timestamps = old.options.timestamps.map(|(value, echo)| (value.wrapping_sub(10_000), echo));
    assert_eq!(give(&mut world, &old), Reaction::Dropped);
    let mut bare = proper(&world, ACK);
    (bare.content, bare.options.timestamps) = (b"no clock", None);
    assert_eq!(give(&mut world, &bare), Reaction::Dropped);
    assert_eq!(world.ends[0].read(), b"");
}

#[test]
fn two_ends_that_think_each_other_wrong_do_not_go_on_for_ever() {
    let mut world = World::joined();
    let mut stray = proper(&world, ACK);
    stray.sequence = stray.sequence.after(1 << 28);
    let mut answers = 0;
    for _ in 0..100 {
        give(&mut world, &stray);
        while let Some(outgoing) = world.ends[0].connection.next(world.now) {
            world.ends[0].connection.header(&outgoing, &TERMS, world.now);
            world.ends[0].connection.sent(&outgoing, world.now);
            answers += 1;
        }
    }
    assert_eq!(answers, 1);
}

#[test]
fn a_client_that_is_answered_by_something_else_refuses_it() {
    let mut world = World::new(1000, 5000);
    let sent = |world: &mut World, sequence: u32, flags: u8, acknowledgement: u32| {
        let mut answer = proper(world, flags);
        (answer.sequence, answer.acknowledgement) = (Sequence(sequence), Sequence(acknowledgement));
        give(world, &answer)
    };
    // Nothing has been sent yet.
    assert_eq!(sent(&mut world, 7, SYN | ACK, 1001), Reaction::Refuse(Sequence(1001)));
    let outgoing = world.ends[0].connection.next(world.now).expect("a SYN");
    world.ends[0].connection.sent(&outgoing, world.now);
    assert_eq!(sent(&mut world, 7, SYN | ACK, 1002), Reaction::Refuse(Sequence(1002)));
    assert_eq!(sent(&mut world, 7, ACK, 5), Reaction::Refuse(Sequence(5)));
    assert_eq!(sent(&mut world, 7, RST, 0), Reaction::Dropped);
    assert_eq!(sent(&mut world, 7, RST | ACK, 1002), Reaction::Dropped);
    assert_eq!(sent(&mut world, 7, RST | ACK, 1001), Reaction::Reset);
}

/// Every state × event: what the connection does and where it goes (RFC 9293 §3.10).
#[test]
fn the_state_table() {
    let mut table = String::new();
    for state in [State::SynSent, State::SynReceived].into_iter().chain(snapshot::STATES) {
        for event in ["syn", "syn-ack", "ack", "data", "fin", "rst", "close"] {
            let mut world = in_state(state);
            assert_eq!(world.states().0, state);
            let mut segment = proper(&world, ACK);
            match event {
                "syn" => segment.flags = SYN,
                "syn-ack" => segment.flags = SYN | ACK,
                "data" => segment.content = b"x",
                "fin" => segment.flags = ACK | FIN,
                "rst" => segment.flags = if state == State::SynSent { RST | ACK } else { RST },
                _ => {}
            }
            let reaction = if event == "close" {
                world.ends[0].connection.close();
                Reaction::Nothing
            } else {
                give(&mut world, &segment)
            };
            let after = world.states().0;
            table += &format!("{state:?} {event}: {reaction:?}");
            table += &if after == state { "\n".to_owned() } else { format!(" → {after:?}\n") };
        }
    }
    let expected = include_str!("states.txt");
    assert!(table == expected, "the table is now:\n{table}");
}

/// A world whose end 0 is in this state, with everything of its own sent.
fn in_state(state: State) -> World {
    let lossy = |world: &mut World| {
        let limit = world.now + Duration::from_nanos(1);
        world.step(limit, &mut |_, _, _| Fate::Lost);
    };
    let mut world = match state {
        State::SynSent => World::new(1000, 5000),
        State::SynReceived => {
            let mut world = World::with_server(|_| {});
            world.ends.swap(0, 1);
            world
        }
        _ => World::joined(),
    };
    match state {
        State::FinWait1 | State::FinWait2 | State::Closing | State::TimeWait => world.ends[0].connection.close(),
        State::CloseWait | State::LastAck => world.ends[1].connection.close(),
        _ => {}
    }
    match state {
        State::FinWait2 | State::CloseWait => world.settle(),
        State::TimeWait => {
            world.settle();
            world.ends[1].connection.close();
            world.settle();
        }
        State::LastAck => {
            world.settle();
            world.ends[0].connection.close();
            lossy(&mut world);
        }
        State::Closing => {
            lossy(&mut world);
            let segment =
                Incoming { acknowledgement: world.ends[0].connection.send.base(), ..proper(&world, ACK | FIN) };
            give(&mut world, &segment);
        }
        _ => lossy(&mut world),
    }
    world
}
