//! Small disks for the boxes' spools, which can be filled.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Twice what a spool may become: the log of each identity may have all of it.
const SIZE: u64 = 256 << 20;

/// Puts a file system of its own under a folder. It goes when the folder is unmounted.
pub fn mount(folder: &Path) {
    let image = folder.with_extension("image");
    File::create(&image).and_then(|file| file.set_len(SIZE)).expect("an image");
    run(Command::new("mkfs.ext4").args(["-q", "-F", "-m", "0"]).arg(&image));
    run(Command::new("mount").args(["-o", "loop"]).arg(&image).arg(folder));
}

/// Takes it away again.
pub fn unmount(folder: &Path) {
    // Lazily: a box that was just killed may still have its last write in the air.
    run(Command::new("umount").arg("--lazy").arg(folder));
}

/// Leaves no block free on a disk, until it is dropped.
pub fn fill(folder: &Path) -> Filling {
    let path = folder.join("filling");
    let mut file = File::create(&path).expect("a file on the disk");
    let block = vec![0; 1 << 20];
    while file.write_all(&block).is_ok() {}
    // What is left is less than that.
    while file.write_all(&block[..4096]).is_ok() {}
    let _ = file.sync_all();
    Filling(path)
}

/// A file that takes all room.
pub struct Filling(PathBuf);

impl Drop for Filling {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn run(command: &mut Command) {
    let output = command.env("PATH", crate::appliance::path()).output().expect("a program of the system's");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}
