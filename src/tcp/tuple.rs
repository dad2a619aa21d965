//! What identifies a TCP connection, and how it is hashed.

use siphasher::sip::SipHasher13;
use std::hash::{BuildHasher, Hash, Hasher};
use std::net::{IpAddr, SocketAddr};

/// Both ends of a connection, ours first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tuple {
    pub local: IpAddr,
    pub local_port: u16,
    pub remote: IpAddr,
    pub remote_port: u16,
}

impl Tuple {
    pub fn local_address(&self) -> SocketAddr {
        SocketAddr::new(self.local, self.local_port)
    }

    pub fn remote_address(&self) -> SocketAddr {
        SocketAddr::new(self.remote, self.remote_port)
    }

    /// Gives the tuple to a hash in one piece; the two families differ in length, so that none can stand for the other.
    pub fn hash_into(&self, hasher: &mut impl Hasher) {
        let mut bytes = [0; 36];
        let length = match (self.local, self.remote) {
            (IpAddr::V4(local), IpAddr::V4(remote)) => {
                bytes[4..8].copy_from_slice(&local.octets());
                bytes[8..12].copy_from_slice(&remote.octets());
                12
            }
            (local, remote) => {
                bytes[4..20].copy_from_slice(&wide(local));
                bytes[20..36].copy_from_slice(&wide(remote));
                36
            }
        };
        bytes[0..2].copy_from_slice(&self.local_port.to_be_bytes());
        bytes[2..4].copy_from_slice(&self.remote_port.to_be_bytes());
        hasher.write(&bytes[..length]);
    }
}

impl Hash for Tuple {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        self.hash_into(hasher);
    }
}

/// The address in the room of the longer family.
pub(super) fn wide(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => address.octets(),
    }
}

/// Hashes with a secret: who does not know it cannot choose ports that all fall into one place of the table.
#[derive(Clone, Copy, Debug)]
pub(super) struct Keyed {
    keys: (u64, u64),
}

impl Keyed {
    pub fn new(keys: (u64, u64)) -> Keyed {
        Keyed { keys }
    }
}

impl BuildHasher for Keyed {
    type Hasher = SipHasher13;
    fn build_hasher(&self) -> SipHasher13 {
        SipHasher13::new_with_keys(self.keys.0, self.keys.1)
    }
}
