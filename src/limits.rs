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

// spool

/// Batches are written in units of this many bytes: the largest logical block that storage in use has. A disk that
/// wants more is refused.
pub const BLOCK_SIZE: usize = 4096;

/// One segment of a log, bytes: large enough that rolling over is rare, small enough that zeroing one takes a
/// tenth of a second and that recycling frees space in useful steps.
pub const SEGMENT_SIZE_DEFAULT: u64 = 64 << 20;

/// The largest segment, bytes: offsets within a segment are 32 bits on disk.
pub const SEGMENT_SIZE_MAX: u64 = 1 << 30;

/// Fewer segments than this leave no room between the reserve and the point where recycling begins.
pub const SEGMENTS_MIN: u32 = 8;

/// Segments that accepted content never takes: they cover outcomes, deletions and moved copies of what is queued.
pub const SEGMENTS_RESERVED: u32 = 2;

/// Zeroed segments kept ahead of need: one is about to be used while the next is being made.
pub const SEGMENTS_AHEAD: usize = 2;

/// A batch that nobody waits for (content of unfinished messages only) is sealed at this size, bytes: small writes
/// would cut content into needless chunks.
pub const BATCH_SIZE_UNHURRIED: usize = 256 * 1024;

/// The largest batch, bytes.
pub const BATCH_SIZE_DEFAULT: usize = 1 << 20;

/// Batches on their way to the disk at a time: enough to keep a fast device busy.
pub const BATCHES_IN_FLIGHT_DEFAULT: usize = 4;

/// The largest record, bytes: a thousand recipients with the longest addresses and parameters, and the extents of a
/// large message.
pub const RECORD_SIZE_MAX: usize = 4 << 20;

/// Transactions whose content is being received, for one log: as many as a worker can have connections.
pub const DRAFTS_MAX: usize = 100_000;

/// Open readers of one log: each may hold one chunk from disk in memory.
pub const READERS_MAX: usize = 512;

/// Recently written batches kept in memory, bytes, so that immediate delivery reads no disk.
pub const SPOOL_CACHE_SIZE: usize = 32 << 20;

/// What a queued recipient is counted with, bytes, for the outcome records that it will need.
pub const OUTCOME_RESERVE: u64 = 256;

/// An idle log waits this long before it writes the batch that carries the last watermark, so that a quiet log does
/// not write twice for every message.
pub const CLOSING_DELAY: Duration = Duration::from_millis(100);

/// How often the file system is asked for its free space.
pub const FREE_SPACE_INTERVAL: Duration = Duration::from_secs(1);

/// How long after a segment could not be made the next attempt is.
pub const PREPARE_RETRY_DELAY: Duration = Duration::from_secs(5);

/// Content waits this long for space before its transaction is given up.
pub const SPACE_WAIT_MAX: Duration = Duration::from_secs(10);
