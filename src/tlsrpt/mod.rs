//! TLS reports: what domains are told about TLS with their hosts (RFC 8460).
//!
//! In: what came of sessions with the hosts of domains, what domains publish about reports, the time. Out: what is known of each domain
//! and day, and reports on it, as JSON and as mail. It opens no connection, reads no clock and touches no file.
//!
//! ```text
//!  worker ─ Session ─► judge ─ which policy, which failure ─► Ledger ─ the day is over ─► Closed ─► Report ─► mailto:, https:
//!                                                               ▲
//!            _smtp._tls.DOMAIN TXT "v=TLSRPTv1; rua=…" ─► Record┘ a domain that wants no reports is forgotten for the day
//! ```
//!
//! - A *session* is a connection to a host that came as far as TLS, counted once for each domain whose mail it is for. One that ended
//!   before says nothing about TLS.
//! - Counted is what is sent by MX over routes that heed the domains' policies ("dane", "mta-sts"): of others nobody can say that no
//!   policy was found. With "dane" alone only sessions with hosts that have TLSA records are.
//! - A report is for the domain of recipients; the policy domain of a DANE policy in it is the TLSA base domain (RFC 8460 §1.1).
//! - Mail that is to arrive rather than to be secured does not count: no policy was applied to it. Reports are such mail (§3).
//! - `dane-required` never comes about, since no host is required to have TLSA records.
//! - What is more than the limits allow is counted, not kept: a report is worth less than mail.

mod fault;
mod ledger;
mod record;
mod report;
mod session;
#[cfg(test)]
mod tests;

pub use fault::Fault;
pub use ledger::{Closed, ClosedId, Ledger, LedgerCounts, Progress};
pub use record::{Record, ReportTarget, ReportUrl};
pub use report::{REPORT_TYPE, Report, Reporter};
pub use session::{Attempt, Session};
