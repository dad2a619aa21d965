//! The policies of domains, from the web (RFC 8461 §3.3): one HTTPS request each, to an address that the resolvers give.
//!
//! Nothing of it is left to the server: it shows a certificate for its name, answers at once and briefly, and with the policy itself.

use super::resolver::Resolvers;
use crate::dns::{Data, Kind, Question, Record, Reply, Said, is_usable};
use crate::limits::{POLICY_ADDRESSES_MAX, POLICY_FETCH_TIMEOUT, POLICY_SIZE_MAX};
use crate::sts::Policy;
use axum::body::Bytes;
use axum::http::header::{CONTENT_TYPE, HOST, USER_AGENT};
use axum::http::{Request, StatusCode};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use std::error::Error;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio::task::AbortHandle;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

/// The port of HTTPS.
const HTTPS_PORT: u16 = 443;

/// Where the policy is on its server.
const PATH: &str = "/.well-known/mta-sts.txt";

/// How policies are fetched.
pub(super) struct Web {
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
        let late = || Err(format!("no answer within {} s", POLICY_FETCH_TIMEOUT.as_secs()).into());
        match fetched.unwrap_or_else(|_| late()) {
            Ok(policy) => {
                let ttl = policy.max_age;
                let record = Record { name: domain.into(), data: Data::Policy(Arc::new(policy)) };
                Reply { said: Said::Records(vec![record]), secure: false, ttl }
            }
            Err(error) => Reply::failed(error.to_string()),
        }
    }

    async fn policy(&self, resolvers: &Resolvers, domain: &str) -> Result<Policy, Box<dyn Error + Send + Sync>> {
        let host = format!("mta-sts.{domain}");
        let stream = connect(resolvers, &host).await?;
        let stream = self.tls.connect(ServerName::try_from(host.clone())?, stream).await?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        // It ends with this function, however that ends.
        let _driver = Driver(tokio::spawn(connection).abort_handle());
        let request = Request::get(PATH)
            .header(HOST, &host)
            .header(USER_AGENT, concat!("rohrpost/", env!("CARGO_PKG_VERSION")))
            .body(Empty::<Bytes>::new())?;
        let answer = sender.send_request(request).await?;
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
}

/// What moves a connection's bytes; ended when dropped.
struct Driver(AbortHandle);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// The first of a host's addresses that answers.
async fn connect(resolvers: &Resolvers, host: &str) -> Result<TcpStream, Box<dyn Error + Send + Sync>> {
    let mut addresses: Vec<IpAddr> = Vec::new();
    let mut failure: Box<dyn Error + Send + Sync> = format!("{host} has no address").into();
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
        match timeout(share, TcpStream::connect(SocketAddr::new(address, HTTPS_PORT))).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => failure = format!("{address}: {error}").into(),
            Err(_) => failure = format!("{address}: no answer within {} s", share.as_secs()).into(),
        }
    }
    Err(failure)
}
