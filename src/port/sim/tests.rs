use super::*;
use crate::port::{Burst, Port};

const ALICE: [u8; 6] = [2, 0, 0, 0, 0, 1];
const BOB: [u8; 6] = [2, 0, 0, 0, 0, 2];
const CAROL: [u8; 6] = [2, 0, 0, 0, 0, 3];
const BROADCAST: [u8; 6] = [0xff; 6];

fn frame(to: [u8; 6], from: [u8; 6], number: u32, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length.max(18)];
    bytes[..6].copy_from_slice(&to);
    bytes[6..12].copy_from_slice(&from);
    bytes[12..14].copy_from_slice(&[0x88, 0xb5]);
    bytes[14..18].copy_from_slice(&number.to_be_bytes());
    bytes
}

fn numbers(frames: &[Box<[u8]>]) -> Vec<u32> {
    frames.iter().map(|bytes| u32::from_be_bytes(bytes[14..18].try_into().unwrap())).collect()
}

fn settle(network: &Network) {
    while let Some(at) = network.next_arrival() {
        network.advance(at);
    }
}

/// What arrives of `count` frames over a link with faults, and when.
fn run(seed: u64, link: Link, count: u32) -> (Vec<Box<[u8]>>, NetworkCounters) {
    let network = Network::new(seed);
    let mut alice = network.attach(ALICE, link);
    let mut bob = network.attach(BOB, Link::default());
    let mut arrived = Vec::new();
    for number in 0..count {
        alice.send(&frame(BOB, ALICE, number, 200));
        network.advance(network.now() + Duration::from_micros(10));
        arrived.extend(bob.take());
    }
    settle(&network);
    arrived.extend(bob.take());
    (arrived, network.counters())
}

#[test]
fn hosts_of_two_switches_do_not_reach_each_other() {
    let network = Network::new(1);
    let mut alice = network.attach(ALICE, Link::default());
    let mut bob = network.attach(BOB, Link::default());
    let mut carol = network.attach(CAROL, Link::default());
    for port in [&bob, &carol] {
        network.plug_into(port.host(), 1);
    }
    alice.send(&frame(BOB, ALICE, 1, 100));
    alice.send(&frame(BROADCAST, ALICE, 2, 100));
    bob.send(&frame(CAROL, BOB, 3, 100));
    bob.send(&frame(BROADCAST, BOB, 4, 100));
    settle(&network);
    assert!(alice.take().is_empty() && bob.take().is_empty());
    assert_eq!(numbers(&carol.take()), [3, 4]);
    assert_eq!(network.counters().unknown, 1);
}

#[test]
fn a_frame_arrives_after_the_delay_of_both_links_and_not_before() {
    let network = Network::new(1);
    let mut alice = network.attach(ALICE, Link::default());
    let mut bob = network.attach(BOB, Link { delay: Duration::from_micros(200), ..Link::default() });
    alice.send(&frame(BOB, ALICE, 7, 100));
    let at = network.next_event().unwrap();
    assert_eq!(at, Instant::from_nanos(250_000));
    network.advance(Instant::from_nanos(249_999));
    assert!(bob.take().is_empty());
    network.advance(at);
    assert_eq!(network.next_event(), Some(at), "what waits in a ring is due now");
    assert_eq!(numbers(&bob.take()), [7]);
    assert_eq!(network.next_event(), None);
}

#[test]
fn unicast_reaches_its_host_alone_and_a_group_address_all_but_the_sender() {
    let network = Network::new(1);
    let mut alice = network.attach(ALICE, Link::default());
    let mut bob = network.attach(BOB, Link::default());
    let mut carol = network.attach(CAROL, Link::default());
    alice.send(&frame(BOB, ALICE, 1, 60));
    alice.send(&frame(BROADCAST, ALICE, 2, 60));
    alice.send(&frame([2, 9, 9, 9, 9, 9], ALICE, 3, 60));
    settle(&network);
    assert_eq!(numbers(&bob.take()), [1, 2]);
    assert_eq!(numbers(&carol.take()), [2]);
    assert!(alice.take().is_empty());
    assert_eq!(network.counters().unknown, 1);
}

#[test]
fn the_same_seed_gives_the_same_faults_and_another_one_others() {
    let link =
        Link { jitter: Duration::from_micros(300), loss: 0.1, duplication: 0.1, corruption: 0.1, ..Link::default() };
    let first = run(42, link, 500);
    assert_eq!(first, run(42, link, 500));
    assert_ne!(first, run(43, link, 500));
}

#[test]
fn loss_and_duplication_take_their_share() {
    let (arrived, counters) = run(5, Link { loss: 0.2, ..Link::default() }, 2000);
    assert!((300..500).contains(&counters.lost), "{counters:?}");
    assert_eq!(arrived.len() as u64, 2000 - counters.lost);
    let (arrived, counters) = run(5, Link { duplication: 0.2, ..Link::default() }, 2000);
    assert!((300..500).contains(&counters.duplicated), "{counters:?}");
    assert_eq!(arrived.len() as u64, 2000 + counters.duplicated);
}

#[test]
fn jitter_reorders_and_its_absence_does_not() {
    let in_order = |frames: &[Box<[u8]>]| numbers(frames).is_sorted();
    assert!(in_order(&run(9, Link::default(), 200).0));
    let (shaken, _) = run(9, Link { jitter: Duration::from_micros(100), ..Link::default() }, 200);
    assert_eq!(shaken.len(), 200);
    assert!(!in_order(&shaken));
}

#[test]
fn corruption_turns_one_bit_behind_the_ethernet_header() {
    let (arrived, counters) = run(3, Link { corruption: 1.0, ..Link::default() }, 50);
    assert_eq!(counters.corrupted, 50);
    for (number, bytes) in arrived.iter().enumerate() {
        let sent = frame(BOB, ALICE, number as u32, 200);
        let wrong: u32 = sent.iter().zip(bytes.iter()).map(|(a, b)| (a ^ b).count_ones()).sum();
        assert_eq!(wrong, 1);
        assert_eq!(sent[..14], bytes[..14]);
    }
}

#[test]
fn a_cut_way_carries_nothing_and_the_other_direction_everything() {
    let network = Network::new(1);
    let mut alice = network.attach(ALICE, Link::default());
    let mut bob = network.attach(BOB, Link::default());
    alice.send(&frame(BOB, ALICE, 1, 60));
    network.cut(alice.host(), bob.host());
    bob.send(&frame(ALICE, BOB, 2, 60));
    settle(&network);
    assert!(bob.take().is_empty(), "not even what was on the wire");
    assert_eq!(numbers(&alice.take()), [2]);
    network.isolate(bob.host());
    bob.send(&frame(ALICE, BOB, 3, 60));
    settle(&network);
    assert!(alice.take().is_empty());
    assert_eq!(network.counters().cut, 2);
    network.heal_all();
    alice.send(&frame(BOB, ALICE, 4, 60));
    settle(&network);
    assert_eq!(numbers(&bob.take()), [4]);
}

#[test]
fn a_packet_larger_than_a_link_on_the_way_vanishes() {
    let network = Network::new(1);
    let mut alice = network.attach(ALICE, Link::default());
    let mut bob = network.attach(BOB, Link { mtu: 1280, ..Link::default() });
    alice.send(&frame(BOB, ALICE, 1, 1280 + 14));
    alice.send(&frame(BOB, ALICE, 2, 1280 + 15));
    settle(&network);
    assert_eq!(numbers(&bob.take()), [1]);
    assert_eq!(network.counters().oversized, 1);
    assert!(alice.allocate(1500 + 15).is_none());
}

#[test]
fn frames_come_back_to_their_pool() {
    let network = Network::new(1);
    let mut alice = network.attach(ALICE, Link::default());
    let mut bob = network.attach(BOB, Link::default());
    for number in 0..100 {
        alice.send(&frame(BOB, ALICE, number, 60));
    }
    settle(&network);
    let mut burst = Burst::new();
    bob.receive(&mut burst);
    assert_eq!(burst.len(), crate::port::BURST_SIZE);
    assert_eq!(bob.frames_out(), burst.len());
    assert_eq!(bob.bytes(&burst[3])[14..18], 3_u32.to_be_bytes());
    for frame in burst.drain(..) {
        bob.release(frame);
    }
    assert_eq!(bob.frames_out(), 0);
    bob.receive(&mut burst);
    assert_eq!(burst.len(), 36);
    assert_eq!(bob.counters().frames_received, 100);
    assert_eq!(alice.counters().frames_sent, 100);
    burst.drain(..).for_each(|frame| bob.release(frame));
}

#[test]
fn a_late_worker_misses_what_its_ring_cannot_hold() {
    let network = Network::new(1);
    let mut alice = network.attach(ALICE, Link::default());
    let mut bob = network.attach(BOB, Link::default());
    for number in 0..RECEIVE_RING_SIZE as u32 + 5 {
        alice.send(&frame(BOB, ALICE, number, 60));
    }
    settle(&network);
    assert_eq!(bob.counters().frames_missed, 5);
    assert_eq!(bob.take().len(), RECEIVE_RING_SIZE);
}

#[test]
fn a_dropped_port_is_an_unplugged_cable_and_its_address_can_come_again() {
    let network = Network::new(1);
    let mut alice = network.attach(ALICE, Link::default());
    let bob = network.attach(BOB, Link::default());
    drop(bob);
    alice.send(&frame(BOB, ALICE, 1, 60));
    settle(&network);
    assert_eq!(network.counters().unknown, 1);
    let mut bob = network.attach(BOB, Link::default());
    alice.send(&frame(BOB, ALICE, 2, 60));
    settle(&network);
    assert_eq!(numbers(&bob.take()), [2]);
}

/// An IPv4 TCP segment with these ports and nothing else that is right.
fn segment(source_port: u16) -> Vec<u8> {
    let mut bytes = frame(BOB, ALICE, 0, 60);
    bytes[12..14].copy_from_slice(&[0x08, 0x00]);
    bytes[14] = 0x45;
    bytes[14 + 9] = 6;
    bytes[34..36].copy_from_slice(&source_port.to_be_bytes());
    bytes[36..38].copy_from_slice(&25_u16.to_be_bytes());
    bytes
}

#[test]
fn flow_steering_keeps_a_connection_on_one_queue_and_uses_all_queues() {
    let network = Network::new(1);
    let mut alice = network.attach(ALICE, Link::default());
    let mut bob = network.attach_queues(BOB, Link::default(), 4, Steering::Flow);
    let mut used = [false; 4];
    for port in 0..200 {
        alice.send(&segment(port));
        settle(&network);
        let first: Vec<bool> = bob.iter_mut().map(|queue| !queue.take().is_empty()).collect();
        alice.send(&segment(port));
        settle(&network);
        let second: Vec<bool> = bob.iter_mut().map(|queue| !queue.take().is_empty()).collect();
        assert_eq!(first, second);
        assert_eq!(first.iter().filter(|taken| **taken).count(), 1);
        used.iter_mut().zip(first).for_each(|(used, taken)| *used |= taken);
    }
    assert_eq!(used, [true; 4]);
    network.set_steering(bob[0].host(), Steering::Queue(3));
    alice.send(&segment(1));
    settle(&network);
    assert_eq!(bob[3].take().len(), 1);
}

#[test]
fn steering_survives_every_cut_of_a_frame() {
    let network = Network::new(1);
    let mut alice = network.attach(ALICE, Link::default());
    let mut bob = network.attach_queues(BOB, Link::default(), 2, Steering::Flow);
    let whole = segment(9);
    for length in 0..whole.len() {
        alice.send(&whole[..length]);
    }
    settle(&network);
    let arrived: usize = bob.iter_mut().map(|queue| queue.take().len()).sum();
    assert_eq!(arrived, whole.len() - 6);
}

#[test]
fn the_tap_keeps_what_was_sent_even_if_it_was_lost() {
    let network = Network::new(1);
    network.tap();
    let mut alice = network.attach(ALICE, Link { loss: 1.0, ..Link::default() });
    let mut bob = network.attach(BOB, Link::default());
    alice.send(&frame(BOB, ALICE, 1, 60));
    settle(&network);
    assert!(bob.take().is_empty());
    let tapped = network.take_tapped();
    assert_eq!(tapped.len(), 1);
    assert_eq!(tapped[0].from, alice.host());
    assert_eq!(*tapped[0].bytes, *frame(BOB, ALICE, 1, 60));
    assert!(network.take_tapped().is_empty());
}

#[test]
fn congestion_marks_what_may_be_marked_and_drops_the_rest() {
    const CE: u8 = 3;
    for v6 in [false, true] {
        let segment = |ecn: u8| {
            let mut bytes = frame(BOB, ALICE, 0, 80);
            let class = if v6 {
                bytes[12..16].copy_from_slice(&[0x86, 0xdd, 0x6a, 0xc7 & !0x30]);
                bytes[20] = 6;
                ecn << 4
            } else {
                bytes[12..16].copy_from_slice(&[0x08, 0x00, 0x45, 0xb8]);
                bytes[23] = 6;
                ecn
            };
            bytes[15] |= class;
            if !v6 {
                let sum = crate::port::checksum::Sum::default().add(&bytes[14..34]).finish();
                bytes[24..26].copy_from_slice(&sum);
            }
            bytes
        };
        let network = Network::new(1);
        let mut alice = network.attach(ALICE, Link { marking: 1.0, ..Link::default() });
        let mut bob = network.attach(BOB, Link::default());
        for ecn in 0..4 {
            alice.send(&segment(ecn));
        }
        // No segment: not its affair.
        alice.send(&frame(BOB, ALICE, 1, 60));
        settle(&network);
        let arrived = bob.take();
        assert_eq!(arrived.len(), 4);
        assert!(arrived[..3].iter().all(|bytes| **bytes == *segment(CE)));
        assert_eq!(*arrived[3], *frame(BOB, ALICE, 1, 60));
        assert_eq!((network.counters().marked, network.counters().lost), (3, 1));
    }
}
