//! Following the ledger: waiting for a position, parking at what cannot be read, rebuilding while rows are served.

mod support;

use std::time::Duration;

on_both_databases! {
    a_query_can_wait_until_its_read_model_is_there_or_is_told_where_it_is,
    an_event_that_cannot_be_read_parks_that_tenant_and_projection_and_no_other,
    a_rebuild_replaces_damaged_rows_while_the_live_projector_goes_on,
    rows_of_a_ledger_that_was_set_back_are_parked_until_they_are_rebuilt,
}

use chrono::Utc;
use formledger_domain::Position;
use formledger_projections::{
    Behind, OpenError, ReadModel, ReadModelSettings, ReadModels, RebuildProgress, RebuildRequest, Runner,
    RunnerSettings, Skip, SkipError, SubmissionQuery, rebuild,
};
use serde_json::json;
use sqlx::{Connection, SqliteConnection};
use support::{On, World, context, form_id, on_both_databases, slug};
use tokio::sync::oneshot;
use tokio::time::Instant;

/// Long enough for anything that is going to happen, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

async fn a_query_can_wait_until_its_read_model_is_there_or_is_told_where_it_is(on: On) {
    let world = World::new(on).await;
    let position = world.tenant("acme").publish("claim", 1, &[]).await;
    let reader = world.reader("acme");
    let behind = reader.wait_for(ReadModel::Forms, position, Instant::now()).await;
    assert_eq!(behind, Err(Behind { position: Position::START }));

    let waiting = tokio::spawn({
        let reader = reader.clone();
        async move { reader.wait_for(ReadModel::Forms, Position(2), Instant::now() + PATIENCE).await }
    });
    let (stop, stopped) = oneshot::channel::<()>();
    let store = world.store.clone();
    let running = tokio::spawn(world.another_runner().run(async {
        let _ = stopped.await;
    }));
    let second = world.tenant("acme").publish("claim", 2, &[]).await;
    assert_eq!(waiting.await.expect("no panic"), Ok(second));
    let reached = reader.wait_for(ReadModel::Submissions, second, Instant::now() + PATIENCE).await;
    assert_eq!(reached, Ok(second), "events of others move every read model on");
    stop.send(()).expect("the runner listens");
    running.await.expect("the runner ends when told");
    drop(store);
}

async fn an_event_that_cannot_be_read_parks_that_tenant_and_projection_and_no_other(on: On) {
    let mut world = World::new(on).await;
    for tenant in ["acme", "globex"] {
        world.tenant(tenant).publish("claim", 1, &[]).await;
        world.tenant(tenant).submit("claim", json!({})).await;
    }
    let unreadable = world.tenant("acme").unreadable_submission().await;
    for tenant in ["acme", "globex"] {
        world.tenant(tenant).submit("claim", json!({})).await;
        world.tenant(tenant).publish("claim", 2, &[]).await;
    }
    world.run_once().await;

    let models = world.models.clone();
    let positions = async |tenant: &str| {
        let reader = models.reader(&context(tenant));
        let mut positions = Vec::new();
        for read_model in ReadModel::ALL {
            positions.push(reader.position(read_model).await.expect("position").0);
        }
        positions
    };
    assert_eq!(positions("acme").await, [5, 2, 2, 2], "forms go on, what follows submissions stops");
    assert_eq!(positions("globex").await, [4, 4, 4, 4]);

    let heads = world.store.heads().await.expect("heads");
    let status = world.models.status(&heads).await.expect("status");
    assert_eq!(status.iter().map(|status| status.parked_count).collect::<Vec<_>>(), [0, 1, 1, 1]);
    assert!(status.iter().all(|status| status.lag_events == 0), "who is parked does not lag");
    let parked = &status[1].parked[0];
    assert_eq!((&parked.tenant, parked.position), (&slug("acme"), Position(2)));
    assert!(parked.error.contains("`formledger.submission.submitted` version `99`"), "{}", parked.error);

    // A restart tries again, and parks again at the same place.
    assert_eq!(world.another_runner().run_once().await.expect("a run"), 3);
    assert_eq!(positions("acme").await, [5, 2, 2, 2]);

    // Only an operator's recorded decision goes past it; a rebuild then does the same.
    let skip = |position| Skip {
        tenant: slug("acme"),
        read_model: ReadModel::Submissions,
        position,
        actor: "operator".to_owned(),
        reason: "written by a test".to_owned(),
        at: Utc::now(),
    };
    let elsewhere = world.models.skip(&skip(unreadable.next())).await;
    assert!(matches!(elsewhere, Err(SkipError::NotParkedThere { .. })), "{elsewhere:?}");
    world.models.skip(&skip(unreadable)).await.expect("skipped");
    world.run_once().await;
    assert_eq!(positions("acme").await, [5, 5, 2, 2]);
    let page = world.reader("acme").submissions(&SubmissionQuery::default()).await.expect("page");
    assert_eq!(page.items.len(), 2);
    world.rebuild(RebuildRequest::default()).await;
    assert_eq!(positions("acme").await, [5, 5, 2, 2]);
}

async fn a_rebuild_replaces_damaged_rows_while_the_live_projector_goes_on(on: On) {
    let mut world = World::new(on).await;
    for tenant in ["acme", "globex"] {
        world.tenant(tenant).publish("claim", 1, &["/n"]).await;
        for n in 0..20 {
            world.tenant(tenant).submit("claim", json!({"n": n})).await;
        }
    }
    world.run_once().await;
    assert_eq!(world.differences_from_rebuilt().await, []);

    let damage = "UPDATE submissions SET state = 'lost' WHERE tenant_id = 'acme'; \
                  DELETE FROM field_keys WHERE tenant_id = 'globex'; \
                  INSERT INTO state_counts SELECT tenant_id, 'claim', 'submitted', 1000 FROM checkpoints";
    world.tamper(damage).await;
    assert!(!world.differences_from_rebuilt().await.is_empty());

    // One projection of one tenant.
    let only = RebuildRequest { read_models: vec![ReadModel::Submissions], tenant: Some(slug("acme")) };
    world.rebuild(only).await;
    let differences = world.differences_from_rebuilt().await;
    assert!(differences.iter().all(|row| row.tenant == slug("globex") || row.table == "state_counts"));

    // All, while another runner follows and events come in.
    let (stop, stopped) = oneshot::channel::<()>();
    let running = tokio::spawn(world.another_runner().run(async {
        let _ = stopped.await;
    }));
    let writing = async {
        for n in 20..60 {
            world.tenant("acme").submit("claim", json!({"n": n})).await;
        }
    };
    let mut switched = Vec::new();
    let rebuilding = async {
        rebuild(&world.store, world.place(), RebuildRequest::default(), |progress| {
            if let RebuildProgress::Switched { tenant, .. } = progress {
                switched.push(tenant);
            }
        })
        .await
        .expect("a rebuild");
    };
    tokio::join!(writing, rebuilding);
    assert_eq!(switched, [slug("acme"), slug("globex")]);
    let reader = world.reader("acme");
    let head = world.store.heads().await.expect("heads")[0].position;
    for read_model in ReadModel::ALL {
        reader.wait_for(read_model, head, Instant::now() + PATIENCE).await.expect("caught up");
    }
    stop.send(()).expect("the runner listens");
    running.await.expect("the runner ends when told");
    assert_eq!(world.differences_from_rebuilt().await, []);
    let left = std::fs::read_dir(world.folder()).expect("directory");
    let names: Vec<_> = left.map(|entry| entry.expect("entry").file_name()).collect();
    assert!(!names.iter().any(|name| name.to_string_lossy().ends_with(".rebuild")), "{names:?}");
}

async fn rows_of_a_ledger_that_was_set_back_are_parked_until_they_are_rebuilt(on: On) {
    let mut world = World::new(on).await;
    world.tenant("acme").publish("claim", 1, &[]).await;
    world.run_once().await;
    let other = World::new(on).await;
    let mut runner = Runner::new(other.store.clone(), world.models.clone(), RunnerSettings::default());
    runner.run_once().await.expect("a run");
    let status = world.models.status(&[]).await.expect("status");
    assert_eq!(status[0].parked_count, 1);
    assert!(status[0].parked[0].error.contains("rebuild"), "{}", status[0].parked[0].error);

    rebuild(&other.store, world.place(), RebuildRequest::default(), |_| {}).await.expect("a rebuild");
    assert_eq!(world.models.status(&[]).await.expect("status")[0].parked_count, 0);
    assert_eq!(world.reader("acme").form(&form_id("claim")).await.expect("answer").value, None);
}

#[tokio::test]
async fn a_database_that_is_newer_or_something_else_is_refused_with_one_clear_error() {
    let directory = tempfile::tempdir().expect("directory");
    let path = directory.path().join("read-models.db");
    let open = async || ReadModels::open_sqlite(&path, ReadModelSettings::default()).await;
    open().await.expect("opens").close().await;
    open().await.expect("opens again").close().await;

    let url = format!("sqlite://{}", path.display());
    let mut connection = SqliteConnection::connect(&url).await.expect("connection");
    sqlx::raw_sql("PRAGMA user_version = 99").execute(&mut connection).await.expect("pragma");
    let newer = open().await.expect_err("newer");
    assert!(matches!(newer, OpenError::Newer { found: 99, .. }), "{newer}");
    assert!(newer.to_string().contains("move the file away"), "{newer}");
    sqlx::raw_sql("PRAGMA application_id = 1").execute(&mut connection).await.expect("pragma");
    assert!(matches!(open().await, Err(OpenError::Foreign)));
}
