//! Keys that sign, held against each other and the listeners.

use super::Check;
use crate::config::error::Problem;
use crate::config::{Config, Role};
use crate::limits::DKIM_KEYS_MAX;

impl Check<'_> {
    pub(super) fn signing(&mut self, config: &Config) {
        self.problems.extend(self.too_many("dkim", "domain", config.dkim.len(), DKIM_KEYS_MAX));
        let place = |index| self.places.of_entry("dkim", index, "selector");
        let keys = config.dkim.iter().enumerate().map(|(index, dkim)| {
            let selector = dkim.selector.to_ascii_lowercase();
            (format!("{selector} for {}", dkim.pattern()), place(index))
        });
        self.no_duplicates(keys.collect(), "two [[dkim]] sections with the selector");
        for (index, dkim) in config.dkim.iter().enumerate() {
            if dkim.domain.contains('[') {
                let place = self.places.of_entry("dkim", index, "domain");
                self.add(Problem::new(place, format!("{}: nothing is published for an address", dkim.domain)));
            }
            if let (Some(from), Some(until)) = (dkim.not_before, dkim.not_after)
                && until <= from
            {
                let place = self.places.of_entry("dkim", index, "not_after");
                self.add(Problem::new(
                    place,
                    format!("the key of {} is never valid: it ends before it begins", dkim.domain),
                ));
            }
            if !dkim.headers.iter().any(|name| name.eq_ignore_ascii_case("From")) {
                let place = self.places.of_entry("dkim", index, "headers");
                self.add(
                    Problem::new(place, "`headers` lacks From, which must be signed (RFC 6376 §5.4)")
                        .help("add \"From\""),
                );
            }
            let place = |item| self.places.of_item("dkim", index, "headers", item);
            let names = dkim.headers.iter().enumerate().map(|(item, name)| (name.to_ascii_lowercase(), place(item)));
            self.no_duplicates(names.collect(), "`headers` names twice");
        }
    }
}

/// What is allowed and rarely meant.
pub(super) fn warnings(config: &Config) -> Vec<String> {
    let mut warnings = Vec::new();
    if !config.dkim.is_empty() && config.listeners.iter().all(|listener| listener.role == Role::Mx) {
        warnings.push(
            "[[dkim]] signs nothing: only what comes over a [[listener]] with the role \"submission\" or \"relay\" is signed"
                .to_owned(),
        );
    }
    warnings
}
