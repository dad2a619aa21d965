//! The health endpoint: HTTP for load balancers.
//!
//! In: connections, and how the box is after every turn of the control thread. Out: `GET` and `HEAD` of three paths, each
//! with the same JSON object ([`HealthReport`]) and a code of its own.
//!
//! | path | 200 while |
//! | --- | --- |
//! | `/health/live` | all workers answer |
//! | `/health/ready` | the box takes new mail |
//! | `/health` | as `/health/ready`, so that it does no harm as a load balancer's check |
//!
//! Everything else is 503. It asks no worker and waits for none. A connection takes one request, and not for long; when
//! there are too many, the oldest makes room.

use super::health::HealthReport;
use crate::limits::{ACCEPT_PAUSE, HTTP_CLIENT_TIMEOUT, HTTP_CLIENTS_MAX, HTTP_HEADERS_MAX, HTTP_REQUEST_SIZE_MAX};
use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpListener};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

/// Why there is no health endpoint: always the operator's to mend.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// Somebody else listens there.
    #[error(
        "[admin] http: another program listens on {address} (`ss -ltnp` shows which): stop it, or write another port"
    )]
    InUse {
        /// The address.
        address: SocketAddr,
    },
    /// The address is not the box's.
    #[error(
        "[admin] http: this box's kernel does not hold {}: write an address that `ip address` lists, or 127.0.0.1",
        address.ip()
    )]
    NotHere {
        /// The address.
        address: SocketAddr,
    },
    /// The port is for the privileged.
    #[error("[admin] http: no permission for port {}: write one above 1023", address.port())]
    Forbidden {
        /// The address.
        address: SocketAddr,
    },
    /// The system refused.
    #[error("[admin] http: cannot listen on {address}: {source}")]
    Open {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
}

/// The endpoint's socket, listening.
#[derive(Debug)]
pub struct HttpSocket {
    listener: TcpListener,
}

impl HttpSocket {
    /// Opens it.
    pub fn open(address: SocketAddr) -> Result<HttpSocket, HttpError> {
        let listener = TcpListener::bind(address).map_err(|source| match source.kind() {
            ErrorKind::AddrInUse => HttpError::InUse { address },
            ErrorKind::AddrNotAvailable => HttpError::NotHere { address },
            ErrorKind::PermissionDenied => HttpError::Forbidden { address },
            _ => HttpError::Open { address, source },
        })?;
        listener.set_nonblocking(true).map_err(|source| HttpError::Open { address, source })?;
        Ok(HttpSocket { listener })
    }

    /// Where it listens.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    pub(super) fn listener(&self) -> io::Result<TcpListener> {
        self.listener.try_clone()
    }
}

/// Serves for as long as the runtime lives.
pub(super) async fn serve(listener: TcpListener, health: watch::Receiver<HealthReport>) -> io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let router = router(health);
    let mut clients: VecDeque<JoinHandle<()>> = VecDeque::new();
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                clients.retain(|client| !client.is_finished());
                if clients.len() >= HTTP_CLIENTS_MAX
                    && let Some(oldest) = clients.pop_front()
                {
                    oldest.abort();
                }
                clients.push_back(tokio::spawn(answer(stream, router.clone())));
            }
            // Out of descriptors: asking again at once would spin.
            Err(_) => sleep(ACCEPT_PAUSE).await,
        }
    }
}

/// Answers one request.
async fn answer(stream: TcpStream, router: Router) {
    let connection = http1::Builder::new()
        .keep_alive(false)
        // One that sends no more may still read.
        .half_close(true)
        .max_buf_size(HTTP_REQUEST_SIZE_MAX)
        .max_headers(HTTP_HEADERS_MAX)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    // A client that is too slow, or that says what is no HTTP, needs no answer.
    let _ = timeout(HTTP_CLIENT_TIMEOUT, connection).await;
}

type Health = State<watch::Receiver<HealthReport>>;

fn router(health: watch::Receiver<HealthReport>) -> Router {
    Router::new()
        .route("/health", get(ready))
        .route("/health/ready", get(ready))
        .route("/health/live", get(live))
        .fallback(nothing)
        .with_state(health)
}

async fn ready(State(health): Health) -> Response {
    respond(&health.borrow(), |report| report.ready)
}

async fn live(State(health): Health) -> Response {
    respond(&health.borrow(), |report| report.live)
}

fn respond(report: &HealthReport, good: impl Fn(&HealthReport) -> bool) -> Response {
    let status = if good(report) { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let body = serde_json::to_string(report).expect("a report has text keys only") + "\n";
    (status, [(CONTENT_TYPE, "application/json"), (CACHE_CONTROL, "no-store")], body).into_response()
}

async fn nothing() -> Response {
    (StatusCode::NOT_FOUND, "the paths here are /health, /health/live and /health/ready\n").into_response()
}
