//! TCP over a [`Port`](crate::port::Port): flows made of frames.
//!
//! In: Ethernet frames of a NIC queue. Out: [`FlowEvent`](crate::flow::FlowEvent)s, bytes in place, and frames to send.
//! It never reads a clock, never draws from the system's entropy, and never shows a type of its own to anyone above.
//!
//! ```text
//! frame ─► segment (what is it?) ─► table ─► connection (RFC 9293) ─► settle ─► events
//!                │                    └─ none: listen, SYN cookies, TIME-WAIT, another worker's, reset
//!                ├─ ICMP errors ─► the flow that they quote
//!                └─ ARP, ND ─► neighbours, and with echo requests: smoltcp's interface, which answers
//! ```
//!
//! A flow is found by an exact lookup of its addresses and ports; only flows that are dirty (something arrived, something
//! was asked for) or due (the wheel) are looked at. The cost of a frame does not depend on how many flows there are.
//!
//! The connection itself is ours ([`connection`]); smoltcp has the wire formats of ARP, ND, ICMP and multicast, and answers
//! them. Its own TCP is made for small devices: every frame scans all sockets, its least timeout is a second, its sender
//! ignores SACK, and at a loss of 1 % it is seven times slower than Linux.

mod budget;
pub mod claim;
mod connection;
mod cookie;
mod core;
mod device;
mod frame;
mod gather;
mod hand_over;
mod isn;
mod listen;
mod neighbour;
mod outbound;
mod path;
mod scratch;
mod segment;
mod stack;
mod stacks;
mod table;
#[cfg(test)]
mod tests;
mod time_wait;
mod tuple;
pub mod wheel;

pub(crate) use frame::syn_packet;
pub use hand_over::ImportError;
pub use stack::Stack;
pub use stacks::Stacks;

use std::net::{IpAddr, SocketAddr};

/// An address of the appliance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OwnAddress {
    /// The address.
    pub ip: IpAddr,
    /// Length of the on-link prefix, bits.
    pub prefix: u8,
    /// Where packets to other networks go. The first gateway of a family serves all addresses of that family.
    pub gateway: Option<IpAddr>,
}

/// A listener with a port for each log: a connection to the port of a log comes to the worker that has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChosenListener {
    /// One of our addresses.
    pub address: IpAddr,
    /// The first port. The one `n` behind it belongs to worker n % workers.
    pub port: u16,
    /// How many there are.
    pub ports: u16,
}

impl ChosenListener {
    /// How many ports behind the first one this is, if it is one of them.
    fn place(&self, address: IpAddr, port: u16) -> Option<u16> {
        port.checked_sub(self.port).filter(|place| address == self.address && *place < self.ports)
    }
}

/// What the stack is to do.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Our addresses, at most [`ADDRESSES_MAX`](crate::limits::ADDRESSES_MAX); more are not used.
    pub addresses: Vec<OwnAddress>,
    /// Where to listen; `FlowEvent::Accepted` names the place in this list. An unspecified address means all of its family.
    pub listeners: Vec<SocketAddr>,
    /// Where whoever connects chooses the worker, besides `listeners`: `FlowEvent::Accepted` names it as the place behind them
    /// and behind those of the stacks before this one.
    pub chosen: Option<ChosenListener>,
    /// Flows of both directions, those included that are closed and not yet gone.
    pub connections_max: usize,
    /// Accepted flows of one client: an IPv4 address, or an IPv6 network of 64 bits, since a host has all of it.
    pub connections_per_client_max: usize,
    /// Handshakes under way.
    pub half_open_max: usize,
    /// Received bytes that a flow may hold unconsumed.
    pub receive_buffer: usize,
    /// Sent and unacknowledged bytes of a flow.
    pub send_buffer: usize,
    /// Bytes of all flows together that were received and not read, or sent and not acknowledged.
    pub buffer_memory: usize,
    /// This worker's number.
    pub worker: u16,
    /// How many workers share the addresses: local port p belongs to worker p % workers.
    pub workers: u16,
    /// How many of them have queues: worker w beyond is the guest of worker w % queues.
    pub queues: u16,
    /// The key of initial sequence numbers. Workers and the pair share it.
    pub isn_key: [u8; 16],
    /// For everything else that must not be guessed: table hashes, ports, rate limits.
    pub seed: u64,
}
