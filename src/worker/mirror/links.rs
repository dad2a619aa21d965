//! The links of a worker: flows that come and go, and what is said on them.

use super::{Errand, Link, Mirror, Stranger};
use crate::env::disk::Disk;
use crate::event::Event;
use crate::flow::{FlowId, Received, Transport};
use crate::limits::MIRROR_RECONNECT_DELAY;
use crate::mirror::arbiter::Order;
use crate::mirror::identity_of_log;
use crate::mirror::link::{Fault, Following, Hello, OwnerEnd, Refusal, ReplicaEnd, Want};
use crate::tls::{Line, TlsError};
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
        let line = Line::new(flow, self.equipment.tls.as_ref().map(|tls| tls.accept()));
        let end = Box::new(ReplicaEnd::new(words, self.equipment.speech(), parts.now.mono));
        self.flows.insert(flow, None);
        self.strangers.insert(flow, Stranger { line, number, end });
        self.readable(parts, flow);
    }

    /// Our connection is there.
    pub(in crate::worker) fn connected<T: Transport>(&mut self, parts: &mut Parts<T, D>, flow: FlowId) {
        let now = parts.now.mono;
        let Some(Some(number)) = self.flows.get(&flow).copied() else { return };
        let share = &mut self.shares[identity_of_log(number) as usize];
        let (Some(slot), Some(words)) = (share.slots.get_mut(&number), share.words) else { return };
        let mut end =
            OwnerEnd::new(share.identity, (number, self.equipment.segment_size), words, self.equipment.speech(), now);
        end.limit_rate(self.equipment.catch_up_rate);
        let line = Line::new(flow, self.equipment.tls.as_ref().map(|tls| tls.connect()));
        let link = slot.link.insert(Link::Owner { line, end: Box::new(end) });
        send(parts, link);
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
            slot.feed.restart();
            slot.connect_at = parts.now.mono + MIRROR_RECONNECT_DELAY;
        }
        if let Some(log) = parts.logs.by_number(number) {
            log.partner_gone();
        }
    }

    /// Bytes have come, or may go.
    pub(in crate::worker) fn readable<T: Transport>(&mut self, parts: &mut Parts<T, D>, flow: FlowId) {
        let now = parts.now;
        if let Some(Stranger { line, number, end }) = self.strangers.get_mut(&flow) {
            let number = *number;
            let taken = line.received(&mut parts.transport).map(|received| {
                let count = end.receive::<D>(received.bytes, None, now);
                (count, is_over(&received, count))
            });
            let (count, over) = match taken {
                Ok(taken) => taken,
                Err(error) => return self.tls_failed(parts, flow, number, error),
            };
            line.consume(&mut parts.transport, count);
            if let Some(error) = end.error() {
                self.tell(parts, number, Some(error.into()));
                parts.transport.abort(flow);
                self.ended(parts, flow);
            } else if let Some(Want::Log(hello)) = end.want() {
                self.introduce(parts, flow, hello);
            } else if over {
                self.close(parts, flow);
            }
            return;
        }
        let Some(Some(number)) = self.flows.get(&flow).copied() else { return };
        loop {
            let share = &mut self.shares[identity_of_log(number) as usize];
            let counts = share.counts();
            let Some(slot) = share.slots.get_mut(&number) else { return };
            let (line, taken, fault, well) = match &mut slot.link {
                Some(Link::Owner { line, end }) => {
                    let Some(log) = parts.logs.by_number(number) else { return };
                    let taken = line.received(&mut parts.transport).map(|received| {
                        end.receive(received.bytes, counts, log, now.mono);
                        let count = received.bytes.len();
                        (count, is_over(&received, count))
                    });
                    slot.heard_at = end.heard_at();
                    share.heard = end.heard().or(share.heard);
                    slot.book.strand(end.stranded());
                    end.told().for_each(|told| parts.reporter.partner_told(told));
                    (line, taken, end.end().and_then(Fault::of_end), end.heard().is_some())
                }
                Some(Link::Replica { line, end }) => {
                    let taken = line.received(&mut parts.transport).map(|received| {
                        let count = end.receive(received.bytes, parts.logs.by_number(number), now);
                        (count, is_over(&received, count))
                    });
                    slot.heard_at = end.heard_at();
                    share.heard = end.heard().or(share.heard);
                    for (news, list) in end.client_news() {
                        slot.book.note(news, &list);
                    }
                    end.told().for_each(|told| parts.reporter.partner_told(told));
                    (line, taken, end.error().map(Fault::Wire), true)
                }
                _ => return,
            };
            let (count, over) = match taken {
                Ok(taken) => taken,
                Err(error) => return self.tls_failed(parts, flow, number, error),
            };
            line.consume(&mut parts.transport, count);
            if fault.is_some() || well {
                self.tell(parts, number, fault);
            }
            if over {
                return self.close(parts, flow);
            }
            if count == 0 {
                return;
            }
        }
    }

    /// Ends a link after all that it has said has gone out.
    fn close<T: Transport>(&mut self, parts: &mut Parts<T, D>, flow: FlowId) {
        if let Some(Stranger { line, .. }) = self.strangers.remove(&flow) {
            line.close(&mut parts.transport);
        }
        if let Some(Some(number)) = self.flows.remove(&flow) {
            let share = &mut self.shares[identity_of_log(number) as usize];
            if let Some(link) = share.slots.get_mut(&number).and_then(|slot| slot.link.take()) {
                link.close(&mut parts.transport);
            }
            self.drop_link(parts, number);
        }
    }

    fn tls_failed<T: Transport>(&mut self, parts: &mut Parts<T, D>, flow: FlowId, number: u16, error: TlsError) {
        let own = self.equipment.tls.as_ref().map(|tls| tls.fingerprint());
        if let Some(fault) = own.and_then(|own| Fault::of_tls(error, own)) {
            self.tell(parts, number, Some(fault));
        }
        self.close(parts, flow);
    }

    /// Has it logged when something is wrong with the links of a log, and when nothing is any more.
    fn tell<T: Transport>(&mut self, parts: &mut Parts<T, D>, number: u16, fault: Option<Fault>) {
        let trouble = fault.map(|fault| fault.to_string());
        if self.troubles.get(&number) == trouble.as_ref() {
            return;
        }
        match trouble.clone() {
            Some(trouble) => drop(self.troubles.insert(number, trouble)),
            None => drop(self.troubles.remove(&number)),
        }
        parts.reporter.event(Event::PairLink { log: number, trouble });
    }

    /// A stranger has said what it comes for.
    fn introduce<T: Transport>(&mut self, parts: &mut Parts<T, D>, flow: FlowId, hello: Hello) {
        let Some(Stranger { line, mut end, .. }) = self.strangers.remove(&flow) else { return };
        let Hello { identity, log: number, segment_size } = hello;
        let share = &mut self.shares[identity as usize];
        share.heard = end.heard().or(share.heard);
        // What we said of ourselves when it came may be old by now: with TLS there were some round trips in between.
        if let Some(words) = share.words {
            end.say(words);
        }
        let follows = matches!(share.order, Some(Order::Follow { .. }));
        let refusal = match share.slots.get_mut(&number) {
            _ if segment_size != self.equipment.segment_size => Some(Refusal::SegmentSize),
            None => Some(Refusal::UnknownLog),
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
            // A few bytes: they find room in a flow that has sent next to nothing.
            let mut link = Link::Replica { line, end };
            send(parts, &mut link);
            link.close(&mut parts.transport);
            self.flows.remove(&flow);
            return;
        }
        let Some(slot) = share.slots.get_mut(&number) else { return };
        if let Some(before) = slot.link.replace(Link::Replica { line, end }) {
            parts.transport.abort(before.flow());
            self.flows.remove(&before.flow());
        }
        self.flows.insert(flow, Some(number));
        self.tell(parts, number, None);
    }

    pub(super) fn pump_log<T: Transport>(&mut self, parts: &mut Parts<T, D>, number: u16) -> bool {
        let (now, timeout) = (parts.now, self.equipment.timing.timeout);
        let share = &mut self.shares[identity_of_log(number) as usize];
        let (owns, words, order, counts) = (share.owns, share.words, share.order, share.counts());
        let Some(slot) = share.slots.get_mut(&number) else { return false };
        let mut drop = None;
        match &mut slot.link {
            None if (owns || self.equipment.calls) && !slot.away && words.is_some() && now.mono >= slot.connect_at => {
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
            Some(Link::Owner { line, end }) => {
                // While the identity is not ours to give, we are only heard on it.
                match parts.logs.by_number(number) {
                    Some(log) if owns => {
                        end.tell(&mut self.to_tell);
                        end.pump(counts, log, &mut slot.feed, now.mono);
                    }
                    _ => end.beat(now.mono),
                }
                if end.end().is_some() {
                    drop = Some((line.flow(), false));
                } else if now.mono >= end.heard_at() + timeout {
                    drop = Some((line.flow(), true));
                }
            }
            Some(Link::Replica { line, end }) => {
                let mut ends = now.mono >= end.heard_at() + timeout;
                if let (Some(log), Some(Order::Follow { epoch, acknowledge })) = (parts.logs.by_number(number), order) {
                    if matches!(end.want(), Some(Want::Log(_))) && log.is_settled() {
                        end.welcome(log);
                    }
                    let following = Following { epoch, promised: acknowledge };
                    end.tell(&mut self.to_tell);
                    end.pump(log, following, &mut slot.book, now);
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
                drop = (ends || end.error().is_some()).then_some((line.flow(), true));
            }
        }
        if let Some((flow, abort)) = drop {
            if abort {
                parts.transport.abort(flow);
                self.ended(parts, flow);
            } else {
                self.close(parts, flow);
            }
            return true;
        }
        let share = &mut self.shares[identity_of_log(number) as usize];
        let Some(link) = share.slots.get_mut(&number).and_then(|slot| slot.link.as_mut()) else { return false };
        let sent = send(parts, link);
        // A batch that waited for room may have let more be read.
        if let Link::Owner { line, .. } | Link::Replica { line, .. } = link
            && !line.received(&mut parts.transport).is_ok_and(|received| received.bytes.is_empty())
        {
            let flow = line.flow();
            self.readable(parts, flow);
        }
        sent
    }
}

/// Whether nothing follows when `count` bytes are consumed.
fn is_over(received: &Received<'_>, count: usize) -> bool {
    received.finished && !received.more && count == received.bytes.len()
}

/// Sends what a link has to say.
fn send<T: Transport, D: Disk>(parts: &mut Parts<T, D>, link: &mut Link) -> bool {
    let now = parts.now.mono;
    let mut sent = false;
    loop {
        let (line, output) = match link {
            Link::Owner { line, end } => (line, end.output()),
            Link::Replica { line, end } => (line, end.output()),
            Link::Connecting { .. } => return sent,
        };
        let count = line.send(&mut parts.transport, output);
        if count == 0 {
            return sent;
        }
        sent = true;
        match link {
            Link::Owner { end, .. } => end.sent(count, now),
            Link::Replica { end, .. } => end.sent(count, now),
            Link::Connecting { .. } => {}
        }
    }
}
