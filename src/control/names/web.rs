//! The web, for what domains have there: their policies (RFC 8461 §3.3), and where they want reports (RFC 8460 §5.4). One HTTPS
//! request each, to an address that the resolvers give.
//!
//! Nothing of it is left to the server: it shows a certificate for its name, answers at once and briefly, and with the policy itself.

use super::resolver::Resolvers;
use crate::dns::{Data, Kind, Question, Record, Reply, Said, is_usable};
use crate::limits::{POLICY_ADDRESSES_MAX, POLICY_FETCH_TIMEOUT, POLICY_SIZE_MAX, REPORT_POST_TIMEOUT};
use crate::sts::{FetchFailure, FetchFault, NoPolicy, Policy};
use crate::tlsrpt::ReportUrl;
use axum::body::Bytes;
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE, HOST, USER_AGENT};
use axum::http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use std::error::Error;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::task::AbortHandle;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

/// The port of HTTPS.
const HTTPS_PORT: u16 = 443;

/// Where the policy is on its server.
const PATH: &str = "/.well-known/mta-sts.txt";

/// Asks servers on the web.
pub(in crate::control) struct Web {
    tls: TlsConnector,
}

impl Web {
    /// From servers that show a certificate of these authorities.
    ///
    /// # Errors
    /// They cannot be used.
    pub fn new(roots: Arc<RootCertStore>) -> Result<Web, rustls::Error> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Web { tls: TlsConnector::from(Arc::new(tls)) })
    }

    /// The policy of a domain. There is always a reply.
    pub async fn fetch(&self, resolvers: &Resolvers, domain: &str) -> Reply {
        let fetched = timeout(POLICY_FETCH_TIMEOUT, self.policy(resolvers, domain)).await;
        let policy = fetched.unwrap_or_else(|_| Err(late(POLICY_FETCH_TIMEOUT))).map(Arc::new);
        let ttl = policy.as_ref().map(|policy| policy.max_age).unwrap_or_default();
        let data = Data::Policy(
            policy.map_err(|error| FetchFailure { fault: fault(&*error), text: error.to_string().into() }),
        );
        Reply { said: Said::Records(vec![Record { name: domain.into(), data }]), secure: false, ttl }
    }

    async fn policy(&self, resolvers: &Resolvers, domain: &str) -> Result<Policy, Failure> {
        let host = format!("mta-sts.{domain}");
        let (answer, _driver) = self.exchange(resolvers, (&host, HTTPS_PORT), Request::get(PATH), Bytes::new()).await?;
        // A redirection is not followed (RFC 8461 §3.3).
        if answer.status() != StatusCode::OK {
            return Err(format!("{host} answered {}", answer.status()).into());
        }
        let is_text = |value: &axum::http::HeaderValue| {
            let kind = value.to_str().ok().and_then(|value| value.split(';').next());
            kind.is_some_and(|kind| kind.trim().eq_ignore_ascii_case("text/plain"))
        };
        if !answer.headers().get(CONTENT_TYPE).is_some_and(is_text) {
            return Err(format!("{host} answered with something else than text/plain").into());
        }
        let body = Limited::new(answer.into_body(), POLICY_SIZE_MAX).collect().await?.to_bytes();
        Ok(Policy::parse(&String::from_utf8_lossy(&body))?)
    }

    /// Posts a report on TLS to where a domain wants it (RFC 8460 §5.4).
    ///
    /// # Errors
    /// What went wrong, for people.
    pub async fn post(&self, resolvers: &Resolvers, to: &ReportUrl, kind: &str, body: Bytes) -> Result<(), String> {
        let posted = async {
            let request = Request::post(&*to.path).header(CONTENT_TYPE, kind).header(CONTENT_LENGTH, body.len());
            let (answer, _driver) = self.exchange(resolvers, (&to.host, to.port), request, body).await?;
            if answer.status().is_success() {
                Ok(())
            } else {
                Err(format!("{} answered {}", to.host, answer.status()).into())
            }
        };
        let posted = timeout(REPORT_POST_TIMEOUT, posted).await;
        posted.unwrap_or_else(|_| Err(late(REPORT_POST_TIMEOUT))).map_err(|error: Failure| error.to_string())
    }

    /// One request to the host of this name, at an address that resolvers give; the answer's body comes as long as the driver lives.
    async fn exchange(
        &self,
        resolvers: &Resolvers,
        (host, port): (&str, u16),
        request: axum::http::request::Builder,
        body: Bytes,
    ) -> Result<(Response<Incoming>, Driver), Failure> {
        let stream = connect(resolvers, host, port).await?;
        let stream = self.tls.connect(ServerName::try_from(host.to_owned())?, stream).await?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let driver = Driver(tokio::spawn(connection).abort_handle());
        let authority = if port == HTTPS_PORT { host.to_owned() } else { format!("{host}:{port}") };
        let request = request
            .header(HOST, authority)
            .header(USER_AGENT, concat!("rohrpost/", env!("CARGO_PKG_VERSION")))
            .body(Full::new(body))?;
        Ok((sender.send_request(request).await?, driver))
    }
}

/// What went wrong, as the libraries say it.
type Failure = Box<dyn Error + Send + Sync>;

fn late(limit: Duration) -> Failure {
    format!("no answer within {} s", limit.as_secs()).into()
}

/// In which way it went wrong.
fn fault(error: &(dyn Error + Send + Sync + 'static)) -> FetchFault {
    if error.is::<NoPolicy>() {
        return FetchFault::Policy;
    }
    // The error of a handshake comes as one of reading.
    let inner = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
    match inner.and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(rustls::Error::InvalidCertificate(_)) => FetchFault::Certificate,
        _ => FetchFault::Fetch,
    }
}

/// What moves a connection's bytes; ended when dropped.
struct Driver(AbortHandle);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// The first of a host's addresses that answers.
async fn connect(resolvers: &Resolvers, host: &str, port: u16) -> Result<TcpStream, Failure> {
    let mut addresses: Vec<IpAddr> = Vec::new();
    let mut failure: Failure = format!("{host} has no address").into();
    for kind in [Kind::Aaaa, Kind::A] {
        match resolvers.ask(&Question::new(host, kind)).await.said {
            Said::Records(records) => {
                let of_host = records.iter().filter_map(|record| match record.data {
                    Data::Address(address) if is_usable(address) => Some(address),
                    _ => None,
                });
                addresses.extend(of_host.take(POLICY_ADDRESSES_MAX / 2));
            }
            Said::Failed(why) => failure = why.into_string().into(),
            Said::Nothing | Said::NoName => {}
        }
    }
    for address in addresses {
        // A share of the whole time for each.
        let share = POLICY_FETCH_TIMEOUT / (POLICY_ADDRESSES_MAX as u32 + 1);
        match timeout(share, TcpStream::connect(SocketAddr::new(address, port))).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => failure = format!("{address}: {error}").into(),
            Err(_) => failure = format!("{address}: no answer within {} s", share.as_secs()).into(),
        }
    }
    Err(failure)
}
