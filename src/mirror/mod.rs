//! The pair: two boxes, two identities, and how each identity has one owner and two copies of its logs.
//!
//! [`register`] holds what both boxes agree on about an identity, and what a box remembers of it; [`arbiter`] decides,
//! from what it is told, who works for an identity and when. Neither opens a file or a socket, and neither asks a clock.

pub mod arbiter;
pub mod register;
