//! What `status` shows: each worker's part, and the sum.

use super::alert::AlertCounts;
use super::health::HealthReport;
use super::pair::PairStatus;
use super::protocol::PROTOCOL_VERSION;
use crate::env::WallTime;
use crate::event::rfc3339;
use crate::flow::TransportCounters;
use crate::limits::DAMAGES_MAX;
use crate::port::Link;
use crate::spool::Damages;
use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};
use std::ops::AddAssign;
use std::time::Duration;

/// What a worker tells about itself.
#[derive(Clone, Debug)]
pub struct WorkerStatus {
    /// The worker's number.
    pub worker: u16,
    /// Its flows.
    pub transport: TransportCounters,
    /// Its sessions now.
    pub sessions: SessionCounts,
    /// What became of messages since the start.
    pub messages: MessageCounts,
    /// What is in its queue now.
    pub queue: QueueCounts,
    /// Its log.
    pub spool: SpoolReport,
    /// How long things took.
    pub stages: Stages,
    /// Events that found a full channel: [`super::Reporter::events_lost`].
    pub events_lost: u64,
}

/// Sessions open now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionCounts {
    /// With clients.
    pub server: u64,
    /// With next hops.
    pub client: u64,
}

/// What became of messages and recipients since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MessageCounts {
    /// Messages acknowledged with 250.
    pub accepted: u64,
    /// Commands and messages refused with 4xx or 5xx by policy, size or space.
    pub refused: u64,
    /// Recipients delivered.
    pub delivered: u64,
    /// Attempts deferred.
    pub deferred: u64,
    /// Recipients failed for good or expired.
    pub bounced: u64,
    /// Of those, recipients of messages without a sender, bounces above all: nobody is told (RFC 5321 §6.1).
    #[serde(default)]
    pub double_bounced: u64,
    /// Recipients that may be delivered to twice, as whoever led the log before did not say whether it had.
    pub in_doubt: u64,
}

/// What is in a queue now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueCounts {
    /// Messages.
    pub messages: u64,
    /// Messages of the partner's queue of which the copy is here. They are in no other number but `memory_bytes`.
    #[serde(default)]
    pub copies: u64,
    /// Their sizes, bytes.
    pub size_bytes: u64,
    /// What is kept of them in memory, bytes.
    pub memory_bytes: u64,
    /// Deliveries that wait for their time.
    pub scheduled: u64,
    /// Deliveries under way.
    pub active: u64,
    /// Messages held back by an operator.
    pub held: u64,
    /// Messages whose content is damaged: they wait for an operator.
    pub damaged: u64,
}

/// Whether a log accepts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogState {
    /// It does.
    #[default]
    Open,
    /// No space: clients get 452.
    Full,
    /// The disk failed: clients get 451, and nothing is delivered.
    Failed,
}

/// A worker's log.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpoolReport {
    /// How it is written ("io_uring, O_DIRECT").
    pub disk: String,
    /// Whether it accepts.
    pub state: LogState,
    /// What failed, or what there is too little of, if something is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Segments that hold something.
    pub segments_used: u64,
    /// Segments that are ready to be written.
    pub segments_free: u64,
    /// Batches made durable since the start.
    pub batches: u64,
    /// Their size, bytes.
    pub batch_bytes: u64,
    /// What was found not to be as it was written.
    pub damage: DamageReport,
}

/// Damage in a worker's logs, found since the start.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DamageReport {
    /// Places.
    pub count: u64,
    /// Bytes.
    pub bytes: u64,
    /// Records lost, at least; whole missing batches are not counted.
    pub records: u64,
    /// The first places, in words.
    pub places: Vec<String>,
}

impl DamageReport {
    /// Adds what a log tells.
    pub fn add(&mut self, damages: &Damages) {
        self.count += damages.count;
        self.bytes += damages.bytes;
        self.records += damages.records;
        let room = DAMAGES_MAX.saturating_sub(self.places.len());
        self.places.extend(damages.list.iter().take(room).map(ToString::to_string));
    }
}

/// How long things took, nanoseconds.
#[derive(Clone, Debug)]
pub struct Stages {
    /// From the last byte of content to the 250.
    pub accept: Histogram<u64>,
    /// A batch, from its submission until it was durable.
    pub commit: Histogram<u64>,
    /// From acceptance to the next hop's 250.
    pub delivery: Histogram<u64>,
}

/// What takes longer counts as this long: a delivery may wait for days, and a histogram's size grows with its range.
const STAGE_NANOS_MAX: u64 = 3_600_000_000_000;
/// Nothing of interest is shorter.
const STAGE_NANOS_MIN: u64 = 1000;
/// Two significant digits keep a histogram at some tens of kilobytes.
const STAGE_DIGITS: u8 = 2;

impl Stages {
    /// With nothing recorded.
    pub fn new() -> Stages {
        let empty = Histogram::new_with_bounds(STAGE_NANOS_MIN, STAGE_NANOS_MAX, STAGE_DIGITS)
            .expect("the constants are in the order that the histogram wants");
        Stages { accept: empty.clone(), commit: empty.clone(), delivery: empty }
    }

    /// Adds what another has recorded, whatever its bounds.
    pub fn merge(&mut self, other: &Stages) {
        for (sum, part) in [
            (&mut self.accept, &other.accept),
            (&mut self.commit, &other.commit),
            (&mut self.delivery, &other.delivery),
        ] {
            sum.auto(true);
            // It fails only where a histogram cannot grow, and then these few values are missing from a summary.
            let _ = sum.add(part);
        }
    }

    /// For `status`.
    pub fn report(&self) -> StageReport {
        StageReport {
            accept: Latency::of(&self.accept),
            commit: Latency::of(&self.commit),
            delivery: Latency::of(&self.delivery),
        }
    }
}

impl Default for Stages {
    fn default() -> Stages {
        Stages::new()
    }
}

/// A histogram in a few numbers, microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Latency {
    /// How many were measured.
    pub count: u64,
    /// Half took no longer.
    pub p50_us: u64,
    /// 99 of 100 took no longer.
    pub p99_us: u64,
    /// 999 of 1000 took no longer.
    pub p999_us: u64,
    /// The longest.
    pub max_us: u64,
}

impl Latency {
    fn of(histogram: &Histogram<u64>) -> Latency {
        let micros = |quantile| histogram.value_at_quantile(quantile).div_ceil(1000);
        Latency {
            count: histogram.len(),
            p50_us: micros(0.5),
            p99_us: micros(0.99),
            p999_us: micros(0.999),
            max_us: histogram.max().div_ceil(1000),
        }
    }
}

/// [`Stages`] for `status`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StageReport {
    /// From the last byte of content to the 250.
    pub accept: Latency,
    /// A batch, from its submission until it was durable.
    pub commit: Latency,
    /// From acceptance to the next hop's 250.
    pub delivery: Latency,
}

/// What is known without asking a worker.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct About {
    /// The program's version.
    pub release: String,
    /// The box's name.
    pub hostname: String,
    /// The transport of the configuration.
    pub transport: String,
    /// What it stands on: devices, queues, modes, or the listeners.
    pub transport_detail: String,
    /// The link of its device, where the port knows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link: Option<Link>,
    /// When the process started.
    #[serde(with = "rfc3339")]
    pub started_at: WallTime,
}

/// The control thread's own part of a [`StatusReport`].
#[derive(Clone, Debug)]
pub struct Process {
    /// What does not change, and the link.
    pub about: About,
    /// It has been asked to stop.
    pub stopping: bool,
    /// Whether it takes new mail.
    pub health: HealthReport,
    /// What became of alerts.
    pub alerts: AlertCounts,
    /// How the pair stands, on a box with a partner.
    pub pair: Option<PairStatus>,
    /// Standing orders.
    pub orders: u64,
    /// Lines that the log itself has dropped.
    pub log_lines_lost: u64,
}

/// What the box is doing: the object that `status --json` prints.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StatusReport {
    /// [`PROTOCOL_VERSION`].
    pub version: u32,
    /// What the process itself knows.
    #[serde(flatten)]
    pub about: About,
    /// Since the start.
    pub uptime_seconds: u64,
    /// The process has been asked to stop.
    pub stopping: bool,
    /// Whether it takes new mail, and if not why.
    pub health: HealthReport,
    /// What became of alerts since the start.
    pub alerts: AlertCounts,
    /// How the pair stands, on a box with a partner.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pair: Option<PairStatus>,
    /// Standing orders of the operator.
    #[serde(default)]
    pub orders: u64,
    /// All flows.
    pub flows: TransportCounters,
    /// All sessions.
    pub sessions: SessionCounts,
    /// What became of messages.
    pub messages: MessageCounts,
    /// The whole queue.
    pub queue: QueueCounts,
    /// Damaged places in all logs: anything but 0 wants an operator.
    pub damages: u64,
    /// How long things took.
    pub stages: StageReport,
    /// Log lines dropped because a reader was too slow.
    pub events_lost: u64,
    /// The workers that answered.
    pub workers: Vec<WorkerReport>,
    /// Those that did not.
    pub workers_silent: Vec<u16>,
}

/// A worker's part.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WorkerReport {
    /// The worker's number.
    pub worker: u16,
    /// Its flows.
    pub flows: TransportCounters,
    /// Its sessions.
    pub sessions: SessionCounts,
    /// What became of messages.
    pub messages: MessageCounts,
    /// Its queue.
    pub queue: QueueCounts,
    /// Its log.
    pub spool: SpoolReport,
    /// How long things took.
    pub stages: StageReport,
}

impl StatusReport {
    /// What the process knows, and the sum of what the workers told.
    pub fn new(
        process: Process,
        now: WallTime,
        mut workers: Vec<WorkerStatus>,
        workers_silent: Vec<u16>,
    ) -> StatusReport {
        let Process { about, stopping, health, alerts, pair, orders, log_lines_lost } = process;
        workers.sort_by_key(|worker| worker.worker);
        let mut stages = Stages::new();
        let mut report = StatusReport {
            version: PROTOCOL_VERSION,
            uptime_seconds: now.since(about.started_at).as_secs(),
            about,
            stopping,
            health,
            alerts,
            pair,
            orders,
            flows: TransportCounters::default(),
            sessions: SessionCounts::default(),
            messages: MessageCounts::default(),
            queue: QueueCounts::default(),
            damages: 0,
            stages: StageReport::default(),
            events_lost: log_lines_lost,
            workers: Vec::with_capacity(workers.len()),
            workers_silent,
        };
        for worker in workers {
            stages.merge(&worker.stages);
            report.flows += worker.transport;
            report.sessions += worker.sessions;
            report.messages += worker.messages;
            report.queue += worker.queue;
            report.damages += worker.spool.damage.count;
            report.events_lost += worker.events_lost;
            report.workers.push(WorkerReport {
                worker: worker.worker,
                flows: worker.transport,
                sessions: worker.sessions,
                messages: worker.messages,
                queue: worker.queue,
                spool: worker.spool,
                stages: worker.stages.report(),
            });
        }
        report.stages = stages.report();
        report
    }

    /// How long the process has been running.
    pub fn uptime(&self) -> Duration {
        Duration::from_secs(self.uptime_seconds)
    }
}

// Each sum takes its parts by name, so that a new count cannot be forgotten here.

impl AddAssign for SessionCounts {
    fn add_assign(&mut self, SessionCounts { server, client }: SessionCounts) {
        self.server += server;
        self.client += client;
    }
}

impl AddAssign for MessageCounts {
    fn add_assign(&mut self, part: MessageCounts) {
        let MessageCounts { accepted, refused, delivered, deferred, bounced, double_bounced, in_doubt } = part;
        self.accepted += accepted;
        self.refused += refused;
        self.delivered += delivered;
        self.deferred += deferred;
        self.bounced += bounced;
        self.double_bounced += double_bounced;
        self.in_doubt += in_doubt;
    }
}

impl AddAssign for QueueCounts {
    fn add_assign(&mut self, part: QueueCounts) {
        let QueueCounts { messages, copies, size_bytes, memory_bytes, scheduled, active, held, damaged } = part;
        self.messages += messages;
        self.copies += copies;
        self.size_bytes += size_bytes;
        self.memory_bytes += memory_bytes;
        self.scheduled += scheduled;
        self.active += active;
        self.held += held;
        self.damaged += damaged;
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// What a worker might tell.
    pub(in crate::control) fn worker_status(worker: u16) -> WorkerStatus {
        let mut stages = Stages::new();
        for nanos in 1..=1000 {
            stages.accept.saturating_record(nanos * 1000);
        }
        WorkerStatus {
            worker,
            transport: TransportCounters { open: 3, accepted: 10, ..Default::default() },
            sessions: SessionCounts { server: 2, client: 1 },
            messages: MessageCounts { accepted: 7, ..Default::default() },
            queue: QueueCounts { messages: 5, size_bytes: 51_200, ..Default::default() },
            spool: SpoolReport { disk: "io_uring, O_DIRECT".into(), ..Default::default() },
            stages,
            events_lost: 0,
        }
    }

    /// What a box with two workers might tell.
    pub(crate) fn status_report() -> StatusReport {
        let health = crate::control::Health::new(2, None, WallTime::default()).report();
        let process = Process {
            about: About { hostname: "mx1.example.net".into(), ..About::default() },
            stopping: false,
            health,
            alerts: AlertCounts::default(),
            pair: None,
            orders: 0,
            log_lines_lost: 0,
        };
        StatusReport::new(process, WallTime::default(), vec![worker_status(0), worker_status(1)], Vec::new())
    }

    #[test]
    fn histograms_of_other_bounds_are_summed_up_too() {
        let mut stages = Stages::new();
        let mut wide = Stages::new();
        wide.commit = Histogram::new_with_bounds(1, u64::MAX / 4, 3).unwrap();
        wide.commit.record(100_000_000_000_000).unwrap();
        stages.commit.record(5000).unwrap();
        stages.merge(&wide);
        let report = stages.report();
        assert_eq!(report.commit.count, 2);
        assert_eq!(report.commit.p50_us, 6);
        assert!(report.commit.max_us >= 100_000_000_000);
        assert_eq!(report.accept, Latency::default());
    }
}
