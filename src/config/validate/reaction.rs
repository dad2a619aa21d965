//! Reactions to replies: each fits something, and says what is done for how long.

use super::Check;
use crate::config::error::Problem;
use crate::config::{Config, Reaction, ReactionAction};
use crate::delivery::compile_pattern;
use crate::limits::REACTIONS_MAX;

impl Check<'_> {
    pub(super) fn reactions(&mut self, config: &Config) {
        if crate::config::reactions(config).count() > REACTIONS_MAX {
            let place = self.places.of_entry("reaction", config.reactions.len() - 1, "name");
            let count = config.reactions.len();
            self.add(
                Problem::new(place, format!("{count} reactions, and those that come with the appliance: at most {REACTIONS_MAX} are possible"))
                    .help("a reaction may have any number of `codes` and `statuses`; `default_reactions = false` in [delivery] makes room"),
            );
        }
        for (index, reaction) in config.reactions.iter().enumerate() {
            self.reaction(index, reaction);
        }
        let place = |index| self.places.of_entry("reaction", index, "name");
        let names = config.reactions.iter().enumerate().map(|(index, own)| (own.name.clone(), place(index))).collect();
        self.no_duplicates(names, "two [[reaction]] sections with the name");
    }

    fn reaction(&mut self, index: usize, reaction: &Reaction) {
        let Reaction { name, codes, statuses, text, action, duration } = reaction;
        if codes.is_empty() && statuses.is_empty() && text.is_none() {
            let place = self.places.of_entry("reaction", index, "name");
            self.add(
                Problem::new(place, format!("the reaction \"{name}\" would fit every refusal"))
                    .help("add codes = [\"421\"], statuses = [\"4.7.x\"] or text = \"a pattern\""),
            );
        }
        if let Some(Err(error)) = text.as_deref().map(compile_pattern) {
            let place = self.places.of_entry("reaction", index, "text");
            // What the compiler draws takes several lines, of which the last one says it.
            let said = error.to_string();
            let said = said.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
            self.add(Problem::new(place, format!("`text` is no regular expression: {said}")));
        }
        let lasts = matches!(action, ReactionAction::BackOff | ReactionAction::Suspend);
        if lasts != duration.is_some() {
            let key = if lasts { "action" } else { "duration" };
            let place = self.places.of_entry("reaction", index, key);
            let (what, help) = match lasts {
                true => ("does not say for how long", "add duration = \"10m\""),
                false => ("concerns one message, which has no `duration`", "leave `duration` out"),
            };
            self.add(Problem::new(place, format!("the reaction \"{name}\" {what}")).help(help));
        }
    }
}
