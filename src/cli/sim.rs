//! `rohrpost sim`: worlds in which everything goes wrong, as many as wanted.
//!
//! In: seeds, or a time. Out: a progress line, the sums, and for each broken invariant its seed and its story. Exit code 0
//! if every promise was kept in every world, else 1.

use super::SimArgs;
use super::text::print;
use crate::env::say;
use crate::mirror::arbiter::{Cause, Stage};
use crate::sim::{self, EVERYTHING_IS_MET_AFTER, Kind, Outcome, Sums, Worlds};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::Range;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// Lines of a failed world's story that are shown.
const STORY_LINES_MAX: usize = 60;

/// Failures that are told in full; more are counted.
const FAILURES_TOLD_MAX: usize = 5;

/// Everything about all worlds of a run.
#[derive(Debug, Default, Serialize)]
struct Total {
    seeds: u64,
    /// Of the worlds that failed.
    failed: Vec<u64>,
    simulated_seconds: f64,
    seconds: f64,
    jobs: usize,
    times_real_time: f64,
    seeds_per_core_hour: f64,
    sums: Sums,
    injected: BTreeMap<&'static str, u64>,
    digest: u32,
    /// In which stages an arbiter of a pair met what.
    #[serde(skip)]
    met: BTreeSet<(Stage, Cause)>,
    /// What worlds with a pair meet sooner or later and these have not; in as many as should have, a failure.
    unmet: Vec<String>,
}

/// Lives through the worlds.
pub fn sim(args: &SimArgs) -> ExitCode {
    let seeds = match (args.seed, &args.seeds) {
        (Some(seed), _) => seed..seed.saturating_add(1),
        (None, Some(seeds)) => seeds.clone(),
        (None, None) => args.first..u64::MAX,
    };
    let limit = match (args.seed, &args.seeds, args.time) {
        (None, None, None) => Some(Duration::from_secs(60)),
        (_, _, time) => time.map(|time| *time),
    };
    let jobs = args.jobs.max(1);
    let echo = args.trace && args.seed.is_some();
    let kind = match (args.pair, args.manual) {
        (false, _) => Kind::Single,
        (true, false) => Kind::Pair,
        (true, true) => Kind::PairByHand,
    };
    let worlds = Worlds { kind, tls: args.tls, dkim: args.dkim };
    let options = [(args.pair, "--pair "), (args.manual, "--manual "), (args.tls, "--tls "), (args.dkim, "--dkim ")];
    let options: String = options.into_iter().filter(|(given, _)| *given).map(|(_, option)| option).collect();
    let begun = Instant::now();
    let mut total = Total { jobs, ..Total::default() };
    let bar = progress(&seeds, limit);
    let next = AtomicU64::new(seeds.start);
    std::thread::scope(|scope| {
        let (sender, outcomes) = mpsc::channel();
        for _ in 0..jobs {
            let (sender, next, seeds) = (sender.clone(), &next, &seeds);
            scope.spawn(move || {
                while limit.is_none_or(|limit| begun.elapsed() < limit) {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end || sender.send(sim::run_in(worlds, seed, echo)).is_err() {
                        return;
                    }
                }
            });
        }
        drop(sender);
        for outcome in outcomes {
            total.add(&outcome, begun);
            tell(&outcome, &total, &bar, (!echo).then_some(&*options));
            let elapsed = begun.elapsed().as_secs();
            bar.set_position(if limit.is_some() { elapsed } else { total.seeds });
            bar.set_message(format!("{} seeds, {} failed", total.seeds, total.failed.len()));
        }
    });
    bar.finish_and_clear();
    // Without a store much of it cannot be.
    if args.pair && !args.manual {
        total.unmet = sim::unmet(&total.injected, &total.met);
    }
    let json = || serde_json::to_string(&total).expect("the sums have text keys only") + "\n";
    let told = print(&if args.json { json() } else { total.to_string() });
    if total.failed.is_empty() && total.missed().is_empty() { told } else { ExitCode::FAILURE }
}

fn progress(seeds: &Range<u64>, limit: Option<Duration>) -> ProgressBar {
    let length = limit.map_or(seeds.end - seeds.start, |limit| limit.as_secs());
    let style = ProgressStyle::with_template("{elapsed_precise} {wide_bar} {msg}").expect("a template that is known");
    ProgressBar::new(length).with_style(style)
}

/// Tells of a world that failed, and how all of it is seen, unless it was just seen: `options` say what kind of world it is.
fn tell(outcome: &Outcome, total: &Total, bar: &ProgressBar, options: Option<&str>) {
    let Some(failure) = &outcome.failure else { return };
    bar.suspend(|| {
        say(format_args!("seed {}: {}", outcome.seed, failure.what));
        if total.failed.len() <= FAILURES_TOLD_MAX
            && let Some(options) = options
        {
            let skipped = failure.trace.len().saturating_sub(STORY_LINES_MAX);
            for line in &failure.trace[skipped..] {
                say(format_args!("  {line}"));
            }
            say(format_args!("  (all of it: rohrpost sim {options}--trace --seed {})", outcome.seed));
        }
    });
}

impl Total {
    fn add(&mut self, outcome: &Outcome, begun: Instant) {
        self.seeds += 1;
        self.simulated_seconds += outcome.simulated.as_secs_f64();
        self.seconds = begun.elapsed().as_secs_f64();
        self.times_real_time = self.simulated_seconds / self.seconds;
        self.seeds_per_core_hour = self.seeds as f64 / self.seconds / self.jobs as f64 * 3600.0;
        self.sums += outcome.sums;
        // The order in which jobs finish must not show.
        self.digest ^= outcome.digest.rotate_left(outcome.seed as u32 % 32);
        for (fault, count) in &outcome.injected {
            *self.injected.entry(fault).or_default() += count;
        }
        self.met.extend(&outcome.met);
        if outcome.failure.is_some() {
            self.failed.push(outcome.seed);
            self.failed.sort_unstable();
        }
    }

    /// What should have been met in so many worlds and was not.
    fn missed(&self) -> &[String] {
        if self.seeds < EVERYTHING_IS_MET_AFTER { &[] } else { &self.unmet }
    }
}

impl fmt::Display for Total {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Sums { begun, acknowledged, unknown, delivered, duplicated, bounced, recovered, deleted, damaged } =
            self.sums;
        let hours = self.simulated_seconds / 3600.0;
        writeln!(f, "{} seeds, {} failed {:?}", self.seeds, self.failed.len(), self.failed)?;
        writeln!(
            f,
            "{hours:.1} simulated hours in {:.1} s: {:.0} times real time, {:.0} seeds per core-hour, digest {:08x}",
            self.seconds, self.times_real_time, self.seeds_per_core_hour, self.digest
        )?;
        writeln!(
            f,
            "messages: {begun} begun, {acknowledged} acknowledged, {unknown} unknown, {recovered} recovered, \
             {deleted} deleted by operators, {damaged} reported damaged"
        )?;
        writeln!(f, "recipients: {delivered} delivered, {bounced} bounced, {duplicated} duplicated for a cause")?;
        let faults: Vec<String> = self.injected.iter().map(|(fault, count)| format!("{count} {fault}")).collect();
        writeln!(f, "faults: {}", faults.join(", "))?;
        if !self.met.is_empty() {
            writeln!(f, "arbiters: {} kinds of events met in the stages in which they can come", self.met.len())?;
        }
        if !self.missed().is_empty() {
            writeln!(f, "NOT MET in so many worlds: {}", self.missed().join(", "))?;
        }
        Ok(())
    }
}
