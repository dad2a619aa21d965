//! Every bound of the appliance in one place, each with its reason.
//!
//! What an operator may change is a key of the configuration and has its default here; what is fixed
//! by a protocol or by the shape of the code is a constant. A full table means 421, 452 or a smaller TCP
//! window, never growth.

use std::time::Duration;

/// The longest command line with its CRLF, bytes. RFC 5321 §4.5.3.1.4 asks for at least 512; MAIL and
/// RCPT grow by their extensions' parameters (SIZE, BODY, RET, ENVID, NOTIFY, ORCPT: RFC 3461 §4.2).
pub const COMMAND_LINE_SIZE_MAX: usize = 2048;

/// The longest local part, octets (RFC 5321 §4.5.3.1.1).
pub const LOCAL_PART_SIZE_MAX: usize = 64;

/// The longest domain, octets (RFC 5321 §4.5.3.1.2).
pub const DOMAIN_SIZE_MAX: usize = 255;

/// The longest path with its brackets, octets (RFC 5321 §4.5.3.1.3).
pub const PATH_SIZE_MAX: usize = 256;

/// The longest reply line with its CRLF that we send, octets (RFC 5321 §4.5.3.1.5).
pub const REPLY_LINE_SIZE_MAX: usize = 512;

/// How much of a remote reply is kept, bytes; the rest of a longer one is read and dropped.
pub const REMOTE_REPLY_SIZE_MAX: usize = 1024;

/// Recipients of one transaction (RFC 5321 §4.5.3.1.8 asks for at least 100).
pub const RECIPIENTS_DEFAULT: usize = 1000;

/// The largest message, bytes.
pub const MESSAGE_SIZE_DEFAULT: u64 = 50_000_000;

/// `Received:` lines after which a message is taken to be in a loop (RFC 5321 §6.3 asks for at least 100).
pub const HOPS_DEFAULT: usize = 100;

/// Content is taken from a flow in pieces of at least this size, bytes, unless it ends before: it bounds the
/// number of chunks that a message of many tiny segments can make.
pub const CHUNK_SIZE_MIN: usize = 4096;

/// The largest chunk of content in one record, bytes.
pub const CHUNK_SIZE_MAX: usize = 64 * 1024;

/// Initial 220 as a client, MAIL, RCPT: five minutes; DATA initiation two; a data block three; the final dot
/// ten (RFC 5321 §4.5.3.2). A server waits five for the next command (§4.5.3.2.7).
pub const SERVER_COMMAND_TIMEOUT: Duration = Duration::from_secs(300);

// smtp::server

/// Errors of one session, without a message accepted in between, after which it is cut off with 421. Twenty is
/// more than a person at a terminal makes and less than a dictionary attack needs.
pub const SESSION_ERRORS_DEFAULT: u32 = 20;

/// MAIL commands of one session (`LIMITS MAILMAX`, RFC 9422): large enough for connection reuse, small enough
/// that no session lasts for ever.
pub const TRANSACTIONS_DEFAULT: u32 = 1000;

/// A server waits three minutes for the next block of content (RFC 5321 §4.5.3.2.5).
pub const SERVER_DATA_TIMEOUT: Duration = Duration::from_secs(180);

/// A transaction's content must come at this rate, bytes per second, after [`CONTENT_RATE_GRACE`]: slower than
/// a modem, faster than an attacker who sends a byte now and then to hold a session.
pub const CONTENT_RATE_DEFAULT: u64 = 100;

/// How long a transaction's content may take whatever its size, before the minimum rate counts.
pub const CONTENT_RATE_GRACE: Duration = Duration::from_secs(60);

/// Replies waiting to be sent, bytes, above which a session reads no more commands: a client that pipelines must
/// take its replies. One breath's pipelined replies fit many times.
pub const OUTPUT_SIZE_HIGH: usize = 4096;

/// How long a session that has said its last word waits for the peer to take it.
pub const FAREWELL_TIMEOUT: Duration = Duration::from_secs(60);

/// The longest `ENVID`, characters of xtext (RFC 3461 §4.4).
pub const ENVELOPE_ID_SIZE_MAX: usize = 100;

/// The longest `ORCPT`, characters (RFC 3461 §4.2).
pub const ORIGINAL_RECIPIENT_SIZE_MAX: usize = 500;

/// Parameters of one MAIL or RCPT command; there are no more that we know, and each may come once.
pub const PARAMETERS_MAX: usize = 8;
