//! The table of all routes: compiled once, looked up by domain, pool and worker.

use super::name::{DestinationName, key_of};
use super::{DestinationId, DestinationKey, FamilyId, Route, RouteId};
use crate::delivery::domains::Domains;
use crate::delivery::pool::{PoolId, Pools};
use crate::delivery::shaping::{SectionId, Shaping, covers};
use crate::delivery::{Way, Work};
use hashbrown::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

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
    pub(in crate::delivery) fn family(&self, id: RouteId) -> FamilyId {
        self.families[id.index()]
    }

    /// How many families there are; their ids count up from 0.
    pub(in crate::delivery) fn family_count(&self) -> usize {
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
    pub(in crate::delivery) fn recipients_max<'a>(
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
    pub(in crate::delivery) fn named<'a>(&'a self, name: &'a str) -> impl Iterator<Item = RouteId> + 'a {
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
