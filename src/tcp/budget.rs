//! How often strangers are answered.

use crate::env::Instant;
use rand::RngExt;
use rand::rngs::StdRng;
use std::time::Duration;

/// Answers of one kind, by second.
///
/// The limit is drawn anew every second between one half and three halves of the nominal one: a fixed limit that all
/// share tells a blind attacker, who counts what is left of it, whether his guess was right (CVE-2016-5696).
pub(super) struct Rate {
    nominal: u32,
    second: u64,
    left: u32,
}

impl Rate {
    pub fn new(nominal: u32) -> Rate {
        Rate { nominal, second: u64::MAX, left: 0 }
    }

    pub fn take(&mut self, now: Instant, random: &mut StdRng) -> bool {
        let second = now.since(Instant::ZERO).as_nanos() as u64 / Duration::from_secs(1).as_nanos() as u64;
        if second != self.second {
            self.second = second;
            self.left = random.random_range(self.nominal / 2..=self.nominal * 3 / 2);
        }
        let granted = self.left > 0;
        self.left = self.left.saturating_sub(1);
        granted
    }
}
