//! A disk that keeps nothing, to see what the rest of the appliance can do.

use super::{Block, Completion, Disk, DiskError, Token};
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::os::fd::BorrowedFd;
use std::path::Path;
use std::sync::Arc;

/// Everything that is written is durable at once, and gone.
#[derive(Debug, Default)]
pub struct NullDisk {
    segments: BTreeMap<u32, u64>,
    completions: Vec<Completion>,
}

impl NullDisk {
    /// Takes the place of a directory, of which it knows nothing.
    pub fn open(_directory: &Path) -> Result<NullDisk, Infallible> {
        Ok(NullDisk::default())
    }
}

impl Disk for NullDisk {
    fn describe(&self) -> String {
        "NOTHING IS KEPT: built with the feature null-log, for benchmarks only".to_owned()
    }

    fn segments(&mut self) -> Result<Vec<(u32, u64)>, DiskError> {
        Ok(self.segments.iter().map(|(segment, size)| (*segment, *size)).collect())
    }

    fn prepare(&mut self, segment: u32, size: u64) {
        self.segments.insert(segment, size);
        self.completions.push(Completion::Prepared { segment, result: Ok(()) });
    }

    fn write(&mut self, token: Token, _segment: u32, _offset: u64, _block: Arc<Block>, _length: usize) {
        self.completions.push(Completion::Written { token, result: Ok(()) });
    }

    fn read(&mut self, token: Token, segment: u32, offset: u64, length: usize) {
        let result = self.read_now(segment, offset, length);
        self.completions.push(Completion::Read { token, result });
    }

    fn submit(&mut self) {}

    fn poll(&mut self, completions: &mut Vec<Completion>) {
        completions.append(&mut self.completions);
    }

    fn wait(&mut self) {}

    fn read_now(&mut self, segment: u32, _offset: u64, _length: usize) -> Result<Block, DiskError> {
        Err(DiskError { operation: "read", segment, errno: libc::ENODATA })
    }

    fn settle_now(&mut self) -> Result<(), DiskError> {
        Ok(())
    }

    fn remove_now(&mut self, segment: u32) -> Result<(), DiskError> {
        self.segments.remove(&segment);
        Ok(())
    }

    fn put_aside_now(&mut self, _name: &str, _bytes: &[u8]) -> Result<(), DiskError> {
        Ok(())
    }

    fn retire_now(&mut self, segment: u32) -> Result<(), DiskError> {
        self.remove_now(segment)
    }

    fn free_bytes(&mut self) -> Result<u64, DiskError> {
        Ok(u64::MAX)
    }

    fn wakeup(&self) -> Option<BorrowedFd<'_>> {
        None
    }
}
