//! What is done next for a destination.
//!
//! In: what waits, what idles, and what hosts and limits allow. Out: one thing at a time: work for a connection, a connection for work, or
//! an answer without either; or nothing, and when to look again.

use super::host::{Choice, Host, choose};
use super::target::{Connection, InHand, Lack, Waiting};
use super::{Action, ConnectionId, Destinations, Timer};
use crate::delivery::{Answer, Fate, Standstill, WorkResult};
use crate::env::Instant;
use crate::limits::PREFERRED_PATIENCE;

impl Destinations {
    /// Does one thing for a destination; whether there may be more to do.
    pub(super) fn step(&mut self, now: Instant, place: usize) -> bool {
        let target = &mut self.targets[place];
        target.lack = Lack::Nothing;
        if target.backlog() == 0 {
            target.untold = false;
            return false;
        }
        if self.draining {
            return self.answer(place, &Fate::Untried, None);
        }
        if let Some(fate) = target.fate.clone() {
            if matches!(fate, Fate::Delivered(_)) {
                target.delivered.add(now);
            }
            return self.answer(place, &fate, None);
        }
        if let Some((until, why)) = target.suspended(now).cloned() {
            let fate = target.standing_fate(&why);
            return self.answer(place, &fate, Some(Standstill::Closed { until, why }));
        }
        if let Some(waiting) = target.waiting.pop_overdue(now) {
            let why =
                Answer::local((4, 4, 5), "it waits for a connection, or for what the limits of its destination allow");
            self.finish(waiting, &Fate::Untried, Some(Standstill::Waited { why }));
            return true;
        }
        let known = |connection: ConnectionId| &self.connections[connection.index as usize];
        let shares = &self.groups.of(target.group).shares;
        let is_question = !target.verifying.is_empty();
        let mut allowed_at: Option<Instant> = None;
        let mut unsuited: Option<ConnectionId> = None;
        for connection in target.idle.iter().rev().copied() {
            let Connection { host, own, .. } = *known(connection);
            // A client waits for the answer to a question, and it is no message.
            let at = if is_question { now } else { shares.message_at(now, &target.hosts[host]) };
            if at > now {
                allowed_at = allowed_at.into_iter().chain([at]).min();
            } else if let Some(suited) = target.suited(host, own, &self.own) {
                if !is_question && self.gives_way(now, place, false) {
                    return true;
                }
                self.start(now, place, connection, suited);
                return true;
            } else {
                unsuited.get_or_insert(connection);
            }
        }
        if allowed_at.is_some() {
            self.targets[place].lack = Lack::Turn;
        }
        let target = &self.targets[place];
        if unsuited.is_none() && !target.wants_connection(now, &self.settings) {
            self.look_again(allowed_at, place);
            return false;
        }
        let allowed = |host: &Host| shares.connection_at(now, host, is_question);
        let choice = choose(&target.hosts, now, &mut self.random, allowed);
        if let Some(idle) = unsuited {
            return self.suit(now, place, idle, choice, allowed_at);
        }
        let host = match choice {
            Choice::Host(host) => host,
            Choice::Later(at) => {
                self.look_again(allowed_at.into_iter().chain(at).min(), place);
                self.lacks(now, place, at);
                return false;
            }
            // Connections that are served or being opened will still take what waits.
            Choice::Nobody if target.open() > 0 => {
                self.look_again(allowed_at, place);
                return false;
            }
            Choice::Nobody => {
                let (fate, standstill) = self.targets[place].unreachable(now);
                return self.answer(place, &fate, standstill);
            }
        };
        if self.connections.len() >= self.settings.connections_max {
            self.starve(now, place);
            return false;
        }
        if self.gives_way(now, place, true) {
            return true;
        }
        self.connect(now, place, host);
        true
    }

    /// What waits first prefers another own address than that of any connection which idles.
    fn suit(
        &mut self,
        now: Instant,
        place: usize,
        idle: ConnectionId,
        choice: Choice,
        allowed_at: Option<Instant>,
    ) -> bool {
        let target = &self.targets[place];
        let Some(waiting) = target.waiting.front() else { return false };
        let patient_until = waiting.since + PREFERRED_PATIENCE;
        let host = match choice {
            Choice::Host(host) if self.connections.len() < self.settings.connections_max => Some(host),
            _ => None,
        };
        let reached = host.unwrap_or(self.connections[idle.index as usize].host);
        let own = target.hosts[reached].source(&self.own, Some(&waiting.work));
        let there_is_one = target.from_own.get(own).is_some_and(|count| *count > 0);
        let wants = if there_is_one { target.wants_connection(now, &self.settings) } else { target.may_begin(now) };
        if there_is_one && !wants && now < patient_until {
            self.look_again(allowed_at.into_iter().chain([patient_until]).min(), place);
            return false;
        }
        let host = host.filter(|_| wants);
        if !self.gives_way(now, place, host.is_some()) {
            match host {
                Some(host) => self.connect(now, place, host),
                None => self.start(now, place, idle, 0),
            }
        }
        true
    }

    /// Has a look at what waits when it has done so for too long, as long as anything does.
    pub(super) fn watch(&mut self, place: usize) {
        let target = &mut self.targets[place];
        if target.waiting.is_empty() {
            if let Some(at) = target.watched_at.take() {
                self.timers.remove(&(at, Timer::Watch(place)));
            }
        } else if let Some(at) = target.watch() {
            self.timers.insert((at, Timer::Watch(place)));
        }
    }

    /// What the limits do not allow now they may allow then.
    pub(super) fn look_again(&mut self, at: Option<Instant>, place: usize) {
        self.timers.extend(at.map(|at| (at, Timer::Destination(place))));
    }

    /// Answers the first that waits, without a connection.
    fn answer(&mut self, place: usize, fate: &Fate, standstill: Option<Standstill>) -> bool {
        let waiting = self.targets[place].take(0);
        let any = waiting.is_some();
        waiting.into_iter().for_each(|waiting| self.finish(waiting, fate, standstill.clone()));
        any
    }

    /// Gives work back that waits no more.
    pub(super) fn finish(&mut self, waiting: Waiting, fate: &Fate, standstill: Option<Standstill>) {
        self.waiting_count -= 1;
        let (worker, mut result) = InHand::of(waiting.worker, &waiting.work).all(fate);
        if let WorkResult::Deliver(result) = &mut result {
            result.standstill = standstill.map(Box::new);
        }
        self.actions.push_back(Action::Finished { worker, result });
    }
}
