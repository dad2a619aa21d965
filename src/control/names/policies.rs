//! The file of the policies of domains (MTA-STS): beside the queue, replaced as a whole. Blocking.

use crate::control::file::{self, FileError, replace};
use crate::env::Now;
use crate::limits::POLICIES_FILE_SIZE_MAX;
use crate::sts::Shelf;
use std::path::{Path, PathBuf};

fn path_of(directory: &Path) -> PathBuf {
    directory.join("mta-sts.json")
}

/// The policies that were known before and still count, and what was wrong with the file, if anything was: then all are fetched anew.
pub(super) fn recall(directory: &Path, now: Now) -> (Shelf, Option<String>) {
    let read = |bytes: &[u8]| Shelf::from_bytes(bytes, now);
    let (shelf, why) = file::recall(&path_of(directory), POLICIES_FILE_SIZE_MAX, read);
    let anew = |why| format!("policies (MTA-STS) are fetched anew, as those that were known cannot be read: {why}");
    (shelf, why.map(anew))
}

/// Makes them durable in the place of those before.
pub(super) fn save(directory: &Path, shelf: &Shelf, now: Now) -> Result<(), FileError> {
    replace(directory, &path_of(directory), &shelf.to_bytes(now))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::{Instant, WallTime};
    use crate::sts::{Known, Mode, Policy};
    use std::fs;
    use std::sync::Arc;
    use std::time::Duration;

    #[test]
    fn policies_outlive_the_process_and_a_damaged_file_is_set_aside() {
        let folder = tempfile::tempdir().unwrap();
        let now = Now { mono: Instant::ZERO, wall: WallTime::from_micros(1_700_000_000_000_000) };
        let known = |shelf: &Shelf| shelf.get(now.mono, "d.example", Some("1")) != Known::Unknown;
        let (mut shelf, trouble) = recall(folder.path(), now);
        assert!(!known(&shelf) && trouble.is_none());

        let policy =
            Policy { mode: Mode::Enforce, mx: vec!["mx.example".into()], max_age: Duration::from_secs(86_400) };
        shelf.put(now.mono, "d.example", "1", Ok(Arc::new(policy)));
        save(folder.path(), &shelf, now).unwrap();
        save(folder.path(), &shelf, now).unwrap();
        let (shelf, trouble) = recall(folder.path(), now);
        assert!(known(&shelf) && trouble.is_none());

        let (path, aside) = (path_of(folder.path()), folder.path().join("mta-sts.damaged"));
        let mut bytes = fs::read(&path).unwrap();
        bytes.pop();
        fs::write(&path, &bytes).unwrap();
        let (shelf, trouble) = recall(folder.path(), now);
        let trouble = trouble.expect("it says so");
        assert!(trouble.contains("fetched anew") && trouble.contains("mta-sts.damaged"), "{trouble}");
        assert!(!known(&shelf));
        assert_eq!(fs::read(&aside).unwrap(), bytes);
        assert_eq!(recall(folder.path(), now).1, None, "and once");
    }
}
