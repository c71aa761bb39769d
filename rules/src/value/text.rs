//! Texts: borrowed or shared, and whether two are the same.
//!
//! Part of [`super::Value`].

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

/// A text, borrowed from the submission or shared by a program or a result.
#[derive(Clone)]
pub enum Text<'a> {
    /// Borrowed from the JSON that was bound.
    Borrowed(&'a str),
    /// Made by evaluation or held by a program.
    Shared(Arc<String>),
}

impl Deref for Text<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        match self {
            Text::Borrowed(text) => text,
            Text::Shared(text) => text,
        }
    }
}

impl fmt::Debug for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

/// Whether two texts are the same, without the call that comparing slices is: names and codes are short, and a submission
/// has hundreds of them.
#[inline(always)]
pub(crate) fn same(a: &str, b: &str) -> bool {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    if a.len() != b.len() {
        false
    } else if a.len() > 16 {
        same_long(a, b)
    } else if a.len() >= 8 {
        ends::<8>(a, b)
    } else if a.len() >= 4 {
        ends::<4>(a, b)
    } else {
        a.iter().eq(b)
    }
}

/// Apart, so that what is short stays small where it is inlined.
#[inline(never)]
fn same_long(a: &[u8], b: &[u8]) -> bool {
    if a.len() <= 32 { ends::<16>(a, b) } else { a == b }
}

/// Whether the first and the last `N` bytes are the same; of `N` to `2 * N` bytes these are all.
#[inline(always)]
fn ends<const N: usize>(a: &[u8], b: &[u8]) -> bool {
    a.first_chunk::<N>() == b.first_chunk::<N>() && a.last_chunk::<N>() == b.last_chunk::<N>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_the_same_when_every_byte_is() {
        for length in 0..70 {
            let text = "a".repeat(length);
            assert!(same(&text, &text.clone()), "{length}");
            assert!(!same(&text, &format!("{text}a")), "{length}");
            for at in 0..length {
                let mut other = text.clone();
                other.replace_range(at..=at, "b");
                assert!(!same(&text, &other), "{at} of {length}");
            }
        }
    }
}
