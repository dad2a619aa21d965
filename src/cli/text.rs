//! How commands write numbers, times and what strangers said.

use crate::control::ClientError;
use crate::env::{WallTime, say};
use crate::event::rfc3339;
use serde::Serialize;
use std::fmt::Write as _;
use std::io::{self, ErrorKind, Write};
use std::process::ExitCode;
use std::time::Duration;

/// What a stranger wrote, fit for a terminal: control characters, among them those that would move the cursor or
/// rename the window, are shown and not sent.
pub(super) fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        // Directional overrides would let an address look like another one.
        if character.is_control()
            || matches!(character, '\u{200e}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
        {
            let _ = write!(out, "{}", character.escape_unicode());
        } else {
            out.push(character);
        }
    }
    out
}

/// A size in three digits.
pub(super) fn size(bytes: u64) -> String {
    let mut value = bytes as f64;
    for unit in ["B", "kB", "MB", "GB"] {
        if value < 999.5 {
            return if unit == "B" || value >= 99.5 {
                format!("{value:.0} {unit}")
            } else {
                format!("{value:.1} {unit}")
            };
        }
        value /= 1000.0;
    }
    format!("{value:.1} TB")
}

/// So many messages.
pub(super) fn messages(count: u64) -> String {
    if count == 1 { "1 message".into() } else { format!("{count} messages") }
}

/// A span in its two largest units.
pub(super) fn span(time: Duration) -> String {
    let seconds = time.as_secs();
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes} min {} s", seconds % 60),
        (0, _, _) => format!("{hours} h {minutes} min"),
        _ => format!("{days} d {hours} h"),
    }
}

/// Microseconds in the unit that suits them.
pub(super) fn micros(micros: u64) -> String {
    match micros {
        0..10_000 => format!("{micros} µs"),
        10_000..10_000_000 => format!("{} ms", micros / 1000),
        _ => format!("{} s", micros / 1_000_000),
    }
}

/// A point in time to the second, UTC.
pub(super) fn time(time: WallTime) -> String {
    rfc3339::text(time).get(..19).unwrap_or_default().replace('T', " ")
}

/// One object, as `--json` prints it.
pub(super) fn write_json(object: &impl Serialize, out: &mut dyn Write) -> io::Result<()> {
    serde_json::to_writer_pretty(&mut *out, object)?;
    writeln!(out)
}

/// What a command has to say, on standard output.
pub(super) fn print(text: &str) -> ExitCode {
    let mut out = io::stdout().lock();
    exit_code(out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(ClientError::Output))
}

/// The exit code of a command, its error said on standard error. A reader that has seen enough (`| head`) is none.
pub(super) fn exit_code(result: Result<(), ClientError>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(ClientError::Output(error)) if error.kind() == ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            say(format_args!("rohrpost: {error}"));
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_stranger_writes_to_the_terminal() {
        assert_eq!(plain("a\u{1b}[2J\r\nö"), "a\\u{1b}[2J\\u{d}\\u{a}ö");
        assert_eq!(plain("\u{202e}moc"), "\\u{202e}moc");
    }

    #[test]
    fn numbers_are_short() {
        assert_eq!(size(0), "0 B");
        assert_eq!(size(999), "999 B");
        assert_eq!(size(1000), "1.0 kB");
        assert_eq!(size(10_240), "10.2 kB");
        assert_eq!(size(999_600), "1.0 MB");
        assert_eq!(size(50_000_000), "50.0 MB");
        assert_eq!(span(Duration::from_secs(59)), "59 s");
        assert_eq!(span(Duration::from_secs(61)), "1 min 1 s");
        assert_eq!(span(Duration::from_secs(90_000)), "1 d 1 h");
        assert_eq!(micros(132), "132 µs");
        assert_eq!(micros(25_000), "25 ms");
        assert_eq!(time(WallTime::from_micros(1_795_493_951_250_000)), "2026-11-24 04:19:11");
    }
}
