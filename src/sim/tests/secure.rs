//! Worlds in which a share of the sessions is under TLS, on both sides.

use crate::sim::Kind;
use crate::sim::world::World;

fn world(seed: u64, kind: Kind) -> World {
    let mut world = World::new(seed, kind, false);
    world.secure();
    world
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
        let said = world(seed, Kind::Single).run_and_count_tls();
        counts.iter_mut().zip(said).for_each(|(sum, count)| *sum += count);
    }
    let [accepted, delivered, good, bad] = counts;
    assert!(accepted > 20 && delivered > 20 && good > 50 && bad > 2, "{counts:?}");
}
