//! The load generator and the sink, against each other and against Postfix's.

mod appliance;

use appliance::{APPLIANCE, Lab, eventually, path};
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(30);

/// Ends with the test.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn rohrpost(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rohrpost"));
    command.args(arguments).env("PATH", path()).stdin(Stdio::null());
    command
}

/// An address on loopback that nobody listens on.
fn free() -> String {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port").to_string()
}

fn wait_for(address: &str) {
    let address: SocketAddr = address.parse().expect("an address");
    eventually("the server listens", PATIENCE, || TcpStream::connect(address).is_ok());
}

/// Runs a load to its end and gives its report.
fn report(command: &mut Command) -> serde_json::Value {
    let output = command.output().expect("rohrpost load");
    let (out, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{out}{errors}");
    serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out}{errors}"))
}

/// Ends a sink and gives its sums.
fn sums(mut sink: Process) -> serde_json::Value {
    assert!(Command::new("kill").args(["-TERM", &sink.0.id().to_string()]).status().expect("kill").success());
    let output = sink.0.stdout.take().expect("a pipe");
    assert!(sink.0.wait().expect("our own process").success());
    let line = BufReader::new(output).lines().next().expect("a line").expect("a line");
    serde_json::from_str(&line).expect("the sums")
}

#[test]
fn load_fills_the_sink_over_kernel_sockets() {
    let address = free();
    let mut command = rohrpost(&["sink", &address, "--json"]);
    let sink = Process(command.stdout(Stdio::piped()).spawn().expect("rohrpost sink"));
    wait_for(&address);
    let more = ["--sessions", "5", "--messages", "2000", "--size", "1KB..20KB", "--messages-per-session", "100"];
    let load = report(rohrpost(&["load", &address, "--json"]).args(more));
    assert_eq!((&load["accepted"], &load["failed"], &load["version"]), (&2000.into(), &0.into(), &1.into()), "{load}");
    assert_eq!(load["latency_us"]["accept"]["count"], 2000, "{load}");
    let bdat = report(
        rohrpost(&["load", &address, "--json", "--bdat", "--messages", "100", "--recipients", "7"])
            .args(["--rate", "1000"]),
    );
    assert_eq!((&bdat["accepted"], &bdat["unsent"]), (&100.into(), &0.into()), "{bdat}");
    let sums = sums(sink);
    assert_eq!((&sums["messages"], &sums["recipients"]), (&2100.into(), &2700.into()), "{sums}");
}

#[test]
fn a_sink_ends_when_it_has_what_was_sent_to_many_domains() {
    let address = free();
    let mut command = rohrpost(&["sink", &address, "--json", "--messages", "300"]);
    let mut sink = Process(command.stdout(Stdio::piped()).spawn().expect("rohrpost sink"));
    wait_for(&address);
    let load = report(rohrpost(&["load", &address, "--json", "--messages", "300"]).args(["--domains", "7"]));
    assert_eq!((&load["accepted"], &load["failed"]), (&300.into(), &0.into()), "{load}");
    eventually("it ends by itself", PATIENCE, || sink.0.try_wait().expect("our own process").is_some());
    let line = BufReader::new(sink.0.stdout.take().expect("a pipe")).lines().next().expect("a line").expect("a line");
    let sums: serde_json::Value = serde_json::from_str(&line).expect("the sums");
    assert_eq!(sums["messages"], 300, "{sums}");
}

#[test]
fn load_sends_what_smtp_sink_understands() {
    let address = free();
    let sink = Command::new("smtp-sink").env("PATH", path()).args(["-u", "postfix", &address, "1000"]).spawn();
    let Ok(sink) = sink else {
        eprintln!("SKIPPED: there is no smtp-sink; nothing was tested here");
        return;
    };
    let _sink = Process(sink);
    wait_for(&address);
    for more in [&["--no-pipelining"][..], &["--recipients", "3"], &["--messages-per-session", "1"]] {
        let load = report(rohrpost(&["load", &address, "--json", "--messages", "300", "--sessions", "10"]).args(more));
        assert_eq!((&load["accepted"], &load["failed"]), (&300.into(), &0.into()), "{more:?}: {load}");
    }
}

#[test]
fn the_sink_understands_what_smtp_source_sends() {
    let address = free();
    let mut command = rohrpost(&["sink", &address, "--json"]);
    let sink = Process(command.stdout(Stdio::piped()).spawn().expect("rohrpost sink"));
    wait_for(&address);
    let source = Command::new("smtp-source")
        .env("PATH", path())
        .args(["-s", "10", "-m", "500", "-l", "5000", "-r", "2", &format!("inet:{address}")])
        .status();
    let Ok(source) = source else {
        eprintln!("SKIPPED: there is no smtp-source; nothing was tested here");
        return;
    };
    assert!(source.success());
    let sums = sums(sink);
    assert_eq!((&sums["messages"], &sums["recipients"]), (&500.into(), &1000.into()), "{sums}");
}

#[test]
fn load_and_sink_meet_over_af_xdp_on_both_sides() {
    let Some(lab) = Lab::up(2) else { return };
    let binary = env!("CARGO_BIN_EXE_rohrpost");
    let there = ["--transport", "af_xdp", "--device", "eth0", "--json"];
    let listen = format!("{APPLIANCE}:25");
    let mut command = lab.command("relay", binary);
    command.args(["sink", &listen, "--address", &format!("{APPLIANCE}/24")]).args(there).stdout(Stdio::piped());
    let mut sink = Process(command.stderr(Stdio::piped()).spawn().expect("rohrpost sink"));
    let mut said = String::new();
    let errors = sink.0.stderr.take().expect("a pipe");
    BufReader::new(errors).read_line(&mut said).expect("a line when it listens");
    assert!(said.contains("eth0 with 2 queues"), "{said}");
    let mut command = lab.command("client", binary);
    command.args(["load", &listen, "--address", "192.0.2.11/24", "--messages", "3000"]).args(there);
    let load = report(command.args(["--size", "2KB:90,100KB:10"]));
    assert_eq!((&load["accepted"], &load["failed"]), (&3000.into(), &0.into()), "{load}");
    // From the kernel's sockets to our stack.
    let mut command = lab.command("client", binary);
    let load = report(command.args(["load", &listen, "--messages", "1000", "--sessions", "50", "--json"]));
    assert_eq!((&load["accepted"], &load["failed"]), (&1000.into(), &0.into()), "{load}");
    let sums = sums(sink);
    assert_eq!((&sums["messages"], &sums["sessions"]), (&4000.into(), &70.into()), "{sums}");
}

#[test]
fn a_server_that_is_not_there_is_said_and_fails_the_command() {
    let output = rohrpost(&["load", &free(), "--messages", "3", "--sessions", "1"]).output().expect("rohrpost load");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(!output.status.success() && text.contains("3 times: connection refused"), "{text}");
}

#[test]
fn the_healthy_are_delivered_beside_the_dead_and_the_slow_by_real_lookups() {
    if !appliance::is_root() {
        eprintln!("SKIPPED: network namespaces need root; nothing was tested here");
        return;
    }
    let output = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/load-fanout"))
        .env("ROHRPOST", env!("CARGO_BIN_EXE_rohrpost"))
        .envs([("MESSAGES", "800"), ("DOMAINS", "200"), ("LIMIT", "60")])
        .stdin(Stdio::null())
        .output()
        .expect("scripts/load-fanout");
    let (out, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{out}{errors}");
    let report: serde_json::Value = serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out}{errors}"));
    assert_eq!(report["healthy_messages"], 752, "{report}");
    // How fast that is, so short a run does not tell. Those for dead domains wait.
    assert!(report["waiting"].as_u64().is_some_and(|waiting| waiting >= 8), "{report}");
}
