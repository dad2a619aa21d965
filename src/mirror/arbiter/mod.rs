//! The arbiter: decides for one identity, on one node, who works for it.

mod types;

pub use types::{
    Action, Command, Event, Found, Notice, Order, Outcome, Refusal, Role, Settings, Stage, Trouble, Words,
};
