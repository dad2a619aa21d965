//! Content that some servers would take for the end of it.

use super::*;
use crate::smtp::content::FALSE_ENDS;

/// Sends `content` to a server that takes everything, over a flow that takes `room` bytes at a time.
fn send(content: &[u8], room: usize) -> Glue {
    let mut glue = Glue::new(Protocol::Smtp, vec![Task::Deliver(message(&["a@x.example"]))], room);
    glue.content = content.to_vec();
    for reply in ["220 x\r\n", "250 x\r\n", "250 ok\r\n", "250 ok\r\n", "354 go\r\n", "250 taken\r\n"] {
        glue.hear(reply.as_bytes());
    }
    glue
}

/// What followed DATA on the wire.
fn content_sent(glue: &Glue) -> &[u8] {
    let data = b"\r\nDATA\r\n";
    let at = glue.wire.windows(data.len()).position(|window| window == data).expect("content was sent");
    &glue.wire[at + data.len()..]
}

fn newlines_alone(bytes: &[u8]) -> bool {
    String::from_utf8_lossy(bytes).replace("\r\n", "").contains(['\r', '\n'])
}

#[test]
fn no_false_end_leaves_us_even_if_the_spool_holds_one() {
    for end in FALSE_ENDS {
        for room in [1, 2, 3, usize::MAX] {
            let content = [b"Subject: a\r\n\r\nb", end, b"MAIL FROM:<evil@x.example>\r\n"].concat();
            let glue = send(&content, room);
            let shown = end.escape_ascii();
            if newlines_alone(&content) {
                let failed = "10 failed the content has a CR or LF that stands alone, and cannot be sent";
                assert!(glue.events.iter().map(describe).any(|event| event == failed), "{shown}: {:?}", glue.events);
                assert!(glue.session.closed(), "{shown}");
                assert!(!glue.wire.ends_with(b".\r\n"), "{shown}: given up without a final dot");
                // What was sent is the front of the content; its last CR waited for an LF that did not come.
                let sent = String::from_utf8_lossy(content_sent(&glue)).replace("\r\n..", "\r\n.");
                assert!(content.starts_with(sent.as_bytes()), "{shown}: {sent:?}");
            } else {
                assert!(glue.wire.ends_with(b"evil@x.example>\r\n.\r\n"), "{shown}");
            }
            assert!(!newlines_alone(&glue.wire), "{shown}, {room} bytes at a time: {}", glue.wire.escape_ascii());
        }
    }
}

#[test]
fn what_normalizing_makes_of_a_false_end_has_its_dots_doubled() {
    // The server session unstuffs and repairs: this is what the spool holds then.
    let glue = send(b"b\r\n.\r\nMAIL FROM:<evil@x.example>\r\n..\r\n.\r\n", usize::MAX);
    assert_eq!(content_sent(&glue), b"b\r\n..\r\nMAIL FROM:<evil@x.example>\r\n...\r\n..\r\n.\r\n");
    assert!(glue.events.iter().map(describe).any(|event| event == "10 delivered 250 taken"), "{:?}", glue.events);
}

#[test]
fn a_last_cr_does_not_leave_us() {
    let glue = send(b"a\r\nb\r", usize::MAX);
    assert_eq!(content_sent(&glue), b"a\r\nb");
    assert!(glue.session.closed());
}
