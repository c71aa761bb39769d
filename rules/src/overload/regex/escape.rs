//! What a backslash begins, outside classes and in them.
//!
//! Part of [`super::re2`].

use std::borrow::Cow;

use super::class::{self, Items};

/// What stands for an escape.
pub(super) enum Escape {
    /// A code point; a surrogate, which no text has, among them.
    Char(u32),
    /// The items of a class.
    Class(Items),
    /// A place in the text, as the crate has it.
    Place(&'static str),
}

/// The escape at the front of `rest`, outside a class, and what is behind it.
pub(super) fn outside(rest: &str) -> Result<(Escape, &str), String> {
    let place = match rest.as_bytes().get(1) {
        Some(b'b') => "(?-u:\\b)",
        Some(b'B') => "(?-u:\\B)",
        Some(b'A') => "\\A",
        Some(b'z') => "\\z",
        Some(b'C') => return Err("`\\C` is one byte of a text, which has characters".to_owned()),
        _ => return inside(rest),
    };
    Ok((Escape::Place(place), &rest[2..]))
}

/// The escape at the front of `rest`, in a class, and what is behind it.
pub(super) fn inside(rest: &str) -> Result<(Escape, &str), String> {
    match rest.as_bytes().get(1) {
        Some(b'd' | b'D' | b's' | b'S' | b'w' | b'W') => {
            Ok((Escape::Class(class::perl(rest.as_bytes()[1])), &rest[2..]))
        }
        Some(b'p' | b'P') => class::unicode(rest).map(|(items, rest)| (Escape::Class(items), rest)),
        _ => character(rest).map(|(code, rest)| (Escape::Char(code), rest)),
    }
}

/// The escape of one character at the front of `rest`.
pub(super) fn character(rest: &str) -> Result<(u32, &str), String> {
    let mut chars = rest[1..].chars();
    let Some(first) = chars.next() else { return Err("`\\` at the end escapes nothing".to_owned()) };
    let behind = chars.as_str();
    let code = match first {
        'a' => 0x07,
        'f' => 0x0C,
        'n' => 0x0A,
        'r' => 0x0D,
        't' => 0x09,
        'v' => 0x0B,
        'x' => return hexadecimal(behind),
        '0' => return Ok(octal(&rest[1..])),
        // A single digit would refer back to a group.
        '1'..='7' if behind.starts_with(|next: char| next.is_digit(8)) => return Ok(octal(&rest[1..])),
        punctuation if punctuation.is_ascii() && !punctuation.is_ascii_alphanumeric() => punctuation.into(),
        other => return Err(format!("`\\{other}` has no meaning in RE2")),
    };
    Ok((code, behind))
}

/// Up to three octal digits.
fn octal(digits: &str) -> (u32, &str) {
    let length = digits.bytes().take(3).take_while(|digit| (b'0'..=b'7').contains(digit)).count();
    let (digits, rest) = digits.split_at(length);
    (u32::from_str_radix(digits, 8).unwrap_or_default(), rest)
}

/// What follows `\x`: two digits, or any number of them in braces.
fn hexadecimal(behind: &str) -> Result<(u32, &str), String> {
    let split = match behind.strip_prefix('{') {
        Some(braced) => braced.split_once('}'),
        None => behind.split_at_checked(2),
    };
    let code = split.and_then(|(digits, rest)| {
        let plain = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
        let code = u32::from_str_radix(digits, 16).ok().filter(|code| plain && *code <= char::MAX.into());
        Some((code?, rest))
    });
    code.ok_or_else(|| {
        "`\\x` is followed by two hexadecimal digits, or by a code point between `{` and `}`".to_owned()
    })
}

/// A character that stands for itself.
pub(super) fn literal(char: char) -> String {
    regex::escape(char.encode_utf8(&mut [0; 4]))
}

/// The most characters of a pattern that a message quotes: messages are recorded.
const QUOTED_CHARS_MAX: usize = 80;

/// `part` of a pattern as a message quotes it.
pub(super) fn quoted(part: &str) -> Cow<'_, str> {
    match part.char_indices().nth(QUOTED_CHARS_MAX) {
        Some((cut, _)) => format!("{}…", &part[..cut]).into(),
        None => part.into(),
    }
}
