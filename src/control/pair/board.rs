//! The pair as the control thread sees it: an arbiter for each identity, between the workers and the store. Sans-IO.
//!
//! In: reports of workers, answers of the store and of the disk that keeps memories, commands, the time. Out: wishes to the
//! workers, tasks for whoever can reach the store and the disk, events for the log.

use crate::control::links::{PairReport, PairWish, ToWorker, WorkerLink};
use crate::control::orders::OrderBoard;
use crate::env::Instant;
use crate::event::Event;
use crate::limits::ORDERS_TELL_INTERVAL;
use crate::mirror::arbiter::{self, Action, Arbiter, Cause, Command, Notice, Refusal, Stage, Words};
use crate::mirror::register::{Incarnation, Memory, Node, Register};
use crate::mirror::standing::Standing;
use crate::spool::Room;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeSet, VecDeque};

/// What the control thread does for an arbiter, in the order in which it comes. Each is answered by [`PairBoard::tell`] but for
/// those that say otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PairTask {
    /// Read the register.
    Read,
    /// Change it.
    Propose {
        /// What must stand there.
        expected: Option<Register>,
        /// What is to stand there.
        wanted: Register,
    },
    /// Make this durable.
    Persist(Memory),
    /// Without a store: this is what the partner keeps. The answer is [`PairBoard::keep`], and news of the register if it has changed.
    Hear(Standing),
    /// Without a store: end a split in favour of this copy. Answered like `Hear`.
    Settle(Incarnation),
    /// A memory with another incarnation and the same epochs is made durable, again and again until it is. Then the workers set the
    /// copy aside, and a new arbiter begins: [`PairBoard::renew`].
    Renew,
}

/// The two arbiters of a box, and who works for them.
pub struct PairBoard {
    seats: [Seat; 2],
    tasks: VecDeque<(Node, PairTask)>,
    events: VecDeque<Event>,
    /// The digest of our standing orders.
    orders: u32,
    /// The partner is not told all of them again before then.
    tell_at: Instant,
}

struct Seat {
    identity: Node,
    arbiter: Arbiter,
    reports: Vec<Option<PairReport>>,
    /// Wishes that a worker's channel had no room for, by worker.
    outboxes: Vec<VecDeque<PairWish>>,
    me: Node,
    settings: arbiter::Settings,
    /// What is added to the numbers of orders: those of the arbiters before.
    base: u64,
    /// The last order, and whether the arbiter knows that it was carried out.
    order: u64,
    told: bool,
    is_silent: bool,
    room: Room,
    port_up: bool,
    /// What the arbiter last said of itself.
    words: Option<Words>,
    /// What this box keeps of the register, where there is no store; and what the partner was last heard to keep.
    standing: Option<Standing>,
    heard_standing: Option<Standing>,
    /// The digest of the partner's standing orders, as worker 0 last heard it.
    heard_orders: Option<u32>,
    counts: PairCounts,
    /// In which stages what was met since somebody asked: no more than there are stages and causes.
    met: BTreeSet<(Stage, Cause)>,
}

/// What has happened to an identity on this box since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PairCounts {
    /// Other stages.
    pub transitions: u64,
    /// Takeovers of the other box's work, the first start of an identity among them.
    pub takeovers: u64,
    /// Copies that were set aside and begun anew.
    pub renewals: u64,
}

impl PairBoard {
    /// For a box with so many workers; each identity has a memory, a copy that is fit or not, and without a store what this box
    /// keeps of its register.
    pub fn new(
        me: Node,
        workers: usize,
        settings: arbiter::Settings,
        copies: [(Memory, bool); 2],
        standings: Option<[Standing; 2]>,
        now: Instant,
    ) -> PairBoard {
        let seat = |identity: Node| {
            let (memory, fit) = copies[identity as usize];
            Seat {
                identity,
                arbiter: Arbiter::new(me, settings, memory, fit, now),
                reports: vec![None; workers],
                outboxes: vec![VecDeque::new(); workers],
                me,
                settings,
                base: 0,
                order: 0,
                told: true,
                is_silent: false,
                room: Room::Enough,
                port_up: true,
                words: None,
                standing: standings.map(|standings| standings[identity as usize]),
                heard_standing: None,
                heard_orders: None,
                counts: PairCounts::default(),
                met: BTreeSet::new(),
            }
        };
        let mut board = PairBoard {
            seats: [seat(Node::A), seat(Node::B)],
            tasks: VecDeque::new(),
            events: VecDeque::new(),
            orders: 0,
            tell_at: now,
        };
        board.settle();
        board
    }

    /// The arbiter of an identity.
    pub fn arbiter(&self, identity: Node) -> &Arbiter {
        &self.seats[identity as usize].arbiter
    }

    /// In which stages what was met since this was asked last, whichever the identity.
    pub fn met(&mut self) -> BTreeSet<(Stage, Cause)> {
        self.seats.iter_mut().flat_map(|seat| std::mem::take(&mut seat.met)).collect()
    }

    /// What has happened to an identity since the start.
    pub fn counts(&self, identity: Node) -> PairCounts {
        self.seats[identity as usize].counts
    }

    /// A worker's part has changed.
    pub fn report(&mut self, report: PairReport, now: Instant) {
        let seat = &mut self.seats[report.identity as usize];
        let standing = report.heard.and_then(|words| words.standing);
        if seat.standing.is_some() && standing.is_some() && standing != seat.heard_standing {
            seat.heard_standing = standing;
            self.tasks.extend(standing.map(|standing| (report.identity, PairTask::Hear(standing))));
        }
        if report.worker == 0 {
            let is_heard = report.silent_since.is_none();
            seat.heard_orders = report.heard.filter(|_| is_heard).map(|words| words.orders);
        }
        // The arbiter reads of it, and has nothing to do with orders.
        let heard = report.heard.map(|words| Words { standing: None, orders: 0, ..words });
        let report = PairReport { heard, ..report };
        let before = seat.reports[usize::from(report.worker)].replace(report);
        let words = report.heard.filter(|words| before.and_then(|before| before.heard) != Some(*words));
        let silent = seat.reports.iter().flatten().filter_map(|report| report.silent_since).min();
        match (silent, seat.is_silent) {
            (Some(heard_at), false) => {
                seat.is_silent = true;
                seat.handle(arbiter::Event::Silent { heard_at }, now);
            }
            (None, silent_before) => {
                seat.is_silent = false;
                let words = if silent_before { report.heard } else { words };
                if let Some(words) = words {
                    seat.handle(arbiter::Event::Heard(words), now);
                }
            }
            // What a partner says on one link while another is silent: it is there, and of no use.
            (Some(_), true) => {}
        }
        // What a worker goes on saying is of the copy that is about to be set aside.
        if report.failed && !before.is_some_and(|before| before.failed) {
            seat.handle(arbiter::Event::StorageFailed, now);
        }
        seat.tell_room(now);
        self.settle();
        self.tell_done(report.identity, now);
    }

    fn tell_done(&mut self, identity: Node, now: Instant) {
        let seat = &mut self.seats[identity as usize];
        let order = seat.order;
        let done = seat.reports.iter().all(|report| report.is_some_and(|report| report.done >= seat.base + order));
        if done && !std::mem::replace(&mut seat.told, done) {
            seat.handle(arbiter::Event::Done { order }, now);
            self.settle();
        }
    }

    /// The answer to a task, or news of the register.
    pub fn tell(&mut self, identity: Node, event: arbiter::Event, now: Instant) {
        self.seats[identity as usize].handle(event, now);
        self.replace_useless(now);
        self.settle();
    }

    /// Without a store: what this box keeps of the register, durably, is this now.
    pub fn keep(&mut self, identity: Node, standing: Standing) {
        let seat = &mut self.seats[identity as usize];
        if seat.standing.replace(standing) != Some(standing) {
            seat.say(self.orders);
        }
    }

    /// Whether the partner has the same standing orders; none: it is not heard.
    pub fn orders_are_same(&self) -> Option<bool> {
        let mut heard = self.seats.iter().filter_map(|seat| seat.heard_orders).peekable();
        heard.peek()?;
        Some(heard.all(|orders| orders == self.orders))
    }

    /// Has the partner told of our standing orders, if it has others.
    pub fn exchange_orders(&mut self, orders: &OrderBoard, links: &[WorkerLink], now: Instant) {
        if std::mem::replace(&mut self.orders, orders.digest()) != orders.digest() {
            self.tell_at = now;
            let digest = self.orders;
            self.seats.iter_mut().for_each(|seat| seat.say(digest));
        }
        if self.orders_are_same() == Some(false) && now >= self.tell_at {
            self.tell_at = now + ORDERS_TELL_INTERVAL;
            // What finds no room is told the next time.
            let _ = links[0].to.try_send(ToWorker::TellPartner(orders.tell(now)));
            links[0].wakeup.notify();
        }
    }

    /// The copy of an identity was set aside: an arbiter begins that knows an empty one.
    pub fn renew(&mut self, identity: Node, memory: Memory, now: Instant) {
        let seat = &mut self.seats[identity as usize];
        // Not before its new name is durable: a start that knew the old one would take the empty copy for it.
        seat.wish(PairWish::Renew);
        seat.counts.renewals += 1;
        self.events.push_back(Event::PairRenewed { identity });
        seat.base += seat.order;
        (seat.order, seat.told, seat.room) = (0, true, Room::Enough);
        seat.arbiter = Arbiter::new(seat.me, seat.settings, memory, true, now);
        if let Some(words) = seat.reports.iter().flatten().find_map(|report| report.heard).filter(|_| !seat.is_silent) {
            seat.handle(arbiter::Event::Heard(words), now);
        }
        seat.tell_room(now);
        if !seat.port_up {
            seat.handle(arbiter::Event::Port { up: false }, now);
        }
        self.settle();
    }

    /// Whether the port that the addresses are on has a link.
    pub fn port(&mut self, up: bool, now: Instant) {
        for seat in &mut self.seats {
            if std::mem::replace(&mut seat.port_up, up) != up {
                seat.wish(PairWish::Port { up });
                seat.handle(arbiter::Event::Port { up }, now);
            }
        }
        self.settle();
    }

    /// A copy that is damaged and counts for nothing is of no use to anybody but as room for another one.
    fn replace_useless(&mut self, now: Instant) {
        for seat in &mut self.seats {
            if seat.arbiter.stage() == Stage::Barred {
                // Refused where somebody counts on it.
                let _ = seat.command(Command::Rejoin, now);
            }
        }
    }

    /// An operator's command.
    pub fn command(&mut self, identity: Node, command: Command, now: Instant) -> Result<(), Refusal> {
        let seat = &mut self.seats[identity as usize];
        if command == Command::Create && identity != seat.me {
            // A second box that does the same at home, and does not hear of it without a store, would have another one.
            return Err(Refusal::NotHome);
        }
        let result = seat.command(command, now);
        self.settle();
        result
    }

    /// Does what is due.
    pub fn expire(&mut self, now: Instant) {
        for seat in &mut self.seats {
            if seat.arbiter.deadline() <= now {
                seat.met.insert((seat.arbiter.stage(), Cause::Deadline));
                seat.arbiter.expire(now);
            }
        }
        self.settle();
    }

    /// When [`expire`](PairBoard::expire) has something to do.
    pub fn next_deadline(&self) -> Instant {
        let tell_at = if self.orders_are_same() == Some(false) { self.tell_at } else { Instant::FAR };
        self.seats[0].arbiter.deadline().min(self.seats[1].arbiter.deadline()).min(tell_at)
    }

    /// Passes on what the arbiters want.
    fn settle(&mut self) {
        for seat in &mut self.seats {
            while let Some(action) = seat.arbiter.action() {
                let task = match action {
                    Action::Read => PairTask::Read,
                    Action::Propose { expected, wanted } => PairTask::Propose { expected, wanted },
                    Action::Persist(memory) => PairTask::Persist(memory),
                    Action::Renew => PairTask::Renew,
                    Action::Order { number, order } => {
                        (seat.order, seat.told) = (number, false);
                        let number = seat.base + number;
                        seat.wish(PairWish::Order { number, order });
                        continue;
                    }
                    Action::Withdraw => {
                        seat.wish(PairWish::Withdraw);
                        continue;
                    }
                    Action::Settle(copy) => PairTask::Settle(copy),
                    Action::Say(words) => {
                        seat.words = Some(words);
                        seat.say(self.orders);
                        continue;
                    }
                    Action::Tell(notice) => {
                        if let Notice::Stage { stage, .. } = notice {
                            seat.counts.transitions += 1;
                            seat.counts.takeovers += u64::from(stage == Stage::Adopting);
                        }
                        self.events.push_back(event(seat.identity, notice));
                        continue;
                    }
                };
                self.tasks.push_back((seat.identity, task));
            }
        }
    }

    /// The next task.
    pub fn task(&mut self) -> Option<(Node, PairTask)> {
        self.tasks.pop_front()
    }

    /// The next event for the log.
    pub fn event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Sends the workers what waits for them. False if some of it still does, for want of room.
    pub fn send(&mut self, links: &[WorkerLink]) -> bool {
        let mut all = true;
        for seat in &mut self.seats {
            for (outbox, link) in seat.outboxes.iter_mut().zip(links) {
                let mut sent = false;
                while let Some(wish) = outbox.front().copied() {
                    if link.to.try_send(ToWorker::Pair { identity: seat.identity, wish }).is_err() {
                        all = false;
                        break;
                    }
                    sent = true;
                    outbox.pop_front();
                }
                if sent {
                    link.wakeup.notify();
                }
            }
        }
        all
    }
}

impl Seat {
    fn handle(&mut self, event: arbiter::Event, now: Instant) {
        self.met.insert((self.arbiter.stage(), event.cause()));
        self.arbiter.handle(event, now);
    }

    fn command(&mut self, command: Command, now: Instant) -> Result<(), Refusal> {
        let stage = self.arbiter.stage();
        self.arbiter.command(command, now)?;
        self.met.insert((stage, command.cause()));
        Ok(())
    }

    /// Tells the arbiter what the disk has, if that is something new.
    fn tell_room(&mut self, now: Instant) {
        let room = self.reports.iter().flatten().map(|report| report.room).min().unwrap_or(Room::Enough);
        if std::mem::replace(&mut self.room, room) != room {
            self.handle(arbiter::Event::Room(room), now);
        }
    }

    fn wish(&mut self, wish: PairWish) {
        self.outboxes.iter_mut().for_each(|outbox| outbox.push_back(wish));
    }

    /// Has the partner told what there is to be told, and the digest of our standing orders.
    fn say(&mut self, orders: u32) {
        if let Some(words) = self.words {
            self.wish(PairWish::Say(Words { standing: self.standing, orders, ..words }));
        }
    }
}

fn event(identity: Node, notice: Notice) -> Event {
    match notice {
        Notice::Stage { stage, epoch } => Event::PairStage { identity, stage, epoch },
        Notice::Store { reachable } => Event::PairStore { identity, reachable },
        Notice::Isolated => Event::PairIsolated { identity },
        Notice::Trouble(trouble) => Event::PairTrouble { identity, trouble },
    }
}
