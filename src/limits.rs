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

// kernel: ordinary sockets in place of port and tcp.

/// Connections taken from one listener in one poll: a flood of new clients must not starve the old ones.
pub const ACCEPT_BURST_MAX: usize = 64;

/// Flows served in one poll; the others keep their place in the line.
pub const READY_BURST_MAX: usize = 1024;

/// How long a closed connection is read and its bytes dropped, so that no reset destroys our last reply on its
/// way. Longer than a few retransmissions, shorter than what a peer that never ends could use to fill the table.
pub const LINGER_DURATION: Duration = Duration::from_secs(10);

/// How long no connection is accepted after the process or the system ran out of descriptors or memory: the
/// listener stays readable all the while, and asking again at once would spin.
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Receive buffers kept for reuse when their flows have none to hold: enough for the flows of one poll.
pub const BUFFERS_SPARE_MAX: usize = READY_BURST_MAX;

/// Connections that the kernel completes before we accept them. It lowers this to `net.core.somaxconn` (4096 today).
pub const LISTEN_BACKLOG: i32 = 4096;
