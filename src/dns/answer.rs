//! What is known of a domain's mail in the end.

use crate::sts::Standing;
use crate::tls::Associations;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

/// The hosts that take a domain's mail.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct MailHosts {
    /// At least one; by preference, and equals by name.
    pub hosts: Vec<MailHost>,
    /// The MX records are secure, or that there are none.
    pub secure: bool,
    /// There are no MX records: the domain is its own host (RFC 5321 §5.1).
    pub implicit: bool,
    /// What the domain says of TLS with them (MTA-STS), if somebody wants to know.
    pub sts: Standing,
    /// Nothing of what the domain demands of TLS with them is heeded, as the sender wants it.
    pub waived: bool,
    /// Of two answers the later one has the higher number. It counts from the start of the process.
    pub number: u64,
}

/// One host that takes a domain's mail.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct MailHost {
    /// As the MX record names it.
    pub name: Box<str>,
    /// Lower is better.
    pub preference: u16,
    /// At least one, in the order in which they are tried.
    pub addresses: Vec<IpAddr>,
    /// They are secure.
    pub secure: bool,
    /// Whether its certificate is known.
    pub dane: Dane,
}

/// What the DNS says of a host's certificate (RFC 7672 §2.2).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Dane {
    /// Nothing, or nothing that is secure; or nobody wants to know.
    Absent,
    /// TLS is demanded, and that the host is known by these.
    Present(Arc<Associations>),
    /// Nobody knows, for now: the host must not be used by those who want to know.
    Unknown(Box<str>),
}

impl MailHosts {
    /// A host that is known by its address alone.
    pub(super) fn at(address: IpAddr, number: u64) -> MailHosts {
        let name = format!("[{address}]").into();
        let host = MailHost { name, preference: 0, addresses: vec![address], secure: false, dane: Dane::Absent };
        MailHosts { hosts: vec![host], secure: false, implicit: true, sts: Standing::default(), waived: false, number }
    }

    /// The same for mail that heeds nothing of what the domain demands of TLS.
    pub fn waived(&self) -> MailHosts {
        MailHosts { waived: true, ..self.clone() }
    }
}

/// Writes the hosts with their preferences, `10 mx1.example.net, 20 mx2.example.net`.
impl fmt::Display for MailHosts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, host) in self.hosts.iter().enumerate() {
            let comma = if place == 0 { "" } else { ", " };
            write!(f, "{comma}{} {}", host.preference, host.name)?;
        }
        Ok(())
    }
}

/// Why mail cannot go to a domain.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Failure {
    /// As class, subject and detail (RFC 3463); of class 5 what will not change by itself.
    pub status: (u8, u16, u16),
    /// For the sender.
    pub text: Box<str>,
}

impl Failure {
    /// With its status, and what happened.
    pub fn new(status: (u8, u16, u16), text: impl Into<Box<str>>) -> Failure {
        Failure { status, text: text.into() }
    }

    /// The same as something that may change: what is wrong with the hosts of another domain says nothing about a recipient.
    pub fn for_now(self) -> Failure {
        Failure { status: (4, self.status.1, self.status.2), ..self }
    }

    /// Whether trying again is of no use.
    pub fn is_permanent(&self) -> bool {
        self.status.0 == 5
    }
}

/// What is known of a domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Where its mail goes.
    pub result: Result<Arc<MailHosts>, Failure>,
    /// For how long that holds, from now on.
    pub ttl: Duration,
}
