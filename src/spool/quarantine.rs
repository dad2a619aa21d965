//! Messages whose content is damaged: they stay in the queue for the operator to see, and are not delivered.

use std::collections::{BTreeMap, BTreeSet};

use super::MessageId;
use super::damage::{Damage, Damages};
use super::log::Log;
use super::message::Extent;
use super::replay::content_damage;
use crate::env::Instant;
use crate::env::disk::Disk;
use crate::limits::{READ_FAILURES_DURATION, READ_FAILURES_MAX};

/// What is known of damage. It is found again at every start and written nowhere.
#[derive(Debug, Default)]
pub(super) struct Quarantine {
    /// Damaged messages that are queued.
    pub damaged: BTreeSet<MessageId>,
    pub damages: Damages,
    /// Messages whose content could not be read: how often, and since when.
    failures: BTreeMap<MessageId, (u32, Instant)>,
    /// Found since the last poll.
    pub found: Vec<MessageId>,
    /// Places that were found since then when the partner was to be given them.
    pub breaks: Vec<Damage>,
}

impl<D: Disk> Log<D> {
    /// Whether content of this message is not as it was written. It must not be delivered.
    pub fn is_damaged(&self, id: MessageId) -> bool {
        // Nearly always there is none.
        !self.quarantine.damaged.is_empty() && self.quarantine.damaged.contains(&id)
    }

    /// Messages whose content is damaged, oldest id first.
    pub fn damaged(&self) -> impl Iterator<Item = MessageId> {
        self.quarantine.damaged.iter().copied()
    }

    /// Places that are not as they were written.
    pub fn damages(&self) -> &Damages {
        &self.quarantine.damages
    }

    /// Takes note of damaged content.
    pub(super) fn quarantine(&mut self, id: MessageId, extent: &Extent) {
        if self.index.get(id).is_none() || !self.quarantine.damaged.insert(id) {
            return;
        }
        self.quarantine.failures.remove(&id);
        let segment = self.segments.number_of(extent.generation);
        self.quarantine.damages.note(content_damage(segment, extent, id));
        self.quarantine.found.push(id);
    }

    /// Takes note of a batch that is not as it was written.
    pub(super) fn break_found(&mut self, damage: Damage) {
        self.quarantine.damages.note(damage.clone());
        self.quarantine.breaks.push(damage);
    }

    /// Content could not be read: perhaps the next time.
    pub(super) fn read_failed(&mut self, id: MessageId, extent: &Extent) {
        let now = self.polled_at;
        let (failures, since) = self.quarantine.failures.entry(id).or_insert((0, now));
        *failures += 1;
        if *failures >= READ_FAILURES_MAX && now.since(*since) >= READ_FAILURES_DURATION {
            self.quarantine.failures.remove(&id);
            self.quarantine(id, extent);
        }
    }

    /// The message may have left the queue.
    pub(super) fn forget_damage(&mut self, id: MessageId) {
        if (self.is_damaged(id) || !self.quarantine.failures.is_empty()) && self.index.get(id).is_none() {
            self.quarantine.damaged.remove(&id);
            self.quarantine.failures.remove(&id);
        }
    }
}
