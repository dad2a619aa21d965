//! Holds the keys of a well-formed file against each other.
//!
//! In: the typed configuration, and the parsed file for the places. Out: problems, and next hops with their addresses.
//! Never: a question to the machine.

mod pair;
mod pool;
mod reaction;
mod shaping;
mod signing;
mod tenant;
mod tls;

use super::error::Problem;
use super::hop::{Hop, Host, Hosts};
use super::schema::{Address, AddressFamilies, Config, Dnssec, Port, Role, Route, Transport};
use super::value::{Queues, canonical_pattern};
use crate::limits::{self, AF_XDP_MTU_MAX};
use crate::port::INTERFACE_NAME_SIZE_MAX;
use crate::port::dpdk::{DeviceName, arguments_refused};
use ipnet::IpNet;
use std::collections::HashMap;
use std::hash::Hash;
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// Finds contradictions, and fills in [`super::Hop::addresses`].
pub fn validate(config: &mut Config, table: &Spanned<DeTable<'_>>, hosts: &Hosts) -> Vec<Problem> {
    let mut check = Check { places: Places(table), problems: Vec::new() };
    check.transport(config);
    check.workers(config);
    check.ports(config);
    check.addresses(config);
    check.listeners(config);
    check.tls(config);
    check.signing(config);
    check.domains(config);
    check.tenants(config);
    check.pools(config);
    check.routes(config, hosts);
    check.dns(config);
    check.shaping(config);
    check.reactions(config);
    check.pair(config);
    check.admin(config);
    check.alert(config);
    check.amounts(config);
    check.problems
}

/// Where things stand in the file.
struct Places<'a>(&'a Spanned<DeTable<'a>>);

/// One step into a parsed file.
#[derive(Clone, Copy)]
enum Step<'a> {
    Key(&'a str),
    Index(usize),
}

impl Places<'_> {
    /// The place of the value at `path`, or of as much of it as the file has; the start of the file if it has nothing.
    fn of(&self, path: &[Step<'_>]) -> Range<usize> {
        let mut place = 0..0;
        let mut table = Some(self.0.get_ref());
        let mut value: Option<&Spanned<DeValue<'_>>> = None;
        for step in path {
            let next = match step {
                Step::Key(key) => table.and_then(|table| table.get(*key)),
                Step::Index(index) => value.and_then(|value| value.get_ref().as_array()?.get(*index)),
            };
            let Some(next) = next else { break };
            place = next.span();
            table = next.get_ref().as_table();
            value = Some(next);
        }
        place
    }

    /// Whether the file has this key of a section that it may have once.
    fn has(&self, section: &str, key: &str) -> bool {
        let section = self.0.get_ref().get(section).and_then(|section| section.get_ref().as_table());
        section.is_some_and(|section| section.get(key).is_some())
    }

    /// The place of a key of the `index`-th section of a list of sections.
    fn of_entry(&self, section: &str, index: usize, key: &str) -> Range<usize> {
        self.of(&[Step::Key(section), Step::Index(index), Step::Key(key)])
    }

    /// The place of the `item`-th value of such a key.
    fn of_item(&self, section: &str, index: usize, key: &str, item: usize) -> Range<usize> {
        self.of(&[Step::Key(section), Step::Index(index), Step::Key(key), Step::Index(item)])
    }
}

struct Check<'a> {
    places: Places<'a>,
    problems: Vec<Problem>,
}

impl Check<'_> {
    fn add(&mut self, problem: Problem) {
        self.problems.push(problem);
    }

    /// What is wrong with so many sections where `max` are possible. It is shown at the first of those that are too many.
    fn too_many(&self, section: &str, key: &str, count: usize, max: usize) -> Option<Problem> {
        let place = self.places.of_entry(section, max, key);
        (count > max)
            .then(|| Problem::new(place, format!("{count} [[{section}]] sections: at most {max} are possible")))
    }

    /// Reports every value that was there before. `what` stands before the value: "two listeners on".
    fn no_duplicates<T: Eq + Hash + std::fmt::Display>(&mut self, values: Vec<(T, Range<usize>)>, what: &str) {
        let mut seen: HashMap<T, ()> = HashMap::new();
        for (value, place) in values {
            let message = format!("{what} {value}");
            if seen.insert(value, ()).is_some() {
                self.add(Problem::new(place, message).help("remove one of them"));
            }
        }
    }

    fn transport(&mut self, config: &Config) {
        let place = self.places.of(&[Step::Key("transport")]);
        let name = config.transport.name();
        if config.transport.is_bypass() && config.ports.is_empty() {
            let device = match config.transport {
                Transport::Dpdk => "device = \"0000:03:00.0\", the card that DPDK drives",
                _ => "device = \"eth1\", the interface whose queues are read",
            };
            self.add(
                Problem::new(place.clone(), format!("the transport \"{name}\" needs at least one [[port]]"))
                    .help(format!("write [[port]] and below it {device}")),
            );
        }
        if config.transport.is_bypass() && config.addresses.is_empty() {
            self.add(Problem::new(place, format!("the transport \"{name}\" needs at least one [[address]]")).help(
                "write [[address]] and below it ip = \"192.0.2.25/24\", an address that the kernel does not hold",
            ));
        }
        if config.listeners.is_empty() {
            self.add(
                Problem::new(0..0, "there is no [[listener]]: no mail could come in")
                    .help("write [[listener]] and below it address = \"192.0.2.25:25\" and role = \"mx\""),
            );
        }
    }

    fn workers(&mut self, config: &Config) {
        let place = |item| self.places.of(&[Step::Key("workers"), Step::Key("cores"), Step::Index(item)]);
        let cores = config.workers.cores.iter().enumerate().map(|(item, core)| (*core, place(item))).collect();
        self.no_duplicates(cores, "two workers on core");
    }

    fn ports(&mut self, config: &Config) {
        self.one_port_for_mail(config);
        let mut devices = Vec::new();
        for (index, port) in config.ports.iter().enumerate() {
            let place = self.places.of_entry("port", index, "device");
            devices.push((port.device.clone(), place.clone()));
            match config.transport {
                Transport::Dpdk => self.dpdk_port(config, index, port),
                Transport::AfXdp if port.device.len() > INTERFACE_NAME_SIZE_MAX => self.add(
                    Problem::new(place, format!("`device`: no interface has the name \"{}\"", port.device))
                        .help(format!("names have at most {INTERFACE_NAME_SIZE_MAX} bytes; `ip link` lists them")),
                ),
                Transport::AfXdp | Transport::Kernel => {}
            }
            if port.mtu.is_some() && config.transport == Transport::AfXdp {
                let place = self.places.of_entry("port", index, "mtu");
                let help =
                    format!("leave it out: `ip link set {} mtu N`, up to {AF_XDP_MTU_MAX}, sets it", port.device);
                self.add(Problem::new(place, "`mtu`: on af_xdp it is the interface's").help(help));
            }
            if !port.frames.is_power_of_two() {
                let place = self.places.of_entry("port", index, "frames");
                let near = port.frames.next_power_of_two();
                self.add(Problem::new(place, "`frames` must be a power of two").help(format!("for example {near}")));
            }
            if let Queues::List(list) = &port.queues {
                let place = |item| self.places.of_item("port", index, "queues", item);
                let queues = list.iter().enumerate().map(|(item, queue)| (*queue, place(item))).collect();
                self.no_duplicates(queues, "the port names twice queue");
                if list.is_empty() {
                    let place = self.places.of_entry("port", index, "queues");
                    self.add(Problem::new(place, "`queues` is empty").help("write queues = \"auto\" for all"));
                }
            }
        }
        self.no_duplicates(devices, "two ports on");
    }

    /// All ports but that of a pair's links are one.
    fn one_port_for_mail(&mut self, config: &Config) {
        let links = config.pair.as_ref().and_then(|pair| pair.device.as_ref());
        let mut of_mail = config.ports.iter().enumerate().filter(|(_, port)| Some(&port.device) != links);
        if let (true, Some((index, port))) = (config.transport.is_bypass(), of_mail.nth(1)) {
            let message = format!("{} is one [[port]] too many: one carries all mail", port.device);
            let help = match links {
                None => "only the links of a pair may have a second one, which `device` of [pair] names",
                Some(_) => "remove it",
            };
            self.add(Problem::new(self.places.of_entry("port", index, "device"), message).help(help));
        }
    }

    /// A port of DPDK's: its device, and what [dpdk] says for it.
    fn dpdk_port(&mut self, config: &Config, index: usize, port: &Port) {
        let place = self.places.of_entry("port", index, "device");
        match port.device.parse::<DeviceName>() {
            Ok(device) if device.needs_hugepages() && !config.dpdk.hugepages => {
                let place = self.places.of(&[Step::Key("dpdk"), Step::Key("hugepages")]);
                self.add(
                    Problem::new(place, format!("{device} does not work without hugepages"))
                        .help("write hugepages = true; only virtual devices other than net_af_xdp do without"),
                );
            }
            Ok(device) if port.mtu.is_some() && !device.takes_mtu() => {
                let place = self.places.of_entry("port", index, "mtu");
                self.add(
                    Problem::new(place, format!("`mtu`: {device} has one of its own"))
                        .help("leave it out; that of an interface below it is set with `ip link set DEV mtu N`"),
                );
            }
            Ok(_) => {}
            Err(error) => self.add(Problem::new(place, format!("`device`: \"{}\" is {error}", port.device))),
        }
        if matches!(port.queues, Queues::List(_)) {
            let place = self.places.of_entry("port", index, "queues");
            self.add(
                Problem::new(place, "`queues` cannot be a list on dpdk: each worker gets a queue of its own")
                    .help("write queues = \"auto\", and as many [workers] cores as queues are to be used"),
            );
        }
        if let Some((argument, instead)) = arguments_refused(&config.dpdk.arguments) {
            let place = self.places.of(&[Step::Key("dpdk"), Step::Key("arguments")]);
            self.add(Problem::new(place, format!("`arguments`: {argument} is not for the file")).help(instead));
        }
    }

    fn addresses(&mut self, config: &Config) {
        // The links to a partner have one more, on the same port unless they have their own.
        let (most, besides) = match &config.pair {
            Some(pair) if pair.device.is_none() => (limits::ADDRESSES_MAX - 1, " besides that of the links"),
            _ => (limits::ADDRESSES_MAX, ""),
        };
        if config.addresses.len() > most {
            let place = self.places.of_entry("address", most, "ip");
            let count = config.addresses.len();
            self.add(Problem::new(place, format!("{count} own addresses{besides}: at most {most} are possible")));
        }
        let mut own = Vec::new();
        for (index, address) in config.addresses.iter().enumerate() {
            let place = self.places.of_entry("address", index, "ip");
            own.push((address.ip.addr(), place.clone()));
            let loopback = address.ip.addr().is_loopback();
            if let Some(why) = unusable(&address.ip).filter(|_| !loopback || config.transport.is_bypass()) {
                self.add(Problem::new(place, format!("{} cannot be an own address: it is {why}", address.ip.addr())));
            }
            let Some(gateway) = address.gateway else { continue };
            let place = self.places.of_entry("address", index, "gateway");
            if gateway == address.ip.addr() {
                self.add(Problem::new(place, format!("the gateway {gateway} is the address itself")));
            } else if !on_link(&address.ip, gateway) {
                self.add(
                    Problem::new(place, format!("the gateway {gateway} is not within {}", address.ip.trunc()))
                        .help("a gateway is reached without a router, so it must be in the address's own network"),
                );
            }
        }
        self.no_duplicates(own, "two [[address]] sections with");
    }

    fn listeners(&mut self, config: &Config) {
        let mut seen: Vec<SocketAddr> = Vec::new();
        for (index, listener) in config.listeners.iter().enumerate() {
            let address = listener.address;
            let place = self.places.of_entry("listener", index, "address");
            if let Some(other) = seen.iter().find(|other| overlaps(**other, address)) {
                let message = if *other == address {
                    format!("two listeners on {address}")
                } else {
                    format!("the listener on {address} overlaps with the one on {other}")
                };
                self.add(Problem::new(place.clone(), message).help("remove one of them"));
            }
            seen.push(address);
            if listener.priority_max < listener.priority {
                let (priority, max) = (listener.priority, listener.priority_max);
                let place = self.places.of_entry("listener", index, "priority_max");
                let message =
                    format!("`priority_max`: all mail has priority {priority} at first, which is above {max}");
                let help = format!("write priority_max = {priority} or more, or leave it out");
                self.add(Problem::new(place, message).help(help));
            }
            if !config.transport.is_bypass() {
                continue;
            }
            if address.port() == 0 {
                self.add(Problem::new(place, "a listener needs a port").help("the port of SMTP is 25"));
            } else if !config.addresses.iter().any(|own| own.ip.addr() == address.ip()) {
                let own: Vec<String> = config.addresses.iter().map(|own| own.ip.addr().to_string()).collect();
                let message = format!("the listener's address {} is none of our own", address.ip());
                let help = match own.is_empty() {
                    true => format!("add [[address]] with ip = \"{}/PREFIX\"", address.ip()),
                    false => format!("our own are {}; others need an [[address]] section", own.join(", ")),
                };
                self.add(Problem::new(place, message).help(help));
            }
        }
    }

    /// The health endpoint: its socket is the kernel's, whatever the transport.
    fn admin(&mut self, config: &Config) {
        let Some(http) = config.admin.http else { return };
        let place = self.places.of(&[Step::Key("admin"), Step::Key("http")]);
        if http.port() == 0 {
            self.add(Problem::new(place, "`http` needs a port, which load balancers ask").help("for example 8025"));
        } else if config.transport.is_bypass() {
            if config.addresses.iter().any(|own| own.ip.addr() == http.ip()) {
                let message = format!("`http`: {} is an own address, which the kernel does not hold", http.ip());
                let help = "write an address of the kernel's on this box (`ip address` lists them), or 127.0.0.1";
                self.add(Problem::new(place, message).help(help));
            }
        } else if let Some(listener) = config.listeners.iter().find(|other| overlaps(other.address, http)) {
            let message = format!("`http`: {http} overlaps with the listener on {}", listener.address);
            self.add(Problem::new(place, message).help("write another port"));
        }
    }

    fn alert(&mut self, config: &Config) {
        if let Some(program) = config.alert.command.first()
            && !program.starts_with('/')
        {
            let place = self.places.of(&[Step::Key("alert"), Step::Key("command"), Step::Index(0)]);
            self.add(
                Problem::new(place, format!("`command`: \"{program}\" is not the whole path of a program"))
                    .help("for example [\"/usr/local/bin/page\", \"--team\", \"mail\"]; there is no shell"),
            );
        }
    }

    fn domains(&mut self, config: &Config) {
        let mut names = Vec::new();
        for (index, domain) in config.domains.iter().enumerate() {
            names.push((canonical_pattern(&domain.name), self.places.of_entry("domain", index, "name")));
            if domain.recipients.is_some() && domain.check_recipients {
                let place = self.places.of_entry("domain", index, "check_recipients");
                self.add(
                    Problem::new(
                        place,
                        format!("{}: `recipients` and `check_recipients` exclude each other", domain.name),
                    )
                    .help("keep the map, or let the next hop say who exists"),
                );
            }
            let by_mx = route_of(config, &canonical_pattern(&domain.name)).filter(|route| route.mx);
            if let Some(route) = by_mx.filter(|_| domain.check_recipients) {
                let place = self.places.of_entry("domain", index, "check_recipients");
                let message = format!(
                    "{}: its route \"{}\" goes by MX, so that no next hop is known to ask",
                    domain.name, route.domain
                );
                self.add(Problem::new(place, message).help(format!(
                    "add [[route]] with domain = \"{}\" and the hosts that have its mailboxes",
                    domain.name
                )));
            }
            if domain.check_recipients && !has_route(config, &canonical_pattern(&domain.name)) {
                let place = self.places.of_entry("domain", index, "check_recipients");
                self.add(
                    Problem::new(place, format!("{} has no route, so that no next hop can be asked", domain.name))
                        .help(format!("add [[route]] with domain = \"{}\"", domain.name)),
                );
            }
        }
        self.no_duplicates(names, "two [[domain]] sections for");
    }

    fn routes(&mut self, config: &mut Config, hosts: &Hosts) {
        let mut routes = std::mem::take(&mut config.routes);
        let mut names = Vec::new();
        for (index, route) in routes.iter_mut().enumerate() {
            names.push((canonical_pattern(&route.domain), self.places.of_entry("route", index, "domain")));
            let fault = match (route.mx, route.discard, route.to.is_empty()) {
                (true, true, _) => Some(("mx", "discards what `mx` would deliver", "leave out one of the two")),
                (true, false, false) => Some(("mx", "has hosts besides those of the DNS", "leave out `mx` or `to`")),
                (false, true, false) => {
                    Some(("discard", "discards what its `to` would take", "leave out one of the two"))
                }
                (false, false, true) => {
                    Some(("domain", "leads nowhere", "add to = [\"smtp://HOST\"], mx = true or discard = true"))
                }
                (true, false, true) | (false, true, true) | (false, false, false) => None,
            };
            if let Some((key, what, help)) = fault {
                let place = self.places.of_entry("route", index, key);
                self.add(Problem::new(place, format!("the route for \"{}\" {what}", route.domain)).help(help));
            }
            let sources = pool::sources(config, route);
            for (item, hop) in route.to.iter_mut().enumerate() {
                let place = self.places.of_item("route", index, "to", item);
                self.hop(config, &sources, hop, place, hosts);
            }
        }
        config.routes = routes;
        self.no_duplicates(names, "two [[route]] sections for");
    }

    /// Fills in the addresses of `hop` that can be reached from `sources`.
    fn hop(&mut self, config: &Config, sources: &[IpAddr], hop: &mut Hop, place: Range<usize>, hosts: &Hosts) {
        let found = hosts.resolve(&hop.host);
        if let (Host::Name(name), true) = (&hop.host, found.is_empty()) {
            self.add(Problem::new(place, format!("the host {name} is not in /etc/hosts")).help(
                "write its address instead, or add it there; `mx = true` finds the hosts of a domain in the DNS",
            ));
            return;
        }
        let fault = |address: &IpAddr| unreachable(config, sources, SocketAddr::new(*address, hop.port));
        // A host is of use as long as one of its addresses is.
        hop.addresses = found.iter().filter(|address| fault(address).is_none()).copied().collect();
        if hop.addresses.is_empty()
            && let Some((message, help)) = found.iter().find_map(fault)
        {
            self.add(Problem::new(place, message).help(help));
        }
    }

    /// Resolvers are reached by the kernel, and what they find must be of use.
    fn dns(&mut self, config: &Config) {
        let place = |item| self.places.of(&[Step::Key("dns"), Step::Key("resolvers"), Step::Index(item)]);
        let resolvers: Vec<_> = config.dns.resolvers.iter().map(|resolver| **resolver).zip((0..).map(place)).collect();
        for (resolver, place) in &resolvers {
            let ip = resolver.ip();
            if config.transport.is_bypass() && config.addresses.iter().any(|own| own.ip.addr() == ip) {
                let message = format!("`resolvers`: {ip} is an own address, which the kernel does not hold");
                let help = "write an address that this box's kernel reaches, or 127.0.0.1";
                self.add(Problem::new(place.clone(), message).help(help));
            } else if ip.is_unspecified() || ip.is_multicast() {
                self.add(Problem::new(place.clone(), format!("`resolvers`: {ip} is no address of a host")));
            }
        }
        self.no_duplicates(resolvers, "`resolvers` names twice");
        let has =
            |v4: bool| config.addresses.is_empty() || config.addresses.iter().any(|own| own.ip.addr().is_ipv4() == v4);
        let (missing, other) = match config.dns.addresses {
            AddressFamilies::Ipv4 if !has(true) => ("ipv4", "ipv6"),
            AddressFamilies::Ipv6 if !has(false) => ("ipv6", "ipv4"),
            _ => return,
        };
        let place = self.places.of(&[Step::Key("dns"), Step::Key("addresses")]);
        let message = format!("`addresses` is \"{missing}\", but there is no own address to reach such hosts from");
        self.add(Problem::new(place, message).help(format!("write \"{other}\", or add an [[address]]")));
    }

    fn amounts(&mut self, config: &Config) {
        let mut ordered = |section: &str, low: (&str, u64), high: (&str, u64)| {
            if low.1 > high.1 {
                let place = self.places.of(&[Step::Key(section), Step::Key(low.0)]);
                self.add(Problem::new(place, format!("[{section}]: `{}` is more than `{}`", low.0, high.0)));
            }
        };
        let millis = |period: std::time::Duration| u64::try_from(period.as_millis()).unwrap_or(u64::MAX);
        let retry = &config.retry;
        ordered("retry", ("first", millis(*retry.first)), ("max", millis(*retry.max)));
        ordered("retry", ("first", millis(*retry.first)), ("age_max", millis(*retry.age_max)));
        ordered("retry", ("age_max", millis(*retry.age_max)), ("held_age_max", millis(*retry.held_age_max)));
        let delivery = &config.delivery;
        ordered(
            "delivery",
            ("host_backoff", millis(*delivery.host_backoff)),
            ("host_backoff_max", millis(*delivery.host_backoff_max)),
        );
        let spool = &config.spool;
        ordered("spool", ("batch_size", *spool.batch_size), ("segment_size", *spool.segment_size));
        if !spool.segment_size.is_multiple_of(1 << 20) {
            let place = self.places.of(&[Step::Key("spool"), Step::Key("segment_size")]);
            self.add(Problem::new(place, "`segment_size` must be a multiple of 1MiB"));
        }
        let workers = config.workers.count();
        let (logs, counted) = match &config.pair {
            Some(pair) => (2 * u64::from(pair.logs_of_identity(workers)), ", the partner's counted:"),
            None => (u64::from(workers), ": at least"),
        };
        let least = u64::from(limits::SEGMENTS_MIN).saturating_mul(*spool.segment_size).saturating_mul(logs);
        if *spool.size_max < least {
            let place = self.places.of(&[Step::Key("spool"), Step::Key("size_max")]);
            let least = super::Size(least);
            self.add(
                Problem::new(
                    place,
                    format!("`size_max` is too small for {logs} logs of eight segments{counted} {least}"),
                )
                .help("raise `size_max` or lower `segment_size`"),
            );
        } else if *spool.size_max < limits_message(config) {
            let place = self.places.of(&[Step::Key("spool"), Step::Key("size_max")]);
            self.add(Problem::new(
                place,
                "`size_max` is too small for one message of [limits] `message_size` in each log",
            ));
        }
    }
}

fn limits_message(config: &Config) -> u64 {
    u64::from(config.workers.count()).saturating_mul(*config.limits.message_size)
}

/// Whether two sockets cannot both listen.
fn overlaps(one: SocketAddr, other: SocketAddr) -> bool {
    one.port() == other.port()
        && one.port() != 0
        && one.is_ipv4() == other.is_ipv4()
        && (one.ip() == other.ip() || one.ip().is_unspecified() || other.ip().is_unspecified())
}

/// Why `ip` is no address for a host.
fn unusable(ip: &IpNet) -> Option<&'static str> {
    let address = ip.addr();
    if address.is_unspecified() {
        Some("the unspecified address")
    } else if address.is_loopback() {
        Some("a loopback address")
    } else if address.is_multicast() {
        Some("a multicast address")
    } else if let IpNet::V4(net) = ip {
        let wide = net.prefix_len() < 31;
        match net.addr() {
            address if wide && address == net.network() => Some("the network itself"),
            address if wide && address == net.broadcast() => Some("the broadcast address of its network"),
            _ => None,
        }
    } else {
        None
    }
}

/// Whether `gateway` can be reached from `ip` without a router.
fn on_link(ip: &IpNet, gateway: IpAddr) -> bool {
    let link_local = matches!(gateway, IpAddr::V6(address) if address.is_unicast_link_local());
    ip.contains(&gateway) || (link_local && matches!(ip, IpNet::V6(_)))
}

/// Why mail cannot go to `remote`, and what to do.
fn unreachable(config: &Config, sources: &[IpAddr], remote: SocketAddr) -> Option<(String, String)> {
    let ip = remote.ip();
    let listens = |listener: &super::Listener| {
        listener.address.port() == remote.port()
            && (listener.address.ip() == ip || (ip.is_loopback() && listener.address.ip().is_unspecified()))
    };
    if config.listeners.iter().any(listens) {
        return Some((
            format!("the route to {remote} leads back to our own listener"),
            "name the host that takes the mail".to_owned(),
        ));
    }
    if !config.transport.is_bypass() {
        return None;
    }
    if ip.is_loopback() {
        return Some((
            format!("the route to {ip} leads to loopback, which {} cannot reach", config.transport.name()),
            "flows of the bypass path never enter the box's own kernel: use another host, or transport = \"kernel\""
                .to_owned(),
        ));
    }
    let family = |own: &&Address| own.ip.addr().is_ipv4() == ip.is_ipv4();
    let from = |own: &&Address| sources.contains(&own.ip.addr());
    let mut usable = config.addresses.iter().filter(family).filter(from).peekable();
    let version = if ip.is_ipv4() { 4 } else { 6 };
    if usable.peek().is_none() {
        return Some((
            format!("no own address to reach {ip} from: it needs one of IPv{version}"),
            format!("add an [[address]] of IPv{version}, and to the `pool` of the route if it has one"),
        ));
    }
    // Routes belong to the box and not to an address: any own address of the family may bring the gateway.
    let reached =
        |own: &Address| on_link(&own.ip, ip) || own.gateway.is_some_and(|gateway| gateway.is_ipv4() == ip.is_ipv4());
    if config.addresses.iter().filter(family).any(reached) {
        return None;
    }
    Some((
        format!("no way to {ip}: it is in no network of an own address, and none has a gateway"),
        "add `gateway` to the [[address]]".to_owned(),
    ))
}

/// Whether some route takes the mail of `domain`, which is canonical.
fn has_route(config: &Config, domain: &str) -> bool {
    route_of(config, domain).is_some()
}

/// The route that takes the mail of `domain`, which is canonical: its own, the nearest above, or that of the rest.
fn route_of<'a>(config: &'a Config, domain: &str) -> Option<&'a Route> {
    let fits = |route: &&Route| {
        let pattern = canonical_pattern(&route.domain);
        pattern == "*" || pattern == domain || (pattern.starts_with('.') && domain.ends_with(&pattern))
    };
    let nearness = |route: &&Route| if route.domain == "*" { 0 } else { route.domain.len() };
    config.routes.iter().filter(fits).max_by_key(nearness)
}

/// What is allowed and rarely meant.
pub fn warnings(config: &Config) -> Vec<String> {
    let mut warnings = Vec::new();
    for network in &config.relay.networks {
        if network.prefix_len() == 0 {
            warnings.push(format!("[relay] networks holds {network}: everyone may relay anywhere (an open relay)"));
        }
    }
    for domain in &config.domains {
        if !has_route(config, &canonical_pattern(&domain.name)) {
            warnings.push(format!(
                "{} is accepted, but no [[route]] takes its mail: it would go back to its sender",
                domain.name
            ));
        }
    }
    if !config.relay.networks.is_empty() && !has_route(config, "*") {
        warnings.push("clients may relay anywhere, but no [[route]] with domain = \"*\" takes their mail".to_owned());
    }
    for listener in &config.listeners {
        if config.domains.is_empty() && config.relay.networks.is_empty() {
            warnings.push(format!(
                "the listener on {} would refuse every recipient: no [[domain]], no [relay]",
                listener.address
            ));
        } else if listener.role == Role::Submission && config.relay.networks.is_empty() {
            warnings
                .push(format!("the listener on {} would refuse every client: no [relay] networks", listener.address));
        }
    }
    if config.domains.iter().any(|domain| domain.recipients.is_none() && !domain.check_recipients) {
        warnings.push(
            "a [[domain]] without `recipients` or `check_recipients` takes mail for everyone, and unknown recipients become \
             bounces"
                .to_owned(),
        );
    }
    if config.dns.dnssec == Dnssec::TrustAd {
        for resolver in config.dns.resolvers.iter().filter(|resolver| !resolver.ip().is_loopback()) {
            warnings.push(format!(
                "[dns] dnssec = \"trust_ad\" believes whatever comes from the way to {resolver}: best a resolver runs on this box"
            ));
        }
    }
    warnings.extend(tls::warnings(config));
    warnings.extend(pool::warnings(config));
    warnings.extend(signing::warnings(config));
    warnings.extend(pair::warnings(config));
    warnings
}
