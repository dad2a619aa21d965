//! `rohrpost trace`: what became of a message, or of the mail of an address, as the event log has it.
//!
//! In: a queue id or an address, and the folder of `[log]`. Out: the events of each message, one below the other, or as they stand in
//! the files. Reads the files only: the appliance need not run, and the folder may have come from elsewhere.

use super::TraceArgs;
use super::text::plain;
use crate::config;
use crate::control::event_files::{COMPRESSED, CURRENT, rotated};
use crate::env::say;
use crate::limits::{EVENT_LINE_SIZE_MAX, TRACE_LINES_MAX, TRACE_MESSAGES_MAX};
use crate::spool::MessageId;
use jiff::Timestamp;
use serde_json::Value;
use std::collections::{BTreeMap, HashSet};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read as _, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::str::FromStr;

/// What is looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sought {
    /// A message.
    Message(MessageId),
    /// All mail from or to an address, in lower case.
    Address(String),
}

impl FromStr for Sought {
    type Err = String;

    fn from_str(text: &str) -> Result<Sought, String> {
        let text = text.trim_start_matches('<').trim_end_matches('>');
        if text.contains('@') {
            return Ok(Sought::Address(text.to_ascii_lowercase()));
        }
        text.parse().map(Sought::Message).map_err(|_| {
            "neither a queue id, such as 000000000040E (the client was told it behind 250), nor an address with an @".to_owned()
        })
    }
}

/// Why nothing is shown.
#[derive(Debug, thiserror::Error)]
enum TraceError {
    #[error(
        "{config} keeps no events in files: set [log] directory, or name a folder with --directory; what went to the journal is \
         found by `journalctl -u rohrpost -o cat | grep ID`"
    )]
    NotKept { config: PathBuf },
    #[error("{path}: {error}")]
    Unreadable { path: PathBuf, error: io::Error },
    #[error("nothing of {sought} in {directory}{within}")]
    Nothing { sought: String, directory: PathBuf, within: String },
    #[error("more than {TRACE_MESSAGES_MAX} messages are from or to that address: say --since with a shorter time")]
    Many,
    #[error(
        "more than {TRACE_LINES_MAX} events: say --since with a shorter time, or --json, which shows them as they come"
    )]
    Long,
    #[error("{0}")]
    Output(#[from] io::Error),
}

/// The command: to standard output, errors to standard error.
pub fn trace(args: &TraceArgs) -> ExitCode {
    let directory = match &args.directory {
        Some(directory) => directory.clone(),
        None => match config::load(&args.config.config) {
            Ok(config) => match config.log.directory {
                Some(directory) => directory,
                None => return failed(&TraceError::NotKept { config: args.config.config.clone() }),
            },
            Err(error) => return super::check::refuse(&super::check::show(&error)),
        },
    };
    let mut out = io::BufWriter::new(io::stdout().lock());
    match show(&directory, args, Timestamp::now(), &mut out).and_then(|()| Ok(out.flush()?)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(TraceError::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => failed(&error),
    }
}

fn failed(error: &TraceError) -> ExitCode {
    say(format_args!("rohrpost: {error}"));
    ExitCode::FAILURE
}

fn show(directory: &Path, args: &TraceArgs, now: Timestamp, out: &mut dyn Write) -> Result<(), TraceError> {
    // The times of lines and the names of files compare as texts do.
    let since =
        args.since.map(|since| now - jiff::SignedDuration::try_from(*since).unwrap_or(jiff::SignedDuration::MAX));
    let line_since = since.map_or_else(String::new, |since| format!("{since:.6}"));
    let file_since = since.map_or_else(String::new, |since| since.strftime("events-%Y%m%dT%H%M%S").to_string());
    let unreadable = |error| TraceError::Unreadable { path: directory.to_owned(), error };
    let mut files = rotated(directory).map_err(unreadable)?;
    files.retain(|file| file.file_name().is_some_and(|name| *name.to_string_lossy() >= *file_since));
    files.push(directory.join(CURRENT));

    let mut messages = HashSet::new();
    match &args.sought {
        Sought::Message(id) => drop(messages.insert(id.to_string())),
        Sought::Address(address) => each_line(&files, &mut |line| {
            if line_time(line) >= &*line_since
                && let Some(id) = line_id(line)
                && names(line, address)
                && messages.insert(id.to_owned())
                && messages.len() > TRACE_MESSAGES_MAX
            {
                return Err(TraceError::Many);
            }
            Ok(())
        })?,
    }
    // Messages in the order in which they were met.
    let mut order: BTreeMap<String, usize> = BTreeMap::new();
    let mut stories: Vec<Vec<String>> = Vec::new();
    let (mut count, json) = (0, args.json);
    each_line(&files, &mut |line| {
        let Some(id) = line_id(line).filter(|id| messages.contains(*id) && line_time(line) >= &*line_since) else {
            return Ok(());
        };
        count += 1;
        if json {
            return Ok(writeln!(out, "{line}")?);
        }
        if count > TRACE_LINES_MAX {
            return Err(TraceError::Long);
        }
        let place = *order.entry(id.to_owned()).or_insert(stories.len());
        if place == stories.len() {
            stories.push(Vec::new());
        }
        stories[place].push(line.to_owned());
        Ok(())
    })?;
    if count == 0 {
        let within = args.since.map_or_else(String::new, |since| format!(" within {since}"));
        let sought = match &args.sought {
            Sought::Message(id) => id.to_string(),
            Sought::Address(address) => address.clone(),
        };
        return Err(TraceError::Nothing { sought, directory: directory.to_owned(), within });
    }
    for story in &stories {
        write_story(story, out)?;
    }
    Ok(())
}

/// Gives every line of these files, in their order. What is no text, or no line that we have written, is passed over.
fn each_line(files: &[PathBuf], give: &mut dyn FnMut(&str) -> Result<(), TraceError>) -> Result<(), TraceError> {
    for path in files {
        let unreadable = |error| TraceError::Unreadable { path: path.clone(), error };
        // One that is just being compressed is there twice, or has gone in favour of the other one.
        let compressed = path.with_extension("jsonl.zst");
        let path = if compressed.exists() { &compressed } else { path };
        let file = match File::open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            file => file.map_err(unreadable)?,
        };
        let mut reader: Box<dyn BufRead> = if path.to_string_lossy().ends_with(COMPRESSED) {
            Box::new(BufReader::new(zstd::Decoder::new(file).map_err(unreadable)?))
        } else {
            Box::new(BufReader::new(file))
        };
        let mut line = Vec::new();
        loop {
            line.clear();
            let read = reader.by_ref().take(EVENT_LINE_SIZE_MAX).read_until(b'\n', &mut line).map_err(unreadable)?;
            if read == 0 {
                break;
            }
            if let Ok(line) = std::str::from_utf8(&line) {
                give(line.trim_end())?;
            }
        }
    }
    Ok(())
}

/// The value of a key that is written by us: what strangers said has its quotes escaped.
fn written<'a>(line: &'a str, key: &str) -> Option<&'a str> {
    let (_, rest) = line.split_once(key)?;
    rest.split_once('"').map(|(value, _)| value)
}

fn line_id(line: &str) -> Option<&str> {
    written(line, "\"id\":\"")
}

fn line_time(line: &str) -> &str {
    written(line, "\"time\":\"").unwrap_or_default()
}

/// Whether it is of mail from or to this address.
fn names(line: &str, address: &str) -> bool {
    if !line.to_ascii_lowercase().contains(address) {
        return false;
    }
    let Ok(value) = serde_json::from_str::<Value>(line) else { return false };
    let is = |value: &Value| value.as_str().is_some_and(|text| text.eq_ignore_ascii_case(address));
    let among = value["recipients"].as_array().is_some_and(|list| list.iter().any(is));
    is(&value["sender"]) || is(&value["recipient"]) || among
}

/// What has a place of its own in the line of an event.
const TOLD: [&str; 5] = ["id", "time", "event", "recipient", "reply"];

/// One message: what is known of it, and each event in a line.
fn write_story(lines: &[String], out: &mut dyn Write) -> io::Result<()> {
    for (place, line) in lines.iter().enumerate() {
        let Ok(Value::Object(event)) = serde_json::from_str::<Value>(line) else { continue };
        let text = |key: &str| event.get(key).map_or_else(String::new, words);
        if place == 0 {
            writeln!(out, "{}", text("id"))?;
        }
        let time = text("time");
        let time = time.get(..23).unwrap_or(&time).replace('T', " ");
        let mut told = format!("{:<17}", text("event"));
        if event.contains_key("recipient") {
            told += &format!(" {}", text("recipient"));
        }
        for (key, value) in event.iter().filter(|(key, _)| !TOLD.contains(&key.as_str())) {
            told += &format!(" {key}={}", words(value));
        }
        if event.contains_key("reply") {
            told += &format!(": {}", text("reply"));
        }
        writeln!(out, "  {time}  {}", told.trim_end())?;
    }
    Ok(())
}

fn words(value: &Value) -> String {
    match value {
        Value::String(text) if text.is_empty() => "<>".to_owned(),
        Value::String(text) => plain(text),
        Value::Array(list) => list.iter().map(words).collect::<Vec<_>>().join(","),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    const LOG: &str = r#"{"time":"2026-01-01T10:00:00.000000Z","event":"accepted","id":"000000000040E","client":"192.0.2.9","sender":"A@Example.net","recipients_count":2,"recipients":["b@example.org","c@example.org"],"size_bytes":900}
{"time":"2026-01-01T10:00:00.100000Z","event":"accepted","id":"000000000040F","client":"192.0.2.9","sender":"","recipients_count":101,"recipients":["d@example.org"],"size_bytes":901}
{"time":"2026-01-01T10:00:00.100001Z","event":"queued","id":"000000000040F","recipients":["E@example.org"]}
{"time":"2026-01-01T10:00:01.000000Z","event":"delivered","id":"000000000040E","recipient":"b@example.org","destination":"mx","reply":"250 ok \"id\":\"000000000040F\" \u001b[2J","delay_ms":6}
{"time":"2026-01-01T11:00:01.000000Z","event":"deferred","id":"000000000040E","recipient":"c@example.org","reply":"450 a@example.net later","attempts":1}
torn {"time":
{"time":"2026-01-01T11:00:02.000000Z","event":"deferred","id":"000000000040F","recipient":"d@example.org","reply":"450 not b@example.org","attempts":1}
"#;

    fn run(arguments: &[&str]) -> Result<String, String> {
        let folder = tempfile::tempdir().unwrap();
        let mut lines = LOG.split_inclusive('\n');
        let first: String = lines.by_ref().take(4).collect();
        let packed = zstd::encode_all(first.as_bytes(), 3).unwrap();
        std::fs::write(folder.path().join("events-20260101T103000.000000Z.jsonl.zst"), packed).unwrap();
        std::fs::write(folder.path().join(CURRENT), lines.collect::<String>()).unwrap();
        let directory = folder.path().to_string_lossy().into_owned();
        let all = ["rohrpost", "trace", "--directory", &directory].into_iter().chain(arguments.iter().copied());
        let super::super::Command::Trace(args) =
            super::super::Cli::try_parse_from(all).map_err(|error| error.to_string())?.command
        else {
            panic!("another command")
        };
        let mut out = Vec::new();
        show(folder.path(), &args, "2026-01-01T12:00:00Z".parse().unwrap(), &mut out)
            .map_err(|error| error.to_string())?;
        Ok(String::from_utf8(out).unwrap())
    }

    #[test]
    fn a_message_is_told_from_its_beginning_to_its_end() {
        let told = run(&["000000000040e"]).unwrap();
        assert_eq!(
            told,
            "000000000040E\n\
             \x20 2026-01-01 10:00:00.000  accepted          client=192.0.2.9 sender=A@Example.net recipients_count=2 recipients=b@example.org,c@example.org size_bytes=900\n\
             \x20 2026-01-01 10:00:01.000  delivered         b@example.org destination=mx delay_ms=6: 250 ok \"id\":\"000000000040F\" \\u{1b}[2J\n\
             \x20 2026-01-01 11:00:01.000  deferred          c@example.org attempts=1: 450 a@example.net later\n"
        );
    }

    #[test]
    fn mail_from_and_to_an_address_is_found_and_what_only_speaks_of_it_is_not() {
        for address in ["a@example.net", "<B@Example.org>", "c@example.org"] {
            let told = run(&["--json", address]).unwrap();
            assert_eq!(told.lines().count(), 3, "{address}: {told}");
            assert!(told.lines().all(|line| line.contains("\"id\":\"000000000040E\"")), "{told}");
        }
        // Who has not been tried yet is found, too.
        let waiting = run(&["--json", "e@example.org"]).unwrap();
        assert!(waiting.lines().any(|line| line.contains("accepted")), "{waiting}");
        let recent = run(&["--json", "--since", "1h", "c@example.org"]).unwrap();
        assert_eq!(recent.lines().count(), 1, "{recent}");
    }

    #[test]
    fn what_is_not_there_or_cannot_be_is_said() {
        assert!(run(&["0000000000400"]).unwrap_err().contains("nothing of 0000000000400"));
        assert!(run(&["--since", "1m", "c@example.org"]).unwrap_err().contains("within 1m"));
        assert!(run(&["hello"]).unwrap_err().contains("neither a queue id"));
    }
}
