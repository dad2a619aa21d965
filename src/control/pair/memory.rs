//! The memories of the two identities: a small file for each beside the logs, replaced as a whole. Blocking.
//!
//! A box whose disk is full must still be able to give its work away, and to leave an epoch before that. So the file that was
//! replaced stays, and the next one is written over it: that takes no room.

use crate::limits::REGISTER_SIZE_MAX;
use crate::mirror::register::{FormError, Incarnation, Memory, Node};
use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Why a memory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum MemoryError {
    /// It is not as we wrote it.
    #[error(
        "{path}: {source}; the copy that it belongs to cannot be told from a foreign one any more. If the partner has the \
         other copy, move {directory} away and start with an empty one"
    )]
    Form {
        /// The file.
        path: PathBuf,
        /// The folder of the spool.
        directory: PathBuf,
        /// In which way.
        source: FormError,
    },
    /// A register is not as we wrote it.
    #[error(
        "{path}: {source}; who owns the identity cannot be told from it any more. If the partner is there, move the file away: \
         this box then takes over what the partner keeps, and does nothing for the identity before"
    )]
    Register {
        /// The file.
        path: PathBuf,
        /// In which way.
        source: FormError,
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
    /// No randomness for the name of a copy.
    #[error("the system gives no randomness: {0}")]
    Entropy(getrandom::Error),
}

fn path_of(directory: &Path, identity: Node) -> PathBuf {
    directory.join(format!("identity-{identity}.json"))
}

/// The memory of an identity whose logs are in `directory`; `None`: there is none.
///
/// # Errors
/// What is there is no memory, or cannot be read.
pub fn recall(directory: &Path, identity: Node) -> Result<Option<Memory>, MemoryError> {
    let path = path_of(directory, identity);
    let Some(bytes) = read_small(&path, REGISTER_SIZE_MAX)? else { return Ok(None) };
    let directory = directory.to_owned();
    Memory::from_bytes(&bytes).map(Some).map_err(|source| MemoryError::Form { path, directory, source })
}

/// What is in a file, and one byte more than it may have if there is more; `None`: there is no file.
pub(in crate::control) fn read_small(path: &Path, size_max: usize) -> Result<Option<Vec<u8>>, MemoryError> {
    let failed = |source| MemoryError::Io { action: "read", path: path.to_owned(), source };
    let mut bytes = Vec::new();
    match File::open(path) {
        Ok(file) => file.take(size_max as u64 + 1).read_to_end(&mut bytes).map_err(failed)?,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    Ok(Some(bytes))
}

/// Makes a memory durable in the place of the one before.
pub(super) fn persist(directory: &Path, identity: Node, memory: Memory) -> Result<(), MemoryError> {
    replace(directory, &path_of(directory, identity), &memory.to_bytes())
}

/// Makes a file of this folder another one, as a whole and durably.
pub(in crate::control) fn replace(directory: &Path, path: &Path, bytes: &[u8]) -> Result<(), MemoryError> {
    let new = path.with_extension("new");
    write_over(&new, bytes)?;
    let failed = |action, path: &Path| {
        let path = path.to_owned();
        move |source| MemoryError::Io { action, path, source }
    };
    match renameat_with(CWD, &new, CWD, path, RenameFlags::EXCHANGE) {
        Ok(()) => {}
        // There is none to be exchanged, or the file system cannot do it.
        Err(Errno::NOENT | Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
            fs::rename(&new, path).map_err(failed("rename", &new))?;
            write_over(&new, bytes)?;
        }
        Err(error) => return Err(failed("exchange", &new)(error.into())),
    }
    File::open(directory).and_then(|directory| directory.sync_all()).map_err(failed("sync", directory))
}

/// Makes these bytes all that is in a file, in the place that it has on the disk if it has one.
fn write_over(path: &Path, bytes: &[u8]) -> Result<(), MemoryError> {
    let failed = |action| move |source| MemoryError::Io { action, path: path.to_owned(), source };
    let mut options = OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(false).mode(0o600).open(path).map_err(failed("create"))?;
    file.write_all(bytes).map_err(failed("write"))?;
    file.set_len(bytes.len() as u64).map_err(failed("shorten"))?;
    file.sync_all().map_err(failed("sync"))
}

/// A name for a copy that begins empty.
pub(super) fn draw_incarnation() -> Result<Incarnation, MemoryError> {
    loop {
        let number = getrandom::u64().map_err(MemoryError::Entropy)?;
        if let Some(incarnation) = Incarnation::new(number) {
            return Ok(incarnation);
        }
    }
}

/// A memory for a copy that begins empty, durable.
pub fn begin(directory: &Path, identity: Node) -> Result<Memory, MemoryError> {
    let memory = Memory::new(draw_incarnation()?);
    persist(directory, identity, memory)?;
    Ok(memory)
}
