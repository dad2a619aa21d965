//! Two boxes with a log each, joined by a wire that cuts bytes anywhere, on disks that complete late and forget in a crash.

use super::*;
use crate::env::disk::SimDisk;
use crate::env::{Instant, Now, WallTime};
use crate::limits::{MIRROR_PROGRESS_MAX, MIRROR_WINDOW};
use crate::mirror::arbiter::{Role, Words};
use crate::mirror::register::{Incarnation, Node};
use crate::smtp::{Envelope, Priority, Recipient};
use crate::spool::{Copies, Damaged, Log, LogEvent, MessageId, Outcome, Piece, Room, Settings, Status};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::time::Duration;

const BEAT: Duration = Duration::from_millis(25);

fn settings() -> Settings {
    Settings {
        log: 3,
        segment_size: 256 * 1024,
        segments_max: 12,
        batch_size_max: 64 * 1024,
        batches_in_flight_max: 4,
        message_size_max: 50_000_000,
        drafts_max: 1000,
        memory_max: u64::MAX,
        free_bytes_min: 0,
        epoch: 1 << 60,
    }
}

/// One box's copy.
struct Side {
    disk: SimDisk,
    log: Log<SimDisk>,
}

impl Side {
    fn open(disk: SimDisk, now: Now) -> Side {
        Side::open_with(disk, settings(), now)
    }

    fn open_with(disk: SimDisk, settings: Settings, now: Now) -> Side {
        let (log, recovery) = Log::open_replica(disk.clone(), settings, now).expect("opens");
        assert_eq!(recovery.damages.count, 0, "{:?}", recovery.damages);
        Side { disk, log }
    }

    fn settle(&mut self, now: Now) {
        for _ in 0..1000 {
            self.log.poll(now, &mut Vec::new());
            if self.log.is_settled() {
                return;
            }
        }
        panic!("writes never end");
    }
}

fn words(epoch: u64) -> Words {
    Words {
        epoch,
        role: Role::Leads,
        incarnation: Incarnation::new(7).expect("not zero"),
        able: true,
        roomy: true,
        standing: None,
        orders: 0,
    }
}

struct Pair {
    random: StdRng,
    now: Now,
    epoch: u64,
    owner: Side,
    replica: Side,
    link: Option<(OwnerEnd, ReplicaEnd)>,
    /// Messages under way, with their content.
    drafts: HashMap<crate::spool::Draft, Vec<u8>>,
    /// What was acknowledged and not settled since.
    acknowledged: BTreeMap<MessageId, Vec<u8>>,
    /// Attempts that could come to their end, and are not settled.
    attempted: BTreeSet<MessageId>,
    doubts: usize,
    rewinds: u32,
    /// Bytes that have come from the owner.
    given: usize,
    /// What the replica knows of clients.
    book: ClientBook,
}

impl Pair {
    fn new(seed: u64) -> Pair {
        let mut random = StdRng::seed_from_u64(seed);
        let now = Now { mono: Instant::from_nanos(1), wall: WallTime::from_micros(1_700_000_000_000_000) };
        let disks = [SimDisk::new(random.random()), SimDisk::new(random.random())];
        disks.iter().for_each(|disk| disk.set_eagerness(random.random_range(2..=10)));
        let [mut owner, replica] = disks.map(|disk| Side::open(disk, now));
        owner.log.lead(1, Copies::Both, now);
        Pair {
            random,
            now,
            epoch: 1,
            owner,
            replica,
            link: None,
            drafts: HashMap::new(),
            acknowledged: BTreeMap::new(),
            attempted: BTreeSet::new(),
            doubts: 0,
            rewinds: 0,
            given: 0,
            book: ClientBook::default(),
        }
    }

    fn connect(&mut self) {
        self.owner.log.partner_gone();
        let said = words(self.epoch);
        let end = OwnerEnd::new(Node::A, (3, settings().segment_size), said, Speech::of(BEAT), self.now.mono);
        self.link = Some((end, ReplicaEnd::new(said, Speech::of(BEAT), self.now.mono)));
    }

    /// A breath of both boxes.
    fn breathe(&mut self) {
        self.breathe_here();
        self.replica.log.poll(self.now, &mut Vec::new());
        for log in [&self.owner.log, &self.replica.log] {
            log.gauge(&mut |gauge| assert!(gauge.count <= gauge.limit, "{gauge:?}"));
        }
        let counts = self.counts();
        let Some((owner, replica)) = &mut self.link else { return };
        owner.pump(Some(counts), &mut self.owner.log, &mut ClientFeed::default(), self.now.mono);
        if let Some(Want::Log(_)) = replica.want()
            && self.replica.log.is_settled()
        {
            replica.welcome(&self.replica.log);
        }
        replica.pump(&mut self.replica.log, Following { epoch: self.epoch, promised: true }, &mut self.book, self.now);
        for _ in 0..4 {
            let output = owner.output();
            let count = self.random.random_range(0..=output.len().min(40_000));
            let taken = replica.receive(&output[..count], Some(&mut self.replica.log), self.now);
            owner.sent(taken, self.now.mono);
            self.given += taken;
            let output = replica.output();
            let count = self.random.random_range(0..=output.len());
            owner.receive(&output[..count], Some(counts), &mut self.owner.log, self.now.mono);
            replica.sent(count, self.now.mono);
        }
        assert_eq!(replica.error(), None);
        if let Some(Want::Rewind { until }) = replica.want() {
            self.rewind(until);
        } else if owner.end().is_some() {
            assert_eq!(owner.end(), Some(End::Lost));
            self.connect();
        }
    }

    /// The owner's part of one that has nothing to do with the link.
    fn breathe_here(&mut self) {
        self.now.mono = self.now.mono + Duration::from_millis(1);
        self.now.wall = self.now.wall + Duration::from_millis(1);
        let mut events = Vec::new();
        self.owner.log.poll(self.now, &mut events);
        for event in events {
            match event {
                LogEvent::Durable { draft } => {
                    let content = self.drafts.remove(&draft);
                    self.acknowledged.extend(content.map(|content| (draft.id, content)));
                }
                LogEvent::Attempted { name } => {
                    let id = MessageId::from_bits(name);
                    self.attempted.extend(self.acknowledged.contains_key(&id).then_some(id));
                }
                _ => {}
            }
        }
    }

    /// What the replica says counts.
    fn counts(&self) -> Counts {
        Counts { with: words(0).incarnation, epoch: self.epoch, promised: true }
    }

    fn rewind(&mut self, until: Option<crate::spool::Point>) {
        self.rewinds += 1;
        self.link = None;
        let disk = self.replica.disk.clone();
        let empty = SimDisk::new(0);
        let log = std::mem::replace(&mut self.replica, Side::open(empty, self.now)).log;
        let cut = until.map_or(0, |until| log.durable_points().filter(|point| point.sequence > until.sequence).count());
        let before = disk.aside().len();
        let (log, recovery) = log.rewind(until, self.now).expect("rewinds");
        assert_eq!(recovery.damages.count, 0);
        // What was cut off is put aside, not thrown away.
        assert!(disk.aside().len() >= before + cut, "{cut} batches: {:?}", disk.aside());
        self.replica = Side { disk, log };
        self.connect();
    }

    /// Something happens to the queue.
    fn act(&mut self) {
        match self.random.random_range(0..11) {
            0..6 => {
                let size = self.random.random_range(0..60_000);
                let content: Vec<u8> = (0..size).map(|place: usize| (place * 7 + size) as u8).collect();
                let Ok(draft) = self.owner.log.begin() else { return };
                if self.owner.log.content(draft, &content) < content.len() {
                    return self.owner.log.abort(draft);
                }
                let recipient = Recipient { address: "r@example.org".into(), notify: None, original: None };
                let priority = priority_of(&content);
                let envelope = Envelope { recipients: vec![recipient], priority, ..Envelope::default() };
                self.owner.log.finish(draft, envelope, self.now);
                self.drafts.insert(draft, content);
            }
            6..9 => {
                let count = self.acknowledged.len();
                if count > 0 {
                    let place = self.random.random_range(0..count);
                    let id = *self.acknowledged.keys().nth(place).expect("there are so many");
                    self.acknowledged.remove(&id);
                    self.attempted.remove(&id);
                    self.owner.log.settle(id, 0, Outcome::Delivered { reply: "250 ok".into() });
                }
            }
            9 => {
                if let Some(id) = self.acknowledged.keys().next_back().copied() {
                    assert!(self.owner.log.attempt(id, &[0], id.bits()));
                }
            }
            _ => {
                if let Some(id) = self.acknowledged.keys().next_back().copied() {
                    self.owner.log.hold(id, self.random.random_bool(0.5));
                }
            }
        }
    }

    /// Breathes until all is acknowledged and the replica has all of it.
    fn come_level(&mut self) {
        for _ in 0..20_000 {
            let level = self.link.as_ref().is_some_and(|(owner, _)| owner.is_near())
                && self.drafts.is_empty()
                && self.owner.log.idle()
                && self.owner.log.is_level();
            if level {
                return;
            }
            if self.link.is_none() {
                self.connect();
            }
            self.breathe();
        }
        panic!("never level: {:?}, {:?}", self.link, self.owner.log.status().state);
    }

    /// The box with the copy leads from now on, and the former owner follows it with what it has.
    fn take_over(&mut self) {
        self.link = None;
        self.replica.settle(self.now);
        self.epoch += 1;
        self.drafts.clear();
        std::mem::swap(&mut self.owner, &mut self.replica);
        self.owner.log.lead(self.epoch, Copies::Both, self.now);
        // Whatever may have been delivered is known to whoever leads next.
        let doubts: BTreeSet<MessageId> = self.owner.log.in_doubt(self.now).into_iter().map(|(id, _)| id).collect();
        assert!(self.attempted.is_subset(&doubts), "{:?} and {doubts:?}", self.attempted);
        self.doubts += self.attempted.len();
    }

    fn crash_replica(&mut self) {
        self.link = None;
        let disk = self.replica.disk.crash(self.random.random());
        self.replica = Side::open(disk, self.now);
    }

    /// What was acknowledged is in the log that leads, as it was sent.
    fn check(&mut self) {
        for (id, content) in &self.acknowledged {
            let mut reader = self.owner.log.reader(*id).unwrap_or_else(|| panic!("{id} is lost"));
            let mut read = Vec::new();
            for _ in 0..10_000 {
                match self.owner.log.read(&mut reader) {
                    Piece::Ready(bytes) => {
                        read.extend_from_slice(bytes);
                        let count = bytes.len();
                        reader.consume(count);
                    }
                    Piece::Pending => self.owner.log.poll(self.now, &mut Vec::new()),
                    Piece::End => break,
                    other => panic!("{id}: {other:?}"),
                }
            }
            self.owner.log.close_reader(reader);
            assert!(read == *content, "{id} is altered");
            let priority = self.owner.log.message(*id).map(|message| message.priority());
            assert_eq!(priority, Some(priority_of(content)), "{id} is altered");
        }
    }
}

/// The priority that goes with a content: each has one.
fn priority_of(content: &[u8]) -> Priority {
    Priority::try_from((content.len() % 19) as i8 - 9).expect("from -9 to 9")
}

#[test]
fn what_is_acknowledged_is_on_both_disks_whoever_crashes() {
    let (mut rewinds, mut acknowledged, mut doubts) = (0, 0, 0);
    for seed in 0..60 {
        let mut pair = Pair::new(seed);
        pair.connect();
        for _ in 0..6 {
            for _ in 0..pair.random.random_range(20..150) {
                if pair.random.random_bool(0.7) {
                    pair.act();
                }
                pair.breathe();
            }
            acknowledged += pair.acknowledged.len();
            match pair.random.random_range(0..4) {
                0 => pair.crash_replica(),
                1 => pair.come_level(),
                _ => {
                    // The owner dies, or is only deposed and still has what it wrote.
                    pair.take_over();
                    pair.check();
                    if pair.random.random_bool(0.5) {
                        pair.crash_replica();
                    } else {
                        // A log that has led is read anew before it follows.
                        let disk = pair.replica.disk.clone();
                        let empty = Side::open(SimDisk::new(0), pair.now);
                        let former = std::mem::replace(&mut pair.replica, empty).log;
                        let last = former.last_point();
                        let (log, _) = former.rewind(last, pair.now).expect("rewinds");
                        pair.replica = Side { disk, log };
                    }
                }
            }
        }
        pair.come_level();
        pair.check();
        rewinds += pair.rewinds;
        doubts += pair.doubts;
    }
    assert!(rewinds > 10, "{rewinds}");
    assert!(acknowledged > 500, "{acknowledged}");
    assert!(doubts > 20, "{doubts}");
}

#[test]
fn an_empty_replica_catches_up_and_can_lead() {
    for seed in 0..10 {
        let mut pair = Pair::new(seed);
        pair.owner.log.set_copies(Copies::Own);
        for _ in 0..400 {
            pair.act();
            pair.breathe();
        }
        pair.come_level();
        pair.owner.log.set_copies(Copies::Both);
        for _ in 0..50 {
            pair.act();
            pair.breathe();
        }
        pair.come_level();
        pair.take_over();
        pair.check();
    }
}

#[test]
fn the_partner_writes_a_batch_while_it_is_being_written_here() {
    let mut pair = Pair::new(2);
    pair.come_level();
    let before = pair.replica.log.durable_points().next();
    pair.owner.disk.hold(true);
    until(&mut pair, |pair| pair.replica.log.durable_points().next() != before);
    assert!(!pair.owner.log.is_written(), "nothing has come to the own disk");
    assert!(pair.acknowledged.is_empty(), "and so nothing is acknowledged");
    pair.owner.disk.hold(false);
    pair.come_level();
    assert!(!pair.acknowledged.is_empty());
}

#[test]
fn a_partner_whose_disk_stands_still_is_not_heard_any_more() {
    let mut pair = Pair::new(3);
    pair.come_level();
    pair.owner.log.set_copies(Copies::Own);
    pair.replica.disk.hold(true);
    let since = pair.now.mono;
    let heard_at = |pair: &Pair| pair.link.as_ref().map_or(Instant::ZERO, |(owner, _)| owner.heard_at());
    // It beats all the while.
    until(&mut pair, |pair| pair.now.mono > since + MIRROR_PROGRESS_MAX * 2);
    let silent_for = pair.now.mono.since(heard_at(&pair));
    assert!(silent_for + Duration::from_millis(50) >= MIRROR_PROGRESS_MAX, "{silent_for:?}");
    pair.replica.disk.hold(false);
    until(&mut pair, |pair| heard_at(pair) + BEAT * 3 > pair.now.mono);
}

#[test]
fn each_end_tells_the_other_of_standing_orders_beside_the_batches() {
    let mut pair = Pair::new(8);
    pair.come_level();
    let words = |whose: u8| (0..20).map(|number| vec![whose, number].into_boxed_slice()).collect::<Vec<_>>();
    let mut to_tell = [VecDeque::from(words(1)), VecDeque::from(words(2))];
    let mut told = [Vec::new(), Vec::new()];
    for _ in 0..20_000 {
        pair.act();
        pair.breathe();
        let Some((owner, replica)) = &mut pair.link else { panic!("the link ended") };
        owner.tell(&mut to_tell[0]);
        replica.tell(&mut to_tell[1]);
        told[0].extend(replica.told());
        told[1].extend(owner.told());
        if told.iter().all(|told| told.len() == 20) {
            break;
        }
    }
    assert_eq!(told, [words(1), words(2)]);

    // As long as the two have not said what they come for, it waits.
    pair.connect();
    let Some((owner, replica)) = &mut pair.link else { panic!("no link") };
    let mut to_tell = VecDeque::from(words(1));
    owner.tell(&mut to_tell);
    replica.tell(&mut to_tell);
    assert_eq!(to_tell.len(), 20);
}

#[test]
fn a_partner_is_given_a_window_of_what_it_has_not_written_and_no_more() {
    let mut pair = Pair::new(5);
    let large = || Settings { segments_max: 400, ..settings() };
    [pair.owner, pair.replica] = [5, 6].map(|seed| Side::open_with(SimDisk::new(seed), large(), pair.now));
    pair.owner.log.lead(1, Copies::Both, pair.now);
    pair.come_level();
    pair.owner.log.set_copies(Copies::Own);
    // Its wire takes all that there is, and nothing of it comes to its disk.
    let (mut owner, mut replica) = pair.link.take().expect("it is level");
    let mut wire = Vec::new();
    let mut give = |pair: &mut Pair, owner: &mut OwnerEnd| {
        pair.act();
        pair.breathe_here();
        owner.pump(Some(pair.counts()), &mut pair.owner.log, &mut ClientFeed::default(), pair.now.mono);
        while !owner.output().is_empty() {
            wire.extend_from_slice(owner.output());
            owner.sent(owner.output().len(), pair.now.mono);
        }
        wire.len()
    };
    for _ in 0..20_000 {
        if give(&mut pair, &mut owner) >= MIRROR_WINDOW {
            break;
        }
    }
    // A batch that was begun is given as a whole; and it is told all the while that we are here.
    let most = MIRROR_WINDOW + settings().batch_size_max + 64 * 1024;
    for _ in 0..500 {
        let given = give(&mut pair, &mut owner);
        assert!((MIRROR_WINDOW..most).contains(&given), "{given}");
    }
    assert!(!owner.is_near());

    // As it writes, it is given what is left.
    let mut rest = &wire[..];
    while !rest.is_empty() {
        pair.breathe_here();
        pair.replica.log.poll(pair.now, &mut Vec::new());
        replica.pump(&mut pair.replica.log, Following { epoch: pair.epoch, promised: true }, &mut pair.book, pair.now);
        let taken = replica.receive(rest, Some(&mut pair.replica.log), pair.now);
        rest = &rest[taken..];
        let said = replica.output().to_vec();
        owner.receive(&said, Some(pair.counts()), &mut pair.owner.log, pair.now.mono);
        replica.sent(said.len(), pair.now.mono);
        assert_eq!((replica.error(), owner.end()), (None, None));
    }
    pair.link = Some((owner, replica));
    pair.owner.log.set_copies(Copies::Both);
    pair.come_level();
    pair.check();
}

#[test]
fn a_partner_that_is_behind_catches_up_no_faster_than_it_may() {
    const RATE: u64 = 500_000;
    let mut pair = Pair::new(4);
    pair.owner.log.set_copies(Copies::Own);
    for _ in 0..200 {
        pair.act();
        pair.breathe();
    }
    pair.connect();
    pair.link.as_mut().expect("just made").0.limit_rate(RATE);
    let (since, batch_max) = (pair.now.mono, settings().batch_size_max as u64 + 4096);
    let is_near = |pair: &Pair| pair.link.as_ref().is_some_and(|(owner, _)| owner.is_near());
    while !is_near(&pair) {
        pair.breathe();
        let may = RATE * pair.now.mono.since(since).as_millis() as u64 / 1000;
        assert!(pair.given as u64 <= may + batch_max, "{} of {may}", pair.given);
    }
    assert!(pair.given > 1_000_000, "{} is not far behind", pair.given);
    // From then on it is given what there is.
    let (since, before) = (pair.now.mono, pair.given);
    until(&mut pair, |pair| pair.given - before > 1_000_000);
    assert!(pair.now.mono.since(since) < Duration::from_secs(1), "{:?}", pair.now.mono.since(since));
}

#[test]
fn a_former_owner_is_rewound_also_when_it_has_followed_in_a_later_epoch() {
    let mut pair = Pair::new(1);
    let work = |pair: &mut Pair| {
        for _ in 0..100 {
            pair.act();
            pair.breathe();
        }
        pair.come_level();
    };
    work(&mut pair);
    pair.take_over();
    // It led in epoch 1, and then takes batches of epoch 2.
    pair.rewind(pair.replica.log.last_point());
    work(&mut pair);
    pair.rewind(pair.replica.log.last_point());
    work(&mut pair);
    pair.check();
}

/// From now on no further segment can be made on this disk, or as many as the log wants.
fn fill(side: &Side, full: bool) {
    side.disk.fail_prepares(full.then_some(libc::ENOSPC));
    side.disk.set_free_bytes(if full { 0 } else { u64::MAX });
}

/// Something happens until it is so.
fn until(pair: &mut Pair, so: impl Fn(&Pair) -> bool) {
    for _ in 0..20_000 {
        if so(pair) {
            return;
        }
        pair.act();
        pair.breathe();
    }
    panic!("it never comes: {:?} and {:?}", pair.owner.log.room(), pair.replica.log.room());
}

#[test]
fn a_replica_without_room_says_so_and_goes_on_when_there_is_some() {
    for seed in 0..10 {
        let mut pair = Pair::new(seed);
        pair.come_level();
        fill(&pair.replica, true);
        until(&mut pair, |pair| pair.replica.log.room() == Room::None);
        assert_eq!(pair.owner.log.room(), Room::Enough, "seed {seed}");
        // The owner is told, and works alone.
        pair.owner.log.set_copies(Copies::Own);
        let before = pair.acknowledged.len();
        for _ in 0..100 {
            pair.act();
            pair.breathe();
        }
        assert_ne!(pair.acknowledged.len(), before, "seed {seed}");
        assert_eq!(pair.replica.log.room(), Room::None, "seed {seed}: it does not flap");
        fill(&pair.replica, false);
        until(&mut pair, |pair| pair.replica.log.room() == Room::Enough);
        pair.come_level();
        pair.take_over();
        pair.check();
    }
}

#[test]
fn an_owner_without_room_gives_its_log_to_a_box_that_has_some_and_follows_it() {
    for seed in 0..10 {
        let mut pair = Pair::new(seed);
        pair.come_level();
        fill(&pair.owner, true);
        until(&mut pair, |pair| pair.owner.log.room() == Room::Scarce);
        assert_eq!(pair.replica.log.room(), Room::Enough, "seed {seed}");
        // What is kept for moving takes what the replica lacks.
        pair.come_level();
        let empty = Side::open(SimDisk::new(0), pair.now);
        pair.take_over();
        let Side { disk, log } = std::mem::replace(&mut pair.replica, empty);
        let last = log.last_point();
        let (log, recovery) = log.rewind(last, pair.now).expect("it takes no room");
        assert!(recovery.is_fit(), "seed {seed}: {recovery:?}");
        pair.replica = Side { disk, log };
        pair.connect();
        pair.come_level();
        pair.check();
        assert_eq!(pair.rewinds, 0, "seed {seed}: nothing of it had to be put aside");
        pair.breathe();
        assert_eq!(pair.replica.log.room(), Room::Scarce, "seed {seed}");
        assert!(pair.owner.log.accepts(None).is_ok(), "seed {seed}");
    }
}

/// Where batches with a later sequence than this begin on a disk.
fn batches(disk: &SimDisk, after: u64) -> Vec<(u32, usize)> {
    let mut found = Vec::new();
    for segment in disk.segment_numbers() {
        let bytes = disk.contents(segment);
        let sequence =
            |place: usize| u64::from_le_bytes(bytes[place + 40..place + 48].try_into().expect("eight bytes"));
        let places = (0..bytes.len()).step_by(4096).filter(|place| bytes[*place..].starts_with(b"ROHRLOG"));
        found.extend(places.filter(|place| sequence(*place) > after).map(|place| (segment, place)));
    }
    found
}

#[test]
fn a_box_that_worked_alone_is_mirrored_again_though_its_disk_has_lost_a_batch() {
    let (mut broken, mut damaged, mut anew) = (0, 0, 0);
    for seed in 0..40 {
        let mut pair = Pair::new(seed);
        pair.come_level();
        // The partner is away, and meanwhile a byte changes that nobody reads.
        pair.link = None;
        pair.owner.log.set_copies(Copies::Own);
        for _ in 0..pair.random.random_range(60..140) {
            pair.act();
            pair.breathe();
        }
        let level_at = pair.replica.log.last_point().map_or(0, |point| point.sequence);
        let places = batches(&pair.owner.disk, level_at);
        // What was written last is in memory.
        let (segment, place) = places[pair.random.random_range(0..places.len() / 2)];
        let header = pair.random.random_bool(0.3);
        let within = if header { pair.random.random_range(0..128) } else { pair.random.random_range(128..20_000) };
        pair.owner.disk.damage(segment, (place + within).min(256 * 1024 - 1));
        let moved = pair.owner.log.status().moved;
        // It comes back while mail comes in.
        pair.connect();
        for _ in 0..50 {
            pair.act();
            pair.breathe();
        }
        pair.come_level();
        pair.owner.log.set_copies(Copies::Both);
        pair.come_level();
        let Status { damages, .. } = pair.owner.log.status();
        assert!(damages.count <= 2, "seed {seed}: {damages:?}");
        let breaks = damages.list.iter().filter(|damage| !matches!(damage.what, Damaged::Content { .. })).count();
        broken += breaks;
        anew += usize::from(breaks > 0 && pair.rewinds > 0);
        assert!(breaks == 0 || pair.owner.log.status().moved >= moved, "seed {seed}");
        // What cannot be read is damaged in both copies, and delivered by neither.
        let lost: Vec<MessageId> = pair.owner.log.damaged().collect();
        damaged += lost.len();
        for id in lost {
            pair.acknowledged.remove(&id);
            pair.attempted.remove(&id);
        }
        pair.take_over();
        pair.check();
    }
    println!("{broken} broken batches, {damaged} damaged messages, {anew} copies begun anew");
    assert!(broken >= 10, "{broken}");
    assert!(damaged > 0);
    assert!(anew > 0);
}
