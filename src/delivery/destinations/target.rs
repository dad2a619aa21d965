//! One destination and its connections, as its owner keeps them.

use super::backlog::Backlog;
use super::host::{Host, OwnAddress};
use super::window::Window;
use super::{ConnectionId, Settings};
use crate::delivery::rate::Tally;
use crate::delivery::turns::{Class, Place};
use crate::delivery::{Answer, DestinationId, Fate, JobResult, Standstill, Work, WorkResult};
use crate::env::Instant;
use crate::limits::PREFERRED_LOOKS;
use crate::spool::MessageId;
use std::collections::VecDeque;
use std::sync::Arc;

/// Work that waits for a connection.
#[derive(Debug)]
pub(super) struct Waiting {
    pub worker: u16,
    pub work: Work,
    /// When it came.
    pub since: Instant,
}

/// What is kept of work while a session has it: enough to answer for every recipient.
#[derive(Debug)]
pub(super) enum InHand {
    Deliver { worker: u16, id: MessageId, destination: DestinationId, recipients: Vec<u32> },
    Verify { worker: u16, token: u64 },
}

impl InHand {
    pub fn of(worker: u16, work: &Work) -> InHand {
        match work {
            Work::Deliver(job) => InHand::Deliver {
                worker,
                id: job.id,
                destination: job.destination,
                recipients: job.recipients.iter().map(|recipient| recipient.index).collect(),
            },
            Work::Verify { token, .. } => InHand::Verify { worker, token: *token },
        }
    }

    /// The result if everything in hand meets the same fate.
    pub fn all(self, fate: &Fate) -> (u16, WorkResult) {
        match self {
            InHand::Deliver { worker, id, destination, recipients } => {
                let fates = recipients.into_iter().map(|index| (index, fate.clone())).collect();
                (
                    worker,
                    WorkResult::Deliver(JobResult { id, destination, fates, dsn_offered: false, standstill: None }),
                )
            }
            InHand::Verify { worker, token } => (worker, WorkResult::Verify { token, fate: fate.clone() }),
        }
    }
}

/// Where a connection is.
#[derive(Debug)]
pub(super) enum State {
    /// TCP has not answered yet.
    Connecting,
    /// Connected, not greeted yet: the session's timeouts count.
    Greeting,
    /// Greeted, without work.
    Idle,
    /// A session has work in hand.
    Busy(InHand),
    /// It takes no more work: QUIT was asked for, or the session is closing.
    Ending,
}

/// One connection.
#[derive(Debug)]
pub(super) struct Connection {
    pub generation: u32,
    pub destination: usize,
    pub host: usize,
    /// The own address that it leaves from.
    pub own: usize,
    pub state: State,
    /// Finished transactions.
    pub transactions: u32,
    /// When something must happen to it; it stands in the timers under this time.
    pub deadline: Option<Instant>,
    /// The domain whose mail the last message was, or went as, if the DNS has named the host.
    pub served: Option<Arc<str>>,
    /// It ends with what it is at, as an operator has said.
    pub is_last: bool,
}

/// One destination.
#[derive(Debug)]
pub(super) struct Target {
    /// Sorted by preference.
    pub hosts: Vec<Host>,
    /// Questions go first: a client waits at RCPT.
    pub verifying: VecDeque<Waiting>,
    pub waiting: Backlog,
    /// The last one is used first, so that those in excess time out.
    pub idle: Vec<ConnectionId>,
    pub opening: u32,
    pub busy: u32,
    pub ending: u32,
    /// Of each own address, by its place, how many of those that take work, or will, leave from it. As long as needed.
    pub from_own: Vec<u32>,
    /// Whose limits hold for it.
    pub group: usize,
    /// The pool that it leaves from, for the log.
    pub pool: Option<Arc<str>>,
    /// What it was denied by these limits since it had something of them.
    pub lack: Lack,
    /// The turn at which it had something of them last.
    pub turn: u64,
    /// When it let another one of the group go first.
    pub gave_way_at: Option<Instant>,
    /// What the receiver bears.
    pub window: Window,
    /// Messages that were delivered.
    pub delivered: Tally,
    /// What is answered at once, without a connection.
    pub fate: Option<Fate>,
    /// No further connection is opened before this, as one was refused while others were served.
    pub hold_until: Instant,
    /// Connections in a row that we had no means to open.
    pub shortages: u32,
    /// Why a connection failed last, since the start.
    pub last_failure: Option<Answer>,
    /// It takes nothing before this, as its receiver has asked for it, and why.
    pub suspended: Option<(Instant, Answer)>,
    /// It failed for the first that waits, which has not been told.
    pub untold: bool,
    /// When a timer sees to what has waited for too long.
    pub watched_at: Option<Instant>,
    /// It stands in the ring of destinations that something may be done for.
    pub dirty: bool,
    /// Its place in the ring of destinations that lack a connection because the limit of all is reached, if there.
    pub starved: Option<Place>,
    /// It is an MX set.
    pub is_set: bool,
}

/// What a destination would take, but for what others of its group have of the limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lack {
    Nothing,
    /// A message or a connection, when its time has come.
    Turn,
    /// A connection, when one has ended.
    Connection,
}

impl Target {
    /// Nothing waits. The limits of `group` hold for it, which has told the hosts so.
    pub fn new(hosts: Vec<Host>, group: usize, pool: Option<Arc<str>>, fate: Option<Fate>) -> Target {
        Target {
            hosts,
            fate,
            delivered: Tally::default(),
            group,
            pool,
            from_own: Vec::new(),
            lack: Lack::Nothing,
            turn: 0,
            gave_way_at: None,
            verifying: VecDeque::new(),
            waiting: Backlog::default(),
            idle: Vec::new(),
            opening: 0,
            busy: 0,
            ending: 0,
            window: Window::new(),
            hold_until: Instant::ZERO,
            shortages: 0,
            last_failure: None,
            suspended: None,
            untold: false,
            watched_at: None,
            dirty: false,
            starved: None,
            is_set: false,
        }
    }

    /// Takes other hosts; those that were there keep what is known of them, and those that are no more stay while connections lead to
    /// them, as `in_use` says of each. Where those that stay are now.
    pub fn renew_hosts(&mut self, fresh: Vec<Host>, in_use: impl Fn(usize) -> bool) -> Vec<usize> {
        let before = std::mem::replace(&mut self.hosts, fresh);
        let fresh_count = self.hosts.len();
        let mut moved = Vec::with_capacity(before.len());
        for (place, mut host) in before.into_iter().enumerate() {
            let same = |other: &Host| other.remote == host.remote && other.name == host.name;
            match self.hosts[..fresh_count].iter().position(same) {
                Some(now) => {
                    self.hosts[now].inherit(&host);
                    moved.push(now);
                }
                None => {
                    moved.push(self.hosts.len());
                    if in_use(place) {
                        host.is_retired = true;
                        self.hosts.push(host);
                    }
                }
            }
        }
        moved
    }

    /// Whether it can be forgotten.
    pub fn is_unused(&self, now: Instant) -> bool {
        let busy = self.backlog() > 0 || self.connections() > 0 || self.dirty || self.starved.is_some();
        !busy && self.hold_until <= now && self.suspended(now).is_none()
    }

    /// Until when it takes nothing, and why, if its receiver has asked for that.
    pub fn suspended(&self, now: Instant) -> Option<&(Instant, Answer)> {
        self.suspended.as_ref().filter(|(until, _)| *until > now)
    }

    /// Whether a host may have no more work on the connections that it has.
    pub fn is_spared(&self, now: Instant, host: usize) -> bool {
        self.hosts[host].spared_until > now || self.suspended(now).is_some()
    }

    pub fn backlog(&self) -> usize {
        self.verifying.len() + self.waiting.len()
    }

    /// Whether more work may wait here, where so much may.
    pub fn has_room(&self, work: &Work, max: usize) -> bool {
        let mut counts = self.waiting.counts();
        counts.add_all(Class::Urgent, self.verifying.len());
        counts.has_room(work.class(), max)
    }

    /// The most urgent class that waits.
    pub fn class(&self) -> Option<Class> {
        let question = self.verifying.front().map(|waiting| waiting.work.class());
        question.or_else(|| self.waiting.class())
    }

    /// What is next.
    pub fn first(&self) -> Option<&Work> {
        self.verifying.front().or(self.waiting.front()).map(|waiting| &waiting.work)
    }

    /// What suits a connection that leaves from an own address: a question, or the first of what is at the front that prefers it, by
    /// its place among the deliveries of the class that is next. All suits where a host has nothing to choose from.
    pub fn suited(&self, host: usize, own: usize, addresses: &[OwnAddress]) -> Option<usize> {
        let host = &self.hosts[host];
        if !self.verifying.is_empty() || !host.has_choice() {
            return Some(0);
        }
        let mut front = self.waiting.in_turn().take(PREFERRED_LOOKS);
        front.position(|waiting| host.source(addresses, Some(&waiting.work)) == own)
    }

    /// Takes out a question, or the delivery at this place of the class that is next.
    pub fn take(&mut self, place: usize) -> Option<Waiting> {
        self.verifying.pop_front().or_else(|| self.waiting.take(place))
    }

    /// How many of those that take work, or will, leave from an own address.
    pub fn count_from(&mut self, own: usize) -> &mut u32 {
        if self.from_own.len() <= own {
            self.from_own.resize(own + 1, 0);
        }
        &mut self.from_own[own]
    }

    /// Whether a first connection from an own address may be begun beside those from others.
    pub fn may_begin(&self, now: Instant) -> bool {
        self.connections() < self.window.size() && now >= self.hold_until && self.opening < self.serving()
    }

    /// When the first delivery that waits has done so for as long as it may, unless a timer is set for it or for one before it.
    pub fn watch(&mut self) -> Option<Instant> {
        if self.watched_at.is_none() {
            self.watched_at = self.waiting.overdue_at();
            self.watched_at
        } else {
            None
        }
    }

    /// Connections that were greeted and take work.
    pub fn serving(&self) -> u32 {
        self.idle.len() as u32 + self.busy
    }

    /// Those that take work, or will when they come about.
    pub fn open(&self) -> u32 {
        self.serving() + self.opening
    }

    /// All connections, those that end included.
    pub fn connections(&self) -> u32 {
        self.open() + self.ending
    }

    /// Whether the backlog asks for one more connection: the first alone, which probes the host; then as many at a time
    /// as are served already, each for a backlog of its own.
    pub fn wants_connection(&self, now: Instant, settings: &Settings) -> bool {
        if self.backlog() == 0 || self.connections() >= self.window.size() {
            return false;
        }
        if self.open() == 0 {
            return now >= self.hold_until;
        }
        let asked_for = self.backlog() >= settings.backlog_per_connection.saturating_mul(self.opening as usize + 1)
            || (self.opening == 0 && !self.verifying.is_empty());
        asked_for && now >= self.hold_until && self.opening < self.serving()
    }

    /// An idle connection that is one too many.
    pub fn surplus(&self) -> Option<ConnectionId> {
        self.idle.first().copied().filter(|_| self.open() > self.window.size())
    }

    /// The fate of the first that waits while nothing goes there: a client waits for the answer to a question.
    pub fn standing_fate(&self, why: &Answer) -> Fate {
        match self.verifying.is_empty() {
            true => Fate::Untried,
            false => Fate::Deferred { answer: why.clone(), soon: false, tried: false },
        }
    }

    /// The fate of the first that waits while no host can be tried, and what all are told. One message a failure is deferred for it;
    /// the others wait for the destination, and no attempt of theirs is lost.
    pub fn unreachable(&mut self, now: Instant) -> (Fate, Option<Standstill>) {
        let Some(until) = self.current_hosts().map(Host::alone_until).min() else {
            // Nothing will ever be tried: it must be able to expire.
            let answer = Answer::local((4, 3, 5), "no own address can reach any host of the route");
            return (Fate::deferred(answer), None);
        };
        let seconds = until.since(now).as_secs().max(1);
        let last = self.last_failure.as_ref().map_or("", |last| &last.text);
        let text = format!("all hosts failed lately and are tried again in {seconds} s; the last one: {last}");
        let why = Answer::local((4, 4, 1), text);
        let fate = match &self.last_failure {
            Some(last) if self.untold => Fate::deferred(last.clone()),
            _ => self.standing_fate(&why),
        };
        self.untold &= !self.verifying.is_empty();
        (fate, Some(Standstill::Closed { until, why }))
    }

    /// Those that the DNS, or the route, still names.
    pub fn current_hosts(&self) -> impl Iterator<Item = &Host> {
        self.hosts.iter().filter(|host| !host.is_retired)
    }
}
