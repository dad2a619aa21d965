//! How the process ends: asked to, signalled, or because a worker is gone.

use super::*;
use std::io::{BufRead, BufReader};

#[test]
fn a_stop_lets_workers_finish_and_logs_their_last_words() {
    let (reason, lines) = Appliance::good(3, 0).stop();
    assert_eq!(reason, ExitReason::Stopped);
    let events = lines.events();
    assert_eq!(events.iter().filter(|event| *event == "warning").count(), 6);
    assert_eq!(events.last().unwrap(), "stopped");
    assert_eq!(lines.objects().last().unwrap()["reason"], "all work in hand was finished");
    assert!(lines.objects()[0]["time"].as_str().unwrap().ends_with('Z'));
}

#[test]
fn a_worker_that_fails_ends_the_others_and_the_process() {
    let world = Appliance::start(&[Manner::Good, Manner::Failing], 0, Duration::from_secs(10));
    let _ = world.status(true);
    let (reason, lines) = world.end();
    assert_eq!(reason, ExitReason::WorkerFailed { worker: 1, text: "no more disk".into() });
    assert!(lines.events().contains(&"worker_failed".to_owned()));
    assert!(lines.0.lock().unwrap().windows(16).any(|bytes| bytes == b"worker 0 is down"));
}

#[test]
fn a_hung_worker_is_given_up_and_named() {
    let world = Appliance::start(&[Manner::Good, Manner::Hung], 0, Duration::ZERO);
    let (reason, _) = world.stop();
    assert_eq!(reason, ExitReason::Hung { workers: vec![1] });
}

#[test]
fn a_worker_that_ends_without_a_word_is_a_failed_one() {
    let world = Appliance::start(&[Manner::Good, Manner::Mute], 0, Duration::from_secs(10));
    let _ = world.status(true);
    let (reason, _) = world.end();
    let ExitReason::WorkerFailed { worker: 1, .. } = reason else { panic!("{reason}") };
}

/// Not a test by itself: the process that [`a_process_stops_at_the_first_signal_and_ends_at_the_second`] signals. Its
/// worker never stops, so that only the second signal ends it before its time.
#[test]
#[ignore = "runs in a process of its own"]
fn the_process_that_is_signalled() {
    let folder = tempfile::tempdir().unwrap();
    let admin = AdminSocket::open(&folder.path().join("admin.sock")).unwrap();
    let (links, ends, from) = links(1, 1024).unwrap();
    for end in ends {
        thread::spawn(move || work(end, 0, Manner::Hung));
    }
    let stop = Stopper::new().unwrap();
    let give_up = stop.clone();
    let shutdown_max = Duration::from_secs(30);
    let settings = Settings { shutdown_max, signals: true, ..settings(admin, stop) };
    let mut ticks = 0;
    let reason = run(settings, links, from, |tick| {
        if tick == Tick::Link {
            return Vec::new();
        }
        eprintln!("tick {tick:?}");
        ticks += 1;
        // Nobody is there who signals.
        if ticks > 60 {
            give_up.stop();
        }
        Vec::new()
    });
    eprintln!("reason {reason:?}");
}

#[test]
fn a_process_stops_at_the_first_signal_and_ends_at_the_second() {
    use std::process::{Command, Stdio};
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "--nocapture", "control::tests::end::the_process_that_is_signalled"])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let id = child.id().to_string();
    let signal = |name: &str| {
        assert!(Command::new("kill").args([name, id.as_str()]).status().unwrap().success());
    };
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
    let mut until = |wanted: &str| lines.find(|line| line == wanted).expect("the child has ended");
    // The first tick shows that the signals are being handled.
    until("tick Second");
    signal("-HUP");
    until("tick Reload");
    signal("-TERM");
    until("tick Second");
    signal("-INT");
    until("reason Impatient");
    assert!(child.wait().unwrap().success());
}
