//! What an operator asks, and why it may be refused.

use super::machine::Arbiter;
use super::state::{Goal, Phase, Replica, State};
use super::types::{Command, Order, Refusal, Role, Trouble, Words};
use crate::env::Instant;
use crate::mirror::register::{Mode, Register};

impl Arbiter {
    /// Begins to do what an operator asks; what becomes of it is seen in the register. If it is refused, nothing has changed.
    pub fn command(&mut self, command: Command, now: Instant) -> Result<(), Refusal> {
        if self.ended {
            return Err(Refusal::Busy);
        }
        match command {
            Command::Create => self.create(now)?,
            Command::Move => self.hand_over(now)?,
            Command::Solo { accept_loss, partner_is_off } => self.go_solo(accept_loss, partner_is_off, now)?,
            Command::TakeOver { partner_is_off } => self.take_over(partner_is_off, now)?,
            Command::Rejoin => self.rejoin()?,
        }
        self.decide(now);
        Ok(())
    }

    fn create(&mut self, now: Instant) -> Result<(), Refusal> {
        if !self.is_fit() {
            return Err(Refusal::CopyUnfit);
        }
        if self.state != State::Waits || self.amiss != Some(Trouble::Uncreated) || self.seen() > 0 {
            return Err(Refusal::Exists);
        }
        if self.asked.is_some() {
            return Err(Refusal::Busy);
        }
        let wanted = Register::solo(1, self.me, self.memory.incarnation);
        self.ask(None, wanted);
        self.enter(State::Proposing { expected: None, wanted }, now);
        Ok(())
    }

    fn hand_over(&mut self, now: Instant) -> Result<(), Refusal> {
        match self.state {
            State::Leading { register, phase: Phase::Steady } if register.mode == Mode::Mirrored && self.done => {
                match self.replica_of(register) {
                    Replica::Ready(Words { role: Role::Follows, .. }) => {
                        self.order(Order::Drain { within: self.settings.drain_within });
                        self.enter(State::Leading { register, phase: Phase::Draining }, now);
                        Ok(())
                    }
                    _ => Err(Refusal::PartnerNotReady),
                }
            }
            State::Leading { register, .. } if register.mode == Mode::Solo => Err(Refusal::PartnerNotReady),
            State::Leading { .. } => Err(Refusal::Busy),
            _ => Err(Refusal::NotOwner),
        }
    }

    fn go_solo(&mut self, accept_loss: bool, partner_is_off: bool, now: Instant) -> Result<(), Refusal> {
        // Where nothing but the operator's word keeps two boxes from working at once, it must be given.
        let vouched = |needed: bool| if needed && !partner_is_off { Err(Refusal::PartnerNotOff) } else { Ok(()) };
        let by_hand = |from: Register| match self.vouch(from, partner_is_off) {
            _ if from.mode == Mode::Solo => Ok(()),
            Err(Refusal::Unmet) if accept_loss => Ok(()),
            result => result,
        };
        let lossy = || match accept_loss {
            true if self.settings.manual && self.hears_partner() => Err(Refusal::PartnerHeard),
            true => vouched(true),
            false => Err(Refusal::LossNotAccepted),
        };
        match self.state {
            State::Leading { phase: Phase::Pairing { .. }, .. } | State::Adopting { .. } | State::Proposing { .. } => {
                return Err(Refusal::Busy);
            }
            State::Leading { register, .. } if register.mode == Mode::Mirrored => {
                by_hand(register)?;
                self.stop(register, Goal::Solo, now);
            }
            State::Leading { .. } if self.alone => return Err(Refusal::Nothing),
            State::Leading { .. } => {}
            State::Stopping { from, .. } if from.owner == self.me => {
                by_hand(from)?;
                self.state = State::Stopping { from, goal: Goal::Solo };
            }
            State::Leaving { from, .. } if from.owner == self.me => {
                by_hand(from)?;
                self.state = State::Leaving { from, goal: Goal::Solo };
            }
            State::Deciding { from, .. } | State::Levelling { from, .. } if from.owner == self.me => {
                by_hand(from)?;
                self.enter(State::Deciding { from, goal: Goal::Solo }, now);
            }
            State::Following { register, .. } if self.counts_in(register) && !self.is_unmet(register) => {
                return Err(Refusal::NotOwner);
            }
            State::Closed if self.amiss == Some(Trouble::RegisterSplit) && self.is_fit() => {
                lossy()?;
                self.join_over = true;
                self.settle();
                return Ok(());
            }
            State::Barred if !self.is_fit() => return Err(Refusal::CopyUnfit),
            State::Barred | State::Following { .. } => {
                let register = self.current().ok_or(Refusal::Busy)?;
                lossy()?;
                self.stop(register, Goal::Solo, now);
                return Ok(());
            }
            _ => return Err(Refusal::NotOwner),
        }
        // By hand there is no other way out for an owner that was restarted and finds nobody: it takes the partner when it is back.
        self.alone = !(self.settings.manual && accept_loss);
        Ok(())
    }

    fn take_over(&mut self, partner_is_off: bool, now: Instant) -> Result<(), Refusal> {
        match self.state {
            State::Following { register, .. } if self.counts_in(register) => {
                self.vouch(register, partner_is_off)?;
                self.stop(register, Goal::Solo, now);
                Ok(())
            }
            State::Deciding { from, .. }
                if self.settings.manual && from.owner == self.me && from.mode == Mode::Mirrored =>
            {
                self.vouch(from, partner_is_off)?;
                self.enter(State::Deciding { from, goal: Goal::Solo }, now);
                Ok(())
            }
            _ => Err(Refusal::NotReplica),
        }
    }

    /// Whether this mirrored register may be left for one of us alone by command: without a store the operator must vouch that the
    /// partner is off, and we must know what it did until then.
    fn vouch(&self, register: Register, partner_is_off: bool) -> Result<(), Refusal> {
        match self.settings.manual {
            false => Ok(()),
            true if !partner_is_off => Err(Refusal::PartnerNotOff),
            true if self.hears_partner() => Err(Refusal::PartnerHeard),
            true if self.met != register.epoch => Err(Refusal::Unmet),
            true => Ok(()),
        }
    }

    /// Whether nobody knows if the owner of this register, of which we hold the replica, has gone on without us.
    fn is_unmet(&self, register: Register) -> bool {
        self.settings.manual && self.met != register.epoch
    }

    fn rejoin(&mut self) -> Result<(), Refusal> {
        if self.state == State::Barred && !self.is_fit() {
            let register = self.current().ok_or(Refusal::Busy)?;
            if register.owner == self.me || register.names(self.me, self.memory.incarnation) {
                return Err(Refusal::CopyCounts);
            }
            self.renew();
            return Ok(());
        }
        if !self.alone {
            return Err(Refusal::Nothing);
        }
        self.alone = false;
        Ok(())
    }
}
