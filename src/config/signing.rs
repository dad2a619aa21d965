//! The keys of the configuration file that are about signing mail (DKIM); otherwise as [`super::schema`].

use super::value::{Moment, Period, canonical_pattern};
use crate::dkim::SIGNED_DEFAULT;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// How mail is signed (DKIM), if there are keys for it: what comes over listeners with the role "submission" or "relay", never what
/// comes over those with the role "mx", and no notices of our own but reports on TLS.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Signing {
    /// Threads that sign, beside those of the workers. An RSA key of 2048 bits takes about a millisecond of one for each message, an
    /// Ed25519 key a small part of that.
    #[schemars(range(min = 1, max = 64))]
    pub threads: usize,
    /// What becomes of a message whose author's domain has keys of which none is valid at the moment: "wait" keeps it until one is,
    /// and tells engineers of it (`signing_key_missing`); "unsigned" delivers it without a signature, and says so in the log
    /// (`unsigned`). A message that is as old as [retry] `age_max` goes out in any case.
    pub without_key: WithoutKey,
}

impl Default for Signing {
    fn default() -> Signing {
        Signing { threads: 1, without_key: WithoutKey::default() }
    }
}

/// What becomes of a message for which no key is valid.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum WithoutKey {
    #[default]
    Wait,
    Unsigned,
}

/// A key that signs mail (DKIM; RFC 6376, 8463). Of the keys of one domain all sign that are valid: an RSA key and an Ed25519 key side
/// by side, or two selectors of which one follows the other. `rohrpost dkim` says what to publish for each. SIGHUP reads the files
/// again; if something is wrong with one, the keys from before go on signing.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Dkim {
    /// Whose mail it signs, by the domain of the author in the From field; with a leading dot that of all its subdomains (not
    /// its own), in the name of this domain.
    #[schemars(extend("format" = "mail-domain", "x-example" = "example.net"))]
    pub domain: String,
    /// The name under which the public key is published in the DNS: SELECTOR._domainkey.DOMAIN.
    #[schemars(extend("format" = "selector", "x-example" = "s2026"))]
    pub selector: String,
    /// The private key (PEM): RSA with 2048 to 4096 bits, of which 2048 are right (`openssl genrsa 2048`), or Ed25519 (`openssl
    /// genpkey -algorithm ed25519`). Relative to this file. Nobody but the appliance's user and group may read it.
    #[schemars(extend("x-example" = "/etc/rohrpost/s2026.pem"))]
    pub key: PathBuf,
    /// From when on it signs: a day, from its beginning (UTC), or a day and a time. The DNS should have had it for some days.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-example" = "2026-12-01"))]
    pub not_before: Option<Moment>,
    /// From when on it does not sign any more. The DNS should keep it for some days longer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-example" = "2027-06-01T06:00:00Z"))]
    pub not_after: Option<Moment>,
    /// Header fields that are signed, From among them. Those that a message has cannot be added a second time, and those that it has not
    /// cannot be added at all, without breaking the signature.
    #[serde(default = "signed_default")]
    #[schemars(with = "Vec<FieldName>", length(min = 1, max = 64))]
    pub headers: Vec<String>,
    /// What may change on the way without breaking the signature, in the header and in the body (RFC 6376 §3.4): "relaxed" lets white space
    /// change, "simple" nothing.
    #[serde(default)]
    pub canonicalization: Canonicalization,
    /// For how long receivers shall believe the signature (x=). Unset: for as long as the key is published. Mail waits in queues for days.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-minimum" = "1h", "x-maximum" = "3650d", "x-example" = "30d"))]
    pub expires_after: Option<Period>,
}

impl Dkim {
    /// The domain in the form in which domains are compared, with its leading dot.
    pub fn pattern(&self) -> String {
        canonical_pattern(&self.domain)
    }
}

/// For the schema: the name of a header field.
#[derive(JsonSchema)]
#[schemars(inline)]
#[allow(dead_code, reason = "only its schema is used")]
struct FieldName(#[schemars(extend("format" = "field-name"))] String);

fn signed_default() -> Vec<String> {
    SIGNED_DEFAULT.iter().map(|name| (*name).to_owned()).collect()
}

/// How header and body are made comparable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[schemars(inline)]
pub enum Canonicalization {
    #[default]
    #[serde(rename = "relaxed/relaxed")]
    Relaxed,
    #[serde(rename = "relaxed/simple")]
    RelaxedHeader,
    #[serde(rename = "simple/relaxed")]
    RelaxedBody,
    #[serde(rename = "simple/simple")]
    Simple,
}

impl Canonicalization {
    /// White space may change in the header.
    pub fn header_relaxed(self) -> bool {
        matches!(self, Canonicalization::Relaxed | Canonicalization::RelaxedHeader)
    }

    /// White space may change in the body.
    pub fn body_relaxed(self) -> bool {
        matches!(self, Canonicalization::Relaxed | Canonicalization::RelaxedBody)
    }
}
