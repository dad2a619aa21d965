//! Attempts: what is known of deliveries that were begun, by whoever reads the log next.

use super::*;
use crate::limits::{BLOCK_SIZE, IN_DOUBT_DELAY, RECIPIENTS_PER_TRANSACTION_MAX, REMOTE_REPLY_SIZE_MAX};

fn deferred(bench: &Bench<SimDisk>) -> Outcome {
    Outcome::Deferred { attempts: 1, next_attempt_at: bench.now.wall, reply: "451 later".into() }
}

/// Begins an attempt and waits until it may come to its end.
fn attempt(bench: &mut Bench<SimDisk>, id: MessageId, recipients: &[u32]) {
    assert!(bench.log.attempt(id, recipients, 7));
    assert!(!bench.events.contains(&LogEvent::Attempted { name: 7 }), "nothing is durable yet");
    bench.breathe_until(|bench| bench.events.contains(&LogEvent::Attempted { name: 7 }));
    bench.events.clear();
}

#[test]
fn an_attempt_without_an_outcome_is_in_doubt_after_a_crash() {
    let disk = SimDisk::new(1);
    let mut bench = Bench::open(disk.clone());
    let id = bench.accept(&text(1, 6000), 5).unwrap();
    let other = bench.accept(&text(2, 6000), 1).unwrap();
    attempt(&mut bench, id, &[0, 1, 3, 4]);
    bench.log.settle(id, 0, delivered());
    bench.log.settle(id, 1, deferred(&bench));
    bench.breathe_until(|bench| bench.log.idle());

    let image = disk.crash(1);
    let mut bench = Bench::open(image.clone());
    let at = bench.now.wall + IN_DOUBT_DELAY;
    assert_eq!(bench.log.in_doubt(bench.now), [(id, 3), (id, 4)]);
    let states = bench.log.message(id).unwrap().to_message().recipients;
    assert_eq!(states.iter().map(|state| state.unsettled).collect::<Vec<_>>(), [false, false, false, true, true]);
    let due: Vec<bool> = states.iter().map(|state| state.next_attempt_at >= at).collect();
    assert_eq!(due, [false, false, false, true, true], "they wait, and nobody else does");
    assert!(!bench.log.message(other).unwrap().to_message().recipients[0].unsettled);

    // Whatever comes of it ends the doubt; who was left out is in no doubt but after a crash.
    assert!(bench.log.attempt(other, &[0], 8));
    assert_eq!(bench.log.in_doubt(bench.now).len(), 3);
    bench.log.spared(other, 0);
    assert_eq!(bench.log.in_doubt(bench.now).len(), 2);
    bench.log.settle(other, 0, delivered());
    bench.log.settle(id, 3, deferred(&bench));
    bench.log.settle(id, 4, delivered());
    bench.breathe_until(|bench| bench.log.idle());
    assert_eq!(bench.log.in_doubt(bench.now), []);
    assert_eq!(Bench::open(image.crash(1)).log.in_doubt(bench.now), []);
}

#[test]
fn what_was_not_durable_is_not_in_doubt() {
    let disk = SimDisk::new(1);
    let mut bench = Bench::open(disk.clone());
    let id = bench.accept(&text(1, 6000), 1).unwrap();
    disk.hold(true);
    assert!(bench.log.attempt(id, &[0], 7));
    for _ in 0..100 {
        bench.breathe();
    }
    assert!(!bench.events.contains(&LogEvent::Attempted { name: 7 }));
    crashed(&disk, |image| Bench::open(image.clone()).log.in_doubt(bench.now).is_empty());
    disk.hold(false);
    bench.breathe_until(|bench| bench.events.contains(&LogEvent::Attempted { name: 7 }));
    for seed in 0..10 {
        assert_eq!(Bench::open(disk.crash(seed)).log.in_doubt(bench.now), [(id, 0)]);
    }
}

#[test]
fn nobody_attempts_what_is_not_there() {
    let mut bench = Bench::open(SimDisk::new(1));
    let id = bench.accept(&text(1, 600), 2).unwrap();
    assert!(!bench.log.attempt(id, &[2, u32::MAX], 1), "no such recipients");
    assert!(!bench.log.attempt(MessageId::new(3, 99), &[0], 2));
    bench.log.settle(id, 0, delivered());
    assert!(!bench.log.attempt(id, &[0], 3), "it is delivered");
    assert!(bench.log.attempt(id, &[0, 1], 4));
    bench.log.delete(id);
    assert!(!bench.log.attempt(id, &[1], 5));
    bench.breathe_until(|bench| bench.log.idle());
    assert_eq!(bench.log.in_doubt(bench.now), []);
    assert!(bench.events.contains(&LogEvent::Attempted { name: 4 }), "it was recorded, for what it is worth");
}

#[test]
fn a_message_that_is_moved_keeps_its_attempt() {
    let disk = SimDisk::new(1);
    let mut bench = Bench::open(disk.clone());
    let id = bench.accept(&text(1, 20_000), 2).unwrap();
    attempt(&mut bench, id, &[1]);
    let mut round = 0;
    while bench.log.status().moved < 3 {
        let other = bench.accept(&text(round, 20_000), 1).expect("there is always space");
        if !round.is_multiple_of(60) {
            bench.log.settle(other, 0, delivered());
        }
        round += 1;
        assert!(round < 10_000, "it is never moved");
    }
    assert!(bench.log.message(id).unwrap().to_message().recipients[1].unsettled);
    bench.breathe_until(|bench| bench.log.idle());
    let mut bench = Bench::open(disk.crash(1));
    assert_eq!(bench.log.in_doubt(bench.now), [(id, 1)]);
}

#[test]
fn what_an_attempt_and_its_outcomes_take_is_no_more_than_is_kept_for_them() {
    for recipients in [1, 2, 40, RECIPIENTS_PER_TRANSACTION_MAX] {
        let mut bench = Bench::open(SimDisk::new(1));
        let id = bench.accept(&text(1, 600), recipients).unwrap();
        bench.breathe_until(|bench| bench.log.idle());
        let before = bench.log.status().batch_bytes;
        let all: Vec<u32> = (0..recipients as u32).collect();
        attempt(&mut bench, id, &all);
        let attempted = bench.log.status().batch_bytes;
        assert!(attempted - before <= attempt_size_max(recipients).into());
        assert_eq!(attempted % BLOCK_SIZE as u64, 0);
        for recipient in all {
            let reply: Box<str> = "x".repeat(REMOTE_REPLY_SIZE_MAX).into();
            bench.log.settle(id, recipient, Outcome::Bounced { reply });
        }
        bench.breathe_until(|bench| bench.log.idle());
        let closing = BLOCK_SIZE as u64;
        assert!(bench.log.status().batch_bytes - attempted <= u64::from(outcomes_size_max(recipients)) + closing);
    }
}
