//! Hosts outside: connections that are led by hand, and a next hop that keeps what it takes.

use crate::env::Instant;
use crate::flow::{FlowEvent, FlowId, Transport};
use crate::port::sim::SimPort;
use crate::tcp::Stack;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, SocketAddr};

/// One connection.
#[derive(Debug, Default)]
struct Connection {
    came: Vec<u8>,
    out: VecDeque<u8>,
    /// Nothing comes any more.
    over: bool,
}

/// A host with a TCP stack.
pub(super) struct Host {
    stack: Stack<SimPort>,
    connections: BTreeMap<FlowId, Connection>,
    /// Connections that others have opened, and those that something has come of, since they were asked for.
    accepted: Vec<FlowId>,
    touched: BTreeSet<FlowId>,
    /// Connections with something to say.
    talking: BTreeSet<FlowId>,
    events: Vec<FlowEvent>,
}

impl Host {
    pub(super) fn new(stack: Stack<SimPort>) -> Host {
        Host {
            stack,
            connections: BTreeMap::new(),
            accepted: Vec::new(),
            touched: BTreeSet::new(),
            talking: BTreeSet::new(),
            events: Vec::new(),
        }
    }

    pub(super) fn connect(&mut self, now: Instant, from: IpAddr, to: SocketAddr) -> Option<FlowId> {
        let flow = self.stack.connect(now, from, to).ok()?;
        self.connections.insert(flow, Connection::default());
        self.stack.flush(now);
        Some(flow)
    }

    /// The next line that came, without its end.
    pub(super) fn line(&mut self, flow: FlowId) -> Option<String> {
        let came = &mut self.connections.get_mut(&flow)?.came;
        let end = memchr::memmem::find(came, b"\r\n")?;
        let line = String::from_utf8_lossy(&came[..end]).into_owned();
        came.drain(..end + 2);
        Some(line)
    }

    /// Whether a line has come.
    pub(super) fn has_line(&self, flow: FlowId) -> bool {
        self.connections.get(&flow).is_some_and(|connection| connection.came.contains(&b'\n'))
    }

    pub(super) fn is_over(&self, flow: FlowId) -> bool {
        self.connections.get(&flow).is_none_or(|connection| connection.over)
    }

    pub(super) fn say(&mut self, flow: FlowId, bytes: &[u8]) {
        if let Some(connection) = self.connections.get_mut(&flow) {
            connection.out.extend(bytes);
            self.talking.insert(flow);
        }
    }

    /// Ends a connection after all that was said.
    pub(super) fn close(&mut self, now: Instant, flow: FlowId) {
        self.send(now);
        if self.connections.remove(&flow).is_some_and(|connection| !connection.over) {
            self.stack.close(flow);
        }
        self.stack.flush(now);
    }

    pub(super) fn next(&self, now: Instant) -> Instant {
        if self.stack.port().waiting() { now } else { self.stack.next_deadline().unwrap_or(Instant::FAR) }
    }

    /// Takes in what has come, and sends what there is to say.
    pub(super) fn step(&mut self, now: Instant) {
        if self.next(now) > now {
            return;
        }
        self.stack.poll(now, &mut self.events);
        for event in self.events.drain(..) {
            match event {
                FlowEvent::Accepted { flow, .. } => {
                    self.connections.insert(flow, Connection::default());
                    self.accepted.push(flow);
                }
                FlowEvent::Readable { flow } => {
                    let Some(connection) = self.connections.get_mut(&flow) else { continue };
                    self.touched.insert(flow);
                    loop {
                        let received = self.stack.received(flow);
                        connection.came.extend_from_slice(received.bytes);
                        connection.over |= received.finished && !received.more;
                        let count = received.bytes.len();
                        if count == 0 {
                            break;
                        }
                        self.stack.consume(flow, count);
                    }
                }
                FlowEvent::Ended { flow, .. } => {
                    if let Some(connection) = self.connections.get_mut(&flow) {
                        connection.over = true;
                        connection.out.clear();
                        self.touched.insert(flow);
                    }
                }
                FlowEvent::Connected { .. } | FlowEvent::Writable { .. } => {}
            }
        }
        self.send(now);
    }

    /// Sends what there is room for.
    pub(super) fn send(&mut self, now: Instant) {
        let (connections, stack) = (&mut self.connections, &mut self.stack);
        self.talking.retain(|flow| {
            let Some(connection) = connections.get_mut(flow) else { return false };
            while !connection.out.is_empty() {
                let count = stack.send(*flow, connection.out.as_slices().0);
                connection.out.drain(..count);
                if count == 0 {
                    return true;
                }
            }
            false
        });
        self.stack.flush(now);
    }
}

/// How the next hop behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Manner {
    /// It takes everything.
    Takes,
    /// 421 instead of a greeting.
    Busy,
    /// No answer to the final dot.
    Silent,
}

/// What the next hop knows of one connection.
#[derive(Debug, Default)]
struct Session {
    /// The content so far, once DATA was answered.
    content: Option<Vec<u8>>,
    /// The answer to the final dot, which is owed.
    owed: bool,
}

/// The next hop: an SMTP server that keeps what it takes.
#[derive(Debug, Default)]
pub(super) struct Mailbox {
    sessions: BTreeMap<FlowId, Session>,
    /// How many final dots were not answered.
    owed: usize,
    taken: BTreeMap<u32, Vec<Vec<u8>>>,
}

impl Mailbox {
    pub(super) fn count(&self) -> usize {
        self.taken.values().map(Vec::len).sum()
    }

    /// Every copy of message `number`.
    pub(super) fn copies(&self, number: u32) -> &[Vec<u8>] {
        self.taken.get(&number).map_or(&[], Vec::as_slice)
    }

    /// Keeps a message, by the number in its subject.
    fn take(&mut self, content: Vec<u8>) {
        let at = memchr::memmem::find(&content, b"\r\nSubject: ").expect("its header has come with it") + 11;
        let digits = content[at..].iter().take_while(|byte| byte.is_ascii_digit());
        let number = digits.fold(0, |number, digit| number * 10 + u32::from(digit - b'0'));
        self.taken.entry(number).or_default().push(content);
    }

    /// Answers whatever has come.
    pub(super) fn serve(&mut self, now: Instant, host: &mut Host, manner: Manner) {
        for flow in std::mem::take(&mut host.accepted) {
            self.sessions.insert(flow, Session::default());
            host.say(flow, if manner == Manner::Busy { b"421 4.3.2 busy\r\n" } else { b"220 hop.test ESMTP\r\n" });
            if manner == Manner::Busy {
                self.end(now, host, flow);
            }
        }
        let mut touched = std::mem::take(&mut host.touched);
        if self.owed > 0 && manner != Manner::Silent {
            touched.extend(self.sessions.keys());
        }
        for flow in touched {
            self.answer(now, host, flow, manner);
        }
        host.send(now);
    }

    fn answer(&mut self, now: Instant, host: &mut Host, flow: FlowId, manner: Manner) {
        let Some(mut session) = self.sessions.remove(&flow) else { return };
        if session.owed && manner != Manner::Silent {
            session.owed = false;
            self.owed -= 1;
            self.complete(host, flow, &mut session);
        }
        while !session.owed
            && let Some(line) = host.line(flow)
        {
            match &mut session.content {
                Some(_) if line == "." && manner == Manner::Silent => {
                    session.owed = true;
                    self.owed += 1;
                }
                Some(_) if line == "." => self.complete(host, flow, &mut session),
                Some(content) => {
                    content.extend_from_slice(line.strip_prefix('.').unwrap_or(&line).as_bytes());
                    content.extend_from_slice(b"\r\n");
                }
                None if line == "DATA" => {
                    session.content = Some(Vec::new());
                    host.say(flow, b"354 go on\r\n");
                }
                None if line == "QUIT" => {
                    host.say(flow, b"221 2.0.0 bye\r\n");
                    return host.close(now, flow);
                }
                None => host.say(flow, b"250 2.0.0 fine\r\n"),
            }
        }
        let over = host.is_over(flow);
        self.sessions.insert(flow, session);
        if over {
            self.end(now, host, flow);
        }
    }

    /// Takes the message and says so.
    fn complete(&mut self, host: &mut Host, flow: FlowId, session: &mut Session) {
        if let Some(content) = session.content.take() {
            self.take(content);
        }
        host.say(flow, b"250 2.0.0 taken\r\n");
    }

    fn end(&mut self, now: Instant, host: &mut Host, flow: FlowId) {
        if self.sessions.remove(&flow).is_some_and(|session| session.owed) {
            self.owed -= 1;
        }
        host.close(now, flow);
    }
}
