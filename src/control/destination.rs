//! What is going on with destinations, as operators see it.
//!
//! In: of each worker what waits in its logs, and how the destinations are that it owns. Out: both brought together by the name under
//! which mail waits. A domain shares its connections with all others that have the same hosts: each of them shows all of these.

use super::protocol::DestinationEntry;
use crate::delivery::{DestinationKey, Limited};
use crate::env::WallTime;
use crate::event::rfc3339;
use serde::{Deserialize, Serialize};
use std::cmp::Reverse;
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

/// How mail is delivered to a destination, for the operator.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DeliveryReport {
    /// Connections that were greeted and have work.
    pub busy: u32,
    /// Connections without work.
    pub idle: u32,
    /// Connections that are not greeted yet.
    pub opening: u32,
    /// Connections that end.
    pub ending: u32,
    /// Connections that its receiver bears, as far as is known; no more than `connections_max`.
    pub window: u32,
    /// Connections that it may have at a time, as configured.
    pub connections_max: u32,
    /// Deliveries that wait for a connection.
    pub waiting: u64,
    /// Messages that were delivered a second, over the last minute.
    pub messages_per_s: f64,
    /// Why not more goes there now, if something keeps it.
    pub limited_by: Option<Limited>,
    /// It takes nothing before then, as its receiver has asked for it.
    #[serde(with = "rfc3339::option")]
    pub suspended_until: Option<WallTime>,
    /// What went wrong last.
    pub last_failure: Option<HostFailure>,
    /// Its hosts, in the order of preference, if they were asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<DeliveryHost>,
}

impl DeliveryReport {
    /// Connections that take work, or will when they have come about.
    pub fn connections(&self) -> u32 {
        self.busy + self.idle + self.opening
    }

    /// Takes in the same destination for mail from another pool. What is configured holds for both together.
    fn add(&mut self, other: DeliveryReport) {
        self.busy += other.busy;
        self.idle += other.idle;
        self.opening += other.opening;
        self.ending += other.ending;
        self.window = (self.window + other.window).min(self.connections_max);
        self.waiting += other.waiting;
        self.messages_per_s += other.messages_per_s;
        self.limited_by = self.limited_by.or(other.limited_by);
        self.suspended_until = self.suspended_until.max(other.suspended_until);
        let at = |failure: &Option<HostFailure>| failure.as_ref().map(|failure| failure.at);
        if at(&other.last_failure) > at(&self.last_failure) {
            self.last_failure = other.last_failure;
        }
        self.hosts.extend(other.hosts);
    }
}

/// What a host said that was no consent, or what happened to a connection to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostFailure {
    /// Its name.
    pub host: String,
    /// Where.
    pub remote: SocketAddr,
    /// When.
    #[serde(with = "rfc3339")]
    pub at: WallTime,
    /// In words.
    pub text: String,
}

/// One host of a destination, for the operator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeliveryHost {
    /// Its name.
    pub host: String,
    /// Where.
    pub remote: SocketAddr,
    /// From which pool of own addresses, where one was to be chosen: each of them has its own experience with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<String>,
    /// Whether it is used.
    pub state: HostState,
    /// Connections to it that take work.
    pub connections: u32,
    /// Failures in a row.
    pub failures: u32,
    /// It is left alone until then.
    #[serde(with = "rfc3339::option")]
    pub alone_until: Option<WallTime>,
    /// When it said the following.
    #[serde(with = "rfc3339::option")]
    pub last_at: Option<WallTime>,
    /// What it said last that was no consent, or what happened to a connection to it.
    pub last_reply: Option<String>,
}

/// Whether a host is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HostState {
    /// It is.
    Up,
    /// It has failed, and was not tried with success since.
    Failing,
    /// It has failed, and is left alone.
    Down,
    /// It has asked for a pause.
    Paused,
    /// The DNS names it no more.
    Gone,
}

impl HostState {
    /// In a word.
    pub fn text(self) -> &'static str {
        match self {
            HostState::Up => "up",
            HostState::Failing => "failing",
            HostState::Down => "down",
            HostState::Paused => "paused",
            HostState::Gone => "gone",
        }
    }
}

/// What is going on with a destination now, for the operator: like [`DestinationEntry`], without a look at each message.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TrafficEntry {
    /// Its name, as in a [`DestinationEntry`].
    pub destination: String,
    /// Messages that are to go there; what is held is none of them.
    pub messages: u64,
    /// Of these, those on their way.
    pub active: u64,
    /// Why nothing goes there, if nothing does.
    pub why: Option<String>,
    /// How they are delivered, if that has begun.
    pub delivery: Option<DeliveryReport>,
    /// By which its owner knows it.
    #[serde(skip)]
    pub key: Option<DestinationKey>,
}

impl TrafficEntry {
    fn add(&mut self, other: TrafficEntry) {
        self.messages += other.messages;
        self.active += other.active;
        self.why = self.why.take().or(other.why);
        self.key = self.key.or(other.key);
    }
}

/// Which destinations come first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TrafficOrder {
    /// Those with most messages.
    #[default]
    Messages,
    /// Those that most is delivered to.
    Rate,
    /// Those with most connections.
    Connections,
    /// Those at which something went wrong last.
    Failure,
    /// By name.
    Name,
}

impl TrafficOrder {
    fn sort(self, entries: &mut [TrafficEntry]) {
        let of = |entry: &TrafficEntry, number: fn(&DeliveryReport) -> u64| entry.delivery.as_ref().map_or(0, number);
        // Stable: equals stay in the order of their names.
        match self {
            TrafficOrder::Messages => entries.sort_by_key(|entry| Reverse(entry.messages)),
            // Of a rate that is told to a hundredth, no more counts.
            TrafficOrder::Rate => {
                entries.sort_by_key(|entry| Reverse(of(entry, |report| (report.messages_per_s * 100.0) as u64)));
            }
            TrafficOrder::Connections => {
                entries.sort_by_key(|entry| Reverse(of(entry, |report| report.connections().into())));
            }
            TrafficOrder::Failure => {
                let failed_at =
                    |report: &DeliveryReport| report.last_failure.as_ref().map_or(0, |failure| failure.at.micros());
                entries.sort_by_key(|entry| Reverse(of(entry, failed_at)));
            }
            TrafficOrder::Name => {}
        }
    }
}

/// How far a look at the destinations of a worker is: what waits comes first, of each of its schedules, and then what it owns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Walk {
    /// What waits, from this place on.
    Waiting {
        /// Of which schedule.
        schedule: usize,
        /// The place.
        place: usize,
    },
    /// What it owns, from this place on.
    Owned {
        /// The place.
        place: usize,
    },
}

impl Walk {
    /// All of it.
    pub const ALL: Walk = Walk::Waiting { schedule: 0, place: 0 };
    /// Only what it owns.
    pub const OWNED: Walk = Walk::Owned { place: 0 };
}

/// A destination that a worker owns.
#[derive(Clone, Debug, PartialEq)]
pub struct OwnedDestination {
    /// As all workers know it.
    pub key: DestinationKey,
    /// A name for it: of domains with the same hosts, that of one.
    pub name: String,
    /// How it is.
    pub report: DeliveryReport,
}

/// Destinations of a worker, as many as one breath can look at.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DestinationsReply {
    /// What waits, each name once.
    pub waiting: Vec<TrafficEntry>,
    /// What it owns.
    pub owned: Vec<OwnedDestination>,
    /// Where to go on, if that is not all.
    pub next: Option<Walk>,
}

/// What workers have told so far: of as many destinations as their queues have, and as they may own.
#[derive(Debug, Default)]
pub(super) struct Sum {
    entries: BTreeMap<String, DestinationEntry>,
    traffic: BTreeMap<String, TrafficEntry>,
    owned: BTreeMap<DestinationKey, OwnedDestination>,
}

impl Sum {
    /// Adds what waits, message by message.
    pub fn add_entries(&mut self, entries: Vec<DestinationEntry>) {
        entries.into_iter().for_each(|entry| entry.add_to(&mut self.entries));
    }

    /// Adds what a worker says of its destinations; where it is to go on.
    pub fn add(&mut self, reply: DestinationsReply) -> Option<Walk> {
        for entry in reply.waiting {
            match self.traffic.entry(entry.destination.clone()) {
                Entry::Vacant(place) => drop(place.insert(entry)),
                Entry::Occupied(mut known) => known.get_mut().add(entry),
            }
        }
        for owned in reply.owned {
            match self.owned.entry(owned.key) {
                Entry::Vacant(place) => drop(place.insert(owned)),
                Entry::Occupied(mut known) => known.get_mut().report.add(owned.report),
            }
        }
        reply.next
    }

    /// Those with most messages, and how many there are in all. Of one that was asked for by its name nothing need wait.
    pub fn entries(self, name: Option<&str>, limit: usize) -> (Vec<DestinationEntry>, usize) {
        let Sum { entries, owned, .. } = self;
        let mut entries: Vec<DestinationEntry> = entries.into_values().collect();
        if let (Some(name), true) = (name, entries.is_empty()) {
            let found = owned.values().find(|owned| owned.name.eq_ignore_ascii_case(name));
            entries.extend(found.map(|owned| DestinationEntry::of_nothing(owned.name.clone(), Some(owned.key))));
        }
        let count = entries.len();
        // Stable: equals stay in the order of their names.
        entries.sort_by_key(|entry| Reverse(entry.messages));
        entries.truncate(limit);
        for entry in &mut entries {
            entry.delivery = entry.key.and_then(|key| owned.get(&key)).map(|owned| owned.report.clone());
        }
        (entries, count)
    }

    /// The first ones, and how many there are in all: those that have messages, and those that are delivered to.
    pub fn traffic(self, order: TrafficOrder, limit: usize) -> (Vec<TrafficEntry>, usize) {
        let Sum { mut traffic, owned, .. } = self;
        let shared: BTreeSet<DestinationKey> = traffic.values().filter_map(|entry| entry.key).collect();
        for OwnedDestination { key, name, .. } in owned.values().filter(|owned| !shared.contains(&owned.key)) {
            let nothing = || TrafficEntry {
                destination: name.clone(),
                messages: 0,
                active: 0,
                why: None,
                delivery: None,
                key: None,
            };
            // Mail for a domain of that name may wait for other hosts by now.
            traffic.entry(name.clone()).or_insert_with(nothing).key.get_or_insert(*key);
        }
        let mut entries: Vec<TrafficEntry> = traffic.into_values().collect();
        for entry in &mut entries {
            entry.delivery = entry.key.and_then(|key| owned.get(&key)).map(|owned| owned.report.clone());
        }
        let count = entries.len();
        order.sort(&mut entries);
        entries.truncate(limit);
        (entries, count)
    }
}
