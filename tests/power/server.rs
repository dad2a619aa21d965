//! The process that is a device: a FUSE file system with one file, `disk`, over which the kernel sets up a loop device.
//!
//! Nothing is cached on the way from the loop device to the file; what is to be written through is written and flushed,
//! and a flush arrives as an fsync. Each request is written down before it is answered.
//!
//! It is a process of its own because a thread that waits for a device cannot be killed: a process that served the device
//! it waits for would wait for itself when it is killed. When the process that started it ends, in whatever way, it
//! unmounts what lies on the device and ends, too.

use std::ffi::OsStr;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant, UNIX_EPOCH};

use fuser::{
    Config, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo, LockOwner, MountOption,
    OpenFlags, ReplyAttr, ReplyData, ReplyEmpty, ReplyEntry, ReplyOpen, ReplyWrite, Request, WriteFlags,
};
use nix::errno::Errno as SystemError;
use nix::mount::{MntFlags, umount2};

use super::journal::Recorder;

/// Nothing of what the kernel may keep ever changes.
const ATTRIBUTES_LIFE: Duration = Duration::from_secs(3600);

/// How long unmounting is tried before it is forced.
const UNMOUNT_PATIENCE: Duration = Duration::from_secs(10);

/// A flush takes its time, as on hardware. Meanwhile writes gather behind it, and a power loss finds many that are not
/// flushed.
const FLUSH_TIME: Duration = Duration::from_millis(1);

const DISK: INodeNo = INodeNo(2);

struct Platter {
    content: File,
    journal: Recorder,
    size: u64,
}

fn attributes(ino: INodeNo, kind: FileType, size: u64) -> FileAttr {
    FileAttr {
        ino,
        size,
        blocks: size / 512,
        atime: UNIX_EPOCH,
        mtime: UNIX_EPOCH,
        ctime: UNIX_EPOCH,
        crtime: UNIX_EPOCH,
        kind,
        perm: 0o700,
        nlink: 1,
        uid: 0,
        gid: 0,
        rdev: 0,
        blksize: 4096,
        flags: 0,
    }
}

impl Platter {
    fn attributes(&self, inode: INodeNo) -> FileAttr {
        if inode == DISK {
            attributes(DISK, FileType::RegularFile, self.size)
        } else {
            attributes(INodeNo::ROOT, FileType::Directory, 0)
        }
    }
}

impl Filesystem for Platter {
    fn lookup(&self, _: &Request, _: INodeNo, name: &OsStr, reply: ReplyEntry) {
        if name == "disk" {
            reply.entry(&ATTRIBUTES_LIFE, &self.attributes(DISK), Generation(0));
        } else {
            reply.error(Errno::ENOENT);
        }
    }

    fn getattr(&self, _: &Request, inode: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        reply.attr(&ATTRIBUTES_LIFE, &self.attributes(inode));
    }

    fn open(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        // No page cache in between: what the loop device is given arrives here at once.
        reply.opened(FileHandle(0), FopenFlags::FOPEN_DIRECT_IO);
    }

    fn read(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let mut bytes = vec![0; size as usize];
        match self.content.read_at(&mut bytes, offset) {
            Ok(count) => reply.data(&bytes[..count]),
            Err(_) => reply.error(Errno::EIO),
        }
    }

    fn write(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        offset: u64,
        bytes: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let written = self.journal.write(offset, bytes).and_then(|()| self.content.write_all_at(bytes, offset));
        match written {
            Ok(()) => reply.written(u32::try_from(bytes.len()).expect("the kernel says how much in 32 bits")),
            Err(_) => reply.error(Errno::EIO),
        }
    }

    fn fsync(&self, _: &Request, _: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        std::thread::sleep(FLUSH_TIME);
        match self.journal.flush() {
            Ok(()) => reply.ok(),
            Err(_) => reply.error(Errno::EIO),
        }
    }
}

/// Is the device in `directory` until standard input ends. `mounted` is where a file system may lie on it.
pub fn serve(directory: &Path, mounted: &Path) {
    let content = File::options().read(true).write(true).open(directory.join("content")).expect("the content");
    let size = content.metadata().expect("the content").len();
    let journal = Recorder::create(&directory.join("journal")).expect("a new journal");
    let mut config = Config::default();
    config.mount_options = vec![MountOption::FSName("rohrpost-test".to_owned())];
    let served = directory.join("served");
    let session = fuser::spawn_mount(Platter { content, journal, size }, &served, &config).expect("a FUSE mount");
    File::create(directory.join("ready")).expect("our own folder");

    let _ = std::io::stdin().read_to_end(&mut Vec::new());
    unmount(mounted);
    unmount(&served);
    let _ = session.join();
    // Whoever started the device may have been killed and not be able to.
    let _ = std::fs::remove_dir_all(directory);
}

/// Unmounts in order, or, where someone does not let go, as far as it can be done.
fn unmount(place: &Path) {
    let deadline = Instant::now() + UNMOUNT_PATIENCE;
    while let Err(SystemError::EBUSY) = umount2(place, MntFlags::empty()) {
        if Instant::now() > deadline {
            let _ = umount2(place, MntFlags::MNT_DETACH);
            return;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}
