//! Times as clients write them, in parameters and bodies: RFC 3339 and nothing that is only like it.
//! Called by what reads those; `chrono`'s own reader of a text, which serde uses, also takes months of one digit, spaces and years below zero.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Deserializer};

/// What is said to who writes something else.
const RIGHT: &str =
    "use RFC 3339 with an offset, for example `2026-01-31T12:00:00Z` or `2026-01-31T12:00:00+01:00`";

/// A time as a client wrote it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rfc3339(pub DateTime<Utc>);

/// A text that is no time.
#[derive(Debug)]
pub struct NoTime;

impl fmt::Display for NoTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(RIGHT)
    }
}

impl FromStr for Rfc3339 {
    type Err = NoTime;

    fn from_str(text: &str) -> Result<Self, NoTime> {
        // That reader also takes a space for the `T`, and a minus that is not ASCII.
        if !text.is_ascii() || !matches!(text.as_bytes().get(10), Some(b'T' | b't')) {
            return Err(NoTime);
        }
        DateTime::parse_from_rfc3339(text).map(|time| Self(time.to_utc())).map_err(|_| NoTime)
    }
}

/// Reads a member of a body that is a time, or null; with `#[serde(default)]` it may be missing.
///
/// # Errors
/// For what is no time.
pub fn optional<'de, D: Deserializer<'de>>(member: D) -> Result<Option<DateTime<Utc>>, D::Error> {
    let Some(text) = Option::<String>::deserialize(member)? else { return Ok(None) };
    text.parse().map(|Rfc3339(time)| Some(time)).map_err(serde::de::Error::custom)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_rfc_3339_and_nothing_that_is_only_like_it() {
        let noon = "2026-01-31T12:00:00Z".parse::<Rfc3339>().expect("a time");
        for same in ["2026-01-31T12:00:00+00:00", "2026-01-31T13:30:00.000+01:30", "2026-01-31t12:00:00z"] {
            assert_eq!(same.parse::<Rfc3339>().expect(same), noon);
        }
        for other in [
            "2026-1-31T12:00:00Z",
            "2026-01-31T12:00:00 Z",
            "-0001-01-31T12:00:00Z",
            "+2026-01-31T12:00:00Z",
            "2026-01-31T12:00:00",
            "2026-01-31T12:00Z",
            "2026-01-31T12:00:00+1",
            " 2026-01-31T12:00:00Z",
            "2026-01-31T12:00:00 01:00",
            "2026-01-31 12:00:00Z",
            "2026-01-31T12:00:00\u{2212}01:00",
            "2026-01-31",
            "",
        ] {
            assert!(other.parse::<Rfc3339>().is_err(), "{other}");
        }
    }
}
