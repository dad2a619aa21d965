//! Reports on TLS, carried out: the [`Ledger`] of [`crate::tlsrpt`] with its file, the resolvers, the queue and the web.
//!
//! In: what workers tell of sessions, the time, what operators want. Out: reports, by mail into the box's own queue and by HTTPS, events
//! for the log, and a file in the folder of the queue, from which a restart goes on. Everything that takes time is an errand beside
//! the control thread's loop.

mod file;
mod status;
#[cfg(test)]
mod tests;

pub use status::{CountedDomain, ReportsStatus, WaitingReport};

use super::links::{ToWorker, WorkerLink};
use super::names::{Names, Resolvers, Web};
use super::saving::Saving;
use crate::dns::{Kind, Question};
use crate::env::{Instant, Now, WallTime, say};
use crate::event::Event;
use crate::limits::{REPORT_SAVE_INTERVAL, REPORT_SUBMIT_TIMEOUT, REPORTS_UNDER_WAY_MAX};
use crate::smtp::OwnMessage;
use crate::spool::MessageId;
use crate::tlsrpt::{ClosedId, Ledger, REPORT_TYPE, Record, Report, ReportTarget, Reporter, Session};
use axum::body::Bytes;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::task::JoinSet;

/// Where a domain's record is, below its name (RFC 8460 §3).
const RECORD_PREFIX: &str = "_smtp._tls.";

/// What is written down, for the log.
const SAVED: &str = "what is counted for TLS reports";

/// Who reports, and where what is counted is kept.
#[derive(Clone, Debug)]
pub struct ReportSettings {
    /// Who reports.
    pub reporter: Reporter,
    /// The folder of the queue.
    pub directory: PathBuf,
}

/// What an errand has come to.
pub(in crate::control) enum ReportNews {
    /// What a domain publishes.
    Record { domain: Box<str>, record: Record },
    /// What became of a report.
    Posted { id: ClosedId, target: ReportTarget, result: Result<(), String> },
    /// What is counted was written down, or why not.
    Saved(Result<(), String>),
}

/// A report on its way into the queue.
struct Submission {
    id: ClosedId,
    target: ReportTarget,
    message: Arc<OwnMessage>,
    /// The worker that has it.
    worker: usize,
    /// Workers that had no room for it.
    refusals: usize,
    until: Instant,
}

/// The ledger, and what is under way for it.
pub(in crate::control) struct Reports {
    settings: ReportSettings,
    ledger: Ledger,
    resolvers: Arc<Resolvers>,
    web: Option<Arc<Web>>,
    links: Vec<WorkerLink>,
    errands: JoinSet<ReportNews>,
    /// At most [`REPORTS_UNDER_WAY_MAX`], with the errands.
    submissions: BTreeMap<u64, Submission>,
    submissions_count: u64,
    found: Vec<Event>,
    saving: Saving,
    /// The second in which everything was looked at; none: there is news.
    turned_at: Option<u64>,
}

impl Reports {
    /// Goes on with what was counted before. Within the control thread's runtime; it reads a file.
    pub fn new(settings: ReportSettings, names: &Names, links: Vec<WorkerLink>, now: Now) -> Reports {
        let (ledger, trouble) = file::recall(&settings.directory);
        let (resolvers, web) = names.sources();
        Reports {
            settings,
            ledger: ledger.resumed(),
            resolvers,
            web,
            links,
            errands: JoinSet::new(),
            submissions: BTreeMap::new(),
            submissions_count: 0,
            found: trouble.map(|text| Event::Warning { text }).into_iter().collect(),
            saving: Saving::new(SAVED, REPORT_SAVE_INTERVAL, now.mono + REPORT_SAVE_INTERVAL),
            turned_at: None,
        }
    }

    /// A worker tells of a session, and of how many it could not tell.
    pub fn note(&mut self, session: &Session, lost: u64, now: Now) {
        self.ledger.note(session, seconds(now.wall));
        self.ledger.note_lost(lost);
    }

    /// A worker has taken a report into the queue, or has no room for it.
    pub fn submitted(&mut self, number: u64, message: Option<MessageId>, now: Now) {
        let Some(mut submission) = self.submissions.remove(&number) else { return };
        if let Some(message) = message {
            return self.sent(submission.id, &submission.target, Some(message));
        }
        submission.refusals += 1;
        submission.worker = (submission.worker + 1) % self.links.len();
        if submission.refusals < self.links.len() {
            self.submit(number, submission, now);
        } else {
            self.failed(submission.id, &submission.target, "the queue does not take it now".to_owned(), now);
        }
    }

    /// An errand has come back.
    pub fn tell(&mut self, news: ReportNews, now: Now) {
        self.turned_at = None;
        match news {
            ReportNews::Record { domain, record } => self.ledger.told(&domain, &record, seconds(now.wall)),
            ReportNews::Posted { id, target, result: Ok(()) } => self.sent(id, &target, None),
            ReportNews::Posted { id, target, result: Err(error) } => self.failed(id, &target, error, now),
            ReportNews::Saved(result) => self.found.extend(self.saving.done(result)),
        }
    }

    /// Has everything that was counted reported at once, as an operator wants.
    pub fn send_now(&mut self, now: Now) {
        self.ledger.close_now(seconds(now.wall));
        self.turned_at = None;
    }

    /// What is counted and what waits, for operators.
    pub fn status(&self) -> ReportsStatus {
        ReportsStatus::of(&self.ledger)
    }

    /// Goes on: looks for records, sends what is due, writes down what has changed. What is to be logged.
    pub fn turn(&mut self, now: Now) -> Vec<Event> {
        let second = seconds(now.wall);
        if self.turned_at != Some(second) {
            self.turned_at = Some(second);
            self.ledger.turn(second);
            self.lose_patience(now);
            while self.has_room()
                && let Some(domain) = self.ledger.question(second)
            {
                self.look_up(domain);
            }
            while self.has_room()
                && let Some((id, target)) = self.ledger.due(second)
            {
                self.send(id, target, now);
            }
            self.saving.note(self.ledger.take_changed());
            if self.saving.begin(now.mono) {
                let (directory, ledger) = (self.settings.directory.clone(), self.ledger.clone());
                self.errands.spawn_blocking(move || ReportNews::Saved(save(&directory, &ledger)));
            }
        }
        std::mem::take(&mut self.found)
    }

    /// When [`turn`](Reports::turn) has something to do without news.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.submissions.values().map(|submission| submission.until).min()
    }

    /// Writes down what is counted, at the end.
    pub async fn close(&mut self) {
        self.saving.note(self.ledger.take_changed());
        let result = |news| if let ReportNews::Saved(result) = news { Some(result) } else { None };
        if self.saving.finish(&mut self.errands, result).await
            && let Err(error) = save(&self.settings.directory, &self.ledger)
        {
            say(format_args!("rohrpost: {}", self.saving.trouble(&error)));
        }
    }

    fn has_room(&self) -> bool {
        self.errands.len() + self.submissions.len() < REPORTS_UNDER_WAY_MAX
    }

    fn look_up(&mut self, domain: Box<str>) {
        let resolvers = Arc::clone(&self.resolvers);
        self.errands.spawn(async move {
            let question = Question::new(format!("{RECORD_PREFIX}{domain}"), Kind::Txt);
            let record = Record::of(&resolvers.ask(&question).await);
            ReportNews::Record { domain, record }
        });
    }

    fn send(&mut self, id: ClosedId, target: ReportTarget, now: Now) {
        let Some(closed) = self.ledger.closed(id) else { return };
        let reporter = &self.settings.reporter;
        let report = Report::new(closed, reporter);
        match &target {
            ReportTarget::Mail(address) => match report.mail(&closed.domain, reporter, address) {
                Ok(message) => {
                    self.submissions_count += 1;
                    let number = self.submissions_count;
                    let worker = number as usize % self.links.len();
                    let (message, until) = (Arc::new(message), now.mono);
                    self.submit(number, Submission { id, target, message, worker, refusals: 0, until }, now);
                }
                Err(error) => self.failed(id, &target, error.to_string(), now),
            },
            ReportTarget::Web(url) => match (&self.web, report.compressed()) {
                (Some(web), Ok(body)) => {
                    let (web, resolvers, url) = (Arc::clone(web), Arc::clone(&self.resolvers), url.clone());
                    self.errands.spawn(async move {
                        let result = web.post(&resolvers, &url, REPORT_TYPE, Bytes::from(body)).await;
                        ReportNews::Posted { id, target, result }
                    });
                }
                (None, _) => self.failed(id, &target, "no certificate could be believed".to_owned(), now),
                (_, Err(error)) => self.failed(id, &target, error.to_string(), now),
            },
        }
    }

    /// Gives a report to its worker.
    fn submit(&mut self, number: u64, submission: Submission, now: Now) {
        let link = &self.links[submission.worker];
        // One that does not listen loses us our patience.
        let _ = link.to.try_send(ToWorker::Submit { number, message: Arc::clone(&submission.message) });
        link.wakeup.notify();
        let until = now.mono + REPORT_SUBMIT_TIMEOUT;
        self.submissions.insert(number, Submission { until, ..submission });
    }

    /// Gives up what no worker has answered for.
    fn lose_patience(&mut self, now: Now) {
        let late = self.submissions.extract_if(.., |_, submission| submission.until <= now.mono);
        for (_, Submission { id, target, .. }) in late.collect::<Vec<_>>() {
            self.failed(id, &target, "no worker has taken it into the queue".to_owned(), now);
        }
    }

    fn sent(&mut self, id: ClosedId, target: &ReportTarget, message: Option<MessageId>) {
        self.turned_at = None;
        if let Some(closed) = self.ledger.closed(id) {
            let (successful, failed) = closed.sessions();
            self.found.push(Event::TlsReportSent {
                domain: closed.domain.to_string(),
                to: target.to_string(),
                report_id: Report::new(closed, &self.settings.reporter).id,
                successful,
                failed,
                id: message,
            });
        }
        self.ledger.sent(id, target);
    }

    fn failed(&mut self, id: ClosedId, target: &ReportTarget, error: String, now: Now) {
        self.turned_at = None;
        let Some(domain) = self.ledger.closed(id).map(|closed| closed.domain.to_string()) else { return };
        if let Some(progress) = self.ledger.failed(id, target, seconds(now.wall)) {
            self.found.push(Event::TlsReportFailed {
                domain,
                to: target.to_string(),
                attempts: progress.attempts,
                given_up: progress.given_up,
                error,
            });
        }
    }
}

fn save(directory: &Path, ledger: &Ledger) -> Result<(), String> {
    file::save(directory, ledger).map_err(|error| error.to_string())
}

/// A time as the ledger has it.
fn seconds(at: WallTime) -> u64 {
    at.micros() / 1_000_000
}

/// What errands have come to. May be dropped at any time.
pub(in crate::control) async fn news(reports: &mut Option<Reports>) -> ReportNews {
    let errands = reports.as_mut().map(|reports| &mut reports.errands);
    match errands.filter(|errands| !errands.is_empty()) {
        None => std::future::pending().await,
        Some(errands) => match errands.join_next().await.expect("there is one") {
            Ok(news) => news,
            // As after any bug, the process ends.
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        },
    }
}
