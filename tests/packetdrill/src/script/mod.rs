//! packetdrill's scripts, read and played by ourselves.
//!
//! packetdrill is in no distribution that we test on, so that the scripts must not depend on it to be of use: this reader
//! plays the same files over the same [`sockets`](crate::sockets), and the test runs both where there are both. It knows
//! the part of the language that the scripts use, one connection a script, and refuses everything else by its line.
//!
//! ```text
//! --so_flags=cookies                                     what the stack is like
//! +.1 < S 0:0(0) win 65535 <mss 1460,nop,nop,sackOK>     a packet for the stack
//! +0  > S. 0:0(0) ack 1 <...>                            one that it must send, then
//! +0  > [ect0] P. 1:11(10) ack 1                         with this in the ECN field of its header
//! +0  < icmp unreachable frag_needed mtu 1300 [1:1461(1460)]
//! +0  read(4, ..., 100) = -1 EAGAIN (…)                  a call, and what it must say
//! ```
//!
//! Times are absolute, or with `+` after the event before. Sequence numbers of the stack count from its SYN; a timestamp
//! of the stack stands for whatever it sent in that place, and an echo of it for the same.

mod call;
mod packet;
mod player;
mod reader;

pub use player::play;
pub use reader::Script;

/// What is wrong, and in which line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// From one.
    pub line: usize,
    /// As a sentence, over several lines perhaps.
    pub reason: String,
}
