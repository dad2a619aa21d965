//! Holds a file against the schema and finds every mistake of form in one go.
//!
//! In: the parsed file, in which each key and value knows its place, and the JSON schema that is derived from the types.
//! Out: problems: unknown and missing keys, wrong types, bad texts, values out of range. Never: anything that needs two
//! keys at once; that is [`super::validate`]. serde alone would stop at the first mistake.
//!
//! Of JSON Schema it knows what `schemars` writes for our types: `$ref`, `properties`, `required`, `items`, `enum`, `const`,
//! `oneOf`, `anyOf` with null, `type`, `format`, `minimum`, `maximum`, `minItems`, `maxItems`, `minLength`, `maxLength`,
//! and our own `x-minimum` and `x-maximum` for texts that have a magnitude.

use super::error::Problem;
use super::value;
use serde_json::{Map, Value};
use std::ops::Range;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// Finds the mistakes of form in `table`.
pub fn walk(schema: &Value, table: &Spanned<DeTable<'_>>) -> Vec<Problem> {
    let mut walk = Walk { schema, problems: Vec::new() };
    walk.table(&resolve(schema, schema), table.get_ref(), 0..0, "the file");
    walk.problems
}

/// `node` with its reference followed and its choice with null taken apart; what stands beside a reference wins.
pub fn resolve(root: &Value, node: &Value) -> Map<String, Value> {
    let mut merged = Map::new();
    let pointer = node.get("$ref").and_then(Value::as_str).and_then(|path| path.strip_prefix('#'));
    if let Some(target) = pointer.and_then(|pointer| root.pointer(pointer)) {
        merged = resolve(root, target);
    }
    let choices = node.get("anyOf").and_then(Value::as_array);
    if let Some(choice) = choices.and_then(|choices| choices.iter().find(|choice| choice["type"] != "null")) {
        merged = resolve(root, choice);
    }
    for (key, value) in node.as_object().into_iter().flatten() {
        if key != "$ref" && key != "anyOf" {
            merged.insert(key.clone(), value.clone());
        }
    }
    merged
}

/// The words that a schema allows, if it is one of words.
pub fn words(node: &Map<String, Value>) -> Option<Vec<&str>> {
    let list = if let Some(list) = node.get("enum") {
        list.as_array()?.iter().filter_map(Value::as_str).collect()
    } else {
        node.get("oneOf")?.as_array()?.iter().filter_map(|choice| choice.get("const")?.as_str()).collect()
    };
    Some(list)
}

struct Walk<'a> {
    schema: &'a Value,
    problems: Vec<Problem>,
}

impl Walk<'_> {
    fn table(&mut self, node: &Map<String, Value>, table: &DeTable<'_>, place: Range<usize>, name: &str) {
        let empty = Map::new();
        let properties = node.get("properties").and_then(Value::as_object).unwrap_or(&empty);
        // A misspelt required key is one mistake, not two.
        let mut misspelt: Vec<&str> = Vec::new();
        for (key, value) in table {
            match properties.get(key.get_ref().as_ref()) {
                Some(property) => {
                    let property = resolve(self.schema, property);
                    self.value(&property, value, key.get_ref());
                }
                None => {
                    misspelt.extend(nearest(key.get_ref(), properties.keys().map(String::as_str)));
                    let problem = self.unknown(key.get_ref(), key.span(), properties, name);
                    self.problems.push(problem);
                }
            }
        }
        for key in node.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str) {
            if table.contains_key(key) || misspelt.contains(&key) {
                continue;
            }
            let property = resolve(self.schema, &properties[key]);
            let message = format!("the key `{key}` is missing: {name} must have it");
            let problem = Problem::new(place.clone(), message);
            let help = match words(&property) {
                Some(words) => format!("write {key} = {}", quoted(&words)),
                None => example(key, &property),
            };
            self.problems.push(problem.help(help));
        }
    }

    fn unknown(&self, key: &str, span: Range<usize>, properties: &Map<String, Value>, name: &str) -> Problem {
        let problem = Problem::new(span, format!("unknown key `{key}`: {name} has no such key"));
        if let Some(near) = nearest(key, properties.keys().map(String::as_str)) {
            return problem.help(format!("did you mean `{near}`?"));
        }
        let sections = self.schema["properties"].as_object().into_iter().flatten();
        for (section, node) in sections {
            let node = resolve(self.schema, node);
            let list = node.get("items").map(|items| resolve(self.schema, items));
            let keys = list.as_ref().unwrap_or(&node).get("properties");
            if keys.and_then(|keys| keys.get(key)).is_some() {
                let header = if list.is_some() { format!("[[{section}]]") } else { format!("[{section}]") };
                return problem.help(format!("`{key}` is a key of {header}"));
            }
        }
        let keys: Vec<String> = properties.keys().map(|key| format!("`{key}`")).collect();
        problem.help(format!("the keys here are {}", keys.join(", ")))
    }

    fn value(&mut self, node: &Map<String, Value>, value: &Spanned<DeValue<'_>>, key: &str) {
        let span = value.span();
        match value.get_ref() {
            DeValue::Table(table) if has_type(node, "object") => {
                self.table(node, table, span, &format!("[{key}]"));
            }
            DeValue::Array(array) if has_type(node, "array") => {
                let items = node.get("items").map(|items| resolve(self.schema, items)).unwrap_or_default();
                for item in array {
                    match item.get_ref() {
                        DeValue::Table(table) if has_type(&items, "object") => {
                            self.table(&items, table, item.span(), &format!("[[{key}]]"));
                        }
                        _ => self.value(&items, item, key),
                    }
                }
                self.count(node, array.len(), span, key);
            }
            DeValue::String(text) if has_type(node, "string") || words(node).is_some() => {
                self.text(node, text, span, key);
            }
            DeValue::Integer(integer) if has_type(node, "integer") || has_type(node, "number") => {
                let digits = integer.as_str().replace('_', "");
                match i64::from_str_radix(&digits, integer.radix()) {
                    Ok(number) => self.range(node, number as f64, span, key),
                    Err(_) => self.problems.push(Problem::new(span, format!("`{key}` is too large a number"))),
                }
            }
            DeValue::Float(float) if has_type(node, "number") => {
                let number: f64 = float.as_str().replace('_', "").parse().unwrap_or(f64::NAN);
                self.range(node, number, span, key);
            }
            DeValue::Boolean(_) if has_type(node, "boolean") => {}
            other => {
                let message = format!("`{key}` is {}, but must be {}", article(other.type_str()), self.expected(node));
                self.problems.push(Problem::new(span, message).help(self.written(node, key)));
            }
        }
    }

    fn text(&mut self, node: &Map<String, Value>, text: &str, span: Range<usize>, key: &str) {
        if let Some(words) = words(node) {
            if !words.contains(&text) {
                let problem = Problem::new(span, format!("`{key}` cannot be \"{text}\""));
                let help = match nearest(text, words.iter().copied()) {
                    Some(near) => format!("did you mean \"{near}\"? It is one of {}", quoted(&words)),
                    None => format!("it is one of {}", quoted(&words)),
                };
                self.problems.push(problem.help(help));
            }
            return;
        }
        let length = text.chars().count() as u64;
        let bound = |name: &str| node.get(name).and_then(Value::as_u64);
        if bound("minLength").is_some_and(|min| length < min) || bound("maxLength").is_some_and(|max| length > max) {
            let (min, max) = (bound("minLength").unwrap_or(0), bound("maxLength").unwrap_or(u64::MAX));
            self.problems.push(Problem::new(span, format!("`{key}` must have {min} to {max} characters")));
            return;
        }
        let Some(format) = node.get("format").and_then(Value::as_str) else { return };
        if let Err(error) = value::check(format, text) {
            self.problems.push(Problem::new(span, format!("`{key}`: \"{text}\" {error}")));
            return;
        }
        let magnitude = value::magnitude(format, text);
        let bound = |name: &str| {
            let text = node.get(name)?.as_str()?;
            Some((text.to_owned(), value::magnitude(format, text)))
        };
        if let Some((min, least)) = bound("x-minimum")
            && magnitude < least
        {
            self.out_of_range(node, format!("\"{text}\" is less than \"{min}\""), span.clone(), key);
        }
        if let Some((max, most)) = bound("x-maximum")
            && magnitude > most
        {
            self.out_of_range(node, format!("\"{text}\" is more than \"{max}\""), span, key);
        }
    }

    fn range(&mut self, node: &Map<String, Value>, number: f64, span: Range<usize>, key: &str) {
        // Written so that NaN, which TOML has, is out of every range.
        let inside = |bound: Option<f64>, good: fn(f64, f64) -> bool| bound.is_none_or(|bound| good(number, bound));
        let min = node.get("minimum").and_then(Value::as_f64);
        let max = node.get("maximum").and_then(Value::as_f64);
        if !inside(min, |number, min| number >= min) || !inside(max, |number, max| number <= max) || number.is_nan() {
            self.out_of_range(node, format!("{number} is out of range"), span, key);
        }
    }

    fn out_of_range(&mut self, node: &Map<String, Value>, what: String, span: Range<usize>, key: &str) {
        let problem = Problem::new(span, format!("`{key}`: {what}"));
        let help = range_text(node).map(|range| format!("it goes from {range}"));
        self.problems.push(Problem { help, ..problem });
    }

    fn count(&mut self, node: &Map<String, Value>, count: usize, span: Range<usize>, key: &str) {
        let bound = |name: &str| node.get(name).and_then(Value::as_u64);
        if bound("minItems").is_some_and(|min| (count as u64) < min) {
            self.problems.push(Problem::new(span, format!("`{key}` is empty")));
        } else if let Some(max) = bound("maxItems").filter(|max| count as u64 > *max) {
            self.problems.push(Problem::new(span, format!("`{key}` has {count} entries, at most {max} are possible")));
        }
    }

    fn expected(&self, node: &Map<String, Value>) -> String {
        if let Some(words) = words(node) {
            return format!("one of {}", quoted(&words));
        }
        let kind = match node.get("format").and_then(Value::as_str) {
            Some("duration") => "a duration in quotes, such as \"10s\"",
            Some("size") => "a size in quotes, such as \"50MB\"",
            Some("rate") => "a rate in quotes, such as \"600/m\"",
            Some("queues") => "\"auto\" or a list of queue numbers",
            _ if has_type(node, "object") => "a section",
            _ if has_type(node, "array") && self.holds_sections(node) => "a list of sections",
            _ if has_type(node, "array") => "a list in brackets",
            _ if has_type(node, "integer") => "a whole number",
            _ if has_type(node, "number") => "a number",
            _ if has_type(node, "boolean") => "true or false",
            _ => "a text in quotes",
        };
        kind.to_owned()
    }

    fn holds_sections(&self, node: &Map<String, Value>) -> bool {
        node.get("items").is_some_and(|items| has_type(&resolve(self.schema, items), "object"))
    }

    fn written(&self, node: &Map<String, Value>, key: &str) -> String {
        if has_type(node, "object") {
            format!("write [{key}]")
        } else if self.holds_sections(node) {
            format!("write [[{key}]], once for each")
        } else {
            example(key, node)
        }
    }
}

/// "1 to 10", from whatever bounds the schema has.
pub fn range_text(node: &Map<String, Value>) -> Option<String> {
    let bound = |names: [&str; 2]| {
        names.iter().find_map(|name| node.get(*name)).map(|bound| match bound.as_f64() {
            Some(number) => number.to_string(),
            None => bound.to_string(),
        })
    };
    let (min, max) = (bound(["minimum", "x-minimum"])?, bound(["maximum", "x-maximum"])?);
    Some(format!("{min} to {max}"))
}

fn example(key: &str, node: &Map<String, Value>) -> String {
    let value = node.get("x-example").or_else(|| node.get("default").filter(|default| !default.is_null()));
    match value {
        Some(value) => format!("for example {key} = {value}"),
        None => node.get("description").and_then(Value::as_str).unwrap_or("see the reference").replace('\n', " "),
    }
}

fn has_type(node: &Map<String, Value>, name: &str) -> bool {
    match node.get("type") {
        Some(Value::String(kind)) => kind == name,
        Some(Value::Array(kinds)) => kinds.iter().any(|kind| kind == name),
        _ => false,
    }
}

fn quoted(words: &[&str]) -> String {
    let words: Vec<String> = words.iter().map(|word| format!("\"{word}\"")).collect();
    match words.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} or {last}", rest.join(", ")),
        _ => words.concat(),
    }
}

fn article(kind: &str) -> String {
    let article = if kind.starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" };
    format!("{article} {kind}")
}

/// The candidate that someone who wrote `word` most likely meant.
fn nearest<'a>(word: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    candidates
        .map(|candidate| (strsim::damerau_levenshtein(word, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= (candidate.len().max(word.len()) / 3).max(1))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}
