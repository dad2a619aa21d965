//! What a worker tells of a session, and what that means: which policy was applied, and whether it failed.

use super::Fault;
use crate::delivery::{Refusal, TlsPolicy};
use crate::dns::{Dane, MailHosts};
use crate::sts::{Policy, Standing};
use crate::tls::Associations;
use mail_auth::report::tlsrpt::{FailureDetails, PolicyDetails, PolicyType, ResultType};
use std::net::IpAddr;
use std::sync::Arc;

/// What came of TLS with the hosts of a domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// The domain of recipients, as it stands in their addresses.
    pub domain: Arc<str>,
    /// Its hosts, and what is known of them.
    pub hosts: Arc<MailHosts>,
    /// What the route demands.
    pub tls: TlsPolicy,
    /// With which of them; none: none of them may be used.
    pub attempt: Option<Attempt>,
}

/// A connection to a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// Its name.
    pub host: Arc<str>,
    /// Its address.
    pub remote: IpAddr,
    /// Ours.
    pub local: IpAddr,
    /// What went wrong, if anything did.
    pub fault: Option<Fault>,
    /// What was wrong with the certificate, though nothing depended on it.
    pub invalid: Option<Fault>,
}

/// A policy that was applied, and what failed, if anything did.
pub(super) struct Verdict {
    pub policy: PolicyDetails,
    pub failure: Option<FailureDetails>,
}

impl Session {
    /// Whether it is one that reports are about.
    pub fn counts(hosts: &MailHosts, tls: TlsPolicy) -> bool {
        tls.heeds_domains() && !hosts.waived
    }

    /// What it says of the policies of a domain, by the name that the DNS has for it.
    pub(super) fn judge(&self, domain: &str) -> Vec<Verdict> {
        let mut verdicts = Vec::new();
        let policy = self.hosts.sts.policy.as_deref();
        let attempt = self.attempt.as_ref();
        let used = attempt.and_then(|attempt| self.hosts.hosts.iter().find(|host| *host.name == *attempt.host));
        // Those that would have come before it, and must not be used.
        for host in &self.hosts.hosts {
            if used.is_some_and(|used| used.preference < host.preference) {
                continue;
            }
            let (refused, kind) = match (self.tls.demand_of(host, policy), policy) {
                (Err(Refusal::Unknown(_)), _) => {
                    (PolicyDetails::new(PolicyType::Tlsa, &*host.name), ResultType::DnssecInvalid)
                }
                (Err(Refusal::Unnamed(_)), Some(policy)) => (sts(domain, policy), ResultType::ValidationFailure),
                _ => continue,
            };
            let why = self.tls.demand_of(host, policy).err().map(|why| why.to_string()).unwrap_or_default();
            let failure = failure(&Fault::new(kind, &why)).with_receiving_mx_hostname(&*host.name);
            verdicts.push(Verdict { policy: refused, failure: Some(failure) });
        }
        let (Some(attempt), Some(used)) = (attempt, used) else { return verdicts };
        let (applied, fault) = match (&used.dane, &self.hosts.sts) {
            (Dane::Present(known), _) => {
                let unusable = || Fault::new(ResultType::TlsaInvalid, "mail can use none of the TLSA records");
                (dane(known), attempt.fault.clone().or_else(|| (!known.authenticate()).then(unusable)))
            }
            // Nobody has looked for a policy of the other kind.
            _ if self.tls == TlsPolicy::Dane => return verdicts,
            (_, Standing { policy: Some(policy), .. }) => {
                let unnamed = || Fault::new(ResultType::ValidationFailure, &Refusal::Unnamed(&used.name).to_string());
                let unheeded = if policy.names(&used.name) { attempt.invalid.clone() } else { Some(unnamed()) };
                (sts(domain, policy), attempt.fault.clone().or(unheeded))
            }
            (_, Standing { policy: None, failure: Some(why) }) => {
                (PolicyDetails::new(PolicyType::Sts, domain), Some(Fault::of_policy(why)))
            }
            _ => (PolicyDetails::new(PolicyType::NoPolicyFound, domain), attempt.fault.clone()),
        };
        let failure = fault.map(|fault| FailureDetails {
            sending_mta_ip: Some(attempt.local).filter(|local| !local.is_unspecified()),
            ..failure(&fault).with_receiving_mx_hostname(&*used.name).with_receiving_ip(attempt.remote)
        });
        verdicts.push(Verdict { policy: applied, failure });
        verdicts
    }
}

fn failure(fault: &Fault) -> FailureDetails {
    FailureDetails::new(fault.kind).with_failure_reason_code(&*fault.text)
}

fn dane(known: &Associations) -> PolicyDetails {
    let policy_string = known.records().iter().map(ToString::to_string).collect();
    PolicyDetails { policy_string, ..PolicyDetails::new(PolicyType::Tlsa, known.base()) }
}

fn sts(domain: &str, policy: &Policy) -> PolicyDetails {
    let mx_host = policy.mx.iter().map(ToString::to_string).collect();
    PolicyDetails { policy_string: policy.lines(), mx_host, ..PolicyDetails::new(PolicyType::Sts, domain) }
}
