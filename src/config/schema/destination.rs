//! Keys that concern some next hops only: limits, and reactions to what they say.

use crate::config::value::{Network, Period, Rate};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Limits for some next hops: those of the recipients' domains in `domains`, those whose names are in `hosts`, and those whose addresses
/// are in `networks`. Each section counts for itself, and for each set of hosts: domains of one section with the same hosts share
/// what it allows, and domains of different sections share nothing. Of several that hold for a host the strictest of each limit
/// counts; what none of them says is as in [[route]] and [delivery]. At most 256.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Shaping {
    /// Domains of recipients; with a leading dot all subdomains (not itself), "*" all.
    #[schemars(with = "Vec<RouteDomainText>", extend("x-example" = ["example.net", ".example.net"]))]
    pub domains: Vec<String>,
    /// Names of hosts, as the DNS or `to` of the [[route]] names them; with a leading dot all names below (not itself).
    #[schemars(with = "Vec<HostPatternText>", extend("x-example" = [".mail.example.com"]))]
    pub hosts: Vec<String>,
    /// Networks of their addresses.
    #[schemars(extend("x-example" = ["198.51.100.0/24"]))]
    pub networks: Vec<Network>,
    /// Connections at the same time, in place of those of the [[route]].
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10_000), extend("x-example" = 5))]
    pub connections_max: Option<u32>,
    /// Connections that are begun, such as "2/s" or "30/m": evenly, so that no burst comes after a rest.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-example" = "30/m"))]
    pub connection_rate: Option<Rate>,
    /// Messages, however many recipients they have, such as "10/s" or "600/m"; evenly as well. What has to wait is not deferred.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-example" = "600/m"))]
    pub message_rate: Option<Rate>,
    /// Messages on one connection, in place of those of [delivery].
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000), extend("x-example" = 20))]
    pub transactions_per_connection: Option<u32>,
    /// Recipients of one transaction; 100 unless something is said here. A message with more goes in several.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000), extend("x-example" = 50))]
    pub recipients_max: Option<u32>,
    /// How long a connection without work is kept, in place of what [delivery] says.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-minimum" = "0s", "x-maximum" = "5m", "x-example" = "30s"))]
    pub idle_timeout: Option<Period>,
    /// How long a connection may take to come about, in place of what [delivery] says.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-minimum" = "1s", "x-maximum" = "5m", "x-example" = "60s"))]
    pub connect_timeout: Option<Period>,
}

/// The schema of a domain as a route names it.
#[derive(JsonSchema)]
#[schemars(inline)]
#[allow(dead_code, reason = "only its schema is used")]
struct RouteDomainText(#[schemars(extend("format" = "route-domain"))] String);

/// The schema of a pattern of host names.
#[derive(JsonSchema)]
#[schemars(inline)]
#[allow(dead_code, reason = "only its schema is used")]
struct HostPatternText(#[schemars(extend("format" = "host-pattern"))] String);

/// What is done about a reply that refuses something, besides deferring or bouncing the message that met it. Of those that fit the
/// first counts; a reply fits that has one of `codes`, one of `statuses` and `text` in it, as far as they are set. At most 64.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Reaction {
    /// Its name in the log.
    #[schemars(extend("x-example" = "too-fast"), length(min = 1, max = 64))]
    pub name: String,
    /// Reply codes, from 400 to 599, such as "421"; an "x" stands for any digit.
    #[serde(default)]
    #[schemars(with = "Vec<ReplyCodeText>", extend("x-example" = ["421", "45x"]))]
    pub codes: Vec<String>,
    /// Status codes (RFC 3463), such as "4.7.0"; an "x" stands for any number. A reply without one has the nearest to its code.
    #[serde(default)]
    #[schemars(with = "Vec<StatusCodeText>", extend("x-example" = ["4.7.x"]))]
    pub statuses: Vec<String>,
    /// A regular expression that is searched in the reply as the log has it, on one line, with "(in reply to MAIL FROM)" or another
    /// command at its end. "(?i)" at its beginning takes upper and lower case for the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-example" = "(?i)rate limit|too many messages"), length(min = 1, max = 1000))]
    pub text: Option<String>,
    /// "back_off" leaves the host alone for `duration`, while mail goes to others if the destination has some; "suspend" leaves all hosts
    /// of the destination alone; "bounce" gives a message up that would be tried again; "defer" tries a message again that would be
    /// given up. What is said before a message is named (the greeting, EHLO) can only lead to the first two.
    #[schemars(extend("x-example" = "back_off"))]
    pub action: ReactionAction,
    /// How long "back_off" and "suspend" last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-minimum" = "1s", "x-maximum" = "7d", "x-example" = "10m"))]
    pub duration: Option<Period>,
}

/// What is done about a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum ReactionAction {
    BackOff,
    Suspend,
    Bounce,
    Defer,
}

/// The schema of a pattern of reply codes.
#[derive(JsonSchema)]
#[schemars(inline)]
#[allow(dead_code, reason = "only its schema is used")]
struct ReplyCodeText(#[schemars(extend("format" = "reply-code"))] String);

/// The schema of a pattern of status codes.
#[derive(JsonSchema)]
#[schemars(inline)]
#[allow(dead_code, reason = "only its schema is used")]
struct StatusCodeText(#[schemars(extend("format" = "status-code"))] String);
