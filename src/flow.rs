//! A flow: what a session sees of a TCP connection.
//!
//! In: connections, bytes, and the end of both. Out: bytes, and the wish to end. Two transports stand
//! behind this interface: [`crate::tcp`] over a port (the bypass path), and [`crate::kernel`] over the
//! operating system's sockets. Nothing above knows which, and nothing above names a type of theirs.
//!
//! Received bytes are read in place: [`Transport::received`] lends the front of the receive ring,
//! [`Transport::consume`] gives it back. What is not consumed stays, and closes the TCP window.

mod clients;

pub(crate) use clients::{Client, Clients};

use crate::env::Instant;
use std::net::{IpAddr, SocketAddr};
use std::ops::AddAssign;
use std::os::fd::BorrowedFd;
use std::time::Duration;

/// Names a flow for as long as it lives. The generation tells a dead flow from the next one in its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FlowId {
    /// The place in the transport's table; small and dense, so that sessions can be kept in a vector. That of a flow
    /// on a second port is not.
    pub index: u32,
    /// Raised each time the place is used again.
    pub generation: u32,
}

/// Why a flow ended without our asking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlowEnd {
    /// The peer answered our SYN with a reset.
    Refused,
    /// The peer reset an established connection.
    Reset,
    /// Nothing came back in time.
    TimedOut,
    /// ICMP or the neighbour table says that nobody is there.
    Unreachable,
}

/// Whom a frame is handed to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// This worker.
    Worker(u16),
    /// Every other worker: what it tells concerns them all.
    AllOthers,
    /// Nobody here: it is to leave by a queue of this worker.
    Carrier(u16),
}

/// What happened to flows since the last [`Transport::poll`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlowEvent {
    /// A client finished its handshake with a listener (its place in the list given at the start).
    Accepted { flow: FlowId, listener: usize, local: SocketAddr, remote: SocketAddr },
    /// A connection that we asked for is there.
    Connected { flow: FlowId },
    /// Bytes arrived, or the peer will send no more (see [`Received::finished`]). At most once a flow and poll.
    Readable { flow: FlowId },
    /// There is room to send again, after a [`Transport::send`] that took less than it was given.
    Writable { flow: FlowId },
    /// The flow is gone, its id dead, its unread bytes dropped. Comes instead of `Connected` where that failed, and in a poll
    /// after the one that told of its last bytes.
    Ended { flow: FlowId, end: FlowEnd },
}

/// The front of a receive ring.
#[derive(Clone, Copy, Debug, Default)]
pub struct Received<'a> {
    /// What can be read without a copy. Empty if nothing is there.
    pub bytes: &'a [u8],
    /// More bytes wait behind these: the ring wraps here, so that consuming these shows the others.
    pub more: bool,
    /// The ring cannot take more before some are consumed (whether or not these are all).
    pub full: bool,
    /// The peer has ended its direction: after `bytes` (and `more`) nothing follows.
    pub finished: bool,
}

/// Why no connection could be started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConnectError {
    /// The limit of connections is reached; try again when one has ended.
    #[error("the limit of connections is reached")]
    TableFull,
    /// All local ports towards this remote are in use.
    #[error("no free local port towards this host")]
    PortsExhausted,
    /// There is no route, or the source address is not ours.
    #[error("no route to this host from the source address")]
    NoRoute,
}

/// What a flow has met on its way, for the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct PathFacts {
    /// The smoothed round-trip time (RFC 6298 §2), microseconds; none: nothing was measured yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub round_trip_us: Option<u64>,
    /// Segments that we have sent again, since the connection began.
    pub retransmissions: u64,
}

/// Counts since the start, for `status`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct TransportCounters {
    /// Frames (or reads, on kernel sockets) taken in.
    pub frames_received: u64,
    /// Frames (or writes) given out.
    pub frames_sent: u64,
    /// Bytes of those taken in.
    pub bytes_received: u64,
    /// Bytes of those given out.
    pub bytes_sent: u64,
    /// Frames dropped as malformed, not ours, or for want of a buffer.
    pub frames_dropped: u64,
    /// Connections accepted.
    pub accepted: u64,
    /// Connections that we started.
    pub connected: u64,
    /// Connections refused because a budget was used up.
    pub refused: u64,
    /// Flows open now.
    pub open: u64,
}

impl AddAssign for TransportCounters {
    /// Takes its parts by name, so that a new count cannot be forgotten here.
    fn add_assign(&mut self, part: TransportCounters) {
        let TransportCounters {
            frames_received,
            frames_sent,
            bytes_received,
            bytes_sent,
            frames_dropped,
            accepted,
            connected,
            refused,
            open,
        } = part;
        self.frames_received += frames_received;
        self.frames_sent += frames_sent;
        self.bytes_received += bytes_received;
        self.bytes_sent += bytes_sent;
        self.frames_dropped += frames_dropped;
        self.accepted += accepted;
        self.connected += connected;
        self.refused += refused;
        self.open += open;
    }
}

/// Carries flows.
///
/// After [`close`](Transport::close) or [`abort`](Transport::abort) the id is dead for the caller and no event names
/// it any more; the transport finishes the connection by itself.
pub trait Transport {
    /// Takes in what has arrived (a bounded burst) and runs due timers; appends what happened to `events`.
    fn poll(&mut self, now: Instant, events: &mut Vec<FlowEvent>);

    /// Starts a connection; `Connected` or `Ended` follows.
    fn connect(&mut self, now: Instant, local: IpAddr, remote: SocketAddr) -> Result<FlowId, ConnectError>;

    /// Lends the front of the receive ring.
    fn received(&mut self, flow: FlowId) -> Received<'_>;

    /// Gives back the first `count` bytes of what [`received`](Transport::received) lent.
    fn consume(&mut self, flow: FlowId, count: usize);

    /// Takes as many of `bytes` as there is room for and says how many. A short count arms `Writable`.
    fn send(&mut self, flow: FlowId, bytes: &[u8]) -> usize;

    /// Whether the peer has acknowledged all that was taken. Where that cannot be told it counts as acknowledged.
    fn acknowledged(&mut self, _flow: FlowId) -> bool {
        true
    }

    /// What it has met on its way. `None` where that cannot be told, and of a flow that is gone.
    fn path(&mut self, _flow: FlowId) -> Option<PathFacts> {
        None
    }

    /// Ends our direction after all that was taken has gone out; received bytes are dropped from now on.
    fn close(&mut self, flow: FlowId);

    /// Resets the connection at once.
    fn abort(&mut self, flow: FlowId);

    /// Gives out all that is ready to go: once at the end of every breath.
    fn flush(&mut self, now: Instant);

    /// When [`poll`](Transport::poll) must be called even if nothing arrives. `None`: never.
    fn next_deadline(&self) -> Option<Instant>;

    /// Sleeps until something arrives, one of `wakeups` is readable, or `timeout` is over. May return early.
    fn wait(&mut self, timeout: Duration, wakeups: &[BorrowedFd<'_>]);

    /// Frames that another worker's queue should have got, or should send: given away once a breath, each with the place of its
    /// port, of which all workers have the same ones. Nothing by default.
    fn take_foreign(&mut self, _give: &mut dyn FnMut(Peer, u8, Box<[u8]>)) {}

    /// A frame of ours that another worker's queue on this port got. Dropped by default.
    fn inject(&mut self, _now: Instant, _port: u8, _frame: &[u8]) {}

    /// Sends a frame of a worker that has no queue on this port. Dropped by default.
    fn carry(&mut self, _port: u8, _frame: &[u8]) {}

    /// Accepts no new connections from now on; those that exist go on.
    fn stop_listening(&mut self);

    /// Answers for these own addresses from now on, and tells the neighbours so. From the start it answers for all. Nothing by
    /// default: the addresses are the kernel's.
    fn assume(&mut self, _now: Instant, _addresses: &[IpAddr]) {}

    /// Begins no more connections at these own addresses until they are assumed again: a SYN is not answered, so that the one
    /// that the client sends a second later finds who has the address then. What has begun goes on. Nothing by default.
    fn turn_away(&mut self, _addresses: &[IpAddr]) {}

    /// Whether clients of these own addresses are on their way to a session or from one: in a handshake, or without a word yet
    /// that all that was sent before the end has arrived. Costs a look at every flow. None are by default.
    fn has_passers(&self, _addresses: &[IpAddr]) -> bool {
        false
    }

    /// Answers for these own addresses no more, until they are assumed again or withdrawn: what comes for them is not taken, and
    /// what is to be sent from them waits. Their flows stay. Nothing by default.
    fn suspend(&mut self, _addresses: &[IpAddr]) {}

    /// Answers for these own addresses no more. Flows of theirs are gone without a word to their peers, and no event names
    /// them. Nothing by default.
    fn withdraw(&mut self, _addresses: &[IpAddr]) {}

    /// Tells a client that its connection to an own address is gone: one that it had with whoever had the address before.
    /// Harmless where the client knows, or has a new one. Nothing by default.
    fn reset_stale(&mut self, _now: Instant, _local: SocketAddr, _remote: SocketAddr) {}

    /// What was counted since the start.
    fn counters(&self) -> TransportCounters;
}
