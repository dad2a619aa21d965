//! SMTP: both dialogues, and the notices that follow from them.

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

// smtp::client

/// The longest reply line taken from a remote server, with its CRLF, bytes. RFC 5321 §4.5.3.1.5 allows 512; servers
/// that explain a refusal with a link exceed it, none was seen to exceed this.
pub const CLIENT_REPLY_LINE_SIZE_MAX: usize = 4096;

/// Lines of one remote reply. The longest EHLO answers have about forty; an endless reply must end somewhere.
pub const CLIENT_REPLY_LINES_MAX: u32 = 128;

/// Commands are written while less than this waits to be sent, bytes: two segments' worth, so that a pipelined group
/// of a thousand RCPTs fills the wire without being held in memory.
pub const CLIENT_OUTPUT_SIZE: usize = 4096;

/// The longest parameter taken from our own envelope into a command, bytes (RFC 3461 §4.2 allows 500 for ORCPT).
pub const CLIENT_PARAMETER_SIZE_MAX: usize = 512;

/// A user or a password that is shown to a server, bytes. RFC 4616 §2 wants servers to take 255 of each.
pub const CREDENTIAL_SIZE_MAX: usize = 255;

/// Content bytes that count as a block for the block timeout. Without it, a server that takes one byte every three
/// minutes would hold a session for years.
pub const CLIENT_BLOCK_SIZE: u64 = 4096;

/// Timeouts of a client, RFC 5321 §4.5.3.2.1: the greeting.
pub const CLIENT_GREETING_TIMEOUT: Duration = Duration::from_secs(300);

/// The answer to EHLO, HELO or LHLO. The RFC names none; as for MAIL.
pub const CLIENT_HELLO_TIMEOUT: Duration = Duration::from_secs(300);

/// The answer to MAIL (§4.5.3.2.2).
pub const CLIENT_MAIL_TIMEOUT: Duration = Duration::from_secs(300);

/// The answer to RCPT (§4.5.3.2.3).
pub const CLIENT_RCPT_TIMEOUT: Duration = Duration::from_secs(300);

/// The answer to DATA (§4.5.3.2.4).
pub const CLIENT_DATA_TIMEOUT: Duration = Duration::from_secs(120);

/// A block of content, and the answer to a BDAT chunk that is not the last (§4.5.3.2.5).
pub const CLIENT_BLOCK_TIMEOUT: Duration = Duration::from_secs(180);

/// The answer to the final dot (§4.5.3.2.6); shorter ones make duplicates.
pub const CLIENT_DOT_TIMEOUT: Duration = Duration::from_secs(600);

/// The answer to RSET. Nothing is at stake any more, so it need not be waited for as long as for the others.
pub const CLIENT_RSET_TIMEOUT: Duration = Duration::from_secs(20);

/// The answer to QUIT; it changes nothing, so politeness is brief.
pub const CLIENT_QUIT_TIMEOUT: Duration = Duration::from_secs(2);

// smtp::dsn

/// Where the lines of a notice that we write are folded, bytes (RFC 5322 §2.1.1 asks for 78).
pub const DSN_LINE_SIZE: usize = 76;

/// The longest word in a notice, bytes; a longer one is cut in two, so that no line exceeds the 998 of RFC 5322 §2.1.1.
pub const DSN_WORD_SIZE_MAX: usize = 800;

// smtp::server

/// Errors of one session, without a message accepted in between, after which it is cut off with 421. Twenty is
/// more than a person at a terminal makes and less than a dictionary attack needs.
pub const SESSION_ERRORS_DEFAULT: u32 = 20;

/// MAIL commands of one session (`LIMITS MAILMAX`, RFC 9422): large enough for connection reuse, small enough
/// that no session lasts for ever.
pub const TRANSACTIONS_DEFAULT: u32 = 10_000;

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
