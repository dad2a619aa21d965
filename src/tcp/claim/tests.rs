use super::*;
use crate::port::sim::{Link, Network, SimPort};
use proptest::prelude::*;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::Duration;

const OURS: [u8; 6] = [2, 0, 0, 0, 0, 1];
const THEIRS: [u8; 6] = [2, 0, 0, 0, 0, 2];
const V4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 25);
const V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0x0012, 0x3456);
const BOTH: [IpAddr; 2] = [IpAddr::V4(V4), IpAddr::V6(V6)];

/// Two hosts on one switch: we claim, the neighbour hears and says what the test wants.
fn hosts() -> (Network, SimPort, SimPort) {
    let network = Network::new(1);
    let ours = network.attach(OURS, Link::default());
    let neighbour = network.attach(THEIRS, Link::default());
    (network, ours, neighbour)
}

/// Runs a claim to its end. `answer` gets what the neighbour hears.
fn run(
    network: &Network,
    claim: &mut Claim,
    ours: &mut SimPort,
    neighbour: &mut SimPort,
    answer: impl Fn(&[u8]) -> Option<Vec<u8>>,
) -> Status {
    loop {
        let status = claim.poll(ours, network.now());
        assert_eq!(ours.frames_out(), 0, "every frame came back");
        let Status::Pending { next } = status else { return status };
        for heard in neighbour.take() {
            if let Some(bytes) = answer(&heard) {
                neighbour.send(&bytes);
            }
        }
        network.advance(network.next_arrival().map_or(next, |arrival| arrival.min(next)));
        assert!(network.now() < Instant::ZERO + Duration::from_secs(2), "a claim ends");
    }
}

#[test]
fn a_claim_without_conflict_takes_less_than_a_second() {
    let (network, mut ours, mut neighbour) = hosts();
    network.tap();
    let mut claim = Claim::new(OURS, &BOTH, network.now());
    let status = run(&network, &mut claim, &mut ours, &mut neighbour, |_| None);
    assert_eq!(status, Status::Claimed);
    assert_eq!(network.now(), Instant::ZERO + Duration::from_millis(800));
    let sent = network.take_tapped();
    let count = |wanted: frames::Bytes| sent.iter().filter(|tapped| *tapped.bytes == wanted[..]).count();
    assert_eq!(count(frames::arp_probe(OURS, V4)), 3);
    assert_eq!(count(frames::solicitation(OURS, V6)), 3);
    assert_eq!(count(frames::group_report(OURS, V6)), 3);
    assert_eq!(count(frames::arp_announcement(OURS, V4)), 2);
    assert_eq!(count(frames::advertisement(OURS, V6)), 2);
}

#[test]
fn nothing_but_probes_leaves_before_the_last_probe_had_time_to_be_answered() {
    let (network, mut ours, mut neighbour) = hosts();
    network.tap();
    let mut claim = Claim::new(OURS, &BOTH, network.now());
    run(&network, &mut claim, &mut ours, &mut neighbour, |_| None);
    for tapped in network.take_tapped() {
        let early = tapped.sent_at < Instant::ZERO + Duration::from_millis(600);
        let names_us = frames::contested(&tapped.bytes, THEIRS).is_some();
        let probe = *tapped.bytes == frames::arp_probe(OURS, V4)[..]
            || *tapped.bytes == frames::solicitation(OURS, V6)[..]
            || *tapped.bytes == frames::group_report(OURS, V6)[..];
        assert!(!early || probe);
        assert!(early || names_us);
    }
}

#[test]
fn the_owner_of_an_ipv4_address_who_answers_a_probe_keeps_it() {
    let (network, mut ours, mut neighbour) = hosts();
    let mut claim = Claim::new(OURS, &BOTH, network.now());
    let status = run(&network, &mut claim, &mut ours, &mut neighbour, |heard| {
        (heard == &frames::arp_probe(OURS, V4)[..]).then(|| frames::arp_gratuitous_reply(THEIRS, V4).to_vec())
    });
    assert_eq!(status, Status::Conflict { address: V4.into(), hardware_address: THEIRS });
}

#[test]
fn the_owner_of_an_ipv6_address_who_answers_a_probe_keeps_it() {
    let (network, mut ours, mut neighbour) = hosts();
    let mut claim = Claim::new(OURS, &BOTH, network.now());
    let status = run(&network, &mut claim, &mut ours, &mut neighbour, |heard| {
        (heard == &frames::solicitation(OURS, V6)[..]).then(|| frames::advertisement(THEIRS, V6).to_vec())
    });
    assert_eq!(status, Status::Conflict { address: V6.into(), hardware_address: THEIRS });
}

#[test]
fn a_conflict_is_final_and_the_port_is_left_alone() {
    let (network, mut ours, mut neighbour) = hosts();
    let mut claim = Claim::new(OURS, &BOTH, network.now());
    claim.hear(&frames::arp_announcement(THEIRS, V4));
    neighbour.send(&frames::arp_probe(THEIRS, V4));
    network.advance(Instant::ZERO + Duration::from_secs(5));
    let conflict = Status::Conflict { address: V4.into(), hardware_address: THEIRS };
    assert_eq!(claim.poll(&mut ours, network.now()), conflict);
    assert_eq!(ours.take().len(), 1);
    assert_eq!(ours.counters().frames_sent, 0);
}

#[test]
fn two_boxes_that_claim_the_same_address_at_once_both_learn_it() {
    for address in BOTH {
        let (network, mut ours, mut theirs) = hosts();
        let mut claims = [Claim::new(OURS, &[address], network.now()), Claim::new(THEIRS, &[address], network.now())];
        for claim_at in [0, 1_000_000] {
            network.advance(Instant::from_nanos(claim_at));
            claims[0].poll(&mut ours, network.now());
            claims[1].poll(&mut theirs, network.now());
        }
        let now = network.now();
        assert_eq!(claims[0].poll(&mut ours, now), Status::Conflict { address, hardware_address: THEIRS });
        assert_eq!(claims[1].poll(&mut theirs, now), Status::Conflict { address, hardware_address: OURS });
    }
}

#[test]
fn whoever_only_asks_for_the_address_does_not_contest_it() {
    let (network, ..) = hosts();
    let mut claim = Claim::new(OURS, &BOTH, network.now());
    let other = Ipv4Addr::new(192, 0, 2, 1);
    // An ordinary ARP request for our address, from a host with another one.
    let mut request = frames::arp_announcement(THEIRS, other).to_vec();
    request[38..42].copy_from_slice(&V4.octets());
    claim.hear(&request);
    // A probe and an advertisement for other addresses.
    claim.hear(&frames::arp_probe(THEIRS, other));
    claim.hear(&frames::advertisement(THEIRS, Ipv6Addr::LOCALHOST));
    claim.hear(&frames::group_report(THEIRS, V6));
    assert!(!claim.decided());
}

#[test]
fn our_own_frames_that_come_back_contest_nothing() {
    let mut claim = Claim::new(OURS, &BOTH, Instant::ZERO);
    claim.hear(&frames::arp_probe(OURS, V4));
    claim.hear(&frames::arp_announcement(OURS, V4));
    claim.hear(&frames::solicitation(OURS, V6));
    claim.hear(&frames::advertisement(OURS, V6));
    assert!(!claim.decided());
}

#[test]
fn an_advertisement_from_beyond_the_link_or_with_a_wrong_checksum_contests_nothing() {
    let good = frames::advertisement(THEIRS, V6).to_vec();
    let mut routed = good.clone();
    routed[14 + 7] = 254;
    let mut damaged = good.clone();
    *damaged.last_mut().unwrap() ^= 1;
    let mut claim = Claim::new(OURS, &BOTH, Instant::ZERO);
    claim.hear(&routed);
    claim.hear(&damaged);
    assert!(!claim.decided());
    claim.hear(&good);
    assert!(claim.decided());
}

#[test]
fn an_answer_that_waits_in_the_ring_is_heard_however_late_the_poll() {
    let (network, mut ours, mut neighbour) = hosts();
    let mut claim = Claim::new(OURS, &BOTH, network.now());
    for _ in 0..3 {
        let Status::Pending { next } = claim.poll(&mut ours, network.now()) else { panic!("pending") };
        network.advance(next);
    }
    for _ in 0..500 {
        neighbour.send(&frames::arp_probe(THEIRS, Ipv4Addr::LOCALHOST));
    }
    neighbour.send(&frames::arp_announcement(THEIRS, V4));
    network.advance(Instant::ZERO + Duration::from_secs(60));
    let conflict = Status::Conflict { address: V4.into(), hardware_address: THEIRS };
    assert_eq!(claim.poll(&mut ours, network.now()), conflict);
}

#[test]
fn a_late_poll_does_not_shorten_the_time_to_answer() {
    let (network, mut ours, _neighbour) = hosts();
    let mut claim = Claim::new(OURS, &BOTH, network.now());
    for second in 0..3 {
        let now = Instant::ZERO + Duration::from_secs(second);
        assert_eq!(claim.poll(&mut ours, now), Status::Pending { next: now + CLAIM_PROBE_INTERVAL });
    }
}

#[test]
fn a_probe_that_found_no_room_does_not_count() {
    let (network, mut ours, _neighbour) = hosts();
    let mut claim = Claim::new(OURS, &BOTH, network.now());
    let mut held = Vec::new();
    while let Some(frame) = ours.allocate(60) {
        held.push(frame);
    }
    let pending = Status::Pending { next: Instant::ZERO + CLAIM_RETRY_DELAY };
    assert_eq!(claim.poll(&mut ours, Instant::ZERO), pending);
    held.drain(..).for_each(|frame| ours.release(frame));
    let now = Instant::ZERO + CLAIM_RETRY_DELAY;
    assert_eq!(claim.poll(&mut ours, now), Status::Pending { next: now + CLAIM_PROBE_INTERVAL });
    assert_eq!(claim.state, State::Probing { sent: 1, next: now + CLAIM_PROBE_INTERVAL });
}

#[test]
fn nothing_to_claim_is_claimed() {
    let (network, mut ours, _neighbour) = hosts();
    assert_eq!(Claim::new(OURS, &[], network.now()).poll(&mut ours, network.now()), Status::Claimed);
}

#[test]
fn an_announcement_names_each_address_in_each_form() {
    let (network, mut ours, mut neighbour) = hosts();
    assert!(announce(&mut ours, &BOTH));
    network.advance(network.next_arrival().unwrap());
    let heard = neighbour.take();
    let named: Vec<_> = heard.iter().map(|bytes| frames::contested(bytes, THEIRS).unwrap()).collect();
    assert_eq!(named, [(V4.into(), OURS), (V4.into(), OURS), (V6.into(), OURS)]);
    assert_eq!(*heard[2], *frames::advertisement(OURS, V6));
}

/// The bytes as RFC 4861 §4.3 and RFC 4862 §5.4.2 draw them.
#[test]
fn a_solicitation_is_the_one_of_the_rfc() {
    let bytes = frames::solicitation(OURS, V6);
    assert_eq!(bytes[..6], [0x33, 0x33, 0xff, 0x12, 0x34, 0x56]);
    assert_eq!(bytes[12..14], [0x86, 0xdd]);
    assert_eq!(bytes[14 + 7], 255, "hop limit");
    assert_eq!(bytes[22..38], [0; 16], "unspecified source");
    let group: Ipv6Addr = "ff02::1:ff12:3456".parse().unwrap();
    assert_eq!(bytes[38..54], group.octets());
    assert_eq!(bytes[54..56], [135, 0]);
    assert_eq!(bytes[62..], V6.octets(), "the target and no option");
}

/// The bytes as RFC 3810 §5.2 draws them, behind the router alert of RFC 2711.
#[test]
fn a_group_report_is_the_one_of_the_rfc() {
    let bytes = frames::group_report(OURS, V6);
    assert_eq!(bytes[..6], [0x33, 0x33, 0, 0, 0, 0x16]);
    assert_eq!(bytes[18..22], [0, 36, 0, 1], "payload length, hop-by-hop, hop limit");
    assert_eq!(bytes[54..62], [58, 0, 5, 2, 0, 0, 1, 0]);
    assert_eq!(bytes[62..64], [143, 0]);
    assert_eq!(bytes[66..74], [0, 0, 0, 1, 4, 0, 0, 0], "one record, to exclude mode, no sources");
    let group: Ipv6Addr = "ff02::1:ff12:3456".parse().unwrap();
    assert_eq!(bytes[74..], group.octets());
    let message = smoltcp::wire::Icmpv6Packet::new_checked(&bytes[62..]).unwrap();
    assert!(message.verify_checksum(&Ipv6Addr::UNSPECIFIED, &"ff02::16".parse().unwrap()));
}

/// Makes the ICMPv6 checksum right again where there is one, so that damage gets past it.
fn repair_checksum(bytes: &mut [u8]) {
    use smoltcp::wire::{Icmpv6Packet, Ipv6Packet};
    let Some(Ok(mut packet)) = bytes.get_mut(14..).map(Ipv6Packet::new_checked) else { return };
    let (source, destination) = (packet.src_addr(), packet.dst_addr());
    if let Ok(mut message) = Icmpv6Packet::new_checked(packet.payload_mut()) {
        message.fill_checksum(&source, &destination);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn no_frame_makes_a_claim_panic(bytes in proptest::collection::vec(any::<u8>(), 0..128)) {
        Claim::new(OURS, &BOTH, Instant::ZERO).hear(&bytes);
    }

    #[test]
    fn no_damage_to_a_good_frame_makes_a_claim_panic(
        which in 0..4_usize, cut in 0..100_usize, place in 0..100_usize, value: u8,
    ) {
        let mut bytes = match which {
            0 => frames::arp_announcement(THEIRS, V4),
            1 => frames::advertisement(THEIRS, V6),
            2 => frames::solicitation(THEIRS, V6),
            _ => frames::group_report(THEIRS, V6),
        };
        let place = place % bytes.len();
        bytes[place] = value;
        bytes.truncate(bytes.len().saturating_sub(cut).max(1));
        repair_checksum(&mut bytes);
        Claim::new(OURS, &BOTH, Instant::ZERO).hear(&bytes);
    }
}
