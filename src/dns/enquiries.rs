//! A worker's side: what it has asked the control thread, and when it asks again.
//!
//! In: domains that something waits for, answers, and whether the channel had room. Out: domains to ask about. A bounded
//! number is asked for at a time; an answer that is lost is asked for again.

use crate::env::Instant;
use crate::limits::{Gauge, LOOKUP_ASK_DELAY, LOOKUP_PATIENCE, LOOKUPS_PER_WORKER_MAX};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// The domains that a worker wants to know about.
#[derive(Debug, Default)]
pub struct Enquiries {
    /// Not asked about yet, in the order of their turns. As many as the domains of what waits in the queue.
    waiting: VecDeque<Box<str>>,
    /// The same, to be found.
    wanted: BTreeSet<Box<str>>,
    /// Asked about, and until when an answer is waited for. At most [`LOOKUPS_PER_WORKER_MAX`].
    asked: BTreeMap<Box<str>, Instant>,
    /// The same, by that time.
    due: BTreeSet<(Instant, Box<str>)>,
    /// The channel had no room: not before this.
    held_until: Instant,
}

impl Enquiries {
    /// Something waits for a domain. Once is enough.
    pub fn want(&mut self, domain: &str) {
        if !self.asked.contains_key(domain) && self.wanted.insert(domain.into()) {
            self.waiting.push_back(domain.into());
        }
    }

    /// The next domain to ask about; [`refused`](Enquiries::refused) follows if that could not be said.
    pub fn next(&mut self, now: Instant) -> Option<Box<str>> {
        if self.held_until > now {
            return None;
        }
        let domain = match self.due.first() {
            Some((at, _)) if *at <= now => self.due.pop_first().map(|(_, domain)| domain)?,
            _ if self.asked.len() < LOOKUPS_PER_WORKER_MAX => self.waiting.pop_front()?,
            _ => return None,
        };
        self.wanted.remove(&domain);
        let until = now + LOOKUP_PATIENCE;
        self.asked.insert(domain.clone(), until);
        self.due.insert((until, domain.clone()));
        Some(domain)
    }

    /// The channel had no room for this one: it is its turn again soon.
    pub fn refused(&mut self, now: Instant, domain: Box<str>) {
        self.forget(&domain);
        if self.wanted.insert(domain.clone()) {
            self.waiting.push_front(domain);
        }
        self.held_until = now + LOOKUP_ASK_DELAY;
    }

    /// There is an answer. Whether it was waited for.
    pub fn answered(&mut self, domain: &str) -> bool {
        self.forget(domain)
    }

    /// When [`next`](Enquiries::next) will have something, if nothing else happens.
    pub fn next_deadline(&self) -> Option<Instant> {
        let ready = !self.waiting.is_empty() && self.asked.len() < LOOKUPS_PER_WORKER_MAX;
        let at = if ready { Some(Instant::ZERO) } else { self.due.first().map(|(at, _)| *at) };
        at.map(|at| at.max(self.held_until))
    }

    /// Shows how many are under way.
    pub fn gauge(&self, see: &mut dyn FnMut(Gauge)) {
        see(Gauge::new("domains asked about", self.asked.len(), LOOKUPS_PER_WORKER_MAX));
    }

    fn forget(&mut self, domain: &str) -> bool {
        let Some(until) = self.asked.remove(domain) else { return false };
        self.due.remove(&(until, domain.into()))
    }
}
