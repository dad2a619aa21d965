//! Who we are to a server that wants to know (RFC 4954).
//!
//! In: a user and a password. Out: what is said of them, by PLAIN (RFC 4616) or, where that is not offered, LOGIN. They stand in no
//! text for people, whoever asks for one.

use crate::limits::CREDENTIAL_SIZE_MAX;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::fmt;

/// A user and the password that the server knows it by.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    user: Box<str>,
    password: Box<str>,
}

/// What is wrong with a text that should hold credentials.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoCredentials {
    /// It is not two lines.
    #[error("it must have two lines: the user, and below it the password")]
    Lines,
    /// One of the two is too long for a server, or nothing.
    #[error("the user and the password must have 1 to {CREDENTIAL_SIZE_MAX} bytes each")]
    Size,
    /// It is no text.
    #[error("it is not UTF-8, or has a NUL in it")]
    Text,
}

impl Credentials {
    /// Of a file with the user in its first line and the password in its second.
    ///
    /// # Errors
    /// What is wrong with it, in words that tell nothing of the two.
    pub fn parse(text: &[u8]) -> Result<Credentials, NoCredentials> {
        let text = str::from_utf8(text).ok().filter(|text| !text.contains('\0')).ok_or(NoCredentials::Text)?;
        let mut lines = text.lines();
        let (Some(user), Some(password), None) = (lines.next(), lines.next(), lines.next()) else {
            return Err(NoCredentials::Lines);
        };
        let fits = |text: &str| (1..=CREDENTIAL_SIZE_MAX).contains(&text.len());
        if !fits(user) || !fits(password) {
            return Err(NoCredentials::Size);
        }
        Ok(Credentials { user: user.into(), password: password.into() })
    }

    /// The initial response of PLAIN.
    pub(super) fn plain(&self) -> String {
        STANDARD.encode(format!("\0{}\0{}", self.user, self.password))
    }

    /// The answers of LOGIN.
    pub(super) fn login(&self) -> [String; 2] {
        [&self.user, &self.password].map(|text| STANDARD.encode(text.as_bytes()))
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_lines_are_a_user_and_a_password() {
        for text in ["us er\np\u{e4}ss word \n", "us er\r\np\u{e4}ss word \r\n", "us er\np\u{e4}ss word "] {
            let credentials = Credentials::parse(text.as_bytes()).expect("good ones");
            assert_eq!((&*credentials.user, &*credentials.password), ("us er", "p\u{e4}ss word "));
        }
        let long = format!("u\n{}", "p".repeat(CREDENTIAL_SIZE_MAX + 1));
        let wrong: [(&[u8], _); 8] = [
            (b"", NoCredentials::Lines),
            (b"user", NoCredentials::Lines),
            (b"user\npassword\nmore", NoCredentials::Lines),
            (b"user\n\n", NoCredentials::Size),
            (b"\npassword\n", NoCredentials::Size),
            (long.as_bytes(), NoCredentials::Size),
            (b"user\npass\0word", NoCredentials::Text),
            (b"user\npass\xff", NoCredentials::Text),
        ];
        for (text, error) in wrong {
            assert_eq!(Credentials::parse(text), Err(error), "{}", text.escape_ascii());
        }
    }

    #[test]
    fn they_are_said_as_the_rfc_has_it_and_shown_to_nobody() {
        // RFC 4616 §4.
        let credentials = Credentials::parse(b"tim\ntanstaaftanstaaf").expect("good ones");
        assert_eq!(credentials.plain(), "AHRpbQB0YW5zdGFhZnRhbnN0YWFm");
        assert_eq!(credentials.login(), ["dGlt", "dGFuc3RhYWZ0YW5zdGFhZg=="]);
        assert_eq!(format!("{credentials:?}"), "Credentials(…)");
    }
}
