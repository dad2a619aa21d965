//! What went wrong with TLS, in the words of reports (RFC 8460 §4.3).

use crate::limits::REPORT_REASON_SIZE_MAX;
use crate::smtp::client::{LocalReason, Reason, Stage};
use crate::sts::{FetchFailure, FetchFault};
use crate::tls::TlsError;
use mail_auth::report::tlsrpt::ResultType;
use rustls::{CertificateError, Error};

/// A failure of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Its kind.
    pub kind: ResultType,
    /// What happened, for people.
    pub text: Box<str>,
}

impl Fault {
    /// Of a kind, with what happened.
    pub fn new(kind: ResultType, text: &str) -> Fault {
        Fault { kind, text: text[..text.floor_char_boundary(REPORT_REASON_SIZE_MAX)].into() }
    }

    /// The host offers no TLS.
    pub fn no_starttls() -> Fault {
        Fault::new(ResultType::StartTlsNotSupported, "the host does not offer STARTTLS")
    }

    /// Why a session ended before it was ready; `error`: what was wrong with TLS. `None`: it had nothing to do with TLS.
    pub fn of_end(reason: &Reason, error: Option<&TlsError>) -> Option<Fault> {
        match reason {
            Reason::Local(LocalReason::TlsNotOffered) => Some(Fault::no_starttls()),
            Reason::Reply { stage: Stage::StartTls, reply } => {
                Some(Fault::new(ResultType::StartTlsNotSupported, &reply.to_string()))
            }
            Reason::Connection(_, Stage::Handshake) => Some(match error {
                Some(error) => Fault::of_tls(error),
                None => Fault::new(ResultType::ValidationFailure, &reason.to_string()),
            }),
            _ => None,
        }
    }

    fn of_tls(error: &TlsError) -> Fault {
        match error {
            TlsError::Protocol(error) => Fault::of_certificate(error),
            // "Did not adhere to the constraints specified in the DANE policy" would be a host mismatch; but that says names, and
            // here a trust anchor is missing.
            TlsError::Unassociated(_) => Fault::new(ResultType::CertificateNotTrusted, &error.to_string()),
            error => Fault::new(ResultType::ValidationFailure, &error.to_string()),
        }
    }

    /// What is wrong with a certificate, or with a handshake.
    pub fn of_certificate(error: &Error) -> Fault {
        let kind = match error {
            Error::InvalidCertificate(error) => match error {
                CertificateError::Expired
                | CertificateError::ExpiredContext { .. }
                | CertificateError::NotValidYet
                | CertificateError::NotValidYetContext { .. } => ResultType::CertificateExpired,
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                    ResultType::CertificateHostMismatch
                }
                CertificateError::UnknownIssuer
                | CertificateError::Revoked
                | CertificateError::BadSignature
                | CertificateError::InvalidPurpose
                | CertificateError::InvalidPurposeContext { .. } => ResultType::CertificateNotTrusted,
                _ => ResultType::ValidationFailure,
            },
            _ => ResultType::ValidationFailure,
        };
        Fault::new(kind, &error.to_string())
    }

    /// Why a policy could not be fetched.
    pub fn of_policy(failure: &FetchFailure) -> Fault {
        let kind = match failure.fault {
            FetchFault::Fetch => ResultType::StsPolicyFetchError,
            FetchFault::Certificate => ResultType::StsWebpkiInvalid,
            FetchFault::Policy => ResultType::StsPolicyInvalid,
        };
        Fault::new(kind, &failure.text)
    }
}
