//! What the appliance takes at most.

use crate::config::value::{Period, Size};
use crate::limits;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a client may ask of us. A limit that is reached answers 421 or 452, or refuses the connection; it never grows.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// The largest message (RFC 1870).
    #[schemars(extend("x-minimum" = "64KB", "x-maximum" = "2GB"))]
    pub message_size: Size,
    /// Recipients of one message (RFC 5321 §4.5.3.1.8).
    #[schemars(range(min = 100, max = 50_000))]
    pub recipients: usize,
    /// Received headers after which a message is taken to be in a loop (RFC 5321 §6.3).
    #[schemars(range(min = 10, max = 1000))]
    pub hops: usize,
    /// Bad commands after which a session is ended.
    #[schemars(range(min = 1, max = 1000))]
    pub errors: u32,
    /// Messages of one session.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub transactions: u32,
    /// Clients' connections at the same time, of all workers together.
    #[schemars(range(min = 1, max = 4_000_000))]
    pub connections: usize,
    /// The same for one client: an IPv4 address, or an IPv6 network of 64 bits.
    #[schemars(range(min = 1, max = 4_000_000))]
    pub connections_per_client: usize,
    /// Connections that have not finished their handshake, of all workers together.
    #[schemars(range(min = 16, max = 1_000_000))]
    pub half_open: usize,
    /// Memory for what one connection has received and we have not read.
    #[schemars(extend("x-minimum" = "4KiB", "x-maximum" = "16MiB"))]
    pub receive_buffer: Size,
    /// Memory for what we have sent on one connection and the other side has not acknowledged.
    #[schemars(extend("x-minimum" = "4KiB", "x-maximum" = "16MiB"))]
    pub send_buffer: Size,
    /// Memory for both of all connections together; links of a pair that have a [[port]] of their own have 64 MiB besides. A connection uses some only while it has something in it; when three
    /// quarters are in use, clients are offered smaller windows. Not for kernel sockets, which have their own.
    #[schemars(extend("x-minimum" = "16MiB", "x-maximum" = "1TiB"))]
    pub buffer_memory: Size,
    /// Memory for what is kept of queued messages, of all workers together: up to 300 bytes for each message of one
    /// recipient. Beyond it mail is refused with 452 4.3.1.
    #[schemars(extend("x-minimum" = "16MiB", "x-maximum" = "1TiB"))]
    pub queue_memory: Size,
    /// How long we wait for a client's next command (RFC 5321 §4.5.3.2.7).
    #[schemars(extend("x-minimum" = "5s", "x-maximum" = "1h"))]
    pub command_timeout: Period,
    /// How long we wait for the next piece of a message (RFC 5321 §4.5.3.2.5).
    #[schemars(extend("x-minimum" = "5s", "x-maximum" = "1h"))]
    pub data_timeout: Period,
    /// The least that a client must send of a message, a second, after its first minute: those that trickle are cut off.
    #[schemars(extend("x-minimum" = "0B", "x-maximum" = "1MB"))]
    pub content_rate: Size,
    /// How long sessions may go on when the appliance is asked to stop.
    #[schemars(extend("x-minimum" = "0s", "x-maximum" = "10m"))]
    pub shutdown_timeout: Period,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            message_size: Size(limits::MESSAGE_SIZE_DEFAULT),
            recipients: limits::RECIPIENTS_DEFAULT,
            hops: limits::HOPS_DEFAULT,
            errors: limits::SESSION_ERRORS_DEFAULT,
            transactions: limits::TRANSACTIONS_DEFAULT,
            connections: limits::CONNECTIONS_DEFAULT,
            connections_per_client: limits::CONNECTIONS_PER_CLIENT_DEFAULT,
            half_open: limits::HALF_OPEN_DEFAULT,
            receive_buffer: Size(limits::RECEIVE_BUFFER_DEFAULT),
            send_buffer: Size(limits::SEND_BUFFER_DEFAULT),
            buffer_memory: Size(limits::BUFFER_MEMORY_DEFAULT),
            queue_memory: Size(limits::QUEUE_MEMORY_DEFAULT),
            command_timeout: Period(limits::SERVER_COMMAND_TIMEOUT),
            data_timeout: Period(limits::SERVER_DATA_TIMEOUT),
            content_rate: Size(limits::CONTENT_RATE_DEFAULT),
            shutdown_timeout: Period(limits::SHUTDOWN_TIMEOUT_DEFAULT),
        }
    }
}
