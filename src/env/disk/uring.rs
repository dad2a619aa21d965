//! Writes and reads through io_uring on O_DIRECT files.
//!
//! Nothing here blocks: a submission the device cannot take at once is finished by the kernel's own workers. Writes carry
//! RWF_DSYNC, so that a completion means durable and no separate sync can be forgotten.
#![allow(unsafe_code)]

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use io_uring::{IoUring, opcode, squeue, types};
use rustix::event::{EventfdFlags, eventfd};
use slab::Slab;

use super::{Block, Completion, DiskError, Token};

/// Entries of the submission ring: batches in flight plus a burst of reads; more wait in `waiting`.
const ENTRIES: u32 = 128;

pub(super) struct Uring {
    ring: IoUring,
    wake: OwnedFd,
    // Every operation that the kernel may still touch owns its memory and its file here until its completion was taken.
    operations: Slab<Operation>,
    waiting: VecDeque<squeue::Entry>,
}

struct Operation {
    token: Token,
    segment: u32,
    length: usize,
    _file: Arc<File>,
    memory: Memory,
}

enum Memory {
    Write(#[allow(dead_code, reason = "held for the kernel")] Arc<Block>),
    Read(Block),
}

impl Uring {
    pub(super) fn new() -> io::Result<Uring> {
        let ring = IoUring::new(ENTRIES)?;
        let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        ring.submitter().register_eventfd(wake.as_raw_fd())?;
        Ok(Uring { ring, wake, operations: Slab::new(), waiting: VecDeque::new() })
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
        let bytes = &block.bytes()[..length];
        let size = u32::try_from(length).expect("a batch is smaller than 4 GiB");
        let entry = opcode::Write::new(types::Fd(file.as_raw_fd()), bytes.as_ptr(), size)
            .offset(offset)
            .rw_flags(libc::RWF_DSYNC)
            .build();
        let operation = Operation { token, segment, length, _file: file, memory: Memory::Write(block) };
        self.enqueue(entry, operation);
    }

    pub(super) fn read(&mut self, token: Token, segment: u32, file: Arc<File>, offset: u64, length: usize) {
        let mut block = Block::zeroed(length);
        let size = u32::try_from(length).expect("a read is smaller than 4 GiB");
        let entry =
            opcode::Read::new(types::Fd(file.as_raw_fd()), block.bytes_mut().as_mut_ptr(), size).offset(offset).build();
        let operation = Operation { token, segment, length, _file: file, memory: Memory::Read(block) };
        self.enqueue(entry, operation);
    }

    fn enqueue(&mut self, entry: squeue::Entry, operation: Operation) {
        let key = self.operations.insert(operation);
        self.waiting.push_back(entry.user_data(key as u64));
    }

    pub(super) fn submit(&mut self) {
        let mut queue = self.ring.submission();
        while let Some(entry) = self.waiting.front() {
            // SAFETY: the memory and the file that the entry names are owned by its operation in `operations`, which
            // is removed only when the completion was taken; a block never resizes, and Drop waits for the rest.
            if unsafe { queue.push(entry) }.is_err() {
                break;
            }
            self.waiting.pop_front();
        }
        drop(queue);
        if !self.ring.submission().is_empty() {
            // EAGAIN, EBUSY and EINTR leave the entries in the ring; the next call passes them on.
            let _ = self.ring.submit();
        }
    }

    pub(super) fn poll(&mut self, completions: &mut Vec<Completion>) {
        if self.ring.completion().is_empty() {
            return;
        }
        // The counter is cleared before the ring is read, so that a completion in between wakes us again.
        let _ = rustix::io::read(&self.wake, &mut [0u8; 8]);
        for entry in self.ring.completion() {
            let key = usize::try_from(entry.user_data()).expect("keys come from us");
            let operation = self.operations.remove(key);
            completions.push(operation.complete(entry.result()));
        }
        self.submit();
    }

    pub(super) fn wakeup(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }

    /// Wakes whoever waits for the descriptor; used by the thread that makes segments.
    pub(super) fn waker(&self) -> io::Result<OwnedFd> {
        self.wake.try_clone()
    }
}

impl Operation {
    fn complete(self, result: i32) -> Completion {
        let outcome = match usize::try_from(result) {
            Ok(done) if done == self.length => Ok(()),
            // A short transfer on preallocated blocks is no success that could be continued safely.
            Ok(_) => Err(libc::EIO),
            Err(_) => Err(-result),
        };
        let error = |operation| move |errno| DiskError { operation, segment: self.segment, errno };
        match self.memory {
            Memory::Write(_) => Completion::Written { token: self.token, result: outcome.map_err(error("write")) },
            Memory::Read(block) => {
                Completion::Read { token: self.token, result: outcome.map(|()| block).map_err(error("read")) }
            }
        }
    }
}

impl Drop for Uring {
    fn drop(&mut self) {
        // The kernel may still write into blocks of reads that are under way: they are waited for before the memory
        // goes. What was never submitted is simply forgotten.
        for entry in std::mem::take(&mut self.waiting) {
            self.operations.try_remove(usize::try_from(entry.get_user_data()).expect("keys come from us"));
        }
        while !self.operations.is_empty() {
            match self.ring.submit_and_wait(1) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => {
                    // Leaking is the only safe way left.
                    std::mem::forget(std::mem::take(&mut self.operations));
                    return;
                }
            }
            for entry in self.ring.completion() {
                let key = usize::try_from(entry.user_data()).expect("keys come from us");
                self.operations.try_remove(key);
            }
        }
    }
}
