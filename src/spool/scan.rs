//! Looking at segments as they are found: which begin with a batch, and what every valid header tells.

use super::format::{HEADER_SIZE, Header};
use super::recovery::OpenError;
use super::segments::Live;
use crate::env::disk::{Block, Disk, DiskError};
use crate::limits::BLOCK_SIZE;

/// The disk is read in pieces of this size, bytes.
const WINDOW_SIZE: u64 = 1 << 20;

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
    /// Sequences with their watermarks are not kept; only how many are beyond the chain, counted at the end.
    pub beyond: Vec<u64>,
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
        self.beyond.push(header.sequence);
        if self.beyond.len() > BEYOND_COUNT_MAX {
            self.beyond.sort_unstable();
            self.beyond.dedup();
            let surplus = self.beyond.len().saturating_sub(BEYOND_COUNT_MAX / 2);
            self.beyond.drain(..surplus);
        }
    }

    pub(super) fn count_beyond(&mut self, sequence: u64) -> u64 {
        self.beyond.sort_unstable();
        self.beyond.dedup();
        self.beyond.iter().filter(|seen| **seen > sequence).count() as u64
    }
}

/// A segment file that begins with a batch.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found {
    pub live: Live,
    pub first: Header,
}

/// A window on a segment.
pub(super) struct Scan<'a, D> {
    disk: &'a mut D,
    size: u64,
    log: u16,
    segment: u32,
    offset: u64,
    length: u64,
    block: Option<Block>,
}

impl<'a, D: Disk> Scan<'a, D> {
    pub(super) fn new(disk: &'a mut D, size: u64, log: u16) -> Scan<'a, D> {
        Scan { disk, size, log, segment: 0, offset: 0, length: 0, block: None }
    }

    /// `length` bytes at `offset`, or fewer at the end of the segment.
    pub(super) fn bytes(&mut self, segment: u32, offset: u64, length: u64) -> Result<&[u8], DiskError> {
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
    pub(super) fn header(&mut self, segment: u32, offset: u64) -> Result<Option<(Header, u32)>, DiskError> {
        let (log, size) = (self.log, self.size);
        let found = Header::decode(self.bytes(segment, offset, HEADER_SIZE as u64)?);
        Ok(found.filter(|(header, _)| {
            header.log == log && u64::from(header.offset) == offset && header.segment_size == size
        }))
    }

    /// Looks at every block from `offset` on for headers.
    pub(super) fn sweep(&mut self, segment: u32, mut offset: u64, evidence: &mut Evidence) -> Result<(), DiskError> {
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
}

pub(super) fn padded(header: &Header) -> u64 {
    (HEADER_SIZE as u64 + u64::from(header.length)).next_multiple_of(BLOCK_SIZE as u64)
}

/// Looks at every file: those that begin with a batch, and what headers tell.
pub(super) fn look<D: Disk>(
    scan: &mut Scan<'_, D>,
    files: &[(u32, u64)],
    evidence: &mut Evidence,
) -> Result<Vec<Found>, OpenError> {
    let mut found = Vec::new();
    for (segment, _) in files {
        let first = Header::decode(scan.bytes(*segment, 0, HEADER_SIZE as u64)?);
        if let Some((header, _)) = first.filter(|(header, _)| header.offset == 0) {
            if header.log != scan.log || header.incarnation != *evidence.incarnation.get_or_insert(header.incarnation) {
                return Err(OpenError::Foreign { segment: *segment });
            }
            found.push(Found { live: Live { generation: header.generation, number: *segment }, first: header });
        }
    }
    // Whatever stands anywhere is evidence, also where a batch of an older use of the segment reaches over it: a batch
    // may have landed of which all that came before was lost, and its sequence must not be given again.
    for (segment, _) in files {
        scan.sweep(*segment, 0, evidence)?;
    }
    Ok(found)
}
