//! The workers: on which cores they run, and what they do without work.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One worker runs on each core, and owns the sessions and the log of that core.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Workers {
    /// The cores, by the numbers of /proc/cpuinfo, best isolated from the scheduler. An empty list runs one worker that is
    /// not pinned.
    #[schemars(extend("x-example" = [2, 3]), length(max = 64))]
    pub cores: Vec<usize>,
    /// What an idle worker does: "busy" spins without end (dedicated boxes), "adaptive" spins for a moment and then sleeps
    /// until something arrives, "sleep" sleeps at once.
    pub poll: Poll,
}

impl Workers {
    /// How many there are.
    pub fn count(&self) -> u16 {
        self.cores.len().max(1) as u16
    }
}

/// What an idle worker does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum Poll {
    Busy,
    #[default]
    Adaptive,
    Sleep,
}
