//! Whose turn it is: the order that priorities make among what could be done now.
//!
//! In: who waits, and how urgent that is. Out: who is next. It never looks at a clock.
//!
//! RFC 6710 lets a server tell fewer priorities apart than there are. Here they are three classes, as in MIXER (RFC 2156): above 0,
//! 0, below 0. A higher class goes first. One that was passed over [`PASSED_OVER_MAX`] times in a row has its turn, after one that waits for as
//! much and is higher: so none starves. Where all three have more to do than can be done, of a hundred turns 74 go to the highest, 20
//! to the next and 6 to the lowest.

use crate::limits::{PASSED_OVER_MAX, PRIORITY_SHARE};
use crate::smtp::Priority;
use std::collections::BTreeMap;

/// Priorities that are treated alike. The higher is the more urgent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Class {
    /// Below 0: what may wait, such as newsletters.
    Bulk,
    /// 0.
    Normal,
    /// Above 0.
    Urgent,
}

impl Class {
    pub const COUNT: usize = 3;
    /// The most urgent first.
    pub const ALL: [Class; Class::COUNT] = [Class::Urgent, Class::Normal, Class::Bulk];

    /// The place of what belongs to it.
    pub fn index(self) -> usize {
        self as usize
    }
}

impl From<Priority> for Class {
    fn from(priority: Priority) -> Class {
        match priority.number() {
            ..0 => Class::Bulk,
            0 => Class::Normal,
            1.. => Class::Urgent,
        }
    }
}

/// Which class is next.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Turns {
    /// How often in a row each was passed over; never more than it may be.
    passed_over: [u8; Class::COUNT],
}

impl Turns {
    /// The class whose turn it is, of those that wait and could have it.
    pub fn next(&mut self, waits: impl Fn(Class) -> bool) -> Option<Class> {
        let mut waiting = Class::ALL.into_iter().filter(|class| waits(*class));
        let first = waiting.next()?;
        let kept_waiting = |class: &Class| self.passed_over[class.index()] >= PASSED_OVER_MAX[class.index()];
        let next = waiting.clone().find(kept_waiting).unwrap_or(first);
        for class in waiting.filter(|class| *class != next) {
            let passed_over = &mut self.passed_over[class.index()];
            *passed_over = PASSED_OVER_MAX[class.index()].min(*passed_over + 1);
        }
        self.passed_over[next.index()] = 0;
        Some(next)
    }
}

/// What is under way of each class, where there is room for so much of all. A class leaves an eighth of the room to each that is
/// more urgent: what takes long must not keep them out.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct UnderWay {
    counts: [usize; Class::COUNT],
}

impl UnderWay {
    /// So many of each class, by its place.
    pub fn new(counts: [usize; Class::COUNT]) -> UnderWay {
        UnderWay { counts }
    }

    /// How much of this class and of those below it there may be, where there may be `max` up to [`Class::Normal`].
    pub fn max(class: Class, max: usize) -> usize {
        match class {
            Class::Bulk => max - max / PRIORITY_SHARE,
            Class::Normal => max,
            Class::Urgent => max + max.div_ceil(PRIORITY_SHARE),
        }
    }

    /// Whether one more of a class may come to what there is.
    pub fn has_room(&self, class: Class, max: usize) -> bool {
        let mut total = 0;
        // What comes counts for its own class, and for those above it.
        [Class::Bulk, Class::Normal, Class::Urgent].into_iter().all(|other| {
            total += self.counts[other.index()];
            other < class || total < UnderWay::max(other, max)
        })
    }

    pub fn add(&mut self, class: Class) {
        self.add_all(class, 1);
    }

    pub fn add_all(&mut self, class: Class, count: usize) {
        self.counts[class.index()] += count;
    }

    pub fn remove(&mut self, class: Class) {
        self.counts[class.index()] -= 1;
    }

    /// Of all classes.
    pub fn total(&self) -> usize {
        self.counts.iter().sum()
    }
}

/// A place in a [`Ring`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    class: Class,
    number: u64,
}

/// Those who wait for their turn: by class, and in the order in which they came. Each keeps its own place.
#[derive(Debug, Default)]
pub(super) struct Ring {
    /// By their numbers, in each class.
    waiting: [BTreeMap<u64, usize>; Class::COUNT],
    count: u64,
    turns: Turns,
}

impl Ring {
    /// Has `who` wait in a class, or no longer. Who waits there already does not lose its place.
    pub fn set(&mut self, who: usize, place: &mut Option<Place>, class: Option<Class>) {
        if place.map(|place| place.class) == class {
            return;
        }
        if let Some(Place { class, number }) = place.take() {
            self.waiting[class.index()].remove(&number);
        }
        *place = class.map(|class| {
            self.count += 1;
            self.waiting[class.index()].insert(self.count, who);
            Place { class, number: self.count }
        });
    }

    /// Takes out who is next, of classes that may; its place is no more.
    pub fn next(&mut self, may: impl Fn(Class) -> bool) -> Option<usize> {
        let waiting = &self.waiting;
        let class = self.turns.next(|class| !waiting[class.index()].is_empty() && may(class))?;
        self.waiting[class.index()].pop_first().map(|(_, who)| who)
    }

    /// Whether somebody waits who may have the next turn.
    pub fn is_ready(&self, may: impl Fn(Class) -> bool) -> bool {
        Class::ALL.into_iter().any(|class| !self.waiting[class.index()].is_empty() && may(class))
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.waiting.iter().map(BTreeMap::len).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn three_classes_are_told_apart() {
        let class = |number: i8| Class::from(Priority::try_from(number).unwrap());
        for number in 1..=9 {
            assert_eq!((class(number), class(-number)), (Class::Urgent, Class::Bulk));
        }
        assert_eq!(class(0), Class::Normal);
    }

    #[test]
    fn where_all_have_more_to_do_than_can_be_done_each_has_its_share() {
        let mut turns = Turns::default();
        let mut counts = [0; Class::COUNT];
        for _ in 0..1000 {
            counts[turns.next(|_| true).unwrap().index()] += 1;
        }
        assert_eq!(counts, [57, 200, 743]);
        let mut turns = Turns::default();
        let bulk = (0..1000).filter(|_| turns.next(|class| class != Class::Urgent) == Some(Class::Bulk)).count();
        assert_eq!(bulk, 58);
        assert_eq!(Turns::default().next(|_| false), None);
    }

    #[test]
    fn what_takes_long_leaves_room_for_what_is_more_urgent() {
        let mut under_way = UnderWay::default();
        let fill = |under_way: &mut UnderWay, class| {
            let mut count = 0;
            while under_way.has_room(class, 16) {
                under_way.add(class);
                count += 1;
            }
            count
        };
        assert_eq!([Class::Bulk, Class::Normal, Class::Urgent].map(|class| fill(&mut under_way, class)), [14, 2, 2]);
        under_way.remove(Class::Urgent);
        assert!(under_way.has_room(Class::Urgent, 16));
        assert!(!under_way.has_room(Class::Normal, 16), "it has its own share");
        // The most urgent may take all, and still each has its turn when something comes back.
        let mut under_way = UnderWay::default();
        assert_eq!(fill(&mut under_way, Class::Urgent), 18);
        under_way.remove(Class::Urgent);
        assert!(Class::ALL.into_iter().all(|class| under_way.has_room(class, 16)));
        assert_eq!(Class::ALL.map(|class| UnderWay::max(class, 1)), [2, 1, 1]);
    }

    #[test]
    fn a_ring_keeps_the_order_within_a_class() {
        let mut ring = Ring::default();
        let mut places = [None; 4];
        for (who, class) in [(0, Class::Bulk), (1, Class::Normal), (2, Class::Urgent), (3, Class::Normal)] {
            ring.set(who, &mut places[who], Some(class));
        }
        // One that comes to be more urgent goes before those that are less; one that stays keeps its place.
        ring.set(0, &mut places[0], Some(Class::Urgent));
        ring.set(1, &mut places[1], Some(Class::Normal));
        assert_eq!(ring.len(), 4);
        assert!(ring.is_ready(|class| class == Class::Normal));
        assert!(!ring.is_ready(|class| class == Class::Bulk));
        assert_eq!(ring.next(|class| class != Class::Urgent), Some(1));
        assert_eq!(std::iter::from_fn(|| ring.next(|_| true)).collect::<Vec<_>>(), [2, 0, 3]);
        ring.set(1, &mut places[1], None);
        assert_eq!(ring.len(), 0);
    }

    proptest! {
        #[test]
        fn nobody_who_waits_is_passed_over_for_ever(waiting in proptest::collection::vec(any::<[bool; 3]>(), 1..400)) {
            let mut turns = Turns::default();
            let mut passed_over = [0; Class::COUNT];
            for waits in waiting {
                let next = turns.next(|class| waits[class.index()]);
                prop_assert_eq!(next.is_some(), waits.contains(&true));
                for class in Class::ALL.into_iter().filter(|class| waits[class.index()]) {
                    let passed_over = &mut passed_over[class.index()];
                    *passed_over = if next == Some(class) { 0 } else { *passed_over + 1 };
                    let others = if class == Class::Urgent { 2 } else { 1 };
                    prop_assert!(*passed_over <= PASSED_OVER_MAX[class.index()] + others);
                }
            }
        }
    }
}
