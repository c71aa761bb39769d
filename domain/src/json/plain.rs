//! How far a text goes on without anything that JSON escapes, eight bytes at a time: most strings are shorter than what wider registers, or a search
//! that is chosen at run time, need to pay off. Only what is longer is looked at in larger blocks.
//! Used where every string of a submission passes: to write canonical JSON and to take it apart.

const ONES: u64 = u64::MAX / 255;
const HIGH_BITS: u64 = ONES << 7;
/// From here on a string is a long one.
const BLOCK: usize = 32;
/// What one vector register holds on any machine that has some.
const HALF_BLOCK: usize = BLOCK / 2;

/// The length of the beginning of `bytes` in which nothing is escaped in JSON: no quotation mark, no backslash, no control character.
pub(super) fn plain_length(bytes: &[u8]) -> usize {
    let Some((first, rest)) = bytes.split_at_checked(BLOCK) else { return by_words(bytes) };
    let plain = by_words(first);
    if plain < BLOCK {
        return plain;
    }
    // No early end within a block: without one the compiler makes vector instructions of it.
    let is_plain = |block: &&[u8; BLOCK]| block.iter().fold(true, |all, byte| all & !is_special(*byte));
    let blocks = rest.as_chunks::<BLOCK>().0.iter().take_while(is_plain).count();
    let plain = BLOCK + blocks * BLOCK;
    plain + by_words(&bytes[plain..])
}

/// Whether nothing in `bytes` is escaped in JSON. Says no more than that, so that it need not look at each byte for itself at the end: the last word, or
/// block, may lie over the one before it.
pub(super) fn is_plain(bytes: &[u8]) -> bool {
    if let (Some(first), Some(last)) = (bytes.first_chunk(), bytes.last_chunk()) {
        let between = bytes[HALF_BLOCK..].as_chunks::<HALF_BLOCK>().0;
        return has_no_special(first) & has_no_special(last) && between.iter().all(has_no_special);
    }
    match (bytes.first_chunk(), bytes.last_chunk()) {
        (Some(first), Some(last)) => {
            special_bytes(u64::from_le_bytes(*first)) | special_bytes(u64::from_le_bytes(*last)) == 0
        }
        _ => bytes.iter().all(|byte| !is_special(*byte)),
    }
}

/// No early end within: without one the compiler makes vector instructions of it.
fn has_no_special(bytes: &[u8; HALF_BLOCK]) -> bool {
    bytes.iter().fold(true, |all, byte| all & !is_special(*byte))
}

fn by_words(bytes: &[u8]) -> usize {
    let (words, rest) = bytes.as_chunks::<8>();
    for (word, at) in words.iter().zip((0..).step_by(8)) {
        let found = special_bytes(u64::from_le_bytes(*word));
        if found != 0 {
            return at + found.trailing_zeros() as usize / 8;
        }
    }
    let special = rest.iter().position(|byte| is_special(*byte));
    bytes.len() - special.map_or(0, |place| rest.len() - place)
}

fn is_special(byte: u8) -> bool {
    byte < b' ' || byte == b'"' || byte == b'\\'
}

/// A word whose lowest high bit is in its lowest byte that has to be escaped; 0 when there is none. Bits above that one mean nothing.
fn special_bytes(word: u64) -> u64 {
    let below = |word: u64, limit: u8| word.wrapping_sub(ONES * u64::from(limit)) & !word;
    let equal = |byte: u8| below(word ^ (ONES * u64::from(byte)), 1);
    (below(word, b' ') | equal(b'"') | equal(b'\\')) & HIGH_BITS
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn byte_by_byte(bytes: &[u8]) -> usize {
        bytes.iter().position(|byte| is_special(*byte)).unwrap_or(bytes.len())
    }

    #[test]
    fn a_special_byte_is_found_wherever_it_stands_and_whatever_stands_beside_it() {
        for special in 0..=u8::MAX {
            for beside in [0x1f, 0x20, 0x21, 0x22, 0x23, 0x5b, 0x5c, 0x5d, 0x7f, 0x80, 0x9c, 0xa2, 0xff] {
                for place in 0..106 {
                    let mut bytes = [beside; 106];
                    bytes[place] = special;
                    assert_eq!(
                        plain_length(&bytes),
                        byte_by_byte(&bytes),
                        "{special} at {place} among {beside}"
                    );
                    bytes.fill(b'x');
                    bytes[place] = special;
                    assert_eq!(plain_length(&bytes), byte_by_byte(&bytes), "{special} at {place}");
                    for (from, to) in
                        [(0, 106), (place, 106), (place.saturating_sub(5), place + 1), (0, place)]
                    {
                        let part = &bytes[from..to];
                        assert_eq!(is_plain(part), byte_by_byte(part) == part.len(), "{special} in {part:?}");
                    }
                }
            }
        }
        assert_eq!(plain_length(b""), 0);
    }

    proptest! {
        #[test]
        fn it_is_as_far_as_byte_by_byte(bytes in prop::collection::vec(any::<u8>(), 0..140), text in "[ !#-\\[\\]-~äé]{0,140}") {
            prop_assert_eq!(plain_length(&bytes), byte_by_byte(&bytes));
            prop_assert_eq!(plain_length(text.as_bytes()), byte_by_byte(text.as_bytes()));
            prop_assert_eq!(is_plain(&bytes), byte_by_byte(&bytes) == bytes.len());
            prop_assert!(is_plain(text.as_bytes()));
        }
    }
}
