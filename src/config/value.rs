//! Texts of the configuration that mean more than text: durations, sizes, networks.
//!
//! In: a string of the file. Out: a typed value, or the reason why there is none. Each type's schema carries a
//! `format`, by which [`super::walk`] finds [`check`], so that a bad value is reported at its own place in the file
//! together with every other mistake. Never: a clock or a network.

use crate::delivery;
use crate::env::WallTime;
use crate::limits::FIELD_NAME_SIZE_MAX;
use crate::smtp::grammar::parse_mailbox;
use crate::tls::Fingerprint;
use ipnet::IpNet;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::borrow::Cow;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;
use std::time::Duration;

/// Why a text is no value of its type: a full clause, shown behind the text itself.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ValueError {
    /// No duration.
    #[error("is no duration: a whole number and a unit (ms, s, m, h, d), such as \"200ms\", \"10s\" or \"5d\"")]
    Duration,
    /// No size.
    #[error("is no size: a whole number and a unit (B, KB, MB, GB, TB; KiB, MiB, GiB, TiB), such as \"50MB\"")]
    Size,
    /// More than 64 bits can count.
    #[error("is too large")]
    TooLarge,
    /// No network.
    #[error("is no network: an address and a prefix length, such as \"10.0.0.0/8\" or \"2001:db8::/32\"")]
    Network,
    /// A network whose text names one of its hosts.
    #[error("has bits set behind its prefix; the network is \"{0}\"")]
    HostBits(IpNet),
    /// No address with prefix.
    #[error("is no address with its prefix length, such as \"192.0.2.25/24\" or \"2001:db8::25/64\"")]
    InterfaceAddress,
    /// No IP address.
    #[error("is no IP address")]
    Address,
    /// No address and port.
    #[error("is no address with its port, such as \"192.0.2.25:25\" or \"[2001:db8::25]:25\"")]
    SocketAddress,
    /// No host name.
    #[error("is no host name: labels of letters, digits and hyphens, joined by dots")]
    HostName,
    /// No mailbox.
    #[error("is no address, such as \"tls-reports@example.net\"")]
    Mailbox,
    /// No mail domain.
    #[error("is no mail domain: \"example.net\", \".example.net\" for all its subdomains{0}")]
    Domain(&'static str),
    /// No next hop.
    #[error(
        "is no next hop: \"smtp://HOST:PORT\" or \"lmtp://HOST:PORT\", with \"?preference=NUMBER\" if wanted ({0})"
    )]
    Hop(&'static str),
    /// No queue selection.
    #[error("is neither \"auto\" nor a list of queue numbers such as [0, 1]")]
    Queues,
    /// No webhook.
    #[error("is no webhook: \"https://HOST/PATH\", or \"http://HOST:PORT/PATH\" within the house ({0})")]
    Webhook(&'static str),
    /// No fingerprint of a certificate.
    #[error("is no SHA-256 fingerprint: 64 hex digits, as `rohrpost pair key` says them on the other box")]
    Fingerprint,
    /// No endpoint of etcd.
    #[error("is no endpoint of etcd: \"http://HOST:PORT\" or \"https://HOST:PORT\", with nothing behind the port")]
    Endpoint,
    /// No resolver.
    #[error(
        "is no resolver: an address, with a port where it is not 53, such as \"192.0.2.53\" or \"[2001:db8::53]:5353\""
    )]
    Resolver,
    /// No point in time.
    #[error("is no point in time: a day such as \"2026-12-01\" (from its beginning, UTC), or \"2026-12-01T06:00:00Z\"")]
    Moment,
    /// No selector.
    #[error("is no selector: labels of letters, digits, hyphens and underscores, joined by dots, such as \"s2026\"")]
    Selector,
    /// No name of a header field.
    #[error("is no name of a header field, such as \"Subject\"")]
    FieldName,
    /// No rate.
    #[error(transparent)]
    Rate(#[from] delivery::BadRate),
    /// No pattern of reply or status codes.
    #[error(transparent)]
    Reply(#[from] delivery::BadPattern),
    /// No pattern of host names.
    #[error("is no host name: \"mx.example.net\", or \".example.net\" for all names below it")]
    HostPattern,
    /// No recipient delimiter.
    #[error("is no recipient delimiter: one ASCII character that an atom may hold, such as \"+\", or nothing")]
    Delimiter,
}

/// Reads, writes and describes a type by its text.
macro_rules! text_value {
    ($name:ident, $inner:ty, $format:literal, $description:literal) => {
        #[doc = $description]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub $inner);

        impl std::ops::Deref for $name {
            type Target = $inner;
            fn deref(&self) -> &$inner {
                &self.0
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<$name, D::Error> {
                let text = String::deserialize(deserializer)?;
                text.parse().map_err(|error| serde::de::Error::custom(format!("\"{text}\" {error}")))
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl JsonSchema for $name {
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }
            fn inline_schema() -> bool {
                true
            }
            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "type": "string", "format": $format, "description": $description })
            }
        }
    };
}

text_value!(Period, Duration, "duration", "A duration: a whole number and a unit (ms, s, m, h, d).");
text_value!(
    Size,
    u64,
    "size",
    "A size: a whole number and a unit (B, KB, MB, GB, TB by 1000; KiB, MiB, GiB, TiB by 1024)."
);
text_value!(Network, IpNet, "network", "A network in prefix notation; a bare address is the network of that one host.");
text_value!(
    Moment,
    WallTime,
    "moment",
    "A point in time: a day, which begins at midnight UTC, or a day and a time (RFC 3339)."
);
text_value!(Rate, delivery::Rate, "rate", "A rate: a whole number, a slash and a unit of time (s, m, h, d).");
text_value!(Resolver, SocketAddr, "resolver", "A resolver of the DNS: an address, with a port where it is not 53.");

const DURATION_UNITS: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];

const SIZE_UNITS: [(&str, u64); 9] = [
    ("TiB", 1 << 40),
    ("TB", 1_000_000_000_000),
    ("GiB", 1 << 30),
    ("GB", 1_000_000_000),
    ("MiB", 1 << 20),
    ("MB", 1_000_000),
    ("KiB", 1 << 10),
    ("KB", 1000),
    ("B", 1),
];

/// A whole number followed by one of `units`.
fn counted(text: &str, units: &[(&str, u64)], error: ValueError) -> Result<u64, ValueError> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let Some((_, scale)) = units.iter().find(|(name, _)| *name == unit) else { return Err(error) };
    if number.is_empty() {
        return Err(error);
    }
    let number: u64 = number.parse().map_err(|_| ValueError::TooLarge)?;
    number.checked_mul(*scale).ok_or(ValueError::TooLarge)
}

/// The shortest text with the largest unit that divides `value`.
fn write_counted(f: &mut fmt::Formatter<'_>, value: u64, units: &[(&str, u64)], smallest: &str) -> fmt::Result {
    match units.iter().find(|(_, scale)| value != 0 && value.is_multiple_of(*scale)) {
        Some((unit, scale)) => write!(f, "{}{unit}", value / scale),
        None => write!(f, "{value}{smallest}"),
    }
}

impl FromStr for Period {
    type Err = ValueError;
    fn from_str(text: &str) -> Result<Period, ValueError> {
        counted(text, &DURATION_UNITS, ValueError::Duration).map(|millis| Period(Duration::from_millis(millis)))
    }
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_counted(f, u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX), &DURATION_UNITS, "s")
    }
}

impl FromStr for Size {
    type Err = ValueError;
    fn from_str(text: &str) -> Result<Size, ValueError> {
        counted(text, &SIZE_UNITS, ValueError::Size).map(Size)
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_counted(f, self.0, &SIZE_UNITS, "B")
    }
}

impl FromStr for Moment {
    type Err = ValueError;
    fn from_str(text: &str) -> Result<Moment, ValueError> {
        let midnight = |day: jiff::civil::Date| jiff::tz::TimeZone::UTC.to_timestamp(day.at(0, 0, 0, 0));
        let bare = text.len() == "2026-12-01".len();
        let time = if bare { text.parse().and_then(midnight) } else { text.parse::<jiff::Timestamp>() };
        let micros = time.ok().and_then(|time| u64::try_from(time.as_microsecond()).ok());
        micros.map(|micros| Moment(WallTime::from_micros(micros))).ok_or(ValueError::Moment)
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let micros = i64::try_from(self.0.micros()).unwrap_or(i64::MAX);
        write!(f, "{}", jiff::Timestamp::from_microsecond(micros).unwrap_or(jiff::Timestamp::MAX))
    }
}

impl FromStr for Network {
    type Err = ValueError;
    fn from_str(text: &str) -> Result<Network, ValueError> {
        if let Ok(host) = text.parse::<IpAddr>() {
            return Ok(Network(IpNet::from(host)));
        }
        let network: IpNet = text.parse().map_err(|_| ValueError::Network)?;
        if network.trunc() == network { Ok(Network(network)) } else { Err(ValueError::HostBits(network.trunc())) }
    }
}

impl FromStr for Rate {
    type Err = ValueError;
    fn from_str(text: &str) -> Result<Rate, ValueError> {
        Ok(Rate(text.parse()?))
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// The port of the DNS.
const DNS_PORT: u16 = 53;

impl FromStr for Resolver {
    type Err = ValueError;
    fn from_str(text: &str) -> Result<Resolver, ValueError> {
        let bare = text.parse::<IpAddr>().map(|address| SocketAddr::new(address, DNS_PORT));
        let found = bare.or_else(|_| text.parse::<SocketAddr>()).map_err(|_| ValueError::Resolver)?;
        if found.port() == 0 { Err(ValueError::Resolver) } else { Ok(Resolver(found)) }
    }
}

impl fmt::Display for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.port() {
            DNS_PORT => fmt::Display::fmt(&self.0.ip(), f),
            _ => fmt::Display::fmt(&self.0, f),
        }
    }
}

/// A host name of letters, digits and hyphens (RFC 1123 §2.1), at most 253 octets; no trailing dot.
pub fn is_host_name(text: &str) -> bool {
    let label = |label: &[u8]| {
        (1..=63).contains(&label.len())
            && !label.starts_with(b"-")
            && !label.ends_with(b"-")
            && label.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    text.len() <= 253 && text.as_bytes().split(|byte| *byte == b'.').all(label)
}

/// Whether `text` can be the name of a header field (RFC 5322 §2.2).
fn is_field_name(text: &str) -> bool {
    let printable = |byte: u8| (33..=126).contains(&byte) && byte != b':' && byte != b';';
    (1..=FIELD_NAME_SIZE_MAX).contains(&text.len()) && text.bytes().all(printable)
}

/// A domain in the one form in which domains are compared: A-labels in lower case (RFC 5891 §5), an address literal
/// by its canonical address. `None` for what is no domain.
pub fn canonical_domain(text: &str) -> Option<Cow<'_, str>> {
    if let Some(literal) = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        let tagged = literal.get(..5).filter(|tag| tag.eq_ignore_ascii_case("IPv6:"));
        let address: IpAddr = match tagged {
            Some(_) => IpAddr::V6(literal[5..].parse().ok()?),
            None => IpAddr::V4(literal.parse().ok()?),
        };
        return Some(Cow::Owned(format!("[{address}]")));
    }
    if text.is_ascii() {
        if !is_host_name(text) {
            return None;
        }
        let upper = text.bytes().any(|byte| byte.is_ascii_uppercase());
        return Some(if upper { Cow::Owned(text.to_ascii_lowercase()) } else { Cow::Borrowed(text) });
    }
    // U-labels grow by far less than this when they become A-labels; more is no domain, and not worth the work.
    if text.len() > crate::limits::DOMAIN_SIZE_MAX {
        return None;
    }
    idna::domain_to_ascii(text).ok().filter(|ascii| is_host_name(ascii)).map(Cow::Owned)
}

/// The pattern of a domain in the form in which two are the same: with its dot, and as [`canonical_domain`].
pub fn canonical_pattern(text: &str) -> String {
    let (dot, name) = text.strip_prefix('.').map_or(("", text), |name| (".", name));
    format!("{dot}{}", canonical_domain(name).unwrap_or(name.into()))
}

/// Which queues of a port the workers use.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Queues {
    /// All that the device has.
    #[default]
    Auto,
    /// These.
    List(Vec<u32>),
}

impl Serialize for Queues {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Queues::Auto => serializer.serialize_str("auto"),
            Queues::List(list) => list.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Queues {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Queues, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Either {
            Word(String),
            List(Vec<u32>),
        }
        match Either::deserialize(deserializer) {
            Ok(Either::Word(word)) if word == "auto" => Ok(Queues::Auto),
            Ok(Either::List(list)) if !list.is_empty() => Ok(Queues::List(list)),
            _ => Err(serde::de::Error::custom(ValueError::Queues)),
        }
    }
}

impl JsonSchema for Queues {
    fn schema_name() -> Cow<'static, str> {
        "Queues".into()
    }
    fn inline_schema() -> bool {
        true
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": ["string", "array"], "format": "queues", "items": { "type": "integer", "minimum": 0, "maximum": 1023 } })
    }
}

/// Whether `text` is a value of the schema's `format`; formats that it does not know hold any text.
pub fn check(format: &str, text: &str) -> Result<(), ValueError> {
    match format {
        "duration" => text.parse::<Period>().map(drop),
        "size" => text.parse::<Size>().map(drop),
        "network" => text.parse::<Network>().map(drop),
        "rate" => text.parse::<Rate>().map(drop),
        "reply-code" => Ok(text.parse::<delivery::CodePattern>().map(drop)?),
        "status-code" => Ok(text.parse::<delivery::StatusPattern>().map(drop)?),
        "host-pattern" if is_host_name(text.strip_prefix('.').unwrap_or(text)) => Ok(()),
        "host-pattern" => Err(ValueError::HostPattern),
        "interface-address" => text.parse::<IpNet>().map(drop).map_err(|_| ValueError::InterfaceAddress),
        "ip" => text.parse::<IpAddr>().map(drop).map_err(|_| ValueError::Address),
        "resolver" => text.parse::<Resolver>().map(drop),
        "socket-address" => text.parse::<SocketAddr>().map(drop).map_err(|_| ValueError::SocketAddress),
        "host-name" if is_host_name(text) => Ok(()),
        "host-name" => Err(ValueError::HostName),
        "mail-domain" => check_domain(text, false),
        "mailbox" if parse_mailbox(text, false).is_ok() => Ok(()),
        "mailbox" => Err(ValueError::Mailbox),
        "route-domain" => check_domain(text, true),
        "hop" => text.parse::<super::Hop>().map(drop),
        "queues" if text == "auto" => Ok(()),
        "queues" => Err(ValueError::Queues),
        "delimiter" => check_delimiter(text),
        "moment" => text.parse::<Moment>().map(drop),
        "selector" if is_host_name(text) => Ok(()),
        "selector" => Err(ValueError::Selector),
        "field-name" if is_field_name(text) => Ok(()),
        "field-name" => Err(ValueError::FieldName),
        "webhook" => webhook_host(text).map(drop),
        "etcd-endpoint" => check_endpoint(text),
        "fingerprint" => text.parse::<Fingerprint>().map(drop).map_err(|_| ValueError::Fingerprint),
        _ => Ok(()),
    }
}

/// `text` as a number that can be held against another of the same format; `None` where there is no order.
pub fn magnitude(format: &str, text: &str) -> Option<u64> {
    match format {
        "duration" => text.parse::<Period>().ok().and_then(|period| u64::try_from(period.as_millis()).ok()),
        "size" => text.parse::<Size>().ok().map(|size| size.0),
        _ => None,
    }
}

fn check_domain(text: &str, star: bool) -> Result<(), ValueError> {
    let name = text.strip_prefix('.').unwrap_or(text);
    if (star && text == "*") || canonical_domain(name).is_some() {
        return Ok(());
    }
    Err(ValueError::Domain(if star { ", \"*\" for all others" } else { "" }))
}

fn check_delimiter(text: &str) -> Result<(), ValueError> {
    let mut characters = text.chars();
    match (characters.next(), characters.next()) {
        (None, _) => Ok(()),
        // `atext` of RFC 5321 §4.1.2 without letters and digits, which no one means as a delimiter.
        (Some(character), None) if "!#$%&'*+-/=?^_`{|}~.".contains(character) => Ok(()),
        _ => Err(ValueError::Delimiter),
    }
}

fn check_endpoint(text: &str) -> Result<(), ValueError> {
    let uri: hyper::Uri = text.parse().map_err(|_| ValueError::Endpoint)?;
    let whole = matches!(uri.scheme_str(), Some("http" | "https")) && uri.port_u16().is_some_and(|port| port > 0);
    let bare = uri.path_and_query().is_none_or(|path| path == "/") && !text.contains('@') && !text.ends_with('/');
    if whole && bare { Ok(()) } else { Err(ValueError::Endpoint) }
}

/// The host and the port that a webhook names: what may be shown of it, since the rest is often a secret.
pub fn webhook_host(text: &str) -> Result<String, ValueError> {
    let uri: hyper::Uri = text.parse().map_err(|_| ValueError::Webhook("it is no URL"))?;
    if !matches!(uri.scheme_str(), Some("https" | "http")) {
        return Err(ValueError::Webhook("it must begin with https:// or http://"));
    }
    match uri.authority() {
        Some(authority) if authority.as_str().contains('@') => {
            Err(ValueError::Webhook("names and passwords in it are not sent"))
        }
        Some(authority) if authority.host() != authority.as_str() && authority.port_u16().is_none() => {
            Err(ValueError::Webhook("its port is none"))
        }
        Some(authority) if !authority.host().is_empty() => Ok(authority.to_string()),
        _ => Err(ValueError::Webhook("it has no host")),
    }
}
