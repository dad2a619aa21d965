//! Who may send what to whom.
//!
//! In: the configuration, compiled once; then a client's address, a listener's role and a forward-path. Out: a
//! [`Decision`]. Never: a file, a lock or a question to the network while it decides; map files are read by
//! [`Policy::new`] and [`Policy::reload_maps`], on the control thread, and the result is shared as it stands.
//!
//! | recipient | client may relay | anyone else, `mx` and `relay` | anyone else, `submission` |
//! | --- | --- | --- | --- |
//! | `Postmaster`, postmaster of an accepted domain | accept | accept | accept |
//! | accepted domain, in its map or without one | accept (or check) | accept (or check) | relay denied |
//! | accepted domain, not in its map | unknown | unknown | relay denied |
//! | any other domain | accept | relay denied | relay denied |
//!
//! Domains are compared as A-labels in lower case, local parts with ASCII letters in lower case: RFC 5321 §2.4 leaves the
//! meaning of case to the receiving host, and none that matters tells `Info` from `info`.

mod address;
mod networks;
mod recipients;
mod verify;

#[cfg(test)]
mod tests;

pub use crate::config::{BareNewline, Role};
pub use networks::Networks;
pub use recipients::{MapError, RecipientMap};
pub use verify::{Verdict, VerifyCache};

use crate::config::{Config, canonical_domain};
use address::Mailbox;
use hashbrown::HashMap;
use recipients::Stamp;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What becomes of a recipient.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Take it.
    Accept,
    /// 550 5.7.1: this client may not send there.
    RelayDenied,
    /// 550 5.1.1: the domain is ours, and there is no such recipient.
    UnknownRecipient,
    /// The domain is ours, and its next hop knows who exists: ask it (or the [`VerifyCache`]).
    Check,
}

/// Why there is no policy.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    /// A recipient map cannot be used.
    #[error("{}: {source}", path.display())]
    Map {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: MapError,
    },
    /// The system gives no randomness for the seed of the tables.
    #[error("the system gives no randomness: {0}")]
    Entropy(getrandom::Error),
}

/// The rules, compiled. Immutable: a change makes a new one.
#[derive(Clone)]
pub struct Policy {
    relay: Networks,
    clients: Arc<[(Networks, BareNewline)]>,
    domains: Arc<Domains>,
    maps: Vec<MapFile>,
    delimiter: Option<u8>,
    seed: u64,
}

/// A map and the state of the file that it was read from.
#[derive(Clone)]
struct MapFile {
    path: PathBuf,
    /// Of the last attempt to read it, good or bad: a broken file is reported once and not at every look.
    stamp: Option<Stamp>,
    map: Arc<RecipientMap>,
}

/// Who receives in an accepted domain.
#[derive(Clone, Copy, Debug)]
enum Recipients {
    Everyone,
    /// Those in the map at this place of [`Policy::maps`].
    Map(usize),
    NextHop,
}

#[derive(Default)]
struct Domains {
    exact: HashMap<Box<str>, Recipients>,
    /// By the parent domain, without the leading dot.
    below: HashMap<Box<str>, Recipients>,
}

impl Domains {
    /// The rule of `domain`: its own, else that of its nearest parent with one.
    fn lookup(&self, domain: &str) -> Option<Recipients> {
        if let Some(found) = self.exact.get(domain) {
            return Some(*found);
        }
        let mut rest = domain;
        while let Some((_, parent)) = rest.split_once('.') {
            if let Some(found) = self.below.get(parent) {
                return Some(*found);
            }
            rest = parent;
        }
        None
    }
}

/// What [`Policy::reload_maps`] found.
#[derive(Default)]
pub struct Reload {
    /// The policy from now on, if a file changed.
    pub policy: Option<Policy>,
    /// Changed files that are broken; what they said before still counts.
    pub errors: Vec<PolicyError>,
}

impl Policy {
    /// Compiles `config` and reads its recipient maps.
    ///
    /// # Errors
    /// A map cannot be read, or holds a bad line.
    pub fn new(config: &Config) -> Result<Policy, PolicyError> {
        let mut seed = [0; 8];
        getrandom::fill(&mut seed).map_err(PolicyError::Entropy)?;
        Policy::with_seed(config, u64::from_le_bytes(seed))
    }

    /// The same with the seed of the tables given.
    ///
    /// # Errors
    /// A map cannot be read, or holds a bad line.
    pub fn with_seed(config: &Config, seed: u64) -> Result<Policy, PolicyError> {
        let mut domains = Domains::default();
        let mut maps: Vec<MapFile> = Vec::new();
        for domain in &config.domains {
            let recipients = match &domain.recipients {
                Some(path) => Recipients::Map(place_of(&mut maps, path, seed)?),
                None if domain.check_recipients => Recipients::NextHop,
                None => Recipients::Everyone,
            };
            let (table, name) = match domain.name.strip_prefix('.') {
                Some(parent) => (&mut domains.below, parent),
                None => (&mut domains.exact, domain.name.as_str()),
            };
            let name = canonical_domain(name).unwrap_or(name.into());
            table.insert(Box::from(&*name), recipients);
        }
        let rule = |rule: &crate::config::ClientRule| {
            (Networks::new(rule.networks.iter().map(|network| network.0)), rule.bare_newline)
        };
        Ok(Policy {
            relay: Networks::new(config.relay.networks.iter().map(|network| network.0)),
            clients: config.clients.iter().map(rule).collect(),
            domains: Arc::new(domains),
            maps,
            delimiter: config.recipients.delimiter.bytes().next(),
            seed,
        })
    }

    /// Whether `forward_path` (without brackets and source route) may be a recipient of `client`'s message.
    pub fn recipient(&self, client: IpAddr, role: Role, forward_path: &str) -> Decision {
        // RFC 5321 §4.5.1: the reserved mailbox postmaster exists in every case, without a domain too.
        if forward_path.eq_ignore_ascii_case("postmaster") {
            return Decision::Accept;
        }
        let relays = self.relay.contains(client);
        let otherwise = if relays { Decision::Accept } else { Decision::RelayDenied };
        let Some(mailbox) = Mailbox::parse(forward_path) else { return Decision::RelayDenied };
        let Some(recipients) = self.domains.lookup(mailbox.domain()) else { return otherwise };
        if mailbox.is_postmaster() {
            return Decision::Accept;
        }
        if role == Role::Submission && !relays {
            return Decision::RelayDenied;
        }
        match recipients {
            Recipients::Everyone => Decision::Accept,
            Recipients::NextHop => Decision::Check,
            Recipients::Map(place) => match self.maps[place].map.contains(&mailbox, self.delimiter) {
                true => Decision::Accept,
                false => Decision::UnknownRecipient,
            },
        }
    }

    /// What becomes of a lone CR or LF from `client`: what the first rule that holds it says, else a refusal.
    pub fn bare_newline(&self, client: IpAddr) -> BareNewline {
        let rule = self.clients.iter().find(|(networks, _)| networks.contains(client));
        rule.map_or(BareNewline::Reject, |(_, bare_newline)| *bare_newline)
    }

    /// Whether `client` may relay anywhere.
    pub fn relays(&self, client: IpAddr) -> bool {
        self.relay.contains(client)
    }

    /// Looks whether map files changed (time, size or inode), and reads those that did. A broken one leaves what it said
    /// before in force. Reads files: for the control thread.
    pub fn reload_maps(&self) -> Reload {
        let mut reload = Reload::default();
        let mut maps = self.maps.clone();
        for file in &mut maps {
            let stamp = Stamp::of(&file.path);
            if stamp == file.stamp {
                continue;
            }
            file.stamp = stamp;
            match RecipientMap::load(&file.path, self.seed) {
                Ok((map, stamp)) => {
                    file.map = Arc::new(map);
                    file.stamp = Some(stamp);
                }
                Err(source) => reload.errors.push(PolicyError::Map { path: file.path.clone(), source }),
            }
            reload.policy = Some(self.clone());
        }
        if let Some(policy) = &mut reload.policy {
            policy.maps = maps;
        }
        reload
    }

    /// The map files and how many entries each has.
    pub fn maps(&self) -> impl Iterator<Item = (&Path, usize)> {
        self.maps.iter().map(|file| (file.path.as_path(), file.map.count()))
    }
}

/// The place of the map at `path`, which is read unless another domain uses it already.
fn place_of(maps: &mut Vec<MapFile>, path: &Path, seed: u64) -> Result<usize, PolicyError> {
    if let Some(place) = maps.iter().position(|file| file.path == path) {
        return Ok(place);
    }
    let failed = |source| PolicyError::Map { path: path.to_owned(), source };
    let (map, stamp) = RecipientMap::load(path, seed).map_err(failed)?;
    maps.push(MapFile { path: path.to_owned(), stamp: Some(stamp), map: Arc::new(map) });
    Ok(maps.len() - 1)
}
