//! What all stations of a worker use.

use super::exchange::{Exchange, Letter};
use crate::control::{Reporter, Stages};
use crate::delivery::{Orders, Routes, Work};
use crate::env::disk::Disk;
use crate::env::{Instant, Now};
use crate::flow::FlowId;
use crate::mirror::identity_of_log;
use crate::mirror::register::Node;
use crate::policy::{Policy, VerifyCache};
use crate::spool::{Log, MessageId, Queued};
use crate::tcp::wheel::Wheel;
use crate::tls::Handshakes;
use std::sync::Arc;

/// The worker's own things that every station needs. A station gets `&mut Parts` beside its own state.
pub(super) struct Parts<T, D: Disk> {
    pub transport: T,
    pub logs: Logs<D>,
    pub exchange: Exchange,
    pub reporter: Reporter,
    pub policy: Arc<Policy>,
    pub routes: Arc<Routes>,
    pub orders: Arc<Orders>,
    pub checks: VerifyCache,
    /// When which session must be looked at again. Sessions arm theirs lazily (a deadline that moves away is looked at when
    /// the old one is over), so that it is touched a few times in a session's life and not at every command.
    pub timers: Wheel<FlowId>,
    pub stages: Stages,
    pub handshakes: Handshakes,
    /// Read once a breath.
    pub now: Now,
    /// Until when what ends a message of identity a and of b may go out to a next hop; nothing where there is no partner that
    /// has to know of it first. The mirror says so.
    pub ends_until: Option<[Instant; 2]>,
}

impl<T, D: Disk> Parts<T, D> {
    /// Whether what ends this message may go out now: nobody else can be delivering it.
    pub(super) fn may_end(&self, id: MessageId) -> bool {
        self.ends_until.is_none_or(|until| self.now.mono < until[identity_of_log(id.log()) as usize])
    }

    /// Gives work to the owner of its destination.
    pub(super) fn give(&mut self, work: Work) {
        let owner = self.routes.owner(&work, self.exchange.workers());
        let from = self.exchange.worker();
        self.exchange.send(owner, Letter::Work { from, work });
    }
}

/// The worker that looks after log `number`: its own, or one of a worker that there was before.
pub fn worker_of_log(number: u16, workers: u16) -> u16 {
    number % workers
}

/// The logs that a worker holds: its own, which take new mail, those of workers that there were before, and replicas of the
/// partner's. Of these nothing is seen here but that they are there.
pub(super) struct Logs<D: Disk> {
    logs: Vec<(u16, Log<D>)>,
}

impl<D: Disk> Logs<D> {
    pub(super) fn new(logs: Vec<(u16, Log<D>)>) -> Logs<D> {
        Logs { logs }
    }

    /// The log that takes new mail for an identity: the first that does.
    pub(super) fn taking(&self, identity: Node) -> Option<u16> {
        let of_identity = self.logs.iter().filter(|(number, _)| identity_of_log(*number) == identity);
        of_identity.filter(|(_, log)| !log.is_replica()).map(|(number, _)| *number).next()
    }

    /// A log by its number, replica or not.
    pub(super) fn by_number(&mut self, number: u16) -> Option<&mut Log<D>> {
        self.logs.iter_mut().find(|(other, _)| *other == number).map(|(_, log)| log)
    }

    /// A log by its number, replica or not, to be read.
    pub(super) fn get_by_number(&self, number: u16) -> Option<&Log<D>> {
        self.logs.iter().find(|(other, _)| *other == number).map(|(_, log)| log)
    }

    pub(super) fn put(&mut self, number: u16, log: Log<D>) {
        debug_assert!(self.logs.iter().all(|(other, _)| *other != number));
        let place = self.logs.partition_point(|(other, _)| *other < number);
        self.logs.insert(place, (number, log));
    }

    pub(super) fn take(&mut self, number: u16) -> Option<Log<D>> {
        let place = self.logs.iter().position(|(other, _)| *other == number)?;
        Some(self.logs.remove(place).1)
    }

    /// The log that holds a message.
    pub(super) fn of(&mut self, id: MessageId) -> Option<&mut Log<D>> {
        self.by_number(id.log()).filter(|log| !log.is_replica())
    }

    /// The log that holds a message, to be read.
    pub(super) fn get(&self, id: MessageId) -> Option<&Log<D>> {
        self.get_by_number(id.log()).filter(|log| !log.is_replica())
    }

    /// The queued messages whose ids come after this one, in the order of their ids.
    pub(super) fn messages_after(&self, id: Option<MessageId>) -> impl Iterator<Item = Queued<'_>> {
        // The number of its log is the upper part of an id.
        let mut logs: Vec<&(u16, Log<D>)> = self.logs.iter().filter(|(_, log)| !log.is_replica()).collect();
        logs.sort_unstable_by_key(|(number, _)| *number);
        logs.into_iter().flat_map(move |(_, log)| log.messages_after(id))
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Log<D>> {
        self.logs.iter().map(|(_, log)| log)
    }

    /// Each with its number, to be read.
    pub(super) fn numbered(&self) -> impl Iterator<Item = (u16, &Log<D>)> {
        self.logs.iter().map(|(number, log)| (*number, log))
    }

    /// Each with its number.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (u16, &mut Log<D>)> {
        self.logs.iter_mut().map(|(number, log)| (*number, log))
    }
}
