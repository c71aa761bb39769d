//! The members of a ZIP archive, as far as its first bytes tell of them (PKWARE APPNOTE.TXT, section 4.3.7). Asked by `media_type`, which
//! sees archives as they arrive and so never reads the directory at their end.

/// What the header before each member begins with.
pub const LOCAL_HEADER: &[u8] = b"PK\x03\x04";
/// Bytes of that header before the member's name.
const HEADER_BYTES: usize = 30;
/// The flag of a member that was written before its size was known: the size follows the content.
const STREAMED: u16 = 1 << 3;

/// A member whose header and name lie in the first bytes.
pub struct Member<'a> {
    /// What it is called, with its folders before it.
    pub name: &'a [u8],
    /// Its bytes as they are stored; empty where the header does not say how many there are, or they go beyond the first bytes.
    pub content: &'a [u8],
}

/// The members of which `head`, the first bytes of a file, holds the name, in order. Ends at the first thing that is no member.
pub fn members(head: &[u8]) -> impl Iterator<Item = Member<'_>> {
    let mut rest = head;
    std::iter::from_fn(move || {
        let (member, after) = member(rest)?;
        rest = after;
        Some(member)
    })
}

/// The member that `bytes` begin with, and what comes behind it.
fn member(bytes: &[u8]) -> Option<(Member<'_>, &[u8])> {
    if !bytes.starts_with(LOCAL_HEADER) {
        return None;
    }
    let number = |at: usize| bytes.get(at..)?.first_chunk().copied().map(u16::from_le_bytes);
    let size = u32::from_le_bytes(*bytes.get(18..)?.first_chunk()?);
    let (name_bytes, extra_bytes) = (usize::from(number(26)?), usize::from(number(28)?));
    let name = bytes.get(HEADER_BYTES..HEADER_BYTES + name_bytes)?;
    let behind_name = bytes.get(HEADER_BYTES + name_bytes + extra_bytes..).unwrap_or_default();
    let (content, after) = behind_name.split_at_checked(usize::try_from(size).ok()?).unwrap_or_default();
    let after = if number(6)? & STREAMED == 0 { after } else { next_header(after) };
    Some((Member { name, content }, after))
}

/// What begins with the next header, for a member that does not say where it ends.
fn next_header(bytes: &[u8]) -> &[u8] {
    let at = bytes.windows(LOCAL_HEADER.len()).position(|part| part == LOCAL_HEADER);
    at.map_or(&[], |at| &bytes[at..])
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use proptest::prelude::*;

    /// An archive of stored members. A `streamed` one says its sizes behind each content, as whoever does not know them before does.
    pub fn archive(streamed: bool, members: &[(&str, &[u8])]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (name, content) in members {
            let size = u32::try_from(content.len()).expect("small").to_le_bytes();
            let name_bytes = u16::try_from(name.len()).expect("short").to_le_bytes();
            let flags = if streamed { STREAMED } else { 0 }.to_le_bytes();
            let told = if streamed { [0; 4] } else { size };
            bytes.extend([LOCAL_HEADER, b"\x14\0", &flags, &[0; 10], &told, &told, &name_bytes].concat());
            bytes.extend([&[4, 0], name.as_bytes(), b"\x01\x00\x00\x00", content].concat());
            if streamed {
                bytes.extend([b"PK\x07\x08".as_slice(), &[0; 4], &size, &size].concat());
            }
        }
        bytes.extend(b"PK\x01\x02 the directory");
        bytes
    }

    fn names(head: &[u8]) -> Vec<String> {
        members(head).map(|member| String::from_utf8_lossy(member.name).into_owned()).collect()
    }

    #[test]
    fn members_are_found_by_their_headers_and_never_in_the_content_of_others() {
        let within = archive(false, &[("within.txt", b"x")]);
        let all: &[(&str, &[u8])] = &[("a.zip", &within), ("empty", b""), ("b/c.txt", b"text")];
        let bytes = archive(false, all);
        assert_eq!(names(&bytes), ["a.zip", "empty", "b/c.txt"]);
        assert_eq!(members(&bytes).last().map(|last| last.content), Some(&b"text"[..]));
        assert_eq!(names(&archive(true, &all[1..])), ["empty", "b/c.txt"]);
        let cut = bytes.len() - b"PK\x01\x02 the directory".len() - "text".len();
        assert_eq!(names(&bytes[..cut]).len(), 3, "the name is there");
        assert_eq!(names(&bytes[..cut - "txt\x01\x00\x00\x00".len()]).len(), 2, "the name is cut off");
        assert!(names(b"MZ PK\x03\x04").is_empty());
    }

    proptest! {
        #[test]
        fn whatever_bytes_come_the_walk_ends(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut archive = archive(true, &[("a", &bytes)]);
            archive.extend_from_slice(&bytes);
            prop_assert!(members(&archive).count() <= archive.len() / HEADER_BYTES + 1);
            prop_assert!(members(&[LOCAL_HEADER, &bytes].concat()).count() <= bytes.len());
        }
    }
}
