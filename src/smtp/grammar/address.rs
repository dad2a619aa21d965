//! Paths and mailboxes (RFC 5321 §4.1.2, RFC 6531 §3.3).
//!
//! ```text
//! "<" [ "@" domain *( "," "@" domain ) ":" ] local-part "@" ( domain | address-literal ) ">"
//! ```

use super::SyntaxError;
use crate::limits::{DOMAIN_SIZE_MAX, LOCAL_PART_SIZE_MAX, PATH_SIZE_MAX};
use std::net::{Ipv4Addr, Ipv6Addr};

/// The longest label of a domain, octets (RFC 1035 §2.3.4).
const LABEL_SIZE_MAX: usize = 63;

/// What stood between the brackets, source route dropped, not looked at closer yet: whether UTF-8 is allowed
/// in it is known only after the parameters behind it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Path<'a> {
    text: &'a str,
}

impl<'a> Path<'a> {
    pub(super) fn text(self) -> &'a str {
        self.text
    }

    pub(super) fn is_null(self) -> bool {
        self.text.is_empty()
    }

    pub(super) fn is_postmaster(self) -> bool {
        self.text.eq_ignore_ascii_case("postmaster")
    }

    /// The mailbox, checked.
    pub(super) fn mailbox(self, smtputf8: bool) -> Result<&'a str, SyntaxError> {
        parse_mailbox(self.text, smtputf8)?;
        Ok(self.text)
    }
}

/// Takes a path off the front of `text`; the rest is empty or begins with a space.
pub(super) fn parse_path(text: &str) -> Result<(Path<'_>, &str), SyntaxError> {
    let bytes = text.as_bytes();
    if bytes.first() != Some(&b'<') {
        return Err(SyntaxError::Address);
    }
    let mut at = 1;
    // RFC 5321 §4.1.2: a source route must be accepted and should be ignored.
    if bytes.get(at) == Some(&b'@') {
        let colon = text[at..].find(':').ok_or(SyntaxError::Address)? + at;
        for hop in text[at..colon].split(',') {
            let domain = hop.strip_prefix('@').ok_or(SyntaxError::Address)?;
            if !is_domain(domain, true) && !is_address_literal(domain) {
                return Err(SyntaxError::Address);
            }
        }
        at = colon + 1;
    }
    let start = at;
    let mut quoted = false;
    let end = loop {
        match bytes.get(at) {
            None => return Err(SyntaxError::Address),
            Some(b'"') => quoted = !quoted,
            Some(b'\\') if quoted => at += 1,
            Some(b'>') if !quoted => break at,
            Some(_) => {}
        }
        at += 1;
    };
    if end + 1 > PATH_SIZE_MAX {
        return Err(SyntaxError::AddressTooLong);
    }
    // A route leads to a mailbox, never to the null path.
    if start > 1 && start == end {
        return Err(SyntaxError::Address);
    }
    let rest = &text[end + 1..];
    if !rest.is_empty() && !rest.starts_with([' ', '\t']) {
        return Err(SyntaxError::Address);
    }
    Ok((Path { text: &text[start..end] }, rest))
}

/// Checks a mailbox and splits it into its local part and its domain or address literal.
pub fn parse_mailbox(text: &str, smtputf8: bool) -> Result<(&str, &str), SyntaxError> {
    if !smtputf8 && !text.is_ascii() {
        return Err(SyntaxError::NeedsSmtpUtf8);
    }
    if !is_one_line(text) {
        return Err(SyntaxError::Address);
    }
    let local_size = if text.starts_with('"') { quoted_size(text) } else { dot_string_size(text) };
    let (local, rest) = text.split_at(local_size.ok_or(SyntaxError::Address)?);
    let domain = rest.strip_prefix('@').ok_or(SyntaxError::Address)?;
    if local.len() > LOCAL_PART_SIZE_MAX || domain.len() > DOMAIN_SIZE_MAX {
        return Err(SyntaxError::AddressTooLong);
    }
    if is_domain(domain, smtputf8) || is_address_literal(domain) {
        Ok((local, domain))
    } else {
        Err(SyntaxError::Address)
    }
}

/// Whether nothing in it ends a line or commands a terminal: no control character, those of Unicode (C1) and its line and
/// paragraph separators included, which RFC 5198 §2 and §5.2 keep out of text on the network. An address is written into
/// headers, log lines and terminals for days to come.
fn is_one_line(text: &str) -> bool {
    if text.is_ascii() {
        return text.bytes().fold(true, |plain, byte| plain & !byte.is_ascii_control());
    }
    !text.chars().any(ends_line)
}

/// Whether something could take this for the end of a line, or for a command.
pub fn ends_line(character: char) -> bool {
    character.is_control() || matches!(character, '\u{2028}' | '\u{2029}')
}

/// The size of the `Quoted-string` that `text` begins with.
fn quoted_size(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let mut at = 1;
    loop {
        match *bytes.get(at)? {
            b'"' => return Some(at + 1),
            b'\\' => match *bytes.get(at + 1)? {
                32..=126 => at += 2,
                _ => return None,
            },
            32..=126 | 128.. => at += 1,
            _ => return None,
        }
    }
}

/// The size of the `Dot-string` that `text` begins with, which ends at an `@`.
fn dot_string_size(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let size = bytes.iter().position(|byte| *byte == b'@')?;
    let atoms_are_whole = bytes[..size]
        .split(|byte| *byte == b'.')
        .all(|atom| !atom.is_empty() && atom.iter().all(|byte| is_atext(*byte)));
    atoms_are_whole.then_some(size)
}

/// `atext` (RFC 5322 §3.2.3), with UTF8-non-ascii (RFC 6531 §3.3).
fn is_atext(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte >= 128 || b"!#$%&'*+-/=?^_`{|}~".contains(&byte)
}

/// Whether `text` is a `Domain`: labels of letters, digits and inner hyphens, or U-labels where `utf8` is set.
pub fn is_domain(text: &str, utf8: bool) -> bool {
    let is_let_dig = |byte: u8| byte.is_ascii_alphanumeric() || (utf8 && byte >= 128);
    let is_label = |label: &[u8]| match (label.first(), label.last()) {
        (Some(&first), Some(&last)) => {
            label.len() <= LABEL_SIZE_MAX
                && is_let_dig(first)
                && is_let_dig(last)
                && label.iter().all(|byte| is_let_dig(*byte) || *byte == b'-')
        }
        _ => false,
    };
    text.len() <= DOMAIN_SIZE_MAX && text.as_bytes().split(|byte| *byte == b'.').all(is_label)
}

/// Whether `text` is an address literal in its square brackets (RFC 5321 §4.1.3).
fn is_address_literal(text: &str) -> bool {
    let Some(inner) = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) else {
        return false;
    };
    if inner.parse::<Ipv4Addr>().is_ok() {
        return true;
    }
    let Some((tag, content)) = inner.split_once(':') else {
        return false;
    };
    if tag.eq_ignore_ascii_case("IPv6") {
        return content.parse::<Ipv6Addr>().is_ok();
    }
    // General-address-literal. An "@" would be allowed in its content, but no such literal is registered, and
    // everything that looks for an address's domain looks for the last "@".
    let is_dcontent = |byte: u8| matches!(byte, 33..=90 | 94..=126) && byte != b'@';
    is_domain(tag, false) && !tag.contains('.') && !content.is_empty() && content.bytes().all(is_dcontent)
}

/// Whether `text` will do as the name in EHLO or HELO. Lenient, as RFC 5321 §4.1.4 asks: no name is refused for
/// not being the client's, underscores pass, but nothing passes that could break out of a Received header.
pub fn is_ehlo_name(text: &str) -> bool {
    if text.is_empty() || text.len() > DOMAIN_SIZE_MAX {
        return false;
    }
    if text.starts_with('[') {
        return is_address_literal(text);
    }
    text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b':'))
}
