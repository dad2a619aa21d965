//! When to try again, and when to give up.

use crate::env::WallTime;
use crate::limits::{
    RETRY_AGE_MAX_DEFAULT, RETRY_FIRST_DEFAULT, RETRY_GROWTH_DEFAULT, RETRY_HELD_AGE_MAX_DEFAULT, RETRY_JITTER_DEFAULT,
    RETRY_MAX_DEFAULT,
};
use std::time::Duration;

/// How deferred recipients are tried again (RFC 5321 §4.5.4.1).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Retry {
    /// The delay after the first attempt.
    pub first: Duration,
    /// What each delay is multiplied with to get the next; at least 1.
    pub growth: f64,
    /// The longest delay.
    pub max: Duration,
    /// The part of itself by which a delay varies, 0 to 1.
    pub jitter: f64,
    /// The age, counted from when the message was received, at which a failed attempt is the last.
    pub age_max: Duration,
    /// The same for a message that an operator holds; not less than `age_max`.
    pub held_age_max: Duration,
}

impl Default for Retry {
    fn default() -> Retry {
        Retry {
            first: RETRY_FIRST_DEFAULT,
            growth: RETRY_GROWTH_DEFAULT,
            max: RETRY_MAX_DEFAULT,
            jitter: RETRY_JITTER_DEFAULT,
            age_max: RETRY_AGE_MAX_DEFAULT,
            held_age_max: RETRY_HELD_AGE_MAX_DEFAULT,
        }
    }
}

impl Retry {
    /// The delay after a failed attempt that `attempts` others came before. `entropy` picks the place within the jitter;
    /// equal entropy keeps recipients together. Never longer than `max`, and spread below `max` once it is reached.
    pub fn delay(&self, attempts: u32, entropy: u64) -> Duration {
        let max = self.max.as_secs_f64();
        let power = self.growth.max(1.0).powi(attempts.min(i32::MAX as u32) as i32);
        // Written so that an infinite product ends at the maximum too.
        let base = (self.first.as_secs_f64() * power).min(max);
        let jitter = self.jitter.clamp(0.0, 1.0);
        let bottom = base * (1.0 - jitter);
        let top = (base * (1.0 + jitter)).min(max);
        // 53 bits fill the mantissa: a number in [0, 1).
        let place = (entropy >> 11) as f64 / (1u64 << 53) as f64;
        Duration::try_from_secs_f64(bottom + (top - bottom) * place).unwrap_or(self.max).min(self.max)
    }

    /// Whether an attempt that failed now was the last.
    pub fn expired(&self, received_at: WallTime, now: WallTime) -> bool {
        now.since(received_at) >= self.age_max
    }

    /// Whether a message has been held by an operator for too long.
    pub fn held_expired(&self, received_at: WallTime, now: WallTime) -> bool {
        now.since(received_at) >= self.held_age_max.max(self.age_max)
    }

    /// When to try again, given the delay. The end of the message's life is not overshot, so that its
    /// sender learns of a failure when promised.
    pub fn next(&self, received_at: WallTime, now: WallTime, delay: Duration) -> WallTime {
        let end = received_at + self.age_max;
        // But a last attempt on the heels of this one would be of no use.
        (now + delay).min(end).max(now + delay.min(self.first.mul_f64(0.5)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn retry(jitter: f64) -> Retry {
        Retry { jitter, ..Retry::default() }
    }

    #[test]
    fn delays_double_from_one_minute_to_four_hours() {
        let seconds: Vec<u64> = (0..11).map(|attempts| retry(0.0).delay(attempts, 7).as_secs()).collect();
        assert_eq!(seconds, [60, 120, 240, 480, 960, 1920, 3840, 7680, 14_400, 14_400, 14_400]);
        assert_eq!(retry(0.0).delay(u32::MAX, 7).as_secs(), 14_400);
    }

    #[test]
    fn jitter_spreads_delays_even_at_the_maximum() {
        let retry = retry(0.1);
        assert_eq!(retry.delay(0, 0).as_secs_f64(), 54.0);
        assert!((retry.delay(0, u64::MAX).as_secs_f64() - 66.0).abs() < 0.001);
        assert_eq!(retry.delay(40, 0).as_secs_f64(), 12_960.0);
        assert!((retry.delay(40, u64::MAX).as_secs_f64() - 14_400.0).abs() < 0.001);
    }

    #[test]
    fn a_message_expires_at_its_age_and_is_tried_once_more_just_then() {
        let retry = retry(0.0);
        let received_at = WallTime::from_micros(1_000_000);
        let end = received_at + retry.age_max;
        assert!(!retry.expired(received_at, WallTime::from_micros(end.micros() - 1)));
        assert!(retry.expired(received_at, end));
        assert!(!retry.expired(received_at, WallTime::from_micros(0)), "the clock was set back");
        let hour_before = WallTime::from_micros(end.micros() - 3_600_000_000);
        assert_eq!(retry.next(received_at, hour_before, Duration::from_secs(14_400)), end);
        let just_before = WallTime::from_micros(end.micros() - 1);
        assert_eq!(
            retry.next(received_at, just_before, Duration::from_secs(60)),
            just_before + Duration::from_secs(30)
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]
        #[test]
        fn a_delay_stays_within_its_bounds(
            first in 0u64..100_000, growth in proptest::num::f64::ANY, max in 1u64..1_000_000,
            jitter in proptest::num::f64::ANY, attempts: u32, entropy: u64,
        ) {
            let (first, max) = (Duration::from_secs(first), Duration::from_secs(max));
            let retry = Retry { first, growth, max, jitter, age_max: Duration::from_secs(1), ..Retry::default() };
            prop_assert!(retry.delay(attempts, entropy) <= max);
        }
    }
}
