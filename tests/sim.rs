//! Simulated worlds: a few hundred at each test run, and those that have shown a bug.

use rohrpost::sim::{self, Outcome};
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};

/// Worlds of every test run; `scripts/soak` lives through as many as there is time for.
const WORLDS: u64 = 300;

fn told(outcome: &Outcome) -> String {
    match &outcome.failure {
        None => String::new(),
        Some(failure) => format!("seed {}: {}\n{}", outcome.seed, failure.what, failure.trace.join("\n")),
    }
}

#[test]
fn every_promise_is_kept_in_every_world() {
    let next = AtomicU64::new(0);
    let jobs = std::thread::available_parallelism().map_or(1, usize::from);
    let outcomes: Vec<Outcome> = std::thread::scope(|scope| {
        let live = || {
            let mut outcomes = Vec::new();
            loop {
                let seed = next.fetch_add(1, Ordering::Relaxed);
                if seed >= WORLDS {
                    return outcomes;
                }
                outcomes.push(sim::run(seed, false));
            }
        };
        let threads: Vec<_> = (0..jobs).map(|_| scope.spawn(live)).collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("no world panics")).collect()
    });
    let failed: Vec<String> = outcomes.iter().map(told).filter(|story| !story.is_empty()).collect();
    assert!(failed.is_empty(), "{}", failed.join("\n\n"));
    let acknowledged: u64 = outcomes.iter().map(|outcome| outcome.sums.acknowledged).sum();
    assert!(acknowledged > 50 * WORLDS, "{acknowledged} messages are too few to prove anything");
    let kinds: std::collections::BTreeSet<&str> =
        outcomes.iter().flat_map(|outcome| outcome.injected.keys().copied()).collect();
    assert_eq!(kinds.len(), 24, "every kind of fault was met: {kinds:?}");
}

#[test]
fn the_same_seed_gives_the_same_run_in_another_process() {
    let digest = || {
        let sim = ["sim", "--seeds", "1000..1010", "--jobs", "2", "--json"];
        let output = Command::new(env!("CARGO_BIN_EXE_rohrpost")).args(sim).output().expect("it runs");
        let total: serde_json::Value = serde_json::from_slice(&output.stdout).expect("one object");
        (total["digest"].clone(), total["sums"].clone(), total["injected"].clone())
    };
    assert_eq!(digest(), digest());
}
