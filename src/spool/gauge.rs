//! How full a log's tables are.

use super::log::Log;
use crate::env::disk::Disk;
use crate::limits::{Gauge, READERS_MAX};

impl<D: Disk> Log<D> {
    /// Shows how full its tables are.
    pub fn gauge(&self, see: &mut dyn FnMut(Gauge)) {
        let settings = &self.settings;
        let (cached, cached_max) = self.cache.fill();
        see(Gauge::new("messages being received", self.drafts.len(), settings.drafts_max));
        see(Gauge::new("readers", self.readers.len(), READERS_MAX));
        see(Gauge::new("writes under way", self.in_flight.len(), settings.batches_in_flight_max));
        see(Gauge::new("segments", self.segments.known_count(), self.segments.limit()));
        see(Gauge::new("segments with two uses", usize::from(!self.segments.each_once()), 0));
        see(Gauge::new("cached bytes", cached, cached_max));
    }
}
