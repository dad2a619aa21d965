//! Checksums that the NIC makes and checks, and segments that it cuts.
//!
//! In: frames without a VLAN tag, and the driver's word about those that came. Out: orders for the driver, or whether a
//! received frame is as it was sent. A NIC looks at TCP over IPv4 or IPv6 without extension headers; where it has no word
//! the checksums are checked here, because the stack relies on all of them once the port says that it may.
//!
//! ```text
//! | Ethernet: 14 | IPv4: 20 to 60, or IPv6: 40 | TCP ... checksum at 16 |
//! ```

use crate::port::ETHERNET_HEADER;
use crate::port::checksum::Sum;
use smoltcp::wire::{IpAddress, Ipv4Packet, Ipv6Packet, TcpPacket};

const IPV4_HEADER_MIN: usize = 20;
const IPV4_CHECKSUM: usize = 10;

/// Length of an IPv6 header without extensions, bytes.
pub(super) const IPV6_HEADER: usize = 40;

const TCP: u8 = 6;
const TCP_HEADER_MIN: usize = 20;
const TCP_CHECKSUM: usize = 16;

/// What a driver says about one checksum of a received frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Word {
    Good,
    Bad,
    Nothing,
}

/// What a driver is to do with the checksums of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Orders {
    Nothing,
    /// The header's, and TCP's behind it.
    Ipv4 {
        /// Length of the header, bytes.
        header: u16,
        tcp: bool,
    },
    /// TCP's, behind a header without extensions.
    Ipv6Tcp,
}

/// Prepares a frame for a NIC that makes its checksums, and says what it is to do: everything for IPv4's header and TCP,
/// nothing for the rest, which carries its own.
pub(super) fn order(frame: &mut [u8]) -> Orders {
    let orders = content(frame);
    let header = match orders {
        Orders::Nothing => return orders,
        Orders::Ipv4 { header, tcp } => {
            let place = ETHERNET_HEADER + IPV4_CHECKSUM;
            frame[place..place + 2].fill(0);
            if !tcp {
                return orders;
            }
            usize::from(header)
        }
        Orders::Ipv6Tcp => IPV6_HEADER,
    };
    let sum = pseudo_header_sum(frame, header);
    let place = ETHERNET_HEADER + header + TCP_CHECKSUM;
    frame[place..place + 2].copy_from_slice(&sum);
    orders
}

/// How a NIC is to cut a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cut {
    /// Length of the TCP header, bytes.
    pub header: u16,
    /// Bytes of content in each piece.
    pub size: u16,
}

/// The same for a frame whose segment the NIC cuts: the pseudo header is then summed without the length, which differs from
/// piece to piece. `None` if it holds no whole TCP segment.
pub(super) fn order_cut(frame: &mut [u8], size: u16) -> Option<(Orders, Cut)> {
    let orders = order(frame);
    let header = match orders {
        Orders::Ipv4 { header, tcp: true } => usize::from(header),
        Orders::Ipv6Tcp => IPV6_HEADER,
        _ => return None,
    };
    let begin = ETHERNET_HEADER + header;
    let sum = Sum::of_pseudo_header(addresses(&frame[ETHERNET_HEADER..]), 0).unfinished();
    frame[begin + TCP_CHECKSUM..begin + TCP_CHECKSUM + 2].copy_from_slice(&sum);
    Some((orders, Cut { header: u16::from(frame[begin + 12] >> 4) * 4, size }))
}

/// Whether the checksums of a received frame hold: by the driver's word where it has one, else by our own sum.
pub(super) fn holds(frame: &[u8], header: Word, segment: Word) -> bool {
    let by = |word: Word, sum: fn(&[u8]) -> bool| match word {
        Word::Good => true,
        Word::Bad => false,
        Word::Nothing => sum(frame),
    };
    match content(frame) {
        Orders::Ipv4 { tcp, .. } => by(header, header_holds) && (!tcp || by(segment, segment_holds)),
        Orders::Ipv6Tcp => by(segment, segment_holds),
        Orders::Nothing => true,
    }
}

/// What a NIC can do for a frame.
fn content(frame: &[u8]) -> Orders {
    let Some((ethernet, packet)) = frame.split_at_checked(ETHERNET_HEADER) else { return Orders::Nothing };
    match ethernet[12..] {
        [0x08, 0x00] if packet.len() >= IPV4_HEADER_MIN && packet[0] >> 4 == 4 => {
            let header = usize::from(packet[0] & 0x0f) * 4;
            if !(IPV4_HEADER_MIN..=packet.len()).contains(&header) {
                return Orders::Nothing;
            }
            // A fragment holds a part of what the checksum is over.
            let whole = u16::from_be_bytes([packet[6], packet[7]]) & 0x3fff == 0;
            let tcp = packet[9] == TCP && whole && packet.len() >= header + TCP_HEADER_MIN;
            Orders::Ipv4 { header: header as u16, tcp }
        }
        [0x86, 0xdd] if packet.len() >= IPV6_HEADER + TCP_HEADER_MIN && packet[6] == TCP => Orders::Ipv6Tcp,
        _ => Orders::Nothing,
    }
}

/// What NICs go on from: the sum of the pseudo header (RFC 9293 §3.1), which stands in the checksum's place.
fn pseudo_header_sum(frame: &[u8], header: usize) -> [u8; 2] {
    let packet = &frame[ETHERNET_HEADER..];
    let word = |offset: usize| u16::from_be_bytes([packet[offset], packet[offset + 1]]);
    let length = if packet[0] >> 4 == 4 { word(2).saturating_sub(header as u16) } else { word(4) };
    Sum::of_pseudo_header(addresses(packet), length).unfinished()
}

/// The addresses in an IP header.
fn addresses(packet: &[u8]) -> &[u8] {
    if packet[0] >> 4 == 4 { &packet[12..20] } else { &packet[8..40] }
}

fn header_holds(frame: &[u8]) -> bool {
    Ipv4Packet::new_checked(&frame[ETHERNET_HEADER..]).is_ok_and(|packet| packet.verify_checksum())
}

fn segment_holds(frame: &[u8]) -> bool {
    let holds = |source: IpAddress, destination: IpAddress, payload: &[u8]| {
        TcpPacket::new_checked(payload).is_ok_and(|segment| segment.verify_checksum(&source, &destination))
    };
    let packet = &frame[ETHERNET_HEADER..];
    if packet[0] >> 4 == 4 {
        Ipv4Packet::new_checked(packet)
            .is_ok_and(|packet| holds(packet.src_addr().into(), packet.dst_addr().into(), packet.payload()))
    } else {
        Ipv6Packet::new_checked(packet)
            .is_ok_and(|packet| holds(packet.src_addr().into(), packet.dst_addr().into(), packet.payload()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A segment with the content `data`, its checksums left out.
    fn segment(v6: bool, data: &[u8]) -> Vec<u8> {
        let length = TCP_HEADER_MIN + data.len();
        let mut frame = vec![2; 12];
        if v6 {
            frame.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
            frame.extend((length as u16).to_be_bytes());
            frame.extend([TCP, 64]);
            frame.extend((0..32).map(|byte| byte * 7));
        } else {
            frame.extend([0x08, 0x00, 0x45, 0]);
            frame.extend(((IPV4_HEADER_MIN + length) as u16).to_be_bytes());
            frame.extend([0, 1, 0x40, 0, 64, TCP, 0, 0, 192, 0, 2, 25, 192, 0, 2, 10]);
        }
        frame.extend([0, 25, 200, 7, 1, 2, 3, 4, 5, 6, 7, 8, 0x50, 0x10, 1, 0, 0, 0, 0, 0]);
        frame.extend(data);
        frame
    }

    /// The complement of the sum that begins with what stands in the checksum's own place: what a NIC does.
    fn sum(bytes: &[u8]) -> u16 {
        let mut sum: u32 = 0;
        for pair in bytes.chunks(2) {
            sum += u32::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]));
        }
        while sum > 0xffff {
            sum = (sum >> 16) + (sum & 0xffff);
        }
        !(sum as u16)
    }

    /// A NIC that obeys.
    fn obey(frame: &mut [u8], orders: Orders) {
        let header = match orders {
            Orders::Nothing => return,
            Orders::Ipv4 { header, tcp } => {
                let checksum = sum(&frame[14..14 + usize::from(header)]);
                frame[24..26].copy_from_slice(&checksum.to_be_bytes());
                if !tcp {
                    return;
                }
                usize::from(header)
            }
            Orders::Ipv6Tcp => IPV6_HEADER,
        };
        let checksum = sum(&frame[14 + header..]);
        frame[14 + header + 16..14 + header + 18].copy_from_slice(&checksum.to_be_bytes());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]
        #[test]
        fn what_a_nic_makes_by_our_orders_holds_and_a_wrong_bit_does_not(
            v6: bool, data in proptest::collection::vec(any::<u8>(), 0..100), garbage: u16, place: usize, bit in 0_u8..8,
        ) {
            let mut frame = segment(v6, &data);
            // Whatever stood there before.
            let checksum = frame.len() - data.len() - 4;
            frame[checksum..checksum + 2].copy_from_slice(&garbage.to_be_bytes());
            let orders = order(&mut frame);
            obey(&mut frame, orders);
            prop_assert!(holds(&frame, Word::Nothing, Word::Nothing));
            // The ports, which nothing but the checksum protects.
            let ports = frame.len() - data.len() - TCP_HEADER_MIN;
            frame[ports + place % 4] ^= 1 << bit;
            prop_assert!(!holds(&frame, Word::Nothing, Word::Nothing));
            prop_assert!(holds(&frame, Word::Good, Word::Good), "the driver's word counts");
        }

        #[test]
        fn no_frame_makes_them_panic(mut frame in proptest::collection::vec(any::<u8>(), 0..100), v6: bool) {
            if frame.len() > 14 {
                frame[12..15].copy_from_slice(if v6 { &[0x86, 0xdd, 0x60] } else { &[0x08, 0x00, 0x45] });
            }
            holds(&frame, Word::Nothing, Word::Nothing);
            order(&mut frame);
        }
    }

    #[test]
    fn a_segment_to_be_cut_has_the_sum_of_its_addresses_and_protocol() {
        for v6 in [false, true] {
            let mut frame = segment(v6, &[7; 3000]);
            let (orders, cut) = order_cut(&mut frame, 1000).expect("TCP");
            let header = if v6 { IPV6_HEADER } else { 20 };
            let expected = if v6 { Orders::Ipv6Tcp } else { Orders::Ipv4 { header: 20, tcp: true } };
            assert_eq!((orders, cut), (expected, Cut { header: 20, size: 1000 }));
            // A NIC adds the length of the piece and the piece itself.
            let mut piece = frame[..14 + header + 20 + 1000].to_vec();
            let begin = 14 + header;
            let stands = u16::from_be_bytes([piece[begin + 16], piece[begin + 17]]);
            let with_length = u32::from(stands) + 1020;
            let folded = (with_length >> 16) + (with_length & 0xffff);
            piece[begin + 16..begin + 18].copy_from_slice(&(folded as u16).to_be_bytes());
            let length = if v6 { 1020_u16 } else { 1040 };
            let place = if v6 { 18 } else { 16 };
            piece[place..place + 2].copy_from_slice(&length.to_be_bytes());
            obey(&mut piece, orders);
            assert!(holds(&piece, Word::Nothing, Word::Nothing));
        }
        let mut ping = segment(false, b"data");
        ping[23] = 1;
        assert_eq!(order_cut(&mut ping, 2), None);
    }

    #[test]
    fn a_bad_word_counts_where_it_is_about_what_the_frame_has() {
        let mut frame = segment(false, b"data");
        let orders = order(&mut frame);
        assert_eq!(orders, Orders::Ipv4 { header: 20, tcp: true });
        obey(&mut frame, orders);
        assert!(!holds(&frame, Word::Bad, Word::Good));
        assert!(!holds(&frame, Word::Good, Word::Bad));
        frame[23] = 1; // ICMP, of which the driver knows nothing
        frame[24..26].fill(0);
        let orders = order(&mut frame);
        assert_eq!(orders, Orders::Ipv4 { header: 20, tcp: false });
        obey(&mut frame, orders);
        assert!(holds(&frame, Word::Nothing, Word::Bad));
    }

    #[test]
    fn a_fragment_and_what_is_no_ip_are_left_alone() {
        let mut fragment = segment(false, b"data");
        fragment[20] = 0x20;
        assert_eq!(order(&mut fragment), Orders::Ipv4 { header: 20, tcp: false });
        let mut arp = vec![0; 42];
        arp[12..14].copy_from_slice(&[8, 6]);
        assert_eq!(order(&mut arp), Orders::Nothing);
        assert!(holds(&arp, Word::Bad, Word::Bad));
    }
}
