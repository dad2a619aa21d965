//! The clients of an identity: told to the partner while we work for it, reset when we take it over.

use super::{Mirror, Stations};
use crate::env::disk::Disk;
use crate::flow::Transport;
use crate::limits::STALE_CLIENTS_PER_BREATH;
use crate::mirror::link::ClientNews;
use crate::mirror::register::Node;
use crate::worker::parts::Parts;

impl<D: Disk> Mirror<D> {
    /// Has the partner told of clients that have come and gone, by the link of the log that takes their mail.
    pub(super) fn take_comings<T: Transport>(&mut self, stations: &mut Stations<'_, T, D>) {
        for (news, client) in stations.inbound.take_comings() {
            let identity = self.identity_of(client.local.ip());
            // Without a link it does not know that it was let go, and waits.
            if news == ClientNews::Left && !self.shares[identity as usize].port_up {
                continue;
            }
            if let Some(number) = stations.parts.logs.taking(identity)
                && let Some(slot) = self.shares[identity as usize].slots.get_mut(&number)
            {
                slot.feed.change(news, client);
            }
        }
        for identity in Node::BOTH {
            let share = &mut self.shares[identity as usize];
            let Some(number) = stations.parts.logs.taking(identity).filter(|_| share.assumed) else { continue };
            if let Some(slot) = share.slots.get_mut(&number).filter(|slot| slot.feed.wants_all() && slot.gives()) {
                slot.feed.begin(stations.inbound.clients_at(&share.addresses));
            }
        }
    }

    /// Before their sessions are dropped because the addresses are not ours any more: our clients can be told by whoever answers for
    /// them next, this box or the partner, which has not heard of them if it did not hear us.
    pub(super) fn strand_clients<T: Transport>(&mut self, stations: &mut Stations<'_, T, D>, identity: Node) {
        let share = &mut self.shares[identity as usize];
        let taking = stations.parts.logs.taking(identity);
        if let Some(slot) = taking.and_then(|number| share.slots.get_mut(&number)) {
            slot.book.strand(stations.inbound.clients_at(&share.addresses));
        }
    }

    /// After a takeover: tells the former owner's clients that their connections are gone. They wait for replies, and have
    /// nothing to send that would tell them.
    pub(super) fn reset_stale<T: Transport>(&mut self, parts: &mut Parts<T, D>, identity: Node) -> bool {
        let share = &mut self.shares[identity as usize];
        if !share.assumed {
            return false;
        }
        let now = parts.now.mono;
        let mut books = share.slots.values_mut().map(|slot| &mut slot.book).filter(|book| !book.is_empty());
        let Some(book) = books.next() else { return false };
        for _ in 0..STALE_CLIENTS_PER_BREATH {
            let Some(client) = book.take() else { break };
            parts.transport.reset_stale(now, client.local, client.remote);
        }
        true
    }
}
