//! Pools: each has own addresses, and who names one names one that there is.

use super::Check;
use crate::config::error::Problem;
use crate::config::{Config, Pool, Route, canonical_pattern};
use crate::limits::{POOLS_MAX, ROUTES_AND_POOLS_MAX};
use std::collections::HashMap;
use std::net::IpAddr;

impl Check<'_> {
    pub(super) fn pools(&mut self, config: &Config) {
        self.problems.extend(self.too_many("pool", "name", config.pools.len(), POOLS_MAX));
        let place = |index| self.places.of_entry("pool", index, "name");
        let names = config.pools.iter().enumerate().map(|(index, pool)| (pool.name.clone(), place(index)));
        self.no_duplicates(names.collect(), "two [[pool]] sections with the name");
        let mut owners: HashMap<String, usize> = HashMap::new();
        for (index, pool) in config.pools.iter().enumerate() {
            self.pool_addresses(config, index, pool);
            for (item, domain) in pool.sender_domains.iter().enumerate() {
                if let Some(before) = owners.insert(canonical_pattern(domain), index) {
                    let place = self.places.of_item("pool", index, "sender_domains", item);
                    let message =
                        format!("mail from {domain} leaves from the pool \"{}\" already", config.pools[before].name);
                    self.add(Problem::new(place, message).help("remove it from one of them"));
                }
            }
        }
        for (index, tenant) in config.tenants.iter().enumerate() {
            self.there_is_a_pool(config, "tenant", index, tenant.pool.as_deref());
        }
        for (index, route) in config.routes.iter().enumerate() {
            self.there_is_a_pool(config, "route", index, route.pool.as_deref());
        }
        let count = config.routes.len().saturating_mul(of_senders(config).count());
        if count > ROUTES_AND_POOLS_MAX {
            let place = self.places.of_entry("pool", 0, "name");
            let message = format!(
                "{count} routes: each is there once for each pool that senders have, and at most {ROUTES_AND_POOLS_MAX} are possible"
            );
            self.add(
                Problem::new(place, message).help("put senders into fewer pools, or write fewer [[route]] sections"),
            );
        }
    }

    fn pool_addresses(&mut self, config: &Config, index: usize, pool: &Pool) {
        let place = |item| self.places.of_item("pool", index, "addresses", item);
        let all = pool.addresses.iter().enumerate().map(|(item, address)| (address.ip, place(item)));
        let all: Vec<(IpAddr, _)> = all.collect();
        for (ip, place) in &all {
            if !is_own(config, *ip) {
                let message = format!("the address {ip} of the pool \"{}\" is none of our own", pool.name);
                self.add(Problem::new(place.clone(), message).help("it needs an [[address]] section"));
            }
        }
        self.no_duplicates(all, &format!("the pool \"{}\" has twice", pool.name));
    }

    fn there_is_a_pool(&mut self, config: &Config, section: &str, index: usize, name: Option<&str>) {
        let Some(name) = name.filter(|name| find(config, name).is_none()) else { return };
        let place = self.places.of_entry(section, index, "pool");
        let known: Vec<String> = config.pools.iter().map(|pool| format!("\"{}\"", pool.name)).collect();
        let help = match known.is_empty() {
            true => format!("add [[pool]] with name = \"{name}\" and its addresses"),
            false => format!("there are {}", known.join(", ")),
        };
        self.add(Problem::new(place, format!("there is no [[pool]] with the name \"{name}\"")).help(help));
    }
}

fn is_own(config: &Config, ip: IpAddr) -> bool {
    config.addresses.iter().any(|own| own.ip.addr() == ip)
}

fn find<'a>(config: &'a Config, name: &str) -> Option<&'a Pool> {
    config.pools.iter().find(|pool| pool.name == name)
}

/// Pools that a sender can decide for.
fn of_senders(config: &Config) -> impl Iterator<Item = &Pool> {
    let is_of_tenant = |pool: &Pool| config.tenants.iter().any(|tenant| tenant.pool.as_ref() == Some(&pool.name));
    config.pools.iter().filter(move |pool| !pool.sender_domains.is_empty() || is_of_tenant(pool))
}

/// The own addresses that mail to the hosts of a route may leave from. Those that are none of our own are reported where they stand.
pub(super) fn sources(config: &Config, route: &Route) -> Vec<IpAddr> {
    let of_route = match route.pool.as_ref().and_then(|name| find(config, name)) {
        Some(pool) => of_pool(config, pool),
        None => config.addresses.iter().map(|own| own.ip.addr()).collect(),
    };
    of_route.into_iter().chain(of_senders(config).flat_map(|pool| of_pool(config, pool))).collect()
}

fn of_pool(config: &Config, pool: &Pool) -> Vec<IpAddr> {
    pool.addresses.iter().map(|address| address.ip).filter(|ip| is_own(config, *ip)).collect()
}

/// What is allowed and rarely meant.
pub(super) fn warnings(config: &Config) -> Vec<String> {
    let is_used = |pool: &&Pool| {
        let of_route = config.routes.iter().any(|route| route.pool.as_ref() == Some(&pool.name));
        of_route || of_senders(config).any(|other| other.name == pool.name)
    };
    let idle = config.pools.iter().filter(|pool| !is_used(pool));
    idle.map(|pool| {
        format!(
            "no mail leaves from the pool \"{}\": it has no `sender_domains`, and no [[tenant]] or [[route]] names it",
            pool.name
        )
    })
    .collect()
}
