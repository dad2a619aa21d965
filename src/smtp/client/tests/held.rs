//! The end of the content is held back until somebody allows it.

use super::*;

/// A session that has sent all content of a message that is held back, and what it sent since DATA was answered.
fn held(protocol: Protocol, body: BodyType, pipelining: bool, room: usize) -> (Glue, usize) {
    let message = Transaction { body, end_held: true, ..message(&["a@x.example", "b@x.example"]) };
    let mut glue = Glue::new(protocol, vec![Task::Deliver(message)], room);
    let offered = if pipelining { "250-PIPELINING\r\n" } else { "" };
    glue.hear(b"220 x\r\n");
    glue.hear(format!("250-x\r\n{offered}250-CHUNKING\r\n250 BINARYMIME\r\n").as_bytes());
    for _ in 0..3 {
        assert!(!glue.session.end_wanted());
        glue.session.receive(NOW, b"250 x\r\n");
        let binary = body == BodyType::BinaryMime;
        if !(binary && glue.session.wants_content()) {
            glue.turn();
        }
    }
    let start = glue.wire.len();
    if body == BodyType::BinaryMime {
        glue.turn();
        // Each chunk is answered where the next has to wait for that.
        let mut answers = 0;
        while !glue.session.end_wanted() {
            glue.hear(b"250 chunk\r\n");
            answers += 1;
            assert!(answers < 100);
        }
        assert_eq!(answers > 0, !pipelining);
    } else {
        glue.hear(b"354 go\r\n");
    }
    (glue, start)
}

/// What the wire must hold of the content, and of its end.
const STUFFED: &[u8] = b"Subject: x\r\n\r\n..dot\r\n...\r\nend\r\n";

#[test]
fn all_but_the_dot_goes_out_and_the_dot_when_it_is_allowed() {
    for (protocol, room) in [(Protocol::Smtp, 1000), (Protocol::Smtp, 1), (Protocol::Lmtp, 1000), (Protocol::Lmtp, 3)] {
        let (mut glue, start) = held(protocol, BodyType::SevenBit, true, room);
        assert!(glue.session.end_wanted());
        assert_eq!(&glue.wire[start..], STUFFED, "{protocol:?}, {room}");
        assert!(!glue.session.wants_content());
        // The server is not waited for, however long it takes.
        assert_eq!(glue.session.deadline(), None);
        glue.session.expired(Instant::FAR);
        glue.turn();
        assert_eq!(&glue.wire[start..], STUFFED);

        glue.session.allow_end(NOW);
        glue.turn();
        assert_eq!(&glue.wire[start..], [STUFFED, b".\r\n"].concat());
        assert_eq!(glue.session.deadline(), Some(NOW + Timeouts::default().dot));
        glue.hear(b"250 taken\r\n");
        if protocol == Protocol::Lmtp {
            glue.hear(b"450 full\r\n");
        }
        let told: Vec<String> = glue.events.iter().map(describe).collect();
        let second = if protocol == Protocol::Lmtp {
            "11 deferred 450 full (in reply to end of DATA)"
        } else {
            "11 delivered 250 taken"
        };
        assert!(told.ends_with(&["10 delivered 250 taken".into(), second.into(), "done".into()]), "{told:?}");
    }
}

#[test]
fn no_chunk_is_called_the_last_before_that_is_allowed() {
    for (pipelining, room) in [(false, 1000), (true, 1000), (false, 7), (true, 7), (true, 1)] {
        let (mut glue, start) = held(Protocol::Smtp, BodyType::BinaryMime, pipelining, room);
        let wire = String::from_utf8_lossy(&glue.wire[start..]).into_owned();
        assert!(!wire.contains("LAST"), "{wire}");
        assert!(glue.session.end_wanted() && !glue.session.wants_content());
        assert_eq!(glue.session.deadline(), None);
        glue.session.allow_end(NOW);
        glue.turn();
        assert!(glue.wire.ends_with(b"BDAT 0 LAST\r\n"));
        for _ in 0..if pipelining { wire.matches("BDAT").count() } else { 0 } {
            glue.hear(b"250 chunk\r\n");
        }
        glue.hear(b"250 taken\r\n");
        let told: Vec<String> = glue.events.iter().map(describe).collect();
        let end = ["10 delivered 250 taken", "11 delivered 250 taken", "done"].map(String::from);
        assert!(told.ends_with(&end), "{told:?}");
    }
}

#[test]
fn what_is_allowed_before_the_content_is_through_is_not_held() {
    for body in [BodyType::SevenBit, BodyType::BinaryMime] {
        let message = Transaction { body, end_held: true, ..message(&["a@x.example"]) };
        let mut glue = Glue::new(Protocol::Smtp, vec![Task::Deliver(message)], usize::MAX);
        for line in ["220 x\r\n", "250-x\r\n250-CHUNKING\r\n250 BINARYMIME\r\n", "250 x\r\n"] {
            glue.hear(line.as_bytes());
        }
        glue.session.allow_end(NOW);
        glue.hear(b"250 x\r\n");
        if body == BodyType::SevenBit {
            glue.hear(b"354 x\r\n");
            assert!(glue.wire.ends_with(b"end\r\n.\r\n"));
        } else {
            assert!(glue.wire.ends_with(CONTENT));
            assert!(String::from_utf8_lossy(&glue.wire).contains("BDAT 29 LAST"));
        }
        glue.hear(b"250 taken\r\n");
        assert!(glue.events.contains(&Event::TaskDone));
    }
}

#[test]
fn an_end_that_is_refused_or_never_allowed_never_goes_out() {
    for body in [BodyType::SevenBit, BodyType::BinaryMime] {
        let (mut glue, _) = held(Protocol::Smtp, body, false, usize::MAX);
        let wire = glue.wire.len();
        assert!(glue.session.refuse_end(NOW));
        glue.turn();
        assert!(glue.session.closed());
        assert_eq!((glue.wire.len(), glue.session.output()), (wire, &b""[..]));
        let told: Vec<String> = glue.events.iter().map(describe).collect();
        let why = "deferred the attempt could not be recorded before the end of the message was sent";
        assert!(told.contains(&format!("10 {why}")) && told.contains(&format!("11 {why}")), "{told:?}");

        // A connection that is lost meanwhile has delivered nothing, and everybody knows it.
        let (mut glue, _) = held(Protocol::Smtp, body, false, usize::MAX);
        glue.session.ended(NOW);
        glue.turn();
        let lost = "deferred the connection was lost while the content was sent";
        assert_eq!(describe(&glue.events[2]), format!("10 {lost}"), "{:?}", glue.events);

        // Nor does a server that answers what was never sent.
        let (mut glue, _) = held(Protocol::Smtp, body, false, usize::MAX);
        glue.hear(b"250 taken\r\n");
        assert!(glue.session.closed());
        assert!(describe(&glue.events[2]).starts_with("10 deferred the server broke the protocol"));
    }
}

#[test]
fn the_next_message_is_held_only_if_it_is_to_be() {
    let mut glue = Glue::new(
        Protocol::Smtp,
        vec![
            Task::Deliver(Transaction { end_held: true, ..message(&["no@x.example"]) }),
            Task::Deliver(message(&["a@x.example"])),
        ],
        usize::MAX,
    );
    for line in
        ["220 x\r\n", "250 x\r\n", "250 x\r\n", "550 no\r\n", "250 reset\r\n", "250 x\r\n", "250 x\r\n", "354 go\r\n"]
    {
        glue.hear(line.as_bytes());
    }
    assert!(glue.wire.ends_with(b"end\r\n.\r\n"));
    // What was refused before is not heard of again.
    assert!(!glue.session.refuse_end(NOW));
    assert!(!glue.session.closed());
}
