//! Appending, sealing, acknowledging: the group commit.
//!
//! `acked ≤ synced ≤ sealed ≤ appended`. A batch is sealed when someone waits for it and nothing else is being written, so that
//! latency sets its size, or when it is large enough to be worth another write beside those under way; batches in flight are
//! acknowledged in order, whatever order they complete in.

use std::sync::Arc;

use super::batch::{Filling, Finished, Moved, Sealed};
use super::copies::{self, Point};
use super::event::{LogEvent, Room, Shortage};
use super::format::{FLAG_CLEAN, FLAG_TAINTED, Header};
use super::log::{InFlight, Log, Reserve, Waits};
use super::moving;
use super::reader;
use super::record::RECORD_HEADER_SIZE;
use super::segments::Live;
use crate::env::Now;
use crate::env::disk::{Block, Completion, Disk, DiskError};
use crate::limits::{
    BATCH_PART_APART, BATCH_SIZE_UNHURRIED, BLOCK_SIZE, CHUNK_SIZE_MIN, CLOSING_DELAY, FREE_SPACE_INTERVAL,
    OUTCOME_DELAY, PREPARE_RETRY_DELAY, SEGMENTS_RESERVED, SPACE_WAIT_MAX,
};

/// Tokens: the upper byte says what for.
const TOKEN_KIND_SHIFT: u32 = 56;

impl<D: Disk> Log<D> {
    /// Takes what the disk completed, and seals and submits a batch if there is something to write. Never blocks.
    pub fn poll(&mut self, now: Now, events: &mut Vec<LogEvent>) {
        self.polled_at = now.mono;
        let error = self.take_completions(now, events);
        self.acknowledge(now, events);
        if let Some(error) = error.filter(|_| self.failed.is_none()) {
            self.fail(error, events);
        }
        if self.failed.is_none() && self.following.is_some() {
            self.make_segments(now);
            self.look_for_room();
        } else if self.failed.is_none() {
            self.make_segments(now);
            self.drain_backlog();
            self.reclaim();
            self.seal_when_due(now);
            self.drain_backlog();
            self.seal_when_due(now);
            self.give_up_starving(now);
            self.announce_room(events);
            self.announce_space(events);
        }
        events.extend(self.failures.drain(..).map(|draft| LogEvent::Failed { draft }));
        events.extend(self.quarantine.found.drain(..).map(|id| LogEvent::Damaged { id }));
        events.extend(self.quarantine.breaks.drain(..).map(|damage| LogEvent::Broken { damage }));
        self.disk.submit();
    }

    fn take_completions(&mut self, now: Now, events: &mut Vec<LogEvent>) -> Option<DiskError> {
        let mut completions = std::mem::take(&mut self.completions);
        self.disk.poll(&mut completions);
        let mut failure = None;
        for completion in completions.drain(..) {
            match completion {
                Completion::Written { token, result: Ok(()) } => {
                    if let Some(batch) = self.in_flight.iter_mut().find(|batch| batch.point.sequence == token) {
                        batch.done = true;
                    }
                }
                Completion::Written { result: Err(error), .. } => failure = failure.or(Some(error)),
                Completion::Read { token, result } => match token >> TOKEN_KIND_SHIFT {
                    reader::TOKEN_KIND => self.reader_completed(token, result, events),
                    moving::TOKEN_KIND => self.move_read_completed(token, result),
                    copies::TOKEN_KIND => self.partner_read_completed(token, result),
                    _ => {}
                },
                Completion::Prepared { segment, result } => {
                    self.segments.preparing = None;
                    match result {
                        Ok(()) => self.segments.prepared(segment),
                        // No space for another segment is no fault of those that exist.
                        Err(error) => self.segments.not_prepared(error, now.mono + PREPARE_RETRY_DELAY),
                    }
                    self.look_for_space(now);
                }
            }
        }
        self.completions = completions;
        failure
    }

    fn acknowledge(&mut self, now: Now, events: &mut Vec<LogEvent>) {
        // What completes after a failure is not acknowledged: a batch before it may be missing.
        while self.failed.is_none() && self.in_flight.front().is_some_and(|batch| self.is_durable(batch)) {
            let Some(batch) = self.in_flight.pop_front() else { break };
            self.synced = batch.point.sequence;
            self.batches += 1;
            self.batch_bytes += batch.length as u64;
            let latency = now.mono.since(batch.submitted_at).as_nanos();
            self.commit_latency.saturating_record(u64::try_from(latency).unwrap_or(u64::MAX));
            for finished in batch.finished {
                if finished.message.is_open() {
                    self.index.insert(&finished.message);
                }
                if let Some(generation) = finished.pinned {
                    self.index.unpin(generation);
                }
                events.push(LogEvent::Durable { draft: finished.draft });
            }
            for moved in batch.moved {
                self.index.relocate(&moved.message);
                if moved.signed {
                    events.push(LogEvent::Signed { id: moved.message.id });
                } else {
                    self.moved += 1;
                }
            }
            events.extend(batch.attempts.into_iter().map(|name| LogEvent::Attempted { name }));
        }
        self.segments.synced(self.synced);
    }

    /// The storage failed: nothing that is not acknowledged yet ever will be, and nothing is written again.
    fn fail(&mut self, error: DiskError, events: &mut Vec<LogEvent>) {
        let batches = std::mem::take(&mut self.in_flight).into_iter().flat_map(|batch| batch.finished);
        let filling = self.filling.take().into_iter().flat_map(|filling| filling.finished);
        self.requests.clear();
        self.backlog_bytes = 0;
        let waiting = std::mem::take(&mut self.backlog).into_iter().filter_map(|(_, waits)| match waits {
            Waits::Finish(finished) => Some(finished),
            Waits::Move(_) | Waits::Attempt(_) | Waits::Change(_) => None,
        });
        let lost: Vec<_> = batches.chain(filling).chain(waiting).collect();
        for finished in lost {
            self.drop_finished(finished);
        }
        for (_, state) in &mut self.drafts {
            state.doomed = true;
        }
        // Whoever waits for room goes on and learns of the failure when it finishes.
        self.wake_starved(events);
        self.closing_at = None;
        self.failed = Some(error.clone());
        events.push(LogEvent::Closed { error });
    }

    /// Appends a record: into the batch that is being filled, or behind others that wait for room.
    pub(super) fn append(&mut self, record: Vec<u8>, waits: Waits) {
        if self.failed.is_some() {
            return;
        }
        self.backlog_bytes += record.len();
        self.backlog.push_back((record, waits));
        self.drain_backlog();
    }

    /// Appends the record of what an operator asked for: behind all others, which do not wait for it.
    pub(super) fn request(&mut self, record: Vec<u8>, needed: u64) {
        if self.failed.is_none() {
            self.requests.push_back((record, needed));
            self.drain_backlog();
        }
    }

    pub(super) fn drain_backlog(&mut self) {
        while let Some((record, _)) = self.backlog.front() {
            let size = record.len();
            debug_assert!(size >= RECORD_HEADER_SIZE);
            if !self.make_room(size) {
                return;
            }
            self.close_chunk();
            let Some(filling) = &mut self.filling else { return };
            let Some((record, waits)) = self.backlog.pop_front() else { return };
            self.backlog_bytes -= size;
            filling.push_record(&record, &mut self.spares);
            match waits {
                Waits::Finish(mut finished) => {
                    filling.hurried = true;
                    finished.message.generation = filling.at.generation;
                    filling.finished.push(finished);
                }
                Waits::Move(mut moved) => {
                    // Nobody waits for a copy: the next ones join it.
                    filling.hurried |= moved.signed;
                    moved.message.generation = filling.at.generation;
                    filling.moved.push(moved);
                }
                Waits::Attempt(name) => {
                    filling.hurried = true;
                    filling.attempts.push(name);
                }
                Waits::Change(_) => {
                    filling.due_at.get_or_insert(self.polled_at + OUTCOME_DELAY);
                }
            }
        }
        while let Some((record, _)) = self.requests.front() {
            let size = record.len();
            if !self.keeps(Reserve::Requests, size) || !self.make_room(size) {
                return;
            }
            self.close_chunk();
            let Some(filling) = &mut self.filling else { return };
            let Some((record, _)) = self.requests.pop_front() else { return };
            filling.push_record(&record, &mut self.spares);
            filling.hurried = true;
        }
    }

    /// Makes sure that a record of `size` bytes fits into the batch that is being filled; false if it has to wait.
    pub(super) fn make_room(&mut self, size: usize) -> bool {
        // At most: no batch, a batch at the end of a segment, a batch in a fresh segment.
        for _ in 0..3 {
            if !self.start_filling() {
                return false;
            }
            let Some(filling) = &mut self.filling else { return false };
            if filling.fits(size) {
                return true;
            }
            if filling.records > 0 {
                filling.full = true;
                return false;
            }
            let wanted = (filling.len() + size).next_multiple_of(BLOCK_SIZE);
            if wanted as u64 <= self.segments.room() {
                filling.raise_limit(wanted);
                return true;
            }
            // The rest of this segment stays unused.
            let block = self.filling.take().map(Filling::into_block);
            block.into_iter().for_each(|block| self.spares.give_back(block));
            if !self.segments.roll() {
                return false;
            }
        }
        false
    }

    fn seal_when_due(&mut self, now: Now) {
        if self.in_flight.len() >= self.settings.batches_in_flight_max {
            return;
        }
        let apart = self.settings.batch_size_max / BATCH_PART_APART;
        // What a partner has yet to write holds nothing up.
        let writing = self.in_flight.iter().any(|batch| !batch.done);
        let due = self.filling.as_ref().is_some_and(|filling| {
            let is_due = filling.due_at.is_some_and(|at| at <= now.mono || self.shutting_down);
            let wanted = (filling.hurried || is_due) && (!writing || filling.len() >= apart);
            filling.records > 0 && (wanted || filling.full || filling.len() >= BATCH_SIZE_UNHURRIED)
        });
        if due {
            self.seal(now, 0);
            return;
        }
        // What waits for room is written before a batch without records, unless that batch is what makes room.
        let stuck = self.segments.must_announce();
        if !self.in_flight.is_empty() || !(self.backlog.is_empty() || stuck) {
            return;
        }
        let finished = self.shutting_down && !self.clean_sealed;
        let behind = self.synced_announced < self.recorded || self.segments.unannounced();
        let closing_at = *match (behind, &mut self.closing_at) {
            (false, closing_at) => {
                *closing_at = None;
                if !finished {
                    return;
                }
                closing_at.insert(now.mono)
            }
            (true, closing_at) => closing_at.get_or_insert(now.mono + CLOSING_DELAY),
        };
        // A segment that is needed soon does not wait for the log to be idle.
        let needed = self.segments.unannounced() && !self.keeps(Reserve::All, BLOCK_SIZE);
        let closes = (finished || closing_at <= now.mono) && self.keeps(Reserve::Moving, BLOCK_SIZE);
        if (needed || closes) && self.start_empty() {
            self.seal(now, if finished { FLAG_CLEAN } else { 0 });
            self.clean_sealed |= finished;
        }
    }

    fn seal(&mut self, now: Now, flags: u16) {
        self.close_chunk();
        let Some(filling) = self.filling.take() else { return };
        let (at, offset, records, tainted) = (filling.at, filling.offset, filling.records, filling.tainted);
        let sequence = self.sequence_next;
        let mut header = Header {
            log: self.settings.log,
            flags: if tainted { flags | FLAG_TAINTED } else { flags },
            records,
            incarnation: self.incarnation,
            generation: at.generation,
            epoch: self.settings.epoch,
            sequence,
            previous_sequence: self.previous.sequence,
            synced: self.synced,
            start: self.segments.start(),
            number_next: self.number_next,
            segment_size: self.settings.segment_size,
            offset: u32::try_from(offset).expect("segments are small"),
            length: 0,
            previous_checksum: self.previous.checksum,
            payload_checksum: 0,
            opening: self.opening,
        };
        let mut checksum = 0;
        let Sealed { block, length, finished, moved, attempts } = filling.seal(|length, payload_checksum, out| {
            header.length = length;
            header.payload_checksum = payload_checksum;
            checksum = header.encode(out);
        });
        let point = Point { sequence, checksum, generation: at.generation, offset: header.offset };
        self.write_batch(at, point, (Arc::new(block), length), tainted, (finished, moved, attempts), now);
        self.sequence_next += 1;
        self.synced_announced = self.synced;
        self.closing_at = None;
        if records > 0 {
            self.recorded = sequence;
            self.clean_sealed = false;
        }
    }

    /// Sends the next batch of the log on its way, be it our own or the owner's. `tainted`: it holds the copy of damaged content.
    pub(super) fn write_batch(
        &mut self,
        at: Live,
        point: Point,
        (block, length): (Arc<Block>, usize),
        tainted: bool,
        (finished, moved, attempts): (Vec<Finished>, Vec<Moved>, Vec<u64>),
        now: Now,
    ) {
        let offset = u64::from(point.offset);
        self.disk.write(point.sequence, at.number, offset, Arc::clone(&block), length);
        if !tainted {
            self.cache.insert(at.generation, offset, length, Arc::clone(&block), &mut self.spares);
        }
        self.points.push(point);
        let (submitted_at, done) = (now.mono, false);
        self.in_flight.push_back(InFlight { point, block, length, submitted_at, done, finished, moved, attempts });
        self.segments.offset = offset + length as u64;
        self.segments.announce(point.sequence);
        self.previous = point.link();
    }

    fn make_segments(&mut self, now: Now) {
        if now.mono.since(self.free_bytes_at) >= FREE_SPACE_INTERVAL {
            self.look_for_space(now);
        }
        if let Some(number) = self.segments.wanted(self.segments_ahead(), now.mono) {
            self.segments.preparing = Some(number);
            self.disk.prepare(number, self.settings.segment_size);
        }
    }

    pub(super) fn look_for_space(&mut self, now: Now) {
        self.free_bytes_at = now.mono;
        if let Ok(bytes) = self.disk.free_bytes() {
            self.free_bytes = bytes;
            self.segments.creatable_by_space =
                bytes.saturating_sub(self.settings.free_bytes_min) / self.settings.segment_size;
        }
    }

    /// Content that found no space for long, not only no time: its message is given up.
    fn give_up_starving(&mut self, now: Now) {
        let without_room = self.filling.is_none() && self.in_flight.is_empty() && self.segments.preparing.is_none();
        let crowded = !self.has_space_for_drafts() || self.room_to_come() < CHUNK_SIZE_MIN as u64;
        let hungry = !self.starved.is_empty() && (without_room || crowded);
        if !hungry {
            self.starved_since = None;
            return;
        }
        let since = *self.starved_since.get_or_insert(now.mono);
        if now.mono.since(since) >= SPACE_WAIT_MAX {
            for draft in self.starved.clone() {
                if let Some(state) = self.draft_mut(draft) {
                    state.doomed = true;
                }
            }
        }
    }

    fn announce_room(&mut self, events: &mut Vec<LogEvent>) {
        if self.starved.is_empty() || !self.backlog.is_empty() {
            return;
        }
        let doomed = self.starved.iter().any(|draft| {
            self.drafts.get(draft.slot as usize).is_none_or(|state| state.draft != *draft || state.doomed)
        });
        let room = self.has_space_for_drafts()
            && self.keeps(Reserve::All, CHUNK_SIZE_MIN)
            && match &self.filling {
                Some(filling) => !filling.full,
                None => self.start_filling(),
            };
        if room || doomed {
            self.wake_starved(events);
        }
    }

    fn wake_starved(&mut self, events: &mut Vec<LogEvent>) {
        for draft in std::mem::take(&mut self.starved) {
            if let Some(state) = self.draft_mut(draft) {
                state.starved = false;
                events.push(LogEvent::Room { draft });
            }
        }
    }

    fn announce_space(&mut self, events: &mut Vec<LogEvent>) {
        // A margin before it is over, so that it does not flap with every message.
        let shortage = self.shortage_beyond(u64::from(self.full.is_some()));
        match (&self.full, &shortage) {
            (None, Some(shortage)) => events.push(LogEvent::Full { shortage: shortage.clone() }),
            (Some(_), None) => events.push(LogEvent::Space),
            _ => {}
        }
        self.full = shortage;
        // Where the queue itself is as large as it may be, another disk would not help.
        self.room = match self.full {
            Some(Shortage::FileSystem | Shortage::Segment(_)) => Room::Scarce,
            Some(Shortage::Log | Shortage::Memory) | None => Room::Enough,
        };
    }

    /// What a replica's disk has for it, and would have for mail.
    fn look_for_room(&mut self) {
        let ready = self.segments.free_count() >= SEGMENTS_RESERVED as usize;
        let starved = self.following.as_mut().is_some_and(|following| {
            following.starved &= !ready;
            following.starved
        });
        // More than an owner wants, so that an owner without room does not give its work to a box that soon has as little.
        let scarce = self.shortage_beyond(if self.room == Room::Enough { 2 } else { 4 }).is_some();
        self.room = if starved {
            Room::None
        } else if scarce {
            Room::Scarce
        } else {
            Room::Enough
        };
    }

    /// What there is too little of, if so many half segments are to be left besides, and as much of the memory.
    fn shortage_beyond(&self, margin: u64) -> Option<Shortage> {
        self.shortage(margin * (self.settings.segment_size / 2), margin * (self.settings.memory_max / 64))
    }

    /// What there is too little of to accept a message, if anything; `space` and `memory` are left besides.
    fn shortage(&self, space: u64, memory: u64) -> Option<Shortage> {
        if self.free_bytes < self.settings.free_bytes_min {
            return Some(Shortage::FileSystem);
        }
        if !self.has_memory_for(memory) {
            return Some(Shortage::Memory);
        }
        let short = !self.has_space_for(space) || self.room_to_come() <= space;
        short.then(|| match &self.segments.failure {
            Some(error) => Shortage::Segment(error.clone()),
            None if self.segments.attainable() >= self.settings.segments_max.into() => Shortage::Log,
            None => Shortage::FileSystem,
        })
    }
}
