//! How long a segment's answer takes, and when to stop waiting for it (RFC 6298).

use crate::env::Instant;
use crate::limits::{
    RETRANSMISSION_TIMEOUT_CAUTIOUS, RETRANSMISSION_TIMEOUT_INITIAL, RETRANSMISSION_TIMEOUT_MAX,
    RETRANSMISSION_TIMEOUT_MIN,
};
use std::time::Duration;

/// For how long the least round trip that was seen stands: routes change.
const LEAST_LIFETIME: Duration = Duration::from_secs(300);

/// The round-trip time, as it was measured so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RoundTrip {
    /// SRTT, nanoseconds; zero before the first measurement.
    smoothed: u64,
    /// RTTVAR, nanoseconds.
    variation: u64,
    least: u64,
    least_at: Instant,
    /// How often the timeout has been doubled since something arrived.
    pub backoff: u8,
    /// The handshake went through only after a timeout: what is not measured yet may be a long way.
    pub cautious: bool,
}

impl RoundTrip {
    pub const UNKNOWN: RoundTrip =
        RoundTrip { smoothed: 0, variation: 0, least: 0, least_at: Instant::ZERO, backoff: 0, cautious: false };

    /// Takes in a measurement. It ends the doubling too (§5.7).
    pub fn measure(&mut self, sample: Duration, now: Instant) {
        // A clock's tick at least, so that zero means "never measured".
        let sample = (sample.as_nanos() as u64).max(1000);
        if self.smoothed == 0 {
            (self.smoothed, self.variation) = (sample, sample / 2);
        } else {
            let deviation = self.smoothed.abs_diff(sample);
            self.variation = (3 * self.variation + deviation) / 4;
            self.smoothed = (7 * self.smoothed + sample) / 8;
        }
        if self.least == 0 || sample <= self.least || now.since(self.least_at) > LEAST_LIFETIME {
            (self.least, self.least_at) = (sample, now);
        }
        self.backoff = 0;
    }

    /// SRTT and RTTVAR, nanoseconds.
    pub fn numbers(&self) -> (u64, u64) {
        (self.smoothed, self.variation)
    }

    /// Goes on with what another stack has measured.
    pub fn resume((smoothed, variation): (u64, u64), now: Instant) -> RoundTrip {
        let bound = RETRANSMISSION_TIMEOUT_MAX.as_nanos() as u64;
        let (smoothed, variation) = (smoothed.min(bound), variation.min(bound));
        RoundTrip { smoothed, variation, least: smoothed, least_at: now, backoff: 0, cautious: false }
    }

    pub fn is_known(&self) -> bool {
        self.smoothed != 0
    }

    pub fn smoothed(&self) -> Duration {
        Duration::from_nanos(self.smoothed)
    }

    /// The least round trip of the last minutes.
    pub fn least(&self) -> Duration {
        Duration::from_nanos(self.least)
    }

    /// RTO, with the doubling.
    pub fn timeout(&self) -> Duration {
        let base = if self.is_known() {
            Duration::from_nanos(self.smoothed + 4 * self.variation).max(RETRANSMISSION_TIMEOUT_MIN)
        } else if self.cautious {
            RETRANSMISSION_TIMEOUT_CAUTIOUS
        } else {
            RETRANSMISSION_TIMEOUT_INITIAL
        };
        base.saturating_mul(1 << self.backoff.min(16)).min(RETRANSMISSION_TIMEOUT_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(count: u64) -> Duration {
        Duration::from_millis(count)
    }

    #[test]
    fn the_first_measurement_sets_all() {
        let mut trip = RoundTrip::UNKNOWN;
        assert_eq!(trip.timeout(), RETRANSMISSION_TIMEOUT_INITIAL);
        trip.measure(ms(100), Instant::ZERO);
        assert_eq!((trip.smoothed(), trip.timeout()), (ms(100), ms(300)));
    }

    #[test]
    fn a_handshake_with_losses_has_more_patience_until_the_first_measurement() {
        let mut trip = RoundTrip { cautious: true, ..RoundTrip::UNKNOWN };
        assert_eq!(trip.timeout(), RETRANSMISSION_TIMEOUT_CAUTIOUS);
        trip.measure(ms(100), Instant::ZERO);
        assert_eq!(trip.timeout(), ms(300));
    }

    #[test]
    fn a_steady_path_brings_the_timeout_down_to_its_floor() {
        let mut trip = RoundTrip::UNKNOWN;
        for _ in 0..100 {
            trip.measure(ms(10), Instant::ZERO);
        }
        assert_eq!((trip.smoothed(), trip.timeout()), (ms(10), RETRANSMISSION_TIMEOUT_MIN));
    }

    #[test]
    fn doubling_ends_at_the_longest_and_with_a_measurement() {
        let mut trip = RoundTrip::UNKNOWN;
        trip.measure(ms(100), Instant::ZERO);
        trip.backoff = 2;
        assert_eq!(trip.timeout(), ms(1200));
        trip.backoff = u8::MAX;
        assert_eq!(trip.timeout(), RETRANSMISSION_TIMEOUT_MAX);
        trip.measure(ms(100), Instant::ZERO);
        assert!(trip.timeout() < ms(300));
    }

    #[test]
    fn the_least_is_forgotten_after_minutes() {
        let mut trip = RoundTrip::UNKNOWN;
        trip.measure(ms(10), Instant::ZERO);
        trip.measure(ms(50), Instant::ZERO + ms(1000));
        assert_eq!(trip.least(), ms(10));
        trip.measure(ms(50), Instant::ZERO + LEAST_LIFETIME + ms(1));
        assert_eq!(trip.least(), ms(50));
    }
}
