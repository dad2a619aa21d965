//! A server session over a ring that wraps, before a spool that keeps everything and pushes back.

use super::choices::Cuts;
use rohrpost::env::{Instant, Now, WallTime};
use rohrpost::flow::Received;
use rohrpost::smtp::Envelope;
use rohrpost::smtp::server::{
    BareNewline, Client, Host, RecipientRefusal, RecipientVerdict, Session, Settings, StorageRefusal,
};
use rohrpost::spool::MessageId;
use std::sync::Arc;

pub const NOW: Now = Now { mono: Instant::ZERO, wall: WallTime::from_micros(1_795_407_575_000_000) };

/// How the bytes come and how the spool behaves.
#[derive(Clone, Copy, Debug)]
pub struct Manner {
    pub cuts: Cuts,
    /// Where the ring wraps, bytes.
    pub ring: usize,
    /// Content that the spool takes at once, bytes.
    pub room: usize,
}

pub const EASY: Manner = Manner { cuts: Cuts::Whole, ring: 1 << 20, room: usize::MAX };

/// A message that was acknowledged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    pub envelope: Envelope,
    /// The Received header and what the client sent.
    pub content: Vec<u8>,
}

/// A spool and a policy. The local part decides: `unknown` is refused, `later` accepted after a while; the sender `full`
/// finds no room.
#[derive(Debug)]
pub struct Spool {
    pub stored: Vec<Stored>,
    pub aborted: usize,
    open: Option<Vec<u8>>,
    opened: u64,
    committing: bool,
    checking: bool,
    room: usize,
    left: usize,
}

impl Host for Spool {
    fn sender(&mut self, reverse_path: &str, _size: Option<u64>) -> Result<(), StorageRefusal> {
        if reverse_path.starts_with("full@") { Err(StorageRefusal::Full) } else { Ok(()) }
    }

    fn recipient(&mut self, _reverse_path: &str, forward_path: &str) -> RecipientVerdict {
        match forward_path.split('@').next() {
            Some("unknown") => RecipientVerdict::Refuse(RecipientRefusal::Unknown),
            Some("later") => {
                self.checking = true;
                RecipientVerdict::Pending
            }
            _ => RecipientVerdict::Accept,
        }
    }

    fn begin(&mut self) -> Result<MessageId, StorageRefusal> {
        assert!(self.open.is_none(), "one message at a time");
        self.open = Some(Vec::new());
        self.opened += 1;
        Ok(MessageId::new(0, self.opened))
    }

    fn content(&mut self, bytes: &[u8]) -> usize {
        let taken = bytes.len().min(self.left);
        self.left -= taken;
        self.open.as_mut().expect("content belongs to an open message").extend_from_slice(&bytes[..taken]);
        taken
    }

    fn finish(&mut self, envelope: Envelope) {
        assert!(!envelope.recipients.is_empty(), "a message has a recipient");
        let content = self.open.take().expect("only an open message can be finished");
        self.stored.push(Stored { envelope, content });
        self.committing = true;
    }

    fn abort(&mut self) {
        assert!(self.open.take().is_some(), "only an open message can be aborted");
        self.aborted += 1;
    }
}

/// One connection.
pub struct Line {
    pub session: Session,
    pub spool: Spool,
    pub replies: Vec<u8>,
    ring: Vec<u8>,
    manner: Manner,
    consumed: usize,
}

impl Line {
    pub fn new(settings: Settings, bare_newline: BareNewline, manner: Manner) -> Line {
        let client = Client {
            remote: "192.0.2.7:40000".parse().expect("an address"),
            local: "192.0.2.25:25".parse().expect("an address"),
            bare_newline,
            relays: true,
        };
        let spool = Spool {
            stored: Vec::new(),
            aborted: 0,
            open: None,
            opened: 0,
            committing: false,
            checking: false,
            room: manner.room,
            left: manner.room,
        };
        let session = Session::new(Arc::new(settings), client, NOW);
        let mut line = Line { session, spool, replies: Vec::new(), ring: Vec::new(), manner, consumed: 0 };
        line.settle();
        line
    }

    /// Gives the session bytes as its flow would.
    pub fn hear(&mut self, input: &[u8]) {
        let mut cuts = self.manner.cuts;
        let mut rest = input;
        while !rest.is_empty() {
            let room = self.manner.ring - self.ring.len();
            assert!(room > 0, "a full ring is read: {}", self.session.state_name());
            let (piece, behind) = rest.split_at(cuts.next().min(room).min(rest.len()));
            self.ring.extend_from_slice(piece);
            rest = behind;
            self.settle();
        }
    }

    /// Lets everything happen that can happen.
    fn settle(&mut self) {
        loop {
            let to_wrap = self.manner.ring - self.consumed % self.manner.ring;
            let front = self.ring.len().min(to_wrap);
            let input = Received {
                bytes: &self.ring[..front],
                more: front < self.ring.len(),
                full: self.ring.len() >= self.manner.ring,
                finished: false,
            };
            let mut progress = self.spool.left < self.spool.room;
            self.spool.left = self.spool.room;
            let used = self.session.receive(NOW, input, &mut self.spool);
            assert!(used <= front, "no more is consumed than was there");
            self.consumed += used;
            self.ring.drain(..used);
            progress |= used > 0 || self.spool.left < self.spool.room;
            let output = self.session.output();
            if !output.is_empty() {
                self.replies.extend_from_slice(output);
                self.session.sent(self.session.output().len());
                progress = true;
            }
            if std::mem::take(&mut self.spool.committing) {
                self.session.committed(NOW, Ok(()));
                progress = true;
            }
            if std::mem::take(&mut self.spool.checking) {
                self.session.recipient_checked(NOW, RecipientVerdict::Accept, &mut self.spool);
                progress = true;
            }
            if !progress {
                return;
            }
        }
    }
}

/// Whether no CR or LF stands alone.
pub fn has_whole_lines(bytes: &[u8]) -> bool {
    bytes.iter().enumerate().all(|(place, byte)| match byte {
        b'\r' => bytes.get(place + 1) == Some(&b'\n'),
        b'\n' => place > 0 && bytes[place - 1] == b'\r',
        _ => true,
    })
}
