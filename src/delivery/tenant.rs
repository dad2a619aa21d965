//! Tenants: whose mail it is, by the domain of its reverse-path.
//!
//! In: the configuration's tenants, once. Out: for a reverse-path its tenant, and for a tenant its name. Nothing of it is
//! stored with a message, so that a tenant which is configured today has the mail that came yesterday.

use super::domains::Domains;
use crate::limits::TENANTS_MAX;
use crate::smtp::domain_of;

/// Names a tenant by its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TenantId(u16);

const _: () = assert!(TENANTS_MAX <= u16::MAX as usize + 1);

impl TenantId {
    /// Its place among the tenants.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// All tenants, compiled for lookup.
#[derive(Clone, Debug, Default)]
pub struct Tenants {
    names: Vec<Box<str>>,
    domains: Domains<TenantId>,
}

impl Tenants {
    /// Of names, each with the patterns of its sender domains (`example.net`, `.example.net` for all subdomains, `*` for the rest). Of
    /// two that have the same pattern it is the first one's; those beyond [`TENANTS_MAX`] are not looked at.
    pub fn new<'a, D>(tenants: impl IntoIterator<Item = (&'a str, D)>) -> Tenants
    where
        D: IntoIterator<Item: AsRef<str>>,
    {
        let mut compiled = Tenants::default();
        for (place, (name, domains)) in tenants.into_iter().take(TENANTS_MAX).enumerate() {
            compiled.names.push(name.into());
            for domain in domains {
                if let Some(before) = compiled.domains.insert(domain.as_ref(), TenantId(place as u16)) {
                    compiled.domains.insert(domain.as_ref(), before);
                }
            }
        }
        compiled
    }

    /// Whose mail it is that comes from this reverse-path (without brackets), if anybody's. The nearest pattern counts. The null
    /// sender belongs to nobody: what it sends are bounces, which are the receiver's affair and not the sender's. Takes a look-up
    /// for each label of the domain, and no memory.
    pub fn of(&self, reverse_path: &str) -> Option<TenantId> {
        if reverse_path.is_empty() { None } else { self.domains.get(domain_of(reverse_path)) }
    }

    /// A tenant's name. Panics for an id that these did not give.
    pub fn name(&self, id: TenantId) -> &str {
        &self.names[id.index()]
    }

    /// The tenant with this name.
    pub fn find(&self, name: &str) -> Option<TenantId> {
        self.names.iter().position(|known| **known == *name).map(|place| TenantId(place as u16))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mail_belongs_to_the_tenant_with_the_nearest_sender_domain() {
        let tenants = Tenants::new([
            ("acme", &["acme.example", ".acme.example"][..]),
            ("lab", &["lab.acme.example", ".lab.acme.example"]),
            ("late", &["acme.example", "bücher.example"]),
        ]);
        let of = |path| tenants.of(path).map(|id| tenants.name(id));
        for (path, expected) in [
            ("a@acme.example", Some("acme")),
            ("a@ACME.Example.", Some("acme")),
            ("\"a@b\"@news.acme.example", Some("acme")),
            ("a@lab.acme.example", Some("lab")),
            ("a@x.lab.acme.example", Some("lab")),
            ("a@bücher.example", Some("late")),
            ("a@badacme.example", None),
            ("a@example", None),
            ("a@[192.0.2.1]", None),
            ("a", None),
            ("", None),
        ] {
            assert_eq!(of(path), expected, "{path}");
        }
        let all = Tenants::new([("all", ["*"])]);
        assert!(all.of("a@anywhere.example").is_some() && all.of("").is_none());
        assert_eq!(tenants.find("lab").map(|id| tenants.name(id)), Some("lab"));
        assert_eq!(tenants.find("nobody"), None);
    }
}
