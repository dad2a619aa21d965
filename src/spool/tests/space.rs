//! Space: recycling, running full and coming back.

use super::*;
use crate::limits::{CHANGES_WAITING_MAX, REMOTE_REPLY_SIZE_MAX};

#[test]
fn long_lived_messages_survive_many_rounds_of_recycling() {
    let disk = SimDisk::new(1);
    let mut bench = Bench::open(disk.clone());
    let mut old = BTreeMap::new();
    let mut written = 0;
    let mut round = 0;
    while written < 30 * 8 * 256 * 1024 {
        let content = text(round, 20_000);
        let id = bench.accept(&content, 1).expect("there is always space");
        written += content.len();
        if round % 60 == 0 && old.len() < 10 {
            old.insert(id, content);
        } else {
            bench.log.settle(id, 0, delivered());
        }
        round += 1;
    }
    assert!(bench.log.status().moved >= 50, "moved {}", bench.log.status().moved);
    assert!(disk.size() <= 8 * 256 * 1024);
    for (id, content) in &old {
        assert_eq!(&bench.content_of(*id).unwrap(), content);
    }
    bench.breathe_until(|bench| bench.log.idle());
    let mut bench = Bench::open(disk.crash(1));
    assert_eq!(bench.log.count(), old.len());
    for (id, content) in &old {
        assert_eq!(&bench.content_of(*id).unwrap(), content);
    }
}

#[test]
fn a_full_log_refuses_and_comes_back_by_itself() {
    let disk = SimDisk::new(1);
    let mut bench = Bench::open(disk.clone());
    let mut queued = Vec::new();
    for _ in 0..4 {
        let refusal = loop {
            match bench.accept(&text(queued.len() as u64, 9000), 2) {
                Ok(id) => queued.push(id),
                Err(refusal) => break refusal,
            }
        };
        assert_eq!(refusal, Refusal::Full);
        bench.breathe();
        assert!(bench.events.contains(&LogEvent::Full { shortage: Shortage::Log }));
        assert_eq!(bench.log.status().state, LogState::Full { shortage: Shortage::Log });
        assert!(queued.len() > 60, "{}", queued.len());
        // Deferrals of all that is queued still find room, again and again.
        for attempts in 0..40 {
            for id in &queued {
                for recipient in 0..2 {
                    let reply = "451 4.4.1 no answer from mx.example.org [192.0.2.1]:25, will try again".into();
                    let next_attempt_at = bench.now.wall;
                    bench.log.settle(*id, recipient, Outcome::Deferred { attempts, next_attempt_at, reply });
                }
            }
            bench.breathe_until(|bench| bench.log.idle());
        }
        bench.events.clear();
        // Most are delivered.
        for id in queued.split_off(queued.len() / 4) {
            bench.log.settle(id, 0, delivered());
            bench.log.settle(id, 1, delivered());
        }
        bench.breathe_until(|bench| bench.events.contains(&LogEvent::Space) && bench.log.idle());
        bench.events.clear();
        let bench = Bench::open(disk.crash(1));
        assert_eq!(bench.log.messages().map(|message| message.id()).collect::<Vec<_>>(), queued);
        assert!(bench.log.messages().all(|message| message.recipient(1).unwrap().attempts == 39));
    }
}

#[test]
fn a_disk_filled_by_others_refuses_and_comes_back() {
    let disk = SimDisk::new(1);
    let settings = Settings { free_bytes_min: 1_000_000, ..settings() };
    disk.set_free_bytes(20_000_000);
    let mut bench = Bench::open_with(disk.clone(), settings).unwrap();
    bench.accept(b"one", 1).unwrap();
    disk.set_free_bytes(999_999);
    bench.breathe_until(|bench| bench.log.accepts(None) == Err(Refusal::Full));
    assert!(bench.events.contains(&LogEvent::Full { shortage: Shortage::FileSystem }));
    disk.set_free_bytes(20_000_000);
    bench.breathe_until(|bench| bench.events.contains(&LogEvent::Space));
    bench.accept(b"two", 1).unwrap();
}

#[test]
fn a_segment_that_cannot_be_made_is_no_failure_of_the_log() {
    let disk = SimDisk::new(1);
    let mut bench = Bench::open(disk.clone());
    disk.fail_prepares(Some(libc::ENOSPC));
    disk.set_free_bytes(0);
    let mut queued = Vec::new();
    while let Ok(id) = bench.accept(&text(queued.len() as u64, 9000), 1) {
        queued.push(id);
    }
    assert_eq!(bench.log.accepts(None), Err(Refusal::Full));
    disk.fail_prepares(None);
    disk.set_free_bytes(u64::MAX);
    bench.breathe_until(|bench| bench.log.accepts(None).is_ok());
    bench.accept(b"again", 1).unwrap();
}

#[test]
fn a_log_that_is_behind_says_so_until_its_disk_goes_on() {
    let disk = SimDisk::new(1);
    let mut bench = Bench::open(disk.clone());
    let id = bench.accept(b"one", 1).unwrap();
    bench.breathe_until(|bench| bench.log.idle());
    disk.hold(true);
    let mut changes = 0;
    while bench.log.may_give_out() {
        bench.log.hold(id, changes % 2 == 0);
        bench.breathe();
        changes += 1;
        assert!(changes < 10 * CHANGES_WAITING_MAX, "they wait somewhere without a limit");
    }
    disk.hold(false);
    bench.breathe_until(|bench| bench.log.idle());
    assert!(bench.log.may_give_out());
    assert_eq!(Bench::open(disk.crash(1)).log.message(id).map(|message| message.held()), Some(changes % 2 == 1));
}

/// Jobs are in hand while all that may use the log's room does: new messages, notices, operators, moving. Their outcomes come one
/// by one, each in a batch of its own and with the longest reply, and every one is durable before the next.
#[test]
fn outcomes_of_what_is_being_delivered_never_wait_for_room() {
    for seed in 0..20 {
        let disk = SimDisk::new(seed);
        let mut bench = Bench::open(disk.clone());
        let mut queued = Vec::new();
        let (mut in_hand, mut owed) = (Vec::new(), 0);
        for round in 0..60 {
            while let Ok(id) = bench.accept(&text(round, 3000 + 500 * seed as usize), 3) {
                queued.push(id);
            }
            let mut given = queued.iter().filter(|id| !in_hand.contains(*id)).copied().collect::<Vec<_>>().into_iter();
            while bench.log.may_give_out()
                && let Some(id) = given.next()
            {
                in_hand.push(id);
                owed += u64::from(attempt_size_max(3) + outcomes_size_max(3));
                bench.log.owe(owed);
            }
            assert!(!in_hand.is_empty(), "seed {seed}, round {round}: nothing can be given out");
            for id in queued.iter().take(5) {
                bench.log.hold(*id, round % 2 == 0);
            }
            while let Ok(notice) = bench.log.begin_own(9000) {
                bench.give(notice, &text(round, 9000));
                bench.log.finish(notice, envelope(1), bench.now);
                queued.push(notice.id);
                bench.breathe();
            }
            bench.breathe();
            let done = in_hand.len().div_ceil(2);
            for (place, id) in in_hand.drain(..done).enumerate() {
                assert!(bench.log.attempt(id, &[0, 1, 2], 0));
                bench.breathe();
                assert_eq!(bench.log.backlog.len(), 0, "seed {seed}, round {round}: an attempt waits");
                let reply: Box<str> = "x".repeat(REMOTE_REPLY_SIZE_MAX).into();
                for recipient in 0..3 {
                    let outcome = match (round + place as u64) % 4 {
                        0 => Outcome::Delivered { reply: reply.clone() },
                        _ => Outcome::Deferred { attempts: 1, next_attempt_at: bench.now.wall, reply: reply.clone() },
                    };
                    bench.log.settle(id, recipient, outcome);
                }
                bench.breathe();
                bench.breathe();
                assert_eq!(bench.log.backlog.len(), 0, "seed {seed}, round {round}: an outcome waits");
                owed -= u64::from(attempt_size_max(3) + outcomes_size_max(3));
                bench.log.owe(owed);
            }
            bench.events.clear();
            queued.retain(|id| bench.log.message(*id).is_some());
        }
        let before: Vec<_> = bench.log.messages().map(|message| message.to_message().recipients).collect();
        let after = Bench::open(disk.crash(seed));
        assert_eq!(after.log.messages().map(|message| message.to_message().recipients).collect::<Vec<_>>(), before);
    }
}

#[test]
fn a_session_that_drips_does_not_hold_the_log_for_ever() {
    let mut bench = Bench::open(SimDisk::new(1));
    let slow = bench.log.begin().unwrap();
    bench.give(slow, &text(1, 5000));
    for round in 0..3000 {
        bench.breathe_until(|bench| bench.log.accepts(None).is_ok());
        let id = bench.accept(&text(round, 9000), 1).unwrap();
        bench.log.settle(id, 0, delivered());
    }
    bench.give(slow, &text(2, 5000));
    bench.log.finish(slow, envelope(1), bench.now);
    bench.breathe_until(|bench| bench.events.contains(&LogEvent::Failed { draft: slow }));
}

#[test]
fn damage_is_carried_along_and_not_laundered_by_moving() {
    let disk = SimDisk::new(1);
    let mut bench = Bench::open(disk.clone());
    let content = vec![b'x'; 30_000];
    let id = bench.accept(&content, 1).unwrap();
    bench.shut_down();
    let mut bench = Bench::open(disk.clone());
    let at = disk.contents(1).windows(100).position(|bytes| bytes == [b'x'; 100]).unwrap();
    disk.damage(1, at + 20_000);
    let mut round = 0;
    while bench.log.status().moved == 0 {
        let other = bench.accept(&text(round, 9000), 1).unwrap();
        bench.log.settle(other, 0, delivered());
        round += 1;
        assert!(round < 1000, "it is never moved");
    }
    assert!(bench.content_of(id).is_none());
    assert!(bench.log.message(id).is_some());
}

#[test]
fn a_reader_goes_on_when_its_message_is_moved() {
    let disk = SimDisk::new(1);
    let mut bench = Bench::open(disk.clone());
    let content = text(1, 60_000);
    let id = bench.accept(&content, 1).unwrap();
    let mut reader = bench.log.reader(id).unwrap();
    let Piece::Ready(bytes) = bench.log.read(&mut reader) else { panic!("it is in memory") };
    assert_eq!(bytes, &content[..bytes.len()]);
    reader.consume(1000);
    let mut round = 0;
    while bench.log.status().moved < 3 {
        let other = bench.accept(&text(round, 9000), 1).unwrap();
        bench.log.settle(other, 0, delivered());
        round += 1;
        assert!(round < 2000, "it is not moved");
    }
    let Piece::Ready(bytes) = bench.log.read(&mut reader) else { panic!("the copy is in memory") };
    assert_eq!(bytes, &content[1000..1000 + bytes.len()]);
    bench.log.close_reader(reader);
}

#[test]
fn a_log_that_cannot_have_another_segment_still_takes_every_outcome_and_comes_back() {
    for errno in [libc::ENOSPC, libc::EDQUOT, libc::EMFILE, libc::ENFILE] {
        for accepted in (0..120).step_by(7) {
            let disk = SimDisk::new(accepted);
            let mut bench = Bench::open(disk.clone());
            let mut queued: Vec<MessageId> =
                (0..accepted).map_while(|seed| bench.accept(&text(seed, 9000), 2).ok()).collect();
            // The file system goes on to say that it has space.
            disk.fail_prepares(Some(errno));
            while let Ok(id) = bench.accept(&text(7, 9000), 2) {
                queued.push(id);
            }
            bench.breathe_until(|bench| bench.log.accepts(None) == Err(Refusal::Full));
            let LogState::Full { shortage } = bench.log.status().state else { panic!("it is full") };
            let named = matches!(&shortage, Shortage::Segment(error) if error.errno == errno);
            assert!(named || shortage == Shortage::Log, "{shortage}");
            for attempts in 1..4 {
                for (id, recipient) in queued.iter().flat_map(|id| [(*id, 0), (*id, 1)]) {
                    let (reply, next_attempt_at) = ("451 4.4.1 no answer, will try again".into(), bench.now.wall);
                    bench.log.settle(id, recipient, Outcome::Deferred { attempts, next_attempt_at, reply });
                }
                bench.breathe_until(|bench| bench.log.idle());
            }
            assert!(!bench.log.failed());
            let mut again = Bench::open(disk.crash(accepted));
            assert_eq!(again.log.messages().map(|message| message.id()).collect::<Vec<_>>(), queued);
            assert!(again.log.messages().all(|message| message.recipient(1).unwrap().attempts == 3));
            assert!(queued.is_empty() || again.content_of(queued[0]).is_some());
            disk.fail_prepares(None);
            if shortage == Shortage::Log {
                queued.iter().for_each(|id| bench.log.delete(*id));
            }
            bench.breathe_until(|bench| bench.log.accepts(None).is_ok());
            bench.accept(b"again", 1).unwrap();
        }
    }
}

#[test]
fn a_queue_that_has_its_memory_refuses_and_comes_back() {
    let settings = Settings { segment_size: 1 << 20, segments_max: 64, memory_max: 100_000, ..settings() };
    let mut bench = Bench::open_with(SimDisk::new(1), settings.clone()).unwrap();
    let mut queued = Vec::new();
    while let Ok(id) = bench.accept(b"small", 1) {
        queued.push(id);
    }
    bench.breathe();
    assert_eq!(bench.log.accepts(None), Err(Refusal::Full));
    assert!(bench.events.contains(&LogEvent::Full { shortage: Shortage::Memory }));
    let status = bench.log.status();
    assert_eq!(status.state, LogState::Full { shortage: Shortage::Memory });
    assert!((100_000..101_000).contains(&status.memory), "{}", status.memory);
    assert!(status.memory / (queued.len() as u64) < 300, "{queued:?}");
    // A notice of our own lets others go, and is taken.
    let notice = bench.log.begin_own(8).unwrap();
    bench.give(notice, b"a notice");
    bench.log.finish(notice, envelope(1), bench.now);
    bench.breathe_until(|bench| bench.events.contains(&LogEvent::Durable { draft: notice }));
    // A few deliveries more than one end it, so that it does not flap.
    for id in queued.drain(..20) {
        bench.log.settle(id, 0, delivered());
    }
    bench.breathe_until(|bench| bench.events.contains(&LogEvent::Space));
    queued.push(bench.accept(b"small", 1).unwrap());
    bench.events.clear();
    // A start with more than the limit keeps all that there is.
    let memory = bench.log.status().memory;
    let disk = bench.log.disk.crash(1);
    let mut bench = Bench::open_with(disk, Settings { memory_max: memory / 2, ..settings }).unwrap();
    assert_eq!(bench.log.count(), queued.len() + 1);
    assert_eq!(bench.log.status().memory, memory);
    bench.breathe();
    assert_eq!(bench.log.accepts(None), Err(Refusal::Full));
}

#[test]
fn a_disk_that_stalls_for_half_a_minute_costs_time_and_nothing_else() {
    let disk = SimDisk::new(1);
    let mut bench = Bench::open(disk.clone());
    disk.set_latency(100_000..=200_000);
    let advance = |bench: &mut Bench<SimDisk>| {
        bench.breathe();
        disk.advance(bench.now.mono);
    };
    advance(&mut bench);
    let stalled_until = bench.now.mono + std::time::Duration::from_secs(30);
    disk.stall(stalled_until);
    let mut given: BTreeMap<MessageId, Draft> = BTreeMap::new();
    let (mut started, mut taken) = (bench.log.begin().unwrap(), 0);
    let content = text(1, 5000);
    while bench.now.mono < stalled_until {
        advance(&mut bench);
        assert!(bench.events.iter().all(|event| matches!(event, LogEvent::Room { .. })), "{:?}", bench.events);
        // Twenty clients' worth, each of whom sends on as soon as there is room.
        let count = bench.log.content(started, &content[taken % 5000..]);
        taken += count;
        if count > 0 && taken.is_multiple_of(5000) {
            bench.log.finish(started, envelope(1), bench.now);
            given.insert(started.id, started);
            started = bench.log.begin().unwrap();
        }
    }
    let limit = settings().batch_size_max * (settings().batches_in_flight_max + 1);
    assert!(taken <= limit, "{taken} bytes are in memory, {limit} may be");
    assert!(given.len() > 20);
    for _ in 0..1000 {
        advance(&mut bench);
    }
    let durable = |event: &LogEvent| matches!(event, LogEvent::Durable { draft } if given.contains_key(&draft.id));
    assert_eq!(bench.events.iter().filter(|event| durable(event)).count(), given.len());
    assert!(bench.events.contains(&LogEvent::Room { draft: started }));
    assert_eq!(bench.log.accepts(None), Ok(()));
    assert_eq!(bench.log.count(), given.len());
}

#[test]
fn a_full_log_that_nobody_touches_comes_to_rest() {
    for accepted in (0..120).step_by(7) {
        let disk = SimDisk::new(1);
        let mut bench = Bench::open(disk.clone());
        (0..accepted).map_while(|seed| bench.accept(&text(seed, 9000), 2).ok()).for_each(drop);
        disk.fail_prepares(Some(libc::EMFILE));
        while bench.accept(&text(7, 9000), 2).is_ok() {}
        for _ in 0..20_000 {
            bench.breathe();
        }
        let (moved, writes) = (bench.log.status().moved, disk.writes());
        for _ in 0..20_000 {
            bench.breathe();
        }
        assert_eq!(bench.log.status().moved, moved, "after {accepted}: it moves for ever what cannot lie closer");
        assert_eq!(disk.writes(), writes);
    }
}
