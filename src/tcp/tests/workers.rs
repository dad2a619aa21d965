//! Several workers that share their addresses, behind a NIC that does not know whose a frame is.

use super::*;
use crate::flow::Peer;
use crate::port::sim::Steering;

/// Two workers whose NIC throws frames at either.
fn shared(steering: Steering) -> (Network, Host, Vec<Host>) {
    let network = Network::new(5);
    let server = settings(vec![own("192.0.2.2", 24, None)], &["192.0.2.2:25"]);
    let server = Host::new(&network, SERVER_MAC, Link::default(), server);
    let ports = network.attach_queues(CLIENT_MAC, Link::default(), 2, steering);
    let workers = ports.into_iter().enumerate().map(|(worker, port)| {
        let mut settings = settings(vec![own("192.0.2.1", 24, None)], &[]);
        (settings.worker, settings.workers) = (worker as u16, 2);
        Host { stack: Stack::new(port, settings, network.now()), events: Vec::new() }
    });
    let workers = workers.collect();
    (network, server, workers)
}

fn forward(hosts: &mut [&mut Host], now: Instant) {
    for from in 1..3 {
        let mut letters = Vec::new();
        hosts[from].stack.take_foreign(&mut |peer, frame| letters.push((peer, frame)));
        for (peer, frame) in letters {
            let other = 3 - from;
            assert!(matches!(peer, Peer::AllOthers) || peer == Peer::Worker(other as u16 - 1));
            hosts[other].stack.inject(now, &frame);
        }
    }
}

#[test]
fn frames_find_the_worker_that_they_belong_to() {
    for steering in [Steering::Queue(0), Steering::Queue(1), Steering::Random] {
        let (network, mut server, mut workers) = shared(steering);
        let (first, second) = workers.split_at_mut(1);
        let (first, second) = (&mut first[0], &mut second[0]);
        let flows = [
            first.connect(network.now(), "192.0.2.1", "192.0.2.2:25"),
            second.connect(network.now(), "192.0.2.1", "192.0.2.2:25"),
        ];
        let clock = network.clone();
        let done = run(&network, &mut [&mut server, first, second], Duration::from_secs(1), |hosts| {
            forward(hosts, clock.now());
            hosts[1].connected(flows[0]) && hosts[2].connected(flows[1])
        });
        assert!(done, "{steering:?}");
        // The answers of neighbours reached both, or one of them would have waited for its own.
        assert!(network.now().since(Instant::ZERO) < Duration::from_millis(100), "{:?}", network.now());
    }
}
