//! What the arbiter is told and what it says.

use crate::env::Instant;
use crate::limits::{
    DRAIN_DELAY, DRAIN_DELAY_FULL, JOIN_DELAY, MIRROR_SILENCE_DEFAULT, REGISTER_READ_INTERVAL, REGISTER_RETRY_DELAY,
    SEEK_DELAY,
};
use crate::mirror::register::{Incarnation, Memory, Register};
use crate::mirror::standing::Standing;
use crate::spool::Room;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::time::Duration;

/// What an operator may set. `alone_after` < `isolated_after` < `takeover_after` < `start_alone_after`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Settings {
    /// No proposal follows from silence, only from a command: nothing but the operator can tell that the partner is off.
    pub manual: bool,
    /// A mirrored owner stops when its replica was last heard so long ago.
    pub alone_after: Duration,
    /// An owner that stopped and is not settled so long after gives up its addresses.
    pub isolated_after: Duration,
    /// A replica takes over when its owner was last heard so long ago.
    pub takeover_after: Duration,
    /// A mirrored owner that was started so long ago, and has not come to an understanding with its replica, goes on alone. A replica
    /// that is there takes over before, and its copy may have more: the owner's disk may have been restored.
    pub start_alone_after: Duration,
    /// A partner that is heard and does not take part, or does not become level, is waited for so long.
    pub join_within: Duration,
    /// With the manual arbiter, an owner that is solo and has just started looks for its partner so long before it works.
    pub seek_within: Duration,
    /// The pause between two reads of the register when all is well.
    pub read_every: Duration,
    /// The pause when something waits, and before a question without an answer is asked again.
    pub retry_after: Duration,
    /// How long sessions may go on when the identity is moved.
    pub drain_within: Duration,
    /// The same when it is given away for want of room.
    pub give_way_within: Duration,
}

impl Settings {
    /// For a pair in which a silence of this length has consequences. A replica asks for the identity later than its owner
    /// goes on alone, so that a fault of the link alone leaves the owner where it is.
    pub fn of(silence: Duration) -> Settings {
        Settings {
            manual: false,
            alone_after: silence,
            isolated_after: silence * 4 / 3,
            takeover_after: silence * 5 / 3,
            start_alone_after: silence * 10 / 3,
            join_within: JOIN_DELAY,
            seek_within: SEEK_DELAY,
            read_every: REGISTER_READ_INTERVAL,
            retry_after: REGISTER_RETRY_DELAY,
            drain_within: DRAIN_DELAY,
            give_way_within: DRAIN_DELAY_FULL,
        }
    }
}

impl Default for Settings {
    fn default() -> Settings {
        Settings::of(MIRROR_SILENCE_DEFAULT)
    }
}

/// What the machine is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// The answer to [`Action::Read`]: exactly one for each.
    Read(Found),
    /// A watch says that the register is not what it was. It carries no value: news may be old, an answer to a question is
    /// not older than the question.
    Stirred,
    /// The answer to [`Action::Propose`]: exactly one for each, and after it nothing more is done for that attempt
    /// here; what is on its way to the store may still arrive.
    Proposed(Outcome),
    /// The answer to [`Action::Persist`], once it is durable: exactly one for each. If it cannot be made durable, say
    /// [`Event::StorageFailed`].
    Persisted,
    /// The partner is heard: its latest words. Told when they change and when the link comes up; more often is harmless.
    Heard(Words),
    /// The partner is not heard any more, and was last at that time. Told as soon as a heartbeat is missed, or when the
    /// replica makes no durable progress that it owes, which is silence as well; how long is too long is decided here.
    Silent {
        /// When something was last heard.
        heard_at: Instant,
    },
    /// Every worker has carried out this order; told once. Of orders that another one has followed it need not be told.
    Done {
        /// The number of [`Action::Order`].
        order: u64,
    },
    /// This node's copy or memory cannot be written any more, or damage was found in it. Nothing but a restart ends this.
    StorageFailed,
    /// How much room this node's disk has for its copy now; until this is told, enough.
    Room(Room),
    /// Whether the port that the identity's addresses are on has a link; until this is told, it has.
    Port {
        /// Frames can pass.
        up: bool,
    },
}

/// What a read of the register found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Found {
    /// What stood there, at some time after the question was asked (a linearizable read).
    Register(Register),
    /// Nothing stands there.
    Missing,
    /// Something stands there that is no register.
    Unreadable,
    /// Without a store: each box holds a register that does not follow from the other's.
    Split {
        /// The higher epoch of the two.
        epoch: u64,
    },
    /// The store did not answer.
    Unreachable,
}

/// What became of a proposal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// It stands in the store now.
    Won,
    /// Something else than what was expected stands there: this.
    Lost(Found),
    /// Nobody knows: no answer in time. It may have arrived, or arrive later.
    Unknown,
}

/// What a node says of itself to its partner, for one identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Words {
    /// The highest epoch that it knows of, which is the one it acts in.
    pub epoch: u64,
    /// What it does.
    pub role: Role,
    /// Its copy.
    pub incarnation: Incarnation,
    /// Whether it can do its part. An owner that is not able asks its replica to take over; a replica that is not, its owner
    /// to go on alone.
    pub able: bool,
    /// Whether it could take new mail if it were the owner: its disk has room, and its port a link.
    pub roomy: bool,
    /// What it keeps of the register, where there is no store. The machine says nothing of it: whoever keeps it does.
    pub standing: Option<Standing>,
    /// The digest of the operator's standing orders, of which the machine says nothing either; 0: there are none.
    pub orders: u32,
}

/// What a node does for an identity, as far as its partner must know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Role {
    /// Works as the owner.
    Leads,
    /// The owner, and stopped until the store has settled its next epoch.
    Frozen,
    /// Takes the owner's batches.
    Follows,
    /// Has stopped acknowledging this epoch, and takes the owner's batches so that it can be made level.
    Left,
    /// Neither: it has not read the register, has asked the store, or cannot.
    Waits,
}

/// What whoever runs the machine is to do. In the order in which they come: a persist before the proposal that follows it,
/// though no proposal comes out before [`Event::Persisted`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// Read the register (linearizable), once; [`Event::Read`] follows. Never a second before the first is answered.
    Read,
    /// Write `wanted` if exactly `expected` stands there (`None`: if nothing does), once; [`Event::Proposed`] follows. Never a
    /// second before the first is answered.
    Propose {
        /// What must stand there.
        expected: Option<Register>,
        /// What is to stand there.
        wanted: Register,
    },
    /// Make this durable; [`Event::Persisted`] follows. Never a second before the first is answered.
    Persist(Memory),
    /// Give this order to every worker, after those before it. It puts an end to what is left of the one before it.
    Order {
        /// Rises by one with each order.
        number: u64,
        /// What to do.
        order: Order,
    },
    /// Stop answering for the identity's addresses, now; `Lead` and `Adopt` announce them again.
    Withdraw,
    /// Say this to the partner from now on, with every heartbeat.
    Say(Words),
    /// For the event log, and for alerts where [`Notice::Trouble`] says so.
    Tell(Notice),
    /// Set this copy aside whole, create an empty one with another incarnation and the same `epoch_seen` and `left`, and
    /// start another machine with them. This one has ended.
    Renew,
    /// Without a store: end the split by a register of this node alone, with this copy, and say [`Event::Stirred`].
    Settle(Incarnation),
}

/// What the workers of an identity are to do. `Done` is told when all of them have.
///
/// `both` names the copy of the partner that every 250 needs: an acknowledgement counts only from that incarnation, and
/// only if the partner says it in the epoch in which the owner leads. `with` names the copy that is brought level.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Order {
    /// Stop, whatever was done: no 250, no new delivery, no new mail, no batch taken from the partner. The logs stay open, and the
    /// addresses are still answered for. Done: no worker does any of it any more.
    Freeze,
    /// Stay frozen, and compare logs with that copy: what it lacks is sent; what only it has at the end (this node crashed
    /// before it wrote it) is taken over, or cut there and set aside. Done: it is durable through the last batch of every log, and
    /// so are we.
    Reconcile {
        /// The epoch that both nodes were in; the partner follows in it.
        epoch: u64,
        /// The copy that is made level.
        with: Incarnation,
    },
    /// Work as the owner in this epoch, with logs that this node worked on before it froze.
    Lead {
        /// The epoch.
        epoch: u64,
        /// Whose acknowledgement a 250 needs.
        both: Option<Incarnation>,
    },
    /// Lead as before, alone, and bring that copy near, cutting off (and setting aside) what the owner does not have. Done: so
    /// little is missing that it may be waited for.
    CatchUp {
        /// The copy.
        with: Incarnation,
    },
    /// Lead, and from now on say no 250 without that copy. Done: it is durable through the last batch of every log that was
    /// written alone.
    RequireBoth {
        /// The copy.
        with: Incarnation,
    },
    /// Lead, and bring sessions and deliveries to an end; new ones are refused. Done: none is left, or the time is over.
    Drain {
        /// The time.
        within: Duration,
    },
    /// Apply each log of this copy through its last durable batch, acknowledged or not, then work as the owner. What this
    /// process wrote to it and has not synced is synced first, or left out.
    Adopt {
        /// The epoch.
        epoch: u64,
        /// Whose acknowledgement a 250 needs.
        both: Option<Incarnation>,
    },
    /// Own it no more: drop sessions, withdraw the addresses, close the logs. Done: this copy can follow.
    StepDown,
    /// Take the owner's batches of this epoch, and say what is durable. Done: at once.
    Follow {
        /// The epoch.
        epoch: u64,
        /// Whether what is durable counts for a 250 of a mirrored epoch. If not, it is said all the same: it counts for
        /// `Reconcile`, `CatchUp` and `RequireBoth`.
        acknowledge: bool,
    },
    /// Take no more batches and acknowledge nothing more, in any epoch. Done: no worker does, and none will say that it did.
    StopFollowing,
}

/// The kind of what a machine is told: with the stages, what `reached.txt` counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Cause {
    /// A read found a register.
    Read,
    /// A read found nothing.
    Missing,
    /// A read found something else.
    Unreadable,
    /// A read was not answered.
    Unreachable,
    /// A read found two, where there is no store.
    Split,
    /// A watch.
    Stirred,
    /// A proposal stands in the store.
    Won,
    /// It does not.
    Lost,
    /// Nobody knows.
    Unknown,
    /// A memory is durable.
    Persisted,
    /// The partner's words.
    Heard,
    /// None.
    Silent,
    /// An order was carried out.
    Done,
    /// The copy or the memory failed.
    StorageFailed,
    /// What the disk has is something new.
    Room,
    /// The port's link came or went.
    Port,
    /// A time came.
    Deadline,
    /// A command that was taken.
    Create,
    /// Another one.
    Move,
    /// Another one.
    Solo,
    /// Another one.
    TakeOver,
    /// Another one.
    Rejoin,
}

impl Event {
    /// Its kind.
    pub const fn cause(&self) -> Cause {
        match self {
            Event::Read(Found::Register(_)) => Cause::Read,
            Event::Read(Found::Missing) => Cause::Missing,
            Event::Read(Found::Unreadable) => Cause::Unreadable,
            Event::Read(Found::Unreachable) => Cause::Unreachable,
            Event::Read(Found::Split { .. }) => Cause::Split,
            Event::Stirred => Cause::Stirred,
            Event::Proposed(Outcome::Won) => Cause::Won,
            Event::Proposed(Outcome::Lost(_)) => Cause::Lost,
            Event::Proposed(Outcome::Unknown) => Cause::Unknown,
            Event::Persisted => Cause::Persisted,
            Event::Heard(_) => Cause::Heard,
            Event::Silent { .. } => Cause::Silent,
            Event::Done { .. } => Cause::Done,
            Event::StorageFailed => Cause::StorageFailed,
            Event::Room(_) => Cause::Room,
            Event::Port { .. } => Cause::Port,
        }
    }
}

impl Command {
    /// Its kind.
    pub const fn cause(&self) -> Cause {
        match self {
            Command::Create => Cause::Create,
            Command::Move => Cause::Move,
            Command::Solo { .. } => Cause::Solo,
            Command::TakeOver { .. } => Cause::TakeOver,
            Command::Rejoin => Cause::Rejoin,
        }
    }
}

/// What an operator may ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Command {
    /// Create the register: this node owns the identity, alone at first. On the home node, once in a pair's life.
    Create,
    /// Give the identity to the partner.
    Move,
    /// Work alone from now on, until `Rejoin`.
    Solo {
        /// On a stale copy: what the other one has acknowledged since is lost.
        accept_loss: bool,
        /// The operator vouches for it that the partner's box is off, and stays off until it finds this register. Needed
        /// for a loss, and with the manual arbiter.
        partner_is_off: bool,
    },
    /// On the replica of a mirrored identity: take it over, whether the owner is heard or not. With the manual arbiter also on
    /// an owner that waits for the partner: work without it, until it is back.
    TakeOver {
        /// As above; needed with the manual arbiter, which does not believe it while the partner is heard.
        partner_is_off: bool,
    },
    /// On an owner that was told to work alone: with the partner again. On a node whose copy is not fit, and counts for
    /// nothing: with an empty copy, see [`Action::Renew`].
    Rejoin,
}

/// Why a command is not carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Refusal {
    /// A register stands there, has stood there, or has not been read yet.
    #[error("the identity exists already, or the store has not answered yet")]
    Exists,
    /// Only the owner can do this.
    #[error("this node does not own the identity, or does not work now")]
    NotOwner,
    /// Only the replica of a mirrored identity can do this.
    #[error("this node does not hold the replica of a mirrored identity")]
    NotReplica,
    /// The partner does not hold a complete copy, or is not heard.
    #[error("the partner is not ready")]
    PartnerNotReady,
    /// A change is on its way.
    #[error("another change of the register is on its way; try again")]
    Busy,
    /// This copy is stale, and mail may be lost.
    #[error("this copy is stale, and mail would be lost: start the other box, or accept the loss")]
    LossNotAccepted,
    /// Two boxes might work at once.
    #[error("the other box may still work: confirm that it is off")]
    PartnerNotOff,
    /// The same, of one that cannot be off.
    #[error("the other box is heard, so it is not off: stop it first")]
    PartnerHeard,
    /// The manual arbiter does not know what the partner did before.
    #[error(
        "this box has not heard the other one since it was started, which may have worked alone before that: start the other box, \
         or accept the loss of what it took (`rohrpost pair solo --accept-loss`)"
    )]
    Unmet,
    /// Each identity has a home.
    #[error("it is created on its home box: say `rohrpost pair create` there")]
    NotHome,
    /// This copy cannot be worked with.
    #[error("this copy is not fit")]
    CopyUnfit,
    /// The register vouches for this copy.
    #[error("the register counts on this copy")]
    CopyCounts,
    /// Nothing is to be done.
    #[error("nothing to do")]
    Nothing,
}

/// For the event log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Notice {
    /// Another stage, and the epoch that it belongs to (0: none).
    Stage {
        /// Which.
        stage: Stage,
        /// In which epoch.
        epoch: u64,
    },
    /// The store answers, or does no longer.
    Store {
        /// Whether it does.
        reachable: bool,
    },
    /// The addresses were given up, since this owner cannot settle.
    Isolated,
    /// What needs an operator, or does no longer. Told when it changes.
    Trouble(Option<Trouble>),
}

/// What a machine does, for `status` and the event log. The table is in the module doc.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// The register is not known.
    Waits,
    /// Failed closed.
    Closed,
    /// This copy must not work.
    Barred,
    /// An epoch begins.
    Entering,
    /// The logs are applied.
    Adopting,
    /// Owner.
    Leading,
    /// Owner, alone; the partner catches up.
    CatchingUp,
    /// Owner, alone in the register; both copies are required already.
    Requiring,
    /// As `Requiring`, and the store is asked.
    Pairing,
    /// Owner; sessions end, since the identity is moved.
    Draining,
    /// Workers stop.
    Stopping,
    /// It is written down that this epoch is left.
    Leaving,
    /// Stopped; what to ask for depends on the partner.
    Deciding,
    /// Stopped; the replica is made level.
    Levelling,
    /// Stopped; the store is asked.
    Proposing,
    /// The partner owns it now; workers let go.
    SteppingDown,
    /// Replica.
    Following,
}

impl Stage {
    /// Whether mail is taken and delivered in it.
    pub const fn works(self) -> bool {
        matches!(self, Stage::Leading | Stage::CatchingUp | Stage::Requiring | Stage::Pairing | Stage::Draining)
    }
}

impl fmt::Display for Stage {
    /// As in JSON, with spaces.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Stage::Waits => "waits",
            Stage::Closed => "closed",
            Stage::Barred => "barred",
            Stage::Entering => "entering",
            Stage::Adopting => "adopting",
            Stage::Leading => "leading",
            Stage::CatchingUp => "catching up",
            Stage::Requiring => "requiring",
            Stage::Pairing => "pairing",
            Stage::Draining => "draining",
            Stage::Stopping => "stopping",
            Stage::Leaving => "leaving",
            Stage::Deciding => "deciding",
            Stage::Levelling => "levelling",
            Stage::Proposing => "proposing",
            Stage::SteppingDown => "stepping down",
            Stage::Following => "following",
        })
    }
}

/// What does not end by itself. In words it says what to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum Trouble {
    /// There has never been a register: `create` it.
    #[error("it does not exist yet: on its home box, say `rohrpost pair create`")]
    Uncreated,
    /// The register is gone. It must be put right by hand, with exactly the highest epoch that either node has seen.
    #[error(
        "its register is gone. With the manual arbiter start the other box, which has it as well; in the store put it back with exactly the highest epoch that either box has seen (identity-*.json in the spool's folder), or restore the store"
    )]
    RegisterMissing,
    /// The register, or what this node was told by its partner, has gone back in time: the store was restored.
    #[error(
        "its register is older than one that was seen already: the store was restored; put the register back with exactly the highest epoch that either box has seen"
    )]
    RegisterBehind,
    /// Another register stands there in an epoch that was known already.
    #[error("its register is not what it was in the same epoch: the store was restored or written by hand")]
    RegisterForked,
    /// What stands there is no register.
    #[error("what stands in the store is no register: something else writes there, or a newer version did")]
    RegisterUnreadable,
    /// The logs of this copy are damaged or cannot be written.
    #[error("the logs of this copy are damaged or cannot be written: look at the disk, then restart")]
    CopyUnfit,
    /// The register counts on this copy, which has forgotten an epoch: the disk was restored from a snapshot.
    #[error("this copy is older than its register: the disk was restored; let the partner take over, then `rejoin`")]
    CopySetBack,
    /// The register counts on a copy that this node does not have any more.
    #[error("the register counts on a copy that this box has no more: let the partner take over, or accept the loss")]
    CopyReplaced,
    /// The owner worked alone and is silent: this copy is stale, only a loss that is accepted makes it work.
    #[error(
        "its owner worked alone and is silent, and this copy is stale: start the other box; if its disk is gone for good, `rohrpost pair solo --accept-loss`"
    )]
    OwnerGone,
    /// The partner is silent or of no use, and the manual arbiter waits for a command.
    #[error(
        "the partner is silent, or cannot do its part: start it; or make sure that it is off, then say \
         `rohrpost pair take-over --partner-is-off`"
    )]
    CommandNeeded,
    /// The same, and nobody but the partner knows whether it has worked alone while this node was off.
    #[error(
        "the partner has not been heard since this box was started, and may have worked alone before that: start the other box; \
         if it is gone for good, or surely has not, `rohrpost pair solo --accept-loss --partner-is-off`"
    )]
    Unmet,
    /// Both boxes have worked by the operators' word, and did not hear each other.
    #[error(
        "both boxes have worked for it without knowing of each other: stop the box whose queue is to be given up, on the other one \
         say `rohrpost pair solo --accept-loss --partner-is-off`, then start the first again; what only it had is set aside on \
         its disk"
    )]
    RegisterSplit,
}
