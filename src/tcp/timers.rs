//! When what must be looked at.

use crate::env::Instant;
use hashbrown::HashMap;
use std::collections::BTreeSet;
use std::hash::Hash;

/// One timer for each key.
#[derive(Debug)]
pub(super) struct Timers<K> {
    due: BTreeSet<(Instant, K)>,
    armed: HashMap<K, Instant>,
}

impl<K: Copy + Ord + Hash> Timers<K> {
    pub fn new() -> Timers<K> {
        Timers { due: BTreeSet::new(), armed: HashMap::new() }
    }

    /// Arms the timer of `key`, or moves it.
    pub fn schedule(&mut self, key: K, at: Instant) {
        match self.armed.insert(key, at) {
            Some(before) if before == at => return,
            Some(before) => {
                self.due.remove(&(before, key));
            }
            None => {}
        }
        self.due.insert((at, key));
    }

    pub fn cancel(&mut self, key: K) {
        if let Some(before) = self.armed.remove(&key) {
            self.due.remove(&(before, key));
        }
    }

    /// A timer that has gone off; it is not armed any more.
    pub fn expired(&mut self, now: Instant) -> Option<K> {
        let (at, key) = *self.due.first()?;
        if at > now {
            return None;
        }
        self.cancel(key);
        Some(key)
    }

    pub fn next_deadline(&self) -> Option<Instant> {
        self.due.first().map(|(at, _)| *at)
    }
}
