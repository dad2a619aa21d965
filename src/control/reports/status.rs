//! What is counted for reports on TLS, for operators.

use crate::env::WallTime;
use crate::event::rfc3339;
use crate::tlsrpt::{Ledger, LedgerCounts, Record};
use serde::{Deserialize, Serialize};

/// What is counted, and what waits to be sent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReportsStatus {
    /// Domains of the day, but for those that want no reports.
    pub counted: Vec<CountedDomain>,
    /// Reports on what is over.
    pub waiting: Vec<WaitingReport>,
    /// What was not kept.
    #[serde(flatten)]
    pub counts: LedgerCounts,
}

/// A domain that is counted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CountedDomain {
    /// Its name.
    pub domain: String,
    /// Since when.
    #[serde(with = "rfc3339")]
    pub since: WallTime,
    /// Where it wants its report; none: that is not known yet.
    pub to: Option<Vec<String>>,
    /// Sessions that went well.
    pub successful: u64,
    /// Those that did not.
    pub failed: u64,
}

/// A report that is to be sent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WaitingReport {
    /// To whom.
    pub domain: String,
    /// When what it is about began.
    #[serde(with = "rfc3339")]
    pub from: WallTime,
    /// When it was over.
    #[serde(with = "rfc3339")]
    pub until: WallTime,
    /// Where to; none: that is not known yet.
    pub to: Option<String>,
    /// Sessions that went well.
    pub successful: u64,
    /// Those that did not.
    pub failed: u64,
    /// Attempts so far.
    pub attempts: u32,
    /// When the next one is due.
    #[serde(with = "rfc3339")]
    pub next_attempt_at: WallTime,
}

impl ReportsStatus {
    pub(super) fn of(ledger: &Ledger) -> ReportsStatus {
        let counted = ledger.counted().filter_map(|(domain, since, record, (successful, failed))| {
            let to = match record {
                Record::Absent => return None,
                Record::Unknown => None,
                Record::Wanted(targets) => Some(targets.iter().map(ToString::to_string).collect()),
            };
            Some(CountedDomain { domain: domain.to_owned(), since: time(since), to, successful, failed })
        });
        let waiting = ledger.waiting().map(|(closed, target, attempts, due_at)| {
            let (successful, failed) = closed.sessions();
            WaitingReport {
                domain: closed.domain.to_string(),
                from: time(closed.from),
                until: time(closed.until),
                to: target.map(ToString::to_string),
                successful,
                failed,
                attempts,
                next_attempt_at: time(due_at),
            }
        });
        ReportsStatus { counted: counted.collect(), waiting: waiting.collect(), counts: ledger.counts() }
    }
}

fn time(seconds: u64) -> WallTime {
    WallTime::from_micros(seconds.saturating_mul(1_000_000))
}
