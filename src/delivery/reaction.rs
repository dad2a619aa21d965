//! Reactions to replies: a table of what remotes say, and what is done besides deferring or bouncing the one message.
//!
//! In: the table, once, and replies that refuse something. Out: the first reaction that fits. Only what a remote has said is looked
//! at, which is at most [`crate::limits::REMOTE_REPLY_SIZE_MAX`] bytes and the name of the command; the patterns take linear time.

use super::Answer;
use crate::limits::{REACTION_PATTERN_SIZE_MAX, REACTIONS_MAX};
use regex::{Regex, RegexBuilder};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum React {
    /// The host is left alone for so long: what can goes to others.
    BackOff(Duration),
    /// The whole destination is.
    Suspend(Duration),
    /// What would be tried again is given up.
    Bounce,
    /// What would be given up is tried again.
    Defer,
}

/// A reply code of three digits; an "x" stands for any.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CodePattern([Option<u8>; 3]);

/// A status code; an "x" stands for any number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StatusPattern([Option<u16>; 3]);

/// A text that is neither.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadPattern {
    /// No pattern of reply codes.
    #[error("is no reply code from 400 to 599, such as \"421\", or \"45x\" for ten of them")]
    Code,
    /// No pattern of status codes.
    #[error("is no status code of class 4 or 5, such as \"4.7.0\", or \"4.7.x\" for all that begin so")]
    Status,
}

impl FromStr for CodePattern {
    type Err = BadPattern;

    fn from_str(text: &str) -> Result<CodePattern, BadPattern> {
        let digit = |byte: u8| match byte {
            b'x' => Ok(None),
            b'0'..=b'9' => Ok(Some(byte - b'0')),
            _ => Err(BadPattern::Code),
        };
        let [class, middle, last] = text.as_bytes() else { return Err(BadPattern::Code) };
        let pattern = [digit(*class)?, digit(*middle)?, digit(*last)?];
        if matches!(pattern[0], Some(4 | 5) | None) { Ok(CodePattern(pattern)) } else { Err(BadPattern::Code) }
    }
}

impl FromStr for StatusPattern {
    type Err = BadPattern;

    fn from_str(text: &str) -> Result<StatusPattern, BadPattern> {
        let number = |text: &str| match text {
            "x" => Ok(None),
            _ if (1..=3).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit()) => {
                text.parse().map(Some).map_err(|_| BadPattern::Status)
            }
            _ => Err(BadPattern::Status),
        };
        let mut parts = text.split('.').map(number);
        let (Some(class), Some(subject), Some(detail), None) = (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(BadPattern::Status);
        };
        let pattern = [class?, subject?, detail?];
        if matches!(pattern[0], Some(4 | 5) | None) { Ok(StatusPattern(pattern)) } else { Err(BadPattern::Status) }
    }
}

impl CodePattern {
    fn fits(self, code: u16) -> bool {
        let digits = [code / 100, code / 10 % 10, code % 10];
        self.0.iter().zip(digits).all(|(wanted, digit)| wanted.is_none_or(|wanted| u16::from(wanted) == digit))
    }
}

impl StatusPattern {
    fn fits(self, (class, subject, detail): (u8, u16, u16)) -> bool {
        let numbers = [u16::from(class), subject, detail];
        self.0.iter().zip(numbers).all(|(wanted, number)| wanted.is_none_or(|wanted| wanted == number))
    }
}

/// Compiles a pattern of texts.
///
/// # Errors
/// What is wrong with it, as its compiler says.
pub fn compile(pattern: &str) -> Result<Regex, regex::Error> {
    let mut builder = RegexBuilder::new(pattern);
    builder.size_limit(REACTION_PATTERN_SIZE_MAX).dfa_size_limit(REACTION_PATTERN_SIZE_MAX).build()
}

/// One row of the table. What is empty fits everything.
#[derive(Clone, Debug)]
pub struct Reaction {
    /// By which the log knows it.
    pub name: Arc<str>,
    /// One of these fits the code.
    pub codes: Vec<CodePattern>,
    /// One of these fits the status: that of the reply, or the nearest to its code.
    pub statuses: Vec<StatusPattern>,
    /// This is found in the reply.
    pub text: Option<Regex>,
    /// What is done.
    pub react: React,
}

/// The table. Each worker has its own copy, as patterns keep notes while they work.
#[derive(Clone, Debug, Default)]
pub struct Reactions(Vec<Reaction>);

impl Reactions {
    /// The first that fits counts; those beyond [`REACTIONS_MAX`] are not looked at.
    pub fn new(mut reactions: Vec<Reaction>) -> Reactions {
        reactions.truncate(REACTIONS_MAX);
        Reactions(reactions)
    }

    /// What is done about an answer, if it is a refusal that a remote has said.
    pub fn to(&self, answer: &Answer) -> Option<&Reaction> {
        let code = answer.reply?.code;
        let fits = |reaction: &&Reaction| {
            let Reaction { codes, statuses, text, .. } = reaction;
            (codes.is_empty() || codes.iter().any(|pattern| pattern.fits(code)))
                && (statuses.is_empty() || statuses.iter().any(|pattern| pattern.fits(answer.status)))
                && text.as_ref().is_none_or(|text| text.is_match(&answer.text))
        };
        self.0.iter().filter(|_| code >= 400).find(fits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delivery::testing::said;
    use crate::smtp::client::Stage;

    fn reaction(name: &str, codes: &[&str], statuses: &[&str], text: Option<&str>) -> Reaction {
        Reaction {
            name: name.into(),
            codes: codes.iter().map(|code| code.parse().unwrap()).collect(),
            statuses: statuses.iter().map(|status| status.parse().unwrap()).collect(),
            text: text.map(|text| compile(text).unwrap()),
            react: React::Bounce,
        }
    }

    #[test]
    fn the_first_reaction_fits_that_has_all_that_it_asks_for() {
        let reactions = Reactions::new(vec![
            reaction("all three", &["421"], &["4.7.x"], Some("(?i)rate limit")),
            reaction("code", &["45x", "552"], &[], None),
            reaction("status", &[], &["5.7.1"], None),
            reaction("text", &[], &[], Some("in reply to MAIL FROM")),
        ]);
        let name = |code, text: &str| {
            let answer = said(code, Stage::Mail, text);
            reactions.to(&answer).map(|reaction| reaction.name.to_string())
        };
        assert_eq!(name(421, "421 4.7.28 RATE limit exceeded").as_deref(), Some("all three"));
        assert_eq!(name(421, "421 4.3.2 rate limit"), None);
        assert_eq!(name(452, "452 4.3.1 full").as_deref(), Some("code"));
        assert_eq!(name(550, "550 5.7.1 no").as_deref(), Some("status"));
        assert_eq!(name(550, "550 5.1.1 no (in reply to MAIL FROM)").as_deref(), Some("text"));
        assert_eq!(name(550, "550 5.1.1 no"), None);
        assert_eq!(name(250, "250 2.0.0 in reply to MAIL FROM"), None, "what is taken needs no reaction");
        let ours = Answer::local((5, 7, 1), "in reply to MAIL FROM");
        assert!(reactions.to(&ours).is_none(), "what we say ourselves is nobody's reply");
    }

    #[test]
    fn patterns_of_codes_are_strict() {
        for text in ["421", "4xx", "55x", "x21"] {
            assert!(text.parse::<CodePattern>().is_ok(), "{text}");
        }
        for text in ["", "42", "4211", "250", "xx", "4XX", "4.7.0"] {
            assert!(text.parse::<CodePattern>().is_err(), "{text}");
        }
        for text in ["4.7.0", "5.x.x", "x.7.28", "4.7.500"] {
            assert!(text.parse::<StatusPattern>().is_ok(), "{text}");
        }
        for text in ["", "4.7", "4.7.0.0", "2.0.0", "4.7.", "4.7.5000", "421"] {
            assert!(text.parse::<StatusPattern>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_pattern_that_would_grow_without_bounds_is_refused() {
        assert!(compile("(?:a{1000}){1000}").is_err());
        assert!(compile("(unclosed").is_err());
    }
}
