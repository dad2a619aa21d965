//! What is queued, in memory: messages by id and by the oldest segment that each needs.

use std::collections::{BTreeMap, BTreeSet};

use super::MessageId;
use super::message::{DeliveryState, Message, Outcome};
use super::record::CHUNK_HEADER_SIZE;
use crate::limits::OUTCOME_RESERVE;

/// What a final record is counted with besides its recipients, bytes.
const RECORD_WEIGHT: u64 = 256;

#[derive(Debug)]
pub(super) struct Entry {
    pub message: Message,
    pub readers: u32,
    /// A copy is on its way.
    pub moving: bool,
    /// No recipient is left; only readers keep it.
    pub done: bool,
    oldest: u64,
    weight: u64,
}

/// Ordered maps: the same log gives the same order everywhere, in the simulator, too.
#[derive(Debug, Default)]
pub(super) struct Index {
    entries: BTreeMap<MessageId, Entry>,
    by_oldest: BTreeSet<(u64, MessageId)>,
    /// Segments held by content of messages that are not in the index yet, with how many hold each.
    pins: BTreeMap<u64, u32>,
    done: u32,
    weight: u64,
    size: u64,
}

fn weigh(message: &Message) -> u64 {
    let recipients: u64 = message.envelope.recipients.iter().map(|to| to.address.len() as u64 + OUTCOME_RESERVE).sum();
    message.size + (message.extents.len() * (CHUNK_HEADER_SIZE + 20)) as u64 + RECORD_WEIGHT + recipients
}

impl Index {
    pub(super) fn get(&self, id: MessageId) -> Option<&Message> {
        self.entries.get(&id).filter(|entry| !entry.done).map(|entry| &entry.message)
    }

    /// The entry, also if only readers keep it.
    pub(super) fn entry(&self, id: MessageId) -> Option<&Entry> {
        self.entries.get(&id)
    }

    pub(super) fn entry_mut(&mut self, id: MessageId) -> Option<&mut Entry> {
        self.entries.get_mut(&id)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Message> {
        self.entries.values().filter(|entry| !entry.done).map(|entry| &entry.message)
    }

    pub(super) fn count(&self) -> usize {
        self.entries.len() - self.done as usize
    }

    /// Bytes of the log that are needed, reserves for outcomes included.
    pub(super) fn weight(&self) -> u64 {
        self.weight
    }

    /// Bytes of content.
    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// Adds a message, or puts its moved copy in its place.
    pub(super) fn insert(&mut self, message: Message) {
        let id = message.id;
        let (readers, done) = self.entries.get(&id).map_or((0, false), |entry| (entry.readers, entry.done));
        self.remove(id);
        let (oldest, weight) = (message.oldest_generation(), weigh(&message));
        self.weight += weight;
        self.size += message.size;
        self.done += u32::from(done);
        self.by_oldest.insert((oldest, id));
        self.entries.insert(id, Entry { message, readers, moving: false, done, oldest, weight });
    }

    /// Takes a message out, readers or not.
    pub(super) fn remove(&mut self, id: MessageId) {
        if let Some(entry) = self.entries.remove(&id) {
            self.by_oldest.remove(&(entry.oldest, id));
            self.weight -= entry.weight;
            self.size -= entry.message.size;
            self.done -= u32::from(entry.done);
        }
    }

    /// Applies an outcome; false if there is no such recipient to apply it to.
    pub(super) fn settle(&mut self, id: MessageId, recipient: u32, outcome: &Outcome) -> bool {
        let Some(entry) = self.entries.get_mut(&id).filter(|entry| !entry.done) else { return false };
        let Some(state) = entry.message.recipients.get_mut(recipient as usize) else { return false };
        if !state.state.is_open() {
            return false;
        }
        state.apply(outcome);
        self.conclude(id);
        true
    }

    pub(super) fn hold(&mut self, id: MessageId, held: bool) -> bool {
        let Some(entry) = self.entries.get_mut(&id).filter(|entry| !entry.done) else { return false };
        entry.message.held = held;
        true
    }

    pub(super) fn delete(&mut self, id: MessageId) -> bool {
        let Some(entry) = self.entries.get_mut(&id).filter(|entry| !entry.done) else { return false };
        for recipient in entry.message.recipients.iter_mut().filter(|recipient| recipient.state.is_open()) {
            recipient.state = DeliveryState::Deleted;
        }
        self.conclude(id);
        true
    }

    fn conclude(&mut self, id: MessageId) {
        let Some(entry) = self.entries.get_mut(&id).filter(|entry| !entry.message.is_open()) else { return };
        if entry.readers == 0 {
            self.remove(id);
        } else if !entry.done {
            entry.done = true;
            self.done += 1;
        }
    }

    /// A reader was closed.
    pub(super) fn release(&mut self, id: MessageId) {
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.readers = entry.readers.saturating_sub(1);
            if entry.done && entry.readers == 0 {
                self.remove(id);
            }
        }
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
        let queued = self.by_oldest.first().map_or(u64::MAX, |(generation, _)| *generation);
        queued.min(self.oldest_pinned().unwrap_or(u64::MAX))
    }

    pub(super) fn oldest_pinned(&self) -> Option<u64> {
        self.pins.keys().next().copied()
    }

    /// The first message after `after` that needs segment `generation` and is not being moved.
    pub(super) fn next_to_move(&self, generation: u64, after: MessageId) -> Option<MessageId> {
        let range = self.by_oldest.range((generation, after)..=(generation, MessageId::from_bits(u64::MAX)));
        range.map(|(_, id)| *id).find(|id| self.entries.get(id).is_some_and(|entry| !entry.moving && !entry.done))
    }

    /// Forgets messages that only readers keep, back to `generation`.
    pub(super) fn drop_done(&mut self, generation: u64) {
        let range =
            self.by_oldest.range((generation, MessageId::from_bits(0))..=(generation, MessageId::from_bits(u64::MAX)));
        let done: Vec<MessageId> =
            range.map(|(_, id)| *id).filter(|id| self.entries.get(id).is_some_and(|entry| entry.done)).collect();
        for id in done {
            self.remove(id);
        }
    }
}
