//! The memories of the two identities: a small file for each beside the logs. Blocking.

use crate::control::file::{FileError, read_small, replace};
use crate::limits::REGISTER_SIZE_MAX;
use crate::mirror::register::{FormError, Incarnation, Memory, Node};
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
    #[error(transparent)]
    File(#[from] FileError),
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

/// Makes a memory durable in the place of the one before.
pub(super) fn persist(directory: &Path, identity: Node, memory: Memory) -> Result<(), MemoryError> {
    Ok(replace(directory, &path_of(directory, identity), &memory.to_bytes())?)
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
