//! Generators and sinks on two stacks, in virtual time.

use super::plan::parse_mix;
use super::*;
use crate::env::Instant;
use crate::flow::{FlowEvent, Transport};
use crate::port::sim::{Link, Network, SimPort};
use crate::smtp::Priority;
use crate::tcp::{OwnAddress, Settings, Stack};
use crate::tls;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

fn stack(network: &Network, host: u8) -> Stack<SimPort> {
    let ip = IpAddr::from([192, 0, 2, host]);
    let settings = Settings {
        addresses: vec![OwnAddress { ip, prefix: 24, gateway: None }],
        listeners: if host == 2 { vec![(ip, 25).into()] } else { Vec::new() },
        chosen: None,
        connections_max: 10_000,
        connections_per_client_max: 10_000,
        half_open_max: 1000,
        receive_buffer: 64 * 1024,
        send_buffer: 64 * 1024,
        buffer_memory: 1 << 28,
        worker: 0,
        workers: 1,
        queues: 1,
        isn_key: [9; 16],
        seed: u64::from(host),
    };
    Stack::new(network.attach([2, 0, 0, 0, 0, host], Link::default()), settings, network.now())
}

fn plan(pace: Pace, sessions: usize) -> Plan {
    Plan {
        pace,
        sessions,
        messages: None,
        time: None,
        warm_up: Duration::ZERO,
        timeout: 10 * SECOND,
        ehlo_name: "client.example.test".to_owned(),
        sender: "a@example.test".to_owned(),
        priority: Priority::NORMAL,
        recipient: "b@example.test".to_owned(),
        domains: 0,
        date: "Thu, 01 Jan 1970 00:00:00 +0000".to_owned(),
        classes: vec![Class { size: "1KB".parse().unwrap(), ..Class::default() }],
        seed: 1,
    }
}

struct Outcome {
    classes: Vec<(String, Figures)>,
    all: Figures,
    sink: SinkCounts,
    /// Connections that the server had at the same time, at most.
    open_max: u64,
    digest: u32,
    took: Duration,
}

/// Lives through a plan; during `stall` the server does nothing.
fn live(plan: Plan, stall: Option<(Duration, Duration)>) -> Outcome {
    live_with(plan, stall, |counters| Sink::new("sink.test".into(), counters, None))
}

fn live_with<P: Party>(
    plan: Plan,
    stall: Option<(Duration, Duration)>,
    server: impl FnOnce(Arc<SinkCounters>) -> P,
) -> Outcome {
    live_under(plan, stall, None, server)
}

fn live_under<P: Party>(
    plan: Plan,
    stall: Option<(Duration, Duration)>,
    tls: Option<tls::Client>,
    server: impl FnOnce(Arc<SinkCounters>) -> P,
) -> Outcome {
    let network = Network::new(plan.seed);
    let counters = Arc::new(SinkCounters::default());
    let mut server = Driver::new(stack(&network, 2), server(Arc::clone(&counters)));
    let route = Route { sources: vec![IpAddr::from([192, 0, 2, 1])], target: "192.0.2.2:25".parse().unwrap(), tls };
    let live = Arc::new(Live::new(plan.messages));
    let generator = Generator::new(Arc::new(plan), 0, 1, route, live, network.now()).expect("a plan");
    let mut client = Driver::new(stack(&network, 1), generator);
    let mut open_max = 0;
    let limit = Instant::ZERO + 1000 * SECOND;
    while !client.party.is_over() {
        let now = network.now();
        assert!(now < limit, "the run comes to an end");
        let stalled = stall.filter(|(begin, end)| (Instant::ZERO + *begin..Instant::ZERO + *end).contains(&now));
        client.breath(now);
        if stalled.is_none() {
            server.breath(now);
        }
        open_max = open_max.max(server.transport.counters().open);
        // Frames that wait for a server that stalls are no reason to look again at once.
        let next = match stalled {
            None => network.next_event().into_iter().chain(server.next_deadline()).min(),
            Some((_, end)) => network.next_arrival().into_iter().chain([Instant::ZERO + end]).min(),
        };
        let next = next.into_iter().chain(client.next_deadline()).min().unwrap_or(limit);
        network.advance(next.max(now + Duration::from_micros(1)));
    }
    let mut sink = SinkCounts::default();
    counters.add_to(&mut sink);
    let classes = client.party.figures();
    let took = network.now().since(Instant::ZERO);
    Outcome { all: sum(&classes), classes, sink, open_max, digest: network.digest(), took }
}

#[test]
fn a_closed_loop_sends_exactly_what_was_asked_for() {
    let outcome = live(Plan { messages: Some(1000), ..plan(Pace::Closed, 7) }, None);
    assert_eq!((outcome.all.accepted, outcome.all.failed, outcome.all.unsent), (1000, 0, 0));
    assert_eq!((outcome.sink.messages, outcome.sink.recipients, outcome.sink.sessions), (1000, 1000, 7));
    assert_eq!(outcome.all.bytes, 1000 * 1000);
    // A dot and its line's end.
    assert_eq!(outcome.sink.bytes, 1000 * (1000 + 3));
    assert_eq!(outcome.all.message.count(), 1000);
    assert!(outcome.all.failures.is_empty(), "{:?}", outcome.all.failures);
    // Two links of 50 µs a direction: a round trip takes 200 µs.
    assert!(outcome.all.connect.percentile(50.0) >= 200 * MS / 1000);
    assert!(outcome.all.accept.max() < MS, "{:?}", outcome.all.accept.max());
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let run = |seed| live(Plan { time: Some(SECOND), seed, ..plan(Pace::Poisson(500.0), 20) }, None).digest;
    assert_eq!(run(1), run(1));
    assert_ne!(run(1), run(2));
}

#[test]
fn an_open_loop_shows_the_whole_stall_that_a_closed_one_hides() {
    let stall = Some((4 * SECOND, 5 * SECOND));
    let open = live(Plan { time: Some(10 * SECOND), ..plan(Pace::Fixed(1000.0), 50) }, stall);
    assert!((9_999..=10_001).contains(&open.all.accepted), "{}", open.all.accepted);
    assert_eq!((open.all.failed, open.all.unsent), (0, 0));
    // A tenth of all messages fell due during the stall, and waited half of it on average.
    let p95 = open.all.message.percentile(95.0);
    assert!((450 * MS..600 * MS).contains(&p95), "{p95:?}");
    let p99 = open.all.message.percentile(99.0);
    assert!((880 * MS..1020 * MS).contains(&p99), "{p99:?}");
    assert!(open.all.message.max() >= 995 * MS, "{:?}", open.all.message.max());
    assert!(open.all.message.percentile(89.0) < 5 * MS, "{:?}", open.all.message.percentile(89.0));

    let stall = Some((SECOND, 2 * SECOND));
    let closed = live(Plan { time: Some(3 * SECOND), ..plan(Pace::Closed, 5) }, stall);
    // It stood still with the server: five messages are slow, and no percentile tells.
    assert!(closed.all.message.percentile(99.9) < 20 * MS, "{:?}", closed.all.message.percentile(99.9));
    assert!(closed.all.message.max() >= 995 * MS);
}

#[test]
fn what_a_server_cannot_keep_up_with_is_told() {
    // One session, with round trips of 200 µs, of which each message takes two.
    let outcome = live(Plan { time: Some(SECOND), timeout: SECOND, ..plan(Pace::Fixed(100_000.0), 1) }, None);
    let Figures { accepted, failed, unsent, .. } = outcome.all;
    assert!(accepted > 1000 && unsent > 50_000, "{accepted} {unsent}");
    assert!(
        (99_998..=100_001).contains(&(accepted + failed + unsent)),
        "every message is accounted for: {accepted} {failed} {unsent}"
    );
    assert!(outcome.took < 10 * SECOND);
}

#[test]
fn sessions_end_after_their_messages_and_others_take_their_place() {
    let churn = Class { messages_per_session: Some(3), ..Class::default() };
    let outcome = live(Plan { messages: Some(300), classes: vec![churn], ..plan(Pace::Closed, 4) }, None);
    assert_eq!((outcome.all.accepted, outcome.all.failed), (300, 0));
    assert!((100..=103).contains(&outcome.sink.sessions), "{}", outcome.sink.sessions);
    assert_eq!(outcome.all.sessions, outcome.sink.sessions);
    assert_eq!(outcome.all.sessions_max, 4);
}

#[test]
fn bdat_pipelining_and_many_recipients_each_carry_the_same_messages() {
    for (transfer, pipelining, recipients) in [
        (Transfer::Bdat, true, 1),
        (Transfer::Bdat, false, 3),
        (Transfer::Data, false, 3),
        (Transfer::Data, true, 1000),
    ] {
        let class = Class { transfer, pipelining, recipients, size: "1B..300KB".parse().unwrap(), ..Class::default() };
        let outcome = live(Plan { messages: Some(40), classes: vec![class], ..plan(Pace::Closed, 3) }, None);
        let said = format!("{transfer:?} {pipelining} {recipients}: {:?}", outcome.all.failures);
        assert_eq!((outcome.all.accepted, outcome.sink.messages), (40, 40), "{said}");
        assert_eq!(outcome.sink.recipients, 40 * u64::from(recipients), "{said}");
        let dots = if transfer == Transfer::Data { 3 * 40 } else { 0 };
        assert_eq!(outcome.sink.bytes, outcome.all.bytes + dots, "{said}");
    }
}

#[test]
fn a_slow_client_takes_the_time_that_it_was_told_to() {
    let slow = Class { slow: Some("100B/50ms".parse().unwrap()), ..Class::default() };
    let outcome = live(Plan { messages: Some(2), classes: vec![slow], ..plan(Pace::Closed, 2) }, None);
    assert_eq!(outcome.all.accepted, 2);
    // 10 000 bytes in pieces of 100.
    let median = outcome.all.message.percentile(50.0);
    assert!((4900 * MS..5600 * MS).contains(&median), "{median:?}");
}

#[test]
fn classes_of_a_mix_go_their_own_ways() {
    let classes = parse_mix(
        "[[class]]\nname = \"small\"\nweight = 8\nsize = \"1KB\"\nmessages_per_session = 10\n\
         [[class]]\nname = \"large\"\nsize = \"100KB\"\ntransfer = \"bdat\"\n\
         [[class]]\nname = \"idle\"\nmessages_per_session = 0\n",
    )
    .unwrap();
    let outcome = live(Plan { time: Some(5 * SECOND), classes, ..plan(Pace::Fixed(90.0), 40) }, None);
    let accepted: Vec<u64> = outcome.classes.iter().map(|(_, figures)| figures.accepted).collect();
    assert!((399..=401).contains(&accepted[0]) && (49..=51).contains(&accepted[1]) && accepted[2] == 0, "{accepted:?}");
    assert_eq!(outcome.classes[2].1.sessions_max, 4, "as many as its weight says are open and idle");
    assert!(outcome.open_max <= 40, "{}", outcome.open_max);
    assert!(outcome.all.failures.is_empty(), "{:?}", outcome.all.failures);
}

/// Answers each line by a table, and does nothing else: for servers that say no.
struct Script(Vec<(&'static str, &'static str)>, bool);

impl Party for Script {
    fn act<T: Transport>(&mut self, transport: &mut T, events: &mut Vec<FlowEvent>, _now: Instant) {
        for event in events.drain(..) {
            match event {
                FlowEvent::Accepted { flow, .. } => {
                    transport.send(flow, b"220 no.test\r\n");
                }
                FlowEvent::Readable { flow } => {
                    let received = transport.received(flow);
                    let (text, finished) = (String::from_utf8_lossy(received.bytes).into_owned(), received.finished);
                    transport.consume(flow, text.len());
                    for line in text.lines() {
                        let known = self.0.iter().find(|(begin, _)| line.starts_with(begin));
                        transport.send(flow, known.map_or("", |(_, reply)| reply).as_bytes());
                    }
                    if finished || text.ends_with("QUIT\r\n") {
                        transport.close(flow);
                    }
                }
                _ => {}
            }
        }
    }

    fn next_deadline(&self) -> Option<Instant> {
        None
    }

    fn stop(&mut self, _now: Instant) {}

    fn is_over(&self) -> bool {
        self.1
    }
}

#[test]
fn every_refusal_is_counted_once_by_its_command_and_code() {
    let hello = ("EHLO", "250-no.test\r\n250-PIPELINING\r\n250 CHUNKING\r\n");
    let (mail, rcpt, data) = (("MAIL", "250 ok\r\n"), ("RCPT", "250 ok\r\n"), ("DATA", "354 go\r\n"));
    let rset = ("RSET", "250 ok\r\n");
    let cases = [
        (vec![("EHLO", "550 no\r\n"), ("HELO", "550 no\r\n")], "EHLO 550"),
        (vec![hello, ("MAIL", "450 no\r\n"), ("RCPT", "503 no\r\n"), ("DATA", "503 no\r\n"), rset], "MAIL 450"),
        (vec![hello, mail, ("RCPT", "550 no\r\n"), ("DATA", "554 no\r\n"), rset], "RCPT 550"),
        // It asks for content all the same (RFC 2920 §3.1).
        (vec![hello, mail, ("RCPT", "550 no\r\n"), data, (".", "554 no\r\n"), rset], "RCPT 550"),
        (vec![hello, mail, rcpt, ("DATA", "451 no\r\n"), rset], "DATA 451"),
        (vec![hello, mail, rcpt, data, (".", "552 no\r\n"), rset], "content 552"),
        (vec![hello, mail, ("RCPT", "421 bye\r\n")], "RCPT 421"),
        (vec![hello, ("MAIL", "what?\r\n")], "no valid reply"),
        (vec![hello], "no reply in time"),
    ];
    for (script, wanted) in cases {
        for pipelining in [true, false] {
            let class = Class { pipelining, size: "300B".parse().unwrap(), ..Class::default() };
            let wishes = Plan { messages: Some(5), timeout: SECOND, classes: vec![class], ..plan(Pace::Closed, 1) };
            let script = script.clone();
            let outcome = live_with(wishes, None, |_| Script(script, false));
            let said: Vec<(String, u64)> =
                outcome.all.failures.iter().map(|(failure, count)| (failure.to_string(), *count)).collect();
            assert_eq!(
                (outcome.all.accepted, outcome.all.failed),
                (0, 5),
                "{wanted}, pipelining {pipelining}: {said:?}"
            );
            assert_eq!(said, [(wanted.to_owned(), 5)], "pipelining {pipelining}");
        }
    }
}

#[test]
fn under_tls_all_arrives_and_sessions_come_again_with_tickets() {
    let mut wishes = Plan { messages: Some(40), ..plan(Pace::Closed, 2) };
    wishes.classes[0].messages_per_session = Some(5);
    let client = || Some(tls::Client::new(None).unwrap());
    let server = |counters| {
        let tls = Some(Arc::new(tls::Server::unknown().unwrap()));
        Sink::new("sink.test".into(), counters, tls)
    };
    let outcome = live_under(wishes.clone(), None, client(), server);
    assert_eq!((outcome.all.accepted, outcome.all.failed), (40, 0));
    assert_eq!((outcome.sink.messages, outcome.sink.sessions, outcome.sink.open), (40, 8, 0));

    // A server in the clear is not talked to.
    wishes.messages = Some(3);
    let outcome = live_under(wishes, None, client(), |counters| Sink::new("sink.test".into(), counters, None));
    assert_eq!((outcome.all.accepted, outcome.sink.messages), (0, 0));
}

#[test]
fn nobody_there_is_an_error_and_no_end_of_the_run() {
    let mut wishes = Plan { messages: Some(3), ..plan(Pace::Closed, 2) };
    wishes.classes[0].name = "all".to_owned();
    let network = Network::new(1);
    let route =
        Route { sources: vec![IpAddr::from([192, 0, 2, 1])], target: "192.0.2.9:25".parse().unwrap(), tls: None };
    let generator =
        Generator::new(Arc::new(wishes), 0, 1, route, Arc::new(Live::new(Some(3))), network.now()).expect("a plan");
    let mut client = Driver::new(stack(&network, 1), generator);
    while !client.party.is_over() {
        client.breath(network.now());
        let next = client.next_deadline().into_iter().chain(network.next_event()).min();
        network.advance(next.unwrap_or(Instant::ZERO).max(network.now() + MS));
        assert!(network.now() < Instant::ZERO + 100 * SECOND);
    }
    let all = sum(&client.party.figures());
    assert_eq!((all.accepted, all.failed), (0, 3));
    assert_eq!(
        all.failures.iter().map(|(failure, count)| (failure.to_string(), *count)).collect::<Vec<_>>(),
        [("host unreachable".to_owned(), 3)]
    );
}

#[test]
fn the_report_is_one_json_object_with_all_figures() {
    let outcome = live(Plan { messages: Some(10), ..plan(Pace::Closed, 1) }, None);
    let about = About {
        target: "x".into(),
        transport: "sim".into(),
        pace: Pace::Closed.to_string(),
        seed: 1,
        flood_syns: None,
    };
    let report: serde_json::Value = serde_json::from_str(&json(&about, &outcome.classes)).unwrap();
    assert_eq!((&report["version"], &report["accepted"], &report["kind"]), (&1.into(), &10.into(), &"load".into()));
    assert!(report["messages_per_s"].as_f64().unwrap() > 100.0);
    assert!(report["latency_us"]["message"]["p99"].as_f64().unwrap() > 400.0);
    assert!(report.get("classes").is_none(), "one class is all there is");
    let text = table(&about, &outcome.classes);
    assert!(text.contains("10 messages accepted, 0 failed"), "{text}");
}
