//! The client's side of SMTP (RFC 5321) and LMTP (RFC 2033).
//!
//! In: a remote server's bytes, tasks, content from the spool, the time. Out: commands, framed content, and
//! the fate of every recipient, each told exactly once. It never connects, never resolves a name, never
//! decides when to try again, and never keeps content.
//!
//! ```text
//! Greeting ─► Hello ─► Idle ─► Envelope ─► Content ─► Outcome ─┐        any ─► Closed
//!                       ▲         │ (nobody accepted)          │        Idle ─► Quit ─► Closed
//!                       └───── Reset ◄─────────────────────────┘
//! ```
//!
//! Where the route has credentials, Hello leads to Auth before Idle, under TLS only.
//!
//! Where STARTTLS is offered and wanted, Hello leads to StartTls, Handshake and, after [`Session::secured`], to Hello again; what was
//! heard before is forgotten. A session that begins [`behind_tls`](Session::behind_tls) waits in Handshake before its greeting.
//!
//! Choices that the RFCs leave open:
//!
//! - Bytes behind the answer to STARTTLS end the connection: they came in the clear, and would be taken for answers that did not.
//! - Replies may end in a bare LF: nothing can be smuggled into us by it, and old servers send it.
//! - Content is declared `BODY=8BITMIME` when it needs that and the server offers it; to a server that does not,
//!   it is sent as it is. Converting would break signatures, refusing would lose mail that nearly always arrives.
//! - BDAT is used for BINARYMIME content only.
//! - What ends the content, and makes it the server's, can be held back until somebody allows it. A chunk that is called the
//!   last ends it with its last byte: none is, then, and an empty one follows.
//! - A refusal during content ends the connection: the content can only be stopped by dropping it.

mod command;
mod content;
mod credentials;
mod exchange;
mod extensions;
mod output;
mod reply;
mod session;
#[cfg(test)]
mod tests;

pub use credentials::{Credentials, NoCredentials};
pub use extensions::Extensions;
pub(crate) use output::Output;
pub(crate) use reply::ReplyReader;
pub use reply::{RemoteReply, ReplyError};
pub use session::Session;

use crate::limits;
use crate::smtp::{BodyType, Notify, Priority, Return};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// What the remote server speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// EHLO, one answer to the final dot.
    #[default]
    Smtp,
    /// LHLO, one answer per accepted recipient to the final dot (RFC 2033 §4.2).
    Lmtp,
}

/// How long each answer may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// The greeting.
    pub greeting: Duration,
    /// The answer to EHLO, HELO, LHLO.
    pub ehlo: Duration,
    /// The answer to MAIL.
    pub mail: Duration,
    /// The answer to each RCPT.
    pub rcpt: Duration,
    /// The answer to DATA.
    pub data: Duration,
    /// Each [`limits::CLIENT_BLOCK_SIZE`] bytes of content to be taken by the flow.
    pub block: Duration,
    /// The answer to the final dot (for LMTP each of them).
    pub dot: Duration,
    /// The answer to RSET.
    pub rset: Duration,
    /// The answer to QUIT.
    pub quit: Duration,
}

impl Default for Timeouts {
    fn default() -> Timeouts {
        Timeouts {
            greeting: limits::CLIENT_GREETING_TIMEOUT,
            ehlo: limits::CLIENT_HELLO_TIMEOUT,
            mail: limits::CLIENT_MAIL_TIMEOUT,
            rcpt: limits::CLIENT_RCPT_TIMEOUT,
            data: limits::CLIENT_DATA_TIMEOUT,
            block: limits::CLIENT_BLOCK_TIMEOUT,
            dot: limits::CLIENT_DOT_TIMEOUT,
            rset: limits::CLIENT_RSET_TIMEOUT,
            quit: limits::CLIENT_QUIT_TIMEOUT,
        }
    }
}

/// What all sessions from one source address to one kind of destination share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The name that we greet with; ASCII, from the configuration.
    pub ehlo_name: Box<str>,
    /// What the server speaks.
    pub protocol: Protocol,
    /// How long each answer may take.
    pub timeouts: Timeouts,
    /// When STARTTLS is said.
    pub starttls: StartTls,
    /// Who we are to the server, if it is to know. Never said in the clear; that the server is the right one is seen to elsewhere.
    pub credentials: Option<Arc<Credentials>>,
}

impl Settings {
    /// Without TLS and with the timeouts of the RFC.
    pub fn new(ehlo_name: &str, protocol: Protocol) -> Settings {
        let ehlo_name = ehlo_name.into();
        let timeouts = Timeouts::default();
        Settings { ehlo_name, protocol, timeouts, starttls: StartTls::Never, credentials: None }
    }
}

/// When a client says STARTTLS (RFC 3207). Whose certificate is good enough is not known here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum StartTls {
    /// Never.
    #[default]
    Never,
    /// If the server offers it; one that refuses it after all is spoken to in the clear.
    IfOffered,
    /// In any case: a server without it gets no mail.
    Always,
}

/// One message for those of its recipients that share this destination.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Transaction {
    /// Without brackets; empty for the null sender.
    pub reverse_path: Box<str>,
    /// In the order in which they are to be tried.
    pub recipients: Vec<TransactionRecipient>,
    /// Bytes of content, for `SIZE=` and the comparison with the server's limit; 0 if not known.
    pub size: u64,
    /// The body type as received.
    pub body: BodyType,
    /// Received with `SMTPUTF8`. Addresses beyond ASCII ask for it too, whatever is said here.
    pub smtputf8: bool,
    /// Received with `REQUIRETLS`.
    pub require_tls: bool,
    /// Passed on where MT-PRIORITY is offered.
    pub priority: Priority,
    /// The server has shown under TLS that it is who it should be.
    pub authenticated: bool,
    /// `RET`, passed on where DSN is offered.
    pub ret: Option<Return>,
    /// `ENVID` as received (xtext), passed on where DSN is offered.
    pub envelope_id: Option<Box<str>>,
    /// The content holds bytes above 127, whatever its body type says.
    pub eight_bit: bool,
    /// What ends the content waits for [`Session::allow_end`]; all that comes before goes out.
    pub end_held: bool,
}

/// One forward-path of a [`Transaction`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TransactionRecipient {
    /// Its place in the message's envelope; only handed back, never looked at.
    pub index: u32,
    /// Without brackets.
    pub address: Box<str>,
    /// `NOTIFY`, passed on where DSN is offered.
    pub notify: Option<Notify>,
    /// `ORCPT` as received (`type;xtext`), passed on where DSN is offered.
    pub original: Option<Box<str>>,
}

/// What an idle session can be asked to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Task {
    /// Deliver a message.
    Deliver(Transaction),
    /// Find out whether a recipient would be accepted: MAIL with the null sender, RCPT, RSET.
    Verify {
        /// The address, without brackets.
        recipient: Box<str>,
    },
}

/// What became of one recipient.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// The server has taken responsibility (for a verification: would take it).
    Delivered(RemoteReply),
    /// Not now; it may be tried again.
    Deferred(Reason),
    /// Never; trying again makes no sense.
    Failed(Reason),
}

/// Why a recipient was not delivered to, or why a session ended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// The server said so.
    #[error("{reply} (in reply to {})", .stage.command())]
    Reply {
        /// How far the session was: it answered the command of this stage.
        stage: Stage,
        /// The answer.
        reply: RemoteReply,
    },
    /// The connection failed before the message was wholly sent.
    #[error("{0} {1}")]
    Connection(Failure, Stage),
    /// The message was wholly sent, but no usable answer came: it may or may not have been delivered, and trying again
    /// may make a duplicate (RFC 1047).
    #[error("the whole message was sent, but its acknowledgement never came")]
    UnknownOutcome,
    /// This transaction is full; the rest goes into another one, at once (RFC 5321 §4.5.3.1.10, RFC 9422).
    #[error("more recipients than the server takes in one transaction")]
    TooManyRecipients,
    /// We decided it ourselves.
    #[error(transparent)]
    Local(LocalReason),
}

/// How a connection failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// Closed or reset by the other side or the network.
    #[error("the connection was lost")]
    Lost,
    /// No answer in time.
    #[error("the server took too long")]
    TimedOut,
}

/// A decision of our own about a recipient or a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LocalReason {
    /// RFC 6531 §3.2: nothing that needs SMTPUTF8 goes to a server that does not offer it.
    #[error("the server does not support internationalized mail (SMTPUTF8), which this message needs")]
    Smtputf8NotOffered,
    /// RFC 3030 §3: BINARYMIME goes only where CHUNKING and BINARYMIME are offered.
    #[error("the server does not support binary content (BINARYMIME), which this message needs")]
    BinaryNotOffered,
    /// RFC 8689 §4.2.1: REQUIRETLS goes on only to servers that are who they should be, and offer it.
    #[error("the server has not shown who it is under TLS, or does not support REQUIRETLS, which the sender demands")]
    RequireTlsUnmet,
    /// RFC 1870 §6.1: the server has said that it takes no message of this size.
    #[error("the message has {size} bytes, and the server takes no more than {limit}")]
    TooLarge {
        /// Bytes of content.
        size: u64,
        /// What the server takes, bytes.
        limit: u64,
    },
    /// The address holds what cannot stand in a command.
    #[error("the recipient's address cannot be written in a command")]
    AddressUnusable,
    /// The reverse-path holds what cannot stand in a command.
    #[error("the sender's address cannot be written in a command")]
    SenderUnusable,
    /// The content could not be read from the spool; the connection was dropped before the final dot.
    #[error("the content could not be read")]
    ContentUnreadable,
    /// A CR or LF stands alone in the content, and may not be sent (RFC 5321 §2.3.8). The connection was dropped before it.
    #[error("the content has a CR or LF that stands alone, and cannot be sent")]
    LoneNewline,
    /// The attempt could not be recorded, which has to come first; the connection was dropped before the final dot.
    #[error("the attempt could not be recorded before the end of the message was sent")]
    Unrecorded,
    /// The server ended the connection, which others had used before, and had not heard of this message yet.
    #[error("the server ended the connection between two messages")]
    NotBegun,
    /// The server offers no TLS, and the route requires it.
    #[error("the server offers no TLS (STARTTLS), without which nothing may be sent to it")]
    TlsNotOffered,
    /// The server offers no way to say who we are, and the route has credentials.
    #[error("the server offers no AUTH with PLAIN or LOGIN, and the route has credentials for it")]
    AuthNotOffered,
    /// The server said what the protocol does not allow.
    #[error("the server broke the protocol {0}")]
    Protocol(Stage),
}

impl LocalReason {
    /// Whether another try may end differently: at the same server, or at one that behaves.
    pub fn is_temporary(self) -> bool {
        match self {
            LocalReason::ContentUnreadable | LocalReason::Unrecorded | LocalReason::NotBegun => true,
            LocalReason::TlsNotOffered | LocalReason::AuthNotOffered | LocalReason::Protocol(_) => true,
            LocalReason::Smtputf8NotOffered | LocalReason::BinaryNotOffered | LocalReason::RequireTlsUnmet => false,
            LocalReason::TooLarge { .. } => false,
            LocalReason::AddressUnusable | LocalReason::SenderUnusable | LocalReason::LoneNewline => false,
        }
    }
}

impl Reason {
    /// Whether another try may end differently.
    pub fn is_temporary(&self) -> bool {
        match self {
            Reason::Reply { reply, .. } => !reply.is_permanent(),
            Reason::Local(reason) => reason.is_temporary(),
            Reason::Connection(..) | Reason::UnknownOutcome | Reason::TooManyRecipients => true,
        }
    }
}

impl Reason {
    /// Whether it is our credentials that the server wants, or others (RFC 4954 §6).
    pub fn refuses_credentials(&self) -> bool {
        match self {
            Reason::Reply { stage: Stage::Auth, reply } => reply.is_permanent(),
            Reason::Reply { reply, .. } => matches!(reply.code, 530 | 534 | 535 | 538),
            reason => *reason == Reason::Local(LocalReason::AuthNotOffered),
        }
    }
}

impl From<Reason> for Fate {
    fn from(reason: Reason) -> Fate {
        if reason.is_temporary() { Fate::Deferred(reason) } else { Fate::Failed(reason) }
    }
}

/// Where in the dialogue something happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Before the greeting.
    Greeting,
    /// EHLO sent.
    Ehlo,
    /// HELO sent.
    Helo,
    /// LHLO sent.
    Lhlo,
    /// STARTTLS sent.
    StartTls,
    /// TLS is being agreed on.
    Handshake,
    /// AUTH sent, or what it asks for.
    Auth,
    /// Between tasks.
    Idle,
    /// MAIL sent or due.
    Mail,
    /// RCPT sent or due.
    Rcpt,
    /// DATA sent or due.
    Data,
    /// Content on its way by DATA.
    Content,
    /// Content on its way by BDAT.
    Chunks,
    /// Content sent, the answer is due.
    Outcome,
    /// RSET sent.
    Rset,
    /// QUIT sent, or nothing more to be said.
    Quit,
}

impl Stage {
    /// The command whose answer is due in this stage.
    pub fn command(self) -> &'static str {
        match self {
            Stage::Greeting => "connection",
            Stage::Ehlo => "EHLO",
            Stage::Helo => "HELO",
            Stage::Lhlo => "LHLO",
            Stage::StartTls => "STARTTLS",
            Stage::Handshake => "TLS handshake",
            Stage::Auth => "AUTH",
            Stage::Idle => "no command",
            Stage::Mail => "MAIL FROM",
            Stage::Rcpt => "RCPT TO",
            Stage::Data => "DATA",
            Stage::Content => "content",
            Stage::Chunks => "BDAT",
            Stage::Outcome => "end of DATA",
            Stage::Rset => "RSET",
            Stage::Quit => "QUIT",
        }
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Stage::Greeting => f.write_str("before its greeting"),
            Stage::Idle => f.write_str("between two messages"),
            Stage::Handshake => f.write_str("during the TLS handshake"),
            Stage::Content | Stage::Chunks => f.write_str("while the content was sent"),
            stage => write!(f, "when the reply to {} was due", stage.command()),
        }
    }
}

/// What a session tells, in this order of time; drained after every call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The server has greeted and answered EHLO: the first task may be started. Told once.
    Ready,
    /// [`Session::content`] is now to be called for as long as [`Session::wants_content`] holds. Told again each time
    /// that a pause of a BDAT dialogue ends.
    ContentWanted,
    /// What became of a recipient of [`Task::Deliver`]: each exactly once, before its `TaskDone`.
    Settled {
        /// The [`TransactionRecipient::index`].
        index: u32,
        /// What became of it.
        fate: Fate,
    },
    /// The answer to [`Task::Verify`]. `Failed` only if RCPT itself was refused for good, or the server cannot take such
    /// an address: one that refuses the null sender has said nothing about the recipient.
    Verified {
        /// `Delivered` if it would be accepted.
        fate: Fate,
    },
    /// The task is over: the next may be started, unless `Closing` is the next event.
    TaskDone,
    /// No more tasks can be started. Told once, last. With the reason if the session failed and no recipient was there
    /// to be told it.
    Closing(Option<Reason>),
}
