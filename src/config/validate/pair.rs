//! What a box of a pair needs, and what its file must say of both identities.

use super::{Check, Step, on_link, unusable};
use crate::config::error::Problem;
use crate::config::{Arbiter, Config, Encryption, Identity, Pair, Transport};
use std::net::IpAddr;
use std::ops::Range;

/// Keys that only the arbiter "etcd" knows.
const ETCD_KEYS: [&str; 7] =
    ["etcd", "etcd_prefix", "etcd_user", "etcd_password_file", "etcd_ca", "etcd_certificate", "etcd_key"];

impl Check<'_> {
    pub(super) fn pair(&mut self, config: &Config) {
        let Some(pair) = &config.pair else { return };
        if !config.transport.is_bypass() {
            let problem = Problem::new(
                self.places.of(&[Step::Key("pair")]),
                "a pair needs the transport \"af_xdp\" or \"dpdk\": an address must move from box to box within milliseconds",
            );
            self.add(problem.help("write transport = \"af_xdp\" and a [[port]], or leave [pair] out"));
        }
        self.pair_device(config, pair);
        self.pair_links(config, pair);
        self.pair_logs(config, pair);
        self.pair_identities(config);
        self.pair_store(pair);
    }

    fn in_pair(&self, key: &str) -> Range<usize> {
        self.places.of(&[Step::Key("pair"), Step::Key(key)])
    }

    /// The port of the links, if they have one of their own.
    fn pair_device(&mut self, config: &Config, pair: &Pair) {
        let Some(device) = &pair.device else { return };
        let (message, help) = if config.transport == Transport::Dpdk {
            ("`device`: on dpdk the links go over the one [[port]]".to_owned(), "leave it out")
        } else if !config.ports.iter().any(|port| port.device == *device) {
            (
                format!("`device`: there is no [[port]] with device = \"{device}\""),
                "add one for the links, beside that of all mail",
            )
        } else if config.ports.len() == 1 {
            (
                format!("`device`: {device} is the only [[port]], and carries all mail"),
                "leave it out, or add a [[port]] for the mail",
            )
        } else {
            return;
        };
        self.add(Problem::new(self.in_pair("device"), message).help(help));
    }

    /// The two ends of the mirror links.
    fn pair_links(&mut self, config: &Config, pair: &Pair) {
        let own = pair.address.addr();
        if let Some(why) = unusable(&pair.address) {
            let message = format!("`address`: {own} cannot be an own address: it is {why}");
            self.add(Problem::new(self.in_pair("address"), message));
        }
        if config.addresses.iter().any(|address| address.ip.addr() == own) {
            let message = format!("`address`: {own} has an [[address]] section, but it must not move to the other box");
            self.add(Problem::new(self.in_pair("address"), message).help("give the links an address of their own"));
        }
        if pair.partner == own {
            let message = format!("`partner`: {own} is this box's own `address`");
            self.add(Problem::new(self.in_pair("partner"), message).help("write the `address` of the other box"));
        } else if !on_link(&pair.address, pair.partner) {
            let message = format!("`partner`: {} is not within {}", pair.partner, pair.address.trunc());
            self.add(
                Problem::new(self.in_pair("partner"), message)
                    .help("the two boxes mirror to each other without a router: give both an address of one network"),
            );
        }
        if pair.encryption == Encryption::Tls && pair.partner_fingerprint.is_none() {
            let message = "encryption = \"tls\" needs `partner_fingerprint`: nobody else may send us batches";
            self.add(
                Problem::new(self.places.of(&[Step::Key("pair")]), message)
                    .help("say `rohrpost pair key` on both boxes, and give each the other's fingerprint"),
            );
        }
    }

    /// Each worker takes mail into a log of its own, whoever's the identity is.
    fn pair_logs(&mut self, config: &Config, pair: &Pair) {
        let workers = config.workers.count();
        if let Some(logs) = pair.logs.filter(|logs| *logs < workers) {
            let message = format!("`logs`: {logs} are too few for {workers} workers, of which each needs one");
            self.add(
                Problem::new(self.in_pair("logs"), message)
                    .help("write as many as the box with more workers has of them, the same on both boxes"),
            );
        }
    }

    /// Every address moves with one of the identities.
    fn pair_identities(&mut self, config: &Config) {
        for (index, address) in config.addresses.iter().enumerate() {
            if address.identity.is_none() {
                let message = format!("{} belongs to no identity of the pair", address.ip.addr());
                let help = "write identity = \"a\", or \"b\" for an address that box b usually has";
                self.add(Problem::new(self.places.of_entry("address", index, "ip"), message).help(help));
            }
        }
    }

    /// How the store is reached.
    fn pair_store(&mut self, pair: &Pair) {
        if pair.arbiter == Arbiter::Manual {
            for key in ETCD_KEYS {
                if self.places.has("pair", key) {
                    let message = format!("`{key}` is of no use with arbiter = \"manual\", which asks no etcd");
                    let help = format!("remove `{key}`, or write arbiter = \"etcd\"");
                    self.add(Problem::new(self.in_pair(key), message).help(help));
                }
            }
            return;
        }
        if pair.etcd.is_empty() {
            let message = "the arbiter \"etcd\" needs `etcd`: who works for which identity stands there";
            self.add(Problem::new(self.places.of(&[Step::Key("pair")]), message).help(
                "write etcd = [\"http://HOST:2379\", …], or arbiter = \"manual\" for a pair in which nothing is taken over but by command",
            ));
        }
        let endpoints = pair.etcd.iter().enumerate();
        let places = endpoints.map(|(item, endpoint)| {
            (endpoint.clone(), self.places.of(&[Step::Key("pair"), Step::Key("etcd"), Step::Index(item)]))
        });
        self.no_duplicates(places.collect(), "two endpoints of etcd with");
        let secure = pair.etcd.iter().filter(|endpoint| endpoint.starts_with("https://")).count();
        if secure > 0 && pair.etcd_ca.is_none() {
            let message = "an endpoint with https needs `etcd_ca`, the authority that its certificate is signed by";
            self.add(Problem::new(self.in_pair("etcd"), message).help("write etcd_ca = \"/etc/rohrpost/etcd-ca.pem\""));
        }
        if secure < pair.etcd.len() && (pair.etcd_ca.is_some() || pair.etcd_certificate.is_some()) {
            let message =
                "an endpoint with http is reached without TLS, though there is `etcd_ca` or `etcd_certificate`";
            self.add(Problem::new(self.in_pair("etcd"), message).help("write https:// everywhere"));
        }
        for (one, other, is_alone) in [
            ("etcd_user", "etcd_password_file", pair.etcd_user.is_some() && pair.etcd_password_file.is_none()),
            ("etcd_password_file", "etcd_user", pair.etcd_password_file.is_some() && pair.etcd_user.is_none()),
            ("etcd_certificate", "etcd_key", pair.etcd_certificate.is_some() && pair.etcd_key.is_none()),
            ("etcd_key", "etcd_certificate", pair.etcd_key.is_some() && pair.etcd_certificate.is_none()),
        ] {
            if is_alone {
                self.add(Problem::new(self.in_pair(one), format!("`{one}` is of no use without `{other}`")));
            }
        }
    }
}

/// What is allowed in a pair and rarely meant: an identity whose mail could not leave, or come in.
pub(super) fn warnings(config: &Config) -> Vec<String> {
    let mut warnings = Vec::new();
    if config.pair.is_none() {
        return warnings;
    }
    for (identity, name) in [(Identity::A, "a"), (Identity::B, "b")] {
        let own: Vec<IpAddr> = (config.addresses.iter().filter(|address| address.identity == Some(identity)))
            .map(|address| address.ip.addr())
            .collect();
        if own.is_empty() {
            // It takes no mail, and so it has none to pass on.
            continue;
        }
        if !config.listeners.iter().any(|listener| own.contains(&listener.address.ip())) {
            warnings.push(format!("identity {name} has addresses and no [[listener]]: it would take no mail"));
        }
        for route in &config.routes {
            let sources = super::pool::sources(config, route);
            let own = || own.iter().filter(|ip| sources.contains(ip));
            let reaches = |to: &IpAddr| own().any(|from| from.is_ipv4() == to.is_ipv4());
            let mut all = route.to.iter().flat_map(|hop| &hop.addresses).peekable();
            if all.peek().is_some() && !all.any(reaches) {
                warnings.push(format!(
                    "identity {name} has no address from which the hosts of [[route]] {} can be reached: mail that it takes \
                     for them leaves only while its box works for the other identity too",
                    route.domain
                ));
            }
        }
    }
    warnings
}
