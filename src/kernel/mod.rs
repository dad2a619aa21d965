//! Flows over the operating system's own TCP, for a laptop, a container, or a box whose NIC cannot be shared.
//!
//! In: connections and bytes from kernel sockets. Out: the same [`FlowEvent`]s that [`crate::tcp`] makes of frames.
//! It plugs in above `tcp`: sessions cannot tell the difference. It never blocks, except in
//! [`Transport::wait`], and never runs a thread.
//!
//! Readiness is edge-triggered: the kernel tells once that bytes have come, and not again before we have read them
//! all. Whatever was told is therefore kept with the flow (`readable`, `starved`) until a read or a write finds
//! nothing more, and a flow with something left to do stays in the `ready` line from poll to poll.
//!
//! A flow holds a receive buffer only while it has bytes that nobody has consumed; idle ones cost their table
//! entry and what the kernel keeps. Sending copies into the kernel at once, so that there is nothing to flush.

mod listener;
mod receive;
mod serve;
mod table;
#[cfg(test)]
mod tests;

pub use listener::OpenError;

use crate::env::{Instant, tcp_info, wait_readable};
use crate::flow::{Client, Clients};
use crate::flow::{ConnectError, FlowEnd, FlowEvent, FlowId, PathFacts, Received, Transport, TransportCounters};
use crate::limits::{LINGER_DURATION, READY_BURST_MAX};
use listener::Listener;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use receive::{Buffers, ReceiveBuffer};
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use std::collections::VecDeque;
use std::io::{self, ErrorKind, Write};
use std::net::{IpAddr, Shutdown, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;
use table::Table;

/// What the transport is to do.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where to listen; [`FlowEvent::Accepted`] names the place in this list. Port 0 lets the kernel choose.
    pub listeners: Vec<SocketAddr>,
    /// Connections of both directions, those included that are closed and not yet gone.
    pub connections_max: usize,
    /// Accepted connections of one client: an IPv4 address, or an IPv6 network of 64 bits, since a host has all of it.
    pub connections_per_client_max: usize,
    /// Received bytes that a flow may hold unconsumed; at least the longest line that a session waits for.
    pub receive_buffer: usize,
    /// Several workers listen on the same addresses, and the kernel spreads the clients (SO_REUSEPORT).
    pub reuse_port: bool,
}

/// Events taken from the kernel in one call: fewer than one poll serves, so that the line gets shorter.
const EVENTS_MAX: usize = READY_BURST_MAX / 2;

/// A read of bytes that are to be dropped.
const SCRAP_SIZE: usize = 16 * 1024;

/// The bit of a token that marks a listener; flows have their id in the others.
const LISTENER_TOKEN: usize = 1 << 63;

/// Kernel sockets as a transport.
pub struct Sockets {
    poll: Poll,
    readiness: Events,
    listeners: Vec<Listener>,
    /// Not before then is a connection accepted: the descriptors had run out.
    accept_paused_until: Option<Instant>,
    table: Table<Flow>,
    clients: Clients,
    /// Flows with something to do, each once (`Flow::queued`). Ids of flows that are gone are passed over.
    ready: VecDeque<FlowId>,
    /// Closed flows by the time when their last bytes are given up. All wait equally long, so this is in order.
    draining: VecDeque<(Instant, FlowId)>,
    buffers: Buffers,
    scrap: Box<[u8]>,
    /// The time of the last poll: what is asked for between two polls happens then.
    now: Instant,
    counters: TransportCounters,
}

struct Flow {
    stream: TcpStream,
    state: State,
    /// The client whose budget this flow uses; `None` if we started the connection.
    client: Option<Client>,
    received: ReceiveBuffer,
    /// The kernel said that there is something to read, and no read since has found nothing.
    readable: bool,
    /// The kernel said that the peer has ended; a read will find out in what way.
    hung_up: bool,
    /// A read found the end.
    finished: bool,
    /// Ended with this, and nobody has been told yet.
    failure: Option<FlowEnd>,
    /// Is in the `ready` line.
    queued: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// Our SYN is on its way.
    Connecting,
    /// In use. `starved`: a send was cut short, so that `Writable` is owed; `room`: and the kernel says that it is due.
    Open { starved: bool, room: bool },
    /// Closed by the caller: what still comes is dropped until the peer ends too.
    Draining,
}

const OPEN: State = State::Open { starved: false, room: false };

impl Flow {
    fn new(stream: TcpStream, state: State, client: Option<Client>) -> Flow {
        Flow {
            stream,
            state,
            client,
            received: ReceiveBuffer::default(),
            readable: false,
            hung_up: false,
            finished: false,
            failure: None,
            queued: false,
        }
    }

    /// Reading would be of use now.
    fn wants_read(&self) -> bool {
        self.readable && !self.finished
    }
}

impl Sockets {
    /// Opens all listeners, or none.
    pub fn open(settings: Settings) -> Result<Sockets, OpenError> {
        let poll = Poll::new().map_err(|source| OpenError::Poll { source })?;
        let mut listeners = Vec::with_capacity(settings.listeners.len());
        for (index, address) in settings.listeners.iter().enumerate() {
            let mut listener = Listener::open(*address, settings.reuse_port)?;
            poll.registry()
                .register(&mut listener.socket, Token(LISTENER_TOKEN | index), Interest::READABLE)
                .map_err(|source| OpenError::Poll { source })?;
            listeners.push(listener);
        }
        Ok(Sockets {
            poll,
            readiness: Events::with_capacity(EVENTS_MAX),
            listeners,
            accept_paused_until: None,
            table: Table::new(settings.connections_max),
            clients: Clients::new(settings.connections_per_client_max),
            ready: VecDeque::new(),
            draining: VecDeque::new(),
            buffers: Buffers::new(settings.receive_buffer),
            scrap: vec![0; SCRAP_SIZE].into_boxed_slice(),
            now: Instant::ZERO,
            counters: TransportCounters::default(),
        })
    }

    /// Where we listen, in the order of the settings, with the ports that the kernel chose. Empty after
    /// [`Transport::stop_listening`].
    pub fn listening(&self) -> impl Iterator<Item = SocketAddr> {
        self.listeners.iter().map(|listener| listener.address)
    }

    /// Puts a flow into the table and under the kernel's watch. It fails if there is no room in either.
    fn insert(&mut self, flow: Flow) -> Result<FlowId, Box<Flow>> {
        let id = self.table.insert(flow)?;
        let flow = self.table.find(id).expect("inserted above");
        let interest = Interest::READABLE | Interest::WRITABLE;
        match self.poll.registry().register(&mut flow.stream, token_of(id), interest) {
            Ok(()) => Ok(id),
            Err(_) => Err(Box::new(self.table.remove(id).expect("inserted above"))),
        }
    }

    /// Takes a flow out of the table; with it go its budget and its buffer. Its socket closes when it is dropped.
    fn remove(&mut self, id: FlowId) -> Option<Flow> {
        let mut flow = self.table.remove(id)?;
        if let Some(client) = flow.client {
            self.clients.give_back(client);
        }
        flow.received.clear(&mut self.buffers);
        Some(flow)
    }

    /// The flow, if the caller may still use it.
    fn alive(&mut self, id: FlowId) -> Option<&mut Flow> {
        self.table.find(id).filter(|flow| flow.state != State::Draining)
    }

    /// There is work that the kernel will not tell of again.
    fn pending(&self) -> bool {
        !self.ready.is_empty()
            || (self.accept_paused_until.is_none() && self.listeners.iter().any(|listener| listener.readable))
    }
}

impl Transport for Sockets {
    fn poll(&mut self, now: Instant, events: &mut Vec<FlowEvent>) {
        self.now = now;
        self.take_readiness();
        self.serve_ready(events);
        self.accept(events);
        self.end_draining();
    }

    fn connect(&mut self, now: Instant, local: IpAddr, remote: SocketAddr) -> Result<FlowId, ConnectError> {
        self.now = now;
        if self.table.full() {
            return Err(ConnectError::TableFull);
        }
        if local.is_ipv4() != remote.is_ipv4() {
            return Err(ConnectError::NoRoute);
        }
        let socket = Socket::new(Domain::for_address(remote), Type::STREAM.nonblocking(), Some(Protocol::TCP))
            .map_err(|_| ConnectError::TableFull)?;
        // A reply in a delayed segment costs the peer its delayed acknowledgement; neither option decides whether
        // the connection works, so a refusal does not matter.
        let _ = socket.set_tcp_nodelay(true);
        let _ = socket.set_keepalive(true);
        if !local.is_unspecified() {
            socket.bind(&SocketAddr::new(local, 0).into()).map_err(|error| match error.kind() {
                ErrorKind::AddrInUse => ConnectError::PortsExhausted,
                _ => ConnectError::NoRoute,
            })?;
        }
        let mut failure = None;
        if let Err(error) = socket.connect(&remote.into()) {
            match error.kind() {
                ErrorKind::AddrNotAvailable => return Err(ConnectError::PortsExhausted),
                ErrorKind::HostUnreachable
                | ErrorKind::NetworkUnreachable
                | ErrorKind::NetworkDown
                | ErrorKind::PermissionDenied
                | ErrorKind::InvalidInput => return Err(ConnectError::NoRoute),
                ErrorKind::WouldBlock | ErrorKind::Interrupted => {}
                _ if error.raw_os_error() == Some(libc::EINPROGRESS) => {}
                _ => failure = Some(end_of(&error)),
            }
        }
        let mut flow = Flow::new(TcpStream::from_std(socket.into()), State::Connecting, None);
        flow.failure = failure;
        let id = self.insert(flow).map_err(|_| ConnectError::TableFull)?;
        if let Some(flow) = self.table.find(id).filter(|flow| flow.failure.is_some()) {
            enqueue(&mut self.ready, id, flow);
        }
        Ok(id)
    }

    fn received(&mut self, flow: FlowId) -> Received<'_> {
        match self.table.find(flow).filter(|flow| flow.state != State::Draining) {
            None => Received::default(),
            Some(flow) => Received {
                full: flow.received.full(&self.buffers),
                finished: flow.finished,
                more: false,
                bytes: flow.received.bytes(),
            },
        }
    }

    fn consume(&mut self, id: FlowId, count: usize) {
        let Some(flow) = self.table.find(id).filter(|flow| flow.state != State::Draining) else { return };
        flow.received.consume(count, &mut self.buffers);
        if flow.wants_read() {
            enqueue(&mut self.ready, id, flow);
        }
    }

    fn send(&mut self, id: FlowId, bytes: &[u8]) -> usize {
        let Some(flow) = self.table.find(id).filter(|flow| matches!(flow.state, State::Open { .. })) else {
            return 0;
        };
        let mut taken = 0;
        // To the end or to `WouldBlock`: only the latter makes the kernel tell when there is room.
        while taken < bytes.len() && flow.failure.is_none() {
            match flow.stream.write(&bytes[taken..]) {
                Ok(count) => {
                    self.counters.frames_sent += 1;
                    self.counters.bytes_sent += count as u64;
                    taken += count;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    flow.state = State::Open { starved: true, room: false };
                    break;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => {
                    flow.failure = Some(end_of(&error));
                    enqueue(&mut self.ready, id, flow);
                }
            }
        }
        taken
    }

    fn path(&mut self, id: FlowId) -> Option<PathFacts> {
        let info = tcp_info(self.alive(id)?.stream.as_fd())?;
        Some(PathFacts {
            round_trip_us: Some(u64::from(info.tcpi_rtt)).filter(|time| *time > 0),
            retransmissions: u64::from(info.tcpi_total_retrans),
        })
    }

    fn close(&mut self, id: FlowId) {
        let Some(flow) = self.table.find(id).filter(|flow| flow.state != State::Draining) else { return };
        // With the peer's end read, nothing unread is left for which the kernel would send a reset.
        let over = flow.state == State::Connecting || flow.failure.is_some() || flow.finished;
        if over || flow.stream.shutdown(Shutdown::Write).is_err() {
            self.remove(id);
            return;
        }
        flow.state = State::Draining;
        flow.received.clear(&mut self.buffers);
        // The kernel may not have told yet of what has arrived.
        flow.readable = true;
        enqueue(&mut self.ready, id, flow);
        if self.draining.len() > 2 * self.table.count() + READY_BURST_MAX {
            // Entries of flows that have ended meanwhile must not outnumber the others.
            let table = &mut self.table;
            self.draining.retain(|(_, id)| table.find(*id).is_some());
        }
        self.draining.push_back((self.now + LINGER_DURATION, id));
    }

    fn abort(&mut self, id: FlowId) {
        if self.alive(id).is_some()
            && let Some(flow) = self.remove(id)
        {
            reset(&flow.stream);
        }
    }

    fn flush(&mut self, _now: Instant) {
        // What was sent is with the kernel already.
    }

    fn next_deadline(&self) -> Option<Instant> {
        if self.pending() {
            return Some(self.now);
        }
        let draining = self.draining.front().map(|(deadline, _)| *deadline);
        [draining, self.accept_paused_until].into_iter().flatten().min()
    }

    fn wait(&mut self, timeout: Duration, wakeups: &[BorrowedFd<'_>]) {
        if self.pending() {
            return;
        }
        let mut descriptors = arrayvec::ArrayVec::<BorrowedFd<'_>, 64>::new();
        descriptors.push(self.poll.registry().as_fd());
        for wakeup in wakeups {
            if descriptors.try_push(*wakeup).is_err() {
                break;
            }
        }
        wait_readable(&descriptors, timeout);
    }

    fn stop_listening(&mut self) {
        self.listeners.clear();
        self.accept_paused_until = None;
    }

    fn counters(&self) -> TransportCounters {
        TransportCounters { open: self.table.count() as u64, ..self.counters }
    }
}

fn enqueue(ready: &mut VecDeque<FlowId>, id: FlowId, flow: &mut Flow) {
    if !flow.queued {
        flow.queued = true;
        ready.push_back(id);
    }
}

/// Makes the kernel send a reset instead of an orderly end when the socket is dropped.
fn reset(stream: &TcpStream) {
    // It fails only on a connection that is gone already.
    let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
}

const _: () = assert!(usize::BITS == 64, "a token holds an index, a generation and a mark");

fn token_of(id: FlowId) -> Token {
    Token((id.generation as usize) << 32 | id.index as usize)
}

fn flow_of(token: usize) -> FlowId {
    FlowId { index: token as u32, generation: (token >> 32) as u32 }
}

/// No descriptor, or no memory for one, is left: a state that passes, and that asking again does not end.
fn exhausted(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM))
}

fn end_of(error: &io::Error) -> FlowEnd {
    match error.kind() {
        ErrorKind::ConnectionRefused => FlowEnd::Refused,
        ErrorKind::TimedOut => FlowEnd::TimedOut,
        ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable | ErrorKind::NetworkDown => FlowEnd::Unreachable,
        // A packet filter of this box forbids it.
        ErrorKind::PermissionDenied => FlowEnd::Unreachable,
        _ => FlowEnd::Reset,
    }
}
