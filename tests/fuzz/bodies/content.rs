//! The content scanner, fed in pieces and with a reader that takes little, against a reference that sees all at once.

use super::choices::{Choices, Cuts};
use rohrpost::smtp::content::{ContentFault, Framing, LineRule, Scanner, Step};

#[derive(Debug, Default, PartialEq, Eq)]
struct Outcome {
    content: Vec<u8>,
    faults: Vec<ContentFault>,
    /// Bytes consumed up to the end, if one was found.
    end: Option<usize>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Token {
    CrLf,
    Cr,
    Lf,
    Nul,
    Other(u8),
}

/// Whole tokens with the place behind each; a last CR is none yet, as nobody knows what follows it.
fn tokens(input: &[u8]) -> Vec<(Token, usize)> {
    let mut found = Vec::new();
    let mut at = 0;
    while at < input.len() {
        let (token, size) = match input[at..] {
            [b'\r', b'\n', ..] => (Token::CrLf, 2),
            [b'\r'] => break,
            [b'\r', ..] => (Token::Cr, 1),
            [b'\n', ..] => (Token::Lf, 1),
            [0, ..] => (Token::Nul, 1),
            [other, ..] => (Token::Other(other), 1),
            [] => break,
        };
        at += size;
        found.push((token, at));
    }
    found
}

/// The same by the letter. Returns also what the end of counted content would add.
fn reference(framing: Framing, rule: LineRule, input: &[u8]) -> (Outcome, Result<&'static [u8], ContentFault>) {
    let mut outcome = Outcome::default();
    if rule == LineRule::Binary {
        outcome.content.extend_from_slice(input);
        return (outcome, Ok(b""));
    }
    let tokens = tokens(input);
    // What ended the line before, at the start of one.
    let mut start = Some(Token::CrLf);
    for (place, (token, _)) in tokens.iter().enumerate() {
        let next = tokens.get(place + 1);
        let line_start = start.take();
        match token {
            Token::Other(b'.') if framing == Framing::Dots && line_start.is_some() => {
                if let (Some(Token::CrLf), Some((Token::CrLf, behind))) = (line_start, next) {
                    outcome.end = Some(*behind);
                    return (outcome, Ok(b""));
                }
            }
            Token::Other(byte) => outcome.content.push(*byte),
            Token::CrLf => {
                outcome.content.extend_from_slice(b"\r\n");
                start = Some(Token::CrLf);
            }
            Token::Lf if rule == LineRule::Normalize => {
                outcome.content.extend_from_slice(b"\r\n");
                start = Some(Token::Lf);
            }
            Token::Cr if rule == LineRule::Normalize => outcome.content.push(b' '),
            Token::Cr | Token::Lf => outcome.faults.push(ContentFault::BareNewline),
            Token::Nul => outcome.faults.push(ContentFault::Nul),
        }
    }
    let undecided = input.last() == Some(&b'\r');
    let tail: Result<&[u8], ContentFault> = match (undecided, rule) {
        (true, LineRule::Normalize) => Ok(b" \r\n"),
        (true, _) => Err(ContentFault::BareNewline),
        (false, _) if start.is_some() => Ok(b""),
        (false, _) => Ok(b"\r\n"),
    };
    (outcome, tail)
}

fn scan(scanner: &mut Scanner, rule: LineRule, input: &[u8], cuts: Cuts, room: usize) -> Outcome {
    let mut outcome = Outcome::default();
    let mut at = 0;
    for piece in cuts.pieces(input) {
        let mut rest = piece;
        while !rest.is_empty() {
            let consumed = match scanner.step(rest) {
                Step::Append(run) => {
                    assert!(rest.starts_with(run), "a run is the front of the input");
                    assert!(!run.is_empty(), "the scanner gets on");
                    if rule != LineRule::Binary {
                        let whole = String::from_utf8_lossy(run).replace("\r\n", "");
                        assert!(!whole.contains(['\r', '\n', '\0']), "a run has whole lines only: {run:?}");
                    }
                    if run.len() > room {
                        outcome.content.extend_from_slice(&run[..room]);
                        let (consumed, owed) = scanner.cut(run, room);
                        outcome.content.extend_from_slice(owed);
                        consumed
                    } else {
                        outcome.content.extend_from_slice(run);
                        run.len()
                    }
                }
                Step::Replace { consumed, with } => {
                    assert!(with.len() <= 2, "at most two bytes are put in the place of others");
                    outcome.content.extend_from_slice(with);
                    consumed
                }
                Step::Fault { consumed, fault } => {
                    outcome.faults.push(fault);
                    consumed
                }
                Step::End { consumed } => {
                    assert!(consumed > 0, "an end has a byte");
                    outcome.end = Some(at + consumed);
                    return outcome;
                }
            };
            at += consumed;
            rest = &rest[consumed..];
        }
    }
    outcome
}

pub fn run(data: &[u8]) {
    let mut choices = Choices::new(data);
    let kind = choices.byte();
    let framing = if kind & 1 == 0 { Framing::Dots } else { Framing::Counted };
    let rule = match (kind >> 1) % 3 {
        0 => LineRule::Reject,
        1 => LineRule::Normalize,
        _ => LineRule::Binary,
    };
    // Binary content is counted: there is no dot that could end it (RFC 3030 §3).
    let framing = if rule == LineRule::Binary { Framing::Counted } else { framing };
    let room = match choices.byte() {
        0 => usize::MAX,
        room => usize::from(room),
    };
    let seed = choices.byte();
    let input = choices.rest();
    let (expected, tail) = reference(framing, rule, input);
    for cuts in Cuts::all(seed) {
        for room in [usize::MAX, room] {
            let mut scanner = Scanner::new(framing, rule);
            let foreseen = scanner.ends_within(input);
            let found = scan(&mut scanner, rule, input, cuts, room);
            assert_eq!(found, expected, "{framing:?} {rule:?} {cuts:?}, {room} bytes at a time");
            assert_eq!(foreseen, expected.end.is_some(), "the end is foreseen where it is");
            if framing == Framing::Counted {
                assert_eq!(scanner.finish(), tail, "{rule:?} {cuts:?}");
                assert_eq!(scanner.finish(), Ok(&b""[..]), "an end is ended");
            }
        }
    }
}
