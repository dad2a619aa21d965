//! Dialogues: `S` is what the server says, `C` what we must have said meanwhile, `E` what we tell, in order.

mod auth;
mod held;
mod hostile;
mod priority;
mod require_tls;
mod smuggling;
mod starttls;

use super::*;
use crate::env::Instant;
use crate::limits::{CLIENT_OUTPUT_SIZE, CLIENT_REPLY_LINE_SIZE_MAX, REMOTE_REPLY_SIZE_MAX};
use std::sync::Arc;

const NOW: Instant = Instant::ZERO;
const CONTENT: &[u8] = b"Subject: x\r\n\r\n.dot\r\n..\r\nend\r\n";

fn session(protocol: Protocol) -> Session {
    let settings = Settings::new("us.example", protocol);
    Session::new(Arc::new(settings), NOW)
}

fn message(addresses: &[&str]) -> Transaction {
    let recipients = addresses.iter().enumerate().map(|(place, address)| TransactionRecipient {
        index: place as u32 + 10,
        address: (*address).into(),
        ..TransactionRecipient::default()
    });
    Transaction {
        reverse_path: "from@us.example".into(),
        recipients: recipients.collect(),
        size: CONTENT.len() as u64,
        ..Transaction::default()
    }
}

fn describe(event: &Event) -> String {
    let fate_text = |fate: &Fate| match fate {
        Fate::Delivered(reply) => format!("delivered {reply}"),
        Fate::Deferred(reason) => format!("deferred {reason}"),
        Fate::Failed(reason) => format!("failed {reason}"),
    };
    match event {
        Event::Ready => "ready".into(),
        Event::ContentWanted => "content".into(),
        Event::Settled { index, fate } => format!("{index} {}", fate_text(fate)),
        Event::Verified { fate } => format!("verified {}", fate_text(fate)),
        Event::TaskDone => "done".into(),
        Event::Closing(None) => "closing".into(),
        Event::Closing(Some(reason)) => format!("closing {reason}"),
    }
}

/// Plays the glue's part.
struct Glue {
    session: Session,
    tasks: std::vec::IntoIter<Task>,
    content: Vec<u8>,
    content_taken: usize,
    /// The flow takes so many bytes at a time.
    room: usize,
    wire: Vec<u8>,
    events: Vec<Event>,
}

impl Glue {
    fn new(protocol: Protocol, tasks: Vec<Task>, room: usize) -> Glue {
        Glue {
            session: session(protocol),
            tasks: tasks.into_iter(),
            content: CONTENT.to_vec(),
            content_taken: 0,
            room,
            wire: Vec::new(),
            events: Vec::new(),
        }
    }

    fn turn(&mut self) {
        loop {
            let before = (self.wire.len(), self.events.len(), self.content_taken);
            while let Some(event) = self.session.poll_event() {
                if matches!(event, Event::ContentWanted) && self.content_taken == self.content.len() {
                    self.content_taken = 0;
                }
                if matches!(event, Event::Ready | Event::TaskDone)
                    && self.session.ready()
                    && let Some(task) = self.tasks.next()
                {
                    self.session.start(NOW, task);
                }
                self.events.push(event);
            }
            let count = self.session.output().len().min(self.room);
            self.wire.extend_from_slice(&self.session.output()[..count]);
            self.session.sent(NOW, count);
            if self.session.wants_content() {
                let (wire, mut room) = (&mut self.wire, self.room);
                let taken = self.session.content(NOW, &self.content[self.content_taken..], true, &mut |bytes| {
                    let count = bytes.len().min(room);
                    room -= count;
                    wire.extend_from_slice(&bytes[..count]);
                    count
                });
                self.content_taken += taken;
            }
            assert!(self.session.output().len() < CLIENT_OUTPUT_SIZE + 3072);
            if before == (self.wire.len(), self.events.len(), self.content_taken) {
                return;
            }
        }
    }

    fn hear(&mut self, bytes: &[u8]) {
        assert_eq!(self.session.receive(NOW, bytes), bytes.len());
        self.turn();
    }
}

/// Plays a dialogue with the server's lines whole and byte by byte, and with a flow that takes much or little.
#[track_caller]
fn play(protocol: Protocol, tasks: &[Task], dialogue: &str) {
    for (piece_size, room) in [(usize::MAX, usize::MAX), (1, usize::MAX), (usize::MAX, 1), (1, 3)] {
        let mut glue = Glue::new(protocol, tasks.to_vec(), room);
        let (mut said, mut told) = (String::new(), Vec::new());
        let mut lines = dialogue.lines().map(str::trim).filter(|line| !line.is_empty()).peekable();
        while let Some(line) = lines.next() {
            let (who, text) = line.split_at_checked(2).unwrap_or((line, ""));
            match who.trim() {
                "S" => {
                    let mut heard = format!("{text}\r\n");
                    while let Some(more) = lines.peek().and_then(|next| next.strip_prefix("S ")) {
                        heard += &format!("{more}\r\n");
                        lines.next();
                    }
                    heard.as_bytes().chunks(piece_size.min(heard.len())).for_each(|piece| glue.hear(piece));
                }
                "C" => {
                    said += &format!("{text}\r\n");
                    if !lines.peek().is_some_and(|next| next.starts_with('C')) {
                        assert_eq!(String::from_utf8_lossy(&glue.wire), said, "by {piece_size} and {room}");
                    }
                }
                "E" => told.push(text.to_owned()),
                "X" => {
                    glue.session.ended(NOW);
                    glue.turn();
                }
                _ => panic!("no such line: {line}"),
            }
        }
        assert_eq!(String::from_utf8_lossy(&glue.wire), said, "by {piece_size} and {room}");
        let events: Vec<String> = glue.events.iter().map(describe).collect();
        assert_eq!(events, told, "by {piece_size} and {room}");
    }
}

#[test]
fn a_message_goes_over_step_by_step_without_pipelining() {
    let task = Task::Deliver(message(&["a@x.example", "b@x.example"]));
    play(
        Protocol::Smtp,
        &[task.clone(), task],
        "S 220-hello
         S 220 there
         C EHLO us.example
         S 250 x.example
         C MAIL FROM:<from@us.example>
         S 250 ok
         C RCPT TO:<a@x.example>
         S 251 2.1.5 ok
         C RCPT TO:<b@x.example>
         S 550-5.1.1 No such
         S 550 5.1.1 user
         C DATA
         S 354 go
         C Subject: x
         C
         C ..dot
         C ...
         C end
         C .
         S 250 2.0.0 taken
         C MAIL FROM:<from@us.example>
         S 250 ok
         C RCPT TO:<a@x.example>
         S 450 4.2.1 busy
         C RCPT TO:<b@x.example>
         S 450 busy
         C RSET
         S 250 ok
         X
         E ready
         E 11 failed 550 5.1.1 No such user (in reply to RCPT TO)
         E content
         E 10 delivered 250 2.0.0 taken
         E done
         E 10 deferred 450 4.2.1 busy (in reply to RCPT TO)
         E 11 deferred 450 busy (in reply to RCPT TO)
         E done
         E closing the connection was lost between two messages",
    );
}

#[test]
fn commands_are_pipelined_with_the_parameters_that_are_offered() {
    let mut transaction = message(&["a@x.example", "b@x.example"]);
    transaction.eight_bit = true;
    transaction.smtputf8 = true;
    transaction.ret = Some(Return::Headers);
    transaction.envelope_id = Some("QQ+2B1".into());
    transaction.recipients[0].notify = Some(Notify::default());
    transaction.recipients[1].notify = Some(Notify { success: true, failure: false, delay: true });
    transaction.recipients[1].original = Some("rfc822;b@old.example".into());
    play(
        Protocol::Smtp,
        &[Task::Deliver(transaction)],
        "S 220 hello
         C EHLO us.example
         S 250-x.example
         S 250-pipelining
         S 250-8BITMIME
         S 250-SMTPUTF8
         S 250-SIZE 1000
         S 250 DSN
         C MAIL FROM:<from@us.example> SIZE=29 BODY=8BITMIME SMTPUTF8 RET=HDRS ENVID=QQ+2B1
         C RCPT TO:<a@x.example> NOTIFY=NEVER
         C RCPT TO:<b@x.example> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;b@old.example
         C DATA
         S 250 ok
         S 250 ok
         S 250 ok
         S 354 go
         C Subject: x
         C
         C ..dot
         C ...
         C end
         C .
         X
         E ready
         E content
         E 10 deferred the whole message was sent, but its acknowledgement never came
         E 11 deferred the whole message was sent, but its acknowledgement never came
         E done
         E closing",
    );
}

#[test]
fn a_server_that_accepts_data_for_nobody_gets_a_lone_dot() {
    play(
        Protocol::Smtp,
        &[Task::Deliver(message(&["a@x.example", "b@x.example"]))],
        "S 220 hello
         C EHLO us.example
         S 250-x.example
         S 250 PIPELINING
         C MAIL FROM:<from@us.example>
         C RCPT TO:<a@x.example>
         C RCPT TO:<b@x.example>
         C DATA
         S 250 ok
         S 550 no
         S 450 later
         S 354 go
         C .
         S 250 whatever
         C RSET
         S 250 ok
         E ready
         E 10 failed 550 no (in reply to RCPT TO)
         E 11 deferred 450 later (in reply to RCPT TO)
         E done",
    );
}

#[test]
fn a_refused_mail_settles_everyone_and_the_pipelined_answers_are_waited_for() {
    play(
        Protocol::Smtp,
        &[Task::Deliver(message(&["a@x.example", "b@x.example"]))],
        "S 220 hello
         C EHLO us.example
         S 250-x.example
         S 250 PIPELINING
         C MAIL FROM:<from@us.example>
         C RCPT TO:<a@x.example>
         C RCPT TO:<b@x.example>
         C DATA
         S 550 5.7.1 not you
         S 503 5.5.1 no
         S 503 5.5.1 no
         S 503 5.5.1 no
         C RSET
         S 250 ok
         E ready
         E 10 failed 550 5.7.1 not you (in reply to MAIL FROM)
         E 11 failed 550 5.7.1 not you (in reply to MAIL FROM)
         E done",
    );
}

#[test]
fn a_refused_data_settles_who_was_accepted() {
    play(
        Protocol::Smtp,
        &[Task::Deliver(message(&["a@x.example", "b@x.example"]))],
        "S 220 hello
         C EHLO us.example
         S 250-x.example
         S 250 PIPELINING
         C MAIL FROM:<from@us.example>
         C RCPT TO:<a@x.example>
         C RCPT TO:<b@x.example>
         C DATA
         S 250 ok
         S 250 ok
         S 550 no
         S 451 4.3.0 later
         C RSET
         S 421 tired
         E ready
         E 11 failed 550 no (in reply to RCPT TO)
         E 10 deferred 451 4.3.0 later (in reply to DATA)
         E done
         E closing",
    );
}

#[test]
fn lmtp_answers_for_each_accepted_recipient() {
    play(
        Protocol::Lmtp,
        &[Task::Deliver(message(&["a@x.example", "b@x.example", "c@x.example", "d@x.example"]))],
        "S 220 hello
         C LHLO us.example
         S 250-x.example
         S 250 PIPELINING
         C MAIL FROM:<from@us.example>
         C RCPT TO:<a@x.example>
         C RCPT TO:<b@x.example>
         C RCPT TO:<c@x.example>
         C RCPT TO:<d@x.example>
         C DATA
         S 250 ok
         S 250 ok
         S 550 5.1.1 no b
         S 250 ok
         S 250 ok
         S 354 go
         C Subject: x
         C
         C ..dot
         C ...
         C end
         C .
         S 250 2.0.0 a has it
         S 552 5.2.2 c is full
         X
         E ready
         E 11 failed 550 5.1.1 no b (in reply to RCPT TO)
         E content
         E 10 delivered 250 2.0.0 a has it
         E 12 failed 552 5.2.2 c is full (in reply to end of DATA)
         E 13 deferred the whole message was sent, but its acknowledgement never came
         E done
         E closing",
    );
}

#[test]
fn a_server_without_ehlo_is_greeted_with_helo() {
    let mut utf8 = message(&["ü@x.example"]);
    utf8.smtputf8 = true;
    let mut binary = message(&["a@x.example"]);
    binary.body = BodyType::BinaryMime;
    play(
        Protocol::Smtp,
        &[Task::Deliver(utf8), Task::Deliver(binary)],
        "S 220 hello
         C EHLO us.example
         S 502-SMTPUTF8
         S 502 SMTPUTF8
         C HELO us.example
         S 250-x.example
         S 250 SMTPUTF8
         E ready
         E 10 failed the server does not support internationalized mail (SMTPUTF8), which this message needs
         E done
         E 10 failed the server does not support binary content (BINARYMIME), which this message needs
         E done",
    );
}

#[test]
fn limits_of_the_server_are_kept() {
    let mut large = message(&["a@x.example"]);
    large.size = 101;
    play(
        Protocol::Smtp,
        &[Task::Deliver(large), Task::Deliver(message(&["a@x.example", "b@x.example", "c\r\n@x", "d@x.example"]))],
        "S 220 hello
         C EHLO us.example
         S 250-x.example
         S 250-SIZE 100
         S 250 LIMITS RCPTMAX=2 MAILMAX=1
         C MAIL FROM:<from@us.example> SIZE=29
         S 250 ok
         C RCPT TO:<a@x.example>
         S 250 ok
         C RCPT TO:<b@x.example>
         S 452 4.5.3 too many
         C DATA
         S 354 go
         C Subject: x
         C
         C ..dot
         C ...
         C end
         C .
         S 250 ok
         C QUIT
         S 221 bye
         E ready
         E 10 failed the message has 101 bytes, and the server takes no more than 100
         E done
         E 12 failed the recipient's address cannot be written in a command
         E 13 deferred more recipients than the server takes in one transaction
         E 11 deferred more recipients than the server takes in one transaction
         E content
         E 10 delivered 250 ok
         E done
         E closing",
    );
}

#[test]
fn a_recipient_is_verified_without_a_message() {
    let task = |address: &str| Task::Verify { recipient: address.into() };
    play(
        Protocol::Smtp,
        &[task("a@x.example"), task("b@x.example"), task("c@x.example")],
        "S 220 hello
         C EHLO us.example
         S 250-x.example
         S 250 PIPELINING
         C MAIL FROM:<>
         C RCPT TO:<a@x.example>
         S 250 ok
         S 250 ok
         C RSET
         S 250 ok
         C MAIL FROM:<>
         C RCPT TO:<b@x.example>
         S 250 ok
         S 550 5.1.1 no
         C RSET
         S 250 ok
         C MAIL FROM:<>
         C RCPT TO:<c@x.example>
         S 550 no null sender
         S 503 no
         C RSET
         S 250 ok
         E ready
         E verified delivered 250 ok
         E done
         E verified failed 550 5.1.1 no (in reply to RCPT TO)
         E done
         E verified deferred 550 no null sender (in reply to MAIL FROM)
         E done",
    );
}

#[test]
fn a_server_that_does_not_want_us_is_left_politely() {
    play(Protocol::Smtp, &[], "S 554 no\nC QUIT\nE closing 554 no (in reply to connection)");
    play(Protocol::Smtp, &[], "S 421 busy\nE closing 421 busy (in reply to connection)");
    play(Protocol::Smtp, &[], "X\nE closing the connection was lost before its greeting");
    play(Protocol::Lmtp, &[], "S 220 a\nC LHLO us.example\nS 500 what\nC QUIT\nE closing 500 what (in reply to LHLO)");
}

#[test]
fn what_is_no_reply_ends_the_session() {
    for nonsense in ["100 x", "600 x", "2x0 x", "", "250_x", "220-a\r\n221 b", "HTTP/1.1 400 Bad Request"] {
        play(
            Protocol::Smtp,
            &[],
            &format!(
                "S {}\nE closing the server broke the protocol before its greeting",
                nonsense.replace("\r\n", "\nS ")
            ),
        );
    }
}

#[test]
fn an_endless_reply_ends_the_session() {
    let mut long = session(Protocol::Smtp);
    (0..CLIENT_REPLY_LINE_SIZE_MAX + 9).for_each(|_| assert_eq!(long.receive(NOW, b"2"), 1));
    assert!(long.closed());
    let mut many = session(Protocol::Smtp);
    (0..1000).for_each(|_| assert_eq!(many.receive(NOW, b"220-x\r\n"), 7));
    assert!(many.closed());
}

#[test]
fn a_reply_is_kept_short_and_clean() {
    let mut glue = Glue::new(Protocol::Smtp, vec![], usize::MAX);
    let long = "ä".repeat(1500);
    glue.hear(format!("554-5.7.1 a\x1b[1m\rb\n554-5.7.1 {long}\r\n554 5.7.1 \u{85}z\r\n").as_bytes());
    let [Event::Closing(Some(Reason::Reply { reply, .. }))] = &glue.events[..] else { panic!("{:?}", glue.events) };
    assert_eq!((reply.code, reply.enhanced), (554, Some((5, 7, 1))));
    assert!(reply.text.starts_with("a?[1m?b ää"), "{reply}");
    assert!(reply.text.len() <= REMOTE_REPLY_SIZE_MAX);
    assert!(!reply.text.chars().any(char::is_control));
}

#[test]
fn an_answer_before_the_end_of_content_is_never_a_delivery() {
    for (answer, fate) in [
        ("250 got it", "deferred the server broke the protocol while the content was sent"),
        ("552 too much", "failed 552 too much (in reply to content)"),
    ] {
        let mut glue = Glue::new(Protocol::Smtp, vec![Task::Deliver(message(&["a@x.example"]))], 7);
        for line in ["220 x\r\n", "250 x\r\n", "250 x\r\n", "250 x\r\n"] {
            glue.hear(line.as_bytes());
        }
        glue.session.receive(NOW, format!("354 go\r\n{answer}\r\n").as_bytes());
        glue.turn();
        assert_eq!(describe(&glue.events[2]), format!("10 {fate}"));
        assert!(glue.wire.ends_with(b"DATA\r\n"));
        assert!(glue.session.closed());
    }
}

#[test]
fn a_final_answer_that_comes_before_the_dot_has_left_is_not_believed() {
    let mut glue = Glue::new(Protocol::Smtp, vec![Task::Deliver(message(&["a@x.example"]))], 1000);
    for line in ["220 x\r\n", "250 x\r\n", "250 x\r\n", "250 x\r\n"] {
        glue.hear(line.as_bytes());
    }
    glue.session.receive(NOW, b"354 go\r\n");
    assert_eq!(glue.session.content(NOW, CONTENT, true, &mut |bytes| bytes.len()), CONTENT.len());
    assert_eq!(glue.session.output(), b".\r\n");
    glue.session.receive(NOW, b"250 ok\r\n");
    assert_eq!(glue.session.output(), b"");
    glue.turn();
    assert!(describe(&glue.events[2]).starts_with("10 deferred the server broke the protocol"), "{:?}", glue.events);
}

#[test]
fn content_that_cannot_be_read_is_never_ended_with_a_dot() {
    let mut glue = Glue::new(Protocol::Smtp, vec![Task::Deliver(message(&["a@x.example"]))], usize::MAX);
    for line in ["220 x\r\n", "250 x\r\n", "250 x\r\n", "250 x\r\n"] {
        glue.hear(line.as_bytes());
    }
    glue.session.receive(NOW, b"354 go\r\n");
    glue.session.content(NOW, b"half\r\n", false, &mut |bytes| bytes.len());
    glue.session.content_failed(NOW);
    glue.turn();
    assert!(glue.session.closed());
    assert_eq!(glue.session.output(), b"");
    assert_eq!(describe(&glue.events[2]), "10 deferred the content could not be read");
}

#[test]
fn binary_content_goes_by_bdat_and_keeps_every_byte() {
    let mut transaction = message(&["a@x.example"]);
    transaction.body = BodyType::BinaryMime;
    for pipelining in [false, true] {
        let mut glue = Glue::new(Protocol::Smtp, vec![Task::Deliver(transaction.clone())], usize::MAX);
        let ehlo = if pipelining { "250-PIPELINING\r\n" } else { "" };
        for line in ["220 x\r\n", &format!("250-x\r\n{ehlo}250-CHUNKING\r\n250 BINARYMIME\r\n"), "250 x\r\n"] {
            glue.hear(line.as_bytes());
        }
        glue.session.receive(NOW, b"250 x\r\n");
        let start = glue.wire.len();
        let mut rest: &[u8] = b"\n.\r\n\0\r";
        let (mut ended, mut chunk) = (false, 4);
        while !ended {
            if !glue.session.wants_content() {
                assert!(!pipelining);
                glue.session.receive(NOW, b"250 chunk\r\n");
                continue;
            }
            let wire = &mut glue.wire;
            let piece = &rest[..chunk.min(rest.len())];
            // The flow takes three bytes at a time.
            let taken = glue.session.content(NOW, piece, false, &mut |bytes| {
                let count = bytes.len().min(3);
                wire.extend_from_slice(&bytes[..count]);
                count
            });
            chunk = if taken < piece.len() { piece.len() - taken } else { 4 };
            rest = &rest[taken..];
            ended = rest.is_empty();
        }
        if !pipelining {
            assert_eq!(glue.session.content(NOW, &[], true, &mut |bytes| bytes.len()), 0);
            glue.session.receive(NOW, b"250 chunk\r\n");
        }
        glue.session.content(NOW, &[], true, &mut |_| 0);
        // Nothing is said twice when the end is announced again.
        glue.session.content(NOW, &[], true, &mut |_| 0);
        glue.content = Vec::new();
        glue.turn();
        let expected: &[u8] = b"BDAT 4\r\n\n.\r\nBDAT 2\r\n\0\rBDAT 0 LAST\r\n";
        assert_eq!(&glue.wire[start..], expected, "{pipelining}");
        glue.hear(if pipelining { b"250 a\r\n250 b\r\n250 taken\r\n" } else { b"250 taken\r\n" });
        let told: Vec<String> = glue.events.iter().map(describe).collect();
        assert!(told.ends_with(&["10 delivered 250 taken".into(), "done".into()]), "{told:?}");
    }
}

#[test]
fn a_refused_chunk_ends_the_session() {
    let mut transaction = message(&["a@x.example"]);
    transaction.body = BodyType::BinaryMime;
    play(
        Protocol::Smtp,
        &[Task::Deliver(transaction)],
        "S 220 hello
         C EHLO us.example
         S 250-x.example
         S 250-BINARYMIME
         S 250 CHUNKING
         C MAIL FROM:<from@us.example> BODY=BINARYMIME
         S 250 ok
         C RCPT TO:<a@x.example>
         S 250 ok
         C BDAT 29 LAST
         C Subject: x
         C
         C .dot
         C ..
         C end
         S 554 5.6.0 no
         C RSET
         S 250 ok
         E ready
         E content
         E 10 failed 554 5.6.0 no (in reply to end of DATA)
         E done",
    );
}

#[test]
fn a_thousand_recipients_fit_in_a_bounded_output() {
    let addresses: Vec<String> = (0..1000).map(|number| format!("recipient{number}@x.example")).collect();
    let addresses: Vec<&str> = addresses.iter().map(String::as_str).collect();
    let mut glue = Glue::new(Protocol::Smtp, vec![Task::Deliver(message(&addresses))], 1460);
    glue.hear(b"220 x\r\n");
    glue.hear(b"250-x\r\n250 PIPELINING\r\n");
    assert!(glue.wire.ends_with(b"DATA\r\n"), "all in one go");
    glue.hear(&b"250 x\r\n".repeat(1001));
    glue.hear(b"354 x\r\n");
    glue.hear(b"250 x\r\n");
    let delivered = glue.events.iter().filter(|event| matches!(event, Event::Settled { fate: Fate::Delivered(_), .. }));
    assert_eq!(delivered.count(), 1000);
}

#[test]
fn each_stage_has_its_timeout() {
    let mut glue = Glue::new(Protocol::Smtp, vec![Task::Deliver(message(&["a@x.example"]))], usize::MAX);
    let defaults = Timeouts::default();
    let stages = [
        ("220 x\r\n", Some(defaults.ehlo)),
        ("250 x\r\n", Some(defaults.mail)),
        ("250 x\r\n", Some(defaults.rcpt)),
        ("250 x\r\n", Some(defaults.data)),
        ("354 x\r\n", Some(defaults.dot)),
        ("250 x\r\n", None),
    ];
    assert_eq!(glue.session.deadline(), Some(NOW + defaults.greeting));
    for (line, timeout) in stages {
        glue.hear(line.as_bytes());
        assert_eq!(glue.session.deadline(), timeout.map(|timeout| NOW + timeout), "after {line}");
    }
    glue.session.quit(NOW);
    glue.turn();
    assert!(!glue.session.closed());
    glue.session.expired(NOW + defaults.quit);
    assert!(glue.session.closed());
    assert_eq!(glue.events.last(), Some(&Event::Closing(None)));
}

#[test]
fn a_task_for_a_session_that_has_closed_is_settled_at_once() {
    let mut glue = Glue::new(Protocol::Smtp, vec![], usize::MAX);
    glue.session.ended(NOW);
    glue.session.start(NOW, Task::Deliver(message(&["a@x.example"])));
    glue.turn();
    assert_eq!(describe(&glue.events[1]), "10 deferred the server ended the connection between two messages");
    assert_eq!(glue.events[2], Event::TaskDone);
}
