//! The store of a pair's registers: linearizable, far away, and not always there.
//!
//! In: questions of arbiters. Out: answers, some time later; or the word that nobody knows, while the change arrives all the
//! same, or much later, or never.

use super::fault::Tampering;
use super::node::Question;
use crate::control::PairTask;
use crate::env::Instant;
use crate::mirror::arbiter::{Event, Found, Outcome};
use crate::mirror::register::{Node as Identity, Register};
use rand::RngExt;
use rand::rngs::StdRng;
use std::collections::BTreeMap;
use std::time::Duration;

/// A question and its answer take so long each, nanoseconds.
const WAY_MAX: u64 = 4_000_000;

/// So long nobody waits for an answer.
const PATIENCE: Duration = Duration::from_millis(200);

/// A change that is late arrives within this time.
const LATE_MAX: u64 = 5_000_000_000;

/// Something under way.
#[derive(Clone, Copy, Debug)]
enum Parcel {
    /// A question to the store; `None`: nobody waits for the answer any more.
    Question { place: usize, question: Question, awaited: bool },
    /// An answer to a box.
    Answer { place: usize, life: u64, identity: Identity, event: Event },
}

/// The registers of both identities.
pub(super) struct Store {
    registers: [Option<Register>; 2],
    /// What each was before.
    previous: [Option<Register>; 2],
    /// Something that is no register stands there.
    overwritten: [bool; 2],
    /// What stood there before somebody tampered with it, and what that left.
    truths: [Option<[Option<Register>; 2]>; 2],
    /// Boxes are told when a register has changed: which process of which.
    watchers: Vec<(usize, u64)>,
    under_way: BTreeMap<(Instant, u64), Parcel>,
    count: u64,
    /// Boxes that cannot reach it before then.
    cut_until: [Instant; 2],
    /// In this share of questions the answer is lost, or the question late.
    lossy: f64,
}

impl Store {
    pub(super) fn new() -> Store {
        Store {
            registers: [None; 2],
            previous: [None; 2],
            overwritten: [false; 2],
            truths: [None; 2],
            watchers: Vec::new(),
            under_way: BTreeMap::new(),
            count: 0,
            cut_until: [Instant::ZERO; 2],
            lossy: 0.0,
        }
    }

    pub(super) fn register(&self, identity: Identity) -> Option<Register> {
        self.registers[identity as usize]
    }

    /// What the pair made of a register, whatever somebody else has made of it since.
    pub(super) fn truth(&self, identity: Identity) -> Option<Register> {
        self.truths[identity as usize].map_or(self.register(identity), |[truth, _]| truth)
    }

    /// A box cannot reach it before then.
    pub(super) fn cut(&mut self, place: usize, until: Instant) {
        self.cut_until[place] = self.cut_until[place].max(until);
    }

    /// From now on it answers this share of questions late or not at all.
    pub(super) fn set_lossy(&mut self, share: f64) {
        self.lossy = share;
    }

    pub(super) fn heal(&mut self) {
        self.cut_until = [Instant::ZERO; 2];
        self.lossy = 0.0;
    }

    /// These processes are told of changes from now on.
    pub(super) fn watch(&mut self, watchers: Vec<(usize, u64)>) {
        self.watchers = watchers;
    }

    /// Somebody does this to a register. A store to which that happens has lost its connections, and what was on its way.
    pub(super) fn tamper(&mut self, now: Instant, identity: Identity, how: Tampering) {
        let place = identity as usize;
        for parcel in self.under_way.values_mut() {
            if let Parcel::Question { place, question, awaited } = *parcel {
                let (life, identity) = (question.life, question.identity);
                let event = unanswered(question.task);
                // A box of no life takes no answer.
                *parcel = Parcel::Answer { place, life: if awaited { life } else { 0 }, identity, event };
            }
        }
        let truth = self.registers[place];
        match how {
            Tampering::SetBack => self.registers[place] = self.previous[place],
            Tampering::Removed => self.registers[place] = None,
            Tampering::Overwritten => self.overwritten[place] = true,
        }
        self.truths[place] = Some([truth, self.registers[place]]);
        self.stir(now, identity);
    }

    /// The operator puts the registers right. False if one of them was believed and changed.
    pub(super) fn put_right(&mut self, now: Instant) -> bool {
        let mut untouched = true;
        for identity in Identity::BOTH {
            let place = identity as usize;
            let Some([truth, left]) = self.truths[place].take() else { continue };
            untouched &= self.registers[place] == left;
            self.registers[place] = truth;
            self.overwritten[place] = false;
            self.stir(now, identity);
        }
        untouched
    }

    /// Whether a register is not what the pair made of it.
    pub(super) fn is_tampered(&self, identity: Identity) -> bool {
        self.truths[identity as usize].is_some()
    }

    fn stir(&mut self, now: Instant, identity: Identity) {
        for (place, life) in self.watchers.clone() {
            // A watch that is cut off begins anew, and tells then.
            let at = now.max(self.cut_until[place]) + Duration::from_nanos(self.count * 7919 % WAY_MAX);
            self.send(at, Parcel::Answer { place, life, identity, event: Event::Stirred });
        }
    }

    fn send(&mut self, at: Instant, parcel: Parcel) {
        self.count += 1;
        self.under_way.insert((at, self.count), parcel);
    }

    /// A box asks.
    pub(super) fn ask(&mut self, now: Instant, place: usize, question: Question, random: &mut StdRng) {
        let way = Duration::from_nanos(random.random_range(0..WAY_MAX));
        let (life, identity) = (question.life, question.identity);
        let unknown = unanswered(question.task);
        let is_cut = now < self.cut_until[place];
        if is_cut || random.random_bool(self.lossy) {
            self.send(now + PATIENCE, Parcel::Answer { place, life, identity, event: unknown });
            // It may have been on its way when the connection broke.
            if random.random_bool(0.5) {
                let late = Duration::from_nanos(random.random_range(0..LATE_MAX));
                self.send(now + late, Parcel::Question { place, question, awaited: false });
            }
            return;
        }
        self.send(now + way, Parcel::Question { place, question, awaited: true });
    }

    /// When something arrives.
    pub(super) fn next(&self) -> Instant {
        self.under_way.first_key_value().map_or(Instant::FAR, |((at, _), _)| *at)
    }

    /// The next answer that has arrived by now: for which process of which box.
    pub(super) fn answer(&mut self, now: Instant) -> Option<(usize, u64, Identity, Event)> {
        while let Some(entry) = self.under_way.first_entry()
            && entry.key().0 <= now
        {
            match entry.remove() {
                Parcel::Answer { place, life, identity, event } => return Some((place, life, identity, event)),
                Parcel::Question { place, question, awaited } => {
                    let event = self.decide(now, question);
                    if awaited {
                        let (life, identity) = (question.life, question.identity);
                        let back = now + Duration::from_nanos(self.count * 7919 % WAY_MAX);
                        self.send(back, Parcel::Answer { place, life, identity, event });
                    }
                }
            }
        }
        None
    }

    fn decide(&mut self, now: Instant, question: Question) -> Event {
        let place = question.identity as usize;
        let stands = self.registers[place];
        let found = match stands {
            _ if self.overwritten[place] => Found::Unreadable,
            Some(register) => Found::Register(register),
            None => Found::Missing,
        };
        match question.task {
            PairTask::Propose { expected, wanted } if stands == expected && found != Found::Unreadable => {
                self.previous[place] = stands;
                self.registers[place] = Some(wanted);
                self.stir(now, question.identity);
                Event::Proposed(Outcome::Won)
            }
            PairTask::Propose { .. } => Event::Proposed(Outcome::Lost(found)),
            _ => Event::Read(found),
        }
    }
}

/// What is said where there is no answer.
fn unanswered(task: PairTask) -> Event {
    match task {
        PairTask::Read => Event::Read(Found::Unreachable),
        _ => Event::Proposed(Outcome::Unknown),
    }
}
