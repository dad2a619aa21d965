//! Policies as tables, maps as files.

use super::address::Mailbox;
use super::*;
use crate::config::parse;
use crate::env::Instant;
use proptest::prelude::*;
use std::time::Duration;

const CONFIG: &str = r#"
transport = "kernel"
hostname = "mx1.example.net"
[[listener]]
address = "[::]:25"
role = "mx"
[relay]
networks = ["10.0.0.0/8", "2001:db8:10::/48"]
[[client]]
networks = ["10.20.0.0/16"]
bare_newline = "normalize"
[[client]]
networks = ["10.0.0.0/8"]
bare_newline = "reject"
[[domain]]
name = "Open.example"
[[domain]]
name = ".sub.example"
[[domain]]
name = "bücher.example"
[[domain]]
name = "asked.example"
check_recipients = true
[[domain]]
name = "[192.0.2.25]"
[[route]]
domain = "*"
to = ["smtp://10.1.1.5"]
"#;

fn policy(text: &str) -> Policy {
    let config = parse(text, "test.toml").unwrap_or_else(|error| panic!("{:?}", error.problems()));
    Policy::with_seed(&config, 7).expect("good maps")
}

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

#[test]
fn strangers_reach_our_domains_and_our_networks_reach_everyone() {
    use Decision::{Accept, Check, RelayDenied};
    let policy = policy(CONFIG);
    let (stranger, own) = (ip("203.0.113.9"), ip("10.1.2.3"));
    for (recipient, from_stranger, from_own, submitted) in [
        ("anna@open.example", Accept, Accept, RelayDenied),
        ("anna@OPEN.EXAMPLE", Accept, Accept, RelayDenied),
        ("anna@a.b.sub.example", Accept, Accept, RelayDenied),
        ("anna@sub.example", RelayDenied, Accept, RelayDenied),
        ("anna@notsub.example", RelayDenied, Accept, RelayDenied),
        ("anna@deep.open.example", RelayDenied, Accept, RelayDenied),
        ("anna@bücher.example", Accept, Accept, RelayDenied),
        ("anna@xn--bcher-kva.example", Accept, Accept, RelayDenied),
        ("anna@asked.example", Check, Check, RelayDenied),
        ("PostMaster@asked.example", Accept, Accept, Accept),
        ("postmaster@other.example", RelayDenied, Accept, RelayDenied),
        ("POSTMASTER", Accept, Accept, Accept),
        ("anna@[192.0.2.25]", Accept, Accept, RelayDenied),
        ("anna@[192.0.2.26]", RelayDenied, Accept, RelayDenied),
        ("\"anna@open.example\"@other.example", RelayDenied, Accept, RelayDenied),
        ("\"x y\"@open.example", Accept, Accept, RelayDenied),
        ("", RelayDenied, RelayDenied, RelayDenied),
        ("anna", RelayDenied, RelayDenied, RelayDenied),
        ("anna@", RelayDenied, RelayDenied, RelayDenied),
        ("@open.example", RelayDenied, RelayDenied, RelayDenied),
    ] {
        assert_eq!(policy.recipient(stranger, Role::Mx, recipient), from_stranger, "{recipient} from a stranger");
        assert_eq!(policy.recipient(stranger, Role::Relay, recipient), from_stranger, "{recipient} from a stranger");
        assert_eq!(policy.recipient(own, Role::Relay, recipient), from_own, "{recipient} from our networks");
        assert_eq!(policy.recipient(own, Role::Submission, recipient), from_own, "{recipient} from our networks");
        assert_eq!(policy.recipient(stranger, Role::Submission, recipient), submitted, "{recipient} submitted");
    }
    assert!(policy.relays(ip("2001:db8:10::1")));
    assert!(policy.relays(ip("::ffff:10.0.0.1")), "an IPv4 client on a socket of both families");
    assert!(!policy.relays(ip("2001:db8:11::1")));
}

#[test]
fn the_first_rule_that_holds_a_client_counts() {
    let policy = policy(CONFIG);
    assert_eq!(policy.bare_newline(ip("10.20.1.1")), BareNewline::Normalize);
    assert_eq!(policy.bare_newline(ip("10.21.1.1")), BareNewline::Reject);
    assert_eq!(policy.bare_newline(ip("203.0.113.9")), BareNewline::Reject);
}

#[test]
fn a_map_knows_addresses_local_parts_and_whole_domains() {
    let content = "# who receives\nAnna@Example.net  # the boss\r\ninfo\n@all.example\n\"odd name\"@example.net\n\
                   a#b@example.net\n\"at@home\"@example.net\nbob+fixed@example.net\n\n\"quoted\"@example.net";
    let map = RecipientMap::parse(content.as_bytes(), 3).expect("a good map");
    assert_eq!(map.count(), 8);
    let has = |address: &str| map.contains(&Mailbox::parse(address).expect(address), Some(b'+'));
    for address in [
        "anna@example.net",
        "ANNA@EXAMPLE.NET",
        "anna+news@example.net",
        "info@example.net",
        "info+x@else.example",
        "anyone@all.example",
        "\"odd name\"@example.net",
        "\"anna\"@example.net",
        "quoted@example.net",
        "a#b@example.net",
        "\"at@home\"@example.net",
        "bob+fixed@example.net",
    ] {
        assert!(has(address), "{address}");
    }
    for address in [
        "anna@other.example",
        "ann@example.net",
        "annaa@example.net",
        "bob@example.net",
        "bob+else@example.net",
        "+x@example.net",
        "odd@example.net",
        "x@sub.all.example",
        "a@example.net",
    ] {
        assert!(!has(address), "{address}");
    }
    let plain = |address: &str| map.contains(&Mailbox::parse(address).expect(address), None);
    assert!(!plain("anna+news@example.net"), "no delimiter, no details");
}

#[test]
fn a_bad_line_of_a_map_is_named() {
    for (content, line) in
        [("anna\nbad entry\n", 2), ("a@b@c d", 1), ("\n\n@", 3), ("\"open@example.net", 1), ("a@-b-", 1)]
    {
        match RecipientMap::parse(content.as_bytes(), 0) {
            Err(MapError::BadEntry { line: found, .. }) => assert_eq!(found, line, "{content}"),
            Err(other) => panic!("{content}: {other}"),
            Ok(_) => panic!("{content} is a map"),
        }
    }
    assert!(matches!(RecipientMap::parse(b"a\n\xff\n", 0), Err(MapError::NotUtf8 { line: 2 })));
}

#[test]
fn a_changed_map_counts_from_then_on_and_a_broken_one_never() {
    let folder = tempfile::tempdir().expect("a folder");
    let (map, file) = (folder.path().join("r.map"), folder.path().join("r.toml"));
    std::fs::write(&map, "anna\n").expect("written");
    let text = CONFIG.replace("name = \"Open.example\"", "name = \"open.example\"\nrecipients = \"r.map\"");
    std::fs::write(&file, text).expect("written");
    let config = crate::config::load(&file).expect("a good file");
    let first = Policy::new(&config).expect("a good map");
    let decide =
        |policy: &Policy, name: &str| policy.recipient(ip("10.0.0.1"), Role::Mx, &format!("{name}@open.example"));
    assert_eq!(decide(&first, "anna"), Decision::Accept);
    assert_eq!(decide(&first, "bob"), Decision::UnknownRecipient, "a client that may relay anywhere learns it too");
    assert_eq!(decide(&first, "postmaster"), Decision::Accept);
    let reload = first.reload_maps();
    assert!(reload.policy.is_none());
    assert!(reload.errors.is_empty());

    std::fs::write(&map, "anna\nbob\n").expect("written");
    let second = first.reload_maps().policy.expect("a change");
    assert_eq!(decide(&second, "bob"), Decision::Accept);
    assert_eq!(decide(&first, "bob"), Decision::UnknownRecipient, "a policy never changes");

    std::fs::write(&map, "anna\nbob\ncarla @\n").expect("written");
    let reload = second.reload_maps();
    assert!(reload.errors[0].to_string().contains("line 3"), "{}", reload.errors[0]);
    let third = reload.policy.expect("a change was seen");
    assert_eq!(decide(&third, "bob"), Decision::Accept, "what it said before");
    assert!(third.reload_maps().errors.is_empty(), "said once");

    std::fs::remove_file(&map).expect("removed");
    let reload = third.reload_maps();
    assert_eq!(reload.errors.len(), 1);
    assert_eq!(decide(&reload.policy.expect("a change"), "anna"), Decision::Accept);
    assert!(matches!(Policy::new(&config), Err(PolicyError::Map { source: MapError::Read(_), .. })));
}

#[test]
fn networks_that_overlap_are_one() {
    let networks =
        ["10.0.0.0/8", "10.1.0.0/16", "192.0.2.0/25", "192.0.2.128/25", "0.0.0.0/32", "255.255.255.255/32", "::/0"];
    let set = Networks::new(networks.iter().map(|text| text.parse().expect("a network")));
    for inside in [
        "10.0.0.0",
        "10.1.2.3",
        "10.255.255.255",
        "192.0.2.127",
        "192.0.2.128",
        "0.0.0.0",
        "255.255.255.255",
        "::",
        "2001:db8::",
    ] {
        assert!(set.contains(ip(inside)), "{inside}");
    }
    for outside in ["9.255.255.255", "11.0.0.0", "192.0.3.0", "0.0.0.1", "::ffff:11.0.0.0"] {
        assert!(!set.contains(ip(outside)), "{outside}");
    }
    assert!(!Networks::default().contains(ip("10.0.0.1")));
}

fn seconds(seconds: u64) -> Instant {
    Instant::from_nanos(seconds * 1_000_000_000)
}

#[test]
fn a_yes_is_remembered_longer_than_a_no() {
    let mut cache = VerifyCache::new(100, Duration::from_secs(3600), Duration::from_secs(600), 1);
    cache.insert("Anna@Example.net", Verdict::Known, seconds(0));
    cache.insert("bob@example.net", Verdict::Unknown, seconds(0));
    assert_eq!(cache.lookup("anna@example.NET", seconds(599)), Some(Verdict::Known));
    assert_eq!(cache.lookup("bob@example.net", seconds(599)), Some(Verdict::Unknown));
    assert_eq!(cache.lookup("bob@example.net", seconds(600)), None);
    assert_eq!(cache.lookup("anna@example.net", seconds(3599)), Some(Verdict::Known));
    assert_eq!(cache.lookup("anna@example.net", seconds(3600)), None);
    assert_eq!(cache.lookup("carla@example.net", seconds(0)), None);
    assert_eq!(cache.count(), 0, "what is stale is dropped when it is seen");
}

#[test]
fn a_full_cache_forgets_what_nobody_asks_for() {
    let mut cache = VerifyCache::new(100, Duration::from_secs(3600), Duration::from_secs(600), 1);
    cache.insert("wanted@example.net", Verdict::Known, seconds(0));
    for number in 0..10_000 {
        cache.insert(&format!("{number}@example.net"), Verdict::Unknown, seconds(1));
        assert_eq!(cache.lookup("wanted@example.net", seconds(1)), Some(Verdict::Known));
        assert!(cache.count() <= 100);
    }
    assert_eq!(cache.lookup("0@example.net", seconds(1)), None);
    assert_eq!(cache.lookup("9999@example.net", seconds(1)), Some(Verdict::Unknown));
}

/// A million entries under a second in release; here it only has to be right.
#[test]
fn a_large_map_finds_every_entry() {
    let content: String = (0..20_000).map(|number| format!("user{number}@example.net\n")).collect();
    let map = RecipientMap::parse(content.as_bytes(), 11).expect("a good map");
    assert_eq!(map.count(), 20_000);
    for number in (0..20_000).step_by(97) {
        assert!(map.contains(&Mailbox::parse(&format!("User{number}@example.net")).expect("an address"), None));
        assert!(!map.contains(&Mailbox::parse(&format!("user{number}@example.org")).expect("an address"), None));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn a_set_of_networks_holds_what_one_of_them_holds(nets in prop::collection::vec((any::<u32>(), 0u8..=32), 0..20), probe: u32, pick: usize) {
        let nets: Vec<ipnet::IpNet> = nets.iter().map(|(bits, prefix)| {
            ipnet::Ipv4Net::new((*bits).into(), *prefix).expect("a prefix").trunc().into()
        }).collect();
        let set = Networks::new(nets.iter().copied());
        let edges = nets.get(pick % nets.len().max(1)).map(|net| [net.network(), net.broadcast()]);
        for address in edges.into_iter().flatten().chain([IpAddr::V4(probe.into())]) {
            prop_assert_eq!(set.contains(address), nets.iter().any(|net| net.contains(&address)));
        }
    }

    #[test]
    fn what_a_map_names_is_found_and_hostile_paths_do_no_harm(local in "[a-zA-Z0-9._+-]{1,20}", path in "[\\PC\"\\\\@.\n]{0,300}") {
        let map = RecipientMap::parse(format!("{local}@example.net\n").as_bytes(), 5).expect("a good map");
        let mailbox = Mailbox::parse(&format!("{}@EXAMPLE.net", local.to_ascii_uppercase())).expect("an address");
        prop_assert!(map.contains(&mailbox, Some(b'+')));
        if let Some(mailbox) = Mailbox::parse(&path) {
            let _ = map.contains(&mailbox, Some(b'+'));
            let _ = mailbox.is_postmaster();
        }
        let _ = RecipientMap::parse(path.as_bytes(), 5);
    }
}
