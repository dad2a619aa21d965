//! What a log has put aside: files beside its segments, which nothing reads again. They stay until the room is needed: a queue
//! that cannot grow, or a copy that cannot be made, is worse than one trace less of what went wrong.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// A segment that was retired, and the end of a log that was cut off.
const PREFIXES: [&str; 2] = ["aside-", "cut-"];

/// The name under which a segment that is retired is kept: one that nothing has that was kept before.
pub(super) fn aside_name(segment: u32, is_taken: impl Fn(&str) -> bool) -> String {
    let others = (2u32..).map(|time| format!("aside-{segment}-{time}"));
    let mut names = std::iter::once(format!("aside-{segment}")).chain(others);
    names.find(|name| !is_taken(name)).expect("there are more names than segments")
}

/// Does it again and again for as long as there is no room for it, and something is left in the folder that was put aside: what was
/// so first goes first.
pub(super) fn with_room<T>(directory: &Path, mut attempt: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match attempt() {
            Err(error) if is_full(&error) && forget_oldest(directory) => {}
            result => return result,
        }
    }
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOSPC | libc::EDQUOT))
}

/// False: there is nothing.
fn forget_oldest(directory: &Path) -> bool {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let put_aside = entries.filter(|entry| {
        let name = entry.file_name();
        PREFIXES.iter().any(|prefix| name.to_string_lossy().starts_with(prefix))
    });
    // A change of its name is one of the file's state, and of nothing in it.
    let oldest =
        put_aside.min_by_key(|entry| entry.metadata().map_or((i64::MAX, 0), |it| (it.ctime(), it.ctime_nsec())));
    oldest.is_some_and(|entry| std::fs::remove_file(entry.path()).is_ok())
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
        let full = || io::Error::from_raw_os_error(libc::ENOSPC);
        let left = |name: &str| path(name).exists();
        let mut gone = Vec::new();
        let result: io::Result<()> = with_room(folder.path(), || {
            gone.push(["cut-7-1-0", "aside-1", "aside-1-2"].map(|name| !left(name)));
            Err(full())
        });
        assert_eq!(result.unwrap_err().raw_os_error(), Some(libc::ENOSPC));
        assert_eq!(gone, [[false, false, false], [true, false, false], [true, true, false], [true, true, true]]);
        assert!(left("segment-00000002") && left("memory"));
        // Another error is nothing that room would mend.
        std::fs::write(path("aside-9"), "x").unwrap();
        let broken: io::Result<()> = with_room(folder.path(), || Err(io::Error::from_raw_os_error(libc::EIO)));
        assert!(broken.is_err() && left("aside-9"));
    }
}
