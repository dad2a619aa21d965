//! A router that marks what it would have to drop.

use super::*;
use crate::tcp::connection::ecn::{ECT_0, NOT_ECT};
use crate::tcp::segment::{CWR, Packet, classify};
use std::collections::HashSet;

const WAYS: [(&str, &str); 2] = [("192.0.2.1", "192.0.2.2:25"), ("2001:db8::1", "[2001:db8::2]:25")];
const LENGTH: usize = 3_000_000;

/// A transfer over a path of 20 ms there and back.
struct Passage {
    took: Duration,
    /// Segments of content, and how many of them had been sent before.
    sent: usize,
    repeated: usize,
    marked: u64,
    /// Segments that said that the window has come down.
    answers: usize,
}

fn pass((local, remote): (&str, &str), link: Link, seed: u64) -> Passage {
    let network = Network::new(seed);
    network.tap();
    let mut client = settings(vec![own("192.0.2.1", 24, None), own("2001:db8::1", 64, None)], &[]);
    let mut server =
        settings(vec![own("192.0.2.2", 24, None), own("2001:db8::2", 64, None)], &["0.0.0.0:25", "[::]:25"]);
    for settings in [&mut client, &mut server] {
        (settings.receive_buffer, settings.send_buffer, settings.buffer_memory) = (1 << 20, 1 << 20, 1 << 24);
    }
    let link = Link { delay: Duration::from_millis(5), ..link };
    let mut client = Host::new(&network, CLIENT_MAC, link, client);
    let mut server = Host::new(&network, SERVER_MAC, link, server);
    let near = client.connect(network.now(), local, remote);
    let piece = vec![7; 65_536];
    let (mut given, mut got) = (0, Vec::new());
    let done = run(&network, &mut [&mut client, &mut server], Duration::from_secs(300), |hosts| {
        let [client, server] = hosts else { unreachable!() };
        while client.connected(near) && given < LENGTH {
            let count = client.stack.send(near, &piece[..piece.len().min(LENGTH - given)]);
            given += count;
            if count == 0 {
                break;
            }
        }
        if let Some(far) = server.accepted().first().copied() {
            server.read(far, &mut got);
        }
        got.len() == LENGTH
    });
    assert!(done, "seed {seed}: {} bytes", got.len());
    let mut passage = Passage {
        took: network.now().since(Instant::ZERO),
        sent: 0,
        repeated: 0,
        marked: network.counters().marked,
        answers: 0,
    };
    let mut seen = HashSet::new();
    for tapped in network.take_tapped() {
        let Packet::Segment(segment) = classify(&tapped.bytes) else { continue };
        if segment.content < segment.end {
            passage.sent += 1;
            let again = !seen.insert(segment.sequence.0);
            passage.repeated += usize::from(again);
            passage.answers += usize::from(segment.has(CWR));
            assert_eq!(segment.ecn, if again { NOT_ECT } else { ECT_0 });
        } else {
            assert_eq!(segment.ecn, NOT_ECT);
        }
    }
    passage
}

#[test]
fn marks_slow_a_transfer_down_without_anything_being_sent_again() {
    for way in WAYS {
        for seed in 1..=3 {
            let free = pass(way, Link::default(), seed);
            let marked = pass(way, Link { marking: 0.01, ..Link::default() }, seed);
            let lossy = pass(way, Link { loss: 0.01, ..Link::default() }, seed);
            for (name, passage) in [("free", &free), ("marked", &marked), ("lossy", &lossy)] {
                let Passage { took, sent, repeated, marked, answers } = passage;
                println!("{name}: {took:?}, {sent} segments, {repeated} again, {marked} marked, {answers} answers");
            }
            assert_eq!((free.repeated, free.marked, free.answers), (0, 0, 0));
            assert!(marked.repeated == 0 && marked.marked > 20, "seed {seed}");
            assert!(marked.answers > 5 && marked.answers as u64 <= marked.marked, "seed {seed}");
            assert!(lossy.repeated > 20 && lossy.marked == 0, "seed {seed}");
            assert!(marked.took > 2 * free.took, "seed {seed}: {:?} {:?}", marked.took, free.took);
        }
    }
}
