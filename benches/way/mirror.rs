//! `src/mirror`: a batch on its way to the partner, from the owner's log to the replica's and back the word that it is durable
//! there, with both boxes on one core and without TCP and disks; in the clear and under TLS.

use crate::Station;
use crate::common::log_settings;
use crate::spool::{self, NoDisk};
use rohrpost::env::{Instant, Now, WallTime};
use rohrpost::mirror::arbiter::{Role, Words};
use rohrpost::mirror::link::{ClientBook, ClientFeed, Counts, Following, OwnerEnd, ReplicaEnd, Speech, Want};
use rohrpost::mirror::register::{Incarnation, Node};
use rohrpost::smtp::Envelope;
use rohrpost::spool::{Copies, Log, LogEvent, Outcome};
use rohrpost::tls::{OwnKey, Pinned, Tls};
use std::time::Duration;

/// Messages of one batch, as twenty sessions make them.
const BATCH: usize = 20;
const MESSAGE: usize = 10_240;
const BYTES: u64 = (BATCH * MESSAGE) as u64;

pub const STATIONS: &[Station] = &[
    Station::new("mirror", "20 messages of 10 KB to the partner's log", || batches(false)).bytes(BYTES),
    Station::new("mirror", "20 messages of 10 KB, under TLS", || batches(true)).bytes(BYTES),
    Station::new("mirror", "encrypt and decrypt 64 KB", seal).bytes(CHUNK as u64),
];

/// What a flow takes and lends at a time.
const CHUNK: usize = 64 * 1024;

/// One way of a wire.
#[derive(Default)]
struct Way {
    bytes: Vec<u8>,
    taken: usize,
}

impl Way {
    fn put(&mut self, bytes: &[u8]) -> usize {
        let count = bytes.len().min(CHUNK - self.bytes.len());
        self.bytes.extend_from_slice(&bytes[..count]);
        count
    }

    fn take(&mut self, count: usize) {
        self.taken += count;
        if self.taken == self.bytes.len() {
            self.bytes.clear();
            self.taken = 0;
        }
    }

    fn rest(&self) -> &[u8] {
        &self.bytes[self.taken..]
    }
}

/// Both ends of a connection, and what is between them.
struct Wire {
    tls: Option<[Tls; 2]>,
    ways: [Way; 2],
}

impl Wire {
    fn new(encrypted: bool) -> Wire {
        let mut wire = Wire { tls: encrypted.then(two), ways: Default::default() };
        if wire.tls.is_some() {
            for _ in 0..4 {
                wire.carry(0, &[], |_| 0);
                wire.carry(1, &[], |_| 0);
            }
            assert!(wire.tls.as_ref().is_some_and(|ends| ends.iter().all(|end| !end.is_handshaking())));
        }
        wire
    }

    /// Sends some of `output` from one end to the other and has it taken there. Says how much was sent.
    fn carry(&mut self, from: usize, output: &[u8], mut receive: impl FnMut(&[u8]) -> usize) -> usize {
        let way = &mut self.ways[from];
        let Some(ends) = &mut self.tls else {
            let sent = way.put(output);
            let count = receive(way.rest());
            way.take(count);
            return sent;
        };
        let sent = ends[from].send(output);
        ends[from].output(|bytes| way.put(bytes));
        let end = &mut ends[1 - from];
        loop {
            let taken = end.receive(way.rest()).expect("the two know each other");
            way.take(taken);
            let count = receive(end.received().bytes);
            end.consume(count);
            if taken == 0 && count == 0 {
                return sent;
            }
        }
    }
}

fn two() -> [Tls; 2] {
    let keys = [OwnKey::generate(), OwnKey::generate()];
    let [a, b] = [keys[0].fingerprint(), keys[1].fingerprint()];
    let [one, other] = keys;
    let fits = "a new key fits its certificate";
    [Pinned::new(one, b).expect(fits).connect(), Pinned::new(other, a).expect(fits).accept()]
}

fn batches(encrypted: bool) -> Box<dyn FnMut()> {
    let mut now = Now { mono: Instant::ZERO, wall: WallTime::from_micros(1_795_407_575_000_000) };
    let mut owner = spool::log(now);
    owner.lead(1, Copies::Both, now);
    let settings = log_settings(64);
    let (log, segment_size) = (settings.log, settings.segment_size);
    let (mut replica, _) = Log::open_replica(NoDisk::default(), settings, now).expect("a new log opens");
    let incarnation = Incarnation::new(7).expect("not zero");
    let said = Words { epoch: 1, role: Role::Leads, incarnation, able: true, roomy: true, standing: None, orders: 0 };
    let beat = Duration::from_secs(3600);
    let mut end = OwnerEnd::new(Node::A, (log, segment_size), said, Speech::of(beat), now.mono);
    let mut far_end = ReplicaEnd::new(said, Speech::of(beat), now.mono);
    let counts = Some(Counts { with: incarnation, epoch: 1, promised: true });
    let following = Following { epoch: 1, promised: true };
    let mut wire = Wire::new(encrypted);
    let content = vec![b'x'; MESSAGE];
    let mut events = Vec::new();
    Box::new(move || {
        now.mono = now.mono + Duration::from_micros(100);
        now.wall = now.wall + Duration::from_micros(100);
        for _ in 0..BATCH {
            let draft = owner.begin().expect("there is room");
            let mut taken = owner.content(draft, &content);
            while taken < content.len() {
                owner.poll(now, &mut events);
                taken += owner.content(draft, &content[taken..]);
            }
            owner.finish(draft, Envelope::default(), now);
        }
        let mut durable = 0;
        while durable < BATCH {
            owner.poll(now, &mut events);
            replica.poll(now, &mut Vec::new());
            end.pump(counts, &mut owner, &mut ClientFeed::default(), now.mono);
            if matches!(far_end.want(), Some(Want::Log(_))) && replica.is_settled() {
                far_end.welcome(&replica);
            }
            far_end.pump(&mut replica, following, &mut ClientBook::default(), now);
            let count = wire.carry(0, end.output(), |bytes| far_end.receive(bytes, Some(&mut replica), now));
            end.sent(count, now.mono);
            let count = wire.carry(1, far_end.output(), |bytes| {
                end.receive(bytes, counts, &mut owner, now.mono);
                bytes.len()
            });
            far_end.sent(count, now.mono);
            for event in events.drain(..) {
                if let LogEvent::Durable { draft } = event {
                    owner.settle(draft.id, 0, Outcome::Delivered { reply: "250 2.0.0 queued".into() });
                    durable += 1;
                }
            }
        }
        assert_eq!((end.end(), far_end.error()), (None, None));
    })
}

fn seal() -> Box<dyn FnMut()> {
    let mut wire = Wire::new(true);
    let bytes = vec![b'x'; CHUNK];
    Box::new(move || {
        let (mut sent, mut got) = (0, 0);
        while got < bytes.len() {
            sent += wire.carry(0, &bytes[sent..], |bytes| {
                got += bytes.len();
                bytes.len()
            });
        }
    })
}
