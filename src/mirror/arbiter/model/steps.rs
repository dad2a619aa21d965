//! What may happen next in a world, and what it does.

use super::world::{Asked, BATCHES_MAX, EPOCHS_MAX, Step, Timer, Work, World};
use crate::env::Instant;
use crate::mirror::arbiter::machine::Arbiter;
use crate::mirror::arbiter::state::Partner;
use crate::mirror::arbiter::{Cause, Command, Event, Found, Outcome, Stage, Trouble};
use crate::mirror::register::{Node, Register};
use crate::spool::Room;

impl World {
    /// Steps that belong to the ordinary course of things, in the order in which a calm world takes them.
    pub fn calm_steps(&self, steps: &mut Vec<Step>) {
        for node in Node::BOTH {
            let it = self.of(node);
            let Some(arbiter) = &it.arbiter else {
                continue;
            };
            if !it.orders.is_empty() {
                steps.push(Step::Carry(node));
            }
            if it.persisting.is_some() && it.fit {
                steps.push(Step::Persist(node));
            }
            match it.reading {
                Some(Asked::Question(())) => steps.push(Step::ReadSees(node)),
                Some(Asked::Answer(..)) => steps.push(Step::ReadAnswers(node)),
                None => {}
            }
            match it.proposing {
                Some(Asked::Question(_)) => steps.push(Step::ProposalLands(node)),
                Some(Asked::Answer(..)) => steps.push(Step::ProposalAnswers(node)),
                None => {}
            }
            let partner = self.of(node.partner());
            if partner.arbiter.is_some() && (partner.saying || !self.hears(node)) {
                steps.push(Step::Hear(node));
            }
            if partner.arbiter.is_none() && self.hears(node) {
                steps.push(Step::Silent(node));
            }
            if self.can_replicate(node) {
                steps.push(Step::Replicate(node));
            }
            if self.of(node).target().is_some() && self.is_reported(node) {
                steps.push(Step::Report(node.partner()));
            }
            if self.is_complete(node) {
                steps.push(Step::Complete(node));
            }
            steps.extend(
                (0..self.batches).filter(|batch| self.can_ack(node, *batch)).map(|batch| Step::Ack(node, batch)),
            );
            if arbiter.retry_at.is_some() {
                steps.push(Step::Timer(node, Timer::Retry));
            }
        }
    }

    /// What happens when nothing else does for long enough.
    pub fn timer_steps(&self, steps: &mut Vec<Step>) {
        for node in Node::BOTH {
            let Some(arbiter) = &self.of(node).arbiter else {
                continue;
            };
            // A read that finds what is known changes nothing, and is left out.
            let known = arbiter.known.map_or(Found::Missing, Found::Register);
            let news = known != self.found() || arbiter.amiss.is_some() || arbiter.stage() == Stage::Waits;
            if arbiter.reading.is_none() && news {
                steps.push(Step::Timer(node, Timer::Read));
            }
            if matches!(arbiter.partner, Partner::Quiet { .. }) {
                steps.push(Step::Timer(node, Timer::Silence));
            }
            if arbiter.isolated_at.is_some() {
                steps.push(Step::Timer(node, Timer::Isolated));
            }
            if arbiter.join_at.is_some() {
                steps.push(Step::Timer(node, Timer::Join));
            }
        }
    }

    /// Whether the partner of `node` has something to report that was not.
    fn is_reported(&self, node: Node) -> bool {
        let report = self.report_of(node.partner());
        report.is_some() && report != self.of(node).report
    }

    /// Everything that may happen, within the budget; the calm steps come first, and so many.
    pub fn steps(&self, steps: &mut Vec<Step>) -> usize {
        let budget = self.budget;
        if self.register.is_some_and(|register| register.epoch > u64::from(budget.epochs)) {
            return 0;
        }
        self.calm_steps(steps);
        let calm_count = steps.len();
        self.timer_steps(steps);
        for node in Node::BOTH {
            let it = self.of(node);
            let Some(arbiter) = &it.arbiter else {
                steps.push(Step::Restart(node));
                if budget.disks > 0 {
                    steps.push(Step::RestartEmpty(node));
                    if it.fit {
                        steps.push(Step::RestartUnfit(node));
                    }
                }
                continue;
            };
            let room = usize::from(self.batches) < BATCHES_MAX && !it.log.is_full();
            if budget.batches > 0 && room && matches!(it.work, Work::Leading { .. }) && it.fit {
                steps.push(Step::Append(node));
            }
            if self.can_take_tail(node) {
                steps.push(Step::TakeTail(node));
            }
            if budget.silences > 0 && self.hears(node) && self.of(node.partner()).arbiter.is_some() {
                steps.push(Step::Silent(node));
            }
            if budget.crashes > 0 {
                steps.push(Step::Crash(node));
                if it.unsynced {
                    steps.push(Step::CrashTorn(node));
                }
            }
            if budget.unreachable > 0 {
                if matches!(it.reading, Some(Asked::Question(()))) {
                    steps.push(Step::ReadFails(node));
                }
                if it.proposing.is_some() {
                    steps.push(Step::ProposalLost(node));
                }
            }
            if budget.storage > 0 && it.fit {
                steps.push(Step::StorageFails(node));
            }
            if budget.rooms > 0 {
                let rooms = [Room::None, Room::Scarce, Room::Enough].into_iter().filter(|room| *room != arbiter.room);
                steps.extend(rooms.map(|room| Step::Room(node, room)));
                steps.push(Step::Port(node, !arbiter.port_up));
            }
            let mut probe = |command: Command, step: Step| {
                if arbiter.clone().command(command, Instant::ZERO).is_ok() {
                    steps.push(step);
                }
            };
            if budget.moves > 0 {
                probe(Command::Move, Step::Move(node));
            }
            let off = self.of(node.partner()).arbiter.is_none();
            if budget.solos > 0 {
                probe(Command::Solo { accept_loss: false, partner_is_off: off }, Step::Solo(node));
            }
            if budget.takeovers > 0 {
                probe(Command::TakeOver { partner_is_off: off }, Step::TakeOver(node));
            }
            if budget.losses > 0 && off && self.truth.is_none() {
                probe(Command::Solo { accept_loss: true, partner_is_off: true }, Step::AcceptLoss(node));
            }
            if arbiter.alone {
                probe(Command::Rejoin, Step::Rejoin(node));
            }
        }
        for index in 0..self.network.len() {
            steps.push(Step::LandsLate(index));
            steps.push(Step::Dropped(index));
        }
        if self.truth.is_some() {
            steps.push(Step::PutRight);
        } else if budget.tampering > 0 && self.accepted == [false; 2] {
            // A node that slept through an epoch cannot know that the register has forgotten it; nor can an operator who has
            // accepted a loss meanwhile.
            let seen = |register: Register| {
                Node::BOTH.into_iter().all(|node| {
                    let disk = self.of(node).disk;
                    disk.epoch_seen > register.epoch || !register.names(node, disk.incarnation)
                })
            };
            if self.register.is_some() && self.previous.is_some_and(seen) {
                steps.push(Step::SetBack);
            }
            if self.register.is_some() && Node::BOTH.into_iter().all(|node| self.of(node).disk.epoch_seen > 0) {
                steps.push(Step::Remove);
            }
        }
        calm_count
    }

    /// Takes a step that is possible, and says what went wrong if it did.
    pub fn apply(&mut self, step: Step) -> Result<(), String> {
        let zero = Instant::ZERO;
        match step {
            Step::Carry(node) => self.carry(node)?,
            Step::Complete(node) => {
                let it = self.of_mut(node);
                it.task = false;
                it.unsynced = false;
                self.tell(node, Event::Done { order: 1 });
            }
            Step::Persist(node) => {
                let it = self.of_mut(node);
                let memory = it.persisting.take().expect("a step that is possible");
                if memory.left < it.disk.left || memory.epoch_seen < it.disk.epoch_seen {
                    return Err(format!("{node} forgets: {memory:?} after {:?}", it.disk));
                }
                it.disk = memory;
                self.tell(node, Event::Persisted);
            }
            Step::ReadSees(node) => {
                let found = self.found();
                self.of_mut(node).reading = Some(Asked::Answer((), found));
            }
            Step::ReadAnswers(node) => {
                if let Some(Asked::Answer((), found)) = self.of_mut(node).reading.take() {
                    self.tell(node, Event::Read(found));
                }
            }
            Step::ReadFails(node) => {
                self.budget.unreachable -= 1;
                self.of_mut(node).reading = None;
                self.tell(node, Event::Read(Found::Unreachable));
            }
            Step::ProposalLands(node) => {
                if let Some(Asked::Question(proposal)) = self.of(node).proposing {
                    let outcome = self.land(proposal)?;
                    self.of_mut(node).proposing = Some(Asked::Answer(proposal, outcome));
                }
            }
            Step::ProposalAnswers(node) => {
                if let Some(Asked::Answer(_, outcome)) = self.of_mut(node).proposing.take() {
                    self.tell(node, Event::Proposed(outcome));
                }
            }
            Step::ProposalLost(node) => {
                self.budget.unreachable -= 1;
                if let Some(Asked::Question(proposal)) = self.of_mut(node).proposing.take() {
                    self.goes_astray(proposal);
                }
                self.tell(node, Event::Proposed(Outcome::Unknown));
            }
            Step::LandsLate(index) => {
                let proposal = self.network.remove(index);
                self.land(proposal)?;
            }
            Step::Dropped(index) => {
                self.network.remove(index);
            }
            Step::Hear(node) => {
                self.of_mut(node.partner()).saying = false;
                if let Some(words) = self.partner_words(node) {
                    self.tell(node, Event::Heard(words));
                }
            }
            Step::Silent(node) => {
                if self.of(node.partner()).arbiter.is_some() {
                    self.budget.silences -= 1;
                }
                self.tell(node, Event::Silent { heard_at: zero });
            }
            Step::Timer(node, timer) => {
                self.note(node, Cause::Deadline);
                self.with(node, |arbiter| arbiter.fire(timer));
            }
            Step::Append(node) => {
                self.budget.batches -= 1;
                let batch = self.batches;
                self.batches += 1;
                let it = self.of_mut(node);
                it.log.push(batch);
                it.unsynced = true;
            }
            Step::Replicate(node) => self.replicate(node),
            Step::TakeTail(node) => {
                let tail = self.of(node.partner()).log.clone();
                self.of_mut(node).log = tail;
            }
            Step::Report(node) => {
                let report = self.report_of(node);
                self.of_mut(node).unsynced = false;
                self.of_mut(node.partner()).report = report;
            }
            Step::Ack(node, batch) => {
                self.acked |= 1 << batch;
                if self.of(node).log.last() == Some(&batch) {
                    self.of_mut(node).unsynced = false;
                }
            }
            Step::Crash(node) => {
                self.budget.crashes -= 1;
                self.crash(node, false);
            }
            Step::CrashTorn(node) => {
                self.budget.crashes -= 1;
                self.crash(node, true);
            }
            Step::Restart(node) => self.restart(node),
            Step::RestartEmpty(node) => {
                self.budget.disks -= 1;
                self.replace(node, true);
                self.restart(node);
            }
            Step::RestartUnfit(node) => {
                self.budget.disks -= 1;
                self.of_mut(node).fit = false;
                self.restart(node);
            }
            Step::StorageFails(node) => {
                self.budget.storage -= 1;
                self.of_mut(node).persisting = None;
                self.tell(node, Event::StorageFailed);
            }
            Step::Room(node, room) => {
                self.budget.rooms = self.budget.rooms.saturating_sub(1);
                self.tell(node, Event::Room(room));
            }
            Step::Port(node, up) => {
                self.budget.rooms = self.budget.rooms.saturating_sub(1);
                self.tell(node, Event::Port { up });
            }
            Step::SetBack => {
                self.budget.tampering -= 1;
                self.truth = self.register;
                self.register = self.previous;
                self.cut_off();
            }
            Step::Remove => {
                self.budget.tampering -= 1;
                self.truth = self.register.take();
                self.cut_off();
            }
            Step::PutRight => self.register = self.truth.take(),
            Step::Move(node) => self.command(node, Command::Move),
            Step::Solo(node) => {
                let off = self.of(node.partner()).arbiter.is_none();
                self.command(node, Command::Solo { accept_loss: false, partner_is_off: off });
            }
            Step::TakeOver(node) => {
                let off = self.of(node.partner()).arbiter.is_none();
                self.command(node, Command::TakeOver { partner_is_off: off });
            }
            Step::AcceptLoss(node) => {
                self.accepted[node as usize] = true;
                self.command(node, Command::Solo { accept_loss: true, partner_is_off: true });
            }
            Step::Rejoin(node) => self.command(node, Command::Rejoin),
        }
        if self.register.is_some_and(|register| register.epoch as usize + 1 >= EPOCHS_MAX) {
            return Ok(());
        }
        self.check()
    }

    /// A store that is restored has no connections.
    fn cut_off(&mut self) {
        self.network.clear();
        for it in &mut self.boxes {
            if let Some(Asked::Question(proposal)) = it.proposing {
                it.proposing = Some(Asked::Answer(proposal, Outcome::Unknown));
            }
        }
    }

    fn command(&mut self, node: Node, command: Command) {
        let budget = &mut self.budget;
        match command {
            Command::Move => budget.moves -= 1,
            Command::Solo { accept_loss: true, .. } => budget.losses -= 1,
            Command::Solo { .. } => budget.solos -= 1,
            Command::TakeOver { .. } => budget.takeovers -= 1,
            Command::Create | Command::Rejoin => {}
        }
        self.note(node, command.cause());
        self.with(node, |arbiter| arbiter.command(command, Instant::ZERO).expect("a step that is possible"));
    }

    /// Ends all faults, and lets the world run in its calm course until it is mirrored. Whether it is.
    pub fn heal(&mut self, trace: &mut Vec<Step>) -> Result<bool, String> {
        if self.truth.is_some() {
            self.take(Step::PutRight, trace)?;
        }
        self.network.clear();
        self.budget.epochs = u8::MAX;
        for node in Node::BOTH {
            if self.of(node).arbiter.as_ref().is_some_and(|arbiter| !arbiter.fit) {
                self.crash(node, false);
            }
            if self.of(node).arbiter.is_none() {
                self.take(Step::Restart(node), trace)?;
            }
            if self.of(node).arbiter.as_ref().is_some_and(|arbiter| arbiter.alone) {
                self.take(Step::Rejoin(node), trace)?;
            }
            // A disk that has room for batches is enough, also where it has none for mail.
            if self.of(node).arbiter.as_ref().is_some_and(|arbiter| arbiter.room == Room::None) {
                self.take(Step::Room(node, Room::Scarce), trace)?;
            }
            if self.of(node).arbiter.as_ref().is_some_and(|arbiter| !arbiter.port_up) {
                self.take(Step::Port(node, true), trace)?;
            }
        }
        let mut steps = Vec::new();
        for _ in 0..HEALING_STEPS_MAX {
            if self.is_mirrored() || self.register.is_some_and(|register| register.epoch as usize + 2 >= EPOCHS_MAX) {
                return Ok(true);
            }
            steps.clear();
            self.calm_steps(&mut steps);
            if steps.is_empty() {
                self.timer_steps(&mut steps);
            }
            match steps.first() {
                Some(step) => self.take(*step, trace)?,
                None if self.renew(trace)? || self.decide_by_hand() => {}
                None => return Ok(false),
            }
        }
        Ok(false)
    }

    /// Ends all faults but one: the other box is off, and stays off. Whether this one works, if its copy is counted on.
    pub fn survive(&mut self, node: Node, trace: &mut Vec<Step>) -> Result<bool, String> {
        if self.truth.is_some() {
            self.take(Step::PutRight, trace)?;
        }
        self.crash(node.partner(), false);
        self.network.clear();
        self.budget.epochs = u8::MAX;
        if self.of(node).arbiter.as_ref().is_some_and(|arbiter| !arbiter.fit) {
            self.crash(node, false);
        }
        if self.of(node).arbiter.is_none() {
            self.take(Step::Restart(node), trace)?;
        }
        if self.of(node).arbiter.as_ref().is_some_and(|arbiter| !arbiter.port_up) {
            self.take(Step::Port(node, true), trace)?;
        }
        let mut steps = Vec::new();
        for _ in 0..HEALING_STEPS_MAX {
            steps.clear();
            self.calm_steps(&mut steps);
            if steps.is_empty() {
                self.timer_steps(&mut steps);
            }
            match steps.first() {
                Some(step) => self.take(*step, trace)?,
                None if self.settings.manual && self.decide_by_hand() => {}
                None => break,
            }
        }
        let it = self.of(node);
        let counts = it.fit && self.register.is_some_and(|register| register.names(node, it.disk.incarnation));
        let epoch = self.register.map_or(0, |register| register.epoch);
        let leads = it.stage() == Some(Stage::Leading) && it.work == Work::alone(epoch);
        Ok(leads || !counts || epoch as usize + 2 >= EPOCHS_MAX)
    }

    /// What an operator does who finds a copy that is not fit, and that nobody counts on.
    fn renew(&mut self, trace: &mut Vec<Step>) -> Result<bool, String> {
        for node in Node::BOTH {
            let renews = |arbiter: &Arbiter| arbiter.clone().command(Command::Rejoin, Instant::ZERO).is_ok();
            if !self.of(node).fit && self.of(node).arbiter.as_ref().is_some_and(renews) {
                self.crash(node, false);
                self.replace(node, false);
                self.take(Step::Restart(node), trace)?;
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// What an operator does whom the manual arbiter waits for.
    fn decide_by_hand(&mut self) -> bool {
        let waits = |node: &Node| matches!(self.of(*node).trouble(), Some(Trouble::CommandNeeded | Trouble::Unmet));
        let Some(node) = Node::BOTH.into_iter().find(waits) else {
            return false;
        };
        // It is off now, if it was not.
        let was_on = self.of(node.partner()).arbiter.is_some();
        if was_on {
            self.crash(node.partner(), false);
            self.tell(node, Event::Silent { heard_at: Instant::ZERO });
            self.with(node, |arbiter| arbiter.fire(Timer::Silence));
        }
        self.with(node, |arbiter| {
            let off = true;
            let _ = arbiter
                .command(Command::TakeOver { partner_is_off: off }, Instant::ZERO)
                // There is one register here, and what it says is true: nothing is lost.
                .or_else(|_| arbiter.command(Command::Solo { accept_loss: true, partner_is_off: off }, Instant::ZERO))
                .and_then(|()| arbiter.command(Command::Rejoin, Instant::ZERO));
        });
        if was_on {
            self.restart(node.partner());
        }
        true
    }

    fn take(&mut self, step: Step, trace: &mut Vec<Step>) -> Result<(), String> {
        trace.push(step);
        self.apply(step)
    }
}

/// A world that is not mirrored after so many calm steps never will be; the slowest needs a fraction.
const HEALING_STEPS_MAX: usize = 400;

impl Arbiter {
    /// Lets a timer go off that is armed.
    fn fire(&mut self, timer: Timer) {
        match timer {
            Timer::Retry => self.ask_again(Instant::ZERO),
            Timer::Read => self.read_wanted = true,
            Timer::Silence => {
                if let Partner::Quiet { heard_at } = self.partner {
                    self.partner = Partner::Gone { heard_at };
                }
            }
            Timer::Isolated => self.isolate(),
            Timer::Join => {
                self.join_at = None;
                self.join_over = true;
            }
        }
        self.decide(Instant::ZERO);
    }

    /// Makes the number of the last order small.
    pub(super) fn renumber(&mut self) {
        self.order = 1;
    }
}
