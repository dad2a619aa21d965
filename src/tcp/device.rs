//! The two devices that smoltcp sees: one that holds the frame that has just arrived, one that sends.
//!
//! In: a received frame in place, or nothing. Out: at most one reply in a scratch buffer, or frames built directly in
//! the port's memory. Neither ever holds on to a frame.

use super::segment::{FIN, SYN, be16, be32};
use crate::port::Port;
use smoltcp::phy::{Checksum, Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::time::Instant;

/// Bytes of an Ethernet header.
pub(super) const ETHERNET_HEADER: usize = 14;

/// What smoltcp is told about a port.
pub(super) fn capabilities(port: &crate::port::Capabilities) -> DeviceCapabilities {
    let mut capabilities = DeviceCapabilities::default();
    capabilities.medium = Medium::Ethernet;
    capabilities.max_transmission_unit = port.mtu + ETHERNET_HEADER;
    let sums = match (port.checksum_receive, port.checksum_transmit) {
        (false, false) => Checksum::Both,
        (true, false) => Checksum::Tx,
        (false, true) => Checksum::Rx,
        (true, true) => Checksum::None,
    };
    // ICMP is not among what NICs verify.
    capabilities.checksum.ipv4 = sums;
    capabilities.checksum.tcp = sums;
    capabilities
}

/// Room for one frame that answers another. A reply is copied once, so that the received frame can be lent in place
/// while the reply is being made.
pub(super) struct Scratch {
    buffer: Box<[u8]>,
    length: usize,
}

impl Scratch {
    pub fn new(size: usize) -> Scratch {
        Scratch { buffer: vec![0; size].into_boxed_slice(), length: 0 }
    }

    /// The frame written since the last call, if any.
    pub fn take(&mut self) -> Option<&[u8]> {
        let length = std::mem::take(&mut self.length);
        if length == 0 { None } else { Some(&self.buffer[..length]) }
    }

    /// The frame written since the last call, if any, to be changed.
    pub fn written_mut(&mut self) -> &mut [u8] {
        &mut self.buffer[..self.length]
    }

    /// A frame of `length` bytes to be written, or `None` if it does not fit.
    pub fn write(&mut self, length: usize) -> Option<&mut [u8]> {
        let frame = self.buffer.get_mut(..length)?;
        self.length = length;
        Some(frame)
    }
}

/// Holds one received frame.
pub(super) struct Ingress<'a> {
    frame: Option<&'a [u8]>,
    reply: &'a mut Scratch,
    capabilities: &'a DeviceCapabilities,
}

impl<'a> Ingress<'a> {
    pub fn new(frame: Option<&'a [u8]>, reply: &'a mut Scratch, capabilities: &'a DeviceCapabilities) -> Ingress<'a> {
        Ingress { frame, reply, capabilities }
    }
}

pub(super) struct Arrived<'a>(&'a [u8]);

impl RxToken for Arrived<'_> {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, read: F) -> R {
        read(self.0)
    }
}

pub(super) struct Reply<'a>(&'a mut Scratch);

impl TxToken for Reply<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, length: usize, write: F) -> R {
        match self.0.write(length) {
            Some(frame) => write(frame),
            // Longer than the link's MTU: written aside and lost.
            None => write(&mut vec![0; length]),
        }
    }
}

impl Device for Ingress<'_> {
    type RxToken<'t>
        = Arrived<'t>
    where
        Self: 't;
    type TxToken<'t>
        = Reply<'t>
    where
        Self: 't;

    fn receive(&mut self, _: Instant) -> Option<(Arrived<'_>, Reply<'_>)> {
        self.frame.take().map(|frame| (Arrived(frame), Reply(self.reply)))
    }

    fn transmit(&mut self, _: Instant) -> Option<Reply<'_>> {
        None
    }

    fn capabilities(&self) -> DeviceCapabilities {
        self.capabilities.clone()
    }
}

/// What became of the tokens that an [`Egress`] gave out.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sent {
    /// Tokens given out.
    pub offered: u32,
    /// Frames written.
    pub written: u32,
    /// One of them asked for a neighbour.
    pub solicited: bool,
    /// The sequence number after the TCP segment written last.
    pub next_sequence: Option<u32>,
    /// The port had no room.
    pub exhausted: bool,
}

impl Sent {
    /// A packet was ready and did not go out because nobody knows where its next hop is.
    pub fn neighbour_missing(&self) -> bool {
        self.solicited || self.offered > self.written
    }
}

/// Sends.
pub(super) struct Egress<'a, P: Port> {
    port: &'a mut P,
    capabilities: &'a DeviceCapabilities,
    /// The sequence number after all that the flow has sent, if it is a flow that sends.
    send_next: Option<u32>,
    pub sent: Sent,
}

impl<'a, P: Port> Egress<'a, P> {
    pub fn new(port: &'a mut P, capabilities: &'a DeviceCapabilities, send_next: Option<u32>) -> Egress<'a, P> {
        Egress { port, capabilities, send_next, sent: Sent::default() }
    }
}

pub(super) struct Room<'a, 'p, P: Port>(&'a mut Egress<'p, P>);

impl<P: Port> TxToken for Room<'_, '_, P> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, length: usize, write: F) -> R {
        let sent = &mut self.0.sent;
        sent.written += 1;
        let port = &mut *self.0.port;
        let Some(mut frame) = port.allocate(length) else {
            // The pool ran dry between two calls; lost as on a wire, and TCP sends it again.
            return write(&mut vec![0; length]);
        };
        let bytes = port.bytes_mut(&mut frame);
        let result = write(bytes);
        if let Some(send_next) = self.0.send_next {
            raise_sequence(bytes, send_next, self.0.capabilities);
        }
        match describe(bytes) {
            Written::Segment { next_sequence } => sent.next_sequence = Some(next_sequence),
            Written::Solicitation => sent.solicited = true,
            Written::Other => {}
        }
        port.transmit(frame);
        result
    }
}

impl<'p, P: Port> Device for Egress<'p, P> {
    type RxToken<'t>
        = Arrived<'t>
    where
        Self: 't;
    type TxToken<'t>
        = Room<'t, 'p, P>
    where
        Self: 't;

    fn receive(&mut self, _: Instant) -> Option<(Arrived<'_>, Room<'_, 'p, P>)> {
        None
    }

    fn transmit(&mut self, _: Instant) -> Option<Room<'_, 'p, P>> {
        if !self.port.transmit_ready() {
            self.sent.exhausted = true;
            return None;
        }
        self.sent.offered += 1;
        Some(Room(self))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        self.capabilities.clone()
    }
}

enum Written {
    Segment { next_sequence: u32 },
    Solicitation,
    Other,
}

/// Where the TCP header begins in a frame that smoltcp has built, if it has one: no IP options, no extension headers.
fn tcp_header(frame: &[u8]) -> Option<usize> {
    match frame.get(12..14)? {
        [0x08, 0x00] if frame.get(23) == Some(&6) => Some(ETHERNET_HEADER + 20),
        [0x86, 0xdd] if frame.get(20) == Some(&6) => Some(ETHERNET_HEADER + 40),
        _ => None,
    }
}

/// Gives a segment without data the sequence number after all that was sent, which an acknowledgement must have (RFC 9293
/// §3.10.7.4) and which smoltcp forgets when it goes back to send again. The peer would drop one with less as old, its
/// acknowledgement with it; when both ends did so at once, neither ever learned what had arrived, and both timed out.
pub(super) fn raise_sequence(frame: &mut [u8], send_next: u32, capabilities: &DeviceCapabilities) {
    let Some(begin) = tcp_header(frame) else { return };
    let (Some(sequence), Some(offset), Some(flags)) =
        (be32(frame, begin + 4), frame.get(begin + 12), frame.get(begin + 13))
    else {
        return;
    };
    let data = frame.len() > begin + usize::from(offset >> 4) * 4 || flags & (SYN | FIN) != 0;
    if data || send_next.wrapping_sub(sequence) as i32 <= 0 {
        return;
    }
    frame[begin + 4..begin + 8].copy_from_slice(&send_next.to_be_bytes());
    if capabilities.checksum.tcp.tx()
        && let Some(checksum) = be16(frame, begin + 16)
    {
        // RFC 1624 §3, equation 3: the words that changed are taken out of the sum and put in anew.
        let words = |value: u32| (value >> 16) + (value & 0xffff);
        let mut sum = u32::from(!checksum) + words(!sequence) + words(send_next);
        while sum > 0xffff {
            sum = words(sum);
        }
        frame[begin + 16..begin + 18].copy_from_slice(&(!(sum as u16)).to_be_bytes());
    }
}

/// Looks at a frame that smoltcp has built.
fn describe(frame: &[u8]) -> Written {
    if let Some(begin) = tcp_header(frame) {
        let (Some(sequence), Some(offset), Some(flags)) =
            (be32(frame, begin + 4), frame.get(begin + 12), frame.get(begin + 13))
        else {
            return Written::Other;
        };
        let payload = frame.len().saturating_sub(begin + usize::from(offset >> 4) * 4);
        let controls = u32::from(flags & 1) + u32::from(flags >> 1 & 1);
        return Written::Segment { next_sequence: sequence.wrapping_add(payload as u32).wrapping_add(controls) };
    }
    match frame.get(12..14) {
        Some([0x08, 0x06]) => Written::Solicitation,
        Some([0x86, 0xdd]) if frame.get(20) == Some(&58) && frame.get(ETHERNET_HEADER + 40) == Some(&135) => {
            Written::Solicitation
        }
        _ => Written::Other,
    }
}
