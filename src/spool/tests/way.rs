//! A message's way through the log.

use super::*;
use crate::limits::OUTCOME_DELAY;

#[test]
fn a_durable_message_is_read_back_byte_for_byte() {
    let mut bench = Bench::open(SimDisk::new(1));
    assert!(bench.recovery.created);
    let content = text(1, 200_000);
    let id = bench.accept(&content, 2).unwrap();
    assert_eq!(bench.content_of(id).unwrap(), content);
    let message = bench.log.message(id).unwrap();
    assert_eq!(message.size(), 200_000);
    assert_eq!(message.recipients_count(), 2);
    assert_eq!(*message.to_message().envelope, envelope(2));
}

#[test]
fn it_is_still_there_after_a_restart_with_the_states_of_its_recipients() {
    let disk = SimDisk::new(1);
    let mut bench = Bench::open(disk.clone());
    let content = text(2, 10_000);
    let id = bench.accept(&content, 3).unwrap();
    let next_attempt_at = WallTime::from_micros(77);
    bench.log.settle(id, 0, delivered());
    bench.log.settle(id, 1, Outcome::Deferred { attempts: 2, next_attempt_at, reply: "451 later".into() });
    bench.log.hold(id, true);
    let before = format!("{:?}", bench.log.message(id).unwrap());
    bench.shut_down();

    let mut bench = Bench::open(disk);
    assert!(bench.recovery.clean);
    assert_eq!(bench.recovery.cut, None);
    assert_eq!(format!("{:?}", bench.log.message(id).unwrap()), before);
    assert_eq!(bench.log.message(id).unwrap().recipient(1).unwrap().next_attempt_at, next_attempt_at);
    assert_eq!(bench.content_of(id).unwrap(), content);
}

#[test]
fn a_priority_outlives_a_restart_and_a_signature() {
    let disk = SimDisk::new(1);
    let mut bench = Bench::open(disk.clone());
    let mut accept = |number: i8| {
        let draft = bench.log.begin().unwrap();
        bench.log.to_be_signed(draft);
        bench.give(draft, &text(1, 6000));
        let priority = Priority::try_from(number).unwrap();
        bench.log.finish(draft, Envelope { priority, ..envelope(1) }, bench.now);
        bench.breathe_until(|bench| bench.events.contains(&LogEvent::Durable { draft }));
        (draft.id, priority)
    };
    let accepted: Vec<(MessageId, Priority)> = (-9..=9).map(&mut accept).collect();
    let (signed, _) = accepted[3];
    assert!(bench.log.sign(signed, b"DKIM-Signature: v=1; b=abc\r\n"));
    bench.breathe_until(|bench| bench.events.contains(&LogEvent::Signed { id: signed }));
    let kept =
        |log: &Log<SimDisk>| accepted.iter().all(|(id, priority)| log.message(*id).unwrap().priority() == *priority);
    assert!(kept(&bench.log));
    bench.breathe_until(|bench| bench.log.idle());
    assert!(kept(&Bench::open(disk.crash(1)).log));
}

#[test]
fn a_message_without_open_recipients_leaves_the_queue_for_good() {
    let disk = SimDisk::new(1);
    let mut bench = Bench::open(disk.clone());
    let settled = bench.accept(&text(1, 5000), 2).unwrap();
    let deleted = bench.accept(&text(2, 5000), 2).unwrap();
    let kept = bench.accept(&text(3, 5000), 2).unwrap();
    bench.log.settle(settled, 0, delivered());
    bench.log.settle(settled, 1, Outcome::Bounced { reply: "550 5.1.1 no".into() });
    bench.log.delete(deleted);
    assert_eq!(bench.log.count(), 1);
    bench.shut_down();
    let bench = Bench::open(disk);
    assert_eq!(bench.log.messages().map(|message| message.id()).collect::<Vec<_>>(), [kept]);
}

#[test]
fn queue_ids_are_not_given_twice_even_after_a_crash() {
    let disk = SimDisk::new(1);
    let mut bench = Bench::open(disk.clone());
    let first = bench.accept(b"one", 1).unwrap();
    let lost = bench.log.begin().unwrap();
    let mut bench = Bench::open(disk.crash(1));
    let next = bench.accept(b"two", 1).unwrap();
    assert!(next > lost.id);
    assert!(next > first);
}

#[test]
fn a_message_being_read_stays_readable_when_it_is_settled() {
    let mut bench = Bench::open(SimDisk::new(1));
    let content = text(5, 70_000);
    let id = bench.accept(&content, 1).unwrap();
    let mut reader = bench.log.reader(id).unwrap();
    bench.log.settle(id, 0, delivered());
    assert!(bench.log.message(id).is_none());
    assert!(bench.log.reader(id).is_none());
    assert!(matches!(bench.log.read(&mut reader), Piece::Ready(bytes) if bytes[..] == content[..bytes.len()]));
    bench.log.close_reader(reader);
}

#[test]
fn several_batches_in_flight_are_acknowledged_in_order() {
    let disk = SimDisk::new(7);
    let mut bench = Bench::open_with(disk.clone(), eager()).unwrap();
    bench.accept(b"first", 1).unwrap();
    for round in 0..50 {
        disk.set_eagerness(3);
        let mut expected = Vec::new();
        for place in 0..12 {
            expected.push(bench.start(&text(round * 100 + place, 3000), 1).unwrap());
            bench.breathe();
        }
        bench.breathe_until(|bench| bench.log.idle());
        let durable = bench.durable();
        assert_eq!(durable, expected);
        for draft in durable {
            bench.log.delete(draft.id);
        }
    }
    assert!(bench.log.status().commit_latency.len() > 100);
}

#[test]
fn what_is_small_waits_for_the_write_under_way_and_what_is_large_does_not() {
    let disk = SimDisk::new(7);
    let mut bench = Bench::open(disk.clone());
    disk.hold(true);
    let writes = |bench: &Bench<SimDisk>| bench.log.in_flight.len();
    let first = bench.start(&text(1, 3000), 1).unwrap();
    bench.breathe();
    assert_eq!(writes(&bench), 1, "nothing else is written");
    let mut others: Vec<_> = (2..5).map(|seed| bench.start(&text(seed, 3000), 1).unwrap()).collect();
    bench.breathe();
    assert_eq!(writes(&bench), 1);
    others.push(bench.start(&text(5, 2 * settings().batch_size_max / BATCH_PART_APART), 1).unwrap());
    bench.breathe();
    assert_eq!(writes(&bench), 2, "all four together are large enough");
    let last = bench.start(&text(6, 3000), 1).unwrap();
    bench.breathe();
    assert_eq!(writes(&bench), 2);
    disk.hold(false);
    bench.breathe_until(|bench| bench.log.idle());
    assert_eq!(bench.durable(), [&[first][..], &others, &[last]].concat());
}

#[test]
fn a_large_message_needs_little_memory() {
    let mut settings = settings();
    settings.segment_size = 4 << 20;
    settings.segments_max = 32;
    let mut bench = Bench::open_with(SimDisk::new(1), settings).unwrap();
    let draft = bench.log.begin().unwrap();
    let piece = text(9, 100_000);
    let mut pushed_back = 0;
    for _ in 0..500 {
        let mut given = 0;
        while given < piece.len() {
            given += bench.log.content(draft, &piece[given..]);
            if given < piece.len() {
                pushed_back += 1;
                bench.breathe();
            }
        }
    }
    assert!(pushed_back > 100, "content waits for the disk instead of piling up");
    bench.log.finish(draft, envelope(1), bench.now);
    bench.breathe_until(|bench| bench.events.contains(&LogEvent::Durable { draft }));
    let content = bench.content_of(draft.id).unwrap();
    assert_eq!(content.len(), 50_000_000);
    assert!(content.chunks(100_000).all(|chunk| chunk == piece));
}

#[test]
fn an_envelope_larger_than_a_batch_is_kept() {
    let mut settings = settings();
    (settings.segment_size, settings.batch_size_max) = (1 << 20, 16 * 1024);
    let disk = SimDisk::new(1);
    let mut bench = Bench::open_with(disk.clone(), settings.clone()).unwrap();
    bench.accept(&text(1, 3000), 1).unwrap();
    let id = bench.accept(&text(4, 9000), 1000).unwrap();
    let mut bench = Bench::open_with(disk.crash(0), settings).unwrap();
    assert_eq!(bench.log.message(id).unwrap().recipients_count(), 1000);
    assert_eq!(bench.content_of(id).unwrap(), text(4, 9000));
}

#[test]
fn content_of_many_sessions_may_interleave() {
    let disk = SimDisk::new(1);
    let mut bench = Bench::open(disk.clone());
    let drafts: Vec<Draft> = (0..20).map(|_| bench.log.begin().unwrap()).collect();
    for piece in 0..5 {
        for (place, draft) in drafts.iter().enumerate() {
            bench.give(*draft, &text(place as u64 * 10 + piece, 1500));
        }
    }
    bench.log.abort(drafts[3]);
    for draft in &drafts {
        bench.log.finish(*draft, envelope(1), bench.now);
    }
    bench.breathe_until(|bench| bench.log.idle());
    let mut bench = Bench::open(disk.crash(1));
    assert_eq!(bench.log.count(), 19);
    for (place, draft) in drafts.iter().enumerate().filter(|(place, _)| *place != 3) {
        let expected: Vec<u8> = (0..5).flat_map(|piece| text(place as u64 * 10 + piece, 1500)).collect();
        assert_eq!(bench.content_of(draft.id).unwrap(), expected);
    }
}

#[test]
fn a_failed_write_closes_the_log_and_is_never_tried_again() {
    let disk = SimDisk::new(1);
    let mut bench = Bench::open(disk.clone());
    let kept = bench.accept(b"kept", 1).unwrap();
    disk.fail_writes(Some(libc::EIO));
    let unfinished = bench.log.begin().unwrap();
    assert_eq!(bench.accept(b"lost", 1), Err(Refusal::Failed));
    let closed = bench.events.iter().filter(|event| matches!(event, LogEvent::Closed { .. })).count();
    assert_eq!(closed, 1);
    assert_eq!(bench.log.begin(), Err(Refusal::Failed));
    assert_eq!(bench.log.accepts(None), Err(Refusal::Failed));
    assert!(matches!(bench.log.status().state, LogState::Failed { .. }));
    bench.log.finish(unfinished, envelope(1), bench.now);
    bench.breathe();
    assert!(bench.events.contains(&LogEvent::Failed { draft: unfinished }));

    disk.fail_writes(None);
    let writes = disk.writes();
    bench.log.settle(kept, 0, delivered());
    for _ in 0..1000 {
        bench.breathe();
    }
    assert_eq!(disk.writes(), writes, "nothing is written to a failed log");
    assert_eq!(bench.events.iter().filter(|event| matches!(event, LogEvent::Closed { .. })).count(), 1);
    let bench = Bench::open(disk.crash(1));
    assert!(bench.log.message(kept).is_some());
}

#[test]
fn damage_on_the_way_back_is_noticed_before_a_byte_is_handed_out() {
    let disk = SimDisk::new(1);
    let mut bench = Bench::open(disk.clone());
    let id = bench.accept(&vec![b'x'; 30_000], 1).unwrap();
    bench.shut_down();
    let mut bench = Bench::open(disk.clone());
    assert_eq!(bench.content_of(id).unwrap().len(), 30_000);
    let at = disk.contents(1).windows(100).position(|bytes| bytes == [b'x'; 100]).unwrap();
    disk.damage(1, at + 20_000);
    assert!(bench.content_of(id).is_none());
    disk.fail_reads(Some(libc::EIO));
    assert!(bench.content_of(id).is_none());
}

#[test]
fn an_outcome_joins_the_batch_of_the_next_message_and_does_not_wait_long_for_one() {
    let disk = SimDisk::new(1);
    let mut bench = Bench::open(disk.clone());
    let first = bench.accept(&text(1, 5000), 1).unwrap();
    let batches = bench.log.status().batches;
    bench.log.settle(first, 0, delivered());
    bench.log.poll(bench.now, &mut bench.events);
    assert_eq!(bench.log.next_deadline(), Some(bench.now.mono + OUTCOME_DELAY));
    assert!(!bench.log.idle());
    let second = bench.accept(&text(2, 5000), 1).unwrap();
    assert_eq!(bench.log.status().batches, batches + 1);
    assert_eq!(Bench::open(disk.crash(1)).log.count(), 1);

    bench.log.settle(second, 0, delivered());
    let settled_at = bench.now.mono;
    bench.breathe_until(|bench| bench.log.idle());
    assert_eq!(bench.log.status().batches, batches + 2);
    assert!(bench.now.mono.since(settled_at) < 10 * OUTCOME_DELAY);
    assert_eq!(Bench::open(disk.crash(2)).log.count(), 0);
}

#[test]
fn an_idle_log_seals_one_closing_batch() {
    let disk = SimDisk::new(1);
    let mut bench = Bench::open(disk.clone());
    bench.accept(b"one", 1).unwrap();
    assert_eq!(disk.writes(), 1);
    assert!(bench.log.next_deadline().is_some());
    for _ in 0..500 {
        bench.breathe();
    }
    assert_eq!(disk.writes(), 2);
    assert_eq!(bench.log.next_deadline(), None);
}
