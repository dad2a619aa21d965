//! What our TCP does with every packet of a script: `tests/packetdrill/scripts`, a feature each.
//!
//! The scripts are packetdrill's. They are played by our own reader always, and by packetdrill itself, with our stack as
//! the shared object that it loads, where there is one: on the PATH, or where `PACKETDRILL` says.

use rohrpost_packetdrill::script::{Script, play};
use rohrpost_packetdrill::world::LOCAL;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// packetdrill waits in virtual time: what takes longer hangs.
const DEADLINE: Duration = Duration::from_secs(60);

/// A tick of the stack's timers, and what the clock moves while packetdrill looks at it: timeouts multiply that.
const TOLERANCE: &str = "--tolerance_usecs=3000";

/// All scripts, by name.
fn scripts() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/packetdrill/scripts");
    let entries = fs::read_dir(folder).expect("there are scripts");
    let mut scripts: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    scripts.retain(|path| path.extension().is_some_and(|extension| extension == "pkt"));
    scripts.sort();
    assert!(!scripts.is_empty());
    scripts
}

#[test]
fn every_packet_is_as_the_scripts_say() {
    let mut failed = 0;
    for path in scripts() {
        let text = fs::read_to_string(&path).expect("a script can be read");
        if let Err(failure) = Script::read(&text).and_then(|script| play(&script)) {
            eprintln!("{}:{}: {}", path.display(), failure.line, failure.reason);
            failed += 1;
        }
    }
    assert_eq!(failed, 0, "scripts failed: see above");
}

#[test]
fn what_is_not_as_a_script_says_is_noticed_in_its_line() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/packetdrill/scripts/handshake_of_a_client.pkt");
    let text = fs::read_to_string(path).expect("a script can be read");
    let line = |script: &str| Script::read(script).and_then(|script| play(&script)).err().map(|failure| failure.line);
    assert_eq!(line(&text), None);
    let answer = "> S. 0:0(0) ack 1 win 65535 <mss 1460,nop,wscale 3";
    for (right, wrong) in [
        ("accept(3, ..., ...) = 4", "accept(3, ..., ...) = -1 EINPROGRESS"),
        ("read(4, ..., 1000) = 100", "read(4, ..., 1000) = 99"),
        (answer, "> S. 0:0(0) ack 2 win 65535 <mss 1460,nop,wscale 3"),
        (answer, "> S. 0:0(0) ack 1 win 65534 <mss 1460,nop,wscale 3"),
        (answer, "> S. 0:0(0) ack 1 win 65535 <mss 1460,nop,wscale 4"),
        ("+0  > S.", "+.002  > S."),
        ("+0  > P. 1:51(50)", "+0  > . 1:51(50)"),
        (
            "+0  > P. 1:51(50) ack 101 <nop,nop,TS val 21 ecr 120>",
            "+0  > P. 1:51(50) ack 101 <nop,nop,TS val 21 ecr 110>",
        ),
        ("+0  > P. 1:51(50)", "+0  > P. 1:51(49)"),
        ("+0  write(4, ..., 50) = 50", "+0  lseek(4, ..., 50) = 50"),
    ] {
        let place = text.lines().position(|line| line.contains(right)).expect("the script has this line");
        assert_eq!(line(&text.replacen(right, wrong, 1)), Some(place + 1), "{wrong}");
    }
    // What is sent and never named is noticed at the end.
    let short = text.lines().take_while(|line| !line.contains("> P. 1:51(50)")).collect::<Vec<_>>().join("\n");
    assert_eq!(line(&short), Some(short.lines().count()));
}

#[test]
fn packetdrill_says_so_too() {
    let packetdrill = std::env::var_os("PACKETDRILL").map(PathBuf::from);
    let Some(packetdrill) = packetdrill.or_else(on_the_path) else {
        eprintln!("SKIPPED: packetdrill is not installed; the scripts were played by our own reader only");
        return;
    };
    let mut failed = 0;
    for path in scripts() {
        let began = Instant::now();
        let child = Command::new(&packetdrill)
            .arg(format!("--so_filename={}", shared_object().display()))
            .arg(format!("--local_ip={LOCAL}"))
            .args([TOLERANCE, "--tolerance_percent=0.001"])
            .arg(&path)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        let child = child.unwrap_or_else(|error| panic!("{} does not start: {error}", packetdrill.display()));
        if let Err(said) = finish(child, began + DEADLINE) {
            eprintln!("{}: packetdrill says:\n{said}", path.display());
            failed += 1;
        }
    }
    assert_eq!(failed, 0, "scripts failed: see above");
}

fn on_the_path() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join("packetdrill")).find(|program| program.is_file())
}

/// Cargo leaves it beside the test: it is a library that the test depends on.
fn shared_object() -> PathBuf {
    let own = std::env::current_exe().expect("the test knows where it is");
    let object = own.with_file_name("librohrpost_packetdrill.so");
    assert!(object.is_file(), "{} is not there", object.display());
    object
}

/// Waits for the end of a program; what it said, if it failed or did not end in time. It says little: the pipes hold it.
fn finish(mut child: Child, deadline: Instant) -> Result<(), String> {
    let late = loop {
        match child.try_wait().expect("a child can be waited for") {
            Some(_) => break false,
            None if Instant::now() > deadline => break true,
            None => thread::sleep(Duration::from_millis(2)),
        }
    };
    if late {
        child.kill().expect("a child can be ended");
    }
    let output = child.wait_with_output().expect("its output can be read");
    let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    match (late, output.status.success()) {
        (false, true) => Ok(()),
        (false, false) => Err(said),
        (true, _) => Err(format!("{said}\nit did not end within {DEADLINE:?}")),
    }
}
