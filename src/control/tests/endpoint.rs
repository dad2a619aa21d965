//! The health endpoint and the hooks, on real sockets and processes, with fake workers behind them.

use super::{Appliance, Manner};
use crate::config::Alert;
use crate::control::{ExitReason, Hooks, HttpError, HttpSocket};
use crate::limits::{HTTP_CLIENTS_MAX, HTTP_REQUEST_SIZE_MAX};
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(30);

/// What the endpoint answers to these bytes, all of it.
fn ask(address: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(bytes).unwrap();
    let mut answer = Vec::new();
    // A server that has refused what it did not read resets the connection behind its answer.
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8(answer).unwrap()
}

/// The code of an answer, and its body.
fn get(address: SocketAddr, path: &str) -> (u16, serde_json::Value) {
    let answer = ask(address, format!("GET {path} HTTP/1.1\r\nHost: box\r\n\r\n").as_bytes());
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{answer}"));
    (head[9..12].parse().unwrap(), serde_json::from_str(body).unwrap_or_else(|_| panic!("{answer}")))
}

fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "not within {PATIENCE:?}: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn load_balancers_see_a_box_become_ready_and_drain() {
    let world = Appliance::start(&[Manner::Good, Manner::Lingering], 0, PATIENCE);
    let address = world.health;
    eventually("the workers were heard", || get(address, "/health/ready").0 == 200);
    let (code, body) = get(address, "/health");
    assert_eq!(code, 200);
    let expected = serde_json::json!({"version": 1, "live": true, "ready": true, "draining": false, "reasons": []});
    assert_eq!(body, expected);
    assert_eq!(get(address, "/health/live").0, 200);

    world.stop.stop();
    eventually("it drains", || get(address, "/health/ready").0 == 503);
    let (code, body) = get(address, "/health");
    assert_eq!((code, &body["ready"], &body["draining"]), (503, &false.into(), &true.into()));
    assert_eq!(body["reasons"][0]["reason"], "draining");
    assert_eq!(get(address, "/health/live").0, 200, "sessions finish");
    let _ = world.status(true);
    assert_eq!(world.end().0, ExitReason::Stopped);
}

#[test]
fn a_hung_worker_makes_the_box_neither_live_nor_ready() {
    let world = Appliance::start(&[Manner::Good, Manner::Hung], 0, Duration::ZERO);
    let address = world.health;
    let (code, body) = get(address, "/health/ready");
    assert_eq!((code, &body["reasons"][0]["reason"]), (503, &"starting".into()));
    assert_eq!(get(address, "/health/live").0, 200, "it may only be slow yet");
    eventually("the worker counts as silent", || get(address, "/health/live").0 == 503);
    let (_, body) = get(address, "/health");
    assert_eq!((&body["live"], &body["ready"]), (&false.into(), &false.into()));
    assert_eq!(body["reasons"][0]["reason"], "worker_silent");
    assert_eq!(body["reasons"][0]["subject"], "worker 1");
    assert_eq!(world.stop().0, ExitReason::Hung { workers: vec![1] });
}

#[test]
fn only_what_is_offered_can_be_asked() {
    let world = Appliance::good(1, 0);
    let address = world.health;
    eventually("the worker was heard", || get(address, "/health/ready").0 == 200);
    let head = ask(address, b"HEAD /health/ready HTTP/1.1\r\nHost: box\r\n\r\n");
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    assert!(head.ends_with("\r\n\r\n"), "HEAD has no body: {head}");
    assert!(head.contains("cache-control: no-store\r\n"), "{head}");
    let old = ask(address, b"GET /health/ready HTTP/1.0\r\n\r\n");
    assert!(old.starts_with("HTTP/1.0 200 OK\r\n"), "{old}");
    let many = vec![b'x'; 2 * HTTP_REQUEST_SIZE_MAX];
    for (request, code) in [
        (b"POST /health HTTP/1.1\r\nHost: box\r\nContent-Length: 0\r\n\r\n".to_vec(), "405"),
        (b"DELETE /health HTTP/1.1\r\nHost: box\r\n\r\n".to_vec(), "405"),
        (b"GET / HTTP/1.1\r\nHost: box\r\n\r\n".to_vec(), "404"),
        (b"GET /health/../etc/passwd HTTP/1.1\r\nHost: box\r\n\r\n".to_vec(), "404"),
        (b"EHLO box\r\n\r\n".to_vec(), "400"),
        ([b"GET /health HTTP/1.1\r\nA: ", &many[..], b"\r\n\r\n"].concat(), "431"),
        ([b"GET /health HTTP/1.1\r\n", &b"A: b\r\n".repeat(1000)[..], b"\r\n"].concat(), "431"),
    ] {
        let answer = ask(address, &request);
        let shown = String::from_utf8_lossy(&request[..request.len().min(40)]).into_owned();
        assert_eq!(answer.get(9..12), Some(code), "{shown}: {answer}");
    }
    // One that has said all it will still gets its answer.
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(b"GET /health HTTP/1.1\r\nHost: box\r\n\r\n").unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    world.stop();
}

#[test]
fn slow_clients_hold_up_neither_others_nor_the_appliance() {
    let world = Appliance::good(1, 0);
    let address = world.health;
    eventually("the worker was heard", || get(address, "/health/ready").0 == 200);
    let slow = |place: usize| {
        let mut stream = TcpStream::connect(address).unwrap();
        let request = b"GET /health HTTP/1.1\r\nHost: box\r\n";
        stream.write_all(&request[..place % request.len()]).unwrap();
        stream
    };
    let mut held: Vec<TcpStream> = (0..2 * HTTP_CLIENTS_MAX).map(slow).collect();
    assert_eq!(get(address, "/health/ready").0, 200);
    assert!(world.status(true).is_ok());
    // The oldest had to make room, and the others lose their place in time.
    for stream in &mut held {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let closed = stream.read(&mut [0; 16]);
        assert!(matches!(closed, Ok(0)) || closed.is_err_and(|error| error.kind() != std::io::ErrorKind::WouldBlock));
    }
    let started = Instant::now();
    world.stop();
    assert!(started.elapsed() < PATIENCE);
}

#[test]
fn an_address_that_cannot_be_had_says_what_to_do() {
    let first = HttpSocket::open("127.0.0.1:0".parse().unwrap()).unwrap();
    let error = HttpSocket::open(first.address().unwrap()).unwrap_err();
    assert!(matches!(error, HttpError::InUse { .. }), "{error}");
    assert!(error.to_string().contains("stop it, or write another port"), "{error}");
    // TEST-NET-3 is nobody's.
    let error = HttpSocket::open("203.0.113.1:8025".parse().unwrap()).unwrap_err();
    assert!(matches!(error, HttpError::NotHere { .. }), "{error}");
}

/// Hooks that give notices to a shell.
fn hooks(script: &str) -> Hooks {
    let command = ["/bin/sh", "-c", script].map(str::to_owned).to_vec();
    Hooks::open(&Alert { command, ..Alert::default() }).unwrap()
}

fn lines(path: &Path) -> Vec<serde_json::Value> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn that_a_worker_failed_is_told_before_the_process_ends() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("told");
    let script = format!("{{ cat; echo; }} >> {}", path.display());
    let world = Appliance::start_with(&[Manner::Failing], 0, PATIENCE, hooks(&script));
    let _ = world.status(true);
    let (reason, log) = world.end();
    assert!(matches!(reason, ExitReason::WorkerFailed { worker: 0, .. }), "{reason}");
    let told = lines(&path);
    let names: Vec<_> = told.iter().map(|notice| (&notice["condition"], &notice["state"])).collect();
    let expected = [(&"started".into(), &"cleared".into()), (&"worker_failed".into(), &"raised".into())];
    assert_eq!(names, expected);
    assert_eq!(told[1]["hostname"], "mx1.example.net");
    assert_eq!(told[1]["subject"], "worker 0");
    assert!(told[1]["text"].as_str().unwrap().contains("no more disk"));
    assert!(log.events().contains(&"alert".to_owned()));
}

#[test]
fn a_command_that_fails_or_hangs_delays_nothing_and_is_in_the_log() {
    let world = Appliance::start_with(&[Manner::Good], 0, PATIENCE, hooks("exit 3"));
    eventually("the failure is counted", || {
        let status: serde_json::Value = serde_json::from_str(&world.status(true).unwrap()).unwrap();
        status["alerts"] == serde_json::json!({"told": 0, "failed": 1, "lost": 0, "waiting": 1})
    });
    let (reason, log) = world.stop();
    assert_eq!(reason, ExitReason::Stopped);
    let object = log.objects().into_iter().find(|object| object["event"] == "alert_failed").unwrap();
    assert_eq!((&object["hook"], &object["attempts"]), (&"command".into(), &1.into()));
    assert_eq!(object["error"], "it ended with exit status: 3");

    // The end of the process waits for it, but not for long, and leaves nothing of it behind.
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pid");
    let script = format!("sleep 1000 & echo $! > {}; wait", path.display());
    let world = Appliance::start_with(&[Manner::Good], 0, PATIENCE, hooks(&script));
    let pid = || std::fs::read_to_string(&path).unwrap_or_default().trim().to_owned();
    eventually("the command runs", || !pid().is_empty());
    let started = Instant::now();
    assert_eq!(world.stop().0, ExitReason::Stopped);
    assert!(started.elapsed() < PATIENCE);
    let runs = || {
        let state = std::fs::read_to_string(format!("/proc/{}/stat", pid())).unwrap_or_default();
        // One that nobody has buried is dead all the same.
        !state.is_empty() && !state.contains(" Z ")
    };
    eventually("what the command started is gone", || !runs());
}
