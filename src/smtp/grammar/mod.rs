//! The grammar of commands (RFC 5321 §4.1).
//!
//! In: one command line without its CRLF. Out: a verb and its typed, borrowed arguments, or a [`SyntaxError`]
//! that says which rule was broken. Nothing here knows about the order of commands or about policy, nothing
//! allocates but what [`unitext`] gives back, and no input makes it panic.

mod address;
mod parameters;
#[cfg(test)]
mod tests;
pub mod unitext;

pub use address::{ends_line, is_domain, is_ehlo_name, parse_mailbox};
pub use parameters::{MailParameters, Offer, RecipientParameters};

use address::parse_path;

/// Why a command was not understood. Each is answered by one reply ([`crate::smtp::Reply::syntax`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SyntaxError {
    /// The path is missing, has no brackets, or is no mailbox.
    #[error("the address is not a mailbox in angle brackets")]
    Address,
    /// A local part, domain or path is longer than RFC 5321 §4.5.3.1 allows.
    #[error("the address is too long")]
    AddressTooLong,
    /// The address is not ASCII and SMTPUTF8 was not given (RFC 6531 §3.5).
    #[error("the address needs SMTPUTF8")]
    NeedsSmtpUtf8,
    /// A parameter that we do not offer, or any at all after HELO.
    #[error("a parameter is not recognized")]
    UnknownParameter,
    /// A known parameter with a bad value, or given twice.
    #[error("a parameter has a bad value")]
    BadParameter,
    /// An argument is missing, malformed, or not allowed.
    #[error("the arguments are malformed")]
    Arguments,
}

/// The first word of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verb {
    /// `EHLO`
    Ehlo,
    /// `HELO`
    Helo,
    /// `MAIL`
    Mail,
    /// `RCPT`
    Rcpt,
    /// `DATA`
    Data,
    /// `BDAT` (RFC 3030)
    Bdat,
    /// `RSET`
    Rset,
    /// `NOOP`
    Noop,
    /// `VRFY`
    Vrfy,
    /// `HELP`
    Help,
    /// `QUIT`
    Quit,
    /// `STARTTLS` (RFC 3207)
    StartTls,
    /// A verb that exists and that we do not offer: `EXPN`, `AUTH`, `TURN`, `ETRN` and the like.
    NotOffered,
    /// A request of HTTP. A browser was talked into sending mail: it must not get a second line in.
    Http,
    /// Anything else.
    Unknown,
}

impl Verb {
    /// Splits a line into its verb and what follows, without the space between and without trailing white space,
    /// which a receiver should tolerate (RFC 5321 §4.1.1).
    pub fn split(line: &[u8]) -> (Verb, &[u8]) {
        let line = line.trim_ascii_end();
        let end = line.iter().position(|byte| matches!(byte, b' ' | b'\t')).unwrap_or(line.len());
        let (word, rest) = line.split_at(end);
        (Verb::named(word), rest.trim_ascii_start())
    }

    fn named(word: &[u8]) -> Verb {
        const VERBS: [(&[u8], Verb); 23] = [
            (b"MAIL", Verb::Mail),
            (b"RCPT", Verb::Rcpt),
            (b"DATA", Verb::Data),
            (b"BDAT", Verb::Bdat),
            (b"EHLO", Verb::Ehlo),
            (b"HELO", Verb::Helo),
            (b"QUIT", Verb::Quit),
            (b"RSET", Verb::Rset),
            (b"NOOP", Verb::Noop),
            (b"VRFY", Verb::Vrfy),
            (b"HELP", Verb::Help),
            (b"EXPN", Verb::NotOffered),
            (b"AUTH", Verb::NotOffered),
            (b"STARTTLS", Verb::StartTls),
            (b"ETRN", Verb::NotOffered),
            (b"ATRN", Verb::NotOffered),
            (b"TURN", Verb::NotOffered),
            (b"SEND", Verb::NotOffered),
            (b"SOML", Verb::NotOffered),
            (b"SAML", Verb::NotOffered),
            (b"GET", Verb::Http),
            (b"POST", Verb::Http),
            (b"CONNECT", Verb::Http),
        ];
        VERBS.iter().find(|(name, _)| word.eq_ignore_ascii_case(name)).map_or(Verb::Unknown, |(_, verb)| *verb)
    }
}

/// `MAIL FROM:<reverse-path> [parameters]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mail<'a> {
    /// Without brackets and source route; empty for the null sender.
    pub reverse_path: &'a str,
    /// What followed it.
    pub parameters: MailParameters<'a>,
}

/// `RCPT TO:<forward-path> [parameters]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rcpt<'a> {
    /// Without brackets and source route; `Postmaster` may stand without a domain.
    pub forward_path: &'a str,
    /// What followed it.
    pub parameters: RecipientParameters<'a>,
}

/// `BDAT size [LAST]`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bdat {
    /// Octets that follow the line.
    pub size: u64,
    /// No chunk follows this one.
    pub last: bool,
}

/// The arguments of MAIL. `offer` says which parameters the client was offered.
pub fn mail<'a>(arguments: &'a str, offer: &Offer) -> Result<Mail<'a>, SyntaxError> {
    let rest = after_keyword(arguments, "FROM:")?;
    let (path, rest) = parse_path(rest)?;
    let parameters = MailParameters::parse(rest, offer)?;
    let reverse_path = if path.is_null() { "" } else { path.mailbox(parameters.smtputf8)? };
    Ok(Mail { reverse_path, parameters })
}

/// The arguments of RCPT. `smtputf8` says whether MAIL asked for it.
pub fn rcpt<'a>(arguments: &'a str, offer: &Offer, smtputf8: bool) -> Result<Rcpt<'a>, SyntaxError> {
    let rest = after_keyword(arguments, "TO:")?;
    let (path, rest) = parse_path(rest)?;
    let parameters = RecipientParameters::parse(rest, offer, smtputf8)?;
    // RFC 5321 §4.5.1: a server must accept "Postmaster" without a domain, in any case.
    let forward_path = if path.is_postmaster() { path.text() } else { path.mailbox(smtputf8)? };
    Ok(Rcpt { forward_path, parameters })
}

/// The arguments of BDAT (RFC 3030 §2).
pub fn bdat(arguments: &str) -> Result<Bdat, SyntaxError> {
    let mut words = arguments.split_ascii_whitespace();
    let size = words.next().and_then(number).ok_or(SyntaxError::Arguments)?;
    let last = match words.next() {
        None => false,
        Some(word) if word.eq_ignore_ascii_case("LAST") => true,
        Some(_) => return Err(SyntaxError::Arguments),
    };
    if words.next().is_some() {
        return Err(SyntaxError::Arguments);
    }
    Ok(Bdat { size, last })
}

/// What follows `keyword`. White space after the colon is against the letter of RFC 5321 §3.3, yet so many
/// devices send it that refusing would help nobody; the brackets leave no doubt about what is meant.
fn after_keyword<'a>(arguments: &'a str, keyword: &str) -> Result<&'a str, SyntaxError> {
    match arguments.split_at_checked(keyword.len()) {
        Some((head, rest)) if head.eq_ignore_ascii_case(keyword) => Ok(rest.trim_ascii_start()),
        _ => Err(SyntaxError::Arguments),
    }
}

/// One to twenty digits, no sign (`1*20DIGIT`, RFC 1870 §4).
fn number(text: &str) -> Option<u64> {
    let plain = (1..=20).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    if plain { text.parse().ok() } else { None }
}
