//! How much of a breath handshakes may take.
//!
//! A handshake costs as much as tens of messages. In: lines that have a step of one to do. Out: those whose turn it is; the others
//! wait for a later breath, in the order in which they came. So whoever opens many connections waits for himself, and sessions
//! in the clear are served in between.

use crate::flow::FlowId;
use crate::limits::HANDSHAKE_STEPS_PER_BREATH;
use hashbrown::HashSet;
use std::collections::VecDeque;

/// The steps of handshakes of a worker. There are never more lines waiting than flows, as each waits once.
#[derive(Debug, Default)]
pub struct Handshakes {
    /// Steps that may still be done in this breath.
    left: usize,
    waiting: VecDeque<FlowId>,
    /// The same, to be looked up.
    waits: HashSet<FlowId>,
}

impl Handshakes {
    /// A breath begins.
    pub fn begin_breath(&mut self) {
        self.left = HANDSHAKE_STEPS_PER_BREATH;
    }

    /// The flows whose turn has come: at the beginning of a breath. Each is to be looked at as if something had come by it.
    pub fn turns(&mut self) -> impl Iterator<Item = FlowId> {
        let turns = self.waiting.drain(..self.left.min(self.waiting.len()));
        turns.inspect(|flow| assert!(self.waits.remove(flow), "whoever waits is known to wait"))
    }

    /// Whether somebody waits for the next breath, which then must not be slept away.
    pub fn any_waits(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Takes a step for this flow. False: it has to wait, and does so from now on unless it did before.
    pub fn step(&mut self, flow: FlowId) -> bool {
        if self.left > 0 {
            self.left -= 1;
            return true;
        }
        if self.waits.insert(flow) {
            self.waiting.push_back(flow);
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flow(index: u32) -> FlowId {
        FlowId { index, generation: 0 }
    }

    #[test]
    fn what_is_too_much_for_a_breath_has_its_turn_in_the_next_ones() {
        let mut handshakes = Handshakes::default();
        let flows: Vec<FlowId> = (0..3 * HANDSHAKE_STEPS_PER_BREATH as u32).map(flow).collect();
        handshakes.begin_breath();
        for (place, flow) in flows.iter().enumerate() {
            assert_eq!(handshakes.step(*flow), place < HANDSHAKE_STEPS_PER_BREATH);
        }
        let mut order = Vec::new();
        for _ in 0..2 {
            // Asking again while one waits is no second place.
            assert!(!handshakes.step(flows[flows.len() - 1]));
            assert!(handshakes.any_waits());
            handshakes.begin_breath();
            let turns: Vec<FlowId> = handshakes.turns().collect();
            assert!(turns.iter().all(|flow| handshakes.step(*flow)));
            order.extend(turns);
        }
        assert_eq!(order, flows[HANDSHAKE_STEPS_PER_BREATH..]);
        assert!(!handshakes.any_waits());
    }
}
