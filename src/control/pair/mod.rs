//! The pair on the control thread: who works for an identity, and what it takes to find out.
//!
//! In: reports of workers, answers of etcd or of what this box keeps, commands. Out: wishes to the workers, memories on the disk, changes of the registers,
//! events, and what `rohrpost pair status` shows.
//!
//! ```text
//!  workers ─► PairReport ─► board (an arbiter for each identity) ─► PairWish ─► workers
//!                             │ ▲
//!                    PairTask ▼ │ answers                     worker ─► Errand ─► keeper ─► worker
//!              desk ─► store (etcd) or manual (a file for each identity), memory (another one)
//! ```
//!
//! The `board` decides, and is sans-IO; the simulator has it as it is. The `desk` does for it what takes long, by `store` or
//! `manual`, and `memory`; the `keeper` is a thread that reads logs anew.

mod board;
mod desk;
mod keeper;
mod manual;
mod memory;
mod status;
mod store;
#[cfg(test)]
mod tests;

pub use board::{PairBoard, PairCounts, PairTask};
pub(super) use desk::{Desk, News};
pub use desk::{PairSettings, Registers};
pub use keeper::Keeper;
pub use manual::{Kept, answer as answer_by_hand};
pub use memory::{MemoryError, begin as begin_memory, recall};
pub use status::{ArbiterKind, IdentityStatus, PairStatus};
pub use store::{Store, StoreError};
