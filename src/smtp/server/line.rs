//! Cuts command lines off the front of the receive ring.
//!
//! In: the front of the ring. Out: one line without its end, borrowed from the ring, or from a buffer of at most
//! [`COMMAND_LINE_SIZE_MAX`] bytes where the ring wraps in its middle. A longer line is skipped in bounded memory.

use super::BareNewline;
use crate::limits::COMMAND_LINE_SIZE_MAX;

/// What is known of a line whose end has not come yet.
#[derive(Debug, Default)]
pub(super) struct LineCutter {
    /// Its bytes, if some were consumed; empty and without memory otherwise.
    carried: Vec<u8>,
    /// Bytes that were consumed and dropped because the line is too long.
    dropped: bool,
}

/// What the front of the ring holds.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Cut<'a> {
    /// A line, and how many bytes to consume for it.
    Line { consumed: usize, line: Line<'a> },
    /// No end of a line. So many bytes were taken over and are to be consumed.
    Partial { consumed: usize },
    /// A lone LF, which ends no line, and is not tolerated.
    BareNewline { consumed: usize },
    /// A line that was too long, now skipped.
    TooLong { consumed: usize },
}

/// A line's bytes, without its end.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line<'a> {
    InPlace(&'a [u8]),
    Carried(Vec<u8>),
}

impl Line<'_> {
    pub(super) fn bytes(&self) -> &[u8] {
        match self {
            Line::InPlace(bytes) => bytes,
            Line::Carried(bytes) => bytes,
        }
    }
}

impl LineCutter {
    /// Cuts one line. `take_over` says that an unfinished line cannot stay in the ring.
    pub(super) fn cut<'a>(&mut self, bytes: &'a [u8], rule: BareNewline, take_over: bool) -> Cut<'a> {
        let Some(at) = memchr::memchr(b'\n', bytes) else {
            return self.partial(bytes, take_over);
        };
        let consumed = at + 1;
        let before = if at > 0 { bytes.get(at - 1) } else { self.carried.last() };
        let crlf = before == Some(&b'\r');
        if !crlf && rule == BareNewline::Reject {
            *self = LineCutter::default();
            return Cut::BareNewline { consumed };
        }
        let carried = std::mem::take(&mut self.carried);
        let dropped = std::mem::take(&mut self.dropped);
        if dropped || carried.len() + consumed > COMMAND_LINE_SIZE_MAX {
            return Cut::TooLong { consumed };
        }
        let line = if carried.is_empty() {
            Line::InPlace(&bytes[..at - usize::from(crlf)])
        } else {
            let mut line = carried;
            line.extend_from_slice(&bytes[..at]);
            if crlf {
                line.pop();
            }
            Line::Carried(line)
        };
        Cut::Line { consumed, line }
    }

    fn partial<'a>(&mut self, bytes: &'a [u8], take_over: bool) -> Cut<'a> {
        if bytes.is_empty() {
            return Cut::Partial { consumed: 0 };
        }
        if self.dropped || self.carried.len() + bytes.len() > COMMAND_LINE_SIZE_MAX {
            self.dropped = true;
            self.carried.clear();
            // The last byte is kept: it may be the CR of the line's end.
            self.carried.extend(bytes.last());
            return Cut::Partial { consumed: bytes.len() };
        }
        if !take_over {
            return Cut::Partial { consumed: 0 };
        }
        self.carried.extend_from_slice(bytes);
        Cut::Partial { consumed: bytes.len() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_borrowed_where_it_lies_in_one_piece() {
        let mut cutter = LineCutter::default();
        let cut = cutter.cut(b"NOOP\r\nQUIT\r\n", BareNewline::Reject, false);
        assert_eq!(cut, Cut::Line { consumed: 6, line: Line::InPlace(b"NOOP") });
        assert_eq!(cutter.cut(b"QUI", BareNewline::Reject, false), Cut::Partial { consumed: 0 });
    }

    #[test]
    fn a_line_is_carried_over_where_the_ring_wraps() {
        let mut cutter = LineCutter::default();
        assert_eq!(cutter.cut(b"NOOP\r", BareNewline::Reject, true), Cut::Partial { consumed: 5 });
        let cut = cutter.cut(b"\nQUIT", BareNewline::Reject, true);
        assert_eq!(cut, Cut::Line { consumed: 1, line: Line::Carried(b"NOOP".to_vec()) });
    }

    #[test]
    fn a_lone_lf_ends_no_line() {
        let mut cutter = LineCutter::default();
        assert_eq!(cutter.cut(b"A\nB\r\n", BareNewline::Reject, true), Cut::BareNewline { consumed: 2 });
        let cut = cutter.cut(b"A\nB\r\n", BareNewline::Normalize, true);
        assert_eq!(cut, Cut::Line { consumed: 2, line: Line::InPlace(b"A") }, "unless the network is allowed it");
    }

    #[test]
    fn an_endless_line_takes_bounded_memory() {
        let mut cutter = LineCutter::default();
        for _ in 0..100 {
            cutter.cut(&[b'x'; 1000], BareNewline::Reject, true);
            assert!(cutter.carried.len() <= COMMAND_LINE_SIZE_MAX);
        }
        cutter.cut(b"x\r", BareNewline::Reject, true);
        cutter.cut(b"", BareNewline::Reject, true);
        assert_eq!(cutter.cut(b"\nNOOP\r\n", BareNewline::Reject, true), Cut::TooLong { consumed: 1 });
        assert!(matches!(cutter.cut(b"NOOP\r\n", BareNewline::Reject, true), Cut::Line { .. }));
    }
}
