//! Connections that clients start.

use super::connection::ecn::NOT_ECT;
use super::connection::sequence::Sequence;
use super::connection::{Connection, Incoming, Start};
use super::cookie;
use super::core::Core;
use super::isn::{clock_offset, initial_sequence};
use super::neighbour::next_hop;
use super::segment::{ACK, ECE, FIN, RST, SYN, Segment};
use super::table::{Flow, Stage};
use super::tuple::Tuple;
use crate::flow::Client;
use crate::limits::{COOKIE_LIFETIME, HALF_OPEN_TIMEOUT};
use std::net::IpAddr;

impl Core {
    /// A client wants a connection.
    pub fn open(&mut self, frame: &[u8], segment: &Segment, listener: usize) {
        let tuple = segment.tuple;
        // A SYN that claims to come from us would have us talk to ourselves.
        if !is_a_client(tuple.remote)
            || tuple.remote_port == 0
            || self.own(tuple.remote).is_some()
            || !self.is_sound(frame, segment)
        {
            self.counters.frames_dropped += 1;
            return;
        }
        let syn = segment.incoming(frame);
        if self.half_open >= self.settings.half_open_max {
            return self.send_cookie(frame, &tuple, &syn);
        }
        let initial = initial_sequence(&self.settings.isn_key, &tuple, self.now);
        match self.admit(&tuple) {
            Ok((client, hop)) => {
                let connection =
                    Connection::accept(self.start(&tuple, initial), &syn, self.offers.of(tuple.remote), self.now);
                let index = self.keep(tuple, connection, hop, client, listener);
                self.mark_dirty(index);
            }
            Err(Turned::Away) => self.refuse(frame, segment),
            Err(Turned::NoWay) => self.counters.frames_dropped += 1,
        }
    }

    pub fn start(&self, tuple: &Tuple, initial: Sequence) -> Start {
        let clock_offset = clock_offset(&self.settings.isn_key, tuple);
        Start { initial, path_size: self.path_size(tuple.remote), clock_offset }
    }

    /// Takes a place in the client's budget.
    fn admit(&mut self, tuple: &Tuple) -> Result<(Client, IpAddr), Turned> {
        let hop = next_hop(&self.settings.addresses, tuple.remote).ok_or(Turned::NoWay)?;
        let client = Client::of(tuple.remote);
        if self.table.len() >= self.settings.connections_max || !self.clients.take(client) {
            self.counters.refused += 1;
            return Err(Turned::Away);
        }
        Ok((client, hop))
    }

    fn keep(&mut self, tuple: Tuple, connection: Connection, hop: IpAddr, client: Client, listener: usize) -> u32 {
        let stage = Stage::HalfOpen { listener: listener as u32, until: self.now + HALF_OPEN_TIMEOUT };
        self.half_open += 1;
        self.table.insert(Flow::new(tuple, stage, connection, hop, Some(client)))
    }

    /// Answers a SYN and keeps nothing of it. Most of these have forged sources; whoever is there comes back.
    fn send_cookie(&mut self, frame: &[u8], tuple: &Tuple, syn: &Incoming<'_>) {
        let cookie = cookie::bake(&self.settings.isn_key, tuple, syn.sequence, &syn.options, self.now);
        let terms = *self.offers.of(tuple.remote);
        let mut connection = Connection::accept(self.start(tuple, cookie), syn, &terms, self.now);
        self.cookie_at = Some(self.now);
        if let Some(outgoing) = connection.next(self.now) {
            let mut header = connection.header(&outgoing, &terms, self.now);
            // The cookie does not say whether the client asked for ECN.
            header.flags &= !ECE;
            self.write_reply(frame, tuple, &header);
        }
    }

    /// A segment that belongs to nothing may be the answer to a cookie. True if it was, and has become a connection or was
    /// refused as one.
    pub fn finish_cookie(&mut self, frame: &[u8], segment: &Segment, listener: usize) -> bool {
        let lately = self.cookie_at.is_some_and(|at| self.now.since(at) < 2 * COOKIE_LIFETIME);
        if !lately || segment.flags & (SYN | RST | FIN | ACK) != ACK || !self.is_sound(frame, segment) {
            return false;
        }
        let tuple = segment.tuple;
        let one_less = |number: Sequence| number.after(u32::MAX);
        let (client_initial, cookie) = (one_less(segment.sequence), one_less(segment.acknowledgement));
        let known = cookie::read(&self.settings.isn_key, &tuple, client_initial, cookie, self.now);
        let Some(mut options) = known else { return false };
        let answer = segment.incoming(frame);
        options.timestamps = answer.options.timestamps;
        let syn = Incoming {
            sequence: client_initial,
            acknowledgement: Default::default(),
            flags: SYN,
            ecn: NOT_ECT,
            window: answer.window,
            options,
            content: &[],
        };
        match self.admit(&tuple) {
            Ok((client, hop)) => {
                let terms = self.offers.of(tuple.remote);
                let mut connection = Connection::accept(self.start(&tuple, cookie), &syn, terms, self.now);
                if let Some(outgoing) = connection.next(self.now) {
                    connection.sent(&outgoing, self.now);
                }
                let index = self.keep(tuple, connection, hop, client, listener);
                self.deliver(frame, segment, index);
            }
            Err(Turned::Away) => self.refuse(frame, segment),
            Err(Turned::NoWay) => self.counters.frames_dropped += 1,
        }
        true
    }
}

/// Why a client gets no connection.
enum Turned {
    /// A budget is used up.
    Away,
    /// There is no route to it.
    NoWay,
}

/// An address that a client can have.
fn is_a_client(remote: IpAddr) -> bool {
    match remote {
        IpAddr::V4(remote) => {
            !(remote.is_unspecified() || remote.is_multicast() || remote.is_broadcast() || remote.is_loopback())
        }
        IpAddr::V6(remote) => !(remote.is_unspecified() || remote.is_multicast() || remote.is_loopback()),
    }
}
