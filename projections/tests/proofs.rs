//! Whose rows a replica holds is proven where its URL leads, and again where that comes to be another database.

mod support;

use formledger_domain::Position;
use formledger_projections::{
    QueryError, ReadModel, ReadModelPlace, ReadModelSettings, ReadModels, Replicas, Runner, RunnerSettings,
};
use formledger_store::Store;
use formledger_test_cluster::{Database, Postgres, Settings, Shutdown};
use sqlx::Executor;
use std::time::Duration;
use support::{context, ledger, open_postgres, tenant_of};

/// Fills read models in a database and leaves them.
async fn fill(store: &Store, database: &Database) {
    let models = open_postgres(&database.url()).await;
    Runner::new(store.clone(), models.clone(), RunnerSettings::default()).run_once().await.expect("a run");
    models.close().await;
}

/// Gives the name of one database to another, as an address may be given to another server: whoever is connected is cut off.
async fn exchange(one: &Database, other: &Database) {
    let beside = Database::create().await;
    let mut connection = beside.connect().await;
    let (one, other) = (one.name(), other.name());
    let cut = format!(
        "SELECT pg_terminate_backend(pid, 30000) FROM pg_stat_activity WHERE datname IN ('{one}', '{other}')"
    );
    // Who is quick comes back in between.
    loop {
        connection.execute(&*cut).await.expect("ended");
        let renamed = format!("ALTER DATABASE {one} RENAME TO {one}_away");
        if connection.execute(&*renamed).await.is_ok() {
            break;
        }
    }
    for statement in [
        format!("ALTER DATABASE {other} RENAME TO {one}"),
        format!("ALTER DATABASE {one}_away RENAME TO {other}"),
    ] {
        connection.execute(&*statement).await.expect("renamed");
    }
}

#[tokio::test]
async fn a_replica_is_proven_again_where_its_url_leads_after_an_outage() {
    let (_dir, ours) = ledger().await;
    let (_their_dir, theirs) = ledger().await;
    let (database, foreign) = (Database::create().await, Database::create().await);
    tenant_of(&ours, "acme").publish("claim", 1, &[]).await;
    for version in 1..=3 {
        tenant_of(&theirs, "acme").publish("claim", version, &[]).await;
    }
    fill(&theirs, &foreign).await;

    let place = ReadModelPlace::postgres(&database.url()).expect("a place");
    let replica = ReadModels::open_when_there(place, ReadModelSettings::default()).await.expect("there");
    replica.prove(&ours).await.expect("nothing of another's is there");
    let own = ReadModels::open_sqlite(&_dir.path().join("own.db"), ReadModelSettings::default()).await;
    let both = Replicas::new(own.expect("a file"), vec![replica.clone()]);
    let mut runners = both.runners(&ours, &RunnerSettings::default());
    for runner in &mut runners {
        runner.run_once().await.expect("a run");
    }
    let position =
        async || both.reader(&context("acme")).position(ReadModel::Submissions).await.expect("a position");
    assert_eq!(position().await, Position(1));
    assert!(replica.pool_use().open > 0, "the replica answered");

    exchange(&database, &foreign).await;
    tenant_of(&ours, "ours").publish("claim", 1, &[]).await;
    for turn in 0..30 {
        assert_eq!(position().await, Position(1), "at turn {turn}");
        assert_eq!(
            both.reader(&context("ours")).forms().await.expect("forms").value.len(),
            usize::from(turn > 0)
        );
        for runner in &mut runners {
            let _refused = runner.run_once().await;
        }
    }
    assert!(!both.status(&[]).await[0].answers);
    // By its new name.
    let touched = "SELECT count(*) FROM read_models.forms WHERE tenant_id = 'ours'";
    let touched: i64 =
        sqlx::query_scalar(touched).fetch_one(&mut database.connect().await).await.expect("a count");
    assert_eq!(touched, 0, "nothing of ours is there");
    let locks = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' \
                 AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
    let locks: i64 =
        sqlx::query_scalar(locks).fetch_one(&mut database.connect().await).await.expect("a count");
    assert_eq!(locks, 0, "their own nodes may keep it");

    exchange(&database, &foreign).await;
    let back = async {
        while !both.status(&[]).await[0].answers {
            for runner in &mut runners {
                let _refused = runner.run_once().await;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), back).await.expect("it is ours again");
    runners[0].run_once().await.expect("a run");
    assert_eq!(position().await, Position(1));
    let kept: i64 = sqlx::query_scalar("SELECT count(*) FROM read_models.forms WHERE tenant_id = 'ours'")
        .fetch_one(&mut database.connect().await)
        .await
        .expect("a count");
    assert_eq!(kept, 1);
    both.close().await;
}

#[tokio::test]
async fn a_database_that_is_away_is_told_from_one_whose_connections_are_all_in_use() {
    let mut postgres = Postgres::start_with(Settings { fsync: false, ..Settings::default() }).await;
    let url = postgres.create_database("formledger").await;
    let settings = ReadModelSettings { read_connections_max: 1, acquire_timeout: Duration::from_millis(300) };
    let models = ReadModels::open_postgres(&url, settings).await.expect("opens");
    let ask_for = async |tenant: &str| models.reader(&context(tenant)).forms().await;
    let ask = async || ask_for("acme").await;
    ask().await.expect("an answer");

    // Held by who waits for a lock.
    let mut locking = postgres.connect("formledger").await;
    locking.execute("BEGIN; LOCK TABLE read_models.forms IN ACCESS EXCLUSIVE MODE").await.expect("locks");
    let waiting = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        // Of another tenant, who has a share of its own.
        let busy = ask_for("globex").await;
        locking.execute("COMMIT").await.expect("unlocks");
        busy
    };
    let (held, busy) = tokio::join!(ask(), waiting);
    held.expect("an answer in the end");
    assert!(matches!(busy, Err(QueryError::Busy)), "{busy:?}");

    drop(locking);
    postgres.stop(Shutdown::Fast).await;
    for _ in 0..3 {
        let away = ask().await;
        assert!(matches!(away, Err(QueryError::Unreachable(_))), "{away:?}");
    }
    postgres.start_again().await;
    ask().await.expect("an answer");
}
