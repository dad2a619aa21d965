//! What operators see of destinations: what waits for each, and what the worker knows of those that it owns.

use super::home::Home;
use super::outbound::Outbound;
use crate::control::{
    DeliveryHost, DeliveryReport, DestinationsReply, HostFailure, HostState, OwnedDestination, TrafficEntry, Walk,
};
use crate::delivery::{DestinationStatus, HostStatus, LaneStatus, LastWord, Routes};
use crate::env::{Instant, Now, WallTime};
use crate::limits::DESTINATION_LOOKS_MAX;

/// The next destinations of a worker, as many as one breath can look at.
pub(super) fn destinations(
    home: &Home,
    outbound: &Outbound,
    routes: &Routes,
    now: Now,
    from: Walk,
    hosts: bool,
) -> DestinationsReply {
    match from {
        Walk::Waiting { schedule, place } => {
            let end = place + DESTINATION_LOOKS_MAX;
            let Some(queue) = home.schedules().get(schedule) else {
                return DestinationsReply { next: Some(Walk::OWNED), ..DestinationsReply::default() };
            };
            let waiting = queue.lanes(place..end).into_iter().map(entry).collect();
            let next = if end < queue.lanes_count() {
                Walk::Waiting { schedule, place: end }
            } else {
                Walk::Waiting { schedule: schedule + 1, place: 0 }
            };
            DestinationsReply { waiting, owned: Vec::new(), next: Some(next) }
        }
        Walk::Owned { place } => {
            let end = place + DESTINATION_LOOKS_MAX;
            let destinations = &outbound.destinations;
            let owned = destinations.status(now.mono, place..end, hosts).into_iter();
            let owned = owned.map(|status| OwnedDestination {
                key: status.key,
                name: match &status.domain {
                    Some(domain) => routes.describe(domain),
                    None => routes.name_of(status.key).to_string(),
                },
                report: report(now, status),
            });
            let next = (end < destinations.places()).then_some(Walk::Owned { place: end });
            DestinationsReply { waiting: Vec::new(), owned: owned.collect(), next }
        }
    }
}

fn entry(lane: LaneStatus) -> TrafficEntry {
    let LaneStatus { destination, key, waiting, in_hand, why } = lane;
    TrafficEntry {
        destination,
        messages: (waiting + in_hand) as u64,
        active: in_hand as u64,
        why: why.map(Into::into),
        delivery: None,
        key,
    }
}

fn report(now: Now, status: DestinationStatus) -> DeliveryReport {
    DeliveryReport {
        busy: status.busy,
        idle: status.idle,
        opening: status.opening,
        ending: status.ending,
        window: status.window,
        connections_max: status.connections_max,
        waiting: status.waiting as u64,
        messages_per_s: (status.delivered_per_second * 1000.0).round() / 1000.0,
        limited_by: status.limited,
        suspended_until: status.suspended_until.map(|until| wall(now, until)),
        last_failure: status.last.map(|(host, remote, LastWord { at, text })| HostFailure {
            host: host.to_string(),
            remote,
            at: wall(now, at),
            text: text.into(),
        }),
        hosts: status.hosts.into_iter().map(|host_status| host(now, host_status, status.pool.as_deref())).collect(),
    }
}

fn host(now: Now, status: HostStatus, pool: Option<&str>) -> DeliveryHost {
    let state = match (status.is_retired, status.alone_until, status.failures) {
        (true, ..) => HostState::Gone,
        (false, Some(_), _) if status.is_spared => HostState::Paused,
        (false, Some(_), _) => HostState::Down,
        (false, None, 0) => HostState::Up,
        (false, None, _) => HostState::Failing,
    };
    DeliveryHost {
        host: status.name.to_string(),
        remote: status.remote,
        pool: pool.map(str::to_owned),
        state,
        connections: status.serving,
        failures: status.failures,
        alone_until: status.alone_until.map(|until| wall(now, until)),
        last_at: status.last.as_ref().map(|word| wall(now, word.at)),
        last_reply: status.last.map(|word| word.text.into()),
    }
}

/// A moment of the monotonic clock on the wall clock as it goes now.
fn wall(now: Now, at: Instant) -> WallTime {
    let before = WallTime::from_micros(now.wall.micros().saturating_sub(now.mono.since(at).as_micros() as u64));
    before + at.since(now.mono)
}
