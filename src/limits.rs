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

// control: the control thread.

/// The longest request on the admin socket, bytes: some 60 000 queue ids in one.
pub const ADMIN_REQUEST_SIZE_MAX: usize = 1024 * 1024;

/// Clients of the admin socket at a time; more wait in the backlog.
pub const ADMIN_CLIENTS_MAX: usize = 16;

/// Queue entries in one answer: a worker makes them between two breaths, and must not be kept long. A client asks
/// again for what comes after the last one.
pub const QUEUE_LIST_MAX: usize = 1000;

/// How long workers have to answer an admin request. They do so between breaths, so that this means a hung one.
pub const ADMIN_REPLY_TIMEOUT: Duration = Duration::from_secs(5);

/// How long after the shutdown limit a worker is waited for before it is given up.
pub const STOP_GRACE: Duration = Duration::from_secs(1);

/// Log lines that wait for a slow standard output; more are dropped and counted.
pub const LOG_LINES_MAX: usize = 65_536;

/// How long the last log lines may take to go out when the process ends.
pub const LOG_CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// Recipients in one answer with queue entries, for the same reason: one message may have very many.
pub const QUEUE_LIST_RECIPIENTS_MAX: usize = 10_000;

/// How long a client of the admin socket may be silent, or take to read an answer, before it loses its place.
pub const ADMIN_IDLE_TIMEOUT: Duration = Duration::from_secs(60);

/// Messages from all workers that wait for the control thread: events beyond are dropped and counted, since a worker
/// never waits.
pub const FROM_WORKERS_MAX: usize = 65_536;

/// Messages to one worker that wait for the end of its breath. More than the admin clients can have under way.
pub const TO_WORKER_MAX: usize = 64;
