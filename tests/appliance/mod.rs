//! A running appliance, with real senders and receivers around it, for the end-to-end tests.
//!
//! The network is that of `scripts/lab`: the hosts client, relay and mx on one wire, or those of a pair. On the kernel
//! transport without root everything runs on loopback instead.
#![allow(dead_code)] // Each test binary uses its part of this.

pub mod authority;
pub mod client;
pub mod etcd;
pub mod load;
pub mod mail;
pub mod names;
pub mod pair;
pub mod receiver;
pub mod stream;

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// The appliance's own addresses, which only it holds.
pub const APPLIANCE: &str = "192.0.2.25";
pub const APPLIANCE_V6: &str = "2001:db8:2::25";
/// The receiving host.
pub const MX: &str = "192.0.2.30";
pub const MX_V6: &str = "2001:db8:2::30";
/// The kernel's own address of the appliance's host.
pub const RELAY: &str = "192.0.2.20";
pub const RELAY_V6: &str = "2001:db8:2::20";

/// The wire with its three hosts; removed when dropped.
pub struct Lab {
    name: String,
    pub directory: TempDir,
}

impl Lab {
    /// Sets it up, or says aloud that it cannot and gives `None`.
    pub fn up(queues: u32) -> Option<Lab> {
        Lab::up_with(&["up"], queues)
    }

    /// The same for the wire with two boxes and etcd.
    pub fn up_pair() -> Option<Lab> {
        Lab::up_with(&["up", "--pair"], 1)
    }

    fn up_with(arguments: &[&str], queues: u32) -> Option<Lab> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        if !is_root() {
            eprintln!("SKIPPED: network namespaces and AF_XDP need root; nothing was tested here");
            return None;
        }
        let own = || format!("t{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        // A script that cleans up behind a program with one lab at a time has named it.
        let name = std::env::var("ROHRPOST_LAB").unwrap_or_else(|_| own());
        let directory = tempfile::Builder::new().prefix("rohrpost-").tempdir().expect("a temporary folder");
        let lab = Lab { name, directory };
        let output = lab.script(arguments).env("QUEUES", queues.to_string()).output().expect("scripts/lab");
        assert!(output.status.success(), "scripts/lab up: {}", String::from_utf8_lossy(&output.stderr));
        // Postfix's programs run as their own users and look into our folder.
        std::fs::set_permissions(lab.directory.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755))
            .expect("permissions of our own folder");
        Some(lab)
    }

    fn script(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/lab"));
        command.args(arguments).env("LAB", &self.name).stdin(Stdio::null());
        command
    }

    /// A command that runs on a host of the lab.
    pub fn command(&self, host: &str, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.namespace(host), program]);
        command.env("PATH", path()).stdin(Stdio::null());
        command
    }

    /// The network namespace of a host.
    pub fn namespace(&self, host: &str) -> String {
        format!("rohrpost-{}-{host}", self.name)
    }

    /// Starts a Postfix on mx that puts all mail for example.test into a maildir, whose `new` this is.
    pub fn postfix(&self) -> PathBuf {
        let directory = self.directory.path().join("postfix");
        let output = self.script(&["postfix", &directory.to_string_lossy()]).output().expect("scripts/lab");
        assert!(output.status.success(), "scripts/lab postfix: {}", String::from_utf8_lossy(&output.stderr));
        directory.join("mail/all/new")
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        let _ = self.script(&["down"]).status();
    }
}

/// The program that is tried: the one that was built with the test, or another one that the environment names.
pub fn binary() -> PathBuf {
    std::env::var_os("ROHRPOST").map_or_else(|| env!("CARGO_BIN_EXE_rohrpost").into(), PathBuf::from)
}

/// Where Debian keeps Postfix's tools.
pub fn path() -> String {
    format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default())
}

pub fn is_root() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let effective = status.lines().find_map(|line| line.strip_prefix("Uid:")?.split_whitespace().nth(1));
    effective == Some("0")
}

/// All hosts of the lab, as in the configuration's list.
const NETWORKS: &str = "192.0.2.0/24\", \"2001:db8:2::/64";

/// What differs between the tests' appliances.
pub struct Setup<'a> {
    /// `af_xdp`, `dpdk` or `kernel`.
    pub transport: &'a str,
    /// Where mail for everyone goes, as in a route's `to`.
    pub to: &'a str,
    /// Cores of the workers; empty for one that is not pinned.
    pub cores: &'a str,
    /// More of the configuration.
    pub more: &'a str,
}

/// A `rohrpost run`, killed when dropped.
pub struct Appliance {
    child: Child,
    config: PathBuf,
    log: Arc<Mutex<Vec<String>>>,
    /// Lines of the log that an earlier process wrote.
    log_before: usize,
    command: Box<dyn Fn() -> Command + Send>,
}

impl Appliance {
    /// Writes the configuration and starts on the relay host of the lab; every host of the lab may relay.
    pub fn start(lab: &Lab, setup: &Setup<'_>) -> Appliance {
        Appliance::start_with(lab, setup, NETWORKS)
    }

    /// The same, with other networks that may relay.
    pub fn start_with(lab: &Lab, setup: &Setup<'_>, networks: &str) -> Appliance {
        Appliance::configure(lab, setup, networks, "size_max = \"4GB\"\nfree_min = \"0B\"")
    }

    /// The same, with another spool; it lies in the folder `spool` of the lab's.
    pub fn start_with_spool(lab: &Lab, setup: &Setup<'_>, spool: &str) -> Appliance {
        Appliance::configure(lab, setup, NETWORKS, spool)
    }

    fn configure(lab: &Lab, setup: &Setup<'_>, networks: &str, spool: &str) -> Appliance {
        let directory = lab.directory.path();
        let (v4, v6) = if setup.transport == "kernel" { (RELAY, RELAY_V6) } else { (APPLIANCE, APPLIANCE_V6) };
        let port = match setup.transport {
            "kernel" => String::new(),
            "dpdk" => {
                let queues = setup.cores.split(',').count();
                format!(
                    "[[port]]\ndevice = \"net_af_packet0,iface=eth0,qpairs={queues}\"\n\
                     [dpdk]\nhugepages = false\nmemory = \"128MiB\"\n"
                )
            }
            _ => "[[port]]\ndevice = \"eth0\"\n".to_owned(),
        };
        let text = format!(
            "transport = \"{transport}\"\nhostname = \"relay.example.test\"\n\
             [workers]\ncores = [{cores}]\n{port}\
             [[address]]\nip = \"{v4}/24\"\n[[address]]\nip = \"{v6}/64\"\n\
             [[listener]]\naddress = \"{v4}:25\"\nrole = \"relay\"\n\
             [[listener]]\naddress = \"[{v6}]:25\"\nrole = \"relay\"\n\
             [relay]\nnetworks = [\"{networks}\"]\n\
             [[route]]\ndomain = \"*\"\nto = [\"{to}\"]\n\
             [spool]\ndirectory = \"{directory}\"\n{spool}\n\
             [admin]\nsocket = \"{socket}\"\n{more}\n",
            transport = setup.transport,
            cores = setup.cores,
            to = setup.to,
            directory = directory.join("spool").display(),
            socket = directory.join("admin.sock").display(),
            more = setup.more,
        );
        Appliance::start_in(&lab.namespace("relay"), directory, &text)
    }

    /// Starts with this configuration, which is written into `directory`, in a namespace.
    pub fn start_in(namespace: &str, directory: &Path, text: &str) -> Appliance {
        let config = directory.join("rohrpost.toml");
        std::fs::write(&config, text).expect("the configuration");
        let namespace = namespace.to_owned();
        let command = move || {
            let mut command = Command::new("ip");
            command.args(["netns", "exec", &namespace]).arg(binary());
            command
        };
        Appliance::spawn(config, Box::new(command))
    }

    fn spawn(config: PathBuf, command: Box<dyn Fn() -> Command + Send>) -> Appliance {
        let log = Arc::new(Mutex::new(Vec::new()));
        let child = run(&command, &config, &log);
        let appliance = Appliance { child, config, log, log_before: 0, command };
        appliance.wait_until_it_serves();
        appliance
    }

    /// Starts again after [`kill`](Appliance::kill) or [`stop`](Appliance::stop).
    pub fn restart(&mut self) {
        self.begin_again();
        self.wait_until_it_serves();
    }

    /// The same, without waiting until it serves.
    pub fn begin_again(&mut self) {
        self.log_before = self.log.lock().expect("the log").len();
        self.child = run(&self.command, &self.config, &self.log);
    }

    fn wait_until_it_serves(&self) {
        eventually("the appliance serves", Duration::from_secs(30), || {
            let log = self.log.lock().expect("the log");
            log[self.log_before..].iter().any(|line| line.contains("\"event\":\"started\""))
                || !Path::new(&format!("/proc/{}", self.child.id())).exists()
        });
    }

    /// Ends the process as a power cut would.
    pub fn kill(&mut self) {
        self.child.kill().expect("our own process");
        self.child.wait().expect("our own process");
    }

    /// The same, without waiting for its end: it may have to wait for its disk.
    pub fn strike(&mut self) {
        self.child.kill().expect("our own process");
    }

    /// Sends a signal, such as "STOP" or "CONT".
    pub fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args([&format!("-{name}"), &pid]).status().expect("kill").success());
    }

    /// Whether the process runs.
    pub fn is_alive(&mut self) -> bool {
        self.child.try_wait().expect("our own process").is_none()
    }

    /// The whole log, of all lives.
    pub fn log_text(&self) -> String {
        self.log.lock().expect("the log").join("\n")
    }

    /// Ends the process as an operator would.
    pub fn stop(&mut self) -> ExitStatus {
        self.terminate();
        self.wait()
    }

    /// The same, without waiting until sessions have finished.
    pub fn terminate(&mut self) {
        self.signal("TERM");
    }

    /// Waits until the process has ended by itself.
    pub fn wait(&mut self) -> ExitStatus {
        self.child.wait().expect("our own process")
    }

    /// The output of `rohrpost ARGUMENTS --config …`.
    pub fn rohrpost(&self, arguments: &[&str]) -> String {
        match self.try_rohrpost(arguments) {
            Ok(out) => out,
            Err(said) => panic!("rohrpost {arguments:?}: {said}\n{}", self.log_tail()),
        }
    }

    /// The same; if the command fails, all that it said.
    pub fn try_rohrpost(&self, arguments: &[&str]) -> Result<String, String> {
        let output = Command::new(binary()).args(arguments).arg("--config").arg(&self.config).output();
        let output = output.expect("rohrpost");
        let out = String::from_utf8_lossy(&output.stdout).into_owned();
        if output.status.success() { Ok(out) } else { Err(out + &String::from_utf8_lossy(&output.stderr)) }
    }

    /// `rohrpost status --json`.
    pub fn status(&self) -> serde_json::Value {
        serde_json::from_str(&self.rohrpost(&["status", "--json"])).expect("status is JSON")
    }

    /// Waits until everything that was accepted has left the queue.
    pub fn wait_until_empty(&self, limit: Duration) {
        eventually("the queue is empty", limit, || self.status()["queue"]["messages"] == 0);
    }

    /// The last lines of the log.
    pub fn log_tail(&self) -> String {
        let log = self.log.lock().expect("the log");
        log[log.len().saturating_sub(20)..].join("\n")
    }

    /// All log lines of an event, since the last start.
    pub fn events(&self, name: &str) -> Vec<serde_json::Value> {
        self.events_from(self.log_before, name)
    }

    /// How many lines the log has, of all lives of this box together.
    pub fn log_length(&self) -> usize {
        self.log.lock().expect("the log").len()
    }

    /// All log lines of an event behind the first so many.
    pub fn events_from(&self, line: usize, name: &str) -> Vec<serde_json::Value> {
        let log = self.log.lock().expect("the log");
        (log[line..].iter().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok()))
            .filter(|line| line["event"] == name)
            .collect()
    }

    /// The process, for those that look into /proc.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

fn run(command: &dyn Fn() -> Command, config: &Path, log: &Arc<Mutex<Vec<String>>>) -> Child {
    let mut child = command()
        .args(["run", "--config"])
        .arg(config)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("rohrpost run");
    let streams: [Box<dyn Read + Send>; 2] =
        [Box::new(child.stdout.take().expect("a pipe")), Box::new(child.stderr.take().expect("a pipe"))];
    for stream in streams {
        let log = Arc::clone(log);
        std::thread::spawn(move || {
            for line in BufReader::new(stream).lines().map_while(Result::ok) {
                log.lock().expect("the log").push(line);
            }
        });
    }
    child
}

impl Drop for Appliance {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the appliance's last words:\n{}", self.log_tail());
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Asks `condition` again and again until it holds; panics with `what` when `limit` is over.
pub fn eventually(what: &str, limit: Duration, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + limit;
    while !condition() {
        assert!(Instant::now() < deadline, "not within {limit:?}: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
