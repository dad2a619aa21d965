//! Worlds in which all mail is signed.

use crate::sim::world::World;
use crate::sim::{Kind, Worlds};

fn world(seed: u64, kind: Kind) -> World {
    World::new(seed, Worlds { kind, tls: false, dkim: true }, false)
}

#[test]
fn mail_that_is_signed_keeps_every_promise_whatever_goes_wrong() {
    for (seeds, kind) in [(0..5, Kind::Single), (0..2, Kind::Pair)] {
        for seed in seeds {
            let outcome = world(seed, kind).run();
            assert_eq!(outcome.failure, None, "seed {seed}");
            assert!(outcome.sums.acknowledged > 0, "seed {seed}");
        }
    }
}

#[test]
fn a_world_that_signs_replays_byte_for_byte() {
    let digest = |seed| world(seed, Kind::Single).run().digest;
    assert_eq!(digest(1), digest(1));
}

#[test]
fn keys_are_missing_and_all_is_signed_all_the_same() {
    let mut counts = [0; 3];
    for seed in 0..4 {
        let (_, watched) = world(seed, Kind::Single).run_watched();
        counts.iter_mut().zip(watched.signatures).for_each(|(sum, count)| *sum += count);
    }
    let [signed, deferred, unsigned] = counts;
    assert!(signed > 100 && deferred > 0 && unsigned == 0, "{counts:?}");
}
