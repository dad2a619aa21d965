//! What operators ask of the queue, and what they see of the worker.

use super::home::Home;
use super::parts::Parts;
use crate::control::{
    DestinationEntry, MessageState, QueueCommand, QueueEntry, QueueFilter, QueueReply, QueueSelection, RecipientEntry,
    RecipientState,
};
use crate::env::disk::Disk;
use crate::event::Event;
use crate::limits::{QUEUE_CHANGES_MAX, QUEUE_LIST_MAX, QUEUE_LIST_RECIPIENTS_MAX, QUEUE_LOOKS_MAX};
use crate::smtp::domain_of;
use crate::spool::{DeliveryState, MessageId, Queued};
use std::collections::{BTreeMap, BTreeSet};

/// The messages that one breath changes.
struct Chosen {
    ids: Vec<MessageId>,
    /// All up to this one were looked at, and not those after it.
    next: Option<MessageId>,
}

impl Home {
    /// Does what an operator asks of the queue.
    pub(super) fn command<T, D: Disk>(&mut self, parts: &mut Parts<T, D>, command: QueueCommand) -> QueueReply {
        match command {
            QueueCommand::List { filter, limit, after } => self.list(parts, &filter, limit, after),
            QueueCommand::Show { id } => {
                let message = parts.logs.get(id).and_then(|log| log.message(id));
                QueueReply::Entry(message.map(|message| Box::new(self.entry(parts, &message))))
            }
            QueueCommand::Destinations { filter, name, .. } => self.destinations(parts, &filter, name.as_deref()),
            QueueCommand::Retry { selection } => self.each(parts, &selection, |home, parts, id| {
                home.queue(id).retry(parts.now, id);
                parts.logs.get(id).is_some_and(|log| !log.is_damaged(id))
            }),
            QueueCommand::Hold { selection } => self.each(parts, &selection, |home, parts, id| {
                let Some(log) = parts.logs.of(id).filter(|log| !log.failed()) else { return false };
                if log.message(id).is_none_or(|message| message.held()) {
                    return false;
                }
                log.hold(id, true);
                home.queue(id).remove(id);
                home.expect_on_hold(parts.now.mono, id);
                parts.reporter.message(|| Event::Held { id });
                true
            }),
            QueueCommand::Release { selection } => self.each(parts, &selection, |home, parts, id| {
                let Some(log) = parts.logs.of(id).filter(|log| !log.failed()) else { return false };
                if log.message(id).is_none_or(|message| !message.held()) {
                    return false;
                }
                log.hold(id, false);
                let log = parts.logs.get(id).filter(|log| !log.is_damaged(id));
                if let Some(message) = log.and_then(|log| log.message(id)) {
                    home.queue(id).add(parts.now, &message);
                }
                parts.reporter.message(|| Event::Released { id });
                true
            }),
            QueueCommand::Delete { selection } => self.each(parts, &selection, |home, parts, id| {
                let Some(log) = parts.logs.of(id).filter(|log| !log.failed()) else { return false };
                log.delete(id);
                home.queue(id).remove(id);
                parts.reporter.message(|| Event::Deleted { id });
                true
            }),
        }
    }

    fn each<T, D: Disk>(
        &mut self,
        parts: &mut Parts<T, D>,
        selection: &QueueSelection,
        mut change: impl FnMut(&mut Home, &mut Parts<T, D>, MessageId) -> bool,
    ) -> QueueReply {
        let Chosen { ids, next } = self.choose(parts, selection);
        let mut count = 0;
        for id in ids {
            count += u64::from(change(self, parts, id));
        }
        QueueReply::Changed { count, next }
    }

    /// The first messages of a selection, as many as one breath may change.
    fn choose<T, D: Disk>(&self, parts: &Parts<T, D>, selection: &QueueSelection) -> Chosen {
        let (mut ids, mut looks) = (Vec::new(), 0);
        match selection {
            QueueSelection::Ids(wanted) => {
                let wanted: BTreeSet<MessageId> = wanted.iter().copied().collect();
                for id in wanted {
                    if ids.len() == QUEUE_CHANGES_MAX || looks == QUEUE_LOOKS_MAX {
                        // What was looked at last is before this one, whatever lies between them.
                        let next = Some(MessageId::from_bits(id.bits() - 1));
                        return Chosen { ids, next };
                    }
                    looks += 1;
                    if parts.logs.get(id).is_some_and(|log| log.message(id).is_some()) {
                        ids.push(id);
                    }
                }
            }
            QueueSelection::Filter(filter) => {
                for message in parts.logs.messages_after(filter.after) {
                    looks += 1 + message.recipients_count();
                    if self.matches(parts, filter, &message) {
                        ids.push(message.id());
                    }
                    if ids.len() == QUEUE_CHANGES_MAX || looks >= QUEUE_LOOKS_MAX {
                        return Chosen { ids, next: Some(message.id()) };
                    }
                }
            }
        }
        Chosen { ids, next: None }
    }

    /// What comes first after `after`. A breath is not held up by what nobody asked for: where few match, it ends early.
    fn list<T, D: Disk>(
        &self,
        parts: &Parts<T, D>,
        filter: &QueueFilter,
        limit: usize,
        after: Option<MessageId>,
    ) -> QueueReply {
        let limit = limit.clamp(1, QUEUE_LIST_MAX);
        let (mut entries, mut looks, mut recipients_count) = (Vec::new(), 0, 0);
        let mut next = None;
        for message in parts.logs.messages_after(after.max(filter.after)) {
            if entries.len() == limit || looks >= QUEUE_LOOKS_MAX || recipients_count >= QUEUE_LIST_RECIPIENTS_MAX {
                return QueueReply::Entries { entries, next };
            }
            next = Some(message.id());
            looks += 1 + message.recipients_count();
            if self.matches(parts, filter, &message) {
                recipients_count += message.recipients_count();
                entries.push(self.entry(parts, &message));
            }
        }
        QueueReply::Entries { entries, next: None }
    }

    /// What waits for each destination, of as many messages as one breath can look at.
    fn destinations<T, D: Disk>(&self, parts: &Parts<T, D>, filter: &QueueFilter, name: Option<&str>) -> QueueReply {
        let is_wanted = |entry: &DestinationEntry| name.is_none_or(|name| entry.destination.eq_ignore_ascii_case(name));
        let mut found: BTreeMap<String, DestinationEntry> = BTreeMap::new();
        let (mut looks, mut next) = (0, None);
        for message in parts.logs.messages_after(filter.after) {
            if looks >= QUEUE_LOOKS_MAX {
                let destinations = found.into_values().collect();
                return QueueReply::Destinations { destinations, next };
            }
            next = Some(message.id());
            looks += 1 + message.recipients_count();
            if self.matches(parts, filter, &message) {
                let of_message = self.destinations_of(parts, &message);
                of_message.into_values().filter(is_wanted).for_each(|entry| entry.add_to(&mut found));
            }
        }
        QueueReply::Destinations { destinations: found.into_values().collect(), next: None }
    }

    /// One message at each destination that it is still to go to.
    fn destinations_of<T, D: Disk>(
        &self,
        parts: &Parts<T, D>,
        message: &Queued<'_>,
    ) -> BTreeMap<String, DestinationEntry> {
        let kept = matches!(self.state(parts, message), MessageState::Held | MessageState::Damaged);
        let schedule = self.schedule_of(message.id());
        let mut found: BTreeMap<String, DestinationEntry> = BTreeMap::new();
        for recipient in message.recipients().filter(|recipient| recipient.state.is_open()) {
            let domain = domain_of(recipient.address);
            let wishes = schedule.wishes(message);
            let active = schedule.is_domain_in_hand(message.id(), wishes, domain);
            let deferred = !active && !kept && recipient.state == DeliveryState::Deferred;
            let name = parts.routes.describe(domain);
            let entry = found.entry(name).or_insert_with_key(|name| DestinationEntry {
                messages: 1,
                size_bytes: message.size(),
                held: u64::from(kept),
                oldest_at: Some(message.received_at()),
                ..DestinationEntry::of_nothing(name.clone(), schedule.key_of(wishes, domain))
            });
            entry.active |= u64::from(active);
            entry.deferred |= u64::from(deferred);
            let next = (!kept && !active).then(|| recipient.next_attempt_at.max(message.received_at()));
            entry.next_attempt_at = [entry.next_attempt_at, next].into_iter().flatten().min();
            if let Some(reply) = recipient.last_reply {
                entry.last_reply = Some(reply.to_owned());
            }
        }
        found
    }

    fn matches<T, D: Disk>(&self, parts: &Parts<T, D>, filter: &QueueFilter, message: &Queued<'_>) -> bool {
        filter.matches(
            (message.reverse_path(), message.priority()),
            || self.state(parts, message),
            message.received_at(),
            message.recipients().map(|recipient| recipient.address),
            parts.now.wall,
        )
    }

    fn state<T, D: Disk>(&self, parts: &Parts<T, D>, message: &Queued<'_>) -> MessageState {
        if parts.logs.get(message.id()).is_some_and(|log| log.is_damaged(message.id())) {
            MessageState::Damaged
        } else if message.held() {
            MessageState::Held
        } else if self.schedule_of(message.id()).is_in_hand(message.id()) {
            MessageState::Active
        } else if message.recipients().any(|recipient| recipient.state == DeliveryState::Deferred) {
            MessageState::Deferred
        } else {
            MessageState::Queued
        }
    }

    fn entry<T, D: Disk>(&self, parts: &Parts<T, D>, message: &Queued<'_>) -> QueueEntry {
        let message_state = self.state(parts, message);
        let waits = !matches!(message_state, MessageState::Held | MessageState::Damaged);
        let recipients = (message.recipients())
            .map(|recipient| {
                let domain = domain_of(recipient.address);
                let is_open = recipient.state.is_open();
                let schedule = self.schedule_of(message.id());
                let wishes = schedule.wishes(message);
                let active = is_open && schedule.is_domain_in_hand(message.id(), wishes, domain);
                let why = schedule.why_nothing_goes_to(message, domain).filter(|_| is_open && !active);
                let mut destination = parts.routes.lookup(domain).map(|_| parts.routes.describe(domain));
                if let (Some(name), Some(hosts)) = (&mut destination, schedule.hosts_of(wishes, domain)) {
                    *name += &format!(" ({hosts})");
                }
                RecipientEntry {
                    address: recipient.address.to_owned(),
                    state: match recipient.state {
                        _ if active => RecipientState::Active,
                        _ if is_open && recipient.unsettled => RecipientState::InDoubt,
                        DeliveryState::Pending => RecipientState::Queued,
                        DeliveryState::Deferred => RecipientState::Deferred,
                        DeliveryState::Delivered => RecipientState::Delivered,
                        DeliveryState::Bounced | DeliveryState::Expired | DeliveryState::Deleted => {
                            RecipientState::Failed
                        }
                    },
                    destination,
                    attempts: recipient.attempts,
                    next_attempt_at: (is_open && waits).then(|| recipient.next_attempt_at.max(message.received_at())),
                    last_reply: why.map(|why| why.text.as_ref()).or(recipient.last_reply).map(str::to_owned),
                }
            })
            .collect();
        QueueEntry {
            id: message.id(),
            received_at: message.received_at(),
            sender: message.reverse_path().to_owned(),
            recipients,
            size_bytes: message.size(),
            priority: message.priority(),
            state: message_state,
        }
    }
}
