use super::memory::{begin, persist};
use super::*;
use crate::mirror::register::{Memory, Node};
use std::fs;
use std::os::unix::fs::MetadataExt;

#[test]
fn a_memory_is_there_again_after_a_start_and_replaced_as_a_whole() {
    let directory = tempfile::tempdir().unwrap();
    assert_eq!(recall(directory.path(), Node::A).unwrap(), None);
    let begun = begin(directory.path(), Node::A).unwrap();
    assert_eq!(recall(directory.path(), Node::A).unwrap(), Some(begun));
    assert_eq!(recall(directory.path(), Node::B).unwrap(), None);
    let later = Memory { epoch_seen: 7, left: 6, ..begun };
    persist(directory.path(), Node::A, later).unwrap();
    assert_eq!(recall(directory.path(), Node::A).unwrap(), Some(later));
    // Each is written over the one before the last, and takes no room on a disk that may have none.
    let number = |name: &str| fs::metadata(directory.path().join(name)).unwrap().ino();
    let mut numbers = [number("identity-a.json"), number("identity-a.new")];
    for epoch_seen in 8..12 {
        persist(directory.path(), Node::A, Memory { epoch_seen, ..later }).unwrap();
        numbers.reverse();
        assert_eq!([number("identity-a.json"), number("identity-a.new")], numbers);
    }
    // What a crash left of the next one changes nothing.
    fs::write(directory.path().join("identity-a.new"), [b'x'; 4096]).unwrap();
    let last = Memory { epoch_seen: 12, ..later };
    persist(directory.path(), Node::A, last).unwrap();
    assert_eq!(recall(directory.path(), Node::A).unwrap(), Some(last));
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 2);
}

#[test]
fn what_is_no_memory_is_refused_with_advice() {
    let directory = tempfile::tempdir().unwrap();
    begin(directory.path(), Node::B).unwrap();
    let path = directory.path().join("identity-b.json");
    let bytes = fs::read(&path).unwrap();
    for broken in [&bytes[..bytes.len() - 1], b"", &[b'x'; 4096]] {
        fs::write(&path, broken).unwrap();
        let text = recall(directory.path(), Node::B).unwrap_err().to_string();
        assert!(text.contains("identity-b.json") && text.contains("start with an empty one"), "{text}");
    }
}
