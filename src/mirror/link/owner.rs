//! The owner's end of a link.

use super::clients::ClientFeed;
use super::voice::{Speech, Voice};
use super::wire::{Arrival, ClientFlow, Incoming, Message, Refusal, WireError};
use crate::env::Instant;
use crate::env::disk::Disk;
use crate::limits::{MIRROR_PROGRESS_MAX, MIRROR_WINDOW};
use crate::mirror::arbiter::Words;
use crate::mirror::register::{Incarnation, Node};
use crate::spool::{ForPartner, Log, Point};
use std::collections::VecDeque;
use std::time::Duration;

/// What of the partner's word counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counts {
    /// That of this copy.
    pub with: Incarnation,
    /// In this epoch.
    pub epoch: u64,
    /// Only if the register counts on it.
    pub promised: bool,
}

/// How far the two have come to know each other.
#[derive(Debug)]
enum State {
    /// It was greeted, and has not answered.
    Greeting,
    /// It has said where its copy ends, and these are still to be looked for.
    Choosing { points: VecDeque<Point> },
    /// It gets what it lacks.
    Giving,
    /// The link is to be ended.
    Over(End),
}

/// Why the owner ends a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum End {
    /// What came was wrong.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// The partner refused.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The log has not, or not any more, what the partner lacks.
    #[error("what the partner lacks is not in the log any more")]
    Lost,
}

/// The owner's end of a link.
#[derive(Debug)]
pub struct OwnerEnd {
    state: State,
    incoming: Incoming,
    voice: Voice,
    /// What the partner says of itself.
    heard: Option<Words>,
    heard_at: Instant,
    /// Batches that it was given and has not said to be durable: the sequence and the bytes of each.
    given: VecDeque<(u64, usize)>,
    given_bytes: usize,
    /// What the partner last said to be durable there: in which epoch, and whether the register counted on it.
    durable: Option<(u64, bool, Point)>,
    /// It was once given all that there was.
    had_all: bool,
    /// Bytes a second that it is given until then, and when it may be given more.
    rate: u64,
    more_at: Instant,
    /// Only the rate keeps it from being given more.
    throttled: bool,
    /// When it last came on, or had nothing to do.
    progress_at: Instant,
    /// The partner's last clients, which it told of since the last time that somebody asked.
    stranded: Vec<ClientFlow>,
    /// What the partner told of standing orders since then.
    told: Vec<Box<[u8]>>,
}

impl OwnerEnd {
    /// Greets the partner.
    pub fn new(identity: Node, (log, segment_size): (u16, u64), said: Words, speech: Speech, now: Instant) -> OwnerEnd {
        let mut voice = Voice::new(said, speech, now);
        voice.message(&Message::Hello { identity, log, segment_size, said });
        OwnerEnd {
            state: State::Greeting,
            incoming: Incoming::new(speech.version),
            voice,
            heard: None,
            heard_at: now,
            given: VecDeque::new(),
            given_bytes: 0,
            durable: None,
            had_all: false,
            rate: u64::MAX,
            more_at: now,
            throttled: false,
            progress_at: now,
            stranded: Vec::new(),
            told: Vec::new(),
        }
    }

    /// Until the partner has come near, it is given no more than so many bytes a second.
    pub fn limit_rate(&mut self, rate: u64) {
        self.rate = rate.max(1);
    }

    /// Takes what came; all of it, or as much as matters.
    pub fn receive<D: Disk>(&mut self, mut bytes: &[u8], counts: Option<Counts>, log: &mut Log<D>, now: Instant) {
        if !bytes.is_empty() {
            self.heard_at = now;
        }
        while !matches!(self.state, State::Over(_)) {
            match self.incoming.take(&mut bytes) {
                Ok(None) => return,
                Ok(Some(Arrival::Message(message))) => self.message(message, counts, log, now),
                Ok(Some(Arrival::Batch(..))) => self.state = State::Over(WireError::Unexpected.into()),
                Err(error) => self.state = State::Over(error.into()),
            }
        }
    }

    fn message<D: Disk>(&mut self, message: Message, counts: Option<Counts>, log: &mut Log<D>, now: Instant) {
        match (message, &self.state) {
            (Message::Welcome { points, said }, State::Greeting) => {
                self.heard = Some(said);
                self.state = State::Choosing { points: points.into() };
            }
            (Message::Refused { refusal, said }, _) => {
                self.heard = Some(said);
                self.state = State::Over(refusal.into());
            }
            (Message::Durable { epoch, promised, point }, State::Giving) => {
                while self.given.front().is_some_and(|(sequence, _)| *sequence <= point.sequence) {
                    self.given_bytes -= self.given.pop_front().map_or(0, |(_, length)| length);
                    self.progress_at = now;
                }
                self.durable = Some((epoch, promised, point));
                self.count(counts, log);
            }
            (Message::Clients { list, .. }, State::Giving) => self.stranded.extend(list),
            (Message::Order { told }, State::Giving) => self.told.push(told),
            (Message::Beat { said }, _) => self.heard = Some(said),
            _ => self.state = State::Over(WireError::Unexpected.into()),
        }
    }

    /// What the partner last said to be durable counts if it counts now: it is not said twice.
    fn count<D: Disk>(&self, counts: Option<Counts>, log: &mut Log<D>) {
        let (Some(counts), Some((epoch, promised, point))) = (counts, self.durable) else { return };
        // What was said in another epoch, or of another copy, is no word to rely on in this one.
        let with = self.heard.map(|heard| heard.incarnation);
        if Some(counts.with) == with && counts.epoch == epoch && (promised || !counts.promised) {
            log.durable_there(point);
        }
    }

    /// Tells the partner the first of these, if all that was said has gone.
    pub fn tell(&mut self, to_tell: &mut VecDeque<Box<[u8]>>) {
        if matches!(self.state, State::Giving) {
            self.voice.tell(to_tell);
        }
    }

    /// Goes on: looks for where the copies part, and gives what the partner lacks. Call it after every poll of the log.
    pub fn pump<D: Disk>(&mut self, counts: Option<Counts>, log: &mut Log<D>, clients: &mut ClientFeed, now: Instant) {
        self.count(counts, log);
        if let State::Choosing { points } = &mut self.state {
            let chosen = loop {
                let Some(point) = points.front().copied() else { break None };
                match log.goes_on_from(point) {
                    // The disk is being read: the partner shall know that we are still here.
                    None => return self.voice.beat(now),
                    Some(true) => break Some(point),
                    Some(false) => drop(points.pop_front()),
                }
            };
            log.give_partner_from(chosen);
            self.voice.message(&Message::From { point: chosen });
            self.state = State::Giving;
            self.progress_at = now;
        }
        if matches!(self.state, State::Giving) {
            // Little waits here: what is not in the flow's buffer yet can wait in the log.
            let mut idle = self.voice.is_empty();
            if idle && let Some((news, list)) = clients.next() {
                self.voice.message(&Message::Clients { news, list });
            }
            while self.given_bytes < MIRROR_WINDOW && idle && (self.had_all || now >= self.more_at) {
                match log.next_for_partner() {
                    ForPartner::Batch(batch) => {
                        let length = batch.bytes().len();
                        self.given.push_back((batch.point.sequence, length));
                        self.given_bytes += length;
                        let nanos = (length as u64).saturating_mul(1_000_000_000) / self.rate;
                        self.more_at = self.more_at.max(now) + Duration::from_nanos(nanos);
                        self.voice.batch(batch);
                        idle = false;
                    }
                    ForPartner::Pending => break,
                    ForPartner::Level => {
                        self.had_all = true;
                        break;
                    }
                    ForPartner::Lost => {
                        self.state = State::Over(End::Lost);
                        return;
                    }
                }
            }
            self.throttled = idle && !self.had_all && self.given_bytes < MIRROR_WINDOW && now < self.more_at;
            if self.given.is_empty() {
                self.progress_at = now;
            }
        }
        self.voice.beat(now);
    }

    /// Says that we are still here, when it is time to, and gives nothing.
    pub fn beat(&mut self, now: Instant) {
        self.voice.beat(now);
    }

    /// From now on this is what we say of ourselves; the partner learns it at once.
    pub fn say(&mut self, said: Words) {
        self.voice.say(said, true);
    }

    /// The next bytes to be sent.
    pub fn output(&self) -> &[u8] {
        self.voice.output()
    }

    /// So many of them have gone.
    pub fn sent(&mut self, count: usize, now: Instant) {
        self.voice.sent(count, now);
    }

    /// Until when the partner was there, and came on with what it was given.
    pub fn heard_at(&self) -> Instant {
        let stuck = self.progress_at + MIRROR_PROGRESS_MAX;
        if self.given.is_empty() { self.heard_at } else { self.heard_at.min(stuck) }
    }

    /// What the partner last said of itself; none before its welcome.
    pub fn heard(&self) -> Option<Words> {
        self.heard
    }

    /// Whether the partner gets what is sealed, and lacks little of it.
    pub fn is_near(&self) -> bool {
        matches!(self.state, State::Giving) && self.given_bytes < MIRROR_WINDOW / 4 && self.had_all
    }

    /// Whether the partner has answered and gets what it lacks.
    pub fn is_giving(&self) -> bool {
        matches!(self.state, State::Giving)
    }

    /// Whom the partner had for clients when it gave the addresses up, as far as it told since the last time.
    pub fn stranded(&mut self) -> impl Iterator<Item = ClientFlow> {
        self.stranded.drain(..)
    }

    /// What the partner told of standing orders since the last time.
    pub fn told(&mut self) -> impl Iterator<Item = Box<[u8]>> {
        self.told.drain(..)
    }

    /// Why it is to be ended, if it is.
    pub fn end(&self) -> Option<End> {
        if let State::Over(end) = self.state { Some(end) } else { None }
    }

    /// When [`pump`](OwnerEnd::pump) has something to do though nothing came.
    pub fn next_deadline(&self) -> Instant {
        self.voice.next_deadline().min(if self.throttled { self.more_at } else { Instant::FAR })
    }
}
