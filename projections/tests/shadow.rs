//! A shadow equals healthy live rows, whichever database holds these, and finds and names what is not as the ledger says.

mod support;

on_both_databases! {
    healthy_rows_have_no_differences_at_the_position_where_the_two_meet,
    rows_that_were_changed_removed_or_added_are_found_and_named,
    an_event_that_stops_live_rows_stops_the_shadow_and_a_skipped_one_is_skipped,
    rows_that_are_behind_are_waited_for,
}

use chrono::Utc;
use formledger_domain::{FormEvent, Position};
use formledger_projections::{
    ComparedReadModel, ReadModel, Replicas, SHADOW_DIFFERENCES_TOLD_MAX, Shadow, ShadowComparison,
    ShadowFolder, Skip, remove_stale_shadows, shadow_file,
};
use serde_json::{Value, json};
use support::{On, World, canonical, form_id, on_both_databases, slug, submitted, task_opened};

/// Every read model with several rows, numbers that are no integers, and another tenant's at the same positions.
async fn world(on: On) -> World {
    let mut world = World::new(on).await;
    for tenant in ["acme", "globex"] {
        let tenant = world.tenant(tenant);
        tenant.publish("claim", 1, &["/amount", "/note"]).await;
        tenant
            .form_event(
                "claim",
                FormEvent::DraftSaved {
                    definition: canonical(&json!({"title": "Next", "schema": {}})),
                    form: form_id("claim"),
                },
            )
            .await;
        for n in 0..30 {
            let data = json!({"amount": f64::from(n) / 7.0, "note": format!("n{}", n % 3), "big": n});
            let outcomes = json!({"route": {"matched": n % 2 == 0, "value": {"route": "auto"}}});
            let id = tenant.submit_with_outcomes("claim", data, outcomes).await;
            tenant.submission_events(id, &[task_opened("claim")]).await;
        }
        tenant.submit("claim", json!({"note": "nul \0, é, 'quoted'"})).await;
    }
    world.run_once().await;
    world
}

fn live(world: &World) -> Replicas {
    Replicas::new(world.models.clone(), Vec::new())
}

/// A shadow that was folded up to a position.
async fn shadow(world: &World, followed: &[ReadModel], up_to: u64) -> Shadow {
    let file = shadow_file(world.folder(), "test");
    let mut shadow =
        Shadow::begin(&world.store, &live(world), &file, &slug("acme"), followed).await.expect("begins");
    while !shadow.advance(Position(up_to)).await.expect("advances").1 {}
    shadow
}

async fn compared(world: &World, followed: &[ReadModel], up_to: u64) -> ShadowComparison {
    let mut shadow = shadow(world, followed, up_to).await;
    let compared = shadow.compare(&live(world), 0).await.expect("compares");
    shadow.remove().await;
    assert!(!shadow_file(world.folder(), "test").exists(), "the file goes with the shadow");
    compared
}

async fn healthy_rows_have_no_differences_at_the_position_where_the_two_meet(on: On) {
    let world = world(on).await;
    // The live rows have gone on: 2 events of the form, 3 for each submission, and one more.
    let compared = compared(&world, &ReadModel::ALL, 40).await;
    assert_eq!(compared.told, []);
    let rows: Vec<u64> = compared.read_models.iter().map(|read_model| read_model.rows).collect();
    for ComparedReadModel { position, differences, .. } in compared.read_models {
        assert_eq!((position, differences), (Position(93), 0));
    }
    // A form and its version; 31 submissions with their two indexed fields each, and which fields are indexed; a count of states, one of days and two
    // of outcomes, 30 stays that go on and their count; 30 tasks, each with its one role.
    assert_eq!(rows, [2, 31 + 62 + 1, 4 + 31, 60]);
}

async fn rows_that_were_changed_removed_or_added_are_found_and_named(on: On) {
    let world = world(on).await;
    world
        .tamper(
            "UPDATE submissions SET state = 'approved' WHERE tenant_id = 'acme' AND created_position = 6;
             DELETE FROM tasks WHERE tenant_id = 'acme' AND opened_position = 5;
             INSERT INTO state_counts (tenant_id, form, state, count) VALUES ('globex', 'claim', 'submitted', 99);
             INSERT INTO day_counts (tenant_id, form, day, count) VALUES ('acme', 'claim', '1999-12-31', 7)",
        )
        .await;
    let compared = compared(&world, &ReadModel::ALL, 93).await;
    let told: Vec<Value> = compared
        .told
        .iter()
        .map(|difference| {
            let shown = json!(difference);
            json!([
                shown["read_model"],
                shown["table"],
                shown["field"],
                shown["live"],
                shown["shadow"]["opened_position"]
            ])
        })
        .collect();
    let added = json!({"form": "claim", "day": "1999-12-31", "count": 7});
    assert_eq!(
        told,
        [
            json!(["submissions", "submissions", "state", "approved", null]),
            json!(["statistics", "day_counts", null, added, null]),
            json!(["tasks", "tasks", null, null, 5]),
        ]
    );
    assert_eq!(compared.told[0].shadow, "submitted");
    let id = compared.told[0].key["submission_id"].as_str().expect("an id");
    assert!(uuid::Uuid::try_parse(id).is_ok(), "{id}");
    assert_eq!(
        compared.told[1].key,
        *json!({"form": "claim", "day": "1999-12-31"}).as_object().expect("a key")
    );
    let counted: Vec<u64> = compared.read_models.iter().map(|read_model| read_model.differences).collect();
    assert_eq!(counted, [0, 1, 1, 1]);
}

async fn an_event_that_stops_live_rows_stops_the_shadow_and_a_skipped_one_is_skipped(on: On) {
    let mut world = world(on).await;
    let unreadable = world.tenant("acme").unreadable_submission().await;
    world.tenant("acme").submit("claim", json!({"amount": 1})).await;
    world.run_once().await;
    let parked = compared(&world, &ReadModel::ALL, 95).await;
    assert_eq!(parked.told, []);
    let positions: Vec<u64> = parked.read_models.iter().map(|read_model| read_model.position.0).collect();
    assert_eq!(positions, [95, 93, 93, 93]);

    let skip = Skip {
        tenant: slug("acme"),
        read_model: ReadModel::Submissions,
        position: unreadable,
        actor: "ada".to_owned(),
        reason: "a test".to_owned(),
        at: Utc::now(),
    };
    world.models.skip(&skip).await.expect("skips");
    let mut runner = world.another_runner();
    runner.run_once().await.expect("a run");
    let skipped = compared(&world, &[ReadModel::Submissions], 95).await;
    assert_eq!((skipped.told, skipped.read_models[0].position), (Vec::new(), Position(95)));
}

async fn rows_that_are_behind_are_waited_for(on: On) {
    let mut world = world(on).await;
    for n in 0..10 {
        world.tenant("acme").submit("claim", json!({"amount": n})).await;
    }
    let mut shadow = shadow(&world, &ReadModel::ALL, 103).await;
    let live = live(&world);
    let (compared, _) = tokio::join!(shadow.compare(&live, 0), world.run_once());
    let compared = compared.expect("compares");
    assert_eq!((compared.told, compared.read_models[0].position), (Vec::new(), Position(103)));
}

#[tokio::test]
async fn more_differences_than_are_told_are_counted_and_files_of_a_killed_process_are_removed() {
    let world = World::new(On::Sqlite).await;
    let acme = world.tenant("acme");
    acme.publish("claim", 1, &[]).await;
    let submissions = SHADOW_DIFFERENCES_TOLD_MAX + 10;
    for n in 0..submissions {
        acme.submission_events(
            formledger_domain::SubmissionId(uuid::Uuid::now_v7()),
            &[submitted("claim", &json!({"n": n}))],
        )
        .await;
    }
    let mut world = world;
    world.run_once().await;
    world.tamper("UPDATE submissions SET submitter = 'eve'").await;
    let compared = compared(&world, &[ReadModel::Submissions], 1 + submissions as u64).await;
    assert_eq!(compared.told.len(), SHADOW_DIFFERENCES_TOLD_MAX);
    assert_eq!(compared.read_models[0].differences, submissions as u64);

    let left = shadow_file(world.folder(), "killed");
    std::fs::write(&left, "left").expect("a file");
    remove_stale_shadows(world.folder()).expect("removed");
    assert!(!left.exists() && world.folder().join("read-models.db").exists());
}

#[tokio::test]
async fn a_server_that_starts_leaves_the_shadow_of_a_replay_beside_it_alone() {
    let world = world(On::Sqlite).await;
    let folder = ShadowFolder::of_replay(world.folder()).expect("a folder");
    let file = shadow_file(folder.path(), "replay");
    let mut replay = Shadow::begin(&world.store, &live(&world), &file, &slug("acme"), &ReadModel::ALL)
        .await
        .expect("begins");
    replay.advance(Position(10)).await.expect("advances");
    // A killed process leaves its folder, and nobody holds the lock any more.
    let killed = ["replay-of-a-killed-process", "serve-by-a-killed-process"];
    let killed = killed.map(|name| world.folder().join(name));
    for folder in &killed {
        std::fs::create_dir(folder).expect("a folder");
        std::fs::write(folder.join("in-use"), "").expect("a file");
        std::fs::write(shadow_file(folder, "moment"), "").expect("a file");
    }
    remove_stale_shadows(world.folder()).expect("removes what is stale");
    let other = ShadowFolder::of_server(world.folder()).expect("another folder");
    assert!(file.exists() && other.path().exists() && !killed.iter().any(|folder| folder.exists()));
    let compared = replay.compare(&live(&world), 0).await.expect("compares");
    assert!(compared.read_models.iter().all(|read_model| read_model.differences == 0), "{compared:?}");
    replay.remove().await;
    let path = folder.path().to_owned();
    drop(folder);
    assert!(!path.exists(), "it goes with its process");
}
