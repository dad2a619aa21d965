//! Deliveries that wait for a connection of one destination.

use super::target::Waiting;
use crate::delivery::turns::{Class, Turns, UnderWay};
use crate::env::Instant;
use crate::limits::WORK_WAIT_MAX;
use std::collections::VecDeque;

/// They wait by class, and in each in the order in which they came.
#[derive(Debug, Default)]
pub(super) struct Backlog {
    waiting: [VecDeque<Waiting>; Class::COUNT],
    turns: Turns,
}

impl Backlog {
    pub fn push(&mut self, waiting: Waiting) {
        self.waiting[waiting.work.class().index()].push_back(waiting);
    }

    /// What is next, and what waits behind it in its class.
    pub fn in_turn(&self) -> impl Iterator<Item = &Waiting> {
        let mut turns = self.turns;
        let next = turns.next(|class| !self.waiting[class.index()].is_empty());
        next.into_iter().flat_map(|class| &self.waiting[class.index()])
    }

    /// What is next.
    pub fn front(&self) -> Option<&Waiting> {
        self.in_turn().next()
    }

    /// Takes out what is next, or what waits behind it in its class, by its place.
    pub fn take(&mut self, place: usize) -> Option<Waiting> {
        let class = self.turns.next(|class| !self.waiting[class.index()].is_empty())?;
        self.waiting[class.index()].remove(place)
    }

    /// Takes out all of which this holds.
    pub fn extract(&mut self, is_meant: impl Fn(&Waiting) -> bool) -> Vec<Waiting> {
        let mut taken = Vec::new();
        for waiting in &mut self.waiting {
            // Each is asked about once, and what stands before the first of them stays where it is.
            let Some(first) = waiting.iter().position(&is_meant) else { continue };
            let mut rest = waiting.split_off(first).into_iter();
            taken.extend(rest.next());
            for other in rest {
                if is_meant(&other) {
                    taken.push(other);
                } else {
                    waiting.push_back(other);
                }
            }
        }
        taken
    }

    pub fn len(&self) -> usize {
        self.waiting.iter().map(VecDeque::len).sum()
    }

    pub fn is_empty(&self) -> bool {
        self.waiting.iter().all(VecDeque::is_empty)
    }

    /// The most urgent class that waits.
    pub fn class(&self) -> Option<Class> {
        Class::ALL.into_iter().find(|class| !self.waiting[class.index()].is_empty())
    }

    /// How many there are of each class.
    pub fn counts(&self) -> UnderWay {
        UnderWay::new(self.waiting.each_ref().map(VecDeque::len))
    }

    /// The class whose first has waited for longest, and since when.
    fn oldest(&self) -> Option<(Instant, Class)> {
        let first = |class: Class| self.waiting[class.index()].front().map(|waiting| (waiting.since, class));
        Class::ALL.into_iter().filter_map(first).min()
    }

    /// When the first of them will have waited for as long as it may.
    pub fn overdue_at(&self) -> Option<Instant> {
        self.oldest().map(|(since, _)| since + WORK_WAIT_MAX)
    }

    /// Takes out one that has.
    pub fn pop_overdue(&mut self, now: Instant) -> Option<Waiting> {
        let (_, class) = self.oldest().filter(|(since, _)| *since + WORK_WAIT_MAX <= now)?;
        self.waiting[class.index()].pop_front()
    }
}
