//! Routes: which hosts serve a recipient's domain.
//!
//! In: the configuration's routes, once. Out: for a domain the route, and for a route its hosts. Never changed after it
//! was built; workers share it. Routes with the same hosts and settings are one destination, so that
//! recipients of all their domains share transactions and connections.
//!
//! A route by MX has no hosts of its own: the DNS names them for each domain. Such a domain is a destination of its own for the
//! queue that holds its mail, known by a number that means something there only. For whoever delivers, the destination is the
//! *MX set*: the names of the hosts with their preferences, by which all workers know without a word who owns it
//! ([`Routes::owner`]), and in which all domains with the same hosts share connections. So nothing has to be agreed on, kept or
//! told to a partner: when an answer changes, what is given out from then on goes to another destination.

use super::{Way, Work};
use crate::dns::MailHosts;
use crate::limits::{CONNECTIONS_PER_DESTINATION_DEFAULT, DOMAIN_SIZE_MAX, RECIPIENTS_PER_TRANSACTION_MAX};
use hashbrown::HashMap;
use siphasher::sip::SipHasher13;
use std::borrow::Cow;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::net::IpAddr;

/// Where hosts that the DNS names take mail (RFC 5321 §4.5.4.2).
const SMTP_PORT: u16 = 25;

/// The pattern of the route for everything that no other route covers.
const DEFAULT_PATTERN: &str = "*";

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
}

/// What is demanded of TLS with the hosts of a destination. Each demands more than the one before; what a certificate is held
/// against (RFC 7672, RFC 8461) would be another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TlsPolicy {
    /// It is not used.
    None,
    /// It is used where it is offered (RFC 7435): any certificate will do, and if the handshake fails mail goes in the clear.
    #[default]
    Opportunistic,
    /// Mail goes under TLS or not at all. Any certificate will do.
    Require,
    /// The certificate is one that we trust, for the host's name.
    Verify,
}

/// Which credentials, by their place in the list of them that a box has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CredentialsId(pub u16);

/// How one connection is to be secured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Security {
    /// What is demanded; never [`TlsPolicy::None`] with `implicit`.
    pub policy: TlsPolicy,
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
    /// Own addresses to send from. Empty: the first own address of the hop's family. Otherwise a hop whose family is
    /// not among them is not used, as the operator named what may be seen as the sender.
    pub source_addresses: Vec<IpAddr>,
    /// What is demanded of TLS.
    pub tls: TlsPolicy,
    /// Who we are to its hosts, if they are to know: nothing without [`TlsPolicy::Verify`].
    pub credentials: Option<CredentialsId>,
    /// Connections at a time.
    pub connections_max: u32,
    /// Recipients of one transaction.
    pub recipients_max: usize,
}

impl Route {
    /// A route over `hops` with the default limits.
    pub fn new(hops: Vec<Hop>) -> Route {
        Route {
            hops,
            mx: false,
            source_addresses: Vec::new(),
            tls: TlsPolicy::default(),
            credentials: None,
            connections_max: CONNECTIONS_PER_DESTINATION_DEFAULT,
            recipients_max: RECIPIENTS_PER_TRANSACTION_MAX,
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

    /// The same with hosts that the DNS has named.
    pub(super) fn with_hosts(&self, hosts: &MailHosts) -> Route {
        let hop = |host: &crate::dns::MailHost| Hop {
            implicit_tls: false,
            protocol: Protocol::Smtp,
            addresses: host.addresses.clone(),
            port: SMTP_PORT,
            preference: host.preference,
            name: host.name.clone(),
        };
        Route { hops: hosts.hosts.iter().map(hop).collect(), ..self.clone() }
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
    /// Patterns without a leading dot, in lower case.
    exact: HashMap<Box<str>, RouteId>,
    /// Patterns with a leading dot, kept without it: they cover every domain below, not the domain itself.
    below: HashMap<Box<str>, RouteId>,
    default: Option<RouteId>,
}

impl Routes {
    /// Compiles pairs of a pattern (`example.net`, `.example.net` for all subdomains, `*` for the rest) and a route.
    pub fn new(entries: impl IntoIterator<Item = (Box<str>, Route)>) -> Result<Routes, RouteError> {
        let mut compiled = Routes::default();
        let mut known: HashMap<Route, RouteId> = HashMap::new();
        for (pattern, route) in entries {
            if !route.discards() && !route.mx && route.hops.iter().all(|hop| hop.addresses.is_empty()) {
                return Err(RouteError::NoHops(pattern));
            }
            let id = *known.entry(route).or_insert_with_key(|route| {
                compiled.routes.push(route.clone());
                DestinationId::from_index(compiled.routes.len() - 1)
            });
            let name = pattern.trim_end_matches('.').to_ascii_lowercase();
            let before = if name == DEFAULT_PATTERN {
                compiled.default.replace(id)
            } else if let Some(domain) = name.strip_prefix('.') {
                compiled.below.insert(domain.into(), id)
            } else {
                compiled.exact.insert(name.into(), id)
            };
            if before.is_some() {
                return Err(RouteError::Duplicate(pattern));
            }
        }
        Ok(compiled)
    }

    /// The route of a domain: its own, else that of the nearest domain above with a dotted pattern, else the default. An
    /// empty domain (`Postmaster` alone) and an address literal have only the default.
    pub fn lookup(&self, domain: &str) -> Option<RouteId> {
        // Only what RFC 5321 §4.5.3.1.2 allows can be in the table; longer names need no copy to be refused.
        let mut lower = [0u8; DOMAIN_SIZE_MAX];
        let domain = domain.strip_suffix('.').unwrap_or(domain);
        let Some(lower) = lower.get_mut(..domain.len()) else { return self.default };
        lower.copy_from_slice(domain.as_bytes());
        lower.make_ascii_lowercase();
        let Ok(mut name) = std::str::from_utf8(lower) else { return self.default };
        if let Some(id) = self.exact.get(name) {
            return Some(*id);
        }
        if !self.below.is_empty() {
            while let Some((_, above)) = name.split_once('.') {
                if let Some(id) = self.below.get(above) {
                    return Some(*id);
                }
                name = above;
            }
        }
        self.default
    }

    /// The route of an address's domain, [`NOWHERE`](DestinationId::NOWHERE) if it has none.
    pub fn destination(&self, domain: &str) -> DestinationId {
        self.lookup(domain).unwrap_or(DestinationId::NOWHERE)
    }

    /// A route that [`lookup`](Routes::lookup) named. Panics for any other id.
    pub fn route(&self, id: RouteId) -> &Route {
        &self.routes[id.index()]
    }

    /// How many destinations there are; their ids count up from 0.
    pub fn count(&self) -> usize {
        self.routes.len()
    }

    /// Which of `workers` workers owns the destination of some work: all agree. Ids of routes are dense, so that the remainder
    /// spreads them evenly; MX sets are spread by a hash.
    pub fn owner(&self, work: &Work, workers: u16) -> u16 {
        let workers = workers.max(1);
        match work {
            Work::Deliver(job) => match &job.way {
                Way::Hosts { route, hosts } => (hash_of_set(*route, hosts) % u64::from(workers)) as u16,
                Way::Route | Way::Failed(_) => (job.destination.0 % u32::from(workers)) as u16,
            },
            Work::Verify { destination, .. } => (destination.0 % u32::from(workers)) as u16,
        }
    }

    /// Where the mail of a domain goes, for people: `mx://DOMAIN`, or the hops of its route.
    pub fn describe(&self, domain: &str) -> String {
        let id = self.destination(domain);
        match self.routes.get(id.index()) {
            Some(route) if route.mx => format!("mx://{}", key_of(domain)),
            _ => self.name(id).to_string(),
        }
    }

    /// A destination's name for people: its hops.
    pub fn name(&self, id: DestinationId) -> DestinationName<'_> {
        DestinationName(self.routes.get(id.index()))
    }
}

/// A number by which all workers know an MX set that is reached by a route.
pub(super) fn hash_of_set(route: RouteId, hosts: &MailHosts) -> u64 {
    let mut hasher = SipHasher13::new();
    route.hash(&mut hasher);
    for (preference, name) in hosts.set() {
        hasher.write_u16(preference);
        // Preceded by its size, so that no two lists are written alike.
        hasher.write_usize(name.len());
        hasher.write(name.as_bytes());
    }
    hasher.finish()
}

/// A domain in the form in which queues know it: in lower case, without a dot at its end.
pub(super) fn key_of(domain: &str) -> Cow<'_, str> {
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

    fn route(host: u8) -> Route {
        Route::new(vec![Hop {
            protocol: Protocol::Smtp,
            addresses: vec![IpAddr::from([192, 0, 2, host])],
            port: 25,
            implicit_tls: false,
            preference: 10,
            name: format!("192.0.2.{host}").into(),
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
        };
        MailHosts { hosts: names.iter().map(host).collect(), secure: false, implicit: false, number }
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

    #[test]
    fn an_mx_set_is_its_names_and_preferences() {
        let route = DestinationId::from_index(0);
        let set = hash_of_set(route, &hosts(&[(10, "a.example"), (20, "b.example")], 1));
        assert_eq!(set, hash_of_set(route, &hosts(&[(10, "a.example"), (20, "b.example")], 2)));
        let others = [hosts(&[(10, "a.example")], 1), hosts(&[(10, "a.example"), (10, "b.example")], 1)];
        assert!(others.iter().all(|other| hash_of_set(route, other) != set));
        assert_ne!(set, hash_of_set(DestinationId::from_index(1), &hosts(&[(10, "a.example"), (20, "b.example")], 1)));
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
