//! MTA-STS: what domains say of TLS with their hosts by a policy on the web (RFC 8461).
//!
//! In: the TXT record of a domain, the text of its policy when that was fetched, host names. Out: whether a policy has to be fetched,
//! which one counts, and whether it names a host. It opens no connection and reads no clock.
//!
//! ```text
//!  _mta-sts.DOMAIN TXT ─ id ─► Shelf ─ same as lately ──────────────────────────► Policy
//!                                │ another one, or too old                          ▲
//!                                └─► fetch https://mta-sts.DOMAIN/.well-known/… ────┘ if that fails: the one before
//! ```
//!
//! - A policy counts until it is too old, whatever becomes of the record and the server meanwhile: who can forge answers of the DNS
//!   cannot undo it (§5.1). So does a restart: what counts is kept ([`Shelf::to_bytes`]).
//! - What cannot be understood is no policy. A fetch that failed is not tried again for a while (§3.3).

mod kept;
mod policy;
mod shelf;

pub use policy::{FetchFailure, FetchFault, Mode, NoPolicy, Policy, record_id};
pub use shelf::{Known, Shelf, Standing};
