//! The injected world: clock, entropy and disk as traits, each with one real implementation and a
//! simulated one, so that a whole appliance runs in one thread from one seed.

pub mod disk;
mod time;
mod wait;
mod wakeup;

pub use time::{Clock, Instant, Now, SystemClock, WallTime};
pub use wait::wait_readable;
pub use wakeup::Wakeup;
