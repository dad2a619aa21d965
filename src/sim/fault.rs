//! What can go wrong in a world, and by which names it is known.

use super::attacker::Attack;
use super::names::NameTrouble;
use super::node::Linger;
use super::proof::ProofTrouble;
use super::receiver::Manner;
use crate::env::disk::Lie;
use crate::mirror::arbiter::{Cause, Command, REACHED, Stage};
use crate::port::sim::Link;
use std::time::Duration;

/// Who is cut off from the appliance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Clients,
    Receivers,
}

/// Which frames a cut swallows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    Both,
    ToAppliance,
    FromAppliance,
}

/// What is done to a register behind the back of the pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tampering {
    /// It is what it was before.
    SetBack,
    /// It is gone.
    Removed,
    /// Something else stands there.
    Overwritten,
}

/// What a box finds in the place of its disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Exchange {
    /// Nothing.
    Empty,
    /// What was there some time ago.
    Stale,
}

/// What the operator says about some of the mail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Say {
    Suspend,
    Drain,
    /// It goes as mail for this domain does.
    Reroute(usize),
    Resume,
}

/// About which mail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Whose {
    Domain(usize),
    /// By the name of where it goes.
    Destination(usize),
    /// All but bounces.
    Senders,
    All,
}

/// Something that goes wrong, and for how long.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Fault {
    /// The appliance's cable loses, delays, doubles and damages.
    Cable(Link, Duration),
    Cut(Side, Way, Duration),
    DiskStalls(Duration),
    WriteFails,
    ReadsFail(Duration),
    DiskFull(Duration),
    /// No segment can be made, for want of inodes, descriptors or quota: an error number says which.
    SegmentsFail(i32, Duration),
    /// In this share of breaths the network card has no free buffer.
    FramesShort(f64, Duration),
    Attack(Attack, Duration),
    Rot,
    DiskLies(Lie),
    ClockJumps(i64),
    Pause(Duration),
    Kill(Duration),
    PowerLoss(Duration),
    /// Power is lost as soon as a log has come round and writes over what it no longer needs.
    PowerLossAtReuse(Duration),
    /// Power is lost as soon as a next hop has taken a message and said so to nobody yet.
    PowerLossAtDelivery(Duration),
    Stop(Duration),
    Manner(usize, Manner, Duration),
    /// Something is wrong with a domain in the DNS.
    Name(usize, NameTrouble, Duration),
    /// Something is wrong with the proof of who a next hop is.
    Proof(ProofTrouble, Duration),
    /// A box of a pair does not reach the store.
    StoreCut(Duration),
    /// The store answers this share of questions late or never.
    StoreLossy(f64, Duration),
    /// The boxes of a pair do not reach each other.
    PartnersCut(Way, Duration),
    /// Neither box of a pair reaches the other one or the store.
    Isolation(Duration),
    /// The store has gone back in time, or its keys were tampered with; then the operator puts it right.
    StoreTampered(Tampering, Duration),
    /// The disk of a box of a pair takes its time.
    DiskSlow(Duration),
    /// The cable of the port that the addresses are on is drawn, and the box of a pair sees that.
    Unplugged(Duration),
    /// Both boxes of a pair lose power.
    Blackout(Duration),
    /// A box of a pair loses power as soon as it is there with one of the identities.
    PowerLossAtStage(Stage, Duration),
    /// An arbiter that is at this stage with one of the identities, and whose box lingers there, meets this.
    Encounter(Linger, Cause),
    /// A box of a pair dies, and comes back with another disk.
    DiskExchanged(Exchange, Duration),
    /// A box of a pair gets a release that speaks another version of the mirror protocol, and so long after the other one, too.
    Upgrade(Duration),
    /// The operator gives the identity that this box owns to the other one, if it owns one.
    Move,
    /// The operator of a pair asks for this.
    Command(Command),
    Hold,
    Release,
    Delete,
    Retry,
    /// A standing order of the operator.
    Order(Say, Whose, Duration),
}

impl Fault {
    /// For the sums.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Fault::Cable(..) => "cable",
            Fault::Cut(..) => "cut",
            Fault::DiskStalls(_) => "disk stall",
            Fault::WriteFails => "write error",
            Fault::ReadsFail(_) => "read errors",
            Fault::DiskFull(_) => "disk full",
            Fault::SegmentsFail(..) => "no segment",
            Fault::FramesShort(..) => "frame shortage",
            Fault::Attack(Attack::Flood, _) => "SYN flood",
            Fault::Attack(Attack::Forgery, _) => "forged segments",
            Fault::Attack(Attack::Rubbish, _) => "rubbish",
            Fault::Rot => "rot",
            Fault::DiskLies(Lie::Lost) => "lost write",
            Fault::DiskLies(Lie::Misdirected) => "misdirected write",
            Fault::ClockJumps(_) => "clock jump",
            Fault::Pause(_) => "pause",
            Fault::Kill(_) => "kill",
            Fault::PowerLoss(_) => "power loss",
            Fault::PowerLossAtReuse(_) => "power loss at reuse",
            Fault::PowerLossAtDelivery(_) => "power loss at delivery",
            Fault::Stop(_) => "stop",
            Fault::Manner(..) => "manner",
            Fault::Name(_, NameTrouble::Slow(_), _) => "slow resolver",
            Fault::Name(_, NameTrouble::Fails, _) => "failing resolver",
            Fault::Name(_, NameTrouble::Silent, _) => "silent resolver",
            Fault::Name(_, NameTrouble::Unheard, _) => "unheard lookup",
            Fault::Name(_, NameTrouble::Null, _) => "null MX",
            Fault::Name(_, NameTrouble::Gone, _) => "no domain",
            Fault::Name(_, NameTrouble::HostFails, _) => "unknown host",
            Fault::Name(_, NameTrouble::Moved(_), _) => "moved MX",
            Fault::Proof(trouble, _) => trouble.name(),
            Fault::StoreCut(_) => "no store",
            Fault::StoreLossy(..) => "lossy store",
            Fault::PartnersCut(..) => "partners cut",
            Fault::Isolation(_) => "isolation",
            Fault::StoreTampered(Tampering::SetBack, _) => "register set back",
            Fault::StoreTampered(Tampering::Removed, _) => "register removed",
            Fault::StoreTampered(Tampering::Overwritten, _) => "register overwritten",
            Fault::DiskSlow(_) => "slow disk",
            Fault::Unplugged(_) => "unplugged",
            Fault::Blackout(_) => "blackout",
            Fault::PowerLossAtStage(..) => "power loss at stage",
            Fault::Encounter(..) => "encounter",
            Fault::DiskExchanged(Exchange::Empty, _) => "disk replaced",
            Fault::DiskExchanged(Exchange::Stale, _) => "disk restored",
            Fault::Upgrade(_) => "upgrade",
            Fault::Move => "move",
            Fault::Command(_) => "command",
            Fault::Hold => "hold",
            Fault::Release => "release",
            Fault::Delete => "delete",
            Fault::Retry => "retry",
            Fault::Order(..) => "order",
        }
    }
}

/// All that a world with a pair may suffer, by name.
pub(super) const FAULTS_OF_PAIRS: [&str; 49] = [
    "SYN flood",
    "blackout",
    "cable",
    "clock jump",
    "command",
    "cut",
    "delete",
    "disk full",
    "disk replaced",
    "disk restored",
    "disk stall",
    "encounter",
    "failing resolver",
    "forged segments",
    "frame shortage",
    "hold",
    "isolation",
    "kill",
    "lossy store",
    "manner",
    "move",
    "moved MX",
    "no domain",
    "no segment",
    "no store",
    "null MX",
    "order",
    "partners cut",
    "pause",
    "power loss",
    "power loss at delivery",
    "power loss at stage",
    "read errors",
    "register overwritten",
    "register removed",
    "register set back",
    "release",
    "retry",
    "rot",
    "rubbish",
    "silent resolver",
    "slow disk",
    "slow resolver",
    "stop",
    "unheard lookup",
    "unknown host",
    "unplugged",
    "upgrade",
    "write error",
];

/// What the model of the arbiter meets, and no simulated world: stages and what is met in them.
pub(super) const BEYOND: [&str; 3] = [
    // What a copy lacks is lost if it works alone, and the operator of a world accepts no loss.
    "Barred Solo",
    "Following Solo",
    // Who decides and is told to be alone asks at once, unless an older question of its is still without an answer.
    "Deciding Rejoin",
];

/// The stages, by name, and what the model of the arbiter has met in them.
pub(super) fn reached() -> impl Iterator<Item = (&'static str, &'static str)> {
    let stages = REACHED.lines().filter_map(|line| line.split_once(": "));
    stages.flat_map(|(stage, causes)| causes.split(' ').map(move |cause| (stage, cause)))
}
