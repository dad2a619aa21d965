//! What load balancers and engineers are told: the health endpoint and the hooks of the real binary.

mod appliance;

use appliance::client::{Client, in_namespace};
use appliance::{APPLIANCE, Appliance, Lab, MX, RELAY, Setup, eventually};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(60);

/// What a load balancer on the host client gets: the code and the object. The endpoint is on the relay's own address.
fn health(lab: &Lab, path: &str) -> Option<(u16, serde_json::Value)> {
    let address: SocketAddr = format!("{RELAY}:8025").parse().expect("an address");
    let request = format!("GET {path} HTTP/1.1\r\nHost: relay\r\n\r\n");
    let answer = in_namespace(&lab.namespace("client"), move || {
        let mut stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(request.as_bytes())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        std::io::Result::Ok(answer)
    });
    let answer = answer.join().expect("the client").ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    Some((head.get(9..12)?.parse().ok()?, serde_json::from_str(body).ok()?))
}

fn code(lab: &Lab, path: &str) -> Option<u16> {
    health(lab, path).map(|(code, _)| code)
}

/// A webhook on the host mx that answers its first requests with 503. Gives what was posted to it.
fn webhook(lab: &Lab, failures: usize) -> Arc<Mutex<Vec<serde_json::Value>>> {
    let posted = Arc::new(Mutex::new(Vec::new()));
    let listener = in_namespace(&lab.namespace("mx"), || TcpListener::bind((MX, 8080)).expect("a free port"));
    let listener = listener.join().expect("the webhook");
    let told = Arc::clone(&posted);
    std::thread::spawn(move || {
        for (number, stream) in listener.incoming().flatten().enumerate() {
            let mut stream = BufReader::new(stream);
            let mut length = 0;
            loop {
                let mut line = String::new();
                if stream.read_line(&mut line).unwrap_or(0) <= 2 {
                    break;
                }
                length = line.strip_prefix("content-length: ").map_or(length, |text| text.trim().parse().unwrap_or(0));
            }
            let mut body = vec![0; length];
            if stream.read_exact(&mut body).is_err() {
                continue;
            }
            let answer = if number < failures { "503 Service Unavailable" } else { "200 OK" };
            if number >= failures {
                told.lock().expect("what was told").push(serde_json::from_slice(&body).expect("a JSON object"));
            }
            let _ = write!(stream.get_mut(), "HTTP/1.1 {answer}\r\nContent-Length: 0\r\n\r\n");
        }
    });
    posted
}

/// Condition, subject and state of notices.
fn names(notices: &[serde_json::Value]) -> Vec<String> {
    let name = |notice: &serde_json::Value, key: &str| notice[key].as_str().unwrap_or_default().to_owned();
    let names = |notice| ["condition", "subject", "state"].map(|key| name(notice, key)).join(" ");
    notices.iter().map(names).collect()
}

#[test]
fn a_full_log_takes_the_box_out_of_service_and_engineers_hear_of_it_and_of_its_end() {
    let Some(lab) = Lab::up(1) else { return };
    let posted = webhook(&lab, 2);
    let (script, told) = (lab.directory.path().join("page"), lab.directory.path().join("told"));
    std::fs::write(&script, "#!/bin/sh\n{ cat; echo; } >> \"$1\"\n").expect("the script");
    std::fs::set_permissions(&script, PermissionsExt::from_mode(0o755)).expect("our own file");
    let more = format!(
        "http = \"{RELAY}:8025\"\n[alert]\nwebhook = \"http://{MX}:8080/alert?token=secret\"\n\
         command = [\"{}\", \"{}\"]\ncalm = \"1s\"\n",
        script.display(),
        told.display()
    );
    // Nobody listens on mx: what is accepted stays.
    let setup = Setup { transport: "kernel", to: &format!("smtp://{MX}:25"), cores: "", more: &more };
    let spool = "size_max = \"64MiB\"\nsegment_size = \"4MiB\"\nfree_min = \"0B\"";
    let mut appliance = Appliance::start_with_spool(&lab, &setup, spool);
    eventually("it takes mail", PATIENCE, || code(&lab, "/health/ready") == Some(200));

    let server: SocketAddr = format!("{RELAY}:25").parse().expect("an address");
    let filled = in_namespace(&lab.namespace("client"), move || {
        let mut client = Client::connect(server).expect("the appliance");
        assert_eq!(client.command("EHLO client.example.test").expect("a reply").code, 250);
        let content = "0123456789012345678901234567890123456789\r\n".repeat(50_000);
        (0..100).any(|_| !client.deliver("a@example.test", "b@example.test", &content).expect("replies"))
    });
    assert!(filled.join().expect("the client"), "64 MiB do not hold 200 MB");
    eventually("it is out of service", PATIENCE, || code(&lab, "/health/ready") == Some(503));
    assert_eq!(code(&lab, "/health/live"), Some(200), "a full disk is no reason to kill the process");
    let (code_of_all, report) = health(&lab, "/health").expect("an answer");
    assert_eq!((code_of_all, &report["live"], &report["draining"]), (503, &true.into(), &false.into()));
    assert_eq!(report["reasons"][0]["reason"], "log_full");
    assert!(appliance.rohrpost(&["status"]).contains("\nNOT READY  log 0: log 0 is full"));
    assert_eq!(appliance.status()["health"]["ready"], false);

    appliance.rohrpost(&["queue", "delete", "--all"]);
    eventually("it takes mail again", PATIENCE, || code(&lab, "/health/ready") == Some(200));
    let expected = ["started appliance cleared", "log_full log 0 raised", "log_full log 0 cleared"];
    let lines = || {
        let text = std::fs::read_to_string(&told).unwrap_or_default();
        text.lines().map(|line| serde_json::from_str(line).expect("a JSON object")).collect::<Vec<_>>()
    };
    eventually("the command was told", PATIENCE, || names(&lines()) == expected);
    // Two attempts failed before, which cost five seconds and ten, and no notice.
    eventually("the webhook was told", PATIENCE, || names(&posted.lock().expect("what was told")) == expected);
    let raised = posted.lock().expect("what was told")[1].clone();
    assert_eq!(raised, lines()[1]);
    assert_eq!((&raised["version"], &raised["severity"]), (&1.into(), &"critical".into()));
    assert_eq!(raised["hostname"], "relay.example.test");
    let failed = appliance.events("alert_failed");
    assert_eq!(failed.len(), 2);
    assert_eq!((&failed[1]["hook"], &failed[1]["attempts"]), (&"webhook".into(), &2.into()));
    assert_eq!(failed[1]["error"], "the server answered 503 Service Unavailable");
    let counts = serde_json::json!({"told": 6, "failed": 2, "lost": 0, "waiting": 0});
    eventually("all is counted", PATIENCE, || appliance.status()["alerts"] == counts);
    assert!(appliance.stop().success());
    assert!(!appliance.log_tail().contains("secret"), "the log holds no secret of the webhook's");
}

#[test]
fn a_box_that_ends_is_out_of_service_at_once_while_its_sessions_finish() {
    let Some(lab) = Lab::up(1) else { return };
    let more = format!("http = \"{RELAY}:8025\"\n");
    let setup = Setup { transport: "af_xdp", to: &format!("smtp://{MX}:25"), cores: "", more: &more };
    let mut appliance = Appliance::start(&lab, &setup);
    eventually("it takes mail", PATIENCE, || code(&lab, "/health/ready") == Some(200));
    let server: SocketAddr = format!("{APPLIANCE}:25").parse().expect("an address");
    let session = in_namespace(&lab.namespace("client"), move || {
        let mut client = Client::connect(server).expect("the appliance");
        for (line, code) in [
            ("EHLO client.example.test", 250),
            ("MAIL FROM:<a@example.test>", 250),
            ("RCPT TO:<b@example.test>", 250),
            ("DATA", 354),
        ] {
            assert_eq!(client.command(line).expect("a reply").code, code, "{line}");
        }
        client
    });
    let mut client = session.join().expect("the client");

    appliance.terminate();
    eventually("it drains", PATIENCE, || code(&lab, "/health/ready") == Some(503));
    let (_, report) = health(&lab, "/health").expect("an answer");
    assert_eq!((&report["live"], &report["draining"]), (&true.into(), &true.into()));
    assert_eq!(report["reasons"][0]["reason"], "draining");
    assert_eq!(code(&lab, "/health/live"), Some(200));
    let reply = client.command("Subject: last words\r\n\r\nhello\r\n.").expect("a reply");
    assert_eq!(reply.code, 250, "what was begun is finished");
    drop(client);
    assert!(appliance.wait().success());
    assert_eq!(code(&lab, "/health/live"), None);
}

/// What `rohrpost check` says of a configuration with these keys, and whether it is content.
fn check(more: &str) -> (bool, String) {
    let directory = tempfile::tempdir().expect("a temporary folder");
    let config = directory.path().join("rohrpost.toml");
    let text = format!(
        "transport = \"kernel\"\nhostname = \"relay.example.test\"\n\
         [[listener]]\naddress = \"127.0.0.1:2525\"\nrole = \"relay\"\n\
         [spool]\ndirectory = \"{directory}/spool\"\n[admin]\nsocket = \"{directory}/admin.sock\"\n{more}\n",
        directory = directory.path().display()
    );
    std::fs::write(&config, text).expect("the configuration");
    let output = Command::new(env!("CARGO_BIN_EXE_rohrpost")).arg("check").arg("--config").arg(&config).output();
    let output = output.expect("rohrpost check");
    let said = if output.status.success() { output.stdout } else { output.stderr };
    (output.status.success(), String::from_utf8_lossy(&said).into_owned())
}

#[test]
fn check_says_what_is_wrong_with_the_endpoint_and_the_hooks() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let taken = taken.local_addr().expect("its address");
    for (more, words) in [
        (format!("http = \"{taken}\""), "another program listens on"),
        // TEST-NET-3 is nobody's.
        (
            "http = \"203.0.113.1:8025\"".to_owned(),
            "does not hold 203.0.113.1: write an address that `ip address` lists",
        ),
        ("http = \"127.0.0.1:2525\"".to_owned(), "overlaps with the listener on 127.0.0.1:2525"),
        ("[alert]\ncommand = [\"/nowhere/page\"]".to_owned(), "/nowhere/page cannot be run"),
        ("[alert]\ncommand = [\"page\"]".to_owned(), "\"page\" is not the whole path of a program"),
        ("[alert]\nwebhook = \"ftp://example.net/\"".to_owned(), "it must begin with https:// or http://"),
    ] {
        let (good, said) = check(&more);
        // Long lines are wrapped for whoever reads them.
        let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(!good && said.contains(words), "{more}: {said}");
    }
    let (good, said) = check("http = \"127.0.0.1:0\"");
    assert!(!good && said.contains("`http` needs a port"), "{said}");
    let more = "[alert]\nwebhook = \"http://127.0.0.1:8080/alert?token=secret\"\ncommand = [\"/bin/true\"]";
    let (good, said) = check(more);
    assert!(good, "{said}");
    let line = "alert        the webhook on 127.0.0.1:8080, the command /bin/true; again after 1h, over after 2m\n";
    assert!(said.contains(line), "{said}");
    assert!(!said.contains("secret"), "{said}");
}
