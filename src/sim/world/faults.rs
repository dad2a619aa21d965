//! What goes wrong in a world, what its operator does, and how it is put right.

use super::{Ambush, FINISH_WITHIN, Happening, LAST_SESSIONS, POSTPONEMENT, Phase, REPAIR_DURATION, World};
use crate::control::{OrderCommand, QueueCommand, QueueFilter, QueueSelection, Request};
use crate::delivery::{Selector, Treatment};
use crate::env::Instant;
use crate::mirror::arbiter::Command;
use crate::mirror::register::Node as Identity;
use crate::port::sim::{HostId, Link};
use crate::sim::fault::{Fault, Say, Side, Way, Whose};
use crate::sim::mail::{DOMAINS, ORIGIN};
use crate::sim::node::{Death, Node};
use crate::sim::proof::Proof;
use crate::sim::receiver::Manner;
use crate::spool::MessageId;
use rand::RngExt;
use std::time::Duration;

/// How long power waits for a log to come round before it is lost all the same.
const AMBUSH_PATIENCE: Duration = Duration::from_secs(900);

/// Places that are looked at for something that can rot.
const ROT_TRIES: usize = 1000;

impl World {
    pub(super) fn break_something(&mut self, now: Instant, fault: Fault, place: usize) {
        let running = self.nodes[place].is_running();
        self.ledger.trace.note(now, format_args!("{fault:?}"));
        let applied = match fault {
            Fault::Cable(link, duration) => {
                self.nodes[place].set_link(&self.network, link);
                self.at(duration, Happening::Mend(fault, place));
                true
            }
            Fault::Cut(side, way, duration) => {
                self.cut(side, way, place);
                self.at(duration, Happening::Mend(fault, place));
                running
            }
            Fault::DiskStalls(duration) => {
                self.ledger.stalled(now, now + duration);
                self.nodes[place].disks.values().for_each(|disk| disk.stall(now + duration));
                true
            }
            Fault::WriteFails => {
                self.nodes[place].disks.values().for_each(|disk| disk.fail_writes(Some(libc::EIO)));
                self.at(REPAIR_DURATION, Happening::Mend(fault, place));
                true
            }
            Fault::ReadsFail(duration) => {
                self.nodes[place].disks.values().for_each(|disk| disk.fail_reads(Some(libc::EIO)));
                self.at(duration, Happening::Mend(fault, place));
                true
            }
            Fault::DiskFull(duration) => {
                self.nodes[place].disks.values().for_each(|disk| disk.set_free_bytes(0));
                self.at(duration, Happening::Mend(fault, place));
                true
            }
            Fault::SegmentsFail(errno, duration) => {
                self.nodes[place].disks.values().for_each(|disk| disk.fail_prepares(Some(errno)));
                self.at(duration, Happening::Mend(fault, place));
                true
            }
            Fault::FramesShort(share, duration) => {
                self.nodes[place].set_shortage(&self.network, share);
                self.at(duration, Happening::Mend(fault, place));
                running
            }
            Fault::Attack(attack, duration) => {
                self.attacker.begin(attack, now, now + duration);
                running
            }
            Fault::Rot => self.rot(place),
            Fault::DiskLies(lie) => {
                self.nodes[place].disks.values().for_each(|disk| disk.lie(lie));
                true
            }
            Fault::ClockJumps(seconds) => {
                self.nodes[place].clock.jump(seconds);
                self.ledger.clock_jumped = true;
                self.ledger.forget_dues();
                true
            }
            Fault::Pause(duration) => {
                self.ledger.stalled(now, now + duration);
                self.nodes[place].pause(now + duration);
                running
            }
            Fault::Kill(duration) | Fault::PowerLoss(duration) => {
                let death = if matches!(fault, Fault::Kill(_)) { Death::Kill } else { Death::PowerLoss };
                self.kill(now, place, death);
                self.at(duration, Happening::Start(place));
                running
            }
            Fault::PowerLossAtReuse(_)
            | Fault::PowerLossAtDelivery(_)
            | Fault::PowerLossAtStage(..)
            | Fault::Encounter(..) => {
                let patience = if self.plan.pair { AMBUSH_PATIENCE / 15 } else { AMBUSH_PATIENCE };
                let (until, deliveries) = (now + patience, self.ledger.deliveries);
                return self.ambushes.push(Ambush { fault, until, place, deliveries });
            }
            Fault::Stop(duration) => {
                self.nodes[place].stop(FINISH_WITHIN);
                self.at(FINISH_WITHIN + duration, Happening::Start(place));
                running
            }
            Fault::Manner(hop, manner, duration) => {
                self.hops[hop].borrow_mut().manner = manner;
                self.at(duration, Happening::Mend(fault, place));
                true
            }
            Fault::Name(domain, trouble, duration) => {
                self.names.set(domain, trouble);
                self.at(duration, Happening::Mend(fault, place));
                true
            }
            Fault::Proof(trouble, duration) => {
                self.ledger.proof.iter_mut().for_each(|proof| proof.begin(trouble));
                self.at(duration, Happening::Mend(fault, place));
                true
            }
            Fault::StoreCut(duration) => {
                self.store.cut(place, now + duration);
                true
            }
            Fault::StoreLossy(share, duration) => {
                self.store.set_lossy(share);
                self.at(duration, Happening::Mend(fault, place));
                true
            }
            Fault::Move => {
                let moves = |identity| self.nodes[place].command(identity, Command::Move);
                // Refused where it owns none, or the pair is no pair at the moment: then it is a wish and no fault.
                let _ = Identity::BOTH.map(moves);
                true
            }
            Fault::Isolation(_)
            | Fault::StoreTampered(..)
            | Fault::DiskSlow(_)
            | Fault::Unplugged(_)
            | Fault::Blackout(_)
            | Fault::DiskExchanged(..)
            | Fault::Upgrade(_)
            | Fault::Command(_) => self.try_pair(now, fault, place),
            Fault::PartnersCut(way, duration) => {
                self.cut_partners(way);
                self.at(duration, Happening::Mend(fault, place));
                self.nodes.iter().all(Node::is_running)
            }
            Fault::Hold | Fault::Release | Fault::Delete | Fault::Retry => self.operate(fault, place),
            Fault::Order(say, whose, duration) => self.order(say, whose, duration, place),
        };
        if applied {
            self.faults_left -= 1;
            *self.injected.entry(fault.name()).or_default() += 1;
        } else {
            // What needs a running process waits for one.
            self.at(POSTPONEMENT, Happening::Fault(fault, place));
        }
    }

    /// Power is lost where its loss would show best what depends on what.
    pub(super) fn spring_ambush(&mut self, now: Instant) {
        let Some(&Ambush { fault, until, place, deliveries }) = self.ambushes.first() else { return };
        let (comes, duration) = match fault {
            Fault::Encounter(linger, cause) => return self.await_encounter(now, linger, cause, until),
            Fault::PowerLossAtReuse(duration) => (self.nodes[place].is_reusing(), duration),
            Fault::PowerLossAtDelivery(duration) => (self.ledger.deliveries > deliveries, duration),
            Fault::PowerLossAtStage(stage, duration) => {
                let is_there = |identity| self.nodes[place].stage(identity) == Some(stage);
                (Identity::BOTH.into_iter().any(is_there), duration)
            }
            _ => unreachable!("nothing else waits"),
        };
        if comes || now >= until {
            self.ambushes.remove(0);
            if comes {
                *self.injected.entry(fault.name()).or_default() += 1;
            }
            self.break_something(now, Fault::PowerLoss(duration), place);
        }
    }

    pub(super) fn mend(&mut self, now: Instant, fault: Fault, place: usize) {
        self.ledger.trace.note(now, format_args!("over: {fault:?}"));
        match fault {
            Fault::Cable(..) => self.nodes[place].set_link(&self.network, Link::default()),
            Fault::Cut(..) | Fault::PartnersCut(..) | Fault::Isolation(_) => {
                self.network.heal_all();
                self.isolated = None;
            }
            Fault::StoreTampered(..) => self.put_store_right(now),
            Fault::DiskSlow(_) => self.nodes[place].set_latency(self.plan.disk_latency.clone()),
            Fault::Unplugged(_) => self.nodes[place].plug(&self.network, true),
            Fault::Upgrade(_) => self.upgrade_partner(place),
            Fault::StoreLossy(..) => self.store.set_lossy(0.0),
            Fault::WriteFails => {
                self.nodes[place].disks.values().for_each(|disk| disk.fail_writes(None));
                // A log that failed stays closed: the operator starts the process anew.
                self.nodes[place].stop(FINISH_WITHIN);
                self.at(FINISH_WITHIN + REPAIR_DURATION, Happening::Start(place));
            }
            Fault::ReadsFail(_) => self.nodes[place].disks.values().for_each(|disk| disk.fail_reads(None)),
            Fault::DiskFull(_) => self.nodes[place].disks.values().for_each(|disk| disk.set_free_bytes(1 << 40)),
            Fault::SegmentsFail(..) => self.nodes[place].disks.values().for_each(|disk| disk.fail_prepares(None)),
            Fault::FramesShort(..) => self.nodes[place].set_shortage(&self.network, 0.0),
            Fault::Manner(hop, ..) => self.hops[hop].borrow_mut().manner = Manner::default(),
            Fault::Name(domain, ..) => self.names.mend(domain),
            Fault::Proof(trouble, _) => self.ledger.proof.iter_mut().for_each(|proof| proof.end(trouble)),
            _ => {}
        }
    }

    pub(super) fn cut(&mut self, side: Side, way: Way, place: usize) {
        let Some(node) = self.nodes[place].host() else { return };
        let other: HostId = if side == Side::Clients { self.clients.host() } else { self.receivers.host() };
        if way != Way::FromAppliance {
            self.network.cut(other, node);
        }
        if way != Way::ToAppliance {
            self.network.cut(node, other);
        }
    }

    /// The boxes of a pair do not reach each other.
    pub(super) fn cut_partners(&mut self, way: Way) {
        let [a, b] = [0, 1].map(|place| self.nodes[place].links_host());
        let (Some(a), Some(b)) = (a, b) else { return };
        if way != Way::FromAppliance {
            self.network.cut(b, a);
        }
        if way != Way::ToAppliance {
            self.network.cut(a, b);
        }
    }

    fn rot(&mut self, place: usize) -> bool {
        // Where a box of a pair works alone its copy is the only one.
        if self.plan.pair && Identity::BOTH.iter().any(|identity| self.is_alone(*identity, place)) {
            return false;
        }
        let mut places = Vec::new();
        for (number, disk) in &self.nodes[place].disks {
            places.extend(disk.segment_numbers().into_iter().map(|segment| (*number, segment)));
        }
        if places.is_empty() {
            return false;
        }
        // In a pair it shall be found: most of a disk holds nothing.
        let tries = if self.plan.pair { ROT_TRIES } else { 1 };
        for _ in 0..tries {
            let (number, segment) = places[self.random.random_range(0..places.len())];
            let offset = self.random.random_range(0..self.plan.segment_size as usize);
            let disk = &self.nodes[place].disks[&number];
            if !self.plan.pair || disk.is_written(segment, offset) {
                disk.damage(segment, offset);
                return true;
            }
        }
        false
    }

    fn operate(&mut self, fault: Fault, place: usize) -> bool {
        let domain = format!("d{}.test", self.random.random_range(0..DOMAINS));
        let selection = QueueSelection::Filter(QueueFilter { domain: Some(domain), ..QueueFilter::default() });
        let command = match fault {
            Fault::Hold => QueueCommand::Hold { selection },
            Fault::Release => QueueCommand::Release { selection },
            Fault::Delete => {
                let known: Vec<MessageId> = self.ids.keys().copied().filter(|_| self.random.random_bool(0.2)).collect();
                QueueCommand::Delete { selection: QueueSelection::Ids(known) }
            }
            _ => {
                self.ledger.forget_dues();
                QueueCommand::Retry { selection }
            }
        };
        self.nodes[place].ask(Request::Queue(command)).is_some()
    }

    /// The operator says what is to be done with some of the mail.
    fn order(&mut self, say: Say, whose: Whose, duration: Duration, place: usize) -> bool {
        let name = |domain: usize| format!("d{domain}.test");
        let selector = match whose {
            Whose::Domain(domain) => Selector::Domain(name(domain)),
            Whose::Destination(domain) => Selector::Destination(self.nodes[place].destination_of(&name(domain))),
            Whose::Senders => Selector::Sender(ORIGIN.to_owned()),
            Whose::All => Selector::All,
        };
        let treatment = match say {
            Say::Suspend => Treatment::Suspend,
            Say::Drain => Treatment::Drain,
            Say::Reroute(domain) => Treatment::Reroute { to: name(domain) },
            Say::Resume => return self.nodes[place].ask(Request::Orders(OrderCommand::End { selector })).is_some(),
        };
        let duration_seconds = Some(duration.as_secs());
        let command = OrderCommand::Give { selector, treatment, duration_seconds, reason: String::new() };
        self.nodes[place].ask(Request::Orders(command)).is_some()
    }

    /// Everything is put right, for good.
    pub(super) fn heal(&mut self, now: Instant) {
        if self.faults_left > 0 {
            // A world that was spared what was planned for it proves nothing.
            return self.at(POSTPONEMENT, Happening::Heal);
        }
        self.ledger.trace.note(now, format_args!("everything is put right"));
        self.network.heal_all();
        self.isolated = None;
        self.store.heal();
        self.names.heal();
        self.ledger.proof.iter_mut().for_each(Proof::heal);
        self.put_store_right(now);
        for node in &mut self.nodes {
            node.set_link(&self.network, Link::default());
            node.plug(&self.network, true);
            for disk in node.disks.values() {
                disk.fail_reads(None);
                disk.set_free_bytes(1 << 40);
                disk.fail_prepares(None);
            }
            node.set_shortage(&self.network, 0.0);
            node.set_latency(self.plan.disk_latency.clone());
        }
        self.attacker.end();
        for hop in &self.hops {
            hop.borrow_mut().manner = Manner::default();
        }
        if self.plan.pair && self.plan.is_ordered() {
            // It ends when that is said on the other box.
            let (selector, treatment, reason) = (Selector::All, Treatment::Suspend, String::new());
            let command = OrderCommand::Give { selector, treatment, duration_seconds: None, reason };
            self.nodes[1].ask(Request::Orders(command));
        }
        if !self.plan.heals_in_place {
            (0..self.nodes.len()).for_each(|place| self.mend(now, Fault::WriteFails, place));
        }
        let patience = self.plan.retry_max * 3 + Duration::from_secs(3 * 3600);
        self.phase = Phase::Healed { until: now + patience };
        for place in 0..LAST_SESSIONS {
            self.at(FINISH_WITHIN + REPAIR_DURATION * (3 + place), Happening::LastSession);
        }
    }
}
