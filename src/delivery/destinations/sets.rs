//! The MX sets that are destinations of this worker, and the places that they have among its targets.

use super::host::{Host, OwnAddress, hosts_of};
use crate::delivery::route::FamilyId;
use crate::delivery::{DestinationKey, Route, RouteId, Routes, Shaping};
use crate::dns::MailHosts;
use hashbrown::HashTable;
use std::sync::Arc;

/// Places from [`fixed`](Sets::fixed) on.
#[derive(Debug)]
pub(super) struct Sets {
    routes: Vec<(Route, FamilyId)>,
    fixed: usize,
    /// Of each place, what it is the place of.
    sets: Vec<Set>,
    /// Indexes of `sets`, to be found by what they hold.
    found: HashTable<usize>,
    /// Where the next unused one is looked for.
    hand: usize,
}

#[derive(Debug)]
struct Set {
    route: RouteId,
    hosts: Arc<MailHosts>,
    hash: u64,
    /// The domain that it became a destination for, by which people know it.
    domain: Box<str>,
    /// It was used since the hand came by.
    used: bool,
}

impl Sets {
    /// None yet. The first `fixed` places are those of others.
    pub fn new(routes: &Routes, fixed: usize) -> Sets {
        let ids = (0..routes.count()).map(RouteId::from_index);
        let routes = ids.map(|id| (routes.route(id).clone(), routes.family(id))).collect();
        Sets { routes, fixed, sets: Vec::new(), found: HashTable::new(), hand: 0 }
    }

    /// What a place is the place of: by which all know it, and the domain that it was made for if it is one of a set.
    pub fn key(&self, place: usize) -> (DestinationKey, Option<&str>) {
        match place.checked_sub(self.fixed) {
            None => (DestinationKey::of_route(self.routes[place].1), None),
            Some(index) => {
                let Set { route, hash, domain, .. } = &self.sets[index];
                (DestinationKey::of_set(self.routes[route.index()].1, *hash), Some(domain))
            }
        }
    }

    /// How many places are those of others.
    pub fn fixed(&self) -> usize {
        self.fixed
    }

    pub fn count(&self) -> usize {
        self.sets.len()
    }

    /// The place of a set that is there.
    pub fn find(&mut self, route: RouteId, hosts: &MailHosts) -> Option<usize> {
        let index = self.index(hosts, route, |other| other == route)?;
        self.sets[index].used = true;
        Some(self.fixed + index)
    }

    /// The place of the same hosts with another route of the family.
    pub fn sibling(&self, route: RouteId, hosts: &MailHosts) -> Option<usize> {
        let family = |id: RouteId| self.routes[id.index()].1;
        self.index(hosts, route, |other| family(other) == family(route)).map(|index| self.fixed + index)
    }

    fn index(&self, hosts: &MailHosts, route: RouteId, fits: impl Fn(RouteId) -> bool) -> Option<usize> {
        let (by, family) = &self.routes[route.index()];
        let same = |index: &usize| {
            let set = &self.sets[*index];
            fits(set.route) && by.is_same_set(&set.hosts, hosts)
        };
        self.found.find(by.hash_of_set(*family, hosts), same).copied()
    }

    /// A route.
    pub fn route(&self, id: RouteId) -> &Route {
        &self.routes[id.index()].0
    }

    /// Takes later knowledge about a set; whether its hosts have other addresses now.
    pub fn renew(&mut self, place: usize, hosts: &Arc<MailHosts>) -> bool {
        let set = &mut self.sets[place - self.fixed];
        if hosts.number <= set.hosts.number {
            return false;
        }
        let addresses = |hosts: &MailHosts| hosts.hosts.iter().map(|host| host.addresses.clone()).collect::<Vec<_>>();
        let changed = addresses(hosts) != addresses(&set.hosts);
        set.hosts = Arc::clone(hosts);
        changed
    }

    /// Gives a place to a set that is not there, with mail for this domain: the next one, or one that was made room at.
    pub fn insert(&mut self, place: usize, route: RouteId, hosts: &Arc<MailHosts>, domain: &str) {
        let (by, family) = &self.routes[route.index()];
        let hash = by.hash_of_set(*family, hosts);
        let index = place - self.fixed;
        let set = Set { route, hosts: Arc::clone(hosts), hash, domain: domain.into(), used: true };
        if index == self.sets.len() {
            self.sets.push(set);
        } else {
            self.sets[index] = set;
        }
        let sets = &self.sets;
        self.found.insert_unique(hash, index, |index| sets[*index].hash);
    }

    /// Forgets a set that was not used for long, where `is_unused` allows it; its place.
    pub fn make_room(&mut self, is_unused: impl Fn(usize) -> bool) -> Option<usize> {
        // Twice around: in the first round all may have been used.
        for _ in 0..2 * self.sets.len() {
            let index = self.hand;
            self.hand = (self.hand + 1) % self.sets.len();
            let place = self.fixed + index;
            let set = &mut self.sets[index];
            if !std::mem::take(&mut set.used) && is_unused(place) {
                let hash = set.hash;
                if let Ok(entry) = self.found.find_entry(hash, |other| *other == index) {
                    entry.remove();
                }
                return Some(place);
            }
        }
        None
    }

    /// The hosts of a set that can be reached from an own address.
    pub fn hosts(&self, place: usize, own: &[OwnAddress], shaping: &Shaping) -> Vec<Host> {
        let set = &self.sets[place - self.fixed];
        hosts_of(&self.route(set.route).with_hosts(&set.hosts), own, shaping)
    }
}
