//! A queued message as the index keeps it: one piece of memory, read where it lies.
//!
//! A million messages may be queued, and nearly all of them only wait. So a message is packed when it is queued, nothing
//! of it is decoded until somebody asks, and what changes while it waits has a fixed place.
//!
//! ```text
//! head     flags (16): held, body type (2 bits), SMTPUTF8, RET (2 bits), ENVID is given, REQUIRETLS, to be signed,
//!          TLS-Required: No, 1 bit unused, priority + 9 (5 bits)
//!          received µs (64), content bytes (64), generation of its record (64), count of recipients (32), of extents (32)
//! states   count × { state (7 bits), whether an attempt is unsettled (1 bit), attempts (32), next attempt µs (64), number of the reply (32) }
//! extents  count × { generations before its record's (32), offset (32), bytes (32), checksum (32) }
//! texts    reverse-path, ENVID?, count × { forward-path, NOTIFY and whether ORCPT is given (8), ORCPT? }
//! ```
//!
//! Integers without a width are varints (LEB128); a text is its length and its bytes.

use super::message::{DeliveryState, Extent, Message, Outcome, RecipientState};
use crate::env::WallTime;
use crate::smtp::{BodyType, Notify, Priority, Recipient, Return};

const HELD: u16 = 1;
const BODY_SHIFT: u32 = 1;
const SMTPUTF8: u16 = 1 << 3;
const RETURN_SHIFT: u32 = 4;
const ENVELOPE_ID: u16 = 1 << 6;
const REQUIRE_TLS: u16 = 1 << 7;
const UNSIGNED: u16 = 1 << 8;
const TLS_OPTIONAL: u16 = 1 << 9;
const PRIORITY_SHIFT: u32 = 11;

const NOTIFY_GIVEN: u8 = 8;
const ORIGINAL_GIVEN: u8 = 16;

const UNSETTLED: u8 = 1 << 7;

const HEAD_SIZE: usize = 34;
const STATE_SIZE: usize = 17;
const EXTENT_SIZE: usize = 16;

/// A queued message without its id.
#[derive(Debug)]
pub(super) struct Packed(Box<[u8]>);

/// What stands at the front, and where the rest begins.
#[derive(Clone, Copy, Debug)]
pub(super) struct Head {
    flags: u16,
    pub received_at: WallTime,
    pub size: u64,
    pub generation: u64,
    pub recipients: usize,
    pub extents: usize,
}

/// How far the delivery to one recipient is. `reply` is a number of [`Replies`](super::replies::Replies).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct State {
    pub state: DeliveryState,
    pub unsettled: bool,
    pub attempts: u32,
    pub next_attempt_at: WallTime,
    pub reply: u32,
}

/// A recipient as it stands among the texts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Address<'a> {
    pub address: &'a str,
    pub notify: Option<Notify>,
    pub original: Option<&'a str>,
}

impl State {
    /// Whether an attempt was begun that may have delivered it.
    pub(super) fn is_in_doubt(self) -> bool {
        self.unsettled && self.state.is_open()
    }

    /// What an outcome makes of it; the reply is the caller's.
    pub(super) fn after(self, outcome: &Outcome) -> State {
        let concluded = |state| State { state, unsettled: false, attempts: self.attempts.saturating_add(1), ..self };
        match outcome {
            Outcome::Delivered { .. } => concluded(DeliveryState::Delivered),
            Outcome::Bounced { .. } => concluded(DeliveryState::Bounced),
            Outcome::Expired { .. } => concluded(DeliveryState::Expired),
            Outcome::Deferred { attempts, next_attempt_at, .. } => State {
                state: DeliveryState::Deferred,
                unsettled: false,
                attempts: *attempts,
                next_attempt_at: *next_attempt_at,
                reply: self.reply,
            },
            Outcome::Deleted => State { state: DeliveryState::Deleted, unsettled: false, ..self },
        }
    }
}

impl Head {
    pub(super) fn held(&self) -> bool {
        self.flags & HELD != 0
    }

    pub(super) fn unsigned(&self) -> bool {
        self.flags & UNSIGNED != 0
    }

    pub(super) fn body(&self) -> BodyType {
        match self.flags >> BODY_SHIFT & 3 {
            0 => BodyType::SevenBit,
            1 => BodyType::EightBitMime,
            _ => BodyType::BinaryMime,
        }
    }

    pub(super) fn smtputf8(&self) -> bool {
        self.flags & SMTPUTF8 != 0
    }

    pub(super) fn require_tls(&self) -> bool {
        self.flags & REQUIRE_TLS != 0
    }

    pub(super) fn tls_optional(&self) -> bool {
        self.flags & TLS_OPTIONAL != 0
    }

    pub(super) fn priority(&self) -> Priority {
        let above = (self.flags >> PRIORITY_SHIFT) as i8;
        Priority::try_from(Priority::LOWEST.number() + above).expect("it was packed")
    }

    pub(super) fn ret(&self) -> Option<Return> {
        match self.flags >> RETURN_SHIFT & 3 {
            0 => None,
            1 => Some(Return::Full),
            _ => Some(Return::Headers),
        }
    }

    fn extents_at(&self) -> usize {
        HEAD_SIZE + self.recipients * STATE_SIZE
    }

    fn texts_at(&self) -> usize {
        self.extents_at() + self.extents * EXTENT_SIZE
    }
}

impl Packed {
    /// Packs a message; `reply` gives what a recipient's next hop said last a number.
    pub(super) fn new(message: &Message, mut reply: impl FnMut(&str) -> u32) -> Packed {
        let envelope = &*message.envelope;
        let mut flags = if message.held { HELD } else { 0 };
        flags |= match envelope.body {
            BodyType::SevenBit => 0,
            BodyType::EightBitMime => 1,
            BodyType::BinaryMime => 2,
        } << BODY_SHIFT;
        flags |= match envelope.ret {
            None => 0,
            Some(Return::Full) => 1,
            Some(Return::Headers) => 2,
        } << RETURN_SHIFT;
        flags |= if envelope.smtputf8 { SMTPUTF8 } else { 0 };
        flags |= if envelope.require_tls { REQUIRE_TLS } else { 0 };
        flags |= if envelope.tls_optional { TLS_OPTIONAL } else { 0 };
        flags |= if envelope.envelope_id.is_some() { ENVELOPE_ID } else { 0 };
        flags |= if message.unsigned { UNSIGNED } else { 0 };
        flags |= u16::from((envelope.priority.number() - Priority::LOWEST.number()).cast_unsigned()) << PRIORITY_SHIFT;
        let mut out = Writer(Vec::with_capacity(256));
        out.head(flags, message.received_at, message.size, message.generation);
        out.counts(message.recipients.len(), message.extents.len());
        for recipient in &message.recipients {
            let reply = recipient.last_reply.as_deref().map_or(0, &mut reply);
            let RecipientState { state, unsettled, attempts, next_attempt_at, .. } = *recipient;
            out.0.extend(State { state, unsettled, attempts, next_attempt_at, reply }.bytes());
        }
        out.extents(&message.extents, message.generation);
        out.text(&envelope.reverse_path);
        if let Some(envelope_id) = &envelope.envelope_id {
            out.text(envelope_id);
        }
        for recipient in &envelope.recipients {
            out.recipient(recipient);
        }
        Packed(out.exact())
    }

    /// The same message with its content and its record in another place, and, once it is signed, with more content.
    pub(super) fn moved_to(&self, extents: &[Extent], generation: u64, unsigned: bool) -> Packed {
        let head = self.head();
        let flags = head.flags & !UNSIGNED | if unsigned { UNSIGNED } else { 0 };
        let size = extents.iter().map(|extent| u64::from(extent.length)).sum();
        let mut out = Writer(Vec::with_capacity(self.0.len() + 16));
        out.head(flags, head.received_at, size, generation);
        out.counts(head.recipients, extents.len());
        out.0.extend_from_slice(&self.0[HEAD_SIZE..head.extents_at()]);
        out.extents(extents, generation);
        out.0.extend_from_slice(&self.0[head.texts_at()..]);
        Packed(out.exact())
    }

    /// Bytes of memory.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn head(&self) -> Head {
        // Asked for again and again on a message's way: it must cost next to nothing.
        let (head, _) = self.0.split_first_chunk::<HEAD_SIZE>().expect("a message was packed");
        let mut reader = Reader(head);
        Head {
            flags: reader.u16(),
            received_at: WallTime::from_micros(reader.u64()),
            size: reader.u64(),
            generation: reader.u64(),
            recipients: reader.u32() as usize,
            extents: reader.u32() as usize,
        }
    }

    pub(super) fn set_held(&mut self, held: bool) {
        let flags = self.head().flags & !HELD | if held { HELD } else { 0 };
        self.0[..2].copy_from_slice(&flags.to_le_bytes());
    }

    /// How far the recipient at `place` is, if there is one.
    pub(super) fn state(&self, place: usize) -> Option<State> {
        let head = self.head();
        (place < head.recipients).then(|| State::at(&self.0[HEAD_SIZE + place * STATE_SIZE..]))
    }

    /// How far each recipient is.
    pub(super) fn states(&self) -> impl Iterator<Item = State> + Clone + '_ {
        let head = self.head();
        self.0[HEAD_SIZE..head.extents_at()].chunks_exact(STATE_SIZE).map(State::at)
    }

    pub(super) fn set_state(&mut self, place: usize, state: State) {
        let head = self.head();
        assert!(place < head.recipients, "a recipient that there is");
        let at = HEAD_SIZE + place * STATE_SIZE;
        self.0[at..at + STATE_SIZE].copy_from_slice(&state.bytes());
    }

    /// Whether a recipient is left.
    pub(super) fn is_open(&self) -> bool {
        self.states().any(|state| state.state.is_open())
    }

    /// Where its content lies, in order.
    pub(super) fn extents(&self) -> impl ExactSizeIterator<Item = Extent> + Clone + '_ {
        let head = self.head();
        self.0[head.extents_at()..head.texts_at()].chunks_exact(EXTENT_SIZE).map(move |bytes| {
            let mut reader = Reader(bytes);
            let generation = head.generation - u64::from(reader.u32());
            Extent { generation, offset: reader.u32(), length: reader.u32(), checksum: reader.u32() }
        })
    }

    /// The oldest segment that it needs.
    pub(super) fn oldest_generation(&self) -> u64 {
        let generation = self.head().generation;
        self.extents().map(|extent| extent.generation).min().unwrap_or(generation)
    }

    pub(super) fn reverse_path(&self) -> &str {
        self.texts().text()
    }

    pub(super) fn envelope_id(&self) -> Option<&str> {
        let mut texts = self.texts();
        texts.skip_text();
        (self.head().flags & ENVELOPE_ID != 0).then(|| texts.text())
    }

    /// The recipients, in the order of their RCPT commands.
    pub(super) fn addresses(&self) -> impl Iterator<Item = Address<'_>> + Clone + '_ {
        let mut texts = self.texts();
        texts.skip_text();
        if self.head().flags & ENVELOPE_ID != 0 {
            texts.skip_text();
        }
        (0..self.head().recipients).scan(texts, |texts, _| {
            let (address, bits) = (texts.text(), texts.u8());
            let notify = (bits & NOTIFY_GIVEN != 0).then_some(Notify {
                success: bits & 1 != 0,
                failure: bits & 2 != 0,
                delay: bits & 4 != 0,
            });
            let original = (bits & ORIGINAL_GIVEN != 0).then(|| texts.text());
            Some(Address { address, notify, original })
        })
    }

    fn texts(&self) -> Reader<'_> {
        Reader(&self.0[self.head().texts_at()..])
    }
}

impl State {
    fn bytes(self) -> [u8; STATE_SIZE] {
        let mut bytes = [0; STATE_SIZE];
        bytes[0] = self.state.number() | if self.unsettled { UNSETTLED } else { 0 };
        bytes[1..5].copy_from_slice(&self.attempts.to_le_bytes());
        bytes[5..13].copy_from_slice(&self.next_attempt_at.micros().to_le_bytes());
        bytes[13..].copy_from_slice(&self.reply.to_le_bytes());
        bytes
    }

    fn at(bytes: &[u8]) -> State {
        let mut reader = Reader(bytes);
        let number = reader.u8();
        State {
            state: DeliveryState::from_number(number & !UNSETTLED).expect("a state that was packed"),
            unsettled: number & UNSETTLED != 0,
            attempts: reader.u32(),
            next_attempt_at: WallTime::from_micros(reader.u64()),
            reply: reader.u32(),
        }
    }
}

struct Writer(Vec<u8>);

impl Writer {
    /// What was written, in memory of just that size: an allocator may leave what is made smaller where it is.
    fn exact(&self) -> Box<[u8]> {
        self.0.as_slice().into()
    }

    fn head(&mut self, flags: u16, received_at: WallTime, size: u64, generation: u64) {
        self.0.extend_from_slice(&flags.to_le_bytes());
        for number in [received_at.micros(), size, generation] {
            self.0.extend_from_slice(&number.to_le_bytes());
        }
    }

    fn counts(&mut self, recipients: usize, extents: usize) {
        for count in [recipients, extents] {
            self.0.extend_from_slice(&u32::try_from(count).expect("a record holds them").to_le_bytes());
        }
    }

    fn extents(&mut self, extents: &[Extent], generation: u64) {
        for extent in extents {
            // Decoding has seen to it for what was read, and content is always written before its record.
            let before = generation.checked_sub(extent.generation).and_then(|before| u32::try_from(before).ok());
            let before = before.expect("content lies before its record");
            for value in [before, extent.offset, extent.length, extent.checksum] {
                self.0.extend(value.to_le_bytes());
            }
        }
    }

    fn recipient(&mut self, recipient: &Recipient) {
        self.text(&recipient.address);
        let notify = recipient.notify.map_or(0, |notify| {
            NOTIFY_GIVEN | u8::from(notify.success) | u8::from(notify.failure) << 1 | u8::from(notify.delay) << 2
        });
        self.0.push(notify | if recipient.original.is_some() { ORIGINAL_GIVEN } else { 0 });
        if let Some(original) = &recipient.original {
            self.text(original);
        }
    }

    fn number(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    fn text(&mut self, text: &str) {
        self.number(text.len() as u64);
        self.0.extend_from_slice(text.as_bytes());
    }
}

/// Reads what [`Writer`] wrote; anything else is our own fault.
#[derive(Clone)]
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn bytes(&mut self, count: usize) -> &'a [u8] {
        let (front, rest) = self.0.split_at(count);
        self.0 = rest;
        front
    }

    fn u16(&mut self) -> u16 {
        u16::from_le_bytes(self.bytes(2).try_into().expect("two bytes"))
    }

    fn u8(&mut self) -> u8 {
        self.bytes(1)[0]
    }

    fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.bytes(4).try_into().expect("four bytes"))
    }

    fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.bytes(8).try_into().expect("eight bytes"))
    }

    fn number(&mut self) -> u64 {
        let mut value = 0;
        for shift in (0..).step_by(7) {
            let byte = self.u8();
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                break;
            }
        }
        value
    }

    fn count(&mut self) -> usize {
        usize::try_from(self.number()).expect("it is in memory")
    }

    fn text(&mut self) -> &'a str {
        std::str::from_utf8(self.skip_text()).expect("it was a text")
    }

    fn skip_text(&mut self) -> &'a [u8] {
        let length = self.count();
        self.bytes(length)
    }
}
