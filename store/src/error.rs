//! What can go wrong when recording and reading; "the rules said no" is a different type, the aggregate's own.

use std::sync::Arc;

use formledger_domain::{Position, Sequence};

use crate::direct;

/// The ledger could not be reached, written or read. Nothing that failed with it was acknowledged.
///
/// It can be cloned, because every command of a batch that failed hears why.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// The database refused or failed.
    #[error("the ledger's database failed")]
    Database(#[source] Arc<sqlx::Error>),
    /// The database does not take what was to be recorded, and would not the next time either; what others record is not concerned.
    #[error("the ledger's database refuses what was to be recorded")]
    Refused(#[source] Arc<sqlx::Error>),
    /// The database's server does not answer or does not let us in; try again after a moment.
    #[error("the ledger's database cannot be reached")]
    Unreachable(#[source] Arc<sqlx::Error>),
    /// This server or this database cannot hold the ledger, for the reason given.
    #[error("the ledger's database cannot be used: {0}")]
    Unusable(String),
    /// The database's user lacks a privilege; the text says which and how to grant it.
    #[error("the ledger's database refuses: {0}")]
    MissingPrivilege(String),
    /// The database has no space left; writes are refused until there is.
    #[error("the ledger's storage is full")]
    StorageFull,
    /// More commands wait than the queue may hold; try again after a moment.
    #[error("too many commands are waiting to be recorded")]
    QueueFull,
    /// Every connection that reads stayed in use for as long as a reader waits; try again after a moment.
    #[error("every connection that reads the ledger is in use")]
    ReadersBusy,
    /// Another process wrote to the ledger all the time, or the database took too long; try again after a moment.
    #[error("the ledger is busy with another writer, or its database takes too long")]
    Busy,
    /// Another process holds a ledger of the batch within a transaction that does not end; nothing was recorded, and other tenants are not concerned.
    #[error("another process holds the ledger and does not let it go")]
    Held,
    /// An import into the ledger is not at its end; nothing else is recorded until it is.
    #[error("an import into this ledger is not at its end")]
    Importing,
    /// The writer has stopped, because the process is ending.
    #[error("the ledger is closing")]
    Closed,
    /// The database was migrated by a newer binary.
    #[error("the ledger has schema version {found}, this binary knows up to {known}: use a newer formledger")]
    NewerSchema {
        /// The version in the database.
        found: i64,
        /// The newest version that this binary can read.
        known: i64,
    },
    /// A stream of one tenant was used with the ledger of another: a defect of the caller, refused before anything is read.
    #[error("the stream belongs to another tenant's ledger")]
    ForeignStream,
    /// What is stored contradicts itself: a gap, a hash that differs, an event that no code can read.
    #[error("the ledger is damaged: {0}")]
    Damaged(String),
}

impl StoreError {
    /// Whether what is stored was found to be other than it was recorded, or broken, rather than out of reach.
    pub fn is_damage(&self) -> bool {
        matches!(self, Self::Damaged(_))
            || self.sqlite_code().is_some_and(|code| SQLITE_CORRUPT.contains(&code))
    }

    /// The extended result code, where SQLite refused or failed.
    fn sqlite_code(&self) -> Option<i32> {
        let (Self::Database(error) | Self::Refused(error)) = self else { return None };
        error.as_database_error()?.code()?.parse().ok()
    }

    /// The primary result code, of errors of the embedded database.
    pub(crate) fn sqlite_primary(&self) -> Option<i32> {
        self.sqlite_code().map(primary)
    }

    /// The ledger goes on behind a position of which it holds no event.
    pub fn missing(position: Position) -> Self {
        Self::Damaged(format!("position {position} is missing"))
    }
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        match error.as_database_error().and_then(|error| error.code()?.parse::<i32>().ok()) {
            Some(code) if primary(code) == SQLITE_FULL || SQLITE_NO_ROOM.contains(&code) => Self::StorageFull,
            Some(code) if primary(code) == SQLITE_BUSY => Self::Busy,
            Some(code) if SQLITE_REFUSES.contains(&primary(code)) => Self::Refused(Arc::new(error)),
            _ if matches!(error, sqlx::Error::PoolTimedOut) => Self::ReadersBusy,
            _ => Self::Database(Arc::new(error)),
        }
    }
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        direct::failure(error).into()
    }
}

/// <https://www.sqlite.org/rescode.html>: the database could not get the lock within the busy timeout.
const SQLITE_BUSY: i32 = 5;
/// The same list: a write could not complete because the disk is full.
const SQLITE_FULL: i32 = 13;
/// The same list: a value is too big, violates a constraint or has the wrong type.
const SQLITE_REFUSES: [i32; 3] = [18, 19, 20];
/// The same list: the file system would not let a file grow (`SQLITE_IOERR_WRITE`, `SQLITE_IOERR_SHMSIZE`), which is what a quota and a
/// limit on file sizes look like.
const SQLITE_NO_ROOM: [i32; 2] = [778, 4874];

/// The same list: what the file holds is no sound database, or its tables or indices contradict each other.
const SQLITE_CORRUPT: [i32; 4] = [11, 267, 523, 779];

/// The primary result code is the low byte of an extended one.
fn primary(code: i32) -> i32 {
    code & 0xff
}

/// An error and everything below it as one line, for logs: a log line that names only the outermost error hides the disk that broke.
pub fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut below = error.source();
    while let Some(cause) = below {
        let said = cause.to_string();
        // sqlx's errors, and others', say in their own text what is below them.
        if !text.ends_with(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
        below = cause.source();
    }
    text
}

/// Why an append was not recorded.
#[derive(Debug, Clone, thiserror::Error)]
pub enum AppendError {
    /// The stream is not where the caller expected it to be.
    #[error("the stream is at sequence {actual}, not at {expected}")]
    Conflict {
        /// What the caller stated.
        expected: Sequence,
        /// Where the stream is.
        actual: Sequence,
    },
    /// What it was decided on is not what the ledger says now: its [`crate::Basis`] moved, or events may have been lost since it was read. It is
    /// to be read and decided again.
    #[error("what this was decided on has changed or may be lost")]
    Outdated,
    /// The idempotency key was used before with another request.
    #[error("the idempotency key was used for another request")]
    KeyReused,
    /// It could not be recorded.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why a command had no effect.
#[derive(Debug, thiserror::Error)]
pub enum ExecuteError<E: std::error::Error> {
    /// The aggregate said no.
    #[error(transparent)]
    Refused(E),
    /// It could not be recorded.
    #[error(transparent)]
    Append(#[from] AppendError),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_line_names_the_innermost_cause() {
        let disk = sqlx::Error::Io(std::io::Error::other("the disk broke"));
        assert!(causes(&StoreError::from(disk)).ends_with("the disk broke"));
    }

    #[test]
    fn a_cause_that_the_error_above_it_names_is_not_named_twice() {
        let disk = sqlx::Error::Io(std::io::Error::other("the disk broke"));
        assert_eq!(causes(&StoreError::from(disk)).matches("the disk broke").count(), 1);
    }
}
