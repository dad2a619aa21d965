//! What a log has put aside: files beside its segments, which nothing reads again. They stay until the room is needed: a queue
//! that cannot grow, or a copy that cannot be made, is worse than one trace less of what went wrong.

use std::fs::{DirEntry, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// A segment that was retired, and the end of a log that was cut off.
const PREFIXES: [&str; 2] = ["aside-", "cut-"];

/// The name under which a segment that is retired is kept: one that nothing has that was kept before.
pub(super) fn aside_name(segment: u32, is_taken: impl Fn(&str) -> bool) -> String {
    let others = (2u32..).map(|time| format!("aside-{segment}-{time}"));
    let mut names = std::iter::once(format!("aside-{segment}")).chain(others);
    names.find(|name| !is_taken(name)).expect("there are more names than segments")
}

/// What one log has put aside.
#[derive(Debug)]
pub(super) struct Aside {
    directory: PathBuf,
    /// The room that it takes, which is as good as free.
    bytes: AtomicU64,
    /// What is to be left free for others, as long as there is something that can go.
    free_min: AtomicU64,
}

impl Aside {
    /// What is in a folder already.
    pub fn of(directory: &Path) -> Aside {
        let bytes = put_aside(directory).map(|(_, about)| room_of(&about)).sum();
        Aside { directory: directory.to_owned(), bytes: AtomicU64::new(bytes), free_min: AtomicU64::new(0) }
    }

    /// So much is to be left free for others.
    pub fn keep_free(&self, bytes: u64) {
        self.free_min.store(bytes, Ordering::Relaxed);
    }

    /// Takes note of a file that was put aside.
    pub fn add(&self, name: &str) {
        let about = std::fs::metadata(self.directory.join(name));
        self.bytes.fetch_add(about.map_or(0, |about| room_of(&about)), Ordering::Relaxed);
    }

    /// What is free for a log: what the file system has free, and what can go.
    pub fn free_bytes(&self) -> io::Result<u64> {
        Ok(free_on(&self.directory)?.saturating_add(self.bytes.load(Ordering::Relaxed)))
    }

    /// Does what takes so many bytes; again and again for as long as there is no room for it, and something is left that was put
    /// aside: what was so first goes first.
    pub fn with_room<T>(&self, bytes: u64, mut attempt: impl FnMut() -> io::Result<T>) -> io::Result<T> {
        let wanted = self.free_min.load(Ordering::Relaxed).saturating_add(bytes);
        while free_on(&self.directory).is_ok_and(|free| free < wanted) && self.forget_oldest() {}
        loop {
            match attempt() {
                Err(error) if is_full(&error) && self.forget_oldest() => {}
                result => return result,
            }
        }
    }

    /// False: there is nothing.
    fn forget_oldest(&self) -> bool {
        // A change of its name is one of the file's state, and of nothing in it.
        let oldest = put_aside(&self.directory).min_by_key(|(_, about)| (about.ctime(), about.ctime_nsec()));
        let gone = oldest.filter(|(entry, _)| std::fs::remove_file(entry.path()).is_ok());
        // Whoever else may have removed some: what is not there makes no room.
        let left =
            gone.as_ref().map_or(0, |(_, about)| self.bytes.load(Ordering::Relaxed).saturating_sub(room_of(about)));
        self.bytes.store(left, Ordering::Relaxed);
        gone.is_some()
    }
}

fn put_aside(directory: &Path) -> impl Iterator<Item = (DirEntry, Metadata)> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let put_aside = entries.filter(|entry| {
        let name = entry.file_name();
        PREFIXES.iter().any(|prefix| name.to_string_lossy().starts_with(prefix))
    });
    put_aside.filter_map(|entry| entry.metadata().ok().map(|about| (entry, about)))
}

/// Blocks are of 512 bytes, whatever the file system's own are.
fn room_of(about: &Metadata) -> u64 {
    about.blocks() * 512
}

fn free_on(directory: &Path) -> io::Result<u64> {
    let stat = rustix::fs::statvfs(directory)?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOSPC | libc::EDQUOT))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_put_aside_first_makes_room_and_segments_never_do() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        for name in ["segment-00000001", "segment-00000002", "memory"] {
            std::fs::write(path(name), "x").unwrap();
        }
        // The kernel's clock for files ticks every few milliseconds: each has a time of its own.
        let mut before = (0, 0);
        let mut later = |put_aside: &dyn Fn(), name: &str| {
            for _ in 0..1_000_000 {
                put_aside();
                let found = std::fs::metadata(path(name)).unwrap();
                let time = (found.ctime(), found.ctime_nsec());
                if time > std::mem::replace(&mut before, time) {
                    return;
                }
            }
            panic!("the clock stands still");
        };
        for name in ["cut-7-1-0", "aside-1"] {
            later(&|| std::fs::write(path(name), "x").unwrap(), name);
        }
        // What is renamed is put aside now, however old it is.
        std::fs::rename(path("segment-00000001"), path("aside-1-2")).unwrap();
        later(
            &|| {
                std::fs::rename(path("aside-1-2"), path("aside-1-3"))
                    .and_then(|()| std::fs::rename(path("aside-1-3"), path("aside-1-2")))
                    .unwrap()
            },
            "aside-1-2",
        );
        let aside = Aside::of(folder.path());
        let full = || io::Error::from_raw_os_error(libc::ENOSPC);
        let left = |name: &str| path(name).exists();
        let mut gone = Vec::new();
        let result: io::Result<()> = aside.with_room(0, || {
            gone.push(["cut-7-1-0", "aside-1", "aside-1-2"].map(|name| !left(name)));
            Err(full())
        });
        assert_eq!(result.unwrap_err().raw_os_error(), Some(libc::ENOSPC));
        assert_eq!(gone, [[false, false, false], [true, false, false], [true, true, false], [true, true, true]]);
        assert!(left("segment-00000002") && left("memory"));
        assert_eq!(aside.bytes.load(Ordering::Relaxed), 0);
        // Another error is nothing that room would mend.
        std::fs::write(path("aside-9"), "x").unwrap();
        let broken: io::Result<()> = aside.with_room(0, || Err(io::Error::from_raw_os_error(libc::EIO)));
        assert!(broken.is_err() && left("aside-9"));
    }

    #[test]
    fn what_was_put_aside_counts_as_free_and_goes_before_others_lack_room() {
        let folder = tempfile::tempdir().unwrap();
        let put = |name: &str| std::fs::write(folder.path().join(name), vec![1; 1 << 20]).unwrap();
        put("aside-1");
        let aside = Aside::of(folder.path());
        put("cut-7-1-0");
        aside.add("cut-7-1-0");
        let taken = aside.bytes.load(Ordering::Relaxed);
        assert!((2 << 20..3 << 20).contains(&taken), "{taken}");
        aside.with_room(0, || Ok(())).unwrap();
        assert_eq!(aside.bytes.load(Ordering::Relaxed), taken, "nobody lacks room");
        aside.keep_free(u64::MAX);
        aside.with_room(0, || Ok(())).unwrap();
        assert_eq!((aside.bytes.load(Ordering::Relaxed), put_aside(folder.path()).count()), (0, 0));
    }
}
