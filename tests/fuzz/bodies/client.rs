//! A server of any kind before the client session: every recipient is settled once, nobody is told of a delivery before
//! the content is through, and the outcome does not depend on how the server's bytes are cut.

use super::choices::{Choices, Cuts};
use super::session::has_whole_lines;
use rohrpost::env::Instant;
use rohrpost::smtp::client::{Event, Fate, Protocol, Session, Settings, Task, Transaction, TransactionRecipient};
use rohrpost::smtp::{BodyType, Notify, Return};
use std::sync::Arc;

const NOW: Instant = Instant::ZERO;
const CONTENT: &[u8] = b"Subject: x\r\n\r\n.dot\r\n..\r\n.\r\n\r\nno end";

/// Parts the turns of the server in an input: what it says without waiting for us.
const TURN: u8 = b'|';

/// Addresses that a session may be given, the last ones by a spool gone wrong.
const ADDRESSES: [&str; 6] =
    ["a@x.example", "\"a b\"@x.example", "ü@x.example", "b@x.example", "a@x\r\nRSET", "a\0@x.example"];

struct Glue {
    session: Session,
    tasks: Vec<Task>,
    room: usize,
    content_taken: usize,
    wire: Vec<u8>,
    /// Where in it the task began.
    task_at: usize,
    events: Vec<Event>,
}

impl Glue {
    /// Does what a worker does between two arrivals.
    fn turn(&mut self) {
        loop {
            let before = (self.wire.len(), self.events.len(), self.content_taken);
            while let Some(event) = self.session.poll_event() {
                self.take(event);
            }
            let count = self.session.output().len().min(self.room);
            self.wire.extend_from_slice(&self.session.output()[..count]);
            self.session.sent(NOW, count);
            if self.session.wants_content() {
                let (wire, mut room) = (&mut self.wire, self.room);
                let bytes = &CONTENT[self.content_taken..];
                let taken = self.session.content(NOW, bytes, true, &mut |bytes| {
                    let count = bytes.len().min(room);
                    room -= count;
                    wire.extend_from_slice(&bytes[..count]);
                    count
                });
                assert!(taken <= bytes.len());
                self.content_taken += taken;
            }
            if self.session.end_wanted() {
                assert!(!calls_last(&self.wire[self.task_at..]), "the end is held back");
                self.session.allow_end(NOW);
            }
            if before == (self.wire.len(), self.events.len(), self.content_taken) {
                return;
            }
        }
    }

    fn take(&mut self, event: Event) {
        match &event {
            Event::ContentWanted if self.content_taken == CONTENT.len() => self.content_taken = 0,
            Event::Ready | Event::TaskDone if self.session.ready() => {
                if let Some(task) = self.tasks.pop() {
                    self.task_at = self.wire.len();
                    self.session.start(NOW, task);
                }
            }
            Event::Settled { fate: Fate::Delivered(reply), .. } => {
                assert!(reply.is_positive());
                let ends = [&b"\r\n.\r\n"[..], b" LAST\r\n"];
                let sent = ends.iter().any(|end| self.wire.windows(end.len()).any(|window| window == *end));
                assert!(sent, "nothing is delivered before its end has left us");
            }
            _ => {}
        }
        self.events.push(event);
    }
}

/// Whether a chunk is called the last.
fn calls_last(wire: &[u8]) -> bool {
    wire.windows(7).any(|window| window == b" LAST\r\n")
}

fn play(protocol: Protocol, tasks: &[Task], turns: &[&[u8]], cuts: Cuts, room: usize, ending: u8) -> Glue {
    let settings = Settings::new("us.example", protocol);
    let session = Session::new(Arc::new(settings), NOW);
    let tasks = tasks.iter().rev().cloned().collect();
    let mut glue = Glue { session, tasks, room, content_taken: 0, wire: Vec::new(), task_at: 0, events: Vec::new() };
    for turn in turns {
        for piece in cuts.pieces(turn) {
            assert_eq!(glue.session.receive(NOW, piece), piece.len());
        }
        glue.turn();
    }
    match ending & 3 {
        0 => glue.session.quit(NOW),
        1 => glue.session.expired(Instant::FAR),
        2 => glue.session.content_failed(NOW),
        _ => {}
    }
    glue.turn();
    glue.session.ended(NOW);
    glue.turn();
    glue
}

pub fn run(data: &[u8]) {
    let mut choices = Choices::new(data);
    let (kind, asked, seed, room) = (choices.byte(), choices.byte(), choices.byte(), 1 + usize::from(choices.byte()));
    let turns: Vec<&[u8]> = choices.rest().split(|byte| *byte == TURN).collect();
    let protocol = if kind & 1 == 0 { Protocol::Smtp } else { Protocol::Lmtp };
    let body = [BodyType::SevenBit, BodyType::EightBitMime, BodyType::BinaryMime, BodyType::SevenBit]
        [usize::from(kind >> 1 & 3)];
    let recipients: Vec<TransactionRecipient> = (0..u32::from(asked & 7))
        .map(|place| TransactionRecipient {
            index: 10 + place,
            address: ADDRESSES[(place as usize + usize::from(asked >> 3)) % ADDRESSES.len()].into(),
            notify: (kind & 8 != 0).then(Notify::default),
            original: (kind & 8 != 0).then(|| "rfc822;a+40b\r\nRSET".into()),
        })
        .collect();
    let transaction = Transaction {
        reverse_path: if kind & 16 == 0 { "from@us.example".into() } else { "".into() },
        recipients,
        size: CONTENT.len() as u64,
        body,
        ret: (kind & 8 != 0).then_some(Return::Headers),
        envelope_id: (kind & 8 != 0).then(|| "id\r\nRSET".into()),
        end_held: kind & 128 != 0,
        ..Transaction::default()
    };
    let count = transaction.recipients.len() as u32;
    let tasks =
        [Task::Deliver(transaction.clone()), Task::Verify { recipient: "v@x".into() }, Task::Deliver(transaction)];
    let whole = play(protocol, &tasks, &turns, Cuts::Whole, usize::MAX, kind >> 5);
    assert!(whole.session.closed());
    assert_eq!(whole.session.deadline(), None, "what is closed waits for nothing");
    let told = |wanted: &dyn Fn(&Event) -> bool| whole.events.iter().filter(|event| wanted(event)).count();
    let started = 3 - whole.tasks.len();
    assert_eq!(told(&|event| matches!(event, Event::TaskDone)), started, "each task ends once");
    assert_eq!(told(&|event| matches!(event, Event::Verified { .. })), usize::from(started > 1));
    for index in 10..10 + count {
        let settled = told(&|event| matches!(event, Event::Settled { index: settled, .. } if *settled == index));
        assert_eq!(settled, started - started / 2, "each recipient is told its fate once");
    }
    assert_eq!(told(&|event| matches!(event, Event::Closing(_))), 1);
    assert!(matches!(whole.events.last(), Some(Event::Closing(_))), "the end comes last");
    assert!(has_whole_lines(&whole.wire), "{:?}", whole.wire.escape_ascii().to_string());
    assert!(!whole.wire.contains(&0));
    for (cuts, room) in [(Cuts::Single, usize::MAX), (Cuts::Random(u64::from(seed)), room), (Cuts::Whole, room)] {
        let found = play(protocol, &tasks, &turns, cuts, room, kind >> 5);
        assert_eq!(found.events, whole.events, "{cuts:?}, {room} bytes at a time");
        let (found, wire) = (found.wire.escape_ascii().to_string(), whole.wire.escape_ascii().to_string());
        assert_eq!(found, wire, "{cuts:?}, {room} bytes at a time");
    }
}
