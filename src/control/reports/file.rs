//! The file of what is counted: beside the queue, replaced as a whole. Blocking.

use crate::control::file::{FileError, read_small, replace};
use crate::limits::REPORT_FILE_SIZE_MAX;
use crate::tlsrpt::Ledger;
use std::path::{Path, PathBuf};

fn path_of(directory: &Path) -> PathBuf {
    directory.join("tls-reports.json")
}

/// What was counted before, and what was wrong with it, if anything was: then the count begins anew, and what was there is set aside.
pub(super) fn recall(directory: &Path) -> (Ledger, Option<String>) {
    let path = path_of(directory);
    let why = match read_small(&path, REPORT_FILE_SIZE_MAX) {
        Ok(None) => return (Ledger::default(), None),
        Ok(Some(bytes)) => match serde_json::from_slice(&bytes) {
            Ok(ledger) => return (ledger, None),
            Err(error) => format!("{}: {error}", path.display()),
        },
        Err(error) => error.to_string(),
    };
    let aside = path.with_extension("damaged");
    let moved = match std::fs::rename(&path, &aside) {
        Ok(()) => format!("it is {} now", aside.display()),
        Err(error) => format!("it could not be moved away: {error}"),
    };
    (Ledger::default(), Some(format!("TLS reports begin anew, as what was counted cannot be read: {why}; {moved}")))
}

/// Makes it durable in the place of the one before.
pub(super) fn save(directory: &Path, ledger: &Ledger) -> Result<(), FileError> {
    let bytes = serde_json::to_vec(ledger).expect("a ledger has text keys only");
    replace(directory, &path_of(directory), &bytes)
}
