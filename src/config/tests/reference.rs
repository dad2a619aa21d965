//! The reference file and the examples beside it, held against the schema and the code.

use crate::config::reference::render;
use crate::config::walk::resolve;
use crate::config::{Config, parse, schema};
use serde_json::{Map, Value};
use std::collections::BTreeSet;
use std::path::PathBuf;

fn read(name: &str) -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("firmware-config").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The reference file with every key set: the commented ones too.
fn everything() -> toml::Table {
    let text: String = read("rohrpost.toml")
        .lines()
        .map(|line| match line.strip_prefix('#') {
            Some(key) if !key.is_empty() && !key.starts_with(' ') => format!("{key}\n"),
            _ => format!("{line}\n"),
        })
        .collect();
    text.parse().expect("the reference file is TOML, with and without its comments")
}

/// Every key of the schema as `section.key`, with its node.
fn keys() -> Vec<(String, Map<String, Value>)> {
    let schema = schema();
    let mut keys = Vec::new();
    let root = resolve(schema, schema);
    for (name, node) in root["properties"].as_object().expect("an object") {
        let node = resolve(schema, node);
        let list = node.get("items").map(|items| resolve(schema, items));
        match list.as_ref().unwrap_or(&node).get("properties").and_then(Value::as_object) {
            Some(inner) => {
                keys.extend(inner.iter().map(|(key, node)| (format!("{name}.{key}"), resolve(schema, node))))
            }
            None => keys.push((name.clone(), node)),
        }
    }
    keys
}

/// Every key of the file in the same form, with its value.
fn written() -> Vec<(String, toml::Value)> {
    let mut keys = Vec::new();
    for (name, value) in everything() {
        match value {
            toml::Value::Table(table) => {
                keys.extend(table.into_iter().map(|(key, value)| (format!("{name}.{key}"), value)))
            }
            toml::Value::Array(list) => {
                for table in list.iter().filter_map(toml::Value::as_table) {
                    keys.extend(table.iter().map(|(key, value)| (format!("{name}.{key}"), value.clone())));
                }
            }
            value => keys.push((name, value)),
        }
    }
    keys
}

#[test]
fn the_reference_file_is_what_the_schema_says() {
    if std::env::var_os("ROHRPOST_WRITE_REFERENCE").is_some() {
        let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("firmware-config/rohrpost.toml");
        std::fs::write(path, render()).expect("the reference file can be written");
    }
    assert_eq!(
        read("rohrpost.toml"),
        render(),
        "run this test with ROHRPOST_WRITE_REFERENCE=1 after a change of the schema"
    );
}

#[test]
fn the_reference_file_has_the_keys_of_the_schema_and_no_others() {
    let schema: BTreeSet<String> = keys().into_iter().map(|(key, _)| key).collect();
    let file: BTreeSet<String> = written().into_iter().map(|(key, _)| key).collect();
    assert_eq!(file, schema);
}

#[test]
fn the_defaults_of_the_reference_file_are_those_of_the_code() {
    let written: Map<String, Value> =
        written().into_iter().map(|(key, value)| (key, serde_json::to_value(value).expect("plain values"))).collect();
    for (key, node) in keys() {
        if let Some(default) = node.get("default").filter(|default| !default.is_null()) {
            assert_eq!(&written[&key], default, "{key}");
        }
    }
}

#[test]
fn every_key_says_what_it_means_and_every_amount_its_range() {
    for (key, node) in keys() {
        let description = node.get("description").and_then(Value::as_str).unwrap_or_default();
        assert!(description.len() > 10, "{key} has no description");
        let format = node.get("format").and_then(Value::as_str).unwrap_or_default();
        let kind = node.get("type").and_then(Value::as_str).unwrap_or_default();
        let amount = kind == "integer" || kind == "number" || format == "duration" || format == "size";
        if amount {
            assert!(crate::config::walk::range_text(&node).is_some(), "{key} has no range");
        }
    }
}

#[test]
fn a_file_with_nothing_but_what_is_required_has_the_defaults_of_the_reference() {
    let least =
        "transport = \"kernel\"\nhostname = \"a.example\"\n[[listener]]\naddress = \"[::1]:25\"\nrole = \"mx\"\n";
    let config = parse(least, "least.toml").expect("a good file");
    let written: Map<String, Value> =
        written().into_iter().map(|(key, value)| (key, serde_json::to_value(value).expect("plain values"))).collect();
    let config = serde_json::to_value(&config).expect("plain values");
    for section in
        ["workers", "dpdk", "relay", "recipients", "limits", "spool", "delivery", "retry", "admin", "alert", "log"]
    {
        for (key, value) in config[section].as_object().expect("a section") {
            assert_eq!(&written[&format!("{section}.{key}")], value, "{section}.{key}");
        }
    }
}

fn example(name: &str) -> Config {
    parse(&read(name), name).unwrap_or_else(|error| panic!("{name}: {:?}", error.problems()))
}

#[test]
fn the_examples_are_good() {
    let relay = example("single-relay.toml");
    assert!(crate::config::warnings(&relay).is_empty(), "{:?}", crate::config::warnings(&relay));
    let pair = example("pair-a.toml");
    assert!(crate::config::warnings(&pair).is_empty(), "{:?}", crate::config::warnings(&pair));
    let mx = example("single-mx.toml");
    assert!(crate::config::warnings(&mx).is_empty(), "{:?}", crate::config::warnings(&mx));
    let map = crate::policy::RecipientMap::parse(read("recipients.map").as_bytes(), 0).expect("a good map");
    assert_eq!(map.count(), 4);
}
