//! `Range` and `If-Range` (RFC 9110 section 14): which part of a file a client asks for.
//! Called by `attachments` for a `GET`. What cannot be understood asks for the whole file, as the RFC has it; so do several parts at once.

use std::ops::Range;

use http::header::{IF_RANGE, RANGE};

use crate::error::ApiError;
use crate::head::Head;

/// The bytes that a request asks for of a file of `bytes` whose entity tag is `tag`; `None` for all of them.
///
/// # Errors
/// 416 for a part that begins behind the end; 400 for a field that is given twice.
pub fn asked(head: &Head, tag: &str, bytes: u64) -> Result<Option<Range<u64>>, ApiError> {
    let (Some(given), if_range) = (head.text(&RANGE)?, head.text(&IF_RANGE)?) else { return Ok(None) };
    // Compared strongly; a date never matches, because a file has none.
    let is_of_this_file = if_range.is_none_or(|known| known.trim() == tag);
    // Defined for `GET` alone.
    if head.is_bodiless || !is_of_this_file {
        return Ok(None);
    }
    match part(given, bytes) {
        Part::Whole => Ok(None),
        Part::Of(range) => Ok(Some(range)),
        Part::Behind => Err(ApiError::RangeNotSatisfiable { bytes }),
    }
}

#[derive(Debug, PartialEq)]
enum Part {
    Whole,
    Of(Range<u64>),
    Behind,
}

fn part(given: &str, bytes: u64) -> Part {
    let Some((unit, set)) = given.split_once('=') else { return Part::Whole };
    if !unit.trim().eq_ignore_ascii_case("bytes") {
        return Part::Whole;
    }
    let Some((first, last)) = set.trim().split_once('-') else { return Part::Whole };
    let range = match (first, number(first), last, number(last)) {
        (_, Some(first), "", _) => first..bytes,
        (_, Some(first), _, Some(last)) if first <= last => first..bytes.min(last.saturating_add(1)),
        ("", _, _, Some(0)) => return Part::Behind,
        ("", _, _, Some(count)) => bytes.saturating_sub(count)..bytes,
        _ => return Part::Whole,
    };
    if range.start < bytes { Part::Of(range) } else { Part::Behind }
}

/// A number in digits alone; what is larger than any file is as good as the largest number.
fn number(text: &str) -> Option<u64> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| text.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_from_to_or_the_last_and_what_is_not_understood_is_the_whole() {
        for (given, range) in [
            ("bytes=0-0", 0..1),
            ("bytes=2-4", 2..5),
            ("Bytes = 7-", 7..10),
            ("bytes=7-99999999999999999999", 7..10),
            ("bytes=0-18446744073709551615", 0..10),
            ("bytes=-3", 7..10),
            ("bytes=-30", 0..10),
        ] {
            assert_eq!(part(given, 10), Part::Of(range), "{given}");
        }
        for given in ["bytes=10-", "bytes=10-20", "bytes=99999999999999999999-", "bytes=-0"] {
            assert_eq!(part(given, 10), Part::Behind, "{given}");
        }
        for given in [
            "",
            "bytes",
            "bytes=",
            "bytes=-",
            "bytes=4-2",
            "bytes=a-b",
            "bytes=1-x",
            "bytes=+1-2",
            "bytes=0-1,3-4",
            "lines=1-2",
        ] {
            assert_eq!(part(given, 10), Part::Whole, "{given}");
        }
    }
}
