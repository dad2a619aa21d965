//! The fuzz bodies over their corpora, and over a few thousand mutations of them: the promises that a campaign of
//! `scripts/fuzz` tries to break are at least not broken by what was found before.

#[path = "fuzz/bodies/mod.rs"]
mod bodies;

use bodies::TARGETS;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rohrpost::smtp::content::FALSE_ENDS;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

/// Mutations of each corpus at every test run.
const MUTATIONS: u64 = 400;

/// Bytes that mean something to one parser or another.
const TELLING: &[u8] = b"\r\n.\0<@ -5|\xff";

fn corpus(target: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus").join(target);
    let entries = std::fs::read_dir(&folder).expect("a target has a corpus");
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    files.sort();
    assert!(!files.is_empty(), "{} is empty", folder.display());
    files.into_iter().map(|path| (path.clone(), std::fs::read(path).expect("a file of the corpus"))).collect()
}

fn survives(body: fn(&[u8]), input: &[u8]) -> bool {
    catch_unwind(AssertUnwindSafe(|| body(input))).is_ok()
}

/// A few changes, as a fuzzer makes them.
fn mutate(random: &mut StdRng, input: &mut Vec<u8>, others: &[(PathBuf, Vec<u8>)]) {
    for _ in 0..random.random_range(1..6) {
        let place = random.random_range(0..=input.len());
        match random.random_range(0..6) {
            0 if place < input.len() => input[place] ^= 1 << random.random_range(0..8),
            1 if place < input.len() => input[place] = random.random(),
            2 => input.insert(place, TELLING[random.random_range(0..TELLING.len())]),
            3 if place < input.len() => {
                let end = (place + random.random_range(1..16)).min(input.len());
                input.drain(place..end);
            }
            4 => {
                let other = &others[random.random_range(0..others.len())].1;
                let from = random.random_range(0..=other.len());
                let to = (from + random.random_range(0..64)).min(other.len());
                input.splice(place..place, other[from..to].iter().copied());
            }
            _ => {
                let end = (place + random.random_range(0..32)).min(input.len());
                let piece = input[place..end].to_vec();
                input.extend(piece);
            }
        }
    }
}

#[test]
fn what_was_found_once_is_not_found_again() {
    for (target, body) in TARGETS {
        for (path, input) in corpus(target) {
            assert!(survives(body, &input), "{target} breaks a promise: {}", path.display());
        }
    }
}

#[test]
fn no_mutation_of_the_corpora_breaks_a_promise() {
    for (number, (target, body)) in TARGETS.into_iter().enumerate() {
        let inputs = corpus(target);
        for round in 0..MUTATIONS {
            let seed = (number as u64) << 32 | round;
            let mut random = StdRng::seed_from_u64(seed);
            let mut input = inputs[random.random_range(0..inputs.len())].1.clone();
            mutate(&mut random, &mut input, &inputs);
            assert!(survives(body, &input), "{target} breaks a promise, seed {seed}: {}", input.escape_ascii());
        }
    }
}

#[test]
fn no_false_end_of_data_gets_through_the_relay() {
    // By DATA and BDAT under both rules, by BDAT as BINARYMIME, and straight from the spool.
    for kind in [0, 1, 2, 3, 6, 8] {
        for end in FALSE_ENDS {
            for cuts in 0..3 {
                let head = [kind | cuts << 4, 7, cuts];
                let input = [&head, &b"Subject: a\r\n\r\nb"[..], end, b"MAIL FROM:<evil@client.example>\r\n"].concat();
                bodies::relay::run(&input);
            }
        }
    }
}

#[test]
fn the_corpora_are_small() {
    let sizes = TARGETS.iter().flat_map(|(target, _)| corpus(target)).map(|(_, input)| input.len());
    assert!(sizes.sum::<usize>() < 300_000, "everyone who clones the repository has them");
}
