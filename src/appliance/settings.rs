//! What the stations are told, from the configuration.
//!
//! In: the configuration. Out: the settings of each station. Nothing is opened and nothing decided here.

use crate::config::{self, Config, ListenerTls, Role, RouteTls, TlsVersion};
use crate::control::{DnsSettings, EventFilesSettings, ReportSettings};
use crate::delivery::{
    CredentialsId, Hop, HostBackoff, Limits, Pool, PoolAddress, Pools, Protocol, React, Reaction, Reactions, Retry,
    Route, RouteError, Routes, Section, Shaping, Tenants, TlsPolicy, compile_pattern,
};
use crate::dkim::{Canonical, KeySettings, Keyring, KeyringError};
use crate::dns::{Families, Ourselves, Rules};
use crate::env::disk::Disk;
use crate::limits::{
    DRAFTS_MAX, EPOCH_MAX, HEADER_ADDED_SIZE_MAX, MIRROR_BUFFER_MEMORY, MIRROR_FLOWS_MAX, MIRROR_HALF_OPEN_MAX,
    NOTICE_SIZE_MAX,
};
use crate::mirror::link::{Timing, VERSION};
use crate::mirror::register::Node;
use crate::mirror::{LOGS_PER_IDENTITY, arbiter};
use crate::port::{af_xdp, dpdk};
use crate::smtp::Priority;
use crate::smtp::client::{Credentials, NoCredentials};
use crate::smtp::server;
use crate::tls::{KeyError, Pinned, RootsError, Server, ServerFiles, load_roots, read_secret};
use crate::tlsrpt::Reporter;
use crate::worker::{Errand, Kept, Listener, PairEquipment};
use crate::{delivery, kernel, spool, tcp};
use crossbeam::channel::{Receiver, Sender};
use rustls::RootCertStore;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// What goes over a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Traffic {
    /// All mail, and the links to a partner if there is one.
    All,
    /// All mail, as the links have a port of their own.
    Mail,
    /// The links to a partner, and nothing else.
    Links,
}

impl Traffic {
    fn has_mail(self) -> bool {
        self != Traffic::Links
    }

    fn has_links(self) -> bool {
        self != Traffic::Mail
    }
}

/// What goes over a port.
pub(crate) fn traffic(config: &Config, port: &config::Port) -> Traffic {
    match config.pair.as_ref().and_then(|pair| pair.device.as_ref()) {
        None => Traffic::All,
        Some(device) if *device == port.device => Traffic::Links,
        Some(_) => Traffic::Mail,
    }
}

/// The ports in the order in which every worker has its stacks: mail comes first.
pub(crate) fn ports(config: &Config) -> Vec<(&config::Port, Traffic)> {
    let mut ports: Vec<_> = config.ports.iter().map(|port| (port, traffic(config, port))).collect();
    ports.sort_by_key(|(_, traffic)| !traffic.has_mail());
    ports
}

/// What `af_xdp` is told about a port.
pub(crate) fn port(config: &Config, port: &config::Port) -> af_xdp::PortSettings {
    af_xdp::PortSettings {
        device: port.device.clone(),
        queues: match &port.queues {
            config::Queues::Auto => af_xdp::Queues::Auto,
            config::Queues::List(list) => af_xdp::Queues::List(list.clone()),
        },
        vlan: port.vlan,
        addresses: addresses(config, traffic(config, port)),
        frames_per_queue: port.frames,
    }
}

/// What `dpdk` is told about a port.
pub(crate) fn dpdk_port(config: &Config, port: &config::Port) -> dpdk::PortSettings {
    dpdk::PortSettings {
        device: port.device.clone(),
        queues: config.workers.count(),
        vlan: port.vlan,
        addresses: addresses(config, traffic(config, port)),
        frames_per_queue: port.frames,
        mtu: port.mtu,
        offloads: config.dpdk.offloads,
        hugepages: config.dpdk.hugepages,
        memory: *config.dpdk.memory,
        arguments: config.dpdk.arguments.clone(),
    }
}

/// Own addresses on a port, that of the links to a partner among them.
fn addresses(config: &Config, traffic: Traffic) -> Vec<IpAddr> {
    own_addresses(config, traffic).iter().map(|own| own.ip).collect()
}

fn own_addresses(config: &Config, traffic: Traffic) -> Vec<tcp::OwnAddress> {
    let of_mail = config.addresses.iter().filter(|_| traffic.has_mail()).map(|address| tcp::OwnAddress {
        ip: address.ip.addr(),
        prefix: address.ip.prefix_len(),
        gateway: address.gateway,
    });
    let of_links = config.pair.iter().filter(|_| traffic.has_links()).map(|pair| tcp::OwnAddress {
        ip: pair.address.addr(),
        prefix: pair.address.prefix_len(),
        gateway: None,
    });
    of_mail.chain(of_links).collect()
}

/// Own addresses on a port that nobody else may use when we start: those of a pair's identities may be with the partner.
pub(crate) fn addresses_to_claim(config: &Config, traffic: Traffic) -> Vec<IpAddr> {
    match &config.pair {
        Some(pair) => Some(pair.address.addr()).filter(|_| traffic.has_links()).into_iter().collect(),
        None => addresses(config, traffic),
    }
}

/// What a worker's TCP stack on a port is told.
pub(crate) fn tcp(
    config: &Config,
    traffic: Traffic,
    worker: u16,
    (workers, queues): (u16, u16),
    isn_key: [u8; 16],
    seed: u64,
) -> tcp::Settings {
    let limits = &config.limits;
    let of_mail = tcp::Settings {
        addresses: own_addresses(config, traffic),
        chosen: config.pair.as_ref().filter(|_| traffic.has_links()).map(|pair| tcp::ChosenListener {
            address: pair.address.addr(),
            port: pair.port,
            ports: 2 * LOGS_PER_IDENTITY,
        }),
        listeners: config.listeners.iter().map(|listener| listener.address).collect(),
        connections_max: share(limits.connections, workers),
        connections_per_client_max: limits.connections_per_client,
        half_open_max: share(limits.half_open, workers),
        receive_buffer: *limits.receive_buffer as usize,
        send_buffer: *limits.send_buffer as usize,
        buffer_memory: share(*limits.buffer_memory as usize, workers),
        worker,
        workers,
        queues,
        isn_key,
        seed,
    };
    if traffic.has_mail() {
        return of_mail;
    }
    tcp::Settings {
        listeners: Vec::new(),
        connections_max: MIRROR_FLOWS_MAX,
        connections_per_client_max: MIRROR_FLOWS_MAX,
        half_open_max: MIRROR_HALF_OPEN_MAX,
        buffer_memory: share(MIRROR_BUFFER_MEMORY, workers),
        ..of_mail
    }
}

/// Which box of a pair this is.
pub(crate) fn node(pair: &config::Pair) -> Node {
    match pair.node {
        config::Identity::A => Node::A,
        config::Identity::B => Node::B,
    }
}

/// What the arbiters of a pair's identities are told.
pub(crate) fn arbiter(config: &Config, pair: &config::Pair) -> arbiter::Settings {
    arbiter::Settings {
        manual: pair.arbiter == config::Arbiter::Manual,
        drain_within: *config.limits.shutdown_timeout,
        ..arbiter::Settings::of(*pair.silence)
    }
}

/// The keys of a pair's links, read; `None`: they are in the clear.
///
/// # Errors
/// What is wrong with them.
pub(crate) fn pinned(pair: &config::Pair) -> Result<Option<Pinned>, KeyError> {
    if pair.encryption == config::Encryption::None {
        return Ok(None);
    }
    let partner = pair.partner_fingerprint.ok_or(KeyError::NoPeer)?;
    Pinned::load(&pair.certificate, &pair.key, partner).map(Some)
}

/// What a worker's part in a pair is told.
pub(crate) fn pair<D: Disk>(
    config: &Config,
    pair: &config::Pair,
    tls: Option<Arc<Pinned>>,
    keeper: Sender<Errand<D>>,
    kept: Receiver<Kept<D>>,
) -> PairEquipment<D> {
    PairEquipment {
        address: pair.address.addr(),
        partner: SocketAddr::new(pair.partner, pair.port),
        addresses: addresses_of_identities(config),
        segment_size: *config.spool.segment_size,
        timing: Timing::of(*pair.silence),
        protocol: VERSION,
        calls: pair.arbiter == config::Arbiter::Manual && node(pair) == Node::A,
        catch_up_rate: *pair.catch_up_rate / u64::from(pair.logs_of_identity(config.workers.count())),
        tls,
        keeper,
        kept,
    }
}

/// The own addresses of the two identities.
fn addresses_of_identities(config: &Config) -> [Vec<IpAddr>; 2] {
    [config::Identity::A, config::Identity::B].map(|identity| {
        let own = config.addresses.iter().filter(|address| address.identity == Some(identity));
        own.map(|address| address.ip.addr()).collect()
    })
}

/// What a worker's sockets are told.
pub(crate) fn kernel(config: &Config, workers: u16) -> kernel::Settings {
    kernel::Settings {
        listeners: config.listeners.iter().map(|listener| listener.address).collect(),
        connections_max: share(config.limits.connections, workers),
        connections_per_client_max: config.limits.connections_per_client,
        receive_buffer: *config.limits.receive_buffer as usize,
        reuse_port: workers > 1,
    }
}

/// What a log is told that is one of so many.
pub(crate) fn spool(config: &Config, number: u16, logs: u16) -> spool::Settings {
    let segments = *config.spool.size_max / *config.spool.segment_size / u64::from(logs);
    spool::Settings {
        log: number,
        segment_size: *config.spool.segment_size,
        segments_max: u32::try_from(segments).unwrap_or(u32::MAX),
        batch_size_max: *config.spool.batch_size as usize,
        batches_in_flight_max: config.spool.batches_in_flight,
        message_size_max: (*config.limits.message_size + HEADER_ADDED_SIZE_MAX).max(NOTICE_SIZE_MAX),
        drafts_max: DRAFTS_MAX,
        memory_max: *config.limits.queue_memory / u64::from(logs),
        free_bytes_min: *config.spool.free_min,
        epoch: 1,
    }
}

/// What a log of a pair is told, of which each identity has so many: all begin as replicas.
pub(crate) fn replica(config: &Config, number: u16, logs: u16) -> spool::Settings {
    spool::Settings { epoch: EPOCH_MAX, ..spool(config, number, 2 * logs) }
}

/// What a listener does with TLS.
pub(crate) fn listener_tls(config: &Config, listener: &config::Listener) -> ListenerTls {
    let unset = if config.certificates.is_empty() { ListenerTls::Off } else { ListenerTls::StartTls };
    listener.tls.unwrap_or(unset)
}

/// Where the certificates for clients are; `None`: there are none.
pub(crate) fn server_files(config: &Config) -> Option<ServerFiles> {
    let certificates: Vec<_> = config.certificates.iter().map(|own| (own.chain.clone(), own.key.clone())).collect();
    (!certificates.is_empty()).then(|| ServerFiles {
        certificates,
        ticket_secret: config.tls.ticket_secret.clone(),
        only_tls13: config.tls.min_version == TlsVersion::Tls13,
    })
}

/// The certificates for clients, read.
///
/// # Errors
/// What is wrong with them.
pub(crate) fn server_tls(config: &Config) -> Result<Option<Server>, KeyError> {
    server_files(config).map(|files| Server::load(&files)).transpose()
}

/// What keys sign, and where they are.
pub(crate) fn keys(config: &Config) -> Vec<KeySettings> {
    let of = |dkim: &config::Dkim| KeySettings {
        pattern: dkim.pattern().into(),
        selector: dkim.selector.to_ascii_lowercase().into(),
        path: dkim.key.clone(),
        not_before: dkim.not_before.map(|moment| *moment),
        not_after: dkim.not_after.map(|moment| *moment),
        headers: dkim.headers.clone(),
        canonical: Canonical {
            header_relaxed: dkim.canonicalization.header_relaxed(),
            body_relaxed: dkim.canonicalization.body_relaxed(),
        },
        expires_after: dkim.expires_after.map(|period| *period),
    };
    config.dkim.iter().map(of).collect()
}

/// What mail is signed with, read; `None`: nothing is signed.
///
/// # Errors
/// What is wrong with the keys.
pub(crate) fn keyring(config: &Config) -> Result<Option<Keyring>, KeyringError> {
    (!config.dkim.is_empty()).then(|| Keyring::load(keys(config))).transpose()
}

/// Whom next hops and servers on the web are verified by; `None`: none is.
///
/// # Errors
/// There is nobody.
pub(crate) fn roots(config: &Config) -> Result<Option<Arc<RootCertStore>>, RootsError> {
    let wanted = config.routes.iter().any(|route| matches!(route.tls, RouteTls::Verify | RouteTls::MtaSts));
    (wanted || config.tls_reports.is_some()).then(|| load_roots(config.tls.roots.as_deref())).transpose()
}

/// The place of each route's credentials in the list of [`credentials`]: routes with one file have one place.
fn credentials_ids(config: &Config) -> Vec<Option<CredentialsId>> {
    let files = credentials_files(config);
    let id = |file: &PathBuf| files.iter().position(|other| *other == file).map(|place| CredentialsId(place as u16));
    config.routes.iter().map(|route| route.credentials.as_ref().and_then(id)).collect()
}

/// The files of the routes' credentials, each once.
pub(crate) fn credentials_files(config: &Config) -> Vec<&PathBuf> {
    let mut files: Vec<&PathBuf> = Vec::new();
    for file in config.routes.iter().filter_map(|route| route.credentials.as_ref()) {
        if !files.contains(&file) {
            files.push(file);
        }
    }
    files
}

/// Why there are no credentials.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CredentialsError {
    #[error(transparent)]
    File(#[from] KeyError),
    #[error("{}: {source}", path.display())]
    Content { path: PathBuf, source: NoCredentials },
}

/// The credentials of the routes, read.
///
/// # Errors
/// What is wrong with one of the files.
pub(crate) fn credentials(config: &Config) -> Result<Arc<[Arc<Credentials>]>, CredentialsError> {
    let read = |path: &PathBuf| {
        let text = read_secret(path)?;
        let content = |source| CredentialsError::Content { path: path.clone(), source };
        Credentials::parse(&text).map(Arc::new).map_err(content)
    };
    credentials_files(config).into_iter().map(read).collect()
}

/// A priority of the configuration.
fn priority(number: i8) -> Priority {
    Priority::try_from(number).expect("its range was checked when the configuration was read")
}

/// The listeners as sessions see them.
pub(crate) fn listeners(config: &Config) -> Vec<Listener> {
    let limits = &config.limits;
    (config.listeners.iter())
        .map(|listener| Listener {
            role: listener.role,
            signs: !config.dkim.is_empty() && listener.role != Role::Mx,
            implicit_tls: listener_tls(config, listener) == ListenerTls::Implicit,
            settings: Arc::new(server::Settings {
                hostname: config.hostname.as_str().into(),
                message_size_max: *limits.message_size,
                recipients_max: limits.recipients,
                hops_max: limits.hops,
                binarymime: listener.binarymime,
                requiretls: listener.requiretls,
                mt_priority: listener.mt_priority,
                priority: priority(listener.priority),
                priority_max: priority(listener.priority_max),
                starttls: listener_tls(config, listener) == ListenerTls::StartTls,
                tls_required: listener.require_tls,
                tls_optional: listener.tls_optional.unwrap_or(listener.role != Role::Mx),
                errors_max: limits.errors,
                transactions_max: limits.transactions,
                greeting_delay: *listener.greeting_delay,
                command_timeout: *limits.command_timeout,
                data_timeout: *limits.data_timeout,
                content_rate_min: *limits.content_rate,
            }),
        })
        .collect()
}

/// The routes, compiled.
pub(crate) fn routes(config: &Config) -> Result<Routes, RouteError> {
    let pools = pools(config);
    let entries = config.routes.iter().zip(credentials_ids(config)).map(|(route, credentials)| {
        let hops = (route.to.iter())
            .map(|hop| Hop {
                protocol: match hop.protocol {
                    config::Protocol::Smtp => Protocol::Smtp,
                    config::Protocol::Lmtp => Protocol::Lmtp,
                },
                implicit_tls: hop.implicit_tls,
                addresses: hop.addresses.clone(),
                port: hop.port,
                preference: hop.preference,
                name: hop.host.to_string().into(),
                demand: None,
            })
            .collect();
        let mut compiled = if route.mx { Route::by_mx() } else { Route::new(hops) };
        compiled.pool = route.pool.as_ref().and_then(|name| pools.find(name)).cloned();
        compiled.connections_max = route.connections_max;
        compiled.credentials = credentials;
        compiled.tls = match route.tls {
            RouteTls::None => TlsPolicy::None,
            RouteTls::Opportunistic => TlsPolicy::Opportunistic,
            RouteTls::Dane => TlsPolicy::Dane,
            RouteTls::MtaSts => TlsPolicy::MtaSts,
            RouteTls::Require => TlsPolicy::Require,
            RouteTls::Verify => TlsPolicy::Verify,
        };
        (route.domain.as_str().into(), compiled)
    });
    let entries: Vec<_> = entries.collect();
    Routes::shaped(entries, shaping(config), pools)
}

/// The pools of own addresses, compiled.
pub(crate) fn pools(config: &Config) -> Pools {
    let pools = config.pools.iter().map(|pool| {
        let addresses = pool.addresses.iter().map(|address| PoolAddress { ip: address.ip, weight: address.weight });
        let compiled = Pool { name: pool.name.as_str().into(), addresses: addresses.collect() };
        (compiled, sender_domains(&pool.sender_domains))
    });
    Pools::new(pools).with_tenants(tenants(config), config.tenants.iter().map(|tenant| tenant.pool.as_deref()))
}

/// Who sends, compiled.
pub(crate) fn tenants(config: &Config) -> Tenants {
    Tenants::new(config.tenants.iter().map(|tenant| (tenant.name.as_str(), sender_domains(&tenant.sender_domains))))
}

/// Patterns of domains in both forms in which a reverse-path may have them: with A-labels, and as Unicode (RFC 6531).
fn sender_domains(patterns: &[String]) -> Vec<String> {
    let forms = patterns.iter().flat_map(|pattern| {
        let canonical = config::canonical_pattern(pattern);
        let (dot, name) = canonical.strip_prefix('.').map_or(("", &*canonical), |name| (".", name));
        let unicode = format!("{dot}{}", idna::domain_to_unicode(name).0);
        std::iter::once(canonical.clone()).chain(Some(unicode).filter(|unicode| *unicode != canonical))
    });
    forms.collect()
}

/// Reactions to replies, compiled.
pub(crate) fn reactions(config: &Config) -> Reactions {
    let reactions = config::reactions(config).map(|reaction| {
        const CHECKED: &str = "it was checked when the configuration was read";
        let period = reaction.duration.map_or(Duration::ZERO, |period| *period);
        Reaction {
            name: reaction.name.as_str().into(),
            codes: reaction.codes.iter().map(|code| code.parse().expect(CHECKED)).collect(),
            statuses: reaction.statuses.iter().map(|status| status.parse().expect(CHECKED)).collect(),
            text: reaction.text.as_ref().map(|text| compile_pattern(text).expect(CHECKED)),
            react: match reaction.action {
                config::ReactionAction::BackOff => React::BackOff(period),
                config::ReactionAction::Suspend => React::Suspend(period),
                config::ReactionAction::Bounce => React::Bounce,
                config::ReactionAction::Defer => React::Defer,
            },
        }
    });
    Reactions::new(reactions.collect())
}

/// Limits by destination, compiled.
fn shaping(config: &Config) -> Shaping {
    let texts = |texts: &[String]| texts.iter().map(|text| text.as_str().into()).collect();
    let sections = config.shaping.iter().map(|section| Section {
        domains: texts(&section.domains),
        hosts: texts(&section.hosts),
        networks: section.networks.iter().map(|network| **network).collect(),
        limits: Limits {
            connections_max: section.connections_max,
            connection_rate: section.connection_rate.map(|rate| *rate),
            message_rate: section.message_rate.map(|rate| *rate),
            transactions_per_connection: section.transactions_per_connection,
            recipients_max: section.recipients_max.map(|max| max as usize),
            idle_timeout: section.idle_timeout.map(|period| *period),
            connect_timeout: section.connect_timeout.map(|period| *period),
        },
    });
    Shaping::new(sections.collect())
}

/// How domains are looked up. `system`: the resolvers of this box's system, if the configuration names none; `held`: the addresses
/// that its kernel holds; `roots`: whom the servers of policies are verified by.
pub(crate) fn dns(
    config: &Config,
    system: Vec<SocketAddr>,
    held: &[IpAddr],
    roots: Option<Arc<RootCertStore>>,
) -> DnsSettings {
    let dns = &config.dns;
    let has = |v4: bool| own(config).iter().any(|(address, _)| address.is_ipv4() == v4);
    let (v4, v6) = match dns.addresses {
        config::AddressFamilies::Any => (has(true), has(false)),
        config::AddressFamilies::Ipv4 => (true, false),
        config::AddressFamilies::Ipv6 => (false, true),
    };
    let names = config.addresses.iter().filter_map(|address| address.ehlo_name.as_ref()).chain([&config.hostname]);
    let mut addresses: Vec<IpAddr> = config.addresses.iter().map(|address| address.ip.addr()).collect();
    addresses.extend(config.listeners.iter().map(|listener| listener.address.ip()));
    if !config.transport.is_bypass() {
        addresses.extend(held);
    }
    let sts = config.routes.iter().any(|route| route.tls == RouteTls::MtaSts);
    let named: Vec<SocketAddr> = dns.resolvers.iter().map(|resolver| **resolver).collect();
    DnsSettings {
        rules: Rules {
            families: Families { v4, v6 },
            ourselves: Ourselves {
                names: names.map(|name| name.to_ascii_lowercase().trim_end_matches('.').into()).collect(),
                addresses,
            },
            dane: config.routes.iter().any(|route| matches!(route.tls, RouteTls::Dane | RouteTls::MtaSts)),
            sts,
        },
        resolvers: if named.is_empty() { system } else { named },
        trust_ad: dns.dnssec == config::Dnssec::TrustAd,
        timeout: *dns.timeout,
        roots,
        directory: sts.then(|| config.spool.directory.clone()),
    }
}

/// Who reports on TLS, if reports are made.
pub(crate) fn reports(config: &Config) -> Option<ReportSettings> {
    let config::TlsReports { organization, from, contact } = config.tls_reports.clone()?;
    // The boxes of a pair have one name.
    let origin = match &config.pair {
        Some(pair) => format!("{}.{}", node(pair), config.hostname),
        None => config.hostname.clone(),
    };
    let contact = contact.unwrap_or_else(|| from.clone());
    let reporter = Reporter { organization, contact, from, origin };
    Some(ReportSettings { reporter, directory: config.spool.directory.clone() })
}

/// Own addresses with their EHLO names.
pub(crate) fn own(config: &Config) -> Vec<(IpAddr, Box<str>)> {
    if config.addresses.is_empty() {
        // The kernel transport without addresses of its own: the kernel chooses.
        [IpAddr::from([0; 4]), IpAddr::from([0; 16])].map(|any| (any, config.hostname.as_str().into())).into()
    } else {
        (config.addresses.iter())
            .map(|address| (address.ip.addr(), address.ehlo_name.as_ref().unwrap_or(&config.hostname).as_str().into()))
            .collect()
    }
}

/// What a worker's destinations are told.
pub(crate) fn delivery(config: &Config, workers: u16) -> delivery::Settings {
    let delivery = &config.delivery;
    delivery::Settings {
        connections_max: share(delivery.connections as usize, workers),
        connect_timeout: *delivery.connect_timeout,
        idle_timeout: *delivery.idle_timeout,
        transactions_per_connection_max: delivery.transactions_per_connection,
        host_backoff: HostBackoff {
            first: *delivery.host_backoff,
            max: *delivery.host_backoff_max,
            ..HostBackoff::default()
        },
        ..delivery::Settings::default()
    }
}

/// When deliveries are tried again.
pub(crate) fn retry(config: &Config) -> Retry {
    Retry {
        first: *config.retry.first,
        growth: config.retry.growth,
        max: *config.retry.max,
        jitter: config.retry.jitter,
        age_max: *config.retry.age_max,
        held_age_max: *config.retry.held_age_max,
    }
}

/// A worker's part of a limit that is meant for all.
pub(crate) fn share(limit: usize, workers: u16) -> usize {
    limit.div_ceil(usize::from(workers)).max(1)
}

/// Where events are kept, if in files.
pub(crate) fn event_files(log: &config::Log) -> Option<EventFilesSettings> {
    let directory = log.directory.clone()?;
    let config::Log { file_size, file_age, files_size, .. } = log;
    Some(EventFilesSettings { directory, file_size: **file_size, file_age: **file_age, files_size: **files_size })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::smtp::client::Stage;

    /// A box of a pair with these ports.
    fn config(ports: &str, device: &str) -> Config {
        let text = format!(
            "transport = \"af_xdp\"\nhostname = \"mx1.example.net\"\n{ports}\
             [[address]]\nip = \"192.0.2.25/24\"\nidentity = \"a\"\n\
             [[listener]]\naddress = \"192.0.2.25:25\"\nrole = \"relay\"\n\
             [pair]\nnode = \"a\"\naddress = \"10.9.9.1/24\"\npartner = \"10.9.9.2\"\n{device}\
             encryption = \"none\"\netcd = [\"http://10.9.9.10:2379\"]\n"
        );
        config::parse(&text, "pair.toml").expect("a good file")
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    fn of_worker(config: &Config, traffic: Traffic) -> tcp::Settings {
        tcp(config, traffic, 0, (1, 1), [0; 16], 0)
    }

    #[test]
    fn one_port_carries_mail_and_links() {
        let config = config("[[port]]\ndevice = \"eth1\"\n", "");
        let ports = ports(&config);
        assert_eq!(ports.iter().map(|(_, traffic)| *traffic).collect::<Vec<_>>(), [Traffic::All]);
        assert_eq!(port(&config, ports[0].0).addresses, [ip("192.0.2.25"), ip("10.9.9.1")]);
        assert_eq!(addresses_to_claim(&config, Traffic::All), [ip("10.9.9.1")]);
        let tcp = of_worker(&config, Traffic::All);
        assert_eq!((tcp.addresses.len(), tcp.listeners.len(), tcp.chosen.is_some()), (2, 1, true));
    }

    #[test]
    fn mail_and_links_share_nothing_where_each_has_a_port() {
        let both = "[[port]]\ndevice = \"eth2\"\n[[port]]\ndevice = \"eth1\"\n";
        let config = config(both, "device = \"eth2\"\n");
        let ports = ports(&config);
        assert_eq!(ports.iter().map(|(_, traffic)| *traffic).collect::<Vec<_>>(), [Traffic::Mail, Traffic::Links]);
        assert_eq!(port(&config, ports[0].0).addresses, [ip("192.0.2.25")]);
        assert_eq!(port(&config, ports[1].0).addresses, [ip("10.9.9.1")]);
        assert!(addresses_to_claim(&config, Traffic::Mail).is_empty());
        assert_eq!(addresses_to_claim(&config, Traffic::Links), [ip("10.9.9.1")]);
        let (mail, links) = (of_worker(&config, Traffic::Mail), of_worker(&config, Traffic::Links));
        assert_eq!((mail.addresses.len(), mail.listeners.len(), mail.chosen.is_some()), (1, 1, false));
        assert_eq!((links.addresses.len(), links.listeners.len(), links.chosen.is_some()), (1, 0, true));
        assert!(links.connections_max < mail.connections_max);
        assert!(links.buffer_memory < mail.buffer_memory);
    }

    #[test]
    fn a_tenant_is_known_by_both_forms_of_its_domains() {
        let text = "transport = \"kernel\"\nhostname = \"mx1.example.net\"\n[[listener]]\naddress = \"[::]:25\"\nrole = \"mx\"\n\
                    [[tenant]]\nname = \"books\"\nsender_domains = [\"Bücher.example\", \".xn--bcher-kva.example\", \"*\"]\n";
        let tenants = tenants(&config::parse(text, "tenants.toml").expect("a good file"));
        for path in ["a@bücher.example", "a@XN--bcher-kva.example", "a@x.bücher.example", "a@elsewhere.example"] {
            assert_eq!(tenants.of(path).map(|id| tenants.name(id)), Some("books"), "{path}");
        }
        assert_eq!(tenants.of(""), None);
    }

    #[test]
    fn what_large_providers_say_is_known() {
        let text = "transport = \"kernel\"\nhostname = \"mx1.example.net\"\n[[listener]]\naddress = \"[::]:25\"\nrole = \"mx\"\n";
        let reactions = reactions(&config::parse(text, "least.toml").expect("a good file"));
        let said = |code, stage, status, text: &str| {
            let answer = delivery::Answer::reply(delivery::ReplyTo { code, stage }, status, text, "mx");
            reactions.to(&answer).map(|reaction| reaction.name.to_string())
        };
        for (code, status, text, expected) in [
            (
                421,
                (4, 7, 0),
                "421 4.7.0 [192.0.2.1 15] Our system has detected an unusual rate of unsolicited mail (in reply to end of DATA)",
                Some("google-rate"),
            ),
            (
                421,
                (4, 7, 0),
                "421 4.7.0 [TSS04] Messages from 192.0.2.1 temporarily deferred due to unexpected volume or user complaints",
                Some("yahoo-volume"),
            ),
            (
                421,
                (4, 7, 1),
                "421 4.7.1 [TS03] All messages from 192.0.2.1 will be permanently deferred; Retrying will NOT succeed.",
                Some("yahoo-never"),
            ),
            (421, (4, 3, 2), "421 RP-001 (SNT004) Some connections exceeded the rate limit", Some("microsoft-rate")),
            (451, (4, 7, 500), "451 4.7.500 Server busy. Please try again later", Some("microsoft-busy")),
            (421, (4, 7, 0), "421 4.7.0 Too many messages, slow down (in reply to MAIL FROM)", Some("too-fast")),
            (450, (4, 2, 1), "450 4.2.1 The user is receiving mail at a rate (in reply to RCPT TO)", None),
            (450, (4, 2, 0), "450 4.2.0 Greylisted, try again later (in reply to RCPT TO)", None),
            (451, (4, 7, 1), "451 4.7.1 Rate limit for this recipient (in reply to RCPT TO)", None),
            (550, (5, 1, 1), "550 5.1.1 No such user (in reply to RCPT TO)", None),
        ] {
            assert_eq!(said(code, Stage::Mail, status, text).as_deref(), expected, "{text}");
        }
    }
}
