//! A directory of segment files.
//!
//! A segment is made under another name, written full of zeros (allocating alone would make every first write pay for
//! the conversion of its extent), synced, renamed, and its directory synced: what has the right name is complete. A lock
//! file keeps a second process out.

use std::collections::HashMap;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam::channel::{Receiver, Sender, unbounded};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::{Advice, AtFlags, FlockOperation, StatxFlags};

use super::aside::{Aside, aside_name};
use super::threads::{Threads, signal};
use super::uring::Uring;
use super::{Block, Completion, Disk, DiskError, Token};
use crate::limits::BLOCK_SIZE;

/// Zeros are written in pieces of this size, bytes; between two the maker looks whether it shall end.
const ZERO_PIECE_SIZE: usize = 1 << 20;

/// STATX_DIOALIGN of statx(2), which the binding does not name.
const STATX_DIOALIGN: u32 = 0x2000;

/// Why a directory cannot serve as a log.
#[derive(Debug, thiserror::Error)]
pub enum RealDiskError {
    /// Two processes on one log would destroy it.
    #[error("{0} is in use by another process")]
    InUse(PathBuf),
    /// Batches are aligned to 4096 bytes; such a device could tear what was acknowledged.
    #[error("the storage of {directory} writes in units of {size} bytes; at most {BLOCK_SIZE} are supported")]
    BlockSize {
        /// The log's directory.
        directory: PathBuf,
        /// The smallest unit for direct writes, bytes.
        size: u32,
    },
    /// The operating system refused.
    #[error("{action} {path}: {source}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// The answer.
        source: io::Error,
    },
}

/// Which way to the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    /// io_uring with O_DIRECT; the threads where one of them is not to be had.
    Best,
    /// The threads.
    Threads,
}

/// Locked by the process that has the log.
pub(super) const LOCK_NAME: &str = "lock";

enum Backend {
    Uring(Box<Uring>),
    Threads(Threads),
}

/// What happened outside of the backend.
struct Made {
    completion: Completion,
    /// The segment that was made, open: a process that has run out of descriptors must still be able to write to it.
    file: Option<(u32, File)>,
}

impl From<Completion> for Made {
    fn from(completion: Completion) -> Made {
        Made { completion, file: None }
    }
}

/// A directory on a file system.
pub struct RealDisk {
    directory: PathBuf,
    backend: Backend,
    direct: bool,
    description: String,
    files: HashMap<u32, Arc<File>>,
    makers: Vec<JoinHandle<()>>,
    cancel: Arc<AtomicBool>,
    made: (Sender<Made>, Receiver<Made>),
    aside: Arc<Aside>,
    _lock: File,
}

pub(super) fn io_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> RealDiskError {
    let path = path.to_owned();
    move |source| RealDiskError::Io { action, path, source }
}

pub(super) fn segment_path(directory: &Path, segment: u32) -> PathBuf {
    directory.join(format!("segment-{segment:06}"))
}

/// The complete segments in a directory, by number, with their sizes in bytes.
pub(super) fn list_segments(directory: &Path) -> Result<Vec<(u32, u64)>, DiskError> {
    let list = || -> io::Result<Vec<(u32, u64)>> {
        let mut found = Vec::new();
        for entry in std::fs::read_dir(directory)? {
            let entry = entry?;
            let name = entry.file_name();
            let number = name.to_str().and_then(|name| name.strip_prefix("segment-"));
            if let Some(number) = number.and_then(|number| number.parse().ok()) {
                found.push((number, entry.metadata()?.len()));
            }
        }
        found.sort_unstable();
        Ok(found)
    };
    list().map_err(|error| DiskError::new("list", 0, &error))
}

impl RealDisk {
    /// Opens `directory`, which is created if it is not there, with the best engine that works in it.
    pub fn open(directory: &Path) -> Result<RealDisk, RealDiskError> {
        RealDisk::open_with(directory, Engine::Best)
    }

    /// Opens `directory` with the engine named.
    pub fn open_with(directory: &Path, engine: Engine) -> Result<RealDisk, RealDiskError> {
        let existed = directory.is_dir();
        DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(io_error("create", directory))?;
        if let Some(parent) = directory.parent().filter(|parent| !existed && !parent.as_os_str().is_empty()) {
            sync_directory(parent).map_err(io_error("sync", parent))?;
        }
        let lock_path = directory.join(LOCK_NAME);
        let lock = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&lock_path);
        let lock = lock.map_err(io_error("open", &lock_path))?;
        rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive)
            .map_err(|_| RealDiskError::InUse(directory.to_owned()))?;
        remove_unfinished(directory).map_err(io_error("clean", directory))?;

        let direct = probe_direct(directory)?;
        let (backend, description) = match (engine, direct) {
            (Engine::Best, Ok(())) => match Uring::new() {
                Ok(uring) => (Backend::Uring(Box::new(uring)), "io_uring, O_DIRECT".to_owned()),
                Err(error) => {
                    (threads(directory)?, format!("pwrite + fdatasync, O_DIRECT (io_uring unavailable: {error})"))
                }
            },
            (Engine::Threads, Ok(())) => (threads(directory)?, "pwrite + fdatasync, O_DIRECT".to_owned()),
            (_, Err(ref error)) => {
                (threads(directory)?, format!("pwrite + fdatasync, buffered (O_DIRECT unavailable: {error})"))
            }
        };
        Ok(RealDisk {
            directory: directory.to_owned(),
            backend,
            direct: !description.contains("buffered"),
            description,
            files: HashMap::new(),
            makers: Vec::new(),
            cancel: Arc::new(AtomicBool::new(false)),
            made: unbounded(),
            aside: Arc::new(Aside::of(directory)),
            _lock: lock,
        })
    }

    fn path(&self, segment: u32) -> PathBuf {
        segment_path(&self.directory, segment)
    }

    fn file(&mut self, operation: &'static str, segment: u32) -> Result<Arc<File>, DiskError> {
        if let Some(file) = self.files.get(&segment) {
            return Ok(file.clone());
        }
        let flags = if self.direct { libc::O_DIRECT } else { 0 };
        let file = OpenOptions::new().read(true).write(true).custom_flags(flags).open(self.path(segment));
        let file = Arc::new(file.map_err(|error| DiskError::new(operation, segment, &error))?);
        self.files.insert(segment, file.clone());
        Ok(file)
    }

    fn waker(&self) -> io::Result<OwnedFd> {
        match &self.backend {
            Backend::Uring(uring) => uring.waker(),
            Backend::Threads(threads) => threads.wakeup().try_clone_to_owned(),
        }
    }

    fn start_maker(&mut self, segment: u32, size: u64) -> io::Result<()> {
        let waker = self.waker()?;
        let (path, directory, direct) = (self.path(segment), self.directory.clone(), self.direct);
        let (cancel, done, aside) = (self.cancel.clone(), self.made.0.clone(), self.aside.clone());
        let maker = std::thread::Builder::new().name("spool-zero".into()).spawn(move || {
            let result = make_segment(&directory, &path, size, direct, &aside, &cancel);
            let (result, file) = match result {
                Ok(file) => (Ok(()), Some((segment, file))),
                Err(error) => (Err(DiskError::new("prepare", segment, &error)), None),
            };
            let _ = done.send(Made { completion: Completion::Prepared { segment, result }, file });
            signal(&waker);
        })?;
        self.makers.retain(|maker| !maker.is_finished());
        self.makers.push(maker);
        Ok(())
    }
}

fn threads(directory: &Path) -> Result<Backend, RealDiskError> {
    Threads::new().map(Backend::Threads).map_err(io_error("start threads for", directory))
}

/// Whether files here can be written directly; `Ok(Err)` says why not.
fn probe_direct(directory: &Path) -> Result<io::Result<()>, RealDiskError> {
    let path = directory.join("probe.new");
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600).custom_flags(libc::O_DIRECT);
    let file = match options.open(&path) {
        Ok(file) => file,
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
            let _ = std::fs::remove_file(&path);
            return Ok(Err(error));
        }
        Err(error) => return Err(io_error("create", &path)(error)),
    };
    let written = file.write_all_at(&Block::zeroed(BLOCK_SIZE).bytes()[..BLOCK_SIZE], 0);
    let unit = rustix::fs::statx(&file, "", AtFlags::EMPTY_PATH, StatxFlags::from_bits_retain(STATX_DIOALIGN));
    std::fs::remove_file(&path).map_err(io_error("remove", &path))?;
    let unit = unit.map_or(0, |statx| statx.stx_dio_offset_align);
    if unit as usize > BLOCK_SIZE {
        return Err(RealDiskError::BlockSize { directory: directory.to_owned(), size: unit });
    }
    Ok(written)
}

fn sync_directory(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

fn remove_unfinished(directory: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "new") {
            std::fs::remove_file(path)?;
        }
    }
    Ok(())
}

fn make_segment(
    directory: &Path,
    path: &Path,
    size: u64,
    direct: bool,
    aside: &Aside,
    cancel: &AtomicBool,
) -> io::Result<File> {
    let unfinished = path.with_extension("new");
    let file = aside.with_room(size, || {
        let result = write_zeros(&unfinished, size, direct, cancel);
        let result = result.and_then(|file| std::fs::rename(&unfinished, path).map(|()| file));
        if result.is_err() {
            // What an unfinished file takes is most likely what is short.
            let _ = std::fs::remove_file(&unfinished);
        }
        result
    })?;
    sync_directory(directory)?;
    Ok(file)
}

fn write_zeros(path: &Path, size: u64, direct: bool, cancel: &AtomicBool) -> io::Result<File> {
    let flags = if direct { libc::O_DIRECT } else { 0 };
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(true).mode(0o600).custom_flags(flags);
    let file = options.open(path)?;
    let zeros = Block::zeroed(ZERO_PIECE_SIZE);
    let mut offset = 0;
    while offset < size {
        if cancel.load(Ordering::Relaxed) {
            return Err(io::Error::from_raw_os_error(libc::ECANCELED));
        }
        let length = ZERO_PIECE_SIZE.min(usize::try_from(size - offset).unwrap_or(ZERO_PIECE_SIZE));
        file.write_all_at(&zeros.bytes()[..length], offset)?;
        offset += length as u64;
    }
    file.sync_all()?;
    Ok(file)
}

impl Disk for RealDisk {
    fn describe(&self) -> String {
        self.description.clone()
    }

    fn segments(&mut self) -> Result<Vec<(u32, u64)>, DiskError> {
        list_segments(&self.directory)
    }

    fn prepare(&mut self, segment: u32, size: u64) {
        if let Err(error) = self.start_maker(segment, size) {
            let result = Err(DiskError::new("prepare", segment, &error));
            let _ = self.made.0.send(Completion::Prepared { segment, result }.into());
        }
    }

    fn write(&mut self, token: Token, segment: u32, offset: u64, block: Arc<Block>, length: usize) {
        match self.file("write", segment) {
            Ok(file) => match &mut self.backend {
                Backend::Uring(uring) => uring.write(token, segment, file, offset, block, length),
                Backend::Threads(threads) => threads.write(token, segment, file, offset, block, length),
            },
            Err(error) => {
                let _ = self.made.0.send(Completion::Written { token, result: Err(error) }.into());
            }
        }
    }

    fn read(&mut self, token: Token, segment: u32, offset: u64, length: usize) {
        match self.file("read", segment) {
            Ok(file) => match &mut self.backend {
                Backend::Uring(uring) => uring.read(token, segment, file, offset, length),
                Backend::Threads(threads) => threads.read(token, segment, file, offset, length),
            },
            Err(error) => {
                let _ = self.made.0.send(Completion::Read { token, result: Err(error) }.into());
            }
        }
    }

    fn submit(&mut self) {
        if let Backend::Uring(uring) = &mut self.backend {
            uring.submit();
        }
    }

    fn poll(&mut self, completions: &mut Vec<Completion>) {
        match &mut self.backend {
            Backend::Uring(uring) => uring.poll(completions),
            Backend::Threads(threads) => threads.poll(completions),
        }
        if !self.made.1.is_empty() {
            if let Some(wake) = self.wakeup() {
                // The ring may be empty: its own clearing is not reached then.
                let _ = rustix::io::read(wake, &mut [0u8; 8]);
            }
            for Made { completion, file } in self.made.1.try_iter() {
                if let Some((segment, file)) = file {
                    self.files.insert(segment, Arc::new(file));
                }
                completions.push(completion);
            }
            // The counter may have stood for completions of the backend, too.
            match &mut self.backend {
                Backend::Uring(uring) => uring.poll(completions),
                Backend::Threads(threads) => threads.poll(completions),
            }
        }
    }

    fn wait(&mut self) {
        self.submit();
        if let Some(wake) = self.wakeup() {
            // A limit, so that a completion taken earlier cannot make this wait for ever.
            let limit = Timespec::try_from(Duration::from_millis(20)).ok();
            let _ = rustix::event::poll(&mut [PollFd::from_borrowed_fd(wake, PollFlags::IN)], limit.as_ref());
        }
    }

    fn read_now(&mut self, segment: u32, offset: u64, length: usize) -> Result<Block, DiskError> {
        let file = self.file("read", segment)?;
        let mut block = Block::zeroed(length);
        file.read_exact_at(&mut block.bytes_mut()[..length], offset)
            .map_err(|error| DiskError::new("read", segment, &error))?;
        Ok(block)
    }

    fn settle_now(&mut self) -> Result<(), DiskError> {
        for (segment, _) in self.segments()? {
            let file = self.file("sync", segment)?;
            file.sync_data().map_err(|error| DiskError::new("sync", segment, &error))?;
            // After a failed sync the page cache may hold what the device does not.
            let _ = rustix::fs::fadvise(&*file, 0, None, Advice::DontNeed);
        }
        Ok(())
    }

    fn remove_now(&mut self, segment: u32) -> Result<(), DiskError> {
        self.files.remove(&segment);
        std::fs::remove_file(self.path(segment)).map_err(|error| DiskError::new("remove", segment, &error))
    }

    fn put_aside_now(&mut self, name: &str, bytes: &[u8]) -> Result<(), DiskError> {
        let path = self.directory.join(name);
        let write = || {
            let mut file = File::create(&path)?;
            file.write_all(bytes)?;
            file.sync_all()
        };
        let keep = || {
            // A part of it is no trace of anything.
            write().inspect_err(|_| drop(std::fs::remove_file(&path)))
        };
        let kept = self.aside.with_room(bytes.len() as u64, keep);
        kept.and_then(|()| File::open(&self.directory)?.sync_all())
            .map_err(|error| DiskError::new("put aside", 0, &error))?;
        self.aside.add(name);
        Ok(())
    }

    fn retire_now(&mut self, segment: u32) -> Result<(), DiskError> {
        self.files.remove(&segment);
        let name = aside_name(segment, |name| self.directory.join(name).exists());
        std::fs::rename(self.path(segment), self.directory.join(&name))
            .and_then(|()| File::open(&self.directory)?.sync_all())
            .map_err(|error| DiskError::new("retire", segment, &error))?;
        self.aside.add(&name);
        Ok(())
    }

    fn free_bytes(&mut self) -> Result<u64, DiskError> {
        self.aside.free_bytes().map_err(|error| DiskError::new("statvfs", 0, &error))
    }

    fn keep_free(&mut self, bytes: u64) {
        self.aside.keep_free(bytes);
    }

    fn wakeup(&self) -> Option<BorrowedFd<'_>> {
        Some(match &self.backend {
            Backend::Uring(uring) => uring.wakeup(),
            Backend::Threads(threads) => threads.wakeup(),
        })
    }
}

impl Drop for RealDisk {
    fn drop(&mut self) {
        self.cancel.store(true, Ordering::Relaxed);
        for maker in self.makers.drain(..) {
            let _ = maker.join();
        }
    }
}
