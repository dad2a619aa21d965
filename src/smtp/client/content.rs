//! Content on its way to the wire: dot-stuffing for DATA (RFC 5321 §4.5.2), chunks for BDAT (RFC 3030).
//!
//! In: spool bytes, in pieces of any size. Out: the same bytes, straight into the flow, with what the framing
//! adds between them. Nothing is copied and nothing is kept but a place.
//!
//! Invariant of DATA content: every CR is followed by LF and every LF preceded by CR. The server session lets nothing
//! else into the spool, except BINARYMIME, which leaves by BDAT only. A bare LF here would make `LF . CR LF` mean one
//! thing to us and another to a server that takes it for a line end: smuggling. Therefore nobody is trusted with it, and
//! no CR or LF leaves us alone whatever the spool holds.

use crate::smtp::lines::plain_size;

/// Where in a line the next byte stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Place {
    /// After CRLF, or at the very start: a dot here must be doubled.
    #[default]
    LineStart,
    /// At the start of a line, the added dot already sent.
    Stuffed,
    /// After a CR that was the last byte at hand. It is taken and not sent: that is done when its LF is seen.
    CrHeld,
    /// After a CR that is sent; its LF was seen, and is the next byte.
    CrSent,
    /// Anywhere else.
    Within,
}

/// The content has a CR or LF that stands alone. What was sent of it ends before that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LoneNewline;

/// Doubles dots at line starts.
#[derive(Debug, Default)]
pub(super) struct Stuffing {
    place: Place,
    /// So many of the next bytes are known to need nothing between them. It saves scanning a block again each time that
    /// the flow takes a part of it.
    clean_size: usize,
}

impl Stuffing {
    /// Sends as much of `bytes` as the flow takes; returns how many of them were taken. Less than all only if `send`
    /// took less than it was given, and what was not taken must come first in the next call.
    pub(super) fn write(&mut self, bytes: &[u8], send: &mut dyn FnMut(&[u8]) -> usize) -> Result<usize, LoneNewline> {
        let mut taken = 0;
        while taken < bytes.len() {
            let rest = &bytes[taken..];
            let (added, place): (&[u8], _) = match self.place {
                Place::LineStart if rest[0] == b'.' => (b".", Place::Stuffed),
                Place::CrHeld if rest[0] == b'\n' => (b"\r", Place::CrSent),
                Place::CrHeld => return Err(LoneNewline),
                place => (b"", place),
            };
            if !added.is_empty() && send(added) == 0 {
                break;
            }
            self.place = place;
            let run_size = match self.clean_size {
                0 => self.run_size(rest),
                known => known.min(rest.len()),
            };
            if run_size == 0 {
                if rest != b"\r" {
                    return Err(LoneNewline);
                }
                self.place = Place::CrHeld;
                return Ok(bytes.len());
            }
            let sent = send(&rest[..run_size]).min(run_size);
            self.advance(&rest[..sent]);
            self.clean_size = self.clean_size.max(run_size) - sent;
            taken += sent;
            if sent < run_size {
                break;
            }
        }
        Ok(taken)
    }

    /// How many bytes can go as they are: up to a CRLF that a dot follows, to a CR or LF whose other half is not at hand,
    /// or all.
    fn run_size(&self, rest: &[u8]) -> usize {
        let mut done = usize::from(self.place == Place::CrSent);
        loop {
            if rest[..done].ends_with(b"\n") && rest.get(done) == Some(&b'.') {
                return done;
            }
            let plain = plain_size(&rest[done..]);
            if plain > 0 {
                done += plain;
                continue;
            }
            let Some(found) = memchr::memchr2(b'\r', b'\n', &rest[done..]) else { return rest.len() };
            if !rest[done + found..].starts_with(b"\r\n") {
                return done + found;
            }
            done += found + 2;
        }
    }

    fn advance(&mut self, sent: &[u8]) {
        self.place = match sent {
            [] => self.place,
            [.., b'\r', b'\n'] => Place::LineStart,
            [b'\n'] if self.place == Place::CrSent => Place::LineStart,
            [.., b'\r'] => Place::CrSent,
            _ => Place::Within,
        };
    }

    /// What ends the content: a CRLF if its last line has none, and the dot.
    pub(super) fn end(&self) -> Result<&'static [u8], LoneNewline> {
        match self.place {
            Place::LineStart => Ok(b".\r\n"),
            Place::CrHeld => Err(LoneNewline),
            _ => Ok(b"\r\n.\r\n"),
        }
    }
}

/// How far a BDAT dialogue is.
#[derive(Debug, Default)]
pub(super) struct Chunks {
    /// Bytes that the chunk being sent still needs; 0 between chunks.
    pub(super) open_size: usize,
    /// The chunk being sent was announced as the last.
    pub(super) last: bool,
    /// Chunks sent whose answers are due.
    pub(super) unanswered_count: u32,
}
