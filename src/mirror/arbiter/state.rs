//! What a machine does, and what it knows of others.

use super::types::{Stage, Words};
use crate::env::Instant;
use crate::mirror::register::Register;

/// What the machine does. Registers in it are those that it acts on; what was read last may be newer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum State {
    /// Nothing works, until the register is known.
    Waits,
    /// Nothing works, until the register is put right.
    Closed,
    /// Nothing works, until the register or the copy is another one.
    Barred,
    /// We have the right to act on this register as soon as it is written down that it was seen.
    Entering {
        register: Register,
    },
    /// The right was used: the logs are being applied.
    Adopting {
        register: Register,
    },
    Leading {
        register: Register,
        phase: Phase,
    },
    /// `Freeze` or `StopFollowing` was ordered.
    Stopping {
        from: Register,
        goal: Goal,
    },
    /// No worker works; `left` is on its way to the disk.
    Leaving {
        from: Register,
        goal: Goal,
    },
    /// `left` is durable.
    Deciding {
        from: Register,
        goal: Goal,
    },
    /// `Reconcile` was ordered.
    Levelling {
        from: Register,
        goal: Goal,
    },
    /// The store is asked, again and again, until it has answered.
    Proposing {
        expected: Option<Register>,
        wanted: Register,
    },
    /// `StepDown` was ordered.
    SteppingDown,
    Following {
        register: Register,
        acknowledge: bool,
    },
}

/// Of an owner that works. All but `Steady` and `Draining` are of an owner that is solo in the register.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Phase {
    Steady,
    /// `CatchUp` was ordered.
    CatchingUp,
    /// `RequireBoth` was ordered.
    Requiring,
    /// Both copies are required and level, and the store is asked for this.
    Pairing {
        wanted: Register,
    },
    /// Mirrored; `Drain` was ordered.
    Draining,
}

/// What an epoch is left for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Goal {
    /// The owner: to lead the next, mirrored if the partner takes part, else alone. The replica: to take over if the owner is
    /// still lost.
    Stay,
    /// To give the identity to the partner.
    Move,
    /// To lead the next alone, on command.
    Solo,
}

/// What is known of the partner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Partner {
    Heard(Words),
    /// Not heard, though not for long.
    Quiet {
        heard_at: Instant,
    },
    /// Not heard for too long.
    Gone {
        heard_at: Instant,
    },
}

/// What the workers hold open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Held {
    Nothing,
    Replica,
    /// Whether the logs are applied: if so `Lead` goes on with them, else `Adopt` is needed.
    Owner {
        applied: bool,
    },
}

/// What the partner is worth to an owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Replica {
    /// Takes part in this epoch; says so in these words.
    Ready(Words),
    /// May do so yet.
    Late,
    /// Will not, as long as this lasts.
    Useless,
}

impl State {
    /// Its name.
    pub(super) fn stage(self) -> Stage {
        match self {
            State::Waits => Stage::Waits,
            State::Closed => Stage::Closed,
            State::Barred => Stage::Barred,
            State::Entering { .. } => Stage::Entering,
            State::Adopting { .. } => Stage::Adopting,
            State::Leading { phase: Phase::Steady, .. } => Stage::Leading,
            State::Leading { phase: Phase::CatchingUp, .. } => Stage::CatchingUp,
            State::Leading { phase: Phase::Requiring, .. } => Stage::Requiring,
            State::Leading { phase: Phase::Pairing { .. }, .. } => Stage::Pairing,
            State::Leading { phase: Phase::Draining, .. } => Stage::Draining,
            State::Stopping { .. } => Stage::Stopping,
            State::Leaving { .. } => Stage::Leaving,
            State::Deciding { .. } => Stage::Deciding,
            State::Levelling { .. } => Stage::Levelling,
            State::Proposing { .. } => Stage::Proposing,
            State::SteppingDown => Stage::SteppingDown,
            State::Following { .. } => Stage::Following,
        }
    }

    /// The register that it acts on, if any: that which is left, while it is left.
    pub(super) fn acts_on(self) -> Option<Register> {
        match self {
            State::Waits | State::Closed | State::Barred | State::SteppingDown => None,
            State::Entering { register }
            | State::Adopting { register }
            | State::Leading { register, .. }
            | State::Following { register, .. } => Some(register),
            State::Stopping { from, .. }
            | State::Leaving { from, .. }
            | State::Deciding { from, .. }
            | State::Levelling { from, .. } => Some(from),
            State::Proposing { expected, wanted } => Some(expected.unwrap_or(wanted)),
        }
    }

    /// The epoch that it is about: while the store is asked, that which is asked for. 0 for none.
    pub(super) fn epoch(self) -> u64 {
        match self {
            State::Proposing { wanted, .. } => wanted.epoch,
            _ => self.acts_on().map_or(0, |register| register.epoch),
        }
    }
}
