//! Replaying a log: along its chain of batches, and on behind damage.
//!
//! Where the chain breaks and something behind the break was known to be durable, there is damage. Then every record
//! that is whole by its own checksum is taken, up to the next batch header that is true, and the chain goes on from
//! there. A header or a record is true if the opening that it names is the one that wrote at its place; so nothing is
//! taken that a crash left behind the end that the chain had then.

use crate::checksum::crc32c;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::MessageId;
use super::copies::{Point, Points};
use super::damage::{Damage, Damaged, Damages};
use super::format::{FLAG_TAINTED, HEADER_SIZE, Header};
use super::index::Index;
use super::log::Link;
use super::message::Extent;
use super::record::{BadRecord, Record, decode};
use super::scan::{Evidence, Scan, padded};
use super::segments::Live;
use crate::env::disk::{Disk, DiskError};
use crate::limits::DRAFTS_MAX;

/// Content that is to be looked at byte by byte in the end: what damage may have touched.
#[derive(Debug)]
pub(super) struct Region {
    pub generation: u64,
    pub from: u64,
    pub to: u64,
}

pub(super) struct Replay<'a, D> {
    pub scan: Scan<'a, D>,
    pub evidence: Evidence,
    pub index: &'a mut Index,
    /// Segments that the chain can go through, in its order.
    pub chain: Vec<Live>,
    /// Files in which there is no header at all: never used, or damaged.
    pub orphans: Vec<u32>,
    /// Which of them it has reached, and where in that it goes on, bytes.
    pub place: usize,
    pub offset: u64,
    /// The last batch; `None` before the first.
    pub link: Option<Link>,
    pub last: Option<Header>,
    pub points: Points,
    pub live: VecDeque<Live>,
    pub number_next: u64,
    pub batches: u64,
    pub bytes: u64,
    /// Batches that were durable are missing at the end.
    pub tail_lost: bool,
    pub damages: Damages,
    pub regions: Vec<Region>,
    pub unfinished: Unfinished,
    /// Bytes that may still be spent on places that only look like large records.
    pub effort: u64,
    /// The last batch that is taken, where what stands behind it does not count.
    pub until: Option<u64>,
}

impl<D: Disk> Replay<'_, D> {
    /// Goes along the chain to its end.
    pub(super) fn run(&mut self) -> Result<(), DiskError> {
        loop {
            if self.until.is_some_and(|until| self.sequence() >= until) {
                return Ok(());
            }
            if self.step()? || self.roll()? {
                continue;
            }
            self.scan.sweep(self.at().number, self.offset, &mut self.evidence)?;
            if self.evidence.synced <= self.sequence() {
                return Ok(());
            }
            // The sweep may have shown that what looked like a torn batch was durable.
            if !self.step()? && !self.roll()? && !self.bridge()? {
                return Ok(());
            }
        }
    }

    pub(super) fn at(&self) -> Live {
        self.chain[self.place]
    }

    /// The sequence of the last batch.
    pub(super) fn sequence(&self) -> u64 {
        self.link.map_or(0, |link| link.sequence)
    }

    /// The header at a place, if it is the one that was written there last and is no leftover of a crash.
    pub(super) fn true_header(&mut self, at: Live, offset: u64) -> Result<Option<(Header, u32)>, DiskError> {
        if offset >= self.scan.size {
            return Ok(None);
        }
        let Some((header, checksum)) = self.scan.header(at.number, offset)? else { return Ok(None) };
        if header.generation != at.generation
            || Some(header.incarnation) != self.evidence.incarnation
            || offset + padded(&header) > self.scan.size
        {
            return Ok(None);
        }
        self.evidence.note_opening(&header);
        let is_true = self.evidence.opening_at(at.generation, offset) == Some(header.opening.at);
        Ok(is_true.then_some((header, checksum)))
    }

    fn follows(&self, header: &Header) -> bool {
        self.link
            .is_none_or(|link| header.previous_sequence == link.sequence && header.previous_checksum == link.checksum)
    }

    /// Replays the batch that follows in this segment, if one does.
    fn step(&mut self) -> Result<bool, DiskError> {
        let (at, offset) = (self.at(), self.offset);
        let Some((header, checksum)) = self.true_header(at, offset)? else { return Ok(false) };
        if !self.follows(&header) {
            return Ok(false);
        }
        let (start, length) = (offset + HEADER_SIZE as u64, u64::from(header.length));
        if !self.apply_batch(at, start, &header)? {
            if header.sequence > self.evidence.synced {
                return Ok(false);
            }
            self.salvage_batch(at, start, &header)?;
            self.touch(at.generation, start, start + length);
        }
        if header.flags & FLAG_TAINTED != 0 {
            self.touch(at.generation, start, start + length);
        }
        self.batches += 1;
        self.bytes += padded(&header);
        self.offset += padded(&header);
        self.link = Some(Link { sequence: header.sequence, checksum });
        self.points.push(Point::of(&header, checksum));
        self.last = Some(header);
        Ok(true)
    }

    /// Goes on in the segment whose first batch follows, if one does.
    fn roll(&mut self) -> Result<bool, DiskError> {
        if self.link.is_none() {
            return Ok(false);
        }
        for place in self.place + 1..self.chain.len() {
            let next = self.chain[place];
            let Some((header, _)) = self.true_header(next, 0)? else { continue };
            if !self.follows(&header) {
                continue;
            }
            let payload = self.scan.bytes(next.number, HEADER_SIZE as u64, u64::from(header.length))?;
            if crc32c(payload) == header.payload_checksum || header.sequence <= self.evidence.synced {
                self.place = place;
                self.offset = 0;
                self.live.push_back(next);
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Replays a batch that is as it was written; false if it is not.
    fn apply_batch(&mut self, at: Live, start: u64, header: &Header) -> Result<bool, DiskError> {
        let Replay { scan, index, unfinished, number_next, .. } = self;
        let payload = scan.bytes(at.number, start, u64::from(header.length))?;
        if crc32c(payload) != header.payload_checksum {
            return Ok(false);
        }
        let mut rest = payload;
        for _ in 0..header.records {
            let Ok(record) = decode(&mut rest, header.generation) else { return Ok(false) };
            apply(index, unfinished, number_next, record);
        }
        Ok(rest.is_empty())
    }

    /// Content between these places is to be looked at in the end.
    pub(super) fn touch(&mut self, generation: u64, from: u64, to: u64) {
        match self.regions.last_mut() {
            Some(last) if last.generation == generation && last.to >= from => last.to = last.to.max(to),
            _ => self.regions.push(Region { generation, from, to }),
        }
    }

    /// Looks at all content that damage may have touched, and says which messages are damaged.
    pub(super) fn examine(&mut self) -> Result<BTreeSet<MessageId>, DiskError> {
        let mut damaged = BTreeSet::new();
        let oldest = self.live.front().map_or(u64::MAX, |live| live.generation);
        if self.regions.is_empty() && self.index.oldest_needed() >= oldest {
            return Ok(damaged);
        }
        let Replay { scan, index, live, damages, regions, .. } = self;
        for message in index.iter() {
            for extent in message.extents() {
                let place = live.binary_search_by_key(&extent.generation, |live| live.generation);
                let Ok(place) = place else {
                    damaged.insert(message.id());
                    damages.note(content_damage(None, &extent, message.id()));
                    continue;
                };
                let (offset, length) = (u64::from(extent.offset), u64::from(extent.length));
                if touches(regions, &extent)
                    && crc32c(scan.bytes(live[place].number, offset, length)?) != extent.checksum
                {
                    damaged.insert(message.id());
                }
            }
        }
        Ok(damaged)
    }

    /// Names the messages whose records may be among what was lost.
    pub(super) fn name_unfinished(&mut self) {
        for (id, (at, offset)) in std::mem::take(&mut self.unfinished.suspected) {
            let what = Damaged::Message { id };
            let (segment, generation) = (Some(at.number), at.generation);
            self.damages.note(Damage { segment, generation, offset, length: 0, what });
        }
    }
}

pub(super) fn content_damage(segment: Option<u32>, extent: &Extent, id: MessageId) -> Damage {
    let (offset, length) = (u64::from(extent.offset), u64::from(extent.length));
    Damage { segment, generation: extent.generation, offset, length, what: Damaged::Content { id } }
}

fn touches(regions: &[Region], extent: &Extent) -> bool {
    let (from, to) = (u64::from(extent.offset), u64::from(extent.offset) + u64::from(extent.length));
    let after = regions.partition_point(|region| (region.generation, region.to) <= (extent.generation, from));
    regions.get(after).is_some_and(|region| region.generation == extent.generation && region.from < to)
}

/// Replays one record.
pub(super) fn apply(index: &mut Index, unfinished: &mut Unfinished, number_next: &mut u64, record: Record) {
    let id = match record {
        Record::Chunk { id, .. } => {
            // Content that was moved forward belongs to a message that is there.
            if index.get(id).is_none() {
                unfinished.seen(id);
            }
            id
        }
        Record::Message(message) => {
            let id = message.id;
            unfinished.ended(id);
            if message.is_open() {
                index.insert(&message);
            }
            id
        }
        Record::Outcome { id, recipient, outcome } => {
            // Of a message whose record was lost it says that there was one: the suspicion stays.
            index.settle(id, recipient, &outcome);
            id
        }
        Record::Attempt { id, recipients } => {
            index.attempt(id, &recipients);
            id
        }
        Record::Hold { id, held } => {
            index.hold(id, held);
            id
        }
        Record::Delete { id } => {
            index.delete(id);
            unfinished.ended(id);
            id
        }
    };
    *number_next = (*number_next).max(id.number() + 1);
}

/// Messages whose content was seen and whose record was not yet. Most of those that stay are sessions that ended before
/// their message was complete; but a record may be among what was lost.
#[derive(Debug, Default)]
pub(super) struct Unfinished {
    open: BTreeSet<MessageId>,
    /// Those that were open when records were lost, and of which nothing was seen since; and where that was.
    suspected: BTreeMap<MessageId, (Live, u64)>,
}

impl Unfinished {
    fn seen(&mut self, id: MessageId) {
        self.suspected.remove(&id);
        self.open.insert(id);
        // More cannot have been open at a time: the oldest are leftovers.
        if self.open.len() > DRAFTS_MAX {
            self.open.pop_first();
        }
    }

    fn ended(&mut self, id: MessageId) {
        self.open.remove(&id);
        self.suspected.remove(&id);
    }

    /// Records were lost here.
    pub(super) fn suspect(&mut self, at: Live, offset: u64) {
        self.suspected.extend(std::mem::take(&mut self.open).into_iter().map(|id| (id, (at, offset))));
        while self.suspected.len() > DRAFTS_MAX {
            self.suspected.pop_first();
        }
    }
}

/// Takes the record at the front of `bytes`.
pub(super) fn decode_one(bytes: &[u8], generation: u64) -> Result<Record, BadRecord> {
    let mut rest = bytes;
    decode(&mut rest, generation)
}
