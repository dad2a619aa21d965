//! What follows from what the machine knows: one step from each state. Nothing here depends on which event came last, so
//! that nothing is lost by its order.

use super::machine::{Arbiter, EPOCHS_BY_HAND};
use super::state::{Goal, Held, Partner, Phase, Replica, State};
use super::types::{Order, Role, Trouble, Words};
use crate::env::Instant;
use crate::mirror::register::{Incarnation, Mode, Register};
use std::time::Duration;

impl Arbiter {
    /// One step, if one is due.
    pub(super) fn step(&mut self, now: Instant) {
        let closed = matches!(self.amiss, Some(trouble) if trouble != Trouble::Uncreated);
        match self.state {
            State::Closed => {
                if !closed {
                    self.enter(State::Waits, now);
                }
            }
            _ if closed => self.stand_still(State::Closed, now),
            State::Barred => {
                if let Some(register) = self.current()
                    && self.is_fit()
                    && !self.is_foreign_to(register)
                {
                    self.enter(State::Waits, now);
                }
            }
            _ if !self.is_fit() => self.stand_still(State::Barred, now),
            State::Waits => {
                if let Some(register) = self.current() {
                    self.route(register, now);
                }
            }
            State::Entering { register } => self.step_entering(register, now),
            State::Adopting { register } => {
                if self.newer_than(register).is_some() {
                    self.think_again(now);
                } else if self.done {
                    self.held = Held::Owner { applied: true };
                    self.enter(State::Leading { register, phase: Phase::Steady }, now);
                }
            }
            State::Leading { register, phase } => self.step_leading(register, phase, now),
            // The store has been asked: nothing but its answer ends this.
            State::Proposing { .. } => {}
            State::SteppingDown => {
                if self.done {
                    self.enter(State::Waits, now);
                }
            }
            State::Following { register, acknowledge } => self.step_following(register, acknowledge, now),
            State::Stopping { from, .. }
            | State::Leaving { from, .. }
            | State::Deciding { from, .. }
            | State::Levelling { from, .. }
                if self.newer_than(from).is_some() =>
            {
                self.think_again(now);
            }
            State::Stopping { from, goal } => {
                if self.done {
                    self.memory.left = self.memory.left.max(from.epoch);
                    self.enter(State::Leaving { from, goal }, now);
                }
            }
            State::Leaving { from, goal } => {
                if self.durable.left >= from.epoch {
                    self.enter(State::Deciding { from, goal }, now);
                }
            }
            // It was vouched to be off, and is not: as if nothing had been said.
            State::Deciding { goal: Goal::Solo, .. } if self.settings.manual && self.hears_partner() => {
                self.think_again(now);
            }
            State::Deciding { from, goal } if from.owner == self.me => self.step_deciding(from, goal, now),
            State::Deciding { from, goal } => {
                if goal == Goal::Solo || self.owner_is_lost() && self.port_up {
                    self.propose(from, self.solo_after(from), now);
                } else if !self.owner_is_lost() {
                    // Heard again before anything was asked: the owner is told that we have left, and leaves as well.
                    self.follow(from, now);
                }
            }
            State::Levelling { from, goal } => self.step_levelling(from, goal, now),
        }
    }

    /// The newest register, if nothing is known of a later one.
    pub(super) fn current(&self) -> Option<Register> {
        self.known.filter(|known| known.epoch >= self.seen())
    }

    fn newer_than(&self, register: Register) -> Option<Register> {
        self.current().filter(|current| current.epoch > register.epoch)
    }

    /// Whether it makes us the owner with a copy that we do not have.
    fn is_foreign_to(&self, register: Register) -> bool {
        register.owner == self.me && !register.names(self.me, self.memory.incarnation)
    }

    fn stand_still(&mut self, state: State, now: Instant) {
        self.quiesce();
        self.enter(state, now);
    }

    /// What a register that was read makes of us. It gives no right to lead: only a proposal that was won does.
    fn route(&mut self, register: Register, now: Instant) {
        if self.is_foreign_to(register) {
            self.stand_still(State::Barred, now);
        } else if register.owner == self.me {
            self.stop(register, Goal::Stay, now);
        } else {
            self.enter(State::Entering { register }, now);
        }
    }

    /// Begins to leave an epoch.
    pub(super) fn stop(&mut self, from: Register, goal: Goal, now: Instant) {
        self.order(if from.owner == self.me { Order::Freeze } else { Order::StopFollowing });
        self.enter(State::Stopping { from, goal }, now);
    }

    fn step_entering(&mut self, register: Register, now: Instant) {
        if register.epoch < self.seen() {
            self.think_again(now);
        } else if self.durable.epoch_seen < register.epoch {
            // Its epoch is on its way to the disk.
        } else if register.owner != self.me {
            self.follow(register, now);
        } else if register.epoch <= self.memory.left {
            self.think_again(now);
        } else {
            let (epoch, both) = (register.epoch, register.replica());
            if self.held == (Held::Owner { applied: true }) {
                self.order(Order::Lead { epoch, both });
                self.enter(State::Leading { register, phase: Phase::Steady }, now);
            } else {
                self.order(Order::Adopt { epoch, both });
                self.enter(State::Adopting { register }, now);
            }
        }
    }

    fn follow(&mut self, register: Register, now: Instant) {
        if matches!(self.held, Held::Owner { .. }) {
            self.order(Order::StepDown);
            self.enter(State::SteppingDown, now);
        } else {
            let acknowledge = self.counts_in(register) && register.epoch > self.memory.left;
            self.order(Order::Follow { epoch: register.epoch, acknowledge });
            self.enter(State::Following { register, acknowledge }, now);
        }
    }

    fn step_following(&mut self, register: Register, acknowledge: bool, now: Instant) {
        if let Some(newer) = self.newer_than(register) {
            if acknowledge && self.is_handed_over(register, newer) {
                self.enter(State::Entering { register: newer }, now);
            } else {
                self.route(newer, now);
            }
        } else if self.counts_in(register) && self.owner_is_lost() && self.port_up && !self.settings.manual {
            self.stop(register, Goal::Stay, now);
        }
    }

    /// Whether the owner whose batches we took has made us the owner, with both copies as they are. Then, and only then, we
    /// lead in an epoch that we did not ask for: nobody has worked in it yet.
    fn is_handed_over(&self, from: Register, to: Register) -> bool {
        let same = from.mode == Mode::Mirrored && to.mode == Mode::Mirrored && to.incarnations == from.incarnations;
        same && to.owner == self.me && to.epoch == from.epoch + 1
    }

    fn step_leading(&mut self, register: Register, phase: Phase, now: Instant) {
        if let Phase::Pairing { wanted } = phase {
            // As when proposing. Both copies are required until the answer is there, whatever becomes of the partner; one that is
            // lost may be the replica by now, and take over, or has done so if it names a later epoch.
            if matches!(self.partner, Partner::Gone { .. }) || self.heard_epoch > wanted.epoch {
                self.isolate();
            }
        } else if self.newer_than(register).is_some() {
            self.think_again(now);
        } else if self.heard_epoch > register.epoch {
            // Somebody has gone past us, and the store has not told us yet.
            self.stop(register, Goal::Stay, now);
        } else if register.mode == Mode::Mirrored {
            self.step_mirrored(register, phase, now);
        } else {
            self.step_solo(register, phase, now);
        }
    }

    fn step_mirrored(&mut self, register: Register, phase: Phase, now: Instant) {
        match self.replica_of(register) {
            Replica::Ready(words) if words.role == Role::Left => self.stop(register, Goal::Stay, now),
            Replica::Ready(_) if phase == Phase::Draining && self.done => self.stop(register, Goal::Move, now),
            Replica::Ready(words) if phase == Phase::Steady && self.done && self.gives_way_to(words) => {
                // Where nothing comes and goes, no session comes to its end.
                let within = if self.port_up { self.settings.give_way_within } else { Duration::ZERO };
                self.order(Order::Drain { within });
                self.enter(State::Leading { register, phase: Phase::Draining }, now);
            }
            Replica::Ready(_) => self.join_at = None,
            Replica::Late => self.wait_for_partner(now),
            Replica::Useless => self.stop(register, Goal::Stay, now),
        }
    }

    fn step_solo(&mut self, register: Register, phase: Phase, now: Instant) {
        let replica = self.replica_of(register);
        if phase == Phase::Steady {
            if let Replica::Ready(Words { incarnation: with, .. }) = replica
                && !self.alone
                // The order to lead comes first: what it makes of the logs, no other does.
                && self.done
            {
                self.order(Order::CatchUp { with });
                self.enter(State::Leading { register, phase: Phase::CatchingUp }, now);
            }
            return;
        }
        let another = matches!(replica, Replica::Ready(words) if Some(words.incarnation) != self.with);
        if another || self.alone || replica == Replica::Useless {
            self.order(Order::Lead { epoch: register.epoch, both: None });
            self.enter(State::Leading { register, phase: Phase::Steady }, now);
        } else if phase == Phase::Requiring {
            if let Some(with) = self.with.filter(|_| self.done && self.may_ask(register)) {
                let wanted = Register::mirrored(register.epoch + 1, self.me, self.memory.incarnation, with);
                self.ask(Some(register), wanted);
                self.enter(State::Leading { register, phase: Phase::Pairing { wanted } }, now);
            } else {
                self.wait_for_partner(now);
            }
        } else if self.done
            && let Some(with) = self.with
        {
            self.order(Order::RequireBoth { with });
            self.enter(State::Leading { register, phase: Phase::Requiring }, now);
        }
    }

    fn step_deciding(&mut self, from: Register, goal: Goal, now: Instant) {
        if from.mode == Mode::Solo && goal != Goal::Solo && self.seeks_partner(now) {
            return;
        }
        if from.mode == Mode::Solo || goal == Goal::Solo {
            self.propose(from, self.solo_after(from), now);
            return;
        }
        match self.replica_of(from) {
            Replica::Ready(Words { incarnation: with, .. }) => {
                self.order(Order::Reconcile { epoch: from.epoch, with });
                self.enter(State::Levelling { from, goal }, now);
            }
            Replica::Late => self.wait_for_partner(now),
            // Without a link nobody is served from here, and the partner may be there and serve.
            Replica::Useless if self.settings.manual || !self.port_up => {}
            Replica::Useless => self.propose(from, self.solo_after(from), now),
        }
    }

    fn step_levelling(&mut self, from: Register, goal: Goal, now: Instant) {
        let replica = self.replica_of(from);
        if replica == Replica::Useless {
            self.enter(State::Deciding { from, goal }, now);
        } else if self.done
            && self.may_ask(from)
            && let Some(with) = self.with
        {
            let follows = matches!(replica, Replica::Ready(words) if words.role == Role::Follows);
            let wanted = match goal {
                Goal::Move if follows => {
                    Register::mirrored(from.epoch + 1, self.me.partner(), with, self.memory.incarnation)
                }
                _ => Register::mirrored(from.epoch + 1, self.me, self.memory.incarnation, with),
            };
            self.propose(from, wanted, now);
        } else {
            self.wait_for_partner(now);
        }
    }

    /// Asks for the next epoch. Everything that this node did in the one before has ended, for good.
    fn propose(&mut self, from: Register, wanted: Register, now: Instant) {
        if self.may_ask(from) {
            assert!(self.durable.left >= from.epoch, "an epoch is left before the store is asked");
            self.ask(Some(from), wanted);
            self.enter(State::Proposing { expected: Some(from), wanted }, now);
        }
    }

    /// Whether a question may be asked that begins at this register.
    fn may_ask(&self, from: Register) -> bool {
        self.asked.is_none() && self.heard_epoch <= from.epoch
    }

    fn solo_after(&self, from: Register) -> Register {
        let step = if self.settings.manual && from.owner != self.me { EPOCHS_BY_HAND } else { 1 };
        Register::solo(from.epoch + step, self.me, self.memory.incarnation)
    }

    /// Whether an owner that is solo waits for its partner to be heard: no store tells it what became of it while it was off.
    fn seeks_partner(&mut self, now: Instant) -> bool {
        if !self.settings.manual || self.hears_partner() || self.join_over {
            return false;
        }
        self.join_at.get_or_insert(now + self.settings.seek_within);
        true
    }

    /// Whether the replica shall own the identity, since it could take mail and we cannot. If neither can, nothing is better
    /// there than here.
    fn gives_way_to(&self, replica: Words) -> bool {
        !self.takes_mail() && replica.roomy && replica.role == Role::Follows && !self.settings.manual
    }

    /// What the partner is worth to us, the owner by this register.
    pub(super) fn replica_of(&self, register: Register) -> Replica {
        let counts = |copy: Incarnation| register.replica().is_none_or(|replica| replica == copy);
        match self.partner {
            Partner::Gone { .. } => Replica::Useless,
            Partner::Quiet { .. } => Replica::Late,
            Partner::Heard(words) if !words.able || !counts(words.incarnation) => Replica::Useless,
            Partner::Heard(_) if self.join_over => Replica::Useless,
            Partner::Heard(words) => match words.role {
                Role::Follows | Role::Left if words.epoch == register.epoch => Replica::Ready(words),
                _ => Replica::Late,
            },
        }
    }

    /// Whether the owner whose replica we are has to be replaced.
    pub(super) fn owner_is_lost(&self) -> bool {
        match self.partner {
            Partner::Gone { .. } => true,
            Partner::Heard(words) => !words.able,
            Partner::Quiet { .. } => false,
        }
    }

    /// A partner that is heard is given some time to take part; silence has its own. With the manual arbiter an owner that
    /// cannot do without waits for as long as it is heard. An owner that can says no 250 while it waits, and what is near is
    /// level in no time: it waits less.
    fn wait_for_partner(&mut self, now: Instant) {
        let alone = matches!(self.state, State::Leading { phase: Phase::Requiring, .. });
        if self.join_at.is_none() && !self.join_over && (alone || !self.settings.manual) {
            self.join_at = Some(now + if alone { self.settings.alone_after } else { self.settings.join_within });
        }
    }
}
