//! Next hops: `smtp://mail.example.net:25`, `smtps://mail.example.net:465`, `lmtp://[2001:db8::1]:24?preference=20`.
//!
//! In: the text of a hop, and the text of `/etc/hosts`. Out: protocol, host, port, preference, and the addresses to
//! connect to. Never: DNS, which is for routes by MX; names are those of `/etc/hosts`.

use super::value::{ValueError, is_host_name};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

/// What is spoken with a next hop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// RFC 5321.
    Smtp,
    /// RFC 2033.
    Lmtp,
}

/// Where a next hop is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Host {
    /// By address.
    Address(IpAddr),
    /// By a name of `/etc/hosts`.
    Name(String),
}

/// One host that serves a route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hop {
    /// What it speaks.
    pub protocol: Protocol,
    /// Where it is.
    pub host: Host,
    /// TLS begins with the connection (RFC 8314).
    pub implicit_tls: bool,
    /// Its TCP port. Default: 25 for SMTP, 465 with TLS from the first byte, 24 for LMTP.
    pub port: u16,
    /// Lower is tried first; equals share the load. Default: 10.
    pub preference: u16,
    /// The host's addresses, in the order of `/etc/hosts`; filled when the file is loaded, and not empty then.
    pub addresses: Vec<IpAddr>,
}

/// The preference of a hop that names none, as of a lone MX record.
pub const PREFERENCE_DEFAULT: u16 = 10;

/// The port of submission under TLS (RFC 8314 §7.3), which servers use for relaying too.
const SMTPS_PORT: u16 = 465;

impl Protocol {
    /// The port of a hop that names none. LMTP has no port of its own (RFC 2033 §5 forbids only 25); 24 is "any private
    /// mail system" and what mailbox servers use.
    pub const fn port_default(self) -> u16 {
        match self {
            Protocol::Smtp => 25,
            Protocol::Lmtp => 24,
        }
    }
}

impl FromStr for Hop {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Hop, ValueError> {
        let (scheme, rest) = text.split_once("://").ok_or(ValueError::Hop("it names no protocol"))?;
        let (protocol, implicit_tls) = match scheme {
            "smtp" => (Protocol::Smtp, false),
            "smtps" => (Protocol::Smtp, true),
            "lmtp" => (Protocol::Lmtp, false),
            _ => return Err(ValueError::Hop("the protocols are smtp, smtps and lmtp")),
        };
        let (authority, query) = match rest.split_once('?') {
            Some((authority, query)) => (authority, Some(query)),
            None => (rest, None),
        };
        let preference = match query {
            None => PREFERENCE_DEFAULT,
            Some(query) => {
                let number =
                    query.strip_prefix("preference=").ok_or(ValueError::Hop("the one parameter is preference"))?;
                whole(number).ok_or(ValueError::Hop("a preference is 0 to 65535"))?
            }
        };
        let (host, port) = authority_of(authority)?;
        let port = match port {
            None if implicit_tls => SMTPS_PORT,
            None => protocol.port_default(),
            Some(port) => whole(port).filter(|port| *port != 0).ok_or(ValueError::Hop("a port is 1 to 65535"))?,
        };
        Ok(Hop { protocol, implicit_tls, host, port, preference, addresses: Vec::new() })
    }
}

/// Digits only: the standard library would take a leading plus sign too.
fn whole(text: &str) -> Option<u16> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

fn authority_of(authority: &str) -> Result<(Host, Option<&str>), ValueError> {
    if let Some(rest) = authority.strip_prefix('[') {
        let (address, rest) = rest.split_once(']').ok_or(ValueError::Hop("the bracket is not closed"))?;
        let address: Ipv6Addr = address.parse().map_err(|_| ValueError::Hop("no IPv6 address in the brackets"))?;
        let port = match rest {
            "" => None,
            _ => Some(rest.strip_prefix(':').ok_or(ValueError::Hop("only :PORT may follow the bracket"))?),
        };
        return Ok((Host::Address(IpAddr::V6(address)), port));
    }
    let (host, port) = match authority.split_once(':') {
        Some((_, port)) if port.contains(':') => return Err(ValueError::Hop("an IPv6 address stands in brackets")),
        Some((host, port)) => (host, Some(port)),
        None => (authority, None),
    };
    match host.parse::<IpAddr>() {
        Ok(address) => Ok((Host::Address(address), port)),
        // All digits and dots, but no address: surely a mistyped address, not a name (RFC 1123 §2.1).
        Err(_) if host.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') => {
            Err(ValueError::Hop("no IPv4 address"))
        }
        Err(_) if is_host_name(host) => Ok((Host::Name(host.to_ascii_lowercase()), port)),
        Err(_) => Err(ValueError::Hop("no host name or address")),
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Host::Address(IpAddr::V6(address)) => write!(f, "[{address}]"),
            Host::Address(address) => write!(f, "{address}"),
            Host::Name(name) => f.write_str(name),
        }
    }
}

impl fmt::Display for Hop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match (self.protocol, self.implicit_tls) {
            (Protocol::Smtp, false) => "smtp",
            (Protocol::Smtp, true) => "smtps",
            (Protocol::Lmtp, _) => "lmtp",
        };
        write!(f, "{scheme}://{}:{}", self.host, self.port)?;
        if self.preference != PREFERENCE_DEFAULT {
            write!(f, "?preference={}", self.preference)?;
        }
        Ok(())
    }
}

impl Serialize for Hop {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Hop {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Hop, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(|error| serde::de::Error::custom(format!("\"{text}\" {error}")))
    }
}

impl JsonSchema for Hop {
    fn schema_name() -> Cow<'static, str> {
        "Hop".into()
    }
    fn inline_schema() -> bool {
        true
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "format": "hop",
            "description": "A next hop: smtp://HOST:PORT or lmtp://HOST:PORT, with ?preference=NUMBER if wanted.",
        })
    }
}

/// The names of an `/etc/hosts`, in lower case.
pub struct Hosts(HashMap<String, Vec<IpAddr>>);

impl Hosts {
    /// Reads the text of an `/etc/hosts`; a line that is none is passed over, as the system's resolver does.
    pub fn parse(text: &str) -> Hosts {
        let mut names: HashMap<String, Vec<IpAddr>> = HashMap::new();
        for line in text.lines() {
            let mut words = line.split('#').next().unwrap_or_default().split_ascii_whitespace();
            let Some(address) = words.next().and_then(|word| word.parse::<IpAddr>().ok()) else { continue };
            for name in words {
                let addresses = names.entry(name.to_ascii_lowercase()).or_default();
                if !addresses.contains(&address) {
                    addresses.push(address);
                }
            }
        }
        Hosts(names)
    }

    /// The addresses of `host`; empty if the name is unknown.
    pub fn resolve(&self, host: &Host) -> Vec<IpAddr> {
        match host {
            Host::Address(address) => vec![*address],
            Host::Name(name) => self.0.get(name).cloned().unwrap_or_default(),
        }
    }
}
