//! From the queue to the next hop: routes, schedule, destinations.
//!
//! Two halves, which may live on two workers and exchange owned values only:
//!
//! ```text
//!  home: the worker whose log holds the message      owner: the worker that owns the destination
//!
//!  spool ─► Queue (what is due, per destination)  ─Job─►  Destinations (hosts, connections)
//!  spool ◄─ verdict per recipient              ◄─JobResult─  ▲ fates     ▼ connect, start, quit
//!                                                          client session and flow (the glue's)
//! ```
//!
//! The [`Queue`] knows when each message is due for each destination and lets at most a fixed number of jobs out per
//! destination, so that a dead or slow one never holds up the others. [`Destinations`] choose the host, open and
//! reuse connections within limits, and leave failing hosts alone for a while. What a recipient met (its [`Fate`])
//! becomes, at home, what is written down for it (its [`Verdict`]): the owner knows nothing of retries, the home nothing
//! of hosts.
//!
//! Whose mail it is stands in no job but by its reverse-path: [`Tenants`] and [`Pools`] are looked up where they matter, and the pool that
//! mail leaves from is a part of its destination.
//! What an operator says about some of the mail ([`Orders`]) both heed: the home keeps what is not to go out, or sends it another way,
//! and the owner gives back what it has not begun.
//!
//! Nothing here reads a clock, draws entropy, opens a connection or touches a file; the same inputs give the same
//! outputs. No name is resolved here: a route's hops come with their addresses. Of a route by MX the [`Queue`] says which domains
//! it wants to know about, is told ([`Queue::resolved`]), and gives the hosts out with each job; what waits for an answer holds up
//! nothing else.

mod destinations;
mod domains;
mod job;
mod orders;
mod pool;
mod queue;
mod rate;
mod reaction;
mod route;
mod schedule;
mod shaping;
#[cfg(test)]
mod simulation;
mod tenant;
#[cfg(test)]
mod testing;
mod turns;

pub use destinations::{
    Action, Behalf, ConnectionId, DestinationStatus, Destinations, HostBackoff, HostStatus, LastWord, Limited, News,
    Settings,
};
pub use job::{
    Answer, Fate, HopPath, HopSecured, Job, JobRecipient, JobResult, ReplyTo, Standstill, TaskResult, Way, Work,
    WorkResult,
};
pub use orders::{OrderError, Orders, Rule, Selector, StandingOrder, Treatment};
pub use pool::{Pool, PoolAddress, PoolId, Pools};
pub use queue::{Bounce, LaneStatus, MessageView, Progress, Queue, QueueStatus, RecipientView, Verdict, Wishes};
pub use rate::{BadRate, Rate};
pub use reaction::{BadPattern, CodePattern, React, Reaction, Reactions, StatusPattern, compile as compile_pattern};
pub(crate) use route::Refusal;
pub use route::{
    CredentialsId, Demand, DestinationId, DestinationKey, Hop, Protocol, Route, RouteError, RouteId, Routes, Security,
    TlsPolicy,
};
pub use schedule::Retry;
pub use shaping::{Limits, Section, SectionId, Shaping};
pub use tenant::{TenantId, Tenants};
