//! Runs the generator's or the sink's workers on a transport that the command line names.
//!
//! In: arguments, and who is to run on each worker. Out: those who ran, when all have come to an end. Transports are opened
//! as for an appliance, by the same code.

use super::run::{StartError, environment, stacks};
use super::transport::{Lanes, Opened, open};
use crate::config::{self, Config, Role, Transport};
use crate::env::{Clock, Instant, SystemClock, Wakeup, say, take_core};
use crate::flow;
use crate::load::{Driver, Idle, Party, drive};
use crate::worker::Exchange;
use clap::Args;
use ipnet::IpNet;
use std::net::{IpAddr, SocketAddr};
use std::panic::resume_unwind;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};

/// How often progress is shown.
const TICK: Duration = Duration::from_millis(100);

/// Connections of one run, closed ones included that linger: more than ports and addresses give.
const CONNECTIONS_MAX: usize = 4_000_000;

/// How bytes come and go.
#[derive(Clone, Debug, Args)]
pub struct TransportArgs {
    /// "kernel" for the operating system's sockets, "af_xdp" or "dpdk" for the queues of a network card.
    #[arg(long, value_name = "NAME", default_value = "kernel", value_parser = transport)]
    pub transport: Transport,
    /// The interface whose queues are used; on "dpdk" a PCI address, or a virtual device such as "net_memif0,role=client".
    #[arg(long, value_name = "NAME")]
    pub device: Option<String>,
    /// Which of its queues, such as 0,1; all if nothing is said. Each has a worker of its own.
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    pub queues: Vec<u32>,
    /// On "dpdk", do without hugepages: enough for virtual devices.
    #[arg(long)]
    pub no_hugepages: bool,
    /// The VLAN of our frames; 0 is untagged.
    #[arg(long, value_name = "ID", default_value_t = 0)]
    pub vlan: u16,
    /// On "dpdk", the largest IP packet, bytes, such as 9000; that of the device if nothing is said.
    #[arg(long, value_name = "BYTES")]
    pub mtu: Option<u16>,
    /// An address of our own, such as 192.0.2.10/24. On "kernel" it must be the box's, and none lets the kernel choose;
    /// otherwise it must not be. Several are used in turn.
    #[arg(long, value_name = "ADDRESS", value_parser = address)]
    pub address: Vec<IpNet>,
    /// The router to other networks (not for "kernel").
    #[arg(long, value_name = "ADDRESS")]
    pub gateway: Option<IpAddr>,
    /// The cores of the workers, such as 2,3; one worker that is not pinned if nothing is said. On "kernel" as many workers
    /// as cores.
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    pub cores: Vec<usize>,
}

fn transport(text: &str) -> Result<Transport, String> {
    let all = [Transport::AfXdp, Transport::Dpdk, Transport::Kernel];
    let known = || all.map(Transport::name).join(", ");
    all.into_iter().find(|transport| transport.name() == text).ok_or_else(|| format!("the transports are {}", known()))
}

fn address(text: &str) -> Result<IpNet, String> {
    let host = text.parse::<IpAddr>().map(IpNet::from);
    host.or_else(|_| text.parse()).map_err(|_| "is no address, such as 192.0.2.10/24".to_owned())
}

impl TransportArgs {
    /// The configuration of an appliance that would have this transport, and would listen there.
    pub(super) fn config(&self, hostname: &str, listeners: &[SocketAddr]) -> Config {
        let mut config = Config::bare(self.transport, hostname);
        config.workers.cores.clone_from(&self.cores);
        config.dpdk.hugepages = !self.no_hugepages;
        config.ports = (self.device.iter())
            .map(|device| config::Port {
                queues: match &self.queues[..] {
                    [] => config::Queues::Auto,
                    list => config::Queues::List(list.to_vec()),
                },
                vlan: self.vlan,
                mtu: self.mtu,
                ..config::Port::of(device)
            })
            .collect();
        config.addresses = (self.address.iter())
            .map(|ip| config::Address {
                ip: *ip,
                gateway: self.gateway.filter(|gateway| gateway.is_ipv4() == ip.addr().is_ipv4()),
                ehlo_name: None,
                identity: None,
            })
            .collect();
        config.listeners = (listeners.iter()).map(|address| config::Listener::at(*address, Role::Relay)).collect();
        let limits = &mut config.limits;
        (limits.connections, limits.connections_per_client, limits.half_open) =
            (CONNECTIONS_MAX, CONNECTIONS_MAX, CONNECTIONS_MAX);
        config
    }
}

/// Runs a party on each worker until all are over or a signal comes, and says how the transport was opened. `make` is asked
/// for the party of a worker, with the number of workers and the time; `tick` shows progress.
pub(super) fn run<P: Party + Send, E: From<StartError> + Send>(
    config: &Config,
    make: impl Fn(usize, usize, Instant) -> Result<P, E> + Sync,
    tick: impl FnMut(&str),
) -> Result<(Vec<P>, String), E> {
    environment(config)?;
    let clock = SystemClock::new();
    let Opened { lanes, attachment, detail, warnings, .. } = open(config, &clock).map_err(StartError::from)?;
    for warning in warnings {
        say(format_args!("rohrpost: {warning}"));
    }
    let now = clock.now().mono;
    let parties = match lanes {
        Lanes::Kernel(sockets) => drive_all(config, clock, sockets, make, tick, &detail),
        Lanes::AfXdp(ports) => drive_all(config, clock, stacks(config, ports, now)?, make, tick, &detail),
        #[cfg(feature = "dpdk")]
        Lanes::Dpdk(ports) => drive_all(config, clock, stacks(config, ports, now)?, make, tick, &detail),
    };
    drop(attachment);
    Ok((parties?, detail))
}

fn drive_all<T: flow::Transport + Send, P: Party + Send, E: From<StartError> + Send>(
    config: &Config,
    clock: SystemClock,
    transports: Vec<T>,
    make: impl Fn(usize, usize, Instant) -> Result<P, E> + Sync,
    tick: impl FnMut(&str),
    detail: &str,
) -> Result<Vec<P>, E> {
    let workers = transports.len();
    let wakeups: Result<Vec<Wakeup>, _> = (0..workers).map(|_| Wakeup::new()).collect();
    let wakeups = wakeups.map_err(StartError::from)?;
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let (make, stop) = (&make, &stop);
        let parts = transports.into_iter().zip(Exchange::connect(&wakeups)).zip(&wakeups);
        let threads: Vec<_> = parts
            .map(|((transport, exchange), wakeup)| {
                scope.spawn(move || {
                    let worker = usize::from(exchange.worker());
                    let core = config.workers.cores.get(worker).copied();
                    core.into_iter().for_each(take_core);
                    let mut driver = Driver::new(transport, make(worker, workers, clock.now().mono)?);
                    let idle = match (config.transport, core) {
                        (Transport::Dpdk, _) => Idle::Look,
                        (_, Some(_)) => Idle::Stay,
                        (_, None) => Idle::Yield,
                    };
                    drive(&mut driver, &clock, exchange, wakeup, idle, stop);
                    Ok(driver.party)
                })
            })
            .collect();
        let watched = watch(stop, || threads.iter().all(|thread| thread.is_finished()), tick, detail);
        if watched.is_err() {
            stop.store(true, Ordering::Relaxed);
        }
        let parties = threads.into_iter().map(|thread| thread.join().unwrap_or_else(|panic| resume_unwind(panic)));
        let parties = parties.collect::<Result<Vec<P>, E>>();
        watched.map_err(StartError::from)?;
        parties
    })
}

/// Shows progress until all have finished. The first signal lets them finish, the second one does not.
fn watch(
    stop: &AtomicBool,
    finished: impl Fn() -> bool,
    mut tick: impl FnMut(&str),
    detail: &str,
) -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        while !finished() {
            tick(detail);
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
                () = tokio::time::sleep(TICK) => continue,
            }
            if stop.swap(true, Ordering::Relaxed) {
                std::process::exit(1);
            }
        }
        Ok(())
    })
}
