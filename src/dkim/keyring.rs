//! All keys, by the domains that they sign for.

use super::key::{Key, KeyError, KeySettings};
use super::sign::{Unsignable, sign_with};
use crate::config::canonical_domain;
use crate::env::WallTime;
use crate::limits::SIGNATURES_SIZE_MAX;
use std::collections::HashMap;

/// Why keys cannot be used together.
#[derive(Debug, thiserror::Error)]
pub enum KeyringError {
    /// One of them cannot be used at all.
    #[error("{0}")]
    Key(#[from] KeyError),
    /// More is signed at a time than is kept of signatures.
    #[error(
        "[[dkim]] {pattern}: the signatures of all keys that are valid at the same time take {size} bytes, and there is room for \
         {SIGNATURES_SIZE_MAX}: use fewer keys at a time, or sign fewer `headers`"
    )]
    TooMuch {
        /// For which domain.
        pattern: Box<str>,
        /// What they take, bytes.
        size: usize,
    },
}

/// The keys of an appliance.
#[derive(Debug, Default)]
pub struct Keyring {
    keys: Vec<Key>,
    /// Those for each domain, in the order of the configuration.
    places: HashMap<Box<str>, Vec<usize>>,
}

impl Keyring {
    /// Reads all keys, and lets each sign once.
    ///
    /// # Errors
    /// One of them cannot be used.
    pub fn load(settings: Vec<KeySettings>) -> Result<Keyring, KeyringError> {
        let keys = settings.into_iter().map(Key::load).collect::<Result<Vec<_>, _>>()?;
        Keyring::new(keys)
    }

    /// Of these keys.
    ///
    /// # Errors
    /// One of them does not sign.
    pub fn new(keys: Vec<Key>) -> Result<Keyring, KeyringError> {
        let mut places: HashMap<Box<str>, Vec<usize>> = HashMap::new();
        let mut sizes = Vec::new();
        for (place, key) in keys.iter().enumerate() {
            places.entry(key.settings.pattern.clone()).or_default().push(place);
            // The longest time that there is, so that no later signature is longer.
            let latest = WallTime::from_micros(u64::MAX);
            let signed = sign_with(key, "From: a@b\r\n\r\n".as_bytes(), &[], latest);
            let fails =
                |error: Unsignable| KeyError::Fails { path: key.settings.path.clone(), text: error.to_string() };
            // Each field that is there is named once more than those that are not.
            let names: usize = key.settings.headers.iter().map(|name| name.len() + 4).sum();
            sizes.push(signed.map_err(fails)?.len() + names);
        }
        for (pattern, places) in &places {
            // Most are valid when one begins to be.
            for from in places.iter().map(|place| keys[*place].settings.not_before.unwrap_or_default()) {
                let valid = places.iter().filter(|place| keys[**place].is_valid(from));
                let size = valid.map(|place| sizes[*place]).sum();
                if size > SIGNATURES_SIZE_MAX {
                    return Err(KeyringError::TooMuch { pattern: pattern.clone(), size });
                }
            }
        }
        Ok(Keyring { keys, places })
    }

    /// All of them, in the order of the configuration.
    pub fn keys(&self) -> &[Key] {
        &self.keys
    }

    /// Whether mail of this domain is ours to sign, and with what at this time: nothing, if no key is valid.
    pub fn find(&self, domain: &str, now: WallTime) -> Option<Vec<&Key>> {
        let domain = canonical_domain(domain)?;
        let above = domain.match_indices('.').map(|(at, _)| &domain[at..]);
        let places = std::iter::once(&*domain).chain(above).find_map(|pattern| self.places.get(pattern))?;
        Some(places.iter().map(|place| &self.keys[*place]).filter(|key| key.is_valid(now)).collect())
    }
}
