//! What the owner half is given and what it says.

use super::HostBackoff;
use crate::delivery::{DestinationId, Job, Protocol, RouteId, Security, Way, Work, WorkResult};
use crate::dns::MailHosts;
use crate::limits::{
    BACKLOG_PER_CONNECTION_DEFAULT, CONNECT_TIMEOUT_DEFAULT, DELIVERY_CONNECTIONS_DEFAULT,
    DELIVERY_IDLE_TIMEOUT_DEFAULT, DELIVERY_QUEUE_MAX, DESTINATION_QUEUE_MAX, TRANSACTIONS_PER_CONNECTION_DEFAULT,
};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

/// What an operator may set.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Settings {
    /// Connections to all destinations of this worker.
    pub connections_max: usize,
    /// How long a TCP handshake may take.
    pub connect_timeout: Duration,
    /// How long a connection waits for more work.
    pub idle_timeout: Duration,
    /// Transactions after which a connection is ended.
    pub transactions_per_connection_max: u32,
    /// Work that must wait for each further connection that is opened.
    pub backlog_per_connection: usize,
    /// Work that waits at one destination.
    pub destination_queue_max: usize,
    /// Work that waits at all of them.
    pub queue_max: usize,
    /// How long failing hosts are left alone.
    pub host_backoff: HostBackoff,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            connections_max: DELIVERY_CONNECTIONS_DEFAULT as usize,
            connect_timeout: CONNECT_TIMEOUT_DEFAULT,
            idle_timeout: DELIVERY_IDLE_TIMEOUT_DEFAULT,
            transactions_per_connection_max: TRANSACTIONS_PER_CONNECTION_DEFAULT,
            backlog_per_connection: BACKLOG_PER_CONNECTION_DEFAULT,
            destination_queue_max: DESTINATION_QUEUE_MAX,
            queue_max: DELIVERY_QUEUE_MAX,
            host_backoff: HostBackoff::default(),
        }
    }
}

/// Names a connection for as long as it lives; what is reported of a dead one is ignored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId {
    /// Small and dense, so that sessions can be kept in a vector.
    pub index: u32,
    /// Another one each time the place is used.
    pub generation: u32,
}

/// The domain that something is done for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Behalf {
    /// As it stands in addresses, in lower case.
    pub domain: Arc<str>,
    /// Which way.
    pub route: RouteId,
    /// Its hosts.
    pub hosts: Arc<MailHosts>,
}

impl Behalf {
    /// Whose mail a job is, if the DNS has named the hosts.
    pub fn of(job: &Job) -> Option<Behalf> {
        let Way::Hosts { domain, route, hosts } = &job.way else { return None };
        Some(Behalf { domain: Arc::clone(domain), route: *route, hosts: Arc::clone(hosts) })
    }
}

/// What the glue is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Open a connection; `established`, `ready`, `connect_failed` or `closed` follow.
    Connect {
        /// Its name.
        connection: ConnectionId,
        /// Whose host it goes to.
        destination: DestinationId,
        /// From which own address.
        local: IpAddr,
        /// From which pool, by its name; none: that was not to be chosen.
        pool: Option<Arc<str>>,
        /// To whom.
        remote: SocketAddr,
        /// How the host is spoken to.
        protocol: Protocol,
        /// How the connection is secured.
        security: Security,
        /// The name of the own address.
        ehlo_name: Arc<str>,
        /// The host's name, for replies and notices.
        host: Arc<str>,
        /// On behalf of which domain, if the DNS has named the host.
        behalf: Option<Box<Behalf>>,
    },
    /// Give the session this work; `done` or `closed` follows.
    Start {
        /// Which session.
        connection: ConnectionId,
        /// What to do; the work is the glue's now.
        work: Work,
    },
    /// Say QUIT and close; `closed` follows.
    Quit {
        /// Which session.
        connection: ConnectionId,
    },
    /// Reset the flow and drop the session. The name is dead already.
    Abort {
        /// Which flow.
        connection: ConnectionId,
    },
    /// Give this to the worker that asked.
    Finished {
        /// The worker.
        worker: u16,
        /// What became of its work.
        result: WorkResult,
    },
}
