//! TLS as a layer over a flow, in either role.
//!
//! In: bytes of the wire, plaintext to be sent. Out: plaintext, which is read in place, bytes for the wire, and at the first thing
//! that is wrong an error that says what it was. It has the shape of a [flow](crate::flow) and knows none: [`Tls`] is sans-IO, and
//! [`Line`] joins it with a flow, or lets a session have the flow as it is. It asks no clock; its randomness is the provider's.
//!
//! [`Pinned`] makes both ends for boxes that know each other, [`Server`] the one that clients come to,
//! [`Client`] the one that goes to next hops. What handshakes cost is
//! rationed by [`Handshakes`].
//!
//! Behind it is rustls with its buffered interface. The unbuffered one promises fewer copies and in 0.23 makes more: it allocates
//! for each record all the same, its output is copied once more on the way to a flow that takes bytes from where they are, and what
//! a session leaves unread would have to be kept here. The buffered one holds at most a record or a handshake message that is not
//! whole, the plaintext of one read, and [`TLS_OUTPUT_MAX`] bytes of output; it reads no further while plaintext waits, so that
//! a session that does not read closes the TCP window as it does without TLS.

mod client;
mod dane;
mod key;
mod line;
mod pin;
mod secured;
mod server;
#[cfg(test)]
mod tests;
mod ticket;
mod turn;

pub use client::{Client, RootsError, Verification, load_roots};
pub use dane::{Associations, Tlsa, Unassociated};
pub(crate) use key::read_secret;
pub use key::{KeyError, OwnKey, load_private_key};
pub use line::Line;
pub use pin::{Fingerprint, NoFingerprint, Pinned, WrongCertificate};
pub use secured::{Cipher, Secured, Version};
pub use server::{Expiry, Server, ServerFiles};
pub use turn::Handshakes;

use crate::flow::Received;
use crate::limits::TLS_OUTPUT_MAX;
use rustls::pki_types::ServerName;
use rustls::{
    AlertDescription, CertificateError, ClientConfig, ClientConnection, Connection, HandshakeKind, ServerConfig,
};
use std::io::{self, Write};
use std::sync::{Arc, OnceLock};

/// The types of a record (RFC 8446 §5.1). What begins otherwise is no TLS.
pub(crate) const RECORD_TYPES: std::ops::RangeInclusive<u8> = 20..=24;

/// What is wrong with a connection. It cannot go on; what tells the peer so is in the output already.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum TlsError {
    /// The first bytes were no record.
    #[error("the peer speaks in the clear")]
    Clear,
    /// The peer is not whom we know.
    #[error(transparent)]
    WrongCertificate(#[from] WrongCertificate),
    /// The server is not whom the DNS knows.
    #[error(transparent)]
    Unassociated(#[from] Unassociated),
    /// The peer has ended it, and said why.
    #[error("the peer ended TLS: {0:?}")]
    Alert(AlertDescription),
    /// The connection ended without the end of TLS: there may have been more.
    #[error("the connection ended without the end of TLS")]
    Truncated,
    /// What came is not as the protocol wants it.
    #[error(transparent)]
    Protocol(rustls::Error),
}

impl From<rustls::Error> for TlsError {
    fn from(error: rustls::Error) -> TlsError {
        match error {
            rustls::Error::AlertReceived(alert) => TlsError::Alert(alert),
            rustls::Error::InvalidCertificate(CertificateError::Other(other)) => {
                if let Some(wrong) = other.0.downcast_ref::<WrongCertificate>() {
                    TlsError::WrongCertificate(*wrong)
                } else if let Some(unknown) = other.0.downcast_ref::<Unassociated>() {
                    TlsError::Unassociated(unknown.clone())
                } else {
                    TlsError::Protocol(rustls::Error::InvalidCertificate(CertificateError::Other(other)))
                }
            }
            error => TlsError::Protocol(error),
        }
    }
}

/// What was thought of a server's certificate where nothing depends on it, once it has shown one.
type Seen = OnceLock<Result<(), rustls::Error>>;

/// One end of a connection under TLS.
#[derive(Debug)]
pub struct Tls {
    connection: Connection,
    /// The first byte that came.
    first: Option<u8>,
    /// Plaintext that has not been consumed.
    unread: usize,
    /// The peer has ended its direction, and said so.
    ended: bool,
    /// What was seen of its certificate, if that was watched.
    watched: Option<Arc<Seen>>,
}

impl Tls {
    /// The end that connects, to a server of this name.
    pub fn client(config: Arc<ClientConfig>, name: ServerName<'static>) -> Result<Tls, TlsError> {
        Ok(Tls::new(ClientConnection::new(config, name)?.into()))
    }

    /// The end that was connected to.
    pub fn server(config: Arc<ServerConfig>) -> Result<Tls, TlsError> {
        Ok(Tls::new(rustls::ServerConnection::new(config)?.into()))
    }

    fn new(mut connection: Connection) -> Tls {
        connection.set_buffer_limit(Some(TLS_OUTPUT_MAX));
        Tls { connection, first: None, unread: 0, ended: false, watched: None }
    }

    /// Takes bytes off the front of what came by the wire, and says how many: none while plaintext waits, or a handshake waits for
    /// its output to go.
    pub fn receive(&mut self, wire: &[u8]) -> Result<usize, TlsError> {
        let mut rest = wire;
        self.first = self.first.or(wire.first().copied());
        while !rest.is_empty() && self.connection.wants_read() {
            // All that it can say is that a handshake is larger than any should be.
            let read = self.connection.read_tls(&mut rest);
            read.map_err(|_| rustls::Error::PeerSentOversizedRecord)?;
            match self.connection.process_new_packets() {
                Ok(state) => {
                    self.unread = state.plaintext_bytes_to_read();
                    self.ended |= state.peer_has_closed();
                }
                Err(_) if self.first.is_some_and(|first| !RECORD_TYPES.contains(&first)) => {
                    return Err(TlsError::Clear);
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(wire.len() - rest.len())
    }

    /// The plaintext that came.
    pub fn received(&mut self) -> Received<'_> {
        let (unread, ended) = (self.unread, self.ended);
        let bytes = self.connection.reader().into_first_chunk().unwrap_or(&[]);
        Received { bytes, more: unread > bytes.len(), full: unread > 0, finished: ended }
    }

    /// Gives back the first `count` bytes of what [`received`](Tls::received) lent.
    pub fn consume(&mut self, count: usize) {
        debug_assert!(count <= self.unread);
        io::BufRead::consume(&mut self.connection.reader(), count);
        self.unread -= count;
    }

    /// Takes as much of `plaintext` as there is room for, and says how much: nothing before the handshake is done.
    pub fn send(&mut self, plaintext: &[u8]) -> usize {
        if self.connection.is_handshaking() {
            return 0;
        }
        // An error here was told by `receive` already.
        self.connection.writer().write(plaintext).unwrap_or(0)
    }

    /// Gives what is to go out to `take`, which says how much it took, until that is less. Whether all has gone.
    pub fn output(&mut self, take: impl FnMut(&[u8]) -> usize) -> bool {
        let mut sink = Sink(take);
        while self.connection.wants_write() {
            if !self.connection.write_tls(&mut sink).is_ok_and(|count| count > 0) {
                return false;
            }
        }
        true
    }

    /// Says that no more plaintext follows. The peer may still send.
    pub fn close(&mut self) {
        self.connection.send_close_notify();
    }

    /// Whether the two are not done yet with getting to know each other.
    pub fn is_handshaking(&self) -> bool {
        self.connection.is_handshaking()
    }

    /// What came of the handshake, once it is done.
    pub fn secured(&self) -> Option<Secured> {
        if self.is_handshaking() {
            return None;
        }
        Some(Secured {
            version: Version(self.connection.protocol_version()?),
            cipher: Cipher(self.connection.negotiated_cipher_suite()?.suite()),
            resumed: self.connection.handshake_kind() == Some(HandshakeKind::Resumed),
        })
    }

    /// See [`Line::is_valid`].
    fn is_valid(&self) -> bool {
        self.watched.as_ref().and_then(|watched| watched.get()).is_some_and(Result::is_ok)
    }

    /// See [`Line::invalidity`].
    fn invalidity(&self) -> Option<&rustls::Error> {
        self.watched.as_ref()?.get()?.as_ref().err()
    }

    /// Whether something is to go out, which had no room so far.
    pub fn has_output(&self) -> bool {
        self.connection.wants_write()
    }

    /// Whether the peer has said that no more plaintext follows. Bytes of the wire behind that mean nothing.
    pub fn has_ended(&self) -> bool {
        self.ended
    }
}

/// What rustls writes to.
struct Sink<F>(F);

impl<F: FnMut(&[u8]) -> usize> Write for Sink<F> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok((self.0)(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
