//! `rohrpost run`: the appliance, from the configuration to its orderly end.
//!
//! In: the configuration. Out: workers, each on its core with its transport and its logs; the control thread; an exit
//! code. Everything that can be refused is refused before the first worker starts.

use super::check;
use super::logs::{self, LogDisk};
use super::transport::{self, Lanes, Opened, TransportError};
use crate::appliance::{Appliance, Station, settings};
use crate::config::{self, Config};
use crate::control::{
    self, About, AdminSocket, DnsSettings, EventFiles, ExitReason, Hooks, HttpSocket, Keep, Keeper, OrderBoard,
    OrdersFile, PairSettings, Registers, Shared, Stopper, Tick, ToWorker, WorkerEnd, WorkerLink,
};
use crate::delivery;
use crate::dkim::{self, KeySettings, Keyring, KeyringError, SigningEnd};
use crate::dns;
use crate::env::{Clock, Instant, SystemClock, Wakeup, say, take_core};
use crate::event::Event;
use crate::limits::{DAMAGES_MAX, FROM_WORKERS_MAX};
use crate::policy::Policy;
use crate::port::Port;
use crate::port::lane::Lane;
use crate::smtp::client::Credentials;
use crate::spool::{Log, Recovery};
use crate::tcp::{Stack, Stacks};
use crate::tls::{Client, Expiry, KeyError, RootsError, Server, ServerFiles};
use crate::worker::{Exchange, PairEquipment, Worker};
use rustls::RootCertStore;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

/// Why the appliance does not start. Each says what to do.
#[derive(Debug, thiserror::Error)]
pub(super) enum StartError {
    #[error("{0}")]
    Config(String),
    #[error("{0}")]
    Transport(#[from] TransportError),
    #[error("the log in {directory}: {reason}")]
    Spool { directory: PathBuf, reason: String },
    #[error(
        "{directory} is the spool of a box of a pair, and holds a copy of its partner's queue, which a single box would deliver a \
         second time: keep [pair] in the configuration, or move the folder away"
    )]
    OfPair { directory: PathBuf },
    #[error(
        "{directory} is the spool of a single box, whose logs are where the copy of the partner's queue would be: run without \
         [pair] until `rohrpost queue list` is empty, then move the folder away; or let this box be node a"
    )]
    NotOfPair { directory: PathBuf },
    #[error("{0}")]
    Memory(#[from] control::MemoryError),
    #[error("[pair]: {0}")]
    Key(#[from] KeyError),
    #[error("TLS: {0}")]
    Tls(KeyError),
    #[error("DKIM: {0}")]
    Dkim(#[from] KeyringError),
    #[error("credentials: {0}")]
    Credentials(#[from] settings::CredentialsError),
    #[error("[tls] roots: {0}")]
    Roots(#[from] RootsError),
    #[error("{0}")]
    Store(#[from] control::StoreError),
    #[error("{0}")]
    Admin(#[from] control::AdminError),
    #[error("{0}")]
    Http(#[from] control::HttpError),
    #[error("{0}")]
    Hooks(#[from] control::HookError),
    #[error("{0}")]
    Events(#[from] control::EventFilesError),
    #[error("{0}")]
    Policy(#[from] crate::policy::PolicyError),
    #[error("{0}")]
    Routes(#[from] delivery::RouteError),
    #[error("standing orders: {0}")]
    Orders(#[from] control::FileError),
    #[error("the system gives no randomness: {0}")]
    Entropy(getrandom::Error),
    #[error("the operating system refused: {0}")]
    System(#[from] std::io::Error),
}

/// Runs the appliance until it is told to stop.
pub fn run(args: &super::RunArgs) -> ExitCode {
    let outcome = config::load(&args.config.config)
        .map_err(|error| StartError::Config(check::show(&error)))
        .and_then(|config| start(&Arc::new(config)));
    match outcome {
        Ok(ExitReason::Stopped) => ExitCode::SUCCESS,
        Ok(reason) => {
            say(format_args!("rohrpost: {reason}"));
            reason.code()
        }
        Err(error) => {
            say(format_args!("rohrpost: {error}"));
            ExitCode::FAILURE
        }
    }
}

fn start(config: &Arc<Config>) -> Result<ExitReason, StartError> {
    let clock = SystemClock::new();
    environment(config)?;
    let policy = Arc::new(Policy::new(config)?);
    let mut appliance = Appliance::new(Arc::clone(config), Arc::clone(&policy))?;
    appliance.tls = settings::server_tls(config).map_err(StartError::Tls)?.map(Arc::new);
    appliance.keyring = settings::keyring(config)?.map(Arc::new);
    let roots = settings::roots(config)?;
    appliance.credentials = settings::credentials(config)?;
    // First of all that leaves a trace, so that a second process ends here.
    let admin = AdminSocket::open(&config.admin.socket)?;
    let (orders_file, orders_kept) = OrdersFile::open(&config.spool.directory, clock.now().wall)?;
    let keep: Keep = Box::new(move |bytes| orders_file.keep(bytes).map_err(|error| error.to_string()));
    let whose = (Arc::clone(&appliance.routes), Arc::clone(&appliance.tenants));
    let orders = OrderBoard::new(whose, orders_kept, keep, clock.now());
    appliance.orders = Arc::new(orders.compile());
    let http = config.admin.http.map(HttpSocket::open).transpose()?;
    let hooks = Hooks::open(&config.alert)?;
    let registers = config.pair.as_ref().map(|pair| Registers::open(pair, &config.spool.directory)).transpose()?;
    let tls = config.pair.as_ref().map(settings::pinned).transpose()?.flatten().map(Arc::new);
    let opened = transport::open(config, &clock)?;
    let workers = opened.lanes.count() as u16;
    let (logs, copies) = match &config.pair {
        Some(pair) => logs::open_copies(config, pair, &clock, workers).map(|(logs, copies)| (logs, Some(copies)))?,
        None => (logs::open(config, &clock, workers)?, None),
    };
    let (links, ends, from) = control::links(workers, FROM_WORKERS_MAX)?;
    let wakeups = (0..workers).map(|_| Wakeup::new()).collect::<Result<Vec<_>, _>>()?;
    let about = About {
        release: env!("CARGO_PKG_VERSION").to_owned(),
        hostname: config.hostname.clone(),
        transport: config.transport.name().to_owned(),
        transport_detail: opened.detail.clone(),
        link: opened.link,
        started_at: clock.now().wall,
    };
    let (signing, crew) = appliance.keyring.as_ref().map(|_| dkim::connect(&wakeups)).unzip();
    let mut signing = signing.into_iter().flatten();
    let mut parts = Vec::new();
    let mut keeper = Keeper::new();
    for (((mut end, logs), exchange), wakeup) in
        ends.into_iter().zip(logs).zip(Exchange::connect(&wakeups)).zip(wakeups.iter().cloned())
    {
        end.reporter.log_messages(config.log.messages);
        end.reporter.report_tls(config.tls_reports.is_some());
        for (number, log, recovery) in &logs {
            end.reporter.event(recovered(*number, log.status().disk, recovery));
            for damage in &recovery.damages.list {
                end.reporter.event(Event::LogDamaged { log: *number, damage: damage.to_string() });
            }
            for id in log.damaged().take(DAMAGES_MAX) {
                end.reporter.event(Event::Damaged { id });
            }
        }
        let logs = logs.into_iter().map(|(number, log, _)| (number, log)).collect();
        let pair = config.pair.as_ref().map(|pair| {
            let (errands, kept) = keeper.attend(end.wakeup.clone());
            settings::pair(config, pair, tls.clone(), errands, kept)
        });
        let tls = Some(Client::new(roots.clone())?);
        parts.push(Common { clock, logs, exchange, wakeup, end, tls, signing: signing.next(), pair });
    }
    if let Some(first) = parts.first_mut() {
        let detail = opened.detail.clone();
        first.end.reporter.event(Event::Started { transport: config.transport.name().to_owned(), detail });
        for text in &opened.warnings {
            first.end.reporter.event(Event::Warning { text: text.clone() });
        }
    }
    let mut pair = None;
    if let (Some(of_pair), Some(registers), Some(copies)) = (&config.pair, registers, copies) {
        pair = Some(PairSettings {
            node: settings::node(of_pair),
            arbiter: settings::arbiter(config, of_pair),
            copies,
            registers,
            directory: config.spool.directory.clone(),
            failures: keeper.start(clock)?,
        });
    }
    let events = settings::event_files(&config.log).map(EventFiles::open).transpose()?;
    let mut watch = transport::watch_link(&opened);
    let Opened { lanes, attachment, .. } = opened;
    if let Some(crew) = crew {
        crew.start(config.signing.threads)?;
    }
    let threads = spawn(&appliance, lanes, parts)?;
    let settings = control::Settings {
        admin,
        http,
        hooks,
        events,
        dns: config.routes.iter().any(|route| route.mx).then(|| names(config, roots.clone())),
        reports: settings::reports(config),
        orders,
        pair,
        shutdown_max: *config.limits.shutdown_timeout,
        signals: true,
        stop: Stopper::new()?,
        about,
    };
    let mut secrets = Secrets::new(&appliance, &links);
    let mut reload = reloader(&policy, links.clone());
    let on_tick = |tick| match tick {
        Tick::Link => watch(&attachment).into_iter().collect(),
        Tick::Second | Tick::Reload => {
            reload();
            secrets.tick(tick)
        }
    };
    let reason = control::run(settings, links, from, on_tick);
    if reason == ExitReason::Stopped {
        for thread in threads {
            // It has said its last words, so that this does not wait.
            let _ = thread.join();
        }
    }
    drop(attachment);
    Ok(reason)
}

/// How domains are looked up here.
fn names(config: &Config, roots: Option<Arc<RootCertStore>>) -> DnsSettings {
    let system = std::fs::read("/etc/resolv.conf").unwrap_or_default();
    let held = crate::port::kernel_addresses().unwrap_or_default();
    settings::dns(config, dns::resolvers(&String::from_utf8_lossy(&system)), &held, roots)
}

/// Refuses what this machine cannot do.
pub(super) fn environment(config: &Config) -> Result<(), StartError> {
    let problems: Vec<String> = check::environment(config).iter().map(ToString::to_string).collect();
    if problems.is_empty() { Ok(()) } else { Err(StartError::Config(problems.join("\nrohrpost: "))) }
}

/// What a worker gets whatever its transport is.
struct Common {
    clock: SystemClock,
    logs: Vec<(u16, Log<LogDisk>)>,
    exchange: Exchange,
    wakeup: Wakeup,
    end: WorkerEnd,
    tls: Option<Client>,
    signing: Option<SigningEnd>,
    pair: Option<PairEquipment<LogDisk>>,
}

type Threads = Vec<std::thread::JoinHandle<()>>;

fn spawn(appliance: &Appliance, lanes: Lanes, parts: Vec<Common>) -> Result<Threads, StartError> {
    match lanes {
        Lanes::Kernel(sockets) => {
            sockets.into_iter().zip(parts).map(|(sockets, common)| launch(appliance, common, sockets)).collect()
        }
        Lanes::AfXdp(ports) => spawn_stacks(appliance, ports, parts),
        #[cfg(feature = "dpdk")]
        Lanes::Dpdk(ports) => spawn_stacks(appliance, ports, parts),
    }
}

/// Starts the workers, each with a TCP stack on its lane of each port.
fn spawn_stacks<P: Port + Send + 'static>(
    appliance: &Appliance,
    ports: Vec<transport::Shared<P>>,
    parts: Vec<Common>,
) -> Result<Threads, StartError> {
    let Some(first) = parts.first() else { return Ok(Threads::new()) };
    let stacks = stacks(&appliance.config, ports, first.clock.now().mono)?;
    stacks.into_iter().zip(parts).map(|(stack, common)| launch(appliance, common, stack)).collect()
}

/// The TCP of all workers.
pub(super) fn stacks<P: Port>(
    config: &Config,
    ports: Vec<transport::Shared<P>>,
    now: Instant,
) -> Result<Vec<Stacks<Lane<P>>>, StartError> {
    // Shared by all workers: a flow that moves between queues keeps its sequence numbers.
    let isn_key = entropy::<16>()?;
    let mut of_workers: Vec<Vec<Stack<Lane<P>>>> = Vec::new();
    for transport::Shared { traffic, lanes } in ports {
        let hosts = lanes.iter().filter(|lane| !lane.queues().is_empty()).count();
        let counts = (lanes.len() as u16, hosts as u16);
        of_workers.resize_with(lanes.len(), Vec::new);
        for (worker, (lane, stacks)) in (0..).zip(lanes.into_iter().zip(&mut of_workers)) {
            let seed = u64::from_le_bytes(entropy()?);
            stacks.push(Stack::new(lane, settings::tcp(config, traffic, worker, counts, isn_key, seed), now));
        }
    }
    Ok(of_workers.into_iter().map(Stacks::new).collect())
}

/// Starts one worker on its core.
fn launch<T: crate::flow::Transport + Send + 'static>(
    appliance: &Appliance,
    common: Common,
    transport: T,
) -> Result<std::thread::JoinHandle<()>, StartError> {
    let worker = common.exchange.worker();
    let equipment = appliance.equip(Station {
        clock: common.clock,
        transport,
        logs: common.logs,
        exchange: common.exchange,
        exchange_wakeup: common.wakeup,
        control: common.end,
        seed: u64::from_le_bytes(entropy()?),
        tls: common.tls,
        signing: common.signing,
        pair: common.pair,
    });
    let config = &appliance.config;
    let core = config.workers.cores.get(usize::from(worker)).copied();
    let thread = std::thread::Builder::new().name(format!("worker-{worker}")).spawn(move || {
        core.into_iter().for_each(take_core);
        Worker::new(equipment).run();
    })?;
    Ok(thread)
}

fn recovered(log: u16, disk: String, recovery: &Recovery) -> Event {
    Event::Recovered {
        log,
        disk,
        messages: recovery.messages as u64,
        batches: recovery.batches,
        bytes: recovery.bytes,
        damages: recovery.damages.count,
        damaged: recovery.damaged as u64,
        cut: recovery.cut.map(|cut| {
            format!(
                "segment {} ends at byte {} now; {} batches behind it were never acknowledged",
                cut.segment, cut.offset, cut.batches
            )
        }),
    }
}

/// Reads the recipient maps again when they change.
fn reloader(policy: &Arc<Policy>, links: Vec<WorkerLink>) -> impl FnMut() {
    let mut policy = Shared::new(policy, &links);
    move || {
        let reload = policy.current.reload_maps();
        for error in reload.errors {
            say(format_args!("rohrpost: {error}; what it said before still counts"));
        }
        if let Some(new) = reload.policy {
            policy.replace(Arc::new(new));
        }
        policy.offer(&links, ToWorker::Policy);
    }
}

/// Reads certificates, keys and credentials again when an operator asks for it.
struct Secrets {
    config: Arc<Config>,
    files: ServerFiles,
    certificates: Option<Shared<Server>>,
    /// Of the certificates that were told of.
    expiries: Vec<Expiry>,
    keys: Vec<KeySettings>,
    keyring: Option<Shared<Keyring>>,
    credentials: Shared<[Arc<Credentials>]>,
    links: Vec<WorkerLink>,
}

impl Secrets {
    fn new(appliance: &Appliance, links: &[WorkerLink]) -> Secrets {
        Secrets {
            config: Arc::clone(&appliance.config),
            files: settings::server_files(&appliance.config).unwrap_or_default(),
            certificates: appliance.tls.as_ref().map(|tls| Shared::new(tls, links)),
            expiries: Vec::new(),
            keys: settings::keys(&appliance.config),
            keyring: appliance.keyring.as_ref().map(|keyring| Shared::new(keyring, links)),
            credentials: Shared::new(&appliance.credentials, links),
            links: links.to_vec(),
        }
    }

    /// What is to be said of it, if they were read.
    fn tick(&mut self, tick: Tick) -> Vec<Event> {
        let mut said = if tick == Tick::Reload { self.reload() } else { Vec::new() };
        if let Some(certificates) = &mut self.certificates {
            if certificates.current.expiries() != self.expiries {
                self.expiries = certificates.current.expiries().to_vec();
                said.extend(self.expiries.iter().map(|expiry| Event::Certificate {
                    number: expiry.number,
                    file: expiry.certificate.display().to_string(),
                    expires_at: expiry.at,
                }));
            }
            certificates.offer(&self.links, ToWorker::Certificates);
        }
        if let Some(keyring) = &mut self.keyring {
            keyring.offer(&self.links, ToWorker::Keys);
        }
        self.credentials.offer(&self.links, ToWorker::Credentials);
        said
    }

    fn reload(&mut self) -> Vec<Event> {
        let mut said = Vec::new();
        if let Some(certificates) = &mut self.certificates {
            said.push(match certificates.current.reload(&self.files) {
                Ok(new) => {
                    certificates.replace(Arc::new(new));
                    Event::Reloaded { detail: format!("{} certificates", self.files.certificates.len()) }
                }
                Err(error) => {
                    Event::Warning { text: format!("TLS: {error}; what clients were shown before still counts") }
                }
            });
        }
        if let Some(keyring) = &mut self.keyring {
            said.push(match Keyring::load(self.keys.clone()) {
                Ok(new) => {
                    keyring.replace(Arc::new(new));
                    Event::Reloaded { detail: format!("{} DKIM keys", self.keys.len()) }
                }
                Err(error) => Event::Warning { text: format!("DKIM: {error}; the keys from before go on signing") },
            });
        }
        let count = self.credentials.current.len();
        if count > 0 {
            said.push(match settings::credentials(&self.config) {
                Ok(new) => {
                    self.credentials.replace(new);
                    Event::Reloaded { detail: format!("{count} credentials") }
                }
                Err(error) => {
                    Event::Warning { text: format!("credentials: {error}; what was read before still counts") }
                }
            });
        }
        said
    }
}

fn entropy<const SIZE: usize>() -> Result<[u8; SIZE], StartError> {
    let mut bytes = [0; SIZE];
    getrandom::fill(&mut bytes).map_err(StartError::Entropy)?;
    Ok(bytes)
}
