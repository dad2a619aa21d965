//! Sets of networks.
//!
//! In: prefixes, thousands of them. Out: whether an address is in one, by binary search over sorted ranges that do not
//! overlap. Never: which one; whoever wants that keeps a set for each.

use ipnet::IpNet;
use std::net::{IpAddr, Ipv6Addr};

/// A set of networks.
#[derive(Clone, Debug, Default)]
pub struct Networks {
    /// First and last address of each range.
    v4: Box<[(u32, u32)]>,
    v6: Box<[(u128, u128)]>,
}

impl Networks {
    /// The set of these networks.
    pub fn new(networks: impl Iterator<Item = IpNet>) -> Networks {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for network in networks {
            match network {
                IpNet::V4(network) => v4.push((u32::from(network.network()), u32::from(network.broadcast()))),
                IpNet::V6(network) => v6.push((u128::from(network.network()), u128::from(network.broadcast()))),
            }
        }
        Networks { v4: merged(v4), v6: merged(v6) }
    }

    /// Whether `address` is in one of them. An IPv4 address in IPv6 clothes, as sockets of both families show it, is its
    /// IPv4 self.
    pub fn contains(&self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(address) => holds(&self.v4, u32::from(address)),
            IpAddr::V6(address) => self.contains_v6(address),
        }
    }

    fn contains_v6(&self, address: Ipv6Addr) -> bool {
        match address.to_ipv4_mapped() {
            Some(address) => holds(&self.v4, u32::from(address)),
            None => holds(&self.v6, u128::from(address)),
        }
    }
}

fn merged<T: Ord + Copy>(mut ranges: Vec<(T, T)>) -> Box<[(T, T)]> {
    ranges.sort_unstable();
    let mut merged: Vec<(T, T)> = Vec::with_capacity(ranges.len());
    for (first, last) in ranges {
        match merged.last_mut() {
            Some(before) if first <= before.1 => before.1 = before.1.max(last),
            _ => merged.push((first, last)),
        }
    }
    merged.into_boxed_slice()
}

fn holds<T: Ord + Copy>(ranges: &[(T, T)], address: T) -> bool {
    let after = ranges.partition_point(|(first, _)| *first <= address);
    after.checked_sub(1).is_some_and(|place| address <= ranges[place].1)
}
