//! The flows, by place and by tuple.

use super::connection::Connection;
use super::connection::sequence::Sequence;
use super::tuple::{Keyed, Tuple};
use crate::env::Instant;
use crate::flow::{Client, FlowEnd, FlowId};
use hashbrown::HashMap;
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
pub(super) struct Flow {
    pub tuple: Tuple,
    pub stage: Stage,
    pub connection: Connection,
    /// Whom its frames are sent to.
    pub hop: IpAddr,
    /// The client whose budget this flow uses; `None` if we started the connection.
    pub client: Option<Client>,
    /// What `Readable` was told about: RCV.NXT then.
    pub told: Sequence,
    /// When the wheel looks at it next: not later than it must be, perhaps earlier.
    pub timer_at: Instant,
    /// Since when it waits for its next hop's hardware address.
    pub waiting_since: Option<Instant>,
    /// How the connection came to be closed, if it was without us.
    pub ended: Option<FlowEnd>,
    /// A send was cut short: `Writable` is owed.
    pub starved: bool,
    /// Is in the list of flows to settle.
    pub touched: bool,
    /// Is in the list of flows with something to send.
    pub dirty: bool,
}

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
            touched: false,
            dirty: false,
        }
    }

    /// When something is to be done about it though nothing comes.
    pub fn deadline(&self) -> Instant {
        self.connection.deadline().min(self.stage.deadline())
    }
}

struct Place {
    generation: u32,
    flow: Option<Box<Flow>>,
}

/// All flows.
pub(super) struct Table {
    places: Vec<Place>,
    free: Vec<u32>,
    by_tuple: HashMap<Tuple, u32, Keyed>,
}

impl Table {
    pub fn new(keyed: Keyed) -> Table {
        Table { places: Vec::new(), free: Vec::new(), by_tuple: HashMap::with_hasher(keyed) }
    }

    pub fn len(&self) -> usize {
        self.by_tuple.len()
    }

    pub fn find(&self, tuple: &Tuple) -> Option<u32> {
        self.by_tuple.get(tuple).copied()
    }

    pub fn insert(&mut self, flow: Flow) -> u32 {
        let index = self.free.pop().unwrap_or_else(|| {
            self.places.push(Place { generation: 0, flow: None });
            (self.places.len() - 1) as u32
        });
        let before = self.by_tuple.insert(flow.tuple, index);
        assert!(before.is_none(), "a tuple names one flow");
        self.places[index as usize].flow = Some(Box::new(flow));
        index
    }

    pub fn remove(&mut self, index: u32) -> Option<Box<Flow>> {
        let place = self.places.get_mut(index as usize)?;
        let flow = place.flow.take()?;
        place.generation = place.generation.wrapping_add(1);
        self.by_tuple.remove(&flow.tuple);
        self.free.push(index);
        Some(flow)
    }

    pub fn at(&mut self, index: u32) -> Option<&mut Flow> {
        self.places.get_mut(index as usize)?.flow.as_deref_mut()
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
