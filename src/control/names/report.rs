//! What is known of a domain, for the operator.

use crate::dns::{Answer, Dane};
use crate::sts::{Mode, Standing};
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// Where the mail of a domain goes by MX.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DomainReport {
    /// As it was asked about.
    pub domain: String,
    /// By preference; empty if there is a `failure`.
    pub hosts: Vec<HostReport>,
    /// The MX records are secure (DNSSEC).
    pub secure: bool,
    /// There are no MX records: the domain is its own host.
    pub implicit: bool,
    /// What the domain says of TLS with its hosts, where somebody wants to know.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sts: Option<StsReport>,
    /// Why mail cannot go there, with its status (RFC 3463).
    pub failure: Option<String>,
    /// For how long this holds.
    pub ttl_seconds: u64,
}

/// The policy of a domain (MTA-STS, RFC 8461).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StsReport {
    /// What it demands; none: no policy counts.
    pub mode: Option<Mode>,
    /// The hosts that it names.
    pub mx: Vec<String>,
    /// How long it counts after it was fetched.
    pub max_age_seconds: Option<u64>,
    /// Why it could not be fetched when that was tried last.
    pub failure: Option<String>,
}

impl StsReport {
    fn new(standing: &Standing) -> Option<StsReport> {
        let policy = standing.policy.as_ref();
        (*standing != Standing::default()).then(|| StsReport {
            mode: policy.map(|policy| policy.mode),
            mx: policy.iter().flat_map(|policy| &policy.mx).map(ToString::to_string).collect(),
            max_age_seconds: policy.map(|policy| policy.max_age.as_secs()),
            failure: standing.failure.as_ref().map(ToString::to_string),
        })
    }
}

/// One host that takes its mail.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HostReport {
    /// Its name.
    pub name: String,
    /// Lower is better.
    pub preference: u16,
    /// In the order in which they are tried.
    pub addresses: Vec<IpAddr>,
    /// They are secure (DNSSEC).
    pub secure: bool,
    /// What is known of its certificate, if anything is, or somebody would have to know.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dane: Option<DaneReport>,
}

/// What the DNS says of a host's certificate (RFC 7672).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DaneReport {
    /// It must be one of these.
    Known {
        /// The TLSA base domain.
        base: String,
        /// As in a zone file. Empty: none is of use, and any certificate will do.
        records: Vec<String>,
    },
    /// It cannot be found out, and the host is not used where it would have to be.
    Unknown {
        /// Why.
        failure: String,
    },
}

impl DaneReport {
    fn new(dane: &Dane) -> Option<DaneReport> {
        match dane {
            Dane::Absent => None,
            Dane::Present(known) => {
                let records = known.records().iter().map(ToString::to_string).collect();
                Some(DaneReport::Known { base: known.base().to_owned(), records })
            }
            Dane::Unknown(failure) => Some(DaneReport::Unknown { failure: failure.to_string() }),
        }
    }
}

impl DomainReport {
    pub(super) fn new(domain: &str, answer: &Answer) -> DomainReport {
        let mut report = DomainReport {
            domain: domain.to_owned(),
            hosts: Vec::new(),
            secure: false,
            implicit: false,
            sts: None,
            failure: None,
            ttl_seconds: answer.ttl.as_secs(),
        };
        match &answer.result {
            Err(failure) => {
                let (class, subject, detail) = failure.status;
                report.failure = Some(format!("{class}.{subject}.{detail} {}", failure.text));
            }
            Ok(found) => {
                (report.secure, report.implicit) = (found.secure, found.implicit);
                report.sts = StsReport::new(&found.sts);
                let host = |host: &crate::dns::MailHost| HostReport {
                    name: host.name.to_string(),
                    preference: host.preference,
                    addresses: host.addresses.clone(),
                    secure: host.secure,
                    dane: DaneReport::new(&host.dane),
                };
                report.hosts = found.hosts.iter().map(host).collect();
            }
        }
        report
    }
}
