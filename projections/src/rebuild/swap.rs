//! Puts whole fresh tables in the place of the live ones in Postgres: the live tables are dropped and the fresh ones moved into their
//! schema, in one transaction that copies no row (docs/adr/0009). Readers are told apart by the lock on `checkpoints` that each of them
//! holds before it takes its snapshot (`pool`): a table is opened by its present name, whatever a snapshot says, so nobody who has one
//! may be about when names change.

use std::time::Duration;

use sqlx::Executor;
use sqlx::postgres::PgConnection;

use super::fresh::Sides;
use crate::position::ReadModel;

/// How long the switch waits for readers that are about, and with it those that come behind it.
const READERS_TIMEOUT_MS: u32 = 200;
/// How long it waits, once there are none, for what else holds a table, and all readers with it: longer than the second (`deadlock_timeout`)
/// after which a vacuum that nobody asked for gives way.
const OTHERS_TIMEOUT_MS: u32 = 1_500;
/// How long it lets them have their way before it tries again.
pub(super) const PAUSE: Duration = Duration::from_millis(300);
/// How often it tries, ten seconds in all, before rows are switched tenant by tenant, which waits for no reader.
pub(super) const TRIES_MAX: usize = 20;
/// Memory for making an index, of the server's: rows are sorted there, those of a million submissions without a file.
const INDEX_MEMORY: &str = "128MB";
/// A key (table and name) by which folding finds neither rows nor conflicts: made again with the indexes.
const SPARE_KEY: (&str, &str) = ("submissions", "submissions_created_position_key");
/// How Postgres says that a lock was not to be had in time.
const LOCK_NOT_AVAILABLE: &str = "55P03";

/// All that can be said of a schema's tables, one line for each thing: a table that differs in any of it must stay where it is, because somebody
/// has changed it, or something else holds on to it, that would be lost with it. `pg_depend` counts what has no column here: triggers, views,
/// rules, publications, statistics, foreign keys.
const DESCRIBED: &str = "\
WITH described (name, line) AS (
    SELECT relname, format('table %s %s %s %s %s %s %s', relowner, relacl, reloptions, relrowsecurity, relforcerowsecurity,
                           relreplident, reltablespace)
    FROM pg_class WHERE relnamespace = $1::regnamespace AND relkind IN ('r', 'p')
    UNION ALL
    SELECT relname, format('column %s %s %s %s %s %s %s', attnum, attname, format_type(atttypid, atttypmod), attnotnull, attcollation,
                           attacl, attstattarget)
    FROM pg_class JOIN pg_attribute ON attrelid = pg_class.oid
    WHERE relnamespace = $1::regnamespace AND relkind IN ('r', 'p') AND attnum > 0
    UNION ALL
    SELECT relname, replace(pg_get_indexdef(indexrelid), $1 || '.', '')
    FROM pg_class JOIN pg_index ON indrelid = pg_class.oid WHERE relnamespace = $1::regnamespace
    UNION ALL
    SELECT relname, conname || ' ' || pg_get_constraintdef(pg_constraint.oid)
    FROM pg_class JOIN pg_constraint ON conrelid = pg_class.oid WHERE relnamespace = $1::regnamespace
    UNION ALL
    SELECT relname, format('policy %s %s %s %s %s %s', polname, polcmd, polpermissive, polroles,
                           pg_get_expr(polqual, polrelid), pg_get_expr(polwithcheck, polrelid))
    FROM pg_class JOIN pg_policy ON polrelid = pg_class.oid WHERE relnamespace = $1::regnamespace
    UNION ALL
    SELECT relname, format('held by %s %s %s', classid::regclass, deptype, count(*))
    FROM pg_class JOIN pg_depend ON refclassid = 'pg_class'::regclass AND refobjid = pg_class.oid
    WHERE relnamespace = $1::regnamespace AND relkind IN ('r', 'p') GROUP BY relname, classid, deptype
)
SELECT name || ': ' || line FROM described ORDER BY 1";

/// Whether the tables of both schemas are the same in everything but their rows, and belong to whom `session` may act for.
pub(super) async fn are_alike(session: &mut PgConnection, sides: Sides) -> Result<bool, sqlx::Error> {
    let mut described = Vec::with_capacity(2);
    for schema in [sides.live, sides.fresh] {
        let lines = sqlx::query_scalar::<_, String>(DESCRIBED).bind(schema);
        described.push(lines.fetch_all(&mut *session).await?);
    }
    let may = sqlx::query_scalar("SELECT has_schema_privilege($1, 'CREATE')").bind(sides.live);
    Ok(described[0] == described[1] && may.fetch_one(session).await?)
}

/// Drops the indexes that folding does without; answers what makes them again.
pub(super) async fn drop_indexes(
    session: &mut PgConnection,
    schema: &str,
) -> Result<Vec<String>, sqlx::Error> {
    // A key goes with its constraint, which is made again as such.
    let indexes = "\
        SELECT format('DROP INDEX %s', indexrelid::regclass), pg_get_indexdef(indexrelid) FROM pg_index \
        JOIN pg_class ON pg_class.oid = indrelid WHERE relnamespace = $1::regnamespace AND NOT indisunique \
        UNION ALL SELECT format('ALTER TABLE %s DROP CONSTRAINT %I', conrelid::regclass, conname), \
            format('ALTER TABLE %s ADD CONSTRAINT %I %s', conrelid::regclass, conname, pg_get_constraintdef(pg_constraint.oid)) \
        FROM pg_constraint JOIN pg_class ON pg_class.oid = conrelid \
        WHERE relnamespace = $1::regnamespace AND relname = $2 AND conname = $3";
    let indexes = sqlx::query_as::<_, (String, String)>(indexes).bind(schema);
    let indexes = indexes.bind(SPARE_KEY.0).bind(SPARE_KEY.1).fetch_all(&mut *session).await?;
    let mut made = Vec::with_capacity(indexes.len());
    for (drop, make) in indexes {
        session.execute(&*drop).await?;
        made.push(make);
    }
    Ok(made)
}

/// Makes indexes, and statistics for whoever plans with the tables.
pub(super) async fn make_ready(
    session: &mut PgConnection,
    schema: &str,
    indexes: &[String],
    read_models: &[ReadModel],
) -> Result<(), sqlx::Error> {
    session.execute(&*format!("SET maintenance_work_mem TO '{INDEX_MEMORY}'")).await?;
    for index in indexes {
        session.execute(index.as_str()).await?;
    }
    for table in read_models.iter().flat_map(|read_model| read_model.tables()) {
        session.execute(&*format!("ANALYZE {schema}.{table}")).await?;
    }
    Ok(())
}

/// How an exchange ended.
pub(super) enum Exchange {
    Done,
    /// Readers did not let it begin.
    Readers,
    /// Something else holds a table, and would for longer than readers can wait.
    Held,
}

/// Exchanges the tables within the transaction that `connection` is in, with the rights of its login. When it is not done, the transaction has
/// failed.
pub(super) async fn exchange(
    connection: &mut PgConnection,
    sides: Sides,
    read_models: &[ReadModel],
) -> Result<Exchange, sqlx::Error> {
    let Sides { live, fresh } = sides;
    let tables = || read_models.iter().flat_map(|read_model| read_model.tables());
    // First of all the one that every reader holds: behind it, nobody is in the others.
    let readers = format!("{live}.checkpoints");
    if !lock(connection, &readers, READERS_TIMEOUT_MS).await? {
        return Ok(Exchange::Readers);
    }
    let others: Vec<String> = tables().map(|table| format!("{live}.{table}")).collect();
    if !lock(connection, &others.join(", "), OTHERS_TIMEOUT_MS).await? {
        return Ok(Exchange::Held);
    }
    let mut exchange = String::new();
    for table in tables() {
        exchange += &format!("DROP TABLE {live}.{table}; ALTER TABLE {fresh}.{table} SET SCHEMA {live};");
    }
    connection.execute(&*exchange).await?;
    Ok(Exchange::Done)
}

/// Takes tables for the transaction alone; `false` when they were not to be had in time.
async fn lock(connection: &mut PgConnection, tables: &str, timeout_ms: u32) -> Result<bool, sqlx::Error> {
    let lock = format!(
        "SET LOCAL ROLE NONE; SET LOCAL lock_timeout TO {timeout_ms}; LOCK TABLE {tables} IN ACCESS EXCLUSIVE MODE"
    );
    match connection.execute(&*lock).await {
        Ok(_) => Ok(true),
        Err(sqlx::Error::Database(refused)) if refused.code().as_deref() == Some(LOCK_NOT_AVAILABLE) => {
            Ok(false)
        }
        Err(error) => Err(error),
    }
}
