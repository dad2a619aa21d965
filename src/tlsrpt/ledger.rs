//! What is counted of the day, and the reports on what is over until they have gone out.
//!
//! Times are seconds since 1970: days are those of UTC (RFC 8460 §4.1). All of it survives a restart, as one JSON object.

use super::record::{Record, ReportTarget};
use super::session::{Session, Verdict};
use crate::dns::name;
use crate::limits::{
    Gauge, REPORT_AGE_MAX, REPORT_ATTEMPTS_MAX, REPORT_DOMAINS_MAX, REPORT_FAILURES_MAX, REPORT_POLICIES_MAX,
    REPORT_RETRY_DELAY, REPORT_SPREAD, REPORTS_WAITING_MAX,
};
use mail_auth::report::tlsrpt::{FailureDetails, PolicyDetails};
use serde::{Deserialize, Serialize};
use siphasher::sip::SipHasher13;
use std::collections::btree_map::Entry as Place;
use std::collections::{BTreeMap, VecDeque};
use std::hash::Hasher;

const DAY: u64 = 86_400;

/// All that is counted and not reported yet.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Ledger {
    /// When the day began that is counted.
    day: u64,
    /// Reports of this day were sent before its end, up to then.
    resumed_at: u64,
    /// At most [`REPORT_DOMAINS_MAX`], by the names that the DNS has for them.
    open: BTreeMap<Box<str>, Entry>,
    /// What is over; at most [`REPORTS_WAITING_MAX`].
    closed: BTreeMap<ClosedId, Closed>,
    last_id: u64,
    counts: LedgerCounts,
    /// Domains whose records nobody has asked for; no more than are open or closed.
    #[serde(skip)]
    unasked: VecDeque<Box<str>>,
    #[serde(skip)]
    changed: bool,
}

/// What was not kept, since the box was set up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedgerCounts {
    /// Sessions of domains that were too many.
    pub sessions_omitted: u64,
    /// Sessions that workers could not tell of.
    pub sessions_lost: u64,
    /// Reports that could not be sent for too long, or were too many.
    pub reports_dropped: u64,
}

/// A domain that is counted.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Entry {
    from: u64,
    record: Record,
    policies: Vec<PolicySum>,
}

/// One policy of a domain.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct PolicySum {
    pub policy: PolicyDetails,
    pub successes: u32,
    pub failures: u32,
    /// Each with its count; at most [`REPORT_FAILURES_MAX`].
    pub details: Vec<FailureDetails>,
}

/// Names what is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ClosedId(u64);

/// What is to be reported to a domain.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Closed {
    /// To whom, by the name that the DNS has for it.
    pub domain: Box<str>,
    /// When it began.
    pub from: u64,
    /// When it was over: the first second that does not belong to it.
    pub until: u64,
    pub(super) policies: Vec<PolicySum>,
    /// Where it has still to go; none: the record is not known.
    deliveries: Option<Vec<Delivery>>,
    /// Attempts to find the record, and when the next is due.
    lookup: Attempts,
}

/// One place where a report goes.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Delivery {
    target: ReportTarget,
    attempts: Attempts,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Attempts {
    count: u32,
    due_at: u64,
    /// One is under way. A restart forgets it, and it is made again.
    #[serde(skip)]
    under_way: bool,
}

/// How an attempt that failed leaves a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Attempts so far.
    pub attempts: u32,
    /// There will be no other one.
    pub given_up: bool,
}

impl Attempts {
    fn first(due_at: u64) -> Attempts {
        Attempts { count: 0, due_at, under_way: false }
    }

    fn is_due(&self, now: u64) -> bool {
        !self.under_way && self.due_at <= now
    }

    /// It failed.
    fn fail(&mut self, now: u64) -> Progress {
        self.count += 1;
        self.under_way = false;
        self.due_at = now + REPORT_RETRY_DELAY.as_secs();
        Progress { attempts: self.count, given_up: self.count >= REPORT_ATTEMPTS_MAX }
    }
}

impl Entry {
    fn add(&mut self, verdict: Verdict) {
        let Verdict { policy, failure } = verdict;
        let place = self.policies.iter().position(|known| known.policy == policy).or_else(|| {
            let fits = self.policies.len() < REPORT_POLICIES_MAX;
            fits.then(|| self.policies.push(PolicySum { policy, successes: 0, failures: 0, details: Vec::new() }));
            fits.then(|| self.policies.len() - 1)
        });
        let Some(sum) = place.map(|place| &mut self.policies[place]) else { return };
        let Some(failure) = failure else {
            sum.successes = sum.successes.saturating_add(1);
            return;
        };
        sum.failures = sum.failures.saturating_add(1);
        let same =
            |known: &&mut FailureDetails| FailureDetails { failed_session_count: 0, ..(**known).clone() } == failure;
        if let Some(known) = sum.details.iter_mut().find(same) {
            known.failed_session_count = known.failed_session_count.saturating_add(1);
        } else if sum.details.len() < REPORT_FAILURES_MAX {
            sum.details.push(FailureDetails { failed_session_count: 1, ..failure });
        }
    }
}

impl Closed {
    /// Sessions that went well, and that did not.
    pub fn sessions(&self) -> (u64, u64) {
        sessions(&self.policies)
    }
}

fn sessions(policies: &[PolicySum]) -> (u64, u64) {
    let sum = |of: fn(&PolicySum) -> u32| policies.iter().map(|policy| u64::from(of(policy))).sum();
    (sum(|policy| policy.successes), sum(|policy| policy.failures))
}

impl Ledger {
    /// Goes on with one that was kept.
    pub fn resumed(mut self) -> Ledger {
        let unknown = self.open.iter().filter(|(_, entry)| entry.record == Record::Unknown);
        self.unasked = unknown.map(|(domain, _)| domain.clone()).collect();
        self
    }

    /// Counts a session.
    pub fn note(&mut self, session: &Session, now: u64) {
        let Some(domain) = name::of_domain(&session.domain) else { return };
        let verdicts = session.judge(&domain);
        if verdicts.is_empty() {
            return;
        }
        self.begin_day(now);
        let is_full = self.open.len() >= REPORT_DOMAINS_MAX;
        let entry = match self.open.entry(domain) {
            Place::Occupied(known) => known.into_mut(),
            Place::Vacant(_) if is_full => {
                self.counts.sessions_omitted += 1;
                return;
            }
            Place::Vacant(place) => {
                self.unasked.push_back(place.key().clone());
                let from = self.day.max(self.resumed_at);
                place.insert(Entry { from, record: Record::Unknown, policies: Vec::new() })
            }
        };
        if entry.record != Record::Absent {
            verdicts.into_iter().for_each(|verdict| entry.add(verdict));
        }
        self.changed = true;
    }

    /// Workers could not tell of so many sessions.
    pub fn note_lost(&mut self, count: u64) {
        self.counts.sessions_lost += count;
        self.changed |= count > 0;
    }

    /// Closes a day that is over, and drops what has waited for too long.
    pub fn turn(&mut self, now: u64) {
        self.begin_day(now);
        let before = self.closed.len();
        self.closed.retain(|_, closed| now < closed.until + REPORT_AGE_MAX.as_secs());
        let dropped = before - self.closed.len();
        self.counts.reports_dropped += dropped as u64;
        self.changed |= dropped > 0;
    }

    fn begin_day(&mut self, now: u64) {
        let today = now - now % DAY;
        if self.day != today {
            let end = self.day + DAY;
            self.close(end.min(now), |domain| end + spread(domain));
            (self.day, self.resumed_at) = (today, 0);
        }
    }

    /// Closes all that is counted so far: its reports are due at once.
    pub fn close_now(&mut self, now: u64) {
        self.turn(now);
        self.close(now, |_| now);
        self.resumed_at = now;
        for closed in self.closed.values_mut() {
            let attempts = closed.deliveries.iter_mut().flatten().map(|delivery| &mut delivery.attempts);
            attempts.chain([&mut closed.lookup]).for_each(|attempts| attempts.due_at = attempts.due_at.min(now));
        }
    }

    fn close(&mut self, until: u64, due_at: impl Fn(&str) -> u64) {
        self.unasked.clear();
        for (domain, Entry { from, record, policies }) in std::mem::take(&mut self.open) {
            if policies.is_empty() || record == Record::Absent {
                continue;
            }
            let lookup = Attempts::first(due_at(&domain));
            // A clock that was set back does not make it end before it began.
            let until = until.max(from);
            let mut closed = Closed { domain, from, until, policies, deliveries: None, lookup };
            closed.learn(record);
            self.last_id += 1;
            self.closed.insert(ClosedId(self.last_id), closed);
            if self.closed.len() > REPORTS_WAITING_MAX {
                self.closed.pop_first();
                self.counts.reports_dropped += 1;
            }
        }
        self.changed = true;
    }

    /// The next domain whose record is to be asked for; [`told`](Ledger::told) follows.
    pub fn question(&mut self, now: u64) -> Option<Box<str>> {
        self.unasked.pop_front().or_else(|| {
            let is_asked = |closed: &&mut Closed| closed.deliveries.is_none() && closed.lookup.is_due(now);
            let closed = self.closed.values_mut().find(is_asked)?;
            closed.lookup.under_way = true;
            Some(closed.domain.clone())
        })
    }

    /// What a domain publishes.
    pub fn told(&mut self, domain: &str, record: &Record, now: u64) {
        if let Some(entry) = self.open.get_mut(domain).filter(|_| *record != Record::Unknown) {
            entry.record = record.clone();
            if entry.record == Record::Absent {
                entry.policies = Vec::new();
            }
        }
        let mut given_up = 0;
        self.closed.retain(|_, closed| {
            if *closed.domain != *domain || closed.deliveries.is_some() {
                return true;
            }
            closed.learn(record.clone());
            match record {
                Record::Wanted(_) => true,
                Record::Absent => false,
                Record::Unknown => {
                    let stays = !closed.lookup.under_way || !closed.lookup.fail(now).given_up;
                    given_up += u64::from(!stays);
                    stays
                }
            }
        });
        self.counts.reports_dropped += given_up;
        self.changed = true;
    }

    /// The next report that is to be sent, and where to; [`sent`](Ledger::sent) or [`failed`](Ledger::failed) follows.
    pub fn due(&mut self, now: u64) -> Option<(ClosedId, ReportTarget)> {
        self.closed.iter_mut().find_map(|(id, closed)| {
            let mut deliveries = closed.deliveries.iter_mut().flatten();
            let delivery = deliveries.find(|delivery| delivery.attempts.is_due(now))?;
            delivery.attempts.under_way = true;
            Some((*id, delivery.target.clone()))
        })
    }

    /// What is over, by its name.
    pub fn closed(&self, id: ClosedId) -> Option<&Closed> {
        self.closed.get(&id)
    }

    /// It has gone there.
    pub fn sent(&mut self, id: ClosedId, target: &ReportTarget) {
        self.settle(id, target);
    }

    /// It could not go there. `None`: nobody wants to know any more.
    pub fn failed(&mut self, id: ClosedId, target: &ReportTarget, now: u64) -> Option<Progress> {
        let progress = self.attempts(id, target)?.fail(now);
        if progress.given_up {
            self.counts.reports_dropped += 1;
            self.settle(id, target);
        }
        self.changed = true;
        Some(progress)
    }

    fn attempts(&mut self, id: ClosedId, target: &ReportTarget) -> Option<&mut Attempts> {
        let deliveries = self.closed.get_mut(&id)?.deliveries.iter_mut().flatten();
        deliveries
            .map(|delivery| (&delivery.target, &mut delivery.attempts))
            .find_map(|(known, attempts)| (known == target).then_some(attempts))
    }

    fn settle(&mut self, id: ClosedId, target: &ReportTarget) {
        let Some(deliveries) = self.closed.get_mut(&id).and_then(|closed| closed.deliveries.as_mut()) else { return };
        deliveries.retain(|delivery| delivery.target != *target);
        if deliveries.is_empty() {
            self.closed.remove(&id);
        }
        self.changed = true;
    }

    /// Whether it is another one than when this was asked last.
    pub fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }

    /// What was not kept.
    pub fn counts(&self) -> LedgerCounts {
        self.counts
    }

    /// What is counted: for each domain since when, what it publishes, and the sessions that went well and that did not.
    pub fn counted(&self) -> impl Iterator<Item = (&str, u64, &Record, (u64, u64))> {
        self.open.iter().map(|(domain, entry)| (&**domain, entry.from, &entry.record, sessions(&entry.policies)))
    }

    /// What waits to be reported, each with where it has still to go, the attempts so far, and when the next is due.
    pub fn waiting(&self) -> impl Iterator<Item = (&Closed, Option<&ReportTarget>, u32, u64)> {
        self.closed.values().flat_map(|closed| {
            let unknown = closed.deliveries.is_none().then_some((closed, None, closed.lookup));
            let known = closed.deliveries.iter().flatten();
            let known = known.map(move |delivery| (closed, Some(&delivery.target), delivery.attempts));
            unknown.into_iter().chain(known).map(|(closed, target, at)| (closed, target, at.count, at.due_at))
        })
    }

    /// Shows how full it is.
    pub fn gauge(&self, see: &mut dyn FnMut(Gauge)) {
        see(Gauge::new("domains that TLS reports are about", self.open.len(), REPORT_DOMAINS_MAX));
        see(Gauge::new("TLS reports that wait", self.closed.len(), REPORTS_WAITING_MAX));
    }
}

impl Closed {
    fn learn(&mut self, record: Record) {
        if let Record::Wanted(targets) = record {
            let attempts = Attempts { under_way: false, count: 0, ..self.lookup };
            let delivery = |target| Delivery { target, attempts };
            self.deliveries = Some(targets.into_iter().map(delivery).collect());
        }
    }
}

/// How long after the end of a day a domain's report is sent, seconds: not all at once, and each domain's at the same time every day
/// (RFC 8460 §4.1).
fn spread(domain: &str) -> u64 {
    let mut hasher = SipHasher13::new();
    hasher.write(domain.as_bytes());
    hasher.finish() % REPORT_SPREAD.as_secs()
}
