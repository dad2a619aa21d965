//! The channels between the control thread and the workers.

use super::health::Pulse;
use super::protocol::{Question, Reply};
use crate::delivery::Orders;
use crate::dkim::Keyring;
use crate::dns;
use crate::env::{Instant, Wakeup};
use crate::event::Event;
use crate::limits::{STOP_GRACE, TO_WORKER_MAX};
use crate::mirror::arbiter::{Order, Words};
use crate::mirror::register::Node;
use crate::policy::Policy;
use crate::smtp::OwnMessage;
use crate::smtp::client::Credentials;
use crate::spool::{MessageId, Room};
use crate::tls::Server;
use crate::tlsrpt::Session;
use crossbeam::channel::{Receiver, Sender, bounded};
use std::io;
use std::sync::Arc;
use std::time::Duration;

/// From the control thread to a worker.
pub enum ToWorker {
    /// An operator asks; the answer carries the token.
    Request {
        /// To be given back with the answer.
        token: u64,
        /// What is asked.
        question: Question,
    },
    /// Say how you are.
    Pulse,
    /// Who may send what, from now on.
    Policy(Arc<Policy>),
    /// What clients are shown from now on.
    Certificates(Arc<Server>),
    /// What mail is signed with from now on.
    Keys(Arc<Keyring>),
    /// Who we are to next hops from now on.
    Credentials(Arc<[Arc<Credentials>]>),
    /// Something for one of the pair's identities.
    Pair {
        /// Which.
        identity: Node,
        /// What.
        wish: PairWish,
    },
    /// What an operator has said about some of the mail, from now on.
    Orders(Arc<Orders>),
    /// The partner is to be told this of those orders, in the place of what waits; it may be lost on the way.
    TellPartner(Vec<Box<[u8]>>),
    /// What is known of domains that it asked about.
    Domains(Vec<(Box<str>, dns::Answer)>),
    /// A message of our own, to be taken into the queue; the answer carries the number.
    Submit {
        /// To be given back with the answer.
        number: u64,
        /// The message.
        message: Arc<OwnMessage>,
    },
    /// Accept nothing new, finish what is in hand within this time, then report that you have stopped.
    Stop {
        /// How long at most.
        finish_within: Duration,
    },
}

/// From a worker to the control thread.
pub enum FromWorker {
    /// The answer to a request.
    Reply {
        /// The request's.
        token: u64,
        /// Who answers.
        worker: u16,
        /// The answer.
        reply: Reply,
    },
    /// How a worker is.
    Pulse(Pulse),
    /// Something for the log.
    Event(Event),
    /// How a worker's part in an identity stands.
    Pair(PairReport),
    /// What the partner told of its standing orders.
    PartnerTold(Box<[u8]>),
    /// Where does the mail of this domain go?
    Domain {
        /// Who asks.
        worker: u16,
        /// As it stands in an address.
        domain: Box<str>,
    },
    /// What came of TLS with a host, for reports.
    Tls {
        /// That.
        session: Session,
        /// Sessions since the last of these that could not be told of.
        lost: u64,
    },
    /// What became of a message of our own.
    Submitted {
        /// Its number.
        number: u64,
        /// It is in the queue under this id; none: there is no room, or no queue.
        id: Option<MessageId>,
    },
    /// The worker has ended, as asked.
    Stopped {
        /// Which.
        worker: u16,
    },
    /// The worker has ended, and should not have.
    Failed {
        /// Which.
        worker: u16,
        /// Why.
        text: String,
    },
}

/// What the arbiter of an identity wants of every worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PairWish {
    /// This order carried out.
    Order {
        /// Rises by one with each.
        number: u64,
        /// What to do.
        order: Order,
    },
    /// The addresses answered for no more, now.
    Withdraw,
    /// All logs set aside, and empty ones in their place.
    Renew,
    /// This said to the partner from now on.
    Say(Words),
    /// Known: whether the port of the addresses has a link.
    Port {
        /// Frames can pass.
        up: bool,
    },
}

/// How a worker's part in an identity stands. The latest one counts, and each says all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PairReport {
    /// Whose.
    pub worker: u16,
    /// In which identity.
    pub identity: Node,
    /// All orders up to this one are carried out.
    pub done: u64,
    /// What the partner last said of itself.
    pub heard: Option<Words>,
    /// When the partner was last heard on all links, if it is not heard now.
    pub silent_since: Option<Instant>,
    /// A log cannot be written any more, or is damaged where the partner's copy is whole.
    pub failed: bool,
    /// What the disk has for its logs: for that which has least.
    pub room: Room,
}

/// The control thread's end of the way to a worker.
#[derive(Clone)]
pub struct WorkerLink {
    /// Bounded.
    pub to: Sender<ToWorker>,
    /// Rung after something was sent.
    pub wakeup: Wakeup,
}

/// The control thread's end of the way from the workers.
pub struct FromWorkers {
    /// Bounded, shared by all workers.
    pub receiver: Receiver<FromWorker>,
    /// Rung by workers that have sent something.
    pub wakeup: Wakeup,
}

/// What all workers use, and who has not been given the latest yet, as its channel was full.
pub struct Shared<T: ?Sized> {
    /// The latest.
    pub current: Arc<T>,
    owed: Vec<bool>,
}

impl<T: ?Sized> Shared<T> {
    /// All workers have this.
    pub fn new(current: &Arc<T>, links: &[WorkerLink]) -> Shared<T> {
        Shared { current: Arc::clone(current), owed: vec![false; links.len()] }
    }

    /// From now on it is this.
    pub fn replace(&mut self, new: Arc<T>) {
        self.current = new;
        self.owed.fill(true);
    }

    /// Gives it to those who do not have it, as far as their channels have room.
    pub fn offer(&mut self, links: &[WorkerLink], letter: impl Fn(Arc<T>) -> ToWorker) {
        for (link, owed) in links.iter().zip(&mut self.owed).filter(|(_, owed)| **owed) {
            *owed = link.to.try_send(letter(Arc::clone(&self.current))).is_err();
            link.wakeup.notify();
        }
    }

    /// Somebody has not been given the latest.
    pub fn is_owed(&self) -> bool {
        self.owed.contains(&true)
    }

    /// This worker has not been.
    pub fn is_owed_to(&self, worker: u16) -> bool {
        self.owed[usize::from(worker)]
    }
}

/// A worker's ends of both ways.
pub struct WorkerEnd {
    /// The worker's number.
    pub worker: u16,
    /// What the control thread wants; looked into between breaths.
    pub requests: Receiver<ToWorker>,
    /// Becomes readable when there is something in `requests`. Drain it, then look.
    pub wakeup: Wakeup,
    /// The way back.
    pub reporter: Reporter,
}

/// Makes the channels for `workers` workers; `messages_max` of theirs wait for the control thread at most.
pub fn links(workers: u16, messages_max: usize) -> io::Result<(Vec<WorkerLink>, Vec<WorkerEnd>, FromWorkers)> {
    let (sender, receiver) = bounded(messages_max);
    let bell = Wakeup::new()?;
    let mut links = Vec::new();
    let mut ends = Vec::new();
    for worker in 0..workers {
        let (to, requests) = bounded(TO_WORKER_MAX);
        let wakeup = Wakeup::new()?;
        links.push(WorkerLink { to, wakeup: wakeup.clone() });
        let reporter = Reporter::new(worker, sender.clone(), bell.clone());
        ends.push(WorkerEnd { worker, requests, wakeup, reporter });
    }
    Ok((links, ends, FromWorkers { receiver, wakeup: bell }))
}

/// How a worker reports. It never blocks before the worker's end, and rings once a breath at most.
pub struct Reporter {
    worker: u16,
    sender: Sender<FromWorker>,
    wakeup: Wakeup,
    /// Something was sent since the last flush.
    unflushed: bool,
    messages_logged: bool,
    tls_reported: bool,
    /// Sessions that could not be told of since the last that could.
    sessions_lost: u64,
    events_lost: u64,
    /// The last words have been said.
    ended: bool,
}

impl Reporter {
    /// For one worker.
    pub fn new(worker: u16, sender: Sender<FromWorker>, wakeup: Wakeup) -> Reporter {
        Reporter {
            worker,
            sender,
            wakeup,
            unflushed: false,
            messages_logged: true,
            tls_reported: false,
            sessions_lost: 0,
            events_lost: 0,
            ended: false,
        }
    }

    /// Whether the control thread is told what comes of TLS with hosts.
    pub fn report_tls(&mut self, wanted: bool) {
        self.tls_reported = wanted;
    }

    /// Whether [`tls`](Reporter::tls) is of any use.
    pub fn reports_tls(&self) -> bool {
        self.tls_reported
    }

    /// Tells what came of TLS with a host, if that is wanted; if the channel is full it is dropped and counted.
    pub fn tls(&mut self, session: Session) {
        if !self.tls_reported || !Session::counts(&session.hosts, session.tls) {
            return;
        }
        let lost = self.sessions_lost;
        match self.sender.try_send(FromWorker::Tls { session, lost }) {
            Ok(()) => self.sessions_lost = 0,
            Err(_) => self.sessions_lost += 1,
        }
        self.unflushed = true;
    }

    /// Tells what became of a message of our own. If the channel is full the control thread will lose patience.
    pub fn submitted(&mut self, number: u64, id: Option<MessageId>) {
        let _ = self.sender.try_send(FromWorker::Submitted { number, id });
        self.unflushed = true;
    }

    /// Whether steps of single messages are logged.
    pub fn log_messages(&mut self, wanted: bool) {
        self.messages_logged = wanted;
    }

    /// Has a step of a message ([`Event::is_of_message`]) logged, which is put into words only if somebody reads it.
    pub fn message(&mut self, step: impl FnOnce() -> Event) {
        if self.messages_logged {
            let event = step();
            debug_assert!(event.is_of_message(), "no step of a message: {event:?}");
            self.log(event);
        }
    }

    /// Has an event logged that is no step of a message; if the channel is full it is dropped and counted.
    pub fn event(&mut self, event: Event) {
        debug_assert!(!event.is_of_message(), "a step of a message, which is logged only if that is wanted: {event:?}");
        self.log(event);
    }

    fn log(&mut self, event: Event) {
        if self.sender.try_send(FromWorker::Event(event)).is_err() {
            self.events_lost += 1;
        }
        self.unflushed = true;
    }

    /// Tells how this worker's part in an identity stands. False if the channel is full: to be told again.
    pub fn pair(&mut self, report: PairReport) -> bool {
        self.unflushed = true;
        self.sender.try_send(FromWorker::Pair(report)).is_ok()
    }

    /// What the partner told of its standing orders. If the channel is full it is dropped, and told again.
    pub fn partner_told(&mut self, told: Box<[u8]>) {
        let _ = self.sender.try_send(FromWorker::PartnerTold(told));
        self.unflushed = true;
    }

    /// Asks where the mail of a domain goes. False if the channel is full: to be asked again.
    pub fn ask(&mut self, domain: Box<str>) -> bool {
        self.unflushed = true;
        self.sender.try_send(FromWorker::Domain { worker: self.worker, domain }).is_ok()
    }

    /// Answers a request. If the channel is full the answer is dropped, and the operator told that we are silent.
    pub fn reply(&mut self, token: u64, reply: Reply) {
        let _ = self.sender.try_send(FromWorker::Reply { token, worker: self.worker, reply });
        self.unflushed = true;
    }

    /// Says how the worker is. If the channel is full nothing is said; there will be another question.
    pub fn pulse(&mut self, pulse: Pulse) {
        let _ = self.sender.try_send(FromWorker::Pulse(pulse));
        self.unflushed = true;
    }

    /// Wakes the control thread if there is something for it: to be called at the end of every breath.
    pub fn flush(&mut self) {
        if std::mem::take(&mut self.unflushed) {
            self.wakeup.notify();
        }
    }

    /// Events that were dropped since the start.
    pub fn events_lost(&self) -> u64 {
        self.events_lost
    }

    /// The worker's last words: it has stopped as it was asked to.
    pub fn stopped(mut self) {
        self.last(FromWorker::Stopped { worker: self.worker });
    }

    /// The worker's last words: it cannot go on.
    pub fn failed(mut self, text: String) {
        self.last(FromWorker::Failed { worker: self.worker, text });
    }

    fn last(&mut self, message: FromWorker) {
        self.ended = true;
        // The events in front of it may fill the channel. Without the control thread nobody wants to know.
        self.wakeup.notify();
        let _ = self.sender.send_timeout(message, STOP_GRACE);
        self.wakeup.notify();
    }
}

impl Drop for Reporter {
    /// A worker that panics has no last words; without them its death would be taken for a long breath.
    fn drop(&mut self) {
        if !self.ended {
            self.last(FromWorker::Failed { worker: self.worker, text: "it ended without a word".into() });
        }
    }
}
