//! The ledger on SQLite: one file, WAL, `synchronous=FULL`. Opened by `Store::open_sqlite`.
//! Holds the only SQL of the log for this database; what to write is decided by `writer`.

mod read;
mod schema;
mod write;

#[cfg(test)]
mod contract;

use std::path::Path;
use std::time::Duration;

use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};

pub(crate) use read::SqliteReader;
pub(crate) use write::SqliteBackend;

/// How long a connection waits for another process's lock before it fails with `StoreError::Busy`.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// Bytes per page, chosen when the file is created; see docs/adr/0002.
const PAGE_BYTES: u32 = 8192;
/// Page cache of the writing connection in KiB: a batch's dirty pages must fit, or they are spilled and written twice.
const WRITER_CACHE_KIB: u32 = 32 * 1024;
/// Page cache of each reading connection in KiB.
const READER_CACHE_KIB: u32 = 4 * 1024;
/// Pages in the WAL after which a commit copies them into the database file.
const CHECKPOINT_PAGES: u32 = 2000;
/// Results that may wait between SQLite's thread and the task that asked, in rows.
const ROW_CHANNEL_ROWS: usize = 512;

fn writer_options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .page_size(PAGE_BYTES)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(BUSY_TIMEOUT)
        .row_buffer_size(ROW_CHANNEL_ROWS)
        .pragma("cache_size", format!("-{WRITER_CACHE_KIB}"))
        .pragma("wal_autocheckpoint", CHECKPOINT_PAGES.to_string())
        // Without it `INSERT OR REPLACE` would delete an event without asking the trigger that refuses.
        .pragma("recursive_triggers", "ON")
}

fn reader_options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .read_only(true)
        .busy_timeout(BUSY_TIMEOUT)
        .row_buffer_size(ROW_CHANNEL_ROWS)
        .pragma("cache_size", format!("-{READER_CACHE_KIB}"))
}
