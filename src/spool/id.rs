//! Queue ids.

use arrayvec::ArrayString;
use std::fmt;
use std::str::FromStr;

/// Names a message for ever: the log that accepted it (16 bits) and its number in that log (48 bits). Written as
/// thirteen characters of Crockford's base 32, in Received headers, in the log lines and on the command line.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageId(u64);

const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
const DIGITS: usize = 13;
const NUMBER_BITS: u32 = 48;

impl MessageId {
    /// The id of message `number` of log `log`.
    pub const fn new(log: u16, number: u64) -> MessageId {
        assert!(number < 1 << NUMBER_BITS);
        MessageId((log as u64) << NUMBER_BITS | number)
    }

    /// From its 64 bits, as they stand in a record.
    pub const fn from_bits(bits: u64) -> MessageId {
        MessageId(bits)
    }

    /// As 64 bits.
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// The log that holds it.
    pub const fn log(self) -> u16 {
        (self.0 >> NUMBER_BITS) as u16
    }

    /// Its number in that log.
    pub const fn number(self) -> u64 {
        self.0 & ((1 << NUMBER_BITS) - 1)
    }

    /// As it is written.
    pub fn text(self) -> ArrayString<DIGITS> {
        let mut text = [0u8; DIGITS];
        for (place, digit) in text.iter_mut().rev().enumerate() {
            *digit = ALPHABET[(self.0 >> (5 * place)) as usize & 31];
        }
        ArrayString::from_byte_string(&text).expect("the alphabet is ASCII")
    }
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text())
    }
}

impl fmt::Debug for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A text that is no queue id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a queue id is thirteen letters and digits such as 000G000000001")]
pub struct BadMessageId;

impl FromStr for MessageId {
    type Err = BadMessageId;

    fn from_str(text: &str) -> Result<MessageId, BadMessageId> {
        if text.len() != DIGITS {
            return Err(BadMessageId);
        }
        let mut bits: u128 = 0;
        for byte in text.bytes() {
            let digit = ALPHABET.iter().position(|letter| *letter == byte.to_ascii_uppercase()).ok_or(BadMessageId)?;
            bits = bits << 5 | digit as u128;
        }
        u64::try_from(bits).map(MessageId).map_err(|_| BadMessageId)
    }
}

impl serde::Serialize for MessageId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for MessageId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<MessageId, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_survives_its_own_text() {
        for bits in [0, 1, 31, 32, u64::MAX, 0x0001_0000_0000_002a] {
            let id = MessageId::from_bits(bits);
            assert_eq!(id.to_string().parse(), Ok(id));
            assert_eq!(id.to_string().to_lowercase().parse(), Ok(id));
        }
        assert_eq!("G000000000000".parse::<MessageId>(), Err(BadMessageId), "more than 64 bits");
        assert_eq!("0".parse::<MessageId>(), Err(BadMessageId));
        assert_eq!("000000000000U".parse::<MessageId>(), Err(BadMessageId), "U is no digit");
    }
}
