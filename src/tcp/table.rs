//! The flows, by place and by tuple.

use super::connection::Connection;
use super::connection::sequence::Sequence;
use super::tuple::{Keyed, Tuple};
use crate::env::Instant;
use crate::flow::{Client, FlowEnd, FlowId};
use crate::port::BURST_SIZE;
use arrayvec::ArrayVec;
use hashbrown::HashTable;
use std::hash::BuildHasher;
use std::hint::black_box;
use std::mem::offset_of;
use std::net::IpAddr;

/// Where a flow stands for those above.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// A client's SYN was answered; nobody has been told.
    HalfOpen { listener: u32, until: Instant },
    /// Our SYN is on its way.
    Connecting { until: Instant },
    /// In use.
    Open,
    /// Closed by the caller: what still comes is dropped. Reset at `until`; `acknowledged`: all of ours has arrived.
    Lingering { until: Instant, acknowledged: bool },
}

impl Stage {
    /// When the stage ends by itself.
    pub fn deadline(&self) -> Instant {
        match self {
            Stage::HalfOpen { until, .. } | Stage::Connecting { until } | Stage::Lingering { until, .. } => *until,
            Stage::Open => Instant::FAR,
        }
    }
}

/// One connection and what the stack knows of it.
///
/// In the order of use, as its parts are: what every segment needs comes first, and lies in few lines of the caches. Of many
/// flows, fetching these is what takes the time.
#[repr(C, align(64))]
pub(super) struct Flow {
    pub tuple: Tuple,
    /// How the connection came to be closed, if it was without us.
    pub ended: Option<FlowEnd>,
    /// What `Readable` was told about: RCV.NXT then.
    pub told: Sequence,
    /// A send was cut short: `Writable` is owed.
    pub starved: bool,
    /// Its address may be another box's: it says nothing.
    pub silent: bool,
    /// Is in the list of flows to settle.
    pub touched: bool,
    /// Is in the list of flows with something to send.
    pub dirty: bool,
    pub stage: Stage,
    /// When the wheel looks at it next: not later than it must be, perhaps earlier.
    pub timer_at: Instant,
    pub connection: Connection,
    /// Since when it waits for its next hop's hardware address.
    pub waiting_since: Option<Instant>,
    /// Whom its frames are sent to.
    pub hop: IpAddr,
    /// The client whose budget this flow uses; `None` if we started the connection.
    pub client: Option<Client>,
}

/// Lines of the caches, 64 bytes each, that every segment needs of its flow.
const LINES: usize = 7;
const _: () = assert!(offset_of!(Flow, connection) + Connection::NEEDED <= LINES * 64);

impl Flow {
    pub fn new(tuple: Tuple, stage: Stage, connection: Connection, hop: IpAddr, client: Option<Client>) -> Flow {
        Flow {
            tuple,
            stage,
            told: connection.receive_next(),
            connection,
            hop,
            client,
            timer_at: Instant::FAR,
            waiting_since: None,
            ended: None,
            starved: false,
            silent: false,
            touched: false,
            dirty: false,
        }
    }

    /// Reads something of each line that every segment needs.
    fn touch(&self) -> u64 {
        u64::from(self.tuple.local_port) ^ self.timer_at.nanos() ^ self.connection.touch()
    }

    /// When something is to be done about it though nothing comes.
    pub fn deadline(&self) -> Instant {
        // A connection whose peer must not hear it stands still.
        if self.silent { self.stage.deadline() } else { self.connection.deadline().min(self.stage.deadline()) }
    }
}

#[derive(Default)]
struct Place {
    generation: u32,
    flow: Option<Box<Flow>>,
}

/// A flow's place among those with the same few bits of their hashes.
struct Entry {
    hash: u32,
    index: u32,
}

impl Entry {
    /// The hash again. The table uses the bits at both ends.
    fn spread(hash: u32) -> u64 {
        u64::from(hash) << 32 | u64::from(hash)
    }
}

/// All flows.
pub(super) struct Table {
    places: Vec<Place>,
    free: Vec<u32>,
    /// The hash stands here as well, so that a flow itself is looked at only if it is the right one.
    entries: HashTable<Entry>,
    keyed: Keyed,
}

impl Table {
    pub fn new(keyed: Keyed) -> Table {
        Table { places: Vec::new(), free: Vec::new(), entries: HashTable::new(), keyed }
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Half of what the hash function gives: eight entries share a line of the caches, and flows with the same are rare.
    pub fn hash(&self, tuple: &Tuple) -> u32 {
        self.keyed.hash_one(tuple) as u32
    }

    /// Brings what the next segments need into the caches: for each it would take as long as all that is done with it, for many
    /// at once hardly longer than for one.
    pub fn warm(&self, hashes: impl Iterator<Item = u32>) {
        // Each loop looks at one thing of each, so that none waits for another.
        let mut found = ArrayVec::<&Place, BURST_SIZE>::new();
        for hash in hashes.take(BURST_SIZE) {
            let entry = self.entries.find(Entry::spread(hash), |entry| entry.hash == hash);
            found.extend(entry.map(|entry| &self.places[entry.index as usize]));
        }
        let flows = found.iter().filter_map(|place| place.flow.as_deref());
        black_box(flows.fold(0, |sum, flow| sum ^ flow.touch()));
    }

    pub fn find(&self, tuple: &Tuple) -> Option<u32> {
        self.find_hashed(tuple, self.hash(tuple))
    }

    pub fn find_hashed(&self, tuple: &Tuple, hash: u32) -> Option<u32> {
        let entry = self.entries.find(Entry::spread(hash), |entry| {
            entry.hash == hash
                && self.places[entry.index as usize].flow.as_deref().is_some_and(|flow| flow.tuple == *tuple)
        });
        entry.map(|entry| entry.index)
    }

    pub fn insert(&mut self, flow: Flow) -> u32 {
        let hash = self.hash(&flow.tuple);
        assert!(self.find_hashed(&flow.tuple, hash).is_none(), "a tuple names one flow");
        let index = self.free.pop().unwrap_or_else(|| {
            self.places.push(Place::default());
            (self.places.len() - 1) as u32
        });
        self.entries.insert_unique(Entry::spread(hash), Entry { hash, index }, |entry| Entry::spread(entry.hash));
        self.places[index as usize].flow = Some(Box::new(flow));
        index
    }

    pub fn remove(&mut self, index: u32) -> Option<Box<Flow>> {
        let place = self.places.get_mut(index as usize)?;
        let flow = place.flow.take()?;
        place.generation = place.generation.wrapping_add(1);
        let hash = self.hash(&flow.tuple);
        if let Ok(entry) = self.entries.find_entry(Entry::spread(hash), |entry| entry.index == index) {
            entry.remove();
        }
        self.free.push(index);
        Some(flow)
    }

    pub fn at(&mut self, index: u32) -> Option<&mut Flow> {
        self.places.get_mut(index as usize)?.flow.as_deref_mut()
    }

    /// The places of all flows.
    pub fn indices(&self) -> Vec<u32> {
        self.entries.iter().map(|entry| entry.index).collect()
    }

    /// In no order.
    pub fn flows(&self) -> impl Iterator<Item = &Flow> {
        self.places.iter().filter_map(|place| place.flow.as_deref())
    }

    pub fn id(&self, index: u32) -> FlowId {
        FlowId { index, generation: self.places[index as usize].generation }
    }

    /// The flow that a caller names, unless it is gone or the caller has closed it.
    pub fn named(&mut self, id: FlowId) -> Option<&mut Flow> {
        let place = self.places.get_mut(id.index as usize)?;
        if place.generation != id.generation {
            return None;
        }
        place.flow.as_deref_mut().filter(|flow| !matches!(flow.stage, Stage::Lingering { .. } | Stage::HalfOpen { .. }))
    }

    /// Whether the place still holds what `id` names, closed or not.
    pub fn holds(&self, id: FlowId) -> bool {
        self.places
            .get(id.index as usize)
            .is_some_and(|place| place.generation == id.generation && place.flow.is_some())
    }
}
