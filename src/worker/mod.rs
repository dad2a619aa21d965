//! The worker: one core, one queue pair, one log, and the loop that moves mail between them.
//!
//! A turn of the loop is a *breath*:
//!
//! ```text
//! rx burst ─► flows ─► sessions ─► commit ─► 250s ─► delivery ─► timers ─► tx burst
//! ```
//!
//! In: flow events, completions of the log, letters of other workers, requests of the control thread. Out: bytes,
//! records, letters, log lines. A worker never blocks, except to sleep when there is nothing to do, and nothing that it
//! owns is touched by another thread.

mod command;
mod exchange;
mod gauge;
mod home;
mod inbound;
mod mirror;
mod notice;
mod outbound;
mod parts;
mod signing;
#[cfg(test)]
mod tests;
mod view;

pub use exchange::{Exchange, Letter};
pub use inbound::Listener;
pub use mirror::{Errand, Kept, PairEquipment};
pub use parts::worker_of_log;
pub use signing::SigningEquipment;

use crate::control::{
    LogPulse, LogState, Pulse, Question, QueueCounts, Reply, SessionCounts, SpoolReport, Stages, ToWorker, WorkerEnd,
    WorkerStatus,
};
use crate::delivery::{Destinations, Orders, Queue, Retry, Routes, WorkResult};
use crate::env::disk::Disk;
use crate::env::{Clock, Instant, Wakeup};
use crate::event::Event;
use crate::flow::{FlowEvent, Transport};
use crate::limits::{IDLE_SPIN, LETTERS_PER_BREATH, SLEEP_MAX};
use crate::mirror::identity_of_log;
use crate::mirror::register::Node;
use crate::policy::{Policy, VerifyCache};
use crate::smtp::client::Credentials;
use crate::smtp::server::StorageRefusal;
use crate::spool::{self, Log, LogEvent, MessageId};
use crate::tcp::wheel::Wheel;
use crate::tls::{Client, Handshakes, Server};
use hdrhistogram::Histogram;
use home::{Attempt, Home};
use inbound::Inbound;
use mirror::{Mirror, Stations};
use outbound::Outbound;
use parts::{Logs, Parts};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

pub use crate::config::Poll;

/// What a worker is made of.
pub struct Equipment<T, D: Disk, C> {
    /// Tells the time; all workers share its origin.
    pub clock: C,
    /// Carries the flows.
    pub transport: T,
    /// The worker's own log, then those that it adopts, each with its number.
    pub logs: Vec<(u16, Log<D>)>,
    /// The rings to the other workers.
    pub exchange: Exchange,
    /// Readable when another worker has written.
    pub exchange_wakeup: Wakeup,
    /// The channels to the control thread.
    pub control: WorkerEnd,
    /// In the transport's order.
    pub listeners: Vec<Listener>,
    /// What clients are shown that want TLS, if there is something.
    pub tls: Option<Arc<Server>>,
    /// What connections to next hops are secured with; none: they are in the clear.
    pub client_tls: Option<Client>,
    /// What mail of our own clients is signed with, if there are keys.
    pub signing: Option<SigningEquipment>,
    /// Who we are to next hops.
    pub credentials: Arc<[Arc<Credentials>]>,
    /// Who may send what.
    pub policy: Arc<Policy>,
    /// What next hops said about recipients.
    pub checks: VerifyCache,
    /// Where mail goes.
    pub routes: Arc<Routes>,
    /// What an operator has said about some of the mail.
    pub orders: Arc<Orders>,
    /// When it is tried again.
    pub retry: Retry,
    /// The connections to where it goes.
    pub destinations: Destinations,
    /// The appliance's name, for notices.
    pub hostname: Box<str>,
    /// What to do when there is nothing to do.
    pub poll: Poll,
    /// Decides what is left to chance.
    pub seed: u64,
    /// Its part in a pair, if the box has a partner. All logs are replicas then, until the arbiter orders otherwise.
    pub pair: Option<PairEquipment<D>>,
}

/// One worker. See the module's documentation.
pub struct Worker<T, D: Disk, C> {
    clock: C,
    parts: Parts<T, D>,
    inbound: Inbound,
    outbound: Outbound,
    home: Home,
    mirror: Option<Box<Mirror<D>>>,
    requests: crossbeam::channel::Receiver<ToWorker>,
    wakeup: Wakeup,
    exchange_wakeup: Wakeup,
    poll: Poll,
    stopping: Option<Stopping>,
    /// Workers that have nothing left to do, this one counted.
    finished_count: u16,
    // Kept between breaths for their memory only.
    flow_events: Vec<FlowEvent>,
    log_polled: Vec<LogEvent>,
    log_events: Vec<(u16, LogEvent)>,
}

/// How far an orderly end is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stopping {
    /// Sessions finish what they have in hand, until then.
    Sessions { until: Instant },
    /// The logs write their last batches.
    Logs { until: Instant },
    /// The others finish, whose frames may still come to this worker's queue.
    Others { until: Instant },
    /// Nothing is left to do.
    Done,
}

impl<T: Transport, D: Disk, C: Clock> Worker<T, D, C> {
    /// Puts a worker together and schedules what its logs hold.
    pub fn new(equipment: Equipment<T, D, C>) -> Worker<T, D, C> {
        let now = equipment.clock.now();
        let queue = || {
            let queue = Queue::new(Arc::clone(&equipment.routes), equipment.retry, equipment.seed);
            queue.with_attempts(equipment.pair.is_some())
        };
        let queues = [queue(), queue()];
        let mut parts = Parts {
            transport: equipment.transport,
            logs: Logs::new(equipment.logs),
            exchange: equipment.exchange,
            reporter: equipment.control.reporter,
            policy: equipment.policy,
            routes: equipment.routes,
            orders: equipment.orders,
            checks: equipment.checks,
            timers: Wheel::default(),
            stages: Stages::new(),
            handshakes: Handshakes::default(),
            now,
            ends_until: None,
        };
        let mirror = equipment.pair.map(|pair| Box::new(Mirror::new(pair, &mut parts)));
        let mut inbound = Inbound::new(equipment.listeners, equipment.tls);
        if mirror.is_some() {
            inbound.watch_clients();
        }
        let mut home = Home::new(queues, equipment.retry, equipment.hostname, equipment.seed, equipment.signing);
        home.set_orders(&parts.orders);
        home.recover(&mut parts);
        Worker {
            clock: equipment.clock,
            parts,
            inbound,
            outbound: Outbound::new(equipment.destinations, equipment.client_tls, equipment.credentials),
            home,
            mirror,
            requests: equipment.control.requests,
            wakeup: equipment.control.wakeup,
            exchange_wakeup: equipment.exchange_wakeup,
            poll: equipment.poll,
            stopping: None,
            finished_count: 0,
            flow_events: Vec::new(),
            log_polled: Vec::new(),
            log_events: Vec::new(),
        }
    }

    /// What carries its flows.
    pub fn transport(&self) -> &T {
        &self.parts.transport
    }

    /// Whether a log that it leads or follows has this message.
    pub fn holds(&self, id: MessageId) -> bool {
        self.parts.logs.get(id).is_some_and(|log| log.message(id).is_some())
    }

    /// What it has in hand, in words.
    pub fn describe(&self) -> String {
        let logs: Vec<_> = self
            .parts
            .logs
            .iter()
            .map(|log| (log.status().state, log.idle(), log.status().segments_free, log.status().segments))
            .collect();
        format!(
            "now {:?}, deadlines {:?}, stopping {:?}, {} server and {} client sessions, {} held, exchange busy {}, logs {:?}; ",
            self.parts.now.mono,
            self.deadlines(),
            self.stopping,
            self.inbound.count(),
            self.outbound.count(),
            self.home.held_count(),
            self.parts.exchange.is_busy(),
            logs
        )
    }

    /// Whether it has been told to stop and has stopped.
    pub fn stopped(&self) -> bool {
        self.stopping == Some(Stopping::Done)
    }

    /// Works until it has stopped.
    pub fn run(mut self) {
        let mut busy_at = self.parts.now.mono;
        while !self.stopped() {
            if self.breath() {
                busy_at = self.parts.now.mono;
                continue;
            }
            match self.poll {
                Poll::Busy => std::hint::spin_loop(),
                Poll::Adaptive if self.parts.now.mono.since(busy_at) < IDLE_SPIN => std::hint::spin_loop(),
                Poll::Adaptive | Poll::Sleep => self.sleep(),
            }
        }
        self.finish();
    }

    /// Says its last words, once it has [`stopped`](Worker::stopped).
    pub fn finish(self) {
        self.parts.reporter.stopped();
    }

    /// One turn of the loop. Whether anything was done.
    pub fn breath(&mut self) -> bool {
        let before = self.parts.now.mono;
        self.parts.now = self.clock.now();
        self.parts.handshakes.begin_breath();
        let mut busy = self.take_requests();
        self.notice_pause(before);
        busy |= self.take_letters();
        busy |= self.take_flows();
        busy |= self.take_timers();
        busy |= self.commit();
        busy |= self.pump_mirror();
        busy |= self.outbound.end_held(&mut self.parts);
        busy |= self.home.tick(&mut self.parts);
        busy |= self.home.give_out(&mut self.parts);
        busy |= self.take_letters();
        busy |= self.outbound.act(&mut self.parts);
        busy |= self.take_letters();
        busy |= self.step_stop();
        self.parts.transport.flush(self.parts.now.mono);
        self.parts.exchange.send_frames(&mut self.parts.transport);
        self.parts.exchange.flush();
        self.parts.reporter.flush();
        busy
    }

    /// Whether the worker stood still since the breath `before`, and what follows from that: before any frame is looked at, and
    /// after what the control thread wanted earlier, which knew nothing of it.
    fn notice_pause(&mut self, before: Instant) {
        let now = self.parts.now.mono;
        // What it had to do when it was due is still to be done.
        let is_late =
            |mirror: &Mirror<D>| mirror.is_late(now, before) && mirror.is_late(now, self.next_deadline().max(before));
        if !self.mirror.as_deref().is_some_and(is_late) {
            return;
        }
        let Worker { mirror, parts, inbound, outbound, home, .. } = self;
        if let Some(mirror) = mirror {
            mirror.was_away(&mut Stations { parts, inbound, outbound, home });
        }
    }

    fn take_flows(&mut self) -> bool {
        let parts = &mut self.parts;
        self.flow_events.extend(parts.handshakes.turns().map(|flow| FlowEvent::Readable { flow }));
        parts.transport.poll(parts.now.mono, &mut self.flow_events);
        let busy = !self.flow_events.is_empty();
        for event in self.flow_events.drain(..) {
            match event {
                FlowEvent::Accepted { flow, listener, local, remote } => match &mut self.mirror {
                    Some(mirror) if listener == self.inbound.listeners_count() => {
                        mirror.accepted(parts, flow, local, remote.ip());
                    }
                    mirror => {
                        let identity = mirror.as_ref().map_or(Node::A, |mirror| mirror.identity_of(local.ip()));
                        self.inbound.accepted(parts, flow, (listener, identity), local, remote);
                        if mirror.as_ref().is_some_and(|mirror| mirror.drains(identity)) {
                            self.inbound.shut_down(parts, flow);
                        }
                    }
                },
                FlowEvent::Connected { flow } => {
                    if let Some(mirror) = self.mirror.as_mut().filter(|mirror| mirror.has(flow)) {
                        mirror.connected(parts, flow);
                    } else if let Some(connection) = self.outbound.connection_of(flow) {
                        self.outbound.connected(parts, connection);
                    } else {
                        // A stale client that connects anew from the same port, as we tell it that it is one.
                        parts.transport.abort(flow);
                    }
                }
                FlowEvent::Readable { flow } | FlowEvent::Writable { flow } => {
                    if let Some(mirror) = self.mirror.as_mut().filter(|mirror| mirror.has(flow)) {
                        mirror.readable(parts, flow);
                    } else if self.inbound.has(flow) {
                        self.inbound.pump(parts, flow);
                    } else if let Some(connection) = self.outbound.connection_of(flow) {
                        self.outbound.pump(parts, connection);
                    }
                }
                FlowEvent::Ended { flow, end } => {
                    if let Some(mirror) = self.mirror.as_mut().filter(|mirror| mirror.has(flow)) {
                        mirror.ended(parts, flow);
                    } else if self.inbound.has(flow) {
                        self.inbound.ended(parts, flow);
                    } else if let Some(connection) = self.outbound.connection_of(flow) {
                        self.outbound.ended(parts, connection, end);
                    }
                }
            }
        }
        busy
    }

    fn take_timers(&mut self) -> bool {
        let parts = &mut self.parts;
        let mut busy = false;
        while let Some(flow) = parts.timers.expired(parts.now.mono) {
            busy = true;
            if self.inbound.has(flow) {
                self.inbound.expired(parts, flow);
            } else if let Some(connection) = self.outbound.connection_of(flow) {
                self.outbound.expired(parts, connection);
            }
        }
        busy
    }

    /// Writes what sessions appended, and tells them what has become durable.
    fn commit(&mut self) -> bool {
        let parts = &mut self.parts;
        let now = parts.now;
        for (number, log) in parts.logs.iter_mut() {
            log.poll(now, &mut self.log_polled);
            self.log_events.extend(self.log_polled.drain(..).map(|event| (number, event)));
        }
        let busy = !self.log_events.is_empty();
        if busy {
            // What is measured ends when the log has answered, not when the breath began.
            parts.now = self.clock.now();
        }
        for (log, event) in self.log_events.drain(..) {
            match event {
                LogEvent::Durable { draft } => {
                    let sender = self.inbound.committed(parts, draft, Ok(()));
                    self.home.durable(parts, draft.id, sender);
                }
                LogEvent::Failed { draft } => {
                    self.inbound.committed(parts, draft, Err(StorageRefusal::Failed));
                    self.home.lost(parts, draft.id);
                }
                LogEvent::Room { draft } => self.inbound.room(parts, draft),
                LogEvent::Read { id } => {
                    self.outbound.read(parts, id);
                    self.home.read(parts, id);
                }
                LogEvent::Attempted { name } => self.home.attempted(parts, name, true),
                LogEvent::Signed { id } => self.home.signed(parts, id),
                LogEvent::Damaged { id } => self.home.damaged(parts, id),
                LogEvent::Broken { damage } => {
                    parts.reporter.event(Event::LogDamaged { log, damage: damage.to_string() });
                }
                LogEvent::Closed { error } => {
                    self.home.refuse_attempts(parts, log);
                    self.home.signing.give_up(log);
                    parts.reporter.event(Event::StorageFailed { log, error: error.to_string() });
                }
                LogEvent::Full { shortage } => {
                    parts.reporter.event(Event::QueueFull { log, reason: shortage.to_string() });
                }
                LogEvent::Space => parts.reporter.event(Event::QueueSpace { log }),
            }
        }
        busy
    }

    /// Goes on with what the pair asks for.
    fn pump_mirror(&mut self) -> bool {
        let Worker { mirror, parts, inbound, outbound, home, .. } = self;
        mirror.as_mut().is_some_and(|mirror| mirror.pump(&mut Stations { parts, inbound, outbound, home }))
    }

    fn take_letters(&mut self) -> bool {
        let mut busy = false;
        // Letters that come meanwhile are taken in the next breath, so that a breath ends.
        for _ in 0..LETTERS_PER_BREATH {
            let Some(letter) = self.parts.exchange.receive() else { break };
            busy = true;
            let parts = &mut self.parts;
            match letter {
                Letter::Frame { port, frame } => parts.transport.inject(parts.now.mono, port, &frame),
                Letter::Outgoing { port, frame } => parts.transport.carry(port, &frame),
                Letter::Work { from, work } => self.outbound.take(parts, from, work),
                Letter::Result(WorkResult::Deliver(result)) => self.home.finished(parts, result),
                Letter::Result(WorkResult::Verify { token, fate }) => self.inbound.verified(parts, token, &fate),
                Letter::ContentWanted { from, connection, id, offset } => {
                    self.home.content_wanted(parts, from, connection, id, offset);
                }
                Letter::Content { connection, offset, content } => {
                    self.outbound.content(parts, connection, offset, content);
                }
                Letter::ContentDone { from, connection } => self.home.content_done(parts, from, connection),
                Letter::Attempt { from, connection, number, id, recipients } => {
                    self.home.attempt(parts, Attempt { from, connection, number, log: id.log() }, id, &recipients);
                }
                Letter::Attempted { connection, number, recorded } => {
                    self.outbound.attempted(parts, connection, number, recorded);
                }
                Letter::Finished => self.finished_count += 1,
            }
        }
        busy
    }

    fn take_requests(&mut self) -> bool {
        let mut busy = false;
        while let Ok(request) = self.requests.try_recv() {
            busy = true;
            match request {
                ToWorker::Request { token, question } => {
                    let reply = match question {
                        Question::Status => Reply::Status(Box::new(self.status())),
                        Question::Queue(command) => Reply::Queue(self.home.command(&mut self.parts, command)),
                        Question::Destinations { from, hosts } => {
                            let Worker { home, outbound, parts, .. } = self;
                            Reply::Destinations(view::destinations(
                                home,
                                outbound,
                                &parts.routes,
                                parts.now,
                                from,
                                hosts,
                            ))
                        }
                        Question::Orders => Reply::Orders(self.home.ordered()),
                    };
                    self.parts.reporter.reply(token, reply);
                }
                ToWorker::Pulse => {
                    let pulse = self.pulse();
                    self.parts.reporter.pulse(pulse);
                }
                ToWorker::Policy(policy) => self.parts.policy = policy,
                ToWorker::Certificates(tls) => self.inbound.show(tls),
                ToWorker::Keys(keyring) => self.home.signing.take_keys(self.parts.now.mono, keyring),
                ToWorker::Credentials(credentials) => self.outbound.show(credentials),
                ToWorker::Pair { identity, wish } => {
                    let Worker { mirror, parts, inbound, outbound, home, .. } = self;
                    if let Some(mirror) = mirror {
                        mirror.wish(&mut Stations { parts, inbound, outbound, home }, identity, wish);
                    }
                }
                ToWorker::TellPartner(told) => {
                    self.mirror.iter_mut().for_each(|mirror| mirror.tell_partner(told.clone()));
                }
                ToWorker::Orders(orders) => {
                    let before = std::mem::replace(&mut self.parts.orders, orders);
                    self.home.set_orders(&self.parts.orders);
                    self.outbound.heed(&self.parts, &before);
                }
                ToWorker::Domains(domains) => self.home.resolved(&mut self.parts, &domains),
                ToWorker::Submit { number, message } => self.home.submit(&mut self.parts, number, &message),
                ToWorker::Stop { finish_within } => self.stop(finish_within),
            }
        }
        busy
    }

    fn stop(&mut self, finish_within: Duration) {
        if self.stopping.is_none() {
            let parts = &mut self.parts;
            self.stopping = Some(Stopping::Sessions { until: parts.now.mono + finish_within });
            parts.transport.stop_listening();
            self.inbound.shutdown(parts);
            self.outbound.destinations.drain(parts.now.mono);
            self.home.close(parts);
        }
    }

    /// Goes on with an orderly end. Whether it came a step further: what follows must not wait for something to happen.
    fn step_stop(&mut self) -> bool {
        let parts = &mut self.parts;
        let now = parts.now;
        match self.stopping {
            Some(Stopping::Sessions { until }) => {
                // Links to a partner stay open to the end.
                let links = self.mirror.as_ref().map_or(0, |mirror| mirror.links_count());
                let idle = self.inbound.count() == 0
                    // Last words are under way until they are acknowledged: a 250 that is lost is a message sent twice.
                    && parts.transport.counters().open <= links
                    && self.outbound.destinations.idle()
                    && self.home.held_count() == 0
                    // Others may be delivering our messages: what comes of it must still be written down.
                    && self.home.status().in_hand == 0
                    && !parts.exchange.is_busy();
                if !idle && now.mono < until {
                    return false;
                }
                self.inbound.abort(parts);
                self.outbound.abort(parts);
                for (_, log) in parts.logs.iter_mut() {
                    log.shutdown(now);
                }
                self.stopping = Some(Stopping::Logs { until });
            }
            // What waits for a partner that does not answer is found again in the log.
            Some(Stopping::Logs { until })
                if parts.logs.iter().all(Log::idle) || self.mirror.is_some() && until <= now.mono =>
            {
                let (worker, workers) = (parts.exchange.worker(), parts.exchange.workers());
                for to in (0..workers).filter(|to| *to != worker) {
                    parts.exchange.send(to, Letter::Finished);
                }
                self.finished_count += 1;
                self.stopping = Some(Stopping::Others { until });
            }
            Some(Stopping::Others { until })
                if until <= now.mono
                    || self.finished_count >= parts.exchange.workers() && !parts.exchange.has_outgoing() =>
            {
                self.stopping = Some(Stopping::Done);
            }
            _ => return false,
        }
        true
    }

    /// Whether something waits for the next breath, so that there is nothing to wait for.
    pub fn has_letters(&self) -> bool {
        self.parts.exchange.is_busy() || self.parts.handshakes.any_waits()
    }

    /// When [`breath`](Worker::breath) must be called even if nothing happens.
    pub fn next_deadline(&self) -> Instant {
        self.deadlines().into_iter().flatten().min().unwrap_or(Instant::FAR)
    }

    /// Those of each station.
    fn deadlines(&self) -> [Option<Instant>; 7] {
        let parts = &self.parts;
        let stop = match self.stopping {
            Some(Stopping::Sessions { until } | Stopping::Others { until }) => Some(until),
            Some(Stopping::Logs { until }) if self.mirror.is_some() => Some(until),
            _ => None,
        };
        [
            parts.transport.next_deadline(),
            parts.timers.next_deadline(),
            self.home.next_deadline(),
            self.outbound.next_deadline(),
            parts.logs.iter().filter_map(Log::next_deadline).min(),
            self.mirror.as_ref().and_then(|mirror| mirror.next_deadline()),
            stop,
        ]
    }

    /// Sleeps until something arrives or is due.
    fn sleep(&mut self) {
        if self.has_letters() {
            return;
        }
        let timeout = self.next_deadline().since(self.clock.now().mono).min(SLEEP_MAX);
        if timeout.is_zero() {
            return;
        }
        let Parts { transport, logs, .. } = &mut self.parts;
        let mut wakeups = vec![self.wakeup.as_fd(), self.exchange_wakeup.as_fd()];
        wakeups.extend(logs.iter().filter_map(Log::wakeup));
        transport.wait(timeout, &wakeups);
        // Only here, as a breath looks into the channels whether or not a bell has rung.
        self.wakeup.drain();
        self.exchange_wakeup.drain();
    }

    fn pulse(&self) -> Pulse {
        let parts = &self.parts;
        let logs = parts.logs.numbered().map(|(number, log)| {
            // What a replica has no room for is its owner's affair.
            let (state, error) =
                if log.is_replica() && !log.failed() { (LogState::Open, None) } else { state(log.state()) };
            let damages = log.damages();
            LogPulse {
                log: number,
                state,
                error,
                damaged: log.damaged().count() as u64,
                damages: damages.count,
                damage: damages.list.first().map(ToString::to_string),
            }
        });
        Pulse {
            worker: parts.exchange.worker(),
            logs: logs.collect(),
            keyless: self.home.signing.keyless_count(),
            events_lost: parts.reporter.events_lost(),
            refused: self.outbound.refused(),
        }
    }

    fn status(&self) -> WorkerStatus {
        let parts = &self.parts;
        let mut queue = QueueCounts::default();
        let mut spool = SpoolReport::default();
        let mut stages = parts.stages.clone();
        for (number, log) in parts.logs.numbered() {
            let status = log.status();
            spool.disk = status.disk;
            stages.commit.add(&status.commit_latency).ok();
            spool.damage.add(&status.damages);
            spool.segments_used += status.segments_used as u64;
            spool.segments_free += status.segments_free as u64;
            spool.batches += status.batches;
            spool.batch_bytes += status.batch_bytes;
            queue.memory_bytes += status.memory;
            if log.is_replica() {
                queue.copies += status.messages as u64;
                continue;
            }
            queue.messages += status.messages as u64;
            queue.size_bytes += status.bytes;
            queue.held += status.held as u64;
            queue.damaged += status.damaged as u64;
            // Of those that take mail the worst is told.
            if spool.state == LogState::Open && parts.logs.taking(identity_of_log(number)) == Some(number) {
                (spool.state, spool.error) = state(status.state);
            }
        }
        let scheduled = self.home.status();
        queue.scheduled = scheduled.scheduled as u64;
        queue.active = scheduled.in_hand as u64;
        WorkerStatus {
            worker: parts.exchange.worker(),
            transport: parts.transport.counters(),
            sessions: SessionCounts { server: self.inbound.count() as u64, client: self.outbound.count() as u64 },
            messages: self.home.counts,
            queue,
            spool,
            stages,
            events_lost: parts.reporter.events_lost(),
        }
    }
}

/// How a log is, for those who ask, and what is amiss.
fn state(state: spool::LogState) -> (LogState, Option<String>) {
    match state {
        spool::LogState::Open => (LogState::Open, None),
        spool::LogState::Full { shortage } => (LogState::Full, Some(shortage.to_string())),
        spool::LogState::Failed { error } => (LogState::Failed, Some(error.to_string())),
    }
}

/// Notes how long something took; what is longer than the histogram's range counts as its longest.
fn record(histogram: &mut Histogram<u64>, duration: Duration) {
    histogram.saturating_record(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX));
}
