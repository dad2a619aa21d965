//! The two devices that smoltcp sees: one that holds the frame that has just arrived, one that sends. What it says with
//! them is not TCP: answers of ARP, neighbour discovery and ICMP, and multicast reports.
//!
//! In: a received frame in place, or nothing. Out: at most one reply in a scratch buffer, or frames built directly in
//! the port's memory. Neither ever holds on to a frame.

use super::scratch::Scratch;
use crate::port::{Capabilities, ETHERNET_HEADER, Port};
use smoltcp::phy::{Checksum, Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::time::Instant;

/// What smoltcp is told about a port.
fn describe(port: &Capabilities) -> DeviceCapabilities {
    let mut capabilities = DeviceCapabilities::default();
    capabilities.medium = Medium::Ethernet;
    capabilities.max_transmission_unit = port.mtu + ETHERNET_HEADER;
    // ICMP is not among what NICs verify.
    capabilities.checksum.ipv4 = match (port.checksum_receive, port.checksum_transmit) {
        (false, false) => Checksum::Both,
        (true, false) => Checksum::Tx,
        (false, true) => Checksum::Rx,
        (true, true) => Checksum::None,
    };
    capabilities
}

/// Holds one received frame.
pub(super) struct Ingress<'a> {
    frame: Option<&'a [u8]>,
    reply: &'a mut Scratch,
    capabilities: &'a Capabilities,
}

impl<'a> Ingress<'a> {
    pub fn new(frame: Option<&'a [u8]>, reply: &'a mut Scratch, capabilities: &'a Capabilities) -> Ingress<'a> {
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
        describe(self.capabilities)
    }
}

/// Sends.
pub(super) struct Egress<'a, P: Port> {
    port: &'a mut P,
    capabilities: &'a Capabilities,
}

impl<'a, P: Port> Egress<'a, P> {
    pub fn new(port: &'a mut P, capabilities: &'a Capabilities) -> Egress<'a, P> {
        Egress { port, capabilities }
    }
}

pub(super) struct Room<'a, P: Port>(&'a mut P);

impl<P: Port> TxToken for Room<'_, P> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, length: usize, write: F) -> R {
        let Some(mut frame) = self.0.allocate(length) else {
            // The pool ran dry between two calls; lost as on a wire.
            return write(&mut vec![0; length]);
        };
        let result = write(self.0.bytes_mut(&mut frame));
        self.0.transmit(frame);
        result
    }
}

impl<P: Port> Device for Egress<'_, P> {
    type RxToken<'t>
        = Arrived<'t>
    where
        Self: 't;
    type TxToken<'t>
        = Room<'t, P>
    where
        Self: 't;

    fn receive(&mut self, _: Instant) -> Option<(Arrived<'_>, Room<'_, P>)> {
        None
    }

    fn transmit(&mut self, _: Instant) -> Option<Room<'_, P>> {
        self.port.transmit_ready().then_some(Room(self.port))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        describe(self.capabilities)
    }
}
