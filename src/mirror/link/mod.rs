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
//!  Clients {news, list} ─────────────────────────────►         whose connections are to be reset if it takes over
//!                    ◄────────────── Clients {list}          whom it had when it was the owner: its own resets may be lost
//!  Order {told} ─────────────────────────────────────►         each way: what an operator has said about some of the mail
//!  Beat {said} ──────────────────────────────────────►         each way, when nothing else was said for a while
//! ```
//!
//! A [`Point`](crate::spool::Point) names a batch by sequence and checksum, and with it all before it. The replica says the last
//! ones that it has; the owner goes on behind the first of them that is in its own log. So a replica that was away catches up from
//! the owner's disk, and one that has what no owner acknowledged gives it up, by the same three frames.
//!
//! On a wire that others may be on, the same bytes go under [TLS](crate::tls); neither end knows of it. What does not mend by
//! itself is a [`Fault`].
//!
//! # Frames, version 4
//!
//! Integers are little-endian. Version 1 had no register in what a box says of itself; in version 2 a replica told of no clients, and
//! in version 3 nobody of standing orders.
//!
//! ```text
//!  0  "RM"    2  version (8)    3  kind (8): 1 message, 2 batch
//!  4  bytes of the body (32)
//!  8  CRC32C (32) over bytes 0..8 and, of a message, the body; a batch has its own checksums
//! 12  0 (32)
//! 16  body: a message in postcard's encoding, or a batch as it stands on disk (see [`spool`](crate::spool))
//! ```

mod clients;
mod fault;
mod owner;
mod replica;
#[cfg(test)]
mod tests;
mod voice;
mod wire;

use crate::limits::MIRROR_SILENCE_DEFAULT;
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

impl Timing {
    /// For a pair in which a silence of this length has consequences: a beat every sixth of it, silent after two beats and some,
    /// and opened anew after three times as long, where TCP alone would wait ever longer.
    /// Who stood still for four thirds of it would have given up its addresses had it been awake and heard nobody; the replica
    /// heard it a beat before it stopped, and waits for longer than both.
    pub fn of(silence: Duration) -> Timing {
        Timing { beat: silence / 6, silence: silence * 2 / 5, timeout: silence * 10 / 3, away: silence * 4 / 3 }
    }
}

impl Default for Timing {
    fn default() -> Timing {
        Timing::of(MIRROR_SILENCE_DEFAULT)
    }
}

pub use clients::{ClientBook, ClientFeed};
pub use fault::Fault;
pub use owner::{Counts, End, OwnerEnd};
pub use replica::{Following, Hello, ReplicaEnd, Want};
pub use voice::Speech;
pub use wire::{ClientFlow, ClientNews, Message, Misfit, Refusal, VERSION, WireError};
