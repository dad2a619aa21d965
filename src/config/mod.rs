//! The configuration: one typed TOML file.
//!
//! In: the file, and `/etc/hosts` for the names of next hops. Out: a [`Config`] in which every value has its type, its
//! range and its default, and no two values contradict each other; or every mistake of the file at once, each with its
//! place. Never: what must ask the machine (does the interface exist, does the kernel hold an address): that is
//! [`crate::cli::check::environment`].
//!
//! ```text
//! text ─► toml (places kept) ─► walk (against the schema) ─► serde ─► validate (keys against keys) ─► Config
//! ```

mod error;
mod hop;
mod reactions;
pub mod reference;
mod schema;
mod signing;
mod validate;
mod value;
mod walk;

#[cfg(test)]
mod tests;

pub use error::{ConfigError, Invalid, Problem};
pub use hop::{Hop, Host, Hosts, PREFERENCE_DEFAULT, Protocol};
pub use reactions::reactions;
pub use schema::{
    Address, AddressFamilies, Admin, Alert, Arbiter, BareNewline, Certificate, ClientRule, Config, Delivery, Dns,
    Dnssec, Domain, Dpdk, Encryption, Identity, Limits, Listener, ListenerTls, Log, LogLevel, Pair, Poll, Pool,
    PoolAddress, Port, Reaction, ReactionAction, Recipients, Relay, Retry, Role, Route, RouteTls, Shaping, Spool,
    Tenant, Tls, TlsReports, TlsVersion, Transport, Workers,
};
pub use signing::{Canonicalization, Dkim, Signing, WithoutKey};
pub use value::{
    Moment, Network, Period, Queues, Rate, Resolver, Size, ValueError, canonical_domain, canonical_pattern,
    is_host_name, webhook_host,
};

use crate::limits;
use std::io::Read;
use std::path::Path;
use std::sync::LazyLock;
use toml::de::DeTable;

/// Reads the file at `path`. Relative paths in it are taken from its folder.
///
/// # Errors
/// The file cannot be read, or holds mistakes: all of them.
pub fn load(path: &Path) -> Result<Config, ConfigError> {
    let failed = |source| ConfigError::Read { path: path.to_owned(), source };
    let file = std::fs::File::open(path).map_err(failed)?;
    let mut text = String::new();
    let size = file.take(limits::CONFIG_SIZE_MAX + 1).read_to_string(&mut text).map_err(failed)?;
    if size as u64 > limits::CONFIG_SIZE_MAX {
        return Err(ConfigError::TooLarge { path: path.to_owned(), size_max: limits::CONFIG_SIZE_MAX });
    }
    // A box without /etc/hosts has no names, which is no error as long as none is used.
    let hosts = std::fs::read("/etc/hosts").unwrap_or_default();
    let mut config = parse_with(&text, &path.display().to_string(), &Hosts::parse(&String::from_utf8_lossy(&hosts)))?;
    let folder = path.parent().unwrap_or(Path::new(""));
    for domain in &mut config.domains {
        if let Some(recipients) = &mut domain.recipients {
            *recipients = folder.join(&*recipients);
        }
    }
    let keys = config.dkim.iter_mut().map(|dkim| &mut dkim.key);
    let files = config.certificates.iter_mut().flat_map(|certificate| [&mut certificate.chain, &mut certificate.key]);
    let keys = keys.chain(config.routes.iter_mut().flat_map(|route| &mut route.credentials));
    for path in files.chain(&mut config.tls.ticket_secret).chain(&mut config.tls.roots).chain(keys) {
        *path = folder.join(&*path);
    }
    Ok(config)
}

/// Reads `text`, which error messages call `name`, on a machine whose `/etc/hosts` is empty.
///
/// # Errors
/// The text holds mistakes.
pub fn parse(text: &str, name: &str) -> Result<Config, ConfigError> {
    parse_with(text, name, &Hosts::parse(""))
}

/// Reads `text`, which error messages call `name`; `hosts` are the names that next hops may have.
///
/// # Errors
/// The text holds mistakes.
pub fn parse_with(text: &str, name: &str, hosts: &Hosts) -> Result<Config, ConfigError> {
    let invalid = |problems| ConfigError::Invalid(Box::new(Invalid::new(name, text, problems)));
    let (table, errors) = DeTable::parse_recoverable(text);
    if !errors.is_empty() {
        // What follows a mistake of syntax may be in the wrong table, so that nothing else is said.
        let problem = |error: &toml::de::Error| Problem::new(error.span().unwrap_or(0..0), error.message());
        return Err(invalid(errors.iter().map(problem).collect()));
    }
    let problems = walk::walk(schema(), &table);
    if !problems.is_empty() {
        return Err(invalid(problems));
    }
    let mut config: Config = toml::from_str(text)
        .map_err(|error: toml::de::Error| invalid(vec![Problem::new(error.span().unwrap_or(0..0), error.message())]))?;
    let problems = validate::validate(&mut config, &table, hosts);
    if problems.is_empty() { Ok(config) } else { Err(invalid(problems)) }
}

/// The JSON schema of the file; always the same, so that it is made once.
pub fn schema() -> &'static serde_json::Value {
    static SCHEMA: LazyLock<serde_json::Value> = LazyLock::new(|| schemars::schema_for!(Config).to_value());
    &SCHEMA
}

/// What is allowed and yet rarely meant, one sentence each: `check` shows it.
pub fn warnings(config: &Config) -> Vec<String> {
    validate::warnings(config)
}
