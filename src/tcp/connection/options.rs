//! TCP options: read from a received header, written into one that is sent.
//!
//! ```text
//! 0  end            2 4 MSS MSS          4 2  SACK permitted          8 10 TSval×4 TSecr×4
//! 1  no operation   3 3 scale            5 n  SACK: begin×4 end×4 …
//! ```
//!
//! What is malformed ends the reading, as if the list ended there: a middlebox's error must not cost the connection.

use super::receiver::{BLOCKS_MAX, Blocks};
use super::sequence::{Sequence, Stretch};
use arrayvec::ArrayVec;

const END: u8 = 0;
const NO_OPERATION: u8 = 1;
const SEGMENT_SIZE: u8 = 2;
const WINDOW_SCALE: u8 = 3;
const SACK_PERMITTED: u8 = 4;
const SACK: u8 = 5;
const TIMESTAMPS: u8 = 8;

/// Bytes of timestamps, aligned.
pub const TIMESTAMPS_LENGTH: u32 = 12;

/// The most that a header holds.
pub const OPTIONS_LENGTH_MAX: usize = 40;

/// RFC 7323 §2.3.
const WINDOW_SCALE_MAX: u8 = 14;

/// The options that we know.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    pub segment_size: Option<u16>,
    pub window_scale: Option<u8>,
    pub sack_permitted: bool,
    /// TSval and TSecr.
    pub timestamps: Option<(u32, u32)>,
    pub blocks: Blocks,
}

fn be32(bytes: &[u8]) -> u32 {
    u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
}

impl Options {
    /// Reads what stands between the fixed header and the content.
    pub fn read(bytes: &[u8]) -> Options {
        let mut options = Options::default();
        // What nearly all segments have, and nothing else.
        if let [NO_OPERATION, NO_OPERATION, TIMESTAMPS, 10, rest @ ..] = bytes
            && rest.len() == 8
        {
            options.timestamps = Some((be32(rest), be32(&rest[4..])));
            return options;
        }
        let mut rest = bytes;
        loop {
            match rest {
                [] | [END, ..] | [_] => return options,
                [NO_OPERATION, after @ ..] => rest = after,
                [kind, length, ..] => {
                    let length = usize::from(*length);
                    if length < 2 || length > rest.len() {
                        return options;
                    }
                    options.note(*kind, &rest[2..length]);
                    rest = &rest[length..];
                }
            }
        }
    }

    fn note(&mut self, kind: u8, data: &[u8]) {
        match (kind, data) {
            (SEGMENT_SIZE, [high, low]) => self.segment_size = Some(u16::from_be_bytes([*high, *low])),
            (WINDOW_SCALE, [scale]) => self.window_scale = Some((*scale).min(WINDOW_SCALE_MAX)),
            (SACK_PERMITTED, []) => self.sack_permitted = true,
            (TIMESTAMPS, data) if data.len() == 8 => self.timestamps = Some((be32(data), be32(&data[4..]))),
            (SACK, data) => {
                for block in data.chunks_exact(8).take(BLOCKS_MAX) {
                    self.blocks.push(Stretch { begin: Sequence(be32(block)), end: Sequence(be32(&block[4..])) });
                }
            }
            _ => {}
        }
    }

    /// The options as they stand in a header, a whole number of words.
    pub fn write(&self) -> ArrayVec<u8, OPTIONS_LENGTH_MAX> {
        let mut bytes = ArrayVec::new();
        let mut put = |piece: &[u8]| {
            // All of them together fit: 4 + 4 + 4 + 12 on a SYN, 12 + 28 on others.
            let _ = bytes.try_extend_from_slice(piece);
        };
        if let Some(size) = self.segment_size {
            let [high, low] = size.to_be_bytes();
            put(&[SEGMENT_SIZE, 4, high, low]);
        }
        if let Some(scale) = self.window_scale {
            put(&[NO_OPERATION, WINDOW_SCALE, 3, scale]);
        }
        if self.sack_permitted {
            put(&[NO_OPERATION, NO_OPERATION, SACK_PERMITTED, 2]);
        }
        if let Some((value, echo)) = self.timestamps {
            put(&[NO_OPERATION, NO_OPERATION, TIMESTAMPS, 10]);
            put(&value.to_be_bytes());
            put(&echo.to_be_bytes());
        }
        if !self.blocks.is_empty() {
            put(&[NO_OPERATION, NO_OPERATION, SACK, 2 + 8 * self.blocks.len() as u8]);
            for block in &self.blocks {
                put(&block.begin.0.to_be_bytes());
                put(&block.end.0.to_be_bytes());
            }
        }
        bytes
    }
}

/// Bytes of a SACK option with so many blocks, aligned.
pub fn blocks_length(count: usize) -> u32 {
    if count == 0 { 0 } else { 4 + 8 * count as u32 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn any_options() -> impl Strategy<Value = Options> {
        let blocks = proptest::collection::vec((any::<u32>(), any::<u32>()), 0..=BLOCKS_MAX);
        let syn = (any::<Option<u16>>(), proptest::option::of(0..=14u8), any::<bool>());
        (syn, any::<Option<(u32, u32)>>(), blocks).prop_map(|((size, scale, sack), timestamps, blocks)| {
            let syn = size.is_some();
            Options {
                segment_size: size,
                window_scale: scale.filter(|_| syn),
                sack_permitted: sack && syn,
                timestamps,
                blocks: blocks
                    .into_iter()
                    .filter(|_| !syn)
                    .map(|(begin, end)| Stretch { begin: Sequence(begin), end: Sequence(end) })
                    .collect(),
            }
        })
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(options in any_options()) {
            let bytes = options.write();
            prop_assert_eq!(bytes.len() % 4, 0);
            prop_assert_eq!(Options::read(&bytes), options);
        }

        #[test]
        fn anything_can_be_read(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            Options::read(&bytes);
        }
    }

    #[test]
    fn a_wrong_length_ends_the_list() {
        assert_eq!(Options::read(&[SEGMENT_SIZE, 4, 5, 0xb4, 9, 0, SACK_PERMITTED, 2]).segment_size, Some(0x5b4));
        assert!(!Options::read(&[9, 0, SACK_PERMITTED, 2]).sack_permitted);
        assert!(!Options::read(&[9, 77, SACK_PERMITTED, 2]).sack_permitted);
        assert_eq!(Options::read(&[WINDOW_SCALE, 3, 200]).window_scale, Some(14));
    }
}
