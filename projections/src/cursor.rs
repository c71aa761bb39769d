//! Where a page ends, as an opaque text that only the same query of the same tenant takes back.
//! Made and read by the queries of this crate; `api` passes it through.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, Utc};
use formledger_domain::Position;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// The longest cursor that is looked at, in bytes; a sort by a long text field stays below.
const CURSOR_BYTES_MAX: usize = 12 * 1024;

/// The end of a page, opaque to clients.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Cursor(String);

impl Cursor {
    /// The text to hand to the client.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The end of a page of what was at a moment, asked for by its position or by a time: it stays there.
    pub(crate) fn at(self, moment: Position, time: Option<DateTime<Utc>>) -> Self {
        let time = time.map_or(String::new(), |time| format!("{OF_TIME}{}", time.timestamp_micros()));
        Self(format!("{moment}{time}{OF_MOMENT}{}", self.0))
    }

    /// The moment that a cursor of the past stays at, in a query by position or by `time`, and the cursor there; `None` for one of the present, and for one of
    /// another time.
    pub fn moment(text: &str, time: Option<DateTime<Utc>>) -> Option<(Position, &str)> {
        let (moment, rest) = text.split_once(OF_MOMENT)?;
        let (moment, of_time) = match moment.split_once(OF_TIME) {
            Some((moment, micros)) => (moment, Some(micros.parse::<i64>().ok()?)),
            None => (moment, None),
        };
        if of_time != time.map(|time| time.timestamp_micros()) {
            return None;
        }
        Some((Position(moment.parse().ok()?), rest))
    }
}

/// Stands between the moment and the rest; no character of base64.
const OF_MOMENT: char = '.';
/// Stands between its position and the time that was asked for.
const OF_TIME: char = '~';

/// A text that is not a cursor of this query.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the cursor does not belong to this query: repeat the query without `cursor` to start over")]
pub struct InvalidCursor;

/// Tells queries apart: a cursor of another tenant, filter or order has another fingerprint.
///
/// It guards against mistakes, not against forgery: a forged cursor only starts a page elsewhere in the caller's own rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Fingerprint(u64);

impl Fingerprint {
    /// Of the parts that make a query what it is, in a fixed order.
    pub(crate) fn of<'a>(parts: impl IntoIterator<Item = &'a str>) -> Self {
        let mut hash = Sha256::new();
        for part in parts {
            hash.update(part.len().to_le_bytes());
            hash.update(part);
        }
        let [a, b, c, d, e, f, g, h, ..] = <[u8; 32]>::from(hash.finalize());
        Self(u64::from_le_bytes([a, b, c, d, e, f, g, h]))
    }
}

/// Writes the key at which a page of this query ended.
pub(crate) fn write(fingerprint: Fingerprint, key: &impl Serialize) -> Cursor {
    let json = serde_json::to_vec(&(fingerprint, key)).expect("page keys are numbers and texts");
    Cursor(URL_SAFE_NO_PAD.encode(json))
}

/// Reads the key back.
///
/// # Errors
/// [`InvalidCursor`] for anything that [`write`] did not write for the same query.
pub(crate) fn read<K: DeserializeOwned>(fingerprint: Fingerprint, cursor: &str) -> Result<K, InvalidCursor> {
    if cursor.len() > CURSOR_BYTES_MAX {
        return Err(InvalidCursor);
    }
    let json = URL_SAFE_NO_PAD.decode(cursor).map_err(|_| InvalidCursor)?;
    let (of, key): (Fingerprint, K) = serde_json::from_slice(&json).map_err(|_| InvalidCursor)?;
    if of == fingerprint { Ok(key) } else { Err(InvalidCursor) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_comes_back_to_its_own_query_only() {
        let query = Fingerprint::of(["acme", "expense", ""]);
        let cursor = write(query, &(7, "x"));
        assert_eq!(read::<(u64, String)>(query, cursor.as_str()), Ok((7, "x".to_owned())));
        for other in [["other", "expense", ""], ["acme", "expensex", ""], ["acme", "", "expense"]] {
            assert_eq!(read::<(u64, String)>(Fingerprint::of(other), cursor.as_str()), Err(InvalidCursor));
        }
    }

    #[test]
    fn a_cursor_of_a_past_moment_says_which_and_is_none_of_the_present() {
        let query = Fingerprint::of(["acme"]);
        let times = [None, DateTime::from_timestamp(1_000, 7_000), DateTime::from_timestamp(1_000, 8_000)];
        for time in times {
            let cursor = write(query, &7).at(Position(41), time);
            assert_eq!(read::<u64>(query, cursor.as_str()), Err(InvalidCursor));
            let (moment, rest) = Cursor::moment(cursor.as_str(), time).expect("a moment");
            assert_eq!((moment, read::<u64>(query, rest)), (Position(41), Ok(7)));
            for other in times.into_iter().filter(|other| *other != time) {
                assert_eq!(Cursor::moment(cursor.as_str(), other), None, "of {time:?} for {other:?}");
            }
        }
        for text in ["", ".", "x.y", "-1.y", "1~.y", "1~x.y", write(query, &7).as_str()] {
            assert_eq!(Cursor::moment(text, None), None, "{text}");
        }
    }

    #[test]
    fn anything_else_is_refused() {
        let query = Fingerprint::of([]);
        let long = "A".repeat(CURSOR_BYTES_MAX + 1);
        for text in ["", "x", "%%%", "e30", long.as_str()] {
            assert_eq!(read::<(u64, String)>(query, text), Err(InvalidCursor), "{text}");
        }
    }
}
