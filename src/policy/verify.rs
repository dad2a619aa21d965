//! What next hops said about recipients, remembered for a while.
//!
//! In: addresses, answers, the time. Out: the answer, if it is known and fresh. Never: the question to the next hop, and
//! no more entries than it was made for.
//!
//! Two tables take turns. What is learnt or looked up is in the young one; when that is half the bound, it becomes the old
//! one, and the old one, in which everything lies that nobody asked for since, is dropped. This is close to "least
//! recently used", without a list to keep.

use super::address::Mailbox;
use crate::config::Config;
use crate::env::Instant;
use hashbrown::HashMap;
use siphasher::sip::SipHasher13;
use std::hash::BuildHasher;
use std::time::Duration;

/// What a next hop said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It takes the recipient.
    Known,
    /// It refuses it for good.
    Unknown,
}

#[derive(Clone, Copy)]
struct Answer {
    verdict: Verdict,
    expires_at: Instant,
}

/// Strangers choose the keys: a fixed or weak hash would let them choose collisions too.
#[derive(Clone)]
struct Seeded(u64);

impl BuildHasher for Seeded {
    type Hasher = SipHasher13;
    fn build_hasher(&self) -> SipHasher13 {
        SipHasher13::new_with_keys(self.0, !self.0)
    }
}

type Table = HashMap<Box<[u8]>, Answer, Seeded>;

/// Answers of next hops.
pub struct VerifyCache {
    young: Table,
    old: Table,
    /// Entries of one table: half of what the cache may hold.
    table_count_max: usize,
    known_ttl: Duration,
    unknown_ttl: Duration,
}

impl VerifyCache {
    /// An empty cache for at most `count_max` answers.
    pub fn new(count_max: usize, known_ttl: Duration, unknown_ttl: Duration, seed: u64) -> VerifyCache {
        let table = || Table::with_hasher(Seeded(seed));
        VerifyCache { young: table(), old: table(), table_count_max: (count_max / 2).max(1), known_ttl, unknown_ttl }
    }

    /// The cache of one worker as `[recipients]` wants it.
    pub fn of(config: &Config, seed: u64) -> VerifyCache {
        let settings = &config.recipients;
        VerifyCache::new(settings.cache as usize, *settings.known_ttl, *settings.unknown_ttl, seed)
    }

    /// What is known about `address`; `None` if nothing is, any more.
    pub fn lookup(&mut self, address: &str, now: Instant) -> Option<Verdict> {
        let mailbox = Mailbox::parse(address)?;
        let (answer, old) = match self.young.get(mailbox.key()) {
            Some(answer) => (*answer, false),
            None => (*self.old.get(mailbox.key())?, true),
        };
        if answer.expires_at <= now {
            let table = if old { &mut self.old } else { &mut self.young };
            table.remove(mailbox.key());
            return None;
        }
        if old {
            self.old.remove(mailbox.key());
            self.keep(mailbox.key(), answer);
        }
        Some(answer.verdict)
    }

    /// Remembers what the next hop said about `address`. What is no address is not remembered.
    pub fn insert(&mut self, address: &str, verdict: Verdict, now: Instant) {
        let Some(mailbox) = Mailbox::parse(address) else { return };
        let ttl = match verdict {
            Verdict::Known => self.known_ttl,
            Verdict::Unknown => self.unknown_ttl,
        };
        self.old.remove(mailbox.key());
        self.keep(mailbox.key(), Answer { verdict, expires_at: now + ttl });
    }

    fn keep(&mut self, key: &[u8], answer: Answer) {
        if self.young.len() >= self.table_count_max && !self.young.contains_key(key) {
            std::mem::swap(&mut self.young, &mut self.old);
            self.young.clear();
        }
        self.young.insert(key.into(), answer);
        debug_assert!(self.young.len() <= self.table_count_max);
        debug_assert!(self.old.len() <= self.table_count_max);
    }

    /// How many answers are held, stale ones included.
    pub fn count(&self) -> usize {
        self.young.len() + self.old.len()
    }
}
