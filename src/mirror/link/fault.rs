//! What is wrong with a link and does not mend by itself, in words for the operator of a pair.
//!
//! Most links that end come again, and nobody needs to hear of it. These come again and end in the same way until somebody changes
//! something on one of the boxes.

use super::{End, Refusal, WireError};
use crate::tls::{Fingerprint, TlsError, WrongCertificate};
use rustls::AlertDescription;

/// Why a link cannot be used.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Fault {
    /// What came was wrong.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// The partner refused, and will refuse again.
    #[error(transparent)]
    Refused(Refusal),
    /// TLS was expected.
    #[error(
        "the partner speaks in the clear, and TLS is wanted here: `encryption` in [pair] must be the same on both boxes"
    )]
    Clear,
    /// The partner's key has changed, or it is somebody else.
    #[error(
        "who answers for the partner has the certificate {}, and [pair] names {}: if the partner has a new key, name that",
        .0.shown,
        .0.pinned
    )]
    Stranger(WrongCertificate),
    /// The partner knows another certificate than ours.
    #[error("the partner does not take our certificate: its [pair] must name {own}")]
    Unknown {
        /// The fingerprint of our certificate.
        own: Fingerprint,
    },
    /// TLS failed in another way.
    #[error("TLS with the partner: {0}")]
    Tls(TlsError),
}

impl Fault {
    /// What an end means for those that come after it.
    pub fn of_end(end: End) -> Option<Fault> {
        match end {
            End::Wire(error) => Some(Fault::Wire(error)),
            End::Refused(refusal @ (Refusal::SegmentSize | Refusal::UnknownLog | Refusal::Unfit(_))) => {
                Some(Fault::Refused(refusal))
            }
            End::Refused(Refusal::NotFollowing | Refusal::Rewinding) | End::Lost => None,
        }
    }

    /// What an error of TLS means for the links after this one; `own` is our certificate.
    pub fn of_tls(error: TlsError, own: Fingerprint) -> Option<Fault> {
        match error {
            // The partner has gone.
            TlsError::Truncated => None,
            TlsError::Clear => Some(Fault::Clear),
            TlsError::WrongCertificate(wrong) => Some(Fault::Stranger(wrong)),
            TlsError::Alert(AlertDescription::CertificateUnknown) => Some(Fault::Unknown { own }),
            error => Some(Fault::Tls(error)),
        }
    }
}
