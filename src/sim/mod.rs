//! Whole appliances in one thread, in virtual time, from one seed.
//!
//! In: a seed. Out: an [`Outcome`]: what was promised, what came of it, and the first broken invariant, if there is one,
//! with the story of how it came to that. The same seed and the same program give the same run, byte for byte.
//!
//! ```text
//!  clients ──► network ──► appliance (workers, logs: as in production) ──► network ──► next hops
//!     │           ▲             │ disks, clocks, operators                                  │
//!     │           │ faults      ▼                                                           │
//!     └─────────────────────► ledger ◄──────────────────────────────────────────────────────┘
//! ```
//!
//! The appliance is the one that runs: `appliance` puts the same [`Worker`](crate::worker::Worker)s together, on a
//! simulated network card, disk and clock. Clients and next hops are scripts of their own, which share nothing with it but
//! the TCP below. A [plan](plan) says what goes wrong: cables, cuts, disks, clocks, pauses, crashes in the middle of a
//! breath, next hops that defer, refuse, stall or die, clients that abort, dawdle, babble or smuggle, attackers that flood
//! and forge. Then everything is put right, and the queue must become empty.
//!
//! In a part of the worlds mail goes by MX, and the DNS is as unreliable as the rest: resolvers are late, fail or say nothing, a domain
//! is gone for a while, takes no mail, or has other hosts than before.
//!
//! In some worlds ([`Worlds::tls`]) clients and next hops speak TLS, some of which break off in the handshake or end without a word; their
//! cryptography replays as all else does. Of the mail there some must go to nobody but next hops that show who they are: as the operator
//! says so, the DNS (DANE), the policy of a domain (MTA-STS) or the message itself (REQUIRETLS). Next hops show other certificates for a
//! while, or none; TLSA records and policies fail, are of another key or host, or mean nothing.
//!
//! In some ([`Worlds::dkim`]) all mail is signed, by a crew that takes its time and keys that are missing for a while.
//!
//! A world may have a pair ([`run_pair`]): two such boxes with an identity each, links between them, and a store for the
//! registers that is late, deaf or cut off at times. Then boxes die, stop and freeze, and the partner takes over. Some pairs have
//! no store: an operator switches a box off for certain, and tells the other one to take over. In some a box lingers at a
//! stage of a takeover that is over in no time elsewhere, and meets there what seldom comes at that moment.
//!
//! # What is checked
//!
//! - Every message that was answered with 250 is delivered, bounced to its sender, or was deleted by an operator.
//! - What is delivered is what was sent, byte for byte, behind one Received header, and where mail is signed behind signatures that
//!   receivers verify, and that are the same at every attempt.
//! - It is delivered again only where a fault kept the appliance from knowing (no command followed the 250, or the process
//!   died or its storage failed soon after).
//! - Nothing is delivered that was refused, to nobody who is no recipient, and nothing bounces that nobody refused and
//!   that is not too old, unless the DNS said meanwhile that its domain is not there or takes no mail, or its sender demanded of all
//!   next hops what they need not do.
//! - Replies are legal for the command they answer; commands to next hops are well-formed; no bare CR or LF leaves.
//! - Retries come when they were announced and not before, after delays as configured; attempts count by one; no message
//!   overtakes one that waits much longer and was never tried; no attempt beyond its age leaves a message queued.
//! - No next hop takes a message in a session in which it had not shown who it is, where that was demanded by all that the box was
//!   told lately. What demands nothing, a policy in testing or records that are not secure, holds back nothing.
//! - Nothing is tried that an operator has suspended, if it had not begun before.
//! - Whoever begins to lead in an epoch has all that was acknowledged in those before and is not over.
//! - A healed world empties its queue, acknowledges mail, and stops in order.
//! - No table exceeds its limit ([`Gauge`](crate::limits::Gauge)), and no frame is lost to its pool.
//! - All that was planned went wrong, and some share of the mail was acknowledged all the same.
//! - A pair is whole again in the end: both identities mirrored, each with an owner and a replica that follows; and both boxes have
//!   the same orders.
//! - An epoch has one leader. Nobody believes a register that was tampered with, takes mirrored mail while the boxes reach
//!   neither each other nor the store, or speaks from an address that is the partner's.
//! - Where there are enough pairs, every kind of fault was met, and every stage of an arbiter with all that its model meets in it.
//!
//! In some worlds the medium itself forgets or alters what it had made durable. One box alone cannot undo that; there the
//! promise is that a loss is reported ([`Promise::Detected`]).

mod attacker;
mod client;
mod clock;
mod fault;
mod ledger;
mod mail;
mod manual;
mod names;
mod node;
mod peer;
mod plan;
mod proof;
mod receiver;
mod secure;
mod setup;
mod signing;
mod store;
#[cfg(test)]
mod tests;
mod trace;
mod world;

pub use ledger::{Promise, Sums};

use crate::mirror::arbiter::{Cause, Stage};
use std::collections::{BTreeMap, BTreeSet};
use std::panic::catch_unwind;
use std::time::Duration;

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// What it was made from.
    pub seed: u64,
    /// Virtual time that passed.
    pub simulated: Duration,
    /// Turns of the wheel.
    pub steps: u64,
    /// A checksum over everything that happened.
    pub digest: u32,
    /// Counts.
    pub sums: Sums,
    /// Faults that were injected, by kind: all that the plan had.
    pub injected: BTreeMap<&'static str, u64>,
    /// In which stages an arbiter of a pair met what.
    pub met: BTreeSet<(Stage, Cause)>,
    /// What is broken, if something is.
    pub failure: Option<Failure>,
}

/// A broken invariant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Which.
    pub what: String,
    /// The last events that led to it.
    pub trace: Vec<String>,
}

/// Lives through the world of a seed. With `echo`, tells its story on standard error as it goes.
///
/// A panic anywhere in it is a broken invariant like others, though without a story: `echo` tells that.
pub fn run(seed: u64, echo: bool) -> Outcome {
    live(seed, Kind::Single, echo)
}

/// So many worlds with a pair meet all that there is.
pub const EVERYTHING_IS_MET_AFTER: u64 = 5_000;

/// What worlds with a pair have not met: faults by name, and stages of an arbiter with what its model meets in them.
pub fn unmet(injected: &BTreeMap<&'static str, u64>, met: &BTreeSet<(Stage, Cause)>) -> Vec<String> {
    let met: BTreeSet<String> = met.iter().map(|(stage, cause)| format!("{stage:?} {cause:?}")).collect();
    let faults = fault::FAULTS_OF_PAIRS.into_iter().filter(|name| !injected.contains_key(name)).map(str::to_owned);
    let events = fault::reached().map(|(stage, cause)| format!("{stage} {cause}"));
    faults.chain(events.filter(|event| !met.contains(event) && !fault::BEYOND.contains(&event.as_str()))).collect()
}

/// Lives through the world of a seed in which the appliance has a partner.
pub fn run_pair(seed: u64, echo: bool) -> Outcome {
    live(seed, Kind::Pair, echo)
}

/// The same, and whatever the seed says, the pair has the manual arbiter.
pub fn run_pair_by_hand(seed: u64, echo: bool) -> Outcome {
    live(seed, Kind::PairByHand, echo)
}

/// Lives through the world of a seed, among these.
pub fn run_in(worlds: Worlds, seed: u64, echo: bool) -> Outcome {
    let lived = catch_unwind(|| world::World::new(seed, worlds, echo).run());
    lived.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
        let what = format!("panic: {}", text.unwrap_or("without a word"));
        Outcome {
            seed,
            simulated: Duration::ZERO,
            steps: 0,
            digest: 0,
            sums: Sums::default(),
            injected: BTreeMap::new(),
            met: BTreeSet::new(),
            failure: Some(Failure { what, trace: Vec::new() }),
        }
    })
}

/// Worlds: together with a seed, one of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Worlds {
    /// Who is in them.
    pub kind: Kind,
    /// A share of clients and next hops speaks TLS, by STARTTLS.
    pub tls: bool,
    /// All mail is signed.
    pub dkim: bool,
}

/// Who is in a world.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kind {
    /// One appliance.
    #[default]
    Single,
    /// Two that are a pair, with the arbiter that the seed says.
    Pair,
    /// The same, whatever the seed says with the manual one.
    PairByHand,
}

fn live(seed: u64, kind: Kind, echo: bool) -> Outcome {
    run_in(Worlds { kind, ..Worlds::default() }, seed, echo)
}
