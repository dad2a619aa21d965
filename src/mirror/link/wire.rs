//! What goes over a link: frames, whose diagram is in the module doc of [`super`].
//!
//! In: bytes as they come. Out: messages, or the first reason to end the link. Nothing of what came is believed but that it
//! came whole; what a batch holds is for the log to judge.

use crate::checksum::{crc32c, crc32c_append};
use crate::env::disk::Block;
use crate::limits::{BATCH_SIZE_LIMIT, MIRROR_MESSAGE_SIZE_MAX};
use crate::mirror::arbiter::Words;
use crate::mirror::register::Node;
use crate::spool::{Batch, Point};
use crate::tls::RECORD_TYPES;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::net::SocketAddr;

/// Bytes before the body of a frame.
const FRAME_HEADER_SIZE: usize = 16;

/// The version of the protocol that is spoken. Both boxes say theirs in their first frame.
pub const VERSION: u8 = 4;

const MAGIC: [u8; 2] = *b"RM";
const MESSAGE: u8 = 1;
const BATCH: u8 = 2;

/// What the boxes tell each other besides batches.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Message {
    /// The owner's first: which log this link is for.
    Hello {
        /// Whose.
        identity: Node,
        /// The log's number.
        log: u16,
        /// Its segments, bytes.
        segment_size: u64,
        /// What the owner says of itself.
        said: Words,
    },
    /// The replica's answer: where its copy can go on, the best first.
    Welcome {
        /// The last batches that it is durable through; none where it is empty.
        points: Vec<Point>,
        /// What the replica says of itself.
        said: Words,
    },
    /// The replica has no use for this link; another one may do.
    Refused {
        /// Why.
        refusal: Refusal,
        /// What the replica says of itself.
        said: Words,
    },
    /// What follows goes on behind this batch; `None`: begins anew.
    From {
        /// One of those in the welcome.
        point: Option<Point>,
    },
    /// The replica is durable through this batch, and follows the owner of this epoch.
    Durable {
        /// The epoch of the register that it follows in.
        epoch: u64,
        /// Whether the register counts on it in this epoch.
        promised: bool,
        /// The last batch.
        point: Point,
    },
    /// Who the owner's clients are, for the day on which they have to be told that it is gone.
    Clients {
        /// What about them.
        news: ClientNews,
        /// At most [`MIRROR_CLIENTS_PER_MESSAGE`](crate::limits::MIRROR_CLIENTS_PER_MESSAGE).
        list: Vec<ClientFlow>,
    },
    /// A standing order of the operator's, or that one was ended. Either end may say it, as far as both have said what they come for.
    Order {
        /// In the words of the control threads.
        told: Box<[u8]>,
    },
    /// Still here.
    Beat {
        /// What the sender says of itself.
        said: Words,
    },
}

/// Both ends of a client's connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ClientFlow {
    /// The identity's address and port.
    pub local: SocketAddr,
    /// The client's.
    pub remote: SocketAddr,
}

/// What is said of some clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ClientNews {
    /// They have come, and whoever was named before counts no more.
    Anew,
    /// They have come.
    Joined,
    /// They are gone.
    Left,
}

/// Why a replica does not take a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Refusal {
    /// It has fewer logs.
    #[error(
        "the partner has no log of this number: `logs` of [pair] must be the same on both boxes, and as many as the one with \
         more workers has of them"
    )]
    UnknownLog,
    /// It does not follow: it owns the identity itself, or is being set up.
    #[error("the partner does not follow now")]
    NotFollowing,
    /// Its copy is being put right.
    #[error("the partner's copy is being put right")]
    Rewinding,
    /// `segment_size` of `[spool]` differs.
    #[error("[spool] segment_size must be the same on both boxes")]
    SegmentSize,
    /// What came did not fit.
    #[error("the partner could not use what it was sent: {0}")]
    Unfit(Misfit),
}

/// What of a batch did not fit, in the words of the log that refused it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Misfit {
    /// It was no batch.
    #[error("it was no batch")]
    Damaged,
    /// Of another log.
    #[error("it belongs to another log")]
    Foreign,
    /// It did not follow.
    #[error("it does not follow the last one")]
    Gap,
    /// Its copy is closed: the storage failed.
    #[error("its storage failed")]
    Closed,
}

/// Why a link is ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// Another protocol, or bytes damaged on their way.
    #[error("what came is no frame of a mirror link")]
    NoFrame,
    /// The partner speaks TLS.
    #[error(
        "the partner speaks TLS, and nothing is encrypted here: `encryption` in [pair] must be the same on both boxes"
    )]
    Encrypted,
    /// A version of the protocol that is not spoken here.
    #[error(
        "the partner speaks version {theirs} of the mirror protocol, and only {ours} is spoken here: install the same \
         release on both boxes"
    )]
    Version {
        /// In its frames.
        theirs: u8,
        /// In ours.
        ours: u8,
    },
    /// Larger than anything that is sent.
    #[error("a frame is larger than any that is sent")]
    TooLarge,
    /// A message that is none.
    #[error("a message cannot be read")]
    NoMessage,
    /// A message that has no place there.
    #[error("a message came that is not expected now")]
    Unexpected,
}

/// The bytes of a message.
fn message(version: u8, message: &Message) -> Vec<u8> {
    let body = postcard::to_allocvec(message).expect("messages are plain data");
    debug_assert!(body.len() <= MIRROR_MESSAGE_SIZE_MAX);
    let mut frame = header(version, MESSAGE, body.len(), &body).to_vec();
    frame.extend(body);
    frame
}

/// The header of a frame. Of a batch its checksum covers no more than itself, since a batch has its own.
fn header(version: u8, kind: u8, length: usize, covered: &[u8]) -> [u8; FRAME_HEADER_SIZE] {
    let mut out = [0; FRAME_HEADER_SIZE];
    out[..2].copy_from_slice(&MAGIC);
    (out[2], out[3]) = (version, kind);
    out[4..8].copy_from_slice(&u32::try_from(length).expect("frames are small").to_le_bytes());
    let checksum = crc32c_append(crc32c(&out[..8]), covered);
    out[8..12].copy_from_slice(&checksum.to_le_bytes());
    out
}

/// What came.
#[derive(Debug)]
pub(super) enum Arrival {
    /// A message.
    Message(Message),
    /// A batch, whose bytes are the first of the block, and how many they are.
    Batch(Block, usize),
}

/// Puts frames together as their bytes come.
#[derive(Debug)]
pub(super) struct Incoming {
    /// What is spoken here.
    version: u8,
    /// The header of a frame and, of a message, its body.
    front: Vec<u8>,
    /// The batch that is coming: where it is put, how long it is, and how much of it is there.
    batch: Option<(Block, usize, usize)>,
}

impl Incoming {
    pub(super) fn new(version: u8) -> Incoming {
        Incoming { version, front: Vec::new(), batch: None }
    }

    /// Takes bytes off the front of `bytes` until something has come or nothing is left.
    pub(super) fn take(&mut self, bytes: &mut &[u8]) -> Result<Option<Arrival>, WireError> {
        loop {
            if let Some((block, length, there)) = &mut self.batch {
                let count = bytes.len().min(*length - *there);
                block.bytes_mut()[*there..*there + count].copy_from_slice(&bytes[..count]);
                *bytes = &bytes[count..];
                *there += count;
                if there < length {
                    return Ok(None);
                }
                return Ok(self.batch.take().map(|(block, length, _)| Arrival::Batch(block, length)));
            }
            let wanted = match self.front.get(..FRAME_HEADER_SIZE) {
                None => FRAME_HEADER_SIZE,
                Some(head) => FRAME_HEADER_SIZE + body_length(head),
            };
            let count = bytes.len().min(wanted - self.front.len());
            self.front.extend_from_slice(&bytes[..count]);
            *bytes = &bytes[count..];
            if self.front.len() < wanted {
                // Whoever speaks another protocol may wait for an answer before it has said as much as a header.
                return if self.front.len() < MAGIC.len() { Ok(None) } else { self.magic().map(|()| None) };
            }
            if wanted == FRAME_HEADER_SIZE && self.front.len() == wanted {
                let length = self.head()?;
                if self.front[3] == BATCH {
                    self.front.clear();
                    self.batch = Some((Block::zeroed(length), length, 0));
                    continue;
                }
                if length > 0 {
                    continue;
                }
            }
            let message = self.body();
            self.front.clear();
            return message.map(|message| Some(Arrival::Message(message)));
        }
    }

    /// Looks at what a frame begins with.
    fn magic(&self) -> Result<(), WireError> {
        match [self.front[0], self.front[1]] {
            MAGIC => Ok(()),
            [kind, 3] if RECORD_TYPES.contains(&kind) => Err(WireError::Encrypted),
            _ => Err(WireError::NoFrame),
        }
    }

    /// Looks at the header of a frame and says how long its body is.
    fn head(&self) -> Result<usize, WireError> {
        self.magic()?;
        let head = &self.front;
        if head[2] != self.version {
            return Err(WireError::Version { theirs: head[2], ours: self.version });
        }
        let length = body_length(head);
        match head[3] {
            BATCH if crc32c(&head[..8]) != checksum(head) => Err(WireError::NoFrame),
            BATCH if length > BATCH_SIZE_LIMIT => Err(WireError::TooLarge),
            MESSAGE if length > MIRROR_MESSAGE_SIZE_MAX => Err(WireError::TooLarge),
            BATCH | MESSAGE => Ok(length),
            _ => Err(WireError::NoFrame),
        }
    }

    fn body(&self) -> Result<Message, WireError> {
        let (head, body) = self.front.split_at(FRAME_HEADER_SIZE);
        if crc32c_append(crc32c(&head[..8]), body) != checksum(head) {
            return Err(WireError::NoFrame);
        }
        match postcard::take_from_bytes::<Message>(body) {
            Ok((message, [])) => Ok(message),
            _ => Err(WireError::NoMessage),
        }
    }
}

fn body_length(head: &[u8]) -> usize {
    u32::from_le_bytes([head[4], head[5], head[6], head[7]]) as usize
}

fn checksum(head: &[u8]) -> u32 {
    u32::from_le_bytes([head[8], head[9], head[10], head[11]])
}

/// What is to go out, in order.
#[derive(Debug)]
pub(super) struct Outgoing {
    version: u8,
    parts: VecDeque<Part>,
    /// Bytes of the first that have gone.
    sent: usize,
}

#[derive(Debug)]
enum Part {
    Bytes(Vec<u8>),
    Batch(Batch),
}

impl Part {
    fn bytes(&self) -> &[u8] {
        match self {
            Part::Bytes(bytes) => bytes,
            Part::Batch(batch) => batch.bytes(),
        }
    }
}

impl Outgoing {
    pub(super) fn new(version: u8) -> Outgoing {
        Outgoing { version, parts: VecDeque::new(), sent: 0 }
    }

    pub(super) fn message(&mut self, content: &Message) {
        self.parts.push_back(Part::Bytes(message(self.version, content)));
    }

    pub(super) fn batch(&mut self, batch: Batch) {
        let header = header(self.version, BATCH, batch.bytes().len(), &[]);
        self.parts.push_back(Part::Bytes(header.to_vec()));
        self.parts.push_back(Part::Batch(batch));
    }

    /// The next bytes; none if all have gone.
    pub(super) fn bytes(&self) -> &[u8] {
        self.parts.front().map_or(&[], |part| &part.bytes()[self.sent..])
    }

    pub(super) fn sent(&mut self, count: usize) {
        self.sent += count;
        if self.parts.front().is_some_and(|part| self.sent == part.bytes().len()) {
            self.parts.pop_front();
            self.sent = 0;
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::EPOCH_MAX;
    use crate::mirror::arbiter::Role;
    use crate::mirror::register::{Incarnation, Register};
    use crate::mirror::standing::Standing;
    use proptest::prelude::*;

    fn words() -> Words {
        let incarnation = Incarnation::new(7).expect("not zero");
        Words { epoch: 3, role: Role::Follows, incarnation, able: true, roomy: true, standing: None, orders: 0 }
    }

    /// The longest words that are said.
    fn full() -> Words {
        let copy = |number| Incarnation::new(number).expect("not zero");
        let register = Some(Register::mirrored(EPOCH_MAX, Node::B, copy(u64::MAX), copy(u64::MAX - 1)));
        Words { standing: Some(Standing { register, agreed: register, rival: register }), orders: u32::MAX, ..words() }
    }

    fn frames() -> Vec<u8> {
        let point = Point { sequence: 7, checksum: 9, generation: 3, offset: 4096 };
        let mut out = Vec::new();
        for content in [
            Message::Welcome { points: vec![point; 64], said: words() },
            Message::Durable { epoch: 3, promised: true, point },
            Message::Beat { said: full() },
        ] {
            out.extend(message(VERSION, &content));
        }
        out.extend(header(VERSION, BATCH, 8192, &[]));
        out.extend((0..8192u32).map(|place| place as u8));
        out.extend(message(VERSION, &Message::From { point: None }));
        out
    }

    fn take_all(incoming: &mut Incoming, mut bytes: &[u8], arrivals: &mut Vec<String>) -> Result<(), WireError> {
        while let Some(arrival) = incoming.take(&mut bytes)? {
            arrivals.push(match arrival {
                Arrival::Message(message) => format!("{message:?}"),
                Arrival::Batch(block, length) => format!("{:x}", crc32c(&block.bytes()[..length])),
            });
        }
        Ok(())
    }

    #[test]
    fn frames_come_whole_and_byte_by_byte() {
        let bytes = frames();
        let (mut whole, mut single) = (Vec::new(), Vec::new());
        take_all(&mut Incoming::new(VERSION), &bytes, &mut whole).unwrap();
        let mut incoming = Incoming::new(VERSION);
        for byte in bytes.chunks(1) {
            take_all(&mut incoming, byte, &mut single).unwrap();
        }
        assert_eq!(whole, single);
        assert_eq!(whole.len(), 5);
    }

    #[test]
    fn another_version_is_named() {
        let mut bytes = frames();
        bytes[2] = 9;
        assert_eq!(
            take_all(&mut Incoming::new(VERSION), &bytes, &mut Vec::new()),
            Err(WireError::Version { theirs: 9, ours: VERSION })
        );
    }

    #[test]
    fn a_register_comes_as_it_is_kept_and_one_that_cannot_be_is_no_message() {
        let mut bytes = message(VERSION, &Message::Beat { said: full() });
        assert!(bytes.len() < 512, "{} bytes with every heartbeat", bytes.len());
        let mut arrivals = Vec::new();
        take_all(&mut Incoming::new(VERSION), &bytes, &mut arrivals).unwrap();
        assert_eq!(arrivals, [format!("{:?}", Message::Beat { said: full() })]);
        // Mirrored, said to be solo: the byte behind the first epoch and the owner.
        let epoch = postcard::to_allocvec(&EPOCH_MAX).unwrap();
        let place = bytes.windows(epoch.len()).position(|window| window == epoch).unwrap() + epoch.len() + 1;
        assert_eq!(bytes[place], 0);
        bytes[place] = 1;
        let checksum = crc32c_append(crc32c(&bytes[..8]), &bytes[FRAME_HEADER_SIZE..]);
        bytes[8..12].copy_from_slice(&checksum.to_le_bytes());
        assert_eq!(take_all(&mut Incoming::new(VERSION), &bytes, &mut Vec::new()), Err(WireError::NoMessage));
    }

    #[test]
    fn a_partner_that_speaks_tls_is_known_by_its_first_words() {
        // A ClientHello, and the alert of an end that was spoken to in the clear.
        for bytes in [&[22, 3, 1, 2, 0, 1][..], &[21, 3, 3, 0, 2, 2, 50]] {
            assert_eq!(take_all(&mut Incoming::new(VERSION), bytes, &mut Vec::new()), Err(WireError::Encrypted));
        }
        assert_eq!(take_all(&mut Incoming::new(VERSION), b"22", &mut Vec::new()), Err(WireError::NoFrame));
    }

    proptest! {
        #[test]
        fn no_flipped_bit_of_a_message_passes(place in 0usize..100, bit in 0u8..8) {
            let mut bytes = message(VERSION, &Message::Welcome { points: vec![Point::default(); 8], said: words() });
            let place = place % bytes.len();
            // The last four bytes of a header mean nothing yet.
            prop_assume!(!(12..16).contains(&place));
            bytes[place] ^= 1 << bit;
            let mut arrivals = Vec::new();
            let taken = take_all(&mut Incoming::new(VERSION), &bytes, &mut arrivals);
            prop_assert!(taken.is_err() || arrivals.is_empty());
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let mut framed = message(VERSION, &Message::Beat { said: words() });
            framed.extend(bytes);
            let _ = take_all(&mut Incoming::new(VERSION), &framed, &mut Vec::new());
        }
    }
}
