//! What is known of the paths to other hosts: how large a packet they take (RFC 1191, RFC 8201).

use crate::env::Instant;
use crate::limits::{PATH_LIFETIME, PATHS_MAX};
use hashbrown::HashMap;
use std::net::IpAddr;

/// Hosts whose path takes less than our link. One that is not here is taken to take as much.
#[derive(Default)]
pub(super) struct Paths {
    narrow: HashMap<IpAddr, (u16, Instant)>,
}

impl Paths {
    /// The largest IP packet for `remote`, bytes, if it is known to be less than the link's.
    pub fn mtu(&self, remote: IpAddr, now: Instant) -> Option<u16> {
        self.narrow.get(&remote).filter(|(_, until)| *until > now).map(|(mtu, _)| *mtu)
    }

    /// A path takes no more than this. With the table full of fresh entries, only the connection itself heeds it.
    pub fn note(&mut self, remote: IpAddr, mtu: u16, now: Instant) {
        if self.narrow.len() >= PATHS_MAX && !self.narrow.contains_key(&remote) {
            self.narrow.retain(|_, (_, until)| *until > now);
            if self.narrow.len() >= PATHS_MAX {
                return;
            }
        }
        self.narrow.insert(remote, (mtu, now + PATH_LIFETIME));
    }

    pub fn len(&self) -> usize {
        self.narrow.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_tried_anew_after_a_while_and_the_table_is_bounded() {
        let mut paths = Paths::default();
        let host = |number: u32| IpAddr::from(number.to_be_bytes());
        let later = Instant::ZERO + PATH_LIFETIME;
        (0..2 * PATHS_MAX as u32).for_each(|number| paths.note(host(number), 1400, Instant::ZERO));
        assert_eq!(paths.len(), PATHS_MAX);
        assert_eq!(paths.mtu(host(1), Instant::ZERO), Some(1400));
        assert_eq!(paths.mtu(host(1), later), None);
        paths.note(host(77_777), 1280, later);
        assert_eq!((paths.len(), paths.mtu(host(77_777), later)), (1, Some(1280)));
    }
}
