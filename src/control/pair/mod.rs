//! The pair on the control thread: who works for an identity, and what it takes to find out.
//!
//! In: reports of workers, answers of etcd, commands. Out: wishes to the workers, memories on the disk, changes of the registers,
//! events, and what `rohrpost pair status` shows.
//!
//! ```text
//!  workers ─► PairReport ─► board (an arbiter for each identity) ─► PairWish ─► workers
//!                             │ ▲
//!                    PairTask ▼ │ answers                     worker ─► Errand ─► keeper ─► worker
//!              desk ─► store (etcd), memory (a file for each identity)
//! ```
//!
//! The `board` decides, and is sans-IO; the simulator has it as it is. The `desk` does for it what takes long, by `store` and
//! `memory`; the `keeper` is a thread that reads logs anew.

mod board;
mod desk;
mod keeper;
mod memory;
mod status;
mod store;
#[cfg(test)]
mod tests;

pub use board::{PairBoard, PairCounts, PairTask};
pub use desk::PairSettings;
pub(super) use desk::{Desk, News};
pub use keeper::Keeper;
pub use memory::{MemoryError, begin as begin_memory, recall};
pub use status::{IdentityStatus, PairStatus};
pub use store::{Store, StoreError};
