//! Mailboxes: what is accepted can be written and read again, and carries nothing that ends a line.

use rohrpost::smtp::domain_of;
use rohrpost::smtp::grammar::{SyntaxError, is_domain, is_ehlo_name, parse_mailbox};

/// Whether a header, a command or a terminal could be led astray by it.
pub fn is_harmless(text: &str) -> bool {
    !text.chars().any(|character| character.is_control() || matches!(character, '\u{2028}' | '\u{2029}'))
}

pub fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let (plain, international) = (parse_mailbox(text, false), parse_mailbox(text, true));
    if plain.is_ok() {
        assert!(text.is_ascii(), "without SMTPUTF8 an address is ASCII");
        assert_eq!(plain, international, "SMTPUTF8 allows more and changes nothing");
    } else if text.is_ascii() {
        assert_eq!(plain, international, "SMTPUTF8 makes no difference to ASCII");
    } else {
        assert_eq!(plain, Err(SyntaxError::NeedsSmtpUtf8));
    }
    if let Ok((local, domain)) = international {
        assert!(is_harmless(text), "an address holds no control character: {text:?}");
        assert_eq!(format!("{local}@{domain}"), text, "nothing is lost");
        assert_eq!(domain_of(text), domain, "the domain stands behind the last @");
        assert!(local.len() <= 64 && domain.len() <= 255, "RFC 5321 §4.5.3.1");
        assert!(is_domain(domain, true) || domain.starts_with('['));
    }
    if is_ehlo_name(text) {
        assert!(is_harmless(text) && !text.contains(' '), "a name cannot break out of a Received header: {text:?}");
        assert!(text.starts_with('[') || !text.contains(['(', ')', '<', '>', ';', '"', '\\', ',']), "{text:?}");
    }
    if is_domain(text, false) {
        assert!(is_ehlo_name(text), "a host may greet with its name");
    }
}
