//! Simulated worlds: a few hundred at each test run, and those that have shown a bug.

use rohrpost::sim::{self, Kind, Outcome, Worlds};
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};

/// Worlds that have shown a bug, with its story. `scripts/mutants` brings some of them back, to see that they are found.
const FOUND: [(u64, &str); 12] = [
    (4592, "what a killed process told last is not known after its next start: the ledger believed a retry time"),
    (5, "reads that failed for some minutes while content was to be moved made it count as damaged, and zeros of it"),
    (15, "a log of which nothing could be read for a while was taken for an empty one, and begun anew over its mail"),
    (
        57,
        "after a segment could not be made for want of descriptors, the log went on counting on it, and its worker spun",
    ),
    (451, "content was moved from a window that was read before its batch was written, and counted as damaged"),
    (500, "while content could not be read, deferrals filled the last segment, and nothing could be moved any more"),
    (
        607,
        "a worker stopped while another was still delivering its messages: their outcomes were lost, and they went out twice",
    ),
    (
        5554,
        "the closing batch of a full log found no room, and its worker came back for it at once, for as long as that lasted",
    ),
    (5608, "the same as 500: what was under way filled both segments that are kept back, and an empty log stayed full"),
    (9405, "the same as 5554, during an orderly stop"),
    (1419, "the same as 500, during an orderly stop, which never ended"),
    (
        316,
        "a log counted on segments that a full disk did not let it have: it took more than it could move, outcomes found no room, and a crash forgot them",
    ),
];

/// The same of worlds with a pair.
const FOUND_OF_PAIRS: [(u64, &str); 6] = [
    (163, "what the former owner had delivered went out again after a takeover, and nobody had said that it might"),
    (52005, "an owner with a disk of yesterday started, and went on alone before its replica had missed it"),
    (52997, "a box that had given up an identity delivered its mail from the other one's address"),
    (54943, "an owner that asked to be mirrored spoke on for an identity that its partner had taken over"),
    (56871, "the operator did not notice that a box had died before it made its register"),
    (
        810350,
        "a box that had been alone for long was not to take mail: its register had been set back to a mirrored epoch",
    ),
];

/// Worlds of every test run; `scripts/soak` lives through as many as there is time for.
const WORLDS: u64 = 300;

/// Worlds with a pair: each lasts a minute or more, in which two boxes beat for each other.
const PAIRS: u64 = 24;

/// Worlds with a pair that has the manual arbiter, besides those among the others.
const PAIRS_BY_HAND: u64 = 12;

/// Worlds in which all that costs a worker cryptography comes together, without a pair and with one: each takes its time.
const WORLDS_WITH_ALL: u64 = 12;
const PAIRS_WITH_ALL: u64 = 4;

#[test]
fn what_a_world_has_shown_once_does_not_come_back() {
    for (seed, story) in FOUND {
        let outcome = sim::run(seed, false);
        assert!(outcome.failure.is_none(), "once: {story}\n{}", told(&outcome));
    }
    for (seed, story) in FOUND_OF_PAIRS {
        let outcome = sim::run_pair(seed, false);
        assert!(outcome.failure.is_none(), "once, of pairs: {story}\n{}", told(&outcome));
    }
}

fn told(outcome: &Outcome) -> String {
    match &outcome.failure {
        None => String::new(),
        Some(failure) => format!("seed {}: {}\n{}", outcome.seed, failure.what, failure.trace.join("\n")),
    }
}

/// Lives through the worlds of the first seeds, all of which keep their promises, and acknowledge so many messages each.
fn live_through(
    worlds: u64,
    run: impl Fn(u64, bool) -> Outcome + Sync,
    acknowledged_min: u64,
) -> BTreeSet<&'static str> {
    let next = AtomicU64::new(0);
    let jobs = std::thread::available_parallelism().map_or(1, usize::from);
    let outcomes: Vec<Outcome> = std::thread::scope(|scope| {
        let live = || {
            let mut outcomes = Vec::new();
            loop {
                let seed = next.fetch_add(1, Ordering::Relaxed);
                if seed >= worlds {
                    return outcomes;
                }
                outcomes.push(run(seed, false));
            }
        };
        let threads: Vec<_> = (0..jobs).map(|_| scope.spawn(live)).collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("no world panics")).collect()
    });
    let failed: Vec<String> = outcomes.iter().map(told).filter(|story| !story.is_empty()).collect();
    assert!(failed.is_empty(), "{}", failed.join("\n\n"));
    let acknowledged: u64 = outcomes.iter().map(|outcome| outcome.sums.acknowledged).sum();
    assert!(acknowledged > acknowledged_min * worlds, "{acknowledged} messages are too few to prove anything");
    outcomes.iter().flat_map(|outcome| outcome.injected.keys().copied()).collect()
}

#[test]
fn every_promise_is_kept_in_every_world() {
    let kinds = live_through(WORLDS, sim::run, 50);
    assert_eq!(kinds.len(), 34, "every kind of fault was met: {kinds:?}");
}

#[test]
fn a_pair_keeps_every_promise_whichever_box_dies() {
    let kinds = live_through(PAIRS, sim::run_pair, 50);
    for kind in
        ["kill", "power loss", "pause", "partners cut", "no store", "lossy store", "move", "power loss at delivery"]
    {
        assert!(kinds.contains(kind), "no {kind} in {kinds:?}");
    }
}

#[test]
fn a_pair_without_a_store_keeps_every_promise_while_the_operator_keeps_his_word() {
    let kinds = live_through(PAIRS_BY_HAND, sim::run_pair_by_hand, 50);
    assert!(kinds.contains("take-over by hand"), "{kinds:?}");
}

#[test]
fn every_promise_is_kept_under_tls_and_with_signatures_at_once() {
    let run = |kind| move |seed, echo| sim::run_in(Worlds { kind, tls: true, dkim: true }, seed, echo);
    live_through(WORLDS_WITH_ALL, run(Kind::Single), 20);
    live_through(PAIRS_WITH_ALL, run(Kind::Pair), 20);
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

/// `| head`, with and without `2>&1`.
#[test]
fn a_reader_that_has_seen_enough_is_no_failure() {
    let sim = ["sim", "--seed", "1000", "--trace"];
    let mut child = Command::new(env!("CARGO_BIN_EXE_rohrpost"))
        .args(sim)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it runs");
    // The first line of its story has been read, and of its sums nothing.
    let mut story = BufReader::new(child.stderr.take().expect("a pipe"));
    story.read_line(&mut String::new()).expect("a line");
    drop((story, child.stdout.take()));
    let ended = child.wait().expect("our own process");
    assert!(ended.success(), "{ended}");
}
