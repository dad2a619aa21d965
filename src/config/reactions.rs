//! The reactions to replies that are heeded: those of the file, then those that come with the appliance.

use super::schema::{Config, Reaction};
use serde::Deserialize;
use std::sync::LazyLock;

/// What comes with the appliance, as operators can read it.
const DEFAULT: &str = include_str!("../../firmware-config/reactions.toml");

#[derive(Deserialize)]
struct Table {
    #[serde(rename = "reaction")]
    reactions: Vec<Reaction>,
}

/// All reactions that are heeded, in their order.
pub fn reactions(config: &Config) -> impl Iterator<Item = &Reaction> {
    static DEFAULTS: LazyLock<Vec<Reaction>> = LazyLock::new(|| {
        toml::from_str::<Table>(DEFAULT).expect("a test reads what comes with the appliance").reactions
    });
    let defaults = DEFAULTS.iter().filter(|_| config.delivery.default_reactions);
    config.reactions.iter().chain(defaults)
}
