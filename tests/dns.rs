//! Delivery by MX, with a real authoritative server (nsd), a real resolver (unbound), and receivers on several addresses.

mod appliance;

use appliance::client::in_namespace;
use appliance::mail::PATIENCE;
use appliance::names::{Server, authority, resolver, send, sign};
use appliance::{APPLIANCE, APPLIANCE_V6, Appliance, Lab, MX, eventually};
use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

/// Addresses of the host mx besides its first: the second receiver, and one where nobody listens.
const MX_SECOND: &str = "192.0.2.31";
const MX_CLOSED: &str = "192.0.2.32";

/// What the zones say. 70 hosts of large.lab.example do not fit into one datagram.
fn zone() -> String {
    let mut text = format!(
        "$ORIGIN lab.example.\n$TTL 60\n@ SOA ns root 1 60 60 60 60\n@ NS ns\nns A {MX}\n\
         mx1 A {MX}\nmx2 A {MX_SECOND}\nclosed A {MX_CLOSED}\nalias-of-mx2 CNAME mx2\n\
         best MX 10 mx1\nbest MX 20 mx2\n\
         same MX 10 mx1\nsame MX 20 mx2\n\
         failing MX 10 closed\nfailing MX 20 mx2\n\
         implicit A {MX_SECOND}\n\
         null MX 0 .\n\
         alias CNAME best\n\
         aliased MX 10 alias-of-mx2\n\
         ours MX 10 relay.example.test.\nours MX 20 mx1\n\
         backup MX 10 mx2\nbackup MX 20 ours-by-address\nours-by-address A {APPLIANCE}\n\
         literal MX 10 192.0.2.30.\n\
         large MX 10 mx2\n"
    );
    for host in 0..70 {
        text += &format!("large MX 20 a-host-with-a-rather-long-name-{host:02}\n");
    }
    text
}

/// What the zone says that is signed.
fn signed_zone() -> String {
    format!(
        "$ORIGIN signed.example.\n$TTL 60\n@ SOA ns root 1 60 60 60 60\n@ NS ns\nns A {MX}\n@ MX 10 mx\nmx A {MX}\n\
         half MX 10 mx1.lab.example.\n"
    )
}

/// The lab with its name servers and its receivers.
struct World {
    lab: Lab,
    /// The key that vouches for signed.example.
    anchor: PathBuf,
    resolver: Option<Server>,
    _authority: Server,
    first: Taker,
    second: Taker,
}

impl World {
    fn up() -> Option<World> {
        let lab = Lab::up(1)?;
        for address in [MX_SECOND, MX_CLOSED] {
            let mut command = lab.command("mx", "ip");
            let status = command.args(["address", "add", &format!("{address}/24"), "dev", "eth0"]).status();
            assert!(status.expect("ip").success());
        }
        std::fs::write(lab.directory.path().join("lab.zone"), zone()).expect("the zone");
        let anchor = sign(&lab, &signed_zone());
        let authority = authority(&lab);
        let receiver =
            |address: &str| Taker::start(&lab.namespace("mx"), format!("{address}:25").parse().expect("one"));
        let (first, second) = (receiver(MX), receiver(MX_SECOND));
        let resolver = Some(resolver(&lab, &Some(anchor.clone())));
        Some(World { lab, anchor, resolver, _authority: authority, first, second })
    }

    fn appliance(&self, dns: &str) -> Appliance {
        let directory = self.lab.directory.path();
        let text = format!(
            "transport = \"af_xdp\"\nhostname = \"relay.example.test\"\n[[port]]\ndevice = \"eth0\"\n\
             [[address]]\nip = \"{APPLIANCE}/24\"\n[[address]]\nip = \"{APPLIANCE_V6}/64\"\n\
             [[listener]]\naddress = \"{APPLIANCE}:25\"\nrole = \"relay\"\n\
             [relay]\nnetworks = [\"192.0.2.0/24\"]\n\
             [[route]]\ndomain = \"*\"\nmx = true\n\
             [dns]\nresolvers = [\"127.0.0.1\"]\n{dns}\n\
             [retry]\nfirst = \"1s\"\nmax = \"2s\"\n[delivery]\nhost_backoff = \"1s\"\n\
             [spool]\ndirectory = \"{}\"\nsize_max = \"4GB\"\nfree_min = \"0B\"\n[admin]\nsocket = \"{}\"\n",
            directory.join("spool").display(),
            directory.join("admin.sock").display(),
        );
        Appliance::start_in(&self.lab.namespace("relay"), directory, &text)
    }

    /// The same key, taken for that of a zone which is not signed.
    fn wrong_anchor(&self) -> PathBuf {
        let key = std::fs::read_to_string(&self.anchor).expect("the key");
        let path = self.lab.directory.path().join("wrong.key");
        std::fs::write(&path, key.replace("signed.example", "lab.example")).expect("the key");
        path
    }

    /// One message to each of these domains; what it is called stands in it.
    fn send(&self, domains: &[&str]) {
        send(&self.lab, "sender@best.lab.example", domains);
    }
}

/// An SMTP server that keeps what it gets.
struct Taker {
    taken: Arc<Mutex<Vec<String>>>,
}

impl Taker {
    fn start(namespace: &str, address: SocketAddr) -> Taker {
        let taken: Arc<Mutex<Vec<String>>> = Arc::default();
        let listener = in_namespace(namespace, move || TcpListener::bind(address).expect("a free port"));
        let listener = listener.join().expect("the thread that binds");
        let ours = Arc::clone(&taken);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let taken = Arc::clone(&ours);
                // A connection that breaks is the test's business.
                std::thread::spawn(move || drop(serve(stream, &taken)));
            }
        });
        Taker { taken }
    }

    /// Whose mail came, from the subjects.
    fn domains(&self) -> Vec<String> {
        let taken = self.taken.lock().expect("what came");
        let subject = |text: &String| Some(text.split_once("Subject: to ")?.1.split_once("\r\n")?.0.to_owned());
        let mut domains: Vec<String> = taken.iter().filter(|text| !is_notice(text)).filter_map(subject).collect();
        domains.sort();
        domains
    }

    /// The notices that came.
    fn notices(&self) -> Vec<String> {
        self.taken.lock().expect("what came").iter().filter(|text| is_notice(text)).cloned().collect()
    }
}

fn is_notice(text: &str) -> bool {
    text.contains("report-type=delivery-status")
}

fn serve(stream: TcpStream, taken: &Mutex<Vec<String>>) -> io::Result<()> {
    let mut out = stream.try_clone()?;
    let mut lines = BufReader::new(stream);
    out.write_all(b"220 mx ESMTP\r\n")?;
    loop {
        let mut line = String::new();
        if lines.read_line(&mut line)? == 0 {
            return Ok(());
        }
        match line.get(..4).unwrap_or_default() {
            "EHLO" => out.write_all(b"250-mx\r\n250 8BITMIME\r\n")?,
            "DATA" => {
                out.write_all(b"354 go on\r\n")?;
                let mut content = String::new();
                while !content.ends_with("\r\n.\r\n") {
                    if lines.read_line(&mut content)? == 0 {
                        return Ok(());
                    }
                }
                taken.lock().expect("what came").push(content);
                out.write_all(b"250 2.0.0 taken\r\n")?;
            }
            "QUIT" => return out.write_all(b"221 bye\r\n"),
            _ => out.write_all(b"250 2.0.0 fine\r\n")?,
        }
    }
}

/// What the log said when a recipient of this domain was given up.
fn bounced(appliance: &Appliance, domain: &str) -> String {
    let events = appliance.events("bounced");
    let of_domain = |event: &&serde_json::Value| event["recipient"] == format!("user@{domain}");
    let event = events.iter().find(of_domain).unwrap_or_else(|| panic!("{domain} bounced: {events:?}"));
    assert_eq!(event["destination"], format!("mx://{domain}"));
    event["reply"].as_str().expect("a reply").to_owned()
}

#[test]
fn mail_goes_to_the_hosts_that_the_dns_names() {
    let Some(world) = World::up() else { return };
    let appliance = world.appliance("");
    let lab = |names: &[&str]| names.iter().map(|name| format!("{name}.lab.example")).collect::<Vec<_>>();
    let all = [
        "best", "same", "failing", "implicit", "null", "gone", "alias", "aliased", "ours", "backup", "literal", "large",
    ];
    let all = lab(&all);
    world.send(&all.iter().map(String::as_str).collect::<Vec<_>>());
    // The notices come to the sender's domain, by MX too.
    appliance.wait_until_empty(PATIENCE);
    assert_eq!(world.first.domains(), lab(&["alias", "best", "same"]));
    assert_eq!(world.second.domains(), lab(&["aliased", "backup", "failing", "implicit", "large"]));

    for (domain, status, text) in [
        ("null", "5.1.10", "null MX"),
        ("gone", "5.1.2", "there is no domain"),
        ("ours", "5.4.6", "loops back to us"),
        ("literal", "5.4.4", "names a host"),
    ] {
        let domain = format!("{domain}.lab.example");
        let reply = bounced(&appliance, &domain);
        assert!(reply.contains(text), "{reply}");
        let notices = world.first.notices();
        let about = |notice: &&String| notice.contains(&format!("user@{domain}"));
        let notice = notices.iter().find(about).unwrap_or_else(|| panic!("no notice about {domain}"));
        assert!(notice.contains(&format!("Status: {status}\r\n")), "{notice}");
    }
    assert_eq!(world.first.notices().len(), 4);
    let delivered = appliance.events("delivered");
    let of = |name: &str| {
        let recipient = format!("user@{name}.lab.example");
        delivered.iter().find(|event| event["recipient"] == recipient).expect("it was delivered").clone()
    };
    assert_eq!(of("failing")["destination"], "mx://failing.lab.example");
    assert_eq!(of("failing")["remote"], "mx2.lab.example");
    assert_eq!(of("aliased")["remote"], "alias-of-mx2.lab.example");
}

#[test]
fn mail_waits_for_a_resolver_that_fails_and_is_shown_with_its_hosts() {
    let Some(mut world) = World::up() else { return };
    // The resolver knows a key for a zone that is not signed, so that it believes nothing of it: it answers SERVFAIL.
    drop(world.resolver.take());
    world.resolver = Some(resolver(&world.lab, &Some(world.wrong_anchor())));
    let appliance = world.appliance("");
    world.send(&["best.lab.example"]);
    eventually("it is deferred", PATIENCE, || !appliance.events("deferred").is_empty());
    let event = &appliance.events("deferred")[0];
    assert_eq!(event["destination"], "mx://best.lab.example");
    assert!(event["reply"].as_str().expect("a reply").contains("Server Failure"), "{event}");
    let queue = appliance.rohrpost(&["queue", "list", "--json"]);
    assert!(queue.contains("\"destination\":\"mx://best.lab.example\""), "{queue}");

    // Nobody answers at all.
    drop(world.resolver.take());
    world.send(&["same.lab.example"]);
    eventually("both are deferred", PATIENCE, || {
        appliance.events("deferred").iter().any(|event| event["recipient"] == "user@same.lab.example")
    });
    assert!(appliance.events("bounced").is_empty());

    world.resolver = Some(resolver(&world.lab, &None));
    appliance.wait_until_empty(PATIENCE);
    assert_eq!(world.first.domains(), ["best.lab.example", "same.lab.example"]);
}

/// What `rohrpost route` says of an address.
fn route(appliance: &Appliance, address: &str) -> serde_json::Value {
    serde_json::from_str(&appliance.rohrpost(&["route", address, "--json"])).expect("JSON")
}

#[test]
fn what_a_validating_resolver_vouches_for_is_known_to_be_secure() {
    let Some(world) = World::up() else { return };
    let mut appliance = world.appliance("dnssec = \"trust_ad\"");
    let secure = |appliance: &Appliance, domain: &str| {
        let report = route(appliance, &format!("user@{domain}"));
        assert_eq!(report["destination"], format!("mx://{domain}"));
        let dns = &report["dns"];
        assert_eq!(dns["hosts"][0]["addresses"], serde_json::json!([MX]), "{report}");
        (dns["secure"].as_bool().expect("a word"), dns["hosts"][0]["secure"].as_bool().expect("a word"))
    };
    assert_eq!(secure(&appliance, "signed.example"), (true, true));
    assert_eq!(secure(&appliance, "half.signed.example"), (true, false), "the host is in a zone that is not signed");
    assert_eq!(secure(&appliance, "best.lab.example"), (false, false));
    let text = appliance.rohrpost(&["route", "half.signed.example"]);
    assert!(text.contains("MX records, secure") && text.contains("mx1.lab.example 192.0.2.30 (insecure)"), "{text}");
    let text = appliance.rohrpost(&["route", "user@null.lab.example"]);
    assert!(text.contains("5.1.10"), "{text}");

    assert!(appliance.stop().success());
    let appliance = world.appliance("dnssec = \"off\"");
    assert_eq!(secure(&appliance, "signed.example"), (false, false));
}
