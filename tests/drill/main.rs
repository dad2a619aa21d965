//! What `scripts/drill` runs, and `scripts/demo --pair`: a pair of real boxes with a real etcd, to which things happen while
//! clients send.
//!
//! In: how many rounds, or that it is the demo. Out: a line a round, the sums, and an exit code that is not 0 if anything
//! that was acknowledged is lost. The network is made here and removed at the end; what must be removed when this process is
//! killed, the scripts do.

#[path = "../appliance/mod.rs"]
mod appliance;
mod demo;
mod disk;
mod kind;
mod report;
mod round;

use kind::Kind;
use std::process::ExitCode;

const USAGE: &str = "drill [ROUNDS] [--only KIND] [--json] [--logs], or drill --demo";

fn main() -> ExitCode {
    let (mut rounds, mut only, mut json, mut logs) = (None, Vec::new(), false, false);
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--demo" => return demo::demo(),
            "--json" => json = true,
            "--logs" => logs = true,
            "--only" => {
                let named = arguments.next().unwrap_or_default();
                let Some(kind) = Kind::ALL.into_iter().find(|kind| kind.name() == named) else {
                    eprintln!("drill: no kind \"{named}\" among {}", Kind::ALL.map(Kind::name).join(", "));
                    return ExitCode::from(2);
                };
                only.push(kind);
            }
            number => match number.parse() {
                Ok(number) => rounds = Some(number),
                Err(_) => {
                    eprintln!("drill: {USAGE}; \"{number}\" is neither");
                    return ExitCode::from(2);
                }
            },
        }
    }
    let kinds = if only.is_empty() { Kind::ALL.to_vec() } else { only };
    round::drill(rounds.unwrap_or(kinds.len()), &kinds, json, logs)
}
