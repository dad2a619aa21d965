//! The notices that wait for one hook: in order, one at a time, tried again when the hook fails. Sans-IO.
//!
//! In: notices, what became of each attempt, the time. Out: the notice to be told now, and counts. At most
//! [`ALERTS_WAITING_MAX`] wait.

use super::Notice;
use crate::env::Instant;
use crate::limits::{ALERT_ATTEMPTS_MAX, ALERT_RETRY_FIRST, ALERT_RETRY_MAX, ALERTS_WAITING_MAX};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::ops::AddAssign;
use std::time::Duration;

/// What became of notices since the start. Each hook's counts by itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AlertCounts {
    /// Told.
    pub told: u64,
    /// Attempts that failed.
    pub failed: u64,
    /// Never told: the hook failed too often, or too many waited.
    pub lost: u64,
    /// Wait to be told.
    pub waiting: u64,
}

impl AddAssign for AlertCounts {
    fn add_assign(&mut self, AlertCounts { told, failed, lost, waiting }: AlertCounts) {
        self.told += told;
        self.failed += failed;
        self.lost += lost;
        self.waiting += waiting;
    }
}

/// An attempt that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Of what.
    pub notice: Notice,
    /// Attempts so far.
    pub attempts: u32,
    /// It is not tried again.
    pub given_up: bool,
}

/// One hook's notices.
#[derive(Debug, Default)]
pub struct Outbox {
    /// The first of them is under way, or the next to be.
    waiting: VecDeque<Notice>,
    under_way: bool,
    /// Of the first.
    attempts: u32,
    retry_at: Instant,
    counts: AlertCounts,
}

impl Outbox {
    /// One more is to be told.
    pub fn push(&mut self, notice: Notice) {
        if self.waiting.len() >= ALERTS_WAITING_MAX {
            // What is under way cannot be taken back, so that the one behind it is the oldest.
            let oldest = usize::from(self.under_way);
            self.waiting.remove(oldest);
            self.counts.lost += 1;
            if oldest == 0 {
                self.attempts = 0;
            }
        }
        self.waiting.push_back(notice);
    }

    /// The notice that the hook is to tell now; [`done`](Outbox::done) says how it went.
    pub fn next(&mut self, now: Instant) -> Option<Notice> {
        if self.under_way || now < self.retry_at {
            return None;
        }
        let notice = self.waiting.front()?.clone();
        self.under_way = true;
        Some(notice)
    }

    /// The attempt under way has ended.
    pub fn done(&mut self, told: bool, now: Instant) -> Option<Failure> {
        self.under_way = false;
        if told {
            self.counts.told += 1;
            self.attempts = 0;
            self.waiting.pop_front();
            return None;
        }
        self.counts.failed += 1;
        self.attempts += 1;
        let attempts = self.attempts;
        self.retry_at = now + pause(attempts);
        let given_up = attempts >= ALERT_ATTEMPTS_MAX;
        let notice = self.waiting.front()?.clone();
        if given_up {
            self.counts.lost += 1;
            self.attempts = 0;
            self.waiting.pop_front();
        }
        Some(Failure { notice, attempts, given_up })
    }

    /// What waits is tried at once, whatever failed before: there will be no other time.
    pub fn hurry(&mut self) {
        self.retry_at = Instant::ZERO;
    }

    /// Whether the hook is telling something now.
    pub fn is_under_way(&self) -> bool {
        self.under_way
    }

    /// What became of notices so far.
    pub fn counts(&self) -> AlertCounts {
        AlertCounts { waiting: self.waiting.len() as u64, ..self.counts }
    }
}

/// The pause after so many failures in a row.
fn pause(failures: u32) -> Duration {
    let doubled = 2_u32.saturating_pow(failures.saturating_sub(1));
    ALERT_RETRY_FIRST.saturating_mul(doubled).min(ALERT_RETRY_MAX)
}
