//! The admin socket: one JSON object a line, in and out.
//!
//! In: connections, bytes. Out: requests for the switchboard, its answers as bytes. It never looks at a worker. The
//! protocol is in the documentation of [`crate::control`].

use super::protocol::{Answer, PROTOCOL_VERSION, Request, Versioned};
use crate::limits::{ADMIN_CLIENTS_MAX, ADMIN_IDLE_TIMEOUT, ADMIN_REPLY_TIMEOUT, ADMIN_REQUEST_SIZE_MAX};
use serde::Deserialize;
use socket2::{Domain, SockAddr, Socket, Type};
use std::fs::{self, File, Permissions};
use std::io::{self, ErrorKind};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::timeout;

/// Why there is no admin socket: always the operator's to mend.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// A living process answers there.
    #[error(
        "another rohrpost runs already: it answers on {socket}. Stop that one (systemctl stop rohrpost), or give this \
         one another [admin] socket"
    )]
    Running {
        /// The path.
        socket: PathBuf,
    },
    /// Something else is in its place.
    #[error("{socket} exists and is no socket: remove it, or give [admin] socket another path")]
    Occupied {
        /// The path.
        socket: PathBuf,
    },
    /// The system refused.
    #[error("cannot open the admin socket {socket}: {source}")]
    Open {
        /// The path.
        socket: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// The socket, listening, for nobody but its owner; its file goes with it.
#[derive(Debug)]
pub struct AdminSocket {
    listener: UnixListener,
    path: PathBuf,
    /// Device and inode of the file: another process may have put its own there meanwhile.
    identity: (u64, u64),
}

const ADMIN_SOCKET_MODE: u32 = 0o600;

impl AdminSocket {
    /// Opens it, in the place of one that a dead process left. To be called before anything is started that a second
    /// process must not do.
    pub fn open(path: &Path) -> Result<AdminSocket, AdminError> {
        let failed = |source| AdminError::Open { socket: path.into(), source };
        clear_the_way(path)?;
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(failed)?;
        }
        let socket = Socket::new(Domain::UNIX, Type::STREAM.nonblocking(), None).map_err(failed)?;
        // On Linux the file takes its mode from the unbound socket: so there is no moment when others may connect.
        let socket = File::from(OwnedFd::from(socket));
        socket.set_permissions(Permissions::from_mode(ADMIN_SOCKET_MODE)).map_err(failed)?;
        let socket = Socket::from(OwnedFd::from(socket));
        socket.bind(&SockAddr::unix(path).map_err(failed)?).map_err(failed)?;
        fs::set_permissions(path, Permissions::from_mode(ADMIN_SOCKET_MODE)).map_err(failed)?;
        socket.listen(ADMIN_CLIENTS_MAX as i32).map_err(failed)?;
        let metadata = fs::symlink_metadata(path).map_err(failed)?;
        let identity = (metadata.dev(), metadata.ino());
        Ok(AdminSocket { listener: socket.into(), path: path.into(), identity })
    }

    /// Whether a living process answers there.
    pub fn answers(path: &Path) -> bool {
        matches!(look(path), Ok(Found::Living))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn listener(&self) -> io::Result<UnixListener> {
        self.listener.try_clone()
    }
}

impl Drop for AdminSocket {
    fn drop(&mut self) {
        if fs::symlink_metadata(&self.path).is_ok_and(|found| (found.dev(), found.ino()) == self.identity) {
            // If it cannot be removed, the next start finds that nobody answers.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// What is in the place of a socket.
enum Found {
    Nothing,
    /// A process that answers, or is too busy to.
    Living,
    /// What a dead process left.
    Dead,
    /// No socket.
    Other,
}

fn look(path: &Path) -> io::Result<Found> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Found::Nothing),
        Err(error) => return Err(error),
        Ok(found) if !found.file_type().is_socket() => return Ok(Found::Other),
        Ok(_) => {}
    }
    // Without waiting: a living process that is too busy to accept must not hold us up.
    let probe = Socket::new(Domain::UNIX, Type::STREAM.nonblocking(), None)?;
    match probe.connect(&SockAddr::unix(path)?) {
        Ok(()) => Ok(Found::Living),
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => Ok(Found::Dead),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Found::Nothing),
        // A full backlog is a living process too.
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(Found::Living),
        Err(error) => Err(error),
    }
}

fn clear_the_way(path: &Path) -> Result<(), AdminError> {
    let failed = |source| AdminError::Open { socket: path.into(), source };
    match look(path).map_err(failed)? {
        Found::Nothing => Ok(()),
        Found::Living => Err(AdminError::Running { socket: path.into() }),
        Found::Dead => fs::remove_file(path).map_err(failed),
        Found::Other => Err(AdminError::Occupied { socket: path.into() }),
    }
}

/// A request and the place for its answer.
pub(super) struct Asked {
    pub request: Request,
    pub answer: oneshot::Sender<Vec<Answer>>,
}

/// Serves clients for as long as the runtime lives.
pub(super) async fn serve(listener: UnixListener, requests: mpsc::Sender<Asked>) -> io::Result<()> {
    let listener = tokio::net::UnixListener::from_std(listener)?;
    let places = Arc::new(Semaphore::new(ADMIN_CLIENTS_MAX));
    loop {
        let Ok(place) = places.clone().acquire_owned().await else { return Ok(()) };
        match listener.accept().await {
            Ok((stream, _)) => {
                let requests = requests.clone();
                tokio::spawn(async move {
                    // A client that hangs up has nothing more to be told.
                    let _ = converse(stream, requests).await;
                    drop(place);
                });
            }
            // Out of descriptors: asking again at once would spin.
            Err(_) => tokio::time::sleep(crate::limits::ACCEPT_PAUSE).await,
        }
    }
}

async fn converse(stream: tokio::net::UnixStream, requests: mpsc::Sender<Asked>) -> io::Result<()> {
    let (reader, mut writer) = stream.into_split();
    let mut reader = BufReader::new(reader);
    let mut line = Vec::new();
    loop {
        let answers = match timeout(ADMIN_IDLE_TIMEOUT, request_line(&mut reader, &mut line)).await?? {
            Line::End => return Ok(()),
            Line::TooLong => {
                vec![Answer::Error { text: format!("a request is a line of at most {ADMIN_REQUEST_SIZE_MAX} bytes") }]
            }
            Line::Whole => match parse(&line) {
                Ok(request) => ask(&requests, request).await,
                Err(text) => vec![Answer::Error { text }],
            },
        };
        let mut out = Vec::new();
        for answer in answers {
            serde_json::to_writer(&mut out, &Versioned::new(answer))?;
            out.push(b'\n');
        }
        timeout(ADMIN_IDLE_TIMEOUT, writer.write_all(&out)).await??;
        if line.len() > ADMIN_REQUEST_SIZE_MAX {
            // What follows is the middle of that line.
            return Ok(());
        }
    }
}

async fn ask(requests: &mpsc::Sender<Asked>, request: Request) -> Vec<Answer> {
    let (answer, answered) = oneshot::channel();
    let stopped = || vec![Answer::Error { text: "rohrpost is ending".into() }];
    if requests.send(Asked { request, answer }).await.is_err() {
        return stopped();
    }
    match timeout(2 * ADMIN_REPLY_TIMEOUT, answered).await {
        Ok(Ok(answers)) => answers,
        Ok(Err(_)) | Err(_) => stopped(),
    }
}

enum Line {
    Whole,
    TooLong,
    End,
}

/// Reads up to the next LF, and no more than a little beyond the limit.
async fn request_line(reader: &mut (impl AsyncBufRead + Unpin), line: &mut Vec<u8>) -> io::Result<Line> {
    line.clear();
    loop {
        let bytes = reader.fill_buf().await?;
        if bytes.is_empty() {
            return Ok(Line::End);
        }
        let (count, whole) = match memchr::memchr(b'\n', bytes) {
            Some(place) => (place + 1, true),
            None => (bytes.len(), false),
        };
        line.extend_from_slice(&bytes[..count]);
        reader.consume(count);
        if line.len() > ADMIN_REQUEST_SIZE_MAX {
            return Ok(Line::TooLong);
        }
        if whole {
            return Ok(Line::Whole);
        }
    }
}

pub(super) fn parse(line: &[u8]) -> Result<Request, String> {
    #[derive(Deserialize)]
    struct Version {
        version: u32,
    }
    let bad = |error: serde_json::Error| format!("not a request: {error}");
    // The version first: a request of another one may look like anything.
    let Version { version } = serde_json::from_slice(line).map_err(bad)?;
    if version != PROTOCOL_VERSION {
        return Err(format!("this rohrpost speaks version {PROTOCOL_VERSION} here, not {version}"));
    }
    serde_json::from_slice::<Versioned<Request>>(line).map(|request| request.content).map_err(bad)
}
