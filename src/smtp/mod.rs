//! The mail protocol: server session, client session, grammar, replies, content.
//!
//! In: bytes, verdicts and the time. Out: bytes, questions and deadlines. Nothing here opens a socket or
//! a file or reads a clock, and the same inputs give the same outputs, byte for byte, however the
//! bytes are cut.

pub mod client;
pub mod content;
pub mod dsn;
mod envelope;
pub mod grammar;
mod lines;
mod priority;
mod reply;
pub mod server;

pub use envelope::{BodyType, Envelope, Notify, OwnMessage, Recipient, Return, domain_of};
pub use priority::{NoPriority, Priority};
pub use reply::{PathKind, Reply, sanitise};
