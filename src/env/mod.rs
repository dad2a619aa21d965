//! The injected world: clock, entropy and disk as traits, each with one real implementation and a
//! simulated one, so that a whole appliance runs in one thread from one seed.

pub mod disk;
mod syscall;
mod thread;
mod time;
mod wait;
mod wakeup;

pub use syscall::tcp_info;
pub use thread::take_core;
pub use time::{Clock, Instant, Now, SystemClock, WallTime};
pub use wait::wait_readable;
pub use wakeup::Wakeup;

use std::fmt::Display;
use std::io::Write as _;

/// A line on standard error, where perhaps nobody listens any more.
pub fn say(line: impl Display) {
    let _ = writeln!(std::io::stderr().lock(), "{line}");
}
