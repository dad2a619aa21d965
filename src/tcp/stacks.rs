//! The stacks of a worker that has a share of several devices: they look like one transport.
//!
//! In: a stack for each port, in an order that is the same for all workers. Out: one [`Transport`]. What concerns an own address
//! is done by the stack that has it. A flow's index, a listener's place and a frame for another worker tell which stack they are
//! of, so that nobody above need know that there are several: an address is all that says where a connection goes.
//!
//! Those of the first stack are what they are without any other.

use super::Stack;
use super::stack::RETRY_PAUSE;
use crate::env::Instant;
use crate::flow::{ConnectError, FlowEvent, FlowId, PathFacts, Peer, Received, Transport, TransportCounters};
use crate::limits::Gauge;
use crate::port::Port;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::BorrowedFd;
use std::time::Duration;

/// Flows carry the place of their stack above this bit of their index: no table is that large.
const PLACE_SHIFT: u32 = 30;

/// The most stacks that the bits above have room for.
const STACKS_MAX: usize = 1 << (u32::BITS - PLACE_SHIFT);

/// TCP over several ports.
pub struct Stacks<P: Port> {
    stacks: Vec<Stack<P>>,
}

impl<P: Port> Stacks<P> {
    /// At least one; that of mail comes first.
    pub fn new(stacks: Vec<Stack<P>>) -> Stacks<P> {
        assert!((1..=STACKS_MAX).contains(&stacks.len()), "a place has some bits");
        Stacks { stacks }
    }

    /// The stacks.
    pub fn each(&self) -> &[Stack<P>] {
        &self.stacks
    }

    /// Shows how full the tables of all are.
    pub fn gauge(&self, see: &mut dyn FnMut(Gauge)) {
        self.stacks.iter().for_each(|stack| stack.gauge(see));
    }

    /// The stack of a flow, and what the flow is there.
    fn of(&mut self, flow: FlowId) -> (&mut Stack<P>, FlowId) {
        let place = (flow.index >> PLACE_SHIFT) as usize;
        (&mut self.stacks[place], FlowId { index: flow.index & ((1 << PLACE_SHIFT) - 1), ..flow })
    }

    /// Those that have one of these addresses.
    fn having(&mut self, addresses: &[IpAddr]) -> impl Iterator<Item = &mut Stack<P>> {
        self.stacks.iter_mut().filter(|stack| addresses.iter().any(|address| stack.has(*address)))
    }
}

fn tag(place: usize, flow: &mut FlowId) {
    debug_assert_eq!(flow.index >> PLACE_SHIFT, 0, "no table is that large");
    flow.index |= (place as u32) << PLACE_SHIFT;
}

impl<P: Port> Transport for Stacks<P> {
    fn poll(&mut self, now: Instant, events: &mut Vec<FlowEvent>) {
        let mut listeners_before = 0;
        for (place, stack) in self.stacks.iter_mut().enumerate() {
            let before = events.len();
            stack.poll(now, events);
            for event in &mut events[before..] {
                match event {
                    FlowEvent::Accepted { flow, listener, .. } => {
                        tag(place, flow);
                        *listener += listeners_before;
                    }
                    FlowEvent::Connected { flow }
                    | FlowEvent::Readable { flow }
                    | FlowEvent::Writable { flow }
                    | FlowEvent::Ended { flow, .. } => tag(place, flow),
                }
            }
            listeners_before += stack.listeners_count();
        }
    }

    fn connect(&mut self, now: Instant, local: IpAddr, remote: SocketAddr) -> Result<FlowId, ConnectError> {
        let place = self.stacks.iter().position(|stack| stack.has(local)).ok_or(ConnectError::NoRoute)?;
        let mut flow = self.stacks[place].connect(now, local, remote)?;
        tag(place, &mut flow);
        Ok(flow)
    }

    fn received(&mut self, flow: FlowId) -> Received<'_> {
        let (stack, flow) = self.of(flow);
        stack.received(flow)
    }

    fn consume(&mut self, flow: FlowId, count: usize) {
        let (stack, flow) = self.of(flow);
        stack.consume(flow, count);
    }

    fn send(&mut self, flow: FlowId, bytes: &[u8]) -> usize {
        let (stack, flow) = self.of(flow);
        stack.send(flow, bytes)
    }

    fn acknowledged(&mut self, flow: FlowId) -> bool {
        let (stack, flow) = self.of(flow);
        stack.acknowledged(flow)
    }

    fn path(&mut self, flow: FlowId) -> Option<PathFacts> {
        let (stack, flow) = self.of(flow);
        stack.path(flow)
    }

    fn close(&mut self, flow: FlowId) {
        let (stack, flow) = self.of(flow);
        stack.close(flow);
    }

    fn abort(&mut self, flow: FlowId) {
        let (stack, flow) = self.of(flow);
        stack.abort(flow);
    }

    fn flush(&mut self, now: Instant) {
        self.stacks.iter_mut().for_each(|stack| stack.flush(now));
    }

    fn next_deadline(&self) -> Option<Instant> {
        self.stacks.iter().filter_map(Stack::next_deadline).min()
    }

    fn wait(&mut self, timeout: Duration, wakeups: &[BorrowedFd<'_>]) {
        let Some((first, others)) = self.stacks.split_first_mut() else { return };
        let of_others: Vec<_> = others.iter().filter_map(|stack| stack.port().wakeup()).collect();
        // A port that wakes nobody can only be polled.
        let timeout = if of_others.len() < others.len() { timeout.min(RETRY_PAUSE) } else { timeout };
        first.wait(timeout, &[wakeups, &of_others].concat());
    }

    fn take_foreign(&mut self, give: &mut dyn FnMut(Peer, u8, Box<[u8]>)) {
        for (place, stack) in (0..).zip(&mut self.stacks) {
            stack.take_foreign(&mut |peer, _, frame| give(peer, place, frame));
        }
    }

    fn inject(&mut self, now: Instant, port: u8, frame: &[u8]) {
        self.stacks[usize::from(port)].inject(now, 0, frame);
    }

    fn carry(&mut self, port: u8, frame: &[u8]) {
        self.stacks[usize::from(port)].carry(0, frame);
    }

    fn stop_listening(&mut self) {
        self.stacks.iter_mut().for_each(Stack::stop_listening);
    }

    fn assume(&mut self, now: Instant, addresses: &[IpAddr]) {
        self.having(addresses).for_each(|stack| stack.assume(now, addresses));
    }

    fn turn_away(&mut self, addresses: &[IpAddr]) {
        self.having(addresses).for_each(|stack| stack.turn_away(addresses));
    }

    fn has_passers(&self, addresses: &[IpAddr]) -> bool {
        self.stacks.iter().any(|stack| stack.has_passers(addresses))
    }

    fn suspend(&mut self, addresses: &[IpAddr]) {
        self.having(addresses).for_each(|stack| stack.suspend(addresses));
    }

    fn withdraw(&mut self, addresses: &[IpAddr]) {
        self.having(addresses).for_each(|stack| stack.withdraw(addresses));
    }

    fn reset_stale(&mut self, now: Instant, local: SocketAddr, remote: SocketAddr) {
        self.having(&[local.ip()]).for_each(|stack| stack.reset_stale(now, local, remote));
    }

    fn counters(&self) -> TransportCounters {
        let mut sum = TransportCounters::default();
        self.stacks.iter().for_each(|stack| sum += stack.counters());
        sum
    }
}
