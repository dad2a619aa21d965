//! Every limit that others can drive an appliance to: what they are told there, that nothing acknowledged is lost, and that
//! the appliance is itself again afterwards. That no table exceeds its limit is seen at every turn of the [`Bench`].

use super::host::Manner;
use super::{Bench, CLIENT, OTHER_CLIENT};
use crate::env::disk::SimDisk;
use crate::event::Event;
use crate::flow::FlowId;
use crate::limits::{EXCHANGE_RING_SIZE, JOBS_IN_HAND_MAX, READERS_MAX};
use crate::sim::attacker::Attack;
use std::cell::Cell;
use std::time::Duration;

const FULL: &str = "452 4.3.1 Insufficient storage, try again later";

fn quit(bench: &mut Bench, client: FlowId) {
    assert!(bench.ask(client, "QUIT\r\n").starts_with("221 "));
    bench.clients.close(bench.now(), client);
}

/// Waits until a client is let in.
fn enter_again(bench: &mut Bench) -> FlowId {
    for _ in 0..60 {
        if let Some(client) = bench.enter(CLIENT) {
            return client;
        }
        bench.run_for(Duration::from_secs(1));
    }
    panic!("nobody is let in any more");
}

#[test]
fn when_all_connections_are_taken_the_next_client_is_reset_and_comes_in_once_one_has_left() {
    let mut bench = Bench::new(1, 1, |config| config.limits.connections = 4);
    let clients: Vec<FlowId> = (0..4).map(|_| bench.enter(CLIENT).expect("there is room")).collect();
    assert_eq!(bench.enter(CLIENT), None);
    assert_eq!(bench.enter(OTHER_CLIENT), None);
    // Those who are in are served, though there is no connection left to deliver what they send.
    for (number, client) in (1..).zip(&clients) {
        bench.send(*client, number, 2000).expect("it is taken");
    }
    assert_eq!(bench.peak("flows"), 4);
    quit(&mut bench, clients[0]);
    let next = enter_again(&mut bench);
    bench.send(next, 5, 2000).expect("it is taken");
    for client in [next, clients[1], clients[2], clients[3]] {
        quit(&mut bench, client);
    }
    bench.drain();
}

#[test]
fn a_client_with_its_share_of_connections_keeps_nobody_else_out() {
    let mut bench = Bench::new(1, 1, |config| config.limits.connections_per_client = 3);
    let clients: Vec<FlowId> = (0..3).map(|_| bench.enter(CLIENT).expect("there is room")).collect();
    assert_eq!(bench.enter(CLIENT), None);
    let other = bench.enter(OTHER_CLIENT).expect("another client has a share of its own");
    bench.send(other, 1, 2000).expect("it is taken");
    quit(&mut bench, clients[0]);
    let next = enter_again(&mut bench);
    bench.send(next, 2, 2000).expect("it is taken");
    bench.drain();
}

#[test]
fn a_flood_of_handshakes_keeps_nobody_out() {
    let mut bench = Bench::new(1, 1, |config| config.limits.half_open = 16);
    let client = bench.enter(CLIENT).expect("there is room");
    bench.attacker.begin(Attack::Flood, bench.now(), bench.now() + Duration::from_secs(5));
    bench.run_for(Duration::from_secs(1));
    assert_eq!(bench.peak("handshakes"), 16);
    bench.send(client, 1, 20_000).expect("it is taken");
    // There is no room for its handshake, and none is needed: it is answered with a cookie.
    let flooded_at = bench.now();
    let other = bench.enter(OTHER_CLIENT).expect("a cookie is as good as a place");
    assert!(bench.now().since(flooded_at) < Duration::from_millis(100), "it did not have to wait");
    bench.send(other, 2, 20_000).expect("it is taken");
    bench.drain();
}

#[test]
fn a_worker_that_is_late_misses_frames_and_no_mail() {
    let mut bench = Bench::new(1, 1, |_| {});
    let client = bench.enter(CLIENT).expect("there is room");
    bench.begin(client, 1).expect("it may begin");
    // More frames come than the ring of its card holds, what the client sends among them.
    let pause = Duration::from_secs(2);
    bench.attacker.begin(Attack::Rubbish, bench.now(), bench.now() + pause);
    bench.node.pause(bench.now() + pause);
    bench.run_for(Duration::from_secs(1));
    bench.finish(client, 1, 100_000).expect("what was missed is sent again");
    assert!(bench.network.counters().missed > 0, "the ring has overflowed");
    bench.send(client, 2, 2000).expect("it is taken");
    bench.drain();
}

#[test]
fn a_card_without_free_frames_delays_mail_and_loses_none() {
    let mut bench = Bench::new(1, 1, |_| {});
    let client = bench.enter(CLIENT).expect("there is room");
    bench.begin(client, 1).expect("it may begin");
    bench.node.set_shortage(&bench.network, 1.0);
    bench.say(client, &super::content(1, 50_000));
    bench.say(client, b".\r\n");
    let answered = |bench: &mut Bench| bench.clients.has_line(client);
    assert!(!bench.becomes(Duration::from_millis(300), answered), "nothing can be taken in");
    bench.node.set_shortage(&bench.network, 0.0);
    assert_eq!(&bench.reply(client).expect("an answer")[..4], "250 ");
    bench.acknowledged.insert(1, 50_000);
    bench.send(client, 2, 2000).expect("it is taken");
    bench.drain();
}

#[test]
fn when_no_more_messages_can_be_received_at_a_time_the_next_is_refused_for_now() {
    let mut bench = Bench::adjusted(1, 1, |_| {}, |settings| settings.drafts_max = 8);
    let clients: Vec<FlowId> = (0..10).map(|_| bench.enter(CLIENT).expect("there is room")).collect();
    // This one was told that it may, before the others took all the places.
    assert!(bench.ask(clients[8], "MAIL FROM:<s@origin.test>\r\n").starts_with("250 "));
    assert!(bench.ask(clients[8], "RCPT TO:<u9@d0.test>\r\n").starts_with("250 "));
    for (number, client) in (1..).zip(&clients[..8]) {
        bench.begin(*client, number).expect("there is a place");
    }
    assert_eq!(bench.peak("messages being received"), 8);
    assert_eq!(bench.ask(clients[8], "DATA\r\n"), FULL);
    assert_eq!(bench.begin(clients[9], 10), Err(FULL.to_owned()));
    bench.finish(clients[0], 1, 5000).expect("those who have a place are served");
    bench.send(clients[9], 10, 5000).expect("there is a place again");
    for (number, client) in (2..).zip(&clients[1..8]) {
        bench.finish(*client, number, 5000).expect("those who have a place are served");
    }
    bench.drain();
}

#[test]
fn when_all_readers_are_in_use_the_other_deliveries_wait_and_all_come_to_their_end() {
    const DOMAINS: usize = 5;
    let mut bench = Bench::new(1, DOMAINS, |config| {
        for route in &mut config.routes {
            route.connections_max = JOBS_IN_HAND_MAX;
        }
    });
    bench.manner = Manner::Silent;
    let client = bench.enter(CLIENT).expect("there is room");
    let count = DOMAINS as u32 * JOBS_IN_HAND_MAX;
    assert!(count as usize > READERS_MAX);
    for number in 0..count {
        let domain = number as usize % DOMAINS;
        bench.begin_for(client, number, domain..domain + 1).expect("it is taken");
        bench.finish(client, number, 500).expect("it is taken");
    }
    let in_use = |bench: &mut Bench| bench.peak("readers") == READERS_MAX as u64;
    assert!(bench.becomes(Duration::from_secs(120), in_use), "{} are in use", bench.peak("readers"));
    bench.run_for(Duration::from_secs(2));
    assert_eq!(bench.mailbox.count(), 0);
    bench.send(client, count, 500).expect("what waits for a reader keeps no mail out");
    bench.drain();
}

/// Sends messages of this size until one is refused; how many were taken.
fn fill(bench: &mut Bench, client: FlowId, first: u32, size: usize) -> u32 {
    for number in first..first + 100_000 {
        if let Err(reply) = bench.send(client, number, size) {
            assert_eq!(reply, FULL);
            return number - first;
        }
    }
    panic!("it is never full");
}

fn told_full(bench: &Bench) -> bool {
    bench.events.iter().any(|event| matches!(event, Event::QueueFull { .. }))
}

#[test]
fn a_queue_that_has_all_its_memory_refuses_until_some_is_delivered() {
    let mut bench = Bench::new(1, 1, |config| config.limits.queue_memory.0 = 100_000);
    bench.manner = Manner::Busy;
    let client = bench.enter(CLIENT).expect("there is room");
    let count = fill(&mut bench, client, 0, 300);
    assert!((100..1000).contains(&count), "{count} messages");
    assert!(told_full(&bench));
    assert_eq!(bench.begin(client, count), Err(FULL.to_owned()));
    quit(&mut bench, client);
    bench.drain();
    let client = bench.enter(CLIENT).expect("there is room");
    bench.send(client, count, 300).expect("there is memory again");
    bench.drain();
}

#[test]
fn a_spool_that_has_its_size_refuses_until_some_is_delivered() {
    let mut bench = Bench::new(1, 1, |_| {});
    bench.manner = Manner::Busy;
    let early = bench.enter(OTHER_CLIENT).expect("there is room");
    bench.begin(early, 900_000).expect("there is room");
    let client = bench.enter(CLIENT).expect("there is room");
    let count = fill(&mut bench, client, 0, 50_000);
    assert!(count > 50, "{count} messages");
    assert!(told_full(&bench));
    // One that was begun before and turns out to be larger than what is left: it is taken in and then not acknowledged.
    assert_eq!(
        bench.finish(early, 900_000, 4_000_000),
        Err("451 4.3.0 Storage is unavailable, try again later".into())
    );
    let used: u64 = bench.node.disks.values().map(SimDisk::size).sum();
    assert!(used <= 1 << 23, "{used} bytes");
    quit(&mut bench, client);
    quit(&mut bench, early);
    bench.drain();
    let room = |bench: &mut Bench| bench.events.iter().any(|event| matches!(event, Event::QueueSpace { .. }));
    assert!(bench.becomes(Duration::from_secs(10), room), "{}", bench.node.describe());
    let client = bench.enter(CLIENT).expect("there is room");
    bench.send(client, count, 50_000).expect("there is room again");
    bench.drain();
}

#[test]
fn a_worker_that_gets_no_time_fills_the_rings_to_it_and_nothing_else() {
    const DOMAINS: usize = 24;
    let mut bench = Bench::new(2, DOMAINS, |config| config.retry.first.0 = Duration::from_secs(1));
    bench.node.asleep = Some(1);
    // The card leads some connections to one worker and some to the other: this one is served.
    let client = (0..20).find_map(|_| bench.enter(CLIENT)).expect("one of them comes to the worker that is awake");
    // Each has a job for every destination, and half of the destinations belong to the one that sleeps.
    for number in 0..JOBS_IN_HAND_MAX + 16 {
        bench.begin_for(client, number, 0..DOMAINS).expect("it may begin");
        bench.finish(client, number, 300).expect("it is taken");
    }
    assert_eq!(bench.peak("letters in a ring"), EXCHANGE_RING_SIZE as u64);
    assert!(bench.peak("jobs that wait for room in a ring") > 0);
    bench.node.asleep = None;
    bench.drain();
}

#[test]
fn more_workers_than_before_share_what_the_logs_of_fewer_have_left() {
    const SEGMENT: u64 = 1 << 18;
    let mut bench = Bench::new(1, 1, |config| config.spool.size_max.0 = 64 * SEGMENT);
    let most = Cell::new(0);
    let look = |bench: &mut Bench| {
        let size = bench.node.disks.values().map(SimDisk::size).sum();
        assert!(size <= 64 * SEGMENT, "{} segments of 64", size / SEGMENT);
        most.set(most.get().max(size));
        false
    };
    // As much as one log of all takes, and then half of it is delivered.
    bench.manner = Manner::Busy;
    let client = bench.enter(CLIENT).expect("there is room");
    let count = fill(&mut bench, client, 0, 50_000);
    quit(&mut bench, client);
    bench.stop();
    let error = bench.start(4).expect_err("there is no room for three more logs");
    assert!(error.contains("make `size_max` at least"), "{error}");
    bench.start(1).expect("as before it starts");
    bench.becomes(Duration::from_secs(5), look);
    bench.drain();
    look(&mut bench);
    bench.stop();
    // What the first log does not need any more is for the others, and nothing is ever more than all.
    bench.start(4).expect("there is room for three more logs");
    bench.manner = Manner::Busy;
    let clients: Vec<FlowId> = (0..12).map(|_| bench.enter(CLIENT).expect("there is room")).collect();
    let mut number = count + 1;
    for client in clients {
        number += fill(&mut bench, client, number, 50_000) + 1;
        look(&mut bench);
    }
    assert!(most.get() > 40 * SEGMENT, "{} segments were used", most.get() / SEGMENT);
    bench.stop();
    // Fewer workers adopt the logs of more.
    bench.start(2).expect("there is room for two");
    bench.becomes(Duration::from_secs(5), look);
    bench.drain();
}
