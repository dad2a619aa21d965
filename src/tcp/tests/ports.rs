//! A host with two ports, a stack on each, which look like one transport.

use super::*;
use crate::flow::{ConnectError, Peer};
use crate::tcp::{ChosenListener, Stacks};

const OTHER_MAC: [u8; 6] = [2, 0, 0, 0, 0, 3];

/// Mail comes to the first one, and chosen connections to the second one. Each has a network and a host of its own there.
struct Bench {
    networks: [Network; 2],
    outside: [Host; 2],
    stacks: Stacks<SimPort>,
    events: Vec<FlowEvent>,
}

impl Bench {
    fn new(worker: u16, workers: u16) -> Bench {
        let networks = [Network::new(1), Network::new(2)];
        let outside = [("192.0.2.2", "192.0.2.2:25"), ("10.9.9.2", "10.9.9.2:2600")];
        let mut outside = outside.iter().zip(&networks).map(|((address, listener), network)| {
            Host::new(network, SERVER_MAC, Link::default(), settings(vec![own(address, 24, None)], &[listener]))
        });
        let outside = [outside.next().unwrap(), outside.next().unwrap()];
        let mail = settings(vec![own("192.0.2.1", 24, None)], &["192.0.2.1:25", "192.0.2.1:587"]);
        let chosen = ChosenListener { address: ip("10.9.9.1"), port: 2600, ports: 2 };
        let links = Settings { chosen: Some(chosen), ..settings(vec![own("10.9.9.1", 24, None)], &[]) };
        let ports = [(CLIENT_MAC, mail), (OTHER_MAC, links)].into_iter().zip(&networks);
        let stacks = ports.map(|((mac, settings), network)| {
            let settings = Settings { worker, workers, queues: workers, ..settings };
            Stack::new(network.attach(mac, Link::default()), settings, network.now())
        });
        Bench { stacks: Stacks::new(stacks.collect()), networks, outside, events: Vec::new() }
    }

    fn now(&self) -> Instant {
        self.networks[0].now()
    }

    fn connect(&mut self, local: &str, remote: &str) -> Result<FlowId, ConnectError> {
        self.stacks.connect(self.networks[0].now(), ip(local), at(remote))
    }

    /// Lets half a second go by.
    fn run(&mut self) {
        for _ in 0..500 {
            let now = self.now();
            self.stacks.poll(now, &mut self.events);
            self.stacks.flush(now);
            for host in &mut self.outside {
                host.stack.poll(now, &mut host.events);
                host.stack.flush(now);
            }
            self.networks.iter().for_each(|network| network.advance(now + Duration::from_millis(1)));
        }
    }

    fn accepted(&self) -> Vec<(FlowId, usize)> {
        let accepted = |event: &FlowEvent| match event {
            FlowEvent::Accepted { flow, listener, .. } => Some((*flow, *listener)),
            _ => None,
        };
        self.events.iter().filter_map(accepted).collect()
    }
}

#[test]
fn an_address_says_over_which_port_a_connection_goes() {
    let mut bench = Bench::new(0, 1);
    let flows = [("192.0.2.1", "192.0.2.2:25"), ("10.9.9.1", "10.9.9.2:2600")];
    let flows = flows.map(|(local, remote)| bench.connect(local, remote).expect("a way"));
    assert_ne!(flows[0], flows[1]);
    assert_eq!(bench.connect("192.0.2.9", "192.0.2.2:25"), Err(ConnectError::NoRoute), "whose address is that?");
    assert_eq!(bench.connect("192.0.2.1", "10.9.9.2:2600"), Err(ConnectError::NoRoute), "the other port's network");
    bench.run();
    for (flow, text) in flows.iter().zip([&b"mail"[..], b"links"]) {
        assert!(bench.events.contains(&FlowEvent::Connected { flow: *flow }));
        assert_eq!(bench.stacks.send(*flow, text), text.len());
    }
    bench.run();
    for (host, text) in bench.outside.iter_mut().zip([&b"mail"[..], b"links"]) {
        let accepted = host.accepted();
        let mut read = Vec::new();
        host.read(accepted[0], &mut read);
        assert_eq!((accepted.len(), &read[..]), (1, text));
        host.stack.send(accepted[0], text);
    }
    bench.run();
    for (flow, text) in flows.iter().zip([&b"mail"[..], b"links"]) {
        assert!(bench.events.contains(&FlowEvent::Readable { flow: *flow }));
        assert_eq!(bench.stacks.received(*flow).bytes, text);
        bench.stacks.consume(*flow, text.len());
        assert!(bench.stacks.received(*flow).bytes.is_empty());
    }
    let counters = bench.stacks.counters();
    assert_eq!((counters.connected, counters.open), (2, 2));
    bench.stacks.abort(flows[1]);
    assert_eq!(bench.stacks.counters().open, 1);
    assert_eq!(bench.stacks.each()[0].counters().open, 1, "the other one's flow in the same place is still there");
}

#[test]
fn listeners_are_counted_through_and_flows_have_names_of_their_own() {
    let mut bench = Bench::new(0, 1);
    let now = bench.now();
    bench.outside[0].connect(now, "192.0.2.2", "192.0.2.1:587");
    bench.outside[1].connect(now, "10.9.9.2", "10.9.9.1:2600");
    // Nobody listens to mail where the links are, nor for links where mail is.
    let nobody = bench.outside[1].connect(now, "10.9.9.2", "10.9.9.1:25");
    let none = bench.outside[0].connect(now, "192.0.2.2", "192.0.2.1:2600");
    bench.run();
    let accepted = bench.accepted();
    assert_eq!(accepted.iter().map(|(_, listener)| *listener).collect::<Vec<_>>(), [1, 2]);
    assert_ne!(accepted[0].0, accepted[1].0);
    assert_eq!(bench.outside[1].end(nobody), Some(FlowEnd::Refused));
    assert_eq!(bench.outside[0].end(none), Some(FlowEnd::Refused));

    // What is given up is given up where it is, and there alone.
    bench.stacks.withdraw(&[ip("192.0.2.1")]);
    assert_eq!(bench.stacks.each().iter().map(|stack| stack.counters().open).collect::<Vec<_>>(), [0, 1]);
    let now = bench.now();
    let late = bench.outside[1].connect(now, "10.9.9.2", "10.9.9.1:2600");
    bench.run();
    assert!(bench.outside[1].connected(late), "the links' address is still answered for");
    bench.stacks.stop_listening();
    let later = bench.outside[1].connect(bench.networks[1].now(), "10.9.9.2", "10.9.9.1:2600");
    bench.run();
    assert!(!bench.outside[1].connected(later));
}

#[test]
fn a_frame_for_another_worker_finds_the_stack_of_its_port() {
    // The second worker's log has the second port; the frames come to the first worker, as there is but one queue here.
    let (mut first, mut second) = (Bench::new(0, 2), Bench::new(1, 2));
    // Nobody answers it there.
    second.networks.iter().zip(&second.outside).for_each(|(network, host)| network.isolate(host.stack.port().host()));
    let flow = {
        let now = first.now();
        first.outside[1].connect(now, "10.9.9.2", "10.9.9.1:2601")
    };
    let mut ports = Vec::new();
    for _ in 0..10 {
        first.run();
        second.run();
        for (from, to) in [(0, 1), (1, 0)] {
            let mut frames = Vec::new();
            let benches = [&mut first, &mut second];
            benches[from].stacks.take_foreign(&mut |peer, port, frame| frames.push((peer, port, frame)));
            let now = benches[to].now();
            for (peer, port, frame) in frames {
                assert!(peer == Peer::AllOthers || peer == Peer::Worker(to as u16));
                ports.push(port);
                benches[to].stacks.inject(now, port, &frame);
            }
        }
    }
    assert!(ports.iter().all(|port| *port == 1) && !ports.is_empty(), "{ports:?}");
    assert!(!first.outside[1].connected(flow) && first.outside[1].end(flow).is_none(), "nobody refuses it");
    assert_eq!(second.stacks.each().iter().map(|stack| stack.counters().open).collect::<Vec<_>>(), [0, 1]);
    assert_eq!(first.stacks.counters().open, 0);
}
