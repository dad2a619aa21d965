//! AUTH as the client says it: under TLS alone, by the way that is offered, and at nobody's expense.

use super::*;

/// A session with credentials that is under TLS, and what it says to a server with these extensions.
fn introduced(ehlo: &str) -> (Session, String) {
    let credentials = Some(Arc::new(Credentials::parse(b"user\nsecret").expect("good ones")));
    let settings = Settings { starttls: StartTls::Always, credentials, ..Settings::new("us.example", Protocol::Smtp) };
    let mut session = Session::behind_tls(Arc::new(settings), NOW);
    session.secured(NOW);
    hear(&mut session, "220 mx");
    assert_eq!(said(&mut session), "EHLO us.example\r\n");
    hear(&mut session, ehlo);
    let said = said(&mut session);
    (session, said)
}

fn hear(session: &mut Session, line: &str) {
    session.receive(NOW, format!("{line}\r\n").as_bytes());
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
fn plain_is_preferred_and_login_is_a_way() {
    for offered in
        ["250-mx\r\n250 AUTH LOGIN PLAIN", "250-mx\r\n250 auth plain", "250-mx\r\n250-AUTH PLAIN\r\n250 AUTH LOGIN"]
    {
        let (mut session, said) = introduced(offered);
        assert_eq!(said, "AUTH PLAIN AHVzZXIAc2VjcmV0\r\n");
        assert!(told(&mut session).is_empty(), "nothing is ready yet");
        hear(&mut session, "235 2.7.0 welcome");
        assert_eq!(told(&mut session), ["ready"]);
    }
    let (mut session, words) = introduced("250-mx\r\n250 AUTH LOGIN X-OTHER");
    assert_eq!(words, "AUTH LOGIN\r\n");
    for (asks, answer) in [("334 VXNlcm5hbWU6", "dXNlcg==\r\n"), ("334 UGFzc3dvcmQ6", "c2VjcmV0\r\n")] {
        hear(&mut session, asks);
        assert_eq!(said(&mut session), answer);
    }
    hear(&mut session, "235 welcome");
    assert_eq!(told(&mut session), ["ready"]);
}

#[test]
fn a_server_that_offers_no_way_is_left() {
    for offered in
        ["250 mx", "250-mx\r\n250 AUTH", "250-mx\r\n250 AUTH CRAM-MD5 PLAIN-CLIENTTOKEN", "250-mx\r\n250 AUTH=PLAIN"]
    {
        let (mut session, said) = introduced(offered);
        assert_eq!(said, "QUIT\r\n", "{offered}");
        let why = "closing the server offers no AUTH with PLAIN or LOGIN, and the route has credentials for it";
        assert_eq!(told(&mut session), [why]);
    }
}

#[test]
fn what_refuses_them_ends_the_session_before_any_mail() {
    for (reply, refuses) in [("535 5.7.8 no", true), ("504 what", true), ("454 4.7.0 later", false), ("421 bye", false)]
    {
        let (mut session, _) = introduced("250-mx\r\n250 AUTH PLAIN");
        hear(&mut session, reply);
        let Some(Event::Closing(Some(reason))) = session.poll_event() else { panic!("it goes on after {reply}") };
        assert_eq!(reason.to_string(), format!("{reply} (in reply to AUTH)"));
        assert_eq!(reason.refuses_credentials(), refuses);
    }
    for reply in ["334 more", "250 ok", "235-a\r\n236 b", "hello"] {
        let (mut session, _) = introduced("250-mx\r\n250 AUTH PLAIN");
        hear(&mut session, reply);
        assert_eq!(told(&mut session), ["closing the server broke the protocol when the reply to AUTH was due"]);
        assert_eq!(said(&mut session), "");
    }
}

#[test]
fn nobody_bounces_for_a_password() {
    for (stages, expected) in [(&["530 5.7.0 who?"][..], "MAIL FROM"), (&["250 ok", "535 5.7.8 who?"], "RCPT TO")] {
        let (mut session, _) = introduced("250-mx\r\n250 AUTH PLAIN");
        hear(&mut session, "235 welcome");
        session.start(NOW, Task::Deliver(message(&["a@x.example"])));
        stages.iter().for_each(|reply| hear(&mut session, reply));
        let told = told(&mut session);
        let why = format!("10 deferred {} (in reply to {expected})", stages.last().expect("one"));
        assert!(told.contains(&why), "{told:?}");
    }
}

#[test]
fn nothing_is_said_in_the_clear_whatever_the_settings_are() {
    let credentials = Some(Arc::new(Credentials::parse(b"user\nsecret").expect("good ones")));
    for starttls in [StartTls::Never, StartTls::IfOffered, StartTls::Always] {
        let settings =
            Settings { starttls, credentials: credentials.clone(), ..Settings::new("us.example", Protocol::Smtp) };
        let mut session = Session::new(Arc::new(settings), NOW);
        hear(&mut session, "220 mx");
        said(&mut session);
        hear(&mut session, "250-mx\r\n250 AUTH PLAIN");
        assert_eq!(said(&mut session), "QUIT\r\n");
    }
}
