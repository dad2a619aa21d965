//! What a worker has of a device: one queue, several of them, or none.
//!
//! In: the queues of a device and how many workers there are. Out: a [`Lane`] for each. Several queues are polled in turns
//! and look like one. A worker without a queue is the **guest** of one that has some: that worker hands it the frames that
//! are for it, and takes along those that it gives out.

use super::{BURST_SIZE, Burst, Capabilities, Frame, Port, PortCounters};
use crate::limits::GUEST_FRAMES_MAX;
use rustix::event::{EventfdFlags, epoll, eventfd};
use slab::Slab;
use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Frames of several queues carry the place of theirs above this bit of their number.
const PLACE_SHIFT: u32 = 26;

/// A worker's share of a device.
pub enum Lane<P> {
    /// It polls queues of its own.
    Queues(Queues<P>),
    /// It has none.
    Guest(Guest),
}

/// Shares the queues of a device, at least one, among workers, at least one: in turns, and who gets none is the guest of one
/// who does, in turns again.
pub fn share_out<P: Port>(queues: Vec<P>, workers: usize) -> io::Result<Vec<Lane<P>>> {
    let (count, first) = (queues.len(), &queues[0]);
    let guest = |worker: usize| Guest::new((worker % count) as u16, first.hardware_address(), first.capabilities());
    let guests = (count..workers).map(guest).collect::<io::Result<Vec<_>>>()?;
    let mut shares: Vec<Vec<P>> = (0..workers.min(count)).map(|_| Vec::new()).collect();
    for (place, queue) in queues.into_iter().enumerate() {
        shares[place % workers].push(queue);
    }
    let lanes = shares.into_iter().map(|queues| Ok(Lane::Queues(Queues::new(queues)?)));
    lanes.chain(guests.into_iter().map(|guest| Ok(Lane::Guest(guest)))).collect()
}

/// Queues that look like one.
pub struct Queues<P> {
    queues: Vec<P>,
    /// The one that is looked at first, and that frames to send come from.
    first: usize,
    /// Readable when one of several is.
    any: Option<OwnedFd>,
}

impl<P: Port> Queues<P> {
    fn new(queues: Vec<P>) -> io::Result<Queues<P>> {
        assert!((1..1 << (u32::BITS - PLACE_SHIFT)).contains(&queues.len()), "a place has some bits");
        let wakeups: Option<Vec<BorrowedFd<'_>>> = queues.iter().map(Port::wakeup).collect();
        let any = match wakeups {
            Some(wakeups) if wakeups.len() > 1 => {
                let any = epoll::create(epoll::CreateFlags::CLOEXEC)?;
                for wakeup in wakeups {
                    epoll::add(&any, wakeup, epoll::EventData::new_u64(0), epoll::EventFlags::IN)?;
                }
                Some(any)
            }
            _ => None,
        };
        Ok(Queues { queues, first: 0, any })
    }

    /// The place of a frame's queue, and what it is there.
    fn untag(frame: &Frame) -> (usize, Frame) {
        let place = frame.buffer >> PLACE_SHIFT;
        (place as usize, Frame::new(frame.buffer & ((1 << PLACE_SHIFT) - 1), frame.offset, frame.length))
    }

    fn tag(place: usize, frame: &mut Frame) {
        debug_assert_eq!(frame.buffer >> PLACE_SHIFT, 0, "no pool is that large");
        frame.buffer |= (place as u32) << PLACE_SHIFT;
    }

    fn receive(&mut self, burst: &mut Burst) {
        for step in 0..self.queues.len() {
            let place = (self.first + step) % self.queues.len();
            let before = burst.len();
            self.queues[place].receive(burst);
            burst[before..].iter_mut().for_each(|frame| Queues::<P>::tag(place, frame));
            if burst.len() == BURST_SIZE {
                break;
            }
        }
    }

    fn allocate(&mut self, length: usize) -> Option<Frame> {
        let mut frame = self.queues[self.first].allocate(length)?;
        Queues::<P>::tag(self.first, &mut frame);
        Some(frame)
    }

    fn flush(&mut self) {
        self.queues.iter_mut().for_each(Port::flush);
        self.first = (self.first + 1) % self.queues.len();
    }

    fn counters(&self) -> PortCounters {
        self.queues.iter().map(Port::counters).fold(PortCounters::default(), |sum, more| PortCounters {
            frames_received: sum.frames_received + more.frames_received,
            frames_sent: sum.frames_sent + more.frames_sent,
            bytes_received: sum.bytes_received + more.bytes_received,
            bytes_sent: sum.bytes_sent + more.bytes_sent,
            frames_missed: sum.frames_missed + more.frames_missed,
            frames_unsent: sum.frames_unsent + more.frames_unsent,
            frames_foreign: sum.frames_foreign + more.frames_foreign,
        })
    }
}

/// The port of a worker without a queue.
pub struct Guest {
    /// Whose queues its frames leave by.
    host: u16,
    hardware_address: [u8; 6],
    capabilities: Capabilities,
    frames: Slab<Vec<u8>>,
    outgoing: VecDeque<Box<[u8]>>,
    counters: PortCounters,
    /// Never readable: what is for a guest comes from its host.
    nothing: OwnedFd,
}

impl Guest {
    fn new(host: u16, hardware_address: [u8; 6], capabilities: Capabilities) -> io::Result<Guest> {
        let nothing = eventfd(0, EventfdFlags::CLOEXEC)?;
        // Its frames are carried one by one, and its host's queues have few large ones.
        let capabilities = Capabilities { segmentation: None, ..capabilities };
        let (frames, outgoing, counters) = (Slab::new(), VecDeque::new(), PortCounters::default());
        Ok(Guest { host, hardware_address, capabilities, frames, outgoing, counters, nothing })
    }

    fn allocate(&mut self, length: usize) -> Option<Frame> {
        let fits = length <= super::ETHERNET_HEADER + self.capabilities.mtu && self.is_ready();
        fits.then(|| Frame::new(self.frames.insert(vec![0; length]) as u32, 0, length as u16))
    }

    fn transmit(&mut self, frame: Frame) {
        let mut bytes = self.frames.remove(frame.buffer as usize);
        bytes.truncate(frame.length());
        self.counters.frames_sent += 1;
        self.counters.bytes_sent += bytes.len() as u64;
        self.outgoing.push_back(bytes.into());
    }

    fn is_ready(&self) -> bool {
        self.frames.len() + self.outgoing.len() < GUEST_FRAMES_MAX
    }
}

impl<P: Port> Lane<P> {
    /// Its queues.
    pub fn queues(&self) -> &[P] {
        match self {
            Lane::Queues(queues) => &queues.queues,
            Lane::Guest(_) => &[],
        }
    }
}

impl<P: Port> Port for Lane<P> {
    fn hardware_address(&self) -> [u8; 6] {
        match self {
            Lane::Queues(queues) => queues.queues[0].hardware_address(),
            Lane::Guest(guest) => guest.hardware_address,
        }
    }

    fn capabilities(&self) -> Capabilities {
        match self {
            Lane::Queues(queues) => queues.queues[0].capabilities(),
            Lane::Guest(guest) => guest.capabilities,
        }
    }

    fn receive(&mut self, burst: &mut Burst) {
        if let Lane::Queues(queues) = self {
            queues.receive(burst);
        }
    }

    fn bytes(&self, frame: &Frame) -> &[u8] {
        match self {
            Lane::Queues(queues) => {
                let (place, frame) = Queues::<P>::untag(frame);
                queues.queues[place].bytes(&frame)
            }
            Lane::Guest(guest) => &guest.frames[frame.buffer as usize][..frame.length()],
        }
    }

    fn bytes_mut(&mut self, frame: &mut Frame) -> &mut [u8] {
        match self {
            Lane::Queues(queues) => {
                let (place, mut frame) = Queues::<P>::untag(frame);
                queues.queues[place].bytes_mut(&mut frame)
            }
            Lane::Guest(guest) => &mut guest.frames[frame.buffer as usize][..frame.length()],
        }
    }

    fn allocate(&mut self, length: usize) -> Option<Frame> {
        match self {
            Lane::Queues(queues) => queues.allocate(length),
            Lane::Guest(guest) => guest.allocate(length),
        }
    }

    fn transmit(&mut self, frame: Frame) {
        match self {
            Lane::Queues(queues) => {
                let (place, frame) = Queues::<P>::untag(&frame);
                queues.queues[place].transmit(frame);
            }
            Lane::Guest(guest) => guest.transmit(frame),
        }
    }

    fn transmit_cut(&mut self, frame: Frame, size: u16) {
        match self {
            Lane::Queues(queues) => {
                let (place, frame) = Queues::<P>::untag(&frame);
                queues.queues[place].transmit_cut(frame, size);
            }
            Lane::Guest(_) => unreachable!("a guest offers no segmentation"),
        }
    }

    fn transmit_ready(&mut self) -> bool {
        match self {
            Lane::Queues(queues) => queues.queues[queues.first].transmit_ready(),
            Lane::Guest(guest) => guest.is_ready(),
        }
    }

    fn release(&mut self, frame: Frame) {
        match self {
            Lane::Queues(queues) => {
                let (place, frame) = Queues::<P>::untag(&frame);
                queues.queues[place].release(frame);
            }
            Lane::Guest(guest) => drop(guest.frames.remove(frame.buffer as usize)),
        }
    }

    fn flush(&mut self) {
        if let Lane::Queues(queues) = self {
            queues.flush();
        }
    }

    fn next_carried(&mut self) -> Option<(u16, Box<[u8]>)> {
        match self {
            Lane::Queues(_) => None,
            Lane::Guest(guest) => guest.outgoing.pop_front().map(|frame| (guest.host, frame)),
        }
    }

    fn wakeup(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Lane::Queues(queues) => queues.any.as_ref().map(AsFd::as_fd).or_else(|| queues.queues[0].wakeup()),
            Lane::Guest(guest) => Some(guest.nothing.as_fd()),
        }
    }

    fn counters(&self) -> PortCounters {
        match self {
            Lane::Queues(queues) => queues.counters(),
            Lane::Guest(guest) => guest.counters,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::Instant;
    use crate::port::sim::{Link, Network, SimPort, Steering};
    use std::time::Duration;

    const OURS: [u8; 6] = [2, 0, 0, 0, 0, 1];
    const THEIRS: [u8; 6] = [2, 0, 0, 0, 0, 2];

    fn frame(number: u8) -> Vec<u8> {
        [&OURS[..], &THEIRS, &[0x88, 0xb5], &[number; 50]].concat()
    }

    fn send(port: &mut impl Port, bytes: &[u8]) {
        let mut frame = port.allocate(bytes.len()).expect("a free frame");
        port.bytes_mut(&mut frame).copy_from_slice(bytes);
        port.transmit(frame);
        port.flush();
    }

    fn lanes(queues: usize, workers: usize) -> (Network, SimPort, Vec<Lane<SimPort>>) {
        let network = Network::new(7);
        let other = network.attach(THEIRS, Link::default());
        let ports = network.attach_queues(OURS, Link::default(), queues, Steering::Random);
        (network, other, share_out(ports, workers).unwrap())
    }

    #[test]
    fn queues_and_workers_of_any_number_find_each_other() {
        for (queues, workers, own) in [
            (1, 1, &[1][..]),
            (4, 1, &[4]),
            (4, 2, &[2, 2]),
            (3, 2, &[2, 1]),
            (2, 4, &[1, 1, 0, 0]),
            (1, 3, &[1, 0, 0]),
        ] {
            let (_, _, lanes) = lanes(queues, workers);
            assert_eq!(lanes.iter().map(|lane| lane.queues().len()).collect::<Vec<_>>(), own);
        }
    }

    #[test]
    fn several_queues_look_like_one() {
        let (network, mut other, mut lanes) = lanes(3, 1);
        let lane = &mut lanes[0];
        for number in 0..30 {
            send(&mut other, &frame(number));
        }
        network.advance(Instant::ZERO + Duration::from_secs(1));
        let mut burst = Burst::new();
        lane.receive(&mut burst);
        let mut numbers: Vec<u8> = burst.iter().map(|frame| lane.bytes(frame)[20]).collect();
        numbers.sort_unstable();
        assert_eq!(numbers, (0..30).collect::<Vec<_>>());
        let queues = burst.iter().map(|frame| frame.buffer >> PLACE_SHIFT).collect::<std::collections::BTreeSet<_>>();
        assert_eq!(queues.len(), 3);
        burst.drain(..).for_each(|frame| lane.release(frame));
        for number in 0..30 {
            let mut bytes = frame(number);
            bytes[..6].copy_from_slice(&THEIRS);
            send(lane, &bytes);
        }
        assert!(lane.queues().iter().all(|queue| queue.counters().frames_sent == 10), "they take turns");
        assert_eq!((lane.counters().frames_sent, lane.counters().frames_received), (30, 30));
        assert!(lane.queues().iter().all(|queue| queue.frames_out() == 0));
    }

    #[test]
    fn what_a_guest_sends_is_carried_by_its_host_and_bounded() {
        let (_, _, mut lanes) = lanes(2, 4);
        let guest = &mut lanes[3];
        let mut sent = 0;
        while guest.transmit_ready() {
            let mut frame = guest.allocate(60).unwrap();
            guest.bytes_mut(&mut frame)[59] = sent as u8;
            frame.truncate(60);
            guest.transmit(frame);
            sent += 1;
        }
        assert_eq!((sent, guest.allocate(60).is_none()), (GUEST_FRAMES_MAX, true));
        for number in 0..sent {
            let (host, frame) = guest.next_carried().unwrap();
            assert_eq!((host, frame.len(), frame[59]), (1, 60, number as u8));
        }
        assert!(guest.next_carried().is_none());
        let frame = guest.allocate(60).unwrap();
        guest.release(frame);
        assert!(guest.allocate(10_000).is_none(), "no frame is longer than the link's packets");
    }
}
