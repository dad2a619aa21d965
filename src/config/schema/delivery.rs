//! The delivery engine, and when it tries again.

use crate::config::value::Period;
use crate::limits;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How mail is passed on.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Delivery {
    /// Connections to next hops at the same time, of all workers together.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub connections: u32,
    /// How long a connection may take to come about; a [[shaping]] may say otherwise, as it may of the next two.
    #[schemars(extend("x-minimum" = "1s", "x-maximum" = "5m"))]
    pub connect_timeout: Period,
    /// How long a connection without work is kept for the next message.
    #[schemars(extend("x-minimum" = "0s", "x-maximum" = "5m"))]
    pub idle_timeout: Period,
    /// Messages on one connection, after which it is closed and another is opened.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub transactions_per_connection: u32,
    /// How long a host that failed is left alone; doubled with each further failure.
    #[schemars(extend("x-minimum" = "1s", "x-maximum" = "1h"))]
    pub host_backoff: Period,
    /// The most that it grows to.
    #[schemars(extend("x-minimum" = "1s", "x-maximum" = "1d"))]
    pub host_backoff_max: Period,
    /// Heed the reactions to replies of large providers that come with the appliance (`firmware-config/reactions.toml`),
    /// behind those of [[reaction]].
    pub default_reactions: bool,
}

impl Default for Delivery {
    fn default() -> Delivery {
        Delivery {
            connections: limits::DELIVERY_CONNECTIONS_DEFAULT,
            connect_timeout: Period(limits::CONNECT_TIMEOUT_DEFAULT),
            idle_timeout: Period(limits::DELIVERY_IDLE_TIMEOUT_DEFAULT),
            transactions_per_connection: limits::TRANSACTIONS_PER_CONNECTION_DEFAULT,
            host_backoff: Period(limits::HOST_BACKOFF_FIRST_DEFAULT),
            host_backoff_max: Period(limits::HOST_BACKOFF_MAX_DEFAULT),
            default_reactions: true,
        }
    }
}

/// When a delivery that failed for now is tried again (RFC 5321 §4.5.4.1).
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Retry {
    /// The delay after the first attempt.
    #[schemars(extend("x-minimum" = "1s", "x-maximum" = "1d"))]
    pub first: Period,
    /// By how much each delay is longer than the one before it.
    #[schemars(range(min = 1.0, max = 10.0))]
    pub growth: f64,
    /// The longest delay.
    #[schemars(extend("x-minimum" = "1s", "x-maximum" = "7d"))]
    pub max: Period,
    /// By which part of itself a delay is moved at random, to spread what failed together.
    #[schemars(range(min = 0.0, max = 0.9))]
    pub jitter: f64,
    /// The age at which a message that is not delivered goes back to its sender.
    #[schemars(extend("x-minimum" = "1m", "x-maximum" = "30d"))]
    pub age_max: Period,
    /// The same for a message that an operator holds (`rohrpost queue hold`); not less than `age_max`. It is looked for every five
    /// minutes.
    #[schemars(extend("x-minimum" = "1m", "x-maximum" = "3650d"))]
    pub held_age_max: Period,
}

impl Default for Retry {
    fn default() -> Retry {
        Retry {
            first: Period(limits::RETRY_FIRST_DEFAULT),
            growth: limits::RETRY_GROWTH_DEFAULT,
            max: Period(limits::RETRY_MAX_DEFAULT),
            jitter: limits::RETRY_JITTER_DEFAULT,
            age_max: Period(limits::RETRY_AGE_MAX_DEFAULT),
            held_age_max: Period(limits::RETRY_HELD_AGE_MAX_DEFAULT),
        }
    }
}
