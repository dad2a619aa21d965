//! The parameters of MAIL and RCPT: SIZE (RFC 1870), BODY (RFC 6152, RFC 3030), SMTPUTF8 (RFC 6531), REQUIRETLS (RFC 8689), MT-PRIORITY
//! (RFC 6710), RET, ENVID, NOTIFY and ORCPT (RFC 3461).

use super::{SyntaxError, ends_line, number, unitext};
use crate::limits::{ENVELOPE_ID_SIZE_MAX, ORIGINAL_RECIPIENT_SIZE_MAX, PARAMETERS_MAX};
use crate::smtp::{BodyType, Notify, Priority, Return};

/// What the client was offered, and so may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offer {
    /// It said EHLO. After HELO there are no parameters at all (RFC 5321 §2.2.1).
    pub extended: bool,
    /// `BODY=BINARYMIME`.
    pub binarymime: bool,
    /// `REQUIRETLS`.
    pub require_tls: bool,
    /// `MT-PRIORITY`.
    pub priority: bool,
}

/// What MAIL asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MailParameters<'a> {
    /// `SIZE`, bytes.
    pub size: Option<u64>,
    /// `BODY`
    pub body: Option<BodyType>,
    /// `SMTPUTF8`
    pub smtputf8: bool,
    /// `REQUIRETLS`
    pub require_tls: bool,
    /// `MT-PRIORITY`
    pub priority: Option<Priority>,
    /// `RET`
    pub ret: Option<Return>,
    /// `ENVID`, as xtext.
    pub envelope_id: Option<&'a str>,
}

/// What RCPT asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RecipientParameters<'a> {
    /// `NOTIFY`
    pub notify: Option<Notify>,
    /// `ORCPT`, as received.
    pub original: Option<&'a str>,
}

impl<'a> MailParameters<'a> {
    pub(super) fn parse(text: &'a str, offer: &Offer) -> Result<MailParameters<'a>, SyntaxError> {
        let mut found = MailParameters::default();
        for parameter in split(text) {
            let (name, value) = parameter?;
            if !offer.extended {
                return Err(SyntaxError::UnknownParameter);
            }
            if name.eq_ignore_ascii_case("SIZE") {
                once(&mut found.size, value.and_then(number))?;
            } else if name.eq_ignore_ascii_case("BODY") {
                once(&mut found.body, Some(body(value, offer)?))?;
            } else if name.eq_ignore_ascii_case("SMTPUTF8") {
                // RFC 6531 §3.4: the parameter has no value.
                if value.is_some() || found.smtputf8 {
                    return Err(SyntaxError::BadParameter);
                }
                found.smtputf8 = true;
            } else if name.eq_ignore_ascii_case("REQUIRETLS") && offer.require_tls {
                // RFC 8689 §2: the parameter has no value.
                if value.is_some() || found.require_tls {
                    return Err(SyntaxError::BadParameter);
                }
                found.require_tls = true;
            } else if name.eq_ignore_ascii_case("MT-PRIORITY") && offer.priority {
                once(&mut found.priority, value.and_then(Priority::parse))?;
            } else if name.eq_ignore_ascii_case("RET") {
                once(&mut found.ret, value.and_then(ret))?;
            } else if name.eq_ignore_ascii_case("ENVID") {
                once(&mut found.envelope_id, value.filter(|id| is_envelope_id(id)))?;
            } else {
                return Err(SyntaxError::UnknownParameter);
            }
        }
        Ok(found)
    }
}

impl<'a> RecipientParameters<'a> {
    pub(super) fn parse(text: &'a str, offer: &Offer, smtputf8: bool) -> Result<RecipientParameters<'a>, SyntaxError> {
        let mut found = RecipientParameters::default();
        for parameter in split(text) {
            let (name, value) = parameter?;
            if !offer.extended {
                return Err(SyntaxError::UnknownParameter);
            }
            if name.eq_ignore_ascii_case("NOTIFY") {
                once(&mut found.notify, value.and_then(notify))?;
            } else if name.eq_ignore_ascii_case("ORCPT") {
                once(&mut found.original, value.filter(|original| is_original(original, smtputf8)))?;
            } else {
                return Err(SyntaxError::UnknownParameter);
            }
        }
        Ok(found)
    }
}

/// Sets `place`, once, to a value that was understood.
fn once<T>(place: &mut Option<T>, value: Option<T>) -> Result<(), SyntaxError> {
    if place.is_some() || value.is_none() {
        return Err(SyntaxError::BadParameter);
    }
    *place = value;
    Ok(())
}

/// `keyword [ "=" value ]`, separated by spaces (RFC 5321 §4.1.2).
fn split(text: &str) -> impl Iterator<Item = Result<(&str, Option<&str>), SyntaxError>> {
    text.split_ascii_whitespace().enumerate().map(|(index, parameter)| {
        if index == PARAMETERS_MAX {
            return Err(SyntaxError::BadParameter);
        }
        let (name, value) = match parameter.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (parameter, None),
        };
        let is_keyword = name.starts_with(|first: char| first.is_ascii_alphanumeric())
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        if is_keyword { Ok((name, value)) } else { Err(SyntaxError::BadParameter) }
    })
}

fn body(value: Option<&str>, offer: &Offer) -> Result<BodyType, SyntaxError> {
    match value {
        Some(value) if value.eq_ignore_ascii_case("7BIT") => Ok(BodyType::SevenBit),
        Some(value) if value.eq_ignore_ascii_case("8BITMIME") => Ok(BodyType::EightBitMime),
        Some(value) if value.eq_ignore_ascii_case("BINARYMIME") => {
            if offer.binarymime {
                Ok(BodyType::BinaryMime)
            } else {
                Err(SyntaxError::UnknownParameter)
            }
        }
        _ => Err(SyntaxError::BadParameter),
    }
}

fn ret(value: &str) -> Option<Return> {
    if value.eq_ignore_ascii_case("FULL") {
        Some(Return::Full)
    } else if value.eq_ignore_ascii_case("HDRS") {
        Some(Return::Headers)
    } else {
        None
    }
}

/// `NEVER`, or a list of the others, each once (RFC 3461 §4.1).
fn notify(value: &str) -> Option<Notify> {
    let mut found = Notify::default();
    if value.eq_ignore_ascii_case("NEVER") {
        return Some(found);
    }
    for word in value.split(',') {
        let flag = if word.eq_ignore_ascii_case("SUCCESS") {
            &mut found.success
        } else if word.eq_ignore_ascii_case("FAILURE") {
            &mut found.failure
        } else if word.eq_ignore_ascii_case("DELAY") {
            &mut found.delay
        } else {
            return None;
        };
        if std::mem::replace(flag, true) {
            return None;
        }
    }
    Some(found)
}

fn is_envelope_id(value: &str) -> bool {
    // RFC 3461 §4.4: what the xtext encodes is printable US-ASCII.
    (1..=ENVELOPE_ID_SIZE_MAX).contains(&value.len()) && is_xtext(value, |byte| matches!(byte, 32..=126))
}

/// `atom ";" xtext` (RFC 3461 §4.2); for the type `utf-8` the forms of RFC 6533 §3, raw UTF-8 only if SMTPUTF8 was
/// asked for. What it says becomes a header field of a notice, here or behind us: a control character has no place in
/// it, encoded or not.
fn is_original(value: &str, smtputf8: bool) -> bool {
    if value.len() > ORIGINAL_RECIPIENT_SIZE_MAX {
        return false;
    }
    let Some((kind, address)) = value.split_once(';') else {
        return false;
    };
    let is_kind = !kind.is_empty() && kind.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    let is_address = if kind.eq_ignore_ascii_case("utf-8") {
        !address.is_empty()
            && (smtputf8 || address.is_ascii())
            && unitext::characters(address).all(|character| character.is_some_and(|character| !ends_line(character)))
    } else {
        !address.is_empty() && is_xtext(address, |byte| !byte.is_ascii_control())
    };
    is_kind && is_address
}

/// `xtext` (RFC 3461 §4): graphic ASCII without "+" and "=", which stand as "+" and two upper-case hex digits.
fn is_xtext(text: &str, decoded_may_be: impl Fn(u8) -> bool) -> bool {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    };
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        let decoded = match byte {
            b'+' => match (bytes.next().and_then(digit), bytes.next().and_then(digit)) {
                (Some(high), Some(low)) => high << 4 | low,
                _ => return false,
            },
            b'=' => return false,
            33..=126 => byte,
            _ => return false,
        };
        if !decoded_may_be(decoded) {
            return false;
        }
    }
    true
}
