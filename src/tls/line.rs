//! A flow as a session has it: in the clear, or under TLS.

use super::{Handshakes, Secured, Tls, TlsError};
use crate::flow::{FlowId, Received, Transport};

/// A flow with the layer that is on it, if one is. Without one, every call is the [transport's](Transport).
#[derive(Debug)]
pub struct Line {
    flow: FlowId,
    tls: Option<Box<Tls>>,
}

impl Line {
    /// A flow, and the layer that is on it from its first byte.
    pub fn new(flow: FlowId, tls: Option<Tls>) -> Line {
        Line { flow, tls: tls.map(Box::new) }
    }

    /// The flow.
    pub fn flow(&self) -> FlowId {
        self.flow
    }

    /// Puts the layer on a flow that was in the clear. All that came by it and was not consumed belongs to the layer.
    pub fn secure(&mut self, tls: Tls) {
        assert!(self.tls.is_none(), "a line has one layer");
        self.tls = Some(Box::new(tls));
    }

    /// Whether there is a layer, done with its handshake or not.
    pub fn is_secure(&self) -> bool {
        self.tls.is_some()
    }

    /// What came of the handshake, once it is done.
    pub fn secured(&self) -> Option<Secured> {
        self.tls.as_ref()?.secured()
    }

    /// Whether the server has shown a valid certificate for its name, where that was looked at and nothing depends on it
    /// ([`Verification::Watched`](super::Verification::Watched)).
    pub fn is_valid(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.is_valid())
    }

    /// What is wrong with the certificate, where that was looked at and nothing depends on it.
    pub fn invalidity(&self) -> Option<&rustls::Error> {
        self.tls.as_ref()?.invalidity()
    }

    /// Whether something that was taken has found no room in the flow so far.
    pub fn has_output(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.has_output())
    }

    /// [`received`](Line::received) of a line whose handshake has to wait for its turn: before, nothing is there.
    #[inline]
    pub fn received_in_turn<'a, T: Transport>(
        &'a mut self,
        transport: &'a mut T,
        handshakes: &mut Handshakes,
    ) -> Result<Received<'a>, TlsError> {
        if self.tls.is_none() {
            return Ok(transport.received(self.flow));
        }
        let is_handshaking = self.tls.as_ref().is_some_and(|tls| tls.is_handshaking());
        if is_handshaking && !transport.received(self.flow).bytes.is_empty() && !handshakes.step(self.flow) {
            return Ok(Received::default());
        }
        self.received(transport)
    }

    /// Lends what came. At an error, what tells the peer of it is on its way: the line is to be [closed](Line::close).
    pub fn received<'a, T: Transport>(&'a mut self, transport: &'a mut T) -> Result<Received<'a>, TlsError> {
        let flow = self.flow;
        let Some(tls) = &mut self.tls else { return Ok(transport.received(flow)) };
        // A handshake goes on only when what it had to say is gone.
        tls.output(|bytes| transport.send(flow, bytes));
        loop {
            let wire = transport.received(flow);
            let over = wire.finished && !wire.more;
            let whole = wire.bytes.len();
            let taken = tls.receive(wire.bytes);
            let count = *taken.as_ref().unwrap_or(&0);
            transport.consume(flow, count);
            tls.output(|bytes| transport.send(flow, bytes));
            taken?;
            if over && count == whole && tls.received().bytes.is_empty() && !tls.has_ended() {
                return Err(TlsError::Truncated);
            }
            if count == 0 {
                return Ok(tls.received());
            }
        }
    }

    /// Gives back the first `count` bytes of what [`received`](Line::received) lent.
    pub fn consume<T: Transport>(&mut self, transport: &mut T, count: usize) {
        match &mut self.tls {
            None => transport.consume(self.flow, count),
            Some(tls) => tls.consume(count),
        }
    }

    /// Takes as many of `bytes` as there is room for and says how many. After a short count the flow becomes writable, or, before
    /// the handshake is done, readable. What was taken before may be waiting for room: without bytes, that goes on.
    pub fn send<T: Transport>(&mut self, transport: &mut T, bytes: &[u8]) -> usize {
        let flow = self.flow;
        let Some(tls) = &mut self.tls else {
            return if bytes.is_empty() { 0 } else { transport.send(flow, bytes) };
        };
        let mut sent = 0;
        loop {
            let count = tls.send(&bytes[sent..]);
            sent += count;
            if !tls.output(|bytes| transport.send(flow, bytes)) || count == 0 {
                return sent;
            }
        }
    }

    /// Ends our direction after all that was taken has gone out. Where the flow has no room for the word of it, the peer finds it
    /// cut off.
    pub fn close<T: Transport>(mut self, transport: &mut T) {
        if let Some(tls) = &mut self.tls {
            tls.close();
            tls.output(|bytes| transport.send(self.flow, bytes));
        }
        transport.close(self.flow);
    }
}
