//! `rohrpost sim`: worlds in which everything goes wrong, as many as wanted.
use crate::sim;
use std::process::ExitCode;
use std::time::Instant;

/// Runs them.
pub fn sim(args: &super::SimArgs) -> ExitCode {
    let begun = Instant::now();
    let mut simulated = 0.0;
    let (from, to) = (args.seed.unwrap_or(0), args.seed.map_or(args.seeds.unwrap_or(1), |s| s + 1));
    let mut acks = 0;
    for seed in from..to {
        let one = Instant::now();
        let outcome = sim::run(seed, args.trace);
        simulated += outcome.simulated.as_secs_f64();
        acks += outcome.sums.acknowledged;
        if args.seed.is_some() {
            println!("{:?} {:?}", outcome.sums, outcome.injected);
        }
        println!(
            "seed {seed} {:.1}s steps {} wall {:?} {:08x}",
            outcome.simulated.as_secs_f64(),
            outcome.steps,
            one.elapsed(),
            outcome.digest
        );
        if let Some(failure) = outcome.failure {
            println!("FAIL seed {seed}: {}", failure.what);
            if args.seed.is_some() && !args.trace {
                for line in failure.trace {
                    println!("  {line}");
                }
            }
        }
    }
    println!("{:.0} times real time, {acks} acks, {:?}", simulated / begun.elapsed().as_secs_f64(), begun.elapsed());
    ExitCode::SUCCESS
}
