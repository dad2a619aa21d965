//! Domains by pattern: `example.net` itself, `.example.net` all its subdomains (not itself), `*` the rest.

use crate::limits::DOMAIN_SIZE_MAX;
use hashbrown::HashMap;

/// The pattern of what no other one covers.
const DEFAULT_PATTERN: &str = "*";

/// What is known of domains, by the patterns that cover them.
#[derive(Clone, Debug)]
pub(super) struct Domains<T> {
    /// Patterns without a leading dot, in lower case.
    exact: HashMap<Box<[u8]>, T>,
    /// Patterns with a leading dot, kept without it.
    below: HashMap<Box<[u8]>, T>,
    default: Option<T>,
}

impl<T> Default for Domains<T> {
    fn default() -> Domains<T> {
        Domains { exact: HashMap::new(), below: HashMap::new(), default: None }
    }
}

impl<T: Copy> Domains<T> {
    /// Notes what holds for the domains that a pattern covers; what was noted for the same pattern before.
    pub fn insert(&mut self, pattern: &str, value: T) -> Option<T> {
        let name = pattern.trim_end_matches('.').to_ascii_lowercase();
        if name == DEFAULT_PATTERN {
            self.default.replace(value)
        } else if let Some(domain) = name.strip_prefix('.') {
            self.below.insert(domain.as_bytes().into(), value)
        } else {
            self.exact.insert(name.as_bytes().into(), value)
        }
    }

    /// What holds for any domains, in no order.
    pub fn values(&self) -> impl Iterator<Item = T> {
        self.exact.values().chain(self.below.values()).copied().chain(self.default)
    }

    /// What holds for a domain: its own, else that of the nearest domain above with a dotted pattern, else the default. An
    /// empty domain and an address literal have only the default. Takes a look-up for each label, and no memory.
    pub fn get(&self, domain: &str) -> Option<T> {
        if self.exact.is_empty() && self.below.is_empty() {
            return self.default;
        }
        // Only what RFC 5321 §4.5.3.1.2 allows can be in the table; longer names need no copy to be refused.
        let mut lower = [0u8; DOMAIN_SIZE_MAX];
        let domain = domain.strip_suffix('.').unwrap_or(domain);
        let Some(lower) = lower.get_mut(..domain.len()) else { return self.default };
        lower.copy_from_slice(domain.as_bytes());
        lower.make_ascii_lowercase();
        let mut name = &*lower;
        if let Some(value) = self.exact.get(name) {
            return Some(*value);
        }
        if !self.below.is_empty() {
            while let Some(dot) = name.iter().position(|byte| *byte == b'.') {
                name = &name[dot + 1..];
                if let Some(value) = self.below.get(name) {
                    return Some(*value);
                }
            }
        }
        self.default
    }
}
