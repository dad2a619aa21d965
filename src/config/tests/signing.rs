//! What files say of signing.

use super::broken::problems;
use crate::config::{Canonicalization, Config, WithoutKey, parse, warnings};
use crate::dkim::SIGNED_DEFAULT;

const BASE: &str = r#"transport = "kernel"
hostname = "mx1.example.net"
[[listener]]
address = "127.0.0.1:25"
role = "relay"
[relay]
networks = ["10.0.0.0/8"]
[[route]]
domain = "*"
to = ["smtp://10.1.1.5"]
[[dkim]]
domain = "Example.NET"
selector = "s2026"
key = "s2026.pem"
"#;

fn good(text: &str) -> Config {
    parse(text, "dkim.toml").unwrap_or_else(|error| panic!("{:?}", error.problems()))
}

#[test]
fn a_key_that_says_nothing_more_signs_what_matters() {
    let config = good(BASE);
    let dkim = &config.dkim[0];
    assert_eq!((dkim.pattern(), &*dkim.selector), ("example.net".to_owned(), "s2026"));
    assert_eq!(dkim.headers, SIGNED_DEFAULT);
    assert_eq!(dkim.canonicalization, Canonicalization::Relaxed);
    assert!(dkim.not_before.is_none() && dkim.not_after.is_none() && dkim.expires_after.is_none());
    assert_eq!((config.signing.threads, config.signing.without_key), (1, WithoutKey::Wait));
    assert!(crate::appliance::settings::listeners(&config)[0].signs);
    assert_eq!(crate::appliance::settings::keys(&config).len(), 1);
}

#[test]
fn only_what_our_own_clients_send_is_signed() {
    let config = good(&BASE.replace("\"relay\"\n", "\"mx\"\n"));
    assert!(!crate::appliance::settings::listeners(&config)[0].signs);
    assert!(warnings(&config).iter().any(|warning| warning.starts_with("[[dkim]] signs nothing")));
    let without = &BASE[..BASE.find("[[dkim]]").expect("it is there")];
    assert!(!crate::appliance::settings::listeners(&good(without))[0].signs);
}

#[test]
fn days_and_times_are_points_in_time() {
    let more = "not_before = \"2026-12-01\"\nnot_after = \"2027-06-01T08:00:00+02:00\"\nexpires_after = \"30d\"\n\
                canonicalization = \"simple/relaxed\"\n[signing]\nthreads = 2\nwithout_key = \"unsigned\"\n";
    let config = good(&format!("{BASE}{more}"));
    let dkim = &config.dkim[0];
    assert_eq!(dkim.not_before.expect("set").to_string(), "2026-12-01T00:00:00Z");
    assert_eq!(dkim.not_after.expect("set").to_string(), "2027-06-01T06:00:00Z");
    assert!(!dkim.canonicalization.header_relaxed() && dkim.canonicalization.body_relaxed());
    assert_eq!(config.signing.without_key, WithoutKey::Unsigned);
}

#[test]
fn keys_that_contradict_are_refused() {
    let with = |more: &str| problems(&format!("{BASE}{more}"));
    let twice = with("[[dkim]]\ndomain = \"example.net\"\nselector = \"S2026\"\nkey = \"other.pem\"\n");
    assert_eq!(twice, ["line 17: two [[dkim]] sections with the selector s2026 for example.net | remove one of them"]);
    let never = with("not_before = \"2026-12-02\"\nnot_after = \"2026-12-01\"\n");
    assert_eq!(never, ["line 16: the key of Example.NET is never valid: it ends before it begins"]);
    let lacks = with("headers = [\"Subject\", \"subject\"]\n");
    assert_eq!(lacks[0], "line 15: `headers` lacks From, which must be signed (RFC 6376 §5.4) | add \"From\"");
    assert_eq!(lacks[1], "line 15: `headers` names twice subject | remove one of them");
    for broken in ["not_before = \"tomorrow\"\n", "headers = [\"From:\"]\n", "expires_after = \"1m\"\n"] {
        assert!(with(broken)[0].starts_with("line 15: "), "{broken}");
    }
    assert!(problems(&BASE.replace("s2026\"\nkey", "a..b\"\nkey"))[0].contains("is no selector"));
}
