//! The links of a worker: flows that come and go, and what is said on them.

use super::{Errand, Link, Mirror, Slot};
use crate::env::disk::Disk;
use crate::flow::{FlowId, Transport};
use crate::limits::MIRROR_RECONNECT_DELAY;
use crate::mirror::arbiter::Order;
use crate::mirror::identity_of_log;
use crate::mirror::link::{Following, Hello, OwnerEnd, Refusal, ReplicaEnd, Want};
use crate::worker::parts::Parts;
use std::net::{IpAddr, SocketAddr};

impl<D: Disk> Mirror<D> {
    /// The partner connects.
    pub(in crate::worker) fn accepted<T: Transport>(
        &mut self,
        parts: &mut Parts<T, D>,
        flow: FlowId,
        local: SocketAddr,
        remote: IpAddr,
    ) {
        let number = local.port().wrapping_sub(self.equipment.partner.port());
        let words = self.shares[identity_of_log(number) as usize].words;
        let (true, Some(words)) = (remote == self.equipment.partner.ip(), words) else {
            return parts.transport.abort(flow);
        };
        self.flows.insert(flow, None);
        self.strangers.insert(flow, ReplicaEnd::new(words, self.equipment.timing.beat, parts.now.mono));
        self.readable(parts, flow);
    }

    /// Our connection is there.
    pub(in crate::worker) fn connected<T: Transport>(&mut self, parts: &mut Parts<T, D>, flow: FlowId) {
        let now = parts.now.mono;
        let Some(Some(number)) = self.flows.get(&flow).copied() else { return };
        let share = &mut self.shares[identity_of_log(number) as usize];
        let (Some(slot), Some(words)) = (share.slots.get_mut(&number), share.words) else { return };
        let end = OwnerEnd::new(
            share.identity,
            (number, self.equipment.segment_size),
            words,
            self.equipment.timing.beat,
            now,
        );
        slot.link = Some(Link::Owner { flow, end: Box::new(end) });
        send(parts, slot);
    }

    /// A link is gone.
    pub(in crate::worker) fn ended<T: Transport>(&mut self, parts: &mut Parts<T, D>, flow: FlowId) {
        self.strangers.remove(&flow);
        if let Some(Some(number)) = self.flows.remove(&flow) {
            self.drop_link(parts, number);
        }
    }

    fn drop_link<T: Transport>(&mut self, parts: &mut Parts<T, D>, number: u16) {
        let share = &mut self.shares[identity_of_log(number) as usize];
        if let Some(slot) = share.slots.get_mut(&number) {
            slot.link = None;
            slot.connect_at = parts.now.mono + MIRROR_RECONNECT_DELAY;
        }
        if let Some(log) = parts.logs.by_number(number) {
            log.partner_gone();
        }
    }

    /// Bytes have come, or may go.
    pub(in crate::worker) fn readable<T: Transport>(&mut self, parts: &mut Parts<T, D>, flow: FlowId) {
        let now = parts.now;
        if let Some(end) = self.strangers.get_mut(&flow) {
            let received = parts.transport.received(flow);
            let count = end.receive::<D>(received.bytes, None, now);
            parts.transport.consume(flow, count);
            if end.error().is_some() {
                parts.transport.abort(flow);
                return self.ended(parts, flow);
            }
            if let Some(Want::Log(hello)) = end.want() {
                self.introduce(parts, flow, hello);
            }
            return;
        }
        let Some(Some(number)) = self.flows.get(&flow).copied() else { return };
        let share = &mut self.shares[identity_of_log(number) as usize];
        let counts = share.counts();
        let Some(slot) = share.slots.get_mut(&number) else { return };
        loop {
            let received = parts.transport.received(flow);
            let count = match &mut slot.link {
                Some(Link::Owner { end, .. }) => {
                    let Some(log) = parts.logs.by_number(number) else { return };
                    end.receive(received.bytes, counts, log, now.mono);
                    slot.heard_at = end.heard_at();
                    share.heard = end.heard().or(share.heard);
                    received.bytes.len()
                }
                Some(Link::Replica { end, .. }) => {
                    let count = end.receive(received.bytes, parts.logs.by_number(number), now);
                    slot.heard_at = end.heard_at();
                    share.heard = end.heard().or(share.heard);
                    count
                }
                _ => 0,
            };
            let finished = received.finished && !received.more && count == received.bytes.len();
            parts.transport.consume(flow, count);
            if finished {
                parts.transport.close(flow);
                return self.ended(parts, flow);
            }
            if count == 0 {
                return;
            }
        }
    }

    /// A stranger has said what it comes for.
    fn introduce<T: Transport>(&mut self, parts: &mut Parts<T, D>, flow: FlowId, hello: Hello) {
        let Some(mut end) = self.strangers.remove(&flow) else { return };
        let Hello { identity, log: number, segment_size } = hello;
        let share = &mut self.shares[identity as usize];
        share.heard = end.heard().or(share.heard);
        let follows = matches!(share.order, Some(Order::Follow { .. }));
        let refusal = match share.slots.get_mut(&number) {
            _ if segment_size != self.equipment.segment_size => Some(Refusal::SegmentSize),
            None => Some(Refusal::WrongWorker),
            Some(slot) => {
                slot.heard_at = parts.now.mono;
                if !follows {
                    Some(Refusal::NotFollowing)
                } else if slot.away {
                    Some(Refusal::Rewinding)
                } else {
                    None
                }
            }
        };
        if let Some(refusal) = refusal {
            end.refuse(refusal);
            // A few bytes: they find room in a flow that has sent nothing.
            while !end.output().is_empty() {
                let count = parts.transport.send(flow, end.output());
                if count == 0 {
                    break;
                }
                end.sent(count, parts.now.mono);
            }
            parts.transport.close(flow);
            self.flows.remove(&flow);
            return;
        }
        let Some(slot) = share.slots.get_mut(&number) else { return };
        if let Some(before) = slot.link.replace(Link::Replica { flow, end: Box::new(end) }) {
            parts.transport.abort(before.flow());
            self.flows.remove(&before.flow());
        }
        self.flows.insert(flow, Some(number));
    }

    pub(super) fn pump_log<T: Transport>(&mut self, parts: &mut Parts<T, D>, number: u16) -> bool {
        let (now, timeout) = (parts.now, self.equipment.timing.timeout);
        let share = &mut self.shares[identity_of_log(number) as usize];
        let (owns, words, order, counts) = (share.owns, share.words, share.order, share.counts());
        let Some(slot) = share.slots.get_mut(&number) else { return false };
        let mut drop = None;
        match &mut slot.link {
            None if owns && !slot.away && words.is_some() && now.mono >= slot.connect_at => {
                slot.connect_at = now.mono + MIRROR_RECONNECT_DELAY;
                let partner = self.equipment.partner;
                let to = SocketAddr::new(partner.ip(), partner.port() + number);
                if let Ok(flow) = parts.transport.connect(now.mono, self.equipment.address, to) {
                    slot.link = Some(Link::Connecting { flow, since: now.mono });
                    self.flows.insert(flow, Some(number));
                    return true;
                }
            }
            None => {}
            Some(Link::Connecting { flow, since }) => {
                // The kernel of TCP is patient: a partner that comes back shall not wait for it.
                drop = (now.mono >= *since + timeout).then_some((*flow, true));
            }
            Some(Link::Owner { flow, end }) => {
                if let Some(log) = parts.logs.by_number(number) {
                    end.pump(counts, log, now.mono);
                }
                if end.end().is_some() {
                    drop = Some((*flow, false));
                } else if now.mono >= end.heard_at() + timeout {
                    drop = Some((*flow, true));
                }
            }
            Some(Link::Replica { flow, end }) => {
                let mut ends = now.mono >= end.heard_at() + timeout;
                if let (Some(log), Some(Order::Follow { epoch, acknowledge })) = (parts.logs.by_number(number), order) {
                    if matches!(end.want(), Some(Want::Log(_))) && log.is_settled() {
                        end.welcome(log);
                    }
                    end.pump(log, Following { epoch, promised: acknowledge }, now);
                }
                match end.want() {
                    Some(Want::Rewind { until }) => {
                        if let Some(log) = parts.logs.take(number) {
                            slot.away = true;
                            let worker = parts.exchange.worker();
                            let _ = self.equipment.keeper.send(Errand { worker, number, log, until });
                        }
                        ends = true;
                    }
                    Some(Want::End) => ends = true,
                    _ => {}
                }
                drop = ends.then_some((*flow, true)).or(end.error().map(|_| (*flow, true)));
            }
        }
        if let Some((flow, abort)) = drop {
            if abort {
                parts.transport.abort(flow);
            } else {
                parts.transport.close(flow);
            }
            self.flows.remove(&flow);
            self.drop_link(parts, number);
            return true;
        }
        let share = &mut self.shares[identity_of_log(number) as usize];
        let Some(slot) = share.slots.get_mut(&number) else { return false };
        let flow = slot.link.as_ref().map(Link::flow);
        let sent = send(parts, slot);
        // A batch that waited for room may have let more be read.
        if let Some(flow) = flow
            && !parts.transport.received(flow).bytes.is_empty()
        {
            self.readable(parts, flow);
        }
        sent
    }
}

/// Sends what a link has to say.
fn send<T: Transport, D: Disk>(parts: &mut Parts<T, D>, slot: &mut Slot) -> bool {
    let now = parts.now.mono;
    let mut sent = false;
    loop {
        let (flow, output) = match &slot.link {
            Some(Link::Owner { flow, end }) => (*flow, end.output()),
            Some(Link::Replica { flow, end }) => (*flow, end.output()),
            _ => return sent,
        };
        let count = if output.is_empty() { 0 } else { parts.transport.send(flow, output) };
        if count == 0 {
            return sent;
        }
        sent = true;
        match &mut slot.link {
            Some(Link::Owner { end, .. }) => end.sent(count, now),
            Some(Link::Replica { end, .. }) => end.sent(count, now),
            _ => {}
        }
    }
}
