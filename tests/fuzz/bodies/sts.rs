//! What strangers say of TLS with their hosts: records and policies are understood in one way or not at all, and are bounded.

use super::address::is_harmless;
use rohrpost::dns::{Data, Record, Reply, Said};
use rohrpost::limits::{POLICY_AGE_MAX, POLICY_HOSTS_MAX, REPORT_TARGETS_MAX};
use rohrpost::sts::{Mode, Policy, record_id};
use rohrpost::tlsrpt;
use std::time::Duration;

pub fn run(data: &[u8]) {
    if let Some(id) = record_id(data.split(|byte| *byte == 0)) {
        let record = format!("v=STSv1; id={id};");
        assert_eq!(record_id([record.as_bytes()].into_iter()), Some(id), "written again it is the same");
    }
    let record = Record { name: "_smtp._tls.d.example".into(), data: Data::Text(data.into()) };
    let reply = Reply { said: Said::Records(vec![record]), secure: false, ttl: Duration::ZERO };
    if let tlsrpt::Record::Wanted(targets) = tlsrpt::Record::of(&reply) {
        assert!(targets.len() <= REPORT_TARGETS_MAX);
        assert!(targets.iter().all(|target| is_harmless(&target.to_string())), "{targets:?}");
    }
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(policy) = Policy::parse(text) else { return };
    assert!(policy.max_age <= POLICY_AGE_MAX);
    assert!(policy.mx.len() <= POLICY_HOSTS_MAX);
    let mode = match policy.mode {
        Mode::Enforce => "enforce",
        Mode::Testing => "testing",
        Mode::None => "none",
    };
    let mut written = format!("version: STSv1\nmode: {mode}\nmax_age: {}\n", policy.max_age.as_secs());
    for mx in &policy.mx {
        assert!(is_harmless(mx), "{mx:?}");
        let host = mx.replacen("*.", "a.", 1);
        assert!(policy.names(&host), "{mx}");
        written += &format!("mx: {mx}\n");
    }
    assert_eq!(Policy::parse(&written), Ok(policy), "{written}");
}
