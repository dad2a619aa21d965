//! Two connections and a wire between them, in virtual time.

mod congestion;
mod life;
mod losses;
mod verdicts;

use super::ring::Rings;
use super::sequence::Sequence;
use super::*;
use crate::env::Instant;
use std::collections::VecDeque;
use std::time::Duration;

const TERMS: Terms =
    Terms { segment_size: 1460, segment_size_default: 536, receive_limit: 65_536 * 4, window_scale: 3 };
const DELAY: Duration = Duration::from_millis(10);

fn start(initial: u32) -> Start {
    Start { initial: Sequence(initial), path_size: 1460, clock_offset: initial.wrapping_mul(77) }
}

/// A segment on the wire.
#[derive(Clone, Debug)]
struct Flying {
    arrives_at: Instant,
    header: Header,
    content: Vec<u8>,
}

impl Flying {
    fn incoming(&self) -> Incoming<'_> {
        Incoming {
            sequence: self.header.sequence,
            acknowledgement: self.header.acknowledgement,
            flags: self.header.flags,
            ecn: self.header.ecn,
            window: self.header.window,
            options: Options::read(&self.header.options),
            content: &self.content,
        }
    }
}

/// One end: a connection, its memory, and what is on its way to it.
struct End {
    connection: Connection,
    terms: Terms,
    rings: Rings,
    inbox: VecDeque<Flying>,
    reactions: Vec<Reaction>,
    alive: bool,
    /// Segments sent, lost ones too.
    sent: u64,
}

impl End {
    fn new(connection: Connection) -> End {
        End {
            connection,
            terms: TERMS,
            rings: Rings::new(1 << 24),
            inbox: VecDeque::new(),
            reactions: Vec::new(),
            alive: true,
            sent: 0,
        }
    }

    fn take_in(&mut self, now: Instant) {
        while self.inbox.front().is_some_and(|flying| flying.arrives_at <= now) {
            let Some(flying) = self.inbox.pop_front() else { return };
            let reaction = self.connection.receive(&flying.incoming(), &self.terms, now, &mut self.rings);
            self.reactions.push(reaction);
        }
    }

    fn push(&mut self, bytes: &[u8]) -> usize {
        self.connection.push(bytes, 1 << 20, &mut self.rings)
    }

    fn read(&mut self) -> Vec<u8> {
        let mut all = Vec::new();
        loop {
            let front = self.connection.received().0.to_vec();
            if front.is_empty() {
                return all;
            }
            self.connection.consume(front.len(), &self.terms, &mut self.rings);
            all.extend(front);
        }
    }
}

/// What the wire does with the nth segment that an end sends (0: ours, 1: the peer's).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Passes,
    Lost,
    Late(Duration),
    Twice,
    /// A router marks it, or drops it if it may not be marked.
    Marked,
}

struct World {
    now: Instant,
    ends: [End; 2],
}

impl World {
    /// A client that is about to send its SYN, and nobody on the other side.
    fn new(client: u32, server: u32) -> World {
        let now = Instant::from_nanos(1_000_000_000);
        let connect = |initial| End::new(Connection::connect(start(initial), &TERMS, now));
        World { now, ends: [connect(client), connect(server)] }
    }

    /// Both ends established.
    fn joined() -> World {
        let mut world = World::with_server(|_| {});
        world.settle();
        assert_eq!(world.states(), (State::Established, State::Established));
        world
    }

    /// The server takes the client's SYN, changed as told.
    fn with_server(change: impl FnOnce(&mut Options)) -> World {
        let mut world = World::new(u32::MAX - 2000, 5000);
        let outgoing = world.ends[0].connection.next(world.now).expect("a SYN");
        let header = world.ends[0].connection.header(&outgoing, &TERMS, world.now);
        world.ends[0].connection.sent(&outgoing, world.now);
        let flying = Flying { arrives_at: world.now, header, content: Vec::new() };
        let mut syn = flying.incoming();
        change(&mut syn.options);
        world.ends[1].connection = Connection::accept(start(5000), &syn, &TERMS, world.now);
        world
    }

    fn states(&self) -> (State, State) {
        (self.ends[0].connection.state(), self.ends[1].connection.state())
    }

    /// Sends all that may go out.
    fn send(&mut self, fate: &mut impl FnMut(usize, u64, &Flying) -> Fate) {
        for side in 0..2 {
            while let Some(outgoing) = self.ends[side].connection.next(self.now) {
                let end = &mut self.ends[side];
                let header = end.connection.header(&outgoing, &TERMS, self.now);
                let (first, second) = end.connection.content(&outgoing);
                let content = [first, second].concat();
                end.connection.sent(&outgoing, self.now);
                let number = end.sent;
                end.sent += 1;
                let mut flying = Flying { arrives_at: self.now + DELAY, header, content };
                let inbox = &mut self.ends[1 - side].inbox;
                match fate(side, number, &flying) {
                    Fate::Passes => inbox.push_back(flying),
                    Fate::Lost => {}
                    Fate::Marked if flying.header.ecn == NOT_ECT => {}
                    Fate::Marked => {
                        flying.header.ecn = CE;
                        inbox.push_back(flying);
                    }
                    Fate::Twice => inbox.extend([flying.clone(), flying]),
                    Fate::Late(delay) => inbox.push_back(Flying { arrives_at: flying.arrives_at + delay, ..flying }),
                }
                inbox.make_contiguous().sort_by_key(|flying| flying.arrives_at);
            }
        }
    }

    /// Time goes on to the next thing that happens, or to `limit`.
    fn step(&mut self, limit: Instant, fate: &mut impl FnMut(usize, u64, &Flying) -> Fate) {
        self.send(fate);
        let arrivals = self.ends.iter().filter_map(|end| end.inbox.front().map(|flying| flying.arrives_at));
        let deadlines = self.ends.iter().filter(|end| end.alive).map(|end| end.connection.deadline());
        let next = arrivals.chain(deadlines).min().unwrap_or(limit).min(limit);
        self.now = next.max(self.now + Duration::from_nanos(1));
        for end in &mut self.ends {
            end.take_in(self.now);
            if end.alive && end.connection.deadline() <= self.now {
                end.alive = end.connection.on_time(self.now);
            }
        }
        self.send(fate);
    }

    fn run(&mut self, span: Duration, mut fate: impl FnMut(usize, u64, &Flying) -> Fate) {
        let limit = self.now + span;
        while self.now < limit {
            self.step(limit, &mut fate);
        }
    }

    /// A second over a good wire.
    fn settle(&mut self) {
        self.run(Duration::from_secs(1), |_, _, _| Fate::Passes);
    }

    /// Sends `content` from end 0 to end 1; how long it took until all of it was there.
    fn transfer(
        &mut self,
        content: &[u8],
        limit: Duration,
        mut fate: impl FnMut(usize, u64, &Flying) -> Fate,
    ) -> Duration {
        let (began, mut pushed, mut got) = (self.now, 0, Vec::new());
        while got.len() < content.len() {
            pushed += self.ends[0].push(&content[pushed..]);
            self.step(began + limit, &mut fate);
            got.extend(self.ends[1].read());
            assert!(self.now < began + limit, "only {} of {} came in {limit:?}", got.len(), content.len());
        }
        assert!(got == content);
        self.now.since(began)
    }
}

fn content(length: usize) -> Vec<u8> {
    (0..length).map(|place| (place.wrapping_mul(2_654_435_761) >> 13) as u8).collect()
}
