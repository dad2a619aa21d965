//! Mail from Postfix's load generator through the appliance to Postfix's sink.

use super::client::in_namespace;
use super::receiver::without_received;
use super::{APPLIANCE, Appliance, Lab, MX, Setup, eventually};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Child;
use std::time::Duration;

/// How long what was accepted may take to be delivered.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// A process of the test's own, ended when dropped.
pub struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts Postfix's sink on mx; it writes each message into a file of its own.
pub fn sink(lab: &Lab, address: &str) -> (Process, std::path::PathBuf) {
    sink_with(lab, address, &[])
}

pub fn sink_with(lab: &Lab, address: &str, more: &[&str]) -> (Process, std::path::PathBuf) {
    let directory = lab.directory.path().join("sink");
    std::fs::create_dir(&directory).expect("a folder");
    std::os::unix::fs::chown(&directory, Some(postfix_user()), None).expect("root may");
    let mut command = lab.command("mx", "smtp-sink");
    command.args(more).args(["-u", "postfix", "-d", "m.", address, "1000"]).current_dir(&directory);
    let process = Process(command.spawn().expect("smtp-sink"));
    let namespace = lab.namespace("mx");
    let server: SocketAddr = address.parse().expect("an address");
    eventually("smtp-sink listens", Duration::from_secs(10), || {
        in_namespace(&namespace, move || std::net::TcpStream::connect(server).is_ok()).join().expect("a thread")
    });
    (process, directory)
}

fn postfix_user() -> u32 {
    let users = std::fs::read_to_string("/etc/passwd").expect("/etc/passwd");
    let line = users.lines().find(|line| line.starts_with("postfix:")).expect("the user postfix");
    line.split(':').nth(2).and_then(|id| id.parse().ok()).expect("its number")
}

/// Runs `smtp-source` on the client until it has sent everything.
pub fn source(lab: &Lab, arguments: &[&str]) {
    let output = lab.command("client", "smtp-source").args(arguments).output().expect("smtp-source");
    assert!(output.status.success(), "smtp-source: {}", String::from_utf8_lossy(&output.stderr));
}

/// All messages in a folder, as they arrived, by their Message-Id.
pub fn arrived(directory: &Path) -> HashMap<String, Vec<String>> {
    let mut messages: HashMap<String, Vec<String>> = HashMap::new();
    for entry in std::fs::read_dir(directory).expect("the folder").flatten() {
        let text = std::fs::read_to_string(entry.path()).expect("a message");
        let id = text.lines().find_map(|line| line.strip_prefix("Message-Id: ")).expect("smtp-source gives one");
        messages.entry(id.to_owned()).or_default().push(text.clone());
    }
    messages
}

/// What smtp-source sends with this length, apart from what differs from message to message.
pub fn body(text: &str) -> &str {
    text.split_once("\n\n").or_else(|| text.split_once("\r\n\r\n")).expect("a header and a body").1
}

/// A message as the sink got it, without what the sink and the appliance put above it.
fn as_sent(text: &str) -> String {
    let crlf = text.replace("\r\n", "\n").replace('\n', "\r\n");
    let mut rest = &crlf[..];
    loop {
        rest = &rest[rest.find("Received: ").expect("the appliance adds a Received header")..];
        let below = without_received(rest);
        if rest[..rest.len() - below.len()].contains("by relay.example.test") {
            return below.to_owned();
        }
        rest = below;
    }
}

/// Sends messages through an appliance with workers on these cores and the queues of one device, and checks that all take
/// part and that each message arrives.
pub fn through_workers(lab: &Lab, transport: &str, cores: &str, count: usize) {
    let (_sink, directory) = sink(lab, &format!("{MX}:25"));
    let setup = Setup { transport, to: &format!("smtp://{MX}:25"), cores, more: "" };
    let mut appliance = Appliance::start(lab, &setup);
    let to = format!("inet:{APPLIANCE}:25");
    source(lab, &["-d", "-s", "20", "-l", "2048", "-m", &count.to_string(), "-t", "user@example.test", &to]);
    appliance.wait_until_empty(PATIENCE);
    let status = appliance.status();
    let accepted: Vec<u64> = (status["workers"].as_array().expect("workers").iter())
        .map(|worker| worker["messages"]["accepted"].as_u64().expect("a count"))
        .collect();
    assert_eq!(accepted.len(), cores.split(',').count());
    assert!(accepted.iter().all(|messages| *messages > 0), "all workers take part: {accepted:?}");
    assert!(appliance.stop().success(), "an orderly end");
    assert_eq!(arrived(&directory).len(), count);
}

/// Sends many messages through to the sink, and checks that each arrives once and unaltered.
pub fn through_to_the_sink(transport: &str, server: &str, mx: &str, count: u32) {
    let Some(lab) = Lab::up(1) else { return };
    let (sink, directory) = sink(&lab, &format!("{mx}:25"));
    // The same generator straight to the sink shows what a message looks like.
    source(&lab, &["-d", "-s", "1", "-l", "10240", "-m", "1", "-t", "user@example.test", &format!("inet:{mx}:25")]);
    let reference = arrived(&directory).into_values().next().expect("one message").remove(0);
    let reference = reference[reference.find("From: ").expect("a From header")..].to_owned();
    for entry in std::fs::read_dir(&directory).expect("the folder").flatten() {
        std::fs::remove_file(entry.path()).expect("our own file");
    }

    let setup = Setup { transport, to: &format!("smtp://{mx}:25"), cores: "", more: "" };
    let mut appliance = Appliance::start(&lab, &setup);
    let many = count.to_string();
    let to = format!("inet:{server}:25");
    source(&lab, &["-d", "-s", "20", "-l", "10240", "-m", &many, "-t", "user@example.test", &to]);
    let status = appliance.status();
    assert_eq!(status["messages"]["accepted"], count, "{status}");
    appliance.wait_until_empty(PATIENCE);
    assert!(appliance.stop().success(), "an orderly end");
    drop(sink);

    let messages = arrived(&directory);
    assert_eq!(messages.len(), count as usize, "every message has arrived");
    for (id, copies) in &messages {
        assert_eq!(copies.len(), 1, "{id} has arrived once");
        let sent = as_sent(&copies[0]);
        assert_eq!(body(&sent), body(&reference.replace('\n', "\r\n")), "the content of {id}");
        let names = |text: &str| -> Vec<String> {
            let header = text.replace("\r\n", "\n");
            let header = header.split("\n\n").next().unwrap_or_default().to_owned();
            header.lines().map(|line| line.split(':').next().unwrap_or_default().to_owned()).collect()
        };
        assert_eq!(names(&sent), names(&reference), "the header of {id}");
    }
}
