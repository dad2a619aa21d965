//! What a router does that is about to be congested: it marks instead of dropping (RFC 3168 §5).
//!
//! In: an Ethernet frame. Out: the same with congestion experienced, if its segment is ECN-capable.
//!
//! ```text
//! IPv4 │ version 4, header 4 │ DSCP 6, ECN 2 │ …     IPv6 │ version 4, DSCP 4 │ DSCP 2, ECN 2, flow label 4 │ …
//! ```

use crate::port::ETHERNET_HEADER;
use crate::port::checksum::Sum;

/// Congestion experienced.
const CE: u8 = 3;

const TCP: u8 = 6;

/// A header without options.
const IPV4: std::ops::Range<usize> = ETHERNET_HEADER..ETHERNET_HEADER + 20;

fn is_v4(frame: &[u8]) -> bool {
    frame[12..14] == [0x08, 0x00]
}

/// Whether a frame holds a TCP segment. What keeps a network together (ARP, ND, ICMP) meets no congestion here.
pub(super) fn is_segment(frame: &[u8]) -> bool {
    match frame.get(12..15) {
        Some([0x08, 0x00, 0x45]) => frame.len() >= IPV4.end && frame[ETHERNET_HEADER + 9] == TCP,
        Some([0x86, 0xdd, _]) => frame.len() >= ETHERNET_HEADER + 40 && frame[ETHERNET_HEADER + 6] == TCP,
        _ => false,
    }
}

/// Marks a segment; false if it is not ECN-capable.
pub(super) fn mark(frame: &mut [u8]) -> bool {
    let shift = if is_v4(frame) { 0 } else { 4 };
    let class = &mut frame[ETHERNET_HEADER + 1];
    if *class >> shift & CE == 0 {
        return false;
    }
    *class |= CE << shift;
    if is_v4(frame) {
        let header = &mut frame[IPV4];
        header[10..12].fill(0);
        let sum = Sum::default().add(header).finish();
        header[10..12].copy_from_slice(&sum);
    }
    true
}
