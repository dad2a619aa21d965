use super::*;
use crate::env::{Clock, SystemClock, Wakeup};
use std::io::Read;
use std::net::{Ipv4Addr, Ipv6Addr, TcpListener as StdListener, TcpStream as StdStream};
use std::thread;

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// A transport with one listener, and all events that nobody has asked for yet.
struct World {
    sockets: Sockets,
    clock: SystemClock,
    events: Vec<FlowEvent>,
}

impl World {
    fn with(address: IpAddr, change: impl FnOnce(&mut Settings)) -> World {
        let mut settings = Settings {
            listeners: vec![SocketAddr::new(address, 0)],
            connections_max: 1000,
            connections_per_client_max: 1000,
            receive_buffer: 16 * 1024,
            reuse_port: false,
        };
        change(&mut settings);
        World { sockets: Sockets::open(settings).unwrap(), clock: SystemClock::new(), events: Vec::new() }
    }

    fn new() -> World {
        World::with(LOOPBACK, |_| {})
    }

    fn address(&self) -> SocketAddr {
        self.sockets.listening().next().unwrap()
    }

    fn dial(&self) -> StdStream {
        let stream = StdStream::connect(self.address()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        stream
    }

    fn breath(&mut self) {
        let before = self.events.len();
        self.sockets.poll(self.clock.now().mono, &mut self.events);
        let new = &self.events[before..];
        for event in new {
            if let FlowEvent::Readable { flow } = event {
                let again = new.iter().filter(|other| **other == FlowEvent::Readable { flow: *flow }).count();
                assert_eq!(again, 1, "at most once a flow and poll");
            }
        }
        if new.is_empty() {
            self.sockets.wait(Duration::from_millis(20), &[]);
        }
    }

    /// Breathes until `done` finds what it wants.
    fn until<T>(&mut self, what: &str, mut done: impl FnMut(&mut World) -> Option<T>) -> T {
        let start = std::time::Instant::now();
        loop {
            if let Some(found) = done(self) {
                return found;
            }
            assert!(start.elapsed() < Duration::from_secs(20), "waited in vain for {what}: {:?}", self.events);
            self.breath();
        }
    }

    /// Takes the first event that `pick` knows.
    fn event<T>(&mut self, what: &str, mut pick: impl FnMut(&FlowEvent) -> Option<T>) -> T {
        self.until(what, |world| {
            let (place, found) = world.events.iter().enumerate().find_map(|(n, event)| Some((n, pick(event)?)))?;
            world.events.remove(place);
            Some(found)
        })
    }

    fn accepted(&mut self) -> FlowId {
        self.event("a client", |event| match event {
            FlowEvent::Accepted { flow, .. } => Some(*flow),
            _ => None,
        })
    }

    fn connected(&mut self, flow: FlowId) {
        self.event("a connection", |event| (*event == FlowEvent::Connected { flow }).then_some(()));
    }

    fn ended(&mut self, id: FlowId) -> FlowEnd {
        self.event("an end", |event| match event {
            FlowEvent::Ended { flow, end } if *flow == id => Some(*end),
            _ => None,
        })
    }

    /// Reads by the events alone until the peer has ended; so a lost `Readable` shows.
    fn read_to_end(&mut self, id: FlowId, piece: usize) -> Vec<u8> {
        let mut all = Vec::new();
        loop {
            self.event("bytes", |event| (*event == FlowEvent::Readable { flow: id }).then_some(()));
            loop {
                let received = self.sockets.received(id);
                let count = received.bytes.len().min(piece);
                all.extend_from_slice(&received.bytes[..count]);
                if received.finished && count == received.bytes.len() {
                    return all;
                }
                if count == 0 {
                    break;
                }
                self.sockets.consume(id, count);
            }
        }
    }
}

fn pattern(size: usize) -> Vec<u8> {
    (0..size).map(|place| (place * 31 + place / 251) as u8).collect()
}

/// Sends back what a client sends, until it ends; takes short sends as they come.
fn echo_one_megabyte(address: IpAddr) {
    let mut world = World::with(address, |_| {});
    let sent = pattern(1_000_000);
    let mut stream = world.dial();
    let (mut reader, expected) = (stream.try_clone().unwrap(), sent.clone());
    let writer = thread::spawn(move || {
        stream.write_all(&sent).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
    });
    let client = thread::spawn(move || {
        let mut back = Vec::new();
        reader.read_to_end(&mut back).unwrap();
        back
    });
    let flow = world.accepted();
    world.until("the end of the echo", |world| {
        loop {
            let received = world.sockets.received(flow);
            let (bytes, finished) = (received.bytes.to_vec(), received.finished);
            if bytes.is_empty() {
                return finished.then_some(());
            }
            let count = world.sockets.send(flow, &bytes);
            world.sockets.consume(flow, count);
            if count < bytes.len() {
                return None;
            }
        }
    });
    world.sockets.close(flow);
    world.until("the client", |_| client.is_finished().then_some(()));
    assert!(client.join().unwrap() == expected, "what came back differs");
    writer.join().unwrap();
    assert_eq!(world.sockets.counters().bytes_received, 1_000_000);
    assert_eq!(world.sockets.counters().bytes_sent, 1_000_000);
    assert_eq!(world.sockets.counters().open, 0);
}

#[test]
fn a_megabyte_comes_back_unchanged() {
    echo_one_megabyte(LOOPBACK);
}

#[test]
fn a_megabyte_comes_back_unchanged_over_ipv6() {
    echo_one_megabyte(IpAddr::V6(Ipv6Addr::LOCALHOST));
}

#[test]
fn no_byte_is_forgotten_when_a_full_buffer_is_emptied_late() {
    let mut world = World::with(LOOPBACK, |settings| settings.receive_buffer = 1000);
    let sent = pattern(300_000);
    let mut stream = world.dial();
    let expected = sent.clone();
    let writer = thread::spawn(move || stream.write_all(&sent).unwrap());
    let flow = world.accepted();
    world.until("a full buffer", |world| world.sockets.received(flow).full.then_some(()));
    // The kernel has told all that it will tell; from here on only consuming brings the bytes in.
    for _ in 0..3 {
        world.breath();
    }
    assert_eq!(world.sockets.received(flow).bytes, &expected[..1000]);
    assert!(world.read_to_end(flow, 333) == expected);
    writer.join().unwrap();
}

#[test]
fn a_short_send_is_followed_by_writable_once_there_is_room() {
    let mut world = World::new();
    let mut stream = world.dial();
    let flow = world.accepted();
    let sent = pattern(20_000_000);
    let mut taken = world.sockets.send(flow, &sent);
    assert!(taken < sent.len(), "the kernel has bounds");
    for _ in 0..3 {
        world.breath();
    }
    assert!(!world.events.contains(&FlowEvent::Writable { flow }), "nothing has been read yet");
    let client = thread::spawn(move || {
        let mut back = Vec::new();
        stream.read_to_end(&mut back).unwrap();
        back
    });
    while taken < sent.len() {
        world.event("room", |event| (*event == FlowEvent::Writable { flow }).then_some(()));
        taken += world.sockets.send(flow, &sent[taken..]);
    }
    world.sockets.close(flow);
    assert!(client.join().unwrap() == sent);
}

#[test]
fn many_clients_are_served_and_leave_nothing() {
    const CLIENTS: usize = 300;
    let mut world = World::new();
    let mut streams: Vec<StdStream> = Vec::new();
    for number in 0..CLIENTS {
        let mut stream = world.dial();
        stream.write_all(format!("client {number}").as_bytes()).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        streams.push(stream);
        world.breath();
    }
    for _ in 0..CLIENTS {
        let flow = world.accepted();
        let text = world.read_to_end(flow, 1000);
        assert_eq!(world.sockets.send(flow, &text), text.len());
        world.sockets.close(flow);
    }
    for (number, stream) in streams.iter_mut().enumerate() {
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        assert_eq!(text, format!("client {number}"));
    }
    let counters = world.sockets.counters();
    assert_eq!((counters.accepted, counters.refused, counters.open), (CLIENTS as u64, 0, 0));
}

#[test]
fn a_client_over_its_budget_is_reset_and_another_place_becomes_free() {
    let mut world = World::with(LOOPBACK, |settings| settings.connections_per_client_max = 2);
    let (first, _second, mut third) = (world.dial(), world.dial(), world.dial());
    let flow = world.accepted();
    world.accepted();
    world.until("a refusal", |world| (world.sockets.counters().refused == 1).then_some(()));
    assert_eq!(third.read(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionReset);
    drop(first);
    world.read_to_end(flow, 10);
    world.sockets.close(flow);
    let _fourth = world.dial();
    world.accepted();
    assert_eq!(world.sockets.counters().accepted, 3);
}

#[test]
fn the_table_is_bounded_for_both_directions() {
    let mut world = World::with(LOOPBACK, |settings| settings.connections_max = 1);
    let _first = world.dial();
    let flow = world.accepted();
    let now = world.clock.now().mono;
    assert_eq!(world.sockets.connect(now, LOOPBACK, world.address()), Err(ConnectError::TableFull));
    let mut second = world.dial();
    world.until("a refusal", |world| (world.sockets.counters().refused == 1).then_some(()));
    assert_eq!(second.read(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionReset);
    world.sockets.abort(flow);
    assert_eq!(world.sockets.counters().open, 0);
}

#[test]
fn a_close_delivers_the_last_reply_although_bytes_were_left_unread() {
    for round in 0..20 {
        let mut world = World::with(LOOPBACK, |settings| settings.receive_buffer = 100);
        let mut stream = world.dial();
        let flow = world.accepted();
        stream.write_all(&pattern(50_000)).unwrap();
        world.event("bytes", |event| (*event == FlowEvent::Readable { flow }).then_some(()));
        let last = b"421 4.7.0 too much\r\n";
        assert_eq!(world.sockets.send(flow, last), last.len());
        world.sockets.close(flow);
        assert_eq!(world.sockets.counters().open, 1, "it is still drained");
        assert!(world.sockets.received(flow).bytes.is_empty(), "the id is dead");
        assert_eq!(world.sockets.send(flow, b"more"), 0);
        for _ in 0..3 {
            world.breath();
        }
        stream.write_all(&pattern(10_000)).unwrap();
        let mut text = Vec::new();
        stream.read_to_end(&mut text).unwrap();
        assert_eq!(text, last, "round {round}");
        drop(stream);
        world.until("the drain", |world| (world.sockets.counters().open == 0).then_some(()));
        assert!(!world.events.iter().any(|event| matches!(event, FlowEvent::Ended { .. })), "nobody asks for it");
    }
}

#[test]
fn a_peer_that_never_ends_is_given_up_after_the_linger_time() {
    let mut world = World::new();
    let _stream = world.dial();
    let flow = world.accepted();
    world.sockets.close(flow);
    let deadline = world.sockets.now + LINGER_DURATION;
    let mut events = Vec::new();
    world.sockets.poll(Instant::from_nanos(deadline.nanos() - 1), &mut events);
    assert_eq!(world.sockets.next_deadline(), Some(deadline));
    assert_eq!(world.sockets.counters().open, 1);
    world.sockets.poll(deadline, &mut events);
    assert_eq!(world.sockets.counters().open, 0);
    assert_eq!(world.sockets.next_deadline(), None);
    assert!(events.is_empty());
}

#[test]
fn an_abort_resets() {
    let mut world = World::new();
    let mut stream = world.dial();
    let flow = world.accepted();
    world.sockets.abort(flow);
    assert_eq!(stream.read(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionReset);
    world.sockets.abort(flow);
    world.sockets.close(flow);
    assert_eq!(world.sockets.counters().open, 0);
}

#[test]
fn what_came_with_a_reset_behind_it_is_read_before_the_end() {
    let mut world = World::new();
    for _ in 0..20 {
        let mut stream = world.dial();
        let flow = world.accepted();
        stream.write_all(b"taken").unwrap();
        SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
        drop(stream);
        world.event("bytes", |event| (*event == FlowEvent::Readable { flow }).then_some(()));
        assert_eq!(world.sockets.received(flow).bytes, b"taken");
        assert_eq!(world.ended(flow), FlowEnd::Reset);
    }
}

#[test]
fn a_reset_by_the_peer_ends_the_flow_once() {
    let mut world = World::with(LOOPBACK, |settings| settings.receive_buffer = 10);
    let mut stream = world.dial();
    let flow = world.accepted();
    // More than the buffer holds, so that the reset must be seen without reading.
    stream.write_all(&[7; 100]).unwrap();
    world.until("a full buffer", |world| world.sockets.received(flow).full.then_some(()));
    SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
    drop(stream);
    assert_eq!(world.ended(flow), FlowEnd::Reset);
    assert_eq!(world.sockets.send(flow, b"x"), 0);
    assert!(world.sockets.received(flow).bytes.is_empty());
    for _ in 0..3 {
        world.breath();
    }
    assert!(!world.events.iter().any(|event| matches!(event, FlowEvent::Ended { .. })));
}

#[test]
fn a_connection_goes_out_from_the_address_asked_for_and_carries_bytes() {
    let server = StdListener::bind((LOOPBACK, 0)).unwrap();
    let mut world = World::new();
    for (local, seen) in [
        (IpAddr::V4(Ipv4Addr::new(127, 0, 0, 7)), IpAddr::V4(Ipv4Addr::new(127, 0, 0, 7))),
        (IpAddr::V4(Ipv4Addr::UNSPECIFIED), LOOPBACK),
    ] {
        let now = world.clock.now().mono;
        let flow = world.sockets.connect(now, local, server.local_addr().unwrap()).unwrap();
        assert_eq!(world.sockets.send(flow, b"too early"), 0);
        world.connected(flow);
        let (mut stream, peer) = server.accept().unwrap();
        assert_eq!(peer.ip(), seen);
        stream.write_all(b"220 hello\r\n").unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        assert_eq!(world.read_to_end(flow, 1000), b"220 hello\r\n");
        world.sockets.close(flow);
        assert_eq!(world.sockets.counters().open, 0, "both have ended");
    }
    assert_eq!(world.sockets.counters().connected, 2);
}

#[test]
fn a_refused_connection_says_so() {
    let server = StdListener::bind((LOOPBACK, 0)).unwrap();
    let address = server.local_addr().unwrap();
    drop(server);
    let mut world = World::new();
    let now = world.clock.now().mono;
    let flow = world.sockets.connect(now, LOOPBACK, address).unwrap();
    assert_eq!(world.ended(flow), FlowEnd::Refused);
    assert_eq!(world.sockets.counters().open, 0);
}

#[test]
fn a_source_address_that_is_not_ours_has_no_route() {
    let mut world = World::new();
    let (now, to) = (world.clock.now().mono, world.address());
    let foreign = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
    assert_eq!(world.sockets.connect(now, foreign, to), Err(ConnectError::NoRoute));
    assert_eq!(world.sockets.connect(now, IpAddr::V6(Ipv6Addr::LOCALHOST), to), Err(ConnectError::NoRoute));
    assert_eq!(world.sockets.counters().open, 0);
}

#[test]
fn a_wakeup_ends_the_wait() {
    let mut world = World::new();
    let wakeup = Wakeup::new().unwrap();
    let ringer = wakeup.clone();
    let start = std::time::Instant::now();
    let thread = thread::spawn(move || ringer.notify());
    world.sockets.wait(Duration::from_secs(10), &[wakeup.as_fd()]);
    assert!(start.elapsed() < Duration::from_secs(5));
    thread.join().unwrap();
}

#[test]
fn a_client_ends_the_wait() {
    let mut world = World::new();
    let address = world.address();
    let thread = thread::spawn(move || StdStream::connect(address).unwrap());
    let start = std::time::Instant::now();
    world.sockets.wait(Duration::from_secs(10), &[]);
    assert!(start.elapsed() < Duration::from_secs(5));
    thread.join().unwrap();
    world.accepted();
}

#[test]
fn a_pause_for_want_of_descriptors_neither_spins_nor_forgets_a_client() {
    let mut world = World::new();
    let until = world.clock.now().mono + Duration::from_secs(3600);
    world.sockets.accept_paused_until = Some(until);
    let _stream = world.dial();
    let mut events = Vec::new();
    world.until("the kernel's word", |world| world.sockets.listeners[0].readable.then_some(()));
    assert!(world.events.is_empty());
    assert_eq!(world.sockets.next_deadline(), Some(until));
    assert!(!world.sockets.pending(), "a wait would return at once");
    world.sockets.poll(until, &mut events);
    assert!(matches!(events[..], [FlowEvent::Accepted { .. }]), "{events:?}");
}

#[test]
fn nobody_is_accepted_any_more_after_the_listeners_stop() {
    let mut world = World::new();
    let (address, mut stream) = (world.address(), world.dial());
    let flow = world.accepted();
    world.sockets.stop_listening();
    assert_eq!(StdStream::connect(address).unwrap_err().kind(), ErrorKind::ConnectionRefused);
    stream.write_all(b"still here").unwrap();
    world.event("bytes", |event| (*event == FlowEvent::Readable { flow }).then_some(()));
}

#[test]
fn workers_share_an_address_only_if_they_say_so() {
    let first = World::with(LOOPBACK, |settings| settings.reuse_port = true);
    let address = first.address();
    let _second = World::with(LOOPBACK, |settings| {
        settings.listeners = vec![address];
        settings.reuse_port = true;
    });
    let settings = Settings {
        listeners: vec![address],
        connections_max: 1,
        connections_per_client_max: 1,
        receive_buffer: 1,
        reuse_port: false,
    };
    let error = Sockets::open(settings).err().unwrap();
    assert!(matches!(error, OpenError::InUse { .. }), "{error}");
    assert!(error.to_string().contains(&format!("cannot listen on {address}: another program does")));
}

#[test]
fn an_address_that_no_interface_has_is_named() {
    let settings = Settings {
        listeners: vec!["192.0.2.1:2525".parse().unwrap()],
        connections_max: 1,
        connections_per_client_max: 1,
        receive_buffer: 1,
        reuse_port: false,
    };
    assert!(matches!(Sockets::open(settings).err().unwrap(), OpenError::NotLocal { .. }));
}

#[test]
fn an_id_of_a_flow_that_is_gone_finds_nothing_in_its_place() {
    let mut table = Table::new(1);
    let first = table.insert('a').unwrap();
    assert!(table.insert('b').is_err());
    assert_eq!(table.remove(first), Some('a'));
    assert_eq!(table.remove(first), None);
    let second = table.insert('c').unwrap();
    assert_eq!(second.index, first.index);
    assert_eq!(table.find(first), None);
    assert_eq!(table.find(second), Some(&mut 'c'));
}

#[test]
fn what_the_kernel_has_measured_is_known() {
    let mut world = World::new();
    let mut peer = world.dial();
    let flow = world.accepted();
    assert_eq!(world.sockets.send(flow, b"220 hello\r\n"), 11);
    let mut hello = [0; 11];
    peer.read_exact(&mut hello).unwrap();
    let path = world.sockets.path(flow).unwrap();
    assert!(path.round_trip_us.is_some_and(|time| time < 10_000_000), "{path:?}");
    world.sockets.abort(flow);
    assert_eq!(world.sockets.path(flow), None);
}
