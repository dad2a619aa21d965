//! What a bad path costs.

use super::*;

/// Bytes a second that one direction carries over a path of 20 ms there and back that loses this share of frames each
/// way; and how many bytes went out for each that came.
fn goodput(loss: f64, seed: u64) -> (f64, f64) {
    let link = Link { delay: Duration::from_millis(5), loss: loss / 2.0, ..Link::default() };
    let network = Network::new(seed);
    let mut client = settings(vec![own("192.0.2.1", 24, None)], &[]);
    let mut server = settings(vec![own("192.0.2.2", 24, None)], &["192.0.2.2:25"]);
    for settings in [&mut client, &mut server] {
        (settings.receive_buffer, settings.send_buffer, settings.buffer_memory) = (1 << 20, 1 << 20, 1 << 24);
    }
    let mut client = Host::new(&network, CLIENT_MAC, link, client);
    let mut server = Host::new(&network, SERVER_MAC, link, server);
    let near = client.connect(network.now(), "192.0.2.1", "192.0.2.2:25");
    let piece = vec![7; 65_536];
    let (mut got, mut scrap) = (0, Vec::new());
    let span = Duration::from_secs(10);
    run(&network, &mut [&mut client, &mut server], span, |hosts| {
        let [client, server] = hosts else { unreachable!() };
        if client.connected(near) {
            while client.stack.send(near, &piece) > 0 {}
        }
        if let Some(far) = server.accepted().first().copied() {
            server.read(far, &mut scrap);
            got += scrap.len();
            scrap.clear();
        }
        false
    });
    let sent = client.stack.counters().bytes_sent as f64;
    (got as f64 / span.as_secs_f64(), sent / got as f64)
}

/// What Reno makes of such a path (Mathis, Semke, Mahdavi, Ott: The macroscopic behavior of the TCP congestion avoidance
/// algorithm, 1997), bytes a second.
fn reno(loss: f64) -> f64 {
    1448.0 / 0.02 * (1.5 / loss).sqrt()
}

#[test]
fn random_loss_costs_no_more_than_the_window_demands_and_little_is_sent_in_vain() {
    for (loss, headers_and_repetitions) in [(0.001, 1.06), (0.01, 1.07), (0.03, 1.10)] {
        let (rate, cost) = goodput(loss, 1);
        println!("loss {loss}: {:.0} KB/s, {cost:.3} bytes sent for each", rate / 1000.0);
        assert!(rate > 0.8 * reno(loss), "loss {loss}: {rate:.0} of {:.0}", reno(loss));
        assert!(cost < headers_and_repetitions, "loss {loss}: {cost}");
    }
}

#[test]
fn what_a_connection_has_met_is_known() {
    let link = Link { delay: Duration::from_millis(5), ..Link::default() };
    let (network, mut client, mut server, near, far) = joined(link, 1);
    let send = |client: &mut Host, server: &mut Host, count: usize| {
        assert_eq!(client.stack.send(near, &vec![7; count]), count);
        let mut got = Vec::new();
        let all = run(&network, &mut [client, server], Duration::from_secs(60), |hosts| {
            hosts[1].read(far, &mut got);
            got.len() == count && hosts[0].stack.acknowledged(near)
        });
        assert!(all, "{} of {count} came", got.len());
        client.stack.path(near).unwrap()
    };
    let path = send(&mut client, &mut server, 8000);
    let trip = path.round_trip_us.unwrap();
    assert!((20_000..70_000).contains(&trip), "{trip} µs");
    assert_eq!(path.retransmissions, 0);
    network.set_link(server.stack.port().host(), Link { loss: 0.3, ..link });
    let path = send(&mut client, &mut server, 8000);
    assert!(path.retransmissions > 0);
    client.stack.abort(near);
    assert_eq!(client.stack.path(near), None);
}
