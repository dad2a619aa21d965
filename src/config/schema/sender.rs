//! Keys that concern mail by who sends it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

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
}

/// The schema of the domain of a reverse-path.
#[derive(JsonSchema)]
#[schemars(inline)]
#[allow(dead_code, reason = "only its schema is used")]
struct SenderDomainText(#[schemars(extend("format" = "route-domain"))] String);
