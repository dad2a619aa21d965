//! How `rohrpost queue destinations` and `queue destination` write what they were told.

use super::text::{plain, size, span, time, write_json};
use crate::control::{DeliveryHost, DeliveryReport, DestinationEntry, HostFailure, Versioned};
use crate::env::{Clock, SystemClock, WallTime};
use serde::Serialize;
use std::io::{self, Write};

/// What `--json` prints.
#[derive(Serialize)]
struct Destinations {
    destinations: Vec<DestinationEntry>,
    /// In all.
    count: usize,
}

/// Writes destinations, of which there are `count` in all, for a person or as one JSON object.
pub(super) fn write(shown: Vec<DestinationEntry>, count: usize, json: bool, out: &mut dyn Write) -> io::Result<()> {
    if json {
        return write_json(&Versioned::new(Destinations { destinations: shown, count }), out);
    }
    if shown.is_empty() {
        return writeln!(out, "no messages");
    }
    let now = SystemClock::new().now().wall;
    let width = shown.iter().map(|entry| plain(&entry.destination).chars().count()).max().unwrap_or(0);
    writeln!(
        out,
        "{:width$} {:>9} {:>8} {:>8} {:>8} {:>8} {:>12} {:>12} {:>11} {:>8}",
        "destination", "messages", "size", "active", "deferred", "held", "oldest", "next in", "connections", "rate"
    )?;
    for entry in &shown {
        let DestinationEntry { destination, messages, size_bytes, active, deferred, held, oldest_at, .. } = entry;
        let delivery = entry.delivery.as_ref();
        writeln!(
            out,
            "{:width$} {messages:>9} {:>8} {active:>8} {deferred:>8} {held:>8} {:>12} {:>12} {:>11} {:>8}",
            plain(destination),
            size(*size_bytes),
            oldest_at.map_or("-".to_owned(), |at| span(now.since(at))),
            entry.next_attempt_at.map_or("-".to_owned(), |next| span(next.since(now))),
            connections(delivery),
            delivery.map_or("-".to_owned(), |report| rate(report.messages_per_s)),
        )?;
        write_detail(entry, now, out)?;
    }
    match count - shown.len() {
        0 => Ok(()),
        others => writeln!(out, "-- and {others} more"),
    }
}

/// Connections that are there, and how many there may be now.
pub(super) fn connections(report: Option<&DeliveryReport>) -> String {
    report.map_or("-".to_owned(), |report| format!("{}/{}", report.connections(), report.window))
}

/// Messages a second.
pub(super) fn rate(per_second: f64) -> String {
    match per_second {
        0.0 => "0/s".to_owned(),
        rate if rate < 9.95 => format!("{rate:.2}/s"),
        rate => format!("{rate:.0}/s"),
    }
}

/// Who failed, and when.
pub(super) fn failure(failure: &HostFailure, now: WallTime) -> String {
    let HostFailure { host, remote, at, text } = failure;
    format!("{} ({remote}) {} ago: {}", plain(host), span(now.since(*at)), plain(text.trim_end()))
}

fn write_detail(entry: &DestinationEntry, now: WallTime, out: &mut dyn Write) -> io::Result<()> {
    if let Some(reply) = &entry.last_reply {
        writeln!(out, "    {}", plain(reply.trim_end()))?;
    }
    let Some(report) = &entry.delivery else { return Ok(()) };
    if let Some(limited_by) = report.limited_by {
        let until = report.suspended_until.map(|until| format!(", until {}", time(until)));
        writeln!(out, "    limited: {}{}", limited_by.text(), until.unwrap_or_default())?;
    }
    if let Some(last) = &report.last_failure {
        writeln!(out, "    last failure: {}", failure(last, now))?;
    }
    report.hosts.iter().try_for_each(|host| write_host(host, now, out))
}

fn write_host(host: &DeliveryHost, now: WallTime, out: &mut dyn Write) -> io::Result<()> {
    let DeliveryHost { host, remote, pool, state, connections, failures, alone_until, last_at, last_reply } = host;
    let from = pool.as_ref().map(|pool| format!(" from pool {}", plain(pool))).unwrap_or_default();
    write!(out, "    host {} ({remote}){from}  {}", plain(host), state.text())?;
    if let Some(until) = alone_until {
        write!(out, " until {}", time(*until))?;
    }
    writeln!(out, "; connections: {connections}, failures in a row: {failures}")?;
    match (last_at, last_reply) {
        (Some(at), Some(reply)) => {
            writeln!(out, "        {} ago: {}", span(now.since(*at)), plain(reply.trim_end()))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::HostState;
    use crate::delivery::Limited;
    use std::time::Duration;

    #[test]
    fn a_destination_is_told_with_its_connections_its_rate_and_its_hosts() {
        let now = SystemClock::new().now().wall;
        let before = WallTime::from_micros(now.micros() - 61_000_000);
        let remote = "192.0.2.1:25".parse().unwrap();
        let report = DeliveryReport {
            busy: 3,
            idle: 1,
            opening: 1,
            ending: 9,
            window: 5,
            connections_max: 20,
            waiting: 7,
            messages_per_s: 1.25,
            limited_by: Some(Limited::Window),
            suspended_until: None,
            last_failure: Some(HostFailure { host: "mx.example".into(), remote, at: before, text: "421 \u{7}".into() }),
            hosts: vec![DeliveryHost {
                host: "mx.example".into(),
                remote,
                pool: Some("bulk".into()),
                state: HostState::Down,
                connections: 4,
                failures: 2,
                alone_until: Some(now + Duration::from_secs(100)),
                last_at: Some(before),
                last_reply: Some("421 busy".into()),
            }],
        };
        let mut entry = DestinationEntry::of_nothing("mx://d.example".into(), None);
        entry.delivery = Some(report);
        let mut out = Vec::new();
        write(vec![entry], 3, false, &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        for wanted in [
            "5/5",
            "1.25/s",
            "limited: its receiver bears no more connections",
            "last failure: mx.example (192.0.2.1:25) 1 min 1 s ago: 421 \\u{7}",
            "host mx.example (192.0.2.1:25) from pool bulk  down until ",
            "; connections: 4, failures in a row: 2\n        1 min 1 s ago: 421 busy\n",
            "-- and 2 more",
        ] {
            assert!(text.contains(wanted), "{wanted}:\n{text}");
        }
    }
}
