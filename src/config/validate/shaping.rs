//! Limits by destination: each section is for somebody, and says something.

use super::Check;
use crate::config::error::Problem;
use crate::config::{Config, Shaping};
use crate::limits::SHAPING_MAX;

impl Check<'_> {
    pub(super) fn shaping(&mut self, config: &Config) {
        let too_many = self.too_many("shaping", "domains", config.shaping.len(), SHAPING_MAX);
        let help = "a section may name any number of domains, hosts and networks";
        self.problems.extend(too_many.map(|problem| problem.help(help)));
        for (index, section) in config.shaping.iter().enumerate() {
            let place = self.places.of_entry("shaping", index, "domains");
            if section.domains.is_empty() && section.hosts.is_empty() && section.networks.is_empty() {
                self.add(Problem::new(place, "the [[shaping]] section is for nobody").help(
                    "add domains = [\"example.net\"], hosts = [\".example.net\"] or networks = [\"192.0.2.0/24\"]",
                ));
            } else if !limits_anything(section) {
                self.add(
                    Problem::new(place, "the [[shaping]] section says nothing")
                        .help("add a limit, such as connections_max = 5 or message_rate = \"600/m\""),
                );
            }
        }
    }
}

fn limits_anything(section: &Shaping) -> bool {
    section.connections_max.is_some()
        || section.connection_rate.is_some()
        || section.message_rate.is_some()
        || section.transactions_per_connection.is_some()
        || section.recipients_max.is_some()
        || section.idle_timeout.is_some()
        || section.connect_timeout.is_some()
}
