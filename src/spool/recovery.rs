//! Opening a log: find its chain, replay it, cut a torn tail, and save what can be saved where it is damaged.
//!
//! Everything that is valid anywhere is evidence: the headers found tell how far the log was known to be durable. Where the
//! chain ends before that point, something acknowledged is missing, and nothing is cut.

use std::collections::{BTreeSet, VecDeque};

use super::MessageId;
use super::copies::Points;
use super::damage::{Damage, Damaged, Damages};
use super::format::{FLAG_CLEAN, Header, NUMBER_END, Opening};
use super::log::{Link, Log};
use super::replay::{Replay, Unfinished};
use super::scan::{Evidence, Found, Scan, look};
use super::segments::Live;
use super::settings::Settings;
use crate::env::Now;
use crate::env::disk::{Completion, Disk, DiskError};
use crate::limits::{SALVAGE_EFFORT_MAX, SEGMENTS_RESERVED};

/// Queue ids that a crash may have seen given out and never recorded are not given out again: so many are passed over.
pub(super) const NUMBERS_SKIPPED: u64 = 4096;

/// Many more where the end of the log was lost: whole batches of small messages may have been in it.
const NUMBERS_SKIPPED_LOST: u64 = 1 << 20;

/// Sequences passed over after a crash, for batches in flight whose headers cannot be read.
pub(super) const SEQUENCES_SKIPPED: u64 = 1024;

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
    /// Messages in the queue whose content is damaged.
    pub damaged: usize,
    /// What is not as it was written.
    pub damages: Damages,
    /// A replica lacks segments that it needs: it was being made, or some are gone.
    pub lacks_beginning: bool,
}

impl Recovery {
    /// Whether a replica is all that it should be, so that it may work.
    pub fn is_fit(&self) -> bool {
        self.damages.list.is_empty() && !self.lacks_beginning
    }
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
    /// The files are another log's.
    #[error("segment {segment} belongs to another log: it must not be in this directory")]
    Foreign {
        /// The number of the segment file.
        segment: u32,
    },
    /// Written by a version of this program that we do not know.
    #[error("segment {segment} was written by another version of rohrpost; deliver its queue with that version first")]
    Version {
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
        log.make_ready(now)?;
        Ok((log, recovery))
    }

    /// Has segments to begin with. Blocks.
    pub(super) fn make_ready(&mut self, now: Now) -> Result<(), OpenError> {
        let log = self;
        log.look_for_space(now);
        if log.segments.current().is_none() && log.segments.free_count() == 0 {
            // Content is taken once what is reserved is there.
            for number in 1..=SEGMENTS_RESERVED + 1 {
                log.make_segment(number)?;
            }
        }
        Ok(())
    }

    fn make_segment(&mut self, number: u32) -> Result<(), OpenError> {
        self.disk.prepare(number, self.settings.segment_size);
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

    /// Reads everything and writes nothing.
    pub(super) fn recover(&mut self, now: Now) -> Result<Recovery, OpenError> {
        let size = self.settings.segment_size;
        let files = self.disk.segments()?;
        for (segment, found) in &files {
            if *found != size {
                return Err(OpenError::SegmentSize { segment: *segment, found: *found, wanted: size });
            }
        }
        let mut evidence = Evidence::default();
        let mut scan = Scan::new(&mut self.disk, size, self.settings.log);
        let Found { segments, orphans } = look(&mut scan, &files, &mut evidence)?;
        if evidence.epoch > self.settings.epoch {
            return Err(OpenError::Epoch { found: evidence.epoch, given: self.settings.epoch });
        }
        let chain: Vec<Live> = segments.into_iter().filter(|live| live.generation >= evidence.start).collect();
        let begins = chain.first().is_some_and(|first| first.generation == evidence.start);
        // Nothing begins the log. Harmless only if nothing was ever known to be durable.
        if !begins && evidence.synced == 0 {
            return Ok(self.create(&files, &evidence, now));
        }
        let mut damages = Damages::default();
        // A copy that was cut short while it was made has no beginning to miss: it is made anew.
        self.lacks_beginning = !begins;
        if !begins && self.following.is_none() {
            let (generation, what) = (evidence.start, Damaged::Segment);
            damages.note(Damage { segment: None, generation, offset: 0, length: 0, what });
        }
        let Some(first) = chain.first().copied() else {
            let recovery = self.create(&files, &evidence, now);
            self.quarantine.damages = damages.clone();
            return Ok(Recovery { damages, ..recovery });
        };
        let mut replay = Replay {
            scan,
            evidence,
            index: &mut self.index,
            chain,
            orphans,
            place: 0,
            offset: 0,
            link: None,
            last: None,
            points: Points::default(),
            live: VecDeque::from([first]),
            number_next: 0,
            batches: 0,
            bytes: 0,
            tail_lost: false,
            damages,
            regions: Vec::new(),
            unfinished: Unfinished::default(),
            effort: SALVAGE_EFFORT_MAX,
            until: self.until,
        };
        replay.run()?;
        let damaged = replay.examine()?;
        replay.name_unfinished();
        let outcome = Outcome {
            at: replay.at(),
            offset: replay.offset,
            link: replay.link,
            last: replay.last,
            points: replay.points,
            live: replay.live,
            number_next: replay.number_next,
            batches: replay.batches,
            bytes: replay.bytes,
            tail_lost: replay.tail_lost,
            damages: replay.damages,
            damaged,
            evidence: replay.evidence,
        };
        Ok(self.adopt(outcome, &files, now))
    }

    /// Begins a log where none is, or where the very first batches were torn.
    fn create(&mut self, files: &[(u32, u64)], evidence: &Evidence, now: Now) -> Recovery {
        // Microseconds of its creation: no one outside can guess them, and no other log here has them.
        self.incarnation = evidence.incarnation.unwrap_or(now.wall.micros().max(1));
        self.opened = evidence.opened;
        self.sequence_next = evidence.sequence + 1;
        self.number_next = evidence.number_next.max(1);
        if evidence.sequence > 0 {
            self.sequence_next += SEQUENCES_SKIPPED;
            self.pass_over_numbers(NUMBERS_SKIPPED);
        }
        self.opening = Opening { at: evidence.next_opening(now), generation: evidence.generation + 1, offset: 0 };
        let free = files.iter().map(|file| file.0).collect();
        self.segments.adopt(VecDeque::new(), free, self.settings.segment_size, evidence.generation + 1);
        Recovery { created: true, ..Recovery::default() }
    }

    fn pass_over_numbers(&mut self, count: u64) {
        self.number_next = (self.number_next + count).min(NUMBER_END);
    }

    /// Goes on from what a replay found.
    fn adopt(&mut self, outcome: Outcome, files: &[(u32, u64)], now: Now) -> Recovery {
        let Outcome { at, offset, mut evidence, .. } = outcome;
        let Some(link) = outcome.link else {
            let cut = Cut { segment: at.number, offset: 0, batches: evidence.count_beyond(0) };
            return Recovery { cut: Some(cut), ..self.create(files, &evidence, now) };
        };
        let beyond = evidence.count_beyond(link.sequence);
        let clean = outcome.last.is_some_and(|last| last.flags & FLAG_CLEAN != 0) && beyond == 0 && !outcome.tail_lost;
        let recovery = Recovery {
            created: false,
            clean,
            messages: self.index.count(),
            batches: outcome.batches,
            bytes: outcome.bytes,
            segments: outcome.live.len(),
            cut: (beyond > 0).then_some(Cut { segment: at.number, offset, batches: beyond }),
            damaged: outcome.damaged.len(),
            damages: outcome.damages.clone(),
            lacks_beginning: self.following.is_some() && self.lacks_beginning,
        };
        let live = outcome.live;
        let free = files.iter().map(|file| file.0).filter(|file| live.iter().all(|live| live.number != *file));
        let free = free.collect();
        self.segments.adopt(live, free, offset, evidence.generation + 1);
        self.opening = Opening {
            at: evidence.next_opening(now),
            generation: at.generation,
            offset: u32::try_from(offset).expect("segments are small"),
        };
        self.incarnation = evidence.incarnation.unwrap_or_default();
        self.previous = link;
        self.points = outcome.points;
        self.cut_a_watermark = evidence.synced > link.sequence;
        self.opened = evidence.opened;
        self.synced = link.sequence;
        self.synced_announced = outcome.last.map_or(0, |last| last.synced);
        self.recorded = match outcome.last {
            Some(last) if last.records == 0 && !outcome.tail_lost => last.synced,
            _ => link.sequence,
        };
        self.number_next = outcome.number_next.max(evidence.number_next).max(1);
        self.sequence_next = evidence.sequence.max(link.sequence) + 1;
        if !clean {
            self.pass_over_numbers(NUMBERS_SKIPPED);
            self.sequence_next += SEQUENCES_SKIPPED;
        }
        if outcome.tail_lost {
            self.pass_over_numbers(NUMBERS_SKIPPED_LOST);
        }
        self.quarantine.damages = outcome.damages;
        self.quarantine.damaged = outcome.damaged;
        recovery
    }
}

/// What a replay came to.
struct Outcome {
    /// Where the chain ends.
    at: Live,
    offset: u64,
    link: Option<Link>,
    last: Option<Header>,
    points: Points,
    live: VecDeque<Live>,
    number_next: u64,
    batches: u64,
    bytes: u64,
    tail_lost: bool,
    damages: Damages,
    damaged: BTreeSet<MessageId>,
    evidence: Evidence,
}
