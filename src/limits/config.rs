//! The configuration.

use std::time::Duration;

/// Own addresses: what the stack's interface holds (`iface-max-addr-count-8`).
pub const ADDRESSES_MAX: usize = 8;

/// A configuration file larger than this, bytes, is a mistake; recipients belong into maps.
pub const CONFIG_SIZE_MAX: u64 = 4 * 1024 * 1024;

/// The greeting is not held back unless an operator wants it: every honest client would pay for it too.
pub const GREETING_DELAY_DEFAULT: Duration = Duration::ZERO;

/// Connections of all clients.
pub const CONNECTIONS_DEFAULT: usize = 100_000;

/// Connections of one client: more than a large sender opens, far fewer than fill the table.
pub const CONNECTIONS_PER_CLIENT_DEFAULT: usize = 1000;

/// Handshakes under way: some round trips' worth at 10 000 connections a second.
pub const HALF_OPEN_DEFAULT: usize = 16_384;

/// Bytes received and unread, a flow: 13 MB/s at a round trip of 20 ms. Held only while there is something in it.
pub const RECEIVE_BUFFER_DEFAULT: u64 = 256 * 1024;

/// Bytes sent and unacknowledged, a flow.
pub const SEND_BUFFER_DEFAULT: u64 = 256 * 1024;

/// Bytes of both of all flows: 4 000 that are full, or half a million with a command or a reply each.
pub const BUFFER_MEMORY_DEFAULT: u64 = 1 << 30;

/// What is kept in memory of queued messages: seven million small ones, as many as fit into [`SPOOL_SIZE_DEFAULT`].
pub const QUEUE_MEMORY_DEFAULT: u64 = 2 << 30;

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

/// Connections to all next hops.
pub const DELIVERY_CONNECTIONS_DEFAULT: u32 = 10_000;

/// All logs together.
pub const SPOOL_SIZE_DEFAULT: u64 = 10 * 1024 * 1024 * 1024;

/// Left free on the file system, for the logs' own outcomes and for everything else that lives there.
pub const SPOOL_FREE_DEFAULT: u64 = 512 * 1024 * 1024;
