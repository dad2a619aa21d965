//! Command lines: what is understood can be written again and is then understood in the same way.

use super::address::is_harmless;
use rohrpost::smtp::grammar::{self, Offer, Verb};
use rohrpost::smtp::{BodyType, Return};
use std::fmt::Write;

pub fn run(data: &[u8]) {
    let (verb, arguments) = Verb::split(data);
    assert!(arguments.len() <= data.len());
    assert_eq!(Verb::split(data), (verb, arguments));
    let Ok(arguments) = std::str::from_utf8(arguments) else { return };
    for offer in [(true, true), (true, false), (false, false)] {
        let offer = Offer { extended: offer.0, binarymime: offer.1, require_tls: offer.1, priority: offer.1 };
        mail(arguments, &offer);
        for smtputf8 in [false, true] {
            rcpt(arguments, &offer, smtputf8);
        }
    }
    if let Ok(bdat) = grammar::bdat(arguments) {
        let again = format!("{}{}", bdat.size, if bdat.last { " LAST" } else { "" });
        assert_eq!(grammar::bdat(&again), Ok(bdat));
    }
    if grammar::is_ehlo_name(arguments) {
        assert!(is_harmless(arguments));
    }
}

fn mail(arguments: &str, offer: &Offer) {
    let Ok(mail) = grammar::mail(arguments, offer) else { return };
    let parameters = mail.parameters;
    assert!(is_harmless(mail.reverse_path), "{:?}", mail.reverse_path);
    let mut again = format!("FROM:<{}>", mail.reverse_path);
    if let Some(size) = parameters.size {
        let _ = write!(again, " SIZE={size}");
    }
    match parameters.body {
        Some(BodyType::SevenBit) => again.push_str(" BODY=7BIT"),
        Some(BodyType::EightBitMime) => again.push_str(" BODY=8BITMIME"),
        Some(BodyType::BinaryMime) => {
            assert!(offer.binarymime, "what was not offered is not understood");
            again.push_str(" BODY=BINARYMIME");
        }
        None => {}
    }
    if parameters.smtputf8 {
        again.push_str(" SMTPUTF8");
    } else {
        assert!(mail.reverse_path.is_ascii());
    }
    match parameters.ret {
        Some(Return::Full) => again.push_str(" RET=FULL"),
        Some(Return::Headers) => again.push_str(" RET=HDRS"),
        None => {}
    }
    if let Some(id) = parameters.envelope_id {
        assert_decodes_to_print(id);
        let _ = write!(again, " ENVID={id}");
    }
    assert!(offer.extended || !again.contains("> "), "after HELO there are no parameters");
    assert_eq!(grammar::mail(&again, offer).as_ref(), Ok(&mail), "{again:?}");
}

fn rcpt(arguments: &str, offer: &Offer, smtputf8: bool) {
    let Ok(rcpt) = grammar::rcpt(arguments, offer, smtputf8) else { return };
    assert!(is_harmless(rcpt.forward_path), "{:?}", rcpt.forward_path);
    assert!(!rcpt.forward_path.is_empty(), "nobody is no recipient");
    assert!(smtputf8 || rcpt.forward_path.is_ascii());
    let mut again = format!("TO:<{}>", rcpt.forward_path);
    if let Some(notify) = rcpt.parameters.notify {
        let words = [(notify.success, "SUCCESS"), (notify.failure, "FAILURE"), (notify.delay, "DELAY")];
        let words: Vec<&str> = words.iter().filter(|(wanted, _)| *wanted).map(|(_, word)| *word).collect();
        let _ = write!(again, " NOTIFY={}", if words.is_empty() { "NEVER".into() } else { words.join(",") });
    }
    if let Some(original) = rcpt.parameters.original {
        assert_decodes_to_print(original);
        let _ = write!(again, " ORCPT={original}");
    }
    assert_eq!(grammar::rcpt(&again, offer, smtputf8).as_ref(), Ok(&rcpt), "{again:?}");
}

/// RFC 3461 §4: a header field is written with what the xtext says.
fn assert_decodes_to_print(xtext: &str) {
    assert!(is_harmless(xtext) && !xtext.contains(' '), "one word: {xtext:?}");
    let mut rest = xtext;
    while let Some((_, behind)) = rest.split_once('+') {
        let decoded = behind.get(..2).and_then(|digits| u8::from_str_radix(digits, 16).ok());
        assert!(!decoded.is_some_and(|byte| byte.is_ascii_control()), "it would end a header line: {xtext:?}");
        rest = behind;
    }
}
