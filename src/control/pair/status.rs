//! What `rohrpost pair status` shows.

use super::{PairBoard, PairCounts};
use crate::mirror::arbiter::{Stage, Trouble};
use crate::mirror::register::{Mode, Node};
use serde::{Deserialize, Serialize};

/// How the pair stands, as this box sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PairStatus {
    /// Which of the two boxes this is.
    pub node: Node,
    /// Who decides when a box is not heard.
    pub arbiter: ArbiterKind,
    /// Of each endpoint of etcd, why it was last not of help, if that is so of all; with the manual arbiter, why this box could
    /// not keep a register.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub store_error: Option<String>,
    /// The partner has the same standing orders; none: it is not heard. Where it has others they come to be the same by themselves.
    pub orders_are_same: Option<bool>,
    /// Both identities.
    pub identities: [IdentityStatus; 2],
}

/// Who decides when a box is not heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ArbiterKind {
    /// etcd.
    Etcd,
    /// An operator.
    Manual,
}

/// How an identity stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdentityStatus {
    /// Which.
    pub identity: Node,
    /// What this box does for it.
    pub stage: Stage,
    /// It works for it: its addresses are here, and mail is taken.
    pub works: bool,
    /// The epoch of the register as it was last known; 0: it is not known.
    pub epoch: u64,
    /// The owner, if the register is known.
    pub owner: Option<Node>,
    /// Whether both copies count, if the register is known.
    pub mode: Option<Mode>,
    /// The partner is heard on every link of this identity.
    pub partner_heard: bool,
    /// What needs an operator, if anything does.
    pub trouble: Option<Trouble>,
    /// What has happened to it here since the start.
    pub counts: PairCounts,
}

impl IdentityStatus {
    /// What became of copies here that were damaged, in words; none if none was since the start.
    pub fn repairs(&self) -> Option<String> {
        let times = match self.counts.renewals {
            0 => return None,
            1 => "once".to_owned(),
            count => format!("{count} times"),
        };
        Some(format!(
            "REPAIRED {times} since the start: this copy was damaged or lost, and was made anew from the partner's; what it was \
             is beside its logs as aside-*, and `log_damaged` and `damaged` in the event log say what was wrong"
        ))
    }

    pub(super) fn of(identity: Node, board: &PairBoard) -> IdentityStatus {
        let arbiter = board.arbiter(identity);
        let register = arbiter.register();
        IdentityStatus {
            identity,
            stage: arbiter.stage(),
            works: arbiter.works(),
            epoch: register.map_or(0, |register| register.epoch),
            owner: register.map(|register| register.owner),
            mode: register.map(|register| register.mode),
            partner_heard: arbiter.hears_partner(),
            trouble: arbiter.trouble(),
            counts: board.counts(identity),
        }
    }
}
