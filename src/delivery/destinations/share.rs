//! What one section of limits has left at one destination.

use super::host::Host;
use crate::delivery::Shaping;
use crate::delivery::rate::Bucket;
use crate::delivery::shaping::SectionId;
use crate::env::Instant;

/// The account of one section, or of what holds where no section says anything.
#[derive(Debug)]
pub(super) struct Share {
    section: Option<SectionId>,
    /// Connections at a time, if it limits them.
    pub connections_max: Option<u32>,
    /// Those that there are to hosts for which it holds.
    connections: u32,
    connection_rate: Option<Bucket>,
    message_rate: Option<Bucket>,
}

/// All accounts of one destination. Hosts name theirs by places.
#[derive(Debug)]
pub(super) struct Shares(Vec<Share>);

/// The place of what the route allows, for hosts of which no section limits the connections.
const OF_ROUTE: usize = 0;

impl Shares {
    /// With what the route allows.
    pub fn new(connections_max: u32) -> Shares {
        Shares(vec![Share {
            section: None,
            connections_max: Some(connections_max.max(1)),
            connections: 0,
            connection_rate: None,
            message_rate: None,
        }])
    }

    /// Tells hosts what their accounts are; those of sections that are new here are opened.
    pub fn assign(&mut self, now: Instant, shaping: &Shaping, hosts: &mut [Host]) {
        for host in hosts {
            let mut places: Vec<usize> = (host.sections.iter()).map(|id| self.of_section(now, shaping, *id)).collect();
            if places.iter().all(|place| self.0[*place].connections_max.is_none()) {
                places.push(OF_ROUTE);
            }
            host.shares = places.into();
        }
    }

    fn of_section(&mut self, now: Instant, shaping: &Shaping, id: SectionId) -> usize {
        if let Some(place) = self.0.iter().position(|share| share.section == Some(id)) {
            return place;
        }
        let limits = shaping.limits(id);
        self.0.push(Share {
            section: Some(id),
            connections_max: limits.connections_max,
            connections: 0,
            connection_rate: limits.connection_rate.map(|rate| Bucket::new(rate, now)),
            message_rate: limits.message_rate.map(|rate| Bucket::new(rate, now)),
        });
        self.0.len() - 1
    }

    fn of<'a>(&'a self, host: &'a Host) -> impl Iterator<Item = &'a Share> {
        host.shares.iter().map(|place| &self.0[*place])
    }

    fn each(&mut self, host: &Host, mut change: impl FnMut(&mut Share)) {
        host.shares.iter().for_each(|place| change(&mut self.0[*place]));
    }

    /// When a message may go to a host.
    pub fn message_at(&self, now: Instant, host: &Host) -> Instant {
        self.of(host).filter_map(|share| share.message_rate.as_ref()).fold(now, |at, rate| at.max(rate.ready_at(now)))
    }

    /// When one more connection to a host may be begun, for a message that may go then or for a question; `None`: when one has
    /// ended.
    pub fn connection_at(&self, now: Instant, host: &Host, is_question: bool) -> Option<Instant> {
        if self.of(host).any(|share| share.connections_max.is_some_and(|max| share.connections >= max)) {
            return None;
        }
        let rates = self.of(host).filter_map(|share| share.connection_rate.as_ref());
        let from = if is_question { now } else { self.message_at(now, host) };
        Some(rates.fold(from, |at, rate| at.max(rate.ready_at(now))))
    }

    /// A message goes to a host.
    pub fn begin_message(&mut self, now: Instant, host: &Host) {
        self.each(host, |share| share.message_rate.iter_mut().for_each(|rate| rate.take(now)));
    }

    /// A connection to a host is begun.
    pub fn begin_connection(&mut self, now: Instant, host: &Host) {
        self.each(host, |share| {
            share.connections += 1;
            share.connection_rate.iter_mut().for_each(|rate| rate.take(now));
        });
    }

    /// One has ended.
    pub fn end_connection(&mut self, host: &Host) {
        self.each(host, |share| share.connections -= 1);
    }

    /// Connections at a time to all of these hosts.
    pub fn connections_max(&self, hosts: &[Host]) -> u32 {
        let limit = |place: &usize| self.0[*place].connections_max.unwrap_or(u32::MAX);
        let tightest = |host: &Host| host.shares.iter().copied().min_by_key(|place| limit(place));
        let mut places: Vec<usize> = hosts.iter().filter_map(tightest).collect();
        places.sort_unstable();
        places.dedup();
        places.iter().map(limit).fold(0, u32::saturating_add)
    }
}
