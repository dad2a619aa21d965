//! `rohrpost pair key`: a key for the links of this box, and the fingerprint that the partner has to know.
//!
//! In: a directory. Out: `pair.key` and `pair.crt` in it, and the fingerprint on standard output. Exit code 1, and nothing
//! changed, if one of the two is there already; the message then says the fingerprint of what is there.

use crate::env::say;
use crate::tls::{Fingerprint, KeyError, OwnKey};
use clap::Args;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Where the configuration is, too.
const DIRECTORY_DEFAULT: &str = "/etc/rohrpost";

const KEY_FILE: &str = "pair.key";
const CERTIFICATE_FILE: &str = "pair.crt";

#[derive(Clone, Debug, Args)]
pub struct KeyArgs {
    /// Where pair.key and pair.crt are written.
    #[arg(long, value_name = "DIR", default_value = DIRECTORY_DEFAULT)]
    pub directory: PathBuf,
}

/// The command.
pub fn key(args: &KeyArgs) -> ExitCode {
    let told = match make(&args.directory) {
        Ok(fingerprint) => tell(&args.directory, fingerprint, &mut io::stdout().lock()),
        Err(error) => {
            say(format_args!("{error}"));
            return ExitCode::FAILURE;
        }
    };
    if told.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn make(directory: &Path) -> Result<Fingerprint, KeyError> {
    OwnKey::make(&directory.join(CERTIFICATE_FILE), &directory.join(KEY_FILE))
}

fn tell(directory: &Path, fingerprint: Fingerprint, out: &mut dyn Write) -> io::Result<()> {
    let [key, certificate] = [KEY_FILE, CERTIFICATE_FILE].map(|file| directory.join(file));
    writeln!(
        out,
        "{}: secret; the user that rohrpost runs as must be able to read it, and nobody else",
        key.display()
    )?;
    writeln!(out, "{}: its certificate, no secret", certificate.display())?;
    writeln!(out, "The fingerprint, for [pair] in the configuration of the partner:")?;
    writeln!(out, "{fingerprint}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed_last_is_what_the_partner_has_to_know() {
        let folder = tempfile::tempdir().unwrap();
        let fingerprint = make(folder.path()).unwrap();
        let mut out = Vec::new();
        tell(folder.path(), fingerprint, &mut out).unwrap();
        let out = String::from_utf8(out).unwrap();
        assert_eq!(out.lines().last().unwrap().parse(), Ok(fingerprint));
        let own = OwnKey::load(&folder.path().join(CERTIFICATE_FILE), &folder.path().join(KEY_FILE)).unwrap();
        assert_eq!(own.fingerprint(), fingerprint);
        assert!(
            matches!(make(folder.path()), Err(KeyError::Exists { fingerprint: Some(known), .. }) if known == fingerprint)
        );
    }
}
