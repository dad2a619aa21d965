//! How urgent a message is (RFC 6710).

use serde::{Deserialize, Serialize};
use std::fmt;

/// The priority of a message, −9 to 9: the higher, the more urgent. 0, where nobody says anything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "i8", into = "i8")]
pub struct Priority(i8);

/// No priority has this number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a priority goes from -9 to 9")]
pub struct NoPriority;

impl Priority {
    /// That of most mail.
    pub const NORMAL: Priority = Priority(0);
    /// The least urgent.
    pub const LOWEST: Priority = Priority(-9);
    /// The most urgent.
    pub const HIGHEST: Priority = Priority(9);

    /// As MT-PRIORITY has it: one digit, with a minus or without, and nothing else.
    pub fn parse(text: &str) -> Option<Priority> {
        let digits = text.strip_prefix('-').unwrap_or(text);
        // There is no "-0".
        let is_value = matches!(digits.as_bytes(), [b'1'..=b'9']) || text == "0";
        if is_value { text.parse().ok().map(Priority) } else { None }
    }

    /// Its number.
    pub fn number(self) -> i8 {
        self.0
    }

    /// Whether it is that of most mail. By reference, as serde asks.
    pub fn is_normal(&self) -> bool {
        *self == Priority::NORMAL
    }
}

impl TryFrom<i8> for Priority {
    type Error = NoPriority;

    fn try_from(number: i8) -> Result<Priority, NoPriority> {
        if (Priority::LOWEST.0..=Priority::HIGHEST.0).contains(&number) {
            Ok(Priority(number))
        } else {
            Err(NoPriority)
        }
    }
}

impl From<Priority> for i8 {
    fn from(priority: Priority) -> i8 {
        priority.0
    }
}

impl std::str::FromStr for Priority {
    type Err = NoPriority;

    fn from_str(text: &str) -> Result<Priority, NoPriority> {
        Priority::parse(text).ok_or(NoPriority)
    }
}

impl fmt::Display for Priority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_priority_is_one_digit_with_a_minus_or_without() {
        for number in -9..=9i8 {
            let priority = Priority::parse(&number.to_string());
            assert_eq!(priority.map(Priority::number), Some(number));
            assert_eq!(Priority::try_from(number).ok(), priority);
        }
        for text in ["", "-", "-0", "+1", "10", "-10", "01", "00", "0x1", "1 ", " 1", "--1", "\u{b2}", "\u{661}", "9.0"]
        {
            assert_eq!(Priority::parse(text), None, "{text:?}");
        }
        assert_eq!(Priority::try_from(10), Err(NoPriority));
        assert_eq!(Priority::try_from(-10), Err(NoPriority));
    }
}
