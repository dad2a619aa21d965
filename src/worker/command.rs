//! What operators ask of the queue, and what they see of the worker.

use super::home::Home;
use super::parts::Parts;
use crate::control::{
    MessageState, QueueCommand, QueueEntry, QueueFilter, QueueReply, QueueSelection, RecipientEntry, RecipientState,
};
use crate::env::disk::Disk;
use crate::event::Event;
use crate::limits::{QUEUE_LIST_MAX, QUEUE_LIST_RECIPIENTS_MAX};
use crate::smtp::domain_of;
use crate::spool::{DeliveryState, Message, MessageId};
use std::collections::BTreeSet;

impl Home {
    /// Does what an operator asks of the queue.
    pub(super) fn command<T, D: Disk>(&mut self, parts: &mut Parts<T, D>, command: QueueCommand) -> QueueReply {
        match command {
            QueueCommand::List { filter, limit, after } => self.list(parts, &filter, limit, after),
            QueueCommand::Show { id } => {
                let message = parts.logs.get(id).and_then(|log| log.message(id));
                QueueReply::Entry(message.map(|message| Box::new(self.entry(parts, message))))
            }
            QueueCommand::Retry { selection } => self.each(parts, &selection, |home, parts, id| {
                home.queue.retry(parts.now, id);
                parts.logs.get(id).is_some_and(|log| !log.is_damaged(id))
            }),
            QueueCommand::Hold { selection } => self.each(parts, &selection, |home, parts, id| {
                let Some(log) = parts.logs.of(id).filter(|log| !log.failed()) else { return false };
                if log.message(id).is_none_or(|message| message.held) {
                    return false;
                }
                log.hold(id, true);
                home.queue.remove(id);
                parts.reporter.event(Event::Held { id });
                true
            }),
            QueueCommand::Release { selection } => self.each(parts, &selection, |home, parts, id| {
                let Some(log) = parts.logs.of(id).filter(|log| !log.failed()) else { return false };
                if log.message(id).is_none_or(|message| !message.held) {
                    return false;
                }
                log.hold(id, false);
                let log = parts.logs.get(id).filter(|log| !log.is_damaged(id));
                if let Some(message) = log.and_then(|log| log.message(id)) {
                    home.queue.add(parts.now, message);
                }
                parts.reporter.event(Event::Released { id });
                true
            }),
            QueueCommand::Delete { selection } => self.each(parts, &selection, |home, parts, id| {
                let Some(log) = parts.logs.of(id).filter(|log| !log.failed()) else { return false };
                log.delete(id);
                home.queue.remove(id);
                parts.reporter.event(Event::Deleted { id });
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
        let chosen: BTreeSet<MessageId> = match selection {
            QueueSelection::Ids(ids) => ids
                .iter()
                .copied()
                .filter(|id| parts.logs.get(*id).is_some_and(|log| log.message(*id).is_some()))
                .collect(),
            QueueSelection::Filter(filter) => (parts.logs.iter().flat_map(|log| log.messages()))
                .filter(|message| self.matches(parts, filter, message))
                .map(|message| message.id)
                .collect(),
        };
        let mut count = 0;
        for id in chosen {
            count += u64::from(change(self, parts, id));
        }
        QueueReply::Changed { count }
    }

    fn list<T, D: Disk>(
        &self,
        parts: &Parts<T, D>,
        filter: &QueueFilter,
        limit: usize,
        after: Option<MessageId>,
    ) -> QueueReply {
        let limit = limit.clamp(1, QUEUE_LIST_MAX);
        // The smallest ids are kept while all are looked at, so that memory follows the answer and not the queue.
        let mut found = std::collections::BTreeMap::new();
        let mut more = false;
        for message in parts.logs.iter().flat_map(|log| log.messages()) {
            if after.is_some_and(|after| message.id <= after) || !self.matches(parts, filter, message) {
                continue;
            }
            found.insert(message.id, message);
            if found.len() > limit {
                found.pop_last();
                more = true;
            }
        }
        let mut entries = Vec::new();
        let mut recipients_count = 0;
        for message in found.into_values() {
            recipients_count += message.recipients.len();
            if recipients_count > QUEUE_LIST_RECIPIENTS_MAX && !entries.is_empty() {
                more = true;
                break;
            }
            entries.push(self.entry(parts, message));
        }
        QueueReply::Entries { entries, more }
    }

    fn matches<T, D: Disk>(&self, parts: &Parts<T, D>, filter: &QueueFilter, message: &Message) -> bool {
        filter.matches(
            &message.envelope.reverse_path,
            self.state(parts, message),
            message.received_at,
            message.envelope.recipients.iter().map(|recipient| &*recipient.address),
            parts.now.wall,
        )
    }

    fn state<T, D: Disk>(&self, parts: &Parts<T, D>, message: &Message) -> MessageState {
        if parts.logs.get(message.id).is_some_and(|log| log.is_damaged(message.id)) {
            MessageState::Damaged
        } else if message.held {
            MessageState::Held
        } else if self.queue.is_in_hand(message.id) {
            MessageState::Active
        } else if message.recipients.iter().any(|recipient| recipient.state == DeliveryState::Deferred) {
            MessageState::Deferred
        } else {
            MessageState::Queued
        }
    }

    fn entry<T, D: Disk>(&self, parts: &Parts<T, D>, message: &Message) -> QueueEntry {
        let message_state = self.state(parts, message);
        let waits = !matches!(message_state, MessageState::Held | MessageState::Damaged);
        let recipients = (message.envelope.recipients.iter().zip(&message.recipients))
            .map(|(recipient, state)| {
                let destination = parts.routes.destination(domain_of(&recipient.address));
                let active = state.state.is_open() && self.queue.is_destination_in_hand(message.id, destination);
                RecipientEntry {
                    address: recipient.address.to_string(),
                    state: match state.state {
                        _ if active => RecipientState::Active,
                        DeliveryState::Pending => RecipientState::Queued,
                        DeliveryState::Deferred => RecipientState::Deferred,
                        DeliveryState::Delivered => RecipientState::Delivered,
                        DeliveryState::Bounced | DeliveryState::Expired | DeliveryState::Deleted => {
                            RecipientState::Failed
                        }
                    },
                    destination: parts
                        .routes
                        .lookup(domain_of(&recipient.address))
                        .map(|id| parts.routes.name(id).to_string()),
                    attempts: state.attempts,
                    next_attempt_at: (state.state.is_open() && waits)
                        .then(|| state.next_attempt_at.max(message.received_at)),
                    last_reply: state.last_reply.as_deref().map(str::to_owned),
                }
            })
            .collect();
        QueueEntry {
            id: message.id,
            received_at: message.received_at,
            sender: message.envelope.reverse_path.to_string(),
            recipients,
            size_bytes: message.size,
            state: message_state,
        }
    }
}
