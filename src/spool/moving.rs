//! Freeing segments: the oldest first, and what is still needed in it moved forward.

use super::MessageId;
use super::batch::{Filling, Moved};
use super::log::{Log, Reserve, Waits};
use super::message::{Extent, Message};
use super::reader::blocks_around;
use super::record::{CHUNK_HEADER_SIZE, encode_message};
use crate::checksum::crc32c;
use crate::env::Instant;
use crate::env::disk::{Block, Disk, DiskError, Token};
use crate::limits::{BLOCK_SIZE, MOVE_RETRY_DELAY, SEGMENTS_RESERVED};

pub(super) const TOKEN_KIND: u64 = 2;

/// Messages to be moved lie near each other: one read serves many, bytes.
const WINDOW_SIZE: u64 = 512 * 1024;

/// A part of the segment that is being emptied.
#[derive(Debug)]
struct Window {
    generation: u64,
    offset: u64,
    /// `None` where the disk could not be read.
    block: Option<Block>,
    length: usize,
}

impl Window {
    fn covers(&self, extent: &Extent) -> bool {
        let (start, length, _) = blocks_around(extent);
        self.generation == extent.generation
            && start >= self.offset
            && start + length as u64 <= self.offset + self.length as u64
    }
}

/// A message that is being copied. Its record is written after every part: a crash throws away what no record names, and the
/// space that it has taken.
#[derive(Debug)]
struct Job {
    id: MessageId,
    extents: Vec<Extent>,
    next: usize,
    /// Bytes that were copied and that no record names yet.
    unnamed: usize,
    /// A part has so many bytes: an eighth of a segment, and several times what the record has.
    part: usize,
    /// What its record takes.
    record: usize,
}

/// Where copying a message has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// All that was in the segment is copied.
    Whole,
    /// A part is copied, and more is to come.
    Part,
    /// The next chunk has to wait for a batch or for a read.
    Waits,
    /// There is no room for the next chunk.
    Crowded,
}

#[derive(Debug)]
pub(super) struct Mover {
    job: Option<Job>,
    window: Option<Window>,
    /// The read that is under way, and the window that it is for.
    reading: Option<(Token, Window)>,
    reads: u64,
    /// Content that was not as it should be when it was looked at first.
    doubted: Option<Extent>,
    /// The last read failed: the next one asks for no more than is needed.
    narrow: bool,
    /// Nothing is read before then, as what was needed could not be read.
    retry_at: Instant,
    /// Where in the segment's messages the search goes on.
    generation: u64,
    after: MessageId,
    round: Round,
}

/// Moving all that is older than a segment once. Another round pays only after something has changed: where the queue can
/// lie no closer the same messages would be moved for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Round {
    /// None is needed unless more than half a segment is written beyond this place, or as much becomes garbage.
    Over { position: u128, weight: u64 },
    /// It ends when nothing before this segment is needed.
    Moving { until: u64 },
}

impl Default for Mover {
    fn default() -> Mover {
        Mover {
            job: None,
            window: None,
            reading: None,
            reads: 0,
            doubted: None,
            narrow: false,
            retry_at: Instant::ZERO,
            generation: 0,
            after: MessageId::from_bits(0),
            round: Round::Over { position: 0, weight: u64::MAX },
        }
    }
}

impl<D: Disk> Log<D> {
    /// Frees what is not needed, and moves forward what keeps the oldest segment when space is short.
    pub(super) fn reclaim(&mut self) {
        self.release_emptied();
        self.end_evacuation();
        let Some(oldest) = self.segments.live.get(self.emptied.len()).copied() else { return };
        let is_last = self.emptied.len() + 1 >= self.segments.live.len();
        if self.is_evacuated(oldest.generation) {
            return self.move_on(oldest.generation, is_last);
        }
        // One that is ready beyond those that are kept, and one on the way to be.
        let wanted = self.segments_ahead() as u64 - 1;
        let available = self.segments.available() + self.emptied.len() as u64;
        if is_last || available > wanted.max(u64::from(self.settings.segments_max / 8)) {
            return;
        }
        if available <= u64::from(SEGMENTS_RESERVED) {
            self.give_up_oldest(oldest.generation);
        }
        // Moving pays only while there is garbage to be had.
        let garbage = self.segments.live_bytes().saturating_sub(self.index.weight() + self.draft_bytes);
        if garbage >= self.settings.segment_size / 2 && self.goes_round(oldest.generation) {
            // Messages with content in a segment that is gone hold back all that follow.
            self.step_move(oldest.generation.min(self.index.oldest_needed()));
        }
    }

    /// Moves forward what the partner cannot be given, whether there is garbage to be had or not: once, as what it becomes can.
    fn move_on(&mut self, oldest: u64, is_last: bool) {
        if !is_last {
            self.step_move(oldest.min(self.index.oldest_needed()));
        } else if self.filling.as_ref().is_none_or(|filling| filling.records == 0) {
            // The next batch begins a segment, as soon as one is ready.
            let block = self.filling.take().map(Filling::into_block);
            block.into_iter().for_each(|block| self.spares.give_back(block));
            self.start_filling();
        }
        if self.segments.available() <= u64::from(SEGMENTS_RESERVED) {
            self.give_up_oldest(oldest);
        }
    }

    /// Whether moving what needs the oldest segment belongs to a round that pays.
    fn goes_round(&mut self, oldest: u64) -> bool {
        let Some(current) = self.segments.current() else { return false };
        // A forged generation may be any that is plausible.
        let position =
            u128::from(current.generation) * u128::from(self.segments.size) + u128::from(self.segments.offset);
        let weight = self.index.weight();
        if matches!(self.mover.round, Round::Moving { until } if oldest >= until) {
            self.mover.round = Round::Over { position, weight };
        }
        if let Round::Over { position: before, weight: weight_before } = self.mover.round {
            let half = self.segments.size / 2;
            if position < before + u128::from(half) && weight + half > weight_before {
                return false;
            }
            self.mover.round = Round::Moving { until: current.generation };
        }
        true
    }

    /// Lets go of the oldest segments that nothing needs and no crash would bring back.
    pub(super) fn release_emptied(&mut self) {
        self.note_emptied();
        while self.emptied.front().is_some_and(|batch| *batch <= self.synced) {
            self.emptied.pop_front();
            self.segments.release_oldest();
        }
    }

    /// Notes for each segment that has become empty the batch that must be durable first: the one that holds the last
    /// outcome or copy that emptied it.
    fn note_emptied(&mut self) {
        let outcomes = self.backlog.iter().filter_map(|(_, waits)| match waits {
            Waits::Change(needed) => Some(*needed),
            Waits::Finish(_) | Waits::Move(_) | Waits::Attempt(_) => None,
        });
        let waiting = outcomes.chain(self.requests.iter().map(|(_, needed)| *needed));
        let needed = waiting.min().unwrap_or(u64::MAX).min(self.index.oldest_needed());
        let filled = self.filling.as_ref().is_some_and(|filling| filling.records > 0);
        // Not the sequence before the next: a crash leaves a gap there, which no batch will ever fill.
        let last = if filled { self.sequence_next } else { self.previous.sequence };
        while let Some(live) = self.segments.live.get(self.emptied.len()) {
            if self.emptied.len() + 1 >= self.segments.live.len() || live.generation >= needed {
                break;
            }
            self.emptied.push_back(last);
        }
    }

    /// Slow sessions and readers of finished messages must not hold the whole log's space.
    fn give_up_oldest(&mut self, generation: u64) {
        self.index.drop_done(generation);
        self.give_up_partner(generation);
        if self.index.oldest_pinned().is_none_or(|pinned| pinned > generation) {
            return;
        }
        let mut released = Vec::new();
        for (_, state) in &mut self.drafts {
            if state.pinned.is_some_and(|pinned| pinned <= generation) {
                state.doomed = true;
                released.extend(state.pinned.take());
            }
        }
        for generation in released {
            self.index.unpin(generation);
        }
    }

    fn step_move(&mut self, generation: u64) {
        if self.mover.generation != generation {
            self.mover.generation = generation;
            self.mover.after = MessageId::from_bits(0);
            self.mover.job = None;
        }
        let mut budget = self.settings.batch_size_max;
        let waiting = self.polled_at < self.mover.retry_at;
        while !waiting && self.mover.reading.is_none() && self.backlog.is_empty() {
            let Some(mut job) = self.mover.job.take().or_else(|| self.next_job(generation)) else {
                return self.seal_copies();
            };
            let (step, copied) = self.copy_chunks(&mut job, generation);
            let named = match step {
                Step::Whole | Step::Part => self.commit_move(&mut job),
                Step::Crowded => job.unnamed > 0 && self.commit_move(&mut job),
                Step::Waits => false,
            };
            budget = budget.saturating_sub(copied + 1);
            if !named || step != Step::Whole {
                self.mover.job = Some(job);
            }
            if step == Step::Crowded {
                self.seal_copies();
            }
            if budget == 0 || !named || step == Step::Crowded {
                return;
            }
        }
    }

    /// No more copies join those in the batch that is being filled for now.
    fn seal_copies(&mut self) {
        if let Some(filling) = self.filling.as_mut().filter(|filling| !filling.moved.is_empty()) {
            filling.hurried = true;
        }
    }

    fn next_job(&mut self, generation: u64) -> Option<Job> {
        let id = match self.index.next_to_move(generation, self.mover.after) {
            Some(id) => id,
            // Some that were passed over may be left.
            None => self.index.next_to_move(generation, MessageId::from_bits(0))?,
        };
        self.mover.after = id;
        let mut message = self.index.get(id)?.to_message();
        let record = self.encode_copy(&mut message).len();
        let part = usize::try_from(self.settings.segment_size / 8).unwrap_or(usize::MAX).max(4 * record);
        Some(Job { id, extents: message.extents, next: 0, unnamed: 0, part, record })
    }

    /// Copies chunks of one part of a message, as far as it gets. Says how many bytes.
    fn copy_chunks(&mut self, job: &mut Job, generation: u64) -> (Step, usize) {
        let mut copied = 0;
        while let Some(extent) = job.extents.get(job.next).copied() {
            if self.index.get(job.id).is_none() {
                break;
            }
            if extent.generation != generation {
                job.next += 1;
                continue;
            }
            if job.unnamed >= job.part {
                return (Step::Part, copied);
            }
            let size = CHUNK_HEADER_SIZE + extent.length as usize + 8;
            if !self.keeps(Reserve::Outcomes, size + job.record + 2 * BLOCK_SIZE) {
                return (Step::Crowded, copied);
            }
            if !self.is_at_hand(&extent) || !self.make_room(size) {
                return (Step::Waits, copied);
            }
            let missing = self.segments.number_of(extent.generation).is_none();
            if !missing && self.cache.find(&extent).is_none() && self.is_to_be_read_again(job.id, &extent) {
                return (Step::Waits, copied);
            }
            self.close_chunk();
            let Some(filling) = &mut self.filling else { return (Step::Waits, copied) };
            let (_, _, start) = blocks_around(&extent);
            let zeros;
            let bytes = match (self.cache.find(&extent), &self.mover.window) {
                (Some(bytes), _) => bytes,
                (None, Some(Window { block: Some(block), offset, .. })) => {
                    let start = usize::try_from(u64::from(extent.offset) - offset).unwrap_or(start);
                    &block.bytes()[start..start + extent.length as usize]
                }
                // What cannot be read stays damaged: the checksum says so.
                _ => {
                    zeros = vec![0; extent.length as usize];
                    &zeros
                }
            };
            let damaged = crc32c(bytes) != extent.checksum;
            // The window may have been read before the content was written: what is durable now is read once more.
            let stale =
                self.mover.window.as_ref().is_some_and(|window| window.block.is_some() && window.covers(&extent));
            if damaged && stale && self.mover.doubted.replace(extent) != Some(extent) {
                self.mover.window = None;
                self.is_at_hand(&extent);
                return (Step::Waits, copied);
            }
            filling.tainted |= damaged;
            job.extents[job.next] = filling.push_chunk(job.id, bytes, extent.checksum, &mut self.spares);
            if damaged {
                self.quarantine(job.id, &extent);
            }
            job.next += 1;
            copied += extent.length as usize;
            job.unnamed += extent.length as usize;
        }
        (Step::Whole, copied)
    }

    /// What the disk did not give is asked for again: without its neighbours first, and then until it counts as damaged.
    fn is_to_be_read_again(&mut self, id: MessageId, extent: &Extent) -> bool {
        let failed = self.mover.window.take_if(|window| window.block.is_none());
        let Some(window) = failed else { return false };
        if window.length > blocks_around(extent).1 {
            self.mover.narrow = true;
            return true;
        }
        if !self.is_damaged(id) {
            self.read_failed(id, extent);
            self.mover.retry_at = self.polled_at + MOVE_RETRY_DELAY;
            return true;
        }
        self.mover.window = Some(window);
        false
    }

    fn is_at_hand(&mut self, extent: &Extent) -> bool {
        if self.cache.find(extent).is_some() || self.mover.window.as_ref().is_some_and(|window| window.covers(extent)) {
            return true;
        }
        let (offset, length, _) = blocks_around(extent);
        let Some(number) = self.segments.number_of(extent.generation) else {
            // Its segment is gone: nothing will ever be read there.
            self.mover.window = Some(Window { generation: extent.generation, offset, block: None, length });
            return true;
        };
        let ahead = if self.mover.narrow { 0 } else { WINDOW_SIZE };
        let end = (offset + ahead).min(self.settings.segment_size).max(offset + length as u64);
        let length = usize::try_from(end - offset).unwrap_or(length);
        self.mover.reads += 1;
        let token = TOKEN_KIND << 56 | self.mover.reads & 0xffff_ffff;
        self.mover.window = None;
        self.mover.reading = Some((token, Window { generation: extent.generation, offset, block: None, length }));
        self.disk.read(token, number, offset, length);
        false
    }

    /// The message is not what it was: what was copied of it is of no use.
    pub(super) fn give_up_copy(&mut self, id: MessageId) {
        self.mover.job.take_if(|job| job.id == id);
    }

    pub(super) fn move_read_completed(&mut self, token: Token, result: Result<Block, DiskError>) {
        match self.mover.reading.take() {
            Some((expected, window)) if expected == token => {
                self.mover.narrow &= result.is_err();
                self.mover.window = Some(Window { block: result.ok(), ..window });
            }
            other => self.mover.reading = other,
        }
    }

    /// The record of a copy. What next hops answered last is left out where it is more than a record holds.
    pub(super) fn encode_copy(&self, message: &mut Message) -> Vec<u8> {
        let record = encode_message(message);
        if record.len() <= self.settings.record_size_max() {
            return record;
        }
        message.recipients.iter_mut().for_each(|recipient| recipient.last_reply = None);
        encode_message(message)
    }

    /// Appends the record of what was copied, if its message is still queued; false if there is no room for it.
    fn commit_move(&mut self, job: &mut Job) -> bool {
        let Some(message) = self.index.get(job.id) else { return true };
        // The states as they are now; outcomes that follow stand after this record in the log.
        let mut message = Message { extents: job.extents.clone(), ..message.to_message() };
        let record = self.encode_copy(&mut message);
        // Waiting for room it would hold back what makes room.
        if !self.keeps(Reserve::Outcomes, record.len()) {
            return false;
        }
        self.index.start_move(job.id);
        self.append(record, Waits::Move(Moved { message: Box::new(message), signed: false }));
        job.unnamed = 0;
        true
    }
}
