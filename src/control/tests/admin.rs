//! The admin socket: its file, and what may be said there.

use super::*;
use crate::delivery::{Selector, Treatment};
use crate::limits::ADMIN_REQUEST_SIZE_MAX;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

/// Says something that no client of ours would.
fn say(socket: &Path, bytes: &[u8]) -> serde_json::Value {
    let mut stream = UnixStream::connect(socket).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream.write_all(bytes).unwrap();
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).unwrap();
    serde_json::from_str(&line).unwrap()
}

#[test]
fn a_strange_request_gets_an_error_and_harms_nobody() {
    let world = Appliance::good(1, 0);
    for (bytes, words) in [
        (&b"hello\n"[..], "not a request"),
        (b"{}\n", "version"),
        (b"\xff\n", "not a request"),
        (b"{\"version\":2,\"request\":\"teleport\"}\n", "this rohrpost speaks version 1 here, not 2"),
        (b"{\"version\":1,\"request\":\"teleport\"}\n", "teleport"),
        (b"{\"version\":1,\"request\":\"queue\",\"command\":\"delete\"}\n", "selection"),
        (
            b"{\"version\":1,\"request\":\"queue\",\"command\":\"delete\",\"selection\":{\"filter\":{\"sendr\":\"\"}}}\n",
            "sendr",
        ),
    ] {
        let answer = say(&world.socket, bytes);
        assert_eq!(answer["reply"], "error");
        assert!(answer["text"].as_str().unwrap().contains(words), "{answer}");
    }
    // One byte more than allowed, and no line end: an answer comes all the same.
    let answer = say(&world.socket, &vec![b' '; ADMIN_REQUEST_SIZE_MAX + 1]);
    assert!(answer["text"].as_str().unwrap().contains("at most"), "{answer}");
    // Two requests on one connection.
    let mut stream = UnixStream::connect(&world.socket).unwrap();
    stream.write_all(b"hello\n{\"version\":1,\"request\":\"status\"}\n").unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    assert_eq!(text.lines().count(), 2);
    assert!(text.lines().nth(1).unwrap().starts_with("{\"version\":1,\"reply\":\"status\""), "{text}");
    world.stop();
}

#[test]
fn every_request_survives_its_own_text() {
    let selection = || QueueSelection::Ids(vec![MessageId::new(1, 2)]);
    let filter = QueueFilter { state: Some(MessageState::Held), older_than_seconds: Some(5), ..Default::default() };
    for request in [
        Request::Status,
        Request::Queue(QueueCommand::List { filter: filter.clone(), limit: 5, after: Some(MessageId::new(0, 1)) }),
        Request::Queue(QueueCommand::Show { id: MessageId::new(0, 1) }),
        Request::Queue(QueueCommand::Retry { selection: selection() }),
        Request::Queue(QueueCommand::Hold { selection: QueueSelection::Filter(filter) }),
        Request::Queue(QueueCommand::Release { selection: selection() }),
        Request::Queue(QueueCommand::Delete { selection: selection() }),
        Request::Domain { domain: "example.net".into() },
        Request::Orders(OrderCommand::List),
        Request::Orders(OrderCommand::Give {
            selector: Selector::Domain("example.net".into()),
            treatment: Treatment::Reroute { to: "example.com".into() },
            duration_seconds: Some(60),
            reason: "why".into(),
        }),
        Request::Orders(OrderCommand::End { selector: Selector::All }),
    ] {
        let line = serde_json::to_vec(&Versioned::new(&request)).unwrap();
        assert_eq!(crate::control::admin::parse(&line), Ok(request));
    }
}

#[test]
fn a_command_without_a_running_rohrpost_names_the_socket() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("admin.sock");
    let error = write_status(&socket, false, &mut Vec::new()).unwrap_err();
    assert!(matches!(error, ClientError::NotRunning { .. }));
    assert!(error.to_string().contains(&format!("nobody answers on {}", socket.display())), "{error}");
    drop(UnixListener::bind(&socket).unwrap());
    let error = write_queue(&socket, &all(1), false, &mut Vec::new()).unwrap_err();
    assert!(matches!(error, ClientError::NotRunning { .. }), "the file of a dead process is no process");
}

#[test]
fn a_dead_socket_is_replaced_and_a_living_one_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("admin.sock");
    drop(UnixListener::bind(&path).unwrap());
    assert!(path.exists());
    let first = AdminSocket::open(&path).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let error = AdminSocket::open(&path).unwrap_err();
    assert!(matches!(error, AdminError::Running { .. }), "{error}");
    assert!(path.exists(), "the living one keeps its file");
    drop(first);
    assert!(!path.exists());
    std::fs::write(&path, "a file").unwrap();
    assert!(matches!(AdminSocket::open(&path).unwrap_err(), AdminError::Occupied { .. }));
}

#[test]
fn a_process_removes_no_socket_but_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("admin.sock");
    let first = AdminSocket::open(&path).unwrap();
    std::fs::rename(&path, folder.path().join("moved")).unwrap();
    let _second = AdminSocket::open(&path).unwrap();
    drop(first);
    assert!(path.exists());
}
