//! Whether a number, as it was written, survives being an IEEE double: the question that the door asks of every decimal.

use formledger_rules::is_unsafe_integer;

/// Every decimal with this many significant digits survives a double, unless its exponent is extreme (IEEE 754-2019 section 5.12.2).
const SAFE_DIGITS: usize = 15;

/// Whether a number in the JSON text `bytes` does not survive. The text must be well-formed.
pub(super) fn any_inexact(bytes: &[u8]) -> bool {
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => at = after_string(bytes, at + 1),
            b'-' | b'0'..=b'9' => {
                let end = bytes[at..]
                    .iter()
                    .position(|byte| !is_number_byte(*byte))
                    .map_or(bytes.len(), |n| at + n);
                let token = &bytes[at..end];
                let short = token.len() <= SAFE_DIGITS && !token.contains(&b'e') && !token.contains(&b'E');
                if !short && !std::str::from_utf8(token).is_ok_and(is_exact) {
                    return true;
                }
                at = end;
            }
            _ => at += 1,
        }
    }
    false
}

/// Whether a number in the JSON text `bytes` is so long that it may not survive; sometimes also when something in a string looks like one. Numbers
/// of at most [`SAFE_DIGITS`] bytes survive unless [`is_extreme`] says otherwise of what they were read as.
///
/// One byte in so many is looked at: no longer number lies between two of them.
pub(super) fn any_long(bytes: &[u8]) -> bool {
    let mut at = SAFE_DIGITS;
    while let Some(byte) = bytes.get(at) {
        if is_number_byte(*byte) {
            let start =
                bytes[..at].iter().rposition(|byte| !is_number_byte(*byte)).map_or(0, |before| before + 1);
            let end =
                bytes[at..].iter().position(|byte| !is_number_byte(*byte)).map_or(bytes.len(), |n| at + n);
            let begins =
                start == 0 || matches!(bytes[start - 1], b':' | b',' | b'[' | b' ' | b'\t' | b'\n' | b'\r');
            if begins && end - start > SAFE_DIGITS {
                return true;
            }
            at = end;
        }
        at += SAFE_DIGITS + 1;
    }
    false
}

/// Whether a number was read as one that is near the ends of what a double holds, or nothing, so that even few digits may not have survived.
pub(super) fn is_extreme(double: f64) -> bool {
    double.abs() < 1e-290 || is_unsafe_integer(double)
}

fn after_string(bytes: &[u8], mut at: usize) -> usize {
    while let Some(found) = memchr::memchr2(b'"', b'\\', bytes.get(at..).unwrap_or_default()) {
        match bytes[at + found] {
            b'"' => return at + found + 1,
            _ => at += found + 2,
        }
    }
    bytes.len()
}

fn is_number_byte(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E')
}

/// The most characters of a number that a message quotes.
const QUOTED_CHARS_MAX: usize = 80;

/// `text` as a message quotes it: whole unless it is absurdly long.
pub(super) fn quoted(text: &str) -> String {
    match text.char_indices().nth(QUOTED_CHARS_MAX) {
        Some((cut, _)) => format!("{}…", &text[..cut]),
        None => text.to_owned(),
    }
}

/// Whether the JSON number `text` is what canonical JSON writes for its double, up to zeros, and not an integer that I-JSON leaves open.
pub(super) fn is_exact(text: &str) -> bool {
    let Ok(double) = text.parse::<f64>() else { return false };
    if !double.is_finite() || is_unsafe_integer(double) {
        return false;
    }
    // Not `{:e}`: where two shortest decimals are equally near, the standard library and ECMAScript choose differently.
    Decimal::of(text) == Decimal::of(ryu_js::Buffer::new().format_finite(double))
}

/// A decimal number as digits without outer zeros, and the power of ten of the digit before the first: one form per value.
#[derive(PartialEq)]
struct Decimal {
    negative: bool,
    digits: Vec<u8>,
    magnitude: i64,
}

impl Decimal {
    fn of(text: &str) -> Self {
        let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
        let negative = mantissa.starts_with('-');
        let mantissa = mantissa.trim_start_matches('-');
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let digits: Vec<u8> = whole.bytes().chain(fraction.bytes()).collect();
        let leading = digits.iter().take_while(|digit| **digit == b'0').count();
        let trailing = digits[leading..].iter().rev().take_while(|digit| **digit == b'0').count();
        let digits = digits[leading..digits.len() - trailing].to_vec();
        if digits.is_empty() {
            return Self { negative: false, digits, magnitude: 0 };
        }
        // An exponent beyond i64 belongs to no double but zero and infinity; saturating keeps it unequal to theirs.
        let exponent = exponent.parse::<i64>().unwrap_or(i64::MAX);
        let magnitude = exponent.saturating_add(whole.len() as i64).saturating_sub(leading as i64);
        Self { negative, digits, magnitude }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_double_carries_as_written_is_exact() {
        for exact in [
            "0",
            "-0",
            "0.0",
            "0.1",
            "10.10",
            "1e2",
            "1E+2",
            "100e-2",
            "9007199254740991",
            "6.02214076e23",
            "0.30000000000000004",
            "1.7976931348623157e308",
            "5e-324",
            "1e21",
            "123456789012345.5",
            "234650251560943.62",
            "0e999",
        ] {
            assert!(is_exact(exact), "{exact}");
        }
    }

    #[test]
    fn what_a_double_rounds_is_not() {
        for inexact in [
            "9007199254740993",
            "0.1234567890123456789",
            "1e400",
            "-1e400",
            "1e-400",
            "1e16",
            "0.1000000000000000055511151231257827",
            "18446744073709551616",
            "3e-324",
            "234650251560943.63",
            "1e99999999999999999999",
        ] {
            assert!(!is_exact(inexact), "{inexact}");
        }
    }

    #[test]
    fn digits_inside_strings_are_no_numbers() {
        assert!(!any_inexact(br#"{"a\"1234567890.1234567890": "9007199254740993.5", "b": [0.5, -1.25e3]}"#));
        assert!(any_inexact(br#"{"a": "x", "b": [0.5, 0.1234567890123456789]}"#));
        assert!(any_inexact(br#"{"a\\": 0.5, "\\\"": 0.1234567890123456789}"#));
        assert!(!any_inexact(br#"["ends in a backslash \\", "0.1234567890123456789"]"#));
    }
}
