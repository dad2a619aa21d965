//! Runs every conversation in `tests/dialogue`: fed whole, byte by byte, and in random cuts, over a ring that wraps
//! and a spool that pushes back, always with the same outcome.
//!
//! A file is a list of lines:
//!
//! ```text
//! # a comment
//! set KEY VALUE       a setting, before the first line of the conversation
//! C: TEXT             the client sends TEXT and CRLF; escapes: \r \n \0 \t \\ \xHH
//! c: TEXT             the same without CRLF
//! C*N: TEXT           the same as C, N times
//! S: TEXT             a reply line that is expected
//! M: TEXT             a line (with its CRLF) that is expected in what the spool got
//! m: TEXT             the same without CRLF
//! E: TEXT             what is expected of the spool: "commit FROM -> RECIPIENTS", "abort"
//! wait SECONDS        time passes
//! close               the client ends its direction
//! shutdown            the appliance goes down
//! ```
//!
//! Replies, spool content and spool events are each compared as a whole, in their order.

#[path = "dialogue/escape.rs"]
mod escape;
#[path = "dialogue/smuggling.rs"]
mod smuggling;

use escape::unescape;
use rohrpost::env::{Instant, Now, WallTime};
use rohrpost::flow::Received;
use rohrpost::smtp::server::{
    BareNewline, Client, Host, RecipientRefusal, RecipientVerdict, Session, Settings, StorageRefusal,
};
use rohrpost::smtp::{Envelope, Reply};
use rohrpost::spool::MessageId;
use std::sync::Arc;
use std::time::Duration;

#[derive(Debug)]
enum Act {
    Send(Vec<u8>),
    Wait(u64),
    Close,
    Shutdown,
}

#[derive(Debug)]
struct Dialogue {
    settings: Settings,
    bare_newline: BareNewline,
    relays: bool,
    acts: Vec<Act>,
    expected: Outcome,
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Outcome {
    replies: String,
    content: String,
    events: Vec<String>,
}

/// How the bytes come and how the spool behaves.
#[derive(Clone, Copy, Debug)]
struct Manner {
    /// Bytes of one arrival at most; random up to that if `seed` is not zero.
    arrival: usize,
    /// Where the ring wraps.
    ring: usize,
    /// Content that the spool takes at once.
    room: usize,
    seed: u64,
}

/// A spool and a policy for tests. The local part decides: `unknown`, `denied`, `later` (accepted after a while),
/// `busy` (cannot be checked), `hop` (refused by the next hop); the sender `full` finds no room, `broken` a bad disk.
struct Spool {
    outcome: Outcome,
    open: bool,
    opened: u64,
    finished: bool,
    pending: bool,
    room: usize,
    left: usize,
    refuse_begin: bool,
}

impl Host for Spool {
    fn sender(&mut self, reverse_path: &str, _size: Option<u64>) -> Result<(), StorageRefusal> {
        self.refuse_begin = reverse_path.starts_with("vanish");
        match reverse_path.split('@').next() {
            Some("full") => Err(StorageRefusal::Full),
            Some("broken") => Err(StorageRefusal::Failed),
            _ => Ok(()),
        }
    }

    fn recipient(&mut self, _reverse_path: &str, forward_path: &str) -> RecipientVerdict {
        match forward_path.split('@').next() {
            Some("unknown") => RecipientVerdict::Refuse(RecipientRefusal::Unknown),
            Some("denied") => RecipientVerdict::Refuse(RecipientRefusal::RelayDenied),
            Some("busy") => RecipientVerdict::Refuse(RecipientRefusal::CheckUnavailable),
            Some("hop") => RecipientVerdict::Refuse(RecipientRefusal::NextHop(Reply::next_hop(550, "5.2.1 gone\r\n"))),
            Some("later") => {
                self.pending = true;
                RecipientVerdict::Pending
            }
            _ => RecipientVerdict::Accept,
        }
    }

    fn begin(&mut self) -> Result<MessageId, StorageRefusal> {
        assert!(!self.open, "one message at a time");
        if self.refuse_begin {
            return Err(StorageRefusal::Full);
        }
        self.open = true;
        self.opened += 1;
        Ok(MessageId::new(0, self.opened))
    }

    fn content(&mut self, bytes: &[u8]) -> usize {
        assert!(self.open, "content belongs to an open message");
        let taken = bytes.len().min(self.left);
        self.left -= taken;
        self.outcome.content.push_str(&bytes[..taken].iter().map(|byte| *byte as char).collect::<String>());
        taken
    }

    fn finish(&mut self, envelope: Envelope) {
        assert!(std::mem::take(&mut self.open), "only an open message can be finished");
        let recipients: Vec<&str> = envelope.recipients.iter().map(|recipient| &*recipient.address).collect();
        let mut event = format!("commit {} -> {}", envelope.reverse_path, recipients.join(" "));
        if !envelope.priority.is_normal() {
            event += &format!(" with priority {}", envelope.priority);
        }
        self.outcome.events.push(event);
        self.finished = true;
    }

    fn abort(&mut self) {
        assert!(std::mem::take(&mut self.open), "only an open message can be aborted");
        self.outcome.content.clear();
        self.outcome.events.push("abort".into());
    }
}

fn parse(text: &str) -> Dialogue {
    let mut dialogue = Dialogue {
        settings: Settings::new("mx.example"),
        bare_newline: BareNewline::Reject,
        relays: false,
        acts: Vec::new(),
        expected: Outcome::default(),
    };
    for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        match word {
            "set" => set(&mut dialogue, rest),
            "c:" => send(&mut dialogue, unescape(rest)),
            "C:" => send(&mut dialogue, [unescape(rest), b"\r\n".to_vec()].concat()),
            "S:" => dialogue.expected.replies.push_str(&format!("{rest}\r\n")),
            "M:" => dialogue.expected.content.push_str(&format!("{}\r\n", latin(&unescape(rest)))),
            "m:" => dialogue.expected.content.push_str(&latin(&unescape(rest))),
            "E:" => dialogue.expected.events.push(rest.into()),
            "wait" => dialogue.acts.push(Act::Wait(rest.parse().expect("seconds"))),
            "close" => dialogue.acts.push(Act::Close),
            "shutdown" => dialogue.acts.push(Act::Shutdown),
            _ => {
                let count = word.strip_prefix("C*").and_then(|word| word.strip_suffix(':')).expect("a known word");
                let bytes = [unescape(rest), b"\r\n".to_vec()].concat();
                send(&mut dialogue, bytes.repeat(count.parse().expect("a count")));
            }
        }
    }
    dialogue
}

fn latin(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| *byte as char).collect()
}

fn send(dialogue: &mut Dialogue, bytes: Vec<u8>) {
    match dialogue.acts.last_mut() {
        Some(Act::Send(before)) => before.extend(bytes),
        _ => dialogue.acts.push(Act::Send(bytes)),
    }
}

fn set(dialogue: &mut Dialogue, text: &str) {
    let (key, value) = text.split_once(' ').expect("a key and a value");
    let number = || value.parse::<u64>().expect("a number");
    let settings = &mut dialogue.settings;
    match key {
        "message_size_max" => settings.message_size_max = number(),
        "recipients_max" => settings.recipients_max = number() as usize,
        "hops_max" => settings.hops_max = number() as usize,
        "errors_max" => settings.errors_max = number() as u32,
        "transactions_max" => settings.transactions_max = number() as u32,
        "binarymime" => settings.binarymime = value == "on",
        "mt_priority" => settings.mt_priority = value == "on",
        "priority" => settings.priority = value.parse().expect("a priority"),
        "priority_max" => settings.priority_max = value.parse().expect("a priority"),
        "client" => dialogue.relays = value == "ours",
        "greeting_delay" => settings.greeting_delay = Duration::from_secs(number()),
        "bare_newline" if value == "normalize" => dialogue.bare_newline = BareNewline::Normalize,
        _ => panic!("no such setting: {text}"),
    }
}

struct Run {
    session: Session,
    spool: Spool,
    now: Now,
    ring: Vec<u8>,
    finished: bool,
    manner: Manner,
    /// Bytes consumed since the start: it says where the ring wraps.
    consumed: usize,
}

impl Run {
    /// Lets everything happen that can happen.
    fn settle(&mut self) {
        loop {
            let to_wrap = self.manner.ring - self.consumed % self.manner.ring;
            let front = self.ring.len().min(to_wrap);
            let input = Received {
                bytes: &self.ring[..front],
                more: front < self.ring.len(),
                full: self.ring.len() >= self.manner.ring,
                finished: self.finished,
            };
            let mut progress = self.spool.left < self.spool.room;
            self.spool.left = self.spool.room;
            let used = self.session.receive(self.now, input, &mut self.spool);
            self.consumed += used;
            self.ring.drain(..used);
            progress |= used > 0 || self.spool.left < self.spool.room;
            let output = self.session.output().len();
            if output > 0 {
                // A slow peer takes its replies in pieces.
                let some = output.min(1 + self.manner.ring % 97);
                self.spool.outcome.replies.push_str(&latin(&self.session.output()[..some]));
                self.session.sent(some);
                progress = true;
            }
            if std::mem::take(&mut self.spool.finished) {
                self.session.committed(self.now, Ok(()));
                progress = true;
            }
            if std::mem::take(&mut self.spool.pending) {
                self.session.recipient_checked(self.now, RecipientVerdict::Accept, &mut self.spool);
                progress = true;
            }
            if !progress {
                return;
            }
        }
    }
}

fn run(dialogue: &Dialogue, manner: Manner) -> Outcome {
    let now = Now { mono: Instant::ZERO, wall: WallTime::from_micros(1_795_407_575_000_000) };
    let client = Client {
        remote: "192.0.2.7:40000".parse().expect("an address"),
        local: "192.0.2.25:25".parse().expect("an address"),
        bare_newline: dialogue.bare_newline,
        relays: dialogue.relays,
    };
    let spool = Spool {
        outcome: Outcome::default(),
        open: false,
        opened: 0,
        finished: false,
        pending: false,
        room: manner.room,
        left: manner.room,
        refuse_begin: false,
    };
    let session = Session::new(Arc::new(dialogue.settings.clone()), client, now);
    let mut run = Run { session, spool, now, ring: Vec::new(), finished: false, manner, consumed: 0 };
    let mut random = manner.seed;
    for act in &dialogue.acts {
        run.settle();
        match act {
            Act::Send(bytes) => {
                let mut rest = bytes.as_slice();
                while !rest.is_empty() {
                    random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                    let most = manner.arrival.min(manner.ring - run.ring.len()).max(1);
                    let size = if manner.seed == 0 { most } else { 1 + (random >> 33) as usize % most };
                    let (piece, after) = rest.split_at(size.min(rest.len()));
                    run.ring.extend_from_slice(piece);
                    rest = after;
                    run.settle();
                }
            }
            Act::Wait(seconds) => {
                run.now.mono = run.now.mono + Duration::from_secs(*seconds);
                run.session.expired(run.now, &mut run.spool);
            }
            Act::Close => run.finished = true,
            Act::Shutdown => run.session.shutdown(run.now, &mut run.spool),
        }
    }
    run.settle();
    run.session.ended(&mut run.spool);
    run.spool.outcome
}

/// All ways in which bytes come and are taken.
fn manners() -> Vec<Manner> {
    let whole = Manner { arrival: usize::MAX, ring: 1 << 20, room: usize::MAX, seed: 0 };
    let mut manners = vec![
        whole,
        Manner { arrival: 1, ..whole },
        Manner { arrival: 1, ring: 8192, room: 3, ..whole },
        Manner { arrival: 4096, ring: 8192, room: 1, ..whole },
    ];
    manners.extend((1..=12).map(|seed| Manner {
        arrival: 40,
        ring: 61 + 700 * seed,
        room: 5 + seed,
        seed: seed as u64,
    }));
    manners
}

/// What went wrong, for a person; empty if the dialogue has its outcome in every manner.
fn differences(name: &str, dialogue: &Dialogue) -> String {
    for manner in manners() {
        let outcome = run(dialogue, manner);
        if outcome != dialogue.expected {
            return format!(
                "{name}, {manner:?}\n--- expected\n{}\n{}\n{:?}\n--- found\n{}\n{}\n{:?}\n",
                dialogue.expected.replies,
                dialogue.expected.content.escape_debug(),
                dialogue.expected.events,
                outcome.replies,
                outcome.content.escape_debug(),
                outcome.events
            );
        }
    }
    String::new()
}

#[test]
fn every_dialogue_has_the_same_outcome_however_its_bytes_come() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/dialogue");
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .expect("the folder of dialogues")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "smtp"))
        .collect();
    files.sort();
    assert!(files.len() >= 10, "the dialogues are missing");
    let wrong: String = files
        .iter()
        .map(|path| {
            let name = path.file_name().expect("a file").to_string_lossy();
            differences(&name, &parse(&std::fs::read_to_string(path).expect("a dialogue")))
        })
        .collect();
    assert!(wrong.is_empty(), "{wrong}");
}
