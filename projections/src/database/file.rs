//! A file of read models as its writer asks it: SQLite itself rather than through sqlx, which copies every value twice and crosses to a thread of its
//! own and back for every statement (docs/adr/0003). Errors are told as sqlx tells them. Only where a transaction begins, and waits for another
//! writer, is the thread free meanwhile: that writer may be a task that has to run on it.
//! Used by [`Connection`](super::Connection) for whoever writes; queries are asked through sqlx's pool.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use formledger_store::direct::{blocking, failure};
use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{CachedStatement, ErrorCode, OpenFlags, Statement, ToSql};
use sqlx::error::{BoxDynError, UnexpectedNullError};
use tokio::time::sleep;
use uuid::Uuid;

use super::{Cell, Value, Values};

#[cfg(test)]
mod tests;

/// How often one who waits for another writer looks whether that one is done.
const BUSY_LOOK: Duration = Duration::from_millis(5);

/// A connection that writes a file.
///
/// Whoever waits for it holds it alone: rusqlite's may be handed to another thread, and not be shared with one.
#[derive(Debug)]
pub(crate) struct FileConnection {
    sqlite: rusqlite::Connection,
    busy_timeout: Duration,
}

impl FileConnection {
    /// Opens a file that is there, and runs `settings` in it.
    pub(crate) async fn open(
        path: &Path,
        busy_timeout: Duration,
        statements_max: usize,
        settings: &str,
    ) -> Result<Self, sqlx::Error> {
        let opened = blocking(|| {
            let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
            let sqlite = rusqlite::Connection::open_with_flags(path, flags)?;
            sqlite.busy_timeout(busy_timeout)?;
            sqlite.set_prepared_statement_cache_capacity(statements_max);
            sqlite.execute_batch(settings)?;
            Ok(Self { sqlite, busy_timeout })
        });
        opened.await.map_err(failure)
    }

    /// Runs a statement; answers how many rows it changed.
    pub(super) async fn execute(&mut self, text: &str, values: &[Value<'_>]) -> Result<u64, sqlx::Error> {
        let connection = &mut self.sqlite;
        let done = blocking(move || {
            let mut statement = connection.prepare_cached(text)?;
            bind_all(&mut statement, values)?;
            Ok(statement.raw_execute()? as u64)
        });
        done.await.map_err(failure)
    }

    /// All rows that a statement gives.
    pub(super) async fn rows(
        &mut self,
        text: &str,
        values: &[Value<'_>],
    ) -> Result<Vec<FileRow>, sqlx::Error> {
        let connection = &mut self.sqlite;
        let read = blocking(move || {
            let mut statement = connection.prepare_cached(text)?;
            bind_all(&mut statement, values)?;
            let mut rows = Vec::new();
            read_into(&mut statement, &mut rows)?;
            Ok(rows)
        });
        read.await.map_err(failure)
    }

    /// Runs one statement after the other, each over as many of the `rows` as it says; answers how many rows they changed.
    pub(super) async fn execute_over<'t, R>(
        &mut self,
        statements: impl Iterator<Item = (&'t str, usize)>,
        rows: Vec<R>,
        bind: impl Fn(&mut dyn Values, &R),
    ) -> Result<u64, sqlx::Error> {
        let connection = &mut self.sqlite;
        let done = blocking(move || {
            let (mut changed, mut rows) = (0, rows.into_iter());
            for (text, count) in statements {
                let mut statement = connection.prepare_cached(text)?;
                bind_rows(&mut statement, rows.by_ref().take(count), &bind)?;
                changed += statement.raw_execute()? as u64;
            }
            Ok(changed)
        });
        done.await.map_err(failure)
    }

    /// The same with queries; answers what they found.
    pub(super) async fn fetch_over<'t, R>(
        &mut self,
        statements: impl Iterator<Item = (&'t str, usize)>,
        rows: Vec<R>,
        bind: impl Fn(&mut dyn Values, &R),
    ) -> Result<Vec<FileRow>, sqlx::Error> {
        let connection = &mut self.sqlite;
        let read = blocking(move || {
            let (mut found, mut rows) = (Vec::new(), rows.into_iter());
            for (text, count) in statements {
                let mut statement = connection.prepare_cached(text)?;
                bind_rows(&mut statement, rows.by_ref().take(count), &bind)?;
                read_into(&mut statement, &mut found)?;
            }
            Ok(found)
        });
        read.await.map_err(failure)
    }

    /// Runs statements without parameters, and passes over what they answer.
    pub(super) async fn run_script(&mut self, script: &str) -> Result<(), sqlx::Error> {
        let connection = &mut self.sqlite;
        blocking(move || connection.execute_batch(script)).await.map_err(failure)
    }

    /// Begins a transaction with a script that does, once no other one writes.
    pub(super) async fn begin(&mut self, script: &str) -> Result<FileTransaction<'_>, sqlx::Error> {
        let deadline = Instant::now() + self.busy_timeout;
        // From here on: whoever stops waiting must not leave a transaction behind.
        let transaction = FileTransaction(self);
        loop {
            match transaction.0.run_at_once(script).await {
                Err(error) if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy) => {
                    if Instant::now() >= deadline {
                        return Err(failure(error));
                    }
                    sleep(BUSY_LOOK).await;
                }
                Err(error) => return Err(failure(error)),
                Ok(()) => return Ok(transaction),
            }
        }
    }

    /// Runs what begins a transaction, or nothing of it; does not wait for another writer.
    async fn run_at_once(&mut self, script: &str) -> rusqlite::Result<()> {
        let Self { sqlite, busy_timeout } = self;
        blocking(move || {
            sqlite.busy_timeout(Duration::ZERO)?;
            let done = sqlite.execute_batch(script);
            if done.is_err() {
                roll_back(sqlite);
            }
            sqlite.busy_timeout(*busy_timeout)?;
            done
        })
        .await
    }

    /// Closes it whatever it was doing. The last connection to a file copies the write-ahead log into it.
    pub(super) async fn forget(self) {
        blocking(move || drop(self)).await;
    }

    pub(super) async fn close(self) -> Result<(), sqlx::Error> {
        let closed = blocking(move || self.sqlite.close().map_err(|(_still_open, error)| error));
        closed.await.map_err(failure)
    }
}

fn roll_back(sqlite: &rusqlite::Connection) {
    if !sqlite.is_autocommit()
        && let Err(error) = sqlite.execute_batch("ROLLBACK")
    {
        tracing::warn!(%error, "a transaction of the read models was not rolled back");
    }
}

/// A transaction of a file; rolled back when dropped.
#[derive(Debug)]
pub(crate) struct FileTransaction<'c>(&'c mut FileConnection);

impl FileTransaction<'_> {
    pub(super) fn file(&mut self) -> &mut FileConnection {
        self.0
    }

    /// One that SQLite has rolled back already, as on a full disk, is refused.
    pub(super) async fn commit(self) -> Result<(), sqlx::Error> {
        self.0.run_script("COMMIT").await
    }

    pub(super) async fn rollback(self) -> Result<(), sqlx::Error> {
        self.0.run_script("ROLLBACK").await
    }
}

impl Drop for FileTransaction<'_> {
    fn drop(&mut self) {
        roll_back(&self.0.sqlite);
    }
}

/// Binds `$1`, `$2`, … To SQLite these are names, numbered as they are met in the text.
fn bind_all(statement: &mut Statement<'_>, values: &[Value<'_>]) -> rusqlite::Result<()> {
    for place in 1..=statement.parameter_count() {
        let number = statement.parameter_name(place).and_then(|name| name.strip_prefix('$')?.parse().ok());
        let value = number.and_then(|number: usize| values.get(number.checked_sub(1)?));
        let value = value.ok_or_else(|| rusqlite::Error::InvalidParameterCount(values.len(), place))?;
        statement.raw_bind_parameter(place, value)?;
    }
    Ok(())
}

impl ToSql for Value<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Self::Text(text) => {
                text.as_deref().map_or(ValueRef::Null, |text| ValueRef::Text(text.as_bytes()))
            }
            Self::Integer(number) => number.map_or(ValueRef::Null, ValueRef::Integer),
            Self::Bytes(bytes) => ValueRef::Blob(bytes),
            Self::Uuid(id) => ValueRef::Blob(id.as_bytes()),
        }))
    }
}

fn bind_rows<R>(
    statement: &mut CachedStatement<'_>,
    rows: impl Iterator<Item = R>,
    bind: impl Fn(&mut dyn Values, &R),
) -> rusqlite::Result<()> {
    let mut parameters = Parameters { statement, bound: 0, result: Ok(()) };
    for row in rows {
        bind(&mut parameters, &row);
    }
    let Parameters { statement, bound, result } = parameters;
    debug_assert_eq!(bound, statement.parameter_count(), "every row has a value for every column");
    result
}

/// A statement's parameters, bound one after the other.
struct Parameters<'s, 'c> {
    statement: &'s mut CachedStatement<'c>,
    bound: usize,
    /// What binding refused first.
    result: rusqlite::Result<()>,
}

impl Parameters<'_, '_> {
    fn add(&mut self, value: ValueRef<'_>) {
        self.bound += 1;
        if self.result.is_ok() {
            self.result = self.statement.raw_bind_parameter(self.bound, ToSqlOutput::Borrowed(value));
        }
    }
}

impl Values for Parameters<'_, '_> {
    fn text(&mut self, text: &str) {
        self.add(ValueRef::Text(text.as_bytes()));
    }

    fn text_or_null(&mut self, text: Option<&str>) {
        self.add(text.map_or(ValueRef::Null, |text| ValueRef::Text(text.as_bytes())));
    }

    fn integer(&mut self, number: i64) {
        self.add(ValueRef::Integer(number));
    }

    fn integer_or_null(&mut self, number: Option<i64>) {
        self.add(number.map_or(ValueRef::Null, ValueRef::Integer));
    }

    fn flag(&mut self, flag: bool) {
        self.add(ValueRef::Integer(flag.into()));
    }

    fn uuid(&mut self, id: Uuid) {
        self.add(ValueRef::Blob(id.as_bytes()));
    }

    fn bytes_or_null(&mut self, bytes: Option<&[u8]>) {
        self.add(bytes.map_or(ValueRef::Null, ValueRef::Blob));
    }
}

/// A row of an answer, with the names of its columns.
#[derive(Debug)]
pub(crate) struct FileRow {
    columns: Arc<[Box<str>]>,
    cells: Vec<Cell>,
}

fn read_into(statement: &mut Statement<'_>, found: &mut Vec<FileRow>) -> rusqlite::Result<()> {
    let columns: Arc<[Box<str>]> = statement.column_names().into_iter().map(Into::into).collect();
    let mut rows = statement.raw_query();
    while let Some(row) = rows.next()? {
        let cells = (0..columns.len()).map(|column| cell(row.get_ref(column)?)).collect::<Result<_, _>>()?;
        found.push(FileRow { columns: Arc::clone(&columns), cells });
    }
    Ok(())
}

fn cell(value: ValueRef<'_>) -> rusqlite::Result<Cell> {
    Ok(match value {
        ValueRef::Null => Cell::Null,
        ValueRef::Integer(number) => Cell::Integer(number),
        ValueRef::Real(number) => Cell::Real(number),
        ValueRef::Text(_) => Cell::Text(value.as_str()?.to_owned()),
        ValueRef::Blob(bytes) => Cell::Bytes(bytes.to_vec()),
    })
}

impl FileRow {
    /// All columns, texts as Postgres would keep them.
    pub(super) fn cells(&self) -> Vec<Cell> {
        self.cells.iter().map(Cell::storable).collect()
    }

    /// A column by its name.
    pub(super) fn get<'r, T: OfCell<'r>>(&'r self, name: &str) -> Result<T, sqlx::Error> {
        let place = self.columns.iter().position(|column| **column == *name);
        let place = place.ok_or_else(|| sqlx::Error::ColumnNotFound(name.to_owned()))?;
        self.at(place)
    }

    /// A column by its place, from 0.
    pub(super) fn at<'r, T: OfCell<'r>>(&'r self, place: usize) -> Result<T, sqlx::Error> {
        let cell = self
            .cells
            .get(place)
            .ok_or(sqlx::Error::ColumnIndexOutOfBounds { index: place, len: self.cells.len() })?;
        T::of_cell(cell).map_err(|source| {
            let index = self.columns[place].to_string();
            sqlx::Error::ColumnDecode { index, source }
        })
    }
}

/// What a column may be read as.
pub(crate) trait OfCell<'r>: Sized {
    fn of_cell(cell: &'r Cell) -> Result<Self, BoxDynError>;
}

impl<'r, T: OfCell<'r>> OfCell<'r> for Option<T> {
    fn of_cell(cell: &'r Cell) -> Result<Self, BoxDynError> {
        if *cell == Cell::Null { Ok(None) } else { T::of_cell(cell).map(Some) }
    }
}

impl<'r> OfCell<'r> for i64 {
    fn of_cell(cell: &'r Cell) -> Result<Self, BoxDynError> {
        if let Cell::Integer(number) = cell { Ok(*number) } else { Err(unexpected(cell, "an integer")) }
    }
}

impl<'r> OfCell<'r> for bool {
    fn of_cell(cell: &'r Cell) -> Result<Self, BoxDynError> {
        i64::of_cell(cell).map(|number| number != 0)
    }
}

impl<'r> OfCell<'r> for &'r str {
    fn of_cell(cell: &'r Cell) -> Result<Self, BoxDynError> {
        if let Cell::Text(text) = cell { Ok(text) } else { Err(unexpected(cell, "a text")) }
    }
}

impl<'r> OfCell<'r> for String {
    fn of_cell(cell: &'r Cell) -> Result<Self, BoxDynError> {
        <&str>::of_cell(cell).map(str::to_owned)
    }
}

impl<'r> OfCell<'r> for &'r [u8] {
    fn of_cell(cell: &'r Cell) -> Result<Self, BoxDynError> {
        if let Cell::Bytes(bytes) = cell { Ok(bytes) } else { Err(unexpected(cell, "bytes")) }
    }
}

impl<'r> OfCell<'r> for Uuid {
    fn of_cell(cell: &'r Cell) -> Result<Self, BoxDynError> {
        Ok(Self::from_slice(<&[u8]>::of_cell(cell)?)?)
    }
}

fn unexpected(cell: &Cell, expected: &str) -> BoxDynError {
    let found = match cell {
        Cell::Null => return Box::new(UnexpectedNullError),
        Cell::Integer(_) => "an integer",
        Cell::Real(_) => "a number",
        Cell::Text(_) => "a text",
        Cell::Bytes(_) => "bytes",
    };
    format!("{expected} was expected, and it is {found}").into()
}
