//! The entries that wait for one destination.

use super::Key;
use crate::delivery::turns::{Class, Place, Turns, UnderWay};
use crate::delivery::{Answer, RouteId, Way};
use crate::dns;
use crate::env::Instant;
use std::collections::BTreeSet;
use std::sync::Arc;

/// What waits for one destination, and what of it is in hand.
#[derive(Debug, Default)]
pub(super) struct Lane {
    /// By class, and in each in the order in which they are due. Those of another destination are here as an operator sends them here.
    waiting: [BTreeSet<(Instant, Key)>; Class::COUNT],
    /// Those that are not to go out, as an operator has said, in the order in which they would be due.
    kept: BTreeSet<(Instant, Key)>,
    /// Entries of its destination that wait in the lane of another one, or were given out from there.
    pub away: usize,
    turns: Turns,
    /// Jobs that were given out.
    pub in_hand: UnderWay,
    /// Those that are answered at home, since they have waited for too long.
    pub settling: u32,
    /// Its destination takes nothing before then.
    pub closed_until: Instant,
    /// It did not lately: it is asked with one job whether it does again.
    pub probing: bool,
    /// By so much fewer jobs it may have in hand, since it has had more than its owner gets rid of: others need the room.
    pub restraint: u32,
    /// Why nothing went there lately, if nothing did.
    pub why: Option<Box<Answer>>,
    /// Something is due, and is not given out.
    pub standing: bool,
    /// Its place in `timed`, if there.
    pub timed_at: Option<Instant>,
    /// Its place in `ready`, if there.
    pub place: Option<Place>,
    /// It is that of a domain, whose hosts the DNS names.
    pub domain: Option<Box<Domain>>,
}

/// A domain whose route goes by MX.
#[derive(Debug)]
pub(super) struct Domain {
    pub name: Arc<str>,
    pub route: RouteId,
    /// The lane is for mail that heeds nothing of what the domain demands of TLS.
    pub waives: bool,
    /// What is known of it, and until when that holds.
    pub known: Option<(Result<Arc<dns::MailHosts>, dns::Failure>, Instant)>,
    /// It is wanted to know; until then the lane stands still.
    pub wanted: bool,
    /// Recipients of one transaction with these hosts.
    pub recipients_max: usize,
}

impl Domain {
    /// How a job gets there, if that is known.
    pub fn way(&self, now: Instant) -> Option<Way> {
        let (known, until) = self.known.as_ref()?;
        let way = match known {
            Ok(hosts) => {
                let (domain, route, hosts) = (Arc::clone(&self.name), self.route, Arc::clone(hosts));
                Way::Hosts { domain, route, hosts }
            }
            Err(failure) => Way::Failed(failure.clone()),
        };
        (*until > now).then_some(way)
    }
}

/// What can be done for a lane, and when.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Outlook {
    /// The highest class of which something can be given out now.
    pub ready: Option<Class>,
    /// When something more urgent than that may be, if nothing else happens.
    pub timed_at: Option<Instant>,
    /// Something is due that cannot be given out.
    pub standing: bool,
}

impl Lane {
    /// Jobs that it may have in hand, those not counted that only urgent mail may take.
    pub fn in_hand_max(&self, max: u32) -> u32 {
        if self.probing { 1 } else { max.saturating_sub(self.restraint).max(1) }
    }

    fn has_room(&self, class: Class, max: u32) -> bool {
        match self.probing {
            true => self.in_hand.total() == 0,
            false => self.in_hand.has_room(class, self.in_hand_max(max) as usize),
        }
    }

    pub fn insert(&mut self, class: Class, at: Instant, key: Key) {
        self.waiting[class.index()].insert((at, key));
    }

    /// An entry that is not to go out.
    pub fn keep(&mut self, at: Instant, key: Key) {
        self.kept.insert((at, key));
    }

    // It costs less to look for an entry than to keep with each where it is.
    fn sets(&mut self) -> impl Iterator<Item = &mut BTreeSet<(Instant, Key)>> {
        self.waiting.iter_mut().chain([&mut self.kept])
    }

    /// Takes an entry out, whatever its class.
    pub fn remove(&mut self, at: Instant, key: Key) {
        for set in self.sets() {
            if set.remove(&(at, key)) {
                return;
            }
        }
    }

    /// Gives an entry another time.
    pub fn shift(&mut self, before: Instant, at: Instant, key: Key) {
        if let Some(set) = self.sets().find(|set| set.contains(&(before, key))) {
            set.remove(&(before, key));
            set.insert((at, key));
        }
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.kept.is_empty() && self.waiting.iter().all(BTreeSet::is_empty)
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.kept.len() + self.waiting.iter().map(BTreeSet::len).sum::<usize>()
    }

    /// The first of those that are not to go out.
    pub fn first_kept(&self) -> Option<(Instant, Key)> {
        self.kept.first().copied()
    }

    /// How many are on their way, or are answered at home.
    pub fn under_way(&self) -> usize {
        self.in_hand.total() + self.settling as usize
    }

    fn head(&self, class: Class) -> Option<Instant> {
        self.waiting[class.index()].first().map(|(at, _)| *at)
    }

    /// What can be done. `max` as for [`in_hand_max`](Lane::in_hand_max).
    pub fn outlook(&self, now: Instant, max: u32) -> Outlook {
        let is_wanted = self.domain.as_ref().is_some_and(|domain| domain.wanted);
        let is_closed = self.closed_until > now;
        let (mut outlook, mut opens) = (Outlook::default(), false);
        for class in Class::ALL {
            let Some(at) = self.head(class) else { continue };
            let has_room = !is_wanted && self.has_room(class, max);
            if at > now {
                let matters = has_room && outlook.ready.is_none();
                outlook.timed_at = outlook.timed_at.into_iter().chain(matters.then_some(at)).min();
            } else if has_room && !is_closed {
                outlook.ready = outlook.ready.or(Some(class));
            } else {
                outlook.standing = true;
                opens |= has_room;
            }
        }
        if opens {
            outlook.timed_at = Some(self.closed_until);
        }
        // What is kept grows too old all the same: when something of it is due the lane begins to stand still.
        match self.kept.first().map(|(at, _)| *at) {
            Some(at) if at > now => outlook.timed_at = outlook.timed_at.into_iter().chain([at]).min(),
            kept => outlook.standing |= kept.is_some(),
        }
        outlook
    }

    /// Takes out the entry whose turn it is, of classes that may.
    pub fn next(&mut self, now: Instant, max: u32, may: impl Fn(Class) -> bool) -> Option<Key> {
        let mut turns = self.turns;
        let is_due = |class: Class| self.head(class).is_some_and(|at| at <= now);
        let class = turns.next(|class| is_due(class) && self.has_room(class, max) && may(class))?;
        self.turns = turns;
        self.waiting[class.index()].pop_first().map(|(_, key)| key)
    }

    /// Whether nothing is kept of it but its domain.
    pub fn is_unused(&self) -> bool {
        self.under_way() == 0 && self.is_empty() && self.away == 0 && self.place.is_none() && self.timed_at.is_none()
    }
}
