//! What is not as it was written: named, counted, and bounded.

use std::fmt;

use super::MessageId;
use crate::limits::DAMAGES_MAX;

/// A place in a log where something is not as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The number of the segment file; `None` if that is missing.
    pub segment: Option<u32>,
    /// Which use of the file.
    pub generation: u64,
    /// Where in the segment, bytes.
    pub offset: u64,
    /// How much of it, bytes; 0 where nobody can tell.
    pub length: u64,
    /// What stood there.
    pub what: Damaged,
}

/// What is damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Damaged {
    /// The header of a batch. Its records are read without it.
    Header,
    /// Records of a batch.
    Records {
        /// Bytes that are no record any more; 0 if all records could be read all the same.
        lost: u64,
    },
    /// Content of a message.
    Content {
        /// Of which.
        id: MessageId,
    },
    /// A message whose content is there and whose record is not: perhaps it was lost, perhaps its session ended before.
    Message {
        /// Which.
        id: MessageId,
    },
    /// A whole segment, of which nothing is left.
    Segment,
    /// Batches of which nothing is left.
    Batches {
        /// The sequence of the first.
        first: u64,
        /// The sequence of the last.
        last: u64,
    },
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.segment {
            Some(segment) => write!(f, "segment {segment}")?,
            None => write!(f, "a missing segment")?,
        }
        write!(f, " (use {})", self.generation)?;
        match self.length {
            0 => write!(f, ", from byte {}", self.offset)?,
            length => write!(f, ", bytes {} to {}", self.offset, self.offset + length - 1)?,
        }
        match self.what {
            Damaged::Header => write!(f, ": a batch header is damaged"),
            Damaged::Records { lost: 0 } => write!(f, ": a batch is damaged, but no record of it"),
            Damaged::Records { lost } => write!(f, ": {lost} bytes of records are lost"),
            Damaged::Content { id } => write!(f, ": content of {id} is damaged"),
            Damaged::Message { id } => write!(f, ": the record of {id} is perhaps lost"),
            Damaged::Segment => write!(f, ": all that was in it is lost"),
            Damaged::Batches { first, last } if first == last => write!(f, ": batch {first} is lost"),
            Damaged::Batches { first, last } => write!(f, ": batches {first} to {last} are lost"),
        }
    }
}

/// The damages of a log: the first ones in full, all of them in numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Damages {
    /// The first ones found, at most [`DAMAGES_MAX`].
    pub list: Vec<Damage>,
    /// How many there are.
    pub count: u64,
    /// Bytes damaged.
    pub bytes: u64,
    /// Records lost, at least; whole missing batches are not counted.
    pub records: u64,
}

impl Damages {
    pub(super) fn note(&mut self, damage: Damage) {
        self.count += 1;
        self.bytes += match damage.what {
            Damaged::Records { lost } => lost,
            Damaged::Header | Damaged::Content { .. } => damage.length,
            Damaged::Message { .. } | Damaged::Segment | Damaged::Batches { .. } => 0,
        };
        if self.list.len() < DAMAGES_MAX {
            self.list.push(damage);
        }
    }
}
