//! Which database a URL leads to. A replica's rows are proven to be this ledger's where its URL led then; it may lead elsewhere after an outage, when
//! a name or an address was given to another server. Asked by each new connection of the pool, and by who writes.

use std::sync::{Mutex, PoisonError};

use sqlx::postgres::PgConnection;
use sqlx::{Executor, Row};

/// The same on a server and on its physical standbys, and no other's: which data they have, and which database of these it is. In one message, because a pooler
/// in between may give the next one to another session.
const ASK: &str = "SELECT system_identifier::text || '/' || (SELECT oid FROM pg_database WHERE datname = current_database())::text \
                   FROM pg_control_system()";

/// Where connections led when one was last made; `None` before the first, and where the server does not tell.
#[derive(Debug, Default)]
pub(crate) struct Identity(Mutex<Option<String>>);

impl Identity {
    /// Asks a new connection; answers whether it leads to another database than the one before it.
    ///
    /// # Errors
    /// When the connection broke. Of a server that never told, it is taken for granted that it is the same.
    pub(crate) async fn changes(&self, connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
        let found = match connection.fetch_one(ASK).await {
            Ok(row) => Some(row.try_get::<String, _>(0)?),
            Err(sqlx::Error::Database(_)) => None,
            Err(error) => return Err(error),
        };
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let changes = known.is_some() && *known != found;
        *known = found;
        Ok(changes)
    }
}
