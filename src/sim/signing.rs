//! Signing in a world: the crew of a box, which takes its time, and a key that is missing for a while.
//!
//! In: tasks of the workers. Out: what the crew of production makes of them, later. An Ed25519 key signs the same in the same way each
//! time, and the time in a signature is that of the box, so that a run replays byte for byte.

use super::mail::ORIGIN;
use crate::config;
use crate::control::{ToWorker, WorkerLink};
use crate::dkim::{Canonical, Crew, Key, KeySettings, Keyring, SIGNED_DEFAULT, Task};
use crate::env::{Instant, WallTime};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rustls::pki_types::PrivatePkcs8KeyDer;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// What a signature takes, usually and at most, microseconds: a thread may get no time for a while.
const USUALLY: std::ops::Range<u64> = 50..3_000;
const AT_MOST: u64 = 5_000_000;

/// Selectors of the domain that sends all mail.
const SELECTORS: [&str; 2] = ["one", "two"];

/// What a box signs with, whether it runs or not.
pub(super) struct Signer {
    random: StdRng,
    /// From when on and until when no key is valid.
    gap: (Instant, Instant),
    /// What is told to workers, and when it changes.
    tasks: BTreeMap<(Instant, u64), (u16, Task)>,
    count: u64,
    told: Option<bool>,
}

/// Keys that sign, or that are not valid in any world.
pub(super) fn keyring(valid: bool) -> Keyring {
    let key = |(number, selector): (u8, &&str)| {
        // PKCS #8 of an Ed25519 key (RFC 8410 §7) that everybody knows.
        let mut der = vec![0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];
        der.extend([number; 32]);
        let settings = KeySettings {
            pattern: ORIGIN.into(),
            selector: (**selector).into(),
            path: "own.key".into(),
            not_before: None,
            not_after: (!valid).then(|| WallTime::from_micros(1)),
            headers: SIGNED_DEFAULT.iter().map(|name| (*name).to_owned()).collect(),
            canonical: Canonical::default(),
            expires_after: None,
        };
        Key::new(settings, PrivatePkcs8KeyDer::from(der).into()).expect("a key")
    };
    Keyring::new((7..).zip(&SELECTORS).map(key).collect()).expect("keys that sign")
}

/// As it would stand in the file of a box; nobody reads the key.
pub(super) fn section() -> config::Dkim {
    config::Dkim {
        domain: ORIGIN.to_owned(),
        selector: SELECTORS[0].to_owned(),
        key: "own.key".into(),
        not_before: None,
        not_after: None,
        headers: Vec::new(),
        canonicalization: config::Canonicalization::default(),
        expires_after: None,
    }
}

impl Signer {
    /// For a world whose load lasts so long.
    pub(super) fn new(seed: u64, load: Duration) -> Signer {
        let mut random = StdRng::seed_from_u64(seed ^ 0x6469_6b6d);
        let begins = Instant::ZERO + load.mul_f64(random.random_range(0.1..0.6));
        let gap = (begins, begins + load.mul_f64(random.random_range(0.0..0.2)).min(Duration::from_secs(900)));
        Signer { random, gap, tasks: BTreeMap::new(), count: 0, told: None }
    }

    /// Whether the keys are valid at this time.
    pub(super) fn is_valid(&self, now: Instant) -> bool {
        !(self.gap.0..self.gap.1).contains(&now)
    }

    /// The process has started, with the keys of the moment.
    pub(super) fn started(&mut self, now: Instant) {
        self.tasks.clear();
        self.told = Some(self.is_valid(now));
    }

    /// When something happens next.
    pub(super) fn next(&self, now: Instant) -> Instant {
        let work = self.tasks.first_key_value().map_or(Instant::FAR, |((at, _), _)| *at);
        let changes =
            [self.gap.0, self.gap.1].into_iter().filter(|at| *at > now || self.told != Some(self.is_valid(now)));
        changes.min().unwrap_or(Instant::FAR).min(work)
    }

    /// Takes what workers want signed, and gives back what is done. Whether anything was.
    pub(super) fn step(&mut self, now: Instant, crew: &Crew, links: &[WorkerLink]) -> bool {
        let mut busy = false;
        while let Ok(task) = crew.take() {
            self.count += 1;
            let micros = if self.random.random_bool(0.02) { 0..AT_MOST } else { USUALLY };
            let at = now + Duration::from_micros(self.random.random_range(micros));
            self.tasks.insert((at, self.count), task);
        }
        while let Some(entry) = self.tasks.first_entry()
            && entry.key().0 <= now
        {
            let (worker, task) = entry.remove();
            crew.give(worker, task.work());
            busy = true;
        }
        let valid = self.is_valid(now);
        if self.told != Some(valid) {
            let keyring = Arc::new(keyring(valid));
            // A channel that is full has room later.
            let sent = links.iter().all(|link| link.to.try_send(ToWorker::Keys(Arc::clone(&keyring))).is_ok());
            self.told = sent.then_some(valid);
            busy = true;
        }
        busy
    }
}
