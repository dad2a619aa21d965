//! What came of a run: counts, latencies, and how they are shown.
//!
//! In: what sessions report, one at a time. Out: a JSON object, and a table for people. Histograms have three significant
//! digits from a microsecond to an hour.

use super::failure::Failure;
use crate::env::Instant;
use hdrhistogram::Histogram;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

/// Latencies, nanoseconds.
#[derive(Clone, Debug)]
pub struct Latencies(Histogram<u64>);

impl Default for Latencies {
    fn default() -> Latencies {
        Latencies(Histogram::new_with_bounds(1000, 3_600_000_000_000, 3).expect("the bounds are valid"))
    }
}

impl Latencies {
    pub(super) fn record(&mut self, duration: Duration) {
        self.0.saturating_record(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX));
    }

    /// The latency that so many percent do not exceed.
    pub fn percentile(&self, percentile: f64) -> Duration {
        Duration::from_nanos(self.0.value_at_percentile(percentile))
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        self.0.len()
    }

    /// The longest.
    pub fn max(&self) -> Duration {
        Duration::from_nanos(self.0.max())
    }

    fn summary(&self) -> Summary {
        let micros = |nanos: u64| nanos as f64 / 1000.0;
        let at = |percentile| micros(self.0.value_at_percentile(percentile));
        Summary {
            count: self.0.len(),
            mean: (self.0.mean() / 100.0).round() / 10.0,
            p50: at(50.0),
            p90: at(90.0),
            p99: at(99.0),
            p999: at(99.9),
            max: micros(self.0.max()),
        }
    }
}

/// Everything that is counted of a class, or of all.
#[derive(Clone, Debug, Default)]
pub struct Figures {
    /// Nothing that began before is counted.
    pub(super) from: Instant,
    /// When the last message was answered.
    pub(super) last_at: Instant,
    /// Messages answered with 250.
    pub accepted: u64,
    /// Bytes of those, headers included, dots and commands not.
    pub bytes: u64,
    /// Messages that were begun, or meant to be, and not accepted.
    pub failed: u64,
    /// Messages that were due in time, and that no session was free for until the end.
    pub unsent: u64,
    /// Connections that were opened.
    pub sessions: u64,
    /// Sessions at the same time, at most.
    pub sessions_max: u64,
    /// From the SYN to the connection.
    pub connect: Latencies,
    /// From the SYN to the greeting.
    pub greeting: Latencies,
    /// From MAIL to the answer to the last RCPT.
    pub envelope: Latencies,
    /// From the last byte of content to its 250.
    pub accept: Latencies,
    /// From the moment that a message was meant for (open loop) or begun (closed loop) to its 250.
    pub message: Latencies,
    /// What went wrong, and how often.
    pub failures: BTreeMap<Failure, u64>,
}

impl Figures {
    pub(super) fn new(from: Instant) -> Figures {
        Figures { from, last_at: from, ..Figures::default() }
    }

    pub(super) fn fail(&mut self, failure: Failure) {
        *self.failures.entry(failure).or_default() += 1;
    }

    /// How long the messages took together.
    pub fn seconds(&self) -> f64 {
        self.last_at.since(self.from).as_secs_f64()
    }

    fn per_second(&self, count: u64) -> f64 {
        let seconds = self.seconds();
        if seconds > 0.0 { (count as f64 / seconds * 10.0).round() / 10.0 } else { 0.0 }
    }

    /// Messages accepted a second.
    pub fn rate(&self) -> f64 {
        self.per_second(self.accepted)
    }

    /// Adds those of another class or worker, which ran at the same time.
    pub fn add(&mut self, other: &Figures) {
        self.from = self.from.min(other.from);
        self.last_at = self.last_at.max(other.last_at);
        self.accepted += other.accepted;
        self.bytes += other.bytes;
        self.failed += other.failed;
        self.unsent += other.unsent;
        self.sessions += other.sessions;
        self.sessions_max += other.sessions_max;
        let both = [
            (&mut self.connect, &other.connect),
            (&mut self.greeting, &other.greeting),
            (&mut self.envelope, &other.envelope),
            (&mut self.accept, &other.accept),
            (&mut self.message, &other.message),
        ];
        for (own, others) in both {
            own.0.add(&others.0).expect("all have the same bounds");
        }
        for (failure, count) in &other.failures {
            *self.failures.entry(*failure).or_default() += count;
        }
    }

    fn latencies(&self) -> [(&'static str, &Latencies); 5] {
        [
            ("connect", &self.connect),
            ("greeting", &self.greeting),
            ("envelope", &self.envelope),
            ("accept", &self.accept),
            ("message", &self.message),
        ]
    }

    fn part(&self) -> Part {
        Part {
            seconds: (self.seconds() * 1000.0).round() / 1000.0,
            accepted: self.accepted,
            failed: self.failed,
            unsent: self.unsent,
            messages_per_s: self.rate(),
            bytes_per_s: self.per_second(self.bytes),
            sessions: self.sessions,
            sessions_max: self.sessions_max,
            latency_us: self.latencies().map(|(name, latencies)| (name, latencies.summary())).into(),
            errors: self.failures.iter().map(|(failure, count)| (failure.to_string(), *count)).collect(),
        }
    }
}

/// What a run was.
#[derive(Clone, Debug, Serialize)]
pub struct About {
    /// The server.
    pub target: String,
    /// How frames or bytes came and went.
    pub transport: String,
    /// When messages were sent.
    pub pace: String,
    /// Decided everything that was left to chance.
    pub seed: u64,
    /// SYNs that a flood sent beside it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub flood_syns: Option<u64>,
}

/// The JSON object.
#[derive(Debug, Serialize)]
struct Report<'a> {
    version: u32,
    kind: &'static str,
    #[serde(flatten)]
    about: &'a About,
    #[serde(flatten)]
    all: Part,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    classes: BTreeMap<&'a str, Part>,
}

#[derive(Debug, Serialize)]
struct Part {
    seconds: f64,
    accepted: u64,
    failed: u64,
    unsent: u64,
    messages_per_s: f64,
    bytes_per_s: f64,
    sessions: u64,
    sessions_max: u64,
    latency_us: BTreeMap<&'static str, Summary>,
    errors: BTreeMap<String, u64>,
}

/// Microseconds, but for the count.
#[derive(Debug, Serialize)]
struct Summary {
    count: u64,
    mean: f64,
    p50: f64,
    p90: f64,
    p99: f64,
    p999: f64,
    max: f64,
}

/// What came of all classes together.
pub fn sum(classes: &[(String, Figures)]) -> Figures {
    let mut all = classes.first().map(|(_, figures)| figures.clone()).unwrap_or_default();
    for (_, figures) in classes.iter().skip(1) {
        all.add(figures);
    }
    all
}

/// One JSON object, in one line.
pub fn json(about: &About, classes: &[(String, Figures)]) -> String {
    let each = if classes.len() > 1 { classes } else { &[] };
    let report = Report {
        version: 1,
        kind: "load",
        about,
        all: sum(classes).part(),
        classes: each.iter().map(|(name, figures)| (name.as_str(), figures.part())).collect(),
    };
    serde_json::to_string(&report).expect("all keys are text")
}

/// The same for people.
pub fn table(about: &About, classes: &[(String, Figures)]) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = writeln!(text, "{} over {}; {}; seed {}", about.target, about.transport, about.pace, about.seed);
    if let Some(count) = about.flood_syns {
        let _ = writeln!(text, "{count} SYNs from forged addresses were sent beside it");
    }
    write_figures(&mut text, &sum(classes));
    if classes.len() > 1 {
        for (name, figures) in classes {
            let _ = writeln!(text, "\n{name}");
            write_figures(&mut text, figures);
        }
    }
    text
}

fn write_figures(text: &mut String, figures: &Figures) {
    let part = figures.part();
    let _ = writeln!(
        text,
        "{} messages accepted, {} failed, {} never sent, in {:.1} s: {:.0} messages/s, {:.1} MB/s",
        part.accepted,
        part.failed,
        part.unsent,
        part.seconds,
        part.messages_per_s,
        part.bytes_per_s / 1e6
    );
    let _ = writeln!(text, "{} sessions, at most {} at a time", part.sessions, part.sessions_max);
    let _ = writeln!(
        text,
        "{:<10} {:>10} {:>10} {:>10} {:>10} {:>10} {:>10}",
        "ms", "count", "p50", "p90", "p99", "p99.9", "max"
    );
    for (name, latencies) in figures.latencies() {
        let Summary { count, p50, p90, p99, p999, max, .. } = latencies.summary();
        let _ = write!(text, "{name:<10} {count:>10}");
        for micros in [p50, p90, p99, p999, max] {
            let _ = if count > 0 { write!(text, " {:>10.3}", micros / 1000.0) } else { write!(text, " {:>10}", "-") };
        }
        text.push('\n');
    }
    for (failure, count) in &part.errors {
        let _ = writeln!(text, "{count:>10} times: {failure}");
    }
}
