//! The control thread's loop: the adapters around the switchboard.

use super::admin::{self, AdminSocket, Asked};
use super::alert::{Hooks, Pager};
use super::http::{self, HttpSocket};
use super::links::{FromWorker, FromWorkers, WorkerLink};
use super::log::{EventFiles, Log};
use super::names::{self, DnsSettings, Names};
use super::orders::OrderBoard;
use super::pair::{Desk, News, PairSettings};
use super::protocol::{Answer, ReportsCommand, Request};
use super::reports::{self, ReportSettings, Reports};
use super::status::About;
use super::switchboard::Switchboard;
use crate::env::{Clock, Instant, SystemClock, Wakeup};
use crate::event::Event;
use crate::limits::{ADMIN_CLIENTS_MAX, LINK_WATCH_INTERVAL, STOP_GRACE};
use crossbeam::channel::TryRecvError;
use std::fmt;
use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;
use tokio::net::UnixStream;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::time::{MissedTickBehavior, interval, sleep};

/// What the control thread is to do.
pub struct Settings {
    /// Open already, so that a second process ends before it touches anything.
    pub admin: AdminSocket,
    /// Where load balancers ask, if they do; open already, too.
    pub http: Option<HttpSocket>,
    /// Where events are kept, if in files.
    pub events: Option<EventFiles>,
    /// How engineers are told what is wrong.
    pub hooks: Hooks,
    /// How domains are looked up, if any route needs it.
    pub dns: Option<DnsSettings>,
    /// Who reports on TLS, if reports are made; not without `dns`.
    pub reports: Option<ReportSettings>,
    /// What an operator has said about some of the mail.
    pub orders: OrderBoard,
    /// What a box with a partner needs besides.
    pub pair: Option<PairSettings>,
    /// How long workers may finish what is in hand after a stop.
    pub shutdown_max: Duration,
    /// SIGTERM and SIGINT stop, SIGHUP reloads. Signals belong to the process: only its main function says yes.
    pub signals: bool,
    /// Stops as SIGTERM does.
    pub stop: Stopper,
    /// For `status`.
    pub about: About,
}

/// Stops the control thread, and with it the workers, from anywhere. Clones stop the same.
#[derive(Clone, Debug)]
pub struct Stopper(Wakeup);

impl Stopper {
    /// For one run.
    pub fn new() -> io::Result<Stopper> {
        Wakeup::new().map(Stopper)
    }

    /// As SIGTERM does. A second time counts no more than once.
    pub fn stop(&self) {
        self.0.notify();
    }
}

/// Why the glue is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tick {
    /// A second has passed.
    Second,
    /// It is time to look at the link of the port.
    Link,
    /// An operator asks to reload (SIGHUP).
    Reload,
}

/// Why the process ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExitReason {
    /// All workers stopped as they were asked to.
    Stopped,
    /// These did not stop in time. What they had acknowledged is safe, as after any kill.
    Hung {
        /// The workers.
        workers: Vec<u16>,
    },
    /// A second signal: somebody would not wait.
    Impatient,
    /// A worker failed; the others were stopped.
    WorkerFailed {
        /// The worker.
        worker: u16,
        /// Why.
        text: String,
    },
    /// The control thread could not do its own work.
    Failed {
        /// Why.
        text: String,
    },
}

impl ExitReason {
    /// What the process returns.
    pub fn code(&self) -> ExitCode {
        if *self == ExitReason::Stopped { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}

impl fmt::Display for ExitReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ExitReason::Stopped => f.write_str("all work in hand was finished"),
            ExitReason::Hung { workers } => write!(f, "workers {workers:?} did not stop in time"),
            ExitReason::Impatient => f.write_str("a second signal came before the work in hand was finished"),
            ExitReason::WorkerFailed { worker, text } => write!(f, "worker {worker} failed: {text}"),
            ExitReason::Failed { text } => f.write_str(text),
        }
    }
}

/// Runs until all workers have stopped: log lines to standard output, answers on the admin socket, signals. Calls
/// `on_tick` for each [`Tick`], and logs what it found; what it does delays answers and log lines, but no worker.
pub fn run(
    settings: Settings,
    workers: Vec<WorkerLink>,
    from: FromWorkers,
    on_tick: impl FnMut(Tick) -> Vec<Event>,
) -> ExitReason {
    run_with_log(settings, workers, from, on_tick, Box::new(io::stdout()))
}

/// [`run`] with the log lines going elsewhere.
pub fn run_with_log(
    mut settings: Settings,
    workers: Vec<WorkerLink>,
    from: FromWorkers,
    on_tick: impl FnMut(Tick) -> Vec<Event>,
    log: Box<dyn Write + Send>,
) -> ExitReason {
    let clock = SystemClock::new();
    let mut log = match Log::start(log, settings.events.take()) {
        Ok(log) => log,
        Err(error) => return ExitReason::Failed { text: format!("cannot start the log's thread: {error}") },
    };
    let reason = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => {
            let orders = std::mem::take(&mut settings.orders);
            let switchboard =
                Switchboard::new(settings.about.clone(), workers.clone()).with_orders(orders, clock.now());
            let (pair, dns, reports) = (settings.pair.take(), settings.dns.take(), settings.reports.take());
            let reason = runtime.block_on(async {
                let names = dns.map(|dns| Names::new(dns, workers.clone(), clock.now()));
                let reports = reports.zip(names.as_ref());
                let reports =
                    reports.map(|(reports, names)| Reports::new(reports, names, workers.clone(), clock.now()));
                let desk = pair.map(|pair| Desk::new(pair, workers, clock.now().mono));
                serve(&settings, switchboard, (desk, names, reports), &from, on_tick, &mut log).await
            });
            // A name of a webhook that is being looked up must not hold us up.
            runtime.shutdown_background();
            reason
        }
        Err(error) => ExitReason::Failed { text: format!("cannot start the control thread: {error}") },
    };
    let wall = clock.now().wall;
    log.tell_lost(wall);
    log.event(&Event::Stopped { reason: reason.to_string() }, wall);
    log.close();
    reason
}

/// How often a full channel is asked again for room for what a worker has to hear.
const SEND_RETRY: Duration = Duration::from_millis(20);

/// How long workers' messages are let gather before they are taken: what is not seen at ten of these is not missed.
const EVENTS_PAUSE: Duration = Duration::from_millis(5);

/// Messages from workers that are taken in one turn: a few milliseconds' worth.
const MESSAGES_BURST_MAX: usize = 4096;

/// Turns until there is a reason to end, and lets engineers hear of it.
async fn serve(
    settings: &Settings,
    switchboard: Switchboard,
    (desk, mut names, mut reports): (Option<Desk>, Option<Names>, Option<Reports>),
    from: &FromWorkers,
    on_tick: impl FnMut(Tick) -> Vec<Event>,
    log: &mut Log,
) -> ExitReason {
    let clock = SystemClock::new();
    let mut pager = Pager::new(&settings.about.hostname, &settings.hooks, clock.now());
    let desks = (desk, &mut names, &mut reports);
    let reason = turn(settings, switchboard, desks, &mut pager, from, on_tick, log).await;
    if let Some(reports) = &mut reports {
        reports.close().await;
    }
    if let Some(names) = &mut names {
        names.close(clock.now()).await;
    }
    if !matches!(reason, Ok(ExitReason::Impatient)) {
        pager.close(&clock, log).await;
    }
    reason.unwrap_or_else(|error| ExitReason::Failed { text: format!("the control thread failed: {error}") })
}

async fn turn(
    settings: &Settings,
    mut switchboard: Switchboard,
    (mut desk, names, reports): (Option<Desk>, &mut Option<Names>, &mut Option<Reports>),
    pager: &mut Pager,
    from: &FromWorkers,
    mut on_tick: impl FnMut(Tick) -> Vec<Event>,
    log: &mut Log,
) -> io::Result<ExitReason> {
    let clock = SystemClock::new();
    let mut signals = if settings.signals { Some(Signals::new()?) } else { None };
    let bell = Bell::new(&from.wakeup)?;
    let stop = Bell::new(&settings.stop.0)?;
    let (asked, mut requests) = mpsc::channel::<Asked>(ADMIN_CLIENTS_MAX);
    tokio::spawn(admin::serve(settings.admin.listener()?, asked));
    let (health, asking) = watch::channel(switchboard.health().report());
    if let Some(socket) = &settings.http {
        tokio::spawn(http::serve(socket.listener()?, asking));
    }
    switchboard.feel_pulses(clock.now(), log.lost());
    let mut seconds = interval(Duration::from_secs(1));
    seconds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // The first tick of an interval comes at once, and nothing has changed since the start.
    seconds.tick().await;
    let mut looks = interval(LINK_WATCH_INTERVAL);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    desk.iter_mut().for_each(|desk| desk.port(settings.about.link, clock.now().mono));
    // Until when identities may be on their way to the partner, before workers are told to stop.
    let mut leave_until: Option<Instant> = None;
    let mut give_up_at: Option<Instant> = None;
    let mut signal_count = 0;

    loop {
        let now = clock.now();
        let pair_at = desk.as_ref().map(|desk| desk.next_deadline(now.mono)).filter(|at| *at < Instant::FAR);
        let names_at = names.as_ref().and_then(|names| names.next_deadline(now.mono));
        let reports_at = reports.as_ref().and_then(Reports::next_deadline);
        let deadlines = [switchboard.next_deadline(), give_up_at, leave_until, pair_at, names_at, reports_at];
        let mut deadline = deadlines.into_iter().flatten().min();
        if switchboard.stop_unsent() || switchboard.orders_unsent() {
            deadline = Some(deadline.unwrap_or(Instant::FAR).min(now.mono + SEND_RETRY));
        }
        let mut stop_wanted = false;
        let mut found = Vec::new();
        tokio::select! {
            rung = bell.rung_for(EVENTS_PAUSE) => rung?,
            rung = stop.rung() => {
                rung?;
                stop_wanted = true;
            }
            signal = next_signal(&mut signals) => match signal {
                Asking::Reload => found = on_tick(Tick::Reload),
                Asking::Stop => {
                    signal_count += 1;
                    if signal_count > 1 {
                        return Ok(ExitReason::Impatient);
                    }
                    stop_wanted = true;
                }
            },
            Some(Asked { request, answer }) = requests.recv() => match (request, &mut desk) {
                (Request::Pair(command), Some(desk)) => {
                    // The client may have hung up.
                    let _ = answer.send(vec![desk.command(command, clock.now().mono)]);
                }
                (Request::Domain { domain }, _) if names.is_some() => {
                    if let Some(names) = names {
                        names.show(domain, answer, clock.now().mono);
                    }
                }
                (Request::Reports(command), _) if reports.is_some() => {
                    if let Some(reports) = reports {
                        if command == ReportsCommand::Send {
                            reports.send_now(clock.now());
                        }
                        let _ = answer.send(vec![Answer::Reports { reports: Box::new(reports.status()) }]);
                    }
                }
                (request, _) => switchboard.ask(request, answer, clock.now(), log.lost()),
            },
            news = news(&mut desk) => {
                if let Some(desk) = &mut desk {
                    desk.tell(news, clock.now().mono);
                }
            }
            news = names::news(names) => {
                if let Some(names) = names {
                    names.tell(news, clock.now().mono);
                }
            }
            news = reports::news(reports) => {
                if let Some(reports) = reports {
                    reports.tell(news, clock.now());
                }
            }
            outcome = pager.outcome() => pager.done(outcome, clock.now(), log),
            _ = looks.tick() => found = on_tick(Tick::Link),
            _ = seconds.tick() => {
                found = on_tick(Tick::Second);
                let now = clock.now();
                log.tell_lost(now.wall);
                switchboard.feel_pulses(now, log.lost());
            }
            () = sleep(deadline.map_or(Duration::MAX, |deadline| deadline.since(now.mono))), if deadline.is_some() => {}
        }

        let now = clock.now();
        for event in found {
            if let (Event::Link(link), Some(desk)) = (&event, &mut desk) {
                desk.port(Some(*link), now.mono);
            }
            switchboard.note(&event, now);
            log.event(&event, now.wall);
        }
        let (mut gone, mut told) = (false, Vec::new());
        for place in 0.. {
            if place == MESSAGES_BURST_MAX {
                // The rest has its turn after the admin clients and the signals.
                from.wakeup.notify();
                break;
            }
            match from.receiver.try_recv() {
                Ok(FromWorker::Pair(report)) => {
                    if let Some(desk) = &mut desk {
                        desk.report(report, now.mono);
                    }
                }
                Ok(FromWorker::PartnerTold(bytes)) => told.push(bytes),
                Ok(FromWorker::Domain { worker, domain }) => {
                    if let Some(names) = names {
                        names.ask(worker, &domain, now.mono);
                    }
                }
                Ok(FromWorker::Tls { session, lost }) => {
                    if let Some(reports) = reports {
                        reports.note(&session, lost, now);
                    }
                }
                Ok(FromWorker::Submitted { number, id }) => {
                    if let Some(reports) = reports {
                        reports.submitted(number, id, now);
                    }
                }
                Ok(message) => {
                    if let Some(event) = switchboard.take(message, now, log.lost()) {
                        log.event(&event, now.wall);
                    }
                }
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => {
                    gone = true;
                    break;
                }
            }
        }
        if stop_wanted && leave_until.is_none() && !switchboard.stopping() {
            leave_until = Some(now.mono + settings.shutdown_max);
            desk.iter_mut().for_each(|desk| desk.leave(now.mono));
        }
        if let Some(names) = names {
            for event in names.turn(now) {
                log.event(&event, now.wall);
            }
        }
        if let Some(reports) = reports {
            for event in reports.turn(now) {
                log.event(&event, now.wall);
            }
        }
        if !told.is_empty() {
            switchboard.hear_orders(&told, now);
        }
        if let Some(desk) = &mut desk {
            desk.exchange_orders(switchboard.orders(), now.mono);
            for event in desk.turn(now.mono) {
                switchboard.note(&event, now);
                log.event(&event, now.wall);
            }
            switchboard.note_pair(desk.status(), now);
        }
        // What the partner takes over first need not come to an end here.
        let left = leave_until.is_some_and(|until| until <= now.mono || !desk.as_ref().is_some_and(Desk::is_leaving));
        if (left || switchboard.failure().is_some()) && !switchboard.stopping() {
            leave_until = None;
            switchboard.stop(settings.shutdown_max);
            give_up_at = Some(now.mono + settings.shutdown_max + STOP_GRACE);
        }
        switchboard.expire(now, log.lost());
        switchboard.news().iter().for_each(|event| log.event(event, now.wall));
        pager.turn(switchboard.health(), now, log);
        switchboard.note_alerts(pager.counts());
        log.flush();
        let report = switchboard.health().report();
        health.send_if_modified(|told| {
            let changed = *told != report;
            *told = report;
            changed
        });

        let running = switchboard.running();
        if running.is_empty() || gone || give_up_at.is_some_and(|limit| limit <= now.mono) {
            return Ok(match switchboard.failure() {
                Some((worker, text)) => ExitReason::WorkerFailed { worker, text: text.into() },
                None if running.is_empty() => ExitReason::Stopped,
                None => ExitReason::Hung { workers: running },
            });
        }
    }
}

/// What a box with a partner has to be told.
async fn news(desk: &mut Option<Desk>) -> News {
    match desk {
        Some(desk) => desk.news().await,
        None => std::future::pending().await,
    }
}

/// A wakeup among tokio's sources.
struct Bell {
    wakeup: Wakeup,
    stream: UnixStream,
}

impl Bell {
    fn new(wakeup: &Wakeup) -> io::Result<Bell> {
        Ok(Bell { wakeup: wakeup.clone(), stream: UnixStream::from_std(wakeup.watch()?)? })
    }

    /// Waits until it rings, and silences it.
    async fn rung(&self) -> io::Result<()> {
        self.rung_for(Duration::ZERO).await
    }

    /// The same; it keeps ringing for a while, so that a busy worker neither rings anew nor wakes us in every breath.
    async fn rung_for(&self, pause: Duration) -> io::Result<()> {
        self.stream.readable().await?;
        if !pause.is_zero() {
            sleep(pause).await;
        }
        // Tokio believes it to be readable until a read of its own finds nothing.
        while self.stream.try_read(&mut [0; 64]).is_ok_and(|count| count > 0) {}
        self.wakeup.drain();
        Ok(())
    }
}

enum Asking {
    Stop,
    Reload,
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    fn new() -> io::Result<Signals> {
        Ok(Signals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }
}

async fn next_signal(signals: &mut Option<Signals>) -> Asking {
    match signals {
        None => std::future::pending().await,
        Some(signals) => tokio::select! {
            _ = signals.terminate.recv() => Asking::Stop,
            _ = signals.interrupt.recv() => Asking::Stop,
            _ = signals.hangup.recv() => Asking::Reload,
        },
    }
}
