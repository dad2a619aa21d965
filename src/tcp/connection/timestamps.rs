//! The timestamps option (RFC 7323): round trips measured on repeated segments too, and old segments told from new ones.

use crate::env::Instant;
use std::time::Duration;

/// RFC 7323 §5.5: after so long a silence the peer's clock may have gone round.
const RECENT_LIFETIME: Duration = Duration::from_secs(24 * 24 * 3600);

/// The peer's clock, as it was seen last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timestamps {
    /// TS.Recent.
    pub recent: u32,
    pub recent_at: Instant,
}

/// Milliseconds since the origin of the clock, going round.
pub fn millis(now: Instant) -> u32 {
    (now.nanos() / 1_000_000) as u32
}

/// The clock that our timestamps show.
pub fn clock(offset: u32, now: Instant) -> u32 {
    offset.wrapping_add(millis(now))
}

impl Timestamps {
    /// The segment is older than one that was taken before (PAWS, RFC 7323 §5.3).
    pub fn is_old(&self, value: u32, now: Instant) -> bool {
        (value.wrapping_sub(self.recent) as i32) < 0 && now.since(self.recent_at) < RECENT_LIFETIME
    }

    /// A segment that covers the last acknowledged number carries this value (RFC 7323 §4.3).
    pub fn note(&mut self, value: u32, now: Instant) {
        if !self.is_old(value, now) {
            (self.recent, self.recent_at) = (value, now);
        }
    }
}
