//! Next hops that misbehave in ways that only a real transport has: resets, and windows that shut. What misbehaves in what it says is in
//! `tests/receivers`, which `src/sim/tests/receivers` lives through in virtual time.

mod appliance;

use appliance::client::in_namespace;
use appliance::mail::{PATIENCE, source};
use appliance::{APPLIANCE, Appliance, Lab, MX, RELAY, Setup, eventually};
use socket2::SockRef;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

/// Serves each connection to a port of mx in a thread of its own, by its number.
fn hop(lab: &Lab, port: u16, serve: impl Fn(usize, TcpStream) + Send + Sync + 'static) {
    let (ready, is_ready) = mpsc::channel();
    let serve = Arc::new(serve);
    in_namespace(&lab.namespace("mx"), move || {
        let listener = TcpListener::bind((MX, port)).expect("a port");
        // Windows are small from the first connection on.
        SockRef::from(&listener).set_recv_buffer_size(4096).expect("a buffer");
        ready.send(()).expect("somebody waits");
        for (place, stream) in listener.incoming().flatten().enumerate() {
            let serve = Arc::clone(&serve);
            std::thread::spawn(move || serve(place, stream));
        }
    });
    is_ready.recv().expect("it listens");
}

/// Behaves until this command has come, which is not answered; "." is the end of the content. Whether it has come.
fn until(stream: &TcpStream, sought: &str) -> bool {
    let (mut out, mut lines) = (stream, BufReader::new(stream));
    let (mut line, mut in_content) = ("CONNECT".to_owned(), false);
    loop {
        let word = line.trim_end().split(' ').next().unwrap_or_default();
        if word == sought && (word == "." || !in_content) {
            return true;
        }
        let answer = match word {
            "." => "250 2.0.0 taken\r\n",
            _ if in_content => "",
            "CONNECT" => "220 mx\r\n",
            "DATA" => "354 go on\r\n",
            "QUIT" => "221 bye\r\n",
            _ => "250 ok\r\n",
        };
        in_content = word == "DATA" || in_content && word != ".";
        line.clear();
        if out.write_all(answer.as_bytes()).is_err() || lines.read_line(&mut line).unwrap_or(0) == 0 {
            return false;
        }
    }
}

/// Closes with a reset, whatever was read.
fn reset(stream: TcpStream) {
    SockRef::from(&stream).set_linger(Some(Duration::ZERO)).expect("an option");
}

/// What is tried again soon.
const SOON: &str =
    "[retry]\nfirst = \"1s\"\ngrowth = 1.0\n[delivery]\nhost_backoff = \"1s\"\nhost_backoff_max = \"1s\"\n";

fn start(lab: &Lab, transport: &str, more: &str) -> Appliance {
    let more = format!("{SOON}{more}");
    Appliance::start(lab, &Setup { transport, to: &format!("smtp://{MX}:25"), cores: "", more: &more })
}

fn send(lab: &Lab, transport: &str, count: u32, size: u32, to: &str) {
    let server = format!("inet:{}:25", if transport == "kernel" { RELAY } else { APPLIANCE });
    source(lab, &["-m", &count.to_string(), "-l", &size.to_string(), "-t", to, &server]);
}

#[test]
fn a_consent_with_a_reset_behind_it_is_a_consent() {
    for transport in ["af_xdp", "kernel"] {
        let Some(lab) = Lab::up(1) else { return };
        hop(&lab, 25, |_, mut stream| {
            if until(&stream, ".") {
                let _ = stream.write_all(b"250 2.0.0 taken\r\n");
            }
            reset(stream);
        });
        let appliance = start(&lab, transport, "");
        send(&lab, transport, 30, 2048, "user@example.test");
        appliance.wait_until_empty(PATIENCE);
        assert_eq!(appliance.events("delivered").len(), 30, "{transport}");
        assert!(appliance.events("deferred").is_empty(), "{transport}: {:?}", appliance.events("deferred"));
    }
}

/// Where a next hop resets, and how that is told.
const STAGES: [(&str, &str); 6] = [
    ("CONNECT", "before its greeting"),
    ("EHLO", "when the reply to EHLO was due"),
    ("MAIL", "when the reply to MAIL FROM was due"),
    ("RCPT", "when the reply to RCPT TO was due"),
    ("DATA", "when the reply to DATA was due"),
    (".", "the whole message was sent, but its acknowledgement never came"),
];

#[test]
fn a_reset_in_any_state_is_told_as_what_it_is_and_the_mail_is_tried_again() {
    for transport in ["af_xdp", "kernel"] {
        let Some(lab) = Lab::up(1) else { return };
        hop(&lab, 25, |place, stream| match STAGES.get(place) {
            Some((sought, _)) => {
                until(&stream, sought);
                reset(stream);
            }
            None => {
                until(&stream, "");
            }
        });
        let appliance = start(&lab, transport, "");
        send(&lab, transport, 1, 2048, "user@example.test");
        appliance.wait_until_empty(PATIENCE);
        assert_eq!(appliance.events("delivered").len(), 1, "{transport}");
        let replies: Vec<String> = (appliance.events("deferred").iter())
            .map(|line| line["reply"].as_str().unwrap_or_default().to_owned())
            .filter(|reply| !reply.starts_with("all hosts failed lately"))
            .collect();
        assert_eq!(replies.len(), STAGES.len(), "{transport}: {replies:?}");
        for (reply, (_, told)) in replies.iter().zip(STAGES) {
            // One that is reset at once may never have been seen to be there.
            let unseen = told == STAGES[0].1 && reply.ends_with(": connection reset");
            assert!(reply.ends_with(told) || unseen, "{transport}: {reply}");
        }
    }
}

#[test]
fn a_next_hop_whose_window_stays_shut_keeps_nobody_else_waiting_nor_the_appliance_from_its_end() {
    for transport in ["af_xdp", "kernel"] {
        let Some(lab) = Lab::up(1) else { return };
        let shut = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&shut);
        hop(&lab, 25, |_, stream| {
            until(&stream, "");
        });
        hop(&lab, 26, move |_, mut stream| {
            if until(&stream, "DATA") {
                let _ = stream.write_all(b"354 go on\r\n");
                counted.fetch_add(1, Ordering::Relaxed);
                // It stays open for as long as the test lives.
                std::mem::forget(stream);
            }
        });
        let more = format!(
            "[[route]]\ndomain = \"shut.test\"\nto = [\"smtp://{MX}:26\"]\n[limits]\nshutdown_timeout = \"2s\"\n"
        );
        let mut appliance = start(&lab, transport, &more);
        send(&lab, transport, 1, 4_000_000, "user@shut.test");
        eventually("its window is shut", PATIENCE, || shut.load(Ordering::Relaxed) == 1);
        send(&lab, transport, 100, 2048, "user@example.test");
        eventually("all other mail is delivered", PATIENCE, || appliance.events("delivered").len() == 100);
        assert_eq!(appliance.status()["queue"]["messages"], 1, "{transport}");
        let asked = Instant::now();
        assert!(appliance.stop().success(), "{transport}");
        assert!(asked.elapsed() < Duration::from_secs(20), "{transport}: {:?}", asked.elapsed());
        assert!(appliance.events("bounced").is_empty(), "{transport}");
    }
}
