//! What a domain publishes about reports: `_smtp._tls.DOMAIN TXT "v=TLSRPTv1; rua=…"` (RFC 8460 §3).

use crate::dns::{Data, Reply, Said, name};
use crate::limits::REPORT_TARGETS_MAX;
use crate::smtp::grammar::parse_mailbox;
use axum::http::Uri;
use serde::{Deserialize, Serialize};
use std::fmt;

/// The port of HTTPS.
const HTTPS_PORT: u16 = 443;

/// What is known of a domain's wish for reports.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Record {
    /// Nobody knows yet.
    #[default]
    Unknown,
    /// It wants none, or does not say where in a way that is understood.
    Absent,
    /// It wants them there; at most [`REPORT_TARGETS_MAX`].
    Wanted(Vec<ReportTarget>),
}

/// Where a report goes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReportTarget {
    /// To this mailbox.
    Mail(Box<str>),
    /// To this server.
    Web(ReportUrl),
}

/// A place on the web.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ReportUrl {
    /// A name; never an address.
    pub host: Box<str>,
    /// The port.
    pub port: u16,
    /// The path and what follows it.
    pub path: Box<str>,
}

/// As in the record.
impl fmt::Display for ReportTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ReportTarget::Mail(address) => write!(f, "mailto:{address}"),
            ReportTarget::Web(ReportUrl { host, port: HTTPS_PORT, path }) => write!(f, "https://{host}{path}"),
            ReportTarget::Web(ReportUrl { host, port, path }) => write!(f, "https://{host}:{port}{path}"),
        }
    }
}

impl Record {
    /// From what resolvers said. More than one record is as good as none (RFC 8460 §3).
    pub fn of(reply: &Reply) -> Record {
        let records = match &reply.said {
            Said::Records(records) => records,
            Said::Nothing | Said::NoName => return Record::Absent,
            Said::Failed(_) => return Record::Unknown,
        };
        let mut ours = records.iter().filter_map(|record| match &record.data {
            Data::Text(text) if text.starts_with(b"v=TLSRPTv1") => Some(text),
            _ => None,
        });
        match (ours.next(), ours.next()) {
            (Some(text), None) => Record::parse(text),
            _ => Record::Absent,
        }
    }

    /// Not by mail-auth, whose parser ends the address of a page at its first "=".
    fn parse(text: &[u8]) -> Record {
        let fields = std::str::from_utf8(text).unwrap_or_default().split(';').map(str::trim);
        let mut pairs = fields.filter_map(|field| field.split_once('=')).map(|(key, value)| (key.trim(), value.trim()));
        if pairs.next() != Some(("v", "TLSRPTv1")) {
            return Record::Absent;
        }
        let rua = pairs.find(|(key, _)| *key == "rua").map_or("", |(_, value)| value);
        let targets: Vec<ReportTarget> = rua.split(',').filter_map(target).take(REPORT_TARGETS_MAX).collect();
        if targets.is_empty() { Record::Absent } else { Record::Wanted(targets) }
    }
}

/// A place that a report may be sent to: what strangers publish is not written into a message or a request before it was looked at.
fn target(text: &str) -> Option<ReportTarget> {
    let text = text.trim();
    if let Some(address) = text.strip_prefix("mailto:") {
        // What a mailto: may say besides is for people's programs, as is another way to write an address.
        let address = address.split_once('?').map_or(address, |(address, _)| address);
        let (_, domain) = parse_mailbox(address, false).ok().filter(|_| !address.contains('%'))?;
        name::of_domain(domain)?;
        return Some(ReportTarget::Mail(address.into()));
    }
    let uri: Uri = text.parse().ok()?;
    let host = uri.host().filter(|host| uri.scheme_str() == Some("https") && name::is_host(host))?;
    let path = uri.path_and_query().map_or("/", |path| path.as_str()).into();
    let host = host.to_ascii_lowercase().into();
    Some(ReportTarget::Web(ReportUrl { host, port: uri.port_u16().unwrap_or(HTTPS_PORT), path }))
}
