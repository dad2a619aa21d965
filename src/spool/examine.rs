//! Looking at a log that nobody has open: everything is read and verified, and nothing is written.

use super::MessageId;
use super::format::{HEADER_SIZE, Header};
use super::log::Log;
use super::recovery::{OpenError, Recovery};
use super::settings::Settings;
use crate::env::disk::Disk;
use crate::env::{Instant, Now, WallTime};
use crate::limits::{BATCH_SIZE_DEFAULT, BLOCK_SIZE, SEGMENT_SIZE_MAX};

/// What is in a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Examination {
    /// What opening it would find.
    pub recovery: Recovery,
    /// Content of the messages in the queue, bytes.
    pub content_bytes: u64,
    /// Messages whose content is damaged.
    pub damaged: Vec<MessageId>,
    /// Recipients that may have been delivered to: an attempt was begun, and how it ended is not known.
    pub in_doubt: usize,
}

impl<D: Disk> Log<D> {
    /// Reads a whole log as [`Log::open`] does, and changes nothing. Its headers say how it was configured. Blocks.
    pub fn examine(mut disk: D) -> Result<Examination, OpenError> {
        let files = disk.segments()?;
        let header = first_header(&mut disk, &files);
        let settings = Settings {
            log: header.map_or(0, |header| header.log),
            segment_size: match (header, files.first()) {
                (Some(header), _) => header.segment_size,
                (None, Some((_, size))) => *size,
                (None, None) => SEGMENT_SIZE_MAX,
            },
            segments_max: u32::MAX,
            batch_size_max: BATCH_SIZE_DEFAULT,
            batches_in_flight_max: 1,
            message_size_max: u64::MAX,
            drafts_max: 0,
            memory_max: u64::MAX,
            free_bytes_min: 0,
            epoch: u64::MAX,
        };
        let mut log = Log::new(disk, settings);
        let now = Now { mono: Instant::ZERO, wall: WallTime::default() };
        let recovery = log.recover(now)?;
        let (damaged, in_doubt) = (log.damaged().collect(), log.index.in_doubt().count());
        Ok(Examination { recovery, content_bytes: log.index.size(), damaged, in_doubt })
    }
}

/// Any header of the log; nearly always the first bytes of the first file are one.
fn first_header<D: Disk>(disk: &mut D, files: &[(u32, u64)]) -> Option<Header> {
    let mut header_at = |segment, offset| {
        // What cannot be read here is found to be so by the replay.
        let block = disk.read_now(segment, offset, BLOCK_SIZE).ok()?;
        Header::decode(&block.bytes()[..HEADER_SIZE]).map(|(header, _)| header)
    };
    if let Some(header) = files.iter().find_map(|(segment, _)| header_at(*segment, 0)) {
        return Some(header);
    }
    let blocks = |size: u64| (0..size / BLOCK_SIZE as u64).map(|block| block * BLOCK_SIZE as u64);
    files.iter().find_map(|(segment, size)| blocks(*size).find_map(|offset| header_at(*segment, offset)))
}
