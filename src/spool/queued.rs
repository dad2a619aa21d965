//! A look at a queued message: decoded where it lies, as far as somebody asks.

use std::fmt;
use std::sync::Arc;

use super::MessageId;
use super::message::{DeliveryState, Extent, Message, RecipientState};
use super::packed::{Address, Head, Packed, State};
use super::replies::Replies;
use crate::env::WallTime;
use crate::smtp::{BodyType, Envelope, Notify, Priority, Recipient, Return};

/// A message that is durable and has recipients left, as the log's index holds it.
#[derive(Clone, Copy)]
pub struct Queued<'a> {
    id: MessageId,
    packed: &'a Packed,
    head: Head,
    replies: &'a Replies,
}

/// One recipient of a queued message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueuedRecipient<'a> {
    /// The forward-path.
    pub address: &'a str,
    /// `NOTIFY`, if given.
    pub notify: Option<Notify>,
    /// `ORCPT`, if given.
    pub original: Option<&'a str>,
    /// How far it is.
    pub state: DeliveryState,
    /// An attempt was begun, and how it ended is not written down.
    pub unsettled: bool,
    /// Attempts that ended.
    pub attempts: u32,
    /// When to try (again); 1970 for at once.
    pub next_attempt_at: WallTime,
    /// What the next hop said last.
    pub last_reply: Option<&'a str>,
}

impl<'a> Queued<'a> {
    pub(super) fn new(id: MessageId, packed: &'a Packed, replies: &'a Replies) -> Queued<'a> {
        Queued { id, packed, head: packed.head(), replies }
    }

    /// Its name for ever.
    pub fn id(&self) -> MessageId {
        self.id
    }

    /// When its content was complete.
    pub fn received_at(&self) -> WallTime {
        self.head.received_at
    }

    /// Bytes of content.
    pub fn size(&self) -> u64 {
        self.head.size
    }

    /// An operator keeps it from being delivered.
    pub fn held(&self) -> bool {
        self.head.held()
    }

    /// Its signature is still to be put in front of its content, before anything of it goes out.
    pub fn unsigned(&self) -> bool {
        self.head.unsigned()
    }

    /// Whether a recipient is left.
    pub fn is_open(&self) -> bool {
        self.packed.is_open()
    }

    /// The reverse-path without brackets; empty for the null sender.
    pub fn reverse_path(&self) -> &'a str {
        self.packed.reverse_path()
    }

    /// `BODY`.
    pub fn body(&self) -> BodyType {
        self.head.body()
    }

    /// `SMTPUTF8` was given.
    pub fn smtputf8(&self) -> bool {
        self.head.smtputf8()
    }

    /// `REQUIRETLS` was given.
    pub fn require_tls(&self) -> bool {
        self.head.require_tls()
    }

    /// It is to arrive rather than to be secured (`TLS-Required: No`).
    pub fn tls_optional(&self) -> bool {
        self.head.tls_optional()
    }

    /// How urgent it is.
    pub fn priority(&self) -> Priority {
        self.head.priority()
    }

    /// `RET`, if given.
    pub fn ret(&self) -> Option<Return> {
        self.head.ret()
    }

    /// `ENVID`, if given.
    pub fn envelope_id(&self) -> Option<&'a str> {
        self.packed.envelope_id()
    }

    /// How many recipients it has, those included for whom nothing is left to be done.
    pub fn recipients_count(&self) -> usize {
        self.head.recipients
    }

    /// Its recipients, in the order of their RCPT commands.
    pub fn recipients(&self) -> impl Iterator<Item = QueuedRecipient<'a>> + Clone + use<'a> {
        let replies = self.replies;
        self.packed.addresses().zip(self.packed.states()).map(move |(address, state)| {
            let Address { address, notify, original } = address;
            let State { state, unsettled, attempts, next_attempt_at, reply } = state;
            QueuedRecipient {
                address,
                notify,
                original,
                state,
                unsettled,
                attempts,
                next_attempt_at,
                last_reply: replies.text(reply),
            }
        })
    }

    /// The recipient at a place of the envelope. Costs a walk over those before it.
    pub fn recipient(&self, index: u32) -> Option<QueuedRecipient<'a>> {
        self.recipients().nth(index as usize)
    }

    /// A copy of all that is known of it.
    pub fn to_message(&self) -> Message {
        let (mut states, mut recipients) = (Vec::new(), Vec::new());
        for recipient in self.recipients() {
            let QueuedRecipient { address, notify, original, state, unsettled, attempts, next_attempt_at, last_reply } =
                recipient;
            recipients.push(Recipient { address: address.into(), notify, original: original.map(Into::into) });
            let last_reply = last_reply.map(Into::into);
            states.push(RecipientState { state, unsettled, attempts, next_attempt_at, last_reply });
        }
        Message {
            id: self.id,
            received_at: self.received_at(),
            envelope: Arc::new(Envelope {
                reverse_path: self.reverse_path().into(),
                recipients,
                body: self.body(),
                smtputf8: self.smtputf8(),
                require_tls: self.require_tls(),
                tls_optional: self.tls_optional(),
                priority: self.priority(),
                ret: self.ret(),
                envelope_id: self.envelope_id().map(Into::into),
            }),
            recipients: states,
            held: self.held(),
            unsigned: self.unsigned(),
            size: self.size(),
            extents: self.extents().collect(),
            generation: self.head.generation,
        }
    }

    /// Where its content lies, in order.
    pub(super) fn extents(&self) -> impl ExactSizeIterator<Item = Extent> + Clone + use<'a> {
        self.packed.extents()
    }

    /// The oldest segment that it needs.
    pub(super) fn oldest_generation(&self) -> u64 {
        self.packed.oldest_generation()
    }
}

impl fmt::Debug for Queued<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.to_message().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spool::message::Outcome;
    use proptest::prelude::*;

    fn text() -> impl Strategy<Value = Box<str>> {
        "[a-zü.@+]{0,200}".prop_map(Into::into)
    }

    fn recipient() -> impl Strategy<Value = (Recipient, RecipientState)> {
        let notify = proptest::option::of(any::<(bool, bool, bool)>())
            .prop_map(|notify| notify.map(|(success, failure, delay)| Notify { success, failure, delay }));
        let recipient = (text(), notify, proptest::option::of(text()))
            .prop_map(|(address, notify, original)| Recipient { address, notify, original });
        let state = (0u8..6, any::<bool>(), any::<u32>(), any::<u64>(), proptest::option::of(text())).prop_map(
            |(state, unsettled, attempts, next, last_reply)| RecipientState {
                state: DeliveryState::from_number(state).unwrap(),
                unsettled,
                attempts,
                next_attempt_at: WallTime::from_micros(next),
                last_reply,
            },
        );
        (recipient, state)
    }

    fn message() -> impl Strategy<Value = Message> {
        let body = prop_oneof![Just(BodyType::SevenBit), Just(BodyType::EightBitMime), Just(BodyType::BinaryMime)];
        let ret = prop_oneof![Just(None), Just(Some(Return::Full)), Just(Some(Return::Headers))];
        let extent = (0u64..1 << 32, any::<u32>(), any::<u32>(), any::<u32>());
        let generation = (1u64 << 32)..u64::MAX;
        let extents = proptest::collection::vec(extent, 0..4);
        let recipients = proptest::collection::vec(recipient(), 0..5);
        let priority = (-9i8..=9).prop_map(|number| Priority::try_from(number).unwrap());
        let options = (body, ret, any::<[bool; 3]>(), priority, proptest::option::of(text()), text());
        (options, recipients, extents, generation, any::<(u64, u64, u64, bool, bool)>()).prop_map(
            |(
                (body, ret, [smtputf8, require_tls, tls_optional], priority, envelope_id, reverse_path),
                recipients,
                extents,
                generation,
                numbers,
            )| {
                let (recipients, states): (Vec<_>, Vec<_>) = recipients.into_iter().unzip();
                let envelope = Envelope {
                    reverse_path,
                    recipients,
                    body,
                    smtputf8,
                    require_tls,
                    tls_optional,
                    priority,
                    ret,
                    envelope_id,
                };
                let extent = |(before, offset, length, checksum)| Extent {
                    generation: generation - before,
                    offset,
                    length,
                    checksum,
                };
                Message {
                    id: MessageId::from_bits(numbers.0),
                    received_at: WallTime::from_micros(numbers.1),
                    envelope: Arc::new(envelope),
                    recipients: states,
                    held: numbers.3,
                    unsigned: numbers.4,
                    size: numbers.2,
                    extents: extents.into_iter().map(extent).collect(),
                    generation,
                }
            },
        )
    }

    fn unpacked(packed: &Packed, replies: &Replies, id: MessageId) -> String {
        format!("{:?}", Queued::new(id, packed, replies).to_message())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(512))]

        #[test]
        fn a_message_is_unpacked_as_it_was_packed(mut message in message(), other in message(), held: bool, place: usize) {
            let mut replies = Replies::default();
            let mut packed = Packed::new(&message, |reply| replies.keep(reply));
            prop_assert_eq!(unpacked(&packed, &replies, message.id), format!("{message:?}"));
            packed.set_held(held);
            message.held = held;
            if !message.recipients.is_empty() {
                let place = place % message.recipients.len();
                let next_attempt_at = WallTime::from_micros(7);
                let outcome = Outcome::Deferred { attempts: 3, next_attempt_at, reply: "451 later".into() };
                let reply = replies.keep("451 later");
                packed.set_state(place, State { reply, ..packed.state(place).unwrap().after(&outcome) });
                let last_reply = Some("451 later".into());
                message.recipients[place] =
                    RecipientState { state: DeliveryState::Deferred, unsettled: false, attempts: 3, next_attempt_at, last_reply };
            }
            prop_assert_eq!(unpacked(&packed, &replies, message.id), format!("{message:?}"));
            let packed = packed.moved_to(&other.extents, other.generation, other.unsigned);
            let size = other.extents.iter().map(|extent| u64::from(extent.length)).sum();
            let Message { extents, generation, unsigned, .. } = other;
            let moved = Message { extents, generation, unsigned, size, ..message };
            prop_assert_eq!(unpacked(&packed, &replies, moved.id), format!("{moved:?}"));
            let oldest = moved.extents.iter().map(|extent| extent.generation).min();
            prop_assert_eq!(packed.oldest_generation(), oldest.unwrap_or(moved.generation));
        }
    }
}
