use super::memory::{begin, persist};
use super::*;
use crate::mirror::register::{Memory, Node};
use std::fs;

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
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
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
