//! Reading content back: from recent batches in memory, else from disk, chunk by chunk.
//!
//! No byte of a chunk that was read from disk is handed out before the chunk's checksum was verified.

use super::MessageId;
use super::event::LogEvent;
use super::log::Log;
use super::message::Extent;
use crate::checksum::crc32c;
use crate::env::disk::{Block, Disk, DiskError, Token};
use crate::limits::{BLOCK_SIZE, READERS_MAX};

pub(super) const TOKEN_KIND: u64 = 1;

/// A place in the content of a message. Give it back with [`Log::close_reader`].
#[derive(Debug)]
pub struct Reader {
    slot: usize,
    id: MessageId,
    extent: usize,
    within: usize,
    position: u64,
}

impl Reader {
    /// Of which message.
    pub fn id(&self) -> MessageId {
        self.id
    }

    /// How much was consumed, bytes.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Goes on by `count` bytes, at most as many as the last [`Piece::Ready`] had.
    pub fn consume(&mut self, count: usize) {
        self.within += count;
        self.position += count as u64;
    }
}

/// The next content at a reader's place.
#[derive(Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    /// These bytes, and perhaps more after them.
    Ready(&'a [u8]),
    /// A disk read is under way; [`LogEvent::Read`] follows.
    Pending,
    /// All was read.
    End,
    /// What the disk holds is not what was written.
    Damaged,
    /// The disk cannot be read, or the message was taken away for want of space.
    Failed,
}

#[derive(Debug)]
enum Loaded {
    Nothing,
    Pending(Extent),
    Chunk(Extent, Block),
    Damaged(Extent),
    Failed(Extent),
}

/// What a reader holds in the log.
#[derive(Debug)]
pub(super) struct ReaderSlot {
    id: MessageId,
    generation: u32,
    loaded: Loaded,
}

/// The blocks that a chunk lies in: where they begin, how many bytes they have, and where the chunk begins in them.
pub(super) fn blocks_around(extent: &Extent) -> (u64, usize, usize) {
    let start = extent.offset as usize / BLOCK_SIZE * BLOCK_SIZE;
    let end = (extent.offset as usize + extent.length as usize).next_multiple_of(BLOCK_SIZE);
    (start as u64, end - start, extent.offset as usize - start)
}

impl<D: Disk> Log<D> {
    /// Opens a message for reading from its beginning; `None` if it is not queued or too many readers are open.
    pub fn reader(&mut self, id: MessageId) -> Option<Reader> {
        if self.readers.len() >= READERS_MAX {
            return None;
        }
        if !self.index.read(id) {
            return None;
        }
        self.reader_generation = self.reader_generation.wrapping_add(1);
        let generation = self.reader_generation & 0xff_ffff;
        let slot = self.readers.insert(ReaderSlot { id, generation, loaded: Loaded::Nothing });
        Some(Reader { slot, id, extent: 0, within: 0, position: 0 })
    }

    /// Ends reading.
    pub fn close_reader(&mut self, reader: Reader) {
        if self.readers.try_remove(reader.slot).is_some() {
            self.index.release(reader.id);
        }
    }

    /// The next piece of content. A message that is settled meanwhile stays readable until the reader is closed, unless
    /// its space is needed.
    pub fn read(&mut self, reader: &mut Reader) -> Piece<'_> {
        let (Some(message), Some(slot)) = (self.index.kept(reader.id), self.readers.get_mut(reader.slot)) else {
            return Piece::Failed;
        };
        // A moved message has the same chunks in the same order, so that the place stays right.
        let mut extents = message.extents().skip(reader.extent).peekable();
        while let Some(extent) = extents.next_if(|extent| reader.within >= extent.length as usize) {
            reader.within -= extent.length as usize;
            reader.extent += 1;
        }
        let Some(extent) = extents.next() else { return Piece::End };
        if let Some(bytes) = self.cache.find(&extent) {
            return Piece::Ready(&bytes[reader.within..]);
        }
        let outdated = match &slot.loaded {
            Loaded::Nothing => true,
            Loaded::Pending(_) => return Piece::Pending,
            Loaded::Chunk(loaded, _) | Loaded::Damaged(loaded) | Loaded::Failed(loaded) => *loaded != extent,
        };
        if outdated {
            let Some(number) = self.segments.number_of(extent.generation) else { return Piece::Failed };
            let (offset, length, _) = blocks_around(&extent);
            let token = TOKEN_KIND << 56 | u64::from(slot.generation) << 32 | reader.slot as u64;
            slot.loaded = Loaded::Pending(extent);
            self.disk.read(token, number, offset, length);
            self.disk.submit();
            return Piece::Pending;
        }
        match &slot.loaded {
            Loaded::Chunk(_, block) => {
                let (_, _, start) = blocks_around(&extent);
                Piece::Ready(&block.bytes()[start + reader.within..start + extent.length as usize])
            }
            Loaded::Damaged(_) => Piece::Damaged,
            Loaded::Failed(_) | Loaded::Nothing | Loaded::Pending(_) => Piece::Failed,
        }
    }

    pub(super) fn reader_completed(
        &mut self,
        token: Token,
        result: Result<Block, DiskError>,
        events: &mut Vec<LogEvent>,
    ) {
        let place = usize::try_from(token & 0xffff_ffff).expect("slots are few");
        let Some(slot) = self.readers.get_mut(place) else { return };
        if u64::from(slot.generation) != token >> 32 & 0xff_ffff {
            return;
        }
        let Loaded::Pending(extent) = slot.loaded else { return };
        let id = slot.id;
        let in_place = self.index.kept(id).is_some_and(|message| message.extents().any(|current| current == extent));
        match result {
            // The message was moved meanwhile, and its old place may have been written again: it is read where it is now.
            _ if !in_place => slot.loaded = Loaded::Nothing,
            Ok(block) => {
                let (_, _, start) = blocks_around(&extent);
                let checksum = crc32c(&block.bytes()[start..start + extent.length as usize]);
                if checksum == extent.checksum {
                    slot.loaded = Loaded::Chunk(extent, block);
                } else {
                    slot.loaded = Loaded::Damaged(extent);
                    self.quarantine(id, &extent);
                }
            }
            Err(_) => {
                slot.loaded = Loaded::Failed(extent);
                self.read_failed(id, &extent);
            }
        }
        events.push(LogEvent::Read { id });
    }
}
