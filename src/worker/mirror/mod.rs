//! The worker's part in a pair: orders of the arbiter, and a link for each log of both identities.
//!
//! In: orders and words from the control thread, flows of links, logs that come back from the keeper. Out: what has been carried
//! out and what was heard of the partner, batches, logs that are to be read anew. It decides nothing: the arbiter does, on the
//! control thread, and everything here follows from the last order.
//!
//! # Pauses
//!
//! A worker may stand still: its process is stopped, its core or the whole machine taken away. What it knows of the partner is
//! old then, and what waits in its queues says nothing about now: beats that came before the partner took over would pass for
//! signs of life. So a breath that begins more than [`Timing::away`] too late, while both copies count, looks at no frame
//! before it has frozen the logs and given up the addresses, as the arbiter would have ordered if nobody had been heard for as long
//! ([`Mirror::was_away`]). It then reports that silence. The arbiter leaves the epoch for it, as for any other, and asks the store
//! for the next one: that is the confirmation. The sessions of that time are lost. A shorter pause is none, as no partner
//! takes over sooner; nor is one of an identity that is `solo`, which nobody can take over.
//!
//! What blocks (reading a log anew) is done by the keeper, a thread of its own: a log goes there and comes back as a value.

mod clients;
mod links;

use super::home::Home;
use super::inbound::Inbound;
use super::outbound::Outbound;
use super::parts::Parts;
use crate::control::{PairReport, PairWish};
use crate::env::Instant;
use crate::env::disk::Disk;
use crate::flow::{FlowId, Transport};
use crate::limits::PASSAGE_MAX;
use crate::mirror::arbiter::{Order, Words};
use crate::mirror::identity_of_log;
use crate::mirror::link::{ClientBook, ClientFeed, Counts, OwnerEnd, ReplicaEnd, Speech, Timing};
use crate::mirror::register::Node;
use crate::spool::{Copies, Log, Point, Room};
use crate::tls::{Line, Pinned};
use crossbeam::channel::{Receiver, Sender};
use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// What a worker of a pair is told.
pub struct PairEquipment<D: Disk> {
    /// The own address of the links, which never moves. It says by which port they go: their own, or that of all mail.
    pub address: IpAddr,
    /// The partner's, with the port of log 0.
    pub partner: SocketAddr,
    /// The addresses of identity a and of identity b.
    pub addresses: [Vec<IpAddr>; 2],
    /// Segments of every log, bytes.
    pub segment_size: u64,
    /// What links wait for.
    pub timing: Timing,
    /// The version of the protocol that is spoken on them.
    pub protocol: u8,
    /// Without a store: links are made while we do not own an identity, too, so that the partner is heard. One of the two boxes does
    /// so: neither may know that it is the owner.
    pub calls: bool,
    /// Bytes a second that a partner's log is given at most while it catches up.
    pub catch_up_rate: u64,
    /// What they are encrypted with; `None`: they are in the clear.
    pub tls: Option<Arc<Pinned>>,
    /// Where logs go to be read anew.
    pub keeper: Sender<Errand<D>>,
    /// Where they come back.
    pub kept: Receiver<Kept<D>>,
}

impl<D: Disk> PairEquipment<D> {
    fn speech(&self) -> Speech {
        Speech { version: self.protocol, beat: self.timing.beat }
    }
}

/// A log that is to be read anew. Both ways are as long as there are logs.
pub struct Errand<D: Disk> {
    /// To whom it comes back.
    pub worker: u16,
    /// Its number.
    pub number: u16,
    /// It itself.
    pub log: Log<D>,
    /// What stands behind this batch is put aside; `None`: all is.
    pub until: Option<Point>,
}

/// A log that was read anew, with its number.
pub type Kept<D> = (u16, Log<D>);

/// A worker's part in a pair.
pub(super) struct Mirror<D: Disk> {
    equipment: PairEquipment<D>,
    shares: [Share; 2],
    /// Flows of links, and the log that each is for, as far as that is known.
    flows: BTreeMap<FlowId, Option<u16>>,
    /// Links that have not said what they come for.
    strangers: BTreeMap<FlowId, Stranger>,
    /// What is wrong with links, by the log that they are for, as it was told.
    troubles: BTreeMap<u16, String>,
    /// What the partner is to be told of standing orders, on whichever link.
    to_tell: VecDeque<Box<[u8]>>,
}

/// One identity.
struct Share {
    identity: Node,
    addresses: Vec<IpAddr>,
    /// What we say of ourselves; nothing before the arbiter has begun.
    words: Option<Words>,
    number: u64,
    order: Option<Order>,
    done: bool,
    /// We answer for the addresses.
    assumed: bool,
    /// The port that they are on has a link.
    port_up: bool,
    /// The orders make us the owner's end of the links.
    owns: bool,
    /// In which epoch it was last told to lead, and whether with the partner.
    epoch: u64,
    both: bool,
    /// What of the partner's word counted when the sessions were told to end: it counts until they have.
    draining: Option<Counts>,
    /// When what has not ended is cut off.
    drained_at: Instant,
    /// No session begins any more: the last ones have ended.
    turns_away: bool,
    slots: BTreeMap<u16, Slot>,
    heard: Option<Words>,
    /// We stood still for too long, and had heard the partner last then; it is not told yet.
    away: Option<Instant>,
    reported: Option<PairReport>,
}

/// One log of an identity.
struct Slot {
    /// The keeper has it.
    away: bool,
    /// When it comes back it is to be begun anew.
    renewed: bool,
    link: Option<Link>,
    /// When the partner was last heard on a link of this log.
    heard_at: Instant,
    /// Nothing is tried before then.
    connect_at: Instant,
    /// Damaged places that were known when we began to work for the identity.
    damages: u64,
    /// What the partner has not been told of our clients, by the log that takes their mail.
    feed: ClientFeed,
    /// Who the owner's clients were when it was last heard, and ours when we gave the addresses up.
    book: ClientBook,
}

enum Link {
    /// Our SYN is on its way, since then.
    Connecting {
        flow: FlowId,
        since: Instant,
    },
    Owner {
        line: Line,
        end: Box<OwnerEnd>,
    },
    Replica {
        line: Line,
        end: Box<ReplicaEnd>,
    },
}

/// A link that has not said what it comes for; only its port tells for which log it is.
struct Stranger {
    line: Line,
    number: u16,
    end: Box<ReplicaEnd>,
}

impl Slot {
    /// Whether the partner gets what it lacks.
    fn gives(&self) -> bool {
        matches!(&self.link, Some(Link::Owner { end, .. }) if end.is_giving())
    }
}

impl Link {
    fn flow(&self) -> FlowId {
        match self {
            Link::Connecting { flow, .. } => *flow,
            Link::Owner { line, .. } | Link::Replica { line, .. } => line.flow(),
        }
    }

    /// Ends it after all that was taken has gone out.
    fn close<T: Transport>(self, transport: &mut T) {
        match self {
            Link::Connecting { flow, .. } => transport.close(flow),
            Link::Owner { line, .. } | Link::Replica { line, .. } => line.close(transport),
        }
    }
}

/// What an order reaches besides the mirror itself.
pub(super) struct Stations<'a, T: Transport, D: Disk> {
    pub parts: &'a mut Parts<T, D>,
    pub inbound: &'a mut Inbound,
    pub outbound: &'a mut Outbound,
    pub home: &'a mut Home,
}

impl<D: Disk> Mirror<D> {
    /// Answers for no address of an identity before it is ordered to.
    pub(super) fn new<T: Transport>(equipment: PairEquipment<D>, parts: &mut Parts<T, D>) -> Mirror<D> {
        let now = parts.now.mono;
        parts.ends_until = Some([Instant::ZERO; 2]);
        let [a, b] = equipment.addresses.clone();
        let mut shares = [(Node::A, a), (Node::B, b)].map(|(identity, addresses)| {
            parts.transport.withdraw(&addresses);
            Share {
                identity,
                addresses,
                words: None,
                number: 0,
                order: None,
                done: false,
                assumed: false,
                port_up: true,
                owns: false,
                epoch: 0,
                both: false,
                draining: None,
                drained_at: Instant::FAR,
                turns_away: false,
                slots: BTreeMap::new(),
                heard: None,
                away: None,
                reported: None,
            }
        });
        for (number, _) in parts.logs.iter_mut() {
            let slot = Slot {
                away: false,
                renewed: false,
                link: None,
                heard_at: now,
                connect_at: now,
                damages: 0,
                feed: ClientFeed::default(),
                book: ClientBook::default(),
            };
            shares[identity_of_log(number) as usize].slots.insert(number, slot);
        }
        Mirror {
            equipment,
            shares,
            flows: BTreeMap::new(),
            strangers: BTreeMap::new(),
            troubles: BTreeMap::new(),
            to_tell: VecDeque::new(),
        }
    }

    /// The identity of an own address.
    pub(super) fn identity_of(&self, address: IpAddr) -> Node {
        let share = self.shares.iter().find(|share| share.addresses.contains(&address));
        share.map_or(Node::A, |share| share.identity)
    }

    /// Whether an identity is on its way to the partner: its sessions end as soon as they can.
    pub(super) fn drains(&self, identity: Node) -> bool {
        matches!(self.shares[identity as usize].order, Some(Order::Drain { .. }))
    }

    /// Whether this flow is a link.
    pub(super) fn has(&self, flow: FlowId) -> bool {
        self.flows.contains_key(&flow)
    }

    /// How many flows are links.
    pub(super) fn links_count(&self) -> u64 {
        self.flows.len() as u64
    }

    /// The partner is to be told this, in the place of what waits: all is said anew.
    pub(super) fn tell_partner(&mut self, told: Vec<Box<[u8]>>) {
        self.to_tell = told.into();
    }

    /// Takes what the control thread wants.
    pub(super) fn wish<T: Transport>(&mut self, stations: &mut Stations<'_, T, D>, identity: Node, wish: PairWish) {
        let now = stations.parts.now;
        let share = &mut self.shares[identity as usize];
        match wish {
            PairWish::Say(words) => {
                share.words = Some(words);
                for slot in share.slots.values_mut() {
                    match &mut slot.link {
                        Some(Link::Owner { end, .. }) => end.say(words),
                        Some(Link::Replica { end, .. }) => end.say(words),
                        _ => {}
                    }
                }
            }
            PairWish::Withdraw => self.suspend(stations, identity),
            PairWish::Port { up } => {
                share.port_up = up;
                if up {
                    // Among those that it was told of are some that are gone.
                    share.slots.values_mut().for_each(|slot| slot.feed.restart());
                }
            }
            PairWish::Renew => {
                (share.order, share.owns) = (None, false);
                self.withdraw(stations, identity);
                self.end_links(stations.parts, identity);
                let slots = self.shares[identity as usize].slots.values_mut();
                slots.filter(|slot| slot.away).for_each(|slot| slot.renewed = true);
                self.give_to_keeper(stations, identity, |_| Some(None));
            }
            PairWish::Order { number, order } => {
                if matches!(order, Order::Drain { .. }) {
                    share.draining = share.counts();
                }
                share.number = number;
                share.order = Some(order);
                share.done = false;
                self.begin(stations, identity, order);
                if let Order::Drain { within } = order {
                    self.shares[identity as usize].drained_at = now.mono + within;
                }
            }
        }
        self.allow_ends(stations.parts);
    }

    /// Says until when deliveries may come to their end: while the identity is ours for certain. Where both copies are required
    /// that is so for as long as the partner would say if it had taken over, and be heard.
    fn allow_ends<T>(&self, parts: &mut Parts<T, D>) {
        let silence = self.equipment.timing.silence;
        let until = |share: &Share| {
            let leads = |order| {
                matches!(order, Order::Lead { .. } | Order::Adopt { .. } | Order::CatchUp { .. })
                    || matches!(order, Order::RequireBoth { .. } | Order::Drain { .. })
            };
            if !share.order.is_some_and(leads) {
                return Instant::ZERO;
            }
            let each = share.slots.iter().map(|(number, slot)| match parts.logs.get_by_number(*number) {
                Some(log) if log.leads() && !log.failed() => {
                    if log.requires_both() {
                        slot.heard_at + silence
                    } else {
                        Instant::FAR
                    }
                }
                _ => Instant::ZERO,
            });
            each.min().unwrap_or(Instant::FAR)
        };
        parts.ends_until = Some([until(&self.shares[0]), until(&self.shares[1])]);
    }

    /// What an order changes at once. What takes longer is looked at after every poll of the logs.
    fn begin<T: Transport>(&mut self, stations: &mut Stations<'_, T, D>, identity: Node, order: Order) {
        let share = &mut self.shares[identity as usize];
        let mut each_log = |act: fn(&mut Log<D>)| {
            share.slots.keys().for_each(|number| stations.parts.logs.by_number(*number).into_iter().for_each(act));
        };
        match order {
            Order::Freeze => {
                each_log(|log| log.freeze(true));
                if !share.owns {
                    self.end_links(stations.parts, identity);
                }
            }
            Order::Reconcile { .. } => {
                each_log(|log| {
                    log.freeze(true);
                    log.set_copies(Copies::Both);
                });
                share.owns = true;
            }
            Order::Lead { epoch, both } | Order::Adopt { epoch, both } => {
                share.epoch = epoch;
                share.both = both.is_some();
                if !std::mem::replace(&mut share.owns, true) {
                    // What the partner still has on its way as an owner comes too late.
                    self.end_links(stations.parts, identity);
                }
            }
            // It leads already, with the own copy.
            Order::CatchUp { .. } => {}
            Order::RequireBoth { .. } => {
                each_log(|log| log.set_copies(Copies::Both));
            }
            Order::Drain { .. } => {
                share.turns_away = false;
                stations.inbound.shut_down_at(stations.parts, &share.addresses);
                stations.home.hold_back(identity, true);
            }
            Order::StepDown | Order::Follow { .. } => self.let_go(stations, identity),
            Order::StopFollowing => self.end_links(stations.parts, identity),
        }
    }

    /// Owns the identity no more: its logs are read anew, to follow.
    fn let_go<T: Transport>(&mut self, stations: &mut Stations<'_, T, D>, identity: Node) {
        if std::mem::replace(&mut self.shares[identity as usize].owns, false) {
            self.withdraw(stations, identity);
            self.end_links(stations.parts, identity);
        }
        stations.home.hold_back(identity, false);
        // One that follows already may go on.
        self.give_to_keeper(stations, identity, |log| if log.is_replica() { None } else { Some(log.last_point()) });
    }

    /// Gives logs away that are to be read anew: those that `until` says something of, which is how far.
    fn give_to_keeper<T: Transport>(
        &mut self,
        stations: &mut Stations<'_, T, D>,
        identity: Node,
        until: impl Fn(&Log<D>) -> Option<Option<Point>>,
    ) {
        let worker = stations.parts.exchange.worker();
        let numbers: Vec<u16> = self.shares[identity as usize].slots.keys().copied().collect();
        for number in numbers {
            let Some(until) = stations.parts.logs.by_number(number).and_then(|log| until(log)) else { continue };
            let Some(log) = stations.parts.logs.take(number) else { continue };
            if !log.is_replica() {
                stations.home.forget(&log, number);
                stations.home.refuse_attempts(stations.parts, number);
                stations.outbound.break_off(stations.parts, identity, &[]);
                stations.inbound.forget_drafts(number);
            }
            if let Some(slot) = self.shares[identity as usize].slots.get_mut(&number) {
                slot.away = true;
            }
            let _ = self.equipment.keeper.send(Errand { worker, number, log, until });
        }
    }

    /// Answers for the addresses and delivers no more while it is open whose the identity is. Sessions wait: if it stays ours, what
    /// is durable in the new epoch is answered in the same session; a client that heard nothing would send it a second time.
    fn suspend<T: Transport>(&mut self, stations: &mut Stations<'_, T, D>, identity: Node) {
        self.shares[identity as usize].assumed = false;
        self.tell_destinations(stations.outbound);
        let addresses = &self.shares[identity as usize].addresses;
        stations.parts.transport.suspend(addresses);
        // Its mail may leave from addresses of the other identity, which may be ours for longer.
        stations.home.hold_back(identity, true);
        stations.outbound.break_off(stations.parts, identity, addresses);
    }

    /// Answers for the addresses no more: they are the partner's.
    fn withdraw<T: Transport>(&mut self, stations: &mut Stations<'_, T, D>, identity: Node) {
        self.suspend(stations, identity);
        self.strand_clients(stations, identity);
        let addresses = &self.shares[identity as usize].addresses;
        stations.inbound.abort_at(stations.parts, addresses);
        stations.parts.transport.withdraw(addresses);
    }

    /// New connections leave from the addresses that we answer for.
    fn tell_destinations(&self, outbound: &mut Outbound) {
        let gone = |ip: IpAddr| self.shares.iter().any(|share| !share.assumed && share.addresses.contains(&ip));
        outbound.destinations.set_in_use(|ip| !gone(ip));
    }

    fn end_links<T: Transport>(&mut self, parts: &mut Parts<T, D>, identity: Node) {
        let share = &mut self.shares[identity as usize];
        for (number, slot) in &mut share.slots {
            if let Some(link) = slot.link.take() {
                slot.feed.restart();
                parts.transport.abort(link.flow());
                self.flows.remove(&link.flow());
                slot.connect_at = parts.now.mono;
            }
            if let Some(log) = parts.logs.by_number(*number) {
                log.partner_gone();
            }
        }
    }

    /// Goes on with everything: after every poll of the logs. Whether anything was done.
    pub(super) fn pump<T: Transport>(&mut self, stations: &mut Stations<'_, T, D>) -> bool {
        let mut busy = self.take_kept(stations);
        self.take_comings(stations);
        let numbers: Vec<u16> = self.shares.iter().flat_map(|share| share.slots.keys().copied()).collect();
        for number in numbers {
            busy |= self.pump_log(stations.parts, number);
        }
        for identity in Node::BOTH {
            busy |= self.carry_out(stations, identity);
            busy |= self.reset_stale(stations.parts, identity);
            self.report(stations.parts, identity);
        }
        self.allow_ends(stations.parts);
        busy
    }

    /// Takes back what the keeper has read anew.
    fn take_kept<T: Transport>(&mut self, stations: &mut Stations<'_, T, D>) -> bool {
        let mut busy = false;
        while let Ok((number, log)) = self.equipment.kept.try_recv() {
            busy = true;
            let share = &mut self.shares[identity_of_log(number) as usize];
            if let Some(slot) = share.slots.get_mut(&number) {
                if std::mem::take(&mut slot.renewed) {
                    let worker = stations.parts.exchange.worker();
                    let _ = self.equipment.keeper.send(Errand { worker, number, log, until: None });
                    continue;
                }
                slot.away = false;
            }
            stations.parts.logs.put(number, log);
        }
        busy
    }

    /// Goes on with what an order takes.
    fn carry_out<T: Transport>(&mut self, stations: &mut Stations<'_, T, D>, identity: Node) -> bool {
        let share = &mut self.shares[identity as usize];
        let Some(order) = share.order.filter(|_| !share.done) else { return false };
        let parts = &mut *stations.parts;
        let home = share.slots.values().all(|slot| !slot.away);
        let near = |slot: &Slot| matches!(&slot.link, Some(Link::Owner { end, .. }) if end.is_near());
        share.done = match order {
            Order::Freeze | Order::StopFollowing => true,
            Order::Follow { .. } | Order::StepDown => home,
            Order::CatchUp { .. } => home && share.slots.values().all(near),
            Order::Reconcile { .. } | Order::RequireBoth { .. } => {
                let frozen = matches!(order, Order::Reconcile { .. });
                let level = |log: &mut Log<D>| log.is_level() && (!frozen || log.is_written());
                let mut all = share.slots.keys();
                let level = all.all(|number| parts.logs.by_number(*number).is_some_and(level));
                home && share.slots.values().all(near) && level
            }
            Order::Drain { .. } => {
                let sessions = stations.inbound.count_at(&share.addresses);
                let rests = sessions == 0 && stations.home.in_hand_of(identity) == 0;
                if rests && !std::mem::replace(&mut share.turns_away, true) {
                    // Who is in a handshake is heard, and told to come again.
                    parts.transport.turn_away(&share.addresses);
                    share.drained_at = share.drained_at.min(parts.now.mono + PASSAGE_MAX);
                }
                rests && !parts.transport.has_passers(&share.addresses) || parts.now.mono >= share.drained_at
            }
            Order::Lead { epoch, both } | Order::Adopt { epoch, both } => {
                let copies = if both.is_some() { Copies::Both } else { Copies::Own };
                let settled = |log: Option<&mut Log<D>>| log.is_some_and(|log| !log.is_replica() || log.is_settled());
                let ready = share.slots.keys().all(|number| settled(parts.logs.by_number(*number)));
                if home && ready {
                    stations.home.hold_back(identity, false);
                    for (number, slot) in &mut share.slots {
                        if let Some(log) = parts.logs.by_number(*number) {
                            slot.damages = log.damages().count;
                            let replica = log.is_replica();
                            log.lead(epoch, copies, parts.now);
                            if replica {
                                stations.home.schedule(parts, *number);
                            }
                        }
                    }
                    let turned_away = std::mem::take(&mut share.turns_away);
                    if !std::mem::replace(&mut share.assumed, true) || turned_away {
                        parts.transport.assume(parts.now.mono, &share.addresses);
                    }
                }
                home && ready
            }
        };
        let done = share.done;
        if done && matches!(order, Order::Lead { .. } | Order::Adopt { .. }) {
            self.tell_destinations(stations.outbound);
        }
        done
    }

    /// Tells the control thread what has changed.
    fn report<T: Transport>(&mut self, parts: &mut Parts<T, D>, identity: Node) {
        let silence = self.equipment.timing.silence;
        let share = &mut self.shares[identity as usize];
        if share.words.is_none() {
            return;
        }
        let heard_at = share.slots.values().map(|slot| slot.heard_at).min().unwrap_or(parts.now.mono);
        let silent = parts.now.mono >= heard_at + silence;
        // What the disk has lost or changed of a mirrored queue stands in the partner's copy as it was written.
        let both = share.owns && share.both;
        let unsound = |slot: &Slot, log: &Log<D>| log.failed() || both && log.damages().count > slot.damages;
        let mut slots = share.slots.iter();
        let failed = slots.any(|(number, slot)| parts.logs.by_number(*number).is_some_and(|log| unsound(slot, log)));
        // A log that is away is on the same disk as before.
        let known = share.reported.filter(|_| share.slots.values().any(|slot| slot.away)).map(|report| report.room);
        let rooms = share.slots.keys().filter_map(|number| parts.logs.get_by_number(*number).map(Log::room));
        let room = rooms.chain(known).min().unwrap_or(Room::Enough);
        let report = PairReport {
            worker: parts.exchange.worker(),
            identity,
            done: if share.done { share.number } else { share.number.saturating_sub(1) },
            heard: share.heard,
            silent_since: share.away.or(silent.then_some(heard_at)),
            failed,
            room,
        };
        // One that finds no room is told in the next breath.
        if share.reported != Some(report) && parts.reporter.pair(report) {
            share.reported = Some(report);
            share.away = None;
        }
    }

    /// Whether a breath that begins `now` and was due at that time is so late that the partner may have taken over meanwhile.
    pub(super) fn is_late(&self, now: Instant, due: Instant) -> bool {
        now.since(due) >= self.equipment.timing.away
    }

    /// The worker stood still for too long: before anything else nothing more is done for what may be the partner's now.
    pub(super) fn was_away<T: Transport>(&mut self, stations: &mut Stations<'_, T, D>) {
        for identity in Node::BOTH {
            let share = &mut self.shares[identity as usize];
            let logs = &mut stations.parts.logs;
            let both = share.slots.keys().any(|number| logs.get_by_number(*number).is_some_and(Log::requires_both));
            if !share.assumed || !both {
                continue;
            }
            for number in share.slots.keys() {
                logs.by_number(*number).into_iter().for_each(|log| log.freeze(true));
            }
            share.away = share.slots.values().map(|slot| slot.heard_at).min();
            self.withdraw(stations, identity);
        }
        self.allow_ends(stations.parts);
    }

    /// When it must be looked at though nothing happens.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        let Timing { silence, timeout, .. } = self.equipment.timing;
        let slots = self.shares.iter().flat_map(|share| share.slots.values().map(move |slot| (share, slot)));
        let deadlines = slots.map(|(share, slot)| {
            let link = match &slot.link {
                None if (share.owns || self.equipment.calls) && !slot.away => slot.connect_at,
                None => Instant::FAR,
                Some(Link::Connecting { since, .. }) => *since + timeout,
                Some(Link::Owner { end, .. }) => end.next_deadline().min(end.heard_at() + timeout),
                Some(Link::Replica { end, .. }) => end.next_deadline().min(end.heard_at() + timeout),
            };
            let silence = slot.heard_at + silence;
            let told = share.reported.is_some_and(|report| report.silent_since.is_some());
            link.min(if told { Instant::FAR } else { silence })
        });
        let drains = |share: &&Share| !share.done && matches!(share.order, Some(Order::Drain { .. }));
        let drains = self.shares.iter().filter(drains).map(|share| share.drained_at);
        deadlines.chain(drains).min().filter(|deadline| *deadline < Instant::FAR)
    }
}

impl Share {
    /// What of the partner's word counts now.
    fn counts(&self) -> Option<Counts> {
        match self.order? {
            Order::Reconcile { epoch, with } => Some(Counts { with, epoch, promised: false }),
            Order::CatchUp { with } | Order::RequireBoth { with } => {
                Some(Counts { with, epoch: self.epoch, promised: false })
            }
            Order::Lead { epoch, both: Some(with) } | Order::Adopt { epoch, both: Some(with) } => {
                Some(Counts { with, epoch, promised: true })
            }
            // The epoch goes on, and what is under way still waits for both copies.
            Order::Drain { .. } => self.draining,
            _ => None,
        }
    }
}
