//! Claims about a log, made on the simulated disk and on real ones.

mod attempts;
mod crash;
mod damage;
mod images;
mod real;
mod signing;
mod space;
mod way;

use std::collections::BTreeMap;

use super::*;
use crate::env::disk::{Disk, SimDisk};
use crate::env::{Instant, Now, WallTime};
use crate::limits::BATCH_PART_APART;
use crate::smtp::{Envelope, Priority, Recipient};

fn settings() -> Settings {
    Settings {
        log: 3,
        segment_size: 256 * 1024,
        segments_max: 8,
        batch_size_max: 128 * 1024,
        batches_in_flight_max: 4,
        message_size_max: 50_000_000,
        drafts_max: 1000,
        memory_max: u64::MAX,
        free_bytes_min: 0,
        epoch: 1,
    }
}

/// The smallest log there may be: its segments go round soon, an image of it is cheap, and a test can look at every byte.
fn small() -> Settings {
    Settings { segment_size: 128 * 1024, ..eager() }
}

/// Its batches are written beside others though they are small.
fn eager() -> Settings {
    Settings { batch_size_max: 4096 * BATCH_PART_APART, ..settings() }
}

/// How many crashes a test looks at for one that has left what it wants to see; some ten are enough.
const CRASHES_MAX: u64 = 10_000;

/// What a crash has left, such as is wanted.
fn crashed(disk: &SimDisk, wanted: impl Fn(&SimDisk) -> bool) -> SimDisk {
    (0..CRASHES_MAX).map(|seed| disk.crash(seed)).find(wanted).expect("a crash may leave this")
}

fn envelope(recipients: usize) -> Envelope {
    let recipient = |place| Recipient { address: format!("r{place}@example.org").into(), notify: None, original: None };
    Envelope {
        reverse_path: "sender@example.net".into(),
        recipients: (0..recipients).map(recipient).collect(),
        ..Envelope::default()
    }
}

/// Content that differs for every seed and place.
fn text(seed: u64, size: usize) -> Vec<u8> {
    (0..size as u64)
        .map(|place| (seed.wrapping_mul(31).wrapping_add(place.wrapping_mul(7) ^ (place >> 8))) as u8)
        .collect()
}

fn delivered() -> Outcome {
    Outcome::Delivered { reply: "250 2.0.0 taken".into() }
}

/// A log with a clock of its own and what it said.
struct Bench<D: Disk> {
    log: Log<D>,
    now: Now,
    events: Vec<LogEvent>,
    recovery: Recovery,
}

impl<D: Disk> Bench<D> {
    fn open(disk: D) -> Bench<D> {
        Bench::open_with(disk, settings()).expect("opens")
    }

    fn open_with(disk: D, settings: Settings) -> Result<Bench<D>, OpenError> {
        let now = Now { mono: Instant::from_nanos(1), wall: WallTime::from_micros(1_700_000_000_000_000) };
        let (log, recovery) = Log::open(disk, settings, now)?;
        Ok(Bench { log, now, events: Vec::new(), recovery })
    }

    /// One breath: a millisecond passes.
    fn breathe(&mut self) {
        self.now.mono = self.now.mono + std::time::Duration::from_millis(1);
        self.now.wall = self.now.wall + std::time::Duration::from_millis(1);
        self.log.poll(self.now, &mut self.events);
    }

    fn breathe_until(&mut self, mut done: impl FnMut(&mut Bench<D>) -> bool) {
        for _ in 0..1_000_000 {
            if done(self) {
                return;
            }
            self.breathe();
            if done(self) {
                return;
            }
            if let Some(wakeup) = self.log.wakeup() {
                // A real disk: wait for it, but not for ever.
                let limit = rustix::event::Timespec { tv_sec: 0, tv_nsec: 1_000_000 };
                let descriptor = rustix::event::PollFd::from_borrowed_fd(wakeup, rustix::event::PollFlags::IN);
                let _ = rustix::event::poll(&mut [descriptor], Some(&limit));
            }
        }
        panic!("it never came: {:?}", self.log.status().state);
    }

    /// Gives all content, breathing where the log pushes back.
    fn give(&mut self, draft: Draft, content: &[u8]) {
        let mut given = 0;
        while given < content.len() {
            let count = self.log.content(draft, &content[given..]);
            given += count;
            if given < content.len() {
                self.breathe_until(|bench| bench.events.contains(&LogEvent::Room { draft }));
                self.events.retain(|event| *event != LogEvent::Room { draft });
            }
        }
    }

    fn start(&mut self, content: &[u8], recipients: usize) -> Result<Draft, Refusal> {
        let draft = self.log.begin()?;
        self.give(draft, content);
        self.log.finish(draft, envelope(recipients), self.now);
        Ok(draft)
    }

    /// What has become durable, in order. All other events are forgotten.
    fn durable(&mut self) -> Vec<Draft> {
        let durable = |event| if let LogEvent::Durable { draft } = event { Some(draft) } else { None };
        self.events.drain(..).filter_map(durable).collect()
    }

    /// Accepts a message and waits until it is durable.
    fn accept(&mut self, content: &[u8], recipients: usize) -> Result<MessageId, Refusal> {
        let draft = self.start(content, recipients)?;
        self.breathe_until(|bench| {
            bench.events.contains(&LogEvent::Durable { draft }) || bench.events.contains(&LogEvent::Failed { draft })
        });
        let durable = self.events.contains(&LogEvent::Durable { draft });
        self.events.retain(|event| !matches!(event, LogEvent::Durable { .. } | LogEvent::Failed { .. }));
        if durable { Ok(draft.id) } else { Err(Refusal::Failed) }
    }

    fn content_of(&mut self, id: MessageId) -> Option<Vec<u8>> {
        let mut reader = self.log.reader(id)?;
        let mut content = Vec::new();
        loop {
            let count = match self.log.read(&mut reader) {
                Piece::Ready(bytes) => {
                    content.extend_from_slice(bytes);
                    bytes.len()
                }
                Piece::Pending => {
                    self.breathe_until(|bench| bench.events.contains(&LogEvent::Read { id }));
                    self.events.retain(|event| *event != LogEvent::Read { id });
                    0
                }
                Piece::End => break,
                Piece::Damaged | Piece::Failed => {
                    self.log.close_reader(reader);
                    return None;
                }
            };
            reader.consume(count);
        }
        self.log.close_reader(reader);
        Some(content)
    }

    fn shut_down(mut self) {
        self.log.shutdown(self.now);
        self.breathe_until(|bench| bench.log.idle());
    }
}
