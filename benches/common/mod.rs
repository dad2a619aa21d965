//! What several benches have in common.

use rohrpost::spool::Settings;

/// A log as a worker has it, of at most so many segments, with no limit that a bench could meet.
pub fn log_settings(segments_max: u32) -> Settings {
    Settings {
        log: 0,
        segment_size: 64 << 20,
        segments_max,
        batch_size_max: 1 << 20,
        batches_in_flight_max: 4,
        message_size_max: 50_000_000,
        drafts_max: 1000,
        memory_max: u64::MAX,
        free_bytes_min: 0,
        epoch: 1,
    }
}
