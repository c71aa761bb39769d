//! Promise: each role can do what it is for and nothing else, and a reader meets the wall between tenants inside the database.

use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{ConnectOptions, Executor, Row};

use super::super::read::{Access, LOAD};
use super::super::{PostgresOptions, PostgresReader};
use super::SharedDatabase;
use crate::contract::{Database, append, context, events, keyed, positions, stream};
use crate::part::POSTGRES_LAST_OF_EACH_TYPE;
use crate::{Part, Store, StoreError, StoreSettings};

/// What nobody may do to the past.
const CHANGES: [&str; 8] = [
    "UPDATE events SET payload = '{}'",
    "UPDATE events SET position = 7 WHERE position = 2",
    "DELETE FROM events",
    "TRUNCATE events",
    "DELETE FROM ledgers",
    "TRUNCATE ledgers",
    "INSERT INTO events SELECT * FROM events ON CONFLICT (tenant_id, position) DO UPDATE SET payload = '{}'",
    "WITH gone AS (DELETE FROM events RETURNING 1) SELECT count(*) FROM gone",
];

async fn two_tenants() -> SharedDatabase {
    let database = SharedDatabase::create().await;
    let store = database.open().await;
    for tenant in ["acme", "other"] {
        append(&store, keyed(&stream(tenant, "s"), 0, "key", 1)).await;
    }
    store.close().await;
    database
}

/// A connection of a new login role that is a member of `role` only. Roles are the server's, so the name is the database's.
async fn log_in(database: &SharedDatabase, role: &str) -> PgConnection {
    let login = format!("{}_{role}", database.0.name());
    database.sql(&format!("CREATE ROLE {login} LOGIN IN ROLE {role}")).await.expect("creates");
    let options: PgConnectOptions = database.0.url_as(&login).parse().expect("a URL");
    options.connect().await.expect("connects")
}

async fn count(connection: &mut PgConnection, query: &str) -> i64 {
    connection.fetch_one(query).await.expect("reads").get(0)
}

#[tokio::test]
async fn nobody_can_change_or_remove_an_event_whatever_the_role() {
    let database = two_tenants().await;
    for role in ["formledger_writer", "formledger_projector", "formledger_reader"] {
        let mut connection = log_in(&database, role).await;
        connection.execute("SET app.tenant = 'acme'").await.expect("sets");
        for change in CHANGES {
            assert!(connection.execute(change).await.is_err(), "`{role}` may `{change}`");
        }
    }
    // The superuser is stopped by the triggers.
    for change in CHANGES {
        assert!(database.sql(change).await.is_err(), "the superuser may `{change}`");
    }
    assert_eq!(positions(&database.open().await, "acme").await, [1]);
}

/// Where the projector is exempt from policies (docs/adr/0011), these must not have kept anything from it.
#[tokio::test]
async fn the_projectors_policies_let_it_see_every_row() {
    let database = two_tenants().await;
    let mut connection = log_in(&database, "formledger_projector").await;
    let kept = "SELECT count(*) FROM pg_policies WHERE roles && '{formledger_projector,public}' \
        AND (permissive, qual, with_check) IS DISTINCT FROM ('PERMISSIVE', 'true', 'true')";
    assert_eq!(count(&mut connection, kept).await, 0);
    let all = "SELECT count(*) FROM pg_policies WHERE roles && '{formledger_projector}'";
    assert_eq!(count(&mut connection, all).await, 2, "events and ledgers");
}

#[tokio::test]
async fn only_the_writer_writes() {
    let database = two_tenants().await;
    for role in ["formledger_projector", "formledger_reader"] {
        let mut connection = log_in(&database, role).await;
        for statement in [
            "INSERT INTO events SELECT * FROM events",
            "INSERT INTO ledgers VALUES ('new', 1, 1, '')",
            "INSERT INTO idempotency SELECT * FROM idempotency",
            "UPDATE ledgers SET position = 9",
            "SET ROLE formledger_writer",
        ] {
            assert!(connection.execute(statement).await.is_err(), "`{role}` may `{statement}`");
        }
    }
}

#[tokio::test]
async fn a_reader_sees_one_tenant_in_every_table_that_it_can_read() {
    let database = two_tenants().await;
    let mut reader = log_in(&database, "formledger_reader").await;
    let tables = reader
        .fetch_all(
            "SELECT oid::regclass::text FROM pg_class \
             WHERE relkind IN ('r', 'v', 'm', 'p', 'f') AND relnamespace = current_schema()::regnamespace \
             AND has_table_privilege(oid, 'SELECT')",
        )
        .await
        .expect("reads");
    let mut tables: Vec<String> = tables.iter().map(|row| row.get(0)).collect();
    tables.sort();
    assert_eq!(
        tables,
        ["_sqlx_migrations", "events", "idempotency", "ledgers"],
        "is a new table walled off?"
    );
    for table in &tables[1..] {
        let all = format!("SELECT count(*) FROM {table}");
        assert_eq!(count(&mut reader, &all).await, 0, "`{table}` without a tenant");
        for (tenant, rows) in [("acme", 1), ("other", 1), ("missing", 0), ("", 0)] {
            reader
                .execute(format!("BEGIN; SET LOCAL app.tenant = '{tenant}'").as_str())
                .await
                .expect("begins");
            assert_eq!(count(&mut reader, &all).await, rows, "`{table}` of `{tenant}`");
            let foreign = format!("{all} WHERE tenant_id <> '{tenant}'");
            assert_eq!(count(&mut reader, &foreign).await, 0, "`{table}` beside `{tenant}`");
            reader.execute("COMMIT").await.expect("ends");
        }
        assert_eq!(count(&mut reader, &all).await, 0, "`{table}` after the transaction that named a tenant");
    }
}

#[tokio::test]
async fn a_login_that_owns_nothing_serves_a_migrated_database() {
    let database = two_tenants().await;
    let login = format!("{}_login", database.0.name());
    // Without inheritance it can do nothing but take on a role, as each transaction does.
    let create = format!(
        "CREATE ROLE {login} LOGIN NOINHERIT IN ROLE formledger_writer, formledger_projector, formledger_reader"
    );
    database.sql(&create).await.expect("creates");
    let options = PostgresOptions::new(&database.0.url_as(&login)).expect("a URL");
    let store = Store::open_postgres(&options, StoreSettings::default()).await.expect("opens");
    append(&store, events(&stream("acme", "t"), 0, 2)).await;
    assert_eq!(positions(&store, "acme").await, [1, 2, 3]);
    assert_eq!(store.heads().await.expect("reads").len(), 2);
    let loaded = store.ledger(&context("acme")).load(&stream("acme", "t")).await.expect("loads");
    assert_eq!(loaded.len(), 2);
}

/// As `verify` and `export` log in for somebody who is to record nothing.
#[tokio::test]
async fn a_login_that_only_reads_is_refused_nothing_but_what_its_roles_do_not_see() {
    let database = two_tenants().await;
    let login = format!("{}_auditor", database.0.name());
    let create = format!("CREATE ROLE {login} LOGIN NOINHERIT IN ROLE formledger_reader");
    database.sql(&create).await.expect("creates");
    let options = PostgresOptions::new(&database.0.url_as(&login)).expect("a URL");
    let open =
        async || Store::open_postgres_to_read(&options, StoreSettings::default()).await.expect("opens");
    let (store, acme) = (open().await, "acme".parse().expect("slug"));
    assert_eq!(positions(&store, "acme").await, [1]);
    let report = store.verify(&acme, |_| {}).await.expect("reads");
    assert!(report.is_sound() && !report.others_seen && report.events == 1, "{report:?}");
    for refused in [store.heads().await.map(drop), store.owners().await.map(drop)] {
        let Err(StoreError::MissingPrivilege(what)) = refused else { panic!("{refused:?}") };
        assert!(what.contains("name a tenant") && what.contains("`formledger_projector`"), "{what}");
    }
    let appended = store.ledger(&context("acme")).append(events(&stream("acme", "t"), 0, 1)).await;
    assert!(format!("{appended:?}").contains("opened to be read"), "{appended:?}");

    database.sql(&format!("GRANT formledger_projector TO {login}")).await.expect("grants");
    let store = open().await;
    assert_eq!(store.heads().await.expect("reads").len(), 2);
    assert!(store.verify(&acme, |_| {}).await.expect("reads").others_seen);

    database.sql(&format!("REVOKE formledger_reader FROM {login}")).await.expect("revokes");
    let refused =
        Store::open_postgres_to_read(&options, StoreSettings::default()).await.expect_err("refuses");
    let StoreError::MissingPrivilege(what) = refused else { panic!("{refused:?}") };
    assert!(what.ends_with(&format!("`GRANT formledger_reader TO {login}`")), "{what}");
}

#[tokio::test]
async fn a_stream_is_loaded_along_its_own_index() {
    let database = two_tenants().await;
    let reader = PostgresReader::new(&database.0.url().parse().expect("a URL"), &StoreSettings::default());
    let tenant = "acme".parse().expect("slug");
    for statistics in ["", "ANALYZE"] {
        database.sql(statistics).await.expect("counts");
        let explain = format!("EXPLAIN {LOAD}");
        let plan = sqlx::query(&explain).bind("Tally").bind("acme/s").bind("acme");
        let plan = reader.fetch(Access::Tenant(&tenant), plan).await.expect("plans");
        let plan: Vec<String> = plan.iter().map(|step| step.get(0)).collect();
        let plan = plan.join("\n");
        assert!(plan.contains("Index Scan using events_pkey on events"), "{plan}");
        assert!(!plan.contains("events_position_key") && !plan.contains("Sort"), "{plan}");
    }
}

#[tokio::test]
async fn a_part_of_a_stream_is_looked_for_along_the_streams_own_index() {
    let database = two_tenants().await;
    // As many streams as make a difference: a few rows are found as fast by any index.
    let store = database.open().await;
    for id in 0..100 {
        append(&store, events(&stream("acme", &id.to_string()), 0, 3)).await;
    }
    let reader = PostgresReader::new(&database.0.url().parse().expect("a URL"), &StoreSettings::default());
    let tenant = "acme".parse().expect("slug");
    let event_type = "formledger.tally.added";
    let [newest, nth] = [Part::Newest { event_type, limit: 2 }, Part::Nth { event_type, number: 2 }];
    for statistics in ["", "ANALYZE"] {
        database.sql(statistics).await.expect("counts");
        for part in [Part::Last, Part::LastOfEachType, newest, nth] {
            let explain = format!("EXPLAIN {}", part.sql(POSTGRES_LAST_OF_EACH_TYPE));
            let mut plan = sqlx::query(&explain).bind("Tally").bind("acme/s").bind("acme");
            if let Some((event_type, number)) = part.bound() {
                plan = plan.bind(event_type).bind(number);
            }
            let plan = reader.fetch(Access::Tenant(&tenant), plan).await.expect("plans");
            let plan: Vec<String> = plan.iter().map(|step| step.get(0)).collect();
            let plan = plan.join("\n");
            assert!(plan.contains("using events_pkey on events"), "{plan}");
            assert!(!plan.contains("events_position_key") && !plan.contains("Seq Scan on events"), "{plan}");
        }
    }
}

#[tokio::test]
async fn no_session_compiles_what_it_is_asked() {
    let database = two_tenants().await;
    // Whatever the server would do.
    database.sql(&format!("ALTER DATABASE {} SET jit = on", database.0.name())).await.expect("sets");
    let ask = "SHOW jit";
    let reader = PostgresReader::new(&database.0.url().parse().expect("a URL"), &StoreSettings::default());
    let tenant = "acme".parse().expect("slug");
    for access in [Access::EveryTenant, Access::Tenant(&tenant)] {
        let rows = reader.fetch(access, sqlx::query(ask)).await.expect("answers");
        assert_eq!(rows[0].get::<String, _>(0), "off");
    }
    let mut writer = database.backend().await;
    let session = writer.link.connection().await.expect("connects");
    assert_eq!(session.fetch_one(ask).await.expect("answers").get::<String, _>(0), "off");
}
