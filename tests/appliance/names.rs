//! The lab's name servers: nsd, which has the zones lab.example and signed.example, and unbound, which asks it.

use super::client::{Client, in_namespace};
use super::{APPLIANCE, Lab, MX, eventually, path};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// The key that the resolver trusts, if it validates.
pub type Anchor = Option<PathBuf>;

/// A program that was started for the test, ended when dropped.
pub struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Signs this as the zone signed.example, which the authoritative server has then beside lab.example; the file with the key that
/// vouches for it.
pub fn sign(lab: &Lab, zone: &str) -> PathBuf {
    let directory = lab.directory.path();
    std::fs::write(directory.join("signed.zone"), zone).expect("the zone");
    let ldns = |program: &str, arguments: &[&str]| {
        let output = Command::new(program).args(arguments).current_dir(directory).output().expect("ldnsutils");
        assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    };
    let key = ldns("ldns-keygen", &["-k", "-a", "ECDSAP256SHA256", "signed.example"]);
    ldns("ldns-signzone", &["-f", "signed.zone.signed", "signed.zone", &key]);
    directory.join(format!("{key}.key"))
}

/// The authoritative server, on the host mx; lab.example is in `lab.zone`.
pub fn authority(lab: &Lab) -> Server {
    let directory = lab.directory.path();
    let folder = directory.display();
    let mut text = format!(
        "server:\n  ip-address: {MX}\n  username: \"\"\n  chroot: \"\"\n  zonesdir: \"{folder}\"\n  database: \"\"\n\
         \n  pidfile: \"{folder}/nsd.pid\"\n  xfrdfile: \"{folder}/xfrd.state\"\n  zonelistfile: \"{folder}/zone.list\"\n\
         \n  xfrdir: \"{folder}\"\nremote-control:\n  control-enable: no\n"
    );
    for (zone, file) in [("lab.example", "lab.zone"), ("signed.example", "signed.zone.signed")] {
        text += &format!("zone:\n  name: {zone}\n  zonefile: {file}\n");
    }
    let config = directory.join("nsd.conf");
    std::fs::write(&config, text).expect("the configuration");
    let server = start(lab, "mx", "nsd", &["-d", "-c", &config.to_string_lossy()]);
    wait_for_port(lab, "mx", format!("{MX}:53"));
    server
}

/// A resolver on the relay's loopback; what it knows comes from the authoritative server.
pub fn resolver(lab: &Lab, anchor: &Anchor) -> Server {
    let directory = lab.directory.path();
    let modules = if anchor.is_some() { "validator iterator" } else { "iterator" };
    let mut text = format!(
        "server:\n  interface: 127.0.0.1\n  username: \"\"\n  chroot: \"\"\n  directory: \"{}\"\n  pidfile: \"\"\n\
         \n  use-syslog: no\n  do-daemonize: no\n  access-control: 127.0.0.0/8 allow\n  module-config: \"{modules}\"\n\
         \n  root-hints: \"\"\n  val-log-level: 2\n",
        directory.display(),
    );
    if let Some(anchor) = anchor {
        text += &format!("  trust-anchor-file: \"{}\"\n", anchor.display());
    }
    for zone in ["lab.example", "signed.example"] {
        text += &format!("stub-zone:\n  name: {zone}\n  stub-addr: {MX}\n");
    }
    text += "remote-control:\n  control-enable: no\n";
    let config = directory.join("unbound.conf");
    std::fs::write(&config, text).expect("the configuration");
    let server = start(lab, "relay", "unbound", &["-d", "-c", &config.to_string_lossy()]);
    wait_for_port(lab, "relay", "127.0.0.1:53".to_owned());
    server
}

fn start(lab: &Lab, host: &str, program: &str, arguments: &[&str]) -> Server {
    let log = std::fs::File::create(lab.directory.path().join(format!("{program}.log"))).expect("a log");
    let mut command = lab.command(host, program);
    command.args(arguments).env("PATH", path()).stdout(Stdio::null()).stderr(log);
    Server(command.spawn().unwrap_or_else(|error| panic!("{program}: {error}; scripts/setup --test installs it")))
}

/// One message to a user of each of these domains; what it is called stands in it.
pub fn send(lab: &Lab, sender: &str, domains: &[impl AsRef<str>]) {
    send_with(lab, sender, domains, "");
}

/// The same with this in front of the header.
pub fn send_with(lab: &Lab, sender: &str, domains: &[impl AsRef<str>], header: &'static str) {
    let domains: Vec<String> = domains.iter().map(|domain| domain.as_ref().to_owned()).collect();
    let server = format!("{APPLIANCE}:25").parse().expect("an address");
    let sender = sender.to_owned();
    let sent = in_namespace(&lab.namespace("client"), move || {
        let mut client = Client::connect(server).expect("the appliance");
        assert_eq!(client.command("EHLO client.example.test").expect("a reply").code, 250);
        for domain in domains {
            let content = format!("{header}Subject: to {domain}\r\n\r\nHello {domain}\r\n");
            let taken = client.deliver(&sender, &format!("user@{domain}"), &content);
            assert!(taken.expect("a reply"), "{domain}");
        }
    });
    sent.join().expect("the client");
}

/// Waits until something listens there.
pub fn wait_for_port(lab: &Lab, host: &str, address: String) {
    let namespace = lab.namespace(host);
    let address: SocketAddr = address.parse().expect("an address");
    eventually(&format!("something listens on {address}"), Duration::from_secs(20), || {
        in_namespace(&namespace, move || TcpStream::connect(address).is_ok()).join().expect("a thread")
    });
}
