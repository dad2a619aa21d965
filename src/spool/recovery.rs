//! Opening a log: find its chain, replay it, cut a torn tail, and refuse what is damaged.
//!
//! Everything that is valid anywhere is evidence: the headers found tell how far the log was known to be durable. Where the
//! chain ends before that point, something acknowledged is missing, and nothing is cut.

use std::collections::VecDeque;

use super::format::{FLAG_CLEAN, HEADER_SIZE, Header};
use super::log::{Link, Log};
use super::record::{BadRecord, Record, decode};
use super::scan::{Evidence, Found, Scan, look, padded};
use super::settings::Settings;
use crate::env::Now;
use crate::env::disk::{Completion, Disk, DiskError};

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

impl<D: Disk> Log<D> {
    /// Replays what is there, or creates the log. Blocks; called before the worker serves.
    pub fn open(disk: D, settings: Settings, now: Now) -> Result<(Log<D>, Recovery), OpenError> {
        settings.check().map_err(OpenError::Settings)?;
        let mut log = Log::new(disk, settings);
        log.disk.settle_now()?;
        let recovery = log.recover(now)?;
        // Before the first call: what waits for room could not be told from what is durable any more.
        log.release_emptied();
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
        let mut scan = Scan::new(&mut self.disk, size, self.settings.log);
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
        let mut scan = Scan::new(&mut self.disk, size, self.settings.log);
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
