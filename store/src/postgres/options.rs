//! Where a Postgres ledger is and how to get there. Made by the composition root from its configuration.

use std::fmt;
use std::str::FromStr;

use sqlx::postgres::PgConnectOptions;

use crate::error::StoreError;

/// The addresses of a ledger on Postgres. `Debug` says nothing of passwords.
///
/// The login role owns the tables or is a member of `formledger_writer`, `formledger_projector` and `formledger_reader`; each transaction
/// takes on the one role that it needs. Nothing is kept in the session, so the address may be a PgBouncer in transaction mode, with
/// `max_prepared_statements`. One older than 1.21 has no such setting: with `server_reset_query_always = 1` there and
/// `?statement-cache-capacity=0` in the URL it serves too, slower.
#[derive(Clone)]
pub struct PostgresOptions {
    pub(super) database: PgConnectOptions,
    pub(super) listen: PgConnectOptions,
}

impl PostgresOptions {
    /// Takes a URL, for example `postgres://user:password@host:5432/database?sslmode=verify-full`.
    ///
    /// # Errors
    /// [`StoreError::Unusable`] when it is none.
    pub fn new(url: &str) -> Result<Self, StoreError> {
        let database = parse(url)?;
        Ok(Self { listen: database.clone(), database })
    }

    /// Listens for other processes' appends at another address: through a PgBouncer in transaction mode no notification arrives, and
    /// they would be noticed only by polling, every [`crate::POLL_INTERVAL`].
    ///
    /// # Errors
    /// As [`PostgresOptions::new`].
    pub fn listen_at(self, url: &str) -> Result<Self, StoreError> {
        Ok(Self { listen: parse(url)?, ..self })
    }
}

/// What a URL of Postgres may begin with; sqlx takes any.
const SCHEMES: [&str; 2] = ["postgres://", "postgresql://"];

fn parse(url: &str) -> Result<PgConnectOptions, StoreError> {
    // The text of the error may quote the URL, and with it the password.
    let parsed =
        SCHEMES.iter().any(|scheme| names_a_database(url, scheme)).then(|| PgConnectOptions::from_str(url));
    let Some(Ok(options)) = parsed else {
        return Err(StoreError::Unusable("its address is no `postgres://user@host:port/database`".into()));
    };
    // sqlx would ask for it when it connects, and PgBouncer refuses what it does not know.
    Ok(options.extra_float_digits(None).application_name("formledger"))
}

/// Whether the path is a database's name alone. With a slash or an `@` in it, part of a password would be shown to people as the database's name.
fn names_a_database(url: &str, scheme: &str) -> bool {
    let Some(rest) = url.strip_prefix(scheme) else { return false };
    let before_query = rest.split_once('?').map_or(rest, |(before, _)| before);
    before_query.split_once('/').is_none_or(|(_, name)| !name.contains(['@', '/']))
}

impl fmt::Debug for PostgresOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { database, .. } = self;
        write!(f, "postgres://{}:{}", database.get_host(), database.get_port())?;
        // Without one the server takes the user's name.
        database.get_database().map_or(Ok(()), |name| write!(f, "/{name}"))
    }
}
