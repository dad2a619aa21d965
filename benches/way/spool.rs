//! `src/spool`: a message's way through the log, from its first byte to its outcome, on a disk that takes everything at
//! once and keeps nothing. What a real one adds is in `benches/spool.rs`.

use crate::Station;
use crate::common::log_settings;
use rohrpost::env::disk::{Block, Completion, Disk, DiskError, Token};
use rohrpost::env::{Instant, Now, WallTime};
use rohrpost::smtp::{Envelope, Recipient};
use rohrpost::spool::{Draft, Log, LogEvent, Outcome, Piece};
use std::hint::black_box;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::Duration;

/// Messages of one batch, as twenty sessions make them.
const BATCH: u64 = 20;

pub const STATIONS: &[Station] = &[
    Station::new("spool", "a message without content", || messages(0)).of(BATCH),
    Station::new("spool", "a message of 2 KB", || messages(2048)).of(BATCH),
    Station::new("spool", "a message of 10 KB", || messages(10_240)).of(BATCH),
];

/// Done at once, and forgotten: what was written lately is read from the log's own memory.
#[derive(Default)]
pub struct NoDisk {
    done: Vec<Completion>,
}

impl Disk for NoDisk {
    fn describe(&self) -> String {
        "none".to_owned()
    }

    fn segments(&mut self) -> Result<Vec<(u32, u64)>, DiskError> {
        Ok(Vec::new())
    }

    fn prepare(&mut self, segment: u32, _: u64) {
        self.done.push(Completion::Prepared { segment, result: Ok(()) });
    }

    fn write(&mut self, token: Token, _: u32, _: u64, _: Arc<Block>, _: usize) {
        self.done.push(Completion::Written { token, result: Ok(()) });
    }

    fn read(&mut self, _: Token, segment: u32, _: u64, _: usize) {
        panic!("segment {segment} is read, which nothing was kept of");
    }

    fn submit(&mut self) {}

    fn poll(&mut self, completions: &mut Vec<Completion>) {
        completions.append(&mut self.done);
    }

    fn wait(&mut self) {}

    fn read_now(&mut self, _: u32, _: u64, length: usize) -> Result<Block, DiskError> {
        Ok(Block::zeroed(length))
    }

    fn settle_now(&mut self) -> Result<(), DiskError> {
        Ok(())
    }

    fn remove_now(&mut self, _: u32) -> Result<(), DiskError> {
        Ok(())
    }

    fn put_aside_now(&mut self, _name: &str, _bytes: &[u8]) -> Result<(), DiskError> {
        Ok(())
    }

    fn retire_now(&mut self, _segment: u32) -> Result<(), DiskError> {
        Ok(())
    }

    fn free_bytes(&mut self) -> Result<u64, DiskError> {
        Ok(u64::MAX / 2)
    }

    fn wakeup(&self) -> Option<BorrowedFd<'_>> {
        None
    }
}

/// A new log without a disk.
pub fn log(now: Now) -> Log<NoDisk> {
    Log::open(NoDisk::default(), log_settings(64), now).expect("a new log opens").0
}

fn envelope() -> Envelope {
    Envelope {
        reverse_path: "someone@client.example.com".into(),
        recipients: vec![Recipient { address: "someone.else@mx.example.org".into(), notify: None, original: None }],
        ..Envelope::default()
    }
}

/// A batch of messages is written, becomes durable, is read for delivery and settled.
fn messages(size: usize) -> Box<dyn FnMut()> {
    let mut now = Now { mono: Instant::ZERO, wall: WallTime::from_micros(1_795_407_575_000_000) };
    let mut log = log(now);
    let content = vec![b'x'; size];
    let mut events = Vec::new();
    Box::new(move || {
        now.mono = now.mono + Duration::from_micros(100);
        now.wall = now.wall + Duration::from_micros(100);
        for _ in 0..BATCH {
            let draft = log.begin().expect("there is room");
            let mut taken = log.content(draft, black_box(&content));
            while taken < content.len() {
                // The end of a segment: the batch goes out and the next one takes the rest.
                log.poll(now, &mut events);
                taken += log.content(draft, &content[taken..]);
            }
            log.finish(draft, envelope(), now);
        }
        let mut durable = 0;
        while durable < BATCH {
            log.poll(now, &mut events);
            for event in events.drain(..) {
                match event {
                    LogEvent::Durable { draft } => {
                        read(&mut log, draft, size);
                        log.settle(draft.id, 0, Outcome::Delivered { reply: "250 2.0.0 queued as 4cN1xk2Vb7z".into() });
                        durable += 1;
                    }
                    LogEvent::Room { .. } => {}
                    other => panic!("{other:?}"),
                }
            }
        }
    })
}

fn read(log: &mut Log<NoDisk>, draft: Draft, size: usize) {
    let mut reader = log.reader(draft.id).expect("it is queued");
    let mut got = 0;
    while got < size {
        let Piece::Ready(bytes) = log.read(&mut reader) else { panic!("it was just written") };
        let count = black_box(bytes).len();
        reader.consume(count);
        got += count;
    }
    log.close_reader(reader);
}
