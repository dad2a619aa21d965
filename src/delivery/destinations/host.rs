//! The hosts of one destination: which is tried next, and which is left alone for a while.

use super::news::News;
use super::status::LastWord;
use crate::delivery::pool::preferred;
use crate::delivery::shaping::SectionId;
use crate::delivery::{Answer, Demand, Limits, PoolAddress, Protocol, Route, Security, Shaping, Work};
use crate::env::Instant;
use crate::limits::{HOST_BACKOFF_FIRST_DEFAULT, HOST_BACKOFF_MAX_DEFAULT, HOST_DROPS_MAX, TLS_FAILURE_MEMORY};
use rand::RngExt;
use rand::rngs::StdRng;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

/// How long failing hosts are left alone.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct HostBackoff {
    /// After the first failure.
    pub first: Duration,
    /// What each pause is multiplied with to get the next, while the host fails.
    pub growth: f64,
    /// The longest pause.
    pub max: Duration,
}

impl Default for HostBackoff {
    fn default() -> HostBackoff {
        HostBackoff { first: HOST_BACKOFF_FIRST_DEFAULT, growth: 2.0, max: HOST_BACKOFF_MAX_DEFAULT }
    }
}

impl HostBackoff {
    /// How long the pause is after so many failures in a row, of which there was one at least.
    pub(super) fn pause(&self, failures: u32) -> Duration {
        let power = self.growth.max(1.0).powi(failures.saturating_sub(1).min(i32::MAX as u32) as i32);
        Duration::try_from_secs_f64(self.first.as_secs_f64() * power).map_or(self.max, |pause| pause.min(self.max))
    }
}

/// An own address and the name that it introduces itself with.
#[derive(Clone, Debug)]
pub(super) struct OwnAddress {
    pub ip: IpAddr,
    pub ehlo_name: Arc<str>,
    /// The partner has it now.
    pub withdrawn: bool,
}

/// One address of one hop.
#[derive(Debug)]
pub(super) struct Host {
    pub remote: SocketAddr,
    pub protocol: Protocol,
    pub name: Arc<str>,
    security: Security,
    /// It fails at TLS: until then it is spoken to in the clear, where that is allowed.
    clear_until: Instant,
    preference: u16,
    /// Its place among the hops, as the addresses of one hop keep their order.
    hop: usize,
    sources: Sources,
    /// Left alone until then.
    pub down_until: Instant,
    /// Left alone until then in any case, as it has asked for it.
    pub spared_until: Instant,
    /// Failures in a row.
    pub failures: u32,
    /// Connections in a row that died with work in hand.
    drops: u32,
    /// Connections that were greeted and are not ending.
    pub serving: u32,
    /// The DNS names it no more: it serves out the connections that it has.
    pub is_retired: bool,
    /// What it said last that was no consent, or what happened to a connection to it.
    pub last: Option<Box<LastWord>>,
    /// The sections of limits that hold for it.
    pub sections: Vec<SectionId>,
    /// The strictest of each of their limits.
    pub limits: Limits,
    /// The places of their accounts at the destination.
    pub shares: Box<[usize]>,
}

impl Host {
    /// It is this one, as the DNS has it now.
    pub fn inherit(&mut self, before: &Host) {
        let Host { clear_until, down_until, spared_until, failures, drops, serving, .. } = *before;
        (self.clear_until, self.down_until, self.spared_until) = (clear_until, down_until, spared_until);
        (self.failures, self.drops, self.serving) = (failures, drops, serving);
        self.last.clone_from(&before.last);
    }

    /// Takes note of what is not as it should be.
    pub fn note(&mut self, now: Instant, answer: &Answer) {
        self.last = Some(Box::new(LastWord { at: now, text: answer.text.clone() }));
    }

    /// How the next connection to it is secured.
    pub fn security(&self, now: Instant) -> Security {
        if self.may_be_clear() && now < self.clear_until {
            return Security { demand: Demand::None, ..self.security.clone() };
        }
        self.security.clone()
    }

    /// A handshake with it failed; whether the next connection may do without.
    pub fn fail_tls(&mut self, now: Instant) -> bool {
        if self.may_be_clear() {
            self.clear_until = now + TLS_FAILURE_MEMORY;
        }
        self.may_be_clear()
    }

    fn may_be_clear(&self) -> bool {
        self.security.demand.may_be_clear() && !self.security.implicit
    }

    /// When it may be connected to again.
    pub fn alone_until(&self) -> Instant {
        self.down_until.max(self.spared_until)
    }

    /// It could not be reached, or would not serve.
    pub fn fail(&mut self, now: Instant, backoff: &HostBackoff) {
        self.failures = self.failures.saturating_add(1);
        self.drops = 0;
        self.down_until = now + backoff.pause(self.failures);
    }

    /// A connection to it died with work in hand; whether that was one too many.
    pub fn drop_connection(&mut self, now: Instant, backoff: &HostBackoff) -> bool {
        self.drops += 1;
        let failed = self.drops >= HOST_DROPS_MAX;
        if failed {
            self.fail(now, backoff);
        }
        failed
    }

    /// It has answered for a whole transaction; whether it had failed before.
    pub fn prove(&mut self) -> bool {
        let had_failed = self.failures > 0;
        self.failures = 0;
        self.drops = 0;
        self.down_until = Instant::ZERO;
        had_failed
    }

    /// What is told of it when it cannot be used.
    pub fn down(&self, pool: &Option<Arc<str>>, why: &Answer) -> News {
        News::HostDown {
            host: self.name.clone(),
            remote: self.remote,
            pool: pool.clone(),
            failures: self.failures,
            until: self.down_until,
            why: why.clone(),
        }
    }

    /// The own address that this work prefers, of those that the host can be reached from.
    pub fn source(&self, own: &[OwnAddress], work: Option<&Work>) -> usize {
        let in_use = self.sources.places.iter().copied().filter(|(place, _)| !own[*place].withdrawn);
        let chosen = match &self.sources.is_weighed {
            true => preferred(in_use, work.map_or(0, key_of)),
            false => in_use.map(|(place, _)| place).next(),
        };
        // With none in use nothing leaves: the connection will not come about.
        chosen.unwrap_or(self.sources.places[0].0)
    }

    /// Whether there is something to choose from.
    pub fn has_choice(&self) -> bool {
        self.sources.is_weighed && self.sources.places.len() > 1
    }
}

/// What the lots of own addresses are drawn by: the same at each attempt.
fn key_of(work: &Work) -> u64 {
    match work {
        Work::Deliver(job) => job.id.bits(),
        // Whether a recipient is known does not depend on our address.
        Work::Verify { .. } => 0,
    }
}

/// Own addresses from which a host can be reached.
#[derive(Clone, Debug)]
struct Sources {
    /// Places in the list of own addresses, never empty.
    places: Arc<[(usize, PoolAddress)]>,
    /// Those of a pool, chosen by their weights; else the first that is in use.
    is_weighed: bool,
}

/// The addresses of a route that can be reached from an own address, in the order of preference.
pub(super) fn hosts_of(route: &Route, own: &[OwnAddress], shaping: &Shaping) -> Vec<Host> {
    let sources_of = |v4: bool| {
        let all = own.iter().map(|own| PoolAddress { ip: own.ip, weight: 1 }).enumerate();
        let in_pool = |(place, own): (usize, PoolAddress)| match &route.pool {
            None => Some((place, own)),
            Some(pool) => pool.addresses.iter().find(|known| known.ip == own.ip).map(|known| (place, *known)),
        };
        let places = all.filter(|(_, own)| own.ip.is_ipv4() == v4).filter_map(in_pool).collect();
        Sources { places, is_weighed: route.pool.is_some() }
    };
    let (v4, v6) = (sources_of(true), sources_of(false));
    let mut hosts = Vec::new();
    for (place, hop) in route.hops.iter().enumerate() {
        let name: Arc<str> = Arc::from(&*hop.name);
        for address in &hop.addresses {
            let sources = if address.is_ipv4() { &v4 } else { &v6 };
            if !sources.places.is_empty() {
                let sections = shaping.of_host(&route.sections, &hop.name, *address);
                hosts.push(Host {
                    remote: SocketAddr::new(*address, hop.port),
                    protocol: hop.protocol,
                    name: name.clone(),
                    security: Security {
                        demand: route.demand(hop),
                        implicit: hop.implicit_tls,
                        credentials: route.credentials,
                    },
                    clear_until: Instant::ZERO,
                    preference: hop.preference,
                    hop: place,
                    sources: sources.clone(),
                    down_until: Instant::ZERO,
                    spared_until: Instant::ZERO,
                    failures: 0,
                    drops: 0,
                    serving: 0,
                    is_retired: false,
                    last: None,
                    limits: shaping.strictest(&sections),
                    sections,
                    shares: Box::default(),
                });
            }
        }
    }
    hosts.sort_by_key(|host| host.preference);
    hosts
}

/// What can be connected to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Choice {
    /// This host.
    Host(usize),
    /// None that its limits allow: one may be from then on, or after something has ended.
    Later(Option<Instant>),
    /// None at all, for now.
    Nobody,
}

/// The host to connect to: of those that are not left alone the lowest preference, a random hop among equals, and its
/// first address (RFC 5321 §5.1). `allowed_at`: when the limits of a host allow it, if they do before something has ended. One that
/// they do not allow is not passed over for another preference: mail goes to a fallback when a host fails.
pub(super) fn choose(
    hosts: &[Host],
    now: Instant,
    random: &mut StdRng,
    allowed_at: impl Fn(&Host) -> Option<Instant>,
) -> Choice {
    let up = |host: &&Host| host.alone_until() <= now && !host.is_retired;
    let Some(preference) = hosts.iter().find(up).map(|host| host.preference) else { return Choice::Nobody };
    let mut chosen: Option<usize> = None;
    let mut later: Option<Instant> = None;
    let mut hops_count = 0u32;
    let mut hop_before = None;
    for (place, host) in hosts.iter().enumerate() {
        // Sorted by preference, and stable: the addresses of a hop are neighbours, and its first one stands for it.
        if host.preference == preference && up(&host) && hop_before != Some(host.hop) {
            hop_before = Some(host.hop);
            match allowed_at(host) {
                Some(at) if at <= now => {
                    hops_count += 1;
                    // Each of n hops is kept with probability 1/n.
                    if random.random_range(0..hops_count) == 0 {
                        chosen = Some(place);
                    }
                }
                at => later = later.into_iter().chain(at).min(),
            }
        }
    }
    chosen.map_or(Choice::Later(later), Choice::Host)
}
