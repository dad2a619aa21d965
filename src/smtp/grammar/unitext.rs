//! Addresses of the type `utf-8` in ORCPT and in notices (RFC 6533 §3): `utf-8-addr-unitext`, in which what has no place there stands as
//! `\x{HEXPOINT}`, and `utf-8-addr-xtext`, in which all does that is not ASCII.
//!
//! In: the text behind `utf-8;`. Out: the address that it means, or the same in ASCII.

use std::fmt::Write;

/// The characters that a text means; `None` where it is malformed. Both forms, and any mixture.
pub(super) fn characters(text: &str) -> impl Iterator<Item = Option<char>> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let first = rest.chars().next()?;
        rest = &rest[first.len_utf8()..];
        match first {
            '\\' => Some(match embedded(rest) {
                Some((character, behind)) => {
                    rest = behind;
                    Some(character)
                }
                None => None,
            }),
            // "+" is no QCHAR: whoever takes this for xtext, too, must find nothing to decode.
            '+' | '=' => Some(None),
            first => Some((!first.is_ascii() || first.is_ascii_graphic()).then_some(first)),
        }
    })
}

/// The `EmbeddedUnicodeChar` whose backslash is in front of this text, and what is behind it.
fn embedded(text: &str) -> Option<(char, &str)> {
    let (digits, behind) = text.strip_prefix("x{")?.split_once('}')?;
    // What is not ASCII has no leading zero. Of ASCII only that is embedded which cannot stand for itself.
    if !(2..=6).contains(&digits.len()) || digits.starts_with('0') || !digits.bytes().all(|d| d.is_ascii_hexdigit()) {
        return None;
    }
    let character = char::from_u32(u32::from_str_radix(digits, 16).ok()?)?;
    (!character.is_ascii() || matches!(character, ' ' | '+' | '=' | '\\')).then_some((character, behind))
}

/// The address that a text means; `None` where it is malformed.
pub fn decode(text: &str) -> Option<String> {
    characters(text).collect()
}

/// The same text as `utf-8-addr-xtext`: what is ASCII stays as it is.
pub fn to_ascii(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut ascii, character| {
        if character.is_ascii() {
            ascii.push(character);
        } else {
            write!(ascii, "\\x{{{:X}}}", u32::from(character)).expect("a text takes every character");
        }
        ascii
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_mean_the_same_address() {
        for (text, address, ascii) in [
            ("bob@x.example", "bob@x.example", "bob@x.example"),
            ("bøb@x.example", "bøb@x.example", "b\\x{F8}b@x.example"),
            ("b\\x{f8}b@x.example", "bøb@x.example", "b\\x{f8}b@x.example"),
            ("用户@例.example", "用户@例.example", "\\x{7528}\\x{6237}@\\x{4F8B}.example"),
            ("\\x{1F600}\\x{10FFFD}@x", "\u{1F600}\u{10FFFD}@x", "\\x{1F600}\\x{10FFFD}@x"),
            ("a\\x{2B}b\\x{3D}@x", "a+b=@x", "a\\x{2B}b\\x{3D}@x"),
            ("\"a\\x{20}\\x{5C}\\x{5C}b\"@x", "\"a \\\\b\"@x", "\"a\\x{20}\\x{5C}\\x{5C}b\"@x"),
        ] {
            assert_eq!(decode(text).as_deref(), Some(address), "{text}");
            assert_eq!(to_ascii(text), ascii, "{text}");
            assert_eq!(decode(ascii).as_deref(), Some(address), "{ascii}");
        }
    }

    #[test]
    fn what_is_malformed_means_no_address() {
        for text in [
            "a+2Bb",
            "a=b",
            "a b",
            "a\\b",
            "\\x",
            "\\x{",
            "\\x{}",
            "\\x{F8",
            "\\xF8",
            "\\x{8}",
            "\\x{0F8}",
            "\\x{41}",
            "\\x{0D}",
            "\\x{1B}",
            "\\x{7F}",
            "\\x{D800}",
            "\\x{110000}",
            "\\x{1000000}",
            "\\x{+F8}",
            "\\x{G0}",
            "a\r",
        ] {
            assert_eq!(decode(text), None, "{text:?}");
        }
    }
}
