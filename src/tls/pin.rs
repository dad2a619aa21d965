//! Two ends that know each other's certificate: TLS 1.3, and nobody else is let in.
//!
//! In: the own key and certificate, the fingerprint of the peer's. Out: either end of a connection, on which both have shown their
//! certificate and proved that they have its key.
//!
//! The fingerprint is the SHA-256 of the whole certificate, which is what `openssl x509 -fingerprint -sha256` prints; so nothing
//! of a stranger's certificate is read before it is known to be the right one. For the same reason names in it say nothing, and its
//! dates are not heeded: whoever pinned it has decided, and a pair must not fall apart at a date that nobody has in mind.
//! A certificate is withdrawn by changing the fingerprint. Nothing is resumed and no early data taken: each connection begins with
//! both certificates.

use super::{KeyError, OwnKey, Tls};
use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::NoServerSessionStorage;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::time_provider::TimeProvider;
use rustls::version::TLS13;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, Error, OtherError, ServerConfig,
    SignatureScheme,
};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;

/// Names a certificate: the SHA-256 of it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// That of a certificate in DER.
    pub fn of(certificate: &[u8]) -> Fingerprint {
        let digest = ring::digest::digest(&ring::digest::SHA256, certificate);
        Fingerprint(digest.as_ref().try_into().expect("SHA-256 has 32 bytes"))
    }
}

/// As `openssl x509 -fingerprint` has it.
impl fmt::Display for Fingerprint {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, byte) in self.0.iter().enumerate() {
            write!(out, "{}{byte:02X}", if place == 0 { "" } else { ":" })?;
        }
        Ok(())
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

impl Serialize for Fingerprint {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Fingerprint {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Fingerprint, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// A text that is no fingerprint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a fingerprint is the SHA-256 of a certificate, 64 hexadecimal digits with or without colons: on the other box, \
     `rohrpost pair key` prints it, and `openssl x509 -noout -fingerprint -sha256 -in FILE`"
)]
pub struct NoFingerprint;

/// With or without colons, in capitals or not.
impl FromStr for Fingerprint {
    type Err = NoFingerprint;

    fn from_str(text: &str) -> Result<Fingerprint, NoFingerprint> {
        let digits = if text.contains(':') {
            let pairs: Vec<&str> = text.split(':').collect();
            if pairs.iter().any(|pair| pair.len() != 2) {
                return Err(NoFingerprint);
            }
            pairs.concat()
        } else {
            text.to_owned()
        };
        let mut out = [0; 32];
        if digits.len() != 2 * out.len() || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return Err(NoFingerprint);
        }
        for (byte, pair) in out.iter_mut().zip(digits.as_bytes().chunks(2)) {
            let pair = std::str::from_utf8(pair).map_err(|_| NoFingerprint)?;
            *byte = u8::from_str_radix(pair, 16).map_err(|_| NoFingerprint)?;
        }
        Ok(Fingerprint(out))
    }
}

/// The peer is not whom we know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the peer shows the certificate {shown}, and {pinned} is the one that is known")]
pub struct WrongCertificate {
    /// The certificate that it showed.
    pub shown: Fingerprint,
    /// The one that it should have.
    pub pinned: Fingerprint,
}

/// What both ends are made from.
#[derive(Debug)]
pub struct Pinned {
    pub(super) client: Arc<ClientConfig>,
    pub(super) server: Arc<ServerConfig>,
    own: Fingerprint,
}

impl Pinned {
    /// With the key and the certificate in these files, for a peer with the certificate of this fingerprint.
    pub fn load(certificate: &Path, key: &Path, peer: Fingerprint) -> Result<Pinned, KeyError> {
        Pinned::new(OwnKey::load(certificate, key)?, peer)
    }

    /// With this key, for a peer with the certificate of this fingerprint.
    pub fn new(own: OwnKey, peer: Fingerprint) -> Result<Pinned, KeyError> {
        Pinned::with(Arc::new(rustls::crypto::ring::default_provider()), own, peer)
    }

    pub(super) fn with(provider: Arc<CryptoProvider>, own: OwnKey, peer: Fingerprint) -> Result<Pinned, KeyError> {
        let fingerprint = own.fingerprint();
        if fingerprint == peer {
            return Err(KeyError::Own(fingerprint));
        }
        let verifier = Arc::new(Pin { peer, provider: Arc::clone(&provider) });
        let OwnKey { certificate, key } = own;
        let unfit = KeyError::Unfit;
        let mut client = ClientConfig::builder_with_details(Arc::clone(&provider), Arc::new(NoTime))
            .with_protocol_versions(&[&TLS13])
            .map_err(unfit)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::clone(&verifier) as Arc<dyn ServerCertVerifier>)
            .with_client_auth_cert(vec![certificate.clone()], key.clone_key())
            .map_err(unfit)?;
        client.resumption = Resumption::disabled();
        client.enable_sni = false;
        let mut server = ServerConfig::builder_with_details(provider, Arc::new(NoTime))
            .with_protocol_versions(&[&TLS13])
            .map_err(unfit)?
            .with_client_cert_verifier(verifier)
            .with_single_cert(vec![certificate], key)
            .map_err(unfit)?;
        server.session_storage = Arc::new(NoServerSessionStorage {});
        server.send_tls13_tickets = 0;
        Ok(Pinned { client: Arc::new(client), server: Arc::new(server), own: fingerprint })
    }

    /// The end that connects.
    pub fn connect(&self) -> Tls {
        // A name has to be given, and is neither sent nor looked at.
        let name = ServerName::try_from("peer.invalid").expect("a name");
        Tls::client(Arc::clone(&self.client), name).expect("the configuration was tried when it was made")
    }

    /// The end that is connected to.
    pub fn accept(&self) -> Tls {
        Tls::server(Arc::clone(&self.server)).expect("the configuration was tried when it was made")
    }

    /// The fingerprint of the own certificate.
    pub fn fingerprint(&self) -> Fingerprint {
        self.own
    }
}

/// Nothing is judged by the time, so none is asked for.
#[derive(Debug)]
struct NoTime;

impl TimeProvider for NoTime {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(std::time::Duration::ZERO))
    }
}

/// Knows one certificate.
#[derive(Debug)]
struct Pin {
    peer: Fingerprint,
    provider: Arc<CryptoProvider>,
}

impl Pin {
    fn check(&self, certificate: &CertificateDer<'_>) -> Result<(), Error> {
        let shown = Fingerprint::of(certificate);
        if shown == self.peer {
            return Ok(());
        }
        let wrong = WrongCertificate { shown, pinned: self.peer };
        Err(CertificateError::Other(OtherError(Arc::new(wrong))).into())
    }

    /// Whoever shows a certificate has to prove that it has the key.
    fn proof(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

impl ServerCertVerifier for Pin {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.check(certificate).map(|()| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(no_tls12())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.proof(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.schemes()
    }
}

impl ClientCertVerifier for Pin {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        certificate: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.check(certificate).map(|()| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(no_tls12())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.proof(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.schemes()
    }
}

/// TLS 1.2 is not offered, so that nothing can be signed in it.
fn no_tls12() -> Error {
    Error::General("TLS 1.2 is not spoken here".to_owned())
}
