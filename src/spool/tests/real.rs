//! The same on real files.

use super::*;
use crate::env::disk::{Engine, RealDisk};
use std::path::Path;
use std::process::{Command, Output};

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

/// Accepts until nothing is accepted any more, and says what there is too little of.
fn fill(bench: &mut Bench<RealDisk>, queued: &mut Vec<MessageId>) -> Shortage {
    while let Ok(id) = bench.accept(&text(queued.len() as u64, 50_000), 1) {
        queued.push(id);
    }
    bench.breathe_until(|bench| bench.log.accepts(None) == Err(Refusal::Full));
    let LogState::Full { shortage } = bench.log.status().state else { panic!("{:?}", bench.log.status().state) };
    shortage
}

/// Every outcome still finds room; then `free` gives back what there was too little of, and all goes on by itself.
fn goes_on(mut bench: Bench<RealDisk>, queued: &mut Vec<MessageId>, free: impl FnOnce(), directory: &Path) {
    for id in &*queued {
        let (reply, next_attempt_at) = ("451 4.4.1 no answer, will try again".into(), bench.now.wall);
        bench.log.settle(*id, 0, Outcome::Deferred { attempts: 1, next_attempt_at, reply });
    }
    bench.breathe_until(|bench| bench.log.idle());
    assert!(!bench.log.failed());
    free();
    bench.breathe_until(|bench| bench.log.accepts(None).is_ok());
    queued.push(bench.accept(b"again", 1).unwrap());
    let settings = bench.log.settings.clone();
    drop(bench);
    let mut bench = Bench::open_with(RealDisk::open(directory).unwrap(), settings).unwrap();
    assert_eq!(bench.log.messages().map(|message| message.id()).collect::<Vec<_>>(), *queued);
    let before = bench.log.messages().filter(|message| message.recipient(0).unwrap().attempts == 1).count();
    assert_eq!(before, queued.len() - 1, "every outcome is there");
    assert_eq!(bench.content_of(queued[7]).unwrap(), text(7, 50_000));
}

#[test]
#[ignore = "runs in a process of its own"]
fn the_process_without_descriptors() {
    let folder = tempfile::tempdir().unwrap();
    let directory = folder.path().join("log-00");
    let settings = Settings { segment_size: 1 << 20, segments_max: 64, ..settings() };
    let mut bench = Bench::open_with(RealDisk::open(&directory).unwrap(), settings).unwrap();
    let mut queued = Vec::new();
    for seed in 0..30 {
        queued.push(bench.accept(&text(seed, 50_000), 1).unwrap());
    }
    // Clients' connections, say.
    let hoard: Vec<_> = std::iter::from_fn(|| std::fs::File::open("/dev/null").ok()).collect();
    let shortage = fill(&mut bench, &mut queued);
    assert!(matches!(&shortage, Shortage::Segment(error) if error.errno == libc::EMFILE), "{shortage}");
    goes_on(bench, &mut queued, || drop(hoard), &directory);
}

#[test]
fn without_descriptors_a_log_is_full_and_comes_back() {
    in_a_shell(&["sh"], "ulimit -n 100", "the_process_without_descriptors", Path::new("/"));
}

#[test]
#[ignore = "runs in a process of its own"]
fn the_process_on_a_small_file_system() {
    let folder = std::path::PathBuf::from(std::env::var_os("SMALL_FILE_SYSTEM").unwrap());
    let directory = folder.join("log-00");
    let settings = Settings { segment_size: 1 << 20, segments_max: 64, ..settings() };
    let mut bench = Bench::open_with(RealDisk::open(&directory).unwrap(), settings).unwrap();
    // Somebody else's: most of the space, or of the inodes.
    std::fs::write(folder.join("ballast"), vec![1; 20 << 20]).unwrap();
    let others: Vec<_> = (0..12).map(|number| folder.join(format!("other-{number}"))).collect();
    others.iter().for_each(|other| std::fs::write(other, "").unwrap());
    let mut queued = Vec::new();
    let shortage = fill(&mut bench, &mut queued);
    let named = matches!(&shortage, Shortage::Segment(error) if error.errno == libc::ENOSPC);
    assert!(named || shortage == Shortage::FileSystem, "{shortage}");
    let free = || {
        std::fs::remove_file(folder.join("ballast")).unwrap();
        others.iter().for_each(|other| std::fs::remove_file(other).unwrap());
    };
    goes_on(bench, &mut queued, free, &directory);
}

#[test]
fn a_file_system_without_space_or_inodes_makes_a_log_full_and_it_comes_back() {
    let folder = tempfile::tempdir().unwrap();
    let shell = ["unshare", "-m", "sh"];
    for limits in ["size=40m", "size=200m,nr_inodes=24"] {
        let mount = format!("mount -t tmpfs -o {limits} tmpfs $SMALL_FILE_SYSTEM");
        if !shell_says(&shell, &mount, folder.path()).is_ok_and(|trial| trial.status.success()) {
            eprintln!("skipped: only root can mount a small file system");
            return;
        }
        in_a_shell(&shell, &mount, "the_process_on_a_small_file_system", folder.path());
    }
}

/// Runs one of the tests above in a process of its own, after `command`.
fn in_a_shell(shell: &[&str], command: &str, test: &str, folder: &Path) {
    let program = std::env::current_exe().unwrap();
    let program = program.to_str().unwrap();
    let script = format!("{command} && exec '{program}' --ignored --exact spool::tests::real::{test}");
    let output = shell_says(shell, &script, folder).unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("1 passed"), "{command}: {said}");
}

fn shell_says(shell: &[&str], script: &str, folder: &Path) -> std::io::Result<Output> {
    let (program, arguments) = shell.split_first().unwrap();
    Command::new(program).args(arguments).args(["-c", script]).env("SMALL_FILE_SYSTEM", folder).output()
}
