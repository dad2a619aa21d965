//! The flows, by place and by tuple.

use super::tuple::{Keyed, Tuple};
use crate::env::Instant;
use crate::flow::Client;
use crate::flow::{FlowEnd, FlowId};
use hashbrown::HashMap;
use smoltcp::iface::{SocketHandle, SocketSet};
use smoltcp::socket::tcp::{self, CongestionControl, Socket, SocketBuffer, State};

/// Where a flow stands for those above.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// A client's SYN was answered; nobody has been told.
    HalfOpen { listener: usize, until: Instant },
    /// Our SYN is on its way.
    Connecting { until: Instant },
    /// In use.
    Open,
    /// Closed by the caller: what still comes is dropped. Reset at `until`; `acknowledged`: all of ours has arrived.
    Lingering { until: Instant, acknowledged: bool },
}

impl Stage {
    /// When the stage ends by itself.
    pub fn deadline(&self) -> Option<Instant> {
        match self {
            Stage::HalfOpen { until, .. } | Stage::Connecting { until } | Stage::Lingering { until, .. } => {
                Some(*until)
            }
            Stage::Open => None,
        }
    }
}

/// One connection, with a socket set of its own.
pub(super) struct Flow {
    pub tuple: Tuple,
    pub stage: Stage,
    pub set: SocketSet<'static>,
    handle: SocketHandle,
    /// The client whose budget this flow uses; `None` if we started the connection.
    pub client: Option<Client>,
    /// Our initial sequence number, and the peer's (once known).
    pub send_initial: u32,
    pub receive_initial: u32,
    /// Bytes taken out of the receive ring so far, modulo 2^32.
    pub consumed: u32,
    /// The sequence number after all that was sent.
    pub send_next: u32,
    /// The peer's window is shut, as far as its last segment told: what is sent now is a probe.
    pub window_shut: bool,
    /// What `Readable` was told about: RCV.NXT then.
    pub told: u32,
    /// A send was cut short: `Writable` is owed.
    pub starved: bool,
    /// How the socket came to be closed, if it did without us.
    pub ended: Option<FlowEnd>,
    /// Since when it waits for its next hop's hardware address.
    pub waiting_since: Option<Instant>,
    /// Is in the list of flows to settle.
    pub touched: bool,
    /// Is in the list of flows with something to send.
    pub dirty: bool,
}

impl Flow {
    pub fn new(tuple: Tuple, stage: Stage, client: Option<Client>, buffers: (usize, usize), send_initial: u32) -> Flow {
        let ring = |size: usize| SocketBuffer::new(vec![0; size]);
        let mut socket = Socket::new(ring(buffers.0), ring(buffers.1));
        // Sessions write whole replies and blocks: Nagle would only add a round trip.
        socket.set_nagle_enabled(false);
        socket.set_congestion_control(CongestionControl::Cubic);
        let mut set = SocketSet::new(Vec::with_capacity(1));
        let handle = set.add(socket);
        Flow {
            tuple,
            stage,
            set,
            handle,
            client,
            send_initial,
            receive_initial: 0,
            consumed: 0,
            send_next: send_initial,
            window_shut: false,
            told: 0,
            starved: false,
            ended: None,
            waiting_since: None,
            touched: false,
            dirty: false,
        }
    }

    pub fn socket(&self) -> &Socket<'static> {
        self.set.get::<tcp::Socket>(self.handle)
    }

    pub fn socket_mut(&mut self) -> &mut Socket<'static> {
        self.set.get_mut::<tcp::Socket>(self.handle)
    }

    pub fn state(&self) -> State {
        self.socket().state()
    }

    /// The peer has ended its direction, and all before that is here.
    pub fn finished(&self) -> bool {
        matches!(self.state(), State::CloseWait | State::LastAck | State::Closing | State::TimeWait)
    }

    /// RCV.NXT, which smoltcp does not show: what was read, what waits, and the SYN and FIN.
    pub fn receive_next(&self) -> u32 {
        self.receive_initial
            .wrapping_add(1)
            .wrapping_add(self.consumed)
            .wrapping_add(self.socket().recv_queue() as u32)
            .wrapping_add(u32::from(self.finished()))
    }

    /// Takes `count` bytes out of the receive ring's contiguous front.
    pub fn take(&mut self, count: usize) {
        let taken = self.socket_mut().recv(|bytes| {
            let taken = count.min(bytes.len());
            (taken, taken)
        });
        self.consumed = self.consumed.wrapping_add(taken.unwrap_or(0) as u32);
    }

    /// Drops all that was received.
    pub fn drain(&mut self) {
        while self.socket().recv_queue() > 0 {
            let before = self.consumed;
            self.take(usize::MAX);
            if self.consumed == before {
                break;
            }
        }
    }

    /// The receive window has closed: less room than one unit of its scale (RFC 7323 §2.2) cannot be advertised.
    pub fn full(&self) -> bool {
        let capacity = self.socket().recv_capacity();
        let bits = usize::BITS - capacity.leading_zeros();
        let unit = 1 << bits.saturating_sub(16);
        capacity - self.socket().recv_queue() < unit
    }

    /// A probe of a window that is shut does not count, as it does not for smoltcp: an acknowledgement beyond it would
    /// lie outside of the peer's window.
    pub fn note_sent(&mut self, next_sequence: u32) {
        if !self.window_shut && next_sequence.wrapping_sub(self.send_next) as i32 > 0 {
            self.send_next = next_sequence;
        }
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
