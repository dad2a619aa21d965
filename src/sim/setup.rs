//! How a world is set up: the configuration of its boxes, as an operator would write it, and the hosts outside.

use super::mail;
use super::plan::{HOME, LMTP, Plan, Shaping, WORKERS_OF_PAIRS_MAX};
use super::proof::Demand;
use crate::config;
use crate::env::Instant;
use crate::mirror::register::Node as Identity;
use crate::port::sim::{Link, Network, SimPort};
use crate::tcp::{self, OwnAddress, Stack};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

/// Links beat so much slower than they usually do, and all that follows from it: a beat is most of what happens in a world.
pub(super) const SILENCE: Duration = Duration::from_millis(900);

pub(super) fn address(last: u8) -> IpAddr {
    IpAddr::from([10, 0, 0, last])
}

pub(super) fn address_v6(last: u16) -> IpAddr {
    IpAddr::from([0xfd00, 0, 0, 0, 0, 0, 0, last])
}

pub(super) fn hop_address(place: usize) -> SocketAddr {
    let ip = if place == 3 { address_v6(14) } else { address(11 + place as u8) };
    SocketAddr::new(ip, if place == LMTP { 24 } else { 25 })
}

/// The configuration of the appliance, as an operator would write it.
pub(super) fn configuration(plan: &Plan, node: Identity) -> config::Config {
    let mut text = String::from(
        "transport = \"af_xdp\"\nhostname = \"relay.test\"\n[workers]\ncores = [0]\n[[port]]\ndevice = \"sim0\"\n\
         [[address]]\nip = \"10.0.0.1/24\"\n[[listener]]\naddress = \"10.0.0.1:25\"\nrole = \"relay\"\n\
         [[address]]\nip = \"fd00::1/64\"\n[[listener]]\naddress = \"[fd00::1]:25\"\nrole = \"relay\"\n\
         [relay]\nnetworks = [\"10.0.0.0/24\", \"fd00::/64\"]\n",
    );
    if plan.pair {
        text = text.replace("\nip =", "\nidentity = \"a\"\nip =");
        text += "[[address]]\nidentity = \"b\"\nip = \"fd00::5/64\"\n[[address]]\nidentity = \"b\"\nip = \"10.0.0.5/24\"\n\
                 [[listener]]\naddress = \"10.0.0.5:25\"\nrole = \"relay\"\n";
        let (own, partner) = (101 + node as u8, 101 + node.partner() as u8);
        let mut device = "";
        if plan.own_link {
            text += "[[port]]\ndevice = \"sim1\"\n";
            device = "device = \"sim1\"\n";
        }
        text += &format!(
            "[pair]\n{device}node = \"{node}\"\naddress = \"10.0.0.{own}/24\"\npartner = \"10.0.0.{partner}\"\n\
             silence = \"{}ms\"\nencryption = \"none\"\n{}{}\n",
            SILENCE.as_millis(),
            if plan.regroups { format!("logs = {WORKERS_OF_PAIRS_MAX}\n") } else { String::new() },
            if plan.manual { "arbiter = \"manual\"" } else { "etcd = [\"http://10.0.0.99:2379\"]" },
        );
    }
    if plan.pools {
        text += &pools(plan.pair);
    }
    if plan.priorities {
        let spoken_of = format!("role = \"relay\"\nmt_priority = true\npriority_max = {}\n", mail::PRIORITY_MAX);
        text = text.replace("role = \"relay\"\n", &spoken_of);
    }
    if plan.demands.contains(&Demand::Dane) {
        text += "[dns]\ndnssec = \"trust_ad\"\n";
    }
    if plan.requiretls.is_some() {
        text = text.replace("role = \"relay\"\n", "role = \"relay\"\nrequiretls = true\n");
    }
    let by_mx = plan.domains_by_mx();
    for domain in 0..mail::DOMAINS {
        let scheme = if domain == LMTP { "lmtp" } else { "smtp" };
        let mut to = format!("\"{scheme}://{}\"", hop_address(domain));
        if domain == 1 {
            to += &format!(", \"smtp://{}?preference=20\"", hop_address(5));
        }
        let way = if by_mx.contains(&domain) { "mx = true".to_owned() } else { format!("to = [{to}]") };
        text += &format!("[[route]]\ndomain = \"d{domain}.test\"\n{way}\n");
        text += &plan.demands[domain].tls().map_or(String::new(), |tls| format!("tls = \"{tls}\"\n"));
    }
    text += &format!("[[route]]\ndomain = \"{}\"\nto = [\"smtp://{}\"]\n", mail::ORIGIN, hop_address(HOME));
    if plan.pools && !plan.pair {
        text += "pool = \"bounces\"\n";
    }
    for Shaping { domain, by_domain, connections_max, message_rate } in &plan.shaping {
        let whom = match by_domain {
            true => format!("domains = [\"d{domain}.test\"]"),
            false => format!("networks = [\"{}\"]", hop_address(*domain).ip()),
        };
        text +=
            &format!("[[shaping]]\n{whom}\nconnections_max = {connections_max}\nmessage_rate = \"{message_rate}\"\n");
    }
    if plan.reacts {
        text += "[[reaction]]\nname = \"busy\"\ncodes = [\"421\"]\ntext = \"too busy\"\naction = \"back_off\"\n\
                 duration = \"45s\"\n";
    }
    if plan.checks {
        text += "[[domain]]\nname = \"d0.test\"\ncheck_recipients = true\n";
    }
    let mut config = config::parse(&text, "simulated").expect("the simulator writes what the appliance reads");
    // Smaller than a file may say, so that segments go round and limits are met.
    config.spool.segment_size.0 = plan.segment_size;
    config.spool.size_max.0 = plan.segment_size * plan.segments;
    config.spool.batch_size.0 = plan.batch_size;
    config.spool.free_min.0 = plan.free_min;
    config.limits.message_size.0 = 1 << 20;
    config.limits.connections = plan.connections;
    config.limits.half_open = plan.half_open;
    config.retry.first.0 = plan.retry_first;
    config.retry.max.0 = plan.retry_max;
    config.retry.age_max.0 = plan.age_max;
    // What is held for long is given up, too.
    config.retry.held_age_max.0 = plan.age_max;
    config
}

/// Pools: one for all mail that has a sender, and on a single box one for bounces.
fn pools(pair: bool) -> String {
    let pool = |name: &str, addresses: &[IpAddr]| {
        let addresses = addresses.iter().zip(1..).map(|(ip, weight)| format!("{{ ip = \"{ip}\", weight = {weight} }}"));
        format!("[[pool]]\nname = \"{name}\"\naddresses = [{}]\n", addresses.collect::<Vec<_>>().join(", "))
    };
    let of_senders = format!("sender_domains = [\"{}\"]\n", mail::ORIGIN);
    if pair {
        // Those of both identities: a box has the one, the other or all of them.
        return pool("senders", &[address(1), address_v6(1), address_v6(5), address(5)]) + &of_senders;
    }
    let mut text = String::new();
    for ip in SENDERS_FROM.into_iter().chain([BOUNCES_FROM]) {
        text += &format!("[[address]]\nip = \"{ip}/{}\"\n", if ip.is_ipv4() { 24 } else { 64 });
    }
    text + &pool("bounces", &[BOUNCES_FROM]) + &pool("senders", &SENDERS_FROM) + &of_senders
}

/// Own addresses that mail with a sender leaves from, where a single box has pools.
const SENDERS_FROM: [IpAddr; 3] = [
    IpAddr::V4(Ipv4Addr::new(10, 0, 0, 6)),
    IpAddr::V4(Ipv4Addr::new(10, 0, 0, 8)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 6)),
];

/// That of bounces to the home of all senders.
const BOUNCES_FROM: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 7));

/// Whether mail to the next hop at this place may come from `ip`, where a single box has pools.
pub(super) fn may_come_from(ip: IpAddr, sender: &str, place: usize) -> bool {
    match (sender.is_empty(), place) {
        (false, _) => SENDERS_FROM.contains(&ip),
        (true, HOME) => ip == BOUNCES_FROM,
        (true, _) => ip == address(1) || ip == address_v6(1),
    }
}

pub(super) fn outside(
    network: &Network,
    number: u8,
    addresses: Vec<IpAddr>,
    listeners: Vec<SocketAddr>,
    seed: u64,
) -> Stack<SimPort> {
    let own = |ip: IpAddr| OwnAddress { ip, prefix: if ip.is_ipv4() { 24 } else { 64 }, gateway: None };
    let settings = tcp::Settings {
        addresses: addresses.into_iter().map(own).collect(),
        listeners,
        chosen: None,
        connections_max: 10_000,
        connections_per_client_max: 10_000,
        half_open_max: 1000,
        receive_buffer: 32 * 1024,
        send_buffer: 32 * 1024,
        buffer_memory: 64 << 20,
        worker: 0,
        workers: 1,
        queues: 1,
        isn_key: [number; 16],
        seed,
    };
    Stack::new(network.attach([2, 0, 0, 0, 0, number], Link::default()), settings, Instant::ZERO)
}
