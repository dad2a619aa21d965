//! The reference file, written from the schema: every key with meaning, default and range.
//!
//! In: the schema. Out: the text of `firmware-config/rohrpost.toml`, which a test holds against this. A key that has a
//! default, or need not be set, stands behind a `#` without a space; prose has the space.

use super::walk::{range_text, resolve, words};
use serde_json::{Map, Value};
use std::fmt::Write as _;

const HEAD: &str = "\
# Rohrpost: every key of the configuration, with its meaning, its default and its range.
#
# A line that starts with `#` and no space is a key with its default, or with an example where it has none.
# Durations: a whole number and ms, s, m, h or d. Sizes: a whole number and B, KB, MB, GB, TB (by 1000) or KiB, MiB, GiB,
# TiB (by 1024). A section in double brackets may stand any number of times. `rohrpost check` tells what a file means.

";

/// The longest line of prose, columns.
const WIDTH: usize = 110;

/// Writes the reference file.
pub fn render() -> String {
    let schema = super::schema();
    let mut text = HEAD.to_owned();
    let root = resolve(schema, schema);
    let keys = root["properties"].as_object().cloned().unwrap_or_default();
    let (sections, plain): (Vec<_>, Vec<_>) =
        keys.iter().map(|(key, node)| (key, resolve(schema, node))).partition(|(_, node)| {
            node.get("properties").is_some() || node.get("items").is_some_and(|items| items.get("$ref").is_some())
        });
    let may_be_missing = |section: &str| keys.get(section).is_some_and(|node| node.get("anyOf").is_some());
    for (key, node) in plain {
        render_key(&mut text, key, &node, is_required(&root, key), false);
    }
    for (section, node) in sections {
        let list = node.get("items").map(|items| resolve(schema, items));
        let body = list.as_ref().unwrap_or(&node);
        text.push('\n');
        prose(&mut text, &description(body));
        // What need not be there is an example as a whole: an uncommented header would demand its required keys.
        let is_example = list.is_some() || may_be_missing(section);
        let header = if list.is_some() { format!("[[{section}]]") } else { format!("[{section}]") };
        let _ = writeln!(text, "{}{header}\n", if is_example { "#" } else { "" });
        for (key, node) in body.get("properties").and_then(Value::as_object).into_iter().flatten() {
            render_key(&mut text, key, &resolve(schema, node), is_required(body, key), is_example);
        }
    }
    while text.ends_with("\n\n") {
        text.pop();
    }
    text
}

fn is_required(node: &Map<String, Value>, key: &str) -> bool {
    node.get("required").and_then(Value::as_array).is_some_and(|keys| keys.iter().any(|required| required == key))
}

fn description(node: &Map<String, Value>) -> String {
    node.get("description").and_then(Value::as_str).unwrap_or_default().replace('\n', " ")
}

fn render_key(text: &mut String, key: &str, node: &Map<String, Value>, required: bool, in_example: bool) {
    let default = node.get("default").filter(|default| !default.is_null());
    let mut lines = description(node);
    match default {
        Some(default) => drop(write!(lines, " Default: {}.", value(default))),
        None if required => lines.push_str(" Required."),
        None => lines.push_str(" No default."),
    }
    if let Some(words) = words(node) {
        let _ = write!(lines, " One of: {}.", words.join(", "));
    } else if let Some(range) = range_text(node) {
        let _ = write!(lines, " Range: {}.", range.replace('"', ""));
    }
    prose(text, &lines);
    let example = default.or(node.get("x-example")).unwrap_or(&Value::Null);
    let _ = writeln!(text, "{}{key} = {}\n", if required && !in_example { "" } else { "#" }, value(example));
}

/// As TOML; what our schema holds is written alike in JSON, but for floats without a fraction.
fn value(value: &Value) -> String {
    match value {
        Value::Array(items) => format!("[{}]", items.iter().map(self::value).collect::<Vec<_>>().join(", ")),
        Value::Object(keys) => {
            let keys: Vec<String> = keys.iter().map(|(key, value)| format!("{key} = {}", self::value(value))).collect();
            format!("{{ {} }}", keys.join(", "))
        }
        other => other.to_string(),
    }
}

fn prose(text: &mut String, words: &str) {
    let mut column = 0;
    for word in words.split_ascii_whitespace() {
        if column == 0 || column + 1 + word.len() > WIDTH {
            if column != 0 {
                text.push('\n');
            }
            text.push('#');
            column = 1;
        }
        let _ = write!(text, " {word}");
        column += 1 + word.len();
    }
    text.push('\n');
}
