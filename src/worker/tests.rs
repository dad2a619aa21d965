//! Stations of a worker, each alone with what it uses: what two of them say to each other about attempts.

mod notices;

use super::*;
use crate::config;
use crate::control::{FromWorker, FromWorkers, PairWish, links};
use crate::delivery::{
    self, ConnectionId, Fate, Hop, Job, JobRecipient, JobResult, Protocol, Route, Way, Work, WorkResult,
};
use crate::env::disk::SimDisk;
use crate::env::{Now, WallTime};
use crate::flow::{ConnectError, FlowEnd, FlowId, Received, TransportCounters};
use crate::limits::{END_HELD_MAX, EVENT_RECIPIENTS_MAX, IN_DOUBT_DELAY, PASSAGE_MAX};
use crate::mirror::arbiter::{Order, Role, Words};
use crate::mirror::first_log_of;
use crate::mirror::link::{Timing, VERSION};
use crate::mirror::register::Incarnation;
use crate::smtp::{BodyType, Envelope, Priority, Recipient};
use crate::spool::{Copies, MessageId, Outcome};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::BorrowedFd;

const HERE: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));
const THERE: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 9));
const CONTENT: &[u8] = b"Subject: x\r\n\r\nend\r\n";

/// Flows that end in the test's hands.
#[derive(Default)]
struct Wires {
    flows: BTreeMap<FlowId, Wire>,
    withdrawn: Vec<IpAddr>,
    turned_away: Vec<IpAddr>,
    has_passers: bool,
}

#[derive(Default)]
struct Wire {
    sent: Vec<u8>,
    heard: Vec<u8>,
    aborted: bool,
}

impl Transport for Wires {
    fn poll(&mut self, _: Instant, _: &mut Vec<FlowEvent>) {}

    fn connect(&mut self, _: Instant, _: IpAddr, _: SocketAddr) -> Result<FlowId, ConnectError> {
        let flow = FlowId { index: self.flows.len() as u32, generation: 0 };
        self.flows.insert(flow, Wire::default());
        Ok(flow)
    }

    fn received(&mut self, flow: FlowId) -> Received<'_> {
        let bytes = self.flows.get(&flow).map_or(&[][..], |wire| &wire.heard);
        Received { bytes, ..Received::default() }
    }

    fn consume(&mut self, flow: FlowId, count: usize) {
        self.flows.get_mut(&flow).into_iter().for_each(|wire| drop(wire.heard.drain(..count)));
    }

    fn send(&mut self, flow: FlowId, bytes: &[u8]) -> usize {
        self.flows.get_mut(&flow).map_or(0, |wire| {
            wire.sent.extend_from_slice(bytes);
            bytes.len()
        })
    }

    fn close(&mut self, _: FlowId) {}

    fn abort(&mut self, flow: FlowId) {
        self.flows.get_mut(&flow).into_iter().for_each(|wire| wire.aborted = true);
    }

    fn flush(&mut self, _: Instant) {}

    fn next_deadline(&self) -> Option<Instant> {
        None
    }

    fn wait(&mut self, _: Duration, _: &[BorrowedFd<'_>]) {}

    fn stop_listening(&mut self) {}

    fn assume(&mut self, _: Instant, addresses: &[IpAddr]) {
        self.turned_away.retain(|own| !addresses.contains(own));
    }

    fn turn_away(&mut self, addresses: &[IpAddr]) {
        self.turned_away.extend_from_slice(addresses);
    }

    fn has_passers(&self, _: &[IpAddr]) -> bool {
        self.has_passers
    }

    fn withdraw(&mut self, addresses: &[IpAddr]) {
        self.withdrawn.extend_from_slice(addresses);
    }

    fn counters(&self) -> TransportCounters {
        TransportCounters::default()
    }
}

struct Bench {
    parts: Parts<Wires, SimDisk>,
    outbound: Outbound,
    home: Home,
    told: FromWorkers,
    /// The other worker.
    other: Exchange,
    /// The pair's one log of identity a that this worker holds.
    number: u16,
}

fn routes() -> Arc<Routes> {
    let hop = Hop {
        protocol: Protocol::Smtp,
        addresses: vec![THERE],
        port: 25,
        implicit_tls: false,
        preference: 0,
        name: "there.example".into(),
        demand: None,
    };
    Arc::new(Routes::new([("x.example".into(), Route::new(vec![hop]))]).expect("routes"))
}

fn open(number: u16, now: Now) -> Log<SimDisk> {
    let settings = spool::Settings {
        log: number,
        segment_size: 256 * 1024,
        segments_max: 12,
        batch_size_max: 64 * 1024,
        batches_in_flight_max: 4,
        message_size_max: 1_000_000,
        drafts_max: 100,
        memory_max: u64::MAX,
        free_bytes_min: 0,
        epoch: 1 << 60,
    };
    Log::open_replica(SimDisk::new(1), settings, now).expect("opens").0
}

impl Bench {
    /// A worker of two, which is told to lead a log as one half of a pair, if that is wanted.
    fn new(pair: bool) -> Bench {
        let now = Now { mono: Instant::from_nanos(1), wall: WallTime::from_micros(1_700_000_000_000_000) };
        let (_, mut ends, told) = links(1, 1000).expect("channels");
        let bells = [Wakeup::new().expect("a bell"), Wakeup::new().expect("a bell")];
        let [exchange, other] = <[Exchange; 2]>::try_from(Exchange::connect(&bells)).expect("two");
        let number = first_log_of(Node::A);
        let mut log = open(number, now);
        log.lead(1, Copies::Own, now);
        let text = "transport = \"kernel\"\nhostname = \"us.example\"\n[[listener]]\naddress = \"127.0.0.1:25\"\n\
             role = \"relay\"\n[relay]\nnetworks = [\"10.0.0.0/24\"]\n";
        let config = config::parse(text, "worker").expect("it is what an operator would write");
        let routes = routes();
        let destinations = Destinations::new(&routes, delivery::Settings::default(), &[(HERE, "us.example".into())], 1);
        let parts = Parts {
            transport: Wires::default(),
            logs: Logs::new(vec![(number, log)]),
            exchange,
            reporter: ends.remove(0).reporter,
            policy: Arc::new(Policy::with_seed(&config, 1).expect("no maps")),
            routes: Arc::clone(&routes),
            orders: Arc::default(),
            checks: VerifyCache::new(1, Duration::ZERO, Duration::ZERO, 1),
            timers: Wheel::default(),
            stages: Stages::new(),
            handshakes: Handshakes::default(),
            now,
            ends_until: pair.then_some([Instant::FAR; 2]),
        };
        let retry = Retry::default();
        let queue = || Queue::new(Arc::clone(&routes), retry, 1).with_attempts(pair);
        let home = Home::new([queue(), queue()], retry, "us.example".into(), 1, None);
        let outbound = Outbound::new(destinations, None, Arc::new([]));
        Bench { parts, outbound, home, told, other, number }
    }

    fn pass(&mut self, duration: Duration) {
        self.parts.now.mono = self.parts.now.mono + duration;
        self.parts.now.wall = self.parts.now.wall + duration;
    }

    /// The logs go on, and say what has become durable.
    fn commit(&mut self) {
        for _ in 0..20 {
            self.pass(Duration::from_millis(1));
            let mut events = Vec::new();
            for (_, log) in self.parts.logs.iter_mut() {
                log.poll(self.parts.now, &mut events);
            }
            for event in events {
                match event {
                    LogEvent::Attempted { name } => self.home.attempted(&mut self.parts, name, true),
                    LogEvent::Durable { draft } => self.home.durable(&mut self.parts, draft.id, None),
                    LogEvent::Read { id } => self.home.read(&mut self.parts, id),
                    _ => {}
                }
            }
        }
    }

    /// A message in this worker's log.
    fn message(&mut self, recipients: usize) -> MessageId {
        let log = self.parts.logs.by_number(self.number).expect("it is there");
        let draft = log.begin().expect("there is room");
        assert_eq!(log.content(draft, CONTENT), CONTENT.len());
        let recipient =
            |place| Recipient { address: format!("r{place}@x.example").into(), notify: None, original: None };
        let recipients = (0..recipients).map(recipient).collect();
        log.finish(draft, Envelope { recipients, ..Envelope::default() }, self.parts.now);
        self.commit();
        draft.id
    }

    /// A connection to the next hop that has greeted, and is given a job. Its content is not asked for from other workers here.
    fn deliver(&mut self, id: MessageId) -> (ConnectionId, FlowId) {
        self.give(id);
        self.greet()
    }

    /// The connection that has just begun is there, and greets.
    fn greet(&mut self) -> (ConnectionId, FlowId) {
        let flow = *self.parts.transport.flows.keys().next_back().expect("it connects");
        let connection = self.outbound.connection_of(flow).expect("it is one");
        self.outbound.connected(&mut self.parts, connection);
        for line in ["220 hello", "250 us"] {
            self.hear(flow, line);
        }
        (connection, flow)
    }

    /// A job for the next hop: over a connection that has nothing to do, or a new one.
    fn give(&mut self, id: MessageId) {
        let recipient = JobRecipient { index: 0, address: "r0@x.example".into(), notify: None, original: None };
        let job = Job {
            way: Way::Route,
            id,
            destination: self.parts.routes.destination("x.example"),
            recipients: vec![recipient],
            reverse_path: "".into(),
            size: CONTENT.len() as u64,
            body: BodyType::SevenBit,
            smtputf8: false,
            require_tls: false,
            priority: Priority::NORMAL,
            ret: None,
            envelope_id: None,
        };
        self.outbound.take(&mut self.parts, 0, Work::Deliver(job));
        self.outbound.act(&mut self.parts);
    }

    fn hear(&mut self, flow: FlowId, line: &str) {
        let wire = self.parts.transport.flows.get_mut(&flow).expect("a flow");
        wire.heard.extend_from_slice(format!("{line}\r\n").as_bytes());
        if let Some(connection) = self.outbound.connection_of(flow) {
            self.outbound.pump(&mut self.parts, connection);
        }
        self.outbound.act(&mut self.parts);
    }

    fn sent(&self, flow: FlowId) -> String {
        String::from_utf8_lossy(&self.parts.transport.flows[&flow].sent).into_owned()
    }

    fn wire(&self, flow: FlowId) -> &Wire {
        &self.parts.transport.flows[&flow]
    }

    /// All up to the end of the content is asked for.
    fn envelope(&mut self, flow: FlowId) {
        for line in ["250 from", "250 to", "354 go on"] {
            self.hear(flow, line);
        }
    }

    fn letters(&mut self) -> Vec<Letter> {
        std::iter::from_fn(|| self.parts.exchange.receive()).collect()
    }

    /// The one letter that asks for a record, given to the home half.
    fn ask_home(&mut self) -> u64 {
        let letters = self.letters();
        let [Letter::Attempt { from, connection, number, id, recipients }] = &letters[..] else {
            panic!("{letters:?}")
        };
        let attempt = Attempt { from: *from, connection: *connection, number: *number, log: id.log() };
        self.home.attempt(&mut self.parts, attempt, *id, recipients);
        *number
    }

    fn results(&mut self) -> Vec<JobResult> {
        let result = |letter| match letter {
            Letter::Result(WorkResult::Deliver(result)) => Some(result),
            _ => None,
        };
        self.letters().into_iter().filter_map(result).collect()
    }

    fn events(&self) -> Vec<Event> {
        let event = |message| if let FromWorker::Event(event) = message { Some(event) } else { None };
        self.told.receiver.try_iter().filter_map(event).collect()
    }
}

#[test]
fn no_delivery_comes_to_its_end_before_its_record_is_durable() {
    let mut bench = Bench::new(true);
    let id = bench.message(1);
    let (connection, flow) = bench.deliver(id);
    let number = bench.ask_home();
    bench.envelope(flow);
    assert!(bench.sent(flow).ends_with("DATA\r\nSubject: x\r\n\r\nend\r\n"), "all but the dot: {}", bench.sent(flow));
    // Of another job.
    bench.outbound.attempted(&mut bench.parts, connection, number + 1, true);
    bench.outbound.end_held(&mut bench.parts);
    assert!(bench.sent(flow).ends_with("end\r\n"));
    assert!(bench.letters().is_empty(), "nothing is durable yet");

    bench.commit();
    let letters = bench.letters();
    let [Letter::Attempted { connection: to, number: of, recorded: true }] = letters[..] else { panic!("{letters:?}") };
    assert_eq!((to, of), (connection, number));
    assert!(bench.parts.logs.get(id).unwrap().message(id).unwrap().recipient(0).unwrap().unsettled);
    bench.outbound.attempted(&mut bench.parts, to, of, true);
    assert!(bench.sent(flow).ends_with("end\r\n.\r\n"));
    bench.hear(flow, "250 taken");
    assert!(
        matches!(bench.results()[..], [JobResult { ref fates, .. }] if matches!(fates[..], [(0, Fate::Delivered(_))]))
    );
}

#[test]
fn a_record_that_is_durable_early_costs_nothing() {
    let mut bench = Bench::new(true);
    let id = bench.message(1);
    let (connection, flow) = bench.deliver(id);
    let number = bench.ask_home();
    bench.outbound.attempted(&mut bench.parts, connection, number, true);
    bench.envelope(flow);
    assert!(bench.sent(flow).ends_with("end\r\n.\r\n"));
}

#[test]
fn a_box_without_a_partner_records_nothing() {
    let mut bench = Bench::new(false);
    let id = bench.message(1);
    let (_, flow) = bench.deliver(id);
    bench.envelope(flow);
    assert!(bench.sent(flow).ends_with("end\r\n.\r\n"));
    assert!(bench.letters().is_empty());
}

#[test]
fn the_end_waits_until_the_partner_is_heard_again() {
    let mut bench = Bench::new(true);
    let id = bench.message(1);
    let (connection, flow) = bench.deliver(id);
    let number = bench.ask_home();
    bench.outbound.attempted(&mut bench.parts, connection, number, true);
    bench.parts.ends_until = Some([bench.parts.now.mono, Instant::FAR]);
    bench.envelope(flow);
    assert!(!bench.outbound.end_held(&mut bench.parts));
    assert!(bench.sent(flow).ends_with("end\r\n"), "identity a is not known to be ours");
    bench.parts.ends_until = Some([bench.parts.now.mono + Duration::from_nanos(1), Instant::ZERO]);
    assert!(bench.outbound.end_held(&mut bench.parts));
    assert!(bench.sent(flow).ends_with("end\r\n.\r\n"));
    assert_eq!(bench.outbound.next_deadline(), None);
}

#[test]
fn what_cannot_be_recorded_is_deferred_and_the_host_is_not_blamed() {
    let fate_of = |bench: &mut Bench, flow: FlowId| {
        assert!(!bench.sent(flow).ends_with(".\r\n"), "{}", bench.sent(flow));
        bench.outbound.act(&mut bench.parts);
        let results = bench.results();
        let [JobResult { fates, .. }] = &results[..] else { panic!("{results:?}") };
        let [(0, Fate::Deferred { answer, tried: false, .. })] = &fates[..] else { panic!("{fates:?}") };
        assert!(answer.text.contains("could not be recorded"), "{answer:?}");
        assert!(bench.outbound.destinations.next_deadline().is_none_or(|at| at > bench.parts.now.mono));
    };
    // The message is not there any more.
    let mut bench = Bench::new(true);
    let id = bench.message(1);
    let (connection, flow) = bench.deliver(id);
    bench.parts.logs.of(id).unwrap().settle(id, 0, Outcome::Deleted);
    let number = bench.ask_home();
    let letters = bench.letters();
    let [Letter::Attempted { recorded: false, .. }] = letters[..] else { panic!("{letters:?}") };
    bench.outbound.attempted(&mut bench.parts, connection, number, false);
    fate_of(&mut bench, flow);

    // The log is given away while the record is on its way.
    let mut bench = Bench::new(true);
    let id = bench.message(1);
    let (connection, flow) = bench.deliver(id);
    let number = bench.ask_home();
    bench.home.refuse_attempts(&mut bench.parts, id.log() + 1);
    assert!(bench.letters().is_empty(), "that was another log");
    bench.home.refuse_attempts(&mut bench.parts, id.log());
    assert_eq!(bench.letters().len(), 1);
    bench.envelope(flow);
    bench.outbound.attempted(&mut bench.parts, connection, number, false);
    fate_of(&mut bench, flow);

    // Nobody says anything for too long.
    let (mut bench, flow) = holding();
    bench.pass(END_HELD_MAX - Duration::from_nanos(1));
    assert!(!bench.outbound.end_held(&mut bench.parts));
    assert!(bench.outbound.next_deadline().is_some_and(|at| at > bench.parts.now.mono));
    bench.pass(Duration::from_nanos(1));
    assert!(bench.outbound.end_held(&mut bench.parts));
    fate_of(&mut bench, flow);

    // The identity is the partner's from now on.
    let (mut bench, flow) = holding();
    bench.outbound.break_off(&mut bench.parts, Node::B, &[]);
    assert!(!bench.wire(flow).aborted);
    bench.outbound.break_off(&mut bench.parts, Node::A, &[]);
    assert!(bench.wire(flow).aborted);
    fate_of(&mut bench, flow);
}

/// A delivery whose end is held back, and whose record nobody speaks of.
fn holding() -> (Bench, FlowId) {
    let mut bench = Bench::new(true);
    let id = bench.message(1);
    let (_, flow) = bench.deliver(id);
    bench.letters();
    bench.envelope(flow);
    (bench, flow)
}

#[test]
fn another_worker_s_log_is_asked_by_letter() {
    let mut bench = Bench::new(true);
    let id = MessageId::new(bench.number + 1, 5);
    let (connection, flow) = bench.deliver(id);
    assert!(bench.letters().is_empty());
    bench.parts.exchange.flush();
    let Some(Letter::Attempt { from: 0, connection: of, number, id: asked, recipients }) = bench.other.receive() else {
        panic!("no letter")
    };
    assert_eq!((of, asked, recipients), (connection, id, vec![0]));
    bench.envelope(flow);
    let content = Some(exchange::ContentPiece { bytes: CONTENT.into(), last: true });
    bench.outbound.content(&mut bench.parts, connection, 0, content);
    assert!(bench.sent(flow).ends_with("end\r\n"));
    bench.outbound.attempted(&mut bench.parts, connection, number, true);
    assert!(bench.sent(flow).ends_with("end\r\n.\r\n"));
}

#[test]
fn every_recipient_that_is_accepted_is_named_in_the_log_and_no_event_names_too_many() {
    for count in [1, EVENT_RECIPIENTS_MAX, EVENT_RECIPIENTS_MAX + 1, 2 * EVENT_RECIPIENTS_MAX + 50] {
        let mut bench = Bench::new(false);
        let id = bench.message(count);
        let sender = Some(inbound::Sender { client: THERE, secured: None });
        bench.home.durable(&mut bench.parts, id, sender);
        let (mut named, mut lists) = (Vec::new(), 0);
        for event in bench.events() {
            let recipients = match event {
                Event::Accepted { recipients, recipients_count, .. } => {
                    assert_eq!((lists, recipients_count), (0, count), "it comes first");
                    recipients
                }
                Event::Queued { id: other, recipients } => {
                    assert!(lists > 0 && other == id);
                    recipients
                }
                _ => continue,
            };
            assert!(recipients.iter().count() <= EVENT_RECIPIENTS_MAX);
            lists += 1;
            named.extend(recipients.iter().map(str::to_owned));
        }
        assert_eq!(lists, count.div_ceil(EVENT_RECIPIENTS_MAX), "{count}");
        assert_eq!(named, (0..count).map(|place| format!("r{place}@x.example")).collect::<Vec<_>>());

        bench.parts.reporter.log_messages(false);
        bench.home.durable(&mut bench.parts, id, sender);
        assert_eq!(bench.events(), []);
    }
}

#[test]
fn what_an_attempt_took_is_told_by_its_parts() {
    let mut bench = Bench::new(false);
    let spent = |bench: &mut Bench| {
        let letters = bench.letters();
        let [Letter::Result(WorkResult::Deliver(result))] = &letters[..] else { panic!("{letters:?}") };
        let path = result.fates[0].1.answer().and_then(|answer| answer.path.clone()).expect("there was a connection");
        let result = result.clone();
        bench.home.finished(&mut bench.parts, result);
        let told = bench.events().into_iter().find_map(|event| match event {
            Event::Delivered(attempt) | Event::Deferred { attempt, .. } => Some((attempt.queue_ms, attempt.delay_ms)),
            _ => None,
        });
        let (queue_ms, delay_ms) = told.expect("it is told");
        assert_eq!(queue_ms + path.connect_ms.unwrap_or(0) + path.transaction_ms.unwrap_or(0), delay_ms);
        (queue_ms, path.connect_ms, path.transaction_ms)
    };
    let [first, second, third] = [(); 3].map(|()| bench.message(1));
    bench.home.give_out(&mut bench.parts);
    bench.letters();
    let waited = |bench: &Bench, id| {
        let message = bench.parts.logs.get(id).and_then(|log| log.message(id)).expect("it is there");
        bench.parts.now.wall.since(message.received_at()).as_millis() as u64
    };

    bench.pass(Duration::from_millis(500));
    let queued = waited(&bench, first);
    bench.give(first);
    let flow = FlowId { index: 0, generation: 0 };
    let connection = bench.outbound.connection_of(flow).expect("it is one");
    bench.pass(Duration::from_millis(20));
    bench.outbound.connected(&mut bench.parts, connection);
    bench.pass(Duration::from_millis(11));
    bench.hear(flow, "220 hello");
    bench.hear(flow, "250 us");
    bench.envelope(flow);
    bench.pass(Duration::from_millis(7));
    bench.hear(flow, "250 taken");
    assert_eq!(spent(&mut bench), (queued, Some(31), Some(7)));

    // The second finds the connection as it is.
    bench.pass(Duration::from_millis(100));
    let queued = waited(&bench, second);
    bench.give(second);
    bench.pass(Duration::from_millis(3));
    bench.hear(flow, "250 from");
    bench.hear(flow, "450 4.2.1 later");
    bench.hear(flow, "250 reset");
    assert_eq!(spent(&mut bench), (queued, None, Some(3)));

    // Of the third nothing is said, since it does not come to that: the host hangs up, and refuses another connection.
    bench.outbound.ended(&mut bench.parts, connection, FlowEnd::Reset);
    let queued = waited(&bench, third);
    bench.give(third);
    let flow = *bench.parts.transport.flows.keys().next_back().expect("it connects");
    let connection = bench.outbound.connection_of(flow).expect("it is one");
    bench.pass(Duration::from_millis(40));
    bench.outbound.ended(&mut bench.parts, connection, FlowEnd::TimedOut);
    bench.outbound.act(&mut bench.parts);
    assert_eq!(spent(&mut bench), (queued, Some(40), None));
}

#[test]
fn whoever_leads_next_says_what_is_in_doubt_and_waits() {
    let mut bench = Bench::new(true);
    let id = bench.message(3);
    let log = bench.parts.logs.of(id).unwrap();
    assert!(log.attempt(id, &[0, 2], 1));
    bench.commit();
    bench.home.queue(id).remove(id);
    bench.home.schedule(&mut bench.parts, id.log());
    let doubts: Vec<_> =
        bench.events().into_iter().filter(|event| matches!(event, Event::DeliveryInDoubt { .. })).collect();
    let recipients = ["r0@x.example", "r2@x.example"].into_iter().collect();
    let destination = bench.parts.routes.name(bench.parts.routes.destination("x.example")).to_string();
    assert_eq!(doubts, [Event::DeliveryInDoubt { id, recipients, destination }]);
    assert_eq!(bench.home.counts.in_doubt, 2);

    // Who is not in doubt does not wait for who is.
    assert!(bench.home.give_out(&mut bench.parts));
    let given = |bench: &mut Bench| {
        let work = |letter| match letter {
            Letter::Work { work: Work::Deliver(job), .. } => {
                Some(job.recipients.iter().map(|recipient| recipient.index).collect::<Vec<_>>())
            }
            _ => None,
        };
        bench.letters().into_iter().filter_map(work).collect::<Vec<_>>()
    };
    assert_eq!(given(&mut bench), [[1]]);
    let result = JobResult {
        id,
        destination: bench.parts.routes.destination("x.example"),
        fates: vec![(1, Fate::Delivered(delivery::Answer::local((2, 0, 0), "taken")))],
        dsn_offered: false,
        standstill: None,
    };
    bench.home.finished(&mut bench.parts, result);
    bench.pass(IN_DOUBT_DELAY - Duration::from_millis(25));
    assert!(!bench.home.give_out(&mut bench.parts));
    bench.pass(Duration::from_millis(25));
    assert!(bench.home.give_out(&mut bench.parts));
    assert_eq!(given(&mut bench), [[0, 2]]);
}

/// The mirror of a worker in a pair.
struct Half {
    mirror: Mirror<SimDisk>,
    inbound: Inbound,
    number: u64,
    _errands: crossbeam::channel::Receiver<Errand<SimDisk>>,
    _kept: crossbeam::channel::Sender<(u16, Log<SimDisk>)>,
}

impl Half {
    fn new(bench: &mut Bench) -> Half {
        let (keeper, _errands) = crossbeam::channel::unbounded();
        let (_kept, kept) = crossbeam::channel::unbounded();
        let equipment = PairEquipment {
            address: HERE,
            partner: SocketAddr::new(THERE, 2600),
            addresses: [vec![HERE], Vec::new()],
            segment_size: 256 * 1024,
            timing: Timing::default(),
            protocol: VERSION,
            calls: false,
            catch_up_rate: u64::MAX,
            tls: None,
            keeper,
            kept,
        };
        let mirror = Mirror::new(equipment, &mut bench.parts);
        Half { mirror, inbound: Inbound::new(Vec::new(), None), number: 0, _errands, _kept }
    }

    fn with<R>(
        &mut self,
        bench: &mut Bench,
        act: impl FnOnce(&mut Mirror<SimDisk>, &mut Stations<'_, Wires, SimDisk>) -> R,
    ) -> R {
        let Bench { parts, outbound, home, .. } = bench;
        act(&mut self.mirror, &mut Stations { parts, inbound: &mut self.inbound, outbound, home })
    }

    /// Has something to say of itself, and so reports. Who it is.
    fn speak(&mut self, bench: &mut Bench) -> Incarnation {
        let incarnation = Incarnation::new(7).expect("not zero");
        let words =
            Words { epoch: 3, role: Role::Leads, incarnation, able: true, roomy: true, standing: None, orders: 0 };
        self.with(bench, |mirror, stations| mirror.wish(stations, Node::A, PairWish::Say(words)));
        incarnation
    }

    /// An order, and a breath. Until when messages of identity a may end at once, and after the breath.
    fn order(&mut self, bench: &mut Bench, order: Order) -> (Instant, Instant) {
        self.number += 1;
        let number = self.number;
        self.with(bench, |mirror, stations| {
            mirror.wish(stations, Node::A, PairWish::Order { number, order });
            let at_once = stations.parts.ends_until.expect("a pair")[0];
            mirror.pump(stations);
            (at_once, stations.parts.ends_until.expect("a pair")[0])
        })
    }
}

#[test]
fn deliveries_may_end_while_the_identity_is_ours_for_certain() {
    let mut bench = Bench::new(false);
    let mut half = Half::new(&mut bench);
    let with = Incarnation::new(7).expect("not zero");
    let now = bench.parts.now.mono;
    let (never, always, while_heard) = (Instant::ZERO, Instant::FAR, now + Timing::default().silence);
    assert_eq!(bench.parts.ends_until, Some([never; 2]));
    let mut order = |order| half.order(&mut bench, order);
    assert_eq!(order(Order::Freeze), (never, never));
    assert_eq!(order(Order::Lead { epoch: 2, both: None }).1, always);
    assert_eq!(order(Order::CatchUp { with }), (always, always));
    assert_eq!(order(Order::RequireBoth { with }), (while_heard, while_heard));
    assert_eq!(order(Order::Lead { epoch: 3, both: Some(with) }).1, while_heard);
    assert_eq!(order(Order::Drain { within: Duration::ZERO }).1, while_heard);
    assert_eq!(order(Order::Freeze), (never, never), "before anything else of this breath");
    assert_eq!(order(Order::Lead { epoch: 4, both: None }).1, always);
    assert_eq!(order(Order::StepDown), (never, never));
}

#[test]
fn a_move_waits_for_handshakes_and_last_words_but_not_for_ever() {
    let mut bench = Bench::new(false);
    let mut half = Half::new(&mut bench);
    half.speak(&mut bench);
    half.order(&mut bench, Order::Lead { epoch: 2, both: None });
    let drained = |half: &mut Half, bench: &mut Bench| {
        half.with(bench, |mirror, stations| mirror.pump(stations));
        let done = |message| if let FromWorker::Pair(report) = message { Some(report.done) } else { None };
        bench.told.receiver.try_iter().filter_map(done).max() == Some(half.number)
    };
    let drain = Order::Drain { within: Duration::from_secs(30) };
    bench.parts.transport.has_passers = true;
    half.order(&mut bench, drain);
    assert_eq!(bench.parts.transport.turned_away, [HERE]);
    bench.pass(PASSAGE_MAX - Duration::from_millis(1));
    assert!(!drained(&mut half, &mut bench));
    bench.parts.transport.has_passers = false;
    assert!(drained(&mut half, &mut bench));

    // It stays ours, and is given away again.
    half.order(&mut bench, Order::Lead { epoch: 3, both: None });
    assert!(bench.parts.transport.turned_away.is_empty());
    bench.parts.transport.has_passers = true;
    half.order(&mut bench, drain);
    bench.pass(PASSAGE_MAX - Duration::from_millis(1));
    assert!(!drained(&mut half, &mut bench));
    bench.pass(Duration::from_millis(1));
    assert!(drained(&mut half, &mut bench));
}

#[test]
fn a_bounce_that_bounces_is_counted_and_told_to_nobody() {
    let mut bench = Bench::new(false);
    let id = bench.message(1);
    assert!(bench.home.give_out(&mut bench.parts));
    bench.letters();
    let answer = delivery::Answer::local((5, 1, 1), "nobody");
    let destination = bench.parts.routes.destination("x.example");
    let fates = vec![(0, Fate::Failed(answer))];
    let result = JobResult { id, destination, fates, dsn_offered: false, standstill: None };
    bench.home.finished(&mut bench.parts, result);
    assert_eq!((bench.home.counts.bounced, bench.home.counts.double_bounced), (1, 1));
    let log = bench.parts.logs.by_number(bench.number).expect("it is there");
    assert_eq!(log.messages().count(), 0, "there is no notice about a notice");
}

#[test]
fn who_has_given_up_the_addresses_of_an_identity_delivers_none_of_its_mail() {
    let mut bench = Bench::new(false);
    let mut half = Half::new(&mut bench);
    half.order(&mut bench, Order::Lead { epoch: 2, both: None });
    bench.message(1);
    half.with(&mut bench, |mirror, stations| mirror.wish(stations, Node::A, PairWish::Withdraw));
    assert!(!bench.home.give_out(&mut bench.parts));
    half.order(&mut bench, Order::Freeze);
    half.order(&mut bench, Order::Lead { epoch: 3, both: None });
    assert!(bench.home.give_out(&mut bench.parts));
}

#[test]
fn a_worker_that_stood_still_answers_for_nothing_before_it_is_ordered_to_again() {
    let mut bench = Bench::new(false);
    let mut half = Half::new(&mut bench);
    let with = half.speak(&mut bench);
    let heard_at = bench.parts.now.mono;
    let silences = |bench: &Bench| {
        let silence = |message| match message {
            FromWorker::Pair(report) if report.identity == Node::A => Some(report.silent_since),
            _ => None,
        };
        bench.told.receiver.try_iter().filter_map(silence).collect::<Vec<_>>()
    };
    // Nobody can take over what is solo.
    half.order(&mut bench, Order::Lead { epoch: 2, both: None });
    bench.parts.transport.withdrawn.clear();
    half.with(&mut bench, |mirror, stations| mirror.was_away(stations));
    assert!(bench.parts.transport.withdrawn.is_empty());
    assert!(bench.parts.logs.by_number(bench.number).unwrap().leads());

    half.order(&mut bench, Order::Lead { epoch: 3, both: Some(with) });
    silences(&bench);
    let away = Timing::default().away;
    assert!(!half.mirror.is_late(heard_at + (away - Duration::from_nanos(1)), heard_at));
    assert!(half.mirror.is_late(heard_at + away, heard_at));
    half.with(&mut bench, |mirror, stations| mirror.was_away(stations));
    assert_eq!(bench.parts.transport.withdrawn, [HERE]);
    assert!(!bench.parts.logs.by_number(bench.number).unwrap().leads());
    assert_eq!(bench.parts.ends_until, Some([Instant::ZERO; 2]));
    // It is a silence, whatever came since, and then none any more.
    half.with(&mut bench, |mirror, stations| mirror.pump(stations));
    assert_eq!(silences(&bench), [Some(heard_at)]);
    half.with(&mut bench, |mirror, stations| mirror.pump(stations));
    assert_eq!(silences(&bench), [None]);

    half.order(&mut bench, Order::Freeze);
    half.order(&mut bench, Order::Lead { epoch: 4, both: Some(with) });
    assert!(bench.parts.logs.by_number(bench.number).unwrap().leads());
    assert!(bench.parts.ends_until.unwrap()[0] > bench.parts.now.mono);
}
