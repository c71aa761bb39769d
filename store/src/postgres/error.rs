//! What an error of Postgres means for the ledger: retry, give up, or ask an administrator. Called wherever this folder speaks to a server.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use sqlx::Error;
use sqlx::postgres::PgDatabaseError;
use tokio::time::timeout;

use super::{ANSWER_TIMEOUT, CONNECT_TIMEOUT};
use crate::error::StoreError;

// https://www.postgresql.org/docs/current/errcodes-appendix.html
const DISK_FULL: &str = "53100";
const INSUFFICIENT_PRIVILEGE: &str = "42501";
const LOCK_NOT_AVAILABLE: &str = "55P03";
const QUERY_CANCELED: &str = "57014";
const UNIQUE_VIOLATION: &str = "23505";
const DEADLOCK_DETECTED: &str = "40P01";
const SERIALIZATION_FAILURE: &str = "40001";
const UNDEFINED_TABLE: &str = "42P01";
const INVALID_SCHEMA_NAME: &str = "3F000";
const INVALID_PARAMETER_VALUE: &str = "22023";
const DUPLICATE_TABLE: &str = "42P07";
const TOO_MANY_CONNECTIONS: &str = "53300";
const READ_ONLY_TRANSACTION: &str = "25006";
const IDLE_IN_TRANSACTION: &str = "25P03";
const PROTOCOL_VIOLATION: &str = "08P01";
/// Class 08, connection exceptions; 57P01 to 57P05, shutting down, crashed or starting up; class 28 and 3D000, nobody may log in.
const NOT_SERVING: [&str; 4] = ["08", "57P", "28", "3D"];

/// Data exceptions, violated constraints, exceeded limits of the program (an index entry, an array, a message).
const REFUSES: [&str; 3] = ["22", "23", "54"];

fn code(error: &Error) -> Option<String> {
    Some(error.as_database_error()?.code()?.into_owned())
}

/// The ledger's word for a database's error.
pub(super) fn failed(error: Error) -> StoreError {
    let message = error.as_database_error().map(|error| error.message().to_owned()).unwrap_or_default();
    match code(&error).as_deref() {
        Some(DISK_FULL) => StoreError::StorageFull,
        Some(INSUFFICIENT_PRIVILEGE) => StoreError::MissingPrivilege(message),
        Some(LOCK_NOT_AVAILABLE) => StoreError::Held,
        Some(QUERY_CANCELED | DEADLOCK_DETECTED | SERIALIZATION_FAILURE) => StoreError::Busy,
        Some(UNDEFINED_TABLE | DUPLICATE_TABLE) => {
            StoreError::Unusable(format!("it holds other tables than a ledger's: {message}"))
        }
        Some(code) if REFUSES.iter().any(|class| code.starts_with(class)) => {
            StoreError::Refused(Arc::new(error))
        }
        _ if is_lost(&error) => StoreError::Unreachable(Arc::new(error)),
        _ if matches!(error, Error::PoolTimedOut) => StoreError::ReadersBusy,
        _ => StoreError::Database(Arc::new(error)),
    }
}

/// Whether the connection is gone or of no use, so that another one may succeed.
pub(super) fn is_lost(error: &Error) -> bool {
    match code(error).as_deref() {
        Some(TOO_MANY_CONNECTIONS | READ_ONLY_TRANSACTION | IDLE_IN_TRANSACTION) => true,
        Some(code) => NOT_SERVING.iter().any(|class| code.starts_with(class)),
        None => matches!(error, Error::Io(_) | Error::Tls(_) | Error::Protocol(_) | Error::WorkerCrashed),
    }
}

/// Whether the login may use none of the schemas in which it would look for tables and make them.
pub(super) fn is_without_schema(error: &Error) -> bool {
    code(error).as_deref() == Some(INVALID_SCHEMA_NAME)
}

/// Whether a role was to be taken on that the server does not have.
pub(super) fn is_role_unknown(error: &Error) -> bool {
    code(error).as_deref() == Some(INVALID_PARAMETER_VALUE)
}

/// Whether a statement raised it by itself (PL/pgSQL's `RAISE`), in words of its author's, rather than the server that would not run it. Both may have the same code.
pub(super) fn is_raised(error: &Error) -> bool {
    let of_postgres = error.as_database_error().and_then(|error| error.try_downcast_ref::<PgDatabaseError>());
    of_postgres.and_then(PgDatabaseError::routine) == Some("exec_stmt_raise")
}

/// Whether a pooler takes no settings of a session when a client connects; PgBouncer says so with this code.
pub(super) fn refuses_settings(error: &Error) -> bool {
    code(error).as_deref() == Some(PROTOCOL_VIOLATION)
}

/// Whether the batch met what another transaction wrote, or waits in a circle with one: planned on newer facts it may succeed.
pub(super) fn collided(error: &Error) -> bool {
    matches!(code(error).as_deref(), Some(UNIQUE_VIOLATION | DEADLOCK_DETECTED | SERIALIZATION_FAILURE))
}

/// Waits for a server at most [`ANSWER_TIMEOUT`]. The connection is of no use after an error for which [`is_lost`] holds.
pub(super) async fn answered<T>(answer: impl Future<Output = Result<T, Error>> + Send) -> Result<T, Error> {
    within(ANSWER_TIMEOUT, answer).await
}

/// Waits for a connection at most [`CONNECT_TIMEOUT`].
pub(super) async fn connected<T>(connect: impl Future<Output = Result<T, Error>> + Send) -> Result<T, Error> {
    within(CONNECT_TIMEOUT, connect).await
}

async fn within<T>(
    limit: Duration,
    answer: impl Future<Output = Result<T, Error>> + Send,
) -> Result<T, Error> {
    match timeout(limit, answer).await {
        Ok(answer) => answer,
        Err(_silent) => Err(Error::Io(std::io::ErrorKind::TimedOut.into())),
    }
}
