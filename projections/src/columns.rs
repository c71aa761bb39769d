//! How domain types stand in columns, in both directions. Used by every file with SQL; a column that does not hold what it
//! promises is [`Damaged`], because nothing but this crate writes the database.

use chrono::{DateTime, NaiveDate, Utc};
use formledger_domain::{CanonicalJson, FormId, FormVersion, Position, Sequence, TenantId, Work};

/// The longest name in a key, in bytes: of an audience, of an indexed field, of a rule, of a submitter. An entry of a Postgres index
/// holds 2,704 bytes, and one that is larger fails the whole transaction, whatever other tenants have in it. What does not fit is not
/// written as a key; nothing that is taken today needs it.
pub(crate) const KEY_BYTES_MAX: usize = 512;

/// The longest beginning of a text that has at most so many bytes.
pub(crate) fn beginning(text: &str, bytes_max: usize) -> &str {
    &text[..text.floor_char_boundary(bytes_max)]
}

/// A column holds something that this crate never wrote there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("column `{column}` holds {found}")]
pub(crate) struct Damaged {
    pub(crate) column: &'static str,
    pub(crate) found: String,
}

impl Damaged {
    pub(crate) fn new(column: &'static str, found: impl ToString) -> Self {
        Self { column, found: found.to_string() }
    }
}

impl From<Damaged> for sqlx::Error {
    fn from(damaged: Damaged) -> Self {
        Self::Decode(Box::new(damaged))
    }
}

/// The databases' integers are signed; a ledger does not reach 2^63 events.
pub(crate) fn place(place: u64) -> i64 {
    i64::try_from(place).expect("a ledger holds fewer than 2^63 events")
}

pub(crate) fn position(column: i64) -> Result<Position, Damaged> {
    u64::try_from(column).map(Position).map_err(|_| Damaged::new("position", column))
}

pub(crate) fn sequence(column: i64) -> Result<Sequence, Damaged> {
    u64::try_from(column).map(Sequence).map_err(|_| Damaged::new("sequence", column))
}

pub(crate) fn count(column: i64) -> Result<u64, Damaged> {
    u64::try_from(column).map_err(|_| Damaged::new("count", column))
}

pub(crate) fn version(column: i64) -> Result<FormVersion, Damaged> {
    u32::try_from(column).map(FormVersion).map_err(|_| Damaged::new("version", column))
}

/// Microseconds since 1970-01-01T00:00:00Z, as the ledger keeps them.
pub(crate) fn micros(time: DateTime<Utc>) -> i64 {
    time.timestamp_micros()
}

pub(crate) fn time(column: i64) -> Result<DateTime<Utc>, Damaged> {
    DateTime::from_timestamp_micros(column).ok_or_else(|| Damaged::new("time", column))
}

/// A UTC day, `YYYY-MM-DD`.
pub(crate) fn day(column: &str) -> Result<NaiveDate, Damaged> {
    column.parse().map_err(|error| Damaged::new("day", error))
}

pub(crate) fn tenant(column: &str) -> Result<TenantId, Damaged> {
    column.parse().map_err(|error| Damaged::new("tenant_id", error))
}

pub(crate) fn form(column: &str) -> Result<FormId, Damaged> {
    column.parse().map_err(|error| Damaged::new("form", error))
}

/// A leaf hash of the ledger's tree.
pub(crate) fn hash(column: &[u8]) -> Result<[u8; 32], Damaged> {
    column.try_into().map_err(|_| Damaged::new("hash", format!("{} bytes", column.len())))
}

/// JSON columns hold what events held, and events are canonical.
pub(crate) fn work(column: &str) -> Result<Work, Damaged> {
    serde_json::from_str(column).map_err(|error| Damaged::new("work", error))
}

pub(crate) fn json(column: &str) -> Result<CanonicalJson, Damaged> {
    CanonicalJson::readable(column).map_err(|error| Damaged::new("json", error))
}
