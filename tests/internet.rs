//! A small internet: domains whose hosts behave as hosts do, served by a real Postfix, found by a real resolver (unbound) that asks
//! a real authoritative server (nsd). What hosts say about TLS is held against a Postfix in `policy.rs`.

mod appliance;

use appliance::mail::PATIENCE;
use appliance::names::{Server, authority, resolver, send, sign, wait_for_port};
use appliance::{APPLIANCE, Appliance, Lab, MX, eventually};
use serde_json::Value;
use std::path::PathBuf;
use std::time::Duration;

/// Where each recipient waits for three seconds.
const TARPIT: &str = "192.0.2.31";
/// Where whoever connects is told to come later.
const BUSY: &str = "192.0.2.32";
/// Where nobody listens at first.
const LATER: &str = "192.0.2.33";
/// Where nobody ever listens.
const CLOSED: &str = "192.0.2.34";
/// Where nobody is.
const NOWHERE: &str = "192.0.2.35";

/// What becomes of the mail of each domain in the end.
const DELIVERED: [&str; 8] = ["plain", "tarpit", "grey", "storm", "busy", "later", "failover", "equal"];
const BOUNCED: [&str; 2] = ["nobody", "null"];
const KEPT: [&str; 2] = ["dead", "gone"];

const ZONE: &str = "$ORIGIN lab.example.\n$TTL 60\n@ SOA ns root 1 60 60 60 60\n@ NS ns\n\
    plain MX 10 mx\ngrey MX 10 mx\nstorm MX 10 mx\nnobody MX 10 mx\nsender MX 10 mx\n\
    tarpit MX 10 mx-tarpit\nbusy MX 10 mx-busy\nlater MX 10 mx-later\nnull MX 0 .\n\
    failover MX 10 mx-closed\nfailover MX 20 mx\nequal MX 10 mx-gone\nequal MX 10 mx\n\
    dead MX 10 mx-closed\ngone MX 10 mx-gone\n";

/// Recipients whom the Postfix refuses: what greylisting says first, a host in trouble, and one that knows its users.
const ACCESS: &str = "user@grey.lab.example 450 4.2.0 Greylisted, see you soon\n\
    user@storm.lab.example 451 4.3.0 Temporary lookup failure\n\
    user@nobody.lab.example 550 5.1.1 No such user here\n";

struct World {
    lab: Lab,
    maildir: PathBuf,
    _resolver: Server,
    _authority: Server,
}

impl World {
    fn up() -> Option<World> {
        let lab = Lab::up(1)?;
        for address in [TARPIT, BUSY, LATER, CLOSED] {
            let mut command = lab.command("mx", "ip");
            let status = command.args(["address", "add", &format!("{address}/24"), "dev", "eth0"]).status();
            assert!(status.expect("ip").success());
        }
        let hosts = [("ns", MX), ("mx", MX), ("mx-tarpit", TARPIT), ("mx-busy", BUSY), ("mx-closed", CLOSED)];
        let hosts = hosts.into_iter().chain([("mx-later", LATER), ("mx-gone", NOWHERE)]);
        let zone = hosts.fold(ZONE.to_owned(), |zone, (name, address)| zone + &format!("{name} A {address}\n"));
        std::fs::write(lab.directory.path().join("lab.zone"), zone).expect("the zone");
        let signed = format!("$ORIGIN signed.example.\n$TTL 60\n@ SOA ns root 1 60 60 60 60\n@ NS ns\nns A {MX}\n");
        let anchor = sign(&lab, &signed);
        let authority = authority(&lab);
        let resolver = resolver(&lab, &Some(anchor));
        let maildir = lab.postfix();
        let world = World { lab, maildir, _resolver: resolver, _authority: authority };
        world.access(ACCESS);
        let access = format!(
            "smtpd_recipient_restrictions=check_recipient_access texthash:{}",
            world.lab.directory.path().join("access").display()
        );
        let interfaces = format!("inet_interfaces={MX}");
        world.postfix("postconf", &["-e", "virtual_mailbox_domains=static:all", &access, &interfaces]);
        world.listen(TARPIT, "{ smtpd_client_restrictions = sleep 3 }");
        world.listen(
            BUSY,
            "smtpd_delay_reject=no -o { smtpd_client_restrictions = check_client_access static:{421 4.7.0 busy} }",
        );
        // What it listens on changes only then.
        world.postfix("postfix", &["stop"]);
        world.postfix("postfix", &["start"]);
        [MX, TARPIT, BUSY].iter().for_each(|address| wait_for_port(&world.lab, "mx", format!("{address}:25")));
        Some(world)
    }

    fn access(&self, text: &str) {
        std::fs::write(self.lab.directory.path().join("access"), text).expect("the table");
    }

    fn postfix(&self, program: &str, arguments: &[&str]) {
        let etc = self.lab.directory.path().join("postfix/etc");
        let output = self.lab.command("mx", program).arg("-c").arg(&etc).args(arguments).output().expect(program);
        assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// Has Postfix listen on an address, with settings of its own there.
    fn listen(&self, address: &str, settings: &str) {
        let service = format!("{address}:25/inet={address}:25 inet n - n - - smtpd -o {settings}");
        self.postfix("postconf", &["-M", &service]);
    }

    fn appliance(&self) -> Appliance {
        let directory = self.lab.directory.path();
        let text = format!(
            "transport = \"af_xdp\"\nhostname = \"relay.example.test\"\n[[port]]\ndevice = \"eth0\"\n\
             [[address]]\nip = \"{APPLIANCE}/24\"\n[[listener]]\naddress = \"{APPLIANCE}:25\"\nrole = \"relay\"\n\
             [relay]\nnetworks = [\"192.0.2.0/24\"]\n[[route]]\ndomain = \"*\"\nmx = true\n\
             [dns]\nresolvers = [\"127.0.0.1\"]\n[retry]\nfirst = \"1s\"\nmax = \"2s\"\n\
             [delivery]\nhost_backoff = \"1s\"\nhost_backoff_max = \"2s\"\nconnect_timeout = \"3s\"\n\
             [spool]\ndirectory = \"{}\"\nsize_max = \"4GB\"\nfree_min = \"0B\"\n[admin]\nsocket = \"{}\"\n",
            directory.join("spool").display(),
            directory.join("admin.sock").display(),
        );
        Appliance::start_in(&self.lab.namespace("relay"), directory, &text)
    }

    /// One message to a user of each domain.
    fn send(&self, domains: Vec<String>) {
        send(&self.lab, "user@sender.lab.example", &domains);
    }

    /// Whose mail came, from the subjects, and how many notices.
    fn arrived(&self) -> (Vec<String>, usize) {
        let messages = std::fs::read_dir(&self.maildir).expect("the folder").flatten();
        let texts: Vec<String> =
            messages.map(|entry| std::fs::read_to_string(entry.path()).expect("a message")).collect();
        let (notices, mail): (Vec<_>, Vec<_>) =
            texts.iter().partition(|text| text.contains("report-type=delivery-status"));
        let subject = |text: &String| Some(text.split_once("Subject: to ")?.1.lines().next()?.to_owned());
        let mut domains: Vec<String> = mail.into_iter().filter_map(subject).collect();
        domains.sort();
        (domains, notices.len())
    }
}

fn named(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| format!("{name}.lab.example")).collect()
}

/// What the log said last of the mail of a domain, if it did.
fn event(appliance: &Appliance, kind: &str, name: &str) -> Option<Value> {
    let recipient = format!("user@{name}.lab.example");
    appliance.events(kind).into_iter().rfind(|event| event["recipient"] == recipient)
}

#[test]
fn every_domain_of_a_small_internet_gets_its_mail_or_its_sender_the_reason() {
    let Some(world) = World::up() else { return };
    let appliance = world.appliance();
    world.send([named(&DELIVERED), named(&BOUNCED), named(&KEPT)].concat());

    // Whoever is well is not held up by the others, and a slow host is waited for.
    eventually("what can be delivered is", PATIENCE, || {
        ["plain", "failover", "equal", "tarpit"].iter().all(|name| event(&appliance, "delivered", name).is_some())
    });
    for (name, text) in [
        ("grey", "450 4.2.0"),
        ("storm", "451 4.3.0"),
        ("busy", "421 4.7.0"),
        ("later", "refused"),
        ("dead", "refused"),
        ("gone", ""),
    ] {
        eventually(&format!("{name} is deferred"), PATIENCE, || event(&appliance, "deferred", name).is_some());
        let event = event(&appliance, "deferred", name).expect("it was");
        assert!(event["reply"].as_str().is_some_and(|reply| reply.contains(text)), "{event}");
    }
    for (name, text) in [("nobody", "550 5.1.1"), ("null", "null MX")] {
        eventually(&format!("{name} bounces"), PATIENCE, || event(&appliance, "bounced", name).is_some());
        let event = event(&appliance, "bounced", name).expect("it did");
        assert!(event["reply"].as_str().is_some_and(|reply| reply.contains(text)), "{event}");
    }
    for name in ["grey", "storm", "busy", "later"] {
        assert!(event(&appliance, "delivered", name).is_none(), "{name} is not ready");
    }

    // All of them come round, but for those that are gone for good.
    world.access("");
    world.listen(BUSY, "smtpd_delay_reject=yes");
    world.listen(LATER, "smtpd_delay_reject=yes");
    world.postfix("postfix", &["reload"]);
    let mut expected = named(&DELIVERED);
    expected.sort();
    eventually("all that can be delivered is", PATIENCE, || world.arrived() == (expected.clone(), BOUNCED.len()));
    let failover = event(&appliance, "delivered", "failover").expect("it was delivered");
    assert_eq!(failover["remote"], "mx.lab.example");

    // The others are told of with what they said last.
    eventually("the others are left", Duration::from_secs(20), || {
        let summary = appliance.rohrpost(&["queue", "destinations", "--json"]);
        let summary: Value = serde_json::from_str(&summary).expect("JSON");
        let list = summary["destinations"].as_array().expect("a list").clone();
        let mut names: Vec<&str> = list.iter().filter_map(|row| row["destination"].as_str()).collect();
        names.sort_unstable();
        names == ["mx://dead.lab.example", "mx://gone.lab.example"] && list.iter().all(|row| row["messages"] == 1)
    });
    let told = appliance.rohrpost(&["queue", "destination", "mx://dead.lab.example", "--json"]);
    let told: Value = serde_json::from_str(&told).expect("JSON");
    let [host] = &told["destinations"][0]["delivery"]["hosts"].as_array().expect("its hosts")[..] else {
        panic!("{told}")
    };
    assert_eq!((&host["host"], &host["remote"]), (&"mx-closed.lab.example".into(), &format!("{CLOSED}:25").into()));
    assert!(host["failures"].as_u64() > Some(0), "{told}");
    assert!(host["last_reply"].as_str().is_some_and(|reply| reply.contains("refused")), "{told}");
}
