//! Claiming own addresses before their first use.
//!
//! In: frames that a port received and the time. Out: probes, then announcements, and the word that the addresses are ours
//! or who else has one. A claim never uses an address before it is claimed, never defends one later, and never answers
//! anybody: whoever asks for a tentative address gets silence (RFC 4862 §5.4.3).
//!
//! ```text
//!   0 ms      200 ms     400 ms     600 ms       800 ms
//! probe ───► probe ───► probe ───► announce ───► announce, Claimed
//! └───────── listening all the while ──────────┘
//! ```
//!
//! IPv4: ARP probes and announcements (RFC 5227). IPv6: duplicate address detection (RFC 4862 §5.4) and unsolicited
//! neighbour advertisements (RFC 4861 §7.2.6). A neighbour that lies can keep us from an address: so can any host on an
//! Ethernet, and to serve beside the true owner of an address would be worse.

mod frames;

#[cfg(test)]
mod tests;

use crate::env::Instant;
use crate::limits::{
    CLAIM_ANNOUNCE_INTERVAL, CLAIM_ANNOUNCEMENTS, CLAIM_BURSTS_PER_POLL, CLAIM_PROBE_INTERVAL, CLAIM_PROBES,
    CLAIM_RETRY_DELAY,
};
use crate::port::{Burst, Port};
use std::net::IpAddr;

/// How far a claim is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Poll again when frames arrive, at `next` at the latest.
    Pending {
        /// When the next probe or announcement is due.
        next: Instant,
    },
    /// The addresses are ours.
    Claimed,
    /// Another host has `address` or wants it in this moment. None of the addresses may be used.
    Conflict {
        /// The first address that was contested.
        address: IpAddr,
        /// Whose frame said so.
        hardware_address: [u8; 6],
    },
}

/// The claim to all addresses of a port, in one go.
#[derive(Debug)]
pub struct Claim {
    hardware_address: [u8; 6],
    addresses: Vec<IpAddr>,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Probing { sent: u8, next: Instant },
    Announcing { sent: u8, next: Instant },
    Claimed,
    Conflict { address: IpAddr, hardware_address: [u8; 6] },
}

impl Claim {
    /// A claim that begins at `now`, for a port with hardware address `mac`.
    pub fn new(mac: [u8; 6], addresses: &[IpAddr], now: Instant) -> Claim {
        let state = if addresses.is_empty() { State::Claimed } else { State::Probing { sent: 0, next: now } };
        Claim { hardware_address: mac, addresses: addresses.to_vec(), state }
    }

    /// Listens, then sends what is due. Frames that have arrived are taken and given back, whatever they hold: nobody has
    /// a connection with an address that is not in use. Once the claim is decided the port is not touched any more.
    pub fn poll<P: Port>(&mut self, port: &mut P, now: Instant) -> Status {
        // An answer that came in time must be heard even if this poll is late, so nothing moves before the ring is empty.
        if !self.decided() && !self.listen(port) {
            return Status::Pending { next: now };
        }
        while let State::Probing { next, .. } | State::Announcing { next, .. } = self.state
            && next <= now
        {
            self.state = self.step(port, now);
        }
        match self.state {
            State::Probing { next, .. } | State::Announcing { next, .. } => Status::Pending { next },
            State::Claimed => Status::Claimed,
            State::Conflict { address, hardware_address } => Status::Conflict { address, hardware_address },
        }
    }

    /// Hears one frame that another queue of the same NIC received.
    pub fn hear(&mut self, frame: &[u8]) {
        if self.decided() {
            return;
        }
        let contested = frames::contested(frame, self.hardware_address);
        if let Some((address, hardware_address)) = contested
            && self.addresses.contains(&address)
        {
            self.state = State::Conflict { address, hardware_address };
        }
    }

    fn decided(&self) -> bool {
        matches!(self.state, State::Claimed | State::Conflict { .. })
    }

    /// Takes what has arrived. `false` if more may be there.
    fn listen<P: Port>(&mut self, port: &mut P) -> bool {
        let mut burst = Burst::new();
        for _ in 0..CLAIM_BURSTS_PER_POLL {
            port.receive(&mut burst);
            if burst.is_empty() {
                return true;
            }
            for frame in burst.drain(..) {
                self.hear(port.bytes(&frame));
                port.release(frame);
            }
            if self.decided() {
                return true;
            }
        }
        false
    }

    /// Sends what is due now. The pauses are counted from here and not from when it was due, so that a poll that comes
    /// late never shortens the time that others have to answer.
    fn step<P: Port>(&self, port: &mut P, now: Instant) -> State {
        let retry = now + CLAIM_RETRY_DELAY;
        match self.state {
            State::Probing { sent, .. } if sent == CLAIM_PROBES => State::Announcing { sent: 0, next: now },
            State::Probing { sent, .. } => {
                if !self.probe(port) {
                    return State::Probing { sent, next: retry };
                }
                State::Probing { sent: sent + 1, next: now + CLAIM_PROBE_INTERVAL }
            }
            State::Announcing { sent, .. } => {
                if !announce(port, &self.addresses) {
                    return State::Announcing { sent, next: retry };
                }
                if sent + 1 == CLAIM_ANNOUNCEMENTS {
                    return State::Claimed;
                }
                State::Announcing { sent: sent + 1, next: now + CLAIM_ANNOUNCE_INTERVAL }
            }
            decided => decided,
        }
    }

    fn probe<P: Port>(&self, port: &mut P) -> bool {
        let mut all = true;
        for address in &self.addresses {
            match address {
                IpAddr::V4(address) => all &= send(port, &frames::arp_probe(self.hardware_address, *address)),
                IpAddr::V6(address) => {
                    // RFC 4862 §5.4.2: the group is joined first, or a switch that snoops keeps from us the probe of
                    // another host for the same address.
                    all &= send(port, &frames::group_report(self.hardware_address, *address));
                    all &= send(port, &frames::solicitation(self.hardware_address, *address));
                }
            }
        }
        port.flush();
        all
    }
}

/// Tells all neighbours that `addresses` are at this port now: gratuitous ARP and unsolicited neighbour advertisements.
/// For a takeover, where the address moves from one box to another; worth repeating after a moment, since nothing answers
/// it. `false` if the port had no room for all of them.
pub fn announce<P: Port>(port: &mut P, addresses: &[IpAddr]) -> bool {
    let hardware_address = port.hardware_address();
    let mut all = true;
    for address in addresses {
        match address {
            IpAddr::V4(address) => {
                // RFC 5227 §3 explains why the request is the better announcement; some gear heeds only the reply.
                all &= send(port, &frames::arp_announcement(hardware_address, *address));
                all &= send(port, &frames::arp_gratuitous_reply(hardware_address, *address));
            }
            IpAddr::V6(address) => all &= send(port, &frames::advertisement(hardware_address, *address)),
        }
    }
    port.flush();
    all
}

fn send<P: Port>(port: &mut P, bytes: &[u8]) -> bool {
    if !port.transmit_ready() {
        return false;
    }
    let Some(mut frame) = port.allocate(bytes.len()) else { return false };
    port.bytes_mut(&mut frame).copy_from_slice(bytes);
    port.transmit(frame);
    true
}
