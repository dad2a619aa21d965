//! What the DNS says of a server's certificate (DANE for SMTP, RFC 7672), and whether one is that.
//!
//! In: TLSA records that are secure, and the names that a certificate may be for. Out: whether a server is whom they mean. A record
//! of usage DANE-EE(3) is the server's own key or certificate, of which no name and no date counts; one of usage DANE-TA(2) is an
//! authority's, whose chain is verified as any other, for one of the names; a certificate that has its name as common name alone is for
//! nobody. What mail cannot use counts as if it were not there, and
//! where nothing else is there any certificate will do: but TLS is demanded all the same (RFC 7672 §2.2).

use crate::limits::TLSA_RECORDS_MAX;
use ring::digest::{SHA256, SHA512, digest};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, Error, OtherError, RootCertStore};
use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

/// A certificate association (RFC 6698 §2.1).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tlsa {
    /// How it is to be used.
    pub usage: u8,
    /// What of a certificate it is about.
    pub selector: u8,
    /// In what form it has that.
    pub matching: u8,
    /// That.
    pub data: Box<[u8]>,
}

/// Usages (RFC 7218 §2.1). The others ask for authorities that mail servers do not agree on (RFC 7672 §3.1.3).
const DANE_TA: u8 = 2;
const DANE_EE: u8 = 3;
/// Selectors: the whole certificate, and its public key.
const CERT: u8 = 0;
const SPKI: u8 = 1;
/// Matching types.
const FULL: u8 = 0;
const SHA2_256: u8 = 1;
const SHA2_512: u8 = 2;

impl Tlsa {
    /// Whether a mail server can be known by it.
    fn is_usable(&self) -> bool {
        let size = self.data.len();
        let well_formed = match self.matching {
            FULL if self.usage == DANE_TA && self.selector == CERT => {
                ParsedCertificate::try_from(&CertificateDer::from(&*self.data)).is_ok()
            }
            FULL => size > 0,
            SHA2_256 => size == SHA256.output_len(),
            SHA2_512 => size == SHA512.output_len(),
            _ => false,
        };
        matches!(self.usage, DANE_TA | DANE_EE) && matches!(self.selector, CERT | SPKI) && well_formed
    }

    fn kind(&self) -> (u8, u8) {
        (self.usage, self.selector)
    }
}

/// As in a zone file: `3 1 1 0123…`.
impl fmt::Display for Tlsa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {} ", self.usage, self.selector, self.matching)?;
        self.data.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// What a server is known by.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Associations {
    /// Whose records they are (the TLSA base domain); what the server is asked for by (RFC 7672 §8.1).
    base: Box<str>,
    /// Whom a certificate may be for, where that counts (RFC 7672 §3.2.2); empty where it does not.
    names: Vec<Box<str>>,
    /// Those of use. Empty: there are others, and any certificate will do.
    records: Vec<Tlsa>,
}

impl Associations {
    /// From all records of a base domain, of which there is at least one; `next_hop` are the names of the domain that the mail is for.
    pub fn new(base: &str, next_hop: &[Box<str>], records: &[Tlsa]) -> Associations {
        let usable = || records.iter().filter(|record| record.is_usable());
        // Of two digests of the same the weaker one says nothing more (RFC 7671 §9).
        let is_outdone = |record: &Tlsa| {
            let stronger = |other: &Tlsa| other.matching == SHA2_512 && other.kind() == record.kind();
            record.matching == SHA2_256 && usable().any(stronger)
        };
        // Resolvers give them in another order each time, and they are the same all the same.
        let mut records: Vec<Tlsa> = usable().filter(|record| !is_outdone(record)).cloned().collect();
        records.sort_unstable();
        records.dedup();
        records.truncate(TLSA_RECORDS_MAX);
        let mut names = Vec::new();
        if records.iter().any(|record| record.usage == DANE_TA) {
            names.push(base.into());
            names.extend(next_hop.iter().filter(|name| ***name != *base).cloned());
        }
        Associations { base: base.into(), names, records }
    }

    /// The base domain.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// Those of use.
    pub fn records(&self) -> &[Tlsa] {
        &self.records
    }

    /// Whether a server has to show a certificate that fits.
    pub fn authenticate(&self) -> bool {
        !self.records.is_empty()
    }

    /// Whether a record of this usage is about this certificate.
    fn match_certificate(&self, usage: u8, certificate: &CertificateDer<'_>) -> bool {
        let key = ParsedCertificate::try_from(certificate).map(|parsed| parsed.subject_public_key_info());
        // Of each form there is one, however many records there are.
        [CERT, SPKI].into_iter().any(|selector| {
            let subject: &[u8] = match (selector, &key) {
                (CERT, _) => certificate,
                (_, Ok(key)) => key,
                (_, Err(_)) => return false,
            };
            [FULL, SHA2_256, SHA2_512].into_iter().any(|matching| {
                let wanted = |record: &&Tlsa| record.kind() == (usage, selector) && record.matching == matching;
                let mut records = self.records.iter().filter(wanted).peekable();
                if records.peek().is_none() {
                    return false;
                }
                let shown: Cow<'_, [u8]> = match matching {
                    SHA2_256 => Cow::Owned(digest(&SHA256, subject).as_ref().to_vec()),
                    SHA2_512 => Cow::Owned(digest(&SHA512, subject).as_ref().to_vec()),
                    _ => Cow::Borrowed(subject),
                };
                records.any(|record| *record.data == *shown)
            })
        })
    }

    /// The authorities that records name, as far as they can be had: from what the server shows, or from a record that is the whole
    /// certificate (RFC 7672 §3.1.2).
    fn anchors(&self, shown: &[CertificateDer<'_>]) -> RootCertStore {
        let whole = |record: &&Tlsa| (record.kind(), record.matching) == ((DANE_TA, CERT), FULL);
        let own = self.records.iter().filter(whole).map(|record| CertificateDer::from(record.data.to_vec()));
        let matched = shown.iter().filter(|certificate| self.match_certificate(DANE_TA, certificate));
        let mut anchors = RootCertStore::empty();
        anchors.add_parsable_certificates(own.chain(matched.map(|certificate| certificate.clone().into_owned())));
        anchors
    }

    /// Whether the server that shows these is the one that is meant.
    pub(super) fn check(
        &self,
        own: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        now: UnixTime,
        algorithms: &WebPkiSupportedAlgorithms,
    ) -> Result<(), Error> {
        if !self.authenticate() || self.match_certificate(DANE_EE, own) {
            return Ok(());
        }
        let anchors = self.anchors(others);
        if anchors.is_empty() {
            let unknown = Unassociated { base: self.base.clone() };
            return Err(CertificateError::Other(OtherError(Arc::new(unknown))).into());
        }
        let parsed = ParsedCertificate::try_from(own)?;
        verify_server_cert_signed_by_trust_anchor(&parsed, &anchors, others, now, algorithms.all)?;
        let fits = |name: &str| ServerName::try_from(name).is_ok_and(|name| verify_server_name(&parsed, &name).is_ok());
        if self.names.iter().any(|name| fits(name)) { Ok(()) } else { Err(CertificateError::NotValidForName.into()) }
    }
}

/// The server has shown no certificate that a TLSA record is about.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the TLSA records of {base} know no certificate that the peer shows")]
pub struct Unassociated {
    /// Whose records they are.
    pub base: Box<str>,
}
