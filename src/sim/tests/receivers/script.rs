//! A receiver as its file describes it; the language is told in the module above.

use super::escape::unescape;
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// What a receiver does next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Act {
    /// Behaves until this has come, and does not answer it: a verb, or "." for the end of the content.
    Until(String),
    /// Behaves until so many bytes of the content have come.
    Content(usize),
    /// Says this.
    Say(Vec<u8>),
    /// Puts this on the wire below TLS.
    Raw(Vec<u8>),
    /// Does nothing for so long after all that was said has gone out.
    Wait(Duration),
    /// From now on so many bytes at a time, with this pause.
    Trickle(usize, Duration),
    /// Sends no more.
    Close,
    /// Resets the connection.
    Reset,
    /// Reads no more: the window shuts when what it holds has come.
    Deaf,
    /// Reads again.
    Listen,
    /// Shakes hands with the certificate of this number.
    Tls(u8),
    /// Says that TLS ends here.
    CloseNotify,
    /// Answers EHLO with these from now on.
    Offer(Vec<String>),
}

/// A receiver, the message that is to go to it, and what must become of that.
#[derive(Debug, Default)]
pub(super) struct Receiver {
    /// It speaks LMTP.
    pub lmtp: bool,
    /// What it says means something else when it comes in pieces.
    pub whole: bool,
    /// More of the route to it.
    pub route: String,
    pub recipients: Vec<String>,
    pub size: usize,
    /// What it offers on every connection from its beginning.
    pub offers: Vec<String>,
    /// Parameters of MAIL, as the client gives them.
    pub parameters: String,
    /// What it does on each connection. It behaves after that, and on all others.
    pub scripts: Vec<VecDeque<Act>>,
    pub expected: Expected,
}

/// What must be told, and seen.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Expected {
    pub told: Vec<String>,
    /// How the next message goes out.
    pub next: String,
    /// What is said to it on some of its connections.
    pub heard: BTreeMap<usize, String>,
}

pub(super) fn parse(text: &str) -> Receiver {
    let mut receiver =
        Receiver { size: 300, offers: lines("PIPELINING"), scripts: vec![VecDeque::new()], ..Receiver::default() };
    for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        let number = || rest.parse::<usize>().expect("a number");
        let words = || rest.split(' ').filter(|word| !word.is_empty()).map(str::to_owned);
        let expected = &mut receiver.expected;
        match word {
            "offers" => receiver.offers = lines(rest),
            "lmtp" => receiver.lmtp = true,
            "whole" => receiver.whole = true,
            "route" => receiver.route += &format!("{rest}\n"),
            "message" => receiver.recipients = words().collect(),
            "size" => receiver.size = number(),
            "parameters" => receiver.parameters = format!(" {rest}"),
            "connection" => receiver.scripts.push(VecDeque::new()),
            "told" => expected.told.push(rest.to_owned()),
            "next" => rest.clone_into(&mut expected.next),
            _ if word.starts_with("heard") => {
                let (place, heard) = rest.split_once(' ').unwrap_or((rest, ""));
                expected.heard.insert(place.parse().expect("the number of a connection"), heard.to_owned());
            }
            _ => receiver.scripts.last_mut().expect("there is one").extend(acts(word, rest)),
        }
    }
    if receiver.recipients.is_empty() {
        receiver.recipients.push("a".into());
    }
    receiver
}

fn acts(word: &str, rest: &str) -> Option<Act> {
    let pieces = || rest.split_once(' ').expect("two values");
    Some(match word {
        "until" => match rest.strip_prefix("content ") {
            Some(count) => Act::Content(count.parse().expect("bytes")),
            None => Act::Until(rest.to_owned()),
        },
        "raw:" => Act::Raw(unescape(rest)),
        "wait" => Act::Wait(duration(rest)),
        "trickle" => Act::Trickle(pieces().0.parse().expect("bytes"), duration(pieces().1)),
        "close" => Act::Close,
        "reset" => Act::Reset,
        "deaf" => Act::Deaf,
        "listen" => Act::Listen,
        "tls" => Act::Tls(if rest.is_empty() { super::server::CERTIFICATE } else { rest.parse().expect("a number") }),
        "close_notify" => Act::CloseNotify,
        "offer" => Act::Offer(lines(rest)),
        _ => {
            let (kind, times) =
                word.strip_suffix(':').expect("a known word").split_once('*').unwrap_or((&word[..1], "1"));
            let end: &[u8] = match kind {
                "S" => b"\r\n",
                "s" => b"",
                _ => panic!("no such word: {word}"),
            };
            Act::Say([&unescape(rest), end].concat().repeat(times.parse().expect("a count")))
        }
    })
}

fn lines(text: &str) -> Vec<String> {
    text.split(',').map(|line| line.trim().to_owned()).collect()
}

fn duration(text: &str) -> Duration {
    match text.strip_suffix("ms") {
        Some(millis) => Duration::from_millis(millis.parse().expect("milliseconds")),
        None => Duration::from_secs(text.strip_suffix('s').and_then(|text| text.parse().ok()).expect("seconds")),
    }
}
