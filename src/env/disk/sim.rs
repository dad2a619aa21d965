//! Memory that behaves like a disk: it completes writes late and out of order, loses and tears them in a crash, and fails
//! on command.
//!
//! A handle is cheap to clone and names the same disk, so that a test keeps one while a log owns another. A disk completes
//! what it was asked by being polled, or, once it has a [`latency`](SimDisk::set_latency), by time passing.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::os::fd::BorrowedFd;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::aside::aside_name;
use super::{Block, Completion, Disk, DiskError, Token};
use crate::env::Instant;
use crate::limits::BLOCK_SIZE;

/// The unit that a real device writes atomically, bytes.
const SECTOR_SIZE: usize = 512;

enum Operation {
    Write { token: Token, segment: u32, offset: usize, block: Arc<Block>, length: usize },
    Read { token: Token, segment: u32, offset: usize, length: usize },
    Prepare { segment: u32, size: u64 },
}

/// An operation under way.
struct Queued {
    operation: Operation,
    /// When it completes, on a disk that has a latency.
    due: Instant,
}

/// When operations complete.
#[derive(Clone)]
enum Pace {
    /// Of ten operations that are queued, so many complete at each poll.
    Polls { eagerness: u32 },
    /// Each takes as long as is drawn from this range of nanoseconds.
    Time { latency: RangeInclusive<u64> },
}

/// What a medium does to a write that it reports as done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lie {
    /// It was never written.
    Lost,
    /// It was written, to another place of the segment.
    Misdirected,
}

struct State {
    segments: BTreeMap<u32, Vec<u8>>,
    /// What was put aside, by name.
    aside: BTreeMap<String, Vec<u8>>,
    queue: Vec<Queued>,
    random: StdRng,
    pace: Pace,
    now: Instant,
    stalled_until: Instant,
    /// Operations that are still taken; later ones are never heard of again.
    budget: Option<u64>,
    lie: Option<Lie>,
    /// Where writes failed: a second write there is reported as done and lost, as where a cache has dropped what it could
    /// not write and believes it clean.
    poisoned: Vec<(u32, usize)>,
    held: bool,
    released: usize,
    free_bytes: u64,
    write_error: Option<i32>,
    read_error: Option<i32>,
    unreadable: BTreeSet<(u32, usize)>,
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
            aside: BTreeMap::new(),
            queue: Vec::new(),
            random: StdRng::seed_from_u64(seed),
            pace: Pace::Polls { eagerness: 10 },
            now: Instant::ZERO,
            stalled_until: Instant::ZERO,
            budget: None,
            lie: None,
            poisoned: Vec::new(),
            held: false,
            released: 0,
            free_bytes: u64::MAX,
            write_error: None,
            read_error: None,
            unreadable: BTreeSet::new(),
            prepare_error: None,
            writes: 0,
        })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("no holder panics")
    }

    /// How many of ten queued operations complete at a poll (10: all, in order; fewer: some, in any order).
    pub fn set_eagerness(&self, tenths: u32) {
        self.state().pace = Pace::Polls { eagerness: tenths.clamp(1, 10) };
    }

    /// From now on an operation completes when its time is over, which is drawn from this range of nanoseconds.
    pub fn set_latency(&self, latency: RangeInclusive<u64>) {
        self.state().pace = Pace::Time { latency };
    }

    /// Tells the time, which counts for disks with a latency.
    pub fn advance(&self, now: Instant) {
        self.state().now = now;
    }

    /// Nothing completes before then.
    pub fn stall(&self, until: Instant) {
        self.state().stalled_until = until;
    }

    /// When the next operation completes, on a disk that has a latency.
    pub fn next_completion(&self) -> Option<Instant> {
        let state = self.state();
        state.queue.iter().map(|queued| queued.due.max(state.stalled_until)).min()
    }

    /// Takes so many more operations; later ones are never heard of again, as in a process that dies.
    pub fn take_no_more_than(&self, operations: u64) {
        self.state().budget = Some(operations);
    }

    /// The next write that completes is not where it belongs, though it is reported as done.
    pub fn lie(&self, lie: Lie) {
        self.state().lie = Some(lie);
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

    /// Whether a write that is under way goes over the beginning of a segment that was written before.
    pub fn is_reusing(&self) -> bool {
        let state = self.state();
        state.queue.iter().any(|queued| match &queued.operation {
            Operation::Write { segment, offset: 0, .. } => {
                state.segments.get(segment).is_some_and(|bytes| bytes[..BLOCK_SIZE].iter().any(|byte| *byte != 0))
            }
            _ => false,
        })
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

    /// From now on no read that covers this byte succeeds.
    pub fn fail_reads_at(&self, segment: u32, offset: usize) {
        self.state().unreadable.insert((segment, offset));
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

    /// Whether something stands there.
    pub fn is_written(&self, segment: u32, offset: usize) -> bool {
        self.state().segments.get(&segment).and_then(|bytes| bytes.get(offset)).is_some_and(|byte| *byte != 0)
    }

    /// The numbers of the segments that exist.
    pub fn segment_numbers(&self) -> Vec<u32> {
        self.state().segments.keys().copied().collect()
    }

    /// Overwrites what is stored with zeros.
    pub fn wipe(&self, segment: u32, offset: usize, length: usize) {
        let mut state = self.state();
        if let Some(bytes) = state.segments.get_mut(&segment).and_then(|bytes| bytes.get_mut(offset..offset + length)) {
            bytes.fill(0);
        }
    }

    /// Takes a segment away.
    pub fn remove(&self, segment: u32) {
        self.state().segments.remove(&segment);
    }

    /// The names of what was put aside.
    pub fn aside(&self) -> Vec<String> {
        self.state().aside.keys().cloned().collect()
    }

    /// A copy of what a segment holds.
    pub fn contents(&self, segment: u32) -> Vec<u8> {
        self.state().segments.get(&segment).cloned().unwrap_or_default()
    }

    /// The disk as it is found after a crash of the box now: what was completed is there, and of each write under way all,
    /// nothing, or any of its sectors; a segment that is being made is there or not. This disk goes on.
    pub fn crash(&self, seed: u64) -> SimDisk {
        self.image(seed, |random, sectors| match random.random_range(0..4) {
            0 => Torn::Nothing,
            1 => Torn::Everything,
            // A torn write may also stop at a point, as a device that loses power in the middle does.
            2 => Torn::From(random.random_range(0..=sectors)),
            _ => Torn::AnySector,
        })
    }

    /// The disk as it is found after the process was killed: what it had handed over is written whole, or not at all. This
    /// disk goes on.
    pub fn kill(&self, seed: u64) -> SimDisk {
        self.image(seed, |random, _| if random.random_bool(0.5) { Torn::Nothing } else { Torn::Everything })
    }

    fn image(&self, seed: u64, mut fate: impl FnMut(&mut StdRng, usize) -> Torn) -> SimDisk {
        let state = self.state();
        let mut random = StdRng::seed_from_u64(seed);
        let mut segments = state.segments.clone();
        for Queued { operation, .. } in &state.queue {
            if let Operation::Prepare { segment, size } = operation
                && state.prepare_error.is_none()
                && state.free_bytes >= *size
                && random.random_bool(0.5)
            {
                segments.insert(*segment, vec![0; usize::try_from(*size).expect("a test's size")]);
            }
            let Operation::Write { segment, offset, block, length, .. } = operation else { continue };
            let Some(stored) = segments.get_mut(segment) else { continue };
            let torn = fate(&mut random, length / SECTOR_SIZE);
            for (index, sector) in block.bytes()[..*length].chunks(SECTOR_SIZE).enumerate() {
                let lands = match torn {
                    Torn::Nothing => true,
                    Torn::Everything => false,
                    Torn::From(end) => index < end,
                    Torn::AnySector => random.random_bool(0.5),
                };
                if lands {
                    let start = offset + index * SECTOR_SIZE;
                    stored[start..start + sector.len()].copy_from_slice(sector);
                }
            }
        }
        let image = SimDisk::with_segments(seed, segments);
        {
            // What is wrong with the device does not end with who used it.
            let mut after = image.state();
            after.free_bytes = state.free_bytes;
            after.aside = state.aside.clone();
            after.pace = state.pace.clone();
            (after.now, after.stalled_until) = (state.now, state.stalled_until);
            (after.write_error, after.read_error) = (state.write_error, state.read_error);
            (after.prepare_error, after.unreadable) = (state.prepare_error, state.unreadable.clone());
        }
        image
    }
}

/// What of a write is missing after a crash.
enum Torn {
    Nothing,
    Everything,
    /// All sectors from this one on.
    From(usize),
    /// Each sector or not.
    AnySector,
}

impl State {
    fn queue(&mut self, operation: Operation) {
        if let Some(budget) = &mut self.budget {
            if *budget == 0 {
                return;
            }
            *budget -= 1;
        }
        let due = match &self.pace {
            Pace::Polls { .. } => self.now,
            Pace::Time { latency } => self.now + Duration::from_nanos(self.random.random_range(latency.clone())),
        };
        self.queue.push(Queued { operation, due });
    }

    /// The place in the queue of what completes next.
    fn next(&self) -> Option<usize> {
        let place = (0..self.queue.len()).min_by_key(|place| self.queue[*place].due)?;
        (self.queue[place].due.max(self.stalled_until) <= self.now).then_some(place)
    }

    /// Runs one of the operations under way, of which there must be one.
    fn run_any(&mut self) -> Completion {
        let place = self.random.random_range(0..self.queue.len());
        let Queued { operation, .. } = self.queue.remove(place);
        self.run(operation)
    }

    fn run(&mut self, operation: Operation) -> Completion {
        match operation {
            Operation::Write { token, segment, offset, block, length } => {
                let bytes = &block.bytes()[..length];
                let result = match (self.write_error, self.segments.get_mut(&segment)) {
                    (Some(errno), Some(stored)) => {
                        // Some of it may have been written all the same, the first time.
                        if !self.poisoned.contains(&(segment, offset)) {
                            let landed = self.random.random_range(0..=length / SECTOR_SIZE) * SECTOR_SIZE;
                            stored[offset..offset + landed].copy_from_slice(&bytes[..landed]);
                            self.poisoned.push((segment, offset));
                        }
                        Err(DiskError { operation: "write", segment, errno })
                    }
                    (_, None) => Err(DiskError { operation: "write", segment, errno: libc::ENOENT }),
                    (None, Some(stored)) => {
                        let place = match self.lie.take() {
                            None if self.poisoned.contains(&(segment, offset)) => None,
                            None => Some(offset),
                            Some(Lie::Lost) => None,
                            Some(Lie::Misdirected) => {
                                let blocks = (stored.len() - length) / BLOCK_SIZE;
                                Some(self.random.random_range(0..=blocks) * BLOCK_SIZE)
                            }
                        };
                        if let Some(place) = place {
                            stored[place..place + length].copy_from_slice(bytes);
                        }
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
        if self.unreadable.range((segment, offset)..(segment, offset + length)).next().is_some() {
            return Err(DiskError { operation: "read", segment, errno: libc::EIO });
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
        self.state().queue(Operation::Prepare { segment, size });
    }

    fn write(&mut self, token: Token, segment: u32, offset: u64, block: Arc<Block>, length: usize) {
        let offset = usize::try_from(offset).expect("a test's size");
        let mut state = self.state();
        state.writes += 1;
        state.queue(Operation::Write { token, segment, offset, block, length });
    }

    fn read(&mut self, token: Token, segment: u32, offset: u64, length: usize) {
        let offset = usize::try_from(offset).expect("a test's size");
        self.state().queue(Operation::Read { token, segment, offset, length });
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
        match state.pace {
            Pace::Time { .. } => {
                while let Some(place) = state.next() {
                    let Queued { operation, .. } = state.queue.remove(place);
                    completions.push(state.run(operation));
                }
            }
            Pace::Polls { eagerness: 10 } => {
                for Queued { operation, .. } in std::mem::take(&mut state.queue) {
                    completions.push(state.run(operation));
                }
            }
            Pace::Polls { eagerness } => {
                for _ in 0..state.queue.len() {
                    if state.random.random_range(0..10) < eagerness {
                        completions.push(state.run_any());
                    }
                }
            }
        }
    }

    fn wait(&mut self) {}

    fn read_now(&mut self, segment: u32, offset: u64, length: usize) -> Result<Block, DiskError> {
        self.state().load(segment, usize::try_from(offset).expect("a test's size"), length)
    }

    fn settle_now(&mut self) -> Result<(), DiskError> {
        self.state().poisoned.clear();
        Ok(())
    }

    fn remove_now(&mut self, segment: u32) -> Result<(), DiskError> {
        self.remove(segment);
        Ok(())
    }

    fn put_aside_now(&mut self, name: &str, bytes: &[u8]) -> Result<(), DiskError> {
        self.state().aside.insert(name.to_owned(), bytes.to_vec());
        Ok(())
    }

    fn retire_now(&mut self, segment: u32) -> Result<(), DiskError> {
        let mut state = self.state();
        if let Some(bytes) = state.segments.remove(&segment) {
            let name = aside_name(segment, |name| state.aside.contains_key(name));
            state.aside.insert(name, bytes);
        }
        Ok(())
    }

    fn free_bytes(&mut self) -> Result<u64, DiskError> {
        Ok(self.state().free_bytes)
    }

    fn wakeup(&self) -> Option<BorrowedFd<'_>> {
        None
    }
}
