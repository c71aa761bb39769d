//! Rebuilds in Postgres exchange whole tables: everything about them is as it was, readers are waited for, and what somebody changed by hand
//! stays where it is.

mod support;

use std::time::Duration;

use formledger_domain::Position;
use formledger_projections::{
    OpenError, ReadModel, ReadModelPlace, ReadModels, RebuildError, RebuildProgress, RebuildRequest, Runner,
    RunnerSettings, rebuild,
};
use formledger_store::Store;
use formledger_test_cluster::{Database, Postgres, Settings};
use serde_json::json;
use sqlx::PgConnection;
use support::{context, ledger, open_postgres, tenant_of};
use tempfile::TempDir;
use tokio::runtime::Handle;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};

/// Long enough for anything that is going to happen, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
const SUBMISSIONS: u64 = 20;

/// All that the catalogues say of the live tables, but for the numbers by which the server knows them.
const CATALOGUE: &str = "\
SELECT format('index %s', indexdef) FROM pg_indexes WHERE schemaname = 'read_models'
UNION ALL SELECT format('constraint %s %s %s', conrelid::regclass, conname, pg_get_constraintdef(pg_constraint.oid))
    FROM pg_constraint JOIN pg_class ON pg_class.oid = conrelid WHERE relnamespace = 'read_models'::regnamespace
UNION ALL SELECT format('policy %s', to_jsonb(pg_policies)) FROM pg_policies WHERE schemaname = 'read_models'
UNION ALL SELECT format('table %s %s %s %s %s %s', relname, relowner, relacl, reloptions, relpersistence, relrowsecurity)
    FROM pg_class WHERE relnamespace = 'read_models'::regnamespace
UNION ALL SELECT format('column %s %s %s %s %s', attrelid::regclass, attnum, attname, atttypid::regtype, attnotnull)
    FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid
    WHERE relnamespace = 'read_models'::regnamespace AND relkind = 'r' AND attnum > 0
UNION ALL SELECT format('comment %s %s %s', relname, objsubid, description)
    FROM pg_description JOIN pg_class ON objoid = pg_class.oid WHERE relnamespace = 'read_models'::regnamespace
ORDER BY 1";

async fn told(connection: &mut PgConnection, select: &str) -> Vec<String> {
    sqlx::query_scalar(select).fetch_all(connection).await.expect("an answer")
}

/// The number by which the server knows the live table.
async fn table(connection: &mut PgConnection) -> i64 {
    let select = "SELECT 'read_models.submissions'::regclass::oid::bigint";
    sqlx::query_scalar(select).fetch_one(connection).await.expect("a table")
}

/// A ledger with some submissions, and read models that hold them.
async fn filled(url: &str) -> (TempDir, Store, ReadModels) {
    let (dir, store) = ledger().await;
    let models = open_postgres(url).await;
    let acme = tenant_of(&store, "acme");
    acme.publish("claim", 1, &["/n"]).await;
    for n in 1..SUBMISSIONS {
        acme.submit("claim", json!({"n": n})).await;
    }
    Runner::new(store.clone(), models.clone(), RunnerSettings::default()).run_once().await.expect("a run");
    (dir, store, models)
}

#[tokio::test]
async fn tables_are_exchanged_and_everything_about_them_is_as_it_was() {
    let database = Database::create().await;
    let (_dir, store, models) = filled(&database.url()).await;
    let mut connection = database.connect().await;
    let before = told(&mut connection, CATALOGUE).await;
    assert!(before.iter().any(|line| line.contains("submissions_by_state")), "{before:#?}");
    for round in 1..=2 {
        let old = table(&mut connection).await;
        let place = ReadModelPlace::postgres(&database.url()).expect("a URL");
        rebuild(&store, &place, RebuildRequest::default(), |_| {}).await.expect("a rebuild");
        assert_eq!(told(&mut connection, CATALOGUE).await, before);
        assert_ne!(table(&mut connection).await, old, "it was exchanged in round {round}");
    }
    let schemas = "SELECT nspname::text FROM pg_namespace WHERE nspname LIKE 'read_models%'";
    assert_eq!(told(&mut connection, schemas).await, ["read_models"], "nothing is left of the rebuild");

    // The roles: connections that were open before go on, the reader sees its tenant only, the projector writes.
    tenant_of(&store, "globex").publish("claim", 1, &[]).await;
    Runner::new(store.clone(), models.clone(), RunnerSettings::default()).run_once().await.expect("a run");
    for (tenant, position) in [("acme", SUBMISSIONS), ("globex", 1)] {
        let reader = models.reader(&context(tenant));
        let reached = reader.position(ReadModel::Submissions).await.expect("a position");
        assert_eq!(reached, Position(position));
        let page = reader.submissions(&Default::default()).await.expect("a page");
        assert_eq!(page.items.len() as u64, position - 1, "{tenant}");
    }
    let enter = "SET search_path TO read_models; SET ROLE formledger_reader; SET app.tenant = 'globex'";
    sqlx::raw_sql(enter).execute(&mut connection).await.expect("the role");
    assert_eq!(told(&mut connection, "SELECT tenant_id FROM forms").await, ["globex"]);
    let refused =
        sqlx::raw_sql("DELETE FROM submissions").execute(&mut connection).await.expect_err("refused");
    assert!(refused.to_string().contains("permission denied"), "{refused}");
}

#[tokio::test]
async fn tables_that_somebody_changed_by_hand_stay_and_get_the_new_rows() {
    for change in [
        "CREATE INDEX by_hand ON read_models.submissions (tenant_id, sequence)",
        "CREATE VIEW public.by_hand AS SELECT * FROM read_models.submissions",
        "GRANT SELECT ON read_models.submissions TO pg_monitor",
        "ALTER TABLE read_models.submissions SET (fillfactor = 70)",
        "CREATE PUBLICATION by_hand FOR TABLE read_models.submissions WITH (publish = 'insert')",
    ] {
        let database = Database::create().await;
        let (_dir, store, models) = filled(&database.url()).await;
        let mut connection = database.connect().await;
        sqlx::raw_sql(change).execute(&mut connection).await.expect(change);
        let damage = "UPDATE read_models.submissions SET submitter = 'nobody'";
        sqlx::raw_sql(damage).execute(&mut connection).await.expect("damaged");
        let (before, old) = (told(&mut connection, CATALOGUE).await, table(&mut connection).await);
        let place = ReadModelPlace::postgres(&database.url()).expect("a URL");
        rebuild(&store, &place, RebuildRequest::default(), |_| {}).await.expect("a rebuild");
        assert_eq!(table(&mut connection).await, old, "{change}");
        assert_eq!(told(&mut connection, CATALOGUE).await, before, "{change}");
        let page = models.reader(&context("acme")).submissions(&Default::default()).await.expect("a page");
        assert!(page.items.iter().all(|row| &*row.submitter == "ann"), "{change}: the rows are new");
    }
}

#[tokio::test]
async fn a_login_that_begins_in_another_role_exchanges_tables_with_that_roles_rights() {
    let database = Database::create().await;
    // The roles of the read models belong to the cluster.
    let (_dir, store, _) = filled(&database.url()).await;
    let mut connection = database.connect().await;
    let (owner, login) = (format!("owner_{}", database.name()), format!("login_{}", database.name()));
    let handed_over = format!(
        "DROP SCHEMA read_models CASCADE; CREATE ROLE {owner} NOLOGIN; CREATE ROLE {login} LOGIN NOINHERIT IN ROLE {owner};
         GRANT formledger_projector, formledger_reader TO {owner};
         GRANT CREATE ON DATABASE {} TO {owner}; ALTER ROLE {login} SET role TO {owner}",
        database.name()
    );
    sqlx::raw_sql(&handed_over).execute(&mut connection).await.expect("hands over");
    let url = database.url().replace("//postgres", &format!("//{login}"));
    let models = open_postgres(&url).await;
    Runner::new(store.clone(), models, RunnerSettings::default()).run_once().await.expect("a run");
    let old = table(&mut connection).await;
    let place = ReadModelPlace::postgres(&url).expect("a URL");
    rebuild(&store, &place, RebuildRequest::default(), |_| {}).await.expect("a rebuild");
    assert_ne!(table(&mut connection).await, old, "it was exchanged");
}

/// Rebuilds, and does something else once everything is folded.
async fn rebuild_while(
    store: &Store,
    url: &str,
    meanwhile: impl AsyncFn() + Sync,
) -> Result<(), RebuildError> {
    let place = ReadModelPlace::postgres(url).expect("a URL");
    rebuild(store, &place, RebuildRequest::default(), |progress| {
        if matches!(progress, RebuildProgress::Folded { events, total } if events == total) {
            tokio::task::block_in_place(|| Handle::current().block_on(meanwhile()));
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_somebody_changes_while_rows_are_folded_stays_too() {
    for change in [
        "CREATE INDEX by_hand ON read_models.submissions (tenant_id, sequence)",
        "GRANT SELECT ON read_models.submissions TO pg_monitor",
        "COMMENT ON TABLE read_models.submissions IS 'Mine.'",
    ] {
        let database = Database::create().await;
        let (_dir, store, models) = filled(&database.url()).await;
        let mut connection = database.connect().await;
        let damage = "UPDATE read_models.submissions SET submitter = 'nobody'";
        sqlx::raw_sql(damage).execute(&mut connection).await.expect("damaged");
        let (before, old) = (told(&mut connection, CATALOGUE).await, table(&mut connection).await);
        rebuild_while(&store, &database.url(), async || {
            sqlx::raw_sql(change).execute(&mut database.connect().await).await.expect(change);
        })
        .await
        .expect("a rebuild");
        assert_eq!(table(&mut connection).await, old, "{change}");
        assert_ne!(told(&mut connection, CATALOGUE).await, before, "{change}");
        let page = models.reader(&context("acme")).submissions(&Default::default()).await.expect("a page");
        assert!(page.items.iter().all(|row| &*row.submitter == "ann"), "{change}: the rows are new");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schema_that_a_newer_binary_made_while_rows_are_folded_stays() {
    let database = Database::create().await;
    let (_dir, store, _models) = filled(&database.url()).await;
    let mut connection = database.connect().await;
    let old = table(&mut connection).await;
    let newer = "ALTER TABLE read_models.submissions ADD COLUMN later text; \
                 UPDATE read_models.schema_version SET version = version + 1";
    let refused = rebuild_while(&store, &database.url(), async || {
        sqlx::raw_sql(newer).execute(&mut database.connect().await).await.expect("migrates");
    })
    .await
    .expect_err("it is the newer binary's");
    assert!(matches!(refused, RebuildError::Open(OpenError::Newer { .. })), "{refused:?}");
    assert_eq!(table(&mut connection).await, old);
    let columns = "SELECT count(*)::text FROM information_schema.columns WHERE table_schema = 'read_models' AND column_name = 'later'";
    assert_eq!(told(&mut connection, columns).await, ["1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_holds_a_fresh_table_lets_nobody_wait_and_the_rows_are_replaced() {
    // Held from before its keys are made again, and where there are none to make.
    for held in ["submissions", "tasks"] {
        let database = Database::create().await;
        let (_dir, store, models) = filled(&database.url()).await;
        let mut connection = database.connect().await;
        let damage = "UPDATE read_models.submissions SET submitter = 'nobody'";
        sqlx::raw_sql(damage).execute(&mut connection).await.expect("damaged");
        let old = table(&mut connection).await;
        let holding = Mutex::new(database.connect().await);
        let url = database.url();
        let rebuilding = rebuild_while(&store, &url, async || {
            let hold = format!("BEGIN; LOCK TABLE read_models_rebuild.{held} IN ACCESS SHARE MODE");
            sqlx::raw_sql(&hold).execute(&mut *holding.lock().await).await.expect("holds");
        });
        let reader = models.reader(&context("acme"));
        let reading = async {
            let mut slowest = Duration::ZERO;
            loop {
                let began = Instant::now();
                let page = reader.submissions(&Default::default()).await.expect("a page");
                slowest = slowest.max(began.elapsed());
                if page.items.iter().all(|row| &*row.submitter == "ann") {
                    // A place that somebody holds cannot be removed.
                    sqlx::raw_sql("COMMIT").execute(&mut *holding.lock().await).await.expect("lets go");
                    return slowest;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let both = async { tokio::join!(rebuilding, reading) };
        let (rebuilt, slowest) = timeout(PATIENCE, both).await.expect("it ends");
        rebuilt.expect("a rebuild");
        assert!(slowest < Duration::from_secs(1), "{held}: a query waited for {slowest:?}");
        assert_eq!(table(&mut connection).await, old, "{held}");
    }
}

/// What every query begins with (`projections/src/pool.rs`).
const BEGIN: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL search_path TO read_models; \
                     SET LOCAL ROLE formledger_reader; SET LOCAL app.tenant = 'acme'; \
                     LOCK TABLE checkpoints IN ACCESS SHARE MODE";
const COUNT: &str = "SELECT count(*)::text FROM submissions WHERE submitter = 'nobody'";

#[tokio::test]
async fn a_reader_that_began_before_sees_old_rows_until_it_ends_and_others_are_answered_meanwhile() {
    let database = Database::create().await;
    let (_dir, store, models) = filled(&database.url()).await;
    let (mut connection, mut reading) = (database.connect().await, database.connect().await);
    let damage = "UPDATE read_models.submissions SET submitter = 'nobody'";
    sqlx::raw_sql(damage).execute(&mut connection).await.expect("damaged");
    let old = table(&mut connection).await;
    sqlx::raw_sql(BEGIN).execute(&mut reading).await.expect("begins");
    assert_eq!(
        told(&mut reading, "SELECT submissions_position::text FROM checkpoints LIMIT 1").await,
        ["20"]
    );

    let place = ReadModelPlace::postgres(&database.url()).expect("a URL");
    let (folded, is_folded) = tokio::sync::oneshot::channel();
    let mut folded = Some(folded);
    let rebuilding = tokio::spawn(async move {
        rebuild(&store, &place, RebuildRequest::default(), |progress| {
            if matches!(progress, RebuildProgress::Folded { events, total } if events == total) {
                folded.take().and_then(|folded| folded.send(()).ok());
            }
        })
        .await
    });
    is_folded.await.expect("folded");
    let until = Instant::now() + Duration::from_secs(2);
    while Instant::now() < until {
        let page = models.reader(&context("acme")).submissions(&Default::default()).await.expect("a page");
        assert_eq!(page.items.len() as u64, SUBMISSIONS - 1);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(!rebuilding.is_finished(), "it waits for the reader");
    assert_eq!(told(&mut reading, COUNT).await, ["19"], "which sees what was there when it began");
    sqlx::raw_sql("COMMIT").execute(&mut reading).await.expect("ends");
    timeout(PATIENCE, rebuilding).await.expect("it goes on").expect("no panic").expect("a rebuild");
    assert_ne!(table(&mut connection).await, old);
    sqlx::raw_sql(BEGIN).execute(&mut reading).await.expect("begins");
    assert_eq!(told(&mut reading, COUNT).await, ["0"]);
}

#[tokio::test]
async fn a_reader_that_does_not_end_keeps_its_tables_and_the_rows_are_replaced_in_them() {
    let database = Database::create().await;
    let (_dir, store, models) = filled(&database.url()).await;
    let (mut connection, mut reading) = (database.connect().await, database.connect().await);
    let damage = "UPDATE read_models.submissions SET submitter = 'nobody'";
    sqlx::raw_sql(damage).execute(&mut connection).await.expect("damaged");
    let old = table(&mut connection).await;
    sqlx::raw_sql(BEGIN).execute(&mut reading).await.expect("begins");
    assert_eq!(told(&mut reading, COUNT).await, ["19"]);
    let place = ReadModelPlace::postgres(&database.url()).expect("a URL");
    let rebuilding = rebuild(&store, &place, RebuildRequest::default(), |_| {});
    timeout(PATIENCE, rebuilding).await.expect("it ends").expect("a rebuild");
    assert_eq!(table(&mut connection).await, old);
    assert_eq!(told(&mut reading, COUNT).await, ["19"]);
    let page = models.reader(&context("acme")).submissions(&Default::default()).await.expect("a page");
    assert!(page.items.iter().all(|row| &*row.submitter == "ann"));
}

#[tokio::test]
async fn a_table_that_something_else_holds_stays_and_gets_the_new_rows() {
    let database = Database::create().await;
    let (_dir, store, models) = filled(&database.url()).await;
    let (mut connection, mut holding) = (database.connect().await, database.connect().await);
    let damage = "UPDATE read_models.submissions SET submitter = 'nobody'";
    sqlx::raw_sql(damage).execute(&mut connection).await.expect("damaged");
    let old = table(&mut connection).await;
    // As who asks behind the read models' back: without the lock that queries take.
    let hold = "BEGIN; SELECT count(*) FROM read_models.submissions";
    sqlx::raw_sql(hold).execute(&mut holding).await.expect("holds");
    let place = ReadModelPlace::postgres(&database.url()).expect("a URL");
    let rebuilding = rebuild(&store, &place, RebuildRequest::default(), |_| {});
    timeout(PATIENCE, rebuilding).await.expect("it ends").expect("a rebuild");
    assert_eq!(table(&mut connection).await, old);
    let page = models.reader(&context("acme")).submissions(&Default::default()).await.expect("a page");
    assert!(page.items.iter().all(|row| &*row.submitter == "ann"));
}

#[tokio::test]
async fn a_standby_shows_old_rows_or_new_ones_and_is_told_of_the_exchange() {
    let primary = Postgres::start_with(Settings { fsync: false, ..Settings::default() }).await;
    let url = primary.create_database("formledger").await;
    let (_dir, store, models) = filled(&url).await;
    let standby = primary.standby().await;
    let copy = open_postgres(&standby.url("formledger")).await;
    let reader = copy.reader(&context("acme"));
    let deadline = Instant::now() + PATIENCE;
    reader.wait_for(ReadModel::Submissions, Position(SUBMISSIONS), deadline).await.expect("it arrives");
    let reading = tokio::spawn({
        let reader = copy.reader(&context("acme"));
        async move {
            loop {
                let page = reader.submissions(&Default::default()).await.expect("a page");
                assert_eq!(page.items.len() as u64, page.position.0 - 1, "rows of another moment");
                if page.position > Position(SUBMISSIONS) {
                    return;
                }
            }
        }
    });
    let place = ReadModelPlace::postgres(&url).expect("a URL");
    for _ in 0..2 {
        rebuild(&store, &place, RebuildRequest::default(), |_| {}).await.expect("a rebuild");
    }
    // What is recorded afterwards goes into tables that the standby did not have before.
    tenant_of(&store, "acme").submit("claim", json!({"n": 0})).await;
    Runner::new(store.clone(), models, RunnerSettings::default()).run_once().await.expect("a run");
    timeout(PATIENCE, reading).await.expect("it arrives").expect("one moment");
}
