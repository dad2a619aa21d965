//! What strangers may use up: connections by client, and answers by second.

use crate::env::Instant;
use hashbrown::HashMap;
use rand::RngExt;
use rand::rngs::StdRng;
use std::net::IpAddr;
use std::time::Duration;

/// Whom a budget counts: an IPv4 address, or the 64-bit network of an IPv6 one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Client {
    V4(u32),
    V6(u64),
}

impl Client {
    pub fn of(address: IpAddr) -> Client {
        match address {
            IpAddr::V4(address) => Client::V4(address.to_bits()),
            IpAddr::V6(address) => Client::V6((address.to_bits() >> 64) as u64),
        }
    }
}

/// Accepted flows by client. It holds no more entries than the table has flows.
pub(super) struct Clients {
    used: HashMap<Client, u32>,
    each_max: usize,
}

impl Clients {
    pub fn new(each_max: usize) -> Clients {
        Clients { used: HashMap::new(), each_max }
    }

    /// Counts one more flow, unless the client has all that it may.
    pub fn take(&mut self, client: Client) -> bool {
        let used = self.used.get(&client).copied().unwrap_or(0);
        if used as usize >= self.each_max {
            return false;
        }
        self.used.insert(client, used + 1);
        true
    }

    pub fn give_back(&mut self, client: Client) {
        match self.used.get_mut(&client) {
            Some(used) if *used > 1 => *used -= 1,
            _ => {
                self.used.remove(&client);
            }
        }
    }
}

/// Answers of one kind, by second.
///
/// The limit is drawn anew every second between one half and three halves of the nominal one: a fixed limit that all
/// share tells a blind attacker, who counts what is left of it, whether his guess was right (CVE-2016-5696).
pub(super) struct Rate {
    nominal: u32,
    second: u64,
    left: u32,
}

impl Rate {
    pub fn new(nominal: u32) -> Rate {
        Rate { nominal, second: u64::MAX, left: 0 }
    }

    pub fn take(&mut self, now: Instant, random: &mut StdRng) -> bool {
        let second = now.since(Instant::ZERO).as_nanos() as u64 / Duration::from_secs(1).as_nanos() as u64;
        if second != self.second {
            self.second = second;
            self.left = random.random_range(self.nominal / 2..=self.nominal * 3 / 2);
        }
        let granted = self.left > 0;
        self.left = self.left.saturating_sub(1);
        granted
    }
}
