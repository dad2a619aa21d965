//! How many flows each client has.

use hashbrown::HashMap;
use std::net::IpAddr;

/// Whom a budget counts: an IPv4 address, or the 64-bit network of an IPv6 one, since a host has all of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Client {
    V4(u32),
    V6(u64),
}

impl Client {
    pub(crate) fn of(address: IpAddr) -> Client {
        match address.to_canonical() {
            IpAddr::V4(address) => Client::V4(address.to_bits()),
            IpAddr::V6(address) => Client::V6((address.to_bits() >> 64) as u64),
        }
    }
}

/// Accepted flows by client. It holds no more entries than the transport has flows.
pub(crate) struct Clients {
    used: HashMap<Client, usize>,
    each_max: usize,
}

impl Clients {
    pub(crate) fn new(each_max: usize) -> Clients {
        Clients { used: HashMap::new(), each_max }
    }

    /// Counts one more flow, unless the client has all that it may.
    pub(crate) fn take(&mut self, client: Client) -> bool {
        if self.used.get(&client).is_some_and(|used| *used >= self.each_max) || self.each_max == 0 {
            return false;
        }
        *self.used.entry(client).or_default() += 1;
        true
    }

    pub(crate) fn give_back(&mut self, client: Client) {
        let Some(used) = self.used.get_mut(&client) else {
            unreachable!("what is given back was taken");
        };
        *used -= 1;
        if *used == 0 {
            self.used.remove(&client);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_has_its_share_and_not_a_flow_more() {
        let of = |text: &str| Client::of(text.parse().unwrap());
        let mut clients = Clients::new(2);
        assert!(clients.take(of("2001:db8::1")) && clients.take(of("2001:db8::ffff")));
        assert!(!clients.take(of("2001:db8::2")), "one network of 64 bits is one client");
        assert!(clients.take(of("2001:db8:0:1::1")) && clients.take(of("192.0.2.1")));
        assert_eq!(of("192.0.2.1"), of("::ffff:192.0.2.1"));
        clients.give_back(of("2001:db8::3"));
        assert!(clients.take(of("2001:db8::1")));
        assert!(!Clients::new(0).take(of("192.0.2.1")));
    }
}
