//! Lines of a notice.
//!
//! In: words from anywhere. Out: lines that end where we end them, none longer than a mail may have.

use crate::limits::{DSN_LINE_SIZE, DSN_WORD_SIZE_MAX};
use crate::smtp::grammar::ends_line;
use std::borrow::Cow;

/// Appends lines to a notice.
pub(super) struct Writer<'a> {
    out: &'a mut Vec<u8>,
    /// Letters beyond ASCII may stand as they are.
    utf8: bool,
}

impl<'a> Writer<'a> {
    pub(super) fn new(out: &'a mut Vec<u8>, utf8: bool) -> Writer<'a> {
        Writer { out, utf8 }
    }

    /// A line of our own words.
    pub(super) fn line(&mut self, text: &str) {
        self.out.extend_from_slice(text.as_bytes());
        self.out.extend_from_slice(b"\r\n");
    }

    /// `Name: value`, folded where it is long (RFC 5322 §2.2.3).
    pub(super) fn field(&mut self, name: &str, value: &str) {
        self.words(&format!("{name}:"), value, " ");
    }

    /// Words in lines that begin with `indent`.
    pub(super) fn paragraph(&mut self, indent: &str, text: &str) {
        self.words(indent, text, indent);
    }

    /// Fills lines with the words of `text`: the first after `start`, the others after `indent`.
    fn words(&mut self, start: &str, text: &str, indent: &str) {
        let text = clean(text, self.utf8);
        let mut line = String::from(start);
        // Runs of spaces are kept, as a quoted local part may hold them; a fold stands for one space.
        for (number, word) in text.trim_matches(' ').split(' ').flat_map(pieces).enumerate() {
            let separator = if number == 0 && start == indent { "" } else { " " };
            let is_long = line.len() + separator.len() + word.len() > DSN_LINE_SIZE;
            if number > 0 && is_long && !word.is_empty() {
                self.line(&line);
                line.clear();
                line.push_str(indent);
            } else {
                line.push_str(separator);
            }
            line.push_str(word);
        }
        self.line(&line);
    }
}

/// A word in pieces that fit into a line; an empty word, between two spaces, is one piece.
fn pieces(word: &str) -> impl Iterator<Item = &str> {
    let mut rest = Some(word);
    std::iter::from_fn(move || {
        let word = rest?;
        let (piece, behind) = word.split_at(word.floor_char_boundary(DSN_WORD_SIZE_MAX));
        rest = Some(behind).filter(|behind| !behind.is_empty());
        Some(piece)
    })
}

/// Replaces what could end a line or what the notice has no charset for.
pub(super) fn clean(text: &str, utf8: bool) -> String {
    let is_bad = |character: char| ends_line(character) || (!utf8 && !character.is_ascii());
    text.chars().map(|character| if is_bad(character) { '?' } else { character }).collect()
}

/// Decodes xtext (RFC 3461 §4); what is no valid `+XX` stays as it is.
pub(super) fn from_xtext(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, behind)) = rest.split_first() {
        let digit = |place: usize| char::from(*behind.get(place)?).to_digit(16);
        match (first, digit(0), digit(1)) {
            (b'+', Some(high), Some(low)) => {
                bytes.push((high * 16 + low) as u8);
                rest = &behind[2..];
            }
            _ => {
                bytes.push(*first);
                rest = behind;
            }
        }
    }
    match String::from_utf8_lossy(&bytes) {
        Cow::Borrowed(text) => text.into(),
        Cow::Owned(text) => text,
    }
}

/// Finds where the header of a message ends, however the message is cut.
#[derive(Clone, Copy, Debug, Default)]
pub struct HeaderCut {
    place: Place,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Place {
    /// At the start of a line: an empty one ends the header.
    #[default]
    LineStart,
    /// After a CR at the start of a line.
    EmptyLine,
    Within,
    AfterCr,
    /// The header is over.
    Body,
}

impl HeaderCut {
    /// How many bytes of this piece belong to the header; all that is taken together ends with the CRLF of the last
    /// header line or with the empty line.
    pub fn take(&mut self, piece: &[u8]) -> usize {
        for (offset, byte) in piece.iter().enumerate() {
            self.place = match (self.place, byte) {
                (Place::Body, _) => return offset,
                (Place::EmptyLine, b'\n') => Place::Body,
                (Place::LineStart, b'\r') => Place::EmptyLine,
                (Place::AfterCr, b'\n') => Place::LineStart,
                (_, b'\r') => Place::AfterCr,
                _ => Place::Within,
            };
        }
        piece.len()
    }

    /// Whether the header is over: nothing more will be taken.
    pub fn is_done(&self) -> bool {
        self.place == Place::Body
    }
}
