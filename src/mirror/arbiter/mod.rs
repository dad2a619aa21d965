//! The arbiter: decides for one identity, on one node, who works for it and when.
//!
//! In: what the store, the partner's link, the workers, the disk and the operator say ([`Event`], [`Command`]), and `now`.
//! Out: [`Action`]s, what is said to the partner among them, and the next deadline. It opens nothing, asks no clock, and draws no
//! numbers: the same inputs give the same outputs. Each node has one [`Arbiter`] for each identity; the two identities have
//! nothing to do with each other.
//!
//! # What is true
//!
//! Every 250 is in the log that any later epoch adopts. The register says where: every 250 of its epoch and of those before
//! is in each copy that it names. Whoever changes it must keep that, and so:
//!
//! - To *lead* in an epoch takes a proposal that was won, by us or, on a planned move, for us by the owner whose batches we
//!   took. That the register names us as the owner gives no right: this may be a restart, and then the next epoch is asked for
//!   before anything is appended. So an epoch has one leader, in one of its lives.
//! - An epoch is *left* before the store is asked to end it: every worker has confirmed that it stopped, then `left` is durable,
//!   then the question goes out. Nothing is acknowledged in an epoch that was left, not even after a restart, so that a
//!   question that arrives late finds the promise kept. The one question that is asked by an owner that works on is that for
//!   solo → mirrored: both copies are required, and level, before it is asked and until it is answered, so that either
//!   answer is true. (If that owner crashes it does not lead in the old epoch again, like any owner.)
//! - A question without an answer is asked again, unchanged, until it has one; having lost to exactly what was asked for is
//!   having won. A read that finds the old register settles nothing. One that finds a later one ends the asking (asking about
//!   the past could only hit a register that was set back), and what is to be done is thought out anew from that register.
//! - `epoch_seen` is durable before work in an epoch begins. A register below what this node knew when it asked for it, or none
//!   where there was one, or another one in an epoch that was known, or one that cannot be read, closes the machine: nothing is
//!   done until the register is put right, at or above `epoch_seen`. What the partner says it has seen counts as seen.
//!
//! # The table
//!
//! What each stage waits for, and what then follows. In every stage a register that has gone wrong leads to `Closed`, and a
//! copy that fails to `Barred`; a later register leads, by way of `Waits`, to what it says (not from `Proposing` and `Pairing`, which
//! wait for their answer). `table.txt` beside this file has every stage with every event, and is tested against the machine.
//!
//! | stage | workers | waits for | and then |
//! | --- | --- | --- | --- |
//! | `Waits` | nothing | the register | ours: `Stopping`, or `Barred` if it names another copy; the partner's: `Entering`; never was one: `Proposing` on command |
//! | `Closed` | nothing | a register that can be true | `Waits` |
//! | `Barred` | nothing | another owner, or an operator; says "not able", so that the replica takes over | `Waits`; `Stopping` if a loss is accepted |
//! | `Stopping` | stop | all of them to confirm | `Leaving` |
//! | `Leaving` | nothing | `left` on the disk | `Deciding` |
//! | `Deciding`, owner | nothing | the replica to follow, or to be useless and a link here | `Levelling`; `Proposing` (alone; at once if the epoch is solo) |
//! | `Deciding`, replica | nothing | a link | owner still lost: `Proposing`; heard again: `Following`, and says that it has left |
//! | `Levelling` | reconcile | the replica to be level, or useless | `Proposing` (mirrored, or the partner as the owner) |
//! | `Proposing` | nothing | the store's answer | won: `Entering`; lost: `Waits` |
//! | `Entering` | as before | `epoch_seen` on the disk | owner: `Leading`, or `Adopting` if the logs are not applied; replica: `Following`, or `SteppingDown` |
//! | `Adopting` | apply, lead | all of them to confirm | `Leading` |
//! | `Leading`, mirrored | lead | silence, "has left", "not able", another copy | `Stopping` |
//! | | | no room or no link here, and both there | `Draining` |
//! | `Leading`, solo | lead | a partner that follows | `CatchingUp` |
//! | `CatchingUp` | lead, send | the partner to be near | `Requiring` |
//! | `Requiring` | lead with both | the partner to be level | `Pairing`; back to `Leading` without it |
//! | `Pairing` | lead with both | the store's answer | won: `Entering`; lost: frozen, `Waits` |
//! | `Draining` | end sessions | all of them to confirm | `Stopping`, to move |
//! | `SteppingDown` | close the logs | all of them to confirm | `Waits` |
//! | `Following` | follow | an owner that is lost, if our copy counts and there is a link | `Stopping` |
//!
//! By hand, `Deciding` of an owner with a useless replica and `Following` with an owner that is lost wait for a command (`Solo`,
//! `TakeOver`), and `Leading` gives nothing away by itself. A `Closed` that is a split ends with `Solo` or `Rejoin`.
//!
//! # What was open, and how it is decided
//!
//! - Any owner that stopped, for whatever reason, goes one way: freeze, leave, then ask for what the partner is good for at that
//!   moment. There is no way back into the epoch that it froze in; a blip costs an epoch and two round trips.
//! - An owner that is not settled `isolated_after` its freezing gives up its addresses *and* says that it is not able: if only
//!   its own way to the store is broken, the replica takes over although the two hear each other. One that asks to be mirrored does so
//!   as soon as the replica is lost, or names a later epoch: the answer may have made that one fit to take over.
//! - A replica that is heard but does not follow in our epoch, or does not become level, is waited for `join_within`: more
//!   than silence, since it may be reading the register from a slow store. One that names another copy, or is not able, is useless
//!   at once.
//! - A mirrored epoch is asked for by a frozen owner only once the replica is level. No 250 depends on it (each was on both
//!   already); outcomes of deliveries do, and they are what keeps duplicates rare. A move needs it for the same reason.
//! - Acknowledgements count from the copy that an order names, in the epoch that it names, and from no other. Otherwise a disk that
//!   was replaced could speak for the one before.
//! - A copy that the register names has seen, durably, at least the epoch before (by hand, the one before that): it was there when it
//!   was counted in. One that has not was restored from a snapshot, and is treated as damaged. A snapshot of the same epoch or the
//!   one before is not noticed here: whoever compares logs over the link must see that a copy has less than it acknowledged.
//! - A watch only makes the machine read. A value that was true when a watch sent it may have been overtaken by an answer.
//! - An owner whose own disk is full, while its replica has room for mail, gives the identity away as if an operator had said so,
//!   with little patience for sessions. So both copies count on: what is kept of the disk for moving is room for a replica. When
//!   there is none left even for that, the replica says that it is not able, and the owner goes on alone until there is. Nothing
//!   moves back by itself, and where neither has room nothing moves at all. The manual arbiter leaves it to the operator.
//! - A box whose port has no link serves nobody, whoever owns the identity. As the owner it gives the identity to a replica whose port
//!   has one, as if its disk were full; where the link to the partner is gone as well, it does not ask to be alone: the partner, which
//!   hears no more of it, takes over meanwhile. As the replica it takes over from nobody. Both wait for their link.
//! - An owner that was told to be alone stays so until `Rejoin`, or its next start.
//! - Silence counts from the start of the machine: of two boxes that are switched on together, the one that is first by more than
//!   `takeover_after` takes what it may. A mirrored owner that starts and hears nobody waits longer than that, so that a replica
//!   which is there is first: the owner's disk may have been restored, and the replica's copy is never the lesser one.
//! - With the manual arbiter nothing is asked because of silence, nor because the partner says that it is not able. What follows from
//!   *hearing* the partner is asked for all the same: to be mirrored again after a restart or a catch-up. What stands behind
//!   [`Action::Propose`] then ([`standing`](crate::mirror::standing)) gives both nodes the same register as long as they hear each other;
//!   what keeps them apart when they do not is the operator's word. It is believed only where it can be true: not of a partner that is
//!   heard, and not on a node that has not heard its partner in this epoch since it was started, since nobody knows then what the
//!   partner was told before. A replica asks for an epoch two higher, so that one which the owner asked for and told nobody of is
//!   not given twice. An owner that is solo and starts looks for its partner for a while: a loss may have been accepted there.
//!
//! # What it cannot know
//!
//! - A node that was off while the other one went on, and that comes back to a register which was set back to what it last
//!   saw, cannot tell, unless it hears the other one. After a store was restored the register must be put right before a node
//!   that was off is started.
//! - A question of before the restoration must not arrive after it: a store that is restored has lost its connections.
//! - The memory is as old as the copy. Where it is lost or cannot be read, the copy gets another incarnation with the new one,
//!   though its logs may be whole.

mod command;
mod decide;
mod machine;
mod state;
mod types;

pub use machine::Arbiter;
pub use types::{
    Action, Cause, Command, Event, Found, Notice, Order, Outcome, Refusal, Role, Settings, Stage, Trouble, Words,
};

/// Each stage with all that is met in it on the walks of the model.
pub const REACHED: &str = include_str!("reached.txt");

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;
