//! Statements over many rows. SQLite: `VALUES (…), (…), …` in a few fixed sizes: a statement costs as much as a few rows, and power-of-two sizes keep
//! the number of prepared statements small.
//! Postgres: one array per column, taken apart by `unnest`: one statement and one round trip, however many rows; many new rows come by `COPY`
//! (docs/adr/0011).
//! Used by the projections' write paths.

use sqlx::Arguments;
use sqlx::postgres::PgArguments;
use uuid::Uuid;

use super::{Connection, Rights, Row, storable};

/// Rows per SQLite statement, largest first. 64 rows of 14 columns stay far below SQLite's 32,766 parameters.
const CHUNK_ROWS: [usize; 7] = [64, 32, 16, 8, 4, 2, 1];

/// From how many new rows on they are copied: fewer are not worth its second round trip. A batch that is refused is halved until it goes through or its
/// event is alone, so a submission that is there comes by its statement in the end, which says what becomes of it.
const COPIED_ROWS_MIN: usize = 16;

/// Why a connection of the pool for queries comes here never.
const WRITERS_ONLY: &str = "only projections work over many rows, on the connection that writes";

/// What a column of the rows holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Text,
    Integer,
    Flag,
    Uuid,
    Bytes,
}

/// Takes a row's values, column by column.
pub(crate) trait Values {
    fn text(&mut self, text: &str);
    fn text_or_null(&mut self, text: Option<&str>);
    fn integer(&mut self, number: i64);
    fn integer_or_null(&mut self, number: Option<i64>);
    fn flag(&mut self, flag: bool);
    fn uuid(&mut self, id: Uuid);
    fn bytes_or_null(&mut self, bytes: Option<&[u8]>);
}

/// One statement, written out for each database and chunk size.
#[derive(Debug)]
pub(crate) struct ManyRows {
    sqlite: [String; CHUNK_ROWS.len()],
    postgres: String,
    /// What takes rows as they are; only of [`ManyRows::insert`].
    copy: Option<String>,
    kinds: &'static [Kind],
}

impl ManyRows {
    /// Inserts the rows as they are: `into` is `INSERT INTO <table> (<columns>)`, `after` the conflict clause, or empty.
    ///
    /// Without a conflict clause SQLite is told to leave what a refused statement did: the transaction is rolled back then, and it need not copy each
    /// page first to be able to undo the statement alone.
    pub(crate) fn insert(into: &str, kinds: &'static [Kind], after: &str) -> Self {
        let row = row(kinds);
        let into_sqlite = match (into.strip_prefix("INSERT INTO "), after) {
            (Some(table), "") => format!("INSERT OR FAIL INTO {table}"),
            _ => into.to_owned(),
        };
        Self {
            sqlite: CHUNK_ROWS
                .map(|rows| format!("{into_sqlite} VALUES {} {after}", vec![&*row; rows].join(","))),
            postgres: format!("{into} SELECT * FROM {} {after}", unnested(kinds)),
            copy: into
                .strip_prefix("INSERT INTO ")
                .map(|table| format!("COPY {table} FROM STDIN (FORMAT binary)")),
            kinds,
        }
    }

    /// Any statement; `{rows}` in it is a table `r` with the columns `column1`, `column2`, …
    pub(crate) fn over(statement: &str, kinds: &'static [Kind]) -> Self {
        let row = row(kinds);
        let listed = |rows: usize| format!("(VALUES {}) AS r", vec![&*row; rows].join(","));
        Self {
            sqlite: CHUNK_ROWS.map(|rows| statement.replace("{rows}", &listed(rows))),
            postgres: statement.replace("{rows}", &unnested(kinds)),
            copy: None,
            kinds,
        }
    }

    /// Runs the statement over `rows`, in order; answers how many rows it changed.
    pub(crate) async fn execute<R>(
        &'static self,
        connection: &mut Connection<'_>,
        rows: Vec<R>,
        bind: impl Fn(&mut dyn Values, &R),
    ) -> Result<u64, sqlx::Error> {
        if rows.is_empty() {
            return Ok(0);
        }
        match connection {
            Connection::Sqlite(_) => unreachable!("{WRITERS_ONLY}"),
            Connection::File(file) => file.execute_over(self.chunks(rows.len()), rows, bind).await,
            Connection::Postgres(connection, _) => {
                let arguments = self.arrays(&rows, bind)?;
                let done = sqlx::query_with(&self.postgres, arguments).execute(&mut **connection).await?;
                Ok(done.rows_affected())
            }
        }
    }

    /// Inserts rows that are not there yet. Postgres takes many of them without a statement, for little more than half of the CPU, where no
    /// policy has to look at each; it refuses one that is there after all. Elsewhere it is as [`ManyRows::execute`].
    pub(crate) async fn insert_new<R>(
        &'static self,
        connection: &mut Connection<'_>,
        rows: Vec<R>,
        bind: impl Fn(&mut dyn Values, &R),
    ) -> Result<(), sqlx::Error> {
        match (connection, &self.copy) {
            (Connection::Postgres(connection, Rights::Exempt), Some(copy))
                if rows.len() >= COPIED_ROWS_MIN =>
            {
                let mut taking = connection.copy_in_raw(copy).await?;
                let mut copied = Copied::begin();
                for row in rows {
                    copied.row(self.kinds.len());
                    bind(&mut copied, &row);
                    if copied.bytes.len() >= COPIED_BYTES {
                        taking.send(std::mem::take(&mut copied.bytes)).await?;
                    }
                }
                taking.send(copied.end()).await?;
                taking.finish().await.map(drop)
            }
            (connection, _) => self.execute(connection, rows, bind).await.map(drop),
        }
    }

    /// Runs a query over `rows`; answers what it found.
    pub(crate) async fn fetch<R>(
        &'static self,
        connection: &mut Connection<'_>,
        rows: Vec<R>,
        bind: impl Fn(&mut dyn Values, &R),
    ) -> Result<Vec<Row>, sqlx::Error> {
        if rows.is_empty() {
            return Ok(Vec::new());
        }
        match connection {
            Connection::Sqlite(_) => unreachable!("{WRITERS_ONLY}"),
            Connection::File(file) => {
                let found = file.fetch_over(self.chunks(rows.len()), rows, bind).await?;
                Ok(found.into_iter().map(Row::File).collect())
            }
            Connection::Postgres(connection, _) => {
                let arguments = self.arrays(&rows, bind)?;
                let found = sqlx::query_with(&self.postgres, arguments).fetch_all(&mut **connection).await?;
                Ok(found.into_iter().map(Row::Postgres).collect())
            }
        }
    }

    /// Statements of the fixed sizes for so many rows, each with how many of them it takes.
    fn chunks(&self, mut left: usize) -> impl Iterator<Item = (&str, usize)> {
        std::iter::from_fn(move || {
            let (size, text) = CHUNK_ROWS.iter().zip(&self.sqlite).find(|(size, _)| **size <= left)?;
            left -= size;
            Some((text.as_str(), *size))
        })
    }

    /// The rows as one array per column.
    fn arrays<R>(&self, rows: &[R], bind: impl Fn(&mut dyn Values, &R)) -> Result<PgArguments, sqlx::Error> {
        let mut arrays =
            Arrays { columns: self.kinds.iter().map(|kind| Array::of(*kind, rows.len())).collect(), next: 0 };
        for row in rows {
            bind(&mut arrays, row);
        }
        let mut arguments = PgArguments::default();
        for column in arrays.columns {
            match column {
                Array::Text(texts) => arguments.add(texts),
                Array::Integer(numbers) => arguments.add(numbers),
                Array::Flag(flags) => arguments.add(flags),
                Array::Uuid(ids) => arguments.add(ids),
                Array::Bytes(bytes) => arguments.add(bytes),
            }
            .map_err(sqlx::Error::Encode)?;
        }
        Ok(arguments)
    }
}

/// One row's parameters in SQLite.
fn row(kinds: &[Kind]) -> String {
    format!("({})", vec!["?"; kinds.len()].join(","))
}

fn unnested(kinds: &[Kind]) -> String {
    let type_of = |kind: &Kind| match kind {
        Kind::Text => "text[]",
        Kind::Integer => "bigint[]",
        Kind::Flag => "boolean[]",
        Kind::Uuid => "uuid[]",
        Kind::Bytes => "bytea[]",
    };
    let numbered = || kinds.iter().zip(1..);
    let arrays: Vec<_> = numbered().map(|(kind, n)| format!("${n}::{}", type_of(kind))).collect();
    let columns: Vec<_> = numbered().map(|(_, n)| format!("column{n}")).collect();
    format!("unnest({}) AS r({})", arrays.join(", "), columns.join(", "))
}

/// Bytes of rows that are sent at once.
const COPIED_BYTES: usize = 256 * 1024;

/// Rows in Postgres's binary format (<https://www.postgresql.org/docs/current/sql-copy.html>).
struct Copied {
    bytes: Vec<u8>,
}

impl Copied {
    /// The header: signature, no flags, no extension.
    fn begin() -> Self {
        let mut bytes = Vec::with_capacity(COPIED_BYTES + COPIED_BYTES / 4);
        bytes.extend_from_slice(b"PGCOPY\n\xff\r\n\0");
        bytes.extend_from_slice(&[0; 8]);
        Self { bytes }
    }

    fn row(&mut self, columns: usize) {
        self.bytes.extend_from_slice(&(columns as i16).to_be_bytes());
    }

    fn end(mut self) -> Vec<u8> {
        self.bytes.extend_from_slice(&(-1_i16).to_be_bytes());
        self.bytes
    }

    /// `None` is NULL. No value is longer than an event, which is far below what a length says.
    fn value(&mut self, value: Option<&[u8]>) {
        let length = value.map_or(-1, |value| value.len() as i32);
        self.bytes.extend_from_slice(&length.to_be_bytes());
        self.bytes.extend_from_slice(value.unwrap_or_default());
    }
}

impl Values for Copied {
    fn text(&mut self, text: &str) {
        self.value(Some(storable(text).as_bytes()));
    }

    fn text_or_null(&mut self, text: Option<&str>) {
        self.value(text.map(storable).as_deref().map(str::as_bytes));
    }

    fn integer(&mut self, number: i64) {
        self.value(Some(&number.to_be_bytes()));
    }

    fn integer_or_null(&mut self, number: Option<i64>) {
        self.value(number.map(i64::to_be_bytes).as_ref().map(<[u8; 8]>::as_slice));
    }

    fn flag(&mut self, flag: bool) {
        self.value(Some(&[u8::from(flag)]));
    }

    fn uuid(&mut self, id: Uuid) {
        self.value(Some(id.as_bytes()));
    }

    fn bytes_or_null(&mut self, bytes: Option<&[u8]>) {
        self.value(bytes);
    }
}

/// Postgres's parameters, by column.
struct Arrays {
    columns: Vec<Array>,
    /// The column that the next value belongs to.
    next: usize,
}

#[derive(Debug)]
enum Array {
    Text(Vec<Option<String>>),
    Integer(Vec<Option<i64>>),
    Flag(Vec<bool>),
    Uuid(Vec<Uuid>),
    Bytes(Vec<Option<Vec<u8>>>),
}

impl Array {
    fn of(kind: Kind, rows: usize) -> Self {
        match kind {
            Kind::Text => Self::Text(Vec::with_capacity(rows)),
            Kind::Integer => Self::Integer(Vec::with_capacity(rows)),
            Kind::Flag => Self::Flag(Vec::with_capacity(rows)),
            Kind::Uuid => Self::Uuid(Vec::with_capacity(rows)),
            Kind::Bytes => Self::Bytes(Vec::with_capacity(rows)),
        }
    }
}

impl Arrays {
    fn column(&mut self) -> &mut Array {
        let place = self.next;
        self.next = (place + 1) % self.columns.len();
        &mut self.columns[place]
    }
}

/// Puts a value into the next column, which was declared to hold such values.
macro_rules! put {
    ($arrays:expr, $kind:ident, $value:expr) => {
        match $arrays.column() {
            Array::$kind(values) => values.push($value),
            other => unreachable!("a {} was bound to {other:?}", stringify!($kind)),
        }
    };
}

impl Values for Arrays {
    fn text(&mut self, text: &str) {
        self.text_or_null(Some(text));
    }

    fn text_or_null(&mut self, text: Option<&str>) {
        put!(self, Text, text.map(|text| storable(text).into_owned()));
    }

    fn integer(&mut self, number: i64) {
        put!(self, Integer, Some(number));
    }

    fn integer_or_null(&mut self, number: Option<i64>) {
        put!(self, Integer, number);
    }

    fn flag(&mut self, flag: bool) {
        put!(self, Flag, flag);
    }

    fn uuid(&mut self, id: Uuid) {
        put!(self, Uuid, id);
    }

    fn bytes_or_null(&mut self, bytes: Option<&[u8]>) {
        put!(self, Bytes, bytes.map(Vec::from));
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::LazyLock;

    use formledger_test_cluster::Database;
    use sqlx::Executor;

    use super::*;
    use crate::database::sql;

    pub(in crate::database) type OfAllKinds =
        (String, Option<String>, i64, Option<i64>, bool, Uuid, Option<Vec<u8>>);

    pub(in crate::database) fn bind(
        values: &mut dyn Values,
        (text, other, number, maybe, flag, id, bytes): &OfAllKinds,
    ) {
        values.text(text);
        values.text_or_null(other.as_deref());
        values.integer(*number);
        values.integer_or_null(*maybe);
        values.flag(*flag);
        values.uuid(*id);
        values.bytes_or_null(bytes.as_deref());
    }

    pub(in crate::database) fn insert(table: &str) -> ManyRows {
        use Kind::{Bytes, Flag, Integer, Text};
        let into = format!("INSERT INTO {table} (a, b, c, d, e, f, g)");
        ManyRows::insert(&into, &[Text, Text, Integer, Integer, Flag, Kind::Uuid, Bytes], "")
    }

    static TOLD: LazyLock<ManyRows> = LazyLock::new(|| insert("told"));
    static COPIED: LazyLock<ManyRows> = LazyLock::new(|| insert("copied"));

    #[tokio::test]
    async fn rows_that_are_copied_are_those_that_a_statement_inserts() {
        let database = Database::create().await;
        let mut session = database.connect().await;
        let columns = "(a text, b text, c bigint, d bigint, e boolean, f uuid, g bytea)";
        let made = format!("CREATE TABLE told {columns}; CREATE TABLE copied {columns}");
        session.execute(&*made).await.expect("tables");
        let mut rows: Vec<OfAllKinds> = vec![
            (String::new(), None, i64::MIN, None, false, Uuid::nil(), None),
            ("a\0b".into(), Some("\0".into()), -1, Some(i64::MAX), true, Uuid::max(), Some(vec![0, 255])),
            ("\\N\t\n\"ä😀".into(), Some(String::new()), 0, Some(0), true, Uuid::nil(), Some(vec![])),
        ];
        // Larger than what is sent at once, and enough to be copied.
        rows.extend(
            (0..COPIED_ROWS_MIN)
                .map(|n| ("x".repeat(COPIED_BYTES / 4 + n), None, 1, None, true, Uuid::nil(), None)),
        );
        TOLD.insert_new(&mut Connection::Postgres(&mut session, Rights::Policed), rows.clone(), bind)
            .await
            .expect("inserted");
        let mut exempt = Connection::Postgres(&mut session, Rights::Exempt);
        COPIED.insert_new(&mut exempt, rows.clone(), bind).await.expect("copied");
        COPIED.insert_new(&mut exempt, Vec::new(), bind).await.expect("nothing");
        let differing = "SELECT (SELECT count(*) FROM told), (SELECT count(*) FROM copied), \
            (SELECT count(*) FROM (TABLE told EXCEPT ALL TABLE copied) AS d)";
        let counts = sql(differing).one(&mut exempt).await.expect("counts").cells().expect("numbers");
        let count = rows.len() as i64;
        assert_eq!(counts, [count, count, 0].map(crate::database::Cell::Integer));
    }
}
