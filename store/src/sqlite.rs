//! The ledger on SQLite: one file, WAL, `synchronous=FULL`. Opened by `Store::open_sqlite`.
//! Holds the only SQL of the log for this database; what to write is decided by `writer`.

mod access;
mod read;
mod scan;
mod schema;
mod write;

#[cfg(test)]
mod contract;

use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, Row};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};

use crate::error::StoreError;
pub(crate) use access::{Access, explained, to_read};
pub(crate) use read::SqliteReader;
pub(crate) use write::SqliteBackend;

/// How long a connection waits for another process's lock before it fails with `StoreError::Busy`.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a process waits for another one that brings the file to its schema, which may copy a table, before it fails with `StoreError::Busy`.
const MIGRATION_TIMEOUT: Duration = Duration::from_secs(60);
/// Bytes per page, chosen when the file is created; see docs/adr/0002.
const PAGE_BYTES: u32 = 8192;
/// Page cache of the writing connection in KiB: a batch's dirty pages must fit, or they are spilled and written twice.
const WRITER_CACHE_KIB: u32 = 32 * 1024;
/// Page cache of each reading connection in KiB.
const READER_CACHE_KIB: u32 = 4 * 1024;
/// Pages in the WAL after which a commit copies them into the database file.
const CHECKPOINT_PAGES: u32 = 2000;
/// Statements that stay prepared on the writing connection: one for each size of chunk of each table, and a dozen others.
const WRITER_STATEMENTS_MAX: usize = 64;
/// Results that may wait between SQLite's thread and the task that asked, in rows.
const ROW_CHANNEL_ROWS: usize = 512;

/// A connection that may change the schema, which makes the file where there is none.
fn writer_options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .page_size(PAGE_BYTES)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(MIGRATION_TIMEOUT)
}

/// The connection that appends, to a file that is there: one that went missing under a running process must not come back empty.
fn open_writer(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.set_prepared_statement_cache_capacity(WRITER_STATEMENTS_MAX);
    // Without recursive triggers, `INSERT OR REPLACE` would delete an event without asking the trigger that refuses. What a statement over many
    // rows keeps until it is done stays in memory: a file for it costs more than the rows.
    connection.execute_batch(&format!(
        "PRAGMA synchronous = FULL; PRAGMA cache_size = -{WRITER_CACHE_KIB}; PRAGMA temp_store = MEMORY; \
         PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}; PRAGMA recursive_triggers = ON"
    ))?;
    Ok(connection)
}

fn reader_options(path: &Path, access: Access) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .read_only(true)
        .immutable(access == Access::Immutable)
        .busy_timeout(BUSY_TIMEOUT)
        .row_buffer_size(ROW_CHANNEL_ROWS)
        .pragma("cache_size", format!("-{READER_CACHE_KIB}"))
}

/// A column that holds text.
fn text<'r>(row: &'r Row<'_>, column: usize) -> Result<&'r str, StoreError> {
    Ok(row.get_ref(column)?.as_str().map_err(rusqlite::Error::from)?)
}
