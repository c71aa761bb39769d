//! A ledger on Postgres loses events under a running projector, as when a standby takes over that had not received everything, and grows
//! beyond where the rows were before anybody looks. What is applied next must not come on top of what is not there any more.

mod support;

use std::time::Duration;

use formledger_domain::Position;
use formledger_projections::{ReadModel, Runner, RunnerSettings};
use formledger_store::{PostgresOptions, Store, StoreSettings};
use formledger_test_cluster::Database;
use serde_json::json;
use support::{On, World, on_both_databases, tenant_of};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep};

/// Long enough for anything that is going to happen, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);
/// Between two looks at something that is going to happen.
const LOOK: Duration = Duration::from_millis(10);

/// Remembers where ledgers are, and puts them back there, beside everybody.
const KEEP: &str = "CREATE TABLE kept AS SELECT * FROM ledgers";
const LOSE: &str = "SET session_replication_role = replica; \
    DELETE FROM events USING kept WHERE events.tenant_id = kept.tenant_id AND events.position > kept.position; \
    UPDATE ledgers SET position = kept.position, recorded_at = kept.recorded_at, frontier = kept.frontier \
    FROM kept WHERE kept.tenant_id = ledgers.tenant_id";

on_both_databases! {
    a_runner_never_applies_events_on_top_of_rows_whose_events_were_lost,
    a_projection_that_was_behind_the_others_notices_a_loss_when_it_comes_to_their_position,
}

async fn open(database: &Database) -> Store {
    let options = PostgresOptions::new(&database.url()).expect("a URL");
    Store::open_postgres(&options, StoreSettings::default()).await.expect("a ledger")
}

async fn sql(database: &Database, script: &str) {
    sqlx::raw_sql(script).execute(&mut database.connect().await).await.expect("tampering");
}

/// A world whose ledger is on Postgres, with two tenants and some submissions, and another process on the same ledger.
async fn world(on: On) -> (World, Database, Store) {
    let database = Database::create().await;
    let mut world = World::new(on).await;
    world.store = open(&database).await;
    world.runner = world.another_runner();
    for tenant in ["acme", "globex"] {
        world.tenant(tenant).publish("claim", 1, &["/n"]).await;
        world.tenant(tenant).submit("claim", json!({"n": 1})).await;
    }
    let elsewhere = open(&database).await;
    (world, database, elsewhere)
}

async fn until_rows_are_at(world: &World, tenant: &str, position: Position) {
    let deadline = Instant::now() + PATIENCE;
    for read_model in ReadModel::ALL {
        while world.reader(tenant).position(read_model).await.expect("a position") != position {
            assert!(Instant::now() < deadline, "{read_model:?} of `{tenant}` never came to {position}");
            sleep(LOOK).await;
        }
    }
}

async fn a_runner_never_applies_events_on_top_of_rows_whose_events_were_lost(on: On) {
    let (world, database, elsewhere) = world(on).await;
    sql(&database, KEEP).await;
    let lost = world.tenant("acme").submit("claim", json!({"n": 2})).await;
    world.tenant("acme").submit("claim", json!({"n": 3})).await;
    // It polls once, at its start: only what it reads can tell it.
    let settings = RunnerSettings { poll_interval: 10 * PATIENCE, ..RunnerSettings::default() };
    let runner = Runner::new(world.store.clone(), world.models.clone(), settings);
    let (stop, stopped) = oneshot::channel::<()>();
    let running = tokio::spawn(runner.run(async {
        let _ = stopped.await;
    }));
    until_rows_are_at(&world, "acme", Position(4)).await;

    sql(&database, LOSE).await;
    let mut head = Position(2);
    for n in 10..15 {
        let submitted = tenant_of(&elsewhere, "acme").submit("claim", json!({"n": n})).await;
        head = tenant_of(&elsewhere, "acme").stream(submitted).await[0].position;
    }
    assert_eq!(head, Position(7), "beyond where the rows are");
    until_rows_are_at(&world, "acme", head).await;
    assert_eq!(world.reader("acme").submission(lost).await.expect("an answer").value, None);
    assert_eq!(world.differences_from_rebuilt().await, []);

    // It goes on, for the others too.
    world.tenant("globex").submit("claim", json!({"n": 2})).await;
    world.tenant("acme").submit("claim", json!({"n": 16})).await;
    until_rows_are_at(&world, "globex", Position(3)).await;
    until_rows_are_at(&world, "acme", Position(8)).await;
    stop.send(()).expect("the runner listens");
    running.await.expect("the runner ends when told");
    assert_eq!(world.differences_from_rebuilt().await, []);
}

async fn a_projection_that_was_behind_the_others_notices_a_loss_when_it_comes_to_their_position(on: On) {
    let (mut world, database, elsewhere) = world(on).await;
    sql(&database, KEEP).await;
    world.tenant("acme").submit("claim", json!({"n": 2})).await;
    world.run_once().await;
    world
        .tamper("UPDATE checkpoints SET forms_version = NULL, forms_position = 0; DELETE FROM form_versions; DELETE FROM forms")
        .await;
    sql(&database, LOSE).await;
    tenant_of(&elsewhere, "acme").submit("claim", json!({"n": 3})).await;
    let last = tenant_of(&elsewhere, "acme").submit("claim", json!({"n": 4})).await;
    let head = tenant_of(&elsewhere, "acme").stream(last).await[0].position;
    // The runner that is there knows nothing of either until it looks at its database.
    world.tenant("globex").submit("claim", json!({"n": 2})).await;
    world.run_once().await;
    world.run_once().await;
    until_rows_are_at(&world, "acme", head).await;
    assert_eq!(world.differences_from_rebuilt().await, []);
}
