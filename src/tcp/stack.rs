//! The stack on its port: frames in and out, timers, and the [`Transport`] interface.
//!
//! In: bursts of frames, calls of the sessions, time. Out: events, and frames at each flush. Every frame that the port
//! hands out is released or transmitted here, exactly once.

use super::Settings;
use super::core::{Core, Timer, moment};
use super::device::{Egress, Sent};
use super::neighbour::{next_hop, request_length, write_request};
use super::table::Stage;
use crate::env::{Instant, wait_readable};
use crate::flow::{ConnectError, FlowEnd, FlowEvent, FlowId, Peer, Received, Transport, TransportCounters};
use crate::limits::{
    CLOSE_TIMEOUT, FRAMES_PER_POLL, GATEWAY_REFRESH_INTERVAL, Gauge, NEIGHBOUR_RETRY_DELAY, NEIGHBOUR_TIMEOUT,
};
use crate::port::{BURST_SIZE, Burst, Port};
use smoltcp::iface::PollResult;
use smoltcp::socket::tcp::State;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::BorrowedFd;
use std::time::Duration;

/// The pause after which something that could not go out at once is tried again.
const RETRY_PAUSE: Duration = Duration::from_millis(1);

/// TCP over a port.
pub struct Stack<P: Port> {
    port: P,
    core: Core,
}

impl<P: Port> Stack<P> {
    /// A stack that answers for the addresses of `settings` from now on.
    pub fn new(port: P, settings: Settings, now: Instant) -> Stack<P> {
        let core = Core::new(settings, port.hardware_address(), &port.capabilities(), now);
        Stack { port, core }
    }

    /// The port below.
    pub fn port(&self) -> &P {
        &self.port
    }

    /// The port below.
    pub fn port_mut(&mut self) -> &mut P {
        &mut self.port
    }

    /// How often a flow was looked at since the start: the work that must not grow with the number of flows.
    pub fn visits(&self) -> u64 {
        self.core.visits
    }

    /// Shows how full its tables are.
    pub fn gauge(&self, see: &mut dyn FnMut(Gauge)) {
        self.core.gauge(see);
    }

    fn receive(&mut self) {
        let mut burst = Burst::new();
        for _ in 0..FRAMES_PER_POLL / BURST_SIZE {
            self.port.receive(&mut burst);
            if burst.is_empty() {
                break;
            }
            for frame in burst.drain(..) {
                self.core.take_in(self.port.bytes(&frame), false);
                self.port.release(frame);
                self.send_reply();
            }
        }
    }

    /// Sends what the core has to say about the frame that it has just taken in.
    fn send_reply(&mut self) {
        let Some(reply) = self.core.reply.take() else { return };
        // For want of a frame the reply is lost, as on a wire.
        if let Some(mut frame) = self.port.allocate(reply.len()) {
            self.port.bytes_mut(&mut frame).copy_from_slice(reply);
            self.port.transmit(frame);
        }
    }

    fn run_timers(&mut self) {
        let now = self.core.now;
        while let Some(timer) = self.core.timers.expired(now) {
            match timer {
                Timer::Flow(index) => self.due(index),
                Timer::Hop(hop) => self.ask_again(hop),
                Timer::Gateways => {
                    for place in 0..self.core.settings.addresses.len() {
                        if let Some(gateway) = self.core.settings.addresses[place].gateway {
                            self.ask(gateway);
                        }
                    }
                    self.core.timers.schedule(Timer::Gateways, now + GATEWAY_REFRESH_INTERVAL);
                }
            }
        }
    }

    /// A flow's timer has gone off.
    fn due(&mut self, index: u32) {
        let now = self.core.now;
        let Some(flow) = self.core.table.at(index) else { return };
        if flow.stage.deadline().is_some_and(|deadline| deadline <= now) {
            match flow.stage {
                Stage::HalfOpen { .. } => return self.core.forget(index),
                Stage::Connecting { .. } => {
                    flow.ended.get_or_insert(FlowEnd::TimedOut);
                    return self.core.touch(index);
                }
                Stage::Lingering { .. } => return self.reset(index),
                Stage::Open => {}
            }
        }
        self.serve(index);
    }

    /// Resets a connection and forgets it.
    fn reset(&mut self, index: u32) {
        if let Some(flow) = self.core.table.at(index) {
            flow.socket_mut().abort();
            self.emit(index);
            self.core.forget(index);
        }
    }

    /// Sends what a flow has to send and sets its timer.
    fn serve(&mut self, index: u32) {
        let now = self.core.now;
        self.core.visits += 1;
        let Some(sent) = self.emit(index) else { return };
        let core = &mut self.core;
        let Some(flow) = core.table.at(index) else { return };
        if sent.exhausted {
            core.mark_dirty(index);
        } else if sent.neighbour_missing() {
            let hop = next_hop(&core.settings.addresses, flow.tuple.remote);
            if flow.waiting_since.is_none()
                && let Some(hop) = hop
            {
                flow.waiting_since = Some(now);
                let id = core.table.id(index);
                if core.waiting.add(hop, id) {
                    core.timers.schedule(Timer::Hop(hop), now + NEIGHBOUR_RETRY_DELAY);
                    // smoltcp asks for one neighbour a second; perhaps it was another's turn.
                    if !sent.solicited {
                        self.ask(hop);
                    }
                }
            }
        }
        let core = &mut self.core;
        let Some(flow) = core.table.at(index) else { return };
        let due = core.interface.poll_at(moment(now), &flow.set);
        let due = due.map(|at| Instant::from_nanos(u64::try_from(at.total_micros()).unwrap_or(0).saturating_mul(1000)));
        let lingering = matches!(flow.stage, Stage::Lingering { .. });
        // Nothing left to do but to wait out TIME-WAIT: the last acknowledgement is on its way.
        if lingering && flow.state() == State::TimeWait && due.is_none_or(|at| at > now + Duration::from_secs(1)) {
            return core.rest(index);
        }
        let due = due.map(|at| at.max(now + RETRY_PAUSE));
        match due.into_iter().chain(flow.stage.deadline()).min() {
            Some(at) => core.timers.schedule(Timer::Flow(index), at),
            None => {
                core.timers.cancel(Timer::Flow(index));
            }
        }
    }

    /// Lets a flow send all that its windows allow.
    fn emit(&mut self, index: u32) -> Option<Sent> {
        let core = &mut self.core;
        let flow = core.table.at(index)?;
        let open = flow.state() != State::Closed;
        let sent = loop {
            let mut device = Egress::new(&mut self.port, &core.capabilities, Some(flow.send_next));
            let result = core.interface.poll_egress(moment(core.now), &mut device, &mut flow.set);
            let sent = device.sent;
            if let Some(next_sequence) = sent.next_sequence {
                flow.note_sent(next_sequence);
            }
            if result == PollResult::None {
                break sent;
            }
        };
        if open && flow.state() == State::Closed {
            flow.ended.get_or_insert(FlowEnd::TimedOut);
            core.touch(index);
        }
        Some(sent)
    }

    /// Asks for a next hop's hardware address.
    fn ask(&mut self, hop: IpAddr) {
        if let Some(mut frame) = self.port.allocate(request_length(hop)) {
            let bytes = self.port.bytes_mut(&mut frame);
            write_request(bytes, self.core.hardware_address, &self.core.settings.addresses, hop);
            self.port.transmit(frame);
        }
    }

    /// A next hop has not answered yet.
    fn ask_again(&mut self, hop: IpAddr) {
        let core = &mut self.core;
        let now = core.now;
        let mut waiting = core.waiting.take(hop);
        waiting.retain(|id| {
            if !core.table.holds(*id) {
                return false;
            }
            let Some(flow) = core.table.at(id.index) else { return false };
            let Some(since) = flow.waiting_since else { return false };
            let patient = !matches!(flow.stage, Stage::Connecting { .. }) || now.since(since) < NEIGHBOUR_TIMEOUT;
            if !patient {
                flow.ended.get_or_insert(FlowEnd::Unreachable);
                core.touch(id.index);
            }
            patient
        });
        if waiting.is_empty() {
            return;
        }
        core.waiting.put_back(hop, waiting);
        core.timers.schedule(Timer::Hop(hop), now + NEIGHBOUR_RETRY_DELAY);
        self.ask(hop);
    }
}

impl<P: Port> Transport for Stack<P> {
    fn poll(&mut self, now: Instant, events: &mut Vec<FlowEvent>) {
        self.core.now = now;
        self.receive();
        self.run_timers();
        // Settling may touch a flow again (one that is closed at once), which then is due in this poll as well.
        let mut place = 0;
        while place < self.core.touched.len() {
            let index = self.core.touched[place];
            place += 1;
            if self.core.table.at(index).is_some_and(|flow| flow.touched) {
                self.core.settle(index, events);
            }
        }
        self.core.touched.clear();
    }

    fn connect(&mut self, now: Instant, local: IpAddr, remote: SocketAddr) -> Result<FlowId, ConnectError> {
        self.core.now = now;
        self.core.connect(local, remote)
    }

    fn received(&mut self, flow: FlowId) -> Received<'_> {
        let Some(flow) = self.core.table.named(flow) else { return Received::default() };
        let (full, finished, queued) = (flow.full(), flow.finished(), flow.socket().recv_queue());
        let bytes = flow.socket_mut().peek(usize::MAX).unwrap_or_default();
        Received { bytes, more: bytes.len() < queued, full, finished }
    }

    fn consume(&mut self, flow: FlowId, count: usize) {
        let index = flow.index;
        if let Some(flow) = self.core.table.named(flow) {
            flow.take(count);
            // The window may have opened.
            self.core.mark_dirty(index);
        }
    }

    fn send(&mut self, flow: FlowId, bytes: &[u8]) -> usize {
        let index = flow.index;
        let Some(flow) = self.core.table.named(flow) else { return 0 };
        let taken = flow.socket_mut().send_slice(bytes).unwrap_or(0);
        flow.starved = taken < bytes.len();
        if taken > 0 {
            self.core.mark_dirty(index);
        }
        taken
    }

    fn close(&mut self, flow: FlowId) {
        let index = flow.index;
        let until = self.core.now + CLOSE_TIMEOUT;
        let Some(flow) = self.core.table.named(flow) else { return };
        if flow.ended.is_some() || matches!(flow.stage, Stage::Connecting { .. }) {
            return self.core.forget(index);
        }
        flow.socket_mut().close();
        flow.drain();
        self.core.linger_on(index, until);
    }

    fn abort(&mut self, flow: FlowId) {
        let index = flow.index;
        let Some(flow) = self.core.table.named(flow) else { return };
        // RFC 9293 §3.10.5: a connection that is being opened is just given up.
        if flow.ended.is_some() || matches!(flow.stage, Stage::Connecting { .. }) {
            return self.core.forget(index);
        }
        self.reset(index);
    }

    fn flush(&mut self, now: Instant) {
        self.core.now = now;
        let dirty = std::mem::take(&mut self.core.dirty);
        for index in &dirty {
            if let Some(flow) = self.core.table.at(*index)
                && std::mem::take(&mut flow.dirty)
            {
                self.serve(*index);
            }
        }
        // The list keeps its room; those that the port had no room for are in the new one.
        let rest = std::mem::replace(&mut self.core.dirty, dirty);
        self.core.dirty.clear();
        self.core.dirty.extend(rest);
        // What belongs to no flow: multicast listener reports.
        let mut device = Egress::new(&mut self.port, &self.core.capabilities, None);
        self.core.interface.poll_egress(moment(now), &mut device, &mut self.core.nobody);
        self.port.flush();
    }

    fn next_deadline(&self) -> Option<Instant> {
        let core = &self.core;
        if !core.touched.is_empty() {
            return Some(core.now);
        }
        let retry = (!core.dirty.is_empty()).then(|| core.now + RETRY_PAUSE);
        core.timers.next_deadline().into_iter().chain(retry).min()
    }

    fn wait(&mut self, timeout: Duration, wakeups: &[BorrowedFd<'_>]) {
        match self.port.wakeup() {
            Some(wakeup) => {
                let fds: Vec<BorrowedFd<'_>> = wakeups.iter().copied().chain([wakeup]).collect();
                wait_readable(&fds, timeout);
            }
            // This port can only be polled.
            None => wait_readable(wakeups, timeout.min(RETRY_PAUSE)),
        }
    }

    fn take_foreign(&mut self, give: &mut dyn FnMut(Peer, Box<[u8]>)) {
        for (peer, frame) in self.core.foreign.drain(..) {
            give(peer, frame);
        }
    }

    fn inject(&mut self, now: Instant, frame: &[u8]) {
        self.core.now = now;
        self.core.take_in(frame, true);
        self.send_reply();
    }

    fn stop_listening(&mut self) {
        self.core.stop_listening();
    }

    fn counters(&self) -> TransportCounters {
        let port = self.port.counters();
        let counters = self.core.counters;
        TransportCounters {
            frames_received: port.frames_received,
            frames_sent: port.frames_sent,
            bytes_received: port.bytes_received,
            bytes_sent: port.bytes_sent,
            frames_dropped: counters.frames_dropped + port.frames_missed + port.frames_unsent,
            open: self.core.table.len() as u64,
            ..counters
        }
    }
}

#[cfg(test)]
impl<P: Port> Stack<P> {
    /// Lets the next connection try the port of the last one first, and forgets that it was in use.
    pub(super) fn choose_next_port_again(&mut self) {
        self.core.next_port = self.core.next_port.wrapping_sub(1);
    }
}
