//! A block device that remembers every write and every flush, so that its power can be cut at any moment of its life.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use tempfile::TempDir;

use super::appliance::{is_root, path};
use super::journal::{Image, Journal};

/// Tells the process that is started what it is.
pub const DIRECTORY: &str = "ROHRPOST_TEST_DEVICE";
pub const MOUNTED: &str = "ROHRPOST_TEST_DEVICE_MOUNTED";

/// How long anything that is done to a device may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// Bytes for the content and the journals of the devices that there are at a time.
const SPACE_MIN: u64 = 1 << 30;

/// Whether there can be such devices here; says aloud what is missing.
pub fn available() -> bool {
    let missing = if !is_root() {
        "root"
    } else if !Path::new("/dev/fuse").exists() {
        "/dev/fuse"
    } else if !Path::new("/dev/loop-control").exists() {
        "loop devices"
    } else if !run(Command::new("mkfs.ext4").arg("-V")) {
        "mkfs.ext4"
    } else {
        return true;
    };
    eprintln!("SKIPPED: a power loss under a real file system needs {missing}; nothing was tested here");
    false
}

/// What this thread and those that it starts mount from now on is seen by nobody else, and is gone when they are.
pub fn mount_privately() {
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS).expect("root may make a namespace");
    assert!(run(Command::new("mount").args(["--make-rslave", "/"])), "mounts stay within");
}

fn run(command: &mut Command) -> bool {
    let output = command.env("PATH", path()).stdin(Stdio::null()).output();
    if let Ok(output) = &output
        && !output.status.success()
    {
        eprintln!("{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
    output.is_ok_and(|output| output.status.success())
}

/// In memory where there is a file system for that, and not a small one: what is written there is to be lost anyway.
fn directory() -> TempDir {
    let mut builder = tempfile::Builder::new();
    builder.prefix("rohrpost-device-");
    let memory = rustix::fs::statvfs("/dev/shm").is_ok_and(|found| found.f_bavail * found.f_frsize >= SPACE_MIN);
    if memory { builder.tempdir_in("/dev/shm") } else { builder.tempdir() }.expect("a temporary folder")
}

/// A new ext4 file system of `size` bytes.
pub fn formatted(size: u64) -> Image {
    let directory = directory();
    let path = directory.path().join("new");
    File::create(&path).and_then(|file| file.set_len(size)).expect("our own folder");
    let mut mkfs = Command::new("mkfs.ext4");
    mkfs.args(["-q", "-F", "-b", "4096", "-m", "0", "-E", "lazy_itable_init=0,lazy_journal_init=0"]).arg(&path);
    assert!(run(&mut mkfs), "a file system");
    Image::load(&path).expect("what was written")
}

/// A device with a mounted file system; unmounted and gone when dropped.
pub struct Device {
    process: Child,
    /// The process ends when this is closed.
    stdin: Option<ChildStdin>,
    directory: TempDir,
    before: Image,
}

impl Device {
    /// Starts a device that holds `image`, and mounts its file system at `mounted`.
    pub fn start(image: Image, mounted: &Path) -> Device {
        let directory = directory();
        std::fs::create_dir(directory.path().join("served")).expect("our own folder");
        image.save(&directory.path().join("content")).expect("space for an image");
        let mut process = Command::new(std::env::current_exe().expect("our own program"))
            .args(["--ignored", "--exact", "the_device_of_another_test"])
            .env(DIRECTORY, directory.path())
            .env(MOUNTED, mounted)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .expect("our own program");
        let stdin = process.stdin.take();
        let device = Device { process, stdin, directory, before: image };
        let ready = device.directory.path().join("ready");
        let deadline = Instant::now() + PATIENCE;
        while !ready.exists() {
            assert!(Instant::now() < deadline, "the device does not start");
            std::thread::sleep(Duration::from_millis(1));
        }
        let disk = device.directory.path().join("served/disk");
        let mut mount = Command::new("mount");
        mount.args(["-t", "ext4", "-o", "loop,noatime"]).args([&disk, mounted]);
        assert!(run(&mut mount), "the file system mounts");
        device
    }

    /// The device's moment now: all that was answered lies before it.
    pub fn moment(&self) -> u64 {
        std::fs::metadata(self.journal_path()).expect("the journal").len()
    }

    /// What it was told until then.
    pub fn journal(&self, until: u64) -> Journal {
        Journal::load(&self.journal_path(), until).expect("the journal")
    }

    /// What it held at its start.
    pub fn before(&self) -> Image {
        self.before.clone()
    }

    fn journal_path(&self) -> PathBuf {
        self.directory.path().join("journal")
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(self.process.id().cast_signed())
    }

    /// From the moment that this gives it answers nothing.
    pub fn freeze(&self) -> u64 {
        kill(self.pid(), Signal::SIGSTOP).expect("our own process");
        let stopped = waitpid(self.pid(), Some(WaitPidFlag::WUNTRACED)).expect("our own process");
        assert!(matches!(stopped, WaitStatus::Stopped(..)), "{stopped:?}");
        self.moment()
    }

    /// The same, when it is told something next: that is a write, most likely, whose flush comes too late then.
    pub fn freeze_when_told(&self) -> u64 {
        let (before, deadline) = (self.moment(), Instant::now() + PATIENCE);
        while self.moment() == before {
            assert!(Instant::now() < deadline, "nothing is written");
            std::thread::yield_now();
        }
        self.freeze()
    }

    /// It answers again, so that those who wait for it can end.
    pub fn thaw(&self) {
        kill(self.pid(), Signal::SIGCONT).expect("our own process");
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        self.thaw();
        self.stdin = None;
        let deadline = Instant::now() + PATIENCE;
        while matches!(self.process.try_wait(), Ok(None)) {
            if Instant::now() > deadline {
                eprintln!("a test device does not end and is killed");
                let _ = self.process.kill();
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}
