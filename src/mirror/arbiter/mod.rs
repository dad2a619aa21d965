//! The arbiter: decides for one identity, on one node, who works for it.

mod command;
mod decide;
mod machine;
mod types;

pub use machine::Arbiter;
pub use types::{
    Action, Command, Event, Found, Notice, Order, Outcome, Refusal, Role, Settings, Stage, Trouble, Words,
};

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;
