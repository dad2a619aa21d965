//! STARTTLS as the client says it: where it is offered, where it is wanted, and what must not come behind it.

use super::*;

const EHLO: &[u8] = b"250-mx\r\n250-SIZE 1000000\r\n250 STARTTLS\r\n";

fn wanting(starttls: StartTls) -> Session {
    let mut session = Session::new(Arc::new(Settings { starttls, ..Settings::new("us.example", Protocol::Smtp) }), NOW);
    hear(&mut session, b"220 mx\r\n");
    assert_eq!(said(&mut session), "EHLO us.example\r\n");
    session
}

fn hear(session: &mut Session, bytes: &[u8]) {
    assert_eq!(session.receive(NOW, bytes), bytes.len());
}

fn said(session: &mut Session) -> String {
    let text = String::from_utf8_lossy(session.output()).into_owned();
    session.sent(NOW, text.len());
    text
}

fn told(session: &mut Session) -> Vec<String> {
    std::iter::from_fn(|| session.poll_event()).map(|event| describe(&event)).collect()
}

#[test]
fn what_was_offered_in_the_clear_is_forgotten_under_tls() {
    for starttls in [StartTls::IfOffered, StartTls::Always] {
        let mut session = wanting(starttls);
        hear(&mut session, EHLO);
        assert_eq!(said(&mut session), "STARTTLS\r\n");
        assert!(told(&mut session).is_empty(), "nothing is ready yet");
        hear(&mut session, b"220 go on\r\n");
        assert!(session.is_handshaking());
        assert_eq!(said(&mut session), "");
        session.secured(NOW);
        assert_eq!(said(&mut session), "EHLO us.example\r\n");
        assert_eq!(session.extensions(), &Extensions::default());
        // One that offers it again is mad, and no harm is done.
        hear(&mut session, b"250-mx\r\n250 STARTTLS\r\n");
        assert_eq!(told(&mut session), ["ready"]);
        assert_eq!(session.extensions().size, None);
    }
}

#[test]
fn bytes_behind_the_answer_to_starttls_end_it() {
    for behind in ["250 mx\r\n", "2", "\r\n", "220 again\r\n", "\x16\x03\x03"] {
        let mut session = wanting(StartTls::IfOffered);
        hear(&mut session, EHLO);
        said(&mut session);
        hear(&mut session, format!("220 go on\r\n{behind}").as_bytes());
        assert!(session.closed(), "{behind:?}");
        assert_eq!(said(&mut session), "");
        assert_eq!(told(&mut session), ["closing the server broke the protocol when the reply to STARTTLS was due"]);
    }
}

#[test]
fn where_it_is_not_offered_or_refused_the_route_decides() {
    let answers: [(&[u8], &[u8]); 3] =
        [(b"250 mx\r\n", b""), (EHLO, b"454 4.7.0 not now\r\n"), (b"502 what\r\n", b"250 mx\r\n")];
    for (hello, next) in answers {
        for starttls in [StartTls::Never, StartTls::IfOffered, StartTls::Always] {
            let mut session = wanting(starttls);
            hear(&mut session, hello);
            let mut words = said(&mut session);
            let asked = words.contains("STARTTLS");
            assert_eq!(asked, hello == EHLO && starttls != StartTls::Never);
            if asked || hello != EHLO && !session.closed() {
                hear(&mut session, next);
            }
            words += &said(&mut session);
            let events = told(&mut session);
            if starttls == StartTls::Always {
                assert!(session.closed());
                assert!(words.ends_with("QUIT\r\n"), "{words}");
                let expected = match hello == EHLO {
                    true => "closing 454 4.7.0 not now (in reply to STARTTLS)",
                    false => "closing the server offers no TLS (STARTTLS), without which nothing may be sent to it",
                };
                assert_eq!(events, [expected]);
            } else {
                assert_eq!(events, ["ready"]);
            }
        }
    }
}

#[test]
fn a_connection_that_is_lost_in_the_handshake_says_so() {
    let mut session = wanting(StartTls::Always);
    hear(&mut session, EHLO);
    said(&mut session);
    hear(&mut session, b"220 go on\r\n");
    session.ended(NOW);
    assert_eq!(told(&mut session), ["closing the connection was lost during the TLS handshake"]);
}

#[test]
fn tls_from_the_first_byte_comes_before_the_greeting() {
    let settings = Settings { starttls: StartTls::Always, ..Settings::new("us.example", Protocol::Smtp) };
    let mut session = Session::behind_tls(Arc::new(settings), NOW);
    assert!(session.is_handshaking());
    session.secured(NOW);
    hear(&mut session, b"220 mx\r\n");
    assert_eq!(said(&mut session), "EHLO us.example\r\n");
    hear(&mut session, b"250 mx\r\n");
    assert_eq!(told(&mut session), ["ready"]);
}
