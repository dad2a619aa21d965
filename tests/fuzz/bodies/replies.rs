//! One reply of a server to the RCPT of a verification, against a reference that sees it whole.

use super::choices::Cuts;
use rohrpost::env::Instant;
use rohrpost::limits::{CLIENT_REPLY_LINE_SIZE_MAX, CLIENT_REPLY_LINES_MAX, REMOTE_REPLY_SIZE_MAX};
use rohrpost::smtp::client::{Event, Fate, LocalReason, Protocol, Reason, RemoteReply, Session, Settings, Stage, Task};
use std::sync::Arc;

const NOW: Instant = Instant::ZERO;

/// By the letter of RFC 5321 §4.2. `None` for a reply that has not ended, an error for what is none.
fn reference(input: &[u8]) -> Option<Result<RemoteReply, ()>> {
    let mut lines = input.split(|byte| *byte == b'\n').peekable();
    let (mut first, mut text, mut count): (Option<(u16, _)>, _, _) = (None, String::new(), 0);
    while let Some(line) = lines.next() {
        if line.len() > CLIENT_REPLY_LINE_SIZE_MAX {
            return Some(Err(()));
        }
        // What stands behind the last LF is no line yet.
        lines.peek()?;
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let code = line.get(..3).and_then(|digits| std::str::from_utf8(digits).ok());
        let code = code.filter(|digits| digits.bytes().all(|digit| digit.is_ascii_digit()));
        let code: u16 = code.and_then(|digits| digits.parse().ok()).unwrap_or(0);
        let more = match line.get(3) {
            None | Some(b' ') => false,
            Some(b'-') => true,
            Some(_) => return Some(Err(())),
        };
        let said = line.get(4..).unwrap_or_default();
        let enhanced = enhanced(code, said);
        let (expected, own) = *first.get_or_insert((code, enhanced));
        count += 1;
        if !(200..600).contains(&code) || code != expected || count > CLIENT_REPLY_LINES_MAX {
            return Some(Err(()));
        }
        let said = match enhanced {
            Some(_) if enhanced == own => said.splitn(2, |byte| *byte == b' ').nth(1).unwrap_or_default(),
            _ => said,
        };
        let said = String::from_utf8_lossy(said);
        let separator = if text.is_empty() { "" } else { " " };
        for character in separator.chars().chain(said.trim_end().chars()) {
            let character = if character.is_control() { '?' } else { character };
            if text.len() + character.len_utf8() > REMOTE_REPLY_SIZE_MAX {
                break;
            }
            text.push(character);
        }
        if !more {
            return Some(Ok(RemoteReply { code, enhanced: own, text: text.into() }));
        }
    }
    None
}

fn enhanced(code: u16, said: &[u8]) -> Option<(u8, u16, u16)> {
    let word = std::str::from_utf8(said.split(|byte| *byte == b' ').next()?).ok()?;
    let numbers: Vec<&str> = word.split('.').collect();
    let [class, subject, detail] = numbers[..] else { return None };
    let number = |digits: &str| {
        let plain = (1..=3).contains(&digits.len()) && digits.bytes().all(|digit| digit.is_ascii_digit());
        digits.parse::<u16>().ok().filter(|_| plain)
    };
    let (class, subject, detail) = (number(class)?, number(subject)?, number(detail)?);
    (class == code / 100 && class != 3).then_some((class as u8, subject, detail))
}

fn expected(input: &[u8]) -> Option<Fate> {
    let protocol = || Fate::Deferred(Reason::Local(LocalReason::Protocol(Stage::Rcpt)));
    Some(match reference(input)? {
        Err(()) => protocol(),
        Ok(reply) if reply.is_positive() => Fate::Delivered(reply),
        Ok(reply) if reply.is_intermediate() => protocol(),
        Ok(reply) if reply.is_permanent() => Fate::Failed(Reason::Reply { stage: Stage::Rcpt, reply }),
        Ok(reply) => Fate::Deferred(Reason::Reply { stage: Stage::Rcpt, reply }),
    })
}

/// A session whose RCPT waits for its answer.
fn asking() -> Session {
    let protocol = Protocol::Smtp;
    let settings = Settings::new("us.example", protocol);
    let mut session = Session::new(Arc::new(settings), NOW);
    let mut say = |line: &[u8]| {
        session.receive(NOW, line);
        session.sent(NOW, session.output().len());
    };
    say(b"220 x\r\n");
    say(b"250 x\r\n");
    session.start(NOW, Task::Verify { recipient: "v@x.example".into() });
    session.sent(NOW, session.output().len());
    session.receive(NOW, b"250 ok\r\n");
    session.sent(NOW, session.output().len());
    while session.poll_event().is_some() {}
    session
}

pub fn run(data: &[u8]) {
    let expected = expected(data);
    for cuts in Cuts::all(data.first().copied().unwrap_or(0)) {
        let mut session = asking();
        for piece in cuts.pieces(data) {
            session.receive(NOW, piece);
        }
        let told = std::iter::from_fn(|| session.poll_event()).find_map(|event| match event {
            Event::Verified { fate } => Some(fate),
            _ => None,
        });
        assert_eq!(told, expected, "{cuts:?}");
        if let Some(Fate::Delivered(reply) | Fate::Failed(Reason::Reply { reply, .. })) = &told {
            assert!(!reply.to_string().chars().any(char::is_control), "a reply is one clean line: {reply}");
        }
    }
}
