//! The file of what is counted: beside the queue, replaced as a whole. Blocking.

use crate::control::file::{self, FileError, replace};
use crate::limits::REPORT_FILE_SIZE_MAX;
use crate::tlsrpt::Ledger;
use std::path::{Path, PathBuf};

fn path_of(directory: &Path) -> PathBuf {
    directory.join("tls-reports.json")
}

/// What was counted before, and what was wrong with it, if anything was: then the count begins anew.
pub(super) fn recall(directory: &Path) -> (Ledger, Option<String>) {
    let read = |bytes: &[u8]| serde_json::from_slice(bytes).map_err(|error| error.to_string());
    let (ledger, why) = file::recall(&path_of(directory), REPORT_FILE_SIZE_MAX, read);
    let anew = |why| format!("TLS reports begin anew, as what was counted cannot be read: {why}");
    (ledger, why.map(anew))
}

/// Makes it durable in the place of the one before.
pub(super) fn save(directory: &Path, ledger: &Ledger) -> Result<(), FileError> {
    let bytes = serde_json::to_vec(ledger).expect("a ledger has text keys only");
    replace(directory, &path_of(directory), &bytes)
}
