//! `rohrpost route`: where mail to an address would go.
//!
//! In: the address, perhaps that of its sender, and the configuration. Out: its route, for a route by MX the hosts as the running
//! appliance finds them, the order of an operator that holds for it there, the sender's tenant, and the own addresses that the
//! mail leaves from.

use super::check;
use super::text::{exit_code, plain, write_json};
use crate::appliance::settings;
use crate::config::{self, Config};
use crate::control::{
    Answer, Client, ClientError, DaneReport, DomainReport, HostReport, OrderCommand, PROTOCOL_VERSION, Request,
    StsReport,
};
use crate::delivery::{Orders, Route, StandingOrder, TlsPolicy};
use crate::smtp::domain_of;
use crate::sts::Mode;
use serde::Serialize;
use std::borrow::Cow;
use std::collections::BTreeSet;
use std::io::{self, Write};
use std::net::IpAddr;
use std::process::ExitCode;
use std::sync::Arc;

/// What would happen to mail for an address.
#[derive(Debug, Serialize)]
struct RouteReport {
    version: u32,
    address: String,
    /// `mx://DOMAIN`, the hops of the route, `discard` or `no route`.
    destination: String,
    /// What an operator has ordered for it; null: nothing, or the appliance is not running. Without a sender, what is ordered for
    /// senders is left out.
    order: Option<StandingOrder>,
    /// Whose mail it is, if it is said who sends it and that is one.
    tenant: Option<String>,
    /// The pool that it leaves from, if it is said who sends it or the route decides, by name.
    pool: Option<String>,
    /// The own addresses that it may leave from.
    addresses: Vec<OwnReport>,
    connections_max: Option<u32>,
    /// What is demanded of TLS.
    tls: Option<TlsPolicy>,
    /// The `[[shaping]]` sections that hold for the domain or one of its hosts, counted from 1.
    shaping: Vec<usize>,
    /// Of a route by MX.
    dns: Option<DomainReport>,
}

/// An own address.
#[derive(Debug, Serialize)]
struct OwnReport {
    ip: IpAddr,
    ehlo_name: Box<str>,
    /// Its share of the messages; none: the first one of the host's family that is there is used.
    weight: Option<u32>,
}

/// The command: to standard output, errors to standard error.
pub fn route(args: &super::RouteArgs) -> ExitCode {
    match config::load(&args.config.config) {
        Ok(config) => exit_code(write_route(&config, args, &mut io::stdout().lock())),
        Err(error) => check::refuse(&check::show(&error)),
    }
}

/// A reverse-path of somebody who is named by an address or a domain alone, in brackets or without.
fn reverse_path(from: &str) -> Cow<'_, str> {
    let from = from.trim_start_matches('<').trim_end_matches('>');
    if from.is_empty() || from.contains('@') { from.into() } else { format!("postmaster@{from}").into() }
}

/// Writes where the mail goes.
fn write_route(config: &Config, args: &super::RouteArgs, out: &mut dyn Write) -> Result<(), ClientError> {
    let (address, from) = (&*args.address, args.from.as_deref().map(reverse_path));
    let domain = if address.contains('@') { domain_of(address) } else { address };
    let routes = Arc::new(settings::routes(config).map_err(|error| io::Error::other(error.to_string()))?);
    let pool = from.as_deref().and_then(|from| routes.pool_of(from));
    let route = routes.lookup(domain).map(|id| routes.route(routes.with_pool(id, pool)));
    let dns = match route {
        Some(route) if route.mx => Some(ask(config, domain)?),
        _ => None,
    };
    let mut sections = BTreeSet::new();
    if let Some(route) = route {
        sections.extend(route.sections.iter().copied());
        let hops = route.hops.iter().map(|hop| (&*hop.name, &hop.addresses));
        let found = dns.iter().flat_map(|dns| &dns.hosts).map(|host| (&*host.name, &host.addresses));
        for (name, addresses) in hops.chain(found) {
            let of_address = |address: &IpAddr| routes.shaping().of_host(&route.sections, name, *address);
            sections.extend(addresses.iter().flat_map(of_address));
        }
    }
    let tenants = Arc::new(settings::tenants(config));
    let orders = Orders::new(routes.clone(), tenants.clone(), ask_orders(config)?);
    let tenant = from.as_deref().and_then(|from| tenants.of(from)).map(|id| tenants.name(id).to_owned());
    let report = RouteReport {
        version: PROTOCOL_VERSION,
        address: address.to_owned(),
        destination: routes.describe(domain),
        order: orders.order(from.as_deref(), domain).cloned(),
        tenant,
        pool: route.and_then(|route| route.pool.as_ref()).map(|pool| pool.name.to_string()),
        addresses: route.filter(|route| !route.discards()).map_or_else(Vec::new, |route| own_addresses(config, route)),
        connections_max: route.map(|route| route.connections_max),
        tls: route.map(|route| route.tls),
        shaping: sections.iter().map(|section| usize::from(*section) + 1).collect(),
        dns,
    };
    if args.json {
        write_json(&report, out)?;
    } else {
        write_report(&report, out)?;
        for number in &report.shaping {
            writeln!(out, "[[shaping]] {number}: {}", plain(&check::shaping(&config.shaping[number - 1])))?;
        }
    }
    Ok(())
}

/// The own addresses that mail by this route may leave from.
fn own_addresses(config: &Config, route: &Route) -> Vec<OwnReport> {
    let own = settings::own(config).into_iter().filter(|(ip, _)| !ip.is_unspecified());
    let report = |(ip, ehlo_name): (IpAddr, Box<str>)| {
        let weight = match &route.pool {
            None => None,
            Some(pool) => Some(pool.addresses.iter().find(|known| known.ip == ip)?.weight),
        };
        Some(OwnReport { ip, ehlo_name, weight })
    };
    own.filter_map(report).collect()
}

/// What the appliance finds in the DNS.
fn ask(config: &Config, domain: &str) -> Result<DomainReport, ClientError> {
    let mut client = Client::connect(&config.admin.socket)?;
    let mut report = None;
    client.ask(&Request::Domain { domain: domain.to_owned() }, |answer| {
        if let Answer::Domain { domain } = answer {
            report = Some(*domain);
        }
        Ok(())
    })?;
    report.ok_or_else(|| client.strange("nothing about the domain"))
}

/// What operators have ordered, if the appliance runs.
fn ask_orders(config: &Config) -> Result<Vec<StandingOrder>, ClientError> {
    let mut client = match Client::connect(&config.admin.socket) {
        Err(ClientError::NotRunning { .. }) => return Ok(Vec::new()),
        client => client?,
    };
    let mut standing = Vec::new();
    client.ask(&Request::Orders(OrderCommand::List), |answer| {
        if let Answer::Orders { orders } = answer {
            standing.extend(orders.into_iter().map(|report| report.order));
        }
        Ok(())
    })?;
    Ok(standing)
}

fn write_report(report: &RouteReport, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "{} goes to {}", plain(&report.address), plain(&report.destination))?;
    if let Some(order) = &report.order {
        writeln!(out, "by order of an operator it is {}", plain(&format!("{} {}", order.treatment, order.about())))?;
    }
    if let Some(tenant) = &report.tenant {
        writeln!(out, "it is mail of the tenant {}", plain(tenant))?;
    }
    write_addresses(report, out)?;
    let Some(dns) = &report.dns else { return Ok(()) };
    let secure = |secure: bool| if secure { "secure" } else { "insecure" };
    let seconds = dns.ttl_seconds;
    match &dns.failure {
        Some(failure) => writeln!(out, "the DNS names no host: {} (for {seconds} s)", plain(failure))?,
        None => {
            let what = if dns.implicit { "the domain itself, as it has no MX records" } else { "MX records" };
            writeln!(out, "the DNS names: {what}, {}, for {seconds} s", secure(dns.secure))?;
        }
    }
    for host in &dns.hosts {
        let addresses: Vec<String> = host.addresses.iter().map(ToString::to_string).collect();
        let (name, addresses) = (plain(&host.name), addresses.join(" "));
        writeln!(out, "{:>6} {name} {addresses} ({})", host.preference, secure(host.secure))?;
        if matches!(report.tls, Some(TlsPolicy::Dane | TlsPolicy::MtaSts)) {
            write_dane(host, out)?;
        }
    }
    if report.tls == Some(TlsPolicy::MtaSts) {
        write_sts(dns.sts.as_ref(), out)?;
    }
    Ok(())
}

/// Where the mail leaves from.
fn write_addresses(report: &RouteReport, out: &mut dyn Write) -> io::Result<()> {
    match &report.pool {
        Some(pool) => writeln!(out, "it leaves from the pool {}:", plain(pool))?,
        None if report.addresses.is_empty() => return Ok(()),
        None => writeln!(out, "it leaves from the first own address of the host's family:")?,
    }
    report.addresses.iter().try_for_each(|own| match own.weight {
        None => writeln!(out, "       {} as {}", own.ip, plain(&own.ehlo_name)),
        Some(0) => writeln!(out, "       {} as {}, while no other is there", own.ip, plain(&own.ehlo_name)),
        Some(weight) => writeln!(out, "       {} as {}, weight {weight}", own.ip, plain(&own.ehlo_name)),
    })
}

/// What is demanded by the policy of the domain, of hosts of which the DNS demands nothing.
fn write_sts(sts: Option<&StsReport>, out: &mut dyn Write) -> io::Result<()> {
    let Some(sts) = sts else { return writeln!(out, "MTA-STS: the domain has no policy") };
    match sts.mode {
        None => write!(out, "MTA-STS: no policy")?,
        Some(mode) => {
            let mode = if mode == Mode::Enforce { "enforced" } else { "in testing" };
            let (hosts, seconds) = (plain(&sts.mx.join(" ")), sts.max_age_seconds.unwrap_or(0));
            write!(out, "MTA-STS: {mode}, TLS with a valid certificate, for the hosts {hosts}, for {seconds} s")?;
        }
    }
    match &sts.failure {
        None => writeln!(out),
        Some(failure) => writeln!(out, "; it could not be fetched: {}", plain(failure)),
    }
}

/// What the DNS demands of a host.
fn write_dane(host: &HostReport, out: &mut dyn Write) -> io::Result<()> {
    match &host.dane {
        None => writeln!(out, "       DANE: no secure TLSA records"),
        Some(DaneReport::Unknown { failure }) => writeln!(out, "       DANE: not used for now: {}", plain(failure)),
        Some(DaneReport::Known { base, records }) if records.is_empty() => {
            writeln!(out, "       DANE: TLS, with any certificate: no TLSA record of {} is of use", plain(base))
        }
        Some(DaneReport::Known { base, records }) => {
            writeln!(out, "       DANE: TLS, with a certificate that the TLSA records of {} know:", plain(base))?;
            records.iter().try_for_each(|record| writeln!(out, "         {}", plain(record)))
        }
    }
}
