//! Who the owner's clients are, told to the partner: a client that waits for a 250 has nothing to send, and would wait for its
//! TCP to give up if nobody told it that the connection is gone.
//!
//! In, at the owner: clients that come and go. Out, at the replica: who was there when it was last heard. What is told lags
//! behind by what is on its way; a client that is missed waits as it would without us.

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

/// The replica's side: who was there.
#[derive(Debug, Default)]
pub struct ClientBook {
    clients: BTreeSet<ClientFlow>,
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

    /// One of them, who is forgotten with it.
    pub fn take(&mut self) -> Option<ClientFlow> {
        self.clients.pop_first()
    }

    /// Whether nobody is there.
    pub fn is_empty(&self) -> bool {
        self.clients.is_empty()
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
}
