//! The end that connects to a next hop.
//!
//! In: whom we trust. Out: the client's end of a connection, TLS 1.2 or 1.3, that takes any certificate, only one that is valid for
//! the host's name, or only one that the DNS knows. Each worker has its own, with its own memory of sessions that can be resumed: one
//! for each demand, since a resumed session says nothing of its certificate again. Rustls resumes none of another verifier, so that
//! what the DNS says of a host has a verifier of its own for as long as it says that.

use super::dane::Associations;
use super::{Seen, Tls, TlsError};
use crate::limits::{ASSOCIATIONS_MAX, RESUMED_HOSTS_MAX, ROOTS_SIZE_MAX};
use hashbrown::HashMap;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::time_provider::{DefaultTimeProvider, TimeProvider};
use rustls::{ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Why nobody could be trusted.
#[derive(Debug, thiserror::Error)]
pub enum RootsError {
    /// The file cannot be read.
    #[error("{}: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// There is no certificate of an authority in it.
    #[error("{}: there is no certificate of an authority in it (PEM)", .0.display())]
    Empty(PathBuf),
    /// The system has none.
    #[error("this box trusts nobody: install ca-certificates, or name a file in [tls] `roots`")]
    NoSystemRoots,
    /// They cannot be used.
    #[error("they cannot be used: {0}")]
    Unfit(Error),
}

/// What is demanded of a server's certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verification {
    /// Nothing: any will do.
    Nothing,
    /// That it is valid, for this name, by somebody whom we trust.
    Name,
    /// Nothing; but whether it is valid, for this name, by somebody whom we trust, is looked at
    /// ([`Line::is_valid`](super::Line::is_valid)).
    Watched,
    /// That the DNS knows it; the server is asked for by the base domain of these.
    Dane(Arc<Associations>),
}

/// What connections to next hops are made from.
#[derive(Debug)]
pub struct Client {
    any: Arc<ClientConfig>,
    /// None: nobody is trusted, as nothing demands it.
    verified: Option<Arc<ClientConfig>>,
    /// What verifies for these.
    verifier: Option<Arc<WebPkiServerVerifier>>,
    /// What the DNS knows of hosts lately: at most [`ASSOCIATIONS_MAX`].
    associated: HashMap<Arc<Associations>, Arc<ClientConfig>>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl Client {
    /// With the authorities that are trusted, or without any.
    ///
    /// # Errors
    /// They cannot be used.
    pub fn new(roots: Option<Arc<RootCertStore>>) -> Result<Client, RootsError> {
        Client::with(Arc::new(rustls::crypto::ring::default_provider()), Arc::new(DefaultTimeProvider), roots)
    }

    pub(crate) fn with(
        provider: Arc<CryptoProvider>,
        time: Arc<dyn TimeProvider>,
        roots: Option<Arc<RootCertStore>>,
    ) -> Result<Client, RootsError> {
        let config = |verifier: Arc<dyn ServerCertVerifier>| -> Result<Arc<ClientConfig>, RootsError> {
            let mut config = ClientConfig::builder_with_details(Arc::clone(&provider), Arc::clone(&time))
                .with_safe_default_protocol_versions()
                .map_err(RootsError::Unfit)?
                .dangerous()
                .with_custom_certificate_verifier(verifier)
                .with_no_client_auth();
            config.resumption = Resumption::in_memory_sessions(RESUMED_HOSTS_MAX);
            Ok(Arc::new(config))
        };
        let verifier = roots.map(|roots| {
            let builder = WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(&provider));
            builder.build().map_err(|error| RootsError::Unfit(Error::General(error.to_string())))
        });
        let verifier = verifier.transpose()?;
        let verified = verifier.clone().map(|verifier| config(verifier)).transpose()?;
        let algorithms = provider.signature_verification_algorithms;
        let any = config(Arc::new(Judge { associations: None, watched: None, algorithms }))?;
        Ok(Client { any, verified, verifier, associated: HashMap::new(), algorithms })
    }

    /// One that begins each session anew, for whoever wants to know what that costs.
    pub fn forgetting(mut self) -> Client {
        for config in std::iter::once(&mut self.any).chain(&mut self.verified) {
            Arc::make_mut(config).resumption = Resumption::disabled();
        }
        self
    }

    /// The end of a new connection to a host, by its name or its address.
    ///
    /// # Errors
    /// The name is none, or nobody is trusted where somebody would have to be.
    pub fn connect(&mut self, host: &str, verification: &Verification) -> Result<Tls, TlsError> {
        let mut watched = None;
        let (host, config) = match verification {
            Verification::Nothing => (host, Some(Arc::clone(&self.any))),
            Verification::Watched => {
                let seen = Arc::default();
                watched = Some(Arc::clone(&seen));
                let verifier = self.verifier.clone();
                (host, verifier.map(|verifier| self.judged(|judge| judge.watched = Some((verifier, seen)))))
            }
            Verification::Name => (host, self.verified.clone()),
            Verification::Dane(associations) => (associations.base(), Some(self.associated(associations))),
        };
        let config = config.ok_or_else(|| TlsError::Protocol(Error::General("nobody is trusted".to_owned())))?;
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let name = ServerName::try_from(host).map_err(|_| TlsError::Protocol(Error::UnsupportedNameType))?;
        Ok(Tls { watched, ..Tls::client(config, name)? })
    }

    /// One connection's, of which nothing is resumed, or one that is kept with what is.
    fn judged(&self, demand: impl FnOnce(&mut Judge)) -> Arc<ClientConfig> {
        let mut config = ClientConfig::clone(&self.any);
        let mut judge = Judge { associations: None, watched: None, algorithms: self.algorithms };
        demand(&mut judge);
        config.dangerous().set_certificate_verifier(Arc::new(judge));
        config.resumption = Resumption::in_memory_sessions(1);
        Arc::new(config)
    }

    fn associated(&mut self, associations: &Arc<Associations>) -> Arc<ClientConfig> {
        if let Some(known) = self.associated.get(associations) {
            return Arc::clone(known);
        }
        if self.associated.len() >= ASSOCIATIONS_MAX {
            // With them goes what could have been resumed, and nothing else.
            self.associated.clear();
        }
        let config = self.judged(|judge| judge.associations = Some(Arc::clone(associations)));
        self.associated.insert(Arc::clone(associations), Arc::clone(&config));
        config
    }
}

/// The authorities in a file, or those that the system trusts. For the control thread.
///
/// # Errors
/// There are none.
pub fn load_roots(file: Option<&Path>) -> Result<Arc<RootCertStore>, RootsError> {
    let mut roots = RootCertStore::empty();
    match file {
        Some(path) => {
            let unreadable = |source| RootsError::Unreadable { path: path.to_owned(), source };
            let mut text = Vec::new();
            File::open(path).and_then(|file| file.take(ROOTS_SIZE_MAX).read_to_end(&mut text)).map_err(unreadable)?;
            roots.add_parsable_certificates(CertificateDer::pem_slice_iter(&text).flatten());
            if roots.is_empty() {
                return Err(RootsError::Empty(path.to_owned()));
            }
        }
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            if roots.is_empty() {
                return Err(RootsError::NoSystemRoots);
            }
        }
    }
    Ok(Arc::new(roots))
}

/// Takes certificates that the DNS knows, or any. Whoever shows one has to prove all the same that it has the key.
#[derive(Debug)]
struct Judge {
    associations: Option<Arc<Associations>>,
    /// Who is asked what it thinks, and what it thought.
    watched: Option<(Arc<WebPkiServerVerifier>, Arc<Seen>)>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for Judge {
    fn verify_server_cert(
        &self,
        own: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        status: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if let Some((verifier, seen)) = &self.watched {
            // A handshake has one certificate.
            let _ = seen.set(verifier.verify_server_cert(own, others, name, status, now).map(drop));
        }
        if let Some(associations) = &self.associations {
            associations.check(own, others, now, &self.algorithms)?;
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
