//! What is to be signed before it goes out: content to the crew, signatures into the log.
//!
//! In: messages whose records say that they are to be signed, content as the log reads it, what the crew has done. Out: tasks for
//! the crew, [`Log::sign`](crate::spool::Log::sign), and the messages that may be delivered from then on. A message is in one place
//! at a time: waiting, ordered by when it is looked at, or in hand. In hand are few, and of their content little is held, so
//! that whatever waits here costs no more than in the delivery queue, in which it is not yet.

use super::parts::Parts;
use crate::delivery::Retry;
use crate::dkim::{Done, Keyring, Signed, SigningEnd, Task, Unsignable};
use crate::env::Instant;
use crate::env::disk::Disk;
use crate::event::Event;
use crate::limits::{
    CHUNK_SIZE_MAX, Gauge, SIGNING_IN_HAND_MAX, SIGNING_KEY_DELAY, SIGNING_MEMORY, SIGNING_READ_MAX,
    SIGNING_RETRY_DELAY,
};
use crate::mirror::identity_of_log;
use crate::mirror::register::Node;
use crate::smtp::BodyType;
use crate::spool::{MessageId, Piece, Reader};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What looking at a message is counted with, in bytes that are read.
const LOOK_COST: usize = 1024;

/// What a worker signs with.
#[derive(Debug)]
pub struct SigningEquipment {
    /// Its end of the rings to the crew.
    pub end: SigningEnd,
    /// The keys, at the start.
    pub keyring: Arc<Keyring>,
    /// A message for which no key is valid waits for one.
    pub waits_for_key: bool,
}

/// The station's state.
#[derive(Debug)]
pub(super) struct Signing {
    /// None: there are no keys, and nothing is ours to sign.
    equipment: Option<SigningEquipment>,
    waiting: BTreeMap<MessageId, Waiting>,
    /// The same by time, for each identity.
    due: [BTreeSet<(Instant, MessageId)>; 2],
    /// Until then nothing of an identity is begun: it is held back, or a log of it has no room.
    paused_until: [Instant; 2],
    /// What is due next is too large for what is held: something has to come back first.
    crowded: bool,
    in_hand: Vec<InHand>,
    /// Content that is held for those in hand, bytes.
    held_size: u64,
    tokens: u64,
    keyless_count: u64,
}

#[derive(Clone, Copy, Debug)]
struct Waiting {
    due: Instant,
    /// No key was valid for it when it was last looked at, and the log says so.
    keyless: bool,
}

#[derive(Debug)]
struct InHand {
    token: u64,
    id: MessageId,
    /// Bytes of content.
    size: u64,
    keyless: bool,
    step: Step,
}

/// What came of taking a message in hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Begun {
    /// It is the last one in hand, and is being read.
    Reading,
    /// There is nothing to read of it.
    Nothing,
    /// No other one of its identity can be taken now either.
    NotNow,
}

#[derive(Debug)]
enum Step {
    Reading {
        reader: Reader,
        content: Vec<Box<[u8]>>,
        waits_for_disk: bool,
    },
    /// With the crew.
    Away,
    /// Its signature is on its way to the disk.
    Recording {
        signed: Option<Signed>,
        unsignable: Option<Unsignable>,
    },
}

impl Signing {
    /// Whether there is anything to sign with.
    pub(super) fn signs(&self) -> bool {
        self.equipment.is_some()
    }

    pub(super) fn new(equipment: Option<SigningEquipment>) -> Signing {
        Signing {
            equipment,
            waiting: BTreeMap::new(),
            due: [BTreeSet::new(), BTreeSet::new()],
            paused_until: [Instant::ZERO; 2],
            crowded: false,
            in_hand: Vec::new(),
            held_size: 0,
            tokens: 0,
            keyless_count: 0,
        }
    }

    /// From now on these keys sign. What waits for one is looked at again.
    pub(super) fn take_keys(&mut self, now: Instant, keyring: Arc<Keyring>) {
        let Some(equipment) = &mut self.equipment else { return };
        equipment.keyring = keyring;
        let keyless = self.waiting.iter().filter(|(_, waiting)| waiting.keyless).map(|(id, _)| *id);
        for id in keyless.collect::<Vec<_>>() {
            self.wait(id, now, true);
        }
    }

    /// A message is to be signed. Harmless if that is known.
    pub(super) fn add(&mut self, now: Instant, id: MessageId) {
        if !self.waiting.contains_key(&id) && self.in_hand.iter().all(|in_hand| in_hand.id != id) {
            self.wait(id, now, false);
        }
    }

    fn wait(&mut self, id: MessageId, due: Instant, keyless: bool) {
        self.take_out(id);
        self.waiting.insert(id, Waiting { due, keyless });
        self.due[identity_of_log(id.log()) as usize].insert((due, id));
        self.keyless_count += u64::from(keyless);
    }

    fn take_out(&mut self, id: MessageId) -> Option<Waiting> {
        let waiting = self.waiting.remove(&id)?;
        self.due[identity_of_log(id.log()) as usize].remove(&(waiting.due, id));
        self.keyless_count -= u64::from(waiting.keyless);
        Some(waiting)
    }

    /// Messages that wait for a key.
    pub(super) fn keyless_count(&self) -> u64 {
        self.keyless_count + self.in_hand.iter().filter(|in_hand| in_hand.keyless).count() as u64
    }

    /// What this log holds is no affair of this box any more. Its readers end with it.
    pub(super) fn forget(&mut self, log: u16) {
        let gone = self.waiting.keys().filter(|id| id.log() == log).copied();
        for id in gone.collect::<Vec<_>>() {
            self.take_out(id);
        }
        let held_size = &mut self.held_size;
        self.in_hand.retain(|in_hand| {
            let stays = in_hand.id.log() != log;
            *held_size -= if stays { 0 } else { in_hand.held_size() };
            stays
        });
    }

    /// Nothing more of this log will become durable here.
    pub(super) fn give_up(&mut self, log: u16) {
        let is_recorded = |in_hand: &InHand| matches!(in_hand.step, Step::Recording { .. });
        self.in_hand.retain(|in_hand| in_hand.id.log() != log || !is_recorded(in_hand));
    }

    /// Shows how full its tables are.
    pub(super) fn gauge(&self, see: &mut dyn FnMut(Gauge)) {
        see(Gauge::new("messages that are being signed", self.in_hand.len(), SIGNING_IN_HAND_MAX));
        // What one of them has more than that is its own.
        let largest = self.in_hand.iter().map(InHand::held_size).max().unwrap_or(0);
        let limit = SIGNING_MEMORY.max(largest);
        see(Gauge::new("bytes that are being signed", self.held_size as usize, limit as usize));
    }

    /// When it must be looked at even if nothing is reported.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        let reads =
            self.in_hand.iter().any(|in_hand| matches!(in_hand.step, Step::Reading { waits_for_disk: false, .. }));
        if reads {
            return Some(Instant::ZERO);
        }
        if self.crowded || self.in_hand.len() >= SIGNING_IN_HAND_MAX {
            return None;
        }
        let due = self.due.iter().zip(self.paused_until);
        due.filter_map(|(due, paused_until)| due.first().map(|(at, _)| paused_until.max(*at))).min()
    }

    /// Content of a message came from the disk.
    pub(super) fn read(&mut self, id: MessageId) {
        for in_hand in self.in_hand.iter_mut().filter(|in_hand| in_hand.id == id) {
            if let Step::Reading { waits_for_disk, .. } = &mut in_hand.step {
                *waits_for_disk = false;
            }
        }
    }

    /// That a message is signed, or goes out as it is, is durable. The log is told which.
    pub(super) fn signed<T, D: Disk>(&mut self, parts: &mut Parts<T, D>, id: MessageId) {
        let Some(place) = self.in_hand.iter().position(|in_hand| in_hand.id == id) else { return };
        if let Step::Recording { signed, unsignable } = self.in_hand.swap_remove(place).step {
            if let Some(Signed { domain, selectors, .. }) = signed {
                parts.reporter.message(|| {
                    let selectors = selectors.iter().map(ToString::to_string).collect();
                    Event::Signed { id, domain: domain.to_string(), selectors }
                });
            }
            if let Some(unsignable) = unsignable {
                parts.reporter.message(|| Event::Unsigned { id, reason: unsignable.to_string() });
            }
        }
    }

    /// Goes on with all that can go on. Of identities that are `held_back` nothing is begun. Whether anything was done.
    pub(super) fn step<T, D: Disk>(&mut self, parts: &mut Parts<T, D>, retry: &Retry, held_back: [bool; 2]) -> bool {
        let mut busy = false;
        while let Some(done) = self.equipment.as_ref().and_then(|equipment| equipment.end.take()) {
            busy = true;
            self.conclude(parts, retry, done);
        }
        let mut budget = SIGNING_READ_MAX;
        for place in (0..self.in_hand.len()).rev() {
            busy |= self.go_on_reading(parts, place, &mut budget);
        }
        self.crowded = false;
        for identity in Node::BOTH.map(|identity| identity as usize) {
            if held_back[identity] {
                self.paused_until[identity] = parts.now.mono + SIGNING_RETRY_DELAY;
            }
            busy |= self.begin_some(parts, identity, &mut budget);
        }
        busy
    }

    /// Takes in hand what is due of an identity, as much as there is room for.
    fn begin_some<T, D: Disk>(&mut self, parts: &mut Parts<T, D>, identity: usize, budget: &mut usize) -> bool {
        let mut busy = false;
        while *budget > 0
            && self.in_hand.len() < SIGNING_IN_HAND_MAX
            && self.paused_until[identity] <= parts.now.mono
            && let Some((due, id)) = self.due[identity].first().copied()
            && due <= parts.now.mono
        {
            let size = parts.logs.get(id).and_then(|log| log.message(id)).map_or(0, |message| message.size());
            // One that is larger than what may be held has its turn alone.
            if self.held_size > 0 && self.held_size + size > SIGNING_MEMORY {
                self.crowded = true;
                break;
            }
            busy = true;
            // What is only looked at costs something, too.
            *budget = budget.saturating_sub(LOOK_COST);
            let keyless = self.take_out(id).is_some_and(|waiting| waiting.keyless);
            match self.begin(parts, id, keyless) {
                Begun::Reading => {
                    let place = self.in_hand.len() - 1;
                    self.go_on_reading(parts, place, budget);
                }
                Begun::Nothing => {}
                Begun::NotNow => {
                    self.wait(id, due, keyless);
                    self.paused_until[identity] = parts.now.mono + SIGNING_RETRY_DELAY;
                }
            }
        }
        busy
    }

    /// Ends what is in hand. What has no signature is signed after the next start.
    pub(super) fn close<T, D: Disk>(&mut self, parts: &mut Parts<T, D>) {
        for in_hand in self.in_hand.drain(..) {
            if let Step::Reading { reader, .. } = in_hand.step
                && let Some(log) = parts.logs.of(in_hand.id)
            {
                log.close_reader(reader);
            }
        }
        self.held_size = 0;
        self.keyless_count = 0;
        self.due = [BTreeSet::new(), BTreeSet::new()];
        self.waiting.clear();
    }

    /// Takes a message in hand to be read.
    fn begin<T, D: Disk>(&mut self, parts: &mut Parts<T, D>, id: MessageId, keyless: bool) -> Begun {
        // What is gone or damaged is no affair of ours, and of a log that failed all is found again after a restart.
        let Some(log) = parts.logs.of(id).filter(|log| !log.failed() && !log.is_damaged(id)) else {
            return Begun::Nothing;
        };
        let Some(message) = log.message(id).filter(|message| message.unsigned()) else { return Begun::Nothing };
        let (size, body) = (message.size(), message.body());
        if !log.may_give_out() {
            return Begun::NotNow;
        }
        let unsignable = match body {
            _ if self.equipment.is_none() => Some(Unsignable::NoKeys),
            BodyType::BinaryMime => Some(Unsignable::Binary),
            BodyType::SevenBit | BodyType::EightBitMime => None,
        };
        if unsignable.is_some() {
            self.record(parts, id, keyless, None, unsignable);
            return Begun::Nothing;
        }
        let Some(reader) = log.reader(id) else { return Begun::NotNow };
        self.tokens += 1;
        self.held_size += size;
        let step = Step::Reading { reader, content: Vec::new(), waits_for_disk: false };
        self.in_hand.push(InHand { token: self.tokens, id, size, keyless, step });
        Begun::Reading
    }

    /// Reads more of a message, and gives it to the crew when it is whole. It may have gone from its place then, which is the last
    /// one's.
    fn go_on_reading<T, D: Disk>(&mut self, parts: &mut Parts<T, D>, place: usize, budget: &mut usize) -> bool {
        let in_hand = &mut self.in_hand[place];
        let id = in_hand.id;
        let Step::Reading { reader, content, waits_for_disk: waits_for_disk @ false } = &mut in_hand.step else {
            return false;
        };
        let mut is_broken = false;
        if let Some(log) = parts.logs.of(id) {
            while *budget > 0 {
                match log.read(reader) {
                    Piece::Ready(bytes) => {
                        let count = bytes.len().min(CHUNK_SIZE_MAX);
                        content.push(bytes[..count].into());
                        *budget = budget.saturating_sub(count.max(1));
                        reader.consume(count);
                    }
                    Piece::Pending => {
                        *waits_for_disk = true;
                        return true;
                    }
                    Piece::End => break,
                    Piece::Damaged | Piece::Failed => {
                        is_broken = true;
                        break;
                    }
                }
            }
        }
        let is_whole = reader.position() == in_hand.size;
        if !is_whole && !is_broken && parts.logs.get(id).is_some() {
            return true;
        }
        let Step::Reading { reader, content, .. } = std::mem::replace(&mut in_hand.step, Step::Away) else {
            unreachable!("it was read just now")
        };
        if let Some(log) = parts.logs.of(id) {
            log.close_reader(reader);
        }
        let (token, keyless, now) = (in_hand.token, in_hand.keyless, parts.now.wall);
        let given = is_whole
            && self.equipment.as_ref().is_some_and(|SigningEquipment { end, keyring, .. }| {
                end.give(Task { token, keyring: Arc::clone(keyring), now, content }).is_ok()
            });
        if !given {
            // What is damaged is found to be so when its turn comes.
            self.drop_in_hand(place);
            self.wait(id, parts.now.mono + SIGNING_RETRY_DELAY, keyless);
        }
        true
    }

    fn drop_in_hand(&mut self, place: usize) -> InHand {
        let in_hand = self.in_hand.swap_remove(place);
        self.held_size -= in_hand.held_size();
        in_hand
    }

    /// The crew has done something.
    fn conclude<T, D: Disk>(&mut self, parts: &mut Parts<T, D>, retry: &Retry, done: Done) {
        // One that is not in hand any more was given up meanwhile.
        let Some(place) = self.in_hand.iter().position(|in_hand| in_hand.token == done.token) else { return };
        let InHand { id, keyless, .. } = self.drop_in_hand(place);
        match done.result {
            Ok(signed) => self.record(parts, id, keyless, signed, None),
            Err(unsignable) => {
                let waits = self.equipment.as_ref().is_some_and(|equipment| equipment.waits_for_key);
                let message = parts.logs.get(id).and_then(|log| log.message(id));
                let expired = message.is_some_and(|message| retry.expired(message.received_at(), parts.now.wall));
                if !unsignable.may_pass() || !waits || expired {
                    return self.record(parts, id, keyless, None, Some(unsignable));
                }
                if !keyless {
                    parts.reporter.message(|| Event::SigningDeferred { id, reason: unsignable.to_string() });
                }
                self.wait(id, parts.now.mono + SIGNING_KEY_DELAY, true);
            }
        }
    }

    /// Writes down what came of it.
    fn record<T, D: Disk>(
        &mut self,
        parts: &mut Parts<T, D>,
        id: MessageId,
        keyless: bool,
        signed: Option<Signed>,
        unsignable: Option<Unsignable>,
    ) {
        let Some(log) = parts.logs.of(id) else { return };
        if log.message(id).is_none_or(|message| !message.unsigned()) {
            return;
        }
        let header = signed.as_ref().map_or(&[][..], |signed| &signed.header[..]);
        if log.sign(id, header) {
            self.tokens += 1;
            let step = Step::Recording { signed, unsignable };
            self.in_hand.push(InHand { token: self.tokens, id, size: 0, keyless, step });
        } else {
            // No room, or the log is about to be somebody else's.
            self.wait(id, parts.now.mono + SIGNING_RETRY_DELAY, keyless);
        }
    }
}

impl InHand {
    /// Content that is held for it, bytes.
    fn held_size(&self) -> u64 {
        if matches!(self.step, Step::Recording { .. }) { 0 } else { self.size }
    }
}
