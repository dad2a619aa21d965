//! Whether a segment may reach its connection: the checks against blind attackers that smoltcp lacks (RFC 5961).
//!
//! In: a segment's header and where the connection stands. Out: a verdict, and where it is called for an
//! acknowledgement that challenges the sender. Data with unacceptable acknowledgements needs no check here: smoltcp
//! drops all that is outside of SND.UNA..SND.NXT, which is stricter than §5.

use super::device::{ETHERNET_HEADER, Scratch};
use super::segment::{ACK, RST, SYN, Segment};
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::socket::tcp::State;
use smoltcp::wire::{
    EthernetAddress, EthernetFrame, EthernetProtocol, IpProtocol, IpRepr, TcpControl, TcpPacket, TcpRepr, TcpSeqNumber,
};
use std::net::IpAddr;

/// What to do with a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Pass,
    /// Drop it and say where we stand: the true peer will prove itself with an exact reset (§3.2, §4.2).
    Challenge,
    Drop,
}

pub(super) fn judge(state: State, segment: &Segment, receive_next: u32, window: u32) -> Verdict {
    // Before the handshake is answered smoltcp checks that a segment acknowledges our SYN.
    if state == State::SynSent {
        return Verdict::Pass;
    }
    if segment.has(RST) {
        // §3.2: exactly RCV.NXT resets, the rest of the window is challenged, all else is dropped.
        return match segment.sequence.wrapping_sub(receive_next) {
            0 => Verdict::Pass,
            distance if distance < window => Verdict::Challenge,
            _ => Verdict::Drop,
        };
    }
    if segment.has(SYN) {
        let again = segment.sequence.wrapping_add(1) == receive_next;
        // A SYN that is repeated before our answer arrived: the answer is repeated by its own timer.
        if state == State::SynReceived && again && !segment.has(ACK) {
            return Verdict::Drop;
        }
        // §4.2: whatever its sequence number.
        return Verdict::Challenge;
    }
    Verdict::Pass
}

/// Writes a bare acknowledgement to whoever sent `frame`.
pub(super) fn write_acknowledgement(
    reply: &mut Scratch,
    frame: &[u8],
    hardware_address: [u8; 6],
    segment: &Segment,
    sequence: u32,
    acknowledgement: u32,
    window: u16,
) {
    let tuple = &segment.tuple;
    let tcp = TcpRepr {
        src_port: tuple.local_port,
        dst_port: tuple.remote_port,
        control: TcpControl::None,
        seq_number: TcpSeqNumber(sequence as i32),
        ack_number: Some(TcpSeqNumber(acknowledgement as i32)),
        window_len: window,
        window_scale: None,
        max_seg_size: None,
        sack_permitted: false,
        sack_ranges: [None; 3],
        timestamp: None,
        payload: &[],
    };
    let ip = IpRepr::new(tuple.local.into(), tuple.remote.into(), IpProtocol::Tcp, tcp.buffer_len(), 64);
    let Some(source) = frame.get(6..12) else { return };
    let Some(bytes) = reply.write(ETHERNET_HEADER + ip.buffer_len()) else { return };
    let mut ethernet = EthernetFrame::new_unchecked(bytes);
    ethernet.set_src_addr(EthernetAddress(hardware_address));
    ethernet.set_dst_addr(EthernetAddress::from_bytes(source));
    ethernet.set_ethertype(match tuple.local {
        IpAddr::V4(_) => EthernetProtocol::Ipv4,
        IpAddr::V6(_) => EthernetProtocol::Ipv6,
    });
    // Rare frames: their checksums are always made here.
    let sums = ChecksumCapabilities::default();
    let packet = ethernet.payload_mut();
    ip.emit(&mut *packet, &sums);
    let mut transport = TcpPacket::new_unchecked(&mut packet[ip.header_len()..]);
    tcp.emit(&mut transport, &ip.src_addr(), &ip.dst_addr(), &sums);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tcp::segment::FIN;
    use crate::tcp::tuple::Tuple;

    fn segment(flags: u8, sequence: u32) -> Segment {
        let address = IpAddr::from([192, 0, 2, 1]);
        let tuple = Tuple { local: address, local_port: 25, remote: address, remote_port: 1 };
        Segment { tuple, sequence, acknowledgement: 0, flags, begin: 0, end: 0 }
    }

    #[test]
    fn only_an_exact_reset_resets() {
        let judge = |sequence| judge(State::Established, &segment(RST, sequence), 1000, 500);
        assert_eq!(judge(1000), Verdict::Pass);
        assert_eq!(judge(1001), Verdict::Challenge);
        assert_eq!(judge(1499), Verdict::Challenge);
        assert_eq!(judge(1500), Verdict::Drop);
        assert_eq!(judge(999), Verdict::Drop);
    }

    #[test]
    fn a_syn_in_a_synchronized_state_is_challenged() {
        for state in [State::Established, State::FinWait2, State::CloseWait, State::LastAck] {
            assert_eq!(judge(state, &segment(SYN, 77), 1000, 500), Verdict::Challenge);
        }
        assert_eq!(judge(State::SynReceived, &segment(SYN, 999), 1000, 500), Verdict::Drop);
        assert_eq!(judge(State::Established, &segment(ACK | FIN, 1000), 1000, 500), Verdict::Pass);
    }
}
