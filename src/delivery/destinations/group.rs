//! Destinations for which the same limits hold: those of one family of routes with the same hosts, one for each pool.
//!
//! In: what a destination would take of the limits, and what it has taken. Out: whether another one goes first. A receiver is not to
//! see more of us because we come from several addresses, so that the accounts of limits are the group's; and no pool is to starve
//! another, however much it has to send:
//!
//! - What a rate allows goes to the one that has had nothing for the longest time, of those that could have used it.
//! - One that has no connection, as others have all that are allowed, gets the next that can be spared: one without work, one of several,
//!   or one that has done its share. Who only wants more than it has must wait until one ends.

use super::Destinations;
use super::host::Host;
use super::share::Shares;
use super::target::{Lack, Target};
use crate::delivery::Shaping;
use crate::env::Instant;
use crate::limits::STARVED_TRANSACTIONS;
use slab::Slab;

/// Destinations that share limits.
#[derive(Debug)]
pub(super) struct Group {
    /// What the limits leave.
    pub shares: Shares,
    /// The places of its destinations: one for each pool at most.
    members: Vec<usize>,
}

/// All groups.
#[derive(Debug, Default)]
pub(super) struct Groups(Slab<Group>);

impl Groups {
    /// A new one. `connections_max`: what the route allows, where no section of limits says otherwise.
    pub fn add(&mut self, connections_max: u32) -> usize {
        self.0.insert(Group { shares: Shares::new(connections_max), members: Vec::new() })
    }

    pub fn of(&self, group: usize) -> &Group {
        &self.0[group]
    }

    pub fn shares(&mut self, group: usize) -> &mut Shares {
        &mut self.0[group].shares
    }

    /// A destination comes, whose hosts are told what their accounts are.
    pub fn join(&mut self, now: Instant, group: usize, place: usize, shaping: &Shaping, hosts: &mut [Host]) {
        let Group { shares, members } = &mut self.0[group];
        shares.assign(now, shaping, hosts);
        members.push(place);
    }

    /// A destination is no more; its group ends with the last one.
    pub fn leave(&mut self, group: usize, place: usize) {
        let members = &mut self.0[group].members;
        members.retain(|member| *member != place);
        if members.is_empty() {
            self.0.remove(group);
        }
    }
}

impl Destinations {
    /// The others of its group that lack something which it is about to take.
    fn others_in_need(&self, place: usize) -> impl Iterator<Item = usize> {
        let members = &self.groups.of(self.targets[place].group).members;
        members.iter().copied().filter(move |member| *member != place && self.targets[*member].lack != Lack::Nothing)
    }

    /// Lets others go first that have had nothing for longer, once at a time: those that cannot go either hold up nobody. `connects`: a
    /// connection would be taken, and not a message for one that is there.
    pub(super) fn gives_way(&mut self, now: Instant, place: usize, connects: bool) -> bool {
        let target = &self.targets[place];
        if target.gave_way_at == Some(now) {
            return false;
        }
        let goes_first = |other: &Target| other.turn < target.turn && (connects || other.lack == Lack::Turn);
        let others: Vec<usize> = self.others_in_need(place).filter(|other| goes_first(&self.targets[*other])).collect();
        if others.is_empty() {
            return false;
        }
        self.targets[place].gave_way_at = Some(now);
        others.into_iter().for_each(|other| self.mark(other));
        true
    }

    /// It takes something of the limits.
    pub(super) fn take_turn(&mut self, place: usize) {
        self.turns += 1;
        let target = &mut self.targets[place];
        (target.turn, target.lack) = (self.turns, Lack::Nothing);
    }

    /// The limits deny something until then, or until a connection has ended. If it has none, one of another's ends for which there is
    /// no work.
    pub(super) fn lacks(&mut self, now: Instant, place: usize, at: Option<Instant>) {
        let target = &mut self.targets[place];
        if at.is_some() || target.open() > 0 {
            target.lack = Lack::Turn;
            return;
        }
        target.lack = Lack::Connection;
        let members = &self.groups.of(target.group).members;
        let without_work = members.iter().map(|member| &self.targets[*member]).filter(|target| target.backlog() == 0);
        let idle = without_work.flat_map(|target| &target.idle);
        let longest = idle.copied().min_by_key(|connection| self.connections[connection.index as usize].deadline);
        if let Some(connection) = longest.filter(|_| self.is_group_short(place)) {
            self.quit(now, connection);
        }
    }

    /// Whether more destinations of the group lack any connection than connections of it are ending.
    fn is_group_short(&self, place: usize) -> bool {
        let members = &self.groups.of(self.targets[place].group).members;
        let (mut without, mut ending) = (0, 0);
        for target in members.iter().map(|member| &self.targets[*member]) {
            without += u32::from(target.lack == Lack::Connection);
            ending += target.ending;
        }
        ending < without
    }

    /// Whether a connection that has nothing to do is needed more by others, of all destinations or of its group.
    pub(super) fn is_needed_elsewhere(&self, place: usize, transactions: u32) -> bool {
        let target = &self.targets[place];
        let spare = target.connections() > 1 || transactions >= STARVED_TRANSACTIONS || target.backlog() == 0;
        spare && (self.ending_count < self.starved.len() || self.is_group_short(place))
    }

    /// A connection has ended, and others of the group may have one.
    pub(super) fn wake_group(&mut self, place: usize) {
        let others: Vec<usize> = self.others_in_need(place).collect();
        others.into_iter().for_each(|other| self.mark(other));
    }
}
