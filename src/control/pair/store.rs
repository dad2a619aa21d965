//! The store of the registers: etcd, over its own client.
//!
//! In: questions of the arbiters. Out: answers, each in bounded time; "nobody knows" is one. Linearizable by etcd's own
//! promise: a read goes through its leader, and a change is a transaction that compares the whole old value.
//!
//! Each endpoint has a client of its own, and one of them is asked at a time: the last that answered. One that does not is
//! left for the next, and its connection with it. Each client has its one connection from us, and not from a balancer of the
//! library's, which never says why it has none: a wrong authority or a closed port would be silence.

use super::{MemoryError, PairTask};
use crate::config::Pair;
use crate::control::causes::causes;
use crate::limits::{REGISTER_TIMEOUT, STORE_ERRORS_SIZE_MAX, WATCH_RETRY_DELAY};
use crate::mirror::arbiter::{self, Found, Outcome};
use crate::mirror::register::{Node, Register};
use etcd_client::{
    Certificate, Channel, Client, Compare, CompareOp, ConnectOptions, Error, GetOptions, Identity, TlsOptions, Txn,
    TxnOp, TxnOpResponse, WatchOptions,
};
use std::error::Error as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use tonic::transport::Endpoint;

/// Why the registers cannot be asked for as the configuration says.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A file of it.
    #[error("[pair] {key}: cannot read {path}: {source}")]
    Read {
        /// Which key names it.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// An endpoint, or what is shown to it.
    #[error("[pair] etcd: {endpoint} cannot be reached with `etcd_ca`, `etcd_certificate` and `etcd_key`: {why}")]
    Unusable {
        /// Which.
        endpoint: String,
        /// What is wrong.
        why: String,
    },
    /// What this box keeps instead of etcd.
    #[error("{0}")]
    Kept(#[from] MemoryError),
    /// No password in its file.
    #[error("[pair] etcd_password_file: the first line of {path} is empty; it must be the password of etcd_user")]
    NoPassword {
        /// The file.
        path: PathBuf,
    },
}

/// etcd, as the configuration names it.
pub struct Store {
    endpoints: Vec<Endpoint>,
    prefix: String,
    options: ConnectOptions,
    line: Mutex<Line>,
}

/// Which endpoint is asked.
struct Line {
    place: usize,
    client: Option<Client>,
    /// Of each endpoint, why the last question to it had no answer, if it had none.
    errors: Vec<Option<String>>,
}

impl Store {
    /// Reads what the configuration names; asks nobody.
    ///
    /// # Errors
    /// A file of it cannot be read.
    pub fn open(pair: &Pair) -> Result<Store, StoreError> {
        let mut options = ConnectOptions::new().with_auto_token_refresh(true);
        if let (Some(user), Some(path)) = (&pair.etcd_user, &pair.etcd_password_file) {
            let text = String::from_utf8_lossy(&read("etcd_password_file", path)?).into_owned();
            let password = text.lines().next().unwrap_or_default();
            if password.is_empty() {
                return Err(StoreError::NoPassword { path: path.clone() });
            }
            options = options.with_user(user, password);
        }
        let mut tls = None;
        if let Some(path) = &pair.etcd_ca {
            let ours = TlsOptions::new().ca_certificate(Certificate::from_pem(read("etcd_ca", path)?));
            tls = Some(match (&pair.etcd_certificate, &pair.etcd_key) {
                (Some(certificate), Some(key)) => {
                    ours.identity(Identity::from_pem(read("etcd_certificate", certificate)?, read("etcd_key", key)?))
                }
                _ => ours,
            });
        }
        let endpoint = |text: &String| endpoint(text, tls.as_ref());
        let endpoints: Vec<Endpoint> = pair.etcd.iter().map(endpoint).collect::<Result<_, _>>()?;
        let errors = vec![None; endpoints.len()];
        Ok(Store {
            endpoints,
            prefix: pair.etcd_prefix.clone(),
            options,
            line: Mutex::new(Line { place: 0, client: None, errors }),
        })
    }

    /// Of each endpoint, in the order of the configuration, why the last question to it had no answer; none while there is one
    /// that has answered it, or was not asked yet.
    pub fn error(&self) -> Option<String> {
        let errors: Option<Vec<String>> = self.line().errors.iter().cloned().collect();
        errors.map(|errors| errors.join("; "))
    }

    fn line(&self) -> std::sync::MutexGuard<'_, Line> {
        self.line.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn key(&self, identity: Node) -> String {
        format!("{}{identity}", self.prefix)
    }

    /// Asks, and answers within [`REGISTER_TIMEOUT`]. Not for tasks that are not the store's.
    pub(super) async fn ask(&self, identity: Node, task: PairTask) -> arbiter::Event {
        let place = self.line().place;
        let failed = match timeout(REGISTER_TIMEOUT, self.try_ask(place, identity, task)).await {
            Ok(Ok(event)) => {
                self.line().errors[place] = None;
                return event;
            }
            Ok(Err(error)) => why(&error),
            Err(_) => format!("no answer within {} ms", REGISTER_TIMEOUT.as_millis()),
        };
        let uri = self.endpoints[place].uri().to_string();
        let mut error = format!("{}: {failed}", uri.trim_end_matches('/'));
        error.truncate(error.floor_char_boundary(STORE_ERRORS_SIZE_MAX / self.endpoints.len()));
        let mut line = self.line();
        line.errors[place] = Some(error);
        // Both identities ask; the first that fails moves on.
        if line.place == place {
            line.place = (place + 1) % self.endpoints.len();
            line.client = None;
        }
        match task {
            PairTask::Propose { .. } => arbiter::Event::Proposed(Outcome::Unknown),
            _ => arbiter::Event::Read(Found::Unreachable),
        }
    }

    async fn client(&self, place: usize) -> Result<Client, Error> {
        let known = Some(self.line()).filter(|line| line.place == place).and_then(|line| line.client.clone());
        if let Some(client) = known {
            return Ok(client);
        }
        let channel = Channel::Tonic(self.endpoints[place].connect().await?);
        let client = Client::from_channel(channel, Some(self.options.clone())).await?;
        let mut line = self.line();
        if line.place == place {
            line.client = Some(client.clone());
        }
        Ok(client)
    }

    async fn try_ask(&self, place: usize, identity: Node, task: PairTask) -> Result<arbiter::Event, Error> {
        let mut client = self.client(place).await?;
        let key = self.key(identity);
        let PairTask::Propose { expected, wanted } = task else {
            let response = client.get(key, None::<GetOptions>).await?;
            return Ok(arbiter::Event::Read(found(response.kvs().first().map(|entry| entry.value()))));
        };
        let stands = match expected {
            Some(register) => Compare::value(key.as_str(), CompareOp::Equal, register.to_bytes()),
            None => Compare::create_revision(key.as_str(), CompareOp::Equal, 0),
        };
        let change = Txn::new()
            .when([stands])
            .and_then([TxnOp::put(key.as_str(), wanted.to_bytes(), None)])
            .or_else([TxnOp::get(key.as_str(), None)]);
        let response = client.txn(change).await?;
        if response.succeeded() {
            return Ok(arbiter::Event::Proposed(Outcome::Won));
        }
        let stands = match response.op_responses().first() {
            Some(TxnOpResponse::Get(response)) => found(response.kvs().first().map(|entry| entry.value())),
            _ => Found::Unreachable,
        };
        Ok(arbiter::Event::Proposed(Outcome::Lost(stands)))
    }

    /// Tells whose register has changed, for as long as somebody listens. What is missed is found by the next read.
    pub(super) async fn watch(&self, news: mpsc::Sender<Node>) {
        while !news.is_closed() {
            let place = self.line().place;
            // An error has been told by a question; what ends well ends with its connection.
            let _ = self.watch_at(place, &news).await;
            sleep(WATCH_RETRY_DELAY).await;
        }
    }

    async fn watch_at(&self, place: usize, news: &mpsc::Sender<Node>) -> Result<(), Error> {
        let mut client = self.client(place).await?;
        let mut stream = client.watch(self.prefix.as_str(), Some(WatchOptions::new().with_prefix())).await?;
        while let Some(response) = stream.message().await? {
            for event in response.events() {
                let key = event.kv().map(|entry| entry.key());
                for identity in Node::BOTH {
                    // One that is waiting says the same.
                    if key == Some(self.key(identity).as_bytes())
                        && news.try_send(identity).is_err()
                        && news.is_closed()
                    {
                        return Ok(());
                    }
                }
            }
        }
        Ok(())
    }
}

/// An endpoint that is not asked anything is felt so often.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(2);

fn endpoint(text: &str, tls: Option<&TlsOptions>) -> Result<Endpoint, StoreError> {
    let known = Endpoint::from_shared(text.to_owned()).and_then(|endpoint| match tls {
        // What is reached without TLS has nothing to be shown.
        Some(tls) if text.starts_with("https://") => endpoint.tls_config(tls.clone()),
        _ => Ok(endpoint),
    });
    let known = known.map_err(|error| StoreError::Unusable { endpoint: text.to_owned(), why: causes(&error) })?;
    Ok(known
        .connect_timeout(REGISTER_TIMEOUT)
        .http2_keep_alive_interval(KEEP_ALIVE_INTERVAL)
        .keep_alive_timeout(REGISTER_TIMEOUT)
        .keep_alive_while_idle(true))
}

/// Why there is no answer. The library's own errors name nothing that is behind them.
fn why(error: &Error) -> String {
    match error {
        Error::TransportError(error) => causes(error),
        Error::GRpcStatus(status) => match status.source() {
            Some(behind) => causes(behind),
            None if status.message().is_empty() => status.code().to_string(),
            None => status.message().to_owned(),
        },
        error => error.to_string(),
    }
}

fn found(value: Option<&[u8]>) -> Found {
    match value.map(Register::from_bytes) {
        None => Found::Missing,
        Some(Ok(register)) => Found::Register(register),
        Some(Err(_)) => Found::Unreadable,
    }
}

fn read(key: &'static str, path: &Path) -> Result<Vec<u8>, StoreError> {
    fs::read(path).map_err(|source| StoreError::Read { key, path: path.to_owned(), source })
}
