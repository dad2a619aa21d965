//! What STARTTLS does to a session, and what it must not do.

use super::*;
use crate::tls::Secured;

pub(super) fn secured() -> Secured {
    Secured::example()
}

/// STARTTLS and its handshake.
pub(super) fn start(session: &mut Session, spool: &mut Spool) {
    let input = b"EHLO in.the.clear\r\nSTARTTLS\r\n";
    assert_eq!(session.receive(at(0), bytes(input), spool), input.len());
    assert!(take_output(session).ends_with("220 2.0.0 Ready to start TLS\r\n"));
    assert!(session.is_handshaking());
    session.secured(at(0), secured(), true, spool);
    assert_eq!(session.output(), b"", "the banner was said before");
}

fn offering() -> Session {
    session(Settings { starttls: true, ..Settings::new("mx.example") }, BareNewline::Reject)
}

#[test]
fn starttls_is_offered_until_it_is_used_and_what_was_said_before_is_forgotten() {
    let mut spool = Spool::default();
    let mut session = offering();
    session.receive(at(0), bytes(b"EHLO c\r\n"), &mut spool);
    assert!(take_output(&mut session).contains("250-STARTTLS\r\n"));
    start(&mut session, &mut spool);
    assert_eq!(session.state_name(), "fresh");
    session.receive(at(0), bytes(b"MAIL FROM:<a@b>\r\nEHLO c\r\n"), &mut spool);
    let output = take_output(&mut session);
    assert!(output.starts_with("503 5.5.1 Send EHLO first\r\n250-"), "{output}");
    assert!(!output.contains("STARTTLS"), "{output}");
}

#[test]
fn requiretls_is_for_clients_under_tls_and_is_kept_with_the_message() {
    let mut spool = Spool::default();
    let settings = Settings { starttls: true, requiretls: true, ..Settings::new("mx.example") };
    let mut session = session(settings, BareNewline::Reject);
    session.receive(at(0), bytes(b"EHLO c\r\nMAIL FROM:<a@b> REQUIRETLS\r\n"), &mut spool);
    let output = take_output(&mut session);
    assert!(!output.contains("REQUIRETLS\r\n") && output.contains("\r\n555 "), "{output}");
    start(&mut session, &mut spool);
    session.receive(at(0), bytes(b"EHLO c\r\n"), &mut spool);
    assert!(take_output(&mut session).contains("250-REQUIRETLS\r\n"));
    let input = b"MAIL FROM:<a@b> REQUIRETLS\r\nRCPT TO:<c@d>\r\nDATA\r\nx\r\n.\r\n";
    session.receive(at(0), bytes(&input[..]), &mut spool);
    assert!(spool.finished[0].require_tls, "{:?}", spool.finished);
}

#[test]
fn bytes_behind_starttls_end_the_session_and_are_never_obeyed() {
    for behind in ["NOOP\r\n", "M", "\r\n", "MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\n", "\x16\x03\x01"] {
        let mut spool = Spool::default();
        let mut session = offering();
        session.receive(at(0), bytes(format!("EHLO c\r\nSTARTTLS\r\n{behind}").as_bytes()), &mut spool);
        let output = take_output(&mut session);
        assert!(output.ends_with("503 5.5.1 Nothing may follow STARTTLS before its reply\r\n"), "{output}");
        assert!(session.closing());
    }
    // The ring wraps behind the command.
    let mut spool = Spool::default();
    let mut session = offering();
    let input = Received { bytes: b"EHLO c\r\nSTARTTLS\r\n", more: true, ..Received::default() };
    session.receive(at(0), input, &mut spool);
    assert!(session.closing());
}

#[test]
fn what_comes_before_the_layer_is_in_place_is_not_read() {
    let mut spool = Spool::default();
    let mut session = offering();
    session.receive(at(0), bytes(b"EHLO c\r\nSTARTTLS\r\n"), &mut spool);
    assert_eq!(session.receive(at(0), bytes(b"MAIL FROM:<a@b>\r\n"), &mut spool), 0);
    assert!(session.is_handshaking());
    // Nor is half a line that came in the clear.
    session.secured(at(1), secured(), false, &mut spool);
    assert_eq!(session.receive(at(1), bytes(b"EHLO c\r\n"), &mut spool), 8);
    assert_eq!(session.state_name(), "ready");
}

#[test]
fn a_handshake_that_never_ends_is_left_without_a_word() {
    let mut spool = Spool::default();
    let mut session = offering();
    session.receive(at(0), bytes(b"EHLO c\r\nSTARTTLS\r\n"), &mut spool);
    take_output(&mut session);
    assert_eq!(session.deadline(), Some(at(0).mono + limits::HANDSHAKE_TIMEOUT));
    session.expired(Now { mono: at(0).mono + limits::HANDSHAKE_TIMEOUT, ..at(0) }, &mut spool);
    assert!(session.closing());
    assert_eq!(session.output(), b"");
}

#[test]
fn a_shutdown_waits_for_the_handshake_to_say_goodbye() {
    let mut spool = Spool::default();
    let mut session = offering();
    session.receive(at(0), bytes(b"EHLO c\r\nSTARTTLS\r\n"), &mut spool);
    take_output(&mut session);
    session.shutdown(at(0), &mut spool);
    assert_eq!(session.output(), b"");
    session.secured(at(1), secured(), false, &mut spool);
    assert_eq!(take_output(&mut session), "421 4.3.2 Shutting down, try again later\r\n");
}

#[test]
fn a_session_behind_tls_greets_when_the_handshake_is_done() {
    let client = offering().client;
    for (delay, spoke, said) in [(0, false, "220 mx.example"), (0, true, "421 4.7.0"), (5, false, "")] {
        let mut spool = Spool::default();
        let settings = Settings { greeting_delay: Duration::from_secs(delay), ..Settings::new("mx.example") };
        let mut session = Session::behind_tls(Arc::new(settings), client, at(0));
        assert_eq!(session.receive(at(0), bytes(b"\x16\x03"), &mut spool), 0);
        assert_eq!(session.output(), b"");
        session.secured(at(1), secured(), spoke, &mut spool);
        let output = take_output(&mut session);
        assert!(if said.is_empty() { output.is_empty() } else { output.starts_with(said) }, "{output}");
    }
}

#[test]
fn the_trace_header_says_how_the_message_came() {
    for (hello, with) in [("EHLO c", "with ESMTPS id"), ("HELO c", "with SMTP id")] {
        let mut spool = Spool::default();
        let mut session = fed_over(Layer::Used, "", &mut spool);
        let input = format!("{hello}\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\nx\r\n.\r\n");
        session.receive(at(0), bytes(input.as_bytes()), &mut spool);
        let content = String::from_utf8_lossy(&spool.content).into_owned();
        assert!(content.contains(with), "{content}");
        assert!(content.contains("\t(using TLSv1.3 with cipher TLS_AES_128_GCM_SHA256)\r\n"), "{content}");
    }
}

#[test]
fn without_the_layer_a_refused_chunk_is_thrown_away() {
    let mut spool = Spool::default();
    let mut session = fed_over(Layer::Required, "EHLO c\r\n", &mut spool);
    let input = b"BDAT 18 LAST\r\nMAIL FROM:<a@b>\r\n\r\n";
    session.receive(at(0), bytes(&input[..]), &mut spool);
    let output = take_output(&mut session);
    assert!(output.starts_with("530 5.7.0 Must issue a STARTTLS command first\r\n"), "{output}");
    assert_eq!(output.matches("530").count(), 1, "{output}");
}
