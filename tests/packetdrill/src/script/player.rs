//! Plays a script over sockets.

use super::Failure;
use super::call::Descriptors;
use super::packet::{ACK, Packet, Route, SYN, TcpOption, unreachable};
use super::reader::{Action, Event, Script, When};
use crate::sockets::Sockets;
use crate::world::LOCAL;
use libc::c_int;
use rohrpost::env::Instant;
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Duration;

/// The other end, as packetdrill has it.
pub(super) const REMOTE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
/// Where the stack listens, and where it connects to.
pub(super) const LOCAL_PORT: u16 = 8080;
pub(super) const REMOTE_PORT: u16 = 8080;
/// The port of the other end that connects.
const CLIENT_PORT: u16 = 40_000;

/// How much earlier or later than it should a packet may leave: a tick of the timers.
pub const TOLERANCE: Duration = Duration::from_millis(1);

/// Plays a script to its end, or to the first thing that is not as it says.
pub fn play(script: &Script) -> Result<(), Failure> {
    let mut player = Player {
        sockets: Sockets::new(&script.flags, descriptor),
        began: Instant::ZERO,
        descriptors: Descriptors::new(),
        connection: None,
        initial: 0,
        clock: BTreeMap::new(),
    };
    player.began = player.sockets.now();
    for event in &script.events {
        player.event(event).map_err(|reason| Failure { line: event.line, reason })?;
    }
    let line = script.events.last().map_or(1, |event| event.line);
    let now = player.sockets.now();
    match player.leaving(now).map_err(|reason| Failure { line, reason })? {
        None => Ok(()),
        Some((_, packet)) => {
            Err(Failure { line, reason: format!("after the end of the script the stack sends\n    {packet}") })
        }
    }
}

fn descriptor() -> c_int {
    static NEXT: AtomicI32 = AtomicI32::new(1000);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

struct Player {
    sockets: Sockets,
    began: Instant,
    descriptors: Descriptors,
    /// From the stack to the other end, once it has begun.
    connection: Option<Route>,
    /// The stack's initial sequence number, less what the script calls it.
    initial: u32,
    /// The stack's timestamps by those in the script.
    clock: BTreeMap<u32, u32>,
}

impl Player {
    fn event(&mut self, event: &Event) -> Result<(), String> {
        let at = match event.at {
            When::At(at) => self.began + at,
            When::After(pause) => self.sockets.now() + pause,
        };
        if let Action::Leaves(packet) = &event.action {
            return self.leaves(packet, at);
        }
        if at < self.sockets.now() {
            return Err(format!("it is {:?} too late for this", self.sockets.now().since(at)));
        }
        self.sockets.advance(at);
        match &event.action {
            Action::Call(call) => call.make(&mut self.sockets, &mut self.descriptors)?,
            Action::Arrives(packet) => self.arrives(packet),
            Action::Unreachable(error) => {
                let sequence = error.sequence.wrapping_add(self.initial);
                let quoted = Packet { sequence, length: error.length, flags: ACK, ..Packet::default() };
                let quoted = quoted.write(self.connection.ok_or("nothing was sent that could be quoted")?);
                self.sockets.deliver(&unreachable(&quoted, error.code, error.mtu));
            }
            Action::Leaves(_) => {}
        }
        Ok(())
    }

    /// A packet for the stack, with the numbers that it knows.
    fn arrives(&mut self, packet: &Packet) {
        let begins = Route { source: (LOCAL, LOCAL_PORT), destination: (REMOTE, CLIENT_PORT) };
        let route = self.connection.get_or_insert(begins).back();
        let mut packet = packet.clone();
        if packet.flags & ACK != 0 {
            packet.acknowledgement = packet.acknowledgement.wrapping_add(self.initial);
        }
        for option in packet.options.iter_mut().flatten() {
            match option {
                TcpOption::Sack(blocks) => {
                    for (begin, end) in blocks {
                        (*begin, *end) = (begin.wrapping_add(self.initial), end.wrapping_add(self.initial));
                    }
                }
                TcpOption::Timestamps(_, echo) => *echo = self.clock.get(echo).copied().unwrap_or(*echo),
                _ => {}
            }
        }
        self.sockets.deliver(&packet.write(route));
    }

    /// The next packet that leaves until then, with the numbers of the script but for its timestamp.
    fn leaving(&mut self, until: Instant) -> Result<Option<(Instant, Packet)>, String> {
        let Some((at, bytes)) = self.sockets.next_packet_until(until) else { return Ok(None) };
        let (route, mut packet) = Packet::read(&bytes)?;
        if *self.connection.get_or_insert(route) != route {
            return Err(format!("the stack sends to a stranger: {route:?}"));
        }
        if packet.has(SYN) {
            self.initial = packet.sequence;
        }
        packet.sequence = packet.sequence.wrapping_sub(self.initial);
        Ok(Some((at, packet)))
    }

    /// The stack must have sent this, or send it, then.
    fn leaves(&mut self, expected: &Packet, at: Instant) -> Result<(), String> {
        let Some((sent_at, actual)) = self.leaving(at + TOLERANCE)? else {
            return Err(format!("the stack must send this, and sends nothing\n    {expected}"));
        };
        let options = expected.options.as_ref().or(actual.options.as_ref());
        let wanted = Packet {
            window: expected.window.or(actual.window),
            ecn: expected.ecn.or(actual.ecn),
            options: options.map(|options| self.with_clock(options, &actual)),
            ..expected.clone()
        };
        if wanted != actual {
            return Err(format!("the stack must send the first, and sends the second\n    {expected}\n    {actual}"));
        }
        let difference = if sent_at > at { sent_at.since(at) } else { at.since(sent_at) };
        if difference > TOLERANCE {
            let (at, sent_at) = (at.since(self.began), sent_at.since(self.began));
            return Err(format!("the stack must send this at {at:?}, and sends it at {sent_at:?}\n    {expected}"));
        }
        Ok(())
    }

    /// Whatever the stack's clock says is right, and is known by the script's number from now on.
    fn with_clock(&mut self, expected: &[TcpOption], actual: &Packet) -> Vec<TcpOption> {
        let clock = actual.options.iter().flatten().find_map(|option| match option {
            TcpOption::Timestamps(value, _) => Some(*value),
            _ => None,
        });
        let mut options = expected.to_vec();
        for option in &mut options {
            if let (TcpOption::Timestamps(value, _), Some(clock)) = (option, clock) {
                self.clock.insert(*value, clock);
                *value = clock;
            }
        }
        options
    }
}
