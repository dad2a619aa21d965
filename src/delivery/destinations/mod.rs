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
//! - How many it may have follows from how the receiver takes them: its [`window`] grows with what goes well and is halved by
//!   trouble. What is too many then ends when it has done its work.
//! - A host that fails is left alone for a growing time and the next one is tried. When none is left, one message is deferred,
//!   and all others go back untried, to wait for the destination; a connection refused while others are served only limits the
//!   window, and stops its growth for a while.
//! - What a receiver says may call for more: a table of reactions spares a host or a destination, or changes a fate ([`react`]).
//! - Limits that the configuration sets for a host are kept by accounts ([`share`]): what they do not allow
//!   waits, and so does what would go to a fallback otherwise.
//! - Mail from several pools to the same hosts is several destinations, as a pool is a part of its route: nothing of one goes over
//!   a connection of another, and where one is refused, another is not. The accounts of limits are common to them ([`group`]).
//! - A connection leaves from the own address that the first work which waits prefers, and is given what prefers that address. Where
//!   the limits or the receiver allow none from there, or it is busy for too long, work leaves from another address of its pool.
//! - Work that has waited for [`WORK_WAIT_MAX`](crate::limits::WORK_WAIT_MAX) goes back as well: who gave it knows how old it is.
//! - What is more urgent goes first, of what waits at a destination and of destinations that lack a connection; what is less has its turns
//!   as well ([`turns`](super::turns)).
//! - Destinations take turns, one step each. When all connections are in use, one that has none gets the next that can
//!   be spared: an idle one, one of several, or one that has done its share.
//! - An MX set becomes a destination when the first work for it comes, and is one for as long as it is used or nothing else needs its
//!   place. Work brings the hosts with it: where they have other addresses than before, those that stay keep what is
//!   known of them, and connections to the others come to their end.

mod action;
mod backlog;
mod group;
mod host;
mod news;
mod orders;
mod react;
mod result;
mod sets;
mod share;
mod status;
mod step;
mod target;
mod window;

pub use action::{Action, Behalf, ConnectionId, Settings};
pub use host::HostBackoff;
pub use news::News;
pub use status::{DestinationStatus, HostStatus, LastWord, Limited};

use super::turns::Ring;
use super::{Answer, DestinationId, Fate, Job, Reactions, RouteId, Routes, Shaping, TaskResult, Way, Work};
use crate::dns::MailHosts;
use crate::env::Instant;
use crate::limits::{MX_DESTINATIONS_MAX, MX_SET_QUEUE_FACTOR, QUIT_TIMEOUT, SHORTAGE_PAUSE, SHORTAGES_MAX};
use group::Groups;
use host::{OwnAddress, hosts_of};
use rand::SeedableRng;
use rand::rngs::StdRng;
use result::{completed, decided, is_delivery, is_overloaded, reason, refusal};
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
    /// Something may be done for a destination that could not be done before.
    Destination(usize),
    /// What waits at a destination may have waited for too long.
    Watch(usize),
}

/// All destinations that one worker owns.
#[derive(Debug)]
pub struct Destinations {
    settings: Settings,
    reactions: Reactions,
    shaping: Arc<Shaping>,
    own: Vec<OwnAddress>,
    random: StdRng,
    /// One per route, then one for what has no route, then those of MX sets.
    targets: Vec<Target>,
    /// One per family of routes, then one for what has no route, then those of MX sets.
    groups: Groups,
    /// Counts what destinations have taken of their limits.
    turns: u64,
    sets: Sets,
    connections: Slab<Connection>,
    generation: u32,
    timers: BTreeSet<(Instant, Timer)>,
    /// Idle connections by the end of their time: the first has idled longest.
    idle: BTreeSet<(Instant, ConnectionId)>,
    /// Destinations that something may be done for, in the order of their turns.
    dirty: VecDeque<usize>,
    /// Destinations that lack a connection because the limit of all is reached. May name some that no longer do.
    starved: Ring,
    /// Drained before anything else is decided, and at most one step ahead.
    actions: VecDeque<Action>,
    /// At most one for each report since they were taken.
    news: VecDeque<News>,
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
        let shaping = Arc::clone(routes.shaping());
        let mut groups = Groups::default();
        let mut targets: Vec<Target> = Vec::with_capacity(routes.count() + 1);
        let mut of_families = vec![None; routes.family_count()];
        for id in (0..routes.count()).map(DestinationId::from_index) {
            let route = routes.route(id);
            let mut fate = route.discards().then(|| Fate::Delivered(Answer::local((2, 0, 0), "discarded")));
            if route.mx {
                // Work that names no hosts.
                fate = Some(Fate::deferred(Answer::local((4, 4, 4), "a route by MX has no hosts of its own")));
            }
            let mut hosts = hosts_of(route, &own, &shaping);
            let known = &mut of_families[routes.family(id).index()];
            let group = *known.get_or_insert_with(|| groups.add(route.connections_max));
            groups.join(Instant::ZERO, group, targets.len(), &shaping, &mut hosts);
            targets.push(Target::new(hosts, group, route.pool.as_ref().map(|pool| pool.name.clone()), fate));
        }
        let nowhere = Fate::deferred(Answer::local((4, 4, 4), "no route for this domain"));
        let group = groups.add(1);
        groups.join(Instant::ZERO, group, targets.len(), &shaping, &mut []);
        targets.push(Target::new(Vec::new(), group, None, Some(nowhere)));
        Destinations {
            settings,
            reactions: Reactions::default(),
            sets: Sets::new(routes, targets.len()),
            shaping,
            own,
            random: StdRng::seed_from_u64(seed),
            targets,
            groups,
            turns: 0,
            connections: Slab::new(),
            generation: 0,
            timers: BTreeSet::new(),
            idle: BTreeSet::new(),
            dirty: VecDeque::new(),
            starved: Ring::default(),
            actions: VecDeque::new(),
            news: VecDeque::new(),
            waiting_count: 0,
            ending_count: 0,
            draining: false,
        }
    }

    /// With a table of reactions to replies.
    pub fn with_reactions(mut self, reactions: Reactions) -> Destinations {
        self.reactions = reactions;
        self
    }

    /// New connections leave from own addresses that are in use.
    pub fn set_in_use(&mut self, in_use: impl Fn(IpAddr) -> bool) {
        for own in &mut self.own {
            own.withdrawn = !in_use(own.ip);
        }
    }

    /// Takes work; gives it back if too much waits already, to be offered again later.
    pub fn push(&mut self, now: Instant, worker: u16, work: Work) -> Result<(), Work> {
        let place = match &work {
            Work::Deliver(Job { way: Way::Hosts { domain, route, hosts }, .. }) => {
                self.place_of_set(now, *route, hosts, domain)
            }
            Work::Deliver(Job { way: Way::Via(route), .. }) => Some(route.index()),
            _ => Some(work.destination().index().min(self.sets.fixed() - 1)),
        };
        let Some(place) = place else { return Err(work) };
        let target = &self.targets[place];
        if self.waiting_count >= self.settings.queue_max || !target.has_room(&work, self.queue_max(target)) {
            return Err(work);
        }
        let target = &mut self.targets[place];
        let waiting = Waiting { worker, work, since: now };
        match waiting.work {
            Work::Deliver(_) => target.waiting.push(waiting),
            Work::Verify { .. } => target.verifying.push_back(waiting),
        }
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
            } else {
                self.watch(place);
            }
        }
    }

    /// What the operator is to be told.
    pub fn news(&mut self) -> Option<News> {
        self.news.pop_front()
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
        self.forget(connection);
        let target = &mut self.targets[place];
        target.opening -= 1;
        target.hold_until = now + SHORTAGE_PAUSE;
        self.timers.insert((target.hold_until, Timer::Destination(place)));
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
        self.targets[place].hosts[host].note(now, &reason);
        if !self.targets[place].hosts[host].fail_tls(now) {
            return self.closed(now, connection, Some(reason));
        }
        self.forget(connection);
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
            target.untold = false;
            let serving = target.serving() + 1;
            target.window.admit(serving);
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
        let spared = match &result {
            TaskResult::Deliver { broken_off, fates, .. } => {
                // A connection that was over before the work came says nothing about the host.
                let untried = !fates.is_empty() && fates.iter().all(|(_, fate)| *fate == Fate::Untried);
                *broken_off || untried
            }
            TaskResult::Verify(_) => false,
        };
        let (place, host_place) = (known.destination, known.host);
        let (worker, mut result) = completed(in_hand, result);
        let asks = self.react(now, place, host_place, &mut result);
        let target = &mut self.targets[place];
        // A host that decides, whatever it says, is in working order.
        let (in_order, open) = (reusable || decided(&result), target.open());
        let host = &mut target.hosts[host_place];
        if let Some(answer) = refusal(&result) {
            host.note(now, answer);
        }
        if is_delivery(&result) {
            target.delivered.add(now);
        }
        target.busy -= 1;
        if in_order {
            if host.prove() {
                self.news.push_back(News::HostUp {
                    host: host.name.clone(),
                    remote: host.remote,
                    pool: target.pool.clone(),
                });
            }
        } else if !spared && host.drop_connection(now, &self.settings.host_backoff) {
            self.news.extend(reason(&result).map(|why| host.down(&target.pool, why)));
        }
        if asks || is_overloaded(&result) || !(in_order || spared) {
            target.window.shrink(open, target.busy);
        } else if decided(&result) {
            target.window.succeed(open);
        } else {
            target.window.pass();
        }
        self.actions.push_back(Action::Finished { worker, result });
        if reusable {
            self.rest(now, connection);
        } else {
            host.serving -= 1;
            self.end(now, connection);
        }
        self.trim(now, place);
    }

    /// The connection is gone. Work in hand that got no fate is deferred.
    pub fn closed(&mut self, now: Instant, connection: ConnectionId, reason: Option<Answer>) {
        if self.state(connection).is_none() {
            return;
        }
        let known = self.forget(connection);
        let mut reason = reason.unwrap_or_else(|| Answer::local((4, 4, 2), "the remote closed the connection"));
        self.react_to(now, known.destination, known.host, &mut reason);
        let backoff = self.settings.host_backoff;
        let target = &mut self.targets[known.destination];
        let host = &mut target.hosts[known.host];
        if !matches!(known.state, State::Idle | State::Ending) {
            host.note(now, &reason);
        }
        match known.state {
            State::Connecting | State::Greeting => {
                target.opening -= 1;
                if host.serving > 0 {
                    // The host is well; it has enough of us.
                    let refusals = target.window.refuse(target.serving());
                    target.hold_until = now + backoff.pause(refusals);
                    self.timers.insert((target.hold_until, Timer::Destination(known.destination)));
                } else {
                    host.fail(now, &backoff);
                    self.news.push_back(host.down(&target.pool, &reason));
                    target.untold = true;
                    if target.serving() == 0 {
                        let connections_max = self.groups.of(target.group).shares.connections_max(&target.hosts);
                        target.window.shrink(connections_max, 0);
                    }
                }
                target.last_failure = Some(reason);
            }
            State::Idle => host.serving -= 1,
            State::Busy(in_hand) => {
                host.serving -= 1;
                if host.drop_connection(now, &backoff) {
                    self.news.push_back(host.down(&target.pool, &reason));
                }
                let open = target.open();
                target.busy -= 1;
                target.window.shrink(open, target.busy);
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
        self.trim(now, known.destination);
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
            let known = self.forget(connection);
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

    /// Gives a question to an idle connection, or the delivery that waits at this place.
    fn start(&mut self, now: Instant, place: usize, connection: ConnectionId, suited: usize) {
        let target = &mut self.targets[place];
        let Some(Waiting { worker, work, .. }) = target.take(suited) else { return };
        target.idle.retain(|idle| *idle != connection);
        target.busy += 1;
        self.waiting_count -= 1;
        self.set_deadline(connection, None);
        let known = &mut self.connections[connection.index as usize];
        known.state = State::Busy(InHand::of(worker, &work));
        if let Work::Deliver(job) = &work {
            known.served = job.way.domain().cloned();
            let target = &self.targets[place];
            self.groups.shares(target.group).begin_message(now, &target.hosts[known.host]);
            self.take_turn(place);
        }
        self.actions.push_back(Action::Start { connection, work });
    }

    fn connect(&mut self, now: Instant, place: usize, host: usize) {
        self.generation = self.generation.wrapping_add(1);
        let generation = self.generation;
        let target = &mut self.targets[place];
        let own = target.hosts[host].source(&self.own, target.first());
        *target.count_from(own) += 1;
        let index = self.connections.insert(Connection {
            generation,
            destination: place,
            host,
            own,
            state: State::Connecting,
            transactions: 0,
            deadline: None,
            served: None,
            is_last: false,
        });
        let connection = ConnectionId { index: index as u32, generation };
        let target = &mut self.targets[place];
        let connect_timeout = target.hosts[host].limits.connect_timeout.unwrap_or(self.settings.connect_timeout);
        target.opening += 1;
        self.groups.shares(target.group).begin_connection(now, &target.hosts[host]);
        self.take_turn(place);
        self.set_deadline(connection, Some(now + connect_timeout));
        let behalf = self.targets[place].waiting.front().and_then(|waiting| match &waiting.work {
            Work::Deliver(job) => Behalf::of(job).map(Box::new),
            Work::Verify { .. } => None,
        });
        let target = &self.targets[place];
        let (host, own) = (&target.hosts[host], &self.own[own]);
        self.actions.push_back(Action::Connect {
            connection,
            destination: DestinationId::from_index(place),
            local: own.ip,
            pool: target.pool.clone(),
            remote: host.remote,
            protocol: host.protocol,
            security: host.security(now),
            ehlo_name: own.ehlo_name.clone(),
            host: host.name.clone(),
            behalf,
        });
    }

    /// Notes that a destination has no connection and gets none, and ends the one that idled longest in its favour. One
    /// that only wants more than it has must wait: two such would take each other's connections for ever.
    fn starve(&mut self, now: Instant, place: usize) {
        let target = &mut self.targets[place];
        if target.open() > 0 {
            return;
        }
        let class = target.class();
        self.starved.set(place, &mut target.starved, class);
        if self.ending_count < self.starved.len()
            && let Some(&(_, connection)) = self.idle.first()
        {
            self.quit(now, connection);
        }
    }

    /// Gives the next turn to a destination that lacked a connection; whether there was one.
    fn feed_starved(&mut self) -> bool {
        let Some(place) = self.starved.next(|_| true) else { return false };
        self.targets[place].starved = None;
        self.mark(place);
        true
    }

    /// A connection has nothing to do: it gets more work, waits for it, or ends.
    fn rest(&mut self, now: Instant, connection: ConnectionId) {
        let known = &mut self.connections[connection.index as usize];
        known.state = State::Idle;
        let place = known.destination;
        let (transactions, is_last) = (known.transactions, known.is_last);
        let target = &mut self.targets[place];
        target.idle.push(connection);
        let limits = &target.hosts[known.host].limits;
        let idle_timeout = limits.idle_timeout.unwrap_or(self.settings.idle_timeout);
        let transactions_max =
            limits.transactions_per_connection.unwrap_or(self.settings.transactions_per_connection_max);
        let too_many = target.open() > target.window.size() || target.is_spared(now, known.host);
        self.set_deadline(connection, Some(now + idle_timeout));
        let is_needed = self.is_needed_elsewhere(place, transactions);
        if self.draining || is_last || is_needed || too_many || transactions >= transactions_max {
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

    /// Ends idle connections that the receiver would rather do without, the one that was used last of all the last.
    fn trim(&mut self, now: Instant, place: usize) {
        while let Some(connection) = self.targets[place].surplus() {
            self.quit(now, connection);
        }
    }

    fn end(&mut self, now: Instant, connection: ConnectionId) {
        // First, as the deadline of an idle connection stands in two places.
        self.set_deadline(connection, None);
        let known = &mut self.connections[connection.index as usize];
        known.state = State::Ending;
        let (place, own) = (known.destination, known.own);
        let target = &mut self.targets[place];
        *target.count_from(own) -= 1;
        target.ending += 1;
        self.ending_count += 1;
        self.set_deadline(connection, Some(now + QUIT_TIMEOUT));
        self.mark(place);
    }

    fn expire(&mut self, now: Instant, timer: Timer) {
        match timer {
            Timer::Destination(place) => self.mark(place),
            Timer::Watch(place) => {
                self.targets[place].watched_at = None;
                self.mark(place);
            }
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
    fn place_of_set(&mut self, now: Instant, route: RouteId, hosts: &Arc<MailHosts>, domain: &str) -> Option<usize> {
        if let Some(place) = self.sets.find(route, hosts) {
            if self.sets.renew(place, hosts) {
                let mut fresh = self.sets.hosts(place, &self.own, &self.shaping);
                self.groups.shares(self.targets[place].group).assign(now, &self.shaping, &mut fresh);
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
            let place = self.sets.make_room(|place| targets[place].is_unused(now))?;
            self.groups.leave(self.targets[place].group, place);
            place
        };
        let group = match self.sets.sibling(route, hosts) {
            Some(sibling) => self.targets[sibling].group,
            None => self.groups.add(self.sets.route(route).connections_max),
        };
        self.sets.insert(place, route, hosts, domain);
        let mut hosts = self.sets.hosts(place, &self.own, &self.shaping);
        self.groups.join(now, group, place, &self.shaping, &mut hosts);
        let pool = self.sets.route(route).pool.as_ref().map(|pool| pool.name.clone());
        let target = Target { is_set: true, ..Target::new(hosts, group, pool, None) };
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

    /// Takes a connection out of all tables but the counts of its state.
    fn forget(&mut self, connection: ConnectionId) -> Connection {
        self.set_deadline(connection, None);
        let known = self.connections.remove(connection.index as usize);
        let target = &mut self.targets[known.destination];
        self.groups.shares(target.group).end_connection(&target.hosts[known.host]);
        if matches!(known.state, State::Idle) {
            target.idle.retain(|idle| *idle != connection);
        }
        if !matches!(known.state, State::Ending) {
            *target.count_from(known.own) -= 1;
        }
        self.wake_group(known.destination);
        known
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

#[cfg(test)]
mod tests;
