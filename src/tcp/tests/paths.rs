//! Paths that take less than the link.

use super::*;

/// Sends from one end to the other; false if it is not there in time.
fn sends(network: &Network, client: &mut Host, server: &mut Host, near: FlowId, far: FlowId, span: Duration) -> bool {
    let content = vec![b'z'; 100_000];
    let (mut sent, mut got) = (0, Vec::new());
    run(network, &mut [client, server], span, |hosts| {
        sent += hosts[0].stack.send(near, &content[sent..]);
        hosts[1].read(far, &mut got);
        got.len() == content.len()
    })
}

#[test]
fn a_black_hole_is_found_and_remembered() {
    let (network, mut client, mut server, near, far) = joined(Link { mtu: 1300, ..Link::default() }, 1);
    assert!(sends(&network, &mut client, &mut server, near, far, Duration::from_secs(5)));
    // The next connection to the same host begins with what is known.
    let near = client.connect(network.now(), "192.0.2.1", "192.0.2.2:25");
    assert!(run(&network, &mut [&mut client, &mut server], Duration::from_secs(1), |hosts| {
        hosts[0].connected(near) && hosts[1].accepted().len() == 2
    }));
    let far = server.accepted()[1];
    assert!(sends(&network, &mut client, &mut server, near, far, Duration::from_millis(200)));
}

/// An ICMP error "fragmentation needed" about a frame, from a router.
fn too_big(frame: &[u8], mtu: u16) -> Vec<u8> {
    let mut error = Vec::new();
    error.extend_from_slice(&frame[6..12]);
    error.extend_from_slice(&[2, 0, 0, 0, 0, 0xfe]);
    error.extend_from_slice(&[8, 0]);
    let mut packet = vec![0x45, 0, 0, 56, 0, 0, 0, 0, 64, 1, 0, 0, 198, 51, 100, 1];
    packet.extend_from_slice(&frame[26..30]);
    let sum = crate::port::checksum::Sum::default().add(&packet).finish();
    packet[10..12].copy_from_slice(&sum);
    let mut message = vec![3, 4, 0, 0, 0, 0];
    message.extend_from_slice(&mtu.to_be_bytes());
    message.extend_from_slice(&frame[14..42]);
    let sum = crate::port::checksum::Sum::default().add(&message).finish();
    message[2..4].copy_from_slice(&sum);
    [error, packet, message].concat()
}

#[test]
fn a_router_that_says_how_much_it_takes_is_believed_at_once() {
    let (network, mut client, mut server, near, far) = joined(Link::default(), 1);
    network.tap();
    client.stack.send(near, &[b'y'; 10_000]);
    client.stack.flush(network.now());
    let frames = network.take_tapped();
    let large = frames.iter().find(|frame| frame.bytes.len() > 1400).expect("a large frame");
    // One that quotes numbers which are not under way is a stranger's.
    let mut forged = large.bytes.to_vec();
    forged[38] ^= 0x40;
    client.stack.inject(network.now(), 0, &too_big(&forged, 600));
    client.stack.inject(network.now(), 0, &too_big(&large.bytes, 1300));
    client.stack.flush(network.now());
    let sizes = network.take_tapped().iter().map(|frame| frame.bytes.len()).max();
    assert_eq!(sizes, Some(1300 + 14));
    let mut got = Vec::new();
    assert!(run(&network, &mut [&mut client, &mut server], Duration::from_millis(50), |hosts| {
        hosts[1].read(far, &mut got);
        got.len() == 10_000
    }));
}
