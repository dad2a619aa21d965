//! Content: finds where it ends, takes off the transparency dots, and checks its lines (RFC 5321 §4.5.2, §2.3.8).
//!
//! In: bytes as they came, cut anywhere. Out: runs of the same bytes, to be appended without a further look, and
//! the end. It never copies, never allocates and never looks ahead: its state is a few bytes.
//!
//! ## What ends a line, and what ends the content
//!
//! Only CRLF ends a line and only CRLF "." CRLF ends the content. What is made of a CR or LF that stands alone is
//! up to the [`LineRule`]:
//!
//! - [`Reject`](LineRule::Reject): it is a fault; it ends no line, so that `LF "." LF`, `LF "." CRLF` and the
//!   like neither end the content nor begin one of its lines.
//! - [`Normalize`](LineRule::Normalize): a lone LF ends a line of content and becomes CRLF; a lone CR becomes a space.
//!   The content still ends at CRLF "." CRLF only, taken literally: a line that is a dot and has a lone LF on either
//!   side is an empty line after its dot was taken off. (Postfix 3.9 reads it the same way with
//!   `smtpd_forbid_bare_newline = normalize`: what it cannot be is an end for us and content for the hop before.)
//! - [`Binary`](LineRule::Binary): BINARYMIME; there are no lines.
//!
//! NUL is a fault except in binary content (RFC 5321 §2.3.8, RFC 5322 §4).

mod smuggling;
#[cfg(test)]
mod tests;

pub use smuggling::FALSE_ENDS;

use super::lines::plain_size;

/// How the end is marked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// By a line with a dot (DATA).
    Dots,
    /// By a count that the caller keeps (BDAT).
    Counted,
}

/// What to do with a CR or LF that stands alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LineRule {
    /// It is a fault.
    Reject,
    /// It is repaired.
    Normalize,
    /// There are no lines.
    Binary,
}

/// What is wrong with the content. The scanner goes on after it and finds the true end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ContentFault {
    /// A CR or LF stands alone.
    #[error("a CR or LF stands alone")]
    BareNewline,
    /// A NUL.
    #[error("the content has a NUL")]
    Nul,
}

/// One step of the scanner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step<'a> {
    /// Append this front of the input; it is consumed by that. Every CR in it is followed by LF in it.
    Append(&'a [u8]),
    /// Consume `consumed` bytes and append `with` in their place.
    Replace {
        /// May be zero: the bytes were consumed by the step before.
        consumed: usize,
        /// At most two bytes.
        with: &'static [u8],
    },
    /// Consume `consumed` bytes; nothing is appended for them.
    Fault {
        /// May be zero.
        consumed: usize,
        /// What was found.
        fault: ContentFault,
    },
    /// Consume `consumed` bytes, the last of the content's end. The scanner is done.
    End {
        /// At least one.
        consumed: usize,
    },
}

/// Where in a line the next byte stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Position {
    /// First in its line.
    LineStart(LineEnd),
    /// Somewhere else in it.
    Line,
    /// After a CR that was not appended yet.
    Cr,
    /// After a dot that was first in its line and is not appended.
    Dot(LineEnd),
    /// After such a dot and a CR.
    DotCr(LineEnd),
}

/// What ended the line before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LineEnd {
    /// CRLF, or this is the first line: the CRLF of DATA counts (RFC 5321 §4.1.1.4).
    CrLf,
    /// A lone LF, normalised.
    Lf,
}

/// Scans one content. Resumable at every byte.
#[derive(Clone, Copy, Debug)]
pub struct Scanner {
    framing: Framing,
    rule: LineRule,
    position: Position,
    /// The position before the last step, for [`Scanner::cut`].
    before: Position,
}

const CRLF: &[u8] = b"\r\n";

/// Bytes of CRLF "." CRLF.
const END_SIZE: usize = 5;

impl Scanner {
    /// A scanner at the first byte of content.
    pub fn new(framing: Framing, rule: LineRule) -> Scanner {
        let position = Position::LineStart(LineEnd::CrLf);
        Scanner { framing, rule, position, before: position }
    }

    /// Looks at the front of `input`. Call until all of it is consumed or the end is found.
    pub fn step<'a>(&mut self, input: &'a [u8]) -> Step<'a> {
        self.before = self.position;
        let Some(&first) = input.first() else {
            return Step::Append(input);
        };
        if self.rule == LineRule::Binary {
            return Step::Append(input);
        }
        match (self.position, first) {
            (Position::LineStart(line_end), b'.') if self.framing == Framing::Dots => {
                self.position = Position::Dot(line_end);
                Step::Replace { consumed: 1, with: b"" }
            }
            (Position::Dot(line_end), b'\r') => {
                self.position = Position::DotCr(line_end);
                Step::Replace { consumed: 1, with: b"" }
            }
            (Position::DotCr(LineEnd::CrLf), b'\n') => Step::End { consumed: 1 },
            (Position::DotCr(LineEnd::Lf) | Position::Cr, b'\n') => {
                self.position = Position::LineStart(LineEnd::CrLf);
                Step::Replace { consumed: 1, with: CRLF }
            }
            (Position::DotCr(_) | Position::Cr, _) => self.lone_cr(),
            (Position::Dot(_) | Position::LineStart(_) | Position::Line, _) => self.run(input),
        }
    }

    /// Corrects the state after the last step's [`Step::Append`], of which only the first `taken` bytes could be
    /// appended. Returns how many bytes of the run are consumed and what of them is still to be appended.
    pub fn cut(&mut self, run: &[u8], taken: usize) -> (usize, &'static [u8]) {
        let Some(last) = taken.checked_sub(1) else {
            self.position = self.before;
            return (0, b"");
        };
        match run[last] {
            // A CR in a run has its LF behind it: both count as consumed, the LF is still owed.
            b'\r' if self.rule != LineRule::Binary => {
                self.position = Position::LineStart(LineEnd::CrLf);
                (taken + 1, b"\n")
            }
            b'\n' => {
                self.position = Position::LineStart(LineEnd::CrLf);
                (taken, b"")
            }
            _ => {
                self.position = Position::Line;
                (taken, b"")
            }
        }
    }

    /// Ends a counted content: what is still to be appended, so that text ends with a whole line.
    pub fn finish(&mut self) -> Result<&'static [u8], ContentFault> {
        let position = std::mem::replace(&mut self.position, Position::LineStart(LineEnd::CrLf));
        match (self.rule, position) {
            (LineRule::Binary, _) | (_, Position::LineStart(_)) => Ok(b""),
            (LineRule::Reject, Position::Cr) => Err(ContentFault::BareNewline),
            (LineRule::Normalize, Position::Cr) => Ok(b" \r\n"),
            (_, Position::Line | Position::Dot(_) | Position::DotCr(_)) => Ok(CRLF),
        }
    }

    /// Whether the content ends within `input`.
    pub fn ends_within(&self, input: &[u8]) -> bool {
        if self.framing == Framing::Counted || self.rule == LineRule::Binary {
            return false;
        }
        // Asked for each piece of a small message: most of it need not be scanned for that, since a whole CRLF "." CRLF is
        // an end whatever stands before it, and one that has begun before ends at once.
        let whole = |dot: usize| input[..dot].ends_with(CRLF) && input[dot + 1..].starts_with(CRLF);
        memchr::memchr_iter(b'.', input).any(whole) || self.ends_at_once(&input[..input.len().min(END_SIZE - 1)])
    }

    /// Whether the content ends within these few bytes.
    fn ends_at_once(mut self, mut rest: &[u8]) -> bool {
        while !rest.is_empty() {
            let consumed = match self.step(rest) {
                Step::Append(run) => run.len(),
                Step::Replace { consumed, .. } | Step::Fault { consumed, .. } => consumed,
                Step::End { .. } => return true,
            };
            rest = &rest[consumed..];
        }
        false
    }

    fn lone_cr<'a>(&mut self) -> Step<'a> {
        self.position = Position::Line;
        match self.rule {
            LineRule::Normalize => Step::Replace { consumed: 0, with: b" " },
            _ => Step::Fault { consumed: 0, fault: ContentFault::BareNewline },
        }
    }

    /// The fast path: as many whole lines as there are without a dot in front, and the bytes after them.
    fn run<'a>(&mut self, input: &'a [u8]) -> Step<'a> {
        let mut done = 0;
        loop {
            let plain = plain_size(&input[done..]);
            if plain > 0 {
                done += plain;
            } else {
                let Some(found) = memchr::memchr3(b'\r', b'\n', 0, &input[done..]) else {
                    self.position = Position::Line;
                    return Step::Append(input);
                };
                let at = done + found;
                if input[at] != b'\r' || input.get(at + 1) != Some(&b'\n') {
                    return self.special(input, done, at);
                }
                done = at + 2;
            }
            let ends_line = input[done - 1] == b'\n';
            self.position = if ends_line { Position::LineStart(LineEnd::CrLf) } else { Position::Line };
            match input.get(done) {
                None => return Step::Append(input),
                Some(b'.') if ends_line && self.framing == Framing::Dots => return Step::Append(&input[..done]),
                Some(_) => {}
            }
        }
    }

    /// A byte at `at` that is no part of a whole CRLF; what stands before `done` was passed.
    fn special<'a>(&mut self, input: &'a [u8], done: usize, at: usize) -> Step<'a> {
        if at > 0 {
            // What stands before it first; then it will be met at the front.
            if at > done {
                self.position = Position::Line;
            }
            return Step::Append(&input[..at]);
        }
        match (input[at], self.rule) {
            (b'\r', _) => {
                self.position = Position::Cr;
                Step::Replace { consumed: 1, with: b"" }
            }
            (b'\n', LineRule::Normalize) => {
                self.position = Position::LineStart(LineEnd::Lf);
                Step::Replace { consumed: 1, with: CRLF }
            }
            (b'\n', _) => {
                self.position = Position::Line;
                Step::Fault { consumed: 1, fault: ContentFault::BareNewline }
            }
            _ => {
                self.position = Position::Line;
                Step::Fault { consumed: 1, fault: ContentFault::Nul }
            }
        }
    }
}

/// Looks at the header of a message as its content passes: counts the `Received:` fields (RFC 5321 §6.3), and finds
/// `TLS-Required: No` (RFC 8689 §3).
#[derive(Clone, Copy, Debug, Default)]
pub struct HeaderScanner {
    place: HeaderPlace,
    hops: usize,
    /// `TLS-Required:` fields.
    tls_fields: usize,
    /// One of them says "No".
    says_no: bool,
}

#[derive(Clone, Copy, Debug, Default)]
enum HeaderPlace {
    /// First in a line.
    #[default]
    LineStart,
    /// In a line whose first bytes are the first so many of this field's name.
    Name(Field, usize),
    /// In a line that says what TLS is required, of which the first so many bytes of "No" have come.
    Value(usize),
    /// In the rest of a line.
    Rest,
    /// The empty line was passed.
    Body,
}

#[derive(Clone, Copy, Debug)]
enum Field {
    Received,
    TlsRequired,
}

impl Field {
    /// In lower case, with its colon.
    fn name(self) -> &'static [u8] {
        match self {
            Field::Received => b"received:",
            Field::TlsRequired => b"tls-required:",
        }
    }
}

/// All that the field may say.
const NO: &[u8] = b"no";

impl HeaderScanner {
    /// Passes content, dots taken off.
    pub fn feed(&mut self, content: &[u8]) {
        let mut rest = content;
        loop {
            if let HeaderPlace::Rest = self.place {
                let Some(at) = memchr::memchr(b'\n', rest) else { return };
                rest = &rest[at + 1..];
                self.place = HeaderPlace::LineStart;
            }
            let Some((&byte, after)) = rest.split_first() else { return };
            // A byte that does not fit is looked at again: it may be the end of the line.
            (self.place, rest) = match (self.place, byte.to_ascii_lowercase()) {
                (HeaderPlace::Body, _) => return,
                (HeaderPlace::LineStart, b'\r' | b'\n') => (HeaderPlace::Body, after),
                (HeaderPlace::LineStart, b'r') => (HeaderPlace::Name(Field::Received, 1), after),
                (HeaderPlace::LineStart, b't') => (HeaderPlace::Name(Field::TlsRequired, 1), after),
                (HeaderPlace::Name(field, matched), byte) if byte == field.name()[matched] => {
                    (self.after_name(field, matched + 1), after)
                }
                (HeaderPlace::Value(matched @ (0 | 2)), b' ' | b'\t') => (HeaderPlace::Value(matched), after),
                (HeaderPlace::Value(matched), b'\r') => (HeaderPlace::Value(matched), after),
                (HeaderPlace::Value(matched), b'\n') => {
                    self.says_no |= matched == NO.len();
                    (HeaderPlace::LineStart, after)
                }
                (HeaderPlace::Value(matched), byte) if NO.get(matched) == Some(&byte) => {
                    (HeaderPlace::Value(matched + 1), after)
                }
                _ => (HeaderPlace::Rest, rest),
            };
        }
    }

    /// Where it is when so many bytes of a name have come.
    fn after_name(&mut self, field: Field, matched: usize) -> HeaderPlace {
        if matched < field.name().len() {
            return HeaderPlace::Name(field, matched);
        }
        match field {
            Field::Received => {
                self.hops += 1;
                HeaderPlace::Rest
            }
            Field::TlsRequired => {
                self.tls_fields += 1;
                HeaderPlace::Value(0)
            }
        }
    }

    /// How many `Received:` fields were found so far.
    pub fn hops(&self) -> usize {
        self.hops
    }

    /// Whether the header says `TLS-Required: No`, and nothing else of it: the field may be there once (RFC 8689 §3).
    pub fn tls_optional(&self) -> bool {
        self.says_no && self.tls_fields == 1
    }
}
