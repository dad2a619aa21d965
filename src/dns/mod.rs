//! From a domain to the hosts that take its mail (RFC 5321 §5.1).
//!
//! In: domains that workers ask about, and what resolvers say. Out: questions to resolvers, and for each domain an [`Answer`]:
//! its [`MailHosts`] with their addresses, or why there are none, and for how long that holds. It opens no socket, reads no
//! clock and draws nothing at random: equal hosts come in the order of their names, and whoever connects chooses among them.
//!
//! ```text
//!  worker ─ domain ─► Clerk ─ Question ─► resolver (the adapter on the control thread, or the simulator)
//!  worker ◄─ Answer ─ Clerk ◄─── Reply ──────┘
//!                       │ one Lookup for each domain: MX, then A and AAAA of its hosts, then TLSA of those that are secure
//!                       └ Cache: what was said lately, the negative too (RFC 2308)
//! ```
//!
//! - The same question is asked once at a time, whoever waits for it, and so many at a time as have a limit.
//! - What a domain gives is dropped rather than believed: a host that is no host name, an address that no mail can go to.
//! - We are never delivered to by MX: a host that is ourselves is dropped with all that are no better than it.
//! - Whether an answer was secure (DNSSEC) is kept for the MX set and for the addresses of each host apart, as DANE asks for
//!   both (RFC 7672 §2.2). A "there is no such record" counts as insecure, as the adapter does not learn how it came, with one
//!   exception: that a domain has no MX records is as secure as its addresses are, which come from the same zone.
//! - Where DANE is wanted and both are secure, the TLSA records of the host are asked for as well. If nobody can say whether there are
//!   any, the host is unknown to those who want DANE, and as good as ever to others.
//! - Where MTA-STS is wanted the policy of the domain is asked for beside its hosts ([`crate::sts`]); fetching it is a question
//!   like any other, to somebody else.
//!
//! Names are A-labels in lower case without the dot at their end ([`name`]).

mod answer;
mod cache;
mod clerk;
mod enquiries;
mod lookup;
pub mod name;
mod record;
mod system;
#[cfg(test)]
mod tests;

pub use answer::{Answer, Dane, Failure, MailHost, MailHosts};
pub use clerk::Clerk;
pub use enquiries::Enquiries;
pub use lookup::{Families, Ourselves, Rules, is_usable};
pub use record::{Data, Kind, Question, Record, Reply, Said};
pub use system::resolvers;
