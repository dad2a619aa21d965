//! A message's way, station by station: one file for each folder of `src` that it passes.
//!
//! Each station is defined once, as something that is done again and again, and two drivers make use of it:
//!
//! ```sh
//! cargo bench --bench way                       # how long it takes (criterion)
//! cargo bench --bench way -- --count [FILTER]   # how many instructions it takes (callgrind): the same on every run
//! cargo bench --bench way -- --report           # a page with both
//! ```
//!
//! `scripts/bench` does all three; `benches/README.md` tells what came of it.

#[path = "../common/mod.rs"]
mod common;
mod count;
mod delivery;
mod machine;
mod mirror;
mod report;
mod smtp;
mod spool;
mod tcp;
mod time;
mod worker;

use std::path::PathBuf;

/// As the appliance has it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// One thing that happens to a message.
pub struct Station {
    /// Where in `src` it happens.
    pub folder: &'static str,
    /// What happens.
    pub name: &'static str,
    /// How often it happens each time that it is done; figures are for one.
    pub units: u64,
    /// Bytes that pass each time, where that matters.
    pub bytes: u64,
    /// Makes everything ready; what comes back does it once.
    pub make: fn() -> Box<dyn FnMut()>,
}

impl Station {
    const fn new(folder: &'static str, name: &'static str, make: fn() -> Box<dyn FnMut()>) -> Station {
        Station { folder, name, units: 1, bytes: 0, make }
    }

    const fn bytes(self, bytes: u64) -> Station {
        Station { bytes, ..self }
    }

    const fn of(self, units: u64) -> Station {
        Station { units, ..self }
    }

    fn title(&self) -> String {
        format!("{}/{}", self.folder, self.name)
    }
}

/// In the order of a message's way.
const STATIONS: &[&[Station]] = &[
    tcp::STATIONS,
    smtp::STATIONS,
    spool::STATIONS,
    mirror::STATIONS,
    delivery::STATIONS,
    worker::STATIONS,
    machine::STATIONS,
];

/// The target directory.
fn target() -> PathBuf {
    let program = std::env::current_exe().expect("a program");
    program.ancestors().nth(3).expect("target/release/deps").to_owned()
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["--count", ref filter @ ..] => count::all(filter.first().unwrap_or(&"")),
        ["--one", title] => count::one(title),
        ["--report"] => report::write(),
        _ => time::all(),
    }
}
