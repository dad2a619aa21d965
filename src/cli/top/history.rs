//! What two statuses, one after the other, say about the time between them.

use crate::control::{MessageCounts, StatusReport};
use crate::env::Now;
use std::collections::VecDeque;
use std::time::Duration;

/// Rates that the screen keeps: two minutes of seconds, and as many columns as a wide terminal has for them.
const RATES_MAX: usize = 120;

/// What happened, a second.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Rates {
    pub accepted: f64,
    pub refused: f64,
    pub delivered: f64,
    pub deferred: f64,
    pub bounced: f64,
}

/// The last status, and what came before it.
#[derive(Debug, Default)]
pub(super) struct History {
    last: Option<(StatusReport, Now)>,
    /// The youngest last.
    rates: VecDeque<Rates>,
    /// Why the appliance was not reached the last time.
    failure: Option<String>,
}

impl History {
    /// Takes a status.
    pub fn take(&mut self, report: StatusReport, now: Now) {
        self.failure = None;
        // After a restart everything is counted from zero again.
        let before = self.last.as_ref().filter(|(before, _)| before.about.started_at == report.about.started_at);
        match before {
            Some((before, at)) => {
                let rates = Rates::between(before.messages, report.messages, now.mono.since(at.mono));
                if self.rates.len() == RATES_MAX {
                    self.rates.pop_front();
                }
                self.rates.push_back(rates);
            }
            None => self.rates.clear(),
        }
        self.last = Some((report, now));
    }

    /// The appliance did not answer.
    pub fn fail(&mut self, reason: String) {
        self.failure = Some(reason);
    }

    /// The last status that was had.
    pub fn report(&self) -> Option<&StatusReport> {
        self.last.as_ref().map(|(report, _)| report)
    }

    /// Why there is no newer one.
    pub fn failure(&self) -> Option<&str> {
        self.failure.as_deref()
    }

    /// The rates of the last interval.
    pub fn rates(&self) -> Rates {
        self.rates.back().copied().unwrap_or_default()
    }

    /// One of the rates in the last `count` intervals, the youngest last.
    pub fn course(&self, count: usize, rate: impl Fn(&Rates) -> f64) -> Vec<u64> {
        let skipped = self.rates.len().saturating_sub(count);
        // Rates of less than one are none of a curve's business.
        self.rates.iter().skip(skipped).map(|rates| rate(rates).round() as u64).collect()
    }
}

impl Rates {
    fn between(before: MessageCounts, after: MessageCounts, time: Duration) -> Rates {
        let seconds = time.as_secs_f64();
        let rate = |count: fn(&MessageCounts) -> u64| {
            let count = count(&after).saturating_sub(count(&before));
            if seconds > 0.0 { count as f64 / seconds } else { 0.0 }
        };
        Rates {
            accepted: rate(|counts| counts.accepted),
            refused: rate(|counts| counts.refused),
            delivered: rate(|counts| counts.delivered),
            deferred: rate(|counts| counts.deferred),
            bounced: rate(|counts| counts.bounced),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::status_report;
    use crate::env::{Instant, WallTime};

    fn at(millis: u64) -> Now {
        Now { mono: Instant::from_nanos(millis * 1_000_000), wall: WallTime::default() }
    }

    #[test]
    fn a_rate_is_what_came_between_two_statuses() {
        let mut history = History::default();
        let mut one = status_report();
        history.take(one.clone(), at(0));
        assert_eq!(history.rates(), Rates::default(), "there is nothing to compare with");
        one.messages.accepted += 500;
        one.messages.deferred += 1;
        history.take(one, at(500));
        assert_eq!(history.rates(), Rates { accepted: 1000.0, deferred: 2.0, ..Rates::default() });
        assert_eq!(history.course(10, |rates| rates.accepted), [1000]);
    }

    #[test]
    fn after_a_restart_nothing_is_compared_with_before() {
        let mut history = History::default();
        let mut one = status_report();
        one.messages.accepted = 1000;
        history.take(one.clone(), at(0));
        history.take(one.clone(), at(1000));
        history.fail("gone".into());
        assert_eq!((history.failure(), history.report()), (Some("gone"), Some(&one)));
        one.about.started_at = one.about.started_at + Duration::from_secs(5);
        one.messages.accepted = 3;
        history.take(one, at(2000));
        assert_eq!(history.failure(), None);
        assert_eq!(history.course(10, |rates| rates.accepted), [0u64; 0]);
    }

    #[test]
    fn the_history_does_not_grow_for_ever() {
        let mut history = History::default();
        for second in 0..1000 {
            history.take(status_report(), at(second * 1000));
        }
        assert_eq!(history.course(usize::MAX, |rates| rates.accepted).len(), RATES_MAX);
        assert_eq!(history.course(7, |rates| rates.accepted).len(), 7);
    }
}
