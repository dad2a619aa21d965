//! Records: what stands in a batch after its header. The diagrams are in the module doc of [`super`].
//!
//! Encoding appends to a vector; decoding takes nothing for granted and allocates no more than the bytes at hand can
//! fill. A record gets its own checksum when its place is known ([`Seal`]).

use crate::checksum::{crc32c, crc32c_append};
use std::sync::Arc;

use super::MessageId;
use super::format::{HEADER_SIZE, NUMBER_END};
use super::message::{DeliveryState, Extent, Message, Outcome, RecipientState, clip, digest};
use crate::env::WallTime;
use crate::limits::{
    BLOCK_SIZE, CHUNK_SIZE_MAX, RECIPIENTS_PER_TRANSACTION_MAX, RECORD_SIZE_MAX, REMOTE_REPLY_SIZE_MAX,
    SEGMENT_SIZE_MAX,
};
use crate::smtp::{BodyType, Envelope, Notify, Priority, Recipient, Return};

/// Bytes before the body of every record.
pub(super) const RECORD_HEADER_SIZE: usize = 8;
/// Bytes before the content in a chunk record, its record header counted.
pub(super) const CHUNK_HEADER_SIZE: usize = RECORD_HEADER_SIZE + 16;
/// Records begin at multiples of this.
pub(super) const RECORD_ALIGNMENT: usize = 8;

const CHUNK: u8 = 1;
const MESSAGE: u8 = 2;
const OUTCOME: u8 = 3;
const HOLD: u8 = 4;
const DELETE: u8 = 5;
const ATTEMPT: u8 = 6;

/// Flags of a message.
const HELD: u8 = 1;
const UNSIGNED: u8 = 2;

/// In the state of a recipient: an attempt was begun, and how it ended is not known.
const UNSETTLED: u8 = 1 << 7;

/// What an envelope asks for.
const SMTPUTF8: u8 = 1;
const REQUIRE_TLS: u8 = 2;
const TLS_OPTIONAL: u8 = 4;
/// A priority follows behind RET. Without it the message has that of most mail.
const PRIORITY: u8 = 8;

/// Bytes of an outcome with the longest reply.
const OUTCOME_SIZE_MAX: usize = (RECORD_HEADER_SIZE + 29 + REMOTE_REPLY_SIZE_MAX).next_multiple_of(RECORD_ALIGNMENT);

/// Bytes that each chunk of a message takes in its record.
pub(super) const EXTENT_SIZE: usize = 20;

/// What the checksum of a chunk record covers of its body: the content has its own.
const CHUNK_BODY_HEAD_SIZE: usize = CHUNK_HEADER_SIZE - RECORD_HEADER_SIZE;

const _: () = assert!(RECORD_SIZE_MAX < 1 << 24, "the length of a body has 24 bits");
const _: () = assert!(CHUNK_SIZE_MAX + CHUNK_BODY_HEAD_SIZE < 1 << 24);

/// Gives records their checksums, and tells whole ones from all other bytes. It knows the log, the opening and the use of
/// the segment, and each checksum covers the record's place: neither a record that an earlier use of the file or a
/// crash left there, nor one that lies in the content of a message, passes for a true one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seal(u32);

impl Seal {
    pub(super) fn new(incarnation: u64, opened: u64, generation: u64) -> Seal {
        let seed = crc32c(&incarnation.to_le_bytes());
        let seed = crc32c_append(seed, &opened.to_le_bytes());
        Seal(crc32c_append(seed, &generation.to_le_bytes()))
    }

    fn checksum(self, offset: u32, head: &[u8], covered: &[u8]) -> u32 {
        let seed = crc32c_append(self.0, &offset.to_le_bytes());
        crc32c_append(crc32c_append(seed, head), covered)
    }

    /// Writes the checksum of the record that `record` begins with and that stands at `offset` of the segment.
    pub(super) fn stamp(self, offset: u32, record: &mut [u8]) {
        let covered = covered(record[0], body_length(record));
        let checksum = self.checksum(offset, &record[..4], &record[RECORD_HEADER_SIZE..RECORD_HEADER_SIZE + covered]);
        record[4..8].copy_from_slice(&checksum.to_le_bytes());
    }

    /// Whether the record that `bytes` begin with and that stands at `offset` of the segment is whole.
    pub(super) fn is_whole(self, offset: u32, bytes: &[u8]) -> bool {
        let Some(size) = plausible_size(bytes) else { return false };
        let covered = covered(bytes[0], body_length(bytes));
        bytes.len() >= size
            && bytes[4..8]
                == self
                    .checksum(offset, &bytes[..4], &bytes[RECORD_HEADER_SIZE..RECORD_HEADER_SIZE + covered])
                    .to_le_bytes()
    }
}

/// Bytes of the body of the record that `record` begins with.
fn body_length(record: &[u8]) -> usize {
    u32::from_le_bytes([record[1], record[2], record[3], 0]) as usize
}

/// How many bytes have to be read to check the record that `record` begins with.
pub(super) fn checked_size(record: &[u8]) -> usize {
    RECORD_HEADER_SIZE + covered(record[0], body_length(record))
}

/// Bytes of a body that the record's checksum covers.
fn covered(kind: u8, length: usize) -> usize {
    if kind == CHUNK { CHUNK_BODY_HEAD_SIZE.min(length) } else { length }
}

/// How many bytes a record takes that begins like this, if one can: its padding is not counted. Cheap, as it is asked
/// at every place of a damaged region.
pub(super) fn plausible_size(bytes: &[u8]) -> Option<usize> {
    let length = body_length(bytes.get(..RECORD_HEADER_SIZE)?);
    let fits = match bytes[0] {
        CHUNK => (CHUNK_BODY_HEAD_SIZE..=CHUNK_BODY_HEAD_SIZE + CHUNK_SIZE_MAX).contains(&length),
        MESSAGE => (28..=RECORD_SIZE_MAX).contains(&length),
        OUTCOME => (29..=29 + REMOTE_REPLY_SIZE_MAX).contains(&length),
        HOLD => length == 9,
        DELETE => length == 8,
        ATTEMPT => (16..=12 + 4 * RECIPIENTS_PER_TRANSACTION_MAX).contains(&length) && length.is_multiple_of(4),
        _ => false,
    };
    fits.then_some(RECORD_HEADER_SIZE + length)
}

/// A record as read from a batch.
#[derive(Debug)]
pub(super) enum Record {
    /// Its content is what remains of the record.
    Chunk {
        id: MessageId,
        length: u32,
        checksum: u32,
    },
    Message(Box<Message>),
    Outcome {
        id: MessageId,
        recipient: u32,
        outcome: Outcome,
    },
    Hold {
        id: MessageId,
        held: bool,
    },
    Delete {
        id: MessageId,
    },
    Attempt {
        id: MessageId,
        recipients: Vec<u32>,
    },
}

/// Bytes that no version of this program wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a record")]
pub(super) struct BadRecord;

/// Writes the head of a chunk record whose content of `length` bytes follows at [`CHUNK_HEADER_SIZE`].
pub(super) fn encode_chunk_header(out: &mut [u8], id: MessageId, length: u32, checksum: u32) {
    out[..CHUNK_HEADER_SIZE].fill(0);
    out[..4].copy_from_slice(&head(CHUNK, length as usize + CHUNK_BODY_HEAD_SIZE));
    out[8..16].copy_from_slice(&id.bits().to_le_bytes());
    out[16..20].copy_from_slice(&checksum.to_le_bytes());
}

fn head(kind: u8, length: usize) -> [u8; 4] {
    let length = u32::try_from(length).expect("records are bounded").to_le_bytes();
    [kind, length[0], length[1], length[2]]
}

/// What most records have room in, bytes: one that is longer is moved while it is written.
const RECORD_SIZE_USUAL: usize = 256;

struct Writer(Vec<u8>);

impl Writer {
    fn record(kind: u8) -> Writer {
        let mut bytes = Vec::with_capacity(RECORD_SIZE_USUAL);
        bytes.extend_from_slice(&[kind, 0, 0, 0, 0, 0, 0, 0]);
        Writer(bytes)
    }

    fn u8(&mut self, value: u8) {
        self.0.push(value);
    }

    fn u32(&mut self, value: u32) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    fn u64(&mut self, value: u64) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    fn text(&mut self, text: &str) {
        self.u32(u32::try_from(text.len()).expect("texts are bounded by lines"));
        self.0.extend_from_slice(text.as_bytes());
    }

    fn optional_text(&mut self, text: Option<&str>) {
        self.u8(u8::from(text.is_some()));
        if let Some(text) = text {
            self.text(text);
        }
    }

    fn finish(mut self) -> Vec<u8> {
        let head = head(self.0[0], self.0.len() - RECORD_HEADER_SIZE);
        self.0[..4].copy_from_slice(&head);
        self.0.resize(self.0.len().next_multiple_of(RECORD_ALIGNMENT), 0);
        self.0
    }
}

/// The final record of a message, or the record of its copy that was moved forward.
pub(super) fn encode_message(message: &Message) -> Vec<u8> {
    let mut out = Writer::record(MESSAGE);
    let envelope = &*message.envelope;
    out.u64(message.id.bits());
    out.u64(message.received_at.micros());
    out.u64(message.size);
    out.u32(digest(&message.extents));
    out.u8(if message.held { HELD } else { 0 } | if message.unsigned { UNSIGNED } else { 0 });
    out.u8(match envelope.body {
        BodyType::SevenBit => 0,
        BodyType::EightBitMime => 1,
        BodyType::BinaryMime => 2,
    });
    let options = [
        (envelope.smtputf8, SMTPUTF8),
        (envelope.require_tls, REQUIRE_TLS),
        (envelope.tls_optional, TLS_OPTIONAL),
        (!envelope.priority.is_normal(), PRIORITY),
    ];
    out.u8(options.iter().filter(|(given, _)| *given).map(|(_, option)| option).sum());
    out.u8(match envelope.ret {
        None => 0,
        Some(Return::Full) => 1,
        Some(Return::Headers) => 2,
    });
    if !envelope.priority.is_normal() {
        out.u8(envelope.priority.number().cast_unsigned());
    }
    out.text(&envelope.reverse_path);
    out.optional_text(envelope.envelope_id.as_deref());
    out.u32(u32::try_from(envelope.recipients.len()).expect("recipients are bounded"));
    for (recipient, state) in envelope.recipients.iter().zip(&message.recipients) {
        out.text(&recipient.address);
        out.optional_text(recipient.original.as_deref());
        out.u8(recipient.notify.map_or(0, |notify| {
            8 | u8::from(notify.success) | u8::from(notify.failure) << 1 | u8::from(notify.delay) << 2
        }));
        out.u8(state.state.number() | if state.unsettled { UNSETTLED } else { 0 });
        out.u32(state.attempts);
        out.u64(state.next_attempt_at.micros());
        out.optional_text(state.last_reply.as_deref());
    }
    out.u32(u32::try_from(message.extents.len()).expect("extents are bounded"));
    for extent in &message.extents {
        out.u64(extent.generation);
        out.u32(extent.offset);
        out.u32(extent.length);
        out.u32(extent.checksum);
    }
    out.finish()
}

/// What became of an attempt for one recipient.
pub(super) fn encode_outcome(id: MessageId, recipient: u32, outcome: &Outcome) -> Vec<u8> {
    let mut out = Writer::record(OUTCOME);
    out.u64(id.bits());
    out.u32(recipient);
    let (state, attempts, next, reply) = match outcome {
        Outcome::Delivered { reply } => (DeliveryState::Delivered, 0, WallTime::default(), &**reply),
        Outcome::Bounced { reply } => (DeliveryState::Bounced, 0, WallTime::default(), &**reply),
        Outcome::Expired { reply } => (DeliveryState::Expired, 0, WallTime::default(), &**reply),
        Outcome::Deferred { attempts, next_attempt_at, reply } => {
            (DeliveryState::Deferred, *attempts, *next_attempt_at, &**reply)
        }
        Outcome::Deleted => (DeliveryState::Deleted, 0, WallTime::default(), ""),
    };
    out.u8(state.number());
    out.u32(attempts);
    out.u64(next.micros());
    out.text(clip(reply));
    out.finish()
}

/// An attempt begins for these recipients: the end of the content goes out once this is durable.
pub(super) fn encode_attempt(id: MessageId, recipients: &[u32]) -> Vec<u8> {
    let mut out = Writer::record(ATTEMPT);
    out.u64(id.bits());
    out.u32(u32::try_from(recipients.len()).expect("recipients are bounded"));
    recipients.iter().for_each(|recipient| out.u32(*recipient));
    out.finish()
}

/// Bytes of a log that the record of an attempt for so many recipients takes at most: it is written before its outcomes, and
/// may have a batch for itself.
pub fn attempt_size_max(recipients: usize) -> u32 {
    let record = HEADER_SIZE + (RECORD_HEADER_SIZE + 12 + 4 * recipients).next_multiple_of(RECORD_ALIGNMENT);
    u32::try_from(record.next_multiple_of(BLOCK_SIZE)).unwrap_or(u32::MAX)
}

/// Bytes of a log that the outcomes of one job for so many recipients take at most: they are written at once, or in two
/// steps where some wait for a notice.
pub fn outcomes_size_max(recipients: usize) -> u32 {
    let records = HEADER_SIZE + recipients * OUTCOME_SIZE_MAX;
    let steps = if recipients > 1 { BLOCK_SIZE } else { 0 };
    u32::try_from(records.next_multiple_of(BLOCK_SIZE) + steps).unwrap_or(u32::MAX)
}

/// An operator's hold or release.
pub(super) fn encode_hold(id: MessageId, held: bool) -> Vec<u8> {
    let mut out = Writer::record(HOLD);
    out.u64(id.bits());
    out.u8(u8::from(held));
    out.finish()
}

/// An operator's deletion.
pub(super) fn encode_delete(id: MessageId) -> Vec<u8> {
    let mut out = Writer::record(DELETE);
    out.u64(id.bits());
    out.finish()
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn bytes(&mut self, count: usize) -> Result<&'a [u8], BadRecord> {
        let (front, rest) = self.0.split_at_checked(count).ok_or(BadRecord)?;
        self.0 = rest;
        Ok(front)
    }

    fn u8(&mut self) -> Result<u8, BadRecord> {
        Ok(self.bytes(1)?[0])
    }

    fn flag(&mut self) -> Result<bool, BadRecord> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(BadRecord),
        }
    }

    fn u32(&mut self) -> Result<u32, BadRecord> {
        Ok(u32::from_le_bytes(self.bytes(4)?.try_into().map_err(|_| BadRecord)?))
    }

    fn u64(&mut self) -> Result<u64, BadRecord> {
        Ok(u64::from_le_bytes(self.bytes(8)?.try_into().map_err(|_| BadRecord)?))
    }

    fn id(&mut self) -> Result<MessageId, BadRecord> {
        let id = MessageId::from_bits(self.u64()?);
        // The next message gets the number after it.
        if id.number() < NUMBER_END { Ok(id) } else { Err(BadRecord) }
    }

    /// A chunk of a size that one can have, within the largest segment.
    fn extent(&mut self) -> Result<Extent, BadRecord> {
        let (generation, offset, length, checksum) = (self.u64()?, self.u32()?, self.u32()?, self.u32()?);
        let end = u64::from(offset) + u64::from(length);
        // Reading it makes a block of that size.
        if length as usize > CHUNK_SIZE_MAX || end > SEGMENT_SIZE_MAX {
            return Err(BadRecord);
        }
        Ok(Extent { generation, offset, length, checksum })
    }

    fn text(&mut self) -> Result<Box<str>, BadRecord> {
        let length = self.u32()? as usize;
        Ok(std::str::from_utf8(self.bytes(length)?).map_err(|_| BadRecord)?.into())
    }

    fn optional_text(&mut self) -> Result<Option<Box<str>>, BadRecord> {
        if self.flag()? { Ok(Some(self.text()?)) } else { Ok(None) }
    }

    fn state(&mut self) -> Result<DeliveryState, BadRecord> {
        DeliveryState::from_number(self.u8()?).ok_or(BadRecord)
    }
}

/// Takes one record from the front of `bytes`. `generation` is that of the segment it stands in.
pub(super) fn decode(bytes: &mut &[u8], generation: u64) -> Result<Record, BadRecord> {
    let mut reader = Reader(bytes);
    let head = reader.bytes(RECORD_HEADER_SIZE)?;
    let length = body_length(head);
    let mut body = Reader(reader.bytes(length)?);
    // The padding of the last record is part of the batch, too.
    reader.bytes(length.next_multiple_of(RECORD_ALIGNMENT) - length)?;
    *bytes = reader.0;
    let record = match head[0] {
        CHUNK => {
            let (id, checksum) = (body.id()?, body.u32()?);
            body.bytes(4)?;
            let length = u32::try_from(body.0.len()).map_err(|_| BadRecord)?;
            return Ok(Record::Chunk { id, length, checksum });
        }
        MESSAGE => Record::Message(Box::new(decode_message(&mut body, generation)?)),
        OUTCOME => {
            let (id, recipient) = (body.id()?, body.u32()?);
            let (state, attempts, next) = (body.state()?, body.u32()?, WallTime::from_micros(body.u64()?));
            let reply = body.text()?;
            let outcome = match state {
                DeliveryState::Delivered => Outcome::Delivered { reply },
                DeliveryState::Bounced => Outcome::Bounced { reply },
                DeliveryState::Expired => Outcome::Expired { reply },
                DeliveryState::Deferred => Outcome::Deferred { attempts, next_attempt_at: next, reply },
                DeliveryState::Deleted => Outcome::Deleted,
                DeliveryState::Pending => return Err(BadRecord),
            };
            Record::Outcome { id, recipient, outcome }
        }
        HOLD => Record::Hold { id: body.id()?, held: body.flag()? },
        DELETE => Record::Delete { id: body.id()? },
        ATTEMPT => {
            let (id, count) = (body.id()?, body.u32()? as usize);
            if count == 0 || body.0.len() != 4 * count {
                return Err(BadRecord);
            }
            Record::Attempt { id, recipients: (0..count).map(|_| body.u32()).collect::<Result<_, _>>()? }
        }
        _ => return Err(BadRecord),
    };
    if body.0.is_empty() { Ok(record) } else { Err(BadRecord) }
}

/// Reads the record that `bytes` begin with and writes it again, without the checksum that only its place gives it; `None`
/// if they are none. It serves no one but tests that hold reading and writing against each other.
pub fn rewritten(mut bytes: &[u8]) -> Option<Vec<u8>> {
    let whole = bytes;
    Some(match decode(&mut bytes, 0).ok()? {
        Record::Chunk { id, length, checksum } => {
            let mut out = whole[..whole.len() - bytes.len()].to_vec();
            encode_chunk_header(&mut out, id, length, checksum);
            out
        }
        Record::Message(message) => encode_message(&message),
        Record::Outcome { id, recipient, outcome } => encode_outcome(id, recipient, &outcome),
        Record::Hold { id, held } => encode_hold(id, held),
        Record::Delete { id } => encode_delete(id),
        Record::Attempt { id, recipients } => encode_attempt(id, &recipients),
    })
}

fn decode_message(body: &mut Reader<'_>, generation: u64) -> Result<Message, BadRecord> {
    let (id, received_at, size) = (body.id()?, WallTime::from_micros(body.u64()?), body.u64()?);
    let (checksum, flags) = (body.u32()?, body.u8()?);
    if flags & !(HELD | UNSIGNED) != 0 {
        return Err(BadRecord);
    }
    let (held, unsigned) = (flags & HELD != 0, flags & UNSIGNED != 0);
    let body_type = match body.u8()? {
        0 => BodyType::SevenBit,
        1 => BodyType::EightBitMime,
        2 => BodyType::BinaryMime,
        _ => return Err(BadRecord),
    };
    let options = body.u8()?;
    if options & !(SMTPUTF8 | REQUIRE_TLS | TLS_OPTIONAL | PRIORITY) != 0 {
        return Err(BadRecord);
    }
    let mut envelope = Envelope {
        body: body_type,
        smtputf8: options & SMTPUTF8 != 0,
        require_tls: options & REQUIRE_TLS != 0,
        tls_optional: options & TLS_OPTIONAL != 0,
        ret: match body.u8()? {
            0 => None,
            1 => Some(Return::Full),
            2 => Some(Return::Headers),
            _ => return Err(BadRecord),
        },
        ..Envelope::default()
    };
    if options & PRIORITY != 0 {
        let priority = Priority::try_from(body.u8()?.cast_signed()).ok();
        envelope.priority = priority.filter(|priority| !priority.is_normal()).ok_or(BadRecord)?;
    }
    envelope.reverse_path = body.text()?;
    envelope.envelope_id = body.optional_text()?;
    let mut recipients = Vec::new();
    for _ in 0..body.u32()? {
        let (address, original) = (body.text()?, body.optional_text()?);
        let notify = match body.u8()? {
            0 => None,
            bits @ 8..16 => Some(Notify { success: bits & 1 != 0, failure: bits & 2 != 0, delay: bits & 4 != 0 }),
            _ => return Err(BadRecord),
        };
        envelope.recipients.push(Recipient { address, notify, original });
        let number = body.u8()?;
        let (state, unsettled) =
            (DeliveryState::from_number(number & !UNSETTLED).ok_or(BadRecord)?, number & UNSETTLED != 0);
        // What is over is settled.
        if unsettled && !state.is_open() {
            return Err(BadRecord);
        }
        let (attempts, next_attempt_at) = (body.u32()?, WallTime::from_micros(body.u64()?));
        let last_reply = body.optional_text()?;
        recipients.push(RecipientState { state, unsettled, attempts, next_attempt_at, last_reply });
    }
    let mut extents = Vec::new();
    for _ in 0..body.u32()? {
        extents.push(body.extent()?);
    }
    // Content is written before its record, and a log has less than 2^32 segments.
    let is_before =
        |extent: &Extent| generation.checked_sub(extent.generation).is_some_and(|n| u32::try_from(n).is_ok());
    if !extents.iter().all(is_before) {
        return Err(BadRecord);
    }
    let total: u64 = extents.iter().map(|extent| u64::from(extent.length)).sum();
    if total != size || digest(&extents) != checksum {
        return Err(BadRecord);
    }
    let envelope = Arc::new(envelope);
    Ok(Message { id, received_at, envelope, recipients, held, unsigned, size, extents, generation })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn message() -> Message {
        let extents = vec![
            Extent { generation: 3, offset: 4096, length: 65536, checksum: 1 },
            Extent { generation: 4, offset: 152, length: 10, checksum: 2 },
        ];
        let notify = Some(Notify { success: true, failure: false, delay: true });
        let original = Some("rfc822;a+2Bb@example.org".into());
        Message {
            id: MessageId::new(2, 9),
            received_at: WallTime::from_micros(1_700_000_000_000_000),
            envelope: Arc::new(Envelope {
                reverse_path: "sender@example.net".into(),
                recipients: vec![
                    Recipient { address: "ü@example.org".into(), notify, original },
                    Recipient { address: "Postmaster".into(), notify: Some(Notify::default()), original: None },
                ],
                body: BodyType::EightBitMime,
                smtputf8: true,
                require_tls: true,
                tls_optional: true,
                priority: Priority::LOWEST,
                ret: Some(Return::Headers),
                envelope_id: Some("QQ314159".into()),
            }),
            recipients: vec![
                RecipientState::default(),
                RecipientState {
                    state: DeliveryState::Deferred,
                    unsettled: true,
                    attempts: 3,
                    next_attempt_at: WallTime::from_micros(5),
                    last_reply: Some("451 4.3.0 later".into()),
                },
            ],
            held: true,
            unsigned: true,
            size: 65546,
            extents,
            generation: 4,
        }
    }

    #[test]
    fn a_message_survives_its_record() {
        let message = message();
        let bytes = encode_message(&message);
        let mut rest = bytes.as_slice();
        let Ok(Record::Message(read)) = decode(&mut rest, 4) else { panic!("not a message") };
        assert!(rest.is_empty());
        assert_eq!(format!("{read:?}"), format!("{message:?}"));
    }

    #[test]
    fn a_message_without_a_priority_has_that_of_most_mail() {
        let written = |number: i8| {
            let mut message = message();
            Arc::make_mut(&mut message.envelope).priority = Priority::try_from(number).unwrap();
            encode_message(&message)
        };
        let (without, with) = (written(0), written(-4));
        let options = RECORD_HEADER_SIZE + 30;
        let others = SMTPUTF8 | REQUIRE_TLS | TLS_OPTIONAL;
        assert_eq!((without[options], with[options]), (others, others | PRIORITY));
        let priority = |bytes: &[u8]| match decode(&mut &bytes[..], 4) {
            Ok(Record::Message(read)) => Some(read.envelope.priority.number()),
            _ => None,
        };
        assert_eq!((priority(&without), priority(&with)), (Some(0), Some(-4)));
        // What no version writes is no record.
        for number in [0, 10, -10, i8::MIN, i8::MAX] {
            let mut bad = with.clone();
            bad[options + 2] = number.cast_unsigned();
            assert_eq!(priority(&bad), None, "{number}");
        }
    }

    #[test]
    fn a_flipped_bit_or_another_place_or_use_breaks_the_seal() {
        let seal = Seal::new(7, 8, 9);
        let mut record = encode_outcome(MessageId::new(0, 1), 5, &Outcome::Bounced { reply: "550 5.1.1 no".into() });
        seal.stamp(4224, &mut record);
        assert!(seal.is_whole(4224, &record));
        assert!(!seal.is_whole(4232, &record), "another place");
        for other in [Seal::new(6, 8, 9), Seal::new(7, 7, 9), Seal::new(7, 8, 10)] {
            assert!(!other.is_whole(4224, &record), "another log, opening or use");
        }
        let size = plausible_size(&record).unwrap();
        for bit in 0..size * 8 {
            record[bit / 8] ^= 1 << (bit % 8);
            assert!(!seal.is_whole(4224, &record), "bit {bit}");
            record[bit / 8] ^= 1 << (bit % 8);
        }
        assert!(!seal.is_whole(4224, &record[..size - 1]), "cut");
    }

    #[test]
    fn an_outcome_survives_its_record() {
        let next_attempt_at = WallTime::from_micros(99);
        let outcomes = [
            Outcome::Delivered { reply: "250 2.0.0 ok".into() },
            Outcome::Bounced { reply: "550 5.1.1 no".into() },
            Outcome::Expired { reply: "".into() },
            Outcome::Deferred { attempts: 7, next_attempt_at, reply: "451 4.3.0 später".into() },
            Outcome::Deleted,
        ];
        for outcome in outcomes {
            let bytes = encode_outcome(MessageId::new(0, 1), 5, &outcome);
            let Ok(Record::Outcome { recipient: 5, outcome: read, .. }) = decode(&mut bytes.as_slice(), 1) else {
                panic!("not an outcome")
            };
            assert_eq!(read, outcome);
        }
    }

    #[test]
    fn an_attempt_survives_its_record() {
        for recipients in [vec![0], vec![3, 1, u32::MAX], (0..100).collect()] {
            let bytes = encode_attempt(MessageId::new(0, 1), &recipients);
            assert!(plausible_size(&bytes).is_some_and(|size| size <= bytes.len()));
            assert!(HEADER_SIZE + bytes.len() <= attempt_size_max(recipients.len()) as usize);
            let Ok(Record::Attempt { id, recipients: read }) = decode(&mut bytes.as_slice(), 1) else {
                panic!("not an attempt")
            };
            assert_eq!((id, read), (MessageId::new(0, 1), recipients));
        }
        let nobody = encode_attempt(MessageId::new(0, 1), &[]);
        assert!(plausible_size(&nobody).is_none() && decode(&mut nobody.as_slice(), 1).is_err());
    }

    #[test]
    fn nothing_that_is_over_is_unsettled() {
        let mut message = message();
        message.recipients[1].state = DeliveryState::Delivered;
        assert!(decode(&mut encode_message(&message).as_slice(), 4).is_err());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        #[test]
        fn damaged_records_never_panic(at in 0usize..400, value in any::<u8>(), cut in 0usize..400) {
            let mut bytes = encode_message(&message());
            let count = bytes.len();
            bytes[at % count] = value;
            bytes.truncate(count - cut % count);
            let _ = decode(&mut bytes.as_slice(), 1);
        }

        #[test]
        fn arbitrary_records_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), kind in 0u8..8) {
            let mut record = head(kind, bytes.len()).to_vec();
            record.extend([0; 4]);
            record.extend(bytes);
            let _ = decode(&mut record.as_slice(), 1);
        }
    }
}
