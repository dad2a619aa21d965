//! Two clocks that are never mixed: a monotonic one for deadlines and a wall clock for what is written
//! down (headers, retry times that outlive the process).

use std::sync::OnceLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A point on the monotonic clock, nanoseconds since the process chose its origin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(u64);

impl Instant {
    /// The origin of the clock.
    pub const ZERO: Instant = Instant(0);
    /// Later than any deadline.
    pub const FAR: Instant = Instant(u64::MAX);

    /// A point `nanos` nanoseconds after the origin.
    pub const fn from_nanos(nanos: u64) -> Instant {
        Instant(nanos)
    }

    /// Nanoseconds since the origin.
    pub const fn nanos(self) -> u64 {
        self.0
    }

    /// The time from `earlier` to here; zero if `earlier` is later.
    pub const fn since(self, earlier: Instant) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl std::ops::Add<Duration> for Instant {
    type Output = Instant;
    fn add(self, delay: Duration) -> Instant {
        Instant(self.0.saturating_add(u64::try_from(delay.as_nanos()).unwrap_or(u64::MAX)))
    }
}

/// A point on the wall clock, microseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WallTime(u64);

impl WallTime {
    /// A point `micros` microseconds after 1970.
    pub const fn from_micros(micros: u64) -> WallTime {
        WallTime(micros)
    }

    /// Microseconds since 1970.
    pub const fn micros(self) -> u64 {
        self.0
    }

    /// The time from `earlier` to here; zero if `earlier` is later (the wall clock may be set back).
    pub const fn since(self, earlier: WallTime) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

impl std::ops::Add<Duration> for WallTime {
    type Output = WallTime;
    fn add(self, delay: Duration) -> WallTime {
        WallTime(self.0.saturating_add(u64::try_from(delay.as_micros()).unwrap_or(u64::MAX)))
    }
}

/// Both clocks, read once at the start of a breath and handed down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// For deadlines within this process.
    pub mono: Instant,
    /// For what is written down.
    pub wall: WallTime,
}

/// Tells the time.
pub trait Clock {
    /// The time now.
    fn now(&self) -> Now;
}

/// The clocks of the operating system.
#[derive(Clone, Copy, Debug)]
pub struct SystemClock {
    origin: std::time::Instant,
}

impl SystemClock {
    /// All clocks of a process have one origin, the moment when the first of them was made: threads tell each other times.
    pub fn new() -> SystemClock {
        static ORIGIN: OnceLock<std::time::Instant> = OnceLock::new();
        SystemClock { origin: *ORIGIN.get_or_init(std::time::Instant::now) }
    }
}

impl Default for SystemClock {
    fn default() -> SystemClock {
        SystemClock::new()
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Now {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Now {
            mono: Instant(u64::try_from(self.origin.elapsed().as_nanos()).unwrap_or(u64::MAX)),
            wall: WallTime(u64::try_from(wall.as_micros()).unwrap_or(u64::MAX)),
        }
    }
}
