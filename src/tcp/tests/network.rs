//! Ways to the other side, and what happens where there is none.

use super::*;
use crate::limits::ANNOUNCEMENT_PAUSES;
use crate::port::sim::Tapped;

#[test]
fn nobody_listens_and_we_are_refused() {
    let (network, mut client, mut server) = pair(Link::default(), 1);
    let near = client.connect(network.now(), "192.0.2.1", "192.0.2.2:26");
    run(&network, &mut [&mut client, &mut server], Duration::from_secs(5), |hosts| hosts[0].end(near).is_some());
    assert_eq!(client.end(near), Some(FlowEnd::Refused));
}

#[test]
fn a_host_that_is_not_there_is_unreachable_after_three_seconds() {
    let (network, mut client, mut server) = pair(Link::default(), 1);
    let near = client.connect(network.now(), "192.0.2.1", "192.0.2.9:25");
    let far = client.connect(network.now(), "2001:db8::1", "[2001:db8::9]:25");
    run(&network, &mut [&mut client, &mut server], Duration::from_secs(10), |hosts| {
        hosts[0].end(near).is_some() && hosts[0].end(far).is_some()
    });
    assert_eq!(client.end(near), Some(FlowEnd::Unreachable));
    assert_eq!(client.end(far), Some(FlowEnd::Unreachable));
    assert!(network.now().since(Instant::ZERO) < Duration::from_secs(4));
}

#[test]
fn a_dead_neighbour_does_not_hold_up_a_living_one() {
    let (network, mut client, mut server) = pair(Link::default(), 1);
    client.connect(network.now(), "192.0.2.1", "192.0.2.9:25");
    let near = client.connect(network.now(), "192.0.2.1", "192.0.2.2:25");
    assert!(run(&network, &mut [&mut client, &mut server], Duration::from_millis(10), |hosts| {
        hosts[0].connected(near)
    }));
}

#[test]
fn a_silent_host_ends_at_the_hard_cap() {
    let (network, mut client, mut server, _, _) = joined(Link::default(), 1);
    network.isolate(server.stack.port().host());
    let near = client.connect(network.now(), "192.0.2.1", "192.0.2.2:25");
    run(&network, &mut [&mut client, &mut server], Duration::from_secs(61), |_| false);
    // Its neighbour entry expires on the way, so that either answer is true.
    assert!(matches!(client.end(near), Some(FlowEnd::TimedOut | FlowEnd::Unreachable)));
}

#[test]
fn no_route_is_said_at_once() {
    let (network, mut client, _) = pair(Link::default(), 1);
    let mut connect = |local, remote| client.stack.connect(network.now(), ip(local), at(remote));
    let no_route = Err(crate::flow::ConnectError::NoRoute);
    assert_eq!(connect("192.0.2.1", "198.51.100.1:25"), no_route);
    assert_eq!(connect("192.0.2.7", "192.0.2.2:25"), no_route);
    assert_eq!(connect("192.0.2.1", "[2001:db8::2]:25"), no_route);
    assert_eq!(connect("192.0.2.1", "192.0.2.1:25"), no_route);
    assert_eq!(connect("192.0.2.1", "224.0.0.1:25"), no_route);
    assert_eq!(connect("192.0.2.1", "192.0.2.2:0"), no_route);
}

/// A router that is nothing but a hand: answers ARP for .254 and sends all else on to the server, whose address is in
/// another network, and back.
#[test]
fn other_networks_are_reached_through_the_gateway() {
    let network = Network::new(1);
    let router_mac = [2, 0, 0, 0, 0, 0xfe];
    let mut router = network.attach(router_mac, Link::default());
    let near_address = vec![own("192.0.2.1", 24, Some("192.0.2.254"))];
    let far_address = vec![own("198.51.100.2", 24, Some("198.51.100.254"))];
    let mut client = Host::new(&network, CLIENT_MAC, Link::default(), settings(near_address, &[]));
    let mut server = Host::new(&network, SERVER_MAC, Link::default(), settings(far_address, &["198.51.100.2:25"]));
    let near = client.connect(network.now(), "192.0.2.1", "198.51.100.2:25");
    let connected = run(&network, &mut [&mut client, &mut server], Duration::from_secs(90), |hosts| {
        for frame in router.take() {
            let mut frame = frame.to_vec();
            let asked = frame[12..14] == [8, 6] && frame[21] == 1 && frame[41] == 254;
            if asked {
                let (sender, target) = (frame[22..32].to_vec(), frame[38..42].to_vec());
                frame[21] = 2;
                frame[22..28].copy_from_slice(&router_mac);
                frame[28..32].copy_from_slice(&target);
                frame[32..42].copy_from_slice(&sender);
                frame[..6].copy_from_slice(&sender[..6]);
            } else if frame[..6] == router_mac && frame[12..14] == [8, 0] {
                let to = if frame[30] == 192 { CLIENT_MAC } else { SERVER_MAC };
                frame[..6].copy_from_slice(&to);
            } else {
                continue;
            }
            frame[6..12].copy_from_slice(&router_mac);
            router.send(&frame);
        }
        hosts[0].connected(near)
    });
    assert!(connected, "{:?}", client.events);
    assert!(network.now().since(Instant::ZERO) < Duration::from_millis(10));
}

#[test]
fn a_neighbour_is_never_asked_for_by_an_address_that_another_box_has() {
    let network = Network::new(1);
    let all = vec![own("192.0.2.2", 24, None), own("192.0.2.3", 24, None), own("2001:db8::2", 64, None)];
    let mut host = Host::new(&network, SERVER_MAC, Link::default(), settings(all, &[]));
    network.tap();
    host.stack.withdraw(&[ip("192.0.2.2")]);
    let _ = host.stack.connect(network.now(), ip("192.0.2.3"), at("192.0.2.1:25"));
    run(&network, &mut [&mut host], Duration::from_secs(5), |_| false);
    let senders: Vec<_> = (network.take_tapped().iter())
        .filter(|frame| frame.bytes[12..14] == [8, 6])
        .map(|frame| frame.bytes[28..32].to_vec())
        .collect();
    assert!(senders.len() > 1, "it is asked for again and again");
    // Whoever hears the request would send to us what is meant for the other box.
    assert!(senders.iter().all(|sender| *sender == [192, 0, 2, 3]), "{senders:?}");
}

/// When an own address was announced: by ARP of this operation, or by a neighbour advertisement that nobody asked for.
fn announced(frames: &[Tapped], address: &str, operation: u8) -> Vec<Duration> {
    let is_of = |bytes: &[u8]| match ip(address) {
        IpAddr::V4(ip) => {
            let (own, arp) = (ip.octets(), bytes[..6] == [0xff; 6] && bytes[12..14] == [8, 6]);
            arp && bytes[20..22] == [0, operation] && bytes[28..32] == own && bytes[38..42] == own
        }
        // To all nodes, unsolicited, in place of what is known.
        IpAddr::V6(ip) => {
            let advertisement = bytes[12..14] == [0x86, 0xdd] && bytes[20] == 58 && bytes[54] == 136;
            advertisement && bytes[..6] == [0x33, 0x33, 0, 0, 0, 1] && bytes[58] == 0x20 && bytes[62..78] == ip.octets()
        }
    };
    frames.iter().filter(|frame| is_of(&frame.bytes)).map(|frame| frame.sent_at.since(Instant::ZERO)).collect()
}

#[test]
fn whoever_takes_over_announces_each_address_at_once_and_after_each_pause() {
    let network = Network::new(1);
    let all = vec![own("192.0.2.2", 24, None), own("192.0.2.3", 24, None), own("2001:db8::2", 64, None)];
    let mut host = Host::new(&network, SERVER_MAC, Link::default(), settings(all, &[]));
    host.stack.withdraw(&[ip("192.0.2.2"), ip("192.0.2.3"), ip("2001:db8::2")]);
    network.tap();
    host.stack.assume(network.now(), &[ip("192.0.2.2"), ip("2001:db8::2")]);
    run(&network, &mut [&mut host], Duration::from_secs(10), |_| false);
    let frames = network.take_tapped();
    let mut expected = vec![Duration::ZERO];
    expected.extend(ANNOUNCEMENT_PAUSES.iter().scan(Duration::ZERO, |at, pause| {
        *at += *pause;
        Some(*at)
    }));
    assert_eq!(expected.len(), 5);
    let told = |address, operation| announced(&frames, address, operation);
    let nearly = |told: &[Duration]| {
        // The wheel turns in steps.
        let late = told.iter().zip(&expected).map(|(told, expected)| *told - *expected);
        assert!(told.len() == expected.len() && late.max() < Some(Duration::from_millis(10)), "{told:?}");
    };
    for (address, operation) in [("192.0.2.2", 1), ("192.0.2.2", 2), ("2001:db8::2", 0)] {
        nearly(&told(address, operation));
    }
    assert_eq!(told("192.0.2.3", 1).len() + told("192.0.2.3", 2).len(), 0, "another box has it");

    // What is given up in between is not announced any more.
    host.stack.assume(network.now(), &[ip("192.0.2.3")]);
    run(&network, &mut [&mut host], Duration::from_millis(50), |_| false);
    host.stack.withdraw(&[ip("192.0.2.3")]);
    run(&network, &mut [&mut host], Duration::from_secs(10), |_| false);
    assert_eq!(announced(&network.take_tapped(), "192.0.2.3", 1).len(), 2);
}

#[test]
fn a_process_that_was_paused_announces_no_address_when_it_wakes() {
    let network = Network::new(1);
    let all = vec![own("192.0.2.2", 24, None)];
    let mut host = Host::new(&network, SERVER_MAC, Link::default(), settings(all, &[]));
    network.tap();
    host.stack.assume(network.now(), &[ip("192.0.2.2")]);
    run(&network, &mut [&mut host], Duration::from_secs(1), |_| false);
    assert!(!network.take_tapped().is_empty(), "it tells its neighbours");
    // Another one is due two seconds later, and the partner takes over meanwhile.
    network.advance(network.now() + Duration::from_secs(10));
    run(&network, &mut [&mut host], Duration::from_secs(1), |_| false);
    assert!(network.take_tapped().is_empty());
}

#[test]
fn where_clients_are_turned_away_those_that_have_begun_are_heard_out() {
    let (network, mut client, mut server) = pair(Link::default(), 1);
    let (here, other) = ([ip("192.0.2.2")], [ip("192.0.2.3")]);
    let near = client.connect(network.now(), "192.0.2.1", "192.0.2.2:25");
    assert!(!server.stack.has_passers(&here));
    run(&network, &mut [&mut client, &mut server], Duration::from_secs(1), |hosts| hosts[1].stack.has_passers(&here));
    assert!(server.stack.has_passers(&here) && !server.stack.has_passers(&other) && server.accepted().is_empty());
    server.stack.turn_away(&here);

    let late = client.connect(network.now(), "192.0.2.1", "192.0.2.2:25");
    run(&network, &mut [&mut client, &mut server], Duration::from_millis(500), |_| false);
    assert!(client.connected(near) && client.end(late).is_none(), "{:?}", client.events);
    let [far] = server.accepted()[..] else { panic!("one has begun: {:?}", server.events) };
    assert!(!server.stack.has_passers(&here), "a session is none");

    let reply = b"421 4.3.2 Shutting down\r\n";
    server.stack.send(far, reply);
    server.stack.close(far);
    assert!(server.stack.has_passers(&here));
    let mut there = Vec::new();
    run(&network, &mut [&mut client, &mut server], Duration::from_millis(500), |hosts| {
        hosts[0].read(near, &mut there);
        !hosts[1].stack.has_passers(&here)
    });
    assert!(there == reply && !server.stack.has_passers(&here) && !client.connected(late));

    server.stack.assume(network.now(), &here);
    run(&network, &mut [&mut client, &mut server], Duration::from_secs(3), |hosts| hosts[0].connected(late));
    assert!(client.connected(late), "its next SYN is answered");
}

#[test]
fn nothing_is_said_from_an_address_while_it_may_be_another_boxs() {
    let (network, mut client, mut server, near, far) = joined(Link::default(), 1);
    network.tap();
    server.stack.suspend(&[ip("192.0.2.2")]);
    let reply = b"421 4.3.2 Shutting down\r\n";
    assert_eq!(server.stack.send(far, reply), reply.len());
    assert_eq!(client.stack.send(near, b"NOOP\r\n"), 6);
    run(&network, &mut [&mut client, &mut server], Duration::from_secs(20), |_| false);
    let said = network.take_tapped().iter().filter(|frame| frame.bytes[6..14] == [2, 0, 0, 0, 0, 2, 8, 0]).count();
    assert_eq!((said, server.end(far)), (0, None));
    // It stays ours: both go on where they were.
    server.stack.assume(network.now(), &[ip("192.0.2.2")]);
    let (mut there, mut here) = (Vec::new(), Vec::new());
    run(&network, &mut [&mut client, &mut server], Duration::from_secs(20), |hosts| {
        hosts[0].read(near, &mut there);
        hosts[1].read(far, &mut here);
        there.len() == reply.len() && here.len() == 6
    });
    assert_eq!((&there[..], &here[..]), (&reply[..], &b"NOOP\r\n"[..]));
}
