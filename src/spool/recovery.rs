//! Opening a log: find its chain, replay it, cut a torn tail, and refuse what is damaged.
//!
//! Everything that is valid anywhere is evidence: the headers found tell how far the log was known to be durable. Where the
//! chain ends before that point, something acknowledged is missing, and nothing is cut.

use std::collections::VecDeque;

use super::format::{FLAG_CLEAN, HEADER_SIZE, Header};
use super::log::{Link, Log, Settings};
use super::record::{BadRecord, Record, decode};
use super::segments::Live;
use crate::env::Now;
use crate::env::disk::{Block, Completion, Disk, DiskError};
use crate::limits::BLOCK_SIZE;

/// The disk is read in pieces of this size, bytes.
const WINDOW_SIZE: u64 = 1 << 20;

/// Queue ids that a crash may have seen given out and never recorded are not given out again: so many are passed over.
const NUMBERS_SKIPPED: u64 = 4096;

/// Sequences passed over after a crash, for batches in flight whose headers cannot be read.
const SEQUENCES_SKIPPED: u64 = 1024;

/// What [`Log::open`] found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovery {
    /// The log is new.
    pub created: bool,
    /// It was closed by a shutdown.
    pub clean: bool,
    /// Messages in the queue.
    pub messages: usize,
    /// Batches replayed.
    pub batches: u64,
    /// Bytes replayed.
    pub bytes: u64,
    /// Segments in use.
    pub segments: usize,
    /// The torn tail, if there was one.
    pub cut: Option<Cut>,
}

/// A torn tail that was cut: batches that were on their way in a crash, none of them known to be durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    /// The number of the segment file.
    pub segment: u32,
    /// Where in it the log ends now, bytes.
    pub offset: u64,
    /// Batches beyond that point whose headers are readable.
    pub batches: u64,
}

/// Why a log cannot be opened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// The settings make no log.
    #[error("{0}")]
    Settings(&'static str),
    /// The storage failed.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// Data that was known to be durable is not there any more.
    #[error(
        "segment {segment} is damaged at byte {offset}: batches that were durable are missing. Nothing was changed. \
         Check the device, keep a copy of the log's directory, and restore it from the partner or a backup"
    )]
    Corrupt {
        /// The number of the segment file.
        segment: u32,
        /// Where in it, bytes.
        offset: u64,
    },
    /// The files are another log's.
    #[error("segment {segment} belongs to another log: it must not be in this directory")]
    Foreign {
        /// The number of the segment file.
        segment: u32,
    },
    /// The size of segments was changed in the configuration.
    #[error("segment {segment} has {found} bytes where {wanted} are configured; the size cannot be changed later")]
    SegmentSize {
        /// The number of the segment file.
        segment: u32,
        /// What it has, bytes.
        found: u64,
        /// What is configured, bytes.
        wanted: u64,
    },
    /// The log was written in a later epoch than we are in.
    #[error("the log was written in epoch {found}, which is later than {given}")]
    Epoch {
        /// In the log.
        found: u64,
        /// In the settings.
        given: u64,
    },
}

/// What valid headers tell, wherever they lie.
#[derive(Debug, Default)]
struct Evidence {
    incarnation: Option<u64>,
    sequence: u64,
    synced: u64,
    start: u64,
    epoch: u64,
    generation: u64,
    number_next: u64,
    /// Sequences with their watermarks are not kept; only how many are beyond the chain, counted at the end.
    beyond: Vec<u64>,
}

/// As many sequences as can be in flight are kept for counting what was cut.
const BEYOND_COUNT_MAX: usize = 64;

impl Evidence {
    fn note(&mut self, header: &Header) {
        self.sequence = self.sequence.max(header.sequence);
        self.synced = self.synced.max(header.synced);
        self.start = self.start.max(header.start);
        self.epoch = self.epoch.max(header.epoch);
        self.generation = self.generation.max(header.generation);
        self.number_next = self.number_next.max(header.number_next);
        self.beyond.push(header.sequence);
        if self.beyond.len() > BEYOND_COUNT_MAX {
            self.beyond.sort_unstable();
            self.beyond.dedup();
            let surplus = self.beyond.len().saturating_sub(BEYOND_COUNT_MAX / 2);
            self.beyond.drain(..surplus);
        }
    }

    fn count_beyond(&mut self, sequence: u64) -> u64 {
        self.beyond.sort_unstable();
        self.beyond.dedup();
        self.beyond.iter().filter(|seen| **seen > sequence).count() as u64
    }
}

/// A segment file that begins with a batch.
#[derive(Clone, Copy, Debug)]
struct Found {
    live: Live,
    first: Header,
}

/// A window on a segment.
struct Scan<'a, D> {
    disk: &'a mut D,
    size: u64,
    log: u16,
    segment: u32,
    offset: u64,
    length: u64,
    block: Option<Block>,
}

impl<D: Disk> Scan<'_, D> {
    /// `length` bytes at `offset`, or fewer at the end of the segment.
    fn bytes(&mut self, segment: u32, offset: u64, length: u64) -> Result<&[u8], DiskError> {
        let end = (offset + length).min(self.size);
        let hit = self.block.is_some() && self.segment == segment && offset >= self.offset;
        if !hit || end > self.offset + self.length {
            let start = offset / BLOCK_SIZE as u64 * BLOCK_SIZE as u64;
            let wanted = (end.max(start + WINDOW_SIZE)).min(self.size) - start;
            let wanted = wanted.next_multiple_of(BLOCK_SIZE as u64);
            let count = usize::try_from(wanted).expect("segments fit into memory");
            self.block = Some(self.disk.read_now(segment, start, count)?);
            (self.segment, self.offset, self.length) = (segment, start, wanted);
        }
        let start = usize::try_from(offset - self.offset).expect("within the window");
        let count = usize::try_from(end.saturating_sub(offset)).expect("within the window");
        Ok(self.block.as_ref().map_or(&[], |block| &block.bytes()[start..start + count]))
    }

    /// The header at `offset`, if one stands there that says it does.
    fn header(&mut self, segment: u32, offset: u64) -> Result<Option<(Header, u32)>, DiskError> {
        let (log, size) = (self.log, self.size);
        let found = Header::decode(self.bytes(segment, offset, HEADER_SIZE as u64)?);
        Ok(found.filter(|(header, _)| {
            header.log == log && u64::from(header.offset) == offset && header.segment_size == size
        }))
    }

    /// Looks at every block from `offset` on for headers.
    fn sweep(&mut self, segment: u32, mut offset: u64, evidence: &mut Evidence) -> Result<(), DiskError> {
        while offset < self.size {
            if let Some((header, _)) = self.header(segment, offset)?
                && header.incarnation == *evidence.incarnation.get_or_insert(header.incarnation)
            {
                evidence.note(&header);
            }
            offset += BLOCK_SIZE as u64;
        }
        Ok(())
    }

    /// Goes from batch to batch by their lengths and notes their headers.
    fn walk(&mut self, found: &Found, evidence: &mut Evidence) -> Result<(), DiskError> {
        let (mut offset, mut sequence) = (0, 0);
        while offset < self.size {
            let Some((header, _)) = self.header(found.live.number, offset)? else { break };
            if header.generation != found.live.generation
                || header.incarnation != found.first.incarnation
                || header.sequence <= sequence
            {
                break;
            }
            evidence.note(&header);
            sequence = header.sequence;
            offset += padded(&header);
        }
        Ok(())
    }
}

fn padded(header: &Header) -> u64 {
    (HEADER_SIZE as u64 + u64::from(header.length)).next_multiple_of(BLOCK_SIZE as u64)
}

impl<D: Disk> Log<D> {
    /// Replays what is there, or creates the log. Blocks; called before the worker serves.
    pub fn open(disk: D, settings: Settings, now: Now) -> Result<(Log<D>, Recovery), OpenError> {
        settings.check().map_err(OpenError::Settings)?;
        let mut log = Log::new(disk, settings);
        log.disk.settle_now()?;
        let recovery = log.recover(now)?;
        log.look_for_space(now);
        if log.segments.current().is_none() && log.segments.free_count() == 0 {
            log.make_first_segment()?;
        }
        Ok((log, recovery))
    }

    fn make_first_segment(&mut self) -> Result<(), OpenError> {
        let size = self.settings.segment_size;
        self.disk.prepare(1, size);
        loop {
            let mut completions = Vec::new();
            self.disk.poll(&mut completions);
            for completion in completions {
                if let Completion::Prepared { segment, result } = completion {
                    result?;
                    self.segments.prepared(segment);
                    return Ok(());
                }
            }
            self.disk.wait();
        }
    }

    fn recover(&mut self, now: Now) -> Result<Recovery, OpenError> {
        let size = self.settings.segment_size;
        let files = self.disk.segments()?;
        for (segment, found) in &files {
            if *found != size {
                return Err(OpenError::SegmentSize { segment: *segment, found: *found, wanted: size });
            }
        }
        let mut evidence = Evidence::default();
        let mut scan =
            Scan { disk: &mut self.disk, size, log: self.settings.log, segment: 0, offset: 0, length: 0, block: None };
        let mut found = look(&mut scan, &files, &mut evidence)?;
        found.sort_by_key(|found| found.live.generation);
        if evidence.epoch > self.settings.epoch {
            return Err(OpenError::Epoch { found: evidence.epoch, given: self.settings.epoch });
        }
        let first = found.iter().position(|found| found.live.generation == evidence.start);
        let Some(first) = first else {
            // Nothing begins the log. Harmless only if nothing was ever known to be durable.
            if evidence.synced > 0 {
                let segment = found.first().map_or(files.first().map_or(0, |file| file.0), |found| found.live.number);
                return Err(OpenError::Corrupt { segment, offset: 0 });
            }
            return Ok(self.create(&files, &evidence, now));
        };
        self.replay(found.split_off(first), &files, evidence, now)
    }

    /// Begins a log where none is, or where the very first batches were torn.
    fn create(&mut self, files: &[(u32, u64)], evidence: &Evidence, now: Now) -> Recovery {
        // Microseconds of its creation: no one outside can guess them, and no other log here has them.
        self.incarnation = evidence.incarnation.unwrap_or(now.wall.micros().max(1));
        self.sequence_next = evidence.sequence + 1;
        self.number_next = evidence.number_next.max(1);
        if evidence.sequence > 0 {
            self.sequence_next += SEQUENCES_SKIPPED;
            self.number_next += NUMBERS_SKIPPED;
        }
        let free = files.iter().map(|file| file.0).collect();
        self.segments.adopt(VecDeque::new(), free, self.settings.segment_size, evidence.generation + 1);
        Recovery { created: true, ..Recovery::default() }
    }

    fn replay(
        &mut self,
        chain: Vec<Found>,
        files: &[(u32, u64)],
        mut evidence: Evidence,
        now: Now,
    ) -> Result<Recovery, OpenError> {
        let size = self.settings.segment_size;
        let mut recovery = Recovery::default();
        let mut at = chain[0];
        let mut live = VecDeque::from([at.live]);
        let (mut offset, mut link, mut last) = (0, None::<Link>, at.first);
        let mut number_next = 0;
        let mut scan =
            Scan { disk: &mut self.disk, size, log: self.settings.log, segment: 0, offset: 0, length: 0, block: None };
        loop {
            let follows = |header: &Header| {
                link.is_none_or(|link| {
                    header.previous_sequence == link.sequence && header.previous_checksum == link.checksum
                })
            };
            let here = if offset < size { scan.header(at.live.number, offset)? } else { None };
            let here = here.filter(|(header, _)| {
                header.generation == at.live.generation
                    && header.incarnation == at.first.incarnation
                    && offset + padded(header) <= size
                    && follows(header)
            });
            if let Some((header, checksum)) = here {
                let payload = scan.bytes(at.live.number, offset + HEADER_SIZE as u64, u64::from(header.length))?;
                if crc32c::crc32c(payload) == header.payload_checksum {
                    let replayed = apply(&mut self.index, payload, &header, &mut number_next);
                    replayed.map_err(|BadRecord| OpenError::Corrupt { segment: at.live.number, offset })?;
                    recovery.batches += 1;
                    recovery.bytes += padded(&header);
                    offset += padded(&header);
                    link = Some(Link { sequence: header.sequence, checksum });
                    last = header;
                    continue;
                }
            }
            // A stale first batch, torn in an earlier crash, may follow the same one as the batch that replaced it: the
            // latest whole one counts. A torn one ends the log here.
            let mut next = None;
            for candidate in chain.iter().rev().take_while(|next| next.live.generation > at.live.generation) {
                if link.is_some() && next.is_none() && follows(&candidate.first) {
                    let length = u64::from(candidate.first.length);
                    let payload = scan.bytes(candidate.live.number, HEADER_SIZE as u64, length)?;
                    if crc32c::crc32c(payload) == candidate.first.payload_checksum {
                        next = Some(*candidate);
                    }
                }
            }
            let Some(next) = next else { break };
            (at, offset) = (next, 0);
            live.push_back(at.live);
        }
        scan.sweep(at.live.number, offset, &mut evidence)?;
        let Some(link) = link else {
            if evidence.synced > 0 {
                return Err(OpenError::Corrupt { segment: at.live.number, offset: 0 });
            }
            let cut = Cut { segment: at.live.number, offset: 0, batches: evidence.count_beyond(0) };
            return Ok(Recovery { cut: Some(cut), ..self.create(files, &evidence, now) });
        };
        if evidence.synced > link.sequence {
            return Err(OpenError::Corrupt { segment: at.live.number, offset });
        }
        let beyond = evidence.count_beyond(link.sequence);
        if beyond > 0 {
            recovery.cut = Some(Cut { segment: at.live.number, offset, batches: beyond });
        }
        if self.index.oldest_needed() < chain[0].live.generation {
            return Err(OpenError::Corrupt { segment: chain[0].live.number, offset: 0 });
        }

        recovery.clean = last.flags & FLAG_CLEAN != 0 && beyond == 0;
        recovery.messages = self.index.count();
        recovery.segments = live.len();
        let free = files.iter().map(|file| file.0).filter(|file| live.iter().all(|live| live.number != *file));
        let free = free.collect();
        self.segments.adopt(live, free, offset, evidence.generation + 1);
        self.incarnation = last.incarnation;
        self.previous = link;
        self.synced = link.sequence;
        self.synced_announced = last.synced;
        self.recorded = if last.records > 0 { link.sequence } else { last.synced };
        self.number_next = number_next.max(evidence.number_next).max(1);
        self.sequence_next = evidence.sequence.max(link.sequence) + 1;
        if !recovery.clean {
            self.number_next += NUMBERS_SKIPPED;
            self.sequence_next += SEQUENCES_SKIPPED;
        }
        Ok(recovery)
    }
}

/// Looks at every file: those that begin with a batch, and what headers tell.
fn look<D: Disk>(
    scan: &mut Scan<'_, D>,
    files: &[(u32, u64)],
    evidence: &mut Evidence,
) -> Result<Vec<Found>, OpenError> {
    let (mut found, mut others) = (Vec::new(), Vec::new());
    for (segment, _) in files {
        let first = Header::decode(scan.bytes(*segment, 0, HEADER_SIZE as u64)?);
        match first {
            Some((header, _)) if header.offset == 0 => {
                if header.log != scan.log
                    || header.incarnation != *evidence.incarnation.get_or_insert(header.incarnation)
                {
                    return Err(OpenError::Foreign { segment: *segment });
                }
                let live = Live { generation: header.generation, number: *segment };
                let begins = Found { live, first: header };
                scan.walk(&begins, evidence)?;
                found.push(begins);
            }
            _ => others.push(*segment),
        }
    }
    // Never used, torn in its first batch, or damaged: whatever still stands in it is evidence.
    for segment in others {
        scan.sweep(segment, 0, evidence)?;
    }
    Ok(found)
}

/// Replays the records of one batch.
fn apply(
    index: &mut super::index::Index,
    payload: &[u8],
    header: &Header,
    number_next: &mut u64,
) -> Result<(), BadRecord> {
    let mut rest = payload;
    for _ in 0..header.records {
        let id = match decode(&mut rest, header.generation)? {
            Record::Chunk { id } => id,
            Record::Message(message) => {
                let id = message.id;
                if message.is_open() {
                    index.insert(*message);
                }
                id
            }
            Record::Outcome { id, recipient, outcome } => {
                index.settle(id, recipient, &outcome);
                id
            }
            Record::Hold { id, held } => {
                index.hold(id, held);
                id
            }
            Record::Delete { id } => {
                index.delete(id);
                id
            }
        };
        *number_next = (*number_next).max(id.number() + 1);
    }
    if rest.is_empty() { Ok(()) } else { Err(BadRecord) }
}
