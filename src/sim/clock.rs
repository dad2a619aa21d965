//! Virtual time.

use crate::env::{Clock, Instant, Now, WallTime};
use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

/// The wall clock at the beginning of every world: 2026-01-01T00:00:00Z.
const EPOCH: WallTime = WallTime::from_micros(1_767_225_600_000_000);

/// The clock of one box. All boxes share the world's time; each has a wall clock of its own, which may be wrong.
#[derive(Clone, Debug)]
pub(super) struct BoxClock {
    world: Rc<Cell<Instant>>,
    /// What the wall clock is ahead, microseconds.
    ahead: Rc<Cell<i64>>,
}

impl BoxClock {
    pub(super) fn new(world: Rc<Cell<Instant>>) -> BoxClock {
        BoxClock { world, ahead: Rc::default() }
    }

    pub(super) fn now(&self) -> Instant {
        self.world.get()
    }

    pub(super) fn wall(&self) -> WallTime {
        let micros = (EPOCH.micros() + self.now().nanos() / 1000).saturating_add_signed(self.ahead.get());
        WallTime::from_micros(micros)
    }

    /// Someone sets the wall clock: forward, or back.
    pub(super) fn jump(&self, seconds: i64) {
        self.ahead.set(self.ahead.get() + seconds * 1_000_000);
    }

    /// The clocks as a process sees them that starts now.
    pub(super) fn process(&self) -> ProcessClock {
        ProcessClock { of: self.clone(), origin: self.now() }
    }
}

/// The clocks of one process: its monotonic one begins with it.
#[derive(Clone, Debug)]
pub(super) struct ProcessClock {
    of: BoxClock,
    origin: Instant,
}

impl ProcessClock {
    /// The world's time at a moment of this process.
    pub(super) fn world(&self, at: Instant) -> Instant {
        Instant::from_nanos(self.origin.nanos().saturating_add(at.nanos()))
    }

    pub(super) fn mono(&self) -> Instant {
        Instant::ZERO + self.of.now().since(self.origin)
    }
}

impl Clock for ProcessClock {
    fn now(&self) -> Now {
        Now { mono: self.mono(), wall: self.of.wall() }
    }
}

/// A duration as people read it.
pub(super) fn readable(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
    format!("{hours}:{minutes:02}:{:02}.{:06}", seconds % 60, duration.subsec_micros())
}
