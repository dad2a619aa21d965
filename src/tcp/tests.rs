//! Two stacks and a switch in memory, in virtual time.

mod attack;
mod budgets;
mod congestion;
mod cookies;
mod hand_over;
mod life;
mod network;
mod paths;
mod ports;
mod recovery;
mod segmentation;
mod workers;

use super::{OwnAddress, Settings, Stack};
use crate::env::Instant;
use crate::flow::{FlowEnd, FlowEvent, FlowId, Transport};
use crate::port::sim::{Link, Network, SimPort};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

const CLIENT_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
const SERVER_MAC: [u8; 6] = [2, 0, 0, 0, 0, 2];

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn at(text: &str) -> SocketAddr {
    text.parse().expect("an address with a port")
}

fn own(text: &str, prefix: u8, gateway: Option<&str>) -> OwnAddress {
    OwnAddress { ip: ip(text), prefix, gateway: gateway.map(ip) }
}

fn settings(addresses: Vec<OwnAddress>, listeners: &[&str]) -> Settings {
    Settings {
        addresses,
        listeners: listeners.iter().map(|listener| at(listener)).collect(),
        chosen: None,
        connections_max: 100,
        connections_per_client_max: 50,
        half_open_max: 20,
        receive_buffer: 32 * 1024,
        send_buffer: 32 * 1024,
        buffer_memory: 1 << 20,
        worker: 0,
        workers: 1,
        queues: 1,
        isn_key: [9; 16],
        seed: 1,
    }
}

/// One host: a stack and what it has told.
struct Host {
    stack: Stack<SimPort>,
    events: Vec<FlowEvent>,
}

impl Host {
    fn new(network: &Network, mac: [u8; 6], link: Link, settings: Settings) -> Host {
        Host { stack: Stack::new(network.attach(mac, link), settings, network.now()), events: Vec::new() }
    }

    fn connect(&mut self, now: Instant, local: &str, remote: &str) -> FlowId {
        self.stack.connect(now, ip(local), at(remote)).expect("a connection starts")
    }

    fn connected(&self, flow: FlowId) -> bool {
        self.events.contains(&FlowEvent::Connected { flow })
    }

    fn accepted(&self) -> Vec<FlowId> {
        let accepted = |event: &FlowEvent| match event {
            FlowEvent::Accepted { flow, .. } => Some(*flow),
            _ => None,
        };
        self.events.iter().filter_map(accepted).collect()
    }

    fn end(&self, wanted: FlowId) -> Option<FlowEnd> {
        self.events.iter().find_map(|event| match event {
            FlowEvent::Ended { flow, end } if *flow == wanted => Some(*end),
            _ => None,
        })
    }

    /// Reads all there is.
    fn read(&mut self, flow: FlowId, into: &mut Vec<u8>) -> bool {
        loop {
            let received = self.stack.received(flow);
            let (count, finished) = (received.bytes.len(), received.finished && !received.more);
            into.extend_from_slice(received.bytes);
            if count == 0 {
                return finished;
            }
            self.stack.consume(flow, count);
        }
    }
}

/// Turns the wheel until `done`, or for `span`; says whether it was done. The clock stands where it was when it was.
fn run(
    network: &Network,
    hosts: &mut [&mut Host],
    span: Duration,
    mut done: impl FnMut(&mut [&mut Host]) -> bool,
) -> bool {
    let limit = network.now() + span;
    loop {
        for host in hosts.iter_mut() {
            host.stack.poll(network.now(), &mut host.events);
        }
        // What sessions would do comes between poll and flush, as in a worker's breath.
        let done = done(hosts);
        for host in hosts.iter_mut() {
            host.stack.flush(network.now());
        }
        if done || network.now() >= limit {
            return done;
        }
        let deadlines = hosts.iter().filter_map(|host| host.stack.next_deadline());
        let next = deadlines.chain(network.next_event()).min().unwrap_or(limit);
        // Time moves in any case, so that a deadline that stays at now shows as slowness and not as a hang.
        network.advance(next.max(network.now() + Duration::from_nanos(1)).min(limit));
    }
}

/// A client at .1 and a server at .2 that listens on port 25, both families.
fn pair(link: Link, seed: u64) -> (Network, Host, Host) {
    let network = Network::new(seed);
    let mut client = settings(vec![own("192.0.2.1", 24, None), own("2001:db8::1", 64, None)], &[]);
    client.seed = 77;
    let server = settings(vec![own("192.0.2.2", 24, None), own("2001:db8::2", 64, None)], &["0.0.0.0:25", "[::]:25"]);
    let client = Host::new(&network, CLIENT_MAC, link, client);
    let server = Host::new(&network, SERVER_MAC, link, server);
    (network, client, server)
}

/// A pair with a connection in use: (network, client, server, the client's flow, the server's).
fn joined(link: Link, seed: u64) -> (Network, Host, Host, FlowId, FlowId) {
    let (network, mut client, mut server) = pair(link, seed);
    let near = client.connect(network.now(), "192.0.2.1", "192.0.2.2:25");
    let there = run(&network, &mut [&mut client, &mut server], Duration::from_secs(30), |hosts| {
        hosts[0].connected(near) && !hosts[1].accepted().is_empty()
    });
    assert!(there, "no connection: {:?} {:?}", client.events, server.events);
    let far = server.accepted()[0];
    (network, client, server, near, far)
}
