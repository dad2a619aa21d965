//! Whether the box lives, and whether it takes new mail: what load balancers ask, and engineers are alerted by. Sans-IO.
//!
//! In: pulses of the workers, events, the end of workers, the beginning of an orderly end, the time. Out: what is wrong
//! now ([`Health::troubles`]), and the answer of the health endpoint ([`Health::report`]). It never asks a worker: the
//! switchboard does, once a second.
//!
//! Events tell at once, but those that find a full channel are dropped; a pulse says how things are, whatever was missed.
//! Both lead to the same table of conditions, so that a dropped event makes it wrong for a second at most.

use super::condition::{Condition, Subject, Trouble};
use super::pair::{ArbiterKind, IdentityStatus, PairStatus};
use super::protocol::PROTOCOL_VERSION;
use super::status::LogState;
use crate::delivery::CredentialsId;
use crate::env::{Instant, Now, WallTime};
use crate::event::{Event, rfc3339};
use crate::limits::{
    CERTIFICATE_EXPIRES_SOON, CERTIFICATES_WATCHED_MAX, CONDITION_TEXT_SIZE_MAX, CONDITIONS_MAX, EVENTS_LOST_DURATION,
    HEALTH_REASONS_MAX, PULSES_MISSED_MAX,
};
use crate::mirror::LOGS_PER_IDENTITY;
use crate::mirror::register::Mode;
use crate::port::Link;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// What a worker says of itself once a second. It is made between two breaths, and small.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pulse {
    /// The worker's number.
    pub worker: u16,
    /// All its logs.
    pub logs: Vec<LogPulse>,
    /// Messages that wait for a key (DKIM) that is valid.
    pub keyless: u64,
    /// Events that found a full channel: [`super::Reporter::events_lost`].
    pub events_lost: u64,
    /// Credentials that a next hop has refused and none has taken since, each with what is to be told of it.
    pub refused: Vec<(CredentialsId, String)>,
}

/// How a log is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogPulse {
    /// The log's number.
    pub log: u16,
    /// Whether it accepts.
    pub state: LogState,
    /// What failed, or what there is too little of, if something is.
    pub error: Option<String>,
    /// Messages whose content is damaged: they wait for an operator.
    pub damaged: u64,
    /// Places found since the start that are not as they were written.
    pub damages: u64,
    /// The first of them, in words.
    pub damage: Option<String>,
}

/// Why the box is not ready.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// A worker has not been heard yet.
    Starting {
        /// Which.
        worker: u16,
    },
    /// The box ends in order: sessions finish, and no new ones begin.
    Draining,
    /// A box of a pair that works for neither identity: its partner does, or nobody.
    Standby,
    /// A condition that refuses mail.
    Condition(Trouble),
    /// More is wrong than [`CONDITIONS_MAX`] can hold.
    TooMuch,
}

impl Reason {
    /// Its name in JSON.
    fn name(&self) -> String {
        match self {
            Reason::Starting { .. } => "starting".to_owned(),
            Reason::Draining => "draining".to_owned(),
            Reason::Standby => "standby".to_owned(),
            Reason::Condition(trouble) => trouble.condition.to_string(),
            Reason::TooMuch => "too_much".to_owned(),
        }
    }

    fn subject(&self) -> Subject {
        match self {
            Reason::Starting { worker } => Subject::Worker(*worker),
            Reason::Draining | Reason::Standby | Reason::TooMuch => Subject::Appliance,
            Reason::Condition(trouble) => trouble.subject,
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::Starting { worker } => write!(f, "worker {worker} has not answered yet"),
            Reason::Draining => f.write_str("rohrpost is ending: sessions finish, and no new ones begin"),
            Reason::Standby => {
                f.write_str("this box works for neither identity of its pair: see `rohrpost pair status`")
            }
            Reason::Condition(trouble) => f.write_str(&trouble.text),
            Reason::TooMuch => f.write_str("more is wrong than is kept here: see the log"),
        }
    }
}

/// What the health endpoint answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthReport {
    /// [`PROTOCOL_VERSION`].
    pub version: u32,
    /// The process works: no worker is gone or silent.
    pub live: bool,
    /// The box takes new mail.
    pub ready: bool,
    /// It is ending in order.
    pub draining: bool,
    /// Why it is not ready; the first [`HEALTH_REASONS_MAX`].
    pub reasons: Vec<ReasonReport>,
}

/// A [`Reason`] in JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReasonReport {
    /// Its name.
    pub reason: String,
    /// What it is about ("log 0").
    pub subject: String,
    /// For a person.
    pub text: String,
}

/// What is known of a worker.
#[derive(Clone, Debug, Default)]
struct Pulses {
    /// It has answered once.
    heard: bool,
    /// Asked since its last answer.
    missed: u32,
    /// It has ended, as it was asked to or not.
    gone: bool,
    events_lost: u64,
    refused: Vec<CredentialsId>,
}

/// How the box is. See the module's documentation.
pub struct Health {
    workers: Vec<Pulses>,
    troubles: BTreeMap<(Condition, Subject), Trouble>,
    draining: bool,
    /// A box of a pair that works for neither identity.
    standby: bool,
    /// Log lines lost, and when the last of them were.
    events_lost: u64,
    events_lost_at: Instant,
    /// Certificates that clients are shown, by their places: the file, and until when they are valid.
    certificates: BTreeMap<u16, (String, WallTime)>,
}

impl Health {
    /// A box with so many workers, of which none has been heard yet.
    pub fn new(workers: usize, link: Option<Link>, now: WallTime) -> Health {
        let mut health = Health {
            workers: vec![Pulses::default(); workers],
            troubles: BTreeMap::new(),
            draining: false,
            standby: false,
            events_lost: 0,
            events_lost_at: Instant::ZERO,
            certificates: BTreeMap::new(),
        };
        if let Some(link) = link {
            health.link(link, now);
        }
        health
    }

    /// A worker was asked for a pulse.
    pub fn asked(&mut self, worker: u16, now: WallTime) {
        let Some(pulses) = self.workers.get_mut(usize::from(worker)).filter(|pulses| !pulses.gone) else { return };
        pulses.missed = pulses.missed.saturating_add(1);
        // The question that was just asked cannot be answered yet.
        if pulses.missed > PULSES_MISSED_MAX {
            let text =
                format!("worker {worker} does not answer: its sessions stand still; restart rohrpost if it stays so");
            self.raise(Condition::WorkerSilent, Subject::Worker(worker), 1, text, now);
        }
    }

    /// A worker has answered.
    pub fn pulse(&mut self, pulse: Pulse, now: WallTime) {
        let Some(pulses) = self.workers.get_mut(usize::from(pulse.worker)) else { return };
        pulses.heard = true;
        pulses.missed = 0;
        pulses.events_lost = pulse.events_lost;
        self.clear(Condition::WorkerSilent, Subject::Worker(pulse.worker));
        let keyless = pulse.keyless;
        if keyless > 0 {
            let text = format!(
                "{keyless} messages of worker {} wait for a DKIM key, as their domain has none that is valid now: see the dates and \
                 files of [[dkim]], and `signing_deferred` in the log",
                pulse.worker
            );
            self.raise(Condition::SigningKeyMissing, Subject::Worker(pulse.worker), keyless, text, now);
        } else {
            self.clear(Condition::SigningKeyMissing, Subject::Worker(pulse.worker));
        }
        self.credentials(pulse.worker, pulse.refused, now);
        for log in pulse.logs {
            self.log(log, now);
        }
    }

    fn credentials(&mut self, worker: u16, refused: Vec<(CredentialsId, String)>, now: WallTime) {
        let before = std::mem::take(&mut self.workers[usize::from(worker)].refused);
        self.workers[usize::from(worker)].refused = refused.iter().map(|(id, _)| *id).collect();
        for (id, text) in refused {
            let text = format!(
                "mail waits, since credentials are refused: set them right, and `systemctl reload rohrpost`: {text}"
            );
            self.raise(Condition::CredentialsRefused, Subject::Credentials(id), 1, text, now);
        }
        for id in before {
            // Other workers may still be refused with them.
            if !self.workers.iter().any(|pulses| pulses.refused.contains(&id)) {
                self.clear(Condition::CredentialsRefused, Subject::Credentials(id));
            }
        }
    }

    fn log(&mut self, pulse: LogPulse, now: WallTime) {
        let LogPulse { log, state, error, damaged, damages, damage } = pulse;
        let error = error.unwrap_or_default();
        match state {
            LogState::Open => {
                self.clear(Condition::StorageFailed, Subject::Log(log));
                self.clear(Condition::LogFull, Subject::Log(log));
            }
            LogState::Full => self.log_full(log, &error, now),
            LogState::Failed => self.storage_failed(log, &error, now),
        }
        if damaged > 0 {
            let text = format!(
                "{damaged} messages in log {log} are damaged and wait for an operator: `rohrpost queue list --damaged`"
            );
            self.raise(Condition::MessagesDamaged, Subject::Log(log), damaged, text, now);
        } else {
            self.clear(Condition::MessagesDamaged, Subject::Log(log));
        }
        if damages > 0 {
            let first = damage.map(|damage| format!(", the first: {damage}")).unwrap_or_default();
            let text = format!("{damages} places in log {log} are not as they were written{first}");
            self.raise(Condition::LogDamaged, Subject::Log(log), damages, text, now);
        }
    }

    /// Takes note of what goes to the log.
    pub fn event(&mut self, event: &Event, now: WallTime) {
        match event {
            Event::StorageFailed { log, error } => self.storage_failed(*log, error, now),
            Event::QueueFull { log, reason } => self.log_full(*log, reason, now),
            Event::QueueSpace { log } => self.clear(Condition::LogFull, Subject::Log(*log)),
            Event::Link(link) => self.link(*link, now),
            Event::Certificate { number, file, expires_at } if usize::from(*number) < CERTIFICATES_WATCHED_MAX => {
                self.certificates.insert(*number, (file.clone(), *expires_at));
                self.watch_certificates(now);
            }
            Event::WorkerFailed { worker, text } => {
                let text = format!("worker {worker} failed, and rohrpost ends for it: {text}");
                self.raise(Condition::WorkerFailed, Subject::Worker(*worker), 1, text, now);
            }
            _ => {}
        }
    }

    fn storage_failed(&mut self, log: u16, error: &str, now: WallTime) {
        // A disk that has failed does not come back, whatever the log held before.
        self.clear(Condition::LogFull, Subject::Log(log));
        let text = format!(
            "the disk of log {log} failed, nothing is accepted or delivered until a restart; look at the disk first: {error}"
        );
        self.raise(Condition::StorageFailed, Subject::Log(log), 1, text, now);
    }

    fn log_full(&mut self, log: u16, reason: &str, now: WallTime) {
        // Logs of former workers take no new mail, full or not: each worker's own has its number.
        if usize::from(log % LOGS_PER_IDENTITY) >= self.workers.len() {
            return;
        }
        let text = format!("log {log} is full and mail is refused with 452: {reason}");
        self.raise(Condition::LogFull, Subject::Log(log), 1, text, now);
    }

    fn link(&mut self, link: Link, now: WallTime) {
        if link.up {
            self.clear(Condition::LinkDown, Subject::Port);
        } else {
            let text = "the link of the network port is down: look at the cable and the other end".to_owned();
            self.raise(Condition::LinkDown, Subject::Port, 1, text, now);
        }
    }

    /// A worker has ended. Why it did comes as an event, if it should not have.
    pub fn worker_gone(&mut self, worker: u16) {
        if let Some(pulses) = self.workers.get_mut(usize::from(worker)) {
            pulses.gone = true;
            self.clear(Condition::WorkerSilent, Subject::Worker(worker));
        }
    }

    /// How the pair stands.
    pub fn pair(&mut self, pair: &PairStatus, now: WallTime) {
        self.standby = !pair.identities.iter().any(|identity| identity.works);
        match &pair.store_error {
            Some(error) => {
                let text = match pair.arbiter {
                    ArbiterKind::Etcd => {
                        format!("etcd does not answer, so that neither box could take over from the other: {error}")
                    }
                    ArbiterKind::Manual => format!("this box cannot keep a register any more: {error}"),
                };
                self.raise(Condition::PairStore, Subject::Appliance, 1, text, now);
            }
            None => self.clear(Condition::PairStore, Subject::Appliance),
        }
        for status in &pair.identities {
            let IdentityStatus { identity, works, mode, trouble, .. } = status;
            let subject = Subject::Identity(*identity);
            match trouble {
                Some(trouble) => {
                    self.raise(Condition::PairTrouble, subject, 1, format!("identity {identity}: {trouble}"), now);
                }
                None => self.clear(Condition::PairTrouble, subject),
            }
            if *works && *mode == Some(Mode::Solo) {
                let text =
                    format!("this box works for identity {identity} alone: there is no second copy of its queue");
                self.raise(Condition::PairSolo, subject, 1, text, now);
            } else {
                self.clear(Condition::PairSolo, subject);
            }
        }
    }

    /// What is wrong with the standing orders of an earlier process, if something is.
    pub fn orders_damaged(&mut self, damage: Option<&str>, now: WallTime) {
        match damage {
            Some(text) => self.raise(Condition::OrdersDamaged, Subject::Appliance, 1, text.to_owned(), now),
            None => self.clear(Condition::OrdersDamaged, Subject::Appliance),
        }
    }

    /// The box ends in order from now on.
    pub fn drain(&mut self) {
        self.draining = true;
    }

    /// Once a second: how many lines the log itself has lost since the start.
    pub fn lines_lost(&mut self, lost: u64, now: Now) {
        let lost = lost + self.workers.iter().map(|pulses| pulses.events_lost).sum::<u64>();
        if lost > self.events_lost {
            self.events_lost = lost;
            self.events_lost_at = now.mono;
            let text = format!("{lost} log lines were lost since the start: what reads the log is too slow");
            self.raise(Condition::EventsLost, Subject::Appliance, lost, text, now.wall);
        } else if now.mono.since(self.events_lost_at) >= EVENTS_LOST_DURATION {
            self.clear(Condition::EventsLost, Subject::Appliance);
        }
    }

    /// Once a second: whether a certificate is about to expire.
    pub fn watch_certificates(&mut self, now: WallTime) {
        let certificates = std::mem::take(&mut self.certificates);
        for (number, (file, expires_at)) in &certificates {
            let subject = Subject::Certificate(*number);
            let at = rfc3339::text(*expires_at);
            let cure = "renew it, and `systemctl reload rohrpost`";
            let (mut expired, mut soon) = (None, None);
            if *expires_at <= now {
                expired = Some(format!("{file} has expired at {at}: senders that verify it send nothing; {cure}"));
            } else if expires_at.since(now) < CERTIFICATE_EXPIRES_SOON {
                soon = Some(format!("{file} expires at {at}: {cure}"));
            }
            for (condition, text) in [(Condition::CertificateExpired, expired), (Condition::CertificateExpires, soon)] {
                match text {
                    Some(text) => self.raise(condition, subject, 1, text, now),
                    None => self.clear(condition, subject),
                }
            }
        }
        self.certificates = certificates;
    }

    fn raise(&mut self, condition: Condition, subject: Subject, count: u64, mut text: String, now: WallTime) {
        text.truncate(text.floor_char_boundary(CONDITION_TEXT_SIZE_MAX));
        let full = self.troubles.len() >= CONDITIONS_MAX;
        match self.troubles.get_mut(&(condition, subject)) {
            Some(trouble) => {
                trouble.count = count;
                trouble.text = text;
            }
            None if full => {}
            None => {
                let trouble = Trouble { condition, subject, since: now, count, text };
                self.troubles.insert((condition, subject), trouble);
            }
        }
    }

    fn clear(&mut self, condition: Condition, subject: Subject) {
        self.troubles.remove(&(condition, subject));
    }

    /// What is wrong now, each thing once; at most [`CONDITIONS_MAX`].
    pub fn troubles(&self) -> impl Iterator<Item = &Trouble> {
        self.troubles.values()
    }

    /// Why the box is not ready; nothing if it is.
    pub fn reasons(&self) -> impl Iterator<Item = Reason> {
        let draining = self.draining.then_some(Reason::Draining);
        let refusing = self.troubles.values().filter(|trouble| trouble.condition.refuses_mail());
        let unheard = self.workers.iter().enumerate().filter(|(_, pulses)| !pulses.heard && !pulses.gone);
        let starting = unheard.map(|(worker, _)| Reason::Starting { worker: worker as u16 });
        let too_much = (self.troubles.len() >= CONDITIONS_MAX).then_some(Reason::TooMuch);
        let standby = self.standby.then_some(Reason::Standby);
        draining
            .into_iter()
            .chain(standby)
            .chain(refusing.cloned().map(Reason::Condition))
            .chain(too_much)
            .chain(starting)
    }

    /// Whether all workers answer that were not asked to end.
    pub fn is_live(&self) -> bool {
        let dead = |condition| matches!(condition, Condition::WorkerFailed | Condition::WorkerSilent);
        !self.troubles.values().any(|trouble| dead(trouble.condition))
    }

    /// What the health endpoint answers.
    pub fn report(&self) -> HealthReport {
        let told = |reason: Reason| ReasonReport {
            reason: reason.name(),
            subject: reason.subject().to_string(),
            text: reason.to_string(),
        };
        let reasons: Vec<ReasonReport> = self.reasons().take(HEALTH_REASONS_MAX).map(told).collect();
        HealthReport {
            version: PROTOCOL_VERSION,
            live: self.is_live(),
            ready: reasons.is_empty(),
            draining: self.draining,
            reasons,
        }
    }
}

#[cfg(test)]
mod tests;
