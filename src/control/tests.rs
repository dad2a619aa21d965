mod endpoint;

use super::status::tests::worker_status;
use super::*;
use crate::cli::{queue::write_queue, status::write_status};
use crate::delivery::{DestinationKey, Limited, Route, Routes, Selector, Treatment};
use crate::env::{WallTime, wait_readable};
use crate::event::Event;
use crate::limits::ADMIN_REQUEST_SIZE_MAX;
use crate::smtp::Priority;
use crate::spool::MessageId;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
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
        let settings = Settings {
            admin,
            http,
            hooks,
            events: None,
            dns: None,
            reports: None,
            orders: OrderBoard::default(),
            pair: None,
            shutdown_max,
            signals: false,
            stop: stop.clone(),
            about,
        };
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
fn status_sums_up_the_workers() {
    let world = Appliance::good(2, 0);
    let report: serde_json::Value = serde_json::from_str(&world.status(true).unwrap()).unwrap();
    assert_eq!(report["version"], 1);
    assert_eq!(report["hostname"], "mx1.example.net");
    assert_eq!(report["flows"]["open"], 6);
    assert_eq!(report["queue"]["size_bytes"], 102_400);
    assert_eq!(report["stages"]["accept"]["count"], 2000);
    let p99 = report["stages"]["accept"]["p99_us"].as_u64().unwrap();
    assert!((980..=1000).contains(&p99), "{p99}");
    assert_eq!(report["workers"].as_array().unwrap().len(), 2);
    assert_eq!(report["workers"][1]["spool"]["state"], "open");
    let text = world.status(false).unwrap();
    assert!(text.starts_with("mx1.example.net runs rohrpost 0.1.0, up "), "{text}");
    assert!(text.contains("\nsessions   4 from clients, 2 to next hops\n"), "{text}");
    assert!(text.contains("log open; 0 segments used, 0 free (io_uring, O_DIRECT)"), "{text}");
    world.stop();
}

#[test]
fn a_long_list_comes_in_pages_and_shows_each_message_once() {
    let world = Appliance::good(2, 1500);
    let list: serde_json::Value = serde_json::from_str(&world.queue(all(usize::MAX), true).unwrap()).unwrap();
    assert_eq!((&list["version"], &list["truncated"]), (&1.into(), &false.into()));
    let ids: Vec<MessageId> = list["entries"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| entry["id"].as_str().unwrap().parse().unwrap())
        .collect();
    let expected: Vec<MessageId> =
        (0..2).flat_map(|worker| (1..=1500).map(move |number| MessageId::new(worker, number))).collect();
    assert!(ids == expected);
    let list: serde_json::Value = serde_json::from_str(&world.queue(all(1600), true).unwrap()).unwrap();
    assert_eq!(list["entries"].as_array().unwrap().len(), 1600);
    assert_eq!(list["truncated"], true);
    world.stop();
}

#[test]
fn an_entry_has_the_names_of_the_design() {
    let world = Appliance::good(1, 1);
    let list: serde_json::Value = serde_json::from_str(&world.queue(all(10), true).unwrap()).unwrap();
    let expected = serde_json::json!({
        "id": "0000000000001",
        "received_at": "2026-11-24T04:19:11.250000Z",
        "sender": "a@example.org",
        "recipients": [{
            "address": "B@Example.net",
            "state": "deferred",
            "destination": "example.net",
            "attempts": 2,
            "next_attempt_at": "2026-11-24T04:20:00.000000Z",
            "last_reply": "451 4.3.0 later\u{7}",
        }],
        "size_bytes": 10_240,
        "priority": -9,
        "state": "deferred",
    });
    assert_eq!(list["entries"][0], expected);
    let text = world.queue(all(10), false).unwrap();
    assert_eq!(
        text,
        "0000000000001  deferred   10.2 kB  2026-11-24 04:19:11  a@example.org  priority -9\n    \
         deferred   B@Example.net via example.net, 2 attempts, next 2026-11-24 04:20:00\n               \
         451 4.3.0 later\\u{7}\n-- 1 message, 10.2 kB\n"
    );
    world.stop();
}

#[test]
fn what_waits_for_a_destination_is_summed_over_workers_and_breaths() {
    let world = Appliance::good(2, 3);
    let command =
        |limit| QueueCommand::Destinations { filter: QueueFilter::default(), limit, name: None, hosts: limit == 10 };
    let summary: serde_json::Value = serde_json::from_str(&world.queue(command(1), true).unwrap()).unwrap();
    let youngest = MessageId::new(1, 3).to_string();
    let expected = serde_json::json!({
        "version": 1,
        "destinations": [{
            "destination": "mx://others.example",
            "messages": 4,
            "size_bytes": 40_960,
            "active": 0,
            "deferred": 4,
            "held": 0,
            "oldest_at": "2026-11-24T04:19:13.250000Z",
            "next_attempt_at": "2026-11-24T04:20:00.000000Z",
            "last_reply": format!("451 4.3.0 {youngest}"),
            "delivery": {
                "busy": 2,
                "idle": 2,
                "opening": 0,
                "ending": 0,
                "window": 5,
                "connections_max": 20,
                "waiting": 1,
                "messages_per_s": 0.5,
                "limited_by": "window",
                "suspended_until": null,
                "last_failure": null,
            },
        }],
        "count": 2,
    });
    assert_eq!(summary["destinations"][0]["messages"], 4);
    let mut summary = summary;
    // Which worker's youngest is told last is a matter of their speed.
    if summary["destinations"][0]["last_reply"] == format!("451 4.3.0 {}", MessageId::new(0, 3)) {
        summary["destinations"][0]["last_reply"] = format!("451 4.3.0 {youngest}").into();
    }
    assert_eq!(summary, expected);
    let text = world.queue(command(10), false).unwrap();
    let lines: Vec<&str> = text.lines().map(|line| line.split_once(' ').map_or(line, |(first, _)| first)).collect();
    assert_eq!(lines, ["destination", "mx://others.example", "", "", "", "mx://first.example", "", "", ""]);
    assert!(text.contains("host mx.example (192.0.2.1:25)  up; connections: 3"), "{text}");
    world.stop();
}

#[test]
fn one_destination_is_told_of_by_its_name_whether_mail_waits_or_not() {
    let ask = |world: &Appliance, name: &str| {
        let (filter, name) = (QueueFilter::default(), Some(name.to_owned()));
        world.queue(QueueCommand::Destinations { filter, limit: 1, name, hosts: true }, true)
    };
    // The fake workers do not look at names, and hold nothing.
    let world = Appliance::good(2, 0);
    let told: serde_json::Value = serde_json::from_str(&ask(&world, "MX://others.example").unwrap()).unwrap();
    let entry = &told["destinations"][0];
    assert_eq!((&entry["messages"], &entry["oldest_at"]), (&0.into(), &serde_json::Value::Null), "{told}");
    assert_eq!((&entry["delivery"]["busy"], &entry["delivery"]["hosts"][0]["state"]), (&2.into(), &"up".into()));
    let error = ask(&world, "mx://nobody.example").unwrap_err().to_string();
    assert_eq!(error, "no mail waits for mx://nobody.example, and none went there lately");
    world.stop();
}

#[test]
fn traffic_has_what_waits_and_what_is_delivered_in_the_order_that_was_asked_for() {
    let traffic = |world: &Appliance, order, limit| {
        let mut told = Vec::new();
        let mut client = Client::connect(&world.socket).unwrap();
        let asked = client.ask(&Request::Traffic { order, limit }, |answer| {
            let Answer::Traffic { destinations, count } = answer else { panic!("{answer:?}") };
            let row = |entry: TrafficEntry| {
                let connections = entry.delivery.map(|report| report.connections());
                (entry.destination, entry.messages, connections)
            };
            told.push((destinations.into_iter().map(row).collect::<Vec<_>>(), count));
            Ok(())
        });
        asked.unwrap();
        told.remove(0)
    };
    let world = Appliance::good(3, 4);
    let first = ("mx://first.example".to_owned(), 3, Some(3));
    let others = ("mx://others.example".to_owned(), 9, Some(4));
    assert_eq!(traffic(&world, TrafficOrder::Messages, 10), (vec![others.clone(), first.clone()], 2));
    assert_eq!(traffic(&world, TrafficOrder::Connections, 1), (vec![others.clone()], 2));
    assert_eq!(traffic(&world, TrafficOrder::Name, 10), (vec![first, others], 2));
    world.stop();
    let world = Appliance::good(2, 0);
    let (told, count) = traffic(&world, TrafficOrder::Rate, 10);
    assert_eq!((told.len(), count), (2, 2), "nothing waits, but goes: {told:?}");
    world.stop();
}

#[test]
fn a_message_is_found_on_whatever_worker_holds_it() {
    let world = Appliance::good(3, 2);
    let id = MessageId::new(2, 2);
    let text = world.queue(QueueCommand::Show { id }, false).unwrap();
    assert!(text.starts_with(&id.to_string()), "{text}");
    let error = world.queue(QueueCommand::Show { id: MessageId::new(9, 9) }, false).unwrap_err();
    assert!(error.to_string().ends_with("is not in the queue"), "{error}");

    let ids = vec![MessageId::new(0, 1), id, MessageId::new(9, 9)];
    let text = world.queue(QueueCommand::Hold { selection: QueueSelection::Ids(ids) }, false).unwrap();
    assert_eq!(text, "2 messages held\n");
    let filter = QueueFilter { domain: Some("EXAMPLE.NET".into()), ..QueueFilter::default() };
    let delete = QueueCommand::Delete { selection: QueueSelection::Filter(filter) };
    assert_eq!(world.queue(delete.clone(), true).unwrap(), "{\"version\":1,\"changed\":4}\n");
    assert_eq!(world.queue(delete, false).unwrap(), "0 messages deleted\n");
    assert_eq!(world.queue(all(10), false).unwrap(), "no messages\n");
    world.stop();
}

#[test]
fn a_filter_takes_what_every_condition_fits() {
    let entry = entry(MessageId::new(0, 1));
    let fits = |change: &dyn Fn(&mut QueueFilter)| {
        let mut filter = QueueFilter::default();
        change(&mut filter);
        let addresses = entry.recipients.iter().map(|recipient| recipient.address.as_str());
        let now = entry.received_at + Duration::from_secs(60);
        filter.matches((&entry.sender, entry.priority), || entry.state, entry.received_at, addresses, now)
    };
    assert!(fits(&|_| {}));
    assert!(fits(&|filter| filter.sender = Some("A@EXAMPLE.org".into())));
    assert!(!fits(&|filter| filter.sender = Some(String::new())));
    assert!(fits(&|filter| filter.recipient = Some("b@example.net".into())));
    assert!(!fits(&|filter| filter.recipient = Some("example.net".into())));
    assert!(!fits(&|filter| filter.domain = Some("ample.net".into())));
    assert!(!fits(&|filter| filter.state = Some(MessageState::Held)));
    assert!(fits(&|filter| filter.priority = Some(Priority::LOWEST)));
    assert!(!fits(&|filter| filter.priority = Some(Priority::NORMAL)));
    assert!(fits(&|filter| filter.older_than_seconds = Some(60)));
    assert!(!fits(&|filter| filter.older_than_seconds = Some(61)));
}

/// Says something that no client of ours would.
fn say(socket: &Path, bytes: &[u8]) -> serde_json::Value {
    let mut stream = UnixStream::connect(socket).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream.write_all(bytes).unwrap();
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).unwrap();
    serde_json::from_str(&line).unwrap()
}

#[test]
fn a_strange_request_gets_an_error_and_harms_nobody() {
    let world = Appliance::good(1, 0);
    for (bytes, words) in [
        (&b"hello\n"[..], "not a request"),
        (b"{}\n", "version"),
        (b"\xff\n", "not a request"),
        (b"{\"version\":2,\"request\":\"teleport\"}\n", "this rohrpost speaks version 1 here, not 2"),
        (b"{\"version\":1,\"request\":\"teleport\"}\n", "teleport"),
        (b"{\"version\":1,\"request\":\"queue\",\"command\":\"delete\"}\n", "selection"),
        (
            b"{\"version\":1,\"request\":\"queue\",\"command\":\"delete\",\"selection\":{\"filter\":{\"sendr\":\"\"}}}\n",
            "sendr",
        ),
    ] {
        let answer = say(&world.socket, bytes);
        assert_eq!(answer["reply"], "error");
        assert!(answer["text"].as_str().unwrap().contains(words), "{answer}");
    }
    // One byte more than allowed, and no line end: an answer comes all the same.
    let answer = say(&world.socket, &vec![b' '; ADMIN_REQUEST_SIZE_MAX + 1]);
    assert!(answer["text"].as_str().unwrap().contains("at most"), "{answer}");
    // Two requests on one connection.
    let mut stream = UnixStream::connect(&world.socket).unwrap();
    stream.write_all(b"hello\n{\"version\":1,\"request\":\"status\"}\n").unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    assert_eq!(text.lines().count(), 2);
    assert!(text.lines().nth(1).unwrap().starts_with("{\"version\":1,\"reply\":\"status\""), "{text}");
    world.stop();
}

#[test]
fn every_request_survives_its_own_text() {
    let selection = || QueueSelection::Ids(vec![MessageId::new(1, 2)]);
    let filter = QueueFilter { state: Some(MessageState::Held), older_than_seconds: Some(5), ..Default::default() };
    for request in [
        Request::Status,
        Request::Queue(QueueCommand::List { filter: filter.clone(), limit: 5, after: Some(MessageId::new(0, 1)) }),
        Request::Queue(QueueCommand::Show { id: MessageId::new(0, 1) }),
        Request::Queue(QueueCommand::Retry { selection: selection() }),
        Request::Queue(QueueCommand::Hold { selection: QueueSelection::Filter(filter) }),
        Request::Queue(QueueCommand::Release { selection: selection() }),
        Request::Queue(QueueCommand::Delete { selection: selection() }),
        Request::Domain { domain: "example.net".into() },
        Request::Orders(OrderCommand::List),
        Request::Orders(OrderCommand::Give {
            selector: Selector::Domain("example.net".into()),
            treatment: Treatment::Reroute { to: "example.com".into() },
            duration_seconds: Some(60),
            reason: "why".into(),
        }),
        Request::Orders(OrderCommand::End { selector: Selector::All }),
    ] {
        let line = serde_json::to_vec(&Versioned::new(&request)).unwrap();
        assert_eq!(super::admin::parse(&line), Ok(request));
    }
}

#[test]
fn a_command_without_a_running_rohrpost_names_the_socket() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("admin.sock");
    let error = write_status(&socket, false, &mut Vec::new()).unwrap_err();
    assert!(matches!(error, ClientError::NotRunning { .. }));
    assert!(error.to_string().contains(&format!("nobody answers on {}", socket.display())), "{error}");
    drop(UnixListener::bind(&socket).unwrap());
    let error = write_queue(&socket, &all(1), false, &mut Vec::new()).unwrap_err();
    assert!(matches!(error, ClientError::NotRunning { .. }), "the file of a dead process is no process");
}

#[test]
fn a_dead_socket_is_replaced_and_a_living_one_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("admin.sock");
    drop(UnixListener::bind(&path).unwrap());
    assert!(path.exists());
    let first = AdminSocket::open(&path).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let error = AdminSocket::open(&path).unwrap_err();
    assert!(matches!(error, AdminError::Running { .. }), "{error}");
    assert!(path.exists(), "the living one keeps its file");
    drop(first);
    assert!(!path.exists());
    std::fs::write(&path, "a file").unwrap();
    assert!(matches!(AdminSocket::open(&path).unwrap_err(), AdminError::Occupied { .. }));
}

#[test]
fn a_process_removes_no_socket_but_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("admin.sock");
    let first = AdminSocket::open(&path).unwrap();
    std::fs::rename(&path, folder.path().join("moved")).unwrap();
    let _second = AdminSocket::open(&path).unwrap();
    drop(first);
    assert!(path.exists());
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
    let hooks = Hooks::default();
    let settings = Settings {
        admin,
        http: None,
        hooks,
        events: None,
        dns: None,
        reports: None,
        orders: OrderBoard::default(),
        pair: None,
        shutdown_max,
        signals: true,
        stop,
        about: About::default(),
    };
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
        .args(["--ignored", "--exact", "--nocapture", "control::tests::the_process_that_is_signalled"])
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

#[test]
fn a_worker_drops_events_instead_of_waiting_and_counts_them() {
    let (sender, receiver) = crossbeam::channel::bounded(2);
    let wakeup = crate::env::Wakeup::new().unwrap();
    let mut reporter = Reporter::new(0, sender, wakeup);
    for _ in 0..5 {
        reporter.event(Event::QueueFull { log: 0, reason: String::new() });
    }
    assert_eq!(reporter.events_lost(), 3);
    assert_eq!(receiver.len(), 2);
}

#[test]
fn a_log_that_nobody_reads_holds_up_nothing() {
    /// A terminal on hold.
    struct Held(crossbeam::channel::Receiver<()>);
    impl Write for Held {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            let _ = self.0.recv();
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let (release, held) = crossbeam::channel::bounded::<()>(0);
    let mut log = super::log::Log::start(Box::new(Held(held)), None).unwrap();
    let now = WallTime::default();
    for _ in 0..2 * crate::limits::LOG_BLOCKS_MAX {
        log.event(&Event::QueueFull { log: 0, reason: String::new() }, now);
        log.event(&Event::QueueSpace { log: 0 }, now);
        log.flush();
    }
    assert!(log.lost() > 0);
    drop(release);
    log.close();
}
