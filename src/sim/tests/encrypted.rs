//! Pairs whose links are encrypted, and those whose boxes do not agree on how.

use crate::sim::world::World;
use crate::sim::{Kind, Worlds};
use crate::tls::{Fingerprint, OwnKey, Pinned};
use std::time::Duration;

const PAIR: Worlds = Worlds { kind: Kind::Pair, tls: false, dkim: false };

/// Boxes whose own certificates are these, each with the fingerprint that it takes for its partner's.
fn boxes(keys: [OwnKey; 2], partners: [Fingerprint; 2]) -> [Option<Pinned>; 2] {
    let [a, b] = keys;
    [Some(Pinned::new(a, partners[0]).unwrap()), Some(Pinned::new(b, partners[1]).unwrap())]
}

fn two() -> [Option<Pinned>; 2] {
    let keys = [OwnKey::generate(), OwnKey::generate()];
    let partners = [keys[1].fingerprint(), keys[0].fingerprint()];
    boxes(keys, partners)
}

#[test]
fn a_pair_with_encrypted_links_loses_nothing_whatever_happens() {
    for seed in 0..8 {
        let mut world = World::new(seed, PAIR, false);
        world.encrypt(two());
        let outcome = world.run();
        assert_eq!(outcome.failure, None, "seed {seed}");
        assert!(outcome.sums.acknowledged > 0, "seed {seed}");
    }
}

/// What the boxes say of their links after a second.
fn said(tls: [Option<Pinned>; 2]) -> [String; 2] {
    let mut world = World::new(1, PAIR, false);
    world.encrypt(tls);
    let said = world.links_after(Duration::from_secs(1));
    said.map(|said| {
        assert!(said.len() <= 1, "once, and the same each time: {said:?}");
        said.into_iter().next().unwrap_or_default()
    })
}

#[test]
fn a_pair_that_agrees_says_nothing_of_its_links() {
    assert_eq!(said([None, None]), ["", ""]);
    assert_eq!(said(two()), ["", ""]);
}

#[test]
fn if_only_one_box_encrypts_both_say_so() {
    for clear in [0, 1] {
        let mut tls = two();
        tls[clear] = None;
        let said = said(tls);
        assert!(said[clear].starts_with("the partner speaks TLS, and nothing is encrypted here"), "{said:?}");
        assert!(said[1 - clear].starts_with("the partner speaks in the clear, and TLS is wanted here"), "{said:?}");
    }
}

#[test]
fn a_box_with_another_key_is_named_by_both() {
    let keys = [OwnKey::generate(), OwnKey::generate()];
    let [a, b] = [keys[0].fingerprint(), keys[1].fingerprint()];
    let former = OwnKey::generate().fingerprint();
    let said = said(boxes(keys, [former, a]));
    assert!(said[0].contains(&b.to_string()) && said[0].contains(&former.to_string()), "{said:?}");
    assert_eq!(said[1], format!("the partner does not take our certificate: its [pair] must name {b}"));
}
