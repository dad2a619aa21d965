//! How the destinations are, for those who ask.

use super::Destinations;
use super::host::Host;
use super::share::Shares;
use super::target::Target;
use crate::delivery::DestinationKey;
use crate::delivery::turns::{Class, UnderWay};
use crate::env::Instant;
use crate::limits::{Gauge, MX_DESTINATIONS_MAX};
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::ops::Range;
use std::sync::Arc;

/// One destination for `status`.
#[derive(Clone, Debug, PartialEq)]
pub struct DestinationStatus {
    /// Which.
    pub key: DestinationKey,
    /// Of an MX set: the domain that it became a destination for. Others may share it.
    pub domain: Option<Box<str>>,
    /// The pool that its mail leaves from, where one was to be chosen.
    pub pool: Option<Arc<str>>,
    /// Work that waits.
    pub waiting: usize,
    /// Connections that are being opened.
    pub opening: u32,
    /// Connections without work.
    pub idle: u32,
    /// Connections with work.
    pub busy: u32,
    /// Connections that end.
    pub ending: u32,
    /// Connections that it may have at a time, as configured.
    pub connections_max: u32,
    /// As many of them as its receiver bears: less after trouble, until it has grown again.
    pub window: u32,
    /// Messages that were delivered a second, over the last minute.
    pub delivered_per_second: f64,
    /// Why not more goes there now, if something keeps it.
    pub limited: Option<Limited>,
    /// It takes nothing before then, as its receiver has asked for it, if that is to come.
    pub suspended_until: Option<Instant>,
    /// What one of its hosts said last that was no consent, or what happened to a connection; and which one.
    pub last: Option<(Arc<str>, SocketAddr, LastWord)>,
    /// Its hosts, in the order of preference, if they were asked for.
    pub hosts: Vec<HostStatus>,
}

/// One host for `status`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostStatus {
    /// Where.
    pub remote: SocketAddr,
    /// As the operator wrote it, or the DNS.
    pub name: Arc<str>,
    /// Failures in a row.
    pub failures: u32,
    /// Connections to it that were greeted and do not end.
    pub serving: u32,
    /// Left alone until then, if that is to come.
    pub alone_until: Option<Instant>,
    /// It is since it has asked for it, and not since it failed.
    pub is_spared: bool,
    /// The DNS names it no more: it serves out the connections that it has.
    pub is_retired: bool,
    /// What it said last that was no consent, or what happened to a connection.
    pub last: Option<LastWord>,
}

/// What was not as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastWord {
    /// When.
    pub at: Instant,
    /// The reply of the host, or what happened.
    pub text: Box<str>,
}

/// What keeps a destination from taking more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Limited {
    /// Its receiver has asked for a pause.
    Suspended,
    /// All of its hosts failed lately, or asked for a pause.
    HostsDown,
    /// `message_rate` of a `[[shaping]]` section.
    MessageRate,
    /// `connection_rate` of a `[[shaping]]` section.
    ConnectionRate,
    /// `connections_max` of a `[[shaping]]` section, or of the route.
    ConnectionsMax,
    /// It has as many connections as its receiver bears.
    Window,
    /// A connection was refused beside others, or could not be opened: no other is begun for a while.
    Refused,
    /// All destinations together have as many connections as the worker may.
    AllConnections,
}

impl Limited {
    /// In words.
    pub fn text(self) -> &'static str {
        match self {
            Limited::Suspended => "its receiver asked for a pause",
            Limited::HostsDown => "no host works",
            Limited::MessageRate => "message_rate",
            Limited::ConnectionRate => "connection_rate",
            Limited::ConnectionsMax => "connections_max",
            Limited::Window => "its receiver bears no more connections",
            Limited::Refused => "a connection was refused",
            Limited::AllConnections => "all connections of the worker are in use",
        }
    }
}

impl Destinations {
    /// Shows how full its tables are.
    pub fn gauge(&self, see: &mut dyn FnMut(Gauge)) {
        see(Gauge::new("outgoing connections", self.connections.len(), self.settings.connections_max));
        see(Gauge::new("jobs that wait for a connection", self.waiting_count, self.settings.queue_max));
        for target in &self.targets {
            let max = UnderWay::max(Class::Urgent, self.queue_max(target));
            see(Gauge::new("jobs of one destination", target.backlog(), max));
        }
        see(Gauge::new("MX sets", self.sets.count(), MX_DESTINATIONS_MAX));
    }

    /// As many places as destinations may have.
    pub fn places(&self) -> usize {
        self.targets.len()
    }

    /// Of the destinations at these places those that have work, connections or failing hosts, or had deliveries lately; with their
    /// hosts or without.
    pub fn status(&self, now: Instant, places: Range<usize>, hosts: bool) -> Vec<DestinationStatus> {
        let nowhere = self.sets.fixed() - 1;
        let places = places.start.min(self.targets.len())..places.end.min(self.targets.len());
        (places.clone().zip(&self.targets[places]))
            .filter(|(place, target)| *place != nowhere && target.is_of_interest(now))
            .map(|(place, target)| {
                let (key, domain) = self.sets.key(place);
                target.status(now, &self.groups.of(target.group).shares, key, domain, hosts)
            })
            .collect()
    }
}

impl Target {
    fn is_of_interest(&self, now: Instant) -> bool {
        let trouble = self.hosts.iter().any(|host| host.failures > 0 || host.spared_until > now);
        let busy = self.backlog() > 0 || self.connections() > 0 || self.suspended(now).is_some();
        busy || trouble || self.delivered.per_second(now) > 0.0
    }

    fn status(
        &self,
        now: Instant,
        shares: &Shares,
        key: DestinationKey,
        domain: Option<&str>,
        hosts: bool,
    ) -> DestinationStatus {
        let connections_max = shares.connections_max(&self.hosts);
        let spoken = self.hosts.iter().filter_map(|host| Some((host, host.last.as_deref()?)));
        let last = spoken.max_by_key(|(_, word)| word.at);
        DestinationStatus {
            key,
            domain: domain.map(Into::into),
            pool: self.pool.clone(),
            waiting: self.backlog(),
            opening: self.opening,
            idle: self.idle.len() as u32,
            busy: self.busy,
            ending: self.ending,
            connections_max,
            window: self.window.size().min(connections_max),
            delivered_per_second: self.delivered.per_second(now),
            limited: self.limited(now, shares),
            suspended_until: self.suspended(now).map(|(until, _)| *until),
            last: last.map(|(host, word)| (host.name.clone(), host.remote, word.clone())),
            hosts: self.hosts.iter().filter(|_| hosts).map(|host| host.status(now)).collect(),
        }
    }

    /// What keeps it from taking more.
    fn limited(&self, now: Instant, shares: &Shares) -> Option<Limited> {
        if self.suspended(now).is_some() {
            return Some(Limited::Suspended);
        }
        let up: Vec<&Host> = self.current_hosts().filter(|host| host.alone_until() <= now).collect();
        if up.is_empty() {
            // A route that discards has none.
            return (!self.hosts.is_empty()).then_some(Limited::HostsDown);
        }
        if self.backlog() == 0 {
            return None;
        }
        if up.iter().all(|host| shares.message_at(now, host) > now) {
            return Some(Limited::MessageRate);
        }
        if self.starved.is_some() {
            return Some(Limited::AllConnections);
        }
        if self.connections() >= self.window.size() {
            return Some(if self.window.size() < shares.connections_max(&self.hosts) {
                Limited::Window
            } else {
                Limited::ConnectionsMax
            });
        }
        if self.hold_until > now {
            return Some(Limited::Refused);
        }
        let begin_at = up.iter().filter_map(|host| shares.connection_at(now, host, true)).min();
        match begin_at {
            Some(at) if at <= now => None,
            Some(_) => Some(Limited::ConnectionRate),
            None => Some(Limited::ConnectionsMax),
        }
    }
}

impl Host {
    fn status(&self, now: Instant) -> HostStatus {
        HostStatus {
            remote: self.remote,
            name: self.name.clone(),
            failures: self.failures,
            serving: self.serving,
            alone_until: Some(self.alone_until()).filter(|until| *until > now),
            is_spared: self.spared_until > now,
            is_retired: self.is_retired,
            last: self.last.as_deref().cloned(),
        }
    }
}
