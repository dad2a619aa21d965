//! Replies of remote servers.
//!
//! In: bytes, cut anywhere. Out: whole replies, short and clean enough for logs and notices. Lines and
//! their number are bounded; what a reply says beyond [`REMOTE_REPLY_SIZE_MAX`] is read and dropped.

use crate::limits::{CLIENT_REPLY_LINE_SIZE_MAX, CLIENT_REPLY_LINES_MAX, REMOTE_REPLY_SIZE_MAX};
use crate::smtp::reply::push_number;
use std::fmt;

/// Bytes that the codes of a reply take, with what stands behind them: `250 2.0.0 `, each of three digits at most.
const REPLY_CODES_SIZE_MAX: usize = 16;

/// What a server answered. The text is UTF-8 of at most [`REMOTE_REPLY_SIZE_MAX`] bytes, its lines joined by spaces,
/// without the enhanced code and without control characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoteReply {
    /// 200–599.
    pub code: u16,
    /// RFC 2034, if given and of the same class as the code.
    pub enhanced: Option<(u8, u16, u16)>,
    /// What the server wrote for people.
    pub text: Box<str>,
}

impl RemoteReply {
    /// 2xx.
    pub fn is_positive(&self) -> bool {
        self.code / 100 == 2
    }

    /// 3xx.
    pub fn is_intermediate(&self) -> bool {
        self.code / 100 == 3
    }

    /// 5xx.
    pub fn is_permanent(&self) -> bool {
        self.code / 100 == 5
    }

    /// All of it in one line, as [`Display`](fmt::Display) has it.
    pub fn line(&self) -> String {
        let mut line = Vec::with_capacity(self.text.len() + REPLY_CODES_SIZE_MAX);
        push_number(&mut line, self.code, b' ');
        if let Some((class, subject, detail)) = self.enhanced {
            push_number(&mut line, class.into(), b'.');
            push_number(&mut line, subject, b'.');
            push_number(&mut line, detail, b' ');
        }
        line.extend_from_slice(self.text.as_bytes());
        if self.text.is_empty() {
            line.pop();
        }
        String::from_utf8(line).expect("digits and a text are text")
    }
}

impl fmt::Display for RemoteReply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.line())
    }
}

/// Why bytes are no reply. The connection is of no use after that.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReplyError {
    /// A line without end.
    #[error("a reply line is too long")]
    LineTooLong,
    /// A reply without end.
    #[error("a reply has too many lines")]
    TooManyLines,
    /// No number from 200 to 599 at the start of a line.
    #[error("a reply line has no valid code")]
    BadCode,
    /// Lines of one reply say different things (RFC 5321 §4.2.1 forbids it).
    #[error("the lines of a reply have different codes")]
    CodeChanged,
}

/// What of a reply has been read.
#[derive(Debug, Default)]
pub(crate) struct ReplyReader {
    /// A line without its end; never longer than [`CLIENT_REPLY_LINE_SIZE_MAX`].
    line: Vec<u8>,
    /// What the finished lines of this reply said; `None` before the first.
    started: Option<RemoteReplyStart>,
}

#[derive(Debug)]
struct RemoteReplyStart {
    code: u16,
    enhanced: Option<(u8, u16, u16)>,
    lines_count: u32,
    text: String,
}

impl ReplyReader {
    /// Reads up to the end of one reply and says how many bytes that took. `each_line` gets every line's place and
    /// what follows the code.
    pub(crate) fn read(
        &mut self,
        input: &[u8],
        mut each_line: impl FnMut(u32, &[u8]),
    ) -> (usize, Option<Result<RemoteReply, ReplyError>>) {
        let mut consumed = 0;
        while let Some(length) = memchr::memchr(b'\n', &input[consumed..]) {
            let piece = &input[consumed..consumed + length];
            consumed += length + 1;
            if self.line.len() + length > CLIENT_REPLY_LINE_SIZE_MAX {
                return (consumed, Some(Err(ReplyError::LineTooLong)));
            }
            self.line.extend_from_slice(piece);
            let mut line = std::mem::take(&mut self.line);
            if line.last() == Some(&b'\r') {
                line.pop();
            }
            let result = self.take_line(&line, &mut each_line);
            // The allocation is kept for the next line.
            line.clear();
            self.line = line;
            if let Some(result) = result.transpose() {
                return (consumed, Some(result));
            }
        }
        let rest = &input[consumed..];
        if self.line.len() + rest.len() > CLIENT_REPLY_LINE_SIZE_MAX {
            return (input.len(), Some(Err(ReplyError::LineTooLong)));
        }
        self.line.extend_from_slice(rest);
        (input.len(), None)
    }

    fn take_line(
        &mut self,
        line: &[u8],
        each_line: &mut impl FnMut(u32, &[u8]),
    ) -> Result<Option<RemoteReply>, ReplyError> {
        let (code, more, text) = split_line(line).ok_or(ReplyError::BadCode)?;
        let (own_enhanced, said) = split_enhanced(code, text);
        let reply = self.started.get_or_insert_with(|| RemoteReplyStart {
            code,
            enhanced: own_enhanced,
            lines_count: 0,
            text: String::new(),
        });
        if reply.code != code {
            return Err(ReplyError::CodeChanged);
        }
        if reply.lines_count == CLIENT_REPLY_LINES_MAX {
            return Err(ReplyError::TooManyLines);
        }
        each_line(reply.lines_count, text);
        reply.lines_count += 1;
        // What looks like an enhanced code but is not the reply's belongs to the text. Most replies have one line.
        reply.text.reserve(said.len().min(REMOTE_REPLY_SIZE_MAX));
        append_clean(&mut reply.text, if own_enhanced == reply.enhanced { said } else { text });
        if more {
            return Ok(None);
        }
        let whole = self.started.take().expect("it was put there above");
        Ok(Some(RemoteReply { code: whole.code, enhanced: whole.enhanced, text: whole.text.into() }))
    }
}

/// Code, whether more lines follow, and the text (RFC 5321 §4.2).
fn split_line(line: &[u8]) -> Option<(u16, bool, &[u8])> {
    let digits = line.get(..3)?;
    if !digits.iter().all(u8::is_ascii_digit) || !(b'2'..=b'5').contains(&digits[0]) {
        return None;
    }
    let code = digits.iter().fold(0, |code, digit| code * 10 + u16::from(digit - b'0'));
    match line.get(3) {
        None => Some((code, false, &[])),
        Some(b' ') => Some((code, false, &line[4..])),
        Some(b'-') => Some((code, true, &line[4..])),
        Some(_) => None,
    }
}

/// Takes `class SP` off the front of the text if it is an enhanced code of the reply's class (RFC 2034 §4).
fn split_enhanced(code: u16, text: &[u8]) -> (Option<(u8, u16, u16)>, &[u8]) {
    let end = text.iter().position(|byte| *byte == b' ').unwrap_or(text.len());
    let mut parts = text[..end].split(|byte| *byte == b'.').map(|digits| {
        let valid = (1..=3).contains(&digits.len()) && digits.iter().all(u8::is_ascii_digit);
        valid.then(|| digits.iter().fold(0, |number, digit| number * 10 + u16::from(digit - b'0')))
    });
    let (Some(Some(class)), Some(Some(subject)), Some(Some(detail)), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return (None, text);
    };
    if class != code / 100 || class == 3 {
        return (None, text);
    }
    (Some((class as u8, subject, detail)), text[end..].strip_prefix(b" ").unwrap_or(&[]))
}

/// Adds a line's text, as far as there is room.
fn append_clean(text: &mut String, line: &[u8]) {
    // Nearly all text is plain, and goes in one piece.
    let fits = text.len() + 1 + line.len() <= REMOTE_REPLY_SIZE_MAX;
    if fits
        && line.iter().all(|byte| matches!(byte, b' '..=b'~'))
        && let Ok(plain) = str::from_utf8(line)
    {
        if !text.is_empty() {
            text.push(' ');
        }
        return text.push_str(plain.trim_ascii_end());
    }
    let line = String::from_utf8_lossy(line);
    let separator = if text.is_empty() { None } else { Some(' ') };
    for character in separator.into_iter().chain(line.trim_end().chars()) {
        // A control character could forge a log line or a header.
        let character = if character.is_control() { '?' } else { character };
        if text.len() + character.len_utf8() > REMOTE_REPLY_SIZE_MAX {
            return;
        }
        text.push(character);
    }
}
