//! The operator's commands.

pub mod queue;
pub mod status;
mod text;
