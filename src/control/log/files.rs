//! Events in files: one that grows, and those before it, each compressed (zstd), until there are too many.
//!
//! In: blocks of whole lines. Out: `events.jsonl`, and `events-TIME.jsonl.zst` for each that has become too large or too old, named by
//! when it ended, so that names sort as the events do. What a start finds half done is taken up: a last line that a crash cut short
//! gets an end, a file that was not compressed is. Nothing is synced line by line: the queue is what must survive a power loss,
//! and it does; of this log the last seconds may not. A disk that takes nothing is tried again until it does.

use crate::limits::EVENT_FILES_RETRY_DELAY;
use crossbeam::channel::{Sender, bounded};
use jiff::Timestamp;
use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// The file that grows.
pub const CURRENT: &str = "events.jsonl";
/// How the others begin, and how they end once they are compressed.
pub const PREFIX: &str = "events-";
pub const COMPRESSED: &str = ".jsonl.zst";

const PLAIN: &str = ".jsonl";
/// What is being compressed.
const PART: &str = ".part";
/// Readable for the appliance's own group, as what strangers wrote to whom is nobody else's business.
const MODE: u32 = 0o640;
const LEVEL: i32 = 3;

/// Where, and how much.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventFilesSettings {
    /// The folder; made if it is not there.
    pub directory: PathBuf,
    /// A file that is so large is the last of its name, bytes.
    pub file_size: u64,
    /// So is one that is so old.
    pub file_age: Duration,
    /// The oldest go when all that are compressed have more than this, bytes.
    pub files_size: u64,
}

/// The folder cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("[log] directory {directory}: {error}; make it, owned by the appliance's user, or name another one")]
pub struct EventFilesError {
    directory: PathBuf,
    error: io::Error,
}

/// The files, open.
#[derive(Debug)]
pub struct EventFiles {
    settings: EventFilesSettings,
    file: File,
    size: u64,
    /// Since when it grows.
    begun: Instant,
    /// What was written last is a whole line.
    at_line: bool,
    /// What compresses; gone only while this is dropped.
    sweeper: Option<(Sender<()>, JoinHandle<()>)>,
}

impl EventFiles {
    /// Goes on with what is there.
    ///
    /// # Errors
    /// The folder or the file cannot be made or written.
    pub fn open(settings: EventFilesSettings) -> Result<EventFiles, EventFilesError> {
        let directory = settings.directory.clone();
        EventFiles::try_open(settings).map_err(|error| EventFilesError { directory, error })
    }

    fn try_open(settings: EventFilesSettings) -> io::Result<EventFiles> {
        fs::create_dir_all(&settings.directory)?;
        let mut file = open(&settings.directory)?;
        let size = file.metadata()?.len();
        if size > 0 {
            let mut last = [0];
            file.seek(SeekFrom::End(-1))?;
            file.read_exact(&mut last)?;
            if last != *b"\n" {
                file.write_all(b"\n")?;
            }
        }
        // One message waits while it works: whatever was rotated meanwhile is found by the next look.
        let (sweeper, rung) = bounded::<()>(1);
        let (directory, files_size) = (settings.directory.clone(), settings.files_size);
        let thread = std::thread::Builder::new().name("events-zstd".into()).spawn(move || {
            loop {
                // What cannot be done now is tried again with the next file.
                let _ = sweep(&directory, files_size);
                if rung.recv().is_err() {
                    return;
                }
            }
        })?;
        let sweeper = Some((sweeper, thread));
        Ok(EventFiles { settings, file, size, begun: Instant::now(), at_line: true, sweeper })
    }

    fn rotate(&mut self) -> io::Result<()> {
        let directory = &self.settings.directory;
        let time = Timestamp::now().strftime("%Y%m%dT%H%M%S.%6fZ");
        self.file.sync_all()?;
        fs::rename(directory.join(CURRENT), directory.join(format!("{PREFIX}{time}{PLAIN}")))?;
        self.file = open(directory)?;
        (self.size, self.begun) = (0, Instant::now());
        if let Some((sweeper, _)) = &self.sweeper {
            // If it is at work it looks again afterwards.
            let _ = sweeper.try_send(());
        }
        Ok(())
    }

    fn is_due(&self) -> bool {
        let over = self.size >= self.settings.file_size || self.begun.elapsed() >= self.settings.file_age;
        over && self.at_line && self.size > 0
    }

    fn try_write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.is_due() {
            self.rotate()?;
        }
        self.file.write(bytes)
    }
}

impl Write for EventFiles {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            match self.try_write(bytes) {
                Ok(count) => {
                    self.size += count as u64;
                    self.at_line = bytes[..count].last().is_none_or(|last| *last == b'\n');
                    return Ok(count);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // A disk that is full, mostly: what comes meanwhile waits, and is counted once there is no room to wait.
                Err(_) => std::thread::sleep(EVENT_FILES_RETRY_DELAY),
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for EventFiles {
    fn drop(&mut self) {
        // Whoever opens the folder next finds nobody at work in it.
        if let Some((sweeper, thread)) = self.sweeper.take() {
            drop(sweeper);
            let _ = thread.join();
        }
    }
}

fn open(directory: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).append(true).create(true).mode(MODE).open(directory.join(CURRENT))
}

/// The files of a folder that are not written any more, oldest first.
///
/// # Errors
/// The folder cannot be read.
pub fn rotated(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut names: Vec<OsString> = fs::read_dir(directory)?.flatten().map(|entry| entry.file_name()).collect();
    names.retain(|name| {
        let name = name.to_string_lossy();
        name.starts_with(PREFIX) && (name.ends_with(COMPRESSED) || name.ends_with(PLAIN))
    });
    names.sort();
    Ok(names.into_iter().map(|name| directory.join(name)).collect())
}

/// Compresses what is not, and removes the oldest where there is too much.
fn sweep(directory: &Path, files_size: u64) -> io::Result<()> {
    for path in rotated(directory)? {
        if path.to_string_lossy().ends_with(PLAIN) {
            compress(&path)?;
        }
    }
    let mut total = 0;
    for path in rotated(directory)?.iter().rev() {
        total += fs::metadata(path)?.len();
        if total > files_size {
            fs::remove_file(path)?;
        }
    }
    Ok(())
}

/// Puts a compressed file in the place of a plain one. One that was begun before is begun again.
fn compress(path: &Path) -> io::Result<()> {
    let whole = path.with_extension("jsonl.zst");
    let part = path.with_extension(format!("jsonl.zst{PART}"));
    let out = OpenOptions::new().write(true).create(true).truncate(true).mode(MODE).open(&part)?;
    let mut encoder = zstd::Encoder::new(out, LEVEL)?;
    io::copy(&mut File::open(path)?, &mut encoder)?;
    encoder.finish()?.sync_all()?;
    fs::rename(part, whole)?;
    fs::remove_file(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::BufRead;

    fn settings(directory: &Path) -> EventFilesSettings {
        let file_age = Duration::from_secs(3600);
        EventFilesSettings { directory: directory.to_owned(), file_size: 1000, file_age, files_size: 1 << 20 }
    }

    /// All lines of a folder, in their order.
    fn lines(directory: &Path) -> Vec<String> {
        let mut all = Vec::new();
        for path in rotated(directory).unwrap() {
            let file = File::open(&path).unwrap();
            if path.to_string_lossy().ends_with(COMPRESSED) {
                let decoder = zstd::Decoder::new(file).unwrap();
                all.extend(io::BufReader::new(decoder).lines().map(Result::unwrap));
            } else {
                all.extend(io::BufReader::new(file).lines().map(Result::unwrap));
            }
        }
        let current = File::open(directory.join(CURRENT)).unwrap();
        all.extend(io::BufReader::new(current).lines().map(Result::unwrap));
        all
    }

    /// Checks that nothing is left to compress once the files are closed.
    fn settle(directory: &Path) {
        assert!(rotated(directory).unwrap().iter().all(|path| path.to_string_lossy().ends_with(COMPRESSED)));
    }

    #[test]
    fn every_line_is_in_one_file_and_in_order() {
        let folder = tempfile::tempdir().unwrap();
        let mut expected = Vec::new();
        for life in 0..3 {
            let mut files = EventFiles::open(settings(folder.path())).unwrap();
            for number in 0..100 {
                let line = format!("{{\"life\":{life},\"number\":{number}}}");
                files.write_all(format!("{line}\n").as_bytes()).unwrap();
                expected.push(line);
            }
        }
        settle(folder.path());
        assert!(rotated(folder.path()).unwrap().len() >= 5);
        assert_eq!(lines(folder.path()), expected);
    }

    #[test]
    fn what_a_crash_left_is_taken_up() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(CURRENT), "{\"whole\":1}\n{\"torn\":").unwrap();
        fs::write(folder.path().join("events-20260101T000000.000000Z.jsonl"), "{\"earlier\":1}\n").unwrap();
        fs::write(folder.path().join("events-20260101T000000.000000Z.jsonl.zst.part"), "half").unwrap();
        let mut files = EventFiles::open(settings(folder.path())).unwrap();
        files.write_all(b"{\"next\":1}\n").unwrap();
        drop(files);
        settle(folder.path());
        assert_eq!(lines(folder.path()), ["{\"earlier\":1}", "{\"whole\":1}", "{\"torn\":", "{\"next\":1}"]);
        let left: Vec<_> = fs::read_dir(folder.path()).unwrap().flatten().map(|entry| entry.file_name()).collect();
        assert_eq!(left.len(), 2, "{left:?}");
    }

    #[test]
    fn a_file_is_old_after_its_time_and_the_oldest_go() {
        let folder = tempfile::tempdir().unwrap();
        let settings = EventFilesSettings { file_age: Duration::ZERO, files_size: 200, ..settings(folder.path()) };
        let mut files = EventFiles::open(settings).unwrap();
        for number in 0..50 {
            files.write_all(format!("{{\"number\":{number}}}\n").as_bytes()).unwrap();
        }
        drop(files);
        settle(folder.path());
        let sizes = rotated(folder.path()).unwrap();
        let size: u64 = sizes.iter().map(|path| fs::metadata(path).unwrap().len()).sum();
        assert!((1..=200).contains(&size), "{size}");
        assert_eq!(lines(folder.path()).last().unwrap(), "{\"number\":49}");
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_refused_with_a_cure() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("file"), "").unwrap();
        let error = EventFiles::open(settings(&folder.path().join("file/within"))).unwrap_err().to_string();
        assert!(error.contains("file/within") && error.contains("name another one"), "{error}");
    }
}
