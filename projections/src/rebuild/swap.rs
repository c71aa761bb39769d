//! Puts whole fresh tables in the place of the live ones in Postgres: the live tables are dropped and the fresh ones moved into their
//! schema, in one transaction that copies no row (docs/adr/0009). Readers are told apart by the lock on `checkpoints` that each of them
//! holds before it takes its snapshot (`pool`): a table is opened by its present name, whatever a snapshot says, so nobody who has one
//! may be about when names change.

use std::time::{Duration, Instant};

use sqlx::Executor;
use sqlx::postgres::PgConnection;

use super::fresh::Sides;
use crate::position::ReadModel;

/// How long the switch waits for readers that are about, and with it those that come behind it.
const READERS_TIMEOUT: Duration = Duration::from_millis(200);
/// How long it waits, once there are none, for all that else holds a table, and all readers with it: longer than the second
/// (`deadlock_timeout`) after which a vacuum that nobody asked for gives way.
const OTHERS_TIMEOUT: Duration = Duration::from_millis(1_500);
/// How long it lets them have their way before it tries again.
pub(super) const PAUSE: Duration = Duration::from_millis(300);
/// How often it tries, ten seconds in all, before rows are switched tenant by tenant, which waits for no reader.
pub(super) const TRIES_MAX: usize = 20;
/// Memory for making an index, of the server's: rows are sorted there, those of a million submissions without a file.
const INDEX_MEMORY: &str = "128MB";
/// A key (table and name) by which folding finds neither rows nor conflicts: made again with the indexes.
const SPARE_KEY: (&str, &str) = ("submissions", "submissions_created_position_key");
/// How Postgres says that somebody else is in the way: a lock was not to be had in time, or never, or something holds on to a table.
const HELD: [&str; 3] = ["55P03", "40P01", "2BP01"];

/// All that can be said of a schema's tables, one line for each thing: a table that differs in any of it must stay where it is, because somebody
/// has changed it, or something else holds on to it, that would be lost with it. `pg_depend` counts what has no column here: triggers, views,
/// rules, statistics, foreign keys. What is published is never alike, because no subscriber is told of an exchange.
const DESCRIBED: &str = "\
WITH described (name, line) AS (
    SELECT pg_class.relname, format('table %s %s %s %s %s %s %s %s %s', pg_class.relowner, pg_class.relacl, pg_class.reloptions,
                                    pg_class.relrowsecurity, pg_class.relforcerowsecurity, pg_class.relreplident,
                                    pg_class.reltablespace, pg_class.relpersistence, toast.reloptions)
    FROM pg_class LEFT JOIN pg_class AS toast ON toast.oid = pg_class.reltoastrelid
    WHERE pg_class.relnamespace = $1::regnamespace AND pg_class.relkind IN ('r', 'p')
    UNION ALL
    SELECT relname, format('column %s %s %s %s %s %s %s %s %s %s %s', attnum, attname, format_type(atttypid, atttypmod), attnotnull, attcollation,
                           attacl, attstattarget, attstorage, attcompression, attoptions, pg_get_expr(adbin, adrelid))
    FROM pg_class JOIN pg_attribute ON attrelid = pg_class.oid LEFT JOIN pg_attrdef ON adrelid = pg_class.oid AND adnum = attnum
    WHERE relnamespace = $1::regnamespace AND relkind IN ('r', 'p') AND attnum > 0
    UNION ALL
    SELECT relname, format('%s %s %s', replace(pg_get_indexdef(pg_class.oid), $1 || '.', ''), indisclustered, reltablespace)
    FROM pg_class JOIN pg_index ON indexrelid = pg_class.oid WHERE relnamespace = $1::regnamespace
    UNION ALL
    SELECT relname, format('comment %s %s', objsubid, description)
    FROM pg_class JOIN pg_description ON classoid = 'pg_class'::regclass AND objoid = pg_class.oid
    WHERE relnamespace = $1::regnamespace
    UNION ALL
    SELECT tablename, format('published as %s.%s', schemaname, pubname) FROM pg_publication_tables WHERE schemaname = $1
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

/// Makes indexes, and statistics for whoever plans with the tables; `false` when something else holds one of them.
pub(super) async fn make_ready(
    session: &mut PgConnection,
    schema: &str,
    indexes: &[String],
    read_models: &[ReadModel],
) -> Result<bool, sqlx::Error> {
    let limits = format!(
        "SET maintenance_work_mem TO '{INDEX_MEMORY}'; SET lock_timeout TO {}",
        OTHERS_TIMEOUT.as_millis()
    );
    session.execute(&*limits).await?;
    let mut ready = true;
    let tables = read_models.iter().flat_map(|read_model| read_model.tables());
    let analyze = tables.map(|table| format!("ANALYZE {schema}.{table}"));
    for statement in indexes.iter().cloned().chain(analyze) {
        ready = unless_held(session.execute(&*statement).await.map(drop))?;
        if !ready {
            break;
        }
    }
    // What comes after waits for as long as it takes.
    session.execute("RESET lock_timeout").await?;
    Ok(ready)
}

/// How an exchange ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Exchange {
    Done,
    /// Readers did not let it begin.
    Readers,
    /// Something else holds a table, and would for longer than readers can wait; or somebody changed one.
    Held,
}

/// Takes the fresh tables for the transaction that `connection` is in, before anybody waits for it; `false` when something else holds one of them. From
/// here on the transaction has the rights that its login begins with.
pub(super) async fn hold_fresh(
    connection: &mut PgConnection,
    sides: Sides,
    read_models: &[ReadModel],
) -> Result<bool, sqlx::Error> {
    // Not `NONE`: a login may be set up to begin in another role, who then made the tables.
    connection.execute("SET LOCAL ROLE TO DEFAULT").await?;
    unless_held(lock_all(connection, sides.fresh, read_models, deadline(OTHERS_TIMEOUT)).await)
}

/// Exchanges the tables within that transaction. When it is not done, roll back at once.
pub(super) async fn exchange(
    connection: &mut PgConnection,
    sides: Sides,
    read_models: &[ReadModel],
) -> Result<Exchange, sqlx::Error> {
    // First of all the one that every reader holds: behind it, nobody is in the others.
    let readers = lock(connection, sides.live, "checkpoints", deadline(READERS_TIMEOUT)).await;
    if !unless_held(readers)? {
        return Ok(Exchange::Readers);
    }
    match exchange_held(connection, sides, read_models).await {
        Ok(exchange) => Ok(exchange),
        Err(error) => unless_held(Err(error)).map(|_| Exchange::Held),
    }
}

/// Nobody reads meanwhile: all of it has one deadline.
async fn exchange_held(
    connection: &mut PgConnection,
    sides: Sides,
    read_models: &[ReadModel],
) -> Result<Exchange, sqlx::Error> {
    let Sides { live, fresh } = sides;
    let deadline = deadline(OTHERS_TIMEOUT);
    lock_all(connection, live, read_models, deadline).await?;
    // Once more: somebody may have changed a table while rows were folded, and would lose it with that table.
    if !are_alike(connection, sides).await? {
        return Ok(Exchange::Held);
    }
    for table in read_models.iter().flat_map(|read_model| read_model.tables()) {
        within(connection, deadline, &format!("DROP TABLE {live}.{table}")).await?;
        within(connection, deadline, &format!("ALTER TABLE {fresh}.{table} SET SCHEMA {live}")).await?;
    }
    Ok(Exchange::Done)
}

async fn lock_all(
    connection: &mut PgConnection,
    schema: &str,
    read_models: &[ReadModel],
    deadline: Instant,
) -> Result<(), sqlx::Error> {
    for table in read_models.iter().flat_map(|read_model| read_model.tables()) {
        lock(connection, schema, table, deadline).await?;
    }
    Ok(())
}

/// Takes a table for the transaction alone.
async fn lock(
    connection: &mut PgConnection,
    schema: &str,
    table: &str,
    deadline: Instant,
) -> Result<(), sqlx::Error> {
    within(connection, deadline, &format!("LOCK TABLE {schema}.{table} IN ACCESS EXCLUSIVE MODE")).await
}

fn deadline(timeout: Duration) -> Instant {
    Instant::now() + timeout
}

/// Runs a statement that may have to wait for a lock until `deadline`: the server's own limit is for each lock.
async fn within(
    connection: &mut PgConnection,
    deadline: Instant,
    statement: &str,
) -> Result<(), sqlx::Error> {
    // 0 would be no limit.
    let left = deadline.saturating_duration_since(Instant::now()).as_millis().max(1);
    connection.execute(&*format!("SET LOCAL lock_timeout TO {left}; {statement}")).await.map(drop)
}

/// `false` for an error which says that somebody else is in the way.
fn unless_held(done: Result<(), sqlx::Error>) -> Result<bool, sqlx::Error> {
    match done {
        Ok(()) => Ok(true),
        Err(sqlx::Error::Database(refused)) if refused.code().is_some_and(|code| HELD.contains(&&*code)) => {
            Ok(false)
        }
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use formledger_test_cluster::Database;

    use super::*;
    use crate::place::{Place, ReadModelPlace};
    use crate::read_models::{ReadModelSettings, ReadModels};

    #[tokio::test]
    async fn whatever_somebody_changes_makes_tables_differ() {
        let database = Database::create().await;
        let ReadModelPlace(live) = ReadModelPlace::postgres(&database.url()).expect("a URL");
        let fresh = live.fresh();
        for place in [&live, &fresh] {
            let opened = ReadModels::open(ReadModelPlace(place.clone()), ReadModelSettings::default()).await;
            opened.expect("opens").close().await;
        }
        let (Place::Postgres(live), Place::Postgres(fresh)) = (live, fresh) else { unreachable!("of a URL") };
        let sides = Sides { live: live.schema, fresh: fresh.schema };
        let mut session = live.connect().await.expect("connects");
        assert!(are_alike(&mut session, sides).await.expect("compares"));
        let table = "ALTER TABLE read_models.submissions";
        for change in [
            "CREATE INDEX by_hand ON read_models.submissions (tenant_id, sequence)",
            "CREATE VIEW public.by_hand AS SELECT * FROM read_models.submissions",
            "CREATE STATISTICS public.by_hand ON state, submitter FROM read_models.submissions",
            "GRANT SELECT ON read_models.submissions TO pg_monitor",
            "CREATE PUBLICATION by_hand FOR TABLE read_models.submissions",
            "CREATE PUBLICATION by_hand FOR ALL TABLES",
            "COMMENT ON COLUMN read_models.submissions.state IS 'Mine.'",
            &format!("{table} SET UNLOGGED"),
            &format!("{table} SET (fillfactor = 70)"),
            &format!("{table} SET (toast.autovacuum_enabled = false)"),
            &format!("{table} CLUSTER ON submissions_by_state"),
            &format!("{table} ALTER COLUMN state SET DEFAULT 'lost'"),
            &format!("{table} ALTER COLUMN data SET STORAGE EXTERNAL"),
            &format!("{table} ALTER COLUMN data SET COMPRESSION pglz"),
            &format!("{table} ALTER COLUMN state SET (n_distinct = 5)"),
        ] {
            session.execute("BEGIN").await.expect("begins");
            session.execute(change).await.expect(change);
            assert!(!are_alike(&mut session, sides).await.expect("compares"), "{change}");
            session.execute("ROLLBACK").await.expect("ends");
        }
        assert!(are_alike(&mut session, sides).await.expect("compares"));
    }
}
