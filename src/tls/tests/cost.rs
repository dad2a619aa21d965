//! What a handshake costs either side. No test but a measurement: `cargo test --release --lib tls::tests::cost -- --ignored --nocapture`.

use super::server::{ALL, client, make};
use crate::tls::{Server, ServerFiles, Tls};
use rcgen::PKCS_ECDSA_P256_SHA256;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use rustls::version::{TLS12, TLS13};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

const COUNT: u32 = 500;

/// Does something, and adds the time that it took.
fn timed<R>(spent: &mut Duration, act: impl FnOnce() -> R) -> R {
    let begun = Instant::now();
    let result = act();
    *spent += begun.elapsed();
    result
}

/// A handshake and a banner behind it; what the client and the server spent on it is added.
fn shake(server: &Server, config: &Arc<ClientConfig>, spent: &mut [Duration; 2]) {
    let name = ServerName::try_from("mx1.example.net").unwrap();
    let mut ends = [
        timed(&mut spent[0], || Tls::client(Arc::clone(config), name).unwrap()),
        timed(&mut spent[1], || server.accept().unwrap()),
    ];
    let mut greeted = false;
    for turn in 0.. {
        let mut wire = Vec::new();
        let from = turn % 2;
        let take = |bytes: &[u8]| {
            wire.extend_from_slice(bytes);
            bytes.len()
        };
        timed(&mut spent[from], || ends[from].output(take));
        let taken = timed(&mut spent[1 - from], || ends[1 - from].receive(&wire)).unwrap();
        assert_eq!(taken, wire.len());
        if !greeted && !ends[1].is_handshaking() {
            greeted = timed(&mut spent[1], || ends[1].send(b"220 hello\r\n")) > 0;
        }
        if !ends[0].received().bytes.is_empty() {
            return;
        }
    }
}

/// RSA keys have to come from elsewhere.
fn make_rsa(folder: &Path) -> (PathBuf, PathBuf) {
    let (chain, key) = (folder.join("rsa.pem"), folder.join("rsa.key"));
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=mx1.example.net", "-out"])
        .arg(&chain)
        .arg("-keyout")
        .arg(&key)
        .args(["-addext", "subjectAltName=DNS:mx1.example.net"])
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    std::fs::set_permissions(&key, PermissionsExt::from_mode(0o600)).unwrap();
    (chain, key)
}

#[test]
#[ignore = "a measurement"]
fn what_a_handshake_costs() {
    let folder = tempfile::tempdir().unwrap();
    let ecdsa = make(folder.path(), "ecdsa", &["mx1.example.net"], &PKCS_ECDSA_P256_SHA256);
    for (kind, certificate) in [("ECDSA P-256", ecdsa), ("RSA-2048", make_rsa(folder.path()))] {
        let server = Server::load(&ServerFiles { certificates: vec![certificate], ..ServerFiles::default() }).unwrap();
        for (version, versions) in [("TLS 1.2", [&TLS12]), ("TLS 1.3", [&TLS13])] {
            let (mut full, mut resumed) = ([Duration::ZERO; 2], [Duration::ZERO; 2]);
            for _ in 0..COUNT {
                let config = client(&versions, &ALL);
                shake(&server, &config, &mut full);
                shake(&server, &config, &mut resumed);
            }
            let micros = |spent: Duration| spent.as_micros() / u128::from(COUNT);
            println!(
                "{kind}, {version}: server {} us, resumed {} us; client without verification {} us, resumed {} us",
                micros(full[1]),
                micros(resumed[1]),
                micros(full[0]),
                micros(resumed[0])
            );
        }
    }
}
