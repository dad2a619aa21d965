//! The replica's end of a link.

use super::clients::ClientBook;
use super::voice::{Speech, Voice};
use super::wire::{Arrival, ClientFlow, ClientNews, Incoming, Message, Misfit, Refusal, WireError};
use crate::env::disk::{Block, Disk};
use crate::env::{Instant, Now};
use crate::mirror::arbiter::Words;
use crate::mirror::register::Node;
use crate::spool::{Log, Point, Unfit};
use std::collections::VecDeque;

/// What an owner says first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hello {
    /// Whose log.
    pub identity: Node,
    /// Its number.
    pub log: u16,
    /// Its segments, bytes.
    pub segment_size: u64,
}

/// How far the two have come to know each other.
#[derive(Debug)]
enum State {
    /// Nothing has come.
    Waiting,
    /// The owner has said what it comes for, and was not answered.
    Greeted(Hello),
    /// It was told where the copy ends.
    Welcomed,
    /// It gives what is lacking.
    Following,
    /// A batch waits for room.
    Crowded { block: Block, length: usize },
    /// The log is to be rewound first, behind this batch.
    Rewinding { until: Option<Point> },
    /// The link is to be ended when what is said has gone out.
    Over,
}

/// Whom the copy follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Following {
    /// The owner of this epoch.
    pub epoch: u64,
    /// The register counts on the copy.
    pub promised: bool,
}

/// What a link wants of the worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Want {
    /// The log that the owner comes for, or a refusal.
    Log(Hello),
    /// The log rewound, and then the link ended: the owner comes again.
    Rewind {
        /// Behind this batch; `None`: begun anew.
        until: Option<Point>,
    },
    /// The link ended.
    End,
}

/// The replica's end of a link.
#[derive(Debug)]
pub struct ReplicaEnd {
    state: State,
    incoming: Incoming,
    voice: Voice,
    heard: Option<Words>,
    heard_at: Instant,
    /// The last batch that the owner was told to be durable here, and in which epoch.
    told: Option<(Option<Following>, Point)>,
    /// What was said of the owner's clients since the last time that somebody asked.
    clients: Vec<(ClientNews, Vec<ClientFlow>)>,
    /// What it told of standing orders since then.
    told_orders: Vec<Box<[u8]>>,
    error: Option<WireError>,
}

impl ReplicaEnd {
    /// Waits for an owner.
    pub fn new(said: Words, speech: Speech, now: Instant) -> ReplicaEnd {
        ReplicaEnd {
            state: State::Waiting,
            incoming: Incoming::new(speech.version),
            voice: Voice::new(said, speech, now),
            heard: None,
            heard_at: now,
            told: None,
            clients: Vec::new(),
            told_orders: Vec::new(),
            error: None,
        }
    }

    /// Takes bytes off the front of what came, and says how many. `log` is the one that was given to it.
    pub fn receive<D: Disk>(&mut self, bytes: &[u8], mut log: Option<&mut Log<D>>, now: Now) -> usize {
        let mut rest = bytes;
        if !bytes.is_empty() {
            self.heard_at = now.mono;
        }
        while matches!(self.state, State::Waiting | State::Welcomed | State::Following) {
            match self.incoming.take(&mut rest) {
                Ok(None) => break,
                Ok(Some(Arrival::Message(message))) => self.message(message),
                Ok(Some(Arrival::Batch(block, length))) => match &mut log {
                    Some(log) if matches!(self.state, State::Following) => self.batch(block, length, log, now),
                    _ => self.fail(WireError::Unexpected),
                },
                Err(error) => self.fail(error),
            }
        }
        bytes.len() - rest.len()
    }

    fn message(&mut self, message: Message) {
        match (message, &self.state) {
            (Message::Hello { identity, log, segment_size, said }, State::Waiting) => {
                self.heard = Some(said);
                self.state = State::Greeted(Hello { identity, log, segment_size });
            }
            (Message::From { point }, State::Welcomed) => {
                self.state = if point == self.told.map(|(_, point)| point) {
                    State::Following
                } else {
                    State::Rewinding { until: point }
                };
            }
            (Message::Clients { news, list }, State::Following) => self.clients.push((news, list)),
            (Message::Order { told }, State::Following) => self.told_orders.push(told),
            (Message::Beat { said }, _) => self.heard = Some(said),
            _ => self.fail(WireError::Unexpected),
        }
    }

    fn batch<D: Disk>(&mut self, block: Block, length: usize, log: &mut Log<D>, now: Now) {
        match log.follow(block, length, now) {
            Ok(_) => self.state = State::Following,
            Err((Unfit::NoRoom, block)) => self.state = State::Crowded { block, length },
            Err((unfit, _)) => self.refuse(Refusal::Unfit(match unfit {
                Unfit::Foreign | Unfit::SegmentSize => Misfit::Foreign,
                Unfit::Gap | Unfit::Place => Misfit::Gap,
                Unfit::Closed => Misfit::Closed,
                Unfit::Damaged | Unfit::NoRoom => Misfit::Damaged,
            })),
        }
    }

    /// Says where the copy ends: the log that was [wanted](Want::Log), when nothing of it is under way any more.
    pub fn welcome<D: Disk>(&mut self, log: &Log<D>) {
        debug_assert!(log.is_settled());
        let points: Vec<Point> = log.durable_points().collect();
        self.told = points.first().map(|point| (None, *point));
        self.voice.message(&Message::Welcome { points, said: self.voice.words() });
        self.state = State::Welcomed;
    }

    /// Sends the owner away.
    pub fn refuse(&mut self, refusal: Refusal) {
        self.voice.message(&Message::Refused { refusal, said: self.voice.words() });
        self.state = State::Over;
    }

    fn fail(&mut self, error: WireError) {
        self.error = Some(error);
        self.state = State::Over;
    }

    /// Tells the owner the first of these, if all that was said has gone.
    pub fn tell(&mut self, to_tell: &mut VecDeque<Box<[u8]>>) {
        if matches!(self.state, State::Following) {
            self.voice.tell(to_tell);
        }
    }

    /// Goes on: takes what waited for room, and tells the owner what is durable, and of whom it has not heard that they were our
    /// clients. Call it after every poll of the log.
    pub fn pump<D: Disk>(&mut self, log: &mut Log<D>, following: Following, book: &mut ClientBook, now: Now) {
        if matches!(self.state, State::Crowded { .. })
            && let State::Crowded { block, length } = std::mem::replace(&mut self.state, State::Following)
        {
            self.batch(block, length, log, now);
        }
        if matches!(self.state, State::Following | State::Crowded { .. })
            && let Some(point) = log.durable_points().next()
            && self.told != Some((Some(following), point))
        {
            self.told = Some((Some(following), point));
            let Following { epoch, promised } = following;
            self.voice.message(&Message::Durable { epoch, promised, point });
        }
        if matches!(self.state, State::Following)
            && self.voice.is_empty()
            && let Some(list) = book.next_stranded()
        {
            self.voice.message(&Message::Clients { news: ClientNews::Joined, list });
        }
        self.beat(now.mono);
    }

    /// Says that it is still here, when it is time to.
    pub fn beat(&mut self, now: Instant) {
        let speaks = !matches!(self.state, State::Waiting | State::Over | State::Rewinding { .. });
        if speaks {
            self.voice.beat(now);
        }
    }

    /// From now on this is what we say of ourselves; the owner learns it at once.
    pub fn say(&mut self, said: Words) {
        self.voice.say(said, !matches!(self.state, State::Waiting | State::Over));
    }

    /// The next bytes to be sent.
    pub fn output(&self) -> &[u8] {
        self.voice.output()
    }

    /// So many of them have gone.
    pub fn sent(&mut self, count: usize, now: Instant) {
        self.voice.sent(count, now);
    }

    /// What it wants, if it wants something.
    pub fn want(&self) -> Option<Want> {
        match &self.state {
            State::Greeted(hello) => Some(Want::Log(*hello)),
            State::Rewinding { until } => Some(Want::Rewind { until: *until }),
            State::Over if self.voice.is_empty() => Some(Want::End),
            _ => None,
        }
    }

    /// What was said of the owner's clients since the last time.
    pub fn client_news(&mut self) -> impl Iterator<Item = (ClientNews, Vec<ClientFlow>)> {
        self.clients.drain(..)
    }

    /// What the owner told of standing orders since the last time.
    pub fn told(&mut self) -> impl Iterator<Item = Box<[u8]>> {
        self.told_orders.drain(..)
    }

    /// Why the bytes that came could not be used, if they could not.
    pub fn error(&self) -> Option<WireError> {
        self.error
    }

    /// Until when the owner was there.
    pub fn heard_at(&self) -> Instant {
        self.heard_at
    }

    /// What the owner last said of itself.
    pub fn heard(&self) -> Option<Words> {
        self.heard
    }

    /// When [`beat`](ReplicaEnd::beat) has something to do though nothing came.
    pub fn next_deadline(&self) -> Instant {
        self.voice.next_deadline()
    }
}
