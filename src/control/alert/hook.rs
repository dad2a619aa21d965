//! How engineers are told: a POST to a webhook, a command with the notice on its standard input.
//!
//! In: a notice. Out: told, or why not. Each attempt has an end, and nothing is tried again here.

use super::Notice;
use crate::config::Alert;
use crate::control::causes::causes;
use crate::limits::{ALERT_COMMAND_TIMEOUT, WEBHOOK_TIMEOUT};
use axum::body::Bytes;
use axum::http::header::{CONTENT_TYPE, USER_AGENT};
use axum::http::uri::Scheme;
use axum::http::{Request, Uri};
use http_body_util::Full;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rustix::fs::{Access, access};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process_group};
use rustls::{ClientConfig, RootCertStore};
use std::io;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use tokio::time::timeout;

/// Why a hook of the configuration cannot work here. Each says what to do.
#[derive(Debug, thiserror::Error)]
pub enum HookError {
    /// No certificate of any server could be believed.
    #[error(
        "[alert] webhook: this box knows no certificate authority, so that no https server can be believed: \
         `apt-get install ca-certificates`, or name a file of them in the environment variable SSL_CERT_FILE"
    )]
    NoAuthorities,
    /// The program is not there, or not for us.
    #[error("[alert] command: {program} cannot be run: {source}; `ls -l {program}` shows what is wrong")]
    Command {
        /// The program.
        program: String,
        /// What the system said.
        source: io::Error,
    },
    /// What should have been refused with the file.
    #[error("[alert] webhook: {0}")]
    Webhook(String),
}

/// The hooks of a configuration, which may be none, and how they are used.
pub struct Hooks {
    pub(super) list: Vec<Arc<Hook>>,
    pub(super) repeat: Duration,
    pub(super) calm: Duration,
}

impl Hooks {
    /// Makes ready what the configuration names.
    pub fn open(alert: &Alert) -> Result<Hooks, HookError> {
        let mut list = Vec::new();
        if let Some(url) = &alert.webhook {
            list.push(Arc::new(Hook::Webhook(Box::new(Webhook::new(url)?))));
        }
        if let Some((program, arguments)) = alert.command.split_first() {
            let file = if Path::new(program).is_dir() { Err(Errno::ISDIR) } else { Ok(()) };
            file.and_then(|()| access(program, Access::EXEC_OK))
                .map_err(|source| HookError::Command { program: program.clone(), source: source.into() })?;
            list.push(Arc::new(Hook::Command { program: program.clone(), arguments: arguments.to_vec() }));
        }
        Ok(Hooks { list, repeat: *alert.repeat, calm: *alert.calm })
    }
}

impl Default for Hooks {
    /// None: what is wrong is in the log only.
    fn default() -> Hooks {
        let Alert { repeat, calm, .. } = Alert::default();
        Hooks { list: Vec::new(), repeat: *repeat, calm: *calm }
    }
}

/// One way to tell engineers.
pub(super) enum Hook {
    Webhook(Box<Webhook>),
    Command { program: String, arguments: Vec<String> },
}

impl Hook {
    /// As in the configuration.
    pub fn name(&self) -> &'static str {
        match self {
            Hook::Webhook(_) => "webhook",
            Hook::Command { .. } => "command",
        }
    }

    /// Tells it once.
    pub async fn tell(&self, notice: &Notice) -> Result<(), String> {
        let body = serde_json::to_vec(notice).expect("a notice has text keys only");
        match self {
            Hook::Webhook(webhook) => webhook.post(body).await,
            Hook::Command { program, arguments } => run(program, arguments, &body).await,
        }
    }
}

/// Where notices are posted to.
pub(super) struct Webhook {
    uri: Uri,
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
}

impl Webhook {
    fn new(url: &str) -> Result<Webhook, HookError> {
        let uri: Uri = url.parse().map_err(|error| HookError::Webhook(format!("{error}")))?;
        let mut roots = RootCertStore::empty();
        if uri.scheme() == Some(&Scheme::HTTPS) {
            // The box's own, to which an operator may have added those of a house.
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            if roots.is_empty() {
                return Err(HookError::NoAuthorities);
            }
        }
        Webhook::with_roots(uri, roots)
    }

    /// One whose server shows a certificate of these authorities.
    fn with_roots(uri: Uri, roots: RootCertStore) -> Result<Webhook, HookError> {
        let tls = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| HookError::Webhook(error.to_string()))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let connector = HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1().build();
        // Hours lie between two notices: a connection that is kept would be dead by then.
        let client = Client::builder(TokioExecutor::new()).pool_max_idle_per_host(0).build(connector);
        Ok(Webhook { uri, client })
    }

    async fn post(&self, body: Vec<u8>) -> Result<(), String> {
        let request = Request::post(self.uri.clone())
            .header(CONTENT_TYPE, "application/json")
            .header(USER_AGENT, concat!("rohrpost/", env!("CARGO_PKG_VERSION")))
            .body(Full::from(body))
            .map_err(|error| error.to_string())?;
        match timeout(WEBHOOK_TIMEOUT, self.client.request(request)).await {
            Ok(Ok(answer)) if answer.status().is_success() => Ok(()),
            // A redirection is none: where notices go is for the configuration to say.
            Ok(Ok(answer)) => Err(format!("the server answered {}", answer.status())),
            Ok(Err(error)) => Err(causes(&error)),
            Err(_) => Err(format!("no answer within {} s", WEBHOOK_TIMEOUT.as_secs())),
        }
    }
}

/// Runs a command, without a shell. What it prints on standard error goes where ours goes.
async fn run(program: &str, arguments: &[String], body: &[u8]) -> Result<(), String> {
    // What systemd lets us do with the network is not the command's. Where there is nothing to give up, this fails.
    let _ = rustix::thread::clear_ambient_capability_set();
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        // A group of its own: a signal from the terminal is not for it, and it can be killed with all that it started.
        .process_group(0)
        .spawn()
        .map_err(|error| error.to_string())?;
    let mut group = Group(child.id().and_then(|id| Pid::from_raw(id as i32)));
    let ended = async {
        if let Some(mut input) = child.stdin.take() {
            // One that does not read it may know what to do all the same.
            let _ = input.write_all(body).await;
        }
        child.wait().await
    };
    let Ok(ended) = timeout(ALERT_COMMAND_TIMEOUT, ended).await else {
        drop(group);
        let _ = child.wait().await;
        return Err(format!("it still ran after {} s, and was killed", ALERT_COMMAND_TIMEOUT.as_secs()));
    };
    // What it has left running is its own affair.
    group.0 = None;
    match ended {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("it ended with {status}")),
        Err(error) => Err(error.to_string()),
    }
}

/// A command with all that it has started, killed when nobody waits for it any more.
struct Group(Option<Pid>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(leader) = self.0 {
            let _ = kill_process_group(leader, Signal::KILL);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
    use rustls::{ServerConfig, ServerConnection, StreamOwned};
    use std::io::{BufRead, BufReader, Read, Write};
    use std::net::TcpListener;
    use std::thread::JoinHandle;

    fn wait<T>(work: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
    }

    /// Takes one request on a stream and answers it. Gives its head and its body.
    fn serve(stream: impl Read + Write, answer: &str) -> io::Result<(String, String)> {
        let mut stream = BufReader::new(stream);
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if stream.read_line(&mut head)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
        let mut body = vec![0; length.parse().unwrap()];
        stream.read_exact(&mut body)?;
        write!(stream.get_mut(), "HTTP/1.1 {answer}\r\nContent-Length: 0\r\n\r\n")?;
        stream.get_mut().flush()?;
        Ok((head, String::from_utf8(body).unwrap()))
    }

    fn plain(answer: &'static str) -> (u16, JoinHandle<io::Result<(String, String)>>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        (port, std::thread::spawn(move || serve(listener.accept()?.0, answer)))
    }

    #[test]
    fn a_webhook_is_posted_to_and_only_2xx_is_a_yes() {
        for (answer, expected) in [
            ("204 No Content", Ok(())),
            ("302 Found", Err("the server answered 302 Found".to_owned())),
            ("404 Not Found", Err("the server answered 404 Not Found".to_owned())),
            ("503 Service Unavailable", Err("the server answered 503 Service Unavailable".to_owned())),
        ] {
            let (port, server) = plain(answer);
            let webhook = Webhook::new(&format!("http://127.0.0.1:{port}/alert?token=secret")).unwrap();
            assert_eq!(wait(webhook.post(b"{\"a\":1}".to_vec())), expected);
            let (head, body) = server.join().unwrap().unwrap();
            assert!(head.starts_with("POST /alert?token=secret HTTP/1.1\r\n"), "{head}");
            assert!(head.contains("content-type: application/json\r\n"), "{head}");
            assert_eq!(body, "{\"a\":1}");
        }
    }

    #[test]
    fn a_webhook_that_nobody_serves_fails_and_its_secret_is_not_told() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let webhook = Webhook::new(&format!("http://127.0.0.1:{port}/alert?token=secret")).unwrap();
        let error = wait(webhook.post(Vec::new())).unwrap_err();
        assert!(error.contains("refused"), "{error}");
        assert!(!error.contains("secret"), "{error}");
    }

    /// A server for `localhost` whose certificate is its own authority.
    fn encrypted() -> (u16, RootCertStore, JoinHandle<io::Result<(String, String)>>) {
        let rcgen::CertifiedKey { cert, signing_key } =
            rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(cert.der().clone()).unwrap();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(signing_key.serialize_der()));
        let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![cert.der().clone()], key)
            .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = std::thread::spawn(move || {
            let tls = ServerConnection::new(Arc::new(config)).unwrap();
            serve(StreamOwned::new(tls, listener.accept()?.0), "200 OK")
        });
        (port, roots, server)
    }

    #[test]
    fn an_https_server_is_believed_only_with_a_certificate_of_a_known_authority_for_its_name() {
        let post = |host: &str, port: u16, roots: RootCertStore| {
            let url = format!("https://{host}:{port}/alert").parse().unwrap();
            wait(Webhook::with_roots(url, roots).unwrap().post(b"{}".to_vec()))
        };
        let (port, roots, server) = encrypted();
        assert_eq!(post("localhost", port, roots), Ok(()));
        assert_eq!(server.join().unwrap().unwrap().1, "{}");
        let (_, strange, _) = encrypted();
        for (host, known) in [("127.0.0.1", None), ("localhost", Some(strange))] {
            let (port, roots, server) = encrypted();
            let error = post(host, port, known.unwrap_or(roots)).unwrap_err();
            assert!(error.contains("certificate"), "{error}");
            assert!(server.join().unwrap().is_err(), "nothing was told");
        }
    }
}
