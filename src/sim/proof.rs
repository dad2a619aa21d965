//! Who has to show who they are: what the appliance demands of TLS with the next hops of a domain, what those show, and what the DNS and
//! the web say of it.
//!
//! In: what goes wrong with certificates, TLSA records and policies for a while, what boxes were told, what next hops showed in the
//! session in which they took a message. Out: replies to the boxes, and whether the message might go there. It judges by what a box
//! was told alone: what it was told lately may have been superseded since, and the message be under way already; and of what no box
//! was told nobody could know.

use super::fault::Fault;
use super::mail::DOMAINS;
use super::plan::{HOME, HOPS, LMTP, Plan, pick, seconds};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::collections::BTreeMap;

/// What is drawn here comes from a stream of its own.
const PROOF_STREAM: u64 = 0xe_da4e << 32;

/// All that may go wrong with it, by name.
#[cfg(test)]
pub(super) const FAULTS: [&str; 3] = ["certificate of another key", "certificate of another name", "no STARTTLS"];

/// What a next hop shows of itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Shown {
    /// A certificate that is trusted, for its name and its address.
    Good,
    /// One that is trusted, for another name. The key is its own.
    OtherName,
    /// One of its own signature, and of another key.
    OtherKey,
    /// It offers no TLS.
    #[default]
    Nothing,
}

impl Shown {
    /// The number of the key of a next hop that shows this.
    pub(super) fn key(self, place: usize) -> Option<u8> {
        match self {
            Shown::Good | Shown::OtherName => Some(10 + place as u8),
            Shown::OtherKey => Some(30 + place as u8),
            Shown::Nothing => None,
        }
    }
}

/// What the route of a domain demands of TLS with its next hops.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Demand {
    /// It is used where it is offered.
    #[default]
    Open,
    /// `tls = "verify"`.
    Verify,
}

impl Demand {
    /// As its route has it, which needs nothing for the first.
    pub(super) fn tls(self) -> Option<&'static str> {
        match self {
            Demand::Open => None,
            Demand::Verify => Some("verify"),
        }
    }
}

/// What goes wrong with next hops that have to show who they are.
pub(super) fn add_proof(plan: &mut Plan, seed: u64) {
    let random = &mut StdRng::seed_from_u64(seed ^ PROOF_STREAM);
    for domain in (0..DOMAINS).filter(|domain| *domain != LMTP) {
        plan.demands[domain] = *pick(random, &[Demand::Open, Demand::Verify]);
        if plan.demands[domain] == Demand::Open {
            continue;
        }
        for _ in 0..random.random_range(0..=3) {
            let at = plan.load_duration.mul_f64(random.random::<f64>());
            let most = if plan.pair { 60 } else { 900 };
            let duration = seconds(random, 1..=most);
            let hop = if domain == 1 && random.random_bool(0.5) { 5 } else { domain };
            let shown = *pick(random, &[Shown::OtherName, Shown::OtherKey, Shown::Nothing]);
            plan.faults.push((at, Fault::Shows(hop, shown, duration)));
        }
    }
}

/// What next hops show, and what is known of them.
pub(super) struct Proof {
    demands: [Demand; DOMAINS],
    /// What each next hop shows if nothing is wrong with it, and what it shows now.
    usual: [Shown; HOPS],
    shown: [Shown; HOPS],
    /// How many times next hops took a message, by what was demanded of them and what they had shown.
    pub deliveries: BTreeMap<(Demand, Shown), u64>,
}

impl Proof {
    pub(super) fn new(plan: &Plan) -> Proof {
        // Of those that nobody wants to know some offer nothing, and others show what nobody trusts.
        let usual = std::array::from_fn(|place| match place {
            LMTP | HOME => Shown::Nothing,
            _ if plan.demands[domain_of_hop(place)] == Demand::Verify => Shown::Good,
            _ if place.is_multiple_of(3) => Shown::Nothing,
            _ => Shown::OtherKey,
        });
        Proof { demands: plan.demands, usual, shown: usual, deliveries: BTreeMap::new() }
    }

    /// What a next hop shows now.
    pub(super) fn shown(&self, place: usize) -> Shown {
        self.shown[place]
    }

    /// A next hop shows this from now on.
    pub(super) fn show(&mut self, place: usize, shown: Shown) {
        self.shown[place] = shown;
    }

    /// It shows what it usually does.
    pub(super) fn mend(&mut self, place: usize) {
        self.shown[place] = self.usual[place];
    }

    /// All do.
    pub(super) fn heal(&mut self) {
        self.shown = self.usual;
    }

    /// What the route of a domain demands.
    pub(super) fn demand(&self, domain: &str) -> Demand {
        domain_number(domain).map_or(Demand::Open, |domain| self.demands[domain])
    }

    /// Whether mail for a domain may go to a next hop that has shown this in the session.
    pub(super) fn allows(&self, domain: &str, shown: Shown) -> bool {
        match self.demand(domain) {
            Demand::Open => true,
            Demand::Verify => shown == Shown::Good,
        }
    }
}

/// The domain whose mail a next hop takes, if nothing is wrong.
fn domain_of_hop(place: usize) -> usize {
    if place == 5 { 1 } else { place }
}

/// The number of `d0.test` and so on.
pub(super) fn domain_number(name: &str) -> Option<usize> {
    let number: usize = name.strip_prefix('d')?.strip_suffix(".test")?.parse().ok()?;
    (number < DOMAINS).then_some(number)
}
