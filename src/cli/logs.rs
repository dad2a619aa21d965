//! The logs of an appliance, opened: each worker's own, and those that were left by others.
//!
//! In: the configuration, and what is in the spool's folder. Out: logs for each worker, and on a box with a partner what it
//! remembers of both identities. A spool is that of a single box or that of a box of a pair, and never taken for the other.

use super::run::StartError;
use crate::appliance::{settings, shares};
use crate::config::{Config, Pair};
use crate::control;
#[cfg(feature = "null-log")]
pub(super) use crate::env::disk::NullDisk as LogDisk;
#[cfg(not(feature = "null-log"))]
pub(super) use crate::env::disk::RealDisk as LogDisk;
use crate::env::{Clock, SystemClock};
use crate::mirror::register::{Memory, Node};
use crate::mirror::{first_log_of, identity_of_log};
use crate::spool::{self, Log, OpenError, Recovery};
use crate::worker::worker_of_log;
use std::collections::BTreeSet;
use std::panic::resume_unwind;
use std::path::Path;

/// For each worker its logs, the one that takes new mail first.
pub(super) type OpenLogs = Vec<Vec<(u16, Log<LogDisk>, Recovery)>>;

/// What a box remembers of both identities of its pair, and whether their logs are without damage.
pub(super) type Copies = [(Memory, bool); 2];

/// Opens each worker's own log, and gives it those of workers that there were before: what is in them is delivered
/// whatever the number of workers is now.
pub(super) fn open(config: &Config, clock: &SystemClock, workers: u16) -> Result<OpenLogs, StartError> {
    let directory = &config.spool.directory;
    for identity in Node::BOTH {
        if control::recall(directory, identity)?.is_some() {
            return Err(StartError::OfPair { directory: directory.clone() });
        }
    }
    let numbers = numbers(directory)?;
    let open = |number: u16, segments_max: Option<u32>| {
        let mut settings = settings::spool(config, number, workers);
        settings.segments_max = segments_max.unwrap_or(settings.segments_max);
        open_log(directory, settings, |disk, settings| Log::open(disk, settings, clock.now()))
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

/// Opens the logs of both identities, as many of each as the pair has and those that there were before. All are replicas, until an
/// arbiter has found out whose they are.
pub(super) fn open_copies(
    config: &Config,
    pair: &Pair,
    clock: &SystemClock,
    workers: u16,
) -> Result<(OpenLogs, Copies), StartError> {
    let directory = &config.spool.directory;
    std::fs::create_dir_all(directory).map_err(|error| failed(directory, error.to_string()))?;
    let mut numbers = numbers(directory)?;
    let count = pair.logs_of_identity(workers);
    for identity in Node::BOTH {
        numbers.extend((0..count).map(|place| first_log_of(identity) + place));
    }
    let remembered = [control::recall(directory, Node::A)?, control::recall(directory, Node::B)?];
    // Without memories it is a new box, or a single one that gets a partner. One of the two cannot be lost alone.
    if remembered == [None, None] && was_written(directory, &numbers, settings::node(pair).partner()) {
        return Err(StartError::NotOfPair { directory: directory.clone() });
    }
    // A memory comes before its logs: none are ever there without it.
    let [a, b] = remembered;
    let memory = |identity, remembered: Option<Memory>| {
        remembered.map_or_else(|| control::begin_memory(directory, identity), Ok).map(|memory| (memory, true))
    };
    let mut copies = [memory(Node::A, a)?, memory(Node::B, b)?];
    let open = |number| {
        let settings = settings::replica(config, number, count);
        open_log(directory, settings, |disk, settings| Log::open_replica(disk, settings, clock.now()))
    };
    let logs = open_all(workers, &numbers, open)?;
    for (number, _, recovery) in logs.iter().flatten() {
        copies[identity_of_log(*number) as usize].1 &= recovery.is_fit();
    }
    Ok((logs, copies))
}

/// Whether a log of this identity was ever written.
fn was_written(directory: &Path, numbers: &BTreeSet<u16>, identity: Node) -> bool {
    let mut of_identity = numbers.iter().filter(|number| identity_of_log(**number) == identity);
    of_identity.any(|number| directory.join(log_name(*number)).exists())
}

fn failed(directory: &Path, reason: String) -> StartError {
    StartError::Spool { directory: directory.to_owned(), reason }
}

fn open_log(
    directory: &Path,
    settings: spool::Settings,
    open: impl FnOnce(LogDisk, spool::Settings) -> Result<(Log<LogDisk>, Recovery), OpenError>,
) -> Result<(Log<LogDisk>, Recovery), StartError> {
    let directory = directory.join(log_name(settings.log));
    let disk = LogDisk::open(&directory).map_err(|error| failed(&directory, error.to_string()))?;
    open(disk, settings).map_err(|error| failed(&directory, error.to_string()))
}

/// The numbers of the logs that there are.
fn numbers(directory: &Path) -> Result<BTreeSet<u16>, StartError> {
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
    Ok(numbers)
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
