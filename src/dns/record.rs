//! What is asked of a resolver, and what it says.

use crate::sts::{FetchFailure, Policy};
use crate::tls::Tlsa;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

/// The types of records that mail goes by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// The hosts that take a domain's mail.
    Mx,
    /// A host's IPv4 addresses.
    A,
    /// Its IPv6 addresses.
    Aaaa,
    /// What a name is an alias of.
    Cname,
    /// What is known of a server's certificate (RFC 6698).
    Tlsa,
    /// Text.
    Txt,
    /// No record at all: the MTA-STS policy of a domain, which is on the web (RFC 8461).
    Policy,
}

/// One question.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Question {
    /// Whose records.
    pub name: Box<str>,
    /// Which of them.
    pub kind: Kind,
}

impl Question {
    /// After the records of one kind that a name has.
    pub fn new(name: impl Into<Box<str>>, kind: Kind) -> Question {
        Question { name: name.into(), kind }
    }
}

impl fmt::Display for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            Kind::Mx => "MX",
            Kind::A => "A",
            Kind::Aaaa => "AAAA",
            Kind::Cname => "CNAME",
            Kind::Tlsa => "TLSA",
            Kind::Txt => "TXT",
            Kind::Policy => "policy",
        };
        write!(f, "{} {kind}", self.name)
    }
}

/// What one record says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Data {
    /// The name is another one's (CNAME).
    Alias(Box<str>),
    /// A host takes the name's mail; the empty name stands for the root, and says that nobody does (RFC 7505).
    Mx {
        /// Lower is better.
        preference: u16,
        /// The host.
        host: Box<str>,
    },
    /// An address of the name.
    Address(IpAddr),
    /// How the server there is known.
    Tlsa(Tlsa),
    /// Its strings, one behind the other.
    Text(Box<[u8]>),
    /// Its policy, or why that could not be fetched.
    Policy(Result<Arc<Policy>, FetchFailure>),
}

/// One record of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Whose it is.
    pub name: Box<str>,
    /// What it says.
    pub data: Data,
}

/// What a resolver said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// These, aliases among them.
    Records(Vec<Record>),
    /// The name is there, and has no such record. With the aliases that led to it.
    Nothing,
    /// There is no such name.
    NoName,
    /// It could not be found out: a failure of a server, silence, nonsense. The text is for people.
    Failed(Box<str>),
}

/// An answer to one question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// What was said.
    pub said: Said,
    /// A resolver that is trusted vouches for it.
    pub secure: bool,
    /// For how long it holds; for what is negative, for how long that does (RFC 2308 §5).
    pub ttl: Duration,
}

impl Reply {
    /// It could not be found out.
    pub fn failed(why: impl Into<Box<str>>) -> Reply {
        Reply { said: Said::Failed(why.into()), secure: false, ttl: Duration::ZERO }
    }
}
