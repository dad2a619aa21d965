//! Rates: so many in such a time, kept evenly.
//!
//! In: the time. Out: whether one more may go, and when the next one may. A bucket fills with time and gives up one measure for each
//! that goes; it holds no more than a hundredth of a second's worth, or one, so that in no stretch of time much more than the
//! rate goes. Whole numbers only: over days not one is lost or won. A tally tells how many went.

use crate::env::Instant;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// So many in such a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rate {
    /// How many; at least one.
    count: u32,
    /// In how many seconds.
    period_s: u32,
}

/// The most that a rate may be of.
const COUNT_MAX: u32 = 1_000_000;

/// Units in which a rate is written, and their seconds.
const UNITS: [(&str, u32); 4] = [("s", 1), ("m", 60), ("h", 3600), ("d", 86_400)];

/// What a bucket holds, as time in which that much goes.
const BURST: Duration = Duration::from_millis(10);

impl Rate {
    /// How long it is from one to the next, rounded up: of two rates the one with the longer gap is the stricter.
    pub fn gap(self) -> Duration {
        Duration::from_nanos((u64::from(self.period_s) * 1_000_000_000).div_ceil(u64::from(self.count)))
    }
}

/// A text that is no rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is no rate: a whole number from 1 to 1000000, a slash and s, m, h or d, such as \"10/s\" or \"600/m\"")]
pub struct BadRate;

impl FromStr for Rate {
    type Err = BadRate;

    fn from_str(text: &str) -> Result<Rate, BadRate> {
        let (number, unit) = text.split_once('/').ok_or(BadRate)?;
        let (_, period_s) = UNITS.iter().find(|(name, _)| *name == unit).ok_or(BadRate)?;
        let digits = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
        let count = digits.then(|| number.parse().ok()).flatten().ok_or(BadRate)?;
        if (1..=COUNT_MAX).contains(&count) { Ok(Rate { count, period_s: *period_s }) } else { Err(BadRate) }
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = UNITS.iter().find(|(_, seconds)| *seconds == self.period_s).map_or("?", |(unit, _)| unit);
        write!(f, "{}/{unit}", self.count)
    }
}

/// What a rate has left.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bucket {
    rate: Rate,
    /// In nanoseconds times the rate's count; at most `full`, and one that goes takes the nanoseconds of the period.
    level: u64,
    /// When it was so full.
    at: Instant,
}

impl Bucket {
    /// A full one.
    pub fn new(rate: Rate, now: Instant) -> Bucket {
        let mut bucket = Bucket { rate, level: 0, at: now };
        bucket.level = bucket.full();
        bucket
    }

    fn measure(&self) -> u64 {
        u64::from(self.rate.period_s) * 1_000_000_000
    }

    fn full(&self) -> u64 {
        let burst = BURST.as_nanos() as u64 * u64::from(self.rate.count) / self.measure();
        self.measure() * burst.max(1)
    }

    fn level(&self, now: Instant) -> u64 {
        let elapsed = now.since(self.at).as_nanos() as u64;
        elapsed.saturating_mul(self.rate.count.into()).saturating_add(self.level).min(self.full())
    }

    /// When one more may go; `now` if it may already.
    pub fn ready_at(&self, now: Instant) -> Instant {
        let missing = self.measure().saturating_sub(self.level(now));
        now + Duration::from_nanos(missing.div_ceil(self.rate.count.into()))
    }

    /// One more goes. What goes before its time delays those after it.
    pub fn take(&mut self, now: Instant) {
        self.level = self.level(now).saturating_sub(self.measure());
        self.at = now;
    }
}

/// What went in the last minute, from two counts: of the minute of the clock before this one, the part counts that is less than a
/// minute ago.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tally {
    /// Which one it is.
    minute: u64,
    in_it: u32,
    before: u32,
}

const MINUTE: Duration = Duration::from_secs(60);

impl Tally {
    /// One more went.
    pub fn add(&mut self, now: Instant) {
        self.turn(now);
        self.in_it = self.in_it.saturating_add(1);
    }

    /// How many went a second, over the last minute.
    pub fn per_second(mut self, now: Instant) -> f64 {
        self.turn(now);
        let into = (now.nanos() % MINUTE.as_nanos() as u64) as f64 / MINUTE.as_nanos() as f64;
        (f64::from(self.in_it) + f64::from(self.before) * (1.0 - into)) / MINUTE.as_secs_f64()
    }

    fn turn(&mut self, now: Instant) {
        let minute = now.nanos() / MINUTE.as_nanos() as u64;
        if minute != self.minute {
            self.before = if minute == self.minute + 1 { self.in_it } else { 0 };
            (self.minute, self.in_it) = (minute, 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gone(rate: &str, seconds: u64, step: Duration) -> u64 {
        let mut now = Instant::ZERO;
        let mut bucket = Bucket::new(rate.parse().unwrap(), now);
        let (end, mut count) = (now + Duration::from_secs(seconds), 0);
        while now < end {
            if bucket.ready_at(now) <= now {
                bucket.take(now);
                count += 1;
            } else {
                now = now + step;
            }
        }
        count
    }

    #[test]
    fn a_rate_is_kept_exactly() {
        let step = Duration::from_micros(10);
        assert_eq!(gone("10/s", 10, step), 100);
        assert_eq!(gone("7/m", 600, Duration::from_millis(1)), 70);
        assert_eq!(gone("1/d", 86_400 * 3, Duration::from_secs(60)), 3);
        // A hundredth of a second's worth at the start.
        assert_eq!(gone("1000/s", 3, step), 3009);
    }

    #[test]
    fn what_was_not_used_is_not_saved_up() {
        let rate: Rate = "10/s".parse().unwrap();
        let mut bucket = Bucket::new(rate, Instant::ZERO);
        let now = Instant::ZERO + Duration::from_secs(1_000_000);
        bucket.take(now);
        assert_eq!(bucket.ready_at(now), now + Duration::from_millis(100));
        assert_eq!(rate.gap(), Duration::from_millis(100));
    }

    #[test]
    fn rates_are_written_as_they_are_read() {
        for text in ["10/s", "600/m", "1/h", "1000000/d"] {
            assert_eq!(text.parse::<Rate>().unwrap().to_string(), text);
        }
        for text in ["", "10", "/s", "0/s", "+1/s", "1000001/s", "10/min", "10/ms", "1.5/s", "10 /s"] {
            assert_eq!(text.parse::<Rate>(), Err(BadRate), "{text}");
        }
    }

    #[test]
    fn a_tally_tells_the_rate_of_the_last_minute() {
        let mut tally = Tally::default();
        let at = |millis: u64| Instant::ZERO + Duration::from_millis(millis);
        assert_eq!(tally.per_second(at(0)), 0.0);
        // Ten a second, for longer than is kept.
        for number in 0..3000 {
            tally.add(at(number * 100));
        }
        let rate = tally.per_second(at(299_900));
        assert!((rate - 10.0).abs() < 0.05, "{rate}");
        // And then no more.
        let rates = [310, 330, 350, 360, 400].map(|second| tally.per_second(at(second * 1000)));
        assert!(rates.is_sorted_by(|one, other| one > other || *one == 0.0), "{rates:?}");
        assert!((rates[1] - 5.0).abs() < 0.01, "{rates:?}");
        assert_eq!(rates[3..], [0.0, 0.0]);
    }
}
