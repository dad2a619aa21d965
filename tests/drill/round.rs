//! A round: clients send, something happens, and it is counted what became of each message.

use crate::appliance::pair::{Links, NODES, PATIENCE, Pair, host, server, spool};
use crate::appliance::stream::{Stream, Sums};
use crate::disk;
use crate::kind::Kind;
use crate::report::{self, Row};
use jiff::Timestamp;
use rohrpost::mirror::register::Node;
use rohrpost::smtp::client::Reason;
use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::process::ExitCode;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Sessions that begin in a second for the identity that is watched, and for the other one.
const PER_SECOND: u32 = 100;
const PER_SECOND_BESIDE: u32 = 20;
/// Quiet before and behind what happens.
const BEFORE: Duration = Duration::from_secs(2);
const BEHIND: Duration = Duration::from_secs(1);
/// How long sessions are waited for at the end: what has no answer then has lost its server.
const SETTLE: Duration = Duration::from_secs(3);

/// Runs so many rounds, of these kinds in turn. The watched identity changes with each turn. The logs of rounds that failed
/// are kept, or of all.
pub fn drill(rounds: usize, kinds: &[Kind], json: bool, logs: bool) -> ExitCode {
    let mut rows = Vec::new();
    let mut pair = None;
    report::head(json);
    for number in 0..rounds {
        let mut ours = match pair.take().or_else(up) {
            Some(ours) => ours,
            None => return ExitCode::FAILURE,
        };
        let kind = kinds[number % kinds.len()];
        let watched = NODES[number / kinds.len() % 2];
        let row = round(&mut ours, number, kind, watched);
        report::line(&row, json);
        let home = row.in_sync.is_some() && go_home(&ours);
        if !home || row.is_failed() || logs {
            keep_logs(&ours, number);
        }
        // A pair that did not come back has failed its round, and not those behind it.
        if home {
            pair = Some(ours);
        } else {
            down(ours);
        }
        rows.push(row);
    }
    if let Some(pair) = pair {
        down(pair);
    }
    report::sums(&rows, json);
    if report::is_kept(&rows) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// A pair on disks of its own.
fn up() -> Option<Pair> {
    let pair = Pair::up_on(Links::OwnPort, disk::mount)?;
    pair.create();
    Some(pair)
}

fn down(pair: Pair) {
    let Pair { boxes, receiver, lab, .. } = pair;
    drop((boxes, receiver));
    NODES.iter().for_each(|node| disk::unmount(&spool(&lab, *node)));
}

fn round(pair: &mut Pair, number: usize, kind: Kind, watched: Node) -> Row {
    let lines_before = NODES.map(|node| pair.of(node).log_length());
    let start = |identity: Node, rate| {
        let name = format!("r{number}{}", host(identity));
        Stream::start(&pair.lab.namespace("client"), &name, server(identity), rate)
    };
    let (stream, beside) = (start(watched, PER_SECOND), start(watched.partner(), PER_SECOND_BESIDE));
    sleep(BEFORE);
    let (fault, fault_time) = (Instant::now(), Timestamp::now());
    // Each round begins with both at home.
    let active = watched;
    let healed = kind.happen(pair, active, watched);
    let in_sync = until(PATIENCE, || pair.is_mirrored()).then(|| healed.elapsed());
    sleep(BEHIND);
    let sums = stream.finish(SETTLE);
    let besides = beside.finish(SETTLE);
    // A queue on its way from one box to the other is shown by neither.
    let is_settled = || NODES.iter().all(|identity| pair.owner(*identity).is_some());
    until(PATIENCE, || is_settled() && NODES.iter().all(|node| is_empty(pair, *node)) && is_settled());

    let events = |name: &str| -> Vec<serde_json::Value> {
        NODES.iter().flat_map(|node| pair.of(*node).events_from(lines_before[*node as usize], name)).collect()
    };
    let takeover = pair.of(active.partner()).events_from(lines_before[active.partner() as usize], "pair_stage");
    let takeover = takeover.iter().filter(|event| event["stage"] == "leading" && event["identity"] == host(watched));
    let takeover = takeover.filter_map(|event| since(event, fault_time)).min();
    // By whoever takes over; or by the box that sent it and heard no answer, if that was written on both before.
    let unanswered = Reason::UnknownOutcome.to_string();
    let deferred = events("deferred").into_iter().filter(|event| event["reply"] == unanswered.as_str());
    let doubts: Vec<_> = events("delivery_in_doubt").into_iter().chain(deferred).collect();
    let named = in_doubt(&doubts, &events("delivered"));
    let mut arrived = pair.receiver.arrived.lock().expect("the counts");
    let altered = std::mem::take(&mut arrived.altered).len();
    let arrived = std::mem::take(&mut arrived.count);
    let acknowledged: HashSet<&String> = sums.acknowledged.union(&besides.acknowledged).collect();
    let missing: Vec<&String> = acknowledged.iter().copied().filter(|id| !arrived.contains_key(*id)).collect();
    let queued = if missing.is_empty() { HashSet::new() } else { queued(pair) };
    let lost: Vec<String> = missing.into_iter().filter(|id| !queued.contains(*id)).cloned().collect();
    let copies = |(id, count): (&String, &u32)| (count - 1, (count - 1) * u32::from(named.contains(id)));
    let (duplicated, duplicated_named) =
        arrived.iter().map(copies).fold((0, 0), |sum, copies| (sum.0 + copies.0, sum.1 + copies.1));
    let (gap_began, gap) = sums.gap_from(fault);
    let hanging = sums.hanging.iter().chain(&besides.hanging);
    let both = |of: fn(&Sums) -> u64| of(&sums) + of(&besides);
    Row {
        round: number,
        kind,
        identity: watched,
        begun: both(|sums| sums.begun as u64),
        acknowledged: acknowledged.len(),
        delivered: arrived.len(),
        delivered_unacknowledged: arrived.keys().filter(|id| !acknowledged.contains(id)).count(),
        queued: queued.len(),
        lost,
        altered,
        duplicated,
        duplicated_named,
        in_doubt: both(|sums| sums.in_doubt as u64),
        hanging: hanging.map(|(id, since)| (id.clone(), millis(*since, fault))).collect(),
        unfinished: both(|sums| sums.unfinished as u64),
        refused: both(|sums| sums.refused),
        broken: both(|sums| sums.broken),
        gap_before: sums.gap_until(fault),
        gap,
        gap_began: millis(gap_began, fault),
        gap_beside: besides.gap_from(fault).1,
        takeover,
        in_sync,
    }
}

/// Gives each identity back to its home box.
fn go_home(pair: &Pair) -> bool {
    for identity in NODES {
        if pair.owner(identity) == Some(identity.partner())
            && let Err(said) = pair.of(identity.partner()).try_rohrpost(&["pair", "move", host(identity)])
        {
            eprintln!("drill: box {} did not give identity {identity} back: {said}", identity.partner());
            return false;
        }
    }
    until(PATIENCE, || pair.is_mirrored() && NODES.iter().all(|identity| pair.owner(*identity) == Some(*identity)))
}

/// Ids of messages that still wait on either box.
fn queued(pair: &Pair) -> HashSet<String> {
    let mut ids = HashSet::new();
    for node in NODES {
        let Ok(text) = pair.of(node).try_rohrpost(&["queue", "list", "--limit", "1000000", "--json"]) else { continue };
        let list: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        for entry in list["entries"].as_array().expect("entries") {
            let recipients = entry["recipients"].as_array().expect("recipients");
            ids.extend(recipients.iter().filter_map(|recipient| local_part(&recipient["address"])));
        }
    }
    ids
}

fn is_empty(pair: &Pair, node: Node) -> bool {
    let status = pair.of(node).try_rohrpost(&["status", "--json"]);
    let status = status.ok().and_then(|text| serde_json::from_str::<serde_json::Value>(&text).ok());
    status.is_some_and(|status| status["queue"]["messages"] == 0)
}

/// Ids of the messages of which the event log says that their delivery is in doubt: by its recipient, or by the queue id for
/// which a delivery names one.
fn in_doubt(doubts: &[serde_json::Value], deliveries: &[serde_json::Value]) -> HashSet<String> {
    let by_queue_id: HashMap<String, String> = deliveries
        .iter()
        .filter_map(|event| Some((event["id"].as_str()?.to_owned(), local_part(&event["recipient"])?)))
        .collect();
    let id = |event: &serde_json::Value| {
        local_part(&event["recipient"]).or_else(|| by_queue_id.get(event["id"].as_str()?).cloned())
    };
    doubts.iter().filter_map(id).collect()
}

fn local_part(address: &serde_json::Value) -> Option<String> {
    address.as_str()?.split_once('@').map(|(local, _)| local.to_owned())
}

/// How long after a moment an event was, if it was after it.
fn since(event: &serde_json::Value, moment: Timestamp) -> Option<Duration> {
    let time: Timestamp = event["time"].as_str()?.parse().ok()?;
    time.duration_since(moment).try_into().ok()
}

/// How long after another one a moment is, milliseconds; before it, if below zero.
fn millis(moment: Instant, from: Instant) -> i64 {
    let (after, before) = (moment.saturating_duration_since(from), from.saturating_duration_since(moment));
    after.as_millis() as i64 - before.as_millis() as i64
}

/// Waits for a condition, at most so long; whether it came.
fn until(limit: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + limit;
    loop {
        if condition() {
            return true;
        }
        if Instant::now() >= deadline {
            return false;
        }
        sleep(Duration::from_millis(20));
    }
}

/// What both boxes had to say, for whoever looks into it.
fn keep_logs(pair: &Pair, number: usize) {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("drill-{}", std::process::id()));
    for node in NODES {
        let path = directory.join(format!("round-{number}-{}.log", host(node)));
        let kept = std::fs::create_dir_all(&directory).and_then(|()| std::fs::write(&path, pair.of(node).log_text()));
        match kept {
            Ok(()) => eprintln!("drill: the log of box {node} is kept in {}", path.display()),
            Err(error) => eprintln!("drill: the log of box {node} could not be kept: {error}"),
        }
    }
}
