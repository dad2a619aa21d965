//! The owner half: hosts and connections of the destinations that this worker owns.
//!
//! In: work from the home workers, and what becomes of connections. Out: [`Action`]s. It opens no connection and
//! knows no session: the glue does what an action says and reports.
//!
//! ```text
//!            Connect          established            ready             done, not reusable
//!  (wanted) ────────► opening ──────────► greeting ────────► idle ◄──┐     ┌─► ending ─► (gone)
//!                        │ connect_failed    │ closed     Start │    │done │      ▲ Quit
//!                        └──► (gone) ◄───────┘                  └─► busy ──┘      └─ idle
//! ```
//!
//! - A destination starts with one connection; more follow while work waits and none is idle, never more at a time
//!   than are served already. So a host that is down costs one connection attempt per pause.
//! - A host that fails is left alone for a growing time and the next one is tried. When none is left, what waits is
//!   answered at once; a connection refused while others are served only stops the growth for a while.
//! - Destinations take turns, one step each. When all connections are in use, one that has none gets the next that can
//!   be spared: an idle one, one of several, or one that has done its share.
//! - An MX set becomes a destination when the first work for it comes, and is one for as long as it is used or nothing else needs its
//!   place. Work brings the hosts with it: where they have other addresses than before, those that stay keep what is
//!   known of them, and connections to the others come to their end.

mod action;
mod host;
mod sets;
mod target;

pub use action::{Action, ConnectionId, DestinationStatus, HostStatus, Settings};
pub use host::HostBackoff;

use super::{Answer, DestinationId, Fate, Job, JobResult, RouteId, Routes, TaskResult, Way, Work, WorkResult};
use crate::dns::MailHosts;
use crate::env::Instant;
use crate::limits::{
    Gauge, MX_DESTINATIONS_MAX, MX_SET_QUEUE_FACTOR, QUIT_TIMEOUT, SHORTAGE_PAUSE, SHORTAGES_MAX, STARVED_TRANSACTIONS,
};
use host::{OwnAddress, choose, hosts_of};
use rand::SeedableRng;
use rand::rngs::StdRng;
use sets::Sets;
use slab::Slab;
use std::collections::{BTreeSet, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;
use target::{Connection, InHand, State, Target, Waiting};

/// What a timer is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    Connection(ConnectionId),
    /// The growth of a destination's connections was held until then.
    Growth(usize),
}

/// All destinations that one worker owns.
#[derive(Debug)]
pub struct Destinations {
    settings: Settings,
    own: Vec<OwnAddress>,
    random: StdRng,
    /// One per route, then one for what has no route, then those of MX sets.
    targets: Vec<Target>,
    sets: Sets,
    connections: Slab<Connection>,
    generation: u32,
    timers: BTreeSet<(Instant, Timer)>,
    /// Idle connections by the end of their time: the first has idled longest.
    idle: BTreeSet<(Instant, ConnectionId)>,
    /// Destinations that something may be done for, in the order of their turns.
    dirty: VecDeque<usize>,
    /// Destinations that lack a connection because the limit of all is reached. May name some that no longer do.
    starved: VecDeque<usize>,
    /// Drained before anything else is decided, and at most one step ahead.
    actions: VecDeque<Action>,
    /// At most `settings.queue_max`.
    waiting_count: usize,
    ending_count: usize,
    draining: bool,
}

impl Destinations {
    /// Nothing to do yet. `own` are the appliance's addresses with their EHLO names, the first of each family
    /// being the one that is used unless a route says otherwise.
    pub fn new(routes: &Routes, settings: Settings, own: &[(IpAddr, Box<str>)], seed: u64) -> Destinations {
        let own: Vec<OwnAddress> = own
            .iter()
            .map(|(ip, name)| OwnAddress { ip: *ip, ehlo_name: Arc::from(&**name), withdrawn: false })
            .collect();
        let mut targets: Vec<Target> = (0..routes.count())
            .map(|index| routes.route(DestinationId::from_index(index)))
            .map(|route| {
                let mut fate = route.discards().then(|| Fate::Delivered(Answer::local((2, 0, 0), "discarded")));
                if route.mx {
                    // Work that names no hosts.
                    fate = Some(Fate::deferred(Answer::local((4, 4, 4), "a route by MX has no hosts of its own")));
                }
                Target::new(hosts_of(route, &own), route.connections_max, fate)
            })
            .collect();
        let nowhere = Fate::deferred(Answer::local((4, 4, 4), "no route for this domain"));
        targets.push(Target::new(Vec::new(), 1, Some(nowhere)));
        Destinations {
            settings,
            sets: Sets::new(routes, targets.len()),
            own,
            random: StdRng::seed_from_u64(seed),
            targets,
            connections: Slab::new(),
            generation: 0,
            timers: BTreeSet::new(),
            idle: BTreeSet::new(),
            dirty: VecDeque::new(),
            starved: VecDeque::new(),
            actions: VecDeque::new(),
            waiting_count: 0,
            ending_count: 0,
            draining: false,
        }
    }

    /// New connections leave from own addresses that are in use.
    pub fn set_in_use(&mut self, in_use: impl Fn(IpAddr) -> bool) {
        for own in &mut self.own {
            own.withdrawn = !in_use(own.ip);
        }
    }

    /// Shows how full its tables are.
    pub fn gauge(&self, see: &mut dyn FnMut(Gauge)) {
        see(Gauge::new("outgoing connections", self.connections.len(), self.settings.connections_max));
        see(Gauge::new("jobs that wait for a connection", self.waiting_count, self.settings.queue_max));
        for target in &self.targets {
            see(Gauge::new("jobs of one destination", target.backlog(), self.queue_max(target)));
        }
        see(Gauge::new("MX sets", self.sets.count(), MX_DESTINATIONS_MAX));
    }

    /// Takes work; gives it back if too much waits already, to be offered again later.
    pub fn push(&mut self, now: Instant, worker: u16, work: Work) -> Result<(), Work> {
        let place = match &work {
            Work::Deliver(Job { way: Way::Hosts { route, hosts }, .. }) => self.place_of_set(now, *route, hosts),
            _ => Some(work.destination().index().min(self.sets.fixed() - 1)),
        };
        let Some(place) = place else { return Err(work) };
        let target = &self.targets[place];
        if self.waiting_count >= self.settings.queue_max || target.backlog() >= self.queue_max(target) {
            return Err(work);
        }
        let target = &mut self.targets[place];
        let queue = match work {
            Work::Deliver(_) => &mut target.waiting,
            Work::Verify { .. } => &mut target.verifying,
        };
        queue.push_back(Waiting { worker, work, failures_before: target.failures });
        self.waiting_count += 1;
        self.mark(place);
        Ok(())
    }

    /// The next thing to do; to be drained after every report and at every deadline.
    pub fn poll(&mut self, now: Instant) -> Option<Action> {
        loop {
            if let Some(action) = self.actions.pop_front() {
                return Some(action);
            }
            if let Some(&(at, timer)) = self.timers.first()
                && at <= now
            {
                self.timers.pop_first();
                self.expire(now, timer);
                continue;
            }
            let Some(place) = self.dirty.pop_front() else {
                // The one that was woken for a free place may not have taken it, its hosts being down.
                if self.connections.len() < self.settings.connections_max && self.feed_starved() {
                    continue;
                }
                return None;
            };
            self.targets[place].dirty = false;
            if self.step(now, place) {
                self.mark(place);
            }
        }
    }

    /// TCP has answered: from here on the session's timeouts count, not the connection's.
    pub fn established(&mut self, _now: Instant, connection: ConnectionId) {
        if let Some(State::Connecting) = self.state(connection) {
            self.set_deadline(connection, None);
            self.connections[connection.index as usize].state = State::Greeting;
        }
    }

    /// The connection could not be opened.
    pub fn connect_failed(&mut self, now: Instant, connection: ConnectionId, reason: Answer) {
        self.closed(now, connection, Some(reason));
    }

    /// No connection could be opened for want of something of our own, such as a free place or port: that says nothing about
    /// the host. What waits for it goes on waiting, for a while.
    pub fn connect_impossible(&mut self, now: Instant, connection: ConnectionId, reason: Answer) {
        if !matches!(self.state(connection), Some(State::Connecting)) {
            return;
        }
        let place = self.connections[connection.index as usize].destination;
        let target = &mut self.targets[place];
        target.shortages += 1;
        if target.shortages > SHORTAGES_MAX {
            target.shortages = 0;
            return self.closed(now, connection, Some(reason));
        }
        self.set_deadline(connection, None);
        self.connections.remove(connection.index as usize);
        let target = &mut self.targets[place];
        target.opening -= 1;
        target.hold_until = now + SHORTAGE_PAUSE;
        self.timers.insert((target.hold_until, Timer::Growth(place)));
        self.feed_starved();
    }

    /// The handshake of TLS failed, and the connection is over. Where mail may go in the clear, the next one to this host does, at
    /// once; else it is a host that cannot be used.
    pub fn tls_failed(&mut self, now: Instant, connection: ConnectionId, reason: Answer) {
        if !matches!(self.state(connection), Some(State::Connecting | State::Greeting)) {
            return;
        }
        let known = &self.connections[connection.index as usize];
        let (place, host) = (known.destination, known.host);
        if !self.targets[place].hosts[host].fail_tls(now) {
            return self.closed(now, connection, Some(reason));
        }
        self.set_deadline(connection, None);
        self.connections.remove(connection.index as usize);
        self.targets[place].opening -= 1;
        self.feed_starved();
        self.mark(place);
    }

    /// The remote has greeted: the connection takes work.
    pub fn ready(&mut self, now: Instant, connection: ConnectionId) {
        if let Some(State::Connecting | State::Greeting) = self.state(connection) {
            let known = &self.connections[connection.index as usize];
            let target = &mut self.targets[known.destination];
            let host = &mut target.hosts[known.host];
            host.serving += 1;
            host.down_until = Instant::ZERO;
            target.opening -= 1;
            target.shortages = 0;
            self.rest(now, connection);
        }
    }

    /// The work is finished. `reusable`: the session is ready for more; otherwise it is closing, and `closed` follows.
    pub fn done(&mut self, now: Instant, connection: ConnectionId, result: TaskResult, reusable: bool) {
        if !matches!(self.state(connection), Some(State::Busy(_))) {
            return;
        }
        let known = &mut self.connections[connection.index as usize];
        let State::Busy(in_hand) = std::mem::replace(&mut known.state, State::Idle) else { return };
        known.transactions = known.transactions.saturating_add(1);
        let target = &mut self.targets[known.destination];
        let host = &mut target.hosts[known.host];
        target.busy -= 1;
        let spared = match &result {
            TaskResult::Deliver { broken_off, fates, .. } => {
                // A connection that was over before the work came says nothing about the host.
                let untried = !fates.is_empty() && fates.iter().all(|(_, fate)| *fate == Fate::Untried);
                *broken_off || untried
            }
            TaskResult::Verify(_) => false,
        };
        let (worker, result) = completed(in_hand, result);
        // A host that decides, whatever it says, is in working order.
        if reusable || decided(&result) {
            host.prove();
        } else if !spared {
            host.drop_connection(now, &self.settings.host_backoff);
        }
        self.actions.push_back(Action::Finished { worker, result });
        if reusable {
            self.rest(now, connection);
        } else {
            host.serving -= 1;
            self.end(now, connection);
        }
    }

    /// The connection is gone. Work in hand that got no fate is deferred.
    pub fn closed(&mut self, now: Instant, connection: ConnectionId, reason: Option<Answer>) {
        if self.state(connection).is_none() {
            return;
        }
        self.set_deadline(connection, None);
        let known = self.connections.remove(connection.index as usize);
        let reason = reason.unwrap_or_else(|| Answer::local((4, 4, 2), "the remote closed the connection"));
        let backoff = self.settings.host_backoff;
        let target = &mut self.targets[known.destination];
        let host = &mut target.hosts[known.host];
        match known.state {
            State::Connecting | State::Greeting => {
                target.opening -= 1;
                target.failures += 1;
                if host.serving > 0 {
                    // The host is well; it has enough of us.
                    target.hold_until = now + backoff.first;
                    self.timers.insert((target.hold_until, Timer::Growth(known.destination)));
                } else {
                    host.fail(now, &backoff);
                }
                target.last_failure = Some(reason);
            }
            State::Idle => {
                host.serving -= 1;
                target.idle.retain(|idle| *idle != connection);
            }
            State::Busy(in_hand) => {
                host.serving -= 1;
                host.drop_connection(now, &backoff);
                target.busy -= 1;
                let (worker, result) = in_hand.all(&Fate::deferred(reason.clone()));
                target.last_failure = Some(reason);
                self.actions.push_back(Action::Finished { worker, result });
            }
            State::Ending => {
                target.ending -= 1;
                self.ending_count -= 1;
            }
        }
        // A free place goes to who waited for one before it goes to whose it was.
        self.feed_starved();
        self.mark(known.destination);
    }

    /// Shutdown: what is in hand is finished, nothing more is started, what waits (and what comes) is handed back
    /// untried. It is over when [`idle`](Destinations::idle) says so.
    pub fn drain(&mut self, now: Instant) {
        self.draining = true;
        let opening: Vec<ConnectionId> = (self.connections.iter())
            .filter(|(_, known)| matches!(known.state, State::Connecting | State::Greeting))
            .map(|(index, known)| ConnectionId { index: index as u32, generation: known.generation })
            .collect();
        for connection in opening {
            self.set_deadline(connection, None);
            let known = self.connections.remove(connection.index as usize);
            self.targets[known.destination].opening -= 1;
            self.actions.push_back(Action::Abort { connection });
        }
        while let Some(&(_, connection)) = self.idle.first() {
            self.quit(now, connection);
        }
        for place in 0..self.targets.len() {
            self.mark(place);
        }
    }

    /// No connection is left and nothing waits.
    pub fn idle(&self) -> bool {
        self.connections.is_empty() && self.waiting_count == 0 && self.actions.is_empty()
    }

    /// When [`poll`](Destinations::poll) must be called even if nothing is reported.
    pub fn next_deadline(&self) -> Option<Instant> {
        if self.actions.is_empty() && self.dirty.is_empty() {
            self.timers.first().map(|(at, _)| *at)
        } else {
            Some(Instant::ZERO)
        }
    }

    /// Destinations that have work, connections or failing hosts.
    pub fn status(&self, now: Instant) -> Vec<DestinationStatus> {
        let nowhere = self.sets.fixed() - 1;
        let busy = |target: &Target| {
            target.backlog() > 0 || target.connections() > 0 || target.hosts.iter().any(|host| host.failures > 0)
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
                last_failure: target.last_failure.clone(),
                hosts: (target.hosts.iter())
                    .map(|host| HostStatus {
                        remote: host.remote,
                        name: host.name.clone(),
                        failures: host.failures,
                        down_until: Some(host.down_until).filter(|until| *until > now),
                    })
                    .collect(),
            })
            .collect()
    }

    /// Does one thing for a destination; whether there may be more to do.
    fn step(&mut self, now: Instant, place: usize) -> bool {
        let target = &mut self.targets[place];
        if target.backlog() == 0 {
            return false;
        }
        if self.draining {
            return self.answer(place, |_, _| Fate::Untried);
        }
        if let Some(fate) = target.fate.clone() {
            return self.answer(place, |_, _| fate);
        }
        if let Some(connection) = target.idle.last().copied() {
            self.start(place, connection);
            return true;
        }
        if !target.wants_connection(now, &self.settings) {
            return false;
        }
        let Some(host) = choose(&target.hosts, now, &mut self.random) else {
            // Connections that are served or being opened will still take what waits.
            return target.serving() + target.opening == 0
                && self.answer(place, |target, waiting| target.unreachable_fate(now, waiting));
        };
        if self.connections.len() >= self.settings.connections_max {
            self.starve(now, place);
            return false;
        }
        self.connect(now, place, host);
        true
    }

    /// Answers the first that waits, without a connection.
    fn answer(&mut self, place: usize, fate: impl FnOnce(&Target, &Waiting) -> Fate) -> bool {
        let target = &mut self.targets[place];
        let Some(waiting) = target.pop() else { return false };
        self.waiting_count -= 1;
        let fate = fate(target, &waiting);
        let (worker, result) = InHand::of(waiting.worker, &waiting.work).all(&fate);
        self.actions.push_back(Action::Finished { worker, result });
        true
    }

    /// Gives the first that waits to an idle connection.
    fn start(&mut self, place: usize, connection: ConnectionId) {
        let target = &mut self.targets[place];
        let Some(Waiting { worker, work, .. }) = target.pop() else { return };
        target.idle.retain(|idle| *idle != connection);
        target.busy += 1;
        self.waiting_count -= 1;
        self.set_deadline(connection, None);
        self.connections[connection.index as usize].state = State::Busy(InHand::of(worker, &work));
        self.actions.push_back(Action::Start { connection, work });
    }

    fn connect(&mut self, now: Instant, place: usize, host: usize) {
        self.generation = self.generation.wrapping_add(1);
        let generation = self.generation;
        let index = self.connections.insert(Connection {
            generation,
            destination: place,
            host,
            state: State::Connecting,
            transactions: 0,
            deadline: None,
        });
        let connection = ConnectionId { index: index as u32, generation };
        self.set_deadline(connection, Some(now + self.settings.connect_timeout));
        let target = &mut self.targets[place];
        target.opening += 1;
        let host = &target.hosts[host];
        let own = &self.own[host.source(&self.own, &mut self.random)];
        self.actions.push_back(Action::Connect {
            connection,
            destination: DestinationId::from_index(place),
            local: own.ip,
            remote: host.remote,
            protocol: host.protocol,
            security: host.security(now),
            ehlo_name: own.ehlo_name.clone(),
            host: host.name.clone(),
        });
    }

    /// Notes that a destination has no connection and gets none, and ends the one that idled longest in its favour. One
    /// that only wants more than it has must wait: two such would take each other's connections for ever.
    fn starve(&mut self, now: Instant, place: usize) {
        let target = &mut self.targets[place];
        if target.serving() + target.opening > 0 {
            return;
        }
        if !target.starved {
            target.starved = true;
            self.starved.push_back(place);
        }
        if self.ending_count < self.starved.len()
            && let Some(&(_, connection)) = self.idle.first()
        {
            self.quit(now, connection);
        }
    }

    /// Gives the next turn to a destination that lacked a connection; whether there was one.
    fn feed_starved(&mut self) -> bool {
        let Some(place) = self.starved.pop_front() else { return false };
        self.targets[place].starved = false;
        self.mark(place);
        true
    }

    /// A connection has nothing to do: it gets more work, waits for it, or ends.
    fn rest(&mut self, now: Instant, connection: ConnectionId) {
        let known = &mut self.connections[connection.index as usize];
        known.state = State::Idle;
        let place = known.destination;
        let transactions = known.transactions;
        let target = &mut self.targets[place];
        target.idle.push(connection);
        let spare = target.connections() > 1 || transactions >= STARVED_TRANSACTIONS || target.backlog() == 0;
        self.set_deadline(connection, Some(now + self.settings.idle_timeout));
        let starving = self.ending_count < self.starved.len() && spare;
        if self.draining || starving || transactions >= self.settings.transactions_per_connection_max {
            self.quit(now, connection);
        }
        self.mark(place);
    }

    /// Asks an idle connection to end.
    fn quit(&mut self, now: Instant, connection: ConnectionId) {
        let known = &self.connections[connection.index as usize];
        let target = &mut self.targets[known.destination];
        target.idle.retain(|idle| *idle != connection);
        target.hosts[known.host].serving -= 1;
        self.actions.push_back(Action::Quit { connection });
        self.end(now, connection);
    }

    fn end(&mut self, now: Instant, connection: ConnectionId) {
        // First, as the deadline of an idle connection stands in two places.
        self.set_deadline(connection, None);
        let known = &mut self.connections[connection.index as usize];
        known.state = State::Ending;
        let place = known.destination;
        self.targets[place].ending += 1;
        self.ending_count += 1;
        self.set_deadline(connection, Some(now + QUIT_TIMEOUT));
        self.mark(place);
    }

    fn expire(&mut self, now: Instant, timer: Timer) {
        match timer {
            Timer::Growth(place) => self.mark(place),
            Timer::Connection(connection) => match self.state(connection) {
                Some(State::Idle) => self.quit(now, connection),
                Some(State::Connecting) => {
                    self.actions.push_back(Action::Abort { connection });
                    let known = &self.connections[connection.index as usize];
                    let host = &self.targets[known.destination].hosts[known.host];
                    let text = format!("connect to {} ({}): timed out", host.name, host.remote);
                    self.closed(now, connection, Some(Answer::local((4, 4, 1), text)));
                }
                Some(State::Ending) => {
                    self.actions.push_back(Action::Abort { connection });
                    self.closed(now, connection, None);
                }
                Some(State::Greeting | State::Busy(_)) | None => {}
            },
        }
    }

    /// The place of an MX set, with these hosts or later ones. `None`: there is no room for one more now.
    fn place_of_set(&mut self, now: Instant, route: RouteId, hosts: &Arc<MailHosts>) -> Option<usize> {
        if let Some(place) = self.sets.find(route, hosts) {
            if self.sets.renew(place, hosts) {
                let fresh = self.sets.hosts(place, &self.own);
                let connections = || self.connections.iter().filter(|(_, known)| known.destination == place);
                let in_use = |host| connections().any(|(_, known)| known.host == host);
                let moved = self.targets[place].renew_hosts(fresh, in_use);
                for (_, known) in self.connections.iter_mut().filter(|(_, known)| known.destination == place) {
                    known.host = moved[known.host];
                }
                self.mark(place);
            }
            return Some(place);
        }
        let place = if self.sets.count() < MX_DESTINATIONS_MAX {
            self.targets.len()
        } else {
            let targets = &self.targets;
            self.sets.make_room(|place| targets[place].is_unused(now))?
        };
        self.sets.insert(place, route, hosts);
        let mut target = Target::new(self.sets.hosts(place, &self.own), self.sets.connections_max(route), None);
        target.is_set = true;
        if place == self.targets.len() {
            self.targets.push(target);
        } else {
            self.targets[place] = target;
        }
        Some(place)
    }

    /// Work that may wait at a destination: at an MX set comes that of many domains.
    fn queue_max(&self, target: &Target) -> usize {
        let domains = if target.is_set { MX_SET_QUEUE_FACTOR } else { 1 };
        self.settings.destination_queue_max.saturating_mul(domains)
    }

    fn state(&self, connection: ConnectionId) -> Option<&State> {
        let known = self.connections.get(connection.index as usize)?;
        (known.generation == connection.generation).then_some(&known.state)
    }

    /// Moves a connection's deadline; an idle one also stands in the order of idling.
    fn set_deadline(&mut self, connection: ConnectionId, deadline: Option<Instant>) {
        let known = &mut self.connections[connection.index as usize];
        if let Some(before) = known.deadline {
            self.timers.remove(&(before, Timer::Connection(connection)));
            self.idle.remove(&(before, connection));
        }
        known.deadline = deadline;
        if let Some(at) = deadline {
            self.timers.insert((at, Timer::Connection(connection)));
            if matches!(known.state, State::Idle) {
                self.idle.insert((at, connection));
            }
        }
    }

    fn mark(&mut self, place: usize) {
        let target = &mut self.targets[place];
        if !target.dirty {
            target.dirty = true;
            self.dirty.push_back(place);
        }
    }
}

/// The result of work in hand, with one fate for each recipient whatever the session reported.
fn completed(in_hand: InHand, result: TaskResult) -> (u16, WorkResult) {
    let missing = || Fate::deferred(Answer::local((4, 3, 0), "the session ended without an answer"));
    match (in_hand, result) {
        (
            InHand::Deliver { worker, id, destination, recipients },
            TaskResult::Deliver { fates: mut reported, dsn_offered, .. },
        ) => {
            // Stable, so that of two fates for one recipient the first counts.
            reported.sort_by_key(|(index, _)| *index);
            reported.dedup_by_key(|(index, _)| *index);
            let mut reported = reported.into_iter().peekable();
            let mut fates = Vec::with_capacity(recipients.len());
            for index in recipients {
                while reported.next_if(|(other, _)| *other < index).is_some() {}
                let fate = reported.next_if(|(other, _)| *other == index).map_or_else(missing, |(_, fate)| fate);
                fates.push((index, fate));
            }
            (worker, WorkResult::Deliver(JobResult { id, destination, fates, dsn_offered }))
        }
        (InHand::Verify { worker, token }, TaskResult::Verify(fate)) => (worker, WorkResult::Verify { token, fate }),
        // An answer to another question is none.
        (in_hand, _) => in_hand.all(&missing()),
    }
}

/// Whether the remote has decided about anything.
fn decided(result: &WorkResult) -> bool {
    let decision = |fate: &Fate| matches!(fate, Fate::Delivered(_) | Fate::Failed(_));
    match result {
        WorkResult::Deliver(result) => result.fates.iter().any(|(_, fate)| decision(fate)),
        WorkResult::Verify { fate, .. } => decision(fate),
    }
}

#[cfg(test)]
mod tests;
