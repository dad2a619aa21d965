//! A link from a partner that may be anybody: the replica's end with a log behind it, and the owner's end. What is taken stands in
//! the log as it came, what is not changes nothing, and a log that took it can lead.

use rohrpost::env::disk::SimDisk;
use rohrpost::env::{Instant, Now, WallTime};
use rohrpost::mirror::arbiter::{Role, Words};
use rohrpost::mirror::link::{ClientBook, ClientFeed, Counts, Following, OwnerEnd, Refusal, ReplicaEnd, Speech, Want};
use rohrpost::mirror::register::{Incarnation, Node};
use rohrpost::spool::{Copies, Log, Piece, Settings};
use std::time::Duration;

const BEAT: Duration = Duration::from_millis(25);

/// The log that the link is for.
const LOG: u16 = 3;

fn settings() -> Settings {
    Settings {
        log: LOG,
        segment_size: 128 * 1024,
        segments_max: 8,
        batch_size_max: 64 * 1024,
        batches_in_flight_max: 4,
        message_size_max: 1 << 20,
        drafts_max: 10,
        memory_max: u64::MAX,
        free_bytes_min: 0,
        epoch: 1 << 60,
    }
}

fn words() -> Words {
    Words {
        epoch: 1,
        role: Role::Follows,
        incarnation: Incarnation::new(7).expect("not zero"),
        able: true,
        roomy: true,
        standing: None,
        orders: 0,
    }
}

fn now(step: u64) -> Now {
    let wall = WallTime::from_micros(1_700_000_000_000_000 + step);
    Now { mono: Instant::from_nanos(step * 1_000_000), wall }
}

pub fn run(data: &[u8]) {
    let Some((which, rest)) = data.split_first() else { return };
    if which % 2 == 0 { replica(rest) } else { owner(rest) }
}

/// An empty log, or one with what an earlier link brought.
fn replica(mut data: &[u8]) {
    let disk = SimDisk::new(0);
    let (mut log, _) = Log::open_replica(disk, settings(), now(1)).expect("an empty disk makes a replica");
    let mut step = 1;
    // The partner may come again, after what it sent made a link end.
    for _ in 0..4 {
        let mut end = ReplicaEnd::new(words(), Speech::of(BEAT), now(step).mono);
        let mut knows_log = false;
        loop {
            step += 1;
            match end.want() {
                Some(Want::Log(hello)) if hello.log == LOG && log.is_settled() => {
                    end.welcome(&log);
                    knows_log = true;
                }
                Some(Want::Log(_)) if log.is_settled() => end.refuse(Refusal::UnknownLog),
                Some(Want::Rewind { until }) => {
                    let known = until.is_none_or(|until| log.durable_points().any(|point| point == until));
                    // A point that this copy never had makes it begin anew, like any that is gone.
                    log = log.rewind(until.filter(|_| known), now(step)).expect("the disk works").0;
                    break;
                }
                Some(Want::End) => break,
                _ => {}
            }
            let count = data.len().min(if step % 3 == 0 { 5000 } else { 64 });
            let taken = end.receive(&data[..count], knows_log.then_some(&mut log), now(step));
            assert!(taken <= count, "no more is taken than was there");
            data = &data[taken..];
            log.poll(now(step), &mut Vec::new());
            if knows_log {
                end.pump(&mut log, Following { epoch: 1, promised: true }, &mut ClientBook::default(), now(step));
            }
            let sent = end.output().len();
            end.sent(sent, now(step).mono);
            if end.error().is_some() || data.is_empty() && taken == 0 && log.is_settled() {
                break;
            }
        }
    }
    while !log.is_settled() {
        step += 1;
        log.poll(now(step), &mut Vec::new());
    }
    log.lead(2, Copies::Own, now(step));
    let ids: Vec<_> = log.messages().map(|message| message.id()).collect();
    for id in ids {
        let Some(mut reader) = log.reader(id) else { continue };
        for _ in 0..1000 {
            step += 1;
            match log.read(&mut reader) {
                Piece::Ready(bytes) => {
                    let count = bytes.len();
                    reader.consume(count);
                }
                Piece::Pending => log.poll(now(step), &mut Vec::new()),
                Piece::End | Piece::Damaged | Piece::Failed => break,
            }
        }
        log.close_reader(reader);
    }
}

fn owner(mut data: &[u8]) {
    let (mut log, _) = Log::open_replica(SimDisk::new(0), settings(), now(1)).expect("an empty disk makes a replica");
    log.lead(1, Copies::Both, now(1));
    let draft = log.begin().expect("it leads");
    assert_eq!(log.content(draft, b"Subject: fuzz\r\n\r\n"), 17, "there is room");
    log.finish(draft, rohrpost::smtp::Envelope::default(), now(1));
    let mut end = OwnerEnd::new(Node::A, (LOG, settings().segment_size), words(), Speech::of(BEAT), now(1).mono);
    let counts = Some(Counts { with: words().incarnation, epoch: 1, promised: true });
    let mut step = 1;
    while !data.is_empty() && end.end().is_none() {
        step += 1;
        let count = data.len().min(64);
        end.receive(&data[..count], counts, &mut log, now(step).mono);
        data = &data[count..];
        log.poll(now(step), &mut Vec::new());
        end.pump(counts, &mut log, &mut ClientFeed::default(), now(step).mono);
        let sent = end.output().len();
        end.sent(sent, now(step).mono);
    }
}
