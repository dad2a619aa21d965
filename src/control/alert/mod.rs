//! Tells engineers what is wrong, once, and when it is over.
//!
//! ```text
//!  health ─► alerts (what is told, and when) ─► notices ─► outbox (one a hook: order, retries) ─► webhook, command
//! ```
//!
//! In: what is wrong now, the time. Out: notices, each of which goes to the log and to every hook. [`Alerts`] and
//! [`Outbox`] are sans-IO; `hook` has the adapters, and `pager` joins them for the control thread. Nothing here finds out
//! what is wrong: that is [`super::health`].
//!
//! # What is told
//!
//! A condition with its subject is `raised` once. While it lasts it `continues` every `repeat`, and is `cleared` once it
//! has been gone for `calm`; what comes back sooner was never over. What merely happens (damage that was found) is never
//! cleared, and told again only if it happens again. A process knows nothing of what the one before it told: it begins
//! with `started`, `cleared`, after which only what is raised anew is true.
//!
//! ```json
//! {"version":1,"hostname":"mx1.example.net","condition":"log_full","subject":"log 0","state":"raised",
//!  "severity":"critical","since":"2026-11-24T04:19:11.250000Z","text":"log 0 is full and mail is refused with 452: …"}
//! ```

mod hook;
mod outbox;
mod pager;
#[cfg(test)]
mod tests;

pub use hook::{HookError, Hooks};
pub use outbox::{AlertCounts, Outbox};
pub(super) use pager::Pager;

use super::condition::{Condition, Severity, Subject, Trouble};
use super::protocol::PROTOCOL_VERSION;
use crate::env::{Instant, Now, WallTime};
use crate::event::rfc3339;
use crate::limits::CONDITIONS_MAX;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// How far a condition is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum AlertState {
    /// It has begun.
    Raised,
    /// It lasts.
    Continues,
    /// It is over.
    Cleared,
}

/// What engineers are told: the object that hooks get.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Notice {
    /// [`PROTOCOL_VERSION`].
    pub version: u32,
    /// The box.
    pub hostname: Arc<str>,
    /// What is wrong.
    pub condition: Condition,
    /// With what.
    pub subject: Subject,
    /// How far it is.
    pub state: AlertState,
    /// How soon somebody should look.
    pub severity: Severity,
    /// When it began.
    #[serde(with = "rfc3339")]
    pub since: WallTime,
    /// For a person.
    pub text: String,
}

/// A condition that was told.
#[derive(Debug)]
struct Told {
    since: WallTime,
    text: String,
    /// Of [`Trouble::count`], told.
    count: u64,
    /// The last time.
    at: Instant,
    /// Since when it has been gone.
    gone_since: Option<Instant>,
}

/// Decides what is told when. See the module's documentation.
#[derive(Debug)]
pub struct Alerts {
    hostname: Arc<str>,
    repeat: Duration,
    calm: Duration,
    /// At most [`CONDITIONS_MAX`].
    told: BTreeMap<(Condition, Subject), Told>,
}

impl Alerts {
    /// For the box of this name, with nothing told.
    pub fn new(hostname: &str, repeat: Duration, calm: Duration) -> Alerts {
        Alerts { hostname: hostname.into(), repeat, calm, told: BTreeMap::new() }
    }

    /// What is told before everything else.
    pub fn started(&self, now: WallTime) -> Notice {
        let text = "rohrpost has started: what it raised before is over, unless it is raised again".to_owned();
        self.notice(Condition::Started, Subject::Appliance, AlertState::Cleared, now, text)
    }

    /// Holds what is wrong now against what was told, and says what is to be told. To be called when something may have
    /// changed, and once a second. At most [`CONDITIONS_MAX`] troubles count, as [`super::Health`] holds them.
    pub fn update<'a>(&mut self, troubles: impl Iterator<Item = &'a Trouble>, now: Now) -> Vec<Notice> {
        let mut notices = Vec::new();
        let mut gone: BTreeSet<(Condition, Subject)> = self.told.keys().copied().collect();
        let mut new = Vec::new();
        for trouble in troubles.take(CONDITIONS_MAX) {
            let key = (trouble.condition, trouble.subject);
            gone.remove(&key);
            match self.told.get_mut(&key) {
                Some(told) => {
                    told.gone_since = None;
                    told.text.clone_from(&trouble.text);
                    let again = trouble.condition.lasts() || trouble.count > told.count;
                    if again && now.mono.since(told.at) >= self.repeat {
                        (told.at, told.count) = (now.mono, trouble.count);
                        let (since, text) = (told.since, trouble.text.clone());
                        notices.push(self.notice(key.0, key.1, AlertState::Continues, since, text));
                    }
                }
                None => new.push(trouble),
            }
        }
        for key in &gone {
            if let Some(told) = self.told.get_mut(key) {
                let since = *told.gone_since.get_or_insert(now.mono);
                if now.mono.since(since) >= self.calm {
                    notices.extend(self.clear(*key));
                }
            }
        }
        for trouble in new {
            if self.told.len() >= CONDITIONS_MAX {
                // All that is wrong fits, and so one of these is over; that it is told early does no harm.
                let oldest = self.told.iter().filter_map(|(key, told)| Some((told.gone_since?, *key))).min();
                notices.extend(oldest.and_then(|(_, key)| self.clear(key)));
            }
            let Trouble { condition, subject, since, count, text } = trouble.clone();
            notices.push(self.notice(condition, subject, AlertState::Raised, since, text.clone()));
            self.told.insert((condition, subject), Told { since, text, count, at: now.mono, gone_since: None });
        }
        notices
    }

    /// Forgets a condition, and says that it is over.
    fn clear(&mut self, key: (Condition, Subject)) -> Option<Notice> {
        let told = self.told.remove(&key)?;
        Some(self.notice(key.0, key.1, AlertState::Cleared, told.since, told.text))
    }

    fn notice(
        &self,
        condition: Condition,
        subject: Subject,
        state: AlertState,
        since: WallTime,
        text: String,
    ) -> Notice {
        let hostname = Arc::clone(&self.hostname);
        let severity = condition.severity();
        Notice { version: PROTOCOL_VERSION, hostname, condition, subject, state, severity, since, text }
    }

    /// Conditions that are kept.
    pub fn count(&self) -> usize {
        self.told.len()
    }
}
