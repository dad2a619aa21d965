//! What only a pair may suffer, and what only a pair must keep to.

use super::{FINISH_WITHIN, Happening, World};
use crate::env::Instant;
use crate::mirror::arbiter::{Cause, Command, Event, Stage};
use crate::mirror::identity_of_log;
use crate::mirror::register::{Mode, Node as Identity};
use crate::port::sim::Tapped;
use crate::sim::fault::{Exchange, Fault, Tampering, Way};
use crate::sim::ledger::FORMER_OWNER_MAX;
use crate::sim::node::{Death, Linger};
use crate::sim::setup::{SILENCE, address, address_v6};
use crate::spool::MessageId;
use rand::RngExt;
use std::net::IpAddr;
use std::time::Duration;

/// What is under way when both boxes of a pair are cut off from everybody has come to its end after this time.
const ISOLATION_NOTICED: Duration = SILENCE.saturating_mul(4);

/// A slow disk takes so many times as long.
const SLOWNESS: u64 = 20;

const IPPROTO_TCP: u8 = 6;
const TCP_RESET: u8 = 4;

impl World {
    /// Has it happen, if it can. Whether it could.
    pub(super) fn try_pair(&mut self, now: Instant, fault: Fault, place: usize) -> bool {
        match fault {
            Fault::Isolation(duration) => {
                if !self.nodes.iter().all(|node| node.is_running()) || self.isolated.is_some() {
                    return false;
                }
                [0, 1].into_iter().for_each(|place| self.store.cut(place, now + duration));
                self.cut_partners(Way::Both);
                self.isolated = Some((now, now + duration));
                self.at(duration, Happening::Mend(fault, place));
            }
            Fault::StoreTampered(how, duration) => {
                let identity = Identity::BOTH[self.random.random_range(0..2)];
                let epoch = self.store.register(identity).map_or(0, |register| register.epoch);
                // A box that was off and has not seen what was there could not tell.
                if epoch < 2 || !self.tamper(now, identity, how, epoch) {
                    return false;
                }
                self.at(duration, Happening::Mend(fault, place));
            }
            Fault::DiskSlow(duration) => {
                let latency = &self.plan.disk_latency;
                self.nodes[place].set_latency(latency.start() * SLOWNESS..=latency.end() * SLOWNESS);
                self.at(duration, Happening::Mend(fault, place));
            }
            Fault::Unplugged(duration) => {
                self.nodes[place].plug(&self.network, false);
                self.at(duration, Happening::Mend(fault, place));
            }
            Fault::Blackout(duration) => {
                if !self.nodes.iter().all(|node| node.is_running()) {
                    return false;
                }
                for place in 0..self.nodes.len() {
                    self.kill(now, place, Death::PowerLoss);
                    self.at(duration.mul_f64(1.0 + place as f64 / 4.0), Happening::Start(place));
                }
            }
            Fault::DiskExchanged(exchange, duration) => return self.exchange(now, exchange, place, duration),
            Fault::Upgrade(duration) => {
                if self.nodes[0].protocol != self.nodes[1].protocol {
                    return false;
                }
                self.upgrade(place);
                self.at(duration, Happening::Mend(fault, place));
            }
            Fault::Command(command) => {
                // Refused where it would make no sense.
                let _ = Identity::BOTH.map(|identity| self.nodes[place].command(identity, command));
            }
            _ => unreachable!("it may happen to one box as well"),
        }
        true
    }

    /// Does this to a register, if none was tampered with yet and both boxes know of such an epoch. Whether it was done.
    fn tamper(&mut self, now: Instant, identity: Identity, how: Tampering, epoch: u64) -> bool {
        let mut memories = self.nodes.iter().map(|node| node.memories[identity as usize]);
        let known = memories.all(|memory| memory.is_some_and(|memory| memory.epoch_seen >= epoch));
        let fit = known && !Identity::BOTH.iter().any(|identity| self.store.is_tampered(*identity));
        if fit {
            self.store.tamper(now, identity, how);
        }
        fit
    }

    /// Waits for a box that lingers, and has its arbiter meet this there.
    pub(super) fn await_encounter(&mut self, now: Instant, linger: Linger, cause: Cause, until: Instant) {
        self.nodes.iter_mut().for_each(|node| node.set_linger(Some(linger)));
        let lingers = |place: usize| self.nodes[place].lingers().map(|identity| (place, identity));
        let there: Vec<_> = (0..self.nodes.len()).filter_map(lingers).collect();
        let comes = there.into_iter().any(|(place, identity)| {
            let comes = self.nodes[place].stage(identity) == Some(linger.stage)
                && self.meets(now, place, identity, linger, cause);
            if comes {
                let what = format_args!("box {place} met this, {:?} for identity {identity}: {cause:?}", linger.stage);
                self.ledger.trace.note(now, what);
            }
            comes
        });
        if comes || now >= until {
            self.nodes.iter_mut().for_each(|node| node.set_linger(None));
            self.ambushes.remove(0);
            self.faults_left -= 1;
            *self.injected.entry("encounter").or_default() += u64::from(comes);
        }
    }

    /// Brings it about that the arbiter of a box meets this. Whether that could be.
    fn meets(&mut self, now: Instant, place: usize, identity: Identity, linger: Linger, cause: Cause) -> bool {
        let duration = linger.duration;
        let fault = match cause {
            Cause::Missing => {
                // Who has ever seen a register knows that it is gone.
                if self.plan.manual || !self.tamper(now, identity, Tampering::Removed, 1) {
                    return false;
                }
                let mend = Happening::Mend(Fault::StoreTampered(Tampering::Removed, duration), place);
                self.at(duration * 2, mend);
                self.nodes[place].tell(identity, Event::Stirred);
                return true;
            }
            Cause::StorageFailed => {
                self.nodes[place].tell(identity, Event::StorageFailed);
                Fault::WriteFails
            }
            Cause::Room => Fault::DiskFull(duration),
            Cause::Port => Fault::Unplugged(duration),
            Cause::Silent => Fault::PartnersCut(Way::Both, duration),
            Cause::Solo => {
                let command = Command::Solo { accept_loss: false, partner_is_off: false };
                return self.nodes[place].command(identity, command);
            }
            Cause::Rejoin => return self.nodes[place].command(identity, Command::Rejoin),
            // It comes by itself, late.
            _ => return true,
        };
        self.faults_left += 1;
        self.break_something(now, fault, place);
        true
    }

    /// A box is off, and comes back with another disk, unless its own is the only one that counts.
    fn exchange(&mut self, now: Instant, exchange: Exchange, place: usize, duration: Duration) -> bool {
        if !self.nodes[place].is_running() || Identity::BOTH.iter().any(|identity| self.is_alone(*identity, place)) {
            return false;
        }
        if exchange == Exchange::Stale && !self.nodes[place].has_snapshot() {
            self.nodes[place].take_snapshot(&mut self.random);
            return false;
        }
        self.kill(now, place, Death::PowerLoss);
        self.at(duration, Happening::Start(place));
        self.nodes[place].exchange_disks(exchange);
        true
    }

    /// Whether the copy of this box is the only one that counts.
    pub(super) fn is_alone(&self, identity: Identity, place: usize) -> bool {
        let register = self.register(identity);
        register.is_some_and(|register| register.mode == Mode::Solo && register.owner as usize == place)
    }

    fn upgrade(&mut self, place: usize) {
        self.nodes[place].protocol += 1;
        self.nodes[place].stop(FINISH_WITHIN / 10);
        self.at(FINISH_WITHIN / 10, Happening::Start(place));
    }

    /// The other box follows.
    pub(super) fn upgrade_partner(&mut self, place: usize) {
        let partner = 1 - place;
        if self.nodes[partner].protocol != self.nodes[place].protocol {
            self.upgrade(partner);
        }
    }

    /// An operator whose registers were tampered with puts them right, and nobody has believed what stood there.
    pub(super) fn put_store_right(&mut self, now: Instant) {
        if !self.store.put_right(now) {
            self.ledger.violate(now, format_args!("a register that was tampered with was believed"));
        }
    }

    /// A box that was told to be alone is told that it need not be.
    pub(super) fn rejoin(&mut self, place: usize) {
        if self.plan.pair {
            let _ = Identity::BOTH.map(|identity| self.nodes[place].command(identity, Command::Rejoin));
        }
    }

    /// Whoever begins to lead has every message that was answered with 250 and is not over, whoever took it. One that dies at that
    /// very moment cannot be asked.
    pub(super) fn check_adopted(&mut self, now: Instant, identity: Identity, place: usize) {
        if !self.nodes[place].is_running() {
            return;
        }
        let of_identity = self.ids.iter().filter(|(id, _)| identity_of_log(id.log()) == identity);
        let owed = of_identity.filter(|(_, number)| self.ledger.is_owed(now, **number));
        let missing =
            owed.into_iter().find(|(id, _)| !self.nodes[place].holds(**id)).map(|(id, number)| (*id, *number));
        if let Some((id, number)) = missing {
            let what = format_args!("message {number} was acknowledged as {id}, and box {place} leads without it");
            self.ledger.violate(now, what);
        }
    }

    /// Fail closed: what was mirrored takes no mail as long as the boxes reach neither each other nor the store.
    pub(super) fn check_isolation(&mut self, now: Instant, id: MessageId) {
        let Some((since, until)) = self.isolated else { return };
        let register = self.register(identity_of_log(id.log()));
        let mirrored = register.is_some_and(|register| register.mode == Mode::Mirrored);
        if mirrored && since + ISOLATION_NOTICED < now && now < until {
            self.ledger.violate(now, format_args!("{id} was taken by a box that reaches nobody"));
        }
    }

    /// Nobody speaks from an address that is the partner's, whether it was cut off, paused or asleep when that came about.
    pub(super) fn check_addresses(&mut self, now: Instant, frames: &[Tapped]) {
        if !self.plan.pair {
            return;
        }
        for identity in Identity::BOTH {
            let owner = self.register(identity).map(|register| register.owner as usize);
            let known = &mut self.owners[identity as usize];
            if known.0 != owner {
                *known = (owner, now);
            }
        }
        for Tapped { from, bytes, .. } in frames {
            let Some(place) = (0..self.nodes.len()).find(|place| self.nodes[*place].host() == Some(*from)) else {
                continue;
            };
            let Some(identity) = identity_of_sender(bytes) else { continue };
            let (owner, since) = self.owners[identity as usize];
            if owner.is_some_and(|owner| owner != place) && now.since(since) > FORMER_OWNER_MAX {
                let what = format_args!("box {place} speaks for identity {identity}, which is the partner's");
                self.ledger.violate(now, what);
            }
        }
    }

    /// Whether a pair is a pair again.
    pub(super) fn is_whole(&self) -> bool {
        let leads = |identity: Identity| {
            let stages: Vec<_> = self.nodes.iter().filter_map(|node| node.stage(identity)).collect();
            stages.contains(&Stage::Leading) && stages.contains(&Stage::Following)
        };
        let mirrored = |identity| self.register(identity).is_some_and(|register| register.mode == Mode::Mirrored);
        let is_paired = || Identity::BOTH.into_iter().all(|identity| leads(identity) && mirrored(identity));
        !self.plan.pair || (is_paired() && self.nodes.iter().all(|node| node.orders_are_same() == Some(true)))
    }
}

/// Whose address a frame comes from, whether it is ARP, IPv4 or IPv6. A reset is nobody's: it ends what is over, and a client is
/// better told twice than not at all.
fn identity_of_sender(frame: &[u8]) -> Option<Identity> {
    let v4 = |at: usize| Some(IpAddr::from(<[u8; 4]>::try_from(frame.get(at..at + 4)?).ok()?));
    let resets = |at: usize| frame.get(at + 13).is_some_and(|flags| flags & TCP_RESET != 0);
    let sender = match frame.get(12..14)? {
        [0x08, 0x00] if frame.get(23) == Some(&IPPROTO_TCP) && resets(34) => return None,
        [0x86, 0xdd] if frame.get(20) == Some(&IPPROTO_TCP) && resets(54) => return None,
        [0x08, 0x00] => v4(26)?,
        [0x08, 0x06] => v4(28)?,
        [0x86, 0xdd] => IpAddr::from(<[u8; 16]>::try_from(frame.get(22..38)?).ok()?),
        _ => return None,
    };
    Identity::BOTH.into_iter().find(|identity| {
        let last = [1, 5][*identity as usize];
        sender == address(last) || sender == address_v6(last.into())
    })
}
