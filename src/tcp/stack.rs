//! The stack on its port: frames in and out, timers, and the [`Transport`] interface.
//!
//! In: bursts of frames, calls of the sessions, time. Out: events, and frames at each flush. Every frame that the port
//! hands out is released or transmitted here, exactly once.

use super::claim::announce;
use super::connection::ecn::NOT_ECT;
use super::connection::{Header, Outgoing, State};
use super::core::{Core, Timer, moment};
use super::device::Egress;
use super::frame::{Way, segment_length, write_segment};
use super::gather::{gather, leads};
use super::neighbour::{request_length, write_request};
use super::segment::{ACK, Packet, RST, classify};
use super::table::Stage;
use super::tuple::Tuple;
use super::{ImportError, Settings};
use crate::env::{Instant, wait_readable};
use crate::flow::{ConnectError, FlowEnd, FlowEvent, FlowId, PathFacts, Peer, Received, Transport, TransportCounters};
use crate::limits::{
    ANNOUNCEMENT_DELAY_MAX, ANNOUNCEMENT_PAUSES, CLOSE_TIMEOUT, FRAMES_PER_POLL, GATEWAY_REFRESH_INTERVAL, Gauge,
    NEIGHBOUR_RETRY_DELAY, NEIGHBOUR_TIMEOUT,
};
use crate::port::{BURST_SIZE, Burst, Capabilities, Port};
use arrayvec::ArrayVec;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::BorrowedFd;
use std::time::Duration;

/// The pause after which something that could not go out at once is tried again.
pub(super) const RETRY_PAUSE: Duration = Duration::from_millis(1);

/// TCP over a port.
pub struct Stack<P: Port> {
    port: P,
    core: Core,
}

impl<P: Port> Stack<P> {
    /// A stack that answers for the addresses of `settings` from now on.
    pub fn new(port: P, settings: Settings, now: Instant) -> Stack<P> {
        let core = Core::new(settings, port.hardware_address(), port.capabilities(), now);
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

    /// Whether this address is one of its own.
    pub(super) fn has(&self, address: IpAddr) -> bool {
        self.core.settings.addresses.iter().any(|own| own.ip == address)
    }

    /// How many listeners it has, the chosen one apart.
    pub(super) fn listeners_count(&self) -> usize {
        self.core.settings.listeners.len()
    }

    /// How often a flow was looked at since the start: the work that must not grow with the number of flows.
    pub fn visits(&self) -> u64 {
        self.core.visits
    }

    /// Shows how full its tables are.
    pub fn gauge(&self, see: &mut dyn FnMut(Gauge)) {
        self.core.gauge(see);
    }

    /// Takes an open flow out of this stack, as bytes for [`import`](Stack::import) on another one that answers for the same
    /// address. Its id is dead, and its peer hears nothing. `None` if there is no such flow, or it is not open.
    pub fn export(&mut self, now: Instant, flow: FlowId) -> Option<Vec<u8>> {
        self.core.now = now;
        self.core.export(flow)
    }

    /// Goes on with a flow that another stack has exported.
    pub fn import(&mut self, now: Instant, bytes: &[u8]) -> Result<FlowId, ImportError> {
        self.core.now = now;
        self.core.import(bytes)
    }

    fn receive(&mut self) {
        let mut burst = Burst::new();
        let mut packets = ArrayVec::<(Packet, u32), BURST_SIZE>::new();
        for _ in 0..FRAMES_PER_POLL / BURST_SIZE {
            self.port.receive(&mut burst);
            if burst.is_empty() {
                break;
            }
            for frame in &burst {
                let packet = classify(self.port.bytes(frame));
                packets.push((packet, self.core.hash(&packet)));
            }
            self.core.table.warm(packets.iter().map(|(_, hash)| *hash));
            for (frame, (packet, hash)) in burst.drain(..).zip(&packets) {
                self.core.take_in(self.port.bytes(&frame), packet, *hash, false);
                self.port.release(frame);
                self.send_reply();
            }
            packets.clear();
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
                Timer::Announce => {
                    // Nothing answers an announcement, and one may be lost. A process that was paused meanwhile does not
                    // know yet whether the addresses are still its own, and must not take them from whoever has them.
                    if now.since(self.core.announce_at) <= ANNOUNCEMENT_DELAY_MAX {
                        announce(&mut self.port, &self.core.in_use());
                    }
                    if let Some(pause) = ANNOUNCEMENT_PAUSES.get(self.core.announced) {
                        self.core.announced += 1;
                        self.core.announce_at(now + *pause);
                    }
                }
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

    /// The wheel has come to a flow.
    fn due(&mut self, index: u32) {
        let now = self.core.now;
        let Some(flow) = self.core.table.at(index) else { return };
        flow.timer_at = Instant::FAR;
        if flow.stage.deadline() <= now {
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
        if flow.connection.deadline() <= now && !flow.silent {
            if !flow.connection.on_time(now) {
                flow.ended.get_or_insert(FlowEnd::TimedOut);
                self.core.touch(index);
            }
            self.core.heed_black_hole(index);
        }
        self.serve(index);
    }

    /// Resets a connection and forgets it.
    fn reset(&mut self, index: u32) {
        if let Some(flow) = self.core.table.at(index)
            && !matches!(flow.connection.state(), State::Closed | State::SynSent)
            && let Some(destination) = self.core.neighbours.find(flow.hop, self.core.now)
        {
            let header = Header {
                sequence: flow.connection.send_next(),
                acknowledgement: flow.connection.receive_next(),
                flags: RST | ACK,
                ecn: NOT_ECT,
                window: 0,
                options: Default::default(),
            };
            let way = Way { source: self.core.hardware_address, destination };
            put(&mut self.port, &self.core.capabilities, way, &flow.tuple, &header, (&[], &[]));
        }
        self.core.forget(index);
    }

    /// Sends what a flow has to send and sets its timer.
    fn serve(&mut self, index: u32) {
        self.core.visits += 1;
        self.emit(index);
        let core = &mut self.core;
        let Some(flow) = core.table.at(index) else { return };
        // Nothing left to do but to wait out TIME-WAIT: the last acknowledgement is on its way.
        if flow.connection.state() == State::TimeWait && !flow.dirty && flow.waiting_since.is_none() {
            return core.rest(index);
        }
        // The wheel may come early and look again: cheaper than to move it with every segment.
        let deadline = flow.deadline();
        if deadline < flow.timer_at {
            flow.timer_at = deadline.max(core.now + RETRY_PAUSE);
            core.timers.schedule(Timer::Flow(index), flow.timer_at);
        }
    }

    /// Lets a flow send all that its windows allow.
    fn emit(&mut self, index: u32) {
        let core = &mut self.core;
        let now = core.now;
        let Some(flow) = core.table.at(index).filter(|flow| !flow.silent) else { return };
        let terms = core.offers.of(flow.tuple.remote);
        let mut destination = None;
        while let Some(outgoing) = flow.connection.next(now) {
            destination = destination.or_else(|| core.neighbours.find(flow.hop, now));
            let Some(destination) = destination else { return self.await_neighbour(index) };
            if !self.port.transmit_ready() {
                return core.mark_dirty(index);
            }
            let mut header = flow.connection.header(&outgoing, terms, now);
            let way = Way { source: core.hardware_address, destination };
            // With no large frame to be had, it goes alone.
            if let Some(limits) = &core.capabilities.segmentation
                && let Outgoing::Part(first) = outgoing
                && leads(limits, &flow.tuple, &header, &first)
                && let Some(mut frame) = self.port.allocate(limits.frame_max)
            {
                let room = limits.frame_max - segment_length(&flow.tuple, &header, 0);
                let whole = gather(&mut flow.connection, &mut header, first, room, now);
                let content = flow.connection.content(&whole);
                let length = content.0.len() + content.1.len();
                frame.truncate(segment_length(&flow.tuple, &header, length));
                let bytes = self.port.bytes_mut(&mut frame);
                if length > first.length as usize {
                    // The NIC makes the checksums of what it cuts.
                    write_segment(bytes, way, &flow.tuple, &header, content, false);
                    self.port.transmit_cut(frame, first.length as u16);
                } else {
                    let sums = !core.capabilities.checksum_transmit;
                    write_segment(bytes, way, &flow.tuple, &header, content, sums);
                    self.port.transmit(frame);
                }
                continue;
            }
            if !put(&mut self.port, &core.capabilities, way, &flow.tuple, &header, flow.connection.content(&outgoing)) {
                return core.mark_dirty(index);
            }
            flow.connection.sent(&outgoing, now);
        }
    }

    /// A flow cannot send because nobody knows where its next hop is.
    fn await_neighbour(&mut self, index: u32) {
        let core = &mut self.core;
        let (now, id) = (core.now, core.table.id(index));
        let Some(flow) = core.table.at(index) else { return };
        if flow.waiting_since.is_some() {
            return;
        }
        flow.waiting_since = Some(now);
        let hop = flow.hop;
        if core.neighbours.wait(hop, id) {
            core.timers.schedule(Timer::Hop(hop), now + NEIGHBOUR_RETRY_DELAY);
            self.ask(hop);
        }
    }

    /// Asks for a next hop's hardware address.
    fn ask(&mut self, hop: IpAddr) {
        let Some(source) = self.core.source_for(hop) else { return };
        if let Some(mut frame) = self.port.allocate(request_length(hop)) {
            let bytes = self.port.bytes_mut(&mut frame);
            write_request(bytes, self.core.hardware_address, source, hop);
            self.port.transmit(frame);
        }
    }

    /// A next hop has not answered yet.
    fn ask_again(&mut self, hop: IpAddr) {
        let core = &mut self.core;
        let now = core.now;
        let mut waiting = core.neighbours.take_waiting(hop);
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
        core.neighbours.put_back(hop, waiting);
        core.timers.schedule(Timer::Hop(hop), now + NEIGHBOUR_RETRY_DELAY);
        self.ask(hop);
    }
}

/// Gives a segment to the port; false if it has no frame for it.
fn put<P: Port>(
    port: &mut P,
    offers: &Capabilities,
    way: Way,
    tuple: &Tuple,
    header: &Header,
    content: (&[u8], &[u8]),
) -> bool {
    let length = segment_length(tuple, header, content.0.len() + content.1.len());
    let Some(mut frame) = port.allocate(length) else { return false };
    let sums = !offers.checksum_transmit;
    write_segment(port.bytes_mut(&mut frame), way, tuple, header, content, sums);
    port.transmit(frame);
    true
}

impl<P: Port> Transport for Stack<P> {
    fn poll(&mut self, now: Instant, events: &mut Vec<FlowEvent>) {
        self.core.now = now;
        self.core.note_scarcity();
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
        // What has ended with something unread is told of in the next poll.
        let table = &mut self.core.table;
        self.core.touched.retain(|index| table.at(*index).is_some_and(|flow| flow.touched));
    }

    fn connect(&mut self, now: Instant, local: IpAddr, remote: SocketAddr) -> Result<FlowId, ConnectError> {
        self.core.now = now;
        self.core.connect(local, remote)
    }

    fn received(&mut self, flow: FlowId) -> Received<'_> {
        let Some(flow) = self.core.table.named(flow) else { return Received::default() };
        let (connection, terms) = (&flow.connection, self.core.offers.of(flow.tuple.remote));
        let (bytes, unread) = connection.received();
        Received { bytes, more: bytes.len() < unread, full: connection.full(terms), finished: connection.finished() }
    }

    fn consume(&mut self, flow: FlowId, count: usize) {
        let index = flow.index;
        let core = &mut self.core;
        if let Some(flow) = core.table.named(flow) {
            flow.connection.consume(count, core.offers.of(flow.tuple.remote), &mut core.rings);
            // The window may have opened.
            core.mark_dirty(index);
        }
    }

    fn send(&mut self, flow: FlowId, bytes: &[u8]) -> usize {
        let index = flow.index;
        let core = &mut self.core;
        let Some(flow) = core.table.named(flow) else { return 0 };
        let taken = flow.connection.push(bytes, core.settings.send_buffer, &mut core.rings);
        flow.starved = taken < bytes.len();
        if taken > 0 {
            self.core.mark_dirty(index);
        }
        taken
    }

    fn acknowledged(&mut self, flow: FlowId) -> bool {
        self.core.table.named(flow).is_none_or(|flow| flow.connection.queued() == 0)
    }

    fn path(&mut self, flow: FlowId) -> Option<PathFacts> {
        self.core.table.named(flow).map(|flow| flow.connection.path())
    }

    fn close(&mut self, flow: FlowId) {
        let index = flow.index;
        let until = self.core.now + CLOSE_TIMEOUT;
        let Some(flow) = self.core.table.named(flow) else { return };
        if flow.ended.is_some() || matches!(flow.stage, Stage::Connecting { .. }) {
            return self.core.forget(index);
        }
        flow.connection.close();
        self.core.drain(index);
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
        let mut device = Egress::new(&mut self.port, &self.core.capabilities);
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

    fn take_foreign(&mut self, give: &mut dyn FnMut(Peer, u8, Box<[u8]>)) {
        for (peer, frame) in self.core.foreign.drain(..) {
            give(peer, 0, frame);
        }
        while let Some((carrier, frame)) = self.port.next_carried() {
            give(Peer::Carrier(carrier), 0, frame);
        }
    }

    fn carry(&mut self, _port: u8, frame: &[u8]) {
        // One that finds no room is lost, as on a wire.
        if let Some(mut own) = self.port.allocate(frame.len()) {
            self.port.bytes_mut(&mut own).copy_from_slice(frame);
            self.port.transmit(own);
        }
    }

    fn inject(&mut self, now: Instant, _port: u8, frame: &[u8]) {
        self.core.now = now;
        let packet = classify(frame);
        let hash = self.core.hash(&packet);
        self.core.take_in(frame, &packet, hash, true);
        self.send_reply();
    }

    fn stop_listening(&mut self) {
        self.core.stop_listening();
    }

    fn assume(&mut self, now: Instant, addresses: &[IpAddr]) {
        self.core.now = now;
        self.core.assume(addresses);
    }

    fn turn_away(&mut self, addresses: &[IpAddr]) {
        self.core.turn_away(addresses);
    }

    fn has_passers(&self, addresses: &[IpAddr]) -> bool {
        self.core.has_passers(addresses)
    }

    fn suspend(&mut self, addresses: &[IpAddr]) {
        self.core.suspend(addresses);
    }

    fn withdraw(&mut self, addresses: &[IpAddr]) {
        self.core.withdraw(addresses);
    }

    fn reset_stale(&mut self, now: Instant, local: SocketAddr, remote: SocketAddr) {
        self.core.now = now;
        self.core.reset_stale(local, remote);
    }

    fn counters(&self) -> TransportCounters {
        let port = self.port.counters();
        let counters = self.core.counters;
        TransportCounters {
            frames_received: port.frames_received,
            frames_sent: port.frames_sent,
            bytes_received: port.bytes_received,
            bytes_sent: port.bytes_sent,
            frames_dropped: counters.frames_dropped + port.frames_missed + port.frames_unsent + port.frames_foreign,
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
