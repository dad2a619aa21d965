//! One destination and its connections, as its owner keeps them.

use super::host::Host;
use super::window::Window;
use super::{ConnectionId, Settings};
use crate::delivery::{Answer, DestinationId, Fate, JobResult, Work, WorkResult};
use crate::env::Instant;
use crate::spool::MessageId;
use std::collections::VecDeque;

/// Work that waits for a connection.
#[derive(Debug)]
pub(super) struct Waiting {
    pub worker: u16,
    pub work: Work,
    /// The destination's failures when it came; more now means that something was tried while it waited.
    pub failures_before: u64,
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
                (worker, WorkResult::Deliver(JobResult { id, destination, fates, dsn_offered: false }))
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
    pub state: State,
    /// Finished transactions.
    pub transactions: u32,
    /// When something must happen to it; it stands in the timers under this time.
    pub deadline: Option<Instant>,
}

/// One destination.
#[derive(Debug)]
pub(super) struct Target {
    /// Sorted by preference.
    pub hosts: Vec<Host>,
    /// Questions go first: a client waits at RCPT.
    pub verifying: VecDeque<Waiting>,
    pub waiting: VecDeque<Waiting>,
    /// The last one is used first, so that those in excess time out.
    pub idle: Vec<ConnectionId>,
    pub opening: u32,
    pub busy: u32,
    pub ending: u32,
    /// As configured.
    pub connections_max: u32,
    /// What the receiver bears.
    pub window: Window,
    /// What is answered at once, without a connection.
    pub fate: Option<Fate>,
    /// No further connection is opened before this, as one was refused while others were served.
    pub hold_until: Instant,
    /// Connections in a row that we had no means to open.
    pub shortages: u32,
    /// Failures to connect since the start.
    pub failures: u64,
    /// What the last of them was.
    pub last_failure: Option<Answer>,
    /// It stands in the ring of destinations that something may be done for.
    pub dirty: bool,
    /// It stands in the ring of destinations that lack a connection because the limit of all is reached.
    pub starved: bool,
    /// It is an MX set.
    pub is_set: bool,
}

impl Target {
    pub fn new(hosts: Vec<Host>, connections_max: u32, fate: Option<Fate>) -> Target {
        Target {
            hosts,
            fate,
            verifying: VecDeque::new(),
            waiting: VecDeque::new(),
            idle: Vec::new(),
            opening: 0,
            busy: 0,
            ending: 0,
            connections_max: connections_max.max(1),
            window: Window::new(),
            hold_until: Instant::ZERO,
            shortages: 0,
            failures: 0,
            last_failure: None,
            dirty: false,
            starved: false,
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
        let busy = self.backlog() > 0 || self.connections() > 0 || self.dirty || self.starved;
        !busy && self.hold_until <= now
    }

    pub fn backlog(&self) -> usize {
        self.verifying.len() + self.waiting.len()
    }

    pub fn pop(&mut self) -> Option<Waiting> {
        self.verifying.pop_front().or_else(|| self.waiting.pop_front())
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
        if self.backlog() == 0 || self.connections() >= self.connections_max.min(self.window.size()) {
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

    /// The fate of what waits while no host can be tried.
    pub fn unreachable_fate(&self, now: Instant, waiting: &Waiting) -> Fate {
        let tried = self.failures > waiting.failures_before;
        let answer = match (&self.last_failure, self.current_hosts().map(|host| host.down_until).min()) {
            (_, None) => Answer::local((4, 3, 5), "no own address can reach any host of the route"),
            (Some(last), Some(_)) if tried => last.clone(),
            (last, Some(until)) => {
                let seconds = until.since(now).as_secs().max(1);
                let last = last.as_ref().map_or("", |last| &last.text);
                let text = format!("all hosts failed lately and are tried again in {seconds} s; the last one: {last}");
                Answer::local((4, 4, 1), text)
            }
        };
        // Without an own address nothing will ever be tried: it must be able to expire.
        Fate::Deferred { answer, soon: false, tried: tried || self.current_hosts().next().is_none() }
    }

    fn current_hosts(&self) -> impl Iterator<Item = &Host> {
        self.hosts.iter().filter(|host| !host.is_retired)
    }
}
