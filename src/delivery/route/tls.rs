//! What is demanded of TLS with a next hop: by a route, and by the DNS or the policy of a domain for one of its hosts.

use crate::dns::{Dane, MailHost};
use crate::sts::{Mode, Policy};
use crate::tls::Associations;
use serde::Serialize;
use std::sync::Arc;

/// What a route demands of TLS with its hosts. Each demands more than the one before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum TlsPolicy {
    /// It is not used.
    None,
    /// It is used where it is offered (RFC 7435): any certificate will do, and if the handshake fails mail goes in the clear.
    #[default]
    Opportunistic,
    /// What the DNS demands of the host (RFC 7672); where it demands nothing, as the one before.
    Dane,
    /// As the one before, and where the DNS demands nothing what the policy of the domain does (RFC 8461).
    MtaSts,
    /// Mail goes under TLS or not at all. Any certificate will do.
    Require,
    /// The certificate is one that we trust, for the host's name.
    Verify,
}

/// What is demanded of TLS with one host.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Demand {
    /// As [`TlsPolicy::None`].
    None,
    /// As [`TlsPolicy::Opportunistic`].
    Opportunistic,
    /// As [`TlsPolicy::Require`].
    Require,
    /// As [`TlsPolicy::Verify`].
    Verify,
    /// Mail goes under TLS or not at all, and the certificate is one that these know.
    Dane(Arc<Associations>),
    /// As [`TlsPolicy::Verify`], since the policy of the domain enforces it.
    Sts,
    /// As [`TlsPolicy::Opportunistic`]; but whether it could be enforced is looked at, as the policy of the domain is in testing.
    StsTesting {
        /// The policy names the host.
        named: bool,
    },
}

/// Why a host must not be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal<'a> {
    /// Nobody knows what the DNS demands of it.
    #[error("{0}")]
    Unknown(&'a str),
    /// The policy of the domain does not name it.
    #[error("the MTA-STS policy of the domain does not name its host {0}")]
    Unnamed(&'a str),
}

impl Demand {
    /// Its name, for the log.
    pub fn name(&self) -> &'static str {
        match self {
            Demand::None => "none",
            Demand::Opportunistic => "opportunistic",
            Demand::Require => "require",
            Demand::Verify => "verify",
            Demand::Dane(_) => "dane",
            Demand::Sts => "mta-sts",
            Demand::StsTesting { .. } => "mta-sts-testing",
        }
    }

    /// Whether a host that meets it is who it should be; `valid`: it has shown a valid certificate for its name, as far as that was
    /// looked at.
    pub fn authenticates(&self, valid: bool) -> bool {
        match self {
            Demand::None | Demand::Opportunistic | Demand::Require => false,
            Demand::Verify | Demand::Sts => true,
            Demand::Dane(known) => known.authenticate(),
            Demand::StsTesting { named } => *named && valid,
        }
    }

    /// Whether a host that fails at TLS may be spoken to without.
    pub(in crate::delivery) fn may_be_clear(&self) -> bool {
        matches!(self, Demand::Opportunistic | Demand::StsTesting { .. })
    }
}

impl TlsPolicy {
    /// Whether it is the domains of recipients that say what is demanded.
    pub(crate) fn heeds_domains(self) -> bool {
        matches!(self, TlsPolicy::Dane | TlsPolicy::MtaSts)
    }

    /// Whether mail that goes by a route with this policy is as safe with one that has the other. What the DNS or a policy of the
    /// domain may demand can be that a host shows who it is, and of another one only [`TlsPolicy::Verify`] demands that for sure.
    pub(in crate::delivery) fn is_met_by(self, other: TlsPolicy) -> bool {
        match self {
            TlsPolicy::None => true,
            TlsPolicy::Opportunistic => other != TlsPolicy::None,
            TlsPolicy::Require => matches!(other, TlsPolicy::Require | TlsPolicy::Verify),
            TlsPolicy::Dane | TlsPolicy::MtaSts | TlsPolicy::Verify => other == TlsPolicy::Verify,
        }
    }

    /// What it demands of a host of which nothing is known.
    pub(super) fn demand(self) -> Demand {
        match self {
            TlsPolicy::None => Demand::None,
            TlsPolicy::Opportunistic | TlsPolicy::Dane | TlsPolicy::MtaSts => Demand::Opportunistic,
            TlsPolicy::Require => Demand::Require,
            TlsPolicy::Verify => Demand::Verify,
        }
    }

    /// What it demands of a host that the DNS names, or why that must not be used.
    pub(crate) fn demand_of<'a>(self, host: &'a MailHost, policy: Option<&Policy>) -> Result<Demand, Refusal<'a>> {
        match (self, &host.dane, policy) {
            (TlsPolicy::Dane | TlsPolicy::MtaSts, Dane::Present(known), _) => Ok(Demand::Dane(Arc::clone(known))),
            // What the DNS demands must not be passed by with a policy (RFC 8461 §2).
            (TlsPolicy::Dane | TlsPolicy::MtaSts, Dane::Unknown(why), _) => Err(Refusal::Unknown(why)),
            (TlsPolicy::MtaSts, Dane::Absent, Some(policy)) => match (policy.mode, policy.names(&host.name)) {
                (Mode::Enforce, true) => Ok(Demand::Sts),
                (Mode::Enforce, false) => Err(Refusal::Unnamed(&host.name)),
                (Mode::Testing, named) => Ok(Demand::StsTesting { named }),
                (Mode::None, _) => Ok(self.demand()),
            },
            _ => Ok(self.demand()),
        }
    }
}

/// Which credentials, by their place in the list of them that a box has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CredentialsId(pub u16);

/// How one connection is to be secured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Security {
    /// What is demanded; never [`Demand::None`] with `implicit`.
    pub demand: Demand,
    /// TLS begins with the connection.
    pub implicit: bool,
    /// Who we are to the host. Said to none but one whose certificate is good.
    pub credentials: Option<CredentialsId>,
}
