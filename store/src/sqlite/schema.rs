//! The ledger's schema: migrations embedded in the binary, applied at open, each with a checksum.
//! Called by `SqliteBackend::open`; an applied migration is never edited.

use std::borrow::Cow;

use sqlx::migrate::{Migrate, MigrateError, Migration, MigrationType, Migrator};
use sqlx::sqlite::SqliteConnection;

use crate::error::StoreError;

/// Number, name and text of every migration, in order.
const MIGRATIONS: [(i64, &str, &str); 2] = [
    (1, "ledger", include_str!("../../../migrations/sqlite/ledger/0001_ledger.sql")),
    (
        2,
        "idempotency in arrival order",
        include_str!("../../../migrations/sqlite/ledger/0002_idempotency_in_arrival_order.sql"),
    ),
];

/// Brings the database to this binary's schema.
///
/// # Errors
/// [`StoreError::NewerSchema`] when a newer binary was here; [`StoreError::Database`] when an applied migration differs from ours.
pub(super) async fn migrate(connection: &mut SqliteConnection) -> Result<(), StoreError> {
    let known = MIGRATIONS.last().map_or(0, |(version, _, _)| *version);
    connection.ensure_migrations_table().await.map_err(failed)?;
    let applied = connection.list_applied_migrations().await.map_err(failed)?;
    if let Some(newest) = applied.last()
        && newest.version > known
    {
        return Err(StoreError::NewerSchema { found: newest.version, known });
    }
    migrator(&MIGRATIONS).run_direct(connection).await.map_err(failed)
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

fn failed(error: MigrateError) -> StoreError {
    sqlx::Error::from(error).into()
}
