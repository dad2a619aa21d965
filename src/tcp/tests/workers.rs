//! Several workers that share their addresses, behind a NIC that does not know whose a frame is.

use super::*;
use crate::flow::Peer;
use crate::port::lane::share_out;
use crate::port::sim::Steering;

/// Two workers whose NIC throws frames at either.
fn shared(steering: Steering) -> (Network, Host, Vec<Host>) {
    let network = Network::new(5);
    let server = settings(vec![own("192.0.2.2", 24, None)], &["192.0.2.2:25"]);
    let server = Host::new(&network, SERVER_MAC, Link::default(), server);
    let ports = network.attach_queues(CLIENT_MAC, Link::default(), 2, steering);
    let workers = ports.into_iter().enumerate().map(|(worker, port)| {
        let mut settings = settings(vec![own("192.0.2.1", 24, None)], &[]);
        (settings.worker, settings.workers, settings.queues) = (worker as u16, 2, 2);
        Host { stack: Stack::new(port, settings, network.now()), events: Vec::new() }
    });
    let workers = workers.collect();
    (network, server, workers)
}

/// All workers are on one queue, the first one's; the others are its guests.
#[test]
fn guests_have_their_share_of_what_comes_and_send_by_their_hosts_queue() {
    let network = Network::new(6);
    let server = settings(vec![own("192.0.2.2", 24, None)], &["192.0.2.2:25"]);
    let mut server = Host::new(&network, SERVER_MAC, Link::default(), server);
    let ports = network.attach_queues(CLIENT_MAC, Link::default(), 1, Steering::Flow);
    let lanes = share_out(ports, 4).unwrap();
    let mut workers: Vec<_> = (0..)
        .zip(lanes)
        .map(|(worker, lane)| {
            let mut settings = settings(vec![own("192.0.2.1", 24, None)], &["192.0.2.1:25"]);
            (settings.worker, settings.workers, settings.queues) = (worker, 4, 1);
            (Stack::new(lane, settings, network.now()), Vec::new())
        })
        .collect();
    // Each opens a flow, and the server opens many to all of them.
    let to = "192.0.2.2:25".parse().unwrap();
    for (stack, _) in &mut workers {
        stack.connect(network.now(), "192.0.2.1".parse().unwrap(), to).unwrap();
    }
    for _ in 0..40 {
        server.connect(network.now(), "192.0.2.2", "192.0.2.1:25");
    }
    let mut accepted = [0; 4];
    let mut connected = [0; 4];
    for _ in 0..20_000 {
        for place in 0..workers.len() {
            let (stack, events) = &mut workers[place];
            stack.poll(network.now(), events);
            stack.flush(network.now());
            for event in events.drain(..) {
                accepted[place] += usize::from(matches!(event, FlowEvent::Accepted { .. }));
                connected[place] += usize::from(matches!(event, FlowEvent::Connected { .. }));
            }
            let mut letters = Vec::new();
            stack.take_foreign(&mut |peer, _, frame| letters.push((peer, frame)));
            for (peer, frame) in letters {
                match peer {
                    Peer::Worker(to) => workers[usize::from(to)].0.inject(network.now(), 0, &frame),
                    Peer::Carrier(to) => workers[usize::from(to)].0.carry(0, &frame),
                    Peer::AllOthers => {
                        for other in (0..workers.len()).filter(|other| *other != place) {
                            workers[other].0.inject(network.now(), 0, &frame);
                        }
                    }
                }
            }
        }
        server.stack.poll(network.now(), &mut server.events);
        server.stack.flush(network.now());
        if accepted.iter().sum::<usize>() == 40 && connected == [1; 4] {
            break;
        }
        network.advance(network.now() + Duration::from_micros(100));
    }
    assert_eq!(connected, [1; 4]);
    assert_eq!(accepted.iter().sum::<usize>(), 40);
    assert!(accepted.iter().all(|count| *count > 2), "{accepted:?}");
}

fn forward(hosts: &mut [&mut Host], now: Instant) {
    for from in 1..3 {
        let mut letters = Vec::new();
        hosts[from].stack.take_foreign(&mut |peer, _, frame| letters.push((peer, frame)));
        for (peer, frame) in letters {
            let other = 3 - from;
            assert!(matches!(peer, Peer::AllOthers) || peer == Peer::Worker(other as u16 - 1));
            hosts[other].stack.inject(now, 0, &frame);
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
