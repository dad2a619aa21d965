//! Numbers that outsiders cannot guess, and that the pair can compute anew.

use super::connection::sequence::Sequence;
use super::tuple::Tuple;
use crate::env::Instant;
use siphasher::sip::SipHasher24;
use std::hash::Hasher;

/// The initial sequence number: `ISN = M + F(tuple, key)` with M a clock of 4 µs (RFC 6528 §3).
pub(super) fn initial_sequence(key: &[u8; 16], tuple: &Tuple, now: Instant) -> Sequence {
    Sequence(((now.nanos() / 4000) as u32).wrapping_add(keyed(key, tuple) as u32))
}

/// What is added to the clock of timestamps (RFC 7323 §7.1).
pub(super) fn clock_offset(key: &[u8; 16], tuple: &Tuple) -> u32 {
    (keyed(key, tuple) >> 32) as u32
}

fn keyed(key: &[u8; 16], tuple: &Tuple) -> u64 {
    let mut hasher = SipHasher24::new_with_key(key);
    tuple.hash_into(&mut hasher);
    hasher.finish()
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
        assert_eq!(at(4_000_000).since(at(0)), 1_000_000);
    }

    #[test]
    fn another_tuple_or_key_has_other_numbers() {
        let now = Instant::ZERO;
        let mut seen = std::collections::HashSet::new();
        for port in 1..2000 {
            assert!(seen.insert(initial_sequence(&[7; 16], &tuple(port), now).0));
        }
        assert_ne!(initial_sequence(&[7; 16], &tuple(1), now), initial_sequence(&[8; 16], &tuple(1), now));
        assert_ne!(clock_offset(&[7; 16], &tuple(1)), clock_offset(&[7; 16], &tuple(2)));
    }
}
