//! Crash images: the disk as it is found after a crash at any moment, opened again.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::*;

/// What must be found after a crash.
#[derive(Clone, Default)]
struct Promise {
    /// Acknowledged and with recipients left.
    kept: BTreeMap<MessageId, Vec<u8>>,
    /// Everything ever finished, so that nothing is found altered.
    known: BTreeMap<MessageId, Vec<u8>>,
    /// Settled or deleted, and the log was idle since.
    gone: Vec<MessageId>,
}

fn check(disk: SimDisk, promise: &Promise, what: &str) {
    let mut bench = Bench::open_with(disk, settings()).unwrap_or_else(|error| panic!("{what}: {error}"));
    for id in promise.kept.keys() {
        assert!(bench.log.message(*id).is_some(), "{what}: {id} was acknowledged and is not there");
    }
    for id in &promise.gone {
        assert!(bench.log.message(*id).is_none(), "{what}: {id} was done and came back");
    }
    let found: Vec<MessageId> = bench.log.messages().map(|message| message.id).collect();
    for id in found {
        let content = bench.content_of(id);
        assert!(content.as_ref() == promise.known.get(&id), "{what}: {id} was altered");
    }
    // It goes on from there, and what it accepts now is found as well.
    if let Ok(id) = bench.accept(b"after the crash", 1) {
        assert_eq!(bench.content_of(id).unwrap(), b"after the crash");
    } else {
        assert_eq!(bench.log.status().state, LogState::Full, "{what}");
    }
}

/// A worker's life with a log, from a seed: it crashes the disk often and looks, and now and then goes on from the crash.
fn live_and_crash(seed: u64, steps: u32) -> Status {
    let mut random = StdRng::seed_from_u64(seed);
    let mut disk = SimDisk::new(seed);
    let mut bench = Bench::open(disk.clone());
    let mut promise = Promise::default();
    // Settled, but perhaps not on disk yet.
    let mut leaving: Vec<MessageId> = Vec::new();
    disk.set_eagerness(random.random_range(1..=10));
    for step in 0..steps {
        match random.random_range(0..100) {
            0..45 => {
                let size = if random.random_bool(0.1) { 60_000 } else { 4000 };
                let content = text(random.random(), random.random_range(0..size));
                let Ok(draft) = bench.log.begin() else { continue };
                if bench.log.content(draft, &content) < content.len() {
                    bench.log.abort(draft);
                    continue;
                }
                bench.log.finish(draft, envelope(2), bench.now);
                promise.known.insert(draft.id, content);
            }
            45..75 => {
                let count = promise.kept.len();
                if count > 0 {
                    let id = *promise.kept.keys().nth(random.random_range(0..count)).unwrap();
                    match random.random_range(0..4) {
                        0 => {
                            promise.kept.remove(&id);
                            leaving.push(id);
                            bench.log.settle(id, 0, delivered());
                            bench.log.settle(id, 1, delivered());
                        }
                        1 => {
                            promise.kept.remove(&id);
                            leaving.push(id);
                            bench.log.delete(id);
                        }
                        2 => bench.log.settle(id, 0, delivered()),
                        _ => bench.log.settle(
                            id,
                            1,
                            Outcome::Deferred {
                                attempts: step,
                                next_attempt_at: bench.now.wall,
                                reply: "451 later".into(),
                            },
                        ),
                    }
                }
            }
            75..78 => {
                let crashed = disk.crash(random.random());
                check(crashed.crash(0), &promise, &format!("seed {seed} step {step}"));
                if random.random_bool(0.3) {
                    disk = crashed;
                    disk.set_eagerness(random.random_range(1..=10));
                    bench = Bench::open(disk.clone());
                    // What was on its way may have been durable or not; it is a promise from now on.
                    let found: Vec<MessageId> = bench.log.messages().map(|message| message.id).collect();
                    promise.kept = found.iter().map(|id| (*id, promise.known[id].clone())).collect();
                    leaving.clear();
                }
            }
            _ => {}
        }
        bench.breathe();
        for event in bench.events.drain(..) {
            match event {
                LogEvent::Durable { draft } => {
                    promise.kept.insert(draft.id, promise.known[&draft.id].clone());
                }
                LogEvent::Closed { error } => panic!("{error}"),
                _ => {}
            }
        }
        if bench.log.idle() {
            promise.gone.append(&mut leaving);
        }
    }
    check(disk.crash(seed), &promise, &format!("seed {seed}, last"));
    bench.log.status()
}

#[test]
fn whatever_the_moment_of_the_crash_everything_acknowledged_is_there() {
    for seed in 0..200 {
        live_and_crash(seed, 120);
    }
}

#[test]
fn segments_go_round_many_times_and_nothing_is_lost() {
    let mut moved = 0;
    for seed in 1000..1003 {
        moved += live_and_crash(seed, 4000).moved;
    }
    assert!(moved > 0, "long-lived messages were moved forward");
}

#[test]
fn every_cut_of_a_scripted_run_can_be_opened() {
    let disk = SimDisk::new(1);
    let mut bench = Bench::open(disk.clone());
    let mut promise = Promise::default();
    disk.hold(true);
    for round in 0..40 {
        for place in 0..4 {
            let content = text(round * 7 + place, 700 + 900 * place as usize);
            if let Ok(draft) = bench.start(&content, 1) {
                promise.known.insert(draft.id, content);
            }
            bench.breathe();
        }
        // Up to four writes are under way here: torn in several ways.
        for seed in 0..4 {
            check(disk.crash(round * 10 + seed), &promise, &format!("round {round} seed {seed}"));
        }
        disk.hold(false);
        bench.breathe_until(|bench| bench.log.idle());
        disk.hold(true);
        for event in std::mem::take(&mut bench.events) {
            if let LogEvent::Durable { draft } = event {
                promise.kept.insert(draft.id, promise.known[&draft.id].clone());
            }
        }
        if round % 5 == 4 {
            disk.hold(false);
            for id in std::mem::take(&mut promise.kept).into_keys().skip(1) {
                bench.log.settle(id, 0, delivered());
                promise.gone.push(id);
            }
            bench.breathe_until(|bench| bench.log.idle());
            disk.hold(true);
        }
    }
}

/// A log with ten batches of one message each and a closing batch.
fn ten_batches() -> (SimDisk, Vec<MessageId>) {
    let disk = SimDisk::new(1);
    let mut bench = Bench::open(disk.clone());
    let ids = (0..10).map(|seed| bench.accept(&text(seed, 6000), 1).unwrap()).collect();
    bench.shut_down();
    (disk, ids)
}

#[test]
fn a_torn_tail_is_cut_and_reported() {
    let disk = SimDisk::new(1);
    let mut bench = Bench::open(disk.clone());
    let kept = bench.accept(&text(1, 6000), 1).unwrap();
    disk.hold(true);
    let lost = bench.start(&text(2, 6000), 1).unwrap();
    bench.breathe();
    let image = (0..).map(|seed| disk.crash(seed)).find(|image| {
        let bytes = image.contents(1);
        // Its header landed, its last sector did not.
        bytes[8192..8200] != [0; 8] && bytes[16384 - 2048 - 512..16384 - 2048].iter().all(|byte| *byte == 0)
    });
    let image = image.unwrap();
    let bench = Bench::open(image.clone());
    assert_eq!(bench.recovery.cut, Some(Cut { segment: 1, offset: 8192, batches: 1 }));
    assert!(bench.log.message(kept).is_some());
    assert!(bench.log.message(lost.id).is_none());
}

#[test]
fn a_stale_batch_behind_a_cut_never_joins_the_chain() {
    let disk = SimDisk::new(1);
    let mut bench = Bench::open(disk.clone());
    bench.accept(&text(1, 6000), 1).unwrap();
    disk.hold(true);
    let first = bench.start(&text(2, 6000), 1).unwrap();
    bench.breathe();
    let second = bench.start(&text(3, 6000), 1).unwrap();
    bench.breathe();
    // The second landed, the first did not.
    let image = (0..)
        .map(|seed| disk.crash(seed))
        .find(|image| {
            let bytes = image.contents(1);
            bytes[8192..16384].iter().all(|byte| *byte == 0) && bytes[16384..16392] != [0; 8]
        })
        .unwrap();
    let mut bench = Bench::open(image.clone());
    assert_eq!(bench.recovery.cut.map(|cut| cut.offset), Some(8192));
    // The same size again: the stale batch lies right behind it.
    bench.accept(&text(2, 6000), 1).unwrap();
    let bench = Bench::open(image.crash(9));
    assert_eq!(bench.log.count(), 2);
    assert!(bench.log.message(first.id).is_none());
    assert!(bench.log.message(second.id).is_none());
}

#[test]
fn another_log_s_files_are_refused() {
    let (disk, _) = ten_batches();
    let other = Settings { log: 4, ..settings() };
    assert_eq!(Bench::open_with(disk.clone(), other).err(), Some(OpenError::Foreign { segment: 1 }));
    let size = Settings { segment_size: 512 * 1024, ..settings() };
    assert!(matches!(Bench::open_with(disk.clone(), size).err(), Some(OpenError::SegmentSize { .. })));
    let early = Settings { epoch: 0, ..settings() };
    assert_eq!(Bench::open_with(disk, early).err(), Some(OpenError::Epoch { found: 1, given: 0 }));
}
