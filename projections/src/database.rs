//! One way to ask SQLite and Postgres, so that every read model is written once: statements with `$1` parameters, rows, transactions.
//! Used by every file with SQL. Where the two databases say something differently, the difference is a function of [`Dialect`] (`dialect`).

mod dialect;
mod file;
mod many_rows;

use std::borrow::Cow;

use futures_util::stream::BoxStream;
use futures_util::{StreamExt, TryStreamExt};
use sqlx::postgres::{PgArguments, PgConnection, PgRow};
use sqlx::sqlite::{SqliteArguments, SqliteConnection, SqliteRow};
use sqlx::{Arguments, Connection as _, Decode, Executor, Postgres, Sqlite, Type};
use uuid::Uuid;

pub(crate) use dialect::Dialect;
pub(crate) use file::{FileConnection, FileTransaction};
use file::{FileRow, OfCell};
pub(crate) use many_rows::{Kind, ManyRows, Values};

use crate::pool::Held;

/// What a statement runs on.
#[derive(Debug)]
pub(crate) enum Connection<'c> {
    /// Asks a file.
    Sqlite(&'c mut SqliteConnection),
    /// Writes a file.
    File(&'c mut FileConnection),
    Postgres(&'c mut PgConnection, Rights),
}

/// Whether policies look at the rows that a connection to Postgres writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rights {
    /// They do, which is possible for statements only.
    Policed,
    /// They do not, so that rows may come without a statement: of the projector, where its role is exempt, and of the tables' owner.
    Exempt,
}

impl Connection<'_> {
    pub(crate) fn dialect(&self) -> Dialect {
        match self {
            Self::Sqlite(_) | Self::File(_) => Dialect::Sqlite,
            Self::Postgres(..) => Dialect::Postgres,
        }
    }
}

/// A parameter of a statement.
#[derive(Debug, Clone)]
pub(crate) enum Value<'q> {
    Text(Option<Cow<'q, str>>),
    Integer(Option<i64>),
    Bytes(Vec<u8>),
    Uuid(Uuid),
}

impl<'q> From<&'q str> for Value<'q> {
    fn from(text: &'q str) -> Self {
        Self::Text(Some(text.into()))
    }
}

impl From<String> for Value<'_> {
    fn from(text: String) -> Self {
        Self::Text(Some(text.into()))
    }
}

impl<'q> From<Option<&'q str>> for Value<'q> {
    fn from(text: Option<&'q str>) -> Self {
        Self::Text(text.map(Into::into))
    }
}

impl From<i64> for Value<'_> {
    fn from(number: i64) -> Self {
        Self::Integer(Some(number))
    }
}

impl From<Option<i64>> for Value<'_> {
    fn from(number: Option<i64>) -> Self {
        Self::Integer(number)
    }
}

impl From<Vec<u8>> for Value<'_> {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Bytes(bytes)
    }
}

impl From<Uuid> for Value<'_> {
    fn from(id: Uuid) -> Self {
        Self::Uuid(id)
    }
}

/// Postgres keeps no U+0000 in texts; what people wrote around it is kept.
pub(crate) fn storable(text: &str) -> Cow<'_, str> {
    if text.contains('\0') { text.replace('\0', "\u{fffd}").into() } else { text.into() }
}

/// A statement with its parameters.
#[derive(Debug)]
pub(crate) struct Sql<'q> {
    text: Cow<'q, str>,
    values: Vec<Value<'q>>,
}

/// A statement that names its parameters `$1`, `$2`, …
pub(crate) fn sql<'q>(text: impl Into<Cow<'q, str>>) -> Sql<'q> {
    Sql { text: text.into(), values: Vec::new() }
}

impl<'q> Sql<'q> {
    /// The next parameter's value.
    pub(crate) fn bind(mut self, value: impl Into<Value<'q>>) -> Self {
        self.values.push(value.into());
        self
    }

    /// More text, for statements that are put together.
    pub(crate) fn push(&mut self, text: &str) -> &mut Self {
        self.text.to_mut().push_str(text);
        self
    }

    /// A parameter at this place, with its value.
    pub(crate) fn push_bind(&mut self, value: impl Into<Value<'q>>) -> &mut Self {
        self.values.push(value.into());
        let parameter = format!("${}", self.values.len());
        self.push(&parameter)
    }

    /// What the statement says.
    #[cfg(test)]
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// Runs it; answers how many rows it changed.
    pub(crate) async fn execute(self, connection: &mut Connection<'_>) -> Result<u64, sqlx::Error> {
        Ok(match connection {
            Connection::Sqlite(connection) => {
                let arguments = for_sqlite(self.values)?;
                sqlx::query_with(&self.text, arguments).execute(&mut **connection).await?.rows_affected()
            }
            Connection::File(file) => file.execute(&self.text, &self.values).await?,
            Connection::Postgres(connection, _) => {
                let arguments = for_postgres(self.values)?;
                sqlx::query_with(&self.text, arguments).execute(&mut **connection).await?.rows_affected()
            }
        })
    }

    /// All rows.
    pub(crate) async fn rows(self, connection: &mut Connection<'_>) -> Result<Vec<Row>, sqlx::Error> {
        Ok(match connection {
            Connection::Sqlite(connection) => {
                let arguments = for_sqlite(self.values)?;
                let rows = sqlx::query_with(&self.text, arguments).fetch_all(&mut **connection).await?;
                rows.into_iter().map(Row::Sqlite).collect()
            }
            Connection::File(file) => {
                file.rows(&self.text, &self.values).await?.into_iter().map(Row::File).collect()
            }
            Connection::Postgres(connection, _) => {
                let arguments = for_postgres(self.values)?;
                let rows = sqlx::query_with(&self.text, arguments).fetch_all(&mut **connection).await?;
                rows.into_iter().map(Row::Postgres).collect()
            }
        })
    }

    /// The first row, if there is one.
    pub(crate) async fn optional(self, connection: &mut Connection<'_>) -> Result<Option<Row>, sqlx::Error> {
        Ok(self.rows(connection).await?.into_iter().next())
    }

    /// The first row of a statement that always gives one.
    pub(crate) async fn one(self, connection: &mut Connection<'_>) -> Result<Row, sqlx::Error> {
        self.optional(connection).await?.ok_or(sqlx::Error::RowNotFound)
    }

    /// Row by row, for answers that may end early.
    pub(crate) fn stream<'e>(
        &'e self,
        connection: &'e mut Connection<'_>,
    ) -> Result<BoxStream<'e, Result<Row, sqlx::Error>>, sqlx::Error> {
        Ok(match connection {
            Connection::Sqlite(connection) => {
                let query = sqlx::query_with(&self.text, for_sqlite(self.values.clone())?);
                (&mut **connection).fetch(query).map_ok(Row::Sqlite).boxed()
            }
            Connection::File(_) => unreachable!("who writes a file asks for whole answers"),
            Connection::Postgres(connection, _) => {
                let query = sqlx::query_with(&self.text, for_postgres(self.values.clone())?);
                (&mut **connection).fetch(query).map_ok(Row::Postgres).boxed()
            }
        })
    }
}

fn for_sqlite(values: Vec<Value<'_>>) -> Result<SqliteArguments<'_>, sqlx::Error> {
    let mut arguments = SqliteArguments::default();
    for value in values {
        match value {
            Value::Text(text) => arguments.add(text),
            Value::Integer(number) => arguments.add(number),
            Value::Bytes(bytes) => arguments.add(bytes),
            Value::Uuid(id) => arguments.add(id),
        }
        .map_err(sqlx::Error::Encode)?;
    }
    Ok(arguments)
}

fn for_postgres(values: Vec<Value<'_>>) -> Result<PgArguments, sqlx::Error> {
    let mut arguments = PgArguments::default();
    for value in &values {
        match value {
            Value::Text(text) => arguments.add(text.as_deref().map(storable)),
            Value::Integer(number) => arguments.add(number),
            Value::Bytes(bytes) => arguments.add(bytes),
            Value::Uuid(id) => arguments.add(id),
        }
        .map_err(sqlx::Error::Encode)?;
    }
    Ok(arguments)
}

/// A row of an answer.
pub(crate) enum Row {
    Sqlite(SqliteRow),
    File(FileRow),
    Postgres(PgRow),
}

/// What both databases keep in columns.
pub(crate) trait Column<'r>:
    OfCell<'r> + Decode<'r, Sqlite> + Type<Sqlite> + Decode<'r, Postgres> + Type<Postgres>
{
}

impl<'r, T> Column<'r> for T where
    T: OfCell<'r> + Decode<'r, Sqlite> + Type<Sqlite> + Decode<'r, Postgres> + Type<Postgres>
{
}

/// What a column holds, whichever database it is in: ids are bytes and flags are numbers, as SQLite keeps them.
#[derive(Debug, Clone, PartialEq, PartialOrd)]
pub(crate) enum Cell {
    Null,
    Integer(i64),
    Real(f64),
    Text(String),
    Bytes(Vec<u8>),
}

impl Cell {
    /// As Postgres would keep it.
    fn storable(&self) -> Self {
        match self {
            Self::Text(text) => Self::Text(storable(text).into_owned()),
            other => other.clone(),
        }
    }
}

impl Row {
    /// All columns, in the order of the statement.
    pub(crate) fn cells(&self) -> Result<Vec<Cell>, sqlx::Error> {
        use sqlx::Row as _;
        match self {
            Self::Sqlite(row) => (0..row.len()).map(|column| sqlite_cell(row, column)).collect(),
            Self::File(row) => Ok(row.cells()),
            Self::Postgres(row) => (0..row.len()).map(|column| postgres_cell(row, column)).collect(),
        }
    }

    /// A column by its name.
    pub(crate) fn get<'r, T: Column<'r>>(&'r self, name: &str) -> Result<T, sqlx::Error> {
        use sqlx::Row as _;
        match self {
            Self::Sqlite(row) => row.try_get(name),
            Self::File(row) => row.get(name),
            Self::Postgres(row) => row.try_get(name),
        }
    }

    /// The only column.
    pub(crate) fn value<'r, T: Column<'r>>(&'r self) -> Result<T, sqlx::Error> {
        use sqlx::Row as _;
        match self {
            Self::Sqlite(row) => row.try_get(0),
            Self::File(row) => row.at(0),
            Self::Postgres(row) => row.try_get(0),
        }
    }
}

fn sqlite_cell(row: &SqliteRow, column: usize) -> Result<Cell, sqlx::Error> {
    use sqlx::{Row as _, TypeInfo, ValueRef};
    let raw = row.try_get_raw(column)?;
    if raw.is_null() {
        return Ok(Cell::Null);
    }
    Ok(match raw.type_info().name() {
        "INTEGER" => Cell::Integer(row.try_get(column)?),
        "REAL" => Cell::Real(row.try_get(column)?),
        "TEXT" => Cell::Text(row.try_get(column)?).storable(),
        _ => Cell::Bytes(row.try_get(column)?),
    })
}

fn postgres_cell(row: &PgRow, column: usize) -> Result<Cell, sqlx::Error> {
    use sqlx::{Row as _, TypeInfo, ValueRef};
    let raw = row.try_get_raw(column)?;
    if raw.is_null() {
        return Ok(Cell::Null);
    }
    Ok(match raw.type_info().name() {
        "INT8" => Cell::Integer(row.try_get(column)?),
        "BOOL" => Cell::Integer(row.try_get::<bool, _>(column)?.into()),
        "FLOAT8" => Cell::Real(row.try_get(column)?),
        "TEXT" => Cell::Text(row.try_get(column)?),
        "UUID" => Cell::Bytes(row.try_get::<Uuid, _>(column)?.into_bytes().to_vec()),
        _ => Cell::Bytes(row.try_get(column)?),
    })
}

/// A connection of one's own.
#[derive(Debug)]
pub(crate) enum OwnConnection {
    File(FileConnection),
    Postgres(PgConnection, Rights),
}

impl OwnConnection {
    pub(crate) fn connection(&mut self) -> Connection<'_> {
        match self {
            Self::File(file) => Connection::File(file),
            Self::Postgres(connection, rights) => Connection::Postgres(connection, *rights),
        }
    }

    /// Begins a transaction beside which no other writes: SQLite locks the file, in Postgres writers of one set of read models take the
    /// same lock.
    pub(crate) async fn begin_writing(&mut self) -> Result<Transaction<'_>, sqlx::Error> {
        Ok(match self {
            Self::File(file) => Transaction::File(file.begin("BEGIN IMMEDIATE").await?),
            Self::Postgres(connection, rights) => {
                // Keyed by schema, because a rebuild writes beside the live rows.
                let begin =
                    "BEGIN; SELECT pg_advisory_xact_lock(hashtext('formledger writes ' || current_schema()))";
                Transaction::Postgres(connection.begin_with(begin).await?, *rights)
            }
        })
    }

    /// The same, but leaves a file that is attached beside the live one to its own writer until this transaction reads it.
    pub(crate) async fn begin_writing_beside(&mut self) -> Result<Transaction<'_>, sqlx::Error> {
        match self {
            // The first statement takes the lock of the file that it names, and waits for it as `BEGIN IMMEDIATE` does for those of all.
            Self::File(file) => {
                let begin = "BEGIN; DELETE FROM main.checkpoints WHERE false";
                Ok(Transaction::File(file.begin(begin).await?))
            }
            Self::Postgres(..) => self.begin_writing().await,
        }
    }

    /// Whether policies look at what it writes.
    pub(crate) fn is_policed(&self) -> bool {
        matches!(self, Self::Postgres(_, Rights::Policed))
    }

    /// Runs statements without parameters.
    pub(crate) async fn run_script(&mut self, script: &str) -> Result<(), sqlx::Error> {
        match self {
            Self::File(file) => file.run_script(script).await,
            Self::Postgres(connection, _) => connection.execute(script).await.map(drop),
        }
    }

    /// Lets go of it without a word to a server, which may be gone.
    pub(crate) async fn forget(self) {
        match self {
            Self::File(file) => file.forget().await,
            Self::Postgres(..) => {}
        }
    }

    pub(crate) async fn close(self) -> Result<(), sqlx::Error> {
        match self {
            Self::File(file) => file.close().await,
            Self::Postgres(connection, _) => connection.close().await,
        }
    }
}

/// A transaction; rolled back when dropped.
#[derive(Debug)]
pub(crate) enum Transaction<'c> {
    Sqlite(sqlx::Transaction<'c, Sqlite>),
    File(FileTransaction<'c>),
    Postgres(sqlx::Transaction<'c, Postgres>, Rights),
    /// Of the pool that reads.
    Pooled(
        sqlx::Transaction<'c, Postgres>,
        #[expect(dead_code, reason = "it counts until it is dropped")] Held,
    ),
}

impl Transaction<'_> {
    pub(crate) fn connection(&mut self) -> Connection<'_> {
        match self {
            Self::Sqlite(transaction) => Connection::Sqlite(transaction),
            Self::File(transaction) => Connection::File(transaction.file()),
            Self::Postgres(transaction, rights) => Connection::Postgres(transaction, *rights),
            Self::Pooled(transaction, _) => Connection::Postgres(transaction, Rights::Policed),
        }
    }

    pub(crate) async fn commit(self) -> Result<(), sqlx::Error> {
        match self {
            Self::Sqlite(transaction) => transaction.commit().await,
            Self::File(transaction) => transaction.commit().await,
            Self::Postgres(transaction, _) | Self::Pooled(transaction, _) => transaction.commit().await,
        }
    }

    /// Lets go of everything now: one that is dropped keeps its locks in Postgres until the connection is used again.
    pub(crate) async fn rollback(self) -> Result<(), sqlx::Error> {
        match self {
            Self::Sqlite(transaction) => transaction.rollback().await,
            Self::File(transaction) => transaction.rollback().await,
            Self::Postgres(transaction, _) | Self::Pooled(transaction, _) => transaction.rollback().await,
        }
    }
}
