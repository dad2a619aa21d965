//! The control thread with fake workers, behind a real socket: what operators see of it, and how it ends.

mod admin;
mod end;
mod endpoint;
mod events;
mod queue;
mod status;

use super::status::tests::worker_status;
use super::*;
use crate::cli::{queue::write_queue, status::write_status};
use crate::delivery::{DestinationKey, Limited, Route, Routes};
use crate::env::{WallTime, wait_readable};
use crate::event::Event;
use crate::smtp::Priority;
use crate::spool::MessageId;
use std::collections::BTreeMap;
use std::io::Write;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// A log that can be read meanwhile.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Lines {
    fn objects(&self) -> Vec<serde_json::Value> {
        let text = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    fn events(&self) -> Vec<String> {
        self.objects().iter().map(|object| object["event"].as_str().unwrap().to_owned()).collect()
    }
}

fn entry(id: MessageId) -> QueueEntry {
    QueueEntry {
        id,
        received_at: WallTime::from_micros(1_795_493_951_250_000),
        sender: "a@example.org".into(),
        recipients: vec![RecipientEntry {
            address: "B@Example.net".into(),
            state: RecipientState::Deferred,
            destination: Some("example.net".into()),
            attempts: 2,
            next_attempt_at: Some(WallTime::from_micros(1_795_494_000_000_000)),
            last_reply: Some("451 4.3.0 later\u{7}".into()),
        }],
        size_bytes: 10_240,
        priority: Priority::LOWEST,
        state: MessageState::Deferred,
    }
}

/// What a fake worker does.
#[derive(Clone, Copy, PartialEq)]
enum Manner {
    Good,
    /// Neither answers nor stops.
    Hung,
    /// Fails when it is asked for its status.
    Failing,
    /// Ends without a word when it is asked for its status.
    Mute,
    /// Has sessions to finish when it shall stop, until it is asked for its status.
    Lingering,
}

/// Holds `queued` messages; changes all that a selection names or, with a filter, that match.
fn work(mut end: WorkerEnd, queued: u64, manner: Manner) {
    let worker = end.worker;
    let mut entries: Vec<QueueEntry> = (1..=queued).map(|number| entry(MessageId::new(worker, number))).collect();
    end.reporter.event(Event::Warning { text: format!("worker {worker} is up") });
    end.reporter.flush();
    let mut stopping = false;
    loop {
        wait_readable(&[end.wakeup.as_fd()], Duration::from_millis(100));
        end.wakeup.drain();
        loop {
            let message = match end.requests.try_recv() {
                Ok(message) => message,
                Err(crossbeam::channel::TryRecvError::Empty) => break,
                // The control thread is gone: so ends a hung worker.
                Err(crossbeam::channel::TryRecvError::Disconnected) => return,
            };
            match message {
                _ if manner == Manner::Hung => {}
                ToWorker::Stop { .. } if manner == Manner::Lingering => stopping = true,
                ToWorker::Request { .. } if stopping => return end.reporter.stopped(),
                ToWorker::Stop { .. } => {
                    end.reporter.event(Event::Warning { text: format!("worker {worker} is down") });
                    return end.reporter.stopped();
                }
                ToWorker::Policy(_)
                | ToWorker::Certificates(_)
                | ToWorker::Credentials(_)
                | ToWorker::Keys(_)
                | ToWorker::Domains(_)
                | ToWorker::Submit { .. }
                | ToWorker::Orders(_)
                | ToWorker::TellPartner(_)
                | ToWorker::Pair { .. } => {}
                ToWorker::Pulse => {
                    let log = LogPulse { log: worker, ..LogPulse::default() };
                    end.reporter.pulse(Pulse { worker, logs: vec![log], ..Pulse::default() });
                }
                // What a panic comes to.
                ToWorker::Request { .. } if manner == Manner::Mute => return,
                ToWorker::Request { .. } if manner == Manner::Failing => {
                    return end.reporter.failed("no more disk".into());
                }
                ToWorker::Request { token, question: Question::Status } => {
                    end.reporter.reply(token, Reply::Status(Box::new(worker_status(worker))));
                }
                ToWorker::Request { token, question: Question::Orders } => {
                    end.reporter.reply(token, Reply::Orders(BTreeMap::from([(1, queued)])));
                }
                ToWorker::Request { token, question: Question::Queue(command) } => {
                    end.reporter.reply(token, Reply::Queue(obey(&mut entries, &command)));
                }
                ToWorker::Request { token, question: Question::Destinations { from, hosts } } => {
                    end.reporter.reply(token, Reply::Destinations(look(worker, &entries, from, hosts)));
                }
            }
        }
        end.reporter.flush();
    }
}

/// The domain of the first message of each worker, and that of all others.
fn name_of(id: MessageId) -> String {
    format!("mx://{}.example", if id.number() == 1 { "first" } else { "others" })
}

/// By which the owners of both know them.
fn key_of(id: MessageId) -> DestinationKey {
    let entries = [("first.example".into(), Route::by_mx()), ("others.example".into(), Route::new(Vec::new()))];
    let routes = Routes::new(entries).unwrap();
    routes.key(routes.destination(&name_of(id)["mx://".len()..]))
}

/// The first worker owns the destination of the first messages, and the second one the others.
fn owned(worker: u16, hosts: bool) -> OwnedDestination {
    let id = MessageId::new(worker, u64::from(worker) + 1);
    let remote = "192.0.2.1:25".parse().unwrap();
    let host = DeliveryHost {
        host: "mx.example".into(),
        remote,
        pool: None,
        state: HostState::Up,
        connections: 3,
        failures: 0,
        alone_until: None,
        last_at: None,
        last_reply: None,
    };
    let report = DeliveryReport {
        busy: 1 + u32::from(worker),
        idle: 2,
        opening: 0,
        ending: 0,
        window: 5,
        connections_max: 20,
        waiting: 1,
        messages_per_s: 0.5,
        limited_by: Some(Limited::Window),
        suspended_until: None,
        last_failure: None,
        hosts: if hosts { vec![host] } else { Vec::new() },
    };
    OwnedDestination { key: key_of(id), name: name_of(id), report }
}

/// One destination a breath.
fn look(worker: u16, entries: &[QueueEntry], from: Walk, hosts: bool) -> DestinationsReply {
    match from {
        Walk::Waiting { place, .. } if place < entries.len() => {
            let id = entries[place].id;
            let entry = TrafficEntry {
                destination: name_of(id),
                messages: 1,
                active: 0,
                why: None,
                delivery: None,
                key: Some(key_of(id)),
            };
            let next = Some(Walk::Waiting { schedule: 0, place: place + 1 });
            DestinationsReply { waiting: vec![entry], owned: Vec::new(), next }
        }
        Walk::Waiting { .. } => DestinationsReply { next: Some(Walk::OWNED), ..DestinationsReply::default() },
        Walk::Owned { .. } if worker < 2 => {
            DestinationsReply { owned: vec![owned(worker, hosts)], ..DestinationsReply::default() }
        }
        Walk::Owned { .. } => DestinationsReply::default(),
    }
}

fn obey(entries: &mut Vec<QueueEntry>, command: &QueueCommand) -> QueueReply {
    let matches = |filter: &QueueFilter, entry: &QueueEntry| {
        let addresses = entry.recipients.iter().map(|recipient| recipient.address.as_str());
        let now = WallTime::from_micros(u64::MAX);
        filter.matches((&entry.sender, entry.priority), || entry.state, entry.received_at, addresses, now)
    };
    match command {
        QueueCommand::List { filter, limit, after } => {
            let mut found = entries.iter().filter(|entry| Some(entry.id) > *after && matches(filter, entry));
            let page: Vec<QueueEntry> = found.by_ref().take(*limit).cloned().collect();
            let next = found.next().and(page.last()).map(|entry| entry.id);
            QueueReply::Entries { entries: page, next }
        }
        QueueCommand::Show { id } => {
            QueueReply::Entry(entries.iter().find(|entry| entry.id == *id).cloned().map(Box::new))
        }
        QueueCommand::Destinations { filter, .. } => {
            // One message a breath.
            let mut found = entries.iter().filter(|entry| Some(entry.id) > filter.after && matches(filter, entry));
            let first = found.next();
            let destinations = first.iter().map(|entry| DestinationEntry {
                messages: 1,
                size_bytes: entry.size_bytes,
                deferred: 1,
                oldest_at: Some(entry.received_at + Duration::from_secs(entry.id.number())),
                next_attempt_at: entry.recipients[0].next_attempt_at,
                last_reply: Some(format!("451 4.3.0 {}", entry.id)),
                ..DestinationEntry::of_nothing(name_of(entry.id), Some(key_of(entry.id)))
            });
            let destinations = destinations.collect();
            QueueReply::Destinations { destinations, next: found.next().and(first).map(|entry| entry.id) }
        }
        QueueCommand::Retry { selection }
        | QueueCommand::Hold { selection }
        | QueueCommand::Release { selection }
        | QueueCommand::Delete { selection } => {
            let before = entries.len();
            entries.retain(|entry| match selection {
                QueueSelection::Ids(ids) => !ids.contains(&entry.id),
                QueueSelection::Filter(filter) => !matches(filter, entry),
            });
            QueueReply::Changed { count: (before - entries.len()) as u64, next: None }
        }
    }
}

/// A control thread with fake workers behind a real socket.
struct Appliance {
    _folder: tempfile::TempDir,
    socket: PathBuf,
    health: SocketAddr,
    stop: Stopper,
    lines: Lines,
    control: JoinHandle<ExitReason>,
    workers: Vec<JoinHandle<()>>,
}

/// A control thread that has nothing besides its workers.
fn settings(admin: AdminSocket, stop: Stopper) -> Settings {
    Settings {
        admin,
        http: None,
        hooks: Hooks::default(),
        events: None,
        dns: None,
        reports: None,
        orders: OrderBoard::default(),
        pair: None,
        shutdown_max: Duration::ZERO,
        signals: false,
        stop,
        about: About::default(),
    }
}

impl Appliance {
    fn start(manners: &[Manner], queued: u64, shutdown_max: Duration) -> Appliance {
        Appliance::start_with(manners, queued, shutdown_max, Hooks::default())
    }

    fn start_with(manners: &[Manner], queued: u64, shutdown_max: Duration, hooks: Hooks) -> Appliance {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("run/admin.sock");
        let admin = AdminSocket::open(&socket).unwrap();
        let (links, ends, from) = links(manners.len() as u16, 1024).unwrap();
        let ends = ends.into_iter().zip(manners.to_vec());
        let workers = ends.map(|(end, manner)| thread::spawn(move || work(end, queued, manner))).collect();
        let stop = Stopper::new().unwrap();
        let about = About { release: "0.1.0".into(), hostname: "mx1.example.net".into(), ..About::default() };
        let http = Some(HttpSocket::open("127.0.0.1:0".parse().unwrap()).unwrap());
        let health = http.as_ref().unwrap().address().unwrap();
        let settings = Settings { http, hooks, shutdown_max, about, ..settings(admin, stop.clone()) };
        let lines = Lines::default();
        let log = Box::new(lines.clone());
        let control = thread::spawn(move || run_with_log(settings, links, from, |_| Vec::new(), log));
        Appliance { _folder: folder, socket, health, stop, lines, control, workers }
    }

    fn good(workers: usize, queued: u64) -> Appliance {
        Appliance::start(&vec![Manner::Good; workers], queued, Duration::from_secs(10))
    }

    fn end(self) -> (ExitReason, Lines) {
        let reason = self.control.join().unwrap();
        for worker in self.workers {
            worker.join().unwrap();
        }
        assert!(!self.socket.exists(), "the socket's file goes with the process");
        (reason, self.lines)
    }

    fn stop(self) -> (ExitReason, Lines) {
        self.stop.stop();
        self.end()
    }

    fn queue(&self, command: QueueCommand, json: bool) -> Result<String, ClientError> {
        let mut out = Vec::new();
        write_queue(&self.socket, &command, json, &mut out)?;
        Ok(String::from_utf8(out).unwrap())
    }

    fn status(&self, json: bool) -> Result<String, ClientError> {
        let mut out = Vec::new();
        write_status(&self.socket, json, &mut out)?;
        Ok(String::from_utf8(out).unwrap())
    }
}

fn all(limit: usize) -> QueueCommand {
    QueueCommand::List { filter: QueueFilter::default(), limit, after: None }
}
