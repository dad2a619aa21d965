//! Limits by destination: which sections of the configuration hold for which host.
//!
//! In: the sections, once. Out: for a recipient's domain, and for the name and an address of a host, the sections that hold. Each
//! section keeps its own account in each destination: of several that hold a delivery waits for all, so that the strictest of each
//! limit counts. Which domains a section names is the routes' affair ([`super::Routes`]): they are destinations of their own,
//! so that what goes to other domains at the same hosts is no concern of theirs.

use super::rate::Rate;
use hashbrown::HashMap;
use ipnet::IpNet;
use std::net::IpAddr;
use std::time::Duration;

/// What one section allows; what is not set is as for every destination.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Connections at a time.
    pub connections_max: Option<u32>,
    /// Connections that are begun.
    pub connection_rate: Option<Rate>,
    /// Messages: transactions that are begun.
    pub message_rate: Option<Rate>,
    /// Messages on one connection.
    pub transactions_per_connection: Option<u32>,
    /// Recipients of one transaction.
    pub recipients_max: Option<usize>,
    /// How long a connection waits for more work.
    pub idle_timeout: Option<Duration>,
    /// How long a TCP handshake may take.
    pub connect_timeout: Option<Duration>,
}

/// One section: for whom it is, and what it allows.
#[derive(Clone, Debug, Default)]
pub struct Section {
    /// Domains of recipients: patterns as of routes.
    pub domains: Vec<Box<str>>,
    /// Names of hosts; with a leading dot all names below.
    pub hosts: Vec<Box<str>>,
    /// Networks of their addresses.
    pub networks: Vec<IpNet>,
    /// What it allows.
    pub limits: Limits,
}

/// Names a section by its place.
pub type SectionId = u16;

/// All sections, compiled for lookup.
#[derive(Clone, Debug, Default)]
pub struct Shaping {
    sections: Vec<Section>,
    /// Names without a leading dot, in lower case.
    exact: HashMap<Box<str>, Vec<SectionId>>,
    /// Names with a leading dot, kept without it: they cover every name below, not the name itself.
    below: HashMap<Box<str>, Vec<SectionId>>,
    networks: Vec<(IpNet, SectionId)>,
}

impl Shaping {
    /// Compiles the sections; those beyond [`crate::limits::SHAPING_MAX`] are not looked at.
    pub fn new(sections: Vec<Section>) -> Shaping {
        let mut shaping = Shaping::default();
        for (id, section) in (0..).zip(sections.iter().take(crate::limits::SHAPING_MAX)) {
            for host in &section.hosts {
                let name = host.trim_end_matches('.').to_ascii_lowercase();
                match name.strip_prefix('.') {
                    Some(above) => shaping.below.entry(above.into()).or_default().push(id),
                    None => shaping.exact.entry(name.into()).or_default().push(id),
                }
            }
            shaping.networks.extend(section.networks.iter().map(|network| (*network, id)));
        }
        shaping.sections = sections;
        shaping
    }

    /// What a section allows.
    pub(super) fn limits(&self, id: SectionId) -> &Limits {
        &self.sections[usize::from(id)].limits
    }

    /// The patterns of domains that sections name, each with its section.
    pub(super) fn domains(&self) -> impl Iterator<Item = (SectionId, &str)> {
        let ids = 0..self.sections.len().min(crate::limits::SHAPING_MAX) as SectionId;
        ids.zip(&self.sections).flat_map(|(id, section)| section.domains.iter().map(move |domain| (id, &**domain)))
    }

    /// The sections that hold for a host at an address, besides those of the domain; in order, each once.
    pub fn of_host(&self, of_domain: &[SectionId], name: &str, address: IpAddr) -> Vec<SectionId> {
        let mut found = of_domain.to_vec();
        if !self.exact.is_empty() || !self.below.is_empty() {
            let name = name.trim_end_matches('.').to_ascii_lowercase();
            found.extend(self.exact.get(&*name).into_iter().flatten());
            let mut rest = &*name;
            while let Some((_, above)) = rest.split_once('.') {
                found.extend(self.below.get(above).into_iter().flatten());
                rest = above;
            }
        }
        found.extend(self.networks.iter().filter(|(network, _)| network.contains(&address)).map(|(_, id)| *id));
        found.sort_unstable();
        found.dedup();
        found
    }

    /// The strictest of each limit of some sections.
    pub(super) fn strictest(&self, sections: &[SectionId]) -> Limits {
        let mut all = Limits::default();
        for limits in sections.iter().map(|id| self.limits(*id)) {
            all.connections_max = least(all.connections_max, limits.connections_max);
            all.connection_rate = slower(all.connection_rate, limits.connection_rate);
            all.message_rate = slower(all.message_rate, limits.message_rate);
            all.transactions_per_connection =
                least(all.transactions_per_connection, limits.transactions_per_connection);
            all.recipients_max = least(all.recipients_max, limits.recipients_max);
            all.idle_timeout = least(all.idle_timeout, limits.idle_timeout);
            all.connect_timeout = least(all.connect_timeout, limits.connect_timeout);
        }
        all
    }
}

fn least<T: Ord>(one: Option<T>, other: Option<T>) -> Option<T> {
    one.into_iter().chain(other).min()
}

fn slower(one: Option<Rate>, other: Option<Rate>) -> Option<Rate> {
    one.into_iter().chain(other).max_by_key(|rate| rate.gap())
}

/// Whether every domain that `inner` covers is covered by `outer`; both are patterns of routes.
pub(super) fn covers(outer: &str, inner: &str) -> bool {
    outer == "*" || outer == inner || (outer.starts_with('.') && inner.ends_with(outer))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sections_hold_by_name_by_what_is_above_and_by_address() {
        let hosts = |hosts: &[&str]| hosts.iter().map(|host| (*host).into()).collect::<Vec<Box<str>>>();
        let networks = |network: &str| vec![network.parse::<IpNet>().unwrap()];
        let shaping = Shaping::new(vec![
            Section { hosts: hosts(&[".example.net"]), ..Section::default() },
            Section { hosts: hosts(&["mx.Example.net", "other.example"]), ..Section::default() },
            Section { networks: networks("192.0.2.0/24"), ..Section::default() },
            Section { hosts: hosts(&[".mx.example.net"]), networks: networks("2001:db8::/32"), ..Section::default() },
        ]);
        let of = |name, address: &str| shaping.of_host(&[], name, address.parse().unwrap());
        assert_eq!(of("MX.example.net.", "192.0.2.9"), [0, 1, 2]);
        assert_eq!(of("example.net", "198.51.100.1"), [0u16; 0]);
        assert_eq!(of("a.mx.example.net", "2001:db8::1"), [0, 3]);
        assert_eq!(of("badexample.net", "192.0.3.1"), [0u16; 0]);
        assert_eq!(of("[192.0.2.1]", "192.0.2.1"), [2]);
        assert_eq!(shaping.of_host(&[2], "other.example", "192.0.2.1".parse().unwrap()), [1, 2], "each once");
    }

    #[test]
    fn the_strictest_of_each_limit_counts() {
        let limits = |connections_max, rate: &str, recipients_max| Section {
            limits: Limits { connections_max, message_rate: rate.parse().ok(), recipients_max, ..Limits::default() },
            ..Section::default()
        };
        let shaping = Shaping::new(vec![limits(Some(5), "10/s", None), limits(Some(9), "100/m", Some(50))]);
        let all = shaping.strictest(&[0, 1]);
        assert_eq!((all.connections_max, all.recipients_max), (Some(5), Some(50)));
        assert_eq!(all.message_rate.unwrap().to_string(), "100/m");
        assert_eq!(shaping.strictest(&[]), Limits::default());
    }

    #[test]
    fn a_pattern_covers_what_is_below_it() {
        for (outer, inner, expected) in [
            ("*", "example.net", true),
            ("example.net", "example.net", true),
            (".example.net", "a.example.net", true),
            (".example.net", ".a.example.net", true),
            (".example.net", "example.net", false),
            (".example.net", ".example.net", true),
            ("example.net", ".example.net", false),
            (".example.net", "*", false),
        ] {
            assert_eq!(covers(outer, inner), expected, "{outer} {inner}");
        }
    }
}
