//! Arbitrary cuts, arbitrary servers.

use super::*;
use crate::smtp::client::content::Stuffing;
use proptest::prelude::*;

/// Dot-stuffing as the RFC words it, on the whole content; an error with what may go before a CR or LF that stands alone.
fn stuffed(content: &[u8]) -> Result<Vec<u8>, Vec<u8>> {
    let mut out = Vec::new();
    for (place, byte) in content.iter().enumerate() {
        let alone = match byte {
            b'\r' => content.get(place + 1) != Some(&b'\n'),
            b'\n' => place == 0 || content[place - 1] != b'\r',
            _ => false,
        };
        if alone {
            return Err(out);
        }
        if *byte == b'.' && (place == 0 || content[..place].ends_with(b"\r\n")) {
            out.push(b'.');
        }
        out.push(*byte);
    }
    if !out.is_empty() && !out.ends_with(b"\r\n") {
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b".\r\n");
    Ok(out)
}

fn server_words() -> impl Strategy<Value = Vec<u8>> {
    let line = prop::sample::select(vec![
        "220 hi\r\n",
        "250 ok\r\n",
        "250-x\r\n250-PIPELINING\r\n250-SIZE 9999\r\n250 DSN\r\n",
        "250-x\r\n250-PIPELINING\r\n250-CHUNKING\r\n250 BINARYMIME\r\n",
        "250-x\r\n250-CHUNKING\r\n250 BINARYMIME\r\n",
        "250-LIMITS RCPTMAX=2\r\n",
        "354 go\r\n",
        "354 go\r\n",
        "421 bye\r\n",
        "450 4.2.1 later\r\n",
        "452 full\r\n",
        "550 5.1.1 no\r\n",
        "250",
        "\r\n",
    ]);
    prop_oneof![
        30 => line.prop_map(|line| line.as_bytes().to_vec()),
        20 => Just(b"250 ok\r\n".to_vec()),
        1 => prop::collection::vec(any::<u8>(), 0..20),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn stuffing_equals_the_naive_one_however_it_is_cut(
        words in prop::collection::vec(prop::sample::select(vec![".", "\r\n", "a", "..", "\r\n."]), 0..60),
        lone in prop::sample::select(vec!["", "", "\r", "\n", "\r\r\n", "\n.\r\n"]),
        place in 0usize..60,
        cuts in prop::collection::vec(1usize..9, 1..20),
        rooms in prop::collection::vec(0usize..6, 1..20),
    ) {
        let mut words = words;
        words.insert(place.min(words.len()), lone);
        let content = words.concat().into_bytes();
        let (mut stuffing, mut wire, mut taken) = (Stuffing::default(), Vec::new(), 0);
        let mut fault = false;
        let (mut cuts, mut rooms) = (cuts.iter().cycle(), rooms.iter().chain(&[1]).cycle());
        while taken < content.len() {
            let piece = &content[taken..(taken + cuts.next().unwrap()).min(content.len())];
            let mut room = *rooms.next().unwrap();
            let count = stuffing.write(piece, &mut |bytes| {
                let count = bytes.len().min(room);
                room -= count;
                wire.extend_from_slice(&bytes[..count]);
                count
            });
            let Ok(count) = count else {
                fault = true;
                break;
            };
            prop_assert!(count <= piece.len());
            taken += count;
        }
        match stuffing.end() {
            Ok(end) if !fault => {
                wire.extend_from_slice(end);
                prop_assert_eq!(Ok(wire), stuffed(&content));
            }
            _ => prop_assert_eq!(Err(wire), stuffed(&content)),
        }
    }

    #[test]
    fn whatever_the_server_says_each_recipient_is_settled_exactly_once(
        words in prop::collection::vec(server_words(), 0..30),
        greeted in any::<bool>(),
        lmtp in any::<bool>(),
        body in prop::sample::select(vec![BodyType::SevenBit, BodyType::EightBitMime, BodyType::BinaryMime]),
        recipients_count in 0usize..6,
        piece_size in 1usize..40,
        room in 1usize..30,
        end in 0u8..4,
    ) {
        let protocol = if lmtp { Protocol::Lmtp } else { Protocol::Smtp };
        let mut transaction = message(&vec!["a@x.example"; recipients_count]);
        transaction.body = body;
        let tasks =
            vec![Task::Deliver(transaction.clone()), Task::Verify { recipient: "v@x".into() }, Task::Deliver(transaction)];
        let mut glue = Glue::new(protocol, tasks, room);
        if greeted {
            glue.hear(b"220 x\r\n");
        }
        for piece in words.concat().chunks(piece_size) {
            glue.hear(piece);
        }
        match end {
            0 => glue.session.quit(NOW),
            1 => glue.session.expired(Instant::FAR),
            2 => glue.session.content_failed(NOW),
            _ => {}
        }
        glue.turn();
        glue.session.ended(NOW);
        glue.turn();
        prop_assert!(glue.session.closed());
        prop_assert_eq!(glue.session.deadline(), None);
        let count = |wanted: &dyn Fn(&Event) -> bool| glue.events.iter().filter(|event| wanted(event)).count();
        let started = 3 - glue.tasks.len();
        prop_assert_eq!(count(&|event| matches!(event, Event::TaskDone)), started);
        prop_assert_eq!(count(&|event| matches!(event, Event::Verified { .. })), usize::from(started > 1));
        for index in 0..recipients_count {
            let index = index as u32 + 10;
            let settled = count(&|event| matches!(event, Event::Settled { index: settled, .. } if *settled == index));
            prop_assert_eq!(settled, started - started / 2);
        }
        prop_assert_eq!(count(&|event| matches!(event, Event::Closing(_))), 1);
        prop_assert!(matches!(glue.events.last(), Some(Event::Closing(_))));
    }
}

/// A session that has come so far.
fn at_stage(stage: &str) -> Glue {
    let said = match stage {
        "greeting" => "",
        "ehlo" => "220 x\r\n",
        "mail" => "220 x\r\n|250 x\r\n",
        "rcpt" => "220 x\r\n|250 x\r\n|250 ok\r\n",
        "outcome" => "220 x\r\n|250 x\r\n|250 ok\r\n|250 ok\r\n|354 go\r\n",
        _ => panic!("no such stage: {stage}"),
    };
    let mut glue = Glue::new(Protocol::Smtp, vec![Task::Deliver(message(&["a@x.example"]))], usize::MAX);
    said.split('|').for_each(|turn| glue.hear(turn.as_bytes()));
    glue.events.clear();
    glue
}

#[test]
fn what_is_no_reply_ends_the_session_at_any_stage() {
    let (long, many) = (format!("250 {}\r\n", "x".repeat(CLIENT_REPLY_LINE_SIZE_MAX)), "250-x\r\n".repeat(129));
    let endless = "x".repeat(CLIENT_REPLY_LINE_SIZE_MAX + 1);
    let words: [&[u8]; 15] = [
        b"\r\n",
        b"hello\r\n",
        b"199 x\r\n",
        b"100 x\r\n",
        b"600 x\r\n",
        b"999 x\r\n",
        b"25 x\r\n",
        b"2500 x\r\n",
        b"250_x\r\n",
        b"-250 x\r\n",
        b"250-x\r\n251 x\r\n",
        b"\0\xff\xfe\r\n",
        long.as_bytes(),
        many.as_bytes(),
        endless.as_bytes(),
    ];
    for (stage, told) in [
        ("greeting", &["closing the server broke the protocol before its greeting"][..]),
        ("ehlo", &["closing the server broke the protocol when the reply to EHLO was due"]),
        ("mail", &["10 deferred the server broke the protocol when the reply to MAIL FROM was due", "done", "closing"]),
        ("rcpt", &["10 deferred the server broke the protocol when the reply to RCPT TO was due", "done", "closing"]),
        ("outcome", &["10 deferred the whole message was sent, but its acknowledgement never came", "done", "closing"]),
    ] {
        for word in words {
            for piece_size in [1, 7, usize::MAX] {
                let mut glue = at_stage(stage);
                word.chunks(piece_size.min(word.len())).for_each(|piece| glue.hear(piece));
                let events: Vec<String> = glue.events.iter().map(describe).collect();
                let shown = word[..word.len().min(20)].escape_ascii();
                assert_eq!(events, told, "{shown} by {piece_size}");
                // Whatever comes then is not even looked at.
                glue.hear(b"250 ok\r\n");
                assert_eq!(glue.events.len(), told.len(), "{shown} by {piece_size}");
                assert!(glue.session.closed() && glue.session.output().is_empty(), "{shown}");
            }
        }
    }
}

#[test]
fn an_endless_reply_ends_soon_and_takes_bounded_memory() {
    for line in ["220-x\r\n", "220-\r\n", "220-\n"] {
        let mut glue = at_stage("greeting");
        let lines = line.repeat(100_000);
        glue.hear(lines.as_bytes());
        assert!(glue.session.closed(), "{line:?}");
        assert_eq!(glue.events.len(), 1, "{line:?}");
    }
}

#[test]
fn replies_to_what_was_not_asked_yet_deliver_nothing() {
    let everything = "220 x\r\n250 x\r\n250 ok\r\n250 ok\r\n354 go\r\n250 taken\r\n";
    let mut glue = at_stage("greeting");
    glue.hear(everything.as_bytes());
    let events: Vec<String> = glue.events.iter().map(describe).collect();
    assert_eq!(events, ["ready", "closing the server broke the protocol between two messages"]);
    // The acknowledgement of content before a byte of it was asked for.
    let mut glue = Glue::new(Protocol::Smtp, vec![Task::Deliver(message(&["a@x.example"]))], usize::MAX);
    glue.hear(b"220 x\r\n");
    glue.hear(b"250-x\r\n250 PIPELINING\r\n");
    glue.hear(b"250 ok\r\n250 ok\r\n354 go\r\n250 taken\r\n");
    let events: Vec<String> = glue.events.iter().map(describe).collect();
    let deferred = "10 deferred the server broke the protocol while the content was sent";
    assert_eq!(events, ["ready", "content", deferred, "done", "closing"]);
    assert!(!glue.wire.ends_with(b"\r\n.\r\n"), "no end for what was not acknowledged");
}

#[test]
fn nothing_after_the_last_goodbye_is_heard() {
    let mut glue = at_stage("mail");
    glue.session.quit(NOW);
    for reply in ["250 ok\r\n", "250 ok\r\n", "354 go\r\n", "250 taken\r\n"] {
        glue.hear(reply.as_bytes());
    }
    let events: Vec<String> = glue.events.iter().map(describe).collect();
    assert_eq!(events, ["content", "10 delivered 250 taken", "done", "closing"]);
    assert!(glue.wire.ends_with(b".\r\nQUIT\r\n"));
    glue.hear(b"221 bye\r\n250 more\r\n\0\xff421 x\r\n554 no\r\n");
    assert_eq!(glue.events.len(), 4);
    assert!(glue.session.closed() && glue.session.output().is_empty());
}

#[test]
fn what_a_server_says_is_one_clean_line_in_all_that_tells_of_it() {
    let mut glue = at_stage("rcpt");
    glue.hear(b"550-5.7.1 a\x1b[2J\r\n550-5.7.1 \x00b\rc\x7f\r\n550 5.7.1 \xc2\x9bd\xff\r\n");
    let [Event::Settled { fate: Fate::Failed(reason), .. }, ..] = &glue.events[..] else { panic!("{:?}", glue.events) };
    let text = reason.to_string();
    assert_eq!(text, "550 5.7.1 a?[2J ?b?c? ?d\u{fffd} (in reply to RCPT TO)");
    let diagnostic = crate::smtp::dsn::Diagnostic::from(reason);
    assert_eq!(diagnostic, crate::smtp::dsn::Diagnostic::Remote("550 5.7.1 a?[2J ?b?c? ?d\u{fffd}".into()));
}

#[test]
fn a_connection_that_was_over_before_the_next_message_came_says_nothing_about_it() {
    let tasks = || vec![Task::Deliver(message(&["a@x.example"])), Task::Deliver(message(&["b@x.example"]))];
    for bye in [Some("421 4.4.2 idle\r\n"), None] {
        let mut glue = Glue::new(Protocol::Smtp, tasks(), usize::MAX);
        for reply in ["220 x\r\n", "250 x\r\n", "250 ok\r\n", "250 ok\r\n", "354 go\r\n", "250 taken\r\n"] {
            glue.hear(reply.as_bytes());
        }
        assert!(glue.wire.ends_with(b"MAIL FROM:<from@us.example>\r\n"), "the next has begun");
        match bye {
            Some(bye) => glue.hear(bye.as_bytes()),
            None => glue.session.ended(NOW),
        }
        glue.turn();
        let events: Vec<String> = glue.events.iter().map(describe).collect();
        let told = ["10 deferred the server ended the connection between two messages", "done", "closing"];
        assert_eq!(events[events.len() - 3..], told);
    }
    // On the first message it is what it says.
    let mut glue = at_stage("mail");
    glue.hear(b"421 bye\r\n");
    assert_eq!(describe(&glue.events[0]), "10 deferred 421 bye (in reply to MAIL FROM)");
}

#[test]
fn a_consent_to_what_has_not_arrived_is_none_and_the_flow_is_to_be_reset() {
    let mut glue = at_stage("outcome");
    assert!(glue.session.awaits_outcome());
    glue.session.set_end_in_flight(true);
    glue.hear(b"250 taken\r\n");
    let told = "10 deferred the whole message was sent, but its acknowledgement never came";
    assert_eq!(describe(&glue.events[0]), told);
    assert!(glue.session.in_doubt());
    let mut glue = at_stage("outcome");
    glue.session.set_end_in_flight(true);
    glue.session.set_end_in_flight(false);
    glue.hear(b"250 taken\r\n");
    assert_eq!(describe(&glue.events[0]), "10 delivered 250 taken");
    assert!(!glue.session.in_doubt());
}
