//! `rohrpost dkim`: what the DNS has to say of the keys that sign.
//!
//! In: the configuration and the keys that it names. Out: a record in the form of a zone file for each, or one JSON object. Never: a
//! change to anything, or a private key.

use super::DkimArgs;
use super::check::{refuse, show};
use super::text::print;
use crate::appliance::settings;
use crate::config;
use crate::control::Versioned;
use crate::dkim::{Key, Keyring};
use serde::Serialize;
use std::process::ExitCode;

/// The longest string of a TXT record (RFC 1035 §3.3).
const STRING_SIZE_MAX: usize = 255;

#[derive(Debug, Serialize)]
struct Record {
    name: String,
    text: String,
    key: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    not_before: Option<config::Moment>,
    #[serde(skip_serializing_if = "Option::is_none")]
    not_after: Option<config::Moment>,
}

#[derive(Debug, Serialize)]
struct Records {
    records: Vec<Record>,
}

/// The command.
pub fn dkim(args: &DkimArgs) -> ExitCode {
    let config = match config::load(&args.config.config) {
        Ok(config) => config,
        Err(error) => return refuse(&show(&error)),
    };
    let keyring = match settings::keyring(&config) {
        Ok(keyring) => keyring.unwrap_or_default(),
        Err(error) => return refuse(&format!("rohrpost: {error}\n")),
    };
    if args.json {
        let records = Versioned::new(Records { records: keyring.keys().iter().map(record).collect() });
        print(&(serde_json::to_string(&records).expect("it has text keys only") + "\n"))
    } else {
        print(&zone(&keyring))
    }
}

fn record(key: &Key) -> Record {
    let (name, text) = key.record();
    let settings = key.settings();
    let moment = |time: Option<crate::env::WallTime>| time.map(config::Moment);
    Record {
        name,
        text,
        key: key.kind(),
        not_before: moment(settings.not_before),
        not_after: moment(settings.not_after),
    }
}

/// As it stands in a zone file: strings of no more than 255 bytes, which receivers join.
fn zone(keyring: &Keyring) -> String {
    let mut text = String::new();
    for Record { name, text: value, key, not_before, not_after } in keyring.keys().iter().map(record) {
        let from = not_before.map_or_else(String::new, |from| format!(", from {from}"));
        let until = not_after.map_or_else(String::new, |until| format!(", until {until}"));
        let strings: Vec<String> = (value.as_bytes().chunks(STRING_SIZE_MAX))
            .map(|string| format!("\"{}\"", String::from_utf8_lossy(string)))
            .collect();
        text += &format!("; {key}{from}{until}\n{name}. IN TXT ( {} )\n", strings.join(" "));
    }
    text
}
