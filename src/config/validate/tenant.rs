//! Tenants: each has a name of its own, and sender domains that nobody else has.

use super::Check;
use crate::config::error::Problem;
use crate::config::{Config, canonical_pattern};
use crate::limits::TENANTS_MAX;
use std::collections::HashMap;

impl Check<'_> {
    pub(super) fn tenants(&mut self, config: &Config) {
        self.problems.extend(self.too_many("tenant", "name", config.tenants.len(), TENANTS_MAX));
        let place = |index| self.places.of_entry("tenant", index, "name");
        let names = config.tenants.iter().enumerate().map(|(index, tenant)| (tenant.name.clone(), place(index)));
        self.no_duplicates(names.collect(), "two [[tenant]] sections with the name");
        let mut owners: HashMap<String, usize> = HashMap::new();
        for (index, tenant) in config.tenants.iter().enumerate() {
            for (item, domain) in tenant.sender_domains.iter().enumerate() {
                let Some(before) = owners.insert(canonical_pattern(domain), index) else { continue };
                let place = self.places.of_item("tenant", index, "sender_domains", item);
                let message = if before == index {
                    format!("the tenant \"{}\" names {domain} twice", tenant.name)
                } else {
                    format!("{domain} belongs to the tenant \"{}\" already", config.tenants[before].name)
                };
                self.add(Problem::new(place, message).help("a domain belongs to one tenant: remove one of them"));
            }
        }
    }
}
