//! When the next message is due.
//!
//! In: a pace and the time. Out: the moment at which each message was *intended* to be sent. In an open loop it does not
//! depend on what the server does: while the server stalls, messages go on falling due, and each waits from the moment it
//! was meant for. Latency that is measured from there has no coordinated omission, which is what a generator commits that
//! waits with a stalled server and then reports one slow answer where thousands of senders would have suffered.

use super::plan::{Pace, unit};
use crate::env::Instant;
use rand::rngs::StdRng;

/// The moments at which messages are due.
#[derive(Debug)]
pub(super) struct Schedule {
    pace: Pace,
    begin: Instant,
    /// No message is meant for a time from here on.
    until: Instant,
    /// When the next one is meant to be sent, nanoseconds after `begin`. The 53 bits of it count them for months.
    next_nanos: f64,
}

impl Schedule {
    pub(super) fn new(pace: Pace, begin: Instant, until: Instant, random: &mut StdRng) -> Schedule {
        let mut schedule = Schedule { pace, begin, until, next_nanos: 0.0 };
        // Each begins at a place of its own within its gap, lest all workers and classes send at once.
        if let Pace::Fixed(rate) = pace {
            schedule.next_nanos = (1.0 - unit(random)) * 1e9 / rate;
        } else {
            schedule.advance(random);
        }
        schedule
    }

    /// The moment that the next message is meant for, if it has come. In a closed loop that is always now.
    pub(super) fn due(&self, now: Instant) -> Option<Instant> {
        match self.next_at() {
            None => (now < self.until).then_some(now),
            Some(next) => (next <= now && next < self.until).then_some(next),
        }
    }

    /// A message is taken in hand: on to the next one.
    pub(super) fn advance(&mut self, random: &mut StdRng) {
        match self.pace {
            Pace::Closed => {}
            Pace::Fixed(rate) => self.next_nanos += 1e9 / rate,
            Pace::Poisson(rate) => self.next_nanos += -unit(random).ln() * 1e9 / rate,
        }
    }

    /// When the next message falls due; `None` in a closed loop, where sessions decide.
    pub(super) fn next_at(&self) -> Option<Instant> {
        if self.pace == Pace::Closed {
            return None;
        }
        Some(Instant::from_nanos(self.begin.nanos().saturating_add(self.next_nanos as u64)))
    }

    /// When the schedule needs attention by itself.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.next_at().filter(|next| *next < self.until)
    }

    /// How many messages are due that nobody has taken in hand. Takes them.
    pub(super) fn drain(&mut self, now: Instant, random: &mut StdRng) -> u64 {
        let mut count = 0;
        while self.pace != Pace::Closed && self.due(now).is_some() {
            self.advance(random);
            count += 1;
        }
        count
    }

    /// No message is meant for a time from `until` on.
    pub(super) fn end(&mut self, until: Instant) {
        self.until = self.until.min(until);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use std::time::Duration;

    fn moments(pace: Pace, span: Duration) -> Vec<u64> {
        let mut random = StdRng::seed_from_u64(7);
        let until = Instant::ZERO + span;
        let mut schedule = Schedule::new(pace, Instant::ZERO, until, &mut random);
        let mut moments = Vec::new();
        while let Some(due) = schedule.due(Instant::FAR) {
            moments.push(due.nanos());
            schedule.advance(&mut random);
        }
        moments
    }

    #[test]
    fn a_fixed_rate_is_kept_to_the_nanosecond() {
        let moments = moments(Pace::Fixed(3000.0), Duration::from_secs(100));
        assert!((299_999..=300_001).contains(&moments.len()), "{}", moments.len());
        assert!(moments.windows(2).all(|pair| (333_332..=333_335).contains(&(pair[1] - pair[0]))));
    }

    #[test]
    fn random_arrivals_have_the_wanted_mean_and_the_spread_of_a_poisson_process() {
        let moments = moments(Pace::Poisson(1000.0), Duration::from_secs(100));
        assert!((99_000..101_000).contains(&moments.len()), "{}", moments.len());
        let gaps: Vec<f64> = moments.windows(2).map(|pair| (pair[1] - pair[0]) as f64 / 1e6).collect();
        let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
        let deviation = (gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / gaps.len() as f64).sqrt();
        assert!((deviation / mean - 1.0).abs() < 0.02, "{mean} {deviation}");
    }

    #[test]
    fn what_falls_due_while_nobody_looks_keeps_its_own_moment() {
        let mut random = StdRng::seed_from_u64(7);
        let mut schedule = Schedule::new(Pace::Fixed(10.0), Instant::ZERO, Instant::FAR, &mut random);
        let late = Instant::ZERO + Duration::from_secs(5);
        let first = schedule.due(late).unwrap();
        assert!(first < Instant::ZERO + Duration::from_millis(100));
        schedule.advance(&mut random);
        assert_eq!(schedule.due(late).unwrap().since(first), Duration::from_millis(100));
        assert!((48..=49).contains(&schedule.drain(late, &mut random)));
        let closed = Schedule::new(Pace::Closed, Instant::ZERO, late, &mut random);
        assert_eq!((closed.due(Instant::ZERO), closed.due(late)), (Some(Instant::ZERO), None));
    }
}
