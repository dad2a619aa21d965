//! Connections from their beginning to their end.

use super::*;

/// Sends a megabyte each way and compares.
fn exchange(link: Link, seed: u64, local: &str, remote: &str) {
    let (network, mut client, mut server) = pair(link, seed);
    let near = client.connect(network.now(), local, remote);
    let content: Vec<u8> = (0..1_000_000u32).map(|number| (number.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let (mut sent, mut echoed, mut back, mut got) = (0, 0, Vec::new(), Vec::new());
    let done = run(&network, &mut [&mut client, &mut server], Duration::from_secs(3000), |hosts| {
        let [client, server] = hosts else { unreachable!() };
        if client.connected(near) {
            sent += client.stack.send(near, &content[sent..]);
            client.read(near, &mut back);
        }
        if let Some(far) = server.accepted().first().copied() {
            server.read(far, &mut got);
            echoed += server.stack.send(far, &got[echoed..]);
        }
        back.len() == content.len()
    });
    assert!(done, "only {} of {} came back", back.len(), sent);
    assert!(back == content);
    assert_eq!(client.stack.port().frames_out(), 0);
    assert_eq!(server.stack.port().frames_out(), 0);
}

fn bad_link() -> Link {
    Link { loss: 0.025, duplication: 0.02, jitter: Duration::from_micros(200), ..Link::default() }
}

#[test]
fn a_megabyte_comes_back_over_a_good_link() {
    exchange(Link::default(), 1, "192.0.2.1", "192.0.2.2:25");
    exchange(Link::default(), 1, "2001:db8::1", "[2001:db8::2]:25");
}

#[test]
fn a_megabyte_comes_back_over_a_bad_link() {
    exchange(bad_link(), 2, "192.0.2.1", "192.0.2.2:25");
    exchange(bad_link(), 3, "2001:db8::1", "[2001:db8::2]:25");
}

#[test]
fn wrong_bits_do_no_harm() {
    exchange(Link { corruption: 0.01, ..Link::default() }, 4, "192.0.2.1", "192.0.2.2:25");
}

#[test]
fn accepted_names_listener_and_addresses() {
    let (network, mut client, mut server) = pair(Link::default(), 1);
    client.connect(network.now(), "2001:db8::1", "[2001:db8::2]:25");
    run(&network, &mut [&mut client, &mut server], Duration::from_secs(1), |hosts| !hosts[1].events.is_empty());
    let FlowEvent::Accepted { listener, local, remote, .. } = server.events[0] else { panic!("{:?}", server.events) };
    assert_eq!((listener, local), (1, at("[2001:db8::2]:25")));
    assert_eq!(remote.ip(), ip("2001:db8::1"));
}

#[test]
fn both_sides_close_and_nothing_is_left() {
    let (network, mut client, mut server, near, far) = joined(Link::default(), 1);
    client.stack.close(near);
    let mut scrap = Vec::new();
    let finished =
        run(&network, &mut [&mut client, &mut server], Duration::from_secs(5), |hosts| hosts[1].read(far, &mut scrap));
    assert!(finished);
    assert!(server.events.contains(&FlowEvent::Readable { flow: far }));
    server.stack.close(far);
    run(&network, &mut [&mut client, &mut server], Duration::from_secs(2), |_| false);
    assert_eq!((client.stack.counters().open, server.stack.counters().open), (0, 0));
    assert_eq!(client.end(near), None);
    assert_eq!(server.end(far), None);
    assert_eq!(client.stack.received(near).bytes, b"");
}

#[test]
fn an_abort_ends_the_other_side() {
    let (network, mut client, mut server, near, far) = joined(Link::default(), 1);
    client.stack.abort(near);
    assert_eq!(client.stack.counters().open, 0);
    run(&network, &mut [&mut client, &mut server], Duration::from_secs(1), |hosts| hosts[1].end(far).is_some());
    assert_eq!(server.end(far), Some(FlowEnd::Reset));
    assert_eq!(server.stack.counters().open, 0);
}

#[test]
fn what_came_with_a_reset_behind_it_is_read_before_the_end() {
    let (network, mut client, mut server, near, far) = joined(Link::default(), 1);
    server.stack.send(far, b"taken");
    server.stack.flush(network.now());
    server.stack.abort(far);
    let mut got = Vec::new();
    let ended = run(&network, &mut [&mut client, &mut server], Duration::from_secs(1), |hosts| {
        hosts[0].read(near, &mut got);
        hosts[0].end(near).is_some()
    });
    assert!(ended);
    assert_eq!(got, b"taken");
    let ends = [FlowEvent::Readable { flow: near }, FlowEvent::Ended { flow: near, end: FlowEnd::Reset }];
    assert!(client.events.ends_with(&ends), "{:?}", client.events);
    assert_eq!(client.stack.counters().open, 0);
}

#[test]
fn what_the_peer_has_is_acknowledged_and_nothing_before() {
    let (network, mut client, mut server, near, far) = joined(Link::default(), 1);
    assert!(client.stack.acknowledged(near));
    // More than the window of one that does not read.
    let taken = client.stack.send(near, &[7; 32 * 1024]) + client.stack.send(near, &[7; 32 * 1024]);
    assert!(taken > 0);
    assert!(!client.stack.acknowledged(near));
    let mut got = Vec::new();
    let done = run(&network, &mut [&mut client, &mut server], Duration::from_secs(5), |hosts| {
        hosts[1].read(far, &mut got);
        hosts[0].stack.acknowledged(near)
    });
    assert!(done);
    assert_eq!(got.len(), taken, "it has all of it");
}

#[test]
fn a_full_ring_closes_the_window_and_reading_opens_it() {
    let (network, mut client, mut server, near, far) = joined(Link::default(), 1);
    let content = vec![7; 200_000];
    let mut sent = 0;
    let full = run(&network, &mut [&mut client, &mut server], Duration::from_secs(20), |hosts| {
        sent += hosts[0].stack.send(near, &content[sent..]);
        hosts[1].stack.received(far).full
    });
    assert!(full);
    let mut got = Vec::new();
    let done = run(&network, &mut [&mut client, &mut server], Duration::from_secs(60), |hosts| {
        sent += hosts[0].stack.send(near, &content[sent..]);
        hosts[1].read(far, &mut got);
        got.len() == content.len()
    });
    assert!(done, "{} of {}", got.len(), content.len());
    assert!(client.events.contains(&FlowEvent::Writable { flow: near }));
}

#[test]
fn the_last_words_arrive_though_much_was_left_unread() {
    let (network, mut client, mut server, near, far) = joined(Link::default(), 1);
    client.stack.send(near, &[b'x'; 30_000]);
    run(&network, &mut [&mut client, &mut server], Duration::from_millis(50), |_| false);
    server.stack.send(far, b"421 4.3.2 closing\r\n");
    server.stack.close(far);
    let mut got = Vec::new();
    let finished = run(&network, &mut [&mut client, &mut server], Duration::from_secs(2), |hosts| {
        hosts[0].stack.send(near, b"and more");
        hosts[0].read(near, &mut got)
    });
    assert!(finished, "{:?}", client.events);
    assert_eq!(got, b"421 4.3.2 closing\r\n");
    // Who never ends does not keep the place for ever.
    run(&network, &mut [&mut client, &mut server], Duration::from_secs(15), |_| false);
    assert_eq!(server.stack.counters().open, 0);
    assert_eq!(client.end(near), Some(FlowEnd::Reset));
}

#[test]
fn a_peer_that_vanishes_is_noticed() {
    let (network, mut client, mut server, near, far) = joined(Link::default(), 1);
    network.isolate(client.stack.port().host());
    client.stack.send(near, b"hello?");
    run(&network, &mut [&mut client, &mut server], Duration::from_secs(300), |_| false);
    assert_eq!(client.end(near), Some(FlowEnd::TimedOut));
    assert_eq!(server.end(far), Some(FlowEnd::TimedOut));
}

#[test]
fn an_idle_connection_stays() {
    let (network, mut client, mut server, near, far) = joined(Link::default(), 1);
    run(&network, &mut [&mut client, &mut server], Duration::from_secs(900), |_| false);
    assert_eq!((client.end(near), server.end(far)), (None, None));
    server.stack.send(far, b"still there");
    let mut got = Vec::new();
    assert!(run(&network, &mut [&mut client, &mut server], Duration::from_secs(5), |hosts| {
        hosts[0].read(near, &mut got);
        got == b"still there"
    }));
}
