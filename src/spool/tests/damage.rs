//! Damage at rest: bytes that changed, blocks that cannot be read, files that are gone.

use crate::checksum::crc32c;
use std::collections::BTreeSet;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::super::format::{HEADER_SIZE, Header};
use super::*;
use crate::limits::{READ_FAILURES_DURATION, READ_FAILURES_MAX};

/// What a log holds, as far as it can be seen.
#[derive(Clone, Debug, Default, PartialEq)]
struct Seen {
    /// Whole messages with their content, states and holds.
    whole: BTreeMap<MessageId, (Vec<u8>, Vec<RecipientState>, bool)>,
    damaged: BTreeSet<MessageId>,
}

fn look(bench: &mut Bench<SimDisk>) -> Seen {
    let mut seen = Seen { damaged: bench.log.damaged().collect(), ..Seen::default() };
    let messages: Vec<_> =
        bench.log.messages().map(|message| (message.id(), message.to_message().recipients, message.held())).collect();
    for (id, recipients, held) in messages {
        match bench.content_of(id) {
            Some(content) => assert!(
                seen.damaged.contains(&id) || seen.whole.insert(id, (content, recipients, held)).is_none(),
                "each once"
            ),
            None => assert!(seen.damaged.contains(&id), "{id} cannot be read and nobody was told"),
        }
    }
    assert!(seen.damaged.iter().all(|id| bench.log.message(*id).is_some()), "damaged messages are in the queue");
    seen
}

/// A closed log of one message a batch, with outcomes, a hold and a deletion. The last batch is the closing one.
fn closed_log() -> (SimDisk, Seen) {
    let disk = SimDisk::new(1);
    let mut bench = Bench::open_with(disk.clone(), small()).unwrap();
    let deferred = |attempts| Outcome::Deferred {
        attempts,
        next_attempt_at: WallTime::from_micros(1_700_000_001_000_000),
        reply: "451 4.3.0 later".into(),
    };
    let first = bench.accept(&text(1, 500), 2).unwrap();
    // Content and records of two messages in one batch, the one around the other.
    let (outer, inner) = (bench.log.begin().unwrap(), bench.log.begin().unwrap());
    bench.give(outer, &text(2, 300));
    bench.give(inner, &text(3, 200));
    bench.log.finish(inner, envelope(1), bench.now);
    bench.give(outer, &text(4, 100));
    bench.log.finish(outer, envelope(1), bench.now);
    bench.log.settle(first, 0, delivered());
    bench.breathe_until(|bench| bench.log.idle());
    let done = bench.accept(&text(5, 150), 1).unwrap();
    bench.log.settle(first, 1, deferred(1));
    bench.log.hold(outer.id, true);
    bench.breathe_until(|bench| bench.log.idle());
    bench.log.settle(done, 0, delivered());
    bench.log.delete(inner.id);
    let last = bench.accept(&text(6, 100), 1).unwrap();
    bench.log.settle(last, 0, deferred(2));
    let seen = look(&mut bench);
    assert_eq!(seen.whole.len(), 3);
    bench.shut_down();
    (disk, seen)
}

/// The batches of the log's first segment: where each begins, and where its bytes and its blocks end.
fn batches(disk: &SimDisk) -> Vec<(usize, usize, usize)> {
    let bytes = disk.contents(1);
    let (mut found, mut at) = (Vec::new(), 0);
    while let Some((header, _)) = Header::decode(&bytes[at..]) {
        let end = at + HEADER_SIZE + header.length as usize;
        found.push((at, end, end.next_multiple_of(4096)));
        at = end.next_multiple_of(4096);
    }
    found
}

fn is_whole_batch(bytes: &[u8]) -> bool {
    Header::decode(bytes).is_some_and(|(header, _)| {
        crc32c(&bytes[HEADER_SIZE..HEADER_SIZE + header.length as usize]) == header.payload_checksum
    })
}

fn is_lost(damage: &Damage) -> bool {
    match damage.what {
        Damaged::Records { lost } => lost > 0,
        Damaged::Batches { .. } | Damaged::Segment => true,
        Damaged::Header | Damaged::Content { .. } | Damaged::Message { .. } => false,
    }
}

#[test]
fn every_flipped_byte_of_a_closed_log_is_found_and_named_and_costs_only_what_it_hit() {
    let (disk, sound) = closed_log();
    let batches = batches(&disk);
    let (closing, _, _) = *batches.last().unwrap();
    assert!(batches.len() >= 5, "{batches:?}");
    let (mut headers, mut contents, mut records) = (0, 0, 0);
    for at in 0..batches.last().unwrap().2 {
        let image = disk.crash(0);
        image.damage(1, at);
        let mut bench = Bench::open_with(image, small()).unwrap_or_else(|error| panic!("byte {at}: {error}"));
        let damages = bench.recovery.damages.clone();
        let seen = look(&mut bench);
        for (id, (content, ..)) in &seen.whole {
            let known = sound.whole.get(id).map(|(content, ..)| content);
            assert!(known.is_none_or(|known| known == content), "byte {at}: {id} was altered");
        }
        if damages.count == 0 {
            // Zeros behind a batch mean nothing. The closing batch says only that all before it was durable.
            let is_padding = batches.iter().any(|(_, end, blocks)| (*end..*blocks).contains(&at));
            assert!(is_padding || at >= closing, "byte {at} was changed, and nobody was told");
            assert_eq!(seen, sound, "byte {at}");
            continue;
        }
        let lost = damages.list.iter().filter(|damage| is_lost(damage)).count();
        let named: BTreeSet<MessageId> = (damages.list.iter())
            .filter_map(|damage| match damage.what {
                Damaged::Content { id } | Damaged::Message { id } => Some(id),
                _ => None,
            })
            .collect();
        assert!(seen.damaged.len() <= 1 && seen.damaged.is_subset(&named), "byte {at}: {damages:?}");
        let place = damages.list.iter().find(|damage| !matches!(damage.what, Damaged::Message { .. })).unwrap();
        assert_eq!(place.segment, Some(1));
        let within = (place.offset..place.offset + place.length.max(1)).contains(&(at as u64));
        assert!(within, "byte {at}: {damages:?}");
        if lost == 0 {
            let all: BTreeSet<_> = seen.whole.keys().chain(&seen.damaged).collect();
            assert_eq!(all, sound.whole.keys().collect(), "byte {at}: {damages:?}");
            assert!(seen.whole.iter().all(|(id, state)| sound.whole[id] == *state), "byte {at}");
            if seen.damaged.is_empty() { headers += 1 } else { contents += 1 }
        } else {
            assert_eq!((lost, damages.records), (1, 1), "byte {at}: one record is lost: {damages:?}");
            let missing = sound.whole.keys().filter(|id| !seen.whole.contains_key(id)).count();
            let returned = seen.whole.keys().filter(|id| !sound.whole.contains_key(id)).count();
            assert!(missing + returned <= 1, "byte {at}");
            assert!(sound.whole.keys().all(|id| seen.whole.contains_key(id) || named.contains(id)), "byte {at}");
            records += 1;
        }
    }
    assert!(headers >= 128 * (batches.len() - 1) && contents > 900 && records > 400, "{headers} {contents} {records}");
}

#[test]
fn a_damaged_log_goes_on_and_its_damage_is_found_again() {
    let (disk, _) = closed_log();
    let used = batches(&disk).last().unwrap().2;
    for at in (0..used).step_by(61) {
        let image = disk.crash(0);
        image.damage(1, at);
        let mut bench = Bench::open_with(image.clone(), small()).unwrap();
        let (before, mut seen) = (bench.recovery.damages.clone(), look(&mut bench));
        let id = bench.accept(b"after the damage", 1).unwrap();
        bench.shut_down();
        let mut bench = Bench::open_with(image, small()).unwrap();
        let after = look(&mut bench);
        let recipients = vec![RecipientState::default()];
        seen.whole.insert(id, (b"after the damage".to_vec(), recipients, false));
        assert_eq!(after, seen, "byte {at}");
        let closing = bench.recovery.damages.count > 0 && before.count == 0;
        assert!(closing || bench.recovery.damages == before, "byte {at}: {before:?} {:?}", bench.recovery.damages);
    }
}

/// Accepts messages until there are so many segments, and answers with what was accepted.
fn fill(bench: &mut Bench<SimDisk>, disk: &SimDisk, segments: usize) -> BTreeMap<MessageId, Vec<u8>> {
    let mut known = BTreeMap::new();
    for seed in 0.. {
        let content = text(seed, 5000 + 211 * (seed as usize % 17));
        known.insert(bench.accept(&content, 1).unwrap(), content);
        if bench.log.status().segments_used >= segments {
            break;
        }
    }
    assert!(disk.size() > 0);
    known
}

#[test]
fn a_missing_segment_costs_its_messages_and_no_others() {
    // So many that nothing is moved forward.
    let large = Settings { segments_max: 32, ..small() };
    for missing in 1..=4 {
        let disk = SimDisk::new(missing);
        let mut bench = Bench::open_with(disk.clone(), large.clone()).unwrap();
        let known = fill(&mut bench, &disk, 5);
        bench.shut_down();
        let mut image = disk.crash(0);
        image.remove(u32::try_from(missing).unwrap());
        let mut bench = Bench::open_with(image.clone(), large.clone()).unwrap();
        assert!(bench.recovery.damages.count > 0, "segment {missing}");
        assert!(
            (bench.recovery.damages.list.iter())
                .any(|damage| matches!(damage.what, Damaged::Batches { .. } | Damaged::Segment)),
            "{:?}",
            bench.recovery.damages
        );
        let seen = look(&mut bench);
        assert!(seen.whole.len() > known.len() / 2, "segment {missing}: {} of {}", seen.whole.len(), known.len());
        assert!(seen.whole.len() < known.len(), "segment {missing}");
        assert!(seen.whole.iter().all(|(id, (content, ..))| known[id] == *content));
        // It goes on, and the next start finds the same.
        let id = bench.accept(b"and on", 1).unwrap();
        bench.shut_down();
        assert!(image.segments().unwrap().len() >= 4);
        let mut bench = Bench::open_with(image, large.clone()).unwrap();
        let again = look(&mut bench);
        assert_eq!(again.whole.len(), seen.whole.len() + 1);
        assert!(again.whole.contains_key(&id));
        assert_eq!(again.damaged, seen.damaged);
    }
}

#[test]
fn the_end_of_a_log_that_is_lost_is_damage_and_no_torn_tail() {
    let (disk, sound) = closed_log();
    let batches = batches(&disk);
    // The closing batch knows that all was durable; everything between the first batch and it is wiped.
    let (from, to) = (batches[1].0, batches.last().unwrap().0);
    let image = disk.crash(0);
    image.wipe(1, from, to - from);
    let mut bench = Bench::open_with(image, small()).unwrap();
    assert_eq!(bench.recovery.cut, None);
    assert!(matches!(bench.recovery.damages.list[..], [Damage { what: Damaged::Batches { first: 2, .. }, .. }, ..]));
    assert_eq!(look(&mut bench).whole.len(), 1);
    assert_eq!(sound.whole.len(), 3);
}

#[test]
fn a_lost_end_is_not_written_over_and_what_was_saved_of_it_stays() {
    let disk = SimDisk::new(5);
    let mut bench = Bench::open_with(disk.clone(), small()).unwrap();
    let first = bench.accept(&text(1, 500), 1).unwrap();
    let second = bench.accept(&text(2, 500), 1).unwrap();
    let third = bench.accept(&text(3, 500), 1).unwrap();
    // The third says that the second was durable. Its header is damaged, too, but a later segment knows.
    let fourth = fill(&mut bench, &disk, 2);
    bench.shut_down();
    let image = disk.crash(0);
    let ends = batches(&image);
    for (begin, ..) in &ends[1..] {
        image.damage(1, begin + 20);
    }
    let mut bench = Bench::open_with(image.clone(), small()).unwrap();
    let seen = look(&mut bench);
    for id in [first, second, third] {
        assert!(seen.whole.contains_key(&id));
    }
    assert_eq!(seen.whole.len(), 3 + fourth.len(), "every record validates by itself");
    // Now the later segment is gone as well, but for one leftover that knows what was durable.
    let generation = bench.log.segments.current().unwrap();
    let bytes = image.contents(generation.number);
    let (header, _) = Header::decode(&bytes).unwrap();
    assert!(header.synced > 3);
    drop(bench);
    let image = disk.crash(0);
    for (begin, ..) in ends.iter().skip(1).take(ends.len() - 2) {
        image.damage(1, begin + 20);
    }
    image.remove(generation.number);
    let last = ends.last().unwrap().0;
    let mut bench = Bench::open_with(image.clone(), small()).unwrap();
    let before = look(&mut bench);
    assert!(before.whole.contains_key(&second) && before.whole.contains_key(&third), "byte {last}");
    let added = bench.accept(b"later", 1).unwrap();
    bench.shut_down();
    let mut bench = Bench::open_with(image, small()).unwrap();
    let after = look(&mut bench);
    assert!(before.whole.iter().all(|(id, state)| after.whole.get(id) == Some(state)));
    assert!(after.whole.contains_key(&added));
}

#[test]
fn a_stale_cut_tail_behind_damage_is_not_resurrected() {
    for rolls in [false, true] {
        let disk = SimDisk::new(1);
        let mut bench = Bench::open_with(disk.clone(), small()).unwrap();
        let kept = bench.accept(&text(1, 6000), 1).unwrap();
        disk.hold(true);
        let first = bench.start(&text(2, 6000), 1).unwrap();
        bench.breathe();
        let second = bench.start(&text(3, 6000), 1).unwrap();
        bench.breathe();
        // The second landed, the first did not: a tail with a whole batch in it that is cut.
        let image = crashed(&disk, |image| {
            let bytes = image.contents(1);
            bytes[8192..16384].iter().all(|byte| *byte == 0) && is_whole_batch(&bytes[16384..])
        });
        let mut bench = Bench::open_with(image.clone(), small()).unwrap();
        assert_eq!(bench.recovery.cut.map(|cut| cut.offset), Some(8192));
        // As large as the first was, so that the stale batch lies right behind it.
        let mut known = BTreeMap::from([(bench.accept(&text(2, 6000), 1).unwrap(), text(2, 6000))]);
        if rolls {
            // One that does not fit any more: the rest of the segment stays as it is.
            let content = text(9, 30_000);
            known.insert(bench.accept(&content, 1).unwrap(), content);
            let content = text(10, 30_000);
            known.insert(bench.accept(&content, 1).unwrap(), content);
        }
        bench.shut_down();
        for at in [8192 + 44, 8192 + 130, 8192 + 3000] {
            let image = image.crash(0);
            image.damage(1, at);
            let mut bench = Bench::open_with(image, small()).unwrap();
            assert!(bench.recovery.damages.count > 0, "byte {at}");
            let seen = look(&mut bench);
            assert!(seen.whole.contains_key(&kept));
            for id in [first.id, second.id] {
                assert!(!seen.whole.contains_key(&id) && !seen.damaged.contains(&id), "byte {at}: {id} came back");
            }
            assert!(known.keys().all(|id| seen.whole.contains_key(id) || seen.damaged.contains(id)), "byte {at}");
        }
    }
}

#[test]
fn blocks_that_cannot_be_read_are_damage_and_a_whole_disk_is_a_refusal() {
    let (disk, sound) = closed_log();
    let ends = batches(&disk);
    for block in 0..ends.last().unwrap().2 / 4096 {
        let image = disk.crash(0);
        image.fail_reads_at(1, block * 4096);
        let mut bench = Bench::open_with(image, small()).unwrap_or_else(|error| panic!("block {block}: {error}"));
        let closing = block * 4096 >= ends.last().unwrap().0;
        assert!(closing || bench.recovery.damages.count > 0, "block {block}");
        let seen = look(&mut bench);
        assert!(seen.whole.len() + seen.damaged.len() + 2 >= sound.whole.len(), "block {block}");
    }
    let broken = disk.crash(0);
    broken.fail_reads(Some(libc::EIO));
    let error = Bench::open_with(broken, small()).err();
    assert!(matches!(error, Some(OpenError::Disk(_))), "where nothing can be read the log stays as it is: {error:?}");
}

#[test]
fn damage_found_while_reading_takes_the_message_out_of_delivery_and_stays_when_it_moves() {
    let disk = SimDisk::new(1);
    let mut bench = Bench::open_with(disk.clone(), small()).unwrap();
    let content = text(1, 3000);
    let id = bench.accept(&content, 1).unwrap();
    bench.shut_down();
    let mut bench = Bench::open_with(disk.clone(), small()).unwrap();
    assert!(!bench.log.is_damaged(id));
    disk.damage(1, 1000);
    assert_eq!(bench.content_of(id), None);
    assert!(bench.log.is_damaged(id));
    bench.breathe();
    assert_eq!(bench.events.iter().filter(|event| **event == LogEvent::Damaged { id }).count(), 1);
    assert_eq!((bench.log.status().damaged, bench.log.status().damages.count), (1, 1));
    // Others come and go until its segment is wanted.
    let mut round = 0;
    while bench.log.status().moved == 0 {
        round += 1;
        assert!(round < 1000, "it is never moved");
        let other = bench.accept(&text(round, 8000), 1).unwrap();
        bench.log.settle(other, 0, delivered());
        bench.breathe();
    }
    bench.shut_down();
    let mut bench = Bench::open_with(disk.clone(), small()).unwrap();
    assert!(bench.log.is_damaged(id), "a copy of damaged content is damaged");
    assert_eq!(bench.content_of(id), None);
    bench.log.delete(id);
    assert!(!bench.log.is_damaged(id));
    bench.shut_down();
    let bench = Bench::open_with(disk, small()).unwrap();
    assert_eq!((bench.log.count(), bench.log.status().damaged), (0, 0));
}

#[test]
fn content_that_cannot_be_read_counts_as_damaged_after_some_failures() {
    let disk = SimDisk::new(1);
    let mut bench = Bench::open_with(disk.clone(), small()).unwrap();
    let id = bench.accept(&text(1, 3000), 1).unwrap();
    bench.shut_down();
    let mut bench = Bench::open_with(disk.clone(), small()).unwrap();
    disk.fail_reads(Some(libc::EIO));
    for _ in 1..READ_FAILURES_MAX {
        assert_eq!(bench.content_of(id), None);
        assert!(!bench.log.is_damaged(id));
    }
    assert_eq!(bench.content_of(id), None);
    assert!(!bench.log.is_damaged(id), "it may be over in a minute");
    bench.now.mono = bench.now.mono + READ_FAILURES_DURATION;
    bench.breathe();
    assert_eq!(bench.content_of(id), None);
    assert!(bench.log.is_damaged(id));
}

#[test]
fn messages_of_a_missing_segment_stay_damaged_and_do_not_keep_the_log_from_going_round() {
    let disk = SimDisk::new(7);
    let mut bench = Bench::open_with(disk.clone(), small()).unwrap();
    // Its content begins in one segment and goes on in the next.
    let content = text(1, 180_000);
    let id = bench.accept(&content, 1).unwrap();
    bench.shut_down();
    let image = disk.crash(0);
    image.remove(1);
    let mut bench = Bench::open_with(image.clone(), small()).unwrap();
    assert!(bench.recovery.damages.count > 0);
    assert!(bench.log.is_damaged(id), "{:?}", bench.recovery);
    for round in 0..400 {
        // When it is full, it has to move something first.
        bench.breathe_until(|bench| bench.log.accepts(Some(8000)).is_ok());
        let other = bench.accept(&text(round, 8000), 1).unwrap();
        bench.log.settle(other, 0, delivered());
    }
    assert!(bench.log.is_damaged(id));
    bench.shut_down();
    let mut bench = Bench::open_with(image, small()).unwrap();
    assert!(bench.log.is_damaged(id), "what was moved forward of it is damaged as before");
    assert_eq!(bench.content_of(id), None);
    assert_eq!(bench.log.count(), 1);
}

#[test]
fn a_segment_of_which_no_header_is_left_is_known_by_its_records() {
    let disk = SimDisk::new(8);
    let large = Settings { segments_max: 32, ..small() };
    let mut bench = Bench::open_with(disk.clone(), large.clone()).unwrap();
    let known = fill(&mut bench, &disk, 4);
    bench.shut_down();
    let image = disk.crash(0);
    for block in 0..16 {
        if Header::decode(&image.contents(2)[block * 4096..]).is_some() {
            image.damage(2, block * 4096 + 17);
        }
    }
    let mut bench = Bench::open_with(image, large).unwrap();
    let seen = look(&mut bench);
    assert!(seen.whole.iter().all(|(id, (content, ..))| known[id] == *content));
    assert_eq!(seen.whole.len(), known.len());
    assert!(bench.recovery.damages.count > 0);
}

#[test]
fn random_damage_never_hands_out_altered_content_and_never_keeps_a_log_closed() {
    let mut reported = 0;
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
        let mut bench = Bench::open_with(disk, settings()).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        reported += u32::from(bench.recovery.damages.count > 0);
        let seen = look(&mut bench);
        assert!(seen.whole.iter().all(|(id, (content, ..))| known[id] == *content), "seed {seed}");
    }
    assert!(reported > 10, "{reported}");
}
