//! The pair: two boxes that keep each other's queue.
//!
//! In: batches of the owner's logs, what links say, what the arbiter decided. Out: batches for the partner, and where its copy is
//! durable. It never decides who owns an identity (`arbiter` does), and never looks into a message.
//!
//! [`register`] holds what both boxes agree on about an identity, and what a box remembers of it; [`arbiter`] decides, from what
//! it is told, who works for an identity and when; [`standing`] is what stands for the store where there is none; [`link`] carries
//! the batches. None of them opens a file or a socket, or asks a
//! clock.

pub mod arbiter;
pub mod link;
pub mod register;
pub mod standing;

use register::Node;

/// Logs of one identity at most: workers that there are, and those that there were before.
pub const LOGS_PER_IDENTITY: u16 = 64;

/// The identity that a log belongs to. On a box without a partner all are those of `a`.
pub fn identity_of_log(number: u16) -> Node {
    if number < LOGS_PER_IDENTITY { Node::A } else { Node::B }
}

/// The number of the first log of an identity.
pub fn first_log_of(identity: Node) -> u16 {
    match identity {
        Node::A => 0,
        Node::B => LOGS_PER_IDENTITY,
    }
}
