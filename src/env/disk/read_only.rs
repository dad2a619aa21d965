//! A directory of segment files that is only looked at.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::fd::BorrowedFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::FlockOperation;

use super::real::{LOCK_NAME, io_error, list_segments, segment_path};
use super::{Block, Completion, Disk, DiskError, RealDiskError, Token};

/// A directory of which nothing is changed, not even by what an interrupted start would clean up. What would write
/// fails with EROFS.
pub struct ReadOnlyDisk {
    directory: PathBuf,
    files: HashMap<u32, File>,
    completions: Vec<Completion>,
    _lock: Option<File>,
}

impl ReadOnlyDisk {
    /// Opens `directory`; refused while another process writes there.
    pub fn open(directory: &Path) -> Result<ReadOnlyDisk, RealDiskError> {
        let path = directory.join(LOCK_NAME);
        let lock = match File::open(&path) {
            Ok(lock) => Some(lock),
            // A copy need not have it.
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => return Err(io_error("open", &path)(error)),
        };
        if let Some(lock) = &lock {
            rustix::fs::flock(lock, FlockOperation::NonBlockingLockShared)
                .map_err(|_| RealDiskError::InUse(directory.to_owned()))?;
        }
        let directory = directory.to_owned();
        Ok(ReadOnlyDisk { directory, files: HashMap::new(), completions: Vec::new(), _lock: lock })
    }

    fn file(&mut self, segment: u32) -> io::Result<&File> {
        if !self.files.contains_key(&segment) {
            let path = segment_path(&self.directory, segment);
            // Past the page cache, where that can be: what counts is what the device has.
            let file = match OpenOptions::new().read(true).custom_flags(libc::O_DIRECT).open(&path) {
                Err(error) if error.raw_os_error() == Some(libc::EINVAL) => File::open(&path)?,
                other => other?,
            };
            self.files.insert(segment, file);
        }
        Ok(&self.files[&segment])
    }
}

impl Disk for ReadOnlyDisk {
    fn describe(&self) -> String {
        "read-only".to_owned()
    }

    fn segments(&mut self) -> Result<Vec<(u32, u64)>, DiskError> {
        list_segments(&self.directory)
    }

    fn prepare(&mut self, segment: u32, _size: u64) {
        let result = Err(DiskError { operation: "prepare", segment, errno: libc::EROFS });
        self.completions.push(Completion::Prepared { segment, result });
    }

    fn write(&mut self, token: Token, segment: u32, _offset: u64, _block: Arc<Block>, _length: usize) {
        let result = Err(DiskError { operation: "write", segment, errno: libc::EROFS });
        self.completions.push(Completion::Written { token, result });
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

    fn read_now(&mut self, segment: u32, offset: u64, length: usize) -> Result<Block, DiskError> {
        let failed = |error: io::Error| DiskError::new("read", segment, &error);
        let mut block = Block::zeroed(length);
        let file = self.file(segment).map_err(failed)?;
        file.read_exact_at(&mut block.bytes_mut()[..length], offset).map_err(failed)?;
        Ok(block)
    }

    fn settle_now(&mut self) -> Result<(), DiskError> {
        Ok(())
    }

    fn remove_now(&mut self, segment: u32) -> Result<(), DiskError> {
        Err(DiskError { operation: "remove", segment, errno: libc::EROFS })
    }

    fn put_aside_now(&mut self, _name: &str, _bytes: &[u8]) -> Result<(), DiskError> {
        Err(DiskError { operation: "put aside", segment: 0, errno: libc::EROFS })
    }

    fn retire_now(&mut self, segment: u32) -> Result<(), DiskError> {
        Err(DiskError { operation: "retire", segment, errno: libc::EROFS })
    }

    fn free_bytes(&mut self) -> Result<u64, DiskError> {
        Ok(0)
    }

    fn wakeup(&self) -> Option<BorrowedFd<'_>> {
        None
    }
}
