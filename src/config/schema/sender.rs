//! Keys that concern mail by who sends it.

use crate::limits;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// Somebody who sends by way of the appliance, known by the domains that mail comes from: that of the reverse-path (MAIL FROM)
/// counts. Bounces, which have none, belong to nobody. A tenant is looked for when mail is delivered, so that what is said here
/// holds for mail that waits already. At most 10000.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Tenant {
    /// Its name, for other sections, commands and the log.
    #[schemars(extend("x-example" = "acme"), length(min = 1, max = 64))]
    pub name: String,
    /// Its domains; with a leading dot all subdomains (not itself), "*" all that no other tenant has. Of several that fit the
    /// nearest counts, and each belongs to one tenant. Unicode and A-label forms are the same.
    #[schemars(with = "Vec<SenderDomainText>", extend("x-example" = ["acme.example", ".acme.example"]), length(min = 1))]
    pub sender_domains: Vec<String>,
    /// The [[pool]] of own addresses that its mail leaves from. Unset: that of the route.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-example" = "acme"))]
    pub pool: Option<String>,
}

/// Own addresses that mail leaves from, each with the `ehlo_name` of its [[address]]. Whose mail it is comes before where it goes: the
/// pool that names the domain of the sender counts first, then that of its tenant, and then that of the route; without any mail
/// leaves from the first own address of the host's family. A host whose family is not among a pool's addresses gets no mail from it.
/// Each pool has connections of its own, and is left alone or suspended on its own; limits hold for all of them together. At most 256.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Pool {
    /// Its name, for other sections and the log.
    #[schemars(extend("x-example" = "bulk"), length(min = 1, max = 64))]
    pub name: String,
    /// The addresses, each one of an [[address]], with a `weight` from 0 to 1000 (unset: 1): its share of the messages, beside
    /// the pool's other addresses of its family. 0 stands by: it is used while no other one is there. A message that is tried again
    /// leaves from the same address, if it is there and takes connections.
    #[schemars(extend("x-example" = [{ "ip": "192.0.2.25", "weight": 10 }, { "ip": "192.0.2.26", "weight": 1 }]), length(min = 1, max = 8))]
    pub addresses: Vec<PoolAddress>,
    /// Domains of reverse-paths whose mail leaves from here; with a leading dot all subdomains (not itself), "*" all that no other
    /// pool names. Of several that fit the nearest counts. Bounces have none: for them the route decides.
    #[serde(default)]
    #[schemars(with = "Vec<SenderDomainText>", extend("x-example" = ["news.acme.example"]))]
    pub sender_domains: Vec<String>,
}

/// An own address in a pool.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PoolAddress {
    /// The address, as in its [[address]], without the prefix length.
    #[schemars(with = "String", extend("format" = "ip", "x-example" = "192.0.2.25"))]
    pub ip: IpAddr,
    /// Its share.
    #[serde(default = "weight_default")]
    #[schemars(range(min = 0, max = 1000))]
    pub weight: u32,
}

fn weight_default() -> u32 {
    limits::POOL_WEIGHT_DEFAULT
}

/// The schema of the domain of a reverse-path.
#[derive(JsonSchema)]
#[schemars(inline)]
#[allow(dead_code, reason = "only its schema is used")]
struct SenderDomainText(#[schemars(extend("format" = "route-domain"))] String);
