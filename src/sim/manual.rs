//! A pair without a store: what each box keeps of the registers, and the operator who stands beside it.
//!
//! In: what arbiters ask and hear. Out: answers, when they are durable; and commands. The operator's word is good: a box is told that
//! the other one is off only while that is so, and the other one stays off until the command is carried out.

use super::node::{Death, Node};
use super::world::{Happening, World};
use crate::control::{PairBoard, PairTask, answer_by_hand};
use crate::env::Instant;
use crate::mirror::arbiter::{Command, Trouble};
use crate::mirror::register::{Node as Identity, Register};
use crate::mirror::standing::Standing;
use rand::RngExt;
use rand::rngs::StdRng;
use std::collections::VecDeque;
use std::time::Duration;

/// What it takes to keep a register, at most, nanoseconds.
const KEEPING_DURATION_MAX: u64 = 5_000_000;

/// How often the operator looks.
pub(super) const WATCH_INTERVAL: Duration = Duration::from_millis(700);

/// At a look at a box that needs a command it is given one with this probability; else perhaps the other box comes back.
const RESOLVE: f64 = 0.2;

/// A box stays off for so long at most: what is not done by then never will be.
const OFF_MAX: Duration = Duration::from_secs(300);

/// What a process has to ask of what its box keeps, in order, with the time at which it is done.
#[derive(Default)]
pub(super) struct Asking(VecDeque<(Instant, Identity, PairTask)>);

impl Asking {
    pub(super) fn push(&mut self, now: Instant, identity: Identity, task: PairTask, random: &mut StdRng) {
        let begins = self.0.back().map_or(now, |(at, ..)| *at);
        let at = begins + Duration::from_nanos(random.random_range(0..KEEPING_DURATION_MAX));
        self.0.push_back((at, identity, task));
    }

    pub(super) fn next(&self) -> Instant {
        self.0.front().map_or(Instant::FAR, |(at, ..)| *at)
    }

    /// Does what is done by now.
    pub(super) fn step(&mut self, now: Instant, me: Identity, standings: &mut [Standing; 2], board: &mut PairBoard) {
        while let Some((at, identity, task)) = self.0.front().copied()
            && at <= now
        {
            self.0.pop_front();
            let standing = &mut standings[identity as usize];
            let (next, event) = answer_by_hand(*standing, me, task);
            *standing = next;
            board.keep(identity, next);
            if let Some(event) = event {
                board.tell(identity, event, now);
            }
        }
    }

    /// The process ends in the middle of it: what it was about to keep is durable, or not.
    pub(super) fn break_off(mut self, me: Identity, standings: &mut [Standing; 2], random: &mut StdRng) {
        if let Some((_, identity, task)) = self.0.pop_front()
            && random.random_bool(0.5)
        {
            let standing = &mut standings[identity as usize];
            *standing = answer_by_hand(*standing, me, task).0;
        }
    }
}

/// What the operator is about.
#[derive(Debug, Default)]
pub(super) struct Operator {
    /// This box is kept off, since then.
    pub off: Option<(usize, Instant)>,
}

/// The register that counts: of two boxes the one that has heard of the other holds the later one.
pub(super) fn register(nodes: &[Node], identity: Identity) -> Option<Register> {
    let kept = nodes.iter().filter_map(|node| node.standings.and_then(|both| both[identity as usize].register));
    kept.max_by_key(|register| register.epoch)
}

impl World {
    /// The operator looks at both boxes, and does what is to be done.
    pub(super) fn watch(&mut self, now: Instant) {
        match self.operator.off {
            Some((place, since)) => self.resolve(now, place, since),
            None => {
                let needy = (0..self.nodes.len()).find(|place| {
                    let trouble = |identity| self.nodes[*place].trouble(identity);
                    Identity::BOTH.map(trouble).contains(&Some(Trouble::CommandNeeded))
                });
                if let Some(place) = needy
                    && self.random.random_bool(RESOLVE)
                {
                    let other = 1 - place;
                    self.ledger.trace.note(now, format_args!("the operator sees to it that box {other} is off"));
                    if self.nodes[other].is_running() {
                        let death = if self.random.random_bool(0.5) { Death::Kill } else { Death::PowerLoss };
                        self.kill(now, other, death);
                    }
                    self.operator.off = Some((other, now));
                }
            }
        }
        self.at(WATCH_INTERVAL, Happening::Watch);
    }

    /// One box is off: the other is told so, and when there is nothing more to be told, it is started again.
    fn resolve(&mut self, now: Instant, off: usize, since: Instant) {
        let on = 1 - off;
        assert!(!self.nodes[off].is_running(), "the operator's word is good");
        let mut done = true;
        for identity in Identity::BOTH {
            let trouble = self.nodes[on].trouble(identity);
            if trouble == Some(Trouble::CommandNeeded) {
                let taken = self.nodes[on].command(identity, Command::TakeOver { partner_is_off: true });
                self.ledger.trace.note(now, format_args!("box {on} takes over identity {identity}: {taken}"));
                *self.injected.entry("take-over by hand").or_default() += u64::from(taken);
            }
            let settled = self.nodes[on].stage(identity).is_none_or(|stage| stage.works());
            done &= settled || trouble.is_some_and(|trouble| trouble != Trouble::CommandNeeded);
        }
        if done || now.since(since) > OFF_MAX {
            self.ledger.trace.note(now, format_args!("the operator starts box {off}"));
            self.operator.off = None;
            self.at(Duration::ZERO, Happening::Start(off));
        }
    }
}
