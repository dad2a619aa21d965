//! The batch header: its bytes, and nothing about what it means. The diagram is in the module doc of [`super`].

use crate::checksum::crc32c;

/// Bytes of a batch header.
pub(super) const HEADER_SIZE: usize = 128;

/// Set in a batch that a shutdown sealed: no queue id was given out after it.
pub(super) const FLAG_CLEAN: u16 = 1;

/// Set in a batch that holds the copy of damaged content: its own checksum does not vouch for that.
pub(super) const FLAG_TAINTED: u16 = 2;

/// What a header counts is below this. Every count begins at one, or is the time in microseconds: none gets there, and what
/// is added to one never overflows.
const COUNT_END: u64 = 1 << 62;

/// Message numbers are below this, half of what 48 bits can say ([`MessageId`](super::MessageId)): a log that has used them up
/// takes no more messages, and can still write down what becomes of those it has.
pub(super) const NUMBER_END: u64 = 1 << 47;

const MAGIC: u64 = u64::from_le_bytes(*b"ROHRLOG\x02");
const CHECKSUM_AT: usize = 124;

/// One opening of the log: what was written until the next one.
///
/// What a crash left behind the end of the chain stands at or behind the place where the next opening went on, and names
/// an earlier one. So a stale batch or record is told from a true one by its place alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Opening {
    /// Names it; rises from one to the next.
    pub at: u64,
    /// Where its first batch can stand at the earliest.
    pub generation: u64,
    pub offset: u32,
}

/// What stands before the records of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub log: u16,
    pub flags: u16,
    /// Records in the batch.
    pub records: u32,
    /// Chosen when the log was created; tells this log from any other that ever lived here.
    pub incarnation: u64,
    /// Which use of the segment file this is.
    pub generation: u64,
    pub epoch: u64,
    pub sequence: u64,
    pub previous_sequence: u64,
    /// All batches up to this sequence were durable when this one was sealed.
    pub synced: u64,
    /// The generation of the oldest segment that is needed.
    pub start: u64,
    /// The number that the next message gets.
    pub number_next: u64,
    pub segment_size: u64,
    /// Where in the segment the batch begins, bytes.
    pub offset: u32,
    /// Bytes of records after the header, without padding.
    pub length: u32,
    /// Header checksum of the batch before.
    pub previous_checksum: u32,
    pub payload_checksum: u32,
    pub opening: Opening,
}

impl Header {
    /// Writes the header and returns its checksum, which stands for the whole batch.
    pub(super) fn encode(&self, out: &mut [u8]) -> u32 {
        debug_assert!(self.is_plausible(), "what is written can be read: {self:?}");
        out[..HEADER_SIZE].fill(0);
        out[0..8].copy_from_slice(&MAGIC.to_le_bytes());
        out[8..10].copy_from_slice(&self.log.to_le_bytes());
        out[10..12].copy_from_slice(&self.flags.to_le_bytes());
        out[12..16].copy_from_slice(&self.records.to_le_bytes());
        let words = [
            self.incarnation,
            self.generation,
            self.epoch,
            self.sequence,
            self.previous_sequence,
            self.synced,
            self.start,
            self.number_next,
            self.segment_size,
        ];
        for (place, word) in words.iter().enumerate() {
            out[16 + 8 * place..24 + 8 * place].copy_from_slice(&word.to_le_bytes());
        }
        let halves = [self.offset, self.length, self.previous_checksum, self.payload_checksum];
        for (place, half) in halves.iter().enumerate() {
            out[88 + 4 * place..92 + 4 * place].copy_from_slice(&half.to_le_bytes());
        }
        out[104..112].copy_from_slice(&self.opening.at.to_le_bytes());
        out[112..120].copy_from_slice(&self.opening.generation.to_le_bytes());
        out[120..124].copy_from_slice(&self.opening.offset.to_le_bytes());
        let checksum = crc32c(&out[..CHECKSUM_AT]);
        out[CHECKSUM_AT..CHECKSUM_AT + 4].copy_from_slice(&checksum.to_le_bytes());
        checksum
    }

    /// Whether these bytes begin like a header that another version of this program wrote.
    pub(super) fn is_of_another_version(bytes: &[u8]) -> bool {
        let magic = MAGIC.to_le_bytes();
        bytes.len() >= 8 && bytes[..7] == magic[..7] && bytes[7] != magic[7]
    }

    /// The header and its checksum, if these bytes are one.
    pub(super) fn decode(bytes: &[u8]) -> Option<(Header, u32)> {
        let bytes = bytes.get(..HEADER_SIZE)?;
        let word = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
        let half = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
        let short = |at: usize| u16::from_le_bytes(bytes[at..at + 2].try_into().expect("two bytes"));
        if word(0) != MAGIC || half(CHECKSUM_AT) != crc32c(&bytes[..CHECKSUM_AT]) {
            return None;
        }
        let header = Header {
            log: short(8),
            flags: short(10),
            records: half(12),
            incarnation: word(16),
            generation: word(24),
            epoch: word(32),
            sequence: word(40),
            previous_sequence: word(48),
            synced: word(56),
            start: word(64),
            number_next: word(72),
            segment_size: word(80),
            offset: half(88),
            length: half(92),
            previous_checksum: half(96),
            payload_checksum: half(100),
            opening: Opening { at: word(104), generation: word(112), offset: half(120) },
        };
        // A checksum that holds vouches for what was written, not for who wrote it.
        header.is_plausible().then_some((header, half(CHECKSUM_AT)))
    }

    /// Whether a log can have written it: nothing in it is later than itself.
    fn is_plausible(&self) -> bool {
        let counts = [
            self.generation,
            self.epoch,
            self.sequence,
            self.previous_sequence,
            self.synced,
            self.start,
            self.opening.at,
            self.opening.generation,
        ];
        let opened = (self.opening.generation, self.opening.offset);
        counts.iter().all(|count| *count < COUNT_END)
            && self.number_next <= NUMBER_END
            && self.previous_sequence < self.sequence
            && self.synced < self.sequence
            && self.start <= self.generation
            && opened <= (self.generation, self.offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_header_survives_its_bytes_and_no_flipped_bit_does() {
        let header = Header {
            log: 7,
            flags: FLAG_CLEAN,
            records: 3,
            incarnation: 1 << 60,
            generation: 9,
            epoch: 2,
            sequence: 77,
            previous_sequence: 70,
            synced: 69,
            start: 4,
            number_next: 1234,
            segment_size: 64 << 20,
            offset: 8192,
            length: 5000,
            previous_checksum: 0xdead_beef,
            payload_checksum: 0x1234_5678,
            opening: Opening { at: 1 << 50, generation: 8, offset: 4096 },
        };
        let mut bytes = [0u8; HEADER_SIZE];
        let checksum = header.encode(&mut bytes);
        assert_eq!(Header::decode(&bytes), Some((header, checksum)));
        for bit in 0..HEADER_SIZE * 8 {
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Header::decode(&bytes), None, "bit {bit}");
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_are_no_header(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            prop_assert_eq!(Header::decode(&bytes), None);
        }
    }
}
