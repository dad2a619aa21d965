//! Segments that somebody made up.

use super::*;
use crate::tcp::connection::sequence::Sequence;
use crate::tcp::segment::{ACK, Packet, RST, SYN, Segment, classify};
use proptest::prelude::*;

/// The last TCP segment from the client in a capture.
fn last_segment(frames: &[crate::port::sim::Tapped], mac: [u8; 6]) -> (Vec<u8>, Segment) {
    let frame = frames
        .iter()
        .rev()
        .find(|frame| frame.bytes[6..12] == mac && matches!(classify(&frame.bytes), Packet::Segment(_)));
    let bytes = frame.expect("a segment was sent").bytes.to_vec();
    let Packet::Segment(segment) = classify(&bytes) else { unreachable!() };
    (bytes, segment)
}

/// The same segment without its payload, with other flags and numbers, and a right checksum.
fn forge(frame: &[u8], segment: &Segment, flags: u8, sequence: Sequence, acknowledgement: u32) -> Vec<u8> {
    let mut forged = frame[..segment.begin + 20].to_vec();
    let at = segment.begin;
    forged[at + 4..at + 8].copy_from_slice(&sequence.0.to_be_bytes());
    forged[at + 8..at + 12].copy_from_slice(&acknowledgement.to_be_bytes());
    forged[at + 12] = 5 << 4;
    forged[at + 13] = flags;
    forged[16..18].copy_from_slice(&40u16.to_be_bytes());
    let mut packet = smoltcp::wire::Ipv4Packet::new_unchecked(&mut forged[14..]);
    packet.fill_checksum();
    let (remote, local) = (segment.tuple.remote.into(), segment.tuple.local.into());
    smoltcp::wire::TcpPacket::new_unchecked(&mut forged[at..]).fill_checksum(&remote, &local);
    forged
}

/// A connection over which something was said, an onlooker, and the client's last segment.
fn scene() -> (Network, Host, Host, FlowId, FlowId, SimPort, Vec<u8>, Segment) {
    let (network, client, server) = pair(Link::default(), 1);
    network.tap();
    let (mut client, mut server) = (client, server);
    let near = client.connect(network.now(), "192.0.2.1", "192.0.2.2:25");
    run(&network, &mut [&mut client, &mut server], Duration::from_secs(1), |hosts| !hosts[1].accepted().is_empty());
    let far = server.accepted()[0];
    client.stack.send(near, b"EHLO\r\n");
    run(&network, &mut [&mut client, &mut server], Duration::from_millis(100), |_| false);
    let (frame, segment) = last_segment(&network.take_tapped(), CLIENT_MAC);
    let attacker = network.attach([2, 0, 0, 0, 0, 9], Link::default());
    (network, client, server, near, far, attacker, frame, segment)
}

#[test]
fn a_reset_that_is_not_exact_is_challenged_and_ignored() {
    let (network, mut client, mut server, near, far, mut attacker, frame, segment) = scene();
    let next = segment.sequence.after(segment.extent());
    for distance in [1, 100, 5000] {
        attacker.send(&forge(&frame, &segment, RST, next.after(distance), 0));
        run(&network, &mut [&mut client, &mut server], Duration::from_millis(50), |_| false);
    }
    let challenges = network.take_tapped().iter().filter(|frame| frame.bytes[6..12] == SERVER_MAC).count();
    assert_eq!(challenges, 3);
    assert_eq!((client.end(near), server.end(far)), (None, None));
    attacker.send(&forge(&frame, &segment, RST, next, 0));
    run(&network, &mut [&mut client, &mut server], Duration::from_millis(50), |_| false);
    assert_eq!(server.end(far), Some(FlowEnd::Reset));
}

#[test]
fn a_syn_in_an_established_connection_is_challenged() {
    let (network, mut client, mut server, near, far, mut attacker, frame, segment) = scene();
    attacker.send(&forge(&frame, &segment, SYN, Sequence(12345), 0));
    run(&network, &mut [&mut client, &mut server], Duration::from_millis(50), |_| false);
    let (_, answer) = last_segment(&network.take_tapped(), SERVER_MAC);
    assert_eq!(answer.flags, ACK);
    assert_eq!((client.end(near), server.end(far)), (None, None));
}

#[test]
fn challenges_are_limited() {
    let (network, mut client, mut server, _, far, mut attacker, frame, segment) = scene();
    let forged = forge(&frame, &segment, SYN, Sequence(12345), 0);
    for _ in 0..1000 {
        attacker.send(&forged);
        run(&network, &mut [&mut client, &mut server], Duration::from_micros(500), |_| false);
    }
    let answers = network.take_tapped().iter().filter(|frame| frame.bytes[6..12] == SERVER_MAC).count();
    assert!((50..=320).contains(&answers), "{answers}");
    assert_eq!(server.end(far), None);
}

#[test]
fn the_initial_sequence_number_is_the_one_that_we_drew() {
    let (network, mut client, mut server) = pair(Link::default(), 1);
    network.tap();
    let mut seen = std::collections::HashSet::new();
    // No more than there is room for: beyond that it would be cookies.
    for _ in 0..20 {
        client.connect(network.now(), "192.0.2.1", "192.0.2.2:25");
    }
    let began = network.now();
    run(&network, &mut [&mut client, &mut server], Duration::from_millis(20), |_| false);
    for tapped in network.take_tapped() {
        let Packet::Segment(segment) = classify(&tapped.bytes) else { continue };
        if segment.flags & SYN == 0 {
            continue;
        }
        // The sender's view: its end is the frame's source.
        let tuple = crate::tcp::tuple::Tuple {
            local: segment.tuple.remote,
            local_port: segment.tuple.remote_port,
            remote: segment.tuple.local,
            remote_port: segment.tuple.local_port,
        };
        let first = crate::tcp::isn::initial_sequence(&[9; 16], &tuple, began);
        let ticks = segment.sequence.since(first);
        assert!(ticks < 20_000 / 4, "{ticks}");
        assert!(seen.insert(segment.sequence.0));
    }
    assert!(seen.len() >= 40 - 2, "{}", seen.len());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn no_frame_panics(mut bytes in proptest::collection::vec(any::<u8>(), 0..200), kind in 0..6) {
        let (network, _, mut server) = pair(Link::default(), 1);
        if bytes.len() > 54 {
            bytes[..6].copy_from_slice(&SERVER_MAC);
            match kind {
                0 => bytes[12..15].copy_from_slice(&[8, 0, 0x45]),
                1 => bytes[12..15].copy_from_slice(&[0x86, 0xdd, 0x60]),
                2 => bytes[12..14].copy_from_slice(&[8, 6]),
                3 => {
                    bytes[12..24].copy_from_slice(&[8, 0, 0x45, 0, 0, 60, 0, 0, 0, 0, 64, 6]);
                    bytes[30..34].copy_from_slice(&[192, 0, 2, 2]);
                }
                4 => bytes[12..24].copy_from_slice(&[8, 0, 0x45, 0, 0, 60, 0, 0, 0, 0, 64, 1]),
                _ => {
                    bytes[12..16].copy_from_slice(&[0x86, 0xdd, 0x60, 0]);
                    bytes[18..21].copy_from_slice(&[0, 40, 58]);
                }
            }
        }
        server.stack.inject(network.now(), 0, &bytes);
        server.stack.flush(network.now());
        prop_assert_eq!(server.stack.port().frames_out(), 0);
    }
}
