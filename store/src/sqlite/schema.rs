//! The ledger's schema: migrations embedded in the binary, applied at open, each with a checksum.
//! Called by `SqliteBackend::open`; an applied migration is never edited.

use std::borrow::Cow;

use sqlx::Connection as _;
use sqlx::migrate::{Migrate, MigrateError, Migration, MigrationType, Migrator};
use sqlx::sqlite::SqliteConnection;

use crate::error::StoreError;

/// Number, name and text of every migration, in order.
const MIGRATIONS: [(i64, &str, &str); 3] = [
    (1, "ledger", include_str!("../../../migrations/sqlite/ledger/0001_ledger.sql")),
    (
        2,
        "idempotency in arrival order",
        include_str!("../../../migrations/sqlite/ledger/0002_idempotency_in_arrival_order.sql"),
    ),
    (3, "unfinished imports", include_str!("../../../migrations/sqlite/ledger/0003_unfinished_imports.sql")),
];

/// Brings the database to this binary's schema.
///
/// # Errors
/// [`StoreError::NewerSchema`] when a newer binary was here; [`StoreError::Database`] when an applied migration differs from ours.
pub(super) async fn migrate(connection: &mut SqliteConnection) -> Result<(), StoreError> {
    let known = MIGRATIONS.last().map_or(0, |(version, _, _)| *version);
    if newest(connection).await? == Some(known) {
        // Compares checksums, and waits for nobody.
        return migrator(&MIGRATIONS).run_direct(connection).await.map_err(failed);
    }
    // Of several processes that start at once, one looks and migrates, the others wait and find it done: the lock is taken before anything is read,
    // and the steps are nested in it.
    let mut alone = connection.begin_with("BEGIN IMMEDIATE").await?;
    alone.ensure_migrations_table().await.map_err(failed)?;
    let applied = alone.list_applied_migrations().await.map_err(failed)?;
    if let Some(newest) = applied.last()
        && newest.version > known
    {
        return Err(StoreError::NewerSchema { found: newest.version, known });
    }
    if (1..MIGRATIONS.len()).contains(&applied.len()) {
        tracing::info!(
            to = known,
            "the ledger is brought to the schema of this version; earlier ones refuse it from now on"
        );
    }
    migrator(&MIGRATIONS).run_direct(&mut *alone).await.map_err(failed)?;
    Ok(alone.commit().await?)
}

/// Looks whether the database holds a ledger that this binary can read, and changes nothing: an older schema will do.
///
/// # Errors
/// [`StoreError::NewerSchema`] when a newer binary was here; [`StoreError::Unusable`] when none ever was.
pub(super) async fn check(connection: &mut SqliteConnection) -> Result<(), StoreError> {
    let known = MIGRATIONS.last().map_or(0, |(version, _, _)| *version);
    match newest(connection).await? {
        None => Err(StoreError::Unusable("is a SQLite database that holds no ledger".to_owned())),
        Some(found) if found > known => Err(StoreError::NewerSchema { found, known }),
        Some(_) => Ok(()),
    }
}

/// The newest migration that was applied; `None` where none ever was.
async fn newest(connection: &mut SqliteConnection) -> Result<Option<i64>, StoreError> {
    let table = "SELECT count(*) FROM sqlite_schema WHERE name = '_sqlx_migrations'";
    if sqlx::query_scalar::<_, i64>(table).fetch_one(&mut *connection).await? == 0 {
        return Ok(None);
    }
    let newest = "SELECT max(version) FROM _sqlx_migrations";
    Ok(sqlx::query_scalar::<_, Option<i64>>(newest).fetch_one(connection).await?)
}

/// Brings an empty database to the schema of the binaries that knew the first migration alone.
#[cfg(test)]
pub(super) async fn migrate_as_at_first(connection: &mut SqliteConnection) -> Result<(), StoreError> {
    connection.ensure_migrations_table().await.map_err(failed)?;
    migrator(&MIGRATIONS[..1]).run_direct(connection).await.map_err(failed)
}

fn migrator(migrations: &[(i64, &'static str, &'static str)]) -> Migrator {
    let migrations = migrations.iter().map(|(version, name, sql)| {
        Migration::new(*version, Cow::Borrowed(name), MigrationType::Simple, Cow::Borrowed(sql), false)
    });
    Migrator { migrations: migrations.collect(), ..Migrator::DEFAULT }
}

/// What the database said stays what it is; only what migrations say of each other is told as theirs.
fn failed(error: MigrateError) -> StoreError {
    match error {
        MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => error.into(),
        other => sqlx::Error::from(other).into(),
    }
}
