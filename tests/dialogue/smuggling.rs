//! Dialogues made from the table of false ends of data.

use super::{Dialogue, Outcome, differences, latin, send};
use rohrpost::smtp::content::FALSE_ENDS;
use rohrpost::smtp::server::{BareNewline, Settings};

/// What the spool holds of content whose line ends are repaired, by the letter.
fn normalized(content: &[u8], dots: bool) -> String {
    let text = latin(content).replace("\r\n", "\n").replace('\r', " ");
    let lines =
        text.split_terminator('\n').map(|line| if dots { line.strip_prefix('.').unwrap_or(line) } else { line });
    lines.map(|line| format!("{line}\r\n")).collect()
}

/// A message with a false end in its middle, and a second one behind it that somebody would like to smuggle in.
fn smuggling(end: &[u8], rule: BareNewline, by_chunk: bool) -> Dialogue {
    let content = [b"Subject: a\r\n\r\nb", end, b"MAIL FROM:<evil@client.example>\r\n"].concat();
    let mut dialogue = Dialogue {
        settings: Settings::new("mx.example"),
        bare_newline: rule,
        relays: false,
        acts: Vec::new(),
        expected: Outcome::default(),
    };
    send(&mut dialogue, b"HELO client.example\r\nMAIL FROM:<a@client.example>\r\nRCPT TO:<b@mx.example>\r\n".to_vec());
    let mut replies = String::from(
        "220 mx.example ESMTP Rohrpost\r\n250 mx.example\r\n250 2.1.0 Sender OK\r\n250 2.1.5 Recipient OK\r\n",
    );
    if by_chunk {
        send(&mut dialogue, format!("BDAT {} LAST\r\n", content.len()).into_bytes());
        send(&mut dialogue, content.clone());
    } else {
        send(&mut dialogue, [b"DATA\r\n", content.as_slice(), b".\r\n"].concat());
        replies += "354 End data with <CR><LF>.<CR><LF>\r\n";
    }
    // The first thing that is wrong decides: a NUL always, a CR or LF that stands alone unless it is repaired.
    let nul = end.iter().position(|byte| *byte == 0);
    let alone = (0..end.len()).find(|place| match end[*place] {
        b'\r' => end.get(place + 1) != Some(&b'\n'),
        b'\n' => *place == 0 || end[place - 1] != b'\r',
        _ => false,
    });
    let alone = alone.filter(|_| rule == BareNewline::Reject);
    let refusal = match (nul, alone) {
        (None, None) => None,
        (Some(nul), alone) if alone.is_none_or(|alone| nul < alone) => {
            Some("554 5.6.0 NUL in the message (RFC 5322 section 4)")
        }
        _ => Some(
            "550 5.5.2 Bare CR or LF in the message: every line must end in CRLF (RFC 5321 section 2.3.8), fix the \
             sending program or ask the postmaster here to normalize its line ends",
        ),
    };
    let expected = &mut dialogue.expected;
    match refusal {
        Some(refusal) => {
            replies += &format!("{refusal}\r\n");
            expected.events.push("abort".into());
        }
        None => {
            replies += "250 2.0.0 Queued as 0000000000001\r\n";
            expected.content =
                "Received: from client.example ([192.0.2.7])\r\n\tby mx.example with SMTP id 0000000000001\r\n\
                \tfor <b@mx.example>;\r\n\tMon, 23 Nov 2026 04:19:35 +0000\r\n"
                    .into();
            expected.content += &normalized(&content, !by_chunk);
            expected.events.push("commit a@client.example -> b@mx.example".into());
        }
    }
    replies += "221 2.0.0 mx.example closing connection\r\n";
    expected.replies = replies;
    send(&mut dialogue, b"QUIT\r\n".to_vec());
    dialogue
}

#[test]
fn no_false_end_of_data_lets_a_second_message_in() {
    let mut wrong = String::new();
    for end in FALSE_ENDS {
        for rule in [BareNewline::Reject, BareNewline::Normalize] {
            for by_chunk in [false, true] {
                let name =
                    format!("{} by {} under {rule:?}", end.escape_ascii(), if by_chunk { "BDAT" } else { "DATA" });
                wrong += &differences(&name, &smuggling(end, rule, by_chunk));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}
