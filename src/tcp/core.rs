//! Everything of the stack that needs no port: frames in, at most one reply each, and the flows' fates.
//!
//! Invariants: a flow is in `touched` exactly if its `touched` is set, and in `dirty` exactly if its `dirty` is; a flow
//! leaves the table only through [`Core::forget`], which gives back what it used.

use super::budget::Rate;
use super::connection::ecn::NOT_ECT;
use super::connection::options::TIMESTAMPS_LENGTH;
use super::connection::ring::Rings;
use super::connection::sequence::Sequence;
use super::connection::{Header, Reaction, State, Terms};
use super::device::Ingress;
use super::frame::{TCP_HEADER, Way, ip_header, segment_length, write_segment};
use super::neighbour::{Neighbours, cidr, source};
use super::path::Paths;
use super::scratch::Scratch;
use super::segment::{ACK, Obstacle, Packet, RST, Segment, hardware_address};
use super::table::{Stage, Table};
use super::time_wait::TimeWaits;
use super::tuple::{Keyed, Tuple};
use super::wheel::Wheel;
use super::{OwnAddress, Settings};
use crate::env::Instant;
use crate::flow::{Clients, FlowEnd, FlowEvent, FlowId, Peer, TransportCounters};
use crate::limits::{
    ADDRESSES_MAX, CHALLENGES_PER_SECOND, FOREIGN_FRAMES_MAX, Gauge, LINGER_DURATION, NEIGHBOURS_MAX, PATH_MTU_MIN_V4,
    PATH_MTU_MIN_V6, PATHS_MAX, RECEIVE_SCARCE_SIZE, RESETS_PER_SECOND, TIME_WAITS_MAX,
};
use crate::port::{Capabilities, ETHERNET_HEADER};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use siphasher::sip::SipHasher13;
use smoltcp::iface::{Config, Interface, SocketSet};
use smoltcp::wire::{EthernetAddress, HardwareAddress};
use std::collections::VecDeque;
use std::hash::Hasher;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// What a timer is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Timer {
    /// The flow in this place.
    Flow(u32),
    /// This next hop has not answered.
    Hop(IpAddr),
    /// The gateways must be asked again before they are forgotten.
    Gateways,
    /// Own addresses are announced again.
    Announce,
}

pub(super) struct Core {
    pub settings: Settings,
    pub hardware_address: [u8; 6],
    pub capabilities: Capabilities,
    pub offers: Offers,
    /// smoltcp's, without a socket: answers ARP, ND, echo requests and multicast queries.
    pub interface: Interface,
    pub nobody: SocketSet<'static>,
    pub neighbours: Neighbours,
    pub paths: Paths,
    pub table: Table,
    pub rings: Rings,
    pub time_waits: TimeWaits,
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
    pub half_open: usize,
    pub clients: Clients,
    /// When a SYN cookie was sent last.
    pub cookie_at: Option<Instant>,
    pub challenges: Rate,
    pub resets: Rate,
    pub listening: bool,
    /// Addresses that another box has now.
    withdrawn: Vec<IpAddr>,
    /// Addresses at which no connection begins.
    turned_away: Vec<IpAddr>,
    /// How often those that came to us were announced.
    pub announced: usize,
    /// When the next announcement is due.
    pub announce_at: Instant,
}

/// smoltcp counts microseconds.
pub(super) fn moment(now: Instant) -> smoltcp::time::Instant {
    smoltcp::time::Instant::from_micros(i64::try_from(now.nanos() / 1000).unwrap_or(i64::MAX))
}

/// The content of a segment, options included, in a packet of so many bytes.
fn segment_size(family: IpAddr, mtu: u16) -> u16 {
    mtu.saturating_sub((ip_header(family) + TCP_HEADER) as u16)
}

/// What connections are offered, by family.
#[derive(Clone, Copy, Debug)]
pub(super) struct Offers {
    v4: Terms,
    v6: Terms,
}

impl Offers {
    fn new(receive_buffer: usize, mtu: usize) -> Offers {
        let terms = |family: IpAddr, least: u16| Terms {
            segment_size: segment_size(family, mtu as u16),
            segment_size_default: segment_size(family, least),
            receive_limit: receive_buffer as u32,
            window_scale: window_scale(receive_buffer),
        };
        // What every path takes (RFC 9293 §3.7.1).
        Offers { v4: terms(Ipv4Addr::UNSPECIFIED.into(), 576), v6: terms(Ipv6Addr::UNSPECIFIED.into(), 1280) }
    }

    pub fn of(&self, remote: IpAddr) -> &Terms {
        if remote.is_ipv4() { &self.v4 } else { &self.v6 }
    }
}

/// Our window scale: the least with which the window field can name the whole limit (RFC 7323 §2.2).
fn window_scale(limit: usize) -> u8 {
    (usize::BITS - (limit >> 16).leading_zeros()) as u8
}

impl Core {
    pub fn gauge(&self, see: &mut dyn FnMut(Gauge)) {
        see(Gauge::new("flows", self.table.len(), self.settings.connections_max));
        see(Gauge::new("handshakes", self.half_open, self.settings.half_open_max));
        see(Gauge::new("TIME-WAIT", self.time_waits.len(), TIME_WAITS_MAX));
        see(Gauge::new("frames for other workers", self.foreign.len(), FOREIGN_FRAMES_MAX));
        see(Gauge::new("bytes of rings", self.rings.used(), self.rings.budget()));
        see(Gauge::new("neighbours", self.neighbours.len(), NEIGHBOURS_MAX));
        see(Gauge::new("narrow paths", self.paths.len(), PATHS_MAX));
    }

    pub fn new(mut settings: Settings, hardware_address: [u8; 6], capabilities: Capabilities, now: Instant) -> Core {
        settings.addresses.truncate(ADDRESSES_MAX);
        settings.workers = settings.workers.max(1);
        settings.queues = settings.queues.clamp(1, settings.workers);
        let mut random = StdRng::seed_from_u64(settings.seed);
        let mut reply = Scratch::new(capabilities.mtu + ETHERNET_HEADER);
        let mut config = Config::new(HardwareAddress::Ethernet(EthernetAddress(hardware_address)));
        config.random_seed = random.random();
        let mut interface = Interface::new(config, &mut Ingress::new(None, &mut reply, &capabilities), moment(now));
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
        let mut core = Core {
            hardware_address,
            offers: Offers::new(settings.receive_buffer, capabilities.mtu),
            interface,
            nobody: SocketSet::new(Vec::new()),
            table: Table::new(Keyed::new((random.random(), random.random()))),
            time_waits: TimeWaits::new(Keyed::new((random.random(), random.random()))),
            neighbours: Neighbours::default(),
            paths: Paths::default(),
            rings: Rings::new(settings.buffer_memory),
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
            cookie_at: None,
            clients: Clients::new(settings.connections_per_client_max),
            challenges: Rate::new(CHALLENGES_PER_SECOND),
            resets: Rate::new(RESETS_PER_SECOND),
            listening: true,
            random,
            capabilities,
            settings,
            withdrawn: Vec::new(),
            turned_away: Vec::new(),
            announced: 0,
            announce_at: now,
        };
        core.tell_interface();
        core
    }

    /// Our address, unless another box has it now.
    pub fn own(&self, address: IpAddr) -> Option<&OwnAddress> {
        self.settings.addresses.iter().find(|own| own.ip == address).filter(|_| !self.withdrawn.contains(&address))
    }

    /// Answers for these addresses again. Their flows go on.
    pub fn assume(&mut self, addresses: &[IpAddr]) {
        self.withdrawn.retain(|own| !addresses.contains(own));
        self.turned_away.retain(|own| !addresses.contains(own));
        self.tell_interface();
        self.silence(addresses, false);
        if self.settings.worker == 0 {
            self.announced = 0;
            self.announce_at(self.now);
        }
    }

    /// Lets no connection begin at these addresses until they are assumed again. A cookie that is out counts as begun.
    pub fn turn_away(&mut self, addresses: &[IpAddr]) {
        for address in addresses {
            if !self.turned_away.contains(address) {
                self.turned_away.push(*address);
            }
        }
    }

    /// Whether clients of these addresses are in a handshake, or have not acknowledged all of a flow that is closed.
    pub fn has_passers(&self, addresses: &[IpAddr]) -> bool {
        self.table.flows().any(|flow| {
            let passes = matches!(flow.stage, Stage::HalfOpen { .. } | Stage::Lingering { acknowledged: false, .. });
            passes && flow.client.is_some() && addresses.contains(&flow.tuple.local)
        })
    }

    /// Announces what is ours at that time.
    pub fn announce_at(&mut self, at: Instant) {
        self.announce_at = at;
        self.timers.schedule(Timer::Announce, at);
    }

    /// Answers for these addresses no more, and says nothing from them. Their flows wait for the addresses to come back.
    pub fn suspend(&mut self, addresses: &[IpAddr]) {
        for address in addresses {
            if self.own(*address).is_some() {
                self.withdrawn.push(*address);
            }
        }
        self.tell_interface();
        self.silence(addresses, true);
    }

    fn silence(&mut self, addresses: &[IpAddr], silent: bool) {
        for index in self.table.indices() {
            if let Some(flow) = self.table.at(index)
                && addresses.contains(&flow.tuple.local)
                && flow.silent != silent
            {
                flow.silent = silent;
                self.mark_dirty(index);
            }
        }
    }

    /// Answers for these addresses no more. Their flows are gone, and their peers hear nothing.
    pub fn withdraw(&mut self, addresses: &[IpAddr]) {
        self.suspend(addresses);
        for index in self.table.indices() {
            if self.table.at(index).is_some_and(|flow| addresses.contains(&flow.tuple.local)) {
                self.forget(index);
            }
        }
    }

    /// The addresses that are ours now.
    pub fn in_use(&self) -> Vec<IpAddr> {
        self.own_in_use().map(|address| address.ip).collect()
    }

    /// By which of our addresses `hop` may be asked for: one that is ours now, or its owner would lose its clients to us.
    pub fn source_for(&self, hop: IpAddr) -> Option<IpAddr> {
        source(self.own_in_use(), hop)
    }

    fn own_in_use(&self) -> impl Iterator<Item = &OwnAddress> {
        self.settings.addresses.iter().filter(|address| !self.withdrawn.contains(&address.ip))
    }

    fn tell_interface(&mut self) {
        let (addresses, withdrawn) = (&self.settings.addresses, &self.withdrawn);
        self.interface.update_ip_addrs(|own| {
            own.clear();
            for address in addresses.iter().filter(|address| !withdrawn.contains(&address.ip)) {
                // `settings` was cut to the room that there is.
                let _ = own.push(cidr(address));
            }
        });
    }

    /// While the memory for rings is scarce, less is offered.
    pub fn note_scarcity(&mut self) {
        let limit = self.settings.receive_buffer as u32;
        let limit = if self.rings.is_scarce() { limit.min(RECEIVE_SCARCE_SIZE) } else { limit };
        (self.offers.v4.receive_limit, self.offers.v6.receive_limit) = (limit, limit);
    }

    /// The content of a segment, options included, that the path to `remote` takes.
    pub fn path_size(&self, remote: IpAddr) -> u16 {
        let link = self.capabilities.mtu as u16;
        segment_size(remote, self.paths.mtu(remote, self.now).map_or(link, |mtu| mtu.min(link)))
    }

    /// What a flow is found by; zero for what belongs to none.
    pub fn hash(&self, packet: &Packet) -> u32 {
        match packet {
            Packet::Segment(segment) => self.table.hash(&segment.tuple),
            _ => 0,
        }
    }

    /// Takes in one frame, classified and hashed. An answer to it is left in `reply`.
    pub fn take_in(&mut self, frame: &[u8], packet: &Packet, hash: u32, injected: bool) {
        match *packet {
            Packet::Segment(ref segment) => self.take_segment(frame, segment, hash, injected),
            Packet::Neighbour { address, hardware_address, answer } => {
                self.share(frame);
                if answer && !injected && self.settings.workers > 1 {
                    self.hand_over(Peer::AllOthers, frame);
                }
                self.neighbour_says(address, hardware_address);
            }
            Packet::Unreachable { tuple, sequence, obstacle } => {
                self.unreachable(frame, &tuple, sequence, obstacle, injected);
            }
            Packet::Shared => self.share(frame),
            Packet::Useless => self.counters.frames_dropped += 1,
        }
    }

    fn take_segment(&mut self, frame: &[u8], segment: &Segment, hash: u32, injected: bool) {
        let tuple = &segment.tuple;
        // RFC 1122 §4.2.3.10: TCP is never broadcast.
        if frame.get(..6) != Some(&self.hardware_address[..]) || self.own(tuple.local).is_none() {
            self.counters.frames_dropped += 1;
            return;
        }
        if let Some(index) = self.table.find_hashed(tuple, hash) {
            return self.deliver(frame, segment, index);
        }
        if let Some(remains) = self.time_waits.find(self.now, tuple) {
            // A new connection whose numbers or whose clock are beyond the old one's may begin (RFC 9293 §3.10.7.4, RFC 6191).
            let clock = segment.incoming(frame).options.timestamps.map(|(value, _)| value);
            let later = remains.timestamp.zip(clock).is_some_and(|(old, new)| Sequence(new).is_beyond(Sequence(old)));
            if !segment.opens() || !(segment.sequence.is_beyond(remains.receive_next) || later) {
                // RFC 1337: a reset does not end TIME-WAIT.
                if !segment.has(RST) && self.is_sound(frame, segment) && self.may_challenge() {
                    self.answer(frame, segment, ACK, remains.send_next, remains.receive_next);
                }
                return;
            }
            self.time_waits.remove(tuple);
        }
        let owner = self.owner(tuple);
        if owner != self.settings.worker && !injected {
            return self.hand_over(Peer::Worker(owner), frame);
        }
        if self.listening
            && let Some(listener) = self.listener(tuple)
        {
            if segment.opens() {
                if self.turned_away.contains(&tuple.local) {
                    self.counters.frames_dropped += 1;
                    return;
                }
                return self.open(frame, segment, listener);
            }
            if self.finish_cookie(frame, segment, listener) {
                return;
            }
        }
        self.refuse(frame, segment);
    }

    /// Whose flow it is: of what we opened, the worker's whose local port it has; of what was opened to us, the worker's to
    /// whose queue the NIC brings it, or one of its guests'.
    fn owner(&self, tuple: &Tuple) -> u16 {
        let Settings { worker, workers, queues, chosen, .. } = self.settings;
        if let Some(place) = chosen.and_then(|chosen| chosen.place(tuple.local, tuple.local_port)) {
            return place % workers;
        }
        if !self.listens_on(tuple.local_port) {
            return tuple.local_port % workers;
        }
        if worker + queues >= workers || worker >= queues {
            return worker;
        }
        let mut hasher = SipHasher13::new_with_key(&self.settings.isn_key);
        tuple.hash_into(&mut hasher);
        let sharers = 1 + (workers - 1 - worker) / queues;
        worker + (hasher.finish() % u64::from(sharers)) as u16 * queues
    }

    pub fn is_sound(&self, frame: &[u8], segment: &Segment) -> bool {
        self.capabilities.checksum_receive || segment.is_sound(frame)
    }

    /// Gives a segment to its connection.
    pub fn deliver(&mut self, frame: &[u8], segment: &Segment, index: u32) {
        if !self.is_sound(frame, segment) {
            self.counters.frames_dropped += 1;
            return;
        }
        let Some(flow) = self.table.at(index) else { return };
        let connecting = flow.connection.state() == State::SynSent;
        let terms = self.offers.of(segment.tuple.remote);
        match flow.connection.receive(&segment.incoming(frame), terms, self.now, &mut self.rings) {
            Reaction::Nothing => {}
            Reaction::Dropped => self.counters.frames_dropped += 1,
            Reaction::Challenge => {
                self.counters.frames_dropped += 1;
                if self.may_challenge()
                    && let Some(flow) = self.table.at(index)
                {
                    flow.connection.acknowledge();
                }
            }
            Reaction::Refuse(sequence) => {
                self.counters.frames_dropped += 1;
                if self.resets.take(self.now, &mut self.random) {
                    self.answer(frame, segment, RST, sequence, Sequence(0));
                }
            }
            Reaction::Reset => {
                flow.ended.get_or_insert(if connecting { FlowEnd::Refused } else { FlowEnd::Reset });
            }
        }
        if connecting && let Some(flow) = self.table.at(index) {
            flow.told = flow.connection.receive_next();
        }
        self.touch(index);
    }

    fn may_challenge(&mut self) -> bool {
        self.challenges.take(self.now, &mut self.random)
    }

    /// Writes a segment without content to whoever sent `frame`.
    fn answer(&mut self, frame: &[u8], segment: &Segment, flags: u8, sequence: Sequence, acknowledgement: Sequence) {
        let options = Default::default();
        // Whoever takes this for a window is mended by the next segment of the connection.
        let header = Header { sequence, acknowledgement, flags, ecn: NOT_ECT, window: 0, options };
        self.write_reply(frame, &segment.tuple, &header);
    }

    pub fn write_reply(&mut self, frame: &[u8], tuple: &Tuple, header: &Header) {
        let Some(destination) = hardware_address(frame, 6) else { return };
        let way = Way { source: self.hardware_address, destination };
        if let Some(bytes) = self.reply.write(segment_length(tuple, header, 0)) {
            write_segment(bytes, way, tuple, header, (&[], &[]), !self.capabilities.checksum_transmit);
        }
    }

    /// Answers a segment that belongs to nothing with a reset (RFC 9293 §3.10.7.1).
    pub fn refuse(&mut self, frame: &[u8], segment: &Segment) {
        if segment.has(RST) || !self.is_sound(frame, segment) || !self.resets.take(self.now, &mut self.random) {
            self.counters.frames_dropped += 1;
        } else if segment.has(ACK) {
            self.answer(frame, segment, RST, segment.acknowledgement, Sequence(0));
        } else {
            self.answer(frame, segment, RST | ACK, Sequence(0), segment.sequence.after(segment.extent()));
        }
    }

    fn share(&mut self, frame: &[u8]) {
        let mut device = Ingress::new(Some(frame), &mut self.reply, &self.capabilities);
        self.interface.poll_ingress_single(moment(self.now), &mut device, &mut self.nobody);
    }

    fn listener(&self, tuple: &Tuple) -> Option<usize> {
        let chosen = self.settings.chosen.and_then(|chosen| chosen.place(tuple.local, tuple.local_port));
        if chosen.is_some() {
            return Some(self.settings.listeners.len());
        }
        self.settings.listeners.iter().position(|listener| {
            listener.port() == tuple.local_port
                && listener.is_ipv4() == tuple.local.is_ipv4()
                && (listener.ip() == tuple.local || listener.ip().is_unspecified())
        })
    }

    pub fn listens_on(&self, port: u16) -> bool {
        self.settings.listeners.iter().any(|listener| SocketAddr::port(listener) == port)
    }

    /// An ICMP error: hard for a connection that is being opened, otherwise a passing weather report (RFC 5461), but for
    /// the size of packets. Only who has seen what is under way can quote its numbers (RFC 5927 §4.1).
    fn unreachable(&mut self, frame: &[u8], tuple: &Tuple, sequence: Sequence, obstacle: Obstacle, injected: bool) {
        if let Some(index) = self.table.find(tuple) {
            let Some(flow) = self.table.at(index) else { return };
            if !flow.connection.is_under_way(sequence) {
                self.counters.frames_dropped += 1;
                return;
            }
            let end = match obstacle {
                Obstacle::TooBig(mtu) => return self.narrow(index, mtu),
                Obstacle::Refused => FlowEnd::Refused,
                Obstacle::NoWay => FlowEnd::Unreachable,
            };
            if matches!(flow.stage, Stage::Connecting { .. }) {
                flow.ended.get_or_insert(end);
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

    /// The path of a flow takes no more than `mtu` bytes a packet; zero if it does not say how much it takes.
    pub fn narrow(&mut self, index: u32, mtu: u32) {
        let Some(flow) = self.table.at(index) else { return };
        let remote = flow.tuple.remote;
        let least = if remote.is_ipv4() { PATH_MTU_MIN_V4 } else { PATH_MTU_MIN_V6 };
        let mtu = u16::try_from(mtu).unwrap_or(u16::MAX).max(least);
        let size = segment_size(remote, mtu);
        let Some(flow) = self.table.at(index) else { return };
        if size < flow.connection.path_size() {
            flow.connection.shrink(size);
            self.paths.note(remote, mtu, self.now);
            self.mark_dirty(index);
        }
    }

    /// Large segments of this flow vanish without a word: from now on, small ones.
    pub fn heed_black_hole(&mut self, index: u32) {
        let Some(flow) = self.table.at(index) else { return };
        // RFC 4821 §7.2 suggests 1024 bytes for IPv4 to begin with.
        let mtu = if flow.tuple.remote.is_ipv4() { 1024 } else { PATH_MTU_MIN_V6 };
        let small = mtu - (ip_header(flow.tuple.remote) + TCP_HEADER) as u16;
        if flow.connection.suspects_black_hole(small - TIMESTAMPS_LENGTH as u16) {
            self.narrow(index, u32::from(mtu));
        }
    }

    /// A neighbour says where it is, of itself or because it was asked.
    fn neighbour_says(&mut self, address: IpAddr, hardware_address: [u8; 6]) {
        if address.is_unspecified() || self.own(address).is_some() {
            return;
        }
        let flows = self.neighbours.learn(address, hardware_address, self.now);
        for id in flows {
            if self.table.holds(id) {
                if let Some(flow) = self.table.at(id.index) {
                    flow.waiting_since = None;
                }
                self.mark_dirty(id.index);
            }
        }
        self.timers.cancel(Timer::Hop(address));
    }

    fn hand_over(&mut self, peer: Peer, frame: &[u8]) {
        if self.foreign.len() >= FOREIGN_FRAMES_MAX {
            self.counters.frames_dropped += 1;
            return;
        }
        self.foreign.push_back((peer, frame.into()));
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
        match (flow.stage, flow.connection.state(), flow.ended) {
            (Stage::HalfOpen { .. }, State::SynReceived, None) => {}
            (Stage::HalfOpen { listener, .. }, State::Established | State::CloseWait, None) => {
                if !self.listening {
                    self.linger_on(index, self.now);
                    return;
                }
                self.half_open -= 1;
                self.counters.accepted += 1;
                flow.stage = Stage::Open;
                let (local, remote) = (flow.tuple.local_address(), flow.tuple.remote_address());
                events.push(FlowEvent::Accepted { flow: id, listener: listener as usize, local, remote });
                self.settle_open(index, id, events);
            }
            (Stage::HalfOpen { .. }, ..) => self.forget(index),
            (Stage::Connecting { .. }, State::Established | State::CloseWait, None) => {
                self.counters.connected += 1;
                flow.stage = Stage::Open;
                events.push(FlowEvent::Connected { flow: id });
                self.settle_open(index, id, events);
            }
            (Stage::Open, _, Some(_)) if flow.connection.receive_next() != flow.told => {
                // What came before the end is read before it: the consent to a message may be the last of it.
                flow.told = flow.connection.receive_next();
                flow.touched = true;
                events.push(FlowEvent::Readable { flow: id });
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
        let room = self.settings.send_buffer;
        let Some(flow) = self.table.at(index) else { return };
        let receive_next = flow.connection.receive_next();
        if receive_next != flow.told {
            flow.told = receive_next;
            events.push(FlowEvent::Readable { flow: id });
        }
        if flow.starved && flow.connection.queued() < room {
            flow.starved = false;
            events.push(FlowEvent::Writable { flow: id });
        }
    }

    fn settle_lingering(&mut self, index: u32) {
        let now = self.now;
        self.drain(index);
        let Some(flow) = self.table.at(index) else { return };
        match (flow.connection.state(), flow.stage) {
            (State::Closed, _) => self.forget(index),
            (State::FinWait2, Stage::Lingering { until, acknowledged: false }) => {
                // All has arrived: the peer gets a while to end too, and no longer.
                let until = until.min(now + LINGER_DURATION);
                flow.stage = Stage::Lingering { until, acknowledged: true };
            }
            _ => {}
        }
    }

    /// Drops all that was received.
    pub fn drain(&mut self, index: u32) {
        if let Some(flow) = self.table.at(index) {
            flow.connection.consume(usize::MAX, self.offers.of(flow.tuple.remote), &mut self.rings);
        }
    }

    /// The connection is over; its last acknowledgement has gone out.
    pub fn rest(&mut self, index: u32) {
        if let Some(flow) = self.table.at(index) {
            self.time_waits.insert(self.now, flow.tuple, &flow.connection);
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
        let Some(mut flow) = self.table.remove(index) else { return };
        flow.connection.dissolve(&mut self.rings);
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
