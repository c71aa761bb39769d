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
const LOCK_TIMEOUT_MS: u32 = 200;
/// How long it lets them have their way before it tries again.
pub(super) const PAUSE: Duration = Duration::from_millis(300);
/// How often it tries, ten seconds in all, before rows are switched tenant by tenant, which waits for no reader.
pub(super) const TRIES_MAX: usize = 20;
/// Memory for making an index, of the server's: rows are sorted there, those of a million submissions without a file.
const INDEX_MEMORY: &str = "128MB";
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

/// Drops the indexes that only queries need; answers what makes them again.
pub(super) async fn drop_indexes(
    session: &mut PgConnection,
    schema: &str,
) -> Result<Vec<String>, sqlx::Error> {
    let indexes = "SELECT indexrelid::regclass::text, pg_get_indexdef(indexrelid) FROM pg_index \
                   JOIN pg_class ON pg_class.oid = indrelid WHERE relnamespace = $1::regnamespace AND NOT indisunique";
    let indexes: Vec<(String, String)> =
        sqlx::query_as(indexes).bind(schema).fetch_all(&mut *session).await?;
    let mut made = Vec::with_capacity(indexes.len());
    for (name, definition) in indexes {
        session.execute(&*format!("DROP INDEX {name}")).await?;
        made.push(definition);
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

/// Swaps the tables within the transaction that `connection` is in, with the rights of its login. `false` when somebody who reads does not let
/// it have them; then the transaction has failed.
pub(super) async fn swap(
    connection: &mut PgConnection,
    sides: Sides,
    read_models: &[ReadModel],
) -> Result<bool, sqlx::Error> {
    let Sides { live, fresh } = sides;
    let tables = || read_models.iter().flat_map(|read_model| read_model.tables());
    // First of all the one that every reader holds: behind it, nobody is in the others.
    let mut names = vec![format!("{live}.checkpoints")];
    names.extend(tables().map(|table| format!("{live}.{table}")));
    let lock = format!(
        "SET LOCAL ROLE NONE; SET LOCAL lock_timeout TO {LOCK_TIMEOUT_MS}; LOCK TABLE {} IN ACCESS EXCLUSIVE MODE",
        names.join(", ")
    );
    match connection.execute(&*lock).await {
        Ok(_) => {}
        Err(sqlx::Error::Database(refused)) if refused.code().as_deref() == Some(LOCK_NOT_AVAILABLE) => {
            return Ok(false);
        }
        Err(error) => return Err(error),
    }
    let mut swap = String::new();
    for table in tables() {
        swap += &format!("DROP TABLE {live}.{table}; ALTER TABLE {fresh}.{table} SET SCHEMA {live};");
    }
    connection.execute(&*swap).await?;
    Ok(true)
}
