//! `rohrpost check`: what a configuration means, and everything that is wrong with it.
//!
//! In: the file. Out: the summary on standard output and exit code 0, or every problem on standard error and 1. Never: a
//! change to the machine.

use crate::appliance::settings::{self, Traffic};
use crate::config::{self, Config, ConfigError, ListenerTls, Queues, RouteTls, Transport};
use crate::control::{AdminSocket, Hooks, HttpError, HttpSocket, Registers};
use crate::policy::Policy;
use crate::port::{self, af_xdp, dpdk};
use miette::Diagnostic as _;
use std::fmt::Write as _;
use std::io::Write as _;
use std::process::ExitCode;

/// A problem of the machine that the file is for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Problem {
    /// What is wrong, and what to do.
    pub message: String,
}

/// Checks the file that `args` name, or the spool.
pub fn check(args: &super::CheckArgs) -> ExitCode {
    if let Some(directory) = &args.spool {
        return super::spool::check_spool(directory);
    }
    let config = match config::load(&args.config.config) {
        Ok(config) => config,
        Err(error) => return refuse(&show(&error)),
    };
    let mut problems: Vec<String> = environment(&config).iter().map(|problem| format!("  {problem}\n")).collect();
    if let Err(error) = settings::server_tls(&config) {
        problems.push(format!("  TLS: {error}\n"));
    }
    let keyring = settings::keyring(&config);
    if let Err(error) = &keyring {
        problems.push(format!("  DKIM: {error}\n"));
    }
    if let Err(error) = settings::roots(&config) {
        problems.push(format!("  [tls] roots: {error}\n"));
    }
    if let Err(error) = settings::credentials(&config) {
        problems.push(format!("  credentials: {error}\n"));
    }
    match Policy::new(&config) {
        Ok(policy) if problems.is_empty() => {
            let text = summary(&config, &policy);
            // A reader that went away, such as `head`, is no failure of the check.
            let _ = std::io::stdout().write_all(text.as_bytes());
            return ExitCode::SUCCESS;
        }
        Ok(_) => {}
        Err(error) => problems.push(format!("  {error}\n")),
    }
    refuse(&format!("{} cannot run here:\n{}", args.config.config.display(), problems.concat()))
}

pub(super) fn refuse(text: &str) -> ExitCode {
    let _ = std::io::stderr().write_all(text.as_bytes());
    ExitCode::FAILURE
}

/// All problems of a file with the lines that they are in.
pub fn show(error: &ConfigError) -> String {
    let mut text = String::new();
    let handler = miette::GraphicalReportHandler::new_themed(theme());
    for problem in error.problems() {
        // Each stands by itself with its own line, rather than nested below a headline.
        let report = miette::Report::new(problem.clone()).with_source_code(error.named_source());
        if handler.render_report(&mut text, report.as_ref()).is_err() {
            let _ = writeln!(text, "{problem}");
        }
    }
    let _ = writeln!(text, "{error}");
    if let ConfigError::Read { source, .. } = error {
        let _ = writeln!(text, "  {source}");
        if let Some(help) = error.help() {
            let _ = writeln!(text, "  {help}");
        }
    }
    text
}

/// Colours and box drawings only for a reader who has a terminal.
fn theme() -> miette::GraphicalTheme {
    use std::io::IsTerminal as _;
    if std::io::stderr().is_terminal() { miette::GraphicalTheme::default() } else { miette::GraphicalTheme::none() }
}

/// What of the configuration this machine cannot do: every problem found. Leaves nothing open.
pub fn environment(config: &Config) -> Vec<Problem> {
    let cores = std::thread::available_parallelism().map_or(usize::MAX, usize::from);
    let present = core_affinity::get_core_ids().unwrap_or_default();
    let mut problems = Vec::new();
    for core in &config.workers.cores {
        if !present.is_empty() && !present.iter().any(|id| id.id == *core) {
            let message = format!("[workers] cores: there is no core {core} for us (this machine gives us {cores})");
            problems.push(Problem { message });
        }
    }
    let said = |error: &dyn std::fmt::Display| Problem { message: error.to_string() };
    match config.transport {
        Transport::AfXdp => {
            for port in &config.ports {
                let found = af_xdp::preflight(&settings::port(config, port));
                problems.extend(found.iter().map(|error| said(error)));
            }
        }
        Transport::Dpdk if !dpdk::BUILT => problems.push(said(&dpdk::OpenError::NotBuilt)),
        Transport::Dpdk => {
            for port in &config.ports {
                let found = dpdk::preflight(&settings::dpdk_port(config, port));
                problems.extend(found.iter().map(|error| said(error)));
            }
        }
        Transport::Kernel => {}
    }
    if config.transport.is_bypass() {
        problems.extend(unreachable_hops(config));
    }
    match config.admin.http.map(HttpSocket::open) {
        // By an appliance that runs, which is then no mistake of the file.
        Some(Err(HttpError::InUse { .. })) if AdminSocket::answers(&config.admin.socket) => {}
        Some(Err(error)) => problems.push(said(&error)),
        Some(Ok(_)) | None => {}
    }
    if let Some(pair) = &config.pair {
        problems.extend(Registers::open(pair, &config.spool.directory).err().map(|error| said(&error)));
        problems.extend(settings::pinned(pair).err().map(|error| said(&error)));
    }
    problems.extend(Hooks::open(&config.alert).err().map(|error| said(&error)));
    problems
}

/// Hops that are the box itself: the frames of user-space flows leave by the wire and never come to the box's own kernel.
fn unreachable_hops(config: &Config) -> Vec<Problem> {
    let Ok(held) = port::kernel_addresses() else { return Vec::new() };
    let hops = config.routes.iter().flat_map(|route| route.to.iter().map(move |hop| (route, hop)));
    hops.flat_map(|(route, hop)| hop.addresses.iter().map(move |address| (route, hop, address)))
        .filter(|(_, _, address)| address.is_loopback() || held.contains(address))
        .map(|(route, hop, address)| Problem {
            message: format!(
                "[[route]] {}: {hop} leads to {address}, which this box's kernel holds; {} cannot reach the box itself: \
                 name another host, or use transport = \"kernel\"",
                route.domain,
                config.transport.name(),
            ),
        })
        .collect()
}

/// What a box with this configuration would do.
pub fn summary(config: &Config, policy: &Policy) -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: String| {
        let _ = writeln!(text, "{name:<12} {value}");
    };
    line("transport", config.transport.name().to_owned());
    line("hostname", config.hostname.clone());
    line(
        "workers",
        match config.workers.cores.as_slice() {
            [] => "1, not pinned".to_owned(),
            cores => format!("{}, on cores {}", cores.len(), joined(cores)),
        },
    );
    // The kernel transport takes no notice of them.
    for port in config.ports.iter().filter(|_| config.transport != Transport::Kernel) {
        let queues = match &port.queues {
            Queues::Auto => "auto".to_owned(),
            Queues::List(list) => joined(list),
        };
        let vlan = if port.vlan == 0 { "untagged".to_owned() } else { format!("VLAN {}", port.vlan) };
        let what = if settings::traffic(config, port) == Traffic::Links { ", for the links alone" } else { "" };
        line("port", format!("{}, queues {queues}, {vlan}{what}", port.device));
    }
    if config.transport == Transport::Dpdk {
        let dpdk = &config.dpdk;
        let pages = if dpdk.hugepages { "hugepages" } else { "ordinary memory" };
        let offloads = if dpdk.offloads { "with what the card offers" } else { "without offloads" };
        line("dpdk", format!("{} of {pages}, {offloads}", dpdk.memory));
    }
    for address in &config.addresses {
        let gateway = address.gateway.map_or("no gateway".to_owned(), |gateway| format!("gateway {gateway}"));
        let name = address.ehlo_name.as_ref().unwrap_or(&config.hostname);
        line("address", format!("{}, {gateway}, EHLO {name}", address.ip));
    }
    if let Some(pair) = &config.pair {
        let silence = pair.silence;
        line(
            "pair",
            format!("box {}, links {} to {}, silent after {silence}", settings::node(pair), pair.address, pair.partner),
        );
        line(
            "links",
            match pair.encryption {
                config::Encryption::Tls => "TLS 1.3, both boxes known by their fingerprints".to_owned(),
                config::Encryption::None => "in the clear: whoever reaches them reads all mail".to_owned(),
            },
        );
        match pair.arbiter {
            config::Arbiter::Etcd => {
                let (etcd, prefix) = (joined(&pair.etcd), &pair.etcd_prefix);
                line("etcd", format!("{etcd}, keys {prefix}a and {prefix}b"));
            }
            config::Arbiter::Manual => {
                line("arbiter", "manual: a box that is not heard is replaced by command only".to_owned())
            }
        }
    }
    for listener in &config.listeners {
        let role = format!("{:?}", listener.role).to_lowercase();
        let tls = match (settings::listener_tls(config, listener), listener.require_tls) {
            (ListenerTls::Off, _) => "",
            (ListenerTls::StartTls, false) => ", STARTTLS",
            (ListenerTls::StartTls, true) => ", STARTTLS required",
            (ListenerTls::Implicit, _) => ", TLS from the first byte",
        };
        line("listener", format!("{}, {role}{tls}", listener.address));
    }
    for own in &config.certificates {
        line("certificate", format!("{}, key {}", own.chain.display(), own.key.display()));
    }
    for dkim in &config.dkim {
        line("dkim", format!("{} by {}, key {}", dkim.domain, dkim.selector, dkim.key.display()));
    }
    if !config.relay.networks.is_empty() {
        line("relay", format!("anywhere for {}", joined(&config.relay.networks)));
    }
    for domain in &config.domains {
        let map = domain.recipients.as_ref().and_then(|path| policy.maps().find(|(map, _)| map == path));
        let recipients = match map {
            Some((path, count)) => format!("{count} entries of {}", path.display()),
            None if domain.check_recipients => "recipients that the next hop knows".to_owned(),
            None => "every recipient".to_owned(),
        };
        line("domain", format!("{}, {recipients}", domain.name));
    }
    for tenant in &config.tenants {
        let pool = tenant.pool.as_ref().map_or(String::new(), |pool| format!(", from the pool {pool}"));
        line("tenant", format!("{}, mail from {}{pool}", tenant.name, joined(&tenant.sender_domains)));
    }
    for pool in &config.pools {
        let addresses = pool.addresses.iter().map(|address| format!("{} ({})", address.ip, address.weight));
        let addresses = addresses.collect::<Vec<_>>().join(", ");
        let senders = match pool.sender_domains.is_empty() {
            true => String::new(),
            false => format!(", for mail from {}", joined(&pool.sender_domains)),
        };
        line("pool", format!("{}, {addresses}{senders}", pool.name));
    }
    for route in &config.routes {
        let tls = match route.tls {
            RouteTls::None => ", without TLS",
            RouteTls::Opportunistic => "",
            RouteTls::Dane => ", with DANE",
            RouteTls::MtaSts => ", with DANE and MTA-STS",
            RouteTls::Require => ", under TLS only",
            RouteTls::Verify => ", under TLS with a valid certificate only",
        };
        let to = match (route.discard, route.mx) {
            (true, _) => "is discarded".to_owned(),
            (false, true) => format!("by MX{tls}"),
            (false, false) => format!("to {}{tls}", joined(&route.to)),
        };
        let pool = route.pool.as_ref().map_or(String::new(), |pool| format!(", from the pool {pool}"));
        line("route", format!("{} {to}{pool}", route.domain));
    }
    for section in &config.shaping {
        line("shaping", shaping(section));
    }
    let limits = &config.limits;
    line(
        "limits",
        format!(
            "{} a message, {} recipients, {} connections",
            limits.message_size, limits.recipients, limits.connections
        ),
    );
    line("spool", format!("{}, at most {}", config.spool.directory.display(), config.spool.size_max));
    let retry = &config.retry;
    line(
        "retry",
        format!("after {}, times {}, at most {}, for {}", retry.first, retry.growth, retry.max, retry.age_max),
    );
    let health = config.admin.http.map_or("nobody can ask over HTTP".to_owned(), |http| format!("health on {http}"));
    line("admin", format!("{}, {health}", config.admin.socket.display()));
    line("alert", alert(&config.alert));
    for warning in config::warnings(config) {
        let _ = writeln!(text, "warning: {warning}");
    }
    text
}

/// What one section limits, and for whom.
pub(super) fn shaping(section: &config::Shaping) -> String {
    let mut whom: Vec<String> = section.domains.iter().map(|domain| format!("mail to {domain}")).collect();
    whom.extend(section.hosts.iter().map(|host| format!("the host {host}")));
    whom.extend(section.networks.iter().map(|network| format!("hosts in {network}")));
    let what = [
        section.connections_max.map(|max| format!("{max} connections")),
        section.connection_rate.map(|rate| format!("{rate} of them")),
        section.message_rate.map(|rate| format!("{rate} messages")),
        section.transactions_per_connection.map(|max| format!("{max} messages a connection")),
        section.recipients_max.map(|max| format!("{max} recipients a message")),
        section.idle_timeout.map(|period| format!("idle for {period}")),
        section.connect_timeout.map(|period| format!("connected within {period}")),
    ];
    let what: Vec<String> = what.into_iter().flatten().collect();
    format!("{}: {}", whom.join(", "), what.join(", "))
}

/// Whom engineers hear from. Of a webhook only the host is shown: the rest is often a secret.
fn alert(alert: &config::Alert) -> String {
    let webhook = alert.webhook.as_ref().and_then(|url| config::webhook_host(url).ok());
    let webhook = webhook.map(|host| format!("the webhook on {host}"));
    let command = alert.command.first().map(|program| format!("the command {program}"));
    match [webhook, command].into_iter().flatten().collect::<Vec<_>>().as_slice() {
        [] => "in the log only".to_owned(),
        hooks => format!("{}; again after {}, over after {}", joined(hooks), alert.repeat, alert.calm),
    }
}

fn joined<T: std::fmt::Display>(values: &[T]) -> String {
    values.iter().map(T::to_string).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"
transport = "kernel"
hostname = "mx1.example.net"
[[listener]]
address = "[::]:2525"
role = "mx"
[relay]
networks = ["10.0.0.0/8"]
[[domain]]
name = "example.net"
[[route]]
domain = "*"
to = ["smtp://10.1.1.5", "lmtp://[2001:db8::1]:24?preference=20"]
"#;

    #[test]
    fn the_summary_says_what_the_box_would_do() {
        let config = config::parse(GOOD, "good.toml").expect("a good file");
        let policy = Policy::with_seed(&config, 1).expect("no maps");
        let text = summary(&config, &policy);
        for line in [
            "transport    kernel",
            "workers      1, not pinned",
            "listener     [::]:2525, mx",
            "domain       example.net, every recipient",
            "route        * to smtp://10.1.1.5:25, lmtp://[2001:db8::1]:24?preference=20",
            "retry        after 1m, times 2, at most 4h, for 5d",
        ] {
            assert!(text.contains(line), "{line}\n{text}");
        }
    }

    #[test]
    fn a_build_without_dpdk_says_how_to_make_one_with_it() {
        let port = "[[port]]\ndevice = \"net_null0\"\n[dpdk]\nhugepages = false\n[[address]]\nip = \"192.0.2.25/24\"\n";
        let text = GOOD.replace("\"kernel\"", "\"dpdk\"").replace("[::]:2525", "192.0.2.25:25");
        let text = text.replace(", \"lmtp://[2001:db8::1]:24?preference=20\"", "");
        let text = text.replace("[relay]", &format!("{port}gateway = \"192.0.2.1\"\n[relay]"));
        let config = config::parse(&text, "dpdk.toml").unwrap_or_else(|error| panic!("{}", show(&error)));
        let problems: Vec<String> = environment(&config).iter().map(ToString::to_string).collect();
        let advice = problems.iter().any(|problem| problem.contains("`cargo build --release --features dpdk`"));
        assert_eq!(advice, !dpdk::BUILT, "{problems:?}");
    }

    #[test]
    fn every_mistake_is_shown_in_its_line() {
        let broken = GOOD.replace("hostname", "hostnam").replace("\"10.0.0.0/8\"", "\"10.0.0.1/8\"");
        let error = config::parse(&broken, "broken.toml").expect_err("a broken file");
        let text = show(&error);
        for part in
            ["hostnam = ", "did you mean `hostname`?", "broken.toml:3:1", "10.0.0.0/8", "broken.toml has 2 mistakes"]
        {
            assert!(text.contains(part), "{part}\n{text}");
        }
    }
}
