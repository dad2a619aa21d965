//! A host outside: a TCP stack and conversations on it, each led by a script.

use super::ledger::Ledger;
use super::proof::Shown;
use super::secure::{Broken, Layer};
use crate::env::Instant;
use crate::flow::{FlowEnd, FlowEvent, FlowId, Transport};
use crate::port::sim::{HostId, SimPort};
use crate::tcp::Stack;
use rand::rngs::StdRng;
use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// What a conversation has to send, and how it ends.
#[derive(Debug, Default)]
pub(super) struct Wire {
    pub out: VecDeque<u8>,
    /// So many bytes at a time, with this pause between.
    pub pace: Option<(usize, Duration)>,
    /// It ends with a reset after so many bytes.
    pub abort_after: Option<usize>,
    /// It neither reads nor writes before then.
    pub busy_until: Instant,
    /// It ends when all is sent.
    pub closing: bool,
    /// It ends at once.
    pub aborting: bool,
    /// Who has begun it, if it was the other side.
    pub client: Option<IpAddr>,
    /// What the end that is connected to has shown.
    pub shown: Shown,
    sent: usize,
}

impl Wire {
    pub(super) fn say(&mut self, text: &str) {
        self.out.extend(text.as_bytes());
    }
}

/// What scripts see of the world.
pub(super) struct Scene<'a> {
    pub now: Instant,
    pub random: &'a mut StdRng,
    pub ledger: &'a mut Ledger,
}

/// One side of a conversation.
pub(super) trait Script {
    /// The connection is there.
    fn begin(&mut self, wire: &mut Wire, scene: &mut Scene<'_>);

    /// Bytes came.
    fn receive(&mut self, bytes: &[u8], wire: &mut Wire, scene: &mut Scene<'_>);

    /// The other side sends no more.
    fn finished(&mut self, wire: &mut Wire, scene: &mut Scene<'_>);

    /// The conversation is over; nothing follows.
    fn over(&mut self, end: Option<FlowEnd>, scene: &mut Scene<'_>);

    /// How long it waits for the other side before it gives up.
    fn patience(&self) -> Duration;
}

struct Conversation<S> {
    script: S,
    layer: Layer,
    wire: Wire,
    /// When something came or went last.
    active_at: Instant,
}

impl<S: Script> Conversation<S> {
    fn deadline(&self, now: Instant) -> Instant {
        let patience = self.active_at + self.script.patience();
        if self.wire.busy_until > now { self.wire.busy_until } else { patience }
    }
}

/// A host with conversations of one kind.
pub(super) struct Peer<S> {
    stack: Stack<SimPort>,
    conversations: BTreeMap<FlowId, Conversation<S>>,
    events: Vec<FlowEvent>,
    due: Instant,
}

impl<S: Script> Peer<S> {
    pub(super) fn new(stack: Stack<SimPort>) -> Peer<S> {
        Peer { stack, conversations: BTreeMap::new(), events: Vec::new(), due: Instant::ZERO }
    }

    pub(super) fn host(&self) -> HostId {
        self.stack.port().host()
    }

    pub(super) fn count(&self) -> usize {
        self.conversations.len()
    }

    /// When it must be looked at.
    pub(super) fn next(&self, now: Instant) -> Instant {
        if self.stack.port().waiting() { now } else { self.due }
    }

    pub(super) fn connect(
        &mut self,
        (mut script, layer): (S, Layer),
        local: IpAddr,
        remote: SocketAddr,
        scene: &mut Scene<'_>,
    ) {
        match self.stack.connect(scene.now, local, remote) {
            Ok(flow) => {
                let wire = Wire::default();
                self.conversations.insert(flow, Conversation { script, layer, wire, active_at: scene.now });
            }
            Err(_) => script.over(Some(FlowEnd::Unreachable), scene),
        }
        self.due = scene.now;
    }

    /// Takes in what has come, lets scripts go on, sends what they say.
    pub(super) fn step(&mut self, scene: &mut Scene<'_>, mut accept: impl FnMut(usize, &mut Scene<'_>) -> (S, Layer)) {
        self.stack.poll(scene.now, &mut self.events);
        for event in std::mem::take(&mut self.events) {
            match event {
                FlowEvent::Accepted { flow, listener, remote, .. } => {
                    let (script, layer) = accept(listener, scene);
                    let wire = Wire { client: Some(remote.ip()), ..Wire::default() };
                    let mut talk = Conversation { script, layer, wire, active_at: scene.now };
                    talk.script.begin(&mut talk.wire, scene);
                    self.conversations.insert(flow, talk);
                    self.serve(flow, scene);
                }
                FlowEvent::Connected { flow } => {
                    if let Some(talk) = self.conversations.get_mut(&flow) {
                        talk.active_at = scene.now;
                        talk.script.begin(&mut talk.wire, scene);
                    }
                    self.serve(flow, scene);
                }
                FlowEvent::Readable { flow } | FlowEvent::Writable { flow } => self.serve(flow, scene),
                FlowEvent::Ended { flow, end } => {
                    if let Some(mut talk) = self.conversations.remove(&flow) {
                        talk.script.over(Some(end), scene);
                    }
                }
            }
        }
        let late: Vec<FlowId> = (self.conversations.iter())
            .filter(|(_, talk)| talk.deadline(scene.now) <= scene.now || talk.wire.busy_until == scene.now)
            .map(|(flow, _)| *flow)
            .collect();
        for flow in late {
            if let Some(talk) = self.conversations.get_mut(&flow) {
                talk.wire.aborting |= talk.active_at + talk.script.patience() <= scene.now;
            }
            self.serve(flow, scene);
        }
        self.stack.flush(scene.now);
        let talks = self.conversations.values().map(|talk| talk.deadline(scene.now));
        self.due = talks.chain(self.stack.next_deadline()).min().unwrap_or(Instant::FAR);
    }

    fn serve(&mut self, flow: FlowId, scene: &mut Scene<'_>) {
        let Some(talk) = self.conversations.get_mut(&flow) else { return };
        if talk.wire.busy_until <= scene.now {
            read(&mut self.stack, flow, talk, scene);
        }
        if talk.wire.busy_until <= scene.now && !talk.wire.aborting {
            write(&mut self.stack, flow, talk, scene.now);
        }
        let done = talk.wire.closing && talk.wire.out.is_empty() && !talk.layer.has_output();
        if !talk.wire.aborting && !done {
            return;
        }
        if talk.wire.aborting {
            self.stack.abort(flow);
        } else {
            talk.layer.close();
            // Without room for it the other side finds it cut off.
            talk.layer.give(|bytes| self.stack.send(flow, bytes));
            self.stack.close(flow);
        }
        if let Some(mut talk) = self.conversations.remove(&flow) {
            talk.script.over(None, scene);
        }
    }
}

fn read<S: Script>(stack: &mut Stack<SimPort>, flow: FlowId, talk: &mut Conversation<S>, scene: &mut Scene<'_>) {
    loop {
        let received = stack.received(flow);
        let (count, finished) = (received.bytes.len(), received.finished && !received.more);
        if count > 0 {
            let heard = talk.layer.receive(received.bytes);
            talk.active_at = scene.now;
            stack.consume(flow, count);
            match heard {
                Ok(bytes) if bytes.is_empty() => {}
                Ok(bytes) => {
                    talk.wire.shown = talk.layer.shown();
                    talk.script.receive(&bytes, &mut talk.wire, scene);
                }
                Err(Broken) => talk.wire.aborting = true,
            }
        }
        let finished = finished || talk.layer.has_ended();
        if finished && !talk.wire.closing {
            talk.script.finished(&mut talk.wire, scene);
        }
        if count == 0 || talk.wire.busy_until > scene.now || talk.wire.aborting {
            return;
        }
    }
}

fn write<S>(stack: &mut Stack<SimPort>, flow: FlowId, talk: &mut Conversation<S>, now: Instant) {
    let wire = &mut talk.wire;
    let mut allowed = wire.pace.map_or(usize::MAX, |(bytes, _)| bytes);
    if let Some(limit) = wire.abort_after {
        allowed = allowed.min(limit - wire.sent);
    }
    let mut moved = 0;
    while moved < allowed && !wire.out.is_empty() {
        let front = wire.out.as_slices().0;
        let piece = &front[..front.len().min(allowed - moved)];
        let count = if talk.layer.is_clear() { stack.send(flow, piece) } else { talk.layer.send(piece) };
        wire.out.drain(..count);
        moved += count;
        if count == 0 || !talk.layer.give(|bytes| stack.send(flow, bytes)) {
            break;
        }
    }
    talk.layer.give(|bytes| stack.send(flow, bytes));
    wire.sent += moved;
    if moved > 0 {
        talk.active_at = now;
    }
    if let Some((_, pause)) = wire.pace
        && moved > 0
    {
        wire.busy_until = now + pause;
    }
    wire.aborting |= wire.abort_after.is_some_and(|limit| wire.sent >= limit);
}
