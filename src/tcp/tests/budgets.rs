//! What strangers may use up, and what they cost.

use super::*;

fn limited(change: impl FnOnce(&mut Settings)) -> (Network, Host, Host) {
    let network = Network::new(1);
    let mut server = settings(vec![own("192.0.2.2", 24, None)], &["192.0.2.2:25"]);
    change(&mut server);
    let client = settings(vec![own("192.0.2.1", 24, None), own("192.0.2.3", 24, None)], &[]);
    let client = Host::new(&network, CLIENT_MAC, Link::default(), client);
    let server = Host::new(&network, SERVER_MAC, Link::default(), server);
    (network, client, server)
}

#[test]
fn one_client_gets_no_more_than_its_share() {
    let (network, mut client, mut server) = limited(|settings| settings.connections_per_client_max = 2);
    let flows: Vec<FlowId> = (0..3).map(|_| client.connect(network.now(), "192.0.2.1", "192.0.2.2:25")).collect();
    let other = client.connect(network.now(), "192.0.2.3", "192.0.2.2:25");
    run(&network, &mut [&mut client, &mut server], Duration::from_secs(3), |_| false);
    assert_eq!(flows.iter().filter(|flow| client.connected(**flow)).count(), 2);
    assert_eq!(flows.iter().filter(|flow| client.end(**flow) == Some(FlowEnd::Refused)).count(), 1);
    assert!(client.connected(other));
    assert_eq!(server.stack.counters().refused, 1);
}

#[test]
fn all_clients_get_no_more_than_there_is() {
    let (network, mut client, mut server) = limited(|settings| settings.connections_max = 2);
    for _ in 0..3 {
        client.connect(network.now(), "192.0.2.1", "192.0.2.2:25");
    }
    run(&network, &mut [&mut client, &mut server], Duration::from_secs(3), |_| false);
    assert_eq!(server.accepted().len(), 2);
    assert_eq!(server.stack.counters().refused, 1);
    // A place that is given back can be had again.
    let first = server.accepted()[0];
    server.stack.abort(first);
    client.connect(network.now(), "192.0.2.1", "192.0.2.2:25");
    run(&network, &mut [&mut client, &mut server], Duration::from_secs(3), |_| false);
    assert_eq!(server.accepted().len(), 3);
}

#[test]
fn handshakes_that_nobody_finishes_expire() {
    let (network, mut client, mut server) = limited(|settings| settings.half_open_max = 3);
    // The server must know its neighbour, or its answers would not even leave.
    let near = client.connect(network.now(), "192.0.2.1", "192.0.2.2:25");
    run(&network, &mut [&mut client, &mut server], Duration::from_secs(1), |hosts| {
        hosts[0].connected(near) && !hosts[1].accepted().is_empty()
    });
    network.cut(server.stack.port().host(), client.stack.port().host());
    for _ in 0..5 {
        client.connect(network.now(), "192.0.2.1", "192.0.2.2:25");
    }
    run(&network, &mut [&mut client, &mut server], Duration::from_millis(100), |_| false);
    assert_eq!(server.stack.counters().open, 1 + 3);
    assert_eq!(server.stack.counters().refused, 0);
    network.isolate(client.stack.port().host());
    run(&network, &mut [&mut client, &mut server], Duration::from_secs(12), |_| false);
    assert_eq!(server.stack.counters().open, 1);
}

#[test]
fn nobody_is_accepted_after_stop_listening() {
    let (network, mut client, mut server, near, far) = joined(Link::default(), 1);
    server.stack.stop_listening();
    let late = client.connect(network.now(), "192.0.2.1", "192.0.2.2:25");
    run(&network, &mut [&mut client, &mut server], Duration::from_secs(1), |_| false);
    assert_eq!(client.end(late), Some(FlowEnd::Refused));
    assert_eq!((client.end(near), server.end(far)), (None, None));
}

#[test]
fn a_tuple_in_time_wait_is_taken_by_a_later_syn() {
    let (network, mut client, mut server) = limited(|_| {});
    // One port is left to the client, so that the second connection must use it too.
    for round in 0..2 {
        let near = client.connect(network.now(), "192.0.2.1", "192.0.2.2:25");
        run(&network, &mut [&mut client, &mut server], Duration::from_secs(1), |hosts| {
            hosts[0].connected(near) && hosts[1].accepted().len() == round + 1
        });
        let far = server.accepted()[round];
        // The server ends first and keeps the tuple.
        server.stack.close(far);
        run(&network, &mut [&mut client, &mut server], Duration::from_millis(100), |_| false);
        client.stack.close(near);
        run(&network, &mut [&mut client, &mut server], Duration::from_millis(100), |_| false);
        assert_eq!(server.stack.counters().open, 0);
        client.stack.choose_next_port_again();
    }
    assert_eq!(server.accepted().len(), 2);
}

#[test]
fn a_frame_costs_the_same_among_ten_thousand_flows() {
    let work = |count: usize| {
        let network = Network::new(1);
        let link = Link::default();
        let roomy = |settings: &mut Settings| {
            settings.connections_max = 20_000;
            settings.connections_per_client_max = 20_000;
            settings.half_open_max = 20_000;
            (settings.receive_buffer, settings.send_buffer) = (2048, 2048);
        };
        let mut client = settings(vec![own("192.0.2.1", 24, None)], &[]);
        let mut server = settings(vec![own("192.0.2.2", 24, None)], &["192.0.2.2:25"]);
        roomy(&mut client);
        roomy(&mut server);
        let mut client = Host::new(&network, CLIENT_MAC, link, client);
        let mut server = Host::new(&network, SERVER_MAC, link, server);
        let mut flows = Vec::new();
        while flows.len() < count {
            for _ in 0..100 {
                flows.push(client.connect(network.now(), "192.0.2.1", "192.0.2.2:25"));
            }
            let wanted = flows.len() as u64;
            assert!(run(&network, &mut [&mut client, &mut server], Duration::from_secs(10), |hosts| {
                hosts[1].stack.counters().accepted == wanted
            }));
        }
        // What is left of the last handshakes is not what is counted here.
        run(&network, &mut [&mut client, &mut server], Duration::from_secs(2), |_| false);
        let before = server.stack.visits();
        client.stack.send(flows[count / 2], b"NOOP\r\n");
        run(&network, &mut [&mut client, &mut server], Duration::from_millis(100), |_| false);
        server.stack.visits() - before
    };
    let few = work(100);
    assert!((1..10).contains(&few), "{few}");
    assert_eq!(few, work(10_000));
}
