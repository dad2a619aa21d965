//! Broken files, and what is said about them.

use crate::config::{Hosts, parse, parse_with};
use proptest::prelude::*;

/// A good file, which the cases change in one place.
const BASE: &str = r#"transport = "af_xdp"
hostname = "mx1.example.net"
[workers]
cores = [2, 3]
[[port]]
device = "eth1"
[[address]]
ip = "192.0.2.25/24"
gateway = "192.0.2.1"
[[listener]]
address = "192.0.2.25:25"
role = "mx"
[relay]
networks = ["10.0.0.0/8"]
[[domain]]
name = "example.net"
[[route]]
domain = "example.net"
to = ["lmtp://10.1.1.5:24"]
[limits]
message_size = "50MB"
[retry]
growth = 2.0
"#;

/// All problems of `text` as `line N: message | help`.
pub(in crate::config) fn problems(text: &str) -> Vec<String> {
    let Err(error) = parse(text, "test.toml") else { return Vec::new() };
    let help = |help: &Option<String>| help.as_ref().map_or(String::new(), |help| format!(" | {help}"));
    error.problems().iter().map(|problem| format!("{problem}{}", help(&problem.help))).collect()
}

#[test]
fn a_good_file_is_good() {
    assert_eq!(problems(BASE), Vec::<String>::new());
    let config = parse(BASE, "test.toml").expect("a good file");
    assert_eq!(config.routes[0].to[0].addresses, ["10.1.1.5".parse::<std::net::IpAddr>().expect("an address")]);
}

#[test]
fn one_mistake_gives_one_message_with_its_line_and_its_cure() {
    let dup_address = "[[address]]\nip = \"192.0.2.25/24\"\n[relay]";
    let many: String =
        (30..38).map(|host| format!("[[address]]\nip = \"192.0.2.{host}/24\"\n")).collect::<String>() + "[relay]";
    let cases: &[(&str, &str, &str)] = &[
        (
            "transport = \"af_xdp\"\n",
            "",
            "line 1: the key `transport` is missing: the file must have it | write transport = \"af_xdp\", \"dpdk\" or \"kernel\"",
        ),
        (
            "to = [\"lmtp://10.1.1.5:24\"]",
            "mx = true\nto = [\"lmtp://10.1.1.5:24\"]",
            "line 19: the route for \"example.net\" has hosts besides those of the DNS | leave out `mx` or `to`",
        ),
        (
            "to = [\"lmtp://10.1.1.5:24\"]",
            "mx = true\ndiscard = true",
            "line 19: the route for \"example.net\" discards what `mx` would deliver | leave out one of the two",
        ),
        (
            "name = \"example.net\"\n[[route]]\ndomain = \"example.net\"\nto = [\"lmtp://10.1.1.5:24\"]",
            "name = \"example.net\"\ncheck_recipients = true\n[[route]]\ndomain = \"*\"\nmx = true",
            "line 17: example.net: its route \"*\" goes by MX, so that no next hop is known to ask | add [[route]] with domain = \"example.net\" and the hosts that have its mailboxes",
        ),
        (
            "[relay]",
            "[dns]\nresolvers = [\"dns.example\"]\n[relay]",
            "line 14: `resolvers`: \"dns.example\" is no resolver: an address, with a port where it is not 53, such as \"192.0.2.53\" or \"[2001:db8::53]:5353\"",
        ),
        (
            "[relay]",
            "[dns]\nresolvers = [\"192.0.2.25\"]\n[relay]",
            "line 14: `resolvers`: 192.0.2.25 is an own address, which the kernel does not hold | write an address that this box's kernel reaches, or 127.0.0.1",
        ),
        (
            "[relay]",
            "[dns]\nresolvers = [\"192.0.2.53\", \"192.0.2.53:53\"]\n[relay]",
            "line 14: `resolvers` names twice 192.0.2.53:53 | remove one of them",
        ),
        (
            "[relay]",
            "[dns]\naddresses = \"ipv6\"\n[relay]",
            "line 14: `addresses` is \"ipv6\", but there is no own address to reach such hosts from | write \"ipv4\", or add an [[address]]",
        ),
        (
            "[relay]",
            "[dns]\ndnssec = \"on\"\n[relay]",
            "line 14: `dnssec` cannot be \"on\" | it is one of \"off\" or \"trust_ad\"",
        ),
        (
            "\"af_xdp\"",
            "\"afxdp\"",
            "line 1: `transport` cannot be \"afxdp\" | did you mean \"af_xdp\"? It is one of \"af_xdp\", \"dpdk\" or \"kernel\"",
        ),
        (
            "\"af_xdp\"",
            "\"dpdk\"",
            "line 6: `device`: \"eth1\" is no device: write the PCI address of a network card, such as \"0000:03:00.0\" (`dpdk-devbind.py --status` lists them), or a virtual device, such as \"net_af_packet0,iface=eth1\"",
        ),
        (
            "device = \"eth1\"",
            "device = \"net_af_packet0,iface=eth1\"",
            "line 6: `device`: no interface has the name \"net_af_packet0,iface=eth1\" | names have at most 15 bytes; `ip link` lists them",
        ),
        (
            "hostname = \"mx1.example.net\"",
            "hostname = 5",
            "line 2: `hostname` is an integer, but must be a text in quotes | for example hostname = \"mx1.example.net\"",
        ),
        (
            "mx1.example.net",
            "mx1 example",
            "line 2: `hostname`: \"mx1 example\" is no host name: labels of letters, digits and hyphens, joined by dots",
        ),
        ("[2, 3]", "[2, 2]", "line 4: two workers on core 2 | remove one of them"),
        (
            "[2, 3]",
            "\"2,3\"",
            "line 4: `cores` is a string, but must be a list in brackets | for example cores = [2,3]",
        ),
        (
            "[[port]]\ndevice = \"eth1\"\n",
            "",
            "line 1: the transport \"af_xdp\" needs at least one [[port]] | write [[port]] and below it device = \"eth1\", the interface whose queues are read",
        ),
        ("device =", "devices =", "line 6: unknown key `devices`: [[port]] has no such key | did you mean `device`?"),
        (
            "device = \"eth1\"",
            "device = \"eth1\"\nvlan = 4095",
            "line 7: `vlan`: 4095 is out of range | it goes from 0 to 4094",
        ),
        (
            "device = \"eth1\"",
            "device = \"eth1\"\nframes = 5000",
            "line 7: `frames` must be a power of two | for example 8192",
        ),
        (
            "device = \"eth1\"",
            "device = \"eth1\"\nmtu = 3000",
            "line 7: `mtu`: on af_xdp it is the interface's | leave it out: `ip link set eth1 mtu N`, up to 3498, sets it",
        ),
        (
            "device = \"eth1\"",
            "device = \"eth1\"\nqueues = \"all\"",
            "line 7: `queues`: \"all\" is neither \"auto\" nor a list of queue numbers such as [0, 1]",
        ),
        (
            "192.0.2.25/24",
            "192.0.2.25/33",
            "line 8: `ip`: \"192.0.2.25/33\" is no address with its prefix length, such as \"192.0.2.25/24\" or \"2001:db8::25/64\"",
        ),
        (
            "\"192.0.2.1\"",
            "\"198.51.100.1\"",
            "line 9: the gateway 198.51.100.1 is not within 192.0.2.0/24 | a gateway is reached without a router, so it must be in the address's own network",
        ),
        ("\"192.0.2.1\"", "\"192.0.2.25\"", "line 9: the gateway 192.0.2.25 is the address itself"),
        (
            "gateway = \"192.0.2.1\"\n",
            "",
            "line 18: no way to 10.1.1.5: it is in no network of an own address, and none has a gateway | add `gateway` to the [[address]]",
        ),
        ("[relay]", dup_address, "line 14: two [[address]] sections with 192.0.2.25 | remove one of them"),
        ("[relay]", &many, "line 28: 9 own addresses: at most 8 are possible"),
        (
            "192.0.2.25:25",
            "192.0.2.99:25",
            "line 11: the listener's address 192.0.2.99 is none of our own | our own are 192.0.2.25; others need an [[address]] section",
        ),
        (
            "192.0.2.25:25",
            "192.0.2.25",
            "line 11: `address`: \"192.0.2.25\" is no address with its port, such as \"192.0.2.25:25\" or \"[2001:db8::25]:25\"",
        ),
        (
            "[relay]",
            "[[listener]]\naddress = \"192.0.2.25:25\"\nrole = \"relay\"\n[relay]",
            "line 14: two listeners on 192.0.2.25:25 | remove one of them",
        ),
        (
            "role = \"mx\"",
            "role = \"MX\"",
            "line 12: `role` cannot be \"MX\" | it is one of \"mx\", \"submission\" or \"relay\"",
        ),
        (
            "role = \"mx\"",
            "",
            "line 10: the key `role` is missing: [[listener]] must have it | write role = \"mx\", \"submission\" or \"relay\"",
        ),
        (
            "[[listener]]",
            "[listener]",
            "line 10: `listener` is a table, but must be a list of sections | write [[listener]], once for each",
        ),
        ("[limits]", "[[limits]]", "line 20: `limits` is an array, but must be a section | write [limits]"),
        (
            "10.0.0.0/8",
            "10.0.0.1/8",
            "line 14: `networks`: \"10.0.0.1/8\" has bits set behind its prefix; the network is \"10.0.0.0/8\"",
        ),
        (
            "name = \"example.net\"",
            "name = \"example..net\"",
            "line 16: `name`: \"example..net\" is no mail domain: \"example.net\", \".example.net\" for all its subdomains",
        ),
        (
            "[[route]]",
            "[[domain]]\nname = \"Example.NET\"\n[[route]]",
            "line 18: two [[domain]] sections for example.net | remove one of them",
        ),
        (
            "to = [\"lmtp://10.1.1.5:24\"]",
            "discard = true\nto = [\"lmtp://10.1.1.5:24\"]",
            "line 19: the route for \"example.net\" discards what its `to` would take | leave out one of the two",
        ),
        (
            "to = [\"lmtp://10.1.1.5:24\"]",
            "",
            "line 18: the route for \"example.net\" leads nowhere | add to = [\"smtp://HOST\"], mx = true or discard = true",
        ),
        (
            "lmtp://10.1.1.5:24",
            "lmtp://127.0.0.1:24",
            "line 19: the route to 127.0.0.1 leads to loopback, which af_xdp cannot reach | flows of the bypass path never enter the box's own kernel: use another host, or transport = \"kernel\"",
        ),
        (
            "lmtp://10.1.1.5:24",
            "smtp://192.0.2.25",
            "line 19: the route to 192.0.2.25:25 leads back to our own listener | name the host that takes the mail",
        ),
        (
            "lmtp://10.1.1.5:24",
            "smtp://mail.example.net",
            "line 19: the host mail.example.net is not in /etc/hosts | write its address instead, or add it there; `mx = true` finds the hosts of a domain in the DNS",
        ),
        (
            "lmtp://10.1.1.5:24",
            "smtp://[2001:db8::1]",
            "line 19: no own address to reach 2001:db8::1 from: it needs one of IPv6 | add an [[address]] of IPv6, and to the `pool` of the route if it has one",
        ),
        (
            "lmtp://10.1.1.5:24",
            "10.1.1.5:24",
            "line 19: `to`: \"10.1.1.5:24\" is no next hop: \"smtp://HOST:PORT\" or \"lmtp://HOST:PORT\", with \"?preference=NUMBER\" if wanted (it names no protocol)",
        ),
        (
            "to = [\"lmtp://10.1.1.5:24\"]",
            "to = []",
            "line 18: the route for \"example.net\" leads nowhere | add to = [\"smtp://HOST\"], mx = true or discard = true",
        ),
        (
            "\"50MB\"",
            "50000000",
            "line 21: `message_size` is an integer, but must be a size in quotes, such as \"50MB\" | for example message_size = \"50MB\"",
        ),
        (
            "\"50MB\"",
            "\"50 MB\"",
            "line 21: `message_size`: \"50 MB\" is no size: a whole number and a unit (B, KB, MB, GB, TB; KiB, MiB, GiB, TiB), such as \"50MB\"",
        ),
        (
            "\"50MB\"",
            "\"3GB\"",
            "line 21: `message_size`: \"3GB\" is more than \"2GB\" | it goes from \"64KB\" to \"2GB\"",
        ),
        (
            "message_size",
            "mesage_size",
            "line 21: unknown key `mesage_size`: [limits] has no such key | did you mean `message_size`?",
        ),
        (
            "hostname = \"mx1.example.net\"",
            "hostname = \"mx1.example.net\"\nmessage_size = \"1MB\"",
            "line 3: unknown key `message_size`: the file has no such key | `message_size` is a key of [limits]",
        ),
        ("growth = 2.0", "growth = nan", "line 23: `growth`: NaN is out of range | it goes from 1 to 10"),
        ("growth = 2.0", "growth = 2\nfirst = \"5h\"", "line 24: [retry]: `first` is more than `max`"),
        (
            "growth = 2.0",
            "growth = 2\nfirst = \"soon\"",
            "line 24: `first`: \"soon\" is no duration: a whole number and a unit (ms, s, m, h, d), such as \"200ms\", \"10s\" or \"5d\"",
        ),
        ("\"192.0.2.1\"", "\"router\"", "line 9: `gateway`: \"router\" is no IP address"),
        (
            "to = [\"lmtp://10.1.1.5:24\"]",
            "to = [\"lmtp://10.1.1.5:24\"]\npool = \"bulk\"",
            "line 20: there is no [[pool]] with the name \"bulk\" | add [[pool]] with name = \"bulk\" and its addresses",
        ),
        (
            "[relay]",
            "[[pool]]\nname = \"bulk\"\naddresses = [{ ip = \"192.0.2.25\" }, { ip = \"192.0.2.26\", weight = 3 }]\n[relay]",
            "line 15: the address 192.0.2.26 of the pool \"bulk\" is none of our own | it needs an [[address]] section",
        ),
        (
            "[relay]",
            "[[pool]]\nname = \"bulk\"\naddresses = [{ ip = \"192.0.2.25\", weight = 1001 }]\n[relay]",
            "line 15: `weight`: 1001 is out of range | it goes from 0 to 1000",
        ),
        (
            "[relay]",
            "[[pool]]\nname = \"bulk\"\naddresses = [{ ip = \"192.0.2\" }]\n[relay]",
            "line 15: `ip`: \"192.0.2\" is no IP address",
        ),
        (
            "[relay]",
            "[[pool]]\nname = \"a\"\naddresses = [{ ip = \"192.0.2.25\" }, { ip = \"192.0.2.25\" }]\n[relay]",
            "line 15: the pool \"a\" has twice 192.0.2.25 | remove one of them",
        ),
        (
            "[relay]",
            "[[pool]]\nname = \"a\"\naddresses = [{ ip = \"192.0.2.25\" }]\nsender_domains = [\"x.example\", \"X.example\"]\n[relay]",
            "line 16: mail from X.example leaves from the pool \"a\" already | remove it from one of them",
        ),
        (
            "[relay]",
            "[[tenant]]\nname = \"acme\"\nsender_domains = [\"acme.example\"]\npool = \"bulk\"\n[[pool]]\nname = \"bulks\"\naddresses = [{ ip = \"192.0.2.25\" }]\n[relay]",
            "line 16: there is no [[pool]] with the name \"bulk\" | there are \"bulks\"",
        ),
        (
            "name = \"example.net\"",
            "name = \"example.net\"\nrecipients = \"r.map\"\ncheck_recipients = true",
            "line 18: example.net: `recipients` and `check_recipients` exclude each other | keep the map, or let the next hop say who exists",
        ),
        (
            "name = \"example.net\"",
            "name = \"example.org\"\ncheck_recipients = true",
            "line 17: example.org has no route, so that no next hop can be asked | add [[route]] with domain = \"example.org\"",
        ),
        (
            "[relay]",
            "[[tenant]]\nname = \"acme\"\nsender_domains = [\"acme.example\"]\n[[tenant]]\nname = \"other\"\nsender_domains = [\"other.example\", \"Acme.example\"]\n[relay]",
            "line 18: Acme.example belongs to the tenant \"acme\" already | a domain belongs to one tenant: remove one of them",
        ),
        ("[relay]", "[[tenant]]\nname = \"acme\"\nsender_domains = []\n[relay]", "line 15: `sender_domains` is empty"),
        (
            "[relay]",
            "[[tenant]]\nname = \"a\"\nsender_domains = [\"a.example\"]\n[[tenant]]\nname = \"a\"\nsender_domains = [\".a.example\"]\n[relay]",
            "line 17: two [[tenant]] sections with the name a | remove one of them",
        ),
        (
            "[relay]",
            "[recipients]\ndelimiter = \"ab\"\n[relay]",
            "line 14: `delimiter`: \"ab\" is no recipient delimiter: one ASCII character that an atom may hold, such as \"+\", or nothing",
        ),
        (
            "[relay]",
            "[spool]\nsize_max = \"100MiB\"\n[relay]",
            "line 14: `size_max` is too small for 2 logs of eight segments: at least 1GiB | raise `size_max` or lower `segment_size`",
        ),
        (
            "[relay]",
            "[admin]\nhttp = \"8025\"\n[relay]",
            "line 14: `http`: \"8025\" is no address with its port, such as \"192.0.2.25:25\" or \"[2001:db8::25]:25\"",
        ),
        (
            "[relay]",
            "[admin]\nhttp = \"192.0.2.25:8025\"\n[relay]",
            "line 14: `http`: 192.0.2.25 is an own address, which the kernel does not hold | write an address of the kernel's on this box (`ip address` lists them), or 127.0.0.1",
        ),
        (
            "[relay]",
            "[alert]\nwebhook = \"https://user:word@example.net/\"\n[relay]",
            "line 14: `webhook`: \"https://user:word@example.net/\" is no webhook: \"https://HOST/PATH\", or \"http://HOST:PORT/PATH\" within the house (names and passwords in it are not sent)",
        ),
        (
            "[relay]",
            "[alert]\ncommand = [\"page\"]\n[relay]",
            "line 14: `command`: \"page\" is not the whole path of a program | for example [\"/usr/local/bin/page\", \"--team\", \"mail\"]; there is no shell",
        ),
    ];
    for (from, to, expected) in cases {
        assert!(BASE.contains(from), "{from}");
        assert_eq!(problems(&BASE.replacen(from, to, 1)), [*expected], "{from} -> {to}");
    }
}

#[test]
fn all_mistakes_come_at_once_in_the_order_of_the_file() {
    let text = BASE
        .replace("hostname", "hostnam")
        .replace("\"mx\"", "\"mxx\"")
        .replace("\"50MB\"", "50")
        .replace("growth = 2.0", "growth = true");
    let lines: Vec<String> =
        problems(&text).iter().map(|problem| problem.split(':').next().unwrap_or("").to_owned()).collect();
    assert_eq!(lines, ["line 2", "line 12", "line 21", "line 23"]);
}

#[test]
fn a_mistake_of_syntax_has_its_line() {
    let found = problems(&BASE.replace("[relay]", "[relay"));
    assert!(found.iter().any(|problem| problem.starts_with("line 13:")), "{found:?}");
}

#[test]
fn what_dpdk_cannot_do_is_said_in_its_line() {
    let good = BASE.replace("\"af_xdp\"", "\"dpdk\"").replace("\"eth1\"", "\"0000:03:00.0\"");
    assert_eq!(problems(&good), Vec::<String>::new());
    let with = |more: &str| problems(&format!("{good}{more}"));
    let virtual_device = good.replace("0000:03:00.0", "net_tap0");
    assert_eq!(problems(&format!("{virtual_device}[dpdk]\nhugepages = false\n")), Vec::<String>::new());
    let jumbo = |text: &str| problems(&text.replace("[[port]]", "[[port]]\nmtu = 9000"));
    assert_eq!(jumbo(&good), Vec::<String>::new());
    assert_eq!(
        jumbo(&virtual_device),
        [
            "line 6: `mtu`: net_tap0 has one of its own | leave it out; that of an interface below it is set with `ip link set DEV mtu N`"
        ]
    );
    assert_eq!(
        with("[dpdk]\nhugepages = false\n"),
        [
            "line 25: 0000:03:00.0 does not work without hugepages | write hugepages = true; only virtual devices other than net_af_xdp do without"
        ]
    );
    assert_eq!(
        with("[dpdk]\narguments = [\"-n4\", \"--vdev=net_null0\"]\n"),
        ["line 25: `arguments`: --vdev=net_null0 is not for the file | the device is that of the [[port]]"]
    );
    assert_eq!(
        with("[dpdk]\nmemory = \"1MiB\"\n"),
        ["line 25: `memory`: \"1MiB\" is less than \"32MiB\" | it goes from \"32MiB\" to \"64GiB\""]
    );
    assert_eq!(
        problems(&good.replace("0000:03:00.0\"", "0000:03:00.0\"\nqueues = [0, 1]")),
        [
            "line 7: `queues` cannot be a list on dpdk: each worker gets a queue of its own | write queues = \"auto\", and as many [workers] cores as queues are to be used"
        ]
    );
    assert_eq!(
        problems(&good.replace("[[port]]\ndevice = \"0000:03:00.0\"\n", "")),
        [
            "line 1: the transport \"dpdk\" needs at least one [[port]] | write [[port]] and below it device = \"0000:03:00.0\", the card that DPDK drives"
        ]
    );
    assert_eq!(
        problems(&good.replace("lmtp://10.1.1.5:24", "lmtp://127.0.0.1:24")),
        [
            "line 19: the route to 127.0.0.1 leads to loopback, which dpdk cannot reach | flows of the bypass path never enter the box's own kernel: use another host, or transport = \"kernel\""
        ]
    );
}

#[test]
fn the_kernel_transport_needs_no_port_and_may_use_loopback() {
    let text = "transport = \"kernel\"\nhostname = \"a.example\"\n[[listener]]\naddress = \"127.0.0.1:0\"\nrole = \"mx\"\n\
                [[route]]\ndomain = \"*\"\nto = [\"smtp://localhost:2526\"]\n";
    let config =
        parse_with(text, "test.toml", &Hosts::parse("127.0.0.1 localhost\n::1 localhost")).expect("a good file");
    assert_eq!(config.routes[0].to[0].addresses.len(), 2);
}

#[test]
fn listeners_that_overlap_are_refused() {
    let text = "transport = \"kernel\"\nhostname = \"a.example\"\n[[listener]]\naddress = \"0.0.0.0:25\"\nrole = \"mx\"\n\
                [[listener]]\naddress = \"10.0.0.1:25\"\nrole = \"relay\"\n[[listener]]\naddress = \"[::]:25\"\nrole = \"relay\"\n";
    assert_eq!(
        problems(text),
        ["line 7: the listener on 10.0.0.1:25 overlaps with the one on 0.0.0.0:25 | remove one of them"]
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn no_text_makes_the_reader_panic(place in 0..BASE.len(), cut in 0..40usize, insert in "[\\PC\n]{0,8}") {
        let end = (place + cut).min(BASE.len());
        let text = format!("{}{insert}{}", &BASE[..place], &BASE[end..]);
        let _ = problems(&text);
    }
}
