//! What domains say about TLS with their hosts, held against a real Postfix: DANE, with a signed zone (nsd) and a resolver that
//! validates it (unbound); MTA-STS, with policies from a server on the web; and what domains are told of it (TLSRPT).

mod appliance;

use appliance::authority::Authority;
use appliance::client::in_namespace;
use appliance::mail::PATIENCE;
use appliance::names::{Server, authority, resolver, send, send_with, sign, wait_for_port};
use appliance::{APPLIANCE, Appliance, Lab, MX, eventually};
use mail_auth::report::tlsrpt::{PolicyType, ResultType, TlsReport};
use rcgen::{KeyPair, PKCS_ED25519, PublicKeyData};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

/// Where a server listens that has no TLS.
const MX_CLEAR: &str = "192.0.2.31";
/// Where nobody answers.
const MX_CLOSED: &str = "192.0.2.32";

/// The server of the policies of all domains.
const WEB: &str = "192.0.2.33";

/// What Postfix has: its chain with an authority's certificate at the end, and digests of both.
struct Chain {
    /// Of its own public key.
    own_key: String,
    /// Of the authority's certificate.
    authority: String,
}

/// Writes `mx.pem` and `mx.key`: a certificate for mx-ta.signed.example and mx-sts.lab.example, and an authority's behind it, which is
/// in `roots.pem` as well; and `web.pem` and `web.key` for the server of the policies.
fn chain(folder: &Path) -> Chain {
    let authority = Authority::new();
    let (own, key) = authority.sign(["mx-ta.signed.example", "mx-sts.lab.example"]);
    std::fs::write(folder.join("mx.pem"), own.pem() + &authority.certificate().pem()).expect("written");
    std::fs::write(folder.join("mx.key"), key.serialize_pem()).expect("written");
    std::fs::write(folder.join("roots.pem"), authority.certificate().pem()).expect("written");
    let names =
        POLICIES.iter().filter(|(name, _)| *name != "strange").map(|(name, _)| format!("mta-sts.{name}.lab.example"));
    let (web, web_key) = authority.sign(names);
    std::fs::write(folder.join("web.pem"), web.pem()).expect("written");
    std::fs::write(folder.join("web.key"), web_key.serialize_pem()).expect("written");
    Chain { own_key: sha256(&key.subject_public_key_info()), authority: sha256(authority.certificate().der()) }
}

fn sha256(bytes: &[u8]) -> String {
    ring::digest::digest(&ring::digest::SHA256, bytes).as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The zone signed.example: domains whose host is the Postfix, known in different ways.
fn signed_zone(chain: &Chain) -> String {
    let wrong = "00".repeat(32);
    let Chain { own_key, authority } = chain;
    let mut text = format!(
        "$ORIGIN signed.example.\n$TTL 60\n@ SOA ns root 1 60 60 60 60\n@ NS ns\nns A {MX}\n\
         half MX 10 mx1.lab.example.\n\
         fallback MX 10 mx-wrong\nfallback MX 20 mx-key\n\
         alias MX 10 mx-alias\nmx-alias CNAME mx-key\n\
         alone A {MX}\n_25._tcp.alone TLSA 3 1 1 {own_key}\n\
         clear MX 10 mx-clear\nmx-clear A {MX_CLEAR}\n_25._tcp.mx-clear TLSA 3 1 1 {own_key}\n\
         sick MX 10 mx-sick\nmx-sick A {MX}\n_tcp.mx-sick NS ns-sick\nns-sick A {MX_CLOSED}\n\
         none MX 10 mx-none\nmx-none A {MX}\n"
    );
    for (name, tlsa) in [
        ("key", format!("3 1 1 {own_key}")),
        ("ta", format!("2 0 1 {authority}")),
        // The certificate is for mx-ta.
        ("othername", format!("2 0 1 {authority}")),
        ("wrong", format!("3 1 1 {wrong}")),
        ("pkix", format!("1 1 1 {own_key}")),
    ] {
        text += &format!("{name} MX 10 mx-{name}\nmx-{name} A {MX}\n_25._tcp.mx-{name} TLSA {tlsa}\n");
        text += &format!("_smtp._tls.{name} TXT \"v=TLSRPTv1; rua=mailto:reports@{name}.signed.example\"\n");
    }
    text
}

/// The domains of lab.example, and what the server on the web answers for each.
const POLICIES: [(&str, &str); 8] = [
    ("enforced", "200 OK\r\n\r\nversion: STSv1\nmode: enforce\nmx: mx-sts.lab.example\nmax_age: 86400\n"),
    ("mismatched", "200 OK\r\n\r\nversion: STSv1\nmode: enforce\nmx: *.lab.example\nmax_age: 86400\n"),
    ("unnamed", "200 OK\r\n\r\nversion: STSv1\nmode: enforce\nmx: other.lab.example\nmax_age: 86400\n"),
    ("tested", "200 OK\r\n\r\nversion: STSv1\nmode: testing\nmx: mx-other.lab.example\nmax_age: 86400\n"),
    ("fulfilled", "200 OK\r\n\r\nversion: STSv1\nmode: testing\nmx: mx-sts.lab.example\nmax_age: 86400\n"),
    ("redirected", "302 Found\r\nLocation: https://mta-sts.mismatched.lab.example/.well-known/mta-sts.txt\r\n\r\n"),
    ("missing", "404 Not Found\r\n\r\n"),
    // Its server shows no certificate for its name.
    ("strange", "200 OK\r\n\r\nversion: STSv1\nmode: enforce\nmx: other.lab.example\nmax_age: 86400\n"),
];

/// The zone lab.example.
fn lab_zone() -> String {
    let mut text = format!(
        "$ORIGIN lab.example.\n$TTL 60\n@ SOA ns root 1 60 60 60 60\n@ NS ns\nns A {MX}\nmx1 A {MX}\n\
         mx-sts A {MX}\nmx-other A {MX}\n"
    );
    for (name, _) in POLICIES {
        let host = if ["enforced", "fulfilled"].contains(&name) { "mx-sts" } else { "mx-other" };
        text += &format!("{name} MX 10 {host}\nmta-sts.{name} A {WEB}\n_mta-sts.{name} TXT \"v=STSv1; \" \"id=1;\"\n");
        let rua = match name {
            "fulfilled" => continue,
            "enforced" => "https://mta-sts.enforced.lab.example/tlsrpt".to_owned(),
            _ => format!("mailto:reports@{name}.lab.example"),
        };
        text += &format!("_smtp._tls.{name} TXT \"v=TLSRPTv1; rua={rua}\"\n");
    }
    text
}

/// What the server of the policies has heard.
#[derive(Default)]
struct Heard {
    /// The policies that it was asked for.
    asked: Mutex<Vec<String>>,
    /// What it was given: the content types, and the bodies.
    posted: Mutex<Vec<(String, Vec<u8>)>>,
}

/// The server of the policies, which takes reports as well.
fn serve_policies(lab: &Lab, heard: Arc<Heard>) {
    let folder = lab.directory.path();
    let chain = vec![CertificateDer::from_pem_file(folder.join("web.pem")).expect("PEM")];
    let key = PrivateKeyDer::from_pem_file(folder.join("web.key")).expect("PEM");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().expect("versions");
    let config = Arc::new(config.with_no_client_auth().with_single_cert(chain, key).expect("a pair"));
    let listener = in_namespace(&lab.namespace("mx"), || TcpListener::bind((WEB, 443)).expect("a free port"));
    let listener = listener.join().expect("the thread that binds");
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let tls = ServerConnection::new(Arc::clone(&config)).expect("a configuration");
            let mut stream = BufReader::new(StreamOwned::new(tls, stream));
            let (mut host, mut line, mut kind, mut size) = (String::new(), String::new(), String::new(), None);
            while stream.read_line(&mut line).is_ok_and(|count| count > 0) && line != "\r\n" {
                match line.to_ascii_lowercase().trim_end().split_once(": ") {
                    Some(("host", name)) => {
                        let name = name.trim_start_matches("mta-sts.");
                        host = name.trim_end_matches(".lab.example").to_owned();
                    }
                    Some(("content-type", text)) => kind = text.to_owned(),
                    Some(("content-length", text)) => size = text.parse().ok().filter(|size| *size > 0),
                    _ => {}
                }
                line.clear();
            }
            let Some((name, answer)) = POLICIES.iter().find(|(name, _)| *name == host) else { continue };
            match size {
                None => heard.asked.lock().expect("what was asked for").push((*name).to_owned()),
                Some(size) => {
                    let mut body = vec![0; size];
                    if stream.read_exact(&mut body).is_ok() {
                        heard.posted.lock().expect("what was posted").push((kind, body));
                    }
                }
            }
            let answer = answer.replacen("\r\n", "\r\nContent-Type: text/plain\r\nConnection: close\r\n", 1);
            // A connection that breaks is the test's business.
            let _ = stream.get_mut().write_all(format!("HTTP/1.1 {answer}").as_bytes());
            stream.get_mut().conn.send_close_notify();
            let _ = stream.get_mut().flush();
        }
    });
}

/// The lab with its name servers and the Postfix.
struct World {
    lab: Lab,
    maildir: PathBuf,
    _resolver: Server,
    _authority: Server,
    /// What the server without TLS heard.
    heard: Arc<Mutex<Vec<String>>>,
}

impl World {
    fn up() -> Option<World> {
        let lab = Lab::up(1)?;
        for address in [MX_CLEAR, MX_CLOSED, WEB] {
            let mut command = lab.command("mx", "ip");
            let status = command.args(["address", "add", &format!("{address}/24"), "dev", "eth0"]).status();
            assert!(status.expect("ip").success());
        }
        let directory = lab.directory.path().to_owned();
        let chain = chain(&directory);
        std::fs::write(directory.join("lab.zone"), lab_zone()).expect("the zone");
        let anchor = sign(&lab, &signed_zone(&chain));
        let _authority = authority(&lab);
        let _resolver = resolver(&lab, &Some(anchor));
        let maildir = postfix(&lab);
        let heard = Arc::default();
        serve_in_the_clear(&lab, Arc::clone(&heard));
        Some(World { lab, maildir, _resolver, _authority, heard })
    }

    fn appliance(&self, tls: &str) -> Appliance {
        self.appliance_with(tls, "")
    }

    fn appliance_with(&self, tls: &str, more: &str) -> Appliance {
        let directory = self.lab.directory.path();
        let text = format!(
            "transport = \"af_xdp\"\nhostname = \"relay.example.test\"\n[[port]]\ndevice = \"eth0\"\n\
             [[address]]\nip = \"{APPLIANCE}/24\"\n[[listener]]\naddress = \"{APPLIANCE}:25\"\nrole = \"relay\"\n\
             [relay]\nnetworks = [\"192.0.2.0/24\"]\n\
             [[route]]\ndomain = \"*\"\nmx = true\ntls = \"{tls}\"\n[tls]\nroots = \"roots.pem\"\n\
             [dns]\nresolvers = [\"127.0.0.1\"]\ndnssec = \"trust_ad\"\n\
             [retry]\nfirst = \"60s\"\n\
             [spool]\ndirectory = \"{}\"\nsize_max = \"4GB\"\nfree_min = \"0B\"\n[admin]\nsocket = \"{}\"\n{more}",
            directory.join("spool").display(),
            directory.join("admin.sock").display(),
        );
        Appliance::start_in(&self.lab.namespace("relay"), directory, &text)
    }

    /// One message to each of these domains.
    fn send(&self, domains: &[&str]) {
        send(&self.lab, "sender@client.example.test", domains);
    }

    /// Whose mail came, from the subjects.
    fn arrived(&self) -> Vec<String> {
        let messages = std::fs::read_dir(&self.maildir).expect("the folder").flatten();
        let subject = |text: String| Some(text.split_once("Subject: to ")?.1.lines().next()?.to_owned());
        let texts = messages.map(|entry| std::fs::read_to_string(entry.path()).expect("a message"));
        let mut domains: Vec<String> = texts.filter_map(subject).collect();
        domains.sort();
        domains
    }
}

/// A Postfix on mx that takes all mail, and shows the chain.
fn postfix(lab: &Lab) -> PathBuf {
    let maildir = lab.postfix();
    let directory = lab.directory.path();
    let etc = directory.join("postfix/etc");
    let run = |program: &str, arguments: &[&str]| {
        let output = lab.command("mx", program).arg("-c").arg(&etc).args(arguments).output().expect(program);
        assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
    };
    let cert = format!("smtpd_tls_cert_file={}", directory.join("mx.pem").display());
    let key = format!("smtpd_tls_key_file={}", directory.join("mx.key").display());
    let interfaces = format!("inet_interfaces={MX}");
    run(
        "postconf",
        &["-e", &cert, &key, "smtpd_tls_security_level=may", "virtual_mailbox_domains=static:all", &interfaces],
    );
    // What it listens on changes only then.
    run("postfix", &["stop"]);
    run("postfix", &["start"]);
    wait_for_port(lab, "mx", format!("{MX}:25"));
    maildir
}

/// A server that offers no TLS, and keeps what it heard.
fn serve_in_the_clear(lab: &Lab, heard: Arc<Mutex<Vec<String>>>) {
    let listener = in_namespace(&lab.namespace("mx"), || TcpListener::bind((MX_CLEAR, 25)).expect("a free port"));
    let listener = listener.join().expect("the thread that binds");
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let mut stream = BufReader::new(stream);
            let say = |stream: &mut BufReader<std::net::TcpStream>, text: &str| {
                stream.get_mut().write_all(text.as_bytes()).is_ok()
            };
            say(&mut stream, "220 mx ESMTP\r\n");
            let mut line = String::new();
            while stream.read_line(&mut line).is_ok_and(|count| count > 0) {
                heard.lock().expect("what came").push(line.trim_end().to_owned());
                line.clear();
                if !say(&mut stream, "250 2.0.0 fine\r\n") {
                    break;
                }
            }
        }
    });
}

/// What the log said of the mail of a domain, if it did.
fn event(appliance: &Appliance, kind: &str, domain: &str) -> Option<Value> {
    let recipient = format!("user@{domain}");
    appliance.events(kind).into_iter().find(|event| event["recipient"] == recipient)
}

#[test]
fn a_host_is_held_to_what_the_dns_says_of_it() {
    let Some(world) = World::up() else { return };
    let appliance = world.appliance("dane");
    let good = ["key", "ta", "pkix", "none", "alone", "alias", "half", "fallback"];
    let bad = ["wrong", "othername", "sick", "clear"];
    let named = |names: &[&str]| names.iter().map(|name| format!("{name}.signed.example")).collect::<Vec<_>>();
    let all: Vec<String> = [named(&good), named(&bad)].concat();
    world.send(&all.iter().map(String::as_str).collect::<Vec<_>>());
    eventually("all have come to something", PATIENCE, || {
        let known = |kind, names: &[&str]| named(names).iter().all(|domain| event(&appliance, kind, domain).is_some());
        known("delivered", &good) && known("deferred", &bad)
    });
    let mut expected = named(&good);
    expected.sort();
    eventually("Postfix has put it there", PATIENCE, || world.arrived() == expected);

    for (name, policy, verified) in [
        ("key", "dane", true),
        ("ta", "dane", true),
        ("alone", "dane", true),
        ("alias", "dane", true),
        ("fallback", "dane", true),
        ("pkix", "dane", false),
        ("none", "opportunistic", false),
        ("half", "opportunistic", false),
    ] {
        let event = event(&appliance, "delivered", &format!("{name}.signed.example")).expect("it was delivered");
        assert_eq!((&event["tls"]["policy"], &event["tls"]["verified"]), (&policy.into(), &verified.into()), "{event}");
    }
    for (name, text) in [
        ("wrong", "the TLSA records of mx-wrong.signed.example know no certificate that the peer shows"),
        ("othername", "invalid peer certificate"),
        ("sick", "the TLSA records of mx-sick.signed.example: resolver 127.0.0.1: "),
        ("clear", "STARTTLS"),
    ] {
        let event = event(&appliance, "deferred", &format!("{name}.signed.example")).expect("it was deferred");
        let reply = event["reply"].as_str().expect("a reply");
        assert!(reply.contains(text), "{event}");
    }
    let heard = world.heard.lock().expect("what came").clone();
    assert!(!heard.is_empty() && heard.iter().all(|line| line.starts_with("EHLO") || line == "QUIT"), "{heard:?}");

    let text = appliance.rohrpost(&["route", "user@key.signed.example"]);
    assert!(
        text.contains(
            "DANE: TLS, with a certificate that the TLSA records of mx-key.signed.example know:\n         3 1 1 "
        ),
        "{text}"
    );
    for (domain, said) in [
        ("pkix", "DANE: TLS, with any certificate"),
        ("none", "DANE: no secure TLSA records"),
        ("sick", "DANE: not used for now: the TLSA records of mx-sick.signed.example"),
    ] {
        let text = appliance.rohrpost(&["route", &format!("user@{domain}.signed.example")]);
        assert!(text.contains(said), "{text}");
    }
}

#[test]
fn a_host_is_held_to_what_the_policy_of_its_domain_says() {
    let Some(world) = World::up() else { return };
    let heard = Arc::<Heard>::default();
    serve_policies(&world.lab, Arc::clone(&heard));
    let mut appliance = world.appliance("mta-sts");
    let good = ["enforced", "tested", "fulfilled", "redirected", "missing", "strange"];
    let bad = ["mismatched", "unnamed"];
    let named = |names: &[&str]| names.iter().map(|name| format!("{name}.lab.example")).collect::<Vec<_>>();
    // DANE comes first.
    let signed = ["key.signed.example".to_owned(), "wrong.signed.example".to_owned()];
    let all: Vec<String> = [named(&good), named(&bad), signed.to_vec()].concat();
    world.send(&all.iter().map(String::as_str).collect::<Vec<_>>());
    let delivered = [named(&good), vec![signed[0].clone()]].concat();
    let deferred = [named(&bad), vec![signed[1].clone()]].concat();
    eventually("all have come to something", PATIENCE, || {
        let known = |kind, names: &[String]| names.iter().all(|domain| event(&appliance, kind, domain).is_some());
        known("delivered", &delivered) && known("deferred", &deferred)
    });
    let mut expected = delivered.clone();
    expected.sort();
    eventually("Postfix has put it there", PATIENCE, || world.arrived() == expected);

    for (domain, policy, verified) in [
        ("enforced.lab.example", "mta-sts", true),
        ("tested.lab.example", "mta-sts-testing", false),
        ("fulfilled.lab.example", "mta-sts-testing", true),
        ("redirected.lab.example", "opportunistic", false),
        ("missing.lab.example", "opportunistic", false),
        ("strange.lab.example", "opportunistic", false),
        ("key.signed.example", "dane", true),
    ] {
        let event = event(&appliance, "delivered", domain).expect("it was delivered");
        assert_eq!((&event["tls"]["policy"], &event["tls"]["verified"]), (&policy.into(), &verified.into()), "{event}");
    }
    for (domain, text) in [
        ("mismatched.lab.example", "invalid peer certificate"),
        ("unnamed.lab.example", "the MTA-STS policy of the domain does not name its host mx-other.lab.example"),
        ("wrong.signed.example", "know no certificate that the peer shows"),
    ] {
        let event = event(&appliance, "deferred", domain).expect("it was deferred");
        assert!(event["reply"].as_str().is_some_and(|reply| reply.contains(text)), "{event}");
    }
    for (domain, said) in [
        ("enforced", "MTA-STS: enforced, TLS with a valid certificate, for the hosts mx-sts.lab.example, for 86400 s"),
        ("tested", "MTA-STS: in testing"),
        (
            "redirected",
            "MTA-STS: no policy; it could not be fetched: mta-sts.redirected.lab.example answered 302 Found",
        ),
        ("strange", "MTA-STS: no policy; it could not be fetched: invalid peer certificate"),
    ] {
        let text = appliance.rohrpost(&["route", &format!("user@{domain}.lab.example")]);
        assert!(text.contains(said), "{text}");
    }
    let mut asked = heard.asked.lock().expect("what was asked for").clone();
    asked.sort();
    assert_eq!(
        asked,
        ["enforced", "fulfilled", "mismatched", "missing", "redirected", "tested", "unnamed"],
        "each once"
    );

    // What is known outlives the process: no policy that counts is asked for again, or forgotten.
    assert!(appliance.stop().success());
    appliance.restart();
    for (domain, said) in [("enforced", "MTA-STS: enforced"), ("tested", "MTA-STS: in testing")] {
        let text = appliance.rohrpost(&["route", &format!("user@{domain}.lab.example")]);
        assert!(text.contains(said), "{text}");
        let asked = heard.asked.lock().expect("what was asked for");
        assert_eq!(asked.iter().filter(|name| **name == domain).count(), 1, "{asked:?}");
    }
}

/// The reports that came by mail, by the domain that they are for: each with the message that brought it.
fn reports(world: &World) -> BTreeMap<String, (String, TlsReport)> {
    let messages = std::fs::read_dir(&world.maildir).expect("the folder").flatten();
    let texts = messages.map(|entry| std::fs::read_to_string(entry.path()).expect("a message"));
    let report = |text: String| {
        let domain = text.lines().find_map(|line| line.strip_prefix("TLS-Report-Domain: "))?.to_owned();
        let report = TlsReport::parse_rfc5322(text.as_bytes(), 1 << 20).expect("a report");
        Some((domain, (text, report)))
    };
    texts.filter_map(report).collect()
}

#[test]
fn domains_are_told_what_came_of_tls_with_their_hosts() {
    let Some(world) = World::up() else { return };
    let heard = Arc::<Heard>::default();
    serve_policies(&world.lab, Arc::clone(&heard));
    let folder = world.lab.directory.path();
    let key = folder.join("dkim.pem");
    std::fs::write(&key, KeyPair::generate_for(&PKCS_ED25519).expect("a key").serialize_pem()).expect("written");
    std::fs::set_permissions(&key, PermissionsExt::from_mode(0o600)).expect("our own file");
    let more = "[tls_reports]\norganization = \"Example Net\"\nfrom = \"tls-reports@example.net\"\n\
        [[dkim]]\ndomain = \"example.net\"\nselector = \"s1\"\nkey = \"dkim.pem\"\n";
    let appliance = world.appliance_with("mta-sts", more);
    let failing: [(&str, &str, PolicyType, ResultType); 6] = [
        ("mismatched.lab.example", "mx-other.lab.example", PolicyType::Sts, ResultType::CertificateHostMismatch),
        ("unnamed.lab.example", "mx-other.lab.example", PolicyType::Sts, ResultType::ValidationFailure),
        ("tested.lab.example", "mx-other.lab.example", PolicyType::Sts, ResultType::CertificateHostMismatch),
        ("missing.lab.example", "mx-other.lab.example", PolicyType::Sts, ResultType::StsPolicyFetchError),
        ("strange.lab.example", "mx-other.lab.example", PolicyType::Sts, ResultType::StsWebpkiInvalid),
        ("wrong.signed.example", "mx-wrong.signed.example", PolicyType::Tlsa, ResultType::CertificateNotTrusted),
    ];
    let good = ["enforced.lab.example", "key.signed.example", "fulfilled.lab.example"];
    let all: Vec<&str> = failing.iter().map(|(domain, ..)| *domain).chain(good).collect();
    world.send(&all);
    let counted = || -> BTreeMap<String, Value> {
        let told: Value = serde_json::from_str(&appliance.rohrpost(&["tls-reports", "--json"])).expect("JSON");
        let domains = told["counted"].as_array().expect("a list").clone();
        domains.into_iter().map(|domain| (domain["domain"].as_str().expect("a name").to_owned(), domain)).collect()
    };
    eventually("all is counted", PATIENCE, || {
        let counted = counted();
        let is = |domain: &&str, key: &str| counted.get(*domain).is_some_and(|is| is[key] != 0 && !is["to"].is_null());
        failing.iter().all(|(domain, ..)| is(domain, "failed"))
            && good[..2].iter().all(|domain| is(domain, "successful"))
    });
    eventually("who wants no report is left out", PATIENCE, || !counted().contains_key("fulfilled.lab.example"));
    let text = appliance.rohrpost(&["tls-reports"]);
    assert!(text.contains("enforced.lab.example: 1 good, 0 bad since "), "{text}");
    assert!(text.contains("; to https://mta-sts.enforced.lab.example/tlsrpt\n"), "{text}");

    // Nobody waits for midnight here. Mail to these domains does not arrive, but for what is to arrive rather than to be secured.
    appliance.rohrpost(&["tls-reports", "send", "--now"]);
    eventually("all reports have come", PATIENCE, || {
        reports(&world).len() == failing.len() + 1 && !heard.posted.lock().expect("what was posted").is_empty()
    });
    let came = reports(&world);
    for (domain, host, policy_type, result_type) in failing {
        let (text, report) = &came[domain];
        let [policy] = &report.policies[..] else { panic!("{report:?}") };
        assert_eq!(policy.policy.policy_type, policy_type, "{report:?}");
        let policy_domain = if policy_type == PolicyType::Tlsa { host } else { domain };
        assert_eq!(policy.policy.policy_domain, policy_domain);
        assert!(policy.summary.total_failure > 0, "{report:?}");
        assert_eq!(policy.summary.total_success, 0, "{report:?}");
        let [failure] = &policy.failure_details[..] else { panic!("{report:?}") };
        assert_eq!(failure.result_type, result_type, "{report:?}");
        assert_eq!(failure.receiving_mx_hostname.as_deref(), Some(host));
        // Nobody has connected to a host that the policy does not name.
        let connected = domain != "unnamed.lab.example";
        assert_eq!(failure.sending_mta_ip, connected.then(|| APPLIANCE.parse().expect("an address")));
        assert_eq!(failure.receiving_ip, connected.then(|| MX.parse().expect("an address")));
        assert_eq!(failure.failed_session_count, policy.summary.total_failure);
        assert_eq!(report.organization_name.as_deref(), Some("Example Net"));
        for line in ["TLS-Required: No", "From: <tls-reports@example.net>", "TLS-Report-Submitter: example.net"] {
            assert!(text.lines().any(|found| found == line), "{line} in {text}");
        }
        assert!(text.contains("DKIM-Signature: "), "{text}");
    }
    let (_, known) = &came["key.signed.example"];
    let [policy] = &known.policies[..] else { panic!("{known:?}") };
    assert_eq!((policy.policy.policy_type, policy.summary.total_success), (PolicyType::Tlsa, 1));
    assert!(policy.failure_details.is_empty());
    assert!(policy.policy.policy_string[0].starts_with("3 1 1 "), "{policy:?}");

    let (kind, body) = heard.posted.lock().expect("what was posted")[0].clone();
    assert_eq!(kind, "application/tlsrpt+gzip");
    let mut json = String::new();
    mail_auth::flate2::read::GzDecoder::new(&body[..]).read_to_string(&mut json).expect("gzip");
    let report = TlsReport::parse_json(json.as_bytes()).expect("a report");
    assert_eq!((report.policies[0].summary.total_success, report.policies[0].summary.total_failure), (1, 0));
    assert_eq!(report.policies[0].policy.policy_string[1], "mode: enforce");

    eventually("all is told", PATIENCE, || appliance.events("tls_report_sent").len() == failing.len() + 2);
    let told: Value = serde_json::from_str(&appliance.rohrpost(&["tls-reports", "--json"])).expect("JSON");
    assert_eq!(told["waiting"].as_array().map(Vec::len), Some(0), "{told}");
    assert!(appliance.events("tls_report_failed").is_empty());
}

#[test]
fn what_is_to_arrive_rather_than_to_be_secured_arrives() {
    let Some(world) = World::up() else { return };
    serve_policies(&world.lab, Arc::default());
    let appliance = world.appliance("mta-sts");
    let strict = ["mismatched.lab.example", "unnamed.lab.example", "wrong.signed.example", "sick.signed.example"];
    world.send(&strict);
    eventually("no policy lets them pass", PATIENCE, || {
        strict.iter().all(|domain| event(&appliance, "deferred", domain).is_some())
    });
    let send = |header| send_with(&world.lab, "sender@client.example.test", &strict, header);
    send("TLS-Required: No\r\nTLS-Required: Maybe\r\n");
    send("TLS-Required: No\r\n");
    let mut expected = strict.map(str::to_owned);
    expected.sort();
    eventually("the sender's wish does", PATIENCE, || {
        let told = strict.iter().all(|domain| event(&appliance, "delivered", domain).is_some());
        told && world.arrived() == expected
    });
    for domain in strict {
        let event = event(&appliance, "delivered", domain).expect("it was delivered");
        assert_eq!(event["tls"]["policy"], "opportunistic", "{event}");
    }
    let left: Value = serde_json::from_str(&appliance.rohrpost(&["queue", "list", "--json"])).expect("JSON");
    assert_eq!(left["entries"].as_array().map(Vec::len), Some(2 * strict.len()), "the others wait: {left}");
}
