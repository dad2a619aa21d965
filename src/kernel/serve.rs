//! What one poll does: the kernel's word, the flows that have something to do, new clients, and those that linger.

use super::receive::ReadOutcome;
use super::{Flow, LISTENER_TOKEN, OPEN, Sockets, State, end_of, enqueue, exhausted, flow_of, reset};
use crate::flow::Client;
use crate::flow::{FlowEnd, FlowEvent, FlowId};
use crate::limits::{ACCEPT_BURST_MAX, ACCEPT_PAUSE, READY_BURST_MAX};
use mio::net::TcpStream;
use std::io::{ErrorKind, Read};
use std::net::SocketAddr;
use std::time::Duration;

impl Sockets {
    /// Takes what the kernel has to tell, and puts the flows it tells of into the line.
    pub(super) fn take_readiness(&mut self) {
        if let Err(error) = self.poll.poll(&mut self.readiness, Some(Duration::ZERO)) {
            // Only a signal ends this call early; anything else would be a broken epoll descriptor of our own.
            assert_eq!(error.kind(), ErrorKind::Interrupted, "epoll_wait failed: {error}");
            return;
        }
        for event in &self.readiness {
            let token = event.token().0;
            if token & LISTENER_TOKEN != 0 {
                if let Some(listener) = self.listeners.get_mut(token & !LISTENER_TOKEN) {
                    listener.readable = true;
                }
                continue;
            }
            let id = flow_of(token);
            let Some(flow) = self.table.find(id) else { continue };
            if event.is_readable() || event.is_read_closed() || event.is_error() {
                flow.readable = true;
            }
            if event.is_read_closed() || event.is_error() {
                flow.hung_up = true;
            }
            if let State::Open { starved: true, room } = &mut flow.state {
                *room |= event.is_writable();
            }
            // An error is taken here, since a flow whose buffer is full would not come to read it.
            if event.is_error() && flow.state != State::Connecting && flow.failure.is_none() {
                flow.failure = flow.stream.take_error().ok().flatten().map(|error| end_of(&error));
            }
            enqueue(&mut self.ready, id, flow);
        }
    }

    pub(super) fn accept(&mut self, events: &mut Vec<FlowEvent>) {
        if self.accept_paused_until.is_some_and(|until| self.now < until) {
            return;
        }
        self.accept_paused_until = None;
        for index in 0..self.listeners.len() {
            for _ in 0..ACCEPT_BURST_MAX {
                let listener = &mut self.listeners[index];
                if !listener.readable {
                    break;
                }
                match listener.socket.accept() {
                    Ok((stream, remote)) => self.admit(index, stream, remote, events),
                    Err(error) if error.kind() == ErrorKind::WouldBlock => listener.readable = false,
                    Err(error) if exhausted(&error) => {
                        self.accept_paused_until = Some(self.now + ACCEPT_PAUSE);
                        return;
                    }
                    // A connection that was gone before we took it (accept(2) lists many errors of that kind).
                    Err(_) => {}
                }
            }
        }
    }

    fn admit(&mut self, listener: usize, stream: TcpStream, remote: SocketAddr, events: &mut Vec<FlowEvent>) {
        let client = Client::of(remote.ip());
        if self.table.full() || !self.clients.take(client) {
            self.counters.refused += 1;
            reset(&stream);
            return;
        }
        let address = self.listeners[listener].address;
        let local = if address.ip().is_unspecified() { stream.local_addr().unwrap_or(address) } else { address };
        match self.insert(Flow::new(stream, OPEN, Some(client))) {
            Ok(flow) => {
                self.counters.accepted += 1;
                events.push(FlowEvent::Accepted { flow, listener, local, remote });
            }
            Err(flow) => {
                self.counters.refused += 1;
                self.clients.give_back(client);
                reset(&flow.stream);
            }
        }
    }

    pub(super) fn serve_ready(&mut self, events: &mut Vec<FlowEvent>) {
        // What is put into the line from now on waits for the next poll: so no flow has two events in this one.
        for _ in 0..self.ready.len().min(READY_BURST_MAX) {
            let Some(id) = self.ready.pop_front() else { break };
            let Some(flow) = self.table.find(id) else { continue };
            flow.queued = false;
            let end = match flow.state {
                State::Connecting => self.serve_connecting(id, events),
                State::Open { .. } => self.serve_open(id, events),
                State::Draining => {
                    self.serve_draining(id);
                    None
                }
            };
            if let Some(end) = end {
                self.remove(id);
                events.push(FlowEvent::Ended { flow: id, end });
            }
        }
    }

    fn serve_connecting(&mut self, id: FlowId, events: &mut Vec<FlowEvent>) -> Option<FlowEnd> {
        let flow = self.table.find(id)?;
        if flow.failure.is_some() {
            return flow.failure;
        }
        match flow.stream.take_error() {
            Ok(Some(error)) | Err(error) => return Some(end_of(&error)),
            Ok(None) => {}
        }
        match flow.stream.peer_addr() {
            Ok(_) => {}
            // Some systems tell of a new socket that it is writable, before the handshake has begun.
            Err(error) if error.kind() == ErrorKind::NotConnected => return None,
            Err(error) => return Some(end_of(&error)),
        }
        flow.state = OPEN;
        self.counters.connected += 1;
        events.push(FlowEvent::Connected { flow: id });
        if flow.wants_read() {
            enqueue(&mut self.ready, id, flow);
        }
        None
    }

    fn serve_open(&mut self, id: FlowId, events: &mut Vec<FlowEvent>) -> Option<FlowEnd> {
        let flow = self.table.find(id)?;
        if let Some(end) = flow.failure {
            // What came before the end is read before it: the consent to a message may be the last of it.
            let has_room = !flow.received.full(&self.buffers);
            if has_room
                && let Ok(ReadOutcome::Bytes { count, .. }) = flow.received.read(&mut flow.stream, &mut self.buffers)
            {
                self.counters.frames_received += 1;
                self.counters.bytes_received += count as u64;
                enqueue(&mut self.ready, id, flow);
                events.push(FlowEvent::Readable { flow: id });
                return None;
            }
            return Some(end);
        }
        if flow.state == (State::Open { starved: true, room: true }) {
            flow.state = OPEN;
            events.push(FlowEvent::Writable { flow: id });
        }
        if !flow.wants_read() || flow.received.full(&self.buffers) {
            return None;
        }
        match flow.received.read(&mut flow.stream, &mut self.buffers) {
            Ok(ReadOutcome::Bytes { count, all }) => {
                self.counters.frames_received += 1;
                self.counters.bytes_received += count as u64;
                // Less than there was room for means that the kernel has no more, and will tell when it has: unless
                // it told already that the end follows, which it does not repeat.
                flow.readable = !all || flow.hung_up;
                if flow.wants_read() && !flow.received.full(&self.buffers) {
                    enqueue(&mut self.ready, id, flow);
                }
                events.push(FlowEvent::Readable { flow: id });
                None
            }
            Ok(ReadOutcome::Finished) => {
                flow.finished = true;
                events.push(FlowEvent::Readable { flow: id });
                None
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                flow.readable = false;
                None
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {
                enqueue(&mut self.ready, id, flow);
                None
            }
            Err(error) => Some(end_of(&error)),
        }
    }

    fn serve_draining(&mut self, id: FlowId) {
        let Some(flow) = self.table.find(id) else { return };
        if flow.failure.is_none() && !flow.readable {
            return;
        }
        match flow.stream.read(&mut self.scrap) {
            Ok(count) if count > 0 => enqueue(&mut self.ready, id, flow),
            Err(error) if error.kind() == ErrorKind::WouldBlock => flow.readable = false,
            Err(error) if error.kind() == ErrorKind::Interrupted => enqueue(&mut self.ready, id, flow),
            Ok(_) | Err(_) => drop(self.remove(id)),
        }
    }

    pub(super) fn end_draining(&mut self) {
        while let Some((deadline, id)) = self.draining.front().copied() {
            if deadline > self.now && self.table.find(id).is_some() {
                break;
            }
            self.draining.pop_front();
            self.remove(id);
        }
    }
}
