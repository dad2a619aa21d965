//! The resolvers that a box's system asks.

use crate::limits::RESOLVERS_MAX;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

const PORT: u16 = 53;

/// Those of an `/etc/resolv.conf`; where it names none, the one on the box itself (resolv.conf(5)). Lines that are none are passed
/// over, as the system does.
pub fn resolvers(resolv_conf: &str) -> Vec<SocketAddr> {
    let address = |line: &str| {
        let mut words = line.split_ascii_whitespace();
        let address = words.next().filter(|word| *word == "nameserver").and_then(|_| words.next())?;
        address.parse::<IpAddr>().ok()
    };
    let mut found: Vec<IpAddr> = resolv_conf.lines().filter_map(address).take(RESOLVERS_MAX).collect();
    if found.is_empty() {
        found.push(IpAddr::V4(Ipv4Addr::LOCALHOST));
    }
    found.into_iter().map(|address| SocketAddr::new(address, PORT)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resolv_conf_names_the_resolvers_of_the_system() {
        let text = "# by hand\nsearch example.net\nnameserver 192.0.2.53\n  nameserver 2001:db8::53 # this one\nnameserver\n\
                    nameserver fe80::1%eth0\noptions edns0\n";
        let found: Vec<String> = resolvers(text).iter().map(ToString::to_string).collect();
        assert_eq!(found, ["192.0.2.53:53", "[2001:db8::53]:53"]);
        assert_eq!(resolvers("").iter().map(ToString::to_string).collect::<Vec<_>>(), ["127.0.0.1:53"]);
        assert_eq!(resolvers(&"nameserver 192.0.2.53\n".repeat(9)).len(), RESOLVERS_MAX);
    }
}
