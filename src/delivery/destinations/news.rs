//! What an operator is told about hosts.

use crate::delivery::Answer;
use crate::env::Instant;
use std::net::SocketAddr;
use std::sync::Arc;

/// Something that happened to a host, and concerns more than one message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// It cannot be used, and is left alone for a while.
    HostDown {
        /// Its name, as the operator or the DNS wrote it.
        host: Arc<str>,
        /// Where.
        remote: SocketAddr,
        /// For mail from which pool, by its name; none: for that which leaves from none.
        pool: Option<Arc<str>>,
        /// Failures in a row.
        failures: u32,
        /// When it is tried again, if there is mail for it.
        until: Instant,
        /// What went wrong.
        why: Answer,
    },
    /// What it said calls for a reaction.
    Reacted {
        /// The reaction's name.
        reaction: Arc<str>,
        /// The whole destination takes nothing for a while, and not the host alone.
        suspends: bool,
        /// Its name.
        host: Arc<str>,
        /// Where.
        remote: SocketAddr,
        /// For mail from which pool, by its name; none: for that which leaves from none.
        pool: Option<Arc<str>>,
        /// The end of that while.
        until: Instant,
        /// What it said.
        why: Answer,
    },
    /// It has answered for a message again.
    HostUp {
        /// Its name.
        host: Arc<str>,
        /// Where.
        remote: SocketAddr,
        /// For mail from which pool, by its name; none: for that which leaves from none.
        pool: Option<Arc<str>>,
    },
}
