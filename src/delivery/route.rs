//! Routes: which hosts serve a recipient's domain.
//!
//! In: the configuration's routes, once. Out: for a domain the route, and for a route its hosts. Never changed after it
//! was built; workers share it. Routes with the same hosts and settings are one destination, so that
//! recipients of all their domains share transactions and connections.
//!
//! A pool of own addresses is a part of a route: mail that leaves from another pool goes to another destination, of the same *family*.
//! For what a receiver knows of us, and we of it (its patience, its refusals, connections), hangs on our address; only what the
//! operator allows holds for a family as a whole, and so all of it has one owner. Where the sender decides about the pool
//! ([`Pools`](super::Pools)), each route is there once for each pool that a sender may have.
//!
//! A route by MX has no hosts of its own: the DNS names them for each domain. Such a domain is a destination of its own for the
//! queue that holds its mail, known by a number that means something there only. For whoever delivers, the destination is the
//! *MX set*: the names of the hosts with their preferences, and what is demanded of each, by which all workers know without a word
//! who owns it ([`Routes::owner`]), and in which all domains with the same hosts share connections. So nothing has to be agreed on,
//! kept or told to a partner: when an answer changes, what is given out from then on goes to another destination. And no mail goes
//! over a connection that was made for a domain of which less was demanded, or for a message that is to arrive rather than to be secured.

mod name;
mod table;
#[cfg(test)]
mod tests;
mod tls;

pub(super) use name::key_of;
pub use table::{RouteError, Routes};
pub(crate) use tls::Refusal;
pub use tls::{CredentialsId, Demand, Security, TlsPolicy};

use super::pool::Pool;
use super::shaping::SectionId;
use crate::dns::{Failure, MailHost, MailHosts};
use crate::limits::{CONNECTIONS_PER_DESTINATION_DEFAULT, RECIPIENTS_PER_TRANSACTION_MAX};
use siphasher::sip::SipHasher13;
use std::hash::{Hash, Hasher};
use std::net::IpAddr;
use std::sync::Arc;

/// Where hosts that the DNS names take mail (RFC 5321 §4.5.4.2).
const SMTP_PORT: u16 = 25;

/// Names a destination: a route, that is the set of hosts that serve it. Small and dense.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DestinationId(u32);

/// A route; one that has hosts of its own is a destination.
pub type RouteId = DestinationId;

impl DestinationId {
    /// Where recipients go whose domain has no route. Jobs for it are answered without a connection.
    pub const NOWHERE: DestinationId = DestinationId(u32::MAX);

    pub(in crate::delivery) const MIN: DestinationId = DestinationId(0);

    pub(in crate::delivery) fn from_index(index: usize) -> DestinationId {
        DestinationId(u32::try_from(index).expect("there are fewer than 2^32 routes"))
    }

    /// The place of its route in the table; meaningless for [`NOWHERE`](DestinationId::NOWHERE).
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// A destination as all workers know it: the routes of a family, whatever their pools, or one of the MX sets that are reached by them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DestinationKey {
    family: FamilyId,
    set: Option<u64>,
}

impl DestinationKey {
    /// Routes that have hosts of their own, or need none.
    pub(super) fn of_route(family: FamilyId) -> DestinationKey {
        DestinationKey { family, set: None }
    }

    /// The MX set that has this number ([`Route::hash_of_set`]) by way of a family of routes.
    pub(super) fn of_set(family: FamilyId, number: u64) -> DestinationKey {
        DestinationKey { family, set: Some(number) }
    }
}

/// How a hop is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// RFC 5321.
    Smtp,
    /// RFC 2033: one reply per recipient after the content.
    Lmtp,
}

/// One host of a route.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Hop {
    /// How it is spoken to.
    pub protocol: Protocol,
    /// Its addresses, tried in this order (RFC 5321 §5.1).
    pub addresses: Vec<IpAddr>,
    /// Its TCP port.
    pub port: u16,
    /// TLS begins with the connection (RFC 8314), whatever the route says of it.
    pub implicit_tls: bool,
    /// Lower ones are tried first, equal ones in random order (RFC 5321 §5.1).
    pub preference: u16,
    /// As the operator wrote it, for replies, notices and the log.
    pub name: Box<str>,
    /// What is demanded of TLS with it; none: what the route demands of all.
    pub demand: Option<Demand>,
}

/// How a destination is reached.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Route {
    /// Its hosts. None: what goes there is discarded, unless it goes by MX.
    pub hops: Vec<Hop>,
    /// The hosts are those that the DNS names for the recipient's domain.
    pub mx: bool,
    /// The own addresses that mail leaves from. None: the first own address of the hop's family.
    pub pool: Option<Arc<Pool>>,
    /// What is demanded of TLS.
    pub tls: TlsPolicy,
    /// Who we are to its hosts, if they are to know: nothing without [`TlsPolicy::Verify`].
    pub credentials: Option<CredentialsId>,
    /// Connections at a time, to hosts of which no section of limits says otherwise.
    pub connections_max: u32,
    /// Recipients of one transaction, unless a section says otherwise.
    pub recipients_max: usize,
    /// The sections of limits that name the domains which go this way. Domains with others go another way, to the same hosts.
    pub sections: Vec<SectionId>,
}

impl Route {
    /// A route over `hops` with the default limits.
    pub fn new(hops: Vec<Hop>) -> Route {
        Route {
            hops,
            mx: false,
            pool: None,
            tls: TlsPolicy::default(),
            credentials: None,
            connections_max: CONNECTIONS_PER_DESTINATION_DEFAULT,
            recipients_max: RECIPIENTS_PER_TRANSACTION_MAX,
            sections: Vec::new(),
        }
    }

    /// A route to the hosts that the DNS names, with the default limits.
    pub fn by_mx() -> Route {
        Route { mx: true, ..Route::new(Vec::new()) }
    }

    /// Whether it leads to no host, and what goes there counts as delivered.
    pub fn discards(&self) -> bool {
        self.hops.is_empty() && !self.mx
    }

    /// What is demanded of TLS with one of its own hops.
    pub(super) fn demand(&self, hop: &Hop) -> Demand {
        match hop.demand.clone().unwrap_or_else(|| self.tls.demand()) {
            Demand::None if hop.implicit_tls => Demand::Opportunistic,
            demand => demand,
        }
    }

    /// The hosts that may be used of those that the DNS has named, with what is demanded of each: the MX set.
    pub(super) fn set<'a>(&self, hosts: &'a MailHosts) -> impl Iterator<Item = (&'a MailHost, Demand)> + use<'a> {
        // What the operator demands is demanded of all.
        let waived = hosts.waived && self.tls.heeds_domains();
        let tls = if waived { TlsPolicy::Opportunistic } else { self.tls };
        let policy = hosts.sts.policy.as_deref();
        hosts.hosts.iter().filter_map(move |host| Some((host, tls.demand_of(host, policy).ok()?)))
    }

    /// Whether both are the same destination.
    pub(super) fn is_same_set(&self, one: &MailHosts, other: &MailHosts) -> bool {
        let parts = |hosts| self.set(hosts).map(|(host, demand)| (host.preference, &*host.name, demand));
        parts(one).eq(parts(other))
    }

    /// The hosts that the DNS has named, if one of them may be used.
    pub(crate) fn admit(&self, hosts: &Arc<MailHosts>) -> Result<Arc<MailHosts>, Failure> {
        let policy = hosts.sts.policy.as_deref();
        match hosts.hosts.iter().map(|host| self.tls.demand_of(host, policy)).find_map(Result::err) {
            Some(why) if self.set(hosts).next().is_none() => Err(Failure::new((4, 7, 5), why.to_string())),
            _ => Ok(Arc::clone(hosts)),
        }
    }

    /// The same with hosts that the DNS has named.
    pub(super) fn with_hosts(&self, hosts: &MailHosts) -> Route {
        let hop = |(host, demand): (&MailHost, Demand)| Hop {
            implicit_tls: false,
            protocol: Protocol::Smtp,
            addresses: host.addresses.clone(),
            port: SMTP_PORT,
            preference: host.preference,
            name: host.name.clone(),
            demand: Some(demand),
        };
        Route { hops: self.set(hosts).map(hop).collect(), ..self.clone() }
    }

    /// A number by which all workers know an MX set that is reached by the routes of this route's family, which has this id.
    pub(super) fn hash_of_set(&self, family: FamilyId, hosts: &MailHosts) -> u64 {
        let mut hasher = SipHasher13::new();
        family.hash(&mut hasher);
        for (host, demand) in self.set(hosts) {
            hasher.write_u16(host.preference);
            // Preceded by its size, so that no two lists are written alike.
            hasher.write_usize(host.name.len());
            hasher.write(host.name.as_bytes());
            demand.hash(&mut hasher);
        }
        hasher.finish()
    }
}

/// Names a family: routes that differ in their pools alone. Small and dense.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct FamilyId(u32);

impl FamilyId {
    pub fn index(self) -> usize {
        self.0 as usize
    }
}
