//! What standing orders make of entries.
//!
//! What an order keeps stays in the lane of its destination, apart from what may go. What it sends elsewhere waits in the lane of where
//! it goes, so that the trouble of one way is not that of the other. An entry is brought to where it belongs when it is scheduled, when
//! its turn comes, and, after an order was given or has ended, in one walk over all of them, a few in each breath.
//!
//! An entry whose recipients are under different orders is *parted*. It waits where those of its recipients belong that are due
//! first, of all that may go out; a job takes no others with it. So it goes from lane to lane until only those are left that
//! are kept.

use super::{Key, MessageView, NONE_FORCED, Queue, Wishes};
use crate::delivery::orders::{OfSender, Orders, Rule};
use crate::delivery::{Answer, DestinationId};
use crate::env::{Instant, Now};
use crate::limits::ORDER_LOOKS;
use crate::spool::MessageId;
use std::collections::BTreeMap;
use std::num::NonZeroU64;
use std::ops::Bound;
use std::sync::Arc;

/// What an order makes of a recipient, or of an entry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Course {
    /// It goes its own way.
    #[default]
    Own,
    /// The order of this number sends it elsewhere.
    Elsewhere(u64),
    /// The order of this number keeps it.
    Kept(u64),
}

impl Course {
    fn order(self) -> Option<u64> {
        match self {
            Course::Own => None,
            Course::Elsewhere(number) | Course::Kept(number) => Some(number),
        }
    }
}

/// What is known of an entry that waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Note {
    pub course: Course,
    /// The lane that it waits in.
    pub place: usize,
    /// Others of its recipients belong elsewhere.
    pub parted: bool,
    /// The first order that keeps some of those.
    pub also: Option<NonZeroU64>,
}

impl Note {
    /// No order is about it, and its own lane is here.
    pub fn plain(own: usize) -> Note {
        Note { course: Course::Own, place: own, parted: false, also: None }
    }

    /// The orders that it counts for.
    fn orders(&self) -> impl Iterator<Item = u64> {
        self.course.order().into_iter().chain(self.also.map(NonZeroU64::get))
    }
}

/// Where an entry is to wait, and until when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Spot {
    pub course: Course,
    pub at: Instant,
    /// As in [`Note`].
    pub parted: bool,
    /// As in [`Note`].
    pub also: Option<NonZeroU64>,
}

/// Finds the spot of an entry from those of its recipients.
#[derive(Debug, Default)]
pub(super) struct Choice {
    going: Option<(Instant, Course)>,
    kept: Option<(Instant, Course)>,
    first: Option<Course>,
    parted: bool,
}

impl Choice {
    /// One more recipient.
    pub fn add(&mut self, at: Instant, course: Course) {
        let best = if matches!(course, Course::Kept(_)) { &mut self.kept } else { &mut self.going };
        *best = best.iter().copied().chain([(at, course)]).min();
        self.parted |= *self.first.get_or_insert(course) != course;
    }

    /// None: there is no recipient.
    pub fn spot(self) -> Option<Spot> {
        let (at, course) = self.going.or(self.kept)?;
        let kept = self.kept.and_then(|(_, course)| course.order()).filter(|_| self.going.is_some());
        Some(Spot { course, at, parted: self.parted, also: kept.and_then(NonZeroU64::new) })
    }
}

impl FromIterator<(Instant, Course)> for Choice {
    fn from_iter<I: IntoIterator<Item = (Instant, Course)>>(recipients: I) -> Choice {
        let mut choice = Choice::default();
        recipients.into_iter().for_each(|(at, course)| choice.add(at, course));
        choice
    }
}

/// The orders, and what follows from them for entries.
#[derive(Debug, Default)]
pub(super) struct Book {
    pub orders: Arc<Orders>,
    /// Of the entries that wait those of which more is to be known than [`Note::plain`].
    notes: BTreeMap<Key, Note>,
    /// Of those, how many are under which order.
    counts: BTreeMap<u64, usize>,
    /// How far the walk is, if there is one: those up to this entry were looked at.
    walk: Option<Bound<Key>>,
}

impl Book {
    /// What the orders make of a recipient in this domain.
    pub fn course(&self, of_sender: OfSender, domain: &str) -> Course {
        match self.orders.rule(of_sender, domain) {
            None => Course::Own,
            Some(rule) if rule.stops().is_some() => Course::Kept(rule.number()),
            Some(rule) => Course::Elsewhere(rule.number()),
        }
    }

    /// Takes note of an entry whose own lane is here.
    pub fn note(&mut self, key: Key, own: usize, note: Note) {
        if note != Note::plain(own) {
            self.notes.insert(key, note);
            note.orders().for_each(|number| *self.counts.entry(number).or_default() += 1);
        }
    }

    /// Forgets an entry.
    pub fn strike(&mut self, key: Key) -> Option<Note> {
        let note = self.notes.remove(&key)?;
        for number in note.orders() {
            if let Some(count) = self.counts.get_mut(&number) {
                *count -= 1;
                if *count == 0 {
                    self.counts.remove(&number);
                }
            }
        }
        Some(note)
    }

    fn rule(&self, number: u64) -> Option<&Rule> {
        self.orders.rules().iter().find(|rule| rule.number() == number)
    }
}

impl Queue {
    /// What an operator has said from now on. Entries are brought to where they belong by [`sort_out`](Queue::sort_out).
    pub fn set_orders(&mut self, orders: Arc<Orders>) {
        let numbers = |orders: &Orders| orders.rules().iter().map(Rule::number).collect::<Vec<_>>();
        if numbers(&orders) != numbers(&self.book.orders) {
            self.book.walk = Some(Bound::Unbounded);
        }
        self.book.orders = orders;
    }

    /// Goes on bringing entries to where they belong. Whether there is more to do.
    pub fn sort_out<M: MessageView>(&mut self, now: Now, lookup: impl Fn(MessageId) -> Option<M>) -> bool {
        let mut looks = 0;
        while looks < ORDER_LOOKS {
            let Some(after) = self.book.walk else { return false };
            let Some(key) = self.waiting.range((after, Bound::Unbounded)).next().map(|(key, _)| *key) else {
                self.book.walk = None;
                return false;
            };
            self.book.walk = Some(Bound::Excluded(key));
            looks += 1;
            if let Some(message) = lookup(key.0) {
                self.set_right(now, key, &message, &mut looks);
            }
        }
        true
    }

    /// Whether [`sort_out`](Queue::sort_out) has something to do.
    pub(super) fn has_to_sort(&self) -> bool {
        self.book.walk.is_some()
    }

    /// How many entries each order keeps, or sends elsewhere, by its number. One that is parted counts for the order that it waits under
    /// now, and for the first that keeps others of its recipients.
    pub fn ordered(&self) -> impl Iterator<Item = (u64, usize)> {
        self.book.counts.iter().map(|(number, count)| (*number, *count))
    }

    /// Why an order keeps an entry, if one does.
    pub(super) fn why_kept(&self, key: Key) -> Option<&Answer> {
        let Course::Kept(number) = self.book.notes.get(&key)?.course else { return None };
        self.book.rule(number)?.stops()
    }

    /// The lane that an entry waits in.
    pub(super) fn lane_of(&self, key: Key) -> usize {
        self.book.notes.get(&key).map_or_else(|| self.place_of(key.1), |note| note.place)
    }

    /// The lane that entries of a destination belong to which are on this course.
    pub(super) fn place_for(&mut self, own: DestinationId, message: &impl MessageView, course: Course) -> usize {
        let destination = match course {
            Course::Own | Course::Kept(_) => own,
            Course::Elsewhere(number) => {
                let orders = Arc::clone(&self.book.orders);
                let wishes = self.wishes(message);
                orders.target(number).map_or(own, |(route, domain)| self.other(route, domain, wishes))
            }
        };
        self.place_of(destination)
    }

    fn other(&mut self, route: DestinationId, domain: Option<&str>, wishes: Wishes) -> DestinationId {
        match domain {
            Some(domain) => self.destination(domain, wishes),
            None => self.routes.with_pool(route, wishes.pool),
        }
    }

    /// Moves an entry if it does not wait where it belongs. Whether it did not. Adds to `looks` the recipients that were looked at for
    /// that, but the first.
    pub(super) fn set_right(&mut self, now: Now, key: Key, message: &impl MessageView, looks: &mut usize) -> bool {
        let note = self.book.notes.get(&key).copied();
        if note.is_none() && self.book.orders.is_empty() {
            return false;
        }
        let Some(&at) = self.waiting.get(&key) else { return false };
        let (open, looked_at) = self.open_recipients(message, key.1);
        *looks += looked_at.saturating_sub(1);
        let open = open.into_iter().map(|open| (self.instant_of(now, open.at), open.course));
        let Some(found) = open.collect::<Choice>().spot() else { return false };
        let Note { course, parted, also, .. } = note.unwrap_or(Note::plain(self.place_of(key.1)));
        let forced_from = self.forced.get(&key).copied().unwrap_or(NONE_FORCED);
        // When all of it goes together it has its time already.
        let is_timed_anew = (found.parted || parted) && forced_from == NONE_FORCED;
        let due = if is_timed_anew && found.at.max(at) > now.mono { found.at } else { at };
        let moves = found.course != course || found.also != also || due != at;
        if moves {
            self.wait(now, key, message, Spot { at: due, ..found }, forced_from);
        }
        moves
    }
}
