//! What a NIC with segmentation offload does to a frame.
//!
//! In: an Ethernet frame with one large TCP segment, over IPv4 or IPv6 without extension headers. Out: frames with pieces
//! of it, whose headers are those of the first with what has to change: lengths, IPv4's identification, sequence numbers,
//! flags, checksums.

use crate::port::ETHERNET_HEADER;
use crate::port::checksum::Sum;

const FIN: u8 = 0x01;
const PSH: u8 = 0x08;
const CWR: u8 = 0x80;

/// Cuts a frame into pieces of `size` bytes of content.
pub(super) fn cut(frame: &[u8], size: usize) -> Vec<Box<[u8]>> {
    let v4 = frame[12..14] == [0x08, 0x00];
    let begin = ETHERNET_HEADER + if v4 { usize::from(frame[14] & 0x0f) * 4 } else { 40 };
    let content_begin = begin + usize::from(frame[begin + 12] >> 4) * 4;
    let (headers, content) = frame.split_at(content_begin);
    let count = content.len().div_ceil(size);
    let piece = |(number, content): (usize, &[u8])| {
        let mut piece = [headers, content].concat();
        let length = (piece.len() - begin) as u16;
        let addresses = if v4 {
            let packet = &mut piece[ETHERNET_HEADER..begin];
            let identification = u16::from_be_bytes([packet[4], packet[5]]).wrapping_add(number as u16);
            let total = packet.len() as u16 + length;
            packet[2..4].copy_from_slice(&total.to_be_bytes());
            packet[4..6].copy_from_slice(&identification.to_be_bytes());
            packet[10..12].fill(0);
            let sum = Sum::default().add(packet).finish();
            packet[10..12].copy_from_slice(&sum);
            ETHERNET_HEADER + 12..ETHERNET_HEADER + 20
        } else {
            piece[ETHERNET_HEADER + 4..ETHERNET_HEADER + 6].copy_from_slice(&length.to_be_bytes());
            ETHERNET_HEADER + 8..ETHERNET_HEADER + 40
        };
        let segment = &mut piece[begin..];
        let sequence = u32::from_be_bytes([segment[4], segment[5], segment[6], segment[7]]);
        segment[4..8].copy_from_slice(&sequence.wrapping_add((number * size) as u32).to_be_bytes());
        // The end is said by the last one, and the answer to a congestion mark by the first (RFC 3168 §6.1.2).
        if number + 1 < count {
            segment[13] &= !(FIN | PSH);
        }
        if number > 0 {
            segment[13] &= !CWR;
        }
        segment[16..18].fill(0);
        let sum = Sum::of_pseudo_header(&piece[addresses], length).add(&piece[begin..]).finish();
        piece[begin + 16..begin + 18].copy_from_slice(&sum);
        piece.into()
    };
    content.chunks(size).enumerate().map(piece).collect()
}
