//! How a log shall work, and what makes sense.

use crate::limits::{BLOCK_SIZE, CHUNK_SIZE_MAX, RECORD_SIZE_MAX, SEGMENT_SIZE_MAX, SEGMENTS_MIN, SPOOL_CACHE_SIZE};

/// How a log shall work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The id of the log; part of every queue id.
    pub log: u16,
    /// Bytes of one segment, a multiple of 4096 and the same for the life of the log.
    pub segment_size: u64,
    /// Segments at most: with `segment_size` the bound of the log.
    pub segments_max: u32,
    /// A batch grows to this size, bytes, while the one before is on its way.
    pub batch_size_max: usize,
    /// Batches on their way at a time.
    pub batches_in_flight_max: usize,
    /// The largest content, bytes.
    pub message_size_max: u64,
    /// Messages that are being received at a time; beyond it nothing is accepted.
    pub drafts_max: usize,
    /// What the queued messages may take in memory, bytes; beyond it nothing is accepted.
    pub memory_max: u64,
    /// Below so many free bytes in the file system nothing is accepted.
    pub free_bytes_min: u64,
    /// The epoch that batches are written in.
    pub epoch: u64,
}

impl Settings {
    pub(super) fn check(&self) -> Result<(), &'static str> {
        if !self.segment_size.is_multiple_of(BLOCK_SIZE as u64) {
            return Err("the segment size must be a multiple of 4096 bytes");
        }
        if self.segment_size < 32 * BLOCK_SIZE as u64 || self.segment_size > SEGMENT_SIZE_MAX {
            return Err("the segment size must lie between 128 KiB and 1 GiB");
        }
        if self.segments_max < SEGMENTS_MIN {
            return Err("a log needs at least eight segments");
        }
        if self.batch_size_max < 4 * BLOCK_SIZE || self.batch_size_max as u64 > self.segment_size {
            return Err("the batch size must lie between 16 KiB and the segment size");
        }
        if self.batches_in_flight_max == 0 {
            return Err("at least one batch must be allowed in flight");
        }
        Ok(())
    }

    /// Of a small log no more than a sixteenth is kept in memory, so that its disk is what it is read from.
    pub(super) fn cache_size(&self) -> usize {
        let part = self.segment_size.saturating_mul(self.segments_max.into()) / 16;
        usize::try_from(part).map_or(SPOOL_CACHE_SIZE, |part| part.min(SPOOL_CACHE_SIZE))
    }

    /// What does not fit at the end of a segment or of a batch is lost to it: records and chunks are small beside them.
    pub(super) fn record_size_max(&self) -> usize {
        usize::try_from(self.segment_size / 8).map_or(RECORD_SIZE_MAX, |part| part.min(RECORD_SIZE_MAX))
    }

    pub(super) fn chunk_size_max(&self) -> usize {
        usize::try_from(self.segment_size / 32).map_or(CHUNK_SIZE_MAX, |part| part.min(CHUNK_SIZE_MAX))
    }
}
