//! A NIC that cuts large segments.

use super::*;
use crate::port::sim::Tapped;

/// What a client sends, and how it went.
struct Passage {
    /// What is on the wire, but for IPv4's identification and checksum.
    wire: Vec<Vec<u8>>,
    /// Frames that the client's NIC cut, and what it made of them.
    cut: (u64, u64),
    received: Vec<u8>,
}

fn content() -> Vec<u8> {
    (0..300_000_u32).map(|number| (number.wrapping_mul(number) >> 7) as u8).collect()
}

/// Sends `content` and ends; `frame_max` is what the client's NIC cuts, 0 for one that cuts nothing.
fn pass(local: &str, remote: &str, link: Link, shortage: f64, frame_max: usize, seed: u64) -> Passage {
    let network = Network::new(seed);
    network.tap();
    let mut client = settings(vec![own("192.0.2.1", 24, None), own("2001:db8::1", 64, None)], &[]);
    let mut server =
        settings(vec![own("192.0.2.2", 24, None), own("2001:db8::2", 64, None)], &["0.0.0.0:25", "[::]:25"]);
    for settings in [&mut client, &mut server] {
        (settings.receive_buffer, settings.send_buffer) = (128 << 10, 128 << 10);
    }
    let mut port = network.attach(CLIENT_MAC, link);
    if frame_max > 0 {
        port.offer_segmentation(frame_max);
    }
    network.set_shortage(port.host(), shortage);
    let mut client = Host { stack: Stack::new(port, client, network.now()), events: Vec::new() };
    let mut server = Host::new(&network, SERVER_MAC, link, server);
    let near = client.connect(network.now(), local, remote);
    let content = content();
    let (mut given, mut received) = (0, Vec::new());
    let done = run(&network, &mut [&mut client, &mut server], Duration::from_secs(120), |hosts| {
        let [client, server] = hosts else { unreachable!() };
        if client.connected(near) && given < content.len() {
            given += client.stack.send(near, &content[given..]);
            if given == content.len() {
                client.stack.close(near);
            }
        }
        server.accepted().first().copied().is_some_and(|far| server.read(far, &mut received))
    });
    assert!(done, "seed {seed}: {} of {} bytes", received.len(), content.len());
    assert_eq!(client.stack.port().frames_out(), 0);
    let wire = |tapped: Tapped| {
        let mut bytes = tapped.bytes.into_vec();
        if bytes[12..14] == [8, 0] {
            bytes[18..20].fill(0);
            bytes[24..26].fill(0);
        }
        bytes
    };
    let wire = network.take_tapped().into_iter().map(wire).collect();
    Passage { wire, cut: client.stack.port().cut(), received }
}

const WAYS: [(&str, &str); 2] = [("192.0.2.1", "192.0.2.2:25"), ("2001:db8::1", "[2001:db8::2]:25")];

#[test]
fn what_a_nic_cuts_is_on_the_wire_what_the_stack_would_have_sent() {
    for (local, remote) in WAYS {
        for (loss, marking, seed) in [(0.0, 0.0, 1), (0.01, 0.0, 2), (0.05, 0.0, 3), (0.05, 0.0, 4), (0.0, 0.05, 5)] {
            let link = Link { delay: Duration::from_millis(2), loss, marking, ..Link::default() };
            let whole = pass(local, remote, link, 0.0, 0, seed);
            let cut = pass(local, remote, link, 0.0, 15_000, seed);
            assert!(whole.received == content() && cut.received == content(), "{local}, seed {seed}");
            assert!(whole.wire == cut.wire, "{local}, seed {seed}");
            let (frames, pieces) = cut.cut;
            println!("{local}, loss {loss}: {frames} frames for {pieces} segments of {}", cut.wire.len());
            assert_eq!(whole.cut, (0, 0));
            assert!(pieces > 100 && frames * 2 < pieces, "{local}, seed {seed}: {pieces} of {frames}");
        }
    }
}

#[test]
fn content_arrives_unaltered_by_whatever_frames_there_are() {
    let link = Link { loss: 0.02, duplication: 0.01, jitter: Duration::from_micros(300), ..Link::default() };
    for (local, remote) in WAYS {
        // One that holds two segments, some that end in the middle of one, and the longest that IP has.
        for (frame_max, seed) in [(3_000, 1), (5_000, 2), (9_001, 3), (65_000, 4), (1_600, 5)] {
            let passage = pass(local, remote, link, 0.1, frame_max, seed);
            assert!(passage.received == content(), "{local}, {frame_max} bytes, seed {seed}");
            assert_eq!(passage.cut.0 > 0, frame_max > 1_600, "{local}, {frame_max} bytes");
        }
    }
}
