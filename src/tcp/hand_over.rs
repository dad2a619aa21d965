//! Flows that move to another stack, and those that come from one.
//!
//! A flow is exported as bytes and is gone here without a word to its peer; the stack that imports them answers for the
//! same address and goes on. The peer sees a pause, and at most a segment twice.
//!
//! ```text
//! version 2 │ our end │ the peer's end │ whether the peer began it │ the connection (postcard)
//! ```

use super::connection::Connection;
use super::connection::snapshot::{RestoreError, Snapshot};
use super::core::Core;
use super::neighbour::next_hop;
use super::table::{Flow, Stage};
use super::tuple::Tuple;
use crate::flow::{Client, FlowId};
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;

/// The format, raised when it changes.
const VERSION: u8 = 2;

/// Why a flow cannot be taken over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ImportError {
    /// These bytes are no flow.
    #[error("these bytes are no exported flow")]
    Malformed,
    /// They are, of a version that is not known here.
    #[error("the flow was exported by another version, {0}")]
    Version(u8),
    /// Its address is not ours.
    #[error("the flow belongs to an address that is not ours")]
    NotOurs,
    /// There is no way to its peer.
    #[error("there is no route to the peer of the flow")]
    NoRoute,
    /// We have a connection with the same ends.
    #[error("a flow with the same ends exists")]
    Exists,
    /// The limit of connections is reached.
    #[error("the limit of connections is reached")]
    TableFull,
    /// The connection itself cannot be restored.
    #[error(transparent)]
    Restore(#[from] RestoreError),
}

#[derive(Serialize, Deserialize)]
struct Exported {
    local: SocketAddr,
    remote: SocketAddr,
    accepted: bool,
    connection: Snapshot,
}

impl Core {
    /// Takes a flow out of the table as bytes; `None` if it is not open.
    pub fn export(&mut self, id: FlowId) -> Option<Vec<u8>> {
        let now = self.now;
        let flow = self.table.named(id)?;
        if flow.stage != Stage::Open || flow.ended.is_some() {
            return None;
        }
        let exported = Exported {
            local: flow.tuple.local_address(),
            remote: flow.tuple.remote_address(),
            accepted: flow.client.is_some(),
            connection: flow.connection.snapshot(now)?,
        };
        let bytes = postcard::to_extend(&exported, vec![VERSION]).ok()?;
        self.forget(id.index);
        Some(bytes)
    }

    /// Goes on with a flow that was exported elsewhere. `Readable` and `Writable` follow as for any other.
    pub fn import(&mut self, bytes: &[u8]) -> Result<FlowId, ImportError> {
        let (version, bytes) = bytes.split_first().ok_or(ImportError::Malformed)?;
        if *version != VERSION {
            return Err(ImportError::Version(*version));
        }
        let exported: Exported = postcard::from_bytes(bytes).map_err(|_| ImportError::Malformed)?;
        let (local, remote) = (exported.local, exported.remote);
        let tuple =
            Tuple { local: local.ip(), local_port: local.port(), remote: remote.ip(), remote_port: remote.port() };
        if self.own(tuple.local).is_none() || tuple.local.is_ipv4() != tuple.remote.is_ipv4() {
            return Err(ImportError::NotOurs);
        }
        let hop = next_hop(&self.settings.addresses, tuple.remote).ok_or(ImportError::NoRoute)?;
        if self.table.find(&tuple).is_some() {
            return Err(ImportError::Exists);
        }
        let client = exported.accepted.then(|| Client::of(tuple.remote));
        if self.table.len() >= self.settings.connections_max || client.is_some_and(|client| !self.clients.take(client))
        {
            return Err(ImportError::TableFull);
        }
        let terms = self.offers.of(tuple.remote);
        let connection =
            Connection::restore(&exported.connection, terms, self.now, &mut self.rings).inspect_err(|_| {
                if let Some(client) = client {
                    self.clients.give_back(client);
                }
            })?;
        self.time_waits.remove(&tuple);
        let mut flow = Flow::new(tuple, Stage::Open, connection, hop, client);
        // Whoever reads and writes it learns that there is something to read and room to write.
        let (_, unread) = flow.connection.received();
        if unread > 0 || flow.connection.finished() {
            flow.told = flow.told.after(u32::MAX);
        }
        flow.starved = true;
        let index = self.table.insert(flow);
        self.touch(index);
        self.mark_dirty(index);
        Ok(self.table.id(index))
    }
}
