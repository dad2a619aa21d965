//! Signatures: what is put in front of a message after it was acknowledged.

use super::*;
use crate::limits::SIGNATURES_SIZE_MAX;

const HEADER: &[u8] = b"DKIM-Signature: v=1; b=abc\r\n";

/// Accepts a message that is to be signed.
fn accept_unsigned<D: Disk>(bench: &mut Bench<D>, content: &[u8], recipients: usize) -> MessageId {
    let draft = bench.log.begin().unwrap();
    bench.log.to_be_signed(draft);
    bench.give(draft, content);
    bench.log.finish(draft, envelope(recipients), bench.now);
    bench.breathe_until(|bench| bench.events.contains(&LogEvent::Durable { draft }));
    bench.events.clear();
    draft.id
}

/// Signs it and waits until that is durable.
fn sign<D: Disk>(bench: &mut Bench<D>, id: MessageId, header: &[u8]) {
    assert!(bench.log.sign(id, header));
    assert!(bench.log.message(id).unwrap().unsigned(), "nothing is durable yet");
    bench.breathe_until(|bench| bench.events.contains(&LogEvent::Signed { id }));
    bench.events.clear();
}

#[test]
fn a_signature_stands_before_the_content_and_counts_with_it() {
    let disk = SimDisk::new(1);
    let mut bench = Bench::open(disk.clone());
    let content = text(1, 20_000);
    let id = accept_unsigned(&mut bench, &content, 2);
    let plain = bench.accept(&text(2, 500), 1).unwrap();
    assert!(bench.log.message(id).unwrap().unsigned());
    assert!(!bench.log.message(plain).unwrap().unsigned());
    assert!(!bench.log.sign(plain, HEADER), "it was never to be signed");
    sign(&mut bench, id, HEADER);
    let signed = [HEADER, &content].concat();
    let is_signed = |bench: &mut Bench<SimDisk>| {
        let message = bench.log.message(id).unwrap();
        assert!(!message.unsigned());
        assert_eq!(message.size(), signed.len() as u64);
        assert_eq!(bench.log.status().bytes, signed.len() as u64 + 500);
        assert_eq!(bench.content_of(id).as_ref(), Some(&signed));
    };
    is_signed(&mut bench);
    assert!(!bench.log.sign(id, HEADER), "once");
    bench.breathe_until(|bench| bench.log.idle());
    let mut bench = Bench::open(disk.crash(1));
    is_signed(&mut bench);
    bench.log.settle(id, 0, delivered());
    bench.log.settle(id, 1, delivered());
    assert_eq!((bench.log.count(), bench.log.status().bytes), (1, 500));
}

#[test]
fn what_is_not_signed_is_still_to_be_after_a_crash() {
    let disk = SimDisk::new(1);
    let mut bench = Bench::open(disk.clone());
    let id = accept_unsigned(&mut bench, &text(1, 6000), 1);
    bench.breathe_until(|bench| bench.log.idle());
    disk.hold(true);
    assert!(bench.log.sign(id, HEADER));
    for _ in 0..100 {
        bench.breathe();
    }
    assert!(!bench.events.contains(&LogEvent::Signed { id }));
    let mut bench = Bench::open(disk.crash(3));
    if bench.log.message(id).unwrap().unsigned() {
        assert_eq!(bench.content_of(id), Some(text(1, 6000)));
        sign(&mut bench, id, HEADER);
    }
    assert_eq!(bench.content_of(id), Some([HEADER, &text(1, 6000)].concat()));
}

#[test]
fn what_need_not_be_signed_is_only_marked_so() {
    let disk = SimDisk::new(1);
    let mut bench = Bench::open(disk.clone());
    let (id, empty) = (accept_unsigned(&mut bench, &text(1, 300), 1), accept_unsigned(&mut bench, b"", 1));
    sign(&mut bench, id, b"");
    sign(&mut bench, empty, HEADER);
    bench.breathe_until(|bench| bench.log.idle());
    let mut bench = Bench::open(disk.crash(1));
    assert!(!bench.log.message(id).unwrap().unsigned());
    assert_eq!(bench.content_of(id), Some(text(1, 300)));
    assert_eq!(bench.content_of(empty).as_deref(), Some(HEADER));
}

#[test]
fn a_message_that_is_held_or_deleted_meanwhile_stays_so() {
    let disk = SimDisk::new(1);
    let mut bench = Bench::open(disk.clone());
    let held = accept_unsigned(&mut bench, &text(1, 300), 1);
    let deleted = accept_unsigned(&mut bench, &text(2, 300), 1);
    assert!(bench.log.sign(held, HEADER) && bench.log.sign(deleted, HEADER));
    bench.log.hold(held, true);
    bench.log.delete(deleted);
    bench.breathe_until(|bench| bench.log.idle());
    for mut bench in [Bench::open(disk.crash(1)), bench] {
        let message = bench.log.message(held).unwrap();
        assert!(message.held() && !message.unsigned());
        assert!(bench.log.message(deleted).is_none());
        assert_eq!(bench.log.status().bytes, 300 + HEADER.len() as u64);
        assert_eq!(bench.content_of(held), Some([HEADER, &text(1, 300)].concat()));
    }
}

#[test]
fn signed_messages_go_on_being_themselves_when_they_are_moved() {
    let disk = SimDisk::new(1);
    let mut bench = Bench::open_with(disk.clone(), small()).unwrap();
    let header = vec![b'h'; SIGNATURES_SIZE_MAX];
    let kept: Vec<MessageId> = (0..6).map(|seed| accept_unsigned(&mut bench, &text(seed, 3000), 1)).collect();
    for id in &kept[..3] {
        sign(&mut bench, *id, &header);
    }
    // Until segments have gone round and all that is old was moved forward, some of it while it is signed.
    let mut signed = 3;
    for seed in 0..400 {
        let id = bench.accept(&text(100 + seed, 9000), 1).unwrap();
        bench.log.settle(id, 0, delivered());
        if seed > 150 && seed % 60 == 0 && signed < 5 && bench.log.sign(kept[signed], &header) {
            signed += 1;
        }
    }
    assert!(bench.log.status().moved > 0);
    assert_eq!(signed, 5);
    bench.breathe_until(|bench| bench.log.idle());
    for mut bench in [Bench::open_with(disk.crash(1), small()).unwrap(), bench] {
        for (seed, id) in (0..).zip(&kept) {
            let is_signed = usize::try_from(seed).unwrap() < signed;
            assert_eq!(bench.log.message(*id).unwrap().unsigned(), !is_signed);
            let header = if is_signed { &header[..] } else { b"" };
            assert_eq!(bench.content_of(*id), Some([header, &text(seed, 3000)].concat()));
        }
    }
}

#[test]
fn messages_that_are_to_be_signed_leave_room_for_that() {
    let disk = SimDisk::new(1);
    let mut bench = Bench::open_with(disk.clone(), small()).unwrap();
    let header = vec![b'h'; SIGNATURES_SIZE_MAX];
    let mut ids = Vec::new();
    while bench.log.accepts(None).is_ok() {
        ids.push(accept_unsigned(&mut bench, &text(1, 100), 1));
    }
    for id in &ids {
        bench.breathe_until(|bench| bench.log.sign(*id, &header));
        bench.breathe_until(|bench| bench.events.contains(&LogEvent::Signed { id: *id }));
    }
    ids.iter().for_each(|id| bench.log.settle(*id, 0, delivered()));
    bench.breathe_until(|bench| bench.log.accepts(None).is_ok());
}
