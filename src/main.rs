//! The `rohrpost` command.

use clap::Parser as _;
use rohrpost::cli::{
    Cli, Command, check, dkim, load, pair, queue, route, run, sim, sink, status, tls_reports, top, trace,
};
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Run(args) => run::run(&args),
        Command::Check(args) => check::check(&args),
        Command::Status(args) => status::status(&args),
        Command::Top(args) => top::top(&args),
        Command::Queue(args) => queue::queue(&args),
        Command::Trace(args) => trace::trace(&args),
        Command::Route(args) => route::route(&args),
        Command::Dkim(args) => dkim::dkim(&args),
        Command::TlsReports(args) => tls_reports::tls_reports(&args),
        Command::Pair(args) => pair::pair(&args),
        Command::Load(args) => load::load(&args),
        Command::Sink(args) => sink::sink(&args),
        Command::Sim(args) => sim::sim(&args),
    }
}
