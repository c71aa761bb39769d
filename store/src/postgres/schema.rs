//! The ledger's schema: migrations embedded in the binary, applied at open in one transaction, each with a checksum.
//! Called by `PostgresBackend::open`; an applied migration is never edited. Refuses databases on which the ledger cannot keep its promises.

use std::borrow::Cow;

use sqlx::migrate::{AppliedMigration, Migrate, MigrateError, Migration, MigrationType, Migrator};
use sqlx::postgres::PgConnection;
use sqlx::{Connection, Executor, Row};

use super::SERVER_VERSION_MIN;
use super::error::{failed, is_raised, is_role_unknown, is_without_schema};
use super::read::Sight;
use crate::error::StoreError;

/// Number, name and text of every migration, in order.
const MIGRATIONS: [(i64, &str, &str); 2] = [
    (1, "ledger", include_str!("../../../migrations/postgres/ledger/0001_ledger.sql")),
    (
        3,
        "unfinished imports",
        include_str!("../../../migrations/postgres/ledger/0003_unfinished_imports.sql"),
    ),
];

/// What a login takes on to append, to read every ledger, and to read one tenant's.
const WRITER: &str = "formledger_writer";
const PROJECTOR: &str = "formledger_projector";
const READER: &str = "formledger_reader";

/// The lock under which one process at a time migrates a database: `formledg` as a number. It ends with the transaction, so that it
/// works through a pooler, where sqlx's own lock would stay with a session.
const MIGRATION_LOCK: i64 = i64::from_be_bytes(*b"formledg");

/// Brings the database to this binary's schema, or finds it there already, which needs no privilege to change it.
///
/// # Errors
/// [`StoreError::NewerSchema`] when a newer binary was here; [`StoreError::Unusable`] when this is no server or no database for a
/// ledger; [`StoreError::MissingPrivilege`] with what an administrator has to grant.
pub(super) async fn migrate(connection: &mut PgConnection) -> Result<(), StoreError> {
    if check_server(connection).await? {
        return Err(StoreError::Unusable(
            "the server is a standby: the ledger is written on the primary".into(),
        ));
    }
    if is_current_for(connection).await? {
        return may_take_on(connection, &[WRITER, PROJECTOR, READER]).await;
    }
    let mut transaction = connection.begin().await.map_err(failed)?;
    sqlx::query("SELECT pg_advisory_xact_lock($1)")
        .bind(MIGRATION_LOCK)
        .execute(&mut *transaction)
        .await
        .map_err(failed)?;
    if let Err(error) = transaction.ensure_migrations_table().await {
        transaction.rollback().await.map_err(failed)?;
        // One that inherits nothing and lost a role sees no tables where there are some.
        return Err(match may_take_on(connection, &[WRITER, PROJECTOR, READER]).await {
            Err(lacks @ StoreError::MissingPrivilege(_)) => lacks,
            _ => not_the_owner(error),
        });
    }
    let migrations = MIGRATIONS.iter().map(|(version, name, sql)| {
        Migration::new(*version, Cow::Borrowed(name), MigrationType::Simple, Cow::Borrowed(sql), false)
    });
    let migrator = Migrator { migrations: migrations.collect(), locking: false, ..Migrator::DEFAULT };
    migrator.run_direct(&mut *transaction).await.map_err(not_the_owner)?;
    transaction.commit().await.map_err(failed)?;
    may_take_on(connection, &[WRITER, PROJECTOR, READER]).await
}

/// Tells a login that may not make tables, or sees no schema to make them in, who has to; a migration that refuses says itself what to grant.
fn not_the_owner(error: MigrateError) -> StoreError {
    let (raised, without_schema) = match &error {
        MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => {
            (is_raised(error), is_without_schema(error))
        }
        _ => (false, false),
    };
    let said = match migration_failed(error) {
        StoreError::MissingPrivilege(said) if !raised => said,
        StoreError::Database(error) if without_schema => {
            error.as_database_error().map(|error| error.message().to_owned()).unwrap_or_default()
        }
        other => return other,
    };
    StoreError::MissingPrivilege(format!(
        "it holds no ledger of this version, and the login may not make one ({said}): run `formledger migrate` as the database's owner first"
    ))
}

/// Whether the login may take on `roles`, as each transaction does. Asked here, because otherwise every command or query would fail.
async fn may_take_on(connection: &mut PgConnection, roles: &[&str]) -> Result<(), StoreError> {
    let mut trying = connection.begin().await.map_err(failed)?;
    let login: String =
        trying.fetch_one("SELECT quote_ident(session_user::text)").await.map_err(failed)?.try_get(0)?;
    for role in roles {
        // By doing it: what being a member allows depends on the server's version.
        if let Err(error) = trying.execute(&*format!("SET LOCAL ROLE {role}")).await {
            trying.rollback().await.map_err(failed)?;
            return Err(match failed(error) {
                StoreError::MissingPrivilege(said) => StoreError::MissingPrivilege(format!(
                    "{said}: let an administrator run `GRANT {} TO {login}`",
                    roles.join(", ")
                )),
                other => other,
            });
        }
    }
    trying.rollback().await.map_err(failed)
}

/// Whether this is a standby that holds a ledger of this binary's schema, for those who only read.
///
/// # Errors
/// As [`migrate`]; and for a standby whose primary has to be migrated first.
pub(super) async fn is_readable_standby(connection: &mut PgConnection) -> Result<bool, StoreError> {
    if !check_server(connection).await? {
        return Ok(false);
    }
    if is_current_for(connection).await? {
        may_take_on(connection, &[PROJECTOR, READER]).await?;
        return Ok(true);
    }
    Err(not_migrated(true))
}

/// What of the ledgers that are here, on a primary or a standby, a login may read that records nothing. Changes nothing.
///
/// # Errors
/// As [`migrate`], of which only [`READER`] is needed; and for a database that has to be migrated first.
pub(super) async fn sight(connection: &mut PgConnection) -> Result<Sight, StoreError> {
    let is_standby = check_server(connection).await?;
    match may_take_on(connection, &[READER]).await {
        Err(StoreError::Refused(error)) if is_role_unknown(&error) => return Err(not_migrated(is_standby)),
        taken => taken?,
    }
    // As the reader, who sees the tables also where the login itself inherits nothing.
    let mut looking =
        connection.begin_with(format!("BEGIN; SET LOCAL ROLE {READER}")).await.map_err(failed)?;
    let is_current = is_current(&mut looking).await?;
    looking.rollback().await.map_err(failed)?;
    if !is_current {
        return Err(not_migrated(is_standby));
    }
    match may_take_on(connection, &[PROJECTOR]).await {
        Ok(()) => Ok(Sight::EveryTenant),
        Err(StoreError::MissingPrivilege(_)) => Ok(Sight::OneTenant),
        Err(error) => Err(error),
    }
}

fn not_migrated(is_standby: bool) -> StoreError {
    StoreError::Unusable(if is_standby {
        "the standby holds no ledger of this version: run `formledger migrate` on its primary first".into()
    } else {
        "it holds no ledger of this version: run `formledger migrate` as its owner first".into()
    })
}

/// Whether the server is a standby.
async fn check_server(connection: &mut PgConnection) -> Result<bool, StoreError> {
    let server = connection
        .fetch_one(
            "SELECT current_setting('server_version_num')::int, current_setting('server_version'), \
             current_setting('server_encoding'), pg_is_in_recovery(), current_setting('synchronous_commit')",
        )
        .await
        .map_err(failed)?;
    let number: i32 = server.try_get(0)?;
    if number.unsigned_abs() < SERVER_VERSION_MIN {
        let (found, needed): (String, u32) = (server.try_get(1)?, SERVER_VERSION_MIN / 10_000);
        return Err(StoreError::Unusable(format!(
            "the server is PostgreSQL {found}, needed is {needed} or newer"
        )));
    }
    let encoding: String = server.try_get(2)?;
    if encoding != "UTF8" {
        let what = format!("its encoding is {encoding}: create it with `ENCODING 'UTF8' TEMPLATE template0`");
        return Err(StoreError::Unusable(what));
    }
    Ok(server.try_get(3)?)
}

/// [`is_current`], as the reader, where the login may be that: one that inherits nothing sees no table by itself.
async fn is_current_for(connection: &mut PgConnection) -> Result<bool, StoreError> {
    let begin = match may_take_on(connection, &[READER]).await {
        Ok(()) => format!("BEGIN; SET LOCAL ROLE {READER}"),
        // Where nobody has migrated there is no such role. That it is missing where somebody has, is told when all roles are asked for.
        Err(StoreError::Refused(_) | StoreError::MissingPrivilege(_)) => "BEGIN".to_owned(),
        Err(error) => return Err(error),
    };
    // In a transaction, as everything here: between two of them a pooler may change the session, and prepared statements stay behind.
    let mut looking = connection.begin_with(begin).await.map_err(failed)?;
    let is_current = is_current(&mut looking).await?;
    looking.rollback().await.map_err(failed)?;
    Ok(is_current)
}

/// Whether every migration of ours was applied as it is, and none that we do not know.
async fn is_current(connection: &mut PgConnection) -> Result<bool, StoreError> {
    let exists =
        connection.fetch_one("SELECT to_regclass('_sqlx_migrations') IS NOT NULL").await.map_err(failed)?;
    if !exists.try_get::<bool, _>(0)? {
        return Ok(false);
    }
    let applied = connection.list_applied_migrations().await.map_err(migration_failed)?;
    let known = MIGRATIONS.last().map_or(0, |(version, ..)| *version);
    check_ours(connection, &applied).await?;
    match applied.last() {
        Some(newest) if newest.version > known => {
            Err(StoreError::NewerSchema { found: newest.version, known })
        }
        Some(newest) => Ok(newest.version == known),
        None => Ok(false),
    }
}

/// Another program may keep its migrations in the same database under the same name, from number 1 as everyone does.
async fn check_ours(connection: &mut PgConnection, applied: &[AppliedMigration]) -> Result<(), StoreError> {
    for (version, name, sql) in &MIGRATIONS {
        let Some(found) = applied.iter().find(|applied| applied.version == *version) else { continue };
        let ours =
            Migration::new(*version, Cow::Borrowed(name), MigrationType::Simple, Cow::Borrowed(sql), false);
        if ours.checksum == found.checksum {
            continue;
        }
        let described = sqlx::query("SELECT description FROM _sqlx_migrations WHERE version = $1")
            .bind(version)
            .fetch_one(&mut *connection)
            .await
            .map_err(failed)?;
        let described: String = described.try_get(0)?;
        return Err(StoreError::Unusable(if described == *name {
            format!("its migration {version} is not the one that this binary knows")
        } else {
            format!(
                "its migration {version} is `{described}` of another program: give the ledger a database of its own"
            )
        }));
    }
    Ok(())
}

fn migration_failed(error: MigrateError) -> StoreError {
    match error {
        MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => failed(error),
        other => sqlx::Error::from(other).into(),
    }
}
