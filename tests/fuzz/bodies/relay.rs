//! The whole way of a message: into a server session, out of a client session, into the next server. What went in comes
//! out, once, and on the wire between them no CR or LF stands alone and only the true end ends.

use super::choices::{Choices, Cuts};
use super::session::{EASY, Line, Manner, NOW, has_whole_lines};
use rohrpost::smtp::client::{self, Event, Fate, Protocol, Task, Transaction, TransactionRecipient};
use rohrpost::smtp::server::{BareNewline, Settings};
use rohrpost::smtp::{BodyType, Envelope, Recipient};
use std::sync::Arc;

/// What came of handing a message on.
pub struct Carried {
    /// All that left us.
    pub wire: Vec<u8>,
    pub fates: Vec<Fate>,
    /// What the next server acknowledged.
    pub stored: Vec<Vec<u8>>,
}

/// Hands a message on to a server that takes everything and tolerates nothing.
pub fn carry(envelope: &Envelope, content: &[u8], cuts: Cuts, room: usize) -> Carried {
    let mut settings = Settings::new("next.example");
    settings.binarymime = true;
    settings.hops_max = usize::MAX;
    settings.errors_max = u32::MAX;
    let mut next = Line::new(settings, BareNewline::Reject, EASY);
    let ours = client::Settings::new("us.example", Protocol::Smtp);
    let mut session = client::Session::new(Arc::new(ours), NOW.mono);
    let mut task = Some(Task::Deliver(transaction(envelope, content.len() as u64)));
    let mut pieces: Vec<&[u8]> = cuts.pieces(content).collect();
    pieces.reverse();
    let (mut wire, mut fates, mut heard, mut answered) = (Vec::new(), Vec::new(), 0, 0);
    loop {
        let before = (wire.len(), answered, fates.len(), pieces.len());
        session.receive(NOW.mono, &next.replies[answered..]);
        answered = next.replies.len();
        while let Some(event) = session.poll_event() {
            match event {
                Event::Ready => session.start(NOW.mono, task.take().expect("ready once")),
                Event::TaskDone => session.quit(NOW.mono),
                Event::Settled { fate, .. } => fates.push(fate),
                _ => {}
            }
        }
        let count = session.output().len().min(room);
        wire.extend_from_slice(&session.output()[..count]);
        session.sent(NOW.mono, count);
        while session.wants_content() {
            let piece = pieces.last().copied().unwrap_or_default();
            let mut left = room;
            let taken = session.content(NOW.mono, piece, pieces.len() <= 1, &mut |bytes| {
                let count = bytes.len().min(left);
                left -= count;
                wire.extend_from_slice(&bytes[..count]);
                count
            });
            match pieces.last_mut() {
                Some(piece) if taken < piece.len() => {
                    *piece = &piece[taken..];
                    break;
                }
                _ => pieces.pop(),
            };
        }
        next.hear(&wire[heard..]);
        heard = wire.len();
        if before == (wire.len(), answered, fates.len(), pieces.len()) && answered == next.replies.len() {
            break;
        }
    }
    session.ended(NOW.mono);
    while let Some(event) = session.poll_event() {
        if let Event::Settled { fate, .. } = event {
            fates.push(fate);
        }
    }
    Carried { wire, fates, stored: next.spool.stored.into_iter().map(|message| message.content).collect() }
}

fn transaction(envelope: &Envelope, size: u64) -> Transaction {
    let recipients = envelope.recipients.iter().enumerate().map(|(place, recipient)| TransactionRecipient {
        index: place as u32,
        address: recipient.address.clone(),
        notify: recipient.notify,
        original: recipient.original.clone(),
    });
    Transaction {
        reverse_path: envelope.reverse_path.clone(),
        recipients: recipients.collect(),
        size,
        body: envelope.body,
        smtputf8: envelope.smtputf8,
        require_tls: envelope.require_tls,
        priority: envelope.priority,
        authenticated: true,
        ret: envelope.ret,
        envelope_id: envelope.envelope_id.clone(),
        eight_bit: false,
        end_held: false,
    }
}

/// Checks one message on its way from a spool to the next server. `content` is what the spool holds.
fn check(envelope: &Envelope, content: &[u8], cuts: Cuts, room: usize) {
    let carried = carry(envelope, content, cuts, room);
    let text = envelope.body != BodyType::BinaryMime;
    if text {
        assert!(has_whole_lines(&carried.wire), "{:?}", carried.wire.escape_ascii().to_string());
    }
    assert_eq!(carried.fates.len(), envelope.recipients.len(), "each recipient is told its fate");
    if text && !has_whole_lines(content) {
        assert!(carried.stored.is_empty(), "what cannot be sent is not sent in part");
        assert!(carried.fates.iter().all(|fate| matches!(fate, Fate::Failed(_))), "{:?}", carried.fates);
        return;
    }
    if text && content.contains(&0) {
        // Only a spool gone wrong has a NUL in text; it smuggles nothing, and the next server refuses it.
        return assert!(carried.stored.is_empty() && carried.fates.iter().all(|fate| matches!(fate, Fate::Failed(_))));
    }
    let local_part = |address: &str| address.split('@').next().unwrap_or_default().to_owned();
    let taken = |recipient: &&Recipient| local_part(&recipient.address) != "unknown";
    if local_part(&envelope.reverse_path) == "full" || !envelope.recipients.iter().any(|to| taken(&to)) {
        assert!(carried.stored.is_empty());
        return;
    }
    let [stored] = &carried.stored[..] else { panic!("one message became {}", carried.stored.len()) };
    let whole = if text && !content.ends_with(b"\r\n") && !content.is_empty() { &b"\r\n"[..] } else { b"" };
    let expected = [content, whole].concat();
    assert!(stored.ends_with(&expected), "{:?}", stored.escape_ascii().to_string());
    let header = &stored[..stored.len() - expected.len()];
    assert!(header.starts_with(b"Received: from us.example "), "{:?}", header.escape_ascii().to_string());
    let ends = carried.wire.windows(5).filter(|window| window == b"\r\n.\r\n").count();
    assert!(!text || ends == 1, "the content ends {ends} times");
}

pub fn run(data: &[u8]) {
    let mut choices = Choices::new(data);
    let (kind, seed, room) = (choices.byte(), choices.byte(), 1 + usize::from(choices.byte()) * 5);
    let content = choices.rest();
    let cuts = Cuts::all(seed)[usize::from(kind >> 4) % 3];
    if kind & 8 != 0 {
        let recipient = Recipient { address: "c@d".into(), notify: None, original: None };
        let envelope = Envelope { recipients: vec![recipient], ..Envelope::default() };
        return check(&envelope, content, cuts, room);
    }
    let bare_newline = if kind & 1 == 0 { BareNewline::Reject } else { BareNewline::Normalize };
    let mut settings = Settings::new("mx.example");
    settings.binarymime = true;
    let mut line = Line::new(settings, bare_newline, Manner { cuts, ring: 1000, room });
    let body = if kind & 4 != 0 { " BODY=BINARYMIME" } else { "" };
    line.hear(format!("EHLO c\r\nMAIL FROM:<a@b>{body}\r\nRCPT TO:<c@d>\r\n").as_bytes());
    if kind & 6 != 0 {
        line.hear(format!("BDAT {} LAST\r\n", content.len()).as_bytes());
        line.hear(content);
    } else {
        line.hear(b"DATA\r\n");
        line.hear(content);
        line.hear(b"\r\n.\r\n");
    }
    line.session.ended(&mut line.spool);
    for message in &line.spool.stored {
        check(&message.envelope, &message.content, cuts, room);
    }
}
