//! How full a worker's tables are.

use super::Worker;
use crate::env::Clock;
use crate::env::disk::Disk;
use crate::flow::Transport;
use crate::limits::{Gauge, JOBS_IN_HAND_MOST};
use crate::spool::Log;

impl<T: Transport, D: Disk, C: Clock> Worker<T, D, C> {
    /// Shows how full its tables are, those of its transport apart.
    pub fn gauge(&self, see: &mut dyn FnMut(Gauge)) {
        self.parts.logs.iter().for_each(|log: &Log<D>| log.gauge(see));
        self.home.gauge(see);
        self.outbound.destinations.gauge(see);
        // Of both identities.
        self.parts.exchange.gauge(2 * JOBS_IN_HAND_MOST, see);
    }
}
