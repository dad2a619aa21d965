//! What a server offers in its answer to EHLO (RFC 5321 §4.1.1.1).
//!
//! In: lines of that answer. Out: the extensions that we make use of. Unknown ones are passed over.

/// The extensions that matter to us.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extensions {
    /// RFC 2920.
    pub pipelining: bool,
    /// RFC 1870: the largest message, bytes; `Some(0)` where the server names no limit, `None` without SIZE.
    pub size: Option<u64>,
    /// RFC 6152.
    pub eight_bit_mime: bool,
    /// RFC 6531.
    pub smtputf8: bool,
    /// RFC 3030.
    pub chunking: bool,
    /// RFC 3030.
    pub binary_mime: bool,
    /// RFC 3461.
    pub dsn: bool,
    /// RFC 3207.
    pub starttls: bool,
    /// RFC 8689.
    pub requiretls: bool,
    /// RFC 6710.
    pub mt_priority: bool,
    /// RFC 4954, with PLAIN (RFC 4616).
    pub auth_plain: bool,
    /// RFC 4954, with LOGIN, which no RFC describes.
    pub auth_login: bool,
    /// RFC 9422, `RCPTMAX`: recipients of one transaction; `None` without a limit.
    pub recipients_max: Option<u32>,
    /// RFC 9422, `MAILMAX`: transactions of one session; `None` without a limit.
    pub transactions_max: Option<u32>,
}

impl Extensions {
    /// Takes note of one line (without its code) after the first.
    pub(crate) fn note(&mut self, line: &[u8]) {
        let Ok(line) = std::str::from_utf8(line) else { return };
        let mut words = line.split_ascii_whitespace();
        let keyword = words.next().unwrap_or_default();
        let is = |name: &str| keyword.eq_ignore_ascii_case(name);
        if is("PIPELINING") {
            self.pipelining = true;
        } else if is("SIZE") {
            self.size = Some(words.next().and_then(|limit| limit.parse().ok()).unwrap_or(0));
        } else if is("8BITMIME") {
            self.eight_bit_mime = true;
        } else if is("SMTPUTF8") {
            self.smtputf8 = true;
        } else if is("CHUNKING") {
            self.chunking = true;
        } else if is("BINARYMIME") {
            self.binary_mime = true;
        } else if is("DSN") {
            self.dsn = true;
        } else if is("STARTTLS") {
            self.starttls = true;
        } else if is("REQUIRETLS") {
            self.requiretls = true;
        } else if is("MT-PRIORITY") {
            self.mt_priority = true;
        } else if is("AUTH") {
            for mechanism in words {
                self.auth_plain |= mechanism.eq_ignore_ascii_case("PLAIN");
                self.auth_login |= mechanism.eq_ignore_ascii_case("LOGIN");
            }
        } else if is("LIMITS") {
            words.for_each(|limit| self.note_limit(limit));
        }
    }

    fn note_limit(&mut self, limit: &str) {
        let Some((name, value)) = limit.split_once('=') else { return };
        // RFC 9422 §4: a limit of nothing makes no sense and is passed over, like one that is no number.
        let Some(value) = value.parse().ok().filter(|value| *value > 0) else { return };
        if name.eq_ignore_ascii_case("RCPTMAX") {
            self.recipients_max = Some(value);
        } else if name.eq_ignore_ascii_case("MAILMAX") {
            self.transactions_max = Some(value);
        }
    }
}
