//! The server session: the receiving side of a mail connection (RFC 5321), sans-IO.
//!
//! In: received bytes, answers of the appliance, the time. Out: replies, questions to the [`Host`], content, and the
//! next deadline. It never reads a clock, never opens anything, and the same inputs give the same outputs, byte for
//! byte, however the bytes are cut.
//!
//! ```text
//! Greeting ─► Fresh ─EHLO─► Ready ─MAIL─► Mail ─DATA─► Data ──────────┐
//!                             ▲            │ ▲                        ▼
//!                             │       RCPT ▼ │ verdict     ┌─► Committing ─► 250, Ready
//!                             │          Checking          │
//!                             └─── Skip ◄──BDAT──► Chunk ◄─┴─► Chunked
//! ```
//!
//! STARTTLS leads from Fresh, Ready to Handshake, where nothing is read until [`Session::secured`] tells that the layer below is
//! in place, and from there to Fresh, with everything forgotten that was said in the clear. A session that begins
//! [`behind_tls`](Session::behind_tls) waits there before its banner.
//!
//! `line` cuts the commands, `commands` answers them, `intake` takes the octets of content and `transfer` brings them to
//! the host, `received` writes the trace header, `session` holds the states and moves between them.
//!
//! What is promised beyond the RFC:
//!
//! - Only CRLF ends a line and only CRLF "." CRLF ends content, see [`crate::smtp::content`]. With
//!   [`BareNewline::Reject`] a lone LF in a command is answered with 500 and the end of the session; in content the
//!   message is read to its true end, dropped, and answered with 550.
//! - With [`BareNewline::Normalize`] a lone LF ends a command and a line of content, never the content.
//! - After a BDAT that cannot be parsed the session ends: nothing may be taken for a command that was content.
//! - Text that came by BDAT and does not end with CRLF gets one, so that it can go on by DATA.
//! - The size of a message is the size of what is kept: dots taken off, line ends repaired (RFC 1870 §5).
//! - A client that speaks before the banner is cut off: within the greeting delay, and without one if its bytes are there
//!   when its connection is accepted.
//! - Bytes behind STARTTLS end the session before it is answered: whoever put them there would have them taken for words of
//!   the client's, spoken under TLS (CVE-2011-0411). Those that come later are the layer's to refuse.
//! - A client that asks for a higher priority than it may have (RFC 6710) gets the highest that it may, and is told so by the reply to
//!   MAIL. Strangers may have what the listener gives everyone, and less.
//! - Errors are counted from the last accepted message on, as someone who delivers mail is no attacker.

mod commands;
mod intake;
mod line;
mod received;
mod session;
mod transfer;

#[cfg(test)]
mod tests;

pub use session::Session;

use crate::limits;
use crate::smtp::{Envelope, Priority, Reply};
use crate::spool::MessageId;
use std::net::SocketAddr;
use std::time::Duration;

/// What all sessions of a listener share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Our name: in the banner, the reply to EHLO, and as "by" in Received.
    pub hostname: Box<str>,
    /// The largest message, bytes (`SIZE`).
    pub message_size_max: u64,
    /// Recipients of one transaction (`LIMITS RCPTMAX`).
    pub recipients_max: usize,
    /// `Received:` fields of an acceptable message.
    pub hops_max: usize,
    /// Whether BINARYMIME is offered.
    pub binarymime: bool,
    /// Whether REQUIRETLS is offered to clients under TLS.
    pub requiretls: bool,
    /// Whether MT-PRIORITY is offered.
    pub mt_priority: bool,
    /// The priority of what comes without one, and the highest for clients that may not relay.
    pub priority: Priority,
    /// The highest for those that may.
    pub priority_max: Priority,
    /// Whether STARTTLS is offered.
    pub starttls: bool,
    /// Whether no mail is taken in the clear.
    pub tls_required: bool,
    /// Whether clients may say that TLS is not required for a message (`TLS-Required: No`, RFC 8689 §3).
    pub tls_optional: bool,
    /// Errors since the last accepted message at which the session is cut off.
    pub errors_max: u32,
    /// MAIL commands of one session (`LIMITS MAILMAX`).
    pub transactions_max: u32,
    /// How long the banner is held back to see who talks early. Zero: not at all.
    pub greeting_delay: Duration,
    /// The time for one command.
    pub command_timeout: Duration,
    /// The time between two arrivals of content.
    pub data_timeout: Duration,
    /// Bytes per second that a transaction's content must make after [`limits::CONTENT_RATE_GRACE`]. Zero: any.
    pub content_rate_min: u64,
}

impl Settings {
    /// The defaults under the given name.
    pub fn new(hostname: &str) -> Settings {
        Settings {
            hostname: hostname.into(),
            message_size_max: limits::MESSAGE_SIZE_DEFAULT,
            recipients_max: limits::RECIPIENTS_DEFAULT,
            hops_max: limits::HOPS_DEFAULT,
            binarymime: false,
            requiretls: false,
            mt_priority: false,
            priority: Priority::NORMAL,
            priority_max: Priority::HIGHEST,
            starttls: false,
            tls_required: false,
            tls_optional: false,
            errors_max: limits::SESSION_ERRORS_DEFAULT,
            transactions_max: limits::TRANSACTIONS_DEFAULT,
            greeting_delay: Duration::ZERO,
            command_timeout: limits::SERVER_COMMAND_TIMEOUT,
            data_timeout: limits::SERVER_DATA_TIMEOUT,
            content_rate_min: limits::CONTENT_RATE_DEFAULT,
        }
    }
}

/// What to do with lines that do not end in CRLF.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BareNewline {
    /// Refuse them.
    #[default]
    Reject,
    /// Repair them, for printers and scripts.
    Normalize,
}

/// Who is on the other end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Client {
    /// Its address.
    pub remote: SocketAddr,
    /// The address of ours that it connected to.
    pub local: SocketAddr,
    /// What its network is allowed.
    pub bare_newline: BareNewline,
    /// It may relay anywhere: it is one of ours.
    pub relays: bool,
}

/// What a session asks of the appliance. Every call is answered at once.
pub trait Host {
    /// MAIL FROM: is there room? `size` is the SIZE parameter.
    fn sender(&mut self, reverse_path: &str, size: Option<u64>) -> Result<(), StorageRefusal>;

    /// May this forward-path be accepted? After `Pending` the answer comes by [`Session::recipient_checked`].
    fn recipient(&mut self, reverse_path: &str, forward_path: &str) -> RecipientVerdict;

    /// Opens a message; its queue id goes into the Received header.
    fn begin(&mut self) -> Result<MessageId, StorageRefusal>;

    /// Takes content: first the Received header, then the message with CRLF lines and without transparency dots. A
    /// short count is back-pressure: the session stops consuming until [`Session::receive`] is called again, which is
    /// needed even if no byte has arrived since.
    fn content(&mut self, bytes: &[u8]) -> usize;

    /// The content is complete; [`Session::committed`] follows when it is durable.
    fn finish(&mut self, envelope: Envelope);

    /// Drops what was begun.
    fn abort(&mut self);
}

/// Why no message can be stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StorageRefusal {
    /// There is no room: 452 4.3.1.
    #[error("the spool is full")]
    Full,
    /// The disk failed: 451 4.3.0.
    #[error("the spool cannot be written")]
    Failed,
}

impl StorageRefusal {
    fn reply(self) -> Reply {
        match self {
            StorageRefusal::Full => Reply::storage_full(),
            StorageRefusal::Failed => Reply::storage_failed(),
        }
    }
}

/// Whether a recipient is accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RecipientVerdict {
    /// It is.
    Accept,
    /// It is not.
    Refuse(RecipientRefusal),
    /// Somebody is being asked. Not a verdict for [`Session::recipient_checked`], which ignores it.
    Pending,
}

/// Why a recipient is not accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RecipientRefusal {
    /// This client may not send there: 550 5.7.1.
    RelayDenied,
    /// There is no such recipient: 550 5.1.1.
    Unknown,
    /// It cannot be found out now: 451 4.4.3.
    CheckUnavailable,
    /// What the next hop said when asked, made with [`Reply::next_hop`].
    NextHop(Reply),
}

impl RecipientRefusal {
    fn reply(self) -> Reply {
        match self {
            RecipientRefusal::RelayDenied => Reply::relay_denied(),
            RecipientRefusal::Unknown => Reply::unknown_recipient(),
            RecipientRefusal::CheckUnavailable => Reply::recipient_check_unavailable(),
            RecipientRefusal::NextHop(reply) => reply,
        }
    }
}
