//! Limits for some next hops, and reactions to what they say.

use super::broken::problems;
use crate::config::{Config, parse, reactions};

const BASE: &str = "transport = \"kernel\"\nhostname = \"mx1.example.net\"\n[[listener]]\naddress = \"[::]:2525\"\n\
                    role = \"relay\"\n[relay]\nnetworks = [\"10.0.0.0/8\"]\n[[route]]\ndomain = \"*\"\nmx = true\n";

fn config(text: &str) -> Config {
    parse(&format!("{BASE}{text}"), "test.toml").unwrap_or_else(|error| panic!("{:?}", error.problems()))
}

fn problem(text: &str) -> String {
    let found = problems(&format!("{BASE}{text}"));
    assert_eq!(found.len(), 1, "{found:?}");
    found[0].clone()
}

#[test]
fn limits_are_read_with_all_their_keys() {
    let config = config(
        "[[shaping]]\ndomains = [\"example.net\", \".example.net\", \"*\"]\nhosts = [\".example.com\"]\n\
         networks = [\"192.0.2.0/24\"]\nconnections_max = 5\nconnection_rate = \"30/m\"\nmessage_rate = \"600/m\"\n\
         transactions_per_connection = 20\nrecipients_max = 50\nidle_timeout = \"30s\"\nconnect_timeout = \"60s\"\n",
    );
    let section = &config.shaping[0];
    assert_eq!(section.message_rate.unwrap().to_string(), "600/m");
    assert_eq!((section.connections_max, section.recipients_max), (Some(5), Some(50)));
}

#[test]
fn a_section_of_limits_is_for_somebody_and_says_something() {
    for (text, expected) in [
        (
            "[[shaping]]\nconnections_max = 5\n",
            "line 11: the [[shaping]] section is for nobody | add domains = [\"example.net\"], hosts = [\".example.net\"] or \
             networks = [\"192.0.2.0/24\"]",
        ),
        (
            "[[shaping]]\ndomains = [\"example.net\"]\n",
            "line 12: the [[shaping]] section says nothing | add a limit, such as connections_max = 5 or message_rate = \"600/m\"",
        ),
        (
            "[[shaping]]\ndomains = [\"example.net\"]\nmessage_rate = \"600/min\"\n",
            "line 13: `message_rate`: \"600/min\" is no rate: a whole number from 1 to 1000000, a slash and s, m, h or d, such as \
             \"10/s\" or \"600/m\"",
        ),
        (
            "[[shaping]]\nhosts = [\"*.example.net\"]\nconnections_max = 1\n",
            "line 12: `hosts`: \"*.example.net\" is no host name: \"mx.example.net\", or \".example.net\" for all names below it",
        ),
    ] {
        assert_eq!(problem(text), expected);
    }
    let many = "[[shaping]]\ndomains = [\"a.example\"]\nconnections_max = 1\n".repeat(257);
    assert!(problem(&many).contains("257 [[shaping]] sections: at most 256 are possible"));
}

#[test]
fn a_reaction_fits_something_and_lasts_where_it_must() {
    let reaction = |keys: &str| problem(&format!("[[reaction]]\nname = \"x\"\n{keys}"));
    for (keys, expected) in [
        ("action = \"bounce\"\n", "line 12: the reaction \"x\" would fit every refusal"),
        (
            "codes = [\"421\"]\naction = \"back_off\"\n",
            "line 14: the reaction \"x\" does not say for how long | add duration = \"10m\"",
        ),
        (
            "codes = [\"421\"]\naction = \"bounce\"\nduration = \"1m\"\n",
            "line 15: the reaction \"x\" concerns one message",
        ),
        ("codes = [\"250\"]\naction = \"bounce\"\n", "line 13: `codes`: \"250\" is no reply code from 400 to 599"),
        (
            "statuses = [\"4.7\"]\naction = \"bounce\"\n",
            "line 13: `statuses`: \"4.7\" is no status code of class 4 or 5",
        ),
        ("text = \"(a\"\naction = \"bounce\"\n", "line 13: `text` is no regular expression: unclosed group"),
    ] {
        let found = reaction(keys);
        assert!(found.starts_with(expected), "{found}");
    }
    let twice = "[[reaction]]\nname = \"x\"\ncodes = [\"421\"]\naction = \"bounce\"\n".repeat(2);
    assert!(problem(&twice).contains("two [[reaction]] sections with the name x"));
    let many: String =
        (0..64).map(|n| format!("[[reaction]]\nname = \"{n}\"\ncodes = [\"421\"]\naction = \"bounce\"\n")).collect();
    assert!(problem(&many).contains("at most 64 are possible"));
}

#[test]
fn own_reactions_come_before_those_that_come_with_the_appliance() {
    let own = "[[reaction]]\nname = \"own\"\ncodes = [\"421\"]\naction = \"suspend\"\nduration = \"1h\"\n";
    let names = |text: &str| reactions(&config(text)).map(|reaction| reaction.name.clone()).collect::<Vec<_>>();
    assert_eq!(names(own)[..2], ["own", "google-rate"]);
    assert_eq!(names(&format!("[delivery]\ndefault_reactions = false\n{own}")), ["own"]);
}

#[test]
fn the_reactions_that_come_with_the_appliance_would_pass_in_a_file() {
    let shipped = include_str!("../../../firmware-config/reactions.toml");
    let found = problems(&format!("{BASE}{shipped}\n[delivery]\ndefault_reactions = false\n"));
    assert_eq!(found, Vec::<String>::new());
}
