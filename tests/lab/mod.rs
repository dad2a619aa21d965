//! Network namespaces and veth pairs for tests, which are gone when the test is, also when it panics.
//!
//! ```no_run
//! let Some(lab) = Lab::new("delivery") else { return };  // says aloud that it skips
//! let client = lab.namespace("client");
//! let relay = lab.namespace("relay");
//! lab.veth((&client, "wire0"), (&relay, "wire1"), 2);
//! client.address("wire0", "10.77.0.1/24");
//! client.command("ping").args(["-c", "1", "10.77.0.9"]).status().unwrap();
//! ```
//!
//! Names carry the process id, so that test processes run beside each other, and so that the next one can remove what a
//! killed one left. A veth pair vanishes with either namespace.
#![allow(dead_code)] // Each test binary uses its part of this.

use std::cell::RefCell;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

/// How the names of all namespaces of all labs begin.
const PREFIX: &str = "rohrpost-lab";

/// Namespaces that belong to one test.
#[derive(Debug)]
pub struct Lab {
    name: String,
    namespaces: RefCell<Vec<Namespace>>,
}

/// A network namespace; a name that can be cloned. The lab owns the namespace itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Namespace {
    name: String,
}

impl Lab {
    /// A lab without namespaces; `None`, and a line on stderr, where this process may not make any.
    pub fn new(name: &str) -> Option<Lab> {
        if !is_root() {
            eprintln!("SKIPPED: {name} needs root (network namespaces, AF_XDP); nothing was tested");
            return None;
        }
        remove_leftovers();
        let name = format!("{PREFIX}-{}-{name}", std::process::id());
        Some(Lab { name, namespaces: RefCell::new(Vec::new()) })
    }

    /// Makes a namespace with loopback up and without duplicate address detection (which takes seconds).
    pub fn namespace(&self, name: &str) -> Namespace {
        let namespace = Namespace { name: format!("{}-{name}", self.name) };
        succeed(Command::new("ip").args(["netns", "add", &namespace.name]));
        self.namespaces.borrow_mut().push(namespace.clone());
        namespace.run(&["ip", "link", "set", "lo", "up"]);
        for key in ["all", "default"] {
            namespace.run(&["sysctl", "-qw", &format!("net.ipv6.conf.{key}.accept_dad=0")]);
        }
        namespace
    }

    /// Connects two namespaces by a veth pair with `queues` queues a side; both ends come up. What a wire does not have
    /// is off on both: with it frames would carry unfinished checksums and tags beside the frame (see `port::af_xdp`).
    pub fn veth(&self, left: (&Namespace, &str), right: (&Namespace, &str), queues: u32) {
        let queues = queues.to_string();
        let mut link = Command::new("ip");
        link.args(["link", "add", left.1, "netns", &left.0.name]);
        link.args(["numrxqueues", &queues, "numtxqueues", &queues, "type", "veth"]);
        link.args(["peer", "name", right.1, "netns", &right.0.name]);
        link.args(["numrxqueues", &queues, "numtxqueues", &queues]);
        succeed(&mut link);
        for (namespace, device) in [left, right] {
            namespace.run(&[
                "ethtool", "-K", device, "tx", "off", "tso", "off", "gso", "off", "gro", "off", "txvlan", "off",
                "rxvlan", "off",
            ]);
            namespace.run(&["ip", "link", "set", device, "up"]);
        }
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for namespace in self.namespaces.borrow().iter() {
            remove(&namespace.name);
        }
    }
}

impl Namespace {
    /// The name under which `ip netns` knows it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A command that runs inside.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name]).arg(program);
        command
    }

    /// Runs a command inside and gives its standard output; panics with its words if it fails.
    pub fn run(&self, words: &[&str]) -> String {
        let output = succeed(self.command(words[0]).args(&words[1..]));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Runs a command inside and says whether it succeeded.
    pub fn succeeds(&self, words: &[&str]) -> bool {
        let mut command = self.command(words[0]);
        command.args(&words[1..]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    }

    /// Gives a device an address (with its prefix length), usable at once.
    pub fn address(&self, device: &str, address: &str) {
        if address.contains(':') {
            self.run(&["ip", "address", "add", address, "dev", device, "nodad"]);
        } else {
            self.run(&["ip", "address", "add", address, "dev", device]);
        }
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

/// Whether this process runs as root.
pub fn is_root() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let effective = status.lines().find_map(|line| line.strip_prefix("Uid:")?.split_whitespace().nth(1));
    effective == Some("0")
}

fn succeed(command: &mut Command) -> Output {
    let output = command.stdin(Stdio::null()).output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

fn remove(namespace: &str) {
    let _ = Command::new("ip").args(["netns", "del", namespace]).stderr(Stdio::null()).status();
}

/// Removes the namespaces of processes that do not exist any more.
fn remove_leftovers() {
    let Ok(entries) = std::fs::read_dir("/run/netns") else { return };
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let owner = name.strip_prefix(PREFIX).and_then(|rest| rest.strip_prefix('-')?.split('-').next());
        if owner.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
            remove(&name);
        }
    }
}
