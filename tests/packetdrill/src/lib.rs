//! Rohrpost's TCP as packetdrill sees a system: sockets above, IP packets below, and a clock that moves only when it is told.
//!
//! ```text
//! packetdrill ─ --so_filename ─► abi ─┐
//! a script ─────► script ─────────────┴─► sockets (fd ─► flow) ─► world (stack, wire, clock)
//! ```
//!
//! In: socket calls, packets, the passing of time. Out: their results, and packets with the time at which they left.
//! Nothing here blocks or looks at a real clock: a script of minutes takes a moment, and the same script gives the same
//! packets.

mod abi;
pub mod script;
pub mod sockets;
pub mod world;
