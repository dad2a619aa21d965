//! The control thread's part of alerting: notices to the log and to every hook, each hook at its own pace.
//!
//! In: how the box is, the time. Out: log lines, hooks that run beside the control thread's loop. No hook ever holds up
//! the loop, another hook, or the end of the process for more than [`ALERT_CLOSE_TIMEOUT`].

use super::hook::{Hook, Hooks};
use super::outbox::{AlertCounts, Failure, Outbox};
use super::{Alerts, Notice};
use crate::control::health::Health;
use crate::control::log::Log;
use crate::env::{Clock, Now, SystemClock};
use crate::event::Event;
use crate::limits::ALERT_CLOSE_TIMEOUT;
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio::time::timeout;

/// How an attempt of a hook ended.
pub(in crate::control) struct Outcome {
    hook: usize,
    result: Result<(), String>,
}

/// See the module's documentation.
pub(in crate::control) struct Pager {
    alerts: Alerts,
    hooks: Vec<(Arc<Hook>, Outbox)>,
    sender: mpsc::Sender<Outcome>,
    outcomes: mpsc::Receiver<Outcome>,
}

impl Pager {
    pub fn new(hostname: &str, hooks: &Hooks, now: Now) -> Pager {
        let alerts = Alerts::new(hostname, hooks.repeat, hooks.calm);
        // One attempt of each is under way at a time.
        let (sender, outcomes) = mpsc::channel(hooks.list.len().max(1));
        let hooks = hooks.list.iter().map(|hook| (Arc::clone(hook), Outbox::default())).collect();
        let mut pager = Pager { alerts, hooks, sender, outcomes };
        let started = pager.alerts.started(now.wall);
        pager.push(started);
        pager
    }

    /// Tells what is to be told. To be called in every turn, and so at least once a second.
    pub fn turn(&mut self, health: &Health, now: Now, log: &mut Log) {
        for notice in self.alerts.update(health.troubles(), now) {
            log.event(&Event::Alert(notice.clone()), now.wall);
            self.push(notice);
        }
        self.run_hooks(now);
    }

    fn push(&mut self, notice: Notice) {
        for (_, outbox) in &mut self.hooks {
            outbox.push(notice.clone());
        }
    }

    fn run_hooks(&mut self, now: Now) {
        for (number, (hook, outbox)) in self.hooks.iter_mut().enumerate() {
            if let Some(notice) = outbox.next(now.mono) {
                let (hook, sender) = (Arc::clone(hook), self.sender.clone());
                tokio::spawn(async move {
                    let result = hook.tell(&notice).await;
                    // Nobody waits for it any more when the process ends.
                    let _ = sender.send(Outcome { hook: number, result }).await;
                });
            }
        }
    }

    /// Waits until an attempt has ended.
    pub async fn outcome(&mut self) -> Outcome {
        match self.outcomes.recv().await {
            Some(outcome) => outcome,
            // We hold a sender ourselves.
            None => std::future::pending().await,
        }
    }

    /// Takes note of it.
    pub fn done(&mut self, outcome: Outcome, now: Now, log: &mut Log) {
        let Outcome { hook, result } = outcome;
        let (hook, outbox) = &mut self.hooks[hook];
        let failure = outbox.done(result.is_ok(), now.mono);
        if let (Some(Failure { notice, attempts, given_up }), Err(error)) = (failure, result) {
            let Notice { condition, subject, state, .. } = notice;
            let hook = hook.name().to_owned();
            let subject = subject.to_string();
            let event = Event::AlertFailed { hook, condition, subject, state, attempts, given_up, error };
            log.event(&event, now.wall);
        }
    }

    /// What became of all notices.
    pub fn counts(&self) -> AlertCounts {
        let mut counts = AlertCounts::default();
        for (_, outbox) in &self.hooks {
            counts += outbox.counts();
        }
        counts
    }

    /// Before the process ends: lets hooks tell what waits, each thing once more, and not for long.
    pub async fn close(mut self, clock: &SystemClock, log: &mut Log) {
        self.hooks.iter_mut().for_each(|(_, outbox)| outbox.hurry());
        let told = async {
            self.run_hooks(clock.now());
            while self.hooks.iter().any(|(_, outbox)| outbox.is_under_way()) {
                let outcome = self.outcome().await;
                self.done(outcome, clock.now(), log);
                self.run_hooks(clock.now());
            }
        };
        let _ = timeout(ALERT_CLOSE_TIMEOUT, told).await;
    }
}
