//! A report: what is sent to a domain (RFC 8460 §4.4), and the message that brings it (§5.3).

use super::ledger::{Closed, PolicySum};
use crate::smtp::{Envelope, OwnMessage, Recipient, domain_of};
use mail_auth::flate2::Compression;
use mail_auth::flate2::write::GzEncoder;
use mail_auth::report::tlsrpt::{DateRange, Policy, Summary, TlsReport};
use serde_json::Value;
use std::io::{self, Write};

/// The media type of a compressed report (RFC 8460 §6.5).
pub const REPORT_TYPE: &str = "application/tlsrpt+gzip";

/// Who reports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reporter {
    /// The organization, for people.
    pub organization: String,
    /// Whom to ask about reports.
    pub contact: String,
    /// From whom reports come by mail.
    pub from: String,
    /// The box, which makes ids of reports differ from those of others; the two boxes of a pair have names of their own.
    pub origin: String,
}

/// A report, ready to be sent.
#[derive(Clone, Debug)]
pub struct Report {
    /// Its id: the same each time it is made of the same.
    pub id: String,
    /// As JSON.
    pub json: String,
    report: TlsReport,
}

impl Report {
    /// On what is over.
    pub fn new(closed: &Closed, reporter: &Reporter) -> Report {
        let Closed { domain, from, until, policies, .. } = closed;
        let id = format!("{from}-{until}.{domain}@{}", reporter.origin);
        let seconds = |at: u64| i64::try_from(at).unwrap_or(i64::MAX);
        let report = TlsReport {
            organization_name: Some(reporter.organization.clone()),
            date_range: DateRange::from_timestamps(seconds(*from), seconds(until.saturating_sub(1).max(*from))),
            contact_info: Some(reporter.contact.clone()),
            report_id: id.clone(),
            policies: policies.iter().map(policy).collect(),
        };
        let mut value = serde_json::to_value(&report).unwrap_or_default();
        prune(&mut value);
        Report { id, json: value.to_string(), report }
    }

    /// Its JSON, compressed (gzip).
    ///
    /// # Errors
    /// There are none.
    pub fn compressed(&self) -> io::Result<Vec<u8>> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(self.json.as_bytes())?;
        encoder.finish()
    }

    /// As mail to an address. It is delivered whatever is wrong with TLS there, as it may well tell of that (RFC 8460 §3).
    ///
    /// # Errors
    /// There are none.
    pub fn mail(&self, domain: &str, reporter: &Reporter, to: &str) -> io::Result<OwnMessage> {
        let mut content = b"TLS-Required: No\r\n".to_vec();
        let submitter = domain_of(&reporter.from);
        let bytes = self.compressed()?;
        let to_list = [to].into_iter();
        self.report.write_rfc5322_from_bytes(domain, submitter, &*reporter.from, to_list, &bytes, &mut content)?;
        let envelope = Envelope {
            reverse_path: reporter.from.as_str().into(),
            recipients: vec![Recipient { address: to.into(), notify: None, original: None }],
            tls_optional: true,
            ..Envelope::default()
        };
        Ok(OwnMessage { envelope, content })
    }
}

fn policy(sum: &PolicySum) -> Policy {
    Policy {
        policy: sum.policy.clone(),
        summary: Summary { total_success: sum.successes, total_failure: sum.failures },
        failure_details: sum.details.clone(),
    }
}

/// What is not known is left out, and not written as null.
fn prune(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|_, field| !field.is_null() && !field.as_array().is_some_and(Vec::is_empty));
            fields.values_mut().for_each(prune);
        }
        Value::Array(items) => items.iter_mut().for_each(prune),
        _ => {}
    }
}
