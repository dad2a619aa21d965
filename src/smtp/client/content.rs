//! Content on its way to the wire: dot-stuffing for DATA (RFC 5321 §4.5.2), chunks for BDAT (RFC 3030).
//!
//! In: spool bytes, in pieces of any size. Out: the same bytes, straight into the flow, with what the framing
//! adds between them. Nothing is copied and nothing is kept but a place.
//!
//! Invariant of DATA content: every CR is followed by LF and every LF preceded by CR. The server session lets
//! nothing else into the spool, except BINARYMIME, which leaves by BDAT only. A bare LF here would make
//! `LF . CR LF` mean one thing to us and another to a server that takes it for a line end: smuggling.

/// Where in a line the next byte stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Place {
    /// After CRLF, or at the very start: a dot here must be doubled.
    #[default]
    LineStart,
    /// At the start of a line, the added dot already sent.
    Stuffed,
    /// After a CR.
    AfterCr,
    /// Anywhere else.
    Within,
}

/// Doubles dots at line starts.
#[derive(Debug, Default)]
pub(super) struct Stuffing {
    place: Place,
    /// So many of the next bytes are known to need no dot between them. It saves scanning a block again each time that
    /// the flow takes a part of it.
    clean_size: usize,
}

impl Stuffing {
    /// Sends as much of `bytes` as the flow takes; returns how many of them were taken. Less than all only if `send`
    /// took less than it was given, and what was not taken must come first in the next call.
    pub(super) fn write(&mut self, bytes: &[u8], send: &mut dyn FnMut(&[u8]) -> usize) -> usize {
        let mut taken = 0;
        while taken < bytes.len() {
            let rest = &bytes[taken..];
            if self.place == Place::LineStart && rest[0] == b'.' {
                if send(b".") == 0 {
                    break;
                }
                self.place = Place::Stuffed;
            }
            let run_size = match self.clean_size {
                0 => self.run_size(rest),
                known => known.min(rest.len()),
            };
            let sent = send(&rest[..run_size]).min(run_size);
            self.advance(&rest[..sent]);
            self.clean_size = self.clean_size.max(run_size) - sent;
            taken += sent;
            if sent < run_size {
                break;
            }
        }
        taken
    }

    /// How many bytes can go before a dot must be added: up to the next CRLF that a dot follows, or all.
    fn run_size(&self, rest: &[u8]) -> usize {
        if self.place == Place::AfterCr && rest.starts_with(b"\n.") {
            return 1;
        }
        memchr::memmem::find(rest, b"\r\n.").map_or(rest.len(), |position| position + 2)
    }

    fn advance(&mut self, sent: &[u8]) {
        self.place = match sent {
            [] => self.place,
            [.., b'\r', b'\n'] => Place::LineStart,
            [b'\n'] if self.place == Place::AfterCr => Place::LineStart,
            [.., b'\r'] => Place::AfterCr,
            _ => Place::Within,
        };
    }

    /// What ends the content: a CRLF if its last line has none, and the dot.
    pub(super) fn end(&self) -> &'static [u8] {
        if self.place == Place::LineStart { b".\r\n" } else { b"\r\n.\r\n" }
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
    /// All content is sent, but not in a chunk called the last: an empty one has to follow.
    pub(super) ending: bool,
}

/// Whether content keeps the invariant above, as far as one piece shows.
pub(super) fn has_only_crlf(bytes: &[u8]) -> bool {
    memchr::memchr_iter(b'\n', bytes).all(|place| place == 0 || bytes[place - 1] == b'\r')
}
