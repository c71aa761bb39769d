//! The media types that an attachment may have, and how bytes are told apart: by the signature that they begin with, texts by all of them.
//! Asked by form definitions (which types a form takes) and by `api` while bytes arrive.
//!
//! Kept by hand rather than by a crate such as `infer`: what must be answered is "is this what it is said to be" for a list that forms
//! choose from, so a type that cannot be checked must not be on it; guessing among a hundred more types only adds ways to be wrong.

use std::fmt;

use serde::{Deserialize, Serialize};

/// How many of the first bytes are looked at for a signature: the names of the first members of an office document's archive lie there.
pub const HEAD_BYTES_MAX: usize = 64 * 1024;

/// A media type that can be told by its bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct MediaType(&'static Known);

/// A type and its signature.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Known {
    name: &'static str,
    signature: Signature,
}

/// What bytes of a type look like.
#[derive(Debug, PartialEq, Eq, Hash)]
enum Signature {
    /// They begin with one of these.
    Begin(&'static [&'static [u8]]),
    /// They have this many bytes of anything, then one of these, whatever is before.
    At(usize, &'static [&'static [u8]]),
    /// A ZIP archive whose first members lie in this folder (ECMA-376 part 2).
    OfficeFolder(&'static [u8]),
    /// UTF-8 without control characters but tab, line ends and page breaks.
    Text,
}

const ZIP: &[u8] = b"PK\x03\x04";

/// The known types; the first that fits names what bytes are, so what is more special comes first.
const KNOWN: &[Known] = &[
    Known { name: "application/pdf", signature: Signature::Begin(&[b"%PDF-"]) },
    Known { name: "image/png", signature: Signature::Begin(&[b"\x89PNG\r\n\x1a\n"]) },
    Known { name: "image/jpeg", signature: Signature::Begin(&[b"\xff\xd8\xff"]) },
    Known { name: "image/gif", signature: Signature::Begin(&[b"GIF87a", b"GIF89a"]) },
    Known { name: "image/tiff", signature: Signature::Begin(&[b"II*\0", b"MM\0*"]) },
    Known { name: "image/webp", signature: Signature::At(8, &[b"WEBPVP8"]) },
    Known {
        name: "image/heic",
        signature: Signature::At(4, &[b"ftypheic", b"ftypheix", b"ftypmif1", b"ftypmsf1"]),
    },
    Known {
        name: "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
        signature: Signature::OfficeFolder(b"word/"),
    },
    Known {
        name: "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
        signature: Signature::OfficeFolder(b"xl/"),
    },
    Known {
        name: "application/vnd.openxmlformats-officedocument.presentationml.presentation",
        signature: Signature::OfficeFolder(b"ppt/"),
    },
    // The member `mimetype` comes first and uncompressed (OASIS ODF 1.3 part 2, section 3.3).
    Known {
        name: "application/vnd.oasis.opendocument.text",
        signature: Signature::At(30, &[b"mimetypeapplication/vnd.oasis.opendocument.textPK"]),
    },
    Known {
        name: "application/vnd.oasis.opendocument.spreadsheet",
        signature: Signature::At(30, &[b"mimetypeapplication/vnd.oasis.opendocument.spreadsheetPK"]),
    },
    Known { name: "application/zip", signature: Signature::Begin(&[ZIP, b"PK\x05\x06"]) },
    Known { name: "text/plain", signature: Signature::Text },
    Known { name: "text/csv", signature: Signature::Text },
];

impl MediaType {
    /// The types that a form takes when it names none.
    pub(crate) fn usual() -> Vec<Self> {
        ["application/pdf", "image/png", "image/jpeg"].into_iter().filter_map(Self::named).collect()
    }

    /// All types, in the order in which bytes are compared with them.
    pub fn all() -> impl Iterator<Item = Self> {
        KNOWN.iter().map(Self)
    }

    /// The type called `name`, whatever the case of its letters (RFC 9110 section 8.3.1), without parameters; `None` for any that cannot be told by its bytes.
    pub fn named(name: &str) -> Option<Self> {
        Self::all().find(|known| known.as_str().eq_ignore_ascii_case(name))
    }

    /// Its name, for example `application/pdf`.
    pub fn as_str(self) -> &'static str {
        self.0.name
    }
}

impl fmt::Display for MediaType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for MediaType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl From<MediaType> for String {
    fn from(of: MediaType) -> Self {
        of.as_str().to_owned()
    }
}

impl TryFrom<String> for MediaType {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        Self::named(&name).ok_or_else(|| format!("`{name}` is no media type that this binary knows"))
    }
}

/// Bytes that are looked at as they pass, to say whether they are what they are said to be. Keeps only their first 64 KiB.
#[derive(Debug)]
pub struct Inspection {
    declared: MediaType,
    head: Vec<u8>,
    text: Text,
}

impl Inspection {
    /// Of bytes that are said to be of a type.
    pub fn of(declared: MediaType) -> Self {
        Self { declared, head: Vec::new(), text: Text::default() }
    }

    /// Looks at the next bytes.
    pub fn read(&mut self, bytes: &[u8]) {
        let room = HEAD_BYTES_MAX - self.head.len();
        self.head.extend_from_slice(&bytes[..bytes.len().min(room)]);
        if self.declared.0.signature == Signature::Text {
            self.text.read(bytes);
        }
    }

    /// Whether all bytes, now that they have passed, are what they are said to be.
    pub fn fits(&self) -> bool {
        self.is(self.declared.0)
    }

    /// What they look like instead; `None` when that cannot be said. Texts are not guessed at.
    pub fn found(&self) -> Option<MediaType> {
        KNOWN.iter().find(|known| known.signature != Signature::Text && self.is(known)).map(MediaType)
    }

    fn is(&self, known: &Known) -> bool {
        let after = |skipped: usize| self.head.get(skipped..).unwrap_or_default();
        match &known.signature {
            Signature::Begin(signatures) => signatures.iter().any(|one| self.head.starts_with(one)),
            Signature::At(skipped, signatures) => {
                signatures.iter().any(|one| after(*skipped).starts_with(one))
            }
            Signature::OfficeFolder(folder) => {
                self.head.starts_with(ZIP) && self.head.windows(folder.len()).any(|part| part == *folder)
            }
            Signature::Text => self.text.is_whole(),
        }
    }
}

/// UTF-8 that arrives in pieces.
#[derive(Debug, Default)]
struct Text {
    /// The beginning of a character of which the rest has not come; at most 3 bytes.
    begun: Vec<u8>,
    broken: bool,
}

impl Text {
    fn read(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        // A character may lie across pieces: complete it byte by byte.
        while !self.begun.is_empty() && !self.broken {
            let Some((first, after)) = rest.split_first() else { return };
            self.begun.push(*first);
            rest = after;
            let begun = std::mem::take(&mut self.begun);
            self.take(&begun);
        }
        self.take(rest);
    }

    fn take(&mut self, bytes: &[u8]) {
        let whole = match str::from_utf8(bytes) {
            Ok(text) => text,
            Err(error) => {
                let (whole, rest) = bytes.split_at(error.valid_up_to());
                match error.error_len() {
                    None => self.begun = rest.to_vec(),
                    Some(_) => self.broken = true,
                }
                str::from_utf8(whole).unwrap_or_default()
            }
        };
        self.broken |= whole.chars().any(|c| c.is_control() && !matches!(c, '\t' | '\n' | '\r' | '\x0c'));
    }

    fn is_whole(&self) -> bool {
        !self.broken && self.begun.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn inspect(declared: &str, bytes: &[u8]) -> Inspection {
        let mut inspection = Inspection::of(MediaType::named(declared).expect("known"));
        bytes.chunks(3).for_each(|piece| inspection.read(piece));
        inspection
    }

    const EXAMPLES: [(&str, &[u8]); 12] = [
        ("application/pdf", b"%PDF-1.7\n%\xe2\xe3"),
        ("image/png", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"),
        ("image/jpeg", b"\xff\xd8\xff\xe0\0\x10JFIF"),
        ("image/gif", b"GIF89a\x01\0"),
        ("image/tiff", b"II*\0\x08\0"),
        ("image/webp", b"RIFF\x24\0\0\0WEBPVP8 "),
        ("image/heic", b"\0\0\0\x18ftypheic\0\0"),
        (
            "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
            b"PK\x03\x04\x14\0\x06\0[Content_Types].xml..PK\x03\x04..word/document.xml",
        ),
        (
            "application/vnd.oasis.opendocument.text",
            b"PK\x03\x04\x14\0\0\x08\0\0\0\0\0\0\0\0\0\0\x27\0\0\0\x27\0\0\0\x08\0\0\0mimetypeapplication/vnd.oasis.opendocument.textPK\x03\x04",
        ),
        ("application/zip", b"PK\x03\x04\x14\0\0\0a.txt"),
        ("text/plain", "Grüße,\r\n\tAda".as_bytes()),
        ("text/csv", b"a;b\n1;2\n"),
    ];

    #[test]
    fn bytes_are_what_they_begin_with_and_a_lie_is_told_from_the_truth() {
        for (name, bytes) in EXAMPLES {
            assert!(inspect(name, bytes).fits(), "{name}");
            for other in MediaType::all().filter(|other| other.as_str() != name) {
                let fits = inspect(other.as_str(), bytes).fits();
                let both_texts = name.starts_with("text/") && other.as_str().starts_with("text/");
                let is_archive = other.as_str() == "application/zip" && bytes.starts_with(ZIP);
                assert_eq!(fits, both_texts || is_archive, "{name} as {other}");
            }
        }
        let lie = inspect("application/pdf", b"\x89PNG\r\n\x1a\n");
        assert_eq!(lie.found().map(MediaType::as_str), Some("image/png"));
        assert_eq!(inspect("image/png", b"MZ\x90").found(), None);
        assert!(!inspect("application/pdf", b"%PD").fits(), "cut short");
    }

    #[test]
    fn a_text_is_utf_8_to_its_end() {
        for bad in [&b"a\0b"[..], b"\xff", "é".as_bytes().split_at(1).0, b"a\x1b[31m", b"ab\xc3("] {
            assert!(!inspect("text/plain", bad).fits(), "{bad:?}");
        }
    }

    #[test]
    fn names_are_read_in_any_case_and_only_those_that_can_be_checked() {
        assert_eq!(MediaType::named("Image/PNG").map(MediaType::as_str), Some("image/png"));
        assert_eq!(MediaType::named("application/octet-stream"), None);
        assert_eq!(MediaType::usual().len(), 3);
    }

    proptest! {
        #[test]
        fn a_text_is_one_however_it_is_cut(text in "[a-zé日🦀\n]{0,40}", piece in 1_usize..7) {
            let mut inspection = Inspection::of(MediaType::named("text/plain").expect("known"));
            text.as_bytes().chunks(piece).for_each(|piece| inspection.read(piece));
            prop_assert!(inspection.fits());
        }
    }
}
