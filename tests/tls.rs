//! TLS with real peers: swaks and OpenSSL, clients that inject, clients that hang up in the middle, new certificates at SIGHUP.

mod appliance;

use appliance::client::{Client, in_namespace};
use appliance::mail::{PATIENCE, arrived, sink};
use appliance::{APPLIANCE, Appliance, Lab, MX, Setup, eventually};
use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

/// Writes a certificate for the appliance and its key.
fn certificate(folder: &Path, file: &str) -> PathBuf {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).expect("a key");
    let params = CertificateParams::new(vec!["relay.example.test".to_owned()]).expect("a name");
    let chain = folder.join(format!("{file}.pem"));
    let secret = folder.join(format!("{file}.key"));
    std::fs::write(&chain, params.self_signed(&key).expect("a certificate").pem()).expect("written");
    std::fs::write(&secret, key.serialize_pem()).expect("written");
    std::fs::set_permissions(&secret, PermissionsExt::from_mode(0o600)).expect("our own file");
    chain
}

/// STARTTLS where the others listen, TLS from the first byte on 465, and no mail in the clear on 587.
const LISTENERS: &str = "[[certificate]]\nchain = \"own.pem\"\nkey = \"own.key\"\n\
    [[listener]]\naddress = \"192.0.2.25:465\"\nrole = \"relay\"\ntls = \"implicit\"\n\
    [[listener]]\naddress = \"192.0.2.25:587\"\nrole = \"submission\"\nrequire_tls = true\n";

/// An appliance that has a certificate.
fn start(lab: &Lab) -> Appliance {
    certificate(lab.directory.path(), "own");
    let setup = Setup { transport: "af_xdp", to: &format!("smtp://{MX}:25"), cores: "", more: LISTENERS };
    Appliance::start(lab, &setup)
}

fn server(port: u16) -> SocketAddr {
    SocketAddr::new(APPLIANCE.parse().expect("an address"), port)
}

type Secure = StreamOwned<ClientConnection, TcpStream>;

/// A client that speaks TLS on 465, and knows the appliance's certificate.
fn connect(chain: &Path) -> Secure {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(chain).expect("PEM")).expect("a certificate");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().expect("versions");
    let config = Arc::new(config.with_root_certificates(roots).with_no_client_auth());
    let name = ServerName::try_from("relay.example.test").expect("a name");
    let stream = TcpStream::connect_timeout(&server(465), PATIENCE).expect("the appliance");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    StreamOwned::new(ClientConnection::new(config, name).expect("a configuration"), stream)
}

/// Sends a line, and reads until the last line of a reply has come.
fn say(stream: &mut Secure, line: &str) -> String {
    stream.write_all(line.as_bytes()).expect("sent");
    let mut reply = String::new();
    while !reply.ends_with("\r\n") || reply.lines().last().is_some_and(|line| line.as_bytes().get(3) == Some(&b'-')) {
        let mut some = [0; 1000];
        let count = stream.read(&mut some).expect("a reply");
        assert!(count > 0, "the appliance has hung up behind {reply}");
        reply.push_str(&String::from_utf8_lossy(&some[..count]));
    }
    reply
}

#[test]
fn swaks_sends_over_starttls_and_over_tls() {
    let Some(lab) = Lab::up(1) else { return };
    let (_sink, directory) = sink(&lab, &format!("{MX}:25"));
    let appliance = start(&lab);
    for (place, arguments) in
        [vec!["--tls"], vec!["--tls", "--tls-protocol", "tlsv1_2"], vec!["--tlsc"]].iter().enumerate()
    {
        let output = (lab.command("client", "swaks"))
            .args(["--server", APPLIANCE, "--to", "user@example.test", "--from", "me@example.test"])
            .args(["--header", &format!("Message-Id: <{place}@example.test>")])
            .args(arguments)
            .args(if place == 2 { ["--port", "465"] } else { ["--port", "25"] })
            .output()
            .expect("swaks");
        let dialogue = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{dialogue}");
        let offers = dialogue.matches("STARTTLS").count();
        assert_eq!(offers, if place == 2 { 0 } else { 2 }, "offered once, said once:\n{dialogue}");
    }
    appliance.wait_until_empty(PATIENCE);
    let messages = arrived(&directory);
    for (place, cipher) in
        ["TLSv1.3 with cipher TLS_", "TLSv1.2 with cipher TLS_ECDHE_ECDSA_", "TLSv1.3 with cipher TLS_"]
            .iter()
            .enumerate()
    {
        let message = &messages[&format!("<{place}@example.test>")][0];
        assert!(message.contains(&format!("(using {cipher}")), "{message}");
        assert!(message.contains("by relay.example.test with ESMTPS id "), "{message}");
    }
    let accepted = appliance.events("accepted");
    assert_eq!(accepted[1]["tls"]["version"], "TLSv1.2", "{accepted:?}");
    assert!(accepted[2]["tls"]["cipher"].as_str().is_some_and(|cipher| cipher.starts_with("TLS_")), "{accepted:?}");
}

#[test]
fn openssl_comes_again_with_a_ticket() {
    let Some(lab) = Lab::up(1) else { return };
    let _appliance = start(&lab);
    let session = lab.directory.path().join("session");
    let session = session.to_string_lossy();
    for version in ["-tls1_2", "-tls1_3"] {
        for option in ["-sess_out", "-sess_in"] {
            let mut child = lab
                .command("client", "openssl")
                .args([
                    "s_client",
                    "-starttls",
                    "smtp",
                    "-crlf",
                    "-quiet",
                    "-no_ign_eof",
                    "-state",
                    version,
                    option,
                    &session,
                ])
                .args(["-connect", &format!("{APPLIANCE}:25"), "-servername", "relay.example.test"])
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .expect("openssl");
            let mut stdin = child.stdin.take().expect("a pipe");
            let mut stdout = child.stdout.take().expect("a pipe");
            // The ticket of TLS 1.3 comes behind the handshake, with the next words of the server at the latest.
            stdin.write_all(b"EHLO c\n").expect("sent");
            let mut text = Vec::new();
            while !String::from_utf8_lossy(&text).contains("250 LIMITS") {
                let mut some = [0; 1000];
                let count = stdout.read(&mut some).expect("a reply");
                assert!(count > 0, "{}", String::from_utf8_lossy(&text));
                text.extend_from_slice(&some[..count]);
            }
            stdin.write_all(b"quit\n").expect("sent");
            drop(stdin);
            let output = child.wait_with_output().expect("openssl");
            let said = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&text);
            let full = said.matches("SSLv3/TLS read server certificate").count();
            assert_eq!(full > 0, option == "-sess_out", "{version} {option}\n{said}");
        }
    }
}

#[test]
fn what_is_injected_in_the_clear_is_never_obeyed() {
    let Some(lab) = Lab::up(1) else { return };
    let appliance = start(&lab);
    let replies = in_namespace(&lab.namespace("client"), || {
        let mut behind = Client::connect(server(25)).expect("the appliance");
        assert_eq!(behind.command("EHLO c").expect("a reply").code, 250);
        behind.send(b"STARTTLS\r\nMAIL FROM:<evil@example.test>\r\n").expect("sent");
        let first = behind.reply().expect("a reply").code;
        assert!(behind.reply().is_err(), "it is over");
        let mut after = Client::connect(server(25)).expect("the appliance");
        assert_eq!(after.command("EHLO c").expect("a reply").code, 250);
        let second = after.command("STARTTLS").expect("a reply").code;
        after.send(b"MAIL FROM:<evil@example.test>\r\n").expect("sent");
        assert!(after.reply().is_err(), "an alert, and the end");
        let mut required = Client::connect(server(587)).expect("the appliance");
        let hello = required.command("EHLO c").expect("a reply");
        assert!(hello.lines.iter().any(|line| line == "STARTTLS"), "{hello:?}");
        let third = required.command("MAIL FROM:<me@example.test>").expect("a reply").code;
        [first, second, third]
    });
    assert_eq!(replies.join().expect("the client"), [503, 220, 530]);
    eventually("the log tells it", PATIENCE, || !appliance.events("tls_failed").is_empty());
    let failed = appliance.events("tls_failed");
    assert_eq!((failed.len(), &failed[0]["error"]), (1, &"the peer speaks in the clear".into()), "{failed:?}");
}

#[test]
fn content_that_is_cut_off_is_no_message() {
    let Some(lab) = Lab::up(1) else { return };
    let (_sink, directory) = sink(&lab, &format!("{MX}:25"));
    let appliance = start(&lab);
    let chain = lab.directory.path().join("own.pem");
    in_namespace(&lab.namespace("client"), move || {
        for notify in [true, false] {
            let mut stream = connect(&chain);
            assert!(say(&mut stream, "").starts_with("220 "));
            assert!(say(&mut stream, "EHLO c\r\n").starts_with("250-"));
            for line in ["MAIL FROM:<me@example.test>\r\n", "RCPT TO:<user@example.test>\r\n"] {
                assert!(say(&mut stream, line).starts_with("250 "));
            }
            assert!(say(&mut stream, "DATA\r\n").starts_with("354 "));
            stream.write_all(&b"half of a message\r\n".repeat(1000)).expect("sent");
            if notify {
                stream.conn.send_close_notify();
            }
            stream.flush().expect("sent");
            stream.sock.shutdown(Shutdown::Write).expect("ours");
            let mut rest = Vec::new();
            let _ = stream.sock.read_to_end(&mut rest);
        }
        // One that is whole goes through, with a client that says goodbye.
        let mut stream = connect(&chain);
        assert!(say(&mut stream, "").starts_with("220 "));
        assert!(say(&mut stream, "EHLO c\r\n").starts_with("250-"));
        let line = "MAIL FROM:<me@example.test>\r\n";
        assert!(say(&mut stream, line).starts_with("250 "));
        assert!(say(&mut stream, "RCPT TO:<user@example.test>\r\n").starts_with("250 "));
        assert!(say(&mut stream, "DATA\r\n").starts_with("354 "));
        assert!(say(&mut stream, "Message-Id: <whole@example.test>\r\n\r\nwhole\r\n.\r\n").starts_with("250 "));
        assert!(say(&mut stream, "QUIT\r\n").starts_with("221 "));
        assert_eq!(stream.read(&mut [0; 10]).expect("an orderly end of TLS"), 0);
    })
    .join()
    .expect("the client");
    appliance.wait_until_empty(PATIENCE);
    assert_eq!(arrived(&directory).into_keys().collect::<Vec<_>>(), ["<whole@example.test>"]);
    assert_eq!(appliance.events("accepted").len(), 1);
}

#[test]
fn new_certificates_are_shown_after_sighup_and_broken_ones_are_not() {
    let Some(lab) = Lab::up(1) else { return };
    let appliance = start(&lab);
    let folder = lab.directory.path().to_owned();
    let own = folder.join("own.pem");
    let greets = |chain: PathBuf| {
        let client = in_namespace(&lab.namespace("client"), move || {
            let mut stream = connect(&chain);
            let mut some = [0; 100];
            stream.read(&mut some).is_ok_and(|count| some[..count].starts_with(b"220 "))
        });
        client.join().expect("the client")
    };
    let old = folder.join("old.pem");
    std::fs::copy(&own, &old).expect("a copy");
    assert!(greets(old.clone()));
    std::fs::write(&own, "-----BEGIN NOTHING-----\n").expect("written");
    appliance.signal("HUP");
    eventually("the log tells what is wrong", PATIENCE, || {
        let mut warnings = appliance.events("warning").into_iter();
        warnings.any(|line| {
            line["text"].as_str().is_some_and(|text| text.contains("own.pem: there is no certificate in it"))
        })
    });
    assert!(greets(old.clone()), "what was shown before still is");
    certificate(&folder, "own");
    appliance.signal("HUP");
    eventually("the log tells that they were read", PATIENCE, || !appliance.events("reloaded").is_empty());
    eventually("the new one is shown", Duration::from_secs(10), || greets(own.clone()));
    assert!(!greets(old), "the old one is not any more");
}
