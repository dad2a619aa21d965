//! Initial sequence numbers that outsiders cannot guess (RFC 6528).
//!
//! smoltcp draws its own from a 64-bit linear congruential generator, which a few observed numbers give away. The
//! generator belongs to the interface, though, and its seed may be chosen: an interface that lives for one SYN, seeded
//! so that its next draw is the number that we want, makes the unmodified crate do what RFC 9293 §3.4.1 asks.

use super::device::{Ingress, Scratch};
use super::tuple::Tuple;
use crate::env::Instant;
use siphasher::sip::SipHasher24;
use smoltcp::iface::{Config, Interface};
use smoltcp::phy::DeviceCapabilities;
use smoltcp::wire::HardwareAddress;
use std::hash::Hasher;

/// smoltcp's generator: state ← state × MULTIPLIER + INCREMENT.
const MULTIPLIER: u64 = 0xbb2e_fcec_3c39_611d;
const INCREMENT: u64 = 0x7590_ef39;

/// The inverse of the multiplier modulo 2^64, by Newton's iteration: each step doubles the number of right bits.
const INVERSE: u64 = {
    let mut inverse = MULTIPLIER;
    let mut step = 0;
    while step < 6 {
        inverse = inverse.wrapping_mul(2u64.wrapping_sub(MULTIPLIER.wrapping_mul(inverse)));
        step += 1;
    }
    inverse
};
const _: () = assert!(MULTIPLIER.wrapping_mul(INVERSE) == 1);

/// `ISN = M + F(tuple, key)` with M a clock of 4 µs (RFC 6528 §3).
pub(super) fn initial_sequence(key: &[u8; 16], tuple: &Tuple, now: Instant) -> u32 {
    let mut hasher = SipHasher24::new_with_key(key);
    tuple.hash_into(&mut hasher);
    ((now.nanos() / 4000) as u32).wrapping_add(hasher.finish() as u32)
}

/// An interface without addresses whose next sequence number is `isn`.
pub(super) fn interface_that_draws(
    isn: u32,
    hardware_address: HardwareAddress,
    capabilities: &DeviceCapabilities,
    now: smoltcp::time::Instant,
) -> Interface {
    let mut config = Config::new(hardware_address);
    config.random_seed = seed_that_draws(isn);
    let mut scratch = Scratch::new(0);
    Interface::new(config, &mut Ingress::new(None, &mut scratch, capabilities), now)
}

/// The seed after which the generator's second draw is `isn`; the first is the interface's IPv4 identification, drawn
/// anew until it is not zero.
fn seed_that_draws(isn: u32) -> u64 {
    let back = |state: u64| state.wrapping_sub(INCREMENT).wrapping_mul(INVERSE);
    let mut low = 0;
    loop {
        // The three highest bits of the state say how far the output is shifted: none set means 29.
        let first = back(u64::from(isn) << 29 | low);
        let output = (first >> (29 - (first >> 61))) as u32;
        if (output ^ (output >> 16)) as u16 != 0 {
            return back(first);
        }
        low += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::IpAddr;

    fn tuple(remote_port: u16) -> Tuple {
        let address = IpAddr::from([192, 0, 2, 1]);
        Tuple { local: address, local_port: 25, remote: address, remote_port }
    }

    #[test]
    fn a_tuple_s_numbers_grow_with_the_clock() {
        let at = |micros: u64| initial_sequence(&[7; 16], &tuple(1), Instant::from_nanos(micros * 1000));
        assert_eq!(at(4_000_000).wrapping_sub(at(0)), 1_000_000);
    }

    #[test]
    fn another_tuple_or_key_has_other_numbers() {
        let now = Instant::ZERO;
        let mut seen = std::collections::HashSet::new();
        for port in 1..2000 {
            assert!(seen.insert(initial_sequence(&[7; 16], &tuple(port), now)));
        }
        assert_ne!(initial_sequence(&[7; 16], &tuple(1), now), initial_sequence(&[8; 16], &tuple(1), now));
    }
}
