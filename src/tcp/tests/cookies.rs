//! Handshakes without memory.

use super::*;
use crate::tcp::segment::{ACK, Packet, SYN, classify};

/// A server that has room for no half-open connection.
fn full_house(link: Link) -> (Network, Host, Host) {
    let network = Network::new(3);
    let client = settings(vec![own("192.0.2.1", 24, None), own("2001:db8::1", 64, None)], &[]);
    let mut server =
        settings(vec![own("192.0.2.2", 24, None), own("2001:db8::2", 64, None)], &["0.0.0.0:25", "[::]:25"]);
    server.half_open_max = 0;
    let client = Host::new(&network, CLIENT_MAC, link, client);
    let server = Host::new(&network, SERVER_MAC, link, server);
    (network, client, server)
}

#[test]
fn a_connection_by_cookie_is_like_any_other() {
    for (local, remote) in [("192.0.2.1", "192.0.2.2:25"), ("2001:db8::1", "[2001:db8::2]:25")] {
        let (network, mut client, mut server) = full_house(Link { loss: 0.01, ..Link::default() });
        let near = client.connect(network.now(), local, remote);
        let there = run(&network, &mut [&mut client, &mut server], Duration::from_secs(30), |hosts| {
            hosts[0].connected(near) && !hosts[1].accepted().is_empty()
        });
        assert!(there, "{:?} {:?}", client.events, server.events);
        let far = server.accepted()[0];
        let content: Vec<u8> = (0..300_000u32).map(|place| (place / 7) as u8).collect();
        let (mut sent, mut got) = (0, Vec::new());
        let done = run(&network, &mut [&mut client, &mut server], Duration::from_secs(60), |hosts| {
            sent += hosts[0].stack.send(near, &content[sent..]);
            hosts[1].read(far, &mut got);
            got.len() == content.len()
        });
        assert!(done && got == content, "{} of {}", got.len(), content.len());
    }
}

#[test]
fn the_answer_to_a_flood_keeps_nothing_and_offers_everything() {
    let (network, mut client, mut server) = full_house(Link::default());
    network.tap();
    let near = client.connect(network.now(), "192.0.2.1", "192.0.2.2:25");
    let mut connected = false;
    run(&network, &mut [&mut client, &mut server], Duration::from_secs(1), |hosts| {
        connected |= hosts[0].connected(near);
        assert!(connected || hosts[1].stack.counters().open == 0);
        connected && !hosts[1].accepted().is_empty()
    });
    assert!(connected);
    let answer = network.take_tapped().into_iter().find_map(|tapped| match classify(&tapped.bytes) {
        Packet::Segment(segment) if segment.has(SYN | ACK) => Some(segment.incoming(&tapped.bytes).options),
        _ => None,
    });
    let options = answer.expect("a SYN-ACK");
    assert_eq!(options.segment_size, Some(1460));
    assert!(options.sack_permitted && options.window_scale.is_some() && options.timestamps.is_some(), "{options:?}");
}

#[test]
fn an_acknowledgement_that_answers_no_cookie_is_refused() {
    let (network, mut client, mut server) = full_house(Link::default());
    network.tap();
    client.connect(network.now(), "192.0.2.1", "192.0.2.2:25");
    run(&network, &mut [&mut client, &mut server], Duration::from_secs(1), |hosts| !hosts[1].accepted().is_empty());
    let tapped = network.take_tapped();
    let is_ack = |bytes: &[u8]| matches!(classify(bytes), Packet::Segment(segment) if segment.flags == ACK);
    let mut forged = tapped.iter().find(|frame| is_ack(&frame.bytes)).expect("an acknowledgement").bytes.to_vec();
    // Another port, another cookie.
    forged[35] ^= 1;
    let (remote, local) =
        (smoltcp::wire::Ipv4Address::new(192, 0, 2, 1), smoltcp::wire::Ipv4Address::new(192, 0, 2, 2));
    smoltcp::wire::TcpPacket::new_unchecked(&mut forged[34..]).fill_checksum(&remote.into(), &local.into());
    server.stack.inject(network.now(), 0, &forged);
    assert_eq!(server.stack.counters().open, 1);
    server.stack.inject(network.now(), 0, &forged);
    run(&network, &mut [&mut server], Duration::from_millis(1), |_| false);
    assert_eq!(server.accepted().len(), 1);
}
