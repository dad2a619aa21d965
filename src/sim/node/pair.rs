//! What the control thread of a simulated box with a partner does: it stands between the arbiters, the workers and the store.
//!
//! Now and then it lingers: at a stage that the world waits for, nothing that an arbiter waits for is told to it for a while,
//! so that it meets other things there.

use crate::control::{OrderBoard, PairBoard, PairReport, PairTask, WorkerLink};
use crate::env::disk::SimDisk;
use crate::env::{Instant, Now};
use crate::limits::{KEEPER_RETRY_DELAY, KEEPER_TRIES};
use crate::mirror::arbiter::{Event, Stage};
use crate::mirror::identity_of_log;
use crate::mirror::register::{Incarnation, Memory, Node as Identity};
use crate::mirror::standing::Standing;
use crate::sim::manual::Asking;
use crate::spool::Log;
use crate::worker::Errand;
use rand::RngExt;
use rand::rngs::StdRng;
use std::collections::BTreeMap;
use std::time::Duration;

/// What it takes to make a memory durable, at most.
const PERSIST_DURATION: u64 = 5_000_000;

/// What it takes to read a log anew, at most.
const KEEPING_DURATION: u64 = 200_000_000;

/// Something that an arbiter asks of the store.
#[derive(Clone, Copy, Debug)]
pub(in crate::sim) struct Question {
    pub life: u64,
    pub identity: Identity,
    pub task: PairTask,
}

/// A box that is to take its time: the disk that keeps memories, the workers that carry out orders and the store are slow.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::sim) struct Linger {
    /// Where.
    pub stage: Stage,
    /// For how long.
    pub duration: Duration,
    /// What it meets there comes so long after it has begun.
    pub meets_after: Duration,
    /// Proposals get late to the store, and not their outcomes back.
    pub asks_late: bool,
}

/// That it lingers.
#[derive(Clone, Copy, Debug)]
struct Stay {
    /// Which identity is where it was to linger.
    identity: Identity,
    meets_at: Instant,
    until: Instant,
    asks_late: bool,
}

pub(super) struct Pair {
    pub board: PairBoard,
    /// Memories on their way to the disk.
    persisting: Vec<(Instant, Identity, Memory)>,
    errands: crossbeam::channel::Receiver<Errand<SimDisk>>,
    /// With the number of tries before.
    keeping: Vec<(Instant, Errand<SimDisk>, u32)>,
    kept: Vec<crossbeam::channel::Sender<(u16, Log<SimDisk>)>>,
    links: Vec<WorkerLink>,
    /// What is to be asked of the store.
    questions: Vec<Question>,
    /// The same of what the box keeps, where there is none.
    pub asking: Asking,
    pub me: Identity,
    linger: Option<Linger>,
    stay: Option<Stay>,
    /// The last order of which it was told that a worker has carried it out.
    done: BTreeMap<(u16, usize), u64>,
    /// What it will be told of that later.
    reports: BTreeMap<(u16, usize), PairReport>,
    outcomes: Vec<(Identity, Event)>,
}

impl Pair {
    pub(super) fn new(
        me: Identity,
        board: PairBoard,
        errands: crossbeam::channel::Receiver<Errand<SimDisk>>,
        kept: Vec<crossbeam::channel::Sender<(u16, Log<SimDisk>)>>,
        links: Vec<WorkerLink>,
    ) -> Pair {
        Pair {
            board,
            persisting: Vec::new(),
            errands,
            keeping: Vec::new(),
            kept,
            links,
            questions: Vec::new(),
            asking: Asking::default(),
            me,
            linger: None,
            stay: None,
            done: BTreeMap::new(),
            reports: BTreeMap::new(),
            outcomes: Vec::new(),
        }
    }

    /// When it must be looked at, by the clock of the process.
    pub(super) fn next(&self) -> Instant {
        let until = self.stay.map(|stay| stay.until);
        let persisted = self.persisting.iter().map(|(at, ..)| until.map_or(*at, |until| until.max(*at)));
        let kept = self.keeping.iter().map(|(at, ..)| *at);
        let arrived = (!self.errands.is_empty()).then_some(Instant::ZERO);
        let deadline = self.board.next_deadline().min(self.asking.next());
        persisted.chain(kept).chain(arrived).chain(until).min().unwrap_or(Instant::FAR).min(deadline)
    }

    /// From now on it waits for a stage to linger at, or for none.
    pub(super) fn set_linger(&mut self, linger: Option<Linger>) {
        self.linger = linger;
    }

    /// For which identity it is where it was to linger, once it is to meet something there.
    pub(super) fn lingers(&self, now: Instant) -> Option<Identity> {
        self.stay.filter(|stay| stay.meets_at <= now).map(|stay| stay.identity)
    }

    /// A worker's part has changed.
    pub(super) fn hear(&mut self, report: PairReport, now: Instant) {
        let key = (report.worker, report.identity as usize);
        if self.stay.is_some() {
            self.reports.insert(key, report);
            let done = self.done.get(&key).copied().unwrap_or(0).min(report.done);
            self.board.report(PairReport { done, ..report }, now);
        } else {
            self.done.insert(key, report.done);
            self.board.report(report, now);
        }
    }

    /// The store answers.
    pub(super) fn answer(&mut self, identity: Identity, event: Event, now: Instant) {
        if self.stay.is_some() && matches!(event, Event::Proposed(_)) {
            self.outcomes.push((identity, event));
        } else {
            self.board.tell(identity, event, now);
        }
    }

    /// What the arbiters ask of the store.
    pub(super) fn questions(&mut self) -> Vec<Question> {
        let asks_late = self.stay.is_some_and(|stay| stay.asks_late);
        let waits = |question: &Question| asks_late && matches!(question.task, PairTask::Propose { .. });
        let (late, questions) = std::mem::take(&mut self.questions).into_iter().partition(waits);
        self.questions = late;
        questions
    }

    fn begin_to_linger(&mut self, now: Instant) {
        let (Some(linger), None) = (self.linger, self.stay) else { return };
        let Linger { stage, duration, meets_after, asks_late } = linger;
        let is_there = |identity: &Identity| self.board.arbiter(*identity).stage() == stage;
        let there = Identity::BOTH.into_iter().find(is_there);
        let (meets_at, until) = (now + meets_after, now + duration);
        self.stay = there.map(|identity| Stay { identity, meets_at, until, asks_late });
    }

    /// A memory is durable.
    fn remember(&mut self, now: Instant, memories: &mut [Option<Memory>; 2]) {
        for (at, identity, memory) in std::mem::take(&mut self.persisting) {
            if at > now || self.stay.is_some() {
                self.persisting.push((at, identity, memory));
                continue;
            }
            memories[identity as usize] = Some(memory);
            self.board.tell(identity, Event::Persisted, now);
        }
    }

    /// Tells what was not told while it lingered.
    fn tell_late(&mut self, now: Instant) {
        if self.stay.is_some() {
            return;
        }
        for report in std::mem::take(&mut self.reports).into_values() {
            self.hear(report, now);
        }
        for (identity, event) in std::mem::take(&mut self.outcomes) {
            self.board.tell(identity, event, now);
        }
    }

    /// Has the partner told of our standing orders, if it has others.
    pub(super) fn exchange_orders(&mut self, orders: &OrderBoard, now: Instant) {
        self.board.exchange_orders(orders, &self.links, now);
    }

    pub(super) fn step(
        &mut self,
        now: Now,
        (life, world): (u64, Instant),
        disks: &BTreeMap<u16, SimDisk>,
        (memories, standings): (&mut [Option<Memory>; 2], &mut Option<[Standing; 2]>),
        random: &mut StdRng,
    ) {
        self.board.expire(now.mono);
        if self.stay.is_some_and(|stay| stay.until <= now.mono) {
            (self.linger, self.stay) = (None, None);
        }
        if let Some(standings) = standings {
            self.asking.step(now.mono, self.me, standings, &mut self.board);
        }
        self.remember(now.mono, memories);
        self.tell_late(now.mono);
        while let Ok(errand) = self.errands.try_recv() {
            let at = now.mono + Duration::from_nanos(random.random_range(0..KEEPING_DURATION));
            self.keeping.push((at, errand, 0));
        }
        for (at, errand, tries) in std::mem::take(&mut self.keeping) {
            if at > now.mono {
                self.keeping.push((at, errand, tries));
                continue;
            }
            let Errand { worker, number, log, until } = errand;
            // What blocks lets its own operations complete.
            disks[&number].advance(Instant::FAR);
            let kept = log.rewind(until, now);
            disks[&number].advance(world);
            match kept {
                Ok((log, _)) => {
                    let _ = self.kept[usize::from(worker)].send((number, log));
                    self.links[usize::from(worker)].wakeup.notify();
                }
                Err(failure) => {
                    let errand = Errand { worker, number, log: failure.log, until };
                    self.keeping.push((now.mono + KEEPER_RETRY_DELAY, errand, tries + 1));
                    if tries + 1 == KEEPER_TRIES {
                        self.board.tell(identity_of_log(number), Event::StorageFailed, now.mono);
                    }
                }
            }
        }
        while let Some((identity, task)) = self.board.task() {
            match task {
                PairTask::Persist(memory) => {
                    let at = now.mono + Duration::from_nanos(random.random_range(0..PERSIST_DURATION));
                    self.persisting.push((at, identity, memory));
                }
                PairTask::Renew => {
                    let before = self.board.arbiter(identity).memory();
                    let incarnation = Incarnation::new(random.random_range(1..u64::MAX)).expect("not zero");
                    let memory = Memory { incarnation, ..before };
                    memories[identity as usize] = Some(memory);
                    self.board.renew(identity, memory, now.mono);
                }
                task if standings.is_some() => self.asking.push(now.mono, identity, task, random),
                task => self.questions.push(Question { life, identity, task }),
            }
        }
        self.board.send(&self.links);
        self.begin_to_linger(now.mono);
    }
}
