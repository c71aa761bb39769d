//! Rows of another version of a projection, made before an upgrade or by a process that still runs: made again, never added to.

mod support;

on_both_databases! {
    rows_of_another_version_are_not_read_and_are_made_again,
    rows_that_another_version_made_meanwhile_are_made_again,
    tasks_that_an_earlier_binary_wrote_after_the_migration_wait_for_their_time_again,
    submissions_are_found_by_their_fields_again_after_an_earlier_binary_kept_those_elsewhere,
    what_an_earlier_binary_did_not_know_of_and_left_does_not_stop_who_begins_again,
    opening_read_models_takes_nothing_from_who_keeps_them,
}

use chrono::{TimeDelta, Utc};
use formledger_domain::{SubmissionEvent, Task, WorkflowFact};
use formledger_projections::{QueryError, ReadModelSettings, ReadModels, Statistics, SubmissionQuery};
use serde_json::json;
use support::{On, World, form_id, on_both_databases, task_opened};

/// What an earlier binary's checkpoint looks like.
const EARLIER: &str = "UPDATE checkpoints SET statistics_version = 1";

async fn world(on: On) -> World {
    let mut world = World::new(on).await;
    for tenant in ["acme", "globex"] {
        world.tenant(tenant).publish("claim", 1, &[]).await;
        add(&world, tenant).await;
    }
    world.run_once().await;
    world
}

async fn add(world: &World, tenant: &str) {
    for n in 0..3 {
        let outcomes = json!({"route": {"matched": true}});
        let id = world.tenant(tenant).submit_with_outcomes("claim", json!({"n": n}), outcomes).await;
        world.tenant(tenant).submission_events(id, &[task_opened("claim")]).await;
    }
}

async fn counted(world: &World, tenant: &str) -> Statistics {
    world.reader(tenant).statistics(None).await.expect("counts").value
}

fn submissions(counts: &Statistics) -> u64 {
    assert_eq!(counts.states.len(), 1);
    assert_eq!(counts.times[0].open.count, counts.states[0].count);
    assert_eq!(counts.outcomes[0].count, counts.states[0].count);
    counts.states[0].count
}

async fn rows_of_another_version_are_not_read_and_are_made_again(on: On) {
    let world = world(on).await;
    let before = counted(&world, "acme").await;
    assert_eq!(submissions(&before), 3);
    world.tamper(EARLIER).await;
    let unread = world.reader("acme").statistics(None).await;
    assert!(matches!(unread, Err(QueryError::Behind(_))), "{unread:?}");

    // The process of this version that takes over.
    world.another_runner().run_once().await.expect("a run");
    for tenant in ["acme", "globex"] {
        assert_eq!(submissions(&counted(&world, tenant).await), 3);
    }
    assert_eq!(world.differences_from_rebuilt().await, []);
}

async fn rows_that_another_version_made_meanwhile_are_made_again(on: On) {
    let mut world = world(on).await;
    // Another process led for a while, began again and came half-way with one of the tenants.
    world
        .tamper(&format!(
            "{EARLIER}; UPDATE checkpoints SET statistics_position = 4 WHERE tenant_id = 'acme';
             INSERT INTO state_counts VALUES ('acme', 'claim', 'submitted', 1); INSERT INTO outcome_counts VALUES ('acme', 'claim', 'route', true, '', 1)"
        ))
        .await;
    add(&world, "acme").await;
    // This one still believes in its own checkpoints.
    world.run_once().await;
    world.run_once().await;
    assert_eq!(submissions(&counted(&world, "acme").await), 6);
    assert_eq!(submissions(&counted(&world, "globex").await), 3);
    assert_eq!(world.differences_from_rebuilt().await, []);
}

async fn tasks_that_an_earlier_binary_wrote_after_the_migration_wait_for_their_time_again(on: On) {
    let world = world(on).await;
    let due_at = Utc::now() - TimeDelta::hours(1);
    let id = world.tenant("acme").submit("claim", json!({})).await;
    let SubmissionEvent::Worked { form, form_version, fact: WorkflowFact::TaskOpened(task) } =
        task_opened("claim")
    else {
        unreachable!("a task was opened")
    };
    let fact = WorkflowFact::TaskOpened(Task { due_at: Some(due_at), ..task });
    let opened = SubmissionEvent::Worked { form, form_version, fact };
    world.tenant("acme").submission_events(id, &[opened]).await;
    world.another_runner().run_once().await.expect("a run");
    let due = async || world.models.due_tasks(Utc::now(), None, 9).await.expect("tasks");
    assert_eq!(due().await.len(), 1);

    // Before this column there was version 1 of the projection, which goes on writing until another process leads.
    world.tamper("UPDATE tasks SET next_at = NULL; UPDATE checkpoints SET tasks_version = 1").await;
    assert_eq!(due().await, []);
    world.another_runner().run_once().await.expect("a run");
    let due = due().await;
    assert_eq!(due.iter().map(|task| task.submission_id).collect::<Vec<_>>(), [id]);
    assert_eq!(world.differences_from_rebuilt().await, []);
}

async fn submissions_are_found_by_their_fields_again_after_an_earlier_binary_kept_those_elsewhere(on: On) {
    let mut world = World::new(on).await;
    world.tenant("acme").publish("claim", 1, &["/n"]).await;
    for n in [1, 2, 3] {
        world.tenant("acme").submit("claim", json!({"n": n})).await;
    }
    world.run_once().await;
    let found = async || {
        let query = SubmissionQuery {
            form: Some(form_id("claim")),
            conditions: vec!["/n>=2".parse().expect("a condition")],
            ..SubmissionQuery::default()
        };
        world.reader("acme").submissions(&query).await.map(|page| page.items.len())
    };
    assert_eq!(found().await.expect("a page"), 2);

    // What version 1 of the projection left behind.
    world
        .tamper(
            "INSERT INTO submission_fields SELECT tenant_id, 'claim', '/n', 1, 1.0, '', created_position FROM field_keys;
             DELETE FROM field_keys; UPDATE checkpoints SET submissions_version = 1",
        )
        .await;
    assert!(matches!(found().await, Err(QueryError::Behind(_))));
    world.another_runner().run_once().await.expect("a run");
    assert_eq!(found().await.expect("a page"), 2);
    // Nothing is left where that version kept them either.
    assert_eq!(world.differences_from_rebuilt().await, []);
}

async fn what_an_earlier_binary_did_not_know_of_and_left_does_not_stop_who_begins_again(on: On) {
    let mut world = World::new(on).await;
    for tenant in ["acme", "globex"] {
        world.tenant(tenant).publish("claim", 1, &["/n"]).await;
        for n in [1, 2, 3] {
            world.tenant(tenant).submit("claim", json!({"n": n})).await;
        }
    }
    world.run_once().await;
    // Nothing was made of the submissions, and rows are there all the same in a table that came later than what dropped the others.
    world
        .tamper(
            "UPDATE checkpoints SET submissions_version = NULL, submissions_position = 0;
             DELETE FROM submissions; DELETE FROM indexed_fields; DELETE FROM submission_fields",
        )
        .await;
    let unread = world.reader("acme").submissions(&SubmissionQuery::default()).await;
    assert!(matches!(unread, Err(QueryError::Behind(_))), "{unread:?}");
    world.another_runner().run_once().await.expect("a run");
    let heads = world.store.heads().await.expect("heads");
    let status = world.models.status(&heads).await.expect("a status");
    assert!(status.iter().all(|status| status.parked.is_empty()), "{status:?}");
    assert_eq!(world.differences_from_rebuilt().await, []);
}

async fn opening_read_models_takes_nothing_from_who_keeps_them(on: On) {
    let world = world(on).await;
    world.tamper(EARLIER).await;
    let opened = ReadModels::open(world.place().clone(), ReadModelSettings::default()).await.expect("opens");
    opened.close().await;
    world.tamper("UPDATE checkpoints SET statistics_version = 2").await;
    assert_eq!(submissions(&counted(&world, "acme").await), 3);
}
