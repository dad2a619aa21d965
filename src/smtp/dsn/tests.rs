use super::*;
use crate::smtp::client::{Failure, LocalReason, RemoteReply, Stage};
use proptest::prelude::*;

const ORIGINAL: &[u8] = b"From: a@us.example\r\nSubject: hi\r\n\r\nBody\r\n.\r\n--x\r\n";

fn recipients() -> Vec<ReportRecipient<'static>> {
    let at = |seconds: u64| Some(WallTime::from_micros(1_700_000_000_000_000 + seconds * 1_000_000));
    vec![
        ReportRecipient {
            original: Some("rfc822;old+2Bbob@x.example"),
            address: "bob@x.example",
            action: Action::Failed,
            status: Status::new(5, 1, 1),
            remote: Some("mx.x.example [192.0.2.7]"),
            diagnostic: Some(Diagnostic::Remote(
                "550 5.1.1 There is nobody of this name here, and there has not been anybody for a very long time"
                    .into(),
            )),
            last_attempt: at(60),
            retry_until: None,
        },
        ReportRecipient {
            original: None,
            address: "\"eve  e\"@y.example",
            action: Action::Delayed,
            status: Status::new(4, 4, 2),
            remote: None,
            diagnostic: Some(Diagnostic::from(&Reason::Connection(Failure::TimedOut, Stage::Greeting))),
            last_attempt: at(90),
            retry_until: at(432_000),
        },
    ]
}

fn report<'a>(recipients: &'a [ReportRecipient<'a>]) -> Report<'a> {
    Report {
        reporting_mta: "mx1.us.example",
        id: MessageId::new(3, 42),
        seed: 0x0123_4567_89ab_cdef,
        sender: "alice@us.example",
        arrival: WallTime::from_micros(1_700_000_000_000_000),
        written: WallTime::from_micros(1_700_000_100_000_000),
        envelope_id: Some("QQ314159+3D"),
        recipients,
        returned: Some(Return::Headers),
        smtputf8: false,
        eight_bit: false,
    }
}

fn written(report: &Report<'_>, content: &[&[u8]]) -> Vec<u8> {
    let mut out = Vec::new();
    write(report, content, &mut out);
    out
}

/// Fields of a header block, unfolded.
fn fields(block: &str) -> Vec<(String, String)> {
    let unfolded = block.replace("\r\n ", " ");
    unfolded
        .split("\r\n")
        .filter(|line| !line.is_empty())
        .map(|line| {
            let (name, value) = line.split_once(':').unwrap_or_else(|| panic!("no field: {line:?}"));
            assert!(!name.is_empty());
            assert!(name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-'), "{name:?}");
            (name.to_owned(), value.trim_start().to_owned())
        })
        .collect()
}

fn value<'a>(fields: &'a [(String, String)], name: &str) -> &'a str {
    let mut values = fields.iter().filter(|(field, _)| field == name);
    let (_, value) = values.next().unwrap_or_else(|| panic!("no {name}"));
    assert!(values.next().is_none(), "{name} twice");
    value
}

/// A notice taken apart as a mail program would: the header, and each part's header and body.
struct Parsed {
    header: Vec<(String, String)>,
    parts: Vec<(Vec<(String, String)>, String)>,
}

fn parse(notice: &[u8]) -> Parsed {
    let notice = std::str::from_utf8(notice).expect("UTF-8");
    let (header, body) = notice.split_once("\r\n\r\n").expect("a header");
    let header = fields(header);
    let kind = value(&header, "Content-Type");
    let boundary = kind.split_once("boundary=\"").and_then(|(_, rest)| rest.split_once('"')).expect("a boundary").0;
    let body = body.strip_suffix(&format!("\r\n--{boundary}--\r\n")).expect("the closing boundary");
    let delimiter = format!("\r\n--{boundary}\r\n");
    let parts = body.split(&delimiter).skip(1).map(|part| {
        let (header, body) = part.split_once("\r\n\r\n").expect("a part's header");
        (fields(header), body.to_owned())
    });
    Parsed { header, parts: parts.collect() }
}

#[test]
fn a_notice_reads_as_it_always_did() {
    let recipients = recipients();
    let notice = written(&report(&recipients), &[ORIGINAL]);
    let golden = include_str!("golden.eml").replace('\n', "\r\n");
    assert_eq!(String::from_utf8(notice).unwrap(), golden);
}

#[test]
fn a_notice_has_the_parts_that_programs_look_for() {
    let recipients = recipients();
    let parsed = parse(&written(&report(&recipients), &[ORIGINAL]));
    assert_eq!(value(&parsed.header, "To"), "<alice@us.example>");
    assert_eq!(value(&parsed.header, "From"), "Mail Delivery System <MAILER-DAEMON@mx1.us.example>");
    assert_eq!(value(&parsed.header, "Auto-Submitted"), "auto-replied");
    assert!(value(&parsed.header, "Content-Type").starts_with("multipart/report; report-type=delivery-status;"));
    let kinds: Vec<&str> = parsed.parts.iter().map(|(header, _)| value(header, "Content-Type")).collect();
    assert_eq!(kinds, ["text/plain; charset=us-ascii", "message/delivery-status", "text/rfc822-headers"]);
    let groups: Vec<_> = parsed.parts[1].1.split("\r\n\r\n").map(fields).collect();
    assert_eq!(groups.len(), 3);
    assert_eq!(value(&groups[0], "Reporting-MTA"), "dns; mx1.us.example");
    assert_eq!(value(&groups[0], "Original-Envelope-Id"), "QQ314159=");
    assert_eq!(value(&groups[1], "Original-Recipient"), "rfc822;old+bob@x.example");
    assert_eq!(value(&groups[1], "Final-Recipient"), "rfc822; bob@x.example");
    assert_eq!(value(&groups[1], "Action"), "failed");
    assert_eq!(value(&groups[1], "Status"), "5.1.1");
    assert!(value(&groups[1], "Diagnostic-Code").starts_with("smtp; 550 5.1.1 There is nobody"));
    assert_eq!(value(&groups[2], "Final-Recipient"), "rfc822; \"eve  e\"@y.example");
    assert_eq!(value(&groups[2], "Action"), "delayed");
    assert_eq!(parsed.parts[2].1, "From: a@us.example\r\nSubject: hi\r\n\r\n");
}

#[test]
fn the_whole_message_is_returned_as_it_was() {
    let recipients = recipients();
    let mut report = report(&recipients);
    report.returned = Some(Return::Full);
    let parsed = parse(&written(&report, &[&ORIGINAL[..9], &ORIGINAL[9..]]));
    assert_eq!(value(&parsed.parts[2].0, "Content-Type"), "message/rfc822");
    assert_eq!(parsed.parts[2].1.as_bytes(), ORIGINAL);
    report.returned = None;
    assert_eq!(parse(&written(&report, &[ORIGINAL])).parts.len(), 2);
}

#[test]
fn international_mail_gets_an_international_notice() {
    let mut recipients = recipients();
    recipients[0].address = "bøb@x.example";
    let mut report = report(&recipients);
    report.returned = Some(Return::Full);
    assert!(report.smtputf8());
    assert_eq!(report.body(), BodyType::EightBitMime);
    let parsed = parse(&written(&report, &[ORIGINAL]));
    let kinds: Vec<&str> = parsed.parts.iter().map(|(header, _)| value(header, "Content-Type")).collect();
    assert_eq!(kinds, ["text/plain; charset=utf-8", "message/global-delivery-status", "message/global"]);
    assert!(parsed.parts[1].1.contains("Final-Recipient: utf-8; bøb@x.example\r\n"));
}

#[test]
fn an_international_original_recipient_is_given_back_as_the_notice_can_say_it() {
    let told = |original: &'static str, smtputf8: bool| {
        let mut recipients = recipients();
        recipients.truncate(1);
        recipients[0].original = Some(original);
        let report = Report { smtputf8, ..report(&recipients) };
        let parsed = parse(&written(&report, &[ORIGINAL]));
        let groups: Vec<_> = parsed.parts[1].1.split("\r\n\r\n").map(fields).collect();
        value(&groups[1], "Original-Recipient").to_owned()
    };
    for original in ["utf-8;bøb@x.example", "utf-8;b\\x{F8}b@x.example"] {
        assert_eq!(told(original, true), "utf-8;bøb@x.example");
        assert_eq!(told(original, false), "utf-8;b\\x{F8}b@x.example");
    }
    assert_eq!(told("utf-8;a\\x{2B}b@x.example", true), "utf-8;a+b@x.example");
    assert_eq!(told("rfc822;a+2Bb@x.example", true), "rfc822;a+b@x.example");
    // From a log that somebody else has written.
    assert_eq!(told("utf-8;a\\x{0D}b@x.example", true), "utf-8;a\\x{0D}b@x.example");
}

#[test]
fn eight_bit_content_makes_an_eight_bit_notice() {
    let recipients = recipients();
    let mut report = report(&recipients);
    assert_eq!(report.body(), BodyType::SevenBit);
    report.eight_bit = true;
    assert_eq!(report.body(), BodyType::EightBitMime);
    let parsed = parse(&written(&report, &[ORIGINAL]));
    assert_eq!(value(&parsed.header, "Content-Transfer-Encoding"), "8bit");
    assert_eq!(value(&parsed.parts[2].0, "Content-Transfer-Encoding"), "8bit");
    assert_eq!(value(&parsed.parts[1].0, "Content-Transfer-Encoding"), "7bit");
}

#[test]
fn the_header_is_cut_off_wherever_the_pieces_end() {
    let header = b"A: b\r\n c\r\n\r\n";
    let message = [header.as_slice(), b"body\r\n\r\nmore"].concat();
    for first in 0..message.len() {
        for second in first..message.len() {
            let mut cut = HeaderCut::default();
            let pieces = [&message[..first], &message[first..second], &message[second..]];
            let taken: usize = pieces.iter().map(|piece| cut.take(piece)).sum();
            assert_eq!(taken, header.len());
            assert!(cut.is_done());
        }
    }
    let mut empty = HeaderCut::default();
    assert_eq!(empty.take(b"\r\nbody"), 2);
}

#[test]
fn each_reason_has_its_status() {
    let reply = |stage, code, enhanced| Reason::Reply { stage, reply: RemoteReply { code, enhanced, text: "".into() } };
    let table = [
        (reply(Stage::Rcpt, 550, Some((5, 7, 1))), "5.7.1"),
        (reply(Stage::Rcpt, 550, None), "5.1.0"),
        (reply(Stage::Outcome, 550, None), "5.0.0"),
        (reply(Stage::Rcpt, 450, None), "4.2.0"),
        (reply(Stage::Greeting, 421, None), "4.3.2"),
        (reply(Stage::Data, 452, None), "4.3.1"),
        (reply(Stage::Outcome, 552, None), "5.2.2"),
        (Reason::Connection(Failure::Lost, Stage::Mail), "4.4.2"),
        (Reason::UnknownOutcome, "4.4.2"),
        (Reason::TooManyRecipients, "4.5.3"),
        (Reason::Local(LocalReason::Smtputf8NotOffered), "5.6.7"),
        (Reason::Local(LocalReason::BinaryNotOffered), "5.6.3"),
        (Reason::Local(LocalReason::RequireTlsUnmet), "5.7.30"),
        (Reason::Local(LocalReason::TooLarge { size: 2, limit: 1 }), "5.3.4"),
        (Reason::Local(LocalReason::Protocol(Stage::Data)), "4.5.0"),
    ];
    for (reason, status) in table {
        assert_eq!(status_of(&reason).to_string(), status, "{reason}");
        assert_eq!(status_of(&reason).class == 4, reason.is_temporary(), "{reason}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn no_word_from_outside_adds_a_line_or_makes_one_too_long(
        text in "(\\PC|[\\r\\n\\t :.-]|\u{2028}){0,60}",
        repeat in 1usize..60,
        utf8 in any::<bool>(),
    ) {
        let text = text.repeat(repeat);
        let address: String = text.chars().filter(|character| utf8 || character.is_ascii()).collect();
        let recipient = ReportRecipient {
            original: Some(&text),
            address: &address,
            action: Action::Failed,
            status: Status::new(5, 0, 0),
            remote: Some(&text),
            diagnostic: Some(Diagnostic::Remote(text.as_str().into())),
            last_attempt: Some(WallTime::from_micros(u64::MAX)),
            retry_until: None,
        };
        let recipients = [recipient.clone(), recipient];
        let mut report = report(&recipients);
        report.sender = &address;
        report.envelope_id = Some(&text);
        report.smtputf8 = utf8;
        let notice = written(&report, &[ORIGINAL]);
        let lines: Vec<&[u8]> = notice.split(|byte| *byte == b'\n').collect();
        prop_assert!(lines.iter().rev().skip(1).all(|line| line.ends_with(b"\r") && line.len() <= 999));
        prop_assert!(lines.iter().all(|line| !line[..line.len().saturating_sub(1)].contains(&b'\r')));
        prop_assert!(report.smtputf8() || notice.is_ascii());
        let parsed = parse(&notice);
        prop_assert_eq!(parsed.header.len(), if report.smtputf8() { 9 } else { 8 });
        prop_assert_eq!(parsed.parts.len(), 3);
        let groups: Vec<_> = parsed.parts[1].1.split("\r\n\r\n").map(fields).collect();
        prop_assert_eq!(groups.len(), 3);
    }
}
