//! When which session must be looked at.

use crate::env::Instant;
use crate::flow::FlowId;
use hashbrown::HashMap;
use std::collections::BTreeSet;

/// One timer for each flow. Sessions arm it lazily (a deadline that moves away is looked at when the old one is over), so
/// that it is touched a few times in a session's life and not at every command.
#[derive(Debug, Default)]
pub(super) struct Timers {
    due: BTreeSet<(Instant, FlowId)>,
    armed: HashMap<FlowId, Instant>,
}

impl Timers {
    /// Arms the timer of `flow`, or moves it.
    pub(super) fn schedule(&mut self, flow: FlowId, at: Instant) {
        if let Some(before) = self.armed.insert(flow, at) {
            self.due.remove(&(before, flow));
        }
        self.due.insert((at, flow));
    }

    /// The flow needs no timer any more.
    pub(super) fn cancel(&mut self, flow: FlowId) {
        if let Some(before) = self.armed.remove(&flow) {
            self.due.remove(&(before, flow));
        }
    }

    /// A timer that has gone off; it is not armed any more.
    pub(super) fn expired(&mut self, now: Instant) -> Option<FlowId> {
        let (at, flow) = *self.due.first()?;
        if at > now {
            return None;
        }
        self.cancel(flow);
        Some(flow)
    }

    /// When the next one goes off.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.due.first().map(|(at, _)| *at)
    }
}
