//! What files say of TLS.

use super::broken::problems;
use crate::config::{ListenerTls, RouteTls, TlsVersion, parse, warnings};

const BASE: &str = r#"transport = "kernel"
hostname = "mx1.example.net"
[[listener]]
address = "127.0.0.1:25"
role = "relay"
[tls]
min_version = "1.3"
ticket_secret = "tickets"
[relay]
networks = ["10.0.0.0/8"]
[[route]]
domain = "*"
to = ["smtp://10.1.1.5"]
"#;

const CERTIFICATE: &str = "[[certificate]]\nchain = \"mx1.pem\"\nkey = \"mx1.key\"\n";

#[test]
fn a_listener_that_says_nothing_offers_what_there_is() {
    let config = parse(BASE, "tls.toml").expect("a good file");
    assert_eq!((config.tls.min_version, config.listeners[0].tls), (TlsVersion::Tls13, None));
    let tls = |config: &_| crate::appliance::settings::listeners(config)[0].settings.starttls;
    assert!(!tls(&config));
    assert!(tls(&parse(&format!("{BASE}{CERTIFICATE}"), "tls.toml").expect("a good file")));
    let implicit = BASE.replace("\"relay\"\n[tls]", "\"relay\"\ntls = \"implicit\"\n[tls]");
    let config = parse(&format!("{implicit}{CERTIFICATE}"), "tls.toml").expect("a good file");
    assert_eq!(config.listeners[0].tls, Some(ListenerTls::Implicit));
    assert!(crate::appliance::settings::listeners(&config)[0].implicit_tls);
    assert!(warnings(&config)[0].contains("nobody expects on port 25"));
}

#[test]
fn tls_needs_a_certificate_and_its_requirement_needs_tls() {
    let with = |more: &str| BASE.replace("[tls]", &format!("{more}\n[tls]"));
    for key in ["tls = \"starttls\"", "tls = \"implicit\"", "require_tls = true"] {
        let found = problems(&with(key));
        let [problem] = &found[..] else { panic!("one: {found:?}") };
        let start = "line 6: the listener on 127.0.0.1:25 has no certificate to show | write [[certi";
        assert!(problem.starts_with(start), "{problem}");
    }
    let off = format!("{}{CERTIFICATE}", with("tls = \"off\"\nrequire_tls = true"));
    assert_eq!(
        problems(&off),
        [
            "line 7: the listener on 127.0.0.1:25 requires TLS and has none | write tls = \"starttls\" or \"implicit\", or leave \
             `require_tls` out"
        ]
    );
    let twice = format!("{BASE}{CERTIFICATE}{CERTIFICATE}");
    assert_eq!(problems(&twice), ["line 18: two [[certificate]] sections with the chain mx1.pem | remove one of them"]);
    assert_eq!(problems(&with("tls = \"startls\""))[0].split(':').next(), Some("line 6"));
}

#[test]
fn an_mx_that_requires_tls_is_warned_of() {
    let text = BASE.replace("\"relay\"\n[tls]", "\"mx\"\nrequire_tls = true\n[tls]");
    let config = parse(&format!("{text}{CERTIFICATE}"), "tls.toml").expect("a good file");
    assert!(warnings(&config).iter().any(|warning| warning.contains("RFC 3207")));
}

#[test]
fn a_route_says_what_it_demands_of_tls() {
    let with = |tls: &str, to: &str| {
        let text = format!("domain = \"*\"\ntls = \"{tls}\"");
        BASE.replace("domain = \"*\"", &text).replace("smtp://10.1.1.5", to)
    };
    assert_eq!(parse(BASE, "tls.toml").expect("a good file").routes[0].tls, RouteTls::Opportunistic);
    let config = parse(&with("verify", "smtps://10.1.1.5"), "tls.toml").expect("a good file");
    let hop = &config.routes[0].to[0];
    assert_eq!((config.routes[0].tls, hop.implicit_tls, hop.port), (RouteTls::Verify, true, 465));
    assert_eq!(hop.to_string(), "smtps://10.1.1.5:465");
    assert_eq!(
        problems(&with("none", "smtps://10.1.1.5")),
        [
            "line 13: `tls`: smtps://10.1.1.5:465 is spoken to under TLS, and \"none\" forbids it | write smtp:// in place of \
             smtps://, or leave `tls` out"
        ]
    );
}

#[test]
fn dane_is_for_routes_by_mx_with_answers_that_can_be_secure() {
    let by_mx = BASE.replace("to = [\"smtp://10.1.1.5\"]", "mx = true\ntls = \"dane\"");
    let secure = format!("{by_mx}[dns]\ndnssec = \"trust_ad\"\n");
    assert_eq!(parse(&secure, "tls.toml").expect("a good file").routes[0].tls, RouteTls::Dane);
    assert_eq!(
        problems(&by_mx),
        [
            "line 14: `tls`: \"dane\" needs answers of the DNS that are secure, and none is believed to be | write dnssec = \"trust_ad\" \
             in [dns], with a resolver that validates"
        ]
    );
    assert_eq!(
        problems(&BASE.replace("domain = \"*\"", "domain = \"*\"\ntls = \"dane\"")),
        [
            "line 13: `tls`: \"dane\" is for hosts that the DNS names, and the route for \"*\" goes elsewhere | write mx = true, or tls = \
             \"verify\" for hosts in `to`"
        ]
    );
    let sts = by_mx.replace("\"dane\"", "\"mta-sts\"");
    assert_eq!(parse(&sts, "tls.toml").expect("a good file").routes[0].tls, RouteTls::MtaSts);
    let to = BASE.replace("domain = \"*\"", "domain = \"*\"\ntls = \"mta-sts\"");
    assert!(problems(&to)[0].starts_with("line 13: `tls`: \"mta-sts\" is for hosts that the DNS names"));
}

#[test]
fn credentials_are_for_hosts_whose_certificate_is_looked_at() {
    let with = |more: &str, to: &str| {
        let text = format!("domain = \"*\"\ncredentials = \"smarthost\"\n{more}");
        BASE.replace("domain = \"*\"\n", &text).replace("to = [\"smtp://10.1.1.5\"]", to)
    };
    let to = "to = [\"smtps://10.1.1.5\"]";
    let config = parse(&with("tls = \"verify\"\n", to), "tls.toml").expect("a good file");
    let ids: Vec<_> = crate::appliance::settings::credentials_files(&config).into_iter().collect();
    assert_eq!(ids, [std::path::Path::new("smarthost")]);
    for tls in ["", "tls = \"require\"\n", "tls = \"opportunistic\"\n", "tls = \"none\"\n"] {
        let found = problems(&with(tls, "to = [\"smtp://10.1.1.5\"]"));
        let why = "line 13: `credentials` are shown to nobody without a certificate that is looked at | write tls = \"verify\" below it";
        assert_eq!(found, [why], "{tls}");
    }
    assert_eq!(
        problems(&with("tls = \"verify\"\n", "mx = true")),
        ["line 13: `credentials` are for hosts that `to` names | name the hosts in `to`, or leave `credentials` out"]
    );
    assert_eq!(
        problems(&with("tls = \"verify\"\n", "to = [\"lmtp://10.1.1.5\"]")),
        [
            "line 13: `credentials` are not for lmtp://10.1.1.5:24 | leave `credentials` out: LMTP is for hosts of your own"
        ]
    );
}

#[test]
fn reports_need_something_to_report_on_and_should_be_signed() {
    let reports = "[tls_reports]\norganization = \"Example Net\"\nfrom = \"tls-reports@example.net\"\n";
    let text = format!("{BASE}{reports}");
    assert_eq!(
        problems(&text),
        [
            "line 14: [tls_reports] has nothing to report on: no route heeds what domains say of TLS with their hosts | write mx = \
             true and tls = \"mta-sts\" below a [[route]], or leave [tls_reports] out"
        ]
    );
    let by_mx = text.replace("to = [\"smtp://10.1.1.5\"]", "mx = true\ntls = \"mta-sts\"");
    let config = parse(&by_mx, "tls.toml").expect("a good file");
    assert!(warnings(&config).iter().any(|warning| warning.contains("example.net has no [[dkim]] key")));
    let settings = crate::appliance::settings::reports(&config).expect("reports are made");
    assert_eq!(settings.reporter.contact, "tls-reports@example.net");
    assert_eq!(settings.reporter.origin, "mx1.example.net");
    let found = problems(&by_mx.replace("tls-reports@example.net", "example.net"));
    assert!(found[0].contains("`from`: \"example.net\" is no address"), "{found:?}");
}

#[test]
fn strangers_do_not_say_that_tls_is_not_required() {
    let heeds = |text: &str| {
        let config = parse(text, "tls.toml").expect("a good file");
        crate::appliance::settings::listeners(&config)[0].settings.tls_optional
    };
    let mx = BASE.replace("\"relay\"\n[tls]", "\"mx\"\n[tls]");
    assert_eq!([heeds(BASE), heeds(&mx)], [true, false]);
    assert!(heeds(&mx.replace("\"mx\"\n", "\"mx\"\ntls_optional = true\n")));
    assert!(!heeds(&BASE.replace("\"relay\"\n[tls]", "\"relay\"\ntls_optional = false\n[tls]")));
}
