//! Commands with their parameters.
//!
//! In: a transaction and what the server offers. Out: command lines, appended to a buffer. What comes from an
//! envelope is looked at once more here: no byte of it may end a line.

use super::{Extensions, Transaction};
use crate::limits::{CLIENT_PARAMETER_SIZE_MAX, COMMAND_LINE_SIZE_MAX};
use crate::smtp::grammar::unitext;
use crate::smtp::{BodyType, Notify, Return};
use std::borrow::Cow;
use std::io::Write;

/// The longest command that is ever written, bytes: an address, and the parameters around it.
pub(super) const COMMAND_SIZE_MAX: usize = COMMAND_LINE_SIZE_MAX + CLIENT_PARAMETER_SIZE_MAX + 256;

/// Whether an address can stand between brackets without ending the command. Its syntax was checked when it came in;
/// this is the last line of defence.
pub(super) fn is_usable(address: &str) -> bool {
    address.len() <= COMMAND_LINE_SIZE_MAX && !address.bytes().any(|byte| byte < b' ' || byte == 0x7f)
}

/// Whether a parameter's value is one word: of printable ASCII (xtext, RFC 3461 §4), or of letters beyond that, too.
fn is_word(value: &str) -> bool {
    value.len() <= CLIENT_PARAMETER_SIZE_MAX && value.bytes().all(|byte| byte.is_ascii_graphic() || !byte.is_ascii())
}

/// Appends formatted text. Writing to a vector cannot fail.
macro_rules! append {
    ($out:expr, $($argument:tt)*) => {
        write!($out, $($argument)*).expect("a vector takes every byte")
    };
}

/// `MAIL FROM:<…>` with the parameters that are needed and offered.
pub(super) fn mail(out: &mut Vec<u8>, transaction: &Transaction, offered: &Extensions) {
    out.extend_from_slice(b"MAIL FROM:<");
    out.extend_from_slice(transaction.reverse_path.as_bytes());
    out.push(b'>');
    if offered.size.is_some() && transaction.size > 0 {
        append!(out, " SIZE={}", transaction.size);
    }
    if transaction.body == BodyType::BinaryMime {
        append!(out, " BODY=BINARYMIME");
    } else if offered.eight_bit_mime && (transaction.body == BodyType::EightBitMime || transaction.eight_bit) {
        append!(out, " BODY=8BITMIME");
    }
    if offered.smtputf8 && transaction.needs_smtputf8() {
        append!(out, " SMTPUTF8");
    }
    if offered.requiretls && transaction.require_tls {
        append!(out, " REQUIRETLS");
    }
    // RFC 6710: what is not said is 0, or what the server thinks best.
    if offered.mt_priority && !transaction.priority.is_normal() {
        append!(out, " MT-PRIORITY={}", transaction.priority);
    }
    if offered.dsn {
        match transaction.ret {
            Some(Return::Full) => append!(out, " RET=FULL"),
            Some(Return::Headers) => append!(out, " RET=HDRS"),
            None => {}
        }
        if let Some(id) = transaction.envelope_id.as_deref().filter(|id| id.is_ascii() && is_word(id)) {
            append!(out, " ENVID={id}");
        }
    }
    out.extend_from_slice(b"\r\n");
}

/// `RCPT TO:<…>` to this recipient of the transaction, with the parameters that are offered.
pub(super) fn rcpt(out: &mut Vec<u8>, transaction: &Transaction, recipient: usize, offered: &Extensions) {
    let recipient = &transaction.recipients[recipient];
    out.extend_from_slice(b"RCPT TO:<");
    out.extend_from_slice(recipient.address.as_bytes());
    out.push(b'>');
    if offered.dsn {
        if let Some(notify) = recipient.notify {
            append!(out, " NOTIFY={}", notify_value(notify));
        }
        if let Some(original) = &recipient.original {
            // RFC 6533 §3: letters beyond ASCII stand for themselves where MAIL has said SMTPUTF8, and nowhere else.
            let is_plain = original.is_ascii() || (offered.smtputf8 && transaction.needs_smtputf8());
            let original = if is_plain { Cow::Borrowed(&**original) } else { unitext::to_ascii(original).into() };
            if is_word(&original) {
                append!(out, " ORCPT={original}");
            }
        }
    }
    out.extend_from_slice(b"\r\n");
}

/// RFC 3461 §4.1.
fn notify_value(notify: Notify) -> &'static str {
    match (notify.success, notify.failure, notify.delay) {
        (false, false, false) => "NEVER",
        (true, false, false) => "SUCCESS",
        (false, true, false) => "FAILURE",
        (false, false, true) => "DELAY",
        (true, true, false) => "SUCCESS,FAILURE",
        (true, false, true) => "SUCCESS,DELAY",
        (false, true, true) => "FAILURE,DELAY",
        (true, true, true) => "SUCCESS,FAILURE,DELAY",
    }
}

/// `BDAT`, RFC 3030 §2.
pub(super) fn bdat(out: &mut Vec<u8>, size: usize, last: bool) {
    append!(out, "BDAT {size}{}\r\n", if last { " LAST" } else { "" });
}

/// `EHLO`, `HELO` or `LHLO`.
pub(super) fn hello(out: &mut Vec<u8>, verb: &str, name: &str) {
    append!(out, "{verb} {name}\r\n");
}

impl Transaction {
    /// Whether a server without SMTPUTF8 cannot be given this (RFC 6531 §3.2).
    pub(super) fn needs_smtputf8(&self) -> bool {
        self.smtputf8
            || !self.reverse_path.is_ascii()
            || self.recipients.iter().any(|recipient| !recipient.address.is_ascii())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::smtp::client::TransactionRecipient;

    #[test]
    fn an_international_original_recipient_goes_on_in_the_form_that_the_server_takes() {
        let said = |original: &str, smtputf8: bool, offered: &Extensions| {
            let recipient = TransactionRecipient {
                address: "b@x.example".into(),
                original: Some(original.into()),
                ..TransactionRecipient::default()
            };
            let transaction = Transaction { recipients: vec![recipient], smtputf8, ..Transaction::default() };
            let mut out = Vec::new();
            rcpt(&mut out, &transaction, 0, offered);
            String::from_utf8(out).expect("UTF-8")
        };
        let both = Extensions { dsn: true, smtputf8: true, ..Extensions::default() };
        let dsn = Extensions { smtputf8: false, ..both };
        let unitext = "RCPT TO:<b@x.example> ORCPT=utf-8;bøb@x.example\r\n";
        let xtext = "RCPT TO:<b@x.example> ORCPT=utf-8;b\\x{F8}b@x.example\r\n";
        assert_eq!(said("utf-8;bøb@x.example", true, &both), unitext);
        assert_eq!(said("utf-8;bøb@x.example", false, &both), xtext);
        assert_eq!(said("utf-8;bøb@x.example", true, &dsn), xtext);
        for offered in [&both, &dsn] {
            assert_eq!(said("utf-8;b\\x{F8}b@x.example", false, offered), xtext);
        }
        let nothing = Extensions { dsn: false, ..both };
        assert_eq!(said("utf-8;bøb@x.example", true, &nothing), "RCPT TO:<b@x.example>\r\n");
        // What is no word, or too long for a command, is left out, never cut.
        assert_eq!(said("utf-8;b b@x.example", true, &both), "RCPT TO:<b@x.example>\r\n");
        let long = format!("utf-8;{}", "ø".repeat(200));
        assert_eq!(said(&long, false, &both), "RCPT TO:<b@x.example>\r\n");
    }
}
