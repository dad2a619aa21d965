//! The world of the model: two nodes with an arbiter each, one register, logs of numbered batches, and what is on its way.
//!
//! It has no time: a timer that is armed may go off at any moment, or never. What the real world does in many steps is one
//! here where nothing can come between.

use crate::env::Instant;
use crate::mirror::arbiter::machine::Arbiter;
use crate::mirror::arbiter::state::Partner;
use crate::mirror::arbiter::{Action, Cause, Event, Found, Order, Outcome, Settings, Stage, Trouble, Words};
use crate::mirror::register::{Incarnation, Memory, Mode, Node, Register};
use crate::spool::Room;
use arrayvec::ArrayVec;
use std::cell::RefCell;
use std::collections::BTreeSet;

thread_local! {
    /// In which stages what was met on this thread.
    pub(super) static MET: RefCell<BTreeSet<(Stage, Cause)>> = const { RefCell::new(BTreeSet::new()) };
}

/// Batches and epochs of one world; a walk ends where there are no more.
pub(super) const BATCHES_MAX: usize = 8;
pub(super) const EPOCHS_MAX: usize = 24;

/// How much may still happen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Budget {
    /// New batches.
    pub batches: u8,
    /// Times that a partner that is up is taken for silent.
    pub silences: u8,
    pub crashes: u8,
    /// Reads without an answer, and proposals without one, which may land later.
    pub unreachable: u8,
    /// Disks replaced, or found damaged, at a restart.
    pub disks: u8,
    /// Failures of a disk while it is in use.
    pub storage: u8,
    /// Times that a disk has another amount of room, or a port a link or none.
    pub rooms: u8,
    /// The register set back or removed.
    pub tampering: u8,
    pub moves: u8,
    pub solos: u8,
    pub takeovers: u8,
    /// A stale copy made to work by command.
    pub losses: u8,
    /// Beyond this epoch nothing is explored.
    pub epochs: u8,
}

/// The workers of one node, taken together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Work {
    Idle,
    Frozen,
    Reconciling {
        epoch: u64,
        with: Incarnation,
    },
    /// `both`: whom a 250 needs; `catching`: who is brought level; `required`: `both` counts though the epoch is solo.
    Leading {
        epoch: u64,
        both: Option<Incarnation>,
        catching: Option<Incarnation>,
        required: bool,
    },
    Following {
        epoch: u64,
        acknowledge: bool,
    },
}

impl Work {
    pub fn alone(epoch: u64) -> Work {
        Work::Leading { epoch, both: None, catching: None, required: false }
    }
}

/// What a replica said of its log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Report {
    epoch: u64,
    copy: Incarnation,
    holds: u16,
    acknowledged: bool,
}

/// A question on its way, and its answer on the way back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Asked<Q, A> {
    Question(Q),
    Answer(Q, A),
}

pub(super) type Proposal = (Option<Register>, Register);

/// One node: its machine, its disk, its workers, and what is on its way to and from the machine.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Appliance {
    /// `None`: it is off, or restarts.
    pub arbiter: Option<Arbiter>,
    pub disk: Memory,
    pub fit: bool,
    pub log: ArrayVec<u8, BATCHES_MAX>,
    /// The last batch is not on the disk yet.
    pub unsynced: bool,
    /// Orders not carried out yet; whether it is the latest.
    pub orders: ArrayVec<(bool, Order), 6>,
    pub work: Work,
    /// The latest order takes until something is the case.
    pub task: bool,
    pub reading: Option<Asked<(), Found>>,
    pub proposing: Option<Asked<Proposal, Outcome>>,
    pub persisting: Option<Memory>,
    /// Words that the partner has not heard.
    pub saying: bool,
    /// What the partner's copy reported last.
    pub report: Option<Report>,
    pub lives: u8,
}

/// All there is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct World {
    pub boxes: [Appliance; 2],
    pub register: Option<Register>,
    /// What the register was before somebody set it back.
    pub truth: Option<Register>,
    /// What it was before the last change.
    pub previous: Option<Register>,
    /// Proposals that nobody waits for, and that may land.
    pub network: ArrayVec<Proposal, 4>,
    pub acked: u16,
    pub batches: u8,
    pub copies: u8,
    /// Who worked as the owner in each epoch, and in which life.
    pub led: [Option<(Node, u8)>; EPOCHS_MAX],
    /// On which node an operator has said that a loss is accepted.
    pub accepted: [bool; 2],
    /// What a machine did that it must not.
    pub fault: Option<String>,
    pub budget: Budget,
    pub settings: Settings,
}

/// What may happen next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Carry(Node),
    Complete(Node),
    Persist(Node),
    ReadSees(Node),
    ReadAnswers(Node),
    ReadFails(Node),
    ProposalLands(Node),
    ProposalAnswers(Node),
    ProposalLost(Node),
    LandsLate(usize),
    Dropped(usize),
    Hear(Node),
    Silent(Node),
    Timer(Node, Timer),
    Append(Node),
    Replicate(Node),
    TakeTail(Node),
    Report(Node),
    Ack(Node, u8),
    Crash(Node),
    CrashTorn(Node),
    Restart(Node),
    RestartEmpty(Node),
    RestartUnfit(Node),
    StorageFails(Node),
    Room(Node, Room),
    Port(Node, bool),
    SetBack,
    Remove,
    PutRight,
    Move(Node),
    Solo(Node),
    TakeOver(Node),
    AcceptLoss(Node),
    Rejoin(Node),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Timer {
    Retry,
    Read,
    Silence,
    Isolated,
    Join,
}

fn at(node: Node) -> usize {
    node as usize
}

pub(super) fn copy(number: u8) -> Incarnation {
    Incarnation::new(u64::from(number)).expect("copies are counted from one")
}

pub(super) fn holds(log: &[u8]) -> u16 {
    log.iter().fold(0, |holds, batch| holds | 1 << batch)
}

impl Appliance {
    fn new(number: u8) -> Appliance {
        Appliance {
            arbiter: None,
            disk: Memory::new(copy(number)),
            fit: true,
            log: ArrayVec::new(),
            unsynced: false,
            orders: ArrayVec::new(),
            work: Work::Idle,
            task: false,
            reading: None,
            proposing: None,
            persisting: None,
            saying: false,
            report: None,
            lives: 0,
        }
    }

    pub fn stage(&self) -> Option<Stage> {
        self.arbiter.as_ref().map(Arbiter::stage)
    }

    pub fn trouble(&self) -> Option<Trouble> {
        self.arbiter.as_ref().and_then(Arbiter::trouble)
    }

    fn words(&self) -> Option<Words> {
        self.arbiter.as_ref().map(Arbiter::words)
    }

    /// Whom its workers send batches to, and in which epoch.
    pub fn target(&self) -> Option<(u64, Incarnation)> {
        match self.work {
            Work::Reconciling { epoch, with } => Some((epoch, with)),
            Work::Leading { epoch, both, catching, .. } => both.or(catching).map(|with| (epoch, with)),
            _ => None,
        }
    }

    /// Whoever asks from an epoch has left it, durably, and no worker works; or requires both copies in it, if that is what
    /// it asks for.
    fn is_unsafe(&self, node: Node, expected: Option<Register>, wanted: Register) -> Option<String> {
        let expected = expected?;
        let pairs = match self.work {
            Work::Leading { epoch, both, required: true, .. } => {
                epoch == expected.epoch && both == wanted.replica() && wanted.owner == node
            }
            _ => false,
        };
        let works = matches!(self.work, Work::Leading { .. } | Work::Following { acknowledge: true, .. });
        let left = self.disk.left >= expected.epoch && !works;
        let what = || format!("{node} asks for {wanted:?}, works as {:?}, and has left {}", self.work, self.disk.left);
        (!pairs && !left).then(what)
    }

    /// The report that counts for what its workers do, if there is one.
    fn counted(&self) -> Option<Report> {
        let (epoch, with) = self.target()?;
        self.report.filter(|report| report.epoch == epoch && report.copy == with)
    }
}

impl World {
    /// Two boxes that have just been set up.
    pub fn new(settings: Settings, budget: Budget) -> World {
        let mut world = World {
            boxes: [Appliance::new(1), Appliance::new(2)],
            register: None,
            truth: None,
            previous: None,
            network: ArrayVec::new(),
            acked: 0,
            batches: 0,
            copies: 2,
            led: [None; EPOCHS_MAX],
            accepted: [false; 2],
            fault: None,
            budget,
            settings,
        };
        for node in Node::BOTH {
            world.start(node);
        }
        world
    }

    pub fn of(&self, node: Node) -> &Appliance {
        &self.boxes[at(node)]
    }

    pub fn of_mut(&mut self, node: Node) -> &mut Appliance {
        &mut self.boxes[at(node)]
    }

    fn start(&mut self, node: Node) {
        let settings = self.settings;
        let it = self.of_mut(node);
        it.lives += 1;
        it.arbiter = Some(Arbiter::new(node, settings, it.disk, it.fit, Instant::ZERO));
        self.drain(node);
    }

    /// Takes what a machine says, and makes its numbers small again, so that worlds that differ in them alone are one.
    fn drain(&mut self, node: Node) {
        let it = &mut self.boxes[at(node)];
        while let Some(action) = it.arbiter.as_mut().and_then(Arbiter::action) {
            match action {
                Action::Read => assert!(it.reading.replace(Asked::Question(())).is_none(), "one read at a time"),
                Action::Propose { expected, wanted } => {
                    self.fault = self.fault.take().or(it.is_unsafe(node, expected, wanted));
                    let before = it.proposing.replace(Asked::Question((expected, wanted)));
                    assert!(before.is_none(), "one proposal at a time");
                }
                Action::Persist(memory) => assert!(it.persisting.replace(memory).is_none(), "one write at a time"),
                Action::Order { order, .. } => {
                    it.orders.iter_mut().for_each(|(latest, _)| *latest = false);
                    it.orders.push((true, order));
                    it.task = false;
                }
                Action::Say(_) => it.saying = true,
                Action::Withdraw | Action::Tell(_) | Action::Renew | Action::Settle(_) => {}
            }
        }
        if let Some(arbiter) = &mut it.arbiter {
            arbiter.renumber();
        }
    }

    pub fn tell(&mut self, node: Node, event: Event) {
        self.note(node, event.cause());
        if let Some(arbiter) = &mut self.of_mut(node).arbiter {
            arbiter.handle(event, Instant::ZERO);
        }
        self.drain(node);
    }

    /// Notes that something is about to be told to a machine.
    pub fn note(&self, node: Node, cause: Cause) {
        if let Some(stage) = self.of(node).stage() {
            MET.with_borrow_mut(|met| met.insert((stage, cause)));
        }
    }

    pub fn with(&mut self, node: Node, act: impl FnOnce(&mut Arbiter)) {
        if let Some(arbiter) = &mut self.of_mut(node).arbiter {
            act(arbiter);
        }
        self.drain(node);
    }

    pub fn found(&self) -> Found {
        self.register.map_or(Found::Missing, Found::Register)
    }

    /// Compares and swaps.
    pub fn land(&mut self, (expected, wanted): Proposal) -> Result<Outcome, String> {
        if self.register != expected {
            return Ok(Outcome::Lost(self.found()));
        }
        if let Some(truth) = self.truth {
            if truth != wanted {
                return Err(format!("{wanted:?} was built upon a register that was set back"));
            }
            // What had been asked without an answer is asked again, and puts the register right.
            self.truth = None;
            self.register = Some(wanted);
            return Ok(Outcome::Won);
        }
        if let Some(before) = expected
            && wanted.epoch != before.epoch + 1
            && !(self.settings.manual && wanted.owner != before.owner && wanted.epoch == before.epoch + 2)
        {
            return Err(format!("{wanted:?} does not follow {before:?}"));
        }
        self.previous = expected;
        self.register = Some(wanted);
        let copy_of = |register: Register| register.incarnations.of(wanted.owner);
        if expected.is_some_and(|before| copy_of(before) != copy_of(wanted)) {
            if !self.accepted[at(wanted.owner)] {
                return Err(format!("{wanted:?} counts on a copy that {expected:?} does not name"));
            }
            self.accepted[at(wanted.owner)] = false;
            self.acked &= holds(&self.of(wanted.owner).log);
        }
        Ok(Outcome::Won)
    }

    /// Carries out the next order of a node.
    pub fn carry(&mut self, node: Node) -> Result<(), String> {
        let lives = self.of(node).lives;
        let it = self.of_mut(node);
        let (latest, order) = it.orders.remove(0);
        let mut at_once = true;
        let mut leads = None;
        match order {
            Order::Freeze => it.work = Work::Frozen,
            Order::Reconcile { epoch, with } => {
                it.work = Work::Reconciling { epoch, with };
                at_once = false;
            }
            Order::Lead { epoch, both } | Order::Adopt { epoch, both } => {
                it.work = Work::Leading { epoch, both, catching: None, required: false };
                // What is adopted is durable.
                it.unsynced &= matches!(order, Order::Lead { .. });
                leads = Some(epoch);
            }
            Order::CatchUp { with } => {
                let Work::Leading { catching, .. } = &mut it.work else {
                    return Err(format!("{node} is to catch up and does not lead"));
                };
                *catching = Some(with);
                at_once = false;
            }
            Order::RequireBoth { with } => {
                let Work::Leading { both, required, .. } = &mut it.work else {
                    return Err(format!("{node} is to require both and does not lead"));
                };
                (*both, *required) = (Some(with), true);
                at_once = false;
            }
            Order::Drain { .. } => at_once = false,
            Order::StepDown | Order::StopFollowing => it.work = Work::Idle,
            Order::Follow { epoch, acknowledge } => it.work = Work::Following { epoch, acknowledge },
        }
        if let Some(epoch) = leads {
            let led = &mut self.led[epoch as usize];
            match led {
                Some(before) if *before != (node, lives) => {
                    return Err(format!("{node} leads in epoch {epoch}, where {before:?} has led"));
                }
                _ => *led = Some((node, lives)),
            }
            // Stale, if the store has gone on; then whoever owns it now has everything, which is checked for the register.
            let it = self.of(node);
            let newest = self.truth.or(self.register).is_some_and(|register| register.epoch == epoch);
            if newest && self.acked & !holds(&it.log) != 0 {
                return Err(format!("{node} leads without batches {:b}", self.acked & !holds(&it.log)));
            }
        }
        if latest {
            if at_once {
                self.tell(node, Event::Done { order: 1 });
            } else {
                self.of_mut(node).task = true;
            }
        }
        Ok(())
    }

    /// Whether what the latest order waits for is the case.
    pub fn is_complete(&self, node: Node) -> bool {
        let it = self.of(node);
        let level = it.counted().is_some_and(|report| holds(&it.log) & !report.holds == 0);
        it.task
            && match it.work {
                Work::Reconciling { .. } => level,
                Work::Leading { required: true, .. } => level,
                Work::Leading { .. } => true,
                _ => false,
            }
    }

    /// Whether a partner takes what the workers of `node` send.
    fn is_taken(&self, node: Node) -> bool {
        let partner = self.of(node.partner());
        match (self.of(node).target(), partner.work) {
            (Some((epoch, with)), Work::Following { epoch: follows, .. }) => {
                epoch == follows && partner.disk.incarnation == with && partner.fit
            }
            _ => false,
        }
    }

    /// Sends one batch to the partner, which cuts off first what the owner does not have.
    pub fn replicate(&mut self, node: Node) {
        let log = self.of(node).log.clone();
        let partner = self.of_mut(node.partner());
        let common = log.iter().zip(&partner.log).take_while(|(ours, theirs)| ours == theirs).count();
        partner.log.truncate(common);
        partner.log.extend(log.get(common).copied());
    }

    pub fn can_replicate(&self, node: Node) -> bool {
        self.is_taken(node) && self.of(node.partner()).log != self.of(node).log
    }

    /// An owner that restarted may take over what only the replica has at the end.
    pub fn can_take_tail(&self, node: Node) -> bool {
        let (ours, theirs) = (&self.of(node).log, &self.of(node.partner()).log);
        let frozen = matches!(self.of(node).work, Work::Reconciling { .. });
        frozen && self.is_taken(node) && theirs.len() > ours.len() && theirs.starts_with(ours)
    }

    pub fn report_of(&self, node: Node) -> Option<Report> {
        let it = self.of(node);
        match it.work {
            Work::Following { epoch, acknowledge } if it.fit => {
                let copy = it.disk.incarnation;
                Some(Report { epoch, copy, holds: holds(&it.log), acknowledged: acknowledge })
            }
            _ => None,
        }
    }

    pub fn can_ack(&self, node: Node, batch: u8) -> bool {
        let it = self.of(node);
        let Work::Leading { both, required, .. } = it.work else {
            return false;
        };
        let confirmed = || {
            let report = it.counted()?;
            Some(report.holds & 1 << batch != 0 && (report.acknowledged || required))
        };
        self.acked & 1 << batch == 0 && it.log.contains(&batch) && (both.is_none() || confirmed() == Some(true))
    }

    pub fn crash(&mut self, node: Node, torn: bool) {
        let it = self.of_mut(node);
        if torn && it.unsynced {
            it.log.pop();
        }
        it.unsynced = false;
        it.arbiter = None;
        it.orders.clear();
        it.work = Work::Idle;
        it.task = false;
        it.reading = None;
        it.persisting = None;
        it.saying = false;
        it.report = None;
        if let Some(Asked::Question(proposal)) = it.proposing.take() {
            self.goes_astray(proposal);
        }
    }

    /// Nobody waits for the proposal any more; it may arrive all the same.
    pub fn goes_astray(&mut self, proposal: Proposal) {
        if !self.network.contains(&proposal) && !self.network.is_full() {
            self.network.push(proposal);
        }
    }

    pub fn restart(&mut self, node: Node) {
        self.start(node);
    }

    /// Another copy in the place of the one that was there, with or without what was remembered.
    pub fn replace(&mut self, node: Node, forgets: bool) {
        self.copies += 1;
        let number = self.copies;
        let it = self.of_mut(node);
        it.log.clear();
        it.fit = true;
        it.disk = if forgets { Memory::new(copy(number)) } else { Memory { incarnation: copy(number), ..it.disk } };
    }

    /// Mail is served on both copies, and nothing is on its way to another state.
    pub fn is_mirrored(&self) -> bool {
        let Some(register) = self.register.filter(|register| register.mode == Mode::Mirrored) else {
            return false;
        };
        let owner = self.of(register.owner);
        let replica = self.of(register.owner.partner());
        let leads = matches!(owner.work, Work::Leading { epoch, both: Some(_), .. } if epoch == register.epoch);
        let follows = replica.work == Work::Following { epoch: register.epoch, acknowledge: true };
        let quiet = owner.orders.is_empty() && replica.orders.is_empty();
        let stages = owner.stage() == Some(Stage::Leading) && replica.stage() == Some(Stage::Following);
        leads && follows && quiet && stages
    }

    /// Whether only an operator can help: whatever the register counts on is no more.
    pub fn is_beyond_help(&self) -> bool {
        let Some(register) = self.register else {
            return true;
        };
        let exists = |node: Node| self.of(node).fit && register.names(node, self.of(node).disk.incarnation);
        !Node::BOTH.into_iter().any(exists)
    }

    /// What must hold in every world.
    pub fn check(&self) -> Result<(), String> {
        if let Some(fault) = &self.fault {
            return Err(fault.clone());
        }
        for node in Node::BOTH {
            let it = self.of(node);
            let works_in = match it.work {
                Work::Leading { epoch, .. } | Work::Following { epoch, acknowledge: true } => Some(epoch),
                _ => None,
            };
            if let Some(epoch) = works_in {
                if epoch <= it.disk.left {
                    return Err(format!("{node} works in epoch {epoch} and has left {}", it.disk.left));
                }
                if epoch > it.disk.epoch_seen {
                    return Err(format!("{node} works in epoch {epoch} and remembers {}", it.disk.epoch_seen));
                }
            }
            let leads = matches!(it.work, Work::Leading { .. });
            let may_lead = matches!(
                it.stage(),
                Some(
                    Stage::Adopting
                        | Stage::Leading
                        | Stage::CatchingUp
                        | Stage::Requiring
                        | Stage::Pairing
                        | Stage::Entering
                        | Stage::Draining
                )
            );
            if leads && it.orders.is_empty() && !may_lead {
                return Err(format!("{node} leads and is {:?}", it.stage()));
            }
            let stopped = matches!(it.stage(), Some(Stage::Closed | Stage::Barred | Stage::Waits));
            if stopped && it.orders.is_empty() && !matches!(it.work, Work::Idle | Work::Frozen) {
                return Err(format!("{node} is {:?} and does {:?}", it.stage(), it.work));
            }
        }
        let Some(register) = self.truth.or(self.register) else {
            return Ok(());
        };
        for node in Node::BOTH {
            let it = self.of(node);
            let lacks = self.acked & !holds(&it.log);
            if it.fit && register.names(node, it.disk.incarnation) && lacks != 0 {
                return Err(format!("the register counts on {node}, which lacks {lacks:b}: {register:?}"));
            }
        }
        Ok(())
    }

    /// Whether the link of `node` says that the partner is there.
    pub fn hears(&self, node: Node) -> bool {
        self.of(node).arbiter.as_ref().is_some_and(|arbiter| matches!(arbiter.partner, Partner::Heard(_)))
    }

    /// What `node` would hear now.
    pub fn partner_words(&self, node: Node) -> Option<Words> {
        self.of(node.partner()).words()
    }
}
