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

// af_xdp

/// Frames of one queue unless the configuration says otherwise: 16 MiB, a full window of 1 500-byte frames for
/// each direction at 10 Gb/s and a few milliseconds' absence of the worker.
pub const AF_XDP_FRAMES_DEFAULT: u32 = 4096;

/// The fewest frames of a queue: two bursts for each direction, so that one can be in the NIC while the other is here.
pub const AF_XDP_FRAMES_MIN: u32 = 256;

/// The most frames of a queue: 512 MiB of memory that cannot be swapped.
pub const AF_XDP_FRAMES_MAX: u32 = 131_072;

/// The largest MTU of a device, bytes: a page less what the kernel keeps in front of (256) and behind (about 320) a
/// frame in native mode, the Ethernet header and a tag.
pub const AF_XDP_MTU_MAX: usize = 3498;

/// Own addresses of one device: the size of the steering program's tables.
pub const STEERED_ADDRESSES_MAX: usize = 256;

/// How long a queue that is still bound is waited for: the kernel takes sockets apart some time after they are closed.
pub const QUEUE_BIND_PATIENCE: Duration = Duration::from_secs(2);

/// The pause between two tries to bind a queue.
pub const QUEUE_BIND_PAUSE: Duration = Duration::from_millis(20);
