use super::*;
use crate::smtp::{BodyType, Notify, Priority, Return};
use proptest::prelude::*;

const EHLO: Offer = Offer { extended: true, binarymime: true, require_tls: true, priority: true };
const HELO: Offer = Offer { extended: false, binarymime: false, require_tls: false, priority: false };

fn reverse_path(text: &str) -> Result<&str, SyntaxError> {
    mail(text, &EHLO).map(|mail| mail.reverse_path)
}

#[test]
fn verbs_are_found_in_any_case_and_trailing_space_is_dropped() {
    assert_eq!(Verb::split(b"mAiL  FROM:<>  "), (Verb::Mail, &b"FROM:<>"[..]));
    assert_eq!(Verb::split(b"NOOP"), (Verb::Noop, &b""[..]));
    assert_eq!(Verb::split(b"GET / HTTP/1.1"), (Verb::Http, &b"/ HTTP/1.1"[..]));
    assert_eq!(Verb::split(b"MAILER x").0, Verb::Unknown);
    assert_eq!(Verb::split(b"").0, Verb::Unknown);
}

#[test]
fn paths_of_every_legal_shape_are_accepted() {
    for (text, expected) in [
        ("FROM:<>", ""),
        ("from:<a@b>", "a@b"),
        ("FROM: <a@b.example>", "a@b.example"),
        ("FROM:<a.b+c/d=e@x-y.example>", "a.b+c/d=e@x-y.example"),
        ("FROM:<\"a b>c@\\\"d\"@e.example>", "\"a b>c@\\\"d\"@e.example"),
        ("FROM:<a@[192.0.2.1]>", "a@[192.0.2.1]"),
        ("FROM:<a@[IPv6:2001:db8::1]>", "a@[IPv6:2001:db8::1]"),
        ("FROM:<a@[X400:c=de]>", "a@[X400:c=de]"),
        ("FROM:<@one.example,@two.example:a@b.example>", "a@b.example"),
        ("FROM:<grün@bücher.example> SMTPUTF8", "grün@bücher.example"),
    ] {
        assert_eq!(reverse_path(text), Ok(expected), "{text}");
    }
}

#[test]
fn paths_of_every_illegal_shape_are_refused() {
    use SyntaxError::*;
    let local_too_long = format!("FROM:<{}@b.example>", "a".repeat(65));
    let label_too_long = format!("FROM:<a@{}.example>", "b".repeat(64));
    let path_too_long = format!("FROM:<a@{}example>", "b.".repeat(130));
    for (text, expected) in [
        ("", Arguments),
        ("TO:<a@b>", Arguments),
        ("FROM", Arguments),
        ("FROM:", Address),
        ("FROM:a@b", Address),
        ("FROM:<a@b", Address),
        ("FROM:<a@b>x", Address),
        ("FROM:<a>", Address),
        ("FROM:<postmaster>", Address),
        ("FROM:<@b>", Address),
        ("FROM:<a@>", Address),
        ("FROM:<a@@b>", Address),
        ("FROM:<a@b@c>", Address),
        ("FROM:<.a@b>", Address),
        ("FROM:<a..b@c>", Address),
        ("FROM:<a.@b>", Address),
        ("FROM:<a b@c>", Address),
        ("FROM:<a@-b>", Address),
        ("FROM:<a@b->", Address),
        ("FROM:<a@b.>", Address),
        ("FROM:<a@b..c>", Address),
        ("FROM:<a@b_c>", Address),
        ("FROM:<a@[1.2.3]>", Address),
        ("FROM:<a@[IPv6:zz]>", Address),
        ("FROM:<a@[x:y@z]>", Address),
        ("FROM:<\"a@b>", Address),
        ("FROM:<\"a\"b@c>", Address),
        ("FROM:<@x:>", Address),
        ("FROM:<@x,y:a@b>", Address),
        ("FROM:<grün@b>", NeedsSmtpUtf8),
        ("FROM:<\"a\u{7f}\"@b>", Address),
        ("FROM:<a\u{85}b@c> SMTPUTF8", Address),
        ("FROM:<\"\u{9b}2J\"@c> SMTPUTF8", Address),
        ("FROM:<a@b\u{2028}c> SMTPUTF8", Address),
        (&local_too_long, AddressTooLong),
        (&label_too_long, Address),
        (&path_too_long, AddressTooLong),
    ] {
        assert_eq!(reverse_path(text), Err(expected), "{text}");
    }
}

#[test]
fn only_a_recipient_may_be_postmaster_without_a_domain() {
    assert_eq!(rcpt("TO:<PostMaster>", &HELO, false).map(|rcpt| rcpt.forward_path), Ok("PostMaster"));
    assert_eq!(rcpt("TO:<>", &HELO, false), Err(SyntaxError::Address));
    assert_eq!(rcpt("TO:<grün@b>", &EHLO, false), Err(SyntaxError::NeedsSmtpUtf8));
    assert!(rcpt("TO:<grün@b>", &EHLO, true).is_ok());
}

#[test]
fn mail_parameters_are_read() {
    let all = "FROM:<> size=20 BODY=binarymime SMTPUTF8 RequireTLS mt-Priority=-4 RET=hdrs ENVID=a+2Bb";
    assert_eq!(
        mail(all, &EHLO).map(|mail| mail.parameters),
        Ok(MailParameters {
            size: Some(20),
            body: Some(BodyType::BinaryMime),
            smtputf8: true,
            require_tls: true,
            priority: Priority::parse("-4"),
            ret: Some(Return::Headers),
            envelope_id: Some("a+2Bb"),
        })
    );
    assert_eq!(mail("FROM:<> BODY=7BIT", &HELO), Err(SyntaxError::UnknownParameter), "HELO has none");
}

#[test]
fn bad_mail_parameters_are_told_from_unknown_ones() {
    use SyntaxError::*;
    let id_too_long = format!("ENVID={}", "x".repeat(101));
    for (text, expected) in [
        ("SIZE", BadParameter),
        ("SIZE=", BadParameter),
        ("SIZE=-1", BadParameter),
        ("SIZE=+1", BadParameter),
        ("SIZE=123456789012345678901", BadParameter),
        ("SIZE=99999999999999999999", BadParameter),
        ("SIZE=1 SIZE=1", BadParameter),
        ("BODY=9BIT", BadParameter),
        ("BODY", BadParameter),
        ("SMTPUTF8=1", BadParameter),
        ("SMTPUTF8 SMTPUTF8", BadParameter),
        ("REQUIRETLS=1", BadParameter),
        ("REQUIRETLS REQUIRETLS", BadParameter),
        ("MT-PRIORITY", BadParameter),
        ("MT-PRIORITY=", BadParameter),
        ("MT-PRIORITY=10", BadParameter),
        ("MT-PRIORITY=-10", BadParameter),
        ("MT-PRIORITY=+1", BadParameter),
        ("MT-PRIORITY=-0", BadParameter),
        ("MT-PRIORITY=1 MT-PRIORITY=1", BadParameter),
        ("RET=SOME", BadParameter),
        ("ENVID=", BadParameter),
        ("ENVID=a=b", BadParameter),
        ("ENVID=a+2", BadParameter),
        ("ENVID=a+2b", BadParameter),
        ("ENVID=a+00", BadParameter),
        (&id_too_long, BadParameter),
        ("=x", BadParameter),
        ("NOTIFY=NEVER", UnknownParameter),
        ("AUTH=<>", UnknownParameter),
        ("X", UnknownParameter),
    ] {
        assert_eq!(mail(&format!("FROM:<> {text}"), &EHLO), Err(expected), "{text}");
    }
    let no_binary = Offer { binarymime: false, ..EHLO };
    assert_eq!(mail("FROM:<> BODY=BINARYMIME", &no_binary), Err(UnknownParameter));
    let in_the_clear = Offer { require_tls: false, ..EHLO };
    assert_eq!(mail("FROM:<> REQUIRETLS", &in_the_clear), Err(UnknownParameter));
    let without_priorities = Offer { priority: false, ..EHLO };
    assert_eq!(mail("FROM:<> MT-PRIORITY=1", &without_priorities), Err(UnknownParameter));
}

#[test]
fn recipient_parameters_are_read_and_checked() {
    let of = |text: &str| rcpt(&format!("TO:<a@b> {text}"), &EHLO, false).map(|rcpt| rcpt.parameters.notify);
    assert_eq!(of("NOTIFY=NEVER"), Ok(Some(Notify::default())));
    assert_eq!(of("NOTIFY=success,DELAY"), Ok(Some(Notify { success: true, failure: false, delay: true })));
    for text in ["NOTIFY=", "NOTIFY=NEVER,DELAY", "NOTIFY=DELAY,DELAY", "NOTIFY=X", "NOTIFY"] {
        assert_eq!(of(text), Err(SyntaxError::BadParameter), "{text}");
    }
    for text in ["ORCPT=rfc822;a+40b", "ORCPT=rfc822;a@b", "ORCPT=utf-8;a\\x{FC}@b"] {
        assert_eq!(of(text), Ok(None), "{text}");
    }
    for text in
        ["ORCPT=rfc822", "ORCPT=;a", "ORCPT=rfc822;", "ORCPT=rfc822;a=b", "ORCPT=utf-8;ü@b", "ORCPT=utf-8;a\\b@c"]
    {
        assert_eq!(of(text), Err(SyntaxError::BadParameter), "{text}");
    }
    assert!(rcpt("TO:<a@b> ORCPT=utf-8;ü@b", &EHLO, true).is_ok());
    for text in [
        "rfc822;a+0D+0ABcc:+20x",
        "x400;+00",
        "rfc822;+7F",
        "utf-8;a\u{85}b@c",
        "utf-8;a\u{2029}b@c",
        "utf-8;a+00@b",
        "utf-8;a\\x{0D}\\x{0A}b@c",
        "utf-8;a\\x{85}b@c",
        "utf-8;a\\x{2028}b@c",
    ] {
        let text = format!("TO:<a@b> ORCPT={text}");
        assert_eq!(rcpt(&text, &EHLO, true), Err(SyntaxError::BadParameter), "a header cannot be made of {text}");
    }
    assert_eq!(of("SIZE=1"), Err(SyntaxError::UnknownParameter));
}

#[test]
fn bdat_takes_a_size_and_last() {
    assert_eq!(bdat("0 last"), Ok(Bdat { size: 0, last: true }));
    assert_eq!(bdat("18446744073709551615"), Ok(Bdat { size: u64::MAX, last: false }));
    for text in ["", "x", "-1", "1 FIRST", "1 LAST x", "18446744073709551616"] {
        assert_eq!(bdat(text), Err(SyntaxError::Arguments), "{text}");
    }
}

#[test]
fn an_ehlo_name_cannot_break_a_header() {
    for name in ["a", "mx_1.example.net", "[192.0.2.1]", "[IPv6:::1]", "localhost"] {
        assert!(is_ehlo_name(name), "{name}");
    }
    for name in ["", "a b", "a)", "(a", "a;b", "a<b", "a\"b", "[a b]", "ü", "[1.2.3.4"] {
        assert!(!is_ehlo_name(name), "{name}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn no_line_makes_the_grammar_panic(line in "\\PC{0,80}", utf8: bool) {
        let _ = Verb::split(line.as_bytes());
        let _ = mail(&line, &EHLO);
        let _ = mail(&format!("FROM:{line}"), &EHLO);
        let _ = rcpt(&format!("TO:<{line}>"), &EHLO, utf8);
        let _ = rcpt(&format!("TO:<a@b> ORCPT=utf-8;{line}"), &EHLO, utf8);
        let _ = bdat(&line);
        let _ = is_ehlo_name(&line);
    }

    #[test]
    fn an_accepted_mailbox_has_its_domain_after_the_last_at(line in "[a\".@\\\\\\[:\\]<> -]{0,24}") {
        if let Ok((local, domain)) = parse_mailbox(&line, false) {
            prop_assert_eq!(crate::smtp::domain_of(&line), domain);
            prop_assert_eq!(format!("{local}@{domain}"), line);
        }
    }
}
