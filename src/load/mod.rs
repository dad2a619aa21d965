//! A load generator and a sink, on our own transports.
//!
//! In: a plan, and the replies of any SMTP server. Out: as much mail as the plan says, and figures of what the server made
//! of it. It never looks into the server, and never keeps a message: content is made on the way, and what the sink takes is
//! thrown away.
//!
//! ```text
//! plan ─► schedule (when) ─► generator ─► session (what) ─► flow ─► any server ─► flow ─► sink
//!                               └─► report ◄─┘
//! ```
//!
//! - **Open loop**: messages fall due at a rate, whatever the server does, and latency counts from the moment that each was
//!   meant for ([`schedule`]). What no session was free for until the end is reported as never sent.
//! - **Closed loop**: each session sends the next message when the last one is answered. It measures how much a server can
//!   do, and hides how long it stalls.
//!
//! Given a seed, a clock and a transport, a run is the same every time; the tests live through runs in virtual time.

mod content;
mod failure;
mod flood;
mod generator;
mod live;
mod party;
mod plan;
mod report;
mod schedule;
mod session;
mod sink;
#[cfg(test)]
mod tests;

pub use failure::{Command, Failure};
pub use flood::Flood;
pub use generator::{Generator, Route};
pub use live::Live;
pub use party::{Driver, Idle, Party, drive};
pub use plan::{Class, Pace, Plan, PlanError, Sizes, Slow, Transfer, parse_mix, rate};
pub use report::{About, Figures, Latencies, json, sum, table};
pub use sink::{Quota, Sink, SinkCounters, SinkCounts};
