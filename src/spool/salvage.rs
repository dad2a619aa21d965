//! Taking what is whole from where the chain is broken.

use super::damage::{Damage, Damaged};
use super::format::{HEADER_SIZE, Header};
use super::log::Link;
use super::message::Extent;
use super::record::{
    CHUNK_HEADER_SIZE, RECORD_ALIGNMENT, RECORD_HEADER_SIZE, Record, Seal, checked_size, plausible_size,
};
use super::replay::{Replay, apply, content_damage, decode_one};
use super::segments::Live;
use crate::checksum::crc32c;
use crate::env::disk::{Disk, DiskError};
use crate::limits::BLOCK_SIZE;

/// Trying a record of this size costs next to nothing, bytes.
const SIZE_SMALL: usize = BLOCK_SIZE;

/// Uses of segment files, and segments behind a gap, that are looked through for files whose headers are all gone: a
/// crash or damage leaves few.
const ORPHAN_GENERATIONS_MAX: usize = 64;

/// A stretch of a segment whose records are taken one by one.
#[derive(Clone, Copy)]
struct Stretch {
    at: Live,
    from: u64,
    to: u64,
    /// It begins where a batch header should stand, and ends at the first true one whose sequence is above this.
    gap_after: Option<u64>,
}

/// What came of a stretch.
#[derive(Default)]
struct Salvaged {
    /// Where it ended.
    end: u64,
    /// The header that ended it.
    resumed: Option<Header>,
    /// Whole records.
    records: u64,
    /// Runs of bytes between them that are none.
    lost: u64,
}

impl<D: Disk> Replay<'_, D> {
    /// Takes the whole records of a batch whose header is good and whose records are not.
    pub(super) fn salvage_batch(&mut self, at: Live, from: u64, header: &Header) -> Result<(), DiskError> {
        let before = self.damages.count;
        let length = u64::from(header.length);
        let found = self.salvage(Stretch { at, from, to: from + length, gap_after: None })?;
        let lost = u64::from(header.records).saturating_sub(found.records);
        self.damages.records += lost;
        if lost > 0 {
            self.unfinished.suspect(at, from);
        }
        if self.damages.count == before {
            // A byte that no record needs, or one that the device does not give and that was zero.
            self.lost(at, from, length, Damaged::Records { lost: 0 });
        }
        Ok(())
    }

    /// Crosses a gap in the chain: takes the whole records in it and finds where the chain goes on. False if it does not:
    /// then what is missing was the end of the log.
    pub(super) fn bridge(&mut self) -> Result<bool, DiskError> {
        self.recognise_orphans()?;
        let (before, sequence, origin, begin) = (self.damages.count, self.sequence(), self.at(), self.offset);
        let (mut offset, mut lost) = (self.offset, 0);
        for place in self.place..self.chain.len() {
            let at = self.chain[place];
            let stretch = Stretch { at, from: offset, to: self.scan.size, gap_after: Some(sequence) };
            let found = self.salvage(stretch)?;
            self.touch(at.generation, offset, found.end);
            lost += found.lost;
            if (found.records > 0 || found.resumed.is_some()) && self.live.back() != Some(&at) {
                self.live.push_back(at);
                self.place = place;
            }
            if let Some(header) = found.resumed {
                self.place = place;
                self.offset = found.end;
                let missing = header.previous_sequence.saturating_sub(sequence);
                if missing > 0 && (self.damages.count == before || (at != origin && missing > 1)) {
                    let what = match self.link {
                        Some(_) => Damaged::Batches { first: sequence + 1, last: header.previous_sequence },
                        // Nobody knows where the log began.
                        None => Damaged::Segment,
                    };
                    self.lost(origin, begin, 0, what);
                    lost += 1;
                }
                self.link = Some(Link { sequence: header.previous_sequence, checksum: header.previous_checksum });
                self.note_lost(lost, origin, begin);
                return Ok(true);
            }
            offset = 0;
        }
        // Nothing that was durable may be written over, and the next batch must not look as if it followed the last one
        // that is there: else this gap would be overlooked the next time.
        let synced = self.evidence.synced;
        self.lost(origin, begin, 0, Damaged::Batches { first: sequence + 1, last: synced });
        self.note_lost(lost + 1, origin, begin);
        self.link = Some(Link { sequence: synced, checksum: 0 });
        self.offset = self.scan.size;
        self.tail_lost = true;
        Ok(false)
    }

    /// Finds segments of which not one header is left by the first record in them.
    fn recognise_orphans(&mut self) -> Result<(), DiskError> {
        let generations = self.chain.iter().map(|live| live.generation);
        let known: Vec<u64> = generations.skip(self.place).take(ORPHAN_GENERATIONS_MAX).collect();
        for (before, after) in known.iter().zip(known.iter().skip(1)) {
            for generation in (before + 1..*after).take(ORPHAN_GENERATIONS_MAX) {
                for place in 0..self.orphans.len() {
                    let at = Live { generation, number: self.orphans[place] };
                    if self.whole_record(at, HEADER_SIZE as u64)? {
                        self.orphans.swap_remove(place);
                        let place = self.chain.partition_point(|live| live.generation < generation);
                        self.chain.insert(place, at);
                        break;
                    }
                }
            }
        }
        Ok(())
    }

    fn note_lost(&mut self, runs: u64, at: Live, offset: u64) {
        if runs > 0 {
            self.damages.records += runs;
            self.unfinished.suspect(at, offset);
        }
    }

    fn lost(&mut self, at: Live, offset: u64, length: u64, what: Damaged) {
        self.damages.note(Damage { segment: Some(at.number), generation: at.generation, offset, length, what });
    }

    fn salvage(&mut self, stretch: Stretch) -> Result<Salvaged, DiskError> {
        let Stretch { at, from, to, gap_after } = stretch;
        let mut found = Salvaged::default();
        let (mut offset, mut run) = (from, None);
        while offset + RECORD_ALIGNMENT as u64 <= to {
            if let Some(sequence) = gap_after
                && offset.is_multiple_of(BLOCK_SIZE as u64)
                && let Some((header, _)) = self.true_header(at, offset)?
                && header.sequence > sequence
            {
                found.resumed = Some(header);
                break;
            }
            match self.take_record(at, offset, to)? {
                Some(size) => {
                    if let Some(start) = run.take() {
                        found.lost += self.lose(stretch, start, offset)?;
                    }
                    found.records += 1;
                    offset += size;
                }
                None => {
                    run.get_or_insert(offset);
                    offset += RECORD_ALIGNMENT as u64;
                }
            }
        }
        // Where no header ends a gap, nobody knows how far the batches went: what follows the last whole record may
        // never have been written in this use of the segment.
        if let Some(start) = run
            && (found.resumed.is_some() || gap_after.is_none())
        {
            found.lost += self.lose(stretch, start, offset)?;
        }
        found.end = offset;
        Ok(found)
    }

    /// Replays the record at `offset` if it is whole and ends before `to`, and says how many bytes it takes.
    fn take_record(&mut self, at: Live, offset: u64, to: u64) -> Result<Option<u64>, DiskError> {
        let head = self.scan.bytes(at.number, offset, RECORD_HEADER_SIZE as u64)?;
        let Some(size) = plausible_size(head) else { return Ok(None) };
        let checked = checked_size(head);
        let padded = size.next_multiple_of(RECORD_ALIGNMENT);
        if offset + padded as u64 > to {
            return Ok(None);
        }
        if checked > SIZE_SMALL {
            match self.effort.checked_sub(checked as u64) {
                Some(rest) => self.effort = rest,
                None => return Ok(None),
            }
        }
        if !self.whole_record(at, offset)? {
            return Ok(None);
        }
        let Replay { scan, index, unfinished, number_next, damages, .. } = self;
        let bytes = scan.bytes(at.number, offset, padded as u64)?;
        let place = u32::try_from(offset).expect("segments are small");
        let Ok(record) = decode_one(bytes, at.generation) else { return Ok(None) };
        if let Record::Chunk { id, length, checksum } = record {
            let start = CHUNK_HEADER_SIZE;
            if crc32c(&bytes[start..start + length as usize]) != checksum {
                let extent = Extent { generation: at.generation, offset: place + start as u32, length, checksum };
                damages.note(content_damage(Some(at.number), &extent, id));
            }
        }
        apply(index, unfinished, number_next, record);
        Ok(Some(padded as u64))
    }

    /// Whether a whole record stands at `offset` that was written there in this use of the segment.
    fn whole_record(&mut self, at: Live, offset: u64) -> Result<bool, DiskError> {
        let Some(size) = plausible_size(self.scan.bytes(at.number, offset, RECORD_HEADER_SIZE as u64)?) else {
            return Ok(false);
        };
        let opened = self.evidence.opening_at(at.generation, offset);
        let (Some(incarnation), Some(opened)) = (self.evidence.incarnation, opened) else { return Ok(false) };
        let seal = Seal::new(incarnation, opened, at.generation);
        let place = u32::try_from(offset).expect("segments are small");
        Ok(seal.is_whole(place, self.scan.bytes(at.number, offset, size as u64)?))
    }

    /// Notes that `from..to` holds no record. Zeros are what batches are padded with and not counted. Returns how many
    /// records that is, at least.
    fn lose(&mut self, stretch: Stretch, mut from: u64, to: u64) -> Result<u64, DiskError> {
        let at = stretch.at;
        if stretch.gap_after.is_some() && from == stretch.from {
            let end = (from + HEADER_SIZE as u64).min(to);
            if self.used(at, from, end)?.is_some() {
                self.lost(at, from, end - from, Damaged::Header);
            }
            from = end;
        }
        let Some((first, last, lost)) = self.used(at, from, to)? else { return Ok(0) };
        self.lost(at, first, last - first, Damaged::Records { lost });
        Ok(1)
    }

    /// The first byte, the end, and the number of bytes between these places that are not zero or cannot be read.
    fn used(&mut self, at: Live, from: u64, to: u64) -> Result<Option<(u64, u64, u64)>, DiskError> {
        let mut found: Option<(u64, u64, u64)> = None;
        for offset in (from..to).step_by(RECORD_ALIGNMENT) {
            let zero = self.scan.bytes(at.number, offset, 8)?.iter().all(|byte| *byte == 0);
            if !zero || self.scan.is_unreadable(at.number, offset) {
                let (first, _, count) = found.unwrap_or((offset, 0, 0));
                found = Some((first, offset + 8, count + 8));
            }
        }
        Ok(found)
    }
}
