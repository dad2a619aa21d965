//! The lab's etcd: one that serves whoever asks, or one of three members that serves nobody whom it does not know.

use super::authority::Authority;
use super::pair::{PATIENCE, folder};
use super::{Lab, eventually};
use rohrpost::mirror::register::Node;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The user that a box is, and its password.
const USER: [&str; 2] = ["pair", "a password of the test's"];
/// The user who may make others.
const ROOT: &str = "root:another password of the test's";

impl Lab {
    /// Starts etcd, with what an earlier one knew.
    pub fn start_etcd(&self) {
        self.start_members(1);
    }

    fn start_members(&self, count: u32) {
        let output = self.script(&["etcd", &self.etcd().to_string_lossy(), &count.to_string()]).output();
        let output = output.expect("scripts/lab");
        assert!(output.status.success(), "scripts/lab etcd: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// Starts three members that speak TLS with whoever has a certificate of their authority, and serve a user with a password:
    /// that of the boxes, who may do what they must and nothing else.
    pub fn start_guarded_etcd(&self) -> Guard {
        let authority = Authority::new();
        let tls = self.etcd().join("tls");
        std::fs::create_dir_all(&tls).expect("a folder");
        let (certificate, key) = authority.sign(["192.0.2.40", "2001:db8:2::40"]);
        for (file, text) in [
            ("ca.pem", authority.certificate().pem()),
            ("etcd.pem", certificate.pem()),
            ("etcd.key", key.serialize_pem()),
        ] {
            std::fs::write(tls.join(file), text).expect("written");
        }
        self.start_members(3);
        let ask = |arguments: &[&str]| {
            let mut command = self.command("etcd", "etcdctl");
            command.args(["--endpoints", "https://192.0.2.40:2379"]);
            for (option, file) in [("--cacert", "ca.pem"), ("--cert", "etcd.pem"), ("--key", "etcd.key")] {
                command.arg(option).arg(tls.join(file));
            }
            let output = command.args(arguments).output().expect("etcdctl");
            assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        };
        ask(&["user", "add", ROOT]);
        ask(&["user", "grant-role", "root", "root"]);
        ask(&["user", "add", &USER.join(":")]);
        ask(&["role", "add", "pair"]);
        ask(&["role", "grant-permission", "pair", "--prefix=true", "readwrite", "/rohrpost/"]);
        ask(&["user", "grant-role", USER[0], "pair"]);
        ask(&["auth", "enable"]);
        Guard(authority)
    }

    /// Kills etcd.
    pub fn kill_etcd(&self) {
        self.kill_members("");
    }

    /// Kills one of its members.
    pub fn kill_member(&self, number: u32) {
        self.kill_members(&format!("lab{number}"));
    }

    /// A member that a box has a connection with.
    pub fn member_asked_by(&self, node: Node) -> Option<u32> {
        let addresses = [format!("192.0.2.{}:", 21 + node as u32), format!("[2001:db8:2::{}]:", 21 + node as u32)];
        (0..3).find(|number| {
            let mut command = self.command("etcd", "ss");
            command.args(["-Htn", "state", "established", "sport", "=", &format!(":{}", 2379 + number)]);
            let output = command.output().expect("ss");
            let told = String::from_utf8_lossy(&output.stdout);
            addresses.iter().any(|address| told.contains(address))
        })
    }

    /// Kills those whose command line has this.
    fn kill_members(&self, name: &str) {
        let output = Command::new("ip").args(["netns", "pids", &self.namespace("etcd")]).output().expect("ip");
        for pid in String::from_utf8_lossy(&output.stdout).split_whitespace() {
            let process = Path::new("/proc").join(pid);
            let line = std::fs::read(process.join("cmdline")).unwrap_or_default();
            if name.is_empty() || line.split(|byte| *byte == 0).any(|word| word == name.as_bytes()) {
                assert!(Command::new("kill").args(["-KILL", pid]).status().expect("kill").success());
                eventually("etcd has ended", PATIENCE, || !process.exists());
            }
        }
    }

    fn etcd(&self) -> PathBuf {
        self.directory.path().join("etcd")
    }
}

/// Who vouches for the boxes.
pub struct Guard(Authority);

impl Guard {
    /// Gives a box what it needs to be served, in its folder; gives what its configuration has to say. The first endpoint is where
    /// nobody is.
    pub fn admit(&self, lab: &Lab, node: Node) -> String {
        let folder = folder(lab, node);
        std::fs::create_dir_all(&folder).expect("a folder");
        let (certificate, key) = self.0.sign(["relay.example.test"]);
        for (file, text) in [
            ("etcd-ca.pem", self.0.certificate().pem()),
            ("etcd.pem", certificate.pem()),
            ("etcd.key", key.serialize_pem()),
            ("etcd.password", format!("{}\n", USER[1])),
        ] {
            std::fs::write(folder.join(file), text).expect("written");
        }
        let folder = folder.display();
        format!(
            "etcd = [\"https://192.0.2.41:2379\", \"https://192.0.2.40:2379\", \"https://[2001:db8:2::40]:2380\", \
             \"https://192.0.2.40:2381\"]\n\
             etcd_user = \"{}\"\netcd_password_file = \"{folder}/etcd.password\"\netcd_ca = \"{folder}/etcd-ca.pem\"\n\
             etcd_certificate = \"{folder}/etcd.pem\"\netcd_key = \"{folder}/etcd.key\"\n",
            USER[0]
        )
    }
}
