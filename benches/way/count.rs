//! How many instructions each station takes: the same on every run, whatever else the machine does.
//!
//! Each station runs in a process of its own under valgrind's callgrind, which counts while [`counted`] runs and not
//! before. What callgrind wrote stays for `callgrind_annotate`, which tells the lines that the instructions go to.

use crate::{STATIONS, Station};
use serde_json::{Map, Value};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Repetitions before anything is counted: tables and buffers have grown to their size then.
const WARM_UP: u64 = 200;
/// Repetitions that are counted.
const REPETITIONS: u64 = 1000;

/// What moves more than this in one go is a matter of the memory and not of instructions.
const BYTES_MAX: u64 = 1 << 20;

fn find(title: &str) -> &'static Station {
    STATIONS.iter().copied().flatten().find(|station| station.title() == title).expect("a station")
}

/// Runs one station; under callgrind.
pub fn one(title: &str) {
    let mut step = (find(title).make)();
    for _ in 0..WARM_UP {
        step();
    }
    counted(&mut step);
}

#[inline(never)]
fn counted(step: &mut dyn FnMut()) {
    for _ in 0..REPETITIONS {
        step();
    }
}

/// Where the counts are kept: per station, instructions for one of what it does.
pub fn file() -> PathBuf {
    crate::target().join("bench/counts.json")
}

/// Counts every station whose title has `filter` in it, and tells how that differs from the last time.
pub fn all(filter: &str) {
    let directory = crate::target().join("bench/callgrind");
    std::fs::create_dir_all(&directory).expect("the target directory can be written");
    let text = std::fs::read_to_string(file()).unwrap_or_else(|_| "{}".to_owned());
    let mut counts: Map<String, Value> = serde_json::from_str(&text).expect("counts of an earlier run");
    let wanted = |station: &&Station| station.title().contains(filter) && station.bytes < BYTES_MAX;
    for station in STATIONS.iter().copied().flatten().filter(wanted) {
        let title = station.title();
        let sum = instructions(&title, &directory.join(format!("{}.out", title.replace(['/', ' ', ','], "-"))));
        let count = sum as f64 / (REPETITIONS * station.units) as f64;
        let change = match counts.get(&title).and_then(Value::as_f64) {
            None => String::new(),
            Some(before) if before == count => "as before".to_owned(),
            Some(before) => format!("{:+.2} %, was {before:.1}", (count / before - 1.0) * 100.0),
        };
        println!("{title:<50} {count:>12.1} instructions  {change}");
        counts.insert(title, count.into());
    }
    let text = serde_json::to_string_pretty(&counts).expect("names and numbers");
    std::fs::write(file(), text).expect("the target directory can be written");
}

fn instructions(title: &str, out: &Path) -> u64 {
    let output = Command::new("valgrind")
        // Where the stack begins depends on the environment, and how things are aligned on that.
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        // callgrind counts each byte that `rep movsb` moves as an instruction: the C library is told to do without.
        .env(
            "GLIBC_TUNABLES",
            "glibc.cpu.x86_rep_movsb_threshold=1073741824:glibc.cpu.x86_rep_stosb_threshold=1073741824",
        )
        // The allocator gives memory back by the clock, and a few counts differed for it.
        .env("MIMALLOC_PURGE_DELAY", "-1")
        .args(["--tool=callgrind", "--toggle-collect=*counted*"])
        .arg(format!("--callgrind-out-file={}", out.display()))
        .arg(std::env::current_exe().expect("a program"))
        .args(["--one", title])
        .output()
        .expect("valgrind is installed: scripts/bench does that");
    assert!(output.status.success(), "{title}: {}", String::from_utf8_lossy(&output.stderr));
    let text = std::fs::read_to_string(out).expect("callgrind wrote its figures");
    let line = text.lines().find_map(|line| line.strip_prefix("totals: ")).expect("callgrind tells the sum");
    line.trim().parse().expect("a number")
}
