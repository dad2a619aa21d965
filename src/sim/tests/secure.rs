//! Worlds in which a share of the sessions is under TLS, on both sides.

use crate::sim::proof::{Demand, FAULTS, Shown};
use crate::sim::world::{Watched, World};
use crate::sim::{Kind, Worlds};
use std::collections::{BTreeMap, BTreeSet};

fn world(seed: u64, kind: Kind) -> World {
    World::new(seed, Worlds { kind, tls: true, dkim: false }, false)
}

#[test]
fn mail_under_tls_keeps_every_promise_whatever_goes_wrong() {
    for (seeds, kind) in [(0..5, Kind::Single), (0..2, Kind::Pair)] {
        for seed in seeds {
            let outcome = world(seed, kind).run();
            assert_eq!(outcome.failure, None, "seed {seed}");
            assert!(outcome.sums.acknowledged > 0, "seed {seed}");
        }
    }
}

#[test]
fn a_world_with_tls_replays_byte_for_byte() {
    let digest = |seed| world(seed, Kind::Single).run().digest;
    for seed in 0..2 {
        assert_eq!(digest(seed), digest(seed), "seed {seed}");
    }
}

#[test]
fn enough_is_said_under_tls_and_enough_goes_wrong_with_it() {
    let mut counts = [0; 4];
    for seed in 0..4 {
        let (_, Watched { under_tls, handshakes, .. }) = world(seed, Kind::Single).run_watched();
        counts.iter_mut().zip(under_tls.into_iter().chain(handshakes)).for_each(|(sum, count)| *sum += count);
    }
    let [accepted, delivered, good, bad] = counts;
    assert!(accepted > 20 && delivered > 20 && good > 50 && bad > 2, "{counts:?}");
}

/// Worlds that together meet all that can go wrong with the proof of who a next hop is.
const WORLDS_WITH_PROOF: [u64; 4] = [9, 14, 18, 60];

#[test]
fn mail_that_needs_proof_waits_for_it_and_goes_out_with_it() {
    let (mut faults, mut proved) = (BTreeSet::new(), BTreeMap::<_, u64>::new());
    let (mut put_off, mut required) = (0, [0; 2]);
    for seed in WORLDS_WITH_PROOF {
        let (outcome, watched) = world(seed, Kind::Single).run_watched();
        assert_eq!(outcome.failure, None, "seed {seed}");
        faults.extend(outcome.injected.into_keys());
        watched.proved.into_iter().for_each(|(how, count)| *proved.entry(how).or_default() += count);
        put_off += watched.put_off;
        required.iter_mut().zip(watched.required).for_each(|(sum, count)| *sum += count);
    }
    let unmet: Vec<&str> = FAULTS.into_iter().filter(|fault| !faults.contains(fault)).collect();
    assert!(unmet.is_empty(), "not met: {unmet:?}");
    let met = |how| proved.get(&how).is_some_and(|count| *count > 10);
    // What means nothing holds back nothing: not even what is never as it should be.
    for how in [
        (Demand::Open, Shown::Nothing),
        (Demand::Verify, Shown::Good),
        (Demand::Dane, Shown::OtherName),
        (Demand::Enforce, Shown::Good),
        (Demand::Insecure, Shown::OtherKey),
        (Demand::Testing, Shown::OtherKey),
    ] {
        assert!(met(how), "{how:?} in {proved:?}");
    }
    assert!(put_off > 10 && required.into_iter().all(|count| count > 2), "{put_off} {required:?}");
}
