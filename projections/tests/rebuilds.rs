//! What a rebuild promises beside its result: whoever reads sees old rows or new ones, whoever writes goes on, whoever is interrupted
//! begins again, and what was not asked for stays.

mod support;

use std::time::Duration;

on_both_databases! {
    readers_see_old_rows_or_new_ones_while_a_projector_goes_on,
    a_rebuild_that_is_interrupted_before_it_switches_leaves_the_live_rows_and_the_next_one_ends,
    only_the_read_models_that_are_named_are_replaced,
    a_second_rebuild_finds_everything_as_the_first_one_did,
    a_projector_that_rests_notices_rows_that_went_back,
}

use formledger_projections::{
    ReadModel, RebuildProgress, RebuildRequest, SubmissionQuery, TenantReader, rebuild,
};
use serde_json::json;
use sqlx::{Connection, SqliteConnection};
use support::{On, World, on_both_databases, tenant_of};
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::time::timeout;

/// Long enough for anything that is going to happen, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// Submissions of each tenant before a rebuild; a page holds them and those that come meanwhile.
const SUBMISSIONS: u64 = 60;
/// Rebuilds beside readers.
const REBUILDS: usize = 4;

/// Two tenants with the same form and some submissions each.
async fn filled(on: On) -> World {
    let mut world = World::new(on).await;
    for tenant in ["acme", "globex"] {
        world.tenant(tenant).publish("claim", 1, &["/n"]).await;
        for n in 0..SUBMISSIONS {
            world.tenant(tenant).submit("claim", json!({"n": n})).await;
        }
    }
    world.run_once().await;
    world
}

/// Every event but the publication is a submission, so rows of one moment say the same as their position does.
async fn look(reader: &TenantReader) -> u64 {
    let all = SubmissionQuery { limit: Some(200), ..SubmissionQuery::default() };
    let page = reader.submissions(&all).await.expect("a page");
    assert_eq!(page.items.len() as u64, page.position.0 - 1, "submissions are of another moment");
    let answer = reader.statistics(None).await.expect("statistics");
    let counted: u64 = answer.value.states.iter().map(|state| state.count).sum();
    assert_eq!(counted, answer.position.0 - 1, "statistics are of another moment");
    page.position.0
}

async fn readers_see_old_rows_or_new_ones_while_a_projector_goes_on(on: On) {
    let world = filled(on).await;
    let (stop, stopped) = oneshot::channel::<()>();
    let running = tokio::spawn(world.another_runner().run(async {
        let _ = stopped.await;
    }));
    let reading: Vec<_> = ["acme", "globex", "acme"]
        .map(|tenant| {
            let reader = world.reader(tenant);
            tokio::spawn(async move {
                let mut last = 0;
                for looks in 0u64.. {
                    let position = look(&reader).await;
                    assert!(position >= last, "rows went back from {last} to {position}");
                    last = position;
                    if last > 2 * SUBMISSIONS {
                        return looks;
                    }
                }
                0
            })
        })
        .into();
    let written = async {
        for n in 0..SUBMISSIONS {
            for tenant in ["acme", "globex"] {
                tenant_of(&world.store, tenant).submit("claim", json!({"n": n})).await;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let rebuilt = async {
        for _ in 0..REBUILDS {
            rebuild(&world.store, world.place(), RebuildRequest::default(), |_| {}).await.expect("a rebuild");
        }
    };
    tokio::join!(written, rebuilt);
    for reader in reading {
        let looks = timeout(PATIENCE, reader).await.expect("the projector goes on").expect("one moment");
        assert!(looks > 0);
    }
    stop.send(()).expect("the runner listens");
    running.await.expect("the runner ends when told");
    assert_eq!(world.differences_from_rebuilt().await, []);
}

async fn a_rebuild_that_is_interrupted_before_it_switches_leaves_the_live_rows_and_the_next_one_ends(on: On) {
    let world = filled(on).await;
    world.tamper("UPDATE submissions SET submitter = 'nobody'").await;
    let (folded, is_folded) = oneshot::channel::<()>();
    let mut folded = Some(folded);
    let rebuilding = rebuild(&world.store, world.place(), RebuildRequest::default(), |progress| {
        if matches!(progress, RebuildProgress::Folded { events, total } if events == total) {
            folded.take().and_then(|folded| folded.send(()).ok());
        }
    });
    tokio::select! {
        biased;
        _ = is_folded => {}
        done = rebuilding => panic!("it was to be interrupted: {done:?}"),
    }
    let page = world.reader("acme").submissions(&SubmissionQuery::default()).await.expect("a page");
    assert_eq!(&*page.items[0].submitter, "nobody", "nothing was switched");

    // In Postgres the session that claims the place takes a moment to end.
    let again = async {
        while rebuild(&world.store, world.place(), RebuildRequest::default(), |_| {}).await.is_err() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(PATIENCE, again).await.expect("the next one ends");
    assert_eq!(world.differences_from_rebuilt().await, []);
}

async fn only_the_read_models_that_are_named_are_replaced(on: On) {
    let world = filled(on).await;
    let damage = "UPDATE submissions SET submitter = 'nobody'; \
                  INSERT INTO state_counts SELECT tenant_id, 'claim', 'submitted', 1000 FROM checkpoints";
    world.tamper(damage).await;
    let request = RebuildRequest { read_models: vec![ReadModel::Statistics], tenant: None };
    world.rebuild(request).await;
    for tenant in ["acme", "globex"] {
        let reader = world.reader(tenant);
        assert_eq!(look(&reader).await, SUBMISSIONS + 1, "its positions stay, too");
        let page = reader.submissions(&SubmissionQuery::default()).await.expect("a page");
        assert_eq!(&*page.items[0].submitter, "nobody");
    }
    world.rebuild(RebuildRequest::default()).await;
    assert_eq!(world.differences_from_rebuilt().await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_no_ledger_stands_behind_go_and_a_tenant_that_comes_meanwhile_stays_on_sqlite() {
    rows_that_no_ledger_stands_behind_go_and_a_tenant_that_comes_meanwhile_stays(On::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_no_ledger_stands_behind_go_and_a_tenant_that_comes_meanwhile_stays_on_postgres() {
    rows_that_no_ledger_stands_behind_go_and_a_tenant_that_comes_meanwhile_stays(On::Postgres).await;
}

async fn rows_that_no_ledger_stands_behind_go_and_a_tenant_that_comes_meanwhile_stays(on: On) {
    let mut world = filled(on).await;
    let gone = "INSERT INTO checkpoints (tenant_id, forms_version, forms_position, submissions_version, submissions_position, \
                statistics_version, statistics_position, tasks_version, tasks_position) SELECT 'initech', forms_version, 1000, \
                submissions_version, 1000, statistics_version, 1000, tasks_version, 1000 FROM checkpoints WHERE tenant_id = 'acme'; \
                INSERT INTO state_counts VALUES ('initech', 'claim', 'submitted', 999)";
    world.tamper(gone).await;
    let (mut tenants, mut came) = (Vec::new(), false);
    rebuild(&world.store, world.place(), RebuildRequest::default(), |progress| match progress {
        // Batches are large: this is the only one.
        RebuildProgress::Folded { .. } if !came => {
            came = true;
            tokio::task::block_in_place(|| {
                Handle::current().block_on(async {
                    world.tenant("umbrella").publish("claim", 1, &[]).await;
                    world.another_runner().run_once().await.expect("a run");
                });
            });
        }
        RebuildProgress::Folded { .. } => {}
        RebuildProgress::Switched { tenant, position } => tenants.push((tenant.to_string(), position.0)),
    })
    .await
    .expect("a rebuild");
    tenants.sort_unstable();
    assert_eq!(
        tenants,
        [("acme", 61), ("globex", 61), ("initech", 0), ("umbrella", 1)]
            .map(|(tenant, position)| (tenant.to_owned(), position))
    );
    let position = world.reader("umbrella").position(ReadModel::Submissions).await.expect("a position");
    assert_eq!(position.0, 1, "it stays");
    world.tenant("umbrella").submit("claim", json!({"n": 1})).await;
    world.run_once().await;
    assert_eq!(world.differences_from_rebuilt().await, []);
}

async fn a_second_rebuild_finds_everything_as_the_first_one_did(on: On) {
    let mut world = filled(on).await;
    for _ in 0..2 {
        world.rebuild(RebuildRequest::default()).await;
        world.tenant("acme").submit("claim", json!({"n": 1})).await;
        world.run_once().await;
        assert_eq!(world.differences_from_rebuilt().await, []);
    }
}

async fn a_projector_that_rests_notices_rows_that_went_back(on: On) {
    let mut world = filled(on).await;
    assert_eq!(world.run_once().await, 0, "it has caught up");
    // What a switch to rows of a moment before leaves behind.
    let earlier = "DELETE FROM submissions WHERE tenant_id = 'acme' AND created_position > 50; \
                   DELETE FROM field_keys WHERE tenant_id = 'acme' AND created_position > 50; \
                   UPDATE checkpoints SET submissions_position = 50 WHERE tenant_id = 'acme'";
    world.tamper(earlier).await;
    world.run_once().await;
    let position = world.reader("acme").position(ReadModel::Submissions).await.expect("a position");
    assert_eq!(position.0, SUBMISSIONS + 1);
    assert_eq!(world.differences_from_rebuilt().await, []);
}

#[tokio::test]
async fn a_file_is_whole_after_a_switch_and_has_the_indexes_that_it_had() {
    const INDEXES: &str =
        "SELECT name || coalesce(sql, '') FROM sqlite_schema WHERE type = 'index' ORDER BY 1";
    let world = filled(On::Sqlite).await;
    let url = format!("sqlite://{}", world.folder().join("read-models.db").display());
    let mut connection = SqliteConnection::connect(&url).await.expect("a connection");
    let before: Vec<String> = sqlx::query_scalar(INDEXES).fetch_all(&mut connection).await.expect("indexes");
    world.rebuild(RebuildRequest::default()).await;
    let after: Vec<String> = sqlx::query_scalar(INDEXES).fetch_all(&mut connection).await.expect("indexes");
    assert_eq!(after, before);
    let checked: Vec<String> =
        sqlx::query_scalar("PRAGMA integrity_check").fetch_all(&mut connection).await.expect("a check");
    assert_eq!(checked, ["ok"], "every index has exactly the rows of its table");
}
