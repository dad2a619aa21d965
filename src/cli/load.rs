//! `rohrpost load`: mail to any SMTP server, and how it did.
//!
//! In: arguments, a mix file. Out: a progress line on a terminal, then a table, or one JSON object and the table on standard
//! error. Exit code 1 if it could not start or nothing was accepted.

use super::parties::{TransportArgs, run};
use super::run::StartError;
use super::text::{print, size};
use crate::config::Period;
use crate::env::say;
use crate::load::{
    About, Class, Figures, Flood, Generator, Live, Pace, Plan, PlanError, Route, Sizes, Slow, Transfer, json,
    parse_mix, rate, table,
};
use crate::smtp::Priority;
use crate::tls;
use clap::Args;
use indicatif::ProgressBar;
use ipnet::Ipv4Net;
use std::net::{IpAddr, SocketAddr, SocketAddrV4};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How long a run takes if nothing is said.
const TIME_DEFAULT: Duration = Duration::from_secs(10);

/// What to send to whom.
#[derive(Clone, Debug, Args)]
pub struct LoadArgs {
    /// The server, such as 192.0.2.25:25.
    pub target: SocketAddr,
    /// Sessions at the same time.
    #[arg(long, value_name = "COUNT", default_value_t = 20)]
    pub sessions: usize,
    /// End after so many messages.
    #[arg(long, value_name = "COUNT")]
    pub messages: Option<u64>,
    /// End after this time; 10s if the number of messages is not given either.
    #[arg(long, value_name = "DURATION")]
    pub time: Option<Period>,
    /// Do not count messages of this time at the beginning.
    #[arg(long, value_name = "DURATION", default_value = "0s")]
    pub warm_up: Period,
    /// Open loop: so many messages a second, whatever the server does. Without it, closed loop: as fast as it answers.
    #[arg(long, value_name = "PER_SECOND", value_parser = rate)]
    pub rate: Option<f64>,
    /// Messages of the open loop fall due at random moments (a Poisson process) and not evenly.
    #[arg(long, requires = "rate")]
    pub random: bool,
    #[command(flatten)]
    pub class: ClassArgs,
    /// Several classes of sessions: [[class]] sections with name, weight, size, recipients, messages_per_session, pipelining,
    /// transfer ("data" or "bdat") and slow, which mean what the options mean; weights divide sessions and rate.
    #[arg(long, value_name = "FILE", conflicts_with = "class")]
    pub mix: Option<PathBuf>,
    /// The sender of all messages.
    #[arg(long, value_name = "ADDRESS", default_value = "sender@example.test")]
    pub from: String,
    /// How urgent all messages are, -9 to 9, to a server that offers MT-PRIORITY.
    #[arg(long, value_name = "NUMBER", default_value_t = Priority::NORMAL, allow_negative_numbers = true)]
    pub priority: Priority,
    /// The recipient; with several recipients the local part gets a number.
    #[arg(long, value_name = "ADDRESS", default_value = "user@example.test")]
    pub to: String,
    /// Spread messages over so many domains in turn: "d0." to "d9999." and a given recipient's domain, for 10000.
    #[arg(long, value_name = "COUNT", default_value_t = 0, hide_default_value = true)]
    pub domains: u32,
    /// The name to greet with.
    #[arg(long, value_name = "NAME", default_value = "load.example.test")]
    pub ehlo_name: String,
    /// How long an answer may take.
    #[arg(long, value_name = "DURATION", default_value = "60s")]
    pub timeout: Period,
    /// Connections are under TLS from their first byte, whatever certificate the server has. Those that come after the first
    /// resume its session if the server lets them.
    #[arg(long)]
    pub tls: bool,
    /// Resume no session: each connection is known by nothing but its own keys.
    #[arg(long, requires = "tls")]
    pub full_handshakes: bool,
    /// Decides sizes and random moments; the same one gives the same load.
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    pub seed: u64,
    /// Beside the good load, send so many SYNs a second from forged addresses, through a raw socket.
    #[arg(long, value_name = "PER_SECOND")]
    pub flood: Option<u64>,
    /// The forged addresses; answers to them must lead nowhere.
    #[arg(long, value_name = "NETWORK", default_value = "198.18.0.0/15", requires = "flood")]
    pub flood_from: Ipv4Net,
    /// Where the SYNs go instead of to the server: what the flood itself takes from the machine, if nobody is there.
    #[arg(long, value_name = "ADDRESS:PORT", requires = "flood")]
    pub flood_to: Option<SocketAddrV4>,
    /// One JSON object on standard output, the table on standard error.
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub transport: TransportArgs,
}

/// The one class of a load without a mix file.
#[derive(Clone, Debug, Args)]
#[group(id = "class", multiple = true)]
pub struct ClassArgs {
    /// How large messages are: "2KB", "1KB..100KB" for any between, or "2KB:70,10KB:25,1MB:5" with weights.
    #[arg(long, value_name = "SIZES", default_value = "10KB")]
    pub size: Sizes,
    /// Recipients of each message.
    #[arg(long, value_name = "COUNT", default_value_t = 1)]
    pub recipients: u32,
    /// Close a connection after so many messages and open another one; 0 opens connections and lets them idle.
    #[arg(long, value_name = "COUNT")]
    pub messages_per_session: Option<u64>,
    /// Wait for each answer, also where the server offers PIPELINING.
    #[arg(long)]
    pub no_pipelining: bool,
    /// Send content with BDAT (RFC 3030) and not with DATA.
    #[arg(long)]
    pub bdat: bool,
    /// Slow clients: so many bytes, then a pause, such as "64B/100ms".
    #[arg(long, value_name = "BYTES/DURATION")]
    pub slow: Option<Slow>,
}

impl ClassArgs {
    fn class(&self) -> Class {
        Class {
            size: self.size.clone(),
            recipients: self.recipients,
            messages_per_session: self.messages_per_session,
            pipelining: !self.no_pipelining,
            transfer: if self.bdat { Transfer::Bdat } else { Transfer::Data },
            slow: self.slow,
            ..Class::default()
        }
    }
}

/// Why there is no load.
#[derive(Debug, thiserror::Error)]
enum LoadError {
    #[error("{0}")]
    Plan(#[from] PlanError),
    #[error("{0}")]
    Start(#[from] StartError),
    #[error("{0}")]
    Tls(#[from] tls::RootsError),
    #[error("{}: {source}", path.display())]
    Mix { path: PathBuf, source: std::io::Error },
    #[error("{}: {source}", path.display())]
    Classes { path: PathBuf, source: PlanError },
    #[error("a flood goes to IPv4 addresses only")]
    FloodFamily,
    #[error("a flood needs a raw socket, and so root or CAP_NET_RAW: {0}")]
    Flood(std::io::Error),
}

/// Sends the load and tells of it.
pub fn load(args: &LoadArgs) -> ExitCode {
    match send(args) {
        Ok((about, classes)) => {
            let mut text = table(&about, &classes);
            if args.json {
                say(text.trim_end());
                text = json(&about, &classes).to_string() + "\n";
            }
            let told = print(&text);
            let all = crate::load::sum(&classes);
            // Idle connections are a success without any message.
            if all.accepted == 0 && all.failed + all.unsent > 0 { ExitCode::FAILURE } else { told }
        }
        Err(error) => {
            say(format_args!("rohrpost: {error}"));
            ExitCode::FAILURE
        }
    }
}

fn plan(args: &LoadArgs) -> Result<Plan, LoadError> {
    let time = match (args.time, args.messages) {
        (None, None) => Some(TIME_DEFAULT),
        (time, _) => time.map(|time| *time),
    };
    Ok(Plan {
        pace: match args.rate {
            None => Pace::Closed,
            Some(rate) if args.random => Pace::Poisson(rate),
            Some(rate) => Pace::Fixed(rate),
        },
        sessions: args.sessions,
        messages: args.messages,
        time,
        warm_up: *args.warm_up,
        timeout: *args.timeout,
        ehlo_name: args.ehlo_name.clone(),
        sender: args.from.clone(),
        priority: args.priority,
        recipient: args.to.clone(),
        domains: args.domains,
        date: jiff::Timestamp::now().strftime("%a, %d %b %Y %H:%M:%S +0000").to_string(),
        classes: match &args.mix {
            None => vec![args.class.class()],
            Some(path) => read_mix(path)?,
        },
        seed: args.seed,
    })
}

fn read_mix(path: &Path) -> Result<Vec<Class>, LoadError> {
    let path = path.to_owned();
    match std::fs::read_to_string(&path) {
        Ok(text) => parse_mix(&text).map_err(|source| LoadError::Classes { path, source }),
        Err(source) => Err(LoadError::Mix { path, source }),
    }
}

fn send(args: &LoadArgs) -> Result<(About, Vec<(String, Figures)>), LoadError> {
    let plan = Arc::new(plan(args)?);
    // What is wrong with the plan itself is said before anything is opened.
    plan.sessions_of(0, 1)?;
    let config = args.transport.config(&args.ehlo_name, &[]);
    let sources: Vec<IpAddr> = args.transport.address.iter().map(|address| address.addr()).collect();
    let live = Arc::new(Live::new(plan.messages));
    let make = |worker, workers, now| {
        let (plan, live) = (Arc::clone(&plan), Arc::clone(&live));
        let tls = args.tls.then(|| tls::Client::new(None)).transpose()?;
        let tls = tls.map(|tls| if args.full_handshakes { tls.forgetting() } else { tls });
        let route = Route { sources: sources.clone(), target: args.target, tls };
        Ok(Generator::new(plan, worker, workers, route, live, now)?)
    };
    let mut progress = Progress::new();
    let over = AtomicBool::new(false);
    let flood = args.flood.map(|rate| open_flood(args, rate)).transpose()?;
    let (ran, flood_syns) = std::thread::scope(|scope| {
        let flood = flood.map(|flood| scope.spawn(|| flood.run(&over)));
        let ran = run::<_, LoadError>(&config, make, |_| progress.show(&live));
        over.store(true, Ordering::Relaxed);
        (ran, flood.map(|flood| flood.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))))
    });
    let (workers, detail) = ran?;
    progress.bar.finish_and_clear();
    let mut classes: Vec<(String, Figures)> = Vec::new();
    for worker in workers {
        let figures = worker.figures();
        if classes.is_empty() {
            classes = figures;
        } else {
            for ((_, all), (_, own)) in classes.iter_mut().zip(&figures) {
                all.add(own);
            }
        }
    }
    let about = About {
        target: args.target.to_string(),
        transport: format!("{} ({detail})", args.transport.transport.name()),
        pace: plan.pace.to_string(),
        seed: plan.seed,
        flood_syns,
    };
    Ok((about, classes))
}

fn open_flood(args: &LoadArgs, rate: u64) -> Result<Flood, LoadError> {
    let target = match (args.flood_to, args.target) {
        (Some(target), _) | (None, SocketAddr::V4(target)) => target,
        (None, SocketAddr::V6(_)) => return Err(LoadError::FloodFamily),
    };
    Flood::open(target, args.flood_from, rate, args.seed).map_err(LoadError::Flood)
}

/// The line that a terminal shows while the load goes on.
struct Progress {
    bar: ProgressBar,
    /// When the rate was computed last, and what had been accepted then.
    before: (Instant, u64),
    rate: f64,
}

impl Progress {
    fn new() -> Progress {
        Progress { bar: ProgressBar::new_spinner(), before: (Instant::now(), 0), rate: 0.0 }
    }

    fn show(&mut self, live: &Live) {
        let [accepted, bytes, failed, open] =
            [&live.accepted, &live.bytes, &live.failed, &live.open].map(|count| count.load(Ordering::Relaxed));
        let (at, before) = self.before;
        let span = at.elapsed();
        if span >= Duration::from_secs(1) {
            self.rate = (accepted - before) as f64 / span.as_secs_f64();
            self.before = (Instant::now(), accepted);
        }
        let bytes = size(bytes);
        self.bar.tick();
        self.bar.set_message(format!(
            "{accepted} accepted ({bytes}), {:.0}/s, {failed} failed, {open} sessions open",
            self.rate
        ));
    }
}
