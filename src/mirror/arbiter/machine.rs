//! The machine: what it knows, what it takes in and gives out. What follows from what it knows stands in
//! [`decide`](super::decide).

use super::state::{Goal, Held, Partner, Phase, Replica, State};
use super::types::{Action, Event, Found, Notice, Order, Outcome, Role, Settings, Stage, Trouble, Words};
use crate::env::Instant;
use crate::mirror::register::{Incarnation, Memory, Mode, Node, Register};
use crate::spool::Room;
use std::collections::VecDeque;
use std::time::Duration;

/// The machine for one identity on one node. The module doc has its table.
///
/// After each call, take [`Arbiter::action`] until there is none, then call again at [`Arbiter::deadline`] at the latest.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Arbiter {
    pub(super) me: Node,
    pub(super) settings: Settings,
    pub(super) state: State,
    /// As it should be on the disk.
    pub(super) memory: Memory,
    /// As it is on the disk.
    pub(super) durable: Memory,
    pub(super) persisting: Option<Memory>,
    /// The logs can be worked with.
    pub(super) fit: bool,
    /// What the disk has for them.
    pub(super) room: Room,
    /// The port of the addresses has a link.
    pub(super) port_up: bool,
    /// Another copy was asked for, and another machine: this one does nothing any more.
    pub(super) ended: bool,
    /// The copy and its memory are of an earlier time than the register: somebody has restored a disk.
    pub(super) set_back: bool,
    /// The newest register that was read or won. Never older than what was known before.
    pub(super) known: Option<Register>,
    /// What is wrong with what was read last.
    pub(super) amiss: Option<Trouble>,
    /// The highest epoch that the partner has named.
    pub(super) heard_epoch: u64,
    /// With the manual arbiter: the last epoch of ours that the partner was heard to be in as well, since we have started.
    pub(super) met: u64,
    /// A read is on its way; an answer below this epoch was never the truth after the question.
    pub(super) reading: Option<u64>,
    pub(super) read_wanted: bool,
    pub(super) read_at: Instant,
    pub(super) reachable: bool,
    /// The proposal that is on its way.
    pub(super) asked: Option<(Option<Register>, Register)>,
    pub(super) retry_at: Option<Instant>,
    pub(super) partner: Partner,
    /// It has worked since the machine was started, so that the copy is no other than the one that it was.
    pub(super) has_worked: bool,
    /// Number of the last order, and whether it is carried out.
    pub(super) order: u64,
    pub(super) done: bool,
    pub(super) held: Held,
    /// The last order lets workers do something.
    pub(super) working: bool,
    /// Which copy the last `CatchUp`, `RequireBoth` or `Reconcile` is for.
    pub(super) with: Option<Incarnation>,
    /// Told to work alone, until told otherwise. Not kept over a restart.
    pub(super) alone: bool,
    /// When an owner that is not settled gives up its addresses, and whether it has.
    pub(super) isolated_at: Option<Instant>,
    pub(super) isolated: bool,
    /// When a partner that does not take part is waited for no longer, and whether that is so.
    pub(super) join_at: Option<Instant>,
    pub(super) join_over: bool,
    pub(super) actions: VecDeque<Action>,
    pub(super) said: Option<Words>,
    pub(super) told: Option<Trouble>,
}

/// More steps than this do not follow from one event: the longest way through the stages has half as many.
const STEPS_MAX: usize = 16;

/// With the manual arbiter, whoever is not the owner asks for an epoch so much higher: the one between may have been asked for by
/// the owner, which came to tell nobody.
pub(super) const EPOCHS_BY_HAND: u64 = 2;

impl Arbiter {
    /// A machine that has just started: `memory` is what is on the disk, `fit` whether the logs opened without damage below
    /// a watermark.
    pub fn new(me: Node, settings: Settings, memory: Memory, fit: bool, now: Instant) -> Arbiter {
        assert!(settings.alone_after < settings.isolated_after, "{settings:?}");
        assert!(settings.isolated_after < settings.takeover_after, "{settings:?}");
        assert!(settings.takeover_after < settings.start_alone_after, "{settings:?}");
        assert!(memory.left <= memory.epoch_seen, "{memory:?}");
        let mut arbiter = Arbiter {
            me,
            settings,
            state: State::Waits,
            memory,
            durable: memory,
            persisting: None,
            fit,
            room: Room::Enough,
            port_up: true,
            ended: false,
            set_back: false,
            known: None,
            amiss: None,
            heard_epoch: 0,
            met: 0,
            reading: None,
            read_wanted: true,
            read_at: now,
            reachable: true,
            asked: None,
            retry_at: None,
            partner: Partner::Quiet { heard_at: now },
            has_worked: false,
            order: 0,
            done: true,
            held: Held::Nothing,
            working: false,
            with: None,
            alone: false,
            isolated_at: Some(now + settings.isolated_after),
            isolated: false,
            join_at: None,
            join_over: false,
            actions: VecDeque::new(),
            said: None,
            told: None,
        };
        arbiter.decide(now);
        arbiter
    }

    /// Takes in what happened.
    pub fn handle(&mut self, event: Event, now: Instant) {
        match event {
            Event::Read(found) => {
                if let Some(floor) = self.reading.take() {
                    self.read_at = now;
                    let before = self.known.filter(|_| self.settings.manual);
                    self.learn(found, floor);
                    // What is not our own comes from the partner.
                    if before.is_some() && before != self.known {
                        self.met = self.known.map_or(0, |known| known.epoch);
                    }
                }
            }
            Event::Stirred => self.read_wanted = true,
            Event::Proposed(outcome) => self.proposed(outcome, now),
            Event::Persisted => self.durable = self.persisting.take().unwrap_or(self.durable),
            Event::Heard(words) => {
                if self.partner != Partner::Heard(words) {
                    // Something moves: it is waited for anew.
                    self.join_at = None;
                    self.join_over = false;
                }
                self.partner = Partner::Heard(words);
                if words.epoch > self.seen() {
                    self.heard_epoch = words.epoch;
                    self.read_wanted = true;
                }
            }
            Event::Silent { heard_at } => match self.partner {
                Partner::Gone { heard_at: before } if before >= heard_at => {}
                _ => self.partner = Partner::Quiet { heard_at },
            },
            Event::Done { order } => self.done |= order == self.order,
            Event::StorageFailed => self.fit = false,
            Event::Room(room) => self.room = room,
            Event::Port { up } => self.port_up = up,
        }
        self.decide(now);
    }

    /// Does what is due. Harmless at any other time.
    pub fn expire(&mut self, now: Instant) {
        let due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        if due(self.isolated_at) {
            self.isolate();
        }
        if due(self.join_at) {
            self.join_at = None;
            self.join_over = true;
        }
        if due(self.retry_at) {
            self.ask_again(now);
        }
        if self.reading.is_none() && self.read_at + self.read_interval() <= now {
            self.read_wanted = true;
        }
        self.decide(now);
    }

    /// When [`Arbiter::expire`] is to be called at the latest, if nothing happens before.
    pub fn deadline(&self) -> Instant {
        if self.ended {
            return Instant::FAR;
        }
        let silence = match self.partner {
            Partner::Quiet { heard_at } => Some(heard_at + self.silence_max()),
            Partner::Heard(_) | Partner::Gone { .. } => None,
        };
        let read = self.reading.is_none().then(|| self.read_at + self.read_interval());
        let all = [silence, read, self.isolated_at, self.join_at, self.retry_at];
        all.into_iter().flatten().min().unwrap_or(Instant::FAR)
    }

    /// The next thing to do, if there is one.
    pub fn action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// What the machine does now.
    pub fn stage(&self) -> Stage {
        self.state.stage()
    }

    /// The newest register that was read or won, for `status`.
    pub fn register(&self) -> Option<Register> {
        self.known
    }

    /// What this node remembers, as it should be on the disk.
    pub fn memory(&self) -> Memory {
        self.memory
    }

    /// Whether the partner is heard, as far as anybody has told us.
    pub fn hears_partner(&self) -> bool {
        matches!(self.partner, Partner::Heard(_))
    }

    /// Whether the identity is on its way to the partner, as an operator asked.
    pub fn is_moving(&self) -> bool {
        match self.state {
            State::Leading { phase, .. } => phase == Phase::Draining,
            State::Stopping { goal, .. }
            | State::Leaving { goal, .. }
            | State::Deciding { goal, .. }
            | State::Levelling { goal, .. } => goal == Goal::Move,
            State::Proposing { wanted, .. } => wanted.owner != self.me,
            _ => false,
        }
    }

    /// What needs an operator, if anything does.
    pub fn trouble(&self) -> Option<Trouble> {
        let gone = matches!(self.partner, Partner::Gone { .. });
        let waits_in = match self.state {
            _ if !self.settings.manual => None,
            State::Deciding { from, .. } if from.owner == self.me && from.mode == Mode::Mirrored => {
                (self.replica_of(from) == Replica::Useless).then_some(from.epoch)
            }
            State::Following { register, .. } if self.counts_in(register) && self.owner_is_lost() => {
                Some(register.epoch)
            }
            _ => None,
        };
        match self.state {
            _ if self.amiss.is_some() => self.amiss,
            _ if self.set_back => Some(Trouble::CopySetBack),
            _ if !self.fit => Some(Trouble::CopyUnfit),
            State::Barred => Some(Trouble::CopyReplaced),
            State::Following { register, .. } if gone && !self.counts_in(register) => Some(Trouble::OwnerGone),
            _ => waits_in.map(|epoch| if self.met == epoch { Trouble::CommandNeeded } else { Trouble::Unmet }),
        }
    }

    /// What this node says of itself to its partner.
    pub fn words(&self) -> Words {
        let role = match self.state {
            State::Adopting { .. } | State::Leading { .. } => Role::Leads,
            State::Following { register, acknowledge: false } if self.counts_in(register) => Role::Left,
            State::Following { .. } => Role::Follows,
            _ if self.is_owner() => Role::Frozen,
            _ => Role::Waits,
        };
        let stuck = self.room == Room::None && matches!(self.state, State::Following { .. });
        let able = self.is_fit() && !self.isolated && !stuck && !matches!(self.state, State::Closed | State::Barred);
        let roomy = self.takes_mail();
        Words {
            epoch: self.memory.epoch_seen,
            role,
            incarnation: self.memory.incarnation,
            able,
            roomy,
            standing: None,
            orders: 0,
        }
    }

    /// The highest epoch that this node knows of; a register below it is not the true one.
    pub(super) fn seen(&self) -> u64 {
        self.memory.epoch_seen.max(self.heard_epoch)
    }

    /// Whether our copy can be worked with.
    pub(super) fn is_fit(&self) -> bool {
        self.fit && !self.set_back
    }

    /// Whether there is anything to take mail with, and anywhere to put it.
    pub(super) fn takes_mail(&self) -> bool {
        self.room == Room::Enough && self.port_up
    }

    /// Whether the register vouches for our copy as the replica.
    pub(super) fn counts_in(&self, register: Register) -> bool {
        register.owner != self.me && register.replica() == Some(self.memory.incarnation)
    }

    /// How long the partner may be silent. The one who owns waits less, unless it has just started.
    pub(super) fn silence_max(&self) -> Duration {
        if !self.is_owner() {
            self.settings.takeover_after
        } else if self.has_worked {
            self.settings.alone_after
        } else {
            self.settings.start_alone_after
        }
    }

    /// Whether it acts as the owner, working or not.
    fn is_owner(&self) -> bool {
        self.state.acts_on().is_some_and(|register| register.owner == self.me)
    }

    /// Takes in what stands, or stood, in the store: not before `floor` was known.
    fn learn(&mut self, found: Found, floor: u64) {
        if self.reachable != (found != Found::Unreachable) {
            self.reachable = !self.reachable;
            self.actions.push_back(Action::Tell(Notice::Store { reachable: self.reachable }));
        }
        match found {
            Found::Unreachable => {}
            Found::Unreadable => self.amiss = Some(Trouble::RegisterUnreadable),
            Found::Split { epoch } => {
                self.amiss = Some(Trouble::RegisterSplit);
                // What settles it comes behind both.
                self.memory.epoch_seen = self.memory.epoch_seen.max(epoch);
            }
            Found::Missing if floor > 0 => self.amiss = Some(Trouble::RegisterMissing),
            Found::Register(register) if register.epoch < floor => self.amiss = Some(Trouble::RegisterBehind),
            Found::Missing if self.seen() == 0 => self.amiss = Some(Trouble::Uncreated),
            // True when the question was answered; since then we have learned more.
            Found::Missing => self.read_wanted = true,
            Found::Register(register) if register.epoch < self.seen() => self.read_wanted = true,
            Found::Register(register) => {
                let forked = self.known.is_some_and(|known| known.epoch == register.epoch && known != register);
                self.amiss = forked.then_some(Trouble::RegisterForked);
                if !forked {
                    // Nobody counts on a copy that has not seen, durably, the epoch that the register followed. What it has
                    // not seen it does not learn now, lest it look like one that has after a restart.
                    let named = register.names(self.me, self.memory.incarnation);
                    let step = if self.settings.manual { EPOCHS_BY_HAND } else { 1 };
                    self.set_back = named && register.epoch > self.memory.epoch_seen + step;
                    self.known = Some(register);
                    if !self.set_back {
                        self.memory.epoch_seen = register.epoch;
                    }
                }
            }
        }
    }

    fn proposed(&mut self, outcome: Outcome, now: Instant) {
        let Some((expected, wanted)) = self.asked.take() else {
            return;
        };
        // What was asked before the machine was told to think again has an outcome like any other, but gives no rights.
        let waited_for = match self.state {
            State::Proposing { expected: from, wanted: to } => (from, to) == (expected, wanted),
            State::Leading { register, phase: Phase::Pairing { wanted: to } } => {
                (Some(register), to) == (expected, wanted)
            }
            _ => false,
        };
        match outcome {
            Outcome::Won => self.won(wanted, waited_for, now),
            Outcome::Lost(Found::Register(register)) if register == wanted => self.won(wanted, waited_for, now),
            Outcome::Lost(found) if found != Found::Unreachable && found != stands(expected) => {
                self.learn(found, expected.map_or(0, |register| register.epoch));
                if waited_for {
                    self.think_again(now);
                }
            }
            // Lost to what was expected is no answer: whoever says so is wrong about something.
            Outcome::Unknown | Outcome::Lost(_) => {
                if waited_for {
                    self.retry_at = Some(now + self.settings.retry_after);
                }
            }
        }
    }

    fn won(&mut self, wanted: Register, waited_for: bool, now: Instant) {
        self.learn(Found::Register(wanted), 0);
        if waited_for {
            if self.known == Some(wanted) && self.amiss.is_none() && wanted.epoch == self.seen() {
                self.enter(State::Entering { register: wanted }, now);
            } else {
                self.think_again(now);
            }
        }
    }

    /// Asks the store; nothing else is asked before it has answered.
    pub(super) fn ask(&mut self, expected: Option<Register>, wanted: Register) {
        assert!(self.asked.is_none(), "one question at a time");
        self.asked = Some((expected, wanted));
        self.actions.push_back(Action::Propose { expected, wanted });
    }

    /// Asks the same question once more, unless it is known to be a question about the past.
    pub(super) fn ask_again(&mut self, now: Instant) {
        self.retry_at = None;
        let (expected, wanted) = match self.state {
            State::Proposing { expected, wanted } => (expected, wanted),
            State::Leading { register, phase: Phase::Pairing { wanted } } => (Some(register), wanted),
            _ => return,
        };
        if self.heard_epoch > self.memory.epoch_seen {
            // The partner knows more; that is read first.
            self.read_wanted = true;
            self.retry_at = Some(now + self.settings.retry_after);
        } else if self.memory.epoch_seen >= wanted.epoch && self.known != Some(wanted) {
            self.think_again(now);
        } else {
            self.ask(expected, wanted);
        }
    }

    pub(super) fn order(&mut self, order: Order) {
        self.order += 1;
        self.done = false;
        (self.working, self.held) = match (order, self.held) {
            (Order::Freeze, Held::Owner { .. }) => (false, self.held),
            (Order::Freeze, _) => (false, Held::Owner { applied: false }),
            (Order::StopFollowing, held) => (false, held),
            (Order::StepDown, _) => (false, Held::Nothing),
            (Order::Follow { .. }, _) => (true, Held::Replica),
            (Order::Adopt { .. }, _) => (true, Held::Owner { applied: false }),
            (Order::Lead { .. }, _) => (true, Held::Owner { applied: true }),
            (Order::Reconcile { .. } | Order::CatchUp { .. } | Order::RequireBoth { .. }, held) => (true, held),
            (Order::Drain { .. }, held) => (true, held),
        };
        self.with = match order {
            Order::CatchUp { with } | Order::RequireBoth { with } | Order::Reconcile { with, .. } => Some(with),
            _ => None,
        };
        self.actions.push_back(Action::Order { number: self.order, order });
    }

    /// Whatever works stops.
    pub(super) fn quiesce(&mut self) {
        match self.held {
            Held::Owner { .. } if self.working => self.order(Order::Freeze),
            Held::Replica if self.working => self.order(Order::StopFollowing),
            _ => {}
        }
    }

    /// Nothing works; what is to be done follows from the register alone.
    pub(super) fn think_again(&mut self, now: Instant) {
        self.quiesce();
        self.enter(State::Waits, now);
    }

    /// Goes from one state to the next; all of them do.
    pub(super) fn enter(&mut self, state: State, now: Instant) {
        let before = (self.state.stage(), self.state.epoch());
        self.state = state;
        self.retry_at = None;
        let after = (self.state.stage(), self.state.epoch());
        if before != after {
            self.actions.push_back(Action::Tell(Notice::Stage { stage: after.0, epoch: after.1 }));
        }
        match state {
            State::Adopting { .. } | State::Leading { .. } | State::Following { .. } => {
                self.has_worked = true;
                self.isolated_at = None;
                self.isolated = false;
                self.join_at = None;
                self.join_over = false;
            }
            State::Closed | State::Barred => self.isolate(),
            _ if self.isolated || self.isolated_at.is_some() || !self.is_owner() => {}
            _ => {
                let since = match self.partner {
                    Partner::Heard(_) => now,
                    Partner::Quiet { heard_at } | Partner::Gone { heard_at } => heard_at,
                };
                self.isolated_at = Some(since + self.settings.isolated_after);
            }
        }
    }

    /// Asks for another copy in the place of this one.
    pub(super) fn renew(&mut self) {
        self.ended = true;
        self.actions.push_back(Action::Renew);
    }

    /// Asks for the end of a split, in favour of this copy.
    pub(super) fn settle(&mut self) {
        self.actions.push_back(Action::Settle(self.memory.incarnation));
    }

    /// Whether mail is taken and delivered here, and the addresses are answered for.
    pub fn works(&self) -> bool {
        self.state.stage().works() && !self.isolated
    }

    pub(super) fn isolate(&mut self) {
        self.isolated_at = None;
        if !self.isolated {
            self.isolated = true;
            self.actions.push_back(Action::Withdraw);
            // One that is about to start has had no addresses yet.
            if self.held == (Held::Owner { applied: true }) {
                self.actions.push_back(Action::Tell(Notice::Isolated));
            }
        }
    }

    /// Draws the conclusions, then says what has changed by them.
    pub(super) fn decide(&mut self, now: Instant) {
        if self.ended {
            return;
        }
        let mut steps = 0;
        loop {
            if let Partner::Quiet { heard_at } = self.partner
                && heard_at + self.silence_max() <= now
            {
                self.partner = Partner::Gone { heard_at };
            }
            let before = self.state;
            self.meet();
            self.step(now);
            if self.state == before {
                break;
            }
            steps += 1;
            assert!(steps < STEPS_MAX, "{before:?} and {:?} follow from each other", self.state);
        }
        if self.persisting.is_none() && self.memory != self.durable {
            self.persisting = Some(self.memory);
            self.actions.push_back(Action::Persist(self.memory));
        }
        if self.reading.is_none() && self.read_wanted {
            self.read_wanted = false;
            self.reading = Some(self.seen());
            self.actions.push_back(Action::Read);
        }
        let words = self.words();
        if self.said != Some(words) {
            self.said = Some(words);
            self.actions.push_back(Action::Say(words));
        }
        let trouble = self.trouble();
        if self.told != trouble {
            self.told = trouble;
            self.actions.push_back(Action::Tell(Notice::Trouble(trouble)));
        }
    }

    /// Takes note of it that the partner, which is heard, has not gone past us: not before it is off, for one of us to be told so.
    fn meet(&mut self) {
        if let (true, Some(known), Partner::Heard(words)) = (self.settings.manual, self.known, self.partner)
            && words.epoch == known.epoch
        {
            self.met = known.epoch;
        }
    }

    fn read_interval(&self) -> Duration {
        let waits = match self.state {
            State::Waits => self.amiss.is_none(),
            State::Closed | State::Barred | State::Leading { .. } | State::Following { .. } => false,
            // The answer to the proposal tells more than a read.
            State::Proposing { .. } => false,
            _ => true,
        };
        if waits || self.heard_epoch > self.memory.epoch_seen {
            self.settings.retry_after
        } else {
            self.settings.read_every
        }
    }
}

/// What is found where exactly this stands.
fn stands(register: Option<Register>) -> Found {
    register.map_or(Found::Missing, Found::Register)
}
