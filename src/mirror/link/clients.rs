//! Who the owner's clients are, told to the partner: a client that waits for a 250 has nothing to send, and would wait for its
//! TCP to give up if nobody told it that the connection is gone.
//!
//! In, at the owner: clients that come and go. Out, at the replica: who was there when it was last heard. What is told lags
//! behind by what is on its way. A former owner resets its clients itself, with one segment each, which may be lost or held up
//! by a cut cable; so it also tells the partner of them as soon as there is a link again. Only a client that came in the last
//! moment of a box that died waits as it would without us.

use super::wire::{ClientFlow, ClientNews};
use crate::limits::{MIRROR_CLIENTS_MAX, MIRROR_CLIENTS_PER_MESSAGE};
use std::collections::{BTreeSet, VecDeque};

/// The owner's side: what the partner has not been told yet.
#[derive(Debug, Default)]
pub struct ClientFeed {
    /// The partner knows, or is about to be told, who was there before what follows.
    begun: bool,
    /// The next message says that whoever was named before counts no more.
    anew: bool,
    changes: VecDeque<(ClientNews, ClientFlow)>,
}

impl ClientFeed {
    /// The link is another one: the partner has to be told of everybody.
    pub fn restart(&mut self) {
        *self = ClientFeed::default();
    }

    /// Whether all clients have to be told first: [`begin`](ClientFeed::begin).
    pub fn wants_all(&self) -> bool {
        !self.begun
    }

    /// These are all.
    pub fn begin(&mut self, all: impl Iterator<Item = ClientFlow>) {
        (self.begun, self.anew) = (true, true);
        self.changes = all.take(MIRROR_CLIENTS_MAX).map(|client| (ClientNews::Joined, client)).collect();
    }

    /// One has come or gone.
    pub fn change(&mut self, news: ClientNews, client: ClientFlow) {
        if !self.begun {
            return;
        }
        self.changes.push_back((news, client));
        if self.changes.len() > MIRROR_CLIENTS_MAX {
            // All of them are fewer.
            self.restart();
        }
    }

    /// The next message's worth.
    pub(super) fn next(&mut self) -> Option<(ClientNews, Vec<ClientFlow>)> {
        let anew = std::mem::take(&mut self.anew);
        let first = self.changes.front().map(|(news, _)| *news);
        let told = if anew { Some(ClientNews::Joined) } else { first }?;
        let same = self.changes.iter().take(MIRROR_CLIENTS_PER_MESSAGE).take_while(|(news, _)| *news == told).count();
        let list = self.changes.drain(..same).map(|(_, client)| client).collect();
        Some((if anew { ClientNews::Anew } else { told }, list))
    }
}

/// Those who may have to be told that their connection is gone: at the replica the owner's clients, and at a box that gave
/// the addresses up, until it has told whom they belong to now, those that it had.
#[derive(Debug, Default)]
pub struct ClientBook {
    clients: BTreeSet<ClientFlow>,
    stranded: BTreeSet<ClientFlow>,
}

impl ClientBook {
    /// Takes note.
    pub fn note(&mut self, news: ClientNews, list: &[ClientFlow]) {
        if news == ClientNews::Anew {
            self.clients.clear();
        }
        for client in list {
            if news == ClientNews::Left {
                self.clients.remove(client);
            } else if self.clients.len() < MIRROR_CLIENTS_MAX {
                self.clients.insert(*client);
            }
        }
    }

    /// These were ours, and may not hear that they are no more.
    pub fn strand(&mut self, clients: impl Iterator<Item = ClientFlow>) {
        let room = MIRROR_CLIENTS_MAX.saturating_sub(self.stranded.len());
        self.stranded.extend(clients.take(room));
    }

    /// The next message's worth of them for whoever answers for the addresses now.
    pub(super) fn next_stranded(&mut self) -> Option<Vec<ClientFlow>> {
        let list: Vec<_> = std::iter::from_fn(|| self.stranded.pop_first()).take(MIRROR_CLIENTS_PER_MESSAGE).collect();
        (!list.is_empty()).then_some(list)
    }

    /// One of all, who is forgotten with it.
    pub fn take(&mut self) -> Option<ClientFlow> {
        self.clients.pop_first().or_else(|| self.stranded.pop_first())
    }

    /// Whether nobody is there.
    pub fn is_empty(&self) -> bool {
        self.clients.is_empty() && self.stranded.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(port: u16) -> ClientFlow {
        ClientFlow { local: ([192, 0, 2, 25], 25).into(), remote: ([192, 0, 2, 10], port).into() }
    }

    #[test]
    fn the_replica_knows_who_is_there() {
        let (mut feed, mut book) = (ClientFeed::default(), ClientBook::default());
        feed.change(ClientNews::Joined, client(1));
        assert!(feed.wants_all() && feed.next().is_none(), "whoever comes before all are told is among them");
        feed.begin((0..1000).map(client));
        feed.change(ClientNews::Left, client(7));
        feed.change(ClientNews::Joined, client(2000));
        book.note(ClientNews::Joined, &[client(3000)]);
        while let Some((news, list)) = feed.next() {
            assert!(list.len() <= MIRROR_CLIENTS_PER_MESSAGE);
            book.note(news, &list);
        }
        let there: Vec<u16> = std::iter::from_fn(|| book.take()).map(|client| client.remote.port()).collect();
        let expected: Vec<u16> = (0..1000).filter(|port| *port != 7).chain([2000]).collect();
        assert_eq!(there, expected);
        // On another link nobody may be there.
        book.note(ClientNews::Joined, &[client(3000)]);
        feed.begin(std::iter::empty());
        let (news, list) = feed.next().unwrap();
        book.note(news, &list);
        assert!(book.is_empty() && feed.next().is_none());
    }
    #[test]
    fn whoever_gave_up_the_addresses_remembers_its_clients_until_somebody_can_tell_them() {
        let mut book = ClientBook::default();
        book.strand((0..1000).map(client));
        // A new owner's clients are others.
        book.note(ClientNews::Anew, &[client(3000)]);
        let mut told = Vec::new();
        while let Some(list) = book.next_stranded() {
            assert!(list.len() <= MIRROR_CLIENTS_PER_MESSAGE);
            told.extend(list);
        }
        assert_eq!(told, (0..1000).map(client).collect::<Vec<_>>());
        // Who works for the addresses again tells them itself.
        book.strand([client(7)].into_iter());
        assert_eq!(std::iter::from_fn(|| book.take()).collect::<Vec<_>>(), [client(3000), client(7)]);
        assert!(book.is_empty());
    }
}
