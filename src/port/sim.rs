//! Ethernet in memory: hosts on one switch, or on several that nothing connects, in virtual time, with every fault that a network has.
//!
//! In: frames that [`SimPort`]s transmit. Out: the same frames at other ports, late, twice, damaged or never, as the
//! links and the seed say. The network never looks at a clock and never makes a frame of its own, and the same seed with
//! the same calls gives the same faults.
//!
//! ```text
//! SimPort ─ flush ─► link of the sender ─► switch ─► link of the receiver ─► queue ─ receive ─► SimPort
//!                    (loss, delay, …)    (by MAC)    (loss, delay, …)      (by steering)
//! ```
//!
//! A harness turns this wheel: poll every stack, let [`Network::next_event`] and the stacks say when the next thing
//! happens, and [`Network::advance`] to there. Everything runs in one thread; a clone of [`Network`] is the same network.

mod cut;
mod mark;
mod port;
mod steering;

#[cfg(test)]
mod tests;

pub use port::SimPort;
pub use steering::Steering;

use super::ETHERNET_HEADER;
use crate::checksum::crc32c_append;
use crate::env::Instant;
use mark::{is_segment, mark};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;
use std::time::Duration;

/// Frames on the wire at a time; more are lost, as in a switch whose buffers are full.
const IN_FLIGHT_MAX: usize = 65_536;

/// Frames that wait in a port's receive ring; more are missed, as by a NIC whose worker is late.
const RECEIVE_RING_SIZE: usize = 1024;

/// Frames that the tap keeps; the oldest go first.
const TAPPED_MAX: usize = 65_536;

/// The cable between a host and the switch. Its faults meet frames in both directions, so that a frame between two hosts
/// passes two links.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Link {
    /// How long each frame takes at least.
    pub delay: Duration,
    /// Added to the delay, evenly distributed from zero to this: more than the gap between frames reorders them.
    pub jitter: Duration,
    /// The share of frames that are lost, 0 to 1.
    pub loss: f64,
    /// The share of frames that arrive twice, 0 to 1.
    pub duplication: f64,
    /// The share of frames with one wrong bit that the frame check sequence did not catch, 0 to 1. ARP is spared: nothing
    /// else protects it, and a poisoned neighbour is a fault of another kind.
    pub corruption: f64,
    /// The share of segments that meet congestion, 0 to 1: one that is ECN-capable is marked, another is lost (RFC 3168 §5).
    pub marking: f64,
    /// The largest IP packet, bytes; a larger one vanishes without a word.
    pub mtu: usize,
}

impl Default for Link {
    /// A good cable: 50 µs, no faults, 1 500 bytes.
    fn default() -> Link {
        let delay = Duration::from_micros(50);
        Link { delay, jitter: Duration::ZERO, loss: 0.0, duplication: 0.0, corruption: 0.0, marking: 0.0, mtu: 1500 }
    }
}

/// Names a host of one network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HostId(usize);

/// A frame that the tap saw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tapped {
    /// When it was sent.
    pub sent_at: Instant,
    /// Who sent it, whatever its source address says.
    pub from: HostId,
    /// The frame as it was sent.
    pub bytes: Box<[u8]>,
}

/// What became of frames between the ports.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NetworkCounters {
    /// Copies that reached a receive ring.
    pub delivered: u64,
    /// Lost by chance.
    pub lost: u64,
    /// Lost because the way was cut.
    pub cut: u64,
    /// Arrived once more than they were sent.
    pub duplicated: u64,
    /// Arrived with a wrong bit.
    pub corrupted: u64,
    /// Marked for congestion.
    pub marked: u64,
    /// Larger than a link on the way takes.
    pub oversized: u64,
    /// For an address that no host has.
    pub unknown: u64,
    /// Too many frames on the wire.
    pub overflowed: u64,
    /// Arrived at a ring that was full.
    pub missed: u64,
}

#[derive(Debug)]
struct Host {
    /// The switch that it hangs on.
    switch: u8,
    hardware_address: [u8; 6],
    link: Link,
    steering: Steering,
    /// `None` for a queue whose port was dropped.
    queues: Vec<Option<Queue>>,
    /// The share of breaths in which its ports have no free buffer.
    shortage: f64,
}

#[derive(Debug, Default)]
struct Queue {
    arrived: VecDeque<Box<[u8]>>,
    missed: u64,
}

#[derive(Debug)]
struct InFlight {
    from: HostId,
    to: HostId,
    bytes: Box<[u8]>,
}

#[derive(Debug)]
struct State {
    now: Instant,
    random: StdRng,
    hosts: Vec<Host>,
    /// By arrival; the number keeps frames of the same moment in the order in which they were sent.
    in_flight: BTreeMap<(Instant, u64), InFlight>,
    sent_count: u64,
    /// Ways that carry nothing: from, to.
    cut: BTreeSet<(HostId, HostId)>,
    tap: Option<VecDeque<Tapped>>,
    /// How many more frames a host may send; later ones are as if they had never been made.
    budgets: BTreeMap<HostId, u64>,
    digest: u32,
    counters: NetworkCounters,
}

/// The switches and all that hangs on them.
#[derive(Clone, Debug)]
pub struct Network(Rc<RefCell<State>>);

impl Network {
    /// An empty network at the origin of the clock. The seed decides every fault.
    pub fn new(seed: u64) -> Network {
        Network(Rc::new(RefCell::new(State {
            now: Instant::ZERO,
            random: StdRng::seed_from_u64(seed),
            hosts: Vec::new(),
            in_flight: BTreeMap::new(),
            sent_count: 0,
            cut: BTreeSet::new(),
            tap: None,
            budgets: BTreeMap::new(),
            digest: 0,
            counters: NetworkCounters::default(),
        })))
    }

    /// Plugs in a host with one queue. Dropping the port pulls the plug.
    pub fn attach(&self, hardware_address: [u8; 6], link: Link) -> SimPort {
        let mut ports = self.attach_queues(hardware_address, link, 1, Steering::Flow);
        ports.pop().expect("one queue was asked for")
    }

    /// Plugs in a host with `count` queues, which share its address; `steering` says which one a frame comes to.
    pub fn attach_queues(
        &self,
        hardware_address: [u8; 6],
        link: Link,
        count: usize,
        steering: Steering,
    ) -> Vec<SimPort> {
        assert!(count > 0, "a host has a queue");
        let mut state = self.0.borrow_mut();
        let host = HostId(state.hosts.len());
        let queues = (0..count).map(|_| Some(Queue::default())).collect();
        state.hosts.push(Host { switch: 0, hardware_address, link, steering, queues, shortage: 0.0 });
        (0..count).map(|queue| SimPort::new(self.clone(), host, queue, hardware_address, link.mtu)).collect()
    }

    /// Changes the cable of a host. Frames that are on the wire keep their fate.
    pub fn set_link(&self, host: HostId, link: Link) {
        self.0.borrow_mut().hosts[host.0].link = link;
    }

    /// Plugs a host into another switch than the first one, 0, on which all are. Hosts of two switches do not reach each other.
    pub fn plug_into(&self, host: HostId, switch: u8) {
        self.0.borrow_mut().hosts[host.0].switch = switch;
    }

    /// Changes which queue of a host its frames come to.
    pub fn set_steering(&self, host: HostId, steering: Steering) {
        self.0.borrow_mut().hosts[host.0].steering = steering;
    }

    /// In this share of breaths, 0 to 1, the ports of a host have no free buffer: nothing is received and nothing allocated.
    pub fn set_shortage(&self, host: HostId, share: f64) {
        self.0.borrow_mut().hosts[host.0].shortage = share;
    }

    /// Nothing gets from `from` to `to` any more, not even what is on the wire.
    pub fn cut(&self, from: HostId, to: HostId) {
        self.0.borrow_mut().cut.insert((from, to));
    }

    /// Nothing gets from one of the two to the other any more.
    pub fn partition(&self, one: HostId, other: HostId) {
        self.cut(one, other);
        self.cut(other, one);
    }

    /// Cuts a host off from all others that are there now.
    pub fn isolate(&self, host: HostId) {
        let count = self.0.borrow().hosts.len();
        for other in (0..count).map(HostId).filter(|other| *other != host) {
            self.partition(host, other);
        }
    }

    /// Undoes [`cut`](Network::cut) and [`partition`](Network::partition) between the two.
    pub fn heal(&self, one: HostId, other: HostId) {
        let mut state = self.0.borrow_mut();
        state.cut.remove(&(one, other));
        state.cut.remove(&(other, one));
    }

    /// Undoes every cut.
    pub fn heal_all(&self) {
        self.0.borrow_mut().cut.clear();
    }

    /// When something happens that a harness must see: the next arrival, or now if frames wait in a ring. A host that is
    /// not polled keeps this at now; a harness that freezes hosts uses [`next_arrival`](Network::next_arrival).
    pub fn next_event(&self) -> Option<Instant> {
        let state = self.0.borrow();
        let mut queues = state.hosts.iter().flat_map(|host| host.queues.iter().flatten());
        if queues.any(|queue| !queue.arrived.is_empty()) {
            return Some(state.now);
        }
        state.next_arrival()
    }

    /// When the next frame comes out of the wire.
    pub fn next_arrival(&self) -> Option<Instant> {
        self.0.borrow().next_arrival()
    }

    /// Moves the clock and puts what has arrived into the receive rings. Time never runs backwards: an earlier `now` is
    /// taken for the present one.
    pub fn advance(&self, now: Instant) {
        self.0.borrow_mut().advance(now);
    }

    /// The time of the last [`advance`](Network::advance).
    pub fn now(&self) -> Instant {
        self.0.borrow().now
    }

    /// Begins to keep a copy of every frame that is sent.
    pub fn tap(&self) {
        self.0.borrow_mut().tap.get_or_insert_default();
    }

    /// Ends that.
    pub fn untap(&self) {
        self.0.borrow_mut().tap = None;
    }

    /// Takes the copies that the tap has made since the last time.
    pub fn take_tapped(&self) -> Vec<Tapped> {
        let mut state = self.0.borrow_mut();
        state.tap.as_mut().map(|tap| tap.drain(..).collect()).unwrap_or_default()
    }

    /// A host sends so many more frames; later ones are as if they had never been made, as from a process that dies.
    pub fn send_no_more_than(&self, host: HostId, frames: u64) {
        self.0.borrow_mut().budgets.insert(host, frames);
    }

    /// A checksum over all that was ever sent, and when: equal for two runs that are equal.
    pub fn digest(&self) -> u32 {
        self.0.borrow().digest
    }

    /// What was counted since the start.
    pub fn counters(&self) -> NetworkCounters {
        self.0.borrow().counters
    }

    fn send(&self, from: HostId, bytes: Box<[u8]>) {
        self.0.borrow_mut().send(from, bytes);
    }

    fn take(&self, host: HostId, queue: usize) -> Option<Box<[u8]>> {
        self.0.borrow_mut().hosts[host.0].queues[queue].as_mut()?.arrived.pop_front()
    }

    fn waiting(&self, host: HostId, queue: usize) -> bool {
        self.0.borrow().hosts[host.0].queues[queue].as_ref().is_some_and(|queue| !queue.arrived.is_empty())
    }

    fn missed(&self, host: HostId, queue: usize) -> u64 {
        self.0.borrow().hosts[host.0].queues[queue].as_ref().map_or(0, |queue| queue.missed)
    }

    fn is_short(&self, host: HostId) -> bool {
        let mut state = self.0.borrow_mut();
        let share = state.hosts[host.0].shortage;
        state.chance(share)
    }

    fn detach(&self, host: HostId, queue: usize) {
        self.0.borrow_mut().hosts[host.0].queues[queue] = None;
    }
}

impl State {
    fn next_arrival(&self) -> Option<Instant> {
        self.in_flight.first_key_value().map(|((arrives_at, _), _)| *arrives_at)
    }

    fn advance(&mut self, now: Instant) {
        self.now = self.now.max(now);
        while let Some(entry) = self.in_flight.first_entry() {
            if entry.key().0 > self.now {
                break;
            }
            let frame = entry.remove();
            self.arrive(frame);
        }
    }

    /// A switch: unicast to its hosts with that address, everything with the group bit to all but the sender.
    fn send(&mut self, from: HostId, bytes: Box<[u8]>) {
        if let Some(budget) = self.budgets.get_mut(&from) {
            if *budget == 0 {
                return;
            }
            *budget -= 1;
        }
        self.digest = crc32c_append(self.digest ^ self.now.nanos() as u32, &bytes);
        if let Some(tap) = &mut self.tap {
            if tap.len() == TAPPED_MAX {
                tap.pop_front();
            }
            tap.push_back(Tapped { sent_at: self.now, from, bytes: bytes.clone() });
        }
        let Some(&destination) = bytes.first_chunk::<6>() else {
            self.counters.unknown += 1;
            return;
        };
        let group = destination[0] & 1 == 1;
        let mut known = group;
        for to in (0..self.hosts.len()).map(HostId) {
            let host = &self.hosts[to.0];
            let plugged = host.switch == self.hosts[from.0].switch && host.queues.iter().any(Option::is_some);
            if to != from && plugged && (group || host.hardware_address == destination) {
                known = true;
                self.carry(from, to, &bytes);
            }
        }
        self.counters.unknown += u64::from(!known);
    }

    /// One frame's way over two links. Chance is asked in a fixed order, whatever comes out, and only where a link has
    /// that fault: so a change to one fault leaves the others of the same seed alone as far as can be.
    fn carry(&mut self, from: HostId, to: HostId, bytes: &[u8]) {
        let links = [self.hosts[from.0].link, self.hosts[to.0].link];
        if links.iter().any(|link| bytes.len() > link.mtu + ETHERNET_HEADER) {
            self.counters.oversized += 1;
            return;
        }
        let mut lost = false;
        let mut copies = 1;
        let mut corruptions = 0;
        let mut congested = false;
        for link in links {
            lost |= self.chance(link.loss);
            copies += usize::from(self.chance(link.duplication));
            corruptions += usize::from(self.chance(link.corruption));
            congested |= self.chance(link.marking);
        }
        let mut bytes = Cow::from(bytes);
        if congested && is_segment(&bytes) {
            let capable = mark(bytes.to_mut());
            self.counters.marked += u64::from(capable);
            lost |= !capable;
        }
        if lost {
            self.counters.lost += 1;
            return;
        }
        self.counters.duplicated += copies as u64 - 1;
        for _ in 0..copies {
            if self.in_flight.len() == IN_FLIGHT_MAX {
                self.counters.overflowed += 1;
                continue;
            }
            let mut bytes = Box::<[u8]>::from(&*bytes);
            for _ in 0..corruptions {
                self.corrupt(&mut bytes);
            }
            let mut arrives_at = self.now;
            for link in links {
                let jitter = u64::try_from(link.jitter.as_nanos()).unwrap_or(u64::MAX);
                let jitter = if jitter > 0 { self.random.random_range(0..=jitter) } else { 0 };
                arrives_at = arrives_at + link.delay + Duration::from_nanos(jitter);
            }
            self.sent_count += 1;
            self.in_flight.insert((arrives_at, self.sent_count), InFlight { from, to, bytes });
        }
    }

    fn chance(&mut self, share: f64) -> bool {
        share > 0.0 && self.random.random_bool(share.min(1.0))
    }

    /// Turns one bit behind the Ethernet header.
    fn corrupt(&mut self, bytes: &mut [u8]) {
        let arp = bytes.get(12..14) == Some(&[0x08, 0x06]);
        if arp || bytes.len() <= ETHERNET_HEADER {
            return;
        }
        let place = self.random.random_range(ETHERNET_HEADER..bytes.len());
        bytes[place] ^= 1 << self.random.random_range(0..8);
        self.counters.corrupted += 1;
    }

    fn arrive(&mut self, frame: InFlight) {
        if self.cut.contains(&(frame.from, frame.to)) {
            self.counters.cut += 1;
            return;
        }
        let host = &mut self.hosts[frame.to.0];
        let queue = host.steering.queue(&frame.bytes, host.queues.len(), &mut self.random);
        // Nobody is behind a dropped port: a NIC whose driver is gone.
        let Some(queue) = host.queues[queue].as_mut() else { return };
        if queue.arrived.len() == RECEIVE_RING_SIZE {
            queue.missed += 1;
            self.counters.missed += 1;
            return;
        }
        queue.arrived.push_back(frame.bytes);
        self.counters.delivered += 1;
    }
}
