//! Links: batches of one log on their way to the partner, and the word that they are durable there.
//!
//! Each log of an identity has a link of its own: a TCP flow from the worker of the owner that writes it to the worker of the
//! partner that keeps its replica, over the boxes' own stacks. The owner connects. Both ends are sans-IO: [`OwnerEnd`] and
//! [`ReplicaEnd`] take bytes and the time, and give bytes.
//!
//! ```text
//!  owner                                               replica
//!  Hello {identity, log, segment size} ──────────────►
//!                    ◄────────────── Welcome {points}          or Refused {why}
//!  From {point} ─────────────────────────────────────►         what stands behind it is put aside first, if anything does
//!  Batch, Batch, … ──────────────────────────────────►         written as it is
//!                    ◄────────────── Durable {epoch, point}
//!  Beat {said} ──────────────────────────────────────►         each way, when nothing else was said for a while
//! ```
//!
//! A [`Point`](crate::spool::Point) names a batch by sequence and checksum, and with it all before it. The replica says the last
//! ones that it has; the owner goes on behind the first of them that is in its own log. So a replica that was away catches up from
//! the owner's disk, and one that has what no owner acknowledged gives it up, by the same three frames.
//!
//! # Frames, version 1
//!
//! Integers are little-endian.
//!
//! ```text
//!  0  "RM"    2  version (8)    3  kind (8): 1 message, 2 batch
//!  4  bytes of the body (32)
//!  8  CRC32C (32) over bytes 0..8 and, of a message, the body; a batch has its own checksums
//! 12  0 (32)
//! 16  body: a message in postcard's encoding, or a batch as it stands on disk (see [`spool`](crate::spool))
//! ```

mod owner;
mod replica;
#[cfg(test)]
mod tests;
mod voice;
mod wire;

use crate::limits::{AWAY_MAX, MIRROR_BEAT_INTERVAL, MIRROR_LINK_TIMEOUT, MIRROR_SILENCE};
use std::time::Duration;

/// What links wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// Whoever has said nothing for so long says that it is still here.
    pub beat: Duration,
    /// Who is not heard for so long is silent.
    pub silence: Duration,
    /// A link on which nothing is heard for so long is opened anew.
    pub timeout: Duration,
    /// Who stood still for so long may have been replaced meanwhile.
    pub away: Duration,
}

impl Default for Timing {
    fn default() -> Timing {
        let (beat, silence, timeout, away) = (MIRROR_BEAT_INTERVAL, MIRROR_SILENCE, MIRROR_LINK_TIMEOUT, AWAY_MAX);
        Timing { beat, silence, timeout, away }
    }
}

pub use owner::{Counts, End, OwnerEnd};
pub use replica::{Following, Hello, ReplicaEnd, Want};
pub use wire::{Message, Misfit, Refusal, VERSION, WireError};
