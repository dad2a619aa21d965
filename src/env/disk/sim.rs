//! Memory that behaves like a disk: it completes writes late and out of order, loses and tears them in a crash, and fails
//! on command.
//!
//! A handle is cheap to clone and names the same disk, so that a test keeps one while a log owns another.

use std::collections::BTreeMap;
use std::os::fd::BorrowedFd;
use std::sync::{Arc, Mutex, MutexGuard};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::{Block, Completion, Disk, DiskError, Token};

/// The unit that a real device writes atomically, bytes.
const SECTOR_SIZE: usize = 512;

enum Operation {
    Write { token: Token, segment: u32, offset: usize, bytes: Vec<u8> },
    Read { token: Token, segment: u32, offset: usize, length: usize },
    Prepare { segment: u32, size: u64 },
}

struct State {
    segments: BTreeMap<u32, Vec<u8>>,
    queue: Vec<Operation>,
    random: StdRng,
    /// Of ten operations that are queued, so many complete at each poll.
    eagerness: u32,
    held: bool,
    released: usize,
    free_bytes: u64,
    write_error: Option<i32>,
    read_error: Option<i32>,
    prepare_error: Option<i32>,
    writes: u64,
}

/// A simulated disk.
#[derive(Clone)]
pub struct SimDisk(Arc<Mutex<State>>);

impl SimDisk {
    /// An empty disk. The seed decides the order of completions.
    pub fn new(seed: u64) -> SimDisk {
        SimDisk::with_segments(seed, BTreeMap::new())
    }

    fn with_segments(seed: u64, segments: BTreeMap<u32, Vec<u8>>) -> SimDisk {
        SimDisk(Arc::new(Mutex::new(State {
            segments,
            queue: Vec::new(),
            random: StdRng::seed_from_u64(seed),
            eagerness: 10,
            held: false,
            released: 0,
            free_bytes: u64::MAX,
            write_error: None,
            read_error: None,
            prepare_error: None,
            writes: 0,
        })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("no holder panics")
    }

    /// How many of ten queued operations complete at a poll (10: all, in order; fewer: some, in any order).
    pub fn set_eagerness(&self, tenths: u32) {
        self.state().eagerness = tenths.clamp(1, 10);
    }

    /// While held, nothing completes but what is [released](SimDisk::release_one).
    pub fn hold(&self, held: bool) {
        self.state().held = held;
    }

    /// Lets one operation, any of those under way, complete at the next poll although the disk is held.
    pub fn release_one(&self) {
        self.state().released += 1;
    }

    /// How many operations are under way.
    pub fn under_way(&self) -> usize {
        self.state().queue.len()
    }

    /// What the file system says it has free; a segment that is made takes of it.
    pub fn set_free_bytes(&self, bytes: u64) {
        self.state().free_bytes = bytes;
    }

    /// From now on writes fail with this error number, or work again.
    pub fn fail_writes(&self, errno: Option<i32>) {
        self.state().write_error = errno;
    }

    /// From now on reads fail with this error number, or work again.
    pub fn fail_reads(&self, errno: Option<i32>) {
        self.state().read_error = errno;
    }

    /// From now on no segment can be made, or again.
    pub fn fail_prepares(&self, errno: Option<i32>) {
        self.state().prepare_error = errno;
    }

    /// How many writes were ever queued.
    pub fn writes(&self) -> u64 {
        self.state().writes
    }

    /// How many bytes the segments take.
    pub fn size(&self) -> u64 {
        self.state().segments.values().map(|bytes| bytes.len() as u64).sum()
    }

    /// Changes one byte of what is stored.
    pub fn damage(&self, segment: u32, offset: usize) {
        let mut state = self.state();
        if let Some(byte) = state.segments.get_mut(&segment).and_then(|bytes| bytes.get_mut(offset)) {
            *byte ^= 0x40;
        }
    }

    /// A copy of what a segment holds.
    pub fn contents(&self, segment: u32) -> Vec<u8> {
        self.state().segments.get(&segment).cloned().unwrap_or_default()
    }

    /// The disk as it is found after a crash now: what was completed is there, and of each write under way all, nothing,
    /// or any of its sectors; a segment that is being made is there or not. This disk goes on.
    pub fn crash(&self, seed: u64) -> SimDisk {
        let state = self.state();
        let mut random = StdRng::seed_from_u64(seed);
        let mut segments = state.segments.clone();
        for operation in &state.queue {
            if let Operation::Prepare { segment, size } = operation
                && random.random_bool(0.5)
            {
                segments.insert(*segment, vec![0; usize::try_from(*size).expect("a test's size")]);
            }
            let Operation::Write { segment, offset, bytes, .. } = operation else { continue };
            let Some(stored) = segments.get_mut(segment) else { continue };
            let fate = random.random_range(0..4);
            // A torn write may also stop at a point, as a device that loses power in the middle does.
            let prefix = random.random_range(0..=bytes.len() / SECTOR_SIZE);
            for (index, sector) in bytes.chunks(SECTOR_SIZE).enumerate() {
                let lands = match fate {
                    0 => true,
                    1 => false,
                    2 => index < prefix,
                    _ => random.random_bool(0.5),
                };
                if lands {
                    let start = offset + index * SECTOR_SIZE;
                    stored[start..start + sector.len()].copy_from_slice(sector);
                }
            }
        }
        SimDisk::with_segments(seed, segments)
    }
}

impl State {
    /// Runs one of the operations under way, of which there must be one.
    fn run_any(&mut self) -> Completion {
        let place = self.random.random_range(0..self.queue.len());
        let operation = self.queue.remove(place);
        self.run(operation)
    }

    fn run(&mut self, operation: Operation) -> Completion {
        match operation {
            Operation::Write { token, segment, offset, bytes } => {
                let result = match (self.write_error, self.segments.get_mut(&segment)) {
                    (Some(errno), _) => Err(DiskError { operation: "write", segment, errno }),
                    (None, None) => Err(DiskError { operation: "write", segment, errno: libc::ENOENT }),
                    (None, Some(stored)) => {
                        stored[offset..offset + bytes.len()].copy_from_slice(&bytes);
                        Ok(())
                    }
                };
                Completion::Written { token, result }
            }
            Operation::Read { token, segment, offset, length } => {
                Completion::Read { token, result: self.load(segment, offset, length) }
            }
            Operation::Prepare { segment, size } => {
                let result = match self.prepare_error {
                    Some(errno) => Err(DiskError { operation: "prepare", segment, errno }),
                    None if self.free_bytes < size => {
                        Err(DiskError { operation: "prepare", segment, errno: libc::ENOSPC })
                    }
                    None => {
                        self.free_bytes -= size;
                        self.segments.insert(segment, vec![0; usize::try_from(size).expect("a test's size")]);
                        Ok(())
                    }
                };
                Completion::Prepared { segment, result }
            }
        }
    }

    fn load(&self, segment: u32, offset: usize, length: usize) -> Result<Block, DiskError> {
        if let Some(errno) = self.read_error {
            return Err(DiskError { operation: "read", segment, errno });
        }
        let stored = self.segments.get(&segment).and_then(|bytes| bytes.get(offset..offset + length));
        let stored = stored.ok_or(DiskError { operation: "read", segment, errno: libc::EIO })?;
        let mut block = Block::zeroed(length);
        block.bytes_mut()[..length].copy_from_slice(stored);
        Ok(block)
    }
}

impl Disk for SimDisk {
    fn describe(&self) -> String {
        "simulated".to_owned()
    }

    fn segments(&mut self) -> Result<Vec<(u32, u64)>, DiskError> {
        Ok(self.state().segments.iter().map(|(number, bytes)| (*number, bytes.len() as u64)).collect())
    }

    fn prepare(&mut self, segment: u32, size: u64) {
        self.state().queue.push(Operation::Prepare { segment, size });
    }

    fn write(&mut self, token: Token, segment: u32, offset: u64, block: Arc<Block>, length: usize) {
        let offset = usize::try_from(offset).expect("a test's size");
        let mut state = self.state();
        state.writes += 1;
        state.queue.push(Operation::Write { token, segment, offset, bytes: block.bytes()[..length].to_vec() });
    }

    fn read(&mut self, token: Token, segment: u32, offset: u64, length: usize) {
        let offset = usize::try_from(offset).expect("a test's size");
        self.state().queue.push(Operation::Read { token, segment, offset, length });
    }

    fn submit(&mut self) {}

    fn poll(&mut self, completions: &mut Vec<Completion>) {
        let mut state = self.state();
        if state.held {
            for _ in 0..std::mem::take(&mut state.released).min(state.queue.len()) {
                completions.push(state.run_any());
            }
            return;
        }
        if state.eagerness >= 10 {
            for operation in std::mem::take(&mut state.queue) {
                let completion = state.run(operation);
                completions.push(completion);
            }
            return;
        }
        for _ in 0..state.queue.len() {
            let draw = state.random.random_range(0..10);
            if draw < state.eagerness {
                completions.push(state.run_any());
            }
        }
    }

    fn wait(&mut self) {}

    fn read_now(&mut self, segment: u32, offset: u64, length: usize) -> Result<Block, DiskError> {
        self.state().load(segment, usize::try_from(offset).expect("a test's size"), length)
    }

    fn settle_now(&mut self) -> Result<(), DiskError> {
        Ok(())
    }

    fn free_bytes(&mut self) -> Result<u64, DiskError> {
        Ok(self.state().free_bytes)
    }

    fn wakeup(&self) -> Option<BorrowedFd<'_>> {
        None
    }
}
