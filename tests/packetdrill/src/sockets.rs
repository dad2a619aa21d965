//! Sockets: what a system call asks for, as a wish to the stack.
//!
//! In: calls with descriptors, addresses and bytes. Out: their results, with the numbers of errno. No call waits: what
//! another system would wait for is EAGAIN or EINPROGRESS here, as with O_NONBLOCK.
//!
//! The stack decides at its start where it listens, so it starts with the first call or packet that needs it; what comes
//! before (bind, SO_RCVBUF) decides what it is like. It knows no half-closed flow that is still read, so that `shutdown`
//! of one direction is EOPNOTSUPP.

use crate::world::{Choices, LOCAL, World};
use libc::c_int;
use rohrpost::env::Instant;
use rohrpost::flow::{FlowEnd, FlowEvent, FlowId, Transport};
use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// The number of an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Errno(pub c_int);

/// How long packetdrill waits for a packet at most.
const PATIENCE: Duration = Duration::from_secs(300);

#[derive(Debug)]
enum Socket {
    New { local: Option<SocketAddr> },
    Listening { local: SocketAddr, ready: VecDeque<(Flow, SocketAddr)> },
    Flow(Flow),
}

#[derive(Debug)]
struct Flow {
    id: FlowId,
    connected: bool,
    end: Option<FlowEnd>,
    /// SO_LINGER with no time: close resets.
    abrupt: bool,
}

impl Flow {
    fn new(id: FlowId, connected: bool) -> Flow {
        Flow { id, connected, end: None, abrupt: false }
    }
}

/// All sockets of a process, and what is below them.
pub struct Sockets {
    now: Instant,
    choices: Choices,
    world: Option<World>,
    table: BTreeMap<c_int, Socket>,
    name: fn() -> c_int,
}

impl Sockets {
    /// No sockets yet. `flags` are what `--so_flags` says: `cookies` for a stack that answers every SYN with a cookie.
    /// `name` gives a descriptor that no other socket has.
    pub fn new(flags: &str, name: fn() -> c_int) -> Sockets {
        let mut choices = Choices::default();
        if flags.split(',').any(|flag| flag == "cookies") {
            choices.half_open_max = 0;
        }
        Sockets { now: Instant::from_nanos(1_000_000_000_000), choices, world: None, table: BTreeMap::new(), name }
    }

    fn world(&mut self) -> &mut World {
        self.world.get_or_insert_with(|| World::new(&self.choices, self.now))
    }

    fn socket(&mut self, fd: c_int) -> Result<&mut Socket, Errno> {
        self.table.get_mut(&fd).ok_or(Errno(libc::EBADF))
    }

    fn flow(&mut self, fd: c_int) -> Result<&mut Flow, Errno> {
        match self.socket(fd)? {
            Socket::Flow(flow) => Ok(flow),
            Socket::New { .. } | Socket::Listening { .. } => Err(Errno(libc::ENOTCONN)),
        }
    }

    /// The flow of a socket that content can go over.
    fn connected(&mut self, fd: c_int) -> Result<FlowId, Errno> {
        let flow = self.flow(fd)?;
        match (flow.end.is_some(), flow.connected) {
            (true, _) => Err(take_error(flow)),
            (false, false) => Err(Errno(libc::EAGAIN)),
            (false, true) => Ok(flow.id),
        }
    }

    fn keep(&mut self, socket: Socket) -> c_int {
        let fd = (self.name)();
        self.table.insert(fd, socket);
        fd
    }

    /// What time it is.
    pub fn now(&self) -> Instant {
        self.world.as_ref().map_or(self.now, World::now)
    }

    /// Time passes.
    pub fn advance(&mut self, to: Instant) {
        match &mut self.world {
            Some(world) => world.advance(to),
            None => self.now = to,
        }
        self.heed();
    }

    /// A packet arrives.
    pub fn deliver(&mut self, packet: &[u8]) {
        self.world().deliver(packet);
        self.heed();
    }

    /// The next packet that leaves, and when it does. `None`: there is none for minutes.
    pub fn next_packet(&mut self) -> Option<(Instant, Vec<u8>)> {
        let until = self.now() + PATIENCE;
        self.next_packet_until(until)
    }

    /// The next packet that leaves until then.
    pub fn next_packet_until(&mut self, until: Instant) -> Option<(Instant, Vec<u8>)> {
        let packet = self.world.as_mut()?.next_packet(until);
        self.heed();
        packet
    }

    /// Sees to what a call has set off.
    fn settle(&mut self) {
        if let Some(world) = &mut self.world {
            world.settle();
        }
        self.heed();
    }

    /// Notes what the stack has told.
    fn heed(&mut self) {
        let Some(world) = &mut self.world else { return };
        for event in world.events.drain(..) {
            match event {
                FlowEvent::Accepted { flow, local, remote, .. } => {
                    let listens = |socket: &&mut Socket| match socket {
                        Socket::Listening { local: at, .. } => at.port() == local.port(),
                        _ => false,
                    };
                    if let Some(Socket::Listening { ready, .. }) = self.table.values_mut().find(listens) {
                        ready.push_back((Flow::new(flow, true), remote));
                    }
                }
                FlowEvent::Connected { flow } => {
                    if let Some(own) = find(&mut self.table, flow) {
                        own.connected = true;
                    }
                }
                FlowEvent::Ended { flow, end } => {
                    if let Some(own) = find(&mut self.table, flow) {
                        own.end = Some(end);
                    }
                }
                FlowEvent::Readable { .. } | FlowEvent::Writable { .. } => {}
            }
        }
    }

    /// socket(2), for TCP over IPv4.
    pub fn open(&mut self, domain: c_int, kind: c_int) -> Result<c_int, Errno> {
        match (domain, kind & !(libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC)) {
            (libc::AF_INET, libc::SOCK_STREAM) => Ok(self.keep(Socket::New { local: None })),
            (libc::AF_INET, _) => Err(Errno(libc::EPROTONOSUPPORT)),
            _ => Err(Errno(libc::EAFNOSUPPORT)),
        }
    }

    /// bind(2), to the stack's own address or to any.
    pub fn bind(&mut self, fd: c_int, at: SocketAddr) -> Result<(), Errno> {
        let Socket::New { local } = self.socket(fd)? else { return Err(Errno(libc::EINVAL)) };
        if at.ip() != IpAddr::V4(LOCAL) && !at.ip().is_unspecified() {
            return Err(Errno(libc::EADDRNOTAVAIL));
        }
        *local = Some(at);
        Ok(())
    }

    /// listen(2), before anything else has happened.
    pub fn listen(&mut self, fd: c_int) -> Result<(), Errno> {
        let started = self.world.is_some();
        let socket = self.socket(fd)?;
        let Socket::New { local: Some(local) } = *socket else { return Err(Errno(libc::EINVAL)) };
        if started {
            return Err(Errno(libc::EOPNOTSUPP));
        }
        *socket = Socket::Listening { local, ready: VecDeque::new() };
        self.choices.listeners.push(local);
        Ok(())
    }

    /// accept(2): the new socket, and who is at its other end.
    pub fn accept(&mut self, fd: c_int) -> Result<(c_int, SocketAddr), Errno> {
        let Socket::Listening { ready, .. } = self.socket(fd)? else { return Err(Errno(libc::EINVAL)) };
        let (flow, remote) = ready.pop_front().ok_or(Errno(libc::EAGAIN))?;
        Ok((self.keep(Socket::Flow(flow)), remote))
    }

    /// connect(2). It is under way afterwards, whatever comes of it.
    pub fn connect(&mut self, fd: c_int, to: SocketAddr) -> Result<(), Errno> {
        match self.socket(fd)? {
            Socket::New { .. } => {}
            Socket::Listening { .. } => return Err(Errno(libc::EISCONN)),
            Socket::Flow(flow) if flow.end.is_some() => return Err(take_error(flow)),
            Socket::Flow(flow) => return Err(Errno(if flow.connected { libc::EISCONN } else { libc::EALREADY })),
        }
        let world = self.world();
        let now = world.now();
        let id = world.stack.connect(now, IpAddr::V4(LOCAL), to).map_err(|_| Errno(libc::ENETUNREACH))?;
        *self.socket(fd)? = Socket::Flow(Flow::new(id, false));
        self.settle();
        Err(Errno(libc::EINPROGRESS))
    }

    /// read(2).
    pub fn read(&mut self, fd: c_int, into: &mut [u8]) -> Result<usize, Errno> {
        let id = self.connected(fd)?;
        let stack = &mut self.world().stack;
        let (mut count, mut finished) = (0, false);
        while count < into.len() && !finished {
            let received = stack.received(id);
            let taken = received.bytes.len().min(into.len() - count);
            into[count..count + taken].copy_from_slice(&received.bytes[..taken]);
            finished = received.finished && !received.more && taken == received.bytes.len();
            if taken == 0 {
                break;
            }
            count += taken;
            stack.consume(id, taken);
        }
        self.settle();
        if count > 0 || finished { Ok(count) } else { Err(Errno(libc::EAGAIN)) }
    }

    /// write(2).
    pub fn write(&mut self, fd: c_int, bytes: &[u8]) -> Result<usize, Errno> {
        let id = self.connected(fd)?;
        let count = self.world().stack.send(id, bytes);
        self.settle();
        if count > 0 || bytes.is_empty() { Ok(count) } else { Err(Errno(libc::EAGAIN)) }
    }

    /// close(2).
    pub fn close(&mut self, fd: c_int) -> Result<(), Errno> {
        let socket = self.table.remove(&fd).ok_or(Errno(libc::EBADF))?;
        if let (Socket::Flow(flow), Some(world)) = (socket, &mut self.world) {
            if flow.abrupt {
                world.stack.abort(flow.id);
            } else {
                world.stack.close(flow.id);
            }
        }
        self.settle();
        Ok(())
    }

    /// setsockopt(2): buffers before the stack starts, SO_LINGER, and what makes no difference here.
    pub fn set_option(&mut self, fd: c_int, level: c_int, name: c_int, values: &[c_int]) -> Result<(), Errno> {
        let value = *values.first().ok_or(Errno(libc::EINVAL))?;
        let started = self.world.is_some();
        let socket = self.socket(fd)?;
        match (level, name) {
            (libc::SOL_SOCKET, libc::SO_REUSEADDR) => Ok(()),
            // Nothing is ever held back for a larger segment, and acknowledgements are the stack's own affair.
            (libc::IPPROTO_TCP, libc::TCP_NODELAY) => Ok(()),
            (libc::SOL_SOCKET, libc::SO_LINGER) => match socket {
                Socket::Flow(flow) => {
                    flow.abrupt = value != 0 && values.get(1) == Some(&0);
                    Ok(())
                }
                _ => Err(Errno(libc::EOPNOTSUPP)),
            },
            (libc::SOL_SOCKET, libc::SO_RCVBUF | libc::SO_SNDBUF) if started || value <= 0 => Err(Errno(libc::EINVAL)),
            (libc::SOL_SOCKET, libc::SO_RCVBUF) => {
                self.choices.receive_buffer = value as usize;
                Ok(())
            }
            (libc::SOL_SOCKET, libc::SO_SNDBUF) => {
                self.choices.send_buffer = value as usize;
                Ok(())
            }
            _ => Err(Errno(libc::ENOPROTOOPT)),
        }
    }

    /// getsockopt(2): SO_ERROR, and the buffers.
    pub fn option(&mut self, fd: c_int, level: c_int, name: c_int) -> Result<c_int, Errno> {
        let socket = self.socket(fd)?;
        match (level, name) {
            (libc::SOL_SOCKET, libc::SO_ERROR) => Ok(match socket {
                Socket::Flow(flow) => flow.end.take().map_or(0, |end| number(end).0),
                _ => 0,
            }),
            (libc::SOL_SOCKET, libc::SO_RCVBUF) => Ok(self.choices.receive_buffer as c_int),
            (libc::SOL_SOCKET, libc::SO_SNDBUF) => Ok(self.choices.send_buffer as c_int),
            _ => Err(Errno(libc::ENOPROTOOPT)),
        }
    }

    /// fcntl(2): the flags are always those of a socket that does not wait.
    pub fn control(&mut self, fd: c_int, command: c_int) -> Result<c_int, Errno> {
        self.socket(fd)?;
        match command {
            libc::F_GETFL => Ok(libc::O_RDWR | libc::O_NONBLOCK),
            libc::F_SETFL => Ok(0),
            _ => Err(Errno(libc::EINVAL)),
        }
    }

    /// shutdown(2): both directions at once, or none.
    pub fn shutdown(&mut self, fd: c_int, how: c_int) -> Result<(), Errno> {
        let id = self.flow(fd)?.id;
        if how != libc::SHUT_RDWR {
            return Err(Errno(libc::EOPNOTSUPP));
        }
        self.world().stack.close(id);
        self.settle();
        Ok(())
    }

    /// What poll(2) says of a socket.
    pub fn ready(&mut self, fd: c_int) -> i16 {
        let id = match self.socket(fd) {
            Err(_) => return libc::POLLNVAL,
            Ok(Socket::New { .. }) => return libc::POLLOUT | libc::POLLHUP,
            Ok(Socket::Listening { ready, .. }) => return if ready.is_empty() { 0 } else { libc::POLLIN },
            Ok(Socket::Flow(flow)) if flow.end.is_some() => return libc::POLLERR | libc::POLLHUP | libc::POLLIN,
            Ok(Socket::Flow(flow)) if !flow.connected => return 0,
            Ok(Socket::Flow(flow)) => flow.id,
        };
        let received = self.world().stack.received(id);
        let readable = !received.bytes.is_empty() || received.finished;
        if readable { libc::POLLIN | libc::POLLOUT } else { libc::POLLOUT }
    }
}

fn find(table: &mut BTreeMap<c_int, Socket>, id: FlowId) -> Option<&mut Flow> {
    table.values_mut().find_map(|socket| match socket {
        Socket::Flow(flow) if flow.id == id => Some(flow),
        Socket::Listening { ready, .. } => ready.iter_mut().map(|(flow, _)| flow).find(|flow| flow.id == id),
        _ => None,
    })
}

fn number(end: FlowEnd) -> Errno {
    Errno(match end {
        FlowEnd::Refused => libc::ECONNREFUSED,
        FlowEnd::Reset => libc::ECONNRESET,
        FlowEnd::TimedOut => libc::ETIMEDOUT,
        FlowEnd::Unreachable => libc::EHOSTUNREACH,
    })
}

/// Why a flow has ended.
fn take_error(flow: &mut Flow) -> Errno {
    flow.end.map_or(Errno(libc::ENOTCONN), number)
}
