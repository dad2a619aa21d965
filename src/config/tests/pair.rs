//! What a pair's files must say.

use super::broken::problems;
use crate::config::{Arbiter, parse, warnings};

const BASE: &str = r#"transport = "af_xdp"
hostname = "mx1.example.net"
[[port]]
device = "eth1"
[[address]]
ip = "192.0.2.25/24"
gateway = "192.0.2.1"
identity = "a"
[[address]]
ip = "192.0.2.26/24"
gateway = "192.0.2.1"
identity = "b"
[[listener]]
address = "192.0.2.25:25"
role = "relay"
[[listener]]
address = "192.0.2.26:25"
role = "relay"
[relay]
networks = ["10.0.0.0/8"]
[[route]]
domain = "*"
to = ["smtp://10.1.1.5"]
[pair]
node = "a"
address = "10.9.9.1/24"
partner = "10.9.9.2"
encryption = "none"
etcd = ["http://10.9.9.10:2379", "http://10.9.9.11:2379"]
"#;

fn changed(from: &str, to: &str) -> Vec<String> {
    assert!(BASE.contains(from), "{from}");
    problems(&BASE.replace(from, to))
}

#[test]
fn the_file_of_a_box_of_a_pair_is_good() {
    let config = parse(BASE, "pair.toml").expect("a good file");
    assert!(warnings(&config).is_empty(), "{:?}", warnings(&config));
    let pair = config.pair.expect("a pair");
    assert_eq!((pair.port, pair.silence.as_millis(), pair.etcd_prefix.as_str()), (2600, 150, "/rohrpost/"));
}

#[test]
fn boxes_with_different_numbers_of_workers_have_as_many_logs() {
    let config = parse(&BASE.replace("node = \"a\"\n", "node = \"a\"\nlogs = 4\n"), "pair.toml").expect("a good file");
    assert_eq!(config.pair.expect("a pair").logs, Some(4));
    let few = BASE
        .replace("[[port]]", "[workers]\ncores = [2, 3]\n[[port]]")
        .replace("node = \"a\"\n", "node = \"a\"\nlogs = 1\n");
    assert_eq!(
        problems(&few).join("\n"),
        "line 28: `logs`: 1 are too few for 2 workers, of which each needs one | write as many as the box with more workers has of them, the same on both boxes"
    );
}

#[test]
fn links_may_have_a_port_of_their_own_and_nobody_else() {
    let own = BASE
        .replace("device = \"eth1\"\n", "device = \"eth1\"\n[[port]]\ndevice = \"eth2\"\n")
        .replace("node = \"a\"\n", "node = \"a\"\ndevice = \"eth2\"\n");
    let config = parse(&own, "pair.toml").expect("a good file");
    assert!(warnings(&config).is_empty(), "{:?}", warnings(&config));
    assert_eq!(config.pair.expect("a pair").device.as_deref(), Some("eth2"));
    for (from, to, message) in [
        (
            "node = \"a\"\ndevice = \"eth2\"",
            "node = \"a\"",
            "line 6: eth2 is one [[port]] too many: one carries all mail | only the links of a pair may have a second one, which `device` of [pair] names",
        ),
        (
            "[[port]]\ndevice = \"eth2\"\n",
            "[[port]]\ndevice = \"eth2\"\n[[port]]\ndevice = \"eth3\"\n",
            "line 8: eth3 is one [[port]] too many: one carries all mail | remove it",
        ),
        (
            "[[port]]\ndevice = \"eth2\"\n",
            "",
            "line 26: `device`: there is no [[port]] with device = \"eth2\" | add one for the links, beside that of all mail",
        ),
        (
            "[[port]]\ndevice = \"eth1\"\n",
            "",
            "line 26: `device`: eth2 is the only [[port]], and carries all mail | leave it out, or add a [[port]] for the mail",
        ),
        (
            "[[port]]\ndevice = \"eth1\"",
            "[[port]]\ndevice = \"eth2\"",
            "line 6: two ports on eth2 | remove one of them",
        ),
    ] {
        assert!(own.contains(from), "{from}");
        assert_eq!(problems(&own.replacen(from, to, 1)).join("\n"), message, "{to}");
    }
    let dpdk = own.replace("af_xdp", "dpdk").replace("eth1", "0000:03:00.0").replace("eth2", "0000:04:00.0");
    assert_eq!(problems(&dpdk), ["line 28: `device`: on dpdk the links go over the one [[port]] | leave it out"]);
}

#[test]
fn one_mistake_gives_one_message_with_its_line_and_its_cure() {
    for (from, to, message) in [
        (
            "encryption = \"none\"\n",
            "",
            "line 24: encryption = \"tls\" needs `partner_fingerprint`: nobody else may send us batches | say `rohrpost pair key` on both boxes, and give each the other's fingerprint",
        ),
        (
            "\"none\"\n",
            "\"tls\"\npartner_fingerprint = \"abc\"\n",
            "line 29: `partner_fingerprint`: \"abc\" is no SHA-256 fingerprint: 64 hex digits, as `rohrpost pair key` says them on the other box",
        ),
        (
            "identity = \"b\"\n",
            "",
            "line 10: 192.0.2.26 belongs to no identity of the pair | write identity = \"a\", or \"b\" for an address that box b usually has",
        ),
        (
            "address = \"10.9.9.1/24\"",
            "address = \"192.0.2.25/24\"",
            "line 26: `address`: 192.0.2.25 has an [[address]] section, but it must not move to the other box | give the links an address of their own\nline 27: `partner`: 10.9.9.2 is not within 192.0.2.0/24 | the two boxes mirror to each other without a router: give both an address of one network",
        ),
        (
            "partner = \"10.9.9.2\"",
            "partner = \"10.9.9.1\"",
            "line 27: `partner`: 10.9.9.1 is this box's own `address` | write the `address` of the other box",
        ),
        (
            "http://10.9.9.11:2379",
            "http://10.9.9.11",
            "line 29: `etcd`: \"http://10.9.9.11\" is no endpoint of etcd: \"http://HOST:PORT\" or \"https://HOST:PORT\", with nothing behind the port",
        ),
        (
            "http://10.9.9.11",
            "http://10.9.9.10",
            "line 29: two endpoints of etcd with http://10.9.9.10:2379 | remove one of them",
        ),
        (
            "\"http://10.9.9.10:2379\", \"http://10.9.9.11:2379\"",
            "\"https://10.9.9.10:2379\"",
            "line 29: an endpoint with https needs `etcd_ca`, the authority that its certificate is signed by | write etcd_ca = \"/etc/rohrpost/etcd-ca.pem\"",
        ),
        (
            "node = \"a\"",
            "node = \"a\"\netcd_user = \"x\"",
            "line 26: `etcd_user` is of no use without `etcd_password_file`",
        ),
        (
            "[[port]]\ndevice = \"eth1\"\n",
            "[spool]\nsize_max = \"512MiB\"\n[[port]]\ndevice = \"eth1\"\n",
            "line 4: `size_max` is too small for 2 logs of eight segments, the partner's counted: 1GiB | raise `size_max` or lower `segment_size`",
        ),
    ] {
        assert_eq!(changed(from, to).join("\n"), message, "{to}");
    }
    for (from, to, message) in [
        (
            "etcd = [\"http://10.9.9.10:2379\", \"http://10.9.9.11:2379\"]\n",
            "",
            "line 24: the arbiter \"etcd\" needs `etcd`: who works for which identity stands there | write etcd = [\"http://HOST:2379\", …], or arbiter = \"manual\" for a pair in which nothing is taken over but by command",
        ),
        (
            "encryption = \"none\"\n",
            "encryption = \"none\"\narbiter = \"manual\"\n",
            "line 30: `etcd` is of no use with arbiter = \"manual\", which asks no etcd | remove `etcd`, or write arbiter = \"etcd\"",
        ),
        (
            "etcd = [\"http://10.9.9.10:2379\", \"http://10.9.9.11:2379\"]\n",
            "arbiter = \"manual\"\netcd_prefix = \"/rohrpost/\"\n",
            "line 30: `etcd_prefix` is of no use with arbiter = \"manual\", which asks no etcd | remove `etcd_prefix`, or write arbiter = \"etcd\"",
        ),
    ] {
        assert_eq!(changed(from, to).join("\n"), message, "{to}");
    }
    let by_hand = BASE.replace("etcd = [\"http://10.9.9.10:2379\", \"http://10.9.9.11:2379\"]", "arbiter = \"manual\"");
    assert_eq!(parse(&by_hand, "pair.toml").expect("a good file").pair.map(|pair| pair.arbiter), Some(Arbiter::Manual));
    let kernel = BASE.replace("transport = \"af_xdp\"", "transport = \"kernel\"");
    let problems = problems(&kernel);
    assert!(problems[0].contains("a pair needs the transport"), "{problems:?}");
}

#[test]
fn an_identity_whose_mail_could_not_leave_or_come_in_is_warned_of() {
    let other = BASE.replace("ip = \"192.0.2.26/24\"\ngateway = \"192.0.2.1\"", "ip = \"2001:db8::26/64\"");
    let other = other.replace("192.0.2.26:25", "[2001:db8::26]:25");
    let told = warnings(&parse(&other, "pair.toml").expect("a good file"));
    assert!(told[0].contains("identity b has no address from which"), "{told:?}");
    let silent = BASE.replace("[[listener]]\naddress = \"192.0.2.26:25\"\nrole = \"relay\"\n", "");
    let told = warnings(&parse(&silent, "pair.toml").expect("a good file"));
    assert!(told[0].contains("identity b has addresses and no [[listener]]"), "{told:?}");
}
