//! Everything of the stack that needs no port: frames in, at most one reply each, and the flows' fates.
//!
//! Invariants: a flow is in `touched` exactly if its `touched` is set, and in `dirty` exactly if its `dirty` is; a flow
//! leaves the table only through [`Core::forget`], which gives back what it used.

use super::budget::Rate;
use super::device::{Ingress, Scratch, capabilities, raise_sequence};
use super::guard::{Verdict, judge, write_acknowledgement};
use super::isn::{initial_sequence, interface_that_draws};
use super::neighbour::{Waiting, cidr};
use super::segment::{Packet, RST, Segment, be16, classify};
use super::table::{Flow, Stage, Table};
use super::time_wait::TimeWaits;
use super::tuple::{Keyed, Tuple};
use super::wheel::Wheel;
use crate::flow::{Client, Clients};

use super::{OwnAddress, Settings};
use crate::env::Instant;
use crate::flow::{FlowEnd, FlowEvent, FlowId, Peer, TransportCounters};
use crate::limits::{
    ADDRESSES_MAX, CHALLENGES_PER_SECOND, FOREIGN_FRAMES_MAX, Gauge, HALF_OPEN_TIMEOUT, KEEP_ALIVE_INTERVAL,
    LINGER_DURATION, RESETS_PER_SECOND, TIME_WAITS_MAX, USER_TIMEOUT,
};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use smoltcp::iface::{Config, Interface, SocketSet};
use smoltcp::phy::DeviceCapabilities;
use smoltcp::socket::tcp::State;
use smoltcp::wire::{EthernetAddress, HardwareAddress, IpCidr};
use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};

/// What a timer is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Timer {
    /// The flow in this place.
    Flow(u32),
    /// This next hop has not answered.
    Hop(IpAddr),
    /// The gateways must be asked again before they are forgotten.
    Gateways,
}

pub(super) struct Core {
    pub settings: Settings,
    pub hardware_address: [u8; 6],
    pub capabilities: DeviceCapabilities,
    /// Answers ARP, ND and echo requests, knows the neighbours, and carries every flow's segments.
    pub interface: Interface,
    /// The set of sockets for frames that belong to no flow.
    pub nobody: SocketSet<'static>,
    pub table: Table,
    pub time_waits: TimeWaits,
    pub waiting: Waiting,
    pub timers: Wheel<Timer>,
    /// Flows to settle at the end of the poll.
    pub touched: Vec<u32>,
    /// Flows with something to send.
    pub dirty: Vec<u32>,
    pub foreign: VecDeque<(Peer, Box<[u8]>)>,
    pub reply: Scratch,
    pub counters: TransportCounters,
    pub random: StdRng,
    /// The time of the last call that told it: what is asked for in between happens then.
    pub now: Instant,
    pub next_port: u16,
    /// How often a flow was looked at: the work that must not grow with the number of flows.
    pub visits: u64,
    half_open: usize,
    clients: Clients,
    challenges: Rate,
    resets: Rate,
    listening: bool,
}

/// smoltcp counts microseconds.
pub(super) fn moment(now: Instant) -> smoltcp::time::Instant {
    smoltcp::time::Instant::from_micros(i64::try_from(now.nanos() / 1000).unwrap_or(i64::MAX))
}

fn span(duration: std::time::Duration) -> smoltcp::time::Duration {
    smoltcp::time::Duration::from_micros(duration.as_micros() as u64)
}

impl Core {
    pub fn gauge(&self, see: &mut dyn FnMut(Gauge)) {
        see(Gauge::new("flows", self.table.len(), self.settings.connections_max));
        see(Gauge::new("handshakes", self.half_open, self.settings.half_open_max));
        see(Gauge::new("TIME-WAIT", self.time_waits.len(), TIME_WAITS_MAX));
        see(Gauge::new("frames for other workers", self.foreign.len(), FOREIGN_FRAMES_MAX));
    }

    pub fn new(
        mut settings: Settings,
        hardware_address: [u8; 6],
        port: &crate::port::Capabilities,
        now: Instant,
    ) -> Core {
        settings.addresses.truncate(ADDRESSES_MAX);
        settings.workers = settings.workers.max(1);
        let mut random = StdRng::seed_from_u64(settings.seed);
        let capabilities = capabilities(port);
        let mut reply = Scratch::new(capabilities.max_transmission_unit);
        let mut config = Config::new(HardwareAddress::Ethernet(EthernetAddress(hardware_address)));
        config.random_seed = random.random();
        let mut interface = Interface::new(config, &mut Ingress::new(None, &mut reply, &capabilities), moment(now));
        interface.update_ip_addrs(|own| {
            for address in &settings.addresses {
                // `settings` was cut to the room that there is.
                let _ = own.push(cidr(address));
            }
        });
        for address in settings.addresses.iter().rev() {
            // The last call for a family wins, so that the first gateway serves; two routes always find room.
            let _ = match address.gateway {
                Some(IpAddr::V4(gateway)) => interface.routes_mut().add_default_ipv4_route(gateway),
                Some(IpAddr::V6(gateway)) => interface.routes_mut().add_default_ipv6_route(gateway),
                None => continue,
            };
        }
        let mut timers = Wheel::new();
        if settings.addresses.iter().any(|address| address.gateway.is_some()) {
            timers.schedule(Timer::Gateways, now);
        }
        Core {
            hardware_address,
            interface,
            nobody: SocketSet::new(Vec::new()),
            table: Table::new(Keyed::new((random.random(), random.random()))),
            time_waits: TimeWaits::new(Keyed::new((random.random(), random.random()))),
            waiting: Waiting::default(),
            timers,
            touched: Vec::new(),
            dirty: Vec::new(),
            foreign: VecDeque::new(),
            reply,
            counters: TransportCounters::default(),
            now,
            next_port: random.random(),
            visits: 0,
            half_open: 0,
            clients: Clients::new(settings.connections_per_client_max),
            challenges: Rate::new(CHALLENGES_PER_SECOND),
            resets: Rate::new(RESETS_PER_SECOND),
            listening: true,
            random,
            capabilities,
            settings,
        }
    }

    pub fn own(&self, address: IpAddr) -> Option<&OwnAddress> {
        self.settings.addresses.iter().find(|own| own.ip == address)
    }

    /// Takes in one frame. An answer to it is left in `reply`.
    pub fn take_in(&mut self, frame: &[u8], injected: bool) {
        match classify(frame) {
            Packet::Segment(segment) => self.take_segment(frame, &segment, injected),
            Packet::Neighbour { address, answer } => {
                self.share(frame);
                if answer && !injected && self.settings.workers > 1 {
                    self.hand_over(Peer::AllOthers, frame);
                }
                self.neighbour_appeared(address);
            }
            Packet::Unreachable { tuple, sequence, refused } => {
                self.unreachable(frame, &tuple, sequence, refused, injected);
            }
            Packet::Shared => self.share(frame),
            Packet::Useless => self.counters.frames_dropped += 1,
        }
    }

    fn take_segment(&mut self, frame: &[u8], segment: &Segment, injected: bool) {
        let tuple = &segment.tuple;
        // RFC 1122 §4.2.3.10: TCP is never broadcast.
        if frame.get(..6) != Some(&self.hardware_address[..]) || self.own(tuple.local).is_none() {
            self.counters.frames_dropped += 1;
            return;
        }
        if let Some(index) = self.table.find(tuple) {
            return self.take_for_flow(frame, segment, index);
        }
        if let Some(remains) = self.time_waits.find(self.now, tuple) {
            // A new connection whose numbers are beyond the old one's may begin (RFC 9293 §3.10.7.4).
            let beyond = segment.sequence.wrapping_sub(remains.receive_next) as i32 > 0;
            if !segment.opens() || !beyond {
                // RFC 1337: a reset does not end TIME-WAIT.
                if !segment.has(RST) && segment.checksum_holds(frame) {
                    self.challenge(frame, segment, remains.send_next, remains.receive_next, u16::MAX);
                }
                return;
            }
            self.time_waits.remove(tuple);
        }
        if segment.opens()
            && self.listening
            && let Some(listener) = self.listener(tuple)
        {
            return self.open(frame, segment, listener);
        }
        let owner = tuple.local_port % self.settings.workers;
        if owner != self.settings.worker && !self.listens_on(tuple.local_port) && !injected {
            return self.hand_over(Peer::Worker(owner), frame);
        }
        self.refuse(frame, segment);
    }

    fn take_for_flow(&mut self, frame: &[u8], segment: &Segment, index: u32) {
        let Some(flow) = self.table.at(index) else { return };
        let window = flow.socket().recv_capacity() as u32;
        match judge(flow.state(), segment, flow.receive_next(), window) {
            Verdict::Pass => self.deliver(frame, segment, index),
            Verdict::Drop => self.counters.frames_dropped += 1,
            Verdict::Challenge => {
                let (send_next, receive_next) = (flow.send_next, flow.receive_next());
                let free = flow.socket().recv_capacity() - flow.socket().recv_queue();
                if segment.checksum_holds(frame) {
                    // The scale is not known here; too small a window is mended by the next segment.
                    self.challenge(frame, segment, send_next, receive_next, u16::try_from(free).unwrap_or(u16::MAX));
                }
            }
        }
    }

    fn deliver(&mut self, frame: &[u8], segment: &Segment, index: u32) {
        let Some(flow) = self.table.at(index) else { return };
        let before = flow.state();
        let mut device = Ingress::new(Some(frame), &mut self.reply, &self.capabilities);
        self.interface.poll_ingress_single(moment(self.now), &mut device, &mut flow.set);
        // Before the handshake is over, a reply may be a reset, whose number is the one that it answers.
        if !matches!(before, State::SynSent | State::SynReceived) {
            raise_sequence(self.reply.written_mut(), flow.send_next, &self.capabilities);
        }
        flow.window_shut = be16(frame, segment.begin + 14) == Some(0);
        let after = flow.state();
        if before == State::SynSent && after != before && after != State::Closed {
            flow.receive_initial = segment.sequence;
            flow.told = segment.sequence.wrapping_add(1);
        }
        if after == State::Closed && before != State::Closed {
            let end = if before == State::SynSent { FlowEnd::Refused } else { FlowEnd::Reset };
            flow.ended.get_or_insert(end);
        }
        self.touch(index);
    }

    fn challenge(&mut self, frame: &[u8], segment: &Segment, send_next: u32, receive_next: u32, window: u16) {
        if self.challenges.take(self.now, &mut self.random) {
            let hardware_address = self.hardware_address;
            write_acknowledgement(&mut self.reply, frame, hardware_address, segment, send_next, receive_next, window);
        }
    }

    /// Answers a segment that belongs to nothing with a reset, which smoltcp makes if no socket wants the segment.
    fn refuse(&mut self, frame: &[u8], segment: &Segment) {
        if segment.has(RST) || !self.resets.take(self.now, &mut self.random) {
            self.counters.frames_dropped += 1;
            return;
        }
        self.share(frame);
    }

    fn share(&mut self, frame: &[u8]) {
        let mut device = Ingress::new(Some(frame), &mut self.reply, &self.capabilities);
        self.interface.poll_ingress_single(moment(self.now), &mut device, &mut self.nobody);
    }

    fn listener(&self, tuple: &Tuple) -> Option<usize> {
        self.settings.listeners.iter().position(|listener| {
            listener.port() == tuple.local_port
                && listener.is_ipv4() == tuple.local.is_ipv4()
                && (listener.ip() == tuple.local || listener.ip().is_unspecified())
        })
    }

    pub fn listens_on(&self, port: u16) -> bool {
        self.settings.listeners.iter().any(|listener| SocketAddr::port(listener) == port)
    }

    /// A client wants a connection.
    fn open(&mut self, frame: &[u8], segment: &Segment, listener: usize) {
        let tuple = segment.tuple;
        let hostile = match tuple.remote {
            IpAddr::V4(remote) => {
                remote.is_unspecified() || remote.is_multicast() || remote.is_broadcast() || remote.is_loopback()
            }
            IpAddr::V6(remote) => remote.is_unspecified() || remote.is_multicast() || remote.is_loopback(),
        };
        // A SYN that claims to come from us would have us talk to ourselves.
        if hostile || tuple.remote_port == 0 || self.own(tuple.remote).is_some() || !segment.checksum_holds(frame) {
            self.counters.frames_dropped += 1;
            return;
        }
        // No answer at all: most of these have forged sources, and honest clients try again.
        if self.half_open >= self.settings.half_open_max {
            self.counters.frames_dropped += 1;
            return;
        }
        let client = Client::of(tuple.remote);
        if self.table.len() >= self.settings.connections_max || !self.clients.take(client) {
            self.counters.refused += 1;
            return self.refuse(frame, segment);
        }
        let isn = initial_sequence(&self.settings.isn_key, &tuple, self.now);
        let stage = Stage::HalfOpen { listener, until: self.now + HALF_OPEN_TIMEOUT };
        let buffers = (self.settings.receive_buffer, self.settings.send_buffer);
        let mut flow = Flow::new(tuple, stage, Some(client), buffers, isn);
        flow.receive_initial = segment.sequence;
        flow.told = segment.sequence.wrapping_add(1);
        let listening = flow.socket_mut().listen((tuple.local, tuple.local_port));
        debug_assert!(listening.is_ok());
        let mut interface = self.drawing_interface(isn);
        interface.update_ip_addrs(|own| {
            let bits = if tuple.local.is_ipv4() { 32 } else { 128 };
            let _ = own.push(IpCidr::new(tuple.local.into(), bits));
        });
        let mut device = Ingress::new(Some(frame), &mut self.reply, &self.capabilities);
        interface.poll_ingress_single(moment(self.now), &mut device, &mut flow.set);
        if flow.state() != State::SynReceived {
            // Malformed further in; whatever the interface had to say about that is not sent.
            self.reply.take();
            self.clients.give_back(client);
            self.counters.frames_dropped += 1;
            return;
        }
        self.half_open += 1;
        let index = self.table.insert(flow);
        self.mark_dirty(index);
    }

    pub fn drawing_interface(&self, isn: u32) -> Interface {
        let hardware_address = HardwareAddress::Ethernet(EthernetAddress(self.hardware_address));
        interface_that_draws(isn, hardware_address, &self.capabilities, moment(self.now))
    }

    /// An ICMP error: hard for a connection that is being opened, otherwise a passing weather report (RFC 5461).
    fn unreachable(&mut self, frame: &[u8], tuple: &Tuple, sequence: u32, refused: bool, injected: bool) {
        if let Some(index) = self.table.find(tuple) {
            let Some(flow) = self.table.at(index) else { return };
            // RFC 5927 §4.1: only who has seen our SYN can quote its sequence number.
            if matches!(flow.stage, Stage::Connecting { .. }) && sequence == flow.send_initial {
                flow.ended.get_or_insert(if refused { FlowEnd::Refused } else { FlowEnd::Unreachable });
                self.touch(index);
            }
            return;
        }
        let owner = tuple.local_port % self.settings.workers;
        if injected || self.settings.workers == 1 || self.own(tuple.local).is_none() {
            self.counters.frames_dropped += 1;
        } else if self.listens_on(tuple.local_port) {
            self.hand_over(Peer::AllOthers, frame);
        } else if owner != self.settings.worker {
            self.hand_over(Peer::Worker(owner), frame);
        }
    }

    fn hand_over(&mut self, peer: Peer, frame: &[u8]) {
        if self.foreign.len() >= FOREIGN_FRAMES_MAX {
            self.counters.frames_dropped += 1;
            return;
        }
        self.foreign.push_back((peer, frame.into()));
    }

    fn neighbour_appeared(&mut self, address: IpAddr) {
        for id in self.waiting.take(address) {
            if self.table.holds(id) {
                if let Some(flow) = self.table.at(id.index) {
                    flow.waiting_since = None;
                }
                self.mark_dirty(id.index);
            }
        }
        self.timers.cancel(Timer::Hop(address));
    }

    pub fn touch(&mut self, index: u32) {
        if let Some(flow) = self.table.at(index)
            && !flow.touched
        {
            flow.touched = true;
            self.touched.push(index);
        }
    }

    pub fn mark_dirty(&mut self, index: u32) {
        if let Some(flow) = self.table.at(index)
            && !flow.dirty
        {
            flow.dirty = true;
            self.dirty.push(index);
        }
    }

    /// Tells what has become of a touched flow.
    pub fn settle(&mut self, index: u32, events: &mut Vec<FlowEvent>) {
        let id = self.table.id(index);
        let Some(flow) = self.table.at(index) else { return };
        flow.touched = false;
        self.visits += 1;
        match (flow.stage, flow.state(), flow.ended) {
            (Stage::HalfOpen { .. }, State::SynReceived, None) => {}
            (Stage::HalfOpen { listener, .. }, State::Established | State::CloseWait, None) => {
                if !self.listening {
                    flow.socket_mut().abort();
                    self.linger_on(index, self.now);
                    return;
                }
                self.half_open -= 1;
                self.counters.accepted += 1;
                let (local, remote) = (flow.tuple.local_address(), flow.tuple.remote_address());
                keep_watch(flow);
                events.push(FlowEvent::Accepted { flow: id, listener, local, remote });
                self.settle_open(index, id, events);
            }
            (Stage::HalfOpen { .. }, ..) => self.forget(index),
            (Stage::Connecting { .. }, State::Established | State::CloseWait, None) => {
                self.counters.connected += 1;
                keep_watch(flow);
                events.push(FlowEvent::Connected { flow: id });
                self.settle_open(index, id, events);
            }
            (Stage::Connecting { .. } | Stage::Open, _, Some(end)) => {
                events.push(FlowEvent::Ended { flow: id, end });
                self.forget(index);
            }
            (Stage::Connecting { .. }, ..) => {}
            (Stage::Open, ..) => self.settle_open(index, id, events),
            (Stage::Lingering { .. }, ..) => self.settle_lingering(index),
        }
        self.mark_dirty(index);
    }

    fn settle_open(&mut self, index: u32, id: FlowId, events: &mut Vec<FlowEvent>) {
        let Some(flow) = self.table.at(index) else { return };
        let receive_next = flow.receive_next();
        if receive_next != flow.told {
            flow.told = receive_next;
            events.push(FlowEvent::Readable { flow: id });
        }
        if flow.starved && flow.socket().can_send() {
            flow.starved = false;
            events.push(FlowEvent::Writable { flow: id });
        }
    }

    fn settle_lingering(&mut self, index: u32) {
        let now = self.now;
        let Some(flow) = self.table.at(index) else { return };
        flow.drain();
        match (flow.state(), flow.stage) {
            (State::Closed | State::Listen, _) => self.forget(index),
            (State::FinWait2, Stage::Lingering { until, acknowledged: false }) => {
                // All has arrived: the peer gets a while to end too, and no longer.
                let until = until.min(now + LINGER_DURATION);
                flow.stage = Stage::Lingering { until, acknowledged: true };
            }
            _ => {}
        }
    }

    /// The connection is over; its last acknowledgement has gone out.
    pub fn rest(&mut self, index: u32) {
        if let Some(flow) = self.table.at(index) {
            let (tuple, send_next, receive_next) = (flow.tuple, flow.send_next, flow.receive_next());
            self.time_waits.insert(self.now, tuple, send_next, receive_next);
            self.forget(index);
        }
    }

    /// Takes a flow out of the caller's hands.
    pub fn linger_on(&mut self, index: u32, until: Instant) {
        if let Some(flow) = self.table.at(index) {
            if matches!(flow.stage, Stage::HalfOpen { .. }) {
                self.half_open -= 1;
            }
            flow.stage = Stage::Lingering { until, acknowledged: false };
            self.touch(index);
            self.mark_dirty(index);
        }
    }

    /// Removes a flow and gives back what it used.
    pub fn forget(&mut self, index: u32) {
        self.timers.cancel(Timer::Flow(index));
        let Some(flow) = self.table.remove(index) else { return };
        if matches!(flow.stage, Stage::HalfOpen { .. }) {
            self.half_open -= 1;
        }
        if let Some(client) = flow.client {
            self.clients.give_back(client);
        }
    }

    pub fn stop_listening(&mut self) {
        self.listening = false;
    }
}

/// From the end of the handshake on, a peer that is gone is noticed.
fn keep_watch(flow: &mut Flow) {
    flow.stage = Stage::Open;
    let socket = flow.socket_mut();
    socket.set_timeout(Some(span(USER_TIMEOUT)));
    socket.set_keep_alive(Some(span(KEEP_ALIVE_INTERVAL)));
}
