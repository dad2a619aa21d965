mod tls;

use super::*;
use crate::env::{Instant, Now, WallTime};
use crate::flow::Received;
use proptest::prelude::*;
use std::sync::Arc;

/// A spool that keeps everything.
#[derive(Debug, Default)]
struct Spool {
    content: Vec<u8>,
    open: bool,
    aborted: usize,
    finished: Vec<Envelope>,
    /// Content that is taken before back-pressure; `None`: any amount.
    room: Option<usize>,
    calls: usize,
    pending: bool,
}

impl Host for Spool {
    fn sender(&mut self, _reverse_path: &str, _size: Option<u64>) -> Result<(), StorageRefusal> {
        Ok(())
    }

    fn recipient(&mut self, _reverse_path: &str, _forward_path: &str) -> RecipientVerdict {
        if self.pending { RecipientVerdict::Pending } else { RecipientVerdict::Accept }
    }

    fn begin(&mut self) -> Result<MessageId, StorageRefusal> {
        assert!(!self.open);
        self.open = true;
        Ok(MessageId::new(0, 1))
    }

    fn content(&mut self, bytes: &[u8]) -> usize {
        assert!(self.open);
        self.calls += 1;
        let taken = bytes.len().min(self.room.unwrap_or(usize::MAX));
        self.content.extend_from_slice(&bytes[..taken]);
        if let Some(room) = &mut self.room {
            *room -= taken;
        }
        taken
    }

    fn finish(&mut self, envelope: Envelope) {
        assert!(std::mem::take(&mut self.open));
        self.finished.push(envelope);
    }

    fn abort(&mut self) {
        assert!(std::mem::take(&mut self.open));
        self.aborted += 1;
    }
}

fn at(seconds: u64) -> Now {
    Now { mono: Instant::ZERO + Duration::from_secs(seconds), wall: WallTime::from_micros(0) }
}

fn session(settings: Settings, bare_newline: BareNewline) -> Session {
    let client = Client {
        remote: "192.0.2.7:40000".parse().expect("an address"),
        local: "192.0.2.25:25".parse().expect("an address"),
        bare_newline,
        relays: false,
    };
    Session::new(Arc::new(settings), client, at(0))
}

fn bytes(bytes: &[u8]) -> Received<'_> {
    Received { bytes, ..Received::default() }
}

fn take_output(session: &mut Session) -> String {
    let text = String::from_utf8(session.output().to_vec()).expect("replies are text");
    session.sent(text.len());
    text
}

/// A session that was fed `input`, its replies thrown away.
fn fed(input: &str, spool: &mut Spool) -> Session {
    let mut session = session(Settings::new("mx.example"), BareNewline::Reject);
    assert_eq!(session.receive(at(0), bytes(input.as_bytes()), spool), input.len());
    take_output(&mut session);
    session
}

/// What there is of TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Layer {
    NotOffered,
    Offered,
    Required,
    /// The handshake came before the input.
    Used,
}

/// The same under TLS, or before.
fn fed_over(layer: Layer, input: &str, spool: &mut Spool) -> Session {
    let settings = Settings {
        starttls: layer != Layer::NotOffered,
        tls_required: layer == Layer::Required,
        ..Settings::new("mx.example")
    };
    let mut session = session(settings, BareNewline::Reject);
    if layer == Layer::Used {
        tls::start(&mut session, spool);
    }
    assert_eq!(session.receive(at(0), bytes(input.as_bytes()), spool), input.len());
    take_output(&mut session);
    session
}

const MAIL: &str = "EHLO c\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\n";

#[test]
fn every_verb_in_every_state_is_answered_as_written_down() {
    let chunked = format!("{MAIL}BDAT 1\r\nx");
    let states = [
        ("fresh", "", Layer::NotOffered),
        ("ready", "EHLO c\r\n", Layer::NotOffered),
        ("mail without recipient", "EHLO c\r\nMAIL FROM:<a@b>\r\n", Layer::NotOffered),
        ("mail", MAIL, Layer::NotOffered),
        ("chunked", &chunked, Layer::NotOffered),
        ("checking", MAIL, Layer::NotOffered),
        ("fresh, tls offered", "", Layer::Offered),
        ("ready, tls offered", "EHLO c\r\n", Layer::Offered),
        ("mail, tls offered", MAIL, Layer::Offered),
        ("chunked, tls offered", &chunked, Layer::Offered),
        ("handshake", "EHLO c\r\nSTARTTLS\r\n", Layer::Offered),
        ("fresh, tls required", "", Layer::Required),
        ("ready, tls required", "EHLO c\r\n", Layer::Required),
        ("fresh under tls", "", Layer::Used),
        ("ready under tls", "EHLO c\r\n", Layer::Used),
        ("mail under tls", MAIL, Layer::Used),
    ];
    let verbs = [
        "EHLO c",
        "HELO c",
        "MAIL FROM:<a@b>",
        "RCPT TO:<c@d>",
        "DATA",
        "BDAT 0",
        "BDAT 0 LAST",
        "RSET",
        "NOOP",
        "VRFY x",
        "HELP",
        "STARTTLS",
        "GET / HTTP/1.1",
        "XYZZY",
        "QUIT",
    ];
    let mut table = String::new();
    for (name, input, layer) in states {
        for verb in verbs {
            let mut spool = Spool { pending: name == "checking", ..Spool::default() };
            let mut session = fed_over(layer, input, &mut spool);
            session.receive(at(0), bytes(format!("{verb}\r\n").as_bytes()), &mut spool);
            let output = take_output(&mut session);
            let reply = output.lines().last().unwrap_or("(waits)");
            let reply = reply.split(' ').take(2).collect::<Vec<_>>().join(" ");
            table.push_str(&format!("{name:<22} {verb:<16} {reply:<18} {}\n", session.state_name()));
        }
    }
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/smtp/server/states.txt");
    if std::env::var_os("UPDATE_EXPECTED").is_some() {
        std::fs::write(path, &table).expect("the table can be written");
    }
    let expected = std::fs::read_to_string(path).unwrap_or_default();
    assert_eq!(table, expected, "run with UPDATE_EXPECTED=1 if the change is meant");
}

#[test]
fn small_pieces_of_content_wait_until_they_are_worth_a_chunk() {
    let mut spool = Spool::default();
    let mut session = fed(&format!("{MAIL}DATA\r\n"), &mut spool);
    let content = [b'x'; 5000];
    assert_eq!(session.receive(at(1), bytes(&content[..4095]), &mut spool), 0);
    assert_eq!(session.deadline(), Some(at(60).mono + Duration::from_millis(40_950)), "the pace counts what waits");
    assert_eq!(session.receive(at(2), bytes(&content), &mut spool), 5000);
    assert_eq!(session.receive(at(3), bytes(b"x"), &mut spool), 0);
    let full = Received { bytes: b"x", full: true, ..Received::default() };
    assert_eq!(session.receive(at(3), full, &mut spool), 1, "unless the ring is full");
    assert_eq!(session.receive(at(3), bytes(b"x\r\n.\r\n"), &mut spool), 6, "or the end is there");
    assert_eq!(session.state_name(), "committing");
    assert_eq!(spool.calls, 4, "header, two pieces, the rest of the line");
}

#[test]
fn a_small_chunk_is_taken_as_soon_as_it_is_whole() {
    let mut spool = Spool::default();
    let mut session = fed(&format!("{MAIL}BDAT 10\r\n"), &mut spool);
    assert_eq!(session.receive(at(0), bytes(b"123456789"), &mut spool), 0);
    assert_eq!(session.receive(at(0), bytes(b"1234567890"), &mut spool), 10);
    assert_eq!(take_output(&mut session), "250 2.0.0 10 octets received\r\n");
}

#[test]
fn back_pressure_stops_the_clock_and_is_taken_up_again() {
    let mut spool = Spool { room: Some(10), ..Spool::default() };
    let mut session = fed(&format!("{MAIL}DATA\r\n"), &mut spool);
    let content = [b'x'; 5000];
    assert_eq!(session.receive(at(0), bytes(&content), &mut spool), 0, "not even the header fits");
    assert_eq!(session.deadline(), None);
    spool.room = Some(1000);
    let used = session.receive(at(1000), bytes(&content), &mut spool);
    let header_size = spool.content.iter().rposition(|byte| *byte == b'\n').expect("a header") + 1;
    assert_eq!(used, spool.content.len() - header_size);
    assert_eq!(session.deadline(), None);
    spool.room = None;
    assert_eq!(session.receive(at(2000), bytes(b"xx"), &mut spool), 2, "the clock starts again, whatever is there");
    assert_eq!(session.deadline().map(|deadline| deadline > at(2060).mono), Some(true));
    assert_eq!(session.receive(at(2000), bytes(b"\r\n.\r\n"), &mut spool), 5);
    assert_eq!(session.state_name(), "committing");
}

#[test]
fn back_pressure_on_the_very_end_needs_no_further_byte() {
    let mut spool = Spool { room: Some(0), ..Spool::default() };
    let mut session = fed(&format!("{MAIL}BDAT 0 LAST\r\n"), &mut spool);
    assert_eq!(session.state_name(), "chunk");
    spool.room = None;
    assert_eq!(session.receive(at(0), bytes(b""), &mut spool), 0);
    assert_eq!(session.state_name(), "committing");
}

#[test]
fn commands_behind_the_end_of_content_wait_for_the_commit() {
    let mut spool = Spool::default();
    let mut session = fed(&format!("{MAIL}DATA\r\n"), &mut spool);
    assert_eq!(session.receive(at(0), bytes(b".\r\nQUIT\r\n"), &mut spool), 3);
    assert_eq!(session.output(), b"");
    assert_eq!(session.deadline(), None);
    session.committed(at(1), Err(StorageRefusal::Failed));
    assert_eq!(session.receive(at(1), bytes(b"QUIT\r\n"), &mut spool), 6);
    let output = take_output(&mut session);
    assert_eq!(output.lines().map(|line| &line[..9]).collect::<Vec<_>>(), ["451 4.3.0", "221 2.0.0"]);
    assert!(session.closing());
}

#[test]
fn a_lost_flow_aborts_what_was_begun() {
    for (input, aborted) in [(MAIL.to_owned(), 0), (format!("{MAIL}DATA\r\n"), 1), (format!("{MAIL}BDAT 1\r\nx"), 1)] {
        let mut spool = Spool::default();
        let mut session = fed(&input, &mut spool);
        session.ended(&mut spool);
        session.ended(&mut spool);
        assert_eq!(spool.aborted, aborted, "{input}");
        assert!(session.closing());
    }
}

#[test]
fn a_verdict_that_nobody_waits_for_is_ignored() {
    let mut spool = Spool { pending: true, ..Spool::default() };
    let mut session = fed(MAIL, &mut spool);
    session.shutdown(at(0), &mut spool);
    assert_eq!(take_output(&mut session), "421 4.3.2 Shutting down, try again later\r\n");
    session.recipient_checked(at(0), RecipientVerdict::Accept, &mut spool);
    session.committed(at(0), Ok(()));
    assert_eq!(session.output(), b"");
}

#[test]
fn a_client_that_takes_no_replies_is_not_read_and_then_cut_off() {
    let mut spool = Spool::default();
    let mut session = session(Settings::new("mx.example"), BareNewline::Reject);
    let input = b"NOOP\r\n".repeat(10_000);
    let used = session.receive(at(0), bytes(&input), &mut spool);
    assert!(used < input.len());
    assert!(session.output().len() < limits::OUTPUT_SIZE_HIGH + limits::REPLY_LINE_SIZE_MAX);
    session.expired(at(300), &mut spool);
    assert!(session.closing());
    assert!(!session.output().is_empty());
    session.expired(at(360), &mut spool);
    assert!(session.output().is_empty(), "nobody will ever take it");
}

#[test]
fn an_early_call_of_expired_does_nothing() {
    let mut spool = Spool::default();
    let mut session = fed("EHLO c\r\n", &mut spool);
    session.expired(at(299), &mut spool);
    assert_eq!(session.state_name(), "ready");
}

/// Feeds bytes as a ring would hand them over, in pieces; commits at once.
fn converse(bare_newline: BareNewline, pieces: &[Vec<u8>]) -> (String, Spool, Session) {
    let mut spool = Spool::default();
    let settings = Settings { message_size_max: 200, errors_max: 1000, ..Settings::new("mx.example") };
    let mut session = session(settings, bare_newline);
    let (mut ring, mut replies) = (Vec::new(), take_output(&mut session));
    for piece in pieces {
        ring.extend_from_slice(piece);
        loop {
            let committing = session.state_name() == "committing";
            if committing {
                session.committed(at(0), Ok(()));
            }
            let used = session.receive(at(0), bytes(&ring), &mut spool);
            ring.drain(..used);
            replies.push_str(&take_output(&mut session));
            if used == 0 && !committing {
                break;
            }
        }
    }
    (replies, spool, session)
}

fn fragment() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        6 => prop::sample::select(vec![
            "EHLO c\r\n", "MAIL FROM:<a@b>\r\n", "RCPT TO:<c@d>\r\n", "DATA\r\n", ".\r\n", "\r\n.\r\n", "RSET\r\n",
            "BDAT 4\r\n", "BDAT 3 LAST\r\n", "Received: x\r\n", "text\r\n", "HELO c\r\n",
        ]).prop_map(|text| text.as_bytes().to_vec()),
        2 => prop::sample::select(vec!["\n", "\r", ".", "\0", "\n.\n", "\n.\r\n"]).prop_map(|text| text.as_bytes().to_vec()),
        1 => proptest::collection::vec(any::<u8>(), 0..8),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn no_bytes_make_a_session_panic_or_depend_on_their_cuts(
        pieces in proptest::collection::vec(fragment(), 0..24),
        normalize: bool,
    ) {
        let rule = if normalize { BareNewline::Normalize } else { BareNewline::Reject };
        let whole = pieces.concat();
        let single: Vec<Vec<u8>> = whole.iter().map(|byte| vec![*byte]).collect();
        let (replies, spool, session) = converse(rule, &pieces);
        for other in [&[whole][..], &single[..]] {
            let (other_replies, other_spool, other_session) = converse(rule, other);
            prop_assert_eq!(&replies, &other_replies);
            prop_assert_eq!(&spool.finished, &other_spool.finished);
            prop_assert_eq!(spool.aborted, other_spool.aborted);
            prop_assert_eq!(session.state_name(), other_session.state_name());
        }
    }

    #[test]
    fn content_with_a_lone_line_end_never_becomes_a_message(
        before in "[a.\r\n]{0,12}",
        lone in prop::sample::select(vec!["x\n", "x\ny", "\rx", "\r\r\n", "x\n.\n", "x\n.\r\n"]),
        after in "[a.\r\n]{0,12}",
    ) {
        // However the rest is read, the first end of the content comes after the lone line end or there is a
        // message that ends before it, of which it is then no part.
        let content = format!("{before}{lone}{after}\r\n.\r\n");
        let end = if content.starts_with(".\r\n") { Some(3) } else { content.find("\r\n.\r\n").map(|at| at + 5) };
        let mut spool = Spool::default();
        let mut session = fed(&format!("{MAIL}DATA\r\n"), &mut spool);
        session.receive(at(0), bytes(content.as_bytes()), &mut spool);
        let first = &content[..end.expect("the end is there")];
        let lone_in_first = first.replace("\r\n", "").contains(['\r', '\n']);
        prop_assert_eq!(spool.finished.is_empty(), lone_in_first);
        prop_assert!(!String::from_utf8_lossy(&spool.content).replace("\r\n", "").contains('\n'));
    }
}
