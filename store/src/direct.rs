//! What those share who ask SQLite itself rather than through sqlx (docs/adr/0002): where they wait, and what a failure means, which is told
//! as sqlx tells it, so that one place decides about it whoever met it.
//! Used by the ledger's writing side and scans, and by whoever writes read models.

use std::borrow::Cow;
use std::error::Error;
use std::fmt;

use sqlx::error::{DatabaseError, ErrorKind};
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::task::{block_in_place, yield_now};

/// Does what waits for SQLite or the disk. Where the runtime has other threads, they take over meanwhile what else this one had to do; where it has none,
/// nothing else goes on: do not wait here for what another task has to do.
pub async fn blocking<T>(work: impl FnOnce() -> T) -> T {
    if Handle::current().runtime_flavor() == RuntimeFlavor::CurrentThread {
        return work();
    }
    let done = block_in_place(work);
    // Back to a thread that runs tasks: whoever is woken from here on is then queued there, without a lock for each of them.
    yield_now().await;
    done
}

/// A failure as sqlx tells it, with SQLite's extended result code.
pub fn failure(error: rusqlite::Error) -> sqlx::Error {
    match error {
        rusqlite::Error::SqliteFailure(failure, message) => {
            let message = message.unwrap_or_else(|| failure.to_string());
            sqlx::Error::Database(Box::new(Failure { code: failure.extended_code, message }))
        }
        // A column that holds something else than its type says.
        rusqlite::Error::FromSqlConversionFailure(..)
        | rusqlite::Error::IntegralValueOutOfRange(..)
        | rusqlite::Error::InvalidColumnType(..)
        | rusqlite::Error::Utf8Error(_) => sqlx::Error::Decode(Box::new(error)),
        // A statement of ours that is wrong.
        misused => sqlx::Error::Protocol(misused.to_string()),
    }
}

/// A refusal or a failure of SQLite.
#[derive(Debug)]
struct Failure {
    /// The extended result code, <https://www.sqlite.org/rescode.html>.
    code: i32,
    message: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "(code: {}) {}", self.code, self.message)
    }
}

impl Error for Failure {}

impl DatabaseError for Failure {
    fn message(&self) -> &str {
        &self.message
    }

    fn code(&self) -> Option<Cow<'_, str>> {
        Some(self.code.to_string().into())
    }

    fn as_error(&self) -> &(dyn Error + Send + Sync + 'static) {
        self
    }

    fn as_error_mut(&mut self) -> &mut (dyn Error + Send + Sync + 'static) {
        self
    }

    fn into_error(self: Box<Self>) -> Box<dyn Error + Send + Sync + 'static> {
        self
    }

    fn kind(&self) -> ErrorKind {
        ErrorKind::Other
    }
}
