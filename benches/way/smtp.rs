//! `src/smtp`: commands are parsed, content is scanned on its way in and stuffed on its way out, and both sessions are led
//! through one whole message each, without anything below or above them.

use crate::Station;
use rohrpost::env::{Instant, Now, WallTime};
use rohrpost::flow::Received;
use rohrpost::smtp::Envelope;
use rohrpost::smtp::client::{self, Event, Protocol, Task, Transaction, TransactionRecipient};
use rohrpost::smtp::content::{Framing, LineRule, Scanner, Step};
use rohrpost::smtp::grammar::{self, Offer, Verb};
use rohrpost::smtp::server::{self, BareNewline, Client, Host, RecipientVerdict, StorageRefusal};
use rohrpost::spool::MessageId;
use std::hint::black_box;
use std::sync::Arc;

pub const STATIONS: &[Station] = &[
    Station::new("smtp", "parse MAIL", || mail("MAIL FROM:<someone@client.example.com>")),
    Station::new("smtp", "parse MAIL with parameters", || {
        mail("MAIL FROM:<someone@client.example.com> SIZE=10240 BODY=8BITMIME RET=HDRS ENVID=QQ314159")
    }),
    Station::new("smtp", "parse RCPT", rcpt),
    Station::new("smtp", "scan 78 KB, lines of 76", || scan(lines(1000))).bytes(78_000),
    Station::new("smtp", "scan 78 KB, dotted lines", || scan(dotted(1000))).bytes(79_000),
    Station::new("smtp", "scan 78 KB, one line", || scan("x".repeat(78_000))).bytes(78_000),
    Station::new("smtp", "stuff 78 KB, lines of 76", || stuff(lines(1000))).bytes(78_000),
    Station::new("smtp", "stuff 78 KB, dotted lines", || stuff(dotted(1000))).bytes(79_000),
    Station::new("smtp", "stuff 78 KB, one line", || stuff("x".repeat(78_000))).bytes(78_000),
    Station::new("smtp", "server session, 2 KB", || serve(2048)),
    Station::new("smtp", "server session, 10 KB", || serve(10_240)),
    Station::new("smtp", "server session, comes and goes", serve_nothing),
    Station::new("smtp", "client session, 2 KB", || deliver(2048)),
    Station::new("smtp", "client session, 10 KB", || deliver(10_240)),
    Station::new("smtp", "client session, comes and goes", deliver_nothing),
];

/// What the flow takes in one go, bytes: a send buffer that has room for half of itself.
const ROOM: usize = 16 * 1024;

/// So many lines of 78 bytes each.
fn lines(count: usize) -> String {
    format!("{}\r\n", "x".repeat(76)).repeat(count)
}

/// A message of so many bytes: a header as most have it, and lines of 76.
pub fn message(size: usize) -> String {
    let mut message = "\
        Received: from desk.client.example.com ([192.0.2.77])\r\n\
        \tby client.example.com with ESMTPSA id 4cN1xk2Vb7z;\r\n\
        \tMon, 23 Nov 2026 04:19:35 +0000\r\n\
        Message-ID: <20261123041935.4cN1xk2Vb7z@client.example.com>\r\n\
        Date: Mon, 23 Nov 2026 04:19:34 +0000\r\n\
        From: Someone <someone@client.example.com>\r\n\
        To: Someone Else <someone.else@mx.example.org>\r\n\
        Subject: What we said about the pneumatic post\r\n\
        MIME-Version: 1.0\r\n\
        Content-Type: text/plain; charset=utf-8\r\n\
        \r\n"
        .to_owned();
    message.push_str(&lines(size / 78));
    message.truncate(size - 2);
    message + "\r\n"
}

fn dotted(count: usize) -> String {
    format!(".{}\r\n", "x".repeat(76)).repeat(count)
}

const OFFER: Offer = Offer { extended: true, binarymime: false, require_tls: false, priority: false };

fn mail(line: &'static str) -> Box<dyn FnMut()> {
    Box::new(move || {
        let (verb, arguments) = Verb::split(black_box(line.as_bytes()));
        let arguments = std::str::from_utf8(arguments).expect("ASCII");
        black_box((verb, grammar::mail(arguments, &OFFER).map(|mail| mail.reverse_path.len())).1.is_ok());
    })
}

fn rcpt() -> Box<dyn FnMut()> {
    Box::new(move || {
        let (verb, arguments) = Verb::split(black_box(b"RCPT TO:<someone.else@mx.example.org>"));
        let arguments = std::str::from_utf8(arguments).expect("ASCII");
        black_box((verb, grammar::rcpt(arguments, &OFFER, false).map(|rcpt| rcpt.forward_path.len())).1.is_ok());
    })
}

fn scan(input: String) -> Box<dyn FnMut()> {
    Box::new(move || {
        let mut scanner = Scanner::new(Framing::Dots, LineRule::Reject);
        let (mut rest, mut appended) = (black_box(input.as_bytes()), 0);
        while !rest.is_empty() {
            let consumed = match scanner.step(rest) {
                Step::Append(run) => {
                    appended += run.len();
                    run.len()
                }
                Step::Replace { consumed, with } => {
                    appended += with.len();
                    consumed
                }
                Step::Fault { consumed, .. } => consumed,
                Step::End { .. } => break,
            };
            rest = &rest[consumed..];
        }
        black_box(appended);
    })
}

/// A client session that is ready for its first task.
fn session() -> client::Session {
    session_with(Arc::new(client::Settings::new("us.example", Protocol::Smtp)))
}

fn session_with(settings: Arc<client::Settings>) -> client::Session {
    let mut session = client::Session::new(settings, Instant::ZERO);
    let offer = "250-them\r\n250-PIPELINING\r\n250-SIZE 50000000\r\n250-8BITMIME\r\n250 ENHANCEDSTATUSCODES\r\n";
    for reply in ["220 them\r\n", offer] {
        session.receive(Instant::ZERO, reply.as_bytes());
        send_all(&mut session);
    }
    assert_eq!(session.poll_event(), Some(Event::Ready));
    session
}

fn send_all(session: &mut client::Session) -> usize {
    let count = black_box(session.output()).len();
    session.sent(Instant::ZERO, count);
    count
}

fn transaction(size: usize) -> Task {
    let recipient = TransactionRecipient { address: "someone.else@mx.example.org".into(), ..Default::default() };
    Task::Deliver(Transaction {
        reverse_path: "someone@client.example.com".into(),
        recipients: vec![recipient],
        size: size as u64,
        ..Transaction::default()
    })
}

/// Leads a session that was given a task to the point where it wants the content.
fn begin(session: &mut client::Session) {
    send_all(session);
    session.receive(Instant::ZERO, b"250 2.1.0 sender ok\r\n250 2.1.5 recipient ok\r\n354 go on\r\n");
    while let Some(event) = session.poll_event() {
        assert_eq!(event, Event::ContentWanted);
    }
    assert!(session.wants_content());
}

/// Sends content as a connection does: piece by piece, as much as the flow takes at a time.
fn send(session: &mut client::Session, input: &[u8], last: bool) -> usize {
    let (mut rest, mut sent) = (input, 0);
    while !rest.is_empty() {
        let mut room = ROOM;
        let taken = session.content(Instant::ZERO, rest, last, &mut |bytes| {
            let count = bytes.len().min(room);
            room -= count;
            sent += count;
            count
        });
        rest = &rest[taken..];
    }
    sent
}

fn stuff(input: String) -> Box<dyn FnMut()> {
    let mut session = session();
    session.start(Instant::ZERO, transaction(0));
    begin(&mut session);
    Box::new(move || {
        black_box(send(&mut session, black_box(input.as_bytes()), false));
    })
}

/// One message of so many bytes through a client session.
fn deliver(size: usize) -> Box<dyn FnMut()> {
    let mut session = session();
    let input = message(size);
    let task = transaction(input.len());
    Box::new(move || {
        session.start(Instant::ZERO, task.clone());
        begin(&mut session);
        black_box(send(&mut session, black_box(input.as_bytes()), true));
        send_all(&mut session);
        session.receive(Instant::ZERO, b"250 2.0.0 queued as 4cN1xk2Vb7z\r\n");
        let mut told = 0;
        while let Some(event) = session.poll_event() {
            assert!(matches!(event, Event::Settled { .. } | Event::TaskDone));
            told += 1;
        }
        assert!(told == 2 && session.ready());
    })
}

/// A client session that has nothing to send.
fn deliver_nothing() -> Box<dyn FnMut()> {
    let settings = Arc::new(client::Settings::new("us.example", Protocol::Smtp));
    Box::new(move || {
        let mut session = session_with(Arc::clone(&settings));
        session.quit(Instant::ZERO);
        send_all(&mut session);
        session.receive(Instant::ZERO, b"221 2.0.0 bye\r\n");
        assert!(session.closed());
    })
}

/// Accepts everything and forgets it.
#[derive(Default)]
struct Nowhere {
    number: u64,
    taken: usize,
    finished: bool,
}

impl Host for Nowhere {
    fn sender(&mut self, _: &str, _: Option<u64>) -> Result<(), StorageRefusal> {
        Ok(())
    }

    fn recipient(&mut self, _: &str, _: &str) -> RecipientVerdict {
        RecipientVerdict::Accept
    }

    fn begin(&mut self) -> Result<MessageId, StorageRefusal> {
        self.number += 1;
        Ok(MessageId::new(0, self.number))
    }

    fn content(&mut self, bytes: &[u8]) -> usize {
        self.taken += black_box(bytes).len();
        bytes.len()
    }

    fn finish(&mut self, envelope: Envelope) {
        black_box(envelope);
        self.finished = true;
    }

    fn abort(&mut self) {
        panic!("nothing is wrong");
    }
}

fn client() -> Client {
    let [remote, local] = ["192.0.2.10:40000", "192.0.2.25:25"].map(|address| address.parse().expect("an address"));
    Client { remote, local, bare_newline: BareNewline::Reject, relays: true }
}

/// A server session whose client has nothing to send.
fn serve_nothing() -> Box<dyn FnMut()> {
    let now = Now { mono: Instant::ZERO, wall: WallTime::from_micros(1_795_407_575_000_000) };
    let (settings, client) = (Arc::new(server::Settings::new("mx.example.org")), client());
    let mut host = Nowhere::default();
    Box::new(move || {
        let mut session = server::Session::new(Arc::clone(&settings), client, now);
        for line in [&b""[..], b"EHLO client.example.com\r\n", b"QUIT\r\n"] {
            converse(&mut session, &mut host, now, black_box(line));
        }
        assert!(session.closing());
    })
}

/// One message of so many bytes through a server session: the commands in one piece, then the content in another.
fn serve(size: usize) -> Box<dyn FnMut()> {
    let mut now = Now { mono: Instant::ZERO, wall: WallTime::from_micros(1_795_407_575_000_000) };
    let settings = server::Settings { transactions_max: u32::MAX, ..server::Settings::new("mx.example.org") };
    let mut session = server::Session::new(Arc::new(settings), client(), now);
    let mut host = Nowhere::default();
    converse(&mut session, &mut host, now, b"EHLO client.example.com\r\n");
    let content = message(size) + ".\r\n";
    let commands =
        "MAIL FROM:<someone@client.example.com> SIZE=10240\r\nRCPT TO:<someone.else@mx.example.org>\r\nDATA\r\n";
    Box::new(move || {
        now.mono = now.mono + std::time::Duration::from_micros(10);
        now.wall = now.wall + std::time::Duration::from_micros(10);
        converse(&mut session, &mut host, now, black_box(commands.as_bytes()));
        converse(&mut session, &mut host, now, black_box(content.as_bytes()));
        assert!(std::mem::take(&mut host.finished));
        session.committed(now, Ok(()));
        assert_eq!(session.output()[..4], *b"250 ");
        session.sent(session.output().len());
    })
}

fn converse(session: &mut server::Session, host: &mut Nowhere, now: Now, input: &[u8]) {
    let used = session.receive(now, Received { bytes: input, ..Received::default() }, host);
    assert_eq!(used, input.len());
    session.sent(black_box(session.output()).len());
}
