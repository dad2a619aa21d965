//! Worlds that tests look into.

use super::{Phase, World};
use crate::env::Instant;
use crate::event::{Attempt, Event};
use crate::sim::Outcome;
use crate::sim::proof::{Demand, Shown};
use crate::tls::Pinned;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// What a world has seen that no outcome says.
#[derive(Default)]
pub(in crate::sim) struct Watched {
    /// What each box of a pair said of its links.
    pub troubles: [BTreeSet<String>; 2],
    /// Messages that were accepted, and deliveries made, under TLS.
    pub under_tls: [u64; 2],
    /// Messages that were signed, that waited for a key, and that went out unsigned.
    pub signatures: [u64; 3],
    /// Handshakes that were meant to go well, and others.
    pub handshakes: [u64; 2],
    /// Deliveries, by what was demanded and what the next hop had shown.
    pub proved: BTreeMap<(Demand, Shown), u64>,
    /// Times that mail was put off since a next hop had not shown who it is.
    pub put_off: u64,
    /// Times that next hops heard REQUIRETLS, and that mail bounced for it.
    pub required: [u64; 2],
}

/// What is said then.
const UNPROVED: [&str; 4] = ["certificate", "the server offers no TLS", "TLSA", "MTA-STS"];

impl Watched {
    pub(super) fn note(&mut self, event: &Event) {
        match event {
            Event::Accepted { tls: Some(_), .. } => self.under_tls[0] += 1,
            Event::Delivered(Attempt { tls: Some(_), .. }) => self.under_tls[1] += 1,
            Event::Signed { .. } => self.signatures[0] += 1,
            Event::SigningDeferred { .. } => self.signatures[1] += 1,
            Event::Unsigned { .. } => self.signatures[2] += 1,
            Event::Deferred { attempt, .. } if UNPROVED.iter().any(|text| attempt.reply.contains(text)) => {
                self.put_off += 1;
            }
            Event::Bounced { attempt, .. } if attempt.reply.contains("does not support REQUIRETLS") => {
                self.required[1] += 1;
            }
            _ => {}
        }
    }
}

impl World {
    /// Lives, and gives what was seen of it.
    pub(in crate::sim) fn run_watched(mut self) -> (Outcome, Watched) {
        while self.phase != Phase::Over && self.ledger.violation().is_none() {
            self.step();
        }
        let mut watched = std::mem::take(&mut self.watched);
        watched.handshakes = self.secure.as_ref().map_or([0; 2], |secure| [secure.good, secure.bad]);
        if let Some(proof) = &mut self.ledger.proof {
            watched.proved = std::mem::take(&mut proof.deliveries);
            watched.required[0] = proof.required;
        }
        (self.outcome(), watched)
    }

    /// Encrypts the links of a pair, or of one of its boxes, as long as the world has not begun.
    pub(in crate::sim) fn encrypt(&mut self, tls: [Option<Pinned>; 2]) {
        for (node, tls) in self.nodes.iter_mut().zip(tls) {
            node.tls = tls.map(Arc::new);
        }
    }

    /// Lives for so long, and gives what each box said of its links meanwhile.
    pub(in crate::sim) fn links_after(mut self, duration: Duration) -> [BTreeSet<String>; 2] {
        while self.time.get().since(Instant::ZERO) < duration {
            self.step();
        }
        self.watched.troubles
    }
}
