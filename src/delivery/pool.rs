//! Pools: the own addresses that mail leaves from.
//!
//! In: the configuration's pools, once. Out: for a reverse-path its pool, if who sends decides; for a message one of the addresses
//! of a pool.
//!
//! Whose mail it is comes before where it goes: a pool that names the sender's domain counts first, then that of its tenant, and then
//! that of the route. Mail without any leaves from the first own address of the hop's family. Bounces have no sender, and so
//! only the route decides.
//!
//! Within a pool each message has an address that it prefers, by weighted rendezvous: every address draws a lot from the message's
//! id, and the one with the highest wins, which happens to each as often as its weight says. So a message that is tried again leaves
//! from the same address, as greylisting wants it, though nothing of it is stored, and also on the partner after a takeover; one that
//! is given up or added takes from the others its share and no more. Lots are drawn by messages and not by senders, as else
//! a large sender would have one address, whatever the weights say.

use super::domains::Domains;
use super::tenant::Tenants;
use crate::limits::POOLS_MAX;
use siphasher::sip::SipHasher13;
use std::hash::{Hash, Hasher};
use std::net::IpAddr;
use std::sync::Arc;

/// Names a pool by its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PoolId(u16);

const _: () = assert!(POOLS_MAX <= u16::MAX as usize + 1);

/// An own address in a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PoolAddress {
    /// The address.
    pub ip: IpAddr,
    /// Its share of the pool's messages, beside those of the other addresses of its family. 0: it is used while no other is there.
    pub weight: u32,
}

/// Own addresses that mail may leave from.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Pool {
    /// Its name in the log.
    pub name: Arc<str>,
    /// Its addresses. A hop whose family is not among them is not used, as the operator named what may be seen as the sender.
    pub addresses: Vec<PoolAddress>,
}

/// All pools, and who sends from them.
#[derive(Clone, Debug, Default)]
pub struct Pools {
    pools: Vec<Arc<Pool>>,
    domains: Domains<PoolId>,
    tenants: Tenants,
    /// Of each tenant, its pool.
    of_tenants: Vec<Option<PoolId>>,
}

impl Pools {
    /// Of pools, each with the patterns of the sender domains that it is for. Those beyond [`POOLS_MAX`] are not looked at.
    pub fn new<D>(pools: impl IntoIterator<Item = (Pool, D)>) -> Pools
    where
        D: IntoIterator<Item: AsRef<str>>,
    {
        let mut compiled = Pools::default();
        for (place, (pool, domains)) in pools.into_iter().take(POOLS_MAX).enumerate() {
            compiled.pools.push(Arc::new(pool));
            for domain in domains {
                compiled.domains.insert(domain.as_ref(), PoolId(place as u16));
            }
        }
        compiled
    }

    /// With tenants, and the names of their pools in the same order.
    pub fn with_tenants<'a>(mut self, tenants: Tenants, pools: impl IntoIterator<Item = Option<&'a str>>) -> Pools {
        self.tenants = tenants;
        self.of_tenants = pools.into_iter().map(|name| self.place(name?).map(|place| PoolId(place as u16))).collect();
        self
    }

    fn place(&self, name: &str) -> Option<usize> {
        self.pools.iter().position(|pool| *pool.name == *name)
    }

    /// The pool with this name.
    pub fn find(&self, name: &str) -> Option<&Arc<Pool>> {
        self.place(name).map(|place| &self.pools[place])
    }

    /// The pool of mail from this reverse-path (without brackets), if it is for the sender to decide.
    pub fn of(&self, reverse_path: &str) -> Option<PoolId> {
        if reverse_path.is_empty() {
            return None;
        }
        let of_tenant = || self.of_tenants.get(self.tenants.of(reverse_path)?.index()).copied().flatten();
        self.domains.get(crate::smtp::domain_of(reverse_path)).or_else(of_tenant)
    }

    /// Those that a sender can decide for.
    pub(super) fn of_senders(&self) -> Vec<PoolId> {
        let mut all: Vec<PoolId> = self.domains.values().chain(self.of_tenants.iter().copied().flatten()).collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    /// A pool. Panics for an id that these did not give.
    pub(super) fn pool(&self, id: PoolId) -> &Arc<Pool> {
        &self.pools[usize::from(id.0)]
    }
}

/// The one of some addresses that a message prefers: each wins for as large a share of all keys as its weight is of all weights. Those
/// with the weight 0 have a part in it if there are no others.
pub(super) fn preferred<T>(addresses: impl Iterator<Item = (T, PoolAddress)> + Clone, key: u64) -> Option<T> {
    let is_weighed = addresses.clone().any(|(_, address)| address.weight > 0);
    let mut best: Option<(f64, T)> = None;
    for (name, PoolAddress { ip, weight }) in addresses {
        let weight = if is_weighed { weight } else { 1 };
        let mut hasher = SipHasher13::new();
        hasher.write_u64(key);
        ip.hash(&mut hasher);
        // Between 0 and 1, both excluded.
        let lot = ((hasher.finish() >> 11) as f64 + 0.5) / (1u64 << 53) as f64;
        let score = f64::from(weight) / -lot.ln();
        if weight > 0 && best.as_ref().is_none_or(|(before, _)| score > *before) {
            best = Some((score, name));
        }
    }
    best.map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(name: &str) -> Pool {
        let addresses = vec![PoolAddress { ip: IpAddr::from([192, 0, 2, 1]), weight: 1 }];
        Pool { name: name.into(), addresses }
    }

    fn address(last: u8, weight: u32) -> (u8, PoolAddress) {
        (last, PoolAddress { ip: IpAddr::from([192, 0, 2, last]), weight })
    }

    /// How often each of four addresses is preferred by so many messages.
    fn counts(addresses: &[(u8, PoolAddress)], messages: u64) -> [usize; 4] {
        let mut counts = [0; 4];
        for key in 0..messages {
            counts[usize::from(preferred(addresses.iter().copied(), key).unwrap())] += 1;
        }
        counts
    }

    #[test]
    fn the_domain_of_the_sender_comes_before_its_tenant() {
        let tenants = Tenants::new([("acme", &["acme.example", ".acme.example"][..]), ("poor", &["poor.example"])]);
        let pools = Pools::new([(pool("bulk"), &["news.acme.example"][..]), (pool("acme"), &[]), (pool("rest"), &[])]);
        let pools = pools.with_tenants(tenants, [Some("acme"), None]);
        let of = |path| pools.of(path).map(|id| &*pools.pool(id).name);
        for (path, expected) in [
            ("a@News.acme.example", Some("bulk")),
            ("a@acme.example", Some("acme")),
            ("a@x.news.acme.example", Some("acme")),
            ("a@poor.example", None),
            ("a@elsewhere.example", None),
            ("", None),
        ] {
            assert_eq!(of(path), expected, "{path}");
        }
        let names: Vec<&str> = pools.of_senders().into_iter().map(|id| &*pools.pool(id).name).collect();
        assert_eq!(names, ["bulk", "acme"], "nobody sends from the third by himself");
        assert!(pools.find("rest").is_some() && pools.find("none").is_none());
    }

    #[test]
    fn addresses_are_preferred_as_often_as_their_weights_say() {
        let all = [address(0, 1), address(1, 3), address(2, 6), address(3, 0)];
        let counts = counts(&all, 100_000);
        for (count, expected) in counts.into_iter().zip([10_000, 30_000, 60_000, 0usize]) {
            assert!(count.abs_diff(expected) <= 500, "{counts:?}");
        }
    }

    #[test]
    fn what_an_address_had_goes_to_the_others_when_it_is_gone_and_comes_back_with_it() {
        let all = [address(0, 1), address(1, 1), address(2, 2)];
        for key in 0..1000 {
            let before = preferred(all.iter().copied(), key).unwrap();
            let without = preferred(all[1..].iter().copied(), key).unwrap();
            assert!(before == 0 || before == without, "nobody else's address changes");
        }
        assert_eq!(preferred(all[..0].iter().copied(), 1), None);
    }

    #[test]
    fn weight_zero_stands_by() {
        let two = [address(0, 0), address(1, 0)];
        let counts = counts(&two, 10_000);
        assert!(counts[0] > 4500 && counts[1] > 4500, "{counts:?}");
        let three = [address(0, 0), address(1, 0), address(2, 1)];
        assert!((0..1000).all(|key| preferred(three.iter().copied(), key) == Some(2)));
    }
}
