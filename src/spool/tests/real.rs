//! The same on real files.

use super::*;
use crate::env::disk::{Engine, RealDisk};

fn round_trip(engine: Engine) {
    let directory = tempfile::tempdir().unwrap();
    let open = || RealDisk::open_with(&directory.path().join("log-00"), engine).unwrap();
    let settings = Settings { segment_size: 1 << 20, segments_max: 16, ..settings() };
    let mut bench = Bench::open_with(open(), settings.clone()).unwrap();
    let mut expected = BTreeMap::new();
    for seed in 0..30 {
        let content = text(seed, 1000 + 7000 * seed as usize);
        let id = bench.accept(&content, 2).unwrap();
        if seed % 2 == 0 {
            bench.log.settle(id, 1, delivered());
        }
        if seed % 3 == 0 {
            bench.log.delete(id);
        } else {
            expected.insert(id, content);
        }
    }
    for (id, content) in &expected {
        assert_eq!(&bench.content_of(*id).unwrap(), content);
    }
    // Not shut down: as a killed process leaves it.
    drop(bench);
    let mut bench = Bench::open_with(open(), settings.clone()).unwrap();
    assert_eq!(
        bench.log.messages().map(|message| message.id()).collect::<Vec<_>>(),
        expected.keys().copied().collect::<Vec<_>>()
    );
    for (id, content) in &expected {
        assert_eq!(&bench.content_of(*id).unwrap(), content);
    }
    bench.shut_down();
    assert!(Bench::open_with(open(), settings).unwrap().recovery.clean);
}

#[test]
fn messages_survive_on_a_real_disk() {
    round_trip(Engine::Best);
}

#[test]
fn messages_survive_on_a_real_disk_through_threads() {
    round_trip(Engine::Threads);
}
