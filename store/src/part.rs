//! Parts of a stream, for who needs no more of it however long it is: what they are, and how both databases are asked.
//! Used by `execute` and by whoever reads streams that have no bound; whole streams are loaded by each database's reader.

use crate::stored::event_columns;

/// Some of a stream's events. What is not asked for is not read into memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part<'a> {
    /// Its last event; nothing where there is no such stream.
    Last,
    /// The last event of each type, in order of sequence; the stream's last one is among them.
    LastOfEachType,
    /// The last `limit` events of a type, in order of sequence.
    Newest {
        /// The stored type, without version.
        event_type: &'a str,
        /// How many.
        limit: u32,
    },
    /// The `number`th event of a type, where 0 asks for the first one as 1 does; nothing where there are fewer.
    Nth {
        /// The stored type, without version.
        event_type: &'a str,
        /// Which.
        number: u32,
    },
}

/// The events of one stream, as in each database's statement for whole ones: only those inside of the ledger. Both databases read the numbers of
/// parameters so, and to neither `+position` is a place to look for.
macro_rules! in_stream {
    () => {
        "aggregate_type = $1 AND aggregate_id = $2 AND tenant_id = $3 \
         AND +position BETWEEN 1 AND (SELECT position FROM ledgers WHERE tenant_id = $3)"
    };
}

/// As [`in_stream`], of one type. The type comes first: SQLite reads no further in a row of another one, which may go on for a mebibyte.
macro_rules! of_type {
    ($event_type:literal) => {
        concat!("event_type = ", $event_type, " AND ", in_stream!())
    };
}

/// A question for whole events.
macro_rules! select {
    ($($from:expr),+ $(,)?) => {
        concat!("SELECT ", event_columns!(), " FROM ", $($from),+)
    };
}

/// The types of a stream's events. Of each row only what stands before the payload is read. In order, so that Postgres goes along the stream's index also
/// where it knows nothing of the table yet.
macro_rules! types {
    () => {
        "(SELECT DISTINCT event_type AS name FROM \
             (SELECT event_type FROM events WHERE aggregate_type = $1 AND aggregate_id = $2 ORDER BY sequence) AS every) AS types"
    };
}

/// Asks SQLite for [`Part::LastOfEachType`]; `CROSS JOIN`, because the inner question is not to be asked for each event.
pub(crate) const SQLITE_LAST_OF_EACH_TYPE: &str = select!(
    types!(),
    " CROSS JOIN events WHERE aggregate_type = $1 AND aggregate_id = $2 AND sequence = (SELECT sequence FROM events WHERE ",
    of_type!("types.name"),
    " ORDER BY sequence DESC LIMIT 1) ORDER BY sequence",
);
/// Asks Postgres for the same, which would ask the inner question of the other for each event.
pub(crate) const POSTGRES_LAST_OF_EACH_TYPE: &str = select!(
    types!(),
    " CROSS JOIN LATERAL (SELECT * FROM events WHERE ",
    of_type!("types.name"),
    " ORDER BY sequence DESC LIMIT 1) AS last ORDER BY sequence",
);

impl Part<'_> {
    /// Asks for it: `$1` to `$3` are the stream's type, id and tenant, `$4` and `$5` what [`Part::bound`] says.
    pub(crate) fn sql(&self, last_of_each_type: &'static str) -> &'static str {
        match self {
            Self::Last => select!("events WHERE ", in_stream!(), " ORDER BY sequence DESC LIMIT 1"),
            Self::LastOfEachType => last_of_each_type,
            Self::Newest { .. } => {
                select!("events WHERE ", of_type!("$4"), " ORDER BY sequence DESC LIMIT $5")
            }
            Self::Nth { .. } => {
                select!("events WHERE ", of_type!("$4"), " ORDER BY sequence LIMIT 1 OFFSET $5")
            }
        }
    }

    /// What is bound as `$4` and `$5`, where it asks for that.
    pub(crate) fn bound(&self) -> Option<(&str, i64)> {
        match self {
            Self::Last | Self::LastOfEachType => None,
            Self::Newest { event_type, limit } => Some((event_type, (*limit).into())),
            Self::Nth { event_type, number } => Some((event_type, i64::from(*number).max(1) - 1)),
        }
    }
}
