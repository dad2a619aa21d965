//! What is queued, in memory: messages by id and by the oldest segment that each needs.

use std::collections::BTreeMap;

use super::MessageId;
use super::id_map::{IdMap, IdSet};
use super::message::{Message, Outcome};
use super::packed::{Head, Packed, State};
use super::queued::Queued;
use super::record::{CHUNK_HEADER_SIZE, EXTENT_SIZE};
use super::replies::Replies;
use crate::env::WallTime;
use crate::limits::{OUTCOME_RESERVE, QUEUED_MESSAGE_MEMORY, QUEUED_RECIPIENT_MEMORY, SIGNATURES_SIZE_MAX};

/// What a final record is counted with besides its recipients, bytes.
const RECORD_WEIGHT: u64 = 256;

/// What few messages have: whoever reads them or moves them has it in hand.
#[derive(Debug, Default)]
struct Busy {
    readers: u32,
    /// Copies that are on their way.
    moving: u32,
    /// No recipient is left; only readers keep it.
    done: bool,
}

/// Ordered maps: the same log gives the same order everywhere, in the simulator, too.
#[derive(Debug, Default)]
pub(super) struct Index {
    messages: IdMap<Packed>,
    by_oldest: BTreeMap<u64, IdSet>,
    busy: BTreeMap<MessageId, Busy>,
    replies: Replies,
    /// Segments held by content of messages that are not in the index yet, with how many hold each.
    pins: BTreeMap<u64, u32>,
    done: usize,
    weight: u64,
    memory: u64,
    size: u64,
    held: usize,
}

fn weigh(packed: &Packed) -> u64 {
    let (head, recipients) = (packed.head(), packed.addresses());
    let recipients: u64 = recipients.map(|to| to.address.len() as u64 + OUTCOME_RESERVE).sum();
    let signatures = if head.unsigned() { (SIGNATURES_SIZE_MAX + CHUNK_HEADER_SIZE + EXTENT_SIZE) as u64 } else { 0 };
    head.size + (head.extents * (CHUNK_HEADER_SIZE + EXTENT_SIZE)) as u64 + RECORD_WEIGHT + recipients + signatures
}

/// What a message costs here and in the delivery queue, bytes.
fn cost(packed: &Packed) -> u64 {
    packed.len() as u64 + QUEUED_MESSAGE_MEMORY + packed.head().recipients as u64 * QUEUED_RECIPIENT_MEMORY
}

impl Index {
    pub(super) fn get(&self, id: MessageId) -> Option<Queued<'_>> {
        if self.is_done(id) { None } else { self.kept(id) }
    }

    /// The message, also if only readers keep it.
    pub(super) fn kept(&self, id: MessageId) -> Option<Queued<'_>> {
        self.messages.get(id).map(|packed| Queued::new(id, packed, &self.replies))
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = Queued<'_>> {
        self.after(None)
    }

    /// The messages whose ids come after this one, in the order of their ids.
    pub(super) fn after(&self, id: Option<MessageId>) -> impl Iterator<Item = Queued<'_>> {
        // No message has the last id that there is.
        let from = MessageId::from_bits(id.map_or(0, |id| id.bits().saturating_add(1)));
        let queued = self.messages.from(from).filter(|(id, _)| !self.is_done(*id));
        queued.map(|(id, packed)| Queued::new(id, packed, &self.replies))
    }

    pub(super) fn count(&self) -> usize {
        self.messages.len() - self.done
    }

    /// Messages that an operator holds.
    pub(super) fn held_count(&self) -> usize {
        self.held
    }

    /// Bytes of the log that are needed, reserves for outcomes included.
    pub(super) fn weight(&self) -> u64 {
        self.weight
    }

    /// Bytes of memory that the queued messages take, nearly; what the delivery queue keeps of them is counted.
    pub(super) fn memory(&self) -> u64 {
        self.memory + self.replies.size() as u64
    }

    /// Bytes of content.
    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// Adds a message, or puts another record of it in its place.
    pub(super) fn insert(&mut self, message: &Message) {
        let id = message.id;
        self.remove(id);
        let packed = Packed::new(message, |reply| self.replies.keep(reply));
        self.weight += weigh(&packed);
        self.memory += cost(&packed);
        self.size += message.size;
        self.held += usize::from(message.held);
        self.by_oldest.entry(packed.oldest_generation()).or_default().insert(id, ());
        self.messages.insert(id, packed);
    }

    /// The moved copy is durable: content and record lie there from now on. The states may have changed since.
    pub(super) fn relocate(&mut self, copy: &Message) {
        let id = copy.id;
        let is_done = self.is_done(id);
        let Some(packed) = self.messages.get_mut(id) else { return };
        let moved = packed.moved_to(&copy.extents, copy.generation, copy.unsigned);
        if !is_done {
            self.size = self.size - packed.head().size + moved.head().size;
        }
        self.weight = self.weight - weigh(packed) + weigh(&moved);
        self.memory = self.memory - cost(packed) + cost(&moved);
        let before = packed.oldest_generation();
        let after = moved.oldest_generation();
        *packed = moved;
        self.forget_oldest(before, id);
        self.by_oldest.entry(after).or_default().insert(id, ());
        self.change_busy(id, |busy| busy.moving = busy.moving.saturating_sub(1));
    }

    /// Takes a message out, readers or not.
    pub(super) fn remove(&mut self, id: MessageId) {
        let Some(packed) = self.messages.remove(id) else { return };
        self.forget_oldest(packed.oldest_generation(), id);
        self.weight -= weigh(&packed);
        self.memory -= cost(&packed);
        match self.busy.remove(&id) {
            Some(Busy { done: true, .. }) => self.done -= 1,
            _ => self.discount(packed.head()),
        }
        for state in packed.states() {
            self.replies.drop_one(state.reply);
        }
    }

    /// It is not queued any more.
    fn discount(&mut self, head: Head) {
        self.size -= head.size;
        self.held -= usize::from(head.held());
    }

    fn forget_oldest(&mut self, generation: u64, id: MessageId) {
        let Some(ids) = self.by_oldest.get_mut(&generation) else { return };
        ids.remove(id);
        if ids.is_empty() {
            self.by_oldest.remove(&generation);
        }
    }

    fn is_done(&self, id: MessageId) -> bool {
        // Nearly always there is none.
        self.done > 0 && self.busy.get(&id).is_some_and(|busy| busy.done)
    }

    fn change_busy(&mut self, id: MessageId, change: impl FnOnce(&mut Busy)) {
        let busy = self.busy.entry(id).or_default();
        change(busy);
        if let Busy { readers: 0, moving: 0, done: false } = busy {
            self.busy.remove(&id);
        }
    }

    fn queued_mut(&mut self, id: MessageId) -> Option<&mut Packed> {
        if self.is_done(id) { None } else { self.messages.get_mut(id) }
    }

    /// Applies an outcome; false if there is no such recipient to apply it to.
    pub(super) fn settle(&mut self, id: MessageId, recipient: u32, outcome: &Outcome) -> bool {
        let place = recipient as usize;
        let Some(packed) = self.queued_mut(id) else { return false };
        let Some(before) = packed.state(place).filter(|state| state.state.is_open()) else { return false };
        let mut after = before.after(outcome);
        let last = packed.states().filter(|state| state.state.is_open()).count() == 1;
        if last && !after.state.is_open() && self.busy.get(&id).is_none_or(|busy| busy.readers == 0) {
            self.remove(id);
            return true;
        }
        if let Some(reply) = outcome.reply() {
            self.replies.drop_one(before.reply);
            after.reply = self.replies.keep(reply);
        }
        if let Some(packed) = self.messages.get_mut(id) {
            packed.set_state(place, after);
        }
        self.conclude(id);
        true
    }

    /// An attempt begins for these recipients; false if none of them is open.
    pub(super) fn attempt(&mut self, id: MessageId, recipients: &[u32]) -> bool {
        let Some(packed) = self.queued_mut(id) else { return false };
        let mut any = false;
        for place in recipients.iter().map(|recipient| *recipient as usize) {
            if let Some(state) = packed.state(place).filter(|state| state.state.is_open()) {
                packed.set_state(place, State { unsettled: true, ..state });
                any = true;
            }
        }
        any
    }

    /// Whom unsettled attempts may have reached, in the order of the ids.
    pub(super) fn in_doubt(&self) -> impl Iterator<Item = (MessageId, u32)> {
        let places = |packed: &Packed| {
            let doubted = (0..).zip(packed.states()).filter(|(_, state)| state.is_in_doubt());
            doubted.map(|(place, _)| place).collect::<Vec<u32>>()
        };
        let queued = self.messages.from(MessageId::from_bits(0)).filter(|(id, _)| !self.is_done(*id));
        queued.flat_map(move |(id, packed)| places(packed).into_iter().map(move |place| (id, place)))
    }

    /// An attempt left a recipient out.
    pub(super) fn spare(&mut self, id: MessageId, recipient: u32) {
        let place = recipient as usize;
        if let Some(packed) = self.queued_mut(id)
            && let Some(state) = packed.state(place)
        {
            packed.set_state(place, State { unsettled: false, ..state });
        }
    }

    /// A recipient is not due before `at`. No record says so.
    pub(super) fn put_off(&mut self, id: MessageId, recipient: u32, at: WallTime) {
        let place = recipient as usize;
        if let Some(packed) = self.queued_mut(id)
            && let Some(state) = packed.state(place)
        {
            packed.set_state(place, State { next_attempt_at: state.next_attempt_at.max(at), ..state });
        }
    }

    pub(super) fn hold(&mut self, id: MessageId, held: bool) -> bool {
        let Some(packed) = self.queued_mut(id) else { return false };
        let before = packed.head().held();
        packed.set_held(held);
        self.held = self.held - usize::from(before) + usize::from(held);
        true
    }

    pub(super) fn delete(&mut self, id: MessageId) -> bool {
        let Some(packed) = self.queued_mut(id) else { return false };
        for place in 0..packed.head().recipients {
            if let Some(state) = packed.state(place).filter(|state| state.state.is_open()) {
                packed.set_state(place, state.after(&Outcome::Deleted));
            }
        }
        self.conclude(id);
        true
    }

    fn conclude(&mut self, id: MessageId) {
        if self.messages.get(id).is_none_or(Packed::is_open) {
            return;
        }
        match self.busy.get_mut(&id).filter(|busy| busy.readers > 0) {
            None => self.remove(id),
            Some(busy) if busy.done => {}
            Some(busy) => {
                busy.done = true;
                self.done += 1;
                if let Some(head) = self.messages.get(id).map(Packed::head) {
                    self.discount(head);
                }
            }
        }
    }

    /// A reader is opened; false if the message is not queued.
    pub(super) fn read(&mut self, id: MessageId) -> bool {
        if self.get(id).is_none() {
            return false;
        }
        self.change_busy(id, |busy| busy.readers += 1);
        true
    }

    /// A reader was closed.
    pub(super) fn release(&mut self, id: MessageId) {
        if self.messages.get(id).is_none() {
            return;
        }
        self.change_busy(id, |busy| busy.readers = busy.readers.saturating_sub(1));
        if self.busy.get(&id).is_some_and(|busy| busy.done && busy.readers == 0) {
            self.remove(id);
        }
    }

    /// Whether a copy of it is on its way.
    pub(super) fn is_moving(&self, id: MessageId) -> bool {
        self.busy.get(&id).is_some_and(|busy| busy.moving > 0)
    }

    /// A copy of this queued message is on its way.
    pub(super) fn start_move(&mut self, id: MessageId) {
        self.change_busy(id, |busy| busy.moving += 1);
    }

    pub(super) fn pin(&mut self, generation: u64) {
        *self.pins.entry(generation).or_insert(0) += 1;
    }

    pub(super) fn unpin(&mut self, generation: u64) {
        if let Some(count) = self.pins.get_mut(&generation) {
            *count -= 1;
            if *count == 0 {
                self.pins.remove(&generation);
            }
        }
    }

    /// The oldest segment that anything needs.
    pub(super) fn oldest_needed(&self) -> u64 {
        let queued = self.by_oldest.keys().next().copied().unwrap_or(u64::MAX);
        queued.min(self.oldest_pinned().unwrap_or(u64::MAX))
    }

    pub(super) fn oldest_pinned(&self) -> Option<u64> {
        self.pins.keys().next().copied()
    }

    /// The first message from `from` on that needs segment `generation` and is not being moved.
    pub(super) fn next_to_move(&self, generation: u64, from: MessageId) -> Option<MessageId> {
        let mut ids = self.by_oldest.get(&generation)?.from(from).map(|(id, _)| id);
        ids.find(|id| self.busy.get(id).is_none_or(|busy| busy.moving == 0 && !busy.done))
    }

    /// Forgets messages that only readers keep, back to `generation`.
    pub(super) fn drop_done(&mut self, generation: u64) {
        let done = self.busy.iter().filter(|(_, busy)| busy.done).map(|(id, _)| *id);
        let needs = |id: &MessageId| self.messages.get(*id).map(Packed::oldest_generation) == Some(generation);
        for id in done.filter(needs).collect::<Vec<_>>() {
            self.remove(id);
        }
    }
}
