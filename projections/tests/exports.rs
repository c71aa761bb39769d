//! What an export holds while others write: each submission once, none older than the position it says, in whatever order.

mod support;

use std::collections::BTreeSet;

use formledger_domain::SubmissionId;
use formledger_projections::{PAGE_ITEMS_MAX, SubmissionQuery, SubmissionRow};
use futures_util::{StreamExt, TryStreamExt};
use serde_json::{Value, json};
use support::{On, World, amended, drafted, form_id, on_both_databases};
use uuid::Uuid;

on_both_databases! {
    a_submission_that_changes_during_an_export_is_in_it_once_in_whatever_order,
    an_export_goes_on_where_a_form_compares_the_field_of_its_condition_in_another_way_meanwhile,
    an_export_in_an_order_that_moves_has_what_was_selected_when_it_began,
}

/// Submissions with `n` from 0 on, more than an export reads before its first row.
async fn filled(on: On, count: u32, data: impl Fn(u32) -> Value) -> (World, Vec<SubmissionId>) {
    let mut world = World::new(on).await;
    world.tenant("acme").publish("claim", 1, &["/n"]).await;
    let mut made = Vec::new();
    for n in 0..count {
        let id = SubmissionId(Uuid::now_v7());
        world.tenant("acme").submission_events(id, &[drafted("claim", &data(n))]).await;
        made.push(id);
    }
    world.run_once().await;
    (world, made)
}

fn by(sort: &str) -> SubmissionQuery {
    SubmissionQuery {
        form: Some(form_id("claim")),
        sort: sort.parse().expect("an order"),
        ..Default::default()
    }
}

async fn a_submission_that_changes_during_an_export_is_in_it_once_in_whatever_order(on: On) {
    let (mut world, made) = filled(on, PAGE_ITEMS_MAX + 100, |n| json!({"n": n})).await;
    let all: BTreeSet<_> = made.iter().copied().collect();
    let mut moved = 0;
    for sort in ["created_at", "-created_at", "updated_at", "-updated_at", "/n", "-/n"] {
        let mut export = world.reader("acme").all_submissions(by(sort)).await.expect("a query");
        let mut rows = vec![export.value.next().await.expect("a row").expect("read")];
        // To both ends of every order, from the middle and from the ends of what is to come.
        for place in [1, 3, 250, 251, made.len() - 2, made.len() - 1] {
            moved += 1;
            let n = if place % 2 == 0 { -1_000 - moved } else { 1_000 + moved };
            let data = json!({"n": n});
            let change = amended("claim", &data, &data);
            world.tenant("acme").submission_events(made[place], &[change]).await;
        }
        world.run_once().await;
        rows.extend(export.value.try_collect::<Vec<SubmissionRow>>().await.expect("rows"));
        let ids: BTreeSet<_> = rows.iter().map(|row| row.submission_id).collect();
        assert_eq!((rows.len(), ids), (all.len(), all.clone()), "by {sort}");
    }
}

async fn an_export_goes_on_where_a_form_compares_the_field_of_its_condition_in_another_way_meanwhile(on: On) {
    let (mut world, made) = filled(on, PAGE_ITEMS_MAX + 100, |n| json!({"n": format!("1{n}")})).await;
    let query =
        SubmissionQuery { conditions: vec!["/n!=7".parse().expect("a condition")], ..by("created_at") };
    let mut export = world.reader("acme").all_submissions(query).await.expect("a query");
    export.value.next().await.expect("a row").expect("read");
    let schema = json!({"type": "object", "properties": {"n": {"type": "string", "format": "decimal"}}});
    world.tenant("acme").publish_with("claim", 2, schema, &["/n"]).await;
    world.run_once().await;
    let rest: Vec<SubmissionRow> = export.value.try_collect().await.expect("rows");
    assert_eq!(1 + rest.len(), made.len());
}

async fn an_export_in_an_order_that_moves_has_what_was_selected_when_it_began(on: On) {
    let (mut world, made) = filled(on, 20, |n| json!({"n": n})).await;
    let query = SubmissionQuery { conditions: vec!["/n>=5".parse().expect("a condition")], ..by("-/n") };
    let export = world.reader("acme").all_submissions(query).await.expect("a query");
    let at = world.reader("acme").submissions(&by("-/n")).await.expect("a page").position;
    assert_eq!(export.position, at);
    let data = json!({"n": 1});
    world.tenant("acme").submission_events(made[10], &[amended("claim", &data, &data)]).await;
    let data = json!({"n": 100});
    world.tenant("acme").submission_events(made[0], &[amended("claim", &data, &data)]).await;
    world.run_once().await;
    let rows: Vec<SubmissionRow> = export.value.try_collect().await.expect("rows");
    let ids: Vec<SubmissionId> = rows.iter().map(|row| row.submission_id).collect();
    assert_eq!(ids, made[5..].iter().rev().copied().collect::<Vec<_>>(), "in the order of then");
    let changed = rows.iter().find(|row| row.submission_id == made[10]).expect("it is in it");
    assert_eq!(changed.data.as_str(), r#"{"n":1}"#, "as it is when it is read");
}
