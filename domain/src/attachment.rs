//! What an attachment is to the record: the hash that names its bytes, what people call it, its type and size. The bytes are elsewhere.
//! Made by `api` once the bytes are stored; kept in events. Which types there are, and how bytes are told, is in `media_type`.

mod archive;
mod media_type;

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

pub use media_type::{Inspection, MediaType};

/// The longest name of an attachment, in bytes: what file systems take.
pub const ATTACHMENT_NAME_BYTES_MAX: usize = 255;

/// A file that belongs to a submission.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Attachment {
    /// SHA-256 of its bytes, which names it.
    pub sha256: ContentHash,
    /// What whoever attached it calls it; [`is_attachment_name`] held.
    pub name: Arc<str>,
    /// What its bytes are, as far as their beginning tells.
    pub media_type: MediaType,
    /// How many bytes; at least one.
    pub bytes: u64,
}

/// Whether a text can name a file wherever it is saved: no path, nothing invisible, nothing that makes it look like another name.
pub fn is_attachment_name(name: &str) -> bool {
    let deceives = |c: char| c.is_control() || matches!(c, '/' | '\\') || reverses_text(c);
    (1..=ATTACHMENT_NAME_BYTES_MAX).contains(&name.len())
        && name.trim() == name
        && !name.chars().any(deceives)
        && !matches!(name, "." | "..")
}

/// Whether a character is a mark that reverses text (Unicode TR 9 section 2): it lets a file `fdp.exe` be read as `exe.pdf`, and a signature
/// as another person's (Unicode TR 36 section 3.2).
pub(crate) fn reverses_text(c: char) -> bool {
    matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// SHA-256 of some bytes (FIPS 180-4), written as 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ContentHash(pub [u8; 32]);

/// A text that is no hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a SHA-256 hash is 64 lower-case hexadecimal digits")]
pub struct InvalidHash;

impl fmt::Display for ContentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for ContentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for ContentHash {
    type Err = InvalidHash;

    fn from_str(text: &str) -> Result<Self, InvalidHash> {
        let digit = |byte: u8| match byte {
            b'0'..=b'9' => Ok(byte - b'0'),
            b'a'..=b'f' => Ok(byte - b'a' + 10),
            _ => Err(InvalidHash),
        };
        let (pairs, rest) = text.as_bytes().as_chunks::<2>();
        let mut hash = [0; 32];
        if pairs.len() != hash.len() || !rest.is_empty() {
            return Err(InvalidHash);
        }
        for (byte, [high, low]) in hash.iter_mut().zip(pairs) {
            *byte = digit(*high)? << 4 | digit(*low)?;
        }
        Ok(Self(hash))
    }
}

impl From<ContentHash> for String {
    fn from(hash: ContentHash) -> Self {
        hash.to_string()
    }
}

impl TryFrom<String> for ContentHash {
    type Error = InvalidHash;

    fn try_from(text: String) -> Result<Self, InvalidHash> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_is_read_as_it_is_written_and_in_no_other_way() {
        let hash = ContentHash(std::array::from_fn(|place| place as u8 * 8 + 3));
        let text = hash.to_string();
        assert_eq!(text.len(), 64);
        assert_eq!(text.parse(), Ok(hash));
        for bad in [&text[1..], &text.to_uppercase(), &format!("{text}0"), "", &"é".repeat(32)] {
            assert_eq!(bad.parse::<ContentHash>(), Err(InvalidHash), "{bad}");
        }
    }

    #[test]
    fn a_name_is_one_file_and_looks_like_what_it_is() {
        for good in ["receipt.pdf", "Beleg Nr. 7 (März).png", "領収書.jpg", ".hidden", &"x".repeat(255)] {
            assert!(is_attachment_name(good), "{good}");
        }
        for bad in [
            "",
            ".",
            "..",
            "a/b",
            "a\\b",
            "a\0",
            "a\nb",
            " a",
            "a ",
            "a\u{202e}fdp.exe",
            "a\u{61c}b",
            &"x".repeat(256),
        ] {
            assert!(!is_attachment_name(bad), "{bad:?}");
        }
    }
}
