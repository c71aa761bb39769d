//! What a projector survives: failures of its database, ledgers that contradict themselves, other processes in between.
//! Each test names what once stopped read models for longer than it had to.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

on_both_databases! {
    rows_of_a_history_that_the_ledger_lost_are_made_again,
    rows_of_another_ledger_are_parked_and_left_alone_but_in_a_file_of_our_own_made_anew,
    a_stop_before_a_publication_in_the_same_batch_stops_neither_the_tenant_for_ever_nor_others,
    rows_of_a_version_that_an_earlier_binary_wrote_beyond_its_stop_do_not_stop_anybody,
    a_checkpoint_that_went_missing_is_contended_and_not_made_up,
    a_start_that_failed_half_way_still_parks_rows_of_a_ledger_that_was_set_back,
    an_event_can_be_skipped_again_after_rows_from_before_the_skip_were_switched_in,
    one_tenants_damaged_event_parks_that_tenant_before_it_and_no_other,
    events_that_are_missing_in_a_ledger_park_its_tenant_wherever_they_are,
    a_version_that_a_ledger_publishes_twice_does_not_stop_other_tenants,
}

use chrono::Utc;
use formledger_domain::{Position, SubmissionId};
use formledger_projections::{ReadModel, RebuildRequest, Replicas, Runner, RunnerSettings, Skip};
use formledger_store::{Store, StoreSettings};
use metrics::{Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};
use serde_json::json;
use support::{On, World, context, evaluated, on_both_databases, slug};
use tokio::sync::oneshot;
use tokio::time::timeout;
use uuid::Uuid;

/// Long enough for anything that is going to happen, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

async fn positions(world: &World, tenant: &str) -> [u64; 3] {
    let reader = world.models.reader(&context(tenant));
    let mut positions = [0; 3];
    for (position, read_model) in positions.iter_mut().zip(ReadModel::ALL) {
        *position = reader.position(read_model).await.expect("position").0;
    }
    positions
}

#[tokio::test]
async fn read_models_go_on_after_a_transaction_that_the_database_rolled_back_by_itself() {
    let mut world = World::new(On::Sqlite).await;
    world.tenant("acme").publish("claim", 1, &[]).await;
    // What SQLite does at a full disk: the statement fails, and the transaction is gone.
    let full = "CREATE TRIGGER full BEFORE INSERT ON checkpoints BEGIN SELECT RAISE(ROLLBACK, 'full'); END";
    world.tamper(full).await;
    for _ in 0..2 {
        world.runner.run_once().await.expect_err("no room");
    }
    assert_eq!(positions(&world, "acme").await, [0, 0, 0]);
    world.tamper("DROP TRIGGER full").await;
    world.run_once().await;
    assert_eq!(positions(&world, "acme").await, [1, 1, 1]);
    assert_eq!(world.differences_from_rebuilt().await, []);
}

async fn a_stop_before_a_publication_in_the_same_batch_stops_neither_the_tenant_for_ever_nor_others(on: On) {
    let mut world = World::new(on).await;
    world.tenant("acme").publish("claim", 1, &[]).await;
    // Sequence 1 of a submission cannot be an evaluation.
    let nobody = SubmissionId(Uuid::now_v7());
    let broken =
        world.tenant("acme").submission_events(nobody, &[evaluated("claim", &json!({}), &json!({}))]).await;
    world.tenant("acme").publish("claim", 2, &["/n"]).await;
    world.run_once().await;
    assert_eq!(positions(&world, "acme").await, [3, 1, 3]);

    let skip = Skip {
        tenant: slug("acme"),
        read_model: ReadModel::Submissions,
        position: broken,
        actor: "operator".to_owned(),
        reason: "written by a test".to_owned(),
        at: Utc::now(),
    };
    world.models.skip(&skip).await.expect("skipped");
    world.tenant("globex").publish("claim", 1, &[]).await;
    world.another_runner().run_once().await.expect("a run");
    assert_eq!(positions(&world, "acme").await, [3, 3, 3]);
    assert_eq!(positions(&world, "globex").await, [1, 1, 1]);
}

async fn rows_of_a_version_that_an_earlier_binary_wrote_beyond_its_stop_do_not_stop_anybody(on: On) {
    let mut world = World::new(on).await;
    world.tamper("INSERT INTO indexed_fields VALUES ('acme', 'claim', 1, '[\"/old\"]', NULL)").await;
    world.tenant("acme").publish("claim", 1, &["/n"]).await;
    world.tenant("acme").submit("claim", json!({"n": 1})).await;
    world.run_once().await;
    assert_eq!(world.differences_from_rebuilt().await, []);
}

async fn a_checkpoint_that_went_missing_is_contended_and_not_made_up(on: On) {
    let mut world = World::new(on).await;
    world.tenant("acme").publish("claim", 1, &[]).await;
    world.run_once().await;
    // Another process switched in rows that hold nothing of this tenant yet.
    world.tamper(
        "DELETE FROM checkpoints; DELETE FROM forms; DELETE FROM form_versions; DELETE FROM indexed_fields",
    )
    .await;
    world.tenant("acme").submit("claim", json!({})).await;
    world.run_once().await;
    assert_eq!(positions(&world, "acme").await, [2, 2, 2]);
    assert_eq!(world.differences_from_rebuilt().await, []);
}

async fn a_start_that_failed_half_way_still_parks_rows_of_a_ledger_that_was_set_back(on: On) {
    let mut world = World::new(on).await;
    world.tenant("acme").publish("claim", 1, &[]).await;
    world.run_once().await;
    let other = World::new(on).await;
    let mut runner = Runner::new(other.store.clone(), world.models.clone(), RunnerSettings::default());
    other.tamper_ledger("ALTER TABLE ledgers RENAME TO away").await;
    runner.run_once().await.expect_err("no heads");
    other.tamper_ledger("ALTER TABLE away RENAME TO ledgers").await;
    runner.run_once().await.expect("a run");
    assert_eq!(world.models.status(&[]).await.expect("status")[0].parked_count, 1);
}

async fn an_event_can_be_skipped_again_after_rows_from_before_the_skip_were_switched_in(on: On) {
    let mut world = World::new(on).await;
    let position = world.tenant("acme").unreadable_submission().await;
    world.run_once().await;
    let skip = Skip {
        tenant: slug("acme"),
        read_model: ReadModel::Submissions,
        position,
        actor: "operator".to_owned(),
        reason: "written by a test".to_owned(),
        at: Utc::now(),
    };
    world.models.skip(&skip).await.expect("skipped");
    assert_eq!(positions(&world, "acme").await, [1, 1, 0]);
    let back = "UPDATE checkpoints SET submissions_position = 0, submissions_error = 'as before'";
    world.tamper(back).await;
    world.models.skip(&skip).await.expect("skipped again");
    assert_eq!(positions(&world, "acme").await, [1, 1, 0]);
    assert_eq!(position, Position(1));
}

async fn rows_of_a_history_that_the_ledger_lost_are_made_again(on: On) {
    let mut world = World::new(on).await;
    for tenant in ["acme", "globex"] {
        world.tenant(tenant).publish("claim", 1, &["/n"]).await;
    }
    world.tenant("acme").submit("claim", json!({"n": 1})).await;
    let copy = world.folder().join("copy.db");
    world.tamper_ledger(&format!("VACUUM INTO '{}'", copy.display())).await;
    for n in 2..5 {
        world.tenant("acme").submit("claim", json!({"n": n})).await;
    }
    world.run_once().await;
    assert_eq!(positions(&world, "acme").await, [5, 5, 5]);

    // The copy takes its place, and is behind.
    world.store = Store::open_sqlite(&copy, StoreSettings::default()).await.expect("a ledger");
    world.runner = world.another_runner();
    world.run_once().await;
    assert_eq!(positions(&world, "acme").await, [2, 2, 2]);
    assert_eq!(world.differences_from_rebuilt().await, []);

    // Then it goes on elsewhere, beyond where the rows were: only the hashes tell.
    let back = world.folder().join("back.db");
    std::fs::copy(&copy, &back).expect("a copy");
    for n in 10..14 {
        world.tenant("acme").submit("claim", json!({"n": n})).await;
    }
    world.run_once().await;
    world.store = Store::open_sqlite(&back, StoreSettings::default()).await.expect("a ledger");
    for n in 20..28 {
        world.tenant("acme").submit("claim", json!({"n": n})).await;
    }
    world.runner = world.another_runner();
    world.run_once().await;
    assert_eq!(positions(&world, "acme").await, [10, 10, 10]);
    assert_eq!(positions(&world, "globex").await, [1, 1, 1]);
    assert_eq!(world.differences_from_rebuilt().await, []);
}

async fn rows_of_another_ledger_are_parked_and_left_alone_but_in_a_file_of_our_own_made_anew(on: On) {
    let mut world = World::new(on).await;
    world.tenant("acme").publish("claim", 1, &[]).await;
    world.run_once().await;
    let other = World::new(On::Sqlite).await;
    for version in 1..=3 {
        other.tenant("acme").publish("claim", version, &[]).await;
    }
    let mut runner = Runner::new(other.store.clone(), world.models.clone(), RunnerSettings::default());
    runner.run_once().await.expect("a run");
    let status = world.models.status(&[]).await.expect("status");
    match on {
        On::Sqlite => {
            assert_eq!(positions(&world, "acme").await, [3, 3, 3]);
            assert!(status[0].parked.is_empty(), "{status:?}");
        }
        On::Postgres => {
            assert_eq!(positions(&world, "acme").await, [1, 1, 1]);
            assert!(status[0].parked[0].error.contains("another ledger"), "{}", status[0].parked[0].error);
        }
    }

    // Back at their own ledger they go on.
    world.tenant("acme").publish("claim", 2, &[]).await;
    world.another_runner().run_once().await.expect("a run");
    assert_eq!(positions(&world, "acme").await, [2, 2, 2]);
    assert_eq!(world.differences_from_rebuilt().await, []);
}

/// Opens a ledger that was tampered with anew, so that nothing of it is in memory.
async fn reopen(world: &mut World) {
    let ledger = world.folder().join("ledger.db");
    world.store = Store::open_sqlite(&ledger, StoreSettings::default()).await.expect("a ledger");
    world.runner = world.another_runner();
}

async fn one_tenants_damaged_event_parks_that_tenant_before_it_and_no_other(on: On) {
    let mut world = World::new(on).await;
    for tenant in ["acme", "globex"] {
        world.tenant(tenant).publish("claim", 1, &[]).await;
        for n in 0..9 {
            world.tenant(tenant).submit("claim", json!({"n": n})).await;
        }
    }
    world.store.close().await;
    let damage = "DROP TRIGGER events_refuse_update; PRAGMA ignore_check_constraints = ON; \
                  UPDATE events SET leaf_hash = x'00' WHERE tenant_id = 'acme' AND position IN (7, 9)";
    world.tamper_ledger(damage).await;
    reopen(&mut world).await;
    world.run_once().await;
    assert_eq!(positions(&world, "acme").await, [6, 6, 6]);
    assert_eq!(positions(&world, "globex").await, [10, 10, 10]);
    let status = world.models.status(&[]).await.expect("status");
    assert!(status[0].parked[0].error.contains("event 7 of `acme`"), "{}", status[0].parked[0].error);

    // An operator lets one projection pass; it goes on to the next damage.
    let skip = Skip {
        tenant: slug("acme"),
        read_model: ReadModel::Forms,
        position: Position(7),
        actor: "operator".to_owned(),
        reason: "written by a test".to_owned(),
        at: Utc::now(),
    };
    world.models.skip(&skip).await.expect("skipped");
    world.run_once().await;
    assert_eq!(positions(&world, "acme").await, [8, 6, 6]);
    world.rebuild(RebuildRequest::default()).await;
    assert_eq!(
        positions(&world, "acme").await,
        [8, 6, 6],
        "a rebuild passes over what was skipped, and over nothing else"
    );
}

async fn events_that_are_missing_in_a_ledger_park_its_tenant_wherever_they_are(on: On) {
    let mut world = World::new(on).await;
    for tenant in ["acme", "globex", "initech"] {
        for version in 1..=4 {
            world.tenant(tenant).publish("claim", version, &[]).await;
        }
    }
    world.store.close().await;
    let loss = "DROP TRIGGER events_refuse_delete; DELETE FROM events WHERE tenant_id = 'acme' AND position > 2; \
                DELETE FROM events WHERE tenant_id = 'globex' AND position = 2; \
                DELETE FROM events WHERE tenant_id = 'initech'";
    world.tamper_ledger(loss).await;
    reopen(&mut world).await;
    world.run_once().await;
    assert_eq!(positions(&world, "acme").await, [2, 2, 2]);
    assert_eq!(positions(&world, "globex").await, [1, 1, 1]);
    let status = world.models.status(&world.store.heads().await.expect("heads")).await.expect("status");
    let errors: Vec<_> = status[0].parked.iter().map(|parked| parked.error.as_str()).collect();
    assert_eq!(errors, [3, 2, 1].map(|position| format!("position {position} is missing in the ledger")));
}

async fn a_version_that_a_ledger_publishes_twice_does_not_stop_other_tenants(on: On) {
    let mut world = World::new(on).await;
    world.tenant("acme").publish("claim", 1, &[]).await;
    world.tenant("acme").publish("claim", 1, &["/n"]).await;
    world.tenant("globex").publish("claim", 1, &[]).await;
    world.run_once().await;
    assert_eq!(positions(&world, "globex").await, [1, 1, 1]);
}

/// Remembers the gauge of one projection's lag.
#[derive(Debug, Default)]
struct LagOfForms(Arc<AtomicU64>);

impl Recorder for LagOfForms {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, _: &Key, _: &Metadata<'_>) -> Counter {
        Counter::noop()
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        let forms = key.labels().any(|label| label.value() == "forms");
        if forms && key.name() == "formledger_projection_lag_events" {
            Gauge::from_arc(self.0.clone())
        } else {
            Gauge::noop()
        }
    }

    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::noop()
    }
}

#[tokio::test]
async fn lag_is_reported_while_every_batch_fails() {
    let recorder = LagOfForms::default();
    let lag = recorder.0.clone();
    let _recording = metrics::set_default_local_recorder(&recorder);
    let world = World::new(On::Sqlite).await;
    world.tenant("acme").publish("claim", 1, &[]).await;
    let broken =
        "CREATE TRIGGER broken BEFORE INSERT ON checkpoints BEGIN SELECT RAISE(ABORT, 'broken'); END";
    world.tamper(broken).await;
    let (stop, stopped) = oneshot::channel::<()>();
    let settings = RunnerSettings { poll_interval: Duration::from_millis(10), ..RunnerSettings::default() };
    let (replicas, store) = (Replicas::new(world.models.clone(), Vec::new()), world.store.clone());
    let running = tokio::spawn(async move {
        let stopped = async { drop(stopped.await) };
        replicas.keep(&store, &settings, stopped).await;
    });
    for version in 2..=3 {
        reaches(&lag, version - 1).await;
        world.tenant("acme").publish("claim", u32::try_from(version).expect("few"), &[]).await;
    }
    reaches(&lag, 3).await;
    stop.send(()).expect("the runner listens");
    running.await.expect("the runner ends when told");
}

/// Gauges hold the bits of a floating point number.
async fn reaches(gauge: &AtomicU64, wanted: u64) {
    let reached = async {
        while f64::from_bits(gauge.load(Ordering::Relaxed)) != wanted as f64 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, reached).await.expect("the gauge follows");
}
