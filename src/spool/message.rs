//! A queued message: its envelope, the state of each recipient, and where its content lies.

use crate::checksum::crc32c_append;
use std::sync::Arc;

use super::MessageId;
use crate::env::WallTime;
use crate::limits::REMOTE_REPLY_SIZE_MAX;
use crate::smtp::Envelope;

/// Where one chunk of content lies in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Extent {
    /// The use of a segment file.
    pub generation: u64,
    /// Where in the segment the bytes begin.
    pub offset: u32,
    pub length: u32,
    /// CRC32C of the bytes.
    pub checksum: u32,
}

/// The hash over a message's chunks: CRC32C over the length and the checksum of each, in order.
pub(super) fn digest(extents: &[Extent]) -> u32 {
    extents.iter().fold(0, |digest, extent| {
        let digest = crc32c_append(digest, &extent.length.to_le_bytes());
        crc32c_append(digest, &extent.checksum.to_le_bytes())
    })
}

/// How far the delivery to one recipient is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DeliveryState {
    /// No attempt has ended yet.
    #[default]
    Pending,
    /// The last attempt failed for now.
    Deferred,
    /// Accepted by the next hop.
    Delivered,
    /// Refused for good.
    Bounced,
    /// Given up after too long a time.
    Expired,
    /// Removed by an operator.
    Deleted,
}

impl DeliveryState {
    /// Whether something is still to be done.
    pub fn is_open(self) -> bool {
        matches!(self, DeliveryState::Pending | DeliveryState::Deferred)
    }

    /// As it is written in records.
    pub(super) fn number(self) -> u8 {
        match self {
            DeliveryState::Pending => 0,
            DeliveryState::Deferred => 1,
            DeliveryState::Delivered => 2,
            DeliveryState::Bounced => 3,
            DeliveryState::Expired => 4,
            DeliveryState::Deleted => 5,
        }
    }

    pub(super) fn from_number(number: u8) -> Option<DeliveryState> {
        Some(match number {
            0 => DeliveryState::Pending,
            1 => DeliveryState::Deferred,
            2 => DeliveryState::Delivered,
            3 => DeliveryState::Bounced,
            4 => DeliveryState::Expired,
            5 => DeliveryState::Deleted,
            _ => return None,
        })
    }
}

/// One recipient of a queued message; its address is at the same place of the envelope.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecipientState {
    /// How far it is.
    pub state: DeliveryState,
    /// An attempt was begun, and how it ended is not written down.
    pub unsettled: bool,
    /// Attempts that ended.
    pub attempts: u32,
    /// When to try (again); 1970 for at once.
    pub next_attempt_at: WallTime,
    /// What the next hop said last.
    pub last_reply: Option<Box<str>>,
}

/// How an attempt ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The next hop took it.
    Delivered {
        /// Its reply.
        reply: Box<str>,
    },
    /// It failed for now.
    Deferred {
        /// Attempts so far, this one counted if it shall count.
        attempts: u32,
        /// When to try again.
        next_attempt_at: WallTime,
        /// What the next hop said.
        reply: Box<str>,
    },
    /// It failed for good.
    Bounced {
        /// What the next hop said.
        reply: Box<str>,
    },
    /// It was tried for too long.
    Expired {
        /// What the next hop said last.
        reply: Box<str>,
    },
    /// An operator removed the recipient.
    Deleted,
}

impl Outcome {
    /// What the next hop said, if it was asked.
    pub(super) fn reply(&self) -> Option<&str> {
        match self {
            Outcome::Delivered { reply }
            | Outcome::Bounced { reply }
            | Outcome::Expired { reply }
            | Outcome::Deferred { reply, .. } => Some(reply),
            Outcome::Deleted => None,
        }
    }
}

/// As much of a reply as is kept.
pub(super) fn clip(reply: &str) -> &str {
    &reply[..reply.floor_char_boundary(REMOTE_REPLY_SIZE_MAX)]
}

/// All that is known of a message: as its record says it. What is queued is kept as [`Queued`](super::Queued).
#[derive(Clone, Debug)]
pub struct Message {
    /// Its name for ever.
    pub id: MessageId,
    /// When its content was complete.
    pub received_at: WallTime,
    /// Who sends, who receives.
    pub envelope: Arc<Envelope>,
    /// One for each recipient of the envelope, in its order.
    pub recipients: Vec<RecipientState>,
    /// An operator keeps it from being delivered.
    pub held: bool,
    /// Its signature is still to be put in front of its content, before anything of it goes out.
    pub unsigned: bool,
    /// Bytes of content.
    pub size: u64,
    pub(super) extents: Vec<Extent>,
    /// The segment in which its final record stands.
    pub(super) generation: u64,
}

impl Message {
    /// Whether a recipient is left.
    pub fn is_open(&self) -> bool {
        self.recipients.iter().any(|recipient| recipient.state.is_open())
    }
}
