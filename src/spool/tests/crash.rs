//! What is torn, stale, damaged or another log's is known for what it is.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::*;

/// A log with ten batches of one message each and a closing batch.
fn ten_batches() -> (SimDisk, Vec<MessageId>) {
    let disk = SimDisk::new(1);
    let mut bench = Bench::open(disk.clone());
    let ids = (0..10).map(|seed| bench.accept(&text(seed, 6000), 1).unwrap()).collect();
    bench.shut_down();
    (disk, ids)
}

#[test]
fn a_flipped_byte_in_acknowledged_data_is_damage_and_not_a_torn_tail() {
    // Each batch has two blocks; the last is the closing one, whose loss nobody can notice.
    for batch in 0..10u64 {
        for at in [0, 40, 100, 130, 200, 5000] {
            let (disk, _) = ten_batches();
            disk.damage(1, usize::try_from(batch).unwrap() * 8192 + at);
            let error = Bench::open_with(disk, settings()).err();
            assert_eq!(error, Some(OpenError::Corrupt { segment: 1, offset: batch * 8192 }), "batch {batch} byte {at}");
        }
    }
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

#[test]
fn random_damage_is_refused_or_harmless_but_never_hands_out_altered_content() {
    let mut refused = 0;
    for seed in 0..60 {
        let mut random = StdRng::seed_from_u64(seed);
        let disk = SimDisk::new(seed);
        let mut bench = Bench::open(disk.clone());
        let mut known = BTreeMap::new();
        for round in 0..80 {
            let content = text(seed * 100 + round, random.random_range(0..20_000));
            let Ok(id) = bench.accept(&content, 1) else { break };
            if random.random_bool(0.8) {
                bench.log.settle(id, 0, delivered());
            }
            known.insert(id, content);
        }
        bench.breathe_until(|bench| bench.log.idle());
        let segments = disk.clone().segments().unwrap().len();
        for _ in 0..random.random_range(1..4) {
            let segment = random.random_range(1..=u32::try_from(segments).unwrap());
            // The heads of blocks are where headers are.
            let block = random.random_range(0..64) * 4096;
            let within = if random.random_bool(0.5) { 128 } else { 4096 };
            disk.damage(segment, block + random.random_range(0..within));
        }
        match Bench::open_with(disk.clone(), settings()) {
            Ok(mut bench) => {
                for id in bench.log.messages().map(|message| message.id).collect::<Vec<_>>() {
                    assert!(bench.content_of(id).as_ref() == known.get(&id), "seed {seed}: {id} was altered");
                }
            }
            Err(OpenError::Corrupt { .. }) => refused += 1,
            Err(error) => panic!("seed {seed}: {error}"),
        }
    }
    assert!(refused > 10, "{refused}");
}
