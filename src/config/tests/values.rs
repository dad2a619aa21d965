//! The texts that mean more than text.

use super::broken::problems;
use crate::config::value::{check, magnitude};
use crate::config::{Hop, Host, Hosts, Network, Period, Protocol, Resolver, Size, ValueError, canonical_domain, parse};
use proptest::prelude::*;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

#[test]
fn durations_and_sizes_mean_what_they_say() {
    for (text, duration) in [
        ("200ms", Duration::from_millis(200)),
        ("0s", Duration::ZERO),
        ("10s", Duration::from_secs(10)),
        ("5m", Duration::from_secs(300)),
        ("4h", Duration::from_secs(14_400)),
        ("5d", Duration::from_secs(432_000)),
    ] {
        assert_eq!(text.parse(), Ok(Period(duration)), "{text}");
        assert_eq!(Period(duration).to_string(), text);
    }
    for (text, size) in
        [("1B", 1), ("50MB", 50_000_000), ("64KiB", 65_536), ("10GiB", 10 << 30), ("3TB", 3_000_000_000_000)]
    {
        assert_eq!(text.parse(), Ok(Size(size)), "{text}");
        assert_eq!(Size(size).to_string(), text);
    }
    for text in
        ["", "s", "10", "10 s", "-1s", "+1s", "1.5h", "10S", "10sec", "99999999999999999999d", "18446744073709551615d"]
    {
        assert!(text.parse::<Period>().is_err(), "{text}");
    }
    for text in ["", "MB", "10", "10mb", "1.5GB", "-1B", "18446744073709551615KB"] {
        assert!(text.parse::<Size>().is_err(), "{text}");
    }
}

#[test]
fn a_listener_says_how_urgent_its_mail_is() {
    const BASE: &str = "transport = \"kernel\"\nhostname = \"mx1.example.net\"\n[[route]]\ndomain = \"*\"\nto = [\"smtp://10.1.1.5\"]\n\
                        [relay]\nnetworks = [\"10.0.0.0/8\"]\n[[listener]]\naddress = \"127.0.0.1:25\"\nrole = \"relay\"\n";
    let settings = |more: &str| {
        let config = parse(&format!("{BASE}{more}"), "priority.toml").expect("a good file");
        let settings = &crate::appliance::settings::listeners(&config)[0].settings;
        (settings.mt_priority, settings.priority.number(), settings.priority_max.number())
    };
    assert_eq!(settings(""), (false, 0, 9));
    assert_eq!(settings("mt_priority = true\npriority = -4\npriority_max = 4\n"), (true, -4, 4));
    for (more, problem) in [
        ("priority = -10\n", "line 11: `priority`: -10 is out of range | it goes from -9 to 9"),
        ("priority_max = 10\n", "line 11: `priority_max`: 10 is out of range | it goes from -9 to 9"),
        (
            "priority = 5\npriority_max = 4\n",
            "line 12: `priority_max`: all mail has priority 5 at first, which is above 4 | write priority_max = 5 or more, or leave it out",
        ),
    ] {
        assert_eq!(problems(&format!("{BASE}{more}")), [problem]);
    }
}

#[test]
fn a_network_has_no_bits_behind_its_prefix() {
    assert_eq!("10.0.0.5".parse::<Network>().map(|network| network.to_string()), Ok("10.0.0.5/32".to_owned()));
    assert!("2001:db8::/32".parse::<Network>().is_ok());
    let error = "10.0.0.1/8".parse::<Network>().expect_err("host bits");
    assert!(error.to_string().contains("\"10.0.0.0/8\""), "{error}");
    assert!("10.0.0.0/33".parse::<Network>().is_err());
}

#[test]
fn a_hop_has_defaults_for_what_it_leaves_out() {
    let hop = |text: &str| text.parse::<Hop>().unwrap_or_else(|error| panic!("{text} {error}"));
    let plain = hop("smtp://mail.Example.net");
    assert_eq!((plain.protocol, plain.port, plain.preference), (Protocol::Smtp, 25, 10));
    assert_eq!(plain.host, Host::Name("mail.example.net".to_owned()));
    let lmtp = hop("lmtp://[2001:db8::1]?preference=20");
    assert_eq!((lmtp.protocol, lmtp.port, lmtp.preference), (Protocol::Lmtp, 24, 20));
    assert_eq!(lmtp.host, Host::Address("2001:db8::1".parse::<IpAddr>().expect("an address")));
    for text in [
        "10.1.1.5:25",
        "http://a",
        "smtp://",
        "smtp://:25",
        "smtp://a:0",
        "smtp://a:65536",
        "smtp://a:+25",
        "smtp://a:",
        "smtp://2001:db8::1",
        "smtp://[2001:db8::1",
        "smtp://[2001:db8::1]25",
        "smtp://[10.1.1.1]",
        "smtp://10.1.1",
        "smtp://a?weight=1",
        "smtp://a?preference=",
        "smtp://a?preference=65536",
        "smtp://a b",
        "smtp://a/",
        "smtp://u@a",
    ] {
        assert!(text.parse::<Hop>().is_err(), "{text}");
    }
}

#[test]
fn names_come_from_the_hosts_file() {
    let hosts =
        Hosts::parse("127.0.0.1 localhost\n10.1.1.5\tmail.example.net  Mail # old\n2001:db8::5 mail\nrubbish\n\n");
    let addresses = hosts.resolve(&Host::Name("mail".to_owned()));
    assert_eq!(
        addresses,
        ["10.1.1.5".parse::<IpAddr>(), "2001:db8::5".parse()].map(|address| address.expect("an address"))
    );
    assert!(hosts.resolve(&Host::Name("old".to_owned())).is_empty());
}

#[test]
fn domains_are_compared_as_lower_case_a_labels() {
    for (text, canonical) in [
        ("Example.NET", Some("example.net")),
        ("b\u{fc}cher.example", Some("xn--bcher-kva.example")),
        ("XN--BCHER-KVA.example", Some("xn--bcher-kva.example")),
        ("[192.0.2.1]", Some("[192.0.2.1]")),
        ("[ipv6:2001:DB8:0::1]", Some("[2001:db8::1]")),
        ("[2001:db8::1]", None),
        ("", None),
        (".example.net", None),
        ("example..net", None),
        ("-a.net", None),
        ("a b", None),
    ] {
        assert_eq!(canonical_domain(text).as_deref(), canonical, "{text}");
    }
}

#[test]
fn a_resolver_has_the_port_of_the_dns_unless_it_says_otherwise() {
    for (text, address, back) in [
        ("192.0.2.53", "192.0.2.53:53", "192.0.2.53"),
        ("192.0.2.53:53", "192.0.2.53:53", "192.0.2.53"),
        ("192.0.2.53:5353", "192.0.2.53:5353", "192.0.2.53:5353"),
        ("2001:db8::53", "[2001:db8::53]:53", "2001:db8::53"),
        ("[2001:db8::53]:5353", "[2001:db8::53]:5353", "[2001:db8::53]:5353"),
    ] {
        let resolver: Resolver = text.parse().expect("a resolver");
        assert_eq!((resolver.0.to_string().as_str(), resolver.to_string().as_str()), (address, back));
    }
    for text in ["", "dns.example", "192.0.2.53:0", "192.0.2", "[2001:db8::53]", "192.0.2.53:"] {
        assert_eq!(text.parse::<Resolver>(), Err(ValueError::Resolver), "{text}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn a_duration_survives_its_own_text(millis in 0u64..u64::MAX) {
        let period = Period(Duration::from_millis(millis));
        prop_assert_eq!(period.to_string().parse(), Ok(period));
        prop_assert_eq!(magnitude("duration", &period.to_string()), Some(millis));
    }

    #[test]
    fn a_size_survives_its_own_text(bytes: u64, shift in 0u32..64) {
        let size = Size(bytes >> shift << shift);
        prop_assert_eq!(size.to_string().parse(), Ok(size));
    }

    #[test]
    fn a_hop_survives_its_own_text(lmtp: bool, v6: bool, bits: u128, port in 1u16.., preference: u16) {
        let address = if v6 { IpAddr::V6(Ipv6Addr::from(bits)) } else { IpAddr::V4(Ipv4Addr::from(bits as u32)) };
        let protocol = if lmtp { Protocol::Lmtp } else { Protocol::Smtp };
        let hop = Hop { protocol, implicit_tls: false, host: Host::Address(address), port, preference, addresses: Vec::new() };
        prop_assert_eq!(hop.to_string().parse(), Ok(hop));
    }

    #[test]
    fn no_text_makes_a_value_panic(text in "(smtp|lmtp|)(://|)[\\PC]{0,12}(:|@|\\?preference=|/|)[0-9a-zA-Z.\\[\\]:]{0,12}") {
        for format in ["duration", "size", "network", "interface-address", "ip", "socket-address", "host-name", "mail-domain",
            "route-domain", "hop", "queues", "delimiter", "resolver"] {
            let _ = check(format, &text);
        }
    }
}
