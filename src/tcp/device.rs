//! The two devices that smoltcp sees: one that holds the frame that has just arrived, one that sends.
//!
//! In: a received frame in place, or nothing. Out: at most one reply in a scratch buffer, or frames built directly in
//! the port's memory. Neither ever holds on to a frame.

use super::segment::be32;
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
    pub sent: Sent,
}

impl<'a, P: Port> Egress<'a, P> {
    pub fn new(port: &'a mut P, capabilities: &'a DeviceCapabilities) -> Egress<'a, P> {
        Egress { port, capabilities, sent: Sent::default() }
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

/// Looks at a frame that smoltcp has built: it uses no IP options and no extension headers.
fn describe(frame: &[u8]) -> Written {
    let (protocol, transport) = match frame.get(12..14) {
        Some([0x08, 0x06]) => return Written::Solicitation,
        Some([0x08, 0x00]) => (frame.get(23), ETHERNET_HEADER + 20),
        Some([0x86, 0xdd]) => (frame.get(20), ETHERNET_HEADER + 40),
        _ => return Written::Other,
    };
    match protocol {
        Some(58) if frame.get(transport) == Some(&135) => Written::Solicitation,
        Some(6) => {
            let (Some(sequence), Some(offset), Some(flags)) =
                (be32(frame, transport + 4), frame.get(transport + 12), frame.get(transport + 13))
            else {
                return Written::Other;
            };
            let payload = frame.len().saturating_sub(transport + usize::from(offset >> 4) * 4);
            let controls = u32::from(flags & 1) + u32::from(flags >> 1 & 1);
            Written::Segment { next_sequence: sequence.wrapping_add(payload as u32).wrapping_add(controls) }
        }
        _ => Written::Other,
    }
}
