//! Regular expressions as people write them, in the words of the engine: what browsers take although the standard refuses it, and what
//! ECMA-262 has and the engine writes differently.

use std::borrow::Cow;
use std::collections::HashMap;

/// Letters of classes that are written with a backslash: `\w` and its like.
const CLASSES: &str = "wWdDsS";

/// The longest pattern that is rewritten, in bytes; longer ones are left as they are.
const PATTERN_BYTES_MAX: usize = 1 << 16;
/// The longest name of a group that is looked for, in bytes; a longer one is left to the engine.
const NAME_BYTES_MAX: usize = 100;

/// A pattern that means the same and that the engine may know.
pub(super) struct Rewritten {
    pub(super) pattern: String,
    /// Whether a hyphen was taken for itself: inside brackets, browsers do so beside `\w` and its like, and the stricter reading that
    /// JSON Schema asks for (ECMA-262 with the `u` flag) refuses it.
    pub(super) hyphen: bool,
}

/// `pattern` rewritten, be it known as it is or not.
pub(super) fn rewritten(pattern: &str) -> Rewritten {
    if pattern.len() > PATTERN_BYTES_MAX {
        return Rewritten { pattern: pattern.to_owned(), hyphen: false };
    }
    let pattern = match pattern.contains(r"\k<") {
        true => Cow::Owned(with_numbered_groups(pattern)),
        false => Cow::Borrowed(pattern),
    };
    let mut rewritten = Rewritten { pattern: String::with_capacity(pattern.len() + 8), hyphen: false };
    let mut rest = pattern.as_ref();
    let mut inside = false;
    // Whether the character before is a class, as in `\w`.
    let mut after_class = false;
    while let Some(character) = rest.chars().next() {
        let known = known_here(rest, inside);
        let (read, written) = known.unwrap_or_else(|| {
            let token = &rest[..token_length(rest)];
            (token, token)
        });
        let behind = &rest[read.len()..];
        if inside && character == '-' && (after_class || is_class(behind)) {
            rewritten.pattern.push('\\');
            rewritten.hyphen = true;
        }
        match character {
            '[' if known.is_none() => inside = true,
            ']' => inside = false,
            _ => {}
        }
        after_class = is_class(read);
        rewritten.pattern.push_str(written);
        rest = behind;
    }
    rewritten
}

/// What `rest` begins with and how the engine writes that, where it writes it differently.
fn known_here(rest: &str, inside: bool) -> Option<(&'static str, &'static str)> {
    let digit_behind = |length: usize| rest[length..].starts_with(|next: char| next.is_ascii_digit());
    match inside {
        // Any character at all; elsewhere `]` would be the first that is not meant.
        false if rest.starts_with("[^]") => Some(("[^]", r"[\s\S]")),
        // A backspace; outside of brackets it is the border of a word.
        true if rest.starts_with(r"\b") => Some((r"\b", r"\x08")),
        _ if rest.starts_with(r"\0") && !digit_behind(2) => Some((r"\0", r"\x00")),
        _ => None,
    }
}

/// The bytes of the character at the beginning of `text`, with what a backslash escapes.
fn token_length(text: &str) -> usize {
    let escaped = usize::from(text.starts_with('\\'));
    text.chars().take(1 + escaped).map(char::len_utf8).sum()
}

fn is_class(text: &str) -> bool {
    text.strip_prefix('\\').is_some_and(|escaped| escaped.starts_with(|letter| CLASSES.contains(letter)))
}

/// `pattern` with numbers instead of the names of groups. The engine mixes neither names with numbers nor knows `\k`.
fn with_numbered_groups(pattern: &str) -> String {
    let numbers = group_numbers(pattern);
    let mut numbered = String::with_capacity(pattern.len());
    let mut rest = pattern;
    let mut inside = false;
    while !rest.is_empty() {
        let reference = name_behind(rest, r"\k<").filter(|_| !inside);
        let number = reference.and_then(|name| numbers.get(name).copied());
        let named_group = name_behind(rest, "(?<").filter(|_| !inside);
        let read = match (reference.zip(number), named_group) {
            (Some((name, number)), _) => {
                numbered.push_str(&format!(r"(?:\{number})"));
                r"\k<>".len() + name.len()
            }
            (None, Some(name)) => {
                numbered.push('(');
                "(?<>".len() + name.len()
            }
            (None, None) => {
                let read = token_length(rest);
                numbered.push_str(&rest[..read]);
                read
            }
        };
        inside = (inside || rest.starts_with('[')) && !rest.starts_with(']');
        rest = &rest[read..];
    }
    numbered
}

/// The numbers of the groups that have names, by these; of several of one name, the first.
fn group_numbers(pattern: &str) -> HashMap<&str, usize> {
    let mut numbers = HashMap::new();
    let mut groups = 0;
    let mut rest = pattern;
    let mut inside = false;
    while !rest.is_empty() {
        if !inside && rest.starts_with('(') {
            let name = name_behind(rest, "(?<");
            if name.is_some() || !rest.starts_with("(?") {
                groups += 1;
                if let Some(name) = name {
                    numbers.entry(name).or_insert(groups);
                }
            }
        }
        inside = (inside || rest.starts_with('[')) && !rest.starts_with(']');
        rest = &rest[token_length(rest)..];
    }
    numbers
}

/// The name between `opening` and `>` at the beginning of `text`; what looks behind (`(?<=`, `(?<!`) has none.
fn name_behind<'p>(text: &'p str, opening: &str) -> Option<&'p str> {
    let text = text.strip_prefix(opening)?;
    let end = text.bytes().take(NAME_BYTES_MAX + 1).position(|byte| byte == b'>')?;
    let name = &text[..end];
    name.starts_with(|first: char| first.is_alphabetic() || matches!(first, '_' | '$')).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_hyphens_beside_a_class_inside_brackets_are_touched() {
        for (pattern, mended) in [
            (r"^[\w-.]+$", r"^[\w\-.]+$"),
            (r"[.-\d]", r"[.\-\d]"),
            (r"[a-z\w-]-\w", r"[a-z\w\-]-\w"),
            (r"[\w\-.]\[-\w", r"[\w\-.]\[-\w"),
            (r"^[\w-\.]+@([\w-]+\.)+[\w-]{2,4}$", r"^[\w\-\.]+@([\w\-]+\.)+[\w\-]{2,4}$"),
            (r"ä[\w-ö]", r"ä[\w\-ö]"),
        ] {
            let Rewritten { pattern: written, hyphen } = rewritten(pattern);
            assert_eq!((written.as_str(), hyphen), (mended, mended != pattern), "{pattern}");
        }
    }

    #[test]
    fn what_the_engine_writes_differently_is_rewritten_and_nothing_like_it() {
        for (pattern, written) in [
            ("^[^]$", r"^[\s\S]$"),
            (r"[\b]\b\[^]", r"[\x08]\b\[^]"),
            (r"^\0$", r"^\x00$"),
            (r"\01[\0]\\0", r"\01[\x00]\\0"),
            (r"(?<y>a|b)(c)\k<y>", r"(a|b)(c)(?:\1)"),
            (r"(\()[(](?:x)(?<=x)(?<y>a)\k<y>1", r"(\()[(](?:x)(?<=x)(a)(?:\2)1"),
            (r"(?<y>a)\k<z>", r"(a)\k<z>"),
            (r"(?<y>a)", r"(?<y>a)"),
        ] {
            assert_eq!(rewritten(pattern).pattern, written, "{pattern}");
        }
    }

    #[test]
    fn patterns_and_names_that_are_made_to_take_time_are_left_alone() {
        let long = format!("[\\w-.]{}", "a".repeat(PATTERN_BYTES_MAX));
        assert_eq!(rewritten(&long).pattern, long);
        let name = "n".repeat(NAME_BYTES_MAX);
        assert_eq!(rewritten(&format!(r"(?<{name}>a)\k<{name}>")).pattern, r"(a)(?:\1)");
        let name = "n".repeat(NAME_BYTES_MAX + 1);
        let unknown = format!(r"(?<{name}>a)\k<{name}>");
        assert_eq!(rewritten(&unknown).pattern, unknown);
    }
}
