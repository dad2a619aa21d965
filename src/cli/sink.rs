//! `rohrpost sink`: takes mail from anybody and throws it away.
//!
//! In: where to listen. Out: a line when it listens, a progress line on a terminal, and the sums at its end.

use super::parties::{TransportArgs, run};
use super::run::StartError;
use super::text::{messages, print, size};
use crate::env::say;
use crate::load::{Quota, Sink, SinkCounters, SinkCounts};
use crate::tls;
use clap::Args;
use indicatif::ProgressBar;
use serde::Serialize;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};

/// Where to listen.
#[derive(Clone, Debug, Args)]
pub struct SinkArgs {
    /// Addresses and ports, such as 192.0.2.30:25.
    #[arg(required = true, value_name = "LISTEN")]
    pub listen: Vec<SocketAddr>,
    /// The name to greet with.
    #[arg(long, value_name = "NAME", default_value = "sink.example.test")]
    pub hostname: String,
    /// Take connections that are under TLS from their first byte, with a certificate that is made for the run.
    #[arg(long)]
    pub tls: bool,
    /// End when so many messages have come.
    #[arg(long, value_name = "COUNT")]
    pub messages: Option<u64>,
    /// One JSON object with the sums instead of text.
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub transport: TransportArgs,
}

#[derive(Debug, Serialize)]
struct Report {
    version: u32,
    kind: &'static str,
    #[serde(flatten)]
    counts: SinkCounts,
}

/// Runs until a signal comes, or as many messages as were asked for.
pub fn sink(args: &SinkArgs) -> ExitCode {
    let config = args.transport.config(&args.hostname, &args.listen);
    let hostname: Arc<str> = args.hostname.as_str().into();
    // Each worker adds its own when it begins, and then writes it alone.
    let all: Mutex<Vec<Arc<SinkCounters>>> = Mutex::default();
    let counts = || {
        let mut counts = SinkCounts::default();
        let all = all.lock().unwrap_or_else(PoisonError::into_inner);
        all.iter().for_each(|counters| counters.add_to(&mut counts));
        counts
    };
    let tls = match args.tls.then(tls::Server::unknown).transpose() {
        Ok(tls) => tls.map(Arc::new),
        Err(error) => {
            say(format_args!("rohrpost: {error}"));
            return ExitCode::FAILURE;
        }
    };
    let quota = args.messages.map(|messages| Arc::new(Quota::new(messages)));
    let make = |_, _, _| {
        let counters = Arc::new(SinkCounters::default());
        all.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&counters));
        Ok(Sink::new(Arc::clone(&hostname), counters, tls.clone()).until(quota.clone()))
    };
    let bar = ProgressBar::new_spinner();
    let mut told = false;
    let ran = run::<_, StartError>(&config, make, |detail| {
        if !std::mem::replace(&mut told, true) {
            say(format_args!("rohrpost sink: {} ({detail})", args.transport.transport.name()));
        }
        bar.tick();
        bar.set_message(text(&counts()));
    });
    bar.finish_and_clear();
    if let Err(error) = ran {
        say(format_args!("rohrpost: {error}"));
        return ExitCode::FAILURE;
    }
    let counts = counts();
    let report = Report { version: 1, kind: "sink", counts };
    let told = if args.json { serde_json::to_string(&report).expect("all keys are text") } else { text(&counts) };
    print(&(told + "\n"))
}

fn text(counts: &SinkCounts) -> String {
    let SinkCounts { messages: count, bytes, recipients, sessions, open } = *counts;
    format!("{}, {recipients} recipients, {} in {sessions} sessions, {open} open", messages(count), size(bytes))
}
