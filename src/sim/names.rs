//! The DNS of a world: what its resolvers say about the domains whose mail goes by MX, and when.
//!
//! In: questions of the boxes, and what is wrong with a domain for a while. Out: replies, each after its time. The rest is the
//! appliance's own ([`crate::dns`]).

use super::mail::DOMAINS;
use super::plan::LMTP;
use super::setup::hop_address;
use crate::dns::{Data, Kind, Question, Record, Reply, Said};
use crate::env::Instant;
use rand::RngExt;
use rand::rngs::StdRng;
use std::collections::BTreeMap;
use std::time::Duration;

/// What is wrong with a domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NameTrouble {
    /// Answers take up to so long.
    Slow(Duration),
    /// SERVFAIL.
    Fails,
    /// No answer at all.
    Silent,
    /// What workers ask about it is not heard.
    Unheard,
    /// It takes no mail.
    Null,
    /// It is not there.
    Gone,
    /// The addresses of its first host cannot be found out.
    HostFails,
    /// Its mail goes to this hop.
    Moved(usize),
}

/// How long answers hold.
const TTL: Duration = Duration::from_secs(60);

/// How long a resolver that says nothing is waited for.
const SILENCE: Duration = Duration::from_secs(15);

/// How long what was said about a domain may have consequences: it holds for a minute, and boxes stand still for half of one.
const CONSEQUENCES_MAX: Duration = Duration::from_secs(600);

/// A question on its way back to a box.
#[derive(Debug)]
struct Pending {
    place: usize,
    life: u64,
    question: Question,
}

/// The resolvers of all boxes.
#[derive(Debug, Default)]
pub(super) struct Names {
    troubles: BTreeMap<usize, NameTrouble>,
    pending: BTreeMap<(Instant, u64), Pending>,
    count: u64,
}

/// A reply, for whom, and until when a domain that has no mail host may have had bounces for it.
pub(super) struct NameAnswer {
    pub place: usize,
    pub life: u64,
    pub question: Question,
    pub reply: Reply,
    pub no_mail_until: Option<Instant>,
}

impl Names {
    /// Something is wrong with a domain.
    pub(super) fn set(&mut self, domain: usize, trouble: NameTrouble) {
        self.troubles.insert(domain, trouble);
    }

    /// Nothing is any more.
    pub(super) fn mend(&mut self, domain: usize) {
        self.troubles.remove(&domain);
    }

    /// All is well.
    pub(super) fn heal(&mut self) {
        self.troubles.clear();
    }

    /// Whether what a worker asks about this domain is heard.
    pub(super) fn hears(&self, domain: &str) -> bool {
        self.trouble(domain) != Some(NameTrouble::Unheard)
    }

    /// A box asks.
    pub(super) fn ask(&mut self, now: Instant, (place, life): (usize, u64), question: Question, random: &mut StdRng) {
        let delay = match self.trouble(&question.name) {
            Some(NameTrouble::Silent) => SILENCE,
            Some(NameTrouble::Slow(most)) => most.mul_f64(random.random()),
            _ => Duration::from_micros(random.random_range(100..50_000)),
        };
        self.count += 1;
        self.pending.insert((now + delay, self.count), Pending { place, life, question });
    }

    /// When the next reply is there.
    pub(super) fn next(&self) -> Instant {
        self.pending.first_key_value().map_or(Instant::FAR, |((at, _), _)| *at)
    }

    /// The next reply, as things are now.
    pub(super) fn answer(&mut self, now: Instant) -> Option<NameAnswer> {
        let entry = self.pending.first_entry().filter(|entry| entry.key().0 <= now)?;
        let Pending { place, life, question } = entry.remove();
        let reply = Reply { said: self.said(&question), secure: false, ttl: TTL };
        let trouble = self.trouble(&question.name).filter(|_| question.kind == Kind::Mx);
        let none = matches!(trouble, Some(NameTrouble::Null | NameTrouble::Gone));
        Some(NameAnswer { place, life, question, reply, no_mail_until: none.then(|| now + CONSEQUENCES_MAX) })
    }

    fn trouble(&self, name: &str) -> Option<NameTrouble> {
        let domain: usize = name.strip_prefix('d')?.strip_suffix(".test")?.parse().ok()?;
        self.troubles.get(&domain).copied()
    }

    fn said(&self, question: &Question) -> Said {
        let name = &*question.name;
        let number = |prefix| name.strip_prefix(prefix)?.strip_suffix(".test")?.parse::<usize>().ok();
        let record = |data| Record { name: name.into(), data };
        if let Some(hop) = number("hop") {
            let fails =
                |(domain, trouble): (&usize, &NameTrouble)| domain == &hop && *trouble == NameTrouble::HostFails;
            let address = hop_address(hop).ip();
            return match question.kind {
                _ if self.troubles.iter().any(fails) => Said::Failed("server failure".into()),
                Kind::A if address.is_ipv4() => Said::Records(vec![record(Data::Address(address))]),
                Kind::Aaaa if address.is_ipv6() => Said::Records(vec![record(Data::Address(address))]),
                _ => Said::Nothing,
            };
        }
        let Some(domain) = number("d").filter(|domain| *domain < DOMAINS) else { return Said::NoName };
        let mx = |preference, hop: usize| {
            let host = format!("hop{hop}.test").into();
            record(Data::Mx { preference, host })
        };
        match self.troubles.get(&domain) {
            Some(NameTrouble::Fails) => Said::Failed("server failure".into()),
            Some(NameTrouble::Silent) => Said::Failed("silence".into()),
            Some(NameTrouble::Gone) => Said::NoName,
            Some(NameTrouble::Null) => Said::Records(vec![record(Data::Mx { preference: 0, host: "".into() })]),
            _ if question.kind != Kind::Mx => Said::Nothing,
            Some(NameTrouble::Moved(hop)) => Said::Records(vec![mx(10, *hop)]),
            // The first has a second host.
            _ if domain == 1 => Said::Records(vec![mx(20, 5), mx(10, 1)]),
            _ => Said::Records(vec![mx(10, domain)]),
        }
    }
}

/// Something that goes wrong with a domain.
pub(super) fn trouble(random: &mut StdRng) -> NameTrouble {
    match random.random_range(0..8) {
        0 => NameTrouble::Slow(Duration::from_secs(random.random_range(1..120))),
        1 => NameTrouble::Fails,
        2 => NameTrouble::Silent,
        3 => NameTrouble::Unheard,
        4 => NameTrouble::Null,
        5 => NameTrouble::Gone,
        6 => NameTrouble::HostFails,
        _ => {
            let hop = random.random_range(0..DOMAINS);
            NameTrouble::Moved(if hop == LMTP { 5 } else { hop })
        }
    }
}
