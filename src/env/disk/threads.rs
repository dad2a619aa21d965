//! Writes and reads through two threads, where io_uring or O_DIRECT is not to be had.
//!
//! The writer takes all that is queued, writes it, and syncs each file once: group commit again. After a failed sync
//! nothing is retried; the failure goes to every write that the sync was for.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::thread::JoinHandle;

use crossbeam::channel::{Receiver, Sender, unbounded};
use rustix::event::{EventfdFlags, eventfd};

use super::{Block, Completion, DiskError, Token};

struct Write {
    token: Token,
    segment: u32,
    file: Arc<File>,
    offset: u64,
    block: Arc<Block>,
    length: usize,
}

struct Read {
    token: Token,
    segment: u32,
    file: Arc<File>,
    offset: u64,
    length: usize,
}

/// The channels are unbounded, but what is in them is bounded by the log: batches in flight and open readers.
pub(super) struct Threads {
    writes: Option<Sender<Write>>,
    reads: Option<Sender<Read>>,
    completions: Receiver<Completion>,
    wake: OwnedFd,
    handles: Vec<JoinHandle<()>>,
}

impl Threads {
    pub(super) fn new() -> std::io::Result<Threads> {
        let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let (writes, write_queue) = unbounded();
        let (reads, read_queue) = unbounded();
        let (done, completions) = unbounded();
        let signal = (wake.try_clone()?, done.clone());
        let writer = std::thread::Builder::new().name("spool-write".into());
        let writer = writer.spawn(move || write_all(&write_queue, &signal.1, &signal.0))?;
        let signal = wake.try_clone()?;
        let reader = std::thread::Builder::new().name("spool-read".into());
        let reader = reader.spawn(move || read_all(&read_queue, &done, &signal))?;
        Ok(Threads { writes: Some(writes), reads: Some(reads), completions, wake, handles: vec![writer, reader] })
    }

    pub(super) fn write(
        &mut self,
        token: Token,
        segment: u32,
        file: Arc<File>,
        offset: u64,
        block: Arc<Block>,
        length: usize,
    ) {
        let writes = self.writes.as_ref().expect("taken only by Drop");
        let _ = writes.send(Write { token, segment, file, offset, block, length });
    }

    pub(super) fn read(&mut self, token: Token, segment: u32, file: Arc<File>, offset: u64, length: usize) {
        let reads = self.reads.as_ref().expect("taken only by Drop");
        let _ = reads.send(Read { token, segment, file, offset, length });
    }

    pub(super) fn poll(&mut self, completions: &mut Vec<Completion>) {
        if self.completions.is_empty() {
            return;
        }
        // The counter is cleared first, so that a completion in between wakes us again.
        let _ = rustix::io::read(&self.wake, &mut [0u8; 8]);
        completions.extend(self.completions.try_iter());
    }

    pub(super) fn wakeup(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        self.writes = None;
        self.reads = None;
        for handle in self.handles.drain(..) {
            let _ = handle.join();
        }
    }
}

/// Wakes whoever waits for `wake`.
pub(super) fn signal(wake: &OwnedFd) {
    let _ = rustix::io::write(wake, &1u64.to_ne_bytes());
}

fn write_all(queue: &Receiver<Write>, done: &Sender<Completion>, wake: &OwnedFd) {
    while let Ok(first) = queue.recv() {
        let group: Vec<Write> = std::iter::once(first).chain(queue.try_iter()).collect();
        let mut results: Vec<Result<(), DiskError>> = Vec::with_capacity(group.len());
        for write in &group {
            let result = write.file.write_all_at(&write.block.bytes()[..write.length], write.offset);
            results.push(result.map_err(|error| DiskError::new("write", write.segment, &error)));
        }
        let mut synced: Vec<u32> = Vec::new();
        for write in &group {
            if synced.contains(&write.segment) {
                continue;
            }
            synced.push(write.segment);
            if let Err(error) = write.file.sync_data() {
                let error = DiskError::new("sync", write.segment, &error);
                for (place, other) in group.iter().enumerate() {
                    if other.segment == write.segment {
                        results[place] = Err(error.clone());
                    }
                }
            }
        }
        for (write, result) in group.iter().zip(results) {
            let _ = done.send(Completion::Written { token: write.token, result });
        }
        signal(wake);
    }
}

fn read_all(queue: &Receiver<Read>, done: &Sender<Completion>, wake: &OwnedFd) {
    while let Ok(read) = queue.recv() {
        let mut block = Block::zeroed(read.length);
        let result = read.file.read_exact_at(&mut block.bytes_mut()[..read.length], read.offset);
        let result = result.map(|()| block).map_err(|error| DiskError::new("read", read.segment, &error));
        let _ = done.send(Completion::Read { token: read.token, result });
        signal(wake);
    }
}
