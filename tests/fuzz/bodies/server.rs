//! A conversation with the server session: the same outcome however its bytes come, and nothing stored or said that
//! could lead the next one astray.

use super::address::is_harmless;
use super::choices::{Choices, Cuts};
use super::session::{EASY, Line, Manner, Stored, has_whole_lines};
use rohrpost::smtp::BodyType;
use rohrpost::smtp::server::{BareNewline, Settings};

#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    replies: String,
    stored: Vec<Stored>,
    aborted: usize,
    state: &'static str,
}

fn converse(settings: &Settings, bare_newline: BareNewline, manner: Manner, input: &[u8]) -> Outcome {
    let mut line = Line::new(settings.clone(), bare_newline, manner);
    line.hear(input);
    let state = line.session.state_name();
    line.session.ended(&mut line.spool);
    let replies = String::from_utf8(line.replies).expect("replies are text");
    Outcome { replies, stored: line.spool.stored, aborted: line.spool.aborted, state }
}

fn check(outcome: &Outcome) {
    assert!(has_whole_lines(outcome.replies.as_bytes()), "a reply is a line: {:?}", outcome.replies);
    for reply in outcome.replies.split_terminator("\r\n") {
        assert!(reply.len() <= 510, "RFC 5321 §4.5.3.1.5: {reply:?}");
        assert!(reply.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic()), "{reply:?}");
        let code: u16 = reply[..3].parse().expect("a reply begins with its code");
        assert!((200..600).contains(&code), "{reply:?}");
        assert!(matches!(reply.as_bytes()[3], b' ' | b'-'), "{reply:?}");
    }
    let queued = outcome.replies.matches("250 2.0.0 Queued as").count();
    assert_eq!(queued, outcome.stored.len(), "what is stored is acknowledged, and nothing else");
    for message in &outcome.stored {
        let envelope = &message.envelope;
        let recipients = envelope.recipients.iter().flat_map(|to| [Some(&to.address), to.original.as_ref()]);
        let texts = recipients.chain([Some(&envelope.reverse_path), envelope.envelope_id.as_ref()]);
        assert!(texts.flatten().all(|text| is_harmless(text)), "{envelope:?}");
        if envelope.body != BodyType::BinaryMime {
            assert!(has_whole_lines(&message.content), "{:?}", message.content.escape_ascii().to_string());
            assert!(message.content.ends_with(b"\r\n"), "what is kept can go on by DATA");
            assert!(!message.content.contains(&0), "RFC 5321 §2.3.8");
        }
    }
}

pub fn run(data: &[u8]) {
    let mut choices = Choices::new(data);
    let kind = choices.byte();
    let (seed, room, ring) = (choices.byte(), choices.byte(), choices.byte());
    let input = choices.rest();
    let bare_newline = if kind & 1 == 0 { BareNewline::Reject } else { BareNewline::Normalize };
    let mut settings = Settings::new("mx.example");
    settings.binarymime = kind & 2 != 0;
    if kind & 4 != 0 {
        settings.message_size_max = 100;
        settings.recipients_max = 2;
        settings.hops_max = 1;
    }
    settings.errors_max = if kind & 8 != 0 { 2 } else { 1000 };
    settings.transactions_max = if kind & 16 != 0 { 1 } else { 1000 };
    let whole = converse(&settings, bare_newline, EASY, input);
    check(&whole);
    for cuts in Cuts::all(seed) {
        let manner = Manner { cuts, ring: 16 + 8 * usize::from(ring), room: 1 + usize::from(room) };
        let found = converse(&settings, bare_newline, manner, input);
        assert_eq!(found, whole, "{manner:?}");
    }
}
