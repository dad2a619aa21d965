//! The shelf as it outlives a restart: a policy counts for as long as it says, also then (RFC 8461 §3.3).
//!
//! In: the shelf, or the bytes of a file. Out: the other one. Only policies that demand something are kept: that there is none, or that
//! a fetch failed, is found out anew.

use super::policy::{Mode, Policy};
use super::shelf::{Entry, Shelf, refresh_delay};
use crate::env::{Now, WallTime};
use crate::event::rfc3339;
use crate::limits::{POLICIES_FILE_SIZE_MAX, POLICIES_MAX};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// The version of the file.
const VERSION: u32 = 1;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Form {
    version: u32,
    policies: Vec<Kept>,
}

/// One policy.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    domain: Box<str>,
    id: Box<str>,
    /// The lines of its text.
    policy: Vec<String>,
    #[serde(with = "rfc3339")]
    ends_at: WallTime,
    #[serde(with = "rfc3339")]
    refresh_at: WallTime,
}

impl Shelf {
    /// What is to be kept of it.
    pub fn to_bytes(&self, now: Now) -> Vec<u8> {
        let demanding = self.entries.iter().filter_map(|(domain, entry)| {
            let policy =
                entry.policy.as_ref().filter(|policy| policy.mode != Mode::None && entry.ends_at > now.mono)?;
            Some(Kept {
                domain: domain.clone(),
                id: entry.id.clone(),
                policy: policy.lines(),
                ends_at: now.wall + entry.ends_at.since(now.mono),
                refresh_at: now.wall + entry.refresh_at.since(now.mono),
            })
        });
        let form = Form { version: VERSION, policies: demanding.collect() };
        serde_json::to_vec(&form).expect("policies have text keys only")
    }

    /// What an earlier process has kept, without what has become too old since.
    ///
    /// # Errors
    /// It is not as we wrote it, in this way.
    pub fn from_bytes(bytes: &[u8], now: Now) -> Result<Shelf, String> {
        if bytes.len() > POLICIES_FILE_SIZE_MAX {
            return Err("it is larger than any of ours".to_owned());
        }
        let Form { version, policies } = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        if version != VERSION {
            return Err(format!("its version is {version}, and this rohrpost knows {VERSION}"));
        }
        if policies.len() > POLICIES_MAX {
            return Err(format!("it has more than {POLICIES_MAX} policies"));
        }
        let mut shelf = Shelf::default();
        for Kept { domain, id, policy, ends_at, refresh_at } in policies {
            let policy =
                Policy::parse(&policy.join("\n")).map_err(|error| format!("the policy of {domain}: {error}"))?;
            if policy.mode == Mode::None || shelf.entries.contains_key(&domain) {
                return Err(format!("the policy of {domain} is none, or there are two"));
            }
            // Where the wall clock was set back meanwhile, it counts no longer than if it had been fetched just now.
            let (left, fresh) = (ends_at.since(now.wall).min(policy.max_age), refresh_at.since(now.wall));
            if left.is_zero() {
                continue;
            }
            let entry = Entry {
                id,
                ends_at: now.mono + left,
                refresh_at: now.mono + fresh.min(refresh_delay(&policy)),
                held_until: now.mono,
                policy: Some(Arc::new(policy)),
                failure: None,
            };
            shelf.add(domain, entry);
        }
        Ok(shelf)
    }
}

#[cfg(test)]
mod tests {
    use super::super::shelf::Known;
    use super::*;
    use crate::env::Instant;
    use crate::limits::POLICY_HOSTS_MAX;
    use proptest::prelude::*;
    use std::time::Duration;

    /// So many seconds after the start of the box, and after the epoch.
    fn at(mono: u64, wall: u64) -> Now {
        Now { mono: Instant::ZERO + Duration::from_secs(mono), wall: WallTime::from_micros(wall * 1_000_000) }
    }

    const DAY: u64 = 86_400;

    fn policy(mode: Mode, seconds: u64) -> Arc<Policy> {
        Arc::new(Policy { mode, mx: vec!["*.mx.example".into()], max_age: Duration::from_secs(seconds) })
    }

    fn counting(shelf: &Shelf, now: Now, domain: &str, id: Option<&str>) -> Option<Arc<Policy>> {
        match shelf.get(now.mono, domain, id) {
            Known::Counts(standing, _) => standing.policy,
            Known::Unknown => None,
        }
    }

    #[test]
    fn a_policy_counts_for_as_long_as_it_says_over_a_restart() {
        let before = at(1_000, 1_700_000_000);
        let mut shelf = Shelf::default();
        assert!(!shelf.take_changed());
        let (long, short) = (policy(Mode::Enforce, 10 * DAY), policy(Mode::Testing, DAY));
        shelf.put(before.mono, "long.example", "1", Ok(Arc::clone(&long)));
        shelf.put(before.mono, "short.example", "2", Ok(Arc::clone(&short)));
        shelf.put(before.mono, "none.example", "3", Ok(policy(Mode::None, 10 * DAY)));
        assert!(shelf.take_changed());
        shelf.put(before.mono, "failed.example", "4", Err("no".into()));
        assert!(!shelf.take_changed(), "a fetch that failed changes nothing that is kept");
        let bytes = shelf.to_bytes(at(1_060, 1_700_000_060));

        // Another process, whose monotonic clock says something else.
        let soon = at(5, 1_700_003_600);
        let after = Shelf::from_bytes(&bytes, soon).unwrap();
        assert_eq!(after.entries.len(), 2);
        assert_eq!(counting(&after, soon, "long.example", Some("1")), Some(Arc::clone(&long)));
        assert_eq!(counting(&after, soon, "short.example", None), Some(short));
        // Another record leads to another fetch at once, and so does one that is there for long.
        assert_eq!(after.get(soon.mono, "long.example", Some("5")), Known::Unknown);
        let refresh = at(5 + DAY - 3_600, 0);
        assert_eq!(after.get(refresh.mono, "long.example", Some("1")), Known::Unknown);
        // It ends when it would have without the restart.
        let end = 5 + 10 * DAY - 3_600;
        assert_eq!(counting(&after, at(end - 1, 0), "long.example", None), Some(long));
        assert_eq!(counting(&after, at(end, 0), "long.example", None), None);

        let late = Shelf::from_bytes(&bytes, at(5, 1_700_000_000 + 2 * DAY)).unwrap();
        assert_eq!(late.entries.keys().map(|domain| &**domain).collect::<Vec<_>>(), ["long.example"]);
        // A clock that was set back by years keeps nothing for years.
        let back = Shelf::from_bytes(&bytes, at(5, 1_000)).unwrap();
        assert_eq!(back.entries["short.example"].ends_at, at(5 + DAY, 0).mono);
        assert_eq!(back.entries["short.example"].refresh_at, at(5 + DAY / 2, 0).mono);
    }

    #[test]
    fn what_is_not_as_we_wrote_it_is_refused() {
        let now = at(0, 1_700_000_000);
        let mut shelf = Shelf::default();
        shelf.put(now.mono, "d.example", "1", Ok(policy(Mode::Enforce, DAY)));
        let good = String::from_utf8(shelf.to_bytes(now)).unwrap();
        assert!(Shelf::from_bytes(good.as_bytes(), now).is_ok());
        let entry = good.split_once('[').unwrap().1.strip_suffix("]}").unwrap();
        for (from, to) in [
            ("\"version\":1", "\"version\":2"),
            ("\"id\"", "\"ID\""),
            ("mode: enforce", "mode: none"),
            ("mode: enforce", "mode: whatever"),
            ("mx: *.mx.example", "mx: 192.0.2.1"),
            (entry, &format!("{entry},{entry}")),
            ("}]}", "}]"),
            ("}]}", "}]}}"),
        ] {
            let bad = good.replace(from, to);
            assert_ne!(bad, good);
            assert!(Shelf::from_bytes(bad.as_bytes(), now).is_err(), "{bad}");
        }
        assert!(Shelf::from_bytes(b"", now).is_err());
    }

    #[test]
    fn a_full_shelf_is_kept_as_a_whole() {
        let now = at(0, 1_700_000_000);
        // With names of the longest kind in a few, of which there could be as many as there are places.
        let label = "a".repeat(63);
        let host = format!("*.{label}.{label}.{label}.{}", "b".repeat(55));
        let large = Policy { mx: vec![host.into(); POLICY_HOSTS_MAX], ..(*policy(Mode::Enforce, DAY)).clone() };
        let mut shelf = Shelf::default();
        shelf.put(now.mono, &"d".repeat(255), &"i".repeat(32), Ok(Arc::new(large)));
        assert!(shelf.to_bytes(now).len() * POLICIES_MAX <= POLICIES_FILE_SIZE_MAX);
        for number in 1..POLICIES_MAX {
            shelf.put(now.mono, &format!("d{number}.example"), "1", Ok(policy(Mode::Enforce, DAY)));
        }
        let after = Shelf::from_bytes(&shelf.to_bytes(now), now).unwrap();
        assert_eq!(after.entries.len(), POLICIES_MAX);
        after.gauge(&mut |gauge| assert!(gauge.holds(), "{gauge:?}"));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        #[test]
        fn no_bytes_make_it_panic(place in 0usize..200, byte: u8, bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let now = at(0, 1_700_000_000);
            let mut shelf = Shelf::default();
            shelf.put(now.mono, "d.example", "1", Ok(policy(Mode::Enforce, DAY)));
            let mut changed = shelf.to_bytes(now);
            let place = place % changed.len();
            changed[place] = byte;
            let _ = Shelf::from_bytes(&changed, now);
            let _ = Shelf::from_bytes(&bytes, now);
        }
    }
}
