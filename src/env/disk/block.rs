//! Memory that a device can read and write directly.

use crate::limits::BLOCK_SIZE;

/// Bytes aligned to [`BLOCK_SIZE`]. They stay where they are when the block moves.
pub struct Block {
    // Never resized: the alignment and every pointer given to the kernel rest on that.
    memory: Box<[u8]>,
    start: usize,
    capacity: usize,
}

impl Block {
    /// A block of at least `capacity` zeros, rounded up to a multiple of [`BLOCK_SIZE`].
    pub fn zeroed(capacity: usize) -> Block {
        let capacity = capacity.next_multiple_of(BLOCK_SIZE);
        let memory = vec![0; capacity + BLOCK_SIZE].into_boxed_slice();
        let address = memory.as_ptr().addr();
        let start = address.next_multiple_of(BLOCK_SIZE) - address;
        Block { memory, start, capacity }
    }

    /// How many bytes it holds.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// All its bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.memory[self.start..self.start + self.capacity]
    }

    /// All its bytes.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.memory[self.start..self.start + self.capacity]
    }
}

impl std::fmt::Debug for Block {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Block({} bytes)", self.capacity)
    }
}
