//! SYN cookies (RFC 4987 §3.6): a handshake that costs nothing until the client has proved that it is there.
//!
//! When there is no room for another half-open connection, what must be known of it is put into the sequence number of the
//! SYN-ACK, and comes back in the client's acknowledgement:
//!
//! ```text
//!  31                                 8 7    5 4       1      0
//! │ proof: key, tuple, client's number, time │ size │ scale │ SACK │
//! ```
//!
//! The segment size is rounded down to one of eight, the window scale and SACK come back as they were, and timestamps show
//! themselves in the acknowledgement. For ECN there is no bit, so that such a connection is without. The proof holds for the
//! present and the previous turn of a counter: between one and two minutes. Guessing it takes 2^23 acknowledgements on
//! average, each of which gives a connection that can do no more than any other.

use super::connection::options::Options;
use super::connection::sequence::Sequence;
use super::tuple::Tuple;
use crate::env::Instant;
use crate::limits::COOKIE_LIFETIME;
use siphasher::sip::SipHasher24;
use std::hash::Hasher;

/// Segment sizes that can be told: without the option, IPv6 without it, tunnels, Ethernet for both families, jumbo frames.
const SEGMENT_SIZES: [u16; 8] = [536, 1220, 1300, 1400, 1440, 1460, 4312, 8940];

/// No window scale: the peer offered none.
const NO_SCALE: u32 = 15;

fn proof(key: &[u8; 16], tuple: &Tuple, client: Sequence, turn: u64) -> u32 {
    let mut hasher = SipHasher24::new_with_key(key);
    tuple.hash_into(&mut hasher);
    hasher.write_u32(client.0);
    hasher.write_u64(turn);
    hasher.finish() as u32 & 0xffff_ff00
}

fn turn(now: Instant) -> u64 {
    now.nanos() / COOKIE_LIFETIME.as_nanos() as u64
}

/// The initial sequence number that stands for a client's SYN with this number and these options.
pub(super) fn bake(key: &[u8; 16], tuple: &Tuple, client: Sequence, options: &Options, now: Instant) -> Sequence {
    let offered = options.segment_size.unwrap_or(0);
    let size = SEGMENT_SIZES.iter().rposition(|size| *size <= offered).unwrap_or(0) as u32;
    let scale = options.window_scale.map_or(NO_SCALE, u32::from);
    let told = size << 5 | scale << 1 | u32::from(options.sack_permitted);
    Sequence(proof(key, tuple, client, turn(now)) | told)
}

/// What the SYN offered to which this was the answer, or `None` if it was never baked, or too long ago.
pub(super) fn read(key: &[u8; 16], tuple: &Tuple, client: Sequence, cookie: Sequence, now: Instant) -> Option<Options> {
    let turn = turn(now);
    let baked = |turn| proof(key, tuple, client, turn) == cookie.0 & 0xffff_ff00;
    if !baked(turn) && !turn.checked_sub(1).is_some_and(baked) {
        return None;
    }
    let scale = cookie.0 >> 1 & 15;
    Some(Options {
        segment_size: Some(SEGMENT_SIZES[(cookie.0 >> 5 & 7) as usize]),
        window_scale: (scale != NO_SCALE).then_some(scale as u8),
        sack_permitted: cookie.0 & 1 != 0,
        ..Options::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::IpAddr;

    const KEY: [u8; 16] = [3; 16];

    fn tuple() -> Tuple {
        let address = IpAddr::from([192, 0, 2, 1]);
        Tuple { local: address, local_port: 25, remote: address, remote_port: 1025 }
    }

    fn at(seconds: u64) -> Instant {
        Instant::from_nanos(seconds * 1_000_000_000)
    }

    #[test]
    fn what_was_offered_comes_back() {
        for (size, told) in [(1460, 1460), (1459, 1440), (8960, 8940), (100, 536)] {
            for window_scale in [None, Some(0), Some(7), Some(14)] {
                for sack_permitted in [false, true] {
                    let offer =
                        Options { segment_size: Some(size), window_scale, sack_permitted, ..Options::default() };
                    let cookie = bake(&KEY, &tuple(), Sequence(77), &offer, at(1000));
                    let known = read(&KEY, &tuple(), Sequence(77), cookie, at(1060));
                    assert_eq!(known, Some(Options { segment_size: Some(told), ..offer }));
                }
            }
        }
    }

    #[test]
    fn another_s_or_an_old_one_is_not_taken() {
        let cookie = bake(&KEY, &tuple(), Sequence(77), &Options::default(), at(1000));
        assert_eq!(read(&KEY, &tuple(), Sequence(78), cookie, at(1000)), None);
        assert_eq!(read(&[4; 16], &tuple(), Sequence(77), cookie, at(1000)), None);
        assert_eq!(read(&KEY, &Tuple { remote_port: 1, ..tuple() }, Sequence(77), cookie, at(1000)), None);
        assert_eq!(read(&KEY, &tuple(), Sequence(77), Sequence(cookie.0 ^ 0x100), at(1000)), None);
        assert_eq!(read(&KEY, &tuple(), Sequence(77), cookie, at(1000 + 130)), None);
    }
}
