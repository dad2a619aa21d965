//! The operator's end of the admin socket. Blocking: it belongs to commands, not to the appliance.

use super::protocol::{Answer, PROTOCOL_VERSION, Request, Versioned};
use crate::limits::{ADMIN_IDLE_TIMEOUT, ADMIN_REPLY_TIMEOUT};
use socket2::{Domain, SockAddr, Socket, Type};
use std::io::{self, BufRead, BufReader, ErrorKind, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

/// Why a running appliance could not be asked, or would not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens there.
    #[error("rohrpost is not running: nobody answers on {socket}. Start it, or name its configuration with --config")]
    NotRunning {
        /// The path.
        socket: PathBuf,
    },
    /// The socket is not for us.
    #[error("no permission for {socket}: only root and the user that rohrpost runs as may ask it")]
    Forbidden {
        /// The path.
        socket: PathBuf,
    },
    /// The conversation broke.
    #[error("the conversation with rohrpost on {socket} broke off: {source}")]
    Broken {
        /// The path.
        socket: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The other end speaks differently.
    #[error("rohrpost on {socket} answers what this command does not understand ({text}); are both of one version?")]
    Strange {
        /// The path.
        socket: PathBuf,
        /// In what way.
        text: String,
    },
    /// It said no.
    #[error("{text}")]
    Refused {
        /// Why.
        text: String,
    },
    /// The result could not be printed.
    #[error("cannot write the output: {0}")]
    Output(#[from] io::Error),
}

/// A conversation with a running appliance.
pub struct Client {
    stream: BufReader<UnixStream>,
    socket: PathBuf,
}

impl Client {
    /// Connects to the appliance whose admin socket this is.
    pub fn connect(socket: &Path) -> Result<Client, ClientError> {
        let broken = |source| ClientError::Broken { socket: socket.into(), source };
        let stream = Socket::new(Domain::UNIX, Type::STREAM, None).map_err(broken)?;
        // Connecting waits for room in the backlog, and the write timeout bounds that too.
        stream.set_write_timeout(Some(ADMIN_IDLE_TIMEOUT)).map_err(broken)?;
        // It answers after ADMIN_REPLY_TIMEOUT even if its workers do not.
        stream.set_read_timeout(Some(3 * ADMIN_REPLY_TIMEOUT)).map_err(broken)?;
        let address = SockAddr::unix(socket).map_err(broken)?;
        stream.connect(&address).map_err(|source| match source.kind() {
            ErrorKind::NotFound | ErrorKind::ConnectionRefused => ClientError::NotRunning { socket: socket.into() },
            ErrorKind::PermissionDenied => ClientError::Forbidden { socket: socket.into() },
            _ => broken(source),
        })?;
        let stream = UnixStream::from(stream);
        Ok(Client { stream: BufReader::new(stream), socket: socket.into() })
    }

    /// Asks, and gives each answer to `take`; an error among them ends it.
    pub fn ask(
        &mut self,
        request: &Request,
        mut take: impl FnMut(Answer) -> Result<(), ClientError>,
    ) -> Result<(), ClientError> {
        let mut line = serde_json::to_string(&Versioned::new(request)).map_err(|error| self.strange(error))?;
        line.push('\n');
        self.stream.get_mut().write_all(line.as_bytes()).map_err(|error| self.broken(error))?;
        loop {
            line.clear();
            let count = self.stream.read_line(&mut line).map_err(|error| self.broken(error))?;
            if count == 0 {
                return Err(self.broken(ErrorKind::UnexpectedEof.into()));
            }
            let answer: Versioned<Answer> = serde_json::from_str(&line).map_err(|error| self.strange(error))?;
            if answer.version != PROTOCOL_VERSION {
                return Err(self.strange(format!("version {}", answer.version)));
            }
            if let Answer::Error { text } = answer.content {
                return Err(ClientError::Refused { text });
            }
            let last = answer.content.is_last(request);
            take(answer.content)?;
            if last {
                return Ok(());
            }
        }
    }

    fn broken(&self, source: io::Error) -> ClientError {
        ClientError::Broken { socket: self.socket.clone(), source }
    }

    /// What came is no answer to what was asked.
    pub fn strange(&self, text: impl ToString) -> ClientError {
        ClientError::Strange { socket: self.socket.clone(), text: text.to_string() }
    }
}
