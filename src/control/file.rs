//! Small files that say what must not be forgotten, replaced as a whole. Blocking.
//!
//! A box whose disk is full must still be able to give its work away, and to leave an epoch before that. So the file that was
//! replaced stays, and the next one is written over it: that takes no room.

use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// The operating system refused something.
#[derive(Debug, thiserror::Error)]
#[error("{action} {path}: {source}")]
pub struct FileError {
    /// What was tried.
    pub action: &'static str,
    /// On what.
    pub path: PathBuf,
    /// The answer.
    pub source: io::Error,
}

/// What is in a file, and one byte more than it may have if there is more; `None`: there is no file.
pub fn read_small(path: &Path, size_max: usize) -> Result<Option<Vec<u8>>, FileError> {
    let failed = |source| FileError { action: "read", path: path.to_owned(), source };
    let mut bytes = Vec::new();
    match File::open(path) {
        Ok(file) => file.take(size_max as u64 + 1).read_to_end(&mut bytes).map_err(failed)?,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    Ok(Some(bytes))
}

/// What is in a file, as `read` has it, or nothing. What was wrong, in words, if anything was: then what was there is moved aside, for
/// people to look at, in the place of what was before.
pub fn recall<T: Default>(
    path: &Path,
    size_max: usize,
    read: impl FnOnce(&[u8]) -> Result<T, String>,
) -> (T, Option<String>) {
    let why = match read_small(path, size_max) {
        Ok(None) => return (T::default(), None),
        Ok(Some(bytes)) => match read(&bytes) {
            Ok(found) => return (found, None),
            Err(why) => format!("{}: {why}", path.display()),
        },
        Err(error) => error.to_string(),
    };
    let aside = path.with_extension("damaged");
    let moved = match fs::rename(path, &aside) {
        Ok(()) => format!("it is {} now", aside.display()),
        Err(error) => format!("it could not be moved away: {error}"),
    };
    (T::default(), Some(format!("{why}; {moved}")))
}

/// Makes a file of this folder another one, as a whole and durably.
pub fn replace(directory: &Path, path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    let new = path.with_extension("new");
    write_over(&new, bytes)?;
    let failed = |action, path: &Path| {
        let path = path.to_owned();
        move |source| FileError { action, path, source }
    };
    match renameat_with(CWD, &new, CWD, path, RenameFlags::EXCHANGE) {
        Ok(()) => {}
        // There is none to be exchanged, or the file system cannot do it.
        Err(Errno::NOENT | Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
            fs::rename(&new, path).map_err(failed("rename", &new))?;
            // It spares the next one the room, and this one has what it needs: refused, it would count all the same.
            let _ = write_over(&new, bytes);
        }
        Err(error) => return Err(failed("exchange", &new)(error.into())),
    }
    File::open(directory).and_then(|directory| directory.sync_all()).map_err(failed("sync", directory))
}

/// Makes these bytes all that is in a file, in the place that it has on the disk if it has one.
fn write_over(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    let failed = |action| move |source| FileError { action, path: path.to_owned(), source };
    let mut options = OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(false).mode(0o600).open(path).map_err(failed("create"))?;
    file.write_all(bytes).map_err(failed("write"))?;
    file.set_len(bytes.len() as u64).map_err(failed("shorten"))?;
    file.sync_all().map_err(failed("sync"))
}
