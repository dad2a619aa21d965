//! A log on a disk that was changed behind its back: opening it ends, writes nothing, finds the same each time, and goes on
//! from what it found.

use super::choices::Choices;
use rohrpost::checksum::crc32c;
use rohrpost::env::disk::{Block, Disk, SimDisk};
use rohrpost::env::{Instant, Now, WallTime};
use rohrpost::limits::BLOCK_SIZE;
use rohrpost::smtp::{Envelope, Recipient};
use rohrpost::spool::{Draft, Log, LogEvent, MessageId, Outcome, Piece, Recovery, Settings};
use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

const SEGMENT_SIZE: usize = 128 * 1024;
const HEADER_SIZE: usize = 128;

/// What each message of a base image holds.
type Contents = BTreeMap<MessageId, Vec<u8>>;

/// A disk as a log left it.
struct Base {
    disk: Vec<(u32, Vec<u8>)>,
    contents: Contents,
}

fn settings() -> Settings {
    Settings {
        log: 3,
        segment_size: SEGMENT_SIZE as u64,
        segments_max: 8,
        batch_size_max: 32 * 1024,
        batches_in_flight_max: 2,
        message_size_max: 1 << 20,
        drafts_max: 1000,
        memory_max: 1 << 30,
        free_bytes_min: 0,
        epoch: 1,
    }
}

struct Bench {
    log: Log<SimDisk>,
    now: Now,
    events: Vec<LogEvent>,
    recovery: Recovery,
}

impl Bench {
    fn open(disk: SimDisk, opened: u64) -> Result<Bench, rohrpost::spool::OpenError> {
        let wall = WallTime::from_micros(1_700_000_000_000_000 + opened * 1_000_000);
        let now = Now { mono: Instant::from_nanos(1), wall };
        let (log, recovery) = Log::open(disk, settings(), now)?;
        Ok(Bench { log, now, events: Vec::new(), recovery })
    }

    fn breathe(&mut self) {
        self.now.mono = self.now.mono + Duration::from_millis(1);
        self.now.wall = self.now.wall + Duration::from_millis(1);
        self.log.poll(self.now, &mut self.events);
    }

    /// Gives a message to the log, whose disk may have no room. Says whether it became durable.
    fn accept(&mut self, content: &[u8]) -> Option<MessageId> {
        let draft: Draft = self.log.begin().ok()?;
        let mut given = 0;
        for _ in 0..500 {
            given += self.log.content(draft, &content[given..]);
            if given == content.len() {
                break;
            }
            self.breathe();
        }
        if given < content.len() {
            self.log.abort(draft);
            return None;
        }
        let recipient = |place: u32| Recipient {
            address: format!("r{place}@example.org").into(),
            notify: None,
            original: Some("rfc822;a+40b".into()),
        };
        let envelope = Envelope {
            reverse_path: "sender@example.net".into(),
            recipients: (0..3).map(recipient).collect(),
            ..Envelope::default()
        };
        self.log.finish(draft, envelope, self.now);
        for _ in 0..500 {
            self.breathe();
            if self.events.contains(&LogEvent::Durable { draft }) {
                return Some(draft.id);
            }
            if self.events.contains(&LogEvent::Failed { draft }) {
                return None;
            }
        }
        None
    }

    /// All that a message holds; `None` if the log says that it is damaged or cannot be read.
    fn content_of(&mut self, id: MessageId) -> Option<Vec<u8>> {
        let mut reader = self.log.reader(id)?;
        let mut content = Vec::new();
        for _ in 0..1000 {
            let count = match self.log.read(&mut reader) {
                Piece::Ready(bytes) => {
                    content.extend_from_slice(bytes);
                    bytes.len()
                }
                Piece::Pending => {
                    self.breathe();
                    0
                }
                Piece::End => {
                    self.log.close_reader(reader);
                    return Some(content);
                }
                Piece::Damaged | Piece::Failed => break,
            };
            reader.consume(count);
        }
        self.log.close_reader(reader);
        None
    }

    fn queue(&self) -> Vec<String> {
        // All but where it lies, as it may be moved.
        let texts = self.log.messages().map(|message| message.to_message()).map(|message| {
            format!("{} {} {:?} {:?} {}", message.id, message.size, message.envelope, message.recipients, message.held)
        });
        texts.collect()
    }

    fn ids(&self) -> Vec<MessageId> {
        self.log.messages().map(|message| message.id()).collect()
    }

    /// Ends the log in order, if its disk lets it.
    fn shut_down(mut self) {
        self.log.shutdown(self.now);
        for _ in 0..500 {
            self.breathe();
            if self.log.idle() {
                return;
            }
        }
    }
}

fn text(seed: u64, size: usize) -> Vec<u8> {
    (0..size as u64).map(|place| (seed * 31 + ((place * 7) ^ (place >> 8))) as u8).collect()
}

/// Logs that were used: nothing, a few messages, one that was opened many times, one that went round, one that crashed.
fn bases() -> &'static [Base] {
    static BASES: OnceLock<Vec<Base>> = OnceLock::new();
    BASES.get_or_init(|| (0..5).map(base).collect())
}

fn base(kind: u64) -> Base {
    let disk = SimDisk::new(kind);
    let mut contents = Contents::new();
    let (openings, messages, size) = [(0, 0, 0), (1, 4, 3000), (6, 2, 200), (2, 24, 9000), (2, 5, 5000)][kind as usize];
    for opening in 0..openings {
        let mut bench = Bench::open(disk.clone(), opening).expect("a good disk opens");
        for message in 0..messages {
            let content = text(opening * 100 + message, size + message as usize * 37);
            let Some(id) = bench.accept(&content) else { continue };
            contents.insert(id, content);
            match message % 4 {
                1 => bench.log.settle(id, 1, Outcome::Bounced { reply: "550 5.1.1 no".into() }),
                2 => bench.log.hold(id, true),
                // Most of what goes round is gone again.
                3 if size > 5000 => bench.log.delete(id),
                _ => {}
            }
            if kind == 3 && message % 3 == 0 {
                bench.log.delete(id);
            }
            bench.breathe();
        }
        if kind != 4 {
            bench.shut_down();
        }
    }
    let disk = if kind == 4 { disk.crash(7) } else { disk };
    let segments = disk.segment_numbers();
    Base { disk: segments.into_iter().map(|number| (number, disk.contents(number))).collect(), contents }
}

/// Changes that an input makes to an image.
struct Changes {
    image: BTreeMap<u32, Vec<u8>>,
    unreadable: Vec<(u32, usize)>,
    /// Checksums were made to fit: what is read then need not be what was written.
    forged: bool,
}

impl Changes {
    fn make(&mut self, choices: &mut Choices<'_>) {
        let (kind, segment) = (choices.byte(), u32::from(choices.byte() % 9));
        let offset = usize::from(choices.short());
        let Some(bytes) = self.image.get_mut(&segment) else {
            if kind == 200 {
                self.image.insert(segment, vec![0; SEGMENT_SIZE]);
            }
            return;
        };
        let block = offset / BLOCK_SIZE * BLOCK_SIZE;
        match kind % 9 {
            0 => bytes[offset] ^= 1 << (choices.byte() & 7),
            1 => {
                let count = usize::from(choices.byte());
                let new = choices.bytes(count);
                let end = (offset + new.len()).min(SEGMENT_SIZE);
                bytes[offset..end].copy_from_slice(&new[..end - offset]);
            }
            2 => bytes[block..block + BLOCK_SIZE].fill(0),
            3 => bytes[block..].fill(0),
            4 => {
                let from = usize::from(choices.short()) / BLOCK_SIZE * BLOCK_SIZE;
                bytes.copy_within(from..from + BLOCK_SIZE, block);
            }
            5 => {
                self.image.remove(&segment);
            }
            6 => self.unreadable.push((segment, offset)),
            7 => {
                // A word of a header, and a checksum that fits.
                let word = usize::from(choices.byte() % 15) * 8;
                let value = match choices.byte() {
                    0 => u64::MAX,
                    1 => u64::from(choices.short()),
                    2 => u64::MAX - u64::from(choices.short()),
                    shift => 1 << (shift & 63),
                };
                bytes[block + word..block + word + 8].copy_from_slice(&value.to_le_bytes());
                self.forge(segment, block);
            }
            _ => {
                // A byte of the records, and checksums that fit.
                let place = block + HEADER_SIZE + usize::from(choices.short()) % (BLOCK_SIZE - HEADER_SIZE);
                bytes[place] = choices.byte();
                self.forge(segment, block);
            }
        }
    }

    /// Makes the checksums of the header at `block` fit what is there.
    fn forge(&mut self, segment: u32, block: usize) {
        self.forged = true;
        let Some(bytes) = self.image.get_mut(&segment) else { return };
        let length = u32::from_le_bytes(bytes[block + 92..block + 96].try_into().expect("four bytes")) as usize;
        let start = block + HEADER_SIZE;
        let records = crc32c(&bytes[start..start.saturating_add(length).min(SEGMENT_SIZE)]);
        bytes[block + 100..block + 104].copy_from_slice(&records.to_le_bytes());
        let header = crc32c(&bytes[block..block + 124]);
        bytes[block + 124..block + 128].copy_from_slice(&header.to_le_bytes());
    }

    fn disk(&self, seed: u64) -> SimDisk {
        let mut disk = SimDisk::new(seed);
        let mut completions = Vec::new();
        for (number, bytes) in &self.image {
            disk.prepare(*number, bytes.len() as u64);
            disk.poll(&mut completions);
            let mut block = Block::zeroed(bytes.len());
            block.bytes_mut()[..bytes.len()].copy_from_slice(bytes);
            disk.write(0, *number, 0, Arc::new(block), bytes.len());
            disk.poll(&mut completions);
        }
        for (segment, offset) in &self.unreadable {
            disk.fail_reads_at(*segment, *offset);
        }
        disk
    }
}

pub fn run(data: &[u8]) {
    let mut choices = Choices::new(data);
    let base = &bases()[usize::from(choices.byte() % 5)];
    let mut changes = Changes { image: base.disk.iter().cloned().collect(), unreadable: Vec::new(), forged: false };
    for _ in 0..64 {
        if choices.is_over() {
            break;
        }
        changes.make(&mut choices);
    }
    let (disk, other) = (changes.disk(1), changes.disk(1));
    let writes = disk.writes();
    let opened = Bench::open(disk.clone(), 50);
    assert_eq!(disk.writes(), writes, "opening writes nothing");
    for (number, bytes) in &changes.image {
        assert!(disk.contents(*number) == *bytes, "opening changes nothing: segment {number}");
    }
    // What looks only comes to the same; it may open what another epoch wrote.
    let examined = Log::examine(other.clone());
    assert_eq!(other.writes(), writes);
    let again = Bench::open(other, 50);
    let (mut bench, again) = match (opened, again) {
        (Ok(bench), Ok(again)) => (bench, again),
        (Err(one), Err(two)) => return assert_eq!(one, two, "a disk gives the same answer each time"),
        (one, two) => panic!("opened once, and not again: {:?} {:?}", one.err(), two.err()),
    };
    assert_eq!(bench.recovery, again.recovery, "a disk gives the same answer each time");
    assert_eq!(bench.queue(), again.queue());
    assert!(bench.log.messages().all(|message| message.is_open()), "what is done is not queued");
    // It takes from a header which log it is; who opens it knows, whatever a forged one says.
    if let (Ok(examined), false) = (examined, changes.forged) {
        assert_eq!(examined.recovery.messages, bench.recovery.messages, "who looks sees what is opened");
        assert_eq!(examined.recovery.damages, bench.recovery.damages);
    }
    let (before, queue) = (bench.ids(), bench.queue());
    for id in &before {
        let content = bench.content_of(*id);
        if let (Some(content), false) = (content, changes.forged) {
            assert_eq!(Some(&content), base.contents.get(id), "what is read is what was written: {id}");
        }
    }
    let fresh = text(99, 700);
    let Some(id) = bench.accept(&fresh) else { return };
    assert!(!before.contains(&id) || changes.forged, "an id names one message");
    bench.shut_down();
    if !changes.unreadable.is_empty() {
        // What could not be read may have been written anew, which mends it.
        return;
    }
    let mut reopened = Bench::open(disk, 51).expect("what was opened and written to opens again");
    assert_eq!(reopened.content_of(id).as_ref(), Some(&fresh), "what was acknowledged is there");
    let after = reopened.queue();
    assert!(queue.iter().all(|message| after.contains(message)), "before {queue:#?}\nafter {after:#?}");
}
