//! Which segment file is what: live (oldest first, the last is being written), emptied and about to be free, free, or
//! being made.
//!
//! Invariant: a file is written again only after a batch is durable that says the log begins later. Else a crash could
//! find the log's beginning overwritten.

use std::collections::{BTreeSet, VecDeque};

use crate::env::Instant;
use crate::env::disk::DiskError;
use crate::limits::{BLOCK_SIZE, SEGMENTS_RESERVED};

/// A segment in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Live {
    /// Which use of a file this is; rises along the log.
    pub generation: u64,
    /// The number of the file.
    pub number: u32,
}

#[derive(Debug)]
struct Freeing {
    number: u32,
    /// The batch that says so, once it was sealed.
    announced: Option<u64>,
}

#[derive(Debug)]
pub(super) struct Segments {
    pub size: u64,
    count_max: u32,
    pub live: VecDeque<Live>,
    /// Where the next batch begins in the last live segment, bytes.
    pub offset: u64,
    free: VecDeque<u32>,
    freeing: VecDeque<Freeing>,
    pub preparing: Option<u32>,
    retry_at: Instant,
    /// Why the last segment that was to be made does not exist. Until one is made none is counted on, whatever space the file
    /// system says it has: descriptors, inodes or a quota may be used up.
    pub failure: Option<DiskError>,
    known: BTreeSet<u32>,
    /// How many there were at the start: more than `count_max`, where the configuration was changed since.
    found: usize,
    generation_next: u64,
    /// How many more the file system has room for.
    pub creatable_by_space: u64,
}

impl Segments {
    pub(super) fn new(size: u64, count_max: u32) -> Segments {
        Segments {
            size,
            count_max,
            live: VecDeque::new(),
            offset: size,
            free: VecDeque::new(),
            freeing: VecDeque::new(),
            preparing: None,
            retry_at: Instant::ZERO,
            failure: None,
            known: BTreeSet::new(),
            found: 0,
            generation_next: 1,
            creatable_by_space: 0,
        }
    }

    /// Takes over what recovery found: the live chain, the files that nothing is needed of, and where to go on.
    pub(super) fn adopt(&mut self, live: VecDeque<Live>, free: Vec<u32>, offset: u64, generation_next: u64) {
        self.known = live.iter().map(|live| live.number).chain(free.iter().copied()).collect();
        self.found = self.known.len();
        self.offset = if live.is_empty() { self.size } else { offset };
        self.live = live;
        self.free = free.into();
        self.generation_next = generation_next;
    }

    pub(super) fn current(&self) -> Option<Live> {
        self.live.back().copied()
    }

    /// The generation at which a replay has to begin.
    pub(super) fn start(&self) -> u64 {
        self.live.front().map_or(0, |live| live.generation)
    }

    /// The file that holds `generation`.
    pub(super) fn number_of(&self, generation: u64) -> Option<u32> {
        let place = self.live.binary_search_by_key(&generation, |live| live.generation).ok()?;
        Some(self.live[place].number)
    }

    /// Bytes that batches of records may still take of the segment that is being written. While no other is ready the
    /// last block is kept for the batch that says that segments are free: without it there would never be one again.
    pub(super) fn room(&self) -> u64 {
        let kept = if self.free.is_empty() { BLOCK_SIZE as u64 } else { 0 };
        (self.size - self.offset).saturating_sub(kept)
    }

    /// Whether the batch that says that segments are free has to be written now, be it into the block kept for it.
    pub(super) fn must_announce(&self) -> bool {
        self.free.is_empty() && self.unannounced() && self.offset < self.size
    }

    /// Goes on in a fresh segment; false if none is ready.
    pub(super) fn roll(&mut self) -> bool {
        let Some(number) = self.free.pop_front() else { return false };
        self.live.push_back(Live { generation: self.generation_next, number });
        self.generation_next += 1;
        self.offset = 0;
        true
    }

    /// Goes on in a fresh segment whose use the owner of the log has numbered; false if none is ready.
    pub(super) fn roll_to(&mut self, generation: u64) -> bool {
        debug_assert!(self.current().is_none_or(|current| current.generation < generation));
        let before = std::mem::replace(&mut self.generation_next, generation);
        let rolled = self.roll();
        if !rolled {
            self.generation_next = before;
        }
        rolled
    }

    /// Numbers no use with one of the next `count` numbers.
    pub(super) fn pass_over(&mut self, count: u64) {
        self.generation_next += count;
    }

    /// The number of the next use.
    pub(super) fn generation_next(&self) -> u64 {
        self.generation_next
    }

    /// The oldest segment is needed no more.
    pub(super) fn release_oldest(&mut self) {
        assert!(self.live.len() > 1, "the segment that is being written stays");
        if let Some(oldest) = self.live.pop_front() {
            self.freeing.push_back(Freeing { number: oldest.number, announced: None });
        }
    }

    /// Batch `sequence` was sealed; it names the present start.
    pub(super) fn announce(&mut self, sequence: u64) {
        for freeing in &mut self.freeing {
            freeing.announced.get_or_insert(sequence);
        }
    }

    /// Whether a batch is needed only to say that segments are free.
    pub(super) fn unannounced(&self) -> bool {
        self.freeing.iter().any(|freeing| freeing.announced.is_none())
    }

    /// Batches up to `synced` are durable.
    pub(super) fn synced(&mut self, synced: u64) {
        while self.freeing.front().is_some_and(|freeing| freeing.announced.is_some_and(|batch| batch <= synced)) {
            if let Some(freeing) = self.freeing.pop_front() {
                self.free.push_back(freeing.number);
            }
        }
    }

    /// Segments that are ready.
    pub(super) fn free_count(&self) -> usize {
        self.free.len()
    }

    /// Segments that are or will be ready without anything having to be moved.
    pub(super) fn available(&self) -> u64 {
        (self.free.len() + self.freeing.len() + usize::from(self.preparing.is_some())) as u64 + self.creatable()
    }

    /// Segments that there are or can be.
    pub(super) fn attainable(&self) -> u64 {
        (self.known.len() + usize::from(self.preparing.is_some())) as u64 + self.creatable()
    }

    fn creatable(&self) -> u64 {
        if self.failure.is_some() { 0 } else { self.creatable_by_limits() }
    }

    fn creatable_by_limits(&self) -> u64 {
        let taken = self.known.len() + usize::from(self.preparing.is_some());
        u64::from(self.count_max).saturating_sub(taken as u64).min(self.creatable_by_space)
    }

    /// When the next file is to be made, if one is.
    pub(super) fn wanted_at(&self, ahead: usize) -> Option<Instant> {
        // After a failure also where enough are ready meanwhile: only a success shows that there can be more.
        let few = self.failure.is_some() || self.free.len() + self.freeing.len() < ahead;
        let short = self.preparing.is_none() && few;
        (short && self.creatable_by_limits() > 0).then_some(self.retry_at)
    }

    /// The file to make next, if one shall be made now.
    pub(super) fn wanted(&self, ahead: usize, now: Instant) -> Option<u32> {
        self.wanted_at(ahead).filter(|at| *at <= now)?;
        (1..).find(|number| !self.known.contains(number))
    }

    /// A file was made.
    pub(super) fn prepared(&mut self, number: u32) {
        self.known.insert(number);
        self.free.push_back(number);
        self.failure = None;
    }

    /// A file could not be made; the next attempt is at `retry_at`.
    pub(super) fn not_prepared(&mut self, failure: DiskError, retry_at: Instant) {
        self.failure = Some(failure);
        self.retry_at = retry_at;
    }

    pub(super) fn live_bytes(&self) -> u64 {
        self.live.len() as u64 * self.size
    }

    /// How many files there may be from now on.
    pub(super) fn limit_to(&mut self, count_max: u32) {
        self.count_max = count_max;
    }

    /// How many it takes to go on with what is queued.
    pub(super) fn needed(&self) -> usize {
        self.live.len() + SEGMENTS_RESERVED as usize + 1
    }

    /// A free file that is one too many where there shall be `count` at most, and as many as are needed.
    pub(super) fn surplus(&mut self, count: usize) -> Option<u32> {
        if self.known.len() <= count.max(self.needed()) {
            return None;
        }
        let number = self.free.pop_back()?;
        self.known.remove(&number);
        self.found = self.known.len();
        Some(number)
    }

    /// Whether each file has one use at most.
    pub(super) fn each_once(&self) -> bool {
        let live = self.live.iter().map(|live| live.number);
        let all = live.chain(self.free.iter().copied()).chain(self.freeing.iter().map(|freeing| freeing.number));
        let (mut numbers, mut count) = (BTreeSet::new(), 0);
        numbers.extend(all.inspect(|_| count += 1));
        numbers.len() == count
    }

    /// How many files there may be. Those that are there already are used on.
    pub(super) fn limit(&self) -> usize {
        self.found.max(self.count_max as usize)
    }

    pub(super) fn known_count(&self) -> usize {
        self.known.len()
    }
}
