//! The policies that were fetched, for as long as they count.
//!
//! In: what the record of a domain says, what came of a fetch. Out: the policy that counts now, or that one has to be fetched. Of
//! bounded size: what is looked at again first makes room.

use super::policy::{FetchFailure, Mode, Policy};
use crate::env::Instant;
use crate::limits::{Gauge, POLICIES_MAX, POLICY_REFRESH_DELAY_MAX, POLICY_RETRY_DELAY};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// How a domain stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Standing {
    /// The policy that counts, if one does; its mode is never [`Mode::None`].
    pub policy: Option<Arc<Policy>>,
    /// Why it could not be fetched when that was tried last.
    pub failure: Option<FetchFailure>,
}

/// What is known of a domain's policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Known {
    /// So it is until then at least, if its record stays the same.
    Counts(Standing, Instant),
    /// It has to be fetched.
    Unknown,
}

/// One domain.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    /// The id of the record for which it was fetched.
    pub(super) id: Box<str>,
    pub(super) policy: Option<Arc<Policy>>,
    /// The policy does not count any more.
    pub(super) ends_at: Instant,
    /// It is fetched again, if the record is the same.
    pub(super) refresh_at: Instant,
    /// It is not fetched before.
    pub(super) held_until: Instant,
    pub(super) failure: Option<FetchFailure>,
}

impl Entry {
    fn standing(&self, now: Instant) -> Standing {
        let policy = self.policy.clone().filter(|policy| policy.mode != Mode::None && self.ends_at > now);
        Standing { policy, failure: self.failure.clone() }
    }

    fn is_of_use_until(&self) -> Instant {
        if self.policy.is_some() { self.ends_at.max(self.held_until) } else { self.held_until }
    }
}

/// How long after it was fetched a policy is fetched again, though its record is the same.
pub(super) fn refresh_delay(policy: &Policy) -> Duration {
    (policy.max_age / 2).min(POLICY_REFRESH_DELAY_MAX)
}

/// All of them.
#[derive(Clone, Debug, Default)]
pub struct Shelf {
    pub(super) entries: BTreeMap<Box<str>, Entry>,
    /// The same, by the time at which they are of no use any more.
    ends: BTreeSet<(Instant, Box<str>)>,
    /// Another policy counts than when that was asked last.
    changed: bool,
}

impl Shelf {
    /// The policy of a domain whose record has this id; without one there is no record, or nobody knows.
    pub fn get(&self, now: Instant, domain: &str, id: Option<&str>) -> Known {
        let entry = self.entries.get(domain);
        let standing = entry.map(|entry| entry.standing(now)).unwrap_or_default();
        let has_policy = standing.policy.is_some();
        match (id, entry) {
            (None, Some(entry)) if has_policy => Known::Counts(standing, entry.ends_at),
            (None, _) => Known::Counts(Standing::default(), Instant::FAR),
            (Some(_), Some(entry)) if entry.held_until > now => {
                // One that ends meanwhile does not count until the next fetch.
                let until = if has_policy { entry.held_until.min(entry.ends_at) } else { entry.held_until };
                Known::Counts(standing, until)
            }
            (Some(id), Some(entry)) if *entry.id == *id && entry.refresh_at > now => {
                Known::Counts(standing, entry.refresh_at)
            }
            (Some(_), _) => Known::Unknown,
        }
    }

    /// What came of a fetch for a record with this id.
    pub fn put(&mut self, now: Instant, domain: &str, id: &str, fetched: Result<Arc<Policy>, FetchFailure>) {
        let before = self.entries.remove(domain);
        if let Some(before) = &before {
            self.ends.remove(&(before.is_of_use_until(), domain.into()));
        }
        self.changed |= fetched.is_ok();
        // Whatever its record says, it is not fetched without end.
        let held_until = now + POLICY_RETRY_DELAY;
        let entry = match (fetched, before) {
            (Ok(policy), _) => Entry {
                id: id.into(),
                ends_at: now + policy.max_age,
                refresh_at: now + refresh_delay(&policy),
                held_until,
                policy: Some(policy),
                failure: None,
            },
            (Err(why), Some(before)) => Entry { held_until, failure: Some(why), ..before },
            (Err(why), None) => {
                Entry { id: id.into(), policy: None, ends_at: now, refresh_at: now, held_until, failure: Some(why) }
            }
        };
        self.add(domain.into(), entry);
        while let Some((until, _)) = self.ends.first()
            && (*until <= now || self.entries.len() > POLICIES_MAX)
            && let Some((_, domain)) = self.ends.pop_first()
        {
            self.entries.remove(&domain);
        }
    }

    /// A domain that is not on it. There is room.
    pub(super) fn add(&mut self, domain: Box<str>, entry: Entry) {
        self.ends.insert((entry.is_of_use_until(), domain.clone()));
        self.entries.insert(domain, entry);
    }

    /// Whether another policy counts since this was asked last.
    pub fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }

    /// Shows how full it is.
    pub fn gauge(&self, see: &mut dyn FnMut(Gauge)) {
        see(Gauge::new("MTA-STS policies that are remembered", self.entries.len(), POLICIES_MAX));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Instant {
        Instant::ZERO + Duration::from_secs(seconds)
    }

    fn policy(mode: Mode, seconds: u64) -> Arc<Policy> {
        Arc::new(Policy { mode, mx: vec!["mx.example".into()], max_age: Duration::from_secs(seconds) })
    }

    const HOUR: u64 = 3600;

    fn counts(known: Known) -> Option<Arc<Policy>> {
        match known {
            Known::Counts(standing, _) => standing.policy,
            Known::Unknown => panic!("it should be known"),
        }
    }

    #[test]
    fn a_policy_counts_until_it_is_too_old_whatever_becomes_of_the_record() {
        let mut shelf = Shelf::default();
        assert_eq!(shelf.get(at(0), "d.example", None), Known::Counts(Standing::default(), Instant::FAR));
        assert_eq!(shelf.get(at(0), "d.example", Some("1")), Known::Unknown);
        let enforce = policy(Mode::Enforce, 10 * HOUR);
        shelf.put(at(0), "d.example", "1", Ok(Arc::clone(&enforce)));
        for (seconds, id) in [(1, Some("1")), (1, None), (5 * HOUR - 1, Some("1")), (10 * HOUR - 1, None)] {
            assert_eq!(counts(shelf.get(at(seconds), "d.example", id)), Some(Arc::clone(&enforce)), "{seconds} {id:?}");
        }
        // Another one, or one that is too old, is fetched.
        assert_eq!(shelf.get(at(HOUR), "d.example", Some("2")), Known::Unknown);
        assert_eq!(shelf.get(at(5 * HOUR), "d.example", Some("1")), Known::Unknown);
        assert_eq!(counts(shelf.get(at(10 * HOUR), "d.example", None)), None);
    }

    #[test]
    fn a_fetch_that_failed_leaves_what_was_known_and_is_not_tried_again_at_once() {
        let mut shelf = Shelf::default();
        shelf.put(at(0), "d.example", "1", Err("no".into()));
        assert_eq!(counts(shelf.get(at(1), "d.example", Some("1"))), None);
        let retry = POLICY_RETRY_DELAY.as_secs();
        assert_eq!(shelf.get(at(retry), "d.example", Some("1")), Known::Unknown);
        let enforce = policy(Mode::Enforce, 10 * HOUR);
        shelf.put(at(retry), "d.example", "1", Ok(Arc::clone(&enforce)));
        assert_eq!(shelf.get(at(HOUR), "d.example", Some("2")), Known::Unknown);
        shelf.put(at(HOUR), "d.example", "2", Err("no".into()));
        let standing = Standing { policy: Some(enforce), failure: Some("no".into()) };
        let held = Known::Counts(standing, at(HOUR + retry));
        assert_eq!(shelf.get(at(HOUR + 1), "d.example", Some("2")), held);
        assert_eq!(shelf.get(at(HOUR + retry), "d.example", Some("2")), Known::Unknown);
    }

    #[test]
    fn a_record_that_changes_all_the_time_is_not_followed_all_the_time() {
        let mut shelf = Shelf::default();
        shelf.put(at(0), "d.example", "1", Ok(policy(Mode::Testing, 10 * HOUR)));
        assert!(counts(shelf.get(at(1), "d.example", Some("2"))).is_some());
    }

    #[test]
    fn a_policy_that_says_there_is_none_ends_the_one_before() {
        let mut shelf = Shelf::default();
        shelf.put(at(0), "d.example", "1", Ok(policy(Mode::Enforce, 10 * HOUR)));
        shelf.put(at(HOUR), "d.example", "2", Ok(policy(Mode::None, 10 * HOUR)));
        for id in [Some("2"), None] {
            assert_eq!(counts(shelf.get(at(HOUR + 1), "d.example", id)), None);
        }
    }

    #[test]
    fn so_many_are_remembered() {
        let mut shelf = Shelf::default();
        for number in 0..POLICIES_MAX as u64 + 10 {
            shelf.put(at(number), &format!("d{number}.example"), "1", Ok(policy(Mode::Enforce, 1_000_000)));
        }
        shelf.gauge(&mut |gauge| assert!(gauge.holds(), "{gauge:?}"));
        assert_eq!(shelf.ends.len(), shelf.entries.len());
        assert!(!shelf.entries.contains_key("d0.example"));
    }
}
