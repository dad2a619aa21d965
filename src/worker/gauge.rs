//! How full a worker's tables are.

use super::Worker;
use crate::env::Clock;
use crate::env::disk::Disk;
use crate::flow::Transport;
use crate::limits::{Gauge, JOBS_IN_HAND_MAX};
use crate::spool::Log;

impl<T: Transport, D: Disk, C: Clock> Worker<T, D, C> {
    /// Shows how full its tables are, those of its transport apart.
    pub fn gauge(&self, see: &mut dyn FnMut(Gauge)) {
        self.parts.logs.iter().for_each(|log: &Log<D>| log.gauge(see));
        self.home.queues().iter().for_each(|queue| queue.gauge(see));
        self.outbound.destinations.gauge(see);
        let destinations = self.parts.routes.count() + 1;
        self.parts.exchange.gauge(destinations * JOBS_IN_HAND_MAX as usize, see);
    }
}
