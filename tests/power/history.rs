//! What a log was told and what it promised, and whether what is found after a power loss can be that.

use std::collections::{BTreeMap, BTreeSet};

use rohrpost::env::WallTime;
use rohrpost::spool::{MessageId, Queued, RecipientState};

/// Of a queued message everything that calls can change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shape {
    pub received_at: WallTime,
    pub held: bool,
    pub recipients: Vec<RecipientState>,
}

pub type Queue = BTreeMap<MessageId, Shape>;

pub fn shape(message: Queued<'_>) -> Shape {
    let message = message.to_message();
    Shape { received_at: message.received_at, held: message.held, recipients: message.recipients }
}

pub struct Change {
    pub id: MessageId,
    /// `None` took the message out.
    pub shape: Option<Shape>,
    /// The device's moment when the log was told: nothing of the change can stand before it.
    pub told_at: u64,
    /// It brought the message in.
    pub accepts: bool,
}

/// What a log was told, in the order of its records, and when it said what of that was durable.
#[derive(Default)]
pub struct History {
    /// The queue before the first of them.
    before: Queue,
    changes: Vec<Change>,
    /// From this moment of the device on, so many of the changes are durable; both ascend.
    durable: Vec<(u64, usize)>,
}

fn apply(queue: &mut Queue, change: &Change) {
    match &change.shape {
        Some(shape) => queue.insert(change.id, shape.clone()),
        None => queue.remove(&change.id),
    };
}

impl History {
    pub fn begin(before: Queue) -> History {
        History { before, ..History::default() }
    }

    pub fn tell(&mut self, change: Change) {
        self.changes.push(change);
    }

    /// The log says that a message will never be durable, so its record was not written.
    pub fn refuse(&mut self, id: MessageId) {
        self.changes.retain(|change| change.id != id);
    }

    /// The log says at `moment` that a message is durable, and so is everything that it was told before.
    pub fn acknowledge(&mut self, id: MessageId, moment: u64) {
        let place = self.changes.iter().position(|change| change.id == id);
        self.settle(moment, place.expect("a finished message") + 1);
    }

    /// The log says at `moment` that all is durable.
    pub fn settle_all(&mut self, moment: u64) {
        self.settle(moment, self.changes.len());
    }

    /// Whether all is known to be durable.
    pub fn is_settled(&self) -> bool {
        self.promised(u64::MAX) == self.changes.len()
    }

    /// The log was opened again at `moment` on the same device and has the first `count` changes: what is not there now
    /// never comes back, and what is there stays.
    pub fn resume(&mut self, moment: u64, count: usize) {
        self.changes.truncate(count);
        self.settle_all(moment);
    }

    fn settle(&mut self, moment: u64, count: usize) {
        if self.durable.last().is_none_or(|(_, last)| *last < count) {
            self.durable.push((moment, count));
        }
    }

    /// Changes that were known to be durable at a moment.
    fn promised(&self, moment: u64) -> usize {
        self.durable.iter().take_while(|(at, _)| *at <= moment).last().map_or(0, |(_, count)| *count)
    }

    /// Messages that had been acknowledged at a moment.
    pub fn acknowledged(&self, moment: u64) -> usize {
        self.changes[..self.promised(moment)].iter().filter(|change| change.accepts).count()
    }

    /// Whether `found` is the queue as it was after some call, one that was made before `moment` and not before the last
    /// one known to be durable then; gives how many changes that are.
    pub fn check(&self, moment: u64, found: &Queue) -> Result<usize, String> {
        let (promised, changes) = self.changes.split_at(self.promised(moment));
        let mut queue = self.before.clone();
        promised.iter().for_each(|durable| apply(&mut queue, durable));
        let certain = queue.clone();
        let later: Vec<&Change> = changes.iter().take_while(|change| change.told_at <= moment).collect();
        for (count, next) in later.iter().enumerate() {
            if queue == *found {
                return Ok(promised.len() + count);
            }
            apply(&mut queue, next);
        }
        if queue == *found { Ok(promised.len() + later.len()) } else { Err(describe(&certain, &later, found)) }
    }
}

fn describe(certain: &Queue, later: &[&Change], found: &Queue) -> String {
    let ids: BTreeSet<_> = certain.keys().chain(found.keys()).collect();
    let fixed = ids.into_iter().filter(|id| later.iter().all(|change| change.id != **id));
    let differing = fixed.filter_map(|id| match (certain.get(id), found.get(id)) {
        (Some(_), None) => Some(format!("{id} was acknowledged and is lost")),
        (None, Some(_)) => Some(format!("{id} was done or never there and is found")),
        (promised, shape) if promised != shape => Some(format!("{id} is {shape:?} and was {promised:?}")),
        _ => None,
    });
    let differing: Vec<String> = differing.collect();
    format!("{differing:?}, {} later changes are found in part or out of order", later.len())
}
