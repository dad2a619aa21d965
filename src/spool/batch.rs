//! The batch that is being filled, and the recent ones that are kept in memory.

use crate::checksum::crc32c;
use std::collections::VecDeque;
use std::sync::Arc;

use super::event::Draft;
use super::format::HEADER_SIZE;
use super::message::{Extent, Message};
use super::record::{CHUNK_HEADER_SIZE, RECORD_ALIGNMENT, Seal, encode_chunk_header};
use super::segments::Live;
use crate::env::Instant;
use crate::env::disk::Block;
use crate::limits::BLOCK_SIZE;

/// A batch starts with this much memory, bytes, and doubles as needed.
const CAPACITY_MIN: usize = 64 * 1024;
/// Blocks kept for the next batches: as many as are on their way to the disk, and one for each size that a batch grows through.
const SPARES_MAX: usize = 12;
/// A block is not used for so many times less than it holds.
const SPARE_WASTE_MAX: usize = 4;

/// A message whose final record is on its way.
#[derive(Debug)]
pub(super) struct Finished {
    pub draft: Draft,
    pub message: Box<Message>,
    /// The segment that its first chunk holds in place.
    pub pinned: Option<u64>,
}

/// A copy that is on its way.
#[derive(Debug)]
pub(super) struct Moved {
    pub message: Box<Message>,
    /// It was not moved, but signed: somebody waits for that.
    pub signed: bool,
}

/// A chunk that further content can still join.
#[derive(Debug)]
struct OpenChunk {
    draft: Draft,
    start: usize,
}

/// The batch that is being filled. Its place in the log is fixed, so that extents can be named at once.
#[derive(Debug)]
pub(super) struct Filling {
    block: Block,
    pub at: Live,
    pub offset: u64,
    /// How far it may grow, bytes.
    limit: usize,
    /// The largest chunk, bytes.
    chunk_max: usize,
    len: usize,
    pub records: u32,
    open: Option<OpenChunk>,
    pub finished: Vec<Finished>,
    pub moved: Vec<Moved>,
    /// Names of the attempts whose records are in it.
    pub attempts: Vec<u64>,
    /// Someone waits for a record in it.
    pub hurried: bool,
    /// Without that, it is to be written then.
    pub due_at: Option<Instant>,
    /// Something did not fit.
    pub full: bool,
    /// Holds the copy of a damaged chunk: it must be read through its checksum, never from memory.
    pub tainted: bool,
    seal: Seal,
}

impl Filling {
    pub(super) fn new(block: Block, at: Live, offset: u64, (limit, chunk_max): (usize, usize), seal: Seal) -> Filling {
        debug_assert_eq!(limit % BLOCK_SIZE, 0);
        Filling {
            block,
            at,
            offset,
            limit,
            chunk_max,
            len: HEADER_SIZE,
            records: 0,
            open: None,
            finished: Vec::new(),
            moved: Vec::new(),
            attempts: Vec::new(),
            hurried: false,
            due_at: None,
            full: false,
            tainted: false,
            seal,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Lets a record in that is larger than a usual batch.
    pub(super) fn raise_limit(&mut self, limit: usize) {
        self.limit = self.limit.max(limit);
    }

    pub(super) fn fits(&self, size: usize) -> bool {
        // An open chunk is padded before a record follows.
        self.len.next_multiple_of(RECORD_ALIGNMENT) + size <= self.limit
    }

    /// How much more content of `draft` its open chunk takes.
    pub(super) fn room_in_chunk(&self, draft: Draft) -> usize {
        match &self.open {
            Some(open) if open.draft == draft => {
                let chunk = self.len - open.start - CHUNK_HEADER_SIZE;
                (self.chunk_max - chunk).min(self.limit - self.len)
            }
            _ => 0,
        }
    }

    /// How much content a new chunk takes.
    pub(super) fn room_for_chunk(&self) -> usize {
        let start = self.len.next_multiple_of(RECORD_ALIGNMENT) + CHUNK_HEADER_SIZE;
        self.limit.saturating_sub(start).min(self.chunk_max)
    }

    /// Begins a chunk; the one before must be closed.
    pub(super) fn open_chunk(&mut self, draft: Draft, spares: &mut Spares) {
        debug_assert!(self.open.is_none());
        self.open = Some(OpenChunk { draft, start: self.len });
        self.reserve(CHUNK_HEADER_SIZE, spares);
        self.len += CHUNK_HEADER_SIZE;
        self.records += 1;
    }

    /// Ends the open chunk, if there is one, and says whose it was and where it lies.
    pub(super) fn close_chunk(&mut self) -> Option<(Draft, Extent)> {
        let open = self.open.take()?;
        let start = open.start + CHUNK_HEADER_SIZE;
        let checksum = crc32c(&self.block.bytes()[start..self.len]);
        let extent = self.extent(start, self.len - start, checksum);
        encode_chunk_header(&mut self.block.bytes_mut()[open.start..], open.draft.id, extent.length, checksum);
        self.stamp(open.start);
        self.pad();
        Some((open.draft, extent))
    }

    /// Whether the open chunk is one of `draft`.
    pub(super) fn is_open_for(&self, draft: Draft) -> bool {
        self.open.as_ref().is_some_and(|open| open.draft == draft)
    }

    /// Adds a whole chunk that keeps the checksum it had, so that damage is carried along and never laundered.
    pub(super) fn push_chunk(
        &mut self,
        id: super::MessageId,
        bytes: &[u8],
        checksum: u32,
        spares: &mut Spares,
    ) -> Extent {
        let start = self.len;
        self.reserve(CHUNK_HEADER_SIZE + bytes.len(), spares);
        let length = u32::try_from(bytes.len()).expect("chunks are small");
        encode_chunk_header(&mut self.block.bytes_mut()[start..], id, length, checksum);
        self.stamp(start);
        self.len += CHUNK_HEADER_SIZE;
        self.push(bytes, spares);
        self.pad();
        self.records += 1;
        self.extent(start + CHUNK_HEADER_SIZE, bytes.len(), checksum)
    }

    /// Adds a record that fits and is padded; no chunk may be open.
    pub(super) fn push_record(&mut self, record: &[u8], spares: &mut Spares) {
        debug_assert!(self.open.is_none());
        let start = self.len;
        self.push(record, spares);
        self.stamp(start);
        self.records += 1;
    }

    /// Ends the batch: its length is a multiple of the block size now.
    pub(super) fn seal(mut self, fill: impl FnOnce(u32, u32, &mut [u8])) -> Sealed {
        let (length, end) = (self.len - HEADER_SIZE, self.len.next_multiple_of(BLOCK_SIZE));
        self.block.bytes_mut()[self.len..end].fill(0);
        let payload = crc32c(&self.block.bytes()[HEADER_SIZE..self.len]);
        let length = u32::try_from(length).expect("batches are small");
        fill(length, payload, &mut self.block.bytes_mut()[..HEADER_SIZE]);
        let Filling { block, finished, moved, attempts, .. } = self;
        Sealed { block, length: end, finished, moved, attempts }
    }

    pub(super) fn into_block(self) -> Block {
        self.block
    }

    fn extent(&self, start: usize, length: usize, checksum: u32) -> Extent {
        let offset = u32::try_from(self.offset as usize + start).expect("segments are small");
        let length = u32::try_from(length).expect("chunks are small");
        Extent { generation: self.at.generation, offset, length, checksum }
    }

    /// Gives the record at `start` its checksum: its place is known now.
    fn stamp(&mut self, start: usize) {
        let offset = u32::try_from(self.offset as usize + start).expect("segments are small");
        self.seal.stamp(offset, &mut self.block.bytes_mut()[start..]);
    }

    fn pad(&mut self) {
        let end = self.len.next_multiple_of(RECORD_ALIGNMENT);
        let len = self.len;
        self.block.bytes_mut()[len..end].fill(0);
        self.len = end;
    }

    /// Adds bytes: content to the open chunk, the one copy that it makes on its way to the disk.
    pub(super) fn push(&mut self, bytes: &[u8], spares: &mut Spares) {
        self.reserve(bytes.len(), spares);
        let len = self.len;
        self.block.bytes_mut()[len..len + bytes.len()].copy_from_slice(bytes);
        self.len += bytes.len();
        debug_assert!(self.len <= self.limit);
    }

    fn reserve(&mut self, count: usize, spares: &mut Spares) {
        let wanted = self.len + count;
        if wanted > self.block.capacity() {
            let mut larger = spares.take(wanted.next_power_of_two());
            larger.bytes_mut()[..self.len].copy_from_slice(&self.block.bytes()[..self.len]);
            spares.give_back(std::mem::replace(&mut self.block, larger));
        }
    }
}

/// A batch ready to be written.
pub(super) struct Sealed {
    pub block: Block,
    pub length: usize,
    pub finished: Vec<Finished>,
    pub moved: Vec<Moved>,
    pub attempts: Vec<u64>,
}

/// Blocks that were written, for the next batches: new memory would have to be zeroed, and no cache holds it.
#[derive(Debug, Default)]
pub(super) struct Spares {
    /// Those that came last are at the end.
    blocks: VecDeque<Block>,
}

impl Spares {
    /// A block of at least `capacity` bytes, with whatever was in it.
    pub(super) fn take(&mut self, capacity: usize) -> Block {
        let fits = |block: &Block| (capacity..=SPARE_WASTE_MAX * capacity).contains(&block.capacity());
        let place = self.blocks.iter().rposition(fits);
        place.and_then(|place| self.blocks.remove(place)).unwrap_or_else(|| Block::zeroed(capacity))
    }

    /// Nobody needs this one any more.
    pub(super) fn give_back(&mut self, block: Block) {
        if self.blocks.len() >= SPARES_MAX {
            self.blocks.pop_front();
        }
        self.blocks.push_back(block);
    }
}

/// Recent batches in memory, oldest first, so that immediate delivery reads no disk.
#[derive(Debug)]
pub(super) struct Cache {
    batches: VecDeque<Cached>,
    size: usize,
    size_max: usize,
    capacity: usize,
}

#[derive(Debug)]
struct Cached {
    generation: u64,
    offset: u64,
    length: usize,
    block: Arc<Block>,
}

impl Cache {
    pub(super) fn new(size_max: usize) -> Cache {
        Cache { batches: VecDeque::new(), size: 0, size_max, capacity: CAPACITY_MIN }
    }

    /// How large batches have been lately, about, bytes.
    pub(super) fn capacity(&self) -> usize {
        self.capacity
    }

    /// Bytes kept, and how many may be.
    pub(super) fn fill(&self) -> (usize, usize) {
        (self.size, self.size_max)
    }

    /// Keeps a batch, and lets go of the oldest.
    pub(super) fn insert(
        &mut self,
        generation: u64,
        offset: u64,
        length: usize,
        block: Arc<Block>,
        spares: &mut Spares,
    ) {
        // Follows a rise at once and a fall slowly: growing costs a copy, a large block costs memory.
        self.capacity = length.next_power_of_two().max(self.capacity / 2).max(CAPACITY_MIN);
        self.size += block.capacity();
        self.batches.push_back(Cached { generation, offset, length, block });
        while self.size > self.size_max {
            let Some(oldest) = self.batches.pop_front() else { break };
            self.size -= oldest.block.capacity();
            // A block that the disk still holds is freed by its completion.
            if let Ok(block) = Arc::try_unwrap(oldest.block) {
                spares.give_back(block);
            }
        }
    }

    /// The batch that begins at a place, if it is still here, and how long it is.
    pub(super) fn batch_at(&self, generation: u64, offset: u64) -> Option<(&Arc<Block>, usize)> {
        let batch = self.batch_before((generation, offset)).filter(|batch| batch.offset == offset)?;
        Some((&batch.block, batch.length))
    }

    fn batch_before(&self, position: (u64, u64)) -> Option<&Cached> {
        let after = self.batches.partition_point(|batch| (batch.generation, batch.offset) <= position);
        self.batches.get(after.checked_sub(1)?).filter(|batch| batch.generation == position.0)
    }

    /// The bytes of an extent, if its batch is still here.
    pub(super) fn find(&self, extent: &Extent) -> Option<&[u8]> {
        let position = (extent.generation, u64::from(extent.offset));
        let batch = self.batch_before(position)?;
        let start = usize::try_from(position.1 - batch.offset).ok()?;
        let end = start + extent.length as usize;
        (end <= batch.length).then(|| &batch.block.bytes()[start..end])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spool::MessageId;

    #[test]
    fn what_a_block_held_before_is_not_written_again() {
        let mut spares = Spares::default();
        for _ in 0..2 {
            let mut used = Block::zeroed(CAPACITY_MIN);
            used.bytes_mut().fill(0xee);
            spares.give_back(used);
        }
        let draft = Draft { slot: 0, generation: 0, id: MessageId::from_bits(1) };
        let (at, seal) = (Live { generation: 1, number: 1 }, Seal::new(1, 2, 1));
        let mut filling = Filling::new(spares.take(CAPACITY_MIN), at, 0, (4 * CAPACITY_MIN, CAPACITY_MIN), seal);
        filling.open_chunk(draft, &mut spares);
        filling.push(&[b'a'; CAPACITY_MIN + 1], &mut spares);
        let grown = CAPACITY_MIN + 1;
        assert_eq!(filling.close_chunk().unwrap().1.length as usize, grown);
        let sealed = filling.seal(|_, _, header| header.fill(0));
        let bytes = &sealed.block.bytes()[..sealed.length];
        assert!(!bytes.contains(&0xee));
        assert_eq!(bytes.iter().filter(|byte| **byte == b'a').count(), grown);
    }

    #[test]
    fn spares_are_few_and_serve_what_is_about_their_size() {
        let mut spares = Spares::default();
        for count in 1..=2 * SPARES_MAX {
            spares.give_back(Block::zeroed(count * BLOCK_SIZE));
        }
        assert_eq!(spares.blocks.len(), SPARES_MAX);
        let largest = 2 * SPARES_MAX * BLOCK_SIZE;
        assert_eq!(spares.take(BLOCK_SIZE).capacity(), BLOCK_SIZE, "a new one, as the others are too large");
        assert_eq!(spares.take(largest / SPARE_WASTE_MAX).capacity(), largest, "the last one");
        assert_eq!(spares.take(2 * largest).capacity(), 2 * largest, "a new one, as the others are too small");
        assert_eq!(spares.blocks.len(), SPARES_MAX - 1);
    }
}
