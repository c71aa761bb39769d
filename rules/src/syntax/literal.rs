//! What literals mean: numbers and escape sequences.
//!
//! Called by the parser with text that the lexer has delimited.

use std::borrow::Cow;

use super::ast::Literal;

/// An integer literal, with its minus sign when there is one; `None` when it leaves 64 bits.
pub(crate) fn int(text: &str, negative: bool) -> Option<i64> {
    let size = magnitude(text)?;
    if negative { 0i64.checked_sub_unsigned(size) } else { i64::try_from(size).ok() }
}

/// An unsigned literal, `u` included.
pub(crate) fn uint(text: &str) -> Option<u64> {
    magnitude(text.trim_end_matches(['u', 'U']))
}

fn magnitude(text: &str) -> Option<u64> {
    match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(digits) => u64::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}

/// A string or bytes literal from its full text, prefix and quotes included.
///
/// # Errors
/// What is wrong, and the byte offset in `text` where.
pub(crate) fn string(text: &str, bytes: bool) -> Result<Literal<'_>, (usize, String)> {
    let quote = text.find(['"', '\'']).unwrap_or(0);
    let raw = text[..quote].contains(['r', 'R']);
    let width = if text[quote..].starts_with("\"\"\"") || text[quote..].starts_with("'''") { 3 } else { 1 };
    let body = &text[quote + width..text.len() - width];
    if raw || !body.contains('\\') {
        return Ok(if bytes {
            Literal::Bytes(body.as_bytes().to_vec())
        } else {
            Literal::String(Cow::Borrowed(body))
        });
    }
    let mut out = Vec::with_capacity(body.len());
    let mut rest = body;
    while let Some(at) = rest.find('\\') {
        out.extend_from_slice(&rest.as_bytes()[..at]);
        let place = text.len() - width - rest.len() + at;
        let used = escape(&rest[at + 1..], bytes, &mut out).map_err(|message| (place, message))?;
        rest = &rest[at + 1 + used..];
    }
    out.extend_from_slice(rest.as_bytes());
    if bytes {
        return Ok(Literal::Bytes(out));
    }
    let text = String::from_utf8(out).expect("escapes in a string literal append whole characters");
    Ok(Literal::String(Cow::Owned(text)))
}

/// Reads one escape after its backslash into `out`; the number of bytes it took.
fn escape(rest: &str, bytes: bool, out: &mut Vec<u8>) -> Result<usize, String> {
    let first = rest.chars().next().ok_or("a backslash must be followed by something")?;
    let plain = match first {
        'a' => 7,
        'b' => 8,
        'f' => 12,
        'n' => b'\n',
        'r' => b'\r',
        't' => b'\t',
        'v' => 11,
        '\\' | '?' | '"' | '\'' | '`' => first as u8,
        'x' | 'X' => return code(rest, 1, 2, 16, bytes, out),
        'u' if !bytes => return code(rest, 1, 4, 16, false, out),
        'U' if !bytes => return code(rest, 1, 8, 16, false, out),
        '0'..='3' => return code(rest, 0, 3, 8, bytes, out),
        other => return Err(format!("`\\{other}` is not an escape; a backslash itself is `\\\\`")),
    };
    out.push(plain);
    Ok(1)
}

/// Reads a numeric escape of `digits` digits, as an octet in bytes and as a code point in strings.
fn code(
    rest: &str,
    skip: usize,
    digits: usize,
    radix: u32,
    octet: bool,
    out: &mut Vec<u8>,
) -> Result<usize, String> {
    let text = rest.get(skip..skip + digits).filter(|text| text.chars().all(|c| c.is_digit(radix)));
    let text = text.ok_or_else(|| format!("`\\{}` needs {digits} digits of base {radix}", &rest[..skip]))?;
    let number = u32::from_str_radix(text, radix).map_err(|error| error.to_string())?;
    if octet {
        out.push(u8::try_from(number).map_err(|_| format!("`\\{text}` is more than one octet"))?);
    } else {
        let character =
            char::from_u32(number).ok_or_else(|| format!("`{text}` is not a Unicode code point"))?;
        out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
    }
    Ok(skip + digits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_octets_in_bytes_and_code_points_in_strings() {
        assert_eq!(string(r"b'\xff'", true), Ok(Literal::Bytes(vec![0xff])));
        assert_eq!(string(r"'\xff'", false), Ok(Literal::String("ÿ".into())));
        assert_eq!(string(r"r'\n'", false), Ok(Literal::String("\\n".into())));
        assert!(string(r"'\ud800'", false).is_err());
        assert_eq!(string(r"'ab\q'", false).expect_err("no such escape").0, 3);
    }

    #[test]
    fn the_smallest_integer_can_be_written() {
        assert_eq!(int("9223372036854775808", true), Some(i64::MIN));
        assert_eq!(int("9223372036854775808", false), None);
        assert_eq!(int("0x10", true), Some(-16));
    }
}
