//! Claims about disks.

use super::*;

fn wait_for(disk: &mut impl Disk) -> Vec<Completion> {
    let mut completions = Vec::new();
    for _ in 0..10_000 {
        disk.submit();
        disk.poll(&mut completions);
        if !completions.is_empty() {
            return completions;
        }
        disk.wait();
    }
    panic!("nothing completed");
}

fn write_and_read(disk: &mut impl Disk) {
    disk.prepare(4, 1 << 20);
    assert!(matches!(wait_for(disk)[..], [Completion::Prepared { segment: 4, result: Ok(()) }]));
    assert_eq!(disk.segments().unwrap(), [(4, 1 << 20)]);
    assert!(disk.read_now(4, 0, 1 << 20).unwrap().bytes().iter().all(|byte| *byte == 0));
    let mut block = Block::zeroed(8192);
    block.bytes_mut().fill(7);
    disk.write(11, 4, 4096, Arc::new(block), 8192);
    assert!(matches!(wait_for(disk)[..], [Completion::Written { token: 11, result: Ok(()) }]));
    disk.read(12, 4, 8192, 8192);
    let completions = wait_for(disk);
    let [Completion::Read { token: 12, result: Ok(block) }] = &completions[..] else { panic!("{completions:?}") };
    assert!(block.bytes()[..4096].iter().all(|byte| *byte == 7));
    assert!(block.bytes()[4096..].iter().all(|byte| *byte == 0));
    assert!(disk.free_bytes().unwrap() > 0);
    disk.settle_now().unwrap();
}

#[test]
fn a_block_is_aligned_wherever_it_moves() {
    for size in [1, 4096, 5000, 1 << 20] {
        let block = Box::new(Block::zeroed(size));
        assert_eq!(block.bytes().as_ptr().addr() % 4096, 0);
        assert_eq!(block.capacity(), size.next_multiple_of(4096));
    }
}

#[test]
fn every_disk_gives_back_what_was_written() {
    write_and_read(&mut SimDisk::new(1));
    for engine in [Engine::Best, Engine::Threads] {
        let directory = tempfile::tempdir().unwrap();
        write_and_read(&mut RealDisk::open_with(directory.path(), engine).unwrap());
    }
}

#[test]
fn a_file_system_without_direct_writes_works_through_threads() {
    // Where this is no tmpfs, or direct writes work on it, the test is one more round on another file system.
    let Ok(directory) = tempfile::tempdir_in("/dev/shm") else { return };
    let mut disk = RealDisk::open(directory.path()).unwrap();
    assert!(!disk.describe().is_empty());
    write_and_read(&mut disk);
}

#[test]
fn a_second_owner_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let first = RealDisk::open(directory.path()).unwrap();
    assert!(matches!(RealDisk::open(directory.path()), Err(RealDiskError::InUse(_))));
    drop(first);
    RealDisk::open(directory.path()).unwrap();
}

#[test]
fn an_unfinished_segment_is_removed_when_the_disk_is_opened() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("segment-000001.new"), b"half").unwrap();
    let mut disk = RealDisk::open(directory.path()).unwrap();
    assert_eq!(disk.segments().unwrap(), []);
    assert!(!directory.path().join("segment-000001.new").exists());
}

#[test]
fn a_missing_segment_is_an_error_and_no_panic() {
    let directory = tempfile::tempdir().unwrap();
    let mut disk = RealDisk::open(directory.path()).unwrap();
    disk.write(1, 9, 0, Arc::new(Block::zeroed(4096)), 4096);
    assert!(matches!(wait_for(&mut disk)[..], [Completion::Written { token: 1, result: Err(_) }]));
    disk.read(2, 9, 0, 4096);
    assert!(matches!(wait_for(&mut disk)[..], [Completion::Read { token: 2, result: Err(_) }]));
}

#[test]
fn a_crash_loses_and_tears_only_what_was_under_way() {
    let mut disk = SimDisk::new(1);
    disk.prepare(1, 1 << 20);
    wait_for(&mut disk);
    let mut block = Block::zeroed(8192);
    block.bytes_mut().fill(1);
    let block = Arc::new(block);
    disk.write(1, 1, 0, block.clone(), 8192);
    wait_for(&mut disk);
    disk.write(2, 1, 8192, block, 8192);
    let images: Vec<Vec<u8>> = (0..50).map(|seed| disk.crash(seed).contents(1)).collect();
    assert!(images.iter().all(|image| image[..8192] == [1; 8192]));
    let landed = |image: &Vec<u8>| image[8192..16384].iter().filter(|byte| **byte == 1).count();
    assert!(images.iter().any(|image| landed(image) == 0));
    assert!(images.iter().any(|image| landed(image) == 8192));
    assert!(images.iter().any(|image| (1..8192).contains(&landed(image))));
    assert_eq!(disk.contents(1)[8192], 0, "the disk itself goes on");
}
