//! The end of a connection that clients come to: with certificates that the world knows, chosen by the name that is asked for.
//!
//! In: files with chains and keys, and one with the secret of session tickets. Out: the server's end of a connection, TLS 1.2 or
//! 1.3. What was read is never changed: files that change make a new [`Server`], and connections go on with the one that they
//! began with.

use super::ticket::Tickets;
use super::{KeyError, OwnKey, Tls, TlsError, key};
use crate::env::WallTime;
use rustls::client::verify_server_name;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::ServerName;
use rustls::server::{ClientHello, NoServerSessionStorage, ParsedCertificate, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::time_provider::{DefaultTimeProvider, TimeProvider};
use rustls::version::{TLS12, TLS13};
use rustls::{ServerConfig, SupportedProtocolVersion};
use std::path::PathBuf;
use std::sync::Arc;
use x509_parser::prelude::{FromDer, X509Certificate};

/// Where everything comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServerFiles {
    /// Chain and key of each certificate. The first is shown to clients that name no host, or one that none of them is for.
    pub certificates: Vec<(PathBuf, PathBuf)>,
    /// Whoever has the same takes our tickets.
    pub ticket_secret: Option<PathBuf>,
    /// Whether TLS 1.2 is refused.
    pub only_tls13: bool,
}

/// Until when a certificate can be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expiry {
    /// Its place in the configuration.
    pub number: u16,
    /// Where the certificate was read.
    pub certificate: PathBuf,
    /// Its `notAfter` (RFC 5280 §4.1.2.5).
    pub at: WallTime,
}

/// What the ends of connections are made from.
#[derive(Debug)]
pub struct Server {
    config: Arc<ServerConfig>,
    /// Of those certificates that were read from files, in their order.
    expiries: Vec<Expiry>,
    /// The secret of the tickets where no file has one: it lives on when certificates are read anew.
    secret: Vec<u8>,
}

impl Server {
    /// Reads the files.
    ///
    /// # Errors
    /// What is wrong with one of them, and what to do about it.
    pub fn load(files: &ServerFiles) -> Result<Server, KeyError> {
        Server::load_with(files, new_secret(&rustls::crypto::ring::default_provider())?)
    }

    /// One with a certificate that is made for it, and that nobody knows.
    ///
    /// # Errors
    /// The system gives no random bytes.
    pub fn unknown() -> Result<Server, KeyError> {
        let provider = rustls::crypto::ring::default_provider();
        let own = OwnKey::generate();
        let certified = CertifiedKey::from_der(vec![own.certificate], own.key, &provider).map_err(KeyError::Unfit)?;
        let secret = new_secret(&provider)?;
        Server::with(Arc::new(provider), Arc::new(DefaultTimeProvider), &[&TLS12, &TLS13], vec![certified], secret)
    }

    /// Reads the files again, which may have changed. Clients that have tickets can use them.
    ///
    /// # Errors
    /// What is wrong with one of them. This one is as good as it was.
    pub fn reload(&self, files: &ServerFiles) -> Result<Server, KeyError> {
        Server::load_with(files, self.secret.clone())
    }

    fn load_with(files: &ServerFiles, secret: Vec<u8>) -> Result<Server, KeyError> {
        let provider = rustls::crypto::ring::default_provider();
        let load = |(chain, key): &(PathBuf, PathBuf)| key::load_chain(chain, key, &provider);
        let certificates: Vec<CertifiedKey> = files.certificates.iter().map(load).collect::<Result<_, _>>()?;
        let paths = files.certificates.iter().map(|(certificate, _)| certificate);
        let expiries = paths.zip(&certificates).zip(0..).filter_map(|((path, certified), number)| {
            Some(Expiry { number, certificate: path.clone(), at: expires_at(certified)? })
        });
        let expiries = expiries.collect();
        let secret = files.ticket_secret.as_deref().map(key::load_secret).transpose()?.unwrap_or(secret);
        let versions: &[_] = if files.only_tls13 { &[&TLS13] } else { &[&TLS12, &TLS13] };
        let new = Server::with(Arc::new(provider), Arc::new(DefaultTimeProvider), versions, certificates, secret)?;
        Ok(Server { expiries, ..new })
    }

    /// Until when its certificates can be used, in the order of their files.
    pub fn expiries(&self) -> &[Expiry] {
        &self.expiries
    }

    pub(crate) fn with(
        provider: Arc<CryptoProvider>,
        time: Arc<dyn TimeProvider>,
        versions: &[&'static SupportedProtocolVersion],
        certificates: Vec<CertifiedKey>,
        secret: Vec<u8>,
    ) -> Result<Server, KeyError> {
        let tickets = Tickets::new(&secret, Arc::clone(&time), provider.secure_random);
        let mut config = ServerConfig::builder_with_details(provider, time)
            .with_protocol_versions(versions)
            .map_err(KeyError::Unfit)?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(Certificates(certificates.into_iter().map(Arc::new).collect())));
        config.ticketer = Arc::new(tickets);
        // A client that comes again gets another one each time.
        config.send_tls13_tickets = 1;
        config.session_storage = Arc::new(NoServerSessionStorage {});
        Ok(Server { config: Arc::new(config), expiries: Vec::new(), secret })
    }

    /// The end that was connected to.
    ///
    /// # Errors
    /// None that the configuration, which is good, could be the reason of.
    pub fn accept(&self) -> Result<Tls, TlsError> {
        Tls::server(Arc::clone(&self.config))
    }
}

fn new_secret(provider: &CryptoProvider) -> Result<Vec<u8>, KeyError> {
    let mut secret = vec![0; 32];
    provider.secure_random.fill(&mut secret).map_err(|_| KeyError::Unfit(rustls::Error::FailedToGetRandomBytes))?;
    Ok(secret)
}

/// The end of the certificate that is shown; that of its issuers is theirs to watch.
fn expires_at(certified: &CertifiedKey) -> Option<WallTime> {
    let (_, own) = X509Certificate::from_der(certified.cert.first()?).ok()?;
    let seconds = u64::try_from(own.validity().not_after.timestamp()).unwrap_or(0);
    Some(WallTime::from_micros(seconds.saturating_mul(1_000_000)))
}

/// The certificates, the default first.
#[derive(Debug)]
struct Certificates(Vec<Arc<CertifiedKey>>);

impl ResolvesServerCert for Certificates {
    /// The first that is for the name and that the client can verify; else the first that it can verify. Old clients know RSA
    /// alone, so that a host may have two.
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let mut usable =
            self.0.iter().filter(|own| own.key.choose_scheme(hello.signature_schemes()).is_some()).peekable();
        let default = usable.peek().copied();
        let name = hello.server_name().and_then(|name| ServerName::try_from(name).ok());
        let named = name.and_then(|name| usable.find(|own| is_for(own, &name)));
        named.or(default).cloned()
    }
}

/// Whether a certificate is for a host of this name.
fn is_for(own: &CertifiedKey, name: &ServerName<'_>) -> bool {
    let parsed = own.end_entity_cert().ok().and_then(|own| ParsedCertificate::try_from(own).ok());
    parsed.is_some_and(|parsed| verify_server_name(&parsed, name).is_ok())
}
