//! Brings a read-model database to the schema this binary knows. Called once at open, by the server, tools and rebuilds alike.

use sqlx::{Connection, SqliteConnection};

use crate::read_models::OpenError;

/// Every migration in order; the n-th brings a database to schema n, which `user_version` keeps.
const MIGRATIONS: &[&str] = &[include_str!("../../migrations/sqlite/read-models/0001_read_models.sql")];

/// `application_id` of a read-model database, "FLrm": any other database is left alone.
const APPLICATION_ID: i64 = 0x464C_726D;

/// Applies the migrations that are missing, in one transaction.
pub(crate) async fn migrate(connection: &mut SqliteConnection) -> Result<(), OpenError> {
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
    let found: i64 = sqlx::query_scalar("PRAGMA user_version").fetch_one(&mut *transaction).await?;
    let owner: i64 = sqlx::query_scalar("PRAGMA application_id").fetch_one(&mut *transaction).await?;
    let tables: i64 =
        sqlx::query_scalar("SELECT count(*) FROM sqlite_schema").fetch_one(&mut *transaction).await?;
    if tables > 0 && owner != APPLICATION_ID {
        return Err(OpenError::Foreign);
    }
    let applied = match usize::try_from(found) {
        Ok(applied) if applied <= MIGRATIONS.len() => applied,
        _ => return Err(OpenError::Newer { found, known: MIGRATIONS.len() as i64 }),
    };
    if applied < MIGRATIONS.len() {
        for migration in &MIGRATIONS[applied..] {
            sqlx::raw_sql(migration).execute(&mut *transaction).await?;
        }
        // Pragmas take no parameters; both values are numbers of our own.
        let stamp =
            format!("PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {}", MIGRATIONS.len());
        sqlx::raw_sql(&stamp).execute(&mut *transaction).await?;
    }
    transaction.commit().await?;
    Ok(())
}
