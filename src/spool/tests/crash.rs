//! What is torn, stale, damaged or another log's is known for what it is.

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
fn a_torn_tail_is_cut_and_reported() {
    let disk = SimDisk::new(1);
    let mut bench = Bench::open(disk.clone());
    let kept = bench.accept(&text(1, 6000), 1).unwrap();
    disk.hold(true);
    let lost = bench.start(&text(2, 6000), 1).unwrap();
    bench.breathe();
    let image = crashed(&disk, |image| {
        let bytes = image.contents(1);
        // Its header landed, its last sector did not.
        bytes[8192..8200] != [0; 8] && bytes[16384 - 2048 - 512..16384 - 2048].iter().all(|byte| *byte == 0)
    });
    let bench = Bench::open(image.clone());
    assert_eq!(bench.recovery.cut, Some(Cut { segment: 1, offset: 8192, batches: 1 }));
    assert!(bench.log.message(kept).is_some());
    assert!(bench.log.message(lost.id).is_none());
}

#[test]
fn a_stale_batch_behind_a_cut_never_joins_the_chain() {
    let disk = SimDisk::new(1);
    let mut bench = Bench::open_with(disk.clone(), eager()).unwrap();
    bench.accept(&text(1, 6000), 1).unwrap();
    disk.hold(true);
    let first = bench.start(&text(2, 6000), 1).unwrap();
    bench.breathe();
    let second = bench.start(&text(3, 6000), 1).unwrap();
    bench.breathe();
    // The second landed, the first did not.
    let image = crashed(&disk, |image| {
        let bytes = image.contents(1);
        bytes[8192..16384].iter().all(|byte| *byte == 0) && bytes[16384..16392] != [0; 8]
    });
    let mut bench = Bench::open_with(image.clone(), eager()).unwrap();
    assert_eq!(bench.recovery.cut.map(|cut| cut.offset), Some(8192));
    // The same size again: the stale batch lies right behind it.
    bench.accept(&text(2, 6000), 1).unwrap();
    let bench = Bench::open_with(image.crash(9), eager()).unwrap();
    assert_eq!(bench.log.count(), 2);
    assert!(bench.log.message(first.id).is_none());
    assert!(bench.log.message(second.id).is_none());
}

#[test]
fn a_torn_batch_behind_a_full_segment_never_joins_the_chain_of_a_copy_that_leads() {
    let disk = SimDisk::new(1);
    let mut bench = Bench::open_with(disk.clone(), small()).unwrap();
    for seed in 0..16 {
        bench.accept(&text(seed, 6000), 1).unwrap();
    }
    assert_eq!(bench.log.segments.offset, small().segment_size);
    disk.hold(true);
    bench.start(&text(16, 6000), 1).unwrap();
    bench.breathe();
    // Its header landed, its last sector did not.
    let image = crashed(&disk, |image| {
        let bytes = image.contents(2);
        bytes.len() > 8192 && bytes[..8] != [0; 8] && bytes[6144 - 512..6144].iter().all(|byte| *byte == 0)
    });
    let (log, recovery) = Log::open_replica(image.clone(), small(), bench.now).unwrap();
    assert_eq!(recovery.cut.map(|cut| cut.batches), Some(1));
    let mut bench = Bench { log, recovery, now: bench.now, events: Vec::new() };
    bench.log.lead(1, Copies::Own, bench.now);
    // Whatever file is written next: what stands where the torn batch does is of the opening before.
    let opening = bench.log.opening;
    assert_eq!((opening.generation, opening.offset), (1, 128 * 1024));
    bench.accept(&text(17, 6000), 1).unwrap();
    let bench = Bench::open_with(image.crash(9), small()).unwrap();
    assert_eq!((bench.recovery.damages.count, bench.log.count()), (0, 17));
}

#[test]
fn a_segment_that_is_being_made_while_a_copy_is_read_anew_has_one_use() {
    let disk = SimDisk::new(1);
    let mut bench = Bench::open_with(disk.clone(), small()).unwrap();
    let mut seeds = 0..100;
    while bench.log.segments.preparing.is_none() {
        bench.accept(&text(seeds.next().expect("it rolls before"), 6000), 1).unwrap();
    }
    let last = bench.log.last_point();
    disk.set_eagerness(1);
    let (mut log, _) = bench.log.rewind(last, bench.now).unwrap();
    for eagerness in [0, 10, 10] {
        disk.set_eagerness(eagerness);
        log.poll(bench.now, &mut Vec::new());
    }
    assert!(log.segments.each_once());
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
