//! Routes: which hosts serve a recipient's domain.
//!
//! In: the configuration's routes, once. Out: for a domain the route, and for a route its hosts. Never changed after it
//! was built; workers share it. Routes with the same hosts and settings are one destination, so that
//! recipients of all their domains share transactions and connections.
//!
//! A pool of own addresses is a part of a route: mail that leaves from another pool goes to another destination, of the same *family*.
//! For what a receiver knows of us, and we of it (its patience, its refusals, connections), hangs on our address; only what the
//! operator allows holds for a family as a whole, and so all of it has one owner. Where the sender decides about the pool
//! ([`Pools`]), each route is there once for each pool that a sender may have.
//!
//! A route by MX has no hosts of its own: the DNS names them for each domain. Such a domain is a destination of its own for the
//! queue that holds its mail, known by a number that means something there only. For whoever delivers, the destination is the
//! *MX set*: the names of the hosts with their preferences, and what is demanded of each, by which all workers know without a word
//! who owns it ([`Routes::owner`]), and in which all domains with the same hosts share connections. So nothing has to be agreed on,
//! kept or told to a partner: when an answer changes, what is given out from then on goes to another destination. And no mail goes
//! over a connection that was made for a domain of which less was demanded, or for a message that is to arrive rather than to be secured.

use super::domains::Domains;
use super::pool::{Pool, PoolId, Pools};
use super::shaping::{SectionId, Shaping, covers};
use super::{Way, Work};
use crate::dns::{Dane, Failure, MailHost, MailHosts};
use crate::limits::{CONNECTIONS_PER_DESTINATION_DEFAULT, RECIPIENTS_PER_TRANSACTION_MAX};
use crate::sts::{Mode, Policy};
use crate::tls::Associations;
use hashbrown::HashMap;
use serde::Serialize;
use siphasher::sip::SipHasher13;
use std::borrow::Cow;
use std::fmt;
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

/// What a route demands of TLS with its hosts. Each demands more than the one before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum TlsPolicy {
    /// It is not used.
    None,
    /// It is used where it is offered (RFC 7435): any certificate will do, and if the handshake fails mail goes in the clear.
    #[default]
    Opportunistic,
    /// What the DNS demands of the host (RFC 7672); where it demands nothing, as the one before.
    Dane,
    /// As the one before, and where the DNS demands nothing what the policy of the domain does (RFC 8461).
    MtaSts,
    /// Mail goes under TLS or not at all. Any certificate will do.
    Require,
    /// The certificate is one that we trust, for the host's name.
    Verify,
}

/// What is demanded of TLS with one host.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Demand {
    /// As [`TlsPolicy::None`].
    None,
    /// As [`TlsPolicy::Opportunistic`].
    Opportunistic,
    /// As [`TlsPolicy::Require`].
    Require,
    /// As [`TlsPolicy::Verify`].
    Verify,
    /// Mail goes under TLS or not at all, and the certificate is one that these know.
    Dane(Arc<Associations>),
    /// As [`TlsPolicy::Verify`], since the policy of the domain enforces it.
    Sts,
    /// As [`TlsPolicy::Opportunistic`]; but whether it could be enforced is looked at, as the policy of the domain is in testing.
    StsTesting {
        /// The policy names the host.
        named: bool,
    },
}

/// Why a host must not be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal<'a> {
    /// Nobody knows what the DNS demands of it.
    #[error("{0}")]
    Unknown(&'a str),
    /// The policy of the domain does not name it.
    #[error("the MTA-STS policy of the domain does not name its host {0}")]
    Unnamed(&'a str),
}

impl Demand {
    /// Its name, for the log.
    pub fn name(&self) -> &'static str {
        match self {
            Demand::None => "none",
            Demand::Opportunistic => "opportunistic",
            Demand::Require => "require",
            Demand::Verify => "verify",
            Demand::Dane(_) => "dane",
            Demand::Sts => "mta-sts",
            Demand::StsTesting { .. } => "mta-sts-testing",
        }
    }

    /// Whether a host that meets it is who it should be; `valid`: it has shown a valid certificate for its name, as far as that was
    /// looked at.
    pub fn authenticates(&self, valid: bool) -> bool {
        match self {
            Demand::None | Demand::Opportunistic | Demand::Require => false,
            Demand::Verify | Demand::Sts => true,
            Demand::Dane(known) => known.authenticate(),
            Demand::StsTesting { named } => *named && valid,
        }
    }

    /// Whether a host that fails at TLS may be spoken to without.
    pub(super) fn may_be_clear(&self) -> bool {
        matches!(self, Demand::Opportunistic | Demand::StsTesting { .. })
    }
}

impl TlsPolicy {
    /// Whether it is the domains of recipients that say what is demanded.
    pub(crate) fn heeds_domains(self) -> bool {
        matches!(self, TlsPolicy::Dane | TlsPolicy::MtaSts)
    }

    /// Whether mail that goes by a route with this policy is as safe with one that has the other. What the DNS or a policy of the
    /// domain may demand can be that a host shows who it is, and of another one only [`TlsPolicy::Verify`] demands that for sure.
    pub(super) fn is_met_by(self, other: TlsPolicy) -> bool {
        match self {
            TlsPolicy::None => true,
            TlsPolicy::Opportunistic => other != TlsPolicy::None,
            TlsPolicy::Require => matches!(other, TlsPolicy::Require | TlsPolicy::Verify),
            TlsPolicy::Dane | TlsPolicy::MtaSts | TlsPolicy::Verify => other == TlsPolicy::Verify,
        }
    }

    /// What it demands of a host of which nothing is known.
    fn demand(self) -> Demand {
        match self {
            TlsPolicy::None => Demand::None,
            TlsPolicy::Opportunistic | TlsPolicy::Dane | TlsPolicy::MtaSts => Demand::Opportunistic,
            TlsPolicy::Require => Demand::Require,
            TlsPolicy::Verify => Demand::Verify,
        }
    }

    /// What it demands of a host that the DNS names, or why that must not be used.
    pub(crate) fn demand_of<'a>(self, host: &'a MailHost, policy: Option<&Policy>) -> Result<Demand, Refusal<'a>> {
        match (self, &host.dane, policy) {
            (TlsPolicy::Dane | TlsPolicy::MtaSts, Dane::Present(known), _) => Ok(Demand::Dane(Arc::clone(known))),
            // What the DNS demands must not be passed by with a policy (RFC 8461 §2).
            (TlsPolicy::Dane | TlsPolicy::MtaSts, Dane::Unknown(why), _) => Err(Refusal::Unknown(why)),
            (TlsPolicy::MtaSts, Dane::Absent, Some(policy)) => match (policy.mode, policy.names(&host.name)) {
                (Mode::Enforce, true) => Ok(Demand::Sts),
                (Mode::Enforce, false) => Err(Refusal::Unnamed(&host.name)),
                (Mode::Testing, named) => Ok(Demand::StsTesting { named }),
                (Mode::None, _) => Ok(self.demand()),
            },
            _ => Ok(self.demand()),
        }
    }
}

/// Which credentials, by their place in the list of them that a box has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CredentialsId(pub u16);

/// How one connection is to be secured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Security {
    /// What is demanded; never [`Demand::None`] with `implicit`.
    pub demand: Demand,
    /// TLS begins with the connection.
    pub implicit: bool,
    /// Who we are to the host. Said to none but one whose certificate is good.
    pub credentials: Option<CredentialsId>,
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

/// Why a set of routes cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RouteError {
    /// Two different routes for one pattern.
    #[error("there are two routes for {0}")]
    Duplicate(Box<str>),
    /// A route that leads to no host.
    #[error("the route for {0} names no host")]
    NoHops(Box<str>),
}

/// All routes, compiled for lookup.
#[derive(Clone, Debug, Default)]
pub struct Routes {
    routes: Vec<Route>,
    /// Of each route, what it is for people: every line of the log about a delivery says so.
    names: Vec<Box<str>>,
    domains: Domains<RouteId>,
    /// Of each route, its family.
    families: Vec<FamilyId>,
    /// Of each family, its first route.
    heads: Vec<RouteId>,
    /// The route of each family with each pool that a sender may have.
    with_pools: HashMap<(FamilyId, PoolId), RouteId>,
    pools: Pools,
    shaping: Arc<Shaping>,
}

impl Routes {
    /// Compiles pairs of a pattern (`example.net`, `.example.net` for all subdomains, `*` for the rest) and a route.
    pub fn new(entries: impl IntoIterator<Item = (Box<str>, Route)>) -> Result<Routes, RouteError> {
        Routes::shaped(entries, Shaping::default(), Pools::default())
    }

    /// The same with limits by destination, and pools by sender. Domains that sections name get routes of their own.
    pub fn shaped(
        entries: impl IntoIterator<Item = (Box<str>, Route)>,
        shaping: Shaping,
        pools: Pools,
    ) -> Result<Routes, RouteError> {
        let mut entries: Vec<(Box<str>, Route)> = entries.into_iter().collect();
        name_domains(&mut entries, &shaping);
        let mut compiled = Routes { shaping: Arc::new(shaping), pools, ..Routes::default() };
        let mut known = Known::default();
        for (pattern, route) in entries {
            if !route.discards() && !route.mx && route.hops.iter().all(|hop| hop.addresses.is_empty()) {
                return Err(RouteError::NoHops(pattern));
            }
            let id = compiled.add(&mut known, route);
            if compiled.domains.insert(&pattern, id).is_some() {
                return Err(RouteError::Duplicate(pattern));
            }
        }
        let of_senders = compiled.pools.of_senders();
        for index in 0..compiled.routes.len() {
            let route = compiled.routes[index].clone();
            for pool in of_senders.iter().filter(|_| !route.discards()) {
                let route = Route { pool: Some(Arc::clone(compiled.pools.pool(*pool))), ..route.clone() };
                let id = compiled.add(&mut known, route);
                compiled.with_pools.insert((compiled.families[index], *pool), id);
            }
        }
        compiled.names = compiled.routes.iter().map(|route| DestinationName(Some(route)).to_string().into()).collect();
        Ok(compiled)
    }

    /// The id of a route, which it gets if it has none.
    fn add(&mut self, known: &mut Known, route: Route) -> RouteId {
        let id = known.routes.entry(route).or_insert_with_key(|route| {
            let (id, alike) = (DestinationId::from_index(self.routes.len()), Route { pool: None, ..route.clone() });
            let family = known.families.entry(alike).or_insert_with(|| {
                self.heads.push(id);
                FamilyId(self.heads.len() as u32 - 1)
            });
            self.families.push(*family);
            self.routes.push(route.clone());
            id
        });
        *id
    }

    /// The route of a domain: that of the nearest pattern. An empty domain (`Postmaster` alone) and an address literal have only
    /// the default.
    pub fn lookup(&self, domain: &str) -> Option<RouteId> {
        self.domains.get(domain)
    }

    /// The route of an address's domain, [`NOWHERE`](DestinationId::NOWHERE) if it has none.
    pub fn destination(&self, domain: &str) -> DestinationId {
        self.lookup(domain).unwrap_or(DestinationId::NOWHERE)
    }

    /// A route that [`lookup`](Routes::lookup) named. Panics for any other id.
    pub fn route(&self, id: RouteId) -> &Route {
        &self.routes[id.index()]
    }

    /// The pool of mail from a reverse-path, if it is for the sender to decide.
    pub fn pool_of(&self, reverse_path: &str) -> Option<PoolId> {
        self.pools.of(reverse_path)
    }

    /// The route that mail takes whose sender has this pool, in place of `id`.
    pub fn with_pool(&self, id: RouteId, pool: Option<PoolId>) -> RouteId {
        let family = self.families.get(id.index());
        family.zip(pool).and_then(|(family, pool)| self.with_pools.get(&(*family, pool))).copied().unwrap_or(id)
    }

    /// The routes that differ from one another in their pools alone. Panics for an id that none of them has.
    pub(super) fn family(&self, id: RouteId) -> FamilyId {
        self.families[id.index()]
    }

    /// How many families there are; their ids count up from 0.
    pub(super) fn family_count(&self) -> usize {
        self.heads.len()
    }

    /// A route as a destination that all workers know. Panics for an id that none of them has.
    pub fn key(&self, id: RouteId) -> DestinationKey {
        DestinationKey::of_route(self.family(id))
    }

    /// Limits by destination.
    pub fn shaping(&self) -> &Arc<Shaping> {
        &self.shaping
    }

    /// Recipients of one transaction with hosts of a route.
    pub(super) fn recipients_max<'a>(
        &self,
        id: RouteId,
        hosts: impl Iterator<Item = (&'a str, &'a [IpAddr])>,
    ) -> usize {
        let route = self.route(id);
        let mut sections = route.sections.clone();
        for (name, addresses) in hosts {
            sections.extend(addresses.iter().flat_map(|ip| self.shaping.of_host(&route.sections, name, *ip)));
        }
        self.shaping.strictest(&sections).recipients_max.unwrap_or(route.recipients_max).max(1)
    }

    /// How many destinations there are; their ids count up from 0.
    pub fn count(&self) -> usize {
        self.routes.len()
    }

    /// Which of `workers` workers owns the destination of some work: all agree, and all destinations of a family with the same hosts
    /// have one. Ids of families are dense, so that the remainder spreads them evenly; MX sets are spread by a hash.
    pub fn owner(&self, work: &Work, workers: u16) -> u16 {
        let workers = workers.max(1);
        let of_route = |id: RouteId| {
            let number = self.families.get(id.index()).map_or(u32::MAX, |family| family.0);
            (number % u32::from(workers)) as u16
        };
        match work {
            Work::Deliver(job) => match &job.way {
                Way::Hosts { route, hosts, .. } => {
                    (self.route(*route).hash_of_set(self.family(*route), hosts) % u64::from(workers)) as u16
                }
                Way::Via(route) => of_route(*route),
                Way::Route | Way::Failed(_) | Way::Overdue(_) => of_route(job.destination),
            },
            Work::Verify { destination, .. } => of_route(*destination),
        }
    }

    /// Where the mail of a domain goes, for people: `mx://DOMAIN`, or the hops of its route.
    pub fn describe(&self, domain: &str) -> String {
        let id = self.destination(domain);
        match self.routes.get(id.index()) {
            Some(route) if route.mx => format!("mx://{}", key_of(domain)),
            Some(_) => self.names[id.index()].to_string(),
            None => self.name(id).to_string(),
        }
    }

    /// The routes that have this name, whatever its ASCII case: those with the same hops, which may differ in other things. None of
    /// those by MX, as each of their domains has a name of its own.
    pub(super) fn named<'a>(&'a self, name: &'a str) -> impl Iterator<Item = RouteId> + 'a {
        let ids = (0..self.count()).map(DestinationId::from_index);
        ids.filter(move |id| !self.route(*id).mx && self.names[id.index()].eq_ignore_ascii_case(name))
    }

    /// The name for people of the routes that a destination is reached by.
    pub fn name_of(&self, key: DestinationKey) -> DestinationName<'_> {
        self.name(self.heads[key.family.index()])
    }

    /// A destination's name for people: its hops.
    pub fn name(&self, id: DestinationId) -> DestinationName<'_> {
        DestinationName(self.routes.get(id.index()))
    }
}

/// Routes that were met, each once.
#[derive(Default)]
struct Known {
    routes: HashMap<Route, RouteId>,
    families: HashMap<Route, FamilyId>,
}

/// Adds routes for the domains that sections of limits name, as far as there is one for them, and tells all routes by which sections
/// their domains are named.
fn name_domains(entries: &mut Vec<(Box<str>, Route)>, shaping: &Shaping) {
    let comparable = |pattern: &str| pattern.trim_end_matches('.').to_ascii_lowercase();
    let mut patterns: Vec<String> = entries.iter().map(|(pattern, _)| comparable(pattern)).collect();
    let configured = patterns.len();
    let named: Vec<(SectionId, String)> = shaping.domains().map(|(id, domain)| (id, comparable(domain))).collect();
    for (_, domain) in &named {
        let covering = (0..configured).filter(|place| covers(&patterns[*place], domain));
        // The longest one is the nearest; "*" is shorter than any other.
        if !patterns.contains(domain)
            && let Some(nearest) = covering.max_by_key(|place| patterns[*place].len())
        {
            let route = entries[nearest].1.clone();
            entries.push((domain.as_str().into(), route));
            patterns.push(domain.clone());
        }
    }
    for ((_, route), pattern) in entries.iter_mut().zip(&patterns) {
        route.sections = named.iter().filter(|(_, domain)| covers(domain, pattern)).map(|(id, _)| *id).collect();
        route.sections.dedup();
    }
}

/// A domain in the form in which queues know it: in lower case, without a dot at its end.
pub(crate) fn key_of(domain: &str) -> Cow<'_, str> {
    let domain = domain.strip_suffix('.').unwrap_or(domain);
    if domain.bytes().any(|byte| byte.is_ascii_uppercase()) {
        Cow::Owned(domain.to_ascii_lowercase())
    } else {
        Cow::Borrowed(domain)
    }
}

/// Writes a destination as its hops, `smtp://mx.example.net:25 lmtp://10.1.1.5:24`.
#[derive(Clone, Copy, Debug)]
pub struct DestinationName<'a>(Option<&'a Route>);

impl fmt::Display for DestinationName<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(route) = self.0 else { return f.write_str("no route") };
        if route.discards() {
            return f.write_str("discard");
        }
        if route.mx {
            return f.write_str("mx");
        }
        for (place, hop) in route.hops.iter().enumerate() {
            let scheme = match (hop.protocol, hop.implicit_tls) {
                (Protocol::Smtp, false) => "smtp",
                (Protocol::Smtp, true) => "smtps",
                (Protocol::Lmtp, _) => "lmtp",
            };
            let space = if place == 0 { "" } else { " " };
            write!(f, "{space}{scheme}://{}:{}", hop.name, hop.port)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sts::Standing;

    fn route(host: u8) -> Route {
        Route::new(vec![Hop {
            protocol: Protocol::Smtp,
            addresses: vec![IpAddr::from([192, 0, 2, host])],
            port: 25,
            implicit_tls: false,
            preference: 10,
            name: format!("192.0.2.{host}").into(),
            demand: None,
        }])
    }

    fn routes(entries: &[(&str, u8)]) -> Routes {
        Routes::new(entries.iter().map(|(pattern, host)| ((*pattern).into(), route(*host)))).unwrap()
    }

    #[test]
    fn the_nearest_pattern_wins() {
        let all = [("example.net", 1), (".example.net", 2), (".deep.example.net", 3), ("a.example.net", 4), ("*", 5)];
        let routes = routes(&all);
        for (domain, host) in [
            ("example.net", 1),
            ("EXAMPLE.net.", 1),
            ("b.example.net", 2),
            ("c.b.example.net", 2),
            ("deep.example.net", 2),
            ("x.deep.Example.NET", 3),
            ("a.example.net", 4),
            ("x.a.example.net", 2),
            ("badexample.net", 5),
            ("net", 5),
            ("", 5),
            ("[192.0.2.7]", 5),
            (&"x".repeat(300), 5),
        ] {
            let id = routes.lookup(domain).unwrap();
            assert_eq!(routes.route(id).hops[0].addresses[0], IpAddr::from([192, 0, 2, host]), "{domain}");
        }
    }

    #[test]
    fn without_a_default_an_unknown_domain_leads_nowhere() {
        let routes = routes(&[("example.net", 1)]);
        assert_eq!(routes.lookup("example.com"), None);
        assert_eq!(routes.destination("example.com"), DestinationId::NOWHERE);
        assert_eq!(routes.name(DestinationId::NOWHERE).to_string(), "no route");
    }

    #[test]
    fn domains_with_the_same_hosts_are_one_destination() {
        let routes = routes(&[("a.example", 1), ("b.example", 1), ("c.example", 2)]);
        assert_eq!(routes.count(), 2);
        assert_eq!(routes.lookup("a.example"), routes.lookup("b.example"));
        assert_ne!(routes.lookup("a.example"), routes.lookup("c.example"));
        assert_eq!(routes.name(routes.destination("a.example")).to_string(), "smtp://192.0.2.1:25");
    }

    #[test]
    fn contradictions_are_refused() {
        let twice = [("x.example", 1), ("X.Example", 2)].map(|(pattern, host)| (pattern.into(), route(host)));
        assert_eq!(Routes::new(twice).unwrap_err(), RouteError::Duplicate("X.Example".into()));
        let mut unknown = route(1);
        unknown.hops[0].addresses.clear();
        assert_eq!(Routes::new([("*".into(), unknown)]).unwrap_err(), RouteError::NoHops("*".into()));
    }

    fn hosts(names: &[(u16, &str)], number: u64) -> MailHosts {
        let host = |(preference, name): &(u16, &str)| crate::dns::MailHost {
            name: (*name).into(),
            preference: *preference,
            addresses: vec![IpAddr::from([198, 51, 100, number as u8])],
            secure: false,
            dane: Dane::Absent,
        };
        let sts = Standing::default();
        MailHosts {
            hosts: names.iter().map(host).collect(),
            secure: false,
            implicit: false,
            sts,
            waived: false,
            number,
        }
    }

    #[test]
    fn every_destination_has_an_owner_among_the_workers() {
        let routes = routes(&[("a.example", 1), ("b.example", 2), ("c.example", 3)]);
        for workers in 1..5 {
            for destination in (0..routes.count()).map(DestinationId::from_index).chain([DestinationId::NOWHERE]) {
                let work = Work::Verify { token: 0, destination, recipient: "x@a.example".into() };
                assert!(routes.owner(&work, workers) < workers);
            }
        }
    }

    /// Known by a digest that begins with this byte.
    fn known(byte: u8) -> Dane {
        let record = crate::tls::Tlsa { usage: 3, selector: 1, matching: 1, data: [byte; 32].into() };
        Dane::Present(Arc::new(Associations::new("a.example", &[], &[record])))
    }

    #[test]
    fn an_mx_set_is_its_names_and_preferences() {
        let (id, by_mx) = (FamilyId(0), Route::by_mx());
        let set = by_mx.hash_of_set(id, &hosts(&[(10, "a.example"), (20, "b.example")], 1));
        assert_eq!(set, by_mx.hash_of_set(id, &hosts(&[(10, "a.example"), (20, "b.example")], 2)));
        let others = [hosts(&[(10, "a.example")], 1), hosts(&[(10, "a.example"), (10, "b.example")], 1)];
        assert!(others.iter().all(|other| by_mx.hash_of_set(id, other) != set));
        let other = FamilyId(1);
        assert_ne!(set, by_mx.hash_of_set(other, &hosts(&[(10, "a.example"), (20, "b.example")], 1)));
    }

    #[test]
    fn hosts_of_which_more_is_demanded_are_another_mx_set() {
        let id = FamilyId(0);
        let of = |dane: Dane| {
            let mut hosts = hosts(&[(10, "a.example")], 1);
            hosts.hosts[0].dane = dane;
            hosts
        };
        let dane = Route { tls: TlsPolicy::Dane, ..Route::by_mx() };
        let sets = [Dane::Absent, known(1), known(2)].map(|dane_of_host| dane.hash_of_set(id, &of(dane_of_host)));
        assert!(sets[0] != sets[1] && sets[1] != sets[2] && sets[0] != sets[2]);
        // Who does not want to know is not told apart.
        let plain = Route::by_mx();
        assert_eq!(plain.hash_of_set(id, &of(Dane::Absent)), plain.hash_of_set(id, &of(known(1))));
    }

    #[test]
    fn a_host_of_which_nobody_knows_what_it_is_known_by_is_not_used() {
        let mut two = hosts(&[(10, "a.example"), (20, "b.example")], 1);
        two.hosts[0].dane = Dane::Unknown("no answer".into());
        let route = Route { tls: TlsPolicy::Dane, ..Route::by_mx() };
        let names = |route: &Route, hosts: &MailHosts| -> Vec<Box<str>> {
            route.with_hosts(hosts).hops.into_iter().map(|hop| hop.name).collect()
        };
        assert_eq!(names(&route, &two), ["b.example".into()]);
        assert_eq!(names(&Route::by_mx(), &two).len(), 2);
        assert!(route.admit(&Arc::new(two.clone())).is_ok());
        two.hosts.pop();
        let failure = route.admit(&Arc::new(two.clone())).unwrap_err();
        assert_eq!((failure.status, &*failure.text), ((4, 7, 5), "no answer"));
        assert!(Route::by_mx().admit(&Arc::new(two)).is_ok());
    }

    #[test]
    fn a_policy_is_heeded_where_the_dns_demands_nothing() {
        let route = Route { tls: TlsPolicy::MtaSts, ..Route::by_mx() };
        let policy = |mode| Policy { mode, mx: vec!["a.example".into()], max_age: std::time::Duration::from_secs(60) };
        let demands = |dane: Dane, mode: Option<Mode>| {
            let mut two = hosts(&[(10, "a.example"), (20, "b.example")], 1);
            two.hosts[0].dane = dane;
            two.sts.policy = mode.map(|mode| Arc::new(policy(mode)));
            let all: Vec<_> =
                route.set(&two).map(|(host, demand)| format!("{}: {}", host.name, demand.name())).collect();
            all.join(", ")
        };
        assert_eq!(demands(Dane::Absent, None), "a.example: opportunistic, b.example: opportunistic");
        assert_eq!(demands(Dane::Absent, Some(Mode::Enforce)), "a.example: mta-sts");
        assert_eq!(demands(known(1), Some(Mode::Enforce)), "a.example: dane");
        assert_eq!(demands(Dane::Unknown("no".into()), Some(Mode::Enforce)), "");
        assert_eq!(demands(Dane::Unknown("no".into()), None), "b.example: opportunistic");
        let testing = "a.example: mta-sts-testing, b.example: mta-sts-testing";
        assert_eq!(demands(Dane::Absent, Some(Mode::Testing)), testing);
        assert!(Demand::StsTesting { named: true }.authenticates(true));
        assert!(!Demand::StsTesting { named: false }.authenticates(true));

        let mut other = hosts(&[(10, "c.example")], 1);
        other.sts.policy = Some(Arc::new(policy(Mode::Enforce)));
        let failure = route.admit(&Arc::new(other)).unwrap_err();
        assert_eq!(&*failure.text, "the MTA-STS policy of the domain does not name its host c.example");
    }

    #[test]
    fn each_route_is_there_once_for_each_pool_that_a_sender_may_have() {
        let pool = |name: &str| Pool { name: name.into(), addresses: Vec::new() };
        let pools = Pools::new([(pool("a"), &["a.example"][..]), (pool("b"), &["b.example"]), (pool("c"), &[])]);
        let from_c = Route { pool: pools.find("c").cloned(), ..route(1) };
        let mx = Route::by_mx();
        let entries = [("*".into(), mx), ("one.example".into(), route(1)), ("two.example".into(), from_c)];
        let entries = entries.into_iter().chain([("none.example".into(), Route::new(Vec::new()))]);
        let routes = Routes::shaped(entries, Shaping::default(), pools).unwrap();
        let of = |domain, from| routes.with_pool(routes.destination(domain), routes.pool_of(from));
        let pool = |id| routes.route(id).pool.as_ref().map(|pool| pool.name.to_string());
        for (domain, from, expected) in [
            ("one.example", "x@a.example", Some("a")),
            ("one.example", "x@b.example", Some("b")),
            ("one.example", "x@elsewhere.example", None),
            ("one.example", "", None),
            ("two.example", "x@a.example", Some("a")),
            ("two.example", "", Some("c")),
            ("mx.example", "x@b.example", Some("b")),
            ("none.example", "x@b.example", None),
        ] {
            assert_eq!(pool(of(domain, from)).as_deref(), expected, "{from} to {domain}");
        }
        assert_eq!(of("one.example", "x@a.example"), of("two.example", "x@a.example"), "the same hosts and pool");
        assert_eq!((routes.count(), routes.family_count()), (8, 3));
        for workers in 1..5 {
            let owner = |id| routes.owner(&Work::Verify { token: 0, destination: id, recipient: "".into() }, workers);
            let all = ["x@a.example", "x@b.example", ""].map(|from| owner(of("two.example", from)));
            assert!(all.iter().all(|one| *one == all[0]), "what they may do together one worker knows");
        }
        assert_eq!(routes.with_pool(DestinationId::NOWHERE, routes.pool_of("x@a.example")), DestinationId::NOWHERE);
    }

    #[test]
    fn what_is_to_arrive_rather_than_to_be_secured_goes_with_what_demands_nothing() {
        let plain = hosts(&[(10, "a.example")], 1);
        let mut strict = hosts(&[(10, "a.example")], 2);
        strict.hosts[0].dane = known(1);
        let route = |tls| Route { tls, ..Route::by_mx() };
        for tls in [TlsPolicy::Dane, TlsPolicy::MtaSts] {
            assert!(!route(tls).is_same_set(&strict, &plain));
            assert!(route(tls).is_same_set(&strict.waived(), &plain));
        }
        strict.hosts[0].dane = Dane::Unknown("no answer".into());
        assert_eq!(route(TlsPolicy::MtaSts).set(&strict.waived()).count(), 1);
        let demanded = |tls| route(tls).set(&strict.waived()).map(|(_, demand)| demand).collect::<Vec<_>>();
        assert_eq!(demanded(TlsPolicy::MtaSts), [Demand::Opportunistic]);
        assert_eq!(demanded(TlsPolicy::Verify), [Demand::Verify], "the operator's demand is none of the domain's");
    }

    #[test]
    fn a_route_by_mx_is_named_by_the_domain() {
        let entries = [("*".into(), Route::by_mx()), ("a.example".into(), route(1))];
        let routes = Routes::new(entries).unwrap();
        assert!(!routes.route(routes.lookup("b.example").unwrap()).discards());
        assert_eq!(routes.describe("B.Example."), "mx://b.example");
        assert_eq!(routes.describe("a.example"), "smtp://192.0.2.1:25");
    }
}
