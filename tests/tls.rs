//! TLS with real peers: swaks and OpenSSL, clients that inject, clients that hang up in the middle, new certificates at SIGHUP; a
//! Postfix as the next hop, and next hops that cannot do what they offer.

mod appliance;

use appliance::client::{Client, in_namespace};
use appliance::mail::{PATIENCE, arrived, sink, source};
use appliance::{APPLIANCE, Appliance, Lab, MX, Setup, eventually};
use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection, StreamOwned};
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

/// Writes a certificate and its key: for the appliance, or another host.
fn certificate(folder: &Path, file: &str) -> PathBuf {
    certificate_for(folder, file, "relay.example.test")
}

fn certificate_for(folder: &Path, file: &str, host: &str) -> PathBuf {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).expect("a key");
    let params = CertificateParams::new(vec![host.to_owned()]).expect("a name");
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

/// A Postfix on mx that has a certificate for its address, on port 25 by STARTTLS and on 465 from the first byte.
fn postfix(lab: &Lab) -> PathBuf {
    let maildir = lab.postfix();
    let etc = lab.directory.path().join("postfix/etc");
    let chain = certificate_for(lab.directory.path(), "mx", MX);
    let run = |program: &str, arguments: &[&str]| {
        let output = lab.command("mx", program).arg("-c").arg(&etc).args(arguments).output().expect(program);
        assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
    };
    let cert = format!("smtpd_tls_cert_file={}", chain.display());
    let key = format!("smtpd_tls_key_file={}", chain.with_extension("key").display());
    run("postconf", &["-e", &cert, &key, "smtpd_tls_security_level=may", "smtpd_tls_received_header=yes"]);
    run("postconf", &["-M", "465/inet=465 inet n - n - - smtpd -o smtpd_tls_wrappermode=yes"]);
    run("postfix", &["reload"]);
    eventually("Postfix listens", PATIENCE, || {
        let up = |port| move || TcpStream::connect((MX, port)).is_ok();
        in_namespace(&lab.namespace("mx"), up(465)).join().expect("a thread")
            && in_namespace(&lab.namespace("mx"), up(25)).join().expect("a thread")
    });
    maildir
}

/// An appliance whose mail for example.test goes to a host, and what it demands.
fn start_towards(lab: &Lab, to: &str, tls: &str) -> Appliance {
    let more = format!(
        "[[route]]\ndomain = \"example.test\"\nto = [\"{to}\"]\ntls = \"{tls}\"\n[tls]\nroots = \"mx.pem\"\n\
         [delivery]\ntransactions_per_connection = 1\n[retry]\nfirst = \"1s\"\n"
    );
    Appliance::start(lab, &Setup { transport: "af_xdp", to, cores: "", more: &more })
}

fn send(lab: &Lab, count: u32) {
    let to = format!("inet:{APPLIANCE}:25");
    source(lab, &["-m", &count.to_string(), "-l", "2048", "-t", "user@example.test", &to]);
}

#[test]
fn a_real_postfix_is_sent_to_under_tls_and_resumes_it() {
    let Some(lab) = Lab::up(1) else { return };
    let maildir = postfix(&lab);
    let mut sent = 0;
    for (scheme, port, tls) in
        [("smtp", 25, "opportunistic"), ("smtp", 25, "require"), ("smtp", 25, "verify"), ("smtps", 465, "verify")]
    {
        let mut appliance = start_towards(&lab, &format!("{scheme}://{MX}:{port}"), tls);
        send(&lab, 3);
        sent += 3;
        appliance.wait_until_empty(PATIENCE);
        let delivered = appliance.events("delivered");
        assert_eq!(delivered.len(), 3, "{tls}");
        for line in &delivered {
            assert_eq!(line["tls"]["version"], "TLSv1.3", "{tls}: {line}");
            assert_eq!(line["tls"]["verified"], tls == "verify", "{tls}: {line}");
        }
        assert!(delivered.iter().any(|line| line["tls"]["resumed"] == true), "{tls}: {delivered:?}");
        assert!(appliance.stop().success());
    }
    eventually("all mail is there", PATIENCE, || std::fs::read_dir(&maildir).expect("the folder").count() == sent);
    for text in arrived(&maildir).into_values().flatten() {
        assert!(text.contains("(using TLSv1.3 with cipher TLS_"), "{text}");
    }
}

#[test]
fn mail_whose_sender_demands_tls_all_the_way_bounces_where_that_ends() {
    let Some(lab) = Lab::up(1) else { return };
    let maildir = postfix(&lab);
    let chain = certificate(lab.directory.path(), "own");
    let listeners = LISTENERS.replace("\"implicit\"\n", "\"implicit\"\nrequiretls = true\n");
    let to = format!("smtp://{MX}:25");
    let more = format!(
        "{listeners}[[route]]\ndomain = \"example.test\"\nto = [\"{to}\"]\ntls = \"verify\"\n[tls]\nroots = \"mx.pem\"\n"
    );
    let appliance = Appliance::start(&lab, &Setup { transport: "af_xdp", to: &to, cores: "", more: &more });
    in_namespace(&lab.namespace("client"), move || {
        let mut stream = connect(&chain);
        assert!(say(&mut stream, "").starts_with("220 "));
        assert!(say(&mut stream, "EHLO c\r\n").contains("250-REQUIRETLS\r\n"));
        assert!(say(&mut stream, "MAIL FROM:<me@example.test> REQUIRETLS RET=FULL\r\n").starts_with("250 "));
        assert!(say(&mut stream, "RCPT TO:<user@example.test>\r\n").starts_with("250 "));
        assert!(say(&mut stream, "DATA\r\n").starts_with("354 "));
        assert!(say(&mut stream, "Subject: a secret\r\n\r\nthe secret\r\n.\r\n").starts_with("250 "));
    })
    .join()
    .expect("the client");
    appliance.wait_until_empty(PATIENCE);
    let bounced = appliance.events("bounced");
    let reply = bounced[0]["reply"].as_str().unwrap_or_default();
    assert!(reply.contains("does not support REQUIRETLS"), "{bounced:?}");
    eventually("the notice is there", PATIENCE, || std::fs::read_dir(&maildir).expect("the folder").count() == 1);
    let entry = std::fs::read_dir(&maildir).expect("the folder").flatten().next().expect("there is one");
    let notice = std::fs::read_to_string(entry.path()).expect("a message");
    assert!(notice.contains("Status: 5.7.30") && notice.contains("Subject: a secret"), "{notice}");
    assert!(!notice.contains("the secret"), "headers alone: {notice}");
}

#[test]
fn a_certificate_for_somebody_else_is_not_taken_where_it_is_looked_at() {
    let Some(lab) = Lab::up(1) else { return };
    let _maildir = postfix(&lab);
    // It is now that of another host, and trusted all the same.
    certificate_for(lab.directory.path(), "mx", "elsewhere.example.test");
    let etc = lab.directory.path().join("postfix/etc");
    assert!(lab.command("mx", "postfix").arg("-c").arg(&etc).arg("reload").status().expect("postfix").success());
    let mut appliance = start_towards(&lab, &format!("smtp://{MX}:25"), "verify");
    send(&lab, 1);
    eventually("it is deferred", PATIENCE, || !appliance.events("deferred").is_empty());
    let deferred = &appliance.events("deferred")[0];
    let reply = deferred["reply"].as_str().unwrap_or_default();
    assert!(reply.contains("during the TLS handshake: invalid peer certificate"), "{deferred}");
    assert!(appliance.events("delivered").is_empty());
    assert!(appliance.stop().success());
    let appliance = start_towards(&lab, &format!("smtp://{MX}:25"), "require");
    appliance.rohrpost(&["queue", "retry", "--all"]);
    appliance.wait_until_empty(PATIENCE);
    assert_eq!(appliance.events("delivered")[0]["tls"]["verified"], false);
}

/// A next hop in a thread that answers each line as it is told, for one connection after the other. Gives what it heard.
fn hop(
    lab: &Lab,
    answers: impl Fn(usize, &str) -> Option<String> + Send + 'static,
) -> std::sync::mpsc::Receiver<String> {
    let (heard, hears) = std::sync::mpsc::channel();
    let (ready, is_ready) = std::sync::mpsc::channel();
    in_namespace(&lab.namespace("mx"), move || {
        let listener = std::net::TcpListener::bind((MX, 25)).expect("a port");
        ready.send(()).expect("somebody waits");
        for (place, stream) in listener.incoming().flatten().enumerate() {
            let mut stream = std::io::BufReader::new(stream);
            let mut line = "CONNECT".to_owned();
            while let Some(answer) = answers(place, line.trim_end()) {
                if heard.send(format!("{place} {}", line.trim_end())).is_err() {
                    return;
                }
                if stream.get_mut().write_all(answer.as_bytes()).is_err() {
                    break;
                }
                line.clear();
                if std::io::BufRead::read_line(&mut stream, &mut line).unwrap_or(0) == 0 {
                    break;
                }
            }
        }
    });
    is_ready.recv().expect("it listens");
    hears
}

/// A server that offers STARTTLS on its first connection, says this to it, and takes mail in the clear.
fn offers(place: usize, line: &str, starttls: &str) -> Option<String> {
    Some(match line.split(' ').next().unwrap_or_default() {
        "CONNECT" => "220 mx\r\n".to_owned(),
        "EHLO" if place == 0 => "250-mx\r\n250 STARTTLS\r\n".to_owned(),
        "STARTTLS" => starttls.to_owned(),
        "DATA" => "354 go on\r\n".to_owned(),
        "EHLO" | "MAIL" | "RCPT" | "." => "250 ok\r\n".to_owned(),
        "QUIT" => "221 bye\r\n".to_owned(),
        line if line.starts_with('\x16') => return None,
        _ => String::new(),
    })
}

#[test]
fn a_hop_that_cannot_do_what_it_offers_gets_its_mail_in_the_clear_or_not_at_all() {
    for tls in ["opportunistic", "require"] {
        let Some(lab) = Lab::up(1) else { return };
        certificate_for(lab.directory.path(), "mx", MX);
        let heard = hop(&lab, |place, line| {
            // What comes behind the answer is no handshake that it could read.
            if place == 0 && !line.is_ascii() { None } else { offers(place, line, "220 go on\r\n") }
        });
        let appliance = start_towards(&lab, &format!("smtp://{MX}:25"), tls);
        send(&lab, 1);
        if tls == "require" {
            eventually("it is deferred", PATIENCE, || !appliance.events("deferred").is_empty());
            let deferred = &appliance.events("deferred")[0];
            assert!(deferred["reply"].as_str().is_some_and(|text| text.contains("TLS handshake")), "{deferred}");
            assert!(heard.try_iter().all(|line| !line.contains("MAIL")));
        } else {
            appliance.wait_until_empty(PATIENCE);
            let delivered = &appliance.events("delivered")[0];
            assert!(delivered["tls"].is_null(), "{delivered}");
            assert!(heard.try_iter().any(|line| line.starts_with("1 MAIL FROM")), "on a connection of its own");
        }
    }
}

#[test]
fn what_is_injected_behind_the_answer_to_starttls_is_no_answer() {
    let Some(lab) = Lab::up(1) else { return };
    certificate_for(lab.directory.path(), "mx", MX);
    let heard = hop(&lab, |_, line| offers(0, line, "220 go on\r\n250-mx\r\n250 SIZE\r\n"));
    let appliance = start_towards(&lab, &format!("smtp://{MX}:25"), "opportunistic");
    send(&lab, 1);
    eventually("it is deferred", PATIENCE, || !appliance.events("deferred").is_empty());
    let deferred = &appliance.events("deferred")[0];
    let reply = deferred["reply"].as_str().unwrap_or_default();
    assert!(reply.contains("broke the protocol when the reply to STARTTLS was due"), "{deferred}");
    assert!(heard.try_iter().all(|line| !line.contains("MAIL")));
}

/// A next hop under TLS, in a thread, that takes mail from who shows the user `user` and the password `secret`.
fn hop_with_password(lab: &Lab) {
    let chain = certificate_for(lab.directory.path(), "mx", MX);
    let certificate = CertificateDer::from_pem_file(&chain).expect("PEM");
    let key = PrivateKeyDer::from_pem_file(chain.with_extension("key")).expect("PEM");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().expect("versions");
    let config = config.with_no_client_auth().with_single_cert(vec![certificate], key).expect("a pair");
    let config = Arc::new(config);
    let (ready, is_ready) = std::sync::mpsc::channel();
    in_namespace(&lab.namespace("mx"), move || {
        let listener = std::net::TcpListener::bind((MX, 465)).expect("a port");
        ready.send(()).expect("somebody waits");
        for stream in listener.incoming().flatten() {
            let tls = ServerConnection::new(Arc::clone(&config)).expect("a configuration");
            let mut stream = std::io::BufReader::new(StreamOwned::new(tls, stream));
            let (mut line, mut known) = ("CONNECT".to_owned(), false);
            loop {
                known |= line.trim_end() == "AUTH PLAIN AHVzZXIAc2VjcmV0";
                let answer = match line.split(' ').next().unwrap_or_default().trim_end() {
                    "CONNECT" => "220 mx\r\n",
                    "EHLO" => "250-mx\r\n250 AUTH PLAIN LOGIN\r\n",
                    "AUTH" if known => "235 2.7.0 welcome\r\n",
                    "AUTH" => "535 5.7.8 authentication failed\r\n",
                    "MAIL" if !known => "530 5.7.0 authentication required\r\n",
                    "DATA" => "354 go on\r\n",
                    "MAIL" | "RCPT" | "." => "250 ok\r\n",
                    "QUIT" => "221 bye\r\n",
                    _ => "",
                };
                let sent = stream.get_mut().write_all(answer.as_bytes()).and_then(|()| stream.get_mut().flush());
                line.clear();
                if sent.is_err() || std::io::BufRead::read_line(&mut stream, &mut line).unwrap_or(0) == 0 {
                    break;
                }
            }
        }
    });
    is_ready.recv().expect("it listens");
}

#[test]
fn wrong_credentials_cost_no_mail_and_right_ones_are_read_at_sighup() {
    let Some(lab) = Lab::up(1) else { return };
    hop_with_password(&lab);
    let file = lab.directory.path().join("smarthost");
    std::fs::write(&file, "user\nwrong\n").expect("written");
    std::fs::set_permissions(&file, PermissionsExt::from_mode(0o600)).expect("our own file");
    let more = format!(
        "[[route]]\ndomain = \"example.test\"\nto = [\"smtps://{MX}:465\"]\ntls = \"verify\"\ncredentials = \"smarthost\"\n\
         [tls]\nroots = \"mx.pem\"\n[delivery]\nhost_backoff = \"1s\"\nhost_backoff_max = \"1s\"\n[retry]\nfirst = \"1s\"\n"
    );
    let setup = Setup { transport: "af_xdp", to: &format!("smtp://{MX}:25"), cores: "", more: &more };
    let mut appliance = Appliance::start(&lab, &setup);
    send(&lab, 1);
    eventually("the log tells it", PATIENCE, || !appliance.events("credentials_refused").is_empty());
    let refused = &appliance.events("credentials_refused")[0];
    assert_eq!(refused["reply"], "535 5.7.8 authentication failed (in reply to AUTH)", "{refused}");
    eventually("it is deferred", PATIENCE, || !appliance.events("deferred").is_empty());
    assert!(appliance.events("bounced").is_empty());
    std::fs::write(&file, "user\nsecret\n").expect("written");
    appliance.signal("HUP");
    appliance.wait_until_empty(PATIENCE);
    let delivered = appliance.events("delivered");
    assert_eq!((delivered.len(), &delivered[0]["tls"]["verified"]), (1, &true.into()), "{delivered:?}");
    assert!(appliance.events("reloaded").iter().any(|line| line["detail"] == "1 credentials"));
    assert!(!appliance.log_text().contains("secret"));
    // What others may read is no secret.
    assert!(appliance.stop().success());
    std::fs::set_permissions(&file, PermissionsExt::from_mode(0o644)).expect("our own file");
    let said = appliance.try_rohrpost(&["check"]).expect_err("it is refused");
    assert!(said.contains("credentials: ") && said.contains("chmod 600"), "{said}");
}
