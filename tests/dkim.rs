//! Signed mail, held against the keys by a verifier that is not ours: dkimpy.

mod appliance;

use appliance::mail::{PATIENCE, arrived, sink};
use appliance::{APPLIANCE, Appliance, Lab, MX, Setup, eventually};
use std::collections::BTreeMap;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

/// Two keys of one domain, and a listener from which nothing is signed.
const MORE: &str = "[[dkim]]\ndomain = \"example.net\"\nselector = \"old\"\nkey = \"rsa.pem\"\n\
    [[dkim]]\ndomain = \"example.net\"\nselector = \"new\"\nkey = \"ed25519.pem\"\nnot_before = \"2020-01-01\"\n\
    [[dkim]]\ndomain = \"example.net\"\nselector = \"never\"\nkey = \"ed25519.pem\"\nnot_after = \"2020-01-01\"\n\
    [[domain]]\nname = \"example.test\"\n[[listener]]\naddress = \"192.0.2.25:26\"\nrole = \"mx\"\n";

fn key(folder: &Path, name: &str, arguments: &[&str]) {
    let path = folder.join(name);
    let output = Command::new("openssl").args(arguments).arg("-out").arg(&path).output().expect("openssl");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).expect("our own file");
}

/// What is published: names and texts.
fn records(appliance: &Appliance) -> BTreeMap<String, String> {
    let told: serde_json::Value = serde_json::from_str(&appliance.rohrpost(&["dkim", "--json"])).expect("JSON");
    let text = |record: &serde_json::Value, key: &str| record[key].as_str().expect("a text").to_owned();
    told["records"]
        .as_array()
        .expect("records")
        .iter()
        .map(|record| (text(record, "name"), text(record, "text")))
        .collect()
}

fn send(lab: &Lab, port: u16, number: u32, from: &str) {
    let output = (lab.command("client", "swaks"))
        .args(["--server", APPLIANCE, "--port", &port.to_string(), "--to", "user@example.test", "--from", from])
        .args([
            "--header",
            &format!("Message-Id: <{number}@example.net>"),
            "--body",
            "Some  words. \\n.\\nand a dot\\n\\n\\n",
        ])
        .output()
        .expect("swaks");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

/// The selectors of all signatures that verify, in their order; none if one does not.
fn verified(message: &str, records: &BTreeMap<String, String>) -> Vec<String> {
    const VERIFY: &str = "import sys, json, dkim\n\
        told = json.load(sys.stdin)\n\
        message = told['message'].encode()\n\
        dns = lambda name, timeout=5: told['records'].get(name.decode().rstrip('.'), '').encode()\n\
        count = message.count(b'DKIM-Signature:')\n\
        for index in range(count):\n\
        \x20   d = dkim.DKIM(message)\n\
        \x20   assert d.verify(index, dnsfunc=dns), index\n\
        \x20   print(d.signature_fields[b's'].decode())\n";
    let mut child = Command::new("/usr/bin/python3")
        .args(["-c", VERIFY])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("Debian's python3");
    let told =
        serde_json::json!({ "message": message.replace("\r\n", "\n").replace('\n', "\r\n"), "records": records });
    child.stdin.take().expect("a pipe").write_all(told.to_string().as_bytes()).expect("written");
    let output = child.wait_with_output().expect("Debian's python3");
    if !output.status.success() {
        eprintln!("{}", String::from_utf8_lossy(&output.stderr));
        return Vec::new();
    }
    String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect()
}

#[test]
fn what_our_clients_send_is_signed_as_others_verify_it() {
    let Some(lab) = Lab::up(1) else { return };
    let folder = lab.directory.path();
    key(folder, "rsa.pem", &["genpkey", "-algorithm", "rsa", "-pkeyopt", "rsa_keygen_bits:2048"]);
    key(folder, "ed25519.pem", &["genpkey", "-algorithm", "ed25519"]);
    let (_sink, directory) = sink(&lab, &format!("{MX}:25"));
    let setup = Setup { transport: "af_xdp", to: &format!("smtp://{MX}:25"), cores: "", more: MORE };
    let mut appliance = Appliance::start(&lab, &setup);
    let before = records(&appliance);
    assert_eq!(before.len(), 3);

    send(&lab, 25, 1, "me@example.net");
    send(&lab, 25, 2, "me@example.org");
    send(&lab, 26, 3, "me@example.net");
    appliance.wait_until_empty(PATIENCE);
    let messages = arrived(&directory);
    let message = |number: u32| &messages[&format!("<{number}@example.net>")][0];
    assert_eq!(verified(message(1), &before), ["old", "new"], "{}", message(1));
    let altered = message(1).replace("and a dot", "and a dit");
    assert!(verified(&altered, &before).is_empty(), "the verifier looks at the body");
    for number in [2, 3] {
        assert!(!message(number).contains("DKIM-Signature"), "{}", message(number));
    }
    let signed = appliance.events("signed");
    assert_eq!(signed.len(), 1, "{signed:?}");
    assert_eq!(
        (&signed[0]["domain"], signed[0]["selectors"].as_array().map(Vec::len)),
        (&"example.net".into(), Some(2))
    );
    assert!(appliance.events("unsigned").is_empty());

    // New keys are taken at SIGHUP, and those that cannot be used are not.
    std::fs::set_permissions(folder.join("rsa.pem"), PermissionsExt::from_mode(0o644)).expect("our own file");
    appliance.signal("HUP");
    eventually("the log tells what is wrong", PATIENCE, || {
        let mut warnings = appliance.events("warning").into_iter();
        warnings.any(|line| line["text"].as_str().is_some_and(|text| text.contains("rsa.pem: its mode is 0644")))
    });
    send(&lab, 25, 4, "me@example.net");
    appliance.wait_until_empty(PATIENCE);
    key(folder, "rsa.pem", &["genpkey", "-algorithm", "rsa", "-pkeyopt", "rsa_keygen_bits:3072"]);
    appliance.signal("HUP");
    eventually("the log tells that they were read", PATIENCE, || !appliance.events("reloaded").is_empty());
    let after = records(&appliance);
    assert_ne!(before, after);
    send(&lab, 25, 5, "me@example.net");
    appliance.wait_until_empty(PATIENCE);
    let messages = arrived(&directory);
    assert_eq!(verified(&messages["<4@example.net>"][0], &before), ["old", "new"]);
    assert_eq!(verified(&messages["<5@example.net>"][0], &after), ["old", "new"]);
    assert!(appliance.stop().success(), "an orderly end");
}

#[test]
fn a_message_without_a_valid_key_waits_also_across_a_restart() {
    let Some(lab) = Lab::up(1) else { return };
    let folder = lab.directory.path();
    key(folder, "ed25519.pem", &["genpkey", "-algorithm", "ed25519"]);
    let (_sink, directory) = sink(&lab, &format!("{MX}:25"));
    let section = "[[dkim]]\ndomain = \"example.net\"\nselector = \"s\"\nkey = \"ed25519.pem\"\n";
    let more = format!("{section}not_before = \"2100-01-01\"\n");
    let to = format!("smtp://{MX}:25");
    let mut appliance = Appliance::start(&lab, &Setup { transport: "af_xdp", to: &to, cores: "", more: &more });
    send(&lab, 25, 1, "me@example.net");
    eventually("the log tells that it waits", PATIENCE, || !appliance.events("signing_deferred").is_empty());
    assert_eq!(appliance.status()["queue"]["messages"], 1);
    appliance.kill();
    let config = folder.join("rohrpost.toml");
    let text =
        std::fs::read_to_string(&config).expect("the configuration").replace("not_before = \"2100-01-01\"\n", "");
    std::fs::write(&config, text).expect("written");
    appliance.restart();
    appliance.wait_until_empty(PATIENCE);
    let messages = arrived(&directory);
    assert_eq!(verified(&messages["<1@example.net>"][0], &records(&appliance)), ["s"]);
}
