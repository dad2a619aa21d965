//! Flows that move from one host to another while they are in use.

use super::*;
use crate::tcp::ImportError;
use crate::tcp::neighbour::{request_length, write_request};

const HEIR_MAC: [u8; 6] = [2, 0, 0, 0, 0, 3];

/// A request for the client's address that names the server's as the sender's: the client learns where it is now.
fn announce(heir: &mut Host) {
    let mut frame = vec![0; request_length(ip("192.0.2.1"))];
    write_request(&mut frame, HEIR_MAC, ip("192.0.2.2"), ip("192.0.2.1"));
    heir.stack.port_mut().send(&frame);
}

#[test]
fn a_flow_goes_on_elsewhere_in_the_middle_of_a_transfer() {
    for seed in 0..30 {
        let (loss, duplication, marking) = (0.02, 0.01, 0.02);
        let link = Link { loss, duplication, marking, jitter: Duration::from_micros(100), ..Link::default() };
        let (network, mut client, mut server, near, far) = joined(link, seed);
        let mut heir = settings(vec![own("192.0.2.2", 24, None)], &["192.0.2.2:25"]);
        heir.seed = 99;
        let mut heir = Host::new(&network, HEIR_MAC, link, heir);
        let content: Vec<u8> = (0..400_000u32).map(|place| (place.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        let (mut up, mut got) = (0, Vec::new());
        let (mut down, mut back) = (0, Vec::new());
        let move_at = 1000 * (seed as usize * 11 + 1);
        let stopped = run(&network, &mut [&mut client, &mut server], Duration::from_secs(60), |hosts| {
            up += hosts[0].stack.send(near, &content[up..]);
            hosts[0].read(near, &mut back);
            hosts[1].read(far, &mut got);
            down += hosts[1].stack.send(far, &content[down..]);
            got.len() >= move_at
        });
        assert!(stopped, "SEED={seed}");
        let bytes = server.stack.export(network.now(), far).expect("an open flow");
        network.isolate(server.stack.port().host());
        assert_eq!(server.stack.counters().open, 0);
        let moved = heir.stack.import(network.now(), &bytes).expect("it goes on");
        assert_eq!(heir.stack.import(network.now(), &bytes), Err(ImportError::Exists));
        announce(&mut heir);
        let done = run(&network, &mut [&mut client, &mut heir], Duration::from_secs(60), |hosts| {
            up += hosts[0].stack.send(near, &content[up..]);
            hosts[0].read(near, &mut back);
            hosts[1].read(moved, &mut got);
            down += hosts[1].stack.send(moved, &content[down..]);
            got.len() == content.len() && back.len() == content.len()
        });
        assert!(done, "SEED={seed}: {} and {} of {}", got.len(), back.len(), content.len());
        assert!(got == content && back == content, "SEED={seed}");
        assert_eq!((client.end(near), heir.end(moved)), (None, None));
        heir.stack.close(moved);
        let mut scrap = Vec::new();
        assert!(run(&network, &mut [&mut client, &mut heir], Duration::from_secs(5), |hosts| {
            hosts[0].read(near, &mut scrap)
        }));
    }
}

#[test]
fn what_cannot_be_taken_over_is_refused() {
    let (network, _client, mut server, _near, far) = joined(Link::default(), 1);
    let bytes = server.stack.export(network.now(), far).expect("an open flow");
    assert_eq!(server.stack.export(network.now(), far), None);
    let elsewhere = settings(vec![own("192.0.2.3", 24, None)], &[]);
    let mut elsewhere = Host::new(&network, HEIR_MAC, Link::default(), elsewhere);
    assert_eq!(elsewhere.stack.import(network.now(), &bytes), Err(ImportError::NotOurs));
    assert_eq!(server.stack.import(network.now(), &[]), Err(ImportError::Malformed));
    assert_eq!(server.stack.import(network.now(), &[9, 1, 2]), Err(ImportError::Version(9)));
    for end in 1..bytes.len() {
        assert!(server.stack.import(network.now(), &bytes[..end]).is_err());
    }
    assert!(server.stack.import(network.now(), &bytes).is_ok());
}

/// Where the client's end of the first connection is.
fn client_of(server: &Host) -> SocketAddr {
    let remote = |event: &FlowEvent| if let FlowEvent::Accepted { remote, .. } = event { Some(*remote) } else { None };
    server.events.iter().find_map(remote).expect("a connection")
}

#[test]
fn a_client_that_waits_is_told_that_its_server_is_gone() {
    let (network, mut client, mut server, near, _) = joined(Link::default(), 1);
    let remote = client_of(&server);
    network.isolate(server.stack.port().host());
    let mut heir = settings(vec![own("192.0.2.2", 24, None)], &["192.0.2.2:25"]);
    heir.seed = 99;
    let mut heir = Host::new(&network, HEIR_MAC, Link::default(), heir);
    announce(&mut heir);
    heir.stack.reset_stale(network.now(), at("192.0.2.2:25"), remote);
    let mut hosts = [&mut client, &mut heir, &mut server];
    assert!(run(&network, &mut hosts, Duration::from_secs(1), |hosts| hosts[0].end(near).is_some()));
    assert_eq!(client.end(near), Some(FlowEnd::Reset));
    run(&network, &mut [&mut client, &mut heir, &mut server], Duration::from_secs(10), |_| false);
    assert_eq!(heir.stack.counters().open, 0);
    // One that has come back by the same port in the meantime is left alone.
    let again = client.connect(network.now(), "192.0.2.1", "192.0.2.2:25");
    let mut hosts = [&mut client, &mut heir, &mut server];
    assert!(run(&network, &mut hosts, Duration::from_secs(5), |hosts| !hosts[1].accepted().is_empty()));
    let remote = client_of(&heir);
    heir.stack.reset_stale(network.now(), at("192.0.2.2:25"), remote);
    run(&network, &mut [&mut client, &mut heir, &mut server], Duration::from_secs(5), |_| false);
    assert_eq!((client.end(again), heir.stack.counters().open), (None, 1));
    // And whoever is not there any more is given up.
    heir.stack.reset_stale(network.now(), at("192.0.2.2:25"), at("192.0.2.99:2000"));
    run(&network, &mut [&mut client, &mut heir, &mut server], Duration::from_secs(20), |_| false);
    assert_eq!(heir.stack.counters().open, 1);
}
