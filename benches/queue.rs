//! A long queue: what a million messages cost in memory, and how soon a process that starts with them goes on.
//!
//! The log is filled without SMTP, then opened by processes of their own, so that what is resident is theirs alone. The
//! queue is built as a worker builds it. `QUEUE_MESSAGES` says how many (1 000 000), `QUEUE_DIRECTORY` where (the target
//! directory), and `QUEUE_GOALS=1` makes it fail where a goal is missed.

mod common;

use common::log_settings;
use rohrpost::delivery::{Hop, Protocol, Queue, Retry, Route, Routes};
use rohrpost::env::disk::RealDisk;
use rohrpost::env::{Clock, SystemClock};
use rohrpost::smtp::{Envelope, Recipient};
use rohrpost::spool::{Draft, Log, LogEvent, MessageId, Outcome, Settings};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Resident bytes per queued message.
const BYTES_GOAL: f64 = 300.0;
/// From the start of the process until the first message can be delivered.
const RESTART_GOAL_SECONDS: f64 = 10.0;
/// Messages on their way to the disk at a time.
const UNDER_WAY: u64 = 2000;
const DESTINATIONS: u64 = 200;

const GIVEN: [&str; 16] = [
    "anna",
    "bernhard",
    "charlotte",
    "david",
    "elisabeth",
    "florian",
    "gertrud",
    "heinrich",
    "ingrid",
    "johannes",
    "katharina",
    "leopold",
    "magdalena",
    "nikolaus",
    "ottilie",
    "philipp",
];
const FAMILY: [&str; 16] = [
    "adler",
    "brandt",
    "fischer",
    "grossmann",
    "hartmann",
    "huber",
    "kaufmann",
    "lindner",
    "neumann",
    "oberhauser",
    "pichler",
    "reiter",
    "schwarz",
    "steinbacher",
    "weidinger",
    "zimmermann",
];

fn settings(messages: u64) -> Settings {
    log_settings(u32::try_from(messages * 4096 / (64 << 20)).unwrap_or(u32::MAX) + 16)
}

fn address(number: u64, destination: u64) -> String {
    let (given, family) = (number % 16, number / 16 % 16);
    format!("{}.{}@customer{destination}.example", GIVEN[given as usize], FAMILY[family as usize])
}

/// One message in ten has a second recipient, at another destination.
fn envelope(number: u64) -> Envelope {
    let recipient = |place: u64| {
        let address = address(number.wrapping_mul(7) + place, (number.wrapping_mul(31) + place) % DESTINATIONS);
        Recipient { address: address.into(), notify: None, original: None }
    };
    Envelope {
        reverse_path: format!("{}@news.sender.example", FAMILY[(number % 16) as usize]).into(),
        recipients: (0..1 + u64::from(number.is_multiple_of(10))).map(recipient).collect(),
        ..Envelope::default()
    }
}

fn fill(directory: &Path, messages: u64, deferred: bool) {
    let clock = SystemClock::new();
    let disk = RealDisk::open(directory).expect("the directory can be used");
    let (mut log, _) = Log::open(disk, settings(messages), clock.now()).expect("the log opens");
    let before = resident();
    let content = vec![b'x'; 2048];
    let (mut begun, mut durable, mut events) = (0, 0, Vec::new());
    while durable < messages {
        let mut waits = false;
        while begun < messages && begun - durable < UNDER_WAY && !waits {
            let Ok(draft) = log.begin() else { break };
            let content = &content[..1024 + usize::try_from(begun * 37 % 1024).expect("small")];
            let mut taken = log.content(draft, content);
            while taken < content.len() {
                durable += poll(&mut log, clock, &mut events, deferred);
                taken += log.content(draft, &content[taken..]);
                waits = true;
            }
            log.finish(draft, envelope(begun), clock.now());
            begun += 1;
        }
        durable += poll(&mut log, clock, &mut events, deferred);
    }
    while !log.idle() {
        log.poll(clock.now(), &mut events);
    }
    println!("  filled live: {:.0} bytes of log memory per message", per(resident() - before, messages));
    log.shutdown(clock.now());
    while !log.idle() {
        log.poll(clock.now(), &mut events);
    }
}

/// Lets the log go on, and says how many messages have become durable. `deferred`: each is tried once, in vain.
fn poll(log: &mut Log<RealDisk>, clock: SystemClock, events: &mut Vec<LogEvent>, deferred: bool) -> u64 {
    log.poll(clock.now(), events);
    let mut count = 0;
    for event in events.drain(..) {
        match event {
            LogEvent::Durable { draft: Draft { id, .. } } => {
                count += 1;
                if deferred {
                    let recipients = 1 + u32::from((id.number() - 1).is_multiple_of(10));
                    for recipient in 0..recipients {
                        log.settle(id, recipient, deferral(clock, id));
                    }
                }
            }
            LogEvent::Failed { .. } | LogEvent::Closed { .. } => panic!("the disk failed"),
            _ => {}
        }
    }
    count
}

fn deferral(clock: SystemClock, id: MessageId) -> Outcome {
    let host = id.number() % DESTINATIONS;
    Outcome::Deferred {
        attempts: 1,
        next_attempt_at: clock.now().wall + std::time::Duration::from_secs(3600 + id.number() % 3600),
        reply: format!("connect to mx.customer{host}.example [192.0.2.{host}]:25: no answer within 30 s").into(),
    }
}

fn routes() -> Arc<Routes> {
    let entries = (0..DESTINATIONS).map(|number| {
        let hop = Hop {
            protocol: Protocol::Smtp,
            addresses: vec!["192.0.2.1".parse().expect("an address")],
            port: 25,
            implicit_tls: false,
            preference: 10,
            name: "mx".into(),
            demand: None,
        };
        (format!("customer{number}.example").into(), Route::new(vec![hop]))
    });
    Arc::new(Routes::new(entries.collect::<Vec<_>>()).expect("routes"))
}

/// Opens the log as a process that starts does. Returns whether the goals are met.
fn restart(directory: &Path, messages: u64) -> bool {
    let clock = SystemClock::new();
    let before = resident();
    let start = Instant::now();
    let disk = RealDisk::open(directory).expect("the directory can be used");
    let (log, recovery) = Log::open(disk, settings(messages), clock.now()).expect("the log opens");
    let (opened, spool) = (start.elapsed().as_secs_f64(), resident() - before);
    assert_eq!(recovery.messages as u64, messages, "all are there");
    let mut queue = Queue::new(routes(), Retry::default(), 1);
    let now = clock.now();
    for message in log.messages() {
        queue.add(now, &message);
    }
    let (built, all) = (start.elapsed().as_secs_f64(), resident() - before);
    let lookup = |id: MessageId| log.message(id);
    let first = queue.next(clock.now(), lookup).is_some();
    let given = start.elapsed().as_secs_f64();
    println!(
        "  restart: log open after {opened:.2} s ({:.0} MB/s), queue built after {built:.2} s, first message {} after \
         {given:.2} s",
        recovery.bytes as f64 / 1e6 / opened,
        if first { "given out" } else { "not yet due" },
    );
    println!(
        "  memory: {:.0} bytes per message: spool {:.0}, delivery {:.0}",
        per(all, messages),
        per(spool, messages),
        per(all - spool, messages)
    );
    let walk = Instant::now();
    let held = log.messages().filter(|message| message.held()).count();
    println!(
        "  a walk over all {} messages takes {:.1} ms; {held} held",
        log.count(),
        walk.elapsed().as_secs_f64() * 1e3
    );
    let status = Instant::now();
    let figures = log.status();
    println!("  status: {} messages in {:.1} µs", figures.messages, status.elapsed().as_secs_f64() * 1e6);
    per(all, messages) <= BYTES_GOAL && given <= RESTART_GOAL_SECONDS
}

fn per(bytes: u64, messages: u64) -> f64 {
    bytes as f64 / messages as f64
}

/// Resident memory of this process, bytes.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("Linux");
    line.trim_end_matches("kB").trim().parse::<u64>().expect("a number") * 1024
}

/// Runs a part in a process of its own.
fn part(name: &str, directory: &Path, messages: u64) -> bool {
    let program = std::env::current_exe().expect("a program");
    let mut command = Command::new(program);
    command.env("QUEUE_PART", name).env("QUEUE_DIRECTORY", directory).env("QUEUE_MESSAGES", messages.to_string());
    command.status().expect("the program starts").success()
}

fn main() {
    let setting = |name| std::env::var(name).ok();
    let messages = setting("QUEUE_MESSAGES").map_or(1_000_000, |count| count.parse().expect("a number"));
    let target = option_env!("CARGO_TARGET_TMPDIR").unwrap_or("target");
    let directory = setting("QUEUE_DIRECTORY").map_or_else(|| Path::new(target).join("bench-queue"), PathBuf::from);
    match setting("QUEUE_PART").as_deref() {
        Some("restart") => std::process::exit(i32::from(!restart(&directory, messages))),
        Some(part) => return fill(&directory, messages, part == "fill deferred"),
        None => {}
    }
    let mut met = true;
    for (what, filling) in [("new", "fill new"), ("deferred once", "fill deferred")] {
        println!("{messages} messages, {what}:");
        let _ = std::fs::remove_dir_all(&directory);
        assert!(part(filling, &directory, messages), "filling failed");
        met &= part("restart", &directory, messages);
    }
    if setting("QUEUE_KEEP").is_none() {
        let _ = std::fs::remove_dir_all(&directory);
    }
    if !met {
        println!("a goal is missed: {BYTES_GOAL} bytes, {RESTART_GOAL_SECONDS} s");
        std::process::exit(i32::from(setting("QUEUE_GOALS").is_some()));
    }
}
