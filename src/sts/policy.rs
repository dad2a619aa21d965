//! The record and the policy of a domain, as texts.

use crate::limits::{POLICY_AGE_MAX, POLICY_HOSTS_MAX};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::time::Duration;

/// What is to be done with a host that the policy does not allow (RFC 8461 §5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// It gets no mail.
    Enforce,
    /// It gets mail, and that is written down.
    Testing,
    /// There is no policy any more.
    None,
}

/// A domain's policy (RFC 8461 §3.2).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Policy {
    /// What it demands.
    pub mode: Mode,
    /// Host names, in lower case; one that begins with "*." stands for all with one label more.
    pub mx: Vec<Box<str>>,
    /// How long it counts after it was fetched.
    pub max_age: Duration,
}

/// A text that is no policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoPolicy {
    /// It is not that of a version that we know.
    #[error("its version is not STSv1")]
    Version,
    /// It has no mode, or one that nobody knows.
    #[error("it has no mode that is known")]
    Mode,
    /// It does not say for how long it counts.
    #[error("its max_age is no number of seconds")]
    MaxAge,
    /// It names no host, or one that can be none.
    #[error("what it has for mx is no host")]
    Mx,
    /// It names too many hosts.
    #[error("it names more than {POLICY_HOSTS_MAX} hosts")]
    TooManyHosts,
}

/// In which way fetching a policy failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FetchFault {
    /// Its server could not be reached, or did not give it.
    Fetch,
    /// Its server has no certificate that is valid for its name.
    Certificate,
    /// What it gave is no policy.
    Policy,
}

/// Why a policy could not be fetched.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct FetchFailure {
    /// In which way.
    pub fault: FetchFault,
    /// For people.
    pub text: Box<str>,
}

impl fmt::Display for FetchFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl<T: Into<Box<str>>> From<T> for FetchFailure {
    /// It could not be had at all.
    fn from(text: T) -> FetchFailure {
        FetchFailure { fault: FetchFault::Fetch, text: text.into() }
    }
}

impl Policy {
    /// Reads the text that a server gave. Keys that are not known mean nothing, and of those that may be there once the first counts.
    pub fn parse(text: &str) -> Result<Policy, NoPolicy> {
        let pairs = || {
            let lines = text.lines().filter_map(|line| line.split_once(':'));
            lines.map(|(key, value)| (key.trim(), value.trim_matches([' ', '\t'])))
        };
        let first = |wanted| pairs().find(|(key, _)| *key == wanted).map(|(_, value)| value);
        if first("version") != Some("STSv1") {
            return Err(NoPolicy::Version);
        }
        let mode = match first("mode") {
            Some("enforce") => Mode::Enforce,
            Some("testing") => Mode::Testing,
            Some("none") => Mode::None,
            _ => return Err(NoPolicy::Mode),
        };
        let digits = first("max_age").filter(|text| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()));
        // More digits than a number has are a very long time.
        let seconds = digits.ok_or(NoPolicy::MaxAge)?.parse().unwrap_or(u64::MAX);
        let mut mx = Vec::new();
        for (_, pattern) in pairs().filter(|(key, _)| *key == "mx") {
            let name = pattern.strip_prefix("*.").unwrap_or(pattern);
            if !crate::dns::name::is_host(name) {
                return Err(NoPolicy::Mx);
            }
            mx.push(pattern.to_ascii_lowercase().into());
        }
        if mx.len() > POLICY_HOSTS_MAX {
            return Err(NoPolicy::TooManyHosts);
        }
        if mx.is_empty() && mode != Mode::None {
            return Err(NoPolicy::Mx);
        }
        Ok(Policy { mode, mx, max_age: Duration::from_secs(seconds).min(POLICY_AGE_MAX) })
    }

    /// Its lines, as a server would give them (RFC 8460 §4.4 wants them in reports).
    pub fn lines(&self) -> Vec<String> {
        let mode = match self.mode {
            Mode::Enforce => "enforce",
            Mode::Testing => "testing",
            Mode::None => "none",
        };
        let mut lines = vec!["version: STSv1".to_owned(), format!("mode: {mode}")];
        lines.extend(self.mx.iter().map(|pattern| format!("mx: {pattern}")));
        lines.push(format!("max_age: {}", self.max_age.as_secs()));
        lines
    }

    /// Whether it names a host, whose name is in lower case and has no dot at its end (§4.1).
    pub fn names(&self, host: &str) -> bool {
        self.mx.iter().any(|pattern| match pattern.strip_prefix("*.") {
            None => **pattern == *host,
            Some(above) => host.split_once('.').is_some_and(|(label, rest)| !label.is_empty() && rest == above),
        })
    }
}

/// The id in the TXT records of a domain, by which another policy is told from the one before (RFC 8461 §3.1). None if there is not
/// exactly one record that is about a policy.
pub fn record_id<'a>(records: impl Iterator<Item = &'a [u8]>) -> Option<Box<str>> {
    let mut ours = records.filter_map(|record| std::str::from_utf8(record).ok()).filter(|text| {
        let rest = text.strip_prefix("v=STSv1");
        rest.is_some_and(|rest| rest.trim_start_matches([' ', '\t']).starts_with(';'))
    });
    let record = ours.next()?;
    if ours.next().is_some() {
        return None;
    }
    let mut pairs = record.split(';').filter_map(|field| field.split_once('='));
    let id = pairs.find(|(key, _)| key.trim() == "id").map(|(_, value)| value.trim())?;
    let fits = (1..=32).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_alphanumeric());
    fits.then(|| id.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str =
        "version: STSv1\r\nmode: enforce\r\nmx: mail.example.com\r\nmx: *.Example.net\r\nmax_age: 604800\r\n";

    #[test]
    fn a_policy_is_read_with_any_line_ends_and_what_else_may_be_in_it() {
        let policy = Policy::parse(GOOD).unwrap();
        assert_eq!(policy.mode, Mode::Enforce);
        assert_eq!(policy.mx, ["mail.example.com".into(), "*.example.net".into()]);
        assert_eq!(policy.max_age, Duration::from_secs(604_800));
        assert_eq!(Policy::parse(&GOOD.replace("\r\n", "\n")), Ok(policy.clone()));
        assert_eq!(Policy::parse(&format!("{GOOD}\nfuture: x\nmode: testing\nnonsense")), Ok(policy));
        let long = Policy::parse(&GOOD.replace("604800", &"9".repeat(30))).unwrap();
        assert_eq!(long.max_age, POLICY_AGE_MAX);
        assert_eq!(Policy::parse("version:STSv1\nmode:none\nmax_age:60").unwrap().mode, Mode::None);
    }

    #[test]
    fn what_is_no_policy_is_refused() {
        for (from, to, error) in [
            ("STSv1", "STSv2", NoPolicy::Version),
            ("version", "versions", NoPolicy::Version),
            ("enforce", "Enforce", NoPolicy::Mode),
            ("604800", "-1", NoPolicy::MaxAge),
            ("604800", "", NoPolicy::MaxAge),
            ("mail.example.com", "ma il.example.com", NoPolicy::Mx),
            ("*.Example.net", "*.*.example.net", NoPolicy::Mx),
            ("mail.example.com", "192.0.2.1", NoPolicy::Mx),
            ("mx:", "my:", NoPolicy::Mx),
        ] {
            assert_eq!(Policy::parse(&GOOD.replace(from, to)), Err(error), "{to}");
        }
        let many = "mx: a.example\n".repeat(POLICY_HOSTS_MAX + 1);
        assert_eq!(Policy::parse(&format!("{GOOD}{many}")), Err(NoPolicy::TooManyHosts));
        assert_eq!(Policy::parse("\u{feff}"), Err(NoPolicy::Version));
    }

    #[test]
    fn a_wildcard_stands_for_one_label() {
        let policy = Policy::parse(GOOD).unwrap();
        for (host, named) in [
            ("mail.example.com", true),
            ("example.com", false),
            ("a.mail.example.com", false),
            ("a.example.net", true),
            ("example.net", false),
            ("a.b.example.net", false),
            (".example.net", false),
            ("aexample.net", false),
        ] {
            assert_eq!(policy.names(host), named, "{host}");
        }
    }

    #[test]
    fn one_record_with_an_id_is_a_record() {
        let id = |records: &[&str]| record_id(records.iter().map(|record| record.as_bytes()));
        assert_eq!(id(&["v=STSv1; id=20160831085700Z;"]).as_deref(), Some("20160831085700Z"));
        assert_eq!(id(&["v=STSv1;id=1", "v=spf1 -all", "v=STSv12; id=9;"]).as_deref(), Some("1"));
        assert_eq!(id(&["v=STSv1 ; x=y ; id = 1 "]).as_deref(), Some("1"));
        for records in [
            &["v=STSv1; id=1;", "v=STSv1; id=1;"][..],
            &["v=STSv1; id=;"],
            &["v=STSv1; id=a-b;"],
            &["v=STSv1;"],
            &["v=STSv1"],
            &["id=1; v=STSv1;"],
            &[],
        ] {
            assert_eq!(id(records), None, "{records:?}");
        }
        assert_eq!(id(&[&format!("v=STSv1; id={};", "1".repeat(33))]), None);
        assert_eq!(record_id([&b"v=STSv1; id=\xff;"[..]].into_iter()), None);
    }
}
