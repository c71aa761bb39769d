//! Numbers as clients write them in paths, parameters and header fields: digits, in the one spelling in which they are answered.
//! Called by what reads those; numbers in bodies are JSON's.

use std::str::FromStr;

/// The whole number that a text spells; `None` for what is none, for one with a sign, a space or a zero in front, which would be other names
/// for the same thing, and for one that is too large for `T`.
pub fn read<T: FromStr>(text: &str) -> Option<T> {
    let is_spelt_so =
        text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    if is_spelt_so { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_spelt_in_one_way() {
        for (text, number) in [("0", 0), ("7", 7), ("10", 10), ("18446744073709551615", u64::MAX)] {
            assert_eq!(read(text), Some(number));
        }
        for text in
            ["", "+1", "-1", "-0", "01", "00", " 1", "1 ", "1.0", "1e3", "٣", "0x1", "18446744073709551616"]
        {
            assert_eq!(read::<u64>(text), None, "{text}");
        }
        assert_eq!(read::<u8>("256"), None);
    }
}
