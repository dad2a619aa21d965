//! What a log says: refusals, events and figures.

use hdrhistogram::Histogram;

use super::MessageId;
use super::damage::{Damage, Damages};
use crate::env::disk::DiskError;

/// Why no message is accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// There is no space; it comes back by itself (452 4.3.1).
    #[error("the spool is full")]
    Full,
    /// The storage failed, or the log is shutting down (451 4.3.0).
    #[error("the spool is closed")]
    Failed,
}

/// A message whose content is being received.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Draft {
    /// Its place in the table.
    pub slot: u32,
    /// Tells it from others in the same place.
    pub generation: u32,
    /// The queue id that it will have.
    pub id: MessageId,
}

/// What happened in [`Log::poll`](super::Log::poll).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogEvent {
    /// The message is durable: it may be acknowledged and is in the queue.
    Durable {
        /// Which.
        draft: Draft,
    },
    /// The message will never be durable.
    Failed {
        /// Which.
        draft: Draft,
    },
    /// Content is taken again after a short [`Log::content`](super::Log::content).
    Room {
        /// Of which.
        draft: Draft,
    },
    /// That an attempt began is durable: it may come to its end.
    Attempted {
        /// As it was given to [`Log::attempt`](super::Log::attempt).
        name: u64,
    },
    /// What [`Log::sign`](super::Log::sign) was told is durable: the message may be delivered.
    Signed {
        /// Which message.
        id: MessageId,
    },
    /// [`Log::read`](super::Log::read) may be called again after [`Piece::Pending`](super::Piece::Pending).
    Read {
        /// Of which message.
        id: MessageId,
    },
    /// Content of a queued message turned out to be damaged: it is not to be delivered.
    Damaged {
        /// Which message.
        id: MessageId,
    },
    /// A batch turned out not to be as it was written when the partner was to be given it. What is needed of it is moved forward.
    Broken {
        /// Where.
        damage: Damage,
    },
    /// The storage failed; the log stays closed. Deliveries must stop as well: their outcomes could not be recorded, and
    /// every one would be a duplicate after a restart.
    Closed {
        /// How.
        error: DiskError,
    },
    /// Nothing is accepted until there is space.
    Full {
        /// What there is too little of.
        shortage: Shortage,
    },
    /// There is space again.
    Space,
}

/// What a full log has too little of. All of it comes back by itself; the words are for an operator.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Shortage {
    /// The file system would have less free than is to stay free.
    #[error("the file system is full: less than [spool] free_min would stay free")]
    FileSystem,
    /// The log is as large as it may be.
    #[error("the queue takes what [spool] size_max allows")]
    Log,
    /// The file system has space, and yet no further segment: file descriptors, inodes or a quota are used up.
    #[error("no further segment can be made: {0}")]
    Segment(DiskError),
    /// What is kept of each queued message in memory.
    #[error("the queue takes the memory that [limits] queue_memory allows")]
    Memory,
}

/// What the own disk has for a log: what the two boxes of a pair tell each other, so that the one with room takes the mail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Room {
    /// A replica cannot take the next batch: no segment is ready, and none can be made.
    None,
    /// New mail is refused, or would be if this were the owner's log. What is there already is worked on.
    Scarce,
    /// There is room.
    Enough,
}

/// Whether the log accepts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogState {
    /// It does.
    Open,
    /// Not until there is space.
    Full {
        /// What there is too little of.
        shortage: Shortage,
    },
    /// Never again in this process.
    Failed {
        /// Why.
        error: DiskError,
    },
}

/// Figures of a log.
#[derive(Clone, Debug)]
pub struct Status {
    /// Whether it accepts.
    pub state: LogState,
    /// How the disk works.
    pub disk: String,
    /// Messages in the queue.
    pub messages: usize,
    /// Their content, bytes.
    pub bytes: u64,
    /// Those that an operator holds.
    pub held: usize,
    /// What the index and the delivery queue keep of them, bytes of memory.
    pub memory: u64,
    /// Segments in use.
    pub segments_used: usize,
    /// Segments ready to be used.
    pub segments_free: usize,
    /// Segments that exist.
    pub segments: usize,
    /// Segments at most.
    pub segments_max: u32,
    /// Batches that were durable.
    pub batches: u64,
    /// Their bytes.
    pub batch_bytes: u64,
    /// Messages moved forward so that old segments could be freed.
    pub moved: u64,
    /// Nanoseconds from submitting a batch until it was durable.
    pub commit_latency: Histogram<u64>,
    /// Queued messages whose content is damaged.
    pub damaged: usize,
    /// What was found not to be as it was written, since the start.
    pub damages: Damages,
}
