//! Real mail through the appliance: Postfix's load generator and swaks on one side, Postfix's sink and a real
//! Postfix on the other, on the bypass path and over kernel sockets, over IPv4 and IPv6.

mod appliance;

use appliance::client::{Client, in_namespace};
use appliance::mail::{PATIENCE, arrived, body, sink, sink_with, source, through_to_the_sink, through_workers};
use appliance::receiver::{ID_HEADER, Receiver};
use appliance::{APPLIANCE, APPLIANCE_V6, Appliance, Lab, MX, MX_V6, RELAY, RELAY_V6, Setup, eventually};
use std::time::Duration;

#[test]
fn every_message_arrives_once_and_unaltered_over_af_xdp() {
    through_to_the_sink("af_xdp", APPLIANCE, MX, 20_000);
}

#[test]
fn every_message_arrives_once_and_unaltered_over_af_xdp_and_ipv6() {
    through_to_the_sink("af_xdp", &format!("[{APPLIANCE_V6}]"), &format!("[{MX_V6}]"), 5_000);
}

#[test]
fn every_message_arrives_once_and_unaltered_over_kernel_sockets() {
    through_to_the_sink("kernel", RELAY, MX, 5_000);
}

#[test]
fn every_message_arrives_once_and_unaltered_over_kernel_sockets_and_ipv6() {
    through_to_the_sink("kernel", &format!("[{RELAY_V6}]"), &format!("[{MX_V6}]"), 2_000);
}

#[test]
fn a_real_postfix_takes_every_message_once() {
    let Some(lab) = Lab::up(1) else { return };
    let maildir = lab.postfix();
    let setup = Setup { transport: "af_xdp", to: &format!("smtp://{MX}:25"), cores: "", more: "" };
    let appliance = Appliance::start(&lab, &setup);
    let to = format!("inet:{APPLIANCE}:25");
    source(&lab, &["-d", "-s", "20", "-l", "10240", "-m", "1000", "-t", "user@example.test", &to]);
    appliance.wait_until_empty(PATIENCE);
    eventually("Postfix has put all mail into the maildir", PATIENCE, || {
        std::fs::read_dir(&maildir).expect("the folder").count() == 1000
    });
    let messages = arrived(&maildir);
    assert_eq!(messages.len(), 1000, "no message came twice");
}

#[test]
fn two_workers_share_the_queues_of_one_device() {
    let Some(lab) = Lab::up(2) else { return };
    through_workers(&lab, "af_xdp", "0, 1", 2000);
}

#[test]
fn a_worker_without_a_queue_is_the_guest_of_another() {
    let Some(lab) = Lab::up(1) else { return };
    through_workers(&lab, "af_xdp", "0, 1", 2000);
}

#[test]
fn one_worker_serves_all_queues_of_a_device() {
    let Some(lab) = Lab::up(2) else { return };
    through_workers(&lab, "af_xdp", "0", 2000);
}

#[test]
fn swaks_finds_every_extension_and_delivers() {
    let Some(lab) = Lab::up(1) else { return };
    let (_sink, directory) = sink(&lab, &format!("{MX}:25"));
    let setup = Setup { transport: "af_xdp", to: &format!("smtp://{MX}:25"), cores: "", more: "" };
    let appliance = Appliance::start(&lab, &setup);
    let output = (lab.command("client", "swaks"))
        .args(["--server", APPLIANCE, "--to", "user@example.test", "--from", "me@example.test", "--pipeline"])
        .args(["--header", "Message-Id: <swaks@example.test>"])
        .output()
        .expect("swaks");
    let dialogue = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{dialogue}");
    for extension in
        ["PIPELINING", "SIZE 50000000", "8BITMIME", "CHUNKING", "SMTPUTF8", "DSN", "ENHANCEDSTATUSCODES", "LIMITS"]
    {
        assert!(dialogue.contains(extension), "{extension} is offered:\n{dialogue}");
    }
    appliance.wait_until_empty(PATIENCE);
    assert_eq!(std::fs::read_dir(&directory).expect("the folder").count(), 1);
}

#[test]
fn how_urgent_mail_is_can_be_said_and_goes_on() {
    let Some(lab) = Lab::up(1) else { return };
    let next_hop = Receiver::start(&lab.namespace("mx"), format!("{MX}:25").parse().expect("an address"), message);
    let listener = format!(
        "[[listener]]\naddress = \"{RELAY}:2525\"\nrole = \"relay\"\nmt_priority = true\npriority = -4\npriority_max = 6\n"
    );
    let setup = Setup { transport: "kernel", to: &format!("smtp://{MX}:25"), cores: "", more: &listener };
    let appliance = Appliance::start(&lab, &setup);
    let server = |port| format!("{RELAY}:{port}").parse().expect("an address");
    let (spoken_of, usual) = (server(2525), server(25));
    in_namespace(&lab.namespace("client"), move || {
        let mut client = Client::connect(usual).expect("the appliance");
        let offered = client.command("EHLO client.example.test").expect("a reply").lines;
        assert!(!offered.contains(&"MT-PRIORITY".to_owned()), "{offered:?}");
        assert_eq!(client.command("MAIL FROM:<a@example.test> MT-PRIORITY=4").expect("a reply").code, 555);
        assert!(client.deliver("a@example.test", "b@example.test", &message("usual")).expect("replies"));

        let mut client = Client::connect(spoken_of).expect("the appliance");
        let offered = client.command("EHLO client.example.test").expect("a reply").lines;
        assert!(offered.contains(&"MT-PRIORITY".to_owned()), "{offered:?}");
        for (parameter, reply) in [
            (" MT-PRIORITY=9", "2.3.6 6 is the new priority, sender OK"),
            (" MT-PRIORITY=2", "2.1.0 Sender OK"),
            ("", "2.3.6 -4 is the new priority, sender OK"),
        ] {
            let mail = client.command(&format!("MAIL FROM:<c@example.test>{parameter}")).expect("a reply");
            assert_eq!((mail.code, &mail.lines[..]), (250, &[reply.to_owned()][..]));
            assert_eq!(client.command("RCPT TO:<b@example.test>").expect("a reply").code, 250);
            assert_eq!(client.command("DATA").expect("a reply").code, 354);
            client.send(format!("{}.\r\n", message(parameter.trim())).as_bytes()).expect("sent");
            assert_eq!(client.reply().expect("a reply").code, 250);
        }
    })
    .join()
    .expect("the client");
    appliance.wait_until_empty(PATIENCE);
    let arrived = next_hop.arrived.lock().expect("the counts");
    assert_eq!((arrived.count.len(), &arrived.altered[..]), (4, &[][..]));
    let mut parameters: Vec<(&str, Option<&str>)> = (arrived.mail.iter())
        .filter_map(|line| line.strip_prefix("MAIL FROM:<")?.split_once('>'))
        .map(|(from, rest)| (from, rest.split(' ').find(|word| word.starts_with("MT-PRIORITY"))))
        .collect();
    parameters.sort_unstable();
    let of = |parameter| ("c@example.test", Some(parameter));
    assert_eq!(
        parameters,
        [("a@example.test", None), of("MT-PRIORITY=-4"), of("MT-PRIORITY=2"), of("MT-PRIORITY=6")],
        "{:?}",
        arrived.mail
    );
}

/// A message that is told from others by its id.
fn message(id: &str) -> String {
    format!("{ID_HEADER}{id}\r\n\r\nText.\r\n")
}

#[test]
fn large_messages_and_many_recipients_go_through() {
    let Some(lab) = Lab::up(1) else { return };
    let (_sink, directory) = sink(&lab, &format!("{MX}:25"));
    let setup = Setup { transport: "af_xdp", to: &format!("smtp://{MX}:25"), cores: "", more: "" };
    let appliance = Appliance::start(&lab, &setup);
    let to = format!("inet:{APPLIANCE}:25");
    // 50 MB, header and all.
    source(&lab, &["-l", "49999000", "-m", "1", "-t", "user@example.test", &to]);
    appliance.wait_until_empty(PATIENCE);
    let size = |entry: std::fs::DirEntry| entry.metadata().expect("a file").len();
    let sizes: Vec<u64> = std::fs::read_dir(&directory).expect("the folder").flatten().map(size).collect();
    // The sink writes line ends as one byte.
    assert!(sizes.len() == 1 && sizes[0] > 48_000_000, "{sizes:?}");

    source(&lab, &["-l", "2048", "-m", "1", "-r", "1000", "-t", "user@example.test", &to]);
    appliance.wait_until_empty(PATIENCE);
    let delivered = appliance.status()["messages"]["delivered"].as_u64();
    assert_eq!(delivered, Some(1001), "one and a thousand recipients");
}

#[test]
fn bdat_carries_a_message_in_chunks() {
    let Some(lab) = Lab::up(1) else { return };
    let (_sink, directory) = sink(&lab, &format!("{MX}:25"));
    let setup = Setup { transport: "af_xdp", to: &format!("smtp://{MX}:25"), cores: "", more: "" };
    let appliance = Appliance::start(&lab, &setup);
    let server = format!("{APPLIANCE}:25").parse().expect("an address");
    in_namespace(&lab.namespace("client"), move || {
        let mut client = Client::connect(server).expect("the appliance");
        assert_eq!(client.command("EHLO client.example.test").expect("a reply").code, 250);
        assert_eq!(client.command("MAIL FROM:<a@example.test>").expect("a reply").code, 250);
        assert_eq!(client.command("RCPT TO:<b@example.test>").expect("a reply").code, 250);
        client.send(b"BDAT 33\r\nMessage-Id: <bdat@example.test>\r\n").expect("sent");
        assert_eq!(client.reply().expect("a reply").code, 250);
        client.send(b"BDAT 2\r\n\r\nBDAT 100000\r\n").expect("sent");
        assert_eq!(client.reply().expect("a reply").code, 250);
        client.send(&b"..3456789012345678901234567890123456789012345678\r\n".repeat(2000)).expect("sent");
        assert_eq!(client.reply().expect("a reply").code, 250);
        assert_eq!(client.command("BDAT 0 LAST").expect("a reply").code, 250);
        assert_eq!(client.command("QUIT").expect("a reply").code, 221);
    })
    .join()
    .expect("the client");
    appliance.wait_until_empty(PATIENCE);
    let messages = arrived(&directory);
    let message = &messages["<bdat@example.test>"][0];
    assert_eq!(body(message).matches("..3456789").count(), 2000, "dots are the content's own");
}

#[test]
fn what_cannot_be_delivered_comes_back_as_a_notice() {
    let Some(lab) = Lab::up(1) else { return };
    let maildir = lab.postfix();
    // The receiving Postfix takes only its own domain, and the notice goes back to a sender there.
    let setup = Setup { transport: "af_xdp", to: &format!("smtp://{MX}:25"), cores: "", more: "" };
    let appliance = Appliance::start(&lab, &setup);
    let to = format!("inet:{APPLIANCE}:25");
    source(&lab, &["-m", "1", "-f", "me@example.test", "-t", "nobody@elsewhere.test", &to]);
    appliance.wait_until_empty(PATIENCE);
    eventually("the notice is in the sender's mailbox", PATIENCE, || {
        std::fs::read_dir(&maildir).expect("the folder").count() == 1
    });
    let entry = std::fs::read_dir(&maildir).expect("the maildir").flatten().next().expect("the notice");
    let notice = std::fs::read_to_string(entry.path()).expect("the notice");
    for part in [
        "multipart/report",
        "Auto-Submitted: auto-replied",
        "Final-Recipient: rfc822; nobody@elsewhere.test",
        "Action: failed",
        "Status: 5.7.1",
        "To: <nobody@elsewhere.test>",
    ] {
        assert!(notice.contains(part), "{part} is in\n{notice}");
    }
    let bounced = &appliance.events("bounced")[0];
    let composed = &appliance.events("composed")[0];
    assert_eq!((&composed["id"], &composed["sender"]), (&bounced["dsn"], &"".into()), "{composed}");
    assert_eq!(composed["recipients"], serde_json::json!(["me@example.test"]));
}

#[test]
fn strangers_may_not_relay_and_unknown_recipients_are_refused_at_rcpt() {
    let Some(lab) = Lab::up(1) else { return };
    std::fs::write(lab.directory.path().join("users"), "known\n").expect("the map");
    let more = "[[listener]]\naddress = \"192.0.2.25:2525\"\nrole = \"mx\"\n\
                [[domain]]\nname = \"example.test\"\nrecipients = \"users\"\n\
                [limits]\nmessage_size = \"1MB\"\n";
    let setup = Setup { transport: "af_xdp", to: &format!("smtp://{MX}:25"), cores: "", more };
    let appliance = Appliance::start_with(&lab, &setup, "127.0.0.0/8");
    let server = format!("{APPLIANCE}:2525").parse().expect("an address");
    let codes = in_namespace(&lab.namespace("client"), move || {
        let mut client = Client::connect(server).expect("the appliance");
        let mut replies = Vec::new();
        for line in [
            "EHLO client.example.test",
            "MAIL FROM:<>",
            "RCPT TO:<a@elsewhere.test>",
            "RCPT TO:<nobody@example.test>",
            "RCPT TO:<KNOWN+tag@Example.Test>",
            "RCPT TO:<postmaster@example.test>",
            "RCPT TO:<Postmaster>",
        ] {
            let reply = client.command(line).expect("a reply");
            replies.push(format!("{} {}", reply.code, reply.lines[0].split(' ').next().unwrap_or_default()));
        }
        replies
    });
    let codes = codes.join().expect("the client");
    assert_eq!(codes[1..], ["250 2.1.0", "550 5.7.1", "550 5.1.1", "250 2.1.5", "250 2.1.5", "250 2.1.5"]);
    drop(appliance);
}

#[test]
fn an_early_talker_is_cut_off() {
    let Some(lab) = Lab::up(1) else { return };
    let more = "[[listener]]\naddress = \"192.0.2.25:2525\"\nrole = \"mx\"\ngreeting_delay = \"500ms\"\n";
    let setup = Setup { transport: "af_xdp", to: &format!("smtp://{MX}:25"), cores: "", more };
    let appliance = Appliance::start(&lab, &setup);
    let server = format!("{APPLIANCE}:2525").parse().expect("an address");
    let greeting =
        in_namespace(&lab.namespace("client"), move || Client::connect_talking(server, b"EHLO too.early\r\n"));
    let reply = greeting.join().expect("the client").expect("a reply");
    assert_eq!((reply.code, &reply.lines[0][..5]), (421, "4.7.0"));
    drop(appliance);
}

#[test]
fn the_next_hop_is_asked_about_recipients_that_only_it_knows() {
    let Some(lab) = Lab::up(1) else { return };
    lab.postfix();
    let more = "[[listener]]\naddress = \"192.0.2.25:2525\"\nrole = \"mx\"\n\
                [[domain]]\nname = \"example.test\"\ncheck_recipients = true\n\
                [[domain]]\nname = \"elsewhere.test\"\ncheck_recipients = true\n";
    let setup = Setup { transport: "af_xdp", to: &format!("smtp://{MX}:25"), cores: "", more };
    let appliance = Appliance::start_with(&lab, &setup, "127.0.0.0/8");
    let server = format!("{APPLIANCE}:2525").parse().expect("an address");
    let codes = in_namespace(&lab.namespace("client"), move || {
        let mut client = Client::connect(server).expect("the appliance");
        let lines = [
            "EHLO client.example.test",
            "MAIL FROM:<>",
            "RCPT TO:<user@example.test>",
            // Postfix takes mail for its own domain only.
            "RCPT TO:<user@elsewhere.test>",
            "RCPT TO:<postmaster@elsewhere.test>",
            "RCPT TO:<user@elsewhere.test>",
        ];
        lines.map(|line| client.command(line).expect("a reply").code)
    });
    assert_eq!(codes.join().expect("the client"), [250, 250, 250, 550, 250, 550]);
    drop(appliance);
}

#[test]
fn lmtp_hops_answer_for_each_recipient() {
    let Some(lab) = Lab::up(1) else { return };
    let (_sink, directory) = sink_with(&lab, &format!("{MX}:24"), &["-L", "-N"]);
    let setup = Setup { transport: "af_xdp", to: &format!("lmtp://{MX}:24"), cores: "", more: "" };
    let appliance = Appliance::start(&lab, &setup);
    let to = format!("inet:{APPLIANCE}:25");
    source(&lab, &["-d", "-s", "5", "-r", "3", "-l", "2048", "-m", "50", "-t", "user@example.test", &to]);
    appliance.wait_until_empty(PATIENCE);
    assert_eq!(appliance.status()["messages"]["delivered"], 150);
    assert_eq!(arrived(&directory).len(), 50, "recipients that share the hop share the transaction");

    // The sink does not offer DSN: what was asked to be told is told by us.
    let server = format!("{APPLIANCE}:25").parse().expect("an address");
    let session = in_namespace(&lab.namespace("client"), move || {
        let mut client = Client::connect(server).expect("the appliance");
        for line in
            ["EHLO client.example.test", "MAIL FROM:<me@example.test>", "RCPT TO:<user@example.test> NOTIFY=SUCCESS"]
        {
            assert_eq!(client.command(line).expect("a reply").code, 250, "{line}");
        }
        assert_eq!(client.command("DATA").expect("a reply").code, 354);
        assert_eq!(client.command("Subject: tell me\r\n\r\nhello\r\n.").expect("a reply").code, 250);
    });
    session.join().expect("the client");
    eventually("the message and the notice are delivered", Duration::from_secs(20), || {
        appliance.status()["messages"]["delivered"] == 152
    });
    let texts = std::fs::read_dir(&directory).expect("the folder").flatten();
    let mut texts = texts.map(|entry| std::fs::read_to_string(entry.path()).expect("a message"));
    assert!(texts.any(|text| text.contains("Action: delivered") && text.contains("Final-Recipient: rfc822; user@")));
}

#[test]
fn what_an_operator_has_suspended_waits_and_what_was_rerouted_goes_elsewhere_until_that_is_over() {
    let Some(lab) = Lab::up(1) else { return };
    let (_sink, directory) = sink(&lab, &format!("{MX}:25"));
    // Nobody listens where mail for everybody goes.
    let more = format!("[[route]]\ndomain = \"other.test\"\nto = [\"smtp://{MX}:25\"]\n");
    let dead = format!("smtp://{MX}:2525");
    let setup = Setup { transport: "af_xdp", to: &dead, cores: "", more: &more };
    let mut appliance = Appliance::start(&lab, &setup);
    let to = format!("inet:{APPLIANCE}:25");
    let json = |appliance: &Appliance, arguments: &[&str]| -> serde_json::Value {
        serde_json::from_str(&appliance.rohrpost(arguments)).expect("JSON")
    };
    let waiting = |appliance: &Appliance| -> Vec<u64> {
        let orders = json(appliance, &["queue", "orders", "--json"]);
        let orders = orders["orders"].as_array().expect("orders").clone();
        orders.iter().map(|order| order["waiting"].as_u64().expect("a number")).collect()
    };
    let arrived_count = || std::fs::read_dir(&directory).expect("the folder").count();

    let said = appliance.rohrpost(&["queue", "suspend", "--destination", &dead, "--reason", "it is being mended"]);
    assert!(said.contains("is suspended for"), "{said}");
    source(&lab, &["-m", "3", "-l", "2048", "-t", "user@example.test", &to]);
    eventually("the three wait for the order", PATIENCE, || waiting(&appliance) == [3]);
    let list = json(&appliance, &["queue", "list", "--json"]);
    let recipient = &list["entries"][0]["recipients"][0];
    assert_eq!(recipient["attempts"], 0, "{list}");
    assert!(recipient["last_reply"].as_str().is_some_and(|reply| reply.contains("it is being mended")), "{list}");
    assert_eq!(appliance.status()["orders"], 1);
    let told = appliance.rohrpost(&["route", "user@example.test"]);
    assert!(
        told.contains(&format!("by order of an operator it is suspended (destination {dead}): it is being mended")),
        "{told}"
    );
    let told = json(&appliance, &["route", "user@other.test", "--json"]);
    assert_eq!(told["order"], serde_json::Value::Null, "{told}");
    // What an operator decided outlives the process, and nothing starts before it is known.
    appliance.kill();
    appliance.restart();
    eventually("the three wait again", PATIENCE, || waiting(&appliance) == [3]);
    let list = json(&appliance, &["queue", "list", "--json"]);
    assert_eq!(list["entries"][2]["recipients"][0]["attempts"], 0, "{list}");

    let said =
        appliance.rohrpost(&["queue", "reroute", "--destination", &dead, "--to", "other.test", "--until-resumed"]);
    assert!(said.contains("rerouted to other.test until it is resumed"), "{said}");
    appliance.wait_until_empty(PATIENCE);
    assert_eq!(arrived_count(), 3);

    appliance.rohrpost(&["queue", "suspend", "--sender", "me@example.test", "--for", "10s"]);
    let of = |from: &str| json(&appliance, &["route", "user@other.test", "--from", from, "--json"])["order"].clone();
    assert_eq!(of("me@example.test")["selector"], serde_json::json!({ "sender": "me@example.test" }));
    assert_eq!(of("you@example.test"), serde_json::Value::Null);
    source(&lab, &["-m", "2", "-l", "2048", "-f", "me@example.test", "-t", "user@other.test", &to]);
    source(&lab, &["-m", "2", "-l", "2048", "-f", "you@example.test", "-t", "user@other.test", &to]);
    appliance.wait_until_empty(PATIENCE);
    assert_eq!(arrived_count(), 7);
    let expired = appliance.events("order_expired");
    assert_eq!(expired.len(), 1);
    let delivered = appliance.events("delivered");
    let of_you = delivered.iter().filter(|event| event["time"].as_str() < expired[0]["time"].as_str()).count();
    assert_eq!(of_you, 3 + 2, "the others did not wait: {delivered:?}");

    for refused in [
        &["queue", "reroute", "--domain", "other.test", "--to", "other.test"][..],
        &["queue", "drain", "--sender", "example.test"],
        &["queue", "suspend", "--destination", "smtp://nowhere:25"],
        &["queue", "suspend", "--tenant", "nobody"],
        &["queue", "resume", "--domain", "other.test"],
    ] {
        appliance.try_rohrpost(refused).expect_err("it is refused");
    }
    let said = appliance.rohrpost(&["queue", "drain", "--destination", &format!("smtp://{MX}:25"), "--for", "1h"]);
    assert!(said.contains("is drained for"), "{said}");
    // What was sent elsewhere waits when it is stopped there.
    source(&lab, &["-m", "1", "-l", "2048", "-t", "user@example.test", &to]);
    eventually("the rerouted one waits", PATIENCE, || waiting(&appliance) == [0, 1]);
    let said = appliance.rohrpost(&["queue", "resume", "--destination", &format!("smtp://{MX}:25")]);
    assert!(said.contains("no longer drained"), "{said}");
    appliance.wait_until_empty(PATIENCE);
    appliance.rohrpost(&["queue", "resume", "--all"]);
    assert!(appliance.rohrpost(&["queue", "orders"]).contains("no orders"));
    assert_eq!([appliance.events("order_given").len(), appliance.events("order_ended").len()], [3, 3]);
    assert_eq!(arrived_count(), 8);
}

#[test]
fn operators_see_and_steer_the_queue() {
    let Some(lab) = Lab::up(1) else { return };
    // Nobody listens on mx: what is sent stays queued.
    let more = format!("[log]\ndirectory = \"{}\"\n", lab.directory.path().join("events").display());
    let setup = Setup { transport: "af_xdp", to: &format!("smtp://{MX}:25"), cores: "", more: &more };
    let mut appliance = Appliance::start(&lab, &setup);
    let to = format!("inet:{APPLIANCE}:25");
    source(&lab, &["-m", "3", "-l", "2048", "-t", "user@example.test", &to]);
    let list = |appliance: &Appliance| -> Vec<serde_json::Value> {
        let text = appliance.rohrpost(&["queue", "list", "--json"]);
        let object: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        object["entries"].as_array().expect("entries").clone()
    };
    // One is tried in vain, and all know why they wait.
    eventually("the three wait", PATIENCE, || {
        let entries = list(&appliance);
        let reason = |entry: &serde_json::Value| entry["recipients"][0]["last_reply"].is_string();
        entries.len() == 3 && entries[0]["state"] == "deferred" && entries.iter().all(reason)
    });
    let summary = appliance.rohrpost(&["queue", "destinations", "--json"]);
    let summary: serde_json::Value = serde_json::from_str(&summary).expect("JSON");
    let row = &summary["destinations"][0];
    assert_eq!((&summary["count"], &row["messages"], &row["deferred"]), (&1.into(), &3.into(), &1.into()), "{summary}");
    assert_eq!(row["destination"], format!("smtp://{MX}:25"));
    assert!(row["last_reply"].as_str().is_some_and(|reply| reply.contains(MX)), "{summary}");
    let entries = list(&appliance);
    let id = |place: usize| entries[place]["id"].as_str().expect("an id").to_owned();
    assert_eq!(entries[0]["recipients"][0]["address"], "user@example.test");
    appliance.rohrpost(&["queue", "hold", &id(0)]);
    appliance.rohrpost(&["queue", "delete", &id(1)]);
    // What an operator decided outlives the process.
    appliance.kill();
    appliance.restart();
    let after = list(&appliance);
    assert_eq!(after.len(), 2);
    assert_eq!(after[0]["state"], "held");
    let (_sink, directory) = sink(&lab, &format!("{MX}:25"));
    appliance.rohrpost(&["queue", "release", &id(0)]);
    eventually("what was released is delivered", PATIENCE, || {
        appliance.rohrpost(&["queue", "retry", "--all"]);
        list(&appliance).is_empty()
    });
    assert_eq!(arrived(&directory).len(), 2);
    assert!(appliance.stop().success());

    // What became of each is told afterwards, over both lives of the process.
    let told = appliance.rohrpost(&["trace", "user@example.test"]);
    let events = |told: &str| -> Vec<String> {
        told.lines().filter_map(|line| line.split_whitespace().nth(2)).map(str::to_owned).collect()
    };
    let all = events(&told);
    let count = |sought: &str| all.iter().filter(|event| *event == sought).count();
    // The one that was deleted had not been tried for anybody, and is found all the same.
    assert_eq!([count("accepted"), count("held"), count("deleted"), count("delivered")], [3, 1, 1, 2], "{told}");
    let story = events(&appliance.rohrpost(&["trace", &id(0)]));
    let place = |sought: &str| story.iter().position(|event| event == sought);
    let places = ["accepted", "deferred", "held", "released", "delivered", "done"].map(place);
    assert!(places.is_sorted() && places.iter().all(Option::is_some), "{story:?}");
}

/// The addresses and names that a message came from, as the sink wrote them down.
fn came_from(message: &str) -> (String, String) {
    let line =
        |name: &str| message.lines().find_map(|line| line.strip_prefix(name)).expect("smtp-sink says").to_owned();
    (line("X-Client-Addr: "), line("X-Helo-Args: "))
}

/// Own addresses with names, beside the one that mail is taken at.
const OUTGOING: [(&str, &str); 3] =
    [("192.0.2.61", "out1.a.example"), ("192.0.2.62", "out2.a.example"), ("192.0.2.63", "out.b.example")];

fn leaves_from_the_pool_of_its_sender(transport: &str, server: &str) {
    const EACH: usize = 200;
    let Some(lab) = Lab::up(1) else { return };
    let (_sink, directory) = sink(&lab, &format!("{MX}:25"));
    let mut addresses = String::new();
    for (ip, name) in OUTGOING {
        addresses += &format!("[[address]]\nip = \"{ip}/24\"\nehlo_name = \"{name}\"\n");
        if transport == "kernel" {
            let add = ["address", "add", &format!("{ip}/24"), "dev", "eth0"];
            assert!(lab.command("relay", "ip").args(add).status().expect("ip").success());
        }
    }
    let more = format!(
        "{addresses}\
         [[tenant]]\nname = \"acme\"\nsender_domains = [\"b.example\"]\npool = \"b\"\n\
         [[pool]]\nname = \"a\"\naddresses = [{{ ip = \"192.0.2.61\", weight = 1 }}, {{ ip = \"192.0.2.62\", weight = 1 }}]\n\
         sender_domains = [\"a.example\"]\n\
         [[pool]]\nname = \"b\"\naddresses = [{{ ip = \"192.0.2.63\" }}]\n"
    );
    let setup = Setup { transport, to: &format!("smtp://{MX}:25"), cores: "0, 1", more: &more };
    let mut appliance = Appliance::start(&lab, &setup);
    let to = format!("inet:{server}:25");
    for sender in ["x@a.example", "x@b.example", "x@c.example"] {
        let count = EACH.to_string();
        source(&lab, &["-s", "10", "-l", "1024", "-m", &count, "-f", sender, "-t", "user@example.test", &to]);
    }
    appliance.wait_until_empty(PATIENCE);
    let mut counts = std::collections::BTreeMap::new();
    for message in arrived(&directory).into_values().flatten() {
        let sender = message.lines().find_map(|line| line.strip_prefix("X-Mail-Args: <")).expect("smtp-sink says");
        let sender = sender.split('>').next().unwrap_or_default().to_owned();
        let (address, name) = came_from(&message);
        *counts.entry((sender, address, name)).or_insert(0) += 1;
    }
    let count = |sender: &str, address: &str, name: &str| {
        counts.get(&(sender.to_owned(), address.to_owned(), name.to_owned())).copied().unwrap_or(0)
    };
    let (one, other) =
        (count("x@a.example", "192.0.2.61", "out1.a.example"), count("x@a.example", "192.0.2.62", "out2.a.example"));
    assert_eq!((one + other, count("x@b.example", "192.0.2.63", "out.b.example")), (EACH, EACH), "{counts:?}");
    // By weight, but for what found the connections from its own address busy: how much that is depends on the machine.
    assert!(one > EACH / 10 && other > EACH / 10, "both are used: {counts:?}");
    assert_eq!(count("x@c.example", server, "relay.example.test"), EACH, "{counts:?}");
    let delivered = appliance.events("delivered");
    assert_eq!(delivered.len(), 3 * EACH);
    for event in &delivered {
        let (local, pool) = (event["local"].as_str().expect("an address"), event["pool"].as_str());
        let expected = match local {
            "192.0.2.61" | "192.0.2.62" => Some("a"),
            "192.0.2.63" => Some("b"),
            _ => None,
        };
        assert_eq!(pool, expected, "{event}");
        assert!(
            event["retransmissions"].is_u64() && event["round_trip_us"].as_u64().is_some_and(|us| us > 0),
            "{event}"
        );
    }
    let told = appliance.rohrpost(&["route", "user@example.test", "--from", "x@b.example"]);
    for line in ["it is mail of the tenant acme", "it leaves from the pool b:", "192.0.2.63 as out.b.example, weight 1"]
    {
        assert!(told.contains(line), "{told}");
    }
    let told = appliance.rohrpost(&["route", "user@example.test", "--from", "c.example"]);
    assert!(told.contains("first own address"), "{told}");
    assert!(appliance.stop().success(), "an orderly end");
}

#[test]
fn mail_leaves_from_the_pool_of_its_sender_over_af_xdp() {
    leaves_from_the_pool_of_its_sender("af_xdp", APPLIANCE);
}

#[test]
fn mail_leaves_from_the_pool_of_its_sender_over_kernel_sockets() {
    leaves_from_the_pool_of_its_sender("kernel", RELAY);
}
