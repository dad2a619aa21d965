//! The log: what a worker calls.

use crate::checksum::crc32c;
use std::collections::VecDeque;
use std::os::fd::BorrowedFd;
use std::sync::Arc;

use hdrhistogram::Histogram;
use slab::Slab;

use super::MessageId;
use super::batch::{Cache, Filling, Finished, Moved, Spares};
use super::copies::{Copies, Partner, Point, Points};
use super::event::{Draft, LogState, Refusal, Room, Shortage, Status};
use super::following::Following;
use super::format::{HEADER_SIZE, NUMBER_END, Opening};
use super::index::Index;
use super::message::{Extent, Message, Outcome, RecipientState};
use super::moving::Mover;
use super::quarantine::Quarantine;
use super::queued::Queued;
use super::reader::ReaderSlot;
use super::record::{
    CHUNK_HEADER_SIZE, EXTENT_SIZE, RECORD_ALIGNMENT, Seal, encode_attempt, encode_delete, encode_hold, encode_message,
    encode_outcome,
};
use super::segments::Segments;
use super::settings::Settings;
use crate::env::disk::{Block, Completion, Disk, DiskError};
use crate::env::{Instant, Now};
use crate::limits::{
    BLOCK_SIZE, CHANGES_WAITING_MAX, CHUNK_SIZE_MIN, CLOSING_DELAY, IN_DOUBT_DELAY, SEGMENTS_MIN, SEGMENTS_RESERVED,
    SIGNATURES_SIZE_MAX,
};
use crate::smtp::Envelope;

/// A batch is not begun with less than this left in the segment, bytes.
const BATCH_SIZE_MIN: u64 = 2 * BLOCK_SIZE as u64;

/// A draft in the table.
#[derive(Debug)]
pub(super) struct DraftState {
    pub draft: Draft,
    pub extents: Vec<Extent>,
    pub size: u64,
    pub pinned: Option<u64>,
    /// It cannot be kept any more: content is swallowed, `finish` reports the failure.
    pub doomed: bool,
    pub starved: bool,
    /// A message of our own, which may use what is reserved.
    pub own: bool,
    /// It is to be signed before it goes out.
    pub unsigned: bool,
}

/// What of the log's room is left alone: each use leaves what those below it need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reserve {
    /// By content of messages that were let in.
    All,
    /// By what can wait or fail: the end of a message, notices of our own, deliveries that are given out, closing batches.
    Moving,
    /// By what operators ask for.
    Requests,
    /// By what is moved forward.
    Outcomes,
}

/// What is to happen when a record is durable.
#[derive(Debug)]
pub(super) enum Waits {
    Finish(Finished),
    Move(Moved),
    /// The attempt of this name may come to its end.
    Attempt(u64),
    /// The index knows already; until this is in a batch the disk needs the message, from this segment on.
    Change(u64),
}

/// A batch on its way.
#[derive(Debug)]
pub(super) struct InFlight {
    pub point: Point,
    pub block: Arc<Block>,
    pub length: usize,
    pub submitted_at: Instant,
    /// Durable on the own disk.
    pub done: bool,
    pub finished: Vec<Finished>,
    pub moved: Vec<Moved>,
    pub attempts: Vec<u64>,
}

/// The last link of the chain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Link {
    pub sequence: u64,
    pub checksum: u32,
}

/// One worker's log.
pub struct Log<D> {
    pub(super) disk: D,
    pub(super) settings: Settings,
    pub(super) failed: Option<DiskError>,
    pub(super) shutting_down: bool,
    pub(super) incarnation: u64,
    pub(super) opening: Opening,
    /// The latest opening that any batch names.
    pub(super) opened: u64,
    /// It is written by the owner of its identity, on another box.
    pub(super) following: Option<Following>,
    /// The last batch that opening it takes, where what stands behind it does not count.
    pub(super) until: Option<u64>,
    /// It was found without its first segments: as a replica it cannot go on.
    pub(super) lacks_beginning: bool,
    /// What did not count had once been known to be durable.
    pub(super) cut_a_watermark: bool,
    pub(super) copies: Copies,
    pub(super) frozen: bool,
    pub(super) partner: Partner,
    /// The last batches, oldest first.
    pub(super) points: Points,
    pub(super) segments: Segments,
    pub(super) index: Index,
    pub(super) quarantine: Quarantine,

    pub(super) filling: Option<Filling>,
    /// Records that found no place yet, in order.
    pub(super) backlog: VecDeque<(Vec<u8>, Waits)>,
    pub(super) backlog_bytes: usize,
    /// What operators asked for and what found no place yet, in order: the record, and the segment on from which it is needed.
    pub(super) requests: VecDeque<(Vec<u8>, u64)>,
    /// Bytes that are kept for outcomes of what is being delivered.
    owed: u64,
    pub(super) in_flight: VecDeque<InFlight>,
    pub(super) cache: Cache,
    pub(super) spares: Spares,
    pub(super) sequence_next: u64,
    pub(super) previous: Link,
    /// All batches up to this sequence are durable, wherever [`Copies`] wants them to be.
    pub(super) synced: u64,
    /// The watermark in the last sealed header, and the last batch that holds records: the first behind the second means
    /// that a closing batch is due.
    pub(super) synced_announced: u64,
    pub(super) recorded: u64,
    pub(super) clean_sealed: bool,
    pub(super) closing_at: Option<Instant>,

    pub(super) drafts: Slab<DraftState>,
    pub(super) draft_generation: u32,
    pub(super) draft_bytes: u64,
    pub(super) number_next: u64,
    pub(super) starved: Vec<Draft>,
    pub(super) starved_since: Option<Instant>,
    /// Failures that are known before the next poll.
    pub(super) failures: Vec<Draft>,

    pub(super) readers: Slab<ReaderSlot>,
    pub(super) reader_generation: u32,
    pub(super) mover: Mover,
    /// Oldest segments that nothing needs once the batch named is durable.
    pub(super) emptied: VecDeque<u64>,

    /// Why nothing is accepted, while that is so.
    pub(super) full: Option<Shortage>,
    pub(super) room: Room,
    pub(super) free_bytes: u64,
    pub(super) free_bytes_at: Instant,
    /// The time of the last poll.
    pub(super) polled_at: Instant,
    pub(super) completions: Vec<Completion>,
    pub(super) batches: u64,
    pub(super) batch_bytes: u64,
    pub(super) moved: u64,
    pub(super) commit_latency: Histogram<u64>,
}

impl<D: Disk> Log<D> {
    pub(super) fn new(mut disk: D, settings: Settings) -> Log<D> {
        disk.keep_free(settings.free_bytes_min);
        let segments = Segments::new(settings.segment_size, settings.segments_max);
        Log {
            disk,
            failed: None,
            shutting_down: false,
            incarnation: 0,
            opening: Opening::default(),
            opened: 0,
            following: None,
            until: None,
            lacks_beginning: false,
            cut_a_watermark: false,
            copies: Copies::Own,
            frozen: false,
            partner: Partner::default(),
            points: Points::default(),
            segments,
            index: Index::default(),
            quarantine: Quarantine::default(),
            filling: None,
            backlog: VecDeque::new(),
            backlog_bytes: 0,
            requests: VecDeque::new(),
            owed: 0,
            in_flight: VecDeque::new(),
            cache: Cache::new(settings.cache_size()),
            spares: Spares::default(),
            sequence_next: 1,
            previous: Link::default(),
            synced: 0,
            synced_announced: 0,
            recorded: 0,
            clean_sealed: false,
            closing_at: None,
            drafts: Slab::new(),
            draft_generation: 0,
            draft_bytes: 0,
            number_next: 1,
            starved: Vec::new(),
            starved_since: None,
            failures: Vec::new(),
            readers: Slab::new(),
            reader_generation: 0,
            mover: Mover::default(),
            emptied: VecDeque::new(),
            full: None,
            room: Room::Enough,
            free_bytes: 0,
            free_bytes_at: Instant::ZERO,
            polled_at: Instant::ZERO,
            completions: Vec::new(),
            batches: 0,
            batch_bytes: 0,
            moved: 0,
            commit_latency: Histogram::new_with_bounds(1, 60_000_000_000, 2).expect("the bounds are valid"),
            settings,
        }
    }

    /// Whether a message of this size (if the client said one) would be accepted now.
    pub fn accepts(&self, size: Option<u64>) -> Result<(), Refusal> {
        if self.failed.is_some() || self.shutting_down || !self.leads() {
            return Err(Refusal::Failed);
        }
        let full = self.full.is_some() || !self.has_space_for(size.unwrap_or(0)) || !self.has_memory_for(0);
        if full || !self.may_begin() { Err(Refusal::Full) } else { Ok(()) }
    }

    /// Begins a message.
    pub fn begin(&mut self) -> Result<Draft, Refusal> {
        self.accepts(None)?;
        Ok(self.new_draft(false))
    }

    /// Begins a message of our own of `size` bytes that lets others go, such as the notice about one that is given up: else a
    /// full log could never empty itself. It may use what is kept for that; its content has to follow at once.
    pub fn begin_own(&mut self, size: usize) -> Result<Draft, Refusal> {
        if self.failed.is_some() || !self.leads() {
            return Err(Refusal::Failed);
        }
        let chunks = size / self.settings.chunk_size_max() + 2;
        let size = size + chunks * (CHUNK_HEADER_SIZE + CHUNK_SIZE_MIN) + 2 * BLOCK_SIZE;
        if !self.may_begin() || !self.backlog.is_empty() || !self.keeps(Reserve::Moving, size) {
            return Err(Refusal::Full);
        }
        Ok(self.new_draft(true))
    }

    /// Whether there is a place and a number for another message.
    fn may_begin(&self) -> bool {
        self.drafts.len() < self.settings.drafts_max && self.number_next < NUMBER_END
    }

    fn new_draft(&mut self, own: bool) -> Draft {
        let entry = self.drafts.vacant_entry();
        let slot = u32::try_from(entry.key()).expect("drafts are bounded");
        self.draft_generation = self.draft_generation.wrapping_add(1);
        let draft =
            Draft { slot, generation: self.draft_generation, id: MessageId::new(self.settings.log, self.number_next) };
        self.number_next += 1;
        entry.insert(DraftState {
            draft,
            extents: Vec::new(),
            size: 0,
            pinned: None,
            doomed: false,
            starved: false,
            own,
            unsigned: false,
        });
        draft
    }

    /// The message that is begun must be signed before it goes out: see [`sign`](Log::sign).
    pub fn to_be_signed(&mut self, draft: Draft) {
        if let Some(state) = self.draft_mut(draft) {
            state.unsigned = true;
        }
    }

    pub(super) fn draft_mut(&mut self, draft: Draft) -> Option<&mut DraftState> {
        self.drafts.get_mut(draft.slot as usize).filter(|state| state.draft == draft)
    }

    /// Adds content and says how much of it was taken. Less than all is back-pressure: [`LogEvent::Room`](super::LogEvent::Room) follows.
    /// Content of a message that is lost already is swallowed; [`finish`](Log::finish) leads to [`LogEvent::Failed`](super::LogEvent::Failed).
    pub fn content(&mut self, draft: Draft, bytes: &[u8]) -> usize {
        let failed = self.failed.is_some();
        let size_max = self.settings.message_size_max;
        // Callers give pieces of at least CHUNK_SIZE_MIN; this bounds what the others can do to the final record.
        let extents_max = 64 + 2 * usize::try_from(size_max / CHUNK_SIZE_MIN as u64).unwrap_or(usize::MAX / 4);
        let Some(state) = self.draft_mut(draft) else { return bytes.len() };
        let too_large = state.size + bytes.len() as u64 > size_max || state.extents.len() >= extents_max;
        if state.doomed || failed || too_large {
            state.doomed = true;
            return bytes.len();
        }
        let mut taken = 0;
        while taken < bytes.len() {
            let room = self.room_for_content(draft, bytes.len() - taken);
            let Some(filling) = self.filling.as_mut().filter(|_| room > 0) else { break };
            let count = room.min(bytes.len() - taken);
            filling.push(&bytes[taken..taken + count], &mut self.spares);
            taken += count;
        }
        self.draft_bytes += taken as u64;
        if let Some(state) = self.draft_mut(draft) {
            state.size += taken as u64;
            if taken < bytes.len() && !state.starved {
                state.starved = true;
                self.starved.push(draft);
            }
        }
        taken
    }

    /// Bytes that the open chunk of `draft` takes; begins a chunk or a batch if need be. 0 means back-pressure.
    fn room_for_content(&mut self, draft: Draft, wanted: usize) -> usize {
        let own = self.draft_mut(draft).is_some_and(|state| state.own);
        let may = own || self.has_space_for_drafts() && self.keeps(Reserve::All, wanted.min(CHUNK_SIZE_MIN));
        if !may || !self.backlog.is_empty() || !self.start_filling() {
            return 0;
        }
        let Some(filling) = &self.filling else { return 0 };
        let room = filling.room_in_chunk(draft);
        if room > 0 {
            return room;
        }
        self.close_chunk();
        let Some(filling) = &mut self.filling else { return 0 };
        let room = filling.room_for_chunk();
        if room < wanted.min(CHUNK_SIZE_MIN) {
            filling.full = true;
            return 0;
        }
        filling.open_chunk(draft, &mut self.spares);
        let generation = filling.at.generation;
        if let Some(state) = self.draft_mut(draft)
            && state.pinned.is_none()
        {
            state.pinned = Some(generation);
            self.index.pin(generation);
        }
        room
    }

    /// Ends the open chunk and notes it with its message, if that is still wanted.
    pub(super) fn close_chunk(&mut self) {
        let Some((draft, extent)) = self.filling.as_mut().and_then(Filling::close_chunk) else { return };
        if let Some(state) = self.draft_mut(draft) {
            state.extents.push(extent);
        }
    }

    /// All content is there. [`LogEvent::Durable`](super::LogEvent::Durable) or [`LogEvent::Failed`](super::LogEvent::Failed) follows.
    pub fn finish(&mut self, draft: Draft, envelope: Envelope, now: Now) {
        if self.filling.as_ref().is_some_and(|filling| filling.is_open_for(draft)) {
            self.close_chunk();
        }
        let Some(state) = self.take_draft(draft) else { return };
        let recipients = vec![RecipientState::default(); envelope.recipients.len()];
        let message = Box::new(Message {
            id: draft.id,
            received_at: now.wall,
            envelope: Arc::new(envelope),
            recipients,
            held: false,
            unsigned: state.unsigned,
            size: state.size,
            extents: state.extents,
            generation: 0,
        });
        let finished = Finished { draft, message, pinned: state.pinned };
        let record = encode_message(&finished.message);
        let size = record.len() + if state.unsigned { EXTENT_SIZE.next_multiple_of(RECORD_ALIGNMENT) } else { 0 };
        let fits = size <= self.settings.record_size_max() && self.keeps(Reserve::Moving, record.len());
        if state.doomed || self.failed.is_some() || !fits {
            self.drop_finished(finished);
            return;
        }
        self.append(record, Waits::Finish(finished));
    }

    /// The message is not wanted any more; nothing follows.
    pub fn abort(&mut self, draft: Draft) {
        if self.filling.as_ref().is_some_and(|filling| filling.is_open_for(draft)) {
            self.close_chunk();
        }
        if let Some(generation) = self.take_draft(draft).and_then(|state| state.pinned) {
            self.index.unpin(generation);
        }
    }

    fn take_draft(&mut self, draft: Draft) -> Option<DraftState> {
        self.draft_mut(draft)?;
        let state = self.drafts.remove(draft.slot as usize);
        self.draft_bytes -= state.size;
        Some(state)
    }

    pub(super) fn drop_finished(&mut self, finished: Finished) {
        if let Some(generation) = finished.pinned {
            self.index.unpin(generation);
        }
        self.failures.push(finished.draft);
    }

    /// Puts `header` in front of the content of a message that is to be signed; without any it goes out as it is.
    /// [`LogEvent::Signed`](super::LogEvent::Signed) follows when that is durable. False if it cannot be done now.
    ///
    /// # Panics
    /// There are more than [`SIGNATURES_SIZE_MAX`] bytes.
    pub fn sign(&mut self, id: MessageId, header: &[u8]) -> bool {
        assert!(header.len() <= SIGNATURES_SIZE_MAX, "signatures are bounded by whoever makes them");
        // A copy that is on its way knows nothing of the signature, and would undo it.
        if self.failed.is_some() || !self.leads() || !self.backlog.is_empty() || self.index.is_moving(id) {
            return false;
        }
        let Some(queued) = self.index.get(id).filter(Queued::unsigned) else { return false };
        let mut message = Message { unsigned: false, ..queued.to_message() };
        let record_size = self.encode_copy(&mut message).len() + EXTENT_SIZE.next_multiple_of(RECORD_ALIGNMENT);
        let chunk_size = CHUNK_HEADER_SIZE + header.len() + RECORD_ALIGNMENT;
        if !self.keeps(Reserve::Moving, chunk_size + record_size + 2 * BLOCK_SIZE) || !self.make_room(chunk_size) {
            return false;
        }
        self.close_chunk();
        let Some(filling) = &mut self.filling else { return false };
        if !header.is_empty() {
            message.extents.insert(0, filling.push_chunk(id, header, crc32c(header), &mut self.spares));
            message.size += header.len() as u64;
        }
        self.give_up_copy(id);
        self.index.start_move(id);
        let record = self.encode_copy(&mut message);
        self.append(record, Waits::Move(Moved { message: Box::new(message), signed: true }));
        true
    }

    /// Records how an attempt ended for one recipient. The message leaves the queue when none is open any more.
    pub fn settle(&mut self, id: MessageId, recipient: u32, outcome: Outcome) {
        let needed = self.needed_by(id);
        if self.index.settle(id, recipient, &outcome) {
            self.forget_damage(id);
            self.append(encode_outcome(id, recipient, &outcome), Waits::Change(needed));
        }
    }

    /// Records that an attempt begins for these recipients. [`LogEvent::Attempted`](super::LogEvent::Attempted) with this
    /// `name` follows when that is durable: before, the end of the content must not go out. False if it cannot be recorded.
    pub fn attempt(&mut self, id: MessageId, recipients: &[u32], name: u64) -> bool {
        let recorded = self.failed.is_none() && !self.is_replica() && self.index.attempt(id, recipients);
        if recorded {
            self.append(encode_attempt(id, recipients), Waits::Attempt(name));
        }
        recorded
    }

    /// An attempt left this recipient out. No record says so: after a crash it is in doubt for nothing.
    pub fn spared(&mut self, id: MessageId, recipient: u32) {
        self.index.spare(id, recipient);
    }

    /// Whom attempts may have reached of which nobody knows how they ended: to be asked when the log begins to be led, while
    /// none is under way. They are not due for [`IN_DOUBT_DELAY`], as what reached a next hop may still be on its way there.
    pub fn in_doubt(&mut self, now: Now) -> Vec<(MessageId, u32)> {
        let doubted: Vec<_> = self.index.in_doubt().collect();
        for (id, recipient) in &doubted {
            self.index.put_off(*id, *recipient, now.wall + IN_DOUBT_DELAY);
        }
        doubted
    }

    /// Keeps a message from being delivered, or lets it go on.
    pub fn hold(&mut self, id: MessageId, held: bool) {
        let needed = self.needed_by(id);
        if self.index.hold(id, held) {
            self.request(encode_hold(id, held), needed);
        }
    }

    /// Takes a message out of the queue.
    pub fn delete(&mut self, id: MessageId) {
        let needed = self.needed_by(id);
        if self.index.delete(id) {
            self.forget_damage(id);
            self.request(encode_delete(id), needed);
        }
    }

    fn needed_by(&self, id: MessageId) -> u64 {
        self.index.get(id).map_or(u64::MAX, |message| message.oldest_generation())
    }

    /// Whether the storage failed, so that nothing more can be written down.
    pub fn failed(&self) -> bool {
        self.failed.is_some()
    }

    /// Outcomes of what was given out for delivery may take so many bytes: room for them is kept, so that none of them has to
    /// wait in memory, where a crash would take it.
    pub fn owe(&mut self, bytes: u64) {
        self.owed = bytes;
    }

    /// Whether more may be given out for delivery: the outcomes will find room, and what is moved forward meanwhile, too.
    pub fn may_give_out(&self) -> bool {
        let few = self.backlog.len() + self.requests.len() < CHANGES_WAITING_MAX;
        self.failed.is_some() || self.is_replica() || self.leads() && few && self.keeps(Reserve::Moving, BLOCK_SIZE)
    }

    /// A queued message.
    pub fn message(&self, id: MessageId) -> Option<Queued<'_>> {
        self.index.get(id)
    }

    /// All queued messages, oldest id first.
    pub fn messages(&self) -> impl Iterator<Item = Queued<'_>> {
        self.index.iter()
    }

    /// The queued messages whose ids come after this one, oldest id first.
    pub fn messages_after(&self, id: Option<MessageId>) -> impl Iterator<Item = Queued<'_>> {
        self.index.after(id)
    }

    /// How many messages are queued.
    pub fn count(&self) -> usize {
        self.index.count()
    }

    /// Gives back what it has more than `count` segments and does not need. Says how many it still has, and how many it takes
    /// to go on with what is queued. Blocks: before the worker serves.
    pub fn give_back_segments(&mut self, count: u32) -> Result<(u32, u32), DiskError> {
        // Where something is damaged, every trace of how the log was may be needed.
        while self.quarantine.damages.count == 0
            && let Some(number) = self.segments.surplus(count as usize)
        {
            self.disk.remove_now(number)?;
        }
        let narrow = |count| u32::try_from(count).unwrap_or(u32::MAX);
        Ok((narrow(self.segments.known_count()), narrow(self.segments.needed())))
    }

    /// From now on it accepts no more than fits into `share` segments, and may have `count`.
    pub fn limit_segments(&mut self, share: u32, count: u32) {
        self.settings.segments_max = share.max(SEGMENTS_MIN);
        self.segments.limit_to(count);
    }

    /// Whether nothing is under way and nothing waits: all that was asked for is durable.
    pub fn idle(&self) -> bool {
        if self.failed.is_some() {
            return true;
        }
        if self.is_replica() {
            return self.in_flight.is_empty();
        }
        let written = self.backlog.is_empty() && self.requests.is_empty();
        let quiet = self.in_flight.is_empty() && written && self.failures.is_empty();
        let is_wanted = |filling: &Filling| filling.hurried || filling.full || filling.due_at.is_some();
        let wanted = self.filling.as_ref().is_some_and(is_wanted);
        quiet && !wanted && (self.clean_sealed || !self.shutting_down || !self.keeps(Reserve::Moving, BLOCK_SIZE))
    }

    /// When [`poll`](Log::poll) has to be called though nothing happened.
    pub fn next_deadline(&self) -> Option<Instant> {
        if self.failed.is_some() {
            return None;
        }
        let space = (self.full.is_some() || self.room != Room::Enough || !self.starved.is_empty())
            .then(|| self.free_bytes_at + crate::limits::FREE_SPACE_INTERVAL);
        let segment = self.segments.wanted_at(self.segments_ahead());
        // A closing batch that was due and found no room waits for it, and its worker need not spin meanwhile.
        let closing = self.closing_at.map(|at| if at <= self.polled_at { self.polled_at + CLOSING_DELAY } else { at });
        // One that was due waits for another to end, which is something that happens.
        let filling = self.filling.as_ref().and_then(|filling| filling.due_at).filter(|at| *at > self.polled_at);
        [closing, filling, space, segment].into_iter().flatten().min()
    }

    /// Becomes readable when [`poll`](Log::poll) has something to do.
    pub fn wakeup(&self) -> Option<BorrowedFd<'_>> {
        self.disk.wakeup()
    }

    /// Ends the log in order: what was accepted becomes durable, then a closing batch; [`idle`](Log::idle) says when.
    /// Nothing is accepted any more.
    pub fn shutdown(&mut self, _now: Now) {
        self.shutting_down = true;
    }

    /// Whether it accepts, and if not why.
    pub fn state(&self) -> LogState {
        match &self.failed {
            Some(error) => LogState::Failed { error: error.clone() },
            None => self.full.clone().map_or(LogState::Open, |shortage| LogState::Full { shortage }),
        }
    }

    /// What the own disk has for it.
    pub fn room(&self) -> Room {
        self.room
    }

    /// Figures.
    pub fn status(&self) -> Status {
        Status {
            state: self.state(),
            disk: self.disk.describe(),
            messages: self.count(),
            bytes: self.index.size(),
            held: self.index.held_count(),
            memory: self.index.memory(),
            segments_used: self.segments.live.len(),
            segments_free: self.segments.free_count(),
            segments: self.segments.known_count(),
            segments_max: self.settings.segments_max,
            batches: self.batches,
            batch_bytes: self.batch_bytes,
            moved: self.moved,
            commit_latency: self.commit_latency.clone(),
            damaged: self.quarantine.damaged.len(),
            damages: self.quarantine.damages.clone(),
        }
    }

    /// Whether a message of `more` bytes may be let in. Here and below: the module's section on room.
    pub(super) fn has_space_for(&self, more: u64) -> bool {
        self.index.weight() + self.draft_bytes + more <= self.usable() / 4 * 3
    }

    /// Whether messages that were let in may grow.
    pub(super) fn has_space_for_drafts(&self) -> bool {
        self.index.weight() + self.draft_bytes <= self.usable() / 8 * 7
    }

    /// What is not reserved. What is configured but cannot be made now, as the file system is full, does not count.
    fn usable(&self) -> u64 {
        let segments = self.segments.attainable().min(self.settings.segments_max.into());
        segments.saturating_sub(u64::from(SEGMENTS_RESERVED) + 1) * self.settings.segment_size
    }

    /// Whether `more` bytes of memory may be taken for queued messages. Those under way are not counted: they are few, and
    /// what is acknowledged must not depend on it.
    pub(super) fn has_memory_for(&self, more: u64) -> bool {
        self.index.memory().saturating_add(more) < self.settings.memory_max
    }

    /// Whether so many more bytes of records leave what is reserved.
    pub(super) fn keeps(&self, reserve: Reserve, size: usize) -> bool {
        let ready = self.segments.free_count() as u64 * self.segments.size + self.segments.room();
        self.room_beyond(reserve, ready) >= size as u64
    }

    /// Bytes that content will find once all segments are ready that can be without anything being moved.
    pub(super) fn room_to_come(&self) -> u64 {
        self.room_beyond(Reserve::All, self.segments.available() * self.segments.size + self.segments.room())
    }

    /// Bytes beyond what is reserved and what waits to be written.
    fn room_beyond(&self, reserve: Reserve, room: u64) -> u64 {
        let begun = self.filling.as_ref().map_or(HEADER_SIZE, Filling::len).next_multiple_of(BLOCK_SIZE);
        let segments = match reserve {
            Reserve::All => SEGMENTS_RESERVED,
            Reserve::Moving => 2,
            Reserve::Requests => 1,
            Reserve::Outcomes => 0,
        };
        room.saturating_sub(
            self.settings.segment_size * u64::from(segments) + self.owed + (begun + self.backlog_bytes) as u64,
        )
    }

    /// How many segments are kept ready: what is reserved, what is owed, one to go on in, and the one that is being made.
    pub(super) fn segments_ahead(&self) -> usize {
        let owed = self.owed.div_ceil(self.settings.segment_size);
        SEGMENTS_RESERVED as usize + 2 + usize::try_from(owed).unwrap_or(usize::MAX / 2)
    }

    /// Makes sure that a batch is being filled.
    pub(super) fn start_filling(&mut self) -> bool {
        if self.filling.is_some() {
            return true;
        }
        // While no other is ready, records go into what is left of this one.
        let left = self.segments.current().is_some_and(|current| self.is_evacuated(current.generation));
        let spent = left || self.segments.room() < BATCH_SIZE_MIN;
        if spent && !self.segments.roll() && self.segments.room() < BLOCK_SIZE as u64 {
            return false;
        }
        let size_max = self.settings.batch_size_max / BLOCK_SIZE * BLOCK_SIZE;
        let limit = usize::try_from(self.segments.room()).map_or(size_max, |room| room.min(size_max));
        self.fill(limit)
    }

    /// Makes sure that a batch without records can be sealed; the one that frees segments always finds a block.
    pub(super) fn start_empty(&mut self) -> bool {
        self.start_filling() || (self.segments.must_announce() && self.fill(BLOCK_SIZE))
    }

    fn fill(&mut self, limit: usize) -> bool {
        let Some(at) = self.segments.current() else { return false };
        let seal = Seal::new(self.incarnation, self.opening.at, at.generation);
        let chunk_max = self.settings.chunk_size_max();
        let block = self.spares.take(self.cache.capacity());
        self.filling = Some(Filling::new(block, at, self.segments.offset, (limit, chunk_max), seal));
        true
    }
}
