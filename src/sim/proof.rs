//! Who has to show who they are: what the appliance demands of TLS with the next hops of a domain, what those show, and what the DNS and
//! the web say of it.
//!
//! In: what goes wrong with certificates, TLSA records and policies for a while, what boxes were told, what next hops showed in the
//! session in which they took a message. Out: replies to the boxes, and whether the message might go there. It judges by what a box
//! was told alone: what it was told lately may have been superseded since, and the message be under way already; and of what no box
//! was told nobody could know.

use super::fault::{Fault, Say};
use super::mail::DOMAINS;
use super::plan::{HOME, HOPS, LMTP, Plan, pick, seconds};
use super::secure::digest_of_key;
use crate::dns::{Data, Kind, Question, Record, Reply, Said};
use crate::env::Instant;
use crate::sts::{FetchFailure, Mode, Policy, record_id};
use crate::tls::Tlsa;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// What is drawn here comes from a stream of its own.
const PROOF_STREAM: u64 = 0xe_da4e << 32;

/// Mail may be under way for so long by what its box had been told before it was told otherwise.
const UNDER_WAY_MAX: Duration = Duration::from_secs(900);

/// For how long policies count: longer than any world lasts.
const POLICY_AGE: Duration = Duration::from_secs(10 * 86_400);

/// All that may go wrong here, by name.
#[cfg(test)]
pub(super) const FAULTS: [&str; 10] = [
    "TLSA not secure",
    "TLSA of another key",
    "certificate of another key",
    "certificate of another name",
    "failing TLSA",
    "no STARTTLS",
    "no policy record",
    "policy not fetched",
    "policy of another host",
    "policy set to testing",
];

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

/// What is demanded of TLS with the next hops of a domain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Demand {
    /// TLS is used where it is offered.
    #[default]
    Open,
    /// The operator wants a certificate that is trusted, for the name.
    Verify,
    /// The DNS knows the keys. No name counts.
    Dane,
    /// It names keys that nobody has, in answers that are not secure: they mean nothing.
    Insecure,
    /// The policy of the domain is enforced (MTA-STS).
    Enforce,
    /// It is in testing: that it names another host means nothing.
    Testing,
}

impl Demand {
    /// As its route has it, which needs nothing for the first.
    pub(super) fn tls(self) -> Option<&'static str> {
        match self {
            Demand::Open => None,
            Demand::Verify => Some("verify"),
            Demand::Dane => Some("dane"),
            Demand::Insecure | Demand::Enforce | Demand::Testing => Some("mta-sts"),
        }
    }

    /// What the next hops of its domain show if nothing is wrong. What means nothing is never as it should be.
    fn usual(self, place: usize) -> Shown {
        match self {
            Demand::Open if place.is_multiple_of(3) => Shown::Nothing,
            Demand::Open | Demand::Insecure | Demand::Testing => Shown::OtherKey,
            Demand::Verify | Demand::Enforce => Shown::Good,
            Demand::Dane => Shown::OtherName,
        }
    }
}

/// Something that is wrong for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ProofTrouble {
    /// A next hop shows this.
    Shows(usize, Shown),
    /// The TLSA records of a next hop are not as they should be.
    Tlsa(usize, TlsaTrouble),
    /// The policy of a domain is not.
    Policy(usize, PolicyTrouble),
}

/// What is wrong with TLSA records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TlsaTrouble {
    /// SERVFAIL.
    Fails,
    /// They are of the key that the next hop has when it shows another one.
    OtherKey,
    /// Nobody vouches for them.
    Insecure,
}

/// What is wrong with a policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PolicyTrouble {
    /// It cannot be fetched.
    Unfetched,
    /// There is no record that says that there is one.
    NoRecord,
    /// It names another host.
    OtherHost,
    /// It is in testing.
    Testing,
}

impl ProofTrouble {
    /// For the sums.
    pub(super) fn name(&self) -> &'static str {
        match self {
            ProofTrouble::Shows(_, Shown::Good) => "good certificate",
            ProofTrouble::Shows(_, Shown::OtherName) => "certificate of another name",
            ProofTrouble::Shows(_, Shown::OtherKey) => "certificate of another key",
            ProofTrouble::Shows(_, Shown::Nothing) => "no STARTTLS",
            ProofTrouble::Tlsa(_, TlsaTrouble::Fails) => "failing TLSA",
            ProofTrouble::Tlsa(_, TlsaTrouble::OtherKey) => "TLSA of another key",
            ProofTrouble::Tlsa(_, TlsaTrouble::Insecure) => "TLSA not secure",
            ProofTrouble::Policy(_, PolicyTrouble::Unfetched) => "policy not fetched",
            ProofTrouble::Policy(_, PolicyTrouble::NoRecord) => "no policy record",
            ProofTrouble::Policy(_, PolicyTrouble::OtherHost) => "policy of another host",
            ProofTrouble::Policy(_, PolicyTrouble::Testing) => "policy set to testing",
        }
    }
}

/// Says what is demanded of next hops, and what goes wrong with their proof of who they are.
pub(super) fn add_proof(plan: &mut Plan, seed: u64) {
    let random = &mut StdRng::seed_from_u64(seed ^ PROOF_STREAM);
    plan.by_mx |= random.random_bool(0.5);
    let by_mx = plan.domains_by_mx();
    for domain in (0..DOMAINS).filter(|domain| *domain != LMTP) {
        let demands = [
            Demand::Open,
            Demand::Verify,
            Demand::Dane,
            Demand::Dane,
            Demand::Enforce,
            Demand::Enforce,
            Demand::Insecure,
            Demand::Testing,
        ];
        let demand = *pick(random, if by_mx.contains(&domain) { &demands } else { &demands[..2] });
        plan.demands[domain] = demand;
        if demand == Demand::Open {
            continue;
        }
        for _ in 0..random.random_range(0..=3) {
            let at = plan.load_duration.mul_f64(random.random::<f64>());
            let most = if plan.pair { 60 } else { 900 };
            let hop = if domain == 1 && random.random_bool(0.5) { 5 } else { domain };
            let shows = *pick(random, &[Shown::OtherName, Shown::OtherKey, Shown::Nothing]);
            let tlsa = *pick(random, &[TlsaTrouble::Fails, TlsaTrouble::OtherKey, TlsaTrouble::Insecure]);
            let policy = *pick(
                random,
                &[PolicyTrouble::Unfetched, PolicyTrouble::NoRecord, PolicyTrouble::OtherHost, PolicyTrouble::Testing],
            );
            let trouble = match demand {
                Demand::Dane if random.random_bool(0.5) => ProofTrouble::Tlsa(hop, tlsa),
                Demand::Enforce if random.random_bool(0.5) => ProofTrouble::Policy(domain, policy),
                _ => ProofTrouble::Shows(hop, shows),
            };
            let duration = seconds(random, 1..=most);
            plan.faults.push((at, Fault::Proof(trouble, duration)));
            if matches!(trouble, ProofTrouble::Policy(_, PolicyTrouble::NoRecord | PolicyTrouble::Unfetched)) {
                // Who keeps a policy from being found has a next hop of his own: what was known before counts (RFC 8461 §10.2).
                plan.faults.push((at, Fault::Proof(ProofTrouble::Shows(hop, shows), duration)));
            }
        }
    }
    plan.requiretls = random.random_bool(0.6).then(|| random.random_bool(0.6));
}

/// What next hops show, and what is known of them.
pub(super) struct Proof {
    demands: [Demand; DOMAINS],
    /// Mail may go as that of another domain does, of which the operator demands no less.
    reroutes: bool,
    /// All next hops offer REQUIRETLS under TLS.
    all_offer: bool,
    shown: [Shown; HOPS],
    tlsa: [Option<TlsaTrouble>; HOPS],
    policies: [Option<PolicyTrouble>; DOMAINS],
    /// How many policies each domain has had.
    versions: [u32; DOMAINS],
    /// What each process of a box was told, the last two of each.
    told: BTreeMap<(usize, u64), Told>,
    /// How many times next hops took a message, by what was demanded of them and what they had shown.
    pub deliveries: BTreeMap<(Demand, Shown), u64>,
    /// How many times they heard REQUIRETLS.
    pub required: u64,
}

impl Proof {
    pub(super) fn new(plan: &Plan) -> Proof {
        let reroutes = |fault: &Fault| matches!(fault, Fault::Order(Say::Reroute(_), ..));
        let mut proof = Proof {
            demands: plan.demands,
            reroutes: plan.faults.iter().any(|(_, fault)| reroutes(fault)),
            all_offer: plan.requiretls == Some(true),
            shown: [Shown::Nothing; HOPS],
            tlsa: [None; HOPS],
            policies: [None; DOMAINS],
            versions: [0; DOMAINS],
            told: BTreeMap::new(),
            deliveries: BTreeMap::new(),
            required: 0,
        };
        proof.heal();
        proof
    }

    /// What a next hop shows now.
    pub(super) fn shown(&self, place: usize) -> Shown {
        self.shown[place]
    }

    fn usual(&self, place: usize) -> Shown {
        if place == LMTP || place == HOME { Shown::Nothing } else { self.of_hop(place).usual(place) }
    }

    /// What is demanded of a next hop by the domain whose mail it takes if nothing is wrong.
    fn of_hop(&self, place: usize) -> Demand {
        let domain = if place == 5 { 1 } else { place };
        self.demands.get(domain).copied().unwrap_or_default()
    }

    /// Something is wrong from now on.
    pub(super) fn begin(&mut self, trouble: ProofTrouble) {
        match trouble {
            ProofTrouble::Shows(hop, shown) => self.shown[hop] = shown,
            ProofTrouble::Tlsa(hop, trouble) => self.tlsa[hop] = Some(trouble),
            ProofTrouble::Policy(domain, trouble) => {
                self.policies[domain] = Some(trouble);
                self.versions[domain] += 1;
            }
        }
    }

    /// It is right again.
    pub(super) fn end(&mut self, trouble: ProofTrouble) {
        match trouble {
            ProofTrouble::Shows(hop, _) => self.shown[hop] = self.usual(hop),
            ProofTrouble::Tlsa(hop, _) => self.tlsa[hop] = None,
            ProofTrouble::Policy(domain, _) => {
                self.policies[domain] = None;
                self.versions[domain] += 1;
            }
        }
    }

    /// All is.
    pub(super) fn heal(&mut self) {
        self.shown = std::array::from_fn(|place| self.usual(place));
        self.tlsa = [None; HOPS];
        self.policies = [None; DOMAINS];
        self.versions.iter_mut().for_each(|version| *version += 1);
    }

    /// What a resolver or the web says to a process of a box, which has it from now on. The DNS of these worlds is signed.
    pub(super) fn answer(&mut self, now: Instant, (place, life): (usize, u64), question: &Question, reply: &mut Reply) {
        reply.secure = !matches!(reply.said, Said::Failed(_));
        self.complete(question, reply);
        self.told.retain(|(other, before), _| *other != place || before + 1 >= life);
        let told = self.told.entry((place, life)).or_default();
        told.0.entry(question.clone()).or_default().push((now, reply.clone()));
    }

    fn complete(&self, question: &Question, reply: &mut Reply) {
        let name = &*question.name;
        let data = match question.kind {
            Kind::Mx => {
                let even = |domain: &usize| domain.is_multiple_of(2);
                reply.secure &= !domain_number(name).filter(even).is_some_and(|domain| self.is_insecure(domain));
                return;
            }
            Kind::Tlsa => {
                let Some(hop) = name.strip_prefix(TLSA_PREFIX).and_then(hop_number) else { return };
                let trouble = self.tlsa[hop];
                reply.secure &= self.of_hop(hop) != Demand::Insecure && trouble != Some(TlsaTrouble::Insecure);
                let shown = match (self.of_hop(hop), trouble) {
                    (Demand::Dane, Some(TlsaTrouble::Fails)) => return *reply = Reply::failed("server failure"),
                    (Demand::Dane, Some(TlsaTrouble::OtherKey)) => Shown::OtherKey,
                    // What the next hops of the latter show is never that.
                    (Demand::Dane | Demand::Insecure, _) => Shown::Good,
                    _ => return,
                };
                let data = digest_of_key(shown.key(hop).expect("one that has a key"));
                Data::Tlsa(Tlsa { usage: 3, selector: 1, matching: 1, data })
            }
            Kind::Txt => {
                let Some(domain) = name.strip_prefix("_mta-sts.").and_then(domain_number) else { return };
                if self.policies[domain] == Some(PolicyTrouble::NoRecord) || self.policy(domain).is_none() {
                    return;
                }
                Data::Text(format!("v=STSv1; id={};", self.versions[domain]).into_bytes().into())
            }
            Kind::Policy => {
                let policy = domain_number(name).and_then(|domain| self.policy(domain));
                let Some(policy) = policy.filter(|_| reply.said == Said::Nothing) else { return };
                Data::Policy(policy.map(Arc::new))
            }
            Kind::A | Kind::Aaaa | Kind::Cname => return,
        };
        reply.said = Said::Records(vec![Record { name: question.name.clone(), data }]);
    }

    /// Whether the keys that a domain names are not to be believed.
    fn is_insecure(&self, domain: usize) -> bool {
        self.demands[domain] == Demand::Insecure
    }

    /// The policy of a domain, if it has one.
    fn policy(&self, domain: usize) -> Option<Result<Policy, FetchFailure>> {
        let (demand, trouble) = (self.demands[domain], self.policies[domain]);
        let in_testing = match demand {
            Demand::Enforce => trouble == Some(PolicyTrouble::Testing),
            Demand::Testing => true,
            _ => return None,
        };
        if trouble == Some(PolicyTrouble::Unfetched) {
            return Some(Err("its server is down".into()));
        }
        let elsewhere = demand == Demand::Testing || trouble == Some(PolicyTrouble::OtherHost);
        let places = if domain == 1 { vec![1, 5] } else { vec![domain] };
        let hosts = places.into_iter().map(|place| host(place).into()).collect();
        let mx = if elsewhere { vec!["elsewhere.test".into()] } else { hosts };
        let mode = if in_testing { Mode::Testing } else { Mode::Enforce };
        Some(Ok(Policy { mode, mx, max_age: POLICY_AGE }))
    }

    /// What is demanded of the next hops of a domain.
    pub(super) fn demand(&self, domain: &str) -> Demand {
        domain_number(domain).map_or(Demand::Open, |domain| self.demands[domain])
    }

    /// Whether mail for a domain may go to a next hop that has shown this in the session.
    pub(super) fn allows(&self, now: Instant, domain: &str, hop: usize, shown: Shown) -> bool {
        let demand = self.demand(domain);
        match demand {
            Demand::Open => true,
            Demand::Verify => shown == Shown::Good,
            Demand::Dane | Demand::Insecure | Demand::Enforce | Demand::Testing => {
                let is_known = |told: &Told| told.allows(now, domain, hop, shown, demand != Demand::Dane);
                self.reroutes && shown == Shown::Good || self.told.values().any(is_known)
            }
        }
    }
}

/// Mail that demands it of all next hops (REQUIRETLS, RFC 8689).
impl Proof {
    /// Whether a next hop that has shown this in the session is who it should be, for anybody who wants to know.
    pub(super) fn is_proved(&self, now: Instant, hop: usize, shown: Shown) -> bool {
        shown == Shown::Good || self.told.values().any(|told| told.knows_key(now, hop, shown))
    }

    /// Whether mail for a domain may bounce for it: next hops need not show who they are, or may not offer it.
    pub(super) fn may_refuse(&self, domain: &str) -> bool {
        self.demand(domain) != Demand::Verify || !self.all_offer
    }
}

/// What a process was told of names, and when.
#[derive(Default)]
struct Told(BTreeMap<Question, Vec<(Instant, Reply)>>);

impl Told {
    fn all(&self, name: &str, kind: Kind) -> &[(Instant, Reply)] {
        self.0.get(&Question::new(name, kind)).map_or(&[], Vec::as_slice)
    }

    /// Whether mail for a domain may go to a next hop that has shown this, by what was said; `sts`: the policy of the domain counts.
    fn allows(&self, now: Instant, domain: &str, hop: usize, shown: Shown, sts: bool) -> bool {
        let host = host(hop);
        let names = |data: &Data| matches!(data, Data::Mx { host: named, .. } if **named == *host);
        if !self.all(domain, Kind::Mx).iter().any(|(_, reply)| records(reply).any(names)) {
            return false;
        }
        let tlsa = self.tlsa(now, hop);
        let others = [(domain, Kind::Mx), (&host, Kind::A), (&host, Kind::Aaaa)];
        let others = others.into_iter().flat_map(|(name, kind)| lately(now, self.all(name, kind)));
        let is_insecure = |(_, reply): &(Instant, Reply)| !reply.secure && !matches!(reply.said, Said::Failed(_));
        let is_absent = |(_, reply): &(Instant, Reply)| matches!(reply.said, Said::Nothing | Said::NoName);
        // While nobody knows whether there are some nothing goes there.
        let free = tlsa.iter().any(is_absent) || tlsa.iter().chain(others).any(is_insecure);
        // What the DNS demands must not be passed by with a policy (RFC 8461 §2).
        self.knows_key(now, hop, shown) || free && (!sts || self.agrees(now, domain, &host, shown))
    }

    fn tlsa(&self, now: Instant, hop: usize) -> &[(Instant, Reply)] {
        lately(now, self.all(&format!("{TLSA_PREFIX}{}", host(hop)), Kind::Tlsa))
    }

    /// Whether a next hop that has shown this has a key that the DNS knows.
    fn knows_key(&self, now: Instant, hop: usize, shown: Shown) -> bool {
        let key = shown.key(hop).map(digest_of_key);
        let fits = |data: &Data| matches!(data, Data::Tlsa(tlsa) if Some(&tlsa.data) == key.as_ref());
        self.tlsa(now, hop).iter().any(|(_, reply)| reply.secure && records(reply).any(fits))
    }

    /// Whether the policy of a domain agrees with that.
    fn agrees(&self, now: Instant, domain: &str, host: &str, shown: Shown) -> bool {
        let fetched = self.all(domain, Kind::Policy);
        let policy = |reply: &Reply| {
            records(reply).find_map(|data| match data {
                Data::Policy(Ok(policy)) => Some(Arc::clone(policy)),
                _ => None,
            })
        };
        let policies: Vec<_> = fetched.iter().filter_map(|(at, reply)| Some((*at, policy(reply)?))).collect();
        // Until there is one, nothing counts if there is no record, or none that can be fetched.
        let since = policies.first().map_or(Instant::FAR, |(at, _)| *at);
        let text = |data: &Data| if let Data::Text(text) = data { Some(text.clone()) } else { None };
        let has_id = |reply: &Reply| {
            let texts: Vec<_> = records(reply).filter_map(text).collect();
            record_id(texts.iter().map(|text| &**text)).is_some()
        };
        let mut records = self.all(&format!("_mta-sts.{domain}"), Kind::Txt).iter();
        let none = records.any(|(at, reply)| *at < since && !has_id(reply))
            || fetched.iter().any(|(at, reply)| *at < since && policy(reply).is_none());
        let agrees = |(_, policy): &(Instant, Arc<Policy>)| {
            policy.mode != Mode::Enforce || policy.names(host) && shown == Shown::Good
        };
        none && since + UNDER_WAY_MAX > now || lately(now, &policies).iter().any(agrees)
    }
}

/// Of what was said in turn that which counted lately.
fn lately<T>(now: Instant, said: &[(Instant, T)]) -> &[(Instant, T)] {
    let before = said.partition_point(|(at, _)| *at + UNDER_WAY_MAX < now);
    &said[before.saturating_sub(1)..]
}

fn records(reply: &Reply) -> impl Iterator<Item = &Data> {
    let records = if let Said::Records(records) = &reply.said { &records[..] } else { &[] };
    records.iter().map(|record| &record.data)
}

/// Where the TLSA records of a next hop are.
const TLSA_PREFIX: &str = "_25._tcp.";

fn host(place: usize) -> String {
    format!("hop{place}.test")
}

fn hop_number(name: &str) -> Option<usize> {
    number(name, "hop").filter(|place| *place < HOPS)
}

/// The number of `d0.test` and so on.
fn domain_number(name: &str) -> Option<usize> {
    number(name, "d").filter(|domain| *domain < DOMAINS)
}

fn number(name: &str, prefix: &str) -> Option<usize> {
    name.strip_prefix(prefix)?.strip_suffix(".test")?.parse().ok()
}
