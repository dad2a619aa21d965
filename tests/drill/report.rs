//! The table, and the JSON.

use crate::kind::Kind;
use rohrpost::mirror::register::Node;
use serde::{Serialize, Serializer};
use std::time::Duration;

/// The longest time between two 250s that a takeover may cost; one round in a hundred may take longer.
const GAP_MAX: Duration = Duration::from_secs(1);

/// What came of a round.
#[derive(Debug, Serialize)]
pub struct Row {
    pub round: usize,
    #[serde(serialize_with = "name")]
    pub kind: Kind,
    /// The identity that was watched; its home box is the active one.
    pub identity: Node,
    pub begun: u64,
    pub acknowledged: usize,
    /// Different messages that arrived.
    pub delivered: usize,
    /// Of those, messages whose client never saw the 250.
    pub delivered_unacknowledged: usize,
    /// Acknowledged messages that wait on one of the boxes.
    pub queued: usize,
    /// Acknowledged messages that are nowhere.
    pub lost: Vec<String>,
    pub altered: usize,
    /// Copies that came beside the first.
    pub duplicated: u32,
    /// Of those, copies of messages that the event log named.
    pub duplicated_named: u32,
    /// Sessions that broke between the dot and the answer.
    pub in_doubt: u64,
    /// Messages whose sessions waited for the answer to their dot until the end of the round, since nothing told them that the
    /// box is gone; and when they sent it, after what happened, milliseconds.
    pub hanging: Vec<(String, i64)>,
    /// Messages that were not with a box at the end.
    pub unfinished: u64,
    pub refused: u64,
    pub broken: u64,
    /// The longest time between two 250s in the quiet before: what the machine itself costs.
    #[serde(rename = "gap_before_ms", serialize_with = "millis")]
    pub gap_before: Duration,
    /// The longest time between two 250s from what happened on, for the watched identity.
    #[serde(rename = "gap_ms", serialize_with = "millis")]
    pub gap: Duration,
    /// When that began, after what happened, milliseconds.
    #[serde(rename = "gap_began_ms")]
    pub gap_began: i64,
    /// The same for the other one, to which fewer messages go.
    #[serde(rename = "gap_beside_ms", serialize_with = "millis")]
    pub gap_beside: Duration,
    /// Until the standby worked for the watched identity, if it came to that.
    #[serde(rename = "takeover_ms", serialize_with = "millis_if_any")]
    pub takeover: Option<Duration>,
    /// From the end of what happened until both copies of both identities counted.
    #[serde(rename = "in_sync_ms", serialize_with = "millis_if_any")]
    pub in_sync: Option<Duration>,
}

impl Row {
    /// The pair did not keep its word.
    pub fn is_failed(&self) -> bool {
        let twice =
            if self.kind.is_without_fault() { self.duplicated } else { self.duplicated - self.duplicated_named };
        // With both boxes off there is nobody who could tell clients anything, or take over.
        let hangs = (!self.hanging.is_empty() || self.unfinished > 0) && !self.kind.spares_no_box();
        let taken = self.takeover.is_some() && self.kind.is_unseen();
        !self.lost.is_empty() || self.altered > 0 || self.in_sync.is_none() || twice > 0 || hangs || taken
    }

    /// Clients waited for longer than a takeover may take.
    fn is_slow(&self) -> bool {
        self.gap > GAP_MAX
    }
}

fn name<S: Serializer>(kind: &Kind, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(kind.name())
}

fn millis<S: Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(time.as_millis() as u64)
}

fn millis_if_any<S: Serializer>(time: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    time.map(|time| time.as_millis() as u64).serialize(serializer)
}

/// With JSON on standard output the table is on standard error.
fn say(text: &str, json: bool) {
    if json { eprintln!("{text}") } else { println!("{text}") }
}

pub fn head(json: bool) {
    say(
        "                   acknow-                        twice,        without 250                 gap,      take-     in sync\n\
         round              ledged  delivered  lost  twice  named  in doubt  hanging  quiet ms       ms    over ms    again ms",
        json,
    );
}

pub fn line(row: &Row, json: bool) {
    let text = format!(
        "{:3} {:16} {:5} {:10} {:5} {:6} {:6} {:9} {:8} {:9} {:8} {:>10} {:>11}{}",
        row.round + 1,
        row.kind.name(),
        row.acknowledged,
        row.delivered,
        row.lost.len(),
        row.duplicated,
        row.duplicated_named,
        row.in_doubt,
        row.hanging.len(),
        row.gap_before.as_millis(),
        row.gap.as_millis(),
        text(row.takeover, "-"),
        text(row.in_sync, "NEVER"),
        if row.is_failed() { "  FAILED" } else { "" }
    );
    say(&text, json);
    if !row.lost.is_empty() {
        say(&format!("    lost: {}", row.lost.join(" ")), json);
    }
    if json {
        println!("{}", serde_json::to_string(row).expect("all keys are text"));
    }
}

fn text(time: Option<Duration>, none: &str) -> String {
    time.map_or_else(|| none.to_owned(), |time| time.as_millis().to_string())
}

/// Rounds in which clients waited for too long, though a box could have taken over.
fn slow_with_a_box(rows: &[Row]) -> usize {
    rows.iter().filter(|row| row.is_slow() && !row.kind.has_no_way_round()).count()
}

/// Whether the pair has kept its word in all rounds.
pub fn is_kept(rows: &[Row]) -> bool {
    !rows.iter().any(Row::is_failed) && slow_with_a_box(rows) <= rows.len().div_ceil(100)
}

/// All rounds together, on standard error when the lines are JSON.
pub fn sums(rows: &[Row], json: bool) {
    let sum = |of: fn(&Row) -> u64| rows.iter().map(of).sum::<u64>();
    let failed = rows.iter().filter(|row| row.is_failed()).count();
    let slow = rows.iter().filter(|row| row.is_slow()).count();
    let slow_with_a_box = slow_with_a_box(rows);
    let lines = [
        format!(
            "{} rounds, {failed} failed: {} begun, {} acknowledged, {} delivered, {} lost, {} twice ({} of them named in doubt)",
            rows.len(),
            sum(|row| row.begun),
            sum(|row| row.acknowledged as u64),
            sum(|row| row.delivered as u64),
            sum(|row| row.lost.len() as u64),
            sum(|row| row.duplicated.into()),
            sum(|row| row.duplicated_named.into()),
        ),
        format!(
            "clients without an answer to their dot: {} whose connection broke, {} that hang; {} messages were delivered all the same; \
             {} sessions hang elsewhere",
            sum(|row| row.in_doubt),
            sum(|row| row.hanging.len() as u64),
            sum(|row| row.delivered_unacknowledged as u64),
            sum(|row| row.unfinished),
        ),
        format!(
            "gap       {}; above 1 s in {slow} rounds, {slow_with_a_box} of them where a box could take over",
            spread(rows.iter().map(|row| row.gap))
        ),
        format!("takeover  {}", spread(rows.iter().filter_map(|row| row.takeover))),
        format!("in sync   {}", spread(rows.iter().filter_map(|row| row.in_sync))),
    ];
    say(&format!("\n{}", lines.join("\n")), json);
}

fn spread(times: impl Iterator<Item = Duration>) -> String {
    let mut times: Vec<u128> = times.map(|time| time.as_millis()).collect();
    times.sort_unstable();
    match times.last() {
        Some(worst) => format!("median {} ms, worst {worst} ms, in {} rounds", times[times.len() / 2], times.len()),
        None => "never".to_owned(),
    }
}
