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

// config

/// Own addresses: what the stack's interface holds (`iface-max-addr-count-8`).
pub const ADDRESSES_MAX: usize = 8;

/// A configuration file larger than this, bytes, is a mistake; recipients belong into maps.
pub const CONFIG_SIZE_MAX: u64 = 4 * 1024 * 1024;

/// Frames a queue: 32 MiB of 4 KiB frames, two bursts deep at line rate for a breath of some milliseconds.
pub const PORT_FRAMES_DEFAULT: u32 = 8192;

/// The greeting is not held back unless an operator wants it: every honest client would pay for it too.
pub const GREETING_DELAY_DEFAULT: Duration = Duration::ZERO;

/// Bad commands of a session; an honest client makes one or two.
pub const SESSION_ERRORS_DEFAULT: u32 = 20;

/// Transactions of a session: high, since closing costs a busy relay a handshake, but not endless.
pub const SESSION_TRANSACTIONS_DEFAULT: u32 = 10_000;

/// Connections of all clients.
pub const CONNECTIONS_DEFAULT: usize = 100_000;

/// Connections of one client: more than a large sender opens, far fewer than fill the table.
pub const CONNECTIONS_PER_CLIENT_DEFAULT: usize = 1000;

/// Handshakes under way: some round trips' worth at 10 000 connections a second.
pub const HALF_OPEN_DEFAULT: usize = 16_384;

/// Bytes received and unread, a flow: a full window at 1 Gb/s and a quarter of a millisecond, 5 MB/s at 6 ms.
pub const RECEIVE_BUFFER_DEFAULT: u64 = 32 * 1024;

/// Bytes sent and unacknowledged, a flow.
pub const SEND_BUFFER_DEFAULT: u64 = 32 * 1024;

/// RFC 5321 §4.5.3.2.5: three minutes for a data block.
pub const DATA_TIMEOUT_DEFAULT: Duration = Duration::from_secs(180);

/// The least content rate, bytes a second: a tenth of an old modem's.
pub const CONTENT_RATE_DEFAULT: u64 = 500;

/// Time for sessions at a stop, well under systemd's 90 s before it kills.
pub const SHUTDOWN_TIMEOUT_DEFAULT: Duration = Duration::from_secs(30);

/// Answers of next hops remembered in a worker: about 20 MB.
pub const VERIFY_CACHE_DEFAULT: u32 = 100_000;

/// A "yes" stays true for long, and a wrong one costs a bounce.
pub const VERIFY_KNOWN_TTL_DEFAULT: Duration = Duration::from_secs(3600);

/// A "no" is short-lived: the mailbox may be made at any moment.
pub const VERIFY_UNKNOWN_TTL_DEFAULT: Duration = Duration::from_secs(600);

/// A recipient map larger than this, bytes, is refused: offsets into it are 32 bits wide.
pub const RECIPIENT_MAP_SIZE_MAX: u64 = 2 * 1024 * 1024 * 1024;

/// Connections to the hosts of one route: what a receiving server takes from one peer without complaint.
pub const ROUTE_CONNECTIONS_DEFAULT: u32 = 20;

/// Connections to all next hops.
pub const DELIVERY_CONNECTIONS_DEFAULT: u32 = 10_000;

/// A connection that takes longer than this comes about only by luck.
pub const CONNECT_TIMEOUT_DEFAULT: Duration = Duration::from_secs(30);

/// Idle connections are kept briefly: reuse pays within bursts, and receivers count open sessions.
pub const DELIVERY_IDLE_TIMEOUT_DEFAULT: Duration = Duration::from_secs(10);

/// Messages on one connection: after these the load balancer of the receiver may choose anew.
pub const TRANSACTIONS_PER_CONNECTION_DEFAULT: u32 = 1000;

/// The first pause of a host that failed.
pub const HOST_BACKOFF_DEFAULT: Duration = Duration::from_secs(30);

/// The longest pause of a host that keeps failing.
pub const HOST_BACKOFF_MAX_DEFAULT: Duration = Duration::from_secs(900);

/// All logs together.
pub const SPOOL_SIZE_DEFAULT: u64 = 10 * 1024 * 1024 * 1024;

/// A segment: large enough that making and recycling one is rare, small enough that an old message pins little.
pub const SPOOL_SEGMENT_SIZE_DEFAULT: u64 = 64 * 1024 * 1024;

/// Left free on the file system, for the logs' own outcomes and for everything else that lives there.
pub const SPOOL_FREE_DEFAULT: u64 = 512 * 1024 * 1024;

/// A batch: 512 KiB is where group commit meets the disk's rate; twice that gives room for a burst.
pub const SPOOL_BATCH_SIZE_DEFAULT: u64 = 1024 * 1024;

/// Batches under way: depth beyond four adds latency and no rate.
pub const SPOOL_BATCHES_IN_FLIGHT_DEFAULT: usize = 4;
