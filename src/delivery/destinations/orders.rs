//! What standing orders mean for the owner of destinations: work goes back that has not begun, and connections end.

use super::target::State;
use super::{ConnectionId, Destinations};
use crate::delivery::{Fate, Orders, Work};
use crate::env::Instant;

impl Destinations {
    /// Heeds these orders, of which those after `known` are new: what waits and must not begin goes back untried, and connections to
    /// destinations that are drained end, at once or after the message in hand. Of an MX set, whose connections many domains share,
    /// those end that have served the domain last.
    pub fn heed(&mut self, now: Instant, orders: &Orders, known: u64) {
        let is_stopped = |work: &Work| matches!(work, Work::Deliver(job) if orders.stop(job));
        // All that waits is gone through only for an order that may stop some of it: what ends stops nothing.
        let is_new = orders.newest() > known;
        for place in (0..self.targets.len()).filter(|_| is_new) {
            let stopped = self.targets[place].waiting.extract(|waiting| is_stopped(&waiting.work));
            if !stopped.is_empty() {
                stopped.into_iter().for_each(|waiting| self.finish(waiting, &Fate::Untried, None));
                self.mark(place);
            }
        }
        let (routes, domains) = orders.drained(known);
        let fixed = self.sets.fixed();
        let mut ending = Vec::new();
        for (index, connection) in &mut self.connections {
            let is_drained = match connection.destination {
                place if place < fixed => routes.iter().any(|route| route.index() == place),
                _ => connection.served.as_deref().is_some_and(|domain| domains.contains(&domain)),
            };
            if is_drained {
                connection.is_last = true;
                let id = ConnectionId { index: index as u32, generation: connection.generation };
                ending.extend(matches!(connection.state, State::Idle).then_some(id));
            }
        }
        ending.into_iter().for_each(|connection| self.quit(now, connection));
    }
}
