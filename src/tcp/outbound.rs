//! Connections that we start.

use super::connection::Connection;
use super::core::Core;
use super::isn::initial_sequence;
use super::neighbour::next_hop;
use super::table::{Flow, Stage};
use super::tuple::Tuple;
use crate::flow::{ConnectError, FlowId};
use crate::limits::{CONNECT_TIMEOUT_MAX, LOCAL_PORTS, STALE_CLIENT_PATIENCE};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

impl Core {
    /// Sends a SYN at the next flush.
    pub fn connect(&mut self, local: IpAddr, remote: SocketAddr) -> Result<FlowId, ConnectError> {
        let to = remote.ip();
        let hop = next_hop(&self.settings.addresses, to).ok_or(ConnectError::NoRoute)?;
        let possible = self.own(local).is_some()
            && self.own(to).is_none()
            && local.is_ipv4() == to.is_ipv4()
            && !to.is_unspecified()
            && !to.is_multicast()
            && !to.is_loopback()
            && remote.port() != 0;
        if !possible {
            return Err(ConnectError::NoRoute);
        }
        if self.table.len() >= self.settings.connections_max {
            return Err(ConnectError::TableFull);
        }
        let tuple = self.free_tuple(local, remote).ok_or(ConnectError::PortsExhausted)?;
        let index = self.begin(tuple, hop, CONNECT_TIMEOUT_MAX);
        Ok(self.table.id(index))
    }

    /// A flow whose SYN leaves at the next flush, by way of `hop`, and which is given up after so long.
    fn begin(&mut self, tuple: Tuple, hop: IpAddr, patience: Duration) -> u32 {
        let initial = initial_sequence(&self.settings.isn_key, &tuple, self.now);
        let connection = Connection::connect(self.start(&tuple, initial), self.offers.of(tuple.remote), self.now);
        let stage = Stage::Connecting { until: self.now + patience };
        let index = self.table.insert(Flow::new(tuple, stage, connection, hop, None));
        self.mark_dirty(index);
        index
    }

    /// Has a client reset a connection to `local` that we do not have. A SYN within a connection is answered with an
    /// acknowledgement of what the client waits for (RFC 5961 §4), and that with a reset in its place (RFC 9293 §3.10.7.3): the
    /// client's numbers need not be known. No station knows of the flow.
    pub fn reset_stale(&mut self, local: SocketAddr, remote: SocketAddr) {
        let tuple =
            Tuple { local: local.ip(), local_port: local.port(), remote: remote.ip(), remote_port: remote.port() };
        let ours = self.own(tuple.local).is_some() && tuple.local.is_ipv4() == tuple.remote.is_ipv4();
        let is_full = self.table.len() >= self.settings.connections_max;
        // One that is there has come after the takeover.
        let Some(hop) = next_hop(&self.settings.addresses, tuple.remote).filter(|_| ours && !is_full) else { return };
        if self.table.find(&tuple).is_none() {
            self.begin(tuple, hop, STALE_CLIENT_PATIENCE);
        }
    }

    /// The next local port of this worker's that is free towards `remote`. Ports go round, so that the first one tried
    /// is nearly always free.
    fn free_tuple(&mut self, local: IpAddr, remote: SocketAddr) -> Option<Tuple> {
        let (first, last) = (*LOCAL_PORTS.start(), *LOCAL_PORTS.end());
        let workers = self.settings.workers;
        let offset = (self.settings.worker + workers - first % workers) % workers;
        let count = (last - first - offset) / workers + 1;
        for _ in 0..count {
            self.next_port = (self.next_port % count + 1) % count;
            let local_port = first + offset + self.next_port * workers;
            let tuple = Tuple { local, local_port, remote: remote.ip(), remote_port: remote.port() };
            let free = self.table.find(&tuple).is_none() && self.time_waits.find(self.now, &tuple).is_none();
            if free && !self.listens_on(local_port) {
                return Some(tuple);
            }
        }
        None
    }
}
