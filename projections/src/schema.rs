//! Brings a read-model database to the schema this binary knows. Called once at open, by the server, tools and rebuilds alike.

use std::time::Duration;

use sqlx::postgres::PgConnection;
use sqlx::sqlite::SqliteConnection;
use sqlx::{Connection, Executor, Row};
use tokio::time::{Instant, sleep};

use crate::database::{Connection as Writing, sql};
use crate::place::{Place, PostgresPlace, sqlite_migrating};
use crate::read_models::OpenError;

/// Every migration in order; the n-th brings a database to schema n.
const MIGRATIONS: &[Migration] = &[
    Migration {
        sqlite: include_str!("../../migrations/sqlite/read-models/0001_read_models.sql"),
        postgres: include_str!("../../migrations/postgres/read-models/0001_read_models.sql"),
    },
    Migration {
        sqlite: include_str!("../../migrations/sqlite/read-models/0002_witnesses.sql"),
        postgres: include_str!("../../migrations/postgres/read-models/0002_witnesses.sql"),
    },
    Migration {
        sqlite: include_str!("../../migrations/sqlite/read-models/0003_tasks.sql"),
        postgres: include_str!("../../migrations/postgres/read-models/0003_tasks.sql"),
    },
    Migration {
        sqlite: include_str!("../../migrations/sqlite/read-models/0004_reminders.sql"),
        postgres: include_str!("../../migrations/postgres/read-models/0004_reminders.sql"),
    },
    Migration {
        sqlite: include_str!("../../migrations/sqlite/read-models/0005_stays.sql"),
        postgres: include_str!("../../migrations/postgres/read-models/0005_stays.sql"),
    },
    Migration {
        sqlite: include_str!("../../migrations/sqlite/read-models/0006_field_keys.sql"),
        postgres: include_str!("../../migrations/postgres/read-models/0006_field_keys.sql"),
    },
    Migration {
        sqlite: include_str!("../../migrations/sqlite/read-models/0007_text_kinds.sql"),
        postgres: include_str!("../../migrations/postgres/read-models/0007_text_kinds.sql"),
    },
    Migration {
        sqlite: include_str!("../../migrations/sqlite/read-models/0008_one_row_a_tenant.sql"),
        postgres: include_str!("../../migrations/postgres/read-models/0008_one_row_a_tenant.sql"),
    },
];

/// One step, for each database.
struct Migration {
    sqlite: &'static str,
    postgres: &'static str,
}

/// What to take away of read models that a newer binary migrated, where an older one has to begin anew.
const FILE: &str = "move the file away";
const POSTGRES: &str = "drop their schema (for a standby, on its primary)";

/// `application_id` of a read-model file, "FLrm": any other file is left alone.
const APPLICATION_ID: i64 = 0x464C_726D;
/// The oldest Postgres that the statements are written for.
const POSTGRES_VERSION_MIN: i32 = 14;
/// How Postgres says that a login may not do something.
const INSUFFICIENT_PRIVILEGE: &str = "42501";
/// How long a fresh standby may take to receive the read models' schema from its primary.
const STANDBY_PATIENCE: Duration = Duration::from_secs(10);
const STANDBY_LOOK: Duration = Duration::from_millis(50);

/// Brings what is at `place` up to date. A standby cannot be written: there, waits until its primary's schema has arrived.
pub(crate) async fn migrate(place: &Place) -> Result<(), OpenError> {
    match place {
        Place::Sqlite(path) => {
            let mut connection = sqlite_migrating(path).await?;
            migrate_sqlite(&mut connection).await?;
            Ok(connection.close().await?)
        }
        Place::Postgres(place) => {
            let mut connection = place
                .connect()
                .await
                .map_err(|source| OpenError::Unreachable { place: place.name(), source })?;
            check_version(&mut connection).await?;
            if is_standby(&mut connection).await? {
                wait_for_schema(&mut connection, place).await?;
            } else if !is_current(&mut connection, place).await? {
                migrate_postgres(&mut connection, place).await.map_err(|error| explained(error, place))?;
            }
            Ok(connection.close().await?)
        }
    }
}

/// As [`migrate`], where a URL has come to lead to a database that may be another installation's: what an earlier version wrote there is left as it is.
///
/// # Errors
/// [`OpenError::Older`] for that.
pub(crate) async fn migrate_if_new(place: &Place) -> Result<(), OpenError> {
    if let Place::Postgres(postgres) = place {
        let mut connection = postgres
            .connect()
            .await
            .map_err(|source| OpenError::Unreachable { place: postgres.name(), source })?;
        if let Found::Version(found) = seen(&mut connection, postgres).await?
            && !missing(found, POSTGRES)?.is_empty()
        {
            return Err(OpenError::Older { place: postgres.name(), found, known: MIGRATIONS.len() as i64 });
        }
        connection.close().await?;
    }
    migrate(place).await
}

/// Applies the migrations that are missing, in one transaction.
pub(crate) async fn migrate_sqlite(connection: &mut SqliteConnection) -> Result<(), OpenError> {
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
    let found: i64 = sqlx::query_scalar("PRAGMA user_version").fetch_one(&mut *transaction).await?;
    let owner: i64 = sqlx::query_scalar("PRAGMA application_id").fetch_one(&mut *transaction).await?;
    let tables: i64 =
        sqlx::query_scalar("SELECT count(*) FROM sqlite_schema").fetch_one(&mut *transaction).await?;
    if tables > 0 && owner != APPLICATION_ID {
        return Err(OpenError::Foreign);
    }
    let missing = missing(found, FILE)?;
    if !missing.is_empty() {
        for migration in missing {
            transaction.execute(migration.sqlite).await?;
        }
        // Pragmas take no parameters; both values are numbers of our own.
        let stamp =
            format!("PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {}", MIGRATIONS.len());
        transaction.execute(&*stamp).await?;
    }
    transaction.commit().await?;
    Ok(())
}

/// The same in a schema of its own. Processes that start together wait for one another.
async fn migrate_postgres(connection: &mut PgConnection, place: &PostgresPlace) -> Result<(), OpenError> {
    let schema = place.schema;
    let begin = "BEGIN; SELECT pg_advisory_xact_lock(hashtext('formledger migrates read models'))";
    let mut transaction = connection.begin_with(begin).await?;
    // The server would tell, for people at a terminal, that the schema is there already.
    let enter = format!(
        "SET LOCAL client_min_messages TO warning; CREATE SCHEMA IF NOT EXISTS {schema}; SET LOCAL search_path TO {schema}"
    );
    transaction.execute(&*enter).await?;
    let found = match version_in(&mut transaction, schema).await? {
        Found::Version(version) => version,
        Found::Nothing => {
            let table = "CREATE TABLE schema_version (version bigint NOT NULL); \
                         COMMENT ON TABLE schema_version IS 'The newest applied migration of the read models.'; \
                         INSERT INTO schema_version VALUES (0)";
            transaction.execute(table).await?;
            0
        }
        Found::Other => return Err(OpenError::Foreign),
    };
    for migration in missing(found, POSTGRES)? {
        transaction.execute(migration.postgres).await?;
    }
    sqlx::query("UPDATE schema_version SET version = $1 WHERE version <> $1")
        .bind(MIGRATIONS.len() as i64)
        .execute(&mut *transaction)
        .await?;
    transaction.commit().await?;
    Ok(())
}

/// Keeps the schema as it is until the transaction ends that `connection` is in, and refuses one that a newer binary has changed meanwhile.
pub(crate) async fn hold(connection: &mut Writing<'_>) -> Result<(), OpenError> {
    let (version, otherwise) = match connection {
        // Whoever migrates waits for the lock of the file.
        Writing::Sqlite(_) | Writing::File(_) => ("PRAGMA main.user_version", FILE),
        Writing::Postgres(connection, _) => {
            let lock = "SELECT pg_advisory_xact_lock_shared(hashtext('formledger migrates read models'))";
            connection.execute(lock).await?;
            ("SELECT version FROM schema_version", POSTGRES)
        }
    };
    let found = sql(version).one(connection).await?.value()?;
    missing(found, otherwise).map(drop)
}

fn explained(error: OpenError, place: &PostgresPlace) -> OpenError {
    match error {
        OpenError::Database(source @ sqlx::Error::Database(_))
            if source.as_database_error().and_then(|error| error.code()).as_deref()
                == Some(INSUFFICIENT_PRIVILEGE) =>
        {
            OpenError::MissingPrivilege { place: place.name(), source }
        }
        error => error,
    }
}

/// Whether there is nothing to apply: finding that out takes no privilege to change the schema, which who serves need not have.
async fn is_current(connection: &mut PgConnection, place: &PostgresPlace) -> Result<bool, OpenError> {
    match seen(connection, place).await? {
        Found::Version(version) => Ok(missing(version, POSTGRES)?.is_empty()),
        Found::Nothing | Found::Other => Ok(false),
    }
}

async fn wait_for_schema(connection: &mut PgConnection, place: &PostgresPlace) -> Result<(), OpenError> {
    let deadline = Instant::now() + STANDBY_PATIENCE;
    loop {
        match seen(connection, place).await? {
            Found::Version(version) if missing(version, POSTGRES)?.is_empty() => return Ok(()),
            Found::Other => return Err(OpenError::Foreign),
            _ if Instant::now() >= deadline => return Err(OpenError::StandbyEmpty { place: place.name() }),
            _ => sleep(STANDBY_LOOK).await,
        }
    }
}

enum Found {
    Nothing,
    Version(i64),
    /// Tables that are none of ours.
    Other,
}

/// As the reader, where the login may be that: one that inherits nothing sees no table by itself.
async fn seen(connection: &mut PgConnection, place: &PostgresPlace) -> Result<Found, sqlx::Error> {
    let become_reader = "SELECT set_config('role', rolname, true) FROM pg_roles \
                         WHERE rolname = 'formledger_reader' AND pg_has_role(oid, 'MEMBER')";
    let mut looking = connection.begin().await?;
    looking.execute(become_reader).await?;
    let found = version_in(&mut looking, place.schema).await?;
    looking.rollback().await?;
    Ok(found)
}

async fn version_in(connection: &mut PgConnection, schema: &str) -> Result<Found, sqlx::Error> {
    let found = sqlx::query(
        "SELECT count(*) AS tables, count(*) FILTER (WHERE tablename = 'schema_version') AS own \
         FROM pg_tables WHERE schemaname = $1",
    )
    .bind(schema)
    .fetch_one(&mut *connection)
    .await?;
    Ok(match (found.try_get("tables")?, found.try_get("own")?) {
        (0i64, _) => Found::Nothing,
        (_, 0i64) => Found::Other,
        _ => {
            let select = format!("SELECT version FROM {schema}.schema_version");
            Found::Version(sqlx::query_scalar(&select).fetch_one(connection).await?)
        }
    })
}

/// Whether a server follows another one and takes no writes.
pub(crate) async fn is_standby(connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar("SELECT pg_is_in_recovery()").fetch_one(connection).await
}

async fn check_version(connection: &mut PgConnection) -> Result<(), OpenError> {
    let version: i32 = sqlx::query_scalar("SELECT current_setting('server_version_num')::int / 10000")
        .fetch_one(connection)
        .await?;
    if version < POSTGRES_VERSION_MIN {
        return Err(OpenError::PostgresTooOld { found: version, least: POSTGRES_VERSION_MIN });
    }
    Ok(())
}

fn missing(found: i64, otherwise: &'static str) -> Result<&'static [Migration], OpenError> {
    usize::try_from(found).ok().and_then(|applied| MIGRATIONS.get(applied..)).ok_or(OpenError::Newer {
        found,
        known: MIGRATIONS.len() as i64,
        otherwise,
    })
}

#[cfg(test)]
mod tests;
