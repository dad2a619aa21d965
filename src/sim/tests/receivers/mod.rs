//! Receivers that misbehave, and exactly what comes of the mail that is for them: one in each file of `tests/receivers`.
//!
//! The appliance is whole, and so is TCP. Each receiver is lived through twice, saying what it says in as few segments as it can and
//! byte by byte. It is given one message, and a second after something has come of that, another one; then everything goes on until
//! the queue is empty. A receiver behaves (RFC 5321, RFC 2033), except where its file says otherwise:
//!
//! ```text
//! # a comment: what it does wrong, and why that must come of it
//! lmtp                    it speaks LMTP
//! whole                   it is lived through once only: what it says would mean something else if it came later
//! route KEY = VALUE       a line more in the route to it
//! message NAME NAME       to whom the message goes (to `a` where nothing is said)
//! size BYTES              how large it is
//! parameters TEXT         what the client says behind MAIL FROM:<>
//! offers LINE, LINE       it answers EHLO with these (with `PIPELINING` where nothing is said)
//! offer LINE, LINE        the same from now on, on this connection
//! until VERB              it behaves until this command has come, which it does not answer; `until .`: until the content has come
//! until content BYTES     it behaves until so much of the content has come
//! S: TEXT                 it says TEXT and CRLF; escapes: \r \n \0 \t \\ \xHH
//! s: TEXT                 the same without CRLF
//! S*N: TEXT               the same as S, N times
//! raw: TEXT               it puts TEXT on the wire below TLS
//! tls NUMBER              it shakes hands; without the number with a certificate that the appliance trusts
//! close_notify            it says that TLS ends
//! wait 30s                it does nothing meanwhile
//! trickle N 10s           from now on it sends N bytes at a time, with this pause
//! deaf, listen            it reads no more, it reads again
//! close, reset            the end of the connection
//! connection              what follows is done on the next connection
//!
//! told FATE               what the log tells of the message's recipients, all and in order
//! next WAY                how the second message goes out: `kept` on the same connection, `closed` on another one, `blamed` after
//!                         a while in which the host is left alone, or its own fate
//! heard N VERBS           what is said to it on connection N, and who ends that, unless QUIT was said: `closed` or `reset` by the appliance
//! ```
//!
//! To AUTH PLAIN it says 235 if it is shown the user `user` and the password `secret`. The route shows them where it says
//! `credentials = "file"`.
//!
//! Whatever it does, nobody is delivered to without its consent behind the end of the content, and no table exceeds its limit.

mod script;
mod server;

#[path = "../../../../tests/dialogue/escape.rs"]
mod escape;

use super::{Bench, CLIENT, PATIENCE, content};
use crate::config;
use crate::event::{Attempt, Event};
use crate::flow::FlowId;
use crate::sim::secure;
use crate::sim::setup::outside;
use crate::tls::Client;
use script::{Expected, Receiver, parse};
pub(super) use server::Server;
use server::{CERTIFICATE, Pace};
use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

const ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 21));

/// All that it says at once, or byte by byte.
const PACES: [Pace; 2] = [(usize::MAX, Duration::ZERO), (1, Duration::from_micros(200))];

/// Longer than any of them lives.
const LIFE: Duration = Duration::from_secs(24 * 3600);

/// How long the appliance keeps a connection that it has no use for.
const IDLE: Duration = Duration::from_secs(30);

/// The recipient of the second message.
const SECOND: &str = "second";

fn trusting() -> Client {
    secure::client_that_trusts(CERTIFICATE, &ADDRESS.to_string())
}

fn bench(receiver: &Receiver, pace: Pace) -> Bench {
    secure::begin(1);
    let scheme = if receiver.lmtp { "lmtp" } else { "smtp" };
    let route = format!("[[route]]\ndomain = \"d.test\"\nto = [\"{scheme}://{ADDRESS}:25\"]\n{}", receiver.route);
    let mut bench = Bench::prepared(1, 1, &route, |config| {
        config.delivery.idle_timeout = config::Period(IDLE);
        config.listeners[0].binarymime = true;
    });
    bench.node.client_tls = Some(trusting);
    bench.node.give_credentials("user\nsecret\n");
    let stack = outside(&bench.network, 4, vec![ADDRESS], vec![SocketAddr::new(ADDRESS, 25)], 5);
    bench.receiver = Some(Server::new(stack, ADDRESS, receiver, pace));
    bench.start(1).expect("the appliance starts");
    bench
}

/// Gives a message to the appliance.
fn submit(bench: &mut Bench, number: u32, recipients: &[String], receiver: &Receiver) {
    let client: FlowId = bench.enter(CLIENT).expect("it is let in");
    let mut agree = |line: &str, consent| bench.agrees(client, line, consent).expect("it is taken");
    agree(&format!("MAIL FROM:<>{}\r\n", receiver.parameters), "250 ");
    for recipient in recipients {
        agree(&format!("RCPT TO:<{recipient}@d.test>\r\n"), "250 ");
    }
    let content = content(number, receiver.size);
    if receiver.parameters.contains("BINARYMIME") {
        bench.say(client, format!("BDAT {} LAST\r\n", content.len()).as_bytes());
        bench.say(client, &content);
        assert!(bench.reply(client).is_some_and(|reply| reply.starts_with("250 ")), "it is taken");
    } else {
        agree("DATA\r\n", "354 ");
        bench.say(client, &content);
        bench.agrees(client, ".\r\n", "250 ").expect("it is taken");
    }
    bench.clients.close(bench.now(), client);
}

/// Of whom it is, what became of it, and whether that is the end.
fn fate(event: &Event) -> Option<(&str, String, bool)> {
    let (Attempt { recipient, reply, .. }, became, over) = match event {
        Event::Delivered(attempt) => (attempt, "delivered".to_owned(), true),
        Event::Deferred { attempt, status, .. } => (attempt, format!("deferred {status}"), false),
        Event::Bounced { attempt, status, .. } => (attempt, format!("bounced {status}"), true),
        Event::Expired { attempt, .. } => (attempt, "expired".to_owned(), true),
        _ => return None,
    };
    Some((recipient.strip_suffix("@d.test")?, format!("{became} {reply}"), over))
}

/// Whether something, or the last thing, has come of each of them.
fn settled(bench: &Bench, recipients: &[String], last: bool) -> bool {
    let is_settled = |sought: &String| {
        bench.events.iter().filter_map(fate).any(|(recipient, _, over)| recipient == sought && (over || !last))
    };
    recipients.iter().all(is_settled)
}

/// What comes of it.
fn live(receiver: &Receiver, pace: Pace) -> Expected {
    let mut bench = bench(receiver, pace);
    submit(&mut bench, 1, &receiver.recipients, receiver);
    assert!(bench.becomes(LIFE, |bench| settled(bench, &receiver.recipients, false)), "nothing comes of it");
    bench.run_for(Duration::from_secs(1));
    let blamed = bench.events.iter().any(|event| matches!(event, Event::HostDown { .. }));
    let second = [SECOND.to_owned()];
    submit(&mut bench, 2, &second, receiver);
    let all = [&receiver.recipients[..], &second].concat();
    assert!(bench.becomes(LIFE, |bench| settled(bench, &all, true)), "it comes to no end: {:?}", bench.events);
    bench.run_for(IDLE + PATIENCE);

    let server = bench.receiver.as_ref().expect("it is there");
    let fates: Vec<_> = bench.events.iter().filter_map(fate).collect();
    let delivered = fates.iter().filter(|(_, fate, _)| fate.starts_with("delivered ")).count();
    let consents: usize = server.conversations.iter().map(|conversation| conversation.consents).sum();
    let each = if receiver.lmtp { 1 } else { receiver.recipients.len() };
    let next = match fates.iter().find(|(recipient, ..)| *recipient == SECOND) {
        _ if blamed => "blamed".to_owned(),
        Some((_, fate, _)) if fate.starts_with("delivered ") => {
            let mut transactions = (server.conversations.iter())
                .flat_map(|conversation| &conversation.recipients)
                .filter(|(recipient, _)| recipient == SECOND)
                .map(|(_, transaction)| *transaction);
            if transactions.next_back() > Some(1) { "kept".to_owned() } else { "closed".to_owned() }
        }
        Some((_, fate, _)) => fate.clone(),
        None => "nothing".to_owned(),
    };
    let of_first = fates.iter().filter(|(recipient, ..)| *recipient != SECOND);
    let mut told: Vec<String> = of_first.map(|(recipient, fate, _)| format!("{recipient} {fate}")).collect();
    if delivered > consents * each {
        told.push(format!("nobody consented to some of the {delivered} deliveries"));
    }
    Expected {
        told,
        next,
        heard: (1..).zip(&server.conversations).map(|(place, talk)| (place, talk.heard.join(" "))).collect(),
    }
}

/// As it stands in a file.
fn text(outcome: &Expected) -> String {
    let mut text = outcome.told.iter().map(|fate| format!("told {fate}\n")).collect::<String>();
    let _ = writeln!(text, "next {}", outcome.next);
    for (place, heard) in &outcome.heard {
        let _ = writeln!(text, "heard {place} {heard}");
    }
    text
}

/// What is wrong, for a person; empty if nothing is.
fn differences(name: &str, receiver: &Receiver) -> String {
    let mut wrong = String::new();
    for pace in if receiver.whole { &PACES[..1] } else { &PACES } {
        let mut found = live(receiver, *pace);
        found.heard.retain(|place, _| receiver.expected.heard.contains_key(place));
        if found != receiver.expected {
            let _ = write!(
                wrong,
                "{name}, {pace:?}\n--- expected\n{}--- found\n{}",
                text(&receiver.expected),
                text(&found)
            );
        }
    }
    wrong
}

#[test]
fn every_misbehaving_receiver_has_exactly_the_outcome_expected() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/receivers");
    let entries = std::fs::read_dir(folder).expect("the folder of receivers");
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    files.sort();
    assert!(files.len() >= 60, "receivers are missing");
    let wrong: String = (files.iter())
        .map(|path| {
            let name = path.file_name().expect("a file").to_string_lossy();
            differences(&name, &parse(&std::fs::read_to_string(path).expect("a receiver")))
        })
        .collect();
    assert!(wrong.is_empty(), "{wrong}");
    println!("{} receivers", files.len());
}
