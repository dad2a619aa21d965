//! How the destinations are, for those who ask.

use super::Destinations;
use super::target::Target;
use crate::delivery::{Answer, DestinationId};
use crate::env::Instant;
use crate::limits::{Gauge, MX_DESTINATIONS_MAX};
use std::net::SocketAddr;
use std::sync::Arc;

/// One destination for `status`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DestinationStatus {
    /// Which.
    pub destination: DestinationId,
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
    /// It takes nothing before then, as its receiver has asked for it, if that is to come.
    pub suspended_until: Option<Instant>,
    /// Why a connection failed last, since the start.
    pub last_failure: Option<Answer>,
    /// Its hosts, in the order of preference.
    pub hosts: Vec<HostStatus>,
}

/// One host for `status`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostStatus {
    /// Where.
    pub remote: SocketAddr,
    /// As the operator wrote it.
    pub name: Arc<str>,
    /// Failures in a row.
    pub failures: u32,
    /// Left alone until then, if that is to come.
    pub down_until: Option<Instant>,
}

impl Destinations {
    /// Shows how full its tables are.
    pub fn gauge(&self, see: &mut dyn FnMut(Gauge)) {
        see(Gauge::new("outgoing connections", self.connections.len(), self.settings.connections_max));
        see(Gauge::new("jobs that wait for a connection", self.waiting_count, self.settings.queue_max));
        for target in &self.targets {
            see(Gauge::new("jobs of one destination", target.backlog(), self.queue_max(target)));
        }
        see(Gauge::new("MX sets", self.sets.count(), MX_DESTINATIONS_MAX));
    }

    /// Destinations that have work, connections or failing hosts.
    pub fn status(&self, now: Instant) -> Vec<DestinationStatus> {
        let nowhere = self.sets.fixed() - 1;
        let busy = |target: &Target| {
            let trouble = target.hosts.iter().any(|host| host.failures > 0 || host.spared_until > now);
            target.backlog() > 0 || target.connections() > 0 || target.suspended(now).is_some() || trouble
        };
        (self.targets.iter().enumerate())
            .filter(|(index, target)| *index != nowhere && busy(target))
            .map(|(index, target)| DestinationStatus {
                destination: DestinationId::from_index(index),
                waiting: target.backlog(),
                opening: target.opening,
                idle: target.idle.len() as u32,
                busy: target.busy,
                ending: target.ending,
                connections_max: target.connections_max(),
                window: target.window.size().min(target.connections_max()),
                suspended_until: target.suspended(now).map(|(until, _)| *until),
                last_failure: target.last_failure.clone(),
                hosts: (target.hosts.iter())
                    .map(|host| HostStatus {
                        remote: host.remote,
                        name: host.name.clone(),
                        failures: host.failures,
                        down_until: Some(host.alone_until()).filter(|until| *until > now),
                    })
                    .collect(),
            })
            .collect()
    }
}
