//! The media types that an attachment may have, and how bytes are told apart: by the signature that they begin with, texts by all of them.
//! Asked by form definitions (which types a form takes) and by `api` while bytes arrive.
//!
//! Kept by hand rather than by a crate such as `infer`: what must be answered is "is this what it is said to be" for a list that forms
//! choose from, so a type that cannot be checked must not be on it; guessing among a hundred more types only adds ways to be wrong.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::archive::{LOCAL_HEADER, members};

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
    /// A RIFF file (Multimedia Programming Interface 1.0): `RIFF`, four bytes of size, then this.
    Riff(&'static [u8]),
    /// An ISO base media file (ISO/IEC 14496-12, section 4.3): the size of its first box, which is `ftyp`, then one of these brands.
    Brand(&'static [[u8; 4]]),
    /// A ZIP archive of which one of the first members lies in this folder (ECMA-376 part 2).
    OfficeFolder(&'static [u8]),
    /// A ZIP archive whose first member is `mimetype`, uncompressed, and holds the type's name (OASIS ODF 1.3 part 2, section 3.3).
    OpenDocument,
    /// UTF-8 without control characters but tab, line ends and page breaks.
    Text,
}

/// Bytes of an ISO base media file's first box: at least those of size, `ftyp`, brand and version, then four for each compatible brand.
const FILE_TYPE_BOX_BYTES: std::ops::RangeInclusive<u32> = 16..=1024;

/// The known types; the first that fits names what bytes are, so what is more special comes first.
const KNOWN: &[Known] = &[
    Known { name: "application/pdf", signature: Signature::Begin(&[b"%PDF-"]) },
    Known { name: "image/png", signature: Signature::Begin(&[b"\x89PNG\r\n\x1a\n"]) },
    Known { name: "image/jpeg", signature: Signature::Begin(&[b"\xff\xd8\xff"]) },
    Known { name: "image/gif", signature: Signature::Begin(&[b"GIF87a", b"GIF89a"]) },
    Known { name: "image/tiff", signature: Signature::Begin(&[b"II*\0", b"MM\0*"]) },
    Known { name: "image/webp", signature: Signature::Riff(b"WEBPVP8") },
    Known { name: "image/heic", signature: Signature::Brand(&[*b"heic", *b"heix", *b"mif1", *b"msf1"]) },
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
    Known { name: "application/vnd.oasis.opendocument.text", signature: Signature::OpenDocument },
    Known { name: "application/vnd.oasis.opendocument.spreadsheet", signature: Signature::OpenDocument },
    Known { name: "application/zip", signature: Signature::Begin(&[LOCAL_HEADER, b"PK\x05\x06"]) },
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
        let head = self.head.as_slice();
        match &known.signature {
            Signature::Begin(signatures) => signatures.iter().any(|one| head.starts_with(one)),
            Signature::Riff(form) => {
                head.starts_with(b"RIFF") && head.get(8..).is_some_and(|rest| rest.starts_with(form))
            }
            Signature::Brand(brands) => is_branded(head, brands),
            Signature::OfficeFolder(folder) => members(head).any(|member| member.name.starts_with(folder)),
            Signature::OpenDocument => members(head)
                .next()
                .is_some_and(|first| first.name == b"mimetype" && first.content == known.name.as_bytes()),
            Signature::Text => self.text.is_whole(),
        }
    }
}

/// Whether bytes begin with a box `ftyp` of a size that such boxes have, whose major brand is one of `brands`.
fn is_branded(head: &[u8], brands: &[[u8; 4]]) -> bool {
    let (fields, _) = head.as_chunks::<4>();
    let [size, name, brand, ..] = fields else { return false };
    let size = u32::from_be_bytes(*size);
    FILE_TYPE_BOX_BYTES.contains(&size) && size % 4 == 0 && name == b"ftyp" && brands.contains(brand)
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
    use super::super::archive::tests::archive;
    use super::*;
    use proptest::prelude::*;

    fn inspect(declared: &str, bytes: &[u8]) -> Inspection {
        let mut inspection = Inspection::of(MediaType::named(declared).expect("known"));
        bytes.chunks(3).for_each(|piece| inspection.read(piece));
        inspection
    }

    const WORD: &str = "application/vnd.openxmlformats-officedocument.wordprocessingml.document";
    const SHEET: &str = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet";
    const SLIDES: &str = "application/vnd.openxmlformats-officedocument.presentationml.presentation";
    const OPEN_TEXT: &str = "application/vnd.oasis.opendocument.text";
    const OPEN_SHEET: &str = "application/vnd.oasis.opendocument.spreadsheet";

    /// An office document as the programs write them: what all have comes first.
    fn office(streamed: bool, part: &str) -> Vec<u8> {
        let all: [(&str, &[u8]); 4] = [
            ("[Content_Types].xml", b"<Types/>"),
            ("_rels/.rels", b"<Relationships/>"),
            (part, b"<document/>"),
            ("docProps/app.xml", b"<Properties/>"),
        ];
        archive(streamed, &all)
    }

    fn open_document(media_type: &str) -> Vec<u8> {
        archive(false, &[("mimetype", media_type.as_bytes()), ("content.xml", b"<document/>")])
    }

    fn examples() -> Vec<(&'static str, Vec<u8>)> {
        vec![
            ("application/pdf", b"%PDF-1.7\n%\xe2\xe3".to_vec()),
            ("image/png", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR".to_vec()),
            ("image/jpeg", b"\xff\xd8\xff\xe0\0\x10JFIF".to_vec()),
            ("image/gif", b"GIF89a\x01\0".to_vec()),
            ("image/tiff", b"II*\0\x08\0".to_vec()),
            ("image/webp", b"RIFF\x24\0\0\0WEBPVP8 ".to_vec()),
            ("image/heic", b"\0\0\0\x18ftypheic\0\0\0\0mif1heic".to_vec()),
            (WORD, office(false, "word/document.xml")),
            (WORD, office(true, "word/document.xml")),
            (SHEET, office(false, "xl/workbook.xml")),
            (SHEET, office(true, "xl/workbook.xml")),
            (SLIDES, office(false, "ppt/presentation.xml")),
            (OPEN_TEXT, open_document(OPEN_TEXT)),
            (OPEN_SHEET, open_document(OPEN_SHEET)),
            ("application/zip", archive(false, &[("a.txt", b"text")])),
            ("text/plain", "Grüße,\r\n\tAda".into()),
            ("text/csv", b"a;b\n1;2\n".to_vec()),
        ]
    }

    #[test]
    fn bytes_are_what_they_begin_with_and_a_lie_is_told_from_the_truth() {
        for (name, bytes) in examples() {
            assert!(inspect(name, &bytes).fits(), "{name}");
            for other in MediaType::all().filter(|other| other.as_str() != name) {
                let fits = inspect(other.as_str(), &bytes).fits();
                let both_texts = name.starts_with("text/") && other.as_str().starts_with("text/");
                let is_archive = other.as_str() == "application/zip" && bytes.starts_with(LOCAL_HEADER);
                assert_eq!(fits, both_texts || is_archive, "{name} as {other}");
            }
        }
        let lie = inspect("application/pdf", b"\x89PNG\r\n\x1a\n");
        assert_eq!(lie.found().map(MediaType::as_str), Some("image/png"));
        assert_eq!(inspect("image/png", b"MZ\x90").found(), None);
        assert!(!inspect("application/pdf", b"%PD").fits(), "cut short");
    }

    #[test]
    fn a_signature_counts_only_where_it_belongs() {
        let within = office(false, "word/document.xml");
        for lie in [
            archive(false, &[("password/run.exe", b"MZ")]),
            archive(true, &[("password/run.exe", b"MZ")]),
            archive(false, &[("run.exe", b"MZ word/document.xml")]),
            archive(false, &[("run.zip", &within)]),
            [b"MZ".as_slice(), &within].concat(),
        ] {
            assert!(!inspect(WORD, &lie).fits(), "{}", String::from_utf8_lossy(&lie));
        }
        for (name, lie) in [
            ("image/webp", b"MZ\x90\0\x24\0\0\0WEBPVP8 ".as_slice()),
            ("image/heic", b"MZ\x90\0ftypheic\0\0\0\0"),
            ("image/heic", b"\0\0\0\x08ftypheic\0\0\0\0"),
            ("image/heic", b"\0\0\0\x19ftypheic\0\0\0\0"),
            (OPEN_TEXT, &archive(false, &[("a", b"MZ"), ("mimetype", OPEN_TEXT.as_bytes())])),
            (OPEN_TEXT, &open_document(OPEN_SHEET)),
        ] {
            assert!(!inspect(name, lie).fits(), "{name}: {}", String::from_utf8_lossy(lie));
        }
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
