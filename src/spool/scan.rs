//! Looking at segments as they are found: which generation each holds, and what every valid header tells.

use std::collections::{BTreeMap, BTreeSet};

use super::format::{HEADER_SIZE, Header};
use super::recovery::OpenError;
use super::segments::Live;
use crate::env::Now;
use crate::env::disk::{Block, Disk, DiskError};
use crate::limits::{BLOCK_SIZE, UNREADABLE_BLOCKS_MAX};

/// The disk is read in pieces of this size, bytes: several batches of the usual largest size, as the one that a piece ends in
/// is read again.
const WINDOW_SIZE: u64 = 8 << 20;

/// What valid headers tell, wherever they lie.
#[derive(Debug, Default)]
pub(super) struct Evidence {
    pub incarnation: Option<u64>,
    pub sequence: u64,
    pub synced: u64,
    pub start: u64,
    pub epoch: u64,
    pub generation: u64,
    pub number_next: u64,
    /// The latest opening.
    pub opened: u64,
    /// Where each opening went on: one entry for each start of the process that the log still tells of, later ones behind
    /// earlier ones.
    openings: BTreeMap<(u64, u64), u64>,
    /// Sequences with their watermarks are not kept; only how many are beyond the chain, counted at the end.
    beyond: Vec<u64>,
}

/// As many sequences as can be in flight are kept for counting what was cut.
const BEYOND_COUNT_MAX: usize = 64;

impl Evidence {
    pub(super) fn note(&mut self, header: &Header) {
        self.sequence = self.sequence.max(header.sequence);
        self.synced = self.synced.max(header.synced);
        self.start = self.start.max(header.start);
        self.epoch = self.epoch.max(header.epoch);
        self.generation = self.generation.max(header.generation);
        self.number_next = self.number_next.max(header.number_next);
        self.note_opening(header);
        self.beyond.push(header.sequence);
        if self.beyond.len() > BEYOND_COUNT_MAX {
            self.beyond.sort_unstable();
            self.beyond.dedup();
            let surplus = self.beyond.len().saturating_sub(BEYOND_COUNT_MAX / 2);
            self.beyond.drain(..surplus);
        }
    }

    pub(super) fn note_opening(&mut self, header: &Header) {
        let opening = header.opening;
        self.opened = self.opened.max(opening.at);
        let place = (opening.generation, u64::from(opening.offset));
        if self.opening_at(place.0, place.1).is_some_and(|at| at >= opening.at) {
            return;
        }
        // What went on behind this place before that time wrote nothing that is true any more: the log was cut further
        // in front. So the entries rise in place and in time.
        let cut: Vec<_> =
            self.openings.range(place..).take_while(|(_, at)| **at < opening.at).map(|(at, _)| *at).collect();
        for place in cut {
            self.openings.remove(&place);
        }
        self.openings.insert(place, opening.at);
    }

    /// The opening that whatever is true at this place was written in: the last that went on at or before it. What
    /// names another one was left there by a crash.
    pub(super) fn opening_at(&self, generation: u64, offset: u64) -> Option<u64> {
        self.openings.range(..=(generation, offset)).next_back().map(|(_, at)| *at)
    }

    /// The name of the next opening: the time, so that it differs also from one that left nothing readable.
    pub(super) fn next_opening(&self, now: Now) -> u64 {
        now.wall.micros().max(self.opened + 1)
    }

    pub(super) fn count_beyond(&mut self, sequence: u64) -> u64 {
        self.beyond.sort_unstable();
        self.beyond.dedup();
        self.beyond.iter().filter(|seen| **seen > sequence).count() as u64
    }
}

/// A window on a segment.
pub(super) struct Scan<'a, D> {
    disk: &'a mut D,
    pub size: u64,
    log: u16,
    segment: u32,
    offset: u64,
    length: u64,
    block: Option<Block>,
    /// Blocks that the device does not give: segment and offset. They read as zeros.
    unreadable: BTreeSet<(u32, u64)>,
}

impl<'a, D: Disk> Scan<'a, D> {
    pub(super) fn new(disk: &'a mut D, size: u64, log: u16) -> Scan<'a, D> {
        Scan { disk, size, log, segment: 0, offset: 0, length: 0, block: None, unreadable: BTreeSet::new() }
    }

    /// `length` bytes at `offset`, or fewer at the end of the segment. Fails only if the device fails all over.
    pub(super) fn bytes(&mut self, segment: u32, offset: u64, length: u64) -> Result<&[u8], DiskError> {
        let end = (offset + length).min(self.size);
        let hit = self.block.is_some() && self.segment == segment && offset >= self.offset;
        if !hit || end > self.offset + self.length {
            let start = offset / BLOCK_SIZE as u64 * BLOCK_SIZE as u64;
            // A whole window behind what is asked for, so that many askings near each other cost one read.
            let wanted = (end.max(start) + WINDOW_SIZE).next_multiple_of(BLOCK_SIZE as u64).min(self.size) - start;
            self.block = None;
            self.block = Some(self.load(segment, start, wanted)?);
            (self.segment, self.offset, self.length) = (segment, start, wanted);
        }
        let start = usize::try_from(offset - self.offset).expect("within the window");
        let count = usize::try_from(end.saturating_sub(offset)).expect("within the window");
        Ok(self.block.as_ref().map_or(&[], |block| &block.bytes()[start..start + count]))
    }

    /// Reads in one go, or block by block around what the device does not give. Where it gives nothing at all it is not the
    /// medium that is damaged, or not only: the log stays as it is, to be opened another time.
    fn load(&mut self, segment: u32, start: u64, length: u64) -> Result<Block, DiskError> {
        let count = usize::try_from(length).expect("segments fit into memory");
        if let Ok(block) = self.disk.read_now(segment, start, count) {
            return Ok(block);
        }
        let (mut whole, mut failure) = (Block::zeroed(count), None);
        let mut read = 0;
        for place in (0..count).step_by(BLOCK_SIZE) {
            let offset = start + place as u64;
            if self.unreadable.contains(&(segment, offset)) {
                continue;
            }
            match self.disk.read_now(segment, offset, BLOCK_SIZE) {
                Ok(block) => {
                    whole.bytes_mut()[place..place + BLOCK_SIZE].copy_from_slice(&block.bytes()[..BLOCK_SIZE]);
                    read += 1;
                }
                Err(error) if self.unreadable.len() >= UNREADABLE_BLOCKS_MAX => return Err(error),
                Err(error) => {
                    self.unreadable.insert((segment, offset));
                    failure = Some(error);
                }
            }
        }
        match failure {
            Some(error) if read == 0 && count > BLOCK_SIZE => Err(error),
            _ => Ok(whole),
        }
    }

    /// Whether the device does not give the block that this byte lies in.
    pub(super) fn is_unreadable(&self, segment: u32, offset: u64) -> bool {
        !self.unreadable.is_empty()
            && self.unreadable.contains(&(segment, offset / BLOCK_SIZE as u64 * BLOCK_SIZE as u64))
    }

    /// The header at `offset`, if one stands there that says it does.
    pub(super) fn header(&mut self, segment: u32, offset: u64) -> Result<Option<(Header, u32)>, DiskError> {
        let (log, size) = (self.log, self.size);
        let found = Header::decode(self.bytes(segment, offset, HEADER_SIZE as u64)?);
        Ok(found.filter(|(header, _)| {
            header.log == log && u64::from(header.offset) == offset && header.segment_size == size
        }))
    }

    /// Looks at every block from `offset` on for headers, and says what the latest generation among them is.
    pub(super) fn sweep(
        &mut self,
        segment: u32,
        mut offset: u64,
        evidence: &mut Evidence,
    ) -> Result<Option<u64>, DiskError> {
        let mut generation = None;
        while offset < self.size {
            if let Some((header, _)) = self.header(segment, offset)?
                && header.incarnation == *evidence.incarnation.get_or_insert(header.incarnation)
            {
                evidence.note(&header);
                generation = generation.max(Some(header.generation));
            }
            offset += BLOCK_SIZE as u64;
        }
        Ok(generation)
    }
}

pub(super) fn padded(header: &Header) -> u64 {
    (HEADER_SIZE as u64 + u64::from(header.length)).next_multiple_of(BLOCK_SIZE as u64)
}

/// Files by what was found in them.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Which use of each file holds what it has, in the order of the uses.
    pub segments: Vec<Live>,
    /// Those without a single header.
    pub orphans: Vec<u32>,
}

/// Looks at every file, and at what headers tell.
pub(super) fn look<D: Disk>(
    scan: &mut Scan<'_, D>,
    files: &[(u32, u64)],
    evidence: &mut Evidence,
) -> Result<Found, OpenError> {
    let (mut found, mut other_version) = (Found::default(), None);
    let mut firsts = Vec::new();
    for (segment, _) in files {
        let bytes = scan.bytes(*segment, 0, HEADER_SIZE as u64)?;
        if Header::is_of_another_version(bytes) {
            other_version = Some(*segment);
        }
        let first = Header::decode(bytes).map(|(first, _)| first).filter(|first| first.offset == 0);
        if let Some(first) = &first
            && (first.log != scan.log || first.incarnation != *evidence.incarnation.get_or_insert(first.incarnation))
        {
            return Err(OpenError::Foreign { segment: *segment });
        }
        firsts.push((*segment, first.map(|first| first.generation)));
    }
    // Whatever stands anywhere is evidence, also where a batch of an older use of the segment reaches over it: a batch
    // may have landed of which all that came before was lost, and its sequence must not be given again. A file that does
    // not begin with a batch was never used, torn in its first batch, or is damaged there: others tell which use it is.
    for (segment, first) in firsts {
        let swept = scan.sweep(segment, 0, evidence)?;
        match first.or(swept) {
            Some(generation) => found.segments.push(Live { generation, number: segment }),
            None => found.orphans.push(segment),
        }
    }
    // A damaged header may look like that, but not when there is no other one.
    match other_version {
        Some(segment) if found.segments.is_empty() => return Err(OpenError::Version { segment }),
        _ => found.segments.sort_by_key(|live| live.generation),
    }
    Ok(found)
}
