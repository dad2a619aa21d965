//! Every bound of the appliance in one place, each with its reason.
//!
//! What an operator may change is a key of the configuration and has its default here; what is fixed
//! by a protocol or by the shape of the code is a constant. A full table means 421, 452 or a smaller TCP
//! window, never growth.

mod config;
mod control;
mod delivery;
mod mirror;
mod names;
mod port;
mod smtp;
mod spool;
mod tcp;
mod tls;
mod worker;

pub use config::*;
pub use control::*;
pub use delivery::*;
pub use mirror::*;
pub use names::*;
pub use port::*;
pub use smtp::*;
pub use spool::*;
pub use tcp::*;
pub use tls::*;
pub use worker::*;

/// How full something is that has a limit. Whoever has a table shows one, so that a test can see that none is exceeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gauge {
    /// What is counted.
    pub name: &'static str,
    /// How many there are.
    pub count: u64,
    /// How many there may be.
    pub limit: u64,
}

impl Gauge {
    /// `count` of `limit`.
    pub fn new(name: &'static str, count: usize, limit: usize) -> Gauge {
        Gauge { name, count: count as u64, limit: limit as u64 }
    }

    /// Whether the limit is kept.
    pub fn holds(&self) -> bool {
        self.count <= self.limit
    }
}
