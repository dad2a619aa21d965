//! `rohrpost run`: the appliance, from the configuration to its orderly end.
//!
//! In: the configuration. Out: workers, each on its core with its transport and its logs; the control thread; an exit
//! code. Everything that can be refused is refused before the first worker starts.

use super::check;
use super::transport::{self, Lanes, Opened, TransportError};
use crate::appliance::{Appliance, Station, settings, shares};
use crate::config::{self, Config};
use crate::control::{
    self, About, AdminSocket, ExitReason, Hooks, HttpSocket, Stopper, Tick, ToWorker, WorkerEnd, WorkerLink,
};
use crate::delivery;
#[cfg(feature = "null-log")]
use crate::env::disk::NullDisk as LogDisk;
#[cfg(not(feature = "null-log"))]
use crate::env::disk::RealDisk as LogDisk;
use crate::env::{Clock, Instant, SystemClock, Wakeup};
use crate::event::Event;
use crate::limits::{DAMAGES_MAX, FROM_WORKERS_MAX};
use crate::policy::Policy;
use crate::port::Port;
use crate::port::lane::Lane;
use crate::spool::{Log, Recovery};
use crate::tcp::Stack;
use crate::worker::{Exchange, Worker, worker_of_log};
use std::collections::BTreeSet;
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

/// Why the appliance does not start. Each says what to do.
#[derive(Debug, thiserror::Error)]
pub(super) enum StartError {
    #[error("{0}")]
    Config(String),
    #[error("{0}")]
    Transport(#[from] TransportError),
    #[error("the log in {directory}: {reason}")]
    Spool { directory: PathBuf, reason: String },
    #[error("{0}")]
    Admin(#[from] control::AdminError),
    #[error("{0}")]
    Http(#[from] control::HttpError),
    #[error("{0}")]
    Hooks(#[from] control::HookError),
    #[error("{0}")]
    Policy(#[from] crate::policy::PolicyError),
    #[error("{0}")]
    Routes(#[from] delivery::RouteError),
    #[error("the system gives no randomness: {0}")]
    Entropy(getrandom::Error),
    #[error("the operating system refused: {0}")]
    System(#[from] std::io::Error),
}

/// Runs the appliance until it is told to stop.
pub fn run(args: &super::RunArgs) -> ExitCode {
    let outcome = config::load(&args.config.config)
        .map_err(|error| StartError::Config(check::show(&error)))
        .and_then(|config| start(&Arc::new(config)));
    match outcome {
        Ok(ExitReason::Stopped) => ExitCode::SUCCESS,
        Ok(reason) => {
            eprintln!("rohrpost: {reason}");
            reason.code()
        }
        Err(error) => {
            eprintln!("rohrpost: {error}");
            ExitCode::FAILURE
        }
    }
}

fn start(config: &Arc<Config>) -> Result<ExitReason, StartError> {
    let clock = SystemClock::new();
    environment(config)?;
    let policy = Arc::new(Policy::new(config)?);
    let appliance = Appliance::new(Arc::clone(config), Arc::clone(&policy))?;
    // First of all that leaves a trace, so that a second process ends here.
    let admin = AdminSocket::open(&config.admin.socket)?;
    let http = config.admin.http.map(HttpSocket::open).transpose()?;
    let hooks = Hooks::open(&config.alert)?;
    let opened = transport::open(config, &clock)?;
    let workers = opened.lanes.count() as u16;
    let logs = open_logs(config, &clock, workers)?;
    let (links, ends, from) = control::links(workers, FROM_WORKERS_MAX)?;
    let wakeups = (0..workers).map(|_| Wakeup::new()).collect::<Result<Vec<_>, _>>()?;
    let about = About {
        release: env!("CARGO_PKG_VERSION").to_owned(),
        hostname: config.hostname.clone(),
        transport: config.transport.name().to_owned(),
        transport_detail: opened.detail.clone(),
        link: opened.link,
        started_at: clock.now().wall,
    };
    let mut parts = Vec::new();
    for (((mut end, logs), exchange), wakeup) in
        ends.into_iter().zip(logs).zip(Exchange::connect(&wakeups)).zip(wakeups.iter().cloned())
    {
        end.reporter.log_messages(config.log.messages);
        for (number, log, recovery) in &logs {
            end.reporter.event(recovered(*number, log.status().disk, recovery));
            for damage in &recovery.damages.list {
                end.reporter.event(Event::LogDamaged { log: *number, damage: damage.to_string() });
            }
            for id in log.damaged().take(DAMAGES_MAX) {
                end.reporter.event(Event::Damaged { id });
            }
        }
        let logs = logs.into_iter().map(|(number, log, _)| (number, log)).collect();
        parts.push(Common { clock, logs, exchange, wakeup, end });
    }
    if let Some(first) = parts.first_mut() {
        let detail = opened.detail.clone();
        first.end.reporter.event(Event::Started { transport: config.transport.name().to_owned(), detail });
        for text in &opened.warnings {
            first.end.reporter.event(Event::Warning { text: text.clone() });
        }
    }
    let mut watch = transport::watch_link(&opened);
    let Opened { lanes, attachment, .. } = opened;
    let threads = spawn(&appliance, lanes, parts)?;
    let settings = control::Settings {
        admin,
        http,
        hooks,
        shutdown_max: *config.limits.shutdown_timeout,
        signals: true,
        stop: Stopper::new()?,
        about,
    };
    let mut reload = reloader(policy, links.clone());
    let on_tick = |tick| {
        reload(tick);
        watch(&attachment)
    };
    let reason = control::run(settings, links, from, on_tick);
    if reason == ExitReason::Stopped {
        for thread in threads {
            // It has said its last words, so that this does not wait.
            let _ = thread.join();
        }
    }
    drop(attachment);
    Ok(reason)
}

/// Refuses what this machine cannot do.
pub(super) fn environment(config: &Config) -> Result<(), StartError> {
    let problems: Vec<String> = check::environment(config).iter().map(ToString::to_string).collect();
    if problems.is_empty() { Ok(()) } else { Err(StartError::Config(problems.join("\nrohrpost: "))) }
}

/// What a worker gets whatever its transport is.
struct Common {
    clock: SystemClock,
    logs: Vec<(u16, Log<LogDisk>)>,
    exchange: Exchange,
    wakeup: Wakeup,
    end: WorkerEnd,
}

type Threads = Vec<std::thread::JoinHandle<()>>;

fn spawn(appliance: &Appliance, lanes: Lanes, parts: Vec<Common>) -> Result<Threads, StartError> {
    match lanes {
        Lanes::Kernel(sockets) => {
            sockets.into_iter().zip(parts).map(|(sockets, common)| launch(appliance, common, sockets)).collect()
        }
        Lanes::AfXdp(lanes) => spawn_stacks(appliance, lanes, parts),
        #[cfg(feature = "dpdk")]
        Lanes::Dpdk(lanes) => spawn_stacks(appliance, lanes, parts),
    }
}

/// Starts a worker with a TCP stack on each lane.
fn spawn_stacks<P: Port + Send + 'static>(
    appliance: &Appliance,
    lanes: Vec<Lane<P>>,
    parts: Vec<Common>,
) -> Result<Threads, StartError> {
    let Some(first) = parts.first() else { return Ok(Threads::new()) };
    let stacks = stacks(&appliance.config, lanes, first.clock.now().mono)?;
    stacks.into_iter().zip(parts).map(|(stack, common)| launch(appliance, common, stack)).collect()
}

/// The TCP of all workers.
pub(super) fn stacks<P: Port>(
    config: &Config,
    lanes: Vec<Lane<P>>,
    now: Instant,
) -> Result<Vec<Stack<Lane<P>>>, StartError> {
    let hosts = lanes.iter().filter(|lane| !lane.queues().is_empty()).count();
    let counts = (lanes.len() as u16, hosts as u16);
    // Shared by all workers: a flow that moves between queues keeps its sequence numbers.
    let isn_key = entropy::<16>()?;
    let stack = |(worker, lane)| {
        let seed = u64::from_le_bytes(entropy()?);
        Ok(Stack::new(lane, settings::tcp(config, None, worker, counts, isn_key, seed), now))
    };
    (0..).zip(lanes).map(stack).collect()
}

/// Starts one worker on its core.
fn launch<T: crate::flow::Transport + Send + 'static>(
    appliance: &Appliance,
    common: Common,
    transport: T,
) -> Result<std::thread::JoinHandle<()>, StartError> {
    let worker = common.exchange.worker();
    let equipment = appliance.equip(Station {
        clock: common.clock,
        transport,
        logs: common.logs,
        exchange: common.exchange,
        exchange_wakeup: common.wakeup,
        control: common.end,
        seed: u64::from_le_bytes(entropy()?),
        pair: None,
    });
    let config = &appliance.config;
    let core = config.workers.cores.get(usize::from(worker)).copied();
    let thread = std::thread::Builder::new().name(format!("worker-{worker}")).spawn(move || {
        pin(core);
        Worker::new(equipment).run();
    })?;
    Ok(thread)
}

/// Keeps this thread on its core, if it has one.
pub(super) fn pin(core: Option<usize>) {
    if let Some(id) = core {
        // The core exists: `check` has looked. Where the container forbids pinning, work goes on unpinned.
        core_affinity::set_for_current(core_affinity::CoreId { id });
    }
}

type OpenLogs = Vec<Vec<(u16, Log<LogDisk>, Recovery)>>;

/// Opens each worker's own log, and gives it those of workers that there were before: what is in them is delivered
/// whatever the number of workers is now.
fn open_logs(config: &Config, clock: &SystemClock, workers: u16) -> Result<OpenLogs, StartError> {
    let directory = &config.spool.directory;
    let failed = |directory: &Path, reason: String| StartError::Spool { directory: directory.to_owned(), reason };
    let mut numbers = BTreeSet::new();
    match std::fs::read_dir(directory) {
        Ok(entries) => {
            for name in entries.flatten().map(|entry| entry.file_name()) {
                let name = name.to_string_lossy().into_owned();
                let Some(number) = name.strip_prefix("log-") else { continue };
                match number.parse() {
                    Ok(number) if name == log_name(number) => drop(numbers.insert(number)),
                    // It may hold mail, and nobody would ever look into it again.
                    _ => return Err(failed(&directory.join(&name), "no log has such a name; move it away".to_owned())),
                }
            }
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(failed(directory, error.to_string())),
    }
    let open = |number: u16, segments_max: Option<u32>| {
        let directory = directory.join(log_name(number));
        let disk = LogDisk::open(&directory).map_err(|error| failed(&directory, error.to_string()))?;
        let mut settings = settings::spool(config, number, workers);
        settings.segments_max = segments_max.unwrap_or(settings.segments_max);
        Log::open(disk, settings, clock.now()).map_err(|error| failed(&directory, error.to_string()))
    };
    let mut logs = open_all(workers, &numbers, |number| open(number, None))?;
    let existing = logs.iter_mut().flatten().map(|(number, log, _)| (*number, log));
    let share = shares::share_out(config, workers, existing).map_err(|error| failed(directory, error.to_string()))?;
    let new = (0..workers).filter(|number| !numbers.contains(number)).collect();
    for (worker, own) in open_all(workers, &new, |number| open(number, Some(share)))?.into_iter().enumerate() {
        // The one that takes new mail is the first.
        logs[worker].splice(0..0, own);
    }
    Ok(logs)
}

/// Opens logs, each worker's one after the other, and all workers' at the same time.
fn open_all(
    workers: u16,
    numbers: &BTreeSet<u16>,
    open: impl Fn(u16) -> Result<(Log<LogDisk>, Recovery), StartError> + Sync,
) -> Result<OpenLogs, StartError> {
    std::thread::scope(|scope| {
        let open = &open;
        let opener = |worker: u16| {
            scope.spawn(move || {
                let own = numbers.iter().copied().filter(|number| worker_of_log(*number, workers) == worker);
                own.map(|number| open(number).map(|(log, recovery)| (number, log, recovery))).collect()
            })
        };
        let openers: Vec<_> = (0..workers).map(opener).collect();
        let opened = openers.into_iter().map(|opener| opener.join().unwrap_or_else(|panic| resume_unwind(panic)));
        opened.collect()
    })
}

/// The folder of a log.
fn log_name(number: u16) -> String {
    format!("log-{number:02}")
}

fn recovered(log: u16, disk: String, recovery: &Recovery) -> Event {
    Event::Recovered {
        log,
        disk,
        messages: recovery.messages as u64,
        batches: recovery.batches,
        bytes: recovery.bytes,
        damages: recovery.damages.count,
        damaged: recovery.damaged as u64,
        cut: recovery.cut.map(|cut| {
            format!(
                "segment {} ends at byte {} now; {} batches behind it were never acknowledged",
                cut.segment, cut.offset, cut.batches
            )
        }),
    }
}

/// Reads the recipient maps again when they change.
fn reloader(policy: Arc<Policy>, links: Vec<WorkerLink>) -> impl FnMut(Tick) {
    let mut current = policy;
    // Workers whose channel was full when there was something new.
    let mut owed: Vec<bool> = links.iter().map(|_| false).collect();
    move |_| {
        let reload = current.reload_maps();
        for error in reload.errors {
            eprintln!("rohrpost: {error}; what it said before still counts");
        }
        if let Some(policy) = reload.policy {
            current = Arc::new(policy);
            owed.fill(true);
        }
        for (link, owed) in links.iter().zip(&mut owed).filter(|(_, owed)| **owed) {
            *owed = link.to.try_send(ToWorker::Policy(Arc::clone(&current))).is_err();
            link.wakeup.notify();
        }
    }
}

fn entropy<const SIZE: usize>() -> Result<[u8; SIZE], StartError> {
    let mut bytes = [0; SIZE];
    getrandom::fill(&mut bytes).map_err(StartError::Entropy)?;
    Ok(bytes)
}
