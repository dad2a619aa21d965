//! Signing mail on its way out (DKIM: RFC 6376, 8301, 8463).
//!
//! In: keys with the domains that they sign for; the content of messages. Out: header fields that stand before the content.
//! What it never does: hold up a 250, run on a worker, write a file, ask the DNS, or alter what it signs.
//!
//! ```text
//!  worker ─Task (content, keys, time)─► ring ─► crew: threads of their own
//!  worker ◄─Done (header, or why none)─ ring ◄───┘
//! ```
//!
//! # Where the signature goes
//!
//! It has to precede the content, which is in the spool before anybody can sign it. So a message that came over a listener for
//! submission or relaying is marked in its record when there are keys, acknowledged as ever, and kept out of the delivery queue.
//! Its worker reads the content as a delivery would, from memory or disk, and hands it to the crew. What comes back is written to
//! the log in front of the content ([`Log::sign`](crate::spool::Log::sign)); when that is durable, on both boxes of a pair, the
//! message is due. So it needs no place of its own in deliveries: sizes, BDAT chunks, copies, replicas and checksums count the
//! signature as content, and every attempt sends the same bytes. After a crash or a takeover what has no signature is signed
//! again, by whoever leads the log then.
//!
//! # Which keys sign
//!
//! Those of the domain of the author, which is what receivers compare with (RFC 7489 §3.1): of the From field, never of
//! the envelope. The keys of the very domain come first, then those for the subdomains of the nearest domain above. All
//! of them sign that are valid at the moment: two algorithms side by side (RFC 8463 §3), or an old selector and its
//! successor. A domain that is named nowhere is not ours to sign for.
//!
//! # What cannot be signed
//!
//! - No key of the domain is valid now: the message waits, and engineers are told, as a message that would be refused for want of a
//!   signature is worse than a late one. The configuration may want it otherwise, and a message that has reached the age at which
//!   it would be given up goes out in any case.
//! - The message itself makes it impossible (no author, two From fields, a header without an end, BINARYMIME): waiting would not
//!   help. It goes out as it is, and the log says so.
//!
//! # Bounds
//!
//! A signature needs the whole content, which the crew is given at once: a worker holds no more than
//! [`SIGNING_MEMORY`](crate::limits::SIGNING_MEMORY) of it, or one message if that is larger, and has
//! [`SIGNING_IN_HAND_MAX`](crate::limits::SIGNING_IN_HAND_MAX) messages in hand.

mod crew;
mod key;
mod keyring;
mod sign;
#[cfg(test)]
mod tests;
pub mod verify;

pub use crew::{Crew, Done, SigningEnd, Task, connect};
pub use key::{Canonical, Key, KeyError, KeySettings, SIGNED_DEFAULT};
pub use keyring::{Keyring, KeyringError};
pub use sign::{Signed, Unsignable, sign};
