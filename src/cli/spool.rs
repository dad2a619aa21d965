//! `rohrpost check --spool`: what is damaged in a spool that no appliance has open.
//!
//! In: the spool's directory, or that of one log. Out: one line for each log and each damage on standard output; exit
//! code 0 if all is as it was written, 1 if something is damaged or could not be read. Never: a change to a file.

use super::text::{messages, size};
use crate::env::disk::ReadOnlyDisk;
use crate::spool::{Examination, Log};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// The command: to standard output.
pub fn check_spool(directory: &Path) -> ExitCode {
    match write_check(directory, &mut io::stdout().lock()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => super::check::refuse(&format!("rohrpost: {}: {error}\n", directory.display())),
    }
}

/// Verifies every log of the spool in `directory`. Whether all is as it was written.
pub fn write_check(directory: &Path, out: &mut dyn Write) -> io::Result<bool> {
    let mut sound = true;
    for log in logs(directory)? {
        let name = log.file_name().unwrap_or(log.as_os_str()).display();
        let examined = ReadOnlyDisk::open(&log)
            .map_err(|error| error.to_string())
            .and_then(|disk| Log::examine(disk).map_err(|error| error.to_string()));
        match examined {
            Ok(examination) => {
                sound &= is_sound(&examination);
                write_examination(&name.to_string(), &examination, out)?;
            }
            Err(reason) => {
                sound = false;
                writeln!(out, "{name}: not checked: {reason}")?;
            }
        }
    }
    Ok(sound)
}

/// The directories of logs: those in a spool, or the one that is named.
fn logs(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let (mut logs, mut is_log) = (Vec::new(), false);
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        is_log |= name.starts_with("segment-");
        if name.starts_with("log-") && entry.path().is_dir() {
            logs.push(entry.path());
        }
    }
    if is_log {
        return Ok(vec![directory.to_owned()]);
    }
    if logs.is_empty() {
        return Err(io::Error::new(io::ErrorKind::NotFound, "there is no log here: name the directory of [spool]"));
    }
    logs.sort();
    Ok(logs)
}

fn is_sound(examination: &Examination) -> bool {
    examination.recovery.damages.count == 0 && examination.damaged.is_empty()
}

fn write_examination(name: &str, examination: &Examination, out: &mut dyn Write) -> io::Result<()> {
    let Examination { recovery, content_bytes, damaged, in_doubt } = examination;
    let damages = &recovery.damages;
    write!(
        out,
        "{name}: {}, {}, {} batches",
        messages(recovery.messages as u64),
        size(*content_bytes),
        recovery.batches
    )?;
    if let Some(cut) = recovery.cut {
        write!(out, ", {} of a crash behind them that were never acknowledged", cut.batches)?;
    }
    if *in_doubt > 0 {
        write!(out, ", {in_doubt} recipients in doubt")?;
    }
    if is_sound(examination) {
        return writeln!(out, ", sound");
    }
    writeln!(
        out,
        ", {} damages: {} of content or records, {} not deliverable",
        damages.count,
        size(damages.bytes),
        messages(damaged.len() as u64)
    )?;
    for damage in &damages.list {
        writeln!(out, "  {damage}")?;
    }
    let others = damages.count.saturating_sub(damages.list.len() as u64);
    if others > 0 {
        writeln!(out, "  and {others} more")?;
    }
    for id in damaged {
        writeln!(out, "  message {id} is in the queue and not deliverable")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::disk::RealDisk;
    use crate::env::{Clock, SystemClock};
    use crate::smtp::{Envelope, Recipient};
    use crate::spool::{LogEvent, MessageId, Settings};
    use std::collections::BTreeMap;
    use std::os::unix::fs::FileExt;

    fn settings() -> Settings {
        Settings {
            log: 7,
            segment_size: 128 * 1024,
            segments_max: 8,
            batch_size_max: 32 * 1024,
            batches_in_flight_max: 2,
            message_size_max: 1_000_000,
            drafts_max: 1000,
            memory_max: u64::MAX,
            free_bytes_min: 0,
            epoch: 3,
        }
    }

    /// A log with one message, which it goes on holding.
    fn open_log(directory: &Path) -> (Log<RealDisk>, MessageId) {
        let clock = SystemClock::new();
        let (mut log, _) = Log::open(RealDisk::open(directory).unwrap(), settings(), clock.now()).unwrap();
        let draft = log.begin().unwrap();
        assert_eq!(log.content(draft, &[b'x'; 3000]), 3000);
        let recipients = vec![Recipient { address: "b@example.org".into(), notify: None, original: None }];
        log.finish(draft, Envelope { recipients, ..Envelope::default() }, clock.now());
        let mut events = Vec::new();
        while !events.contains(&LogEvent::Durable { draft }) {
            log.poll(clock.now(), &mut events);
        }
        (log, draft.id)
    }

    fn close(mut log: Log<RealDisk>) {
        let clock = SystemClock::new();
        log.shutdown(clock.now());
        while !log.idle() {
            log.poll(clock.now(), &mut Vec::new());
        }
    }

    fn check(directory: &Path) -> (bool, String) {
        let mut out = Vec::new();
        let sound = write_check(directory, &mut out).unwrap();
        (sound, String::from_utf8(out).unwrap())
    }

    /// Everything in the directory, byte by byte.
    fn image(directory: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
        let files = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
        files.map(|path| (path.clone(), std::fs::read(&path).unwrap())).collect()
    }

    #[test]
    fn a_check_names_what_is_damaged_and_changes_nothing() {
        let spool = tempfile::tempdir().unwrap();
        let directory = spool.path().join("log-07");
        let (log, id) = open_log(&directory);
        let (sound, text) = check(spool.path());
        assert!(!sound && text.contains("in use by another process"), "{text}");
        close(log);
        std::fs::write(directory.join("segment-000009.new"), b"unfinished").unwrap();
        assert_eq!(check(spool.path()), (true, "log-07: 1 message, 3.0 kB, 2 batches, sound\n".to_owned()));

        let segment = directory.join("segment-000001");
        let file = std::fs::OpenOptions::new().write(true).open(&segment).unwrap();
        file.write_all_at(b"y", 1000).unwrap();
        drop(file);
        let before = image(&directory);
        let (sound, text) = check(&directory);
        assert!(!sound);
        for part in [
            format!("content of {id} is damaged"),
            "segment 1 (use 1), bytes 152 to 3151".to_owned(),
            format!("message {id} is in the queue and not deliverable"),
        ] {
            assert!(text.contains(&part), "{part}\n{text}");
        }
        assert!(image(&directory) == before, "a check changed something");
    }

    #[test]
    fn a_directory_without_logs_is_refused() {
        let empty = tempfile::tempdir().unwrap();
        assert!(write_check(empty.path(), &mut Vec::new()).is_err());
    }
}
